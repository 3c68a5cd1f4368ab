//! Issue 7: certificates that change while the broker runs, the ciphers and the dates of TLS
//! listeners. Who is let in by certificate is in `tls.rs`.

use std::fs;
use std::process::Command;

use mqttd_tests::authority::Authority;
use mqttd_tests::notation::Pattern;
use mqttd_tests::place::broker_under_test;
use mqttd_tests::process::{self, Finished};
use mqttd_tests::{Broker, Tools, only_our_broker};

fn authority() -> Authority {
    let authority = Authority::new("Test-CA");
    authority.server("server");
    authority
}

fn publish(broker: &Broker, cafile: &str, more: &[String]) -> Finished {
    let mut arguments = vec!["--cafile", cafile, "-t", "t", "-m", "x", "-q", "1"];
    arguments.extend(more.iter().map(String::as_str));
    Tools::UnderTest.publish(broker, &arguments)
}

/// Waits for one more line with `text` than `before`.
#[track_caller]
fn expect_line(broker: &Broker, before: usize, text: &str) {
    let seen = process::until(|| (broker.log().matches(text).count() > before).then_some(()));
    assert!(seen.is_some(), "no '{text}'\n{}", broker.log());
}

fn fingerprint(authority: &Authority) -> String {
    let mut command = Command::new("openssl");
    let file = authority.file("server.crt");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &file]);
    let said = process::run(command, b"").ok().out();
    said.trim().split_once('=').unwrap().1.to_owned()
}

/// The order of a renewal: certificate, then key. In between they do not belong together.
#[test]
fn new_files_count_without_a_signal_and_bad_ones_do_not() {
    only_our_broker!("2.0.11 reads them at SIGHUP only");
    let (authority, next) = (authority(), authority());
    let broker = authority.broker("");
    let ca = authority.ca();
    let held = ["-t", "t", "-m", "held", "-r", "--cafile", &ca];
    Tools::UnderTest.publish(&broker, &held).ok();
    let mut early = Tools::UnderTest.start_sub(&broker, &["-t", "t", "-q", "1", "--cafile", &ca]);
    early.expect_line("held");

    let refused = "new certificates of the listener on";
    broker.write("server.crt", &fs::read_to_string(next.file("server.crt")).unwrap());
    // Of both listeners, once each however long it lasts.
    expect_line(&broker, 1, refused);
    assert!(broker.log().contains("does not belong to the certificate"), "{}", broker.log());
    publish(&broker, &ca, &[]).ok();
    early.expect_line("x");
    next.install(&broker, "server");
    expect_line(&broker, 1, &format!("days left, fingerprint {}", fingerprint(&next)));
    publish(&broker, &next.ca(), &[]).ok();
    early.expect_line("x");
    assert_ne!(publish(&broker, &ca, &[]).code(), 0, "the old certificate is still shown");
    assert_eq!(broker.log().matches(refused).count(), 2, "{}", broker.log());
    assert!(!broker.log().contains("Reloading"), "{}", broker.log());
}

#[test]
fn a_new_revocation_list_counts_without_a_signal() {
    only_our_broker!("2.0.11 reads it at SIGHUP only");
    let authority = authority();
    authority.client("alice");
    authority.revoke(&[]);
    let lines = "cafile {ca}/ca.crt\nrequire_certificate true\ncrlfile {ca}/crl.pem";
    let broker = authority.broker(lines);
    publish(&broker, &authority.ca(), &authority.shown("alice")).ok();
    let before = broker.log().matches("days left").count();
    authority.revoke(&["alice"]);
    expect_line(&broker, before + 1, "days left");
    assert_ne!(publish(&broker, &authority.ca(), &authority.shown("alice")).code(), 0);
}

/// What the two sides agree on, as `openssl s_client` shows it; `None` without agreement.
fn agreed(broker: &Broker, authority: &Authority, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-brief", "-CAfile", &authority.ca()]).args(arguments);
    command.args(["-connect", &format!("127.0.0.1:{}", broker.port())]);
    let said = process::run(command, &Pattern::parse("10 [ <MQTT> 04 02 003c <s> ]").bytes());
    let text = said.out() + &said.err();
    text.lines().find_map(|line| line.strip_prefix("Ciphersuite: ").map(str::to_owned))
}

#[test]
fn ciphers_choose_by_openssls_names() {
    let authority = authority();
    // The second name is one that OpenSSL has and rustls has not.
    let broker = authority.broker(
        "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:AES128-SHA:ECDHE-ECDSA-CHACHA20-POLY1305\n\
         ciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256",
    );
    let of = |arguments: &[&str]| agreed(&broker, &authority, arguments);
    assert_eq!(of(&["-tls1_3"]).as_deref(), Some("TLS_CHACHA20_POLY1305_SHA256"));
    assert_eq!(of(&["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]), None);
    let mut both = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256";
    // The broker's order counts, not the client's.
    assert_eq!(of(&["-tls1_2", "-cipher", both]).as_deref(), Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    both = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384";
    assert_eq!(of(&["-tls1_2", "-cipher", both]).as_deref(), Some("ECDHE-ECDSA-CHACHA20-POLY1305"));
    assert_eq!(of(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]), None);
    if !mqttd_tests::place::broker_is_peer() {
        let log = broker.log();
        assert!(log.contains("ciphers that are not available are left out: AES128-SHA"), "{log}");
    }
}

#[test]
fn a_list_without_any_cipher_ends_the_start_and_names_what_there_is() {
    only_our_broker!("OpenSSL has other ciphers");
    for (line, known) in [
        ("ciphers RC4-SHA:AES128-SHA", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("ciphers_tls1.3 TLS_AES_128_CCM_SHA256", "TLS_AES_256_GCM_SHA384"),
    ] {
        let text = format!(
            "listener {{port}} 127.0.0.1\ncertfile {{dir}}/server.crt\nkeyfile {{dir}}/server.key\n\
             {line}\n"
        );
        let broker = Broker::prepared(broker_under_test(), &text);
        authority().install(&broker, "server");
        let said = broker.run_to_end(&["--test-config"]).exits(3);
        assert!(said.err().contains("no cipher of the list"), "{said}");
        assert!(said.err().contains(known), "{said}");
    }
}

#[test]
fn certificates_past_their_time_are_taken_when_dates_do_not_count() {
    only_our_broker!("disable_client_cert_date_checks came with 2.1");
    let authority = authority();
    authority.sign_for("0", "old", "/CN=old", "basicConstraints=CA:FALSE\n");
    let lines = "cafile {ca}/ca.crt\nrequire_certificate true\nuse_identity_as_username true\n";
    let strict = authority.broker(lines);
    let lax = authority.broker(&format!("{lines}disable_client_cert_date_checks true\n"));
    // The certificate is over one second after it was made.
    let refused = process::until(|| {
        (publish(&strict, &authority.ca(), &authority.shown("old")).code() != 0).then_some(())
    });
    assert!(refused.is_some(), "{}", strict.log());
    publish(&lax, &authority.ca(), &authority.shown("old")).ok();
    assert!(lax.log().contains("u'old'"), "{}", lax.log());
    let stranger = Authority::new("Other-CA");
    stranger.client("old");
    assert_ne!(publish(&lax, &authority.ca(), &stranger.shown("old")).code(), 0, "any issuer");
}

/// A client may offer what it likes; `mqtt` is agreed on.
#[test]
fn alpn_is_agreed_on_and_never_a_hindrance() {
    only_our_broker!("2.0.11 knows no ALPN on listeners");
    let authority = authority();
    let broker = authority.broker("");
    for (offered, wanted) in [("mqtt", "ALPN protocol: mqtt"), ("h2", "No ALPN negotiated")] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-alpn", offered, "-CAfile", &authority.ca()]);
        command.args(["-connect", &format!("127.0.0.1:{}", broker.port())]);
        let said = process::run(command, b"Q\n");
        assert!(said.out().contains(wanted), "{offered}: {said}");
    }
    publish(&broker, &authority.ca(), &["--tls-alpn".into(), "x-other".into()]).ok();
}
