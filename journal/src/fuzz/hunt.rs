//! Many runs from one journal: what came of them, and the fewest changes that show what must not be.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::Serialize;
use smbench_core::{
    drive::NoRecord,
    engine::{Engine, Plan, RunConfig, Walked},
    event::{EffectsDigest, Entry, Recorder},
    ids::ShardId,
};

use super::{
    mutation::{Event, Mutation, mutated, mutations},
    player::{Played, Player},
    watch::Violation,
};
use crate::{
    BundleWriter, Journal, JournalError, RerunError, RunMeta,
    rerun::{NAMESPACE, OPS, Recipe, WORKLOAD},
};

/// A journal made ready to be changed: its events, and what its engine was made of.
#[derive(Debug)]
pub struct Seedling {
    meta: RunMeta,
    plan: Plan,
    config: RunConfig,
    events: Vec<Event>,
    /// What a bundle of it takes along.
    attachments: Vec<(&'static str, Vec<u8>)>,
}

/// Something that must not be, with what shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The number of its run.
    pub run: u64,
    /// What must not be, in words.
    pub what: String,
    /// The fewest changes found that show it.
    pub mutations: Vec<Mutation>,
    /// Inputs until it shows.
    pub inputs: u64,
}

/// How to hunt.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The number that all runs follow from.
    pub seed: u64,
    /// How many.
    pub runs: u64,
    /// Findings after which it is enough.
    pub findings: usize,
}

/// What a hunt gave.
#[derive(Clone, Debug, Default)]
pub struct Hunted {
    /// Runs.
    pub runs: u64,
    /// Inputs given to engines.
    pub inputs: u64,
    /// How many runs walked each set of transitions.
    pub outcomes: BTreeMap<Walked, u64>,
    /// All transitions that were walked.
    pub walked: Walked,
    /// Those that the run walks without a change.
    pub unchanged: Walked,
    /// What must not be, each kind once.
    pub findings: Vec<Finding>,
}

impl Seedling {
    /// Reads the first shard of a journal: of a run of several, what other shards did is not played.
    ///
    /// # Errors
    ///
    /// [`RerunError`] when the journal is damaged, or lacks what a rerun needs.
    pub fn of(journal: &Journal) -> Result<Self, RerunError> {
        journal.refuse_damage()?;
        let recipe = Recipe::of(journal)?;
        let shard = ShardId(0);
        let plan = recipe.plan_of(shard, |_| {})?;
        let mut events = Vec::new();
        for (origin, stored) in journal.entries(shard)?.enumerate() {
            let stored = stored?;
            events.push(Event {
                origin,
                now: stored.now,
                input: stored.input,
            });
        }
        let mut attachments = Vec::new();
        for name in [WORKLOAD, OPS] {
            attachments.push((name, journal.attachment(name)?));
        }
        // Older journals do not have it.
        match journal.attachment(NAMESPACE) {
            Ok(bytes) => attachments.push((NAMESPACE, bytes)),
            Err(JournalError::NoAttachment { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            meta: RunMeta {
                shards: 1,
                ..journal.meta().clone()
            },
            plan,
            config: recipe.config,
            events,
            attachments,
        })
    }

    /// How many events it has.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Plays the run with these changes, on a fresh engine.
    #[must_use]
    pub fn play(&self, changes: &[Mutation]) -> Played<Option<Walked>, ()> {
        let played = self.play_on(changes, NoRecord, |engine| engine);
        Played {
            machine: played.machine.map(|engine| engine.walked()),
            recorder: (),
            inputs: played.inputs,
            violation: played.violation,
        }
    }

    /// As [`Self::play`], on a machine that `make` makes of the engine; recorded.
    pub fn play_on<M, R>(
        &self,
        changes: &[Mutation],
        recorder: R,
        make: impl FnOnce(Engine) -> M,
    ) -> Played<Option<M>, Option<R>>
    where
        M: smbench_core::drive::Machine,
        R: Recorder,
    {
        let events = mutated(&self.events, changes);
        let recorded = self.plan.recorded();
        let machine = make(Engine::new(self.plan.clone(), self.config.clone()));
        let player = Player::new(machine, recorder, recorded, &self.config, events.len());
        // The engine is gone with the panic: nobody sees a half of it.
        match catch_unwind(AssertUnwindSafe(|| player.play(&events))) {
            Ok(played) => Played {
                machine: Some(played.machine),
                recorder: Some(played.recorder),
                inputs: played.inputs,
                violation: played.violation,
            },
            Err(panic) => Played {
                machine: None,
                recorder: None,
                inputs: 0,
                violation: Some(Violation::Panic {
                    message: said(&*panic),
                }),
            },
        }
    }

    /// The bundle of the run with these changes: `rerun` and `show` take it. Of an engine that panics it
    /// holds all inputs that were to come.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write<W: Write>(&self, changes: &[Mutation], out: W) -> Result<W, JournalError> {
        let mut fed = Fed::default();
        let recorder = Shared(&mut fed);
        drop(self.play_on(changes, recorder, |engine| engine));
        let mut bundle = BundleWriter::new(out, &self.meta)?;
        for (name, bytes) in &self.attachments {
            bundle.attach(name, bytes)?;
        }
        for entry in &fed.entries {
            bundle.record(ShardId(0), entry)?;
        }
        if let Some(effects) = fed.ended {
            bundle.finish_shard(ShardId(0), effects)?;
        }
        bundle.end()
    }

    /// Hunts: run after run, until there were enough. `go_on` hears of each run, and says whether another one
    /// is wanted.
    pub fn hunt(&self, hunt: &Hunt, mut go_on: impl FnMut(&Hunted) -> bool) -> Hunted {
        let mut hunted = Hunted {
            unchanged: self.play(&[]).machine.unwrap_or_default(),
            ..Hunted::default()
        };
        let mut known = Vec::new();
        for run in 0..hunt.runs {
            let seed = hunt
                .seed
                .wrapping_add(run.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let changes = mutations(seed, self.events.len());
            let played = self.play(&changes);
            hunted.runs += 1;
            hunted.inputs += played.inputs;
            if let Some(walked) = played.machine {
                *hunted.outcomes.entry(walked).or_default() += 1;
                hunted.walked.add(walked);
            }
            if let Some(violation) = played.violation {
                let kind = std::mem::discriminant(&violation);
                if !known.contains(&kind) {
                    known.push(kind);
                    hunted.findings.push(self.shrunk(run, changes, &violation));
                }
            }
            let enough = hunted.findings.len() >= hunt.findings;
            if !go_on(&hunted) || enough {
                break;
            }
        }
        hunted
    }

    /// The fewest of the changes that still show a violation of its kind.
    fn shrunk(&self, run: u64, mut changes: Vec<Mutation>, violation: &Violation) -> Finding {
        let kind = std::mem::discriminant(violation);
        let shows = |changes: &[Mutation]| {
            let played = self.play(changes);
            let violation = played.violation?;
            (std::mem::discriminant(&violation) == kind).then_some((violation, played.inputs))
        };
        let mut shown = (violation.clone(), 0);
        let mut at = 0;
        while at < changes.len() {
            let mut fewer = changes.clone();
            fewer.remove(at);
            match shows(&fewer) {
                Some(still) => (changes, shown) = (fewer, still),
                None => at += 1,
            }
        }
        if let Some(still) = shows(&changes) {
            shown = still;
        }
        Finding {
            run,
            what: shown.0.to_string(),
            mutations: changes,
            inputs: shown.1,
        }
    }
}

/// What an engine was fed.
#[derive(Debug, Default)]
struct Fed {
    entries: Vec<Entry>,
    ended: Option<EffectsDigest>,
}

/// Records into what outlives a panic.
struct Shared<'a>(&'a mut Fed);

impl Recorder for Shared<'_> {
    type Error = Infallible;

    fn record(&mut self, entry: &Entry) -> Result<(), Infallible> {
        self.0.entries.push(entry.clone());
        Ok(())
    }

    fn finish(&mut self, effects: EffectsDigest) -> Result<(), Infallible> {
        self.0.ended = Some(effects);
        Ok(())
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}
