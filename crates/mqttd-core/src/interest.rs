//! Which other shards have subscribers for a topic. They are asked with "perhaps": a shard that a
//! message is sent to matches it again, so a superfluous letter costs a little time, and a missing
//! one would lose the message.
//!
//! So fingerprints of the filters are enough. Filters of which none can be kept, because they are
//! deep or their wildcards stand where hardly anybody's do, are kept whole.

use mqtt_proto::topic::{FilterPrints, FilterTrie};

use crate::ids::ShardId;
use crate::matching::ShardSet;

/// See the file's head.
pub(crate) struct Interest {
    prints: FilterPrints,
    others: FilterTrie<ShardSet>,
}

impl Interest {
    /// `shards` is how many the broker has.
    pub(crate) fn new(seed: u64, shards: u8) -> Self {
        Self { prints: FilterPrints::new(seed, shards), others: FilterTrie::new(seed) }
    }

    /// A shard has its first subscriber for this filter.
    pub(crate) fn add(&mut self, filter: &str, shard: ShardId) {
        if !self.prints.insert(filter, shard.0) {
            self.others.get_or_insert_with(filter, ShardSet::default).insert(shard);
        }
    }

    /// A shard has lost the last one, after [`Interest::add`].
    pub(crate) fn remove(&mut self, filter: &str, shard: ShardId) {
        // There may have been no room for a fingerprint when the filter came, and be some now.
        let Some(shards) = self.others.get_mut(filter).filter(|shards| shards.contains(shard))
        else {
            let was_there = self.prints.remove(filter, shard.0);
            debug_assert!(was_there, "{filter} of {shard:?}");
            return;
        };
        shards.remove(shard);
        if shards.is_empty() {
            self.others.remove(filter);
        }
    }

    /// Every shard with a filter that matches; by chance others too.
    #[inline]
    pub(crate) fn shards(&self, topic: &str) -> ShardSet {
        let mut all = ShardSet::default();
        self.prints.visit(topic, |shard| all.insert(ShardId(shard)));
        if !self.others.is_empty() {
            self.others.visit(topic, |shards| all.union(*shards));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(interest: &Interest, topic: &str) -> Vec<u8> {
        interest.shards(topic).iter().map(|shard| shard.0).collect()
    }

    #[test]
    fn each_shard_comes_and_goes_by_itself() {
        let mut interest = Interest::new(1, 64);
        let deep = vec!["+"; 200].join("/");
        let name = vec!["x"; 200].join("/");
        for filter in ["x/#", &deep, &name] {
            interest.add(filter, ShardId(63));
            interest.add(filter, ShardId(5));
        }
        assert_eq!(shards(&interest, &name), [5, 63]);
        assert_eq!(shards(&interest, "x/y"), [5, 63]);
        for filter in [&name, "x/#"] {
            interest.remove(filter, ShardId(5));
        }
        assert_eq!(shards(&interest, &name), [5, 63], "by the third");
        assert_eq!(shards(&interest, "x/y"), [63]);
        interest.remove(&deep, ShardId(5));
        assert_eq!(shards(&interest, &name), [63]);
        for filter in ["x/#", &deep, &name] {
            interest.remove(filter, ShardId(63));
        }
        assert!(shards(&interest, &name).is_empty() && interest.others.is_empty());
    }

    #[test]
    fn filters_of_more_shapes_than_fingerprints_are_kept_of_are_found_too() {
        let mut interest = Interest::new(1, 3);
        let filter = |number: usize| {
            let level = |bit: u32| if number >> bit & 1 == 1 { "+" } else { "x" };
            (0..8).map(level).collect::<Vec<_>>().join("/")
        };
        let name = filter(0);
        let all: Vec<_> = (0..256).map(filter).collect();
        all.iter().for_each(|filter| interest.add(filter, ShardId(1)));
        assert!(interest.others.len() > 200);
        // A shape has room again, and a filter that came before has not: each is found where it is.
        interest.remove(&all[0], ShardId(1));
        interest.add(&all[255], ShardId(2));
        assert_eq!(shards(&interest, &name), [1, 2]);
        interest.remove(&all[255], ShardId(2));
        for filter in &all[1..] {
            assert_eq!(shards(&interest, &name), [1]);
            interest.remove(filter, ShardId(1));
        }
        assert!(shards(&interest, &name).is_empty() && interest.others.is_empty());
    }
}
