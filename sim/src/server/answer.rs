//! What a command's handler gives back, and what it is given.

use smbench_core::smb2::{
    CreateAction, CreateResponse, ErrorResponse, FileAttributes, FileId, Header, NtStatus, Request,
    Response, SessionId, TreeId,
};

use super::ConnKey;
use super::waiting::{AsyncId, Wait};

/// One request, decoded.
#[derive(Debug)]
pub(super) struct Req {
    pub(super) header: Header,
    pub(super) body: Request,
    /// WRITE data or a security token.
    pub(super) bulk: Vec<u8>,
}

impl Req {
    /// The open that it is of: its own, or that of the request before it of a related compound.
    pub(super) fn file(&self, cx: &Cx) -> Option<FileId> {
        match self.body.file_id()? {
            FileId::RELATED if cx.related => cx.previous,
            own => Some(own),
        }
    }
}

/// Where a request comes from, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cx {
    pub(super) conn: ConnKey,
    pub(super) session: u64,
    pub(super) tree: u32,
    /// Which share the tree is of.
    pub(super) share: usize,
    /// The open of the request before this one of a related compound.
    pub(super) previous: Option<FileId>,
    pub(super) related: bool,
    /// The request has SMB2_FLAGS_DFS_OPERATIONS.
    pub(super) is_dfs: bool,
    /// Set when the request has waited: its AsyncId.
    pub(super) waited: Option<AsyncId>,
}

/// A response but for its header.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: NtStatus,
    pub(super) body: Response,
    pub(super) bulk: Vec<u8>,
    /// The session that a SESSION_SETUP response names.
    pub(super) session: Option<SessionId>,
    /// The tree that a TREE_CONNECT response names.
    pub(super) tree: Option<TreeId>,
    /// The open that related requests go on with.
    pub(super) file: Option<FileId>,
}

impl Answer {
    /// Success.
    pub(super) fn ok(body: impl Into<Response>) -> Self {
        Self::with(NtStatus::SUCCESS, body)
    }

    /// A status that is no error, with the usual body.
    pub(super) fn with(status: NtStatus, body: impl Into<Response>) -> Self {
        Self {
            status,
            body: body.into(),
            bulk: Vec::new(),
            session: None,
            tree: None,
            file: None,
        }
    }

    /// To a CREATE that has opened a pipe.
    pub(super) fn opened_pipe(file_id: FileId) -> Self {
        let mut answer = Self::ok(CreateResponse {
            create_action: CreateAction::OPENED,
            file_attributes: FileAttributes::NORMAL,
            file_id,
            ..CreateResponse::default()
        });
        answer.file = Some(file_id);
        answer
    }

    /// An ERROR response.
    pub(super) fn error(status: NtStatus) -> Self {
        Self::with(status, ErrorResponse::default())
    }
}

/// Why a handler has no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// An error status.
    Status(NtStatus),
    /// An error status with data. [MS-SMB2] 2.2.2.
    Data(NtStatus, Vec<u8>),
    /// An error status with a body of its own.
    Error(NtStatus, ErrorResponse),
    /// The request waits.
    Wait(Wait),
    /// There is no response to this request.
    Silent,
    /// The connection has to end.
    Hangup,
}

impl From<NtStatus> for Stop {
    fn from(status: NtStatus) -> Self {
        Self::Status(status)
    }
}

/// What a handler gives.
pub(super) type Handled = Result<Answer, Stop>;
