//! Operations that took far longer than others of their kind, and what they waited for.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::engine::Recorded;
use smbench_core::ids::OpId;
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::{Action, BreakNotice, Operation, Rule};

use crate::histogram;
use crate::report::{path_of, say, time};

/// An operation that stalled.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stall {
    pub(crate) operation: OpId,
    pub(crate) command: String,
    pub(crate) path: String,
    pub(crate) client: u32,
    /// Number of its request's packet in the capture.
    pub(crate) frame: u64,
    /// How long its answer took in the recording, in microseconds.
    pub(crate) recorded_us: Option<u64>,
    /// How long it took in the run, in microseconds.
    pub(crate) seen_us: Option<u64>,
    /// What it waited for, as far as the recording tells.
    pub(crate) waited_for: Option<String>,
}

/// How long answers took, by command, and those that took long.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    by_command: BTreeMap<Command, Histogram<u64>>,
    long: BTreeMap<OpId, (Command, u64)>,
}

impl Waits {
    /// Of a recording.
    pub(crate) fn recorded(recorded: &Recorded) -> Self {
        let mut waits = Self::default();
        for (op, it) in (0u32..).map(OpId).zip(recorded.iter()) {
            if it.is_answered {
                waits.add(op, it.command, it.latency_us.into());
            }
        }
        waits
    }

    /// An answer took so long.
    pub(crate) fn add(&mut self, op: OpId, command: Command, micros: u64) {
        // Two digits: only the median is asked for.
        let times = self.by_command.entry(command);
        let times = times.or_insert_with(|| histogram::of_times(2));
        times.saturating_record(micros);
        if micros > LONG_US && command != Command::CHANGE_NOTIFY {
            self.long.insert(op, (command, micros));
        }
    }

    /// Those that took over a second and ten times the median of their command.
    fn stalls(&self) -> impl Iterator<Item = (OpId, u64)> + '_ {
        let stalled = |(_, (command, micros)): &(&OpId, &(Command, u64))| {
            let times = self.by_command.get(command);
            let median = times.map_or(0, |times| times.value_at_quantile(0.5));
            *micros >= median.saturating_mul(TIMES_THE_MEDIAN)
        };
        let long = self.long.iter().filter(stalled);
        long.map(|(op, (_, micros))| (*op, *micros))
    }
}

/// What stalled in a recording and in a run of it. `operations` gives all lines, in order; it is asked only
/// where something stalled.
pub(crate) fn stalls<E, I>(
    recorded: &Waits,
    seen: &Waits,
    operations: impl FnOnce() -> Result<I, E>,
) -> Result<Vec<Stall>, E>
where
    I: Iterator<Item = Result<Operation, E>>,
{
    let mut times: BTreeMap<OpId, (Option<u64>, Option<u64>)> = BTreeMap::new();
    for (op, micros) in recorded.stalls() {
        times.entry(op).or_default().0 = Some(micros);
    }
    for (op, micros) in seen.stalls() {
        times.entry(op).or_default().1 = Some(micros);
    }
    if times.is_empty() {
        return Ok(Vec::new());
    }
    let mut story = Story::default();
    for operation in operations()? {
        story.read(operation?, |op| times.contains_key(&op));
    }
    let told = times.iter().filter_map(|(op, (recorded_us, seen_us))| {
        let operation = story.stalled.get(op)?;
        let expect = operation.expect.as_ref();
        // Who cancels a request has waited for nothing.
        let cancelled = expect.is_some_and(|it| it.status == NtStatus::CANCELLED);
        (!cancelled).then(|| Stall {
            operation: *op,
            command: operation.cmd.to_string(),
            path: path_of(operation),
            client: operation.client.0,
            frame: operation.frame,
            recorded_us: *recorded_us,
            seen_us: *seen_us,
            waited_for: story.waited_for(operation, recorded_us.is_some()),
        })
    });
    let mut told: Vec<Stall> = told.collect();
    told.sort_by_key(|it| std::cmp::Reverse(it.recorded_us.max(it.seen_us)));
    Ok(told)
}

/// What is known of why operations stalled.
#[derive(Debug, Default)]
struct Story {
    stalled: BTreeMap<OpId, Operation>,
    /// The break notifications that they brought about.
    notices: BTreeMap<OpId, Notice>,
}

/// A break notification.
#[derive(Debug)]
struct Notice {
    cause: OpId,
    client: u32,
    frame: u64,
    at_us: u64,
    of: &'static str,
    wants_answer: bool,
    /// When it was answered, and whether by an acknowledgement.
    answered: Option<(u64, bool)>,
}

impl Story {
    /// Takes the next line.
    fn read(&mut self, operation: Operation, is_stalled: impl Fn(OpId) -> bool) {
        let edges = operation
            .after
            .iter()
            .filter(|edge| edge.rule == Rule::Break);
        for edge in edges {
            match &operation.action {
                Action::Break(notice) if is_stalled(edge.id) => {
                    let (of, wants_answer) = match notice {
                        BreakNotice::Lease { ack, .. } => ("lease", *ack),
                        BreakNotice::Oplock { .. } => ("oplock", true),
                    };
                    let notice = Notice {
                        cause: edge.id,
                        client: operation.client.0,
                        frame: operation.frame,
                        at_us: operation.at_us,
                        of,
                        wants_answer,
                        answered: None,
                    };
                    self.notices.insert(operation.id, notice);
                }
                Action::Request(_) => {
                    if let Some(notice) = self.notices.get_mut(&edge.id) {
                        let acknowledges = operation.cmd == Command::OPLOCK_BREAK;
                        notice
                            .answered
                            .get_or_insert((operation.at_us, acknowledges));
                    }
                }
                _ => {}
            }
        }
        if is_stalled(operation.id) {
            self.stalled.insert(operation.id, operation);
        }
    }

    /// What a stalled operation waited for: holders that did not answer a break, or late. Where it stalled in
    /// the run alone, the recording names the holders and no more.
    fn waited_for(&self, stalled: &Operation, when_recorded: bool) -> Option<String> {
        let latency_us = stalled.expect.as_ref().map_or(0, |it| it.latency_us);
        let answered_at_us = stalled.at_us.saturating_add(latency_us);
        let notices = self.notices.values().filter(|it| it.cause == stalled.id);
        let told = notices.filter(|it| it.wants_answer).filter_map(|notice| {
            let Notice {
                client, frame, of, ..
            } = notice;
            let the_break = format!("the break of its {of} (frame {frame})");
            if !when_recorded {
                return Some(format!(
                    "it waits until client {client} answers {the_break}"
                ));
            }
            let in_time = notice.answered.filter(|(at, _)| *at < answered_at_us);
            let Some((at, acknowledges)) = in_time else {
                return Some(format!("client {client} never acknowledged {the_break}"));
            };
            let took_us = at.saturating_sub(notice.at_us);
            let took = time(took_us);
            let did = match acknowledges {
                true => format!("client {client} took {took} to acknowledge {the_break}"),
                false => format!("client {client} closed its file {took} after {the_break}"),
            };
            // Who was quick has kept nobody waiting.
            (took_us >= latency_us / 2).then_some(did)
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Prints the longest stalls.
pub(crate) fn print(stalls: &[Stall]) {
    if stalls.is_empty() {
        return;
    }
    say!(
        "stalls: {} operations over 1 s and ten times the median of their command",
        stalls.len()
    );
    for stall in stalls.iter().take(SHOWN) {
        let Stall {
            command,
            path,
            client,
            frame,
            ..
        } = stall;
        let took =
            |micros: Option<u64>, how| micros.map(|micros| format!("{} {how}", time(micros)));
        let times = [
            took(stall.recorded_us, "recorded"),
            took(stall.seen_us, "here"),
        ];
        let times: Vec<String> = times.into_iter().flatten().collect();
        say!(
            "  {command} {path} of client {client} (frame {frame}): {}",
            times.join(", ")
        );
        if let Some(cause) = &stall.waited_for {
            say!("    {cause}");
        }
    }
    if stalls.len() > SHOWN {
        say!("  and {} more; all are in --json", stalls.len() - SHOWN);
    }
}

const LONG_US: u64 = 1_000_000;
const TIMES_THE_MEDIAN: u64 = 10;
const SHOWN: usize = 10;
