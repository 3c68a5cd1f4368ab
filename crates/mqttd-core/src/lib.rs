//! The broker's brain: shards as deterministic machines without I/O.
//!
//! The law of the machine: [`Shard::handle`] takes one [`Event`] at one moment and hands everything
//! that must happen because of it to an [`Output`], before the next event. It reads no clock,
//! socket, file or random source; the same events give the same output.
//!
//! Reading order: `event.rs`, `output.rs`, `shard.rs`, `connect.rs`, `session.rs`, `publish.rs`,
//! `deliver.rs`, `subscribe.rs`, `resume.rs`, `ending.rs`; then `acknowledge.rs`, `journal.rs` and
//! `exchange.rs` for what is promised.

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

mod acknowledge;
mod alias;
pub mod authenticate;
pub mod begun;
mod confirm;
mod connect;
pub mod control;
mod deliver;
pub mod drops;
mod ending;
pub mod envelope;
pub mod event;
mod exchange;
mod expiry;
mod frames;
mod grant;
pub mod ids;
mod interest;
mod journal;
pub mod letters;
pub mod limits;
mod matching;
pub mod memory;
pub mod message;
mod mount;
pub mod notice;
pub mod output;
pub mod pace;
mod publish;
mod queue;
pub mod record;
mod reload;
mod replay;
pub mod restore;
mod resume;
mod retained;
mod session;
mod sessions;
pub mod settings;
mod shard;
mod shared;
pub mod source;
mod stalled;
pub mod stats;
mod stored;
mod subscribe;
mod subscribers;
mod subscriptions;
pub mod time;
mod will;
pub mod wire;

pub use event::Event;
pub use output::Output;
pub use shard::{SHARDS_MAX, Shard};
