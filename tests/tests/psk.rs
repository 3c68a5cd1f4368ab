//! Issue 7: TLS with pre-shared keys: Debian's mosquitto tools, ours and `openssl s_client` against
//! the broker under test, ours against Debian's. Both must be built with the feature `psk`, as
//! `make test` and the packages do it.

use std::process::Command;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::notation::Pattern;
use mqttd_tests::place::{self, broker_under_test};
use mqttd_tests::process::{self, Finished};
use mqttd_tests::{Broker, Tools, only_our_broker};

const KEY: &str = "00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100";

/// A broker with keys for two identities; `None`, said, where the build has none.
fn broker(global: &str, lines: &str) -> Option<Broker> {
    let text = format!(
        "{global}\nlistener {{port}} 127.0.0.1\npsk_hint house\npsk_file {{dir}}/psk\n{lines}\n"
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    broker.write("psk", &format!("pump:{KEY}\nlamp:{OTHER_KEY}\n"));
    broker.write("acl", "user pump\ntopic readwrite t\n");
    if !place::broker_is_peer() {
        let said = broker.run_to_end(&["--test-config"]);
        if said.err().contains("not in this build") {
            place::say_skipped(module_path!(), "mqttd is built without the feature psk");
            return None;
        }
        said.ok();
    }
    Some(broker.started())
}

fn publish(broker: &Broker, identity: &str, key: &str, more: &[&str]) -> Finished {
    publish_by(Tools::Mosquitto, broker, identity, key, more)
}

fn publish_by(tools: Tools, broker: &Broker, identity: &str, key: &str, more: &[&str]) -> Finished {
    let keys = ["--psk", key, "--psk-identity", identity, "-t", "t", "-m", "x", "-q", "1"];
    tools.publish(broker, &[&keys[..], more].concat())
}

/// Who has the key of its identity gets in and gets messages larger than a record through.
fn keys_open(tools: Tools, broker: &Broker) {
    let first = publish_by(tools, broker, "pump", KEY, &["-r"]);
    if first.err().contains("not in this build") {
        place::say_skipped(module_path!(), "the tools are built without the feature psk");
        return;
    }
    first.ok();
    let keys = ["--psk", OTHER_KEY, "--psk-identity", "lamp"];
    let one = [&keys[..], &["-t", "t", "-C", "1", "-q", "1"]].concat();
    assert_eq!(tools.receive(broker, &one).ok().out(), "x\n");
    let file = broker.write("large", &"y".repeat(300_000));
    let held = ["--psk", KEY, "--psk-identity", "pump", "-t", "t", "-r", "-q", "1", "-f", &file];
    tools.publish(broker, &held).ok();
    assert_eq!(tools.receive(broker, &one).ok().out().len(), 300_001);
    for version in ["tlsv1.2", "tlsv1.3"] {
        publish_by(tools, broker, "pump", KEY, &["--tls-version", version]).ok();
    }
    for (identity, key) in [("pump", OTHER_KEY), ("stranger", KEY), ("lamp", KEY)] {
        assert_ne!(publish_by(tools, broker, identity, key, &[]).code(), 0, "{identity}");
    }
}

#[test]
fn tools_with_the_right_key_get_in() {
    let Some(broker) = broker("allow_anonymous true", "") else { return };
    keys_open(Tools::Mosquitto, &broker);
    keys_open(Tools::UnderTest, &broker);
}

#[test]
fn our_tools_get_into_debians_broker() {
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\npsk_hint house\n\
                psk_file {dir}/psk\n";
    let broker = Broker::prepared(place::peer_binary("mosquitto"), text);
    broker.write("psk", &format!("pump:{KEY}\nlamp:{OTHER_KEY}\n"));
    keys_open(Tools::UnderTest, &broker.started());
}

#[test]
fn a_key_that_is_none_is_named() {
    only_our_broker!("about our tools");
    let Some(broker) = broker("allow_anonymous true", "") else { return };
    for (key, identity, what) in [
        ("xyz", "pump", "two hexadecimal digits each"),
        ("", "pump", "two hexadecimal digits each"),
        (&"00".repeat(257), "pump", "1 to 256 bytes"),
        (KEY, "", "a name of 1 to 128 bytes"),
        (KEY, &"i".repeat(129), "a name of 1 to 128 bytes"),
    ] {
        let refused = publish_by(Tools::UnderTest, &broker, identity, key, &[]);
        assert!(refused.code() == 1 && refused.err().contains(what), "{refused}");
    }
}

/// CONNECT over `openssl s_client` with a key: what the broker answered.
fn s_client(broker: &Broker, arguments: &[&str]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-psk_identity", "pump", "-psk", KEY]).args(arguments);
    command.args(["-connect", &format!("127.0.0.1:{}", broker.port())]);
    process::run(command, &Pattern::parse("10 [ <MQTT> 04 02 003c <s> ] e0 00").bytes())
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

#[test]
fn both_versions_and_suites_without_forward_secrecy_are_spoken() {
    let Some(broker) = broker("allow_anonymous true", "") else { return };
    for arguments in [
        &["-tls1_3"][..],
        &["-tls1_2", "-cipher", "ECDHE-PSK-CHACHA20-POLY1305"],
        &["-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256"],
    ] {
        let said = s_client(&broker, arguments);
        assert_eq!(said.stdout, CONNACK, "{arguments:?}: {said}");
    }
    // Nobody gets in by anonymous key exchange or without encryption.
    for cipher in ["ADH-AES256-GCM-SHA384:@SECLEVEL=0", "NULL-SHA256:PSK-NULL-SHA256:@SECLEVEL=0"] {
        let said = s_client(&broker, &["-tls1_2", "-cipher", cipher]);
        assert!(said.stdout.is_empty(), "{cipher}: {said}");
    }
}

/// The identity is the user, for the log and the ACL.
#[test]
fn the_identity_may_be_the_user() {
    let lines = "use_identity_as_username true";
    let Some(broker) = broker("acl_file {dir}/acl", lines) else { return };
    publish(&broker, "pump", KEY, &["-V", "5"]).ok();
    assert!(broker.log().contains("u'pump'"), "{}", broker.log());
    // 5.0 says that the ACL refuses.
    let denied = publish(&broker, "lamp", OTHER_KEY, &["-V", "5"]);
    assert!(denied.err().contains("ot authorized"), "{denied}");
    assert!(broker.log().contains("u'lamp'"), "{}", broker.log());
}

/// Without it, the key opens the line and the user still has to be one.
#[test]
fn without_that_a_user_is_asked_for() {
    let Some(broker) = broker("allow_anonymous false", "") else { return };
    assert_ne!(publish(&broker, "pump", KEY, &[]).code(), 0);
    assert!(broker.log().contains("not authorised"), "{}", broker.log());
}

#[test]
fn new_keys_count_after_sighup() {
    let Some(broker) = broker("allow_anonymous true", "") else { return };
    broker.write("psk", &format!("pump:{OTHER_KEY}\n"));
    broker.hup();
    let changed =
        process::until(|| (publish(&broker, "pump", OTHER_KEY, &[]).code() == 0).then_some(()));
    assert!(changed.is_some(), "{}", broker.log());
    assert_ne!(publish(&broker, "pump", KEY, &[]).code(), 0, "the old key");
    assert_ne!(publish(&broker, "lamp", OTHER_KEY, &[]).code(), 0, "a removed identity");
}

#[test]
fn mistakes_are_named() {
    only_our_broker!("2.0.11 has other words");
    let check = |lines: &str| {
        let text = format!("{LISTENERS}listener 8883\npsk_hint house\n{lines}");
        Broker::prepared(broker_under_test(), &text).run_to_end(&["--test-config"])
    };
    check("").exits(3).complains("add psk_file PATH");
    let both = "psk_file {dir}/psk\ncertfile /c\nkeyfile /k\n";
    check(both).exits(3).complains("psk_hint and certfile exclude each other");
}
