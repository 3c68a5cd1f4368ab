//! Issue 7: TLS listeners against Debian's mosquitto tools, ours, `openssl s_client` and paho, with
//! certificates made here by the openssl program.

use std::fs;
use std::process::Command;

use mqttd_tests::authority::Authority;
use mqttd_tests::notation::Pattern;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{TempDir, broker_under_test};
use mqttd_tests::process::{self, Finished};
use mqttd_tests::{Broker, Tools, Venv, only_our_broker};

fn authority() -> Authority {
    let authority = Authority::new("Test-CA");
    authority.server("server");
    authority
}

/// CONNECT and DISCONNECT over `openssl s_client`: what the broker answered.
fn s_client(broker: &Broker, authority: &Authority, arguments: &[&str]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &authority.ca()]);
    command.args(["-connect", &format!("127.0.0.1:{}", broker.port())]).args(arguments);
    process::run(command, &Pattern::parse("10 [ <MQTT> 04 02 003c <s> ] e0 00").bytes())
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn publish(tools: Tools, broker: &Broker, cafile: &str, more: &[String]) -> Finished {
    let mut arguments = vec!["--cafile", cafile, "-t", "t", "-m", "x", "-q", "1"];
    arguments.extend(more.iter().map(String::as_str));
    tools.publish(broker, &arguments)
}

#[test]
fn tools_of_both_houses_speak_tls() {
    let authority = authority();
    let broker = authority.broker("");
    let ca = authority.ca();
    for subscriber in [Tools::UnderTest, Tools::Mosquitto] {
        let retained = ["-t", "t", "-m", "held", "-r", "--cafile", &ca];
        Tools::UnderTest.publish(&broker, &retained).ok();
        let one = ["-t", "t", "-C", "1", "-q", "1", "--cafile", &ca];
        assert_eq!(subscriber.receive(&broker, &one).ok().out(), "held\n");
        publish(subscriber, &broker, &ca, &[]).ok();
    }
}

#[test]
fn both_versions_are_spoken_and_the_lower_one_can_be_left_out() {
    let authority = authority();
    let broker = authority.broker("");
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(&broker, &authority, &[version]);
        assert_eq!(said.stdout, CONNACK, "{version}: {said}");
    }
    for old in ["-tls1_1", "-tls1"] {
        // Even when OpenSSL is told that it may.
        let said = s_client(&broker, &authority, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.stdout.is_empty() && !said.status.success(), "{old}: {said}");
    }
    let broker = authority.broker("tls_version tlsv1.3");
    assert_eq!(s_client(&broker, &authority, &["-tls1_3"]).stdout, CONNACK);
    let said = s_client(&broker, &authority, &["-tls1_2"]);
    assert!(said.stdout.is_empty() && !said.status.success(), "{said}");
}

#[test]
fn paho_over_tls_and_secure_websockets() {
    let authority = authority();
    let broker = authority.broker("");
    for (venv, api) in [(Venv::Paho1, "old"), (Venv::Paho2, "v2")] {
        for (transport, port) in [("tcp", broker.port()), ("websockets", broker.ws_port())] {
            let said = venv.run("secure.py", port, &[api, transport, &authority.ca()]).ok();
            assert_eq!(said.out(), "hello over tls\n", "{said}");
        }
    }
}

#[test]
fn our_tools_over_secure_websockets() {
    mqttd_tests::only_our_tools!("mosquitto_pub has no WebSocket");
    let authority = authority();
    let broker = authority.broker("");
    let url = format!("wss://127.0.0.1:{}/t", broker.ws_port());
    let ca = authority.ca();
    Tools::UnderTest.run("pub", &["-L", &url, "--cafile", &ca, "-m", "web", "-r"]).ok();
    let said = Tools::UnderTest.run("sub", &["-L", &url, "--cafile", &ca, "-C", "1"]).ok();
    assert_eq!(said.out(), "web\n");
}

#[test]
fn a_client_that_trusts_another_authority_does_not_connect() {
    let (authority, other) = (authority(), Authority::new("Other-CA"));
    let broker = authority.broker("");
    let said = publish(Tools::UnderTest, &broker, &other.ca(), &[]);
    assert_ne!(said.code(), 0, "{said}");
    assert!(s_client(&broker, &other, &[]).stdout.is_empty());
    // And the listener goes on, also after bytes that are no TLS at all.
    Peer::tcp(&broker).send_raw(b"GET / HTTP/1.1\r\n\r\n");
    publish(Tools::UnderTest, &broker, &authority.ca(), &[]).ok();
}

/// `cafile` or `capath` says who may sign.
#[test]
fn require_certificate_lets_only_signed_clients_in() {
    let (authority, other) = (authority(), Authority::new("Other-CA"));
    authority.client("alice");
    other.client("alice");
    let folder = TempDir::new();
    fs::copy(authority.ca(), folder.file("ca.crt")).unwrap();
    let capath = format!("capath {}", folder.path().display());
    for source in ["cafile {ca}/ca.crt", &capath] {
        let broker = authority.broker(&format!("{source}\nrequire_certificate true"));
        let ca = authority.ca();
        for tools in [Tools::UnderTest, Tools::Mosquitto] {
            publish(tools, &broker, &ca, &authority.shown("alice")).ok();
        }
        let said = publish(Tools::UnderTest, &broker, &ca, &other.shown("alice"));
        assert_ne!(said.code(), 0, "signed by another: {said}");
        let said = publish(Tools::UnderTest, &broker, &ca, &[]);
        assert_ne!(said.code(), 0, "no certificate: {said}");
        for version in ["-tls1_2", "-tls1_3"] {
            let said = s_client(&broker, &authority, &[version]);
            assert!(said.stdout.is_empty(), "no certificate in {version}: {said}");
        }
        let own = [authority.file("alice.crt"), authority.file("alice.key")];
        let arguments = ["v2", "websockets", &ca, &own[0], &own[1]];
        Venv::Paho2.run("secure.py", broker.ws_port(), &arguments).ok();
    }
}

#[test]
fn crlfile_keeps_revoked_clients_out() {
    let authority = authority();
    authority.client("alice");
    authority.client("mallory");
    authority.revoke(&["mallory"]);
    let lines = "cafile {ca}/ca.crt\nrequire_certificate true\ncrlfile {ca}/crl.pem";
    let broker = authority.broker(lines);
    publish(Tools::UnderTest, &broker, &authority.ca(), &authority.shown("alice")).ok();
    let said = publish(Tools::UnderTest, &broker, &authority.ca(), &authority.shown("mallory"));
    assert_ne!(said.code(), 0, "{said}");
    // A new list counts after SIGHUP.
    authority.revoke(&["mallory", "alice"]);
    broker.reload("Config reloaded.");
    let said = publish(Tools::UnderTest, &broker, &authority.ca(), &authority.shown("alice"));
    assert_ne!(said.code(), 0, "{said}");
}

/// The name in the certificate is the user, whatever CONNECT says, for the ACL and the log.
#[test]
fn use_identity_as_username_names_the_user() {
    let authority = authority();
    authority.client("alice");
    authority.client("bob");
    let lines = "cafile {ca}/ca.crt\nrequire_certificate true\nuse_identity_as_username true";
    let broker =
        authority.broker_with("acl_file {ca}/acl\n", lines, "user alice\ntopic readwrite t\n");
    publish(Tools::UnderTest, &broker, &authority.ca(), &authority.shown("alice")).ok();
    assert!(broker.log().contains("u'alice'"), "{}", broker.log());
    let mut claims = authority.shown("bob").to_vec();
    claims.extend(["-u", "alice", "-P", "x"].map(str::to_owned));
    publish(Tools::UnderTest, &broker, &authority.ca(), &claims).ok();
    assert!(broker.log().contains("u'bob'"), "{}", broker.log());
    assert_eq!(broker.log().matches("u'alice'").count(), 1, "{}", broker.log());
    // The ACL knows them by that name; 5.0 says what it decides.
    for (name, may_write) in [("alice", true), ("bob", false)] {
        let more = [&authority.shown(name)[..], &["-V".into(), "5".into()]].concat();
        let said = publish(Tools::UnderTest, &broker, &authority.ca(), &more);
        assert_eq!(said.code() == 0, may_write, "{name}: {said}");
    }
}

#[test]
fn use_subject_as_username_names_the_user() {
    let authority = authority();
    authority.client("alice");
    let lines = "cafile {ca}/ca.crt\nrequire_certificate true\nuse_subject_as_username true";
    let broker = authority.broker(lines);
    publish(Tools::UnderTest, &broker, &authority.ca(), &authority.shown("alice")).ok();
    // As RFC 4514 writes it: the last part first.
    assert!(broker.log().contains("u'CN=alice,O=House'"), "{}", broker.log());
}

#[test]
fn a_new_certificate_counts_after_sighup_and_a_bad_one_does_not() {
    only_our_broker!("2.0.11 ends at a certificate that it cannot read");
    let (authority, next) = (authority(), authority());
    let mut broker = authority.broker("");
    let ca = authority.ca();
    // A subscriber from before the reload stays. What is retained shows that it has subscribed.
    let held = ["-t", "t", "-m", "held", "-r", "--cafile", &ca];
    Tools::UnderTest.publish(&broker, &held).ok();
    let arguments = ["-t", "t", "-q", "1", "--cafile", &ca];
    let mut early = Tools::UnderTest.start_sub(&broker, &arguments);
    early.expect_line("held");

    next.install(&broker, "server");
    broker.reload("Config reloaded.");
    publish(Tools::UnderTest, &broker, &next.ca(), &[]).ok();
    early.expect_line("x");
    let said = publish(Tools::UnderTest, &broker, &ca, &[]);
    assert_ne!(said.code(), 0, "the old certificate is still shown: {said}");

    let old_key = fs::read_to_string(authority.file("server.key")).unwrap();
    for (name, content) in
        [("server.crt", "no certificate"), ("server.crt", ""), ("server.key", old_key.as_str())]
    {
        next.install(&broker, "server");
        broker.write(name, content);
        broker.reload("The old configuration stays in force");
        let log = broker.log();
        let error = log.lines().rev().find(|line| line.contains("Error: "));
        assert!(error.is_some_and(|it| it.contains("server.")), "names the file: {log}");
        publish(Tools::UnderTest, &broker, &next.ca(), &[]).ok();
        early.expect_line("x");
    }
    assert!(broker.is_running());
}

/// A start with files that do not fit says which.
#[test]
fn certificate_and_key_must_belong_together() {
    let (authority, other) = (authority(), authority());
    let text = "listener {port} 127.0.0.1\ncertfile {dir}/server.crt\nkeyfile {dir}/server.key\n\
                tls_keyform pem\n";
    let broker = Broker::prepared(broker_under_test(), text);
    authority.install(&broker, "server");
    broker.write("server.key", &fs::read_to_string(other.file("server.key")).unwrap());
    let said = broker.run_to_end(&[]);
    assert_ne!(said.code(), 0, "{said}");
    authority.install(&broker, "server");
    let broker = broker.started();
    let log = broker.log();
    assert!(log.contains("days left, fingerprint "), "{log}");
    // Plain MQTT gets no CONNACK there.
    let mut plain = Peer::on(&broker, Carrier::Tcp);
    plain.speaks(Level::V311);
    plain.send_unless_closed("10 [ <MQTT> 04 02 003c <c> ]");
    assert!(!plain.everything().starts_with(&CONNACK));
}
