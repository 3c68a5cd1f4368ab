//! The subscriptions of one session, by filter. Most Clients have one or a few, for which a list is
//! smaller than a table and no slower.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use mqtt_proto::topic::FilterId;

use crate::session::Subscribed;

/// Subscriptions that are kept in a list; more go into a table.
const LIST_MAX: usize = 8;

/// Makes the hash of a filter's name; the same for all calls.
pub(crate) trait Hasher: Fn(FilterId) -> u64 {}

impl<F: Fn(FilterId) -> u64> Hasher for F {}

/// See the file's head.
pub(crate) enum Subscriptions {
    /// In the order they were made.
    List(Vec<Subscribed>),
    Table(Box<HashTable<Subscribed>>),
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Table(table) => table.len(),
        }
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscribed> {
        let (list, table) = match self {
            Self::List(list) => (&list[..], None),
            Self::Table(table) => (&[][..], Some(table.iter())),
        };
        list.iter().chain(table.into_iter().flatten())
    }

    /// All, in no order. Filters are not to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscribed> {
        let (list, table) = match self {
            Self::List(list) => (&mut list[..], None),
            Self::Table(table) => (&mut [][..], Some(table.iter_mut())),
        };
        list.iter_mut().chain(table.into_iter().flatten())
    }

    /// The one with this filter; `hasher` makes the hashes.
    pub(crate) fn find(&self, filter: FilterId, hasher: impl Hasher) -> Option<&Subscribed> {
        match self {
            Self::List(list) => list.iter().find(|entry| entry.filter == filter),
            Self::Table(table) => table.find(hasher(filter), |entry| entry.filter == filter),
        }
    }

    /// The same, to be changed, but for its filter.
    pub(crate) fn find_mut(
        &mut self,
        filter: FilterId,
        hasher: impl Hasher,
    ) -> Option<&mut Subscribed> {
        match self {
            Self::List(list) => list.iter_mut().find(|entry| entry.filter == filter),
            Self::Table(table) => table.find_mut(hasher(filter), |entry| entry.filter == filter),
        }
    }

    /// Adds one, or replaces the one with its filter.
    pub(crate) fn insert(&mut self, subscribed: Subscribed, hasher: impl Hasher) {
        let filter = subscribed.filter;
        if let Self::List(list) = self {
            if let Some(old) = list.iter_mut().find(|old| old.filter == filter) {
                *old = subscribed;
                return;
            }
            if list.len() < LIST_MAX {
                list.reserve_exact(1);
                list.push(subscribed);
                return;
            }
            let mut table = HashTable::new();
            for entry in list.drain(..) {
                table.insert_unique(hasher(entry.filter), entry, |entry| hasher(entry.filter));
            }
            *self = Self::Table(Box::new(table));
        }
        let Self::Table(table) = self else { return };
        let same = |entry: &Subscribed| entry.filter == filter;
        match table.entry(hasher(filter), same, |entry| hasher(entry.filter)) {
            Entry::Occupied(mut old) => *old.get_mut() = subscribed,
            Entry::Vacant(place) => {
                place.insert(subscribed);
            }
        }
    }

    /// Takes out the one with this filter.
    pub(crate) fn remove(&mut self, filter: FilterId, hasher: impl Hasher) -> Option<Subscribed> {
        match self {
            Self::List(list) => {
                let place = list.iter().position(|entry| entry.filter == filter)?;
                let subscribed = list.remove(place);
                list.shrink_to_fit();
                Some(subscribed)
            }
            Self::Table(table) => {
                let same = |entry: &Subscribed| entry.filter == filter;
                let (subscribed, _) = table.find_entry(hasher(filter), same).ok()?.remove();
                if table.len() <= LIST_MAX / 2 {
                    *self = Self::List(table.drain().collect());
                }
                Some(subscribed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::BuildHasher;
    use foldhash::fast::FixedState;
    use mqtt_proto::QoS;
    use mqtt_proto::packet::SubscriptionOptions;
    use mqtt_proto::topic::FilterTrie;

    fn subscribed(filter: FilterId, identifier: u32) -> Subscribed {
        let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
        Subscribed::new(filter, options, identifier)
    }

    /// The names of so many filters, and hashes for them.
    fn filters(count: usize) -> (Vec<FilterId>, impl Hasher + Copy) {
        let mut trie = FilterTrie::new(1);
        let all = (0..count).map(|number| trie.insert_with(&format!("f/{number}"), || ()).0);
        let hash = FixedState::with_seed(1);
        (all.collect(), move |filter| hash.hash_one(filter))
    }

    #[test]
    fn a_filter_has_one_entry_whatever_the_form() {
        assert_eq!(size_of::<Subscriptions>(), 24);
        let (filters, hasher) = filters(50);
        let mut all = Subscriptions::default();
        for round in 1..=2 {
            for filter in &filters {
                all.insert(subscribed(*filter, round), hasher);
            }
        }
        assert!(matches!(all, Subscriptions::Table(_)));
        assert_eq!(all.len(), 50);
        for (number, filter) in filters.into_iter().enumerate().rev() {
            assert_eq!(all.find(filter, hasher).map(|it| it.identifier), Some(2));
            all.find_mut(filter, hasher).unwrap().identifier = 3;
            assert!(all.iter().any(|it| it.filter == filter && it.identifier == 3));
            all.iter_mut().for_each(|it| it.identifier += 1);
            let removed = all.remove(filter, hasher).unwrap();
            assert_eq!(removed.identifier, 4);
            all.iter_mut().for_each(|it| it.identifier -= 1);
            assert!(all.remove(filter, hasher).is_none());
            assert_eq!((all.len(), all.iter().count()), (number, number));
            assert_eq!(matches!(all, Subscriptions::List(_)), number <= LIST_MAX / 2);
        }
    }

    #[test]
    fn a_list_grows_by_what_is_needed() {
        let (filters, hasher) = filters(LIST_MAX + 1);
        let mut all = Subscriptions::default();
        for (number, filter) in filters.into_iter().enumerate() {
            all.insert(subscribed(filter, 0), hasher);
            match &all {
                Subscriptions::List(list) => assert_eq!(list.capacity(), number + 1),
                Subscriptions::Table(_) => assert_eq!(number, LIST_MAX),
            }
        }
        assert!(matches!(all, Subscriptions::Table(_)));
    }
}
