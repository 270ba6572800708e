//! Runs a journal again: every input to a fresh engine, its effects against those of the run.
//!
//! A journal keeps before every input the lowest 32 bits of the digest of all effects so far, the
//! whole digest before every 64th input, and the digest of all effects at the end. The first of
//! them that the engine does not reach names the input after which it did something else. Files
//! and servers are not needed: the workload and the configuration are in the journal.
//!
//! Other effects are [`Verdict::Nondeterministic`] only where the same version of the engine made
//! them from a journal that is not damaged.

mod load;

use std::fmt;

use serde::Serialize;
use smbench_core::{
    confine::Gate,
    drive::{Drive, DriveError, NoRecord},
    engine::{ENGINE_VERSION, Engine, EngineError, Plan, RunConfig},
    event::{Effect, EffectsDigest, Entry, Input, Output},
    ids::{LogicalTime, ShardId},
    workload::{Operation, Workload},
};

pub use self::load::{NAMESPACE, OPS, Recipe, RerunError, SHARDS, WORKLOAD, partition};
use crate::{Journal, StoredEntry};

/// What a rerun found.
#[derive(Clone, Debug, Serialize)]
pub struct Rerun {
    /// Inputs that the engine was given.
    pub events: u64,
    /// Whether every effect was as in the run, and the journal is not damaged.
    pub identical: bool,
    /// What to make of it.
    pub verdict: Verdict,
    /// Whether the journal holds the run to its end.
    pub complete: bool,
    /// All damage to the journal that was met, in words. Of a damaged shard, what comes before the
    /// damage was run.
    pub damage: Vec<String>,
    /// Which engines did it.
    pub engine: EngineVersions,
    /// The earliest input after which effects differ.
    pub first_mismatch: Option<Mismatch>,
    /// Digest of all effects of this rerun; [`combine`]d where there are several shards.
    pub effects_digest: EffectsDigest,
    /// Shard by shard.
    pub shards: Vec<ShardRerun>,
}

/// What to make of a rerun.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every effect was as in the run.
    Identical,
    /// The journal is not what was written: nothing is known of what is lost.
    Damaged,
    /// Effects differ, and another version of the engine made the run.
    OtherEngineVersion,
    /// Effects differ, though the same version of the engine made the run.
    Nondeterministic,
}

/// Versions of the engine, see [`ENGINE_VERSION`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct EngineVersions {
    /// That made the run.
    pub recorded: u32,
    /// That ran it again.
    pub current: u32,
}

impl EngineVersions {
    /// Those of `journal` and of this program.
    #[must_use]
    pub fn of(journal: &Journal) -> Self {
        Self {
            recorded: journal.meta().engine,
            current: ENGINE_VERSION,
        }
    }

    /// Whether it is one and the same.
    #[must_use]
    pub fn agree(self) -> bool {
        self.recorded == self.current
    }
}

impl fmt::Display for EngineVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.agree() {
            return write!(f, "the same engine version, {}", self.current);
        }
        let Self { recorded, current } = self;
        write!(
            f,
            "other engine version: {recorded} made the run, this is {current}"
        )
    }
}

/// What the rerun of one shard found.
#[derive(Clone, Debug, Serialize)]
pub struct ShardRerun {
    /// Which.
    pub shard: ShardId,
    /// Inputs that the engine was given.
    pub events: u64,
    /// Whether the journal holds the shard to its end.
    pub complete: bool,
    /// Digest of all effects of this rerun.
    pub effects_digest: EffectsDigest,
    /// Where it departs from the run.
    #[serde(skip)]
    pub mismatch: Option<Mismatch>,
}

/// An input after which the engine did not do what it did in the run.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// The shard.
    pub shard: ShardId,
    /// The input, by its number in the shard. The journal shows at the next input, or at the end,
    /// that the effects of this one were others.
    pub seq: u64,
    /// When the engine was told, in nanoseconds from the start of the run.
    pub now_ns: u64,
    /// Kind of the input, as [`input_kind`] names it.
    pub kind: &'static str,
    /// The input itself.
    pub input: Input,
    /// Digest of all effects up to and with this input as in the run, in hex; 8 digits where the
    /// journal keeps the lowest 32 bits.
    pub expected: String,
    /// The same of this rerun.
    pub actual: String,
    /// The engine refused the input: no run can contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the engine did this time upon the input.
    pub effects: Vec<Effect>,
}

/// Gives what a rerun needs, for one engine that runs all clients.
///
/// # Errors
///
/// As [`Recipe::of`] and [`Recipe::plan`].
pub fn load_plan(
    journal: &Journal,
) -> Result<(Workload, Vec<Operation>, RunConfig, Plan), RerunError> {
    let recipe = Recipe::of(journal)?;
    let mut operations = Vec::new();
    let plan = recipe.plan(|_| true, |op| operations.push(op.clone()))?;
    Ok((recipe.workload, operations, recipe.config, plan))
}

/// Runs `journal` again. `observe` is given every input with what the engine did upon it.
///
/// # Errors
///
/// [`RerunError`] when the journal lacks what a rerun needs, or is damaged. Other effects are no
/// error, nor is an input that the engine refuses: they are [`Rerun::first_mismatch`].
pub fn rerun(
    journal: &Journal,
    mut observe: impl FnMut(ShardId, &Entry, &[Effect]),
) -> Result<Rerun, RerunError> {
    run_all(journal, |runner, shard| {
        runner.run_entries(journal, shard, Departure::Stop, |entry, effects| {
            observe(shard, entry, effects);
        })
    })
}

/// Runs `journal` again without showing anything: as fast as it goes.
///
/// # Errors
///
/// As [`rerun`].
pub fn check(journal: &Journal) -> Result<Rerun, RerunError> {
    run_all(journal, |runner, shard| {
        runner.run_effects(journal, shard, Departure::Stop, |_| {})
    })
}

/// The digest that stands for several shards: that of the only one, else a hash of all in order.
#[must_use]
pub fn combine(digests: &[EffectsDigest]) -> EffectsDigest {
    if let [one] = digests {
        return *one;
    }
    let mut hash = blake3::Hasher::new();
    for digest in digests {
        hash.update(&digest.0.to_le_bytes());
    }
    let mut low = [0; 8];
    for (to, from) in low.iter_mut().zip(hash.finalize().as_bytes()) {
        *to = *from;
    }
    EffectsDigest(u64::from_le_bytes(low))
}

/// The name of an input's kind, as in JSON.
#[must_use]
pub const fn input_kind(input: &Input) -> &'static str {
    match input {
        Input::Start => "start",
        Input::Connected { .. } => "connected",
        Input::ConnectFailed { .. } => "connect_failed",
        Input::Closed { .. } => "closed",
        Input::Received { .. } => "received",
        Input::TokenReady { .. } => "token_ready",
        Input::Wake => "wake",
        Input::Completed { .. } => "completed",
        Input::Stop => "stop",
    }
}

fn run_all(
    journal: &Journal,
    mut run: impl FnMut(&mut Runner, ShardId) -> Result<ShardRerun, RerunError>,
) -> Result<Rerun, RerunError> {
    let recipe = Recipe::of(journal)?;
    let mut shards = Vec::new();
    let mut damage = Vec::new();
    for shard in journal.shards() {
        let plan = recipe.plan_of(shard, |_| {})?;
        let mut runner = Runner::new(plan, recipe.config.clone());
        shards.push(match run(&mut runner, shard) {
            Err(RerunError::Journal(error)) if error.is_damage() => {
                damage.push(error.words());
                runner.outcome(shard, false)
            }
            other => other?,
        });
    }
    for hidden in journal.hidden_damage()? {
        let words = hidden.words();
        if !damage.contains(&words) {
            damage.push(words);
        }
    }
    Ok(Rerun::sum(EngineVersions::of(journal), shards, damage))
}

impl Rerun {
    fn sum(engine: EngineVersions, shards: Vec<ShardRerun>, damage: Vec<String>) -> Self {
        let digests: Vec<EffectsDigest> = shards.iter().map(|it| it.effects_digest).collect();
        let mismatches = shards.iter().filter_map(|it| it.mismatch.as_ref());
        let first = mismatches.min_by_key(|it| (it.now_ns, it.shard)).cloned();
        let verdict = match &first {
            _ if !damage.is_empty() => Verdict::Damaged,
            None => Verdict::Identical,
            Some(_) if !engine.agree() => Verdict::OtherEngineVersion,
            Some(_) => Verdict::Nondeterministic,
        };
        Self {
            events: shards.iter().map(|it| it.events).sum(),
            identical: verdict == Verdict::Identical,
            verdict,
            complete: shards.iter().all(|it| it.complete),
            damage,
            engine,
            first_mismatch: first,
            effects_digest: combine(&digests),
            shards,
        }
    }
}

/// What to do when the effects are no longer those of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Departure {
    /// Stop: what follows means nothing.
    Stop,
    /// Note it and go on: another version of the engine may still tell most of the run.
    GoOn,
}

/// An input that the engine does not take.
type Refused = DriveError<EngineError, std::convert::Infallible>;

fn said(refused: &Refused) -> String {
    match refused {
        DriveError::Machine { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// An engine that is fed one shard's inputs.
pub(crate) struct Runner {
    drive: Drive<Engine, NoRecord>,
    effects: Vec<Effect>,
    events: u64,
    mismatch: Option<Mismatch>,
    /// The input whose effects are `effects`.
    last: Option<(u64, LogicalTime)>,
}

impl Runner {
    pub(crate) fn new(plan: Plan, config: RunConfig) -> Self {
        Self {
            drive: Drive::new(Engine::new(plan, config), NoRecord, Gate::open()),
            effects: Vec::new(),
            events: 0,
            mismatch: None,
            last: None,
        }
    }

    /// Runs one shard, showing nothing but effects.
    pub(crate) fn run_effects(
        &mut self,
        journal: &Journal,
        shard: ShardId,
        departure: Departure,
        mut take: impl FnMut(&Effect),
    ) -> Result<ShardRerun, RerunError> {
        for stored in journal.entries(shard)? {
            let stored = stored?;
            if !self.agrees(journal, shard, &stored, departure)? {
                return Ok(self.outcome(shard, false));
            }
            let fed = self.feed(journal, shard, stored)?;
            self.effects.iter().for_each(&mut take);
            if !fed {
                return Ok(self.outcome(shard, false));
            }
        }
        self.finish(journal, shard)
    }

    /// Runs one shard, showing inputs with their effects where `show` asks for it.
    pub(crate) fn run_entries(
        &mut self,
        journal: &Journal,
        shard: ShardId,
        departure: Departure,
        mut show: impl FnMut(&Entry, &[Effect]),
    ) -> Result<ShardRerun, RerunError> {
        for stored in journal.entries(shard)? {
            let stored = stored?;
            if !self.agrees(journal, shard, &stored, departure)? {
                return Ok(self.outcome(shard, false));
            }
            let entry = Entry {
                seq: stored.seq,
                now: stored.now,
                before: self.drive.effects(),
                input: stored.input.clone(),
            };
            let fed = self.feed(journal, shard, stored)?;
            show(&entry, &self.effects);
            if !fed {
                return Ok(self.outcome(shard, false));
            }
        }
        self.finish(journal, shard)
    }

    /// Whether the run may go on with `stored`: its digest is ours, or that does not matter.
    fn agrees(
        &mut self,
        journal: &Journal,
        shard: ShardId,
        stored: &StoredEntry,
        departure: Departure,
    ) -> Result<bool, RerunError> {
        let whole = stored
            .block_before
            .filter(|whole| *whole != self.drive.effects());
        let (expected, actual) = match whole {
            Some(whole) => (whole.to_string(), self.drive.effects().to_string()),
            None if stored.before == self.drive.effects().short() => return Ok(true),
            None => (
                format!("{:08x}", stored.before),
                format!("{:08x}", self.drive.effects().short()),
            ),
        };
        if self.mismatch.is_none() {
            self.mismatch = match self.last {
                Some(_) => self.departed(journal, shard, expected, actual, None)?,
                // Before the first input there are no effects: the record itself is wrong.
                None => Some(Mismatch {
                    shard,
                    seq: stored.seq,
                    now_ns: stored.now.0,
                    kind: input_kind(&stored.input),
                    input: stored.input.clone(),
                    expected,
                    actual,
                    error: None,
                    effects: Vec::new(),
                }),
            };
        }
        Ok(departure == Departure::GoOn)
    }

    /// Gives the engine one input; false when it refuses it.
    fn feed(
        &mut self,
        journal: &Journal,
        shard: ShardId,
        stored: StoredEntry,
    ) -> Result<bool, RerunError> {
        self.effects.clear();
        self.last = Some((stored.seq, stored.now));
        let taken = self.drive.take(stored.now, stored.input);
        while let Output::Do(effect) = self.drive.poll() {
            self.effects.push(effect);
        }
        self.events += 1;
        let Err(error) = taken else { return Ok(true) };
        if self.mismatch.is_none() {
            let actual = self.drive.effects().to_string();
            let expected = "an input that the engine takes".to_owned();
            self.mismatch = self.departed(journal, shard, expected, actual, Some(error))?;
        }
        Ok(false)
    }

    fn finish(&mut self, journal: &Journal, shard: ShardId) -> Result<ShardRerun, RerunError> {
        let end = journal.finish_digest(shard);
        if let Some(expected) =
            end.filter(|it| *it != self.drive.effects() && self.mismatch.is_none())
        {
            let actual = self.drive.effects().to_string();
            self.mismatch = self.departed(journal, shard, expected.to_string(), actual, None)?;
        }
        Ok(self.outcome(shard, end.is_some()))
    }

    /// The mismatch of the last input, which is read again: keeping every input would cost a copy.
    fn departed(
        &self,
        journal: &Journal,
        shard: ShardId,
        expected: String,
        actual: String,
        error: Option<Refused>,
    ) -> Result<Option<Mismatch>, RerunError> {
        let (seq, now) = self.last.unwrap_or_default();
        let input = match journal.entries_from(shard, seq)?.next() {
            Some(stored) => stored?.input,
            // Effects without an input: the record is empty, and ends with a digest.
            None => Input::Start,
        };
        Ok(Some(Mismatch {
            shard,
            seq,
            now_ns: now.0,
            kind: input_kind(&input),
            input,
            expected,
            actual,
            error: error.map(|it| said(&it)),
            effects: self.effects.clone(),
        }))
    }

    fn outcome(&mut self, shard: ShardId, complete: bool) -> ShardRerun {
        ShardRerun {
            shard,
            events: self.events,
            complete,
            effects_digest: self.drive.effects(),
            mismatch: self.mismatch.take(),
        }
    }
}
