//! A part of a workload as a workload of its own.
//!
//! [`Selection::of`] reads the operations once, in brief, and decides which stay and in which
//! order; [`slice`] then reads them again and writes the new folder as they come. Nothing about an
//! operation changes but its numbers, its time and its edges.
//!
//! | file     | holds                                              |
//! |----------|----------------------------------------------------|
//! | `glob`   | patterns for names                                 |
//! | `names`  | names as a tree                                    |
//! | `filter` | what is meant: client, session, share, path, time  |
//! | `index`  | a workload in brief                                |
//! | `keep`   | which operations stay, and why                     |
//! | `bridge` | the order among them                               |
//! | `state`  | what must exist before                             |
//! | `remap`  | new numbers                                        |
//! | `write`  | the new folder                                     |

mod bridge;
mod filter;
mod glob;
mod index;
mod keep;
mod names;
mod remap;
mod state;
mod write;

use std::{collections::BTreeMap, path::Path};

use smbench_core::{
    ids::OpId,
    workload::{Operation, Workload},
};
use thiserror::Error;

use self::{
    bridge::Bridged,
    filter::Matcher,
    index::{Index, Kind},
    keep::Kept,
};
pub use self::{
    filter::{FilterError, Filters, parse_time},
    glob::Glob,
    keep::Reason,
};
use crate::folder::{FolderError, FolderReader};

/// How to cut.
#[derive(Clone, Debug, Default)]
pub struct SliceOptions {
    /// What is meant.
    pub filters: Filters,
    /// Keep what made the state that it met, and what answers depended on.
    pub causes: bool,
    /// Leave times as they are, instead of counting them from what is kept.
    pub keep_times: bool,
    /// What the history calls it: `slice`, `compile`.
    pub verb: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Sliced {
    /// The tables of the new workload.
    pub workload: Workload,
    /// Lines of the workload that was cut.
    pub of_operations: u64,
    /// Lines that stay, by [`Reason`].
    pub kept: BTreeMap<String, u64>,
    /// Lines that do not, by the first filter that does not mean them.
    pub left_out: BTreeMap<String, u64>,
    /// Edges that stand for a way through what was left out.
    pub bridged: u64,
    /// Entries of the initial namespace.
    pub namespace: u64,
    /// Those that the slice's own answers tell, other than the workload did.
    pub derived: u64,
    /// What the slice expects and cannot find, by kind.
    pub unmet: BTreeMap<String, u64>,
    /// Different blobs.
    pub blobs: u64,
    /// By how much times were moved to the front, in microseconds.
    pub moved_us: u64,
}

/// Why nothing was cut.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SliceError {
    /// A filter makes no sense.
    #[error("{source}")]
    Filter {
        /// Why.
        #[from]
        source: FilterError,
    },
    /// No operation is meant.
    #[error("no operation is meant: {}", told(.left_out))]
    Nothing {
        /// Operations by the first filter that does not mean them.
        left_out: BTreeMap<String, u64>,
        /// Names that there are: what is at the top of shares.
        names: Vec<String>,
        /// Commands that there are.
        commands: Vec<String>,
        /// When the last operation began, in microseconds from the start.
        last_us: u64,
    },
    /// A folder cannot be read or written.
    #[error("{source}")]
    Folder {
        /// Why.
        #[from]
        source: FolderError,
    },
    /// The workload names an operation that it does not have.
    #[error("operation {op} names operation {other}, but the workload has only {count}")]
    Dangling {
        /// Who names it.
        op: OpId,
        /// What it names.
        other: OpId,
        /// How many there are.
        count: usize,
    },
    /// The workload names something that its tables do not have.
    #[error("operation {op} names {what} {number}, but the workload has only {count}")]
    NoEntry {
        /// Who names it.
        op: OpId,
        /// Which table.
        what: &'static str,
        /// The number it names.
        number: u32,
        /// How many there are.
        count: usize,
    },
    /// The edges of the workload make no order.
    #[error("operation {op} waits for itself, by others")]
    Circle {
        /// An operation that can never begin.
        op: OpId,
    },
}

fn told(counts: &BTreeMap<String, u64>) -> String {
    let told: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{count} of {what}"))
        .collect();
    told.join(", ")
}

impl SliceError {
    /// Whether what was asked for makes no sense; otherwise a folder is not as needed.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Filter { .. } | Self::Nothing { .. })
    }

    /// What to do about it; empty where only the error itself can say.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Filter { source } => source.remedy(),
            Self::Nothing {
                names,
                commands,
                last_us,
                ..
            } => format!(
                "there is, at the top of shares: {}; commands: {}; times: 0 to {last_us}us",
                names.join(", "),
                commands.join(", "),
            ),
            _ => String::new(),
        }
    }
}

/// What of a workload stays, and in which order.
#[derive(Debug)]
pub struct Selection {
    index: Index,
    kept: Kept,
    order: Bridged,
    options: SliceOptions,
}

impl Selection {
    /// Decides what of `folder` stays.
    ///
    /// # Errors
    ///
    /// [`SliceError`].
    pub fn of(folder: &FolderReader, options: &SliceOptions) -> Result<Self, SliceError> {
        let matcher = Matcher::new(&options.filters, folder.workload())?;
        let index = Index::read(folder, &matcher)?;
        let kept = keep::keep(&index, options.causes, matcher.to_us);
        if kept.count == 0 {
            return Err(nothing(&index));
        }
        let order = bridge::bridge(&index, &kept)?;
        Ok(Self {
            index,
            kept,
            order,
            options: options.clone(),
        })
    }

    /// How many operations stay.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.kept.count
    }

    /// Whether none does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.count == 0
    }

    /// Why an operation stays; none when it is left out.
    #[must_use]
    pub fn reason(&self, op: OpId) -> Option<Reason> {
        self.kept.reason(op)
    }

    /// The operations that stay, with the order among them and their old numbers.
    ///
    /// # Errors
    ///
    /// [`FolderError`], here and from the iterator.
    pub fn operations<'a>(
        &'a self,
        folder: &FolderReader,
    ) -> Result<impl Iterator<Item = Result<Operation, FolderError>> + 'a, FolderError> {
        let stays = |op: &Result<Operation, FolderError>| match op {
            Ok(op) => self.kept.has(op.id),
            Err(_) => true,
        };
        Ok(folder.operations()?.filter(stays).map(|op| {
            let mut op = op?;
            op.after = self.order.after(op.id).to_vec();
            Ok(op)
        }))
    }

    /// Lines left out, by kind and the first filter that does not mean them.
    fn left_out(&self) -> BTreeMap<String, u64> {
        left_out(&self.index, |op| !self.kept.has(op))
    }
}

/// Cuts a workload: what the options mean becomes the workload folder `out`, which must be
/// nothing, an empty folder, or a workload that is then replaced.
///
/// # Errors
///
/// [`SliceError`].
pub fn slice(
    folder: &FolderReader,
    options: &SliceOptions,
    out: &Path,
) -> Result<Sliced, SliceError> {
    let selection = Selection::of(folder, options)?;
    write::write(folder, &selection, out)
}

fn left_out(index: &Index, gone: impl Fn(OpId) -> bool) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (op, line) in index.ids().zip(&index.lines) {
        let Some(missed) = line.missed.filter(|_| gone(op)) else {
            continue;
        };
        let what = match line.kind {
            Kind::Request => missed.name().to_owned(),
            Kind::Smb1 => format!("smb1: {}", missed.name()),
            Kind::Break => format!("notifications: {}", missed.name()),
            Kind::End => format!("disconnects: {}", missed.name()),
        };
        *counts.entry(what).or_default() += 1;
    }
    counts
}

fn nothing(index: &Index) -> SliceError {
    let mut names: Vec<String> = Vec::new();
    let mut tops: Vec<&str> = index.names.tops().collect();
    tops.sort_unstable();
    tops.dedup();
    names.extend(tops.iter().take(NAMES).map(|top| (*top).to_owned()));
    if tops.len() > NAMES {
        names.push(format!("and {} more", tops.len() - NAMES));
    }
    let commands: std::collections::BTreeSet<_> = index.lines.iter().map(|line| line.cmd).collect();
    SliceError::Nothing {
        left_out: left_out(index, |_| true),
        names,
        commands: commands
            .into_iter()
            .map(|command| match command {
                filter::DISCONNECT => "DISCONNECT".to_owned(),
                named => named.to_string(),
            })
            .collect(),
        last_us: index.lines.iter().map(|line| line.at_us).max().unwrap_or(0),
    }
}

/// Names that an error shows.
const NAMES: usize = 12;
