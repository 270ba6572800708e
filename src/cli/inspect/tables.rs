//! The survey of a workload as tables for people.

use std::collections::BTreeMap;

use smbench_core::workload::Workload;

use super::calls;
use super::survey::{Breaks, FileLoad, Funnel, Load, Times, Told};
use crate::cli::slice::counted;
use crate::report::{self, say};

/// Prints everything.
pub(super) fn print(told: &Told, workload: &Workload) {
    say!(
        "  {} s from the first to the last",
        report::seconds(told.span_us)
    );
    for line in &workload.provenance.history {
        say!("  made by: {line}");
    }
    commands(told);
    statuses(&told.statuses);
    counted("unanswered", &told.unanswered);
    clients(told);
    shares(told);
    files(&told.hottest, told.distinct_files);
    breaks(&told.breaks);
    calls::print(&told.calls);
    funnel(&told.funnel);
}

fn commands(told: &Told) {
    let mut table = report::table(&[
        "command", "requests", "errors", "p50", "p90", "p99", "max", "sum",
    ]);
    for (command, it) in &told.answers {
        let mut row = vec![
            command.clone(),
            it.requests.to_string(),
            it.errors.to_string(),
        ];
        row.extend(match it.answered {
            0 => [const { String::new() }; 5],
            _ => cells(&it.answer_us),
        });
        table.add_row(row);
    }
    table.print();
}

fn cells(times: &Times) -> [String; 5] {
    [
        report::time(times.p50),
        report::time(times.p90),
        report::time(times.p99),
        report::time(times.max),
        report::time(times.sum),
    ]
}

fn statuses(statuses: &BTreeMap<String, BTreeMap<String, u64>>) {
    let mut table = report::table(&["answered with", "requests", "commands"]);
    let mut rows: Vec<_> = statuses
        .iter()
        .map(|(status, by)| (by.values().sum::<u64>(), status, by))
        .collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    for (sum, status, by) in rows {
        let commands: Vec<String> = by.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let commands = match status.as_str() {
            "SUCCESS" => String::new(),
            _ => commands.join(", "),
        };
        table.add_row([status.clone(), sum.to_string(), commands]);
    }
    table.print();
}

fn load(load: &Load) -> [String; 4] {
    [
        load.requests.to_string(),
        load.errors.to_string(),
        report::bytes(load.read_bytes),
        report::bytes(load.written_bytes),
    ]
}

fn clients(told: &Told) {
    let mut table = report::table(&["client", "requests", "errors", "read", "written"]);
    let mut rows: Vec<_> = told.by_client.iter().collect();
    rows.sort_by_key(|it| std::cmp::Reverse(it.load.requests));
    for it in rows.iter().take(CLIENTS) {
        let mut row = vec![format!("{} ({})", it.address, it.client)];
        row.extend(load(&it.load));
        table.add_row(row);
    }
    table.print();
    if rows.len() > CLIENTS {
        say!("  and {} more clients; see --json", rows.len() - CLIENTS);
    }
}

fn shares(told: &Told) {
    let mut table = report::table(&["share", "requests", "errors", "read", "written"]);
    for it in &told.by_share {
        let mut row = vec![it.share.clone()];
        row.extend(load(&it.load));
        table.add_row(row);
    }
    table.print();
}

fn files(hottest: &[FileLoad], all: u64) {
    let mut table = report::table(&["hottest files", "requests", "errors", "read", "written"]);
    for it in hottest {
        let mut row = vec![format!("{}\\{}", it.share, it.path.trim_matches('\\'))];
        row.extend(load(&it.load));
        table.add_row(row);
    }
    table.print();
    say!("  {all} files and folders were used; --top N shows more");
}

fn breaks(breaks: &Breaks) {
    if breaks.oplock + breaks.lease == 0 {
        say!("  no breaks");
        return;
    }
    say!(
        "  breaks: {} of leases, {} of oplocks; {} wanted an answer: {} acknowledged, {} closed, {} ignored",
        breaks.lease,
        breaks.oplock,
        breaks.wanting,
        breaks.acknowledged,
        breaks.closed,
        breaks.ignored,
    );
    if breaks.acknowledged + breaks.closed > 0 {
        let times = &breaks.answer_us;
        say!(
            "  they were answered after p50 {}, p90 {}, p99 {}, max {}",
            report::time(times.p50),
            report::time(times.p90),
            report::time(times.p99),
            report::time(times.max),
        );
    }
    counted("breaks by change", &breaks.by_change);
}

fn funnel(funnel: &Funnel) {
    let mut table = report::table(&["found", "number", "lost on the way"]);
    let rows: [(&str, u64, &[&str]); 4] = [
        ("packets", funnel.packets, &["packets", "connections"]),
        ("SMB frames", funnel.frames, &["frames", "bytes"]),
        ("messages", funnel.messages, &["messages"]),
        ("operations", funnel.operations, &["requests left out"]),
    ];
    let shown = |unit: &str, reasons: &BTreeMap<String, u64>| {
        let list: Vec<String> = reasons
            .iter()
            .map(|(why, n)| format!("{n} {why}"))
            .collect();
        format!("{unit}: {}", list.join(", "))
    };
    let mut told: Vec<&str> = Vec::new();
    for (name, number, units) in rows {
        let mut lost: Vec<String> = Vec::new();
        for unit in units {
            told.push(unit);
            let reasons = funnel.lost.get(*unit);
            lost.extend(reasons.map(|reasons| shown(unit, reasons)));
        }
        table.add_row([name.to_owned(), number.to_string(), lost.join("; ")]);
    }
    table.print();
    for (unit, reasons) in &funnel.lost {
        if !told.contains(&unit.as_str()) {
            say!("  {}", shown(unit, reasons));
        }
    }
}

/// Clients that a table shows.
const CLIENTS: usize = 20;
