//! The options that both sides have: who we are there, and how the server proves who it is.

use std::path::{Path, PathBuf};

use clap::Args;

use super::environment;
use super::files::Named;
use crate::config::service_key::ServiceKey;
use crate::config::{Address, Endpoint, Pem, Secret, Server, TlsOptions};
use crate::error::{Error, Result, Side};
use crate::files::read_option_file;

/// The options of one side, without their prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SideOptions {
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) tls: bool,
    pub(super) cacert: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) sni: Option<String>,
    pub(super) tls_insecure: bool,
    pub(super) service_key: Option<PathBuf>,
}

/// clap needs the options of each side by name; their meaning is the same.
macro_rules! side_options {
    ($name:ident, $side:literal, $heading:literal) => {
        #[derive(Args, Clone, Debug, Default)]
        #[command(next_help_heading = $heading)]
        pub(super) struct $name {
            /// ACL user; wins over the URL's
            #[arg(id = concat!($side, "-username"), long = concat!($side, "-username"), value_name = "NAME")]
            username: Option<String>,
            /// File that holds the password; wins over the URL's and the environment's
            #[arg(id = concat!($side, "-password-file"), long = concat!($side, "-password-file"), value_name = "FILE")]
            password_file: Option<PathBuf>,
            /// Speak TLS, whatever the URL's scheme
            #[arg(id = concat!($side, "-tls"), long = concat!($side, "-tls"))]
            tls: bool,
            /// PEM file of the CA to trust, instead of the system's
            #[arg(id = concat!($side, "-cacert"), long = concat!($side, "-cacert"), value_name = "FILE")]
            cacert: Option<PathBuf>,
            /// PEM file of our client certificate
            #[arg(id = concat!($side, "-cert"), long = concat!($side, "-cert"), value_name = "FILE")]
            cert: Option<PathBuf>,
            /// PEM file of our private key
            #[arg(id = concat!($side, "-key"), long = concat!($side, "-key"), value_name = "FILE")]
            key: Option<PathBuf>,
            /// Name to ask for and to check in the certificate, instead of the URL's host
            #[arg(id = concat!($side, "-sni"), long = concat!($side, "-sni"), value_name = "NAME")]
            sni: Option<String>,
            /// Trust any certificate
            #[arg(id = concat!($side, "-tls-insecure"), long = concat!($side, "-tls-insecure"))]
            tls_insecure: bool,
            /// Cloud Foundry service key in JSON: host, port, username, password, cacrt
            #[arg(id = concat!($side, "-service-key"), long = concat!($side, "-service-key"), value_name = "FILE")]
            service_key: Option<PathBuf>,
        }

        impl From<$name> for SideOptions {
            fn from(options: $name) -> Self {
                let $name {
                    username,
                    password_file,
                    tls,
                    cacert,
                    cert,
                    key,
                    sni,
                    tls_insecure,
                    service_key,
                } = options;
                Self {
                    username,
                    password_file,
                    tls,
                    cacert,
                    cert,
                    key,
                    sni,
                    tls_insecure,
                    service_key,
                }
            }
        }
    };
}

side_options!(SourceOptions, "source", "Source");
side_options!(TargetOptions, "target", "Target");

/// The variables of a side. The target's say "destination", as the tools did whose place we take.
pub(super) fn url_variable(side: Side) -> &'static str {
    match side {
        Side::Source => "SOURCE_REDIS_URL",
        Side::Target => "DESTINATION_REDIS_URL",
    }
}

pub(super) fn password_variable(side: Side) -> &'static str {
    match side {
        Side::Source => "SOURCE_REDIS_PASSWORD",
        Side::Target => "DESTINATION_REDIS_PASSWORD",
    }
}

/// The files that the options of both sides read.
pub(super) fn files_of(source: &SourceOptions, target: &TargetOptions) -> Vec<Named> {
    let mut files = SideOptions::from(source.clone()).files(Side::Source);
    files.extend(SideOptions::from(target.clone()).files(Side::Target));
    files
}

impl SideOptions {
    /// Whether any of them was given.
    pub(super) fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// The files that it reads.
    pub(super) fn files(&self, side: Side) -> Vec<Named> {
        let files = [
            ("password-file", &self.password_file),
            ("cacert", &self.cacert),
            ("cert", &self.cert),
            ("key", &self.key),
            ("service-key", &self.service_key),
        ];
        let named = files.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)));
        named.map(|(option, path)| Named::read(format!("--{side}-{option}"), path)).collect()
    }

    /// Puts URL, service key, options and environment together; the first that says something wins.
    pub(super) fn server(self, side: Side, url: Option<&str>) -> Result<Server> {
        let place = |error: Error| {
            Error::config(format!("{side}: {}", error.message())).advise(
                error.advice().unwrap_or("see keyferry --help").replace("SIDE", side.word()),
            )
        };
        let read = |option: &str, path: &Path| read(&format!("--{side}-{option}"), path);
        let service_key = match &self.service_key {
            Some(path) => {
                let text = as_text("service-key", side, read("service-key", path)?)?;
                Some(ServiceKey::parse(&text).map_err(|error| {
                    place(Error::config(format!("{}: {}", path.display(), error.message())))
                })?)
            }
            None => None,
        };
        let from_url = match url {
            Some(url) => Some(Endpoint::parse(url).map_err(place)?),
            None => None,
        };
        let authorities_text = service_key.as_ref().and_then(|key| key.authorities.clone());
        let from_key = service_key.map(|key| key.endpoint);
        let Some(mut endpoint) = from_url.or_else(|| from_key.clone()) else {
            return Err(Error::config(format!("no {side} is named")).advise(format!(
                "give it as an argument, redis://host:port, or by {}",
                url_variable(side)
            )));
        };
        let key = from_key.as_ref();
        endpoint.tls |= self.tls || key.is_some_and(|key| key.tls);
        endpoint.username = self
            .username
            .or(endpoint.username)
            .or_else(|| key.and_then(|key| key.username.clone()));
        let by_file = match &self.password_file {
            Some(path) => {
                let text = as_text("password-file", side, read("password-file", path)?)?;
                Some(password(path, &text)?)
            }
            None => None,
        };
        endpoint.password = by_file
            .or(endpoint.password)
            .or(environment::text(password_variable(side))?.map(Secret::new))
            .or_else(|| key.and_then(|key| key.password.clone()));
        let tls_wanted = self.cacert.is_some()
            || self.cert.is_some()
            || self.key.is_some()
            || self.sni.is_some()
            || self.tls_insecure;
        if tls_wanted && !endpoint.tls {
            return Err(Error::config(format!(
                "{side}: a TLS option is given, but the endpoint is plain"
            ))
            .advise(format!("use rediss:// or --{side}-tls")));
        }
        if endpoint.tls && matches!(endpoint.address, Address::Unix(_)) {
            return Err(Error::config(format!("{side}: TLS is not spoken over a unix socket")));
        }
        let pem = |option: &str, path: Option<PathBuf>| match path {
            Some(path) => Ok(Some(Pem { text: read(option, &path)?, path })),
            None => Ok(None),
        };
        let tls = TlsOptions {
            authorities: pem("cacert", self.cacert)?,
            authorities_text,
            certificate: pem("cert", self.cert)?,
            key: pem("key", self.key)?,
            server_name: self.sni,
            insecure: self.tls_insecure,
        };
        Ok(Server { side, endpoint, tls })
    }
}

/// Reads the file that an option names. A path where nothing is may be the secret itself, typed in the place of
/// its file: it is not shown.
fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    read_option_file(path).map_err(|error| {
        if std::fs::symlink_metadata(path).is_ok() {
            let path = path.display();
            return Error::config(format!("{option}: {path} cannot be read: {error}"));
        }
        Error::config(format!("{option}: the file cannot be read: {error}")).advise(
            "the option names a file that holds what is meant; a path where nothing is is not shown here, since it \
             may be a secret",
        )
    })
}

fn as_text(option: &str, side: Side, bytes: Vec<u8>) -> Result<String> {
    let no_text = |_| Error::config(format!("--{side}-{option}: the file holds no UTF-8 text"));
    String::from_utf8(bytes).map_err(no_text)
}

/// The file's first line end belongs to the editor, not to the password.
fn password(path: &Path, text: &str) -> Result<Secret> {
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Error::config(format!("{} holds no password", path.display())));
    }
    Ok(Secret::new(password))
}
