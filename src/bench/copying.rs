//! `keyferry copy` as a contestant: a process of its own, so that CPU and memory are the copy's and
//! nobody else's, on one of several roads to the servers.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::contestant::failed;
use super::outcome::Measured;
use super::process;
use super::proxy::Proxy;
use super::server::{Peer, loopback};
use super::setting::Setting;
use super::throttle::{Moved, Throttle};
use crate::error::Result;

/// Variables that would change what a copy does.
const FOREIGN: [&str; 4] = ["DRY_RUN", "CLEAN_UP", "REPLACE_DST_KEYS", "DEBUG"];

/// A copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Copying {
    /// What is said to it.
    pub(super) options: Vec<String>,
    /// How it reaches the servers.
    pub(super) road: Road,
    /// What it is held back by: the rate follows from what it reaches without.
    pub(super) throttle: Option<Throttle>,
}

/// How a copy reaches the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Road {
    /// As the benchmark itself does.
    #[default]
    Straight,
    /// Through a proxy for each side, with this round trip.
    Proxies(Duration),
    /// By TLS on both sides, certificates verified.
    Tls,
}

impl Copying {
    /// One line about it.
    pub(super) fn describe(&self) -> String {
        let mut text = "keyferry copy".to_owned();
        self.options.iter().for_each(|option| text.extend([" ", option]));
        match self.road {
            Road::Straight => {}
            Road::Proxies(round_trip) => {
                let ms = round_trip.as_millis();
                text.push_str(&format!(", through proxies with {ms} ms of round trip"));
            }
            Road::Tls => text.push_str(", by TLS on both sides"),
        }
        if let Some(throttle) = self.throttle {
            let option = throttle.option();
            text.push_str(&format!(", {option} at a part of what it reaches without"));
        }
        text
    }

    /// Copies once, told to be slower than the copy that moved `free`, if it is to be throttled. The
    /// seconds are the whole process's, from its start to its end.
    pub(super) async fn run(
        &self,
        setting: &Setting,
        keys: u64,
        free: Option<Moved>,
    ) -> Result<Measured> {
        let Some(throttle) = self.throttle else {
            return self.go(setting, keys, &[]).await;
        };
        let free = free.ok_or_else(|| failed("no copy shows what a part of its rate is"))?;
        let rate = throttle.rate(&free);
        // What is proven after the copy is not copied, and would count as its time.
        let options = [throttle.option(), &rate.to_string(), "--verify", "none"];
        let mut measured = self.go(setting, keys, &options).await?;
        measured.throttle = measured.moved.map(|moved| throttle.held(rate, &moved));
        Ok(measured)
    }

    async fn go(&self, setting: &Setting, keys: u64, more: &[&str]) -> Result<Measured> {
        let sides = [&setting.source, &setting.target];
        let mut options = self.options.clone();
        options.extend(more.iter().copied().map(str::to_owned));
        // Proxies live as long as the copy.
        let mut proxies = Vec::new();
        let mut urls = Vec::new();
        for side in sides {
            urls.push(match self.road {
                Road::Straight => side.url(),
                Road::Proxies(round_trip) => {
                    let proxy = Proxy::start(&side.plain()?, round_trip / 2)
                        .map_err(|error| failed(format!("no proxy: {error}")))?;
                    let url = loopback(proxy.port).to_string();
                    proxies.push(proxy);
                    url
                }
                Road::Tls => {
                    let server = side.by_tls.as_ref().ok_or_else(|| failed("no TLS port"))?;
                    if let Some(authority) = &server.tls.authorities {
                        options.push(format!("--{}-cacert", server.side.word()));
                        options.push(authority.path.to_string_lossy().into_owned());
                    }
                    server.endpoint.to_string()
                }
            });
        }
        copy(&options, sides, &urls, keys).await
    }
}

async fn copy(
    options: &[String],
    [source, target]: [&Peer; 2],
    urls: &[String],
    keys: u64,
) -> Result<Measured> {
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["copy", "--report", "-", "--quiet"]).args(options);
    for name in FOREIGN {
        command.env_remove(name);
    }
    for (name, url) in ["SOURCE_REDIS_URL", "DESTINATION_REDIS_URL"].into_iter().zip(urls) {
        command.env(name, url);
    }
    passwords(&mut command, source, target);
    let ended = process::run(vec![command]).await?;
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
    let copied = report["keys"]["copied"].as_u64().unwrap_or(0);
    if !ended.status.success() || copied != keys {
        let words = ended.last_words();
        return Err(failed(format!("{copied} of {keys} keys copied, {}: {words}", ended.status)));
    }
    let given = |value: &Value| (!value.is_null()).then(|| value.clone());
    Ok(Measured {
        seconds: ended.seconds,
        cpu_seconds: report["process"]["cpu_seconds"].as_f64(),
        peak_resident_bytes: report["process"]["peak_resident_bytes"].as_u64(),
        latency: given(&report["latency_ms"]),
        ways: given(&report["ways"]),
        moved: report["bytes"]
            .as_u64()
            .zip(report["seconds"].as_f64())
            .map(|(bytes, seconds)| Moved { bytes, keys: copied, seconds }),
        ..Measured::default()
    })
}

/// Passwords travel by environment: command lines are for everybody to see.
pub(super) fn passwords(command: &mut Command, source: &Peer, target: &Peer) {
    for (name, peer) in [("SOURCE_REDIS_PASSWORD", source), ("DESTINATION_REDIS_PASSWORD", target)]
    {
        match peer.password() {
            Some(password) => command.env(name, password),
            None => command.env_remove(name),
        };
    }
}
