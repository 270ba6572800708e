//! The page of a capture: what can be told without a replay.

use maud::{Markup, html};
use smbench_core::workload::Workload;

use super::{Told, document, loads, more, scene, section, table, times};
use crate::results::rows::{Answer, Rows, Side};
use crate::stalls::Stall;

/// What a page of a capture is made of.
pub(crate) struct Capture<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) rows: &'a Rows,
    pub(crate) stalls: &'a [Stall],
    /// What of it cannot be replayed, in words.
    pub(crate) lacks: &'a [String],
}

/// The page.
pub(crate) fn of_capture(of: &Capture<'_>) -> String {
    let Capture {
        workload,
        rows,
        stalls,
        lacks,
    } = of;
    let captures = &workload.provenance.captures;
    let names: Vec<&str> = captures.iter().map(|it| it.name.as_str()).collect();
    let title = match names.first() {
        Some(name) => format!("{name} as captured"),
        None => "A workload as captured".to_owned(),
    };
    let addresses = workload.clients.iter().map(|it| it.address.as_str());
    let addresses: Vec<&str> = addresses.collect();
    let coverage = &workload.coverage;
    let (from, to) = rows.span_us(Side::Recorded);
    let facts = [
        ("captures", names.join(", ")),
        (
            "begins",
            crate::results::about::utc(workload.provenance.epoch_ns),
        ),
        ("lasts", crate::report::time(to - from)),
        ("packets", coverage.packets.to_string()),
        ("requests", coverage.requests_seen.to_string()),
        ("clients", workload.clients.len().to_string()),
        ("connections", workload.connections.len().to_string()),
        ("users", users(workload)),
    ];
    let body = html! {
        header {
            h1 { (Told(&title)) }
            dl.facts {
                @for (name, value) in facts { @if !value.is_empty() { dt { (name) } dd { (Told(&value)) } } }
            }
            @for lack in *lacks { p.bad { (Told(lack)) } }
        }
        (section("statuses", "What was refused or failed?", &statuses(rows)))
        (section("slow", "Is it slow?", &times::slow_recorded(rows, stalls)))
        (section("when", "When?", &times::course(rows, Side::Recorded, Vec::new())))
        (section("waits", "Who waits on whom?", &scene::of_capture(rows, stalls)))
        (section("loads", "Whose work was it?", &loads::of_side(rows, &addresses, Side::Recorded)))
    };
    document(&format!("{title} — SMBench"), &body).into_string()
}

fn users(workload: &Workload) -> String {
    let mut users = workload.principals.iter().map(|it| it.name.clone());
    let first: Vec<String> = users.by_ref().take(8).collect();
    let more = users.count();
    match more {
        0 => first.join(", "),
        more => format!("{}, and {more} more", first.join(", ")),
    }
}

/// Errors by command and status, each with the first operation that met it.
fn statuses(rows: &Rows) -> Markup {
    use std::collections::BTreeMap;
    let failed = rows.iter().filter(|it| it.is_request);
    let failed = failed.filter(|it| it.recorded.as_ref().is_some_and(Answer::is_error));
    let mut counts: BTreeMap<(String, String), (u64, &crate::results::rows::Row)> = BTreeMap::new();
    for row in failed {
        let status = row
            .recorded
            .map(|it| it.status.to_string())
            .unwrap_or_default();
        let entry = counts
            .entry((row.command.to_string(), status))
            .or_insert((0, row));
        entry.0 += 1;
    }
    if counts.is_empty() {
        return html! { p.good { "No request was answered with an error." } };
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let cells: Vec<Vec<Markup>> = counts
        .iter()
        .map(|((command, status), (count, first))| {
            vec![
                html! { (command) },
                html! { (status) },
                html! { span.path { (Told(rows.path(first))) } },
                html! { (first.frame) },
                html! { (count) },
            ]
        })
        .collect();
    let header = ["command", "status", "first on", "frame", "requests"];
    let (first, rest) = cells.split_at(cells.len().min(10));
    html! {
        (table(&header, 3, first))
        @if !rest.is_empty() { (more(&format!("{} more kinds", rest.len()), &table(&header, 3, rest))) }
    }
}
