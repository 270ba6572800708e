//! What a run is judged by: which differences fail it, which are allowed, and how fast it must be.

mod allow;
mod threshold;

use clap::ValueEnum;

pub(crate) use self::allow::Rules;
pub(crate) use self::threshold::Checked;
use self::threshold::{Measures, Threshold};
use crate::exit::{Failure, Verdict};
use crate::finding::Kind;
use crate::report::note;
use crate::results::Results;
use crate::results::tables::by_command;
use crate::tally::Summary;
use crate::verdict::Judgement;

/// What decides the exit code.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CriteriaArgs {
    /// Which differences end with exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Behaviour, value_name = "KIND")]
    fail_on: FailOn,
    /// What must hold, like 'READ.p99 < 20ms', 'p99 < 1.2x recorded', 'coverage >= 95%' or 'rate > 500'; may be
    /// repeated; exit code 6 where one does not
    #[arg(long, value_name = "RULE", value_parser = Threshold::parse)]
    threshold: Vec<Threshold>,
    /// Differences that are allowed, in a TOML file: see docs/CI.md
    #[arg(long, value_name = "FILE")]
    allow: Option<std::path::PathBuf>,
}

/// Which differences fail a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// Those that tell of the server
    Behaviour,
    /// Those of the environment: identity, rights, services
    Environment,
    /// All
    Any,
}

/// What a run is judged by, read and ready.
pub(crate) struct Criteria {
    fail_on: FailOn,
    thresholds: Vec<Threshold>,
    rules: Option<Rules>,
}

impl CriteriaArgs {
    /// Reads the rules, before anything runs.
    pub(crate) fn read(&self) -> Result<Criteria, Failure> {
        Ok(Criteria {
            fail_on: self.fail_on,
            thresholds: self.threshold.clone(),
            rules: self.allow.as_deref().map(Rules::read).transpose()?,
        })
    }
}

impl Criteria {
    /// Whether the run must be looked at operation by operation.
    pub(crate) fn look_closely(&self) -> bool {
        self.rules.is_some() || !self.thresholds.is_empty()
    }

    /// Judges a run: what is allowed, and what was asked to hold. Rules that have allowed nothing are told.
    pub(crate) fn apply(&mut self, results: &mut Results) {
        results.judge_by(self);
        if let Some(rules) = &mut self.rules {
            results.allow(rules);
            for reason in rules.unused() {
                note!("smbench: a rule of --allow has allowed nothing: {reason}");
            }
        }
        let commands = by_command(&results.rows, true);
        let measures = Measures {
            summary: &results.summary,
            commands: &commands,
            baseline: results.sides().0,
        };
        let thresholds = self.thresholds.iter();
        results.thresholds = thresholds.map(|it| it.check(&measures)).collect();
    }

    /// Which kinds of differences fail a run.
    pub(crate) fn fails(&self) -> fn(Kind) -> bool {
        match self.fail_on {
            FailOn::Behaviour => |kind| kind != Kind::Environment,
            FailOn::Environment => |kind| kind == Kind::Environment,
            FailOn::Any => |_| true,
        }
    }

    /// What fails nothing though it tells of the server, in words.
    pub(crate) fn lenient(&self) -> Option<&'static str> {
        (self.fail_on == FailOn::Environment)
            .then_some("differences that tell of the server fail nothing: --fail-on environment")
    }

    /// What the process ends with: 1 before 5 before 6.
    pub(crate) fn verdict(&self, summary: &Summary, checked: &[Checked]) -> Verdict {
        let environment = summary.found.contains_key(&Kind::Environment);
        let fails = match (&summary.judgement, self.fail_on) {
            (Judgement::Diverged, FailOn::Behaviour | FailOn::Any) => true,
            (_, FailOn::Environment | FailOn::Any) => environment,
            _ => false,
        };
        if fails {
            return Verdict::Diverged;
        }
        if summary.too_little {
            return Verdict::Inconclusive;
        }
        match checked.iter().all(|it| it.holds) {
            true => Verdict::Same,
            false => Verdict::Missed,
        }
    }
}
