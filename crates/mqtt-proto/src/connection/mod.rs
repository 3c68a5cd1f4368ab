//! The rules of one Network Connection, apart from any socket (MQTT 4.1 to 4.13).
//!
//! [`client`] is the Client's side. What a Session keeps beyond the connection is in
//! [`crate::qos`]; reading and writing bytes is the caller's.

pub mod client;
pub mod keepalive;

pub use client::{ClientConnection, Opening, Phase, Received, SendRefused, ServerLimits};
pub use keepalive::{Due, KeepAlive};
