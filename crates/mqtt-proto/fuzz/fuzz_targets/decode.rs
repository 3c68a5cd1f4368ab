//! See `attack/decode.rs`, which stable Rust asks too.
#![no_main]

#[path = "../attack/decode.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::decode(data));
