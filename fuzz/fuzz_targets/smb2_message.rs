//! See `smbench_fuzz::smb2_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smbench_fuzz::smb2_message(data));
