//! The patterns of keys that a user has, where it may ask for them.

use crate::error::Result;
use crate::net::Connection;
use crate::resp::Value;
use crate::units::printable;

use super::super::probe::refused_before_work;

/// The patterns of a user that may not touch every key, as the server writes them; `None`: it may, or this is
/// not known.
///
/// # Errors
/// The connection broke.
pub(super) async fn of_user(at: &mut Connection) -> Result<Option<String>> {
    let me = at.call(&[b"ACL", b"WHOAMI"]).await.map_err(refused_before_work)?;
    let Some(name) = me.bytes() else { return Ok(None) };
    let user = at.call(&[b"ACL", b"GETUSER", name]).await.map_err(refused_before_work)?;
    Ok(limiting(&user))
}

fn limiting(user: &Value) -> Option<String> {
    let (keys, selectors) = (field(user, b"keys")?, field(user, b"selectors"));
    let patterns = words(keys);
    let of_selectors = selectors.and_then(Value::elements).unwrap_or_default();
    let all = of_selectors.iter().filter_map(|of| field(of, b"keys")).flat_map(words);
    let every = |pattern: &String| matches!(pattern.as_str(), "~*" | "*" | "allkeys");
    if patterns.iter().any(every) || all.into_iter().any(|pattern| every(&pattern)) {
        return None;
    }
    Some(if patterns.is_empty() { "none".to_owned() } else { patterns.join(" ") })
}

fn field<'a>(of: &'a Value, name: &[u8]) -> Option<&'a Value> {
    let pairs = of.elements()?;
    let at = pairs.chunks(2).find(|pair| pair.first().and_then(Value::bytes) == Some(name))?;
    at.get(1)
}

/// A text (Redis 7.0) or a list (Redis 6).
fn words(keys: &Value) -> Vec<String> {
    match keys.elements() {
        Some(list) => list.iter().filter_map(Value::bytes).map(printable).collect(),
        None => {
            let text = printable(keys.bytes().unwrap_or_default());
            text.split_whitespace().map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(keys: Value, of_selector: &str) -> Value {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let selector =
            Value::Array(vec![text("commands"), text(""), text("keys"), text(of_selector)]);
        let selectors = Value::Array(vec![selector]);
        Value::Array(vec![
            text("flags"),
            text("on"),
            text("keys"),
            keys,
            text("selectors"),
            selectors,
        ])
    }

    #[test]
    fn patterns_are_told_where_they_limit() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        assert_eq!(limiting(&user(text("~a* %R~b*"), "")).as_deref(), Some("~a* %R~b*"));
        assert_eq!(limiting(&user(text(""), "~b*")).as_deref(), Some("none"));
        let list = |names: &[&str]| Value::Array(names.iter().map(|name| text(name)).collect());
        assert_eq!(limiting(&user(list(&["a*", "b"]), "")).as_deref(), Some("a* b"));
        for all in [user(text("~*"), ""), user(list(&["*"]), ""), user(text("~a"), "~*")] {
            assert_eq!(limiting(&all), None);
        }
        assert_eq!(limiting(&Value::Error("NOPERM".into())), None);
    }
}
