//! SUBACK (MQTT 3.9): one reason code for each filter of a SUBSCRIBE, in its order.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::version::Version;

/// The Server answers a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketIdentifier,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
    /// 0 to 2: the granted QoS; 0x80 and above: refused. 3.1 knows no refusal.
    pub reason_codes: &'a [u8],
}

impl<'a> Suback<'a> {
    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            Properties::decode(reader, Place::Suback)?
        } else {
            Properties::EMPTY
        };
        let reason_codes = reader.take_rest();
        if reason_codes.is_empty() {
            return Err(Offence::NoReasonCode);
        }
        if reason_codes.iter().any(|&code| (3..0x80).contains(&code)) {
            return Err(Offence::UnknownReasonCode);
        }
        Ok(Self { packet_id, properties, reason_codes })
    }

    /// Appends the packet. Below 5.0 every refusal becomes 0x80 (3.1.1 section 3.9.3).
    ///
    /// # Errors
    /// The packet is too large.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Suback.first_byte(), |w| {
            w.u16(self.packet_id.get());
            if version.has_properties() {
                w.block(self.properties.as_bytes());
                w.raw(self.reason_codes);
            } else {
                self.reason_codes.iter().for_each(|&code| w.u8(code.min(0x80)));
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
        let suback = Suback {
            packet_id: PacketIdentifier::new(10).unwrap(),
            properties: Properties::EMPTY,
            reason_codes: &[0, 1, 2, 0x80],
        };
        let wire = [0x90, 6, 0, 10, 0, 1, 2, 0x80];
        check_vector(Version::V311, Packet::Suback(suback), &wire);
        let suback = Suback { reason_codes: &[2, 0x87], ..suback };
        check_vector(Version::V5, Packet::Suback(suback), &[0x90, 5, 0, 10, 0, 2, 0x87]);
        let mut out = vec![];
        suback.encode(Version::V311, &mut out).unwrap();
        assert_eq!(out, [0x90, 4, 0, 10, 2, 0x80]);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0x90, 2, 0, 10], Offence::NoReasonCode);
        check_offence(Version::V311, &[0x90, 3, 0, 10, 3], Offence::UnknownReasonCode);
        check_offence(Version::V311, &[0x90, 3, 0, 0, 1], Offence::PacketIdentifierZero);
    }
}
