//! Property blocks (MQTT 5.0 section 2.2.2).
//!
//! A block is kept as its bytes: checked once when it arrives, read through typed accessors, and
//! passed on without being taken apart. [`PropertiesBuf`] builds one.

use alloc::vec::Vec;

use crate::codec::{Reader, varint};
use crate::error::Offence;
use crate::topic::TopicName;

/// Identifier of a property (MQTT 2.2.2.2, table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// Where a property block stands; decides which properties it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Place {
    Connect = 1 << 0,
    Connack = 1 << 1,
    Publish = 1 << 2,
    Will = 1 << 3,
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    Suback = 1 << 6,
    Unsubscribe = 1 << 7,
    Disconnect = 1 << 8,
    Auth = 1 << 9,
}

/// One property with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One byte.
    Byte(u8),
    /// Two Byte Integer.
    U16(u16),
    /// Four Byte Integer.
    U32(u32),
    /// Variable Byte Integer.
    VarInt(u32),
    /// UTF-8 Encoded String.
    Text(&'a str),
    /// Binary Data.
    Binary(&'a [u8]),
    /// UTF-8 String Pair.
    Pair(&'a str, &'a str),
}

impl PropertyId {
    /// `None` for an identifier the standard does not know.
    #[rustfmt::skip]
    pub const fn from_u8(id: u8) -> Option<Self> {
        use PropertyId::*;
        Some(match id {
            0x01 => PayloadFormatIndicator, 0x02 => MessageExpiryInterval, 0x03 => ContentType,
            0x08 => ResponseTopic, 0x09 => CorrelationData, 0x0B => SubscriptionIdentifier,
            0x11 => SessionExpiryInterval, 0x12 => AssignedClientIdentifier,
            0x13 => ServerKeepAlive, 0x15 => AuthenticationMethod, 0x16 => AuthenticationData,
            0x17 => RequestProblemInformation, 0x18 => WillDelayInterval,
            0x19 => RequestResponseInformation, 0x1A => ResponseInformation,
            0x1C => ServerReference, 0x1F => ReasonString, 0x21 => ReceiveMaximum,
            0x22 => TopicAliasMaximum, 0x23 => TopicAlias, 0x24 => MaximumQoS,
            0x25 => RetainAvailable, 0x26 => UserProperty, 0x27 => MaximumPacketSize,
            0x28 => WildcardSubscriptionAvailable, 0x29 => SubscriptionIdentifierAvailable,
            0x2A => SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The places it may stand in, as a set of [`Place`] bits (table 2-4).
    const fn places(self) -> u16 {
        use Place::*;
        use PropertyId::*;
        match self {
            PayloadFormatIndicator
            | MessageExpiryInterval
            | ContentType
            | ResponseTopic
            | CorrelationData => Publish as u16 | Will as u16,
            SubscriptionIdentifier => Publish as u16 | Subscribe as u16,
            SessionExpiryInterval => Connect as u16 | Connack as u16 | Disconnect as u16,
            AssignedClientIdentifier
            | ServerKeepAlive
            | ResponseInformation
            | MaximumQoS
            | RetainAvailable
            | WildcardSubscriptionAvailable
            | SubscriptionIdentifierAvailable
            | SharedSubscriptionAvailable => Connack as u16,
            AuthenticationMethod | AuthenticationData => {
                Connect as u16 | Connack as u16 | Auth as u16
            }
            RequestProblemInformation | RequestResponseInformation => Connect as u16,
            WillDelayInterval => Will as u16,
            ServerReference => Connack as u16 | Disconnect as u16,
            ReasonString => {
                Connack as u16 | Ack as u16 | Suback as u16 | Disconnect as u16 | Auth as u16
            }
            ReceiveMaximum | TopicAliasMaximum | MaximumPacketSize => {
                Connect as u16 | Connack as u16
            }
            TopicAlias => Publish as u16,
            UserProperty => u16::MAX,
        }
    }

    /// Reads the value that follows the identifier.
    #[inline]
    fn read<'a>(self, reader: &mut Reader<'a>) -> Result<Value<'a>, Offence> {
        use PropertyId::*;
        Ok(match self {
            PayloadFormatIndicator
            | RequestProblemInformation
            | RequestResponseInformation
            | MaximumQoS
            | RetainAvailable
            | WildcardSubscriptionAvailable
            | SubscriptionIdentifierAvailable
            | SharedSubscriptionAvailable => Value::Byte(reader.u8()?),
            ServerKeepAlive | ReceiveMaximum | TopicAliasMaximum | TopicAlias => {
                Value::U16(reader.u16()?)
            }
            MessageExpiryInterval
            | SessionExpiryInterval
            | WillDelayInterval
            | MaximumPacketSize => Value::U32(reader.u32()?),
            SubscriptionIdentifier => Value::VarInt(reader.varint()?),
            ContentType
            | ResponseTopic
            | AssignedClientIdentifier
            | AuthenticationMethod
            | ResponseInformation
            | ServerReference
            | ReasonString => Value::Text(reader.string()?),
            CorrelationData | AuthenticationData => Value::Binary(reader.binary()?),
            UserProperty => Value::Pair(reader.string()?, reader.string()?),
        })
    }

    /// Values the type allows and the standard forbids.
    fn check_value(self, value: Value<'_>) -> Result<(), Offence> {
        use PropertyId::*;
        match (self, value) {
            (TopicAlias, Value::U16(0)) => Err(Offence::TopicAliasZero),
            (ReceiveMaximum, Value::U16(0))
            | (MaximumPacketSize, Value::U32(0))
            | (SubscriptionIdentifier, Value::VarInt(0)) => Err(Offence::PropertyValueOutOfRange),
            (_, Value::Byte(value)) if value > 1 => Err(Offence::PropertyValueOutOfRange),
            (ResponseTopic, Value::Text(topic)) => match TopicName::new(topic) {
                Ok(_) => Ok(()),
                Err(_) => Err(Offence::PropertyValueOutOfRange),
            },
            _ => Ok(()),
        }
    }
}

/// A checked property block, without the length in front of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self(&[]);

    /// Takes the block at the cursor, with its length, and checks every property in it.
    ///
    /// # Errors
    /// Unknown, misplaced, repeated, badly typed or out-of-range properties.
    #[inline]
    pub fn decode(reader: &mut Reader<'a>, place: Place) -> Result<Self, Offence> {
        let len = reader.varint()? as usize;
        let block = reader.take(len)?;
        if !block.is_empty() {
            check(block, place)?;
        }
        Ok(Self(block))
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes on the wire, without the length in front.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// A block that [`Properties::decode`] or a [`PropertiesBuf`] has produced before.
    ///
    /// Bytes of any other origin give accessors that find nothing; they can't panic.
    pub const fn from_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (PropertyId, Value<'a>)> + use<'a> {
        Iter { reader: Reader::new(self.0) }
    }

    /// The first value of `id`.
    pub fn get(&self, id: PropertyId) -> Option<Value<'a>> {
        if self.0.is_empty() {
            return None;
        }
        self.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// A property of one byte, e.g. Payload Format Indicator.
    pub fn byte(&self, id: PropertyId) -> Option<u8> {
        match self.get(id)? {
            Value::Byte(value) => Some(value),
            _ => None,
        }
    }

    /// A Two Byte Integer property, e.g. Topic Alias.
    pub fn u16(&self, id: PropertyId) -> Option<u16> {
        match self.get(id)? {
            Value::U16(value) => Some(value),
            _ => None,
        }
    }

    /// A Four Byte Integer or Variable Byte Integer property, e.g. Message Expiry Interval.
    pub fn u32(&self, id: PropertyId) -> Option<u32> {
        match self.get(id)? {
            Value::U32(value) | Value::VarInt(value) => Some(value),
            _ => None,
        }
    }

    /// A string property, e.g. Content Type.
    pub fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.get(id)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// A Binary Data property, e.g. Correlation Data.
    pub fn binary(&self, id: PropertyId) -> Option<&'a [u8]> {
        match self.get(id)? {
            Value::Binary(value) => Some(value),
            _ => None,
        }
    }

    /// The User Properties in their order [MQTT-3.3.2-18].
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Every Subscription Identifier; a PUBLISH may carry several.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|(_, value)| match value {
            Value::VarInt(value) => Some(value),
            _ => None,
        })
    }
}

impl core::fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

struct Iter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (PropertyId, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let id = PropertyId::from_u8(u8::try_from(self.reader.varint().ok()?).ok()?)?;
        Some((id, id.read(&mut self.reader).ok()?))
    }
}

fn check(block: &[u8], place: Place) -> Result<(), Offence> {
    let mut reader = Reader::new(block);
    let mut seen = 0u64;
    while !reader.is_empty() {
        let id = u8::try_from(reader.varint()?).ok().and_then(PropertyId::from_u8);
        let id = id.ok_or(Offence::UnknownProperty)?;
        if id.places() & place as u16 == 0 {
            return Err(Offence::PropertyNotAllowed);
        }
        let repeatable = id == PropertyId::UserProperty
            || (id == PropertyId::SubscriptionIdentifier && place == Place::Publish);
        if seen & (1 << id as u8) != 0 && !repeatable {
            return Err(Offence::DuplicateProperty);
        }
        seen |= 1 << id as u8;
        let value = id.read(&mut reader)?;
        id.check_value(value)?;
    }
    let has = |id: PropertyId| seen & (1 << id as u8) != 0;
    if has(PropertyId::AuthenticationData) && !has(PropertyId::AuthenticationMethod) {
        return Err(Offence::AuthenticationDataWithoutMethod);
    }
    Ok(())
}

/// Builds a property block.
///
/// Strings and binary data longer than 65,535 bytes can't stand on the wire;
/// [`PropertiesBuf::push`] says so and leaves the block as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf(Vec<u8>);

impl PropertiesBuf {
    /// An empty block.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a property. The value must be of the property's type; which packets allow it is the
    /// caller's knowledge.
    ///
    /// # Errors
    /// A text or binary value longer than 65,535 bytes.
    pub fn push(
        &mut self,
        id: PropertyId,
        value: Value<'_>,
    ) -> Result<&mut Self, crate::EncodeError> {
        let start = self.0.len();
        self.0.push(id as u8);
        let fits = match value {
            Value::Byte(value) => {
                self.0.push(value);
                true
            }
            Value::U16(value) => self.raw(&value.to_be_bytes()),
            Value::U32(value) => self.raw(&value.to_be_bytes()),
            Value::VarInt(value) => {
                varint::write(&mut self.0, value);
                true
            }
            Value::Text(text) => self.sized(text.as_bytes()),
            Value::Binary(bytes) => self.sized(bytes),
            Value::Pair(name, value) => self.sized(name.as_bytes()) && self.sized(value.as_bytes()),
        };
        if !fits {
            self.0.truncate(start);
            return Err(crate::EncodeError::FieldTooLong);
        }
        Ok(self)
    }

    /// The block for encoding.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of the block.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn raw(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        true
    }

    fn sized(&mut self, bytes: &[u8]) -> bool {
        let Ok(len) = u16::try_from(bytes.len()) else { return false };
        self.raw(&len.to_be_bytes()) && self.raw(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], place: Place) -> Result<Properties<'_>, Offence> {
        Properties::decode(&mut Reader::new(bytes), place)
    }

    #[test]
    fn a_built_block_reads_back_the_same() {
        let mut block = PropertiesBuf::new();
        block.push(PropertyId::PayloadFormatIndicator, Value::Byte(1)).unwrap();
        block.push(PropertyId::MessageExpiryInterval, Value::U32(60)).unwrap();
        block.push(PropertyId::TopicAlias, Value::U16(3)).unwrap();
        block.push(PropertyId::SubscriptionIdentifier, Value::VarInt(300)).unwrap();
        block.push(PropertyId::SubscriptionIdentifier, Value::VarInt(2)).unwrap();
        block.push(PropertyId::ContentType, Value::Text("text")).unwrap();
        block.push(PropertyId::CorrelationData, Value::Binary(&[0, 255])).unwrap();
        block.push(PropertyId::UserProperty, Value::Pair("b", "1")).unwrap();
        block.push(PropertyId::UserProperty, Value::Pair("a", "2")).unwrap();
        let mut wire = vec![];
        varint::write(&mut wire, block.as_properties().as_bytes().len() as u32);
        wire.extend_from_slice(block.as_properties().as_bytes());

        let read = decode(&wire, Place::Publish).unwrap();
        assert_eq!(read, block.as_properties());
        assert_eq!(read.byte(PropertyId::PayloadFormatIndicator), Some(1));
        assert_eq!(read.u32(PropertyId::MessageExpiryInterval), Some(60));
        assert_eq!(read.u16(PropertyId::TopicAlias), Some(3));
        assert_eq!(read.text(PropertyId::ContentType), Some("text"));
        assert_eq!(read.binary(PropertyId::CorrelationData), Some(&[0, 255][..]));
        assert!(read.subscription_identifiers().eq([300, 2]));
        assert!(read.user_properties().eq([("b", "1"), ("a", "2")]));
        assert_eq!(read.text(PropertyId::ResponseTopic), None);
    }

    #[test]
    fn each_offence_is_named() {
        use Offence::*;
        for (bytes, place, offence) in [
            (&[2, 0x7E, 0][..], Place::Publish, UnknownProperty),
            (&[3, 0x23, 0, 1], Place::Connect, PropertyNotAllowed),
            (&[4, 0x01, 0, 0x01, 0], Place::Publish, DuplicateProperty),
            (&[2, 0x01, 2], Place::Publish, PropertyValueOutOfRange),
            (&[3, 0x21, 0, 0], Place::Connect, PropertyValueOutOfRange),
            (&[5, 0x27, 0, 0, 0, 0], Place::Connect, PropertyValueOutOfRange),
            (&[2, 0x0B, 0], Place::Subscribe, PropertyValueOutOfRange),
            (&[4, 0x0B, 1, 0x0B, 2], Place::Subscribe, DuplicateProperty),
            (&[3, 0x23, 0, 0], Place::Publish, TopicAliasZero),
            (&[4, 0x08, 0, 1, b'#'], Place::Publish, PropertyValueOutOfRange),
            (&[4, 0x16, 0, 1, 7], Place::Connect, AuthenticationDataWithoutMethod),
            (&[3, 0x02, 0, 0], Place::Publish, BodyTooShort),
            (&[9, 0x02], Place::Publish, BodyTooShort),
        ] {
            assert_eq!(decode(bytes, place), Err(offence), "{bytes:?}");
        }
    }

    #[test]
    fn a_field_that_does_not_fit_leaves_the_block_as_it_was() {
        let long = "x".repeat(65_536);
        let mut block = PropertiesBuf::new();
        block.push(PropertyId::ContentType, Value::Text(&long[..65_535])).unwrap();
        let before = block.clone();
        assert!(block.push(PropertyId::UserProperty, Value::Pair("a", &long)).is_err());
        assert_eq!(block, before);
    }
}
