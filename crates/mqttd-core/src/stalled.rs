//! Answers that the log has refused and that have no words for it: what 3.x sends, and PUBREL and
//! PUBCOMP in every version. They wait until the log works again: it takes what it has refused
//! before anything newer, and then they are true. Without them a Client's window would stay blocked
//! until it connects again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mqtt_proto::packet::PacketType;
use mqtt_proto::{PacketIdentifier, ReasonCode};

use crate::acknowledge::{Answer, speaks_of_message};
use crate::envelope::SessionAddress;
use crate::ids::SessionUid;
use crate::limits::STALLED_ANSWERS_MAX;
use crate::output::Output;
use crate::shard::Shard;

/// See the file's head.
#[derive(Default)]
pub(crate) struct Stalled {
    /// In the order in which they were due.
    order: Vec<(SessionAddress, Key)>,
    /// The connection each is for, by its epoch.
    epochs: BTreeMap<Key, u64>,
}

/// One exchange has one of each.
type Key = (SessionUid, u8, PacketIdentifier);

impl Stalled {
    /// Lets an answer wait. False when too many do.
    pub(crate) fn push(
        &mut self,
        to: SessionAddress,
        epoch: u64,
        packet_type: PacketType,
        packet_id: PacketIdentifier,
    ) -> bool {
        let key = (to.uid, packet_type as u8, packet_id);
        if let Some(known) = self.epochs.get_mut(&key) {
            *known = epoch;
            return true;
        }
        if self.order.len() >= STALLED_ANSWERS_MAX {
            return false;
        }
        self.order.push((to, key));
        self.epochs.insert(key, epoch);
        true
    }

    /// Whether the PUBREC for this identifier waits.
    pub(crate) fn holds_pubrec(&self, uid: SessionUid, packet_id: PacketIdentifier) -> bool {
        !self.epochs.is_empty()
            && self.epochs.contains_key(&(uid, PacketType::Pubrec as u8, packet_id))
    }
}

impl Shard {
    /// The log works again and has taken what it had refused: all of it, or (`complete` is false)
    /// all but some messages.
    pub(crate) fn recovered<O: Output>(&mut self, complete: bool, out: &mut O) {
        self.journal.set_refusing(false);
        self.forgive_log(complete);
        let stalled = core::mem::take(&mut self.held.stalled);
        for (to, key) in stalled.order {
            let (_, packet_type, packet_id) = key;
            let Some(packet_type) = PacketType::from_first_byte(packet_type << 4) else { continue };
            let epoch = stalled.epochs.get(&key).copied().unwrap_or_default();
            let kept = complete || !speaks_of_message(packet_type);
            let answer = Answer::Ack { packet_type, packet_id, reason: ReasonCode::Success };
            self.release_stalled(to, epoch, answer, kept, out);
        }
        self.release(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionKey;

    #[test]
    fn an_exchange_waits_once_and_there_is_a_bound() {
        let mut stalled = Stalled::default();
        let id = PacketIdentifier::new(1).unwrap();
        let to = |uid| SessionAddress { key: SessionKey(0), uid: SessionUid(uid) };
        for epoch in 1..=3 {
            assert!(stalled.push(to(0), epoch, PacketType::Pubrec, id));
        }
        assert_eq!((stalled.order.len(), stalled.epochs.len()), (1, 1));
        assert!(stalled.holds_pubrec(SessionUid(0), id));
        assert!(!stalled.holds_pubrec(SessionUid(1), id));
        for uid in 1..STALLED_ANSWERS_MAX as u64 {
            assert!(stalled.push(to(uid), 1, PacketType::Pubrel, id));
        }
        assert!(!stalled.push(to(u64::MAX), 1, PacketType::Pubrel, id));
        assert!(stalled.push(to(0), 4, PacketType::Pubrec, id));
    }
}
