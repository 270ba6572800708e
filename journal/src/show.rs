//! Shows a journal's events to people and machines, with the names of what they belong to.
//!
//! A journal holds inputs; which operation a response belongs to is the engine's knowledge. So the
//! journal is run again while it is shown, and each line tells what the engine made of it. A
//! journal that carries no workload is shown without names.

use std::fmt;

use serde::Serialize;
use smbench_core::{
    event::{Effect, Entry, Input, Report},
    frame::Frame,
    ids::{ConnId, LogicalTime, OpId, ShardId},
    smb2::Command,
    workload::Operation,
};

use crate::{
    Journal, RerunError,
    diff::{command_of, path_of},
    rerun::{Departure, EngineVersions, Recipe, Runner, input_kind},
};

/// Which events to show: those that pass all that is set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Only events of these clients.
    pub clients: Vec<u32>,
    /// Only events that concern these operations.
    pub operations: Vec<OpId>,
    /// Only events of these kinds, named as [`input_kind`] names them.
    pub kinds: Vec<String>,
    /// Not before this time.
    pub from: Option<LogicalTime>,
    /// Not after this time.
    pub to: Option<LogicalTime>,
    /// Only shards' events from this number on.
    pub from_seq: Option<u64>,
    /// Only events upon which something diverged, or could not run because of that.
    pub diverged: bool,
}

/// One event, shown.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its shard.
    pub shard: ShardId,
    /// Its number in the shard.
    pub seq: u64,
    /// When the engine was told, in microseconds from the start of the run.
    pub at_us: u64,
    /// What it is.
    pub kind: &'static str,
    /// Its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<ConnId>,
    /// Its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// The messages of a received frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageNote>,
    /// What the engine did upon it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub did: Vec<DidNote>,
}

/// One message of a frame.
#[derive(Clone, Debug, Serialize)]
pub struct MessageNote {
    /// Its command.
    pub command: String,
    /// Its status.
    pub status: String,
    /// Its MessageId.
    pub mid: u64,
    /// Bytes of bulk data with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_bytes: Option<u32>,
}

/// One effect, in short.
#[derive(Clone, Debug, Serialize)]
pub struct DidNote {
    /// `send`, `connect`, `close`, `authenticate`, or a report's name.
    pub what: &'static str,
    /// The operation it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OpId>,
    /// What that operation is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The name that it works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What was shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Shown {
    /// Events shown.
    pub shown: u64,
    /// Operations of the workload, where the journal has it.
    pub operations: Option<usize>,
    /// Events that the filter held back.
    pub held_back: u64,
    /// Why names are missing, or may be wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Shows the events of `journal` that `filter` lets through, shard after shard, until `sink` says
/// false.
///
/// # Errors
///
/// [`RerunError`] when the journal is damaged, or its workload is.
pub fn show(
    journal: &Journal,
    filter: &Filter,
    mut sink: impl FnMut(&Line) -> bool,
) -> Result<Shown, RerunError> {
    let mut shown = Shown::default();
    let mut emit = |shown: &mut Shown, line: &Line| {
        if filter.passes(line) {
            shown.shown += 1;
            return sink(line);
        }
        shown.held_back += 1;
        true
    };
    match Recipe::of(journal) {
        Ok(recipe) => named(journal, &recipe, &mut shown, &mut emit)?,
        Err(error @ RerunError::NoWorkload { .. }) => {
            shown.notes.push(error.to_string());
            bare(journal, &mut shown, &mut emit)?;
        }
        Err(RerunError::Journal(error)) if error.is_damage() => {
            shown.notes.push(error.words());
            bare(journal, &mut shown, &mut emit)?;
        }
        Err(error) => return Err(error),
    }
    Ok(shown)
}

type Emit<'a> = dyn FnMut(&mut Shown, &Line) -> bool + 'a;

fn named(
    journal: &Journal,
    recipe: &Recipe,
    shown: &mut Shown,
    emit: &mut Emit<'_>,
) -> Result<(), RerunError> {
    let clients: Vec<u32> = (recipe.workload.connections.iter())
        .map(|conn| conn.client.0)
        .collect();
    let mut names = Names::default();
    let mut on = true;
    for (index, shard) in journal.shards().enumerate() {
        let plan = recipe.plan_of(shard, |op| {
            if index == 0 {
                names.add(op);
            }
        })?;
        let mut runner = Runner::new(plan, recipe.config.clone());
        let mut last = None;
        let done = runner.run_entries(journal, shard, Departure::GoOn, |entry, effects| {
            last = Some(entry.seq);
            if on {
                let line = names.line(shard, entry, effects, &clients);
                on = emit(shown, &line);
            }
        })?;
        if let Some(mismatch) = done.mismatch {
            shown.notes.push(format!(
                "shard {shard}: this engine departs from the run after input {}: what follows may \
                 be named wrongly ({})",
                mismatch.seq,
                EngineVersions::of(journal),
            ));
            // The engine took no more: the rest is shown without names.
            let rest = last.map_or(0, |seq| seq.saturating_add(1));
            for stored in journal.entries_from(shard, rest)? {
                let stored = stored?;
                if on {
                    let line = bare_line(shard, stored.seq, stored.now, &stored.input, &clients);
                    on = emit(shown, &line);
                }
            }
        }
    }
    shown.operations = Some(names.0.len());
    Ok(())
}

fn bare(journal: &Journal, shown: &mut Shown, emit: &mut Emit<'_>) -> Result<(), RerunError> {
    for shard in journal.shards() {
        for stored in journal.entries(shard)? {
            let stored = stored?;
            let line = bare_line(shard, stored.seq, stored.now, &stored.input, &[]);
            if !emit(shown, &line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Filter {
    fn passes(&self, line: &Line) -> bool {
        let at = LogicalTime::from_micros(line.at_us);
        let among = |wanted: &[u32], client: Option<u32>| {
            wanted.is_empty() || client.is_some_and(|client| wanted.contains(&client))
        };
        let concerns = self.operations.is_empty()
            || (line.did.iter())
                .filter_map(|did| did.operation)
                .any(|op| self.operations.contains(&op));
        let diverged = !self.diverged
            || (line.did.iter()).any(|did| matches!(did.what, "diverged" | "cascaded"));
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == line.kind);
        among(&self.clients, line.client)
            && concerns
            && diverged
            && kind
            && self
                .from
                .is_none_or(|from| at.as_micros() >= from.as_micros())
            && self.to.is_none_or(|to| at.as_micros() <= to.as_micros())
            && self.from_seq.is_none_or(|from| line.seq >= from)
    }
}

/// What operations are called.
#[derive(Debug, Default)]
struct Names(Vec<(String, Option<String>)>);

impl Names {
    fn add(&mut self, op: &Operation) {
        self.0.push((command_of(op), path_of(op)));
    }

    fn line(&self, shard: ShardId, entry: &Entry, effects: &[Effect], clients: &[u32]) -> Line {
        let mut line = bare_line(shard, entry.seq, entry.now, &entry.input, clients);
        line.did = effects.iter().map(|effect| self.did(effect)).collect();
        line
    }

    fn did(&self, effect: &Effect) -> DidNote {
        let (what, operation, detail) = match effect {
            Effect::Connect { conn } => ("connect", None, Some(format!("connection {conn}"))),
            Effect::Send { conn, frame, .. } => {
                let detail = format!("{} bytes on connection {conn}", frame.wire_len());
                ("send", None, Some(detail))
            }
            Effect::Authenticate { session, .. } => {
                ("authenticate", None, Some(format!("session {session}")))
            }
            Effect::Close { conn, .. } => ("close", None, Some(format!("connection {conn}"))),
            Effect::Report(report) => report_note(report),
        };
        let name = operation.and_then(|op: OpId| self.0.get(op.index()));
        DidNote {
            what,
            operation,
            command: name.map(|(command, _)| command.clone()),
            path: name.and_then(|(_, path)| path.clone()),
            detail,
        }
    }
}

fn report_note(report: &Report) -> (&'static str, Option<OpId>, Option<String>) {
    match report {
        Report::Started { op, late } => {
            let late = late.total_ns() / 1_000;
            let detail = (late > 0).then(|| format!("{late} us late"));
            ("started", Some(*op), detail)
        }
        Report::Finished {
            op,
            outcome,
            latency_ns,
        } => {
            let detail = format!("{} after {} us", outcome.status, latency_ns / 1_000);
            ("finished", Some(*op), Some(detail))
        }
        Report::Observed { op } => ("observed", Some(*op), None),
        Report::Diverged { op, divergence } => {
            ("diverged", Some(*op), Some(divergence.to_string()))
        }
        Report::Cascaded { op, cause } => (
            "cascaded",
            Some(*op),
            Some(format!("from operation {cause}")),
        ),
        Report::Skipped { op, why } => ("skipped", Some(*op), Some(why.name().to_owned())),
        Report::Refused { op, why } => ("refused", Some(*op), Some(why.name().to_owned())),
        Report::TreeRefused { op } => ("tree_refused", Some(*op), None),
        Report::Stray {
            command, status, ..
        } => {
            let detail = format!("{} {status}", Command(*command));
            ("stray", None, Some(detail))
        }
        Report::Done => ("done", None, None),
    }
}

fn bare_line(shard: ShardId, seq: u64, now: LogicalTime, input: &Input, clients: &[u32]) -> Line {
    let (conn, frame) = match input {
        Input::Connected { conn }
        | Input::ConnectFailed { conn, .. }
        | Input::Closed { conn, .. }
        | Input::TokenReady { conn, .. } => (Some(*conn), None),
        Input::Received { conn, frame, .. } => (Some(*conn), Some(frame)),
        Input::Start | Input::Wake | Input::Completed { .. } | Input::Stop => (None, None),
    };
    Line {
        shard,
        seq,
        at_us: now.as_micros(),
        kind: input_kind(input),
        conn,
        client: conn.and_then(|conn| clients.get(conn.index()).copied()),
        messages: frame.map(messages).unwrap_or_default(),
        did: Vec::new(),
    }
}

fn messages(frame: &Frame) -> Vec<MessageNote> {
    frame
        .pdus()
        .map(|pdu| match pdu {
            Ok((header, _, cut)) => MessageNote {
                command: header.command.to_string(),
                status: header.nt_status().to_string(),
                mid: header.message_id.0,
                bulk_bytes: cut.map(|cut| cut.len),
            },
            Err(error) => MessageNote {
                command: "malformed".to_owned(),
                status: error.to_string(),
                mid: 0,
                bulk_bytes: None,
            },
        })
        .collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(
            f,
            "{}.{:<6} {seconds:>5}.{micros:06} {}",
            self.shard, self.seq, self.kind
        )?;
        if let Some(conn) = self.conn {
            write!(f, " conn {conn}")?;
        }
        if let Some(client) = self.client {
            write!(f, " client {client}")?;
        }
        for message in &self.messages {
            write!(
                f,
                " [{} {} mid {}]",
                message.command, message.status, message.mid
            )?;
        }
        for did in &self.did {
            write!(f, "\n                      {}", did.what)?;
            if let (Some(op), Some(command)) = (did.operation, &did.command) {
                write!(f, " {command} #{op}")?;
            } else if let Some(op) = did.operation {
                write!(f, " #{op}")?;
            }
            if let Some(path) = &did.path {
                write!(f, " {path}")?;
            }
            if let Some(detail) = &did.detail {
                write!(f, ": {detail}")?;
            }
        }
        Ok(())
    }
}
