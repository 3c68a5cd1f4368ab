//! `import-mosquitto`: what Mosquitto has kept → records of ours. The way back is
//! `mosquitto_export`.
//!
//! Mosquitto passes a QoS 2 message on when its PUBREL comes, we do when its PUBLISH comes; so one
//! that waits for PUBREL there is passed on by the import, and its identifier is noted, so that the
//! Client's PUBREL or repeated PUBLISH finds what it expects.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use mqtt_proto::codec::Reader;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::property::Place;
use mqtt_proto::topic::{SharedFilter, TopicFilter, TopicName};
use mqtt_proto::{Properties, QoS};
use mqttd_core::ids::{RecordId, SessionUid};
use mqttd_core::message::forwarded_properties;
use mqttd_core::record::{Entry, MessageRecord, Record, SessionRecord, SourceRecord};
use mqttd_core::time::Instant;

use super::files::{Kept, NewStore};
use super::mosquitto_db::{self, Chunk, Client, ClientMessage, StoredMessage};
use super::{Counts, Verdict, layout};

/// Mosquitto's states of a message of a client, as far as they differ for us. All others: it waits.
const RESEND_PUBREL: u8 = 6;
const WAIT_FOR_PUBACK: u8 = 3;
pub(super) const WAIT_FOR_PUBREC: u8 = 5;
pub(super) const WAIT_FOR_PUBREL: u8 = 7;
pub(super) const WAIT_FOR_PUBCOMP: u8 = 9;
pub(super) const QUEUED: u8 = 11;

/// What `import` says beside the file.
pub(super) struct Wanted {
    pub(super) shards: Option<u8>,
    /// Ports of the listeners that the store's numbers will mean.
    pub(super) ports: Ports,
}

/// The ports of a configuration's listeners, in its order: Mosquitto names a listener by its port,
/// the store by its number. A Unix socket has port 0. Without a configuration there is none.
#[derive(Debug, Default)]
pub(super) struct Ports(pub(super) Vec<u16>);

impl Ports {
    /// The first listener's number where the port says nothing, as rights must be asked somewhere.
    fn listener(&self, port: u16) -> u16 {
        let found = self.0.iter().position(|known| port != 0 && *known == port);
        found.unwrap_or(0) as u16
    }

    /// 0 where it is not known.
    pub(super) fn port(&self, listener: u16) -> u16 {
        self.0.get(usize::from(listener)).copied().unwrap_or(0)
    }
}

/// Makes a store in `dir` (beside the file without it) of Mosquitto's database.
pub(super) fn import(file: &Path, dir: Option<&Path>, wanted: &Wanted) -> anyhow::Result<Verdict> {
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = dir.or(beside).unwrap_or(Path::new("."));
    let target = NewStore::plan(dir)?;
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let found = Found::read(&bytes).with_context(|| file.display().to_string())?;
    let converted = found.convert(now(), &wanted.ports);
    let shards = wanted.shards;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = shards.unwrap_or(cores.clamp(1, usize::from(mqttd_core::SHARDS_MAX)) as u8);
    let laid = layout::lay_out(converted.records, None, shards);
    target.write(&laid.shards)?;
    for left_out in converted.left_out.iter().chain(&laid.left_out) {
        eprintln!("mqttd store: left out: {left_out}");
    }
    eprintln!("Imported {} into {shards} shards.", converted.counts);
    Ok(Verdict::Good)
}

/// The time of day.
pub(super) fn now() -> Instant {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant(since_1970.as_millis() as u64)
}

/// Client Identifier, filter, Subscription Identifier, QoS, options.
type FoundSubscription<'a> = (&'a [u8], &'a [u8], u32, u8, u8);

/// The chunks of a file, by kind.
#[derive(Default)]
struct Found<'a> {
    messages: HashMap<u64, StoredMessage<'a>>,
    clients: Vec<Client<'a>>,
    subscriptions: Vec<FoundSubscription<'a>>,
    /// In the order of the file, which for each client is that of its queue.
    client_messages: Vec<ClientMessage<'a>>,
    retained: Vec<u64>,
}

struct Converted {
    records: Vec<Kept>,
    left_out: Vec<String>,
    counts: Counts,
}

impl<'a> Found<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, mosquitto_db::Unreadable> {
        let mut found = Self::default();
        mosquitto_db::read(bytes, |chunk| match chunk {
            Chunk::Message(message) => {
                found.messages.insert(message.id, message);
            }
            Chunk::ClientMessage(message) => found.client_messages.push(message),
            Chunk::Retained(id) => found.retained.push(id),
            Chunk::Subscription { client_id, filter, identifier, qos, options } => {
                found.subscriptions.push((client_id, filter, identifier, qos, options));
            }
            Chunk::Client(client) => found.clients.push(client),
            Chunk::Other => {}
        })?;
        Ok(found)
    }

    fn convert(&self, now: Instant, ports: &Ports) -> Converted {
        let mut conversion = Conversion {
            found: self,
            now,
            ports,
            next: 1,
            sessions: HashMap::new(),
            subscriptions: Vec::new(),
            retained: HashMap::new(),
            out: Converted { records: Vec::new(), left_out: Vec::new(), counts: Counts::default() },
        };
        self.clients.iter().for_each(|client| conversion.client(client));
        conversion.all_subscriptions();
        for id in &self.retained {
            if let Some(stored) = self.messages.get(id) {
                conversion.retain(stored);
            }
        }
        conversion.all_messages();
        let retained = std::mem::take(&mut conversion.retained);
        conversion.out.counts.retained = retained.len();
        for stored in retained.into_values() {
            if let Some(message) = conversion.message(stored) {
                conversion.push(&Record::Retained(message.record(), source_of(stored, ports)));
            }
        }
        conversion.out
    }
}

/// Who published a message, if the file says so.
fn source_of<'a>(stored: &StoredMessage<'a>, ports: &Ports) -> Option<SourceRecord<'a>> {
    let client_id = std::str::from_utf8(stored.source_id).ok().filter(|id| !id.is_empty())?;
    let username = std::str::from_utf8(stored.source_username).ok()?;
    let username = (!username.is_empty()).then_some(username);
    Some(SourceRecord { client_id, username, listener: ports.listener(stored.port) })
}

/// A message with what had to be copied for it.
struct Owned<'a> {
    stored: &'a StoredMessage<'a>,
    topic: &'a str,
    properties: Vec<u8>,
    qos: QoS,
    expires_at: Instant,
    publisher: Option<SessionUid>,
}

impl Owned<'_> {
    fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            topic: self.topic,
            properties: &self.properties,
            payload: self.stored.payload,
            qos: self.qos,
            retain: self.stored.retain,
            expires_at: self.expires_at,
            publisher: self.publisher,
        }
    }
}

/// One delivery that is owed.
#[derive(Clone, PartialEq, Eq)]
struct Owed {
    session: SessionUid,
    qos: QoS,
    retain: bool,
    identifiers: Vec<u8>,
    share: String,
    /// It has been sent with this identifier.
    sent: Option<u16>,
}

struct Subscribed<'a> {
    session: SessionUid,
    filter: &'a str,
    options: SubscriptionOptions,
    identifier: u32,
}

struct Conversion<'a> {
    found: &'a Found<'a>,
    now: Instant,
    ports: &'a Ports,
    next: u64,
    sessions: HashMap<&'a [u8], SessionUid>,
    subscriptions: Vec<Subscribed<'a>>,
    retained: HashMap<&'a str, &'a StoredMessage<'a>>,
    out: Converted,
}

impl<'a> Conversion<'a> {
    fn push(&mut self, record: &Record<'_>) -> RecordId {
        let id = RecordId(self.next);
        self.next += 1;
        let mut body = Vec::new();
        record.encode(&mut body);
        self.out.records.push((id, body));
        id
    }

    fn leave_out(&mut self, what: &str, name: &[u8], why: &str) {
        let name = String::from_utf8_lossy(name);
        self.out.left_out.push(format!("{what} {name:?}: {why}"));
    }

    fn client(&mut self, client: &Client<'a>) {
        let username = std::str::from_utf8(client.username);
        let (Ok(client_id), Ok(username)) = (std::str::from_utf8(client.id), username) else {
            return self.leave_out("the session of", client.id, "not UTF-8 text");
        };
        if client_id.is_empty() || self.sessions.contains_key(client.id) {
            return;
        }
        if client.expiry_interval == 0 {
            // It would have ended with its connection, which ended when Mosquitto did.
            return self.leave_out("the session of", client.id, "it ends with its connection");
        }
        // Mosquitto notes when the session ends, we note since when it is alone.
        let interval = u64::from(client.expiry_interval) * 1000;
        let offline_since = match u64::try_from(client.expires_at) {
            Ok(seconds) if seconds > 0 && client.expiry_interval < u32::MAX => {
                Instant(seconds.saturating_mul(1000).saturating_sub(interval).min(self.now.0))
            }
            _ => self.now,
        };
        let id = self.push(&Record::Session(SessionRecord {
            client_id,
            username: (!username.is_empty()).then_some(username),
            listener: self.ports.listener(client.port),
            expiry_seconds: client.expiry_interval,
            offline_since,
        }));
        self.sessions.insert(client.id, SessionUid(id.0));
        self.out.counts.sessions += 1;
    }

    fn all_subscriptions(&mut self) {
        let mut seen = HashSet::new();
        for &(client_id, filter, identifier, qos, options) in &self.found.subscriptions {
            let Some(&session) = self.sessions.get(client_id) else { continue };
            let text = std::str::from_utf8(filter).ok().filter(|text| {
                matches!(SharedFilter::parse(text), Ok(Some(_))) || TopicFilter::new(text).is_ok()
            });
            // No Local and Retain As Published; Mosquitto does not keep the Retain Handling.
            let byte = (qos & 0b11) | (options & 0b1100);
            let (Some(filter), Ok(options)) = (text, SubscriptionOptions::from_byte(byte)) else {
                self.leave_out("a subscription to", filter, "not a valid Topic Filter or QoS");
                continue;
            };
            if !seen.insert((session, filter)) {
                continue;
            }
            let replays = false;
            self.push(&Record::Subscription { session, filter, options, identifier, replays });
            self.subscriptions.push(Subscribed { session, filter, options, identifier });
            self.out.counts.subscriptions += 1;
        }
    }

    fn retain(&mut self, stored: &'a StoredMessage<'a>) {
        if let Some(message) = self.message(stored) {
            self.retained.insert(message.topic, stored);
        }
    }

    /// Checks a message; `None` when it has expired or can't be one.
    fn message(&mut self, stored: &'a StoredMessage<'a>) -> Option<Owned<'a>> {
        let topic = std::str::from_utf8(stored.topic).ok().filter(|it| TopicName::new(it).is_ok());
        let (Some(topic), Some(qos)) = (topic, QoS::from_u8(stored.qos)) else {
            self.leave_out("a message to", stored.topic, "not a valid Topic Name or QoS");
            return None;
        };
        let expires_at = match u64::try_from(stored.expires_at) {
            Ok(seconds) if seconds > 0 => Instant(seconds.saturating_mul(1000)),
            _ => Instant::NEVER,
        };
        if expires_at <= self.now {
            return None;
        }
        let mut scratch = Vec::new();
        let properties = match properties_of(stored.properties) {
            Some(properties) => forwarded_properties(properties, &mut scratch).to_vec(),
            None => {
                self.leave_out("properties of a message to", stored.topic, "not readable");
                Vec::new()
            }
        };
        let publisher = self.sessions.get(stored.source_id).copied();
        Some(Owned { stored, topic, properties, qos, expires_at, publisher })
    }

    /// Queues, windows and exchanges. A message has one record for everyone it waits for, unless
    /// somebody's queue is in another order than the messages were published in.
    fn all_messages(&mut self) {
        let mut shared: Vec<(u64, Vec<Owed>)> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut alone = Vec::new();
        let mut queues: Vec<(SessionUid, Vec<(u64, Owed)>)> = Vec::new();
        let mut incoming = Vec::new();
        for message in &self.found.client_messages {
            let Some(&session) = self.sessions.get(message.client_id) else { continue };
            if message.is_incoming {
                incoming.push((session, message));
                continue;
            }
            if message.state == RESEND_PUBREL || message.state == WAIT_FOR_PUBCOMP {
                self.push(&Record::Released { session, packet_id: message.packet_id });
                continue;
            }
            let Some(owed) = owed(session, message) else { continue };
            match queues.iter_mut().rev().find(|(of, _)| *of == session) {
                Some((_, queue)) => queue.push((message.message, owed)),
                None => queues.push((session, vec![(message.message, owed)])),
            }
        }
        for (_, queue) in queues {
            if !queue.is_sorted_by(|a, b| a.0 < b.0) {
                alone.extend(queue.into_iter().map(|(id, owed)| (id, vec![owed])));
                continue;
            }
            for (id, owed) in queue {
                let place = *places.entry(id).or_insert_with(|| {
                    shared.push((id, Vec::new()));
                    shared.len() - 1
                });
                shared[place].1.push(owed);
            }
        }
        shared.sort_by_key(|(id, _)| *id);
        for (id, owed) in shared.into_iter().chain(alone) {
            if let Some(stored) = self.found.messages.get(&id) {
                self.deliver(stored, &owed);
            }
        }
        for (session, message) in incoming {
            self.pass_on(session, message);
        }
    }

    /// A message with the sessions it waits for.
    fn deliver(&mut self, stored: &'a StoredMessage<'a>, owed: &[Owed]) {
        let Some(message) = self.message(stored).filter(|_| !owed.is_empty()) else { return };
        let mut entries = Vec::new();
        for Owed { session, qos, retain, identifiers, share, .. } in owed {
            Entry { session: *session, qos: *qos, retain: *retain, identifiers, share }
                .encode(&mut entries);
        }
        let record = Record::Message { message: message.record(), origin: None, entries: &entries };
        let id = self.push(&record);
        self.out.counts.messages += owed.len();
        for (entry, owed) in (0..).zip(owed) {
            if let Some(packet_id) = owed.sent {
                let session = owed.session;
                self.push(&Record::Sent { session, packet_id, message: id, entry });
            }
        }
    }

    /// See the file's head.
    fn pass_on(&mut self, from: SessionUid, incoming: &ClientMessage<'a>) {
        let packet_id = incoming.packet_id;
        self.push(&Record::Received { session: from, packet_id, exchange: None });
        let Some(stored) = self.found.messages.get(&incoming.message) else { return };
        let Some(message) = self.message(stored) else { return };
        let Ok(name) = TopicName::new(message.topic) else { return };
        if stored.retain {
            if stored.payload.is_empty() {
                self.retained.remove(message.topic);
            } else {
                self.retained.insert(message.topic, stored);
            }
        }
        let mut owed: Vec<Owed> = Vec::new();
        let mut shares = HashSet::new();
        for subscribed in &self.subscriptions {
            let Subscribed { session, filter, options, identifier } = subscribed;
            let (share, plain) = match SharedFilter::parse(filter) {
                Ok(Some((_, plain))) => (*filter, plain),
                _ => match TopicFilter::new(filter) {
                    Ok(plain) => ("", plain),
                    Err(_) => continue,
                },
            };
            let qos = message.qos.min(options.qos);
            let is_own = options.no_local && *session == from;
            if is_own || qos == QoS::AtMostOnce || !plain.matches(name) {
                continue;
            }
            // One member of a shared subscription has it.
            if !share.is_empty() && !shares.insert(share) {
                continue;
            }
            let identifiers = encoded_identifier(*identifier);
            let retain = options.retain_as_published && stored.retain;
            let same = |owed: &&mut Owed| {
                owed.session == *session && owed.share.is_empty() && share.is_empty()
            };
            match owed.iter_mut().find(same) {
                Some(owed) => {
                    owed.qos = owed.qos.max(qos);
                    owed.retain |= retain;
                    owed.identifiers.extend(identifiers);
                }
                None => owed.push(Owed {
                    session: *session,
                    qos,
                    retain,
                    identifiers,
                    share: share.to_owned(),
                    sent: None,
                }),
            }
        }
        self.deliver(stored, &owed);
    }
}

/// What a session is owed; `None` for QoS 0 and values that Mosquitto does not write.
fn owed(session: SessionUid, message: &ClientMessage<'_>) -> Option<Owed> {
    let qos = QoS::from_u8(message.qos).filter(|qos| *qos > QoS::AtMostOnce)?;
    let mut identifiers = Vec::new();
    if let Some(properties) = properties_of(message.properties) {
        let all = properties.subscription_identifiers();
        all.for_each(|identifier| identifiers.extend(encoded_identifier(identifier)));
    }
    let was_sent = matches!(message.state, WAIT_FOR_PUBACK | WAIT_FOR_PUBREC);
    let sent = Some(message.packet_id).filter(|id| was_sent && *id != 0);
    let (retain, share) = (message.retain, String::new());
    Some(Owed { session, qos, retain, identifiers, share, sent })
}

/// A Subscription Identifier as it stands in PUBLISH; nothing for 0, which is none.
pub(super) fn encoded_identifier(identifier: u32) -> Vec<u8> {
    let mut out = Vec::new();
    if identifier != 0 {
        out.push(mqtt_proto::property::PropertyId::SubscriptionIdentifier as u8);
        mqtt_proto::codec::varint::write(&mut out, identifier);
    }
    out
}

/// Properties as Mosquitto keeps them: as in a packet, or nothing at all.
fn properties_of(bytes: &[u8]) -> Option<Properties<'_>> {
    if bytes.is_empty() {
        return Some(Properties::EMPTY);
    }
    Properties::decode(&mut Reader::new(bytes), Place::Publish).ok()
}
