//! Packet captures to SMBench workloads. See ARCHITECTURE.md.

pub mod capture;

mod order;
pub mod prepare;
pub mod wire_span;

pub use order::{Inferred, infer};
