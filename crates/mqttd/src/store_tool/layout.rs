//! Which record belongs to which shard: by the hashes the broker uses. With another number of
//! shards everything is numbered anew, in the old order, and a message that waits for sessions of
//! several shards becomes a record in each of them.

use std::collections::{HashMap, HashSet};

use mqtt_proto::PacketIdentifier;
use mqttd_core::Shard;
use mqttd_core::begun::{Cut, content_of, merge_cuts};
use mqttd_core::ids::{RecordId, SessionUid, ShardId};
use mqttd_core::record::{MessageRecord, Origin, Reached, Record};
use mqttd_core::restore::owner_hash;

use super::files::Kept;

/// Records by shard, and what belongs to nothing.
pub(super) struct Layout {
    pub(super) shards: Vec<Vec<Kept>>,
    /// Described for the user.
    pub(super) left_out: Vec<String>,
}

impl Layout {
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }
}

/// Lays records out for `shards` shards. `before`: they come from a store of as many, with its
/// numbers. Unreadable ones are left out.
pub(super) fn lay_out(mut records: Vec<Kept>, before: Option<u8>, shards: u8) -> Layout {
    // Numbers rise with time in each shard; between shards the order does not matter.
    records.sort_by_key(|(id, _)| (id.0 & (u64::MAX >> 8), id.0 >> 56));
    let sessions = sessions_of(&records, shards);
    let mut out = Layout { shards: vec![Vec::new(); usize::from(shards)], left_out: Vec::new() };
    if before == Some(shards) && !spans_shards(&records, &sessions) {
        place(records, &sessions, shards, &mut out);
    } else {
        Renumbering::new(&records, sessions, shards).run(&records, &mut out);
    }
    out
}

type Sessions = HashMap<SessionUid, ShardId>;

fn sessions_of(records: &[Kept], shards: u8) -> Sessions {
    let session = |(id, body): &Kept| match Record::decode(body) {
        Ok(Record::Session(session)) => {
            Some((SessionUid(id.0), Shard::of_client(session.client_id, shards)))
        }
        _ => None,
    };
    records.iter().filter_map(session).collect()
}

fn owner(topic: &str, shards: u8) -> ShardId {
    ShardId((owner_hash(topic) % u64::from(shards)) as u8)
}

fn spans_shards(records: &[Kept], sessions: &Sessions) -> bool {
    records.iter().any(|(_, body)| match Record::decode(body) {
        Ok(Record::Message { entries, .. }) => {
            let shards = Record::entries(entries).filter_map(|entry| sessions.get(&entry.session));
            shards.collect::<HashSet<_>>().len() > 1
        }
        _ => false,
    })
}

/// Every record under its own number.
fn place(records: Vec<Kept>, sessions: &Sessions, shards: u8, out: &mut Layout) {
    let mut messages = HashMap::new();
    for (id, body) in records {
        let of = |session: SessionUid| sessions.get(&session).copied();
        let shard = match Record::decode(&body) {
            Err(_) => None,
            Ok(Record::Session(_)) => of(SessionUid(id.0)),
            Ok(
                Record::Subscription { session, .. }
                | Record::Sent { session, .. }
                | Record::Released { session, .. }
                | Record::Received { session, .. }
                | Record::Begun { session, .. }
                | Record::Will { session, .. },
            ) => of(session),
            Ok(Record::Message { entries, .. }) => {
                let shard = Record::entries(entries).find_map(|entry| of(entry.session));
                shard.inspect(|shard| {
                    messages.insert(id, *shard);
                })
            }
            Ok(Record::Done { message, .. }) => messages.get(&message).copied(),
            Ok(Record::Retained(message, _)) => Some(owner(message.topic, shards)),
            Ok(Record::Settled { exchange }) => {
                Some(ShardId((exchange.0 >> 56) as u8)).filter(|shard| shard.0 < shards)
            }
        };
        match shard {
            Some(shard) => out.shards[usize::from(shard.0)].push((id, body)),
            None => out.left_out.push(describe(id, &body)),
        }
    }
}

/// QoS 2 messages that are to come again, from all records of a store: what a start would find.
fn cuts(records: &[Kept], sessions: &Sessions) -> impl Iterator<Item = Cut> {
    let all = || records.iter().filter_map(|(_, body)| Record::decode(body).ok());
    let mut newest = HashMap::new();
    let mut received = HashSet::new();
    for record in all() {
        if let Record::Received { session, packet_id, .. } = record {
            received.insert((session, packet_id));
        }
        if let Record::Received { exchange: Some(exchange), .. } | Record::Settled { exchange } =
            record
        {
            let newest = newest.entry(exchange.0 >> 56).or_insert(exchange);
            *newest = exchange.max(*newest);
        }
    }
    let is_open = |publisher: SessionUid, origin: &Origin| {
        newest.get(&(origin.exchange.0 >> 56)).is_none_or(|newest| origin.exchange > *newest)
            && sessions.contains_key(&publisher)
            && !received.contains(&(publisher, origin.packet_id.get()))
    };
    let cuts = all().filter_map(|record| match record {
        Record::Message { message, origin: Some(origin), entries } => {
            let publisher = message.publisher.filter(|uid| is_open(*uid, &origin))?;
            let mut reached = Reached::default();
            Record::entries(entries).for_each(|entry| reached.add(&entry));
            Some(Cut { publisher, origin, content: content_of(&message), reached })
        }
        Record::Begun { session, packet_id, content, reached } => Some(Cut {
            publisher: session,
            // Older than any that has a number.
            origin: Origin { exchange: RecordId(0), packet_id: PacketIdentifier::new(packet_id)? },
            content,
            reached: Reached::decode(reached)?,
        }),
        _ => None,
    });
    merge_cuts(cuts.collect::<Vec<_>>())
}

struct Renumbering {
    shards: u8,
    sessions: Sessions,
    /// Next number of each shard.
    next: Vec<u64>,
    /// New numbers of sessions, and of publishers that are no longer there.
    uids: HashMap<SessionUid, SessionUid>,
    /// Where an entry of a message has gone.
    entries: HashMap<(RecordId, u32), (RecordId, u32)>,
    done: HashSet<(RecordId, u32)>,
}

impl Renumbering {
    fn new(records: &[Kept], sessions: Sessions, shards: u8) -> Self {
        let done = records.iter().filter_map(|(_, body)| match Record::decode(body) {
            Ok(Record::Done { message, entry }) => Some((message, entry)),
            _ => None,
        });
        let mut new = Self {
            shards,
            done: done.collect(),
            sessions,
            next: (0..u64::from(shards)).map(|shard| shard << 56 | 1).collect(),
            uids: HashMap::new(),
            entries: HashMap::new(),
        };
        for (id, _) in records {
            let uid = SessionUid(id.0);
            if let Some(shard) = new.sessions.get(&uid).copied() {
                let named = SessionUid(new.number(shard).0);
                new.uids.insert(uid, named);
            }
        }
        new
    }

    fn run(mut self, records: &[Kept], out: &mut Layout) {
        let cuts: Vec<_> = cuts(records, &self.sessions).collect();
        for cut in cuts {
            self.begun(&cut, out);
        }
        for (id, body) in records {
            let left_out = match Record::decode(body) {
                // The entry or the origins it speaks of are gone.
                Ok(Record::Done { .. } | Record::Settled { .. }) => false,
                // Written anew above, if its session is there.
                Ok(Record::Begun { session, .. }) => self.session(session).is_none(),
                Ok(Record::Message { message, entries, .. }) => {
                    !self.message(*id, &message, entries, out)
                }
                Ok(record) => !self.other(*id, record, out),
                Err(_) => true,
            };
            if left_out {
                out.left_out.push(describe(*id, body));
            }
        }
    }

    fn number(&mut self, shard: ShardId) -> RecordId {
        let next = &mut self.next[usize::from(shard.0)];
        *next += 1;
        RecordId(*next - 1)
    }

    /// A session's shard and new number.
    fn session(&self, uid: SessionUid) -> Option<(ShardId, SessionUid)> {
        Some((*self.sessions.get(&uid)?, *self.uids.get(&uid)?))
    }

    /// The message with its publisher's new number, which may be taken from `shard`.
    fn message_for<'m>(
        &mut self,
        message: &MessageRecord<'m>,
        shard: ShardId,
    ) -> MessageRecord<'m> {
        let publisher = message.publisher.map(|uid| match self.uids.get(&uid) {
            Some(known) => *known,
            None => {
                let new = SessionUid(self.number(shard).0);
                self.uids.insert(uid, new);
                new
            }
        });
        MessageRecord { publisher, ..*message }
    }

    /// A message that its publisher is to send again, with whom it had reached.
    fn begun(&mut self, cut: &Cut, out: &mut Layout) {
        let Some((shard, session)) = self.session(cut.publisher) else { return };
        let sessions = cut.reached.sessions.iter().filter_map(|uid| self.uids.get(uid).copied());
        let mut reached = Vec::new();
        Reached { sessions: sessions.collect(), shares: cut.reached.shares.clone() }
            .encode(&mut reached);
        let packet_id = cut.origin.packet_id.get();
        let content = cut.content;
        let record = Record::Begun { session, packet_id, content, reached: &reached };
        push(out, shard, self.number(shard), &record);
    }

    /// False when it waits for nobody.
    fn message(
        &mut self,
        id: RecordId,
        message: &MessageRecord<'_>,
        entries: &[u8],
        out: &mut Layout,
    ) -> bool {
        let mut parts: Vec<(ShardId, RecordId, Vec<u8>, u32)> = Vec::new();
        let mut was_done = false;
        for (number, mut entry) in (0..).zip(Record::entries(entries)) {
            if self.done.contains(&(id, number)) {
                was_done = true;
                continue;
            }
            let Some((shard, session)) = self.session(entry.session) else { continue };
            entry.session = session;
            let part = match parts.iter_mut().find(|(of, ..)| *of == shard) {
                Some(part) => part,
                None => {
                    // A publisher's number must not be above that of its message.
                    self.message_for(message, shard);
                    let record = self.number(shard);
                    parts.push((shard, record, Vec::new(), 0));
                    parts.last_mut().expect("pushed in the line above")
                }
            };
            entry.encode(&mut part.2);
            self.entries.insert((id, number), (part.1, part.3));
            part.3 += 1;
        }
        let is_wanted = !parts.is_empty();
        for (shard, record, entries, _) in parts {
            let message = self.message_for(message, shard);
            let origin = None;
            push(out, shard, record, &Record::Message { message, origin, entries: &entries });
        }
        is_wanted || was_done
    }

    /// False when it belongs to nothing.
    fn other(&mut self, id: RecordId, record: Record<'_>, out: &mut Layout) -> bool {
        let found = match record {
            Record::Session(_) => self.session(SessionUid(id.0)).map(|(shard, uid)| {
                push(out, shard, RecordId(uid.0), &record);
            }),
            Record::Subscription { session, filter, options, identifier, replays } => {
                self.session(session).map(|(shard, session)| {
                    let record =
                        Record::Subscription { session, filter, options, identifier, replays };
                    push(out, shard, self.number(shard), &record);
                })
            }
            Record::Sent { session, packet_id, message, entry } => {
                let place = self.entries.get(&(message, entry)).copied();
                let found = self.session(session).zip(place);
                found.map(|((shard, session), (message, entry))| {
                    let record = Record::Sent { session, packet_id, message, entry };
                    push(out, shard, self.number(shard), &record);
                })
            }
            Record::Released { session, packet_id } => {
                self.session(session).map(|(shard, session)| {
                    let record = Record::Released { session, packet_id };
                    push(out, shard, self.number(shard), &record);
                })
            }
            Record::Received { session, packet_id, .. } => {
                self.session(session).map(|(shard, session)| {
                    let record = Record::Received { session, packet_id, exchange: None };
                    push(out, shard, self.number(shard), &record);
                })
            }
            Record::Will { session, due, message } => {
                self.session(session).map(|(shard, session)| {
                    let message = self.message_for(&message, shard);
                    let record = Record::Will { session, due, message };
                    push(out, shard, self.number(shard), &record);
                })
            }
            Record::Retained(message, source) => {
                let shard = owner(message.topic, self.shards);
                let message = self.message_for(&message, shard);
                push(out, shard, self.number(shard), &Record::Retained(message, source));
                Some(())
            }
            Record::Message { .. }
            | Record::Done { .. }
            | Record::Settled { .. }
            | Record::Begun { .. } => Some(()),
        };
        found.is_some()
    }
}

fn push(out: &mut Layout, shard: ShardId, id: RecordId, record: &Record<'_>) {
    let mut body = Vec::new();
    record.encode(&mut body);
    out.shards[usize::from(shard.0)].push((id, body));
}

fn describe(id: RecordId, body: &[u8]) -> String {
    let what = match Record::decode(body) {
        Ok(Record::Session(_)) => "a session",
        Ok(Record::Subscription { .. }) => "a subscription of no session",
        Ok(Record::Message { .. }) => "a message that waits for no session",
        Ok(Record::Done { .. }) => "a delivery of no message",
        Ok(Record::Sent { .. }) => "an exchange of no session or message",
        Ok(Record::Released { .. } | Record::Received { .. }) => "an exchange of no session",
        Ok(Record::Begun { .. }) => "a message begun by no session",
        Ok(Record::Settled { .. }) => "an end of exchanges",
        Ok(Record::Retained(..)) => "a retained message",
        Ok(Record::Will { .. }) => "a will of no session",
        Err(_) => "a record that this version can't read",
    };
    format!("{what} (record {}:{})", id.0 >> 56, id.0 & (u64::MAX >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::QoS;
    use mqtt_proto::packet::SubscriptionOptions;
    use mqttd_core::record::{Entry, SessionRecord};
    use mqttd_core::time::Instant;

    fn encode(record: &Record<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        record.encode(&mut body);
        body
    }

    fn message<'m>(topic: &'m str, publisher: Option<SessionUid>) -> MessageRecord<'m> {
        MessageRecord {
            topic,
            properties: &[],
            payload: b"x",
            qos: QoS::ExactlyOnce,
            retain: false,
            expires_at: Instant::NEVER,
            publisher,
        }
    }

    /// A store of one shard: 20 sessions, one message for all of them, half of it delivered.
    fn store() -> Vec<Kept> {
        let mut records = Vec::new();
        let mut entries = Vec::new();
        for number in 1..=20 {
            let session = SessionUid(number);
            let record = Record::Session(SessionRecord {
                client_id: &format!("client {number}"),
                username: None,
                listener: 0,
                expiry_seconds: 60,
                offline_since: Instant(1),
            });
            records.push((RecordId(number), encode(&record)));
            let options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
            let filter = &format!("filter {number}");
            let (identifier, replays) = (0, false);
            let record = Record::Subscription { session, filter, options, identifier, replays };
            records.push((RecordId(100 + number), encode(&record)));
            Entry { session, qos: QoS::ExactlyOnce, retain: false, identifiers: &[], share: "" }
                .encode(&mut entries);
        }
        let message = message("t", Some(SessionUid(50)));
        records.push((
            RecordId(200),
            encode(&Record::Message { message, origin: None, entries: &entries }),
        ));
        for entry in 0..10 {
            let record = Record::Done { message: RecordId(200), entry };
            records.push((RecordId(300 + u64::from(entry)), encode(&record)));
        }
        for entry in 10..20 {
            let session = SessionUid(u64::from(entry) + 1);
            let message = RecordId(200);
            let record = Record::Sent { session, packet_id: 100 + entry as u16, message, entry };
            records.push((RecordId(400 + u64::from(entry)), encode(&record)));
        }
        records.push((RecordId(500), encode(&Record::Retained(message, None))));
        records
    }

    #[test]
    fn as_many_shards_as_before_change_nothing() {
        let mut laid = lay_out(store(), Some(1), 1);
        let mut records = store();
        records.sort_by_key(|(id, _)| *id);
        assert_eq!(laid.shards.pop().unwrap(), records);
        assert!(laid.left_out.is_empty());
    }

    #[test]
    fn every_record_reaches_its_shard_and_still_means_the_same() {
        let laid = lay_out(store(), Some(1), 3);
        assert!(laid.left_out.is_empty());
        let mut seen = (0, 0, 0, 0, HashSet::new());
        for (shard, records) in (0..).map(ShardId).zip(&laid.shards) {
            let of: HashMap<_, _> = records.iter().map(|(id, body)| (*id, body)).collect();
            assert_eq!(of.len(), records.len(), "numbers are unique");
            let client = |uid: SessionUid| match Record::decode(of[&RecordId(uid.0)]) {
                Ok(Record::Session(session)) => session.client_id.to_owned(),
                other => panic!("{other:?}"),
            };
            for (id, body) in records {
                assert_eq!(id.0 >> 56, u64::from(shard.0));
                match Record::decode(body).unwrap() {
                    Record::Session(session) => {
                        seen.0 += 1;
                        assert_eq!(Shard::of_client(session.client_id, 3), shard);
                    }
                    Record::Subscription { session, filter, .. } => {
                        seen.1 += 1;
                        assert_eq!(filter.replace("filter", "client"), client(session));
                    }
                    Record::Message { entries, message, .. } => {
                        seen.4.insert(message.publisher.unwrap());
                        let publisher = message.publisher.unwrap().0;
                        assert!(publisher >> 56 != id.0 >> 56 || publisher < id.0);
                        for entry in Record::entries(entries) {
                            seen.2 += 1;
                            client(entry.session);
                        }
                    }
                    Record::Sent { session, packet_id, message, entry } => {
                        seen.3 += 1;
                        assert_eq!(client(session), format!("client {}", packet_id - 99));
                        let Ok(Record::Message { entries, .. }) = Record::decode(of[&message])
                        else {
                            panic!("Sent of no message")
                        };
                        let entry = Record::entries(entries).nth(entry as usize).unwrap();
                        assert_eq!(entry.session, session);
                    }
                    Record::Retained(message, _) => {
                        assert_eq!(owner(message.topic, 3), shard);
                        seen.4.insert(message.publisher.unwrap());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((seen.0, seen.1, seen.2, seen.3, seen.4.len()), (20, 20, 10, 10, 1));
        // And back: as many shards as at first, and the same again.
        let back = lay_out(laid.shards.into_iter().flatten().collect(), Some(3), 1);
        assert_eq!(back.shards[0].len(), 20 + 20 + 3 + 10 + 1);
    }

    /// A QoS 2 message had reached one of two shards when the broker went down, and an older one is
    /// over: only of the first a start has to know.
    #[test]
    fn a_message_that_is_to_come_again_is_known_in_every_layout() {
        let client = |number: u64, shard: u64| {
            let names = (0..).map(|n| format!("client {number} {n}"));
            let mut names = names.filter(|name| u64::from(Shard::of_client(name, 2).0) == shard);
            let session = SessionRecord {
                client_id: &names.next().unwrap(),
                username: None,
                listener: 0,
                expiry_seconds: 60,
                offline_since: Instant(1),
            };
            (RecordId(shard << 56 | number), encode(&Record::Session(session)))
        };
        let publisher = SessionUid(1);
        let receiver = SessionUid(1 << 56 | 1);
        let mut entries = Vec::new();
        let (qos, retain, identifiers) = (QoS::ExactlyOnce, false, &[][..]);
        for share in ["", "$share/g/t"] {
            Entry { session: receiver, qos, retain, identifiers, share }.encode(&mut entries);
        }
        let queued = |number: u64, exchange: u64| {
            let packet_id = PacketIdentifier::new(7).unwrap();
            let origin = Some(Origin { exchange: RecordId(exchange), packet_id });
            let message = message("t", Some(publisher));
            let record = Record::Message { message, origin, entries: &entries };
            (RecordId(1 << 56 | number), encode(&record))
        };
        let records = vec![
            client(1, 0),
            client(1, 1),
            (RecordId(9), encode(&Record::Settled { exchange: RecordId(8) })),
            queued(20, 8),
            queued(21, 10),
        ];
        let same = lay_out(records.clone(), Some(2), 2);
        assert_eq!((same.shards[0].len(), same.shards[1].len(), same.left_out.len()), (2, 3, 0));
        let laid = lay_out(records, Some(2), 1);
        assert!(laid.left_out.is_empty(), "{:?}", laid.left_out);
        let begun = |laid: &Layout| {
            let all = laid.shards.iter().flatten().filter_map(|(_, body)| {
                match Record::decode(body).unwrap() {
                    Record::Begun { session, packet_id, content, reached } => {
                        assert_eq!(content, content_of(&message("t", None)));
                        Some((session, packet_id, Reached::decode(reached).unwrap()))
                    }
                    Record::Message { origin, .. } => {
                        assert_eq!(origin, None);
                        None
                    }
                    _ => None,
                }
            });
            all.collect::<Vec<_>>()
        };
        let once = begun(&laid);
        let [(session, 7, reached)] = &once[..] else { panic!("{once:?}") };
        assert!(reached.sessions.len() == 1 && !reached.sessions.contains(session));
        assert!(reached.shares.contains("$share/g/t"));
        let again = lay_out(laid.shards.into_iter().flatten().collect(), Some(1), 3);
        assert_eq!(begun(&again).len(), 1);
    }

    #[test]
    fn what_belongs_to_nothing_is_left_out_and_named() {
        let session = SessionUid(9);
        let records = vec![
            (RecordId(1), encode(&Record::Received { session, packet_id: 1, exchange: None })),
            (RecordId(2), vec![200]),
            (RecordId(3), encode(&Record::Retained(message("t", None), None))),
        ];
        for shards in [1, 2] {
            let laid = lay_out(records.clone(), Some(1), shards);
            assert_eq!((laid.count(), laid.left_out.len()), (1, 2));
            assert!(laid.left_out[0].contains("no session (record 0:1)"), "{:?}", laid.left_out);
        }
    }
}
