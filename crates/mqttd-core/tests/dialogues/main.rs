//! Scenarios of one or several shards, one file per theme, as dialogues of scripted Clients.

#[path = "../world/mod.rs"]
mod world;

mod connect;
