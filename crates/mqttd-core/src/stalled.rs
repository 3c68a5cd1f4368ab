//! Answers that a log has refused and that have no words for it: what 3.x sends, and PUBREL and
//! PUBCOMP in every version. They wait until all logs that have refused work again: these take what
//! they have refused before anything newer, and then the answers are true. Without them a Client's
//! window would stay blocked until it connects again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mqtt_proto::PacketIdentifier;
use mqtt_proto::packet::PacketType;

use crate::acknowledge::{Answer, Held};
use crate::ids::{SessionKey, SessionUid, ShardId};
use crate::limits::STALLED_ANSWERS_MAX;
use crate::output::Output;
use crate::shard::Shard;

/// See the file's head.
#[derive(Default)]
pub(crate) struct Stalled {
    /// By number: in the order in which they were due.
    answers: BTreeMap<u64, Held>,
    /// The number of each.
    places: BTreeMap<Key, u64>,
    next: u64,
}

/// One exchange has one of each.
type Key = (SessionUid, u8, PacketIdentifier);

impl Held {
    fn key(&self) -> Key {
        let (packet_type, packet_id) = self.answer.names();
        (self.session.uid, packet_type as u8, packet_id)
    }
}

impl Stalled {
    /// Lets an answer wait. Gives it back when too many do.
    pub(crate) fn push(&mut self, held: Held) -> Option<Held> {
        let key = held.key();
        let known = self.places.get(&key).and_then(|place| self.answers.get_mut(place));
        if let Some(known) = known {
            match &held.answer {
                // The same exchange, on another connection.
                Answer::Ack { packet_type, .. } if *packet_type != PacketType::Puback => {
                    known.epoch = held.epoch;
                }
                // A new attempt: the answer to the first is nobody's any more.
                _ => *known = held,
            }
            return None;
        }
        if self.answers.len() >= STALLED_ANSWERS_MAX {
            return Some(held);
        }
        self.places.insert(key, self.next);
        self.answers.insert(self.next, held);
        self.next = self.next.wrapping_add(1);
        None
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The Client asks again for a PUBREC that waits: it goes to this connection. False when none
    /// does.
    pub(crate) fn asks_again(
        &mut self,
        uid: SessionUid,
        packet_id: PacketIdentifier,
        epoch: u64,
    ) -> bool {
        let place = self.places.get(&(uid, PacketType::Pubrec as u8, packet_id));
        let Some(held) = place.and_then(|place| self.answers.get_mut(place)) else { return false };
        held.epoch = epoch;
        true
    }

    /// Takes out the PUBREC for this identifier.
    pub(crate) fn take_pubrec(
        &mut self,
        uid: SessionUid,
        packet_id: PacketIdentifier,
    ) -> Option<Held> {
        let place = self.places.remove(&(uid, PacketType::Pubrec as u8, packet_id))?;
        self.answers.remove(&place)
    }

    /// The log works again: takes out what waits for none any more, in order.
    fn recovered(&mut self, log: ShardId, complete: bool) -> Vec<Held> {
        self.answers.values_mut().for_each(|held| held.recovered(log, complete));
        let over = self.answers.iter().filter(|(_, held)| !held.refusal.may_pass());
        let over: Vec<_> = over.map(|(place, _)| *place).collect();
        let take = |place| {
            let held = self.answers.remove(&place)?;
            self.places.remove(&held.key());
            Some(held)
        };
        over.into_iter().filter_map(take).collect()
    }
}

impl Shard {
    /// The log works again and has taken what it had refused: all of it, or (`complete` is false)
    /// all but some messages.
    pub(crate) fn forgive<O: Output>(&mut self, log: ShardId, complete: bool, out: &mut O) {
        self.held.each(|held| held.recovered(log, complete));
        for mut held in self.held.stalled.recovered(log, complete) {
            if held.refusal.is_none() && held.is_to_be_recorded() {
                self.hold_again(held);
            } else {
                self.give_answer(&mut held, out);
            }
        }
    }

    /// Whether an answer that was refused, but may pass yet, waits until it is true.
    pub(crate) fn can_wait<O: Output>(&self, held: &Held, out: &O) -> bool {
        let Some(session) = self.sessions.find(held.session.key) else { return false };
        let online = session.online.as_ref().filter(|online| online.epoch == held.epoch);
        let version = online.map(|online| online.version);
        let has_no_word = version.is_some_and(|version| !version.has_properties());
        match &held.answer {
            Answer::Ack { packet_type: PacketType::Puback, .. } => has_no_word,
            Answer::Ack { packet_type: PacketType::Pubrec, packet_id, .. } => {
                let is_told = version.is_some() && !has_no_word;
                !is_told || self.is_known_to_log(held.session.key, *packet_id, out)
            }
            Answer::Ack { .. } => version.is_some(),
            Answer::Unsuback { .. } => has_no_word,
            Answer::Suback { .. } => version.is_some_and(|version| !version.suback_can_refuse()),
        }
    }

    /// The log may still say that this QoS 2 message was taken. To refuse it now would let its
    /// Client use the identifier for another one, which a start would take for a repetition.
    pub(crate) fn is_known_to_log<O: Output>(
        &self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        out: &O,
    ) -> bool {
        let records = self.sessions[key].records.as_ref();
        let record = records.and_then(|records| records.received.get(&packet_id));
        record.is_some_and(|record| out.is_in_log(*record))
    }
}

#[cfg(test)]
mod tests {
    use mqtt_proto::ReasonCode;

    use super::*;
    use crate::acknowledge::Wait;
    use crate::confirm::Refusal;
    use crate::envelope::SessionAddress;

    fn pubrec(uid: u64, epoch: u64, logs: &[ShardId]) -> Held {
        let packet_id = PacketIdentifier::new(1).unwrap();
        let (packet_type, reason) = (PacketType::Pubrec, ReasonCode::Success);
        let mut refusal = Refusal::default();
        logs.iter().for_each(|log| refusal.add(Refusal::by(*log)));
        Held {
            wait: Wait::default(),
            refusal,
            received: None,
            is_recorded: false,
            session: SessionAddress { key: SessionKey(0), uid: SessionUid(uid) },
            epoch,
            answer: Answer::Ack { packet_type, packet_id, reason },
        }
    }

    #[test]
    fn an_exchange_waits_once_and_there_is_a_bound() {
        let (id, log) = (PacketIdentifier::new(1).unwrap(), ShardId(0));
        let mut stalled = Stalled::default();
        for epoch in 1..=3 {
            assert!(stalled.push(pubrec(0, epoch, &[log])).is_none());
        }
        assert_eq!((stalled.answers.len(), stalled.places.len()), (1, 1));
        assert!(stalled.asks_again(SessionUid(0), id, 4));
        assert!(!stalled.asks_again(SessionUid(1), id, 4));
        for uid in 1..STALLED_ANSWERS_MAX as u64 {
            assert!(stalled.push(pubrec(uid, 1, &[log])).is_none());
        }
        assert!(stalled.push(pubrec(u64::MAX, 1, &[log])).is_some());
        assert!(stalled.push(pubrec(0, 5, &[log])).is_none());
        assert_eq!(stalled.take_pubrec(SessionUid(0), id).unwrap().epoch, 5);
        assert!(stalled.push(pubrec(u64::MAX, 1, &[log])).is_none());
        assert_eq!(stalled.recovered(log, true).len(), STALLED_ANSWERS_MAX);
        assert!(stalled.answers.is_empty() && stalled.places.is_empty());
    }

    #[test]
    fn answers_come_out_in_order_once_their_last_log_has_recovered() {
        let (here, there) = (ShardId(0), ShardId(1));
        let mut stalled = Stalled::default();
        assert!(stalled.push(pubrec(3, 1, &[here, there])).is_none());
        assert!(stalled.push(pubrec(2, 1, &[there])).is_none());
        assert!(stalled.push(pubrec(1, 1, &[here])).is_none());
        let uids = |over: Vec<Held>| over.iter().map(|held| held.session.uid.0).collect::<Vec<_>>();
        assert_eq!(uids(stalled.recovered(here, true)), [1]);
        assert!(stalled.recovered(here, true).is_empty());
        assert_eq!(uids(stalled.recovered(there, true)), [3, 2]);
    }
}
