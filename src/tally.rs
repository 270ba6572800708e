//! Counts what a run reports.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::confine::Refusal;
use smbench_core::event::{Divergence, Lateness, Report};
use smbench_core::ids::OpId;

/// Everything that is told of a run at its end.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Requests sent.
    pub(crate) issued: u64,
    /// Requests answered.
    pub(crate) finished: u64,
    /// Recorded server events that took place.
    pub(crate) observed: u64,
    /// Divergences by kind.
    pub(crate) diverged: BTreeMap<&'static str, u64>,
    /// Operations that could not run because of an earlier divergence.
    pub(crate) cascaded: u64,
    /// Operations left out, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Operations not sent because of what they would reach, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Operations that mean nothing without those.
    pub(crate) refused_consequences: u64,
    refusals: BTreeSet<OpId>,
    /// Responses that belong to no request.
    pub(crate) stray: u64,
    /// The first divergences, for people.
    pub(crate) first: Vec<(OpId, Divergence)>,
    /// Operations with at least one divergence.
    pub(crate) divergent_operations: u64,
    last_divergent: Option<OpId>,
    latency_us: Histogram<u64>,
    late_us: Histogram<u64>,
    late_by: Lateness,
}

/// Divergences kept for people.
const SHOWN: usize = 1_000;

impl Default for Tally {
    fn default() -> Self {
        Self {
            issued: 0,
            finished: 0,
            observed: 0,
            diverged: BTreeMap::new(),
            cascaded: 0,
            skipped: BTreeMap::new(),
            refused: BTreeMap::new(),
            refused_consequences: 0,
            refusals: BTreeSet::new(),
            stray: 0,
            first: Vec::new(),
            divergent_operations: 0,
            last_divergent: None,
            latency_us: histogram(),
            late_us: histogram(),
            late_by: Lateness::default(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    // An hour in microseconds, to three digits; nothing else is ever asked for.
    Histogram::new_with_bounds(1, 3_600_000_000, 3)
        .unwrap_or_else(|_| Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are fine")))
}

impl Tally {
    /// Takes a report in.
    pub(crate) fn report(&mut self, report: &Report) {
        match report {
            Report::Started { late, .. } => {
                self.issued += 1;
                self.late_us.saturating_record(late.total_ns() / 1_000);
                self.late_by.causality_ns += late.causality_ns;
                self.late_by.credits_ns += late.credits_ns;
                self.late_by.server_ns += late.server_ns;
                self.late_by.replayer_ns += late.replayer_ns;
            }
            Report::Finished { latency_ns, .. } => {
                self.finished += 1;
                self.latency_us.saturating_record(latency_ns / 1_000);
            }
            Report::Observed { .. } => self.observed += 1,
            Report::Diverged { op, divergence } => {
                *self.diverged.entry(divergence.name()).or_default() += 1;
                if self.last_divergent.replace(*op) != Some(*op) {
                    self.divergent_operations += 1;
                }
                if self.first.len() < SHOWN {
                    self.first.push((*op, divergence.clone()));
                }
            }
            Report::Cascaded { cause, .. } if self.refusals.contains(cause) => {
                self.refused_consequences += 1;
            }
            Report::Cascaded { .. } => self.cascaded += 1,
            Report::Refused { op, why } => self.refuse(*op, *why),
            Report::TreeRefused { op } => self.refuse(*op, Refusal::Tree),
            Report::Skipped { why, .. } => *self.skipped.entry(why.name()).or_default() += 1,
            Report::Stray { .. } => self.stray += 1,
            Report::Done => {}
        }
    }

    fn refuse(&mut self, op: OpId, why: Refusal) {
        self.refusals.insert(op);
        *self.refused.entry(why.name()).or_default() += 1;
    }

    /// The operations of the first divergences.
    pub(crate) fn first_operations(&self) -> impl Iterator<Item = OpId> + '_ {
        self.first.iter().map(|(op, _)| *op)
    }

    /// Whether anything went otherwise than recorded.
    pub(crate) fn is_diverged(&self) -> bool {
        !self.diverged.is_empty() || self.cascaded > 0
    }

    /// The summary of the contract: see docs/JSON.md.
    pub(crate) fn summary(&self, run: RunFacts) -> Summary {
        let quantile = |of: &Histogram<u64>, q| of.value_at_quantile(q);
        let seconds = run.wall_us as f64 / 1e6;
        let unanswered = self
            .issued
            .saturating_sub(self.finished + run.without_answer);
        Summary {
            operations: run.operations,
            issued: self.issued,
            matched: self.finished.saturating_sub(self.divergent_operations),
            diverged: self.diverged.clone(),
            cascaded: self.cascaded,
            skipped: self.skipped.clone(),
            refused: self.refused.clone(),
            refused_consequences: self.refused_consequences,
            stray: self.stray,
            unwanted: run.unwanted,
            unanswered,
            ops_per_s: if seconds > 0.0 {
                (self.finished as f64 / seconds).round()
            } else {
                0.0
            },
            latency_us: Latency {
                p50: quantile(&self.latency_us, 0.5),
                p90: quantile(&self.latency_us, 0.9),
                p99: quantile(&self.latency_us, 0.99),
                max: self.latency_us.max(),
            },
            late_us: Late {
                p50: quantile(&self.late_us, 0.5),
                p99: quantile(&self.late_us, 0.99),
                max: self.late_us.max(),
            },
            late_by: LateBy {
                causality: self.late_by.causality_ns / 1_000,
                credits: self.late_by.credits_ns / 1_000,
                server: self.late_by.server_ns / 1_000,
                replayer: self.late_by.replayer_ns / 1_000,
            },
            wall_us: run.wall_us,
            journal: run.journal,
            bundle: run.bundle,
            root: run.root,
            effects_digest: run.effects_digest,
            seed: run.seed,
            sim_time_us: run.sim_time_us,
            steps: run.steps,
        }
    }
}

/// What a run is, besides what it reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFacts {
    /// Operations in the workload.
    pub(crate) operations: u64,
    /// Requests that the recording has no answer for either.
    pub(crate) without_answer: u64,
    /// Frames that belong to nothing, and were too many to be recorded.
    pub(crate) unwanted: u64,
    /// How long it took, in microseconds.
    pub(crate) wall_us: u64,
    /// Where the journal is.
    pub(crate) journal: String,
    /// Where the bundle is, if one was asked for.
    pub(crate) bundle: Option<String>,
    /// The folder below the share that it ran in.
    pub(crate) root: Option<String>,
    /// Digest of all effects.
    pub(crate) effects_digest: String,
    /// Simulation: the seed.
    pub(crate) seed: Option<u64>,
    /// Simulation: simulated time, in microseconds.
    pub(crate) sim_time_us: Option<u64>,
    /// Simulation: steps.
    pub(crate) steps: Option<u64>,
}

/// The summary of a run, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// Operations in the workload.
    pub(crate) operations: u64,
    /// Requests sent.
    pub(crate) issued: u64,
    /// Requests answered as recorded.
    pub(crate) matched: u64,
    /// Divergences by kind.
    pub(crate) diverged: BTreeMap<&'static str, u64>,
    /// Operations that could not run because of an earlier divergence.
    pub(crate) cascaded: u64,
    /// Operations left out, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Operations not sent because of what they would reach, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Operations not sent because they mean nothing without those.
    pub(crate) refused_consequences: u64,
    /// Responses that belong to no request.
    pub(crate) stray: u64,
    /// Frames that belong to nothing, and were too many to be recorded.
    pub(crate) unwanted: u64,
    /// Requests sent and never answered, though the recording has an answer.
    pub(crate) unanswered: u64,
    /// Answers a second.
    pub(crate) ops_per_s: f64,
    /// From request to final response.
    pub(crate) latency_us: Latency,
    /// From planned to actual sending.
    pub(crate) late_us: Late,
    /// What lateness was due to, summed.
    pub(crate) late_by: LateBy,
    /// How long the run took.
    pub(crate) wall_us: u64,
    /// Where the journal is.
    pub(crate) journal: String,
    /// Where the bundle is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<String>,
    /// The folder below the share that it ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
    /// Digest of all effects.
    pub(crate) effects_digest: String,
    /// Simulation: the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Simulation: simulated time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sim_time_us: Option<u64>,
    /// Simulation: steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<u64>,
}

/// Quantiles of answer times, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// Longest.
    pub(crate) max: u64,
}

/// Quantiles of lateness, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Late {
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// Longest.
    pub(crate) max: u64,
}

/// What lateness was due to, summed, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LateBy {
    /// Operations that had to come first.
    pub(crate) causality: u64,
    /// Credits.
    pub(crate) credits: u64,
    /// Connection, login, reconnect.
    pub(crate) server: u64,
    /// The replayer itself.
    pub(crate) replayer: u64,
}
