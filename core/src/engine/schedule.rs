//! When an operation's turn comes: order first, then time; and how long anything may take.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, VecDeque},
};

use super::{
    ConnState, Engine, EngineError, OpEvent, Phase,
    config::{OrderMode, Pace, RunConfig, Speed},
    op::{OpRuns, OpState},
    plan::Kind,
};
use crate::{
    confine::Refusal,
    event::{Lateness, Milestone, Report, SkipReason},
    ids::{LogicalTime, OpId},
    smb2::Command,
};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// An operation's time has come.
    Due(OpId),
    /// An operation may have taken too long.
    Overdue(OpId),
    /// An ordinary request may not have been answered until then.
    Late(OpId, LogicalTime),
    /// What an operation waited for has come to pass, and the server has had time to take note.
    Freed(OpId),
    /// An operation may have waited too long for credits.
    Starving(OpId),
}

/// Everything that waits for time or rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<(LogicalTime, OpId)>>,
    /// Who waits on for a moment, until the server has taken note of what they waited for.
    held: BinaryHeap<Reverse<(LogicalTime, OpId)>>,
    /// Ordinary requests: one time-out for all, so the oldest is in front.
    brief: VecDeque<(LogicalTime, OpId)>,
    /// What was recorded to take long, and break notifications that are waited for.
    patient: BinaryHeap<Reverse<(LogicalTime, OpId)>>,
    /// Who waits for credits: no longer than a time-out, so the first is in front.
    hungry: VecDeque<(LogicalTime, OpId)>,
    /// `--order capture`: released operations that still wait for answers, by how many.
    barrier: BinaryHeap<Reverse<(u32, OpId)>>,
    answered: BTreeSet<u32>,
    answered_prefix: u32,
    by_rank: bool,
}

impl Schedule {
    pub(super) fn new(config: &RunConfig) -> Self {
        Self {
            by_rank: config.order == OrderMode::Capture,
            ..Self::default()
        }
    }

    /// Whose turn it is at `now`. A run that stops asks for nobody's turn, only for time-outs.
    pub(super) fn pop(&mut self, now: LogicalTime, stopping: bool) -> Option<Turn> {
        if !stopping && self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            return self.due.pop().map(|Reverse((_, op))| Turn::Due(op));
        }
        if !stopping && self.held.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            return self.held.pop().map(|Reverse((_, op))| Turn::Freed(op));
        }
        if self
            .brief
            .front()
            .is_some_and(|(deadline, _)| *deadline <= now)
        {
            return self.brief.pop_front().map(|(at, op)| Turn::Late(op, at));
        }
        if self
            .patient
            .peek()
            .is_some_and(|Reverse((deadline, _))| *deadline <= now)
        {
            return self.patient.pop().map(|Reverse((_, op))| Turn::Overdue(op));
        }
        let starving = self.hungry.pop_front_if(|(deadline, _)| *deadline <= now);
        starving.map(|(_, op)| Turn::Starving(op))
    }

    /// Turns that are kept.
    pub(super) fn held(&self) -> usize {
        let heaps = [&self.due, &self.held, &self.patient].map(BinaryHeap::len);
        let queues = [&self.brief, &self.hungry].map(VecDeque::len);
        let ranks = self.barrier.len() + self.answered.len();
        heaps.into_iter().chain(queues).sum::<usize>() + ranks
    }

    /// When [`Self::pop`] has somebody's turn next.
    pub(super) fn next_wake(&self, stopping: bool) -> Option<LogicalTime> {
        let due = self.due.peek().filter(|_| !stopping);
        let due = due.map(|Reverse((at, _))| *at);
        let held = self.held.peek().filter(|_| !stopping);
        let held = held.map(|Reverse((at, _))| *at);
        let brief = self.brief.front().map(|(at, _)| *at);
        let patient = self.patient.peek().map(|Reverse((at, _))| *at);
        let hungry = self.hungry.front().map(|(at, _)| *at);
        let all = [due, held, brief, patient, hungry];
        all.into_iter().flatten().min()
    }

    /// Forgets time-outs at the front that no longer matter: their operation is over, or was sent.
    pub(super) fn forget(&mut self, runs: &OpRuns) {
        let state = |op: OpId| runs.get(op).map(|run| run.state);
        let settled = |op: OpId| state(op) == Some(OpState::Settled);
        let queued = |op: OpId| state(op) == Some(OpState::Queued);
        while self.hungry.pop_front_if(|(_, op)| !queued(*op)).is_some() {}
        while self.brief.front().is_some_and(|(_, op)| settled(*op)) {
            self.brief.pop_front();
        }
        while self
            .patient
            .peek()
            .is_some_and(|Reverse((_, op))| settled(*op))
        {
            self.patient.pop();
        }
    }

    /// Drops every turn that has not come.
    pub(super) fn clear_due(&mut self) {
        self.due.clear();
        self.held.clear();
        self.barrier.clear();
    }

    pub(super) fn watch(&mut self, op: OpId, deadline: LogicalTime, ordinary: bool) {
        let in_order = self.brief.back().is_none_or(|(last, _)| *last <= deadline);
        if ordinary && in_order {
            self.brief.push_back((deadline, op));
        } else {
            self.patient.push(Reverse((deadline, op)));
        }
    }

    /// `op` waits for credits, until `deadline` at most.
    pub(super) fn watch_credits(&mut self, op: OpId, deadline: LogicalTime) {
        self.hungry.push_back((deadline, op));
    }

    fn answer(&mut self, rank: u32) -> Vec<OpId> {
        let mut freed = Vec::new();
        if !self.by_rank || rank == u32::MAX {
            return freed;
        }
        self.answered.insert(rank);
        while self.answered.remove(&self.answered_prefix) {
            self.answered_prefix += 1;
        }
        let passed = self.answered_prefix;
        while self
            .barrier
            .peek()
            .is_some_and(|Reverse((need, _))| *need <= passed)
        {
            freed.extend(self.barrier.pop().map(|Reverse((_, op))| op));
        }
        freed
    }
}

impl Engine {
    /// `op` (the leader of its compound) waits for nothing any more but its time.
    pub(super) fn release(&mut self, op: OpId) -> Result<(), EngineError> {
        if self.planned(op)?.kind == Kind::Foreign {
            return Ok(());
        }
        let need = self.plan.answered_before(op);
        if self.schedule.by_rank && need > self.schedule.answered_prefix {
            self.schedule.barrier.push(Reverse((need, op)));
            return Ok(());
        }
        self.arm(op)
    }

    fn arm(&mut self, op: OpId) -> Result<(), EngineError> {
        if self.known_state(op)? == OpState::Settled {
            return Ok(());
        }
        let planned = self.planned(op)?;
        let due = match self.config.pace {
            Pace::Absolute => LogicalTime(self.config.speed.scale(planned.at_us)).max(self.now),
            Pace::Think => self
                .now
                .plus_nanos(self.config.speed.scale(self.plan.think_us(op))),
        };
        for member in self.members(op) {
            self.step(member, OpEvent::Release)?;
            let held_by_break = self.gives_up_break;
            if let Some(run) = self.runs.live_mut(member) {
                run.released_at = self.now;
                run.due_at = due;
                run.held_by_break = held_by_break;
            }
        }
        self.schedule.due.push(Reverse((due, op)));
        Ok(())
    }

    /// The operations of the compound that `leader` leads.
    pub(super) fn members(&self, leader: OpId) -> impl Iterator<Item = OpId> + use<> {
        let group = self.plan.op(leader).map_or(0, |op| u32::from(op.group));
        (leader.0..leader.0.saturating_add(group)).map(OpId)
    }

    pub(super) fn take_turn(&mut self, turn: Turn) -> Result<(), EngineError> {
        match turn {
            Turn::Due(op) => self.due(op),
            Turn::Overdue(op) => self.overdue(op),
            Turn::Late(op, at) => self.late(op, at),
            Turn::Freed(op) if self.progress.release(op) => self.release(op),
            Turn::Freed(_) => Ok(()),
            Turn::Starving(op) => self.held_too_long(op),
        }
    }

    fn due(&mut self, op: OpId) -> Result<(), EngineError> {
        if self.known_state(op)? != OpState::Scheduled {
            return Ok(());
        }
        for member in self.members(op) {
            self.step(member, OpEvent::Due)?;
        }
        match self.planned(op)?.kind {
            Kind::Request | Kind::Smb1Negotiate => self.enqueue(op),
            Kind::Break => self.expect_break(op),
            Kind::Disconnect { by_client, reset } => self.disconnect(op, by_client, reset),
            Kind::Foreign => Ok(()),
        }
    }

    /// What made `op` late, at the moment it is sent.
    pub(super) fn lateness(&self, op: OpId) -> Result<Lateness, EngineError> {
        let planned = self.planned(op)?;
        let run = self.runs.get(op).ok_or(EngineError::unknown_op(op))?;
        let wished = LogicalTime(self.config.speed.scale(planned.at_us));
        let causality_ns = match (self.config.pace, self.config.speed) {
            // At full speed nothing is planned but to follow what comes before.
            (Pace::Think, _) | (_, Speed::Max) => 0,
            (Pace::Absolute, _) => run.released_at.nanos_since(wished),
        };
        let waited = self.now.nanos_since(run.due_at);
        let mut late = Lateness {
            causality_ns,
            ..Lateness::default()
        };
        if run.held_by_break {
            late.breaks_ns = causality_ns.max(self.config.break_wait_ns());
            late.causality_ns = 0;
        }
        if run.held_by_server {
            late.server_ns = waited;
        } else if run.held_by_credits {
            late.credits_ns = waited;
        } else {
            late.replayer_ns = waited;
        }
        Ok(late)
    }

    /// An operation came so far: who waited for that may go on.
    pub(super) fn reach(&mut self, op: OpId, on: Milestone) -> Result<(), EngineError> {
        let freed: Vec<OpId> = self.plan.graph.waiting(op, on).collect();
        for next in freed {
            if let Some(at) = self.watches_from(op, on, next) {
                self.schedule.held.push(Reverse((at, next)));
            } else if self.progress.release(next) {
                self.release(next)?;
            }
        }
        if on == Milestone::Response {
            let rank = self.plan.answer_rank(op);
            for next in self.schedule.answer(rank) {
                self.arm(next)?;
            }
        }
        Ok(())
    }

    /// An interim response says that the server watches a folder, but servers of several processes
    /// may take a moment more until all of them know. When `next`, of another client, may go on: as
    /// long after that as in the recording, within limits.
    fn watches_from(&self, op: OpId, on: Milestone, next: OpId) -> Option<LogicalTime> {
        let watch = self
            .plan
            .op(op)
            .filter(|it| on == Milestone::Interim && it.cmd == Command::CHANGE_NOTIFY)?;
        let told = self.runs.get(op).is_some_and(|run| run.reached_interim);
        let waiter = (self.plan.op(next)).filter(|it| told && it.client != watch.client)?;
        let recorded = waiter
            .at_us
            .saturating_sub(watch.at_us)
            .saturating_mul(1_000);
        let at = self.now.plus_nanos(recorded.min(WATCHES_NS));
        (at > self.now).then_some(at)
    }

    /// An operation is over, whatever came of it: everything it can reach is reached.
    pub(super) fn reach_all(&mut self, op: OpId, was: OpState) -> Result<(), EngineError> {
        let interim = self.runs.get(op).is_some_and(|run| run.reached_interim);
        if !was.in_flight() {
            self.reach(op, Milestone::Sent)?;
        }
        if !interim {
            self.reach(op, Milestone::Interim)?;
        }
        self.reach(op, Milestone::Response)
    }

    pub(super) fn overdue(&mut self, op: OpId) -> Result<(), EngineError> {
        let state = self.known_state(op)?;
        if state == OpState::Settled {
            return Ok(());
        }
        let planned = self.planned(op)?;
        match planned.kind {
            Kind::Break => self.break_missing(op),
            Kind::Disconnect { reset, by_client } => match self.conn(planned.conn)?.state {
                ConnState::Closed | ConnState::Lost { .. } => self.observe(op),
                _ if by_client => self.hang_up(op, reset),
                _ => {
                    self.hang_up(op, reset)?;
                    self.still_silent(self.config.break_wait_ns())
                }
            },
            _ if state.in_flight() => self.no_response(op, state),
            _ if state == OpState::Queued => self.left_behind(op),
            _ => Ok(()),
        }
    }

    /// `op` will not be answered.
    pub(super) fn lose(&mut self, op: OpId) -> Result<(), EngineError> {
        let was = self.known_state(op)?;
        self.fail_what_it_gives(op, op);
        self.login_lost(op, op)?;
        self.step(op, OpEvent::Lose)?;
        self.reach_all(op, was)
    }

    /// `op` is left out for a reason that is nobody's fault.
    pub(super) fn skip(&mut self, op: OpId, why: SkipReason) -> Result<(), EngineError> {
        let was = self.known_state(op)?;
        if why != SkipReason::Absorbed {
            self.fail_what_it_gives(op, op);
        }
        self.step(op, OpEvent::Skip)?;
        self.report(Report::Skipped { op, why });
        if self.phase == Phase::Stopping {
            return Ok(());
        }
        self.reach_all(op, was)
    }

    /// `op` cannot run because `cause` went wrong before.
    pub(super) fn cascade(&mut self, op: OpId, cause: OpId) -> Result<(), EngineError> {
        let was = self.known_state(op)?;
        self.fail_what_it_gives(op, cause);
        if was.in_flight() {
            self.login_lost(op, cause)?;
        }
        self.step(op, OpEvent::Skip)?;
        if op != cause {
            self.report(Report::Cascaded { op, cause });
        }
        self.reach_all(op, was)
    }

    /// The compound of `leader` is not sent, because of members that would reach what the run may not
    /// reach. It goes out whole or not at all: the other members are consequences.
    pub(super) fn refuse_group(&mut self, leader: OpId) -> Result<(), EngineError> {
        let why = |engine: &Self, op| engine.plan.op(op).and_then(|it| it.rare.refused);
        let members: Vec<OpId> = self.members(leader).collect();
        let refused = members.iter().find(|op| why(self, **op).is_some());
        let cause = refused.copied().unwrap_or(leader);
        for member in members {
            match why(self, member) {
                Some(why) => self.refuse(member, why)?,
                None => self.cascade(member, cause)?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, op: OpId, why: Refusal) -> Result<(), EngineError> {
        let was = self.known_state(op)?;
        self.fail_what_it_gives(op, op);
        self.step(op, OpEvent::Skip)?;
        self.report(Report::Refused { op, why });
        self.reach_all(op, was)
    }

    /// The compound of `leader` cannot run: because of `cause`, or because its connection has
    /// ended as it did in the recording.
    pub(super) fn give_up_group(
        &mut self,
        leader: OpId,
        cause: Option<OpId>,
    ) -> Result<(), EngineError> {
        for member in self.members(leader) {
            match cause {
                Some(cause) => self.cascade(member, cause)?,
                None => self.skip(member, SkipReason::Ended)?,
            }
        }
        Ok(())
    }

    /// The event that `op` stands for took place, or never will.
    pub(super) fn observe(&mut self, op: OpId) -> Result<(), EngineError> {
        let was = self.known_state(op)?;
        if was == OpState::Settled {
            return Ok(());
        }
        self.step(op, OpEvent::Observe)?;
        self.reach_all(op, was)
    }
}

/// How long a server is given at most until all of it knows that a folder is watched.
const WATCHES_NS: u64 = 100_000_000;
