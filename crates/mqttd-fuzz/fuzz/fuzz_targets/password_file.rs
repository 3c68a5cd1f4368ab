//! See `mqttd_fuzz::password_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::password_file(data));
