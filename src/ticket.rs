//! A run for a ticket: at most 15 lines of Markdown, 80 columns wide.

use crate::page::{again, change, word};
use crate::report::time;
use crate::results::Results;
use crate::results::rows::Side;
use crate::results::tables::{Quantiles, by_command, overall};
use crate::terminal::printable;
use crate::verdict::percent;

/// Columns of a ticket.
const COLUMNS: usize = 80;
/// Causes and commands that it has.
const CAUSES: usize = 3;
const COMMANDS: usize = 3;

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
            word(summary),
            code(capture),
            plain(&run.about.server)
        ),
        format!(
            "{} captured → {} sent → {} compared ({coverage}) → {} as recorded",
            funnel.captured, funnel.sent, funnel.compared, funnel.as_recorded
        ),
    ];
    let causes = run.causes();
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
        let p99 = |of: &Quantiles| of.p99_us.map_or("—".to_owned(), time);
        lines.push(format!(
            "| {name} | {} | {} | {} | {} | {} |",
            here.count,
            time(recorded.p50_us),
            time(here.p50_us),
            p99(&recorded),
            p99(&here)
        ));
    }
    for checked in run.thresholds.iter().filter(|it| !it.holds).take(2) {
        lines.push(plain(&checked.to_string()));
    }
    lines.push(format!("Again: `{}`", code(&again(run))));
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
