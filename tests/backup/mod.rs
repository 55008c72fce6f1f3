//! Servers saved to RDB files, and files copied to servers.

mod damaged;
mod dumped;
mod foreign;
mod full_disk;
mod functions;
mod refused;
mod replicated;
mod restored;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::dataset::DATABASES;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// A directory for a backup, and nothing else.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().expect("a temporary directory") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("saved.rdb")
    }

    /// The names of all that is in it.
    #[track_caller]
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("a plain name")
        };
        entries.map(name).collect()
    }
}

/// `keyferry backup SOURCE FILE --report …`
fn backup(source: impl AsRef<std::ffi::OsStr>, file: &Path) -> Keyferry {
    Keyferry::new().arg("backup").arg(source).arg(file).with_report()
}

/// A server that sends its file at once: by default it waits five seconds for more replicas.
fn start(kind: Kind) -> Server {
    let server = Server::start(kind);
    server.synchronise_at_once();
    server
}

/// The same server, started with this file.
#[track_caller]
fn loaded(kind: Kind, file: &Path) -> Server {
    let server = Setup::new(kind).rdb(file).start();
    let mut client = server.client(0);
    wait_until("the file is loaded", || {
        client.info("persistence", "loading").as_deref() == Some("0")
    });
    server
}

fn total_keys(server: &Server) -> u64 {
    DATABASES.iter().map(|&db| server.client(db).dbsize() as u64).sum()
}
