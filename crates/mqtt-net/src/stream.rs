//! [`Stream`]: one byte stream, whatever carries it, and [`Detached`]: the same stream between two
//! runtimes.
//!
//! A plain connection is a socket and nothing else: no buffer, no task. What TLS and WebSocket must
//! remember is boxed, so that an idle plain connection does not pay for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address::PeerAddress;
use crate::certificate::{CertificateError, PeerCertificate};
use crate::tls::TlsStream;
use crate::websocket::WebSocket;

/// A connected byte stream.
///
/// Written bytes may wait inside TLS and WebSocket: after the last `poll_write` of a turn call
/// `poll_flush` until it is ready. It costs nothing on a plain socket. Bytes that were offered to
/// `poll_write` and taken in part must follow in later calls, as on any stream: a WebSocket frame
/// has announced them.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over another stream; made by [`ServerTls`](crate::ServerTls) and
    /// [`ClientTls`](crate::ClientTls).
    Tls(Box<TlsStream>),
    /// WebSocket over another stream; made by [`websocket`](crate::websocket).
    WebSocket(Box<WebSocket>),
}

/// A stream that belongs to no runtime: send it to another thread and [`attach`](Detached::attach)
/// it there.
///
/// Bytes that were read or written before stay in order; nothing is lost or repeated.
#[derive(Debug)]
pub struct Detached(Away);

#[derive(Debug)]
enum Away {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    /// The stream below sits detached in its [`Seat`]; so in the variant that follows.
    Tls(Box<TlsStream>),
    WebSocket(Box<WebSocket>),
}

/// Where the stream below TLS or WebSocket sits: on a runtime, or between two. Only the socket
/// changes place, so the state above it (keys, half a record, half a frame) moves along untouched.
#[derive(Debug)]
pub(crate) enum Seat {
    Here(Stream),
    Away(Detached),
    /// Only seen after a failed move: the connection is closed.
    Empty,
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
            Stream::Tls(tls) => tls.below()?.peer_address(),
            Stream::WebSocket(socket) => socket.below()?.peer_address(),
        }
    }

    /// The certificate the other side showed; `None` without TLS or when it showed none.
    ///
    /// # Errors
    /// The certificate passed verification but is not readable for us.
    pub fn peer_certificate(&self) -> Result<Option<PeerCertificate>, CertificateError> {
        match self {
            Stream::Tls(tls) => tls.peer_certificate(),
            Stream::WebSocket(socket) => {
                socket.below().map_or(Ok(None), |below| below.peer_certificate())
            }
            Stream::Tcp(_) | Stream::Unix(_) => Ok(None),
        }
    }

    /// The TLS version and cipher suite for logs, for example `TLSv1_3 TLS13_AES_256_GCM_SHA384`.
    pub fn tls_summary(&self) -> Option<String> {
        match self {
            Stream::Tls(tls) => tls.summary(),
            Stream::WebSocket(socket) => socket.below().ok().and_then(Stream::tls_summary),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// Sends small writes at once instead of waiting for more (Nagle's algorithm off). Without
    /// effect on a Unix socket.
    ///
    /// # Errors
    /// The system refuses, usually because the connection is gone.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nodelay(on),
            Stream::Unix(_) => Ok(()),
            Stream::Tls(tls) => tls.below()?.set_nodelay(on),
            Stream::WebSocket(socket) => socket.below()?.set_nodelay(on),
        }
    }

    /// Lets the system ask a silent other side whether it still lives: first after `idle`, then
    /// every `interval`, at most `probes` times. Without effect on a Unix socket.
    ///
    /// # Errors
    /// The system refuses, usually because the connection is gone.
    pub fn set_keepalive(&self, idle: Duration, interval: Duration, probes: u32) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => {
                let times = TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(interval)
                    .with_retries(probes);
                SockRef::from(socket).set_tcp_keepalive(&times)
            }
            Stream::Unix(_) => Ok(()),
            Stream::Tls(tls) => tls.below()?.set_keepalive(idle, interval, probes),
            Stream::WebSocket(socket) => socket.below()?.set_keepalive(idle, interval, probes),
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
            Stream::Tls(mut tls) => {
                tls.seat().detach()?;
                Away::Tls(tls)
            }
            Stream::WebSocket(mut socket) => {
                socket.seat().detach()?;
                Away::WebSocket(socket)
            }
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
            Away::Tls(mut tls) => {
                tls.seat().attach()?;
                Stream::Tls(tls)
            }
            Away::WebSocket(mut socket) => {
                socket.seat().attach()?;
                Stream::WebSocket(socket)
            }
        })
    }
}

impl Seat {
    /// The stream, if it is on a runtime.
    pub(crate) fn stream(&self) -> io::Result<&Stream> {
        match self {
            Seat::Here(stream) => Ok(stream),
            Seat::Away(_) | Seat::Empty => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn stream_mut(&mut self) -> io::Result<&mut Stream> {
        match self {
            Seat::Here(stream) => Ok(stream),
            Seat::Away(_) | Seat::Empty => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Seat::Empty) {
            Seat::Here(stream) => Seat::Away(stream.detach()?),
            other => other,
        };
        Ok(())
    }

    fn attach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Seat::Empty) {
            Seat::Away(detached) => Seat::Here(detached.attach()?),
            other => other,
        };
        Ok(())
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
            Stream::Tls(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
            Stream::WebSocket(socket) => {
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
            Stream::Tls(socket) => socket.is_write_vectored(),
            Stream::WebSocket(socket) => socket.is_write_vectored(),
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

impl AsyncRead for Seat {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream_mut()?).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seat {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream_mut()?).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream_mut()?).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream().is_ok_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream_mut()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream_mut()?).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_a_socket_and_little_more() {
        // 40 alone; 48 where another crate of the build switches on tokio's second scheduler.
        assert!(size_of::<Stream>() <= 48, "{} bytes", size_of::<Stream>());
        assert!(size_of::<WebSocket>() <= 512, "{} bytes", size_of::<WebSocket>());
        fn moves_between_threads<T: Send + 'static>() {}
        moves_between_threads::<Stream>();
        moves_between_threads::<Detached>();
    }
}
