//! Real servers on free loopback ports, ended when the test lets go of them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, cmd};
use tempfile::TempDir;

use super::certificates::ServerCertificate;
use super::client::Client;
use super::wait_until;

/// Which server: the names are those of `scripts/servers.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis62,
    /// The only one that was built with TLS.
    Redis70,
    Redis82,
    Valkey81,
    Valkey91,
}

impl Kind {
    /// All there are.
    pub(crate) const ALL: [Self; 5] =
        [Self::Redis62, Self::Redis70, Self::Redis82, Self::Valkey81, Self::Valkey91];

    /// The server's name in the report, up to the minor version.
    pub(crate) fn version_prefix(self) -> &'static str {
        match self {
            Self::Redis62 => "redis 6.2.",
            Self::Redis70 => "redis 7.0.",
            Self::Redis82 => "redis 8.2.",
            Self::Valkey81 => "valkey 8.1.",
            Self::Valkey91 => "valkey 9.1.",
        }
    }

    /// The name in `scripts/servers.py`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis62 => "redis62",
            Self::Redis70 => "redis70",
            Self::Redis82 => "redis82",
            Self::Valkey81 => "valkey81",
            Self::Valkey91 => "valkey91",
        }
    }

    fn binary(self) -> PathBuf {
        let name = self.name();
        let file = match self {
            Self::Redis62 | Self::Redis70 | Self::Redis82 => "redis-server",
            Self::Valkey81 | Self::Valkey91 => "valkey-server",
        };
        let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
        let path = servers.join(name).join(file);
        assert!(
            path.is_file(),
            "the tests need the server {name}, which is not installed.\n\
             Install all of them with `make servers` (or: python3 scripts/servers.py install {name})"
        );
        path
    }
}

/// A server to be started: plain and open unless told otherwise.
pub(crate) struct Setup {
    kind: Kind,
    arguments: Vec<String>,
    password: Option<String>,
    tls: bool,
    socket: bool,
    rdb: Option<PathBuf>,
    port: Option<u16>,
    sentinel_of: Option<u16>,
}

/// A running server.
pub(crate) struct Server {
    /// Which one it is.
    pub(crate) kind: Kind,
    /// The plain port; tests fill and check through it, also where keyferry uses TLS.
    pub(crate) port: u16,
    /// The TLS port, 0 without TLS.
    pub(crate) tls_port: u16,
    password: Option<String>,
    arguments: Vec<String>,
    child: Child,
    directory: TempDir,
}

impl Setup {
    /// A server of this kind.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            arguments: Vec::new(),
            password: None,
            tls: false,
            socket: false,
            rdb: None,
            port: None,
            sentinel_of: None,
        }
    }

    /// One more option with its value, as in `--maxmemory 5mb`.
    pub(crate) fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// `requirepass`: the default user's password.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.option("--requirepass", password)
    }

    /// Does not know this command.
    pub(crate) fn without(mut self, command: &str) -> Self {
        self.arguments.extend(strings(&["--rename-command", command, ""]));
        self
    }

    /// A sentinel that watches this server, by the name `main`; it takes no other options.
    pub(crate) fn sentinel_of(mut self, primary: &Server) -> Self {
        self.sentinel_of = Some(primary.port);
        self
    }

    /// Listens on this port, in the place of another server that is gone.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Loads a copy of this file when it starts.
    pub(crate) fn rdb(mut self, path: &Path) -> Self {
        self.rdb = Some(path.to_owned());
        self
    }

    /// Also listens on a unix socket.
    pub(crate) fn socket(mut self) -> Self {
        self.socket = true;
        self
    }

    /// Also listens on a TLS port with this certificate; clients need none of their own.
    pub(crate) fn tls(mut self, certificate: &ServerCertificate) -> Self {
        assert_eq!(self.kind, Kind::Redis70, "only redis70 was built with TLS");
        self.tls = true;
        self.option("--tls-cert-file", &certificate.certificate())
            .option("--tls-key-file", &certificate.key())
            .option("--tls-ca-cert-file", &certificate.authority())
            .option("--tls-auth-clients", "no")
    }

    /// As `tls`, and clients have to show a certificate of the same authority.
    pub(crate) fn mutual_tls(self, certificate: &ServerCertificate) -> Self {
        // The last of two equal options counts.
        self.tls(certificate).option("--tls-auth-clients", "yes")
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            // Between finding a port free and the server's bind somebody else may take it.
            if let Some(server) = self.try_start() {
                return server;
            }
        }
        panic!("{:?} did not start in {ATTEMPTS} attempts", self.kind);
    }

    fn try_start(&self) -> Option<Server> {
        let directory = TempDir::new().expect("a temporary directory");
        if let Some(path) = &self.rdb {
            std::fs::copy(path, directory.path().join("dump.rdb")).expect("the file is copied");
        }
        let port = self.port.unwrap_or_else(free_port);
        let tls_port = if self.tls { free_port() } else { 0 };
        let mut arguments = strings(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        arguments.extend(strings(&["--save", "", "--appendonly", "no", "--dir"]));
        arguments.push(directory.path().to_str().expect("a plain name").to_owned());
        arguments.extend_from_slice(&self.arguments);
        if self.tls {
            arguments.extend(strings(&["--tls-port", &tls_port.to_string()]));
        }
        if self.socket {
            let path = socket_path(&directory);
            arguments.extend(strings(&["--unixsocket", path.to_str().expect("a plain name")]));
        }
        if self.kind != Kind::Redis62 {
            // For the threshold of plain list nodes; see `dataset`.
            arguments.extend(strings(&["--enable-debug-command", "yes"]));
        }
        if let Some(primary) = self.sentinel_of {
            let file = directory.path().join("sentinel.conf");
            let watched = format!("port {port}\nsentinel monitor main 127.0.0.1 {primary} 1\n");
            std::fs::write(&file, watched).expect("the sentinel's file is written");
            arguments = strings(&[file.to_str().expect("a plain name"), "--sentinel"]);
        }
        let child = spawn(self.kind, &arguments, &directory);
        let password = self.password.clone();
        let kind = self.kind;
        let mut server = Server { kind, port, tls_port, password, arguments, child, directory };
        server.is_ready().then_some(server)
    }
}

impl Server {
    /// A plain server without password.
    #[track_caller]
    pub(crate) fn start(kind: Kind) -> Self {
        Setup::new(kind).start()
    }

    /// Ends the process, as a crash does.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it once more on its port, after `kill`: with what it had saved, so usually empty.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        const ATTEMPTS: usize = 50;
        for _ in 0..ATTEMPTS {
            self.child = spawn(self.kind, &self.arguments, &self.directory);
            // Somebody may have the port for a moment.
            if self.is_ready() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{:?} did not start again in {ATTEMPTS} attempts", self.kind);
    }

    /// Waits until what its counters show is certain: within the second of its last save (its start
    /// counts as one) another save could have hidden changes.
    pub(crate) fn wait_for_certain_counters(&self) {
        wait_until("the second of the last save is over", || {
            let mut client = self.client(0);
            let saved: u64 = client.call(&cmd("LASTSAVE"));
            let now: (u64, u64) = client.call(&cmd("TIME"));
            now.0 > saved
        });
    }

    /// `redis://127.0.0.1:PORT`, without a database.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:PORT/DB`.
    pub(crate) fn url_of(&self, db: u32) -> String {
        format!("{}/{db}", self.url())
    }

    /// `rediss://localhost:PORT`: the TLS port by the name the certificates carry.
    pub(crate) fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port)
    }

    /// The unix socket of a server that was set up with one.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_path(&self.directory)
    }

    /// Hands its data to replicas as soon as they ask; by default it waits five seconds for more of them.
    pub(crate) fn synchronise_at_once(&self) {
        self.client(0).run(cmd("CONFIG").arg("SET").arg("repl-diskless-sync-delay").arg(0));
    }

    /// Becomes a replica of the server at this port, and has its data when this returns.
    #[track_caller]
    pub(crate) fn follow(&self, port: u16) {
        let mut client = self.client(0);
        client.run(cmd("REPLICAOF").arg("127.0.0.1").arg(port));
        wait_until("it has the data of its primary", || {
            client.info("replication", "master_link_status").as_deref() == Some("up")
        });
    }

    /// Becomes a primary.
    pub(crate) fn follow_nobody(&self) {
        self.client(0).run(cmd("REPLICAOF").arg("NO").arg("ONE"));
    }

    /// A client of this database, as the default user.
    #[track_caller]
    pub(crate) fn client(&self, db: u32) -> Client {
        self.try_client(db).unwrap_or_else(|error| panic!("{}: {error}", self.url_of(db)))
    }

    fn try_client(&self, db: u32) -> Result<Client, redis::RedisError> {
        let mut settings = RedisConnectionInfo::default()
            .set_db(i64::from(db))
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port);
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let connection = redis::Client::open(info)?.get_connection()?;
        Ok(Client::new(connection, self.url_of(db)))
    }

    /// Waits until this very process answers; false when it ended or another one owns the port.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < super::PATIENCE {
            if self.child.try_wait().expect("the state of a child").is_some() {
                return false;
            }
            // Errors are common here: the port may still belong to something that is going away.
            let answer: Result<String, _> = self
                .try_client(0)
                .and_then(|mut client| client.try_call(cmd("INFO").arg("server")));
            if let Ok(text) = answer {
                let ours = format!("process_id:{}", self.child.id());
                return text.lines().any(|line| line.trim() == ours);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Name, calls and failed calls of each command since the start or since `reset_commands`.
    #[track_caller]
    fn command_statistics(&self) -> Vec<(String, u64, u64)> {
        let text: String = self.client(0).call(cmd("INFO").arg("commandstats"));
        let number = |values: &str, wanted: &str| -> u64 {
            let mut pairs = values.split(',').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(name, _)| *name == wanted);
            found.map_or(0, |(_, value)| value.parse().expect("a count"))
        };
        text.lines()
            .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'))
            .map(|(name, v)| (name.to_owned(), number(v, "calls"), number(v, "failed_calls")))
            .collect()
    }

    /// The names of the commands run since the start or since `reset_commands`.
    #[track_caller]
    pub(crate) fn commands(&self) -> Vec<String> {
        self.command_statistics().into_iter().map(|(name, _, _)| name).collect()
    }

    /// How many commands were run since the start or since `reset_commands`.
    #[track_caller]
    pub(crate) fn all_calls(&self) -> u64 {
        self.command_statistics().iter().map(|(_, calls, _)| calls).sum()
    }

    /// How often a command was run.
    #[track_caller]
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let statistics = self.command_statistics();
        statistics.iter().find(|(name, _, _)| name == command).map_or(0, |(_, calls, _)| *calls)
    }

    /// Forgets the commands run so far.
    #[track_caller]
    pub(crate) fn reset_commands(&self) {
        self.client(0).run(cmd("CONFIG").arg("RESETSTAT"));
    }

    /// As `write_commands`, without those that were always answered by an error: a command sent
    /// only to learn whether it is permitted has written nothing.
    #[track_caller]
    pub(crate) fn writes_done(&self) -> Vec<String> {
        let statistics = self.command_statistics();
        let mut writes = self.write_commands();
        writes.retain(|write| statistics.iter().any(|(name, all, bad)| name == write && all > bad));
        writes
    }

    /// Those of `commands` that the server itself calls writes.
    #[track_caller]
    pub(crate) fn write_commands(&self) -> Vec<String> {
        let mut client = self.client(0);
        let mut writes = self.commands();
        writes.retain(|name| is_write(&mut client, name));
        writes
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `COMMAND INFO` for the flags; its reply is one entry `[name, arity, [flags …], …]`.
fn is_write(client: &mut Client, name: &str) -> bool {
    let reply: redis::Value = client.call(cmd("COMMAND").arg("INFO").arg(name));
    let redis::Value::Array(entries) = reply else { return false };
    let Some(redis::Value::Array(entry)) = entries.first() else { return false };
    let Some(redis::Value::Array(flags)) = entry.get(2) else { return false };
    flags.iter().any(|flag| matches!(flag, redis::Value::SimpleString(text) if text == "write"))
}

fn spawn(kind: Kind, arguments: &[String], directory: &TempDir) -> Child {
    let log = std::fs::File::create(directory.path().join("log")).expect("a log file");
    let mut command = Command::new(kind.binary());
    command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    command.spawn().expect("the server binary runs")
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn socket_path(directory: &TempDir) -> PathBuf {
    directory.path().join("server.sock")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the address of a listener").port()
}
