#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("device_tree", data));
