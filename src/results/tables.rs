//! Rows by command, client, share and file; the slowest of them; and how time went.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::event::Lateness;
use smbench_core::smb2::Command;

use super::rows::{Row, Rows, Side};
use crate::histogram;
use crate::report::time;

/// Answers of one command, recorded and here.
#[derive(Debug)]
pub(crate) struct CommandTimes {
    pub(crate) command: Command,
    pub(crate) recorded: Histogram<u64>,
    pub(crate) here: Histogram<u64>,
}

/// Answer times of a side, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    /// Not of fewer than 100 answers: it would be one of them.
    pub(crate) p99_us: Option<u64>,
    pub(crate) max_us: u64,
}

/// Below so many answers there is no 99th percentile.
pub(crate) const ENOUGH_FOR_P99: u64 = 100;

impl Quantiles {
    /// Median, 99th percentile and longest in words; a line where there is none.
    pub(crate) fn words(&self) -> [String; 3] {
        let some = |us: Option<u64>| us.filter(|_| self.count > 0).map_or("—".to_owned(), time);
        [
            some(Some(self.p50_us)),
            some(self.p99_us),
            some(Some(self.max_us)),
        ]
    }

    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let count = times.len();
        let p99 = (count >= ENOUGH_FOR_P99).then(|| times.value_at_quantile(0.99));
        Self {
            count,
            p50_us: times.value_at_quantile(0.5),
            p99_us: p99,
            max_us: times.max(),
        }
    }
}

impl CommandTimes {
    /// Answer times of a side.
    pub(crate) fn side(&self, side: Side) -> &Histogram<u64> {
        match side {
            Side::Recorded => &self.recorded,
            Side::Here => &self.here,
        }
    }
}

/// Answer times by command, most answers first. Only operations with an answer on both sides count as recorded
/// where there was a run: else the two would not be of the same work.
pub(crate) fn by_command(rows: &Rows, ran: bool) -> Vec<CommandTimes> {
    let mut all: BTreeMap<Command, CommandTimes> = BTreeMap::new();
    for row in rows.iter().filter(|it| it.is_request && !it.reconstructed) {
        let times = all.entry(row.command).or_insert_with(|| CommandTimes {
            command: row.command,
            recorded: histogram::of_times(3),
            here: histogram::of_times(3),
        });
        if let Some(answer) = row.recorded.filter(|_| !ran || row.seen.is_some()) {
            times.recorded.saturating_record(answer.took_us);
        }
        if let Some(answer) = row.seen {
            times.here.saturating_record(answer.took_us);
        }
    }
    let mut all: Vec<CommandTimes> = all.into_values().collect();
    all.retain(|it| !it.recorded.is_empty() || !it.here.is_empty());
    all.sort_by_key(|it| std::cmp::Reverse(it.recorded.len().max(it.here.len())));
    all
}

/// Those of all commands together, CHANGE_NOTIFY excepted: it is answered when something happens.
pub(crate) fn overall(commands: &[CommandTimes], side: Side) -> Histogram<u64> {
    let mut all = histogram::of_times(3);
    let counted = commands
        .iter()
        .filter(|it| it.command != Command::CHANGE_NOTIFY);
    for times in counted {
        // All have the same bounds.
        all.add(times.side(side)).unwrap_or(());
    }
    all
}

/// The operations that took longest on a side, longest first. CHANGE_NOTIFY is none of them.
pub(crate) fn slowest(rows: &Rows, side: Side, count: usize) -> Vec<&Row> {
    let mut answered: Vec<&Row> = rows
        .iter()
        .filter(|it| it.is_request && !it.reconstructed)
        .filter(|it| it.command != Command::CHANGE_NOTIFY)
        .filter(|it| it.answer(side).is_some())
        .collect();
    answered.sort_by_key(|it| {
        let took = it.answer(side).map_or(0, |it| it.took_us);
        (std::cmp::Reverse(took), it.op)
    });
    answered.truncate(count);
    answered
}

/// Work of a client, on a share, on a file.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) diverged: u64,
    pub(crate) times: Histogram<u64>,
}

/// Work of a side by what `key` says of a row, most requests first; rows without a key are left out.
pub(crate) fn by<'a>(
    rows: &'a Rows,
    side: Side,
    key: impl Fn(&'a Row) -> Option<String>,
) -> Vec<Load> {
    let mut all: BTreeMap<String, Load> = BTreeMap::new();
    for row in rows.iter().filter(|it| it.is_request && !it.reconstructed) {
        let sent = row.began(side).is_some();
        let Some(name) = key(row).filter(|name| sent && !name.is_empty()) else {
            continue;
        };
        let load = all.entry(name).or_insert_with_key(|name| Load {
            name: name.clone(),
            requests: 0,
            errors: 0,
            read: 0,
            written: 0,
            diverged: 0,
            times: histogram::of_times(2),
        });
        load.requests += 1;
        load.diverged += u64::from(matches!(row.fate, super::rows::Fate::Diverged(_)));
        let Some(answer) = row.answer(side) else {
            continue;
        };
        load.errors += u64::from(answer.is_error());
        match row.command {
            Command::READ => load.read = load.read.saturating_add(answer.moved),
            Command::WRITE => load.written = load.written.saturating_add(answer.moved),
            _ => {}
        }
        if row.command != Command::CHANGE_NOTIFY {
            load.times.saturating_record(answer.took_us);
        }
    }
    let mut all: Vec<Load> = all.into_values().collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.requests));
    all
}

/// How time went on a side: slices of equal length.
#[derive(Debug)]
pub(crate) struct Course {
    /// When the first slice begins, and how long each is, in microseconds.
    pub(crate) from_us: u64,
    pub(crate) slice_us: u64,
    pub(crate) slices: Vec<Slice>,
}

/// A slice of time.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Answers that came in it.
    pub(crate) answers: u64,
    /// Bytes that READ and WRITE moved.
    pub(crate) moved: u64,
    /// Times of the answers that came in it.
    pub(crate) times: Histogram<u64>,
    /// Most requests that waited for an answer at once.
    pub(crate) in_flight: u64,
    /// Requests that went out in it, and how late they were, summed.
    pub(crate) started: u64,
    pub(crate) late: Lateness,
}

impl Course {
    /// Of a side, in no more than `most` slices.
    pub(crate) fn of(rows: &Rows, side: Side, most: u64) -> Self {
        let (from_us, to_us) = rows.span_us(side);
        let slice_us = (to_us - from_us).div_ceil(most.max(1)).max(1);
        let count = (to_us - from_us) / slice_us + 1;
        let slices = (0..count).map(|_| Slice {
            answers: 0,
            moved: 0,
            times: histogram::of_times(2),
            in_flight: 0,
            started: 0,
            late: Lateness::default(),
        });
        let mut course = Self {
            from_us,
            slice_us,
            slices: slices.collect(),
        };
        let mut changes: Vec<(u64, i64)> = Vec::new();
        for row in rows.iter().filter(|it| it.is_request) {
            let Some(began) = row.began(side) else {
                continue;
            };
            if let Some(slice) = course.at(began) {
                slice.started += 1;
                add(&mut slice.late, &row.late);
            }
            let (Some(answer), Some(ended)) = (row.answer(side), row.ended(side)) else {
                continue;
            };
            if row.command == Command::CHANGE_NOTIFY {
                continue;
            }
            changes.extend([(began, 1), (ended, -1)]);
            if let Some(slice) = course.at(ended) {
                slice.answers += 1;
                slice.moved = slice.moved.saturating_add(answer.moved);
                slice.times.saturating_record(answer.took_us);
            }
        }
        course.count_in_flight(changes);
        course
    }

    fn at(&mut self, us: u64) -> Option<&mut Slice> {
        let at = us.checked_sub(self.from_us)? / self.slice_us;
        self.slices.get_mut(usize::try_from(at).ok()?)
    }

    fn count_in_flight(&mut self, mut changes: Vec<(u64, i64)>) {
        changes.sort_unstable();
        let (mut now, mut next) = (0_i64, 0);
        for at in 0..self.slices.len() {
            let end = self.from_us + self.slice_us.saturating_mul(at as u64 + 1);
            let mut most = now;
            while let Some((_, change)) = changes.get(next).filter(|(us, _)| *us < end) {
                now += change;
                most = most.max(now);
                next += 1;
            }
            if let Some(slice) = self.slices.get_mut(at) {
                slice.in_flight = u64::try_from(most).unwrap_or(0);
            }
        }
    }
}

fn add(to: &mut Lateness, more: &Lateness) {
    to.causality_ns = to.causality_ns.saturating_add(more.causality_ns);
    to.credits_ns = to.credits_ns.saturating_add(more.credits_ns);
    to.server_ns = to.server_ns.saturating_add(more.server_ns);
    to.replayer_ns = to.replayer_ns.saturating_add(more.replayer_ns);
    to.breaks_ns = to.breaks_ns.saturating_add(more.breaks_ns);
}
