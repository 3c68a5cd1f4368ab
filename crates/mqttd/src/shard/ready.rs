//! Which connections of a shard have something to do. Each connection has a waker of its own that
//! puts it on the shard's list; the shard takes the whole list once in a turn.
//!
//! The list's lock is only ever taken by the shard's own thread (the runtime's driver calls the
//! wakers there), so it never waits; it is there because wakers must be `Sync`.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use atomic_waker::AtomicWaker;

/// The list of one shard.
#[derive(Default)]
pub(crate) struct ReadyList {
    keys: Mutex<Vec<u32>>,
    waker: AtomicWaker,
}

/// One connection's way onto the list.
pub(crate) struct ConnectionWaker {
    list: Arc<ReadyList>,
    key: u32,
    is_listed: AtomicBool,
}

impl ReadyList {
    /// Takes the keys. `into` is empty and lends its memory.
    pub(crate) fn take(&self, into: &mut Vec<u32>) {
        debug_assert!(into.is_empty());
        mem::swap(into, &mut self.keys.lock().expect("no holder of the lock can panic"));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.lock().expect("no holder of the lock can panic").is_empty()
    }

    /// Who is to be woken when a connection is listed.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl ConnectionWaker {
    pub(crate) fn new(list: &Arc<ReadyList>, key: u32) -> Arc<Self> {
        Arc::new(Self { list: Arc::clone(list), key, is_listed: AtomicBool::new(false) })
    }

    /// The connection is being looked at: the next wake lists it again.
    pub(crate) fn unlist(&self) {
        self.is_listed.store(false, Ordering::Release);
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            self.list.keys.lock().expect("no holder of the lock can panic").push(self.key);
            self.list.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_once_until_it_is_looked_at() {
        let list = Arc::new(ReadyList::default());
        let connection = ConnectionWaker::new(&list, 7);
        let waker = Waker::from(Arc::clone(&connection));
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut keys = vec![];
        list.take(&mut keys);
        assert_eq!(keys, [7]);
        waker.wake_by_ref();
        assert!(list.is_empty());
        connection.unlist();
        waker.wake_by_ref();
        assert!(!list.is_empty());
    }
}
