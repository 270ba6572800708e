//! What people read: tables on stdout, progress on stderr.

use comfy_table::{CellAlignment, ContentArrangement, Row, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use smbench_core::smb2::Request;
use smbench_core::workload::{Action, Operation};

use crate::exit::{Failure, OrFail};
use crate::finding::Finding;
use crate::losses::losses;
use crate::stalls::{self, Stall};
use crate::tally::Summary;
use crate::terminal::{self, printable};
pub(crate) use crate::terminal::{note, say};
use crate::verdict::{Judgement, percent};

/// Prints one JSON object on stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).or_defect("cannot write JSON")?;
    text.lines().for_each(|line| say!("{line}"));
    Ok(())
}

/// A table for people. What is too long for the line is cut; `--json` has all of it.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        // Here and not as the lines go out: the table has to know how wide they are.
        let cells = cells.into_iter().map(|cell| printable(&cell).into_owned());
        let mut row = Row::from(cells);
        row.max_height(1);
        self.0.add_row(row);
    }

    pub(crate) fn print(mut self) {
        let numbers: Vec<usize> = (0..self.0.column_count())
            .filter(|at| self.is_numbers(*at))
            .collect();
        for at in numbers {
            if let Some(column) = self.0.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.0.lines().for_each(|line| say!("{}", line.trim_end()));
    }

    /// Whether all that stands in a column is numbers: those stand to the right.
    fn is_numbers(&self, at: usize) -> bool {
        self.0.row_iter().all(|row| {
            let cell = row.cell_iter().nth(at).map(comfy_table::Cell::content);
            cell.is_none_or(|text| is_quantity(&text))
        })
    }
}

/// A number, with a unit or without; or nothing.
fn is_quantity(text: &str) -> bool {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let digits = number.chars().all(|it| it.is_ascii_digit() || it == '.');
    digits && (unit.is_empty() || UNITS.contains(&unit))
}

const UNITS: [&str; 8] = ["µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB"];

/// A table with these columns.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(terminal::width());
    table.set_header(header);
    Table(table)
}

/// A bar on stderr, where that is a terminal.
pub(crate) fn progress(total: u64, template: &str) -> ProgressBar {
    if !terminal::is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Prints how a run went: how much it compared, what differed, and how time went.
pub(crate) fn run(summary: &Summary, findings: &[Finding], stalled: &[Stall]) {
    let funnel = &summary.funnel;
    say!(
        "{} captured → {} compiled → {} sent → {} answered → {} compared → {} as recorded",
        funnel.captured,
        funnel.compiled,
        funnel.sent,
        funnel.answered,
        funnel.compared,
        funnel.as_recorded,
    );
    for line in verdict_lines(summary) {
        say!("{line}");
    }
    for loss in losses(summary) {
        say!("  {}", loss.text);
    }
    divergences(findings);
    stalls::print(stalled);
    say!(
        "{:.2} s, {:.0} answers/s; answer time p50 {}, p99 {}, max {}; late p50 {}, p99 {}",
        seconds(summary.wall_us),
        summary.ops_per_s,
        time(summary.latency_us.p50),
        time(summary.latency_us.p99),
        time(summary.latency_us.max),
        time(summary.late_us.p50),
        time(summary.late_us.p99),
    );
    if let Some(root) = summary.root.as_deref().filter(|root| !root.is_empty()) {
        say!("root:    {root}");
    }
    say!("journal: {}", summary.journal);
    if let Some(bundle) = &summary.bundle {
        say!("bundle:  {bundle}");
    }
}

/// What a run comes to, in a line; and what must be known besides.
pub(crate) fn verdict_lines(summary: &Summary) -> Vec<String> {
    let coverage = summary.coverage.map_or("none".to_owned(), percent);
    let found = || {
        let kinds = summary.found.iter();
        let mut kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {}", kind.words()))
            .collect();
        if summary.cascaded > 0 {
            kinds.push(format!("{} consequences", summary.cascaded));
        }
        kinds.join(", ")
    };
    let compared = format!("{coverage} of the recorded answers compared");
    let refused: u64 = summary.refused.values().sum();
    let compared = match refused {
        0 => compared,
        refused => format!("{compared}, {refused} refused"),
    };
    match &summary.judgement {
        Judgement::AsRecorded if summary.allowed > 0 => vec![format!(
            "no divergence but for {} allowed; {compared}",
            summary.allowed
        )],
        Judgement::AsRecorded => vec![format!("no divergence; {compared}")],
        Judgement::Environment => vec![format!(
            "no divergence but for the environment ({}); {compared}",
            found()
        )],
        Judgement::Diverged => vec![format!("DIVERGED: {}; {compared}", found())],
        Judgement::Inconclusive(why) => {
            let mut lines = vec![format!("INCONCLUSIVE: {}", why.join("; "))];
            if !summary.found.is_empty() {
                lines.push(format!("  the environment differs: {}", found()));
            }
            lines
        }
    }
}

/// The first differences, with what they led to.
fn divergences(findings: &[Finding]) {
    let causes = findings.iter().filter(|it| it.cause.is_none());
    for finding in causes.clone().take(SHOWN) {
        let Finding {
            operation,
            frame,
            client,
            command,
            path,
            ..
        } = finding;
        say!("  frame {frame}, client {client}, operation {operation}: {command} {path}");
        let what = match (&finding.recorded, &finding.seen) {
            (Some(recorded), Some(seen)) => format!("{recorded} → {seen}"),
            (_, seen) => seen.clone().unwrap_or_else(|| finding.what.to_owned()),
        };
        let led_to = match finding.consequences {
            0 => String::new(),
            1 => "; 1 consequence".to_owned(),
            several => format!("; {several} consequences"),
        };
        let allowed = finding.allowed.as_ref();
        let allowed = allowed
            .map(|why| format!(" (allowed: {why})"))
            .unwrap_or_default();
        say!("    {}: {what}{led_to}{allowed}", finding.kind.words());
    }
    let more = causes.count().saturating_sub(SHOWN);
    if more > 0 {
        say!("  and {more} more differences; all are in --json");
    }
}

/// The name an operation works on.
pub(crate) fn path_of(operation: &Operation) -> String {
    match &operation.action {
        Action::Request(Request::Create(create)) => match operation.path_by_id() {
            Some(path) => path.to_owned(),
            None => create.name.to_string(),
        },
        Action::Request(Request::TreeConnect(connect)) => connect.path.to_string(),
        _ => operation.path.clone().unwrap_or_default(),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, 0);
    const NAMES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    while value >= 1_024.0 && unit + 1 < NAMES.len() {
        (value, unit) = (value / 1_024.0, unit + 1);
    }
    let name = NAMES.get(unit).copied().unwrap_or("B");
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {name}"),
    }
}

/// Microseconds as people read them.
pub(crate) fn time(micros: u64) -> String {
    let (value, unit) = match micros {
        0..1_000 => return format!("{micros} µs"),
        1_000..1_000_000 => (micros as f64 / 1e3, "ms"),
        _ => (micros as f64 / 1e6, "s"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Microseconds as seconds.
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

const SHOWN: usize = 10;
