//! CONNACK (MQTT 3.2): the Server's answer to CONNECT.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The connection is accepted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// The Server has Session State for this Client; always false in 3.1.
    pub session_present: bool,
    /// The byte on the wire: a [`ReasonCode`] in 5.0, a return code (0 to 5) in 3.x.
    pub code: u8,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
}

/// The largest return code of 3.x. A Server that knows no 5.0 refuses a 5.0 Client with one of
/// them and without properties.
const OLD_CODE_MAX: u8 = 5;

impl<'a> Connack<'a> {
    /// Whether the connection was accepted.
    pub const fn is_accepted(&self) -> bool {
        self.code == 0
    }

    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let flags = reader.u8()?;
        // 3.1 calls the byte reserved and unused.
        if flags & !1 != 0 && version.has_session_present() {
            return Err(Offence::ConnackFlagsReserved);
        }
        let session_present = flags & 1 != 0 && version.has_session_present();
        let code = reader.u8()?;
        if session_present && code != 0 {
            return Err(Offence::SessionPresentOnRefusal);
        }
        let properties = if version.has_properties() && !reader.is_empty() {
            if ReasonCode::from_u8(code).is_none_or(|reason| code != 0 && !reason.is_error()) {
                return Err(Offence::UnknownReasonCode);
            }
            Properties::decode(reader, Place::Connack)?
        } else if code > OLD_CODE_MAX
            && !ReasonCode::from_u8(code).is_some_and(ReasonCode::is_error)
        {
            return Err(Offence::UnknownReasonCode);
        } else {
            Properties::EMPTY
        };
        Ok(Self { session_present, code, properties })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// The properties are too long.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Connack.first_byte(), |w| {
            w.u8(u8::from(self.session_present && version.has_session_present()));
            w.u8(self.code);
            if version.has_properties() {
                w.block(self.properties.as_bytes());
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
        let ok = Connack { session_present: false, code: 0, properties: Properties::EMPTY };
        check_vector(Version::V31, Packet::Connack(ok), &[0x20, 2, 0, 0]);
        check_vector(Version::V311, Packet::Connack(ok), &[0x20, 2, 0, 0]);
        check_vector(Version::V5, Packet::Connack(ok), &[0x20, 3, 0, 0, 0]);
        let present = Connack { session_present: true, ..ok };
        check_vector(Version::V311, Packet::Connack(present), &[0x20, 2, 1, 0]);
        let mut wire = vec![];
        present.encode(Version::V31, &mut wire).unwrap();
        assert_eq!(wire, [0x20, 2, 0, 0], "3.1 has no such flag");
        let refused = Connack { code: 5, ..ok };
        check_vector(Version::V311, Packet::Connack(refused), &[0x20, 2, 0, 5]);
        let refused = Connack { code: 0x87, ..ok };
        check_vector(Version::V5, Packet::Connack(refused), &[0x20, 3, 0, 0x87, 0]);
        let properties = [0x22, 0, 10, 0x27, 0, 0x1E, 0x84, 0x80, 0x21, 0, 20];
        let mosquitto = Connack { properties: Properties::from_checked(&properties), ..ok };
        let mut wire = vec![0x20, 14, 0, 0, 11];
        wire.extend_from_slice(&properties);
        check_vector(Version::V5, Packet::Connack(mosquitto), &wire);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0x20, 2, 2, 0], Offence::ConnackFlagsReserved);
        check_offence(Version::V311, &[0x20, 2, 1, 5], Offence::SessionPresentOnRefusal);
        check_offence(Version::V5, &[0x20, 3, 0, 0x7F, 0], Offence::UnknownReasonCode);
        check_offence(Version::V5, &[0x20, 3, 0, 1, 0], Offence::UnknownReasonCode);
        check_offence(Version::V5, &[0x20, 2, 0, 7], Offence::UnknownReasonCode);
        check_offence(Version::V5, &[0x20, 2, 0, 0x19], Offence::UnknownReasonCode);
        check_offence(Version::V311, &[0x20, 2, 0, 6], Offence::UnknownReasonCode);
        check_offence(Version::V311, &[0x20, 1, 0], Offence::BodyTooShort);
    }
}
