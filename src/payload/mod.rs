//! What is inside the value that DUMP answers and RESTORE takes: `type | body | version | CRC-64`.
//!
//! ```text
//!  payload ── footer::split ──> type and body ── visit ──> Part … Part ──> digest, decode
//!     │                            └── walk: where the value ends
//!     └── classify(target) ──> as it is · with another footer · re-encoded · by commands · not at all
//! ```
//!
//! A server takes a payload when it knows the *type byte* and accepts the *version* in the footer.
//! The version alone is patched without a look at the value, and the checksum that the source made
//! stays good or bad as it was. Only what the target does not know is decoded and encoded anew.
//!
//! Pure: no I/O, no clock. Nothing here trusts a byte: declared lengths are held against what is
//! left before memory is taken for them, and what can grow further has a named bound.

mod classify;
mod crc64;
mod decode;
mod digest;
mod encode;
pub mod footer;
mod kind;
mod knowledge;
mod lzf;
mod meaning;
mod module;
mod packed;
mod probe;
mod reader;
mod stream;
mod unloadable;
mod value;
mod visit;
mod walk;
mod writer;

pub use classify::{Policy, Reason, Reencoded, Way, classify, reencode};
pub use crc64::checksum;
pub(crate) use crc64::update as add_to_checksum;
pub use decode::{MOST_DECODED_BYTES, decode, decode_body};
pub use digest::{digest, digest_payload, same_meaning};
pub use encode::{Encoded, Losses, Refusal, encode};
pub use footer::{FOOTER_BYTES, Footer};
pub use kind::{Family, Kind, holds_times, large_type, means_the_same_to_all, type_name};
pub use knowledge::{DEFAULT_LONGEST_BULK, Knowledge, Numbers};
pub use lzf::LONGEST_STRING;
pub use meaning::{ClockRule, Meaning, all_fields_expired, same_value};
pub use module::ModuleType;
pub(crate) use module::skip as skip_module;
pub(crate) use module::skip_words as skip_module_words;
pub use probe::{Probe, ProbeOf, probes};
pub(crate) use reader::Input;
pub use stream::{Consumer, Entry};
pub use stream::{Counters, Group, Idempotency, Pending, Producer, StreamId, StreamState};
pub use unloadable::{has_nan, holds_nothing};
pub use value::{Field, Scored, Stream, Value};
pub use visit::{Pair, Part, visit, visit_body};
pub(crate) use walk::skip_value;
pub use walk::{walk, walk_body};
pub(crate) use writer::{number as write_number, string as write_string};

use thiserror::Error;

/// Why bytes are no value that can be read here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    /// Shorter than a type byte and a footer.
    #[error("the payload has {0} bytes, which is less than a type and a footer")]
    NoFooter(usize),
    /// Its bytes are not those that the checksum was made of.
    #[error("the payload's checksum is wrong")]
    Checksum,
    /// It ends inside of something.
    #[error("the value ends inside {0}")]
    Truncated(&'static str),
    /// Something in it contradicts the format.
    #[error("the value is malformed: {0}")]
    Malformed(&'static str),
    /// More than is held in memory here.
    #[error("the value is too large: {0}")]
    TooLarge(&'static str),
    /// No type that is known here.
    #[error("the value has type {0}, which is not known")]
    UnknownType(u8),
    /// A known type whose content only its maker can read.
    #[error("the value cannot be decoded: {0}")]
    Opaque(&'static str),
    /// A module's value.
    #[error("it is a value of the module type '{0}', which only that module can read")]
    Module(ModuleType),
    /// A module's value as modules wrote it before Redis 4.0 was released.
    #[error(
        "it is a value of the module type '{0}' in the format of before Redis 4.0, whose end cannot be found"
    )]
    OldModule(ModuleType),
    /// The value ends before the footer.
    #[error("the value ends {0} bytes before its footer")]
    Trailing(usize),
}

/// The result of reading a payload.
pub(crate) type Result<T, E = PayloadError> = std::result::Result<T, E>;
