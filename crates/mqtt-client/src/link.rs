//! One connection: the stream, its buffers, and the rules of [`ClientConnection`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mqtt_net::Stream;
use mqtt_proto::codec::Frame;
use mqtt_proto::connection::{ClientConnection, Opening, Received};
use mqtt_proto::packet::{Auth, Connack, Connect, Will};
use mqtt_proto::{Offence, Packet, PropertiesBuf, ReasonCode, Version};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use crate::authentication::{self, AuthenticationError, AuthenticationExchange, data_of, push_to};
use crate::client::{Acknowledged, Reply};
use crate::error::{ConnectError, Refusal, RequestError};
use crate::incoming::Connected;
use crate::options::{Direction, Options, Trace};
use crate::transport;

/// Bytes asked for in one read. Messages share the buffer they were read into.
const READ_BYTES: usize = 64 * 1024;

/// With less room than this a new buffer is taken.
const READ_BYTES_MIN: usize = 8 * 1024;

/// An output buffer that grew beyond this is given back once it is empty.
const OUT_BYTES_KEPT: usize = 1 << 20;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection.
pub(crate) struct Link {
    stream: Stream,
    pub(crate) connection: ClientConnection,
    read: BytesMut,
    out: Vec<u8>,
    /// Bytes at the front of `out` that are written.
    written: usize,
    /// Bytes ever written; with `out` it tells when a QoS 0 message has left.
    total_written: u64,
    needs_flush: bool,
    /// Who waits for a QoS 0 message to be written up to this many bytes.
    waiting: VecDeque<(u64, Reply)>,
    packet_bytes_max: usize,
    trace: Option<Trace>,
    start: Instant,
}

impl Link {
    /// Opens a connection and waits for CONNACK, all within the connect timeout.
    pub(crate) async fn open(
        options: &Options,
        client_id: &str,
        clean_start: bool,
    ) -> Result<(Self, Connected), ConnectError> {
        let opening = Self::open_untimed(options, client_id, clean_start);
        timeout(options.connect_timeout, opening).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open_untimed(
        options: &Options,
        client_id: &str,
        clean_start: bool,
    ) -> Result<(Self, Connected), ConnectError> {
        let stream = transport::open(&options.transport).await?;
        let mut properties = options.connect_properties.clone();
        let mut login = None;
        if let Some(method) = &options.authentication {
            let (exchange, data) = method.begin().map_err(ConnectError::Authentication)?;
            push_to(&mut properties, method.name(), data.as_deref())
                .map_err(|error| ConnectError::Options(format!("CONNECT: {error}")))?;
            login = Some((method.name(), exchange));
        }
        let connect = Connect {
            properties: properties.as_properties(),
            ..connect_packet(options, client_id, clean_start)
        };
        let mut link = Self {
            stream,
            connection: ClientConnection::new(Opening::of(&connect), 0),
            read: BytesMut::new(),
            out: Vec::new(),
            written: 0,
            total_written: 0,
            needs_flush: false,
            waiting: VecDeque::new(),
            packet_bytes_max: options.packet_bytes_max,
            trace: options.trace.clone(),
            start: Instant::now(),
        };
        connect
            .encode(&mut link.out)
            .map_err(|error| ConnectError::Options(format!("CONNECT: {error}")))?;
        if let Some(trace) = &link.trace {
            trace(Direction::Sent, &Packet::Connect(connect));
        }
        poll_fn(|cx| link.poll_write(cx)).await.map_err(ConnectError::Io)?;
        let connected = link.wait_for_connack(options.version, login).await?;
        Ok((link, connected))
    }

    async fn wait_for_connack(
        &mut self,
        version: Version,
        mut login: Option<(&str, Box<dyn AuthenticationExchange>)>,
    ) -> Result<Connected, ConnectError> {
        loop {
            if let Some(bytes) = self.next_packet().map_err(ConnectError::Protocol)? {
                let now = self.now();
                let packet = decode(version, &bytes).map_err(ConnectError::Protocol)?;
                self.trace(Direction::Received, &packet);
                let received = self.connection.on_received(packet, now);
                match received.map_err(ConnectError::Protocol)? {
                    Received::Connack(connack) => {
                        let connected = accepted(version, connack)?;
                        if let Some((method, mut exchange)) = login {
                            let data = data_of(connack.properties, method);
                            let data = data.map_err(ConnectError::Protocol)?;
                            let end = exchange.finish(data.as_deref());
                            end.map_err(ConnectError::Authentication)?;
                        }
                        return Ok(connected);
                    }
                    Received::Auth(auth) => {
                        login = Some(self.answer_auth(login, &auth).await?);
                        continue;
                    }
                    // The rules of the connection let nothing else through before CONNACK.
                    _ => return Err(ConnectError::Protocol(Offence::PacketBeforeConnack)),
                }
            }
            match poll_fn(|cx| self.poll_read(cx)).await {
                Ok(0) => return Err(ConnectError::Closed),
                Ok(_) => {}
                Err(error) => return Err(ConnectError::Io(error)),
            }
        }
    }

    /// Goes on with an exchange before CONNACK.
    async fn answer_auth<'a>(
        &mut self,
        login: Option<(&'a str, Box<dyn AuthenticationExchange>)>,
        auth: &Auth<'_>,
    ) -> Result<(&'a str, Box<dyn AuthenticationExchange>), ConnectError> {
        let unexpected = ConnectError::Protocol(Offence::UnexpectedAuth);
        let (method, exchange) = login.ok_or(unexpected)?;
        let data = data_of(auth.properties, method).map_err(ConnectError::Protocol)?;
        let (exchange, answer) = authentication::answer(exchange, data).await;
        let answer = answer.map_err(ConnectError::Authentication)?;
        let mut properties = PropertiesBuf::new();
        let too_large = |error| ConnectError::Authentication(AuthenticationError(error));
        push_to(&mut properties, method, Some(&answer))
            .map_err(|error| too_large(error.to_string()))?;
        let reason = ReasonCode::ContinueAuthentication;
        let packet = Packet::Auth(Auth { reason, properties: properties.as_properties() });
        let now = self.now();
        self.send(&packet, now).map_err(|error| too_large(error.to_string()))?;
        poll_fn(|cx| self.poll_write(cx)).await.map_err(ConnectError::Io)?;
        Ok((method, exchange))
    }

    /// Milliseconds on this connection's clock.
    pub(crate) fn now(&self) -> u64 {
        // 584 million years fit.
        self.start.elapsed().as_millis() as u64
    }

    pub(crate) fn instant_of(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// Queues a packet, if the Server takes it.
    pub(crate) fn send(&mut self, packet: &Packet<'_>, now: u64) -> Result<(), RequestError> {
        let start = self.out.len();
        packet.encode(self.connection.version(), &mut self.out)?;
        if let Err(refused) = self.connection.may_send(packet, self.out.len() - start) {
            self.out.truncate(start);
            return Err(refused.into());
        }
        self.connection.on_sent(packet, now);
        self.trace(Direction::Sent, packet);
        Ok(())
    }

    pub(crate) fn trace(&self, direction: Direction, packet: &Packet<'_>) {
        if let Some(trace) = &self.trace {
            trace(direction, packet);
        }
    }

    /// Answers when all that is queued now has been written.
    pub(crate) fn reply_when_written(&mut self, reply: Reply) {
        let end = self.total_written + (self.out.len() - self.written) as u64;
        self.waiting.push_back((end, reply));
    }

    /// Bytes that wait for the socket.
    pub(crate) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what is queued and flushes. Ready when nothing is left.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let bytes = &self.out[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.total_written += count as u64;
            self.needs_flush = true;
        }
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > OUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        self.answer_written();
        Poll::Ready(Ok(()))
    }

    fn answer_written(&mut self) {
        while let Some((end, _)) = self.waiting.front() {
            if *end > self.total_written {
                return;
            }
            if let Some((_, reply)) = self.waiting.pop_front() {
                let _ = reply.send(Ok(Acknowledged::SUCCESS));
            }
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        self.needs_flush || self.written < self.out.len()
    }

    /// Reads once; ready with 0 at the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.read.capacity() - self.read.len();
        if room < READ_BYTES_MIN {
            // A packet that is larger than the buffer doubles it as its bytes arrive.
            self.read.reserve(READ_BYTES.max(self.read.len()));
        }
        pin!(self.stream.read_buf(&mut self.read)).poll(cx)
    }

    /// Takes one whole packet out of what was read.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Bytes>, Offence> {
        match Frame::peek(&self.read, self.packet_bytes_max)? {
            Some(frame) => Ok(Some(self.read.split_to(frame.len).freeze())),
            None => Ok(None),
        }
    }

    /// Writes what is queued, says goodbye to the transport and closes it; gives up after
    /// [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
        };
        // The connection is given up; how it ended no longer matters.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// Decodes a packet that [`Link::next_packet`] has cut out.
pub(crate) fn decode(version: Version, bytes: &Bytes) -> Result<Packet<'_>, Offence> {
    let frame = Frame::peek(bytes, usize::MAX)?.ok_or(Offence::BodyTooShort)?;
    Packet::decode(version, frame, bytes)
}

fn accepted(version: Version, connack: Connack<'_>) -> Result<Connected, ConnectError> {
    let mut properties = PropertiesBuf::new();
    for (id, value) in connack.properties.iter() {
        properties.push(id, value).map_err(|_| ConnectError::Protocol(Offence::BodyTooLong))?;
    }
    if !connack.is_accepted() {
        return Err(ConnectError::Refused(Refusal { version, code: connack.code, properties }));
    }
    Ok(Connected {
        session_present: connack.session_present,
        server: mqtt_proto::connection::ServerLimits::of(connack.properties),
        properties,
    })
}

fn connect_packet<'a>(options: &'a Options, client_id: &'a str, clean_start: bool) -> Connect<'a> {
    Connect {
        version: options.version,
        is_bridge: false,
        clean_start,
        keep_alive_seconds: options.keep_alive_seconds,
        client_id,
        will: options.will.as_ref().map(|will| Will {
            qos: will.qos,
            retain: will.retain,
            topic: &will.topic,
            payload: &will.payload,
            properties: will.properties.as_properties(),
        }),
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: options.connect_properties.as_properties(),
    }
}
