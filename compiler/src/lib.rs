//! Packet captures to SMBench workloads. See ARCHITECTURE.md.
//!
//! [`compile`] does all of it: [`capture`] finds SMB frames in packets, `dissect` makes operations
//! of them, [`order`] says what came before what, `namespace` what had to exist, and [`folder`]
//! writes the result down. [`mod@anonymize`] makes a folder fit to be given away.

mod allowance;
pub mod anonymize;
pub mod capture;
mod compile;
mod dissect;
pub mod folder;
mod foresight;
mod map;
mod namespace;
mod offer;
mod opens;
mod order;
mod paged;
pub mod prepare;
mod scribe;
pub mod secrets;
pub mod slice;
mod spill;
mod threads;
pub mod wire_span;

pub use compile::{CompileError, CompileOptions, Compiled, Progress, compile};
pub use foresight::{Foresight, Midway};
pub use secrets::{Account, KeysError, Passwords, PasswordsError, SessionKeys, Unfit};
pub use wire_span::WireSpan;
