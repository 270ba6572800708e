//! SMB 3.1.1 POSIX extensions: permissions, owners and links of files, at level 0x64.
//!
//! An open with a POSIX context has POSIX semantics: its names and patterns compare letter by letter, and a colon is
//! one like any other. Users and groups have the identifiers that Samba makes of Unix numbers.

use smbench_core::fscc::{DirectoryEntry, FsPosixInfo, PosixPart};
use smbench_core::smb2::{ContextData, ContextTag, CreateContext, NtStatus};

use super::Server;
use super::directory::entry;
use super::fs::{Fs, NodeId};
use super::info::Out;
use super::open::OpenId;

/// What level 0x64 has of a file that others have not.
pub(super) fn part(fs: &Fs, node: NodeId) -> PosixPart {
    let Ok(found) = fs.node(node) else {
        return PosixPart::default();
    };
    let usual = if found.is_dir() { 0o755 } else { 0o644 };
    PosixPart {
        hard_links: u32::try_from(found.links.len()).unwrap_or(u32::MAX),
        mode: found.mode.unwrap_or(usual),
        owner: unix_sid(USERS),
        group: unix_sid(GROUPS),
        ..PosixPart::default()
    }
}

impl Server {
    /// FilePosixInformation, which an open without POSIX semantics does not know.
    pub(super) fn posix_info(&self, id: OpenId) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        if !open.posix {
            return Err(NtStatus::INVALID_INFO_CLASS);
        }
        let found = entry(&self.fs, "", open.node, 0).ok_or(NtStatus::FILE_DELETED)?;
        Ok(DirectoryEntry {
            posix: part(&self.fs, open.node),
            ..found
        }
        .to_posix_info())
    }

    /// Information about the file system, as of statvfs; `blocks` and `free` of 4 KiB.
    pub(super) fn posix_fs_info(
        &self,
        id: OpenId,
        blocks: u64,
        free: u64,
    ) -> Result<Vec<u8>, NtStatus> {
        if !self.open(id)?.posix {
            return Err(NtStatus::INVALID_INFO_CLASS);
        }
        let nodes = u64::try_from(self.config.limits.nodes).unwrap_or(u64::MAX);
        let used = u64::try_from(self.fs.count()).unwrap_or(u64::MAX);
        let mut out = Vec::new();
        let info = FsPosixInfo {
            optimal_transfer_size: 4_096,
            block_size: 4_096,
            total_blocks: blocks,
            blocks_available: free,
            user_blocks_available: free,
            total_file_nodes: nodes,
            free_file_nodes: nodes.saturating_sub(used),
            file_system_id: super::create_reply::VOLUME_ID,
        };
        info.encode(&mut out);
        Ok(out)
    }

    /// The context of a response: links, reparse tag, permissions, owner, group.
    pub(super) fn posix_context(&self, id: OpenId) -> Option<CreateContext> {
        let open = self.opens.get(&id).filter(|open| open.posix)?;
        let posix = part(&self.fs, open.node);
        let mut out = Out::default();
        out.u32(posix.hard_links).u32(0).u32(posix.mode);
        out.bytes(&posix.owner).bytes(&posix.group);
        Some(CreateContext {
            tag: ContextTag::POSIX,
            data: ContextData::Raw(out.0),
        })
    }
}

/// S-1-22-1 has users of Unix, S-1-22-2 groups.
const USERS: u32 = 1;
const GROUPS: u32 = 2;

fn unix_sid(kind: u32) -> Vec<u8> {
    let mut out = Out::default();
    out.u8(1).u8(2).bytes(&[0, 0, 0, 0, 0, 22]);
    out.u32(kind).u32(1_000);
    out.0
}
