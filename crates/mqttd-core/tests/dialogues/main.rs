//! Scenarios of one or several shards, one file per theme, as dialogues of scripted Clients.

#![allow(missing_docs, unreachable_pub, reason = "a test binary has no readers from outside")]

#[path = "../world/mod.rs"]
mod world;

mod connect;
mod control;
mod exchange;
mod limits;
mod publish;
mod queue;
mod refusals;
mod reload;
mod restart;
mod retained;
mod shards;
mod shared;
mod subscribe;
mod will;
