//! The rules of one Network Connection, apart from any socket (MQTT 4.1 to 4.13).
//!
//! [`client`] is the Client's side, [`terms`] what was agreed at the beginning. What a Session
//! keeps beyond the connection is in [`crate::qos`]; reading and writing bytes is the caller's.

pub mod client;
pub mod keepalive;
mod refused;
pub mod terms;

pub use client::{ClientConnection, Phase, Received};
pub use keepalive::{Due, KeepAlive};
pub use refused::SendRefused;
pub use terms::{Opening, ServerLimits};
