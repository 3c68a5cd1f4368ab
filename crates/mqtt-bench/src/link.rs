//! One connection, lean: a stream, the bytes that wait for it, the start of a packet that has not
//! wholly arrived. An idle one owns no buffers; reading goes through one buffer per thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mqtt_net::Stream;
use mqtt_proto::codec::Frame;
use mqtt_proto::{EncodeError, Offence, Packet, ReasonCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::clock::{Clock, Timer};

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// Packets are appended until so many bytes wait; then the socket is asked to take them.
pub(crate) const OUT_BYTES: usize = 32 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a connection ended early.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The transport broke.
    Io(io::Error),
    /// The broker hung up without a word.
    Closed,
    /// What the broker sent is not MQTT.
    Offence(Offence),
    /// CONNACK, SUBACK or DISCONNECT with this code.
    Refused(&'static str, u8),
    /// A packet that has no place here.
    Unexpected(&'static str),
    /// A packet of ours is too long for the wire.
    Encode(EncodeError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("the broker closed the connection"),
            Self::Offence(offence) => write!(f, "the broker sent no MQTT: {offence}"),
            Self::Refused(packet, code) => match ReasonCode::from_u8(*code) {
                Some(reason) if *code >= 0x80 => write!(f, "{packet}: {reason:?}"),
                _ => write!(f, "{packet} with code {code}"),
            },
            Self::Unexpected(packet) => write!(f, "unexpected {packet} from the broker"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Offence> for LinkError {
    fn from(offence: Offence) -> Self {
        Self::Offence(offence)
    }
}

impl From<EncodeError> for LinkError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// A connection.
pub(crate) struct Link {
    stream: Stream,
    version: Version,
    partial: Vec<u8>,
    /// What waits to be sent; only append.
    pub(crate) out: Vec<u8>,
    written: usize,
    needs_flush: bool,
    timer: Option<Timer>,
    pings: Option<Interval>,
}

/// What a client of this program does with its connection.
pub(crate) trait Role {
    /// A packet has arrived at `now`; answers go to `out`.
    fn receive(
        &mut self,
        packet: &Packet<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError>;

    /// All that had arrived is read: append what is due, at most about [`OUT_BYTES`].
    fn fill(&mut self, clock: &Clock, out: &mut Vec<u8>) -> Result<Next, LinkError>;
}

/// When to come back to [`Role::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Once something has arrived or something in this process has changed.
    Wait,
    /// At this time.
    At(u64),
    /// As soon as the socket has taken what waits.
    More,
}

impl Link {
    /// MQTT begins on this stream.
    pub(crate) fn new(stream: Stream, version: Version) -> Self {
        Self {
            stream,
            version,
            partial: Vec::new(),
            out: Vec::new(),
            written: 0,
            needs_flush: false,
            timer: None,
            pings: None,
        }
    }

    /// Sends PINGREQ at this interval from now on.
    pub(crate) fn ping_every(&mut self, pause: Duration) {
        let mut pings = interval(pause);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pings = Some(pings);
    }

    /// Appends a packet.
    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> Result<(), LinkError> {
        Ok(packet.encode(self.version, &mut self.out)?)
    }

    /// Writes what waits. Ready when nothing is left.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let bytes = &self.out[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.needs_flush = true;
        }
        self.written = 0;
        self.out.clear();
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands over the packets that are whole.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Packet<'_>, &mut Vec<u8>) -> Result<(), LinkError>,
    ) -> Poll<Result<(), LinkError>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let start = self.partial.len();
            // Grows with the bytes of a large packet that have arrived.
            if scratch.len() < start + READ_BYTES {
                scratch.resize(start + READ_BYTES, 0);
            }
            let mut buffer = ReadBuf::new(&mut scratch[start..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(LinkError::Closed));
            }
            scratch[..start].copy_from_slice(&self.partial);
            let mut rest = &scratch[..start + count];
            while let Some(frame) = Frame::peek(rest, usize::MAX)? {
                take(Packet::decode(self.version, frame, rest)?, &mut self.out)?;
                rest = &rest[frame.len..];
            }
            self.partial.clear();
            if rest.is_empty() {
                // An idle connection owns no buffer.
                self.partial = Vec::new();
            } else {
                self.partial.extend_from_slice(rest);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Reads, lets the role act and writes, until nothing more can be done now.
    pub(crate) fn poll_turn(
        &mut self,
        role: &mut impl Role,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), LinkError>> {
        loop {
            loop {
                let mut now = None;
                let read = self.poll_read(cx, |packet, out| {
                    let now = *now.get_or_insert_with(|| clock.now());
                    role.receive(&packet, now, out)
                });
                match read {
                    Poll::Ready(result) => result?,
                    Poll::Pending => break,
                }
            }
            if let Some(pings) = &mut self.pings {
                while pings.poll_tick(cx).is_ready() {
                    Packet::Pingreq.encode(self.version, &mut self.out)?;
                }
            }
            let next = role.fill(clock, &mut self.out)?;
            ready!(self.poll_write(cx))?;
            match next {
                Next::More => {}
                Next::Wait => {
                    if self.out.capacity() > OUT_BYTES * 4 {
                        self.out = Vec::new();
                    }
                    return Poll::Pending;
                }
                Next::At(time) => ready!(self.poll_timer(time, clock, cx))?,
            }
        }
    }

    fn poll_timer(
        &mut self,
        time: u64,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let delay = time.saturating_sub(clock.now());
        if delay == 0 {
            return Poll::Ready(Ok(()));
        }
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(Timer::new()?),
        };
        Pin::new(timer).poll(Duration::from_nanos(delay), cx)
    }

    /// Says goodbye, as well as the transport allows.
    pub(crate) async fn close(mut self) {
        let goodbye = Packet::Disconnect(mqtt_proto::packet::Disconnect::new(ReasonCode::Success));
        if self.send(&goodbye).is_ok() {
            let farewell = async {
                std::future::poll_fn(|cx| self.poll_write(cx)).await?;
                std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
            };
            // The run is over; a connection that is gone already is none the worse for it.
            let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
        }
    }
}
