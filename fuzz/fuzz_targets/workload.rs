//! See `smbench_fuzz::workload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::workload(data));
