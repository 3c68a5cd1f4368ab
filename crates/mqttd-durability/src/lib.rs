//! What a shard's log promises: the machine between the shard's records and the store.
//!
//! It knows the clock, the device and the people who read log lines only as an [`Around`], so that
//! the broker's body and the simulator run the same machine. Reading order: `durability.rs`,
//! `class.rs`, `unkept.rs`.
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

mod class;
mod durability;
mod unkept;

pub use class::Levels;
pub use durability::{
    Around, BACKGROUND_SYNC, BACKGROUND_WRITE, Durability, OpenError, Outcome, Progress,
    StoreReport, StoreState,
};
