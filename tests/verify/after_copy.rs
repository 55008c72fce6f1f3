//! `copy --verify full`.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::fill;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

const FULL: [&str; 2] = ["--verify", "full"];

#[test]
fn a_copy_is_proven_by_values() {
    for (from, to) in [(Kind::Redis62, Kind::Redis70), (Kind::Redis70, Kind::Valkey91)] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill(&source);
        let run = Keyferry::copy(source.url(), target.url()).args(FULL).expect(0);
        let verify = &run.report()["verify"];
        assert_eq!((&verify["mode"], &verify["different"]), (&"full".into(), &0.into()));
        // The proof leaves the copy's accounts alone.
        assert_eq!(run.count("copied"), run.count("scanned"), "{}", run.frame());
        assert!(source.calls("exists") > 0, "the target's keys were not looked for{}", run.frame());
    }
}

#[test]
fn keys_that_were_there_before_are_no_difference() {
    for policy in ["replace", "skip", "merge"] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", 100, 20);
        fill_strings(&mut source.client(1), "key", 100, 20);
        fill_strings(&mut target.client(0), "mine", 7, 20);
        target.client(0).set(b"key:5", b"mine");
        let options = ["--if-exists", policy];
        let run = Keyferry::copy(source.url(), target.url()).args(FULL).args(options).expect(0);
        assert_eq!(run.differences(), [], "{policy}{}", run.frame());
    }
}

#[test]
fn a_target_that_loses_keys_is_found_out() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 10_000, 1_000);
    let target = Setup::new(Kind::Redis70)
        .option("--maxmemory", "5mb")
        .option("--maxmemory-policy", "allkeys-random")
        .start();
    // With a pattern nobody knows beforehand what fits.
    let some = ["--match", "*"];
    let run = Keyferry::copy(source.url(), target.url()).args(FULL).args(some).run();
    assert!(target.client(0).dbsize() < 10_000, "nothing was evicted, nothing is tested");
    run.assert_code(&[1, 4]);
    if run.count("copied") == 10_000 {
        // It goes on throwing keys away while it is asked.
        let missing = run.report()["verify"]["missing"].as_u64();
        assert!(missing > Some(1_000), "{}", run.frame());
    }
}

#[test]
fn what_cannot_be_proven_is_refused_before_anything_is_written() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"key", b"value");
    let rules = ["~*", "+@connection", "+select", "+info", "+time", "+exists", "+type", "+restore"];
    target
        .client(0)
        .run(cmd("ACL").arg("SETUSER").arg("writer").arg("on").arg("nopass").arg(&rules));
    let url = format!("redis://writer:x@127.0.0.1:{}", target.port);
    Keyferry::copy(source.url(), url).args(FULL).expect(4);
    assert_eq!(target.client(0).dbsize(), 0);
}
