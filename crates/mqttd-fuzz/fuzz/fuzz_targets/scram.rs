//! See `mqttd_fuzz::scram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::scram(data));
