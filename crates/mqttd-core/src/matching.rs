//! Topic Name → everyone who gets it: this shard's sessions, shared subscriptions, other shards.
//!
//! The answer for a topic is remembered until any subscription changes, so that a topic seen before
//! costs one look-up and no walk.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use mqtt_proto::count::Count;

use foldhash::fast::FixedState;
use mqtt_proto::topic::FilterTrie;

use crate::grant::{Grant, GrantExtra};
use crate::ids::{SessionKey, ShardId};
use crate::interest::Interest;
use crate::limits::{MATCH_CACHE_SLOTS, MATCH_CACHE_TARGETS_MAX, MATCH_CACHE_TOPIC_BYTES_MAX};
use crate::subscribers::{Subscriber, Subscribers};

/// What begins the topics of the Server's own messages.
const SYS: &str = "$SYS/";

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    pub(crate) fn of(shard: ShardId) -> Self {
        Self(1 << shard.0)
    }

    pub(crate) fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    pub(crate) fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    pub(crate) fn contains(self, shard: ShardId) -> bool {
        self.0 & 1 << shard.0 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn union(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            (rest != 0).then(|| {
                let shard = ShardId(rest.trailing_zeros() as u8);
                rest &= rest.wrapping_sub(1);
                shard
            })
        })
    }
}

/// One session that gets a message, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) session: SessionKey,
    pub(crate) grant: Grant,
}

/// Everyone who gets the messages of one topic.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    pub(crate) targets: Vec<Target>,
    /// Shared subscriptions, as keys of [`crate::shared::Groups`].
    pub(crate) groups: Vec<u32>,
    pub(crate) shards: ShardSet,
}

impl Matched {
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty() && self.shards.is_empty()
    }

    fn clear(&mut self) {
        self.targets.clear();
        self.groups.clear();
        self.shards = ShardSet::default();
    }
}

/// Who has subscribed to what, and the memory of the answers.
pub(crate) struct Matching {
    /// Every filter of the sessions here. Shared ones are there with their `$share/…`, for their
    /// names alone: no topic begins like that, and `groups` finds them.
    pub(crate) subscribers: FilterTrie<Subscribers>,
    pub(crate) groups: FilterTrie<Vec<u32>>,
    pub(crate) interest: Interest,
    hash: FixedState,
    generation: u64,
    slots: Box<[Slot]>,
    /// Room for targets in all slots, and the generation in which they were last emptied.
    remembered: usize,
    emptied: u64,
    /// One copy for each matching subscription (`allow_duplicate_messages`).
    pub(crate) duplicate_overlaps: bool,
}

#[derive(Default)]
struct Slot {
    hash: u64,
    /// 0: holds no answer.
    generation: u64,
    topic: String,
    matched: Matched,
}

impl Matching {
    /// `shards` is how many the broker has.
    pub(crate) fn new(seed: u64, shards: u8) -> Self {
        Self {
            subscribers: FilterTrie::new(seed),
            groups: FilterTrie::new(seed),
            interest: Interest::new(seed, shards),
            hash: FixedState::with_seed(seed),
            generation: 1,
            slots: Box::default(),
            remembered: 0,
            emptied: 0,
            duplicate_overlaps: false,
        }
    }

    /// A subscription has changed: remembered answers are void.
    pub(crate) fn changed(&mut self) {
        self.generation.up(1);
    }

    /// Takes the answer for `topic` out of its place; [`Matching::put_back`] follows.
    #[inline]
    pub(crate) fn take(&mut self, topic: &str) -> (usize, Matched) {
        if self.slots.is_empty() {
            // The Server's own come every few seconds: without other publishers they are matched
            // each time, for the table would be a tenth of what an idle broker takes.
            if topic.starts_with(SYS) {
                return (usize::MAX, self.walked(topic));
            }
            self.slots = (0..MATCH_CACHE_SLOTS).map(|_| Slot::default()).collect();
        }
        let hash = self.hash.hash_one(topic.as_bytes());
        let index = hash as usize & (MATCH_CACHE_SLOTS - 1);
        let Some(slot) = self.slots.get_mut(index) else { return (index, self.walked(topic)) };
        self.remembered.down(slot.matched.targets.capacity());
        if slot.hash == hash && slot.generation == self.generation && slot.topic == topic {
            return (index, core::mem::take(&mut slot.matched));
        }
        slot.topic.clear();
        slot.generation = 0;
        if topic.len() <= MATCH_CACHE_TOPIC_BYTES_MAX {
            slot.hash = hash;
            slot.generation = self.generation;
            slot.topic.push_str(topic);
        }
        let mut matched = core::mem::take(&mut slot.matched);
        self.walk(topic, &mut matched);
        (index, matched)
    }

    /// Without a place to remember it in.
    #[cold]
    fn walked(&self, topic: &str) -> Matched {
        let mut matched = Matched::default();
        self.walk(topic, &mut matched);
        matched
    }

    /// Ends a [`Matching::take`].
    #[inline]
    pub(crate) fn put_back(&mut self, index: usize, matched: Matched) {
        let room = matched.targets.capacity();
        let Some(slot) = self.slots.get_mut(index) else { return };
        if self.remembered.saturating_add(room) > MATCH_CACHE_TARGETS_MAX {
            slot.generation = 0;
            self.make_room();
            return;
        }
        self.remembered.up(room);
        slot.matched = matched;
    }

    /// The memory is full: what it holds may all be void.
    #[cold]
    fn make_room(&mut self) {
        if self.emptied < self.generation {
            self.emptied = self.generation;
            self.slots.iter_mut().for_each(|slot| *slot = Slot::default());
            self.remembered = 0;
        }
    }

    fn walk(&self, topic: &str, matched: &mut Matched) {
        matched.clear();
        let mut filters = 0_u32;
        self.subscribers.visit(topic, |subscribers| {
            filters.up(1);
            subscribers.for_each(|entry| matched.targets.push(target(entry)));
        });
        if filters > 1 && !self.duplicate_overlaps {
            merge(&mut matched.targets);
        }
        self.groups.visit(topic, |groups| matched.groups.extend_from_slice(groups));
        matched.shards = self.interest.shards(topic);
    }
}

fn target(entry: &Subscriber) -> Target {
    let extra = GrantExtra::new(&[entry.identifier], None).map(Arc::new);
    Target { session: entry.session, grant: Grant::new(entry.options(), extra) }
}

/// One entry for each session: the highest QoS [MQTT-3.3.4-2] and every Subscription Identifier
/// [MQTT-3.3.4-4]. With No Local on some of them, the session's own messages go by the others.
fn merge(targets: &mut Vec<Target>) {
    targets.sort_by_key(|target| target.session);
    targets.dedup_by(|next, first| {
        let same = next.session == first.session;
        if same {
            first.grant.merge(&next.grant);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::QoS;
    use mqtt_proto::packet::SubscriptionOptions;

    fn subscribe(matching: &mut Matching, filter: &str, session: u32, qos: QoS, identifier: u32) {
        let options = SubscriptionOptions::with_qos(qos);
        let subscriber = Subscriber::new(SessionKey(session), options, identifier);
        matching
            .subscribers
            .get_or_insert_with(filter, || Subscribers::One(subscriber))
            .insert(subscriber);
        matching.changed();
    }

    fn look_up(matching: &mut Matching, topic: &str) -> Vec<(u32, QoS, Vec<u8>)> {
        let (index, matched) = matching.take(topic);
        let all = matched.targets.iter().map(|target| {
            let identifiers = target.grant.identifiers().to_vec();
            (target.session.0, target.grant.qos, identifiers)
        });
        let all = all.collect();
        matching.put_back(index, matched);
        all
    }

    #[test]
    fn overlapping_subscriptions_of_one_session_become_one_target() {
        let mut matching = Matching::new(1, 1);
        subscribe(&mut matching, "a/+", 1, QoS::AtMostOnce, 5);
        subscribe(&mut matching, "a/#", 1, QoS::ExactlyOnce, 6);
        subscribe(&mut matching, "a/b", 2, QoS::AtLeastOnce, 0);
        let mut found = look_up(&mut matching, "a/b");
        found.iter_mut().for_each(|(_, _, identifiers)| identifiers.sort_unstable());
        let both = vec![5, 6, 0x0B, 0x0B];
        assert_eq!(found, [(1, QoS::ExactlyOnce, both), (2, QoS::AtLeastOnce, vec![])]);
        assert_eq!(look_up(&mut matching, "a/b").len(), 2, "from memory");

        matching.duplicate_overlaps = true;
        matching.changed();
        assert_eq!(look_up(&mut matching, "a/b").len(), 3);
    }

    #[test]
    fn a_remembered_answer_is_void_once_a_subscription_changes() {
        let mut matching = Matching::new(1, 1);
        assert!(look_up(&mut matching, "t").is_empty());
        subscribe(&mut matching, "t", 1, QoS::AtMostOnce, 0);
        assert_eq!(look_up(&mut matching, "t").len(), 1);
        matching.subscribers.remove("t");
        matching.changed();
        assert!(look_up(&mut matching, "t").is_empty());
    }

    #[test]
    fn the_servers_own_messages_alone_need_no_memory() {
        let mut matching = Matching::new(1, 1);
        subscribe(&mut matching, "$SYS/#", 1, QoS::AtMostOnce, 0);
        assert_eq!(look_up(&mut matching, "$SYS/broker/uptime").len(), 1);
        assert!(matching.slots.is_empty());
        assert!(look_up(&mut matching, "t").is_empty());
        assert_eq!(look_up(&mut matching, "$SYS/broker/uptime").len(), 1);
        let is_remembered = |slot: &Slot| slot.topic.starts_with(SYS);
        assert!(matching.slots.iter().any(is_remembered), "with the others");
    }

    #[test]
    fn the_memory_is_bounded_and_can_be_used_again() {
        let mut matching = Matching::new(1, 1);
        let half = MATCH_CACHE_TARGETS_MAX / 2;
        let fill = |matching: &mut Matching, topic: &str, targets: usize| {
            let (index, mut matched) = matching.take(topic);
            matched.targets.reserve_exact(targets);
            matching.put_back(index, matched);
        };
        fill(&mut matching, "a", half);
        assert_eq!(matching.remembered, half);
        fill(&mut matching, "b", half);
        assert_eq!(matching.remembered, 2 * half);
        fill(&mut matching, "c", 1);
        assert_eq!(matching.remembered, 0, "emptied once for each generation");
        fill(&mut matching, "a", half);
        fill(&mut matching, "b", half);
        fill(&mut matching, "c", 1);
        assert_eq!(matching.remembered, 2 * half, "not remembered");
        let (_, matched) = matching.take("a");
        assert_eq!((matched.targets.capacity(), matching.remembered), (half, half));
    }

    #[test]
    fn long_topics_are_matched_but_not_remembered() {
        let mut matching = Matching::new(1, 1);
        subscribe(&mut matching, "#", 1, QoS::AtMostOnce, 0);
        for length in [MATCH_CACHE_TOPIC_BYTES_MAX, MATCH_CACHE_TOPIC_BYTES_MAX + 1, 65_535] {
            let topic = "x".repeat(length);
            assert_eq!(look_up(&mut matching, &topic).len(), 1);
            assert_eq!(look_up(&mut matching, &topic).len(), 1, "and again");
            let is_remembered = matching.slots.iter().any(|slot| slot.topic == topic);
            assert_eq!(is_remembered, length <= MATCH_CACHE_TOPIC_BYTES_MAX, "{length}");
        }
    }

    #[test]
    fn a_set_of_shards_lists_its_members() {
        let mut set = ShardSet::default();
        set.insert(ShardId(63));
        set.insert(ShardId(2));
        set.insert(ShardId(5));
        assert!(set.contains(ShardId(5)));
        set.remove(ShardId(5));
        assert!(!set.contains(ShardId(5)) && set.contains(ShardId(63)));
        assert!(set.iter().eq([ShardId(2), ShardId(63)]));
        assert!(!set.is_empty());
    }
}
