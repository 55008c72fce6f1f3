//! Key patterns against the reference matcher, and both against what real servers answer.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyferry::command::pattern::Pattern;
use tempfile::TempDir;

use crate::checks::pattern::compare;
use crate::corpus;
use crate::random::{Random, seed};

/// Everything that has a meaning in a pattern, and two letters that have none.
const ALPHABET: &[u8] = b"ab*?[]^-\\";

/// All texts of up to `longest` of these bytes.
fn all_texts(alphabet: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let mut texts = vec![Vec::new()];
    let mut start = 0;
    for _ in 0..longest {
        let end = texts.len();
        for at in start..end {
            for &byte in alphabet {
                texts.push([&texts[at][..], &[byte]].concat());
            }
        }
        start = end;
    }
    texts
}

/// Longer patterns, as many as asked for.
fn random_patterns(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed());
    let mut pattern = || {
        let length = 5 + random.below(12);
        (0..length).map(|_| random.one_of(ALPHABET)).collect()
    };
    (0..count).map(|_| pattern()).collect()
}

/// Every short key of bytes that patterns treat differently, and some bytes beyond ASCII.
fn keys() -> Vec<Vec<u8>> {
    let mut keys = all_texts(b"ab]^-\\", 3);
    keys.extend(all_texts(b"\0\n\xff", 2));
    keys.extend(corpus::patterns_and_keys().into_iter().map(|(_, key)| key));
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn patterns_fit_as_in_the_reference() {
    let keys = all_texts(b"ab]^-\\", 3);
    let mut patterns = all_texts(ALPHABET, 4);
    patterns.extend(random_patterns(5_000));
    for pattern in &patterns {
        for key in &keys {
            compare(pattern, key);
        }
    }
}

#[test]
fn patterns_fit_as_on_real_servers() {
    let keys = keys();
    let mut patterns = all_texts(ALPHABET, 3);
    patterns.extend(random_patterns(3_000));
    patterns.extend(corpus::patterns_and_keys().into_iter().map(|(pattern, _)| pattern));
    patterns.retain(|pattern| old_servers_can_bear(pattern));
    let servers = installed_servers();
    assert!(!servers.is_empty(), "no server is installed; `make servers` installs them");
    for binary in servers {
        let server = Server::start(&binary);
        let mut connection = server.connection();
        for key in &keys {
            redis::cmd("SET").arg(key).arg(0).exec(&mut connection).expect("SET");
        }
        for some in patterns.chunks(100) {
            compare_with_server(&mut connection, &binary, some, &keys);
        }
    }
}

/// Redis 6.2 tries every way to share a key out among the stars: hours for forty of them.
fn old_servers_can_bear(pattern: &[u8]) -> bool {
    pattern.iter().filter(|&&byte| byte == b'*').count() <= 6
}

fn compare_with_server(
    connection: &mut redis::Connection,
    binary: &Path,
    patterns: &[Vec<u8>],
    keys: &[Vec<u8>],
) {
    let mut pipeline = redis::pipe();
    for pattern in patterns {
        pipeline.cmd("KEYS").arg(pattern);
    }
    let answers: Vec<BTreeSet<Vec<u8>>> = pipeline.query(connection).expect("KEYS");
    for (pattern, answer) in patterns.iter().zip(answers) {
        let compiled = Pattern::new(pattern);
        for key in keys {
            let (ours, theirs) = (compiled.matches(key), answer.contains(key));
            let (pattern, key) = (pattern.escape_ascii(), key.escape_ascii());
            assert_eq!(ours, theirs, "'{pattern}' on the key '{key}': {}", binary.display());
        }
    }
}

/// The servers that the project's script installs, or the one on PATH.
fn installed_servers() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    let installed =
        ["redis62", "redis70", "redis82", "valkey81", "valkey91"].iter().flat_map(|name| {
            ["redis-server", "valkey-server"].map(|binary| root.join(name).join(binary))
        });
    let mut servers: Vec<PathBuf> = installed.filter(|path| path.is_file()).collect();
    if servers.is_empty() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
        servers.extend(candidates.filter(|path| path.is_file()).take(1));
    }
    servers
}

/// A server of the test's own on a free loopback port.
struct Server {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    fn start(binary: &Path) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("the address of a listener").port();
        drop(listener);
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Self { child, port, _directory: directory }
    }

    /// Waits until it answers.
    fn connection(&self) -> redis::Connection {
        const PATIENCE: Duration = Duration::from_secs(30);
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("a loopback address");
        let start = Instant::now();
        loop {
            match client.get_connection() {
                Ok(connection) => return connection,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
