//! What had to exist on the server before the recording began.

use serde::{Deserialize, Serialize};

use super::{DataRef, is_zero};
use crate::{fscc::SymbolicLink, ids::OpId};

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
    /// Where it leads, when it is a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// The operation that proves it.
    pub seen_by: OpId,
}

/// Where something leads that a CREATE does not open unless it asks for the link itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// A symbolic link: clients go on elsewhere. [MS-SMB2] 2.2.2.2.1
    Symlink(Symlink),
    /// A link of a namespace of DFS: what is at and below it is on another share. [MS-DFSC] 3.2.4.1
    Dfs,
}

/// A symbolic link.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Symlink {
    /// Where it leads, as the server follows it; none where no answer told that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The same as people see it, where that is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<String>,
    /// It is relative to the folder that the link is in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relative: bool,
}

impl From<&SymbolicLink> for Symlink {
    fn from(link: &SymbolicLink) -> Self {
        let target = link.substitute.to_lossy().into_owned();
        let print = link.print.to_lossy().into_owned();
        Self {
            print: (print != target).then_some(print),
            target: Some(target),
            relative: link.relative,
        }
    }
}

impl From<&Symlink> for SymbolicLink {
    /// A target that nobody knows is empty.
    fn from(link: &Symlink) -> Self {
        let target = link.target.as_deref().unwrap_or_default();
        Self {
            substitute: target.into(),
            print: link.print.as_deref().unwrap_or(target).into(),
            relative: link.relative,
        }
    }
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
