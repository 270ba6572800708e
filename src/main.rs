//! The `smbench` binary: parse, call, exit code.

fn main() {}
