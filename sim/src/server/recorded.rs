//! Named pipes as they were recorded: what a service behind a pipe says is not the model's business. Whoever
//! opens a pipe of a recorded name gets the first recorded conversation of that name that nobody has had yet,
//! and is answered as the recording was, command by command.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::smb2::{
    CloseResponse, Command, CreateRequest, FileId, FlushResponse, IoctlResponse, NtStatus,
    QueryDirectoryResponse, QueryInfoResponse, ReadResponse, Request, SetInfoResponse,
    WriteResponse,
};

use super::Server;
use super::answer::{Answer, Cx, Handled, Req};
use super::data::len32;

/// What was said on one open of a pipe.
#[derive(Clone, Debug, Default)]
pub struct RecordedPipe {
    /// Its name, as the CREATE asked for it.
    pub name: String,
    /// What the CREATE was answered with.
    pub created: NtStatus,
    /// What each request on it was answered with, in the order of the requests.
    pub answers: Vec<RecordedAnswer>,
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub struct RecordedAnswer {
    /// The request's command.
    pub command: Command,
    /// The status.
    pub status: NtStatus,
    /// What a READ or an IOCTL gave.
    pub data: Vec<u8>,
}

/// All recorded conversations.
#[derive(Debug, Default)]
pub(super) struct RecordedPipes {
    /// Those that nobody has had, by name in lower case.
    free: BTreeMap<String, VecDeque<RecordedPipe>>,
    /// Those that are had, by the volatile half of their handle.
    open: BTreeMap<u64, Conversation>,
    next: u64,
}

#[derive(Debug)]
struct Conversation {
    session: u64,
    /// Answers that are left, by command.
    left: BTreeMap<Command, VecDeque<RecordedAnswer>>,
}

impl RecordedPipes {
    pub(super) fn of(pipes: Vec<RecordedPipe>) -> Self {
        let mut all = Self::default();
        for pipe in pipes {
            all.free
                .entry(name_of(&pipe.name))
                .or_default()
                .push_back(pipe);
        }
        all
    }

    fn is_recorded(file: FileId) -> bool {
        file.persistent == PERSISTENT
    }
}

impl Server {
    /// Opens a pipe.
    pub(super) fn open_recorded(&mut self, cx: &Cx, body: &CreateRequest) -> Handled {
        let name = body.name.as_text().map(name_of).unwrap_or_default();
        let pipes = &mut self.recorded;
        let pipe = pipes.free.get_mut(&name).and_then(VecDeque::pop_front);
        let pipe = pipe.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        if pipe.created.is_error() {
            return Err(pipe.created.into());
        }
        let mut left: BTreeMap<Command, VecDeque<RecordedAnswer>> = BTreeMap::new();
        for answer in pipe.answers {
            left.entry(answer.command).or_default().push_back(answer);
        }
        pipes.next += 1;
        let (session, volatile) = (cx.session, pipes.next);
        pipes.open.insert(volatile, Conversation { session, left });
        let file_id = FileId {
            persistent: PERSISTENT,
            volatile,
        };
        Ok(Answer::opened_pipe(file_id))
    }

    /// Answers a request on a recorded pipe; none where it is of something else.
    pub(super) fn on_recorded(&mut self, cx: &Cx, req: &Req) -> Option<Handled> {
        let file = req.file(cx)?;
        if !RecordedPipes::is_recorded(file) {
            return None;
        }
        let pipes = &mut self.recorded;
        let conversation = pipes.open.get_mut(&file.volatile);
        let Some(conversation) = conversation.filter(|it| it.session == cx.session) else {
            return Some(Err(NtStatus::FILE_CLOSED.into()));
        };
        let command = req.header.command;
        let left = conversation.left.get_mut(&command);
        let recorded = left.and_then(VecDeque::pop_front);
        if command == Command::CLOSE {
            pipes.open.remove(&file.volatile);
        }
        let Some(RecordedAnswer { status, data, .. }) = recorded else {
            return Some(unrecorded(req));
        };
        Some(if status.is_error() {
            Err(status.into())
        } else {
            said(req, file, status, data)
        })
    }
}

/// What was not recorded: nothing is there to be read, and what is written goes nowhere.
fn unrecorded(req: &Req) -> Handled {
    match &req.body {
        Request::Close(_) => Ok(Answer::ok(CloseResponse::default())),
        Request::Write(body) => Ok(Answer::ok(WriteResponse {
            count: body.length,
            ..WriteResponse::default()
        })),
        Request::Read(_) => Err(NtStatus::PIPE_EMPTY.into()),
        _ => Err(NtStatus::NOT_SUPPORTED.into()),
    }
}

pub(super) fn said(req: &Req, file_id: FileId, status: NtStatus, data: Vec<u8>) -> Handled {
    Ok(match &req.body {
        Request::Close(_) => Answer::with(status, CloseResponse::default()),
        Request::Flush(_) => Answer::with(status, FlushResponse::default()),
        Request::Write(body) => Answer::with(
            status,
            WriteResponse {
                count: body.length,
                ..WriteResponse::default()
            },
        ),
        Request::Read(_) => {
            let mut answer = Answer::with(
                status,
                ReadResponse {
                    length: len32(data.len()),
                    ..ReadResponse::default()
                },
            );
            answer.bulk = data;
            answer
        }
        Request::Ioctl(body) => Answer::with(
            status,
            IoctlResponse {
                ctl_code: body.ctl_code,
                file_id,
                output: data,
                ..IoctlResponse::default()
            },
        ),
        Request::QueryInfo(_) => Answer::with(status, QueryInfoResponse { output: data }),
        Request::QueryDirectory(_) => Answer::with(status, QueryDirectoryResponse { output: data }),
        Request::SetInfo(_) => Answer::with(status, SetInfoResponse::default()),
        _ => return Err(NtStatus::NOT_SUPPORTED.into()),
    })
}

/// Names of pipes compare without regard to case.
fn name_of(name: &str) -> String {
    name.trim_start_matches('\\').to_lowercase()
}

/// Tells handles of pipes from those of files, whose halves are numbers of 32 bits.
const PERSISTENT: u64 = 0x7069_7065_0000_0000;
