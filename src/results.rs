//! What a run came to, read from its journal: what reports, tickets and gates are made of.
//!
//! | file | holds |
//! |---|---|
//! | `rows` | an operation a row: as it was recorded, and as it went |
//! | `about` | what ran: server, dialect, identity, settings, as the journal tells |
//! | `tables` | rows by command, client, share, file; the slowest; how time went |
//! | `scenes` | who waited on whom |
//!
//! A journal is run again for it, offline, so all that is told of a run can be told of any run that was
//! ever recorded.

pub(crate) mod about;
pub(crate) mod rows;
pub(crate) mod scenes;
pub(crate) mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use smbench_core::event::{Effect, Input};
use smbench_core::ids::OpId;
use smbench_core::workload::{Operation, Workload};
use smbench_journal::rerun::{Recipe, Verdict, rerun};
use smbench_journal::{Diff, Journal, RerunError};

use self::about::{About, Listener};
use self::rows::Rows;
use crate::cli::diff::words;
use crate::criteria::{Checked, Criteria, Rules};
use crate::exit::Failure;
use crate::finding::{Finding, Kind};
use crate::journals::not_rerun;
use crate::report::verdict_lines;
use crate::rights::Rights;
use crate::stalls::{Stall, Waits, stalls};
use crate::tally::{RunFacts, Summary, Tally};
use crate::verdict::{Basis, Judgement};

/// How much of a run its journal tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Completeness {
    /// All of it.
    Whole,
    /// What was before its record ends.
    CutShort,
    /// Less than was recorded.
    Damaged,
    /// What was before this engine does something else.
    NotFollowed,
}

/// What a run came to.
pub(crate) struct Results {
    /// How much of the run that is.
    pub(crate) completeness: Completeness,
    /// The workload's tables.
    pub(crate) workload: Workload,
    /// What ran.
    pub(crate) about: About,
    /// As `--json` tells it.
    pub(crate) summary: Summary,
    /// All that differs, causes before consequences.
    pub(crate) findings: Vec<Finding>,
    /// What took far longer than others of its kind.
    pub(crate) stalls: Vec<Stall>,
    /// Every operation.
    pub(crate) rows: Rows,
    /// What must be known to read the rest: that it is not the whole run, for instance.
    pub(crate) cautions: Vec<String>,
    /// Thresholds that were asked for.
    pub(crate) thresholds: Vec<Checked>,
    /// What of the differences was asked to fail nothing, in words.
    pub(crate) lenient: Option<&'static str>,
    tally: Tally,
    min_coverage: f64,
    fails: fn(Kind) -> bool,
    /// It is compared with another run, and not with the recording: whether only one of them tells how some
    /// operation ended.
    beside: Option<bool>,
}

impl Results {
    /// Of the run that `journal` has recorded; `path` is where it lies. `min_coverage`, 0 to 1: that of the run
    /// where none is given.
    pub(crate) fn of(
        journal: &Journal,
        path: &Path,
        min_coverage: Option<f64>,
    ) -> Result<Self, Failure> {
        Self::read(journal, path, min_coverage).map_err(|error| not_rerun(error, path))
    }

    fn read(journal: &Journal, path: &Path, min_coverage: Option<f64>) -> Result<Self, RerunError> {
        let recipe = Recipe::of(journal)?;
        let mut rows = Rows::of(&recipe.workload);
        let mut rights = Rights::default();
        let plan = recipe.plan(
            |_| true,
            |op| {
                rows.add(op);
                rights.note(&recipe.workload, op);
            },
        )?;
        let mut tally = Tally::of(plan.recorded());
        drop(plan);
        let mut about = About::of(journal, &recipe);
        if about.is_simulation() {
            tally = tally.copying();
        }
        let mut heard = Listener::default();
        let mut ended_us = 0;
        let done = rerun(journal, |_, entry, effects| {
            let now_us = entry.now.as_micros();
            ended_us = ended_us.max(now_us);
            match &entry.input {
                Input::Received { frame, seal, .. } => heard.frame(frame, *seal),
                Input::Closed { reason, .. } => rows.closed(now_us, *reason),
                _ => {}
            }
            for effect in effects {
                if let Effect::Report(report) = effect {
                    tally.report(report);
                    rows.report(now_us, report);
                }
            }
        })?;
        about.heard(heard);
        if !about.is_simulation() && tally.has_let_through() {
            tally.know_denied(rights.refused());
        }
        let mut cautions = done.damage.clone();
        match done.verdict {
            Verdict::Identical | Verdict::Damaged => {}
            Verdict::OtherEngineVersion | Verdict::Nondeterministic => cautions.push(format!(
                "the run could not be followed to its end ({}): what is told here ends after {} events",
                done.engine, done.events
            )),
        }
        let completeness = match done.verdict {
            Verdict::Damaged => Completeness::Damaged,
            Verdict::OtherEngineVersion | Verdict::Nondeterministic => Completeness::NotFollowed,
            Verdict::Identical if done.complete => Completeness::Whole,
            Verdict::Identical => Completeness::CutShort,
        };
        if !done.complete && done.verdict == Verdict::Identical {
            cautions.push("the run was cut short: what is told here ends where it did".to_owned());
        }
        let basis = Basis::of(&recipe.workload, min_coverage.unwrap_or(about.min_coverage));
        let summary = tally.summary(RunFacts {
            operations: rows.len() as u64,
            basis,
            wall_us: ended_us,
            journal: path.display().to_string(),
            root: about.root.clone(),
            effects_digest: done.effects_digest.to_string(),
            seed: about.is_simulation().then_some(journal.meta().seed),
            sim_time_us: about.is_simulation().then_some(ended_us),
            ..RunFacts::default()
        });
        let diverged: BTreeSet<OpId> = tally.divergent_operations().collect();
        let diverged = pick(&recipe, &diverged)?;
        let recorded = Waits::recorded(tally.recorded());
        let stalls = stalls(&recorded, &tally.waits, || Ok(recipe.operations()))?;
        let findings = tally.findings(&diverged);
        Ok(Self {
            completeness,
            findings,
            summary,
            stalls,
            about,
            rows,
            cautions,
            workload: recipe.workload,
            thresholds: Vec::new(),
            lenient: None,
            tally,
            min_coverage: basis.min_coverage,
            beside: None,
            fails: |kind| kind != Kind::Environment,
        })
    }

    /// Makes `a` what this run is compared with, in place of the recording: `diff` says in what they differ.
    pub(crate) fn against(&mut self, a: &Self, diff: &Diff) {
        self.rows.compare_with(&a.rows);
        self.findings = Vec::new();
        for cause in &diff.causes {
            let command = self.rows.get(cause.operation).map(|row| row.command);
            let finding = Finding {
                operation: cause.operation,
                kind: Kind::of_difference(cause.what, &cause.a, &cause.b, command),
                what: cause.what,
                command: cause.command.clone(),
                path: cause.path.clone().unwrap_or_default(),
                client: cause.client,
                frame: cause.frame,
                recorded: Some(words(&cause.a)),
                seen: Some(words(&cause.b)),
                cause: None,
                consequences: cause.consequences,
                allowed: None,
            };
            let followed = cause.followed_by.iter().filter_map(|op| {
                let row = self.rows.get(*op)?;
                Some(Finding {
                    operation: *op,
                    kind: Kind::Consequence,
                    what: "consequence",
                    command: row.command.to_string(),
                    path: self.rows.path(row).to_owned(),
                    client: row.client,
                    frame: row.frame,
                    cause: Some(cause.operation),
                    recorded: None,
                    seen: None,
                    consequences: 0,
                    allowed: None,
                })
            });
            let followed: Vec<Finding> = followed.collect();
            self.findings.push(finding);
            self.findings.extend(followed);
        }
        // What only one of two runs tells the end of is a difference too, that no operation stands for.
        self.beside = Some(!diff.same && diff.causes.is_empty());
        // How much was recorded does not matter between two runs.
        self.summary.too_little = false;
        self.judge();
    }

    /// Takes what was asked to fail the run.
    pub(crate) fn judge_by(&mut self, criteria: &Criteria) {
        self.fails = criteria.fails();
        self.lenient = criteria.lenient();
    }

    /// Takes what `rules` allow out of the verdict: those differences are told, and fail nothing.
    pub(crate) fn allow(&mut self, rules: &mut Rules) {
        for finding in self.findings.iter_mut().filter(|it| it.cause.is_none()) {
            finding.allowed = rules.allows(finding).map(str::to_owned);
        }
        self.judge();
    }

    /// What it comes to, without what is allowed.
    fn judge(&mut self) {
        let causes = || self.findings.iter().filter(|it| it.cause.is_none());
        let (allowed, counted): (Vec<&Finding>, Vec<&Finding>) =
            causes().partition(|it| it.allowed.is_some());
        let excused: BTreeSet<OpId> = allowed.iter().map(|it| it.operation).collect();
        let mut found: BTreeMap<Kind, u64> = BTreeMap::new();
        for finding in &counted {
            *found.entry(finding.kind).or_default() += 1;
        }
        let differs = counted.iter().any(|it| it.kind != Kind::Environment);
        let judgement = match self.beside {
            Some(one_sided) if differs || one_sided => Judgement::Diverged,
            Some(_) if found.is_empty() => Judgement::AsRecorded,
            Some(_) => Judgement::Environment,
            None => {
                let mut follows = self.findings.iter().filter_map(|it| it.cause);
                let follows =
                    follows.any(|it| !excused.contains(&it) && self.tally.tells_of_server(it));
                let behaviour = differs || follows || self.summary.stray > 0;
                Judgement::of(&self.summary.funnel, self.min_coverage, &found, behaviour)
            }
        };
        let summary = &mut self.summary;
        summary.allowed = allowed.len() as u64;
        summary.found = found;
        summary.verdict = judgement.name();
        summary.inconclusive = judgement.why();
        summary.judgement = judgement;
    }

    /// Whether it is compared with the recording, and not with another run.
    pub(crate) const fn is_of_recording(&self) -> bool {
        self.beside.is_none()
    }

    /// Whether only one of the two runs tells how some operation ended, though no operation differs.
    pub(crate) fn is_one_sided(&self) -> bool {
        self.beside == Some(true)
    }

    /// Whether a difference of this kind fails the run, as was asked for.
    pub(crate) fn fails(&self, kind: Kind) -> bool {
        (self.fails)(kind)
    }

    /// What it comes to, in a line.
    pub(crate) fn headline(&self) -> String {
        if self.is_of_recording() {
            return verdict_lines(&self.summary).join(" ");
        }
        let causes = self.findings.iter().filter(|it| it.cause.is_none()).count();
        let allowed = self.summary.allowed;
        let consequences = self.findings.len() - causes;
        format!(
            "A and B: {causes} operations ended otherwise without anything different before ({allowed} of them \
             allowed), and {consequences} followed from that"
        )
    }

    /// What the two sides are called: recorded and here, or A and B.
    pub(crate) const fn sides(&self) -> (&'static str, &'static str) {
        match self.beside {
            None => ("recorded", "here"),
            Some(_) => ("A", "B"),
        }
    }

    /// The differences that nothing else explains, worst first.
    pub(crate) fn causes(&self) -> Vec<&Finding> {
        let mut causes: Vec<&Finding> = self
            .findings
            .iter()
            .filter(|it| it.cause.is_none())
            .collect();
        causes.sort_by_key(|it| (it.kind, it.operation));
        causes
    }
}

fn pick(recipe: &Recipe, wanted: &BTreeSet<OpId>) -> Result<BTreeMap<OpId, Operation>, RerunError> {
    let mut picked = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(picked);
    }
    for operation in recipe.operations() {
        let operation = operation?;
        if wanted.contains(&operation.id) {
            picked.insert(operation.id, operation);
        }
    }
    Ok(picked)
}
