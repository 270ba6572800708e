//! See `smbench_fuzz::confinement`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::confinement(data));
