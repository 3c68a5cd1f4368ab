//! MQTT over WebSocket (MQTT 5.0 section 6): the stream and, in `handshake`, its beginning.
//!
//! A connection owns no read buffer: frames are taken apart inside the caller's buffer. The server
//! writes a header and the caller's bytes in one system call; the client masks into a buffer of at
//! most [`CLIENT_CHUNK`] bytes.

mod frame;
mod handshake;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frame::{
    Control, ControlPayload, FrameReader, MAX_HEADER, encode_header, opcode, unmask,
};
use crate::stream::{Seat, Stream};

pub use self::frame::{FrameError, Role};
pub use self::handshake::{
    AcceptOptions, ClientHandshake, WebSocketRefused, accept_websocket, connect_websocket, refuse,
    upgrade,
};

/// The most payload of one frame of a client; larger writes become several frames.
pub const CLIENT_CHUNK: usize = 16 * 1024;

/// Reads of the socket in one `poll_read` that bring no payload; then others get their turn.
const MAX_EMPTY_READS: usize = 16;

/// The most slices of one vectored write, the header not counted.
const MAX_SLICES: usize = 15;

/// The bytes inside of binary frames, over another stream. Close and ping are answered here.
///
/// Reading gives the end of the stream after a close frame, and an error of kind
/// [`InvalidData`](io::ErrorKind::InvalidData) holding a [`FrameError`] when the other side breaks
/// the rules. Shutting down sends a close frame.
#[derive(Debug)]
pub struct WebSocket {
    seat: Seat,
    role: Role,
    reader: FrameReader,
    /// Raw bytes that arrived together with the handshake.
    tail: Vec<u8>,
    failed: Option<FrameError>,
    writer: Writer,
}

/// What must go out, in this order: `staged`, the payload the current frame has announced, control
/// frames.
#[derive(Debug, Default)]
struct Writer {
    staged: Vec<u8>,
    staged_at: usize,
    /// Payload of the current frame that the caller has yet to bring (server only).
    announced: usize,
    pong: Option<ControlPayload>,
    /// The status code of the close frame that has to be sent; 0 is a close without a code.
    close: Option<u16>,
    /// A close frame is staged or sent; nothing may follow it.
    has_closed: bool,
    /// A writing task waits for the socket: the reading task must not take its place there.
    is_parked: bool,
    /// The reading side has written something that may still wait in TLS.
    needs_flush: bool,
}

impl WebSocket {
    fn new(stream: Stream, role: Role, limit: u64, tail: Vec<u8>) -> Self {
        WebSocket {
            seat: Seat::Here(stream),
            role,
            reader: FrameReader::new(role, limit),
            tail,
            failed: None,
            writer: Writer::default(),
        }
    }

    pub(crate) fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    /// The stream that carries the frames.
    pub(crate) fn below(&self) -> io::Result<&Stream> {
        self.seat.stream()
    }

    /// One read of raw bytes into `buffer`, turned into payload. Ready with `None` when there was
    /// no payload among them.
    fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<()>>> {
        let start = buffer.filled().len();
        if self.tail.is_empty() {
            ready!(Pin::new(&mut self.seat).poll_read(cx, buffer))?;
            if buffer.filled().len() == start {
                return Poll::Ready(Ok(Some(())));
            }
        } else {
            let take = self.tail.len().min(buffer.remaining());
            buffer.put_slice(&self.tail[..take]);
            self.tail.drain(..take);
            self.tail.shrink_to_fit();
        }
        let found = self.reader.decode(&mut buffer.filled_mut()[start..]);
        buffer.set_filled(start + found.payload);
        match found.control {
            Some(Control::Ping(payload)) => self.writer.pong = Some(payload),
            Some(Control::Close(code)) => self.writer.close = Some(code.unwrap_or(0)),
            None => {}
        }
        if let Some(error) = found.error {
            self.failed = Some(error);
            self.writer.close = Some(error.close_code());
        }
        Poll::Ready(Ok((found.payload > 0).then_some(())))
    }

    /// Sends control frames from the reading side, when no writing task is waiting for the socket:
    /// that one sends them itself, and a socket remembers only one waiting writer.
    fn send_control(&mut self, cx: &mut Context<'_>) {
        if self.writer.is_parked {
            return;
        }
        if self.writer.has_work() || self.writer.is_staged() {
            self.writer.needs_flush = true;
        }
        // An error is not lost: it shows itself again to whoever reads or writes next.
        if self.writer.needs_flush && self.poll_staged(cx).is_ready() {
            self.writer.needs_flush = Pin::new(&mut self.seat).poll_flush(cx).is_pending();
        }
    }

    /// Sends what is staged and, between frames, the control frames that wait.
    fn poll_staged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.writer.is_staged() {
                let rest = &self.writer.staged[self.writer.staged_at..];
                match ready!(Pin::new(&mut self.seat).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.writer.staged_at += written,
                }
            }
            self.writer.staged_at = 0;
            match self.role {
                Role::Client => self.writer.staged.clear(),
                // Idle connections of a server own no buffer.
                Role::Server => self.writer.staged = Vec::new(),
            }
            if !self.stage_control()? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Stages the next control frame, if one waits and the current frame is whole.
    fn stage_control(&mut self) -> io::Result<bool> {
        if !self.writer.has_work() || self.writer.announced > 0 {
            return Ok(false);
        }
        if let Some(pong) = self.writer.pong.take() {
            self.stage_frame(opcode::PONG, pong.as_slice())?;
        } else if let Some(code) = self.writer.close.take() {
            self.writer.has_closed = true;
            let payload = code.to_be_bytes();
            self.stage_frame(opcode::CLOSE, if code == 0 { &[] } else { &payload })?;
        }
        Ok(true)
    }

    fn stage_frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mask = match self.role {
            Role::Client => Some(random_mask()?),
            Role::Server => None,
        };
        let (header, header_len) = encode_header(opcode, payload.len(), mask);
        let staged = &mut self.writer.staged;
        staged.extend_from_slice(&header[..header_len]);
        let start = staged.len();
        staged.extend_from_slice(payload);
        unmask(&mut staged[start..], mask.unwrap_or_default());
        Ok(())
    }

    fn poll_write_masked(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_staged(cx))?;
        self.refuse_after_close()?;
        let take = bytes.len().min(CLIENT_CHUNK);
        self.stage_frame(opcode::BINARY, &bytes[..take])?;
        // The bytes are taken; what the socket does not take now goes out with the next write or
        // flush.
        if let Poll::Ready(Err(error)) = self.poll_staged(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(take))
    }

    fn poll_write_plain(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_staged(cx))?;
            self.refuse_after_close()?;
            let mut header = ([0; MAX_HEADER], 0);
            let mut room = self.writer.announced;
            if room == 0 {
                room = slices.iter().take(MAX_SLICES).map(|slice| slice.len()).sum();
                header = encode_header(opcode::BINARY, room, None);
            }
            let header = &header.0[..header.1];
            let mut parts = [IoSlice::new(&[]); MAX_SLICES + 1];
            parts[0] = IoSlice::new(header);
            let mut left = room;
            for (part, slice) in parts[1..].iter_mut().zip(slices) {
                let take = slice.len().min(left);
                *part = IoSlice::new(&slice[..take]);
                left -= take;
            }
            let used = 1 + slices.len().min(MAX_SLICES);
            let parts = &parts[usize::from(header.is_empty())..used];
            let written = ready!(Pin::new(&mut self.seat).poll_write_vectored(cx, parts))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            // From the first byte of the header on the frame is promised.
            let of_header = written.min(header.len());
            self.writer.staged.extend_from_slice(&header[of_header..]);
            self.writer.announced = room - (written - of_header);
            if written > of_header {
                return Poll::Ready(Ok(written - of_header));
            }
        }
    }

    fn refuse_after_close(&self) -> io::Result<()> {
        if self.writer.has_closed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn poll_write_any(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(first) = slices.iter().position(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        let result = match self.role {
            Role::Client => self.poll_write_masked(cx, &slices[first]),
            Role::Server => self.poll_write_plain(cx, &slices[first..]),
        };
        self.writer.is_parked = result.is_pending() || self.writer.is_staged();
        result
    }
}

impl Writer {
    fn is_staged(&self) -> bool {
        self.staged_at < self.staged.len()
    }

    fn has_work(&self) -> bool {
        !self.has_closed && (self.pong.is_some() || self.close.is_some())
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..MAX_EMPTY_READS {
            socket.send_control(cx);
            if let Some(error) = socket.failed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            if socket.reader.has_ended() {
                return Poll::Ready(Ok(()));
            }
            if ready!(socket.poll_frames(cx, buffer))?.is_some() {
                socket.send_control(cx);
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_any(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_any(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.role == Role::Server
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let result = match socket.poll_staged(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut socket.seat).poll_flush(cx),
            other => other,
        };
        socket.writer.is_parked = result.is_pending();
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if !socket.writer.has_closed && socket.writer.close.is_none() {
            socket.writer.close = Some(1000);
        }
        let result = match socket.poll_staged(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut socket.seat).poll_shutdown(cx),
            other => other,
        };
        socket.writer.is_parked = result.is_pending();
        result
    }
}

fn random_mask() -> io::Result<[u8; 4]> {
    let mut mask = [0; 4];
    SystemRandom::new()
        .fill(&mut mask)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(mask)
}
