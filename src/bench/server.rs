//! The servers of a benchmark: started for it and gone with it, or named by their URLs.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::certificates::Certificates;
use crate::command::ServerInfo;
use crate::config::{Address, Endpoint, Pem, Server, Timeouts, TlsOptions};
use crate::error::{Error, Kind, Result, Side};
use crate::files::read_option_file;
use crate::net::{Connection, Connector, connect};
use crate::resp::Value;

/// How often a server that was started is asked whether it answers, and how long between.
const START_TRIES: usize = 400;
const START_PAUSE: Duration = Duration::from_millis(25);
/// How often another port is tried: somebody else may take one before the server binds it.
const PORT_TRIES: usize = 5;
/// KEYS of millions, MIGRATE of hundreds of MB: a server is away for long here.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a server says, in its directory.
const LOG: &str = "log";
/// What servers without TLS say of its options: up to 7.0, and later.
const NO_TLS: [&str; 2] = [">>> 'tls-port", "Failed finding TLS support"];
/// The name of the benchmark's own connections, so that they are told apart from the copy's.
pub(super) const OWN_NAME: &str = "keyferry-bench";

/// A server that takes part.
pub(super) struct Peer {
    pub(super) server: Server,
    /// The same server by its TLS port, if it has one.
    pub(super) by_tls: Option<Server>,
    process: Option<ThrowAway>,
}

/// A process of ours, and the directory of its files.
struct ThrowAway {
    child: Child,
    directory: PathBuf,
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // Nothing is lost with it: it holds no data of anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Peer {
    /// Starts a server without persistence on a free loopback port; waits until it answers.
    pub(super) async fn start(program: &Path, side: Side) -> Result<Self> {
        for _ in 0..PORT_TRIES {
            let mut peer = Self::spawn(program, side, None)?;
            if peer.is_ready().await? {
                return Ok(peer);
            }
        }
        Err(not_started(program, "it ends at once"))
    }

    /// The same with a TLS port beside the plain one; or, if it cannot, without, and why. Asked for
    /// at its start: newer servers without TLS end when they are told later.
    pub(super) async fn start_with_tls(
        program: &Path,
        side: Side,
        certificates: &Certificates,
    ) -> Result<(Self, std::result::Result<(), String>)> {
        let mut why = String::new();
        for _ in 0..PORT_TRIES {
            let mut peer = Self::spawn(program, side, Some(certificates))?;
            if peer.is_ready().await? {
                let answers = peer.answers_by_tls().await;
                return Ok((peer, answers));
            }
            let log = peer.log();
            if NO_TLS.iter().any(|words| log.contains(words)) {
                why = format!("the {side}, {}, was built without TLS", program.display());
                break;
            }
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            why = format!("the {side} does not start with TLS: {last}");
        }
        Ok((Self::start(program, side).await?, Err(why)))
    }

    /// Shows that the port and its certificate are this server's own, before anybody is measured.
    async fn answers_by_tls(&self) -> std::result::Result<(), String> {
        let connected = match &self.by_tls {
            Some(server) => match Connector::new(server, Timeouts::default()) {
                Ok(connector) => connect(&connector, 0).await.map(drop),
                Err(error) => Err(error),
            },
            None => Ok(()),
        };
        connected.map_err(|error| format!("no TLS connection: {error}"))
    }

    /// What the server said since it was started, if it was started by us.
    fn log(&self) -> String {
        let path = self.process.as_ref().map(|process| process.directory.join(LOG));
        let bytes = path.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A server that was named by its URL.
    pub(super) fn given(server: Server) -> Self {
        Self { server, by_tls: None, process: None }
    }

    fn spawn(program: &Path, side: Side, certificates: Option<&Certificates>) -> Result<Self> {
        let failed = |error: std::io::Error| match error.kind() {
            // What is no program may be anything that was typed in its place.
            ErrorKind::NotFound => {
                not_started(Path::new("the server's program"), &error.to_string())
            }
            _ => not_started(program, &error.to_string()),
        };
        let (port, tls_port) = (free_port().map_err(failed)?, free_port().map_err(failed)?);
        let name = format!("keyferry-bench-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).map_err(failed)?;
        let authority = match certificates.map(Certificates::authority) {
            Some(path) => Some(Pem { text: read_option_file(&path).map_err(failed)?, path }),
            None => None,
        };
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--loglevel", "warning", "--dir"])
            .arg(&directory);
        if let Some(certificates) = certificates {
            command.args(["--tls-port", &tls_port.to_string()]);
            command.args(certificates.server_options());
        }
        let log = std::fs::File::create(directory.join(LOG));
        let child = log.and_then(|log| {
            let also = log.try_clone()?;
            command.stdin(Stdio::null()).stdout(log).stderr(also).spawn()
        });
        let child = child.map_err(|error| {
            let _ = std::fs::remove_dir_all(&directory);
            failed(error)
        })?;
        let at = |endpoint, tls| Server { side, endpoint, tls };
        let by_tls = authority.map(|authority| {
            let endpoint = Endpoint { tls: true, ..loopback(tls_port) };
            at(endpoint, TlsOptions { authorities: Some(authority), ..TlsOptions::default() })
        });
        let server = at(loopback(port), TlsOptions::default());
        Ok(Self { server, by_tls, process: Some(ThrowAway { child, directory }) })
    }

    /// Waits until this very process answers; `false` when it ended or another one owns the port.
    async fn is_ready(&mut self) -> Result<bool> {
        for _ in 0..START_TRIES {
            let Some(ThrowAway { child, .. }) = &mut self.process else { return Ok(true) };
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(false);
            }
            let ours = format!("process_id:{}", child.id());
            if let Ok(mut connection) = self.connect().await {
                let info = text(&connection.demand(&[b"INFO", b"server"]).await?);
                return Ok(info.lines().any(|line| line.trim() == ours));
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Ok(false)
    }

    /// The URL without the password: as it may be shown, and stand in a list of processes.
    pub(super) fn url(&self) -> String {
        Endpoint { password: None, ..self.server.endpoint.clone() }.to_string()
    }

    /// The password, for the environment of a contestant.
    pub(super) fn password(&self) -> Option<&str> {
        self.server.endpoint.password.as_ref().map(crate::config::Secret::reveal)
    }

    /// Host and port, where that is all it takes to talk to it.
    pub(super) fn plain_address(&self) -> Option<(String, u16)> {
        let endpoint = &self.server.endpoint;
        match &endpoint.address {
            Address::Tcp { host, port }
                if !endpoint.tls && endpoint.password.is_none() && endpoint.username.is_none() =>
            {
                Some((host.clone(), *port))
            }
            _ => None,
        }
    }

    /// [`Self::plain_address`], which has to be there.
    pub(super) fn plain(&self) -> Result<(String, u16)> {
        let none = || Error::new(Kind::Server, "it needs plain TCP without a password");
        self.plain_address().ok_or_else(none)
    }

    /// Makes connections as keyferry's own; see [`Self::connect`] for the benchmark's.
    pub(super) fn connector(&self) -> Result<Connector> {
        Connector::new(&self.server, Timeouts { reply: PATIENCE, ..Timeouts::default() })
    }

    /// A connection of the benchmark itself.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let mut connection = connect(&self.connector()?, 0).await?;
        connection.call(&[b"CLIENT", b"SETNAME", OWN_NAME.as_bytes()]).await?;
        Ok(connection)
    }

    /// One command on a connection of its own.
    pub(super) async fn demand(&self, command: &[&[u8]]) -> Result<Value> {
        self.connect().await?.demand(command).await
    }

    /// Removes all keys and waits until their memory is free.
    pub(super) async fn flush(&self) -> Result<()> {
        self.demand(&[b"FLUSHALL", b"SYNC"]).await.map(drop)
    }

    /// Keys in all databases.
    pub(super) async fn keys(&self) -> Result<u64> {
        let info = self.info("keyspace").await?;
        Ok(ServerInfo::parse(&info).keyspace.values().map(|keyspace| keyspace.keys).sum())
    }

    /// The text of a section of INFO.
    pub(super) async fn info(&self, section: &str) -> Result<String> {
        Ok(text(&self.demand(&[b"INFO", section.as_bytes()]).await?))
    }

    /// What the server says of itself.
    pub(super) async fn identity(&self) -> Result<ServerInfo> {
        Ok(ServerInfo::parse(&self.info("server").await?))
    }

    /// The setting of a server that was not started for this run has to be put back.
    pub(super) async fn set(&self, name: &str, value: &str) -> Result<Option<String>> {
        let mut connection = self.connect().await?;
        let reply = connection.demand(&[b"CONFIG", b"GET", name.as_bytes()]).await?;
        let before = reply.elements().and_then(|pair| pair.get(1)?.text()).map(str::to_owned);
        if before.as_deref() != Some(value) {
            connection.demand(&[b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()]).await?;
        }
        Ok(before)
    }

    /// Refuses a server that holds keys: a benchmark fills and flushes.
    pub(super) async fn must_be_empty(&self) -> Result<()> {
        let keys = self.keys().await?;
        if keys == 0 {
            return Ok(());
        }
        let text = format!("it is not empty: it holds {} keys", crate::units::count(keys));
        Err(Error::refused(text)
            .at(self.server.side, &self.server.endpoint.to_string())
            .advise("a benchmark fills its servers and flushes them; name servers without keys"))
    }
}

/// Free now; somebody else may take it before it is used.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A plain endpoint on this machine.
pub(super) fn loopback(port: u16) -> Endpoint {
    Endpoint {
        address: Address::Tcp { host: "127.0.0.1".into(), port },
        tls: false,
        username: None,
        password: None,
        database: None,
    }
}

fn text(reply: &Value) -> String {
    String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned()
}

fn not_started(program: &Path, why: &str) -> Error {
    Error::new(Kind::Config, format!("{} cannot be started: {why}", program.display()))
        .advise("name a redis-server or valkey-server by --server")
}
