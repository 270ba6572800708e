//! The replay engine: a pure function of workload, configuration and inputs.
//!
//! [`Engine::handle`] takes a fact, [`Engine::poll`] gives work until it is drained;
//! [`crate::drive`] does both. Nothing here knows whether the facts come from a socket, a simulator
//! or a journal.
//!
//! | file       | holds                                                        |
//! |------------|--------------------------------------------------------------|
//! | `plan`     | the workload made flat: templates, expectations, order       |
//! | `op`       | the life of an operation, as a table                         |
//! | `conn`     | the life of a connection, its credits and requests in flight |
//! | `credits`  | waiting for credits, and asking for them                     |
//! | `schedule` | when an operation's turn comes, time-outs, wakes             |
//! | `silence`  | what is given up because nothing comes                       |
//! | `issue`    | putting requests on the wire                                 |
//! | `login`    | the legs of a login                                          |
//! | `receive`  | responses                                                    |
//! | `headers`  | whether the header of a response fits its request            |
//! | `unsolicited` | what came that belongs to nothing, and how much of it counts |
//! | `breaks`   | break notifications and their acknowledgements               |
//! | `compare`  | what a response says, and in what it differs                 |
//! | `load`     | what is under way, for who looks on                          |
//! | `walked`   | which rows of the tables of all these a run walks             |
//! | `version`  | which engine this is                                         |
//!
//! What it refuses: sockets, clocks, bulk data, secrets. It does not log; it reports.

mod breaks;
mod compare;
mod config;
mod conn;
mod credits;
mod headers;
mod issue;
mod load;
mod login;
mod op;
mod plan;
mod receive;
mod schedule;
mod silence;
mod unsolicited;
mod version;
mod view;
mod walked;

use std::collections::{BTreeMap, VecDeque};

use thiserror::Error;

use self::{
    breaks::BreakBook,
    conn::{Conn, ConnEvent},
    op::OpRuns,
    plan::PlanOp,
    schedule::Schedule,
    silence::Silence,
};
pub use self::{
    config::{AckMode, Grants, Headers, OrderMode, Pace, Patience, RunConfig, Speed, TreeTarget},
    conn::ConnState,
    load::Load,
    op::{OpEvent, OpState, TransitionError},
    plan::{Drafter, Part, Plan, PlanError, Planner, Recorded, RecordedOp},
    version::ENGINE_VERSION,
    walked::Walked,
};
use crate::{
    event::{Divergence, Effect, Input, Milestone, NetFailure, Output, Report},
    ids::{ConnId, LogicalTime, OpId, OpenRef},
    order::Progress,
};

/// The program is broken, or was fed what no run can contain. (A replay that went otherwise than
/// the recording is no error: it is reported.)
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum EngineError {
    /// An operation was taken out of its life's order.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// Time went backwards.
    #[error("input at {now:?} after one at {last:?}: time cannot go back")]
    TimeWentBack {
        /// The input's time.
        now: LogicalTime,
        /// The time of the input before.
        last: LogicalTime,
    },
    /// An input names something that the plan does not have.
    #[error("an input names {what} {number}, which the workload does not have")]
    Unknown {
        /// What it names.
        what: &'static str,
        /// Its number.
        number: u32,
    },
}

impl EngineError {
    const fn unknown_op(op: OpId) -> Self {
        Self::Unknown {
            what: "operation",
            number: op.0,
        }
    }

    const fn unknown_conn(conn: ConnId) -> Self {
        Self::Unknown {
            what: "connection",
            number: conn.0,
        }
    }
}

/// Something of the server's that has to be known before it can be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Slot<T> {
    /// Not yet given.
    #[default]
    Unset,
    /// Given.
    Held(T),
    /// It will never be given, because of this operation.
    Failed(OpId),
}

/// The replay engine of one shard.
#[derive(Clone, Debug)]
pub struct Engine {
    plan: Plan,
    config: RunConfig,
    now: LogicalTime,
    progress: Progress,
    runs: OpRuns,
    conns: Vec<Conn>,
    sessions: Vec<Slot<u64>>,
    trees: Vec<Slot<u32>>,
    opens: Vec<Slot<crate::smb2::FileId>>,
    /// Handles of pipes that are open, where it matters what was said on which.
    pipes: BTreeMap<crate::smb2::FileId, OpenRef>,
    resume_keys: BTreeMap<OpId, [u8; 24]>,
    schedule: Schedule,
    silence: Silence,
    breaks: BreakBook,
    out: VecDeque<Effect>,
    unsettled: usize,
    unanswerable: usize,
    phase: Phase,
    /// What is released now waited for a break that did not come.
    gives_up_break: bool,
    walked: Walked,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// `Start` has not come.
    New,
    Running,
    /// Asked to stop: nothing new goes out.
    Stopping,
    Done,
}

impl Engine {
    /// An engine at the start of its run.
    #[must_use]
    pub fn new(plan: Plan, config: RunConfig) -> Self {
        Self {
            progress: plan.graph.progress(),
            runs: OpRuns::new(plan.len()),
            conns: vec![Conn::default(); plan.resources.connections.len()],
            sessions: vec![Slot::Unset; plan.resources.sessions.len()],
            trees: vec![Slot::Unset; plan.resources.trees.len()],
            opens: vec![Slot::Unset; plan.resources.opens],
            pipes: BTreeMap::new(),
            resume_keys: BTreeMap::new(),
            schedule: Schedule::new(&config),
            silence: Silence::default(),
            breaks: BreakBook::new(&plan),
            out: VecDeque::new(),
            unsettled: plan.own,
            unanswerable: 0,
            phase: Phase::New,
            gives_up_break: false,
            walked: Walked::default(),
            now: LogicalTime::ZERO,
            plan,
            config,
        }
    }

    /// Takes a fact.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the fact cannot be part of any run, or the engine is broken. The
    /// engine must not be used afterwards.
    pub fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), EngineError> {
        if now < self.now {
            return Err(EngineError::TimeWentBack {
                now,
                last: self.now,
            });
        }
        self.now = now;
        match input {
            Input::Start => self.start()?,
            Input::Connected { conn } => self.connected(conn)?,
            Input::ConnectFailed { conn, reason } | Input::Closed { conn, reason } => {
                self.pipes.clear();
                self.connection_lost(conn, reason)?;
            }
            Input::Received { conn, frame, seal } => self.received(conn, &frame, seal)?,
            Input::TokenReady {
                conn,
                session,
                outcome,
            } => {
                self.token_ready(conn, session, outcome)?;
            }
            Input::Wake => {}
            Input::Completed { op, milestone, .. } => self.completed_elsewhere(op, milestone)?,
            Input::Stop => self.stop()?,
        }
        self.pump()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        match self.out.pop_front() {
            Some(effect) => Output::Do(effect),
            None if self.phase == Phase::Done => Output::WakeAt(None),
            None if self.silence.goes_on() => Output::WakeAt(Some(self.now)),
            None => {
                let next = self.schedule.next_wake(self.phase == Phase::Stopping);
                Output::WakeAt(next.map(|at| at.max(self.now)))
            }
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// How many things the engine keeps besides its plan: requests in flight and given up, turns, what it learnt
    /// of the server. Whatever comes, it is bounded by the plan.
    #[must_use]
    pub fn held(&self) -> usize {
        let conns: usize = self.conns.iter().map(Conn::held).sum();
        let learnt = self.breaks.held() + self.resume_keys.len();
        conns + learnt + self.schedule.held() + self.out.len()
    }

    /// Operations that are not over yet.
    #[must_use]
    pub const fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// How far an operation is; `None` for one that does not exist.
    #[must_use]
    pub fn state_of(&self, op: OpId) -> Option<OpState> {
        self.runs.get(op).map(|run| run.state)
    }

    fn start(&mut self) -> Result<(), EngineError> {
        self.phase = Phase::Running;
        let roots: Vec<OpId> = self.progress.roots().collect();
        for op in roots {
            if self.planned(op)?.leader == op {
                self.release(op)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), EngineError> {
        if self.phase == Phase::Done {
            return Ok(());
        }
        self.phase = Phase::Stopping;
        self.schedule.clear_due();
        let deadline = self.now.plus_nanos(STOP_GRACE_NS);
        for (op, _) in self.runs.states().filter(|(_, it)| it.in_flight()) {
            self.schedule.watch(op, deadline, false);
        }
        let is_idle = |state: OpState| !state.in_flight() && state != OpState::Settled;
        let states = self.runs.states();
        let idle: Vec<OpId> = states
            .filter(|(_, state)| is_idle(*state))
            .map(|(op, _)| op)
            .collect();
        for op in idle {
            self.skip(op, crate::event::SkipReason::Stopped)?;
        }
        Ok(())
    }

    /// Runs everything whose time has come, then sees whether the run is over. Very much is run in
    /// parts, each upon a wake of its own, lest its effects fill the memory.
    fn pump(&mut self) -> Result<(), EngineError> {
        let mut turns = match self.config.patience {
            Patience::Twice => usize::MAX,
            Patience::Once => MOST_TURNS,
        };
        self.give_up_part()?;
        while turns > 0
            && !self.silence.goes_on()
            && let Some(turn) = self.schedule.pop(self.now, self.phase == Phase::Stopping)
        {
            self.take_turn(turn)?;
            turns -= 1;
        }
        let over = self.unsettled <= self.unanswerable;
        if over && matches!(self.phase, Phase::Running | Phase::Stopping) {
            self.finish();
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.phase = Phase::Done;
        for (conn, it) in (0u32..).map(ConnId).zip(&mut self.conns) {
            if it.state == ConnState::Open {
                it.step(ConnEvent::HangUp, &mut self.walked);
                let reset = false;
                self.out.push_back(Effect::Close { conn, reset });
            }
        }
        self.report(Report::Done);
    }

    fn report(&mut self, report: Report) {
        self.out.push_back(Effect::Report(report));
    }

    fn diverged(&mut self, op: OpId, divergence: Divergence) {
        self.report(Report::Diverged { op, divergence });
    }

    /// Which transitions of operations this run has walked.
    #[must_use]
    pub const fn walked(&self) -> Walked {
        self.walked
    }

    fn step(&mut self, op: OpId, event: OpEvent) -> Result<OpState, EngineError> {
        let answers = self.planned(op)?.answer.is_some();
        let before = self.known_state(op)?;
        let state = before.step(op, event)?;
        self.walked.walk(before, event);
        self.runs.set(op, state);
        if !answers && !before.in_flight() && state.in_flight() {
            self.unanswerable += 1;
        }
        if state == OpState::Settled {
            self.unsettled -= 1;
            if !answers && before.in_flight() {
                self.unanswerable -= 1;
            }
        }
        Ok(state)
    }

    fn planned(&self, op: OpId) -> Result<PlanOp<'_>, EngineError> {
        self.plan.op(op).ok_or(EngineError::unknown_op(op))
    }

    fn known_state(&self, op: OpId) -> Result<OpState, EngineError> {
        self.state_of(op).ok_or(EngineError::unknown_op(op))
    }

    fn conn(&self, conn: ConnId) -> Result<&Conn, EngineError> {
        let it = self.conns.get(conn.index());
        it.ok_or(EngineError::unknown_conn(conn))
    }

    fn conn_mut(&mut self, conn: ConnId) -> Result<&mut Conn, EngineError> {
        let it = self.conns.get_mut(conn.index());
        it.ok_or(EngineError::unknown_conn(conn))
    }

    /// Takes `conn` on by `event`; whether it was one for its state.
    fn conn_step(&mut self, conn: ConnId, event: ConnEvent) -> Result<bool, EngineError> {
        let it = self.conns.get_mut(conn.index());
        let it = it.ok_or(EngineError::unknown_conn(conn))?;
        Ok(it.step(event, &mut self.walked))
    }

    fn connected(&mut self, conn: ConnId) -> Result<(), EngineError> {
        let now = self.now;
        if self.conn_step(conn, ConnEvent::Connected)? {
            self.conn_mut(conn)?.open(now);
        }
        self.drain(conn)
    }

    /// The connection is gone: everything on it is lost, what waits for it is a cascade.
    fn connection_lost(&mut self, conn: ConnId, reason: NetFailure) -> Result<(), EngineError> {
        let it = self.conn_mut(conn)?;
        if matches!(it.state, ConnState::Closed | ConnState::Lost { .. }) {
            return Ok(());
        }
        let since = it.heard_at;
        let waiting = std::mem::take(&mut it.queue);
        let flights = std::mem::take(&mut it.flights);
        let foreseen = self.breaks.server_disconnect(conn);
        let mut cause = None;
        for owner in flights.into_values().map(|flight| flight.owner) {
            let conn::Owner::Op(op) = owner else { continue };
            let answered = self.plan.op(op).is_some_and(|it| it.answer.is_some());
            if answered {
                cause = cause.or(Some(op));
                self.diverged(op, Divergence::ConnectionLost { reason });
            }
            self.lose(op)?;
        }
        if cause.is_none() && foreseen.is_none() {
            cause = waiting.front().copied();
            if let Some(op) = cause {
                self.diverged(op, Divergence::ConnectionLost { reason });
            }
        }
        if cause.is_none() && foreseen.is_none() && self.config.headers == Headers::Checked {
            self.conn_mut(conn)?.unblamed = Some(reason);
        }
        self.conn_step(conn, ConnEvent::Lose { cause })?;
        if let Some(op) = foreseen {
            self.observe(op)?;
        }
        self.leave_behind(waiting, cause)?;
        match cause {
            Some(cause) if reason == NetFailure::TimedOut => self.silent_since(since, cause),
            _ => Ok(()),
        }
    }

    fn completed_elsewhere(&mut self, op: OpId, on: Milestone) -> Result<(), EngineError> {
        let foreign = self.planned(op)?.kind == plan::Kind::Foreign;
        if foreign { self.reach(op, on) } else { Ok(()) }
    }
}

/// Turns that are taken upon one input.
const MOST_TURNS: usize = 1 << 16;
/// How long a run that stops waits for what is in flight, in nanoseconds.
const STOP_GRACE_NS: u64 = 2_000_000_000;
