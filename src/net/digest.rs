//! Recognises a value that nobody holds: by its digest, taken while it passes by.
//!
//! SHA-256, because keys are deleted on the strength of it; from the library TLS already needs.

use aws_lc_rs::digest::{Context, SHA256};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::command::ServerError;
use crate::error::Result;
use crate::resp::Kind;

/// A digest that grows, and leaves the last bytes out.
pub struct Digest {
    context: Context,
    rest: usize,
}

impl Digest {
    /// The digest of the first `bytes` bytes of what is to come.
    pub fn of_first(bytes: usize) -> Self {
        Self { context: Context::new(&SHA256), rest: bytes }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        let counted = bytes.get(..self.rest).unwrap_or(bytes);
        self.context.update(counted);
        self.rest -= counted.len();
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        let digest = self.context.finish();
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl Connection {
    /// The digest of the bulk string that a command answers, but for its last `tail` bytes, however
    /// long it is; `None`: the answer is nil. Not while other replies are outstanding.
    ///
    /// # Errors
    /// The connection broke or is silent, or the server refuses the command.
    pub async fn digest_of(
        &mut self,
        arguments: &[&[u8]],
        tail: usize,
        stop: &CancellationToken,
    ) -> Result<Option<[u8; 32]>> {
        self.output().command(arguments);
        self.expect_replies();
        loop {
            if let Some(head) = self.next_node()? {
                let body = self.body(head);
                let result = match head.kind {
                    Kind::Error => Err(ServerError::parse(body)),
                    Kind::Bulk => {
                        let mut digest = Digest::of_first(body.len().saturating_sub(tail));
                        digest.update(body);
                        Ok(Some(digest.finish()))
                    }
                    _ => Ok(None),
                };
                self.take_slab();
                return result.map_err(|error| {
                    self.refused(arguments.first().copied().unwrap_or_default(), &error)
                });
            }
            if let Some(bytes) = self.announced() {
                let mut digest = Digest::of_first(bytes.saturating_sub(tail));
                let mut pieces = self.begin_pieces();
                while let Some(piece) = self.next_piece(&mut pieces, stop).await? {
                    digest.update(&piece);
                }
                return Ok(Some(digest.finish()));
            }
            self.turn_within(stop).await?;
        }
    }
}
