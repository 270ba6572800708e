//! What can be wrong with bytes that claim to be SMB2.

use thiserror::Error;

/// Bytes that are not what their header says.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WireError {
    /// The message ends before a field it must have.
    #[error("{field} at byte {offset}: need {need} bytes, have {have}")]
    Truncated {
        /// The field, as the specification names it.
        field: &'static str,
        /// Where the field begins, in bytes from the start of the message.
        offset: usize,
        /// Bytes the field takes.
        need: usize,
        /// Bytes left from `offset`.
        have: usize,
    },
    /// A field holds a value that makes the rest unreadable.
    #[error("{field} at byte {offset}: {got:#x} is not allowed ([MS-SMB2] {section})")]
    BadValue {
        /// The field, as the specification names it.
        field: &'static str,
        /// Where the field begins, in bytes from the start of the message.
        offset: usize,
        /// What it holds.
        got: u64,
        /// The section that forbids it.
        section: &'static str,
    },
}
