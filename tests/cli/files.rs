//! The files that a command line names: none has two uses, and an old one stays until a new one is whole.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redis::cmd;
use tempfile::TempDir;

use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Nobody listens there.
const NOWHERE: &str = "redis://127.0.0.1:1";

/// An option that names a file, or an argument that does; whether the file is written.
type Use = (&'static str, bool);

const READ: [Use; 10] = [
    ("--source-password-file", false),
    ("--source-cacert", false),
    ("--source-cert", false),
    ("--source-key", false),
    ("--source-service-key", false),
    ("--target-password-file", false),
    ("--target-cacert", false),
    ("--target-cert", false),
    ("--target-key", false),
    ("--target-service-key", false),
];

const WRITTEN: [Use; 3] = [("--report", true), ("--failures", true), ("--differences", true)];

/// Each command with what names a file to it.
fn commands() -> Vec<(Vec<&'static str>, Vec<Use>)> {
    let both = [&READ[..], &WRITTEN].concat();
    let of_source = [&READ[..5], &WRITTEN[..2], &[("FILE", true)]].concat();
    let state = [&both[..], &[("--state", true), ("--retry-failures", false)]].concat();
    let of_file = [&READ[5..], &WRITTEN[..2], &[("FILE", false)]].concat();
    vec![
        (vec!["copy", NOWHERE, NOWHERE], state),
        (vec!["verify", NOWHERE, NOWHERE], both.clone()),
        (vec!["cleanup", NOWHERE, "--verified-against", NOWHERE, "--force"], both),
        (vec!["backup", NOWHERE, "FILE"], of_source),
        (vec!["copy", "FILE", NOWHERE], of_file),
    ]
}

/// One file by other names: the same path, through `..`, through a symbolic link, by a hard link.
fn names(directory: &Path, exists: bool) -> Vec<PathBuf> {
    let at = |name: &str| directory.join(name);
    fs::create_dir(at("below")).expect("a directory");
    symlink("one.rdb", at("soft.rdb")).expect("a link");
    let mut names = vec![at("one.rdb"), at("below/../one.rdb"), at("soft.rdb")];
    if exists {
        fs::write(at("one.rdb"), "precious").expect("a file");
        fs::hard_link(at("one.rdb"), at("hard.rdb")).expect("a link");
        names.push(at("hard.rdb"));
    }
    names
}

fn give(arguments: &mut Vec<String>, (option, _): Use, path: &Path) {
    let path = path.to_str().expect("a plain name").to_owned();
    match arguments.iter().position(|argument| argument == option) {
        Some(at) => arguments[at] = path,
        None => arguments.extend([option.to_owned(), path]),
    }
}

#[test]
fn no_file_that_is_written_has_another_use() {
    for exists in [true, false] {
        for (command, uses) in commands() {
            for (at, &one) in uses.iter().enumerate() {
                for &other in uses.iter().skip(at + 1).filter(|other| one.1 || other.1) {
                    refuses(&command, one, other, exists);
                }
            }
        }
    }
}

#[track_caller]
fn refuses(command: &[&str], one: Use, other: Use, exists: bool) {
    let directory = TempDir::new().expect("a temporary directory");
    let names = names(directory.path(), exists);
    let before = listing(directory.path());
    for name in &names {
        let mut arguments: Vec<String> =
            command.iter().map(|&argument| argument.to_owned()).collect();
        give(&mut arguments, one, &names[0]);
        give(&mut arguments, other, name);
        if arguments.iter().any(|argument| argument == "FILE") {
            let file = directory.path().join("FILE.rdb");
            give(&mut arguments, ("FILE", false), &file);
        }
        let run = Keyferry::new().args(&arguments).run();
        assert_eq!(run.code(), Some(2), "{arguments:?}{}", run.frame());
        // A file that has to be read and is not there, or is none, is refused for that.
        assert_eq!(listing(directory.path()), before, "{arguments:?}{}", run.frame());
    }
}

/// Every name below, with what it holds.
fn listing(directory: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found: Vec<_> = directory
        .read_dir()
        .expect("it is there")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).ok()))
        .collect();
    found.sort();
    found
}

#[test]
fn the_two_options_are_named() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("one");
    let run = Keyferry::new().args(["copy", NOWHERE, NOWHERE, "--failures"]).arg(&path);
    let run = run.arg("--report").arg(directory.path().join("./one")).expect(2);
    run.assert_says(&["--failures and --report name the same file", "a file of its own"]);
}

#[test]
fn an_old_list_stays_where_nothing_was_copied() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for server in [&source, &target] {
        fill_strings(&mut server.client(0), "key", 10, 10);
    }
    let directory = TempDir::new().expect("a temporary directory");
    let list = directory.path().join("list");
    fs::write(&list, "precious\n").expect("a file");
    let run = |to: &str, options: &[&str], code: i32| {
        let copy = Keyferry::copy(source.url(), to).impatient().args(options);
        copy.arg("--failures").arg(&list).expect(code);
        assert_eq!(fs::read(&list).expect("a list"), b"precious\n", "{to} {options:?}");
        assert_eq!(directory.path().read_dir().expect("it is there").count(), 1);
    };
    // The target holds keys; a dry run; nobody listens; a mistake.
    run(&target.url(), &[], 4);
    run(&target.url(), &["--if-exists", "fail", "--dry-run"], 1);
    run(NOWHERE, &[], 3);
    run(&target.url(), &["--db", "x"], 2);
    // A run that does its work has a list of its own.
    let copy = Keyferry::copy(source.url(), target.url()).args(["--if-exists", "fail"]);
    copy.arg("--failures").arg(&list).expect(1);
    assert_eq!(fs::read_to_string(&list).expect("a list").lines().count(), 10);
    let link = directory.path().join("link");
    symlink("list", &link).expect("a link");
    let copy = Keyferry::copy(source.url(), target.url()).args(["--if-exists", "replace"]);
    copy.arg("--failures").arg(&link).expect(0);
    assert_eq!(fs::read(&list).expect("a list"), b"");
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
}

/// Each output over each of what keyferry makes: what can be had again is replaced, the rest is not.
#[test]
fn what_cannot_be_had_again_is_not_replaced() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for server in [&source, &target] {
        fill_strings(&mut server.client(0), "key", 2_000, 10);
    }
    let directory = TempDir::new().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    Keyferry::new().arg("backup").arg(source.url()).arg(at("saved")).expect(0);
    let copy =
        || Keyferry::new().args(["copy", &source.url(), &target.url(), "--if-exists", "fail"]);
    copy().arg("--failures").arg(at("list")).arg("--report").arg(at("report")).expect(1);
    let mut running = copy().args(["--max-keys-rate", "500", "--state"]).arg(at("state")).start();
    wait_until("it is begun", || at("state").exists() || running.is_over());
    running.signal("KILL");
    running.finish();
    for option in ["--report", "--failures", "--differences"] {
        for precious in ["saved", "state", "list"] {
            if (option, precious) == ("--failures", "list") {
                continue;
            }
            let before = fs::read(at(precious)).expect("a file");
            let verify = || Keyferry::new().args(["verify", &source.url(), &target.url(), option]);
            for run in [verify(), copy().arg(option)] {
                let run = run.arg(at(precious)).expect(2);
                run.assert_says(&[option, precious, "would be replaced"]);
                assert_eq!(fs::read(at(precious)).expect("a file"), before, "{option}");
            }
        }
    }
    let bench = Keyferry::new().args(["bench", "--report"]).arg(at("saved"));
    bench.expect(2).assert_says(&["is an RDB file", "would be replaced"]);
    // A list takes the place of a list, a report that of a report.
    copy().arg("--failures").arg(at("list")).arg("--report").arg(at("report")).expect(1);
    // A checkpoint takes the place of nothing, and nobody is told to remove another file for it.
    for (precious, is) in [("saved", "is an RDB file"), ("list", "is a list of keys that failed")] {
        let before = fs::read(at(precious)).expect("a file");
        let run = copy().arg("--state").arg(at(precious)).expect(5);
        run.assert_says(&[is, "name another file"]);
        assert!(!run.stderr.contains("remove it"), "{}", run.frame());
        assert_eq!(fs::read(at(precious)).expect("a file"), before);
    }
}

#[test]
fn pipes_and_devices_are_written_to() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 10, 10);
    for option in ["--failures", "--differences", "--report"] {
        for place in ["/dev/null", "/dev/stdout"] {
            let copy = Keyferry::new().args(["copy", &source.url(), &target.url()]);
            let copy = copy.args(["--if-exists", "replace", "--verify", "full"]);
            copy.args([option, place]).expect(0);
        }
        let directory = TempDir::new().expect("a temporary directory");
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).expect("text")
        });
        let run =
            Keyferry::new().args(["copy", &source.url(), &target.url(), "--if-exists", "fail"]);
        run.args(["--verify", "none"]).arg(option).arg(&pipe).expect(1);
        let lines = reader.join().expect("no panic").lines().count();
        assert!(
            if option == "--differences" { lines == 0 } else { lines >= 10 },
            "{option}: {lines}"
        );
    }
}

#[test]
fn what_cannot_be_written_is_exit_1_with_the_summary() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 10, 10);
    for option in ["--failures", "--report"] {
        let run =
            Keyferry::new().args(["copy", &source.url(), &target.url(), "--if-exists", "fail"]);
        target.client(0).run(&cmd("FLUSHALL"));
        target.client(0).set(b"key:1", b"theirs");
        let run = run.args([option, "/dev/full"]).expect(1);
        assert!(run.stdout.contains("copied 9 keys"), "{}", run.frame());
        run.assert_says(&["could not be written"]);
    }
    target.client(0).run(&cmd("FLUSHALL"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    let full = fs::File::options().write(true).open("/dev/full").expect("a device");
    let copy = command.args(["copy", &source.url(), &target.url()]).stdin(Stdio::null());
    let output = copy.stdout(full).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stdout could not be written"));
    // A reader that has seen enough is no failure.
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyferry"))
        .args(["copy", "--help"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut first = [0; 1];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("help");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_a_killed_backup_left_is_named_and_removed_by_the_next() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 2_000, 100);
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("saved.rdb");
    let backup = || Keyferry::new().arg("backup").arg(source.url()).arg(&file);
    let mut running = backup().args(["--max-keys-rate", "500"]).start();
    let names = || -> Vec<String> {
        let entries = directory.path().read_dir().expect("it is there");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    };
    wait_until("the file is begun", || !names().is_empty() || running.is_over());
    // Two at once do not take each other's file for one that was left behind.
    let second = backup().args(["--max-keys-rate", "500"]).start();
    wait_until("the other is begun", || names().len() == 2);
    running.signal("KILL");
    second.signal("KILL");
    wait_until("it is gone", || running.is_over());
    assert_eq!(second.finish().code(), None);
    let left = names();
    assert!(left.len() == 2 && left.iter().all(|name| name.ends_with(".part")), "{left:?}");
    let run = backup().expect(0);
    run.assert_says(&["removed", &left[0], &left[1], "was killed before it was whole"]);
    assert_eq!(names(), ["saved.rdb"]);
}

#[test]
fn a_checkpoint_behind_a_link_stays_there_and_has_one_user() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 3_000, 10);
    let directory = TempDir::new().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    symlink("real", at("soft")).expect("a link");
    let copy = |state: &str| {
        let copy = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "1000"]);
        copy.arg("--state").arg(at(state))
    };
    let mut running = copy("soft").start();
    wait_until("it is begun", || at("real").exists() || running.is_over());
    assert!(fs::symlink_metadata(at("soft")).expect("it is there").is_symlink());
    copy("real").expect(5).assert_says(&["in use by another process"]);
    let mut client = target.client(0);
    wait_until("some keys have arrived", || client.dbsize() > 100 || running.is_over());
    running.signal("INT");
    running.finish().assert_code(&[130]);
    fs::hard_link(at("real"), at("hard")).expect("a link");
    let mut running = copy("real").start();
    wait_until("it goes on", || at("real.lock").exists() || running.is_over());
    copy("hard").expect(5).assert_says(&["in use by another process"]);
    running.signal("INT");
    running.finish().assert_code(&[0, 130]);
    // What a later version wrote is named as such.
    fs::write(at("real"), r#"{"keyferry_checkpoint": 2, "other": true}"#).expect("a file");
    copy("real").expect(5).assert_says(&["another version of keyferry", "its format is 2"]);
}
