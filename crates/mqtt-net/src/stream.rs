//! [`Stream`]: one byte stream, whatever carries it, and [`Detached`]: the same stream between two runtimes.
//!
//! A plain connection is a socket and nothing else: no buffer, no task. What TLS and WebSocket must remember
//! is boxed, so that an idle plain connection does not pay for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address::PeerAddress;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A stream that belongs to no runtime: send it to another thread and [`attach`](Detached::attach) it there.
///
/// Bytes that were read or written before stay in order; nothing is lost or repeated.
#[derive(Debug)]
pub struct Detached(Away);

#[derive(Debug)]
enum Away {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// The address of the other side as the socket tells it (the proxy's address behind a proxy).
    ///
    /// # Errors
    /// The connection is already gone.
    pub fn peer_address(&self) -> io::Result<PeerAddress> {
        match self {
            Stream::Tcp(socket) => socket.peer_addr().map(PeerAddress::from),
            Stream::Unix(_) => Ok(PeerAddress::Unix),
        }
    }

    /// Sends small writes at once instead of waiting for more (Nagle's algorithm off). Without effect on
    /// a Unix socket.
    ///
    /// # Errors
    /// The system refuses, usually because the connection is gone.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nodelay(on),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Takes the stream off the runtime it was made on.
    ///
    /// # Errors
    /// The system refuses; the connection is closed then.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached(match self {
            Stream::Tcp(socket) => Away::Tcp(socket.into_std()?),
            Stream::Unix(socket) => Away::Unix(socket.into_std()?),
        }))
    }
}

impl Detached {
    /// Puts the stream on the runtime of the calling thread.
    ///
    /// # Errors
    /// The system refuses; the connection is closed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self.0 {
            Away::Tcp(socket) => Stream::Tcp(TcpStream::from_std(socket)?),
            Away::Unix(socket) => Stream::Unix(UnixStream::from_std(socket)?),
        })
    }
}

/// Calls one poll function on whatever carries the stream.
macro_rules! delegate {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
            Stream::Unix(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, inner => inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(socket) => socket.is_write_vectored(),
            Stream::Unix(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_shutdown(cx))
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Stream::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Stream::Unix(socket)
    }
}
