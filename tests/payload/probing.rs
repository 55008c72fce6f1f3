//! What a target is found to take is what is known of its version.

use keyferry::payload::{FOOTER_BYTES, Footer, Knowledge, Way, classify, footer};
use redis::{Value, cmd};

use super::{family, learn, version};
use crate::support::server::{Kind, Server};

#[test]
fn five_servers_answer_the_probes_as_their_versions_tell() {
    for kind in Kind::ALL {
        let server = Server::start(kind);
        let mut client = server.client(0);
        let learned = learn(&mut client, Some(family(kind)));
        let told = Knowledge::of_version(family(kind), version(kind));
        assert_eq!(learned.types, told.types, "{kind:?}: the types it knows");
        assert_eq!(learned.versions.highest(), Some(version(kind)), "{kind:?}: its version");
        // Those versions that are asked about; nobody writes the others.
        for asked in [0, 1, 4].into_iter().chain(6..=16).chain(80..=83) {
            assert_eq!(learned.accepts(asked), told.accepts(asked), "{kind:?}: version {asked}");
        }
        assert_eq!(client.dbsize(), 0, "{kind:?}: something is left of the probes");
    }
}

#[test]
fn a_target_of_unknown_family_still_tells_what_both_know() {
    let server = Server::start(Kind::Valkey91);
    let learned = learn(&mut server.client(0), None);
    assert!(learned.knows(21) && !learned.knows(22));
    assert_eq!(learned.versions.highest(), Some(80));
}

#[test]
fn a_payload_that_was_damaged_is_refused_also_with_another_footer() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis62));
    source.client(0).set(b"k", &b"what a value is".repeat(9));
    let payload: Vec<u8> = source.client(0).call(cmd("DUMP").arg("k"));
    let taken = Knowledge::of_version(family(target.kind), version(target.kind));
    assert_eq!(classify(&payload, &taken, Default::default()), Way::PatchFooter { version: 9 });

    let restore = |payload: &[u8], footer: Footer| -> Result<Value, redis::RedisError> {
        let body = &payload[..payload.len() - FOOTER_BYTES];
        let patched = [body, &footer.to_bytes()].concat();
        target.client(0).try_call(cmd("RESTORE").arg("k").arg(0).arg(patched).arg("REPLACE"))
    };
    for at in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[at] ^= 0x10;
        let answer = restore(&damaged, footer::patch(&damaged, 9).expect("a footer"));
        // What stands where the version stood is replaced; it was never part of the value.
        let text = answer.expect_err("damage was taken").to_string();
        assert!(text.contains("checksum"), "byte {at}: {text}");
    }
    restore(&payload, footer::patch(&payload, 9).expect("a footer")).expect("the value as it was");
    assert_eq!(target.client(0).get(b"k"), Some(b"what a value is".repeat(9)));
}
