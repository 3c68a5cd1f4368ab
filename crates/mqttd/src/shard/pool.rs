//! Memory of output buffers between two turns: a connection that has written everything keeps
//! none, and the next that is written to takes what is here.
//!
//! A buffer grows with the largest burst it has ever carried. So that what bursts have left does
//! not add up for ever, the largest goes once a second; what the load needs comes back with one
//! allocation.

use mqttd_core::time::Instant;

/// Most buffers kept, and the largest of them: 16 MiB together.
const BUFFERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 256 * 1024;
/// How often one goes.
const PAUSE_MILLIS: u64 = 1000;

/// Buffers without content.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    next_goes: Instant,
}

impl Pool {
    /// The one that was given last.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.buffers.pop()
    }

    /// An empty buffer is not needed now.
    #[inline]
    pub(crate) fn give(&mut self, memory: Vec<u8>, now: Instant) {
        if self.buffers.len() < BUFFERS_MAX && memory.capacity() <= BUFFER_BYTES_MAX {
            self.buffers.push(memory);
        }
        if now >= self.next_goes {
            self.next_goes = now.plus_millis(PAUSE_MILLIS);
            self.drop_largest();
        }
    }

    #[cold]
    fn drop_largest(&mut self) {
        let places = 0..self.buffers.len();
        if let Some(place) = places.max_by_key(|place| self.buffers[*place].capacity()) {
            self.buffers.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pool: &Pool) -> usize {
        pool.buffers.iter().map(Vec::capacity).sum()
    }

    #[test]
    fn what_a_burst_has_left_goes_by_itself() {
        let mut pool = Pool::default();
        for size in 0..100 {
            pool.give(Vec::with_capacity(size * 4096), Instant(0));
        }
        assert_eq!(pool.buffers.len(), BUFFERS_MAX);
        let after_burst = bytes(&pool);
        // A quiet load needs one buffer at a time.
        for turn in 0..600 {
            let memory = pool.take().unwrap_or_else(|| Vec::with_capacity(100));
            pool.give(memory, Instant(1000 + turn * 100));
        }
        assert!(bytes(&pool) < after_burst / 100, "{} of {after_burst} bytes", bytes(&pool));
    }

    #[test]
    fn buffers_are_used_again_and_huge_ones_are_not_kept() {
        let mut pool = Pool::default();
        pool.give(Vec::with_capacity(BUFFER_BYTES_MAX + 1), Instant(0));
        assert!(pool.take().is_none());
        pool.give(Vec::with_capacity(BUFFER_BYTES_MAX), Instant(0));
        assert_eq!(pool.take().map(|memory| memory.capacity()), Some(BUFFER_BYTES_MAX));
    }
}
