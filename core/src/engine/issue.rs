//! Putting requests on the wire: connection, login, ids and credits, then bytes.

use super::{
    ConnState, Engine, EngineError, OpEvent, Slot,
    config::{AckMode, Headers},
    conn::{ConnEvent, Flight, Owner},
    headers::Sent,
    login::LoginEvent,
    op::OpState,
    plan::{FILE_OFFSET_AT, Kind, PlanOp},
};
use crate::{
    event::{Divergence, Effect, Milestone, Report, SkipReason},
    frame::{Content, Cut, Frame},
    ids::{ConnId, OpId, OpenRef, SessionRef},
    smb2::{Command, FileId, Fsctl, HEADER_LEN, HeaderFlags},
};

/// What keeps a request from being sent.
enum Verdict {
    Sent,
    /// It was settled without being sent.
    Dropped,
    /// The connection or the login is not ready.
    HeldByServer,
    HeldByCredits,
}

/// Why an operation cannot be built.
enum Obstacle {
    /// Because this one went wrong.
    Cause(OpId),
    /// Because the capture does not hold what it needs.
    NotCaptured,
    /// Because it would reach what the run may not reach.
    Refused,
}

impl Engine {
    /// The turn of `leader`'s compound has come.
    pub(super) fn enqueue(&mut self, leader: OpId) -> Result<(), EngineError> {
        let Some(planned) = self.plan.op(leader) else {
            return Ok(());
        };
        let conn = planned.conn;
        if planned.cmd == Command::CANCEL {
            return self.cancel(leader);
        }
        self.conn_mut(conn)?.queue.push_back(leader);
        self.drain(conn)
    }

    /// Sends what a connection's queue holds, as far as it goes.
    pub(super) fn drain(&mut self, conn: ConnId) -> Result<(), EngineError> {
        loop {
            let Some(leader) = self.conn_mut(conn)?.queue.front().copied() else {
                return Ok(());
            };
            let verdict = self.try_issue(conn, leader)?;
            match verdict {
                Verdict::Sent | Verdict::Dropped => {
                    self.conn_mut(conn)?.queue.pop_front();
                }
                Verdict::HeldByServer => return self.mark_held(leader, true),
                Verdict::HeldByCredits => return self.mark_held(leader, false),
            }
        }
    }

    fn mark_held(&mut self, leader: OpId, by_server: bool) -> Result<(), EngineError> {
        if let Some(run) = self.runs.live_mut(leader) {
            if by_server {
                run.held_by_server = true;
            } else if !std::mem::replace(&mut run.held_by_credits, true) {
                self.watch_held(leader);
            }
        }
        Ok(())
    }

    fn try_issue(&mut self, conn: ConnId, leader: OpId) -> Result<Verdict, EngineError> {
        if self.state_of(leader) != Some(OpState::Queued) {
            return Ok(Verdict::Dropped);
        }
        match self.conn_mut(conn)?.state {
            ConnState::Open => {}
            ConnState::Idle => {
                self.conn_step(conn, ConnEvent::Dial)?;
                self.conn_mut(conn)?.heard_at = self.now;
                self.out.push_back(Effect::Connect { conn });
                return Ok(Verdict::HeldByServer);
            }
            ConnState::Connecting => return Ok(Verdict::HeldByServer),
            ConnState::Lost { cause } => {
                let cause = self.blamed(conn, leader, cause)?;
                self.give_up_group(leader, cause)?;
                return Ok(Verdict::Dropped);
            }
            ConnState::Closed => {
                self.give_up_group(leader, None)?;
                return Ok(Verdict::Dropped);
            }
        }
        if let Some(dropped) = self.dropped_for_obstacle(leader)? {
            return Ok(dropped);
        }
        if !self.login_ready(conn, leader)? {
            let dropped = self.state_of(leader) == Some(OpState::Settled);
            return Ok(if dropped {
                Verdict::Dropped
            } else {
                Verdict::HeldByServer
            });
        }
        let charge: u32 = self.members(leader).map(|op| self.charge(op)).sum();
        let it = self.conn_mut(conn)?;
        let flies = !it.flights.is_empty();
        if it.credits >= charge {
            self.send_group(conn, leader)?;
            return Ok(Verdict::Sent);
        }
        if self.asks_for_credits(conn, leader, charge)? || flies && !self.is_starved(conn)? {
            return Ok(Verdict::HeldByCredits);
        }
        self.diverged(leader, Divergence::NoCredits);
        self.give_up_group(leader, Some(leader))?;
        Ok(Verdict::Dropped)
    }

    fn charge(&self, op: OpId) -> u32 {
        self.plan.op(op).map_or(1, |it| u32::from(it.charge.max(1)))
    }

    /// Drops a compound of which some member can never be built.
    fn dropped_for_obstacle(&mut self, leader: OpId) -> Result<Option<Verdict>, EngineError> {
        for member in self.members(leader) {
            let Some(planned) = self.plan.op(member) else {
                continue;
            };
            if planned.rare.acknowledges.is_some() && self.config.ack == AckMode::Never {
                self.skip(member, SkipReason::Withheld)?;
                return Ok(Some(Verdict::Dropped));
            }
            match self.obstacle(&planned) {
                None => {}
                Some(Obstacle::Cause(cause)) => {
                    self.give_up_group(leader, Some(cause))?;
                    return Ok(Some(Verdict::Dropped));
                }
                Some(Obstacle::Refused) => {
                    self.refuse_group(leader)?;
                    return Ok(Some(Verdict::Dropped));
                }
                Some(Obstacle::NotCaptured) => {
                    for member in self.members(leader) {
                        self.skip(member, SkipReason::NotCaptured)?;
                    }
                    return Ok(Some(Verdict::Dropped));
                }
            }
        }
        Ok(None)
    }

    fn obstacle(&self, op: &PlanOp<'_>) -> Option<Obstacle> {
        if op.rare.refused.is_some() {
            return Some(Obstacle::Refused);
        }
        if let Some(cause) = op.rare.without {
            return Some(Obstacle::Cause(cause));
        }
        if let Some(cause) = op
            .rare
            .acknowledges
            .and_then(|of| self.breaks.missing_cause(of))
        {
            return Some(Obstacle::Cause(cause));
        }
        // What the server refused anyway may name a session or tree that never was.
        let refused = op.answer.is_some_and(|answer| answer.status.is_error());
        let session = op.session.filter(|_| op.cmd != Command::SESSION_SETUP);
        let tree = op.tree.filter(|_| op.cmd != Command::TREE_CONNECT);
        let needs = |open: Option<OpenRef>| missing(self.opens.get(open?.index()), false);
        let uses = op.open.filter(|_| op.head.file_id_at().is_some());
        session
            .and_then(|session| missing(self.sessions.get(session.index()), refused))
            .or_else(|| tree.and_then(|tree| missing(self.trees.get(tree.index()), refused)))
            .or_else(|| needs(uses))
            .or_else(|| needs(op.rare.reclaims))
    }

    /// Writes the frame of a compound, or of a request alone, and sends it.
    pub(super) fn send_group(&mut self, conn: ConnId, leader: OpId) -> Result<(), EngineError> {
        let mut frame = Frame::default();
        let mut login = None;
        let members: Vec<OpId> = self.members(leader).collect();
        let mut wire_len = 0usize;
        for (position, member) in members.iter().enumerate() {
            let start = frame.bytes.len();
            let charge = self.charge_of(*member);
            let mid = self.conn_mut(conn)?.take(charge);
            let bulk = self.write_request(*member, mid, &mut frame)?;
            let session = self.login_session(*member)?;
            login = login.or(session);
            let len = frame.bytes.len() - start + bulk as usize;
            if position + 1 < members.len() {
                let next = len.next_multiple_of(8);
                frame.bytes.resize(frame.bytes.len() + (next - len), 0);
                patch(
                    &mut frame.bytes,
                    start + NEXT_COMMAND_AT,
                    &narrow(next).to_le_bytes(),
                );
                wire_len += next;
            } else {
                wire_len += len;
            }
            let sent = self.sent(frame.bytes.get(start..).unwrap_or_default());
            self.fly(conn, *member, mid, sent)?;
        }
        debug_assert!(wire_len >= frame.bytes.len());
        self.out.push_back(Effect::Send { conn, frame, login });
        for member in members {
            self.login_sent(member, LoginEvent::Send)?;
            self.reach(member, Milestone::Sent)?;
        }
        Ok(())
    }

    /// Sends `op` once more, as another request of its own.
    pub(super) fn resend(&mut self, conn: ConnId, op: OpId) -> Result<(), EngineError> {
        let mut frame = Frame::default();
        let charge = self.charge_of(op);
        let mid = self.conn_mut(conn)?.take(charge);
        self.write_request(op, mid, &mut frame)?;
        let login = self.login_session(op)?;
        self.step(op, OpEvent::Repeat { mid })?;
        if let Some(run) = self.runs.live_mut(op) {
            run.repeats = run.repeats.saturating_add(1);
        }
        let (sent_at, sent) = (self.now, self.sent(&frame.bytes));
        self.conn_mut(conn)?.flights.insert(
            mid,
            Flight {
                owner: Owner::Op(op),
                sent_at,
                sent,
            },
        );
        self.out.push_back(Effect::Send { conn, frame, login });
        Ok(())
    }

    fn charge_of(&self, op: OpId) -> u16 {
        self.plan.op(op).map_or(1, |it| it.charge)
    }

    /// What answers to this request are held against.
    fn sent(&self, request: &[u8]) -> Option<Sent> {
        match self.config.headers {
            Headers::Lax => None,
            Headers::Checked => Sent::of(request),
        }
    }

    /// Books a request as sent.
    fn fly(
        &mut self,
        conn: ConnId,
        op: OpId,
        mid: u64,
        sent: Option<Sent>,
    ) -> Result<(), EngineError> {
        let late = self.lateness(op)?;
        self.step(op, OpEvent::Issue { mid })?;
        self.report(Report::Started { op, late });
        let sent_at = self.now;
        self.conn_mut(conn)?.flights.insert(
            mid,
            Flight {
                owner: Owner::Op(op),
                sent_at,
                sent,
            },
        );
        self.forget_pipes(op)?;
        self.watch_request(op)
    }

    /// Handles that a request gives back may be given again.
    fn forget_pipes(&mut self, op: OpId) -> Result<(), EngineError> {
        if self.pipes.is_empty() {
            return Ok(());
        }
        let planned = self.planned(op)?;
        match planned.cmd {
            Command::CLOSE => {
                let open = planned.open;
                self.pipes.retain(|_, held| Some(*held) != open);
            }
            Command::TREE_DISCONNECT | Command::LOGOFF => self.pipes.clear(),
            _ => {}
        }
        Ok(())
    }

    /// Copies the template of `op` and patches this run's ids in; the length of its bulk data.
    fn write_request(&mut self, op: OpId, mid: u64, frame: &mut Frame) -> Result<u32, EngineError> {
        let unknown = EngineError::Unknown {
            what: "operation",
            number: op.0,
        };
        let planned = self.plan.op(op).ok_or(unknown)?;
        let start = frame.bytes.len();
        let header = planned.head.header.as_ref();
        let header = header.map_or(&[] as &[u8], |it| it.as_slice());
        frame.bytes.extend_from_slice(header);
        frame.bytes.extend_from_slice(self.plan.body_of(&planned));
        if planned.kind == Kind::Smb1Negotiate {
            return Ok(0);
        }
        self.patch_ids(&planned, mid, start, &mut frame.bytes);
        let content = match (planned.cmd, self.plan.data_of(&planned)) {
            (Command::SESSION_SETUP, _) => {
                let len = self.token_len(&planned);
                let field = start + TOKEN_LENGTH_AT;
                patch(&mut frame.bytes, field, &(len & 0xffff).to_le_bytes()[..2]);
                Some((len, Content::Token))
            }
            (_, Some(data)) => Some((data.len, Content::Data(data.blake3))),
            _ => None,
        };
        let Some(((len, content), at)) = content.zip(planned.head.bulk_at()) else {
            return Ok(0);
        };
        frame.cuts.push(Cut {
            at: narrow(start).saturating_add(at),
            len,
            content,
        });
        Ok(len)
    }

    fn patch_ids(&self, op: &PlanOp<'_>, mid: u64, start: usize, bytes: &mut [u8]) {
        patch(bytes, start + MESSAGE_ID_AT, &mid.to_le_bytes());
        if let Some(offset) = op.file_offset() {
            patch(bytes, start + FILE_OFFSET_AT, &offset.to_le_bytes());
        }
        if self.would_starve(op) {
            let credits = op.credits.max(op.charge).max(1);
            patch(bytes, start + CREDITS_AT, &credits.to_le_bytes());
        }
        if let Some(tree) = op.tree.filter(|_| op.cmd != Command::TREE_CONNECT) {
            let id = match self.trees.get(tree.index()) {
                Some(Slot::Held(id)) => *id,
                _ => self
                    .plan
                    .resources
                    .trees
                    .get(tree.index())
                    .copied()
                    .unwrap_or_default(),
            };
            patch(bytes, start + TREE_ID_AT, &id.to_le_bytes());
        }
        if let Some(id) = self.session_id(op.session) {
            patch(bytes, start + SESSION_ID_AT, &id.to_le_bytes());
        }
        if let (Some(at), Some(id)) = (op.head.file_id_at(), self.file_id(op.open)) {
            patch(bytes, start + at as usize, &id.to_bytes());
        }
        if let (Some(at), Some(id)) = (op.head.reclaim_at(), self.file_id(op.rare.reclaims)) {
            patch(bytes, start + at as usize, &id.to_bytes());
        }
        if let Some(key) = op
            .rare
            .resume_key_of
            .filter(|_| copies(bytes.get(start..)))
            .and_then(|from| self.resume_keys.get(&from))
        {
            patch(bytes, start + IOCTL_INPUT_AT, key);
        }
        let previous = op.rare.previous_session;
        let previous = previous.filter(|_| op.cmd == Command::SESSION_SETUP);
        if let Some(id) = self.session_id(previous) {
            patch(bytes, start + PREVIOUS_SESSION_AT, &id.to_le_bytes());
        }
        if let Some(seen) = op
            .rare
            .acknowledges
            .and_then(|of| self.breaks.level_seen(of))
        {
            let (at, value) = seen.acknowledgement();
            patch(bytes, start + at, value.as_slice());
        }
    }

    /// Whether this request, asking for nothing, would leave its connection without credits.
    fn would_starve(&self, op: &PlanOp<'_>) -> bool {
        let conn = self.conns.get(op.conn.index());
        op.credits == 0 && conn.is_some_and(|it| it.credits == 0 && it.flights.is_empty())
    }

    fn session_id(&self, session: Option<SessionRef>) -> Option<u64> {
        let session = session?.index();
        match self.sessions.get(session)? {
            Slot::Held(id) => Some(*id),
            _ => self
                .plan
                .resources
                .sessions
                .get(session)
                .copied()
                .filter(|id| *id != 0),
        }
    }

    fn file_id(&self, open: Option<OpenRef>) -> Option<FileId> {
        match self.opens.get(open?.index())? {
            Slot::Held(id) => Some(*id),
            _ => None,
        }
    }

    /// CANCEL takes no credit, no MessageId of its own, and has no response.
    /// [MS-SMB2] 3.2.4.24.
    fn cancel(&mut self, op: OpId) -> Result<(), EngineError> {
        let Some(planned) = self.plan.op(op) else {
            return Ok(());
        };
        let conn = planned.conn;
        let target = planned.rare.cancels;
        let state = target
            .and_then(|target| self.state_of(target))
            .unwrap_or_default();
        let (OpState::InFlight { mid } | OpState::Pending { mid, .. }) = state else {
            // Its target is over: as on the wire, there is nothing left to cancel.
            return match target {
                Some(target) if state != OpState::Settled => self.cascade(op, target),
                _ => self.skip(op, SkipReason::Ended),
            };
        };
        let mut frame = Frame::default();
        self.write_request(op, mid, &mut frame)?;
        if let OpState::Pending { async_id, .. } = state {
            let flags = frame.bytes.get(FLAGS_AT).copied().unwrap_or_default();
            let asynchronous = flags | HeaderFlags::ASYNC.bits().to_le_bytes()[0];
            patch(&mut frame.bytes, FLAGS_AT, &[asynchronous]);
            patch(&mut frame.bytes, ASYNC_ID_AT, &async_id.to_le_bytes());
        }
        let late = self.lateness(op)?;
        self.report(Report::Started { op, late });
        self.out.push_back(Effect::Send {
            conn,
            frame,
            login: None,
        });
        self.observe(op)
    }

    /// The recording ends the connection here.
    pub(super) fn disconnect(
        &mut self,
        op: OpId,
        by_client: bool,
        reset: bool,
    ) -> Result<(), EngineError> {
        if by_client {
            let Some(at) = self.notice_arrived_at(op) else {
                return self.hang_up(op, reset);
            };
            self.schedule.watch(op, at, false);
            return Ok(());
        }
        self.expect_hang_up(op)
    }

    /// Ends the connection: what is in flight on it is not waited for any more.
    pub(super) fn hang_up(&mut self, op: OpId, reset: bool) -> Result<(), EngineError> {
        let Some(conn) = self.plan.op(op).map(|it| it.conn) else {
            return Ok(());
        };
        let it = self.conn_mut(conn)?;
        let was = it.state;
        let flights = std::mem::take(&mut it.flights);
        let waiting = std::mem::take(&mut it.queue);
        self.conn_step(conn, ConnEvent::HangUp)?;
        if matches!(was, ConnState::Open | ConnState::Connecting) {
            self.out.push_back(Effect::Close { conn, reset });
        }
        for owner in flights.into_values().map(|flight| flight.owner) {
            let Owner::Op(lost) = owner else { continue };
            if self.plan.op(lost).is_some_and(|it| it.answer.is_some()) {
                self.diverged(lost, Divergence::NoResponse);
            }
            self.lose(lost)?;
        }
        for leader in waiting {
            self.give_up_group(leader, None)?;
        }
        // Nobody says when the server has noticed: who waits for that waits a moment longer.
        let settled = self.now.plus_nanos(self.settles_in_ns(op));
        self.schedule.watch(op, settled, false);
        Ok(())
    }

    /// How long the server is given to notice `op`, the end of a connection: as long as it had in
    /// the recording, within limits.
    fn settles_in_ns(&self, op: OpId) -> u64 {
        let at_us = |op| self.plan.op(op).map_or(0, |it| it.at_us);
        let waiting = self.plan.graph.waiting(op, Milestone::Response);
        let last = waiting.map(at_us).max().unwrap_or_default();
        let recorded = last.saturating_sub(at_us(op)).saturating_mul(1_000);
        recorded.clamp(DISCONNECT_SETTLES_NS, DISCONNECT_SETTLED_NS)
    }

    /// What `op` would have given will never be there.
    pub(super) fn fail_what_it_gives(&mut self, op: OpId, cause: OpId) {
        let Some(planned) = self.plan.op(op) else {
            return;
        };
        match planned.cmd {
            Command::CREATE => fail(&mut self.opens, planned.open.map(OpenRef::index), cause),
            Command::TREE_CONNECT => fail(&mut self.trees, planned.tree.map(|t| t.index()), cause),
            Command::SESSION_SETUP => {
                fail(
                    &mut self.sessions,
                    planned.session.map(|s| s.index()),
                    cause,
                );
            }
            _ => {}
        }
    }
}

/// Whether a request is an IOCTL whose input begins with a resume key. [MS-SMB2] 2.2.31.1.
fn copies(request: Option<&[u8]>) -> bool {
    let ioctl = request.filter(|it| it.get(COMMAND_AT) == Some(&IOCTL));
    let function = ioctl.and_then(|it| it.get(CTL_CODE_AT..)?.first_chunk().copied());
    let function = function.map(|it| Fsctl(u32::from_le_bytes(it)));
    matches!(
        function,
        Some(Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE)
    )
}

/// What is wrong with something that has to be known; `anyway` is content with what never was.
fn missing<T>(slot: Option<&Slot<T>>, anyway: bool) -> Option<Obstacle> {
    match slot {
        Some(Slot::Held(_)) => None,
        Some(Slot::Failed(cause)) => Some(Obstacle::Cause(*cause)),
        _ if anyway => None,
        _ => Some(Obstacle::NotCaptured),
    }
}

fn fail<T>(slots: &mut [Slot<T>], at: Option<usize>, cause: OpId) {
    if let Some(slot) = at.and_then(|at| slots.get_mut(at))
        && matches!(slot, Slot::Unset)
    {
        *slot = Slot::Failed(cause);
    }
}

/// Overwrites bytes in place; what would lie outside is left alone.
pub(super) fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at.saturating_add(value.len())) {
        target.copy_from_slice(value);
    }
}

/// A length within a frame. Frames are bounded far below 4 GiB by the transport.
pub(super) fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// How long a server is given at least, and at most, to notice the end of a connection.
const DISCONNECT_SETTLES_NS: u64 = 5_000_000;
const DISCONNECT_SETTLED_NS: u64 = 100_000_000;
// [MS-SMB2] 2.2.1.2
const COMMAND_AT: usize = 12;
const IOCTL: u8 = 11;
const CREDITS_AT: usize = 14;
const FLAGS_AT: usize = 16;
const NEXT_COMMAND_AT: usize = 20;
const MESSAGE_ID_AT: usize = 24;
const ASYNC_ID_AT: usize = 32;
const TREE_ID_AT: usize = 36;
const SESSION_ID_AT: usize = 40;
// [MS-SMB2] 2.2.5
const TOKEN_LENGTH_AT: usize = HEADER_LEN + 14;
const PREVIOUS_SESSION_AT: usize = HEADER_LEN + 16;
const CTL_CODE_AT: usize = HEADER_LEN + 4;
// [MS-SMB2] 2.2.31: the input buffer follows the fixed part
const IOCTL_INPUT_AT: usize = HEADER_LEN + 56;
