//! Packet captures to SMBench workloads. See ARCHITECTURE.md.

pub mod capture;
