//! What the operator wants, made impossible to be wrong: a [`Plan`].
//!
//! Text becomes these types once, at the command line; behind it nothing is parsed or checked
//! again. Credentials live in [`endpoint::Secret`], which never prints.

pub mod conflict;
pub mod endpoint;
pub mod filter;
pub mod fingerprint;
pub mod limits;
pub mod mapping;
pub mod service_key;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use conflict::IfExists;
pub use endpoint::{Address, Endpoint, Secret};
pub use filter::Filter;
pub use limits::{Limits, Timeouts};
pub use mapping::{Mapping, Route};

use crate::error::Side;

/// One of the two servers: where it is, who we are there, and how it proves who it is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Whether it is read or written.
    pub side: Side,
    /// Address, database, user and password.
    pub endpoint: Endpoint,
    /// How TLS is spoken; unused where the endpoint is plain.
    pub tls: TlsOptions,
}

/// A PEM file that was read: a pipe gives its bytes only once.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// What it holds; of a private key that is a secret.
    pub text: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.path.display())
    }
}

/// TLS of one side.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file of the authorities to trust, instead of the system's.
    pub authorities: Option<Pem>,
    /// PEM text of authorities to trust (from a service key), instead of the system's.
    pub authorities_text: Option<String>,
    /// PEM file of our certificate chain.
    pub certificate: Option<Pem>,
    /// PEM file of our private key.
    pub key: Option<Pem>,
    /// The name to ask for and to check, instead of the endpoint's host.
    pub server_name: Option<String>,
    /// Trust any certificate. Has to be asked for; is said in the log.
    pub insecure: bool,
}

/// How the result is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Not at all.
    None,
    /// Every selected key has its name on the target.
    #[default]
    Count,
    /// Every key that was copied has the same value and expires at the same time on the target.
    Full,
}

/// How a comparison is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparing {
    /// How far two expiries may lie apart.
    pub ttl_tolerance: Duration,
    /// Only about so many keys of each side, for a quick look.
    pub sample: Option<u64>,
}

impl Default for Comparing {
    fn default() -> Self {
        // What a copy may miss by where a server tells only what remains of an expiry.
        Self { ttl_tolerance: Duration::from_millis(50), sample: None }
    }
}

/// How keys are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchMode {
    /// The cheapest exact way for each key.
    #[default]
    Auto,
    /// DUMP for all.
    Dump,
}

/// Whether the source compresses the payloads it dumps, which costs it most of the time of a DUMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceCompression {
    /// As it is configured there.
    #[default]
    Keep,
    /// Turned off for the time of the copy, and put back.
    Off,
}

/// What a copy does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server that is read.
    pub source: Server,
    /// The server that is written.
    pub target: Server,
    /// Which database goes where.
    pub mapping: Mapping,
    /// Which keys are meant.
    pub filter: Filter,
    /// Whether a run that selects no key has failed.
    pub fail_if_empty: bool,
    /// What happens to a key that the target holds.
    pub if_exists: IfExists,
    /// When all is copied, delete the keys of the source that are equal on both sides.
    pub delete_source: bool,
    /// Keys may also be deleted where the target may throw its own away.
    pub allow_evicting: bool,
    /// Only the keys of this file of dead letters.
    pub letters: Option<PathBuf>,
    /// Keeps how far the run has come in this file, and goes on from it.
    pub state: Option<PathBuf>,
    /// Refuse a source that is being written to.
    pub require_quiet: bool,
    /// Write nothing on either side.
    pub dry_run: bool,
    /// Fields of hashes may lose their expiries to a target that has none.
    pub lossy: bool,
    /// Functions are copied, too: they belong to no database.
    pub functions: bool,
    /// How keys are read.
    pub fetch: FetchMode,
    /// What becomes of the source's compression meanwhile.
    pub source_compression: SourceCompression,
    /// How the end is proven.
    pub verify: Verify,
    /// How the sides are compared, where they are.
    pub comparing: Comparing,
    /// Connections, windows, bounds, pace.
    pub limits: Limits,
    /// How long a server may be silent.
    pub timeouts: Timeouts,
}
