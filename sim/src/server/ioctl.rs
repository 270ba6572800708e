//! IOCTL. [MS-SMB2] 3.3.5.15, [MS-FSCC] 2.3.

use std::net::IpAddr;

use smbench_core::smb2::{
    AccessMask, Dialect, FileAttributes, FileId, Fsctl, IoctlFlags, IoctlRequest, IoctlResponse,
    NtStatus, SecurityMode,
};

use super::Server;
use super::answer::{Answer, Cx, Handled, Stop};
use super::data::len_of;
use super::info::{Out, slice_at, u16_at, u32_at, u64_at};

impl Server {
    pub(super) fn ioctl(&mut self, cx: &Cx, body: &IoctlRequest) -> Handled {
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        let most = conn.max_io;
        if body.max_output_response > most || body.max_input_response > most {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        // [MS-SMB2] 3.3.5.15: IOCTLs that are no FSCTLs are not passed on.
        if !body.flags.contains(IoctlFlags::IS_FSCTL) {
            return Err(NtStatus::NOT_SUPPORTED.into());
        }
        let output = match body.ctl_code {
            Fsctl::VALIDATE_NEGOTIATE_INFO => self.validate_negotiate(cx, body)?,
            // [MS-SMB2] 3.3.5.15.2: there is no DFS.
            Fsctl::DFS_GET_REFERRALS | Fsctl::DFS_GET_REFERRALS_EX => {
                return Err(NtStatus::NOT_FOUND.into());
            }
            Fsctl::QUERY_NETWORK_INTERFACE_INFO => self.interfaces(cx)?,
            Fsctl::PIPE_WAIT => return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into()),
            // As Samba: devices nobody knows are refused before the open is looked at.
            Fsctl(code) if !DEVICES.contains(&(code >> 16)) => {
                return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
            }
            _ => return self.ioctl_on_open(cx, body),
        };
        respond(body, body.file_id, output)
    }

    fn ioctl_on_open(&mut self, cx: &Cx, body: &IoctlRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let file_id = self.file_id(id);
        let output = match body.ctl_code {
            Fsctl::CREATE_OR_GET_OBJECT_ID => {
                // As Samba: cut to what the client takes.
                let mut output = self.object_id(id)?;
                output.truncate(len_of(body.max_output_response));
                output
            }
            Fsctl::SRV_REQUEST_RESUME_KEY => self.resume_key(id, body.max_output_response)?,
            Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE => {
                return self.copy_chunks(cx, id, body);
            }
            Fsctl::SET_SPARSE => self.set_sparse(id, &body.input)?,
            Fsctl::SET_ZERO_DATA => self.set_zero_data(id, &body.input)?,
            Fsctl::QUERY_ALLOCATED_RANGES => {
                self.allocated_ranges(id, &body.input, body.max_output_response)?
            }
            Fsctl::GET_COMPRESSION => vec![0, 0],
            Fsctl::SET_COMPRESSION if u16_at(&body.input, 0) == Some(0) => Vec::new(),
            Fsctl::GET_REPARSE_POINT => return self.get_reparse(id, body),
            Fsctl::SET_REPARSE_POINT => self.set_reparse(id, &body.input)?,
            Fsctl::DELETE_REPARSE_POINT => self.delete_reparse(id, &body.input)?,
            _ => return Err(NtStatus::INVALID_DEVICE_REQUEST.into()),
        };
        respond(body, file_id, output)
    }

    /// [MS-SMB2] 3.3.5.15.12: what differs from NEGOTIATE ends the connection.
    fn validate_negotiate(&self, cx: &Cx, body: &IoctlRequest) -> Result<Vec<u8>, Stop> {
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        if body.max_output_response < 24 {
            return Err(Stop::Hangup);
        }
        let input = &body.input;
        let short = || Stop::Status(NtStatus::INVALID_PARAMETER);
        let capabilities = u32_at(input, 0).ok_or_else(short)?;
        let guid = slice_at(input, 4, 16).ok_or_else(short)?;
        let mode = u16_at(input, 20).ok_or_else(short)?;
        let count = u16_at(input, 22).ok_or_else(short)?;
        let mut dialects = Vec::new();
        for index in 0..usize::from(count) {
            let at = index.saturating_mul(2).saturating_add(24);
            dialects.push(Dialect(u16_at(input, at).ok_or_else(short)?));
        }
        let same = capabilities == conn.client_capabilities.bits()
            && guid == conn.client_guid.0
            && mode == conn.client_mode.bits()
            && (dialects == conn.client_dialects || conn.client_dialects.is_empty());
        if !same {
            return Err(Stop::Hangup);
        }
        let mut security = SecurityMode::SIGNING_ENABLED;
        security.set(SecurityMode::SIGNING_REQUIRED, self.config.signing_required);
        let mut out = Out::default();
        out.u32(conn.server_capabilities.bits());
        out.bytes(&self.config.server_guid);
        out.u16(security.bits()).u16(conn.dialect().0);
        Ok(out.0)
    }

    /// Interfaces of 1 Gbit/s, one an address. [MS-SMB2] 2.2.32.5.
    fn interfaces(&self, cx: &Cx) -> Result<Vec<u8>, NtStatus> {
        let conn = self.conns.get(&cx.conn);
        if conn.is_none_or(|conn| conn.dialect() < Dialect::SMB_3_0) {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        let mut out = Out::default();
        let last = self.config.interfaces.len();
        for (address, number) in self.config.interfaces.iter().zip(1_u32..) {
            let next = if len_of(number) == last {
                0
            } else {
                INTERFACE_LEN
            };
            out.u32(next).u32(number).u32(0).u32(0).u64(1_000_000_000);
            match address {
                IpAddr::V4(it) => out.u16(2).u16(0).bytes(&it.octets()).zeros(120),
                IpAddr::V6(it) => {
                    out.u16(23).u16(0).u32(0).bytes(&it.octets());
                    out.u32(0).zeros(100)
                }
            };
        }
        Ok(out.0)
    }

    /// [MS-FSCC] 2.3.2; the id is made of the file's number.
    fn object_id(&self, id: u64) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        let mut out = Out::default();
        out.u64(super::create_reply::VOLUME_ID).u64(open.node);
        out.bytes(&self.config.server_guid)
            .u64(super::create_reply::VOLUME_ID)
            .u64(open.node);
        out.zeros(16);
        Ok(out.0)
    }

    /// [MS-SMB2] 3.3.5.15.5: the key is the open's file id.
    fn resume_key(&self, id: u64, room: u32) -> Result<Vec<u8>, NtStatus> {
        if room < 32 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut out = Out::default();
        out.bytes(&self.file_id(id).to_bytes())
            .zeros(8)
            .u32(0)
            .u32(0);
        Ok(out.0)
    }

    /// [MS-FSA] 2.1.5.10.36.
    fn set_sparse(&mut self, id: u64, input: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        let node = open.node;
        if open.is_dir {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let writes =
            AccessMask::WRITE_DATA | AccessMask::WRITE_ATTRIBUTES | AccessMask::APPEND_DATA;
        if !open.may(writes) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let sparse = input.first().is_none_or(|byte| *byte != 0);
        let found = self.fs.node_mut(node)?;
        found.attributes.set(FileAttributes::SPARSE_FILE, sparse);
        Ok(Vec::new())
    }

    /// [MS-FSA] 2.1.5.10.40.
    fn set_zero_data(&mut self, id: u64, input: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let start = u64_at(input, 0).ok_or(NtStatus::INVALID_PARAMETER)?;
        let end = u64_at(input, 8).ok_or(NtStatus::INVALID_PARAMETER)?;
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        if open.is_dir || start > end || end >= 1 << 63 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if !open.may(AccessMask::WRITE_DATA) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        if self.is_locked(id, start, end.saturating_sub(start), true) {
            return Err(NtStatus::FILE_LOCK_CONFLICT);
        }
        self.break_readers(id);
        self.fs.change(node, stream, |data| data.zero(start, end))?;
        self.open_mut(id)?.wrote = true;
        self.written(id, None)?;
        Ok(Vec::new())
    }

    /// [MS-FSA] 2.1.5.10.22.
    fn allocated_ranges(&self, id: u64, input: &[u8], room: u32) -> Result<Vec<u8>, NtStatus> {
        let start = u64_at(input, 0).ok_or(NtStatus::INVALID_PARAMETER)?;
        let length = u64_at(input, 8).ok_or(NtStatus::INVALID_PARAMETER)?;
        let open = self.open(id)?;
        let end = start.checked_add(length).filter(|end| *end < 1 << 63);
        let end = end.ok_or(NtStatus::INVALID_PARAMETER)?;
        if open.is_dir {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if !open.may(AccessMask::READ_DATA) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let data = self
            .fs
            .data(open.node, open.stream)
            .ok_or(NtStatus::FILE_DELETED)?;
        let sparse = self
            .fs
            .node(open.node)?
            .attributes
            .contains(FileAttributes::SPARSE_FILE);
        let ranges = if sparse {
            data.allocated(start, end)
        } else {
            let stop = end.min(data.size());
            let whole = (start < stop).then(|| (start, stop.saturating_sub(start)));
            whole.into_iter().collect()
        };
        let mut out = Out::default();
        for (at, len) in ranges {
            out.u64(at).u64(len);
        }
        if out.len() > len_of(room) {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        Ok(out.0)
    }
}

/// Bytes of one NETWORK_INTERFACE_INFO. [MS-SMB2] 2.2.32.5.
const INTERFACE_LEN: u32 = 152;
/// DFS, file system, named pipe, network file system. [MS-FSCC] 2.3.
const DEVICES: [u32; 4] = [6, 9, 17, 20];

/// [MS-SMB2] 3.3.5.15: an output that does not fit is an error.
pub(super) fn respond(body: &IoctlRequest, file_id: FileId, output: Vec<u8>) -> Handled {
    if output.len() > len_of(body.max_output_response) {
        return Err(NtStatus::BUFFER_TOO_SMALL.into());
    }
    Ok(Answer::ok(IoctlResponse {
        ctl_code: body.ctl_code,
        file_id,
        output,
        ..IoctlResponse::default()
    }))
}
