//! What several integration tests need: the binary, its model server, a private Samba.
//!
//! Bring it in with `mod support;`. No tests here, and nothing that only one test uses. It is a
//! `mod.rs`, against the house style, because Cargo takes `tests/support.rs` for a test of its own.

// Each test binary compiles its own copy and uses its own part.
#![allow(dead_code, unreachable_pub)]

pub mod cli;
pub mod own;
pub mod samba;
pub mod smb;
pub mod watched;
