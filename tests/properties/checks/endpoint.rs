//! Endpoints: any text is parsed or refused, and what is shown tells nothing about the password.
//!
//! "Contains the password" cannot be asked of a text (the password may be `s`). So the password is
//! changed, and what is shown must not change with it.

use keyferry::config::endpoint::{Endpoint, Secret};
use keyferry::error::{Error, Kind};

/// The input is the text of an endpoint; what is no UTF-8 never reaches the parser.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Endpoint::parse(text) {
        Ok(endpoint) => check_endpoint(&endpoint),
        Err(error) => check_error(text, &error),
    }
}

/// A shown endpoint is the same endpoint with the password `***`, and so with a user that may be one.
pub fn check_endpoint(endpoint: &Endpoint) {
    let shown = endpoint.to_string();
    assert_printable(&shown);
    let hidden = endpoint.password.as_ref().map(|_| Secret::new("***"));
    let redacted = Endpoint { password: hidden, ..endpoint.clone() };
    assert_eq!(redacted.to_string(), shown, "the password changes what is shown");
    let debug = format!("{endpoint:?}");
    assert_eq!(format!("{redacted:?}"), debug, "the password changes what a log shows");
    let plain = |user: &str| {
        user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
    };
    let hidden = |user: String| {
        let is_shown = endpoint.password.is_some() && plain(&user);
        if is_shown { user } else { "***".to_owned() }
    };
    let redacted = Endpoint { username: redacted.username.map(hidden), ..redacted };
    match Endpoint::parse(&shown) {
        Ok(again) if again == redacted => {}
        other => panic!("{redacted:?} is shown as '{shown}', which is read as {other:?}"),
    }
}

/// A refusal says what is wrong, in printable text that does not depend on the password.
fn check_error(text: &str, error: &Error) {
    assert_eq!(error.kind(), Kind::Config);
    let said = said(error);
    assert!(!error.message().is_empty(), "an error without a message");
    assert_printable(&said);
    let other_text = with_other_password(text);
    let other = Endpoint::parse(&other_text).map_or_else(|error| self::said(&error), |_| "".into());
    assert_eq!(other, said, "the password of '{text}' changes what is said");
}

/// All that a person gets to read.
fn said(error: &Error) -> String {
    format!("{error} | {} | {error:?}", error.advice().unwrap_or_default())
}

/// Control characters would reach a terminal or start a line of their own in a log.
fn assert_printable(text: &str) {
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
}

/// The same text with other letters in its password. Letters that no `%XX` can hold are changed, so
/// that the text is refused for the same reason.
fn with_other_password(text: &str) -> String {
    let password = password_of(text);
    let changed = text[password.clone()].chars().map(|letter| match letter {
        'g'..='y' => 'z',
        'G'..='Y' => 'Z',
        other => other,
    });
    let (before, after) = (&text[..password.start], &text[password.end..]);
    before.chars().chain(changed).chain(after.chars()).collect()
}

/// Where a person who wrote this text would say the password is: from the first `:` behind the
/// scheme to the last `@`, also where that makes it no endpoint.
fn password_of(text: &str) -> std::ops::Range<usize> {
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let authority = if is_scheme(scheme) && !scheme.is_empty() { scheme.len() + 3 } else { 0 };
    let rest = &text[authority..];
    // In front of the path of a unix socket stands nothing but user and password.
    let slash = rest.find('/').filter(|_| scheme.eq_ignore_ascii_case("unix"));
    let whole = slash.map_or(rest, |slash| &rest[..slash]);
    let user_info = if whole.is_empty() || whole.ends_with('@') { whole } else { rest };
    let Some((user, _)) = user_info.split_once(':') else { return 0..0 };
    let colon = authority + user.len() + 1;
    let end = authority + user_info.rfind('@').unwrap_or(0);
    colon..end.max(colon)
}
