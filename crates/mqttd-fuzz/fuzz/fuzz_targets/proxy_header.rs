//! See `mqttd_fuzz::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::proxy_header(data));
