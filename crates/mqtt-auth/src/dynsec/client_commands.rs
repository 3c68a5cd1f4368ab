//! Commands about clients.

use alloc::boxed::Box;

use serde_json::Value;

use super::command::{Desk, Outcome, Page, ROLENAME, Reply, USERNAME, change_texts, new_texts};
use super::file::priority;
use super::is_name;
use super::json::{ObjectText, list, member, text};
use super::shown::ClientShown;
use super::state::{Client, Ranks};
use crate::hash::pbkdf2_sha512::PBKDF2_ITERATIONS_DEFAULT;
use crate::hash::{PasswordHash, Scheme};

const NOT_FOUND: &str = "Client not found";
const ROLE_NOT_FOUND: &str = "Role not found";

impl Desk<'_> {
    pub(super) fn create_client(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        if name.is_empty() {
            return Err("Empty username");
        }
        let password = text(command, "password").map_err(|_| "Invalid/missing password")?;
        let client_id = text(command, "clientid").map_err(|_| "Invalid/missing client id")?;
        let client_id = checked_id(client_id)?;
        let texts = new_texts(command)?;
        if self.state.clients.contains_key(name) {
            return Err("Client already exists");
        }
        let roles = self.given_roles(command)?.unwrap_or_default();
        let groups = list(command, "groups").unwrap_or_default();
        let mut groupnames = groups.iter().filter_map(|group| text(group, "groupname").ok()?);
        if groupnames.any(|group| !self.state.groups.contains_key(group)) {
            return Err("Group not found");
        }
        self.take_room(command)?;
        let password = self.hash(password.unwrap_or_default())?;
        let revision = self.state.next_revision();
        let (is_disabled, groups_of) = (false, Ranks::default());
        let client =
            Client { client_id, texts, is_disabled, password, roles, groups: groups_of, revision };
        self.state.clients.insert(name.into(), client);
        self.join_groups(name, groups);
        Ok(Reply::Done)
    }

    pub(super) fn delete_client(&mut self, command: &Value) -> Outcome {
        let name = text(command, "username").ok().flatten().ok_or("Invalid/missing username")?;
        self.state.leave_all(name);
        self.state.clients.remove(name).map(|_| Reply::Done).ok_or(NOT_FOUND)
    }

    pub(super) fn get_client(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        let client = self.state.clients.get(name).ok_or(NOT_FOUND)?;
        let data = ObjectText::new().with("client", &ClientShown::new(name, client));
        Ok(Reply::Data(data.finish()))
    }

    pub(super) fn list_clients(&mut self, command: &Value) -> Outcome {
        let (page, clients) = (Page::of(command), &self.state.clients);
        page.list("clients", clients.len(), clients.iter(), self.answer_room, |(name, client)| {
            match page.is_verbose {
                true => serde_json::to_string(&ClientShown::new(name, client)),
                false => serde_json::to_string(name),
            }
            .unwrap_or_default()
        })
    }

    pub(super) fn modify_client(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        if !self.state.clients.contains_key(name) {
            return Err(NOT_FOUND);
        }
        let client_id = text(command, "clientid").ok().flatten();
        let password = text(command, "password").ok().flatten().unwrap_or_default();
        let roles = self.given_roles(command)?;
        let groups = list(command, "groups");
        for group in groups.unwrap_or_default().iter().filter(|group| group.is_object()) {
            let Ok(Some(group)) = text(group, "groupname") else {
                return Err("'groups' contains an object with an invalid 'groupname'");
            };
            if !self.state.groups.contains_key(group) {
                return Err("'groups' contains an object with a 'groupname' that does not exist");
            }
        }
        self.take_room(command)?;
        let password = self.hash(password)?;
        if let Some(groups) = groups {
            self.state.leave_all(name);
            self.join_groups(name, groups);
        }
        let client = self.client(name)?;
        if password.is_some() {
            client.password = password;
        }
        if let Some(id) = client_id {
            client.client_id = Some(id).filter(|id| !id.is_empty()).map(Box::from);
        }
        change_texts(&mut client.texts, command);
        if let Some(roles) = roles {
            client.roles = roles;
        }
        self.state.kick(name);
        Ok(Reply::Done)
    }

    pub(super) fn set_client_password(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        let password = text(command, "password").ok().flatten();
        let password = password.ok_or("Invalid/missing password")?;
        if password.is_empty() {
            return Err("Empty password is not allowed");
        }
        self.client(name)?;
        let hash = self.hash(password)?;
        self.client(name)?.password = hash;
        self.state.kick(name);
        Ok(Reply::Done)
    }

    pub(super) fn set_client_id(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        let id = text(command, "clientid").map_err(|_| "Invalid/missing client ID")?;
        let id = checked_id(id)?;
        self.client(name)?.client_id = id;
        self.state.kick(name);
        Ok(Reply::Done)
    }

    pub(super) fn add_client_role(&mut self, command: &Value) -> Outcome {
        let (name, role) = (USERNAME.of(command)?, ROLENAME.of(command)?);
        self.client(name)?;
        if !self.state.roles.contains_key(role) {
            return Err(ROLE_NOT_FOUND);
        }
        self.take_room(command)?;
        if !self.client(name)?.roles.add(role, priority(command)) {
            // The plugin has no other words for a role that the client has already.
            return Err("Internal error");
        }
        self.state.kick(name);
        Ok(Reply::Done)
    }

    pub(super) fn remove_client_role(&mut self, command: &Value) -> Outcome {
        let (name, role) = (USERNAME.of(command)?, ROLENAME.of(command)?);
        self.client(name)?;
        if !self.state.roles.contains_key(role) {
            return Err(ROLE_NOT_FOUND);
        }
        self.client(name)?.roles.remove(role);
        self.state.kick(name);
        Ok(Reply::Done)
    }

    pub(super) fn enable_client(&mut self, command: &Value) -> Outcome {
        self.client(USERNAME.of(command)?)?.is_disabled = false;
        Ok(Reply::Done)
    }

    pub(super) fn disable_client(&mut self, command: &Value) -> Outcome {
        let name = USERNAME.of(command)?;
        self.client(name)?.is_disabled = true;
        self.state.kick(name);
        Ok(Reply::Done)
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, &'static str> {
        self.state.clients.get_mut(name).ok_or(NOT_FOUND)
    }

    /// Puts the client into groups that exist.
    fn join_groups(&mut self, name: &str, groups: &[Value]) {
        for group in groups {
            if let Ok(Some(groupname)) = text(group, "groupname") {
                self.state.join(name, groupname, priority(group));
            }
        }
    }

    /// The `roles` of a command, all of which must exist; `None` without such a list.
    pub(super) fn given_roles(&self, command: &Value) -> Result<Option<Ranks>, &'static str> {
        const WRONG: &str = "'roles' not an array or missing/invalid rolename";
        let Some(roles) = member(command, "roles") else { return Ok(None) };
        let mut ranks = Ranks::default();
        for role in roles.as_array().ok_or(WRONG)? {
            let name = text(role, "rolename").ok().flatten().ok_or(WRONG)?;
            if !self.state.roles.contains_key(name) {
                return Err(ROLE_NOT_FOUND);
            }
            ranks.add(name, priority(role));
        }
        Ok(Some(ranks))
    }

    /// The hash of a password; none of an empty one.
    fn hash(&mut self, password: &str) -> Result<Option<PasswordHash>, &'static str> {
        if password.is_empty() {
            return Ok(None);
        }
        let scheme = Scheme::Pbkdf2Sha512 { iterations: PBKDF2_ITERATIONS_DEFAULT };
        let hash = PasswordHash::create(scheme, password.as_bytes(), &(self.salt)());
        hash.map(Some).map_err(|_| "Internal error")
    }
}

/// An empty Client Identifier stands for any.
fn checked_id(id: Option<&str>) -> Result<Option<Box<str>>, &'static str> {
    match id.filter(|id| !id.is_empty()) {
        Some(id) if !is_name(id) => Err("Client ID not valid UTF-8"),
        id => Ok(id.map(Box::from)),
    }
}
