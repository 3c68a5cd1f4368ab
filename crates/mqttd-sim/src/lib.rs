//! The broker in a world that one seed decides: real shards (`mqttd-core`), their real logs
//! (`mqttd-durability`, `mqttd-store`) on a simulated disk, scripted Clients that keep to the rules
//! and one that does not, a network that is late, cuts and half-closes, crashes, power cuts, full
//! disks, reloads and clocks that jump.
//!
//! What happened is a [`History`]; each promise has a checker of its own in `checks/`, which reads
//! the history beside a naive model. Reading order: `plan.rs`, `world.rs`, `turn.rs`, `client.rs`,
//! `history.rs`, `checks/mod.rs`, `shrink.rs`. `docs/testing.md` says what this proves and what it
//! can not.
#![forbid(unsafe_code)]

mod audit;
mod body;
mod broker;
pub mod checks;
mod client;
mod dice;
mod finish;
mod history;
mod network;
mod packets;
mod plan;
pub mod shrink;
mod turn;
mod world;

pub use history::History;
pub use plan::{Crash, DiskFault, Level, Plan, Scene, Step, plan};
pub use world::{Failure, Report, run};
