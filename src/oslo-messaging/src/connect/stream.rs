//! The socket lapin reads and writes: plain or TLS, and never out of our hands.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Link;

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the supervisor keeps of a connection whose socket lives in lapin's
/// I/O thread: when something last arrived, and a way to cut it.
pub(super) struct Control {
    since: Instant,
    last_read: AtomicU64,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    closed: CancellationToken,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            last_read: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Time since the last byte arrived.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last)
    }

    fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(now, Ordering::Relaxed);
    }

    /// Ends the connection at once; the next read and write fail.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.closed.cancel();
        self.reader.wake();
        self.writer.wake();
    }

    /// Fires when the socket is gone, whoever closed it.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "connection given up",
            ));
        }
        Ok(())
    }
}

/// A connected socket with futures-io's traits, as lapin wants it.
pub(crate) struct Stream {
    socket: Socket,
    link: Link,
}

impl Stream {
    pub(super) fn plain(socket: TcpStream, link: Link) -> Self {
        link.0.touch();
        Self {
            socket: Socket::Plain(socket),
            link,
        }
    }

    pub(super) fn tls(socket: TlsStream<TcpStream>, link: Link) -> Self {
        link.0.touch();
        Self {
            socket: Socket::Tls(Box::new(socket)),
            link,
        }
    }

    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.0.closed.cancel();
    }
}

impl futures_io::AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.link.0.reader.register(cx.waker());
        this.link.0.check()?;
        let mut buf = ReadBuf::new(buf);
        let polled = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, &mut buf),
        };
        polled.map_ok(|()| {
            this.link.0.touch();
            buf.filled().len()
        })
    }
}

impl futures_io::AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.link.0.writer.register(cx.waker());
        this.link.0.check()?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.link.0.writer.register(cx.waker());
        this.link.0.check()?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // lapin's thread blocks on this: after a cut nobody answers a shutdown.
        if self.link.0.check().is_err() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
