//! What a copy can do without, but an operator wants to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::cmd;

use super::servers;
use crate::support::certificates::Authority;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

#[test]
fn a_source_that_is_written_to() {
    let (source, target) = servers();
    let done = Arc::new(AtomicBool::new(false));
    let (ends, mut client) = (done.clone(), source.client(0));
    let writer = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            client.set(b"written", b"x");
        }
    });
    let run = Keyferry::plan(source.url(), target.url()).run();
    done.store(true, Ordering::Relaxed);
    writer.join().expect("the writer does not panic");
    run.assert_code(&[0]);
    assert_eq!(run.findings("warning"), ["source-is-written of source"], "{}", run.frame());
    assert!(
        run.findings("note").contains(&"other-clients of source".to_owned()),
        "{}",
        run.frame()
    );
}

#[test]
fn fields_that_expire_and_a_target_where_they_cannot() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    client.run(cmd("HSET").arg("hash").arg("f").arg("v"));
    let mut expire = cmd("HEXPIRE");
    client.run(expire.arg("hash").arg(1000).arg("FIELDS").arg(1).arg("f"));
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert_eq!(run.findings("warning"), ["type-refused of target"], "{}", run.frame());
    assert_eq!(run.report()["types"][0]["way"], "refused");
    let run = Keyferry::plan(source.url(), target.url()).arg("--lossy").expect(0);
    assert!(run.findings("warning").is_empty(), "{}", run.frame());
}

#[test]
fn values_of_modules_that_the_target_lacks() {
    let source = Server::start(Kind::Redis82);
    for number in 0..30 {
        let mut add = cmd("VADD");
        add.arg(format!("vectors:{number}")).arg(&["VALUES", "2", "1", "2", "element"]);
        source.client(0).run(&add);
    }
    let target = Server::start(Kind::Valkey91);
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert_eq!(run.findings("warning"), ["type-refused of target"], "{}", run.frame());
    assert!(run.stdout.contains("module type 'vectorset'"), "{}", run.frame());
    assert_eq!(run.report()["types"][0]["way"], "refused");
    assert_eq!(target.client(0).dbsize(), 0);
    // Values that are too large for a look: what is known of them is their type.
    let large = Server::start(Kind::Redis82);
    for number in 0..200_u32 {
        let vector: Vec<u8> =
            (0..512).flat_map(|at| ((at * number) as f32).to_le_bytes()).collect();
        large.client(0).run(cmd("VADD").arg("large").arg("FP32").arg(vector).arg(number));
    }
    let run = Keyferry::plan(large.url(), target.url()).expect(0);
    assert_eq!(run.findings("warning"), ["module-values of source"], "{}", run.frame());
    // It says what the copy does; and where the target has the module, there is nothing to say.
    let run = Keyferry::copy(source.url(), target.url()).expect(1);
    run.assert_counts(&[("failed", 30)]);
    let target = Server::start(Kind::Redis82);
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert!(run.findings("warning").is_empty(), "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn values_longer_than_the_target_takes_at_once() {
    let (source, _) = servers();
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
    let long = crate::support::dataset::noise(1, 600_000);
    for _ in 0..3 {
        source.client(0).run(cmd("RPUSH").arg("long").arg(&long));
    }
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert_eq!(run.findings("warning"), ["long-values of target"], "{}", run.frame());
}

#[test]
fn a_target_whose_memory_the_keys_nearly_use_up() {
    let source = Server::start(Kind::Redis70);
    crate::support::client::fill_strings(&mut source.client(0), "key", 10_000, 1_000);
    for policy in ["noeviction", "allkeys-lru"] {
        let setup = Setup::new(Kind::Redis70).option("--maxmemory-policy", policy);
        let target = setup.option("--maxmemory", "15mb").start();
        let run = Keyferry::plan(source.url(), target.url()).expect(0);
        assert_eq!(run.findings("warning"), ["target-memory of target"], "{}", run.frame());
        assert!(!run.stdout.contains("Nothing stands in the way"), "{}", run.frame());
        target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg("100mb"));
        let run = Keyferry::plan(source.url(), target.url()).expect(0);
        assert!(run.findings("warning").is_empty(), "{}", run.frame());
    }
}

#[test]
fn servers_that_take_few_clients() {
    let (source, target) = servers();
    for (server, side) in [(&source, "source"), (&target, "target")] {
        server.client(0).run(cmd("CONFIG").arg("SET").arg("maxclients").arg(7));
        let run = Keyferry::plan(source.url(), target.url()).expect(0);
        let warned = format!("few-connections of {side}");
        assert_eq!(run.findings("warning"), [warned], "{}", run.frame());
        Keyferry::plan(source.url(), target.url()).args(["--connections", "1"]).expect(0);
        server.client(0).run(cmd("CONFIG").arg("SET").arg("maxclients").arg(1_000));
    }
}

#[test]
fn a_source_that_sends_no_long_replies() {
    let (source, target) = servers();
    let mut client = source.client(0);
    let limit = "normal 1mb 0 0";
    client.run(cmd("CONFIG").arg("SET").arg("client-output-buffer-limit").arg(limit));
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    let notes = run.findings("note");
    assert!(notes.iter().any(|note| note == "reply-buffers of source"), "{}", run.frame());
    assert!(run.stdout.contains("1.0 MiB"), "{}", run.frame());
    client.run(cmd("SET").arg("long").arg(vec![b'x'; 3 << 20]));
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert_eq!(run.findings("warning"), ["reply-buffers of source"], "{}", run.frame());
}

#[test]
fn what_tls_is_spoken_and_whether_it_is_verified() {
    let authority = Authority::new("target");
    let (source, _) = servers();
    let target = Setup::new(Kind::Redis70).tls(&authority.local_server()).start();
    let plan = || Keyferry::plan(source.url(), target.tls_url());
    let run = plan().args(["--target-cacert", &authority.file()]).expect(0);
    assert_eq!(run.findings("note"), ["tls of target"], "{}", run.frame());
    assert!(run.stdout.contains("valid for localhost"), "{}", run.frame());
    let run = plan().arg("--target-tls-insecure").expect(0);
    assert_eq!(run.findings("warning"), ["tls-not-verified of target"], "{}", run.frame());
    plan().expect(3).assert_says(&["not trusted"]);
}
