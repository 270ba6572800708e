//! The machine: gives its engine one input of the script after the other, each when it may come here.
//!
//! | input of the script     | comes                                                                     |
//! |-------------------------|---------------------------------------------------------------------------|
//! | connected               | when this connection is open; where it cannot be, as that it could not      |
//! | connect failed, closed  | at once, or a moment after the other server ended it; the connection is cut |
//! | received, an answer     | when this server has answered the same request, or is given up              |
//! | received, a notification | when one of the same key or handle came, or a moment later                  |
//! | token ready             | when our token is ready; not, where none was asked for                      |
//! | wake                    | after as long as in the journal, and no longer than a moment                |
//! | stop, the rest          | at once                                                                     |
//!
//! Waits are bounded: by the time-out for what the other server did, by moments for everything else. A connection
//! on which nothing comes for a time-out is given up as a whole, and after a few of them the run ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smbench_core::{
    drive::Machine,
    engine::{Engine, EngineError},
    event::{Effect, Input, NetFailure, Output, Report},
    frame::Frame,
    ids::{ClientId, ConnId, LogicalTime, SessionRef},
    smb2::{Command, NtStatus},
};

use super::{
    heard::{Ended, Fate, Heard},
    names::Names,
    orders::Order,
    script::{Line, Naming, RequestKey, Script, feed, is_interim},
    wire::{PeerState, Wire},
};

/// How long what is waited for may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// An answer, in nanoseconds.
    pub timeout_ns: u64,
    /// A break notification, in nanoseconds.
    pub break_wait_ns: u64,
}

/// An engine that is given a script, and whose requests go to a server that did not write it.
#[derive(Debug)]
pub struct Actor {
    /// None after it refused an input, or panicked.
    engine: Option<Engine>,
    script: Script,
    /// Lines of the script that are over.
    next: usize,
    naming: Naming,
    names: Names,
    pub(super) wire: Wire,
    orders: VecDeque<Order>,
    pub(super) out: VecDeque<Effect>,
    patience: Patience,
    /// What the other server made of the same script; without it everything is waited for.
    wanted: Option<Heard>,
    pub(super) heard: Heard,
    pub(super) now: LogicalTime,
    /// The time that the engine was given last.
    engine_now: LogicalTime,
    /// When the last line was over.
    fed_at: LogicalTime,
    /// When we ended a connection last.
    pub(super) closed_at: Option<LogicalTime>,
    wake: Option<LogicalTime>,
    phase: Phase,
    /// Logins for which a token was asked for.
    pub(super) asked: BTreeSet<(ConnId, SessionRef)>,
    /// Logins of which the next leg is not sent.
    pub(super) absorbed: BTreeSet<(ConnId, SessionRef)>,
    /// The last leg of each login.
    pub(super) last_leg: BTreeMap<(ConnId, SessionRef), RequestKey>,
    /// Legs that were not sent, and are answered as the one before.
    pub(super) silent_legs: BTreeSet<RequestKey>,
    /// Legs beyond the script's.
    pub(super) more_legs: BTreeMap<RequestKey, u32>,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// `Start` has not come.
    New,
    Running,
    /// Nothing more goes out, and nothing is waited for.
    Ending,
    Over,
}

/// What became of the turn of an order or a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// It is over.
    Taken,
    /// Not yet; until then at most, or until something comes.
    Wait(Option<LogicalTime>),
}

impl Actor {
    /// At the start of the run. `clients` are those of the connections; `wanted` is what another server made of
    /// the script.
    #[must_use]
    pub fn new(
        engine: Engine,
        script: Script,
        clients: Vec<ClientId>,
        patience: Patience,
        wanted: Option<Heard>,
    ) -> Self {
        Self {
            engine: Some(engine),
            script,
            next: 0,
            naming: Naming::default(),
            names: Names::default(),
            wire: Wire::new(clients),
            orders: VecDeque::new(),
            out: VecDeque::new(),
            patience,
            wanted,
            heard: Heard::default(),
            now: LogicalTime::ZERO,
            engine_now: LogicalTime::ZERO,
            fed_at: LogicalTime::ZERO,
            closed_at: None,
            wake: None,
            phase: Phase::New,
            asked: BTreeSet::new(),
            absorbed: BTreeSet::new(),
            last_leg: BTreeMap::new(),
            silent_legs: BTreeSet::new(),
            more_legs: BTreeMap::new(),
        }
    }

    /// What came of it.
    #[must_use]
    pub fn into_heard(self) -> Heard {
        let mut heard = self.heard;
        let sent = self.wire.requests.iter();
        let sent = sent.filter(|(key, _)| !self.silent_legs.contains(key));
        heard.requests = sent
            .map(|(key, it)| {
                let fate = Fate {
                    command: it.command,
                    conn: it.conn,
                    status: it.answer.as_ref().map(|it| it.status),
                    hung: it.hung,
                };
                (*key, fate)
            })
            .collect();
        heard
    }

    /// Does all that can be done now, and notes until when there is nothing.
    fn go_on(&mut self) {
        loop {
            let turn = match self.phase {
                Phase::New | Phase::Over => return,
                Phase::Ending => {
                    self.end();
                    return;
                }
                Phase::Running => self.turn(),
            };
            if let Turn::Wait(until) = turn {
                self.wake = until;
                return;
            }
        }
    }

    fn turn(&mut self) -> Turn {
        if let Some(order) = self.orders.pop_front() {
            let turn = self.carry_out(&order);
            if turn != Turn::Taken {
                self.orders.push_front(order);
            }
            return turn;
        }
        if let Some(line) = self.script.lines.get(self.next).cloned()
            && self.engine.is_some()
        {
            let turn = self.line(&line);
            if turn == Turn::Taken {
                (self.next, self.fed_at) = (self.next + 1, self.now);
            }
            return turn;
        }
        let open: Vec<ConnId> = self.wire.peers.keys().copied().collect();
        for conn in open {
            let keys: Vec<RequestKey> = self.wire.open_on(conn).map(|(key, _)| key).collect();
            for key in keys
                .into_iter()
                .filter(|key| self.is_owed(key))
                .collect::<Vec<_>>()
            {
                if let Some(until) = self.waits_for(key) {
                    return Turn::Wait(Some(until));
                }
            }
        }
        self.phase = Phase::Ending;
        Turn::Taken
    }

    fn end(&mut self) {
        let conns: Vec<ConnId> = self.wire.peers.keys().copied().collect();
        for conn in conns {
            self.hang_up(conn, false);
        }
        self.phase = Phase::Over;
        self.wake = None;
        self.out.push_back(Effect::Report(Report::Done));
    }

    /// Whether the other server answered, so that this one has to.
    pub(super) fn is_owed(&self, key: &RequestKey) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_none_or(|wanted| wanted.status(key).is_some())
    }

    /// Until when the answer of `key` is waited for; none where it is there, or is given up, now or before.
    pub(super) fn waits_for(&mut self, key: RequestKey) -> Option<LogicalTime> {
        let request = self.wire.requests.get_mut(&key)?;
        let peer = self.wire.peers.get(&request.conn)?;
        if request.answer.is_some() || request.hung || peer.state != PeerState::Open {
            return None;
        }
        let until = request.sent_at.plus_nanos(self.patience.timeout_ns);
        if until > self.now {
            return Some(until);
        }
        request.hung = true;
        // Nothing else came either: the connection is as good as lost. What another server would not have
        // answered says nothing of this one.
        let silent = peer.heard_at <= request.sent_at && self.wanted.is_some();
        let conn = request.conn;
        if silent {
            self.out.push_back(Effect::Close { conn, reset: true });
            if let Some(peer) = self.wire.peers.get_mut(&conn) {
                peer.state = PeerState::Ended(NetFailure::TimedOut);
                peer.given_up = true;
            }
        }
        let hung = self.wire.requests.values().filter(|it| it.hung).count();
        if self.wanted.is_some() && hung >= MOST_HUNG {
            self.heard.gave_up = true;
            self.phase = Phase::Ending;
        }
        None
    }

    fn line(&mut self, line: &Line) -> Turn {
        match &line.input {
            Input::Connected { conn } => self.connected(line, *conn),
            Input::ConnectFailed { conn, reason } | Input::Closed { conn, reason } => {
                self.cut(line, *conn, *reason == NetFailure::Reset)
            }
            Input::Received { conn, frame, .. } => self.received(line, *conn, frame),
            Input::TokenReady { conn, session, .. } => self.token(line, *conn, *session),
            Input::Wake => {
                let before = self.next.checked_sub(1);
                let before = before.and_then(|at| self.script.lines.get(at));
                let gap_ns = before.map_or(0, |before| line.now.nanos_since(before.now));
                let until = self.fed_at.plus_nanos(gap_ns.min(MOMENT_NS));
                match until > self.now {
                    true => Turn::Wait(Some(until)),
                    false => self.feed(line.now, Input::Wake),
                }
            }
            Input::Completed { .. } => Turn::Taken,
            Input::Start | Input::Stop => self.feed(line.now, line.input.clone()),
        }
    }

    fn connected(&mut self, line: &Line, conn: ConnId) -> Turn {
        match self.wire.peers.get(&conn).map(|peer| peer.state) {
            Some(PeerState::Opening) => Turn::Wait(None),
            Some(PeerState::Open) => self.feed(line.now, line.input.clone()),
            Some(PeerState::Ended(reason)) => {
                self.told(conn);
                self.feed(line.now, Input::ConnectFailed { conn, reason })
            }
            Some(PeerState::Closed) | None => Turn::Taken,
        }
    }

    /// The journal's connection has ended, or was never opened: so does this one.
    fn cut(&mut self, line: &Line, conn: ConnId, reset: bool) -> Turn {
        let Some(peer) = self.wire.peers.get(&conn).filter(|peer| !peer.told) else {
            return Turn::Taken;
        };
        if peer.state == PeerState::Closed {
            return Turn::Taken;
        }
        if peer.state == PeerState::Open && matches!(line.input, Input::Closed { .. }) {
            // Perhaps it was the server that ended it.
            let until = self.fed_at.plus_nanos(MOMENT_NS);
            if until > self.now && self.is_worth_waiting() {
                return Turn::Wait(Some(until));
            }
            self.heard.vain.insert(self.next);
        }
        if !matches!(peer.state, PeerState::Ended(_)) {
            self.hang_up(conn, reset);
        }
        self.told(conn);
        self.feed(line.now, line.input.clone())
    }

    /// Whether the other server did what this line waits for.
    fn is_worth_waiting(&self) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_none_or(|wanted| !wanted.vain.contains(&self.next))
    }

    /// The engine hears that a connection is over.
    fn told(&mut self, conn: ConnId) {
        if let Some(peer) = self.wire.peers.get_mut(&conn) {
            peer.told = true;
        }
        self.note_end(conn);
    }

    /// Notes a connection that the server has ended.
    pub(super) fn note_end(&mut self, conn: ConnId) {
        let Some(peer) = self.wire.peers.get(&conn).filter(|peer| !peer.given_up) else {
            return;
        };
        if let PeerState::Ended(reason) = peer.state {
            let (sent, last) = (peer.sent, peer.last);
            let ended = Ended { reason, sent, last };
            self.heard.ended.entry(conn).or_insert(ended);
        }
    }

    fn received(&mut self, line: &Line, conn: ConnId, frame: &Frame) -> Turn {
        let state = self.wire.peers.get(&conn).filter(|peer| !peer.told);
        let Some(state) = state.map(|peer| peer.state) else {
            return Turn::Taken;
        };
        if !matches!(state, PeerState::Open | PeerState::Ended(_)) {
            return Turn::Taken;
        }
        let pdus = frame.pdus().map_while(Result::ok);
        for ((header, bytes, _), key) in pdus.zip(&line.answers) {
            let wait = match key {
                Some(key) if is_interim(&header) => self.interim(*key),
                Some(key) => self.answer(*key, header.nt_status()),
                None if header.command == Command::OPLOCK_BREAK => self.notice(conn, bytes),
                None => None,
            };
            if let Some(until) = wait {
                return Turn::Wait(Some(until));
            }
        }
        if let Some(PeerState::Ended(reason)) = self.wire.peers.get(&conn).map(|peer| peer.state)
            && line
                .answers
                .iter()
                .flatten()
                .any(|key| !self.is_answered(key))
        {
            self.told(conn);
            return self.feed(line.now, Input::Closed { conn, reason });
        }
        let Some(frame) = self.names.here(line, frame, &self.wire) else {
            return Turn::Taken;
        };
        let mut input = line.input.clone();
        if let Input::Received { frame: to, .. } = &mut input {
            *to = frame;
        }
        self.feed(line.now, input)
    }

    fn is_answered(&self, key: &RequestKey) -> bool {
        let request = self.wire.requests.get(key);
        request.is_some_and(|it| it.answer.is_some() || it.hung)
    }

    fn answer(&mut self, key: RequestKey, told: NtStatus) -> Option<LogicalTime> {
        if self.is_owed(&key)
            && let Some(until) = self.waits_for(key)
        {
            return Some(until);
        }
        let answer = self.wire.requests.get(&key)?.answer.as_ref()?;
        let wants_more = answer.status == NtStatus::MORE_PROCESSING_REQUIRED;
        if wants_more && !told.is_error() && self.one_more_leg(key) {
            return Some(self.now.plus_nanos(self.patience.timeout_ns));
        }
        None
    }

    /// Servers need not say that an answer comes later: that is waited for a moment.
    fn interim(&mut self, key: RequestKey) -> Option<LogicalTime> {
        let request = self.wire.requests.get(&key)?;
        let came = request.interim.is_some() || request.answer.is_some();
        let until = request
            .sent_at
            .plus_nanos(INTERIM_NS.min(self.patience.timeout_ns));
        let waits = !came && until > self.now && self.wire.is_open(request.conn);
        (waits && self.is_worth_waiting())
            .then_some(until)
            .or_else(|| {
                if !came {
                    self.heard.vain.insert(self.next);
                }
                None
            })
    }

    fn notice(&mut self, conn: ConnId, pdu: &[u8]) -> Option<LogicalTime> {
        let key = self.names.notified(pdu)?;
        if self.wire.take_notice(conn, key) {
            return None;
        }
        let until = self.fed_at.plus_nanos(self.patience.break_wait_ns);
        if until > self.now && self.is_worth_waiting() && self.wire.is_open(conn) {
            return Some(until);
        }
        self.heard.vain.insert(self.next);
        None
    }

    fn token(&mut self, line: &Line, conn: ConnId, session: SessionRef) -> Turn {
        let place = (conn, session);
        if let Some(outcome) = self.wire.tokens.remove(&place) {
            self.asked.remove(&place);
            let mut input = line.input.clone();
            if let Input::TokenReady { outcome: told, .. } = &mut input {
                let ready = |it| matches!(it, smbench_core::event::TokenOutcome::Ready { .. });
                if ready(*told) {
                    self.heard.login_failed |= !ready(outcome);
                    *told = outcome;
                }
            }
            return self.feed(line.now, input);
        }
        match self.asked.contains(&place) {
            true => Turn::Wait(None),
            false if self.absorbed.contains(&place) => self.feed(line.now, line.input.clone()),
            false => Turn::Taken,
        }
    }

    fn feed(&mut self, now: LogicalTime, input: Input) -> Turn {
        let Some(engine) = &mut self.engine else {
            return Turn::Taken;
        };
        self.engine_now = self.engine_now.max(now);
        match feed(engine, self.engine_now, input) {
            Ok(effects) => {
                for effect in effects {
                    let sent = self.naming.requests(&effect);
                    if !matches!(effect, Effect::Report(_)) {
                        self.orders.push_back(Order { effect, sent });
                    }
                }
            }
            Err(_) => self.engine = None, // as the script would have ended, had it been told so
        }
        Turn::Taken
    }
}

impl Machine for Actor {
    type Error = EngineError;

    fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), EngineError> {
        self.now = self.now.max(now);
        self.wake = None;
        match input {
            Input::Start => self.phase = Phase::Running,
            Input::Stop => self.phase = Phase::Ending,
            input => self.wire.heard(self.now, input),
        }
        self.go_on();
        Ok(())
    }

    fn poll(&mut self) -> Output {
        match self.out.pop_front() {
            Some(effect) => Output::Do(effect),
            None => Output::WakeAt(self.wake),
        }
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

/// How long a pause of the journal is kept, an end of a connection waited for that may be the server's, and a
/// server given to notice one.
pub(super) const MOMENT_NS: u64 = 100_000_000;
/// How long an interim response is waited for.
const INTERIM_NS: u64 = 1_000_000_000;
/// Requests that a server leaves unanswered until it is left alone.
const MOST_HUNG: usize = 4;
