//! Answer times, the slowest operations, how time went, and what lateness was due to.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use maud::{Markup, html};
use smbench_core::event::Lateness;
use smbench_core::ids::OpId;
use smbench_core::smb2::Command;

use super::charts::{Chart, Ink, Line, Mark};
use super::{Told, table};
use crate::report::time;
use crate::results::Results;
use crate::results::rows::{Answer, Rows, Side};
use crate::results::tables::{
    CommandTimes, Course, ENOUGH_FOR_P99, Quantiles, Slice, by_command, overall, slowest,
};
use crate::stalls::Stall;

/// How many of the slowest are shown.
const SLOWEST: usize = 20;
/// Points of a chart along its time.
const SLICES: u64 = 100;

/// Answer times by command, and the slowest.
pub(super) fn slow(run: &Results) -> Markup {
    let commands = by_command(&run.rows, true);
    html! {
        (quantiles(&commands))
        (curves(&commands, &[Side::Recorded, Side::Here]))
        (the_slowest(&run.rows, Side::Here, &run.stalls))
    }
}

/// Answer times of a capture alone.
pub(super) fn slow_recorded(rows: &Rows, stalls: &[Stall]) -> Markup {
    let commands = by_command(rows, false);
    html! {
        (quantiles_of(&commands, Side::Recorded))
        (curves(&commands, &[Side::Recorded]))
        (the_slowest(rows, Side::Recorded, stalls))
    }
}

/// How many times as long; nothing where nothing can be said.
fn ratio(recorded: Option<u64>, here: Option<u64>) -> String {
    match (recorded, here) {
        (Some(recorded), Some(here)) if recorded > 0 => {
            format!("{:.2} ×", here as f64 / recorded as f64)
        }
        _ => "—".to_owned(),
    }
}

fn quantiles(commands: &[CommandTimes]) -> Markup {
    let row = |name: String, recorded: &Histogram<u64>, here: &Histogram<u64>| {
        let (recorded, here) = (Quantiles::of(recorded), Quantiles::of(here));
        let ([p50, p99, max], [here_p50, here_p99, here_max]) = (recorded.words(), here.words());
        let some = |of: &Quantiles| Some(of.p50_us).filter(|_| of.count > 0);
        let cells = [
            here.count.to_string(),
            p50,
            here_p50,
            ratio(some(&recorded), some(&here)),
            p99,
            here_p99,
            ratio(recorded.p99_us, here.p99_us),
            max,
            here_max,
        ];
        let name = std::iter::once(html! { (name) });
        name.chain(cells.map(|cell| html! { (cell) })).collect()
    };
    let mut rows: Vec<Vec<Markup>> = commands
        .iter()
        .map(|it| row(it.command.to_string(), &it.recorded, &it.here))
        .collect();
    let all = (
        overall(commands, Side::Recorded),
        overall(commands, Side::Here),
    );
    rows.push(row("all".to_owned(), &all.0, &all.1));
    let header = [
        "command",
        "n",
        "p50 recorded",
        "here",
        "ratio",
        "p99 recorded",
        "here",
        "ratio",
        "max recorded",
        "here",
    ];
    html! {
        (table(&header, 1, &rows))
        p.small {
            "Only operations answered on both sides. No p99 below " (ENOUGH_FOR_P99)
            " answers. CHANGE_NOTIFY, which is answered when something happens, is not in “all”."
        }
    }
}

fn quantiles_of(commands: &[CommandTimes], side: Side) -> Markup {
    let rows: Vec<Vec<Markup>> = commands
        .iter()
        .map(|it| {
            let of = Quantiles::of(it.side(side));
            let [p50, p99, max] = of.words();
            let cells = [it.command.to_string(), of.count.to_string(), p50, p99, max];
            cells.into_iter().map(|cell| html! { (cell) }).collect()
        })
        .collect();
    table(&["command", "n", "p50", "p99", "max"], 1, &rows)
}

/// Quantile for quantile, recorded and here.
fn curves(commands: &[CommandTimes], sides: &[Side]) -> Markup {
    let lines = sides.iter().map(|side| match side {
        Side::Recorded => curve("recorded", Ink::Recorded, &overall(commands, *side)),
        Side::Here => curve("here", Ink::Here, &overall(commands, *side)),
    });
    by_percentile(&lines.collect::<Vec<_>>())
}

/// Quantile for quantile, of several runs.
pub(super) fn curves_of(runs: &[(&'static str, Ink, &Results)]) -> Markup {
    let lines = runs.iter().map(|(name, ink, run)| {
        let commands = by_command(&run.rows, true);
        curve(name, *ink, &overall(&commands, Side::Here))
    });
    by_percentile(&lines.collect::<Vec<_>>())
}

fn curve(name: &'static str, ink: Ink, times: &Histogram<u64>) -> Line {
    let points = (0..=100).map(|at| {
        let quantile = f64::from(at) / 100.0;
        (f64::from(at), times.value_at_quantile(quantile) as f64)
    });
    Line {
        name,
        ink,
        points: if times.is_empty() {
            Vec::new()
        } else {
            points.collect()
        },
    }
}

fn by_percentile(lines: &[Line]) -> Markup {
    let chart = Chart {
        lines,
        marks: &[],
        x_label: |x| format!("{x:.0} %"),
        y_label: micros,
        log: true,
    };
    figure(
        "Answer time by percentile (logarithmic)",
        lines,
        &[],
        &chart,
    )
}

fn figure(title: &str, lines: &[Line], marks: &[(&str, Ink)], chart: &Chart<'_>) -> Markup {
    html! {
        figure {
            figcaption {
                (title)
                @if lines.len() > 1 || !marks.is_empty() {
                    @for line in lines { span class={ "swatch " (line.ink.class()) } { (line.name) } }
                    @for (name, ink) in marks { span class={ "swatch " (ink.class()) } { (name) } }
                }
            }
            (chart.draw())
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "labels of an axis, which begins at 0; more than fits is the most that fits"
)]
fn micros(us: f64) -> String {
    time(us as u64)
}

fn the_slowest(rows: &Rows, side: Side, stalls: &[Stall]) -> Markup {
    let waits: BTreeMap<OpId, &str> = stalls
        .iter()
        .filter_map(|it| Some((it.operation, it.waited_for.as_deref()?)))
        .collect();
    let shown = slowest(rows, side, SLOWEST);
    let took = |answer: Option<&Answer>| answer.map_or("—".to_owned(), |it| time(it.took_us));
    let cells: Vec<Vec<Markup>> = shown
        .iter()
        .map(|row| {
            let waited = waits.get(&row.op).copied().unwrap_or_default();
            let mut cells = vec![
                html! { (row.command.to_string()) },
                html! { span.path { (Told(rows.path(row))) } },
                html! { (Told(waited)) },
                html! { (row.client) },
                html! { (row.frame) },
                html! { (took(row.recorded.as_ref())) },
            ];
            if side == Side::Here {
                cells.push(html! { (took(row.seen.as_ref())) });
                cells.push(html! { (late_words(&row.late)) });
            }
            cells
        })
        .collect();
    let mut header = vec![
        "command",
        "path",
        "waited for",
        "client",
        "frame",
        "recorded",
    ];
    if side == Side::Here {
        header.extend(["here", "went out late by"]);
    }
    super::more(
        &format!("The {} slowest operations", shown.len()),
        &table(&header, 3, &cells),
    )
}

/// How much later than planned a request went out, and mostly why.
fn late_words(late: &Lateness) -> String {
    let worst = late.by_cause().into_iter().max_by_key(|(_, ns)| *ns);
    match worst {
        Some((why, _)) if late.total_ns() >= 1_000_000 => {
            format!("{} ({why})", time(late.total_ns() / 1_000))
        }
        _ => "—".to_owned(),
    }
}

/// Rates, answer times and requests in flight over time.
pub(super) fn when(run: &Results) -> Markup {
    let closed = run.rows.closed.iter().map(|(us, _)| *us);
    html! {
        (course(&run.rows, Side::Here, closed.collect()))
        (super::more("The capture's own course", &course(&run.rows, Side::Recorded, Vec::new())))
    }
}

/// The same of a side.
pub(super) fn course(rows: &Rows, side: Side, closed: Vec<u64>) -> Markup {
    let course = Course::of(rows, side, SLICES);
    let seconds = course.slice_us as f64 / 1e6;
    let at = |us: u64| us.saturating_sub(course.from_us) as f64 / 1e6;
    let points = |of: &dyn Fn(&Slice) -> f64| -> Vec<(f64, f64)> {
        let slices = course.slices.iter().zip(0_u32..);
        slices
            .map(|(slice, number)| ((f64::from(number) + 0.5) * seconds, of(slice)))
            .collect()
    };
    let breaks = rows
        .breaks
        .iter()
        .filter_map(|it| rows.get(it.op)?.began(side));
    let stalls = rows.iter().filter(|it| {
        let stalled = it.answer(side).is_some_and(|it| it.took_us > LONG_US);
        stalled && it.command != Command::CHANGE_NOTIFY
    });
    let stalls = stalls.filter_map(|it| it.began(side));
    let mark = |ink: Ink| move |us: u64| Mark { at: at(us), ink };
    let marks: Vec<Mark> = breaks
        .take(MARKS)
        .map(mark(Ink::Third))
        .chain(closed.into_iter().take(MARKS).map(mark(Ink::Fifth)))
        .chain(stalls.take(MARKS).map(mark(Ink::Fourth)))
        .collect();
    let legend = [
        ("break", Ink::Third),
        ("connection ended", Ink::Fifth),
        ("request that took over 1 s", Ink::Fourth),
    ];
    let one = |name, points| {
        [Line {
            name,
            ink: Ink::Here,
            points,
        }]
    };
    let rate = one("answers/s", points(&|it| it.answers as f64 / seconds));
    let moved = one("MB/s", points(&|it| it.moved as f64 / 1e6 / seconds));
    let in_flight = one("in flight", points(&|it| it.in_flight as f64));
    let quantile = |of: f64| {
        points(&|it| it.times.value_at_quantile(of) as f64)
            .into_iter()
            .filter(|(_, us)| *us > 0.0)
            .collect()
    };
    let times = [
        Line {
            name: "p50",
            ink: Ink::Here,
            points: quantile(0.5),
        },
        Line {
            name: "p99",
            ink: Ink::Third,
            points: quantile(0.99),
        },
    ];
    let chart = |lines: &[Line], title, y_label: fn(f64) -> String, marked: bool| {
        let chart = Chart {
            lines,
            marks: if marked { &marks } else { &[] },
            x_label: |x| format!("{x:.1} s"),
            y_label,
            log: false,
        };
        let legend: &[(&str, Ink)] = if marked && !marks.is_empty() {
            &legend
        } else {
            &[]
        };
        figure(title, lines, legend, &chart)
    };
    html! {
        div.charts {
            (chart(&rate, "Answers per second", |y| format!("{y:.0}"), true))
            (chart(&moved, "READ and WRITE, MB/s", |y| format!("{y:.1}"), false))
            (chart(&times, "Answer time", micros, false))
            (chart(&in_flight, "Requests in flight, most at once", |y| format!("{y:.0}"), false))
        }
    }
}

/// Most marks of a kind in a chart.
const MARKS: usize = 200;
/// A request that takes longer stalls.
const LONG_US: u64 = 1_000_000;

/// What lateness was due to, over time.
pub(super) fn late(run: &Results) -> Markup {
    let late = &run.summary.late_by;
    let sums = [
        (
            "order: others had to come first",
            late.causality,
            Ink::Recorded,
        ),
        ("credits", late.credits, Ink::Third),
        ("server: connection, login", late.server, Ink::Here),
        ("the replayer itself", late.replayer, Ink::Fifth),
        ("breaks that did not come", late.breaks, Ink::Fourth),
    ];
    let course = Course::of(&run.rows, Side::Here, SLICES);
    let seconds = course.slice_us as f64 / 1e6;
    let lines: Vec<Line> = sums
        .iter()
        .enumerate()
        .map(|(at, (name, _, ink))| {
            let of = |slice: &Slice| {
                let ns = slice.late.by_cause().get(at).map_or(0, |(_, ns)| *ns);
                ns as f64 / 1e3 / slice.started.max(1) as f64
            };
            let points = course.slices.iter().zip(0_u32..);
            Line {
                name,
                ink: *ink,
                points: points
                    .map(|(slice, number)| ((f64::from(number) + 0.5) * seconds, of(slice)))
                    .collect(),
            }
        })
        .collect();
    let rows: Vec<Vec<Markup>> = sums
        .iter()
        .map(|(name, us, _)| vec![html! { (name) }, html! { (time(*us)) }])
        .collect();
    html! {
        p {
            "Requests went out later than planned by " (time(run.summary.late_us.p50)) " in the median and "
            (time(run.summary.late_us.p99)) " at the 99th percentile."
        }
        div.charts {
            (table(&["late, summed over all requests", ""], 1, &rows))
            (figure("Lateness of a request, mean", &lines, &[], &Chart {
                lines: &lines,
                marks: &[],
                x_label: |x| format!("{x:.1} s"),
                y_label: micros,
                log: false,
            }))
        }
    }
}
