//! See `smbench_fuzz::engine_vs_model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::engine_vs_model(data));
