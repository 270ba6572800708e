//! `smbench inspect`: what a workload holds, and why it is ordered as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use smbench_core::event::Milestone;
use smbench_core::ids::OpId;
use smbench_core::workload::{Action, Operation, Workload};

use crate::exit::{Failure, Outcome, Verdict};
use crate::load::Loaded;
use crate::report::{self, say};

/// What a workload holds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Explain what this operation waits for
    #[arg(long, value_name = "OP")]
    why: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The machine-readable contract of `compile` and `inspect`.
#[derive(Serialize)]
pub(crate) struct Overview<'a> {
    format: u32,
    captures: Vec<&'a str>,
    packets: u64,
    frames: u64,
    requests_seen: u64,
    operations: u64,
    events: u64,
    responses: u64,
    by_command: &'a BTreeMap<String, u64>,
    reencoded_exact: u64,
    reencoded_total: u64,
    skipped: &'a BTreeMap<String, u64>,
    inferred: &'a BTreeMap<String, u64>,
    problems: &'a BTreeMap<String, u64>,
    clients: usize,
    connections: usize,
    sessions: usize,
    trees: usize,
    files: u32,
    edges: &'a BTreeMap<String, u64>,
    duration_us: u64,
}

impl<'a> Overview<'a> {
    /// Of a workload; `duration_us` is how long it took to make or to read.
    pub(crate) fn new(workload: &'a Workload, duration_us: u64) -> Self {
        let coverage = &workload.coverage;
        let requests: u64 = coverage.by_command.values().sum();
        Self {
            format: workload.format,
            captures: workload
                .provenance
                .captures
                .iter()
                .map(|it| it.name.as_str())
                .collect(),
            packets: coverage.packets,
            frames: coverage.frames,
            requests_seen: coverage.requests_seen,
            operations: requests,
            events: workload.operations.saturating_sub(requests),
            responses: coverage.responses,
            by_command: &coverage.by_command,
            reencoded_exact: coverage.reencoded_exact,
            reencoded_total: coverage.reencoded_total,
            skipped: &coverage.skipped,
            inferred: &coverage.inferred,
            problems: &coverage.problems,
            clients: workload.clients.len(),
            connections: workload.connections.len(),
            sessions: workload.sessions.len(),
            trees: workload.trees.len(),
            files: workload.opens,
            edges: &coverage.edges,
            duration_us,
        }
    }

    /// For people.
    pub(crate) fn print(&self, dir: &Path) {
        let dir = dir.display();
        say!("workload {dir} (format {})", self.format);
        say!(
            "  {} packets -> {} SMB frames -> {} requests, {} responses -> {} operations, {} events",
            self.packets,
            self.frames,
            self.requests_seen,
            self.responses,
            self.operations,
            self.events,
        );
        say!(
            "  {} clients, {} connections, {} sessions, {} trees, {} opens",
            self.clients,
            self.connections,
            self.sessions,
            self.trees,
            self.files,
        );
        say!(
            "  {} of {} complete requests come back byte for byte",
            self.reencoded_exact,
            self.reencoded_total,
        );
        let mut commands = report::table(&["command", "operations"]);
        for (command, count) in self.by_command {
            commands.add_row([command.clone(), count.to_string()]);
        }
        say!("{commands}");
        counted("order edges by rule", self.edges);
        counted("skipped", self.skipped);
        counted("inferred", self.inferred);
        counted("problems", self.problems);
        say!("next: smbench sim {dir} --seed 1");
        say!("  or: smbench replay {dir} --prepare --server HOST --share NAME --password-file F");
    }
}

fn counted(title: &str, counts: &BTreeMap<String, u64>) {
    let shown: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if !shown.is_empty() {
        say!("  {title}: {}", shown.join(", "));
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let begun = std::time::Instant::now();
    let loaded = Loaded::open(&args.dir)?;
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    match args.why {
        Some(op) => why(&loaded.operations, OpId(op), args.json)?,
        None if args.json => report::json(&Overview::new(&loaded.workload, duration_us))?,
        None => {
            Overview::new(&loaded.workload, duration_us).print(&args.dir);
            answers(&loaded.operations);
        }
    }
    Ok(Verdict::Same)
}

fn answers(operations: &[Operation]) {
    let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
    let mut paths: BTreeMap<String, u64> = BTreeMap::new();
    for operation in operations {
        if let Some(expect) = &operation.expect {
            *by_status.entry(expect.status.to_string()).or_default() += 1;
        }
        let path = report::path_of(operation);
        if matches!(operation.action, Action::Request(_)) && !path.is_empty() {
            *paths.entry(path).or_default() += 1;
        }
    }
    let mut table = report::table(&["answered with", "operations"]);
    for (status, count) in by_status {
        table.add_row([status, count.to_string()]);
    }
    say!("{table}");
    let mut hot: Vec<(u64, String)> = paths.into_iter().map(|(path, n)| (n, path)).collect();
    hot.sort_by(|a, b| b.cmp(a));
    let mut table = report::table(&["hottest names", "operations"]);
    for (count, path) in hot.into_iter().take(10) {
        table.add_row([path, count.to_string()]);
    }
    say!("{table}");
}

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

fn why(operations: &[Operation], op: OpId, json: bool) -> Result<(), Failure> {
    let operation = operations.get(op.index()).ok_or_else(|| {
        let last = operations.len().saturating_sub(1);
        Failure::usage(format!("there is no operation {op}"))
            .remedy(format!("the workload's operations are 0 to {last}"))
    })?;
    let after: Vec<WhyEdge> = operation
        .after
        .iter()
        .filter_map(|edge| {
            let from = operations.get(edge.id.index())?;
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
    say!("{table}");
    Ok(())
}
