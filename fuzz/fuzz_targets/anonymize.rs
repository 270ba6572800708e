//! See `smbench_fuzz::anonymize`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::anonymize(data));
