//! Flags about the connection: where to and over what, as which client, with which version.

use std::net::{IpAddr, ToSocketAddrs as _};

use clap::Args;
use mqtt_client::{Options, Proxy, Transport, Version, WebSocket};

use super::secret::SecretArgs;
use super::tls::TlsArgs;
use super::{Persona, parse};
use crate::exit::Failure;

/// Where to connect and as whom.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Broker to connect to; localhost unless given
    #[arg(short = 'h', long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port; 1883, or 8883 with TLS, unless given
    #[arg(short = 'p', long, value_name = "PORT", value_parser = parse::port)]
    pub port: Option<u16>,
    /// All in one: mqtt://, mqtts://, ws:// or wss://[user[:password]@]host[:port][/topic]
    #[arg(short = 'L', long, value_name = "URL")]
    pub url: Option<String>,
    /// Connect to a Unix socket on this machine
    #[arg(long, value_name = "PATH")]
    pub unix: Option<String>,
    /// Speak WebSocket
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket request
    #[arg(long, value_name = "PATH", default_value = "/mqtt")]
    pub ws_path: String,
    /// Go through a proxy: socks5h://[user[:password]@]host[:port]
    #[arg(long, value_name = "URL", value_parser = parse_proxy)]
    pub proxy: Option<Proxy>,
    /// Address or name of this machine to connect from
    #[arg(short = 'A', long = "bind", value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Client id; the broker chooses one unless given
    #[arg(short = 'i', long, value_name = "ID")]
    pub id: Option<String>,
    /// MQTT version: 31, 311 or 5
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse::version)]
    pub protocol_version: Option<Version>,
    /// Send small packets at once; always so, for compatibility
    #[arg(long)]
    pub nodelay: bool,
    /// Look the broker up by SRV record
    #[arg(short = 'S', long = "srv", hide = true)]
    pub srv: bool,
}

impl ConnectionArgs {
    /// The way to the broker, the version and the login, for the client library.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn options(
        &self,
        persona: &Persona,
        tls: &TlsArgs,
        secret: &SecretArgs,
        version: Version,
    ) -> Result<Options, Failure> {
        if self.srv {
            let text = "-S (look-up by SRV record) is not supported; give the host with -h.";
            return Err(Failure::usage(persona, text));
        }
        let mut options = Options::default();
        options.version = version;
        options.transport = self.transport(persona, tls)?;
        options.client_id = self.id.clone().unwrap_or_default();
        secret.log_in(&mut options, persona)?;
        Ok(options)
    }

    /// The name of the broker's host.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("localhost")
    }

    fn transport(&self, persona: &Persona, tls: &TlsArgs) -> Result<Transport, Failure> {
        let port = self.port.filter(|&port| port != 0);
        let mut transport = match &self.unix {
            Some(path) => Transport::unix(path),
            None => {
                let is_tls = tls.is_wanted(port);
                Transport::tcp(self.host(), port.unwrap_or(if is_tls { 8883 } else { 1883 }))
            }
        };
        transport.tls = tls.tls(port, persona)?;
        if self.ws {
            transport.websocket =
                Some(WebSocket { path: self.ws_path.clone(), headers: Vec::new() });
        }
        transport.proxy = self.proxy.clone();
        transport.bind = match &self.bind {
            None => None,
            Some(name) => Some(own_address(name, persona)?),
        };
        Ok(transport)
    }
}

/// The address `-A` means, which may be a name.
fn own_address(name: &str, persona: &Persona) -> Result<IpAddr, Failure> {
    let addresses = (name, 0).to_socket_addrs().into_iter().flatten();
    // A name usually stands for both families; brokers are more often reached by IPv4.
    addresses.map(|address| address.ip()).min_by_key(IpAddr::is_ipv6).ok_or_else(|| {
        match persona.is_mosquitto {
            true => Failure::new("Unable to connect (Lookup error.)."),
            false => Failure::new(format!(
                "Error: -A wants an address or a name of this machine, \"{name}\" is none."
            )),
        }
    })
}

/// `socks5h://[user[:password]@]host[:port]`; the login may be percent-encoded.
fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let rest = text
        .strip_prefix("socks5h://")
        .or_else(|| text.strip_prefix("socks5://"))
        .ok_or_else(|| format!("Unsupported proxy protocol: {text}"))?;
    let as_mqtt = format!("mqtt://{rest}");
    let url =
        mqtt_client::url::Url::parse(&as_mqtt).map_err(|_| format!("Invalid proxy: {text}"))?;
    let decode = |part: &str| {
        mqtt_client::url::percent_decode(part).map_err(|_| format!("Invalid proxy: {text}"))
    };
    let login = match (url.username, url.password) {
        (Some(user), password) => Some((decode(user)?, decode(password.unwrap_or(""))?)),
        (None, _) => None,
    };
    Ok(Proxy { host: url.host.to_owned(), port: url.port.unwrap_or(1080), login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_logins_and_a_usual_port() {
        let proxy = parse_proxy("socks5h://us%40er:p%3Aw@[::1]").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 1080));
        assert_eq!(proxy.login, Some(("us@er".to_owned(), "p:w".to_owned())));
        assert_eq!(parse_proxy("socks5h://h:9").unwrap().port, 9);
        assert!(parse_proxy("http://h").is_err());
    }

    #[test]
    fn own_addresses_may_be_names() {
        let ours = Persona::of("mqtt-pub");
        assert_eq!(own_address("127.0.0.1", &ours).unwrap().to_string(), "127.0.0.1");
        assert!(own_address("localhost", &ours).unwrap().is_loopback());
        assert!(own_address("nosuch.invalid", &ours).unwrap_err().text.contains("nosuch.invalid"));
    }
}
