//! What the guides say: `redis-cli KEYS '*' | xargs redis-cli MIGRATE host port "" 0 5000 COPY KEYS`.
//!
//! Run for real where both programs are in PATH; else the same batches go over one connection, which
//! spares the guide the start of a process for each of them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::contestant::{Measured, failed};
use super::outcome::of_process;
use super::process;
use super::server::Peer;
use crate::error::Result;
use crate::resp::Value;

/// The command line that xargs fills by itself, in bytes; each argument takes one more.
const COMMAND_LINE: usize = 128 << 10;
/// The timeout that the guides write, in milliseconds.
const TIMEOUT: &str = "5000";

/// The two programs, if both are there.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    client: PathBuf,
    xargs: PathBuf,
}

impl Programs {
    /// Looks in PATH.
    pub(super) fn find() -> Option<Self> {
        let client = in_path("redis-cli").or_else(|| in_path("valkey-cli"))?;
        Some(Self { client, xargs: in_path("xargs")? })
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Host and port of both sides.
pub(super) type Addresses<'a> = [&'a (String, u16); 2];

/// The pipeline as the shell would run it.
pub(super) async fn for_real(programs: &Programs, addresses: Addresses<'_>) -> Result<Measured> {
    let [(host, port), (target_host, target_port)] = addresses;
    let (port, target_port) = (port.to_string(), target_port.to_string());
    let mut keys = Command::new(&programs.client);
    keys.args(["-h", host, "-p", &port, "--raw", "KEYS", "*"]);
    let mut migrate = Command::new(&programs.xargs);
    migrate.arg(&programs.client).args(["-h", host, "-p", &port, "MIGRATE", target_host]);
    migrate.args([&target_port, "", "0", TIMEOUT, "COPY", "KEYS"]);
    let ended = process::run(vec![keys, migrate]).await?;
    let answers = String::from_utf8_lossy(&ended.stdout);
    // redis-cli ends with 0 whatever the server answered.
    let refused = answers.lines().find(|line| !matches!(line.trim(), "OK" | "NOKEY" | ""));
    if let Some(line) = refused {
        return Err(failed(format!("MIGRATE answered {line}")));
    }
    of_process(&ended)
}

/// The same commands, by one client that is running already.
pub(super) async fn emulated(source: &Peer, target: &(String, u16)) -> Result<Measured> {
    let mut connection = source.connect().await?;
    let (host, port) = (target.0.as_bytes(), target.1.to_string());
    let fixed: [&[u8]; 8] =
        [b"MIGRATE", host, port.as_bytes(), b"", b"0", TIMEOUT.as_bytes(), b"COPY", b"KEYS"];
    let began = Instant::now();
    let keys = connection.demand(&[b"KEYS", b"*"]).await?;
    let names: Vec<&[u8]> =
        keys.elements().unwrap_or_default().iter().flat_map(Value::bytes).collect();
    for batch in batches(&names, &fixed) {
        connection.demand(&[&fixed, batch].concat()).await?;
    }
    Ok(Measured { seconds: began.elapsed().as_secs_f64(), ..Measured::default() })
}

/// As xargs packs them: as many as fit the command line, the program's fixed arguments included.
fn batches<'a>(names: &'a [&'a [u8]], fixed: &[&[u8]]) -> Vec<&'a [&'a [u8]]> {
    // `redis-cli -h 127.0.0.1 -p 6379` and the like, in front of the command.
    const CLIENT: usize = 40;
    let length = |arguments: &[&[u8]]| arguments.iter().map(|a| a.len() + 1).sum::<usize>();
    let room = COMMAND_LINE.saturating_sub(CLIENT + length(fixed));
    let (mut batches, mut start, mut used) = (Vec::new(), 0, 0);
    for (index, name) in names.iter().enumerate() {
        if index > start && used + name.len() + 1 > room {
            batches.push((start, index));
            (start, used) = (index, 0);
        }
        used += name.len() + 1;
    }
    batches.push((start, names.len()));
    let slice = |(from, to)| names.get(from..to).filter(|batch: &&[_]| !batch.is_empty());
    batches.into_iter().filter_map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fill_a_command_line_and_lose_nothing() {
        let names: Vec<Vec<u8>> =
            (0..20_000).map(|n| format!("key:{n:012}").into_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let batches = batches(&names, &[b"MIGRATE", b"127.0.0.1"]);
        assert_eq!(batches.len(), 3, "7,700 keys of 16 bytes fit 128 KiB");
        assert_eq!(batches.concat(), names);
        assert!(super::batches(&[], &[]).is_empty());
        let long = vec![b'x'; COMMAND_LINE];
        assert_eq!(super::batches(&[&long, b"y"], &[]).len(), 2);
    }
}
