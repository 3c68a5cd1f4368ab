//! See `attack/roundtrip.rs`, which stable Rust asks too.
#![no_main]

#[path = "../attack/roundtrip.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::roundtrip(data));
