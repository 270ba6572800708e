//! An operation a row: as it was recorded, and as it went.

use std::collections::HashMap;

use smbench_core::event::{Divergence, Lateness, NetFailure, Outcome, Report};
use smbench_core::ids::OpId;
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::{Action, Expect, Operation, Rule, Workload};

use crate::report::path_of;

/// All operations of a workload, and what else happened.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    /// Names of files and shares, each once.
    names: Vec<String>,
    of_name: HashMap<String, u32>,
    /// The share of each tree.
    shares: Vec<u32>,
    /// Break notifications, with what brought them about and what answered them.
    pub(crate) breaks: Vec<Notice>,
    /// Connections that the server ended: when, in microseconds of the run.
    pub(crate) closed: Vec<(u64, NetFailure)>,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) op: OpId,
    pub(crate) command: Command,
    /// It is a request, and no event.
    pub(crate) is_request: bool,
    /// It was not captured.
    pub(crate) reconstructed: bool,
    pub(crate) client: u32,
    share: Option<u32>,
    path: u32,
    /// Number of its request's packet in the capture, and of its answer's; 0 where there is none.
    pub(crate) frame: u64,
    pub(crate) response_frame: u64,
    /// When it was recorded, in microseconds from the start of the capture.
    pub(crate) at_us: u64,
    pub(crate) recorded: Option<Answer>,
    /// When its request went out, in microseconds from the start of the run.
    pub(crate) began_us: Option<u64>,
    /// What came back.
    pub(crate) seen: Option<Answer>,
    /// How much later than planned it went out, by what it waited for.
    pub(crate) late: Lateness,
    /// What became of it.
    pub(crate) fate: Fate,
}

/// A final response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: NtStatus,
    /// From request to final response, in microseconds.
    pub(crate) took_us: u64,
    /// READ and WRITE: the bytes moved.
    pub(crate) moved: u64,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fate {
    /// Its turn did not come.
    #[default]
    Open,
    /// It was sent, and has no answer yet.
    Sent,
    /// It ended, and nothing differs.
    AsRecorded,
    /// It was left out.
    Skipped(&'static str),
    /// It would have reached what the run may not reach.
    Refused(&'static str),
    /// It could not run because of an earlier one.
    Consequence(OpId),
    /// It differs.
    Diverged(&'static str),
}

/// A break notification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    pub(crate) op: OpId,
    /// The request that brought it about.
    pub(crate) cause: Option<OpId>,
    /// The request that answered it: an acknowledgement, or a CLOSE.
    pub(crate) answer: Option<OpId>,
}

/// Which of the two a figure is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The capture.
    Recorded,
    /// The run.
    Here,
}

impl Row {
    /// When its request went out, in microseconds.
    pub(crate) fn began(&self, side: Side) -> Option<u64> {
        match side {
            Side::Recorded => Some(self.at_us),
            Side::Here => self.began_us,
        }
    }

    /// What it was answered with.
    pub(crate) fn answer(&self, side: Side) -> Option<&Answer> {
        match side {
            Side::Recorded => self.recorded.as_ref(),
            Side::Here => self.seen.as_ref(),
        }
    }

    /// When its answer came, in microseconds.
    pub(crate) fn ended(&self, side: Side) -> Option<u64> {
        let took = self.answer(side)?.took_us;
        Some(self.began(side)?.saturating_add(took))
    }
}

impl Answer {
    /// Whether it is an error. A login that goes on is none.
    pub(crate) fn is_error(&self) -> bool {
        self.status.is_error() && self.status != NtStatus::MORE_PROCESSING_REQUIRED
    }

    fn recorded(command: Command, expect: &Expect) -> Self {
        let moves = matches!(command, Command::READ | Command::WRITE);
        Self {
            status: expect.status,
            took_us: expect.latency_us,
            moved: expect.count.filter(|_| moves).unwrap_or(0).into(),
        }
    }

    fn seen(command: Command, outcome: &Outcome, latency_ns: u64) -> Self {
        let moves = matches!(command, Command::READ | Command::WRITE);
        Self {
            status: outcome.status,
            took_us: latency_ns / 1_000,
            moved: outcome.size.filter(|_| moves).unwrap_or(0),
        }
    }
}

impl Fate {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "unanswered",
            Self::AsRecorded => "as_recorded",
            Self::Skipped(_) => "skipped",
            Self::Refused(_) => "refused",
            Self::Consequence(_) => "consequence",
            Self::Diverged(_) => "diverged",
        }
    }

    /// Why, where that is more than a word.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Skipped(why) | Self::Refused(why) | Self::Diverged(why) => why.to_owned(),
            Self::Consequence(cause) => format!("of operation {cause}"),
            Self::Open | Self::Sent | Self::AsRecorded => String::new(),
        }
    }
}

impl Rows {
    /// None yet, of a workload.
    pub(crate) fn of(workload: &Workload) -> Self {
        let mut rows = Self::default();
        rows.shares = workload
            .trees
            .iter()
            .map(|tree| rows.name(tree.share()))
            .collect();
        rows
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(known) = self.of_name.get(name) {
            return *known;
        }
        // A name an operation at most, and no more operations than fit.
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.of_name.insert(name.to_owned(), next);
        next
    }

    /// The next line of the workload.
    pub(crate) fn add(&mut self, op: &Operation) {
        let mut path = self.name(&path_of(op));
        let is_request = matches!(op.action, Action::Request(_) | Action::Smb1Negotiate(_));
        let edges = op.after.iter().filter(|edge| edge.rule == Rule::Break);
        if self.names.get(path as usize).is_some_and(String::is_empty) {
            // A break is of the file that its cause opens, and so is what answers it.
            let of = edges.clone().find_map(|edge| self.get(edge.id));
            path = of.map_or(path, |of| of.path);
        }
        match op.action {
            Action::Break(_) => self.breaks.push(Notice {
                op: op.id,
                cause: edges.map(|edge| edge.id).next(),
                answer: None,
            }),
            _ => {
                for edge in edges.clone() {
                    let known = self.breaks.binary_search_by_key(&edge.id, |it| it.op);
                    if let Some(notice) = known.ok().and_then(|at| self.breaks.get_mut(at)) {
                        notice.answer.get_or_insert(op.id);
                    }
                }
            }
        }
        let tree = op.tree.map(|tree| tree.index());
        self.rows.push(Row {
            op: op.id,
            command: op.cmd,
            is_request,
            reconstructed: op.reconstructed,
            client: op.client.0,
            share: tree.and_then(|tree| self.shares.get(tree).copied()),
            path,
            frame: op.frame,
            response_frame: op.expect.as_ref().map_or(0, |it| it.frame),
            at_us: op.at_us,
            recorded: op.expect.as_ref().map(|it| Answer::recorded(op.cmd, it)),
            began_us: None,
            seen: None,
            late: Lateness::default(),
            fate: Fate::Open,
        });
    }

    /// Takes in what the engine reported at `now_us`.
    pub(crate) fn report(&mut self, now_us: u64, report: &Report) {
        match report {
            Report::Started { op, late } => {
                if let Some(row) = self.rows.get_mut(op.index()) {
                    row.began_us = Some(now_us);
                    row.late = *late;
                    row.fate = row.fate.max(Fate::Sent);
                }
            }
            Report::Finished {
                op,
                outcome,
                latency_ns,
            } => {
                if let Some(row) = self.rows.get_mut(op.index()) {
                    row.seen = Some(Answer::seen(row.command, outcome, *latency_ns));
                    row.fate = row.fate.max(Fate::AsRecorded);
                }
            }
            Report::Observed { op } => {
                if let Some(row) = self.rows.get_mut(op.index()) {
                    row.began_us = Some(now_us);
                    row.fate = row.fate.max(Fate::AsRecorded);
                }
            }
            Report::Diverged { op, divergence } => self.diverged(*op, divergence),
            Report::Cascaded { op, cause } => self.is_now(*op, Fate::Consequence(*cause)),
            Report::Skipped { op, why } => self.is_now(*op, Fate::Skipped(why.name())),
            Report::Refused { op, why } => self.is_now(*op, Fate::Refused(why.name())),
            Report::TreeRefused { op } => self.is_now(*op, Fate::Refused("tree")),
            Report::Stray { .. } | Report::Done => {}
        }
    }

    /// The server ended a connection at `now_us`.
    pub(crate) fn closed(&mut self, now_us: u64, reason: NetFailure) {
        self.closed.push((now_us, reason));
    }

    fn diverged(&mut self, op: OpId, divergence: &Divergence) {
        self.is_now(op, Fate::Diverged(divergence.name()));
    }

    fn is_now(&mut self, op: OpId, fate: Fate) {
        if let Some(row) = self.rows.get_mut(op.index()) {
            row.fate = row.fate.max(fate);
        }
    }

    /// Takes what `other`, a run of the same workload, was answered for what was recorded.
    pub(crate) fn compare_with(&mut self, other: &Self) {
        for (row, other) in self.rows.iter_mut().zip(&other.rows) {
            row.recorded = other.seen;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All of them, in workload order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// That of an operation.
    pub(crate) fn get(&self, op: OpId) -> Option<&Row> {
        self.rows.get(op.index())
    }

    /// The name that it works on.
    pub(crate) fn path(&self, row: &Row) -> &str {
        self.names.get(row.path as usize).map_or("", String::as_str)
    }

    /// The share that it works on.
    pub(crate) fn share(&self, row: &Row) -> &str {
        let name = row.share.and_then(|it| self.names.get(it as usize));
        name.map_or("", String::as_str)
    }

    /// From the first request to the last answer of a side, in microseconds.
    pub(crate) fn span_us(&self, side: Side) -> (u64, u64) {
        let requests = || self.rows.iter().filter(|it| it.is_request);
        let first = requests().filter_map(|it| it.began(side)).min();
        let last = requests().filter_map(|it| it.ended(side).or(it.began(side)));
        let first = first.unwrap_or(0);
        (first, last.max().unwrap_or(first))
    }
}
