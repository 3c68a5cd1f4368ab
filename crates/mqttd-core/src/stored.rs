//! The table of messages in the log that still wait for sessions, and what a [`StoredKey`] is
//! worth.
//!
//! A key is made by [`StoredMessages::insert`]. Everything that holds one (an entry of a queue or a
//! window, an exchange that has not ended) is counted in `waiting`, and the message is taken out
//! when that reaches zero: a key somebody holds is good.

use core::num::NonZeroU32;
use core::ops::{Index, IndexMut};

use alloc::vec::Vec;
use slab::Slab;

use crate::ids::RecordId;
use crate::session::StoredKey;

/// A message in the log that still waits for sessions.
pub(crate) struct Stored {
    pub(crate) record: RecordId,
    pub(crate) waiting: u32,
    /// Its [`crate::record::Record::Done`] records.
    pub(crate) done: Vec<RecordId>,
}

/// All of a shard.
#[derive(Default)]
pub(crate) struct StoredMessages(Slab<Stored>);

impl StoredMessages {
    #[allow(clippy::expect_used, reason = "2^32 messages would take 200 GB in this table alone")]
    pub(crate) fn insert(&mut self, stored: Stored) -> StoredKey {
        let key = (self.0.insert(stored) as u32).wrapping_add(1);
        StoredKey(NonZeroU32::new(key).expect("fewer than 2^32 messages are stored"))
    }

    pub(crate) fn remove(&mut self, key: StoredKey) -> Option<Stored> {
        self.0.try_remove(place(key))
    }
}

#[allow(clippy::indexing_slicing, reason = "see the file's head")]
impl Index<StoredKey> for StoredMessages {
    type Output = Stored;

    fn index(&self, key: StoredKey) -> &Stored {
        &self.0[place(key)]
    }
}

#[allow(clippy::indexing_slicing, reason = "see the file's head")]
impl IndexMut<StoredKey> for StoredMessages {
    fn index_mut(&mut self, key: StoredKey) -> &mut Stored {
        &mut self.0[place(key)]
    }
}

fn place(key: StoredKey) -> usize {
    (key.0.get() as usize).wrapping_sub(1)
}
