//! The portable workload: who did what, in which order, and what came of it.
//!
//! Types and their JSON shape only; folders and files are the compiler's business. A workload is
//! `workload.json` ([`Workload`]), `ops.jsonl` ([`Operation`], one a line, in capture order),
//! `namespace.jsonl` ([`Entry`]) and `blobs.pack` (write data and observed content by digest).
//! The schema with an example of each line is in `docs/WORKLOAD.md`.

mod namespace;
mod operation;
mod rebuild;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    namespace::{Entry, EntryKind, Extent, Link, Symlink, Times},
    operation::{
        Action, BreakNotice, Compound, DataRef, Disconnect, Edge, Expect, LeaseGrant, Operation,
        Rule,
    },
    rebuild::{WireIds, header_of, rebuild, reclaimed_handle},
};
use crate::{
    ids::{ClientId, ConnId, OpenRef, SessionRef, TreeRef},
    smb2::{Capabilities, Dialect, FileId, SessionId, TreeId},
};

/// The format this code writes. Older ones are read; newer ones are refused.
pub const FORMAT: u32 = 1;

/// `workload.json`: the tables that operations point into, and how the workload came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// What it was made from, by what.
    pub provenance: Provenance,
    /// Client hosts, by [`ClientId`].
    pub clients: Vec<Client>,
    /// Transport connections, by [`ConnId`].
    pub connections: Vec<Connection>,
    /// Users, by index.
    pub principals: Vec<Principal>,
    /// Sessions, by [`SessionRef`].
    pub sessions: Vec<Session>,
    /// Tree connects, by [`TreeRef`].
    pub trees: Vec<Tree>,
    /// Opens that operations use but no captured CREATE made.
    pub inferred_opens: Vec<InferredOpen>,
    /// Number of opens: every [`OpenRef`] is below it.
    pub opens: u32,
    /// Lines in `ops.jsonl`.
    pub operations: u64,
    /// What was seen, used, inferred and skipped.
    pub coverage: Coverage,
}

impl Workload {
    /// Whether so many operations can name as many opens as the workload says there are.
    #[must_use]
    pub fn has_plausible_opens(&self, operations: u64) -> bool {
        can_name(operations, self.inferred_opens.len(), self.opens.into())
    }
}

/// Whether operations can name so many opens. Each has its own and one that it reclaims; a few more
/// are no harm.
pub(crate) fn can_name(operations: u64, inferred: usize, opens: u64) -> bool {
    let inferred = u64::try_from(inferred).unwrap_or(u64::MAX);
    let named = operations.saturating_mul(2).saturating_add(inferred);
    opens <= named.max(FEW_OPENS)
}

/// There is always room for so many opens.
const FEW_OPENS: u64 = 1 << 16;

/// Where a workload comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// `smbench` and its version.
    pub tool: String,
    /// The captures, in the order given.
    pub captures: Vec<CaptureFile>,
    /// Unix time of the first packet in nanoseconds: time 0 of every `at_us`.
    pub epoch_ns: u64,
    /// What was done to it after compiling: `slice`, `anonymize`, with their arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
}

/// One capture a workload was compiled from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureFile {
    /// Its file name, without folders; `-` for standard input.
    pub name: String,
    /// BLAKE3 of its bytes, in hex.
    pub blake3: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Nanoseconds that were added to its times, as its clock did not agree with that of another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_ns: i64,
}

/// A client host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Its address in the capture.
    pub address: String,
}

/// A transport connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Who opened it.
    pub client: ClientId,
    /// Client side, `address:port`.
    pub from: String,
    /// Server side, `address:port`.
    pub to: String,
    /// When it was first seen, in microseconds from the start of the capture.
    pub at_us: u64,
    /// Negotiated dialect, when the negotiation was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// What the server said that it can, when the negotiation was captured. [MS-SMB2] 2.2.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Its beginning is not in the capture.
    #[serde(default, skip_serializing_if = "is_false")]
    pub midstream: bool,
}

/// A user.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Principal {
    /// `DOMAIN\user`, `user`, or `user@REALM`; empty for anonymous or unknown.
    pub name: String,
}

/// An authenticated session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Index into [`Workload::principals`]: who logged in first.
    pub principal: u32,
    /// The connection it was set up on.
    pub conn: ConnId,
    /// Its id on the captured wire.
    pub wire_id: SessionId,
    /// `SMB2_SESSION_FLAG_IS_GUEST` (1), `IS_NULL` (2), `ENCRYPT_DATA` (4). [MS-SMB2] 2.2.6.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u16,
    /// Its set-up is not in the capture.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
}

/// A tree connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The session it belongs to.
    pub session: SessionRef,
    /// `\\server\share`; empty when inferred.
    pub path: String,
    /// 1 disk, 2 pipe, 3 printer; 0 unknown. [MS-SMB2] 2.2.10.
    pub share_type: u8,
    /// Its id on the captured wire.
    pub wire_id: TreeId,
    /// Its set-up is not in the capture.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
}

impl Tree {
    /// The share's name: what follows the last backslash of the path.
    #[must_use]
    pub fn share(&self) -> &str {
        let before = self.path.bytes().rposition(|byte| byte == b'\\');
        let begin = before.map_or(0, |at| at + 1);
        self.path.get(begin..).unwrap_or_default()
    }

    /// What it is, as far as the capture tells. `IPC$` is a name that servers keep for pipes.
    #[must_use]
    pub fn kind(&self) -> ShareKind {
        match ShareKind::of_wire(self.share_type) {
            ShareKind::Unknown if self.share().eq_ignore_ascii_case("IPC$") => ShareKind::Pipe,
            kind => kind,
        }
    }

    /// Whether names on it are files: pipes and printers have neither content nor share modes.
    #[must_use]
    pub fn holds_files(&self) -> bool {
        matches!(self.kind(), ShareKind::Disk | ShareKind::Unknown)
    }

    /// Whether names on it are pipes.
    #[must_use]
    pub fn holds_pipes(&self) -> bool {
        self.kind() == ShareKind::Pipe
    }
}

/// What a share is. [MS-SMB2] 2.2.10.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum ShareKind {
    /// Files.
    Disk,
    /// Named pipes.
    Pipe,
    /// A printer.
    Printer,
    /// Nobody has told.
    #[default]
    Unknown,
}

impl ShareKind {
    /// The kind that a ShareType says.
    #[must_use]
    pub const fn of_wire(share_type: u8) -> Self {
        match share_type {
            1 => Self::Disk,
            2 => Self::Pipe,
            3 => Self::Printer,
            _ => Self::Unknown,
        }
    }

    /// Whether what is done on such a share is confined to the root: all that is not known to be a
    /// pipe. A share whose kind is not known counts, because what is not confined can destroy.
    #[must_use]
    pub const fn is_confined(self) -> bool {
        !matches!(self, Self::Pipe)
    }
}

/// An open whose CREATE is not in the capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferredOpen {
    /// Its number.
    pub open: OpenRef,
    /// The tree it is used in.
    pub tree: Option<TreeRef>,
    /// Its id on the captured wire.
    pub wire_id: FileId,
}

/// What a compilation saw, used, inferred and skipped. Nothing is skipped without a reason here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Packets read.
    pub packets: u64,
    /// SMB frames found in them.
    pub frames: u64,
    /// SMB2 requests found in those.
    pub requests_seen: u64,
    /// SMB2 responses found, interim ones and notifications included.
    pub responses: u64,
    /// Operations by command, `NEGOTIATE` to `OPLOCK_BREAK`.
    pub by_command: BTreeMap<String, u64>,
    /// Complete requests whose bytes the workload gives back exactly, ids restored.
    pub reencoded_exact: u64,
    /// Complete requests.
    pub reencoded_total: u64,
    /// Messages, packets and streams that were not used, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What was not in the capture but concluded from it, by kind.
    pub inferred: BTreeMap<String, u64>,
    /// Order edges by rule.
    pub edges: BTreeMap<String, u64>,
    /// Damage and contradictions in the capture, by kind.
    pub problems: BTreeMap<String, u64>,
}

impl Coverage {
    /// Captured requests that are in the workload.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.by_command.values().sum()
    }
}

pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

pub(crate) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
