//! What dynamic security knows: clients, groups, roles and what they have to do with each other.
//! Names are keys, in byte order, which is the order of every list that the plugin makes.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::PRIORITY_MAX;
use crate::hash::PasswordHash;

/// Everything that the file holds, and who is to be disconnected.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Counts changes.
    pub(super) change_index: i64,
    pub(super) defaults: Defaults,
    pub(super) clients: BTreeMap<Box<str>, Client>,
    pub(super) groups: BTreeMap<Box<str>, Group>,
    pub(super) roles: BTreeMap<Box<str>, Role>,
    /// The group of clients without a user name; names one of `groups`.
    pub(super) anonymous_group: Option<Box<str>>,
    /// As [`Client::revision`], for clients without a user name.
    pub(super) anonymous_revision: u64,
    /// The last revision given.
    pub(super) revisions: u64,
}

/// What is allowed where no role says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) publish: bool,
    pub(super) receive: bool,
    pub(super) subscribe: bool,
    pub(super) unsubscribe: bool,
}

/// Names for people.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) name: Option<Box<str>>,
    pub(super) description: Option<Box<str>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The only Client Identifier it may use.
    pub(super) client_id: Option<Box<str>>,
    pub(super) texts: Texts,
    pub(super) is_disabled: bool,
    /// Without one nobody logs in.
    pub(super) password: Option<PasswordHash>,
    pub(super) roles: Ranks,
    /// Its groups; each names it in turn.
    pub(super) groups: Ranks,
    /// A connection ends when the revision is another than when it came in.
    pub(super) revision: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) texts: Texts,
    pub(super) roles: Ranks,
    /// Its clients, with the priority the group has for them.
    pub(super) clients: BTreeMap<Box<str>, i32>,
}

#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) texts: Texts,
    /// Without it, whoever has the role subscribes to nothing with `+` or `#`.
    pub(super) allows_wildcards: bool,
    /// By [`AclType`].
    pub(super) acls: [Vec<Acl>; AclType::ALL.len()],
}

impl Default for Role {
    fn default() -> Self {
        Self { texts: Texts::default(), allows_wildcards: true, acls: Default::default() }
    }
}

/// One rule of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acl {
    pub(super) topic: Box<str>,
    pub(super) priority: i32,
    pub(super) allow: bool,
}

/// What a rule is about, in the order in which rules are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclType {
    Publish,
    Receive,
    SubscribeLiteral,
    SubscribePattern,
    UnsubscribeLiteral,
    UnsubscribePattern,
}

impl AclType {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Publish, "publishClientSend"),
        (Self::Receive, "publishClientReceive"),
        (Self::SubscribeLiteral, "subscribeLiteral"),
        (Self::SubscribePattern, "subscribePattern"),
        (Self::UnsubscribeLiteral, "unsubscribeLiteral"),
        (Self::UnsubscribePattern, "unsubscribePattern"),
    ];

    pub(super) fn named(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(kind, _)| *kind)
    }
}

impl Role {
    pub(super) fn of(&self, kind: AclType) -> &[Acl] {
        let [publish, receive, literal, pattern, no_literal, no_pattern] = &self.acls;
        match kind {
            AclType::Publish => publish,
            AclType::Receive => receive,
            AclType::SubscribeLiteral => literal,
            AclType::SubscribePattern => pattern,
            AclType::UnsubscribeLiteral => no_literal,
            AclType::UnsubscribePattern => no_pattern,
        }
    }

    fn of_mut(&mut self, kind: AclType) -> &mut Vec<Acl> {
        let [publish, receive, literal, pattern, no_literal, no_pattern] = &mut self.acls;
        match kind {
            AclType::Publish => publish,
            AclType::Receive => receive,
            AclType::SubscribeLiteral => literal,
            AclType::SubscribePattern => pattern,
            AclType::UnsubscribeLiteral => no_literal,
            AclType::UnsubscribePattern => no_pattern,
        }
    }

    /// Adds a rule behind those of the same priority; false when there is one for the topic.
    pub(super) fn add(&mut self, kind: AclType, acl: Acl) -> bool {
        let acls = self.of_mut(kind);
        if acls.iter().any(|other| other.topic == acl.topic) {
            return false;
        }
        let at = acls.partition_point(|other| other.priority >= acl.priority);
        acls.insert(at, acl);
        true
    }

    /// Puts these rules in the place of all others. Of several for one topic the first counts.
    pub(super) fn fill(&mut self, acls: impl Iterator<Item = (AclType, Acl)>) {
        let mut seen = BTreeSet::new();
        self.acls = Default::default();
        for (kind, acl) in acls {
            if seen.insert((kind as usize, acl.topic.clone())) {
                self.of_mut(kind).push(acl);
            }
        }
        for acls in &mut self.acls {
            acls.sort_by_key(|acl| Reverse(acl.priority));
        }
    }

    /// False when there is no rule for the topic.
    pub(super) fn remove(&mut self, kind: AclType, topic: &str) -> bool {
        let acls = self.of_mut(kind);
        let before = acls.len();
        acls.retain(|acl| *acl.topic != *topic);
        acls.len() < before
    }
}

/// Names with priorities: the highest first, equal ones in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranks(Vec<(Box<str>, i32)>);

impl Ranks {
    /// False when the name is there already, whose priority stays.
    pub(super) fn add(&mut self, name: &str, priority: i32) -> bool {
        if self.contains(name) {
            return false;
        }
        let comes_before = |other: &(Box<str>, i32)| {
            other.1 > priority || (other.1 == priority && *other.0 < *name)
        };
        let at = self.0.partition_point(comes_before);
        self.0.insert(at, (name.into(), priority));
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| **own != *name);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| **own == *name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.0.iter().map(|(name, priority)| (&**name, *priority))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A priority within its bounds.
pub(super) fn bounded(priority: i32) -> i32 {
    priority.clamp(-PRIORITY_MAX, PRIORITY_MAX)
}

impl State {
    /// A new revision, for a client that was never seen.
    pub(super) fn next_revision(&mut self) -> u64 {
        self.revisions = self.revisions.wrapping_add(1);
        self.revisions
    }

    /// Ends the connections of this user.
    pub(super) fn kick(&mut self, username: &str) {
        let revision = self.next_revision();
        if let Some(client) = self.clients.get_mut(username) {
            client.revision = revision;
        }
    }

    /// Ends the connections of everybody without a user name.
    pub(super) fn kick_anonymous(&mut self) {
        self.anonymous_revision = self.next_revision();
    }

    /// Ends the connections of everybody in the group.
    pub(super) fn kick_group(&mut self, groupname: &str) {
        if self.anonymous_group.as_deref() == Some(groupname) {
            self.kick_anonymous();
        }
        let revision = self.next_revision();
        let Some(group) = self.groups.get(groupname) else { return };
        for username in group.clients.keys() {
            if let Some(client) = self.clients.get_mut(username) {
                client.revision = revision;
            }
        }
    }

    /// Ends the connections of everybody who has the role, directly or by a group.
    pub(super) fn kick_role(&mut self, rolename: &str) {
        let groups = self.groups.iter().filter(|(_, group)| group.roles.contains(rolename));
        let groups: Vec<Box<str>> = groups.map(|(name, _)| name.clone()).collect();
        for group in &groups {
            self.kick_group(group);
        }
        let revision = self.next_revision();
        for client in self.clients.values_mut() {
            if client.roles.contains(rolename) {
                client.revision = revision;
            }
        }
    }

    /// Puts a client into a group, both of which exist; false when it is there already.
    pub(super) fn join(&mut self, username: &str, groupname: &str, priority: i32) -> bool {
        let (Some(client), Some(group)) =
            (self.clients.get_mut(username), self.groups.get_mut(groupname))
        else {
            return false;
        };
        if !client.groups.add(groupname, priority) {
            return false;
        }
        group.clients.insert(username.into(), priority);
        true
    }

    /// Takes a client out of a group, if it is in it.
    pub(super) fn leave(&mut self, username: &str, groupname: &str) {
        if let Some(client) = self.clients.get_mut(username) {
            client.groups.remove(groupname);
        }
        if let Some(group) = self.groups.get_mut(groupname) {
            group.clients.remove(username);
        }
    }

    /// Takes a client out of all its groups.
    pub(super) fn leave_all(&mut self, username: &str) {
        let Some(client) = self.clients.get_mut(username) else { return };
        let groups = core::mem::take(&mut client.groups);
        for (groupname, _) in groups.iter() {
            if let Some(group) = self.groups.get_mut(groupname) {
                group.clients.remove(username);
            }
        }
    }

    /// Takes every client out of a group.
    pub(super) fn empty(&mut self, groupname: &str) {
        let Some(group) = self.groups.get_mut(groupname) else { return };
        for username in core::mem::take(&mut group.clients).keys() {
            if let Some(client) = self.clients.get_mut(username) {
                client.groups.remove(groupname);
            }
        }
    }

    /// Clients, groups, roles, rules, and what connects them: what memory and file grow with.
    pub(super) fn entries(&self) -> usize {
        let sizes = [self.clients.len(), self.groups.len(), self.roles.len()].into_iter();
        let of_clients =
            self.clients.values().flat_map(|client| [client.roles.len(), client.groups.len()]);
        let of_groups = self.groups.values().map(|group| group.roles.len());
        let of_roles = self.roles.values().flat_map(|role| role.acls.iter().map(Vec::len));
        sizes.chain(of_clients).chain(of_groups).chain(of_roles).sum()
    }
}
