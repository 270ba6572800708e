//! What of a capture cannot be replayed, in words, with what helps.

use smbench_core::workload::Workload;

/// What a workload lacks of its capture; nothing where nothing is lacking.
pub(crate) fn lacks(workload: &Workload) -> Vec<String> {
    let coverage = &workload.coverage;
    let mut told = Vec::new();
    let sealed: Vec<(&str, u64)> = coverage
        .skipped
        .iter()
        .filter_map(|(why, count)| Some((why.strip_prefix("encrypted, session ")?, *count)))
        .collect();
    if !sealed.is_empty() {
        let messages: u64 = sealed.iter().map(|(_, count)| count).sum();
        let mut names: Vec<&str> = sealed.iter().take(SHOWN).map(|(name, _)| *name).collect();
        if sealed.len() > SHOWN {
            names.push("...");
        }
        told.push(format!(
            "{} encrypted sessions stay closed ({}; {messages} messages): compile with --keys or \
             --password-file. Ask the sender for the sessions' keys (Samba logs them with `debug \
             encryption = yes`), or for the users' passwords",
            sealed.len(),
            names.join(", "),
        ));
    }
    let requests = coverage.requests();
    if requests == 0 && coverage.responses > 0 {
        told.push("only what the server sent was captured: capture both directions".to_owned());
    } else if requests > 0 && coverage.responses == 0 {
        told.push(
            "only what clients sent was captured: capture both directions. Nothing can be compared"
                .to_owned(),
        );
    } else if requests == 0 && sealed.is_empty() {
        told.push("it holds no SMB2 request: nothing can be replayed".to_owned());
    }
    let inferred = |kind: &str| coverage.inferred.get(kind).copied().unwrap_or(0);
    let begun = [
        ("sessions", inferred("sessions")),
        ("trees", inferred("trees")),
        ("opens", inferred("opens")),
    ];
    let begun: Vec<String> = begun
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !begun.is_empty() {
        told.push(format!(
            "it begins in the middle: {} were set up before, and what uses them is not sent",
            begun.join(", "),
        ));
    }
    told
}

const SHOWN: usize = 4;
