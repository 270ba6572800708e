//! Who waited on whom: lanes per client around a stall or a difference.

use maud::{Markup, PreEscaped, html};
use smbench_core::ids::OpId;

use super::Told;
use crate::report::time;
use crate::results::Results;
use crate::results::rows::{Rows, Side};
use crate::results::scenes::{ArrowKind, Scene};
use crate::stalls::Stall;

/// Most scenes on a page.
const SCENES: usize = 3;

/// What is drawn: a sentence about an operation, and which side of it.
type Subject = (String, OpId, Side);

/// The longest stalls, then the first differences, then the longest waits for a break.
pub(super) fn of(run: &Results) -> Markup {
    let mut all = stalled(&run.rows, &run.stalls, |it| match it.seen_us {
        Some(_) => Side::Here,
        None => Side::Recorded,
    });
    for finding in run.causes() {
        if all.len() >= SCENES {
            break;
        }
        // A scene of one lane shows nothing that the list does not.
        let scene = Scene::around(&run.rows, finding.operation, Side::Here);
        if scene.is_some_and(|scene| scene.lanes.len() > 1) {
            all.push((differs(finding), finding.operation, Side::Here));
        }
    }
    if all.is_empty() {
        all = waited(&run.rows, Side::Here);
    }
    drawn(
        &run.rows,
        &all,
        "Nobody: nothing stalled, no difference involves several clients, and no request waited for a break.",
    )
}

/// The longest stalls of a capture, or the longest waits for a break.
pub(super) fn of_capture(rows: &Rows, stalls: &[Stall]) -> Markup {
    let mut all = stalled(rows, stalls, |_| Side::Recorded);
    if all.is_empty() {
        all = waited(rows, Side::Recorded);
    }
    drawn(
        rows,
        &all,
        "Nobody: nothing stalled, and no request waited for a break.",
    )
}

fn stalled(rows: &Rows, stalls: &[Stall], side: impl Fn(&Stall) -> Side) -> Vec<Subject> {
    let first = stalls.iter().take(SCENES);
    first
        .map(|it| (sentence(rows, it, side(it)), it.operation, side(it)))
        .collect()
}

/// The requests that waited longest for what another client held.
fn waited(rows: &Rows, side: Side) -> Vec<Subject> {
    let mut waited: Vec<(u64, OpId, u32)> = rows
        .breaks
        .iter()
        .filter_map(|notice| {
            let (waiter, broken) = (rows.get(notice.cause?)?, rows.get(notice.op)?);
            broken.began(side)?;
            let took = waiter.answer(side)?.took_us;
            (waiter.client != broken.client).then_some((took, waiter.op, broken.client))
        })
        .collect();
    waited.sort_by_key(|(took, op, _)| (std::cmp::Reverse(*took), *op));
    waited.dedup_by_key(|(_, op, _)| *op);
    let told = waited
        .into_iter()
        .take(SCENES)
        .filter_map(|(took, op, holder)| {
            let row = rows.get(op)?;
            let (path, client, took) = (rows.path(row), row.client, time(took));
            let command = row.command.to_string();
            let why = format!("the server first broke what client {holder} held");
            Some((
                format!("{command} {path}, client {client}, {took}: {why}"),
                op,
                side,
            ))
        });
    told.collect()
}

/// A stall in a sentence.
pub(crate) fn sentence(rows: &Rows, stall: &Stall, side: Side) -> String {
    let took = match side {
        Side::Recorded => stall.recorded_us,
        Side::Here => stall.seen_us,
    };
    let Stall {
        command,
        path,
        client,
        ..
    } = stall;
    let took = took.map_or("no answer".to_owned(), time);
    let where_ = match side {
        Side::Recorded => " in the capture",
        Side::Here => "",
    };
    let path = if path.is_empty() {
        rows.get(stall.operation).map_or("", |row| rows.path(row))
    } else {
        path.as_str()
    };
    let why = stall.waited_for.as_deref();
    let why = why.map_or_else(
        || "nothing that was captured tells what it waited for".to_owned(),
        str::to_owned,
    );
    format!("{command} {path}, client {client}, {took}{where_}: {why}")
}

fn differs(finding: &crate::finding::Finding) -> String {
    format!(
        "{} {}, client {}: {}",
        finding.command,
        finding.path,
        finding.client,
        super::differences::change(finding)
    )
}

/// What happened around an operation of a run; none where it involves one client alone.
pub(super) fn lanes(rows: &Rows, op: OpId) -> Option<Markup> {
    let scene = Scene::around(rows, op, Side::Here)?;
    (scene.lanes.len() > 1).then(|| draw(rows, &scene, Side::Here))
}

fn drawn(rows: &Rows, all: &[Subject], none: &str) -> Markup {
    html! {
        @if all.is_empty() { p.good { (none) } }
        @for (sentence, op, side) in all {
            figure.scene {
                figcaption { (Told(sentence)) }
                @if let Some(scene) = Scene::around(rows, *op, *side) { (draw(rows, &scene, *side)) }
            }
        }
    }
}

const LANE: f64 = 34.0;
/// Room for the name above a bar.
const TOP: f64 = 8.0;
const LABEL: f64 = 66.0;
const WIDTH: f64 = 940.0;

/// Lanes, bars and arrows. All text is numbers and names of commands, but for the titles, which are escaped.
fn draw(rows: &Rows, scene: &Scene, side: Side) -> Markup {
    let lanes = scene.lanes.len();
    let height = TOP + LANE * lanes as f64 + 26.0;
    let span = (scene.to_us - scene.from_us).max(1) as f64;
    let x = |us: u64| {
        let share = us.saturating_sub(scene.from_us) as f64 / span;
        LABEL + share.clamp(0.0, 1.0) * (WIDTH - LABEL - 20.0)
    };
    let middle = |lane: usize| TOP + LANE * lane as f64 + LANE / 2.0;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) role="img" {
            defs {
                @for (id, class) in [("head-break", "break"), ("head-answer", "answer"), ("head-none", "none")] {
                    marker id=(id) class={ "head " (class) } viewBox="0 0 8 8" refX="7" refY="4"
                        markerWidth="7" markerHeight="7" orient="auto" { path d="M0 0 L8 4 L0 8 z" {} }
                }
            }
            @for (at, client) in scene.lanes.iter().enumerate() {
                text.lane x="0" y=(middle(at) + 4.0) { "client " (client) }
                line.lane x1=(LABEL) x2=(WIDTH) y1=(middle(at)) y2=(middle(at)) {}
            }
            @for bar in &scene.bars {
                @let from = x(bar.from_us);
                @let to = x(bar.to_us.unwrap_or(scene.to_us));
                @let class = if bar.op == scene.about { "about" } else if bar.is_event { "event" } else if bar.differs { "differs" } else { "bar" };
                g class=(class) {
                    title { (Told(&title(rows, bar.op, side))) }
                    rect x=(fixed(from)) y=(fixed(middle(bar.lane) - 7.0)) height="14" rx="2"
                        width=(fixed((to - from).max(3.0))) {}
                    @if bar.op == scene.about {
                        text x=(fixed(from)) y=(fixed(middle(bar.lane) - 10.0))
                            text-anchor=(if from > WIDTH * 0.8 { "end" } else { "start" }) {
                            @if let Some(row) = rows.get(bar.op) { (row.command.to_string()) }
                        }
                    }
                }
            }
            @for arrow in &scene.arrows {
                @let at = x(arrow.at_us);
                @let (class, head) = match arrow.kind {
                    ArrowKind::Break => ("arrow break", "url(#head-break)"),
                    ArrowKind::Answer => ("arrow answer", "url(#head-answer)"),
                    ArrowKind::NoAnswer => ("arrow none", "url(#head-none)"),
                };
                @let down = if arrow.to > arrow.from { 8.0 } else { -8.0 };
                line class=(class) marker-end=(head) x1=(fixed(at)) x2=(fixed(at))
                    y1=(fixed(middle(arrow.from) + down)) y2=(fixed(middle(arrow.to) - down)) {}
            }
            text.axis x=(LABEL) y=(height - 4.0) { (time(scene.from_us)) }
            text.axis x=(WIDTH - 4.0) y=(height - 4.0) text-anchor="end" { (time(scene.to_us)) }
        }
        p.small {
            span.swatch.about { "this operation" } span.swatch.bar { "others on the file" }
            span.swatch.break { "the server breaks what another holds" } span.swatch.answer { "the holder answers" }
            span.swatch.none { "no answer in time" }
            @if scene.left_out > 0 { " " (scene.left_out) " more operations are not drawn." }
        }
    }
}

/// A coordinate, to a tenth.
fn fixed(value: f64) -> PreEscaped<String> {
    PreEscaped(format!("{value:.1}"))
}

fn title(rows: &Rows, op: OpId, side: Side) -> String {
    let Some(row) = rows.get(op) else {
        return String::new();
    };
    let status = row.answer(side).map(|it| format!(", {}", it.status));
    let took = row.answer(side).map(|it| format!(", {}", time(it.took_us)));
    let kind = if row.is_request { "" } else { "break of " };
    format!(
        "{kind}{} {}, operation {op}, frame {}{}{}",
        row.command,
        rows.path(row),
        row.frame,
        status.unwrap_or_default(),
        took.unwrap_or_default()
    )
}
