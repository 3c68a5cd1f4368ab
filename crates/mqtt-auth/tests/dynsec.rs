//! Commands of dynamic security: their answers and whom they disconnect. Unless a comment says
//! something else, both are what Debian's mosquitto 2.0.11 does; `tests/tests/dynsec.rs` asks it.

use mqtt_auth::{DynamicRights, DynamicSecurity};
use serde_json::{Value, json};

struct Desk {
    security: DynamicSecurity,
    rights: DynamicRights,
}

impl Desk {
    fn new() -> Self {
        let security = DynamicSecurity::default();
        Self { rights: security.rights(), security }
    }

    /// The answers without the names of the commands.
    fn ask(&mut self, commands: &Value) -> Vec<Value> {
        let payload = json!({ "commands": commands }).to_string();
        let mut salts = 0;
        let answer = self.security.execute(payload.as_bytes(), &mut || {
            salts += 1;
            [salts; 12]
        });
        let mut answer: Value = serde_json::from_str(&answer.answer).unwrap();
        let answers = answer["responses"].as_array_mut().unwrap().drain(..).map(|mut answer| {
            assert!(answer.as_object_mut().unwrap().remove("command").is_some());
            answer
        });
        answers.collect()
    }

    /// Carries out a command that must succeed, and says who has to go.
    fn kicks(&mut self, command: Value) -> Vec<&'static str> {
        assert_eq!(self.ask(&json!([command])), [json!({})], "{command}");
        let new = self.security.rights();
        let users = [None, Some("u"), Some("v"), Some("w")];
        let gone = users.into_iter().filter(|user| !self.rights.keeps(&new, *user));
        let gone = gone.map(|user| user.unwrap_or("anonymous")).collect();
        self.rights = new;
        gone
    }
}

fn acl(topic: &str) -> Value {
    json!({"acltype": "publishClientSend", "topic": topic, "allow": true})
}

fn furnished() -> Desk {
    let mut desk = Desk::new();
    let answers = desk.ask(&json!([
        {"command": "createRole", "rolename": "r", "acls": [acl("a"), acl("b")]},
        {"command": "createRole", "rolename": "r2"},
        {"command": "createGroup", "groupname": "g", "roles": [{"rolename": "r2"}]},
        {"command": "createGroup", "groupname": "anon"},
        {"command": "createClient", "username": "u", "password": "p",
         "roles": [{"rolename": "r", "priority": 3}]},
        {"command": "createClient", "username": "v", "groups": [{"groupname": "g"}]},
        {"command": "createClient", "username": "w", "password": "p"},
    ]));
    assert!(answers.iter().all(|answer| *answer == json!({})), "{answers:?}");
    desk.rights = desk.security.rights();
    desk
}

#[test]
fn commands_disconnect_whom_they_concern() {
    let mut desk = furnished();
    let none: [&str; 0] = [];
    for (command, gone) in [
        (json!({"command": "setClientPassword", "username": "u", "password": "p"}), &["u"][..]),
        (json!({"command": "setClientId", "username": "u", "clientid": "c"}), &["u"]),
        (json!({"command": "setClientId", "username": "u"}), &["u"]),
        (json!({"command": "addClientRole", "username": "w", "rolename": "r2"}), &["w"]),
        (json!({"command": "modifyRole", "rolename": "r2", "textname": "x"}), &none),
        // 2.0.11 forgets to, 2.1 does not.
        (json!({"command": "modifyRole", "rolename": "r2", "acls": []}), &["v", "w"]),
        (
            json!({"command": "modifyRole", "rolename": "r2", "allowwildcardsubs": false}),
            &["v", "w"],
        ),
        (json!({"command": "modifyRole", "rolename": "r2", "allowwildcardsubs": false}), &none),
        (
            json!({"command": "addRoleACL", "rolename": "r2", "acltype": "subscribePattern",
                "topic": "#", "allow": true}),
            &["v", "w"],
        ),
        (
            json!({"command": "removeRoleACL", "rolename": "r2", "acltype": "subscribePattern",
                "topic": "#"}),
            &["v", "w"],
        ),
        (json!({"command": "removeClientRole", "username": "w", "rolename": "r2"}), &["w"]),
        (json!({"command": "addGroupClient", "username": "u", "groupname": "g"}), &["u"]),
        (json!({"command": "addGroupRole", "groupname": "g", "rolename": "r"}), &["u", "v"]),
        (json!({"command": "modifyGroup", "groupname": "g", "textname": "x"}), &["u", "v"]),
        (
            json!({"command": "modifyGroup", "groupname": "g", "clients": [{"username": "w"}]}),
            &["u", "v", "w"],
        ),
        (json!({"command": "removeGroupRole", "groupname": "g", "rolename": "r"}), &["w"]),
        (json!({"command": "removeGroupClient", "username": "w", "groupname": "g"}), &["w"]),
        (
            json!({"command": "modifyClient", "username": "w", "groups": [{"groupname": "g"}]}),
            &["w"],
        ),
        (json!({"command": "deleteRole", "rolename": "r2"}), &["w"]),
        (json!({"command": "deleteGroup", "groupname": "g"}), &["w"]),
        (json!({"command": "setAnonymousGroup", "groupname": "anon"}), &["anonymous"]),
        (json!({"command": "addGroupRole", "groupname": "anon", "rolename": "r"}), &["anonymous"]),
        (
            json!({"command": "addRoleACL", "rolename": "r", "acltype": "subscribePattern",
                "topic": "x", "allow": false}),
            &["anonymous", "u"],
        ),
        (
            json!({"command": "setDefaultACLAccess",
                "acls": [{"acltype": "subscribe", "allow": true}]}),
            &none,
        ),
        (json!({"command": "enableClient", "username": "u"}), &none),
        (json!({"command": "disableClient", "username": "u"}), &["u"]),
        (json!({"command": "deleteClient", "username": "u"}), &["u"]),
        // Who was here as somebody else's user stays.
        (json!({"command": "createClient", "username": "u"}), &none),
    ] {
        let text = command.to_string();
        assert_eq!(desk.kicks(command), gone, "{text}");
    }
}

#[test]
fn whoever_was_deleted_and_made_anew_has_to_go() {
    let mut desk = furnished();
    let old = desk.security.rights();
    let answers = desk.ask(&json!([
        {"command": "deleteClient", "username": "u"},
        {"command": "createClient", "username": "u", "password": "p"}]));
    assert_eq!(answers, [json!({}), json!({})]);
    assert!(!old.keeps(&desk.security.rights(), Some("u")));
}

/// Commands and what is said of them.
const REFUSED: &[(&str, &str)] = &[
    (r#"{"command": "createClient", "username": ""}"#, "Empty username"),
    (r#"{"command": "createClient", "username": 5}"#, "Invalid/missing username"),
    (r#"{"command": "createClient", "username": "k\u0001"}"#, "Username not valid UTF-8"),
    (r#"{"command": "createClient", "username": "k", "password": 5}"#, "Invalid/missing password"),
    (r#"{"command": "createClient", "username": "k", "clientid": 5}"#, "Invalid/missing client id"),
    (r#"{"command": "createClient", "username": "k", "textname": 5}"#, "Invalid/missing textname"),
    (r#"{"command": "createClient", "username": "k", "roles": 5}"#, ROLES),
    (r#"{"command": "createClient", "username": "k", "roles": [{"x": 1}]}"#, ROLES),
    (
        r#"{"command": "createClient", "username": "k",
        "roles": [{"rolename": "z"}]}"#,
        "Role not found",
    ),
    (
        r#"{"command": "createClient", "username": "k",
        "groups": [{"groupname": "z"}]}"#,
        "Group not found",
    ),
    (r#"{"command": "createClient", "username": "u"}"#, "Client already exists"),
    (
        r#"{"command": "setClientPassword", "username": "u",
        "password": ""}"#,
        "Empty password is not allowed",
    ),
    (r#"{"command": "setClientPassword", "username": "u"}"#, "Invalid/missing password"),
    (r#"{"command": "setClientPassword", "username": "z", "password": "p"}"#, "Client not found"),
    (r#"{"command": "setClientId", "username": "u", "clientid": 4}"#, "Invalid/missing client ID"),
    (r#"{"command": "modifyClient", "username": "z"}"#, "Client not found"),
    (r#"{"command": "getClient", "username": "z"}"#, "Client not found"),
    (r#"{"command": "deleteClient", "username": "z"}"#, "Client not found"),
    (r#"{"command": "addClientRole", "username": "u", "rolename": "r"}"#, "Internal error"),
    (r#"{"command": "addClientRole", "username": "u", "rolename": "z"}"#, "Role not found"),
    (r#"{"command": "createGroup", "groupname": "k", "roles": 4}"#, "Internal error"),
    (
        r#"{"command": "createGroup", "groupname": "k",
        "roles": [{"rolename": "z"}]}"#,
        "Role not found",
    ),
    (r#"{"command": "createGroup", "groupname": "g"}"#, "Group already exists"),
    (r#"{"command": "addGroupClient", "username": "u", "groupname": "z"}"#, "Group not found"),
    (r#"{"command": "addGroupClient", "username": "z", "groupname": "z"}"#, "Client not found"),
    (
        r#"{"command": "addGroupClient", "username": "v",
        "groupname": "g"}"#,
        "Client is already in this group",
    ),
    (
        r#"{"command": "addGroupRole", "groupname": "g",
        "rolename": "r2"}"#,
        "Group is already in this role",
    ),
    (r#"{"command": "removeGroupClient", "username": "u", "groupname": "z"}"#, "Group not found"),
    (r#"{"command": "setAnonymousGroup", "groupname": "z"}"#, "Group not found"),
    (r#"{"command": "modifyRole", "rolename": "z"}"#, "Role does not exist"),
    (r#"{"command": "createRole", "rolename": "r"}"#, "Role already exists"),
    (r#"{"command": "getRole", "rolename": "z"}"#, "Role not found"),
    (
        r#"{"command": "addRoleACL", "rolename": "r", "acltype": "x",
        "topic": "a/#/b"}"#,
        "Unknown acltype",
    ),
    (
        r#"{"command": "addRoleACL", "rolename": "r", "acltype": "subscribeLiteral",
        "topic": "a/#/b"}"#,
        "Invalid ACL topic",
    ),
    (
        r#"{"command": "addRoleACL", "rolename": "r", "acltype": "publishClientSend",
        "topic": "a"}"#,
        "ACL with this topic already exists",
    ),
    (
        r#"{"command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend",
        "topic": "z"}"#,
        "ACL not found",
    ),
    (r#"{"command": "setDefaultACLAccess"}"#, "Missing/invalid actions array"),
    (r#"{"command": "nothing"}"#, "Unknown command"),
];

const ROLES: &str = "'roles' not an array or missing/invalid rolename";

#[test]
fn what_cannot_be_done_is_answered_in_the_plugins_words() {
    let mut desk = furnished();
    let before = desk.security.to_json();
    for (text, error) in REFUSED {
        let command: Value = serde_json::from_str(text).unwrap();
        assert_eq!(desk.ask(&json!([command])), [json!({ "error": error })], "{text}");
    }
    assert_eq!(desk.security.to_json(), before);
    // 2.0.11 ends over this one.
    desk.ask(&json!([{"command": "setAnonymousGroup", "groupname": "anon"}]));
    let answer = desk.ask(&json!([{"command": "deleteGroup", "groupname": "anon"}]));
    assert_eq!(answer, [json!({"error": "Deleting the anonymous group is forbidden"})]);
}

#[test]
fn listings_have_pages() {
    let mut desk = Desk::new();
    let names = ["a", "b", "c"];
    desk.ask(&json!(names.map(|name| json!({"command": "createRole", "rolename": name}))));
    for (page, expected) in [
        (json!({}), json!(["a", "b", "c"])),
        (json!({"count": 1}), json!(["a"])),
        (json!({"count": 0}), json!(["a"])),
        (json!({"offset": 2}), json!(["c"])),
        (json!({"offset": -2, "count": -1}), json!(["a", "b", "c"])),
        (json!({"offset": 1, "count": 5}), json!(["b", "c"])),
        (json!({"offset": 3}), json!([])),
    ] {
        let mut command = page.clone();
        command["command"] = json!("listRoles");
        let answer = desk.ask(&json!([command]));
        assert_eq!(answer[0]["data"], json!({"totalCount": 3, "roles": expected}), "{page}");
    }
}

#[test]
fn passwords_are_taken_and_changed() {
    let mut desk = furnished();
    let verify = |desk: &Desk, password: &[u8]| {
        desk.security.rights().passwords().verify("u", password).is_accepted()
    };
    assert!(verify(&desk, b"p") && !verify(&desk, b"q"));
    desk.ask(&json!([{"command": "modifyClient", "username": "u", "password": ""}]));
    assert!(verify(&desk, b"p"), "an empty password changes nothing");
    desk.ask(&json!([{"command": "modifyClient", "username": "u", "password": "q"}]));
    assert!(verify(&desk, b"q") && !verify(&desk, b"p"));
    desk.ask(&json!([{"command": "setClientPassword", "username": "u", "password": "r"}]));
    assert!(verify(&desk, b"r"));
    let file = desk.security.to_json();
    let (again, warnings) = DynamicSecurity::parse(&file).unwrap();
    assert!(warnings.is_empty() && again.rights().passwords().verify("u", b"r").is_accepted());
    assert!(!again.rights().passwords().contains("v"), "it has no password");
}
