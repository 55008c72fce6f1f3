//! From an endpoint to a connection that is authenticated and on its database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::BufReader;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::connection::Connection;
use super::stream::{Stream, TLS_READ};
use super::tls::Tls;
use super::troubles::Troubles;
use crate::command::{Cause, ServerError};
use crate::config::{Address, Server, Timeouts};
use crate::error::{Error, Kind, Result};
use crate::resp::Value;
use crate::units;

/// Idle time before the kernel asks whether the peer is still there: below the usual idle limits of
/// firewalls and load balancers (a few minutes).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How often a connection may break that stood, and was not ready yet: a hiccup passes, and a port that
/// speaks something else should be told soon.
const GREETINGS: u32 = 3;

/// The name our connections carry in `CLIENT LIST`.
const CLIENT_NAME: &[u8] = b"keyferry";

/// Makes connections to one server; its TLS files are read once.
#[derive(Clone)]
pub struct Connector {
    server: Arc<Server>,
    tls: Option<Tls>,
    timeouts: Timeouts,
    answered: Arc<AtomicBool>,
    troubles: Arc<Troubles>,
}

impl Connector {
    /// Prepares connections to a server.
    ///
    /// # Errors
    /// [`Kind::Config`]: a TLS file cannot be used.
    pub fn new(server: &Server, timeouts: Timeouts) -> Result<Self> {
        let tls = if server.endpoint.tls {
            let tls = Tls::new(server)
                .map_err(|error| error.at(server.side, &server.endpoint.to_string()))?;
            Some(tls)
        } else {
            None
        };
        Ok(Self {
            server: Arc::new(server.clone()),
            tls,
            timeouts,
            answered: Arc::default(),
            troubles: Arc::default(),
        })
    }

    /// How long its server may take.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Tells that something of its server is waited for: once for all its connections.
    pub fn tell_waiting(&self, error: &Error, what: &str) {
        self.troubles.tell(error, what, self.timeouts.retry);
    }

    /// Whether its server has answered once: then its address is right, and it is one that we know to
    /// speak with.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Opens a connection, authenticates, and selects `database`. A server that answers but is busy or
/// loading is waited for; the first connection is made again, twice, if it breaks before it is ready.
///
/// # Errors
/// [`Kind::Connect`], whatever failed: the reason is in the message.
pub async fn connect(connector: &Connector, database: u32) -> Result<Connection> {
    connect_when(connector, database, |_| true).await
}

/// Likewise; `None`: its server has answered before, and takes no more connections now.
///
/// # Errors
/// As [`connect`].
pub(super) async fn connect_if_room(
    connector: &Connector,
    database: u32,
) -> Result<Option<Connection>> {
    match connect_when(connector, database, |error| !error.is_no_room()).await {
        Err(error) if error.is_no_room() && connector.has_answered() => Ok(None),
        result => result.map(Some),
    }
}

/// Waits for what passes by itself and is `waited_for`.
async fn connect_when(
    connector: &Connector,
    database: u32,
    waited_for: impl Fn(&Error) -> bool,
) -> Result<Connection> {
    let began = Instant::now();
    let (mut backoff, mut broken) = (Backoff::default(), 0);
    loop {
        let error = match connect_once(connector, database).await {
            Ok(connection) => {
                connector.answered.store(true, Ordering::Relaxed);
                return Ok(connection);
            }
            Err(error) => error,
        };
        broken += u32::from(error.kind() == Kind::Transport);
        let passes = match error.kind() {
            Kind::Server => {
                error.passes() && waited_for(&error) && began.elapsed() < connector.timeouts.retry
            }
            // Who has met the server before knows what to do.
            Kind::Transport => broken < GREETINGS && !connector.has_answered(),
            _ => false,
        };
        if !passes {
            let kind = if error.kind() == Kind::Refused { Kind::Refused } else { Kind::Connect };
            return Err(unless_tls(connector, error).as_kind(kind));
        }
        if backoff.tries() == 0 {
            connector.tell_waiting(&error, "waiting");
        }
        sleep(backoff.next_delay()).await;
    }
}

/// A server that closes a plain connection before it has answered once may speak TLS on this port.
fn unless_tls(connector: &Connector, error: Error) -> Error {
    let plain = !connector.server.endpoint.tls && !connector.has_answered();
    match (&connector.server.endpoint.address, error.kind()) {
        (Address::Tcp { .. }, Kind::Transport) if plain => error.advise(
            "the server may expect TLS there: write rediss:// instead of redis://; or it allows no \
             connections from this host",
        ),
        _ => error,
    }
}

async fn connect_once(connector: &Connector, database: u32) -> Result<Connection> {
    let server = &connector.server;
    let limit = connector.timeouts.connect;
    let attempt = async {
        let stream = open(connector).await?;
        let mut connection = Connection::new(server.clone(), stream, connector.timeouts);
        handshake(&mut connection, server, database).await?;
        Ok(connection)
    };
    let result = match timeout(limit, attempt).await {
        Ok(result) => result,
        Err(_) => {
            let what = if server.endpoint.tls { "TLS connection" } else { "connection" };
            let text = format!("no {what} within {}", units::duration(limit));
            let check = if server.endpoint.tls { ", and that this is its TLS port" } else { "" };
            Err(Error::new(Kind::Connect, text)
                .advise(format!(
                    "check host, port and firewall{check}; allow more by --connect-timeout"
                ))
                .passing())
        }
    };
    result.map_err(|error: Error| error.at(server.side, &server.endpoint.to_string()))
}

async fn open(connector: &Connector) -> Result<Stream> {
    let server = &connector.server;
    let (host, port) = match &server.endpoint.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            return stream.map(Stream::Unix).map_err(|error| unreachable(&error));
        }
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    let prepared = tcp.set_nodelay(true).and_then(|()| {
        SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
    });
    prepared.map_err(|error| unreachable(&error))?;
    let Some(tls) = &connector.tls else { return Ok(Stream::Tcp(tcp)) };
    let below = BufReader::with_capacity(TLS_READ, tcp);
    let stream = tls.connector.connect(tls.name.clone(), below).await.map_err(|error| {
        tls.explain(&error, server).unwrap_or_else(|| match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                let text = "the server closed the connection during the TLS handshake";
                let error = Error::new(Kind::Connect, text)
                    .advise("check that this is its TLS port; use redis:// for a plain one");
                // It cannot say before the handshake that it takes no more connections.
                if connector.has_answered() { error.no_room() } else { error }
            }
            _ => unreachable(&error),
        })
    })?;
    Ok(Stream::Tls(Box::new(stream)))
}

fn unreachable(error: &std::io::Error) -> Error {
    Error::new(Kind::Connect, format!("cannot connect: {error}"))
        .advise("check host and port, and that the server runs and listens there")
        .passing()
}

async fn handshake(connection: &mut Connection, server: &Server, database: u32) -> Result<()> {
    authenticate(connection, server).await?;
    let number = database.to_string();
    let commands: [&[&[u8]]; 4] = [
        // Asks nothing of the user's rights, but says whether the server is ready at all.
        &[b"PING"],
        // A name for CLIENT LIST; a user may lack the right, an old server the command.
        &[b"CLIENT", b"SETNAME", CLIENT_NAME],
        // Reading must not change which keys the source evicts (Redis 7.2, Valkey).
        &[b"CLIENT", b"NO-TOUCH", b"ON"],
        &[b"SELECT", number.as_bytes()],
    ];
    // All in one round trip; a new connection is on database 0 already.
    let commands = if database == 0 { commands.get(..3) } else { Some(&commands[..]) };
    let replies = connection.call_all(commands.unwrap_or_default()).await?;
    if let Some(Value::Error(line)) = replies.first() {
        check(connection, b"PING", line)?;
    }
    match replies.get(3) {
        Some(Value::Error(line)) => Err(connection.no_database(database, line)),
        _ => Ok(()),
    }
}

/// Who lacks AUTH learns it here, before any work; a user may well lack PING.
fn check(connection: &Connection, command: &[u8], line: &str) -> Result<()> {
    let error = ServerError::parse(line.as_bytes());
    match error.cause {
        Cause::NotAuthenticated => Err(connection.refused(command, &error)),
        cause if cause.passes() => Err(connection.refused(command, &error)),
        _ => Ok(()),
    }
}

/// `AUTH user password`; servers older than 6.0 know only `AUTH password` and say so.
async fn authenticate(connection: &mut Connection, server: &Server) -> Result<()> {
    let endpoint = &server.endpoint;
    let Some(password) = &endpoint.password else {
        if endpoint.username.is_some() {
            return Err(Error::new(Kind::Connect, "a user is named, but no password given")
                .advise(format!(
                    "give it in the URL, by --{}-password-file or by environment; a password without a user is \
                     written redis://:PASSWORD@host",
                    server.side
                )));
        }
        return Ok(());
    };
    let password = password.reveal().as_bytes();
    let mut reply = match &endpoint.username {
        Some(user) => connection.call(&[b"AUTH", user.as_bytes(), password]).await?,
        None => connection.call(&[b"AUTH", password]).await?,
    };
    let old_server =
        matches!(&reply, Value::Error(line) if line.contains("wrong number of arguments"));
    if old_server {
        reply = connection.call(&[b"AUTH", password]).await?;
    }
    match reply {
        Value::Error(line) => {
            let error = ServerError::parse(line.as_bytes());
            Err(Error::new(Kind::Connect, format!("AUTH was refused: {error}"))
                .advise("check user name and password"))
        }
        _ => Ok(()),
    }
}
