//! The workload folder: `workload.json`, `ops.jsonl`, `namespace.jsonl`, `blobs.pack`.
//!
//! Written beside its final place and renamed when complete; read line by line. What the lines
//! mean is [`smbench_core::workload`]'s business.

pub mod archive;
mod blobs;
mod check;
mod line;
mod load;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::{io, path::PathBuf};

use smbench_core::frame::Digest;
use thiserror::Error;

pub(crate) use self::blobs::{BlobIndex, PackWriter};
pub use self::{
    blobs::{BlobReader, BlobWriter},
    check::Fault,
    load::{LoadError, Loaded},
    read::{Entries, FolderReader, Operations},
    write::FolderWriter,
};

/// File names inside a workload folder.
pub mod name {
    /// Tables and provenance.
    pub const WORKLOAD: &str = "workload.json";
    /// Operations, one a line.
    pub const OPERATIONS: &str = "ops.jsonl";
    /// Initial namespace, one entry a line.
    pub const NAMESPACE: &str = "namespace.jsonl";
    /// Bulk data by digest.
    pub const BLOBS: &str = "blobs.pack";
    /// Operations on their way, while the folder is written.
    pub(super) const SPILL: &str = "ops.spill";
    /// What is known of operations, for as long.
    pub(super) const SCRATCH: &str = "table.scratch";
}

/// The longest line: several times what a frame can carry, as hexadecimal digits.
const MAX_LINE: u64 = 128 << 20;
/// The largest table: some ten million sessions, trees and opens.
const MAX_TABLES: u64 = 1 << 30;

fn line_too_long() -> io::Error {
    let text = format!("a line is longer than {} MiB", MAX_LINE >> 20);
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Why a workload folder could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The operating system refused.
    #[error("{path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The thread that writes ended before its work.
    #[error("the thread that writes the workload has stopped")]
    Stopped,
    /// Something is already there.
    #[error("{path} exists and is no workload folder; it is left alone")]
    Occupied {
        /// Where the workload should go.
        path: PathBuf,
    },
    /// There is no workload here.
    #[error("{path} is no workload folder: it has no {}", name::WORKLOAD)]
    NotAWorkload {
        /// The folder.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("{path} has format {got}; this program reads up to {newest}")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        got: u64,
        /// The newest format understood.
        newest: u32,
    },
    /// More opens than operations can name.
    #[error("{path} announces {opens} opens; {operations} operations cannot name so many")]
    TooManyOpens {
        /// The file.
        path: PathBuf,
        /// Opens announced.
        opens: u32,
        /// Operations there are at most.
        operations: u64,
    },
    /// A line that is not what it should be.
    #[error("{path}, line {line}, byte {byte} of the file: {source}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Where the line begins, in bytes from the start of the file.
        byte: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Operations are numbered by their lines.
    #[error("{path}, line {line}: the operation is numbered {got}")]
    BadNumber {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The number found; the line's, counted from 0, is wanted.
        got: u32,
    },
    /// The file ends before or after its time.
    #[error("{path} has {got} lines, and {} says {want}", name::WORKLOAD)]
    BadCount {
        /// The file.
        path: PathBuf,
        /// Lines found.
        got: u64,
        /// Lines announced.
        want: u64,
    },
    /// `blobs.pack` is damaged.
    #[error("{path}, byte {byte}: {what}")]
    BadPack {
        /// The file.
        path: PathBuf,
        /// Where.
        byte: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Data that the workload does not hold.
    #[error("{path} holds no data with digest {digest}")]
    NoBlob {
        /// The file.
        path: PathBuf,
        /// The digest.
        digest: Digest,
    },
    /// Data longer than 4 GiB.
    #[error("data of {got} bytes is too long for one blob")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// A capture whose few bytes stand for many.
    #[error(
        "the workload would be longer than {limit} bytes: messages of the capture claim far more \
         than it holds; take it with a longer snap length, or compile it in parts"
    )]
    Swollen {
        /// What was allowed.
        limit: u64,
    },
    /// A table that cannot be written as JSON.
    #[error("{path}: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl FolderError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
