//! What one shard has for another at the end of a turn: envelopes and messages in their order.
//!
//! A message that nobody has had to keep so far is packed behind the others: the bytes of all lie
//! in two buffers, which go from shard to shard and are used again. It costs a copy, and no memory
//! of its own that one thread would take and another give back.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::QoS;

use crate::envelope::{Envelope, Token};
use crate::event::Event;
use crate::ids::{SessionUid, ShardId};
use crate::memory::{Held, Memory};
use crate::message::Passing;
use crate::time::Instant;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Letters {
    list: Vec<Letter>,
    /// The topics of the packed messages, one behind the other.
    topics: String,
    /// Their properties and payloads likewise.
    bytes: Vec<u8>,
    /// What they have in the account of `memory_limit` on their way.
    held: Option<Held>,
}

#[derive(Debug)]
enum Letter {
    Envelope(Envelope),
    Message(Packed),
}

#[derive(Debug)]
struct Packed {
    topic_len: u16,
    qos: QoS,
    retain: bool,
    properties_len: u32,
    payload_len: u32,
    expires_at: Instant,
    publisher: Option<SessionUid>,
    confirm: Option<Token>,
}

impl Letters {
    /// There are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of memory it owns, also when there are none.
    pub fn room(&self) -> usize {
        let list = self.list.capacity().saturating_mul(size_of::<Letter>());
        list.saturating_add(self.topics.capacity()).saturating_add(self.bytes.capacity())
    }

    /// They leave now, and until they are opened `memory` counts them, all at once. The messages in
    /// envelopes are counted by themselves.
    pub fn count(&mut self, memory: &Arc<Memory>) {
        let list = self.list.len().saturating_mul(size_of::<Letter>());
        let bytes = list.saturating_add(self.topics.len()).saturating_add(self.bytes.len());
        self.held = Some(Held::new(memory, bytes));
    }

    /// Adds an envelope behind the others.
    pub fn push(&mut self, envelope: Envelope) {
        self.list.push(Letter::Envelope(envelope));
    }

    /// Adds a copy of a message behind the others; see
    /// [`Output::message_to_shard`](crate::Output::message_to_shard).
    pub fn push_message(&mut self, message: &Passing<'_>, confirm: Option<Token>) {
        self.topics.push_str(message.topic);
        self.bytes.extend_from_slice(message.properties);
        self.bytes.extend_from_slice(message.payload);
        self.list.push(Letter::Message(Packed {
            // The codec has seen to it that the lengths fit.
            topic_len: message.topic.len() as u16,
            properties_len: message.properties.len() as u32,
            payload_len: message.payload.len() as u32,
            qos: message.qos,
            retain: message.retain,
            expires_at: message.expires_at,
            publisher: message.publisher,
            confirm,
        }));
    }

    /// Takes all out, in order, as events of the shard that gets them. The memory stays.
    pub fn open(&mut self, from: ShardId, mut each: impl FnMut(Event<'_>)) {
        let (mut topics, mut bytes) = (self.topics.as_str(), self.bytes.as_slice());
        for letter in self.list.drain(..) {
            let packed = match letter {
                Letter::Envelope(envelope) => {
                    each(Event::FromShard(from, envelope));
                    continue;
                }
                Letter::Message(packed) => packed,
            };
            let Some((topic, other_topics)) = topics.split_at_checked(packed.topic_len.into())
            else {
                break; // never: they were pushed together
            };
            topics = other_topics;
            let properties = take(&mut bytes, packed.properties_len);
            let payload = take(&mut bytes, packed.payload_len);
            let message = Passing {
                properties,
                expires_at: packed.expires_at,
                publisher: packed.publisher,
                ..Passing::internal(topic, payload, packed.qos, packed.retain)
            };
            each(Event::MessageFromShard(from, message, packed.confirm));
        }
        self.topics.clear();
        self.bytes.clear();
        self.held = None;
    }
}

/// The first `len` bytes, which are there: they were pushed together with their lengths.
#[inline]
fn take<'b>(bytes: &mut &'b [u8], len: u32) -> &'b [u8] {
    let (taken, rest) = bytes.split_at_checked(len as usize).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_and_messages_come_out_as_they_went_in_and_the_memory_is_used_again() {
        let mut letters = Letters::default();
        let mut rooms = Vec::new();
        for _ in 0..3 {
            assert!(letters.is_empty());
            letters.push(Envelope::Sync(Token(1)));
            let first = Passing {
                properties: &[1, 1],
                expires_at: Instant(7),
                publisher: Some(SessionUid(3)),
                ..Passing::internal("a/ü", b"payload", QoS::AtLeastOnce, true)
            };
            letters.push_message(&first, Some(Token(2)));
            letters.push_message(&Passing::internal("b", b"", QoS::AtMostOnce, false), None);
            letters.push(Envelope::Sync(Token(3)));
            let mut seen = Vec::new();
            letters.open(ShardId(4), |event| seen.push(alloc::format!("{event:?}")));
            assert!(letters.is_empty());
            rooms.push(letters.room());
            let second = Passing::internal("b", b"", QoS::AtMostOnce, false);
            let expected = [
                Event::FromShard(ShardId(4), Envelope::Sync(Token(1))),
                Event::MessageFromShard(ShardId(4), first, Some(Token(2))),
                Event::MessageFromShard(ShardId(4), second, None),
                Event::FromShard(ShardId(4), Envelope::Sync(Token(3))),
            ];
            assert_eq!(seen, expected.map(|event| alloc::format!("{event:?}")));
        }
        assert!(rooms[0] > 0 && rooms.iter().all(|room| *room == rooms[0]), "{rooms:?}");
    }

    #[test]
    fn what_is_on_its_way_is_counted_until_it_is_opened() {
        let memory = Arc::new(Memory::new(1_000));
        let mut letters = Letters::default();
        letters.push_message(&Passing::internal("t", &[0; 1_000], QoS::AtMostOnce, false), None);
        letters.push(Envelope::Sync(Token(1)));
        assert_eq!(memory.held(), 0);
        letters.count(&memory);
        let letter = size_of::<Letter>() as u64;
        assert_eq!(memory.held(), 1_001 + 2 * letter);
        assert!(memory.is_full());
        letters.open(ShardId(4), |_| {});
        assert_eq!(memory.held(), 0);
        // Letters to a shard that has ended are never opened.
        letters.push(Envelope::Sync(Token(1)));
        letters.count(&memory);
        drop(letters);
        assert_eq!(memory.held(), 0);
    }
}
