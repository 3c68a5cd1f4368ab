//! Counted places for connections: `max_connections` and `global_max_connections`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How many connections there are, for one listener or for all.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: AtomicU32,
    /// All that were ever taken.
    total: AtomicU64,
    /// A reload has taken the listener away.
    is_closed: AtomicBool,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    places: [Arc<Places>; 2],
}

impl Places {
    /// How many there are now.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The listener is gone: who is still on the way in is turned away.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    fn take(&self, max: Option<u32>) -> bool {
        let fits = |taken: u32| max.is_none_or(|max| taken < max).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.total.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl Permit {
    /// A place on the listener and one in the broker, or `None` when either is full.
    pub(crate) fn take(
        listener: (&Arc<Places>, Option<u32>),
        broker: (&Arc<Places>, Option<u32>),
    ) -> Option<Self> {
        if !listener.0.take(listener.1) {
            return None;
        }
        if !broker.0.take(broker.1) {
            listener.0.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { places: [Arc::clone(listener.0), Arc::clone(broker.0)] })
    }
}

impl Permit {
    /// Whether the listener is gone; see [`Places::close`].
    pub(crate) fn is_closed(&self) -> bool {
        self.places[0].is_closed.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for places in &self.places {
            places.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let (listener, broker) = (Arc::new(Places::default()), Arc::new(Places::default()));
        let take =
            |of_listener, of_broker| Permit::take((&listener, of_listener), (&broker, of_broker));
        let first = take(Some(1), Some(2)).unwrap();
        assert!(take(Some(1), Some(2)).is_none(), "the listener is full");
        let second = take(Some(2), Some(2)).unwrap();
        assert!(take(None, Some(2)).is_none(), "the broker is full");
        assert_eq!((listener.taken(), broker.taken()), (2, 2));
        drop((first, second));
        assert_eq!((listener.taken(), broker.taken()), (0, 0));
        assert_eq!(broker.total(), 2);
    }
}
