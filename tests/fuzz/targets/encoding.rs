#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| clyra_fuzz::encoding::encoding(input));
