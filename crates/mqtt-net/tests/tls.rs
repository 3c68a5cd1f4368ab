//! TLS: who is let in, who is not and what is said about it; files that are wrong; certificates
//! people make at home.

mod support;

use mqtt_net::tls::{
    ClientCertificates, ClientTlsOptions, MinimumVersion, Roots, ServerTlsOptions, TlsError,
    Verification,
};
use mqtt_net::{ClientTls, PeerCertificate, Pem, ServerTls, Stream};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use support::{Ca, add_name, client_options, pem, server_options, tcp_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Connects and moves a word both ways; what each side says when it fails.
async fn talk(
    server: ServerTlsOptions<'_>,
    client: ClientTlsOptions<'_>,
    name: &str,
) -> Result<Option<PeerCertificate>, String> {
    let (client_stream, server_stream) = tcp_pair().await;
    let server = ServerTls::new(server).map_err(|error| error.to_string())?;
    let client = ClientTls::new(client).map_err(|error| error.to_string())?;
    let serve = async {
        let mut stream = server.accept(server_stream).await?;
        let word = stream.read_u8().await.map_err(TlsError::Handshake)?;
        stream.write_all(&[word + 1]).await.map_err(TlsError::Handshake)?;
        stream.flush().await.map_err(TlsError::Handshake)?;
        Ok::<Stream, TlsError>(stream)
    };
    let ask = async {
        let mut stream = client.connect(client_stream, name).await?;
        let exchange = async {
            stream.write_all(&[41]).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        exchange.await.map_err(TlsError::Handshake)
    };
    match tokio::join!(serve, ask) {
        (Ok(stream), Ok(42)) => Ok(stream.peer_certificate().unwrap()),
        (server, client) => Err(format!(
            "server: {}; client: {}",
            server.err().map_or("fine".to_owned(), |error| error.to_string()),
            client.err().map_or("fine".to_owned(), |error| error.to_string()),
        )),
    }
}

#[tokio::test]
async fn both_versions_work_and_the_minimum_holds() {
    let ca = Ca::new("CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let files = [pem("ca", &ca.pem)];
    let server = server_options(&certificate, &key);
    let client = client_options(Roots::Files(&files));
    assert_eq!(talk(server, client, "localhost").await, Ok(None));
    let only_13 = ServerTlsOptions { minimum: MinimumVersion::Tls13, ..server };
    assert_eq!(talk(only_13, client, "localhost").await, Ok(None));
    let only_13 = ClientTlsOptions { minimum: MinimumVersion::Tls13, ..client };
    assert_eq!(talk(server, only_13, "localhost").await, Ok(None));
    let alpn: &[&[u8]] = &[b"mqtt"];
    let agreed =
        talk(ServerTlsOptions { alpn, ..server }, ClientTlsOptions { alpn, ..client }, "localhost");
    assert_eq!(agreed.await, Ok(None));
    // Who offers something else is let in without an agreement, as by a server that knows no ALPN.
    let other: &[&[u8]] = &[b"h2"];
    let none = talk(
        ServerTlsOptions { alpn, ..server },
        ClientTlsOptions { alpn: other, ..client },
        "localhost",
    );
    assert_eq!(none.await, Ok(None));
}

#[tokio::test]
async fn an_old_client_certificate_is_taken_when_dates_do_not_count() {
    let ca = Ca::new("CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let (old, old_key) = ca.issue("pump", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let (forged, forged_key) = Ca::new("other").issue("pump", |_| {});
    let authorities = [pem("ca", &ca.pem)];
    let strict = ServerTlsOptions {
        client_ca: &authorities,
        client_certificates: ClientCertificates::Required,
        ..server_options(&certificate, &key)
    };
    let lax = ServerTlsOptions { ignores_dates: true, ..strict };
    let client = |certificate, key| ClientTlsOptions {
        identity: Some((pem("c", certificate), pem("k", key))),
        ..client_options(Roots::Files(&authorities))
    };
    assert!(talk(strict, client(&old, &old_key), "localhost").await.is_err());
    let shown = talk(lax, client(&old, &old_key), "localhost").await.unwrap();
    assert!(shown.is_some());
    assert!(talk(lax, client(&forged, &forged_key), "localhost").await.is_err());
}

#[tokio::test]
async fn a_stranger_is_refused_with_a_cure() {
    let ca = Ca::new("CA");
    let other = Ca::new("other CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let (old, old_key) = ca.issue("localhost", |params| {
        add_name(params, "localhost");
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let server = server_options(&certificate, &key);
    let right = [pem("ca", &ca.pem)];
    let wrong = [pem("other", &other.pem)];
    let error = talk(server, client_options(Roots::Files(&wrong)), "localhost").await.unwrap_err();
    assert!(error.contains("give the CA that signed"), "{error}");
    let client = client_options(Roots::Files(&right));
    let error = talk(server, client, "elsewhere").await.unwrap_err();
    assert!(error.contains("a name that stands in the certificate"), "{error}");
    let error = talk(server_options(&old, &old_key), client, "localhost").await.unwrap_err();
    assert!(error.contains("renew the certificate"), "{error}");

    let any_name = ClientTlsOptions { verification: Verification::InsecureAnyName, ..client };
    assert_eq!(talk(server, any_name, "elsewhere").await, Ok(None));
    let any_name = ClientTlsOptions { roots: Roots::Files(&wrong), ..any_name };
    assert!(talk(server, any_name, "localhost").await.is_err());
    let nothing = ClientTlsOptions { verification: Verification::InsecureNothing, ..any_name };
    assert_eq!(talk(server, nothing, "elsewhere").await, Ok(None));
    assert!(matches!(
        ClientTls::new(nothing).unwrap().connect(tcp_pair().await.0, "a b").await,
        Err(TlsError::ServerName(_))
    ));
}

#[tokio::test]
async fn certificates_made_at_home_work() {
    let ca = Ca::new("CA");
    let files = [pem("ca", &ca.pem)];
    let client = client_options(Roots::Files(&files));
    // The name stands only in the common name, as in the recipe of mosquitto-tls(7).
    let (certificate, key) = ca.issue("broker.local", |_| {});
    let server = server_options(&certificate, &key);
    assert_eq!(talk(server, client, "broker.local").await, Ok(None));
    assert!(talk(server, client, "other.local").await.is_err());
    // With an alternative name the common name counts no more.
    let (certificate, key) = ca.issue("broker.local", |params| add_name(params, "else.local"));
    let server = server_options(&certificate, &key);
    assert!(talk(server, client, "broker.local").await.is_err());
    assert_eq!(talk(server, client, "else.local").await, Ok(None));

    // A self-signed certificate that is its own CA, as `openssl req -x509` makes it.
    let own = Ca::new("broker.local");
    let key = own.issuer.key().serialize_pem();
    let files = [pem("own", &own.pem)];
    let pinned = client_options(Roots::Files(&files));
    let server = server_options(&own.pem, &key);
    assert_eq!(talk(server, pinned, "broker.local").await, Ok(None));
    assert!(talk(server, pinned, "other.local").await.is_err());
    assert!(talk(server, client, "broker.local").await.is_err());
}

/// `openssl x509 -req` of OpenSSL 3.0 without an extension file makes version 1. We show such a
/// certificate (clients with OpenSSL take it), and our own client says why it does not.
#[tokio::test]
async fn a_certificate_of_version_1_is_shown() {
    let certificate = include_str!("certificates/version-1.crt");
    let server = server_options(certificate, include_str!("certificates/version-1.key"));
    assert_eq!(ServerTls::new(server).unwrap().certificate().version, 1);
    let files = [pem("ca", include_str!("certificates/version-1-ca.crt"))];
    let client = client_options(Roots::Files(&files));
    let error = talk(server, client, "localhost").await.unwrap_err();
    assert!(error.contains("X.509 version 1; issue it again with extensions"), "{error}");
}

#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let ca = Ca::new("CA");
    let other = Ca::new("other CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let (pump, pump_key) = ca.issue("pump", |_| {});
    let (stranger, stranger_key) = other.issue("stranger", |_| {});
    let files = [pem("ca", &ca.pem)];
    let required = ServerTlsOptions {
        client_ca: &files,
        client_certificates: ClientCertificates::Required,
        ..server_options(&certificate, &key)
    };
    let optional =
        ServerTlsOptions { client_certificates: ClientCertificates::Optional, ..required };
    let anonymous = client_options(Roots::Files(&files));
    let as_pump = ClientTlsOptions {
        identity: Some((pem("pump.crt", &pump), pem("pump.key", &pump_key))),
        ..anonymous
    };
    let as_stranger = ClientTlsOptions {
        identity: Some((pem("s.crt", &stranger), pem("s.key", &stranger_key))),
        ..anonymous
    };
    for server in [required, optional] {
        let seen = talk(server, as_pump, "localhost").await.unwrap().unwrap();
        assert_eq!(seen.common_name.as_deref(), Some("pump"));
        assert_eq!(seen.subject, "CN=pump");
        assert!(talk(server, as_stranger, "localhost").await.is_err());
    }
    assert_eq!(talk(optional, anonymous, "localhost").await, Ok(None));
    let error = talk(required, anonymous, "localhost").await.unwrap_err();
    assert!(error.contains("the client showed no certificate"), "{error}");

    let without_ca = ServerTlsOptions { client_ca: &[], ..required };
    assert!(matches!(ServerTls::new(without_ca), Err(TlsError::NoClientCa)));
}

#[tokio::test]
async fn a_revoked_client_is_refused() {
    let ca = Ca::new("CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let numbered = |name: &str, number: u64| {
        ca.issue(name, |params: &mut CertificateParams| {
            params.serial_number = Some(SerialNumber::from(number));
        })
    };
    let (good, good_key) = numbered("good", 7);
    let (bad, bad_key) = numbered("bad", 8);
    let list = |until: i32| {
        CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(8),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&ca.issuer)
        .unwrap()
        .pem()
        .unwrap()
    };
    let files = [pem("ca", &ca.pem)];
    let (fresh, stale) = (list(2100), list(2021));
    let fresh = [pem("crl", &fresh)];
    let stale = [pem("crl", &stale)];
    let server = ServerTlsOptions {
        client_ca: &files,
        client_certificates: ClientCertificates::Required,
        revocations: &fresh,
        ..server_options(&certificate, &key)
    };
    let anonymous = client_options(Roots::Files(&files));
    let with = |certificate, key| ClientTlsOptions {
        identity: Some((pem("c", certificate), pem("k", key))),
        ..anonymous
    };
    let (good, bad) = ((&good, &good_key), (&bad, &bad_key));
    assert!(talk(server, with(good.0, good.1), "localhost").await.unwrap().is_some());
    let error = talk(server, with(bad.0, bad.1), "localhost").await.unwrap_err();
    assert!(error.contains("Revoked"), "{error}");
    let server = ServerTlsOptions { revocations: &stale, ..server };
    let error = talk(server, with(good.0, good.1), "localhost").await.unwrap_err();
    assert!(error.contains("fetch a new CRL"), "{error}");
}

#[test]
fn wrong_files_are_named() {
    let ca = Ca::new("CA");
    let (certificate, key) = ca.issue("localhost", |_| {});
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let good = server_options(&certificate, &key);
    let refused = |options| ServerTls::new(options).unwrap_err().to_string();
    let with_key = |contents| ServerTlsOptions { key: pem("x.key", contents), ..good };
    let with_certificate =
        |contents| ServerTlsOptions { certificate: pem("x.crt", contents), ..good };

    assert_eq!(refused(with_key("")), "x.key: holds no private key in PEM form");
    assert_eq!(refused(with_certificate(&key)), "x.crt: holds no certificate in PEM form");
    assert_eq!(
        refused(with_key(&other_key)),
        "x.key: this private key does not belong to the certificate server.crt"
    );
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert!(refused(with_key(&encrypted)).contains("openssl pkey -in x.key"));
    let damaged = key.replace("MI", "!!");
    assert!(refused(with_key(&damaged)).starts_with("x.key: "));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(with_certificate(nonsense)).contains("x.crt: this is not a readable"));
    let files = [pem("x.ca", nonsense)];
    let options = client_options(Roots::Files(&files));
    assert!(ClientTls::new(options).unwrap_err().to_string().contains("x.ca: "));
    let files = [pem("ca", &ca.pem)];
    let lists = [Pem { name: "x.crl", contents: b"nothing" }];
    let options = ServerTlsOptions {
        client_ca: &files,
        client_certificates: ClientCertificates::Required,
        revocations: &lists,
        ..good
    };
    assert_eq!(refused(options), "x.crl: holds no certificate revocation list in PEM form");
    assert_eq!(ServerTls::new(good).unwrap().certificate().subject, "CN=localhost");
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let ca = Ca::new("CA");
    let (certificate, key) = ca.issue("localhost", |_| {});
    let server = ServerTls::new(server_options(&certificate, &key)).unwrap();
    let (mut client, stream) = tcp_pair().await;
    client.write_all(b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab").await.unwrap();
    let error = server.accept(stream).await.unwrap_err().to_string();
    assert!(error.contains("does the other side speak TLS"), "{error}");
}
