//! The `mosquitto.conf` grammar as a table: one row per directive, from which the parser, the typed
//! [`Config`] and the manual are made. Files are read through a [`Source`]; the crate itself does
//! no I/O. Two stages: what was written (`raw.rs`), then what it means (`config.rs`).

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

mod bridge;
mod check;
mod config;
mod diff;
mod directive;
mod directives;
mod error;
mod line;
mod listener;
mod load;
pub mod manual;
mod migrate;
mod plugin;
mod raw;
mod source;

pub use config::*;
pub use diff::{BridgeChange, Diff, ListenerChange, diff};
pub use directive::{Directive, Meaning, Reload, Scope, Section, Status, Tail, Value};
pub use directives::{GROUPS, Group, find, nearest, rows};
pub use error::{ConfError, ErrorKind, Warning, WarningKind};
pub use line::{LINE_BYTES_MAX, Place};
pub use migrate::{JudgedLine, Migration, Verdict};
pub use plugin::{PluginLine, PluginsDraft};
pub use raw::{AuthDraft, BridgeDraft, Draft, ListenerDraft};
pub use source::{Disk, Memory, Source};
