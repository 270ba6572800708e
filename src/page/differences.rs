//! What differs, causes first, each with what it led to.

use std::collections::BTreeMap;

use maud::{Markup, html};
use smbench_core::ids::OpId;

use super::{Told, counted, more, table};
use crate::finding::{Finding, Kind};
use crate::results::Results;

/// Causes that are shown at once.
const SHOWN: usize = 8;
/// Most causes and, of each, consequences on a page; `--json` and `--csv` have all of them.
const MOST: usize = 500;

/// All that differs.
pub(super) fn of(run: &Results) -> Markup {
    let causes = run.causes();
    if causes.is_empty() {
        return html! { p.good { "None of those that were compared." } };
    }
    let mut led_to: BTreeMap<OpId, Vec<&Finding>> = BTreeMap::new();
    for finding in &run.findings {
        if let Some(cause) = finding.cause {
            led_to.entry(cause).or_default().push(finding);
        }
    }
    let told = |part: &[&Finding]| {
        html! {
            ol.causes {
                @for finding in part { li { (cause(run, finding, led_to.get(&finding.operation))) } }
            }
        }
    };
    let (first, rest) = causes.split_at(causes.len().min(SHOWN));
    html! {
        (kinds(run))
        (by_answer(&causes))
        h3 { "First causes" }
        (told(first))
        @if !rest.is_empty() {
            (more(&format!("{} more", rest.len()), &html! {
                (told(rest.get(..rest.len().min(MOST)).unwrap_or_default()))
                @if rest.len() > MOST { p { "All are in --json and --csv." } }
            }))
        }
    }
}

/// Behaviour, environment and consequences apart.
fn kinds(run: &Results) -> Markup {
    let summary = &run.summary;
    let environment = summary.found.get(&Kind::Environment).copied().unwrap_or(0);
    let behaviour: u64 = summary.found.values().sum::<u64>() - environment;
    html! {
        p.kinds {
            span.badge.diverged { (behaviour) } " tell of the server, "
            span.badge.environment { (environment) } " of the environment (identity, rights, services), "
            span.badge { (summary.cascaded) } " could not run because of one of those."
        }
    }
}

/// By command and what was answered.
fn by_answer(causes: &[&Finding]) -> Markup {
    let mut counts: BTreeMap<(Kind, &str, String), u64> = BTreeMap::new();
    for finding in causes {
        let key = (finding.kind, finding.command.as_str(), change(finding));
        *counts.entry(key).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|((kind, ..), count)| (*kind, std::cmp::Reverse(*count)));
    let rows = |part: &[((Kind, &str, String), u64)]| -> Vec<Vec<Markup>> {
        part.iter()
            .map(|((kind, command, change), count)| {
                vec![
                    html! { (kind.words()) },
                    html! { (Told(command)) },
                    html! { (Told(change)) },
                    html! { (count) },
                ]
            })
            .collect()
    };
    let header = ["what", "command", "recorded → here", "operations"];
    let (first, rest) = counts.split_at(counts.len().min(SHOWN));
    html! {
        (table(&header, 3, &rows(first)))
        @if !rest.is_empty() {
            (more(&counted(rest.len(), "more kind", "more kinds"), &table(&header, 3, &rows(rest))))
        }
    }
}

/// What was recorded, and what came.
pub(crate) fn change(finding: &Finding) -> String {
    match (&finding.recorded, &finding.seen) {
        (Some(recorded), Some(seen)) => format!("{recorded} → {seen}"),
        (_, seen) => seen
            .clone()
            .unwrap_or_else(|| finding.what.replace('_', " ")),
    }
}

fn cause(run: &Results, finding: &Finding, led_to: Option<&Vec<&Finding>>) -> Markup {
    html! {
        span class={ "badge " (if finding.kind == Kind::Environment { "environment" } else { "diverged" }) } {
            (finding.kind.words())
        }
        " " b { (Told(&finding.command)) } " "
        span.path { (Told(&finding.path)) } ": " (Told(&change(finding)))
        @if let Some(why) = &finding.allowed { " " span.small { "(allowed: " (Told(why)) ")" } }
        div.where {
            "client " (finding.client) ", operation " (finding.operation) ", frame " (finding.frame)
            " · Wireshark: " code { (filter(run, finding.operation)) }
        }
        @if let Some(led_to) = led_to {
            (more(&counted(led_to.len(), "consequence", "consequences"), &html! {
                ul {
                    @for of in led_to.iter().take(MOST) {
                        li {
                            (Told(&of.command)) " " span.path { (Told(&of.path)) }
                            " (client " (of.client) ", operation " (of.operation) ", frame " (of.frame) ")"
                        }
                    }
                }
            }))
        }
    }
}

/// A display filter of Wireshark for an operation's packets.
pub(crate) fn filter(run: &Results, op: OpId) -> String {
    let Some(row) = run.rows.get(op) else {
        return String::new();
    };
    match (row.frame, row.response_frame) {
        (request, 0) => format!("frame.number == {request}"),
        (request, response) => format!("frame.number in {{{request}, {response}}}"),
    }
}
