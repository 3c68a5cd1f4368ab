//! Byte streams for MQTT: TCP, TLS, WebSocket, Unix socket, PROXY protocol and SOCKS5.
//!
//! Everything here ends in a [`Stream`]: bytes in, bytes out. No MQTT packet, no configuration file
//! and no policy lives here; the caller brings every deadline.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

pub mod address;
pub mod certificate;
pub mod http;
pub mod proxy_header;
pub mod socks5;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod unix;
pub mod websocket;

pub use address::PeerAddress;
pub use certificate::PeerCertificate;
pub use stream::{Detached, Stream};
pub use tls::{ClientTls, Pem, ServerTls};
