//! MQTT 3.1, 3.1.1 and 5.0 without I/O: what both a Client and a Server need to know about the
//! wire.
//!
//! Bytes in, packets out, and the other way round; topic names and filters; the QoS 1 and 2
//! exchanges; the rules of one Network Connection. Nothing here reads a clock, a socket, a file or
//! a random source, and nothing here knows sessions, retained messages or access rights.
//!
//! Where to look:
//! [`version`] every difference in behaviour between the versions, [`packet`] one file per Control
//! Packet, [`codec`] frames and primitive types, [`property`] the 5.0 property blocks, [`topic`]
//! names, filters and the two tries, [`qos`] sender and receiver, [`error`] offences with their
//! clause and reason code.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

extern crate alloc;

pub mod codec;
pub mod connection;
pub mod count;
pub mod error;
pub mod packet;
pub mod packet_id;
pub mod property;
pub mod qos;
pub mod reason;
pub mod topic;
pub mod version;

pub use error::{EncodeError, Offence};
pub use packet::Packet;
pub use packet_id::PacketIdentifier;
pub use property::{Properties, PropertiesBuf};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use version::Version;
