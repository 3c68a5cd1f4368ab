//! SUBSCRIBE (MQTT 3.8): Topic Filters with their options.

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::PacketType;
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::topic::{SharedFilter, TopicFilter};
use crate::version::Version;

/// The Client asks for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Repeated in the SUBACK.
    pub packet_id: PacketIdentifier,
    /// 5.0 properties: Subscription Identifier and User Properties.
    pub properties: Properties<'a>,
    /// At least one filter.
    pub filters: SubscribeFilters<'a>,
}

/// Subscription Options (3.8.3.1). In 3.x only the QoS is on the wire and the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS at which the Server may send.
    pub qos: QoS,
    /// Do not send back what this Client itself published.
    pub no_local: bool,
    /// Keep the RETAIN flag as the publisher set it.
    pub retain_as_published: bool,
    /// Whether retained messages are sent when the subscription is made.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent (3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE; the only behaviour of 3.x.
    #[default]
    AtSubscribe = 0,
    /// Only when the subscription does not exist yet.
    IfNew = 1,
    /// Never.
    Never = 2,
}

impl SubscriptionOptions {
    /// The options a 3.x Client can ask for.
    pub const fn with_qos(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::AtSubscribe,
        }
    }

    /// The byte on the wire.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// Reads the byte of a 5.0 packet.
    ///
    /// # Errors
    /// Reserved bits, QoS 3 or retain handling 3.
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Self, Offence> {
        if byte & 0xC0 != 0 {
            return Err(Offence::SubscriptionOptionsReserved);
        }
        let Some(qos) = QoS::from_u8(byte & 0b11) else {
            return Err(Offence::SubscriptionQoSInvalid);
        };
        let retain_handling = match (byte >> 4) & 0b11 {
            0 => RetainHandling::AtSubscribe,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(Offence::RetainHandlingInvalid),
        };
        Ok(Self {
            qos,
            no_local: byte & 0b0100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling,
        })
    }
}

/// The filters of a SUBSCRIBE as they stand on the wire, checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilters<'a>(&'a [u8]);

impl<'a> SubscribeFilters<'a> {
    /// The filters that [`push_filter`] has put into `bytes`.
    pub const fn from_pushed(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Each filter, `$share/…` included, with its options.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + use<'a> {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || {
            let filter = reader.string().ok()?;
            Some((filter, SubscriptionOptions::from_byte(reader.u8().ok()?).ok()?))
        })
    }
}

impl core::fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends one filter to the bytes behind a [`SubscribeFilters`].
///
/// # Errors
/// The filter is longer than 65,535 bytes.
pub fn push_filter(
    bytes: &mut Vec<u8>,
    filter: &str,
    options: SubscriptionOptions,
) -> Result<(), EncodeError> {
    let len = u16::try_from(filter.len()).map_err(|_| EncodeError::FieldTooLong)?;
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(filter.as_bytes());
    bytes.push(options.to_byte());
    Ok(())
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            Properties::decode(reader, Place::Subscribe)?
        } else {
            Properties::EMPTY
        };
        let filters = reader.take_rest();
        if filters.is_empty() {
            return Err(Offence::NoTopicFilter);
        }
        check_filters(version, filters)?;
        Ok(Self { packet_id, properties, filters: SubscribeFilters(filters) })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// The packet is too large.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Subscribe.first_byte(), |w| {
            w.u16(self.packet_id.get());
            if version.has_properties() {
                w.block(self.properties.as_bytes());
                w.raw(self.filters.0);
            } else {
                for (filter, options) in self.filters.iter() {
                    w.binary(filter.as_bytes());
                    w.u8(options.qos as u8);
                }
            }
        })
    }
}

fn check_filters(version: Version, bytes: &[u8]) -> Result<(), Offence> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let filter = reader.string()?;
        let options = reader.u8()?;
        if !version.has_subscription_options() && options > 2 {
            return Err(Offence::SubscriptionOptionsReserved);
        }
        let options = SubscriptionOptions::from_byte(options)?;
        let is_shared = check_filter(version, filter)?;
        if is_shared && options.no_local {
            return Err(Offence::NoLocalOnSharedSubscription);
        }
    }
    Ok(())
}

/// Checks a filter, shared or not; `$share` is an ordinary first level before 5.0, but Mosquitto
/// and others let 3.1.1 Clients share too, so its form is checked for all. Returns whether it is
/// shared.
pub(crate) fn check_filter(_version: Version, filter: &str) -> Result<bool, Offence> {
    match SharedFilter::parse(filter)? {
        Some(_) => Ok(true),
        None => {
            TopicFilter::new(filter)?;
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    #[test]
    fn vectors() {
        let packet_id = PacketIdentifier::new(10).unwrap();
        let mut bytes = vec![];
        push_filter(&mut bytes, "a/+", SubscriptionOptions::with_qos(QoS::AtLeastOnce)).unwrap();
        push_filter(&mut bytes, "#", SubscriptionOptions::with_qos(QoS::ExactlyOnce)).unwrap();
        let filters = SubscribeFilters::from_pushed(&bytes);
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        let wire = b"\x82\x0c\x00\x0a\x00\x03a/+\x01\x00\x01#\x02";
        check_vector(Version::V31, Packet::Subscribe(subscribe), wire);
        check_vector(Version::V311, Packet::Subscribe(subscribe), wire);

        let mut bytes = vec![];
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        };
        push_filter(&mut bytes, "b", options).unwrap();
        let filters = SubscribeFilters::from_pushed(&bytes);
        let properties = Properties::from_checked(&[0x0B, 5]);
        let subscribe = Subscribe { packet_id, properties, filters };
        let wire = b"\x82\x09\x00\x0a\x02\x0b\x05\x00\x01b\x2d";
        check_vector(Version::V5, Packet::Subscribe(subscribe), wire);
    }

    #[test]
    fn offences() {
        for (version, wire, offence) in [
            (Version::V311, &b"\x82\x02\x00\x0a"[..], Offence::NoTopicFilter),
            (Version::V311, b"\x82\x06\x00\x0a\x00\x01a\x03", Offence::SubscriptionOptionsReserved),
            (Version::V311, b"\x82\x06\x00\x0a\x00\x01a\x04", Offence::SubscriptionOptionsReserved),
            (Version::V311, b"\x82\x05\x00\x0a\x00\x01a", Offence::BodyTooShort),
            (Version::V5, b"\x82\x07\x00\x0a\x00\x00\x01a\x03", Offence::SubscriptionQoSInvalid),
            (Version::V5, b"\x82\x07\x00\x0a\x00\x00\x01a\x30", Offence::RetainHandlingInvalid),
            (
                Version::V5,
                b"\x82\x07\x00\x0a\x00\x00\x01a\x40",
                Offence::SubscriptionOptionsReserved,
            ),
            (
                Version::V5,
                b"\x82\x10\x00\x0a\x00\x00\x0a$share/g/a\x04",
                Offence::NoLocalOnSharedSubscription,
            ),
        ] {
            check_offence(version, wire, offence);
        }
    }

    #[test]
    fn options_survive_the_wire_and_nothing_else_does() {
        let mut valid = 0;
        for byte in 0..=255 {
            if let Ok(options) = SubscriptionOptions::from_byte(byte) {
                assert_eq!(options.to_byte(), byte);
                valid += 1;
            }
        }
        assert_eq!(valid, 3 * 2 * 2 * 3);
    }
}
