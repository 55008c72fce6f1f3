//! Any bytes as a value: its end is found or not, and is the same end however one looks for it.

use keyferry::payload::{Policy, Way, classify, footer, visit_body, walk, walk_body};

use super::payload::{targets, version_and_body};

/// The input is `WRITER|BODY`; see [`version_and_body`].
pub fn check(input: &[u8]) {
    let (version, body) = version_and_body(input);
    let end = walk_body(body, version);
    if let Ok(end) = end {
        let value = &body[..end];
        assert_eq!(walk_body(value, version), Ok(end), "what is behind the end changes it");
        for shorter in [end - 1, end / 2] {
            assert!(walk_body(&value[..shorter], version).is_err(), "it ends at {shorter} too");
        }
    }
    // What can be read has been walked through; not all that can be walked can be read.
    if visit_body(body, version, &mut |_| Ok(())).is_ok() {
        assert_eq!(end, Ok(body.len()), "it was read to another end");
    }
    if !body.is_empty() {
        ways(body, version, end == Ok(body.len()));
    }
}

/// What is said to be done with a payload can be done with it.
fn ways(body: &[u8], version: u16, whole: bool) {
    let payload = footer::seal(body.to_vec(), version);
    assert_eq!(walk(&payload).is_ok(), whole);
    for target in targets() {
        match classify(&payload, &target, Policy::default()) {
            Way::Verbatim => assert!(target.accepts(version)),
            Way::PatchFooter { version } => {
                assert!(target.accepts(version));
                let patched = footer::patch(&payload, version).expect("a footer");
                assert_eq!(patched, footer::made(body, version));
                // From this byte on the families differ.
                assert!(body[0] < 22 || target.family.is_some());
            }
            Way::Commands => panic!("it is not too long"),
            Way::Reencode { .. } | Way::Refuse(_) => {}
        }
    }
}
