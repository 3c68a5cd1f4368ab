//! Rows of TLS listeners.

use crate::config::TlsVersion;
use crate::directive::{
    Directive,
    Meaning::Listener,
    Status, Tail,
    Value::{Flag, Ignored, Parsed, Path, Text},
};
use crate::raw::ListenerDraft;

const NO_ENGINE: Status = Status::Refused("give the key as a PEM file: keyfile PATH");

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "certfile",
        Listener(Path(|draft, path| draft.tls.certfile = path)),
        "",
        "certfile /etc/mqttd/certs/server.crt",
        "The certificate of the broker, followed by those that lead to its authority. This and the \
         other files of the listener are read again within ten seconds of a change, and at SIGHUP; \
         while they can't be used, the old ones stay.",
    ),
    Directive::new(
        "keyfile",
        Listener(Path(|draft, path| draft.tls.keyfile = path)),
        "",
        "keyfile /etc/mqttd/certs/server.key",
        "The private key of the certificate.",
    ),
    Directive::new(
        "cafile",
        Listener(Path(|draft, path| draft.tls.cafile = Some(path))),
        "",
        "cafile /etc/mqttd/certs/ca.crt",
        "Authorities whose client certificates are accepted.",
    ),
    Directive::new(
        "capath",
        Listener(Path(|draft, path| draft.tls.capath = Some(path))),
        "",
        "capath /etc/ssl/certs",
        "A folder of authorities whose client certificates are accepted.",
    ),
    Directive::new(
        "crlfile",
        Listener(Path(|draft, path| draft.tls.crlfile = Some(path))),
        "",
        "crlfile /etc/mqttd/certs/revoked.crl",
        "Client certificates that were revoked.",
    ),
    Directive::new(
        "require_certificate",
        Listener(Flag(|draft, on| draft.tls.require_certificate = on)),
        "false",
        "require_certificate true",
        "Only clients with a valid certificate may connect.",
    ),
    Directive::new(
        "use_identity_as_username",
        Listener(Flag(|draft, on| draft.listener.identity.use_identity_as_username = on)),
        "false",
        "use_identity_as_username true",
        "The common name of the client's certificate, or the identity of its pre-shared key, is \
         its user name; no password is asked.",
    ),
    Directive::new(
        "use_subject_as_username",
        Listener(Flag(|draft, on| draft.listener.identity.use_subject_as_username = on)),
        "false",
        "use_subject_as_username true",
        "The whole subject of the client's certificate is its user name.",
    ),
    Directive::new(
        "tls_version",
        Listener(Parsed(VERSION, Tail::Comment, |draft: &mut ListenerDraft, text| {
            draft.tls.version_min = parse_version(text)?;
            Ok(())
        })),
        "tlsv1.2",
        "tls_version tlsv1.3",
        "The lowest version of TLS that is spoken.",
    ),
    Directive::new(
        "ciphers",
        Listener(Text(|draft, list| draft.tls.ciphers = Some(list))),
        "",
        "ciphers ECDHE-RSA-AES256-GCM-SHA384",
        "Ciphers up to TLS 1.2, by OpenSSL's names and in its grammar, in the order of preference. \
         There are ECDHE with AES-GCM and with CHACHA20-POLY1305; others are left out with a \
         warning. A list that leaves none is an error.",
    ),
    Directive::new(
        "ciphers_tls1.3",
        Listener(Text(|draft, list| draft.tls.ciphers_tls13 = Some(list))),
        "",
        "ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
        "Ciphers of TLS 1.3, as OpenSSL names them, in the order of preference: \
         TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256.",
    ),
    Directive::new(
        "disable_client_cert_date_checks",
        Listener(Flag(|draft, on| draft.tls.ignores_certificate_dates = on)),
        "false",
        "disable_client_cert_date_checks true",
        "Accepts client certificates whose time is over or has not come.",
    ),
    Directive::new(
        "psk_hint",
        Listener(Text(|draft, hint| draft.tls.psk_hint = Some(hint))),
        "",
        "psk_hint house",
        "Turns pre-shared keys on for this listener, which then has no certificate; the keys are \
         in `psk_file`. The Debian packages can do it; a build of one's own wants \
         `--features mqttd/psk` and OpenSSL. The hint itself is not sent.",
    ),
    Directive::new(
        "tls_engine",
        Listener(Ignored),
        "",
        "tls_engine pkcs11",
        "In Mosquitto, an OpenSSL engine that holds the key.",
    )
    .status(NO_ENGINE),
    Directive::new(
        "tls_engine_kpass_sha1",
        Listener(Ignored),
        "",
        "tls_engine_kpass_sha1 0000",
        "In Mosquitto, the password of the key in an OpenSSL engine.",
    )
    .status(NO_ENGINE),
    Directive::new(
        "tls_keyform",
        Listener(Parsed(KEYFORM, Tail::Comment, |_, text| match text {
            "pem" => Ok(()),
            _ => Err(KEYFORM.to_owned()),
        })),
        "pem",
        "tls_keyform pem",
        "The form of the key; engines are not supported.",
    ),
    Directive::new(
        "dhparamfile",
        Listener(Ignored),
        "",
        "dhparamfile /etc/mqttd/certs/dh.pem",
        "In older Mosquitto, parameters of finite-field key exchange.",
    )
    .status(Status::Unnecessary("key exchange uses elliptic curves")),
];

const VERSION: &str = "tlsv1.2 or tlsv1.3 (older versions are not spoken)";
const KEYFORM: &str = "pem";

/// The lowest version of TLS.
pub(super) fn parse_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "tlsv1.2" => Ok(TlsVersion::V12),
        "tlsv1.3" => Ok(TlsVersion::V13),
        _ => Err(VERSION.to_owned()),
    }
}
