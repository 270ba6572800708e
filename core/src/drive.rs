//! One step of a run, the same for every driver: record the input, hand it to the engine, fold each
//! effect into the digest, and let bytes leave only through the gate.
//!
//! A driver gives what happened to [`Drive::take`], carries out what [`Drive::poll`] orders, and
//! gets the bytes of a frame from [`Drive::outgoing`]: there is no other way to them.

use thiserror::Error;

use crate::{
    bulk::{self, Blobs, Missing},
    confine::{Breach, Gate},
    engine::{Engine, EngineError, OpState},
    event::{Effect, EffectsDigest, Entry, Input, Output, Recorder},
    frame::Frame,
    ids::{ConnId, LogicalTime, OpId},
};

/// Something that takes facts and gives orders: the engine, or a test's script.
pub trait Machine {
    /// The program is broken; a divergence is not an error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes a fact.
    ///
    /// # Errors
    ///
    /// When the fact cannot be part of any run. The run is then over.
    fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), Self::Error>;

    /// What to do next.
    fn poll(&mut self) -> Output;

    /// Whether `input` is to be recorded and handled. What is not is counted, and forgotten.
    fn wants(&self, input: &Input) -> bool {
        let _ = input;
        true
    }

    /// Whether the run is over: what is still ordered is its end.
    fn is_over(&self) -> bool {
        false
    }

    /// How many things it keeps besides what it was made of.
    fn held(&self) -> usize {
        0
    }

    /// How far an operation is, for people; `None` where the machine has no such operation.
    fn state_of(&self, op: OpId) -> Option<OpState> {
        let _ = op;
        None
    }
}

impl Machine for Engine {
    type Error = EngineError;

    fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), EngineError> {
        Self::handle(self, now, input)
    }

    fn poll(&mut self) -> Output {
        Self::poll(self)
    }

    fn wants(&self, input: &Input) -> bool {
        Self::wants(self, input)
    }

    fn is_over(&self) -> bool {
        self.is_done()
    }

    fn held(&self) -> usize {
        Self::held(self)
    }

    fn state_of(&self, op: OpId) -> Option<OpState> {
        Self::state_of(self, op)
    }
}

/// Why a run ended before it was done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriveError<M: std::error::Error + 'static, R: std::error::Error + 'static> {
    /// The engine refused an input.
    #[error("the engine refused input {seq}")]
    Machine {
        /// The input's number.
        seq: u64,
        /// Why.
        #[source]
        source: M,
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
    /// A frame must not leave: a defect, since planning should have refused it.
    #[error("upon input {seq} a frame was to leave that must not")]
    Outgoing {
        /// The input's number.
        seq: u64,
        /// Why.
        #[source]
        source: OutgoingError,
    },
}

/// Why a frame must not leave.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OutgoingError {
    /// It reaches what a run may not reach.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// It is not whole.
    #[error(transparent)]
    Missing(#[from] Missing),
}

/// Drives one machine: everything of a run that does not depend on who carries out effects.
#[derive(Debug)]
pub struct Drive<M, R> {
    machine: M,
    recorder: R,
    gate: Gate,
    effects: EffectsDigest,
    scratch: Vec<u8>,
    seq: u64,
    unwanted: u64,
}

impl<M: Machine, R: Recorder> Drive<M, R> {
    /// A run at its start.
    pub fn new(machine: M, recorder: R, gate: Gate) -> Self {
        Self {
            machine,
            recorder,
            gate,
            effects: EffectsDigest::default(),
            scratch: Vec::new(),
            seq: 0,
            unwanted: 0,
        }
    }

    /// Records one input and hands it to the machine; then [`Self::poll`] until it says to wait.
    /// One that the machine does not want is counted instead: what floods a run is not recorded
    /// without a bound, and a record holds what the machine was given.
    ///
    /// # Errors
    ///
    /// [`DriveError::Record`] and [`DriveError::Machine`]. The run is then over.
    pub fn take(
        &mut self,
        now: LogicalTime,
        input: Input,
    ) -> Result<(), DriveError<M::Error, R::Error>> {
        if !self.machine.wants(&input) {
            self.unwanted += 1;
            return Ok(());
        }
        let seq = self.seq;
        let entry = Entry {
            seq,
            now,
            before: self.effects,
            input,
        };
        let recorded = self.recorder.record(&entry);
        recorded.map_err(|source| DriveError::Record { seq, source })?;
        self.seq += 1;
        if let Input::Received { conn, frame, .. } = &entry.input {
            self.gate.received(*conn, frame);
        }
        let handled = self.machine.handle(now, entry.input);
        handled.map_err(|source| DriveError::Machine { seq, source })
    }

    /// What to do next; an effect is in the digest when it is given.
    pub fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        if let Output::Do(effect) = &output {
            self.fold(effect);
        }
        output
    }

    fn fold(&mut self, effect: &Effect) {
        self.effects.update(effect, &mut self.scratch);
    }

    /// The bytes of a frame that is to leave on `conn`, whole and plain.
    ///
    /// # Errors
    ///
    /// [`DriveError::Outgoing`]. The frame must not leave, and the run is over.
    pub fn outgoing(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        blobs: &mut impl Blobs,
        token: Option<&[u8]>,
    ) -> Result<Vec<u8>, DriveError<M::Error, R::Error>> {
        let whole = bulk::attach(frame, blobs, token).map_err(OutgoingError::from);
        let passed = whole.and_then(|plain| {
            self.gate.pass(conn, &plain)?;
            Ok(plain)
        });
        let seq = self.seq.saturating_sub(1);
        passed.map_err(|source| DriveError::Outgoing { seq, source })
    }

    /// Ends the record; the digest of all effects.
    ///
    /// # Errors
    ///
    /// [`DriveError::Record`] when what was recorded could not be made durable.
    pub fn finish(&mut self) -> Result<EffectsDigest, DriveError<M::Error, R::Error>> {
        let (seq, effects) = (self.seq, self.effects);
        let ended = self.recorder.finish(effects);
        ended.map_err(|source| DriveError::Record { seq, source })?;
        Ok(effects)
    }

    /// Digest of all effects so far.
    pub const fn effects(&self) -> EffectsDigest {
        self.effects
    }

    /// Number of inputs so far.
    pub const fn inputs(&self) -> u64 {
        self.seq
    }

    /// Number of inputs that the machine did not want.
    pub const fn unwanted(&self) -> u64 {
        self.unwanted
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// What the run was made of.
    pub fn into_parts(self) -> (M, R) {
        (self.machine, self.recorder)
    }
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl Recorder for NoRecord {
    type Error = std::convert::Infallible;

    fn record(&mut self, _: &Entry) -> Result<(), Self::Error> {
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Self::Error> {
        Ok(())
    }
}
