//! A published request: JSON with commands, answered one by one in the plugin's words. What the
//! commands do is in the files named after what they are about.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::Value;

use super::json::{ObjectText, list, member, required, text};
use super::state::State;
use super::{DYNSEC_ENTRIES_MAX, DYNSEC_SALT_BYTES, DynamicSecurity, is_name};

/// Bytes that a request may be told; some 400,000 clients fit. A command that would be told more is
/// refused, for half a list would look like a whole one.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is said then.
const TOO_LONG: &str = "Too long for one answer: ask for a part of it, with count and offset";

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
    /// Bytes that may still be told.
    pub(super) answer_room: usize,
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
        self.execute_within(ANSWER_BYTES_MAX, payload, salt)
    }

    fn execute_within(
        &mut self,
        answer_bytes_max: usize,
        payload: &[u8],
        salt: &mut dyn FnMut() -> [u8; DYNSEC_SALT_BYTES],
    ) -> Execution {
        let room = DYNSEC_ENTRIES_MAX.saturating_sub(self.state.entries());
        let before = self.state.change_index;
        let mut answers = Answers::within(answer_bytes_max);
        let mut desk = Desk { state: &mut self.state, salt, room, answer_room: answer_bytes_max };
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
    answer_queries_within(ANSWER_BYTES_MAX, payload, known)
}

fn answer_queries_within(bytes_max: usize, payload: &[u8], known: &[(&str, String)]) -> String {
    let mut answers = Answers::within(bytes_max);
    answers.of_request(payload, &mut |answers, _, name, correlation| match known
        .iter()
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
    {
        Some((own, data)) => answers.tell(own, data, correlation),
        None => answers.refuse(name, UNKNOWN, correlation),
    });
    answers.finish()
}

/// The answers so far.
struct Answers {
    /// With commas between them.
    texts: String,
    /// Bytes that may still be told.
    room: usize,
    log: Vec<String>,
}

/// What stands for the name of a command that has none.
const UNKNOWN: &str = "Unknown command";

/// Answers one command: its JSON, its name, its correlation data.
type Each<'e> = dyn FnMut(&mut Answers, &Value, &str, Option<&str>) + 'e;

impl Answers {
    fn within(bytes_max: usize) -> Self {
        Self { texts: String::new(), room: bytes_max, log: Vec::new() }
    }

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
        desk.answer_room = self.room;
        match act(desk, command) {
            Err(TOO_LONG) => return self.refuse_length(name, correlation),
            Err(error) => return self.refuse(name, error, correlation),
            Ok(Reply::Done) => {
                desk.state.change_index = desk.state.change_index.wrapping_add(1);
                self.push(ObjectText::new().with("command", &name), correlation);
            }
            Ok(Reply::Data(data)) => self.tell(own, &data, correlation),
        }
        self.log.push(log_line(own, command));
    }

    /// The payload of the answer.
    fn finish(self) -> String {
        let texts = alloc::format!("[{}]", self.texts);
        ObjectText::new().with_text("responses", &texts).finish()
    }

    /// What was asked for, if there is room for it.
    fn tell(&mut self, name: &str, data: &str, correlation: Option<&str>) {
        let Some(left) = self.room.checked_sub(data.len()) else {
            return self.refuse_length(name, correlation);
        };
        self.room = left;
        self.push(ObjectText::new().with("command", &name).with_text("data", data), correlation);
    }

    /// Nothing more is told in this request: each list that is too long costs much to make.
    fn refuse_length(&mut self, name: &str, correlation: Option<&str>) {
        self.room = 0;
        self.refuse(name, TOO_LONG, correlation);
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

    /// A listing as the plugin answers it: `key` holds the page, `total` counts all. Refused as
    /// soon as it is beyond `room` bytes.
    pub(super) fn list<T>(
        &self,
        key: &str,
        total: usize,
        all: impl Iterator<Item = T>,
        room: usize,
        shown: impl Fn(&T) -> String,
    ) -> Outcome {
        let mut texts = String::from("[");
        for entry in all.skip(self.offset).take(self.count) {
            if texts.len() > 1 {
                texts.push(',');
            }
            texts.push_str(&shown(&entry));
            if texts.len() > room {
                return Err(TOO_LONG);
            }
        }
        texts.push(']');
        let data = ObjectText::new().with("totalCount", &total).with_text(key, &texts);
        Ok(Reply::Data(data.finish()))
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
        let mut desk = Desk { state: &mut state, salt: &mut salt, room: 3, answer_room: 9 };
        let three = json!({"groupname": "a", "roles": [{"rolename": "x"}], "clients": [1]});
        assert_eq!(desk.take_room(&three), Ok(()));
        assert_eq!(desk.create_group(&json!({"groupname": "b"})).err(), {
            Some("Too many clients, groups, roles and ACLs")
        });
        assert!(state.groups.is_empty());
    }

    /// The answers to a request when all data together may have so many bytes.
    fn told(security: &mut DynamicSecurity, bytes_max: usize, payload: &str) -> Value {
        let mut salt = || [1; DYNSEC_SALT_BYTES];
        let execution = security.execute_within(bytes_max, payload.as_bytes(), &mut salt);
        serde_json::from_str::<Value>(&execution.answer).unwrap()["responses"].take()
    }

    #[test]
    fn a_list_too_long_for_one_answer_is_refused_and_never_cut_short() {
        let mut security = DynamicSecurity::default();
        for number in 0..100 {
            let create = |what: &str, name: &str| {
                format!(r#"{{"command":"create{what}","{name}":"{name} {number}"}}"#)
            };
            let all = [("Client", "username"), ("Group", "groupname"), ("Role", "rolename")];
            let all = all.map(|(what, name)| create(what, name)).join(",");
            let answer = run(&mut security, &format!(r#"{{"commands":[{all}]}}"#));
            assert!(!answer.to_string().contains("error"), "{answer}");
        }
        for (list, key) in
            [("listClients", "clients"), ("listGroups", "groups"), ("listRoles", "roles")]
        {
            let ask = |page: &str| format!(r#"{{"commands":[{{"command":"{list}"{page}}}]}}"#);
            let whole = told(&mut security, ANSWER_BYTES_MAX, &ask(""));
            assert_eq!(whole[0]["data"][key].as_array().unwrap().len(), 100, "{list}");
            let bytes = whole[0]["data"].to_string().len();
            assert_eq!(told(&mut security, bytes, &ask("")), whole, "{list} fits just so");
            let refused = json!([{"command": list, "error": TOO_LONG}]);
            for less in [bytes - 1, bytes / 2, 0] {
                assert_eq!(told(&mut security, less, &ask("")), refused, "{list} in {less} bytes");
            }
            // In parts it is to be had.
            let names = |page: &str| {
                let mut answer = told(&mut security.clone(), bytes - 1, &ask(page));
                let names = answer[0]["data"][key].take();
                names.as_array().unwrap().clone()
            };
            let parts = [names(r#","count":50"#), names(r#","count":50,"offset":50"#)].concat();
            assert_eq!(Value::from(parts), whole[0]["data"][key], "{list}");
        }
    }

    #[test]
    fn answers_of_one_request_share_their_room() {
        let known = [("getIt", r#"{"n":12345}"#.to_owned())];
        let request = br#"{"commands":[{"command":"getIt"},{"command":"getit"}]}"#;
        let told = |bytes_max| -> Value {
            let answer = answer_queries_within(bytes_max, request, &known);
            serde_json::from_str::<Value>(&answer).unwrap()["responses"].take()
        };
        let good = json!({"command": "getIt", "data": {"n": 12345}});
        let refused = json!({"command": "getIt", "error": TOO_LONG});
        assert_eq!(told(22), json!([good, good]));
        assert_eq!(told(21), json!([good, refused]));
        assert_eq!(told(10), json!([refused, refused]));
    }
}
