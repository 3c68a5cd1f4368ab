//! Bytes on their way to one connection: copied frames with shared payloads in between.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use crate::message::Message;

/// What waits to be written to a connection. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub struct WireBuffer {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that have been written.
    written: usize,
    /// Payloads in between, while there are any.
    shared: Option<Box<SharedPayloads>>,
}

#[derive(Debug, Default)]
struct SharedPayloads {
    /// Each follows the byte at its `at`.
    list: VecDeque<SharedPayload>,
    /// Bytes of all that have not been written.
    len: usize,
}

#[derive(Debug)]
struct SharedPayload {
    at: usize,
    message: Arc<Message>,
    written: usize,
}

impl WireBuffer {
    /// Bytes that have not been written yet.
    #[inline]
    pub fn len(&self) -> usize {
        let copied = self.bytes.len().saturating_sub(self.written);
        self.shared.as_ref().map_or(copied, |shared| copied.saturating_add(shared.len))
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are encoded. Only append.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Lets the payload of `message` follow what has been appended so far.
    pub fn push_payload(&mut self, message: Arc<Message>) {
        let shared = self.shared.get_or_insert_default();
        shared.len.up(message.payload().len());
        shared.list.push_back(SharedPayload { at: self.bytes.len(), message, written: 0 });
    }

    /// All waiting bytes, when they lie in one piece.
    #[inline]
    pub fn only_chunk(&self) -> Option<&[u8]> {
        if self.shared.is_none() { self.bytes.get(self.written..) } else { None }
    }

    /// The waiting bytes in order, as slices for a vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.written;
        let copied = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        let mut shared = self.shared.iter().flat_map(|shared| &shared.list);
        let mut payload: Option<&[u8]> = None;
        let mut done = false;
        core::iter::from_fn(move || {
            loop {
                if let Some(payload) = payload.take() {
                    return Some(payload);
                }
                if done {
                    return None;
                }
                let slice = match shared.next() {
                    Some(next) => {
                        payload = next.message.payload().get(next.written..);
                        let slice = copied(at, next.at);
                        at = next.at;
                        slice
                    }
                    None => {
                        done = true;
                        copied(at, self.bytes.len())
                    }
                };
                if !slice.is_empty() {
                    return Some(slice);
                }
            }
        })
        .filter(|slice| !slice.is_empty())
    }

    /// Marks the first `count` waiting bytes as written.
    pub fn consume(&mut self, mut count: usize) {
        debug_assert!(count <= self.len());
        if let Some(mut shared) = self.shared.take() {
            count = self.consume_shared(&mut shared, count);
            if !shared.list.is_empty() {
                self.shared = Some(shared);
                return;
            }
        }
        self.written.up(count);
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written >= COMPACT_BYTES && self.written >= self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Consumes up to and with the last shared payload. Returns what is left of `count`.
    fn consume_shared(&mut self, shared: &mut SharedPayloads, mut count: usize) -> usize {
        while let Some(next) = shared.list.front_mut() {
            let copied = next.at.saturating_sub(self.written).min(count);
            self.written.up(copied);
            count.down(copied);
            if self.written < next.at {
                break;
            }
            let payload = next.message.payload().len();
            let taken = payload.saturating_sub(next.written).min(count);
            next.written.up(taken);
            count.down(taken);
            shared.len.down(taken);
            if next.written < payload {
                break;
            }
            shared.list.pop_front();
        }
        count
    }

    /// Takes the memory of an empty buffer, for use by another connection.
    pub fn take_memory(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.bytes.capacity() > 0).then(|| core::mem::take(&mut self.bytes))
    }

    /// Gives an unused buffer memory from the pool.
    pub fn lend_memory(&mut self, memory: Vec<u8>) {
        debug_assert!(memory.is_empty() && self.bytes.is_empty());
        self.bytes = memory;
    }

    /// Whether [`WireBuffer::lend_memory`] would spare an allocation.
    #[inline]
    pub fn needs_memory(&self) -> bool {
        self.bytes.capacity() == 0
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.written);
        let shared = self.shared.iter_mut().flat_map(|shared| &mut shared.list);
        shared.for_each(|next| next.at.down(self.written));
        self.written = 0;
    }
}

/// Written bytes are given up from here on, when they are at least half of the buffer.
const COMPACT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Passing;
    use mqtt_proto::QoS;

    fn message(payload: &[u8]) -> Arc<Message> {
        Passing::internal("t", payload, QoS::AtMostOnce, false).keep()
    }

    fn waiting(wire: &WireBuffer) -> Vec<u8> {
        wire.chunks().collect::<Vec<_>>().concat()
    }

    #[test]
    fn payloads_stand_where_they_were_pushed_and_any_cut_resumes() {
        let build = || {
            let mut wire = WireBuffer::default();
            wire.bytes_mut().extend_from_slice(b"ab");
            wire.push_payload(message(b"PAY"));
            wire.push_payload(message(b"LOAD"));
            wire.bytes_mut().extend_from_slice(b"c");
            wire
        };
        let whole = b"abPAYLOADc";
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let mut wire = build();
                assert_eq!(wire.len(), whole.len());
                wire.consume(first);
                assert_eq!(waiting(&wire), &whole[first..]);
                wire.consume(second - first);
                assert_eq!(waiting(&wire), &whole[second..], "{first} {second}");
                assert_eq!(wire.len(), whole.len() - second);
            }
        }
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_back() {
        let mut wire = WireBuffer::default();
        assert!(wire.needs_memory());
        assert_eq!(wire.take_memory(), None);
        wire.bytes_mut().push(1);
        assert_eq!(wire.take_memory(), None);
        wire.consume(1);
        assert!(wire.take_memory().is_some());
        assert!(wire.needs_memory());
    }

    #[test]
    fn a_long_half_written_buffer_is_compacted_without_losing_its_place() {
        let mut wire = WireBuffer::default();
        wire.bytes_mut().extend(core::iter::repeat_n(7u8, COMPACT_BYTES * 2));
        wire.push_payload(message(b"P"));
        wire.bytes_mut().push(9);
        wire.consume(COMPACT_BYTES + 10);
        assert_eq!(wire.len(), COMPACT_BYTES - 10 + 2);
        assert_eq!(waiting(&wire)[COMPACT_BYTES - 10..], [b'P', 9]);
    }
}
