//! The page of two runs: in what they differ.

use maud::{Markup, html};
use smbench_core::ids::OpId;
use smbench_journal::{Cause, Diff};

use super::charts::Ink;
use super::{Told, again, counted, document, more, scene, section, table, times};
use crate::compare::Compared;
use crate::finding::Finding;
use crate::report::time;
use crate::results::Results;
use crate::results::rows::{Row, Side};
use crate::results::tables::Quantiles;

/// What a page of two runs is made of.
pub(crate) struct Pair<'a> {
    pub(crate) a: &'a Results,
    pub(crate) b: &'a Results,
    pub(crate) diff: &'a Diff,
    /// What differs, by what a user would call it, in the order of `diff.causes`.
    pub(crate) findings: &'a [&'a Finding],
    pub(crate) times: &'a [Compared],
    /// How many runs there are on either side.
    pub(crate) runs: (usize, usize),
}

impl Pair<'_> {
    /// The file that an operation works on.
    fn path(&self, op: OpId) -> &str {
        let row = self.b.rows.get(op);
        row.map_or("", |row| self.b.rows.path(row))
    }
}

/// The page.
pub(crate) fn of_pair(pair: &Pair<'_>) -> String {
    let title = "Two runs compared";
    let body = html! {
        header {
            h1 { (title) }
            (verdict(pair.diff))
            @for note in &pair.diff.notes { p.bad { (Told(note)) } }
        }
        (section("what", "What was compared?", &what(pair)))
        (section("differences", "What differs?", &causes(pair)))
        (section("slow", "Is one slower?", &slow(pair)))
        (section("waits", "Who waits on whom?", &scenes(pair)))
        (section("normalised", "What was not compared?", &html! {
            ul { @for what in pair.diff.normalised { li { (what) } } }
            @if !pair.diff.uncompared.is_empty() {
                p {
                    "Operations that only one run, or neither, tells the end of: "
                    (Told(&pair.diff.uncompared.iter().map(|(why, count)| format!("{count} {}", why.replace('_', " ")))
                        .collect::<Vec<_>>().join(", ")))
                }
            }
        }))
    };
    document(&format!("{title} — SMBench"), &body).into_string()
}

fn verdict(diff: &Diff) -> Markup {
    html! {
        p class={ "verdict " (if diff.same { "as_recorded" } else { "diverged" }) } {
            @if diff.same {
                span.badge.as_recorded { "same" }
                " All " (diff.compared) " operations that were compared ended alike."
            } @else {
                span.badge.diverged { "different" }
                " " (counted(diff.causes.len(), "operation", "operations")) " ended otherwise without anything different before, and "
                (diff.consequences) " followed from that, of " span data-step="compared" { (diff.compared) } " compared."
            }
            @if diff.timing_only > 0 { " " (diff.timing_only) " differ in timing alone." }
        }
    }
}

/// Both runs side by side.
fn what(pair: &Pair<'_>) -> Markup {
    let protocol = |run: &Results| {
        let told = run
            .about
            .protocol
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        told.collect::<Vec<_>>().join("; ")
    };
    let versions = |run: &Results| {
        let told = run
            .about
            .versions
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        told.collect::<Vec<_>>().join(", ")
    };
    let row = |name: &str, of: &dyn Fn(&Results) -> String| {
        let (a, b) = (of(pair.a), of(pair.b));
        let differ = a != b;
        vec![
            html! { (name) },
            html! { (Told(&a)) },
            html! { @if differ { b { (Told(&b)) } } @else { (Told(&b)) } },
        ]
    };
    let rows = vec![
        row("server", &|run| run.about.server.clone()),
        row("begun", &|run| run.about.started_at.clone()),
        row("protocol", &protocol),
        row("versions", &versions),
        row("guest or anonymous sessions", &|run| {
            run.about.guests.to_string()
        }),
        row("journal", &|run| run.summary.journal.clone()),
        row("again", &again),
    ];
    let told = |row: &Vec<Markup>| row.iter().skip(1).any(|cell| !cell.0.is_empty());
    let mut rows: Vec<Vec<Markup>> = rows.into_iter().filter(told).collect();
    let names = pair
        .a
        .about
        .settings
        .keys()
        .chain(pair.b.about.settings.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        let of = |run: &Results| run.about.settings.get(name).cloned().unwrap_or_default();
        if of(pair.a) != of(pair.b) {
            rows.push(row(name, &of));
        }
    }
    let runs = |count| counted(count, "run", "runs");
    html! {
        (table(&["", "A", "B"], 3, &rows))
        @if pair.runs != (1, 1) {
            p.small {
                "A is the first of " (runs(pair.runs.0)) ", B the first of " (runs(pair.runs.1))
                "; answer times are of all of them."
            }
        }
    }
}

const SHOWN: usize = 10;
const MOST: usize = 500;

fn causes(pair: &Pair<'_>) -> Markup {
    if pair.diff.causes.is_empty() {
        return html! { p.good { "Nothing." } };
    }
    let mut ranked: Vec<(&Cause, &Finding)> = pair
        .diff
        .causes
        .iter()
        .zip(pair.findings.iter().copied())
        .collect();
    ranked.sort_by_key(|(cause, finding)| (finding.kind, cause.operation));
    let list = |part: &[(&Cause, &Finding)]| {
        html! {
            ol.causes { @for (cause, finding) in part { li { (one(pair, cause, finding)) } } }
        }
    };
    let (first, rest) = ranked.split_at(ranked.len().min(SHOWN));
    let rest = rest.get(..rest.len().min(MOST)).unwrap_or_default();
    html! {
        (list(first))
        @if !rest.is_empty() { (more(&format!("{} more", ranked.len() - first.len()), &list(rest))) }
    }
}

fn one(pair: &Pair<'_>, cause: &Cause, finding: &Finding) -> Markup {
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    html! {
        span.badge.diverged { (finding.kind.words()) }
        " " b { (Told(&finding.command)) } " " span.path { (Told(pair.path(cause.operation))) } ": "
        (cause.what.replace('_', " ")) " " b { (Told(&word(&finding.recorded))) } " in A, "
        b { (Told(&word(&finding.seen))) } " in B"
        @if let Some(why) = &finding.allowed { " " span.small { "(allowed: " (Told(why)) ")" } }
        div.where {
            "client " (cause.client) ", operation " (cause.operation) ", frame " (cause.frame) " · Wireshark: "
            code { (super::differences::filter(pair.b, cause.operation)) }
        }
        @if !cause.followed_by.is_empty() {
            (more(&counted(cause.followed_by.len(), "consequence", "consequences"), &html! {
                ul { @for op in cause.followed_by.iter().take(MOST) { li { (consequence(pair, *op)) } } }
            }))
        }
    }
}

fn consequence(pair: &Pair<'_>, op: OpId) -> Markup {
    let Some((a, b)) = pair.a.rows.get(op).zip(pair.b.rows.get(op)) else {
        return html! { "operation " (op) };
    };
    let end = |row: &Row| {
        let status = row.answer(Side::Here).map(|it| it.status.to_string());
        status.unwrap_or_else(|| row.fate.word().replace('_', " "))
    };
    html! {
        (b.command.to_string()) " " span.path { (Told(pair.b.rows.path(b))) } ": " (end(a)) " in A, "
        (end(b)) " in B (client " (b.client) ", operation " (op) ", frame " (b.frame) ")"
    }
}

/// A ratio with where it lies.
fn ratio_words(of: &Compared) -> String {
    let ratio = of.ratio.map_or("—".to_owned(), |it| format!("{it:.2} ×"));
    match of.ratio_95 {
        Some((low, high)) => format!("{ratio} ({low:.2} to {high:.2})"),
        None => ratio,
    }
}

fn slow(pair: &Pair<'_>) -> Markup {
    let p99 = |of: &Quantiles| of.p99_us.map_or("—".to_owned(), time);
    let rows: Vec<Vec<Markup>> = pair
        .times
        .iter()
        .map(|it| {
            let cells = [
                it.command.clone(),
                it.a.count.to_string(),
                it.b.count.to_string(),
                time(it.a.p50_us),
                time(it.b.p50_us),
                p99(&it.a),
                p99(&it.b),
                ratio_words(it),
            ];
            cells.into_iter().map(|cell| html! { (cell) }).collect()
        })
        .collect();
    let header = [
        "command",
        "n A",
        "n B",
        "p50 A",
        "p50 B",
        "p99 A",
        "p99 B",
        "median, B over A",
    ];
    html! {
        (table(&header, 1, &rows))
        p.small {
            @match pair.runs {
                (a, b) if a > 1 && b > 1 => "In brackets: where the ratio lies with 95 % confidence, over the runs of each side.",
                _ => "With two runs or more on each side (diff A… --against B…) the ratio comes with its confidence.",
            }
        }
        (times::curves_of(&[
            ("A", Ink::Recorded, pair.a),
            ("B", Ink::Here, pair.b),
        ]))
    }
}

/// The first difference that involves several clients, in both runs.
fn scenes(pair: &Pair<'_>) -> Markup {
    let shown = pair.diff.causes.iter().find_map(|cause| {
        let lanes = |run: &Results| scene::lanes(&run.rows, cause.operation);
        let (a, b) = (lanes(pair.a), lanes(pair.b));
        (a.is_some() || b.is_some()).then_some((cause, a, b))
    });
    html! {
        @match shown {
            None => p.good { "No difference involves more than one client." },
            Some((cause, a, b)) => {
                p { (Told(&cause.command)) " " span.path { (Told(pair.path(cause.operation))) } }
                @for (name, lanes) in [("A", a), ("B", b)] {
                    figure.scene {
                        figcaption { (name) }
                        @match lanes {
                            Some(lanes) => (lanes),
                            None => p.small { "It did not happen here, or involved one client alone." },
                        }
                    }
                }
            }
        }
    }
}
