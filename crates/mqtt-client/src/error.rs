//! What can go wrong: while connecting, with a connection, with one request.

use std::fmt;
use std::io;

use mqtt_net::tcp;
use mqtt_proto::connection::SendRefused;
use mqtt_proto::property::PropertyId;
use mqtt_proto::topic::TopicError;
use mqtt_proto::{EncodeError, Offence, PropertiesBuf, ReasonCode, Version};

use crate::authentication::AuthenticationError;

/// Why no connection came about.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options contradict each other or the standard; says which.
    Options(String),
    /// No TCP connection to the host.
    Tcp(tcp::ConnectError),
    /// The socket, the proxy, TLS or WebSocket failed; says what was tried.
    Transport {
        /// What was tried, for example `cannot connect to the socket /run/mqtt.sock`.
        attempt: String,
        /// What the system or the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came back within the connect timeout.
    Timeout,
    /// The Server closed the connection before CONNACK.
    Closed,
    /// Reading or writing failed before CONNACK.
    Io(io::Error),
    /// The Server refused the connection.
    Refused(Refusal),
    /// The Server broke the protocol.
    Protocol(Offence),
    /// Enhanced authentication failed on our side: bad credentials, or a Server that can't prove
    /// itself.
    Authentication(AuthenticationError),
}

/// A CONNACK that refuses the connection.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The version of the connection; it decides how `code` is read.
    pub version: Version,
    /// 1 to 5 in 3.x, a Reason Code from 0x80 in 5.0.
    pub code: u8,
    /// 5.0 properties: Reason String, Server Reference, User Properties.
    pub properties: PropertiesBuf,
}

impl Refusal {
    /// The server to use instead (Server Reference, 4.11): with 0x9C for now, with 0x9D from now
    /// on. Going there is the caller's decision; this client connects only to what it was told.
    pub fn server_reference(&self) -> Option<&str> {
        self.properties.as_properties().text(PropertyId::ServerReference)
    }

    /// It may work later without a change on our side: the Server is unavailable, busy, shutting
    /// down or has reached a limit.
    pub fn is_temporary(&self) -> bool {
        if !self.version.has_properties() {
            return self.code == 3;
        }
        matches!(
            ReasonCode::from_u8(self.code),
            Some(
                ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::ServerShuttingDown
                    | ReasonCode::QuotaExceeded
                    | ReasonCode::ConnectionRateExceeded
            )
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.version.has_properties() {
            return f.write_str(mqtt_proto::reason::connect_return_code_text(self.code));
        }
        match ReasonCode::from_u8(self.code) {
            Some(reason) => reason.fmt(f),
            None => write!(f, "reason code {:#04x}", self.code),
        }
    }
}

impl ConnectError {
    /// Trying again without a change may help.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::Options(_) | Self::Authentication(_) => false,
            _ => true,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(what) => f.write_str(what),
            Self::Tcp(error) => error.fmt(f),
            Self::Transport { attempt, source } => write!(f, "{attempt}: {source}"),
            Self::Timeout => f.write_str("the server did not answer in time"),
            Self::Closed => f.write_str("the server closed the connection before CONNACK"),
            Self::Io(error) => write!(f, "the connection failed before CONNACK: {error}"),
            Self::Refused(refusal) => write!(f, "the server refused the connection: {refusal}"),
            Self::Protocol(offence) => {
                write!(f, "the server broke the protocol: {offence} ({})", offence.clause())
            }
            Self::Authentication(error) => write!(f, "authentication failed: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tcp(error) => Some(error),
            Self::Transport { source, .. } => Some(source.as_ref()),
            Self::Io(error) => Some(error),
            Self::Protocol(offence) => Some(offence),
            _ => None,
        }
    }
}

impl From<tcp::ConnectError> for ConnectError {
    fn from(error: tcp::ConnectError) -> Self {
        Self::Tcp(error)
    }
}

/// Why a connection that was accepted has ended without our will.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lost {
    /// The Server closed the stream without a word.
    Closed,
    /// Reading or writing failed.
    Io(io::Error),
    /// The Server said DISCONNECT (5.0).
    ServerDisconnect {
        /// Why.
        reason: ReasonCode,
        /// Its properties: Reason String, Server Reference.
        properties: PropertiesBuf,
    },
    /// PINGREQ had no answer for a whole Keep Alive.
    KeepAlive,
    /// The Server broke the protocol, and we closed the connection.
    Protocol(Offence),
    /// Authenticating again failed on our side.
    Authentication(AuthenticationError),
    /// An attempt to connect again failed.
    Reconnect(ConnectError),
}

impl Lost {
    /// The server to use instead, as in [`Refusal::server_reference`].
    pub fn server_reference(&self) -> Option<&str> {
        match self {
            Self::ServerDisconnect { properties, .. } => {
                properties.as_properties().text(PropertyId::ServerReference)
            }
            Self::Reconnect(ConnectError::Refused(refusal)) => refusal.server_reference(),
            _ => None,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::ServerDisconnect { reason, properties } => {
                write!(f, "the server disconnected us: {reason}")?;
                if let Some(text) = properties.as_properties().text(PropertyId::ReasonString) {
                    write!(f, " ({text})")?;
                }
                match self.server_reference() {
                    Some(other) => write!(f, "; it names {other} instead"),
                    None => Ok(()),
                }
            }
            Self::KeepAlive => f.write_str("the server does not answer (keep alive)"),
            Self::Protocol(offence) => {
                write!(f, "the server broke the protocol: {offence} ({})", offence.clause())
            }
            Self::Authentication(error) => write!(f, "authentication failed: {error}"),
            Self::Reconnect(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Lost {}

/// Why a publish, subscribe or unsubscribe was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The client has been closed, or the connection is gone and does not come back.
    Closed,
    /// The connection was lost before a QoS 0 message was written, or before SUBACK or UNSUBACK.
    Lost,
    /// The topic or filter breaks a rule of the standard.
    Topic(TopicError),
    /// The Server has said that it does not take this.
    Server(SendRefused),
    /// It does not fit on the wire.
    Encode(EncodeError),
    /// Authenticating again failed on our side.
    Authentication(AuthenticationError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client is closed"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Topic(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
            Self::Authentication(error) => write!(f, "authentication failed: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<TopicError> for RequestError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<SendRefused> for RequestError {
    fn from(error: SendRefused) -> Self {
        Self::Server(error)
    }
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
