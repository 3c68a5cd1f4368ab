//! See `attack/trie.rs`, which stable Rust asks too.
#![no_main]

#[path = "../attack/trie.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::trie(data));
