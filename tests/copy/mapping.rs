//! Which database goes where: `--db`, the number in the URL, and the default.

use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};

/// A source with two keys in each of some databases, each value telling where it is from.
fn source(databases: &[u32]) -> Server {
    let server = Server::start(Kind::Redis70);
    for db in databases {
        let mut client = server.client(*db);
        client.set(b"where", format!("from {db}").as_bytes());
        client.set(format!("only in {db}").as_bytes(), b"x");
    }
    server
}

/// The database of the source from which this database of the target was filled.
fn origin(target: &Server, db: u32) -> Option<String> {
    let value = target.client(db).get(b"where")?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

/// Fails unless exactly these `(source_db, target_db)` were copied.
#[track_caller]
fn assert_copied(run: &Run, target: &Server, pairs: &[(u32, u32)]) {
    for db in 0..16 {
        let expected =
            pairs.iter().find(|(_, to)| *to == db).map(|(from, _)| format!("from {from}"));
        let keys = if expected.is_some() { 2 } else { 0 };
        assert_eq!(origin(target, db), expected, "database {db} of the target{}", run.frame());
        assert_eq!(target.client(db).dbsize(), keys, "database {db} of the target{}", run.frame());
    }
    let mut reported: Vec<(u64, u64)> = run.report()["dbs"]
        .as_array()
        .map(|dbs| {
            dbs.iter()
                .filter_map(|db| Some((db["source_db"].as_u64()?, db["target_db"].as_u64()?)))
                .collect()
        })
        .unwrap_or_default();
    reported.sort_unstable();
    let mut wanted: Vec<(u64, u64)> =
        pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    wanted.sort_unstable();
    assert_eq!(reported, wanted, "the databases of the report{}", run.frame());
    run.assert_counts(&[("copied", 2 * pairs.len() as u64)]);
}

/// Copies with these options and checks where everything went.
#[track_caller]
fn copies(options: &[&str], pairs: &[(u32, u32)]) {
    let (source, target) = (source(&[0, 1, 3, 15]), Server::start(Kind::Redis70));
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    assert_copied(&run, &target, pairs);
}

#[test]
fn by_default_every_database_goes_to_its_own_number() {
    copies(&[], &[(0, 0), (1, 1), (3, 3), (15, 15)]);
}

#[test]
fn one_database_to_the_same_number() {
    copies(&["--db", "3"], &[(3, 3)]);
}

#[test]
fn one_database_to_another_number() {
    copies(&["--db", "1:0"], &[(1, 0)]);
}

#[test]
fn several_databases_each_with_its_own_number() {
    copies(&["--db", "0:7", "--db", "1", "--db", "15:0"], &[(0, 7), (1, 1), (15, 0)]);
}

#[test]
fn databases_can_change_places_between_servers() {
    copies(&["--db", "0:1", "--db", "1:0"], &[(0, 1), (1, 0)]);
}

#[test]
fn the_numbers_in_the_urls_count() {
    let (source, target) = (source(&[0, 1, 3]), Server::start(Kind::Valkey81));
    let run = Keyferry::copy(source.url_of(1), target.url_of(4)).expect(0);
    assert_copied(&run, &target, &[(1, 4)]);
}

#[test]
fn the_number_may_stand_in_the_query() {
    let (source, target) = (source(&[0, 1, 3]), Server::start(Kind::Redis70));
    let (from, to) = (format!("{}?db=3", source.url()), format!("{}?db=2", target.url()));
    let run = Keyferry::copy(from, to).expect(0);
    assert_copied(&run, &target, &[(3, 2)]);
}

#[test]
fn a_database_moves_to_another_number_of_the_same_server() {
    let server = source(&[1]);
    let run = Keyferry::copy(server.url_of(1), server.url_of(0)).expect(0);
    run.assert_counts(&[("copied", 2)]);
    assert_eq!(origin(&server, 0).as_deref(), Some("from 1"));
    assert_eq!(origin(&server, 1).as_deref(), Some("from 1"), "the source stays as it was");
}

#[test]
fn a_database_moves_within_a_server_by_option() {
    let server = source(&[1]);
    Keyferry::copy(server.url(), server.url()).args(["--db", "1:0"]).expect(0);
    assert_eq!(origin(&server, 0).as_deref(), Some("from 1"));
}

#[test]
fn an_empty_database_asked_for_by_number_is_no_error() {
    copies_nothing(&["--db", "9"]);
    copies_nothing(&["--db", "9:2"]);
}

#[track_caller]
fn copies_nothing(options: &[&str]) {
    let (source, target) = (source(&[0]), Server::start(Kind::Redis70));
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn more_databases_than_sixteen() {
    let source = Setup::new(Kind::Redis70).option("--databases", "40").start();
    let target = Setup::new(Kind::Redis70).option("--databases", "40").start();
    for db in 0..40 {
        source.client(db).set(b"where", format!("from {db}").as_bytes());
    }
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    run.assert_counts(&[("copied", 40)]);
    for db in 0..40 {
        assert_eq!(origin(&target, db), Some(format!("from {db}")));
    }
}
