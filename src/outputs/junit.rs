//! Results for CI servers: a test case a command and a threshold.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::exit::{Failure, OrFail};
use crate::finding::Finding;
use crate::page::change;
use crate::results::Results;
use crate::verdict::Judgement;

/// Differences that a case lists.
const LISTED: usize = 50;

/// The file.
pub(super) fn of(run: &Results) -> Result<String, Failure> {
    let about = &run.about;
    let capture = about.captures.first().map_or("workload", String::as_str);
    let mut suite = TestSuite::new(format!("smbench {} {capture}", about.verb));
    suite.set_time(Duration::from_micros(run.summary.wall_us));
    suite.add_property(("server", about.server.as_str()));
    suite.add_property(("journal", run.summary.journal.as_str()));
    if run.is_of_recording() {
        suite.add_test_case(verdict(run));
    } else {
        suite.add_test_case(both_ended(run));
    }
    let mut compared: BTreeMap<String, u64> = BTreeMap::new();
    for row in run
        .rows
        .iter()
        .filter(|it| it.is_request && it.recorded.is_some())
    {
        *compared.entry(row.command.to_string()).or_default() += u64::from(row.seen.is_some());
    }
    for (command, count) in compared.iter().filter(|(_, count)| **count > 0) {
        suite.add_test_case(answers(run, command, *count));
    }
    for checked in &run.thresholds {
        let status = match checked.holds {
            true => TestCaseStatus::success(),
            false => failed(&checked.to_string(), "threshold"),
        };
        let mut case = TestCase::new(checked.threshold.as_str(), status);
        case.set_classname("smbench.threshold");
        suite.add_test_case(case);
    }
    let mut report = Report::new("smbench");
    report.add_test_suite(suite);
    report.to_string().or_defect("cannot write JUnit XML")
}

fn failed(message: &str, kind: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    status.set_type(kind);
    status
}

/// Whether enough was compared.
fn verdict(run: &Results) -> TestCase {
    let words = run.headline();
    let status = match run.summary.judgement {
        Judgement::Inconclusive(_) => failed(&words, "inconclusive"),
        Judgement::AsRecorded | Judgement::Environment | Judgement::Diverged => {
            TestCaseStatus::success()
        }
    };
    let mut case = TestCase::new("enough was compared", status);
    case.set_classname("smbench.coverage");
    case.set_system_out(words);
    case
}

/// Whether both of two runs tell how each operation ended.
fn both_ended(run: &Results) -> TestCase {
    let status = match run.is_one_sided() {
        true => failed(
            "one of the runs does not tell how all operations ended",
            "incomplete",
        ),
        false => TestCaseStatus::success(),
    };
    let mut case = TestCase::new("both runs tell of the same operations", status);
    case.set_classname("smbench.coverage");
    case.set_system_out(run.headline());
    case
}

/// The answers to a command. What is allowed, or of the environment, is listed and fails nothing.
fn answers(run: &Results, command: &str, compared: u64) -> TestCase {
    let causes = run.causes();
    let of_it = |it: &&&Finding| it.command == command;
    let failing = |it: &&&Finding| run.fails(it.kind) && it.allowed.is_none();
    let line = |it: &&Finding| {
        let allowed = it.allowed.as_deref();
        let allowed = allowed
            .map(|why| format!(" (allowed: {why})"))
            .unwrap_or_default();
        let Finding {
            path,
            client,
            frame,
            kind,
            ..
        } = it;
        let (kind, change) = (kind.words(), change(it));
        format!("frame {frame}, client {client}: {path}: {kind}: {change}{allowed}")
    };
    let bad: Vec<String> = causes
        .iter()
        .filter(of_it)
        .filter(failing)
        .map(line)
        .collect();
    let rest = causes.iter().filter(of_it).filter(|it| !failing(it));
    let rest: Vec<String> = rest.map(line).take(LISTED).collect();
    let status = match bad.is_empty() {
        true => TestCaseStatus::success(),
        false => {
            let count = bad.len();
            let mut status = failed(
                &format!("{count} of {compared} answers differ"),
                "divergence",
            );
            let shown: Vec<String> = bad.into_iter().take(LISTED).collect();
            status.set_description(shown.join("\n"));
            status
        }
    };
    let mut case = TestCase::new(format!("{command} ({compared} compared)"), status);
    case.set_classname("smbench.answers");
    if !rest.is_empty() {
        case.set_system_out(rest.join("\n"));
    }
    case
}
