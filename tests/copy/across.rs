//! Every value of each of the five servers into each of the five: equal, or named with the reason.

use redis::cmd;

use crate::support::compare::{What, assert_equal, compare};
use crate::support::dataset::{SAME_NUMBERS, fill, noise};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

/// Hashes with fields that expire, in the data of a server that knows such fields.
const EXPIRING: &str = "hash:field-expiry";

fn fields_expire(kind: Kind) -> bool {
    matches!(kind, Kind::Redis82 | Kind::Valkey91)
}

/// RDB versions, which footers carry.
fn version(kind: Kind) -> (&'static str, u16) {
    match kind {
        Kind::Redis62 => ("redis", 9),
        Kind::Redis70 => ("redis", 10),
        Kind::Redis82 => ("redis", 12),
        Kind::Valkey81 => ("valkey", 11),
        Kind::Valkey91 => ("valkey", 80),
    }
}

fn way(run: &Run, name: &str) -> u64 {
    run.report()["ways"][name].as_u64().unwrap_or_default()
}

/// The first run may fail keys, and names them; the second may lose what the target cannot keep.
#[track_caller]
fn crosses_to_all(from: Kind) {
    let source = Server::start(from);
    fill(&source);
    for to in Kind::ALL {
        let target = Server::start(to);
        // All by DUMP, so that every value shows what becomes of it.
        let copy = || Keyferry::copy(source.url(), target.url()).args(["--fetch", "dump"]);
        if fields_expire(from) && !fields_expire(to) {
            only_expiring_fields_fail(&source, &target, &copy().expect(1));
            let run = copy().args(["--lossy", "--if-exists", "replace"]).expect(0);
            assert_losses_are_named(&run);
            // What was to be lost is no difference.
            let full = ["--lossy", "--if-exists", "replace", "--verify", "full"];
            let run = copy().args(full).expect(0);
            assert!(run.stdout.contains("Verified (full)"), "{}", run.frame());
        } else {
            copy().expect(0);
        }
        assert_equal(&source, &target, &SAME_NUMBERS);
        let run = copy().args(["--lossy", "--if-exists", "replace"]).expect(0);
        assert_ways(&run, from, to);
        assert_equal(&source, &target, &SAME_NUMBERS);
    }
}

#[track_caller]
fn only_expiring_fields_fail(source: &Server, target: &Server, run: &Run) {
    let failures = run.report()["failures"].as_array().cloned().unwrap_or_default();
    assert!(!failures.is_empty(), "{}", run.frame());
    for failure in &failures {
        let (key, error) = (failure["key"].as_str(), failure["error"].as_str());
        assert!(key.is_some_and(|key| key.starts_with(EXPIRING)), "{failure}{}", run.frame());
        assert!(error.is_some_and(|error| error.contains("fields expire")), "{failure}");
        assert!(
            error.is_some_and(|error| error.contains("--lossy")),
            "it says what to do: {failure}"
        );
    }
    let found = compare(source, target, &SAME_NUMBERS);
    assert_eq!(found.len(), failures.len(), "{}", run.frame());
    assert!(found.iter().all(|difference| difference.what == What::Missing));
}

#[track_caller]
fn assert_losses_are_named(run: &Run) {
    let losses = &run.report()["losses"];
    let named = losses["named"].as_array().cloned().unwrap_or_default();
    let hashes = named.iter().filter(|loss| {
        let is_hash = loss["key"].as_str().is_some_and(|key| key.starts_with(EXPIRING));
        is_hash && loss["lost"].as_str().is_some_and(|lost| lost.contains("fields"))
    });
    let hashes = hashes.count() as u64;
    assert!(hashes > 0, "{losses}{}", run.frame());
    assert_eq!(losses["field_expiries"], 2 * hashes, "two fields of each expire{}", run.frame());
    assert_eq!(losses["keys"], named.len(), "{}", run.frame());
    assert!(run.stdout.contains("lost what the target has no room for"), "{}", run.frame());
}

/// Nothing is decoded that need not be.
#[track_caller]
fn assert_ways(run: &Run, from: Kind, to: Kind) {
    let ((family, own), (target_family, taken)) = (version(from), version(to));
    let newer = own > 11 && family != target_family || own > taken;
    let all = run.count("copied");
    if newer {
        assert_eq!(way(run, "verbatim"), 0, "{from:?} to {to:?}{}", run.frame());
        assert!(way(run, "footer") > all / 3, "{from:?} to {to:?}{}", run.frame());
    } else {
        assert_eq!(way(run, "verbatim"), all, "{from:?} to {to:?}{}", run.frame());
    }
    let anew = way(run, "reencoded");
    let oldest = to == Kind::Redis62 && from != Kind::Redis62;
    let fields = fields_expire(from) && (family != target_family || !fields_expire(to));
    let sets = to == Kind::Redis70 && taken < own;
    assert_eq!(anew > 0, oldest || fields || sets, "{from:?} to {to:?}: {anew}{}", run.frame());
}

#[test]
fn redis_6_2_crosses_to_all() {
    crosses_to_all(Kind::Redis62);
}

#[test]
fn redis_7_0_crosses_to_all() {
    crosses_to_all(Kind::Redis70);
}

#[test]
fn redis_8_2_crosses_to_all() {
    crosses_to_all(Kind::Redis82);
}

#[test]
fn valkey_8_1_crosses_to_all() {
    crosses_to_all(Kind::Valkey81);
}

#[test]
fn valkey_9_1_crosses_to_all() {
    crosses_to_all(Kind::Valkey91);
}

/// The default way, and both ways of merging what exists, with a target that is older.
#[test]
fn what_exists_on_an_older_target_is_merged_or_taken_for_our_own() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis62));
    fill(&source);
    Keyferry::copy(source.url(), target.url()).args(["--lossy"]).expect(0);
    target.client(0).run(cmd("SREM").arg("set:large").arg("member 7"));
    target.client(0).run(cmd("DEL").arg("list:large"));
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--lossy", "--if-exists", "merge"])
        .expect(0);
    assert!(run.count("merged") > 0, "{}", run.frame());
    assert_equal(&source, &target, &SAME_NUMBERS);
}

/// A user who may write only some keys cannot ask with the probe's name: the version is believed.
#[test]
fn a_target_that_refuses_the_probes_is_believed_its_version() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis70));
    source.client(0).run(cmd("SADD").arg("app:set").arg("a").arg("b"));
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("porter").arg("on").arg(">pw").arg("+@all").arg("-config");
    target.client(0).run(user.arg("~app:*").arg("~keyferry:probe"));
    let url = target.url().replace("://", "://porter:pw@");
    Keyferry::copy(source.url(), &url).args(["--match", "app:*"]).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

/// Too large to be decoded here, and of a type that the target does not know.
#[test]
fn a_large_value_of_a_newer_type_goes_element_by_element() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis62));
    let mut client = source.client(0);
    for part in 0..400_u64 {
        client.run(cmd("RPUSH").arg("list").arg(part).arg(noise(part, 100_000)));
    }
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    assert_eq!(way(&run, "commands"), 1, "{}", run.frame());
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64();
    assert!(peak.is_some_and(|peak| peak < 40_000_000), "less than the value{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

/// It comes compressed, and what it becomes for the target is longer than the target takes.
#[test]
fn a_value_that_grows_beyond_the_targets_limit_goes_element_by_element() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis62));
    target.client(0).run(cmd("CONFIG").arg("SET").arg("proto-max-bulk-len").arg("1mb"));
    for _ in 0..40 {
        source.client(0).run(cmd("RPUSH").arg("list").arg(vec![b'x'; 60_000]));
    }
    source.client(0).run(cmd("SADD").arg("set").arg("a").arg("b"));
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    run.assert_counts(&[("copied", 2)]);
    assert_eq!(way(&run, "commands"), 1, "{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}
