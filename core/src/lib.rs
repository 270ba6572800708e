//! The heart of SMBench: everything that is true of an SMB2/3 run, and nothing that touches a
//! machine.
//!
//! No sockets, files, clocks, randomness, threads or logging: time enters as an argument, facts
//! enter as [`event::Input`], orders leave as [`event::Effect`].

pub mod bulk;
pub mod confine;
pub mod drive;
pub mod engine;
pub mod event;
pub mod frame;
pub mod fscc;
pub mod function;
pub mod ids;
pub mod order;
pub mod rpc;
pub mod seal;
pub mod smb2;
pub mod workload;
