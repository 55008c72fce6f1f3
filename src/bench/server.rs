//! Servers that are started for a benchmark and gone with it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::ServerInfo;
use crate::config::{Address, Endpoint, Server, Timeouts, TlsOptions};
use crate::error::{Error, Result, Side};
use crate::net::{Connection, Connector, connect};

/// How long a server may take to answer its first PING.
const START_TRIES: usize = 200;

/// A server without persistence, on a free loopback port.
pub(super) struct ThrowAway {
    child: Child,
    port: u16,
}

impl ThrowAway {
    /// Starts `program`.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::config(format!("{} cannot be started: {error}", program.display()))
                .advise("name a redis-server or valkey-server by --server")
        };
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|free| free.local_addr())
            .map_err(failed)?
            .port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--loglevel", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self { child, port })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection to it; waits until it answers.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let endpoint = Endpoint {
            address: Address::Tcp { host: "127.0.0.1".into(), port: self.port },
            tls: false,
            username: None,
            password: None,
            database: None,
        };
        let server = Server { side: Side::Source, endpoint, tls: TlsOptions::default() };
        let connector = Connector::new(&server, Timeouts::default())?;
        let mut tries = 0;
        loop {
            match connect(&connector, 0).await {
                Err(_) if tries < START_TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                result => return result,
            }
        }
    }

    /// Removes all its keys and waits until their memory is free.
    pub(super) async fn flush(&self) -> Result<()> {
        self.connect().await?.demand(&[b"FLUSHALL", b"SYNC"]).await.map(drop)
    }

    /// Family and version.
    pub(super) async fn describe(&self) -> Result<String> {
        let reply = self.connect().await?.demand(&[b"INFO"]).await?;
        Ok(ServerInfo::parse(&String::from_utf8_lossy(reply.bytes().unwrap_or_default())).server())
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // Nothing is lost with it: it holds no data of anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
