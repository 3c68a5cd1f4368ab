//! The `mosquitto.conf` grammar as a table: one row per directive, from which the parser, the typed
//! [`Config`] and the manual are made. Files are read through a [`Source`]; the crate itself does
//! no I/O. Two stages: what was written, then what it means.

#![forbid(unsafe_code)]

mod bridge;
mod config;
mod line;
mod listener;
mod source;

pub use config::*;
pub use line::Place;
pub use source::{Disk, Memory, Source};
