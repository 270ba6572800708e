//! `smbench inspect --dot`: the order graph of a slice, for Graphviz.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use smbench_compiler::folder::FolderReader;
use smbench_compiler::slice::{Filters, Reason, Selection, SliceOptions};
use smbench_core::event::Milestone;
use smbench_core::workload::{Action, Edge, Operation, Workload};

use crate::cli::slice::explain;
use crate::exit::{Failure, OrFail};
use crate::report::{self, say};
use crate::terminal::printable;

/// Prints the graph of what `filters` mean, with at most `limit` operations.
pub(super) fn print(
    folder: &FolderReader,
    filters: Filters,
    causes: bool,
    limit: usize,
) -> Result<(), Failure> {
    let options = SliceOptions {
        filters,
        causes,
        keep_times: true,
        verb: "inspect".to_owned(),
    };
    let selection = Selection::of(folder, &options).map_err(explain)?;
    if selection.len() > limit {
        return Err(Failure::usage(format!(
            "{} operations are too many to draw; the limit is {limit}",
            selection.len()
        ))
        .remedy("narrow it with --client, --path, --from and --to, or raise --limit"));
    }
    let operations = selection.operations(folder).or_environment(READING)?;
    let mut graph = Graph::default();
    for operation in operations {
        let operation = operation.or_environment(READING)?;
        let selected = selection.reason(operation.id) == Some(Reason::Selected);
        graph.add(&operation, selected);
    }
    let text = graph.draw(folder.workload());
    text.lines().for_each(|line| say!("{line}"));
    Ok(())
}

/// The lines of a graph.
#[derive(Debug, Default)]
struct Graph {
    /// Nodes by client.
    nodes: BTreeMap<u32, String>,
    edges: String,
}

impl Graph {
    fn add(&mut self, op: &Operation, selected: bool) {
        let nodes = self.nodes.entry(op.client.0).or_default();
        let what = match op.action {
            Action::Break(_) => "BREAK".to_owned(),
            Action::Disconnect(_) => "DISCONNECT".to_owned(),
            Action::Request(_) | Action::Smb1Negotiate(_) => op.cmd.to_string(),
        };
        let status = op.expect.as_ref().map(|expect| expect.status.to_string());
        let parts = [
            format!("{} {what}", op.id),
            report::path_of(op),
            status.unwrap_or_default(),
        ];
        let parts = parts.iter().filter(|part| !part.is_empty());
        let label: Vec<String> = parts.map(|part| escape(part)).collect();
        let color = if selected {
            ""
        } else {
            ", color=gray, fontcolor=gray40"
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            nodes,
            "    op{} [label=\"{}\"{color}];",
            op.id,
            label.join("\\n")
        );
        for edge in &op.after {
            let _ = writeln!(
                self.edges,
                "  op{} -> op{} [{}];",
                edge.id,
                op.id,
                style(edge)
            );
        }
    }

    fn draw(&self, workload: &Workload) -> String {
        let mut out = String::from(
            "digraph smbench {\n  rankdir=LR;\n  node [shape=box, fontsize=10];\n  edge [fontsize=8];\n",
        );
        for (client, nodes) in &self.nodes {
            let index = usize::try_from(*client).unwrap_or(usize::MAX);
            let address = workload
                .clients
                .get(index)
                .map_or("", |it| it.address.as_str());
            let _ = writeln!(
                out,
                "  subgraph cluster_{client} {{\n    label=\"client {client}: {}\";\n{nodes}  }}",
                escape(address)
            );
        }
        out.push_str(&self.edges);
        out.push('}');
        out
    }
}

fn style(edge: &Edge) -> String {
    let until = match edge.on {
        Milestone::Sent => ", style=dotted",
        _ if edge.inferred => ", style=dashed",
        _ => "",
    };
    let label = match edge.on {
        Milestone::Interim => format!("{} (interim)", edge.rule.name()),
        _ => edge.rule.name().to_owned(),
    };
    format!("label=\"{label}\"{until}")
}

/// Text inside a quoted label.
fn escape(text: &str) -> String {
    // Before its backslashes are doubled: then Graphviz draws them too.
    let text = printable(text);
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

const READING: &str = "cannot read the operations of the workload";
