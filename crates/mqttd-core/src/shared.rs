//! Shared subscriptions (MQTT 5.0 section 4.8.2): groups of sessions of which one gets each
//! message.
//!
//! Every shard knows every group with all its members, so that the publisher's shard chooses
//! without asking anyone.

use alloc::boxed::Box;
use alloc::vec::Vec;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_proto::topic::{FilterTrie, SharedFilter};
use slab::Slab;

use crate::envelope::{MemberState, SessionAddress};
use crate::grant::Grant;
use crate::ids::ShardId;

/// All groups, by number and by whole filter.
pub(crate) struct Groups {
    groups: Slab<Group>,
    by_filter: HashMap<Box<str>, u32, FixedState>,
}

struct Group {
    members: Vec<Member>,
    /// Where the next choice begins.
    next: usize,
}

struct Member {
    shard: ShardId,
    address: SessionAddress,
    grant: Grant,
    is_online: bool,
}

impl Groups {
    pub(crate) fn new(seed: u64) -> Self {
        let by_filter = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { groups: Slab::new(), by_filter }
    }

    /// The group of a whole filter (`$share/…`).
    pub(crate) fn find(&self, filter: &str) -> Option<u32> {
        self.by_filter.get(filter).copied()
    }

    /// A member joins, changes or leaves. `trie` is kept in step.
    pub(crate) fn update(
        &mut self,
        filter: &str,
        shard: ShardId,
        state: MemberState,
        trie: &mut FilterTrie<Vec<u32>>,
    ) {
        let Ok(Some((_, inner))) = SharedFilter::parse(filter) else { return };
        let key = match self.find(filter) {
            Some(key) => key,
            None if state.grant.is_none() => return,
            None => {
                let key = self.groups.insert(Group { members: Vec::new(), next: 0 }) as u32;
                self.by_filter.insert(Box::from(filter), key);
                trie.get_or_insert_with(inner.as_str(), Vec::new).push(key);
                key
            }
        };
        let Some(Group { members, .. }) = self.groups.get_mut(key as usize) else { return };
        let same = |member: &Member| member.shard == shard && member.address == state.session;
        match (state.grant, members.iter_mut().find(|member| same(member))) {
            (Some(grant), Some(member)) => {
                member.grant = grant;
                member.is_online = state.is_online;
            }
            (Some(grant), None) => members.push(Member {
                shard,
                address: state.session,
                grant,
                is_online: state.is_online,
            }),
            (None, _) => members.retain(|member| !same(member)),
        }
        if members.is_empty() {
            self.groups.remove(key as usize);
            self.by_filter.remove(filter);
            if let Some(keys) = trie.get_mut(inner.as_str()) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    trie.remove(inner.as_str());
                }
            }
        }
    }

    /// The member whose turn it is: first among those that are connected and, as far as this shard
    /// knows, can be sent to at once; then any connected one; then one that will come back.
    pub(crate) fn choose(
        &mut self,
        key: u32,
        here: ShardId,
        can_take: impl Fn(SessionAddress) -> bool,
    ) -> Option<(ShardId, SessionAddress, Grant)> {
        let group = self.groups.get_mut(key as usize)?;
        let count = group.members.len();
        let ready = |member: &Member| {
            member.is_online && (member.shard != here || can_take(member.address))
        };
        let next = group.next.checked_rem(count)?;
        let (before, behind) = group.members.split_at_checked(next)?;
        let turns = (next..).zip(behind).chain((0..).zip(before));
        let (index, member) = turns
            .clone()
            .find(|(_, member)| ready(member))
            .or_else(|| turns.clone().find(|(_, member)| member.is_online))
            .or_else(|| turns.clone().next())?;
        let chosen = (member.shard, member.address, member.grant.clone());
        group.next = usize::saturating_add(index, 1).checked_rem(count)?;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionKey, SessionUid};
    use mqtt_proto::QoS;
    use mqtt_proto::packet::SubscriptionOptions;

    const FILTER: &str = "$share/g/a/#";

    fn address(number: u32) -> SessionAddress {
        SessionAddress { key: SessionKey(number), uid: SessionUid(u64::from(number)) }
    }

    fn state(number: u32, is_online: bool) -> MemberState {
        let grant = Grant::new(SubscriptionOptions::with_qos(QoS::AtLeastOnce), None);
        MemberState { session: address(number), grant: Some(grant), is_online }
    }

    fn chosen(groups: &mut Groups, can_take: impl Fn(SessionAddress) -> bool) -> Option<u32> {
        let key = groups.find(FILTER)?;
        groups.choose(key, ShardId(0), can_take).map(|(_, address, _)| address.key.0)
    }

    #[test]
    fn connected_members_take_turns_and_absent_ones_only_when_alone() {
        let mut trie = FilterTrie::new(1);
        let mut groups = Groups::new(1);
        for (number, online) in [(1, true), (2, false), (3, true)] {
            groups.update(FILTER, ShardId(0), state(number, online), &mut trie);
        }
        let turns: Vec<_> = (0..4).map(|_| chosen(&mut groups, |_| true)).collect();
        assert_eq!(turns, [Some(1), Some(3), Some(1), Some(3)]);
        let slow = |address: SessionAddress| address.key.0 != 1;
        assert_eq!(chosen(&mut groups, slow), Some(3));
        assert_eq!(chosen(&mut groups, slow), Some(3));
        assert!(chosen(&mut groups, |_| false).is_some_and(|number| number != 2));
        for number in [1, 3] {
            groups.update(FILTER, ShardId(0), state(number, false), &mut trie);
        }
        assert!(chosen(&mut groups, |_| true).is_some());
    }

    #[test]
    fn a_group_is_gone_with_its_last_member() {
        let mut trie = FilterTrie::new(1);
        let mut groups = Groups::new(1);
        groups.update(FILTER, ShardId(1), state(1, true), &mut trie);
        assert_eq!(trie.len(), 1);
        let left = MemberState { grant: None, ..state(1, true) };
        groups.update(FILTER, ShardId(0), left.clone(), &mut trie);
        assert_eq!(trie.len(), 1, "another shard's session of the same number");
        groups.update(FILTER, ShardId(1), left, &mut trie);
        assert!(trie.is_empty() && groups.find(FILTER).is_none());
    }
}
