//! See `mqttd_fuzz::store_import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::store_import(data));
