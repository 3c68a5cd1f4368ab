//! TLS with pre-shared keys (RFC 4279, RFC 8446 section 2.2) by the system's OpenSSL: rustls has
//! none. [`ServerPsk`] and [`ClientPsk`]; nothing else goes through OpenSSL.
//!
//! No identity hint is sent: the safe binding cannot, and a client must have its identity anyway.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use tokio_openssl::SslStream;

use super::{MinimumVersion, TlsError, TlsStream};
use crate::stream::{Seat, Stream};

/// Suites up to TLS 1.2 unless a list is given: those with keys alone and those with forward
/// secrecy, which small devices often lack.
const CIPHERS: &str = "kECDHEPSK:kPSK:!eNULL:!3DES:!RC4:!aRSA";

/// Gives the key of an identity.
pub type PskKeys = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// What [`ServerPsk::new`] needs.
pub struct ServerPskOptions<'a> {
    /// The lowest version to speak.
    pub minimum: MinimumVersion,
    /// OpenSSL's list up to TLS 1.2; `None` for a good one.
    pub ciphers: Option<&'a str>,
    /// OpenSSL's list for TLS 1.3.
    pub ciphers_tls13: Option<&'a str>,
    /// Who knows the keys.
    pub keys: PskKeys,
}

/// The server's side, ready for connections. Cloning is cheap; a reload makes a new one and swaps.
#[derive(Clone)]
pub struct ServerPsk {
    context: SslContext,
}

impl fmt::Debug for ServerPsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerPsk")
    }
}

impl ServerPsk {
    /// Checks the options.
    ///
    /// # Errors
    /// [`TlsError::OpenSsl`]: OpenSSL refuses one of them.
    pub fn new(options: ServerPskOptions<'_>) -> Result<Self, TlsError> {
        context(options)
            .map(|context| ServerPsk { context })
            .map_err(|error| TlsError::OpenSsl(error.to_string()))
    }

    /// Does the handshake on a fresh connection; the deadline is the caller's. Returns the identity
    /// whose key the client has shown to have.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn accept(&self, stream: Stream) -> Result<(Stream, String), TlsError> {
        let broken = |error: ErrorStack| TlsError::Handshake(io::Error::other(error));
        let ssl = Ssl::new(&self.context).map_err(broken)?;
        let mut stream = SslStream::new(ssl, Seat::Here(stream)).map_err(broken)?;
        let accepted = Pin::new(&mut stream).accept().await;
        accepted.map_err(|error| {
            TlsError::Handshake(error.into_io_error().unwrap_or_else(io::Error::other))
        })?;
        let identity = identity_index().and_then(|index| stream.ssl().ex_data(index).cloned());
        let identity = identity.ok_or_else(|| {
            TlsError::Handshake(io::Error::other("the client has named no identity"))
        })?;
        Ok((TlsStream::of_openssl(stream), identity))
    }
}

fn context(options: ServerPskOptions<'_>) -> Result<SslContext, ErrorStack> {
    let ciphers = (options.ciphers, options.ciphers_tls13);
    let mut builder = builder(SslMethod::tls_server(), options.minimum, ciphers)?;
    // A session that is resumed would name no identity.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_num_tickets(0)?;
    let keys = options.keys;
    builder.set_psk_server_callback(move |ssl, identity, secret| {
        Ok(find_key(ssl, identity, secret, &*keys).unwrap_or(0))
    });
    Ok(builder.build())
}

/// What both sides have in common.
fn builder(
    method: SslMethod,
    minimum: MinimumVersion,
    (ciphers, ciphers_tls13): (Option<&str>, Option<&str>),
) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(method)?;
    builder.set_min_proto_version(Some(match minimum {
        MinimumVersion::Tls12 => SslVersion::TLS1_2,
        MinimumVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    builder.set_cipher_list(ciphers.unwrap_or(CIPHERS))?;
    if let Some(list) = ciphers_tls13 {
        builder.set_ciphersuites(list)?;
    }
    Ok(builder)
}

/// Puts the key of the identity into `secret` and remembers whose it is; its length.
fn find_key(
    ssl: &mut SslRef,
    identity: Option<&[u8]>,
    secret: &mut [u8],
    keys: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Option<usize> {
    let identity = std::str::from_utf8(identity?).ok()?;
    let key = keys(identity)?;
    secret.get_mut(..key.len())?.copy_from_slice(&key);
    ssl.set_ex_data(identity_index()?, identity.to_owned());
    Some(key.len())
}

/// Where a connection keeps its identity.
fn identity_index() -> Option<Index<Ssl, String>> {
    static INDEX: OnceLock<Option<Index<Ssl, String>>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().ok())
}

/// What [`ClientPsk::new`] needs.
pub struct ClientPskOptions<'a> {
    /// The lowest version to speak.
    pub minimum: MinimumVersion,
    /// OpenSSL's list up to TLS 1.2; `None` for a good one.
    pub ciphers: Option<&'a str>,
    /// Application protocols to offer (ALPN).
    pub alpn: &'a [&'a [u8]],
    /// The name of the key, as the server knows it; without a NUL.
    pub identity: &'a str,
    /// The key, of 1 to 256 bytes.
    pub key: &'a [u8],
}

/// The client's side, ready for connections. Cloning is cheap.
#[derive(Clone)]
pub struct ClientPsk {
    context: SslContext,
}

impl fmt::Debug for ClientPsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientPsk")
    }
}

impl ClientPsk {
    /// Checks the options.
    ///
    /// # Errors
    /// [`TlsError::OpenSsl`]: OpenSSL refuses one of them.
    pub fn new(options: ClientPskOptions<'_>) -> Result<Self, TlsError> {
        client_context(&options)
            .map(|context| ClientPsk { context })
            .map_err(|error| TlsError::OpenSsl(error.to_string()))
    }

    /// Does the handshake on a fresh connection; the deadline is the caller's. Who has the same key
    /// is the right server, whatever it is called.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn connect(&self, stream: Stream) -> Result<Stream, TlsError> {
        let broken = |error: ErrorStack| TlsError::Handshake(io::Error::other(error));
        let ssl = Ssl::new(&self.context).map_err(broken)?;
        let mut stream = SslStream::new(ssl, Seat::Here(stream)).map_err(broken)?;
        let connected = Pin::new(&mut stream).connect().await;
        connected.map_err(|error| {
            TlsError::Handshake(error.into_io_error().unwrap_or_else(io::Error::other))
        })?;
        Ok(TlsStream::of_openssl(stream))
    }
}

fn client_context(options: &ClientPskOptions<'_>) -> Result<SslContext, ErrorStack> {
    let mut builder = builder(SslMethod::tls_client(), options.minimum, (options.ciphers, None))?;
    // With TLS 1.3 a server could also answer with a certificate, which nobody here would trust.
    builder.set_verify(SslVerifyMode::PEER);
    if !options.alpn.is_empty() {
        let mut list = Vec::new();
        for protocol in options.alpn {
            list.push(u8::try_from(protocol.len()).unwrap_or(u8::MAX));
            list.extend_from_slice(protocol);
        }
        builder.set_alpn_protos(&list)?;
    }
    let identity = options.identity.as_bytes().to_vec();
    let key = options.key.to_vec();
    builder.set_psk_client_callback(move |_, _hint, name, secret| {
        Ok(put_key(&identity, &key, name, secret).unwrap_or(0))
    });
    Ok(builder.build())
}

/// Puts the identity, ended by a NUL, and its key where OpenSSL wants them; the key's length.
fn put_key(identity: &[u8], key: &[u8], name: &mut [u8], secret: &mut [u8]) -> Option<usize> {
    name.get_mut(..identity.len())?.copy_from_slice(identity);
    *name.get_mut(identity.len())? = 0;
    secret.get_mut(..key.len())?.copy_from_slice(key);
    Some(key.len())
}
