//! The fifteen Control Packets, one file each (the four publish acknowledgements share one).
//!
//! A decoded packet borrows its strings and its payload from the bytes it was read from. The same
//! structs are encoded.

use alloc::vec::Vec;

use crate::codec::{Frame, Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet_id::PacketIdentifier;
use crate::version::Version;

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod publish;
pub mod suback;
pub mod subscribe;
pub mod unsuback;
pub mod unsubscribe;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use suback::Suback;
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilters, SubscriptionOptions};
pub use unsuback::Unsuback;
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};

/// Packet type, the high half of the first byte (MQTT 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum PacketType {
    Connect = 1,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

impl PacketType {
    /// The type a first byte names; 0 is reserved.
    #[inline]
    pub const fn from_first_byte(byte: u8) -> Option<Self> {
        use PacketType::*;
        Some(match byte >> 4 {
            1 => Connect,
            2 => Connack,
            3 => Publish,
            4 => Puback,
            5 => Pubrec,
            6 => Pubrel,
            7 => Pubcomp,
            8 => Subscribe,
            9 => Suback,
            10 => Unsubscribe,
            11 => Unsuback,
            12 => Pingreq,
            13 => Pingresp,
            14 => Disconnect,
            15 => Auth,
            _ => return None,
        })
    }

    /// The name in the standard.
    pub const fn name(self) -> &'static str {
        use PacketType::*;
        match self {
            Connect => "CONNECT",
            Connack => "CONNACK",
            Publish => "PUBLISH",
            Puback => "PUBACK",
            Pubrec => "PUBREC",
            Pubrel => "PUBREL",
            Pubcomp => "PUBCOMP",
            Subscribe => "SUBSCRIBE",
            Suback => "SUBACK",
            Unsubscribe => "UNSUBSCRIBE",
            Unsuback => "UNSUBACK",
            Pingreq => "PINGREQ",
            Pingresp => "PINGRESP",
            Disconnect => "DISCONNECT",
            Auth => "AUTH",
        }
    }

    /// The flags every packet of this type must carry; PUBLISH has flags of its own
    /// [MQTT-2.1.3-1].
    const fn reserved_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// The first byte of a packet of this type without flags of its own.
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self.reserved_flags() {
            Some(flags) => flags,
            None => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// Any Control Packet, borrowed from the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes the packet that `frame` found at the front of `bytes`.
    ///
    /// `version` is the connection's; a CONNECT brings its own and ignores it.
    ///
    /// # Errors
    /// The offence, with its clause and reason code.
    #[inline]
    pub fn decode(version: Version, frame: Frame, bytes: &'a [u8]) -> Result<Self, Offence> {
        let body = bytes.get(frame.body..frame.len).ok_or(Offence::BodyTooShort)?;
        if let Some(plain) = Self::plain_ack(frame.first_byte, body) {
            return Ok(plain);
        }
        Self::decode_body(version, frame.first_byte, body)
    }

    /// An acknowledgement of two bytes, the same in every version: most packets of QoS 1 and 2 are
    /// one, and for them the general way costs more than all the rest of the work.
    #[inline]
    fn plain_ack(first_byte: u8, body: &[u8]) -> Option<Self> {
        let &[high, low] = body else { return None };
        let ack = Ack::success(PacketIdentifier::new(u16::from_be_bytes([high, low]))?);
        Some(match first_byte {
            0x40 => Self::Puback(ack),
            0x50 => Self::Pubrec(ack),
            0x62 => Self::Pubrel(ack),
            0x70 => Self::Pubcomp(ack),
            _ => return None,
        })
    }

    /// Decodes from the first byte and the body behind the Remaining Length.
    ///
    /// # Errors
    /// As [`Packet::decode`].
    #[inline]
    pub fn decode_body(version: Version, first_byte: u8, body: &'a [u8]) -> Result<Self, Offence> {
        let packet_type =
            PacketType::from_first_byte(first_byte).ok_or(Offence::ReservedPacketType)?;
        if let Some(flags) = packet_type.reserved_flags() {
            // 0b0010 is QoS 1: the three requests of which 3.1 has repeats.
            let may_repeat = flags != 0 && version.requests_carry_dup();
            if first_byte & 0x0F != flags && !may_repeat {
                return Err(Offence::ReservedFlags);
            }
        }
        let mut reader = Reader::new(body);
        let r = &mut reader;
        let packet = match packet_type {
            PacketType::Publish => Self::Publish(Publish::decode(version, first_byte & 0x0F, r)?),
            PacketType::Puback => Self::Puback(Ack::decode(version, packet_type, r)?),
            PacketType::Pubrec => Self::Pubrec(Ack::decode(version, packet_type, r)?),
            PacketType::Pubrel => Self::Pubrel(Ack::decode(version, packet_type, r)?),
            PacketType::Pubcomp => Self::Pubcomp(Ack::decode(version, packet_type, r)?),
            PacketType::Connect => Self::Connect(Connect::decode(r)?),
            PacketType::Connack => Self::Connack(Connack::decode(version, r)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(version, r)?),
            PacketType::Suback => Self::Suback(Suback::decode(version, r)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(version, r)?),
            PacketType::Unsuback => Self::Unsuback(Unsuback::decode(version, r)?),
            PacketType::Pingreq => Self::Pingreq,
            PacketType::Pingresp => Self::Pingresp,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(version, r)?),
            PacketType::Auth => {
                if !version.has_properties() {
                    return Err(Offence::ReservedPacketType);
                }
                Self::Auth(Auth::decode(r)?)
            }
        };
        reader.finish()?;
        Ok(packet)
    }

    /// Appends the packet to `out`.
    ///
    /// # Errors
    /// A field or the whole packet is too long for the wire; `out` is then unchanged.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::Connack(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Puback(ack) => ack.encode(PacketType::Puback, version, out),
            Self::Pubrec(ack) => ack.encode(PacketType::Pubrec, version, out),
            Self::Pubrel(ack) => ack.encode(PacketType::Pubrel, version, out),
            Self::Pubcomp(ack) => ack.encode(PacketType::Pubcomp, version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::Suback(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::Unsuback(packet) => packet.encode(version, out),
            Self::Pingreq => writer::packet(out, PacketType::Pingreq.first_byte(), |_| ()),
            Self::Pingresp => writer::packet(out, PacketType::Pingresp.first_byte(), |_| ()),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(out),
        }
    }

    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// Encodes, compares with `wire`, decodes again and compares with `packet`: what each packet's byte
/// vectors are checked with.
#[cfg(test)]
pub(crate) fn check_vector(version: Version, packet: Packet<'_>, wire: &[u8]) {
    let mut out = vec![0xEE];
    packet.encode(version, &mut out).unwrap();
    assert_eq!(&out[1..], wire, "encoding of {packet:?}");
    let frame = Frame::peek(wire, usize::MAX).unwrap().expect("a whole packet");
    assert_eq!(frame.len, wire.len());
    assert_eq!(Packet::decode(version, frame, wire), Ok(packet));
    for cut in 0..wire.len() {
        let part = &wire[..cut];
        assert_eq!(Frame::peek(part, usize::MAX), Ok(None), "cut at {cut}");
    }
}

#[cfg(test)]
pub(crate) fn check_offence(version: Version, wire: &[u8], offence: Offence) {
    let frame = Frame::peek(wire, usize::MAX).unwrap().expect("a whole packet");
    assert_eq!(Packet::decode(version, frame, wire), Err(offence), "{wire:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_two_bytes() {
        for version in [Version::V31, Version::V311, Version::V5] {
            check_vector(version, Packet::Pingreq, &[0xC0, 0]);
            check_vector(version, Packet::Pingresp, &[0xD0, 0]);
            check_offence(version, &[0xC0, 1, 0], Offence::BodyTooLong);
        }
    }

    #[test]
    fn repeated_requests_of_3_1_have_the_dup_flag() {
        let dup_pubrel = [0x6A, 2, 0, 1];
        let packet = Packet::decode_body(Version::V31, dup_pubrel[0], &dup_pubrel[2..]).unwrap();
        assert!(matches!(packet, Packet::Pubrel(_)), "{packet:?}");
        let dup_subscribe = [0x8A, 6, 0, 1, 0, 1, b'a', 0];
        let (first, body) = (dup_subscribe[0], &dup_subscribe[2..]);
        let packet = Packet::decode_body(Version::V31, first, body).unwrap();
        assert!(matches!(packet, Packet::Subscribe(_)), "{packet:?}");
        let dup_unsubscribe = [0xAA, 5, 0, 1, 0, 1, b'a'];
        let (first, body) = (dup_unsubscribe[0], &dup_unsubscribe[2..]);
        let packet = Packet::decode_body(Version::V31, first, body).unwrap();
        assert!(matches!(packet, Packet::Unsubscribe(_)), "{packet:?}");
        for later in [Version::V311, Version::V5] {
            check_offence(later, &dup_pubrel, Offence::ReservedFlags);
            check_offence(later, &dup_subscribe, Offence::ReservedFlags);
            check_offence(later, &dup_unsubscribe, Offence::ReservedFlags);
        }
        check_offence(Version::V31, &[0x4A, 2, 0, 1], Offence::ReservedFlags);
    }

    #[test]
    fn reserved_types_and_flags_are_refused() {
        check_offence(Version::V311, &[0x00, 0], Offence::ReservedPacketType);
        check_offence(Version::V311, &[0xF0, 0], Offence::ReservedPacketType);
        for first_byte in [0x12, 0x21, 0x41, 0x60, 0x80, 0x91, 0xA0, 0xB4, 0xC8, 0xD1, 0xE1] {
            check_offence(Version::V5, &[first_byte, 0], Offence::ReservedFlags);
        }
    }
}
