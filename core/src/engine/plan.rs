//! A workload made ready to run: request templates, expectations and the order graph, flat.
//!
//! Building it is the only place where the engine touches names and JSON-shaped requests; from
//! then on an operation is a copy of template bytes with ids patched in.

mod template;

use std::collections::BTreeMap;

use thiserror::Error;

use super::config::{OrderMode, RunConfig};
use crate::{
    event::Milestone,
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    order::{Arc, OrderError, OrderGraph},
    smb2::{Command, NtStatus, WireError},
    workload::{Action, BreakNotice, DataRef, Edge, Expect, Operation, Rule, Workload},
};

pub(super) use self::template::Template;

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

/// What an operation is to the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Request,
    Smb1Negotiate,
    Break(BreakNotice),
    Disconnect {
        by_client: bool,
        reset: bool,
    },
    /// Run by another shard.
    Foreign,
}

/// One operation, ready to run.
#[derive(Clone, Debug)]
pub(super) struct PlanOp {
    pub(super) kind: Kind,
    pub(super) cmd: Command,
    pub(super) at_us: u64,
    /// Recorded time since the last thing it waited for, for think pacing.
    pub(super) think_us: u64,
    pub(super) client: ClientId,
    pub(super) conn: ConnId,
    pub(super) session: Option<SessionRef>,
    pub(super) tree: Option<TreeRef>,
    pub(super) open: Option<OpenRef>,
    pub(super) reclaims: Option<OpenRef>,
    pub(super) resume_key_of: Option<OpId>,
    pub(super) previous_session: Option<SessionRef>,
    pub(super) cancels: Option<OpId>,
    pub(super) charge: u16,
    pub(super) credits: u16,
    /// First operation of its compound; itself when alone.
    pub(super) leader: OpId,
    /// Members of the compound that this leads, itself included; 0 for the others.
    pub(super) group: u16,
    pub(super) template: Template,
    pub(super) data: Option<DataRef>,
    pub(super) expect: Option<Box<Expect>>,
    /// The status that the recorded login of this SESSION_SETUP ended with.
    pub(super) login_ends: Option<NtStatus>,
    /// Operations answered before this one was sent, for `--order capture`.
    pub(super) answered_before: u32,
    /// Its place among all answered operations, by time of answer; `u32::MAX` without answer.
    pub(super) answer_rank: u32,
    /// The break notification that this acknowledges.
    pub(super) acknowledges: Option<OpId>,
}

/// A workload made ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) ops: Vec<PlanOp>,
    pub(super) graph: OrderGraph,
    pub(super) bytes: Vec<u8>,
    pub(super) clients: usize,
    pub(super) connections: Vec<ClientId>,
    /// SessionId on the captured wire of each session that was never set up, else 0.
    pub(super) sessions: Vec<u64>,
    /// TreeId on the captured wire of each tree that was never connected, else 0.
    pub(super) trees: Vec<u32>,
    pub(super) opens: usize,
    /// The legs of each recorded login, in order.
    pub(super) legs: BTreeMap<(ConnId, SessionRef), Vec<OpId>>,
}

impl Plan {
    /// Makes `workload` ready to run as `config` says.
    ///
    /// `operations` are the lines of `ops.jsonl` in order; `owns` says which clients this engine
    /// runs, the others' operations being known by completions alone.
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
        let mut plan = Self::empty(workload);
        let mut arcs = Vec::new();
        for (line, operation) in operations.into_iter().enumerate() {
            if operation.id.index() != line {
                return Err(PlanError::Misplaced {
                    id: operation.id,
                    line,
                });
            }
            plan.check_references(&operation)?;
            plan.add_edges(&operation, config.order, &mut arcs);
            let own = owns(operation.client);
            let op = plan.ready(workload, operation, config, own)?;
            plan.ops.push(op);
        }
        plan.count_groups();
        plan.follow_logins();
        if config.order == OrderMode::Capture {
            plan.rank_answers();
        }
        plan.graph = OrderGraph::build(plan.ops.len(), &arcs)?;
        Ok(plan)
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

    fn empty(workload: &Workload) -> Self {
        Self {
            ops: Vec::new(),
            graph: OrderGraph::default(),
            bytes: Vec::new(),
            clients: workload.clients.len(),
            connections: workload
                .connections
                .iter()
                .map(|conn| conn.client)
                .collect(),
            sessions: (workload.sessions.iter())
                .map(|session| {
                    if session.inferred {
                        session.wire_id.0
                    } else {
                        0
                    }
                })
                .collect(),
            trees: (workload.trees.iter())
                .map(|tree| if tree.inferred { tree.wire_id.0 } else { 0 })
                .collect(),
            opens: workload.opens as usize,
            legs: BTreeMap::new(),
        }
    }

    fn check_references(&self, op: &Operation) -> Result<(), PlanError> {
        let named = [
            ("client", Some(op.client.0), self.clients),
            ("connection", Some(op.conn.0), self.connections.len()),
            ("session", op.session.map(|it| it.0), self.sessions.len()),
            (
                "session",
                op.previous_session.map(|it| it.0),
                self.sessions.len(),
            ),
            ("tree", op.tree.map(|it| it.0), self.trees.len()),
            ("open", op.open.map(|it| it.0), self.opens),
            ("open", op.reclaims.map(|it| it.0), self.opens),
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

    /// Edges bind the compound, not its members: a compound goes out as one.
    fn add_edges(&self, op: &Operation, order: OrderMode, arcs: &mut Vec<Arc>) {
        let to = leader_of(op);
        for edge in &op.after {
            let from_op = self.ops.get(edge.id.index());
            let same_client = from_op.is_some_and(|from| from.client == op.client);
            let same_group = from_op.is_some_and(|from| from.leader == to);
            let ends_connection = matches!(op.action, Action::Disconnect(_)) && same_client;
            if (ends_connection || binds(edge, order, same_client)) && !same_group {
                arcs.push(Arc {
                    from: edge.id,
                    to,
                    on: edge.on,
                });
            }
        }
    }

    fn ready(
        &mut self,
        workload: &Workload,
        operation: Operation,
        config: &RunConfig,
        own: bool,
    ) -> Result<PlanOp, PlanError> {
        let template = if own {
            template::build(workload, &operation, config, &mut self.bytes).map_err(|source| {
                PlanError::Unbuildable {
                    op: operation.id,
                    source,
                }
            })?
        } else {
            Template::default()
        };
        let kind = match (&operation.action, own) {
            (_, false) => Kind::Foreign,
            (Action::Request(_), _) => Kind::Request,
            (Action::Smb1Negotiate(_), _) => Kind::Smb1Negotiate,
            (Action::Break(notice), _) => Kind::Break(*notice),
            (Action::Disconnect(end), _) => Kind::Disconnect {
                by_client: end.by_client,
                reset: end.reset,
            },
        };
        Ok(PlanOp {
            kind,
            cmd: operation.cmd,
            at_us: operation.at_us,
            think_us: self.think_us(&operation),
            client: operation.client,
            conn: operation.conn,
            session: operation.session,
            tree: operation.tree,
            open: operation.open,
            reclaims: operation.reclaims,
            resume_key_of: operation.resume_key_of,
            previous_session: operation.previous_session,
            cancels: operation.cancels,
            charge: operation.charge,
            credits: operation.credits,
            leader: leader_of(&operation),
            group: 1,
            template,
            data: operation.data,
            login_ends: None,
            answered_before: 0,
            answer_rank: u32::MAX,
            acknowledges: self.acknowledges(&operation),
            expect: operation.expect.map(Box::new),
        })
    }

    fn think_us(&self, op: &Operation) -> u64 {
        let happened = |edge: &Edge| {
            let from = self.ops.get(edge.id.index())?;
            let expect = from.expect.as_deref();
            let took = match edge.on {
                Milestone::Sent => 0,
                Milestone::Interim => expect.map_or(0, |e| e.interim_us.unwrap_or(e.latency_us)),
                Milestone::Response => expect.map_or(0, |e| e.latency_us),
            };
            Some(from.at_us.saturating_add(took))
        };
        let last = op.after.iter().filter_map(happened).max().unwrap_or(0);
        op.at_us.saturating_sub(last)
    }

    fn acknowledges(&self, op: &Operation) -> Option<OpId> {
        let is_ack = op.cmd == Command::OPLOCK_BREAK && matches!(op.action, Action::Request(_));
        let by_edge = op
            .after
            .iter()
            .filter(|edge| edge.rule == Rule::Break)
            .map(|edge| edge.id);
        by_edge
            .filter(|from| is_ack && self.ops.get(from.index()).is_some_and(is_break))
            .max()
    }

    /// Members of a compound stand one after the other.
    fn count_groups(&mut self) {
        let leaders: Vec<OpId> = self.ops.iter().map(|op| op.leader).collect();
        for (at, leader) in (0u32..).zip(&leaders) {
            if leader.0 == at {
                continue;
            }
            if let Some(op) = self.ops.get_mut(leader.index()) {
                op.group = op.group.saturating_add(1);
            }
            if let Some(op) = self.ops.get_mut(at as usize) {
                op.group = 0;
            }
        }
    }

    /// Lists the legs of every recorded login, and tells each how the login ended.
    fn follow_logins(&mut self) {
        for (at, op) in (0u32..).zip(&self.ops) {
            if let (Command::SESSION_SETUP, Some(session)) = (op.cmd, op.session) {
                self.legs
                    .entry((op.conn, session))
                    .or_default()
                    .push(OpId(at));
            }
        }
        for legs in self.legs.values() {
            let mut end = None;
            for leg in legs.iter().rev() {
                let Some(op) = self.ops.get_mut(leg.index()) else {
                    continue;
                };
                match op.expect.as_deref().map(|expect| expect.status) {
                    Some(NtStatus::MORE_PROCESSING_REQUIRED) => {}
                    status => end = status,
                }
                op.login_ends = end;
            }
        }
    }

    fn rank_answers(&mut self) {
        let answered =
            |op: &PlanOp| Some(op.at_us.saturating_add(op.expect.as_deref()?.latency_us));
        let mut times: Vec<(u64, usize)> = (self.ops.iter().enumerate())
            .filter_map(|(at, op)| Some((answered(op)?, at)))
            .collect();
        times.sort_unstable();
        for (rank, (_, at)) in (0u32..).zip(&times) {
            if let Some(op) = self.ops.get_mut(*at) {
                op.answer_rank = rank;
            }
        }
        for op in &mut self.ops {
            let before = times.partition_point(|(time, _)| *time < op.at_us);
            op.answered_before = u32::try_from(before).unwrap_or(u32::MAX);
        }
    }
}

fn is_break(op: &PlanOp) -> bool {
    matches!(op.kind, Kind::Break(_))
}

fn leader_of(op: &Operation) -> OpId {
    op.compound.map_or(op.id, |compound| compound.first)
}

fn binds(edge: &Edge, order: OrderMode, same_client: bool) -> bool {
    match order {
        OrderMode::Resource | OrderMode::Capture => true,
        OrderMode::Client => same_client,
        OrderMode::None => {
            same_client && matches!(edge.rule, Rule::Handle | Rule::Setup | Rule::Break)
        }
    }
}
