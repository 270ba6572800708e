//! Feeds an engine changed events as a faithful driver would: nothing comes on a connection that is not open,
//! no login goes on that nobody ordered, time never goes back, and what the engine wants to be woken for
//! wakes it. So whatever goes wrong is the engine's.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    bulk::Blobs,
    confine::{Breach, Gate},
    drive::{Drive, DriveError, Machine, OutgoingError},
    engine::{Recorded, RunConfig},
    event::{Divergence, Effect, Input, NetFailure, Output, Recorder, Report, TokenOutcome},
    frame::Digest,
    ids::{ConnId, LogicalTime, OpId, SessionRef},
};

use super::{
    mutation::Event,
    watch::{Violation, Watch},
};

/// What came of a run.
#[derive(Debug)]
pub struct Played<M, R> {
    /// The engine.
    pub machine: M,
    /// What recorded the inputs.
    pub recorder: R,
    /// Inputs that the engine was given.
    pub inputs: u64,
    /// The first thing that must not have happened.
    pub violation: Option<Violation>,
}

/// Plays changed events to one engine.
#[derive(Debug)]
pub struct Player<M, R> {
    drive: Drive<M, R>,
    watch: Watch,
    links: BTreeMap<ConnId, Link>,
    logins: BTreeSet<(ConnId, SessionRef)>,
    /// Outcomes that came before anybody asked.
    early: Vec<Input>,
    wake: Option<LogicalTime>,
    now: LogicalTime,
    stopped: bool,
    most_inputs: u64,
    most_held: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Link {
    #[default]
    Closed,
    Connecting,
    Open,
}

impl<M: Machine, R: Recorder> Player<M, R> {
    /// A run at its start. `events`: how many it is made of, which bounds how long it may take.
    pub fn new(
        machine: M,
        recorder: R,
        recorded: Recorded,
        config: &RunConfig,
        events: usize,
    ) -> Self {
        let recorded_len = recorded.len();
        let parts = u64::try_from(events.saturating_add(recorded.len())).unwrap_or(u64::MAX);
        Self {
            drive: Drive::new(machine, recorder, Gate::of(config)),
            watch: Watch::new(recorded),
            links: BTreeMap::new(),
            logins: BTreeSet::new(),
            early: Vec::new(),
            wake: None,
            now: LogicalTime::ZERO,
            stopped: false,
            most_held: recorded_len.saturating_mul(HELD_AN_OPERATION) + HELD_ANYWAY,
            most_inputs: parts.saturating_mul(INPUTS_A_PART).saturating_add(1_000),
        }
    }

    /// Plays `events`, and then what a world does in which nothing comes any more, to the end of the run.
    pub fn play(mut self, events: &[Event]) -> Played<M, R> {
        for event in events {
            self.wakes_before(event.now);
            self.now = self.now.max(event.now);
            self.offer(event.input.clone());
            if self.is_over() {
                break;
            }
        }
        while !self.is_over() {
            self.nothing_comes();
        }
        let ended = self.drive.finish();
        if let Err(error) = ended {
            let error = error.to_string();
            self.watch.violated(Violation::Refused { error });
        }
        let inputs = self.drive.inputs();
        let violation = self.watch.violation().cloned();
        let (machine, recorder) = self.drive.into_parts();
        Played {
            machine,
            recorder,
            inputs,
            violation,
        }
    }

    fn is_over(&self) -> bool {
        self.watch.is_done() || self.watch.violation().is_some()
    }

    /// Wakes the engine where it asked for it, up to `until`.
    fn wakes_before(&mut self, until: LogicalTime) {
        while let Some(at) = self.wake.filter(|at| *at <= until)
            && !self.is_over()
        {
            self.now = self.now.max(at);
            self.feed(Input::Wake);
        }
    }

    /// Gives the engine what came, if it can come now.
    fn offer(&mut self, input: Input) {
        let link = |conn: &ConnId| self.links.get(conn).copied().unwrap_or_default();
        let can_come = match &input {
            Input::Start => self.drive.inputs() == 0,
            Input::Connected { conn } | Input::ConnectFailed { conn, .. } => {
                link(conn) == Link::Connecting
            }
            Input::Closed { conn, .. } | Input::Received { conn, .. } => link(conn) == Link::Open,
            Input::TokenReady { conn, session, .. } => self.logins.contains(&(*conn, *session)),
            Input::Stop => !std::mem::replace(&mut self.stopped, true),
            // The engine is woken when it asks for it; other shards are not played.
            Input::Wake | Input::Completed { .. } => false,
        };
        if can_come && (self.drive.inputs() > 0 || input == Input::Start) {
            self.feed(input);
        } else if matches!(input, Input::Connected { .. } | Input::TokenReady { .. }) {
            self.early.push(input);
        }
        self.what_came_early();
    }

    /// Outcomes that came too early come when they are asked for.
    fn what_came_early(&mut self) {
        while !self.is_over() {
            let wanted = self.early.iter().position(|input| match input {
                Input::Connected { conn } => self.links.get(conn) == Some(&Link::Connecting),
                Input::TokenReady { conn, session, .. } => self.logins.contains(&(*conn, *session)),
                _ => false,
            });
            let Some(at) = wanted else { return };
            let input = self.early.remove(at);
            self.feed(input);
        }
    }

    /// One step of a world in which nobody says anything any more.
    fn nothing_comes(&mut self) {
        let connecting = self
            .links
            .iter()
            .find(|(_, link)| **link == Link::Connecting);
        let reason = NetFailure::TimedOut;
        let input = if self.drive.inputs() == 0 {
            Input::Start
        } else if let Some(conn) = connecting.map(|(conn, _)| *conn) {
            Input::ConnectFailed { conn, reason }
        } else if let Some((conn, session)) = self.logins.first().copied() {
            Input::TokenReady {
                conn,
                session,
                outcome: TokenOutcome::Failed,
            }
        } else if let Some(at) = self.wake {
            self.now = self.now.max(at);
            Input::Wake
        } else {
            // Whatever it waits for, it gives up some day: that it has to be woken for.
            let why = "it waits, and wants no wake";
            self.watch.violated(Violation::Endless { why });
            return;
        };
        self.feed(input);
    }

    /// Gives the engine one input, and carries out what it orders.
    fn feed(&mut self, input: Input) {
        if self.drive.inputs() > self.most_inputs {
            let why = "it takes input after input";
            self.watch.violated(Violation::Endless { why });
            return;
        }
        match &input {
            Input::Connected { conn } => drop(self.links.insert(*conn, Link::Open)),
            Input::ConnectFailed { conn, .. } | Input::Closed { conn, .. } => self.close(*conn),
            Input::TokenReady { conn, session, .. } => drop(self.logins.remove(&(*conn, *session))),
            _ => {}
        }
        let unwanted = self.drive.unwanted();
        let came = input.clone();
        let taken = self.drive.take(self.now, input);
        if self.drive.unwanted() == unwanted {
            self.watch.input(&came);
        }
        if let Err(error) = taken {
            let error = match error {
                DriveError::Machine { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            self.watch.violated(Violation::Refused { error });
            return;
        }
        let mut effects = 0;
        loop {
            match self.drive.poll() {
                Output::WakeAt(at) => {
                    self.wake = at;
                    let (held, most) = (self.drive.machine().held(), self.most_held);
                    if held > most {
                        self.watch.violated(Violation::Memory { held, most });
                    }
                    return;
                }
                Output::Do(effect) => self.carry_out(&effect),
            }
            effects += 1;
            if effects > self.most_inputs {
                let why = "it gives order after order";
                self.watch.violated(Violation::Endless { why });
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Connect { conn } => drop(self.links.insert(*conn, Link::Connecting)),
            Effect::Close { conn, .. } => self.close(*conn),
            Effect::Authenticate { conn, session, .. } => {
                self.logins.insert((*conn, *session));
            }
            Effect::Send { conn, frame, login } => {
                let charges = frame.pdus().map_while(Result::ok);
                let charge = charges.map(|(header, ..)| u64::from(header.credit_charge.max(1)));
                let charge = charge.sum();
                if let Some(op) = self.watch.next_sent() {
                    self.watch.note_sent(op, *conn, charge);
                }
                let token = login.map(|_| vec![0; token_len(frame)]);
                let left = self
                    .drive
                    .outgoing(*conn, frame, &mut Zeros, token.as_deref());
                match left {
                    Ok(_) => {}
                    // What is written to a pipe is in no journal, and zeros are no call.
                    Err(DriveError::Outgoing {
                        source: OutgoingError::Breach(Breach::RpcCall { .. }),
                        ..
                    }) if !frame.cuts.is_empty() => {}
                    Err(error) => {
                        let error = match error {
                            DriveError::Outgoing { source, .. } => source.to_string(),
                            other => other.to_string(),
                        };
                        self.watch.violated(Violation::Outgoing { error });
                    }
                }
            }
            Effect::Report(Report::Diverged {
                op,
                divergence: Divergence::NoCredits,
            }) => self.starved(*op),
            Effect::Report(_) => {}
        }
        self.watch.effect(effect);
    }

    fn starved(&mut self, op: OpId) {
        // Which connection it waits on is not in the report; where one alone is open, it is that.
        let mut open = self.links.iter().filter(|(_, link)| **link == Link::Open);
        if let (Some((conn, _)), None) = (open.next(), open.next()) {
            self.watch.starves(op, *conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.links.insert(conn, Link::Closed);
        self.logins.retain(|(on, _)| *on != conn);
    }
}

/// Bytes of the token that a frame has room for.
fn token_len(frame: &smbench_core::frame::Frame) -> usize {
    let tokens = frame
        .cuts
        .iter()
        .filter(|cut| matches!(cut.content, smbench_core::frame::Content::Token));
    tokens.map(|cut| cut.len as usize).sum()
}

/// Data for every request, all zeros: where what it is does not matter, or is not at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zeros;

impl Blobs for Zeros {
    fn get(&mut self, _: &Digest, len: u32) -> Option<std::sync::Arc<[u8]>> {
        Some(vec![0; len as usize].into())
    }
}

/// Things that an engine may keep for each operation: its request, its turns, what its answer gave, and as much
/// for what the engine sends because of it.
const HELD_AN_OPERATION: usize = 8;
/// Things that it may keep besides: what belongs to connections.
const HELD_ANYWAY: usize = 64;
/// Inputs that a run may take for each event and operation that it is made of.
const INPUTS_A_PART: u64 = 32;
