//! The way back: keys of the target that the source does not hold, or holds as another type than
//! those that are compared (which the way there leaves out).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::doubt::Doubt;
use crate::command::{ServerError, keyspace};
use crate::config::Filter;
use crate::error::{Error, Kind, Result};
use crate::flow::{KeyQueue, Keys, Pace};
use crate::net::{Connection, Link};
use crate::resp::{self, Reply};

/// What asks the source for the target's keys.
pub struct Extras {
    /// The way back to the source database, should the connection break.
    pub link: Link,
    /// On the source database.
    pub connection: Connection,
    /// The target's keys.
    pub keys: KeyQueue,
    /// Which keys are compared; the target's were chosen by it.
    pub filter: Filter,
    /// Keys that may be asked for at once.
    pub window: usize,
    /// How fast the source may be asked, if there is anything to say about that.
    pub pace: Option<Arc<Pace>>,
    /// Takes keys that the source seems to lack.
    pub doubts: mpsc::Sender<Doubt>,
}

/// Keys whose answers are awaited.
struct Asked {
    keys: Keys,
    /// What their names come to.
    bytes: usize,
    answered: usize,
}

/// Names that are asked for may come to so many bytes, beside those of one page: they wait here until the source
/// takes them.
const NAMES: usize = 1 << 20;

/// Asks for every key, ahead of the answers; who is not there is a doubt.
///
/// # Errors
/// The connection broke, or the source refuses EXISTS (TYPE, with `--type`).
pub async fn extras(mut tools: Extras) -> Result<()> {
    let mut asked: VecDeque<Asked> = VecDeque::new();
    let (mut outstanding, mut bytes, mut more) = (0, 0, true);
    let command = if tools.filter.types.is_empty() { "EXISTS" } else { "TYPE" };
    let mut progress = Instant::now();
    while more || outstanding > 0 {
        let mut absent = Vec::new();
        while let Some(front) = asked.front_mut() {
            let Some(reply) = tools.connection.next_reply()? else { break };
            let answer = is_there(&reply, &tools.filter);
            progress = Instant::now();
            match answer {
                Ok(true) => {}
                Ok(false) => absent.extend(front.keys.wire(front.answered).map(<[u8]>::to_vec)),
                Err(Some(error)) => {
                    return Err(tools.connection.refused(command.as_bytes(), &error));
                }
                Err(None) => {
                    let text = format!("unexpected reply to {command}");
                    return Err(tools.connection.place(Error::new(Kind::Protocol, text)));
                }
            }
            outstanding -= 1;
            front.answered += 1;
            if front.answered == front.keys.wires.len() {
                bytes -= front.bytes;
                asked.pop_front();
            }
        }
        drop(tools.connection.take_slab());
        for key in absent {
            if tools.doubts.send(Doubt { source: None, key }).await.is_err() {
                // It has ended and said why.
                return Ok(());
            }
        }
        let hungry = more && outstanding < tools.window && bytes < NAMES;
        let waiting = outstanding > 0;
        if !hungry && !waiting {
            continue;
        }
        tokio::select! {
            biased;
            keys = tools.keys.next(), if hungry => match keys {
                Some(keys) if keys.wires.is_empty() => {}
                Some(keys) => {
                    if let Some(pace) = &tools.pace {
                        pace.pass(keys.wires.len() as u64, 0).await;
                    }
                    if !waiting {
                        tools.connection.expect_replies();
                    }
                    ask(&mut tools.connection, &tools.filter, &keys, 0);
                    outstanding += keys.wires.len();
                    let names = keys.bytes();
                    bytes += names;
                    asked.push_back(Asked { keys, bytes: names, answered: 0 });
                }
                None => more = false,
            },
            turn = async {
                match tokio::time::timeout(tools.connection.timeouts().reply, tools.connection.turn()).await {
                    Ok(turn) => turn.map(|_| ()),
                    // Silent for as long as it may be: this says so.
                    Err(_) => tools.connection.check_silence(false),
                }
            }, if waiting => if let Err(error) = turn {
                tools.connection = tools.link.reconnect(error, progress).await?.connection;
                for asked in &asked {
                    ask(&mut tools.connection, &tools.filter, &asked.keys, asked.answered);
                }
                tools.connection.expect_replies();
            },
        }
    }
    Ok(())
}

fn ask(connection: &mut Connection, filter: &Filter, keys: &Keys, from: usize) {
    for wire in keys.wires.iter().skip(from).map(|wire| wire.of(&keys.slab)) {
        match filter.types.is_empty() {
            true => keyspace::exists(connection.output(), wire),
            false => keyspace::key_type(connection.output(), wire),
        }
    }
}

/// Whether the key is there, as one that is compared; a key that may not be read, or not now, is looked
/// at again.
fn is_there(reply: &Reply<'_>, filter: &Filter) -> std::result::Result<bool, Option<ServerError>> {
    let head = reply.head();
    match head.kind {
        resp::Kind::Integer if filter.types.is_empty() => Ok(head.number > 0),
        resp::Kind::Simple if !filter.types.is_empty() => Ok(filter.admits_type(reply.body(head))),
        resp::Kind::Error => {
            let error = ServerError::parse(reply.body(head));
            if error.cause.hits_every_key() { Err(Some(error)) } else { Ok(false) }
        }
        _ => Err(None),
    }
}
