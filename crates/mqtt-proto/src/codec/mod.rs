//! Bytes ↔ fields and frames: the fixed header, the primitive types of MQTT 1.5, and a bounded
//! cursor. The packets themselves are in [`crate::packet`].

pub mod frame;
pub mod reader;
pub mod varint;
pub mod writer;

pub use frame::{Frame, REMAINING_LENGTH_MAX};
pub use reader::Reader;
