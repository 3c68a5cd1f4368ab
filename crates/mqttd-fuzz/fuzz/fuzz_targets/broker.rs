//! See `mqttd_fuzz::broker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::broker(data));
