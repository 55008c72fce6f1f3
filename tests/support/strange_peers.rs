//! Listeners that are no Redis: an HTTP server, one that hangs up, one that keeps silent, one that talks nonsense.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A listener on a free loopback port, gone when dropped.
pub(crate) struct StrangePeer {
    /// Where to connect.
    pub(crate) port: u16,
    stopped: Arc<AtomicBool>,
}

impl StrangePeer {
    /// Answers whatever comes with `400 Bad Request`, as web servers do.
    pub(crate) fn http() -> Self {
        Self::answering(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\
              Connection: close\r\n\r\n<h1>400</h1>\r\n\n",
        )
    }

    /// Accepts and closes at once.
    pub(crate) fn hanging_up() -> Self {
        Self::start(|_, _| {})
    }

    /// Accepts, reads, never answers.
    pub(crate) fn silent() -> Self {
        Self::start(|mut stream, stopped| {
            let mut buffer = [0; 4096];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            while !stopped.load(Ordering::SeqCst) {
                if matches!(stream.read(&mut buffer), Ok(0)) {
                    return;
                }
            }
        })
    }

    /// Answers the first request with these bytes and closes.
    pub(crate) fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream, _| {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            // The peer may have gone; that is its business.
            let _ = stream.write_all(bytes);
        })
    }

    fn start(serve: impl Fn(TcpStream, &AtomicBool) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("the address of a listener").port();
        let stopped = Arc::new(AtomicBool::new(false));
        let inner = Arc::clone(&stopped);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inner.load(Ordering::SeqCst) {
                    return;
                }
                let (serve, inner) = (Arc::clone(&serve), Arc::clone(&inner));
                std::thread::spawn(move || serve(stream, &inner));
            }
        });
        Self { port, stopped }
    }

    /// The peer as an endpoint.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for StrangePeer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
