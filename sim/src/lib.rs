//! See ARCHITECTURE.md.

pub mod server;
