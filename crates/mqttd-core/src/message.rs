//! An Application Message inside the Server, owned and borrowed.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use mqtt_proto::QoS;
use mqtt_proto::property::{Properties, PropertyId, Value};

use crate::ids::SessionUid;
use crate::memory::{Held, Memory};
use crate::time::Instant;

/// An Application Message that something keeps: a queue, a window, a retained entry, another shard.
///
/// Topic, properties and payload lie in one block.
#[derive(Debug)]
pub struct Message {
    block: Box<[u8]>,
    topic_len: u16,
    properties_len: u32,
    /// QoS it was published with.
    pub qos: QoS,
    /// It was published with the RETAIN flag.
    pub retain: bool,
    /// When the Message Expiry Interval ends; [`Instant::NEVER`] without one.
    pub expires_at: Instant,
    /// The session that published it; `None` for the Server's own messages.
    pub publisher: Option<SessionUid>,
    /// Its place in the account of memory, where there is one.
    held: Option<Held>,
}

/// Bytes that a message takes beside its topic, properties and payload: its own fields, the count
/// of its holders, what the allocator adds.
const MESSAGE_OVERHEAD: usize = size_of::<Message>() + 48;

impl Message {
    /// Where it is published.
    #[inline]
    pub fn topic(&self) -> &str {
        // The block was built from a &str; checking again would cost each receiver.
        let text = self.block.get(..usize::from(self.topic_len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The 5.0 properties that are passed on unchanged.
    #[inline]
    pub fn properties(&self) -> &[u8] {
        let start = usize::from(self.topic_len);
        self.block.get(start..self.payload_start()).unwrap_or_default()
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.block.get(self.payload_start()..).unwrap_or_default()
    }

    #[inline]
    fn payload_start(&self) -> usize {
        usize::from(self.topic_len).wrapping_add(self.properties_len as usize)
    }

    /// Counts a message that was made before the account was known.
    pub(crate) fn count(&mut self, memory: &Arc<Memory>) {
        self.held = Some(Held::new(memory, self.block.len().saturating_add(MESSAGE_OVERHEAD)));
    }

    /// Bytes that count against `max_queued_bytes`.
    #[inline]
    pub fn size(&self) -> usize {
        self.block.len()
    }
}

/// A message on its way through the shard: borrowed from the read buffer until something keeps it.
#[derive(Debug)]
pub struct Passing<'a> {
    /// Where it is published.
    pub topic: &'a str,
    /// The 5.0 properties that are passed on unchanged; see [`forwarded_properties`].
    pub properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// QoS it was published with.
    pub qos: QoS,
    /// It was published with the RETAIN flag.
    pub retain: bool,
    /// When it expires.
    pub expires_at: Instant,
    /// Who published it.
    pub publisher: Option<SessionUid>,
    /// What it counts against once it is kept.
    pub(crate) memory: Option<Arc<Memory>>,
    pub(crate) kept: Option<Arc<Message>>,
}

impl<'a> Passing<'a> {
    /// A message of the Server's own: `$SYS` and the like.
    pub fn internal(topic: &'a str, payload: &'a [u8], qos: QoS, retain: bool) -> Self {
        Self {
            topic,
            properties: &[],
            payload,
            qos,
            retain,
            expires_at: Instant::NEVER,
            publisher: None,
            memory: None,
            kept: None,
        }
    }

    pub(crate) fn from_message(message: &'a Arc<Message>) -> Self {
        Self {
            topic: message.topic(),
            properties: message.properties(),
            payload: message.payload(),
            qos: message.qos,
            retain: message.retain,
            expires_at: message.expires_at,
            publisher: message.publisher,
            memory: message.held.as_ref().map(|held| Arc::clone(held.memory())),
            kept: Some(Arc::clone(message)),
        }
    }

    /// Bytes that count against `max_queued_bytes` once it is kept.
    pub(crate) fn size(&self) -> usize {
        let named = self.topic.len().saturating_add(self.properties.len());
        named.saturating_add(self.payload.len())
    }

    /// A number that tells it from other messages under the same Packet Identifier.
    pub(crate) fn content(&self) -> u64 {
        content(self.topic, self.properties, self.payload, (self.qos, self.retain))
    }

    /// The same message as something yet to be kept: for changing it on its way.
    #[must_use]
    pub(crate) fn forget_kept(mut self) -> Self {
        self.kept = None;
        self
    }

    /// The owned form; made at the first call, shared afterwards.
    pub(crate) fn keep(&mut self) -> Arc<Message> {
        if let Some(kept) = &self.kept {
            return Arc::clone(kept);
        }
        let mut block = Vec::with_capacity(self.size());
        block.extend_from_slice(self.topic.as_bytes());
        block.extend_from_slice(self.properties);
        block.extend_from_slice(self.payload);
        let size = block.len().saturating_add(MESSAGE_OVERHEAD);
        let held = self.memory.as_ref().map(|memory| Held::new(memory, size));
        let kept = Arc::new(Message {
            held,
            block: block.into_boxed_slice(),
            topic_len: self.topic.len() as u16,
            properties_len: self.properties.len() as u32,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            publisher: self.publisher,
        });
        self.kept = Some(Arc::clone(&kept));
        kept
    }
}

/// See [`Passing::content`]. Written to the log: the seed stays.
pub(crate) fn content(
    topic: &str,
    properties: &[u8],
    payload: &[u8],
    (qos, retain): (QoS, bool),
) -> u64 {
    FixedState::with_seed(0).hash_one((topic, properties, payload, qos as u8, retain))
}

/// The part of a PUBLISH's or Will's properties that goes to receivers unchanged: all but Topic
/// Alias, Message Expiry Interval, Subscription Identifiers and Will Delay Interval, which the
/// Server writes or keeps itself (3.3.2.3). Borrowed when there is nothing to leave out.
pub fn forwarded_properties<'a>(properties: Properties<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let own = |id: PropertyId| {
        matches!(
            id,
            PropertyId::TopicAlias
                | PropertyId::MessageExpiryInterval
                | PropertyId::SubscriptionIdentifier
                | PropertyId::WillDelayInterval
        )
    };
    if properties.is_empty() || !properties.iter().any(|(id, _)| own(id)) {
        return properties.as_bytes();
    }
    scratch.clear();
    for (id, value) in properties.iter().filter(|(id, _)| !own(*id)) {
        write_property(scratch, id, value);
    }
    scratch
}

/// Appends one property of a checked block; its fields are known to fit.
pub(crate) fn write_property(out: &mut Vec<u8>, id: PropertyId, value: Value<'_>) {
    let sized = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    out.push(id as u8);
    match value {
        Value::Byte(value) => out.push(value),
        Value::U16(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::U32(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::VarInt(value) => mqtt_proto::codec::varint::write(out, value),
        Value::Text(text) => sized(out, text.as_bytes()),
        Value::Binary(bytes) => sized(out, bytes),
        Value::Pair(name, value) => {
            sized(out, name.as_bytes());
            sized(out, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::PropertiesBuf;

    #[test]
    fn a_kept_message_has_all_its_parts_and_is_made_once() {
        let mut passing = Passing {
            properties: &[1, 1],
            expires_at: Instant(5),
            ..Passing::internal("a/b", b"payload", QoS::AtLeastOnce, true)
        };
        let kept = passing.keep();
        assert_eq!(kept.topic(), "a/b");
        assert_eq!(kept.properties(), [1, 1]);
        assert_eq!(kept.payload(), b"payload");
        assert_eq!(kept.size(), 12);
        assert!(Arc::ptr_eq(&kept, &passing.keep()));
        assert!(Arc::ptr_eq(&kept, &Passing::from_message(&kept).keep()));
    }

    #[test]
    fn the_servers_own_properties_are_left_out_and_order_is_kept() {
        let mut block = PropertiesBuf::new();
        block.push(PropertyId::UserProperty, Value::Pair("b", "1")).unwrap();
        block.push(PropertyId::TopicAlias, Value::U16(1)).unwrap();
        block.push(PropertyId::ContentType, Value::Text("t")).unwrap();
        block.push(PropertyId::MessageExpiryInterval, Value::U32(1)).unwrap();
        block.push(PropertyId::UserProperty, Value::Pair("a", "2")).unwrap();
        let mut expected = PropertiesBuf::new();
        expected.push(PropertyId::UserProperty, Value::Pair("b", "1")).unwrap();
        expected.push(PropertyId::ContentType, Value::Text("t")).unwrap();
        expected.push(PropertyId::UserProperty, Value::Pair("a", "2")).unwrap();
        let mut scratch = vec![];
        let forwarded = forwarded_properties(block.as_properties(), &mut scratch);
        assert_eq!(forwarded, expected.as_properties().as_bytes());

        let untouched = expected.as_properties();
        let mut scratch = vec![];
        assert_eq!(
            forwarded_properties(untouched, &mut scratch).as_ptr(),
            untouched.as_bytes().as_ptr()
        );
    }
}
