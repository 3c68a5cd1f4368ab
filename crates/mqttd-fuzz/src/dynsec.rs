//! Dynamic security: its file, and the commands that Clients send.

use mqtt_auth::{Action, DynamicSecurity, Who};

/// A file of dynamic security is read or refused, and written as something that is read as the
/// same. Its rights are the same each time.
pub fn dynsec_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok((security, _)) = DynamicSecurity::parse(&text) {
        check_dynsec(&security);
    }
}

/// Commands for dynamic security are answered, each of them, and what they leave can be saved. Who
/// is not mentioned is not disconnected.
pub fn dynsec_commands(bytes: &[u8]) {
    let (mut security, _) = DynamicSecurity::parse(DYNSEC).expect("a file of ours");
    let before = security.rights();
    let mut salts = 0u8;
    let execution = security.execute(bytes, &mut || {
        salts = salts.wrapping_add(1);
        [salts; 12]
    });
    assert!(execution.answer.starts_with("{\"responses\":["), "{}", execution.answer);
    assert!(execution.has_changed || before.keeps(&security.rights(), Some("ann")));
    let mentions = |name: &[u8]| bytes.windows(name.len()).any(|it| it.eq_ignore_ascii_case(name));
    if !mentions(b"ann") && !mentions(b"role") && !mentions(b"group") && !mentions(b"\\u") {
        assert!(before.keeps(&security.rights(), Some("ann")), "disconnected by nobody");
    }
    check_dynsec(&security);
}

const DYNSEC: &str = r#"{"clients":[{"username":"ann","roles":[{"rolename":"r"}]}],
    "groups":[{"groupname":"g","clients":[{"username":"ann"}]}],"anonymousGroup":"g",
    "roles":[{"rolename":"r","acls":[{"acltype":"publishClientSend","topic":"a/%u/#",
    "allow":true}]}]}"#;

fn check_dynsec(security: &DynamicSecurity) {
    let saved = security.to_json();
    let (again, _) = DynamicSecurity::parse(&saved).expect("what is saved can be read");
    assert_eq!(again.to_json(), saved, "saved otherwise the second time");
    let (rights, same) = (security.rights(), again.rights());
    for username in [None, Some("ann"), Some("+")] {
        let who = Who { username, client_id: "c1" };
        for topic in ["a", "a/ann/b", "", "/", "#", "+/a", "$SYS/x", "$CONTROL/x"] {
            for action in [Action::Publish, Action::Deliver, Action::Subscribe, Action::Unsubscribe]
            {
                let verdict = rights.check(&who, action, topic);
                assert_eq!(verdict, same.check(&who, action, topic), "{who:?} {topic}");
            }
        }
    }
}

pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    vec![DYNSEC.into(), br#"{"defaultACLAccess":{"subscribe":true},"clients":[]}"#.to_vec()]
}

pub(crate) fn command_seeds() -> Vec<Vec<u8>> {
    let commands = [
        r#"{"command":"createClient","username":"bob","groups":[{"groupname":"g","priority":1}]}"#,
        r#"{"command":"modifyClient","username":"ann","textname":"A","roles":[]}"#,
        r#"{"command":"addRoleACL","rolename":"r","acltype":"subscribePattern","topic":"+/%c"}"#,
        r#"{"command":"modifyGroup","groupname":"g","clients":[],"correlationData":"c"}"#,
        r#"{"command":"listClients","verbose":true,"count":1,"offset":1}"#,
        r#"{"command":"deleteClient","username":"ann"},{"command":"getDetails"}"#,
        r#"{"command":"setDefaultACLAccess","acls":[{"acltype":"subscribe","allow":true}]}"#,
    ];
    commands.map(|command| format!("{{\"commands\":[{command}]}}").into_bytes()).to_vec()
}
