//! What had to exist on the server before the recording began.

use serde::{Deserialize, Serialize};

use super::{DataRef, is_zero};
use crate::ids::OpId;

/// One line of `namespace.jsonl`: something that existed when the recording began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The share, without the server.
    pub share: String,
    /// Path below the share, with backslashes; a stream as `file:stream`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes, as far as known; 0 for folders.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// File attributes, when seen. [MS-FSCC] 2.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<u32>,
    /// Its times, when seen before the recording changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// Content that reads showed, by ascending offset; the rest is synthetic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Extent>,
    /// The operation that proves it.
    pub seen_by: OpId,
}

/// Times of a file as FILETIMEs: 100 ns since 1601, 0 where not known. [MS-DTYP] 2.3.3.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// When it was made.
    pub created: u64,
    /// When it was last used.
    pub accessed: u64,
    /// When its content was last changed.
    pub written: u64,
    /// When anything about it was last changed.
    pub changed: u64,
}

/// A stretch of a file whose content is known.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What it holds.
    pub data: DataRef,
}

/// What a namespace entry is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A named stream of a file or folder.
    Stream,
}
