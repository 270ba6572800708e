//! See `smbench_fuzz::compile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::compile(data));
