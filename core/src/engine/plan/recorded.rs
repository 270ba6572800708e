//! What the recording holds of each operation, for who judges a run whose plan the engine has.

use super::{
    LONG, Plan,
    op::{Kind, PlanOp},
};
use crate::{function::Function, ids::OpId, smb2::Command};

/// What the recording holds of each operation, in 8 bytes each.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    ops: Vec<Packed>,
    answers: u64,
    requests: u64,
    reconstructed: u64,
}

/// What the recording holds of one operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedOp {
    /// Its command; meaningless of an event.
    pub command: Command,
    /// It is a request that this plan runs, and no event.
    pub is_request: bool,
    /// The recording has its answer.
    pub is_answered: bool,
    /// It was not captured, but sets up what others use.
    pub is_reconstructed: bool,
    /// It belongs to a tree of pipes.
    pub on_pipe: bool,
    /// The model server [computes](Function::is_modelled) what it asks for.
    pub is_modelled: bool,
    /// From request to final response, in microseconds; 71 minutes for more. 0 without answer.
    pub latency_us: u32,
    /// Credits that it costs; of the first of a compound, what all of it does.
    pub charge: u16,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    latency_us: u32,
    charge: u16,
    /// No command of the protocol is more than 255.
    command: u8,
    flags: u8,
}

impl Recorded {
    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Number of requests that the recording has an answer for.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Number of requests that were not captured.
    #[must_use]
    pub fn reconstructed(&self) -> u64 {
        self.reconstructed
    }

    /// What the recording holds of an operation.
    #[must_use]
    pub fn get(&self, op: OpId) -> Option<RecordedOp> {
        self.ops.get(op.index()).map(|packed| packed.open())
    }

    /// What the recording holds of all operations, in their order.
    pub fn iter(&self) -> impl Iterator<Item = RecordedOp> + '_ {
        self.ops.iter().map(|packed| packed.open())
    }
}

impl Packed {
    fn open(self) -> RecordedOp {
        let has = |flag| self.flags & flag != 0;
        RecordedOp {
            command: Command(self.command.into()),
            is_request: has(REQUEST),
            is_answered: has(ANSWERED),
            is_reconstructed: has(RECONSTRUCTED),
            on_pipe: has(PIPE),
            is_modelled: !has(UNMODELLED),
            latency_us: self.latency_us,
            charge: self.charge,
        }
    }
}

impl Plan {
    fn group_charge(&self, id: OpId, op: &PlanOp<'_>) -> u16 {
        let members = (id.0..id.0.saturating_add(op.group.into())).map(OpId);
        let charges = members
            .filter_map(|member| self.op(member))
            .map(|it| it.charge);
        charges.fold(0, u16::saturating_add).max(op.charge)
    }

    /// What the recording holds of each operation.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let mut all = Recorded {
            ops: Vec::with_capacity(self.len()),
            ..Recorded::default()
        };
        for (id, packed) in (0u32..).zip(&self.ops) {
            let op = self.op(OpId(id));
            let is_request =
                op.is_some_and(|op| matches!(op.kind, Kind::Request | Kind::Smb1Negotiate));
            let is_answered = is_request && packed.answer.get().is_some();
            let tree = op.and_then(|op| op.tree);
            let kind = tree.and_then(|tree| self.resources.tree_kinds.get(tree.index()));
            let on_pipe = kind.is_some_and(|kind| !kind.is_confined());
            let is_modelled =
                op.is_some_and(|op| Function::of_body(op.cmd, self.body_of(&op)).is_modelled());
            let latency_us = match is_answered {
                true => self.latency_of(OpId(id), packed),
                false => 0,
            };
            let flags = [
                (is_request, REQUEST),
                (is_answered, ANSWERED),
                (op.is_some_and(|op| op.rare.reconstructed), RECONSTRUCTED),
                (on_pipe, PIPE),
                (is_request && !is_modelled, UNMODELLED),
            ];
            let flags = flags.iter().filter(|(is, _)| *is);
            all.requests += u64::from(is_request);
            all.reconstructed += u64::from(op.is_some_and(|op| op.rare.reconstructed));
            all.answers += u64::from(is_answered);
            all.ops.push(Packed {
                latency_us: u32::try_from(latency_us).unwrap_or(LONG),
                charge: op.map_or(0, |op| self.group_charge(OpId(id), &op)),
                command: op.map_or(u8::MAX, |op| u8::try_from(op.cmd.0).unwrap_or(u8::MAX)),
                flags: flags.fold(0, |flags, (_, flag)| flags | flag),
            });
        }
        all
    }
}

const REQUEST: u8 = 1;
const ANSWERED: u8 = 2;
const PIPE: u8 = 4;
const RECONSTRUCTED: u8 = 8;
const UNMODELLED: u8 = 16;
