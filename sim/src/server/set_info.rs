//! SET_INFO. [MS-SMB2] 3.3.5.21, [MS-FSA] 2.1.5.15.

use smbench_core::smb2::{
    AccessMask, CompletionFilter, FileAttributes, FileInfoClass, InfoType, NtStatus,
    SetInfoRequest, SetInfoResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::create::{SETTABLE, may_delete};
use super::data::{Data, len_of};
use super::file_info::{check_eas, ea_size, parse_eas};
use super::info::{u32_at, u64_at};
use super::limits::Limit;
use super::notify::Change;
use super::open::OpenId;
use super::{Plant, Server};

impl Server {
    pub(super) fn set_info(&mut self, cx: &Cx, body: &SetInfoRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let done = || Answer::ok(SetInfoResponse {});
        let bytes = &body.buffer;
        match body.info_type {
            InfoType::FILE => {}
            InfoType::SECURITY => {
                self.set_security(id, body.additional_information, bytes)?;
                return Ok(done());
            }
            InfoType::FILESYSTEM | InfoType::QUOTA => return Err(NtStatus::NOT_SUPPORTED.into()),
            _ => return Err(NtStatus::INVALID_PARAMETER.into()),
        }
        match FileInfoClass(body.file_info_class.0) {
            FileInfoClass::BASIC => self.set_basic(id, bytes)?,
            FileInfoClass::RENAME => self.rename(cx, id, bytes)?,
            FileInfoClass::DISPOSITION => {
                let delete = *bytes.first().ok_or(NtStatus::INFO_LENGTH_MISMATCH)? != 0;
                self.set_disposition(id, delete)?;
            }
            FileInfoClass::POSITION => {
                let position = u64_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
                self.open_mut(id)?.position = position;
            }
            FileInfoClass::MODE => {
                u32_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
            }
            FileInfoClass::ALLOCATION => self.set_allocation(id, bytes)?,
            FileInfoClass::END_OF_FILE => {
                let size = u64_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
                self.set_size(id, size)?;
            }
            FileInfoClass::VALID_DATA_LENGTH => {
                u64_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
            }
            FileInfoClass::FULL_EA => self.set_eas(id, bytes)?,
            FileInfoClass::LINK => return Err(NtStatus::NOT_SUPPORTED.into()),
            _ => return Err(NtStatus::INVALID_INFO_CLASS.into()),
        }
        Ok(done())
    }

    /// [MS-FSA] 2.1.5.15.2: zero and minus one leave a time alone, zero the attributes.
    fn set_basic(&mut self, id: OpenId, bytes: &[u8]) -> Result<(), NtStatus> {
        if bytes.len() < 36 {
            return Err(NtStatus::INFO_LENGTH_MISMATCH);
        }
        let open = self.open(id)?;
        if !open.may(AccessMask::WRITE_ATTRIBUTES) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let node = open.node;
        let time = |at| u64_at(bytes, at).filter(|time| *time != 0 && *time < u64::MAX - 1);
        let attributes = FileAttributes::from_bits_retain(u32_at(bytes, 32).unwrap_or_default());
        let now = self.filetime();
        let found = self.fs.node_mut(node)?;
        let is_dir = found.is_dir();
        if attributes.contains(FileAttributes::DIRECTORY) && !is_dir {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if attributes.contains(FileAttributes::TEMPORARY) && is_dir {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut filter = CompletionFilter::empty();
        let mut set = |at: usize, slot: &mut u64, bit: CompletionFilter| {
            if let Some(time) = time(at) {
                *slot = time;
                filter |= bit;
            }
        };
        set(0, &mut found.times.created, CompletionFilter::CREATION);
        set(8, &mut found.times.accessed, CompletionFilter::LAST_ACCESS);
        set(16, &mut found.times.written, CompletionFilter::LAST_WRITE);
        found.times.changed = time(24).unwrap_or(now);
        if !attributes.is_empty() {
            let kept = found.attributes & !SETTABLE;
            found.attributes = kept | (attributes & SETTABLE);
            filter |= CompletionFilter::ATTRIBUTES;
        }
        if !filter.is_empty() {
            self.changed(node, Change::modified(filter));
            self.break_above(node, id);
        }
        Ok(())
    }

    /// [MS-FSA] 2.1.5.15.3.
    fn set_disposition(&mut self, id: OpenId, delete: bool) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (node, stream, access) = (open.node, open.stream, open.access);
        let found = self.fs.node(node)?;
        if delete {
            may_delete(access, found.attributes)?;
            if found.parent == node {
                return Err(NtStatus::CANNOT_DELETE);
            }
            let children = found.children.as_ref().filter(|_| stream == node);
            if children.is_some_and(|children| !children.is_empty()) {
                return Err(NtStatus::DIRECTORY_NOT_EMPTY);
            }
        } else if !access.contains(AccessMask::DELETE) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let deleter = self.open(id)?.parent_lease;
        if let Some(file) = self.files.get_mut(&stream) {
            file.delete_pending = delete;
            file.deleter = deleter;
        }
        if delete && self.fs.node(node)?.is_dir() {
            // [MS-FSA] 2.1.5.15.3: who watches a directory that goes is told so.
            let watchers = self.opens_of(stream);
            for other in watchers {
                self.finish_watch(other);
            }
        }
        Ok(())
    }

    /// [MS-FSA] 2.1.5.15.1: allocating less than the size truncates.
    fn set_allocation(&mut self, id: OpenId, bytes: &[u8]) -> Result<(), NtStatus> {
        let wanted = u64_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        if open.is_dir {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if !open.may(AccessMask::WRITE_DATA) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        if wanted > self.config.limits.file_bytes {
            return Err(self.limited(Limit::FileSize));
        }
        let size = self.fs.data(node, stream).map_or(0, Data::size);
        if wanted < size {
            self.set_size(id, wanted)?;
        }
        self.fs.set_allocation(node, stream, wanted);
        Ok(())
    }

    /// [MS-FSA] 2.1.5.15.4.
    pub(super) fn set_size(&mut self, id: OpenId, size: u64) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        if open.is_dir || size >= 1 << 63 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if !open.may(AccessMask::WRITE_DATA) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        if size > self.config.limits.file_bytes {
            return Err(self.limited(Limit::FileSize));
        }
        self.break_readers(id);
        let before = self.fs.data(node, stream).map_or(0, Data::size);
        if size < before && self.has(Plant::TruncateKeepsSize) {
            return Ok(());
        }
        if size < before {
            self.fs.set_allocation(node, stream, 0);
        }
        self.fs.change(node, stream, |data| data.set_size(size))?;
        self.written(node, stream, Some(before))?;
        self.break_above(node, id);
        Ok(())
    }

    /// [MS-FSA] 2.1.5.15.6: an empty value takes the attribute away.
    fn set_eas(&mut self, id: OpenId, bytes: &[u8]) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        if !open.may(AccessMask::WRITE_EA) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let node = open.node;
        let new = parse_eas(bytes)?;
        let found = self.fs.node(node)?;
        let (mut eas, security) = (found.eas.clone(), found.security.clone());
        for (name, value) in new {
            eas.retain(|(old, _)| !old.eq_ignore_ascii_case(&name));
            if !value.is_empty() {
                eas.push((name, value));
            }
        }
        check_eas(&eas)?;
        self.check_room(len_of(ea_size(&eas)))?;
        self.fs.set_extras(node, eas, security)?;
        self.changed(node, Change::modified(CompletionFilter::EA));
        self.break_above(node, id);
        Ok(())
    }
}
