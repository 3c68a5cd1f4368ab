//! Flags about the connection: where to, who we are, the session, the will, MQTT 5.0 properties.

use std::net::IpAddr;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use mqtt_client::{
    Backoff, Options, PropertyId, Proxy, QoS, ScramSha256, Transport, Value, Version, WebSocket,
    Will,
};

use super::property::{self, Packet, Property};
use super::secret::SecretArgs;
use super::tls::TlsArgs;
use super::{Persona, parse};
use crate::exit::Failure;

/// Where to connect and as whom.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Broker to connect to
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    pub host: String,
    /// Port, 1883 or with TLS 8883 unless given
    #[arg(short = 'p', long, value_name = "PORT", value_parser = parse::port)]
    pub port: Option<u16>,
    /// All in one: mqtt://, mqtts://, ws:// or wss://[user[:password]@]host[:port][/topic]
    #[arg(short = 'L', long, value_name = "URL")]
    pub url: Option<String>,
    /// Connect to a Unix socket
    #[arg(long, value_name = "PATH")]
    pub unix: Option<String>,
    /// Speak WebSocket
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket request
    #[arg(long, value_name = "PATH", default_value = "/mqtt")]
    pub ws_path: String,
    /// Go through a proxy: socks5h://[user[:password]@]host[:port]
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Local address to connect from
    #[arg(short = 'A', long = "bind", value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Client id; the broker chooses one unless given
    #[arg(short = 'i', long, value_name = "ID")]
    pub id: Option<String>,
    /// Client id made of PREFIX and the process id
    #[arg(short = 'I', long, value_name = "PREFIX")]
    pub id_prefix: Option<String>,
    /// Protocol version: 31, 311 or 5; 311 unless given (mqtt-rr: 5)
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse::version)]
    pub protocol_version: Option<Version>,
    /// Keep Alive in seconds, 5 to 65535
    #[arg(
        short = 'k', long, value_name = "KEEPALIVE", default_value = "60",
        value_parser = parse::keep_alive
    )]
    pub keepalive: u16,
    /// Keep the session at the broker (needs -i)
    #[arg(short = 'c', long)]
    pub disable_clean_session: bool,
    /// Session expiry in seconds, -1 for never; switches to MQTT 5.0
    #[arg(
        short = 'x', long = "session-expiry-interval", visible_alias = "session-expiry",
        value_name = "SECONDS", value_parser = parse::session_expiry
    )]
    pub session_expiry: Option<u32>,
    /// QoS: 0, 1 or 2
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse::qos)]
    pub qos: QoS,
    /// QoS 1 and 2 messages in flight at a time
    #[arg(
        short = 'M', long = "max-inflight", value_name = "COUNT", default_value = "20",
        value_parser = parse::max_in_flight
    )]
    pub max_in_flight: u16,
    /// MQTT 5.0 property: -D PACKET NAME VALUE, or -D PACKET user-property NAME VALUE; PACKET is
    /// connect, publish, subscribe, unsubscribe, disconnect or will
    #[arg(short = 'D', long, value_name = "PROPERTY", value_parser = property::parse)]
    pub property: Vec<Property>,
    /// Log in by SCRAM-SHA-256 instead of sending the password; switches to MQTT 5.0
    #[arg(long, value_name = "METHOD", value_parser = ["SCRAM-SHA-256"])]
    pub auth_method: Option<String>,
    /// Send small packets at once (always so; for compatibility)
    #[arg(long)]
    pub nodelay: bool,
    /// Look the broker up by SRV record
    #[arg(short = 'S', long = "srv", hide = true)]
    pub srv: bool,
    /// Publish this when the connection breaks
    #[arg(long, value_name = "TOPIC", value_parser = parse::will_topic)]
    pub will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "PAYLOAD")]
    pub will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", value_parser = parse::will_qos)]
    pub will_qos: Option<QoS>,
    /// Make the will retained
    #[arg(long)]
    pub will_retain: bool,
}

impl ConnectionArgs {
    /// The version that is meant: what is given, else 5.0 if something needs it, else `usual`.
    pub fn version(&self, usual: Version) -> Version {
        let needs_v5 = !self.property.is_empty()
            || self.session_expiry.is_some()
            || self.auth_method.is_some();
        match self.protocol_version {
            Some(version) => version,
            None if needs_v5 => Version::V5,
            None => usual,
        }
    }

    /// Options for the client library; checks what only shows when all flags are known.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn options(
        &self,
        persona: &Persona,
        tls: &TlsArgs,
        secret: &SecretArgs,
        usual: Version,
    ) -> Result<Options, Failure> {
        let usage = |text: String| Failure::usage(persona, &text);
        self.check().map_err(usage)?;
        let mut options = Options::default();
        options.version = self.version(usual);
        options.transport = self.transport(tls).map_err(usage)?;
        options.client_id = self.client_id(persona, options.version);
        options.clean_start = !self.disable_clean_session;
        options.keep_alive_seconds = self.keepalive;
        options.max_in_flight = self.max_in_flight;
        options.reconnect = Some(Backoff::constant(Duration::from_secs(1)));
        options.username = secret.username.clone();
        options.password =
            secret.password().map_err(|text| Failure::new(format!("Error: {text}")))?;
        if self.auth_method.is_some() {
            // The name goes in the exchange, the password nowhere.
            let (Some(username), Some(password)) =
                (options.username.take(), options.password.take())
            else {
                return Err(usage("--auth-method needs a user (-u) and a password.".to_owned()));
            };
            let method = ScramSha256::new(username, password);
            options.authentication = Some(Arc::new(method));
        }
        if options.password.is_some()
            && options.username.is_none()
            && options.version.password_needs_username()
        {
            return Err(Failure::new("Error: Problem setting username and/or password."));
        }
        options.will = self.will().map_err(usage)?;
        options.connect_properties =
            property::collect(&self.property, Packet::Connect).map_err(usage)?;
        let expiry = match self.session_expiry {
            None if self.disable_clean_session => Some(u32::MAX),
            expiry => expiry,
        };
        let given = options.connect_properties.as_properties();
        let is_given = given.get(PropertyId::SessionExpiryInterval).is_some();
        if let (Some(expiry), false, true) = (expiry, is_given, options.version == Version::V5) {
            let added = options
                .connect_properties
                .push(PropertyId::SessionExpiryInterval, Value::U32(expiry));
            added.map_err(|error| usage(error.to_string()))?;
        }
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        if self.id.is_some() && self.id_prefix.is_some() {
            return Err("-i and -I argument cannot be used together.\n".to_owned());
        }
        if self.disable_clean_session && self.id.is_none() && self.id_prefix.is_none() {
            return Err("You must provide a client id if you are using the -c option.".to_owned());
        }
        if self.srv {
            return Err(
                "-S (look-up by SRV record) is not supported; give the host with -h.".to_owned()
            );
        }
        if self.will_topic.is_none() {
            let stray = [(self.will_payload.is_some(), "payload"), (self.will_retain, "retain")];
            if let Some((_, what)) = stray.iter().find(|(is_given, _)| *is_given) {
                return Err(format!("Will {what} given, but no will topic given."));
            }
        }
        Ok(())
    }

    fn client_id(&self, persona: &Persona, version: Version) -> String {
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (_, Some(prefix)) => format!("{prefix}{}", process::id()),
            // 3.1 asks for an id of 1 to 23 characters.
            _ if !version.allows_empty_client_id() => {
                let id = format!("{}_{}", persona.name.replace('-', "_"), process::id());
                id.chars().take(version.client_id_characters_max().unwrap_or(usize::MAX)).collect()
            }
            _ => String::new(),
        }
    }

    fn will(&self) -> Result<Option<Will>, String> {
        let Some(topic) = &self.will_topic else { return Ok(None) };
        Ok(Some(Will {
            topic: topic.clone(),
            payload: Bytes::from(self.will_payload.clone().unwrap_or_default()),
            qos: self.will_qos.unwrap_or(QoS::AtMostOnce),
            retain: self.will_retain,
            properties: property::collect(&self.property, Packet::Will)?,
        }))
    }

    fn transport(&self, tls: &TlsArgs) -> Result<Transport, String> {
        let port = self.port.filter(|&port| port != 0);
        let mut transport = match &self.unix {
            Some(path) => Transport::unix(path),
            None => {
                let is_tls = tls.is_wanted(port);
                Transport::tcp(self.host.clone(), port.unwrap_or(if is_tls { 8883 } else { 1883 }))
            }
        };
        transport.tls = tls.tls(port)?;
        if self.ws {
            transport.websocket =
                Some(WebSocket { path: self.ws_path.clone(), headers: Vec::new() });
        }
        transport.proxy = self.proxy.as_deref().map(parse_proxy).transpose()?;
        transport.bind = match &self.bind {
            None => None,
            Some(text) => Some(text.parse::<IpAddr>().map_err(|_| {
                format!("-A wants an IP address of this machine, \"{text}\" is none.")
            })?),
        };
        Ok(transport)
    }
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
}
