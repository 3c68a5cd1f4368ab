//! See `attack/split.rs`, which stable Rust asks too.
#![no_main]

#[path = "../attack/split.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::split(data));
