//! The loop, and the effects.

use std::time::Duration;

use smbench_core::bulk::Blobs;
use smbench_core::drive::{DriveError, Machine};
use smbench_core::event::{
    AuthStep, Effect, Input, NetFailure, Output, Recorder, Report, TokenOutcome,
};
use smbench_core::frame::Frame;
use smbench_core::ids::{ConnId, LogicalTime, SessionRef};
use tokio::time::Instant;

use super::conn::Conn;
use super::watch::{Looks, Reports, Sight, Watch};
use super::{Driver, Finished};
use crate::link::{Halves, Link, LinkEvent, LinkId};
use crate::network::transport_failure;
use crate::{Authenticator, Network, Timer};

type Failure<M, R> = DriveError<<M as Machine>::Error, <R as Recorder>::Error>;

impl<M, N, A, B, R, T> Driver<M, N, A, B, R, T>
where
    M: Machine,
    N: Network,
    A: Authenticator,
    B: Blobs,
    R: Recorder,
    T: Timer,
{
    /// Runs until the engine reports that it is done.
    ///
    /// `on_report` hears every report, with the time the engine made it.
    ///
    /// # Errors
    ///
    /// [`DriveError`] when the engine or the recorder gives up; connections are then cut.
    pub async fn run(
        self,
        on_report: impl FnMut(LogicalTime, &Report),
    ) -> Result<Finished<M, N, A, B, R>, Failure<M, R>> {
        self.run_watched(&mut Reports(on_report)).await
    }

    /// Runs until the engine reports that it is done, with somebody looking on.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_watched(
        mut self,
        watch: &mut impl Watch<M>,
    ) -> Result<Finished<M, N, A, B, R>, Failure<M, R>> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let mut looks = Looks::every(watch.every());
        let outcome = self.until_done(start, watch, &mut looks).await;
        if looks.are_taken() {
            watch.look(&self.sight());
        }
        for (_, conn) in std::mem::take(&mut self.conns) {
            match conn.link {
                Some(link) if outcome.is_ok() => self.closing.push(link.close()),
                Some(link) => link.abort(),
                None => {}
            }
        }
        outcome?;
        let deadline = Instant::now() + self.config.close_timeout;
        for task in std::mem::take(&mut self.closing) {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                abort.abort();
            }
        }
        let effects = self.drive.finish()?;
        let (machine, recorder) = self.drive.into_parts();
        Ok(Finished {
            machine,
            network: self.network,
            authenticator: self.authenticator,
            blobs: self.blobs,
            recorder,
            metrics: self.metrics,
            effects,
            at: self.last,
        })
    }

    async fn until_done(
        &mut self,
        start: Instant,
        watch: &mut impl Watch<M>,
        looks: &mut Looks,
    ) -> Result<(), Failure<M, R>> {
        let mut wake = None;
        loop {
            while let Some(input) = self.inputs.pop_front() {
                wake = self.feed(input, watch)?;
            }
            if self.done {
                return Ok(());
            }
            if looks.are_due() {
                watch.look(&self.sight());
            }
            let deadline = wake.map(|at: LogicalTime| start + Duration::from_nanos(at.0));
            if let Ok(input) = self.outside.try_recv() {
                self.inputs.push_back(input);
            } else if let Some(late) = deadline.and_then(late) {
                if late < HELD_UP || !self.hears_first().await {
                    self.wake(wake);
                }
            } else if let Ok(event) = self.events.try_recv() {
                self.happened(event);
            } else {
                let Self {
                    outside,
                    events,
                    timer,
                    ..
                } = self;
                let timer = timer.sleep_until(deadline.unwrap_or_else(Instant::now));
                tokio::select! {
                    biased;
                    Some(input) = outside.recv() => self.inputs.push_back(input),
                    () = timer, if deadline.is_some() => {} // it is due now
                    Some(event) = events.recv() => self.happened(event),
                    () = looks.wait() => {} // it is due now
                }
            }
        }
    }

    /// The run as it is now.
    fn sight(&self) -> Sight<'_, M> {
        Sight {
            metrics: &self.metrics,
            machine: self.drive.machine(),
            unsent_bytes: self.memory.unsent() as u64,
            unheard: self.events.len() as u64,
        }
    }

    /// This program was held up (a stop, a slow disk): what has come meanwhile is heard before the
    /// engine looks at time-outs. Whether something was; not without end.
    async fn hears_first(&mut self) -> bool {
        let since = *self.hears_since.get_or_insert_with(Instant::now);
        if since.elapsed() > LONGEST_HEARD {
            return false;
        }
        // Readers have to run before there is anything to be heard.
        match tokio::time::timeout(TURN, self.events.recv()).await {
            Ok(Some(event)) => {
                self.happened(event);
                true
            }
            _ => false,
        }
    }

    /// Nanoseconds since the start; never less than last time.
    fn now(&mut self) -> LogicalTime {
        let elapsed = self.start.map_or(0, |start| {
            Instant::now().saturating_duration_since(start).as_nanos()
        });
        let now = LogicalTime(u64::try_from(elapsed).unwrap_or(u64::MAX));
        self.last = self.last.max(now);
        self.last
    }

    fn wake(&mut self, wanted: Option<LogicalTime>) {
        let late = self.now().nanos_since(wanted.unwrap_or_default());
        self.metrics.wake_late_ns.saturating_record(late);
        self.hears_since = None;
        self.inputs.push_back(Input::Wake);
    }

    /// Records one input, gives it to the engine and does what the engine then wants.
    fn feed(
        &mut self,
        input: Input,
        watch: &mut impl Watch<M>,
    ) -> Result<Option<LogicalTime>, Failure<M, R>> {
        let now = self.now();
        self.drive.take(now, input)?;
        self.metrics.inputs = self.drive.inputs();
        self.metrics.unwanted_frames = self.drive.unwanted();
        loop {
            match self.drive.poll() {
                Output::WakeAt(at) => return Ok(at),
                Output::Do(effect) => {
                    if let Effect::Report(report) = &effect {
                        self.metrics.note(report);
                        tracing::trace!(?report, "report");
                        watch.report(now, report);
                    }
                    self.perform(effect)?;
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Failure<M, R>> {
        match effect {
            Effect::Connect { conn } => self.connect(conn),
            Effect::Send { conn, frame, login } => self.send(conn, &frame, login)?,
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
            Effect::Close { conn, reset } => self.close(conn, reset),
            Effect::Report(Report::Done) => self.done = true,
            Effect::Report(_) => {}
        }
        Ok(())
    }

    fn connect(&mut self, conn: ConnId) {
        let generation = self.conns.get(&conn).map_or(0, |old| old.generation) + 1;
        let fresh = Conn::new(conn, generation, &self.config);
        if let Some(old) = self.conns.insert(conn, fresh).and_then(|old| old.link) {
            old.abort();
        }
        let (transport, endpoint) = match self.network.open(conn) {
            Ok(opened) => opened,
            Err(reason) => return self.connect_failed(conn, reason),
        };
        let id = LinkId {
            conn: conn.0.into(),
            generation,
        };
        let (events, limit) = (self.to_events.clone(), self.config.connect_timeout);
        tokio::spawn(async move {
            let mut transport = transport;
            let attempt = transport.connect(&endpoint.server, endpoint.address);
            let result = match tokio::time::timeout(limit, attempt).await {
                Err(_) => Err(NetFailure::TimedOut),
                Ok(Err(error)) => Err(transport_failure(&error)),
                Ok(Ok(())) => transport.split().map_err(|error| transport_failure(&error)),
            };
            let _ = events.send(LinkEvent::Connected(id, result)).await;
        });
    }

    fn connect_failed(&mut self, conn: ConnId, reason: NetFailure) {
        tracing::debug!(%conn, ?reason, "connect failed");
        *self.metrics.connect_failures.entry(reason).or_default() += 1;
        self.inputs.push_back(Input::ConnectFailed { conn, reason });
    }

    fn send(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        login: Option<SessionRef>,
    ) -> Result<(), Failure<M, R>> {
        self.lend_session(conn, frame);
        let Some(it) = self.conns.get_mut(&conn).filter(|it| it.link.is_some()) else {
            self.metrics.sends_without_connection += 1; // its end is on the way as an input
            return Ok(());
        };
        let token = login.and_then(|session| it.logins.take_token(session));
        let token = token.as_deref();
        let mut plain = self.drive.outgoing(conn, frame, &mut self.blobs, token)?;
        if let Some(session) = login {
            it.logins.sent(&plain, session);
        }
        let failure = match it.security.seal(&mut plain) {
            Ok(sealed) => {
                self.metrics.signed += u64::from(sealed.signed);
                self.metrics.encrypted += u64::from(sealed.encrypted);
                self.metrics.unsigned_without_key += u64::from(sealed.unsigned_without_key);
                None
            }
            Err(error) => {
                tracing::warn!(%conn, %error, "a frame cannot be sealed");
                self.metrics.unsealable_frames += 1;
                Some(NetFailure::Protocol)
            }
        };
        let queued = it.link.as_mut().map(|link| link.send(&plain));
        match (failure, queued) {
            (Some(reason), _) => self.lost(conn, reason),
            (None, Some(Ok(stalled))) => {
                self.metrics.frames_sent += 1;
                self.metrics.bytes_sent += plain.len() as u64 + 4;
                self.metrics.send_stalls += u64::from(stalled);
            }
            (None, _) => {
                tracing::warn!(%conn, bytes = plain.len(), "a frame cannot be queued");
                self.lost(conn, NetFailure::Local);
            }
        }
        Ok(())
    }

    /// A SESSION_SETUP that binds a channel needs the keys of the session's first connection.
    fn lend_session(&mut self, conn: ConnId, frame: &Frame) {
        let Some(wire_id) = smbench_core::seal::binds(&frame.bytes) else {
            return;
        };
        let known = self
            .conns
            .get(&conn)
            .is_none_or(|it| it.security.is_bound(wire_id));
        let mut others = self.conns.iter().filter(|(id, _)| **id != conn);
        let base = others.find_map(|(_, other)| other.security.export(wire_id));
        if let (false, Some(base), Some(it)) = (known, base, self.conns.get_mut(&conn))
            && let Err(error) = it.security.bind(wire_id, base)
        {
            tracing::debug!(%conn, %error, "a channel cannot be bound");
        }
    }

    fn authenticate(&mut self, conn: ConnId, session: SessionRef, step: AuthStep) -> TokenOutcome {
        let Some(it) = self.conns.get_mut(&conn) else {
            return TokenOutcome::Failed;
        };
        self.metrics.logins += u64::from(step != AuthStep::Continue);
        let logins = &mut it.logins;
        match logins.authenticate(&mut self.authenticator, conn, session, step) {
            Ok(len) => TokenOutcome::Ready { len },
            Err(error) => {
                tracing::warn!(%conn, %session, %error, "a login cannot go on");
                self.metrics.login_failures += 1;
                TokenOutcome::Failed
            }
        }
    }

    fn close(&mut self, conn: ConnId, reset: bool) {
        if reset {
            self.network.reset(conn);
        }
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        it.generation += 1; // what still comes from the old life is stale
        let Some(link) = it.link.take() else { return };
        tracing::debug!(%conn, reset, "close");
        self.closing.retain(|task| !task.is_finished());
        self.closing.push(link.close());
    }

    fn happened(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(id, result) => {
                if let Some(conn) = self.current(id) {
                    self.connected(conn, id, result);
                }
            }
            LinkEvent::Frame(id, raw, _memory) => {
                if let Some(conn) = self.current(id) {
                    self.received(conn, raw);
                }
            }
            LinkEvent::Closed(id, reason) => {
                if let Some(conn) = self.current(id) {
                    self.lost(conn, reason);
                }
            }
            LinkEvent::Room(id) => {
                let conn = self.current(id).and_then(|conn| self.conns.get_mut(&conn));
                if let Some(link) = conn.and_then(|it| it.link.as_mut()) {
                    link.flush();
                }
            }
        }
    }

    /// The connection an event is about, unless it is about an earlier life of it.
    fn current(&self, id: LinkId) -> Option<ConnId> {
        let conn = ConnId(u32::try_from(id.conn).ok()?);
        let it = self.conns.get(&conn)?;
        (it.generation == id.generation).then_some(conn)
    }

    fn connected(&mut self, conn: ConnId, id: LinkId, result: Result<Halves, NetFailure>) {
        match result {
            Ok(halves) => {
                tracing::debug!(%conn, "connected");
                self.metrics.connects += 1;
                let events = self.to_events.clone();
                let link = Link::start(
                    id,
                    halves,
                    self.config.max_frame_bytes,
                    self.memory.clone(),
                    events,
                );
                if let Some(it) = self.conns.get_mut(&conn) {
                    it.link = Some(link);
                }
                self.inputs.push_back(Input::Connected { conn });
            }
            Err(reason) => self.connect_failed(conn, reason),
        }
    }

    fn received(&mut self, conn: ConnId, raw: Vec<u8>) {
        self.metrics.frames_received += 1;
        self.metrics.bytes_received += raw.len() as u64 + 4;
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        match it.receive(raw, &mut self.blobs, &mut self.metrics) {
            Ok((frame, seal)) => self.inputs.push_back(Input::Received { conn, frame, seal }),
            Err(error) => {
                tracing::warn!(%conn, %error, "an unreadable frame");
                self.metrics.unreadable_frames += 1;
                self.lost(conn, NetFailure::Protocol);
            }
        }
    }

    /// The end of a connection nobody asked to end.
    fn lost(&mut self, conn: ConnId, reason: NetFailure) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(link) = it.link.take() else { return };
        it.generation += 1;
        link.abort();
        tracing::debug!(%conn, ?reason, "lost");
        *self.metrics.losses.entry(reason).or_default() += 1;
        self.inputs.push_back(Input::Closed { conn, reason });
    }
}

/// How much too late it is for `deadline`; none before it.
fn late(deadline: Instant) -> Option<Duration> {
    Instant::now().checked_duration_since(deadline)
}

/// A wake that is later was held up.
const HELD_UP: Duration = Duration::from_millis(250);
/// How long readers are given to read on.
const TURN: Duration = Duration::from_millis(20);
/// How long a wake that is due waits for that, at most.
const LONGEST_HEARD: Duration = Duration::from_millis(500);
