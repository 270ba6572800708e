//! What is given up because nothing comes: a request, a connection as a whole, the rest of a run.
//!
//! | nothing comes                          | for                              | given up              |
//! |----------------------------------------|----------------------------------|-----------------------|
//! | in answer to a request                 | its latency and the time-out     | the request           |
//! | on its connection either               | the time-out                     | the connection        |
//! | on any connection, one after the other | two time-outs                    | the rest of the run   |
//! | of a recorded break notification       | [`RunConfig::break_wait_ms`]     | the notification      |
//!
//! How long credits are waited for is in `credits`.
//!
//! A watch of a folder or a lock that the server has said is pending says nothing about its
//! connection, nor does anything else that is (a CREATE that waits for a break), once. All of this is
//! [`Patience::Once`].
//!
//! [`RunConfig::break_wait_ms`]: super::RunConfig::break_wait_ms

use super::{
    ConnState, Engine, EngineError, OpEvent, Phase,
    config::Patience,
    conn::{ConnEvent, GivenUp, Owner},
    op::OpState,
    plan::Kind,
};
use crate::{
    event::{Divergence, Effect, Milestone, Report},
    ids::{ConnId, LogicalTime, OpId},
    smb2::Command,
};

/// How long the server has been silent, over all connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// When an answer or a notification came last, on any connection, that belonged to something.
    heard_at: LogicalTime,
    /// Until when `waited_ns` counts.
    counted_to: LogicalTime,
    /// How long it was waited for connections that were then lost, no moment twice; less the time
    /// in which the server spoke between them.
    waited_ns: u64,
    /// The operation that showed the last of them.
    cause: Option<OpId>,
    /// The rest of the run is a consequence of that: the next operation to be told so.
    rest_from: Option<OpId>,
}

impl Silence {
    /// Nothing came since `since`; the most that counts is `timeout_ns`.
    fn add(&mut self, since: LogicalTime, now: LogicalTime, timeout_ns: u64) {
        let spoke_ns = self.heard_at.nanos_since(self.counted_to);
        let begun = since.max(self.heard_at).max(self.counted_to);
        let silent_ns = now.nanos_since(begun).min(timeout_ns);
        self.waited_ns = self.waited_ns.saturating_sub(spoke_ns);
        self.waited_ns = self.waited_ns.saturating_add(silent_ns);
        self.counted_to = now;
    }

    /// Whether there are operations to be given up at once.
    pub(super) const fn goes_on(&self) -> bool {
        self.rest_from.is_some()
    }

    /// The operation that showed that a connection is lost, if nothing has come since.
    fn unbroken(&self) -> Option<OpId> {
        self.cause.filter(|_| self.heard_at <= self.counted_to)
    }
}

impl Engine {
    /// Something came on `conn` that belonged to something.
    pub(super) fn heard(&mut self, conn: ConnId, interim: bool) -> Result<(), EngineError> {
        let now = self.now;
        let it = self.conn_mut(conn)?;
        it.heard_at = now;
        it.excused &= interim;
        if !interim {
            self.silence.heard_at = now;
        }
        Ok(())
    }

    /// `op` was sent: from now on it can be overdue.
    pub(super) fn watch_request(&mut self, op: OpId) -> Result<(), EngineError> {
        let timeout_ns = self.config.timeout_ns();
        let Some(latency_ns) = self.latency_ns(op)? else {
            return Ok(());
        };
        let (at, ordinary) = match self.config.patience {
            Patience::Twice if latency_ns <= timeout_ns => (timeout_ns.saturating_mul(2), true),
            // What is left of its time is added where it is not answered by then: nearly all are,
            // and so those that were recorded to take about as long as others stay in order.
            Patience::Once if latency_ns <= timeout_ns => (timeout_ns, true),
            _ => (timeout_ns.saturating_add(latency_ns), false),
        };
        self.schedule.watch(op, self.now.plus_nanos(at), ordinary);
        Ok(())
    }

    /// How long `op` may take besides the time-out; `None` for what nobody waits for, since the
    /// recording has no answer either.
    pub(super) fn latency_ns(&self, op: OpId) -> Result<Option<u64>, EngineError> {
        let planned = self.planned(op)?;
        Ok(match self.config.patience {
            Patience::Twice => {
                let recorded_us = planned.answer.map(|_| planned.latency_us);
                recorded_us.map(|it| it.saturating_mul(1_000))
            }
            Patience::Once => {
                let waits = planned.answer.is_some()
                    || self.is_waited_for(op, Milestone::Interim)
                    || self.is_waited_for(op, Milestone::Response);
                waits.then(|| self.config.speed.stretch(planned.latency_us))
            }
        })
    }

    fn is_waited_for(&self, op: OpId, on: Milestone) -> bool {
        self.plan.graph.waiting(op, on).next().is_some()
    }

    /// An ordinary request was not answered for a time-out, until `at`.
    pub(super) fn late(&mut self, op: OpId, at: LogicalTime) -> Result<(), EngineError> {
        let rest_ns = match self.config.patience {
            Patience::Twice => 0,
            // Only what is waited for is watched.
            Patience::Once => self.latency_ns(op)?.unwrap_or(0),
        };
        let deadline = at.plus_nanos(rest_ns);
        if deadline > self.now && self.known_state(op)? != OpState::Settled {
            self.schedule.watch(op, deadline, false);
            return Ok(());
        }
        self.overdue(op)
    }

    /// A request that was sent is overdue: it is given up, and its credits are given back.
    pub(super) fn no_response(&mut self, op: OpId, state: OpState) -> Result<(), EngineError> {
        let (OpState::InFlight { mid } | OpState::Pending { mid, .. }) = state else {
            return Err(EngineError::unknown_op(op));
        };
        let planned = self.planned(op)?;
        let (conn, charge) = (planned.conn, planned.charge.max(1));
        let answered = planned.answer.is_some();
        let once = self.config.patience == Patience::Once;
        if once && self.phase == Phase::Running {
            if !answered && state.is_pending() && !self.is_waited_for(op, Milestone::Response) {
                // The recording ends before its final response, too.
                return Ok(());
            }
            if self.shows_silence(op, state)? {
                return self.lose_connection(conn, op);
            }
        }
        let missed = answered || once && self.phase == Phase::Running;
        let it = self.conn_mut(conn)?;
        it.flights.remove(&mid);
        it.grant(charge);
        if once {
            it.given_up.insert(mid, GivenUp { op, charge });
        }
        if missed {
            self.diverged(op, Divergence::NoResponse);
        }
        self.lose(op)?;
        self.drain(conn)
    }

    /// Whether `op`, which is overdue, shows that its connection is dead: nothing has come on it
    /// for a time-out, and the server has not said that it takes its time.
    fn shows_silence(&mut self, op: OpId, state: OpState) -> Result<bool, EngineError> {
        let (now, timeout_ns) = (self.now, self.config.timeout_ns());
        if self.may_wait(op, state)? {
            return Ok(false);
        }
        let conn = self.planned(op)?.conn;
        let it = self.conn_mut(conn)?;
        if now.nanos_since(it.heard_at) < timeout_ns {
            return Ok(false);
        }
        // Interim responses alone keep no connection.
        let excused_before = std::mem::replace(&mut it.excused, true);
        Ok(!state.is_pending() || excused_before)
    }

    /// `conn` is lost as a whole, as `cause` shows by not being answered: what is in flight on it
    /// and what waits for it is a consequence.
    fn lose_connection(&mut self, conn: ConnId, cause: OpId) -> Result<(), EngineError> {
        self.conn_step(conn, ConnEvent::Lose { cause: Some(cause) })?;
        let it = self.conn_mut(conn)?;
        let since = it.heard_at;
        let waiting = std::mem::take(&mut it.queue);
        let flights = std::mem::take(&mut it.flights);
        self.out.push_back(Effect::Close { conn, reset: true });
        self.diverged(cause, Divergence::NoResponse);
        self.lose(cause)?;
        let owners = flights.into_values().map(|flight| flight.owner);
        for owner in owners {
            match owner {
                Owner::Op(op) if op == cause => {}
                Owner::Op(op) if self.planned(op)?.answer.is_some() => self.cascade(op, cause)?,
                Owner::Op(op) => self.lose(op)?,
                Owner::Engine => {}
            }
        }
        if let Some(op) = self.breaks.server_disconnect(conn) {
            self.observe(op)?;
        }
        self.leave_behind(waiting, Some(cause))?;
        self.silent_since(since, cause)
    }

    /// `waiting` waited for a connection that is lost because of `cause`. They may be very many: each
    /// is given up in its turn.
    pub(super) fn leave_behind(
        &mut self,
        waiting: impl IntoIterator<Item = OpId>,
        cause: Option<OpId>,
    ) -> Result<(), EngineError> {
        for leader in waiting {
            match self.config.patience {
                Patience::Twice => self.give_up_group(leader, cause)?,
                Patience::Once => self.schedule.watch(leader, self.now, false),
            }
        }
        Ok(())
    }

    /// What is to blame for a connection that was lost: where nothing was asked on it then, the first that wants to
    /// ask afterwards, `leader`. It was not so in the recording, which has asked.
    pub(super) fn blamed(
        &mut self,
        conn: ConnId,
        leader: OpId,
        cause: Option<OpId>,
    ) -> Result<Option<OpId>, EngineError> {
        let it = self.conn_mut(conn)?;
        let Some(reason) = it.unblamed.take().filter(|_| cause.is_none()) else {
            return Ok(cause);
        };
        let cause = Some(leader);
        it.state = ConnState::Lost { cause };
        self.diverged(leader, Divergence::ConnectionLost { reason });
        Ok(cause)
    }

    /// It is the turn of `leader`, whose connection was lost while it waited.
    pub(super) fn left_behind(&mut self, leader: OpId) -> Result<(), EngineError> {
        match self.conn(self.planned(leader)?.conn)?.state {
            ConnState::Lost { cause } => self.give_up_group(leader, cause),
            _ => Ok(()),
        }
    }

    /// Nothing has come since `since`, as `cause` shows. With a server that has been silent for two
    /// time-outs there is nothing to be had any more.
    pub(super) fn silent_since(
        &mut self,
        since: LogicalTime,
        cause: OpId,
    ) -> Result<(), EngineError> {
        let timeout_ns = self.config.timeout_ns();
        self.silence.add(since, self.now, timeout_ns);
        self.silence.cause = Some(cause);
        if self.silence.waited_ns < timeout_ns.saturating_mul(2) || self.phase != Phase::Running {
            return Ok(());
        }
        self.give_up_rest(cause)
    }

    /// Everything that is not over is a consequence of `cause`.
    fn give_up_rest(&mut self, cause: OpId) -> Result<(), EngineError> {
        self.phase = Phase::Stopping;
        self.schedule.clear_due();
        for (conn, it) in (0..).map(ConnId).zip(&mut self.conns) {
            it.flights.clear();
            it.queue.clear();
            if it.is_alive() {
                it.step(ConnEvent::Lose { cause: Some(cause) }, &mut self.walked);
                self.out.push_back(Effect::Close { conn, reset: true });
            }
        }
        self.silence.rest_from = Some(OpId(0));
        self.give_up_part()
    }

    /// Gives up some of the rest.
    pub(super) fn give_up_part(&mut self) -> Result<(), EngineError> {
        let (Some(from), Some(cause)) = (self.silence.rest_from, self.silence.cause) else {
            return Ok(());
        };
        let to = OpId(from.0.saturating_add(MOST_GIVEN_UP));
        for op in (from.0..to.0).map(OpId) {
            let Some(state) = self.state_of(op) else {
                self.silence.rest_from = None;
                return Ok(());
            };
            let planned = self.planned(op)?;
            if state == OpState::Settled || planned.kind == Kind::Foreign {
                continue;
            }
            let told = !state.in_flight() || planned.answer.is_some();
            self.step(op, OpEvent::Skip)?;
            if told {
                self.report(Report::Cascaded { op, cause });
            }
        }
        self.silence.rest_from = Some(to);
        Ok(())
    }

    /// Whether the server has said of `op` that it takes its time, and may.
    pub(super) fn may_wait(&self, op: OpId, state: OpState) -> Result<bool, EngineError> {
        let cmd = self.planned(op)?.cmd;
        let may = matches!(cmd, Command::CHANGE_NOTIFY | Command::LOCK);
        Ok(may && state.is_pending())
    }

    /// Whether no notification can come to `op`'s client any more, since its connection is over and
    /// no other is open ([MS-SMB2] 3.3.4.6, 3.3.4.7); and what that is a consequence of.
    pub(super) fn deaf(&self, op: OpId) -> Result<Option<Option<OpId>>, EngineError> {
        let planned = self.planned(op)?;
        let clients = self.plan.resources.connections.iter();
        let mut conns = clients.zip(&self.conns);
        let hears = conns.any(|(client, conn)| *client == planned.client && conn.is_alive());
        if hears || self.config.patience == Patience::Twice {
            return Ok(None);
        }
        Ok(match self.conn(planned.conn)?.state {
            ConnState::Lost { cause } => Some(cause),
            ConnState::Closed => Some(None),
            ConnState::Idle | ConnState::Connecting | ConnState::Open => None,
        })
    }

    /// Something that the server was to do of itself did not come for so long. Where nothing else
    /// has come since a connection was lost, that is the same silence.
    pub(super) fn still_silent(&mut self, waited_ns: u64) -> Result<(), EngineError> {
        let once = self.config.patience == Patience::Once;
        match self.silence.unbroken() {
            Some(cause) if once => {
                let since = LogicalTime(self.now.0.saturating_sub(waited_ns));
                self.silent_since(since, cause)
            }
            _ => Ok(()),
        }
    }

    /// The server was recorded to end `op`'s connection. One that is over is not waited for.
    pub(super) fn expect_hang_up(&mut self, op: OpId) -> Result<(), EngineError> {
        let alive = self.conn(self.planned(op)?.conn)?.is_alive();
        if self.config.patience == Patience::Once && !alive {
            return self.observe(op);
        }
        let grace_ns = self.config.break_wait_ns();
        self.schedule
            .watch(op, self.now.plus_nanos(grace_ns), false);
        Ok(())
    }
}

/// Operations that are given up upon one input, when all are.
const MOST_GIVEN_UP: u32 = 1 << 16;
