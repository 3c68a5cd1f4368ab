//! Who has subscribed to one filter: the value of the shard's `FilterTrie`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use mqtt_proto::packet::SubscriptionOptions;

use crate::ids::SessionKey;
use crate::limits::SUBSCRIBERS_LIST_MAX;

/// One session's subscription to the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) session: SessionKey,
    /// [`SubscriptionOptions::to_byte`].
    options: u8,
    /// Subscription Identifier; 0: none.
    pub(crate) identifier: u32,
}

impl Subscriber {
    pub(crate) fn new(session: SessionKey, options: SubscriptionOptions, identifier: u32) -> Self {
        Self { session, options: options.to_byte(), identifier }
    }

    #[allow(clippy::expect_used, reason = "the byte was made from options")]
    pub(crate) fn options(&self) -> SubscriptionOptions {
        SubscriptionOptions::from_byte(self.options)
            .expect("the byte was made from subscription options")
    }
}

/// The subscribers of one filter, at most one entry for each session. Most filters have one, which
/// stands in the trie's node itself.
#[derive(Debug)]
#[allow(clippy::box_collection, reason = "the rare forms must not make the common one larger")]
pub(crate) enum Subscribers {
    One(Subscriber),
    Few(Box<Vec<Subscriber>>),
    Many(Box<BTreeMap<SessionKey, Subscriber>>),
}

impl Subscribers {
    /// Adds or replaces the session's entry.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) {
        match self {
            Self::One(old) if old.session == subscriber.session => *old = subscriber,
            Self::One(old) => *self = Self::Few(Box::new(vec![*old, subscriber])),
            Self::Few(list) => {
                if let Some(old) = list.iter_mut().find(|old| old.session == subscriber.session) {
                    *old = subscriber;
                } else if list.len() < SUBSCRIBERS_LIST_MAX {
                    list.push(subscriber);
                } else {
                    let all = list.drain(..).chain([subscriber]);
                    *self = Self::Many(Box::new(all.map(|one| (one.session, one)).collect()));
                }
            }
            Self::Many(tree) => {
                tree.insert(subscriber.session, subscriber);
            }
        }
    }

    /// Removes the session's entry. Returns whether it was the last: then it is still there, and
    /// the whole filter is to go.
    #[must_use]
    pub(crate) fn remove(&mut self, session: SessionKey) -> bool {
        match self {
            Self::One(last) => return last.session == session,
            Self::Few(list) => {
                list.retain(|entry| entry.session != session);
                if let [last] = list[..] {
                    *self = Self::One(last);
                }
            }
            Self::Many(tree) => {
                tree.remove(&session);
                if tree.len() <= SUBSCRIBERS_LIST_MAX / 2 {
                    *self = Self::Few(Box::new(tree.values().copied().collect()));
                }
            }
        }
        false
    }

    #[inline]
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Subscriber)) {
        match self {
            Self::One(subscriber) => f(subscriber),
            Self::Few(list) => list.iter().for_each(f),
            Self::Many(tree) => tree.values().for_each(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::QoS;

    fn subscriber(session: u32, identifier: u32) -> Subscriber {
        let options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
        Subscriber::new(SessionKey(session), options, identifier)
    }

    #[test]
    fn a_session_has_one_entry_whatever_the_form() {
        let mut all = Subscribers::One(subscriber(0, 0));
        for round in 1..=2 {
            for session in 0..100 {
                all.insert(subscriber(session, round));
            }
        }
        assert!(matches!(all, Subscribers::Many(_)));
        let mut seen = 0;
        all.for_each(|entry| {
            assert_eq!(entry.identifier, 2);
            assert_eq!(entry.options().qos, QoS::AtLeastOnce);
            seen += 1;
        });
        assert_eq!(seen, 100);
        for session in 0..98 {
            assert!(!all.remove(SessionKey(session)));
        }
        assert!(matches!(&all, Subscribers::Few(list) if list.len() == 2));
        assert!(!all.remove(SessionKey(98)));
        assert!(matches!(&all, Subscribers::One(_)));
        assert!(!all.remove(SessionKey(7)), "it is not there");
        assert!(all.remove(SessionKey(99)));
    }

    #[test]
    fn a_lone_subscriber_needs_no_memory_beside_the_node() {
        assert_eq!(size_of::<Option<Subscribers>>(), 16);
    }
}
