//! Endpoints: `redis://user:password@host:port/db` and its relatives.
//!
//! The schemes `redis`, `rediss`, `valkey`, `valkeys` and `unix` are understood; user and password
//! are percent-decoded; IPv6 stands in brackets. Errors never repeat the text of a password.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// The port of all these servers.
const DEFAULT_PORT: u16 = 6379;

/// What has a meaning in a path, and what would reach a terminal.
const IN_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?');

/// Text that never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or IP address, without brackets, and a port.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// One server, one user, perhaps one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The ACL user, if one is named.
    pub username: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database number, if one is named.
    pub database: Option<u32>,
}

impl Endpoint {
    /// Parses an endpoint.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`], with the part that is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(no_scheme(text));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => Self::parse_tcp(rest, false),
            "rediss" | "valkeys" => Self::parse_tcp(rest, true),
            "unix" => Self::parse_unix(rest),
            // What is no word may be a password in the wrong place.
            other if !other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(no_scheme(text))
            }
            _ => Err(Error::config("unknown scheme of an endpoint").advise(
                "write redis://host:port/db, rediss:// for TLS, valkey://, valkeys:// or unix:///path",
            )),
        }
    }

    fn parse_tcp(rest: &str, tls: bool) -> Result<Self> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') {
            return Err(Error::config("the part in front of '@' holds a '/', '?' or '#'").advise(
                "write these as %2F, %3F and %23 in user and password, or give the password by \
                 --SIDE-password-file",
            ));
        }
        let (user_info, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        let (username, password) = parse_user_info(user_info)?;
        let (host, port) = parse_host_port(host_port)?;
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let database = match (path, parse_query(query)?) {
            // The slash is only in front of the query here.
            ("/", Some(database)) => Some(database),
            (path, by_query) => one_database(parse_path(path)?, by_query)?,
        };
        Ok(Self { address: Address::Tcp { host, port }, tls, username, password, database })
    }

    fn parse_unix(rest: &str) -> Result<Self> {
        let slash = rest.find('/').ok_or_else(|| {
            Error::config("a unix socket needs an absolute path").advise("write unix:///path?db=N")
        })?;
        let (user_info, path) = rest.split_at(slash);
        let user_info = match user_info {
            "" => None,
            other => Some(other.strip_suffix('@').ok_or_else(|| {
                Error::config("a unix socket has no host").advise("write unix:///path?db=N")
            })?),
        };
        let (username, password) = parse_user_info(user_info)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let address = Address::Unix(PathBuf::from(decoded(path, "socket path")?));
        let database = one_database(None, parse_query(query)?)?;
        Ok(Self { address, tls: false, username, password, database })
    }

    /// The host to check a certificate against.
    pub fn host(&self) -> Option<&str> {
        match &self.address {
            Address::Tcp { host, .. } => Some(host),
            Address::Unix(_) => None,
        }
    }
}

/// The endpoint as it may be shown: the password is `***`, and so is a user that may be one.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.address, self.tls) {
            (Address::Unix(_), _) => "unix",
            (_, false) => "redis",
            (_, true) => "rediss",
        };
        write!(out, "{scheme}://")?;
        // A whole URL in the place of a user holds a password.
        let is_plain = |user: &&str| {
            user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        };
        let user = self.username.as_deref().unwrap_or_default();
        let user = Some(user).filter(is_plain).unwrap_or("***");
        match (&self.password, &self.username) {
            (Some(_), _) => write!(out, "{user}:***@")?,
            // Without a password behind it, it may be one itself.
            (None, Some(_)) => write!(out, "***@")?,
            (None, None) => {}
        }
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}")?,
            Address::Tcp { host, port } => write!(out, "{host}:{port}")?,
            Address::Unix(path) => {
                write!(out, "{}", utf8_percent_encode(&path.to_string_lossy(), IN_PATH))?;
            }
        }
        match (&self.address, self.database) {
            (_, None) => Ok(()),
            (Address::Unix(_), Some(database)) => write!(out, "?db={database}"),
            (_, Some(database)) => write!(out, "/{database}"),
        }
    }
}

/// The path of a file where an endpoint could stand: `file:PATH`, or what is named as an RDB file is, perhaps with
/// more behind that: `a.rdb`, `a.rdb.bak`.
pub fn file_path(text: &str) -> Option<&Path> {
    let named = |text: &str| {
        let name = text.rsplit('/').next().unwrap_or(text);
        name.ends_with(".rdb") || name.contains(".rdb.")
    };
    let path = match text.strip_prefix("file:") {
        Some(path) => path,
        None => Some(text).filter(|text| named(text) && !text.contains("://"))?,
    };
    Some(Path::new(path))
}

fn no_scheme(text: &str) -> Error {
    if file_path(text).is_some() {
        return Error::config("a file stands where a server belongs").advise(
            "keyferry backup SOURCE FILE.rdb makes a file, keyferry copy FILE.rdb TARGET reads it",
        );
    }
    Error::config("an endpoint starts with redis://, rediss://, valkey://, valkeys:// or unix://")
        .advise("for example redis://localhost:6379, or redis://localhost:6379/3 for database 3")
}

fn parse_user_info(text: Option<&str>) -> Result<(Option<String>, Option<Secret>)> {
    let Some(text) = text else { return Ok((None, None)) };
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password, "password")?)),
        None => (text, None),
    };
    let user = decoded(user, "user name")?;
    let given = |text: &String| !text.is_empty();
    Ok((Some(user).filter(given), password.filter(given).map(Secret::new)))
}

fn parse_host_port(text: &str) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest
                .split_once(']')
                .ok_or_else(|| Error::config("an IPv6 address lacks its closing ']'"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(Error::config("the text in brackets is not an IPv6 address"));
            }
            (host, behind)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() {
        return Err(Error::config("the endpoint names no host")
            .advise("write redis://host:port/db, for example redis://localhost:6379"));
    }
    check_host(host)?;
    let port = match port {
        "" => DEFAULT_PORT,
        text => text
            .strip_prefix(':')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|&port| port > 0)
            .ok_or_else(|| {
                Error::config("the port is no number from 1 to 65535")
                    .advise("IPv6 addresses stand in brackets: redis://[::1]:6379")
            })?,
    };
    Ok((host.to_owned(), port))
}

/// Whether a host can be a name or an address at all; what else it holds would reach a terminal.
pub(super) fn check_host(host: &str) -> Result<()> {
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '%') {
        // It is not shown: it may be a password in front of a forgotten '@'.
        return Err(Error::config("the host name holds a '%', white space or a control character"));
    }
    Ok(())
}

/// `/3`; a lone slash means database 0, as in the tools whose URLs people bring along.
fn parse_path(path: &str) -> Result<Option<u32>> {
    match path.strip_prefix('/') {
        None if path.is_empty() => Ok(None),
        Some("") => Ok(Some(0)),
        Some(number) => parse_database(number).map(Some),
        None => Err(Error::config("'#' has no meaning in an endpoint")
            .advise("in a user name or password write it as %23")),
    }
}

fn parse_query(query: &str) -> Result<Option<u32>> {
    let mut database = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => {
                database = one_database(database, Some(parse_database(number)?))?;
            }
            _ => return Err(Error::config("an endpoint has one parameter only, db=N")),
        }
    }
    Ok(database)
}

fn parse_database(text: &str) -> Result<u32> {
    Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Error::config("the part behind the host is not a database number")
                .advise("an endpoint ends with the number: redis://host:6379/3")
        })
}

fn one_database(one: Option<u32>, other: Option<u32>) -> Result<Option<u32>> {
    match (one, other) {
        (Some(a), Some(b)) if a != b => {
            Err(Error::config(format!("the endpoint names two databases, {a} and {b}")))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn decoded(text: &str, what: &str) -> Result<String> {
    let bytes = text.as_bytes();
    let escapes_are_whole =
        bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'%').all(|(at, _)| {
            bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
    if !escapes_are_whole {
        return Err(Error::config(format!("the {what} holds a '%' that is no %XX escape"))
            .advise("write a literal % as %25"));
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| Error::config(format!("the {what} is no UTF-8 text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Endpoint::parse(text).map_or_else(|error| format!("! {error}"), |e| e.to_string())
    }

    #[test]
    fn endpoints_are_understood_and_shown_without_password() {
        for (text, expected) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("valkey://h:1/2", "redis://h:1/2"),
            ("VALKEYS://h", "rediss://h:6379"),
            ("rediss://u:p%40%2F@[::1]:7/?db=0", "rediss://u:***@[::1]:7/0"),
            ("redis://:p@ss@h/", "redis://:***@h:6379/0"),
            ("redis://user@h?db=15", "redis://***@h:6379/15"),
            ("redis://h/?db=2", "redis://h:6379/2"),
            ("unix:///run/a%20b.sock?db=3", "unix:///run/a b.sock?db=3"),
            ("unix://u:p@/run/s", "unix://u:***@/run/s"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let endpoint = Endpoint::parse("redis://u%3A:p%40%2F@h").unwrap();
        assert_eq!(endpoint.username.as_deref(), Some("u:"));
        assert_eq!(endpoint.password.as_ref().map(Secret::reveal), Some("p@/"));
        assert!(!format!("{endpoint:?}").contains("p@/"));
    }

    #[test]
    fn a_file_is_no_endpoint_and_an_endpoint_no_file() {
        for (text, path) in [
            ("a/b.rdb", "a/b.rdb"),
            ("file:/x", "/x"),
            ("file:a.rdb", "a.rdb"),
            ("a.b/c.rdb.2024.gz", "a.b/c.rdb.2024.gz"),
        ] {
            assert_eq!(file_path(text), Some(Path::new(path)));
            assert!(Endpoint::parse(text).is_err());
        }
        for text in ["redis://h/1?x=.rdb", "redis://u:p@h.rdb", "localhost", "rdb", "a.rdb.d/x"] {
            assert_eq!(file_path(text), None, "{text}");
        }
    }

    #[test]
    fn bad_endpoints_say_what_is_wrong_and_keep_the_secret() {
        for text in [
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://:secret@",
            "redis://h:0",
            "redis://h:65536",
            "redis://h:x",
            "redis://h:+1",
            "redis://::1",
            "redis://[::1",
            "redis://[x]",
            "redis://h/x",
            "redis://h/-1",
            "redis://h/1/2",
            "redis://h/1?db=2",
            "redis://h?ssl=1",
            "redis://h#1",
            "redis://u:se#cret@h",
            "redis://u:secret%2@h",
            "redis://u:%ffsecret@h",
            "redis://a b",
            "unix://secret",
            "unix://host/path",
            "backup.rdb",
            "",
        ] {
            let error = shown(text);
            assert!(error.starts_with("! "), "{text} gave {error}");
            assert!(!error.contains("cret"), "{text} gave {error}");
        }
    }
}
