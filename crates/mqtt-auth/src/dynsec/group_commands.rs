//! Commands about groups.

use alloc::collections::BTreeMap;

use serde_json::Value;

use super::command::{
    Desk, GROUPNAME, Outcome, Page, ROLENAME, Reply, USERNAME, change_texts, new_texts,
};
use super::file::priority;
use super::json::{ObjectText, list, text};
use super::shown::GroupShown;
use super::state::Group;

const NOT_FOUND: &str = "Group not found";
const CLIENT_NOT_FOUND: &str = "Client not found";

impl Desk<'_> {
    pub(super) fn create_group(&mut self, command: &Value) -> Outcome {
        let name = GROUPNAME.of(command)?;
        if name.is_empty() {
            return Err("Empty groupname");
        }
        let texts = new_texts(command)?;
        if self.state.groups.contains_key(name) {
            return Err("Group already exists");
        }
        let roles = self.given_roles(command).map_err(|error| match error {
            // Here the plugin has no words for a list that is none.
            "Role not found" => error,
            _ => "Internal error",
        })?;
        self.take_room(command)?;
        let roles = roles.unwrap_or_default();
        let group = Group { texts, roles, clients: BTreeMap::new() };
        self.state.groups.insert(name.into(), group);
        Ok(Reply::Done)
    }

    pub(super) fn delete_group(&mut self, command: &Value) -> Outcome {
        let name = GROUPNAME.of(command)?;
        if !self.state.groups.contains_key(name) {
            return Err(NOT_FOUND);
        }
        if self.state.anonymous_group.as_deref() == Some(name) {
            return Err("Deleting the anonymous group is forbidden");
        }
        self.state.kick_group(name);
        self.state.empty(name);
        self.state.groups.remove(name);
        Ok(Reply::Done)
    }

    pub(super) fn get_group(&mut self, command: &Value) -> Outcome {
        let name = GROUPNAME.of(command)?;
        let group = self.state.groups.get(name).ok_or(NOT_FOUND)?;
        let data = ObjectText::new().with("group", &GroupShown::new(name, group));
        Ok(Reply::Data(data.finish()))
    }

    pub(super) fn list_groups(&mut self, command: &Value) -> Outcome {
        let (page, groups) = (Page::of(command), &self.state.groups);
        page.list("groups", groups.len(), groups.iter(), self.answer_room, |(name, group)| {
            match page.is_verbose {
                true => serde_json::to_string(&GroupShown::new(name, group)),
                false => serde_json::to_string(name),
            }
            .unwrap_or_default()
        })
    }

    pub(super) fn modify_group(&mut self, command: &Value) -> Outcome {
        let name = GROUPNAME.of(command)?;
        if !self.state.groups.contains_key(name) {
            return Err(NOT_FOUND);
        }
        let roles = self.given_roles(command)?;
        let clients = list(command, "clients");
        for client in clients.unwrap_or_default().iter().filter(|client| client.is_object()) {
            let Ok(Some(client)) = text(client, "username") else {
                return Err("'clients' contains an object with an invalid 'username'");
            };
            if !self.state.clients.contains_key(client) {
                return Err("'clients' contains an object with a 'username' that does not exist");
            }
        }
        self.take_room(command)?;
        if let Some(clients) = clients {
            // Those who leave are concerned as well as those who come.
            self.state.kick_group(name);
            self.state.empty(name);
            for client in clients {
                if let Ok(Some(username)) = text(client, "username") {
                    self.state.join(username, name, priority(client));
                }
            }
        }
        let group = self.group(name)?;
        change_texts(&mut group.texts, command);
        if let Some(roles) = roles {
            group.roles = roles;
        }
        self.state.kick_group(name);
        Ok(Reply::Done)
    }

    pub(super) fn add_group_client(&mut self, command: &Value) -> Outcome {
        let (username, name) = (USERNAME.of(command)?, GROUPNAME.of(command)?);
        self.check_both(username, name)?;
        self.take_room(command)?;
        if !self.state.join(username, name, priority(command)) {
            return Err("Client is already in this group");
        }
        self.state.kick(username);
        Ok(Reply::Done)
    }

    pub(super) fn remove_group_client(&mut self, command: &Value) -> Outcome {
        let (username, name) = (USERNAME.of(command)?, GROUPNAME.of(command)?);
        self.check_both(username, name)?;
        self.state.leave(username, name);
        self.state.kick(username);
        Ok(Reply::Done)
    }

    pub(super) fn add_group_role(&mut self, command: &Value) -> Outcome {
        let (name, role) = (GROUPNAME.of(command)?, ROLENAME.of(command)?);
        self.group(name)?;
        if !self.state.roles.contains_key(role) {
            return Err("Role not found");
        }
        self.take_room(command)?;
        if !self.group(name)?.roles.add(role, priority(command)) {
            return Err("Group is already in this role");
        }
        self.state.kick_group(name);
        Ok(Reply::Done)
    }

    pub(super) fn remove_group_role(&mut self, command: &Value) -> Outcome {
        let (name, role) = (GROUPNAME.of(command)?, ROLENAME.of(command)?);
        self.group(name)?;
        if !self.state.roles.contains_key(role) {
            return Err("Role not found");
        }
        self.group(name)?.roles.remove(role);
        self.state.kick_group(name);
        Ok(Reply::Done)
    }

    fn group(&mut self, name: &str) -> Result<&mut Group, &'static str> {
        self.state.groups.get_mut(name).ok_or(NOT_FOUND)
    }

    fn check_both(&self, username: &str, groupname: &str) -> Result<(), &'static str> {
        if !self.state.clients.contains_key(username) {
            return Err(CLIENT_NOT_FOUND);
        }
        self.state.groups.get(groupname).map(|_| ()).ok_or(NOT_FOUND)
    }
}
