//! Answers that wait: an acknowledgement leaves only after the log, and the other shards a message
//! went to, keep what it promises.
//!
//! ```text
//!   nothing to wait for, nothing held for the connection ──▶ written at once
//!   otherwise ──▶ held, in order ──▶ Durable(lsn) / Confirm(token) ──▶ written, or refused
//! ```
//! One queue for the whole shard keeps the order [MQTT-4.6.0-2]; what stands behind an answer that waits
//! is of the same few milliseconds.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use mqtt_proto::packet::{Ack, PacketType};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{PacketIdentifier, Properties, ReasonCode};

use crate::deliver::Routed;
use crate::envelope::{Envelope, Token};
use crate::ids::{Lsn, SessionKey, ShardId};
use crate::message::write_property;
use crate::notice::{Notice, SentPacket};
use crate::output::Output;
use crate::shard::Shard;

/// What is to be sent once the wait is over.
#[derive(Debug)]
pub(crate) enum Answer {
    /// PUBACK, PUBREC or PUBCOMP.
    Ack { packet_type: PacketType, packet_id: PacketIdentifier, reason: ReasonCode },
    /// SUBACK or UNSUBACK, encoded.
    Encoded(PacketType, Box<[u8]>),
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    pub(crate) need: Lsn,
    pub(crate) confirms: u16,
}

impl From<&Routed> for Wait {
    fn from(routed: &Routed) -> Self {
        Self { need: routed.need, confirms: routed.confirms }
    }
}

#[derive(Debug)]
struct Held {
    wait: Wait,
    failed: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer { session: SessionKey, epoch: u64, answer: Answer },
    Confirm { to: ShardId, token: Token },
}

/// The shard's held answers, oldest first.
#[derive(Default)]
pub(crate) struct HeldAnswers {
    queue: VecDeque<Held>,
    /// Number of the oldest.
    first: u64,
}

impl HeldAnswers {
    /// The token of the answer that is held next.
    pub(crate) fn next_token(&self) -> Token {
        Token(self.first + self.queue.len() as u64)
    }
}

impl Shard {
    /// Sends the answer, now or when the wait is over.
    #[inline]
    pub(crate) fn acknowledge<O: Output>(
        &mut self,
        key: SessionKey,
        answer: Answer,
        wait: Wait,
        out: &mut O,
    ) {
        let ready = wait.confirms == 0 && wait.need <= self.journal.durable();
        let Some(online) = &mut self.sessions[key.0 as usize].online else { return };
        if ready && online.held == 0 {
            self.write_answer(key, &answer, out);
            return;
        }
        online.held += 1;
        if let Answer::Ack { packet_type: PacketType::Puback, .. } = answer {
            online.held_publishes += 1;
        }
        let what = What::Answer { session: key, epoch: online.epoch, answer };
        self.held.queue.push_back(Held { wait, failed: false, what });
    }

    /// Tells another shard that what its token stands for is kept, now or when it is.
    pub(crate) fn confirm<O: Output>(&mut self, to: ShardId, token: Token, need: Lsn, out: &mut O) {
        if need <= self.journal.durable() {
            out.to_shard(to, Envelope::Confirm(token));
            return;
        }
        let wait = Wait { need, confirms: 0 };
        let what = What::Confirm { to, token };
        self.held.queue.push_back(Held { wait, failed: false, what });
    }

    /// Another shard keeps what the token stands for.
    pub(crate) fn confirmed<O: Output>(&mut self, token: Token, out: &mut O) {
        let index = token.0.wrapping_sub(self.held.first) as usize;
        if let Some(held) = self.held.queue.get_mut(index) {
            held.wait.confirms = held.wait.confirms.saturating_sub(1);
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
        for held in &mut self.held.queue {
            if held.wait.need > kept && held.wait.need <= lsn {
                held.failed = true;
            }
        }
        self.journal.set_durable(lsn);
        self.release(out);
    }

    fn release<O: Output>(&mut self, out: &mut O) {
        while let Some(front) = self.held.queue.front() {
            if front.wait.confirms > 0 || front.wait.need > self.journal.durable() {
                return;
            }
            let Some(held) = self.held.queue.pop_front() else { return };
            self.held.first += 1;
            match held.what {
                // A refused record is the publisher's to hear, wherever the message went: its own
                // shard tells it, and without this answer it never would.
                What::Confirm { to, token } => out.to_shard(to, Envelope::Confirm(token)),
                What::Answer { session, epoch, answer } => {
                    self.release_answer(session, epoch, answer, held.failed, out);
                }
            }
        }
    }

    fn release_answer<O: Output>(
        &mut self,
        key: SessionKey,
        epoch: u64,
        mut answer: Answer,
        failed: bool,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.get_mut(key.0 as usize) else { return };
        let Some(online) = session.online.as_mut().filter(|online| online.epoch == epoch) else {
            return;
        };
        online.held -= 1;
        let version = online.version;
        if let Answer::Ack { packet_type, reason, packet_id } = &mut answer {
            if *packet_type == PacketType::Puback {
                online.held_publishes -= 1;
            }
            if failed && *packet_type != PacketType::Pubcomp {
                *reason = ReasonCode::QuotaExceeded;
                if *packet_type == PacketType::Pubrec {
                    session.receiver.refuse(*packet_id);
                }
            }
        }
        // 3.x has no word for it: the Client is left without the answer and will ask again.
        if !failed || version.has_properties() {
            self.write_answer(key, &answer, out);
        }
    }

    #[inline]
    fn write_answer<O: Output>(&mut self, key: SessionKey, answer: &Answer, out: &mut O) {
        let session = &self.sessions[key.0 as usize];
        let Some(online) = &session.online else { return };
        let wire = out.wire(online.connection).bytes_mut();
        let packet = match answer {
            Answer::Ack { packet_type, packet_id, reason } => {
                let reason_string = reason.is_error() && online.wants_problem_information;
                let properties = if reason_string { reason_string_of(*reason) } else { Vec::new() };
                let properties = Properties::from_checked(&properties);
                let ack = Ack { packet_id: *packet_id, reason: *reason, properties };
                ack.encode(*packet_type, online.version, wire)
                    .expect("an acknowledgement with a short reason string fits");
                SentPacket::Ack {
                    packet_type: *packet_type,
                    packet_id: packet_id.get(),
                    reason: *reason,
                }
            }
            Answer::Encoded(packet_type, bytes) => {
                wire.extend_from_slice(bytes);
                SentPacket::Other(*packet_type)
            }
        };
        self.stats.packets_sent += 1;
        if self.settings.debug {
            out.notice(Notice::Sending { client_id: &session.client_id, packet });
        }
    }
}

/// A Reason String property (3.4.2.2.2). Clients with a Maximum Packet Size below these few bytes
/// could take no PUBLISH either.
fn reason_string_of(reason: ReasonCode) -> Vec<u8> {
    let mut properties = Vec::new();
    write_property(&mut properties, PropertyId::ReasonString, Value::Text(reason.text()));
    properties
}
