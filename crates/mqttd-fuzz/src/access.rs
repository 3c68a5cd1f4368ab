//! Password, ACL and PSK files.

use std::sync::LazyLock;

use mqtt_auth::{AclTable, Action, PasswordFile, PskTable, ScramClient, ScramServer, Who};

/// A password file is read or refused; no user is made of nothing.
pub fn password_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok((file, _)) = PasswordFile::parse(&text) {
        assert!(!file.contains("nobody\nat all"), "a name over two lines");
        assert!(file.len() <= text.lines().count(), "more users than lines");
        let has = file.contains("ann");
        assert_eq!(file.has_same_entry(&file, "ann"), has, "an entry differs from itself");
    }
}

pub(crate) fn password_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 4] = [
        b"ann:$6$c2FsdHNhbHQ=$aGFzaA==\n",
        b"bob:$7$101$c2FsdHNhbHQ=$aGFzaGhhc2g=\n# a comment\n",
        b"eve:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n",
        b"joe:plain\n\n:empty\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// An ACL file is read or refused; the verdicts of a table are the same each time, and an empty
/// table allows nothing.
pub fn acl_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(table) = AclTable::parse(&text) else { return };
    let again = AclTable::parse(&text).expect("the same file says the same");
    for username in [None, Some("ann"), Some("a+b")] {
        let who = Who { username, client_id: "c1" };
        for topic in ["a", "a/b", "", "/", "$SYS/x", "a/b/c/d"] {
            for action in [Action::Publish, Action::Deliver] {
                let verdict = table.check(&who, action, topic);
                assert_eq!(verdict, again.check(&who, action, topic));
                assert!(!(table.is_empty() && verdict.is_allowed()), "allowed by no line");
            }
        }
    }
}

pub(crate) fn acl_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 3] = [
        b"topic read a/#\nuser ann\ntopic readwrite b/+\ntopic deny b/c\n",
        b"pattern write %c/%u/x\npattern deny x/%u\n# comment\n",
        b"user a+b\ntopic #\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// A PSK file is read or refused.
pub fn psk_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok((table, _)) = PskTable::parse(&text) {
        assert!(table.len() <= text.lines().count(), "more identities than lines");
        assert!(table.key("nobody\nat all").is_none(), "an identity over two lines");
    }
}

pub(crate) fn psk_seeds() -> Vec<Vec<u8>> {
    [&b"device-1:00ff10\n"[..], b"a:deadbeef\nb:1\n", b"x:\n:y\n"].map(<[u8]>::to_vec).to_vec()
}

/// Made once: keys cost thousands of hashes.
static SCRAM_USERS: LazyLock<PasswordFile> = LazyLock::new(|| {
    let scheme = mqtt_auth::Scheme::ScramSha256 { iterations: mqtt_auth::SCRAM_ITERATIONS_MIN };
    let hash = mqtt_auth::PasswordHash::create(scheme, b"secret", &[7; 16]).expect("good cost");
    PasswordFile::parse(&format!("ann:{hash}\n")).expect("our own file").0
});

/// Both sides of SCRAM with what a stranger sends: four messages, one a line. Nobody is let in by
/// them, for the nonces are not known to whoever wrote them.
pub fn scram(bytes: &[u8]) {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    if let Ok((server, challenge)) = ScramServer::start(&SCRAM_USERS, next(), [3; 18]) {
        assert!(std::str::from_utf8(&challenge).is_ok_and(|text| text.starts_with("r=")));
        assert!(!server.claimed_username().is_empty() || bytes.starts_with(b"n,,n=,"));
        assert!(server.finish(next()).is_err(), "let in without a password");
    }
    let (client, _) = ScramClient::start("ann", b"secret", [5; 18]).expect("a good name");
    if let Ok((proof, _)) = client.answer(next()) {
        assert!(proof.finish(next()).is_err(), "a server without the password is believed");
    }
}

pub(crate) fn scram_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 3] = [
        b"n,,n=ann,r=abc\nc=biws,r=abc,p=AAAA\nr=abc,s=c2FsdA==,i=4096\nv=AAAA",
        b"y,a=ann,n=a=2Cb=3D,r=abc\n\ne=other-error\n",
        b"p=tls-unique,,n=ann,r=x,m=ext\nc=,r=,p=\nm=x\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
