//! See `mqttd_fuzz::store_recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::store_recovery(data));
