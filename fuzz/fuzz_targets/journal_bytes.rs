//! See `smbench_fuzz::journal_bytes`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::journal_bytes(data));
