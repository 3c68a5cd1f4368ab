//! PUBLISH from a Client: checks, routing, retaining, and what the answer waits for.

use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_auth::Action;
use mqtt_proto::packet::{Ack, PacketType, Publish};
use mqtt_proto::property::PropertyId;
use mqtt_proto::qos::{PubrecOutcome, SenderOffence};
use mqtt_proto::{Offence, PacketIdentifier, Properties, QoS, ReasonCode};

use crate::acknowledge::{Answer, Wait};
use crate::control::is_control;
use crate::deliver::{Routed, address};
use crate::drops::DropReason;
use crate::envelope::SessionAddress;
use crate::exchange::Receipt;
use crate::ids::{ConnectionKey, Lsn, RecordId, SessionKey};
use crate::message::{Passing, forwarded_properties};
use crate::mount;
use crate::notice::{Ending, Notice};
use crate::output::Output;
use crate::record::{Origin, Reached};
use crate::session::Flight;
use crate::shard::Shard;
use crate::time::Instant;

impl Shard {
    /// `memory_limit` is reached, and the message might take more. What clears a topic makes room.
    #[inline]
    pub(crate) fn is_short_of_memory(&self, publish: &Publish<'_>) -> bool {
        self.settings.memory.as_ref().is_some_and(|memory| memory.is_full())
            && !(publish.retain && publish.payload.is_empty())
    }

    /// The message is not taken and not acknowledged; its Client may try again later.
    #[cold]
    pub(crate) fn refuse_for_memory<O: Output>(
        &mut self,
        key: SessionKey,
        connection: ConnectionKey,
        topic: &str,
        now: Instant,
        out: &mut O,
    ) {
        self.note_drop(key, DropReason::MemoryLimit, topic);
        let ending = Ending::Server(ReasonCode::QuotaExceeded);
        self.end_connection(connection, ending, now, out);
    }

    /// A PUBLISH has arrived on the session's connection.
    #[inline]
    pub(crate) fn receive_publish<O: Output>(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        self.stats.publish_received.up(1);
        self.stats.publish_bytes_received.up(publish.payload.len() as u64);
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return Ok(()) };
        online.messages.received.up(1);
        let listener = self.settings.listener(session.listener);
        if publish.qos > listener.qos_max {
            return Err(Offence::QoSNotSupported);
        }
        if publish.retain && !self.settings.retain_available {
            return Err(Offence::RetainNotSupported);
        }
        let mut resolved = None;
        if !publish.properties.is_empty() {
            if publish.properties.subscription_identifiers().next().is_some() {
                return Err(Offence::SubscriptionIdentifierFromClient);
            }
            if let Some(alias) = publish.properties.u16(PropertyId::TopicAlias) {
                if publish.topic.is_empty() {
                    resolved = Some(online.aliases.get(alias)?);
                } else {
                    online.aliases.set(alias, publish.topic)?;
                }
            }
        }
        let topic = resolved.as_deref().unwrap_or(publish.topic);
        if topic.is_empty() {
            return Err(Offence::TopicMissing);
        }
        let mounted = mount::put_on_name(online.mount(), topic);
        let topic = mounted.as_deref().unwrap_or(topic);
        let mut scratch = Vec::new();
        let mut message = Passing {
            properties: forwarded_properties(publish.properties, &mut scratch),
            expires_at: match publish.properties.u32(PropertyId::MessageExpiryInterval) {
                Some(seconds) => now.plus_seconds(seconds),
                None => Instant::NEVER,
            },
            publisher: Some(session.uid),
            memory: self.settings.memory.clone(),
            ..Passing::internal(topic, publish.payload, publish.qos, publish.retain)
        };
        match publish.packet_id {
            _ if is_control(topic) => self.receive_control(key, publish, &mut message, now, out),
            None => match self.refuses_message(key, &message, out) {
                Some(ReasonCode::PayloadFormatInvalid) => Err(Offence::PayloadFormatInvalid),
                Some(_) => Ok(()),
                None => {
                    self.publish_message(&mut message, Some(key), &Receipt::NONE, now, out);
                    Ok(())
                }
            },
            Some(packet_id) if publish.qos == QoS::AtLeastOnce => {
                if !publish.dup {
                    self.forget_lost_pubrel(key, packet_id, out);
                }
                self.receive_qos1(key, packet_id, &mut message, now, out)
            }
            Some(packet_id) => {
                self.receive_qos2(key, packet_id, publish.dup, &mut message, now, out)
            }
        }
    }

    fn receive_qos1<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        self.begin_receiving(key)?;
        let (reason, wait) = self.accept(key, message, None, None, now, out);
        self.acknowledge(key, PacketType::Puback, (packet_id, reason), wait, out);
        Ok(())
    }

    pub(crate) fn receive_qos2<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        dup: bool,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        let session = &mut self.sessions[key];
        let ack = |reason| Answer::Ack { packet_type: PacketType::Pubrec, packet_id, reason };
        let is_durable = session.is_persistent() && self.journal.is_on();
        let is_known = session.receiver.contains(packet_id);
        if is_known && (dup || !self.forget_lost_pubrel(key, packet_id, out)) {
            if self.asks_again(key, packet_id, out) {
                return Ok(());
            }
            // The first answer may still wait, even one of an earlier connection.
            if is_durable && !self.sessions[key].has_received_record(packet_id) {
                self.hold(key, ack(ReasonCode::Success), Wait::default(), None, out);
            } else {
                let need = if is_durable { self.journal.appended() } else { Lsn::default() };
                let ack = (packet_id, ReasonCode::Success);
                self.acknowledge(key, PacketType::Pubrec, ack, Wait::for_log(need), out);
            }
            return Ok(());
        }
        self.begin_receiving(key)?;
        let session = &mut self.sessions[key];
        session.receiver.publish_new(packet_id).map_err(|_| Offence::ReceiveMaximumExceeded)?;
        let reached = self.reached_before(key, packet_id, (message, dup), out);
        let is_repeated = reached.is_some();
        let origin = (is_durable && (self.shards > 1 || is_repeated))
            .then(|| Origin { exchange: self.journal.new_id(), packet_id });
        let (reason, mut wait) = self.accept(key, message, origin, reached, now, out);
        let of = address(key, &self.sessions[key]);
        if reason.is_error() {
            self.refuse_received(key, packet_id, out);
            self.forget_begun(of, packet_id, out);
        } else if origin.is_some() && (wait.confirms > 0 || is_repeated) {
            // Behind those before it, which the order of their numbers asks for.
            self.hold(key, ack(reason), wait, origin, out);
            self.release(out);
            return Ok(());
        } else if is_durable {
            wait.need = self.record_received(of, packet_id, None, out);
        }
        self.acknowledge(key, PacketType::Pubrec, (packet_id, reason), wait, out);
        Ok(())
    }

    /// A PUBLISH comes again whose answer waits for a log that has refused it: 5.0 is told, unless
    /// the log may know the identifier, and 3.x waits on this connection.
    fn asks_again<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) -> bool {
        let session = &self.sessions[key];
        let uid = session.uid;
        let Some(epoch) = session.online.as_ref().map(|online| online.epoch) else { return false };
        if !self.held.stalled.asks_again(uid, packet_id, epoch) {
            return false;
        }
        if self.has_reason_codes(key) && !self.is_known_to_log(key, packet_id, out) {
            if let Some(held) = self.held.stalled.take_pubrec(uid, packet_id) {
                held.received.into_iter().for_each(|it| self.exchanges.is_over(it.exchange));
            }
            self.refuse_received(key, packet_id, out);
            let ack = (packet_id, ReasonCode::QuotaExceeded);
            self.acknowledge(key, PacketType::Pubrec, ack, Wait::default(), out);
        }
        true
    }

    /// Records that a QoS 2 message has been taken. Returns what the answer waits for.
    pub(crate) fn record_received<O: Output>(
        &mut self,
        from: SessionAddress,
        packet_id: PacketIdentifier,
        exchange: Option<RecordId>,
        out: &mut O,
    ) -> Lsn {
        self.forget_begun(from, packet_id, out);
        let Some(session) = self.sessions.find_mut(from.key) else {
            return Lsn::default();
        };
        if session.uid != from.uid
            || !session.is_persistent()
            || !session.receiver.contains(packet_id)
        {
            return Lsn::default();
        }
        if let Some(id) = self.journal.received(session.uid, packet_id, exchange, out) {
            session.records.get_or_insert_default().received.insert(packet_id, id);
        }
        self.journal.appended()
    }

    /// Counts a QoS 1 or 2 message against the Receive Maximum [MQTT-3.3.4-7]. 3.x knows none.
    #[inline]
    pub(crate) fn begin_receiving(&mut self, key: SessionKey) -> Result<(), Offence> {
        let Some(online) = &mut self.sessions[key].online else { return Ok(()) };
        if online.version.has_properties() && online.receiving >= online.receive_maximum {
            return Err(Offence::ReceiveMaximumExceeded);
        }
        online.receiving = online.receiving.saturating_add(1);
        Ok(())
    }

    /// Ends an exchange because PUBREC says that it failed [MQTT-4.3.3-9].
    pub(crate) fn refuse_received<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        if session.receiver.refuse(packet_id) {
            if let Some(online) = &mut session.online {
                online.receiving = online.receiving.saturating_sub(1);
            }
        }
        self.forget_received(key, packet_id, out);
    }

    /// Access rights and size, then on to the subscribers. Returns the answer's reason code and
    /// what it waits for.
    fn accept<O: Output>(
        &mut self,
        key: SessionKey,
        message: &mut Passing<'_>,
        origin: Option<Origin>,
        reached: Option<Arc<Reached>>,
        now: Instant,
        out: &mut O,
    ) -> (ReasonCode, Wait) {
        if let Some(reason) = self.refuses_message(key, message, out) {
            return (reason, Wait::default());
        }
        // Without a log nothing is promised beyond what is in a mailbox, and there it is before any
        // answer is written.
        let token = (self.shards > 1 && self.journal.is_on()).then(|| self.held.next_token());
        let receipt = Receipt { token, origin, reached };
        let routed = self.publish_message(message, Some(key), &receipt, now, out);
        let reason = if routed.matched || !self.has_reason_codes(key) {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        };
        (reason, routed.wait)
    }

    /// Access rights and sizes: what the answer to a message says that goes no further.
    #[inline]
    pub(crate) fn refuses_message<O: Output>(
        &mut self,
        key: SessionKey,
        message: &Passing<'_>,
        out: &mut O,
    ) -> Option<ReasonCode> {
        let reason = if !self.may_publish(key, message.topic, out) {
            ReasonCode::NotAuthorized
        } else if self.is_too_deep(key, message.topic) {
            ReasonCode::TopicNameInvalid
        } else if self.is_too_large(key, message) {
            // The only code of PUBACK and PUBREC that speaks of a limit of the Server's.
            ReasonCode::QuotaExceeded
        } else if self.is_malformed_text(key, message) {
            ReasonCode::PayloadFormatInvalid
        } else {
            return None;
        };
        // 3.x has no word for it: acknowledged, as Mosquitto does.
        Some(if self.has_reason_codes(key) { reason } else { ReasonCode::Success })
    }

    /// Whether the session's Client is told in PUBACK and PUBREC what has become of a message.
    #[inline]
    fn has_reason_codes(&self, key: SessionKey) -> bool {
        let online = self.sessions[key].online.as_ref();
        online.is_some_and(|online| online.version.has_properties())
    }

    /// Routes a message and keeps it if it is to be retained. `from` is the publisher's session,
    /// `None` for the Server.
    pub(crate) fn publish_message<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        from: Option<SessionKey>,
        receipt: &Receipt,
        now: Instant,
        out: &mut O,
    ) -> Routed {
        let mut routed = self.route(message, receipt, now, out);
        if message.retain && self.settings.retain_available {
            let wait = self.retain(message, from, receipt.token, now, out);
            routed.wait.need = routed.wait.need.max(wait.need);
            routed.wait.confirms.up(wait.confirms);
            routed.wait.is_refused |= wait.is_refused;
        }
        routed
    }

    /// Whether the session's user may publish to the topic. `$SYS` is the Server's own, except the
    /// state topics that bridges publish; `$share` is no topic at all.
    pub(crate) fn may_publish<O: Output>(
        &mut self,
        key: SessionKey,
        topic: &str,
        out: &mut O,
    ) -> bool {
        let session = &self.sessions[key];
        let own = topic.starts_with('$') && {
            let bridge_state =
                topic.starts_with("$SYS/broker/connection/") && topic.ends_with("/state");
            (topic.starts_with("$SYS") && !bridge_state) || topic.starts_with("$share")
        };
        let listener = self.settings.listener(session.listener);
        let allowed =
            !own && (listener.is_open() || listener.allows(&session.who(), Action::Publish, topic));
        if !allowed {
            out.notice(Notice::PublishDenied { client_id: &session.client_id, topic });
            self.note_drop(key, DropReason::NotAuthorized, topic);
        }
        allowed
    }

    /// More levels than `max_topic_levels`; the standard's own bound is the codec's.
    fn is_too_deep(&mut self, key: SessionKey, topic: &str) -> bool {
        let too_deep = self.settings.has_too_many_levels(topic);
        if too_deep {
            self.note_drop(key, DropReason::TopicTooDeep, topic);
        }
        too_deep
    }

    fn is_too_large(&mut self, key: SessionKey, message: &Passing<'_>) -> bool {
        let too_large =
            self.settings.payload_bytes_max.is_some_and(|max| message.payload.len() > max as usize);
        if too_large {
            self.note_drop(key, DropReason::PayloadTooLarge, message.topic);
        }
        too_large
    }

    /// Whether the payload is not what its Payload Format Indicator says, where that is asked for.
    /// Only 5.0 has the property.
    fn is_malformed_text(&mut self, key: SessionKey, message: &Passing<'_>) -> bool {
        if !self.settings.check_payload_format || message.properties.is_empty() {
            return false;
        }
        let properties = Properties::from_checked(message.properties);
        let malformed = !is_what_it_says(properties, message.payload);
        if malformed {
            self.note_drop(key, DropReason::PayloadFormatInvalid, message.topic);
        }
        malformed
    }

    /// PUBREL: the exchange ends here.
    pub(crate) fn receive_pubrel<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        let with_codes = online.version.has_properties();
        let known = session.receiver.pubrel(packet_id);
        // As the Client counts: an exchange of an earlier connection gives room too (4.9).
        online.receiving = online.receiving.saturating_sub(u16::from(known));
        let reason = if known || !with_codes {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        let wait = if self.forget_received(key, packet_id, out) {
            Wait::for_log(self.journal.appended())
        } else if self.sessions[key].is_persistent() {
            // PUBREL comes again: its first one may be in no log yet.
            self.journal.as_it_is()
        } else {
            Wait::default()
        };
        self.acknowledge(key, PacketType::Pubcomp, (packet_id, reason), wait, out);
    }

    /// A start has found the identifier in the log, and the Client uses it for a message that it
    /// sends for the first time [MQTT-3.3.1-1] [MQTT-2.2.1-3]: what ended the exchange before,
    /// PUBREL or a refusal, has been lost with the end of the broker, and this is no repetition.
    /// False when no start has found it.
    pub(crate) fn forget_lost_pubrel<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) -> bool {
        let session = &mut self.sessions[key];
        let records = session.records.as_ref();
        let is_found = records.is_some_and(|records| records.found.contains(&packet_id));
        if is_found {
            session.receiver.refuse(packet_id);
            self.forget_received(key, packet_id, out);
        }
        is_found
    }

    fn forget_received<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) -> bool {
        let Some(records) = &mut self.sessions[key].records else { return false };
        records.found.remove(&packet_id);
        match records.received.remove(&packet_id) {
            Some(record) => {
                self.journal.forget_received(record, out);
                true
            }
            None => false,
        }
    }

    /// PUBACK for a message the Server sent.
    pub(crate) fn receive_puback<O: Output>(
        &mut self,
        key: SessionKey,
        ack: &Ack<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        match self.sessions[key].sender.puback(ack.packet_id) {
            Ok(flight) => {
                if ack.reason.is_error() {
                    self.note_refusal(key, Some(&flight));
                }
                let session = &mut self.sessions[key];
                self.journal.completed(&mut session.records, ack.packet_id, out);
                self.landed(key, flight, out);
                self.pump(key, now, out);
                Ok(())
            }
            // Late, after the exchange has ended otherwise: nothing is lost by ignoring it.
            Err(SenderOffence::UnknownIdentifier) => Ok(()),
            Err(SenderOffence::WrongPacket(_)) => Err(Offence::PacketIdentifierUnknown),
        }
    }

    /// PUBREC for a message the Server sent.
    pub(crate) fn receive_pubrec<O: Output>(
        &mut self,
        key: SessionKey,
        ack: &Ack<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        let packet_id = ack.packet_id;
        let session = &mut self.sessions[key];
        let pubrel = PacketType::Pubrel;
        match session.sender.pubrec(packet_id, ack.reason.is_error()) {
            Ok(PubrecOutcome::Release(flight)) => {
                let mut wait = Wait::default();
                if session.is_persistent() && self.journal.is_on() {
                    // With PUBREL gone and no record of it, a restart would send PUBLISH again.
                    let uid = session.uid;
                    self.journal.released(&mut session.records, uid, packet_id, out);
                    wait.need = self.journal.appended();
                }
                self.landed(key, flight, out);
                self.acknowledge(key, pubrel, (packet_id, ReasonCode::Success), wait, out);
            }
            Ok(PubrecOutcome::ReleaseAgain) => {
                let released = session.records.as_ref().and_then(|all| all.sent.get(&packet_id));
                let wait = match released {
                    Some(record) => self.journal.as_told_by(*record, out),
                    None => Wait::default(),
                };
                self.acknowledge(key, pubrel, (packet_id, ReasonCode::Success), wait, out);
            }
            Ok(PubrecOutcome::Refused(flight)) => {
                self.journal.completed(&mut session.records, packet_id, out);
                self.note_refusal(key, flight.as_ref());
                if let Some(flight) = flight {
                    self.landed(key, flight, out);
                }
                self.pump(key, now, out);
            }
            Err(SenderOffence::UnknownIdentifier) if ack.reason.is_error() => {}
            Err(SenderOffence::UnknownIdentifier) => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.acknowledge(key, pubrel, (packet_id, reason), Wait::default(), out);
            }
            Err(SenderOffence::WrongPacket(_)) => return Err(Offence::PacketIdentifierUnknown),
        }
        Ok(())
    }

    /// PUBCOMP for a message the Server sent.
    pub(crate) fn receive_pubcomp<O: Output>(
        &mut self,
        key: SessionKey,
        ack: &Ack<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        let session = &mut self.sessions[key];
        match session.sender.pubcomp(ack.packet_id) {
            Ok(()) => {
                self.journal.completed(&mut session.records, ack.packet_id, out);
                self.pump(key, now, out);
                Ok(())
            }
            Err(SenderOffence::UnknownIdentifier) => Ok(()),
            Err(SenderOffence::WrongPacket(_)) => Err(Offence::PacketIdentifierUnknown),
        }
    }

    fn note_refusal(&mut self, key: SessionKey, flight: Option<&Flight>) {
        let kept = flight.and_then(|flight| flight.kept.as_ref());
        let topic = kept.map_or("", |kept| kept.message.topic());
        self.note_drop(key, DropReason::RefusedByReceiver, topic);
    }

    /// The receiver has the message.
    pub(crate) fn landed<O: Output>(&mut self, key: SessionKey, flight: Flight, out: &mut O) {
        let session = &mut self.sessions[key];
        if let Some(online) = &mut session.online {
            online.inflight_bytes = online.inflight_bytes.saturating_sub(u64::from(flight.size));
        }
        if let Some(kept) = flight.kept {
            self.journal.complete(&kept, out);
        }
    }
}

/// A Payload Format Indicator of 1 promises UTF-8 (3.3.2.3.2 and 3.1.3.2.3).
pub(crate) fn is_what_it_says(properties: Properties<'_>, payload: &[u8]) -> bool {
    properties.byte(PropertyId::PayloadFormatIndicator) != Some(1)
        || core::str::from_utf8(payload).is_ok()
}
