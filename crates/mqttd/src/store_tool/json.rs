//! A record as a line of JSON, and back without loss. Payloads and properties are in base64,
//! moments are milliseconds since 1970 (absent: never), numbers of records and sessions are
//! `SHARD:NUMBER`.

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::{PacketIdentifier, QoS};
use mqttd_core::ids::{RecordId, SessionUid};
use mqttd_core::record::{
    Entry, MessageRecord, Origin, Reached, Record, SessionRecord, SourceRecord,
};
use mqttd_core::time::Instant;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of this form.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// The first line.
    Store {
        format: u32,
        shards: u8,
    },
    Session {
        id: Name,
        client_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        listener: u16,
        /// Seconds without a connection; 4294967295: for ever.
        expiry_seconds: u32,
        /// Absent while it is connected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offline_since: Option<u64>,
    },
    Subscription {
        id: Name,
        session: Name,
        filter: String,
        /// The byte of SUBSCRIBE.
        options: u8,
        #[serde(default, skip_serializing_if = "is_zero")]
        identifier: u32,
        /// Retained messages are owed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replays: bool,
    },
    Message {
        id: Name,
        message: MessageLine,
        /// Of the QoS 2 exchange that brought it, as long as a restart may have to know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<OriginLine>,
        entries: Vec<EntryLine>,
    },
    Done {
        id: Name,
        message: Name,
        entry: u32,
    },
    Sent {
        id: Name,
        session: Name,
        packet_id: u16,
        message: Name,
        entry: u32,
    },
    Released {
        id: Name,
        session: Name,
        packet_id: u16,
    },
    Received {
        id: Name,
        session: Name,
        packet_id: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exchange: Option<Name>,
    },
    /// Exchanges of the shard's sessions up to this one need nothing more of other shards.
    Settled {
        id: Name,
        exchange: Name,
    },
    /// A QoS 2 message that was not taken yet when the broker went down, and whom it had reached.
    Begun {
        id: Name,
        session: Name,
        packet_id: u16,
        /// A hash of the message.
        content: u64,
        sessions: Vec<Name>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shares: Vec<String>,
    },
    Retained {
        id: Name,
        message: MessageLine,
        /// Who published it; absent where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<SourceLine>,
    },
    Will {
        id: Name,
        session: Name,
        due: u64,
        message: MessageLine,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine {
    topic: String,
    payload: Bytes,
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    properties: Bytes,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publisher: Option<Name>,
}

/// Who published a retained message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceLine {
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    listener: u16,
}

/// The exchange with its publisher that brought a message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OriginLine {
    exchange: Name,
    packet_id: u16,
}

/// A session that a message waits for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryLine {
    session: Name,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    retain: bool,
    /// Subscription Identifiers as they stand in PUBLISH.
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    identifiers: Bytes,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    share: String,
}

/// `SHARD:NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) u64);

/// Bytes in base64.
#[derive(Debug, Default)]
pub(super) struct Bytes(Vec<u8>);

impl Line {
    /// The line of a record.
    ///
    /// # Errors
    /// Bytes that this version can't read.
    pub(super) fn of(id: RecordId, body: &[u8]) -> anyhow::Result<Self> {
        let id = Name(id.0);
        let session_name = |session: SessionUid| Name(session.0);
        Ok(match Record::decode(body)? {
            Record::Session(session) => Self::Session {
                id,
                client_id: session.client_id.to_owned(),
                username: session.username.map(str::to_owned),
                listener: session.listener,
                expiry_seconds: session.expiry_seconds,
                offline_since: moment(session.offline_since),
            },
            Record::Subscription { session, filter, options, identifier, replays } => {
                Self::Subscription {
                    id,
                    session: session_name(session),
                    filter: filter.to_owned(),
                    options: options.to_byte(),
                    identifier,
                    replays,
                }
            }
            Record::Message { message, origin, entries } => Self::Message {
                id,
                message: MessageLine::of(&message),
                origin: origin.map(OriginLine::of),
                entries: Record::entries(entries).map(|entry| EntryLine::of(&entry)).collect(),
            },
            Record::Done { message, entry } => Self::Done { id, message: Name(message.0), entry },
            Record::Sent { session, packet_id, message, entry } => Self::Sent {
                id,
                session: session_name(session),
                packet_id,
                message: Name(message.0),
                entry,
            },
            Record::Released { session, packet_id } => {
                Self::Released { id, session: session_name(session), packet_id }
            }
            Record::Received { session, packet_id, exchange } => Self::Received {
                id,
                session: session_name(session),
                packet_id,
                exchange: exchange.map(|exchange| Name(exchange.0)),
            },
            Record::Settled { exchange } => Self::Settled { id, exchange: Name(exchange.0) },
            Record::Begun { session, packet_id, content, reached } => {
                let reached = Reached::decode(reached).context("a list of sessions")?;
                Self::Begun {
                    id,
                    session: session_name(session),
                    packet_id,
                    content,
                    sessions: reached.sessions.into_iter().map(session_name).collect(),
                    shares: reached.shares.into_iter().map(String::from).collect(),
                }
            }
            Record::Retained(message, source) => Self::Retained {
                id,
                message: MessageLine::of(&message),
                source: source.map(SourceLine::of),
            },
            Record::Will { session, due, message } => Self::Will {
                id,
                session: session_name(session),
                due: due.0,
                message: MessageLine::of(&message),
            },
        })
    }

    /// The record; `None` for the first line.
    ///
    /// # Errors
    /// Values that no record can have.
    pub(super) fn record(&self) -> anyhow::Result<Option<(RecordId, Vec<u8>)>> {
        let mut body = Vec::new();
        let uid = |name: &Name| SessionUid(name.0);
        let mut entries = Vec::new();
        let (id, record) = match self {
            Self::Store { .. } => return Ok(None),
            Self::Session { id, client_id, username, listener, expiry_seconds, offline_since } => {
                let session = SessionRecord {
                    client_id,
                    username: username.as_deref(),
                    listener: *listener,
                    expiry_seconds: *expiry_seconds,
                    offline_since: instant(*offline_since),
                };
                (id, Record::Session(session))
            }
            Self::Subscription { id, session, filter, options, identifier, replays } => {
                let options = SubscriptionOptions::from_byte(*options)
                    .map_err(|_| anyhow::anyhow!("{options} are no subscription options"))?;
                let (session, identifier, replays) = (uid(session), *identifier, *replays);
                (id, Record::Subscription { session, filter, options, identifier, replays })
            }
            Self::Message { id, message, origin, entries: lines } => {
                for line in lines {
                    line.entry()?.encode(&mut entries);
                }
                let (message, entries) = (message.record()?, &entries);
                let origin = origin.as_ref().map(OriginLine::origin).transpose()?;
                (id, Record::Message { message, origin, entries })
            }
            Self::Done { id, message, entry } => {
                (id, Record::Done { message: RecordId(message.0), entry: *entry })
            }
            Self::Sent { id, session, packet_id, message, entry } => {
                let (session, message) = (uid(session), RecordId(message.0));
                (id, Record::Sent { session, packet_id: *packet_id, message, entry: *entry })
            }
            Self::Released { id, session, packet_id } => {
                (id, Record::Released { session: uid(session), packet_id: *packet_id })
            }
            Self::Received { id, session, packet_id, exchange } => {
                let exchange = exchange.map(|Name(exchange)| RecordId(exchange));
                (id, Record::Received { session: uid(session), packet_id: *packet_id, exchange })
            }
            Self::Settled { id, exchange } => {
                (id, Record::Settled { exchange: RecordId(exchange.0) })
            }
            Self::Begun { id, session, packet_id, content, sessions, shares } => {
                let sessions = sessions.iter().map(uid).collect();
                let shares = shares.iter().map(|share| share.as_str().into()).collect();
                Reached { sessions, shares }.encode(&mut entries);
                let (session, packet_id) = (uid(session), *packet_id);
                (id, Record::Begun { session, packet_id, content: *content, reached: &entries })
            }
            Self::Retained { id, message, source } => {
                let source = source.as_ref().map(SourceLine::source);
                (id, Record::Retained(message.record()?, source))
            }
            Self::Will { id, session, due, message } => {
                let (session, due, message) = (uid(session), Instant(*due), message.record()?);
                (id, Record::Will { session, due, message })
            }
        };
        record.encode(&mut body);
        Ok(Some((RecordId(id.0), body)))
    }
}

impl MessageLine {
    fn of(message: &MessageRecord<'_>) -> Self {
        Self {
            topic: message.topic.to_owned(),
            payload: Bytes(message.payload.to_vec()),
            properties: Bytes(message.properties.to_vec()),
            qos: message.qos as u8,
            retain: message.retain,
            expires_at: moment(message.expires_at),
            publisher: message.publisher.map(|publisher| Name(publisher.0)),
        }
    }

    fn record(&self) -> anyhow::Result<MessageRecord<'_>> {
        Ok(MessageRecord {
            topic: &self.topic,
            properties: &self.properties.0,
            payload: &self.payload.0,
            qos: qos(self.qos)?,
            retain: self.retain,
            expires_at: instant(self.expires_at),
            publisher: self.publisher.map(|Name(publisher)| SessionUid(publisher)),
        })
    }
}

impl SourceLine {
    fn of(source: SourceRecord<'_>) -> Self {
        Self {
            client_id: source.client_id.to_owned(),
            username: source.username.map(str::to_owned),
            listener: source.listener,
        }
    }

    fn source(&self) -> SourceRecord<'_> {
        SourceRecord {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            listener: self.listener,
        }
    }
}

impl OriginLine {
    fn of(origin: Origin) -> Self {
        Self { exchange: Name(origin.exchange.0), packet_id: origin.packet_id.get() }
    }

    fn origin(&self) -> anyhow::Result<Origin> {
        let packet_id = PacketIdentifier::new(self.packet_id);
        let packet_id = packet_id.context("0 is no Packet Identifier")?;
        Ok(Origin { exchange: RecordId(self.exchange.0), packet_id })
    }
}

impl EntryLine {
    fn of(entry: &Entry<'_>) -> Self {
        Self {
            session: Name(entry.session.0),
            qos: entry.qos as u8,
            retain: entry.retain,
            identifiers: Bytes(entry.identifiers.to_vec()),
            share: entry.share.to_owned(),
        }
    }

    fn entry(&self) -> anyhow::Result<Entry<'_>> {
        Ok(Entry {
            session: SessionUid(self.session.0),
            qos: qos(self.qos)?,
            retain: self.retain,
            identifiers: &self.identifiers.0,
            share: &self.share,
        })
    }
}

fn qos(value: u8) -> anyhow::Result<QoS> {
    QoS::from_u8(value).ok_or_else(|| anyhow::anyhow!("there is no QoS {value}"))
}

fn moment(instant: Instant) -> Option<u64> {
    (instant != Instant::NEVER).then_some(instant.0)
}

fn instant(moment: Option<u64>) -> Instant {
    moment.map_or(Instant::NEVER, Instant)
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (shard, number) = (self.0 >> 56, self.0 & (u64::MAX >> 8));
        serializer.collect_str(&format_args!("{shard}:{number}"))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split_once(':');
        let parsed = parts.and_then(|(shard, number)| {
            let (shard, number): (u8, u64) = (shard.parse().ok()?, number.parse().ok()?);
            (number >> 56 == 0).then_some(Self(u64::from(shard) << 56 | number))
        });
        parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not SHARD:NUMBER")))
    }
}

impl Bytes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(id: u64, record: &Record<'_>) {
        let mut body = Vec::new();
        record.encode(&mut body);
        let text = serde_json::to_string(&Line::of(RecordId(id), &body).unwrap()).unwrap();
        let line: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(line.record().unwrap(), Some((RecordId(id), body)), "{text}");
    }

    #[test]
    fn every_kind_comes_back_byte_for_byte() {
        let (session, packet_id) = (SessionUid(u64::MAX), u16::MAX);
        let full = MessageRecord {
            topic: "a/ü\n",
            properties: &[1, 1, 0x26, 0, 1, b'a', 0, 1, b'b'],
            payload: &[0, 255, 10, 13],
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_at: Instant(0),
            publisher: Some(SessionUid(3 << 56 | 5)),
        };
        let bare = MessageRecord {
            topic: "",
            properties: &[],
            payload: &[],
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: Instant::NEVER,
            publisher: None,
        };
        let mut entries = Vec::new();
        for (identifiers, share, retain) in [(&[][..], "", false), (&[0x0B, 9], "$share/g/a", true)]
        {
            let qos = QoS::AtLeastOnce;
            Entry { session, qos, retain, identifiers, share }.encode(&mut entries);
        }
        for message in [full, bare] {
            let packet_id = PacketIdentifier::new(u16::MAX).unwrap();
            let origin = Some(Origin { exchange: RecordId(9 << 56), packet_id });
            round_trip(1, &Record::Message { message, origin, entries: &entries });
            round_trip(1, &Record::Message { message, origin: None, entries: &[] });
            round_trip(2, &Record::Retained(message, None));
            for username in [None, Some("ann")] {
                let source = SourceRecord { client_id: "c", username, listener: 1 };
                round_trip(2, &Record::Retained(message, Some(source)));
            }
            round_trip(3, &Record::Will { session, due: Instant(7), message });
        }
        for username in [None, Some(""), Some("u")] {
            for offline_since in [Instant::NEVER, Instant(0), Instant(1 << 60)] {
                round_trip(
                    u64::MAX,
                    &Record::Session(SessionRecord {
                        client_id: "c\"\\\u{1}",
                        username,
                        listener: 7,
                        expiry_seconds: u32::MAX,
                        offline_since,
                    }),
                );
            }
        }
        for byte in 0..=u8::MAX {
            let Ok(options) = SubscriptionOptions::from_byte(byte) else { continue };
            let identifier = u32::from(byte) << 20;
            let (filter, replays) = ("+/#", identifier == 0);
            let record = Record::Subscription { session, filter, options, identifier, replays };
            round_trip(4, &record);
        }
        let message = RecordId(1 << 56);
        round_trip(5, &Record::Done { message, entry: u32::MAX });
        round_trip(6, &Record::Sent { session, packet_id, message, entry: 3 });
        round_trip(7, &Record::Released { session, packet_id });
        for exchange in [None, Some(RecordId(1))] {
            round_trip(8, &Record::Received { session, packet_id, exchange });
        }
        round_trip(9, &Record::Settled { exchange: RecordId(u64::MAX) });
        let mut reached = Reached::default();
        for shares in [&[][..], &["$share/g/a", "$share/h/#"]] {
            reached.sessions.extend([session, SessionUid(2)]);
            reached.shares.extend(shares.iter().map(|share| Box::from(*share)));
            let mut bytes = Vec::new();
            reached.encode(&mut bytes);
            let content = u64::MAX;
            round_trip(10, &Record::Begun { session, packet_id, content, reached: &bytes });
        }
    }

    #[test]
    fn what_no_record_can_be_is_refused() {
        for text in [
            r#"{"kind":"done","id":"0:1","message":"0:2"}"#,
            r#"{"kind":"done","id":"01","message":"0:2","entry":0}"#,
            r#"{"kind":"done","id":"256:1","message":"0:2","entry":0}"#,
            r#"{"kind":"done","id":"0:72057594037927936","message":"0:2","entry":0}"#,
            r#"{"kind":"done","id":"0:1","message":"0:2","entry":0,"more":1}"#,
            r#"{"kind":"nothing"}"#,
            r#"{"kind":"retained","id":"0:1","message":{"topic":"t","payload":"?","qos":0}}"#,
        ] {
            assert!(serde_json::from_str::<Line>(text).is_err(), "{text}");
        }
        for text in [
            r#"{"kind":"retained","id":"0:1","message":{"topic":"t","payload":"","qos":3}}"#,
            r#"{"kind":"subscription","id":"0:1","session":"0:1","filter":"t","options":3}"#,
        ] {
            let line: Line = serde_json::from_str(text).unwrap();
            assert!(line.record().is_err(), "{text}");
        }
    }
}
