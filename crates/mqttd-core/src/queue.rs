//! Messages that wait for one session, oldest first. Bounded in number and bytes by the caller's
//! limits; what does not fit is refused, never lost in silence.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use mqtt_proto::count::Count;

use mqtt_proto::QoS;

use crate::session::Kept;
use crate::time::Instant;

/// A session's waiting messages. An empty one owns no memory.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Option<Box<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Kept>,
    bytes: u64,
    /// Entries with QoS 0.
    qos0: u32,
}

/// How much may wait; `None`: no bound.
#[derive(Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) messages: Option<u32>,
    pub(crate) bytes: Option<u64>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.entries.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.bytes)
    }

    /// Whether a message of `size` bytes may join.
    pub(crate) fn has_room(&self, size: usize, limits: QueueLimits) -> bool {
        let fits = |limit: Option<u64>, used: u64| limit.is_none_or(|limit| used <= limit);
        fits(limits.messages.map(u64::from), (self.len() as u64).saturating_add(1))
            && fits(limits.bytes, self.bytes().saturating_add(size as u64))
    }

    /// Whether a QoS 0 message waits.
    #[inline]
    pub(crate) fn holds_qos0(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.qos0 > 0)
    }

    pub(crate) fn push(&mut self, kept: Kept) {
        let inner = self.inner.get_or_insert_default();
        inner.qos0.up(u32::from(kept.how.qos() == QoS::AtMostOnce));
        inner.bytes.up(kept.message.size() as u64);
        inner.entries.push_back(kept);
    }

    pub(crate) fn front(&self) -> Option<&Kept> {
        self.inner.as_ref()?.entries.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Kept> {
        let inner = self.inner.as_mut()?;
        let kept = inner.entries.pop_front()?;
        inner.bytes.down(kept.message.size() as u64);
        inner.qos0.down(u32::from(kept.how.qos() == QoS::AtMostOnce));
        if inner.entries.is_empty() {
            self.inner = None;
        }
        Some(kept)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.inner.iter().flat_map(|inner| &inner.entries)
    }

    /// Takes out what has expired.
    pub(crate) fn take_expired(&mut self, now: Instant) -> VecDeque<Kept> {
        self.take_if(|kept| kept.has_expired(now))
    }

    /// Takes out what `wanted` picks; the rest keeps its order.
    pub(crate) fn take_if(&mut self, mut wanted: impl FnMut(&Kept) -> bool) -> VecDeque<Kept> {
        let Some(inner) = &mut self.inner else { return VecDeque::new() };
        if !inner.entries.iter().any(&mut wanted) {
            return VecDeque::new();
        }
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            inner.entries.drain(..).partition(|kept| wanted(kept));
        inner.bytes = left.iter().map(|kept| kept.message.size() as u64).sum();
        let is_qos0 = |kept: &&Kept| kept.how.qos() == QoS::AtMostOnce;
        inner.qos0 = left.iter().filter(is_qos0).count() as u32;
        inner.entries = left;
        if inner.entries.is_empty() {
            self.inner = None;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Passing;
    use crate::session::How;

    fn kept(payload: &[u8], expires_at: Instant) -> Kept {
        let mut passing =
            Passing { expires_at, ..Passing::internal("t", payload, QoS::AtLeastOnce, false) };
        Kept {
            message: passing.keep(),
            extra: None,
            stored: None,
            how: How::new(QoS::AtLeastOnce, false, 0),
        }
    }

    #[test]
    fn both_bounds_hold_from_both_sides() {
        let mut queue = Queue::default();
        queue.push(kept(b"1234", Instant::NEVER));
        assert_eq!((queue.len(), queue.bytes()), (1, 5));
        let limits = |messages, bytes| QueueLimits { messages, bytes };
        assert!(queue.has_room(5, limits(Some(2), Some(10))));
        assert!(!queue.has_room(6, limits(Some(2), Some(10))));
        assert!(!queue.has_room(5, limits(Some(1), None)));
        assert!(queue.has_room(usize::MAX / 2, limits(None, None)));
    }

    #[test]
    fn order_is_kept_and_an_emptied_queue_owns_nothing() {
        let mut queue = Queue::default();
        queue.push(kept(b"a", Instant::NEVER));
        queue.push(kept(b"b", Instant(10)));
        queue.push(kept(b"c", Instant::NEVER));
        assert!(queue.take_expired(Instant(9)).is_empty());
        assert_eq!(queue.take_expired(Instant(10)).len(), 1);
        assert_eq!(queue.bytes(), 4);
        assert_eq!(queue.front().unwrap().message.payload(), b"a");
        assert_eq!(queue.pop().unwrap().message.payload(), b"a");
        assert_eq!(queue.pop().unwrap().message.payload(), b"c");
        assert!(queue.pop().is_none() && queue.is_empty() && queue.bytes() == 0);
    }
}
