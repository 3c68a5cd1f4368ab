//! What outlives one connection: messages in flight both ways, subscriptions, open requests.
//!
//! A message of ours stays here until its exchange is over, across reconnects. When the Server has
//! lost the Session, QoS 1 messages are published anew (they may arrive twice, as QoS 1 allows); a
//! QoS 2 message is published anew only when the Server had not acknowledged it with PUBREC.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;

use mqtt_proto::packet::{Ack, SubscriptionOptions};
use mqtt_proto::qos::{PubrecOutcome, Received, Receiver, Sender, SenderState};
use mqtt_proto::{PacketIdentifier, PropertiesBuf, QoS, ReasonCode};

use crate::client::{Acknowledged, Answer, Command, Pending, Reply, Subscribing, Unsubscribing};
use crate::error::RequestError;

/// The Client's half of the Session State (MQTT 4.1).
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Counts the Sessions the Server has lost; messages of an old one are not acknowledged.
    pub(crate) number: u32,
    pub(crate) sender: Sender<Pending>,
    receiver: Receiver,
    /// Messages the reader has and has not acknowledged yet.
    unacknowledged: HashSet<PacketIdentifier>,
    /// QoS 2 messages of ours that wait for PUBCOMP and somebody who waits for them.
    releasing: HashMap<PacketIdentifier, Reply>,
    request: Option<(PacketIdentifier, Request)>,
    subscriptions: Vec<(String, SubscriptionOptions, PropertiesBuf)>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
#[derive(Debug)]
pub(crate) enum Request {
    Subscribe(Subscribing),
    Unsubscribe(Unsubscribing),
}

/// What is to be done with a PUBLISH from the Server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Give it to the reader.
    Deliver,
    /// The reader has it, or had it, and it was not acknowledged on this connection: nothing.
    Skip,
    /// It was acknowledged on an earlier connection: send PUBREC again.
    PubrecAgain,
    /// More unfinished QoS 2 messages than we allow.
    TooMany,
}

impl Session {
    /// A connection was accepted. What must go out again is left in front of `held` when the Server
    /// lost the Session; otherwise [`Sender::resend`] is the caller's next step.
    pub(crate) fn on_connected(
        &mut self,
        session_present: bool,
        window: NonZeroU16,
        receive_maximum: NonZeroU16,
        held: &mut VecDeque<Command>,
    ) {
        self.sender.set_window(window);
        self.receiver.set_limit(receive_maximum);
        if !session_present {
            self.number = self.number.wrapping_add(1);
            self.receiver.clear();
            self.unacknowledged.clear();
            self.restart_exchanges(held);
        }
        match self.request.take() {
            Some((_, Request::Subscribe(request))) => {
                held.push_front(Command::Subscribe(request));
            }
            Some((_, Request::Unsubscribe(request))) => {
                held.push_front(Command::Unsubscribe(request));
            }
            None => {}
        }
    }

    fn restart_exchanges(&mut self, held: &mut VecDeque<Command>) {
        let exchanges: Vec<_> =
            self.sender.iter().map(|exchange| (exchange.id, exchange.state)).collect();
        // Backwards, since each goes in front of the one before.
        for (id, state) in exchanges.into_iter().rev() {
            let message = match state {
                SenderState::AwaitPuback => self.sender.puback(id).ok(),
                SenderState::AwaitPubrec => match self.sender.pubrec(id, true) {
                    Ok(PubrecOutcome::Refused(message)) => message,
                    _ => None,
                },
                SenderState::AwaitPubcomp => {
                    // The Server has the message; there is no exchange left to complete.
                    let _ = self.sender.pubcomp(id);
                    self.complete(id, Acknowledged::SUCCESS);
                    None
                }
            };
            if let Some(message) = message {
                held.push_front(Command::Publish(message));
            }
        }
    }

    /// The subscriptions as one request per property block, to be made again.
    pub(crate) fn resubscribe(&self) -> Vec<Subscribing> {
        let mut requests: Vec<Subscribing> = Vec::new();
        for (filter, options, properties) in &self.subscriptions {
            let entry = (filter.clone(), *options);
            match requests.last_mut() {
                Some(last) if last.subscription.properties == *properties => {
                    last.subscription.filters.push(entry);
                }
                _ => requests.push(Subscribing {
                    subscription: crate::client::Subscription {
                        filters: vec![entry],
                        properties: properties.clone(),
                    },
                    reply: None,
                }),
            }
        }
        requests
    }

    /// An identifier for a SUBSCRIBE or UNSUBSCRIBE; `None` while another one is open, which keeps
    /// the two numberings apart: no message of QoS 1 or 2 is begun until the answer is there.
    pub(crate) fn free_id(&self) -> Option<PacketIdentifier> {
        if self.request.is_some() {
            return None;
        }
        let used: HashSet<_> = self.sender.iter().map(|exchange| exchange.id).collect();
        (1..=u16::MAX).filter_map(PacketIdentifier::new).find(|id| !used.contains(id))
    }

    pub(crate) fn has_open_request(&self) -> bool {
        self.request.is_some()
    }

    pub(crate) fn open_request(&mut self, id: PacketIdentifier, request: Request) {
        self.request = Some((id, request));
    }

    /// SUBACK or UNSUBACK; false when nobody asked for it.
    pub(crate) fn answer(&mut self, id: PacketIdentifier, is_suback: bool, answer: Answer) -> bool {
        let is_expected = matches!(
            (&self.request, is_suback),
            (Some((asked, Request::Subscribe(_))), true)
            | (Some((asked, Request::Unsubscribe(_))), false) if *asked == id
        );
        if !is_expected {
            return false;
        }
        match self.request.take() {
            Some((_, Request::Subscribe(request))) => {
                self.remember(&request, &answer.reason_codes);
                request.reply.map(|reply| reply.send(Ok(answer)));
            }
            Some((_, Request::Unsubscribe(request))) => {
                let gone = |filter: &String| request.filters.contains(filter);
                self.subscriptions.retain(|(filter, _, _)| !gone(filter));
                let _ = request.reply.send(Ok(answer));
            }
            None => {}
        }
        true
    }

    fn remember(&mut self, request: &Subscribing, codes: &[u8]) {
        for ((filter, options), code) in request.subscription.filters.iter().zip(codes) {
            self.subscriptions.retain(|(known, _, _)| known != filter);
            if *code < 0x80 {
                let properties = request.subscription.properties.clone();
                self.subscriptions.push((filter.clone(), *options, properties));
            }
        }
    }

    /// A PUBLISH of QoS 1 or 2 has arrived.
    pub(crate) fn on_publish(&mut self, id: PacketIdentifier, qos: QoS, dup: bool) -> Incoming {
        if qos == QoS::ExactlyOnce {
            match self.receiver.publish(id) {
                Ok(Received::New) => {}
                Ok(Received::Duplicate) if self.unacknowledged.contains(&id) => {
                    return Incoming::Skip;
                }
                Ok(Received::Duplicate) => return Incoming::PubrecAgain,
                Err(_) => return Incoming::TooMany,
            }
            self.unacknowledged.insert(id);
            return Incoming::Deliver;
        }
        // The Server may not use an identifier again before we acknowledged it: this is the message
        // the reader already has, sent again on a new connection.
        let is_new = self.unacknowledged.insert(id);
        if is_new || !dup { Incoming::Deliver } else { Incoming::Skip }
    }

    /// The reader is done with a message: is there an acknowledgement to send?
    pub(crate) fn on_read(&mut self, id: PacketIdentifier, session: u32) -> bool {
        session == self.number && self.unacknowledged.remove(&id)
    }

    /// PUBREL: the reason for the PUBCOMP.
    pub(crate) fn on_pubrel(&mut self, id: PacketIdentifier) -> ReasonCode {
        if self.receiver.pubrel(id) {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        }
    }

    /// PUBACK. An unknown identifier is a late answer and of no account.
    pub(crate) fn on_puback(&mut self, ack: &Ack<'_>) {
        if let Ok(Pending { reply: Some(reply), .. }) = self.sender.puback(ack.packet_id) {
            let _ = reply.send(Ok(acknowledged(ack)));
        }
    }

    /// PUBREC: the PUBREL to send, if any.
    pub(crate) fn on_pubrec(&mut self, ack: &Ack<'_>) -> Option<ReasonCode> {
        match self.sender.pubrec(ack.packet_id, ack.reason.is_error()) {
            Ok(PubrecOutcome::Release(pending)) => {
                if let Some(reply) = pending.reply {
                    self.releasing.insert(ack.packet_id, reply);
                }
                Some(ReasonCode::Success)
            }
            Ok(PubrecOutcome::ReleaseAgain) => Some(ReasonCode::Success),
            Ok(PubrecOutcome::Refused(pending)) => {
                if let Some(Pending { reply: Some(reply), .. }) = pending {
                    let _ = reply.send(Ok(acknowledged(ack)));
                }
                self.complete(ack.packet_id, acknowledged(ack));
                None
            }
            Err(_) if ack.reason.is_error() => None,
            Err(_) => Some(ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// PUBCOMP.
    pub(crate) fn on_pubcomp(&mut self, ack: &Ack<'_>) {
        if self.sender.pubcomp(ack.packet_id).is_ok() {
            // The message arrived with PUBREC; what PUBCOMP says about it changes nothing.
            self.complete(ack.packet_id, Acknowledged::SUCCESS);
        }
    }

    fn complete(&mut self, id: PacketIdentifier, acknowledged: Acknowledged) {
        if let Some(reply) = self.releasing.remove(&id) {
            let _ = reply.send(Ok(acknowledged));
        }
    }

    /// Tells the one who waits for an open request that it has failed.
    pub(crate) fn fail_request(&mut self, error: RequestError) {
        match self.request.take() {
            Some((_, Request::Subscribe(request))) => {
                request.reply.map(|reply| reply.send(Err(error)));
            }
            Some((_, Request::Unsubscribe(request))) => {
                let _ = request.reply.send(Err(error));
            }
            None => {}
        }
    }
}

fn acknowledged(ack: &Ack<'_>) -> Acknowledged {
    let text = mqtt_proto::property::PropertyId::ReasonString;
    Acknowledged { reason: ack.reason, reason_string: ack.properties.text(text).map(str::to_owned) }
}
