//! What a plan knows cheaply and for certain, a copy refuses by itself, before anything is written.

use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
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
