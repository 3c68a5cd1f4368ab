//! See `mqttd_fuzz::mosquitto_conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::mosquitto_conf(data));
