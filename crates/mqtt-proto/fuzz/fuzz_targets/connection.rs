//! See `attack/connection.rs`, which stable Rust asks too.
#![no_main]

#[path = "../attack/connection.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::connection(data));
