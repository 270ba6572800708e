//! Operations on their way from their request to their answer.
//!
//! One is some 600 bytes, which are filled in where they stay until they are copied to whoever
//! writes them: a processor waits to load at once what it has just stored in pieces.

use std::mem;

use smbench_core::{smb2::Command, workload::Operation};

use crate::wire_span::WireSpan;

/// An operation, while it may change.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) op: Operation,
    /// When its request was seen, in nanoseconds since the Unix epoch.
    pub(super) time_ns: u64,
    pub(super) span: WireSpan,
    /// It waits for its answer.
    pub(super) waits: bool,
    /// Bytes that it holds, by those of its message.
    pub(super) weight: usize,
}

impl Flight {
    /// One that is of no operation yet.
    pub(super) fn blank() -> Box<Self> {
        Box::new(Self {
            op: Operation::blank(),
            time_ns: 0,
            span: WireSpan::default(),
            waits: false,
            weight: 0,
        })
    }

    /// Takes the operation, and is blank again.
    pub(super) fn take(&mut self) -> Operation {
        self.span = WireSpan::default();
        self.waits = false;
        mem::replace(&mut self.op, Operation::blank())
    }
}

/// The end of a connection is no command.
pub(super) const NO_COMMAND: Command = Command(u16::MAX);
