//! Pairs of connected streams for every transport, and a small certificate authority made on the
//! spot.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::SocketAddr;

use mqtt_net::tcp::{ConnectOptions, ListenOptions};
use mqtt_net::tls::{
    ClientCertificates, ClientTlsOptions, MinimumVersion, Roots, ServerTlsOptions, Verification,
};
use mqtt_net::websocket::{AcceptOptions, ClientHandshake, accept_websocket, connect_websocket};
use mqtt_net::{ClientTls, Pem, ServerTls, Stream};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Unix,
    Tls,
    WebSocket,
    WebSocketOverTls,
}

pub const ALL: [Kind; 5] =
    [Kind::Tcp, Kind::Unix, Kind::Tls, Kind::WebSocket, Kind::WebSocketOverTls];

/// The most bytes of a WebSocket message in these tests.
pub const LIMIT: u64 = 4 << 20;

/// A connected (client, server).
pub async fn pair(kind: Kind) -> (Stream, Stream) {
    match kind {
        Kind::Tcp => tcp_pair().await,
        Kind::Unix => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s");
            let listener = mqtt_net::unix::listen(&path, None).unwrap();
            let client = mqtt_net::unix::connect(&path).await.unwrap();
            (client, listener.accept().await.unwrap().0.into())
        }
        Kind::Tls => tls_pair(tcp_pair().await).await,
        Kind::WebSocket => websocket_pair(tcp_pair().await).await,
        Kind::WebSocketOverTls => websocket_pair(tls_pair(tcp_pair().await).await).await,
    }
}

pub async fn tcp_pair() -> (Stream, Stream) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = mqtt_net::tcp::listen(any, &ListenOptions::default()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ConnectOptions::default();
    let client = mqtt_net::tcp::connect("127.0.0.1", port, &options).await.unwrap();
    (client, listener.accept().await.unwrap().0.into())
}

async fn tls_pair((client, server): (Stream, Stream)) -> (Stream, Stream) {
    let ca = Ca::new("test CA");
    let (certificate, key) = ca.issue("localhost", |params| add_name(params, "localhost"));
    let server_tls = ServerTls::new(server_options(&certificate, &key)).unwrap();
    let files = [pem("ca.crt", &ca.pem)];
    let client_tls = ClientTls::new(client_options(Roots::Files(&files))).unwrap();
    let (client, server) =
        tokio::join!(client_tls.connect(client, "localhost"), server_tls.accept(server));
    (client.unwrap(), server.unwrap())
}

async fn websocket_pair((client, server): (Stream, Stream)) -> (Stream, Stream) {
    let handshake =
        ClientHandshake { host: "localhost", path: "/mqtt", headers: &[], max_message: LIMIT };
    let accept = AcceptOptions { allowed_origins: &[], max_message: LIMIT };
    let (client, server) =
        tokio::join!(connect_websocket(client, handshake), accept_websocket(server, accept));
    (client.unwrap(), server.unwrap())
}

pub fn pem<'a>(name: &'a str, contents: &'a str) -> Pem<'a> {
    Pem { name, contents: contents.as_bytes() }
}

pub fn server_options<'a>(certificate: &'a str, key: &'a str) -> ServerTlsOptions<'a> {
    ServerTlsOptions {
        certificate: pem("server.crt", certificate),
        key: pem("server.key", key),
        client_ca: &[],
        client_certificates: ClientCertificates::NotAsked,
        revocations: &[],
        minimum: MinimumVersion::Tls12,
        ciphers: None,
        ignores_dates: false,
        alpn: &[],
    }
}

pub fn client_options(roots: Roots<'_>) -> ClientTlsOptions<'_> {
    ClientTlsOptions {
        roots,
        verification: Verification::Full,
        identity: None,
        minimum: MinimumVersion::Tls12,
        alpn: &[],
        ciphers: None,
        key_log: None,
    }
}

pub struct Ca {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pem = issuer.pem();
        Ca { issuer, pem }
    }

    /// A certificate for `name` and its key, both PEM.
    pub fn issue(&self, name: &str, fill: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        fill(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

pub fn add_name(params: &mut CertificateParams, name: &str) {
    params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
}

/// A random generator; the seed is printed.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        println!("seed {seed:#x}");
        Random(fastrand::Rng::with_seed(seed))
    }

    pub fn below(&mut self, below: usize) -> usize {
        self.0.usize(..below)
    }
}

/// The byte at `position` of the test stream: any loss, repetition or swap shows.
pub fn byte_at(position: usize) -> u8 {
    let mixed = (position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}
