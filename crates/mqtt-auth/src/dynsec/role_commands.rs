//! Commands about roles and their rules.

use serde_json::Value;

use super::command::{Desk, Outcome, Page, ROLENAME, Reply, change_texts, new_texts};
use super::file::acls;
use super::is_name;
use super::json::{ObjectText, flag, list, member, number, text};
use super::pattern::Pattern;
use super::shown::RoleShown;
use super::state::{Acl, AclType, Role, bounded};

const NOT_FOUND: &str = "Role not found";

impl Desk<'_> {
    pub(super) fn create_role(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        if name.is_empty() {
            return Err("Empty rolename");
        }
        let texts = new_texts(command)?;
        let allows_wildcards = match member(command, "allowwildcardsubs") {
            None => true,
            Some(value) => value.as_bool().ok_or("Invalid allowwildcardsubs")?,
        };
        if self.state.roles.contains_key(name) {
            return Err("Role already exists");
        }
        self.take_room(command)?;
        let mut role = Role { texts, allows_wildcards, ..Role::default() };
        role.fill(acls(command));
        self.state.roles.insert(name.into(), role);
        Ok(Reply::Done)
    }

    pub(super) fn delete_role(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        if !self.state.roles.contains_key(name) {
            return Err(NOT_FOUND);
        }
        self.state.kick_role(name);
        self.state.clients.values_mut().for_each(|client| client.roles.remove(name));
        self.state.groups.values_mut().for_each(|group| group.roles.remove(name));
        self.state.roles.remove(name);
        Ok(Reply::Done)
    }

    pub(super) fn get_role(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        let role = self.state.roles.get(name).ok_or(NOT_FOUND)?;
        let data = ObjectText::new().with("role", &RoleShown::new(name, role));
        Ok(Reply::Data(data.finish()))
    }

    pub(super) fn list_roles(&mut self, command: &Value) -> Outcome {
        let (page, roles) = (Page::of(command), &self.state.roles);
        page.list("roles", roles.len(), roles.iter(), self.answer_room, |(name, role)| {
            match page.is_verbose {
                true => serde_json::to_string(&RoleShown::new(name, role)),
                false => serde_json::to_string(name),
            }
            .unwrap_or_default()
        })
    }

    pub(super) fn modify_role(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        if !self.state.roles.contains_key(name) {
            return Err("Role does not exist");
        }
        self.take_room(command)?;
        let role = self.role(name)?;
        change_texts(&mut role.texts, command);
        let mut concerns_rights = false;
        if let Some(allows) = flag(command, "allowwildcardsubs") {
            concerns_rights = role.allows_wildcards != allows;
            role.allows_wildcards = allows;
        }
        if list(command, "acls").is_some() {
            role.fill(acls(command));
            concerns_rights = true;
        }
        if concerns_rights {
            self.state.kick_role(name);
        }
        Ok(Reply::Done)
    }

    pub(super) fn add_role_acl(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        self.role(name)?;
        let (kind, topic) = rule(command)?;
        self.take_room(command)?;
        let priority = bounded(number(command, "priority", 0));
        let allow = flag(command, "allow").unwrap_or(false);
        let acl = Acl { topic: topic.into(), priority, allow };
        if !self.role(name)?.add(kind, acl) {
            return Err("ACL with this topic already exists");
        }
        self.state.kick_role(name);
        Ok(Reply::Done)
    }

    pub(super) fn remove_role_acl(&mut self, command: &Value) -> Outcome {
        let name = ROLENAME.of(command)?;
        self.role(name)?;
        let (kind, topic) = rule(command)?;
        if !self.role(name)?.remove(kind, topic) {
            return Err("ACL not found");
        }
        self.state.kick_role(name);
        Ok(Reply::Done)
    }

    fn role(&mut self, name: &str) -> Result<&mut Role, &'static str> {
        self.state.roles.get_mut(name).ok_or(NOT_FOUND)
    }
}

/// Which rule of a role a command is about.
fn rule(command: &Value) -> Result<(AclType, &str), &'static str> {
    let kind = text(command, "acltype").ok().flatten().ok_or("Invalid/missing acltype")?;
    let kind = AclType::named(kind).ok_or("Unknown acltype")?;
    let topic = text(command, "topic").ok().flatten().ok_or("Invalid/missing topic")?;
    if !is_name(topic) {
        return Err("Topic not valid UTF-8");
    }
    if Pattern::new(topic).is_broken() {
        return Err("Invalid ACL topic");
    }
    Ok((kind, topic))
}
