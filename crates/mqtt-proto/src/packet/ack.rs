//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 3.4 to 3.7), which have one shape.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// One step of a QoS 1 or QoS 2 exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The exchange it belongs to.
    pub packet_id: PacketIdentifier,
    /// Always [`ReasonCode::Success`] in 3.x.
    pub reason: ReasonCode,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// The plain acknowledgement of success.
    #[inline]
    pub const fn success(packet_id: PacketIdentifier) -> Self {
        Self::new(packet_id, ReasonCode::Success)
    }

    /// An acknowledgement without properties.
    #[inline]
    pub const fn new(packet_id: PacketIdentifier, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: Properties::EMPTY }
    }

    #[inline]
    pub(crate) fn decode(
        version: Version,
        packet_type: PacketType,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Offence> {
        let mut ack = Self::success(reader.packet_id()?);
        if version.has_properties() && !reader.is_empty() {
            ack.reason = ReasonCode::from_u8(reader.u8()?)
                .filter(|reason| may_carry(packet_type, *reason))
                .ok_or(Offence::UnknownReasonCode)?;
            // The property length may be left out too (3.4.2.2.1).
            if !reader.is_empty() {
                ack.properties = Properties::decode(reader, Place::Ack)?;
            }
        }
        Ok(ack)
    }

    /// Appends the packet in its shortest form.
    ///
    /// # Errors
    /// The properties are too long.
    #[inline]
    pub fn encode(
        &self,
        packet_type: PacketType,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let short = self.reason == ReasonCode::Success && self.properties.is_empty();
        if short || !version.has_properties() {
            let [high, low] = self.packet_id.get().to_be_bytes();
            out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
            return Ok(());
        }
        writer::packet(out, packet_type.first_byte(), |w| {
            w.u16(self.packet_id.get());
            w.u8(self.reason.value());
            if !self.properties.is_empty() {
                w.block(self.properties.as_bytes());
            }
        })
    }
}

/// The reason codes of 3.4.2.1, 3.5.2.1, 3.6.2.1 and 3.7.2.1.
fn may_carry(packet_type: PacketType, reason: ReasonCode) -> bool {
    use ReasonCode::*;
    match packet_type {
        PacketType::Pubrel | PacketType::Pubcomp => {
            matches!(reason, Success | PacketIdentifierNotFound)
        }
        _ => matches!(
            reason,
            Success
                | NoMatchingSubscribers
                | UnspecifiedError
                | ImplementationSpecificError
                | NotAuthorized
                | TopicNameInvalid
                | PacketIdentifierInUse
                | QuotaExceeded
                | PayloadFormatInvalid
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    #[test]
    fn vectors() {
        let id = PacketIdentifier::new(0x1234).unwrap();
        let plain = Ack::success(id);
        for version in [Version::V31, Version::V311, Version::V5] {
            check_vector(version, Packet::Puback(plain), &[0x40, 2, 0x12, 0x34]);
            check_vector(version, Packet::Pubrec(plain), &[0x50, 2, 0x12, 0x34]);
            check_vector(version, Packet::Pubrel(plain), &[0x62, 2, 0x12, 0x34]);
            check_vector(version, Packet::Pubcomp(plain), &[0x70, 2, 0x12, 0x34]);
        }
        let refused = Ack::new(id, ReasonCode::NotAuthorized);
        check_vector(Version::V5, Packet::Puback(refused), &[0x40, 3, 0x12, 0x34, 0x87]);
        let told = Ack { properties: Properties::from_checked(&[0x1F, 0, 1, b'x']), ..refused };
        let wire = [0x50, 8, 0x12, 0x34, 0x87, 4, 0x1F, 0, 1, b'x'];
        check_vector(Version::V5, Packet::Pubrec(told), &wire);
        let unknown = Ack::new(id, ReasonCode::PacketIdentifierNotFound);
        check_vector(Version::V5, Packet::Pubcomp(unknown), &[0x70, 3, 0x12, 0x34, 0x92]);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0x40, 1, 0], Offence::BodyTooShort);
        check_offence(Version::V311, &[0x40, 2, 0, 0], Offence::PacketIdentifierZero);
        check_offence(Version::V311, &[0x40, 3, 0, 1, 0], Offence::BodyTooLong);
        check_offence(Version::V5, &[0x40, 3, 0, 1, 0x92], Offence::UnknownReasonCode);
        check_offence(Version::V5, &[0x62, 3, 0, 1, 0x87], Offence::UnknownReasonCode);
        for first in [0x62, 0x70] {
            check_offence(Version::V5, &[first, 3, 0, 1, 0x97], Offence::UnknownReasonCode);
        }
        check_offence(Version::V5, &[0x40, 5, 0, 1, 0, 1, 0x11], Offence::PropertyNotAllowed);
    }
}
