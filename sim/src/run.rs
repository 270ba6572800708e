//! What a simulated run is made of, and what is left of it.

use smbench_core::bulk::Blobs;
use smbench_core::drive::{DriveError, Machine, OutgoingError};
use smbench_core::engine::{EngineError, OpState, Plan, RunConfig};
use smbench_core::event::{EffectsDigest, Recorder, Report};
use smbench_core::ids::{ClientId, ConnId, LogicalTime, OpId, PrincipalRef, SessionRef};
use smbench_core::seal::Secret;
use smbench_core::workload::Workload;
use smbench_live::{Credentials, CredentialsSource, FrameService};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::scenario::Scenario;
use crate::tap::Tap;

/// Who carries the frames.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum DriverKind {
    /// A heap of events and nothing else: for sweeps, shrinking, fuzzing.
    #[default]
    EventLoop,
    /// The tokio driver of `live` over turmoil's simulated TCP.
    Turmoil,
}

/// Who is who: what the workload knows of clients and users, and the plan does not tell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cast {
    /// The client of each connection.
    pub clients: Vec<ClientId>,
    /// `DOMAIN\user` of each session.
    pub users: Vec<String>,
    /// `DOMAIN\user` of each user of the workload.
    pub principals: Vec<String>,
}

impl Cast {
    /// The cast of a workload.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        let name = |principal: u32| {
            let found = usize::try_from(principal).ok();
            let found = found.and_then(|index| workload.principals.get(index));
            found.map(|it| it.name.clone()).unwrap_or_default()
        };
        Self {
            clients: workload.connections.iter().map(|it| it.client).collect(),
            users: workload
                .sessions
                .iter()
                .map(|it| name(it.principal))
                .collect(),
            principals: workload
                .principals
                .iter()
                .map(|it| it.name.clone())
                .collect(),
        }
    }

    pub(crate) fn client(&self, conn: ConnId) -> Option<ClientId> {
        self.clients.get(conn.index()).copied()
    }
}

/// Names without passwords: the model server trusts in a simulation.
impl CredentialsSource for Cast {
    fn credentials(&self, session: SessionRef) -> Option<Credentials> {
        Some(without_password(self.users.get(session.index())?))
    }

    fn of_principal(&self, principal: PrincipalRef) -> Option<Credentials> {
        Some(without_password(self.principals.get(principal.index())?))
    }
}

fn without_password(name: &str) -> Credentials {
    let (domain, user) = name.split_once('\\').unwrap_or(("", name));
    Credentials {
        user: user.to_owned(),
        domain: domain.to_owned(),
        password: Secret::new(b""),
    }
}

/// Everything a run is made of.
#[derive(Debug)]
pub struct Run<'a, S, R, B> {
    /// The workload, ready to run.
    pub plan: Plan,
    /// How to run it.
    pub config: RunConfig,
    /// Who is who.
    pub cast: Cast,
    /// What the network does.
    pub scenario: &'a Scenario,
    /// The server, its namespace loaded; it has to trust any login.
    pub server: S,
    /// What records the inputs.
    pub recorder: R,
    /// Where WRITE data comes from.
    pub blobs: B,
    /// What listens to the network; the event loop alone has a place for it.
    pub tap: Option<&'a mut dyn Tap>,
}

/// What a machine that is no engine of a plan is run with: a run without plan and configuration.
#[derive(Debug)]
pub struct Stage<'a, S, R, B> {
    /// Who is who.
    pub cast: Cast,
    /// What the network does.
    pub scenario: &'a Scenario,
    /// The server, its namespace loaded; it has to trust any login.
    pub server: S,
    /// What records the inputs.
    pub recorder: R,
    /// Where WRITE data comes from.
    pub blobs: B,
    /// What listens to the network; the event loop alone has a place for it.
    pub tap: Option<&'a mut dyn Tap>,
}

/// What is left of a run, however it ended.
#[derive(Debug)]
pub struct Simulated<S, R: Recorder, B> {
    /// How it ended.
    pub result: Result<SimOutcome, SimError<R::Error>>,
    /// The server as the run left it; none if the simulator lost it (a panic in a task of its).
    pub server: Option<S>,
    /// The recorder.
    pub recorder: Option<R>,
    /// The blobs.
    pub blobs: Option<B>,
}

/// A run that came to its end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SimOutcome {
    /// Digest of all effects.
    pub effects: EffectsDigest,
    /// When the run was done.
    pub at: LogicalTime,
    /// Inputs that the engine took.
    pub steps: u64,
    /// What was counted.
    pub counters: SimCounters,
    /// What each connection carried, by [`ConnId`], lives of one connection one after the other.
    pub wires: Vec<Wire>,
}

/// What a run counted. Nothing is dropped without a number here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SimCounters {
    /// Frames that clients sent.
    pub frames_up: u64,
    /// Frames that clients received.
    pub frames_down: u64,
    /// Frames ordered on a connection that was already gone.
    pub sends_without_connection: u64,
    /// Frames from the server that could not be taken apart; the connection was ended.
    pub unreadable_frames: u64,
    /// Frames that belong to nothing, beyond what a connection may have of them: they were neither
    /// recorded nor given to the engine.
    pub unwanted_frames: u64,
    /// Frames lost on the way because their connection ended.
    pub lost_frames: u64,
}

/// What went over one connection, in its order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wire {
    /// Frames that reached the server.
    pub up: Tally,
    /// Frames that the server sent.
    pub down: Tally,
}

/// A number of frames and a running digest of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many.
    pub frames: u64,
    /// XXH3-64, chained over their bytes.
    pub digest: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.digest = xxh3_64_with_seed(frame, self.digest);
    }
}

/// Why a run came to no end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError<R: std::error::Error + 'static> {
    /// The engine refused an input.
    #[error("the engine refused input {seq}")]
    Engine {
        /// The input's number.
        seq: u64,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// An input could not be recorded.
    #[error("input {seq} could not be recorded")]
    Record {
        /// The input's number.
        seq: u64,
        /// Why.
        #[source]
        source: R,
    },
    /// A frame must not leave: a defect.
    #[error("upon input {seq} a frame was to leave that must not")]
    Outgoing {
        /// The input's number.
        seq: u64,
        /// Why.
        #[source]
        source: OutgoingError,
    },
    /// Nothing can happen any more, and operations are left.
    #[error("nothing can happen after {at:?}: {}", Unsettled(waiting, *more))]
    Stalled {
        /// When the last thing happened.
        at: LogicalTime,
        /// The first operations that are not over, and how far they are.
        waiting: Vec<(OpId, OpState)>,
        /// How many more there are.
        more: usize,
    },
    /// The scenario's limit of simulated time came first.
    #[error("not done after {limit:?}: {}", Unsettled(waiting, *more))]
    OutOfTime {
        /// The limit.
        limit: LogicalTime,
        /// The first operations that are not over, and how far they are.
        waiting: Vec<(OpId, OpState)>,
        /// How many more there are.
        more: usize,
    },
    /// Very many things happened without time passing.
    #[error("{steps} steps at {at:?}, and no end")]
    Livelock {
        /// The moment.
        at: LogicalTime,
        /// How many.
        steps: u64,
    },
    /// The driver has no place for a tap.
    #[error("only the event loop can be listened to")]
    NoTap,
    /// The simulated network itself failed.
    #[error("the simulated network failed: {message}")]
    Network {
        /// In its own words.
        message: String,
    },
}

impl<R: std::error::Error + 'static> From<DriveError<EngineError, R>> for SimError<R> {
    fn from(error: DriveError<EngineError, R>) -> Self {
        match error {
            DriveError::Machine { seq, source } => Self::Engine { seq, source },
            DriveError::Record { seq, source } => Self::Record { seq, source },
            DriveError::Outgoing { seq, source } => Self::Outgoing { seq, source },
            other => Self::Network {
                message: other.to_string(),
            },
        }
    }
}

struct Unsettled<'a>(&'a [(OpId, OpState)], usize);

impl std::fmt::Display for Unsettled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (op, state)) in self.0.iter().enumerate() {
            let waits_for = match state {
                OpState::Waiting => "operations before it",
                OpState::Scheduled => "its time",
                OpState::Queued => "connection, login or credits",
                OpState::InFlight { .. } => "a response",
                OpState::Pending { .. } => "its final response",
                OpState::Settled => "nothing",
            };
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}operation {op} waits for {waits_for}")?;
        }
        match self.1 {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// The first operations of a machine that are not over, and how many more there are.
pub(crate) fn unsettled(engine: &impl Machine, ops: usize) -> (Vec<(OpId, OpState)>, usize) {
    let ids = (0..u32::try_from(ops).unwrap_or(u32::MAX)).map(OpId);
    let mut open = ids
        .filter_map(|op| Some((op, engine.state_of(op)?)))
        .filter(|(_, state)| *state != OpState::Settled);
    let first = open.by_ref().take(SHOWN).collect();
    (first, open.count())
}

/// Runs a workload against a server under a scenario.
///
/// `on_report` hears every report, with the time the engine made it.
pub fn simulate<S, R, B>(
    run: Run<'_, S, R, B>,
    driver: DriverKind,
    on_report: impl FnMut(LogicalTime, &Report) + 'static,
) -> Simulated<S, R, B>
where
    S: FrameService + 'static,
    R: Recorder + 'static,
    B: Blobs + 'static,
{
    match driver {
        DriverKind::EventLoop => crate::event_loop::run(run, on_report),
        DriverKind::Turmoil => crate::turmoil_net::run(run, on_report),
    }
}

/// Unsettled operations that an error names.
const SHOWN: usize = 8;
