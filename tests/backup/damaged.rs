//! Files that are not whole: refused before anything is applied.

use super::{Place, backup, start};
use crate::support::client::fill_strings;
use crate::support::dataset::fill_database;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Copies these bytes as a file; nothing may come of it.
#[track_caller]
fn is_refused(what: &str, bytes: &[u8], target: &Server) {
    let place = Place::new();
    std::fs::write(place.file(), bytes).expect("a file");
    let run = Keyferry::copy(place.file(), target.url()).run();
    assert_eq!(run.code(), Some(5), "{what}{}", run.frame());
    run.assert_says(&["saved.rdb"]);
    assert_eq!(run.outcome(), "refused", "{what}");
}

#[track_caller]
fn is_untouched(target: &Server) {
    assert_eq!(target.write_commands(), Vec::<String>::new());
    assert_eq!(target.client(0).dbsize(), 0);
}

fn bytes_of(source: &Server) -> Vec<u8> {
    let place = Place::new();
    backup(source.url(), &place.file()).expect(0);
    std::fs::read(place.file()).expect("the file")
}

#[test]
fn every_cut_is_refused() {
    for kind in [Kind::Redis62, Kind::Valkey91] {
        let source = start(kind);
        fill_database(&source, 0);
        let bytes = bytes_of(&source);
        let target = Server::start(kind);
        let sixteenths = (0..16).map(|part| bytes.len() * part / 16);
        let ends = (1..=12).map(|back| bytes.len() - back);
        for length in sixteenths.chain(ends) {
            is_refused(&format!("cut to {length}"), &bytes[..length], &target);
        }
        for more in [1, 8, 4_096] {
            let longer = [&bytes[..], &vec![0; more]].concat();
            is_refused(&format!("{more} bytes more"), &longer, &target);
        }
        is_untouched(&target);
    }
}

#[test]
fn flipped_bits_are_refused() {
    let source = start(Kind::Redis70);
    fill_database(&source, 0);
    let bytes = bytes_of(&source);
    let target = Server::start(Kind::Redis70);
    for step in 0..48 {
        let mut damaged = bytes.clone();
        let at = (bytes.len() - 1) * step / 47;
        damaged[at] ^= 1 << (step % 8);
        is_refused(&format!("a bit of byte {at}"), &damaged, &target);
    }
    is_untouched(&target);
}

#[test]
fn other_files_are_refused() {
    let target = Server::start(Kind::Redis70);
    let others: [&[u8]; 4] =
        [b"", b"hello", b"<html>not found</html>", b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"];
    for bytes in others {
        is_refused("another file", bytes, &target);
    }
    is_untouched(&target);
}

#[test]
fn a_file_without_a_checksum_is_taken_and_that_is_said() {
    let source = start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 10, 20);
    let mut bytes = bytes_of(&source);
    let end = bytes.len() - 8;
    bytes[end..].fill(0);
    let place = Place::new();
    std::fs::write(place.file(), bytes).expect("a file");
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).expect(0);
    run.assert_says(&["no checksum"]);
    run.assert_counts(&[("copied", 10)]);
}

#[test]
fn a_file_that_becomes_shorter_meanwhile_ends_the_copy_with_every_key_accounted_for() {
    // Small values in batches, or large ones in pieces.
    for (keys, size) in [(20_000, 1_000), (12, 2_000_000)] {
        let (source, place) = (start(Kind::Redis70), Place::new());
        fill_strings(&mut source.client(0), "key", keys, size);
        backup(source.url(), &place.file()).expect(0);
        let target = Server::start(Kind::Redis70);
        let slow = Behaviour { rate: Some(8_000_000), ..Behaviour::default() };
        let proxy = FaultProxy::start(target.port, slow);
        let mut running = Keyferry::copy(place.file(), proxy.url()).start();
        let mut client = target.client(0);
        wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
        let file = std::fs::OpenOptions::new().write(true).open(place.file()).expect("the file");
        file.set_len(15_000_000).expect("a shorter file");
        let run = running.finish();
        run.assert_code(&[1]);
        assert_eq!(run.outcome(), "incomplete");
        assert_eq!(run.count("copied"), client.dbsize() as u64, "{}", run.frame());
        assert!(run.count("copied") < keys as u64, "{}", run.frame());
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let target = Server::start(Kind::Redis70);
    let place = Place::new();
    let pipe = place.file().with_file_name("pipe.rdb");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let directory = place.file().with_file_name("directory.rdb");
    std::fs::create_dir(&directory).expect("a directory");
    let zero = place.file().with_file_name("zero.rdb");
    std::os::unix::fs::symlink("/dev/zero", &zero).expect("a link");
    for (path, says) in
        [(pipe, "a pipe or a device"), (directory, "a directory"), (zero, "a device")]
    {
        let run = Keyferry::copy(&path, target.url()).expect(2);
        run.assert_says(&["source", says]);
        let is_pipe = run.stderr.contains("out of a pipe");
        assert_eq!(is_pipe, says != "a directory", "{}", run.frame());
    }
    is_untouched(&target);
}

/// The second reading meets another content than the first, which was checked.
#[test]
fn a_file_that_is_written_to_meanwhile_is_told() {
    let source = start(Kind::Redis70);
    fill_strings(&mut source.client(0), "one", 5_000, 100);
    let one = bytes_of(&source);
    source.client(0).run(&redis::cmd("FLUSHALL"));
    fill_strings(&mut source.client(0), "two", 5_000, 100);
    let other = bytes_of(&source);
    let (longer, shorter) = ([&one[..], b"more"].concat(), one[..100].to_vec());
    let in_place = [&other, &one, &longer, &shorter].map(|content| (content, true));
    for (content, at_once) in in_place.into_iter().chain([(&other, false)]) {
        let (target, place) = (Server::start(Kind::Redis70), Place::new());
        std::fs::write(place.file(), &one).expect("a file");
        let copy = Keyferry::copy(place.file(), target.url()).args(["--max-keys-rate", "2500"]);
        let mut running = copy.start();
        let mut client = target.client(0);
        wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
        match at_once {
            // In place: the same file, other bytes.
            true => std::fs::write(place.file(), content).expect("it can be written"),
            // Another file under its name: the old one is read to its end.
            false => {
                let part = place.file().with_file_name("part");
                std::fs::write(&part, content).expect("a file");
                std::fs::rename(&part, place.file()).expect("it is replaced");
            }
        }
        let run = running.finish();
        match at_once {
            true => {
                // Another content may look like damage first, which is not its cause.
                run.assert_code(&[1]);
                run.assert_says(&["written to while it was read"]);
                for failure in run.report()["failures"].as_array().into_iter().flatten() {
                    let why = failure["error"].as_str().unwrap_or_default();
                    assert!(why.contains("written to while it was read"), "{failure}");
                }
                assert!(!run.stdout.contains("Done"), "{}", run.frame());
            }
            false => run.assert_code(&[0]),
        }
    }
}
