//! See `smbench_fuzz::capture`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::capture(data));
