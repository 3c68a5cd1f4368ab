//! The one task behind a client: it alone touches the socket.
//!
//! A turn: take what handles and the reader want, encode it all into one buffer, write it with one
//! call, read what is there, answer it. Nothing is done per message that can be done per turn.

mod authenticate;
mod outgoing;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use mqtt_proto::connection::{Due, Received};
use mqtt_proto::packet::{Ack, Disconnect};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Offence, Packet, PacketIdentifier, Properties, PropertiesBuf, ReasonCode};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use self::authenticate::Reauthentication;
use self::outgoing::{send_again, send_small};
use crate::backoff::Attempts;
use crate::client::{AckDue, Answer, Command, DisconnectRequest, Shared};
use crate::error::{ConnectError, Lost, RequestError};
use crate::incoming::{Connected, Event, Inbox};
use crate::link::{Link, decode};
use crate::message::Message;
use crate::options::{Direction, Options};
use crate::session::{self, Session};

/// Requests taken from the queue in one turn.
const COMMANDS_PER_TURN: usize = 256;

/// With this many bytes waiting for the socket, no more requests are taken.
const UNWRITTEN_MAX: usize = 256 * 1024;

/// Everything that outlives a connection.
pub(crate) struct Driver {
    options: Options,
    /// Ours, or the one the Server has assigned.
    client_id: String,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    commands: mpsc::Receiver<Command>,
    /// No handle is left.
    has_no_handles: bool,
    /// Requests taken from the queue that could not go out yet, in order.
    held: VecDeque<Command>,
    taken: Vec<Command>,
    acks: Vec<AckDue>,
    events: VecDeque<Event>,
    event_bytes: usize,
    session: Session,
    timer: Pin<Box<Sleep>>,
    /// When the timer runs out, if it runs.
    timer_at: Option<Instant>,
    /// The reader is behind, so nothing is read from the Server.
    is_paused: bool,
    scratch: Vec<u8>,
    reauthentication: Option<Reauthentication>,
}

/// Why a connection is over.
enum End {
    Lost(Lost),
    Wanted(Option<DisconnectRequest>),
}

impl Driver {
    /// Makes the first connection and returns the task that is to be spawned.
    pub(crate) async fn connect(
        mut options: Options,
        commands: mpsc::Receiver<Command>,
        shared: Arc<Shared>,
        inbox: Arc<Inbox>,
    ) -> Result<impl Future<Output = ()> + Send + 'static, ConnectError> {
        if options.client_id.is_empty() && !options.version.allows_empty_client_id() {
            options.client_id = format!("mqtt-{:016x}", random());
        }
        options.check().map_err(ConnectError::Options)?;
        let (link, connected) =
            Link::open(&options, &options.client_id, options.clean_start).await?;
        let driver = Self {
            client_id: options.client_id.clone(),
            options,
            shared,
            inbox,
            commands,
            has_no_handles: false,
            held: VecDeque::new(),
            taken: Vec::new(),
            acks: Vec::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            session: Session::default(),
            timer: Box::pin(tokio::time::sleep_until(Instant::now().into())),
            timer_at: None,
            is_paused: false,
            scratch: Vec::new(),
            reauthentication: None,
        };
        Ok(driver.run(link, connected))
    }

    async fn run(mut self, mut link: Link, mut connected: Connected) {
        let mut attempts = Attempts::new(self.options.reconnect.unwrap_or_default());
        let mut is_first = true;
        loop {
            attempts.succeeded();
            self.begin(&mut link, connected, is_first);
            is_first = false;
            match self.serve(&mut link).await {
                End::Wanted(request) => {
                    self.finish(link, request).await;
                    return;
                }
                End::Lost(lost) => {
                    self.say_why(&mut link, &lost);
                    tokio::spawn(link.close());
                    match self.come_back(lost, &mut attempts).await {
                        Some(next) => (link, connected) = next,
                        None => {
                            self.close();
                            return;
                        }
                    }
                }
            }
        }
    }

    /// The first packets on a new connection.
    fn begin(&mut self, link: &mut Link, connected: Connected, is_first: bool) {
        let assigned = connected.properties.as_properties();
        if let Some(id) = assigned.text(PropertyId::AssignedClientIdentifier) {
            self.client_id = id.to_owned();
        }
        let window = self.options.max_in_flight.min(connected.server.receive_maximum);
        let ours = self.options.connect_properties.as_properties();
        let receive_maximum = ours.u16(PropertyId::ReceiveMaximum).and_then(NonZeroU16::new);
        let at_least_one = |number| NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN);
        if !connected.session_present && !is_first && self.options.resubscribe {
            for request in self.session.resubscribe().into_iter().rev() {
                self.held.push_front(Command::Subscribe(request));
            }
        }
        self.session.on_connected(
            connected.session_present,
            at_least_one(window),
            receive_maximum.unwrap_or(NonZeroU16::MAX),
            &mut self.held,
        );
        let now = link.now();
        self.session.sender.resend(|resend| send_again(link, resend, now));
        self.events.push_back(Event::Connected(connected));
    }

    /// Works on a connection until it ends.
    async fn serve(&mut self, link: &mut Link) -> End {
        loop {
            let now = link.now();
            let received = self.receive_all(link, now);
            self.send_acks(link, now);
            self.send_commands(link, now);
            self.inbox.put(&mut self.events, std::mem::take(&mut self.event_bytes));
            let received = received.and_then(|()| self.go_on_authenticating(link, now));
            if let Err(lost) = received.and_then(|()| self.keep_alive(link, now)) {
                return End::Lost(lost);
            }
            if let Some(request) = self.shared.take_disconnect() {
                return End::Wanted(Some(request));
            }
            if self.is_abandoned(link) {
                return End::Wanted(None);
            }
            if let Err(lost) = poll_fn(|cx| self.poll_turn(link, cx)).await {
                return End::Lost(lost);
            }
        }
    }

    /// Ready as soon as one of the sources has something for the next turn.
    fn poll_turn(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let mut has_work = self.shared.poll_wanted(cx).is_ready();
        has_work |= self.poll_authentication(cx).is_ready();
        if link.has_output() {
            match link.poll_write(cx) {
                // Requests may have waited for room in the output.
                Poll::Ready(Ok(())) => has_work |= !self.held.is_empty(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Lost::Io(error))),
                Poll::Pending => {}
            }
        }
        let takes_commands = self.held.is_empty() && link.unwritten() < UNWRITTEN_MAX;
        if takes_commands && !self.has_no_handles {
            let taken = self.commands.poll_recv_many(cx, &mut self.taken, COMMANDS_PER_TURN);
            if let Poll::Ready(count) = taken {
                self.has_no_handles = count == 0;
                has_work = true;
            }
        }
        self.is_paused = self.inbox.poll_room(cx).is_pending();
        if !self.is_paused {
            match link.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Lost::Closed)),
                Poll::Ready(Ok(_)) => has_work = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Lost::Io(error))),
                Poll::Pending => {}
            }
        }
        if self.timer_at.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            self.timer_at = None;
            has_work = true;
        }
        if has_work { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn keep_alive(&mut self, link: &mut Link, now: u64) -> Result<(), Lost> {
        if self.is_paused {
            link.connection.on_reading_paused(now);
        }
        let mut due = link.connection.due(now);
        if due == Due::Pingreq {
            // It is small enough for any server; a refusal would only show in the next due time.
            let _ = link.send(&Packet::Pingreq, now);
            due = link.connection.due(now);
        }
        match due {
            Due::ServerGone => return Err(Lost::KeepAlive),
            Due::At(at) => self.arm(link, at),
            Due::Never | Due::Pingreq => {}
        }
        Ok(())
    }

    /// Lets the timer run out at `at` or before; a turn for nothing costs less than moving
    /// the timer with each packet.
    fn arm(&mut self, link: &Link, at: u64) {
        let at = link.instant_of(at);
        if self.timer_at.is_none_or(|armed| at < armed) {
            self.timer_at = Some(at);
            self.timer.as_mut().reset(at.into());
        }
    }

    /// Nobody is left who could want something.
    fn is_abandoned(&self, link: &Link) -> bool {
        self.has_no_handles
            && self.held.is_empty()
            && !link.has_output()
            && self.session.sender.in_flight() == 0
            && self.inbox.is_reader_gone()
    }

    fn receive_all(&mut self, link: &mut Link, now: u64) -> Result<(), Lost> {
        while let Some(bytes) = link.next_packet().map_err(Lost::Protocol)? {
            self.receive(link, &bytes, now)?;
        }
        Ok(())
    }

    fn receive(&mut self, link: &mut Link, bytes: &Bytes, now: u64) -> Result<(), Lost> {
        let packet = decode(self.options.version, bytes).map_err(Lost::Protocol)?;
        link.trace(Direction::Received, &packet);
        let received = link.connection.on_received(packet, now).map_err(Lost::Protocol)?;
        let session = &mut self.session;
        match received {
            Received::Publish(publish) => {
                return self.receive_publish(link, bytes, &publish, now);
            }
            Received::Puback(ack) => session.on_puback(&ack),
            Received::Pubrec(ack) => {
                if let Some(reason) = session.on_pubrec(&ack) {
                    send_small(link, &Packet::Pubrel(Ack::new(ack.packet_id, reason)), now);
                }
            }
            Received::Pubrel(ack) => {
                let reason = session.on_pubrel(ack.packet_id);
                send_small(link, &Packet::Pubcomp(Ack::new(ack.packet_id, reason)), now);
            }
            Received::Pubcomp(ack) => session.on_pubcomp(&ack),
            Received::Suback(suback) => {
                let answer = answer(suback.packet_id, suback.reason_codes, suback.properties);
                session.answer(suback.packet_id, true, answer);
            }
            Received::Unsuback(unsuback) => {
                let answer = answer(unsuback.packet_id, unsuback.reason_codes, unsuback.properties);
                session.answer(unsuback.packet_id, false, answer);
            }
            Received::Disconnect(disconnect) => {
                let properties = copy(disconnect.properties);
                return Err(Lost::ServerDisconnect { reason: disconnect.reason, properties });
            }
            Received::Auth(auth) => return self.receive_auth(&auth),
            Received::Connack(_) | Received::Pingresp | Received::Ignored => {}
        }
        if session.sender.owed() > 0 {
            session.sender.resend_more(|resend| send_again(link, resend, now));
        }
        Ok(())
    }

    fn receive_publish(
        &mut self,
        link: &mut Link,
        bytes: &Bytes,
        publish: &mqtt_proto::packet::Publish<'_>,
        now: u64,
    ) -> Result<(), Lost> {
        if let Some(id) = publish.packet_id {
            match self.session.on_publish(id, publish.qos, publish.dup) {
                session::Incoming::Deliver => {}
                session::Incoming::Skip => return Ok(()),
                session::Incoming::PubrecAgain => {
                    send_small(link, &Packet::Pubrec(Ack::success(id)), now);
                    return Ok(());
                }
                session::Incoming::TooMany => {
                    return Err(Lost::Protocol(Offence::ReceiveMaximumExceeded));
                }
            }
        }
        let topic = link.connection.topic_of(publish);
        let message = Message::new(bytes, publish, topic, self.session.number);
        self.event_bytes += bytes.len();
        self.events.push_back(Event::Message(message));
        Ok(())
    }

    /// Tells a Server that broke the protocol what it did (5.0).
    fn say_why(&self, link: &mut Link, lost: &Lost) {
        let reason = match lost {
            Lost::Protocol(offence) => offence.reason(),
            Lost::KeepAlive => ReasonCode::KeepAliveTimeout,
            // Not Authorized is the Server's to say (table 3-10).
            Lost::Authentication(_) => ReasonCode::UnspecifiedError,
            _ => return,
        };
        if self.options.version.has_properties() {
            send_small(link, &Packet::Disconnect(Disconnect::new(reason)), link.now());
        }
    }

    /// Waits and connects until it works; `None` when it shall not be tried any more.
    async fn come_back(
        &mut self,
        mut lost: Lost,
        attempts: &mut Attempts,
    ) -> Option<(Link, Connected)> {
        self.timer_at = None;
        self.is_paused = false;
        self.forget_authentication();
        loop {
            let may_retry = self.options.reconnect.is_some() && may_retry(&lost);
            let retry_in = may_retry.then(|| attempts.next_wait(random() as u32));
            self.events.push_back(Event::Disconnected { lost, retry_in });
            self.inbox.put(&mut self.events, std::mem::take(&mut self.event_bytes));
            let shared = self.shared.clone();
            unless_disconnected(&shared, tokio::time::sleep(retry_in?)).await?;
            // In 5.0 a Session that is to outlive the connection is taken up again; only the very
            // first connection begins it anew.
            let clean_start = self.options.clean_start && self.options.session_expiry() == 0;
            let opening = Link::open(&self.options, &self.client_id, clean_start);
            match unless_disconnected(&shared, opening).await? {
                Ok(opened) => return Some(opened),
                Err(error) => lost = Lost::Reconnect(error),
            }
        }
    }

    /// The orderly end: what is queued and fits, DISCONNECT, goodbye.
    async fn finish(mut self, mut link: Link, request: Option<DisconnectRequest>) {
        while let Ok(command) = self.commands.try_recv() {
            self.taken.push(command);
        }
        let now = link.now();
        self.send_commands(&mut link, now);
        self.send_acks(&mut link, now);
        let (reason, properties, done) = match request {
            Some(request) => (request.reason, request.properties, Some(request.done)),
            None => (ReasonCode::Success, PropertiesBuf::new(), None),
        };
        let packet = Disconnect { reason, properties: properties.as_properties() };
        send_small(&mut link, &Packet::Disconnect(packet), now);
        link.close().await;
        self.close();
        drop(done);
    }

    fn close(mut self) {
        self.session.fail_request(RequestError::Closed);
        self.shared.close_driver();
        self.inbox.put(&mut self.events, 0);
        self.inbox.close_writer();
    }
}

fn answer(packet_id: PacketIdentifier, codes: &[u8], properties: Properties<'_>) -> Answer {
    Answer {
        reason_codes: codes.to_vec(),
        properties: copy(properties),
        packet_id: packet_id.get(),
    }
}

fn copy(properties: Properties<'_>) -> PropertiesBuf {
    let mut copy = PropertiesBuf::new();
    for (id, value) in properties.iter() {
        copy.push(id, value).expect("a property that was decoded fits into its length field");
    }
    copy
}

/// Some ends are final: coming back would only take the Session away from whoever has it now, or be
/// refused again.
fn may_retry(lost: &Lost) -> bool {
    match lost {
        Lost::ServerDisconnect { reason, .. } => !matches!(
            reason,
            ReasonCode::SessionTakenOver
                | ReasonCode::NotAuthorized
                | ReasonCode::UseAnotherServer
                | ReasonCode::ServerMoved
        ),
        Lost::Reconnect(error) => error.is_temporary(),
        Lost::Authentication(_) => false,
        _ => true,
    }
}

/// Runs `work` unless the end is wanted first.
async fn unless_disconnected<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if shared.poll_disconnect(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A number nobody can guess, for waits and names; not for secrets.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
