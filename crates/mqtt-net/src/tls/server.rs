//! The server's side of TLS: its certificate and whom it lets in by certificate.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::LazyConfigAcceptor;

use super::{CipherSuites, MinimumVersion, Pem, TlsError, TlsStream};
use crate::certificate::PeerCertificate;
use crate::stream::{Seat, Stream};

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    NotAsked,
    /// They may show one; one that does not verify ends the connection.
    Optional,
    /// They must show one (`require_certificate true`).
    Required,
}

/// What [`ServerTls::new`] needs.
#[derive(Debug, Clone, Copy)]
pub struct ServerTlsOptions<'a> {
    /// The server's certificate, followed by the intermediate ones.
    pub certificate: Pem<'a>,
    /// Its private key (PKCS#8, PKCS#1 or SEC1), without a passphrase.
    pub key: Pem<'a>,
    /// The CAs that sign client certificates.
    pub client_ca: &'a [Pem<'a>],
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
    /// Revocation lists of the CAs, checked for the client's own certificate. With any list given,
    /// a client whose CA has none, or an expired one, is refused.
    pub revocations: &'a [Pem<'a>],
    /// The lowest version to speak.
    pub minimum: MinimumVersion,
    /// Which ciphers; `None` for all that are good.
    pub ciphers: Option<&'a CipherSuites>,
    /// Client certificates are taken before and after their time.
    pub ignores_dates: bool,
    /// Application protocols to agree on, best first. A client that offers none of them is let in
    /// all the same, without an agreement.
    pub alpn: &'a [&'a [u8]],
}

/// The server's side of TLS, ready for connections. Cloning is cheap; a reload makes a new one and
/// swaps.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// The same with application protocols, for clients that offer one of them.
    with_alpn: Arc<ServerConfig>,
    certificate: Arc<PeerCertificate>,
}

impl ServerTls {
    /// Checks everything that can be checked before the first connection.
    ///
    /// # Errors
    /// See [`TlsError`]; the message names the file.
    pub fn new(options: ServerTlsOptions<'_>) -> Result<Self, TlsError> {
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(ciphers) = options.ciphers {
            provider.cipher_suites.clone_from(&ciphers.suites);
        }
        let provider = Arc::new(provider);
        let (certified, certificate) = certified_key(options.certificate, options.key, &provider)?;
        let verifier = client_verifier(&options, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(options.minimum.versions())
            .map_err(TlsError::Options)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // As OpenSSL in Mosquitto: whoever writes a list writes it in the order of preference.
        config.ignore_client_order = options.ciphers.is_some();
        let mut with_alpn = config.clone();
        with_alpn.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(ServerTls {
            config: Arc::new(config),
            with_alpn: Arc::new(with_alpn),
            certificate: Arc::new(certificate),
        })
    }

    /// Does the handshake on a fresh connection; the deadline is the caller's.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn accept(&self, stream: Stream) -> Result<Stream, TlsError> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), Seat::Here(stream));
        let hello = hello.await.map_err(TlsError::Handshake)?;
        let ours = &self.with_alpn.alpn_protocols;
        let has_ours = hello.client_hello().alpn().is_some_and(|mut offered| {
            offered.any(|offer| ours.iter().any(|name| name.as_slice() == offer))
        });
        let config = if has_ours { &self.with_alpn } else { &self.config };
        let tls = hello.into_stream(Arc::clone(config)).await.map_err(TlsError::Handshake)?;
        Ok(TlsStream::into_stream(tls.into()))
    }

    /// The server's own certificate, for logs.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// Whole days until the server's certificate ends, negative when it has ended.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        self.certificate.days_left(now)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("certificate", &self.certificate.subject).finish()
    }
}

/// A chain with its key, checked to belong together.
///
/// rustls would check too, but refuses certificates of X.509 version 1, which OpenSSL's recipe for
/// Mosquitto makes and clients with OpenSSL accept.
pub(super) fn certified_key(
    certificate: Pem<'_>,
    key: Pem<'_>,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, PeerCertificate), TlsError> {
    let chain = certificate.certificates()?;
    let own = chain.first().map(PeerCertificate::read);
    let own = own
        .and_then(Result::ok)
        .ok_or_else(|| certificate.broken("this is not a readable X.509 certificate".to_owned()))?;
    let signing = provider
        .key_provider
        .load_private_key(key.key()?)
        .map_err(|error| key.broken(format!("this private key cannot be used: {error}")))?;
    if signing.public_key().is_some_and(|public| *public != *own.public_key) {
        return Err(TlsError::KeyMismatch {
            certificate: certificate.name.to_owned(),
            key: key.name.to_owned(),
        });
    }
    Ok((CertifiedKey::new(chain, signing), own))
}

/// The CAs of these files; also as they stand there, for those who trust a certificate itself.
pub(super) fn roots(
    files: &[Pem<'_>],
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut store = RootCertStore::empty();
    let mut all = Vec::new();
    for file in files {
        for certificate in file.certificates()? {
            store
                .add(certificate.clone())
                .map_err(|error| file.broken(format!("a CA certificate is broken: {error}")))?;
            all.push(certificate);
        }
    }
    Ok((store, all))
}

fn client_verifier(
    options: &ServerTlsOptions<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if options.client_certificates == ClientCertificates::NotAsked {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let (store, _) = roots(options.client_ca)?;
    if store.is_empty() {
        return Err(TlsError::NoClientCa);
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone());
    if options.client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let mut files = Vec::new();
    if !options.revocations.is_empty() {
        let mut lists = Vec::new();
        for file in options.revocations {
            lists.extend(file.revocations()?);
            files.push(file.name);
        }
        // Like OpenSSL with X509_V_FLAG_CRL_CHECK, which is what Mosquitto sets.
        builder = builder
            .with_crls(lists)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let verifier = builder.build().map_err(|error| TlsError::Broken {
        file: if files.is_empty() { "client CA".to_owned() } else { files.join(", ") },
        reason: error.to_string(),
    })?;
    Ok(if options.ignores_dates { Arc::new(Dateless(verifier)) } else { verifier })
}

/// Takes client certificates at any time: asks whether they were good when they began to be valid.
#[derive(Debug)]
struct Dateless(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Dateless {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let begin = PeerCertificate::read(end_entity).ok().map(|read| read.not_before);
        let begin = begin.and_then(|begin| begin.duration_since(UNIX_EPOCH).ok());
        let then = begin.map_or(now, UnixTime::since_unix_epoch);
        self.0.verify_client_cert(end_entity, intermediates, then)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }
}
