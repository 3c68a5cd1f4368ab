//! Lines of the shell that are written in another way than on the command line: `addRoleACL` has
//! its topic last, `createClient` password and client id without flags, and there are
//! `modifyClient`, `modifyGroup`, `modifyRole` and `getDetails`.

use serde_json::{Map, Value, json};

use crate::ctrl::dynsec::{self, Choice};
use crate::exit::{Exit, Failure};

/// Commands that only the shell has.
pub(super) const MORE: [(&str, &str); 4] = [
    ("getDetails", "getDetails    how many users, groups and roles there are, and changes so far"),
    ("modifyClient", "modifyClient USERNAME textName|textDescription TEXT"),
    ("modifyGroup", "modifyGroup GROUPNAME textName|textDescription TEXT"),
    (
        "modifyRole",
        "modifyRole ROLENAME textName|textDescription TEXT, or allowWildcardSubs true|false",
    ),
];

const TEXTS: &[&str] = &["textName", "textDescription"];
const OF_ROLE: &[&str] = &["allowWildcardSubs", "textName", "textDescription"];

/// The words of a command, in the shell's order.
pub(super) fn choices(command: &str) -> Vec<Choice> {
    match command.to_ascii_lowercase().as_str() {
        "addroleacl" => {
            let mut choices = dynsec::choices(command);
            choices.swap(2, 3);
            choices
        }
        "modifyclient" => vec![Choice::Clients, Choice::Of(TEXTS)],
        "modifygroup" => vec![Choice::Groups, Choice::Of(TEXTS)],
        "modifyrole" => vec![Choice::Roles, Choice::Of(OF_ROLE)],
        _ => dynsec::choices(command),
    }
}

/// The request of a line for the broker; `None` when there is no such command.
pub(super) fn broker(command: &str) -> Option<Value> {
    let known = ["listListeners", "listPlugins"];
    let found = known.into_iter().find(|name| name.eq_ignore_ascii_case(command));
    found.map(|name| json!({ "command": name }))
}

/// The request of a line for dynamic security; `None` when there is no such command.
pub(super) fn dynsec(command: &str, rest: &str) -> Result<Option<Value>, Failure> {
    let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    match command.to_ascii_lowercase().as_str() {
        "getdetails" => return Ok(Some(json!({ "command": "getDetails" }))),
        "modifyclient" => return modify("modifyClient", "username", TEXTS, rest).map(Some),
        "modifygroup" => return modify("modifyGroup", "groupname", TEXTS, rest).map(Some),
        "modifyrole" => return modify("modifyRole", "rolename", OF_ROLE, rest).map(Some),
        "addroleacl" => {
            let is_access =
                |word: &String| ["allow", "deny"].contains(&word.to_lowercase().as_str());
            // ROLE TYPE allow [PRIORITY] TOPIC; the command line's order is taken as well.
            if words.get(2).is_some_and(is_access) && words.len() > 3 {
                let topic = words.pop().unwrap_or_default();
                words.insert(2, topic);
            }
        }
        "createclient" if words.len() > 1 && !words[1].starts_with('-') => {
            words.insert(1, "-p".to_owned());
            if words.len() > 3 {
                words.insert(3, "-i".to_owned());
            }
        }
        name if !dynsec::commands().any(|known| known.eq_ignore_ascii_case(name)) => {
            return Ok(None);
        }
        _ => {}
    }
    dynsec::request(command, &words).map(Some)
}

fn modify(command: &str, kind: &str, members: &[&str], rest: &str) -> Result<Value, Failure> {
    let usage = MORE.iter().find(|(name, _)| *name == command).map_or("", |(_, usage)| usage);
    let wrong = || Failure { text: usage.to_owned(), exit: Exit::Arguments };
    let (name, rest) = rest.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let rest = rest.trim_start();
    let (member, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let known = members.iter().find(|known| known.eq_ignore_ascii_case(member));
    let value = match *known.ok_or_else(wrong)? {
        "allowWildcardSubs" => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(wrong()),
        },
        _ => Value::String(text.trim().to_owned()),
    };
    // The plugin wants the names of members in its own spelling, which is this one in lower case.
    let member = known.map_or(String::new(), |known| known.to_ascii_lowercase());
    let mut request = Map::new();
    request.insert("command".to_owned(), json!(command));
    request.insert(kind.to_owned(), json!(name));
    request.insert(member, value);
    Ok(Value::Object(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str) -> String {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match dynsec(command, rest) {
            Ok(Some(request)) => request.to_string(),
            Ok(None) => "unknown".to_owned(),
            Err(failure) => failure.text,
        }
    }

    #[test]
    fn lines_become_requests() {
        for (line, expected) in [
            (
                "addRoleACL r subscribeLiteral allow 5 a/b",
                concat!(
                    r#"{"command":"addRoleACL","rolename":"r","acltype":"subscribeLiteral","#,
                    r#""topic":"a/b","allow":true,"priority":5}"#
                ),
            ),
            (
                "createClient u pw id",
                r#"{"command":"createClient","username":"u","clientid":"id","password":"pw"}"#,
            ),
            ("getdetails", r#"{"command":"getDetails"}"#),
            (
                "modifyGroup g textName All of them",
                r#"{"command":"modifyGroup","groupname":"g","textname":"All of them"}"#,
            ),
            (
                "modifyRole r allowwildcardsubs false",
                r#"{"command":"modifyRole","rolename":"r","allowwildcardsubs":false}"#,
            ),
            ("modifyGroup g", "modifyGroup GROUPNAME textName|textDescription TEXT"),
            ("nonsense", "unknown"),
        ] {
            assert_eq!(made(line), expected, "{line}");
        }
    }
}
