//! Which connections of a shard have something to do. Each connection has a waker of its own that
//! puts it on the shard's list; the shard takes the whole list once in a turn, and whoever is woken
//! from then on is on the next.
//!
//! The list's lock is only ever taken by the shard's own thread (the runtime's driver calls the
//! wakers there), so it never waits; it is there because wakers must be `Sync`.

use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use atomic_waker::AtomicWaker;

/// The list of one shard.
#[derive(Default)]
pub(crate) struct ReadyList {
    listed: Mutex<Listed>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Listed {
    keys: Vec<u32>,
    /// By key. Here and not with the connection: a bit where it would take a word there.
    is_listed: BitSet,
}

/// Bits by number, as many as were ever set.
#[derive(Default)]
struct BitSet(Vec<u64>);

/// One connection's way onto the list.
pub(crate) struct ConnectionWaker {
    list: Arc<ReadyList>,
    key: u32,
}

impl ReadyList {
    /// Takes the keys. `into` is empty and lends its memory.
    pub(crate) fn take(&self, into: &mut Vec<u32>) {
        debug_assert!(into.is_empty());
        let listed = &mut *self.listed.lock().expect("no holder of the lock can panic");
        mem::swap(into, &mut listed.keys);
        into.iter().for_each(|key| listed.is_listed.remove(*key));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listed.lock().expect("no holder of the lock can panic").keys.is_empty()
    }

    /// Who is to be woken when a connection is listed.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl ConnectionWaker {
    pub(crate) fn new(list: &Arc<ReadyList>, key: u32) -> Arc<Self> {
        Arc::new(Self { list: Arc::clone(list), key })
    }
}

impl BitSet {
    /// False when it was in already.
    fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    fn remove(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let listed = &mut *self.list.listed.lock().expect("no holder of the lock can panic");
        if listed.is_listed.insert(self.key) {
            listed.keys.push(self.key);
            self.list.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_once_until_the_list_is_taken() {
        let list = Arc::new(ReadyList::default());
        let waker = |key| Waker::from(ConnectionWaker::new(&list, key));
        let (seven, far) = (waker(7), waker(700));
        seven.wake_by_ref();
        far.wake_by_ref();
        seven.wake_by_ref();
        let mut keys = vec![];
        list.take(&mut keys);
        assert_eq!(keys, [7, 700]);
        assert!(list.is_empty());
        seven.wake_by_ref();
        keys.clear();
        list.take(&mut keys);
        assert_eq!(keys, [7]);
    }

    #[test]
    fn bits_are_where_they_were_set() {
        let mut bits = BitSet::default();
        for number in [0, 63, 64, 4000] {
            assert!(bits.insert(number), "{number}");
            assert!(!bits.insert(number), "{number}");
        }
        bits.remove(63);
        bits.remove(1 << 20);
        assert!(bits.insert(63) && !bits.insert(64));
    }
}
