//! What a model server is told at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use smbench_core::{
    function::Function,
    seal::Secret,
    smb2::{Dialect, NtStatus},
};

use super::denials::Denial;
use super::functions::RecordedFunction;
use super::limits::Limits;
use super::plant::Plant;
use super::recorded::RecordedPipe;

/// What a share holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ShareKind {
    /// Files and directories.
    #[default]
    Disk,
    /// Named pipes: `IPC$`.
    Pipe,
}

/// How a request is answered that is related to a CREATE that failed: servers differ, as
/// [MS-SMB2] 3.3.5.2.7.2 says what they SHOULD do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AfterFailedCreate {
    /// With the status of the CREATE.
    #[default]
    SameStatus,
    /// With FILE_CLOSED.
    FileClosed,
}

/// When a name goes that is deleted with POSIX semantics ([MS-FSCC] 2.4.12), whoever else has it open.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PosixDelete {
    /// With the CLOSE of the open that deleted it, as Windows does.
    #[default]
    AtClose,
    /// At once.
    AtOnce,
}

/// One file or directory of a share's initial tree; missing parents are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SeedEntry {
    /// A directory.
    Dir {
        /// Path relative to the share, with backslashes.
        path: String,
    },
    /// A file with its content.
    File {
        /// Path relative to the share, with backslashes.
        path: String,
        /// Content.
        data: Vec<u8>,
    },
}

/// One share.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShareConfig {
    /// Name, compared without case.
    pub name: String,
    /// Disk or pipe.
    pub kind: ShareKind,
    /// Whether clients have to encrypt. [MS-SMB2] 2.2.10, SMB2_SHAREFLAG_ENCRYPT_DATA.
    pub encrypt: bool,
    /// Whether writing is refused.
    pub read_only: bool,
    /// Whether it is a namespace of DFS, so that names may begin with server and share. [MS-SMB2]
    /// 3.3.1.6, Share.IsDfs.
    pub is_dfs: bool,
    /// What is in it at the start.
    pub files: Vec<SeedEntry>,
}

impl ShareConfig {
    /// An empty, writable, unencrypted disk share.
    #[must_use]
    pub fn disk(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A pipe share, such as `IPC$`.
    #[must_use]
    pub fn pipe(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: ShareKind::Pipe,
            ..Self::default()
        }
    }
}

/// Configuration of a [`Server`](super::Server).
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Shares, looked up without case.
    pub shares: Vec<ShareConfig>,
    /// Users and their passwords, in UTF-8.
    pub users: Vec<(String, Secret)>,
    /// Whether unknown users are guests and anonymous logins let in; else the former get
    /// LOGON_FAILURE and the latter ACCESS_DENIED.
    pub guest_ok: bool,
    /// For simulations: any security token is accepted at once, nothing is signed or encrypted.
    pub trusting: bool,
    /// Whether unsigned requests are refused.
    pub signing_required: bool,
    /// Whether every session has to encrypt: dialects and logins that cannot are refused with
    /// ACCESS_DENIED. [MS-SMB2] 3.3.5.5, 3.3.5.5.3.
    pub encrypt_required: bool,
    /// Oldest dialect offered.
    pub min_dialect: Dialect,
    /// Newest dialect offered.
    pub max_dialect: Dialect,
    /// Whether leases are granted.
    pub leases: bool,
    /// Whether leases of directories are granted, on dialects 3.x to clients that know them.
    pub directory_leases: bool,
    /// Whether sessions may have several channels, on dialects 3.x. [MS-SMB2] 3.3.1.5
    /// `IsMultiChannelCapable`.
    pub multi_channel: bool,
    /// Addresses under which it tells clients that they find it. [MS-SMB2] 3.3.5.15.11.
    pub interfaces: Vec<IpAddr>,
    /// How what is related to a failed CREATE is answered.
    pub after_failed_create: AfterFailedCreate,
    /// When a name goes that is deleted with POSIX semantics.
    pub posix_delete: PosixDelete,
    /// Information that it does not know although the model does, and what it answers then.
    pub unknown: BTreeMap<Function, NtStatus>,
    /// Whether clients get the SMB 3.1.1 POSIX extensions that offer them.
    pub posix_extensions: bool,
    /// How long a break waits for its acknowledgement, in milliseconds. [MS-SMB2] 3.3.2.1.
    pub break_timeout_ms: u64,
    /// How long a durable handle outlives its connection by default, in milliseconds.
    pub durable_timeout_ms: u64,
    /// Most credits a client can hold. [MS-SMB2] 3.3.1.2.
    pub max_credits: u16,
    /// Largest READ, WRITE or transaction, in bytes, on dialects after 2.0.2.
    pub max_io_bytes: u32,
    /// What was said on pipes, for whoever opens one of the same name.
    pub pipes: Vec<RecordedPipe>,
    /// Whether services answer on pipes: srvsvc and wkssvc. Else pipes answer as they were recorded.
    pub services: bool,
    /// What users are not allowed to do.
    pub denials: Vec<Denial>,
    /// What was answered to requests that the model does not compute. Those it has no answer for it refuses.
    pub functions: Vec<RecordedFunction>,
    /// Deliberate bugs.
    pub plants: BTreeSet<Plant>,
    /// Seed of every id and challenge.
    pub seed: u64,
    /// ServerGuid.
    pub server_guid: [u8; 16],
    /// NetBIOS name, upper case.
    pub server_name: String,
    /// FILETIME of [`LogicalTime::ZERO`](smbench_core::ids::LogicalTime::ZERO).
    pub epoch_filetime: u64,
    /// Bounds.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            shares: vec![ShareConfig::disk("share"), ShareConfig::pipe("IPC$")],
            users: Vec::new(),
            guest_ok: true,
            trusting: false,
            signing_required: false,
            encrypt_required: false,
            min_dialect: Dialect::SMB_2_0_2,
            max_dialect: Dialect::SMB_3_1_1,
            leases: true,
            directory_leases: true,
            multi_channel: true,
            interfaces: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            after_failed_create: AfterFailedCreate::default(),
            posix_delete: PosixDelete::default(),
            unknown: BTreeMap::new(),
            posix_extensions: false,
            break_timeout_ms: 30_000,
            durable_timeout_ms: 60_000,
            max_credits: 8_192,
            max_io_bytes: 8 << 20,
            pipes: Vec::new(),
            services: false,
            denials: Vec::new(),
            functions: Vec::new(),
            plants: BTreeSet::new(),
            seed: 0,
            server_guid: *b"smbench-model-sv",
            server_name: "SMBENCH".to_owned(),
            // 2025-01-01 00:00:00 UTC.
            epoch_filetime: 133_801_632_000_000_000,
            limits: Limits::default(),
        }
    }
}
