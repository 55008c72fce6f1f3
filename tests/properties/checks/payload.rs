//! What the three checks of payloads share: how an input names its writer and its body.

use keyferry::payload::{Family, Knowledge};

use super::steering_and_subject;

/// The RDB version of the writer and the type byte with its body: `r|BODY` is Redis's 12, `n|BODY`
/// Redis 8.6's 13, `v|BODY` Valkey's 80, and without one of these letters it is 11.
pub fn version_and_body(input: &[u8]) -> (u16, &[u8]) {
    let (steering, body) = steering_and_subject(input);
    let version = match steering {
        b"r" => 12,
        b"n" => 13,
        b"v" => 80,
        _ => 11,
    };
    (version, body)
}

/// Targets of every RDB version from the first with RESTORE on, and one of no known family.
pub fn targets() -> Vec<Knowledge> {
    let redis = [6, 7, 8, 9, 10, 11, 12, 13].map(|v| Knowledge::of_version(Family::Redis, v));
    let valkey = [11, 80].map(|v| Knowledge::of_version(Family::Valkey, v));
    let other = Knowledge { family: None, ..Knowledge::of_version(Family::Redis, 13) };
    redis.into_iter().chain(valkey).chain([other]).collect()
}
