//! Passwords that were typed where they would be shown: the parser of the command line repeats what it does
//! not understand, and so do errors about files. Whatever of the arguments and of the environment may hold a
//! password is replaced in every text that leaves by stderr.

use std::borrow::Cow;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use percent_encoding::percent_decode_str;

use super::side::{password_variable, url_variable};
use crate::error::Side;
use crate::units::printable;

/// What is shown instead.
const HIDDEN: &str = "***";

/// A shorter password is hidden only in its place, in front of a host: elsewhere it would hide half of a
/// message.
const SHORTEST: usize = 4;

/// A text of this process without the passwords that were typed.
pub(super) fn hidden(text: &str) -> Cow<'_, str> {
    static SECRETS: OnceLock<Vec<String>> = OnceLock::new();
    let secrets = SECRETS.get_or_init(|| {
        let arguments = std::env::args_os().skip(1);
        let texts = arguments.map(|argument| argument.to_string_lossy().into_owned());
        let variables = [Side::Source, Side::Target]
            .into_iter()
            .flat_map(|side| [url_variable(side), password_variable(side)])
            .filter_map(std::env::var_os);
        let passwords = variables.map(|value| value.to_string_lossy().into_owned());
        ordered(
            texts
                .flat_map(|text| in_argument(&text))
                .chain(passwords.flat_map(|text| in_variable(&text))),
        )
    });
    without(text, secrets)
}

/// Takes what was typed and not understood out of an error of the parser: a value, or a word too many, may be a
/// secret in the wrong place. Which option it was given to, and what is allowed there, stays.
pub(super) fn hide_values(error: &mut clap::Error, commands: &[&str]) {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
    {
        let Some(ContextValue::String(typed)) = error.get(kind) else { continue };
        // An option of ours is written with what belongs behind it: `--memory <SIZE>`.
        let is_shown = kind == ContextKind::InvalidArg
            && (error.kind() != ErrorKind::UnknownArgument || looks_like_an_option(typed));
        let is_command =
            kind == ContextKind::InvalidSubcommand && commands.contains(&typed.as_str());
        if typed.is_empty() || is_shown || is_command {
            continue;
        }
        error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
        // They say how the same word can be a value.
        error.remove(ContextKind::Suggested);
    }
}

/// A misspelt one is needed to find the mistake.
fn looks_like_an_option(text: &str) -> bool {
    let letter = text.strip_prefix('-').is_some_and(|rest| rest.chars().count() == 1);
    let of_letters = |rest: &str| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    letter || text.strip_prefix("--").is_some_and(of_letters)
}

fn without<'a>(text: &'a str, secrets: &[String]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        if text.contains(secret) {
            let at = if secret.ends_with('@') { "@" } else { "" };
            text = Cow::Owned(text.replace(secret, &format!("{HIDDEN}{at}")));
        }
    }
    text
}

/// Longer ones first: they may hold shorter ones.
fn ordered(secrets: impl Iterator<Item = String>) -> Vec<String> {
    let mut secrets: Vec<String> = secrets.collect();
    secrets.sort_by_key(|secret| (std::cmp::Reverse(secret.len()), secret.clone()));
    secrets.dedup();
    secrets
}

fn in_variable(text: &str) -> Vec<String> {
    let own = if text.contains("://") { Vec::new() } else { forms(text) };
    own.into_iter().chain(in_argument(text)).collect()
}

/// What an argument holds that may be a password: in front of an `@`, or behind a colon where no port is.
fn in_argument(text: &str) -> Vec<String> {
    let (is_url, rest) = match text.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, text),
    };
    let user_info = match rest.rsplit_once('@') {
        Some((user_info, _)) => user_info,
        // A shell has split it at a space, or its `@` was forgotten.
        None if is_url && !ends_with_port(rest) && rest.contains(':') => rest,
        None => return Vec::new(),
    };
    let mut secrets = vec![format!("{user_info}@")];
    if user_info == rest {
        secrets.push(user_info.to_owned());
    }
    if is_url || user_info.contains(':') {
        let password = user_info.split_once(':').map_or(user_info, |(_, password)| password);
        secrets.extend(forms(password));
        secrets.extend(forms(user_info));
    }
    secrets.retain(|secret| secret != "@" && !secret.is_empty());
    secrets
}

/// `host:6379/3?db=1` holds no secret.
fn ends_with_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    // An IPv6 address is in brackets.
    let port = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
    port.split_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A password as it may stand in a message: as it was typed, decoded, escaped, as JSON.
fn forms(password: &str) -> Vec<String> {
    if password.chars().count() < SHORTEST {
        return Vec::new();
    }
    let decoded = percent_decode_str(password).decode_utf8_lossy().into_owned();
    let mut forms = Vec::new();
    for form in [password.to_owned(), decoded] {
        let json = serde_json::Value::from(form.as_str()).to_string();
        forms.push(json.trim_matches('"').to_owned());
        forms.push(printable(form.as_bytes()));
        forms.push(form.escape_debug().to_string());
        forms.push(form);
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str], text: &str) -> String {
        let secrets = ordered(arguments.iter().flat_map(|argument| in_argument(argument)));
        without(text, &secrets).into_owned()
    }

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        for argument in [
            "redis://:s3cret@h:6379",
            "redis://u:s3cret@h",
            "redis://s3cret@h",
            "redis://u:s3cret",
            "--source=redis://u:s3cret@h",
            "--db=redis://u:s3cret@h/0",
            "u:s3cret@h:6379",
            "redis://u:x/s3cret@h",
            "unix://u:s3cret@/run/s",
            "file://:s3cret@h",
        ] {
            assert!(!shown(&[argument], &format!("'{argument}' found")).contains("s3cret"));
        }
        assert_eq!(
            shown(&["redis://:p@h"], "'redis://:p@h' found, a tip"),
            "'redis://***@h' found, a tip"
        );
        assert_eq!(
            shown(&["redis://:p%40ss%20@h"], "no p@ss  and no p%40ss%20"),
            "no *** and no ***"
        );
    }

    #[test]
    fn what_holds_no_password_is_shown() {
        for argument in
            ["redis://h:6379/0", "redis://[::1]:6379", "localhost:6379", "--db=1:0", "a.rdb", "@"]
        {
            assert_eq!(in_argument(argument), Vec::<String>::new(), "{argument}");
        }
    }
}
