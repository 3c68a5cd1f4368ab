//! One connection of a shard: its stream, what has been read and not understood yet, what waits to
//! be written. An idle one owns no buffers.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mqtt_net::{Detached, PeerAddress, Stream};
use mqtt_proto::Version;
use mqttd_core::time::Instant;
use mqttd_core::wire::WireBuffer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Pace;
use super::ready::ConnectionWaker;
use crate::authenticate::Exchange;
use crate::permit::Permit;

/// Slices of one vectored write: as many as fit on the stack without growing it much; more than
/// this many payloads in one turn take another write.
const WRITE_SLICES: usize = 64;

/// See the file's head.
pub(crate) struct Connection {
    stream: Seat,
    pub(crate) wire: WireBuffer,
    /// The beginning of a packet whose rest has not arrived.
    pub(crate) unread: Vec<u8>,
    pub(crate) version: Version,
    pub(crate) state: State,
    /// Tells this connection from another one with the same key.
    pub(crate) serial: u64,
    /// A re-authentication in which it is the Client's turn.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// On the turn's list of connections to write to.
    pub(crate) is_touched: bool,
    /// The socket would take no more; its waker tells when it does again.
    pub(crate) is_blocked: bool,
    /// The shard wants no more of its packets now.
    pub(crate) is_paused: bool,
    /// It did not want some of what `unread` holds.
    pub(crate) was_paused: bool,
    /// A write has left something behind; the shard is told once it is gone.
    pub(crate) is_behind: bool,
    /// How fast it sends, where that is bounded.
    pub(super) pace: Option<Box<Pace>>,
    place: Arc<ConnectionWaker>,
    /// `place` as the runtime wants it; kept so that polling makes none.
    waker: Waker,
    pub(crate) about: About,
}

/// Where the connection's stream is.
enum Seat {
    /// On the runtime of the shard's worker.
    Here(Stream),
    /// Between two workers.
    Away(Box<Detached>),
    /// It broke on the way.
    Lost,
}

/// What only log lines want to know.
pub(crate) struct About {
    pub(crate) peer: PeerAddress,
    pub(crate) since: Instant,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    /// What the socket said when it broke.
    pub(crate) error: Option<io::Error>,
    _permit: Permit,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Packets go both ways.
    Open,
    /// The shard has closed it: what waits is written, then the sending side is shut.
    Draining,
    /// Waits for the Client to close its side, so that the last bytes are not lost to a reset.
    Lingering,
}

/// What a read brought.
pub(crate) enum ReadOutcome {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now; the waker will tell.
    Pending,
    /// The Client has closed its side, or the connection is broken.
    Ended,
}

impl Connection {
    /// Packets from it go to the shard.
    #[inline]
    pub(crate) fn takes_packets(&self) -> bool {
        self.state == State::Open && !self.is_paused && !self.is_too_fast()
    }

    pub(crate) fn new(
        stream: Stream,
        version: Version,
        place: Arc<ConnectionWaker>,
        serial: u64,
        about: (PeerAddress, Instant, Permit),
    ) -> Self {
        let (peer, since, permit) = about;
        Self {
            stream: Seat::Here(stream),
            wire: WireBuffer::default(),
            unread: Vec::new(),
            version,
            state: State::Open,
            serial,
            exchange: None,
            is_touched: false,
            is_blocked: false,
            is_paused: false,
            was_paused: false,
            is_behind: false,
            pace: None,
            waker: Waker::from(Arc::clone(&place)),
            place,
            about: About {
                peer,
                since,
                bytes_received: 0,
                bytes_sent: 0,
                packets_received: 1,
                error: None,
                _permit: permit,
            },
        }
    }

    /// The connection is being looked at.
    pub(crate) fn unlist(&self) {
        self.place.unlist();
    }

    /// Puts the connection on the list for the next turn.
    pub(crate) fn list(&self) {
        std::task::Wake::wake_by_ref(&self.place);
    }

    /// Reads what is there into `buffer` (not empty).
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let mut buffer = ReadBuf::new(buffer);
        let Seat::Here(stream) = &mut self.stream else { return ReadOutcome::Ended };
        match Pin::new(stream).poll_read(&mut Context::from_waker(&self.waker), &mut buffer) {
            Poll::Pending => ReadOutcome::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                let count = buffer.filled().len();
                self.about.bytes_received += count as u64;
                ReadOutcome::Bytes(count)
            }
            Poll::Ready(result) => {
                self.about.error = result.err();
                ReadOutcome::Ended
            }
        }
    }

    /// Writes what the socket takes. `Ok(true)`: nothing is left.
    pub(crate) fn write(&mut self) -> io::Result<bool> {
        let Seat::Here(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let cx = &mut Context::from_waker(&self.waker);
        while !self.wire.is_empty() {
            let stream = Pin::new(&mut *stream);
            let written = match self.wire.only_chunk() {
                Some(bytes) => stream.poll_write(cx, bytes),
                None => write_chunks(stream, &self.wire, cx),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.about.bytes_sent += written as u64;
                    self.wire.consume(written);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.is_blocked = true;
                    self.is_behind = true;
                    return Ok(false);
                }
            }
        }
        match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(result) => result.map(|()| true),
            Poll::Pending => {
                self.is_blocked = true;
                Ok(false)
            }
        }
    }

    /// Shuts the sending side. `Ok(true)`: done.
    pub(crate) fn shut(&mut self) -> io::Result<bool> {
        let Seat::Here(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match Pin::new(stream).poll_shutdown(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => result.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Takes the socket off this thread's runtime.
    pub(crate) fn depart(&mut self) {
        self.stream = match mem::replace(&mut self.stream, Seat::Lost) {
            Seat::Here(stream) => {
                stream.detach().map_or(Seat::Lost, |stream| Seat::Away(Box::new(stream)))
            }
            other => other,
        };
    }

    /// Puts the socket on this thread's runtime.
    pub(crate) fn arrive(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.stream, Seat::Lost) {
            Seat::Away(stream) => {
                self.stream = Seat::Here(stream.attach()?);
                Ok(())
            }
            Seat::Here(stream) => {
                self.stream = Seat::Here(stream);
                Ok(())
            }
            Seat::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// It has sent more than its rate allows, and is not to be read now.
    fn is_too_fast(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.is_paused)
    }

    /// Gives the memory of empty buffers back to the pool.
    pub(crate) fn give_memory(&mut self, pool: &mut Vec<Vec<u8>>) {
        if let Some(memory) = self.wire.take_memory() {
            if pool.len() < POOL_BUFFERS && memory.capacity() <= POOL_BUFFER_BYTES {
                pool.push(memory);
            }
        }
        if self.unread.is_empty() && self.unread.capacity() > 0 {
            drop(mem::take(&mut self.unread));
        }
    }
}

fn write_chunks(
    stream: Pin<&mut Stream>,
    wire: &WireBuffer,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let mut count = 0;
    for (slice, chunk) in slices.iter_mut().zip(wire.chunks()) {
        *slice = IoSlice::new(chunk);
        count += 1;
    }
    stream.poll_write_vectored(cx, &slices[..count])
}

/// Output buffers a shard keeps for the next turn, and the largest kept: 16 MiB together.
const POOL_BUFFERS: usize = 64;
const POOL_BUFFER_BYTES: usize = 256 * 1024;
