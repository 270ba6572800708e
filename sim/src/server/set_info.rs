//! SET_INFO. [MS-SMB2] 3.3.5.21, [MS-FSA] 2.1.5.15.

use smbench_core::smb2::{
    AccessMask, CompletionFilter, FileAttributes, FileInfoClass, InfoType, NtStatus,
    SetInfoRequest, SetInfoResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::config::PosixDelete;
use super::create::{SETTABLE, may_delete};
use super::data::{Data, len_of};
use super::file_info::{check_eas, ea_size, parse_eas};
use super::fs::Child;
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
        let class = FileInfoClass(body.file_info_class.0);
        match class {
            FileInfoClass::BASIC => self.set_basic(id, bytes)?,
            FileInfoClass::RENAME | FileInfoClass::RENAME_EX => {
                self.rename(cx, id, class, bytes)?;
            }
            FileInfoClass::LINK | FileInfoClass::LINK_EX => self.link(cx, id, class, bytes)?,
            FileInfoClass::DISPOSITION => {
                let delete = *bytes.first().ok_or(NtStatus::INFO_LENGTH_MISMATCH)? != 0;
                self.set_disposition(id, if delete { DELETE } else { 0 })?;
            }
            FileInfoClass::DISPOSITION_EX => {
                let flags = u32_at(bytes, 0).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
                self.set_disposition(id, flags)?;
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
            self.changed_by(id, Change::modified(filter));
            self.break_above(id);
        }
        Ok(())
    }

    /// [MS-FSA] 2.1.5.15.3; `flags` as in [MS-FSCC] 2.4.12.
    fn set_disposition(&mut self, id: OpenId, flags: u32) -> Result<(), NtStatus> {
        let delete = flags & DELETE != 0;
        let open = self.open(id)?;
        let (node, link, stream, access) = (open.node, open.link, open.stream, open.access);
        let found = self.fs.node(node)?;
        if delete {
            let mut attributes = found.attributes;
            attributes.set(
                FileAttributes::READONLY,
                attributes.contains(FileAttributes::READONLY) && flags & IGNORE_READONLY == 0,
            );
            may_delete(access, attributes)?;
            if self.fs.is_root(node) || found.link(link).is_none() {
                return Err(NtStatus::CANNOT_DELETE);
            }
            let children = found.children.as_ref().filter(|_| stream == node);
            if children.is_some_and(|children| !children.is_empty()) {
                return Err(NtStatus::DIRECTORY_NOT_EMPTY);
            }
        } else if !access.contains(AccessMask::DELETE) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let is_dir = found.is_dir();
        let open = self.open_mut(id)?;
        if flags & ON_CLOSE != 0 {
            // What the CREATE asked for is asked for, or no longer.
            open.delete_on_close = delete;
            return Ok(());
        }
        open.posix_delete = delete && flags & POSIX != 0;
        let gone = open.posix_delete && self.config.posix_delete == PosixDelete::AtOnce;
        let open = self.open_mut(id)?;
        let (deletes, deleter) = (open.deletes(), open.parent_lease);
        if let Some(file) = self.files.get_mut(&stream) {
            if delete {
                file.pending.insert(deletes);
            } else {
                file.pending.remove(&deletes);
            }
            file.deleter = deleter;
        }
        if delete && is_dir {
            // [MS-FSA] 2.1.5.15.3: who watches a directory that goes is told so.
            let watchers = self.opens_of(stream);
            for other in watchers {
                self.finish_watch(other);
            }
        }
        if gone && stream == node {
            let child = Child { node, link };
            self.break_listing_above(child, deleter);
            self.delete_name(child);
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
        self.written(id, Some(before))?;
        self.break_above(id);
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
        self.changed_by(id, Change::modified(CompletionFilter::EA));
        self.break_above(id);
        Ok(())
    }
}

// Flags of FileDispositionInformationEx. [MS-FSCC] 2.4.12
const DELETE: u32 = 0x1;
const POSIX: u32 = 0x2;
const ON_CLOSE: u32 = 0x8;
const IGNORE_READONLY: u32 = 0x10;
