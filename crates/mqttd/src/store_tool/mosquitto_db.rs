//! The form of Mosquitto's database, versions 5 (1.6) and 6 (2.0): bytes in, chunks out, and chunks
//! back into bytes of version 6. What the chunks mean for a store of ours stands in `mosquitto` and
//! `mosquitto_export`.
//!
//! ```text
//!   00 B5 00 "mosquitto db"   15 bytes
//!   checksum (unused, 0)       4
//!   version                    4, big-endian
//!   chunks: kind 4, length 4 (big-endian), then `length` bytes
//! ```
//! Mosquitto writes C structures: lengths and identifiers big-endian, 64-bit numbers in the order
//! of the machine, which is little-endian here, padded to a multiple of their alignment.
//!
//! ```text
//!   1 configuration   last id 8, shutdown 1, size of ids 1, padding 6
//!   2 message         id 8, expires 8, payload length 4, source's packet id 2, lengths of source
//!                     id, user name and topic 2 each, port 2, QoS 1, retain 1;
//!                     then source id, user name, topic, payload, properties
//!   3 message of a    message id 8, packet id 2, id length 2, QoS 1, state 1, retain and dup 1,
//!     client          direction 1; then client id, properties
//!   4 retained        message id 8
//!   5 subscription    identifier 4, id length 2, topic length 2, QoS 1, options 1, padding 2;
//!                     then client id, topic
//!   6 client          expires 8, expiry interval 4, last packet id 2, id length 2; in version 6
//!                     port 2, user name length 2, padding 4; then client id, user name
//! ```

use std::fmt;
use std::num::TryFromIntError;

/// A file that is not read further.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    NotMosquittos,
    Version(u32),
    /// Made for other sizes of numbers.
    IdSize(u8),
    /// A chunk does not hold what its kind must, or the file ends inside it.
    Chunk {
        offset: usize,
        kind: u32,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMosquittos => f.write_str("this is not a database of Mosquitto"),
            Self::Version(version) => write!(
                f,
                "the database has version {version}; 5 and 6 can be read (let Mosquitto 2.0 load \
                 and save it once)"
            ),
            Self::IdSize(size) => write!(f, "message ids have {size} bytes instead of 8"),
            Self::Chunk { offset, kind } => {
                write!(f, "the chunk of kind {kind} at byte {offset} is damaged or cut short")
            }
        }
    }
}

impl std::error::Error for Unreadable {}

/// One chunk. Texts are as they stand in the file, unchecked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    Message(StoredMessage<'a>),
    ClientMessage(ClientMessage<'a>),
    /// The message with this id is retained.
    Retained(u64),
    Subscription {
        client_id: &'a [u8],
        filter: &'a [u8],
        identifier: u32,
        qos: u8,
        options: u8,
    },
    Client(Client<'a>),
    /// A kind that says nothing about messages or sessions, or is not known.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredMessage<'a> {
    pub(super) id: u64,
    /// Seconds since 1970; 0: never.
    pub(super) expires_at: i64,
    pub(super) source_id: &'a [u8],
    /// Empty for none.
    pub(super) source_username: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
    /// With their length in front; empty for none.
    pub(super) properties: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// What its publisher called it.
    pub(super) packet_id: u16,
    /// Of the listener it came by; 0: not known.
    pub(super) port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientMessage<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    /// The client publishes it; otherwise it is sent to the client.
    pub(super) is_incoming: bool,
    pub(super) properties: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client<'a> {
    pub(super) id: &'a [u8],
    pub(super) username: &'a [u8],
    /// Seconds since 1970; 0: not set.
    pub(super) expires_at: i64,
    /// Seconds; 4294967295: never.
    pub(super) expiry_interval: u32,
    /// The last one it was sent.
    pub(super) last_packet_id: u16,
    /// Of its listener; 0: not known, and in version 5.
    pub(super) port: u16,
}

const MAGIC: &[u8; 15] = b"\0\xB5\0mosquitto db";

/// Hands each chunk of the file to `each`.
///
/// # Errors
/// See [`Unreadable`]; what came before has been handed over.
pub(super) fn read<'a>(bytes: &'a [u8], mut each: impl FnMut(Chunk<'a>)) -> Result<(), Unreadable> {
    let mut file = Fields(bytes);
    if file.take(MAGIC.len()) != Some(MAGIC) {
        return Err(Unreadable::NotMosquittos);
    }
    let version = file.u32().and_then(|_| file.u32()).ok_or(Unreadable::NotMosquittos)?;
    if version != 5 && version != 6 {
        return Err(Unreadable::Version(version));
    }
    while !file.0.is_empty() {
        let offset = bytes.len() - file.0.len();
        let damaged = |kind| Unreadable::Chunk { offset, kind };
        let kind = file.u32().ok_or(damaged(0))?;
        let body = file.u32().and_then(|length| file.take(length as usize));
        let mut fields = Fields(body.ok_or(damaged(kind))?);
        if kind == 1 {
            let size = fields.take(9).and_then(|_| fields.u8()).ok_or(damaged(kind))?;
            if size != 8 {
                return Err(Unreadable::IdSize(size));
            }
        }
        each(fields.chunk(kind, version).ok_or(damaged(kind))?);
    }
    Ok(())
}

/// Appends the beginning of a file of version 6. `last_id` is the highest id of its messages.
pub(super) fn begin(out: &mut Vec<u8>, last_id: u64) {
    out.extend_from_slice(MAGIC);
    for number in [0_u32, 6, 1, 16] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&last_id.to_le_bytes());
    // It was stopped as it should be, and ids have 8 bytes.
    out.extend_from_slice(&[1, 8, 0, 0, 0, 0, 0, 0]);
}

impl Chunk<'_> {
    /// Appends the chunk as version 6 has it; nothing for [`Chunk::Other`].
    ///
    /// # Errors
    /// A text or payload is longer than the form can say.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TryFromIntError> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Message(message) => message.write(&mut body).map(|()| 2),
            Self::ClientMessage(message) => message.write(&mut body).map(|()| 3),
            Self::Retained(id) => {
                body.extend_from_slice(&id.to_le_bytes());
                Ok(4)
            }
            Self::Subscription { client_id, filter, identifier, qos, options } => {
                body.extend_from_slice(&identifier.to_be_bytes());
                lengths(&mut body, &[client_id, filter])?;
                body.extend_from_slice(&[*qos, *options, 0, 0]);
                body.extend_from_slice(client_id);
                body.extend_from_slice(filter);
                Ok(5)
            }
            Self::Client(client) => client.write(&mut body).map(|()| 6),
            Self::Other => return Ok(()),
        };
        let kind: u32 = kind?;
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
        out.append(&mut body);
        Ok(())
    }
}

/// The lengths of texts, two bytes each.
fn lengths(out: &mut Vec<u8>, texts: &[&[u8]]) -> Result<(), TryFromIntError> {
    for text in texts {
        out.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    }
    Ok(())
}

impl StoredMessage<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TryFromIntError> {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.expires_at.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.payload.len())?.to_be_bytes());
        out.extend_from_slice(&self.packet_id.to_be_bytes());
        lengths(out, &[self.source_id, self.source_username, self.topic])?;
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&[self.qos, self.retain.into()]);
        for text in
            [self.source_id, self.source_username, self.topic, self.payload, self.properties]
        {
            out.extend_from_slice(text);
        }
        Ok(())
    }
}

impl ClientMessage<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TryFromIntError> {
        out.extend_from_slice(&self.message.to_le_bytes());
        out.extend_from_slice(&self.packet_id.to_be_bytes());
        lengths(out, &[self.client_id])?;
        let retain_dup = u8::from(self.retain) << 4 | u8::from(self.dup);
        out.extend_from_slice(&[self.qos, self.state, retain_dup, (!self.is_incoming).into()]);
        out.extend_from_slice(self.client_id);
        out.extend_from_slice(self.properties);
        Ok(())
    }
}

impl Client<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TryFromIntError> {
        out.extend_from_slice(&self.expires_at.to_le_bytes());
        out.extend_from_slice(&self.expiry_interval.to_be_bytes());
        out.extend_from_slice(&self.last_packet_id.to_be_bytes());
        lengths(out, &[self.id])?;
        out.extend_from_slice(&self.port.to_be_bytes());
        lengths(out, &[self.username])?;
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.id);
        out.extend_from_slice(self.username);
        Ok(())
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn chunk(&mut self, kind: u32, version: u32) -> Option<Chunk<'a>> {
        Some(match kind {
            2 => Chunk::Message(self.message()?),
            3 => Chunk::ClientMessage(self.client_message()?),
            4 => Chunk::Retained(self.u64()?),
            5 => {
                let identifier = self.u32()?;
                let (id_length, topic_length) = (self.u16()?, self.u16()?);
                let (qos, options) = (self.u8()?, self.u8()?);
                self.take(2)?;
                let client_id = self.take(id_length.into())?;
                let filter = self.take(topic_length.into())?;
                Chunk::Subscription { client_id, filter, identifier, qos, options }
            }
            6 => Chunk::Client(self.client(version)?),
            _ => Chunk::Other,
        })
    }

    fn message(&mut self) -> Option<StoredMessage<'a>> {
        let (id, expires_at) = (self.u64()?, self.u64()? as i64);
        let payload_length = self.u32()? as usize;
        let packet_id = self.u16()?;
        let (source, user) = (self.u16()?.into(), self.u16()?.into());
        let topic_length = self.u16()?.into();
        let port = self.u16()?;
        let (qos, retain) = (self.u8()?, self.u8()? != 0);
        let source_id = self.take(source)?;
        let source_username = self.take(user)?;
        let topic = self.take(topic_length)?;
        let payload = self.take(payload_length)?;
        let properties = std::mem::take(&mut self.0);
        Some(StoredMessage {
            id,
            expires_at,
            source_id,
            source_username,
            topic,
            payload,
            properties,
            qos,
            retain,
            packet_id,
            port,
        })
    }

    fn client_message(&mut self) -> Option<ClientMessage<'a>> {
        let (message, packet_id, id_length) = (self.u64()?, self.u16()?, self.u16()?.into());
        let (qos, state) = (self.u8()?, self.u8()?);
        let (retain_dup, direction) = (self.u8()?, self.u8()?);
        Some(ClientMessage {
            client_id: self.take(id_length)?,
            message,
            packet_id,
            qos,
            state,
            retain: retain_dup & 0xF0 != 0,
            dup: retain_dup & 0x0F != 0,
            is_incoming: direction == 0,
            properties: std::mem::take(&mut self.0),
        })
    }

    fn client(&mut self, version: u32) -> Option<Client<'a>> {
        let expires_at = self.u64()? as i64;
        let expiry_interval = self.u32()?;
        let last_packet_id = self.u16()?;
        let id_length = self.u16()?.into();
        let (port, user_length) = if version == 5 {
            (0, 0)
        } else {
            let (port, length) = (self.u16()?, self.u16()?.into());
            self.take(4)?;
            (port, length)
        };
        let id = self.take(id_length)?;
        let username = self.take(user_length)?;
        Some(Client { id, username, expires_at, expiry_interval, last_packet_id, port })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// In the order of the machine that wrote it.
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from the table above: a client of version 5, and one of version 6.
    fn file(version: u8) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 0, version]);
        file.extend([0, 0, 0, 1, 0, 0, 0, 16]);
        file.extend([9, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0]);
        let client = [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 3, 0, 2];
        if version == 5 {
            file.extend([0, 0, 0, 6, 0, 0, 0, 18]);
            file.extend(client);
            file.extend(b"me");
        } else {
            file.extend([0, 0, 0, 6, 0, 0, 0, 29]);
            file.extend(client);
            file.extend([7, 0x5B, 0, 3, 0, 0, 0, 0]);
            file.extend(b"meyou");
        }
        file.extend([0, 0, 0, 5, 0, 0, 0, 17, 0, 0, 0, 7, 0, 2, 0, 3, 1, 8, 0, 0]);
        file.extend(b"mea/#");
        file.extend([0, 0, 0, 99, 0, 0, 0, 1, 42]);
        file
    }

    fn chunks(bytes: &[u8]) -> Result<Vec<Chunk<'_>>, Unreadable> {
        let mut chunks = Vec::new();
        read(bytes, |chunk| chunks.push(chunk)).map(|()| chunks)
    }

    #[test]
    fn both_versions_are_read() {
        for version in [5, 6] {
            let file = file(version);
            let username = if version == 5 { &b""[..] } else { b"you" };
            let client = Client {
                id: b"me",
                username,
                expires_at: 0x201,
                expiry_interval: 256,
                last_packet_id: 3,
                port: if version == 5 { 0 } else { 0x075B },
            };
            let subscription = Chunk::Subscription {
                client_id: b"me",
                filter: b"a/#",
                identifier: 7,
                qos: 1,
                options: 8,
            };
            let expected = vec![Chunk::Other, Chunk::Client(client), subscription, Chunk::Other];
            assert_eq!(chunks(&file), Ok(expected));
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let message = StoredMessage {
            id: 258,
            expires_at: 1 << 40,
            source_id: b"me",
            source_username: b"you",
            topic: b"a/b",
            payload: b"payload",
            properties: &[2, 1, 1],
            qos: 2,
            retain: true,
            packet_id: 515,
            port: 1883,
        };
        let client_message = ClientMessage {
            client_id: b"me",
            message: 258,
            packet_id: 772,
            qos: 1,
            state: 11,
            retain: true,
            dup: false,
            is_incoming: false,
            properties: &[2, 0x0B, 7],
        };
        let mut file = Vec::new();
        begin(&mut file, 258);
        let messages = [Chunk::Message(message), Chunk::ClientMessage(client_message)];
        let written = self::file(6);
        let mut all: Vec<_> = messages.into_iter().chain([Chunk::Retained(258)]).collect();
        all.extend(chunks(&written).unwrap());
        all.iter().for_each(|chunk| chunk.write(&mut file).unwrap());
        all.retain(|chunk| *chunk != Chunk::Other);
        let read = chunks(&file).unwrap();
        assert_eq!(read[0], Chunk::Other, "the configuration");
        assert_eq!(read[1..], all);
        // Byte for byte where both say the same: the client and the subscription.
        let end = file.len() - (8 + 29) - (8 + 17);
        assert_eq!(file[end..], written[23 + 8 + 16..written.len() - 9]);
    }

    #[test]
    fn what_the_form_has_no_room_for_is_not_written() {
        let long = vec![b'x'; 65_536];
        let chunk = |filter| Chunk::Subscription {
            client_id: b"me",
            filter,
            identifier: 0,
            qos: 0,
            options: 0,
        };
        let mut out = Vec::new();
        assert!(chunk(&long).write(&mut out).is_err() && out.is_empty());
        assert!(chunk(&long[1..]).write(&mut out).is_ok());
    }

    #[test]
    fn what_is_no_such_file_is_refused_and_nothing_panics() {
        assert_eq!(chunks(b"SQLite format 3"), Err(Unreadable::NotMosquittos));
        for version in [0, 4, 7] {
            assert_eq!(chunks(&file(version)), Err(Unreadable::Version(version.into())));
        }
        for version in [5, 6] {
            let file = file(version);
            for cut in 0..file.len() {
                // The file may end after any chunk.
                let _ = chunks(&file[..cut]);
            }
            assert!(chunks(&file[..file.len() - 1]).is_err());
            for at in MAGIC.len() + 8..file.len() {
                for byte in [0, 1, 0x7F, 0xFF] {
                    let mut file = file.clone();
                    file[at] = byte;
                    let _ = chunks(&file);
                }
            }
        }
    }
}
