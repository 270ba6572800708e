//! How much was compared, and what it comes to.

use maud::{Markup, html};

use super::{Told, counted};
use crate::finding::Kind;
use crate::losses::losses;
use crate::report::verdict_lines;
use crate::results::Results;
use crate::verdict::Judgement;

/// The verdict in a word or two.
pub(crate) fn word(run: &Results) -> &'static str {
    match run.summary.judgement {
        Judgement::AsRecorded if run.about.verb == "prepare" => "prepared",
        Judgement::AsRecorded if run.summary.allowed > 0 => "as recorded, but for what is allowed",
        Judgement::AsRecorded => "as recorded",
        Judgement::Environment => "as recorded, but for the environment",
        Judgement::Diverged => "diverged",
        Judgement::Inconclusive(_) => "no verdict",
    }
}

/// What whoever reads the verdict must know.
pub(crate) fn notices(run: &Results) -> Vec<String> {
    let mut notices = run.cautions.clone();
    if run.about.guests > 0 {
        let guests = usize::try_from(run.about.guests).unwrap_or(usize::MAX);
        notices.push(format!(
            "{} let in as guest or anonymously",
            counted(guests, "session was", "sessions were")
        ));
    }
    if let Some(lenient) = run.lenient {
        notices.push(lenient.to_owned());
    }
    notices
}

/// What it comes to, in one sentence.
pub(super) fn verdict(run: &Results) -> Markup {
    let summary = &run.summary;
    html! {
        p class={ "verdict " (summary.verdict) } {
            span class={ "badge " (summary.verdict) } { (word(run)) }
            " " (Told(&sentence(run)))
        }
        @if !run.stalls.is_empty() {
            p.warn {
                (counted(run.stalls.len(), "operation", "operations"))
                " took over 1 s and ten times the median of their command, in the capture or here: "
                "who waits on whom is below."
            }
        }
        @for notice in notices(run) { p.bad { (Told(&notice)) } }
        p.small { (Told(&verdict_lines(summary).join(" "))) }
    }
}

/// Whether it is the server.
pub(crate) fn sentence(run: &Results) -> String {
    let summary = &run.summary;
    let compared = summary.funnel.compared;
    let where_ = match run.about.is_simulation() {
        true => "The model server".to_owned(),
        false => run.about.server.clone(),
    };
    match &summary.judgement {
        Judgement::AsRecorded if run.about.verb == "prepare" => {
            format!(
                "{where_} made what was to be made, in {} requests.",
                summary.funnel.answered
            )
        }
        Judgement::AsRecorded if summary.allowed > 0 => format!(
            "{where_} answered as the recorded server did, but for {} allowed {}.",
            summary.allowed,
            if summary.allowed == 1 {
                "difference"
            } else {
                "differences"
            }
        ),
        Judgement::AsRecorded => format!(
            "{where_} answered all {compared} requests that were compared as the recorded server did."
        ),
        Judgement::Environment => {
            let count = summary.found.get(&Kind::Environment).copied().unwrap_or(0);
            format!(
                "{where_} answered as the recorded server did, but for {count} answers that depend on identity, \
                 rights or services."
            )
        }
        Judgement::Diverged => {
            let causes = run.causes();
            let behaviour = causes.iter().filter(|it| it.kind != Kind::Environment);
            let count = behaviour.count();
            match count {
                0 => format!(
                    "{where_} sent what belongs to no request, or did not let follow what the recording has."
                ),
                count => format!(
                    "{where_} answered otherwise than the recorded server in {}.",
                    counted(count, "place", "places")
                ),
            }
        }
        Judgement::Inconclusive(_) => format!(
            "Too little was compared to say how this server behaves: {compared} answers of {} captured requests.",
            summary.funnel.captured
        ),
    }
}

/// From the capture to what is as recorded.
pub(super) fn funnel(run: &Results) -> Markup {
    let funnel = &run.summary.funnel;
    let steps = [
        ("captured", funnel.captured),
        ("compiled", funnel.compiled),
        ("sent", funnel.sent),
        ("answered", funnel.answered),
        ("compared", funnel.compared),
        ("as recorded", funnel.as_recorded),
    ];
    let all = funnel.captured.max(1) as f64;
    let losses = losses(&run.summary);
    html! {
        div.funnel {
            @for (name, count) in steps {
                span.name { (name) }
                span.bar { span style={ "width:" (format!("{:.1}", count as f64 / all * 100.0)) "%" } {} }
                span.count data-step=(name) { (count) }
            }
        }
        @if !run.thresholds.is_empty() {
            ul.thresholds {
                @for checked in &run.thresholds {
                    li class=(if checked.holds { "good" } else { "bad" }) { (Told(&checked.to_string())) }
                }
            }
        }
        @if !losses.is_empty() {
            ul.losses {
                @for loss in &losses {
                    li {
                        (Told(&loss.text))
                        @if let Some(remedy) = loss.remedy { span.remedy { " — " (remedy) } }
                    }
                }
            }
        }
    }
}
