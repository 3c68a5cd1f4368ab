//! An MQTT client: 3.1, 3.1.1 and 5.0 over TCP, TLS, WebSocket and Unix sockets, on tokio.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod client;
mod driver;
pub mod error;
pub mod incoming;
mod link;
pub mod message;
pub mod options;
mod session;
pub mod tls;
mod transport;
pub mod url;

pub use backoff::Backoff;
pub use client::{Acknowledged, Answer, Client, Delivery, Subscription};
pub use error::{ConnectError, Lost, Refusal, RequestError};
pub use incoming::{Connected, Event, Incoming};
pub use message::{Message, Publish};
pub use options::{
    Acknowledge, Direction, Endpoint, Options, Proxy, Trace, Transport, WebSocket, Will,
};
pub use tls::{Tls, TlsSettings};

pub use mqtt_net::tls::{MinimumVersion, TlsError, Verification};
pub use mqtt_proto::packet::{RetainHandling, SubscriptionOptions};
pub use mqtt_proto::property::{PropertyId, Value};
pub use mqtt_proto::{Packet, Properties, PropertiesBuf, QoS, ReasonCode, Version};
