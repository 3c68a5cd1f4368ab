//! See `mqttd_fuzz::output_format`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::output_format(data));
