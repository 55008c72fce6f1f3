//! `--source-compression off`: the one setting of a source that is changed, and its way back.
//!
//! `rdbcompression` decides whether DUMP tries to compress, most of what it costs. It is put back
//! after the copy, however that ended: done, failed, interrupted, a task that panicked, a connection
//! that broke. A source that is found without compression is left so: somebody wants it that way, or
//! another run of keyferry will put it back.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Run;
use super::probe::Probed;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::net::{Backoff, Connection, Link};
use crate::resp::Value;

/// The setting.
const SETTING: &[u8] = b"rdbcompression";
/// How long a way back may take when all is to stop at once.
const HURRY: Duration = Duration::from_secs(1);
/// How long one try may go without an answer: the next is on a new connection.
const ONE_TRY: Duration = Duration::from_secs(5);
/// What somebody has to do if we cannot.
const BY_HAND: &str = "put it back by hand, on the source: CONFIG SET rdbcompression yes";

/// What became of the source's setting.
#[derive(Default)]
pub(super) struct Compression {
    /// The way to the source, while something is to be put back.
    changed: Option<Link>,
    /// The connection that changed it, not in the middle of anything.
    connection: Option<Connection>,
    /// Why it could not be put back, and what to do.
    left_behind: Option<Error>,
}

impl Compression {
    /// Turns compression off, if it is on.
    ///
    /// # Errors
    /// [`Kind::Refused`] where CONFIG is not permitted; or the source cannot be reached.
    pub(super) async fn turn_off(&mut self, run: &Run, probed: &Probed) -> Result<()> {
        let link = run.source_link(0, probed);
        let began = Instant::now();
        let mut connection = link.connect().await?;
        loop {
            let tried = tokio::select! {
                biased;
                () = run.stop.cancelled() => return Ok(()),
                tried = self.try_turn_off(&mut connection, run, probed) => tried,
            };
            match tried {
                Ok(()) => break,
                Err(error) => connection = link.reconnect(error, began).await?.connection,
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn try_turn_off(
        &mut self,
        connection: &mut Connection,
        run: &Run,
        probed: &Probed,
    ) -> Result<()> {
        // The way back is not ended by the run's own tokens: it has to be open when they are cancelled.
        let (process, open) = (probed.source_process.clone(), CancellationToken::new());
        let way_back = Link::new(run.source.clone(), 0, process, open);
        if !ask(connection).await? {
            if run.checkpoint.as_ref().is_some_and(|earlier| earlier.turned_compression_off()) {
                tracing::info!("an earlier run turned rdbcompression off; it will be put back");
                self.changed = Some(way_back);
            } else if self.changed.is_none() {
                tracing::warn!(
                    "rdbcompression is off on the source already, and is left so; if a run that was killed \
                     turned it off: {BY_HAND}"
                );
            }
            return Ok(());
        }
        if let Some(checkpoint) = &run.checkpoint {
            checkpoint.keep_compression(true)?;
        }
        // From here on it may be changed, whether or not the answer comes.
        self.changed = Some(way_back);
        let result = set(connection, b"no").await;
        match &result {
            Ok(()) => {
                tracing::info!("rdbcompression is off on the source until the copy has ended");
            }
            Err(error) if error.kind() == Kind::Refused => self.changed = None,
            Err(_) => {}
        }
        result
    }

    /// Puts the setting back, if it was changed: tried for the whole of the retry budget, or, once
    /// `abort` is cancelled, for a second. When this is dropped half-way, it can be called again.
    pub(super) async fn put_back(&mut self, abort: &CancellationToken) {
        let Some(link) = self.changed.clone() else { return };
        let kept = self.connection.take();
        let patiently = tokio::select! {
            biased;
            () = abort.cancelled() => None,
            result = put_back(&link, kept) => Some(result),
        };
        let result = match patiently {
            Some(result) => result,
            None => match timeout(HURRY, put_back(&link, None)).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(Kind::Transport, "no answer within a second")),
            },
        };
        self.changed = None;
        if let Err(error) = result {
            let why = error.message();
            let text = format!("rdbcompression may still be off on the source: {why}");
            self.left_behind = Some(Error::new(Kind::Server, text).advise(BY_HAND));
        }
    }

    /// What the operator has to know: it could not be put back.
    pub(super) fn left_behind(self) -> Option<Error> {
        self.left_behind
    }
}

/// On the kept connection, else on a new one, until the budget for retries is used up.
async fn put_back(link: &Link, kept: Option<Connection>) -> Result<()> {
    let mut cause = Error::new(Kind::Transport, "the connection that changed it is gone");
    if let Some(mut connection) = kept {
        match one_try(&mut connection).await {
            Err(error) if error.kind() == Kind::Transport => cause = error,
            result => return result,
        }
    }
    let began = Instant::now();
    loop {
        let mut again = link.reconnect(cause, began).await?;
        if !again.same_process {
            return other_process(&mut again.connection).await;
        }
        match one_try(&mut again.connection).await {
            Err(error) if error.kind() == Kind::Transport => cause = error,
            result => return result,
        }
    }
}

async fn one_try(connection: &mut Connection) -> Result<()> {
    match timeout(ONE_TRY, set(connection, b"yes")).await {
        Ok(result) => result,
        Err(_) => Err(connection.place(Error::new(Kind::Transport, "CONFIG SET has no answer"))),
    }
}

/// A server that was started since read its own configuration, or is one that we never changed.
async fn other_process(connection: &mut Connection) -> Result<()> {
    if ask(connection).await? {
        tracing::info!("the source was restarted and compresses again");
        return Ok(());
    }
    let text = "another process answers there now, without compression, which is left as it is";
    Err(Error::new(Kind::Server, text))
}

/// Whether the setting could be changed, tried with a value that it cannot have.
///
/// # Errors
/// [`Kind::Refused`], with what to do; or the connection broke.
pub(super) async fn refuse_unchangeable(connection: &mut Connection) -> Result<()> {
    if !ask(connection).await? {
        return Ok(());
    }
    let reply = call(connection, &[b"CONFIG", b"SET", SETTING, b"neither"]).await?;
    let denied = matches!(&reply, Value::Error(line)
        if ServerError::parse(line.as_bytes()).cause != Cause::Other);
    if denied { Err(refused(connection, &reply)) } else { Ok(()) }
}

/// Whether the source compresses.
async fn ask(connection: &mut Connection) -> Result<bool> {
    let reply = call(connection, &[b"CONFIG", b"GET", SETTING]).await?;
    match reply.elements() {
        Some([_, value]) => Ok(value.bytes() == Some(b"yes")),
        _ => Err(refused(connection, &reply)),
    }
}

async fn set(connection: &mut Connection, value: &[u8]) -> Result<()> {
    match call(connection, &[b"CONFIG", b"SET", SETTING, value]).await? {
        Value::Simple(_) => Ok(()),
        reply => Err(refused(connection, &reply)),
    }
}

/// A source that is busy is waited for.
async fn call(connection: &mut Connection, arguments: &[&[u8]]) -> Result<Value> {
    let (began, mut backoff) = (Instant::now(), Backoff::default());
    loop {
        match connection.call(arguments).await {
            Err(error) if error.is_not_yet() && began.elapsed() < connection.timeouts().retry => {
                sleep(backoff.next_delay()).await;
            }
            answered => return answered,
        }
    }
}

fn refused(connection: &Connection, reply: &Value) -> Error {
    let Value::Error(line) = reply else {
        let text = "it does not know the setting rdbcompression";
        return connection.place(Error::refused(text)).advise("leave out --source-compression off");
    };
    let error = ServerError::parse(line.as_bytes());
    let advice = match error.cause {
        Cause::CommandDenied | Cause::NotAuthenticated => {
            "grant it there: ACL SETUSER <user> +config|get +config|set; or leave out \
             --source-compression off"
        }
        _ => {
            "managed servers often forbid CONFIG (where users can be granted it: ACL SETUSER <user> \
             +config|get +config|set); leave out --source-compression off"
        }
    };
    connection.place(Error::refused(format!("CONFIG was refused: {error}"))).advise(advice)
}
