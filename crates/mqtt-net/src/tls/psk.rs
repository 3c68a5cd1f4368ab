//! The server's side of TLS with pre-shared keys (RFC 4279, RFC 8446 section 2.2), by the system's
//! OpenSSL: rustls has none. Nothing else goes through OpenSSL.
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
    SslVersion,
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
    let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(match options.minimum {
        MinimumVersion::Tls12 => SslVersion::TLS1_2,
        MinimumVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    builder.set_cipher_list(options.ciphers.unwrap_or(CIPHERS))?;
    if let Some(list) = options.ciphers_tls13 {
        builder.set_ciphersuites(list)?;
    }
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
