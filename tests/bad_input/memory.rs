//! What a run may have resident: `--memory` and 16 MiB, whatever the servers hold. `make memory` prints it.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

const MIB: u64 = 1 << 20;

/// Fails if a run that may have so much had more resident.
#[track_caller]
fn keeps_to(run: &Run, memory: u64, what: &str) {
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a peak");
    println!(
        "{what}: {:.1} MiB resident at most, {} allowed",
        peak as f64 / MIB as f64,
        memory / MIB + 16
    );
    assert!(peak <= memory + 16 * MIB, "{what}: {peak} bytes{}", run.frame());
}

#[test]
fn of_many_connections_and_databases() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for database in 0..16 {
        fill_strings(&mut source.client(database), "key", 4_000, 1_000);
    }
    let options = ["--connections", "64", "--memory", "32MiB"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 64_000)]);
    keeps_to(&run, 32 * MIB, "copy, 64 connections, 16 databases");
    let run = Keyferry::verify(source.url(), target.url()).args(options).expect(0);
    keeps_to(&run, 32 * MIB, "verify, 64 connections, 16 databases");
}

#[test]
fn of_long_names() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    for at in 0..150_u64 {
        client.run(cmd("SET").arg(noise(at + 1, MIB as usize)).arg("value"));
    }
    for database in [1, 2] {
        fill_strings(&mut source.client(database), "key", 1_000, 100);
    }
    let memory = ["--memory", "64MiB"];
    let run = Keyferry::copy(source.url(), target.url()).args(memory).expect(0);
    run.assert_counts(&[("copied", 2_150), ("failed", 0)]);
    keeps_to(&run, 64 * MIB, "copy, 150 names of 1 MiB");
    let run = Keyferry::verify(source.url(), target.url()).args(memory).expect(0);
    keeps_to(&run, 64 * MIB, "verify, 150 names of 1 MiB");
    let run = Keyferry::copy(source.url(), target.url())
        .args(memory)
        .args(["--if-exists", "skip", "--verify", "full"])
        .expect(0);
    keeps_to(&run, 64 * MIB, "copy over what is there, 150 names of 1 MiB");
    let run = Keyferry::cleanup(source.url(), target.url()).args(memory).arg("--force").expect(0);
    run.assert_counts(&[("compared", 2_150), ("deleted_from_source", 2_150)]);
    keeps_to(&run, 64 * MIB, "cleanup, 150 names of 1 MiB");
}

#[test]
fn of_names_that_fit_no_memory() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    for at in 0..4_u64 {
        client.run(cmd("SET").arg(noise(at + 1, 64 * MIB as usize)).arg("value"));
    }
    fill_strings(&mut client, "key", 1_000, 100);
    let letters = Keyferry::new();
    let file = letters.file("letters", "");
    let run = Keyferry::copy(source.url(), target.url()).args(["--failures", &file]).expect(1);
    run.assert_counts(&[("copied", 1_000), ("failed", 4)]);
    assert!(run.stdout.contains("--memory has room for names"), "{}", run.frame());
    assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
    keeps_to(&run, 64 * MIB, "copy, four names of 64 MiB");
    // On one side or the other: what cannot be looked at is not equal.
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    keeps_to(&run, 64 * MIB, "verify, four names of 64 MiB on the source");
    let run = Keyferry::verify(target.url(), source.url()).expect(1);
    keeps_to(&run, 64 * MIB, "verify, four names of 64 MiB on the target");
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    run.assert_counts(&[("compared", 1_000), ("failed", 4), ("deleted_from_source", 1_000)]);
    keeps_to(&run, 64 * MIB, "cleanup, four names of 64 MiB");
    assert_eq!(client.dbsize(), 4, "nothing that was not copied is gone");
}

#[test]
fn of_a_verify_of_long_values() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    for at in 0..40_u64 {
        client.run(cmd("SET").arg(format!("string:{at}")).arg(noise(at + 1, 5_000_000)));
        let mut push = cmd("RPUSH");
        push.arg(format!("list:{at}"));
        (0..50).for_each(|element| {
            push.arg(noise(at * 50 + element, 100_000));
        });
        client.run(&push);
    }
    let memory = ["--memory", "24MiB"];
    let run = Keyferry::copy(source.url(), target.url()).args(memory).expect(0);
    keeps_to(&run, 24 * MIB, "copy, values of 5 MB");
    let run = Keyferry::verify(source.url(), target.url()).args(memory).expect(0);
    run.assert_counts(&[("compared", 80)]);
    keeps_to(&run, 24 * MIB, "verify, values of 5 MB");
}
