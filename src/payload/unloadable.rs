//! Values that no server keeps: containers without an element, and sorted sets with a score that ends a server.

use super::kind::{Kind, Type};
use super::visit::{Part, visit_body};
use super::{PayloadError, Result};

/// The longest body that is looked at for whether it holds nothing, in bytes: a container without an element takes a
/// dozen, and what is longer must not cost every key of a file a look inside.
const LONGEST_NOTHING: usize = 256;

/// Returns true for a type byte and body, written with this RDB version, of a container without an element, which
/// servers drop when they load a file. A stream may be empty, and an empty string is a value.
pub fn holds_nothing(body: &[u8], version: u16) -> bool {
    let container = |kind| matches!(kind, Kind::List | Kind::Set | Kind::SortedSet | Kind::Hash);
    let byte = body.first().filter(|_| body.len() <= LONGEST_NOTHING);
    if !byte.is_some_and(|&byte| Type::of(byte, version).is_ok_and(|of| container(of.kind))) {
        return false;
    }
    let mut any = false;
    let read = visit_body(body, version, &mut |_| {
        any = true;
        Ok(())
    });
    read.is_ok() && !any
}

/// Returns true for a type byte and body, written with this RDB version, of a sorted set with a NaN score. No
/// command makes one, and a server that does not check ends when it sorts it.
pub fn has_nan(body: &[u8], version: u16) -> bool {
    const FOUND: PayloadError = PayloadError::Malformed("a score that is not a number");
    let sorted = |&byte: &u8| Type::of(byte, version).is_ok_and(|of| of.kind == Kind::SortedSet);
    if !body.first().is_some_and(sorted) {
        return false;
    }
    let mut found = false;
    let look = &mut |part: Part<'_>| -> Result<()> {
        found = matches!(part, Part::Scored(_, score) if score.is_nan());
        if found { Err(FOUND) } else { Ok(()) }
    };
    // The target reports other damage.
    let _ = visit_body(body, version, look);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_an_element_holds_nothing() {
        let empty: [&[u8]; 9] = [
            b"\x01\x00",
            b"\x02\x00",
            b"\x05\x00",
            b"\x04\x00",
            b"\x0d\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff",
            b"\x0e\x01\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff",
            b"\x10\x07\x07\0\0\0\0\0\xff",
            b"\x0b\x08\x02\0\0\0\0\0\0\0",
            b"\x12\x00",
        ];
        for body in empty {
            assert!(holds_nothing(body, 11), "{}", body.escape_ascii());
        }
        // A string, a stream, one element, damage, a module's value, nothing.
        let others: [&[u8]; 6] = [
            b"\x00\x00",
            b"\x0f\0\0\0\0\0",
            b"\x02\x01\x01x",
            b"\x0d\x0b\x0b\0\0\0\x0b\0\0\0\0\0\xff",
            b"\x07\x01\x00",
            b"",
        ];
        for body in others {
            assert!(!holds_nothing(body, 11), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn scores_that_are_no_numbers_are_found_in_every_form() {
        let with: [&[u8]; 3] = [
            b"\x05\x02\x01l\0\0\0\0\0\0\xf0\x3f\x01m\0\0\0\0\0\0\xf8\x7f",
            b"\x03\x01\x01m\xfd",
            b"\x0c\x13\x13\0\0\0\x0d\0\0\0\x02\0\0\x01m\x03\x03nan\xff",
        ];
        for body in with {
            assert!(has_nan(body, 9), "{}", body.escape_ascii());
        }
        let without: [&[u8]; 3] =
            [b"\x05\x01\x01m\0\0\0\0\0\0\xf0\x7f", b"\x05\x02\x01m\0", b"\x00\x03nan"];
        for body in without {
            assert!(!has_nan(body, 9), "{}", body.escape_ascii());
        }
    }
}
