//! How a payload gets into a target: as it is, with another footer, encoded anew, by commands, or
//! not at all. Constant time, but for hashes whose fields may expire and a target that cannot.

use thiserror::Error;

use super::encode::{self, Encoded, Losses, Refusal, expiring_type};
use super::footer::Footer;
use super::kind::{self, Kind, Type};
use super::knowledge::Knowledge;
use super::reader::Reader;
use super::visit::{Part, visit_body};
use super::{PayloadError, decode, footer, module};

/// What may be given up to get a value across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether the expiries of a hash's fields may be lost to a target that has none.
    pub lossy: bool,
    /// The source's clock, in milliseconds since 1970: fields that had expired by then are left
    /// out where their expiry cannot be kept.
    pub now_ms: u64,
    /// How far the target's clock is ahead of the source's, in milliseconds: times inside of a value
    /// are moved by that, as its key's expiry is.
    pub ahead_ms: i64,
}

/// How a payload gets into a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it is.
    Verbatim,
    /// With another RDB version in its footer; see [`footer::patch`].
    PatchFooter {
        /// One that the target accepts.
        version: u16,
    },
    /// Decoded and encoded anew; see [`reencode`].
    Reencode {
        /// What is lost at most: of a stream this is known only when it is read.
        lost: Losses,
    },
    /// It is larger than the target takes at once: element by element.
    Commands,
    /// Not at all.
    Refuse(Reason),
}

/// Why a payload does not get into a target.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The target has no room for it.
    #[error(transparent)]
    Target(#[from] Refusal),
}

/// What was made of a payload for a target.
pub type Reencoded = Encoded;

/// How a payload gets into a target. Its checksum is not looked at: on the first two ways the
/// target does that, on the third [`reencode`].
pub fn classify(payload: &[u8], target: &Knowledge, policy: Policy) -> Way {
    way(payload, target, policy).unwrap_or_else(Way::Refuse)
}

fn way(payload: &[u8], target: &Knowledge, policy: Policy) -> Result<Way, Reason> {
    let (body, footer) = footer::split(payload)?;
    let byte = body.first().copied().ok_or(PayloadError::Truncated("its type"))?;
    let known = target.knows(byte) && target.understands(byte, footer.version);
    let too_long = payload.len() as u64 > target.longest_bulk;
    let moves =
        policy.ahead_ms != 0 && kind::holds_times(byte) && Type::of(byte, footer.version).is_ok();
    // Who accepts the version of its own family knows what it may hold, also what we do not know.
    let passes = !too_long && !moves;
    if passes && target.accepts(footer.version) && (known || target.is_of_writer(footer.version)) {
        return Ok(Way::Verbatim);
    }
    if passes && known {
        let version = target.version_for(byte).ok_or(Refusal::NoVersion)?;
        return Ok(Way::PatchFooter { version });
    }
    if byte == kind::KEY_METADATA {
        return Err(PayloadError::Opaque("modules keep metadata of the key in it").into());
    }
    let of = Type::of(byte, footer.version)?;
    let lost = match of.kind {
        Kind::Module => {
            return Err(module::opaque(byte, Reader::new(body.get(1..).unwrap_or_default())).into());
        }
        Kind::Hash if expires(of) && expiring_type(target).is_none() => {
            lost_expiries(body, footer, policy)?
        }
        Kind::Stream => lost_of_stream(of, target)?,
        _ => Losses::default(),
    };
    Ok(if too_long { Way::Commands } else { Way::Reencode { lost } })
}

/// Whether fields of a hash of this type may expire.
fn expires(of: Type) -> bool {
    of.family.is_some()
}

fn lost_expiries(body: &[u8], footer: Footer, policy: Policy) -> Result<Losses, Reason> {
    let (mut field_expiries, mut fields, mut expired) = (0, 0_u64, 0);
    visit_body(body, footer.version, &mut |part| {
        if let Part::Field { expires, .. } = part {
            fields += 1;
            match expires {
                Some(at) if at <= policy.now_ms => expired += 1,
                Some(_) => field_expiries += 1,
                None => {}
            }
        }
        Ok(())
    })?;
    if fields > 0 && expired == fields {
        return Err(Refusal::Expired.into());
    }
    if field_expiries > 0 && !policy.lossy {
        return Err(Refusal::FieldExpiries(field_expiries).into());
    }
    Ok(Losses { field_expiries, ..Losses::default() })
}

/// What a stream loses at most, by its type.
fn lost_of_stream(of: Type, target: &Knowledge) -> Result<Losses, Reason> {
    let types = [kind::REDIS_STREAM_4, kind::STREAM_3, kind::STREAM_2, kind::STREAM];
    let into = types
        .into_iter()
        .filter(|byte| *byte < kind::REDIS_STREAM_4 || target.family == of.family)
        .find(|byte| *byte <= of.byte && target.knows(*byte))
        .ok_or(Refusal::NoType("stream"))?;
    let lacks = |since: u8| into < since && of.byte >= since;
    Ok(Losses {
        field_expiries: 0,
        active_times: lacks(kind::STREAM_3),
        counters: lacks(kind::STREAM_2),
        idempotency: lacks(kind::REDIS_STREAM_4),
    })
}

/// Decodes a payload, whose checksum is looked at first, and encodes its value for a target.
///
/// # Errors
/// The payload cannot be read, or its value must not or cannot be sent to that target.
pub fn reencode(payload: &[u8], target: &Knowledge, policy: Policy) -> Result<Reencoded, Reason> {
    let mut value = decode(payload)?;
    value.shift(policy.ahead_ms);
    let now_ms = policy.now_ms.saturating_add_signed(policy.ahead_ms);
    Ok(encode::encode(&value, target, Policy { now_ms, ..policy })?)
}

#[cfg(test)]
mod tests {
    use super::super::Family;
    use super::super::decode::tests::samples;
    use super::*;

    const STRICT: Policy = Policy { lossy: false, now_ms: 0, ahead_ms: 0 };
    const LOSSY: Policy = Policy { lossy: true, now_ms: 0, ahead_ms: 0 };

    fn redis(version: u16) -> Knowledge {
        Knowledge::of_version(Family::Redis, version)
    }

    fn valkey(version: u16) -> Knowledge {
        Knowledge::of_version(Family::Valkey, version)
    }

    fn sample(server: &str, key: &str) -> Vec<u8> {
        samples().into_iter().find(|of| of.0 == server && of.1 == key).unwrap().2
    }

    #[test]
    fn a_value_of_a_known_type_needs_a_footer_at_most() {
        let old = sample("redis62", "hash:small");
        assert_eq!(classify(&old, &redis(12), STRICT), Way::Verbatim);
        assert_eq!(classify(&old, &redis(7), STRICT), Way::PatchFooter { version: 7 });
        let new = sample("redis82", "hash:small");
        assert_eq!(classify(&new, &valkey(80), STRICT), Way::PatchFooter { version: 11 });
        assert_eq!(classify(&new, &redis(9), STRICT), Way::Reencode { lost: Losses::default() });
    }

    #[test]
    fn types_of_one_family_never_get_to_the_other_as_they_are() {
        let theirs = sample("valkey91", "hash:expiry-small");
        let ours = sample("redis82", "hash:expiry-small");
        // Also not where a target accepts every footer, and every type for what its family means.
        let all = |family| Knowledge {
            versions: (0..128).collect(),
            types: (0..128).collect(),
            ..Knowledge::of_version(family, 12)
        };
        let anew = Way::Reencode { lost: Losses::default() };
        assert_eq!(classify(&theirs, &all(Family::Redis), STRICT), anew);
        assert_eq!(classify(&ours, &all(Family::Valkey), STRICT), anew);
        assert_eq!(classify(&ours, &all(Family::Redis), STRICT), Way::Verbatim);
        let unknown = Knowledge { family: None, ..all(Family::Redis) };
        assert_eq!(classify(&ours, &unknown, LOSSY), Way::Reencode { lost: lost_fields(2) });
        // A type that is not known here goes to its own family only.
        let newer = footer::seal(b"\x1b\0".to_vec(), 14);
        assert_eq!(classify(&newer, &redis(14), STRICT), Way::Verbatim);
        for target in [redis(13), valkey(80), all(Family::Valkey)] {
            let refused = Way::Refuse(PayloadError::UnknownType(27).into());
            assert_eq!(classify(&newer, &target, STRICT), refused);
        }
    }

    fn lost_fields(field_expiries: u64) -> Losses {
        Losses { field_expiries, ..Losses::default() }
    }

    #[test]
    fn losses_are_refused_or_told() {
        for (server, key) in [("redis82", "hash:expiry-large"), ("valkey91", "hash:expiry-small")] {
            let payload = sample(server, key);
            let refused = Way::Refuse(Refusal::FieldExpiries(2).into());
            assert_eq!(classify(&payload, &redis(11), STRICT), refused);
            let lost = lost_fields(2);
            assert_eq!(classify(&payload, &redis(11), LOSSY), Way::Reencode { lost });
        }
        let stream = sample("redis82", "stream:groups");
        assert_eq!(
            classify(&stream, &redis(8), LOSSY),
            Way::Refuse(Refusal::NoType("stream").into())
        );
        for (version, active_times, counters) in [(10, true, false), (9, true, true)] {
            let lost = Losses { active_times, counters, ..Losses::default() };
            assert_eq!(classify(&stream, &redis(version), STRICT), Way::Reencode { lost });
            assert_eq!(reencode(&stream, &redis(version), STRICT).unwrap().lost, lost);
        }
    }

    #[test]
    fn what_is_too_long_goes_by_commands() {
        let narrow = Knowledge { longest_bulk: 20, ..redis(12) };
        let long = sample("redis82", "hash:small");
        assert_eq!(classify(&long, &narrow, STRICT), Way::Commands);
        let module = footer::seal([&b"\x07\x05"[..], &[5, 1, b'x'].repeat(9), b"\0"].concat(), 12);
        assert!(matches!(classify(&module, &narrow, STRICT), Way::Refuse(_)));
        assert_eq!(classify(&module, &redis(12), STRICT), Way::Verbatim);
        assert_eq!(classify(&module, &redis(9), STRICT), Way::PatchFooter { version: 9 });
    }

    #[test]
    fn metadata_of_modules_goes_to_its_own_version_only() {
        let payload = footer::seal(b"\xf3\x00\x00\x01x".to_vec(), 13);
        assert_eq!(classify(&payload, &redis(13), STRICT), Way::Verbatim);
        assert!(matches!(classify(&payload, &redis(12), STRICT), Way::Refuse(_)));
        assert!(matches!(classify(&payload, &valkey(80), STRICT), Way::Refuse(_)));
    }

    #[test]
    fn a_damaged_payload_is_not_made_good_by_encoding_it_anew() {
        let mut damaged = sample("redis82", "hash:small");
        damaged[9] ^= 1;
        assert_eq!(reencode(&damaged, &redis(9), STRICT), Err(PayloadError::Checksum.into()));
    }
}
