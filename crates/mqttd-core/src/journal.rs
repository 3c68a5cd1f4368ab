//! The shard's side of the log: numbers records, knows which message still waits for whom, and how
//! far the log has come. Without persistence every call does nothing.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_proto::{PacketIdentifier, QoS};

use crate::acknowledge::Wait;
use crate::exchange::publishers_shard;
use crate::grant::GrantExtra;
use crate::ids::{Lsn, RecordId, SessionUid, ShardId};
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::{Entry, MessageRecord, Origin, Record};
use crate::session::{Kept, SessionRecords, StoredKey};
use crate::stored::{Stored, StoredMessages};

/// See the file's head.
pub(crate) struct Journal {
    is_on: bool,
    next: u64,
    appended: Lsn,
    /// All records up to this one are kept, or refused.
    durable: Lsn,
    /// The log has refused something and has not taken it since.
    is_refusing: bool,
    stored: StoredMessages,
    /// The message in hand, once somebody durable wants it.
    open: Option<StoredKey>,
    /// Its entries, encoded, and how many they are.
    entries: Vec<u8>,
    entry_count: u32,
    /// One of them is a delivery at QoS 2.
    has_qos2: bool,
    scratch: Vec<u8>,
    /// Messages that wait for the end of the exchange that brought them, oldest first, by the
    /// shard of the publisher.
    origins: Vec<VecDeque<(RecordId, StoredKey)>>,
    /// What the log says of the exchanges of this shard's sessions.
    newest: Option<Newest>,
}

/// The record that names the newest exchange that is over for the other shards: all before it are.
/// While it lives no earlier one needs to.
struct Newest {
    record: RecordId,
    exchange: RecordId,
    /// PUBREL has come: the record says nothing else any more.
    is_released: bool,
}

impl Journal {
    pub(crate) fn new(shard: ShardId, is_on: bool) -> Self {
        Self {
            is_on,
            next: u64::from(shard.0) << 56 | 1,
            appended: Lsn::default(),
            durable: Lsn::default(),
            is_refusing: false,
            stored: StoredMessages::default(),
            open: None,
            entries: Vec::new(),
            entry_count: 0,
            has_qos2: false,
            scratch: Vec::new(),
            origins: Vec::new(),
            newest: None,
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A number that no record and no session of any shard has had before.
    pub(crate) fn new_id(&mut self) -> RecordId {
        let id = RecordId(self.next);
        self.next.up(1);
        id
    }

    /// A record with this number exists already.
    pub(crate) fn seen_id(&mut self, id: RecordId) {
        if id.0 >> 56 == self.next >> 56 {
            self.next = self.next.max(id.0.saturating_add(1));
        }
    }

    #[inline]
    pub(crate) fn appended(&self) -> Lsn {
        self.appended
    }

    #[inline]
    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    pub(crate) fn set_durable(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
    }

    /// Whether memory may be ahead of the log: it has refused something and has not taken it since.
    pub(crate) fn is_refusing(&self) -> bool {
        self.is_refusing
    }

    pub(crate) fn set_refusing(&mut self, is_refusing: bool) {
        self.is_refusing = is_refusing;
    }

    /// What an answer waits for that changes nothing because memory says so already: what made it
    /// so may be in nobody's log yet.
    pub(crate) fn as_it_is(&self) -> Wait {
        Wait { need: self.appended, is_refused: self.is_refusing, confirms: 0 }
    }

    /// Likewise, where the record that made it so is known.
    pub(crate) fn as_told_by(&self, record: RecordId, out: &impl Output) -> Wait {
        let is_refused = self.is_refusing && out.is_held_back(record);
        Wait { is_refused, ..self.as_it_is() }
    }

    /// Writes a record under a number of its own.
    pub(crate) fn put(&mut self, record: &Record<'_>, out: &mut impl Output) -> Option<RecordId> {
        if !self.is_on {
            return None;
        }
        let id = self.new_id();
        self.put_as(id, record, out);
        Some(id)
    }

    /// Writes or replaces the record with this number.
    pub(crate) fn put_as(&mut self, id: RecordId, record: &Record<'_>, out: &mut impl Output) {
        if !self.is_on {
            return;
        }
        self.scratch.clear();
        record.encode(&mut self.scratch);
        out.put(id, &self.scratch);
        self.appended.0.up(1);
    }

    /// The record is not needed any more.
    pub(crate) fn kill(&mut self, id: RecordId, out: &mut impl Output) {
        if self.is_on {
            out.kill(id);
            self.appended.0.up(1);
        }
    }

    /// The message in hand waits for one more session. Returns its record and which of its entries
    /// this is. [`Journal::close_message`] writes it.
    pub(crate) fn entry(
        &mut self,
        session: SessionUid,
        qos: QoS,
        retain: bool,
        extra: Option<&GrantExtra>,
    ) -> Option<(StoredKey, u32)> {
        if !self.is_on {
            return None;
        }
        let key = match self.open {
            Some(key) => key,
            None => {
                let record = self.new_id();
                let key = self.stored.insert(Stored { record, waiting: 0, done: Vec::new() });
                self.open = Some(key);
                key
            }
        };
        self.stored[key].waiting.up(1);
        let identifiers = extra.map_or(&[][..], |extra| extra.identifiers());
        let share = extra.and_then(|extra| extra.share.as_deref()).unwrap_or_default();
        Entry { session, qos, retain, identifiers, share }.encode(&mut self.entries);
        self.has_qos2 |= qos == QoS::ExactlyOnce;
        let entry = self.entry_count;
        self.entry_count.up(1);
        Some((key, entry))
    }

    /// Writes the message in hand with everyone it waits for, if anyone. With an `origin` it waits
    /// for the end of that exchange too, unless all deliveries are of QoS 1 and may be repeated.
    #[inline]
    pub(crate) fn close_message(
        &mut self,
        message: &Passing<'_>,
        origin: Option<Origin>,
        out: &mut impl Output,
    ) {
        let Some(key) = self.open.take() else { return };
        if self.stored[key].waiting == 0 {
            // Everyone has refused it already: nothing of it is in the log.
            self.stored.remove(key);
        } else {
            let entries = core::mem::take(&mut self.entries);
            let record = self.stored[key].record;
            let message = passing_record(message);
            let origin = origin.filter(|_| self.has_qos2);
            if let Some(origin) = &origin {
                self.wait_for_exchange(key, origin);
            }
            self.put_as(record, &Record::Message { message, origin, entries: &entries }, out);
            self.entries = entries;
        }
        self.entries.clear();
        self.entry_count = 0;
        self.has_qos2 = false;
    }

    /// The message waits for the end of its exchange as it does for its receivers.
    fn wait_for_exchange(&mut self, key: StoredKey, origin: &Origin) {
        let of = usize::from(publishers_shard(origin.exchange).0);
        if self.origins.len() <= of {
            self.origins.resize_with(of.saturating_add(1), VecDeque::new);
        }
        let Some(queue) = self.origins.get_mut(of) else { return };
        self.stored[key].waiting.up(1);
        // All but a message that another shard has passed on come in order.
        let after = queue.iter().rev().take_while(|(other, _)| *other > origin.exchange).count();
        queue.insert(queue.len().saturating_sub(after), (origin.exchange, key));
    }

    /// The exchanges of a shard's sessions up to this one are over.
    pub(crate) fn settle(&mut self, up_to: RecordId, out: &mut impl Output) {
        let of = usize::from(publishers_shard(up_to).0);
        while let Some(queue) = self.origins.get_mut(of) {
            if queue.front().is_none_or(|(exchange, _)| *exchange > up_to) {
                return;
            }
            let Some((_, key)) = queue.pop_front() else { return };
            // No record says so: after a restart the publisher's shard does.
            self.stored[key].waiting.down(1);
            if self.stored[key].waiting == 0 {
                self.remove(key, out);
            }
        }
    }

    fn remove(&mut self, key: StoredKey, out: &mut impl Output) {
        let Some(stored) = self.stored.remove(key) else { return };
        self.kill(stored.record, out);
        stored.done.into_iter().for_each(|done| self.kill(done, out));
    }

    /// One of the sessions the message waits for has it, or will never have it.
    pub(crate) fn complete(&mut self, kept: &Kept, out: &mut impl Output) {
        let Some(key) = kept.stored else { return };
        let stored = &mut self.stored[key];
        stored.waiting.down(1);
        let (message, waiting) = (stored.record, stored.waiting);
        if waiting > 0 {
            let entry = kept.how.entry();
            if let Some(done) = self.put(&Record::Done { message, entry }, out) {
                self.stored[key].done.push(done);
            }
        } else if self.open == Some(key) {
            // `close_message` finds nobody waiting and writes nothing.
            let done = core::mem::take(&mut self.stored[key].done);
            done.into_iter().for_each(|done| self.kill(done, out));
        } else {
            self.remove(key, out);
        }
    }

    /// A QoS 2 message from the Client has been taken. `exchange` names it when other records do;
    /// all exchanges before it are over then.
    pub(crate) fn received(
        &mut self,
        session: SessionUid,
        packet_id: PacketIdentifier,
        exchange: Option<RecordId>,
        out: &mut impl Output,
    ) -> Option<RecordId> {
        // One that had to wait for a log comes behind younger ones, which speak for it.
        let speaks_for_it = |newest: &Newest| exchange.is_some_and(|it| it < newest.exchange);
        let exchange = exchange.filter(|_| !self.newest.as_ref().is_some_and(speaks_for_it));
        let record = Record::Received { session, packet_id: packet_id.get(), exchange };
        let record = self.put(&record, out)?;
        if let Some(exchange) = exchange {
            self.set_newest(Newest { record, exchange, is_released: false }, out);
        }
        Some(record)
    }

    /// PUBREL has come for a message that was taken, or its session is over.
    pub(crate) fn forget_received(&mut self, record: RecordId, out: &mut impl Output) {
        match &mut self.newest {
            Some(newest) if newest.record == record => {
                newest.is_released = true;
                let exchange = newest.exchange;
                self.put_as(record, &Record::Settled { exchange }, out);
            }
            _ => self.kill(record, out),
        }
    }

    fn set_newest(&mut self, newest: Newest, out: &mut impl Output) {
        if let Some(old) = self.newest.replace(newest) {
            if old.is_released {
                self.kill(old.record, out);
            }
        }
    }

    /// Records found in the log that name exchanges: Received and, with `true`, Settled.
    pub(crate) fn restore_newest(
        &mut self,
        (record, exchange, is_released): (RecordId, RecordId, bool),
        out: &mut impl Output,
    ) {
        let found = Newest { record, exchange, is_released };
        match &self.newest {
            Some(newest) if newest.exchange > exchange => {
                if is_released {
                    self.kill(record, out);
                }
            }
            _ => self.set_newest(found, out),
        }
    }

    /// Origins of an earlier life up to this one need nothing more of the other shards.
    pub(crate) fn settle_restored(&mut self, exchange: RecordId, out: &mut impl Output) {
        if let Some(record) = self.put(&Record::Settled { exchange }, out) {
            self.set_newest(Newest { record, exchange, is_released: true }, out);
        }
    }

    /// A QoS 2 message goes out under this identifier.
    pub(crate) fn sent(
        &mut self,
        records: &mut Option<Box<SessionRecords>>,
        session: SessionUid,
        packet_id: PacketIdentifier,
        (message, entry): (StoredKey, u32),
        out: &mut impl Output,
    ) {
        let message = self.stored[message].record;
        let record = Record::Sent { session, packet_id: packet_id.get(), message, entry };
        if let Some(id) = self.put(&record, out) {
            records.get_or_insert_default().sent.insert(packet_id, id);
        }
    }

    /// PUBREC has come.
    pub(crate) fn released(
        &mut self,
        records: &mut Option<Box<SessionRecords>>,
        session: SessionUid,
        packet_id: PacketIdentifier,
        out: &mut impl Output,
    ) {
        if !self.is_on {
            return;
        }
        let sent = &mut records.get_or_insert_default().sent;
        let id = sent.get(&packet_id).copied().unwrap_or_else(|| self.new_id());
        sent.insert(packet_id, id);
        self.put_as(id, &Record::Released { session, packet_id: packet_id.get() }, out);
    }

    /// PUBCOMP has come, or the exchange has failed.
    pub(crate) fn completed(
        &mut self,
        records: &mut Option<Box<SessionRecords>>,
        packet_id: PacketIdentifier,
        out: &mut impl Output,
    ) {
        if let Some(id) = records.as_mut().and_then(|records| records.sent.remove(&packet_id)) {
            self.kill(id, out);
        }
    }

    /// Registers a message found in the log that waits for `waiting` sessions, and with an `origin`
    /// for its publisher's shard to keep what that means.
    pub(crate) fn restore_message(
        &mut self,
        record: RecordId,
        origin: Option<Origin>,
        waiting: u32,
        done: Vec<RecordId>,
    ) -> StoredKey {
        let key = self.stored.insert(Stored { record, waiting, done });
        if let Some(origin) = &origin {
            self.wait_for_exchange(key, origin);
        }
        key
    }
}

/// A message as its record has it.
pub(crate) fn message_record(message: &Message) -> MessageRecord<'_> {
    MessageRecord {
        topic: message.topic(),
        properties: message.properties(),
        payload: message.payload(),
        qos: message.qos,
        retain: message.retain,
        expires_at: message.expires_at,
        publisher: message.publisher,
    }
}

fn passing_record<'m>(message: &'m Passing<'_>) -> MessageRecord<'m> {
    MessageRecord {
        topic: message.topic,
        properties: message.properties,
        payload: message.payload,
        qos: message.qos,
        retain: message.retain,
        expires_at: message.expires_at,
        publisher: message.publisher,
    }
}
