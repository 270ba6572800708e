//! Reparse points: names that lead elsewhere. [MS-FSA] 2.1.5.1, [MS-FSCC] 2.1.2
//!
//! | what a CREATE meets | answer |
//! |---|---|
//! | a symbolic link | STOPPED_ON_SYMLINK and where it leads: the client goes on. [MS-SMB2] 2.2.2.2.1 |
//! | a link of DFS, at it or on the way | PATH_NOT_COVERED. [MS-DFSC] 3.2.4.1 |
//! | another reparse point | IO_REPARSE_TAG_NOT_HANDLED |
//!
//! What is the last name is opened itself with FILE_OPEN_REPARSE_POINT, but for links of DFS where the
//! name is one of DFS: that is decided before there is a file.

use smbench_core::fscc::{
    ReparseHead, SymbolicLink, SymlinkError,
    reparse::{DFS_TAG, SYMLINK_TAG},
};
use smbench_core::smb2::{
    AccessMask, CreateOptions, CreateRequest, Dialect, IoctlRequest, IoctlResponse, NtStatus,
};
use smbench_core::workload::Link;

use super::Server;
use super::answer::{Answer, Cx, Handled, Stop};
use super::data::len_of;
use super::fs::{Node, NodeId};
use super::name::Path;
use super::open::OpenId;

impl Node {
    /// The tag of its reparse point; 0 without one.
    pub(super) fn reparse_tag(&self) -> u32 {
        self.reparse.as_deref().map_or(0, tag_of)
    }
}

impl Server {
    /// Whether a CREATE stops on its way.
    pub(super) fn check_links(
        &self,
        cx: &Cx,
        body: &CreateRequest,
        root: NodeId,
        path: &Path,
    ) -> Result<(), Stop> {
        let Some((node, names)) = self.fs.reparse_on(root, &path.parts) else {
            return Ok(());
        };
        let buffer = self.fs.node(node)?.reparse.as_deref().unwrap_or_default();
        let options = body.create_options;
        let tag = tag_of(buffer);
        let is_dfs = tag == DFS_TAG && cx.is_dfs;
        let behind = path.parts.get(names..).unwrap_or_default();
        let opens_it = options.contains(CreateOptions::OPEN_REPARSE_POINT);
        if behind.is_empty() && opens_it && !is_dfs {
            return Ok(());
        }
        match (tag, SymbolicLink::decode(buffer)) {
            (DFS_TAG, _) => Err(NtStatus::PATH_NOT_COVERED.into()),
            (_, Ok(Some(link))) => Err(self.stop_on(cx, link, unparsed(behind, &path.stream))),
            _ => Err(NtStatus::IO_REPARSE_TAG_NOT_HANDLED.into()),
        }
    }

    fn stop_on(&self, cx: &Cx, link: SymbolicLink, unparsed_bytes: u16) -> Stop {
        let dialect = self.conns.get(&cx.conn).map(|conn| conn.dialect());
        let error = SymlinkError {
            unparsed_bytes,
            link,
        };
        let body = error.encode(dialect >= Some(Dialect::SMB_3_1_1));
        Stop::Error(NtStatus::STOPPED_ON_SYMLINK, body)
    }

    /// Whether the new name of a file leads through a link: nobody follows it there. Itself it may be one
    /// that is replaced, but for one of DFS.
    pub(super) fn check_target(&self, root: NodeId, parts: &[String]) -> Result<(), NtStatus> {
        let Some((node, names)) = self.fs.reparse_on(root, parts) else {
            return Ok(());
        };
        match self.fs.node(node)?.reparse_tag() {
            DFS_TAG => Err(NtStatus::PATH_NOT_COVERED),
            _ if names == parts.len() => Ok(()),
            SYMLINK_TAG => Err(NtStatus::STOPPED_ON_SYMLINK),
            _ => Err(NtStatus::IO_REPARSE_TAG_NOT_HANDLED),
        }
    }

    /// [MS-FSA] 2.1.5.10, FSCTL_GET_REPARSE_POINT: what does not fit is cut.
    pub(super) fn get_reparse(&self, id: OpenId, body: &IoctlRequest) -> Handled {
        let open = self.open(id)?;
        let buffer = self.fs.node(open.node)?.reparse.as_deref();
        let mut output = buffer.ok_or(NtStatus::NOT_A_REPARSE_POINT)?.to_vec();
        let room = len_of(body.max_output_response);
        if room < HEAD {
            return Err(NtStatus::BUFFER_TOO_SMALL.into());
        }
        let status = match output.len() > room {
            true => NtStatus::BUFFER_OVERFLOW,
            false => NtStatus::SUCCESS,
        };
        output.truncate(room);
        let response = IoctlResponse {
            ctl_code: body.ctl_code,
            file_id: self.file_id(id),
            output,
            ..IoctlResponse::default()
        };
        Ok(Answer::with(status, response))
    }

    /// [MS-FSA] 2.1.5.10, FSCTL_SET_REPARSE_POINT.
    pub(super) fn set_reparse(&mut self, id: OpenId, input: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let head = self.check_reparse(id, input)?;
        if input.len() > LONGEST || input.len() != HEAD.saturating_add(head.data_len.into()) {
            return Err(IO_REPARSE_DATA_INVALID);
        }
        if head.tag == SYMLINK_TAG && SymbolicLink::decode(input).is_err() {
            return Err(IO_REPARSE_DATA_INVALID);
        }
        let node = self.open(id)?.node;
        let found = self.fs.node(node)?;
        let is_full = found.children.as_ref().is_some_and(|it| !it.is_empty());
        if is_full {
            return Err(NtStatus::DIRECTORY_NOT_EMPTY);
        }
        if self.fs.is_root(node) {
            return Err(NtStatus::ACCESS_DENIED); // the top of a share leads nowhere
        }
        match found.reparse_tag() {
            0 => self.check_room(input.len())?,
            tag if tag == head.tag => self.check_room(input.len())?,
            _ => return Err(IO_REPARSE_TAG_MISMATCH),
        }
        self.fs.set_reparse(node, Some(input.to_vec()))?;
        Ok(Vec::new())
    }

    /// [MS-FSA] 2.1.5.10, FSCTL_DELETE_REPARSE_POINT.
    pub(super) fn delete_reparse(&mut self, id: OpenId, input: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let head = self.check_reparse(id, input)?;
        if head.data_len != 0 {
            return Err(IO_REPARSE_DATA_INVALID);
        }
        let node = self.open(id)?.node;
        match self.fs.node(node)?.reparse_tag() {
            0 => Err(NtStatus::NOT_A_REPARSE_POINT),
            tag if tag == head.tag => {
                self.fs.set_reparse(node, None)?;
                Ok(Vec::new())
            }
            _ => Err(IO_REPARSE_TAG_MISMATCH),
        }
    }

    fn check_reparse(&self, id: OpenId, input: &[u8]) -> Result<ReparseHead, NtStatus> {
        let changes = AccessMask::WRITE_DATA | AccessMask::WRITE_ATTRIBUTES;
        if !self.open(id)?.may(changes) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let head = ReparseHead::decode(input).map_err(|_| IO_REPARSE_DATA_INVALID)?;
        match head.tag {
            0 | 1 => Err(IO_REPARSE_TAG_INVALID), // reserved. [MS-FSCC] 2.1.2.1
            _ => Ok(head),
        }
    }
}

/// The buffer of a link's reparse point.
pub(super) fn buffer_of(link: &Link) -> Vec<u8> {
    match link {
        Link::Symlink(link) => SymbolicLink::from(link).encode(),
        Link::Dfs => [&DFS_TAG.to_le_bytes()[..], &[0; 4]].concat(),
    }
}

fn tag_of(buffer: &[u8]) -> u32 {
    ReparseHead::decode(buffer).map_or(0, |head| head.tag)
}

/// Bytes of the names that were not looked at, each with the separator before it.
fn unparsed(parts: &[String], stream: &str) -> u16 {
    let names = parts.iter().map(String::as_str);
    let stream = Some(stream).filter(|stream| !stream.is_empty());
    let names = names.chain(stream);
    let units = names.map(|name| name.encode_utf16().count().saturating_add(1));
    let bytes = units.fold(0, usize::saturating_add).saturating_mul(2);
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Bytes before the data of a reparse point, and of a whole one at most. [MS-FSCC] 2.1.2.2
const HEAD: usize = 8;
const LONGEST: usize = 16 << 10;
const IO_REPARSE_TAG_INVALID: NtStatus = NtStatus(0xc000_0276);
const IO_REPARSE_TAG_MISMATCH: NtStatus = NtStatus(0xc000_0277);
const IO_REPARSE_DATA_INVALID: NtStatus = NtStatus(0xc000_0278);
