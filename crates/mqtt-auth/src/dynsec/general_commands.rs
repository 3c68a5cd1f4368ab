//! Commands about the whole: defaults, the anonymous group, numbers.

use alloc::vec::Vec;

use serde_json::{Value, json};

use super::command::{Desk, GROUPNAME, Outcome, Reply};
use super::json::{ObjectText, flag, list, text};
use super::shown::{default_named, defaults_shown};

impl Desk<'_> {
    /// What may be done where no role says anything. Nobody is disconnected.
    pub(super) fn set_default_acl_access(&mut self, command: &Value) -> Outcome {
        let acls = list(command, "acls").ok_or("Missing/invalid actions array")?;
        for acl in acls {
            if let (Ok(Some(name)), Some(allow)) = (text(acl, "acltype"), flag(acl, "allow")) {
                if let Some(default) = default_named(&mut self.state.defaults, name) {
                    *default = allow;
                }
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn get_default_acl_access(&mut self, _: &Value) -> Outcome {
        let acls = defaults_shown(&self.state.defaults);
        let acls: Vec<_> =
            acls.map(|(name, allow)| json!({"acltype": name, "allow": allow})).into();
        Ok(Reply::Data(ObjectText::new().with("acls", &acls).finish()))
    }

    pub(super) fn get_details(&mut self, _: &Value) -> Outcome {
        let state = &self.state;
        let data = ObjectText::new()
            .with("clientCount", &state.clients.len())
            .with("groupCount", &state.groups.len())
            .with("roleCount", &state.roles.len())
            .with("changeIndex", &state.change_index);
        Ok(Reply::Data(data.finish()))
    }

    pub(super) fn set_anonymous_group(&mut self, command: &Value) -> Outcome {
        let name = GROUPNAME.of(command)?;
        if !self.state.groups.contains_key(name) {
            return Err("Group not found");
        }
        self.state.anonymous_group = Some(name.into());
        self.state.kick_anonymous();
        Ok(Reply::Done)
    }

    pub(super) fn get_anonymous_group(&mut self, _: &Value) -> Outcome {
        let name = self.state.anonymous_group.as_deref().unwrap_or_default();
        let group = ObjectText::new().with("groupname", &name).finish();
        Ok(Reply::Data(ObjectText::new().with_text("group", &group).finish()))
    }
}
