//! QUERY_INFO. [MS-SMB2] 3.3.5.20.

use smbench_core::smb2::{
    FileInfoClass, FsInfoClass, InfoType, NtStatus, QueryInfoRequest, QueryInfoResponse,
};

use super::Server;
use super::answer::{Answer, Cx, Handled, Stop};
use super::create_reply::VOLUME_ID;
use super::data::{len_of, len32};
use super::info::{Out, utf16};
use super::open::OpenId;

impl Server {
    pub(super) fn query_info(&mut self, cx: &Cx, body: &QueryInfoRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let max = self.conns.get(&cx.conn).map_or(0, |conn| conn.max_io);
        if body.output_buffer_length > max {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let class = body.file_info_class.0;
        let (bytes, fixed) = match body.info_type {
            InfoType::FILE => {
                let class = FileInfoClass(class);
                (self.file_info(id, class)?, file_fixed(class))
            }
            InfoType::FILESYSTEM => {
                let class = FsInfoClass(class);
                (self.fs_info(id, class)?, fs_fixed(class))
            }
            InfoType::SECURITY => {
                let bytes = self.query_security(id, body.additional_information)?;
                let room = body.output_buffer_length;
                // [MS-SMB2] 3.3.5.20.3: the length that is needed is told.
                if len32(bytes.len()) > room {
                    let need = len32(bytes.len()).to_le_bytes().to_vec();
                    return Err(Stop::Data(NtStatus::BUFFER_TOO_SMALL, need));
                }
                (bytes, 0)
            }
            InfoType::QUOTA => return Err(NtStatus::NOT_SUPPORTED.into()),
            _ => return Err(NtStatus::INVALID_PARAMETER.into()),
        };
        fit(bytes, fixed, body.output_buffer_length)
    }

    /// [MS-FSCC] 2.5. The volume's size is made up, and always the same.
    fn fs_info(&self, id: OpenId, class: FsInfoClass) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        let share = self.shares.get(open.share);
        let label = utf16(share.map_or("", |share| &share.name));
        let used = self.fs.total().div_ceil(4_096);
        let free = VOLUME_CLUSTERS.saturating_sub(used);
        let mut out = Out::default();
        match class {
            FsInfoClass::VOLUME => {
                out.u64(self.config.epoch_filetime);
                out.u32(u32::try_from(VOLUME_ID).unwrap_or_default());
                out.u32(len32(label.len())).u16(0).bytes(&label);
            }
            FsInfoClass::SIZE => {
                out.u64(VOLUME_CLUSTERS).u64(free).u32(8).u32(512);
            }
            FsInfoClass::DEVICE => {
                // FILE_DEVICE_DISK, FILE_DEVICE_IS_MOUNTED
                out.u32(7).u32(0x20);
            }
            FsInfoClass::ATTRIBUTE => {
                let name = utf16("NTFS");
                // Case, Unicode, ACLs, sparse files, named streams, extended attributes.
                out.u32(0x0084_004f)
                    .u32(255)
                    .u32(len32(name.len()))
                    .bytes(&name);
            }
            FsInfoClass::CONTROL => {
                out.zeros(24).u64(u64::MAX).u64(u64::MAX).u32(0).u32(0);
            }
            FsInfoClass::FULL_SIZE => {
                out.u64(VOLUME_CLUSTERS).u64(free).u64(free).u32(8).u32(512);
            }
            FsInfoClass::OBJECT_ID => {
                out.bytes(&self.config.server_guid).zeros(48);
            }
            FsInfoClass::POSIX => return self.posix_fs_info(id, VOLUME_CLUSTERS, free),
            FsInfoClass::SECTOR_SIZE => {
                out.u32(512)
                    .u32(4_096)
                    .u32(4_096)
                    .u32(512)
                    .u32(3)
                    .u32(0)
                    .u32(0);
            }
            _ => return Err(NtStatus::INVALID_INFO_CLASS),
        }
        Ok(out.0)
    }
}

/// Clusters of 4 KiB: 1 TiB.
const VOLUME_CLUSTERS: u64 = 1 << 28;

/// Cuts an answer to the client's buffer. [MS-SMB2] 3.3.5.20.1.
fn fit(mut bytes: Vec<u8>, fixed: usize, room: u32) -> Handled {
    let room = len_of(room);
    if room < fixed {
        return Err(NtStatus::INFO_LENGTH_MISMATCH.into());
    }
    let mut status = NtStatus::SUCCESS;
    if bytes.len() > room {
        bytes.truncate(room);
        status = NtStatus::BUFFER_OVERFLOW;
    }
    Ok(Answer::with(status, QueryInfoResponse { output: bytes }))
}

/// Least buffer for a class of file information. [MS-FSCC] 2.4.
fn file_fixed(class: FileInfoClass) -> usize {
    match class {
        FileInfoClass::BASIC => 40,
        FileInfoClass::STANDARD => 24,
        FileInfoClass::INTERNAL | FileInfoClass::POSITION | FileInfoClass::ATTRIBUTE_TAG => 8,
        FileInfoClass::EA
        | FileInfoClass::ACCESS
        | FileInfoClass::MODE
        | FileInfoClass::ALIGNMENT => 4,
        FileInfoClass::NAME | FileInfoClass::NORMALIZED_NAME => 8,
        FileInfoClass::ALL => 104,
        FileInfoClass::STREAM => 32,
        FileInfoClass::COMPRESSION => 16,
        FileInfoClass::NETWORK_OPEN => 56,
        FileInfoClass::ID => 24,
        FileInfoClass::POSIX => 80,
        _ => 0,
    }
}

/// Least buffer for a class of file system information. [MS-FSCC] 2.5.
fn fs_fixed(class: FsInfoClass) -> usize {
    match class {
        FsInfoClass::VOLUME | FsInfoClass::SIZE => 24,
        FsInfoClass::DEVICE => 8,
        FsInfoClass::ATTRIBUTE => 16,
        FsInfoClass::CONTROL => 48,
        FsInfoClass::FULL_SIZE => 32,
        FsInfoClass::OBJECT_ID => 64,
        FsInfoClass::SECTOR_SIZE => 28,
        FsInfoClass::POSIX => 56,
        _ => 0,
    }
}
