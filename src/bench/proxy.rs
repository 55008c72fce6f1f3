//! A longer way to a server: every byte arrives some milliseconds after it was sent.
//!
//! A thread of its own with its own runtime, so that it slows neither the benchmark nor the copy
//! more than another process on the machine would. Whatever arrives within the delay is on its way at
//! the same time: the way is long, not narrow. Each piece has its own time of arrival, so nothing adds
//! up; timers tick in milliseconds, so a piece may come up to two of them late and is never early:
//! what that costs is counted against the copy. Without delay the same machinery runs, unslept.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Read at once: large, so that a GB costs thousands of turns and not tens of thousands.
const PIECE: usize = 256 << 10;
/// A read never has less room than this; what is left of a piece serves several small reads.
const LEAST_ROOM: usize = 64 << 10;
/// Bytes on their way in one direction of one connection: 6 GB/s at 10 ms, more than a loopback
/// carries, so that it is the delay that shapes the way and never this bound.
const ON_THE_WAY: usize = 64 << 20;

/// A proxy on a free loopback port, gone when dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    _ends_it: DropGuard,
}

impl Proxy {
    /// A way to `address` that takes `delay` in each direction.
    pub(super) fn start(address: &(String, u16), delay: Duration) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let (stopped, address) = (stop.clone(), address.clone());
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    // Ends with an error only; whoever connects then is refused.
                    _ = accept(listener, address, delay) => {}
                }
            });
        });
        Ok(Self { port, _ends_it: stop.drop_guard() })
    }
}

async fn accept(
    listener: std::net::TcpListener,
    address: (String, u16),
    delay: Duration,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let address = address.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((address.0.as_str(), address.1)).await else {
                return;
            };
            if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
                return;
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(pass(from_client, to_server, delay), pass(from_server, to_client, delay));
        });
    }
}

/// Passes bytes on in one direction until an end; then that end is passed on too.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, BytesMut)>();
    let room = Arc::new(Semaphore::new(ON_THE_WAY));
    let read = async {
        let room = room.clone();
        let mut buffer = BytesMut::new();
        loop {
            if buffer.capacity() < LEAST_ROOM {
                buffer = BytesMut::with_capacity(PIECE);
            }
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    // From when it came, not from when there was room for it.
                    let due = Instant::now() + delay;
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    let Ok(permit) = room.acquire_many(count).await else { break };
                    permit.forget();
                    if sender.send((due, buffer.split())).is_err() {
                        break;
                    }
                }
            }
        }
        drop(sender);
    };
    let write = async {
        while let Some((due, piece)) = receiver.recv().await {
            // A timer that is due already would still cost a turn of the runtime.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&piece).await.is_err() {
                // Nobody waits for the rest: the reading half must not wait for room either.
                room.close();
                return;
            }
            room.add_permits(piece.len());
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server() -> (TcpListener, (String, u16)) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        (server, ("127.0.0.1".into(), port))
    }

    #[tokio::test]
    async fn bytes_arrive_late_and_whole() {
        let (server, address) = server().await;
        let delay = Duration::from_millis(30);
        let proxy = Proxy::start(&address, delay).unwrap();
        let mut near = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let began = std::time::Instant::now();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert!(came == expected, "{} of {} bytes", came.len(), expected.len());
        assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
        far.write_all(b"done").await.unwrap();
        drop(far);
        assert_eq!(writer.await.unwrap(), b"done");
        assert!(began.elapsed() >= 2 * delay, "{:?}", began.elapsed());
    }

    /// What fits the way is taken at once, also where nothing has arrived yet: a rate limiter, or a
    /// queue that is too short, would keep the writer waiting for the first arrival.
    #[tokio::test]
    async fn the_way_is_long_and_not_narrow() {
        let (server, address) = server().await;
        let delay = Duration::from_secs(3600);
        let proxy = Proxy::start(&address, delay).unwrap();
        let mut near = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        let (_far, _) = server.accept().await.unwrap();
        let piece = vec![7; 1 << 20];
        for _ in 0..ON_THE_WAY / piece.len() {
            near.write_all(&piece).await.unwrap();
        }
    }
}
