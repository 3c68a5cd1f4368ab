//! AUTH (MQTT 3.15, 5.0 only): a step of enhanced authentication.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;

/// One message of an authentication exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue Authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method and Data among them.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Offence> {
        if reader.is_empty() {
            return Ok(Self { reason: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let reason = match ReasonCode::from_u8(reader.u8()?) {
            Some(
                reason @ (ReasonCode::Success
                | ReasonCode::ContinueAuthentication
                | ReasonCode::ReAuthenticate),
            ) => reason,
            _ => return Err(Offence::UnknownReasonCode),
        };
        let properties = if reader.is_empty() {
            Properties::EMPTY
        } else {
            Properties::decode(reader, Place::Auth)?
        };
        Ok(Self { reason, properties })
    }

    /// Appends the packet in its shortest form.
    ///
    /// # Errors
    /// The properties are too long.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Auth.first_byte(), |w| {
            if self.reason != ReasonCode::Success || !self.properties.is_empty() {
                w.u8(self.reason.value());
                w.block(self.properties.as_bytes());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};
    use crate::version::Version;

    #[test]
    fn vectors() {
        let success = Auth { reason: ReasonCode::Success, properties: Properties::EMPTY };
        check_vector(Version::V5, Packet::Auth(success), &[0xF0, 0]);
        let properties = Properties::from_checked(&[0x15, 0, 1, b'M', 0x16, 0, 1, 7]);
        let step = Auth { reason: ReasonCode::ContinueAuthentication, properties };
        let wire = [0xF0, 10, 0x18, 8, 0x15, 0, 1, b'M', 0x16, 0, 1, 7];
        check_vector(Version::V5, Packet::Auth(step), &wire);
    }

    #[test]
    fn offences() {
        check_offence(Version::V5, &[0xF0, 1, 0x87], Offence::UnknownReasonCode);
        let wire = [0xF0, 6, 0x18, 4, 0x16, 0, 1, 7];
        check_offence(Version::V5, &wire, Offence::AuthenticationDataWithoutMethod);
    }
}
