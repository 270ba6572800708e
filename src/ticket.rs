//! A run for a ticket: at most 15 lines of Markdown, 80 columns wide.

use crate::facts;
use crate::page::{again, change, notices, word};
use crate::results::Results;
use crate::results::rows::Side;
use crate::results::tables::{Quantiles, by_command, overall};
use crate::terminal::printable;
use crate::verdict::percent;

/// Columns of a ticket.
const COLUMNS: usize = 80;
/// Causes and commands that it has.
const CAUSES: usize = 3;
const COMMANDS: usize = 2;
/// Notices that it has.
const NOTICES: usize = 2;

/// The lines.
pub(crate) fn lines(run: &Results) -> Vec<String> {
    let summary = &run.summary;
    let funnel = &summary.funnel;
    let coverage = summary.coverage.map_or("none".to_owned(), percent);
    let capture = run
        .about
        .captures
        .first()
        .map_or("workload", String::as_str);
    let mut lines = vec![
        format!(
            "**{}**: `{}` on {}",
            word(run),
            code(capture),
            plain(&run.about.server)
        ),
        format!(
            "{} captured → {} sent → {} compared ({coverage}) → {} as recorded",
            funnel.captured, funnel.sent, funnel.compared, funnel.as_recorded
        ),
    ];
    let why = summary.inconclusive.iter().cloned();
    let refused: u64 = summary.refused.values().sum();
    let refused = (refused > 0).then(|| format!("{refused} requests were refused, and not sent"));
    let copied = summary.answered_from_recording;
    let copied = (copied > 0).then(|| format!("{copied} answers were copied from the recording"));
    let told = why.chain(notices(run)).chain(refused).chain(copied);
    let told = told.take(NOTICES);
    lines.extend(told.map(|it| plain(&it)));
    let mut causes = run.causes();
    causes.retain(|it| it.allowed.is_none());
    for cause in causes.iter().take(CAUSES) {
        lines.push(format!(
            "- {} `{}`, client {}, frame {}: {}",
            cause.command,
            code(&shortened(&cause.path, 24)),
            cause.client,
            cause.frame,
            plain(&change(cause).replace("STATUS_", "")),
        ));
    }
    if causes.len() > CAUSES {
        lines.push(format!("- and {} more differences", causes.len() - CAUSES));
    }
    lines.push(String::new());
    lines.push("| command | n | p50 rec. | p50 here | p99 rec. | p99 here |".to_owned());
    lines.push("|---|---:|---:|---:|---:|---:|".to_owned());
    let commands = by_command(&run.rows, true);
    let all = (
        overall(&commands, Side::Recorded),
        overall(&commands, Side::Here),
    );
    let named = commands.iter().take(COMMANDS);
    let named = named.map(|it| (it.command.to_string(), &it.recorded, &it.here));
    let told = std::iter::once(("all".to_owned(), &all.0, &all.1)).chain(named);
    for (name, recorded, here) in told {
        let (recorded, here) = (Quantiles::of(recorded), Quantiles::of(here));
        let ([p50, p99, _], [here_p50, here_p99, _]) = (recorded.words(), here.words());
        lines.push(format!(
            "| {name} | {} | {p50} | {here_p50} | {p99} | {here_p99} |",
            here.count
        ));
    }
    for checked in run.thresholds.iter().filter(|it| !it.holds).take(2) {
        lines.push(plain(&checked.to_string()));
    }
    // A command of which a part is missing is none.
    let again = format!("Again: `{}`", code(&again(run)));
    lines.push(match again.chars().count() <= COLUMNS {
        true => again,
        false => format!(
            "The command: `smbench show --summary {}`",
            facts::quoted(&summary.journal)
        ),
    });
    lines.into_iter().map(|line| cut(&line)).collect()
}

/// No longer than a line may be.
fn cut(line: &str) -> String {
    shortened(line, COLUMNS)
}

/// The text; in its middle three dots where it is too long.
fn shortened(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let head = (most - 1) / 2;
    let tail = most - 1 - head;
    let first = letters.iter().take(head);
    let last = letters.iter().skip(letters.len() - tail);
    first.chain(std::iter::once(&'…')).chain(last).collect()
}

/// Between backticks: nothing there ends them.
pub(crate) fn code(text: &str) -> String {
    printable(text).replace('`', "'")
}

/// What Markdown takes for marks, taken as text.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in printable(text).chars() {
        if "\\`*[]<>|#".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}
