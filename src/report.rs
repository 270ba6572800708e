//! What people read: tables on stdout, progress on stderr.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use smbench_core::ids::OpId;
use smbench_core::smb2::Request;
use smbench_core::workload::{Action, Operation};

use crate::exit::{Failure, OrFail};
use crate::tally::{Summary, Tally};
use crate::terminal::{self, printable};
pub(crate) use crate::terminal::{note, say};

/// Prints one JSON object on stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).or_defect("cannot write JSON")?;
    text.lines().for_each(|line| say!("{line}"));
    Ok(())
}

/// A table for people.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        // Here and not as the lines go out: the table has to know how wide they are.
        let cells = cells.into_iter().map(|cell| printable(&cell).into_owned());
        self.0.add_row(cells);
    }

    pub(crate) fn print(&self) {
        self.0.lines().for_each(|line| say!("{line}"));
    }
}

/// A table whose columns after the first are numbers.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    for at in 1..header.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
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

/// Prints how a run went. `operations` has those that diverged.
pub(crate) fn run(summary: &Summary, tally: &Tally, operations: &BTreeMap<OpId, Operation>) {
    say!(
        "{} operations, {} sent, {} answered as recorded, {} left out",
        summary.operations,
        summary.issued,
        summary.matched,
        summary.skipped.values().sum::<u64>()
            + summary.cascaded
            + summary.refused.values().sum::<u64>()
            + summary.refused_consequences,
    );
    say!(
        "{:.2} s, {:.0} answers/s; answer time p50 {} us, p99 {} us, max {} us; late p50 {} us, p99 {} us",
        seconds(summary.wall_us),
        summary.ops_per_s,
        summary.latency_us.p50,
        summary.latency_us.p99,
        summary.latency_us.max,
        summary.late_us.p50,
        summary.late_us.p99,
    );
    for (why, count) in &summary.skipped {
        say!("  left out: {count} {}", why.replace('_', " "));
    }
    for (why, count) in &summary.refused {
        say!("  not sent: {count} {}", why.replace('_', " "));
    }
    if summary.refused_consequences > 0 {
        let count = summary.refused_consequences;
        say!("  not sent: {count} that mean nothing without those");
    }
    if summary.stray > 0 {
        say!("  {} responses belong to no request", summary.stray);
    }
    if summary.unwanted > 0 {
        say!(
            "  {} more frames belong to nothing: they were counted, not recorded",
            summary.unwanted
        );
    }
    divergences(summary, tally, operations);
    if let Some(root) = summary.root.as_deref().filter(|root| !root.is_empty()) {
        say!("root:    {root}");
    }
    say!("journal: {}", summary.journal);
    if let Some(bundle) = &summary.bundle {
        say!("bundle:  {bundle}");
    }
}

fn divergences(summary: &Summary, tally: &Tally, operations: &BTreeMap<OpId, Operation>) {
    if !tally.is_diverged() {
        say!("no divergence");
        return;
    }
    let kinds: Vec<String> = summary
        .diverged
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    say!(
        "DIVERGED: {}; {} operations cascaded",
        kinds.join(", "),
        summary.cascaded
    );
    let mut table = table(&["operation", "frame", "command", "path", "divergence"]);
    for (op, divergence) in tally.first.iter().take(SHOWN) {
        let operation = operations.get(op);
        table.add_row([
            op.to_string(),
            operation.map_or(String::new(), |it| it.frame.to_string()),
            operation.map_or(String::new(), |it| it.cmd.to_string()),
            operation.map_or(String::new(), path_of),
            describe(divergence),
        ]);
    }
    table.print();
    if tally.first.len() > SHOWN {
        say!(
            "and {} more; see smbench show, or --json",
            tally.first.len() - SHOWN
        );
    }
}

/// The name an operation works on.
pub(crate) fn path_of(operation: &Operation) -> String {
    match &operation.action {
        Action::Request(Request::Create(create)) => create.name.to_string(),
        Action::Request(Request::TreeConnect(connect)) => connect.path.to_string(),
        _ => operation.path.clone().unwrap_or_default(),
    }
}

/// A divergence in a line.
pub(crate) fn describe(divergence: &smbench_core::event::Divergence) -> String {
    let value = serde_json::to_value(divergence).unwrap_or_default();
    let field = |name: &str| match value.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (recorded, seen) = (field("recorded"), field("seen"));
    match (recorded.is_empty(), seen.is_empty()) {
        (true, true) => divergence.name().to_owned(),
        _ => format!("{}: recorded {recorded}, seen {seen}", divergence.name()),
    }
}

/// Microseconds as seconds.
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

const SHOWN: usize = 20;
