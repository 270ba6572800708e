//! A summary as Markdown, as CI servers show it.

use crate::losses::losses;
use crate::page::{again, change, notices, word};
use crate::results::Results;
use crate::results::rows::Side;
use crate::results::tables::{Quantiles, by_command, overall};
use crate::ticket::{code, plain};

/// Differences that are listed.
const LISTED: usize = 50;

/// What the file begins with: it is not shown.
pub(crate) const MARK: &str = "<!-- smbench -->";

/// The file.
pub(super) fn of(run: &Results) -> String {
    let mut out = Vec::new();
    let capture = run
        .about
        .captures
        .first()
        .map_or("workload", String::as_str);
    out.push(MARK.to_owned());
    out.push(format!("## {}: `{}`", word(run), code(capture)));
    out.extend(notices(run).iter().map(|it| format!("\n**{}**", plain(it))));
    out.push(String::new());
    out.push(plain(&run.headline()));
    out.push(String::new());
    if run.is_of_recording() {
        funnel(run, &mut out);
    }
    if !run.thresholds.is_empty() {
        out.push(String::new());
        out.extend(
            run.thresholds
                .iter()
                .map(|it| format!("- {}", plain(&it.to_string()))),
        );
    }
    differences(run, &mut out);
    times(run, &mut out);
    out.push(String::new());
    out.push(format!("Again: `{}`", code(&again(run))));
    out.push(String::new());
    out.join("\n")
}

/// From the capture to what is as recorded, and what was lost on the way.
fn funnel(run: &Results, out: &mut Vec<String>) {
    let summary = &run.summary;
    let funnel = &summary.funnel;
    out.push("| captured | compiled | sent | answered | compared | as recorded |".to_owned());
    out.push("|---:|---:|---:|---:|---:|---:|".to_owned());
    out.push(format!(
        "| {} | {} | {} | {} | {} | {} |",
        funnel.captured,
        funnel.compiled,
        funnel.sent,
        funnel.answered,
        funnel.compared,
        funnel.as_recorded
    ));
    let losses = losses(summary);
    if !losses.is_empty() {
        out.push(String::new());
    }
    out.extend(losses.iter().map(|loss| {
        let remedy = loss.remedy.map(|it| format!(" — {it}")).unwrap_or_default();
        format!("- {}{}", plain(&loss.text), plain(&remedy))
    }));
}

fn differences(run: &Results, out: &mut Vec<String>) {
    let causes = run.causes();
    if causes.is_empty() {
        return;
    }
    out.push(String::new());
    let (before, now) = run.sides();
    out.push(format!(
        "| what | command | path | client | frame | {before} → {now} | consequences | allowed |"
    ));
    out.push("|---|---|---|---:|---:|---|---:|---|".to_owned());
    out.extend(causes.iter().take(LISTED).map(|it| {
        format!(
            "| {} | {} | `{}` | {} | {} | {} | {} | {} |",
            it.kind.words(),
            it.command,
            code(&it.path).replace('|', "\\|"),
            it.client,
            it.frame,
            plain(&change(it)),
            it.consequences,
            plain(it.allowed.as_deref().unwrap_or_default()),
        )
    }));
    if causes.len() > LISTED {
        out.push(String::new());
        out.push(format!("and {} more", causes.len() - LISTED));
    }
}

fn times(run: &Results, out: &mut Vec<String>) {
    let commands = by_command(&run.rows, true);
    let all = (
        overall(&commands, Side::Recorded),
        overall(&commands, Side::Here),
    );
    out.push(String::new());
    let (before, now) = run.sides();
    out.push(format!(
        "| command | n | p50 {before} | p50 {now} | p99 {before} | p99 {now} | max {now} |"
    ));
    out.push("|---|---:|---:|---:|---:|---:|---:|".to_owned());
    let named = commands.iter();
    let named = named.map(|it| (it.command.to_string(), &it.recorded, &it.here));
    let told = std::iter::once(("all".to_owned(), &all.0, &all.1)).chain(named);
    out.extend(told.map(|(name, recorded, here)| {
        let (recorded, here) = (Quantiles::of(recorded), Quantiles::of(here));
        let ([p50, p99, _], [here_p50, here_p99, max]) = (recorded.words(), here.words());
        format!(
            "| {name} | {} | {p50} | {here_p50} | {p99} | {here_p99} | {max} |",
            here.count
        )
    }));
}
