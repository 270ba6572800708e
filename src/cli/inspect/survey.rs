//! What the operations of a workload tell about a server and its clients, in one pass.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::confine::{below_share, is_dfs};
use smbench_core::ids::{OpId, OpenRef};
use smbench_core::smb2::{Command, NtStatus, OplockLevel, Request};
use smbench_core::workload::{Action, BreakNotice, Expect, Operation, Rule, Workload};

use super::calls::{CallLoad, Calls};
use crate::histogram;

/// Requests and what became of them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Load {
    /// Requests.
    pub(super) requests: u64,
    /// Answered with an error.
    pub(super) errors: u64,
    /// Read, in bytes.
    pub(super) read_bytes: u64,
    /// Written, in bytes.
    pub(super) written_bytes: u64,
}

/// Times, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Times {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
    pub(super) sum: u64,
}

/// Requests of one command.
#[derive(Debug, Serialize)]
pub(super) struct CommandLoad {
    pub(super) requests: u64,
    pub(super) answered: u64,
    pub(super) errors: u64,
    pub(super) answer_us: Times,
}

/// A client, a share, a file.
#[derive(Debug, Serialize)]
pub(super) struct ClientLoad {
    pub(super) client: u32,
    pub(super) address: String,
    #[serde(flatten)]
    pub(super) load: Load,
}

#[derive(Debug, Serialize)]
pub(super) struct ShareLoad {
    pub(super) share: String,
    #[serde(flatten)]
    pub(super) load: Load,
}

#[derive(Debug, Serialize)]
pub(super) struct FileLoad {
    pub(super) share: String,
    pub(super) path: String,
    #[serde(flatten)]
    pub(super) load: Load,
}

/// Break notifications.
#[derive(Debug, Default, Serialize)]
pub(super) struct Breaks {
    pub(super) oplock: u64,
    pub(super) lease: u64,
    /// Those that wanted an acknowledgement.
    pub(super) wanting: u64,
    /// Those that got one.
    pub(super) acknowledged: u64,
    /// Those that were answered by a CLOSE.
    pub(super) closed: u64,
    /// Those that wanted an answer and got none.
    pub(super) ignored: u64,
    /// Notification to acknowledgement or CLOSE.
    pub(super) answer_us: Times,
    pub(super) by_change: BTreeMap<String, u64>,
}

/// What was used and what was lost, from packets to operations.
#[derive(Debug, Default, Serialize)]
pub(super) struct Funnel {
    pub(super) packets: u64,
    pub(super) frames: u64,
    pub(super) messages: u64,
    pub(super) requests: u64,
    pub(super) operations: u64,
    /// By unit (`packets`, `connections`, `bytes`, `messages`, ...) and reason.
    pub(super) lost: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What `inspect` adds to what `compile` tells.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) answers: BTreeMap<String, CommandLoad>,
    pub(super) statuses: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) unanswered: BTreeMap<String, u64>,
    pub(super) by_client: Vec<ClientLoad>,
    pub(super) by_share: Vec<ShareLoad>,
    pub(super) distinct_files: u64,
    pub(super) hottest: Vec<FileLoad>,
    pub(super) breaks: Breaks,
    pub(super) calls: Vec<CallLoad>,
    pub(super) funnel: Funnel,
    pub(super) span_us: u64,
}

/// Listens to the operations of a workload.
pub(super) struct Survey {
    commands: BTreeMap<Command, Answers>,
    statuses: BTreeMap<NtStatus, BTreeMap<Command, u64>>,
    clients: Vec<Load>,
    shares: BTreeMap<String, (String, Load)>,
    /// Share of each tree, in lower case.
    trees: Vec<String>,
    files: Files,
    breaks: Breaks,
    calls: Calls,
    break_times: Histogram<u64>,
    /// Notifications that were not answered yet: when they came.
    open_breaks: BTreeMap<OpId, u64>,
    oplocks: HashMap<OpenRef, OplockLevel>,
    last_us: u64,
}

#[derive(Default)]
struct Files {
    ids: HashMap<(String, String), usize>,
    list: Vec<(String, String, Load)>,
    of_open: HashMap<OpenRef, usize>,
}

struct Answers {
    requests: u64,
    answered: u64,
    errors: u64,
    exact: Times,
    times: Histogram<u64>,
}

impl Survey {
    pub(super) fn new(workload: &Workload) -> Self {
        let trees = workload
            .trees
            .iter()
            .map(|tree| tree.share().to_lowercase());
        let trees: Vec<String> = trees.collect();
        let mut shares = BTreeMap::new();
        for tree in &workload.trees {
            let name = tree.share();
            let known = (name.to_owned(), Load::default());
            shares.entry(name.to_lowercase()).or_insert(known);
        }
        Self {
            commands: BTreeMap::new(),
            statuses: BTreeMap::new(),
            clients: vec![Load::default(); workload.clients.len()],
            shares,
            trees,
            files: Files::default(),
            breaks: Breaks::default(),
            calls: Calls::default(),
            break_times: histogram::of_times(3),
            open_breaks: BTreeMap::new(),
            oplocks: HashMap::new(),
            last_us: 0,
        }
    }

    /// The next operation.
    pub(super) fn add(&mut self, workload: &Workload, op: &Operation) {
        let took = op.expect.as_ref().map_or(0, |expect| expect.latency_us);
        self.last_us = self.last_us.max(op.at_us.saturating_add(took));
        match &op.action {
            Action::Break(notice) => self.notice(op, notice),
            Action::Disconnect(_) => {}
            Action::Request(_) | Action::Smb1Negotiate(_) => self.request(workload, op),
        }
    }

    fn request(&mut self, workload: &Workload, op: &Operation) {
        self.answered(op);
        self.calls.add(op);
        let load = load_of(op);
        if let Some(client) = self.clients.get_mut(op.client.index()) {
            client.add(&load);
        }
        let tree = op.tree.map(|tree| tree.index());
        let key = tree.and_then(|tree| self.trees.get(tree));
        if let Some((_, share)) = key.and_then(|key| self.shares.get_mut(key)) {
            share.add(&load);
        }
        if let Some(file) = self.file(workload, op)
            && let Some((_, _, file)) = self.files.list.get_mut(file)
        {
            file.add(&load);
        }
        self.reaction(op);
    }

    fn answered(&mut self, op: &Operation) {
        let answers = self.commands.entry(op.cmd).or_insert_with(|| Answers {
            requests: 0,
            answered: 0,
            errors: 0,
            exact: Times::default(),
            times: histogram::of_times(3),
        });
        answers.requests += 1;
        let Some(expect) = &op.expect else { return };
        answers.answered += 1;
        answers.errors += u64::from(is_error(expect));
        answers.exact.add(expect.latency_us);
        answers.times.saturating_record(expect.latency_us);
        let by_command = self.statuses.entry(expect.status).or_default();
        *by_command.entry(op.cmd).or_default() += 1;
        if let (Command::CREATE, Some(open), Some(oplock)) = (op.cmd, op.open, expect.oplock) {
            self.oplocks.insert(open, oplock);
        }
    }

    /// The file that an operation works on.
    fn file(&mut self, workload: &Workload, op: &Operation) -> Option<usize> {
        let known = op
            .open
            .and_then(|open| self.files.of_open.get(&open).copied());
        if known.is_some() {
            return known;
        }
        let path = match &op.action {
            Action::Request(Request::Create(create)) if op.path_by_id().is_none() => {
                below_share(&create.name.to_string(), is_dfs(op)).to_owned()
            }
            _ => op.path.clone()?,
        };
        let tree = op.tree?.index();
        let key = (
            self.trees.get(tree)?.clone(),
            path.trim_matches('\\').to_lowercase(),
        );
        let next = self.files.list.len();
        let file = *self.files.ids.entry(key).or_insert(next);
        if file == next {
            let share = workload.trees.get(tree)?.share().to_owned();
            self.files.list.push((share, path, Load::default()));
        }
        if let Some(open) = op.open {
            self.files.of_open.insert(open, file);
        }
        Some(file)
    }

    fn notice(&mut self, op: &Operation, notice: &BreakNotice) {
        let (change, wanting) = match notice {
            BreakNotice::Oplock { to } => {
                self.breaks.oplock += 1;
                let held = op.open.and_then(|open| self.oplocks.get(&open).copied());
                let from = held.map_or("?".to_owned(), |held| held.to_string());
                if let (Some(open), true) = (op.open, held.is_some()) {
                    self.oplocks.insert(open, *to);
                }
                // [MS-SMB2] 3.2.5.19.1: level II is given up without a word.
                let wanting = held != Some(OplockLevel::LEVEL_II);
                (format!("oplock {from} to {to}"), wanting)
            }
            BreakNotice::Lease { from, to, ack, .. } => {
                self.breaks.lease += 1;
                let name = |state: &str| match state {
                    "" => "none".to_owned(),
                    state => state.to_owned(),
                };
                let (from, to) = (letters(from), letters(to));
                (format!("lease {} to {}", name(&from), name(&to)), *ack)
            }
        };
        *self.breaks.by_change.entry(change).or_default() += 1;
        if wanting {
            self.breaks.wanting += 1;
            self.open_breaks.insert(op.id, op.at_us);
        }
    }

    /// An acknowledgement, or a CLOSE in its place.
    fn reaction(&mut self, op: &Operation) {
        let ack = op.cmd == Command::OPLOCK_BREAK;
        if !ack && op.cmd != Command::CLOSE {
            return;
        }
        let breaks = op.after.iter().filter(|edge| edge.rule == Rule::Break);
        for edge in breaks {
            let Some(since) = self.open_breaks.remove(&edge.id) else {
                continue;
            };
            if ack {
                self.breaks.acknowledged += 1;
            } else {
                self.breaks.closed += 1;
            }
            let took = op.at_us.saturating_sub(since);
            self.breaks.answer_us.add(took);
            self.break_times.saturating_record(took);
        }
    }

    /// What was heard; of the files the `top` hottest.
    pub(super) fn tell(mut self, workload: &Workload, top: usize) -> Told {
        self.breaks.ignored = u64::try_from(self.open_breaks.len()).unwrap_or(u64::MAX);
        self.breaks.answer_us = times(&self.break_times, &self.breaks.answer_us);
        let unanswered = self
            .commands
            .iter()
            .filter(|(command, _)| **command != Command::CANCEL);
        let unanswered =
            unanswered.map(|(command, it)| (command.to_string(), it.requests - it.answered));
        let unanswered = unanswered.filter(|(_, count)| *count > 0).collect();
        let by_client = workload.clients.iter().zip(&self.clients).zip(0..);
        let by_client = by_client.map(|((client, load), number)| ClientLoad {
            client: number,
            address: client.address.clone(),
            load: *load,
        });
        let by_client = by_client.collect();
        let mut by_share: Vec<ShareLoad> = (self.shares.into_values())
            .map(|(share, load)| ShareLoad { share, load })
            .collect();
        by_share.sort_by_key(|it| std::cmp::Reverse(it.load.requests));
        let distinct_files = u64::try_from(self.files.list.len()).unwrap_or(u64::MAX);
        Told {
            answers: (self.commands.iter())
                .map(|(command, it)| (command.to_string(), it.tell()))
                .collect(),
            statuses: (self.statuses.iter())
                .map(|(status, by)| {
                    let by = by
                        .iter()
                        .map(|(command, count)| (command.to_string(), *count));
                    (status.to_string(), by.collect())
                })
                .collect(),
            unanswered,
            by_client,
            by_share,
            distinct_files,
            hottest: hottest(self.files.list, top),
            breaks: self.breaks,
            calls: self.calls.tell(),
            funnel: funnel(workload),
            span_us: self.last_us,
        }
    }
}

impl Load {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(other.written_bytes);
    }
}

impl Times {
    fn add(&mut self, took_us: u64) {
        self.max = self.max.max(took_us);
        self.sum = self.sum.saturating_add(took_us);
    }
}

impl Answers {
    fn tell(&self) -> CommandLoad {
        CommandLoad {
            requests: self.requests,
            answered: self.answered,
            errors: self.errors,
            answer_us: times(&self.times, &self.exact),
        }
    }
}

fn load_of(op: &Operation) -> Load {
    let expect = op.expect.as_ref();
    let count = u64::from(expect.and_then(|it| it.count).unwrap_or(0));
    let moved = |command| if op.cmd == command { count } else { 0 };
    Load {
        requests: 1,
        errors: u64::from(expect.is_some_and(is_error)),
        read_bytes: moved(Command::READ),
        written_bytes: moved(Command::WRITE),
    }
}

/// A login that goes on is none.
fn is_error(expect: &Expect) -> bool {
    expect.status.is_error() && expect.status != NtStatus::MORE_PROCESSING_REQUIRED
}

fn letters(state: &smbench_core::smb2::LeaseState) -> String {
    let value = serde_json::to_value(state).unwrap_or_default();
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn hottest(mut files: Vec<(String, String, Load)>, top: usize) -> Vec<FileLoad> {
    files.sort_by(|a, b| {
        let rank = |it: &(String, String, Load)| {
            let load = it.2;
            (
                load.requests,
                load.read_bytes.saturating_add(load.written_bytes),
            )
        };
        rank(b)
            .cmp(&rank(a))
            .then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1)))
    });
    files.truncate(top);
    let told = files
        .into_iter()
        .map(|(share, path, load)| FileLoad { share, path, load });
    told.collect()
}

/// Losses by unit: a reason without one counts messages.
fn funnel(workload: &Workload) -> Funnel {
    let coverage = &workload.coverage;
    let mut lost: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (reason, count) in &coverage.skipped {
        let (unit, why) = match reason.split_once(": ") {
            Some(("left out", why)) => ("requests left out", why),
            Some((unit, why)) => (unit, why),
            None => ("messages", reason.as_str()),
        };
        let reasons = lost.entry(unit.to_owned()).or_default();
        reasons.insert(why.to_owned(), *count);
    }
    Funnel {
        packets: coverage.packets,
        frames: coverage.frames,
        messages: coverage.requests_seen.saturating_add(coverage.responses),
        requests: coverage.requests_seen,
        operations: coverage.requests(),
        lost,
    }
}

/// Quantiles to three digits; what is exact stays so.
fn times(of: &Histogram<u64>, exact: &Times) -> Times {
    let quantile = |q| of.value_at_quantile(q).min(exact.max);
    Times {
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        ..*exact
    }
}
