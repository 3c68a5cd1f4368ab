//! Clients, groups and roles as JSON, for the file and for answers. Both show the same members but
//! for passwords, which stand in the file only, and for who is in which group.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::state::{AclType, Client, Defaults, Group, Ranks, Role};
use crate::hash::{PasswordHash, Scheme};

/// The priority that is not written.
pub(super) const PRIORITY_UNSAID: i32 = -1;

/// Base64 of a salt of 12 bytes, the only length that Mosquitto 2.0 reads.
const SALT_TEXT_BYTES: usize = 16;

#[derive(Serialize)]
pub(super) struct ClientShown<'s> {
    username: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clientid: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textname: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textdescription: Option<&'s str>,
    #[serde(skip_serializing_if = "is_false")]
    disabled: bool,
    roles: Vec<Named<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Named<'s>>>,
    #[serde(flatten)]
    password: Option<PasswordShown>,
}

/// Both versions of the plugin read the three members; what does not fit into them, only 2.1.
#[derive(Serialize)]
#[serde(untagged)]
enum PasswordShown {
    Parts { password: String, salt: String, iterations: u32 },
    Whole { encoded_password: String },
}

#[derive(Serialize)]
pub(super) struct GroupShown<'s> {
    groupname: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    textname: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textdescription: Option<&'s str>,
    clients: Vec<Named<'s>>,
    roles: Vec<Named<'s>>,
}

#[derive(Serialize)]
pub(super) struct RoleShown<'s> {
    rolename: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    textname: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textdescription: Option<&'s str>,
    allowwildcardsubs: bool,
    acls: Vec<AclShown<'s>>,
}

#[derive(Serialize)]
struct AclShown<'s> {
    acltype: &'static str,
    topic: &'s str,
    priority: i32,
    allow: bool,
}

/// A name under its own key, with its priority where one was given.
pub(super) struct Named<'s> {
    key: &'static str,
    name: &'s str,
    priority: i32,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.key, self.name)?;
        if self.priority != PRIORITY_UNSAID {
            map.serialize_entry("priority", &self.priority)?;
        }
        map.end()
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn named<'s>(key: &'static str, ranks: &'s Ranks) -> Vec<Named<'s>> {
    ranks.iter().map(|(name, priority)| Named { key, name, priority }).collect()
}

impl<'s> ClientShown<'s> {
    /// As answers show it.
    pub(super) fn new(username: &'s str, client: &'s Client) -> Self {
        Self {
            username,
            clientid: client.client_id.as_deref(),
            textname: client.texts.name.as_deref(),
            textdescription: client.texts.description.as_deref(),
            disabled: client.is_disabled,
            roles: named("rolename", &client.roles),
            groups: Some(named("groupname", &client.groups)),
            password: None,
        }
    }

    /// As the file holds it.
    pub(super) fn with_password(username: &'s str, client: &'s Client) -> Self {
        let password = client.password.as_ref().map(PasswordShown::new);
        Self { groups: None, password, ..Self::new(username, client) }
    }
}

impl PasswordShown {
    fn new(hash: &PasswordHash) -> Self {
        let whole = hash.to_string();
        if let Scheme::Pbkdf2Sha512 { iterations } = hash.scheme() {
            // $7$iterations$salt$hash
            let mut parts = whole.rsplit('$');
            if let (Some(password), Some(salt)) = (parts.next(), parts.next()) {
                if salt.len() == SALT_TEXT_BYTES && !salt.ends_with('=') {
                    let (password, salt) = (password.to_string(), salt.to_string());
                    return Self::Parts { password, salt, iterations };
                }
            }
        }
        Self::Whole { encoded_password: whole }
    }
}

impl<'s> GroupShown<'s> {
    /// As answers show it: without the priorities that it has for its clients.
    pub(super) fn new(groupname: &'s str, group: &'s Group) -> Self {
        let mut shown = Self::with_priorities(groupname, group);
        shown.clients.iter_mut().for_each(|client| client.priority = PRIORITY_UNSAID);
        shown
    }

    /// As the file holds it.
    pub(super) fn with_priorities(groupname: &'s str, group: &'s Group) -> Self {
        let clients = group.clients.iter();
        let clients = clients.map(|(name, priority)| (&**name, *priority));
        let client = |(name, priority)| Named { key: "username", name, priority };
        Self {
            groupname,
            textname: group.texts.name.as_deref(),
            textdescription: group.texts.description.as_deref(),
            clients: clients.map(client).collect(),
            roles: named("rolename", &group.roles),
        }
    }
}

impl<'s> RoleShown<'s> {
    pub(super) fn new(rolename: &'s str, role: &'s Role) -> Self {
        let acls = AclType::ALL.iter().flat_map(|(kind, acltype)| {
            role.of(*kind).iter().map(|acl| AclShown {
                acltype,
                topic: &acl.topic,
                priority: acl.priority,
                allow: acl.allow,
            })
        });
        Self {
            rolename,
            textname: role.texts.name.as_deref(),
            textdescription: role.texts.description.as_deref(),
            allowwildcardsubs: role.allows_wildcards,
            acls: acls.collect(),
        }
    }
}

/// The defaults with the names that they have everywhere.
pub(super) fn defaults_shown(defaults: &Defaults) -> [(&'static str, bool); 4] {
    [
        ("publishClientSend", defaults.publish),
        ("publishClientReceive", defaults.receive),
        ("subscribe", defaults.subscribe),
        ("unsubscribe", defaults.unsubscribe),
    ]
}

/// The default of this name.
pub(super) fn default_named<'s>(defaults: &'s mut Defaults, name: &str) -> Option<&'s mut bool> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    match () {
        () if is("publishClientSend") => Some(&mut defaults.publish),
        () if is("publishClientReceive") => Some(&mut defaults.receive),
        () if is("subscribe") => Some(&mut defaults.subscribe),
        () if is("unsubscribe") => Some(&mut defaults.unsubscribe),
        () => None,
    }
}
