//! UNSUBSCRIBE (MQTT 3.10).

use alloc::vec::Vec;

use crate::codec::{Reader, writer};
use crate::error::{EncodeError, Offence};
use crate::packet::{PacketType, subscribe};
use crate::packet_id::PacketIdentifier;
use crate::property::{Place, Properties};
use crate::version::Version;

/// The Client gives up subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Repeated in the UNSUBACK.
    pub packet_id: PacketIdentifier,
    /// 5.0 User Properties.
    pub properties: Properties<'a>,
    /// At least one filter.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE as they stand on the wire, checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a>(&'a [u8]);

impl<'a> UnsubscribeFilters<'a> {
    /// The filters that [`push_filter`] has put into `bytes`.
    pub const fn from_pushed(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Each filter, `$share/…` included.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || reader.string().ok())
    }
}

impl core::fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends one filter to the bytes behind an [`UnsubscribeFilters`].
///
/// # Errors
/// The filter is longer than 65,535 bytes.
pub fn push_filter(bytes: &mut Vec<u8>, filter: &str) -> Result<(), EncodeError> {
    let len = u16::try_from(filter.len()).map_err(|_| EncodeError::FieldTooLong)?;
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(filter.as_bytes());
    Ok(())
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(version: Version, reader: &mut Reader<'a>) -> Result<Self, Offence> {
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            Properties::decode(reader, Place::Unsubscribe)?
        } else {
            Properties::EMPTY
        };
        let filters = reader.take_rest();
        if filters.is_empty() {
            return Err(Offence::NoTopicFilter);
        }
        let mut rest = Reader::new(filters);
        while !rest.is_empty() {
            subscribe::check_filter(version, rest.string()?)?;
        }
        Ok(Self { packet_id, properties, filters: UnsubscribeFilters(filters) })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// The packet is too large.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        writer::packet(out, PacketType::Unsubscribe.first_byte(), |w| {
            w.u16(self.packet_id.get());
            if version.has_properties() {
                w.block(self.properties.as_bytes());
            }
            w.raw(self.filters.0);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, check_offence, check_vector};

    #[test]
    fn vectors() {
        let mut bytes = vec![];
        push_filter(&mut bytes, "a/+").unwrap();
        push_filter(&mut bytes, "b").unwrap();
        let filters = UnsubscribeFilters::from_pushed(&bytes);
        let packet_id = PacketIdentifier::new(10).unwrap();
        let unsubscribe = Unsubscribe { packet_id, properties: Properties::EMPTY, filters };
        let wire = b"\xa2\x0a\x00\x0a\x00\x03a/+\x00\x01b";
        check_vector(Version::V311, Packet::Unsubscribe(unsubscribe), wire);
        let wire = b"\xa2\x0b\x00\x0a\x00\x00\x03a/+\x00\x01b";
        check_vector(Version::V5, Packet::Unsubscribe(unsubscribe), wire);
    }

    #[test]
    fn offences() {
        check_offence(Version::V311, &[0xA2, 2, 0, 10], Offence::NoTopicFilter);
        check_offence(Version::V311, &[0xA2, 5, 0, 10, 0, 1, 0xFF], Offence::NotUtf8);
        check_offence(Version::V5, &[0xA2, 3, 0, 10, 0], Offence::NoTopicFilter);
    }
}
