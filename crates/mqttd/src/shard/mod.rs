//! A shard's body: its connections, its store, its turn.
//!
//! `turn.rs` is the loop, `output.rs` carries out what the shard wants, `connection.rs` is one socket,
//! `ready.rs` says which sockets have something to do.

mod connection;
mod output;
mod ready;
mod turn;

pub(crate) use turn::ShardTask;
