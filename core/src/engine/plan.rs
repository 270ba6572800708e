//! A workload made ready to run: request templates, expectations and the order graph, flat.
//!
//! Building it is the only place where the engine touches names and JSON-shaped requests; from
//! then on an operation is a copy of header and body with ids patched in.
//!
//! | file       | holds                                                            |
//! |------------|------------------------------------------------------------------|
//! | `template` | a request as bytes with holes                                    |
//! | `part`     | what can be worked out of each operation alone, on any thread    |
//! | `memo`     | requests written lately, by their text                           |
//! | `planner`  | parts to a plan, in order: what depends on other operations      |
//! | `refuse`   | what is not sent because of other operations                     |
//! | `op`       | an operation in 56 bytes                                         |
//! | `recorded` | what the recording holds of each, for who judges a run           |
//! | `intern`   | what many operations share, kept once                            |

mod intern;
mod memo;
mod op;
mod part;
mod planner;
mod recorded;
mod refuse;
mod template;

use std::collections::BTreeMap;

use thiserror::Error;

pub(super) use self::op::{Answer, FILE_OFFSET_AT, Head, Kind, PlanOp, Rare};
use self::{
    op::{LONG, Maybe, Packed, Place},
    part::Draft,
};
pub use self::{
    part::{Drafter, Part},
    planner::Planner,
    recorded::{Recorded, RecordedOp},
};
use super::config::RunConfig;
use crate::{
    confine::{NO_SESSION, NO_TREE, Refusal},
    frame::Digest,
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    order::{OrderError, OrderGraph},
    smb2::WireError,
    workload::{BreakNotice, DataRef, Operation, Session, ShareKind, Tree, Workload, can_name},
};

/// Why a workload cannot be run.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The order edges are no order.
    #[error("the order of the workload is broken: {0}")]
    Order(#[from] OrderError),
    /// A line is not where its id says.
    #[error("operation {id} stands on line {line} of ops.jsonl: ids must count up from 0")]
    Misplaced {
        /// The id it has.
        id: OpId,
        /// The line it is on, from 0.
        line: usize,
    },
    /// An operation names something that the tables do not have.
    #[error("operation {op} names {what} {number}, but the workload has only {count}")]
    Dangling {
        /// The operation.
        op: OpId,
        /// What it names.
        what: &'static str,
        /// The number it names.
        number: u32,
        /// How many there are.
        count: usize,
    },
    /// More opens than operations can name: room for them would be wasted, or not be had.
    #[error("the workload has {operations} operations, which cannot name {opens} opens")]
    TooManyOpens {
        /// How many it says there are.
        opens: usize,
        /// Its operations.
        operations: usize,
    },
    /// An operation that is not where its compound says.
    #[error("operation {op} is not at the place of its compound that it names")]
    Compound {
        /// The operation.
        op: OpId,
    },
    /// A request that cannot be written down again.
    #[error("operation {op} cannot be built: {source}")]
    Unbuildable {
        /// The operation.
        op: OpId,
        /// Why.
        #[source]
        source: WireError,
    },
}

/// What operations name, as far as an engine knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Resources {
    clients: usize,
    pub(super) connections: Vec<ClientId>,
    /// SessionId on the captured wire of each session that was never set up, else 0. On confined
    /// ground [`NO_SESSION`] stands for it.
    pub(super) sessions: Vec<u64>,
    /// The user of each session, by number.
    users: Vec<u32>,
    /// TreeId on the captured wire of each tree that was never connected, else 0. On confined ground
    /// [`NO_TREE`] stands for it.
    pub(super) trees: Vec<u32>,
    pub(super) tree_kinds: Vec<ShareKind>,
    pub(super) opens: usize,
    inferred_opens: usize,
    principals: usize,
}

/// A workload made ready to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    ops: Vec<Packed>,
    places: Vec<Place>,
    heads: Vec<Head>,
    answers: Vec<Answer>,
    data: Vec<DataRef>,
    /// Bodies, one behind the other.
    bodies: Vec<u8>,
    /// Where each body ends in `bodies`.
    body_ends: Vec<usize>,
    /// By operation, ascending.
    rares: Vec<(OpId, Rare)>,
    /// By operation, where think times are wanted.
    think_us: Vec<u64>,
    /// By operation, for `--order capture`: how many were answered before it was sent, and its
    /// place among all answered ones.
    ranks: Vec<(u32, u32)>,
    pub(super) graph: OrderGraph,
    pub(super) resources: Resources,
    /// The legs of each recorded login, in order.
    pub(super) legs: BTreeMap<(ConnId, SessionRef), Vec<OpId>>,
    /// Break notifications, ascending.
    pub(super) notices: Vec<(OpId, BreakNotice)>,
    /// Connections that the server ended, and the operation that says so.
    pub(super) hang_ups: Vec<(ConnId, OpId)>,
    /// The first operation on each connection.
    first_on: Vec<Maybe>,
    /// Operations that this engine runs.
    pub(super) own: usize,
    without_answer: u64,
}

impl Plan {
    /// Makes `workload` ready to run as `config` says.
    ///
    /// `operations` are the lines of `ops.jsonl` in order; `owns` says which clients this engine
    /// runs, the others' operations being known by completions alone. Who has many operations and
    /// threads uses [`Drafter`] and [`Planner`].
    ///
    /// # Errors
    ///
    /// [`PlanError`] when the workload contradicts itself.
    pub fn build(
        workload: &Workload,
        operations: impl IntoIterator<Item = Operation>,
        config: &RunConfig,
        owns: impl Fn(ClientId) -> bool,
    ) -> Result<Self, PlanError> {
        let mut drafter = Drafter::new(workload, config);
        let mut planner = Planner::new(workload, config);
        let mut part = Part::default();
        for operation in operations {
            part.clear();
            drafter.draft(&operation, owns(operation.client), &mut part);
            planner.add(&part)?;
        }
        planner.finish()
    }

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

    /// Number of requests that the recording has no answer for.
    #[must_use]
    pub fn without_answer(&self) -> u64 {
        self.without_answer
    }

    /// How many operations are not to be sent, by reason.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<Refusal, u64> {
        let mut counts = BTreeMap::new();
        for why in self.rares.iter().filter_map(|(_, rare)| rare.refused) {
            *counts.entry(why).or_default() += 1;
        }
        counts
    }

    /// An operation, as far as most of the engine wants to know it.
    #[inline]
    pub(super) fn op(&self, id: OpId) -> Option<PlanOp<'_>> {
        let packed = self.ops.get(id.index())?;
        let place = self.places.get(packed.place as usize)?;
        let head = self.heads.get(packed.head as usize)?;
        let rare = if packed.is_rare {
            self.rare(id)
        } else {
            &Rare::NONE
        };
        let latency_us = match packed.latency_us {
            LONG => rare.latency_us,
            short => u64::from(short),
        };
        Some(PlanOp {
            kind: head.kind,
            cmd: head.cmd,
            at_us: packed.at_us,
            client: place.client,
            conn: place.conn,
            session: place.session.get().map(SessionRef),
            tree: place.tree.get().map(TreeRef),
            open: packed.open.get().map(OpenRef),
            charge: head.charge,
            credits: head.credits,
            leader: packed.leader,
            group: packed.group,
            head,
            rare,
            answer: packed.answer.index().and_then(|at| self.answers.get(at)),
            latency_us,
            packed,
        })
    }

    /// The body of an operation's request.
    pub(super) fn body_of(&self, op: &PlanOp<'_>) -> &[u8] {
        self.body(op.packed.body)
    }

    /// WRITE data of an operation.
    pub(super) fn data_of(&self, op: &PlanOp<'_>) -> Option<DataRef> {
        self.data.get(op.packed.data.index()?).copied()
    }

    /// The data that requests carry, each once, with the first operation that does; ascending.
    #[must_use]
    pub fn sent_data(&self) -> Vec<(OpId, DataRef)> {
        let mut known = vec![false; self.data.len()];
        let new = |(id, op): (u32, &Packed)| {
            let at = op.data.index()?;
            let known = known.get_mut(at)?;
            let data = *self.data.get(at)?;
            (!std::mem::replace(known, true)).then_some((OpId(id), data))
        };
        (0..).zip(&self.ops).filter_map(new).collect()
    }

    /// Digest of the data that the recorded response had.
    pub(super) fn recorded_data(&self, op: &PlanOp<'_>) -> Option<Digest> {
        let data = self.data.get(op.packed.seen_data.index()?)?;
        Some(data.blake3)
    }

    /// Recorded time of `op` since the last thing it waited for, in microseconds. 0 where the
    /// configuration asked for no think times.
    pub(super) fn think_us(&self, op: OpId) -> u64 {
        self.think_us.get(op.index()).copied().unwrap_or(0)
    }

    /// How many operations were answered before this one was sent; 0 unless in `--order capture`.
    pub(super) fn answered_before(&self, op: OpId) -> u32 {
        self.ranks.get(op.index()).map_or(0, |(before, _)| *before)
    }

    /// Its place among all answered operations, by time of answer; `u32::MAX` without answer.
    pub(super) fn answer_rank(&self, op: OpId) -> u32 {
        self.ranks
            .get(op.index())
            .map_or(u32::MAX, |(_, rank)| *rank)
    }

    /// The break notification that `op` stands for, where this engine runs it.
    pub(super) fn notice(&self, op: OpId) -> Option<BreakNotice> {
        let at = self.notices.binary_search_by_key(&op, |(op, _)| *op).ok()?;
        self.notices.get(at).map(|(_, notice)| *notice)
    }

    /// The first operation on `conn`.
    pub(super) fn first_on(&self, conn: ConnId) -> Option<OpId> {
        self.first_on.get(conn.index())?.get().map(OpId)
    }

    fn rare(&self, op: OpId) -> &Rare {
        let at = self.rares.binary_search_by_key(&op, |(op, _)| *op);
        let found = at.ok().and_then(|at| self.rares.get(at));
        found.map_or(&Rare::NONE, |(_, rare)| rare)
    }

    fn latency_of(&self, id: OpId, op: &Packed) -> u64 {
        match op.latency_us {
            LONG => self.rare(id).latency_us,
            short => u64::from(short),
        }
    }

    fn body(&self, number: Maybe) -> &[u8] {
        let range = number.index().and_then(|at| {
            let start = match at.checked_sub(1) {
                Some(before) => *self.body_ends.get(before)?,
                None => 0,
            };
            Some(start..*self.body_ends.get(at)?)
        });
        range
            .and_then(|range| self.bodies.get(range))
            .unwrap_or_default()
    }

    fn rank_answers(&mut self) {
        let answered = |(id, op): (u32, &Packed)| {
            op.answer.get()?;
            Some((op.at_us.saturating_add(self.latency_of(OpId(id), op)), id))
        };
        let mut times: Vec<(u64, u32)> = (0u32..).zip(&self.ops).filter_map(answered).collect();
        times.sort_unstable();
        let before = |op: &Packed| {
            let before = times.partition_point(|(time, _)| *time < op.at_us);
            (u32::try_from(before).unwrap_or(u32::MAX), u32::MAX)
        };
        self.ranks = self.ops.iter().map(before).collect();
        for (rank, (_, at)) in (0u32..).zip(&times) {
            if let Some((_, of)) = self.ranks.get_mut(*at as usize) {
                *of = rank;
            }
        }
    }
}

impl Resources {
    fn of(workload: &Workload, config: &RunConfig) -> Self {
        let confined = config.policy.confined;
        let session = |it: &Session| match it.inferred {
            true if confined => NO_SESSION,
            true => it.wire_id.0,
            false => 0,
        };
        let tree = |it: &Tree| match it.inferred {
            true if confined => NO_TREE,
            true => it.wire_id.0,
            false => 0,
        };
        Self {
            clients: workload.clients.len(),
            connections: workload.connections.iter().map(|it| it.client).collect(),
            sessions: workload.sessions.iter().map(session).collect(),
            users: workload.sessions.iter().map(|it| it.principal).collect(),
            trees: workload.trees.iter().map(tree).collect(),
            tree_kinds: workload.trees.iter().map(Tree::kind).collect(),
            opens: workload.opens as usize,
            inferred_opens: workload.inferred_opens.len(),
            principals: workload.principals.len(),
        }
    }

    /// Whether there may be so many, with so many operations.
    fn check_opens(&self, operations: usize) -> Result<(), PlanError> {
        let [named, opens] =
            [operations, self.opens].map(|it| u64::try_from(it).unwrap_or(u64::MAX));
        if can_name(named, self.inferred_opens, opens) {
            return Ok(());
        }
        let opens = self.opens;
        Err(PlanError::TooManyOpens { opens, operations })
    }

    fn check(&self, op: &Draft) -> Result<(), PlanError> {
        let (previous, principal) = (op.rare.previous_session, op.rare.principal);
        let named = [
            ("client", Some(op.client.0), self.clients),
            ("connection", Some(op.conn.0), self.connections.len()),
            ("session", op.session.map(|it| it.0), self.sessions.len()),
            ("session", previous.map(|it| it.0), self.sessions.len()),
            ("principal", principal.map(|it| it.0), self.principals),
            ("tree", op.tree.map(|it| it.0), self.trees.len()),
            ("open", op.open.map(|it| it.0), self.opens),
            ("open", op.rare.reclaims.map(|it| it.0), self.opens),
        ];
        for (what, number, count) in named {
            if let Some(number) = number.filter(|number| *number as usize >= count) {
                return Err(PlanError::Dangling {
                    op: op.id,
                    what,
                    number,
                    count,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_opens_than_operations_can_name_are_refused() {
        let built = |opens| {
            let workload = Workload {
                opens,
                ..Workload::default()
            };
            Plan::build(&workload, [], &RunConfig::default(), |_| true).map(|plan| plan.len())
        };
        assert_eq!(built(65_536), Ok(0));
        let (opens, operations) = (555_555_100, 0);
        let refused = Err(PlanError::TooManyOpens { opens, operations });
        assert_eq!(built(555_555_100), refused);
    }
}
