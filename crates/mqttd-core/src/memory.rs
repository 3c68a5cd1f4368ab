//! What clients make the broker hold, counted against `memory_limit`.
//!
//! Messages are counted when they are made and when the last holder lets go of them, one addition
//! each; everything else (sessions, subscriptions, buffers) is added up by the body a few times a
//! second. Without a limit nothing is counted.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// The account of all shards together.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicU64,
    messages: AtomicU64,
    other: AtomicU64,
}

/// Bytes that a message has in the account, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// An account of nothing yet, with its limit in bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), messages: AtomicU64::new(0), other: AtomicU64::new(0) }
    }

    /// A reload has another limit.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What the body holds beside messages, in bytes.
    pub fn set_other(&self, bytes: u64) {
        self.other.store(bytes, Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.messages.load(Ordering::Relaxed).saturating_add(self.other.load(Ordering::Relaxed))
    }

    /// Whether there is no room for more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.held() >= self.limit()
    }
}

impl Held {
    pub(crate) fn new(memory: &Arc<Memory>, bytes: usize) -> Self {
        let bytes = bytes as u64;
        memory.messages.fetch_add(bytes, Ordering::Relaxed);
        Self { memory: Arc::clone(memory), bytes }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.messages.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_follows_what_is_held() {
        let memory = Arc::new(Memory::new(100));
        let one = Held::new(&memory, 60);
        assert!(!memory.is_full());
        memory.set_other(40);
        assert!(memory.is_full());
        drop(one);
        assert_eq!((memory.held(), memory.is_full()), (40, false));
        memory.set_limit(40);
        assert!(memory.is_full());
    }
}
