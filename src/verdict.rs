//! How much of a recording a run has compared, and what it comes to.

use std::collections::BTreeMap;

use serde::Serialize;
use smbench_core::workload::Workload;

use crate::finding::Kind;

/// Requests, from the capture to what is as recorded.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Funnel {
    /// In the capture, as far as they could be read.
    pub(crate) captured: u64,
    /// In the capture, and stayed encrypted: about half of the messages that did.
    pub(crate) sealed: u64,
    /// In the workload, and captured.
    pub(crate) compiled: u64,
    /// In the workload to set up what others use, and not captured: counted nowhere else here.
    pub(crate) reconstructed: u64,
    /// Of those, with a recorded answer that was to be compared.
    pub(crate) with_answer: u64,
    /// Of those, refused: they would have reached what a run may not reach.
    #[serde(skip)]
    pub(crate) refused: u64,
    /// With a recorded answer that the model copies: there is nothing to compare.
    #[serde(skip)]
    pub(crate) copies: u64,
    /// Of `copies`, answered on pipes.
    #[serde(skip)]
    pub(crate) copied: u64,
    /// Of `copies`, answered because the model does not compute such: a server's answers are compared.
    #[serde(skip)]
    pub(crate) uncomputed: u64,
    #[serde(skip)]
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Sent and answered, with a recorded answer.
    pub(crate) compared: u64,
    /// Of those, with an answer equal to it.
    #[serde(skip)]
    pub(crate) as_recorded: u64,
}

impl Funnel {
    /// Share of what could be compared that was: requests with a recorded answer, and those that stayed
    /// encrypted, less those refused. What only means nothing without those
    /// is not compared either.
    pub(crate) fn coverage(&self) -> Option<f64> {
        let all = (self.with_answer + self.sealed).checked_sub(self.refused)?;
        (all > 0).then(|| self.compared as f64 / all as f64)
    }

    /// Share of the requests in the workload that have a recorded answer.
    fn two_sided(&self) -> f64 {
        match self.compiled {
            0 => 1.0,
            all => (self.with_answer + self.copies) as f64 / all as f64,
        }
    }
}

/// What a run is judged by, besides what it reports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Basis {
    /// Requests in the capture, as far as they could be read.
    pub(crate) captured: u64,
    /// Requests in the capture that stayed encrypted.
    pub(crate) sealed: u64,
    /// Least coverage, 0 to 1.
    pub(crate) min_coverage: f64,
}

impl Basis {
    pub(crate) fn of(workload: &Workload, min_coverage: f64) -> Self {
        let coverage = &workload.coverage;
        // Who asked for a part misses nothing of the rest.
        if coverage.skipped.keys().any(|why| why.contains("left out")) {
            return Self {
                min_coverage,
                ..Self::default()
            };
        }
        let sealed = coverage.skipped.iter();
        let sealed = sealed.filter(|(reason, _)| reason.starts_with("encrypted"));
        let messages: u64 = sealed.map(|(_, count)| count).sum();
        Self {
            captured: coverage.requests_seen,
            // Of the messages of a session about every second one is a request.
            sealed: messages.div_ceil(2),
            min_coverage,
        }
    }
}

/// Least coverage where nobody asks for another one.
pub(crate) const DEFAULT_COVERAGE: f64 = 0.9;

/// How much is to be compared.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct CoverageArg {
    /// Least share of the recorded answers that is to be compared, in percent; with less there is no
    /// verdict (exit code 5)
    #[arg(long, default_value = "90", value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) min_coverage: f64,
}

/// What a run comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judgement {
    /// Enough was compared, and nothing differs.
    AsRecorded,
    /// Enough was compared, and what differs tells of where the run took place alone.
    Environment,
    /// Something differs that tells of the server.
    Diverged,
    /// Too little was compared.
    Inconclusive(Vec<String>),
}

impl Judgement {
    pub(crate) fn of(
        funnel: &Funnel,
        min_coverage: f64,
        found: &BTreeMap<Kind, u64>,
        is_behaviour: bool,
    ) -> Self {
        if is_behaviour {
            return Self::Diverged;
        }
        let why = lacks(funnel, min_coverage);
        if !why.is_empty() {
            return Self::Inconclusive(why);
        }
        match found.contains_key(&Kind::Environment) {
            true => Self::Environment,
            false => Self::AsRecorded,
        }
    }

    /// As `--json` tells it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::AsRecorded => "as_recorded",
            Self::Environment => "environment",
            Self::Diverged => "diverged",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// Why there is no verdict.
    pub(crate) fn why(&self) -> Vec<String> {
        match self {
            Self::Inconclusive(why) => why.clone(),
            _ => Vec::new(),
        }
    }
}

/// What keeps a run from a verdict, in words.
/// Why a run says nothing, where it compared too little.
pub(crate) fn lacks(funnel: &Funnel, min_coverage: f64) -> Vec<String> {
    let mut why = Vec::new();
    match funnel.coverage() {
        _ if funnel.compiled == 0 => why.push("the workload holds no request".to_owned()),
        _ if funnel.with_answer + funnel.copies == 0 => {
            why.push("the recording holds no answer: one direction was captured".to_owned());
        }
        None => {
            why.push(
                "what has a recorded answer was refused, or copied from the recording".to_owned(),
            );
        }
        Some(_) if funnel.compared == 0 => why.push("nothing was compared".to_owned()),
        Some(coverage) if coverage < min_coverage => {
            let all = funnel.with_answer + funnel.sealed - funnel.refused;
            let mut told = format!(
                "{} of {all} recorded answers were compared ({}), less than --min-coverage {}",
                funnel.compared,
                percent(coverage),
                percent(min_coverage),
            );
            if funnel.sealed > 0 {
                told.push_str(&format!("; {} stayed encrypted", funnel.sealed));
            }
            why.push(told);
        }
        Some(_) => {}
    }
    let two_sided = funnel.two_sided();
    if funnel.with_answer > 0 && two_sided < TWO_SIDED {
        why.push(format!(
            "of {} requests {} have no recorded answer: one direction was captured in part",
            funnel.compiled,
            funnel.compiled - funnel.with_answer - funnel.copies,
        ));
    }
    why
}

/// A share in percent, down to what tells it from another.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.fract() == 0.0 {
        true => format!("{percent:.0} %"),
        // Never up: 99.99 % is not all.
        false => format!("{:.1} %", (percent * 10.0).floor() / 10.0),
    }
}

/// Reads a share in percent, with or without its sign.
pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("say a percentage from 0 to 100, like 90".to_owned()),
    }
}

/// Requests of which so many have a recorded answer were captured in both directions: what a capture
/// cuts off at its end is less.
const TWO_SIDED: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    fn funnel(with_answer: u64, refused: u64, compared: u64) -> Funnel {
        Funnel {
            compiled: with_answer,
            with_answer,
            refused,
            compared,
            ..Funnel::default()
        }
    }

    fn judged(funnel: &Funnel) -> Judgement {
        Judgement::of(funnel, 0.9, &BTreeMap::new(), false)
    }

    #[test]
    fn less_than_was_asked_for_is_no_verdict() {
        assert_eq!(judged(&funnel(100, 0, 90)), Judgement::AsRecorded);
        assert!(matches!(
            judged(&funnel(100, 0, 89)),
            Judgement::Inconclusive(_)
        ));
        assert_eq!(judged(&funnel(100, 90, 10)), Judgement::AsRecorded);
        assert!(matches!(
            judged(&funnel(100, 100, 0)),
            Judgement::Inconclusive(_)
        ));
        assert!(matches!(
            judged(&funnel(0, 0, 0)),
            Judgement::Inconclusive(_)
        ));
        let sealed = Funnel {
            sealed: 100,
            ..funnel(10, 0, 10)
        };
        assert!(matches!(judged(&sealed), Judgement::Inconclusive(_)));
    }

    #[test]
    fn what_differs_wins_over_what_was_not_compared() {
        let found = BTreeMap::from([(Kind::AnotherAnswer, 1)]);
        let judged = Judgement::of(&funnel(100, 0, 10), 0.9, &found, true);
        assert_eq!(judged, Judgement::Diverged);
        let found = BTreeMap::from([(Kind::Environment, 1)]);
        let judged = Judgement::of(&funnel(100, 0, 95), 0.9, &found, false);
        assert_eq!(judged.name(), "environment");
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.9999), "99.9 %");
        assert_eq!(parse_percent("90%"), Ok(0.9));
        assert!(parse_percent("101").is_err() && parse_percent("nan").is_err());
    }
}
