//! Server-side copy. [MS-SMB2] 3.3.5.15.6.

use smbench_core::smb2::{AccessMask, FileId, Fsctl, IoctlRequest, IoctlResponse, NtStatus};

use super::Server;
use super::answer::{Answer, Cx, Handled};
use super::info::{Out, slice_at, u32_at, u64_at};
use super::open::OpenId;

/// Chunks of one request.
const MAX_CHUNKS: u32 = 256;
/// Bytes of one chunk.
const MAX_CHUNK: u32 = 1 << 20;
/// Bytes of one request.
const MAX_TOTAL: u64 = 16 << 20;
/// INVALID_VIEW_SIZE.
const INVALID_VIEW_SIZE: NtStatus = NtStatus(0xc000_001f);

#[derive(Clone, Copy, Debug)]
struct Chunk {
    from: u64,
    to: u64,
    length: u32,
}

impl Server {
    pub(super) fn copy_chunks(&mut self, cx: &Cx, to: OpenId, body: &IoctlRequest) -> Handled {
        let input = &body.input;
        if body.max_output_response < 12 {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let key: Option<[u8; 16]> = slice_at(input, 0, 16).and_then(|key| key.try_into().ok());
        let key = key.ok_or(NtStatus::INVALID_PARAMETER)?;
        let count = u32_at(input, 24).ok_or(NtStatus::INVALID_PARAMETER)?;
        // The source has to be an open of the same session. [MS-SMB2] 3.3.5.15.6
        let source = FileId::from_bytes(key);
        let from = self
            .opens
            .get(&source.persistent)
            .filter(|open| open.volatile == source.volatile && open.session == cx.session);
        from.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        let from = source.persistent;
        let reads = body.ctl_code == Fsctl::SRV_COPYCHUNK;
        let target = self.open(to)?;
        let writes = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA;
        let may = target.may(writes) && (!reads || target.may(AccessMask::READ_DATA));
        if !may
            || !self
                .open(from)?
                .may(AccessMask::READ_DATA | AccessMask::EXECUTE)
        {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if target.is_dir || self.open(from)?.is_dir {
            return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
        }
        let Some(chunks) = parse(input, count)? else {
            return Ok(limits_answer(body, self.file_id(to)));
        };
        let mut written = 0_u32;
        let mut total = 0_u32;
        for chunk in chunks {
            let source = self.open(from)?;
            let size = self.fs.data(source.node, source.stream);
            let size = size.map_or(0, super::data::Data::size);
            let length = u64::from(chunk.length);
            // [MS-SMB2] 3.3.5.15.6: a chunk past the end of the source is an error.
            if chunk.from.saturating_add(length) > size {
                return Err(INVALID_VIEW_SIZE.into());
            }
            if self.is_locked(from, chunk.from, length, false) {
                return Err(NtStatus::FILE_LOCK_CONFLICT.into());
            }
            let source = self.open(from)?;
            let data = self.fs.data(source.node, source.stream);
            let bytes = data
                .map(|data| data.read(chunk.from, length))
                .transpose()?
                .unwrap_or_default();
            self.store(to, chunk.to, &bytes)?;
            written = written.saturating_add(1);
            total = total.saturating_add(chunk.length);
        }
        let mut out = Out::default();
        out.u32(written).u32(0).u32(total);
        super::ioctl::respond(body, self.file_id(to), out.0)
    }
}

/// The chunks; none when they exceed the limits.
fn parse(input: &[u8], count: u32) -> Result<Option<Vec<Chunk>>, NtStatus> {
    if count > MAX_CHUNKS {
        return Ok(None);
    }
    let mut chunks = Vec::new();
    let mut total = 0_u64;
    for index in 0..count {
        let at = super::data::len_of(index)
            .saturating_mul(24)
            .saturating_add(32);
        let field = |offset: usize| u64_at(input, at.saturating_add(offset));
        let length = u32_at(input, at.saturating_add(16));
        let (Some(from), Some(to), Some(length)) = (field(0), field(8), length) else {
            return Err(NtStatus::INVALID_PARAMETER);
        };
        total = total.saturating_add(u64::from(length));
        if length == 0 || length > MAX_CHUNK || total > MAX_TOTAL {
            return Ok(None);
        }
        if to >= 1 << 62 || from >= 1 << 62 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        chunks.push(Chunk { from, to, length });
    }
    Ok(Some(chunks))
}

/// What may be asked for, with INVALID_PARAMETER. [MS-SMB2] 2.2.32.1, 3.3.5.15.6.2.
fn limits_answer(body: &IoctlRequest, file_id: FileId) -> Answer {
    let mut out = Out::default();
    out.u32(MAX_CHUNKS).u32(MAX_CHUNK);
    out.u32(u32::try_from(MAX_TOTAL).unwrap_or(u32::MAX));
    Answer::with(
        NtStatus::INVALID_PARAMETER,
        IoctlResponse {
            ctl_code: body.ctl_code,
            file_id,
            output: out.0,
            ..IoctlResponse::default()
        },
    )
}
