//! Answers that wait: an acknowledgement leaves only after the log, and the other shards a message
//! went to, keep what it promises.
//!
//! ```text
//!   nothing to wait for, nothing held for the connection ──▶ written at once
//!   otherwise ──▶ held, in order ──▶ Durable(lsn) / Confirm(token) ──▶ written, or refused
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

use crate::deliver::address;
use crate::envelope::{Envelope, SessionAddress, Token};
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

    /// The failure that is known from the beginning.
    fn failure(&self) -> Failure {
        if self.is_refused { Failure::Here } else { Failure::No }
    }
}

/// Whether something that an answer waited for has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    No,
    /// This shard's log has refused it.
    Here,
    /// Another shard could not keep it.
    Elsewhere,
}

#[derive(Debug)]
struct Held {
    wait: Wait,
    failure: Failure,
    /// Once other shards have confirmed, this is recorded as received with QoS 2. Not before: after
    /// a crash the repeated PUBLISH would be answered and never reach them.
    received: Option<Origin>,
    /// That has been done.
    is_recorded: bool,
    session: SessionAddress,
    epoch: u64,
    answer: Answer,
}

/// A confirmation for another shard. Never behind an answer: two shards would wait for each other.
#[derive(Debug)]
struct HeldConfirm {
    number: u64,
    wait: Wait,
    failure: Failure,
    to: ShardId,
    token: Token,
}

/// What a shard holds back: answers, oldest first, and confirmations, in no order.
#[derive(Default)]
pub(crate) struct HeldAnswers {
    queue: VecDeque<Held>,
    /// Number of the oldest.
    first: u64,
    confirms: Vec<HeldConfirm>,
    confirms_made: u64,
    pub(crate) stalled: Stalled,
}

/// Tells the tokens of confirmations from those of answers.
const CONFIRM_TOKEN: u64 = 1 << 63;

impl HeldAnswers {
    /// The token of the confirmation that is held next.
    pub(crate) fn next_confirm_token(&self) -> Token {
        Token(CONFIRM_TOKEN | self.confirms_made)
    }

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
        let (failure, is_recorded) = (wait.failure(), false);
        let held = Held { wait, failure, received, is_recorded, session, epoch, answer };
        self.held.queue.push_back(held);
    }

    /// Tells another shard that what its token stands for is kept, now or when it is.
    pub(crate) fn confirm<O: Output>(
        &mut self,
        to: ShardId,
        token: Token,
        wait: Wait,
        out: &mut O,
    ) {
        let nothing_to_wait_for = wait.confirms == 0 && wait.need <= self.journal.durable();
        if nothing_to_wait_for {
            out.to_shard(to, Envelope::Confirm { token, kept: !wait.is_refused });
            return;
        }
        let number = self.held.confirms_made;
        self.held.confirms_made.up(1);
        self.held.confirms.push(HeldConfirm { number, wait, failure: wait.failure(), to, token });
    }

    /// Another shard keeps what the token stands for, or could not.
    pub(crate) fn confirmed<O: Output>(&mut self, token: Token, kept: bool, out: &mut O) {
        let waiting = if token.0 & CONFIRM_TOKEN == 0 {
            let index = token.0.wrapping_sub(self.held.first) as usize;
            self.held.queue.get_mut(index).map(|held| (&mut held.wait, &mut held.failure))
        } else {
            let number = token.0 & !CONFIRM_TOKEN;
            let mut all = self.held.confirms.iter_mut();
            let held = all.find(|held| held.number == number);
            held.map(|held| (&mut held.wait, &mut held.failure))
        };
        if let Some((wait, failure)) = waiting {
            wait.confirms = wait.confirms.saturating_sub(1);
            if !kept {
                *failure = Failure::Elsewhere;
            }
        }
        self.release(out);
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
        let refuse = |wait: &Wait, failure: &mut Failure| {
            if wait.need > kept && wait.need <= lsn {
                *failure = Failure::Here.max(*failure);
            }
        };
        for held in &mut self.held.queue {
            refuse(&held.wait, &mut held.failure);
        }
        for held in &mut self.held.confirms {
            refuse(&held.wait, &mut held.failure);
        }
        self.journal.set_durable(lsn);
        self.release(out);
    }

    /// The log has taken what it had refused, or all but some messages: answers that still wait for
    /// something else know of no refusal any more.
    pub(crate) fn forgive_log(&mut self, complete: bool) {
        let now = if complete { Failure::No } else { Failure::Elsewhere };
        for held in &mut self.held.queue {
            if held.failure == Failure::Here {
                let of_message = match held.answer {
                    Answer::Ack { packet_type, .. } => speaks_of_message(packet_type),
                    _ => false,
                };
                held.failure = if of_message { now } else { Failure::No };
            }
        }
        for held in &mut self.held.confirms {
            if held.failure == Failure::Here {
                held.failure = now;
            }
        }
    }

    /// Sends what waits no longer.
    pub(crate) fn release<O: Output>(&mut self, out: &mut O) {
        let durable = self.journal.durable();
        self.held.confirms.retain(|held| {
            let waits = held.wait.confirms > 0 || held.wait.need > durable;
            if !waits {
                let (token, kept) = (held.token, held.failure == Failure::No);
                out.to_shard(held.to, Envelope::Confirm { token, kept });
            }
            waits
        });
        self.release_answers(out);
        self.tell_settled(out);
    }

    fn release_answers<O: Output>(&mut self, out: &mut O) {
        let durable = self.journal.durable();
        while let Some(front) = self.held.queue.front_mut() {
            if front.wait.confirms > 0 || front.wait.need > durable {
                return;
            }
            let received = front.received;
            if let (Some(origin), false, Failure::No) = (received, front.is_recorded, front.failure)
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
            if let Some(origin) = received {
                self.exchanges.is_over(origin.exchange);
            }
            // What was to be recorded and was not is not in the log's hands either.
            let failure = match held.failure {
                Failure::Here if received.is_some() && !held.is_recorded => Failure::Elsewhere,
                failure => failure,
            };
            self.release_answer(held.session, held.epoch, held.answer, failure, out);
        }
        self.held.give_back();
    }

    fn release_answer<O: Output>(
        &mut self,
        to: SessionAddress,
        epoch: u64,
        mut answer: Answer,
        failure: Failure,
        out: &mut O,
    ) {
        let mut failed = failure != Failure::No;
        let key = to.key;
        let Some(session) = self.sessions.find_mut(key) else { return };
        if session.uid != to.uid {
            return;
        }
        let mut version = None;
        if let Some(online) = session.online.as_mut().filter(|online| online.epoch == epoch) {
            online.held.down(1);
            if online.is_paused && online.held <= HELD_ANSWERS_MAX / 2 {
                online.is_paused = false;
                if !online.has_request() {
                    out.resume(online.connection);
                }
            }
            version = Some(online.version);
        }
        if let Answer::Ack {
            packet_type: PacketType::Pubrec,
            packet_id,
            reason: ReasonCode::Success,
        } = answer
        {
            // The answer to a repetition shares the fate of the first.
            failed |= !session.receiver.contains(packet_id);
        }
        if let (Answer::Ack { packet_type, packet_id, .. }, Some(version), Failure::Here) =
            (&answer, version, failure)
        {
            let waits = !speaks_of_message(*packet_type) || !version.has_properties();
            if waits && self.held.stalled.push(to, epoch, *packet_type, *packet_id) {
                return;
            }
        }
        let can_say = !failed || self.take_back(key, &mut answer, out);
        // 3.x has words for a refused SUBSCRIBE only: the Client is left without the answer.
        let has_words = |version: Version| {
            let is_suback = matches!(answer, Answer::Suback { .. });
            version.has_properties() || is_suback && version == Version::V311
        };
        if version.is_some_and(|version| can_say && (!failed || has_words(version))) {
            self.write_answer(key, &answer, out);
        }
        if let Answer::Suback { .. } = answer {
            self.pump_later.push(key);
        }
    }

    /// An answer that the log has refused first: `kept` tells what it says now.
    pub(crate) fn release_stalled<O: Output>(
        &mut self,
        to: SessionAddress,
        epoch: u64,
        mut answer: Answer,
        kept: bool,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.find(to.key) else { return };
        if session.uid != to.uid {
            return;
        }
        let is_on = session.online.as_ref().is_some_and(|online| online.epoch == epoch);
        if !kept {
            self.take_back(to.key, &mut answer, out);
        } else if is_on {
            self.write_answer(to.key, &answer, out);
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

/// PUBACK and PUBREC say that a message is kept; PUBREL and PUBCOMP speak of an exchange.
pub(crate) fn speaks_of_message(packet_type: PacketType) -> bool {
    matches!(packet_type, PacketType::Puback | PacketType::Pubrec)
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
