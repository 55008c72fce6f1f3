//! One page of SCAN, name by name: a name that is longer than this process may hold passes in pieces, and
//! nothing of it is kept but its beginning.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::flow::Keys;
use crate::net::Connection;
use crate::resp::{self, Span, Token};

/// So much of a name that is too long is kept, to tell it by, in bytes.
const KEPT: usize = 64;

/// Names for which room is made before they come: more than pages have, and a peer may announce any number.
const MOST_RESERVED: usize = 16 << 10;

/// What a page came to.
#[derive(Debug, Default)]
pub struct Page {
    /// Where SCAN goes on; `0`: nowhere.
    pub next: Vec<u8>,
    /// The keys that it names; several only where a name between them was too long.
    pub keys: Vec<Keys>,
    /// Names that are too long: their beginnings and lengths, in bytes.
    pub too_long: Vec<(Vec<u8>, usize)>,
    /// What all names came to, in bytes.
    pub bytes: usize,
}

/// Reads the answer to SCAN, `[cursor, [key, key, …]]`; names of more than `longest` bytes are passed over.
///
/// # Errors
/// The connection broke or is silent; the source refused SCAN, or answered something else.
pub async fn read(
    connection: &mut Connection,
    longest: usize,
    stop: &CancellationToken,
) -> Result<Page> {
    connection.expect_replies();
    let outer = node(connection, stop).await?;
    expect(connection, outer, resp::Kind::Array, Some(2))?;
    let next = node(connection, stop).await?;
    expect(connection, next, resp::Kind::Bulk, None)?;
    let mut page = Page { next: connection.body(next).to_vec(), ..Page::default() };
    let names = node(connection, stop).await?;
    let mut left = expect(connection, names, resp::Kind::Array, None)?;
    let mut wires: Vec<Span> = Vec::with_capacity(left.min(MOST_RESERVED));
    while left > 0 {
        if let Some(name) = connection.next_bulk() {
            wires.push(name.wire);
            left -= 1;
            continue;
        }
        match connection.next_node()? {
            Some(head) => {
                expect(connection, head, resp::Kind::Bulk, None)?;
                wires.push(head.wire);
                left -= 1;
            }
            None => match connection.announced().filter(|&length| length > longest) {
                Some(length) => {
                    keep(&mut page, connection.take_slab(), &mut wires);
                    page.too_long.push((beginning(connection, stop).await?, length));
                    page.bytes += length;
                    left -= 1;
                }
                None => {
                    connection.turn_within(stop).await?;
                }
            },
        }
    }
    keep(&mut page, connection.take_slab(), &mut wires);
    Ok(page)
}

fn keep(page: &mut Page, slab: Bytes, wires: &mut Vec<Span>) {
    if !wires.is_empty() {
        page.bytes += slab.len();
        page.keys.push(Keys { slab, wires: std::mem::take(wires), room: None });
    }
}

/// Reads over a name that is announced; answers its beginning.
async fn beginning(connection: &mut Connection, stop: &CancellationToken) -> Result<Vec<u8>> {
    let mut pieces = connection.begin_pieces();
    let mut kept = Vec::new();
    while let Some(piece) = connection.next_piece(&mut pieces, stop).await? {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..room).unwrap_or(&piece));
    }
    Ok(kept)
}

async fn node(connection: &mut Connection, stop: &CancellationToken) -> Result<Token> {
    loop {
        if let Some(head) = connection.next_node()? {
            return Ok(head);
        }
        connection.turn_within(stop).await?;
    }
}

/// How many elements a node of this kind announces; what else comes is no page.
fn expect(
    connection: &Connection,
    head: Token,
    kind: resp::Kind,
    length: Option<i64>,
) -> Result<usize> {
    if head.kind == kind && length.is_none_or(|length| head.number == length) {
        return Ok(usize::try_from(head.number).unwrap_or(0));
    }
    if head.kind == resp::Kind::Error {
        let error = ServerError::parse(connection.body(head));
        return Err(connection.refused(b"SCAN", &error));
    }
    Err(connection.place(Error::new(Kind::Protocol, "SCAN answered something else")))
}
