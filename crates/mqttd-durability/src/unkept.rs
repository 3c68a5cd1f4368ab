//! Changes that the log has refused, kept until it takes them: without them the log and the shard
//! would tell different stories after the next start.
//!
//! One entry for each record, in the order in which the records came up; a later change of a record
//! replaces the earlier one. So there is at most one entry for each record that the shard holds in
//! memory and one for each record of the log that has died. Messages take the room, and nobody was
//! promised that they are kept: above [`UNKEPT_BYTES_MAX`] the oldest of them are given up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use mqttd_core::record::Record;
use mqttd_store::{Change, RecordId};

/// Most bytes of message records held back for a log that refuses them.
pub(crate) const UNKEPT_BYTES_MAX: usize = 64 << 20;

/// See the file's head.
#[derive(Default)]
pub(crate) struct Unkept {
    changes: BTreeMap<u64, Entry>,
    places: HashMap<RecordId, u64>,
    /// Places of messages, oldest first; those that no longer hold one are passed over.
    messages: VecDeque<u64>,
    next: u64,
    /// Bytes of the message records.
    bytes: usize,
    given_up: u64,
}

struct Entry {
    id: RecordId,
    body: Option<Vec<u8>>,
    /// A message's record.
    is_message: bool,
    /// A death that may be written before everything else.
    is_free: bool,
}

impl Unkept {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn contains(&self, id: RecordId) -> bool {
        self.places.contains_key(&id)
    }

    /// Takes the changes of one refused batch. `in_log` tells whether the log has such a record.
    pub(crate) fn add(&mut self, changes: Vec<Change>, in_log: impl Fn(RecordId) -> bool) {
        // A full disk gets its space back by deaths, so they go first where they may: where no
        // record of the same turn says what became of the dead one.
        let says_nothing = |(_, body): &Change| match body.as_deref().map(Record::decode) {
            Some(Ok(Record::Message { .. } | Record::Retained(..))) | None => true,
            Some(_) => false,
        };
        let is_free = changes.iter().all(says_nothing);
        for (id, body) in changes {
            self.add_one(id, body, is_free, &in_log);
        }
        while self.bytes > UNKEPT_BYTES_MAX {
            let Some(place) = self.messages.pop_front() else { break };
            if self.changes.get(&place).is_some_and(|entry| entry.is_message) {
                self.remove(place);
                self.given_up += 1;
            }
        }
    }

    fn add_one(
        &mut self,
        id: RecordId,
        body: Option<Vec<u8>>,
        is_free: bool,
        in_log: &impl Fn(RecordId) -> bool,
    ) {
        let old = self.places.get(&id).copied();
        if body.is_none() && !in_log(id) {
            // Never written: nothing is left of it.
            old.into_iter().for_each(|place| self.remove(place));
            return;
        }
        let place = old.unwrap_or(self.next);
        self.next += u64::from(old.is_none());
        if old.is_some() {
            self.remove(place);
        }
        let is_message = body
            .as_deref()
            .is_some_and(|body| matches!(Record::decode(body), Ok(Record::Message { .. })));
        if is_message {
            self.bytes += body.as_ref().map_or(0, Vec::len);
            self.messages.push_back(place);
        }
        let is_free = is_free && body.is_none();
        self.changes.insert(place, Entry { id, body, is_message, is_free });
        self.places.insert(id, place);
    }

    /// Deaths that may be written before everything else.
    pub(crate) fn free_deaths(&self) -> Vec<RecordId> {
        self.changes.values().filter(|entry| entry.is_free).map(|entry| entry.id).collect()
    }

    /// These are in the log now.
    pub(crate) fn kept(&mut self, ids: &[RecordId]) {
        for id in ids {
            if let Some(place) = self.places.get(id).copied() {
                self.remove(place);
            }
        }
    }

    /// Takes everything out, in order.
    pub(crate) fn take(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut self.changes);
        *self = Self { given_up: self.given_up, ..Self::default() };
        changes.into_values().map(|entry| (entry.id, entry.body)).collect()
    }

    /// Messages given up since the last call.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    fn remove(&mut self, place: u64) {
        let Some(entry) = self.changes.remove(&place) else { return };
        self.places.remove(&entry.id);
        if entry.is_message {
            self.bytes -= entry.body.map_or(0, |body| body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::QoS;
    use mqttd_core::ids::SessionUid;
    use mqttd_core::record::MessageRecord;
    use mqttd_core::time::Instant;

    fn message(payload: &[u8]) -> Option<Vec<u8>> {
        let message = MessageRecord {
            topic: "t",
            properties: &[],
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: Instant::NEVER,
            publisher: None,
        };
        let mut body = Vec::new();
        Record::Message { message, origin: None, entries: &[] }.encode(&mut body);
        Some(body)
    }

    fn released() -> Option<Vec<u8>> {
        let mut body = Vec::new();
        Record::Released { session: SessionUid(1), packet_id: 1 }.encode(&mut body);
        Some(body)
    }

    fn ids(changes: &[Change]) -> Vec<u64> {
        changes.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn the_last_change_of_a_record_counts_and_keeps_its_place() {
        let mut unkept = Unkept::default();
        let in_log = |id: RecordId| id.0 < 10;
        unkept.add(vec![(RecordId(11), message(b"a")), (RecordId(12), released())], in_log);
        unkept.add(vec![(RecordId(11), message(b"b")), (RecordId(1), None)], in_log);
        // Born and dead without the log, and dead without the log's having known of it.
        unkept.add(vec![(RecordId(13), message(b"c"))], in_log);
        unkept.add(vec![(RecordId(13), None), (RecordId(14), None)], in_log);
        assert_eq!(unkept.bytes, message(b"b").unwrap().len());
        let all = unkept.take();
        assert_eq!(ids(&all), [11, 12, 1]);
        assert_eq!((&all[0].1, &all[2].1), (&message(b"b"), &None));
        assert!(unkept.is_empty() && unkept.bytes == 0);
    }

    #[test]
    fn deaths_go_ahead_unless_their_turn_says_more() {
        let mut unkept = Unkept::default();
        unkept.add(vec![(RecordId(1), None), (RecordId(20), message(b"x"))], |_| true);
        unkept.add(vec![(RecordId(2), None), (RecordId(21), released())], |_| true);
        assert_eq!(unkept.free_deaths(), [RecordId(1)]);
        unkept.kept(&[RecordId(1)]);
        assert_eq!(ids(&unkept.take()), [20, 2, 21]);
    }

    #[test]
    fn above_the_bound_the_oldest_messages_go_and_nothing_else() {
        let mut unkept = Unkept::default();
        let payload = vec![0; UNKEPT_BYTES_MAX / 4];
        unkept.add(vec![(RecordId(1), released())], |_| false);
        for id in 2..=4 {
            unkept.add(vec![(RecordId(id), message(&payload))], |_| false);
        }
        assert_eq!(unkept.take_given_up(), 0);
        unkept.add(vec![(RecordId(5), message(&payload))], |_| false);
        assert_eq!(unkept.take_given_up(), 1);
        assert_eq!(ids(&unkept.take()), [1, 3, 4, 5]);
    }
}
