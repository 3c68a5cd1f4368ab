//! Who has subscribed to one filter: the value of the shard's `FilterTrie`.

use alloc::collections::BTreeMap;
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

    pub(crate) fn options(&self) -> SubscriptionOptions {
        SubscriptionOptions::from_byte(self.options)
            .expect("the byte was made from subscription options")
    }
}

/// The subscribers of one filter, at most one entry for each session.
#[derive(Debug)]
pub(crate) enum Subscribers {
    Few(Vec<Subscriber>),
    Many(BTreeMap<SessionKey, Subscriber>),
}

impl Default for Subscribers {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Subscribers {
    /// Adds or replaces the session's entry.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) {
        match self {
            Self::Few(list) => {
                if let Some(old) = list.iter_mut().find(|old| old.session == subscriber.session) {
                    *old = subscriber;
                } else if list.len() < SUBSCRIBERS_LIST_MAX {
                    if list.is_empty() {
                        list.reserve_exact(1);
                    }
                    list.push(subscriber);
                } else {
                    let all = list.drain(..).chain([subscriber]);
                    *self = Self::Many(all.map(|entry| (entry.session, entry)).collect());
                }
            }
            Self::Many(tree) => {
                tree.insert(subscriber.session, subscriber);
            }
        }
    }

    /// Removes the session's entry.
    pub(crate) fn remove(&mut self, session: SessionKey) {
        match self {
            Self::Few(list) => list.retain(|entry| entry.session != session),
            Self::Many(tree) => {
                tree.remove(&session);
                if tree.len() <= SUBSCRIBERS_LIST_MAX / 2 {
                    *self = Self::Few(tree.values().copied().collect());
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(tree) => tree.is_empty(),
        }
    }

    pub(crate) fn for_each(&self, f: impl FnMut(&Subscriber)) {
        match self {
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
        let mut all = Subscribers::default();
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
        for session in 0..99 {
            all.remove(SessionKey(session));
        }
        assert!(matches!(all, Subscribers::Few(_)) && !all.is_empty());
        all.remove(SessionKey(99));
        assert!(all.is_empty());
    }
}
