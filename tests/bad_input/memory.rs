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

#[test]
fn of_a_merge_of_long_members() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    let long = |number: u64| noise(number, 300_000);
    let mut there = source.client(0);
    for at in 0..200 {
        there.run(cmd("HSET").arg("hash").arg(at).arg(long(at + 1)));
        there.run(cmd("HSET").arg("names").arg(long(1_000 + at)).arg(at));
        there.run(cmd("SADD").arg("set").arg(long(2_000 + at)));
        there.run(cmd("ZADD").arg("sorted").arg(at).arg(long(3_000 + at)));
    }
    // Small ones first, so that many are asked for at once when the long ones come.
    for at in 0..2_000 {
        there.run(cmd("HSET").arg("both").arg(at).arg("small"));
    }
    for at in 0..100 {
        there.run(cmd("HSET").arg("both").arg(format!("long:{at}")).arg(long(4_000 + at)));
    }
    let mut here = target.client(0);
    for hash in ["hash", "names", "both"] {
        here.run(cmd("HSET").arg(hash).arg("mine").arg("1"));
    }
    here.run(cmd("SADD").arg("set").arg("mine"));
    here.run(cmd("ZADD").arg("sorted").arg("1").arg("mine"));
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--if-exists", "merge", "--memory", "24MiB"])
        .expect(0);
    run.assert_counts(&[("merged", 5), ("failed", 0)]);
    keeps_to(&run, 24 * MIB, "merge, members of 300 kB");
    for (count, key, members) in [
        ("HLEN", "hash", 201_u64),
        ("HLEN", "names", 201),
        ("HLEN", "both", 2_101),
        ("SCARD", "set", 201),
        ("ZCARD", "sorted", 201),
    ] {
        let held: u64 = here.call(cmd(count).arg(key));
        assert_eq!(held, members, "{key}");
    }
}

#[test]
fn of_a_merge_of_members_that_fit_no_memory() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut there = source.client(0);
    there.run(cmd("SADD").arg("set").arg("one").arg(noise(1, 30 * MIB as usize)));
    there.run(cmd("SADD").arg("other").arg(noise(2, 3_000)).arg("one"));
    let mut here = target.client(0);
    here.run(cmd("SADD").arg("set").arg("mine"));
    here.run(cmd("SADD").arg("other").arg("mine"));
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--if-exists", "merge", "--memory", "24MiB"])
        .expect(1);
    run.assert_counts(&[("merged", 1), ("failed", 1)]);
    let failure = &run.report()["failures"][0];
    assert_eq!(failure["key"], "set");
    assert!(failure["error"].as_str().is_some_and(|why| why.contains("--memory")), "{failure}");
    keeps_to(&run, 24 * MIB, "merge, a member of 30 MiB");
}
