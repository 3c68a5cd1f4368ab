//! The commands of dynamic security: a row for each, and the JSON that its words become.

use serde_json::{Map, Value, json};

use super::prompt;
use crate::exit::{Exit, Failure};

/// What a word of a command becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// A member of this name.
    Text(&'static str),
    /// The same, which may be missing.
    Perhaps(&'static str),
    /// A number that may be missing.
    Number(&'static str),
    /// A kind of access.
    AclType,
    /// `allow` or `deny`.
    Allow,
    /// A password that is asked for when it is missing.
    Password,
}

/// A command.
struct Row {
    name: &'static str,
    about: &'static str,
    words: &'static [Word],
}

const fn row(name: &'static str, about: &'static str, words: &'static [Word]) -> Row {
    Row { name, about, words }
}

const USER: Word = Word::Text("username");
const GROUP: Word = Word::Text("groupname");
const ROLE: Word = Word::Text("rolename");
const TOPIC: Word = Word::Text("topic");
const PRIORITY: Word = Word::Number("priority");
const COUNT: Word = Word::Number("count");
const OFFSET: Word = Word::Number("offset");

#[rustfmt::skip]
const GENERAL: &[Row] = &[
    row("getDefaultACLAccess", "what may be done when no role says anything", &[]),
    row("setDefaultACLAccess", "change that", &[Word::AclType, Word::Allow]),
    row("getAnonymousGroup", "the group of clients without a user", &[]),
    row("setAnonymousGroup", "change that", &[GROUP]),
];

#[rustfmt::skip]
const CLIENTS: &[Row] = &[
    row("createClient", "add a user; -i ties it to a client id, -p gives the password", &[USER]),
    row("deleteClient", "remove a user", &[USER]),
    row("setClientPassword", "asks for the password unless it is given", &[USER, Word::Password]),
    row("setClientId", "tie a user to a client id, or to none", &[USER, Word::Perhaps("clientid")]),
    row("addClientRole", "a higher priority is asked first", &[USER, ROLE, PRIORITY]),
    row("removeClientRole", "", &[USER, ROLE]),
    row("getClient", "roles and groups of a user", &[USER]),
    row("listClients", "all users", &[COUNT, OFFSET]),
    row("enableClient", "let a user in again", &[USER]),
    row("disableClient", "disconnect a user and keep it out", &[USER]),
];

#[rustfmt::skip]
const GROUPS: &[Row] = &[
    row("createGroup", "", &[GROUP]),
    row("deleteGroup", "", &[GROUP]),
    row("addGroupRole", "a higher priority is asked first", &[GROUP, ROLE, PRIORITY]),
    row("removeGroupRole", "", &[GROUP, ROLE]),
    row("addGroupClient", "put a user into a group", &[GROUP, USER, PRIORITY]),
    row("removeGroupClient", "", &[GROUP, USER]),
    row("getGroup", "roles and users of a group", &[GROUP]),
    row("listGroups", "all groups", &[COUNT, OFFSET]),
];

#[rustfmt::skip]
const ROLES: &[Row] = &[
    row("createRole", "", &[ROLE]),
    row("deleteRole", "", &[ROLE]),
    row("addRoleACL", "", &[ROLE, Word::AclType, TOPIC, Word::Allow, PRIORITY]),
    row("removeRoleACL", "", &[ROLE, Word::AclType, TOPIC]),
    row("getRole", "what a role may do", &[ROLE]),
    row("listRoles", "all roles", &[COUNT, OFFSET]),
];

/// Kinds of access in a role.
const ACL_TYPES: [&str; 6] = [
    "publishClientSend",
    "publishClientReceive",
    "subscribeLiteral",
    "subscribePattern",
    "unsubscribeLiteral",
    "unsubscribePattern",
];

/// Kinds of access that have a default.
const DEFAULT_ACL_TYPES: [&str; 4] =
    ["publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"];

/// The request of a command, as the plugin wants it.
///
/// # Errors
/// There is no such command, or its words are wrong.
pub fn request(command: &str, words: &[String]) -> Result<Value, Failure> {
    let mut rows = [GENERAL, CLIENTS, GROUPS, ROLES].into_iter().flatten();
    let row = rows.find(|row| row.name.eq_ignore_ascii_case(command));
    let row = row.ok_or_else(|| super::unknown_command(command))?;
    match row.name {
        "createClient" => create_client(words),
        "setDefaultACLAccess" => {
            let acl = Value::Object(row.members(words)?);
            Ok(json!({ "command": row.name, "acls": [acl] }))
        }
        name => {
            let mut members = Map::from_iter([("command".to_owned(), json!(name))]);
            members.extend(row.members(words)?);
            Ok(Value::Object(members))
        }
    }
}

/// `createClient USER [-i CLIENTID] [-p PASSWORD]`.
fn create_client(words: &[String]) -> Result<Value, Failure> {
    let [user, flags @ ..] = words else {
        return Err(wrong("createClient", "USERNAME is missing"));
    };
    let (mut client_id, mut password) = (None, None);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let (place, what) = match flag.as_str() {
            "-c" | "-i" => (&mut client_id, "clientid"),
            "-p" => (&mut password, "password"),
            other => return Err(wrong("createClient", &format!("'{other}' is neither -i nor -p"))),
        };
        let value = flags.next().ok_or_else(|| Failure {
            text: format!("Error: {flag} argument given, but no {what} provided.\n{WRONG}"),
            exit: Exit::Arguments,
        })?;
        *place = Some(value.clone());
    }
    if password.is_none() {
        tell_about_empty_password(user);
        password = prompt::new_password(user)?;
    }
    let mut members = Map::from_iter([
        ("command".to_owned(), json!("createClient")),
        ("username".to_owned(), json!(user)),
    ]);
    members.extend(client_id.map(|id| ("clientid".to_owned(), Value::String(id))));
    members.extend(password.map(|password| ("password".to_owned(), Value::String(password))));
    Ok(Value::Object(members))
}

fn tell_about_empty_password(user: &str) {
    crate::print::tell!(
        "Enter new password for {user}. Press return for no password (user will be unable to \
         login)."
    );
}

impl Row {
    fn members(&self, words: &[String]) -> Result<Map<String, Value>, Failure> {
        let wrong = |what: &str| wrong(self.name, what);
        if words.len() > self.words.len() {
            return Err(wrong(&format!("'{}' is too much", words[self.words.len()])));
        }
        let mut members = Map::new();
        let mut user = "";
        for (index, word) in self.words.iter().enumerate() {
            let given = words.get(index);
            let (name, value) = match (word, given) {
                (Word::Perhaps(_) | Word::Number(_), None) => continue,
                (Word::Password, None) => match prompt::new_password(user)? {
                    Some(password) => ("password", Value::String(password)),
                    None => return Err(Failure::new("Error: Empty password.")),
                },
                (word, None) => return Err(wrong(&format!("{} is missing", word.shown()))),
                (Word::Text(name) | Word::Perhaps(name), Some(text)) => (*name, json!(text)),
                (Word::Password, Some(text)) => ("password", json!(text)),
                (Word::Number(name), Some(text)) => match text.parse::<i32>() {
                    // As there: -1 stands for "all" and for "from the beginning".
                    Ok(number) if number < 0 && *name != "priority" => continue,
                    Ok(number) => (*name, json!(number)),
                    Err(_) => return Err(wrong(&format!("'{text}' is no number"))),
                },
                (Word::AclType, Some(text)) => ("acltype", json!(self.acl_type(text)?)),
                (Word::Allow, Some(text)) => ("allow", json!(self.allow(text)?)),
            };
            if name == "username" {
                user = given.map_or("", String::as_str);
            }
            members.insert(name.to_owned(), value);
        }
        // The plugin does not mind the order; Mosquitto's tool puts the user first.
        if let (Some(user), true) =
            (members.get("username").cloned(), self.words.first() == Some(&GROUP))
        {
            let rest = std::mem::take(&mut members);
            members.insert("username".to_owned(), user);
            members.extend(rest.into_iter().filter(|(name, _)| name != "username"));
        }
        Ok(members)
    }

    fn acl_type(&self, text: &str) -> Result<&'static str, Failure> {
        let known: &[&str] = match self.name {
            "setDefaultACLAccess" => &DEFAULT_ACL_TYPES,
            _ => &ACL_TYPES,
        };
        let found = known.iter().find(|known| known.eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| {
            wrong(self.name, &format!("'{text}' is no ACLTYPE: {}", known.join(", ")))
        })
    }

    fn allow(&self, text: &str) -> Result<bool, Failure> {
        match text.to_ascii_lowercase().as_str() {
            "allow" => Ok(true),
            "deny" => Ok(false),
            _ if self.name == "setDefaultACLAccess" => Err(Failure {
                text: format!("Error: access must be \"allow\" or \"deny\".\n{WRONG}"),
                exit: Exit::Arguments,
            }),
            _ => Err(wrong(self.name, &format!("'{text}' is neither allow nor deny"))),
        }
    }

    fn shown(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| word.shown()).collect();
        let flags = if self.name == "createClient" { " [-i CLIENTID] [-p PASSWORD]" } else { "" };
        format!("{} {}{flags}", self.name, words.join(" ")).trim_end().to_owned()
    }
}

impl Word {
    fn shown(self) -> String {
        match self {
            Self::Text(name) => name.to_ascii_uppercase(),
            Self::Perhaps(name) | Self::Number(name) => format!("[{}]", name.to_ascii_uppercase()),
            Self::AclType => "ACLTYPE".to_owned(),
            Self::Allow => "allow|deny".to_owned(),
            Self::Password => "[PASSWORD]".to_owned(),
        }
    }
}

/// Mosquitto's line about wrong words.
const WRONG: &str = "Error: Invalid function arguments provided.";

/// It, and what is wrong.
fn wrong(command: &str, what: &str) -> Failure {
    let text = format!("{WRONG}\n{command}: {what}.");
    Failure { text, exit: Exit::Arguments }
}

/// What can be typed in the place of a word, and where its names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Clients,
    Groups,
    Roles,
    Of(&'static [&'static str]),
    Anything,
}

/// The names of all commands.
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    [GENERAL, CLIENTS, GROUPS, ROLES].into_iter().flatten().map(|row| row.name)
}

/// The words of a command, in their order.
pub(super) fn choices(command: &str) -> Vec<Choice> {
    let mut rows = [GENERAL, CLIENTS, GROUPS, ROLES].into_iter().flatten();
    let Some(row) = rows.find(|row| row.name.eq_ignore_ascii_case(command)) else {
        return Vec::new();
    };
    let is_new = |index| index == 0 && row.name.starts_with("create");
    let choice = |(index, word): (usize, &Word)| match *word {
        _ if is_new(index) => Choice::Anything,
        USER => Choice::Clients,
        GROUP => Choice::Groups,
        ROLE => Choice::Roles,
        Word::AclType if row.name == "setDefaultACLAccess" => Choice::Of(&DEFAULT_ACL_TYPES),
        Word::AclType => Choice::Of(&ACL_TYPES),
        Word::Allow => Choice::Of(&["allow", "deny"]),
        _ => Choice::Anything,
    };
    row.words.iter().enumerate().map(choice).collect()
}

/// How a command is written and what it is for.
pub(super) fn usage(command: &str) -> Option<String> {
    let mut rows = [GENERAL, CLIENTS, GROUPS, ROLES].into_iter().flatten();
    let row = rows.find(|row| row.name.eq_ignore_ascii_case(command))?;
    Some(format!("{}    {}", row.shown(), row.about).trim_end().to_owned())
}

/// What `dynsec help` prints.
pub fn help(tool: &str) -> String {
    let mut text = format!(
        "Begin with a file that the broker's plugin reads:\n  {tool} dynsec init FILE ADMIN \
         [PASSWORD]\nA new password for somebody in that file, without a broker:\n  {tool} -f FILE \
         dynsec setClientPassword USERNAME [PASSWORD] [-i ITERATIONS]\n"
    );
    let parts = [("General", GENERAL), ("Users", CLIENTS), ("Groups", GROUPS), ("Roles", ROLES)];
    for (title, rows) in parts {
        text.push_str(&format!("\n{title}:\n"));
        for row in rows {
            text.push_str(format!("  {:<56}{}", row.shown(), row.about).trim_end());
            text.push('\n');
        }
    }
    text.push_str(&format!("\nACLTYPE of a role: {}\n", ACL_TYPES.join(", ")));
    text.push_str(&format!("ACLTYPE of the defaults: {}", DEFAULT_ACL_TYPES.join(", ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str) -> Result<String, Exit> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        request(&words[0], &words[1..]).map(|value| value.to_string()).map_err(|it| it.exit)
    }

    #[test]
    fn words_become_members_in_mosquittos_order() {
        for (line, json) in [
            ("getdefaultaclaccess", r#"{"command":"getDefaultACLAccess"}"#),
            (
                "setDefaultACLAccess subscribe allow",
                concat!(
                    r#"{"command":"setDefaultACLAccess","#,
                    r#""acls":[{"acltype":"subscribe","allow":true}]}"#
                ),
            ),
            ("listRoles -1", r#"{"command":"listRoles"}"#),
            ("listRoles 2 1", r#"{"command":"listRoles","count":2,"offset":1}"#),
            (
                "addGroupClient g u -3",
                r#"{"command":"addGroupClient","username":"u","groupname":"g","priority":-3}"#,
            ),
            ("setClientId u", r#"{"command":"setClientId","username":"u"}"#),
        ] {
            assert_eq!(made(line).unwrap(), json);
        }
    }

    #[test]
    fn wrong_words_are_exit_3_and_unknown_commands_13() {
        for line in [
            "createClient",
            "createClient u -c",
            "createClient u x",
            "getClient",
            "getClient u v",
            "addRoleACL r nothing t allow",
            "addRoleACL r subscribeLiteral t perhaps",
            "addRoleACL r subscribeLiteral t allow x",
            "setDefaultACLAccess subscribeLiteral allow",
        ] {
            assert_eq!(made(line).unwrap_err(), Exit::Arguments, "{line}");
        }
        assert_eq!(made("modifyClient u").unwrap_err(), Exit::NoCommand);
    }
}
