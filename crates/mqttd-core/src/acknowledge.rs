//! Answers that wait: an acknowledgement leaves only after the log, and the other shards a message
//! went to, keep what it promises.
//!
//! ```text
//!   nothing to wait for, nothing held for the connection ──▶ written at once
//!   otherwise ──▶ held, in order ──▶ Durable(lsn) / Confirm(token) ──▶ written, or refused
//!                                              no words for that ──▶ `stalled.rs`
//! ```
//! One queue for the whole shard keeps the order [MQTT-4.6.0-2]; what stands behind an answer that
//! waits is of the same few milliseconds.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_proto::packet::{Ack, PacketType, Suback, Unsuback};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{PacketIdentifier, Properties, ReasonCode, Version};

use crate::confirm::{Confirms, Refusal};
use crate::deliver::address;
use crate::envelope::{SessionAddress, Token};
use crate::ids::{Lsn, SessionKey, ShardId};
use crate::limits::{HELD_ANSWERS_KEPT, HELD_ANSWERS_MAX};
use crate::message::write_property;
use crate::notice::{Notice, SentPacket};
use crate::output::Output;
use crate::record::Origin;
use crate::session::Online;
use crate::shard::Shard;
use crate::stalled::Stalled;

/// What is to be sent once the wait is over.
#[derive(Debug)]
pub(crate) enum Answer {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack { packet_type: PacketType, packet_id: PacketIdentifier, reason: ReasonCode },
    /// SUBACK with its reason codes, and the filters that are new with it.
    Suback { packet_id: PacketIdentifier, codes: Box<[u8]>, new: Vec<Box<str>> },
    /// UNSUBACK with its reason codes.
    Unsuback { packet_id: PacketIdentifier, codes: Box<[u8]> },
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    pub(crate) need: Lsn,
    pub(crate) confirms: u16,
    /// What it speaks of is among what the log has refused already.
    pub(crate) is_refused: bool,
}

impl Wait {
    /// For the log only.
    pub(crate) fn for_log(need: Lsn) -> Self {
        Self { need, ..Self::default() }
    }

    /// Nothing stands between the answer and the wire.
    #[inline]
    pub(crate) fn is_over(&self, durable: Lsn) -> bool {
        self.confirms == 0 && self.need <= durable && !self.is_refused
    }

    /// The refusal that is known from the beginning, by the log of this shard.
    pub(crate) fn refusal(&self, here: ShardId) -> Refusal {
        if self.is_refused { Refusal::by(here) } else { Refusal::default() }
    }
}

/// An answer that waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) wait: Wait,
    pub(crate) refusal: Refusal,
    /// Once other shards have confirmed, this is recorded as received with QoS 2. Not before: after
    /// a crash the repeated PUBLISH would be answered and never reach them.
    pub(crate) received: Option<Origin>,
    /// That has been done.
    pub(crate) is_recorded: bool,
    pub(crate) session: SessionAddress,
    /// Of the connection it goes to.
    pub(crate) epoch: u64,
    pub(crate) answer: Answer,
}

impl Held {
    /// See [`Held::received`].
    pub(crate) fn is_to_be_recorded(&self) -> bool {
        self.received.is_some() && !self.is_recorded
    }

    /// A log works again and has taken what it had refused, all but some messages if `complete` is
    /// false.
    pub(crate) fn recovered(&mut self, log: ShardId, complete: bool) {
        let (packet_type, _) = self.answer.names();
        let is_of_message = matches!(packet_type, PacketType::Puback | PacketType::Pubrec);
        self.refusal.recovered(log, complete || !is_of_message);
    }
}

/// What a shard holds back: answers, oldest first, and confirmations.
#[derive(Default)]
pub(crate) struct HeldAnswers {
    queue: VecDeque<Held>,
    /// Number of the oldest.
    first: u64,
    pub(crate) confirms: Confirms,
    pub(crate) stalled: Stalled,
}

impl HeldAnswers {
    /// The token of the answer that is held next.
    pub(crate) fn next_token(&self) -> Token {
        Token(self.first.wrapping_add(self.queue.len() as u64))
    }

    /// Nothing waits: what a burst has taken is not kept.
    fn give_back(&mut self) {
        if self.queue.capacity() > HELD_ANSWERS_KEPT {
            self.queue.shrink_to(HELD_ANSWERS_KEPT);
        }
    }

    /// Whether the answer with this token still waits.
    pub(crate) fn holds(&self, token: Token) -> bool {
        token.0 >= self.first && token.0 < self.next_token().0
    }

    /// What the answer with this token waits for.
    pub(crate) fn find(&mut self, token: Token) -> Option<(&mut Wait, &mut Refusal)> {
        let index = token.0.wrapping_sub(self.first) as usize;
        let held = self.queue.get_mut(index)?;
        Some((&mut held.wait, &mut held.refusal))
    }

    /// Changes each answer that waits for its turn.
    pub(crate) fn each(&mut self, change: impl FnMut(&mut Held)) {
        self.queue.iter_mut().for_each(change);
    }
}

impl Answer {
    /// Its packet type and identifier.
    pub(crate) fn names(&self) -> (PacketType, PacketIdentifier) {
        match self {
            Self::Ack { packet_type, packet_id, .. } => (*packet_type, *packet_id),
            Self::Suback { packet_id, .. } => (PacketType::Suback, *packet_id),
            Self::Unsuback { packet_id, .. } => (PacketType::Unsuback, *packet_id),
        }
    }

    /// Whose PUBREC it is, when it is one that says yes.
    fn good_pubrec(&self) -> Option<PacketIdentifier> {
        let Self::Ack { packet_type: PacketType::Pubrec, packet_id, reason } = self else {
            return None;
        };
        (!reason.is_error()).then_some(*packet_id)
    }
}

impl Shard {
    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP, now or when the wait is over.
    ///
    /// Its parts come one by one: an [`Answer`] made by the caller and copied here would wait for
    /// every write to memory before it, and those of a message that is queued are slow.
    #[inline]
    pub(crate) fn acknowledge<O: Output>(
        &mut self,
        key: SessionKey,
        packet_type: PacketType,
        (packet_id, reason): (PacketIdentifier, ReasonCode),
        wait: Wait,
        out: &mut O,
    ) {
        let ready = wait.is_over(self.journal.durable());
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        if !ready || online.held > 0 {
            let answer = Answer::Ack { packet_type, packet_id, reason };
            self.hold(key, answer, wait, None, out);
            if wait.is_refused {
                self.release(out);
            }
        } else if reason == ReasonCode::Success && !self.settings.debug {
            if packet_type == PacketType::Puback {
                online.receiving = online.receiving.saturating_sub(1);
            }
            let wire = out.wire(online.connection).bytes_mut();
            #[allow(clippy::expect_used, reason = "four bytes always fit")]
            Ack::success(packet_id)
                .encode(packet_type, online.version, wire)
                .expect("an acknowledgement of four bytes fits");
            self.stats.packets_sent.up(1);
        } else {
            self.write_answer(key, &Answer::Ack { packet_type, packet_id, reason }, out);
        }
    }

    /// Sends any answer, now or when the wait is over.
    pub(crate) fn answer<O: Output>(
        &mut self,
        key: SessionKey,
        answer: Answer,
        wait: Wait,
        out: &mut O,
    ) {
        let ready = wait.is_over(self.journal.durable());
        let Some(online) = &self.sessions[key].online else { return };
        if ready && online.held == 0 {
            self.write_answer(key, &answer, out);
        } else {
            self.hold(key, answer, wait, None, out);
            if wait.is_refused {
                self.release(out);
            }
        }
    }

    /// Sends the answer behind all that are held now, after `received` has been recorded.
    #[inline]
    pub(crate) fn hold<O: Output>(
        &mut self,
        key: SessionKey,
        answer: Answer,
        wait: Wait,
        received: Option<Origin>,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        online.held.up(1);
        if online.held >= HELD_ANSWERS_MAX && !online.is_paused {
            online.is_paused = true;
            if !online.has_request() {
                out.pause(online.connection);
            }
        }
        let epoch = online.epoch;
        let session = address(key, session);
        let (refusal, is_recorded) = (wait.refusal(self.id), false);
        let held = Held { wait, refusal, received, is_recorded, session, epoch, answer };
        self.held.queue.push_back(held);
    }

    /// An answer that was refused for a while waits again for its turn.
    pub(crate) fn hold_again(&mut self, held: Held) {
        if let Some(session) = self.sessions.find_mut(held.session.key) {
            let online = session.online.as_mut().filter(|online| online.epoch == held.epoch);
            if let Some(online) = online.filter(|_| session.uid == held.session.uid) {
                online.held.up(1);
            }
        }
        self.held.queue.push_back(held);
    }

    /// The log keeps everything up to `lsn`.
    pub(crate) fn durable<O: Output>(&mut self, lsn: Lsn, out: &mut O) {
        self.journal.set_durable(lsn);
        self.release(out);
    }

    /// The log has refused everything up to `lsn` that it did not keep before.
    pub(crate) fn not_durable<O: Output>(&mut self, lsn: Lsn, out: &mut O) {
        let kept = self.journal.durable();
        self.exchanges.refused(kept, lsn);
        self.journal.set_refusing(true);
        let here = Refusal::by(self.id);
        let refuse = |wait: &Wait, refusal: &mut Refusal| {
            if wait.need > kept && wait.need <= lsn {
                refusal.add(here);
            }
        };
        self.held.each(|held| refuse(&held.wait, &mut held.refusal));
        self.held.confirms.each(refuse);
        self.journal.set_durable(lsn);
        self.release(out);
    }

    /// Sends what waits no longer.
    pub(crate) fn release<O: Output>(&mut self, out: &mut O) {
        self.release_confirms(out);
        self.release_answers(out);
        self.tell_settled(out);
    }

    fn release_answers<O: Output>(&mut self, out: &mut O) {
        let durable = self.journal.durable();
        while let Some(front) = self.held.queue.front_mut() {
            if front.wait.confirms > 0 || front.wait.need > durable {
                return;
            }
            if let (Some(origin), true) =
                (front.received, front.is_to_be_recorded() && front.refusal.is_none())
            {
                front.is_recorded = true;
                let to = front.session;
                let need = self.record_received(to, origin.packet_id, Some(origin.exchange), out);
                if let Some(front) = self.held.queue.front_mut() {
                    front.wait.need = need;
                }
                continue;
            }
            let Some(held) = self.held.queue.pop_front() else { return };
            self.held.first.up(1);
            self.release_answer(held, out);
        }
        self.held.give_back();
    }

    /// The answer has waited for its turn.
    fn release_answer<O: Output>(&mut self, mut held: Held, out: &mut O) {
        let Held { session: to, epoch, .. } = held;
        let session = self.sessions.find_mut(to.key).filter(|session| session.uid == to.uid);
        let online = session.and_then(|session| session.online.as_mut());
        if let Some(online) = online.filter(|online| online.epoch == epoch) {
            online.held.down(1);
            if online.is_paused && online.held <= HELD_ANSWERS_MAX / 2 {
                online.is_paused = false;
                if !online.has_request() {
                    out.resume(online.connection);
                }
            }
        }
        // The answer to a repetition shares the fate of the first.
        if !self.held.stalled.is_empty() {
            let repeated = held.answer.good_pubrec();
            if repeated.is_some_and(|id| self.held.stalled.asks_again(to.uid, id, epoch)) {
                return;
            }
        }
        // Hardly ever; the others are spared the copies.
        if held.refusal.may_pass() && self.can_wait(&held, out) {
            if let Some(mut held) = self.held.stalled.push(held) {
                self.give_answer(&mut held, out);
            }
            return;
        }
        self.give_answer(&mut held, out);
    }

    /// Nothing is waited for any more: what the answer says is true, or it says no.
    #[inline]
    pub(crate) fn give_answer<O: Output>(&mut self, held: &mut Held, out: &mut O) {
        let Held { refusal, received, session: to, epoch, ref mut answer, .. } = *held;
        if let Some(origin) = received {
            self.exchanges.is_over(origin.exchange);
        }
        let key = to.key;
        let Some(session) = self.sessions.find(key).filter(|session| session.uid == to.uid) else {
            return;
        };
        let online = session.online.as_ref().filter(|online| online.epoch == epoch);
        let version = online.map(|online| online.version);
        // The answer to a repetition shares the fate of the first.
        let is_void = answer.good_pubrec().is_some_and(|id| !session.receiver.contains(id));
        let failed = is_void || !refusal.is_none();
        let can_say = !failed || self.take_back(key, answer, out);
        // 3.x has words for a refused SUBSCRIBE only: the Client is left without the answer.
        let has_words = |version: Version| {
            let is_suback = matches!(answer, Answer::Suback { .. });
            version.has_properties() || is_suback && version == Version::V311
        };
        if version.is_some_and(|version| can_say && (!failed || has_words(version))) {
            self.write_answer(key, answer, out);
        }
        if let Answer::Suback { .. } = answer {
            self.pump_later.push(key);
        }
    }

    /// The log has refused what the answer speaks of: it says so, and what it would have confirmed
    /// is taken back as far as nobody has relied on it. False when the packet has no word for it.
    fn take_back<O: Output>(&mut self, key: SessionKey, answer: &mut Answer, out: &mut O) -> bool {
        match answer {
            Answer::Ack { packet_type, packet_id, reason } => {
                match packet_type {
                    PacketType::Pubrec => self.refuse_received(key, *packet_id, out),
                    PacketType::Puback => {}
                    // To go on would let an identifier be used again that the log still knows.
                    _ => return false,
                }
                *reason = ReasonCode::QuotaExceeded;
            }
            Answer::Suback { codes, new, .. } => {
                let granted = codes.iter_mut().filter(|code| **code < 0x80);
                granted.for_each(|code| *code = ReasonCode::QuotaExceeded.value());
                // Unless a later packet of the Client, held too, may speak of the same filters.
                let session = &self.sessions[key];
                if session.online.as_ref().is_none_or(|online| online.held == 0) {
                    for filter in core::mem::take(new) {
                        self.unsubscribe(key, &filter, out);
                    }
                }
            }
            Answer::Unsuback { codes, .. } => codes.fill(ReasonCode::UnspecifiedError.value()),
        }
        true
    }

    #[allow(clippy::expect_used, reason = "no answer is longer than its question and a short text")]
    fn write_answer<O: Output>(&mut self, key: SessionKey, answer: &Answer, out: &mut O) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        let wire = out.wire(online.connection).bytes_mut();
        let version = online.version;
        let packet = match answer {
            Answer::Ack { packet_type, packet_id, reason } => {
                if *packet_type == PacketType::Puback {
                    online.receiving = online.receiving.saturating_sub(1);
                }
                let reason_string = if reason.is_error() && version.has_properties() {
                    // Header 2, identifier 2, reason 1, property length 1.
                    reason_string_of(*reason, 6, online)
                } else {
                    Vec::new()
                };
                let properties = Properties::from_checked(&reason_string);
                let ack = Ack { packet_id: *packet_id, reason: *reason, properties };
                ack.encode(*packet_type, version, wire)
                    .expect("an acknowledgement with a short reason string fits");
                SentPacket::Ack {
                    packet_type: *packet_type,
                    packet_id: packet_id.get(),
                    reason: *reason,
                }
            }
            Answer::Suback { packet_id, codes, .. } => {
                let reason_string = problem_of(codes, online);
                let properties = Properties::from_checked(&reason_string);
                Suback { packet_id: *packet_id, properties, reason_codes: codes }
                    .encode(version, wire)
                    .expect("a SUBACK has fewer bytes than its SUBSCRIBE and a short text");
                SentPacket::Other(PacketType::Suback)
            }
            Answer::Unsuback { packet_id, codes } => {
                let reason_string = problem_of(codes, online);
                let properties = Properties::from_checked(&reason_string);
                Unsuback { packet_id: *packet_id, properties, reason_codes: codes }
                    .encode(version, wire)
                    .expect("an UNSUBACK has fewer bytes than its UNSUBSCRIBE and a short text");
                SentPacket::Other(PacketType::Unsuback)
            }
        };
        self.stats.packets_sent.up(1);
        if self.settings.debug {
            out.notice(Notice::Sending { client_id: &session.client_id, packet });
        }
    }
}

/// The Reason String of SUBACK or UNSUBACK: that of the first filter that failed.
fn problem_of(codes: &[u8], online: &Online) -> Vec<u8> {
    let code = codes.iter().copied().find(|code| *code >= 0x80);
    match code.and_then(ReasonCode::from_u8) {
        // Header up to 5, identifier 2, property length 1.
        Some(reason) if online.version.has_properties() => {
            reason_string_of(reason, codes.len().saturating_add(8), online)
        }
        _ => Vec::new(),
    }
}

/// A Reason String property (3.4.2.2.2), if the Client wants one and has room for it beside the
/// `rest` of the packet [MQTT-3.4.2-2].
fn reason_string_of(reason: ReasonCode, rest: usize, online: &Online) -> Vec<u8> {
    let mut properties = Vec::new();
    let text = reason.text();
    // The property has 3 bytes more than its text.
    let room = online.packet_bytes_max as usize;
    let len = rest.saturating_add(3).saturating_add(text.len());
    if online.wants_problem_information && len <= room {
        write_property(&mut properties, PropertyId::ReasonString, Value::Text(text));
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_burst_is_given_back_and_that_of_a_load_is_not() {
        assert!(size_of::<Held>() <= 136, "{} bytes", size_of::<Held>());
        let mut held = HeldAnswers::default();
        for (taken, kept) in [(HELD_ANSWERS_KEPT, HELD_ANSWERS_KEPT), (50_000, HELD_ANSWERS_KEPT)] {
            held.queue.reserve_exact(taken);
            assert_eq!(held.queue.capacity(), taken);
            held.give_back();
            assert_eq!(held.queue.capacity(), kept);
        }
    }
}
