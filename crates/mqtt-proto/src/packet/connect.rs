//! CONNECT (MQTT 3.1): the first packet of a connection, always from the Client.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::topic::TopicName;
use crate::version::Version;

/// The Client asks for a connection and names its Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version this connection will speak.
    pub version: Version,
    /// The high bit of the protocol level was set: a bridge of Mosquitto's kind announces itself.
    pub is_bridge: bool,
    /// Clean Session (3.x) or Clean Start (5.0): begin without the old Session.
    pub clean_start: bool,
    /// Seconds; 0 switches the mechanism off (3.1.2.10).
    pub keep_alive_seconds: u16,
    /// May be empty since 3.1.1: the Server then assigns one.
    pub client_id: &'a str,
    /// Published when the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password: any bytes.
    pub password: Option<&'a [u8]>,
    /// 5.0 properties; empty otherwise.
    pub properties: Properties<'a>,
}

/// The Will Message in a CONNECT (3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// QoS it is published with.
    pub qos: QoS,
    /// Published as a retained message.
    pub retain: bool,
    /// Where it is published.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Will properties (3.1.3.2): those of a PUBLISH and the Will Delay Interval.
    pub properties: Properties<'a>,
}

const BRIDGE: u8 = 0x80;
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

impl<'a> Connect<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let (version, is_bridge) = decode_version(reader)?;
        let flags = reader.u8()?;
        // 3.1 did not reserve the bit.
        if flags & RESERVED != 0 && version != Version::V31 {
            return Err(Offence::ConnectFlagsReserved);
        }
        let keep_alive_seconds = reader.u16()?;
        let properties = decode_properties(version, reader, Place::Connect)?;
        let client_id = reader.string()?;
        let will = Will::decode(version, flags, reader)?;
        let has_username = flags & USER_NAME != 0;
        let has_password = flags & PASSWORD != 0;
        if has_password && !has_username && version.password_needs_username() {
            return Err(Offence::PasswordWithoutUserName);
        }
        let username = has_username.then(|| reader.string()).transpose()?;
        let password = has_password.then(|| reader.binary()).transpose()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            is_bridge,
            clean_start,
            keep_alive_seconds,
            client_id,
            will,
            username,
            password,
            properties,
        })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// A field is too long.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Connect.first_byte(), |w| {
            w.binary(self.version.protocol_name().as_bytes());
            w.u8(self.version.level() | if self.is_bridge { BRIDGE } else { 0 });
            w.u8(self.flags());
            w.u16(self.keep_alive_seconds);
            if self.version.has_properties() {
                w.block(self.properties.as_bytes());
            }
            w.binary(self.client_id.as_bytes());
            if let Some(will) = &self.will {
                if self.version.has_properties() {
                    w.block(will.properties.as_bytes());
                }
                w.binary(will.topic.as_bytes());
                w.binary(will.payload);
            }
            if let Some(username) = self.username {
                w.binary(username.as_bytes());
            }
            if let Some(password) = self.password {
                w.binary(password);
            }
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3;
            flags |= if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.username.is_some() { USER_NAME } else { 0 };
        flags | if self.password.is_some() { PASSWORD } else { 0 }
    }
}

impl<'a> Will<'a> {
    fn decode(
        version: Version,
        flags: u8,
        reader: &mut Reader<'a>,
    ) -> Result<Option<Self>, Offence> {
        let qos = (flags >> 3) & 0b11;
        let retain = flags & WILL_RETAIN != 0;
        if flags & WILL == 0 {
            // 3.1 did not tie the flags together.
            let stray = (qos != 0 || retain) && version != Version::V31;
            return if stray { Err(Offence::WillFlagsWithoutWill) } else { Ok(None) };
        }
        let qos = QoS::from_u8(qos).ok_or(Offence::WillQoSInvalid)?;
        let properties = decode_properties(version, reader, Place::Will)?;
        let topic = reader.string()?;
        TopicName::new(topic)?;
        let payload = reader.binary()?;
        Ok(Some(Self { qos, retain, topic, payload, properties }))
    }
}

fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), Offence> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Offence::ProtocolNameUnknown);
    }
    let level = reader.u8()?;
    let is_bridge = level & BRIDGE != 0;
    match (name, level & !BRIDGE) {
        (b"MQIsdp", 3) => Ok((Version::V31, is_bridge)),
        (b"MQTT", 4) => Ok((Version::V311, is_bridge)),
        (b"MQTT", 5) => Ok((Version::V5, is_bridge)),
        _ => Err(Offence::ProtocolVersionUnsupported),
    }
}

fn decode_properties<'a>(
    version: Version,
    reader: &mut Reader<'a>,
    place: Place,
) -> Result<Properties<'a>, Offence> {
    if version.has_properties() { Properties::decode(reader, place) } else { Ok(Properties::EMPTY) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};
    use crate::topic::TopicError;

    fn connect(version: Version) -> Connect<'static> {
        Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive_seconds: 60,
            client_id: "id",
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        }
    }

    #[test]
    fn vectors() {
        let wire = b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02id";
        check_vector(Version::V311, Packet::Connect(connect(Version::V31)), wire);
        let wire = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id";
        check_vector(Version::V311, Packet::Connect(connect(Version::V311)), wire);
        let bridge = Connect { is_bridge: true, ..connect(Version::V311) };
        let wire = b"\x10\x0e\x00\x04MQTT\x84\x02\x00\x3c\x00\x02id";
        check_vector(Version::V311, Packet::Connect(bridge), wire);

        let will = Will {
            qos: QoS::ExactlyOnce,
            retain: true,
            topic: "w",
            payload: b"gone",
            properties: Properties::from_checked(&[0x18, 0, 0, 0, 5]),
        };
        let full = Connect {
            clean_start: false,
            will: Some(will),
            username: Some("u"),
            password: Some(b"p\0"),
            properties: Properties::from_checked(&[0x11, 0, 0, 0, 10, 0x21, 0, 20]),
            ..connect(Version::V5)
        };
        let wire = b"\x10\x2d\x00\x04MQTT\x05\xf4\x00\x3c\x08\x11\x00\x00\x00\x0a\x21\x00\x14\
            \x00\x02id\x05\x18\x00\x00\x00\x05\x00\x01w\x00\x04gone\x00\x01u\x00\x02p\x00";
        check_vector(Version::V311, Packet::Connect(full), wire);
    }

    #[test]
    fn offences() {
        for (wire, offence) in [
            (&b"\x10\x0e\x00\x04MQTX\x04\x02\x00\x3c\x00\x02id"[..], Offence::ProtocolNameUnknown),
            (
                b"\x10\x0e\x00\x04MQTT\x06\x02\x00\x3c\x00\x02id",
                Offence::ProtocolVersionUnsupported,
            ),
            (
                b"\x10\x0e\x00\x04MQTT\x03\x02\x00\x3c\x00\x02id",
                Offence::ProtocolVersionUnsupported,
            ),
            (b"\x10\x0e\x00\x04MQTT\x04\x03\x00\x3c\x00\x02id", Offence::ConnectFlagsReserved),
            (b"\x10\x0e\x00\x04MQTT\x04\x0a\x00\x3c\x00\x02id", Offence::WillFlagsWithoutWill),
            (b"\x10\x0e\x00\x04MQTT\x04\x22\x00\x3c\x00\x02id", Offence::WillFlagsWithoutWill),
            (b"\x10\x0e\x00\x04MQTT\x04\x1e\x00\x3c\x00\x02id", Offence::WillQoSInvalid),
            (
                b"\x10\x13\x00\x04MQTT\x04\x06\x00\x3c\x00\x02id\x00\x01#\x00\x00",
                Offence::Topic(TopicError::WildcardInName),
            ),
            (
                b"\x10\x12\x00\x04MQTT\x04\x06\x00\x3c\x00\x02id\x00\x00\x00\x00",
                Offence::Topic(TopicError::Empty),
            ),
            (b"\x10\x0e\x00\x04MQTT\x04\x42\x00\x3c\x00\x02id", Offence::PasswordWithoutUserName),
            (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x02i", Offence::BodyTooShort),
            (b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x02idx", Offence::BodyTooLong),
            (
                b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x02\x18\x00\x00\x02id",
                Offence::PropertyNotAllowed,
            ),
        ] {
            check_offence(Version::V311, wire, offence);
        }
    }

    #[test]
    fn a_password_without_user_name_is_allowed_in_5_0() {
        let token = Connect { password: Some(b"t"), ..connect(Version::V5) };
        let wire = b"\x10\x12\x00\x04MQTT\x05\x42\x00\x3c\x00\x00\x02id\x00\x01t";
        check_vector(Version::V5, Packet::Connect(token), wire);
    }
}
