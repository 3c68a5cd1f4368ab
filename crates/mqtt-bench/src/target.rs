//! Where the broker is and how its connections are opened: socket, TLS, WebSocket, from one of the
//! source addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use mqtt_client::url::{Scheme, Url, percent_decode};
use mqtt_client::{TlsSettings, Verification};
use mqtt_net::tcp::{self, ConnectOptions};
use mqtt_net::tls::{ClientTls, ClientTlsOptions, MinimumVersion, Pem, Roots};
use mqtt_net::websocket::{ClientHandshake, connect_websocket};
use mqtt_net::{Stream, unix};
use mqtt_proto::Version;

use crate::args::ConnectionArgs;
use crate::sources;

/// The largest WebSocket message that is taken: the largest MQTT packet.
const WEBSOCKET_MESSAGE_MAX: u64 = 268_435_460;

/// Everything needed to open a connection; shared by all of them.
pub(crate) struct Target {
    host: String,
    port: u16,
    unix: Option<PathBuf>,
    tls: Option<ClientTls>,
    websocket_path: Option<String>,
    /// The address that answered first, so that names are looked up once.
    address: Option<IpAddr>,
    sources: Vec<IpAddr>,
    /// Of the connections.
    pub(crate) version: Version,
    /// In CONNECT.
    pub(crate) username: Option<String>,
    /// In CONNECT.
    pub(crate) password: Option<String>,
    /// In CONNECT; 0: none.
    pub(crate) keep_alive_seconds: u16,
    /// In front of every Client Identifier.
    pub(crate) client_prefix: String,
}

impl Target {
    /// Reads the options; opens nothing but certificate files.
    pub(crate) fn new(args: &ConnectionArgs) -> anyhow::Result<Self> {
        let sources = match &args.source_addresses {
            Some(list) => {
                sources::parse(list).map_err(anyhow::Error::msg).context("--source-addresses")?
            }
            None => Vec::new(),
        };
        let mut has_tls = args.tls || args.cafile.is_some() || args.insecure;
        let mut target = Self {
            host: args.host.clone(),
            port: 0,
            unix: None,
            tls: None,
            websocket_path: args.ws.then(|| args.path.clone()),
            address: None,
            sources,
            version: args.version,
            username: args.username.clone(),
            password: args.password.clone(),
            keep_alive_seconds: args.keepalive,
            client_prefix: args.id_prefix.clone(),
        };
        let mut port = args.port;
        if let Some(text) = &args.url {
            let url = Url::parse(text).with_context(|| format!("-L {text}"))?;
            has_tls |= url.scheme.has_tls();
            port = port.or(Some(url.port_or_default()));
            target.take_url(&url)?;
        }
        target.port = port.unwrap_or(match (has_tls, target.websocket_path.is_some()) {
            (false, false) => 1883,
            (true, false) => 8883,
            (false, true) => 80,
            (true, true) => 443,
        });
        if has_tls {
            target.tls = Some(tls(args)?);
        }
        Ok(target)
    }

    fn take_url(&mut self, url: &Url<'_>) -> anyhow::Result<()> {
        if url.scheme == Scheme::Unix {
            self.unix = Some(url.path.into());
        } else {
            self.host = url.host.to_owned();
        }
        if url.scheme.has_websocket() {
            self.websocket_path = Some(format!("/{}", url.path));
        }
        if let Some(username) = url.username {
            self.username = Some(percent_decode(username)?);
        }
        if let Some(password) = url.password {
            self.password = Some(percent_decode(password)?);
        }
        Ok(())
    }

    /// Looks the name up and tries the addresses, so that all connections go to one that answers.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        if self.unix.is_some() {
            return self.open(0).await.map(|_| ());
        }
        let local = self.sources.first().copied();
        let options = ConnectOptions { local, ..ConnectOptions::default() };
        let stream = tcp::connect(&self.host, self.port, &options).await?;
        self.address = stream.peer_address()?.ip();
        Ok(())
    }

    /// Opens the way of connection number `number` up to the first byte of MQTT.
    pub(crate) async fn open(&self, number: usize) -> anyhow::Result<Stream> {
        let mut stream = match &self.unix {
            Some(path) => unix::connect(path).await.with_context(|| path.display().to_string())?,
            None => self.open_tcp(number).await?,
        };
        if let Some(tls) = &self.tls {
            stream = tls.connect(stream, &self.host).await?;
        }
        if let Some(path) = &self.websocket_path {
            let handshake = ClientHandshake {
                host: &format!("{}:{}", self.host, self.port),
                path,
                headers: &[],
                max_message: WEBSOCKET_MESSAGE_MAX,
            };
            stream = connect_websocket(stream, handshake).await?;
        }
        Ok(stream)
    }

    async fn open_tcp(&self, number: usize) -> anyhow::Result<Stream> {
        let local = match self.sources.len() {
            0 => None,
            count => Some(self.sources[number % count]),
        };
        let options = ConnectOptions { local, ..ConnectOptions::default() };
        let host = self.address.map_or_else(|| self.host.clone(), |address| address.to_string());
        Ok(tcp::connect(&host, self.port, &options).await?)
    }

    /// For the report.
    pub(crate) fn name(&self) -> String {
        let scheme = match (self.tls.is_some(), self.websocket_path.is_some()) {
            (false, false) => "mqtt",
            (true, false) => "mqtts",
            (false, true) => "ws",
            (true, true) => "wss",
        };
        match &self.unix {
            Some(path) => format!("unix://{}", path.display()),
            None => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

fn tls(args: &ConnectionArgs) -> anyhow::Result<ClientTls> {
    let read = |path: &PathBuf| -> anyhow::Result<(String, Vec<u8>)> {
        let name = path.display().to_string();
        let contents = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        Ok((name, contents))
    };
    let mut settings = TlsSettings::default();
    if let Some(path) = &args.cafile {
        settings.authorities.push(read(path)?);
    }
    settings.identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some([read(cert)?, read(key)?]),
        (None, None) => None,
        _ => bail!("--cert and --key belong together"),
    };
    fn pem((name, contents): &(String, Vec<u8>)) -> Pem<'_> {
        Pem { name, contents }
    }
    let authorities: Vec<_> = settings.authorities.iter().map(pem).collect();
    let verification =
        if args.insecure { Verification::InsecureNothing } else { Verification::default() };
    let roots = if authorities.is_empty() { Roots::System } else { Roots::Files(&authorities) };
    let identity = settings.identity.as_ref().map(|[cert, key]| (pem(cert), pem(key)));
    let minimum = MinimumVersion::Tls12;
    Ok(ClientTls::new(ClientTlsOptions {
        roots,
        verification,
        identity,
        minimum,
        alpn: &[],
        ciphers: None,
        key_log: None,
    })?)
}
