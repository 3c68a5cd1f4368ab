//! PUBLISH (MQTT 3.3): carries an Application Message from a Client to a Server or back.

use crate::count::Count;
use alloc::vec::Vec;

use crate::codec::{REMAINING_LENGTH_MAX, Reader, varint};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::topic::TopicName;
use crate::version::Version;

/// An Application Message on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// This may be a re-delivery of an earlier attempt (3.3.1.1).
    pub dup: bool,
    /// How sure delivery is to be.
    pub qos: QoS,
    /// To be kept by the Server, or sent from what it kept (3.3.1.3).
    pub retain: bool,
    /// The Topic Name. Empty only in 5.0, where a Topic Alias then stands for it.
    pub topic: &'a str,
    /// Present exactly when the QoS is above 0 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketIdentifier>,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
    /// The Application Message's payload; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn decode(
        version: Version,
        flags: u8,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Offence> {
        let qos = QoS::from_u8((flags >> 1) & 0b11).ok_or(Offence::QoSInvalid)?;
        let dup = flags & 0b1000 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Offence::DupOnQoS0);
        }
        let topic = core::str::from_utf8(reader.binary()?).map_err(|_| Offence::NotUtf8)?;
        if !(topic.is_empty() && version.has_properties()) {
            TopicName::new(topic)?;
        }
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        let properties = if version.has_properties() {
            Properties::decode(reader, Place::Publish)?
        } else {
            Properties::EMPTY
        };
        let retain = flags & 1 != 0;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.take_rest() })
    }

    /// Appends the packet. See [`PublishHead`] for encoding one message for many receivers.
    ///
    /// # Errors
    /// The topic or the packet is too long.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let head = PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            packet_id: self.packet_id,
            properties: [self.properties.as_bytes(), &[]],
            payload_len: self.payload.len(),
        };
        head.encode(version, out)?;
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

/// Everything of a PUBLISH in front of its payload.
///
/// A Server that forwards a message leaves the payload where it is, adds properties of its own in
/// front of the publisher's, and changes only the Packet Identifier from receiver to receiver.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// See [`Publish::dup`].
    pub dup: bool,
    /// See [`Publish::qos`].
    pub qos: QoS,
    /// See [`Publish::retain`].
    pub retain: bool,
    /// See [`Publish::topic`].
    pub topic: &'a str,
    /// Present exactly when the QoS is above 0.
    pub packet_id: Option<PacketIdentifier>,
    /// Two property blocks that follow each other on the wire (5.0 only).
    pub properties: [&'a [u8]; 2],
    /// Bytes of payload that will follow.
    pub payload_len: usize,
}

impl PublishHead<'_> {
    /// Bytes of the whole packet including the payload, or `None` when it can't be encoded.
    #[inline]
    pub fn packet_len(&self, version: Version) -> Option<usize> {
        let remaining = self.remaining_len(version)?;
        // Below 2^28 and four bytes.
        Some((remaining as usize).wrapping_add(varint::len(remaining)).wrapping_add(1))
    }

    /// Bytes of both property blocks.
    #[inline]
    fn block_len(&self) -> usize {
        let [first, second] = self.properties;
        first.len().wrapping_add(second.len())
    }

    #[inline]
    fn remaining_len(&self, version: Version) -> Option<u32> {
        // Sums of the lengths of slices, each of which is in memory.
        let mut len = self.topic.len().wrapping_add(self.payload_len).wrapping_add(2);
        if self.packet_id.is_some() {
            len.up(2);
        }
        if version.has_properties() {
            let block = self.block_len();
            len.up(block.wrapping_add(varint::len(u32::try_from(block).ok()?)));
        }
        u32::try_from(len).ok().filter(|&len| len <= REMAINING_LENGTH_MAX)
    }

    /// Appends the packet up to its payload; returns where in `out` the Packet Identifier stands,
    /// so that a copy for another receiver can be patched with [`patch_packet_id`].
    ///
    /// # Errors
    /// The topic or the packet is too long; `out` is then unchanged.
    #[inline]
    pub fn encode(
        &self,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, EncodeError> {
        let topic_len = u16::try_from(self.topic.len()).map_err(|_| EncodeError::FieldTooLong)?;
        let remaining = self.remaining_len(version).ok_or(EncodeError::PacketTooLarge)?;
        out.reserve((remaining as usize).saturating_sub(self.payload_len).wrapping_add(5));
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push((PacketType::Publish as u8) << 4 | flags);
        varint::write(out, remaining);
        out.extend_from_slice(&topic_len.to_be_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        let packet_id_at = self.packet_id.map(|packet_id| {
            let at = out.len();
            out.extend_from_slice(&packet_id.get().to_be_bytes());
            at
        });
        if version.has_properties() {
            let [first, second] = self.properties;
            varint::write(out, self.block_len() as u32);
            out.extend_from_slice(first);
            out.extend_from_slice(second);
        }
        Ok(packet_id_at)
    }
}

/// Overwrites the Packet Identifier that [`PublishHead::encode`] put at `at`.
#[inline]
pub fn patch_packet_id(bytes: &mut [u8], at: usize, packet_id: PacketIdentifier) {
    if let Some(place) = bytes.get_mut(at..).and_then(|behind| behind.first_chunk_mut()) {
        *place = packet_id.get().to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    fn publish<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        }
    }

    #[test]
    fn vectors() {
        let qos0 = publish("a/b", b"hi");
        let wire = [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'];
        check_vector(Version::V31, Packet::Publish(qos0), &wire);
        check_vector(Version::V311, Packet::Publish(qos0), &wire);
        let wire = [0x30, 8, 0, 3, b'a', b'/', b'b', 0, b'h', b'i'];
        check_vector(Version::V5, Packet::Publish(qos0), &wire);

        let packet_id = PacketIdentifier::new(10);
        let qos1 = Publish { dup: true, qos: QoS::AtLeastOnce, packet_id, ..qos0 };
        let wire = [0x3A, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i'];
        check_vector(Version::V311, Packet::Publish(qos1), &wire);
        let qos2 = Publish {
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id,
            properties: Properties::from_checked(&[0x01, 1]),
            payload: b"",
            ..qos0
        };
        let wire = [0x35, 10, 0, 3, b'a', b'/', b'b', 0, 10, 2, 0x01, 1];
        check_vector(Version::V5, Packet::Publish(qos2), &wire);
        let alias =
            Publish { properties: Properties::from_checked(&[0x23, 0, 1]), ..publish("", b"") };
        check_vector(Version::V5, Packet::Publish(alias), &[0x30, 6, 0, 0, 3, 0x23, 0, 1]);
    }

    #[test]
    fn offences() {
        use crate::topic::TopicError;
        let empty = Offence::Topic(TopicError::Empty);
        for (version, wire, offence) in [
            (Version::V311, &[0x36, 5, 0, 1, b'a', 0, 1][..], Offence::QoSInvalid),
            (Version::V311, &[0x38, 3, 0, 1, b'a'], Offence::DupOnQoS0),
            (Version::V311, &[0x30, 2, 0, 0], empty),
            (Version::V311, &[0x32, 5, 0, 1, b'a', 0, 0], Offence::PacketIdentifierZero),
            (Version::V311, &[0x32, 3, 0, 1, b'a'], Offence::BodyTooShort),
            (Version::V5, &[0x30, 3, 0, 1, b'a'], Offence::BodyTooShort),
            (Version::V5, &[0x30, 4, 0, 1, 0xFF, 0], Offence::NotUtf8),
        ] {
            check_offence(version, wire, offence);
        }
        let wire = [0x30, 3, 0, 1, b'#'];
        let frame = crate::codec::Frame::peek(&wire, 9).unwrap().unwrap();
        let refused = Packet::decode(Version::V311, frame, &wire).unwrap_err();
        assert!(matches!(refused, Offence::Topic(_)), "{refused:?}");
    }

    #[test]
    fn one_encoding_serves_many_receivers() {
        let head = PublishHead {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "t",
            packet_id: PacketIdentifier::new(1),
            properties: [&[0x0B, 1], &[0x01, 0]],
            payload_len: 1,
        };
        let mut out = vec![];
        let at = head.encode(Version::V5, &mut out).unwrap().unwrap();
        out.push(b'x');
        assert_eq!(head.packet_len(Version::V5), Some(out.len()));
        patch_packet_id(&mut out, at, PacketIdentifier::new(0x0203).unwrap());
        assert_eq!(out, [0x32, 11, 0, 1, b't', 2, 3, 4, 0x0B, 1, 0x01, 0, b'x']);
    }
}
