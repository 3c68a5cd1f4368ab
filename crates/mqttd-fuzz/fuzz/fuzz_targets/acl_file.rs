//! See `mqttd_fuzz::acl_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::acl_file(data));
