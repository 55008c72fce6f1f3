//! How long a reply of the source may be before it closes the connection, where it tells.

use super::findings::Findings;
use super::sample::Sample;
use crate::error::{Result, Side};
use crate::net::Connection;
use crate::report::Finding;
use crate::units;

/// The settings that limit it.
const SETTINGS: [&str; 2] = ["client-output-buffer-limit", "maxmemory-clients"];

/// Asks for the shortest limit, in bytes, and the setting it comes from; `None`: there is none, or nobody may
/// know.
///
/// # Errors
/// The connection broke.
pub(super) async fn ask(source: &mut Connection) -> Result<Option<(u64, &'static str)>> {
    let mut least: Option<(u64, &'static str)> = None;
    for setting in SETTINGS {
        let told = source.call(&[b"CONFIG", b"GET", setting.as_bytes()]).await?;
        let Some([_, value]) = told.elements() else { continue };
        let limit = value.text().and_then(limit);
        if let Some(limit) = limit.filter(|limit| least.is_none_or(|(least, _)| *limit < least)) {
            least = Some((limit, setting));
        }
    }
    Ok(least)
}

/// `normal HARD SOFT SECONDS slave …`, or a number of bytes; 0: no limit. A share of `maxmemory` is not told.
fn limit(value: &str) -> Option<u64> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let of_clients = words.iter().position(|word| *word == "normal");
    let numbers = match of_clients {
        Some(at) => words.get(at + 1..at + 3)?,
        None => words.get(..1)?,
    };
    numbers.iter().filter_map(|word| word.parse().ok()).filter(|bytes| *bytes > 0).min()
}

/// Says what the limit means for the values that were looked at.
pub(super) fn judge(findings: &mut Findings, limit: Option<(u64, &'static str)>, sample: &Sample) {
    let Some((bytes, setting)) = limit else { return };
    let text = format!(
        "it closes connections for which more than {} waits ({setting}): longer values go in parts, and no \
         element of theirs may be longer",
        units::bytes(bytes)
    );
    let remedy = format!("lift {setting} for the time of the copy");
    let longer = sample.keys.iter().any(|key| key.bytes() > bytes);
    let finding = match longer {
        true => Finding::warning("reply-buffers", text, &remedy),
        false => Finding::note("reply-buffers", text).with_remedy(&remedy),
    };
    findings.add(finding.on(Side::Source.word()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_servers_tell_them() {
        let told = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(limit(told), None);
        assert_eq!(limit("normal 1048576 0 0 slave 0 0 0"), Some(1 << 20));
        assert_eq!(limit("slave 0 0 0 normal 4194304 1048576 1"), Some(1 << 20));
        assert_eq!(
            (limit("0"), limit("1048576"), limit("5%"), limit("")),
            (None, Some(1 << 20), None, None)
        );
    }
}
