//! What the broker answered, in the shape `mosquitto_ctrl` prints it.

use std::io::{self, Write};

use serde_json::Value;

use super::object;
use crate::exit::Failure;

/// Prints an answer to stdout.
///
/// # Errors
/// It is none, or it says that the command failed.
pub fn print(answer: &[u8]) -> Result<(), Failure> {
    let text = shown(answer)?;
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(format!("Error: {error}")))
}

/// An answer as text; empty when there is nothing to say about a success.
///
/// # Errors
/// As [`print`].
pub(super) fn shown(answer: &[u8]) -> Result<String, Failure> {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|_| Failure::new("Error: Payload not JSON."))?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(Failure::new(format!("Error: {error}")));
    }
    let missing = || Failure::new("Error: Payload missing data.");
    let response = answer.get("responses").and_then(|all| all.get(0)).ok_or_else(missing)?;
    let command = response.get("command").and_then(Value::as_str).ok_or_else(missing)?;
    if let Some(error) = response.get("error").and_then(Value::as_str) {
        return Err(Failure::new(format!("{command}: Error: {error}")));
    }
    let data = || object(response, "data").ok_or_else(invalid);
    match command.to_ascii_lowercase().as_str() {
        "listclients" => names(data()?, "clients", "username"),
        "listgroups" => names(data()?, "groups", "groupname"),
        "listroles" => names(data()?, "roles", "rolename"),
        "getclient" => client(data()?),
        "getgroup" => group(data()?),
        "getrole" => role(data()?),
        "getanonymousgroup" => {
            let group = object(data()?, "group").ok_or_else(invalid)?;
            Ok(format!("{}\n", member(group, "groupname")))
        }
        "getdefaultaclaccess" => defaults(data()?),
        "getdetails" => details(data()?),
        "listplugins" => plugins(data()?),
        "listlisteners" => listeners(data()?),
        _ => Ok(String::new()),
    }
}

fn invalid() -> Failure {
    Failure::new("Error: Invalid response from server.")
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Failure> {
    value.get(key).and_then(Value::as_array).ok_or_else(invalid)
}

fn member<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A name on each line; the plugin sends them bare, or as objects when asked to be verbose.
fn names(data: &Value, key: &str, name: &str) -> Result<String, Failure> {
    let all = list(data, key)?.iter();
    Ok(all.map(|it| format!("{}\n", it.as_str().unwrap_or_else(|| member(it, name)))).collect())
}

fn priority(value: &Value) -> i64 {
    value.get("priority").and_then(Value::as_i64).unwrap_or(-1)
}

/// `LABEL first (priority: 1)`, the others below the first.
fn named(label: &str, width: usize, value: &Value, key: &str, name: &str) -> String {
    let all = value.get(key).and_then(Value::as_array).into_iter().flatten();
    let line = |(index, it): (usize, &Value)| {
        let label = if index == 0 { label } else { "" };
        format!("{label:<width$} {} (priority: {})\n", member(it, name), priority(it))
    };
    all.enumerate().map(line).collect()
}

fn client(data: &Value) -> Result<String, Failure> {
    let client = object(data, "client").ok_or_else(invalid)?;
    let mut text = format!("Username: {}\n", member(client, "username"));
    text.push_str(format!("Clientid: {}", member(client, "clientid")).trim_end());
    text.push('\n');
    if client.get("disabled").and_then(Value::as_bool) == Some(true) {
        text.push_str("Disabled: true\n");
    }
    text.push_str(&named("Roles:", 9, client, "roles", "rolename"));
    text.push_str(&named("Groups:", 9, client, "groups", "groupname"));
    // Since 2.1.
    let connections = client.get("connections").and_then(Value::as_array).into_iter().flatten();
    for (index, connection) in connections.enumerate() {
        let label = if index == 0 { "Connections:" } else { "" };
        text.push_str(&format!("{label:<12} {}\n", member(connection, "address")));
    }
    Ok(text)
}

fn group(data: &Value) -> Result<String, Failure> {
    let group = object(data, "group").ok_or_else(invalid)?;
    let mut text = format!("Groupname: {}\n", member(group, "groupname"));
    text.push_str(&named("Roles:", 10, group, "roles", "rolename"));
    for (index, client) in list(group, "clients")?.iter().enumerate() {
        let label = if index == 0 { "Clients:" } else { "" };
        text.push_str(&format!("{label:<10} {}\n", member(client, "username")));
    }
    Ok(text)
}

fn role(data: &Value) -> Result<String, Failure> {
    let role = object(data, "role").ok_or_else(invalid)?;
    let mut text = format!("Rolename: {}\n", member(role, "rolename"));
    for (index, acl) in list(role, "acls")?.iter().enumerate() {
        let label = if index == 0 { "ACLs:" } else { "" };
        let kind = member(acl, "acltype");
        let (access, topic, priority) = (access(acl), member(acl, "topic"), priority(acl));
        text.push_str(&format!(
            "{label:<9} {kind:<20} : {access:<5} : {topic} (priority: {priority})\n"
        ));
    }
    Ok(text)
}

fn access(acl: &Value) -> &'static str {
    match acl.get("allow").and_then(Value::as_bool) {
        Some(true) => "allow",
        _ => "deny",
    }
}

fn defaults(data: &Value) -> Result<String, Failure> {
    let acls = list(data, "acls")?.iter();
    Ok(acls.map(|acl| format!("{:<20} : {}\n", member(acl, "acltype"), access(acl))).collect())
}

fn details(data: &Value) -> Result<String, Failure> {
    let rows = [
        ("Client count:", "clientCount"),
        ("Group count:", "groupCount"),
        ("Role count:", "roleCount"),
        ("Change index:", "changeIndex"),
    ];
    let row = |(label, key): (&str, &str)| {
        format!("{label:<14} {}\n", data.get(key).and_then(Value::as_i64).unwrap_or_default())
    };
    Ok(rows.map(row).concat())
}

/// The names in an answer to listClients, listGroups or listRoles.
pub(super) fn listed(answer: &[u8]) -> Vec<String> {
    shown(answer).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn plugins(data: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    for plugin in list(data, "plugins")? {
        let mut put = |label: &str, value: &str| text.push_str(&format!("{label:<18} {value}\n"));
        put("Plugin:", plugin.get("name").and_then(Value::as_str).ok_or_else(invalid)?);
        if let Some(version) = plugin.get("version").and_then(Value::as_str) {
            put("Version:", version);
        }
        let topics = plugin.get("control-endpoints").and_then(Value::as_array);
        let topics = topics.into_iter().flatten().filter_map(Value::as_str);
        for (index, topic) in topics.enumerate() {
            put(if index == 0 { "Control endpoints:" } else { "" }, topic);
        }
    }
    Ok(text)
}

fn listeners(data: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    for (index, listener) in list(data, "listeners")?.iter().enumerate() {
        text.push_str(&format!("Listener {}:\n", index + 1));
        let mut put =
            |label: &str, value: String| text.push_str(&format!("  {label:<18} {value}\n"));
        if let Some(port) = listener.get("port").and_then(Value::as_i64) {
            put("Port:", port.to_string());
        }
        let texts = [
            ("Protocol:", "protocol"),
            ("Socket path:", "socket-path"),
            ("Bind address:", "bind-address"),
        ];
        for (label, key) in texts {
            if let Some(value) = listener.get(key).and_then(Value::as_str) {
                put(label, value.to_owned());
            }
        }
        let has_tls = listener.get("tls").and_then(Value::as_bool) == Some(true);
        put("TLS:", has_tls.to_string());
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: &str) -> String {
        shown(format!("{{\"responses\":[{data}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn listeners_and_plugins_have_mosquittos_labels() {
        let text = answer(
            r#"{"command":"listListeners","data":{"listeners":[
            {"port":1883,"protocol":"mqtt","bind-address":"::1","tls":false},
            {"protocol":"websockets","socket-path":"/run/s","tls":true}]}}"#,
        );
        assert_eq!(
            text,
            "Listener 1:\n  Port:              1883\n  Protocol:          mqtt\n  \
             Bind address:      ::1\n  TLS:               false\n\nListener 2:\n  \
             Protocol:          websockets\n  Socket path:       /run/s\n  \
             TLS:               true\n\n"
        );
        let text = answer(
            r#"{"command":"listPlugins","data":{"plugins":[{"name":"p","version":"2",
            "control-endpoints":["$CONTROL/a","$CONTROL/b"]}]}}"#,
        );
        assert_eq!(
            text,
            "Plugin:            p\nVersion:           2\nControl endpoints: $CONTROL/a\n\
             \x20                  $CONTROL/b\n"
        );
    }

    #[test]
    fn whatever_comes_is_an_answer_or_a_failure() {
        for (bytes, text) in [
            (&b"\xff"[..], "Error: Payload not JSON."),
            (b"[]", "Error: Payload missing data."),
            (br#"{"responses":[{"command":"listRoles"}]}"#, "Error: Invalid response from server."),
            (br#"{"responses":[{"command":"x","error":"no"}]}"#, "x: Error: no"),
            (br#"{"error":"endpoint not available"}"#, "Error: endpoint not available"),
        ] {
            assert_eq!(shown(bytes).unwrap_err().text, text);
        }
    }
}
