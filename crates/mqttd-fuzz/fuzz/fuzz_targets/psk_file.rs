//! See `mqttd_fuzz::psk_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::psk_file(data));
