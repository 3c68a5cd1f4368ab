//! The form of Mosquitto's database, versions 5 (1.6) and 6 (2.0): bytes in, chunks out. What the
//! chunks mean for a store of ours stands in `mosquitto`.
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
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientMessage<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
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
        let _packet_id = self.u16()?;
        let (source, user) = (self.u16()?.into(), self.u16()?.into());
        let topic_length = self.u16()?.into();
        let _port = self.u16()?;
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
            is_incoming: direction == 0,
            properties: std::mem::take(&mut self.0),
        })
    }

    fn client(&mut self, version: u32) -> Option<Client<'a>> {
        let expires_at = self.u64()? as i64;
        let expiry_interval = self.u32()?;
        let _last_packet_id = self.u16()?;
        let id_length = self.u16()?.into();
        let user_length = if version == 5 {
            0
        } else {
            let _port = self.u16()?;
            let length = self.u16()?.into();
            self.take(4)?;
            length
        };
        let id = self.take(id_length)?;
        Some(Client { id, username: self.take(user_length)?, expires_at, expiry_interval })
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
            let client = Client { id: b"me", username, expires_at: 0x201, expiry_interval: 256 };
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
