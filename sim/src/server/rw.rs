//! READ, WRITE and FLUSH. [MS-SMB2] 3.3.5.11 to 3.3.5.13, [MS-FSA] 2.1.5.3, 2.1.5.4, 2.1.5.7.

use smbench_core::smb2::{
    AccessMask, CompletionFilter, FlushRequest, FlushResponse, NtStatus, ReadRequest, ReadResponse,
    WriteRequest, WriteResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::data::{Data, len32, len64};
use super::fs::StreamId;
use super::limits::Limit;
use super::notify::Change;
use super::open::OpenId;
use super::{Plant, Server};

/// Offsets beyond this are negative to a file system. [MS-SMB2] 3.3.5.12.
const MAX_OFFSET: u64 = 1 << 63;

impl Server {
    pub(super) fn read(&mut self, cx: &Cx, body: &ReadRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        if open.is_dir {
            return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
        }
        if !open.may(AccessMask::READ_DATA | AccessMask::EXECUTE) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let max = self.conns.get(&cx.conn).map_or(0, |conn| conn.max_io);
        if body.length > max || body.offset >= MAX_OFFSET {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let length = u64::from(body.length);
        if self.is_locked(id, body.offset, length, false) {
            return Err(NtStatus::FILE_LOCK_CONFLICT.into());
        }
        let data = self.fs.data(node, stream).ok_or(NtStatus::FILE_DELETED)?;
        let bytes = data.read(body.offset, length)?;
        let bytes = self.stale(id, stream, body.offset, bytes);
        // [MS-SMB2] 3.3.5.12: nothing where something was asked for is the end of file.
        let short = len32(bytes.len()) < body.minimum_count;
        if (bytes.is_empty() && body.length > 0) || short {
            return Err(NtStatus::END_OF_FILE.into());
        }
        let position = body.offset.saturating_add(len64(bytes.len()));
        self.open_mut(id)?.position = position;
        let mut answer = Answer::ok(ReadResponse {
            length: len32(bytes.len()),
            ..ReadResponse::default()
        });
        answer.bulk = bytes;
        Ok(answer)
    }

    /// The planted stale read: once after a write by another, the bytes from before.
    fn stale(&mut self, id: OpenId, stream: StreamId, offset: u64, mut fresh: Vec<u8>) -> Vec<u8> {
        let Some(file) = self.files.get_mut(&stream) else {
            return fresh;
        };
        let Some((at, old, writer)) = file.stale.take() else {
            return fresh;
        };
        if writer == id {
            file.stale = Some((at, old, writer));
            return fresh;
        }
        for (index, byte) in old.iter().enumerate() {
            let place = at.saturating_add(len64(index)).checked_sub(offset);
            let place = place.and_then(|place| usize::try_from(place).ok());
            if let Some(room) = place.and_then(|place| fresh.get_mut(place)) {
                *room = *byte;
            }
        }
        fresh
    }

    pub(super) fn write(&mut self, cx: &Cx, body: &WriteRequest, bulk: &[u8]) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let open = self.open(id)?;
        if open.is_dir {
            return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
        }
        if !open.may(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let max = self.conns.get(&cx.conn).map_or(0, |conn| conn.max_io);
        if body.length > max || len32(bulk.len()) != body.length || body.offset >= MAX_OFFSET {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        self.store(id, body.offset, bulk)?;
        Ok(Answer::ok(WriteResponse {
            count: body.length,
            remaining: 0,
        }))
    }

    /// Writes bytes through an open: locks, limits, breaks, times, notifications.
    pub(super) fn store(&mut self, id: OpenId, offset: u64, bytes: &[u8]) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        let length = len64(bytes.len());
        if self.is_locked(id, offset, length, true) {
            return Err(NtStatus::FILE_LOCK_CONFLICT);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.saturating_add(length);
        let limits = self.config.limits;
        if end > limits.file_bytes {
            return Err(self.limited(Limit::FileSize));
        }
        let data = self.fs.data(node, stream).ok_or(NtStatus::FILE_DELETED)?;
        let held = self
            .fs
            .held()
            .saturating_add(data.cost_of_write(offset, length));
        if held > limits.total_bytes {
            return Err(self.limited(Limit::Content));
        }
        self.break_readers(id);
        if self.has(Plant::StaleRead) {
            let old = self.fs.data(node, stream);
            let old = old.map_or(Ok(Vec::new()), |data| data.read(offset, length))?;
            if let Some(file) = self.files.get_mut(&stream) {
                file.stale = Some((offset, old, id));
            }
        }
        let torn = self.has(Plant::TornWrite) && bytes.len() > 4_096;
        let kept = bytes
            .split_last()
            .filter(|_| torn)
            .map_or(bytes, |(_, kept)| kept);
        self.fs
            .change(node, stream, |data| data.write(offset, kept))??;
        let open = self.open_mut(id)?;
        open.position = end;
        open.wrote = true;
        self.written(id, None)
    }

    /// A stream's content changed: times and notifications. `before` is the size that a new end
    /// of file replaced.
    pub(super) fn written(&mut self, id: OpenId, before: Option<u64>) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        let now = self.filetime();
        let found = self.fs.node_mut(node)?;
        found.times.written = now;
        found.times.changed = now;
        found.attributes |= smbench_core::smb2::FileAttributes::ARCHIVE;
        // As Samba: a write is told as a new write time, a new end of file as a size.
        let mut filter = match before {
            Some(_) => CompletionFilter::SIZE | CompletionFilter::ATTRIBUTES,
            None => CompletionFilter::LAST_WRITE,
        };
        if stream != node {
            filter |= CompletionFilter::STREAM_WRITE | CompletionFilter::STREAM_SIZE;
        }
        if before != Some(self.fs.data(node, stream).map_or(0, Data::size)) {
            self.changed_by(id, Change::modified(filter));
        }
        Ok(())
    }

    pub(super) fn flush_file(&mut self, cx: &Cx, body: &FlushRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let open = self.open(id)?;
        // [MS-SMB2] 3.3.5.11: only who can write has something to flush.
        let writes = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA;
        if !open.may(writes) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        Ok(Answer::ok(FlushResponse {}))
    }
}
