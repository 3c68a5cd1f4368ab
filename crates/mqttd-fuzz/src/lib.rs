//! One entry for each thing that parses a file or a stranger's bytes. Those of `mqtt-proto` are
//! targets of its own; their files are compiled in here too. An entry takes any bytes, must not
//! panic, and checks what has to hold for all of them. `fuzz/` drives them with cargo-fuzz,
//! `tests/smoke.rs` with a seeded loop on stable.
#![forbid(unsafe_code)]

mod access;
mod broker;
mod conf;
mod corpus;
mod dynsec;
mod import;
mod log;
mod packets;
mod socks;
mod tools;
mod websocket;
mod wire;

// Private to its crate; the file is compiled in here as it is.
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqttd/src/store_tool/mosquitto_db.rs"]
mod mosquitto_db;

pub use access::{acl_file, password_file, psk_file, scram};
pub use broker::broker;
pub use conf::mosquitto_conf;
pub use corpus::corpus;
pub use dynsec::{dynsec_commands, dynsec_file};
pub use import::store_import;
pub use log::{mosquitto_db, store_recovery, store_segment};
pub use packets::{connection, decode, roundtrip, split, trie};
pub use socks::socks5_answer;
pub use tools::output_format;
pub use wire::{http_request, proxy_header, websocket_frames};

/// An entry: its name, what it does, inputs to begin with.
pub type Entry = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const ENTRIES: [Entry; 21] = [
    ("mosquitto_conf", mosquitto_conf, conf::seeds),
    ("password_file", password_file, access::password_seeds),
    ("acl_file", acl_file, access::acl_seeds),
    ("psk_file", psk_file, access::psk_seeds),
    ("proxy_header", proxy_header, wire::proxy_seeds),
    ("websocket_frames", websocket_frames, wire::websocket_seeds),
    ("store_recovery", store_recovery, log::store_seeds),
    ("mosquitto_db", mosquitto_db, log::mosquitto_seeds),
    ("output_format", output_format, tools::seeds),
    ("broker", broker, broker::seeds),
    ("scram", scram, access::scram_seeds),
    ("http_request", http_request, wire::http_seeds),
    ("dynsec_file", dynsec_file, dynsec::file_seeds),
    ("dynsec_commands", dynsec_commands, dynsec::command_seeds),
    ("store_import", store_import, import::seeds),
    ("socks5_answer", socks5_answer, socks::seeds),
    ("decode", decode, packets::packet_seeds),
    ("roundtrip", roundtrip, packets::packet_seeds),
    ("split", split, packets::stream_seeds),
    ("connection", connection, packets::stream_seeds),
    ("trie", trie, packets::trie_seeds),
];
