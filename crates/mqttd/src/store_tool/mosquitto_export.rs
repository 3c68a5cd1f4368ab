//! `export-mosquitto`: a store of ours → a `mosquitto.db` of version 6, which Mosquitto 2.x loads
//! at its next start. The way here is `mosquitto`.
//!
//! Mosquitto passes a QoS 2 message on when its PUBREL comes, we did when its PUBLISH came. So an
//! exchange between PUBREC and PUBREL becomes one with an empty message to a topic that nobody
//! subscribes to: the PUBREL finds it, and nothing is delivered again. What Mosquitto has no place
//! for is named: delayed wills, and QoS 2 messages that were not taken yet (they come again).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mqtt_proto::topic::{SharedFilter, TopicFilter, TopicName};
use mqtt_proto::{QoS, codec};
use mqttd_core::ids::{RecordId, SessionUid, ShardId};
use mqttd_core::record::{Entry, MessageRecord, Record, SessionRecord, SourceRecord};
use mqttd_core::time::Instant;

use super::files::{self, Kept};
use super::mosquitto::{self, Ports};
use super::mosquitto_db::{self, Chunk, Client, ClientMessage, StoredMessage};
use super::{Counts, Verdict};

/// The topic of an exchange whose message has been delivered. Wildcards do not match it.
const DELIVERED: &str = "$mqttd/delivered";

/// Writes the store in `dir` to `file`. A file that is there is kept under another name.
pub(super) fn export(dir: &Path, file: &Path, ports: &Ports) -> anyhow::Result<Verdict> {
    let (folder, shards) = files::find(dir)?;
    let mut records: Vec<Kept> = Vec::new();
    let mut verdict = Verdict::Good;
    for shard in (0..shards).map(ShardId) {
        let (report, _) = files::read(&folder, shard, |id, body| {
            records.push((id, body.to_vec()));
        })?;
        for hole in &report.holes {
            eprintln!("mqttd store: {}: {hole}", folder.of_shard(shard).display());
            verdict = Verdict::Damaged;
        }
    }
    // Numbers rise with time: queues are in this order.
    records.sort_by_key(|(id, _)| *id);
    let now = mosquitto::now();
    let found = Found::read(&records);
    let (packet_ids, out) = (PacketIds::default(), Written::default());
    let mut export = Export { found: &found, now, ports, packet_ids, out };
    export.run();
    let Written { chunks, last_id, left_out, counts } = export.out;
    let before = write_file(file, &chunks, last_id)
        .with_context(|| format!("writing {}", file.display()))?;
    for left_out in found.left_out.iter().chain(&left_out) {
        eprintln!("mqttd store: left out: {left_out}");
    }
    eprintln!("Exported {counts} to {}.", file.display());
    if let Some(before) = before {
        eprintln!("What was there is {} now.", before.display());
    }
    Ok(verdict)
}

/// Writes and syncs a new file, then puts it in its place. Returns the name of what was there.
fn write_file(file: &Path, chunks: &[u8], last_id: u64) -> anyhow::Result<Option<PathBuf>> {
    let suffixed = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let new = suffixed(".mqttd-new");
    let mut options = File::options();
    // As Mosquitto's own: passwords are not in it, but messages are.
    let made = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    let mut out = BufWriter::new(made);
    let mut head = Vec::new();
    mosquitto_db::begin(&mut head, last_id);
    out.write_all(&head)?;
    out.write_all(chunks)?;
    out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    let before = if file.try_exists()? {
        let free = (1..)
            .map(|number| match number {
                1 => suffixed(".before-mqttd"),
                _ => suffixed(&format!(".before-mqttd.{number}")),
            })
            .find(|name| !name.exists());
        let free = free.context("every name is taken")?;
        std::fs::rename(file, &free)?;
        Some(free)
    } else {
        None
    };
    std::fs::rename(&new, file)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(before)
}

/// A subscription's filter, options, identifier, and whether retained messages are owed.
type FoundSubscription<'a> = (&'a str, u8, u32, bool);

/// What a session has.
struct FoundSession<'a> {
    record: SessionRecord<'a>,
    subscriptions: Vec<FoundSubscription<'a>>,
    released: Vec<u16>,
    received: Vec<u16>,
    /// Messages by number, with the entry that is owed, in order.
    queue: Vec<(RecordId, u32, Entry<'a>)>,
}

/// The records, by what they belong to.
#[derive(Default)]
struct Found<'a> {
    sessions: BTreeMap<SessionUid, FoundSession<'a>>,
    messages: HashMap<RecordId, MessageRecord<'a>>,
    sent: HashMap<(RecordId, u32), u16>,
    retained: BTreeMap<&'a str, (MessageRecord<'a>, Option<SourceRecord<'a>>)>,
    left_out: Vec<String>,
}

impl<'a> Found<'a> {
    fn read(records: &'a [Kept]) -> Self {
        let mut found = Self::default();
        let decoded: Vec<_> = records
            .iter()
            .filter_map(|(id, body)| match Record::decode(body) {
                Ok(record) => Some((*id, record)),
                Err(error) => {
                    found.left_out.push(format!("record {:#x}: {error}", id.0));
                    None
                }
            })
            .collect();
        let mut done = HashSet::new();
        for (id, record) in &decoded {
            match *record {
                Record::Session(session) => found.session(SessionUid(id.0), session),
                Record::Done { message, entry } => {
                    done.insert((message, entry));
                }
                Record::Sent { packet_id, message, entry, .. } => {
                    found.sent.insert((message, entry), packet_id);
                }
                _ => {}
            }
        }
        for (id, record) in decoded {
            found.belongs(id, record, &done);
        }
        found
    }

    /// A Client has one session: the younger one.
    fn session(&mut self, uid: SessionUid, record: SessionRecord<'a>) {
        self.sessions.retain(|_, older| older.record.client_id != record.client_id);
        let new = FoundSession {
            record,
            subscriptions: Vec::new(),
            released: Vec::new(),
            received: Vec::new(),
            queue: Vec::new(),
        };
        self.sessions.insert(uid, new);
    }

    /// Puts a record to its session. One whose session is gone means nothing any more.
    fn belongs(&mut self, id: RecordId, record: Record<'a>, done: &HashSet<(RecordId, u32)>) {
        let owner = match record {
            Record::Subscription { session, .. }
            | Record::Released { session, .. }
            | Record::Received { session, .. }
            | Record::Begun { session, .. }
            | Record::Will { session, .. } => self.sessions.get_mut(&session),
            _ => None,
        };
        match (record, owner) {
            (Record::Subscription { filter, options, identifier, replays, .. }, Some(session)) => {
                session.subscriptions.push((filter, options.to_byte(), identifier, replays))
            }
            (Record::Released { packet_id, .. }, Some(session)) => {
                session.released.push(packet_id);
            }
            (Record::Received { packet_id, .. }, Some(session)) => {
                session.received.push(packet_id);
            }
            (Record::Begun { packet_id, .. }, Some(session)) => self.left_out.push(format!(
                "message {packet_id} of {:?}, which was not taken yet: it will come again",
                session.record.client_id
            )),
            (Record::Will { message, .. }, Some(session)) => self.left_out.push(format!(
                "the delayed will of {:?} to {:?}: Mosquitto does not keep wills",
                session.record.client_id, message.topic
            )),
            (Record::Message { message, entries, .. }, _) => {
                self.messages.insert(id, message);
                for (number, entry) in (0..).zip(Record::entries(entries)) {
                    let session = self.sessions.get_mut(&entry.session);
                    if let Some(session) = session.filter(|_| !done.contains(&(id, number))) {
                        session.queue.push((id, number, entry));
                    }
                }
            }
            (Record::Retained(message, source), _) => {
                self.retained.insert(message.topic, (message, source));
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Written {
    chunks: Vec<u8>,
    last_id: u64,
    left_out: Vec<String>,
    counts: Counts,
}

struct Export<'a> {
    found: &'a Found<'a>,
    now: Instant,
    ports: &'a Ports,
    /// Of the session that is being written.
    packet_ids: PacketIds,
    out: Written,
}

/// Packet Identifiers of what a session is sent.
#[derive(Default)]
struct PacketIds {
    last: u16,
    in_flight: HashSet<u16>,
}

impl PacketIds {
    fn beside(in_flight: impl Iterator<Item = u16>) -> Self {
        let in_flight: HashSet<_> = in_flight.collect();
        Self { last: in_flight.iter().max().copied().unwrap_or(0), in_flight }
    }

    /// One that is not in flight. A queue longer than there are numbers has some twice, as
    /// Mosquitto's own has.
    fn next(&mut self) -> u16 {
        for _ in 0..=u16::MAX {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.in_flight.contains(&self.last) {
                break;
            }
        }
        self.last.max(1)
    }
}

impl<'a> Export<'a> {
    /// Messages come before what names them: Mosquitto puts a file together as it reads.
    fn run(&mut self) {
        let found = self.found;
        let mut kept = HashMap::new();
        for (topic, (message, source)) in &found.retained {
            if let Some(id) = self.message(message, *source, true) {
                self.push(topic, &Chunk::Retained(id));
                kept.insert(*topic, id);
                self.out.counts.retained += 1;
            }
        }
        let mut stored = HashMap::new();
        for session in found.sessions.values() {
            self.session(session, &mut stored, &kept);
        }
    }

    fn push(&mut self, what: &str, chunk: &Chunk<'_>) -> bool {
        let fits = chunk.write(&mut self.out.chunks).is_ok();
        if !fits {
            self.out.left_out.push(format!("{what:?}: too long for Mosquitto's file"));
        }
        fits
    }

    /// Returns the message's id; `None` when it has expired or does not fit.
    fn message(
        &mut self,
        message: &MessageRecord<'_>,
        source: Option<SourceRecord<'_>>,
        retain: bool,
    ) -> Option<u64> {
        if message.expires_at <= self.now {
            return None;
        }
        let properties = with_length(message.properties);
        let username = source.and_then(|source| source.username).unwrap_or_default();
        let stored = StoredMessage {
            id: 0,
            expires_at: seconds(message.expires_at),
            source_id: source.map_or(&[], |source| source.client_id.as_bytes()),
            source_username: username.as_bytes(),
            topic: message.topic.as_bytes(),
            payload: message.payload,
            properties: &properties,
            qos: message.qos as u8,
            retain,
            packet_id: 0,
            port: source.map_or(0, |source| self.ports.port(source.listener)),
        };
        self.store(stored)
    }

    fn store(&mut self, mut message: StoredMessage<'_>) -> Option<u64> {
        let id = self.out.last_id + 1;
        message.id = id;
        let topic = String::from_utf8_lossy(message.topic).into_owned();
        self.push(&topic, &Chunk::Message(message)).then(|| {
            self.out.last_id = id;
            id
        })
    }

    fn session(
        &mut self,
        session: &FoundSession<'a>,
        stored: &mut HashMap<RecordId, Option<u64>>,
        retained: &HashMap<&str, u64>,
    ) {
        let SessionRecord { client_id, username, listener, expiry_seconds, offline_since } =
            session.record;
        let sent = session.queue.iter();
        let sent = sent.filter_map(|(id, number, _)| self.found.sent.get(&(*id, *number)));
        self.packet_ids = PacketIds::beside(session.released.iter().chain(sent).copied());
        // What it has is written first, as the last Packet Identifier stands in front of it.
        let before = std::mem::take(&mut self.out.chunks);
        self.exchanges(session);
        self.queue(session, stored);
        for &(filter, options, identifier, replays) in &session.subscriptions {
            if replays {
                self.owed_retained(session, (filter, options, identifier), retained);
            }
            let chunk = Chunk::Subscription {
                client_id: client_id.as_bytes(),
                filter: filter.as_bytes(),
                identifier,
                qos: options & 0b11,
                // No Local and Retain As Published, as Mosquitto keeps them.
                options: options & 0b1100,
            };
            self.out.counts.subscriptions += usize::from(self.push(filter, &chunk));
        }
        let own = std::mem::replace(&mut self.out.chunks, before);
        // Mosquitto notes when the session ends, we note since when it is alone.
        let alone_since = offline_since.0.min(self.now.0);
        let end = Instant(alone_since.saturating_add(u64::from(expiry_seconds) * 1000));
        let client = Client {
            id: client_id.as_bytes(),
            username: username.unwrap_or_default().as_bytes(),
            expires_at: if expiry_seconds == u32::MAX { 0 } else { seconds(end) },
            expiry_interval: expiry_seconds,
            last_packet_id: self.packet_ids.last,
            port: self.ports.port(listener),
        };
        if self.push(client_id, &Chunk::Client(client)) {
            self.out.chunks.extend(own);
            self.out.counts.sessions += 1;
        }
    }

    /// See the file's head. A PUBREL that is owed needs a message too: it has the topic of one of
    /// the Client's subscriptions, as Mosquitto asks the access rights for it.
    fn exchanges(&mut self, session: &FoundSession<'_>) {
        let readable = session.subscriptions.iter().find_map(|(filter, ..)| a_topic_of(filter));
        let readable = readable.unwrap_or_else(|| DELIVERED.to_owned());
        let released = session.released.iter().map(|id| (*id, readable.as_str(), false));
        let received = session.received.iter().map(|id| (*id, DELIVERED, true));
        for (packet_id, topic, is_incoming) in released.chain(received) {
            let stored = StoredMessage {
                id: 0,
                expires_at: 0,
                source_id: session.record.client_id.as_bytes(),
                source_username: session.record.username.unwrap_or_default().as_bytes(),
                topic: topic.as_bytes(),
                payload: &[],
                properties: &[],
                qos: 2,
                retain: false,
                packet_id: if is_incoming { packet_id } else { 0 },
                port: self.ports.port(session.record.listener),
            };
            let Some(message) = self.store(stored) else { continue };
            let chunk = Chunk::ClientMessage(ClientMessage {
                client_id: session.record.client_id.as_bytes(),
                message,
                packet_id,
                qos: 2,
                state: match is_incoming {
                    true => mosquitto::WAIT_FOR_PUBREL,
                    false => mosquitto::WAIT_FOR_PUBCOMP,
                },
                retain: false,
                dup: !is_incoming,
                is_incoming,
                properties: &[],
            });
            self.push(topic, &chunk);
        }
    }

    /// Messages in their order: first those that have been sent, as nothing else was sent before.
    fn queue(&mut self, session: &FoundSession<'a>, stored: &mut HashMap<RecordId, Option<u64>>) {
        let found = self.found;
        let packet_id = |id: RecordId, number: u32| found.sent.get(&(id, number)).copied();
        let (sent, queued): (Vec<_>, Vec<_>) =
            session.queue.iter().partition(|(id, number, _)| packet_id(*id, *number).is_some());
        for (id, number, entry) in sent.into_iter().chain(queued) {
            let Some(message) = found.messages.get(&id) else { continue };
            let known = match stored.get(&id) {
                Some(known) => *known,
                None => {
                    let publisher = message.publisher.and_then(|uid| found.sessions.get(&uid));
                    let source = publisher.map(|publisher| SourceRecord {
                        client_id: publisher.record.client_id,
                        username: publisher.record.username,
                        listener: publisher.record.listener,
                    });
                    let made = self.message(message, source, message.retain);
                    stored.insert(id, made);
                    made
                }
            };
            if let Some(known) = known {
                self.owe(session, &entry, known, packet_id(id, number));
            }
        }
    }

    /// `packet_id`: it has been sent with this one.
    fn owe(
        &mut self,
        session: &FoundSession<'_>,
        entry: &Entry<'_>,
        message: u64,
        packet_id: Option<u16>,
    ) {
        let was_sent = packet_id.is_some();
        let properties = with_length(entry.identifiers);
        let chunk = Chunk::ClientMessage(ClientMessage {
            client_id: session.record.client_id.as_bytes(),
            message,
            // Mosquitto numbers a message when it comes into the queue.
            packet_id: packet_id.unwrap_or_else(|| self.packet_ids.next()),
            qos: entry.qos as u8,
            state: if was_sent { mosquitto::WAIT_FOR_PUBREC } else { mosquitto::QUEUED },
            retain: entry.retain,
            dup: was_sent,
            is_incoming: false,
            properties: &properties,
        });
        let fits = self.push(session.record.client_id, &chunk);
        self.out.counts.messages += usize::from(fits);
    }

    /// Retained messages that a new subscription was to bring, and has not all of them yet.
    fn owed_retained(
        &mut self,
        session: &FoundSession<'_>,
        (filter, options, identifier): (&str, u8, u32),
        retained: &HashMap<&str, u64>,
    ) {
        let Ok(plain) = TopicFilter::new(filter) else { return };
        let identifiers = mosquitto::encoded_identifier(identifier);
        for (topic, (message, _)) in &self.found.retained {
            let granted = QoS::from_u8(options & 0b11).unwrap_or(QoS::AtMostOnce);
            let qos = message.qos.min(granted);
            let matches = TopicName::new(topic).is_ok_and(|name| plain.matches(name));
            let Some(&id) = retained.get(topic).filter(|_| matches && qos > QoS::AtMostOnce) else {
                continue;
            };
            let (session_uid, retain) = (SessionUid(0), true);
            let entry =
                Entry { session: session_uid, qos, retain, identifiers: &identifiers, share: "" };
            self.owe(session, &entry, id, None);
        }
    }
}

/// Properties as Mosquitto keeps them: with their length in front, and nothing for none.
fn with_length(properties: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if !properties.is_empty() {
        codec::varint::write(&mut out, properties.len() as u32);
        out.extend_from_slice(properties);
    }
    out
}

/// Seconds since 1970, 0 for never; the whole second in which it ends still counts.
fn seconds(moment: Instant) -> i64 {
    if moment == Instant::NEVER {
        return 0;
    }
    i64::try_from(moment.0.div_ceil(1000)).unwrap_or(0)
}

/// A Topic Name that the filter matches.
fn a_topic_of(filter: &str) -> Option<String> {
    let plain = match SharedFilter::parse(filter) {
        Ok(Some((_, plain))) => plain,
        _ => TopicFilter::new(filter).ok()?,
    };
    let levels: Vec<_> =
        plain.levels().map(|level| if matches!(level, "+" | "#") { "x" } else { level }).collect();
    Some(levels.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_a_topic_that_it_matches() {
        for filter in ["a", "a/#", "#", "+/b/+", "$SYS/#", "a//+", "/"] {
            let topic = a_topic_of(filter).unwrap();
            let name = TopicName::new(&topic).unwrap();
            assert!(TopicFilter::new(filter).unwrap().matches(name), "{filter}: {topic}");
        }
        assert_eq!(a_topic_of("$share/group/a/+").as_deref(), Some("a/x"));
        assert_eq!(a_topic_of("a/#/b"), None);
    }

    #[test]
    fn nobody_subscribes_to_what_has_been_delivered() {
        let topic = TopicName::new(DELIVERED).unwrap();
        for filter in ["#", "+/#", "+/+"] {
            assert!(!TopicFilter::new(filter).unwrap().matches(topic));
        }
    }

    #[test]
    fn packet_identifiers_are_free_and_never_zero() {
        let mut ids = PacketIds::beside([65_534, 1].into_iter());
        assert_eq!([ids.next(), ids.next(), ids.next()], [65_535, 2, 3]);
        let mut ids = PacketIds::beside(1..=65_535);
        assert_ne!(ids.next(), 0);
    }

    #[test]
    fn moments_end_with_their_second() {
        assert_eq!(seconds(Instant::NEVER), 0);
        assert_eq!((seconds(Instant(1)), seconds(Instant(1000))), (1, 1));
    }
}
