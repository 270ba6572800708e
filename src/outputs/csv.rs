//! An operation a line.

use smbench_core::event::Lateness;

use crate::exit::{Failure, OrFail};
use crate::results::Results;
use crate::results::rows::{Answer, Fate, Row};
use crate::terminal::printable;

const HEADER: [&str; 20] = [
    "operation",
    "client",
    "share",
    "path",
    "command",
    "frame",
    "response_frame",
    "reconstructed",
    "recorded_at_us",
    "recorded_status",
    "recorded_us",
    "began_us",
    "status",
    "took_us",
    "bytes",
    "late_us",
    "late_mostly_by",
    "fate",
    "why",
    "cause",
];

/// The file.
pub(super) fn of(run: &Results) -> Result<String, Failure> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let context = "cannot write CSV";
    out.write_record(HEADER).or_defect(context)?;
    let number = |it: Option<u64>| it.map(|it| it.to_string()).unwrap_or_default();
    let status = |it: Option<&Answer>| it.map(|it| it.status.to_string()).unwrap_or_default();
    for row in run.rows.iter() {
        let (recorded, seen) = (row.recorded.as_ref(), row.seen.as_ref());
        let cause = match row.fate {
            Fate::Consequence(cause) => cause.to_string(),
            _ => String::new(),
        };
        let late = row.began_us.map(|_| row.late.total_ns() / 1_000);
        let record = [
            row.op.to_string(),
            row.client.to_string(),
            printable(run.rows.share(row)).into_owned(),
            printable(run.rows.path(row)).into_owned(),
            row.command.to_string(),
            row.frame.to_string(),
            number(Some(row.response_frame).filter(|it| *it > 0)),
            row.reconstructed.to_string(),
            row.at_us.to_string(),
            status(recorded),
            number(recorded.map(|it| it.took_us)),
            number(row.began_us),
            status(seen),
            number(seen.map(|it| it.took_us)),
            number(seen.map(|it| it.moved)),
            number(late),
            late.map(|_| mostly(&row.late))
                .unwrap_or_default()
                .to_owned(),
            fate(row).to_owned(),
            row.fate.why(),
            cause,
        ];
        out.write_record(&record).or_defect(context)?;
    }
    let bytes = out
        .into_inner()
        .map_err(|it| it.into_error())
        .or_defect(context)?;
    String::from_utf8(bytes).or_defect(context)
}

/// What became of it: nothing is as recorded of which nothing was.
fn fate(row: &Row) -> &'static str {
    match (row.fate, &row.recorded) {
        (Fate::AsRecorded, None) if row.is_request => "answered",
        (fate, _) => fate.word(),
    }
}

/// What a request mostly waited for before it went out.
fn mostly(late: &Lateness) -> &'static str {
    let causes = late.by_cause().into_iter().filter(|(_, ns)| *ns > 0);
    causes
        .max_by_key(|(_, ns)| *ns)
        .map_or("", |(name, _)| name)
}
