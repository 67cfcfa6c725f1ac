#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kibosh::fuzz::request(bytes));
