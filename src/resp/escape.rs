//! Keys are bytes; people read text. Escaped and cut, so that a log line stays one line.

/// How much of a key a message shows, in bytes.
const SHOWN_BYTES: usize = 64;

/// A key for messages: printable ASCII as it is, the rest as `\n`, `\\` or `\xNN`, cut at 64 bytes.
pub fn printable(key: &[u8]) -> String {
    let shown = key.get(..SHOWN_BYTES).unwrap_or(key);
    let mut text = shown.escape_ascii().to_string();
    if shown.len() < key.len() {
        text.push_str(&format!("…({} bytes)", key.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_on_one_line() {
        assert_eq!(printable(b"user:1"), "user:1");
        assert_eq!(printable(b"a\nb\0\xff\\"), "a\\nb\\x00\\xff\\\\");
        assert_eq!(printable(&[b'x'; 65]), format!("{}…(65 bytes)", "x".repeat(64)));
    }
}
