//! See `mqttd_fuzz::dynsec_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::dynsec_file(data));
