//! The table of a shard's sessions, and what a [`SessionKey`] is worth.
//!
//! A key is made by [`Sessions::insert`] and means that session until [`Sessions::remove`]. The
//! shard forgets a session in one place, `ending.rs`, together with its client identifier, its
//! connection, its subscriptions and its places in shared groups: a key found there is good, and
//! `sessions[key]` takes it at its word. Whatever outlives a session by design (timers, envelopes,
//! confirmations) carries its uid beside the key and asks with [`Sessions::find`].

use core::ops::{Index, IndexMut};

use slab::Slab;

use crate::ids::SessionKey;
use crate::session::Session;

/// A shard's sessions.
#[derive(Default)]
pub(crate) struct Sessions(Slab<Session>);

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One past the highest place that may be taken; see [`Sessions::at`].
    pub(crate) fn places(&self) -> usize {
        self.0.capacity()
    }

    /// The session at a place, for those who go through the table in steps.
    pub(crate) fn at(&self, place: usize) -> Option<(SessionKey, &Session)> {
        self.0.get(place).map(|session| (SessionKey(place as u32), session))
    }

    /// The session of a key that may be older than the last change of the table.
    #[inline]
    pub(crate) fn find(&self, key: SessionKey) -> Option<&Session> {
        self.0.get(key.0 as usize)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.0.get_mut(key.0 as usize)
    }

    /// All of them, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.0.iter().map(|(place, session)| (SessionKey(place as u32), session))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut().map(|(_, session)| session)
    }

    pub(crate) fn insert(&mut self, session: Session) -> SessionKey {
        // `sessions_max` is a u32, and 2^32 sessions would not fit into memory.
        SessionKey(self.0.insert(session) as u32)
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        self.0.try_remove(key.0 as usize)
    }
}

#[allow(clippy::indexing_slicing, reason = "a key is good until its session is removed")]
impl Index<SessionKey> for Sessions {
    type Output = Session;

    #[inline]
    fn index(&self, key: SessionKey) -> &Session {
        &self.0[key.0 as usize]
    }
}

#[allow(clippy::indexing_slicing, reason = "a key is good until its session is removed")]
impl IndexMut<SessionKey> for Sessions {
    #[inline]
    fn index_mut(&mut self, key: SessionKey) -> &mut Session {
        &mut self.0[key.0 as usize]
    }
}
