//! Services behind named pipes: the little of srvsvc and wkssvc that clients ask before they list shares.
//!
//! | file | holds |
//! |---|---|
//! | `pdu` | connection-oriented RPC: bindings, calls, fragments |
//! | `ndr` | arguments and results as they are on the wire |
//! | `srvsvc`, `wkssvc` | the calls |
//!
//! Other interfaces and other calls are refused as RPC refuses them.

mod ndr;
mod pdu;
mod srvsvc;
mod wkssvc;

use std::collections::{BTreeMap, VecDeque};

use smbench_core::smb2::{
    CloseResponse, CreateRequest, FileId, FlushResponse, Fsctl, IoctlResponse, NtStatus,
    ReadResponse, Request, Response, WriteResponse,
};

use self::pdu::{Association, Fault};
use super::answer::{Answer, Cx, Handled, Req};
use super::data::{len_of, len32};
use super::{Server, ShareKind};

/// What a service can know of its server.
pub(super) struct Facts<'a> {
    /// NetBIOS name.
    name: &'a str,
    /// Shares: their names, and whether they are pipes.
    shares: Vec<(&'a str, bool)>,
}

/// All open pipes of services.
#[derive(Debug, Default)]
pub(super) struct Services {
    open: BTreeMap<u64, Pipe>,
    next: u64,
}

/// One open pipe.
#[derive(Debug)]
struct Pipe {
    session: u64,
    tree: u32,
    association: Association,
    /// Messages to be read, and how much of the first was read.
    messages: VecDeque<Vec<u8>>,
    read: usize,
}

/// Pipes that are open at once, over all clients.
const PIPES: usize = 1_024;
/// Messages that wait to be read on one pipe: whoever reads none of them is told that it is full.
const UNREAD: usize = 64;

impl Services {
    /// The pipes of a session, or of one of its trees, are closed.
    pub(super) fn end(&mut self, session: u64, tree: Option<u32>) {
        self.open
            .retain(|_, pipe| pipe.session != session || tree.is_some_and(|it| it != pipe.tree));
    }
}

impl Server {
    /// Opens the pipe of a service. [MS-SMB2] 3.3.5.9: objects on a pipe share are named pipes.
    pub(super) fn open_service(&mut self, cx: &Cx, body: &CreateRequest) -> Handled {
        let name = body.name.as_text().unwrap_or_default();
        let name = name.trim_start_matches('\\').to_lowercase();
        let known = ["srvsvc", "wkssvc"].iter().find(|it| **it == name);
        let name = *known.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        let services = &mut self.services;
        if services.open.len() >= PIPES {
            return Err(NtStatus::PIPE_NOT_AVAILABLE.into());
        }
        services.next += 1;
        let file_id = FileId {
            persistent: PERSISTENT,
            volatile: services.next,
        };
        let pipe = Pipe {
            session: cx.session,
            tree: cx.tree,
            association: Association::on(name, services.next),
            messages: VecDeque::new(),
            read: 0,
        };
        services.open.insert(services.next, pipe);
        Ok(Answer::opened_pipe(file_id))
    }

    /// Answers a request on the pipe of a service; none where it is of something else.
    pub(super) fn on_service(&mut self, cx: &Cx, req: &Req) -> Option<Handled> {
        let file = req.file(cx)?;
        if file.persistent != PERSISTENT {
            return None;
        }
        let shares = self.shares.iter();
        let facts = Facts {
            name: &self.config.server_name,
            shares: shares
                .map(|it| (it.name.as_str(), it.kind == ShareKind::Pipe))
                .collect(),
        };
        let pipe = self.services.open.get_mut(&file.volatile);
        let Some(pipe) = pipe.filter(|it| it.session == cx.session && it.tree == cx.tree) else {
            return Some(Err(NtStatus::FILE_CLOSED.into()));
        };
        if matches!(req.body, Request::Close(_)) {
            self.services.open.remove(&file.volatile);
            return Some(Ok(Answer::ok(CloseResponse::default())));
        }
        let mut handled = pipe.handle(req, file, &facts);
        if let Ok(answer) = &mut handled {
            answer.file = Some(file);
        }
        Some(handled)
    }
}

impl Pipe {
    fn handle(&mut self, req: &Req, file_id: FileId, facts: &Facts<'_>) -> Handled {
        match &req.body {
            Request::Write(body) => {
                self.take(&req.bulk, facts)?;
                Ok(Answer::ok(WriteResponse {
                    count: body.length,
                    ..WriteResponse::default()
                }))
            }
            Request::Read(body) => {
                let (status, data) = self.give(len_of(body.length))?;
                let body = ReadResponse {
                    length: len32(data.len()),
                    ..ReadResponse::default()
                };
                let mut answer = Answer::with(status, body);
                answer.bulk = data;
                Ok(answer)
            }
            Request::Ioctl(body) if body.ctl_code == Fsctl::PIPE_TRANSCEIVE => {
                self.take(&body.input, facts)?;
                let (status, output) = self.give(len_of(body.max_output_response))?;
                let body: Response = IoctlResponse {
                    ctl_code: body.ctl_code,
                    file_id,
                    output,
                    ..IoctlResponse::default()
                }
                .into();
                Ok(Answer::with(status, body))
            }
            Request::Flush(_) => Ok(Answer::ok(FlushResponse::default())),
            _ => Err(NtStatus::NOT_SUPPORTED.into()),
        }
    }

    /// What a client has written.
    fn take(&mut self, bytes: &[u8], facts: &Facts<'_>) -> Result<(), NtStatus> {
        if self.messages.len() >= UNREAD {
            return Err(NtStatus::PIPE_BUSY);
        }
        let messages = self
            .association
            .feed(bytes, &|call| match call.service {
                "srvsvc" => srvsvc::answer(facts, call),
                "wkssvc" => wkssvc::answer(facts, call),
                _ => Err(Fault::UNKNOWN_INTERFACE),
            })
            .map_err(|_| NtStatus::PIPE_BROKEN)?;
        self.messages.extend(messages);
        Ok(())
    }

    /// The next message, as much of it as there is room for. [MS-SMB2] 3.3.5.12: the rest stays, and the status
    /// says so.
    fn give(&mut self, most: usize) -> Result<(NtStatus, Vec<u8>), NtStatus> {
        let message = self.messages.front().ok_or(NtStatus::PIPE_EMPTY)?;
        let rest = message.get(self.read..).unwrap_or_default();
        let data = rest
            .get(..most.min(rest.len()))
            .unwrap_or_default()
            .to_vec();
        self.read += data.len();
        if self.read < message.len() {
            return Ok((NtStatus::BUFFER_OVERFLOW, data));
        }
        self.messages.pop_front();
        self.read = 0;
        Ok((NtStatus::SUCCESS, data))
    }
}

/// Tells handles of services from those of files, whose halves are numbers of 32 bits, and of recorded pipes.
const PERSISTENT: u64 = 0x7376_6300_0000_0000;
