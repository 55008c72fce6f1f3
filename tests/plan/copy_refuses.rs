//! What a plan knows cheaply and for certain, a copy refuses by itself, before anything is written.

use redis::cmd;

use super::servers;
use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

#[test]
fn a_target_that_holds_not_half_of_it() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    for policy in ["noeviction", "allkeys-lru"] {
        let target = Setup::new(Kind::Redis70)
            .option("--maxmemory", "8mb")
            .option("--maxmemory-policy", policy)
            .start();
        let run = Keyferry::copy(source.url(), target.url()).expect(4);
        run.assert_says(&["no room", "raise maxmemory"]);
        assert_eq!(run.outcome(), "refused", "{}", run.frame());
        assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
        // Some of the keys may well fit.
        Keyferry::copy(source.url(), target.url()).args(["--match", "key:1??"]).expect(0);
    }
}

#[test]
fn a_move_by_a_user_that_may_not_delete() {
    let (source, target) = servers();
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}"));
    source.client(0).run(user.arg(&["~*", "+@all", "-unlink"]));
    let mover = format!("redis://mover:{SECRET}@127.0.0.1:{}", source.port);
    let run = Keyferry::copy(&mover, target.url()).arg("--delete-source").expect(4);
    run.assert_says(&["UNLINK was refused", "+unlink"]);
    assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
    Keyferry::copy(mover, target.url()).expect(0);
}
