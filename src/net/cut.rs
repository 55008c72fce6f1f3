//! Answers of which long strings are left out: for questions whose answers may hold names of any length.

use std::mem;

use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::error::{Error, Kind, Result};
use crate::resp::{self, Value};

/// Arrays within arrays: answers to such questions have two.
const DEEPEST: usize = 8;

impl Connection {
    /// The next answer; strings of more than `longest` bytes are read over, and are nil in it.
    pub(super) async fn next_value_cut(&mut self, longest: usize) -> Result<Value> {
        let never = CancellationToken::new();
        // Arrays that lack elements, outermost first: what they have, and how many they will.
        let mut open: Vec<(Vec<Value>, usize)> = Vec::new();
        loop {
            let mut value = match self.next_node()? {
                Some(head) => {
                    let text = || String::from_utf8_lossy(self.body(head)).into_owned();
                    match head.kind {
                        resp::Kind::Array if head.number > 0 => {
                            if open.len() == DEEPEST {
                                let text = "arrays are nested too deep in its reply";
                                return Err(self.place(Error::new(Kind::Protocol, text)));
                            }
                            open.push((Vec::new(), usize::try_from(head.number).unwrap_or(0)));
                            continue;
                        }
                        resp::Kind::Array => Value::Array(Vec::new()),
                        resp::Kind::Simple => Value::Simple(text()),
                        resp::Kind::Error => Value::Error(text()),
                        resp::Kind::Integer => Value::Integer(head.number),
                        resp::Kind::Bulk => Value::Bulk(self.body(head).to_vec()),
                        resp::Kind::Null => Value::Null,
                    }
                }
                None if self.announced().is_some_and(|length| length > longest) => {
                    let mut pieces = self.begin_pieces();
                    while self.next_piece(&mut pieces, &never).await?.is_some() {}
                    Value::Null
                }
                None => {
                    self.take_slab();
                    self.turn_within(&never).await?;
                    continue;
                }
            };
            loop {
                let Some((elements, length)) = open.last_mut() else { return Ok(value) };
                elements.push(value);
                if elements.len() < *length {
                    break;
                }
                value = Value::Array(mem::take(elements));
                open.pop();
            }
        }
    }
}
