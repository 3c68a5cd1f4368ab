//! What dynamic security has to say, compiled for those who ask: the lobby for logins, the shards
//! for every publish and delivery. Nothing here is changed; each change makes a new one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::DynamicSecurity;
use super::pattern::Pattern;
use super::state::{Acl, AclType, Defaults, Ranks, Role, State};
use crate::acl::{Action, Who};
use crate::password_file::PasswordFile;

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct DynamicRights {
    clients: HashMap<Box<str>, ClientRights>,
    /// The roles of the group of clients without a user name.
    anonymous: Roles,
    anonymous_revision: u64,
    defaults: Defaults,
    passwords: Arc<PasswordFile>,
}

/// Roles in the order they are asked.
type Roles = Box<[Arc<RoleRights>]>;

#[derive(Clone, Debug)]
struct ClientRights {
    roles: Roles,
    client_id: Option<Box<str>>,
    is_disabled: bool,
    revision: u64,
}

#[derive(Clone, Debug)]
struct RoleRights {
    allows_wildcards: bool,
    publish: Box<[Rule]>,
    receive: Box<[Rule]>,
    subscribe: FilterRules,
    unsubscribe: FilterRules,
}

#[derive(Clone, Debug)]
struct FilterRules {
    literal: HashMap<Box<str>, bool>,
    patterns: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    allow: bool,
}

impl DynamicRights {
    /// Whether the client may do this; `None` when nothing here says so and somebody else may
    /// know. Allocates nothing.
    ///
    /// The client's roles are asked first, then its groups' roles; in each the highest priority
    /// first, and in a role the rule with the highest priority. Then the defaults allow, but
    /// nothing below `$CONTROL`.
    #[must_use]
    pub fn check(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<bool> {
        let roles = match who.username {
            Some(name) => &self.clients.get(name)?.roles,
            None => &self.anonymous,
        };
        if let Some(allow) = roles.iter().find_map(|role| role.check(who, action, topic)) {
            return Some(allow);
        }
        let default = match action {
            Action::Publish => self.defaults.publish,
            Action::Deliver => self.defaults.receive,
            Action::Subscribe => self.defaults.subscribe,
            Action::Unsubscribe => self.defaults.unsubscribe,
        };
        (default && !topic.starts_with("$CONTROL")).then_some(true)
    }

    /// True when there is a client of this name, which then logs in here or nowhere.
    #[must_use]
    pub fn knows(&self, username: &str) -> bool {
        self.clients.contains_key(username)
    }

    /// False when the user is disabled or bound to another Client Identifier. Users that are not
    /// known here may come in as far as this is concerned.
    #[must_use]
    pub fn admits(&self, username: &str, client_id: &str) -> bool {
        self.clients.get(username).is_none_or(|client| {
            !client.is_disabled && client.client_id.as_deref().is_none_or(|own| own == client_id)
        })
    }

    /// The passwords of all clients that have one.
    #[must_use]
    pub fn passwords(&self) -> &Arc<PasswordFile> {
        &self.passwords
    }

    /// False when a connection that came in under these rights has to end under the new ones:
    /// what concerns its user has changed. Users that were not known here may stay.
    #[must_use]
    pub fn keeps(&self, new: &Self, username: Option<&str>) -> bool {
        let revision = |rights: &Self, name| rights.clients.get(name).map(|client| client.revision);
        match username {
            None => self.anonymous_revision == new.anonymous_revision,
            Some(name) => match revision(self, name) {
                None => true,
                old => old == revision(new, name),
            },
        }
    }
}

impl RoleRights {
    fn new(role: &Role) -> Self {
        let rules = |kind| role.of(kind).iter().map(Rule::new).collect();
        let filters = |literal, patterns| FilterRules {
            literal: role.of(literal).iter().map(|acl| (acl.topic.clone(), acl.allow)).collect(),
            patterns: rules(patterns),
        };
        Self {
            allows_wildcards: role.allows_wildcards,
            publish: rules(AclType::Publish),
            receive: rules(AclType::Receive),
            subscribe: filters(AclType::SubscribeLiteral, AclType::SubscribePattern),
            unsubscribe: filters(AclType::UnsubscribeLiteral, AclType::UnsubscribePattern),
        }
    }

    fn check(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<bool> {
        let of_topic = |rules: &[Rule]| {
            rules.iter().find_map(|rule| rule.says(|pattern| pattern.matches_topic(topic, who)))
        };
        match action {
            Action::Publish => of_topic(&self.publish),
            Action::Deliver => of_topic(&self.receive),
            Action::Subscribe if !self.allows_wildcards && topic.contains(['+', '#']) => {
                Some(false)
            }
            Action::Subscribe => self.subscribe.check(who, topic),
            Action::Unsubscribe => self.unsubscribe.check(who, topic),
        }
    }
}

impl FilterRules {
    fn check(&self, who: &Who<'_>, filter: &str) -> Option<bool> {
        self.literal.get(filter).copied().or_else(|| {
            let covers = |pattern: &Pattern| pattern.covers_filter(filter, who);
            self.patterns.iter().find_map(|rule| rule.says(covers))
        })
    }
}

impl Rule {
    fn new(acl: &Acl) -> Self {
        Self { pattern: Pattern::new(&acl.topic), allow: acl.allow }
    }

    fn says(&self, matches: impl Fn(&Pattern) -> bool) -> Option<bool> {
        match self.pattern.is_broken() {
            true => Some(false),
            false => matches(&self.pattern).then_some(self.allow),
        }
    }
}

impl DynamicSecurity {
    /// The rights as they are now.
    #[must_use]
    pub fn rights(&self) -> DynamicRights {
        let state = &self.state;
        let compiled = state.roles.iter().map(|(name, role)| {
            let rights = Arc::new(RoleRights::new(role));
            (&**name, rights)
        });
        let compiled = Compiled { roles: compiled.collect(), state };
        let clients = state.clients.iter().map(|(name, client)| {
            let groups = client.groups.iter().map(|(group, _)| group);
            let rights = ClientRights {
                roles: compiled.roles(Some(&client.roles), groups),
                client_id: client.client_id.clone(),
                is_disabled: client.is_disabled,
                revision: client.revision,
            };
            (name.clone(), rights)
        });
        DynamicRights {
            clients: clients.collect(),
            anonymous: compiled.roles(None, state.anonymous_group.as_deref().into_iter()),
            anonymous_revision: state.anonymous_revision,
            defaults: state.defaults,
            passwords: Arc::new(passwords(state)),
        }
    }
}

struct Compiled<'s> {
    roles: HashMap<&'s str, Arc<RoleRights>>,
    state: &'s State,
}

impl Compiled<'_> {
    /// One's own roles, then those of the groups.
    fn roles<'n>(&self, own: Option<&Ranks>, groups: impl Iterator<Item = &'n str>) -> Roles {
        let of_groups = groups.filter_map(|group| self.state.groups.get(group));
        let lists = own.into_iter().chain(of_groups.map(|group| &group.roles));
        let names = lists.flat_map(|ranks| ranks.iter().map(|(name, _)| name));
        names.filter_map(|name| self.roles.get(name).cloned()).collect()
    }
}

fn passwords(state: &State) -> PasswordFile {
    let with_password = state
        .clients
        .iter()
        .filter_map(|(name, client)| Some((name.clone(), client.password.clone()?)));
    PasswordFile::of(with_password.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn acl(kind: &str, topic: &str, priority: i32, allow: bool) -> serde_json::Value {
        json!({"acltype": kind, "topic": topic, "priority": priority, "allow": allow})
    }

    fn rights() -> DynamicRights {
        let file = json!({
            "defaultACLAccess": {"publishClientReceive": true, "unsubscribe": true},
            "roles": [
                {"rolename": "first", "acls": [
                    acl("publishClientSend", "q/+", 0, true),
                    acl("publishClientSend", "q/no", 5, false),
                    acl("publishClientReceive", "secret/#", 0, false),
                    acl("subscribePattern", "a/#", 0, true),
                    acl("subscribeLiteral", "a/+", 0, false),
                    acl("unsubscribePattern", "a/keep", 0, false)]},
                {"rolename": "second", "acls": [
                    acl("publishClientSend", "#", 0, true),
                    acl("publishClientSend", "q/no", 0, true)]},
                {"rolename": "plain", "allowwildcardsubs": false, "acls": [
                    acl("subscribePattern", "#", 0, true)]},
                {"rolename": "broken", "acls": [acl("publishClientSend", "a/#/b", 0, true)]}],
            "clients": [
                {"username": "ann", "roles": [{"rolename": "first", "priority": 1},
                    {"rolename": "second"}]},
                {"username": "bob", "roles": [{"rolename": "second", "priority": 9},
                    {"rolename": "first"}]},
                {"username": "cat", "clientid": "c9", "disabled": false},
                {"username": "dog", "disabled": true},
                {"username": "eve", "roles": [{"rolename": "plain"}]},
                {"username": "fox", "roles": [{"rolename": "broken"}, {"rolename": "second"}]}],
            "groups": [
                {"groupname": "g", "roles": [{"rolename": "second"}],
                 "clients": [{"username": "cat"}]},
                {"groupname": "h", "roles": [{"rolename": "first"}],
                 "clients": [{"username": "cat", "priority": 5}]},
                {"groupname": "anon", "roles": [{"rolename": "first"}]}],
            "anonymousGroup": "anon",
        });
        DynamicSecurity::parse(&file.to_string()).unwrap().0.rights()
    }

    fn check(user: &str, action: Action, topic: &str) -> Option<bool> {
        let username = (!user.is_empty()).then_some(user);
        rights().check(&Who { username, client_id: "c" }, action, topic)
    }

    #[test]
    fn roles_and_groups_are_asked_by_priority() {
        for (user, topic, verdict) in [
            ("ann", "q/no", Some(false)),
            ("ann", "q/x", Some(true)),
            ("ann", "x", Some(true)),
            ("bob", "q/no", Some(true)),
            // Its group h comes before g.
            ("cat", "q/no", Some(false)),
            ("cat", "x", Some(true)),
            ("", "q/x", Some(true)),
            ("", "x", None),
            ("nobody", "q/x", None),
            ("fox", "x", Some(false)),
            ("ann", "$CONTROL/x", None),
        ] {
            assert_eq!(check(user, Action::Publish, topic), verdict, "{user} {topic}");
        }
    }

    #[test]
    fn each_action_has_rules_and_a_default_of_its_own() {
        for (user, action, topic, verdict) in [
            ("ann", Action::Deliver, "secret/x", Some(false)),
            ("ann", Action::Deliver, "x", Some(true)),
            ("ann", Action::Deliver, "$CONTROL/x", None),
            ("ann", Action::Subscribe, "a/b", Some(true)),
            ("ann", Action::Subscribe, "a/+", Some(false)),
            ("ann", Action::Subscribe, "b", None),
            ("ann", Action::Unsubscribe, "a/keep", Some(false)),
            ("ann", Action::Unsubscribe, "b", Some(true)),
            ("eve", Action::Subscribe, "a/b", Some(true)),
            ("eve", Action::Subscribe, "a/+", Some(false)),
            ("nobody", Action::Deliver, "x", None),
            ("", Action::Deliver, "x", Some(true)),
        ] {
            assert_eq!(check(user, action, topic), verdict, "{user} {action:?} {topic}");
        }
    }

    #[test]
    fn users_are_bound_and_disabled() {
        let rights = rights();
        for (user, id, admitted) in [
            ("cat", "c9", true),
            ("cat", "c8", false),
            ("dog", "c9", false),
            ("ann", "any", true),
            ("nobody", "any", true),
        ] {
            assert_eq!(rights.admits(user, id), admitted, "{user}");
        }
        assert!(rights.knows("dog") && !rights.knows("nobody"));
    }
}
