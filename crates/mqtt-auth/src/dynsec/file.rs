//! The file of dynamic security: JSON, as versions 2.0 and 2.1 of Mosquitto's plugin write it. What
//! is wrong with an entry is passed over as there; what is wrong with the file as a whole is an
//! error.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Value;

use super::json::{flag, list, member, number, owned, text};
use super::pattern::Pattern;
use super::shown::{
    ClientShown, GroupShown, PRIORITY_UNSAID, RoleShown, default_named, defaults_shown,
};
use super::state::{Acl, AclType, Client, Group, Ranks, Role, State, Texts, bounded};
use super::{DYNSEC_ENTRIES_MAX, DynamicSecurity};
use crate::hash::PasswordHash;

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DynsecFileError {
    /// It is no JSON; the text says where.
    NotJson(String),
    /// `clients`, `groups` or `roles` is something else than a list.
    NotAList(&'static str),
    /// It has more than [`DYNSEC_ENTRIES_MAX`] entries.
    TooLarge,
}

impl fmt::Display for DynsecFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => write!(f, "no valid JSON: {error}"),
            Self::NotAList(name) => write!(f, "\"{name}\" must be a list, as in [{{…}}, {{…}}]"),
            Self::TooLarge => write!(
                f,
                "more than {DYNSEC_ENTRIES_MAX} clients, groups, roles and rules together"
            ),
        }
    }
}

impl core::error::Error for DynsecFileError {}

impl DynamicSecurity {
    /// Parses the contents of a file; an empty one knows nobody. The texts say what was passed
    /// over.
    ///
    /// # Errors
    /// [`DynsecFileError`]: the file as a whole cannot be used.
    pub fn parse(contents: &str) -> Result<(Self, Vec<String>), DynsecFileError> {
        Self::parse_within(contents, DYNSEC_ENTRIES_MAX)
    }

    fn parse_within(
        contents: &str,
        entries_max: usize,
    ) -> Result<(Self, Vec<String>), DynsecFileError> {
        let mut reading = Reading::default();
        if !contents.trim().is_empty() {
            // The plugin does not mind what follows the object either.
            let mut values = serde_json::Deserializer::from_str(contents).into_iter::<Value>();
            let tree = match values.next() {
                Some(Ok(tree)) => tree,
                Some(Err(error)) => return Err(DynsecFileError::NotJson(error.to_string())),
                None => Value::Null,
            };
            reading.read(&tree)?;
        }
        let Reading { state, warnings } = reading;
        if state.entries() > entries_max {
            return Err(DynsecFileError::TooLarge);
        }
        Ok((Self { state }, warnings))
    }

    /// The contents of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, numbers, lists and objects of them can't fail to be written.
        let mut text = serde_json::to_string_pretty(&FileShown(&self.state)).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[derive(Default)]
struct Reading {
    state: State,
    warnings: Vec<String>,
}

impl Reading {
    fn read(&mut self, tree: &Value) -> Result<(), DynsecFileError> {
        if let Some(index) = member(tree, "changeIndex").and_then(Value::as_f64) {
            // The cast holds at the ends of the type.
            self.state.change_index = index as i64;
        }
        for (name, _) in defaults_shown(&self.state.defaults) {
            let given = member(tree, "defaultACLAccess").and_then(|it| flag(it, name));
            if let (Some(given), Some(place)) =
                (given, default_named(&mut self.state.defaults, name))
            {
                *place = given;
            }
        }
        entries(tree, "roles")?.iter().for_each(|role| self.role(role));
        entries(tree, "clients")?.iter().for_each(|client| self.client(client));
        entries(tree, "groups")?.iter().for_each(|group| self.group(group));
        if let Some(name) = owned(tree, "anonymousGroup") {
            self.state.anonymous_group = Some(name).filter(|it| self.state.groups.contains_key(it));
        }
        Ok(())
    }

    fn role(&mut self, entry: &Value) {
        let Some(name) = new_name(entry, "rolename", &self.state.roles) else { return };
        let mut role = Role { texts: texts(entry), ..Role::default() };
        role.allows_wildcards = flag(entry, "allowwildcardsubs").unwrap_or(true);
        role.fill(acls(entry));
        for acl in role.acls.iter().flatten().filter(|acl| Pattern::new(&acl.topic).is_broken()) {
            self.warnings.push(alloc::format!(
                "role \"{name}\": \"{}\" is no topic filter; the rule forbids whatever it is asked \
                 about",
                acl.topic
            ));
        }
        self.state.roles.insert(name, role);
    }

    fn client(&mut self, entry: &Value) {
        let Some(name) = new_name(entry, "username", &self.state.clients) else { return };
        let password = match password(entry) {
            None => None,
            Some(Ok(hash)) => Some(hash),
            Some(Err(error)) => {
                self.warnings.push(alloc::format!(
                    "client \"{name}\": {error}; it cannot log in before it is given a new password"
                ));
                None
            }
        };
        let client = Client {
            client_id: owned(entry, "clientid"),
            texts: texts(entry),
            is_disabled: flag(entry, "disabled").unwrap_or(false),
            password,
            roles: self.roles(entry),
            groups: Ranks::default(),
            revision: self.state.next_revision(),
        };
        self.state.clients.insert(name, client);
    }

    fn group(&mut self, entry: &Value) {
        let Some(name) = new_name(entry, "groupname", &self.state.groups) else { return };
        let roles = self.roles(entry);
        let group = Group { texts: texts(entry), roles, clients: BTreeMap::new() };
        self.state.groups.insert(name.clone(), group);
        for client in list(entry, "clients").unwrap_or_default() {
            if let Ok(Some(username)) = text(client, "username") {
                self.state.join(username, &name, priority(client));
            }
        }
    }

    /// The roles of a client or group, as far as there are such roles.
    fn roles(&self, entry: &Value) -> Ranks {
        let mut ranks = Ranks::default();
        for role in list(entry, "roles").unwrap_or_default() {
            match text(role, "rolename") {
                Ok(Some(name)) if self.state.roles.contains_key(name) => {
                    ranks.add(name, priority(role));
                }
                _ => {}
            }
        }
        ranks
    }
}

fn entries<'v>(tree: &'v Value, name: &'static str) -> Result<&'v [Value], DynsecFileError> {
    match member(tree, name) {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(DynsecFileError::NotAList(name)),
    }
}

/// The entry's name, if it has one and the first of this name is not there yet.
fn new_name<T>(entry: &Value, key: &str, known: &BTreeMap<Box<str>, T>) -> Option<Box<str>> {
    owned(entry, key).filter(|name| !name.is_empty() && !known.contains_key(name))
}

/// The priority of a role, group or client in a list.
pub(super) fn priority(entry: &Value) -> i32 {
    bounded(number(entry, "priority", PRIORITY_UNSAID))
}

/// The names for people.
pub(super) fn texts(entry: &Value) -> Texts {
    Texts { name: owned(entry, "textname"), description: owned(entry, "textdescription") }
}

/// The rules of a role, in the order they are written; what is no rule is left out.
pub(super) fn acls(entry: &Value) -> impl Iterator<Item = (AclType, Acl)> + '_ {
    list(entry, "acls").unwrap_or_default().iter().filter_map(|acl| {
        let kind = AclType::named(text(acl, "acltype").ok()??)?;
        let topic = owned(acl, "topic").filter(|topic| !topic.is_empty())?;
        let priority = bounded(number(acl, "priority", 0));
        Some((kind, Acl { topic, priority, allow: flag(acl, "allow").unwrap_or(false) }))
    })
}

/// As 2.1 writes it, or in the three parts of 2.0.
fn password(entry: &Value) -> Option<Result<PasswordHash, crate::hash::HashError>> {
    if let Ok(Some(whole)) = text(entry, "encoded_password") {
        return Some(PasswordHash::parse(whole));
    }
    let hash = text(entry, "password").ok()??;
    let salt = text(entry, "salt").ok()??;
    let iterations = number(entry, "iterations", 0);
    (iterations > 0).then(|| PasswordHash::parse(&alloc::format!("$7${iterations}${salt}${hash}")))
}

/// The whole file.
struct FileShown<'s>(&'s State);

impl Serialize for FileShown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("changeIndex", &state.change_index)?;
        map.serialize_entry("defaultACLAccess", &DefaultsShown(state))?;
        let clients = state.clients.iter();
        let clients: Vec<_> =
            clients.map(|(name, client)| ClientShown::with_password(name, client)).collect();
        map.serialize_entry("clients", &clients)?;
        let groups = state.groups.iter();
        let groups: Vec<_> =
            groups.map(|(name, group)| GroupShown::with_priorities(name, group)).collect();
        map.serialize_entry("groups", &groups)?;
        if let Some(group) = &state.anonymous_group {
            map.serialize_entry("anonymousGroup", group)?;
        }
        let roles: Vec<_> =
            state.roles.iter().map(|(name, role)| RoleShown::new(name, role)).collect();
        map.serialize_entry("roles", &roles)?;
        map.end()
    }
}

struct DefaultsShown<'s>(&'s State);

impl Serialize for DefaultsShown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(defaults_shown(&self.0.defaults))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str =
        "62LAQNOu2uhr2XTL96FnnZjR10j/ZUw7rSO8nbJozdL+LzNV8m3Yl6Fjn728cwrGbkCxYoNQjVcwHl+4kcJmtg==";

    /// Made by Debian's `mosquitto_ctrl dynsec init` and some commands.
    const FILE: &str = r##"{
        "defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true,
            "subscribe": false, "unsubscribe": true},
        "clients": [
            {"username": "u", "clientid": "c1", "textname": "U", "disabled": true,
             "roles": [{"rolename": "r", "priority": 3}, {"rolename": "gone"}, {"rolename": "q"}]},
            {"username": "admin", "roles": [{"rolename": "r"}],
"password":
"62LAQNOu2uhr2XTL96FnnZjR10j/ZUw7rSO8nbJozdL+LzNV8m3Yl6Fjn728cwrGbkCxYoNQjVcwHl+4kcJmtg==",
             "salt": "r1ZXcjta+6kAeqaZ", "iterations": 101},
            {"username": "u", "textname": "the second"}, {"username": ""}, {"nobody": 1}, 5],
        "groups": [{"groupname": "g", "textdescription": "D", "roles": [{"rolename": "q"}],
            "clients": [{"username": "u", "priority": 200000}, {"username": "absent"}]}],
        "anonymousGroup": "g",
        "roles": [{"rolename": "r", "acls": [
            {"acltype": "publishClientSend", "topic": "low", "priority": -1, "allow": true},
            {"acltype": "publishclientsend", "topic": "high", "priority": 5, "allow": true},
            {"acltype": "publishClientSend", "topic": "low", "priority": 9, "allow": false},
            {"acltype": "subscribePattern", "topic": "a/#/b", "allow": true},
            {"acltype": "nothing", "topic": "x"}]}, {"rolename": "q", "allowwildcardsubs": false}]
    }"##;

    #[test]
    fn a_file_of_mosquitto_is_read_and_written() {
        let (security, warnings) = DynamicSecurity::parse(FILE).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("role \"r\": \"a/#/b\" is no topic filter"));
        let json: Value = serde_json::from_str(&security.to_json()).unwrap();
        let expected = serde_json::json!({
            "changeIndex": 0,
            "defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true,
                "subscribe": false, "unsubscribe": true},
            "clients": [
                {"username": "admin", "roles": [{"rolename": "r"}],
                 "password": HASH,
                 "salt": "r1ZXcjta+6kAeqaZ", "iterations": 101},
                {"username": "u", "clientid": "c1", "textname": "U", "disabled": true,
                 "roles": [{"rolename": "r", "priority": 3}, {"rolename": "q"}]}],
            "groups": [{"groupname": "g", "textdescription": "D", "roles": [{"rolename": "q"}],
                "clients": [{"username": "u", "priority": 100000}]}],
            "anonymousGroup": "g",
            "roles": [
                {"rolename": "q", "allowwildcardsubs": false, "acls": []},
                {"rolename": "r", "allowwildcardsubs": true, "acls": [
                    {"acltype": "publishClientSend", "topic": "high", "priority": 5, "allow": true},
                    {"acltype": "publishClientSend", "topic": "low", "priority": -1, "allow": true},
                    {"acltype": "subscribePattern", "topic": "a/#/b", "priority": 0,
                     "allow": true}]}],
        });
        assert_eq!(json, expected);
        let (again, _) = DynamicSecurity::parse(&security.to_json()).unwrap();
        assert_eq!(again.to_json(), security.to_json());
    }

    #[test]
    fn passwords_of_2_1_stay_what_they_were() {
        let salt = [7; 64];
        let long = PasswordHash::create(Scheme::Pbkdf2Sha512 { iterations: 5 }, b"p", &salt);
        let argon = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        for whole in [&*long.unwrap().to_string(), argon] {
            let file = serde_json::json!({"clients": [
                {"username": "u", "encoded_password": whole}]});
            let (security, warnings) = DynamicSecurity::parse(&file.to_string()).unwrap();
            let json: Value = serde_json::from_str(&security.to_json()).unwrap();
            assert_eq!(json["clients"][0]["encoded_password"], whole, "{warnings:?}");
            assert!(json["clients"][0].get("salt").is_none());
        }
    }

    #[test]
    fn what_cannot_be_used_says_so() {
        assert!(DynamicSecurity::parse(" \n").is_ok(), "Mosquitto takes an empty file");
        for (file, error) in [
            ("{", "no valid JSON"),
            ("x", "no valid JSON"),
            (r#"{"clients": {}}"#, "\"clients\" must be a list"),
            (r#"{"roles": 1}"#, "\"roles\" must be a list"),
        ] {
            let found = DynamicSecurity::parse(file).unwrap_err().to_string();
            assert!(found.starts_with(error), "{file}: {found}");
        }
        let file = r#"{"clients": [{"username": "u", "password": "x", "salt": "y",
            "iterations": 5}]}"#;
        let (security, warnings) = DynamicSecurity::parse(file).unwrap();
        assert!(warnings[0].contains("client \"u\"") && warnings[0].contains("new password"));
        assert!(!security.to_json().contains("salt"));
    }

    #[test]
    fn a_file_has_a_bound() {
        let file = r#"{"roles": [{"rolename": "r", "acls": [
                {"acltype": "subscribeLiteral", "topic": "a"},
                {"acltype": "subscribeLiteral", "topic": "b"}]}],
            "clients": [{"username": "u", "roles": [{"rolename": "r"}]}, {"username": "v"}],
            "groups": [{"groupname": "g", "clients": [{"username": "u"}]}]}"#;
        let (security, _) = DynamicSecurity::parse(file).unwrap();
        let entries = security.state.entries();
        assert_eq!(entries, 8, "role, 2 rules, 2 clients, their role and group, the group");
        assert!(DynamicSecurity::parse_within(file, entries).is_ok());
        let refused = DynamicSecurity::parse_within(file, entries - 1).err();
        assert_eq!(refused, Some(DynsecFileError::TooLarge));
    }

    use crate::hash::Scheme;
}
