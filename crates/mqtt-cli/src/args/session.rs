//! Flags about the session at the broker: how long it lasts, the will, QoS and window, MQTT 5.0
//! properties.

use std::process;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use mqtt_client::{Backoff, Options, PropertyId, QoS, Value, Version, Will};

use super::connection::ConnectionArgs;
use super::property::{self, Packet, Property};
use super::secret::SecretArgs;
use super::tls::TlsArgs;
use super::{Persona, parse};
use crate::exit::Failure;

/// What the broker is to know and to keep about us.
#[derive(Args, Debug)]
#[command(next_help_heading = "Session")]
pub struct SessionArgs {
    /// QoS: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse::qos)]
    pub qos: QoS,
    /// QoS 1 and 2 messages that may wait for their acknowledgement at a time
    #[arg(
        short = 'M', long = "max-inflight", value_name = "COUNT", default_value = "20",
        value_parser = parse::max_in_flight
    )]
    pub max_in_flight: u16,
    /// Keep the session when the connection ends; needs -i
    #[arg(short = 'c', long)]
    pub disable_clean_session: bool,
    /// Seconds the broker keeps the session, -1 for ever; switches to MQTT 5.0
    #[arg(
        short = 'x', long = "session-expiry-interval", visible_alias = "session-expiry",
        value_name = "SECONDS", value_parser = parse::session_expiry
    )]
    pub session_expiry: Option<u32>,
    /// Client id made of PREFIX and the process id
    #[arg(short = 'I', long, value_name = "PREFIX")]
    pub id_prefix: Option<String>,
    /// Seconds without traffic until the broker is asked whether it is there, 5 to 65535
    #[arg(
        short = 'k', long, value_name = "KEEPALIVE", default_value = "60",
        value_parser = parse::keep_alive
    )]
    pub keepalive: u16,
    /// The broker publishes this when the connection breaks
    #[arg(long, value_name = "TOPIC", value_parser = parse::will_topic)]
    pub will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "PAYLOAD")]
    pub will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", value_parser = parse::will_qos)]
    pub will_qos: Option<QoS>,
    /// The will becomes the topic's kept value
    #[arg(long)]
    pub will_retain: bool,
    /// Property of MQTT 5.0: -D PACKET NAME VALUE, or -D PACKET user-property NAME VALUE; PACKET
    /// is connect, publish, subscribe, unsubscribe, disconnect or will; may be repeated
    #[arg(short = 'D', long, value_name = "PROPERTY", value_parser = property::parse)]
    pub property: Vec<Property>,
}

impl SessionArgs {
    /// Options for the client library, after [`SessionArgs::check`]. The version is the one given,
    /// else 5.0 if something needs it, else `usual`.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn options(
        &self,
        connection: &ConnectionArgs,
        persona: &Persona,
        tls: &TlsArgs,
        secret: &SecretArgs,
        usual: Version,
    ) -> Result<Options, Failure> {
        let usage = |text: String| Failure::usage(persona, &text);
        self.check(connection, tls).map_err(usage)?;
        let needs_v5 = !self.property.is_empty()
            || self.session_expiry.is_some()
            || secret.auth_method.is_some();
        let usual = if needs_v5 { Version::V5 } else { usual };
        let version = connection.protocol_version.unwrap_or(usual);
        let mut options = connection.options(persona, tls, secret, version)?;
        options.client_id = self.client_id(connection, persona, version);
        options.clean_start = !self.disable_clean_session;
        options.keep_alive_seconds = self.keepalive;
        options.max_in_flight = self.max_in_flight;
        // A broker that is only being restarted is back sooner than the second Mosquitto waits.
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(1));
        options.reconnect = Some(Backoff { first, max, jitter: 0.2 });
        options.will = self.will().map_err(usage)?;
        options.connect_properties =
            property::collect(&self.property, Packet::Connect).map_err(usage)?;
        self.add_expiry(&mut options).map_err(usage)?;
        Ok(options)
    }

    /// Checks what only shows when all flags are known. As with Mosquitto's tools, such mistakes
    /// are named before a topic that is missing.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn check(&self, connection: &ConnectionArgs, tls: &TlsArgs) -> Result<(), String> {
        if connection.id.is_some() && self.id_prefix.is_some() {
            return Err("-i and -I argument cannot be used together.\n".to_owned());
        }
        if self.disable_clean_session && connection.id.is_none() && self.id_prefix.is_none() {
            return Err("You must provide a client id if you are using the -c option.".to_owned());
        }
        if self.will_topic.is_none() {
            let stray = [(self.will_payload.is_some(), "payload"), (self.will_retain, "retain")];
            if let Some((_, what)) = stray.iter().find(|(is_given, _)| *is_given) {
                return Err(format!("Will {what} given, but no will topic given."));
            }
        }
        if self.session_expiry == Some(u32::MAX)
            && connection.id.is_none()
            && self.id_prefix.is_none()
        {
            return Err("You must provide a client id if you are using an infinite session \
                expiry interval."
                .to_owned());
        }
        tls.check()
    }

    fn client_id(
        &self,
        connection: &ConnectionArgs,
        persona: &Persona,
        version: Version,
    ) -> String {
        match (&connection.id, &self.id_prefix) {
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

    fn add_expiry(&self, options: &mut Options) -> Result<(), String> {
        let expiry = match self.session_expiry {
            None if self.disable_clean_session => Some(u32::MAX),
            expiry => expiry,
        };
        let given = options.connect_properties.as_properties();
        let is_given = given.get(PropertyId::SessionExpiryInterval).is_some();
        if let (Some(expiry), false, true) = (expiry, is_given, options.version == Version::V5) {
            let value = Value::U32(expiry);
            let added = options.connect_properties.push(PropertyId::SessionExpiryInterval, value);
            added.map_err(|error| error.to_string())?;
        }
        Ok(())
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
}
