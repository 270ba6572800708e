//! `smbench inspect --why`: what an operation waits for, and by which rule.

use std::collections::BTreeMap;

use serde::Serialize;
use smbench_compiler::folder::FolderReader;
use smbench_core::event::Milestone;
use smbench_core::ids::OpId;
use smbench_core::workload::Operation;

use super::read;
use crate::exit::Failure;
use crate::report::{self, say};

#[derive(Serialize)]
struct Why<'a> {
    operation: &'a Operation,
    after: Vec<WhyEdge>,
}

#[derive(Serialize)]
struct WhyEdge {
    id: OpId,
    rule: &'static str,
    on: Milestone,
    inferred: bool,
    cmd: String,
    path: String,
    client: u32,
    request_frame: u64,
    response_frame: Option<u64>,
    status: Option<String>,
}

/// Explains the edges of `op`.
pub(super) fn why(folder: &FolderReader, op: OpId, json: bool) -> Result<(), Failure> {
    let operation = &find(folder, op)?;
    let mut others: BTreeMap<OpId, Option<Operation>> =
        operation.after.iter().map(|edge| (edge.id, None)).collect();
    // An edge may point to a later line.
    for other in read(folder)? {
        let other = other?;
        if let Some(slot) = others.get_mut(&other.id) {
            *slot = Some(other);
        }
    }
    let after: Vec<WhyEdge> = operation
        .after
        .iter()
        .filter_map(|edge| {
            let from = others.get(&edge.id)?.as_ref()?;
            Some(WhyEdge {
                id: edge.id,
                rule: edge.rule.name(),
                on: edge.on,
                inferred: edge.inferred,
                cmd: from.cmd.to_string(),
                path: report::path_of(from),
                client: from.client.0,
                request_frame: from.frame,
                response_frame: from.expect.as_ref().map(|expect| expect.frame),
                status: from.expect.as_ref().map(|expect| expect.status.to_string()),
            })
        })
        .collect();
    if json {
        return report::json(&Why { operation, after });
    }
    say!(
        "operation {op}: {} {} (client {}, frame {}) waits for",
        operation.cmd,
        report::path_of(operation),
        operation.client,
        operation.frame,
    );
    if operation.reconstructed {
        say!(
            "  it was not captured: packet {} tells that it was there",
            operation.frame
        );
    }
    let mut table = report::table(&[
        "operation",
        "rule",
        "until",
        "client",
        "frames",
        "command",
        "path",
    ]);
    for edge in &after {
        let until = format!("{:?}", edge.on).to_lowercase();
        let mark = if edge.inferred { " (inferred)" } else { "" };
        let answered = edge
            .response_frame
            .map_or(String::new(), |frame| format!("-{frame}"));
        table.add_row([
            edge.id.to_string(),
            format!("{}{mark}", edge.rule),
            until,
            edge.client.to_string(),
            format!("{}{answered}", edge.request_frame),
            edge.cmd.clone(),
            edge.path.clone(),
        ]);
    }
    table.print();
    Ok(())
}

fn find(folder: &FolderReader, op: OpId) -> Result<Operation, Failure> {
    for operation in read(folder)? {
        let operation = operation?;
        if operation.id == op {
            return Ok(operation);
        }
    }
    let last = folder.workload().operations.saturating_sub(1);
    Err(Failure::usage(format!("there is no operation {op}"))
        .remedy(format!("the workload's operations are 0 to {last}")))
}
