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
use super::pool::Pool;
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
    /// See [`Connection::take_unread`]. `None` while there is nothing, as with all idle ones.
    #[allow(
        clippy::box_collection,
        reason = "every connection has this, few have something in it"
    )]
    unread: Option<Box<Vec<u8>>>,
    pub(crate) version: Version,
    pub(crate) state: State,
    /// Tells this connection from another one with the same key.
    pub(crate) serial: u64,
    /// On the turn's list of connections to write to.
    pub(crate) is_touched: bool,
    /// The socket would take no more; its waker tells when it does again.
    pub(crate) is_blocked: bool,
    /// The shard wants no more of its packets now.
    pub(crate) is_paused: bool,
    /// It did not want some of what is unread.
    pub(crate) was_paused: bool,
    /// A write has left something behind; the shard is told once it is gone.
    pub(crate) is_behind: bool,
    /// Puts it on the list for the next turn; the runtime has it too.
    waker: Waker,
    pub(crate) about: About,
    /// What few connections have; `None` while this one has none of it.
    pub(super) rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Default)]
pub(super) struct Rare {
    /// A re-authentication in which it is the Client's turn.
    pub(super) exchange: Option<Exchange>,
    /// How fast it sends, where that is bounded.
    pub(super) pace: Pace,
    /// What the socket said when it broke.
    error: Option<io::Error>,
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
            unread: None,
            version,
            state: State::Open,
            serial,
            is_touched: false,
            is_blocked: false,
            is_paused: false,
            was_paused: false,
            is_behind: false,
            waker: Waker::from(place),
            about: About {
                peer,
                since,
                bytes_received: 0,
                bytes_sent: 0,
                packets_received: 1,
                _permit: permit,
            },
            rare: None,
        }
    }

    /// Puts the connection on the list for the next turn.
    pub(crate) fn list(&self) {
        self.waker.wake_by_ref();
    }

    /// What the socket said when it broke.
    pub(crate) fn error(&self) -> Option<&io::Error> {
        self.rare.as_ref()?.error.as_ref()
    }

    /// The socket is broken.
    pub(crate) fn set_error(&mut self, error: io::Error) {
        self.rare.get_or_insert_default().error = Some(error);
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
                if let Err(error) = result {
                    self.set_error(error);
                }
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
        self.rare.as_ref().is_some_and(|rare| rare.pace.is_paused)
    }

    /// Gives the memory of empty buffers back to the pool.
    pub(crate) fn give_memory(&mut self, pool: &mut Pool, now: Instant) {
        if let Some(memory) = self.wire.take_memory() {
            pool.give(memory, now);
        }
    }

    /// The beginning of a packet whose rest has not arrived, or what came while it was paused.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        self.unread.take().map_or_else(Vec::new, |unread| *unread)
    }

    /// Keeps it for the next [`Connection::take_unread`].
    pub(crate) fn keep_unread(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.unread.is_none(), "it was taken before");
        if !bytes.is_empty() {
            self.unread = Some(Box::new(bytes));
        }
    }

    /// How many bytes are kept so.
    pub(crate) fn unread_len(&self) -> usize {
        self.unread.as_ref().map_or(0, |unread| unread.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for every idle connection, and a broker has tens of thousands of them: what is
    /// here grows by a decision, not by the way.
    #[test]
    fn an_idle_connection_is_small() {
        // 192 alone; more where others switch on tokio's second scheduler, or OpenSSL.
        assert!(size_of::<Connection>() <= 208, "{} bytes", size_of::<Connection>());
        assert_eq!(size_of::<Option<Connection>>(), size_of::<Connection>());
    }
}
