//! Durable records and their byte format. `docs/store-format.md` draws the frames around them; the
//! log itself knows nothing of what stands here.
//!
//! Integers are little-endian; strings and byte fields carry a u32 length. The first byte is the
//! kind.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::{PacketIdentifier, QoS};

use crate::ids::{RecordId, SessionUid};
use crate::time::Instant;

/// What a record says. Borrowed from the log when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A session that outlives its connection.
    Session(SessionRecord<'a>),
    /// A subscription of a session.
    Subscription {
        /// Whose.
        session: SessionUid,
        /// `$share/…` included.
        filter: &'a str,
        /// As asked for.
        options: SubscriptionOptions,
        /// 0: none.
        identifier: u32,
        /// Retained messages that it asked for have not all been sent.
        replays: bool,
    },
    /// A message with everyone it waits for.
    Message {
        /// The message.
        message: MessageRecord<'a>,
        /// The exchange it came by, when a restart may have to know.
        origin: Option<Origin>,
        /// See [`Record::entries`].
        entries: &'a [u8],
    },
    /// One of the sessions a message waits for has it.
    Done {
        /// The message's record.
        message: RecordId,
        /// Which of its entries, from 0: a session can have several.
        entry: u32,
    },
    /// A QoS 2 message has been sent with this identifier and may not be sent with another.
    Sent {
        /// To whom.
        session: SessionUid,
        /// Packet Identifier.
        packet_id: u16,
        /// The message's record.
        message: RecordId,
        /// Which of its entries, from 0.
        entry: u32,
    },
    /// PUBREC has come for a QoS 2 message: PUBREL is owed until PUBCOMP.
    Released {
        /// To whom.
        session: SessionUid,
        /// Packet Identifier.
        packet_id: u16,
    },
    /// A QoS 2 message from the Client is open until its PUBREL.
    Received {
        /// From whom.
        session: SessionUid,
        /// Packet Identifier.
        packet_id: u16,
        /// The exchange, when messages on several shards name it as their [`Origin`].
        exchange: Option<RecordId>,
    },
    /// The exchanges of this shard's sessions up to this one are over for whoever has kept their
    /// messages.
    Settled {
        /// The newest of them.
        exchange: RecordId,
    },
    /// A QoS 2 message from the Client had reached these sessions when the broker went down, and
    /// was not taken yet: when it comes again, it is for the others.
    Begun {
        /// From whom.
        session: SessionUid,
        /// Packet Identifier.
        packet_id: u16,
        /// Which message it was: see [`crate::begun::content_of`].
        content: u64,
        /// Whom it had reached, see [`Reached::decode`].
        reached: &'a [u8],
    },
    /// The retained message of a topic and, where that is known, who published it.
    Retained(MessageRecord<'a>, Option<SourceRecord<'a>>),
    /// A Will that waits for its delay.
    Will {
        /// Whose.
        session: SessionUid,
        /// When it is due.
        due: Instant,
        /// The message.
        message: MessageRecord<'a>,
    },
}

/// See [`Record::Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the session's")]
pub struct SessionRecord<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub listener: u16,
    pub expiry_seconds: u32,
    /// [`Instant::NEVER`] while it is connected.
    pub offline_since: Instant,
}

/// The publisher of a retained message, as the access rights ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the publisher's")]
pub struct SourceRecord<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub listener: u16,
}

/// A message in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the message's")]
pub struct MessageRecord<'a> {
    pub topic: &'a str,
    pub properties: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub expires_at: Instant,
    pub publisher: Option<SessionUid>,
}

/// The QoS 2 exchange with its publisher that brought a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Numbers rise with time among the exchanges of one shard's sessions, and the shard is told by
    /// the highest byte.
    pub exchange: RecordId,
    /// What the publisher calls it.
    pub packet_id: PacketIdentifier,
}

/// Whom a message had reached before the broker went down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Through subscriptions of their own.
    pub sessions: BTreeSet<SessionUid>,
    /// Shared subscriptions of which a member has it.
    pub shares: BTreeSet<Box<str>>,
}

/// One session a [`Record::Message`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Which.
    pub session: SessionUid,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription Identifiers, encoded as properties.
    pub identifiers: &'a [u8],
    /// The shared subscription it came through; empty for none.
    pub share: &'a str,
}

/// A record that this version can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableRecord;

impl core::fmt::Display for UnreadableRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the record is of a kind or form this version does not know")
    }
}

impl core::error::Error for UnreadableRecord {}

const SESSION: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const MESSAGE: u8 = 3;
const DONE: u8 = 4;
const SENT: u8 = 5;
const RELEASED: u8 = 6;
const RECEIVED: u8 = 7;
const RETAINED: u8 = 8;
const WILL: u8 = 9;
/// As `RETAINED`, with the publisher in front of the message.
const RETAINED_FROM: u8 = 10;
const MESSAGE_OF: u8 = 11;
const RECEIVED_OF: u8 = 12;
const SETTLED: u8 = 13;
const BEGUN: u8 = 14;

/// Beside the Subscription Options, in a bit that the standard reserves.
const REPLAYS: u8 = 0x80;

impl<'a> Record<'a> {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Session(session) => {
                out.push(SESSION);
                text(out, session.client_id);
                name(out, session.username);
                out.extend_from_slice(&session.listener.to_le_bytes());
                out.extend_from_slice(&session.expiry_seconds.to_le_bytes());
                u64(out, session.offline_since.0);
            }
            Self::Subscription { session, filter, options, identifier, replays } => {
                out.push(SUBSCRIPTION);
                u64(out, session.0);
                text(out, filter);
                out.push(options.to_byte() | if replays { REPLAYS } else { 0 });
                out.extend_from_slice(&identifier.to_le_bytes());
            }
            Self::Message { message, origin, entries } => {
                match origin {
                    Some(origin) => origin.encode(out),
                    None => out.push(MESSAGE),
                }
                message.encode(out);
                out.extend_from_slice(entries);
            }
            Self::Done { message, entry } => {
                out.push(DONE);
                u64(out, message.0);
                out.extend_from_slice(&entry.to_le_bytes());
            }
            Self::Sent { session, packet_id, message, entry } => {
                exchange(out, SENT, session, packet_id);
                u64(out, message.0);
                out.extend_from_slice(&entry.to_le_bytes());
            }
            Self::Released { session, packet_id } => exchange(out, RELEASED, session, packet_id),
            Self::Received { session, packet_id, exchange: number } => {
                let kind = if number.is_some() { RECEIVED_OF } else { RECEIVED };
                exchange(out, kind, session, packet_id);
                number.into_iter().for_each(|number| u64(out, number.0));
            }
            Self::Settled { exchange } => {
                out.push(SETTLED);
                u64(out, exchange.0);
            }
            Self::Begun { session, packet_id, content, reached } => {
                exchange(out, BEGUN, session, packet_id);
                u64(out, content);
                out.extend_from_slice(reached);
            }
            Self::Retained(message, source) => {
                out.push(if source.is_some() { RETAINED_FROM } else { RETAINED });
                source.iter().for_each(|source| source.encode(out));
                message.encode(out);
            }
            Self::Will { session, due, message } => {
                out.push(WILL);
                u64(out, session.0);
                u64(out, due.0);
                message.encode(out);
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Bytes that [`Record::encode`] does not write.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, UnreadableRecord> {
        let mut fields = Fields(bytes);
        let record = Self::decode_fields(&mut fields).ok_or(UnreadableRecord)?;
        if fields.0.is_empty() { Ok(record) } else { Err(UnreadableRecord) }
    }

    fn decode_fields(fields: &mut Fields<'a>) -> Option<Self> {
        Some(match fields.u8()? {
            SESSION => {
                let client_id = fields.text()?;
                Self::Session(SessionRecord {
                    client_id,
                    username: fields.name()?,
                    listener: fields.u16()?,
                    expiry_seconds: u32::from_le_bytes(*fields.array()?),
                    offline_since: Instant(fields.u64()?),
                })
            }
            SUBSCRIPTION => {
                let (session, filter) = (SessionUid(fields.u64()?), fields.text()?);
                let options = fields.u8()?;
                Self::Subscription {
                    session,
                    filter,
                    options: SubscriptionOptions::from_byte(options & !REPLAYS).ok()?,
                    identifier: u32::from_le_bytes(*fields.array()?),
                    replays: options & REPLAYS != 0,
                }
            }
            kind @ (MESSAGE | MESSAGE_OF) => Self::decode_message(kind, fields)?,
            DONE => Self::Done {
                message: RecordId(fields.u64()?),
                entry: u32::from_le_bytes(*fields.array()?),
            },
            SENT => Self::Sent {
                session: SessionUid(fields.u64()?),
                packet_id: fields.u16()?,
                message: RecordId(fields.u64()?),
                entry: u32::from_le_bytes(*fields.array()?),
            },
            RELEASED => {
                Self::Released { session: SessionUid(fields.u64()?), packet_id: fields.u16()? }
            }
            kind @ (RECEIVED | RECEIVED_OF) => Self::Received {
                session: SessionUid(fields.u64()?),
                packet_id: fields.u16()?,
                exchange: if kind == RECEIVED_OF { Some(RecordId(fields.u64()?)) } else { None },
            },
            SETTLED => Self::Settled { exchange: RecordId(fields.u64()?) },
            BEGUN => {
                let session = SessionUid(fields.u64()?);
                let (packet_id, content) = (fields.u16()?, fields.u64()?);
                let reached = core::mem::take(&mut fields.0);
                Reached::decode(reached)?;
                Self::Begun { session, packet_id, content, reached }
            }
            RETAINED => Self::Retained(MessageRecord::decode(fields)?, None),
            RETAINED_FROM => {
                let source = SourceRecord::decode(fields)?;
                Self::Retained(MessageRecord::decode(fields)?, Some(source))
            }
            WILL => Self::Will {
                session: SessionUid(fields.u64()?),
                due: Instant(fields.u64()?),
                message: MessageRecord::decode(fields)?,
            },
            _ => return None,
        })
    }

    fn decode_message(kind: u8, fields: &mut Fields<'a>) -> Option<Self> {
        let origin = if kind == MESSAGE_OF {
            let exchange = RecordId(fields.u64()?);
            Some(Origin { exchange, packet_id: PacketIdentifier::new(fields.u16()?)? })
        } else {
            None
        };
        let message = MessageRecord::decode(fields)?;
        let entries = core::mem::take(&mut fields.0);
        let mut check = Fields(entries);
        while !check.0.is_empty() {
            Entry::decode(&mut check)?;
        }
        Some(Self::Message { message, origin, entries })
    }

    /// The entries of a [`Record::Message`].
    pub fn entries(bytes: &'a [u8]) -> impl Iterator<Item = Entry<'a>> {
        let mut fields = Fields(bytes);
        core::iter::from_fn(move || Entry::decode(&mut fields))
    }
}

impl Origin {
    fn encode(self, out: &mut Vec<u8>) {
        out.push(MESSAGE_OF);
        u64(out, self.exchange.0);
        out.extend_from_slice(&self.packet_id.get().to_le_bytes());
    }
}

impl Reached {
    /// Adds whom another record of the same message names.
    pub fn add(&mut self, entry: &Entry<'_>) {
        if entry.share.is_empty() {
            self.sessions.insert(entry.session);
        } else {
            self.shares.insert(entry.share.into());
        }
    }

    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.sessions.len() as u32).to_le_bytes());
        self.sessions.iter().for_each(|session| u64(out, session.0));
        self.shares.iter().for_each(|share| text(out, share));
    }

    /// Reads what [`Reached::encode`] has written.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let mut fields = Fields(encoded);
        let count = u32::from_le_bytes(*fields.array()?);
        let mut reached = Self::default();
        for _ in 0..count {
            reached.sessions.insert(SessionUid(fields.u64()?));
        }
        while !fields.0.is_empty() {
            reached.shares.insert(fields.text()?.into());
        }
        Some(reached)
    }
}

impl Entry<'_> {
    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        u64(out, self.session.0);
        out.push(self.qos as u8 | u8::from(self.retain) << 2);
        bytes(out, self.identifiers);
        text(out, self.share);
    }

    fn decode<'a>(fields: &mut Fields<'a>) -> Option<Entry<'a>> {
        let session = SessionUid(fields.u64()?);
        let flags = fields.u8()?;
        Some(Entry {
            session,
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & 0b100 != 0,
            identifiers: fields.bytes()?,
            share: fields.text()?,
        })
    }
}

impl<'a> SourceRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        text(out, self.client_id);
        name(out, self.username);
        out.extend_from_slice(&self.listener.to_le_bytes());
    }

    fn decode(fields: &mut Fields<'a>) -> Option<Self> {
        Some(Self {
            client_id: fields.text()?,
            username: fields.name()?,
            listener: u16::from_le_bytes(*fields.array()?),
        })
    }
}

impl<'a> MessageRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.qos as u8 | u8::from(self.retain) << 2);
        u64(out, self.expires_at.0);
        u64(out, self.publisher.map_or(0, |publisher| publisher.0));
        text(out, self.topic);
        bytes(out, self.properties);
        bytes(out, self.payload);
    }

    fn decode(fields: &mut Fields<'a>) -> Option<Self> {
        let flags = fields.u8()?;
        let expires_at = Instant(fields.u64()?);
        let publisher = fields.u64()?;
        Some(Self {
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & 0b100 != 0,
            expires_at,
            publisher: (publisher != 0).then_some(SessionUid(publisher)),
            topic: fields.text()?,
            properties: fields.bytes()?,
            payload: fields.bytes()?,
        })
    }
}

fn exchange(out: &mut Vec<u8>, kind: u8, session: SessionUid, packet_id: u16) {
    out.push(kind);
    u64(out, session.0);
    out.extend_from_slice(&packet_id.to_le_bytes());
}

fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn text(out: &mut Vec<u8>, text: &str) {
    bytes(out, text.as_bytes());
}

/// A user name, or that there is none.
fn name(out: &mut Vec<u8>, username: Option<&str>) {
    out.push(u8::from(username.is_some()));
    text(out, username.unwrap_or_default());
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(|array| u16::from_le_bytes(*array))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|array| u64::from_le_bytes(*array))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(*self.array()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    fn name(&mut self) -> Option<Option<&'a str>> {
        let is_there = self.u8()? != 0;
        let name = self.text()?;
        Some(is_there.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_and_no_prefix_does() {
        let message = MessageRecord {
            topic: "a/b",
            properties: &[1, 1],
            payload: b"payload",
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_at: Instant(99),
            publisher: Some(SessionUid(7)),
        };
        let entry = Entry {
            session: SessionUid(5),
            qos: QoS::AtLeastOnce,
            retain: true,
            identifiers: &[0x0B, 3],
            share: "$share/g/a",
        };
        let mut entries = vec![];
        entry.encode(&mut entries);
        entry.encode(&mut entries);
        assert!(Record::entries(&entries).eq([entry, entry]));
        let session = SessionUid(5);
        let origin = Origin { exchange: RecordId(8), packet_id: PacketIdentifier::new(3).unwrap() };
        let mut reached = Reached::default();
        reached.add(&entry);
        reached.add(&Entry { share: "", ..entry });
        let mut encoded = vec![];
        reached.encode(&mut encoded);
        assert_eq!(Reached::decode(&encoded), Some(reached));
        for record in [
            Record::Session(SessionRecord {
                client_id: "id",
                username: Some(""),
                listener: 1,
                expiry_seconds: 60,
                offline_since: Instant::NEVER,
            }),
            Record::Subscription {
                session,
                filter: "#",
                options: SubscriptionOptions::with_qos(QoS::AtLeastOnce),
                identifier: 9,
                replays: true,
            },
            Record::Message { message, origin: None, entries: &entries },
            Record::Message { message, origin: Some(origin), entries: &entries },
            Record::Done { message: RecordId(1), entry: 70_000 },
            Record::Sent { session, packet_id: 3, message: RecordId(1), entry: 2 },
            Record::Released { session, packet_id: 3 },
            Record::Received { session, packet_id: 3, exchange: None },
            Record::Received { session, packet_id: 3, exchange: Some(RecordId(8)) },
            Record::Settled { exchange: RecordId(8) },
            Record::Begun { session, packet_id: 3, content: 77, reached: &encoded },
            Record::Retained(message, None),
            Record::Retained(
                message,
                Some(SourceRecord { client_id: "id", username: Some("ann"), listener: 2 }),
            ),
            Record::Will { session, due: Instant(4), message },
        ] {
            let mut bytes = vec![];
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                // Records that end with a list may end after any item of it.
                if let Ok(short) = Record::decode(&bytes[..cut]) {
                    let ends_with_list =
                        matches!(short, Record::Message { .. } | Record::Begun { .. });
                    assert!(ends_with_list, "{record:?} cut at {cut}");
                }
            }
        }
        assert_eq!(Record::decode(&[200]), Err(UnreadableRecord));
    }
}
