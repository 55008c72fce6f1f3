//! Endpoints and databases that are wrong, and doors that stay shut.

use crate::support::keyferry::{Keyferry, Run, SECRET};
use crate::support::server::{Kind, Server, Setup};

/// A port on which nobody listens: it was free a moment ago.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the address of a listener").port()
}

#[test]
fn nobody_listens_at_the_source() {
    let (port, target) = (closed_port(), Server::start(Kind::Redis70));
    let url = format!("redis://:{SECRET}@127.0.0.1:{port}");
    let run = Keyferry::copy(url, target.url()).impatient().expect(3);
    run.assert_says(&["source", &format!("127.0.0.1:{port}"), "refused"]);
}

#[test]
fn nobody_listens_at_the_target() {
    let (port, source) = (closed_port(), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"1");
    let run =
        Keyferry::copy(source.url(), format!("redis://127.0.0.1:{port}")).impatient().expect(3);
    run.assert_says(&["target", &format!("127.0.0.1:{port}"), "refused"]);
}

#[test]
fn a_host_that_does_not_exist() {
    let target = Server::start(Kind::Redis70);
    let url = format!("redis://:{SECRET}@no-such-host.invalid:6379");
    let run = Keyferry::copy(url, target.url()).impatient().expect(3);
    run.assert_says(&["source", "no-such-host.invalid"]);
}

/// Tries to log in to the source and expects to be turned away.
#[track_caller]
fn turned_away(source: &Server, url: &str) -> Run {
    source.client(0).set(b"a", b"1");
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(url, target.url()).impatient().expect(3);
    run.assert_says(&["source", &source.port.to_string()]);
    assert_eq!(target.client(0).dbsize(), 0);
    run
}

#[test]
fn a_wrong_password() {
    let source = Setup::new(Kind::Redis70).password("right").start();
    let run = turned_away(&source, &format!("redis://:{SECRET}@127.0.0.1:{}", source.port));
    run.assert_says(&["password"]);
}

#[test]
fn a_wrong_password_on_an_old_server() {
    let source = Setup::new(Kind::Redis62).password("right").start();
    turned_away(&source, &format!("redis://default:{SECRET}@127.0.0.1:{}", source.port));
}

#[test]
fn an_unknown_user() {
    let source = Setup::new(Kind::Valkey91).password("right").start();
    turned_away(&source, &format!("redis://nobody:{SECRET}@127.0.0.1:{}", source.port));
}

#[test]
fn no_password_where_one_is_needed() {
    let source = Setup::new(Kind::Redis70).password(SECRET).start();
    let run = turned_away(&source, &source.url());
    // What to do about it.
    run.assert_says_one_of(&["SOURCE_REDIS_PASSWORD", "-password-file"]);
}

#[test]
fn no_password_at_the_target() {
    let source = Server::start(Kind::Redis70);
    source.client(0).set(b"a", b"1");
    let target = Setup::new(Kind::Valkey81).password(SECRET).start();
    let run = Keyferry::copy(source.url(), target.url()).impatient().expect(3);
    run.assert_says(&["target", "password"]);
}

#[test]
fn a_password_where_none_is_set_up() {
    // Redis answers AUTH with an error then; whether to go on is not laid down, to hang or crash is.
    let source = Server::start(Kind::Redis70);
    let target = Server::start(Kind::Redis70);
    let url = format!("redis://:{SECRET}@127.0.0.1:{}", source.port);
    Keyferry::copy(url, target.url()).impatient().run().assert_code(&[0, 3]);
}

#[test]
fn urls_that_are_none() {
    let target = "redis://127.0.0.1:1";
    let bad = [
        "http://127.0.0.1:6379",
        "ftp://:s3ntinel-Passw0rd@127.0.0.1",
        "127.0.0.1:6379",
        "",
        "redis://",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:port",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:65536",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:-1",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:6379/first",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:6379/-1",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:6379/1/2",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:6379/99999999999",
        "redis://:s3ntinel-Passw0rd@127.0.0.1:6379?db=first",
        "redis://:s3ntinel-Passw0rd%zz@127.0.0.1:6379",
        "redis://[::1:6379",
        "redis://:s3ntinel-Passw0rd@",
        "unix://",
    ];
    for url in bad {
        for (source, target) in [(url, target), (target, url)] {
            let run = Keyferry::copy(source, target).impatient().run();
            assert_eq!(run.code(), Some(2), "{url:?} as {source:?} -> {target:?}{}", run.frame());
        }
    }
}

#[test]
fn mappings_that_are_none() {
    for mapping in
        ["abc", "-1", "0:1:2", "1:", ":1", "", "1.5", "0:-1", "99999999999", "0-1", "0:b"]
    {
        let run = Keyferry::copy("redis://127.0.0.1:1", "redis://127.0.0.1:2")
            .arg(format!("--db={mapping}"))
            .run();
        assert_eq!(run.code(), Some(2), "--db={mapping}{}", run.frame());
        run.assert_says(&["--db"]);
    }
}

#[test]
fn databases_the_server_does_not_have() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"1");
    target.reset_commands();
    let attempts: [(String, String, &[&str], &str); 4] = [
        (source.url_of(99), target.url_of(0), &[], "source"),
        (source.url_of(0), target.url_of(99), &[], "target"),
        (source.url(), target.url(), &["--db", "99:0"], "source"),
        (source.url(), target.url(), &["--db", "0:99"], "target"),
    ];
    for (from, to, options, side) in attempts {
        let run = Keyferry::copy(from, to).impatient().args(options).run();
        run.assert_code(&[3, 4]);
        run.assert_says(&["99", side, "database"]);
        assert_eq!(target.writes_done(), Vec::<String>::new(), "{}", run.frame());
    }
}

#[test]
fn a_default_copy_into_a_server_with_fewer_databases() {
    let source = Server::start(Kind::Redis70);
    let target = Setup::new(Kind::Redis70).option("--databases", "2").start();
    // Enough that database 0 would be on its way if somebody began before looking at all of them.
    crate::support::client::fill_strings(&mut source.client(0), "key", 5_000, 100);
    source.client(9).set(b"b", b"2");
    target.reset_commands();
    let run = Keyferry::copy(source.url(), target.url()).impatient().run();
    run.assert_code(&[3, 4]);
    run.assert_says(&["9", "target"]);
    assert_eq!(target.writes_done(), Vec::<String>::new(), "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
    assert_eq!((run.count("copied"), run.count("failed")), (0, 0), "{}", run.frame());
}
