//! The client's side of TLS: whom it trusts and how much it checks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError as Invalid, DigitallySignedStruct, Error, KeyLog, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::server::{certified_key, roots};
use super::{CipherSuites, MinimumVersion, Pem, TlsError, TlsStream};
use crate::certificate::PeerCertificate;
use crate::stream::{Seat, Stream};

/// Which CAs to trust.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// Those in these files. A server that shows a certificate standing here itself is trusted too,
    /// as with OpenSSL.
    Files(&'a [Pem<'a>]),
    /// Those of the operating system.
    System,
}

/// How much of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verification {
    /// The chain and the name.
    #[default]
    Full,
    /// The chain only: any server with a certificate of the CA will do. This is Mosquitto's
    /// `--insecure`.
    InsecureAnyName,
    /// Nothing: anybody in between can read and change everything. For tests.
    InsecureNothing,
}

/// What [`ClientTls::new`] needs.
#[derive(Debug, Clone, Copy)]
pub struct ClientTlsOptions<'a> {
    /// Which CAs to trust.
    pub roots: Roots<'a>,
    /// How much is checked.
    pub verification: Verification,
    /// The client's certificate chain and its key, if the server wants one.
    pub identity: Option<(Pem<'a>, Pem<'a>)>,
    /// The lowest version to speak.
    pub minimum: MinimumVersion,
    /// Application protocols to offer, best first; empty for none.
    pub alpn: &'a [&'a [u8]],
    /// Which ciphers; `None` for all that are good.
    pub ciphers: Option<&'a CipherSuites>,
    /// Takes the secrets of each connection, so that a recording of it can be read.
    pub key_log: Option<&'a Arc<KeyLogFile>>,
}

/// A file in the format of `SSLKEYLOGFILE`, which Wireshark reads. Whoever has it can read the
/// connections.
#[derive(Debug)]
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Appends to the file, which is made for its owner's eyes if there is none.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|it| format!("{it:02x}")).collect() };
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // A log that can't be written is no reason to end a connection.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// The client's side of TLS, ready for connections. Cloning is cheap.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    /// Checks everything that can be checked before the first connection.
    ///
    /// # Errors
    /// See [`TlsError`]; the message names the file.
    pub fn new(options: ClientTlsOptions<'_>) -> Result<Self, TlsError> {
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(ciphers) = options.ciphers {
            provider.cipher_suites.clone_from(&ciphers.suites);
        }
        let provider = Arc::new(provider);
        let (roots, pinned) = match options.roots {
            _ if options.verification == Verification::InsecureNothing => {
                (RootCertStore::empty(), Vec::new())
            }
            Roots::Files(files) => roots(files)?,
            Roots::System => (system_roots()?, Vec::new()),
        };
        let verifier = Verifier {
            roots,
            pinned,
            verification: options.verification,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(options.minimum.versions())
            .map_err(TlsError::Options)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (certified, _) = certified_key(certificate, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        if let Some(key_log) = options.key_log {
            config.key_log = key_log.clone();
        }
        config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(ClientTls { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Does the handshake on a fresh connection with the server called `server_name` (a host name
    /// or an IP address, IPv6 with or without brackets); the deadline is the caller's.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] and [`TlsError::Handshake`].
    pub async fn connect(&self, stream: Stream, server_name: &str) -> Result<Stream, TlsError> {
        let bare = server_name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = ServerName::try_from(bare.unwrap_or(server_name).to_owned())
            .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        let connected = self.connector.connect(name, Seat::Here(stream)).await;
        Ok(TlsStream::into_stream(connected.map_err(TlsError::Handshake)?.into()))
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some systems carry a few certificates that no verifier reads; the others count.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reason = found.errors.first().map_or("none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots(reason));
    }
    Ok(store)
}

/// webpki's checks, and two things that people's home-made certificates need and OpenSSL allows: a
/// server certificate that is itself given as the CA, and a name that stands only in the common
/// name.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    verification: Verification,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.pinned.contains(certificate) {
            return verify_server_cert_signed_by_trust_anchor(
                parsed,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            );
        }
        let read = read(certificate)?;
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if now > read.not_after {
            return Err(Invalid::Expired.into());
        }
        if now < read.not_before {
            return Err(Invalid::NotValidYet.into());
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verification == Verification::InsecureNothing {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        self.check_chain(end_entity, &parsed, intermediates, now)?;
        if self.verification == Verification::Full {
            check_name(end_entity, &parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The name must stand in subjectAltName; the common name counts only where that is missing
/// altogether.
fn check_name(
    certificate: &CertificateDer<'_>,
    parsed: &ParsedCertificate<'_>,
    server_name: &ServerName<'_>,
) -> Result<(), Error> {
    let Err(error) = verify_server_name(parsed, server_name) else { return Ok(()) };
    let read = read(certificate)?;
    let common_name = read.common_name.as_deref().unwrap_or_default();
    let is_same = common_name.eq_ignore_ascii_case(&server_name.to_str());
    if !read.has_alternative_name && is_same { Ok(()) } else { Err(error) }
}

fn read(certificate: &CertificateDer<'_>) -> Result<PeerCertificate, Error> {
    PeerCertificate::read(certificate).map_err(|_| Invalid::BadEncoding.into())
}
