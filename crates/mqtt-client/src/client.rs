//! [`Client`], the handle: publish, subscribe, unsubscribe, acknowledge, disconnect.
//!
//! Handles are cheap to clone and to send to other tasks. All of them talk to one driver task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use mqtt_proto::packet::{SubscriptionOptions, Unsubscribe};
use mqtt_proto::topic::{SharedFilter, TopicFilter, TopicName};
use mqtt_proto::{PacketIdentifier, PropertiesBuf, QoS, ReasonCode};
use tokio::sync::{mpsc, oneshot};

use crate::driver::Driver;
use crate::error::{ConnectError, RequestError};
use crate::incoming::{Inbox, Incoming};
use crate::message::{Message, Publish};
use crate::options::Options;

/// Requests that wait for the driver before [`Client::publish`] makes its caller wait.
pub const QUEUE_MAX: usize = 1024;

/// A handle on a client.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// How the Server acknowledged a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// [`ReasonCode::Success`] always for QoS 0 and in 3.x; 0x80 and above mean refused.
    pub reason: ReasonCode,
    /// The Server's Reason String (5.0).
    pub reason_string: Option<String>,
}

impl Acknowledged {
    pub(crate) const SUCCESS: Self = Self { reason: ReasonCode::Success, reason_string: None };
}

/// What becomes of a published message.
///
/// Resolves when a QoS 0 message was written to the socket, a QoS 1 message was acknowledged or
/// a QoS 2 message has completed its exchange. Dropping it does not take the message back.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Acknowledged, RequestError>>);

impl Future for Delivery {
    type Output = Result<Acknowledged, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(RequestError::Closed)))
    }
}

/// The Server's answer to SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One byte for each filter in its order. SUBACK: 0 to 2 the granted QoS, 0x80 and above a
    /// refusal. UNSUBACK: Reason Codes in 5.0, empty in 3.x.
    pub reason_codes: Vec<u8>,
    /// 5.0 properties.
    pub properties: PropertiesBuf,
    /// The Packet Identifier of the exchange.
    pub packet_id: u16,
}

/// A SUBSCRIBE.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// The filters with their options; at least one.
    pub filters: Vec<(String, SubscriptionOptions)>,
    /// 5.0 properties: Subscription Identifier, User Properties.
    pub properties: PropertiesBuf,
}

impl Client {
    /// Connects and waits for the Server to accept; later connections are made by themselves
    /// (see [`Options::reconnect`]). Must be called on a tokio runtime; the driver is spawned
    /// there.
    ///
    /// The first event is [`Event::Connected`](crate::Event::Connected).
    ///
    /// # Errors
    /// The first attempt failed.
    pub async fn connect(options: Options) -> Result<(Self, Incoming), ConnectError> {
        let (commands, receiver) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let inbox = Arc::new(Inbox::default());
        let incoming = Incoming::new(shared.clone(), inbox.clone(), options.acknowledge);
        let driver = Driver::connect(options, receiver, shared.clone(), inbox).await?;
        tokio::spawn(driver);
        Ok((Self { commands, shared }, incoming))
    }

    /// Hands a message to the driver. Waits while [`QUEUE_MAX`] requests are waiting already, which
    /// is how a slow Server slows the publisher down.
    ///
    /// # Errors
    /// The topic is not a Topic Name, or the client has ended. What happens afterwards is
    /// told by the [`Delivery`].
    pub async fn publish(&self, publish: Publish) -> Result<Delivery, RequestError> {
        TopicName::new(&publish.topic)?;
        let (reply, delivery) = oneshot::channel();
        self.send(Command::Publish(Pending { publish, reply: Some(reply) })).await?;
        Ok(Delivery(delivery))
    }

    /// As [`Client::publish`] without a [`Delivery`], for who does not want to know.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_and_forget(&self, publish: Publish) -> Result<(), RequestError> {
        TopicName::new(&publish.topic)?;
        self.send(Command::Publish(Pending { publish, reply: None })).await
    }

    /// Subscribes to one filter.
    ///
    /// # Errors
    /// See [`Client::subscribe_all`].
    pub async fn subscribe(
        &self,
        filter: impl Into<String>,
        qos: QoS,
    ) -> Result<Answer, RequestError> {
        let filters = vec![(filter.into(), SubscriptionOptions::with_qos(qos))];
        self.subscribe_all(Subscription { filters, properties: PropertiesBuf::new() }).await
    }

    /// Sends one SUBSCRIBE and waits for SUBACK. The client remembers what was granted and
    /// subscribes again when the Server has lost the Session.
    ///
    /// # Errors
    /// A filter breaks a rule, or the client has ended. Refusals of the Server are in the answer.
    pub async fn subscribe_all(&self, subscription: Subscription) -> Result<Answer, RequestError> {
        for (filter, _) in &subscription.filters {
            check_filter(filter)?;
        }
        if subscription.filters.is_empty() {
            return Err(RequestError::Topic(mqtt_proto::topic::TopicError::Empty));
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Subscribe(Subscribing { subscription, reply: Some(reply) })).await?;
        answer.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Sends one UNSUBSCRIBE and waits for UNSUBACK.
    ///
    /// # Errors
    /// A filter breaks a rule, or the client has ended.
    pub async fn unsubscribe(
        &self,
        filters: Vec<String>,
        properties: PropertiesBuf,
    ) -> Result<Answer, RequestError> {
        for filter in &filters {
            check_filter(filter)?;
        }
        if filters.is_empty() {
            return Err(RequestError::Topic(mqtt_proto::topic::TopicError::Empty));
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Unsubscribe(Unsubscribing { filters, properties, reply })).await?;
        answer.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Proves again who we are, by [`Options::authentication`] (5.0, 4.12.1); other requests go on
    /// meanwhile. A Server that is not convinced closes the connection.
    ///
    /// # Errors
    /// No method is set, an exchange is under way already, it failed, or the connection was lost.
    pub async fn reauthenticate(&self) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Reauthenticate(reply)).await?;
        answer.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Acknowledges a message in [`Acknowledge::Manual`](crate::Acknowledge::Manual). Without
    /// effect for QoS 0, and when the Session the message belongs to is gone.
    pub fn acknowledge(&self, message: &Message) {
        self.shared.acknowledge(message);
    }

    /// Sends DISCONNECT behind what is queued, closes the connection and ends the client.
    /// Acknowledgements that are still to come are not waited for: await the deliveries first.
    pub async fn disconnect(&self) {
        self.disconnect_with(ReasonCode::Success, PropertiesBuf::new()).await;
    }

    /// [`Client::disconnect`] with a reason and properties (5.0), for example
    /// [`ReasonCode::DisconnectWithWillMessage`].
    pub async fn disconnect_with(&self, reason: ReasonCode, properties: PropertiesBuf) {
        let (done, is_done) = oneshot::channel();
        if self.shared.disconnect(DisconnectRequest { reason, properties, done }) {
            // An error means that the driver has ended, which is what was asked for.
            let _ = is_done.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), RequestError> {
        self.commands.send(command).await.map_err(|_| RequestError::Closed)
    }
}

fn check_filter(filter: &str) -> Result<(), RequestError> {
    if SharedFilter::parse(filter)?.is_none() {
        TopicFilter::new(filter)?;
    }
    Ok(())
}

pub(crate) type Reply = oneshot::Sender<Result<Acknowledged, RequestError>>;
pub(crate) type AuthReply = oneshot::Sender<Result<(), RequestError>>;
pub(crate) type AnswerReply = oneshot::Sender<Result<Answer, RequestError>>;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Pending),
    Subscribe(Subscribing),
    Unsubscribe(Unsubscribing),
    Reauthenticate(AuthReply),
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) publish: Publish,
    pub(crate) reply: Option<Reply>,
}

#[derive(Debug)]
pub(crate) struct Subscribing {
    pub(crate) subscription: Subscription,
    pub(crate) reply: Option<AnswerReply>,
}

#[derive(Debug)]
pub(crate) struct Unsubscribing {
    pub(crate) filters: Vec<String>,
    pub(crate) properties: PropertiesBuf,
    pub(crate) reply: AnswerReply,
}

impl Unsubscribing {
    /// The packet, whose filters are built in `bytes`.
    pub(crate) fn as_packet<'a>(
        &'a self,
        packet_id: PacketIdentifier,
        bytes: &'a mut Vec<u8>,
    ) -> Result<Unsubscribe<'a>, RequestError> {
        use mqtt_proto::packet::unsubscribe::push_filter;
        bytes.clear();
        for filter in &self.filters {
            push_filter(bytes, filter)?;
        }
        Ok(Unsubscribe {
            packet_id,
            properties: self.properties.as_properties(),
            filters: mqtt_proto::packet::UnsubscribeFilters::from_pushed(bytes),
        })
    }
}

/// What handles and the reader tell the driver outside of the queue.
#[derive(Default)]
pub(crate) struct Shared(Mutex<SharedState>);

#[derive(Default)]
struct SharedState {
    acks: Vec<AckDue>,
    disconnect: Option<DisconnectRequest>,
    driver: Option<Waker>,
    is_driver_gone: bool,
}

/// A message the reader is done with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckDue {
    pub(crate) packet_id: PacketIdentifier,
    pub(crate) qos: QoS,
    pub(crate) session: u32,
}

#[derive(Debug)]
pub(crate) struct DisconnectRequest {
    pub(crate) reason: ReasonCode,
    pub(crate) properties: PropertiesBuf,
    pub(crate) done: oneshot::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        // Nothing panics while the lock is held; a poisoned state is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledge(&self, message: &Message) {
        let Some(packet_id) = message.packet_id() else { return };
        let ack = AckDue { packet_id, qos: message.qos(), session: message.session };
        let mut state = self.lock();
        if state.is_driver_gone {
            return;
        }
        state.acks.push(ack);
        // The driver takes all of them when it comes; one call is enough.
        if let Some(driver) = state.driver.take() {
            driver.wake();
        }
    }

    /// False when the driver has ended already.
    fn disconnect(&self, request: DisconnectRequest) -> bool {
        let mut state = self.lock();
        if state.is_driver_gone {
            return false;
        }
        state.disconnect = Some(request);
        if let Some(driver) = state.driver.take() {
            driver.wake();
        }
        true
    }

    /// Ready when there is something to take.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.acks.is_empty() || state.disconnect.is_some() {
            return Poll::Ready(());
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the end is wanted; acknowledgements can wait.
    pub(crate) fn poll_disconnect(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.disconnect.is_some() {
            return Poll::Ready(());
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Moves the acknowledgements that are due into `acks`, which is empty.
    pub(crate) fn take_acks(&self, acks: &mut Vec<AckDue>) {
        std::mem::swap(&mut self.lock().acks, acks);
    }

    pub(crate) fn take_disconnect(&self) -> Option<DisconnectRequest> {
        self.lock().disconnect.take()
    }

    pub(crate) fn close_driver(&self) {
        let mut state = self.lock();
        state.is_driver_gone = true;
        state.disconnect = None;
        state.acks = Vec::new();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
