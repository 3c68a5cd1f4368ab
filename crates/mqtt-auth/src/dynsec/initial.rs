//! What a broker begins with whose file does not exist: the users, groups and roles that version
//! 2.1 of the plugin begins with, under the same names.

use alloc::boxed::Box;

use super::DynamicSecurity;
use super::state::{Acl, AclType, Client, Defaults, Group, Role, State, Texts};
use crate::hash::PasswordHash;

/// Passwords of the first users.
#[derive(Clone, Debug)]
pub struct InitialPasswords {
    /// Of `admin`, who may change everything and read every topic.
    pub admin: PasswordHash,
    /// Of `democlient`, who may use every topic that does not begin with `$`; `None`: there is no
    /// such user.
    pub democlient: Option<PasswordHash>,
}

use AclType::{Publish, Receive, SubscribePattern, UnsubscribePattern};

/// Everything with one topic.
const FULL: &[AclType] = &[Publish, Receive, SubscribePattern, UnsubscribePattern];

/// Names, descriptions and what the roles allow with which topic.
const ROLES: [(&str, &str, &[AclType], &str); 7] = [
    ("client", "May publish and read every topic of applications", FULL, "#"),
    ("broker-admin", "May send commands to the broker itself", FULL, "$CONTROL/broker/#"),
    ("dynsec-admin", "May change clients, groups and roles", FULL, "$CONTROL/dynamic-security/#"),
    ("super-admin", "May send every command", FULL, "$CONTROL/#"),
    (
        "sys-notify",
        "Lets a bridge publish the state of its connection",
        &[Publish],
        "$SYS/broker/connection/%c/state",
    ),
    (
        "sys-observe",
        "May read what the broker says of itself",
        &[Receive, SubscribePattern],
        "$SYS/#",
    ),
    (
        "topic-observe",
        "May read every topic of applications",
        &[Receive, SubscribePattern, UnsubscribePattern],
        "#",
    ),
];

const ANONYMOUS: &str = "unauthenticated";

impl DynamicSecurity {
    /// The first contents of the file.
    #[must_use]
    pub fn initial(passwords: InitialPasswords) -> Self {
        let defaults =
            Defaults { publish: false, receive: true, subscribe: false, unsubscribe: true };
        let mut state = State { defaults, ..State::default() };
        for (name, description, kinds, topic) in ROLES {
            let mut role = Role::default();
            role.texts.description = Some(description.into());
            for kind in kinds {
                role.add(*kind, Acl { topic: topic.into(), priority: 0, allow: true });
            }
            state.roles.insert(name.into(), role);
        }
        let admin = ["super-admin", "sys-observe", "topic-observe"];
        state.welcome("admin", "Administrator", passwords.admin, &admin);
        if let Some(password) = passwords.democlient {
            state.welcome("democlient", "For first attempts", password, &["client"]);
        }
        let name = Some(Box::from("Clients without a user name"));
        let texts = Texts { name, description: None };
        state.groups.insert(ANONYMOUS.into(), Group { texts, ..Group::default() });
        state.anonymous_group = Some(ANONYMOUS.into());
        Self { state }
    }
}

impl State {
    fn welcome(&mut self, name: &str, text: &str, password: PasswordHash, roles: &[&str]) {
        let mut client = Client { password: Some(password), ..Client::default() };
        client.texts.name = Some(text.into());
        client.revision = self.next_revision();
        for role in roles {
            client.roles.add(role, super::shown::PRIORITY_UNSAID);
        }
        self.clients.insert(name.into(), client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Action, Who};
    use crate::hash::Scheme;

    fn hash(password: &str) -> PasswordHash {
        let scheme = Scheme::Pbkdf2Sha512 { iterations: 1 };
        PasswordHash::create(scheme, password.as_bytes(), &[3; 12]).unwrap()
    }

    #[test]
    fn the_first_users_may_what_their_roles_say() {
        let passwords = InitialPasswords { admin: hash("a"), democlient: Some(hash("d")) };
        let first = DynamicSecurity::initial(passwords);
        let (again, warnings) = DynamicSecurity::parse(&first.to_json()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(again.to_json(), first.to_json());
        let rights = again.rights();
        let check = |name: &str, action, topic: &str| {
            rights.check(&Who { username: Some(name), client_id: "c" }, action, topic)
        };
        for (name, action, topic, verdict) in [
            ("admin", Action::Publish, "$CONTROL/dynamic-security/v1", Some(true)),
            ("admin", Action::Subscribe, "$SYS/#", Some(true)),
            ("admin", Action::Subscribe, "#", Some(true)),
            ("admin", Action::Publish, "a", None),
            ("democlient", Action::Publish, "a", Some(true)),
            ("democlient", Action::Publish, "$CONTROL/dynamic-security/v1", None),
        ] {
            assert_eq!(check(name, action, topic), verdict, "{name} {topic}");
        }
        assert!(rights.passwords().verify("admin", b"a").is_accepted());
        assert!(rights.passwords().verify("democlient", b"d").is_accepted());
        let passwords = InitialPasswords { admin: hash("a"), democlient: None };
        assert!(!DynamicSecurity::initial(passwords).rights().knows("democlient"));
    }
}
