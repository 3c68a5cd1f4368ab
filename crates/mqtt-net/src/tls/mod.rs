//! TLS over any stream, with rustls: [`ServerTls`], [`ClientTls`] and the stream they make.
//!
//! Files are read by the caller; contents come in as [`Pem`] with the name to put into messages.

mod ciphers;
mod client;
mod pem;
#[cfg(feature = "psk")]
mod psk;
mod server;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{CertificateError as Invalid, Error as Rustls, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::certificate::{CertificateError, PeerCertificate};
use crate::stream::{Seat, Stream};

pub use self::ciphers::CipherSuites;
pub use self::client::{ClientTls, ClientTlsOptions, KeyLogFile, Roots, Verification};
pub use self::pem::Pem;
#[cfg(feature = "psk")]
pub use self::psk::{ClientPsk, ClientPskOptions, PskKeys, ServerPsk, ServerPskOptions};
pub use self::server::{ClientCertificates, ServerTls, ServerTlsOptions};

/// The lowest version of TLS to speak; the highest is always 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinimumVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinimumVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        use rustls::version::{TLS12, TLS13};
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            MinimumVersion::Tls12 => &BOTH,
            MinimumVersion::Tls13 => &BOTH[..1],
        }
    }
}

/// TLS over another stream.
///
/// A connection that the other side cuts without TLS's goodbye reads as ended, like a plain one:
/// MQTT frames its own packets, so nothing can be cut off unseen.
#[derive(Debug)]
pub struct TlsStream(Engine);

/// Who encrypts.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Engine {
    Rustls(tokio_rustls::TlsStream<Seat>),
    #[cfg(feature = "psk")]
    OpenSsl(tokio_openssl::SslStream<Seat>),
}

/// Does the same with either.
macro_rules! with_engine {
    ($engine:expr, $stream:ident => $what:expr) => {
        match $engine {
            Engine::Rustls($stream) => $what,
            #[cfg(feature = "psk")]
            Engine::OpenSsl($stream) => $what,
        }
    };
}

impl TlsStream {
    pub(crate) fn seat(&mut self) -> &mut Seat {
        match &mut self.0 {
            Engine::Rustls(stream) => stream.get_mut().0,
            #[cfg(feature = "psk")]
            Engine::OpenSsl(stream) => stream.get_mut(),
        }
    }

    /// The stream that carries the records.
    pub(crate) fn below(&self) -> io::Result<&Stream> {
        match &self.0 {
            Engine::Rustls(stream) => stream.get_ref().0.stream(),
            #[cfg(feature = "psk")]
            Engine::OpenSsl(stream) => stream.get_ref().stream(),
        }
    }

    pub(crate) fn peer_certificate(&self) -> Result<Option<PeerCertificate>, CertificateError> {
        let chain = match &self.0 {
            Engine::Rustls(stream) => stream.get_ref().1.peer_certificates(),
            // Pre-shared keys stand in the place of certificates.
            #[cfg(feature = "psk")]
            Engine::OpenSsl(_) => None,
        };
        chain.unwrap_or_default().first().map(PeerCertificate::read).transpose()
    }

    pub(crate) fn summary(&self) -> Option<String> {
        match &self.0 {
            Engine::Rustls(stream) => {
                let state = stream.get_ref().1;
                let version = state.protocol_version()?;
                let suite = state.negotiated_cipher_suite()?;
                Some(format!("{version:?} {:?}", suite.suite()))
            }
            #[cfg(feature = "psk")]
            Engine::OpenSsl(stream) => {
                let cipher = stream.ssl().current_cipher()?;
                Some(format!("{} {}", stream.ssl().version_str(), cipher.name()))
            }
        }
    }

    fn into_stream(tls: tokio_rustls::TlsStream<Seat>) -> Stream {
        Stream::Tls(Box::new(TlsStream(Engine::Rustls(tls))))
    }

    #[cfg(feature = "psk")]
    fn of_openssl(tls: tokio_openssl::SslStream<Seat>) -> Stream {
        Stream::Tls(Box::new(TlsStream(Engine::OpenSsl(tls))))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = with_engine!(&mut self.get_mut().0, it => Pin::new(it).poll_read(cx, buffer));
        match read {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_engine!(&mut self.get_mut().0, it => Pin::new(it).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_engine!(&mut self.get_mut().0, it => Pin::new(it).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        with_engine!(&self.0, it => it.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_engine!(&mut self.get_mut().0, it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_engine!(&mut self.get_mut().0, it => Pin::new(it).poll_shutdown(cx))
    }
}

/// What is wrong with TLS: its files, its options or a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file holds nothing of the kind that is needed.
    Empty {
        /// Name of the file.
        file: String,
        /// What is missing, for example `certificate`.
        wanted: &'static str,
    },
    /// The file is not PEM, or what it holds is broken.
    Broken {
        /// Name of the file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The private key is protected by a passphrase.
    EncryptedKey {
        /// Name of the file.
        file: String,
    },
    /// The private key belongs to another certificate.
    KeyMismatch {
        /// Name of the certificate's file.
        certificate: String,
        /// Name of the key's file.
        key: String,
    },
    /// Client certificates are asked for and no CA is given.
    NoClientCa,
    /// The operating system has no readable CA certificates.
    NoSystemRoots(String),
    /// Neither a host name nor an IP address.
    ServerName(String),
    /// A list of ciphers names none that there is.
    Ciphers {
        /// The list.
        list: String,
        /// What there is.
        known: String,
    },
    /// OpenSSL refuses the options of TLS with pre-shared keys.
    OpenSsl(String),
    /// rustls refuses the options.
    Options(Rustls),
    /// The file for the secrets can't be opened.
    KeyLog(io::Error),
    /// The handshake failed.
    Handshake(io::Error),
}

impl TlsError {
    /// What rustls says about a failed handshake, if it is about TLS and not about the connection.
    pub fn rustls_error(&self) -> Option<&Rustls> {
        match self {
            TlsError::Options(error) => Some(error),
            TlsError::Handshake(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Empty { file, wanted } => write!(f, "{file}: holds no {wanted} in PEM form"),
            TlsError::Broken { file, reason } => write!(f, "{file}: {reason}"),
            TlsError::EncryptedKey { file } => write!(
                f,
                "{file}: the private key has a passphrase; remove it with \
                 `openssl pkey -in {file} -out plain.key`"
            ),
            TlsError::KeyMismatch { certificate, key } => {
                write!(
                    f,
                    "{key}: this private key does not belong to the certificate {certificate}"
                )
            }
            TlsError::NoClientCa => f.write_str(
                "client certificates are asked for, but no CA to check them with (set cafile)",
            ),
            TlsError::NoSystemRoots(reason) => write!(
                f,
                "the system has no CA certificates ({reason}); \
                 install ca-certificates or name a CA file"
            ),
            TlsError::ServerName(name) => {
                write!(f, "`{name}` is neither a host name nor an IP address")
            }
            TlsError::Ciphers { list, known } => {
                write!(f, "no cipher of the list {list} is available; there are {known}")
            }
            TlsError::OpenSsl(error) => write!(f, "TLS with pre-shared keys: {error}"),
            TlsError::Options(error) => write!(f, "TLS options: {error}"),
            TlsError::KeyLog(error) => write!(f, "the file for the secrets: {error}"),
            TlsError::Handshake(error) => {
                write!(f, "TLS handshake failed: {error}")?;
                match self.rustls_error().and_then(cure) {
                    Some(cure) => write!(f, " ({cure})"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Options(error) => Some(error),
            TlsError::Handshake(error) => Some(error),
            _ => None,
        }
    }
}

/// What to do about an error of rustls that people meet often.
fn cure(error: &Rustls) -> Option<&'static str> {
    match error {
        Rustls::InvalidCertificate(invalid) => match invalid {
            Invalid::UnknownIssuer => Some("give the CA that signed the certificate"),
            Invalid::Expired | Invalid::ExpiredContext { .. } => {
                Some("renew the certificate, or set the clock right")
            }
            Invalid::NotValidYet | Invalid::NotValidYetContext { .. } => {
                Some("is the clock of this machine right?")
            }
            Invalid::NotValidForName | Invalid::NotValidForNameContext { .. } => {
                Some("connect with a name that stands in the certificate")
            }
            Invalid::UnknownRevocationStatus => Some("no CRL of this certificate's CA is given"),
            Invalid::ExpiredRevocationList | Invalid::ExpiredRevocationListContext { .. } => {
                Some("fetch a new CRL")
            }
            Invalid::Other(other) => {
                let text = format!("{other:?}");
                if text.contains("UnsupportedCertVersion") {
                    Some("the certificate is X.509 version 1; issue it again with extensions")
                } else if text.contains("CaUsedAsEndEntity") {
                    Some("the certificate is that of a CA; issue one for the server itself")
                } else {
                    None
                }
            }
            _ => None,
        },
        Rustls::NoCertificatesPresented => Some("the client showed no certificate"),
        Rustls::InvalidMessage(_) => Some("does the other side speak TLS on this port?"),
        _ => None,
    }
}
