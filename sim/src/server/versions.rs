//! Previous versions: read-only views, as far as a recording has them. That of a time lies in a folder of its own at the
//! top of the share, which no listing shows. [MS-SMB2] 3.3.5.9.4, [MS-SMB] 2.2.1.1.1.

use smbench_core::smb2::version::is_previous_version;
use smbench_core::smb2::{CreateDisposition, CreateOptions, CreateRequest, NtStatus, Request};

use super::Server;
use super::answer::{Cx, Req};
use super::fs::{Found, NodeId};
use super::name::Path;

impl Server {
    /// Whether a CREATE may open a previous version, whose token `path` begins with: there has to be one of that time,
    /// and nothing is made or changed in it.
    pub(super) fn check_version(
        &self,
        root: NodeId,
        path: &Path,
        body: &CreateRequest,
    ) -> Result<(), NtStatus> {
        let top = path.parts.get(..1).unwrap_or_default();
        if !matches!(self.fs.find(root, top, false), Ok(Found::Node(_))) {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND);
        }
        let opens = match body.create_disposition {
            CreateDisposition::OPEN => true,
            CreateDisposition::OPEN_IF => {
                matches!(self.fs.find(root, &path.parts, false), Ok(Found::Node(_)))
            }
            _ => false,
        };
        let deletes = CreateOptions::DELETE_ON_CLOSE;
        match opens && !body.create_options.contains(deletes) {
            true => Ok(()),
            false => Err(NtStatus::MEDIA_WRITE_PROTECTED),
        }
    }

    /// Refuses what would change a previous version.
    pub(super) fn check_changes(&self, cx: &Cx, req: &Req) -> Result<(), NtStatus> {
        if !self.has_versions || !matches!(&req.body, Request::Write(_) | Request::SetInfo(_)) {
            return Ok(());
        }
        let open = req.file(cx).and_then(|file| self.find_open(cx, file).ok());
        match open.is_some_and(|open| is_previous_version(&self.open_path(open))) {
            true => Err(NtStatus::MEDIA_WRITE_PROTECTED),
            false => Ok(()),
        }
    }
}
