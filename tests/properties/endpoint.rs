//! Endpoints made from parts: what is written is what is understood.

use keyferry::config::endpoint::{Address, Endpoint, Secret};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use crate::checks::endpoint::{check, check_endpoint};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Host as it is written in a URL, and as it is meant.
fn host() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        "[a-z][a-z0-9.-]{0,20}".prop_map(|name| (name.clone(), name)),
        any::<std::net::Ipv4Addr>().prop_map(|ip| (ip.to_string(), ip.to_string())),
        any::<std::net::Ipv6Addr>().prop_map(|ip| (format!("[{ip}]"), ip.to_string())),
    ]
}

/// Nothing, or text of any characters.
fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof!["\\PC{1,12}", "[:@/?#%\\[\\] a\n\u{1b}]{1,6}", ".{1,150}"])
}

/// `user:password@` as a careful person writes it.
fn user_info(username: Option<&str>, password: Option<&str>) -> String {
    let username = encoded(username.unwrap_or_default());
    match password {
        Some(password) => format!("{username}:{}@", encoded(password)),
        None if username.is_empty() => String::new(),
        None => format!("{username}@"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_server_is_understood_and_shown(
        (written, host) in host(),
        port in prop::option::of(1..=u16::MAX),
        username in any_text(),
        password in any_text(),
        database in prop::option::of(any::<u32>()),
        (tls, in_query) in any::<(bool, bool)>(),
    ) {
        let mut text = String::from(if tls { "rediss://" } else { "redis://" });
        text += &user_info(username.as_deref(), password.as_deref());
        text += &written;
        text.extend(port.map(|port| format!(":{port}")));
        let mark = if in_query { "?db=" } else { "/" };
        text.extend(database.map(|database| format!("{mark}{database}")));

        let port = port.unwrap_or(6379);
        let password = password.map(Secret::new);
        let address = Address::Tcp { host, port };
        let expected = Endpoint { address, tls, username, password, database };
        prop_assert_eq!(Endpoint::parse(&text).ok(), Some(expected.clone()), "{}", text);
        check_endpoint(&expected);
    }

    #[test]
    fn a_socket_is_understood_and_shown(
        path in any_text(),
        username in any_text(),
        password in any_text(),
        database in prop::option::of(any::<u32>()),
    ) {
        let path = path.unwrap_or_default();
        let mut text = String::from("unix://");
        text += &user_info(username.as_deref(), password.as_deref());
        text += &format!("/{}", encoded(&path));
        text.extend(database.map(|database| format!("?db={database}")));

        let password = password.map(Secret::new);
        let address = Address::Unix(format!("/{path}").into());
        let expected = Endpoint { address, tls: false, username, password, database };
        prop_assert_eq!(Endpoint::parse(&text).ok(), Some(expected.clone()), "{}", text);
        check_endpoint(&expected);
    }

    /// Text that is nearly an endpoint reaches every refusal.
    #[test]
    fn what_is_nearly_an_endpoint_is_refused_politely(
        text in "((redis|rediss|valkey|unix|http|x:y@)(://|:/|:))?[a-z:@/?#%=&0-9\\[\\]. \u{1b}é]{0,24}",
    ) {
        check(text.as_bytes());
    }
}
