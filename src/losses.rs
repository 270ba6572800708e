//! Where requests were lost between the capture and what is as recorded, and what would help.

use crate::tally::Summary;

/// Requests that did not come as far as they could have.
pub(crate) struct Loss {
    /// What became of how many, in words.
    pub(crate) text: String,
    /// What would help, where something would.
    pub(crate) remedy: Option<&'static str>,
}

/// All losses of a run, in the order of the funnel.
pub(crate) fn losses(summary: &Summary) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut lose = |text: String, remedy| losses.push(Loss { text, remedy });
    let funnel = &summary.funnel;
    if funnel.captured > funnel.compiled {
        let lost = funnel.captured - funnel.compiled;
        let remedy = "smbench inspect DIR says what of the capture was not used, and why";
        lose(format!("not compiled: {lost}"), Some(remedy));
    }
    if funnel.reconstructed > 0 {
        let made = funnel.reconstructed;
        let text = format!("besides: {made} that were not captured set up what others use");
        lose(text, None);
    }
    if funnel.sealed > 0 {
        let sealed = funnel.sealed;
        let remedy = "compile again with session keys or passwords: smbench compile --help";
        lose(
            format!("not compiled: about {sealed} that stayed encrypted"),
            Some(remedy),
        );
    }
    for (why, count) in &summary.skipped {
        lose(format!("not sent: {count} {}", skipped_words(why)), None);
    }
    for (why, count) in &summary.refused {
        let text = format!("not sent: {count} refused ({})", why.replace('_', " "));
        lose(text, lifted_by(why));
    }
    if summary.refused_consequences > 0 {
        let count = summary.refused_consequences;
        lose(
            format!("not sent: {count} that mean nothing without those"),
            None,
        );
    }
    if summary.cascaded > 0 {
        let count = summary.cascaded;
        lose(
            format!("not sent: {count} consequences of what differed"),
            Some("look at the causes first: these follow"),
        );
    }
    if summary.unanswered > 0 {
        let remedy = "the server was silent: --timeout says how long an answer may take";
        lose(
            format!("not answered: {}", summary.unanswered),
            Some(remedy),
        );
    }
    if funnel.copied > 0 {
        let copied = funnel.copied;
        let text = format!(
            "not compared: {copied} on pipes, which the model answers as they were recorded"
        );
        lose(text, None);
    }
    if funnel.uncomputed > 0 {
        let copied = funnel.uncomputed;
        let text = format!(
            "not compared: {copied} that the model does not compute: it answers them as they were recorded"
        );
        lose(text, Some("replay them onto a server"));
    }
    let without = funnel.answered - funnel.compared - funnel.copied - funnel.uncomputed;
    if without > 0 {
        lose(
            format!("not compared: {without} without a recorded answer"),
            None,
        );
    }
    if summary.stray > 0 {
        lose(
            format!("{} responses belong to no request", summary.stray),
            None,
        );
    }
    if summary.unwanted > 0 {
        let unwanted = summary.unwanted;
        let text =
            format!("{unwanted} more frames belong to nothing: they were counted, not recorded");
        lose(text, None);
    }
    losses
}

/// The flag that sends what was refused, where there is one.
fn lifted_by(why: &str) -> Option<&'static str> {
    Some(match why {
        "rpc_call" => "--pipes all sends them, also those that change something",
        "volume" => "--volume-changes sends them",
        "printer" => "--printers sends them",
        "password" => "--wrong-passwords all sends them; accounts may be locked out",
        "name" | "class" | "fsctl" => "no flag: they would reach what lies outside the root",
        "rpc_auth" => "no flag: recorded authentication means nothing here",
        _ => return None,
    })
}

/// Why operations were left out, in plain words.
fn skipped_words(why: &str) -> &str {
    match why {
        "not_captured" => "whose set-up was not captured",
        "absorbed" => "legs of logins that this run did not need",
        "withheld" => "acknowledgements, as asked for",
        "stopped" => "whose turn did not come",
        "ended" => "whose connection had ended",
        other => other,
    }
}
