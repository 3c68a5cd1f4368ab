//! An MQTT client: 3.1, 3.1.1 and 5.0 over TCP, TLS, WebSocket and Unix sockets, on tokio.
//!
//! ```no_run
//! use mqtt_client::{Client, Event, Options, Publish, QoS};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut incoming) = Client::connect(Options::from_url("mqtt://localhost")?).await?;
//! client.subscribe("room/#", QoS::AtLeastOnce).await?;
//! // Queued by the first await, acknowledged by the second.
//! client.publish(Publish::new("room/light", "on").qos(QoS::AtLeastOnce)).await?.await?;
//! while let Some(event) = incoming.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {} bytes", message.topic(), message.payload().len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it promises:
//!
//! - **Order.** Requests go out in the order of their calls; messages come in the Server's order.
//! - **Nothing lost.** A QoS 1 or 2 message that [`Client::publish`] has taken survives lost
//!   connections until it is acknowledged, the client is disconnected or the process ends. An
//!   incoming one is acknowledged when it is handed out, or by hand ([`Acknowledge`]).
//! - **Nothing twice at QoS 2**, as long as the Server keeps the Session: so give a client id and
//!   switch [`Options::clean_start`] off. Without a Session, a message whose PUBREC was lost with
//!   the connection is published again.
//! - **Bounds.** A slow Server makes [`Client::publish`] wait, a slow reader makes the Server wait:
//!   [`client::QUEUE_MAX`], [`incoming::INBOX_EVENTS_MAX`], [`Options::max_in_flight`].
//! - **Batches.** All that is ready goes out with one write; there is one task for the client and
//!   none for a message.
//!
//! Where to look: [`options`] how to connect, [`url`] the same as a URL, [`client`] the handle,
//! [`authentication`] SCRAM and other methods of 5.0, [`incoming`] the stream, [`message`] what
//! travels, [`error`] what can go wrong. `examples/` has publish, subscribe with acknowledgements
//! by hand, request_response with 5.0 properties, reconnect, persistent_session, tls and
//! websocket; `tests/examples.rs` runs them.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod authentication;
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

pub use authentication::{
    AuthenticationError, AuthenticationExchange, AuthenticationMethod, ScramSha256,
};
pub use backoff::Backoff;
pub use client::{Acknowledged, Answer, Client, Delivery, Subscription};
pub use error::{ConnectError, Lost, Refusal, RequestError};
pub use incoming::{Connected, Event, Incoming};
pub use message::{Message, Publish};
pub use options::{
    Acknowledge, Direction, Endpoint, Options, Proxy, Trace, Transport, WebSocket, Will,
};
#[cfg(feature = "psk")]
pub use tls::PskSettings;
pub use tls::{Tls, TlsSettings};

pub use mqtt_net::tls::{MinimumVersion, TlsError, Verification};
pub use mqtt_proto::packet::{RetainHandling, SubscriptionOptions};
pub use mqtt_proto::property::{PropertyId, Value};
pub use mqtt_proto::{Packet, Properties, PropertiesBuf, QoS, ReasonCode, Version};
