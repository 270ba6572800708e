//! Operations on their way from their request to their answer.
//!
//! One is some 600 bytes, which are filled in where they stay until they are copied to whoever
//! writes them: a processor waits to load at once what it has just stored in pieces.

use std::mem;

use smbench_core::{
    ids::{ClientId, ConnId, OpId},
    smb2::{Command, HeaderFlags, Quirks},
    workload::{Action, Operation},
};

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
            op: blank(),
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
        mem::replace(&mut self.op, blank())
    }
}

fn blank() -> Operation {
    Operation {
        id: OpId(0),
        at_us: 0,            // settled at the end
        client: ClientId(0), // settled at the end
        conn: ConnId(0),
        session: None,
        tree: None,
        cmd: NO_COMMAND,
        mid: 0,
        charge: 0,
        credits: 0,
        flags: HeaderFlags::empty(),
        channel_sequence: 0,
        process_id: 0,
        raw_tree: None,
        frame: 0,
        compound: None,
        action: Action::Smb1Negotiate(Vec::new()),
        path: None,
        open: None,
        reclaims: None,
        previous_session: None,
        principal: None,
        resume_key_of: None,
        cancels: None,
        data: None,
        quirks: Quirks::default(),
        cut: false,
        after: Vec::new(),
        expect: None,
    }
}

/// The end of a connection is no command, nor is what is not known yet.
pub(super) const NO_COMMAND: Command = Command(u16::MAX);
