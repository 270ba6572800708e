//! Counts what a run reports.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::confine::Refusal;
use smbench_core::engine::Recorded;
use smbench_core::event::{Divergence, Lateness, Report};
use smbench_core::ids::OpId;
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::Operation;

use crate::finding::{Finding, Kind, is_of_answer, is_of_service};
use crate::histogram::{self, Late, LateBy, Latency};
use crate::report::path_of;
use crate::stalls::Waits;
use crate::verdict::{Basis, Funnel, Judgement, lacks};

/// Everything that is told of a run at its end.
#[derive(Debug)]
pub(crate) struct Tally {
    /// What the recording holds.
    recorded: Recorded,
    /// What services behind pipes say, and what the model does not compute, is copied from the recording.
    copies: bool,
    /// What became of each operation.
    fates: Vec<u8>,
    /// Requests sent.
    pub(crate) issued: u64,
    /// Requests answered.
    pub(crate) finished: u64,
    /// Of those sent and of those answered, that were not captured.
    reconstructed: (u64, u64),
    /// Divergences by kind.
    pub(crate) diverged: BTreeMap<&'static str, u64>,
    /// Divergences by what they are to a user.
    pub(crate) found: BTreeMap<Kind, u64>,
    /// Operations left out, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Operations not sent because of what they would reach, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    refusals: BTreeSet<OpId>,
    /// Of those, with a recorded answer.
    refused_answers: u64,
    /// Operations that could not run, by the one that is to blame.
    cascades: BTreeMap<OpId, Vec<OpId>>,
    /// Responses that belong to no request.
    pub(crate) stray: u64,
    /// Divergences, as they came.
    pub(crate) first: Vec<(OpId, Divergence)>,
    /// What the recorded users were not allowed to do.
    denied: BTreeSet<OpId>,
    latency_us: Histogram<u64>,
    late_us: Histogram<u64>,
    late_by: Lateness,
    /// How long answers took.
    pub(crate) waits: Waits,
    /// Those that took longest, with how long, in microseconds: a few of them.
    longest: BinaryHeap<Reverse<(u64, OpId)>>,
}

fn is_denial(divergence: &Divergence) -> bool {
    matches!(divergence, Divergence::Status { recorded, .. } if *recorded == NtStatus::ACCESS_DENIED)
}

/// Divergences that are kept; beyond so many they are counted.
const KEPT: usize = 1_000_000;

/// Of the longest so many are kept.
const LONGEST: usize = 5;

/// What became of an operation, a bit each.
mod fate {
    /// It was answered.
    pub(super) const ANSWERED: u8 = 1;
    /// Its answer is not as recorded.
    pub(super) const UNEQUAL: u8 = 2;
    /// Something differs with it that tells of the server.
    pub(super) const BEHAVED: u8 = 4;
    /// Something differs with it that tells of where the run took place.
    pub(super) const ELSEWHERE: u8 = 8;
}

impl Tally {
    /// Of a run of a plan with this recording.
    pub(crate) fn of(recorded: Recorded) -> Self {
        Self {
            fates: vec![0; recorded.len()],
            recorded,
            copies: false,
            issued: 0,
            finished: 0,
            reconstructed: (0, 0),
            diverged: BTreeMap::new(),
            found: BTreeMap::new(),
            skipped: BTreeMap::new(),
            refused: BTreeMap::new(),
            refusals: BTreeSet::new(),
            refused_answers: 0,
            cascades: BTreeMap::new(),
            stray: 0,
            first: Vec::new(),
            denied: BTreeSet::new(),
            latency_us: histogram::of_times(3),
            late_us: histogram::of_times(3),
            late_by: Lateness::default(),
            waits: Waits::default(),
            longest: BinaryHeap::new(),
        }
    }

    /// What is said on pipes, and what no model computes, is copied from the recording: it is not compared.
    pub(crate) fn copying(mut self) -> Self {
        self.copies = true;
        self
    }

    /// Takes a report in.
    pub(crate) fn report(&mut self, report: &Report) {
        match report {
            Report::Started { op, late } => {
                self.issued += 1;
                self.reconstructed.0 += u64::from(self.is_reconstructed(*op));
                self.late_us.saturating_record(late.total_ns() / 1_000);
                self.late_by.causality_ns += late.causality_ns;
                self.late_by.credits_ns += late.credits_ns;
                self.late_by.server_ns += late.server_ns;
                self.late_by.replayer_ns += late.replayer_ns;
                self.late_by.breaks_ns += late.breaks_ns;
            }
            Report::Finished { op, latency_ns, .. } => {
                self.finished += 1;
                self.reconstructed.1 += u64::from(self.is_reconstructed(*op));
                self.latency_us.saturating_record(latency_ns / 1_000);
                if let Some(it) = self.recorded.get(*op) {
                    self.waits.add(*op, it.command, latency_ns / 1_000);
                    self.is_long(*op, it.command, latency_ns / 1_000);
                }
                self.mark(*op, fate::ANSWERED);
            }
            Report::Diverged { op, divergence } => self.diverge(*op, divergence),
            Report::Cascaded { op, cause } => {
                self.cascades.entry(*cause).or_default().push(*op);
            }
            Report::Refused { op, why } => self.refuse(*op, *why),
            Report::TreeRefused { op } => self.refuse(*op, Refusal::Tree),
            Report::Skipped { why, .. } => *self.skipped.entry(why.name()).or_default() += 1,
            Report::Stray { .. } => self.stray += 1,
            // That a recorded notification came is no answer to a request.
            Report::Observed { .. } | Report::Done => {}
        }
    }

    fn is_long(&mut self, op: OpId, command: Command, micros: u64) {
        let least = self.longest.peek().map_or(0, |Reverse((least, _))| *least);
        let full = self.longest.len() >= LONGEST;
        // It is answered when something happens.
        if command == Command::CHANGE_NOTIFY || full && micros <= least {
            return;
        }
        if full {
            self.longest.pop();
        }
        self.longest.push(Reverse((micros, op)));
    }

    /// The operations that took longest, longest first, with how long, in microseconds.
    pub(crate) fn longest(&self) -> Vec<(OpId, u64)> {
        let mut longest: Vec<(u64, OpId)> = self.longest.iter().map(|Reverse(it)| *it).collect();
        longest.sort_by_key(|(micros, op)| (Reverse(*micros), *op));
        longest
            .into_iter()
            .map(|(micros, op)| (op, micros))
            .collect()
    }

    fn is_reconstructed(&self, op: OpId) -> bool {
        self.recorded.get(op).is_some_and(|it| it.is_reconstructed)
    }

    fn diverge(&mut self, op: OpId, divergence: &Divergence) {
        let recorded = self.recorded.get(op);
        let is_break = matches!(divergence, Divergence::UnexpectedBreak { .. });
        if is_break && recorded.is_some_and(|it| !it.is_answered) {
            // What the server granted then was not captured, nor that it broke it.
            return;
        }
        let kind = Kind::of(divergence, recorded);
        *self.diverged.entry(divergence.name()).or_default() += 1;
        *self.found.entry(kind).or_default() += 1;
        let tells = match kind {
            Kind::Environment => fate::ELSEWHERE,
            _ => fate::BEHAVED,
        };
        let unequal = match is_of_answer(divergence) {
            true => fate::UNEQUAL,
            false => 0,
        };
        self.mark(op, tells | unequal);
        if self.first.len() < KEPT {
            self.first.push((op, divergence.clone()));
        }
    }

    fn kind(&self, op: OpId, divergence: &Divergence) -> Kind {
        match is_denial(divergence) && self.denied.contains(&op) {
            true => Kind::Environment,
            false => Kind::of(divergence, self.recorded.get(op)),
        }
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let first = self.first.iter();
        first.map(|(op, divergence)| self.kind(*op, divergence))
    }

    /// Whether something was let through that was refused in the recording.
    pub(crate) fn has_let_through(&self) -> bool {
        let mut first = self.first.iter();
        first.any(|(_, divergence)| is_denial(divergence))
    }

    /// These were refused in the recording for lack of rights: who has them is let through, which tells
    /// nothing of the server.
    pub(crate) fn know_denied(&mut self, denied: BTreeSet<OpId>) {
        let was: Vec<Kind> = self.kinds().collect();
        self.denied = denied;
        let is: Vec<Kind> = self.kinds().collect();
        let ops = self.first.iter().map(|(op, _)| *op);
        let moved = ops.zip(was).zip(is);
        let moved: Vec<(OpId, Kind)> = moved
            .filter(|((_, was), is)| was != is)
            .map(|(moved, _)| moved)
            .collect();
        for (op, was) in moved {
            if let Some(count) = self.found.get_mut(&was) {
                *count -= 1;
            }
            *self.found.entry(Kind::Environment).or_default() += 1;
            if let Some(fate) = self.fates.get_mut(op.index()) {
                *fate = *fate & !fate::BEHAVED | fate::ELSEWHERE;
            }
        }
        self.found.retain(|_, count| *count > 0);
    }

    fn refuse(&mut self, op: OpId, why: Refusal) {
        self.refusals.insert(op);
        *self.refused.entry(why.name()).or_default() += 1;
        let answered = self.recorded.get(op).is_some_and(|it| it.is_answered);
        self.refused_answers += u64::from(answered);
    }

    fn mark(&mut self, op: OpId, fate: u8) {
        if let Some(known) = self.fates.get_mut(op.index()) {
            *known |= fate;
        }
    }

    fn has(&self, op: OpId, fate: u8) -> bool {
        self.fates.get(op.index()).is_some_and(|it| it & fate != 0)
    }

    /// Operations that could not run, but for those that a refusal is to blame for.
    fn cascaded(&self) -> impl Iterator<Item = (OpId, &Vec<OpId>)> {
        let all = self.cascades.iter().map(|(cause, of)| (*cause, of));
        all.filter(|(cause, _)| !self.refusals.contains(cause))
    }

    /// How much later than recorded requests were sent, added up.
    pub(crate) const fn late_by(&self) -> Lateness {
        self.late_by
    }

    /// How many operations could not run, but for those that a refusal is to blame for.
    pub(crate) fn cascaded_count(&self) -> u64 {
        self.cascaded().map(|(_, of)| of.len() as u64).sum()
    }

    fn refused_consequences(&self) -> u64 {
        let all: u64 = self.cascades.values().map(|of| of.len() as u64).sum();
        all - self.cascaded_count()
    }

    /// The operations of the divergences and of what could not run, as many as are kept.
    pub(crate) fn divergent_operations(&self) -> impl Iterator<Item = OpId> + '_ {
        let cascaded = self.cascaded().flat_map(|(_, of)| of.iter().copied());
        self.first.iter().map(|(op, _)| *op).chain(cascaded)
    }

    /// What the recording holds.
    pub(crate) fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// All that differs, causes before consequences. `operations` has those that differ.
    pub(crate) fn findings(&self, operations: &BTreeMap<OpId, Operation>) -> Vec<Finding> {
        let finding = |op: OpId, kind, what| {
            let operation = operations.get(&op);
            Finding {
                operation: op,
                kind,
                what,
                command: operation.map_or_else(String::new, |it| it.cmd.to_string()),
                path: operation.map_or_else(String::new, path_of),
                client: operation.map_or(0, |it| it.client.0),
                frame: operation.map_or(0, |it| it.frame),
                recorded: None,
                seen: None,
                cause: None,
                consequences: 0,
                allowed: None,
            }
        };
        let mut blamed = BTreeSet::new();
        let causes = self.first.iter().map(|(op, divergence)| {
            let kind = self.kind(*op, divergence);
            let (recorded, seen) = divergence.words();
            let of = self.cascades.get(op).filter(|_| blamed.insert(*op));
            Finding {
                recorded,
                seen,
                consequences: of.map_or(0, |of| of.len() as u64),
                ..finding(*op, kind, divergence.name())
            }
        });
        let mut findings: Vec<Finding> = causes.collect();
        for (cause, of) in self.cascaded() {
            findings.extend(of.iter().map(|op| Finding {
                cause: Some(cause),
                ..finding(*op, Kind::Consequence, "cascaded")
            }));
        }
        findings
    }

    /// Whether anything differs that tells of the server: a consequence does as its cause does. One of
    /// an operation of which no answer was recorded tells nothing: nobody knows what it should be.
    fn is_behaviour(&self) -> bool {
        let found = self.found.keys().any(|kind| *kind != Kind::Environment);
        let found = found || self.stray > 0;
        found
            || self
                .cascaded()
                .any(|(cause, _)| self.tells_of_server(cause))
    }

    /// Whether what follows from `cause` tells of the server.
    pub(crate) fn tells_of_server(&self, cause: OpId) -> bool {
        let elsewhere = self.has(cause, fate::ELSEWHERE);
        let answered = self.recorded.get(cause).is_some_and(|it| it.is_answered);
        self.has(cause, fate::BEHAVED) || answered && !elsewhere
    }

    fn funnel(&self, basis: Basis) -> Funnel {
        let answered = (0u32..).map(OpId).zip(self.recorded.iter());
        let (mut count, mut equal, mut copied, mut copies) = (0, 0, 0, 0);
        let mut uncomputed = 0;
        for (op, it) in answered.filter(|(_, it)| it.is_answered) {
            let of_service = self.copies && is_of_service(it);
            let is_copied = self.copies && !it.is_modelled && !self.has(op, fate::UNEQUAL);
            copies += u64::from(of_service || is_copied);
            if !self.has(op, fate::ANSWERED) {
                continue;
            }
            if of_service {
                copied += 1;
            } else if is_copied {
                uncomputed += 1;
            } else {
                count += 1;
                equal += u64::from(!self.has(op, fate::UNEQUAL));
            }
        }
        let compiled = self.recorded.requests() - self.recorded.reconstructed();
        Funnel {
            captured: basis.captured.max(compiled),
            sealed: basis.sealed,
            compiled,
            reconstructed: self.recorded.reconstructed(),
            copies,
            copied,
            uncomputed,
            with_answer: self.recorded.answers() - copies,
            refused: self.refused_answers,
            sent: self.issued - self.reconstructed.0,
            answered: self.finished - self.reconstructed.1,
            compared: count,
            as_recorded: equal,
        }
    }

    /// The summary of the contract: see docs/JSON.md.
    pub(crate) fn summary(&self, run: RunFacts) -> Summary {
        let quantile = |of: &Histogram<u64>, q| of.value_at_quantile(q);
        let seconds = run.wall_us as f64 / 1e6;
        let without_answer = self.recorded.requests() - self.recorded.answers();
        let unanswered = self.issued.saturating_sub(self.finished + without_answer);
        let funnel = self.funnel(run.basis);
        let least = run.basis.min_coverage;
        let judgement = Judgement::of(&funnel, least, &self.found, self.is_behaviour());
        Summary {
            verdict: judgement.name(),
            inconclusive: judgement.why(),
            coverage: funnel.coverage(),
            funnel,
            operations: run.operations,
            issued: self.issued,
            matched: funnel.as_recorded,
            diverged: self.diverged.clone(),
            found: self.found.clone(),
            allowed: 0,
            cascaded: self.cascaded_count(),
            skipped: self.skipped.clone(),
            refused: self.refused.clone(),
            refused_consequences: self.refused_consequences(),
            stray: self.stray,
            unwanted: run.unwanted,
            unanswered,
            answered_from_recording: funnel.copied + funnel.uncomputed,
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
                breaks: self.late_by.breaks_ns / 1_000,
            },
            wall_us: run.wall_us,
            journal: run.journal,
            bundle: run.bundle,
            root: run.root,
            effects_digest: run.effects_digest,
            seed: run.seed,
            sim_time_us: run.sim_time_us,
            steps: run.steps,
            judgement,
            too_little: !lacks(&funnel, least).is_empty(),
        }
    }
}

/// What a run is, besides what it reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFacts {
    /// Operations in the workload.
    pub(crate) operations: u64,
    /// What it is judged by.
    pub(crate) basis: Basis,
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
    /// What it comes to: see docs/JSON.md.
    pub(crate) verdict: &'static str,
    /// Why it comes to no verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) inconclusive: Vec<String>,
    /// Share of the recorded answers that was compared, 0 to 1; null where there are none.
    pub(crate) coverage: Option<f64>,
    /// From the capture to what is as recorded.
    #[serde(flatten)]
    pub(crate) funnel: Funnel,
    /// Operations in the workload.
    pub(crate) operations: u64,
    /// Requests sent.
    pub(crate) issued: u64,
    /// Compared requests that were answered as recorded.
    pub(crate) matched: u64,
    /// Divergences by kind.
    pub(crate) diverged: BTreeMap<&'static str, u64>,
    /// Divergences by what they are to a user; without those that are allowed.
    pub(crate) found: BTreeMap<Kind, u64>,
    /// Divergences that rules allow.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) allowed: u64,
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
    /// Answers that a model copied from the recording: neither compared nor in `coverage`.
    pub(crate) answered_from_recording: u64,
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
    #[serde(skip)]
    pub(crate) judgement: Judgement,
    /// Too little was compared for a verdict, whatever differs.
    #[serde(skip)]
    pub(crate) too_little: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use smbench_core::ids::ConnId;
    use smbench_core::smb2::NtStatus;

    use super::*;

    #[test]
    fn what_belongs_to_nothing_is_not_green() {
        let mut tally = Tally::of(Recorded::default());
        assert!(!tally.is_behaviour());
        tally.report(&Report::Stray {
            conn: ConnId(0),
            command: 13,
            status: NtStatus::SUCCESS,
        });
        assert!(tally.is_behaviour());
    }

    /// Refused for lack of rights in the recording, granted here: nothing of the server, once that is known.
    #[test]
    fn what_was_refused_for_lack_of_rights_may_be_granted() {
        let mut tally = Tally::of(Recorded::default());
        tally.fates = vec![0; 2];
        let granted = Divergence::Status {
            recorded: NtStatus::ACCESS_DENIED,
            seen: NtStatus::SUCCESS,
        };
        for op in [OpId(0), OpId(1)] {
            tally.diverge(op, &granted);
        }
        assert!(tally.has_let_through());
        tally.know_denied(BTreeSet::from([OpId(0)]));
        let found = BTreeMap::from([(Kind::AnotherAnswer, 1), (Kind::Environment, 1)]);
        assert_eq!(tally.found, found);
        assert!(tally.is_behaviour());
        tally.know_denied(BTreeSet::from([OpId(0), OpId(1)]));
        assert_eq!(tally.found, BTreeMap::from([(Kind::Environment, 2)]));
        assert!(!tally.is_behaviour());
        let kinds: Vec<Kind> = tally
            .findings(&BTreeMap::new())
            .iter()
            .map(|it| it.kind)
            .collect();
        assert_eq!(kinds, [Kind::Environment; 2]);
    }
}
