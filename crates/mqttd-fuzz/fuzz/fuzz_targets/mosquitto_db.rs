//! See `mqttd_fuzz::mosquitto_db`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::mosquitto_db(data));
