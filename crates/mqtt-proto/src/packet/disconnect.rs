//! DISCONNECT (MQTT 3.14): the last packet of a connection, from either side in 5.0.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Normal disconnection is [`ReasonCode::Success`]; the only value in 3.x.
    pub reason: ReasonCode,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::EMPTY }
    }

    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let mut disconnect = Self::new(ReasonCode::Success);
        if version.has_properties() && !reader.is_empty() {
            disconnect.reason = ReasonCode::from_u8(reader.u8()?)
                .filter(|&reason| may_carry(reason))
                .ok_or(Offence::UnknownReasonCode)?;
            if !reader.is_empty() {
                disconnect.properties = Properties::decode(reader, Place::Disconnect)?;
            }
        }
        Ok(disconnect)
    }

    /// Appends the packet in its shortest form.
    ///
    /// # Errors
    /// The properties are too long.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Disconnect.first_byte(), |w| {
            let short = self.reason == ReasonCode::Success && self.properties.is_empty();
            if version.has_properties() && !short {
                w.u8(self.reason.value());
                if !self.properties.is_empty() {
                    w.block(self.properties.as_bytes());
                }
            }
        })
    }
}

/// The reason codes of table 3-10.
fn may_carry(reason: ReasonCode) -> bool {
    use ReasonCode::*;
    match reason {
        Success | DisconnectWithWillMessage => true,
        UnsupportedProtocolVersion
        | ClientIdentifierNotValid
        | BadUserNameOrPassword
        | ServerUnavailable
        | Banned
        | PacketIdentifierInUse
        | PacketIdentifierNotFound => false,
        other => other.is_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    #[test]
    fn vectors() {
        let normal = Disconnect::new(ReasonCode::Success);
        for version in [Version::V31, Version::V311, Version::V5] {
            check_vector(version, Packet::Disconnect(normal), &[0xE0, 0]);
        }
        let will = Disconnect::new(ReasonCode::DisconnectWithWillMessage);
        check_vector(Version::V5, Packet::Disconnect(will), &[0xE0, 1, 4]);
        let expiry =
            Disconnect { properties: Properties::from_checked(&[0x11, 0, 0, 0, 9]), ..normal };
        check_vector(Version::V5, Packet::Disconnect(expiry), &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9]);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0xE0, 1, 0], Offence::BodyTooLong);
        // Codes of other packets (table 3-13 does not have them).
        let others = [
            0x01, 0x02, 0x10, 0x11, 0x18, 0x19, 0x84, 0x85, 0x86, 0x88, 0x8A, 0x91, 0x92, 0x03,
            0xA3,
        ];
        for code in others {
            check_offence(Version::V5, &[0xE0, 1, code], Offence::UnknownReasonCode);
        }
    }
}
