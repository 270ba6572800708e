//! The page of a run, or of several.

use maud::{Markup, html};

use super::{Told, counted, differences, document, loads, more, scene, section, times, trust};
use crate::facts;
use crate::results::Results;
use crate::results::about::About;

/// A page of all `runs`, one after the other.
pub(crate) fn of_runs(runs: &[Results]) -> String {
    let title = match runs {
        [one] => title(&one.about),
        several => counted(several.len(), "run", "runs"),
    };
    let body = html! {
        @if runs.len() > 1 { (contents(runs)) }
        @for (at, run) in runs.iter().enumerate() {
            (of_run(run, if runs.len() > 1 { Some(at + 1) } else { None }))
        }
        footer {
            "SMBench " (env!("CARGO_PKG_VERSION")) ". Times of the run are those that the replayer saw: from the "
            "request to the final response."
        }
    };
    document(&format!("{title} — SMBench"), &body).into_string()
}

fn title(about: &About) -> String {
    let capture = about.captures.first().map_or("workload", String::as_str);
    match about.is_simulation() {
        true => format!("{capture} simulated"),
        false => format!("{capture} on {}", about.server),
    }
}

/// Several runs at a glance.
fn contents(runs: &[Results]) -> Markup {
    let rows: Vec<Vec<Markup>> = runs
        .iter()
        .enumerate()
        .map(|(at, run)| {
            let number = at + 1;
            vec![
                html! { a href={ "#run-" (number) } { (Told(&title(&run.about))) } },
                html! { (run.about.started_at) },
                html! { span class={ "badge " (run.summary.verdict) } { (trust::word(run)) } },
                html! { (run.summary.funnel.compared) },
                html! { (run.summary.diverged.values().sum::<u64>()) },
                html! { (crate::report::time(run.summary.latency_us.p99)) },
            ]
        })
        .collect();
    let header = ["run", "begun", "verdict", "compared", "differences", "p99"];
    html! { nav { h1 { "Runs" } (super::table(&header, 3, &rows)) } }
}

fn of_run(run: &Results, number: Option<usize>) -> Markup {
    // Where several runs are on a page, their sections have names of their own.
    let id = |name: &str| number.map_or(name.to_owned(), |number| format!("{name}-{number}"));
    html! {
        article id=[number.map(|it| format!("run-{it}"))] {
            header {
                h1 { (Told(&title(&run.about))) }
                (trust::verdict(run))
            }
            (section(&id("trust"), "Can I trust it?", &trust::funnel(run)))
            (section(&id("what"), "What ran?", &what(run)))
            (section(&id("differences"), "Which answers differ?", &differences::of(run)))
            (section(&id("slow"), "Is it slow?", &times::slow(run)))
            (section(&id("when"), "When?", &times::when(run)))
            (section(&id("waits"), "Who waits on whom?", &scene::of(run)))
            (section(&id("late"), "Server or replayer?", &times::late(run)))
            (section(&id("loads"), "Whose work was it?", &loads::of(run)))
        }
    }
}

/// What ran: server, protocol, identity, versions, settings.
fn what(run: &Results) -> Markup {
    let about = &run.about;
    let captures = about.captures.join(", ");
    let fact = |name: &str, value: &str| {
        html! { @if !value.is_empty() { dt { (name) } dd { (Told(value)) } } }
    };
    let workload = about.workload.get(..16).unwrap_or(&about.workload);
    let versions: Vec<String> = about
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    html! {
        dl.facts {
            (fact("capture", &captures))
            (fact("captured", &about.captured_at))
            (fact("server", &about.server))
            (fact("run", &about.started_at))
            (fact("root", about.root.as_deref().unwrap_or_default()))
            @for (name, value) in &about.protocol { (fact(name, value)) }
            (fact("users", &about.users))
            @if about.guests > 0 {
                dt { "identity" }
                dd.bad {
                    (counted(usize::try_from(about.guests).unwrap_or(usize::MAX), "session", "sessions"))
                    " let in as guest or anonymously: a server may answer others otherwise"
                }
            }
            (fact("versions", &versions.join(", ")))
            (fact("workload", workload))
            (fact("effects", &run.summary.effects_digest))
            (fact("journal", &run.summary.journal))
        }
        p { "Again: " code { (Told(&again(run))) } }
        (more("All settings", &html! {
            dl.facts { @for (name, value) in &about.settings { (fact(name, value)) } }
        }))
    }
}

/// The command that repeats a run.
pub(crate) fn again(run: &Results) -> String {
    match &run.about.command {
        Some(command) => command.clone(),
        None => format!("smbench rerun {}", facts::quoted(&run.summary.journal)),
    }
}
