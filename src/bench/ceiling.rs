//! The source's own limit: every DUMP and PTTL is asked for, and what comes is thrown away.
//!
//! Deliberately nothing of keyferry's pipeline is in it but the decoder: blocking sockets, one
//! thread a connection, fixed pipelines. What it reaches, the source can do; no copy can be faster
//! without leaving DUMP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use bytes::{Buf, BytesMut};

use crate::command::keyspace;
use crate::resp::{Decoder, Kind, Output};

/// Connections that read; more did not help where this was tuned.
const CONNECTIONS: usize = 4;
/// Keys in one pipeline.
const PIPELINE: usize = 256;
const SCAN_COUNT: u32 = 2_000;
const READ: usize = 256 << 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads everything once; answers how many payloads came and the seconds it took.
pub(super) fn read_everything(host: &str, port: u16) -> Result<(u64, f64), Failure> {
    let address = (host, port);
    let began = Instant::now();
    let (sender, receiver) = sync_channel(64);
    let receiver = Mutex::new(receiver);
    let payloads = std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| read_keys(address, &receiver))).collect();
        let scanned = scan(address, |page| Ok(sender.send(page)?));
        drop(sender);
        let mut payloads = 0;
        for reader in readers {
            payloads += reader.join().map_err(|_| "a reading thread panicked")??;
        }
        scanned.map(|()| payloads)
    })?;
    Ok((payloads, began.elapsed().as_secs_f64()))
}

/// Host and port.
type Address<'a> = (&'a str, u16);

/// One page of SCAN: keys in wire form.
type Page = Vec<Vec<u8>>;

fn scan(
    address: Address<'_>,
    mut take: impl FnMut(Page) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut wire = Wire::open(address)?;
    let mut cursor = b"0".to_vec();
    loop {
        keyspace::scan(&mut wire.output, &cursor, SCAN_COUNT);
        let mut page = Page::new();
        wire.exchange(1, |tokens, bytes| {
            if let Some(next) = tokens.get(1) {
                cursor = next.body.of(bytes).to_vec();
            }
            page.extend(tokens.iter().skip(3).map(|token| token.wire.of(bytes).to_vec()));
        })?;
        take(page)?;
        if cursor == b"0" {
            return Ok(());
        }
    }
}

fn read_keys(address: Address<'_>, pages: &Mutex<Receiver<Page>>) -> Result<u64, Failure> {
    let mut wire = Wire::open(address)?;
    let mut payloads = 0;
    loop {
        let page = pages.lock().map_err(|_| "a reading thread panicked")?.recv();
        let Ok(page) = page else { return Ok(payloads) };
        for keys in page.chunks(PIPELINE) {
            for key in keys {
                keyspace::expiry(&mut wire.output, keyspace::ExpiryCommand::Remaining, key);
                keyspace::dump(&mut wire.output, key);
            }
            wire.exchange(2 * keys.len(), |tokens, _| {
                payloads += u64::from(tokens.first().is_some_and(|head| head.kind == Kind::Bulk));
            })?;
        }
    }
}

/// A blocking connection.
struct Wire {
    stream: TcpStream,
    output: Output,
    input: BytesMut,
    decoder: Decoder,
}

impl Wire {
    fn open(address: Address<'_>) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let output = Output::new(usize::MAX);
        Ok(Self { stream, output, input: BytesMut::zeroed(0), decoder: Decoder::default() })
    }

    /// Sends what is queued and hands each of `count` replies to `see`.
    fn exchange(
        &mut self,
        count: usize,
        mut see: impl FnMut(&[crate::resp::Token], &[u8]),
    ) -> Result<(), Failure> {
        while self.output.has_remaining() {
            let sent = self.stream.write(self.output.chunk())?;
            self.output.advance(sent);
        }
        let mut seen = 0;
        let mut chunk = vec![0; READ];
        while seen < count {
            while let Some(reply) = self.decoder.next(&self.input)? {
                see(reply.tokens(), &self.input);
                seen += 1;
            }
            self.input.advance(self.decoder.consumed());
            self.decoder.taken();
            if seen < count {
                let read = self.stream.read(&mut chunk)?;
                if read == 0 {
                    return Err("the server closed the connection".into());
                }
                self.input.extend_from_slice(chunk.get(..read).unwrap_or_default());
            }
        }
        Ok(())
    }
}
