//! How each operation of one run ended, in a few bytes an operation.

use serde_json::{Value, json};
use smbench_core::{
    event::{
        Divergence, Effect, Outcome, Report, SkipReason, create_action_words, dialect_words,
        grant_words,
    },
    ids::OpId,
    smb2::NtStatus,
    workload::Operation,
};

use super::{DiffOptions, Difference};
use crate::{
    Journal, RerunError,
    rerun::{Departure, EngineVersions, Recipe, Runner},
};

/// How one operation ended. 48 bytes: there may be ten million.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct OpEnd {
    size: u64,
    /// The beginning of the digest of the data read.
    data: u64,
    latency_us: u32,
    status: u32,
    grant: u32,
    /// Level of the break notification that came, or of an unexpected one.
    level: u32,
    /// The operation this is a cascade of.
    cascade: u32,
    dialect: u16,
    /// Divergences that an outcome does not show, a bit each.
    troubles: u16,
    has: u8,
    end: End,
    action: u8,
    breaks: u8,
}

/// In what way an operation ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
enum End {
    /// The run does not tell.
    #[default]
    Unknown,
    Started,
    Finished,
    /// A server event took place.
    Observed,
    Cascaded,
    NotCaptured,
    Absorbed,
    Withheld,
    Stopped,
    Ended,
    Refused,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "not_reached",
            Self::Started => "unanswered",
            Self::Finished => "finished",
            Self::Observed => "observed",
            Self::Cascaded => "cascaded",
            Self::NotCaptured => "not_captured",
            Self::Absorbed => "absorbed",
            Self::Withheld => "withheld",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::Refused => "refused",
        }
    }
}

/// What of an operation is compared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Fields {
    /// Its size is the server's to choose: a folder's end of file.
    pub(super) free_size: bool,
    /// A leg of a login: there may be more or fewer.
    pub(super) login: bool,
}

/// What comparing two ends gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Same,
    Differs(&'static str),
    Uncompared(&'static str),
}

/// One run.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) ops: Vec<OpEnd>,
    pub(super) strays: u64,
}

impl Side {
    /// Runs `journal` again and keeps how each operation ended.
    pub(super) fn of(
        journal: &Journal,
        recipe: &Recipe,
        name: char,
        mut see: impl FnMut(&Operation),
        notes: &mut Vec<String>,
    ) -> Result<Self, RerunError> {
        let mut side = Self::default();
        for (index, shard) in journal.shards().enumerate() {
            let plan = recipe.plan_of(shard, |op| {
                if index == 0 {
                    see(op);
                }
            })?;
            side.ops
                .resize(plan.len().max(side.ops.len()), OpEnd::default());
            let mut runner = Runner::new(plan, recipe.config.clone());
            let done = runner.run_effects(journal, shard, Departure::GoOn, |effect| {
                if let Effect::Report(report) = effect {
                    side.take(report);
                }
            })?;
            if !done.complete {
                notes.push(format!(
                    "journal {name}: shard {shard} ends before its run does"
                ));
            }
            if let Some(mismatch) = done.mismatch {
                notes.push(format!(
                    "journal {name}: this engine departs from the run after input {} of shard \
                     {shard} ({}; {})",
                    mismatch.seq,
                    mismatch.error.as_deref().unwrap_or("other effects"),
                    EngineVersions::of(journal),
                ));
            }
        }
        Ok(side)
    }

    fn take(&mut self, report: &Report) {
        match report {
            Report::Started { op, .. } => self.at(*op, |it| it.end = it.end.max(End::Started)),
            Report::Finished {
                op,
                outcome,
                latency_ns,
            } => self.at(*op, |it| it.finish(outcome, *latency_ns)),
            Report::Observed { op } => self.at(*op, |it| it.end = End::Observed),
            Report::Diverged { op, divergence } => self.at(*op, |it| it.trouble(divergence)),
            Report::Cascaded { op, cause } => self.at(*op, |it| {
                it.end = End::Cascaded;
                it.cascade = cause.0.saturating_add(1);
            }),
            Report::Skipped { op, why } => self.at(*op, |it| it.end = End::of(*why)),
            Report::Refused { op, .. } => self.at(*op, |it| it.end = End::Refused),
            // Its TREE_CONNECT was answered; what belongs to the tree says what became of it.
            Report::TreeRefused { .. } => {}
            Report::Stray { .. } => self.strays += 1,
            Report::Done => {}
        }
    }

    fn at(&mut self, op: OpId, change: impl FnOnce(&mut OpEnd)) {
        if let Some(end) = self.ops.get_mut(op.index()) {
            change(end);
        }
    }
}

impl End {
    const fn of(why: SkipReason) -> Self {
        match why {
            SkipReason::NotCaptured => Self::NotCaptured,
            SkipReason::Absorbed => Self::Absorbed,
            SkipReason::Withheld => Self::Withheld,
            SkipReason::Ended => Self::Ended,
            // What is not known here is no end that could be compared.
            _ => Self::Stopped,
        }
    }

    fn max(self, other: Self) -> Self {
        if self == Self::Unknown { other } else { self }
    }

    const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown | Self::Stopped)
    }
}

impl OpEnd {
    fn finish(&mut self, outcome: &Outcome, latency_ns: u64) {
        self.end = End::Finished;
        self.latency_us = u32::try_from(latency_ns / 1_000).unwrap_or(u32::MAX);
        self.status = outcome.status.0;
        let mut has = 0;
        if let Some(grant) = outcome.grant {
            (self.grant, has) = (grant, has | GRANT);
        }
        if let Some(action) = outcome.create_action {
            (self.action, has) = (u8::try_from(action).unwrap_or(u8::MAX), has | ACTION);
        }
        if let Some(size) = outcome.size {
            (self.size, has) = (size, has | SIZE);
        }
        if let Some(data) = outcome.data {
            let low = data.0.first_chunk().copied().unwrap_or_default();
            (self.data, has) = (u64::from_be_bytes(low), has | DATA);
        }
        if let Some(dialect) = outcome.dialect {
            (self.dialect, has) = (dialect, has | DIALECT);
        }
        self.has |= has;
    }

    /// Notes a divergence from the recording, where an outcome does not say the same.
    fn trouble(&mut self, divergence: &Divergence) {
        match divergence {
            Divergence::UnexpectedBreak { level, .. } => {
                self.breaks = self.breaks.saturating_add(1);
                self.level = *level;
            }
            Divergence::BreakLevel { seen, .. } => self.level = *seen,
            _ => {}
        }
        let name = divergence.name();
        if let Some(bit) = TROUBLES.iter().position(|it| *it == name) {
            self.troubles |= 1 << bit;
        }
    }

    pub(super) fn cascade_of(&self) -> Option<u32> {
        self.cascade.checked_sub(1)
    }

    pub(super) fn timing_differs(&self, other: &Self, options: &DiffOptions) -> bool {
        let (low, high) = if self.latency_us < other.latency_us {
            (self.latency_us, other.latency_us)
        } else {
            (other.latency_us, self.latency_us)
        };
        let by = u64::from(high - low);
        let relative = u64::from(low).saturating_mul(u64::from(options.threshold_percent)) / 100;
        by > options.threshold_us && by > relative
    }

    fn troubled(&self, bit: usize) -> bool {
        self.troubles & (1 << bit) != 0
    }

    fn status_value(&self) -> Value {
        json!(NtStatus(self.status).to_string())
    }

    fn field(&self, bit: u8) -> Value {
        if self.has & bit == 0 {
            return Value::Null;
        }
        match bit {
            GRANT => json!(grant_words(self.grant)),
            ACTION => json!(create_action_words(self.action.into())),
            SIZE => json!(self.size),
            DATA => json!(format!("{:016x}", self.data)),
            _ => json!(dialect_words(self.dialect)),
        }
    }
}

/// Whether two ends mean the same, and what differs first if not.
pub(super) fn verdict(a: &OpEnd, b: &OpEnd, fields: Fields) -> Verdict {
    if fields.login && (a.end == End::Absorbed || b.end == End::Absorbed) {
        return Verdict::Same;
    }
    match (a.end.is_known(), b.end.is_known()) {
        (true, true) => {}
        // A trouble with an operation that has no end of its own, a break that never came.
        _ if a.troubles != b.troubles => {}
        (false, false) if a.troubles != 0 => return Verdict::Same,
        (false, false) => return Verdict::Uncompared(super::NEITHER),
        (true, false) => return Verdict::Uncompared("in_a_only"),
        (false, true) => return Verdict::Uncompared("in_b_only"),
    }
    match first_difference(a, b, fields) {
        Some(what) => Verdict::Differs(what),
        None => Verdict::Same,
    }
}

fn first_difference(a: &OpEnd, b: &OpEnd, fields: Fields) -> Option<&'static str> {
    // The usual case, in one comparison of what has no timing and no cascade in it.
    let bare = |it: &OpEnd| OpEnd {
        latency_us: 0,
        cascade: 0,
        ..*it
    };
    if bare(a) == bare(b) {
        return None;
    }
    differences(a, b, fields).first().map(|it| it.what)
}

/// All in which two ends differ, the most telling first.
pub(super) fn differences(a: &OpEnd, b: &OpEnd, fields: Fields) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut add = |what, a: Value, b: Value| out.push(Difference { what, a, b });
    if a.end == End::Finished && b.end == End::Finished {
        let legs = fields.login && is_leg(a.status) && is_leg(b.status);
        if a.status != b.status && !legs {
            add("status", a.status_value(), b.status_value());
        } else {
            for (bit, what) in FIELDS {
                let free = bit == SIZE && fields.free_size;
                let (one, other) = (a.field(bit), b.field(bit));
                if one != other && !free {
                    add(what, one, other);
                }
            }
        }
    } else if a.end != b.end {
        let value = |it: &OpEnd| match it.end {
            End::Finished => it.status_value(),
            End::Cascaded => json!({ "cascaded_from": it.cascade_of() }),
            end => json!(end.name()),
        };
        add("presence", value(a), value(b));
    }
    for (bit, what) in TROUBLES.into_iter().enumerate() {
        if a.troubled(bit) != b.troubled(bit) {
            let value = |it: &OpEnd| match it.troubled(bit) {
                true if matches!(what, "unexpected_break" | "break_level") => {
                    json!(grant_words(it.level))
                }
                seen => json!(seen),
            };
            add(what, value(a), value(b));
        }
    }
    if a.troubles == b.troubles && a.level != b.level {
        add(
            "break_level",
            json!(grant_words(a.level)),
            json!(grant_words(b.level)),
        );
    } else if a.troubles == b.troubles && a.breaks != b.breaks {
        add("unexpected_breaks", json!(a.breaks), json!(b.breaks));
    }
    out
}

/// A SESSION_SETUP that went well, or wants one more.
fn is_leg(status: u32) -> bool {
    let status = NtStatus(status);
    status == NtStatus::MORE_PROCESSING_REQUIRED || !status.is_error()
}

const GRANT: u8 = 1;
const ACTION: u8 = 2;
const SIZE: u8 = 4;
const DATA: u8 = 8;
const DIALECT: u8 = 16;
const FIELDS: [(u8, &str); 5] = [
    (DIALECT, "dialect"),
    (ACTION, "create_action"),
    (GRANT, "grant"),
    (SIZE, "size"),
    (DATA, "data"),
];

/// Divergences that are not in an outcome, by bit.
const TROUBLES: [&str; 10] = [
    "connection_lost",
    "login_failed",
    "no_response",
    "no_credits",
    "malformed",
    "missing_break",
    "unexpected_break",
    "break_level",
    "bad_signature",
    "wrong_header",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(status: u32, size: Option<u64>) -> OpEnd {
        let mut end = OpEnd::default();
        let outcome = Outcome {
            status: NtStatus(status),
            size,
            ..Outcome::default()
        };
        end.finish(&outcome, 5_000);
        end
    }

    #[test]
    fn takes_48_bytes() {
        assert_eq!(size_of::<OpEnd>(), 48);
    }

    #[test]
    fn a_login_may_have_more_legs() {
        let login = Fields {
            login: true,
            ..Fields::default()
        };
        let more = finished(NtStatus::MORE_PROCESSING_REQUIRED.0, None);
        let done = finished(0, None);
        assert_eq!(verdict(&more, &done, login), Verdict::Same);
        assert_eq!(
            verdict(&more, &done, Fields::default()),
            Verdict::Differs("status")
        );
        let absorbed = OpEnd {
            end: End::Absorbed,
            ..OpEnd::default()
        };
        assert_eq!(verdict(&absorbed, &done, login), Verdict::Same);
        let refused = finished(0xc000_006d, None);
        assert_eq!(verdict(&refused, &done, login), Verdict::Differs("status"));
    }

    #[test]
    fn the_size_of_a_folder_is_free() {
        let (one, other) = (finished(0, Some(0)), finished(0, Some(4096)));
        let folder = Fields {
            free_size: true,
            ..Fields::default()
        };
        assert_eq!(verdict(&one, &other, folder), Verdict::Same);
        assert_eq!(
            verdict(&one, &other, Fields::default()),
            Verdict::Differs("size")
        );
    }

    #[test]
    fn what_one_run_does_not_tell_is_not_compared() {
        let (known, unknown) = (finished(0, None), OpEnd::default());
        let plain = Fields::default();
        assert_eq!(
            verdict(&known, &unknown, plain),
            Verdict::Uncompared("in_a_only")
        );
        assert_eq!(
            verdict(&unknown, &unknown, plain),
            Verdict::Uncompared("in_neither")
        );
        let mut missing = OpEnd::default();
        missing.trouble(&Divergence::MissingBreak);
        assert_eq!(
            verdict(&missing, &unknown, plain),
            Verdict::Differs("missing_break")
        );
        assert_eq!(verdict(&missing, &missing, plain), Verdict::Same);
    }
}
