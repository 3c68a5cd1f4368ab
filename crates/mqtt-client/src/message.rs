//! Application Messages: [`Message`] as it came from the Server, [`Publish`] as it is to go there.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_proto::packet;
use mqtt_proto::property::PropertyId;
use mqtt_proto::property::Value;
use mqtt_proto::{EncodeError, PacketIdentifier, Properties, PropertiesBuf, QoS};

/// A message to publish. Cloning is cheap: topic and payload are shared.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The Topic Name; checked when it is published.
    pub topic: Arc<str>,
    /// Any bytes, also none.
    pub payload: Bytes,
    /// [`QoS::AtMostOnce`] by default.
    pub qos: QoS,
    /// The Server keeps the message as the topic's last value.
    pub retain: bool,
    /// 5.0 properties; not sent to a Server that speaks 3.x.
    pub properties: PropertiesBuf,
}

impl Publish {
    /// A message with QoS 0, not retained.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertiesBuf::new(),
        }
    }

    /// Sets the QoS.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether the Server keeps the message.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Adds a 5.0 property.
    ///
    /// # Errors
    /// The value is longer than 65,535 bytes.
    pub fn property(mut self, id: PropertyId, value: Value<'_>) -> Result<Self, EncodeError> {
        self.properties.push(id, value)?;
        Ok(self)
    }

    pub(crate) fn as_packet(
        &self,
        packet_id: Option<PacketIdentifier>,
        dup: bool,
    ) -> packet::Publish<'_> {
        packet::Publish {
            dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id,
            properties: self.properties.as_properties(),
            payload: &self.payload,
        }
    }
}

/// A message that was received.
///
/// It shares the buffer it was read into (up to 64 KiB, or one large packet). To keep a small
/// message for long, copy what is needed out of it.
#[derive(Clone)]
pub struct Message {
    packet: Bytes,
    /// Only when a Topic Alias stood in the packet.
    aliased_topic: Option<Box<str>>,
    topic: Range<u32>,
    properties: Range<u32>,
    payload: u32,
    flags: u8,
    packet_id: u16,
    pub(crate) session: u32,
}

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

impl Message {
    /// Takes over a PUBLISH that was decoded from `packet`.
    pub(crate) fn new(
        packet: &Bytes,
        publish: &packet::Publish<'_>,
        topic: &str,
        session: u32,
    ) -> Self {
        let packet = packet.clone();
        let (topic, aliased_topic) = match range_in(&packet, topic.as_bytes()) {
            Some(range) => (range, None),
            None => (0..0, Some(topic.into())),
        };
        let properties = range_in(&packet, publish.properties.as_bytes()).unwrap_or(0..0);
        let payload = (packet.len() - publish.payload.len()) as u32;
        let flags = (publish.qos as u8) << 1
            | if publish.dup { DUP } else { 0 }
            | if publish.retain { RETAIN } else { 0 };
        let packet_id = publish.packet_id.map_or(0, PacketIdentifier::get);
        Self { packet, aliased_topic, topic, properties, payload, flags, packet_id, session }
    }

    /// The Topic Name.
    #[inline]
    pub fn topic(&self) -> &str {
        match &self.aliased_topic {
            Some(topic) => topic,
            None => std::str::from_utf8(&self.packet[range(&self.topic)])
                .expect("the topic was decoded as UTF-8 when the message arrived"),
        }
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.packet[self.payload as usize..]
    }

    /// The payload as a share of the read buffer.
    pub fn payload_bytes(&self) -> Bytes {
        self.packet.slice(self.payload as usize..)
    }

    /// The QoS it was sent with to us.
    #[inline]
    pub fn qos(&self) -> QoS {
        QoS::from_u8((self.flags >> 1) & 0b11).unwrap_or(QoS::AtMostOnce)
    }

    /// It may be a repetition.
    pub fn dup(&self) -> bool {
        self.flags & DUP != 0
    }

    /// It is the topic's retained message (or was published as such, with retain as published).
    #[inline]
    pub fn retain(&self) -> bool {
        self.flags & RETAIN != 0
    }

    /// Present when the QoS is above 0.
    pub fn packet_id(&self) -> Option<PacketIdentifier> {
        PacketIdentifier::new(self.packet_id)
    }

    /// 5.0 properties; empty otherwise.
    #[inline]
    pub fn properties(&self) -> Properties<'_> {
        Properties::from_checked(&self.packet[range(&self.properties)])
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("packet_id", &self.packet_id)
            .field("properties", &self.properties())
            .field("payload_len", &self.payload().len())
            .finish()
    }
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Where `part` lies in `whole`, if it is a part of it. A packet has at most 2^28 + 4 bytes.
fn range_in(whole: &Bytes, part: &[u8]) -> Option<Range<u32>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start + part.len();
    (end <= whole.len() && !part.is_empty()).then_some(start as u32..end as u32)
}

#[cfg(test)]
mod tests {
    use mqtt_proto::Packet;
    use mqtt_proto::Version;
    use mqtt_proto::codec::Frame;

    use super::*;

    fn received(publish: &packet::Publish<'_>) -> Message {
        let mut bytes = Vec::new();
        publish.encode(Version::V5, &mut bytes).unwrap();
        let bytes = Bytes::from(bytes);
        let frame = Frame::peek(&bytes, usize::MAX).unwrap().unwrap();
        match Packet::decode(Version::V5, frame, &bytes).unwrap() {
            Packet::Publish(publish) => Message::new(&bytes, &publish, publish.topic, 0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_gives_back_what_the_packet_said() {
        let mut properties = PropertiesBuf::new();
        properties.push(PropertyId::ContentType, Value::Text("text/plain")).unwrap();
        let publish = Publish {
            properties,
            ..Publish::new("a/b", &b"\0hello"[..]).qos(QoS::ExactlyOnce).retain(true)
        };
        let message = received(&publish.as_packet(PacketIdentifier::new(7), true));
        assert_eq!(message.topic(), "a/b");
        assert_eq!(message.payload(), b"\0hello");
        assert_eq!(message.payload_bytes(), &b"\0hello"[..]);
        assert_eq!(message.qos(), QoS::ExactlyOnce);
        assert!(message.retain() && message.dup());
        assert_eq!(message.packet_id(), PacketIdentifier::new(7));
        assert_eq!(message.properties().text(PropertyId::ContentType), Some("text/plain"));
    }

    #[test]
    fn empty_payload_and_no_properties_are_empty() {
        let message = received(&Publish::new("t", "").as_packet(None, false));
        assert_eq!(message.payload(), b"");
        assert!(message.properties().is_empty());
        assert_eq!((message.packet_id(), message.dup(), message.retain()), (None, false, false));
    }

    #[test]
    fn a_topic_from_an_alias_is_kept_beside_the_packet() {
        let publish = Publish::new("t", "x");
        let mut bytes = Vec::new();
        publish.as_packet(None, false).encode(Version::V5, &mut bytes).unwrap();
        let packet = publish.as_packet(None, false);
        let message = Message::new(&Bytes::from(bytes), &packet, "from/alias", 0);
        assert_eq!(message.topic(), "from/alias");
        assert_eq!(message.payload(), b"x");
    }
}
