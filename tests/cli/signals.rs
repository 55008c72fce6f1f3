//! A signal, once and twice, at any moment of any command: settings are put back, nothing temporary stays.

use std::path::Path;
use std::time::Duration;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const SIGNALS: [&str; 4] = ["INT", "TERM", "HUP", "QUIT"];

/// Both sides, with values that go at once, while they come, and in pieces.
struct Sides {
    source: Server,
    target: Server,
    directory: tempfile::TempDir,
}

impl Sides {
    fn filled() -> Self {
        let source = Server::start(Kind::Redis70);
        let limit = "--proto-max-bulk-len";
        let target = Setup::new(Kind::Redis70).option(limit, "1mb").start();
        let mut client = source.client(0);
        fill_strings(&mut client, "key", 5_000, 100);
        for at in 0..4_u64 {
            let mut push = cmd("RPUSH");
            push.arg(format!("list:{at}"));
            (0..30).for_each(|element| {
                push.arg(noise(at * 30 + element, 100_000));
            });
            client.run(&push);
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { source, target, directory }
    }

    /// The same keys on the target.
    fn copied() -> Self {
        let sides = Self::filled();
        Keyferry::copy(sides.source.url(), sides.target.url()).expect(0);
        sides
    }

    fn file(&self) -> String {
        self.directory.path().join("file.rdb").display().to_string()
    }
}

/// Stops a command at moments that lie all over its run.
#[track_caller]
fn is_stopped(sides: &Sides, command: impl Fn(&str, &str, &str) -> Keyferry, signs_off: &[&str]) {
    let slow = Behaviour { rate: Some(6_000_000), ..Behaviour::default() };
    let mut stopped = 0;
    for (round, signal) in SIGNALS.iter().cycle().take(12).enumerate() {
        let from = FaultProxy::start(sides.source.port, slow);
        let into = FaultProxy::start(sides.target.port, slow);
        let file = sides.file();
        let mut running = command(&from.url(), &into.url(), &file).start();
        // From the first answers to the last: 11 MB at most.
        let moment = 40 * 3_u64.pow(round as u32);
        let passed = || {
            from.reply_bytes() + into.reply_bytes() + from.request_bytes() + into.request_bytes()
        };
        wait_until("so much has passed", || passed() >= moment || running.is_over());
        let over = running.is_over();
        if !over {
            running.signal(signal);
            if round % 2 == 1 {
                running.signal(SIGNALS[(round + 1) % 4]);
            }
        }
        let run = running.finish();
        let at = format!("{signal} after {moment} bytes{}", run.frame());
        if !over && run.code() != Some(0) {
            run.assert_code(&[130]);
            stopped += 1;
            assert!(signs_off.iter().any(|says| run.frame().contains(says)), "no way on: {at}");
        }
        let mut client = sides.source.client(0);
        let setting: Vec<String> = client.call(cmd("CONFIG").arg("GET").arg("rdbcompression"));
        assert_eq!(setting[1], "yes", "{at}");
        assert_eq!(left_in(sides.directory.path()), Vec::<String>::new(), "{at}");
        // What a connection that was cut had still on its way may come behind.
        let mut target = sides.target.client(0);
        let mut left: Vec<String> = Vec::new();
        for _ in 0..20 {
            left = target.call(cmd("KEYS").arg("keyferry:*"));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(left, Vec::<String>::new(), "temporary keys stay: {at}");
    }
    assert!(stopped >= 3, "only {stopped} runs were stopped, nothing is tested");
}

/// Files that no run should leave.
fn left_in(directory: &Path) -> Vec<String> {
    let all = std::fs::read_dir(directory).expect("the directory").flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("part") || name.starts_with('.')).collect()
}

#[test]
fn copy() {
    let sides = Sides::filled();
    let options = ["--source-compression", "off", "--if-exists", "replace"];
    let command = |from: &str, into: &str, _: &str| Keyferry::copy(from, into).args(options);
    is_stopped(&sides, command, &["The same command "]);
}

#[test]
fn a_move() {
    let sides = Sides::filled();
    let command = |from: &str, into: &str, _: &str| {
        Keyferry::copy(from, into).args(["--delete-source", "--if-exists", "replace"])
    };
    is_stopped(&sides, command, &["The same command "]);
}

#[test]
fn verify() {
    let sides = Sides::copied();
    is_stopped(&sides, |from, into, _| Keyferry::verify(from, into), &["again"]);
}

#[test]
fn cleanup() {
    let sides = Sides::copied();
    let command = |from: &str, into: &str, _: &str| Keyferry::cleanup(from, into).arg("--force");
    is_stopped(&sides, command, &["The same command deletes the rest"]);
}

#[test]
fn backup() {
    let sides = Sides::filled();
    let command = |from: &str, _: &str, file: &str| {
        let _ = std::fs::remove_file(file);
        Keyferry::new().args(["backup", from, file, "--fetch", "dump"]).with_report()
    };
    is_stopped(&sides, command, &["again"]);
}

#[test]
fn copy_of_a_file() {
    let sides = Sides::filled();
    Keyferry::new().arg("backup").arg(sides.source.url()).arg(sides.file()).expect(0);
    let command = |_: &str, into: &str, file: &str| {
        Keyferry::copy(file, into).args(["--if-exists", "replace"])
    };
    is_stopped(&sides, command, &["The same command "]);
}

#[test]
fn plan() {
    let sides = Sides::filled();
    is_stopped(
        &sides,
        |from, into, _| Keyferry::plan(from, into),
        &["again", "stopped", "interrupted"],
    );
}
