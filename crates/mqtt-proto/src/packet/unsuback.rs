//! UNSUBACK (MQTT 3.11).

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::version::Version;

/// The Server answers an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketIdentifier,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
    /// One for each filter in 5.0; empty in 3.x.
    pub reason_codes: &'a [u8],
}

impl<'a> Unsuback<'a> {
    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let packet_id = reader.packet_id()?;
        if !version.has_properties() {
            return Ok(Self { packet_id, properties: Properties::EMPTY, reason_codes: &[] });
        }
        let properties = Properties::decode(reader, Place::Suback)?;
        let reason_codes = reader.take_rest();
        if reason_codes.is_empty() {
            return Err(Offence::NoReasonCode);
        }
        let known = |code: &u8| matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91);
        if !reason_codes.iter().all(known) {
            return Err(Offence::UnknownReasonCode);
        }
        Ok(Self { packet_id, properties, reason_codes })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// The packet is too large.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Unsuback.first_byte(), |w| {
            w.u16(self.packet_id.get());
            if version.has_properties() {
                w.block(self.properties.as_bytes());
                w.raw(self.reason_codes);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    #[test]
    fn vectors() {
        let packet_id = PacketIdentifier::new(10).unwrap();
        let plain = Unsuback { packet_id, properties: Properties::EMPTY, reason_codes: &[] };
        check_vector(Version::V311, Packet::Unsuback(plain), &[0xB0, 2, 0, 10]);
        let coded = Unsuback { reason_codes: &[0, 0x11], ..plain };
        check_vector(Version::V5, Packet::Unsuback(coded), &[0xB0, 5, 0, 10, 0, 0, 0x11]);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0xB0, 3, 0, 10, 0], Offence::BodyTooLong);
        check_offence(Version::V5, &[0xB0, 3, 0, 10, 0], Offence::NoReasonCode);
        check_offence(Version::V5, &[0xB0, 4, 0, 10, 0, 1], Offence::UnknownReasonCode);
    }
}
