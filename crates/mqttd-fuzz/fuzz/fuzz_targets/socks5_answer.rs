//! See `mqttd_fuzz::socks5_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqttd_fuzz::socks5_answer(data));
