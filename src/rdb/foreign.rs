//! Names files that do not begin as an RDB file does, by their first bytes.

use std::fmt;

use super::MAGIC_BYTES;

/// First bytes of files that hold something compressed.
const PACKED: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"PK\x03\x04", "zip"),
    (b"\xff\x06\0\0sNaPpY", "snappy"),
];

/// A file of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing.
    Empty,
    /// Something compressed, by this program.
    Packed(&'static str),
    /// The commands of an append-only file.
    Commands,
    /// The list of the files that an append-only file consists of.
    Manifest,
    /// The beginning of an RDB file, and no more.
    Cut,
    /// Text.
    Text,
    /// A kind that is not known here.
    Unknown,
}

impl Foreign {
    /// The kind of file that begins with these bytes.
    pub(super) fn of(first: &[u8]) -> Self {
        let packed = PACKED.iter().find(|(bytes, _)| first.starts_with(bytes));
        if let Some((_, program)) = packed {
            return Self::Packed(program);
        }
        let known = [&b"REDIS"[..], b"VALKEY"];
        match first {
            [] => Self::Empty,
            [b'*', digit, ..] if digit.is_ascii_digit() => Self::Commands,
            [b'#', b'T', b'S', b':', ..] => Self::Commands,
            _ if first.starts_with(b"file ") => Self::Manifest,
            _ if first.len() < MAGIC_BYTES
                && known
                    .iter()
                    .any(|magic| magic.starts_with(first) || first.starts_with(magic)) =>
            {
                Self::Cut
            }
            _ if std::str::from_utf8(first).is_ok_and(|text| !text.contains('\0')) => Self::Text,
            _ => Self::Unknown,
        }
    }

    /// The advice for the operator.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Packed(_) => "unpack it first, and name what comes out of it",
            Self::Commands | Self::Manifest => {
                "start a server with this append-only file (appendonly yes), and copy from that server"
            }
            Self::Empty | Self::Cut => "take another copy of it; this one is not used",
            Self::Text | Self::Unknown => {
                "name an RDB file, as servers save it and backup writes it"
            }
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("it is empty"),
            Self::Packed(program) => write!(out, "it is compressed ({program})"),
            Self::Commands => out.write_str("it is an append-only file: commands, not an RDB file"),
            Self::Manifest => out.write_str(
                "it is the manifest of an append-only file: a list of files, not an RDB file",
            ),
            Self::Cut => out.write_str("it ends within the first bytes of an RDB file"),
            Self::Text => out.write_str("it is text, not an RDB file"),
            Self::Unknown => out.write_str("it does not begin as an RDB file does"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        let cases: [(&[u8], Foreign); 13] = [
            (b"", Foreign::Empty),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", Foreign::Packed("gzip")),
            (b"\x28\xb5\x2f\xfd\x24\0\0\0\0", Foreign::Packed("zstd")),
            (b"PK\x03\x04\x14\0\0\0\0", Foreign::Packed("zip")),
            (b"*2\r\n$6\r\nS", Foreign::Commands),
            (b"#TS:16000", Foreign::Commands),
            (b"file appe", Foreign::Manifest),
            (b"REDIS00", Foreign::Cut),
            (b"VAL", Foreign::Cut),
            (b"{\"db\":0,\"", Foreign::Text),
            (b"hello", Foreign::Text),
            (b"REDIS\0\0\0\x09", Foreign::Unknown),
            (b"\x7fELF\x02\x01\x01\0\0", Foreign::Unknown),
        ];
        for (first, foreign) in cases {
            assert_eq!(Foreign::of(first), foreign, "{}", first.escape_ascii());
        }
    }
}
