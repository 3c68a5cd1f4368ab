//! The server's side of TLS: its certificate and whom it lets in by certificate.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::TlsAcceptor;

use super::{MinimumVersion, Pem, TlsError, TlsStream};
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
    /// Application protocols to agree on, best first; empty for none.
    pub alpn: &'a [&'a [u8]],
}

/// The server's side of TLS, ready for connections. Cloning is cheap; a reload makes a new one and
/// swaps.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    certificate: Arc<PeerCertificate>,
}

impl ServerTls {
    /// Checks everything that can be checked before the first connection.
    ///
    /// # Errors
    /// See [`TlsError`]; the message names the file.
    pub fn new(options: ServerTlsOptions<'_>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certified, certificate) = certified_key(options.certificate, options.key, &provider)?;
        let verifier = client_verifier(&options, &provider)?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(options.minimum.versions())
            .map_err(TlsError::Options)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(ServerTls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate: Arc::new(certificate),
        })
    }

    /// Does the handshake on a fresh connection; the deadline is the caller's.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn accept(&self, stream: Stream) -> Result<Stream, TlsError> {
        let tls = self.acceptor.accept(Seat::Here(stream)).await.map_err(TlsError::Handshake)?;
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
    builder.build().map_err(|error| TlsError::Broken {
        file: if files.is_empty() { "client CA".to_owned() } else { files.join(", ") },
        reason: error.to_string(),
    })
}
