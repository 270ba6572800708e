//! The fast driver: engine and server on one heap of events, ordered by `(time, seq)`.
//!
//! No tokio, no bytes on a stream: a frame is an event that arrives once, when its last segment
//! would. What is kept of a network is what a client can tell: delay, order within a connection,
//! ends of connections, holds. At one moment the engine's wake comes before the server's, and both
//! before arrivals, as in `live`'s loop.

mod ear;
mod link;
mod queue;

use std::collections::VecDeque;

use smbench_core::bulk::{self, Blobs};
use smbench_core::confine::Gate;
use smbench_core::drive::{Drive, Machine};
use smbench_core::engine::{Engine, EngineError};
use smbench_core::event::{
    AuthStep, Effect, Input, NetFailure, Output, Recorder, Report, Seal, TokenOutcome,
};
use smbench_core::frame::{Content, Frame};
use smbench_core::ids::{ConnId, LogicalTime, SessionRef};
use smbench_live::auth::TrustAuthenticator;
use smbench_live::{FrameService, ServiceHost};

use self::ear::Ear;
use self::link::{Link, Phase};
use self::queue::{Event, Queue};
use crate::run::{Cast, Run, SimCounters, SimError, SimOutcome, Simulated, Stage, Wire, unsettled};
use crate::scenario::Scenario;
use crate::tap::{LinkEnd, LinkId, Vantage};
use crate::weather::{Direction, Lane, cuts};

type Failure<R> = SimError<<R as Recorder>::Error>;

/// Runs until the engine is done, or nothing can happen any more.
pub fn run<S, R, B>(
    run: Run<'_, S, R, B>,
    on_report: impl FnMut(LogicalTime, &Report),
) -> Simulated<S, R, B>
where
    S: FrameService,
    R: Recorder,
    B: Blobs,
{
    let (ops, gate) = (run.plan.len(), Gate::of(&run.config));
    let stage = Stage {
        cast: run.cast,
        scenario: run.scenario,
        server: run.server,
        recorder: run.recorder,
        blobs: run.blobs,
        tap: run.tap,
    };
    let engine = Engine::new(run.plan, run.config);
    run_machine(engine, ops, gate, stage, on_report).0
}

/// As [`run`], for any machine of `ops` operations, whose frames leave through `gate`; gives it back.
pub fn run_machine<M, S, R, B>(
    machine: M,
    ops: usize,
    gate: Gate,
    stage: Stage<'_, S, R, B>,
    on_report: impl FnMut(LogicalTime, &Report),
) -> (Simulated<S, R, B>, M)
where
    M: Machine<Error = EngineError>,
    S: FrameService,
    R: Recorder,
    B: Blobs,
{
    let mut driver = EventLoop::new(machine, ops, gate, stage, on_report);
    let result = driver.until_done();
    let result = result.map(|()| driver.outcome());
    let (machine, recorder) = driver.drive.into_parts();
    let simulated = Simulated {
        result,
        server: Some(driver.server),
        recorder: Some(recorder),
        blobs: Some(driver.blobs),
    };
    (simulated, machine)
}

struct EventLoop<'a, M, S, R, B, F> {
    drive: Drive<M, R>,
    ops: usize,
    server: S,
    blobs: B,
    on_report: F,
    authenticator: TrustAuthenticator<Cast>,
    cast: Cast,
    scenario: &'a Scenario,
    links: Vec<Link>,
    wires: Vec<Wire>,
    queue: Queue,
    inputs: VecDeque<Input>,
    engine_wake: Option<LogicalTime>,
    server_wake: Option<LogicalTime>,
    now: LogicalTime,
    counters: SimCounters,
    ear: Ear<'a>,
    done: Option<LogicalTime>,
}

impl<'a, M, S, R, B, F> EventLoop<'a, M, S, R, B, F>
where
    M: Machine<Error = EngineError>,
    S: FrameService,
    R: Recorder,
    B: Blobs,
    F: FnMut(LogicalTime, &Report),
{
    fn new(machine: M, ops: usize, gate: Gate, stage: Stage<'a, S, R, B>, on_report: F) -> Self {
        let mut queue = Queue::default();
        let conns = stage.cast.clients.len();
        for conn in (0u32..).take(conns).map(ConnId) {
            for at in cuts(stage.scenario, conn, stage.cast.client(conn)) {
                queue.push(at, Event::Cut { conn });
            }
        }
        Self {
            ops,
            drive: Drive::new(machine, stage.recorder, gate),
            server: stage.server,
            blobs: stage.blobs,
            on_report,
            authenticator: TrustAuthenticator::new(stage.cast.clone()),
            cast: stage.cast,
            scenario: stage.scenario,
            links: std::iter::repeat_with(Link::default).take(conns).collect(),
            wires: vec![Wire::default(); conns],
            queue,
            inputs: VecDeque::from([Input::Start]),
            engine_wake: None,
            server_wake: None,
            now: LogicalTime::ZERO,
            counters: SimCounters::default(),
            ear: Ear::new(stage.tap),
            done: None,
        }
    }

    fn outcome(&mut self) -> SimOutcome {
        SimOutcome {
            effects: self.drive.effects(),
            at: self.done.unwrap_or(self.now),
            steps: self.drive.inputs(),
            counters: SimCounters {
                unwanted_frames: self.drive.unwanted(),
                ..self.counters
            },
            wires: std::mem::take(&mut self.wires),
        }
    }

    fn until_done(&mut self) -> Result<(), Failure<R>> {
        let mut still = 0;
        loop {
            while let Some(input) = self.inputs.pop_front() {
                self.feed(input)?;
            }
            if self.done.is_some() {
                break;
            }
            let before = self.now;
            self.step()?;
            still = if self.now == before { still + 1 } else { 0 };
            if still > MOST_STEPS_AT_ONCE {
                let at = self.now;
                return Err(SimError::Livelock { at, steps: still });
            }
        }
        // What was sent still reaches the server; what it answers, nobody hears.
        while let Some((at, event)) = self.queue.pop() {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.drive.finish()?;
        Ok(())
    }

    /// Lets the next thing happen.
    fn step(&mut self) -> Result<(), Failure<R>> {
        let arrival = self.queue.next_at();
        let wakes = [self.engine_wake, self.server_wake, arrival];
        let Some(next) = wakes.into_iter().flatten().min() else {
            let (waiting, more) = unsettled(self.drive.machine(), self.ops);
            return Err(SimError::Stalled {
                at: self.now,
                waiting,
                more,
            });
        };
        if next > self.scenario.limit {
            let (waiting, more) = unsettled(self.drive.machine(), self.ops);
            return Err(SimError::OutOfTime {
                limit: self.scenario.limit,
                waiting,
                more,
            });
        }
        self.now = self.now.max(next);
        if self.engine_wake.is_some_and(|at| at <= self.now) {
            self.inputs.push_back(Input::Wake);
        } else if self.server_wake.is_some_and(|at| at <= self.now) {
            self.server.wake(self.now);
            self.drain_server();
        } else if let Some((_, event)) = self.queue.pop() {
            self.happen(event);
        }
        Ok(())
    }

    /// Records one input, gives it to the engine and does what the engine then wants.
    fn feed(&mut self, input: Input) -> Result<(), Failure<R>> {
        self.drive.take(self.now, input)?;
        loop {
            match self.drive.poll() {
                Output::WakeAt(at) => {
                    self.engine_wake = at;
                    return Ok(());
                }
                Output::Do(effect) => self.perform(effect)?,
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Failure<R>> {
        match effect {
            Effect::Connect { conn } => self.connect(conn),
            Effect::Send { conn, frame, login } => self.send_up(conn, &frame, login)?,
            Effect::Authenticate {
                conn,
                session,
                step,
            } => {
                let outcome = self.authenticate(conn, session, step);
                self.inputs.push_back(Input::TokenReady {
                    conn,
                    session,
                    outcome,
                });
            }
            Effect::Close { conn, reset } => self.hang_up(conn, Some(reset)),
            Effect::Report(report) => {
                (self.on_report)(self.now, &report);
                if report == Report::Done {
                    self.done = Some(self.now);
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, conn: ConnId) {
        let client = self.cast.client(conn);
        let Some(link) = self.links.get_mut(conn.index()) else {
            let reason = NetFailure::Unreachable;
            self.inputs.push_back(Input::ConnectFailed { conn, reason });
            return;
        };
        let life = link.life + 1;
        let lane = |direction| Lane::new(self.scenario, conn, client, life.into(), direction);
        *link = Link::new(life, lane(Direction::Up), lane(Direction::Down));
        let at = link.arrival(Direction::Up, self.now, 0);
        self.queue.push(at, Event::Opened { conn, life });
    }

    fn send_up(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        login: Option<SessionRef>,
    ) -> Result<(), Failure<R>> {
        let link = self.links.get_mut(conn.index());
        let Some(link) = link.filter(|link| link.phase == Phase::Open) else {
            self.counters.sends_without_connection += 1; // its end is on the way as an input
            return Ok(());
        };
        let token = login.and_then(|session| link.logins.take_token(session));
        let token = token.as_deref();
        let plain = self.drive.outgoing(conn, frame, &mut self.blobs, token)?;
        if let Some(session) = login {
            link.logins.sent(&plain, session);
        }
        self.counters.frames_up += 1;
        let life = link.life;
        let at = link.arrival(Direction::Up, self.now, plain.len());
        let (id, up) = (LinkId { conn, life }, Direction::Up);
        self.ear.frame(Vantage::Client, self.now, id, up, &plain);
        self.queue.push(
            at,
            Event::Up {
                conn,
                life,
                frame: plain,
            },
        );
        Ok(())
    }

    fn authenticate(&mut self, conn: ConnId, session: SessionRef, step: AuthStep) -> TokenOutcome {
        let Some(link) = self.links.get_mut(conn.index()) else {
            return TokenOutcome::Failed;
        };
        let logins = &mut link.logins;
        let ready = logins.authenticate(&mut self.authenticator, conn, session, step);
        ready.map_or(TokenOutcome::Failed, |len| TokenOutcome::Ready { len })
    }

    /// The client ends a connection, by a reset or not, or has learnt that it is at its end: the
    /// server hears of it after all that was sent before.
    fn hang_up(&mut self, conn: ConnId, reset: Option<bool>) {
        let Some(link) = self.links.get_mut(conn.index()) else {
            return;
        };
        if link.phase != Phase::Open {
            return;
        }
        link.phase = Phase::Over;
        // The end of the run is not the end of a connection.
        link.ended = reset.filter(|_| !self.drive.machine().is_over());
        let (life, at) = (link.life, link.arrival(Direction::Up, self.now, 0));
        if let Some(reset) = link.ended {
            let (by, id) = (Direction::Up, LinkId { conn, life });
            let end = LinkEnd { by, reset };
            self.ear.closed(Vantage::Client, self.now, id, end);
        }
        self.queue.push(at, Event::Ended { conn, life });
    }

    /// The client sees a connection end that it did not end.
    fn lose(&mut self, conn: ConnId, reason: NetFailure) {
        let phase = self.links.get(conn.index()).map(|link| link.phase);
        match phase {
            Some(Phase::Open) => {
                let own = reason != NetFailure::Eof;
                self.hang_up(conn, own.then_some(true));
                self.inputs.push_back(Input::Closed { conn, reason });
            }
            Some(Phase::Connecting) => {
                if let Some(link) = self.links.get_mut(conn.index()) {
                    link.phase = Phase::Over;
                    link.ended = Some(true);
                    let (life, at) = (link.life, link.arrival(Direction::Up, self.now, 0));
                    self.queue.push(at, Event::Ended { conn, life });
                }
                self.inputs.push_back(Input::ConnectFailed { conn, reason });
            }
            Some(Phase::Over) | None => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Cut { conn } => self.lose(conn, NetFailure::Reset),
            Event::Opened { conn, life } => {
                let now = self.now;
                self.server.opened(now, key(conn, life));
                if let Some(link) = self.current(conn, life) {
                    link.served = true;
                    let at = link.arrival(Direction::Down, now, 0);
                    self.queue.push(at, Event::Connected { conn, life });
                    let id = LinkId { conn, life };
                    self.ear.opened(Vantage::Server, now, id);
                }
                self.drain_server();
            }
            Event::Up { conn, life, frame } => {
                if let Some(wire) = self.wires.get_mut(conn.index()) {
                    wire.up.add(&frame);
                }
                let served = self.current(conn, life).is_some_and(|link| link.served);
                if served {
                    let (now, id) = (self.now, LinkId { conn, life });
                    let ear = &mut self.ear;
                    ear.frame(Vantage::Server, now, id, Direction::Up, &frame);
                    self.server.frame(self.now, key(conn, life), frame);
                    self.drain_server();
                } else {
                    self.counters.lost_frames += 1;
                }
            }
            Event::Ended { conn, life } => {
                let link = self.current(conn, life);
                let Some(link) = link.filter(|link| link.served) else {
                    return;
                };
                link.served = false;
                if let Some(reset) = link.ended {
                    let (now, id) = (self.now, LinkId { conn, life });
                    let by = Direction::Up;
                    let end = LinkEnd { by, reset };
                    self.ear.closed(Vantage::Server, now, id, end);
                }
                self.server.closed(self.now, key(conn, life));
                self.drain_server();
            }
            Event::Connected { conn, life } => {
                let link = self.current(conn, life);
                if let Some(link) = link.filter(|link| link.phase == Phase::Connecting) {
                    link.phase = Phase::Open;
                    self.inputs.push_back(Input::Connected { conn });
                    let id = LinkId { conn, life };
                    self.ear.opened(Vantage::Client, self.now, id);
                }
            }
            Event::Down { conn, life, frame } => self.received(conn, life, &frame),
            Event::Closed { conn, life } => {
                let link = self.current(conn, life);
                if link.is_some_and(|link| link.phase == Phase::Open) {
                    let id = LinkId { conn, life };
                    self.ear.closed(Vantage::Client, self.now, id, BY_SERVER);
                }
                if self.current(conn, life).is_some() {
                    self.lose(conn, NetFailure::Eof);
                }
            }
        }
    }

    fn received(&mut self, conn: ConnId, life: u32, raw: &[u8]) {
        let open = self.current(conn, life).map(|link| link.phase) == Some(Phase::Open);
        if !open || self.done.is_some() {
            self.counters.lost_frames += 1;
            return;
        }
        self.counters.frames_down += 1;
        let (id, down) = (LinkId { conn, life }, Direction::Down);
        self.ear.frame(Vantage::Client, self.now, id, down, raw);
        let blobs = &mut self.blobs;
        let mut link = self.links.get_mut(conn.index());
        let detached = bulk::detach(raw, |pdu, content, bytes| match content {
            Content::Data(digest) => blobs.put(&digest, bytes),
            Content::Token => {
                if let Some(link) = &mut link {
                    link.logins.received(pdu, bytes);
                }
            }
        });
        match detached {
            Ok(frame) => self.inputs.push_back(Input::Received {
                conn,
                frame,
                seal: Seal::Plain,
            }),
            Err(_) => {
                self.counters.unreadable_frames += 1;
                self.lose(conn, NetFailure::Protocol);
            }
        }
    }

    /// Takes everything the server wants done.
    fn drain_server(&mut self) {
        self.server_wake = self.settle();
    }

    /// The link of a connection, unless `life` is over.
    fn current(&mut self, conn: ConnId, life: u32) -> Option<&mut Link> {
        let link = self.links.get_mut(conn.index())?;
        (link.life == life).then_some(link)
    }
}

impl<M, S, R, B, F> ServiceHost for EventLoop<'_, M, S, R, B, F>
where
    M: Machine<Error = EngineError>,
    S: FrameService,
    R: Recorder,
    B: Blobs,
    F: FnMut(LogicalTime, &Report),
{
    type Service = S;

    fn service(&mut self) -> &mut S {
        &mut self.server
    }

    fn now(&mut self) -> LogicalTime {
        self.now
    }

    fn send(&mut self, conn: u64, frame: Vec<u8>) {
        let (conn, life) = unkey(conn);
        if let Some(wire) = self.wires.get_mut(conn.index()) {
            wire.down.add(&frame);
        }
        let now = self.now;
        let Some(link) = self.current(conn, life) else {
            self.counters.lost_frames += 1;
            return;
        };
        let at = link.arrival(Direction::Down, now, frame.len());
        let (id, down) = (LinkId { conn, life }, Direction::Down);
        self.ear.frame(Vantage::Server, now, id, down, &frame);
        self.queue.push(at, Event::Down { conn, life, frame });
    }

    fn close(&mut self, conn: u64) {
        let (conn, life) = unkey(conn);
        let now = self.now;
        if let Some(link) = self.current(conn, life) {
            link.served = false;
            let at = link.arrival(Direction::Down, now, 0);
            self.queue.push(at, Event::Closed { conn, life });
            let id = LinkId { conn, life };
            self.ear.closed(Vantage::Server, now, id, BY_SERVER);
        }
    }
}

/// The server's number for one life of a connection: never used twice.
fn key(conn: ConnId, life: u32) -> u64 {
    u64::from(life) << 32 | u64::from(conn.0)
}

fn unkey(key: u64) -> (ConnId, u32) {
    let low = u32::try_from(key & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (ConnId(low), u32::try_from(key >> 32).unwrap_or(u32::MAX))
}

/// The server ends connections in an orderly way.
const BY_SERVER: LinkEnd = LinkEnd {
    by: Direction::Down,
    reset: false,
};
/// Steps at one moment that no sound run takes.
const MOST_STEPS_AT_ONCE: u64 = 10_000_000;
