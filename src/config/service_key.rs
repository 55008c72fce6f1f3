//! A Cloud Foundry service key: the JSON a broker hands out for one service instance.
//!
//! Read here: `host`/`hostname`, `port`, `username`, `password`, `cacrt`, at the top or under
//! `credentials`. With `cacrt` (or `tls_enabled`, or `ssl`) the connection is TLS.

use serde_json::Value;

use super::endpoint::{Address, Endpoint, Secret, check_host};
use crate::error::{Error, Result};

/// An endpoint and the authority that signed its certificate.
#[derive(Clone, Debug)]
pub struct ServiceKey {
    /// Address, user and password.
    pub endpoint: Endpoint,
    /// PEM text of the authority, if the key names one.
    pub authorities: Option<String>,
}

impl ServiceKey {
    /// Reads the JSON text of a service key.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`]: no JSON, or host or port are missing.
    pub fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Error::config(format!("the service key is no JSON: {error}")))?;
        let key = json.get("credentials").unwrap_or(&json);
        // What is there and is not understood is not taken for nothing: a password would be missing.
        let text = |name: &str| match key.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(Error::config(format!("the service key's '{name}' is no text"))),
        };
        let host = text("host")?
            .or(text("hostname")?)
            .ok_or_else(|| Error::config("the service key has no 'host'"))?;
        check_host(&host)?;
        let port = port(key.get("port"))?;
        let authorities = text("cacrt")?.filter(|pem| !pem.trim().is_empty());
        // Not taken for "no": the connection would be plain.
        let flag = |name: &str| match key.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Error::config(format!("its {name} is neither true nor false"))),
        };
        let tls = flag("tls_enabled")? | flag("ssl")? || authorities.is_some();
        let endpoint = Endpoint {
            address: Address::Tcp { host, port },
            tls,
            username: text("username")?,
            password: text("password")?.map(Secret::new),
            database: None,
        };
        Ok(Self { endpoint, authorities })
    }
}

/// Brokers write the port as a number or as text.
fn port(value: Option<&Value>) -> Result<u16> {
    let number = match value {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
        None => return Err(Error::config("the service key has no 'port'")),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|&port| port > 0)
        .ok_or_else(|| Error::config("the service key's 'port' is no port number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_keys_are_read() {
        let flat =
            r#"{"host":"h.example","port":6380,"username":"u","password":"p","cacrt":"PEM"}"#;
        let nested = r#"{"credentials":{"hostname":"h.example","port":"6379","password":"p"}}"#;
        let key = ServiceKey::parse(flat).unwrap();
        assert_eq!(key.endpoint.to_string(), "rediss://u:***@h.example:6380");
        assert_eq!(key.authorities.as_deref(), Some("PEM"));
        let key = ServiceKey::parse(nested).unwrap();
        assert_eq!(key.endpoint.to_string(), "redis://:***@h.example:6379");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, word) in [("{", "JSON"), ("{}", "host"), (r#"{"host":"a"}"#, "port")] {
            assert!(ServiceKey::parse(text).unwrap_err().to_string().contains(word), "{text}");
        }
        assert!(ServiceKey::parse(r#"{"host":"a","port":70000}"#).is_err());
        for field in ["host", "hostname", "username", "password", "cacrt"] {
            let key = format!(r#"{{"{field}":["x"],"host":"a","port":1}}"#);
            let key = if field == "host" { key.replace(r#","host":"a""#, "") } else { key };
            let error = ServiceKey::parse(&key).unwrap_err().to_string();
            assert!(error.contains(&format!("'{field}' is no text")), "{error}");
        }
        assert!(ServiceKey::parse(r#"{"host":"a","port":1,"password":null}"#).is_ok());
        for field in ["tls_enabled", "ssl"] {
            let key = format!(r#"{{"host":"a","port":1,"{field}":"true"}}"#);
            let error = ServiceKey::parse(&key).unwrap_err().to_string();
            assert!(error.contains(&format!("its {field} is neither")), "{error}");
        }
        assert!(ServiceKey::parse(r#"{"host":"a[2J","port":1}"#).is_err());
    }
}
