//! The subscriptions of one session, by filter. Most Clients have one or a few, for which a list is
//! smaller than a table and no slower.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::session::Subscribed;

/// Subscriptions that are kept in a list; more go into a table.
const LIST_MAX: usize = 8;

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

    /// The one with this filter; `hash` is the filter's.
    pub(crate) fn find(&self, hash: u64, filter: &str) -> Option<&Subscribed> {
        match self {
            Self::List(list) => list.iter().find(|entry| *entry.filter == *filter),
            Self::Table(table) => table.find(hash, |entry| *entry.filter == *filter),
        }
    }

    /// The one with this filter; `hash` is the filter's.
    pub(crate) fn find_mut(&mut self, hash: u64, filter: &str) -> Option<&mut Subscribed> {
        match self {
            Self::List(list) => list.iter_mut().find(|entry| *entry.filter == *filter),
            Self::Table(table) => table.find_mut(hash, |entry| *entry.filter == *filter),
        }
    }

    /// Adds one, or replaces the one with its filter. `hasher` makes the hashes.
    pub(crate) fn insert(&mut self, subscribed: Subscribed, hasher: impl Fn(&str) -> u64) {
        if let Self::List(list) = self {
            if let Some(old) = list.iter_mut().find(|old| old.filter == subscribed.filter) {
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
                table.insert_unique(hasher(&entry.filter), entry, |entry| hasher(&entry.filter));
            }
            *self = Self::Table(Box::new(table));
        }
        let Self::Table(table) = self else { return };
        let place = table.entry(
            hasher(&subscribed.filter),
            |entry| entry.filter == subscribed.filter,
            |entry| hasher(&entry.filter),
        );
        match place {
            Entry::Occupied(mut old) => *old.get_mut() = subscribed,
            Entry::Vacant(place) => {
                place.insert(subscribed);
            }
        }
    }

    /// Takes out the one with this filter; `hash` is the filter's.
    pub(crate) fn remove(&mut self, hash: u64, filter: &str) -> Option<Subscribed> {
        match self {
            Self::List(list) => {
                let place = list.iter().position(|entry| *entry.filter == *filter)?;
                let subscribed = list.remove(place);
                list.shrink_to_fit();
                Some(subscribed)
            }
            Self::Table(table) => {
                let entry = table.find_entry(hash, |entry| *entry.filter == *filter).ok()?;
                let (subscribed, _) = entry.remove();
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
    use mqtt_proto::QoS;
    use mqtt_proto::packet::SubscriptionOptions;

    fn subscribed(number: usize, identifier: u32) -> Subscribed {
        Subscribed {
            filter: format!("f/{number}").into(),
            options: SubscriptionOptions::with_qos(QoS::AtMostOnce),
            identifier,
            record: None,
            replays: false,
        }
    }

    fn hash(filter: &str) -> u64 {
        filter.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte)).wrapping_mul(0x9e37_79b9)
    }

    #[test]
    fn a_filter_has_one_entry_whatever_the_form() {
        assert_eq!(size_of::<Subscriptions>(), 24);
        let mut all = Subscriptions::default();
        for round in 1..=2 {
            for number in 0..50 {
                all.insert(subscribed(number, round), hash);
            }
        }
        assert!(matches!(all, Subscriptions::Table(_)));
        assert_eq!(all.len(), 50);
        for number in (0..50).rev() {
            let filter = format!("f/{number}");
            assert_eq!(all.find(hash(&filter), &filter).map(|it| it.identifier), Some(2));
            all.find_mut(hash(&filter), &filter).unwrap().identifier = 3;
            assert!(all.iter().any(|it| *it.filter == *filter && it.identifier == 3));
            all.iter_mut().for_each(|it| it.identifier += 1);
            let removed = all.remove(hash(&filter), &filter).unwrap();
            assert_eq!(removed.identifier, 4);
            all.iter_mut().for_each(|it| it.identifier -= 1);
            assert!(all.remove(hash(&filter), &filter).is_none());
            assert_eq!((all.len(), all.iter().count()), (number, number));
            assert_eq!(matches!(all, Subscriptions::List(_)), number <= LIST_MAX / 2);
        }
    }

    #[test]
    fn a_list_grows_by_what_is_needed() {
        let mut all = Subscriptions::default();
        for number in 0..LIST_MAX {
            all.insert(subscribed(number, 0), hash);
            let Subscriptions::List(list) = &all else { panic!("a list of {number}") };
            assert_eq!(list.capacity(), number + 1);
        }
        all.insert(subscribed(LIST_MAX, 0), hash);
        assert!(matches!(all, Subscriptions::Table(_)));
    }
}
