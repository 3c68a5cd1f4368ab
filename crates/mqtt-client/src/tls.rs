//! The client's TLS settings, as file contents; [`Tls::system`] needs none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt_net::Stream;
use mqtt_net::tls::{
    CipherSuites, ClientTls, ClientTlsOptions, KeyLogFile, MinimumVersion, Pem, Roots, TlsError,
    Verification,
};
#[cfg(feature = "psk")]
use mqtt_net::tls::{ClientPsk, ClientPskOptions};

/// A ready TLS configuration. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tls(Engine);

#[derive(Clone, Debug)]
enum Engine {
    Certificates(ClientTls),
    #[cfg(feature = "psk")]
    PreSharedKey(ClientPsk),
}

/// What [`Tls::with_pre_shared_key`] is made from.
#[cfg(feature = "psk")]
#[derive(Clone, Debug, Default)]
pub struct PskSettings {
    /// The name of the key, as the Server knows it.
    pub identity: String,
    /// The key, of 1 to 256 bytes.
    pub key: Vec<u8>,
    /// The lowest version to speak: 1.2 by default.
    pub minimum: MinimumVersion,
    /// Application protocols to offer (ALPN).
    pub alpn: Vec<String>,
    /// Ciphers up to TLS 1.2, as an OpenSSL list; good ones unless given.
    pub ciphers: Option<String>,
}

/// What [`Tls::new`] is made from.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// CA certificates in PEM with the names of their files; empty for those of the operating
    /// system.
    pub authorities: Vec<(String, Vec<u8>)>,
    /// The client's certificate chain and its key in PEM, with the names of their files.
    pub identity: Option<[(String, Vec<u8>); 2]>,
    /// How much of the Server's certificate is checked.
    pub verification: Verification,
    /// The lowest version to speak: 1.2 by default.
    pub minimum: MinimumVersion,
    /// Application protocols to offer (ALPN).
    pub alpn: Vec<String>,
    /// Ciphers up to TLS 1.2, as an OpenSSL list; all that are good unless given.
    pub ciphers: Option<String>,
    /// Append the secrets of each connection to this file, for a tool like Wireshark.
    pub key_log: Option<PathBuf>,
}

impl Tls {
    /// The operating system's CAs, everything checked.
    ///
    /// # Errors
    /// The system has no CA certificates.
    pub fn system() -> Result<Self, TlsError> {
        Self::new(&TlsSettings::default())
    }

    /// Trusts the CAs in one PEM file.
    ///
    /// # Errors
    /// The file can't be read or holds no certificate.
    pub fn with_ca_file(path: &Path) -> Result<Self, TlsFileError> {
        let contents = fs::read(path)
            .map_err(|source| TlsFileError::Read { path: path.display().to_string(), source })?;
        let authorities = vec![(path.display().to_string(), contents)];
        Ok(Self::new(&TlsSettings { authorities, ..TlsSettings::default() })?)
    }

    /// Checks everything that can be checked before the first connection.
    ///
    /// # Errors
    /// A certificate or key that can't be used; the message names the file.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let authorities: Vec<Pem<'_>> = settings.authorities.iter().map(as_pem).collect();
        let alpn: Vec<&[u8]> = settings.alpn.iter().map(String::as_bytes).collect();
        let roots = match authorities.as_slice() {
            [] => Roots::System,
            files => Roots::Files(files),
        };
        let identity = settings.identity.as_ref();
        let ciphers = match &settings.ciphers {
            None => None,
            list => Some(CipherSuites::parse(list.as_deref(), None)?),
        };
        let key_log = match &settings.key_log {
            None => None,
            Some(path) => Some(Arc::new(KeyLogFile::open(path).map_err(TlsError::KeyLog)?)),
        };
        let client = ClientTls::new(ClientTlsOptions {
            roots,
            verification: settings.verification,
            identity: identity.map(|[chain, key]| (as_pem(chain), as_pem(key))),
            minimum: settings.minimum,
            alpn: &alpn,
            ciphers: ciphers.as_ref(),
            key_log: key_log.as_ref(),
        })?;
        Ok(Self(Engine::Certificates(client)))
    }

    /// A key that the Server has too takes the place of certificates. Needs the feature `psk`,
    /// which brings OpenSSL.
    ///
    /// # Errors
    /// OpenSSL refuses the settings.
    #[cfg(feature = "psk")]
    pub fn with_pre_shared_key(settings: &PskSettings) -> Result<Self, TlsError> {
        let alpn: Vec<&[u8]> = settings.alpn.iter().map(String::as_bytes).collect();
        let client = ClientPsk::new(ClientPskOptions {
            minimum: settings.minimum,
            ciphers: settings.ciphers.as_deref(),
            alpn: &alpn,
            identity: &settings.identity,
            key: &settings.key,
        })?;
        Ok(Self(Engine::PreSharedKey(client)))
    }

    /// The handshake with the Server called `host`.
    pub(crate) async fn connect(&self, stream: Stream, host: &str) -> Result<Stream, TlsError> {
        match &self.0 {
            Engine::Certificates(client) => client.connect(stream, host).await,
            #[cfg(feature = "psk")]
            Engine::PreSharedKey(client) => client.connect(stream).await,
        }
    }
}

fn as_pem((name, contents): &(String, Vec<u8>)) -> Pem<'_> {
    Pem { name, contents }
}

/// Why [`Tls::with_ca_file`] failed.
#[derive(Debug)]
pub enum TlsFileError {
    /// The file can't be read.
    Read {
        /// Its name.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// What stands in it can't be used.
    Tls(TlsError),
}

impl From<TlsError> for TlsFileError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl std::fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {path}: {source}"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsFileError {}
