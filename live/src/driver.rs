//! The driver: executes the engine's effects, reports what happens as inputs.
//!
//! One driver runs one engine in one task; the tasks of its connections only move bytes. Every
//! input is recorded before the engine sees it. The loop has a fixed order (what is due locally,
//! orders from outside, the engine's wake, the network), so under a runtime whose scheduling is
//! deterministic the whole run is.

mod conn;
mod run;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use smbench_core::bulk::Blobs;
use smbench_core::confine::Gate;
use smbench_core::drive::{Drive, Machine};
use smbench_core::event::{EffectsDigest, Input, Milestone, Recorder};
use smbench_core::ids::{ConnId, LogicalTime, OpId, ShardId};
use smbench_core::seal::{EncryptPolicy, SigningPolicy};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::conn::Conn;
#[cfg(feature = "sockets")]
pub(crate) use self::watch::Looks;
pub use self::watch::{Sight, Watch};
use crate::link::{LinkEvent, MAX_WIRE_FRAME, Memory};
use crate::{Authenticator, Metrics, Network, Timer};

/// How to drive.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// The seed of nonces.
    pub seed: u64,
    /// When requests are signed.
    pub signing: SigningPolicy,
    /// When requests are encrypted.
    pub encryption: EncryptPolicy,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long the last frames may take to leave when the run is over.
    pub close_timeout: Duration,
    /// The longest frame accepted, in bytes; the wire cannot say more than 2^24 - 1.
    pub max_frame_bytes: usize,
    /// Frames that may wait to be handled, over all connections.
    pub event_queue: usize,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            signing: SigningPolicy::default(),
            encryption: EncryptPolicy::default(),
            connect_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            max_frame_bytes: usize::try_from(MAX_WIRE_FRAME).unwrap_or(usize::MAX),
            event_queue: 256,
        }
    }
}

/// What a driver is made of.
#[derive(Debug)]
pub struct Parts<M, N, A, B, R, T> {
    /// The engine.
    pub machine: M,
    /// Where connections come from.
    pub network: N,
    /// How users log in.
    pub authenticator: A,
    /// Where WRITE data comes from.
    pub blobs: B,
    /// What records the inputs.
    pub recorder: R,
    /// What waits.
    pub timer: T,
    /// What the run may send.
    pub gate: Gate,
}

/// What is left of a finished run.
#[derive(Debug)]
pub struct Finished<M, N, A, B, R> {
    /// The engine.
    pub machine: M,
    /// Where connections came from.
    pub network: N,
    /// How users logged in.
    pub authenticator: A,
    /// Where WRITE data came from.
    pub blobs: B,
    /// What recorded the inputs.
    pub recorder: R,
    /// The figures.
    pub metrics: Metrics,
    /// Digest of all effects.
    pub effects: EffectsDigest,
    /// When the run was done.
    pub at: LogicalTime,
}

/// Drives one engine.
pub struct Driver<M, N, A, B, R, T> {
    drive: Drive<M, R>,
    network: N,
    authenticator: A,
    blobs: B,
    timer: T,
    config: DriverConfig,
    metrics: Metrics,
    conns: BTreeMap<ConnId, Conn>,
    closing: Vec<JoinHandle<()>>,
    inputs: VecDeque<Input>,
    events: mpsc::Receiver<LinkEvent>,
    to_events: mpsc::Sender<LinkEvent>,
    outside: mpsc::UnboundedReceiver<Input>,
    memory: Memory,
    /// Since when events are heard before a wake that is due.
    hears_since: Option<Instant>,
    start: Option<Instant>,
    last: LogicalTime,
    done: bool,
}

impl<M, N, A, B, R, T> Driver<M, N, A, B, R, T>
where
    M: Machine,
    N: Network,
    A: Authenticator,
    B: Blobs,
    R: Recorder,
    T: Timer,
{
    /// A driver and the handle others reach it by. The run's clock starts with [`Driver::run`].
    pub fn new(parts: Parts<M, N, A, B, R, T>, config: DriverConfig) -> (Self, DriverHandle) {
        let (to_events, events) = mpsc::channel(config.event_queue.max(1));
        let (to_outside, outside) = mpsc::unbounded_channel();
        let driver = Self {
            drive: Drive::new(parts.machine, parts.recorder, parts.gate),
            network: parts.network,
            authenticator: parts.authenticator,
            blobs: parts.blobs,
            timer: parts.timer,
            config,
            metrics: Metrics::default(),
            conns: BTreeMap::new(),
            closing: Vec::new(),
            inputs: VecDeque::from([Input::Start]),
            events,
            to_events,
            outside,
            memory: Memory::default(),
            hears_since: None,
            start: None,
            last: LogicalTime::ZERO,
            done: false,
        };
        (driver, DriverHandle { to_outside })
    }

    /// Starts the run's clock at another moment than now: shards of one run share one start.
    pub fn start_at(&mut self, start: Instant) {
        self.start = Some(start);
    }

    /// The figures so far.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Reaches a running driver from outside: to stop it, or from another shard.
///
/// Its queue is not bounded: what goes through it is bounded by the number of operations, and a
/// bound would let two shards wait for each other.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    to_outside: mpsc::UnboundedSender<Input>,
}

impl DriverHandle {
    /// Asks the run to stop; whether it was still running.
    pub fn stop(&self) -> bool {
        self.to_outside.send(Input::Stop).is_ok()
    }

    /// Tells of another shard's progress; whether the run was still running.
    pub fn completed(&self, shard: ShardId, op: OpId, milestone: Milestone) -> bool {
        self.to_outside
            .send(Input::Completed {
                shard,
                op,
                milestone,
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
