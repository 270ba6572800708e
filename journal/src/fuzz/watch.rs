//! What holds in every run, whatever a server, a network or the end of the run does.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    engine::Recorded,
    event::{Divergence, Effect, Input, Report},
    frame::Frame,
    ids::{ConnId, OpId},
    smb2::{Command, Header},
};
use thiserror::Error;

use super::mutation::key_of;

/// Something that must not happen in any run.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Violation {
    /// The engine panicked.
    #[error("the engine panicked: {message}")]
    Panic {
        /// What it said.
        message: String,
    },
    /// The engine refused an input that a server, a network or the end of a run can cause.
    #[error("the engine refused an input that can come: {error}")]
    Refused {
        /// Why.
        error: String,
    },
    /// A frame was to leave that must not.
    #[error("a frame was to leave that must not: {error}")]
    Outgoing {
        /// Why.
        error: String,
    },
    /// An operation ended twice, or was sent twice.
    #[error("operation {op} {what} twice")]
    Twice {
        /// Which.
        op: OpId,
        /// What it did.
        what: &'static str,
    },
    /// An operation was answered that was never sent.
    #[error("operation {op} is answered and was never sent")]
    Unsent {
        /// Which.
        op: OpId,
    },
    /// The run is over, and an operation is not.
    #[error("operation {op} never ends")]
    NoEnd {
        /// Which.
        op: OpId,
    },
    /// The run does not end.
    #[error("the run does not end: {why}")]
    Endless {
        /// What it does instead.
        why: &'static str,
    },
    /// Something was ordered after the run was over.
    #[error("{what} after the run was over")]
    AfterDone {
        /// What.
        what: &'static str,
    },
    /// A MessageId was used twice on a connection.
    #[error("connection {conn} uses MessageId {mid} twice")]
    MessageId {
        /// The connection.
        conn: ConnId,
        /// The MessageId.
        mid: u64,
    },
    /// More was sent than the server granted credits for.
    #[error("connection {conn} sends {over} credits more than it was granted")]
    Overdrawn {
        /// The connection.
        conn: ConnId,
        /// How many too many.
        over: u64,
    },
    /// An operation is given up for want of credits that are there.
    #[error("operation {op} starves, and its connection has {credits} credits")]
    Starved {
        /// Which.
        op: OpId,
        /// How many credits there are.
        credits: u64,
    },
    /// The engine keeps more than its plan explains.
    #[error("the engine keeps {held} things, more than the {most} that its plan explains")]
    Memory {
        /// How many.
        held: usize,
        /// How many there may be.
        most: usize,
    },
    /// A break was acknowledged more often than it came.
    #[error("a break on connection {conn} is acknowledged more often than it came")]
    Acknowledged {
        /// The connection.
        conn: ConnId,
    },
}

/// Looks at all that goes into an engine and comes out of it.
#[derive(Debug)]
pub struct Watch {
    recorded: Recorded,
    fates: Vec<Fate>,
    conns: BTreeMap<ConnId, Wire>,
    /// Acknowledgements less notifications, by connection and key.
    acknowledged: BTreeMap<(ConnId, [u8; 16]), i64>,
    /// An operation was reported as started, and its frame has not gone out.
    started: Option<OpId>,
    done: bool,
    violation: Option<Violation>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    started: bool,
    ended: bool,
    /// It diverged in a way that ends it without an answer.
    lost: bool,
    conn: Option<ConnId>,
    charge: u64,
}

/// One connection, from one attempt to the next.
#[derive(Debug)]
struct Wire {
    used: BTreeSet<u64>,
    /// What the server granted, as much as it may be read as.
    granted: u64,
    /// What it surely granted.
    surely: u64,
    sent: u64,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            used: BTreeSet::new(),
            granted: 1,
            surely: 1,
            sent: 0,
        }
    }
}

impl Watch {
    /// Of a run of a plan with this recording.
    #[must_use]
    pub fn new(recorded: Recorded) -> Self {
        Self {
            fates: vec![Fate::default(); recorded.len()],
            recorded,
            conns: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            started: None,
            done: false,
            violation: None,
        }
    }

    /// The first thing that must not have happened.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Whether the run is over.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// An input that the engine is given.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Connected { conn } => {
                self.conns.insert(*conn, Wire::default());
            }
            Input::Received { conn, frame, .. } => self.received(*conn, frame),
            _ => {}
        }
    }

    fn received(&mut self, conn: ConnId, frame: &Frame) {
        let Some(wire) = self.conns.get_mut(&conn) else {
            return;
        };
        for pdu in frame.pdus() {
            let Ok((header, bytes, _)) = pdu else { break };
            let credits = u64::from(header.credits);
            wire.granted = wire.granted.saturating_add(credits);
            if header.message_id.0 != u64::MAX {
                wire.surely = wire.surely.saturating_add(credits).min(MOST_CREDITS);
            }
            if let Some(key) = key_of(bytes) {
                *self.acknowledged.entry((conn, key)).or_default() -= 1;
            }
        }
    }

    /// An effect that the engine gave.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { conn, frame, .. } => self.sent(*conn, frame),
            Effect::Connect { .. } if self.done => {
                self.violated(Violation::AfterDone {
                    what: "a connection",
                });
            }
            Effect::Report(report) => self.report(report),
            _ => {}
        }
    }

    fn sent(&mut self, conn: ConnId, frame: &Frame) {
        if self.done {
            self.violated(Violation::AfterDone { what: "a frame" });
        }
        let own = self.started.take().is_none();
        let mut problem = None;
        let wire = self.conns.entry(conn).or_default();
        let mut any = false;
        for pdu in frame.pdus() {
            let Ok((header, bytes, _)) = pdu else { break };
            any = true;
            if header.command == Command::CANCEL {
                continue; // it repeats the MessageId of what it cancels, and costs nothing
            }
            problem = problem.or(wire.book(conn, &header));
            if let Some(key) = key_of(bytes) {
                let balance = self.acknowledged.entry((conn, key)).or_default();
                // What the recording acknowledges that nobody broke is the recording's.
                if own || *balance < 0 {
                    *balance += 1;
                }
                if *balance > 0 {
                    problem = problem.or(Some(Violation::Acknowledged { conn }));
                }
            }
        }
        if !any {
            // An SMB1 NEGOTIATE is answered as if it were MessageId 0. [MS-SMB2] 3.3.5.3.1.
            wire.used.insert(0);
            wire.sent += 1;
        }
        if let Some(violation) = problem {
            self.violated(violation);
        }
    }

    fn report(&mut self, report: &Report) {
        if self.done {
            self.violated(Violation::AfterDone { what: "a report" });
        }
        match report {
            Report::Started { op, .. } => {
                self.started = Some(*op);
                self.change(*op, |fate| {
                    std::mem::replace(&mut fate.started, true).then_some("is sent")
                });
            }
            Report::Finished { op, .. } => {
                let sent = self.fates.get(op.index()).is_none_or(|fate| fate.started);
                if !sent {
                    self.violated(Violation::Unsent { op: *op });
                }
                self.end(*op);
            }
            Report::Cascaded { op, .. }
            | Report::Skipped { op, .. }
            | Report::Refused { op, .. } => {
                self.end(*op);
            }
            Report::Diverged { op, divergence } => self.diverged(*op, divergence),
            Report::Done => {
                self.done = true;
                self.all_ended();
            }
            Report::Observed { .. } | Report::TreeRefused { .. } | Report::Stray { .. } => {}
        }
    }

    fn diverged(&mut self, op: OpId, divergence: &Divergence) {
        let lost = matches!(
            divergence,
            Divergence::NoResponse
                | Divergence::NoCredits
                | Divergence::ConnectionLost { .. }
                | Divergence::LoginFailed
        );
        let Some(fate) = self.fates.get_mut(op.index()) else {
            return;
        };
        fate.lost |= lost;
        let Some(conn) = fate.conn else { return };
        let charge = fate.charge;
        let Some(wire) = self.conns.get_mut(&conn) else {
            return;
        };
        // What is given up gives its credits back.
        if *divergence == Divergence::NoResponse {
            wire.granted = wire.granted.saturating_add(charge);
        }
    }

    /// An operation waits for credits on `conn`, and is given up: were there any?
    pub(super) fn starves(&mut self, op: OpId, conn: ConnId) {
        let Some(wire) = self.conns.get(&conn) else {
            return;
        };
        let charge = self.recorded.get(op).map_or(1, |it| u64::from(it.charge));
        let credits = wire.surely.saturating_sub(wire.sent);
        if credits >= charge.max(1) {
            self.violated(Violation::Starved { op, credits });
        }
    }

    fn change(&mut self, op: OpId, change: impl FnOnce(&mut Fate) -> Option<&'static str>) {
        let twice = self.fates.get_mut(op.index()).and_then(change);
        if let Some(what) = twice {
            self.violated(Violation::Twice { op, what });
        }
    }

    fn end(&mut self, op: OpId) {
        self.change(op, |fate| {
            std::mem::replace(&mut fate.ended, true).then_some("ends")
        });
    }

    /// Every request of this run has ended, in one way or another. One that has no answer in the recording
    /// either, as a CANCEL, is not waited for once it is sent.
    fn all_ended(&mut self) {
        let open = {
            let requests = (0u32..).map(OpId).zip(self.recorded.iter());
            let mut requests = requests
                .zip(&self.fates)
                .filter(|((_, it), _)| it.is_request);
            let open = requests.find(|((_, it), fate)| {
                let waited_for = it.is_answered || !fate.started;
                waited_for && !fate.ended && !fate.lost
            });
            open.map(|((op, _), _)| op)
        };
        if let Some(op) = open {
            self.violated(Violation::NoEnd { op });
        }
    }

    /// Requests that are on the wire of `conn`.
    pub(super) fn note_sent(&mut self, op: OpId, conn: ConnId, charge: u64) {
        if let Some(fate) = self.fates.get_mut(op.index()) {
            (fate.conn, fate.charge) = (Some(conn), charge);
        }
    }

    /// The operation whose frame goes out next.
    pub(super) const fn next_sent(&self) -> Option<OpId> {
        self.started
    }
}

impl Wire {
    /// Books one request: its MessageIds, and what it costs. [MS-SMB2] 3.2.4.1.2, 3.2.4.1.3.
    fn book(&mut self, conn: ConnId, header: &Header) -> Option<Violation> {
        let charge = u64::from(header.credit_charge.max(1));
        let first = header.message_id.0;
        self.sent = self.sent.saturating_add(charge);
        for mid in first..first.saturating_add(charge) {
            if !self.used.insert(mid) {
                return Some(Violation::MessageId { conn, mid });
            }
        }
        let over = self.sent.saturating_sub(self.granted);
        (over > 0).then_some(Violation::Overdrawn { conn, over })
    }
}

/// No client keeps more credits than MessageIds have a window for.
const MOST_CREDITS: u64 = u16::MAX as u64;
