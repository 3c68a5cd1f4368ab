//! See `mqttd_fuzz::dynsec_commands`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::dynsec_commands(data));
