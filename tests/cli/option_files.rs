//! Files that options name: pipes that never end, devices without an end, and what is none of either.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

/// Nobody listens there.
const NOWHERE: &str = "redis://127.0.0.1:1";

/// A pipe that nobody writes to.
fn pipe(directory: &Path, name: &str) -> PathBuf {
    let pipe = directory.join(name);
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    pipe
}

/// They are read, locked, replaced, removed: nothing but a file will do, and nobody is told to remove a device.
#[test]
fn a_checkpoint_or_a_list_to_retry_is_a_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let waiting = pipe(directory.path(), "pipe");
    pipe(directory.path(), "state.lock");
    pipe(directory.path(), "other.part");
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(&waiting, at("link")).expect("a link");
    for command in ["copy", "plan"] {
        let refused = |option: &str, path: &Path| {
            let run = Keyferry::new().args([command, NOWHERE, NOWHERE, option]).arg(path).expect(2);
            run.assert_says(&[option, "a pipe, a device or a directory"]);
            assert!(!run.stderr.contains("remove it"), "{}", run.frame());
        };
        for option in ["--state", "--retry-failures"] {
            for path in [&waiting, &at("link"), Path::new("/dev/full"), Path::new("/dev/zero")] {
                refused(option, path);
            }
            refused(option, directory.path());
            let run = Keyferry::new().args([command, NOWHERE, NOWHERE, option, "-"]).expect(2);
            run.assert_says(&[option, "cannot be '-'"]);
        }
        // What is made beside a checkpoint has to be a file, too.
        refused("--state", &at("state"));
        refused("--state", &at("other"));
    }
}

#[test]
fn what_an_option_reads_has_an_end() {
    for side in ["source", "target"] {
        for option in ["password-file", "service-key", "cacert", "cert", "key"] {
            let option = format!("--{side}-{option}");
            let run =
                Keyferry::new().args(["copy", "rediss://127.0.0.1:1", "rediss://127.0.0.1:1"]);
            let run = run.args([option.as_str(), "/dev/zero"]).expect(2);
            run.assert_says(&[&option, "/dev/zero", "holds more than 1.0 MiB"]);
        }
    }
}

/// As a shell gives one by `<(…)`.
#[test]
fn a_password_can_come_from_a_pipe() {
    let source = Setup::new(Kind::Redis70).password(SECRET).start();
    let target = Server::start(Kind::Redis70);
    source.client(0).set(b"a", b"1");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let password = pipe(directory.path(), "password");
    let writer = std::thread::spawn({
        let password = password.clone();
        move || std::fs::write(password, format!("{SECRET}\n")).expect("a reader")
    });
    let copy = Keyferry::copy(source.url(), target.url());
    copy.arg("--source-password-file").arg(&password).expect(0).assert_counts(&[("copied", 1)]);
    writer.join().expect("no panic");
}

/// A pipe that nobody writes to is waited for, and a signal ends that.
#[test]
fn a_signal_ends_the_wait_for_a_pipe() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let waiting = pipe(directory.path(), "pipe");
    for option in ["--source-password-file", "--source-cacert", "--source-key"] {
        let run = Keyferry::new().args(["copy", "rediss://127.0.0.1:1", NOWHERE, option]);
        let running = run.arg(&waiting).start();
        // Long before or while it waits.
        running.signal("TERM");
        let run = running.finish();
        assert!(run.code() != Some(0), "{}", run.frame());
    }
}
