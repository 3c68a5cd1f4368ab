//! A shard's body: its connections, its store, its turn.
//!
//! `turn.rs` is the loop, `output.rs` carries out what the shard wants, `connection.rs` is one
//! socket, `reading.rs` turns bytes into packets, `pool.rs` keeps memory for output, `ready.rs`
//! says which sockets have something to do, `closing.rs` ends connections, `moving.rs` takes a
//! shard to another worker.

mod closing;
mod connection;
mod moving;
mod output;
mod pace;
mod pool;
mod reading;
mod ready;
mod turn;

pub(crate) use turn::{Ended, Running, ShardTask};
