//! A published request: JSON with commands, answered one by one in the plugin's words. What the
//! commands do is in the files named after what they are about.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::Value;

use super::json::{ObjectText, list, member, required, text};
use super::state::State;
use super::{DYNSEC_ENTRIES_MAX, DYNSEC_SALT_BYTES, DynamicSecurity, is_name};

/// Bytes of an answer. A listing that goes beyond is the last one; some 400,000 clients fit.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a request has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The payload of the answer.
    pub answer: String,
    /// There is something to be saved, and to be put in force.
    pub has_changed: bool,
    /// What was done, a line for each command, without passwords.
    pub log: Vec<String>,
}

/// A command's answer, or what the plugin says when it cannot be done.
pub(super) type Outcome = Result<Reply, &'static str>;

/// What a command leads to.
#[derive(Debug)]
pub(super) enum Reply {
    /// A change.
    Done,
    /// What was asked for, as JSON.
    Data(String),
}

/// What commands work on.
pub(super) struct Desk<'d> {
    pub(super) state: &'d mut State,
    /// A new salt for each password.
    pub(super) salt: &'d mut dyn FnMut() -> [u8; DYNSEC_SALT_BYTES],
    /// Entries that may still be added.
    room: usize,
}

type Act = fn(&mut Desk<'_>, &Value) -> Outcome;

/// Every command.
const COMMANDS: [(&str, Act); 32] = [
    ("setDefaultACLAccess", |desk, it| desk.set_default_acl_access(it)),
    ("getDefaultACLAccess", |desk, it| desk.get_default_acl_access(it)),
    ("getDetails", |desk, it| desk.get_details(it)),
    ("createClient", |desk, it| desk.create_client(it)),
    ("deleteClient", |desk, it| desk.delete_client(it)),
    ("getClient", |desk, it| desk.get_client(it)),
    ("listClients", |desk, it| desk.list_clients(it)),
    ("modifyClient", |desk, it| desk.modify_client(it)),
    ("setClientPassword", |desk, it| desk.set_client_password(it)),
    ("setClientId", |desk, it| desk.set_client_id(it)),
    ("addClientRole", |desk, it| desk.add_client_role(it)),
    ("removeClientRole", |desk, it| desk.remove_client_role(it)),
    ("enableClient", |desk, it| desk.enable_client(it)),
    ("disableClient", |desk, it| desk.disable_client(it)),
    ("addGroupClient", |desk, it| desk.add_group_client(it)),
    ("createGroup", |desk, it| desk.create_group(it)),
    ("deleteGroup", |desk, it| desk.delete_group(it)),
    ("getGroup", |desk, it| desk.get_group(it)),
    ("listGroups", |desk, it| desk.list_groups(it)),
    ("modifyGroup", |desk, it| desk.modify_group(it)),
    ("removeGroupClient", |desk, it| desk.remove_group_client(it)),
    ("addGroupRole", |desk, it| desk.add_group_role(it)),
    ("removeGroupRole", |desk, it| desk.remove_group_role(it)),
    ("setAnonymousGroup", |desk, it| desk.set_anonymous_group(it)),
    ("getAnonymousGroup", |desk, it| desk.get_anonymous_group(it)),
    ("createRole", |desk, it| desk.create_role(it)),
    ("getRole", |desk, it| desk.get_role(it)),
    ("listRoles", |desk, it| desk.list_roles(it)),
    ("modifyRole", |desk, it| desk.modify_role(it)),
    ("deleteRole", |desk, it| desk.delete_role(it)),
    ("addRoleACL", |desk, it| desk.add_role_acl(it)),
    ("removeRoleACL", |desk, it| desk.remove_role_acl(it)),
];

impl DynamicSecurity {
    /// Carries out a published request. `salt` is called for each new password. Hashes: not on a
    /// shard's thread.
    pub fn execute(
        &mut self,
        payload: &[u8],
        salt: &mut dyn FnMut() -> [u8; DYNSEC_SALT_BYTES],
    ) -> Execution {
        let room = DYNSEC_ENTRIES_MAX.saturating_sub(self.state.entries());
        let before = self.state.change_index;
        let mut answers = Answers::default();
        let mut desk = Desk { state: &mut self.state, salt, room };
        answers.of_request(payload, &mut |answers, command, name, correlation| {
            answers.of_command(command, name, correlation, &mut desk);
        });
        let has_changed = self.state.change_index != before;
        let log = core::mem::take(&mut answers.log);
        Execution { answer: answers.finish(), has_changed, log }
    }
}

/// Answers a published request whose commands only ask: `known` has their names and what they are
/// told, as JSON. Names in any case are taken, as in the plugin.
#[must_use]
pub fn answer_queries(payload: &[u8], known: &[(&str, String)]) -> String {
    let mut answers = Answers::default();
    answers.of_request(payload, &mut |answers, _, name, correlation| match known
        .iter()
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
    {
        Some((own, data)) if answers.texts.len() <= ANSWER_BYTES_MAX => {
            let answer = ObjectText::new().with("command", own).with_text("data", data);
            answers.push(answer, correlation);
        }
        Some(_) => answers.refuse(name, "Internal error", correlation),
        None => answers.refuse(name, UNKNOWN, correlation),
    });
    answers.finish()
}

/// The answers so far.
#[derive(Default)]
struct Answers {
    /// With commas between them.
    texts: String,
    log: Vec<String>,
}

/// What stands for the name of a command that has none.
const UNKNOWN: &str = "Unknown command";

/// Answers one command: its JSON, its name, its correlation data.
type Each<'e> = dyn FnMut(&mut Answers, &Value, &str, Option<&str>) + 'e;

impl Answers {
    fn of_request(&mut self, payload: &[u8], each: &mut Each<'_>) {
        // What follows the first value does not matter, as in the plugin.
        let mut values = serde_json::Deserializer::from_slice(payload).into_iter::<Value>();
        let Some(Ok(request)) = values.next() else {
            return self.refuse(UNKNOWN, "Payload not valid JSON", None);
        };
        let Some(commands) = list(&request, "commands") else {
            return self.refuse(UNKNOWN, "Invalid/missing commands", None);
        };
        for command in commands {
            if !command.is_object() {
                return self.refuse(UNKNOWN, "Command not an object", None);
            }
            let Ok(name) = required(command, "command") else {
                return self.refuse(UNKNOWN, "Missing command", None);
            };
            let Ok(correlation) = text(command, "correlationData") else {
                return self.refuse(name, "Invalid correlationData data type.", None);
            };
            each(self, command, name, correlation);
        }
    }

    fn of_command(
        &mut self,
        command: &Value,
        name: &str,
        correlation: Option<&str>,
        desk: &mut Desk<'_>,
    ) {
        let mut commands = COMMANDS.iter();
        let Some((own, act)) = commands.find(|(own, _)| own.eq_ignore_ascii_case(name)) else {
            return self.refuse(name, UNKNOWN, correlation);
        };
        if self.texts.len() > ANSWER_BYTES_MAX {
            return self.refuse(name, "Internal error", correlation);
        }
        match act(desk, command) {
            Err(error) => return self.refuse(name, error, correlation),
            Ok(Reply::Done) => {
                desk.state.change_index = desk.state.change_index.wrapping_add(1);
                self.push(ObjectText::new().with("command", &name), correlation);
            }
            Ok(Reply::Data(data)) => {
                let answer = ObjectText::new().with("command", own).with_text("data", &data);
                self.push(answer, correlation);
            }
        }
        self.log.push(log_line(own, command));
    }

    /// The payload of the answer.
    fn finish(self) -> String {
        let texts = alloc::format!("[{}]", self.texts);
        ObjectText::new().with_text("responses", &texts).finish()
    }

    fn refuse(&mut self, name: &str, error: &str, correlation: Option<&str>) {
        let answer = ObjectText::new().with("command", &name).with("error", &error);
        self.push(answer, correlation);
    }

    fn push(&mut self, answer: ObjectText, correlation: Option<&str>) {
        let answer = match correlation {
            Some(data) => answer.with("correlationData", &data),
            None => answer,
        };
        if !self.texts.is_empty() {
            self.texts.push(',');
        }
        self.texts.push_str(&answer.finish());
    }
}

/// Members of a command that the log shows.
const SHOWN: [&str; 8] =
    ["username", "groupname", "rolename", "clientid", "acltype", "topic", "priority", "allow"];

fn log_line(name: &str, command: &Value) -> String {
    let mut line = name.to_string();
    for key in SHOWN {
        let value = match member(command, key) {
            // A name that would break the line does not.
            Some(Value::String(text)) => text.escape_debug().to_string(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => continue,
        };
        line.push_str(&alloc::format!(" | {key}={value}"));
    }
    if member(command, "password").is_some() {
        line.push_str(" | password=*****");
    }
    line
}

/// A name that a command must give: its member, and what is said when it is missing or no name.
pub(super) struct Name {
    key: &'static str,
    missing: &'static str,
    invalid: &'static str,
}

pub(super) const USERNAME: Name = Name {
    key: "username",
    missing: "Invalid/missing username",
    invalid: "Username not valid UTF-8",
};
pub(super) const GROUPNAME: Name = Name {
    key: "groupname",
    missing: "Invalid/missing groupname",
    invalid: "Group name not valid UTF-8",
};
pub(super) const ROLENAME: Name = Name {
    key: "rolename",
    missing: "Invalid/missing rolename",
    invalid: "Role name not valid UTF-8",
};

impl Name {
    pub(super) fn of<'v>(&self, command: &'v Value) -> Result<&'v str, &'static str> {
        let name = required(command, self.key).map_err(|_| self.missing)?;
        if is_name(name) { Ok(name) } else { Err(self.invalid) }
    }
}

/// Texts for people of something new; wrong types are refused.
pub(super) fn new_texts(command: &Value) -> Result<super::state::Texts, &'static str> {
    let get = |key, error| text(command, key).map_err(|_| error).map(|it| it.map(Box::from));
    Ok(super::state::Texts {
        name: get("textname", "Invalid/missing textname")?,
        description: get("textdescription", "Invalid/missing textdescription")?,
    })
}

/// Replaces the texts that are given.
pub(super) fn change_texts(texts: &mut super::state::Texts, command: &Value) {
    let given = super::file::texts(command);
    texts.name = given.name.or(texts.name.take());
    texts.description = given.description.or(texts.description.take());
}

/// Which part of a listing is asked for.
pub(super) struct Page {
    offset: usize,
    count: usize,
    pub(super) is_verbose: bool,
}

impl Page {
    pub(super) fn of(command: &Value) -> Self {
        let count = super::json::number(command, "count", -1);
        let offset = super::json::number(command, "offset", 0);
        Self {
            offset: usize::try_from(offset).unwrap_or(0),
            // Who asks for none gets one, as from the plugin.
            count: usize::try_from(count).map_or(usize::MAX, |count| count.max(1)),
            is_verbose: super::json::flag(command, "verbose").unwrap_or(false),
        }
    }

    /// A listing as the plugin answers it: `key` holds the page, `total` counts all.
    pub(super) fn list<T>(
        &self,
        key: &str,
        total: usize,
        all: impl Iterator<Item = T>,
        shown: impl Fn(&T) -> String,
    ) -> Reply {
        let mut texts = String::from("[");
        for entry in all.skip(self.offset).take(self.count) {
            if texts.len() > 1 {
                texts.push(',');
            }
            texts.push_str(&shown(&entry));
            if texts.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        texts.push(']');
        let data = ObjectText::new().with("totalCount", &total).with_text(key, &texts);
        Reply::Data(data.finish())
    }
}

impl Desk<'_> {
    /// Takes room for a command that adds something; its lists count in full.
    pub(super) fn take_room(&mut self, command: &Value) -> Result<(), &'static str> {
        let lists = ["roles", "groups", "clients", "acls"].map(|key| list(command, key));
        let lists: usize = lists.iter().flatten().map(|list| list.len()).sum();
        match self.room.checked_sub(lists).and_then(|left| left.checked_sub(1)) {
            Some(left) => {
                self.room = left;
                Ok(())
            }
            None => Err("Too many clients, groups, roles and ACLs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn run(security: &mut DynamicSecurity, payload: &str) -> Value {
        let execution = security.execute(payload.as_bytes(), &mut || [1; DYNSEC_SALT_BYTES]);
        serde_json::from_str(&execution.answer).unwrap()
    }

    /// As Debian's mosquitto 2.0.11 answers.
    #[test]
    fn requests_that_are_none_are_answered() {
        let unknown = |error: &str| json!({"responses": [{"command": UNKNOWN, "error": error}]});
        let mut security = DynamicSecurity::default();
        for (payload, error) in [
            ("nonsense", "Payload not valid JSON"),
            ("", "Payload not valid JSON"),
            ("{}", "Invalid/missing commands"),
            ("[]", "Invalid/missing commands"),
            (r#"{"commands":{}}"#, "Invalid/missing commands"),
            (r#"{"commands":[1]}"#, "Command not an object"),
            (r#"{"commands":[{}]}"#, "Missing command"),
            (r#"{"commands":[{"command":5}]}"#, "Missing command"),
        ] {
            assert_eq!(run(&mut security, payload), unknown(error), "{payload}");
        }
        assert_eq!(run(&mut security, r#"{"commands":[]}"#), json!({"responses": []}));
        let deep = "[".repeat(100_000);
        assert_eq!(run(&mut security, &deep), unknown("Payload not valid JSON"));
        let answer = run(&mut security, r#"{"commands":[{"command":"x","correlationData":"z"}]}"#);
        let expected = json!({"command": "x", "error": UNKNOWN, "correlationData": "z"});
        assert_eq!(answer["responses"][0], expected);
        let answer = run(
            &mut security,
            r#"{"Commands":[{"Command":"GETDETAILS","correlationData":5},
                {"command":"getDetails"}]} x"#,
        );
        let error = "Invalid correlationData data type.";
        let expected = json!({"responses": [{"command": "GETDETAILS", "error": error}]});
        assert_eq!(answer, expected, "what follows is not done");
    }

    #[test]
    fn the_log_shows_who_was_changed_and_no_password() {
        let mut security = DynamicSecurity::default();
        let payload = r#"{"commands":[
            {"command":"createclient","username":"ann","password":"secret","clientid":"c1"},
            {"command":"getClient","username":"bob"},
            {"command":"setDefaultACLAccess","acls":[],"topic":"a\nb"}]}"#;
        let execution = security.execute(payload.as_bytes(), &mut || [1; DYNSEC_SALT_BYTES]);
        assert!(execution.has_changed);
        let expected = [
            "createClient | username=ann | clientid=c1 | password=*****",
            "setDefaultACLAccess | topic=a\\nb",
        ];
        assert_eq!(execution.log, expected);
        let listing = br#"{"commands":[{"command":"listClients"}]}"#;
        let execution = security.execute(listing, &mut || [1; DYNSEC_SALT_BYTES]);
        assert!(!execution.has_changed);
        assert_eq!(execution.log, ["listClients"]);
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut state = State::default();
        let mut salt = || [1; DYNSEC_SALT_BYTES];
        let mut desk = Desk { state: &mut state, salt: &mut salt, room: 3 };
        let three = json!({"groupname": "a", "roles": [{"rolename": "x"}], "clients": [1]});
        assert_eq!(desk.take_room(&three), Ok(()));
        assert_eq!(desk.create_group(&json!({"groupname": "b"})).err(), {
            Some("Too many clients, groups, roles and ACLs")
        });
        assert!(state.groups.is_empty());
    }
}
