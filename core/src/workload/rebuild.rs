//! A request's bytes again, from its operation and the ids of one run.

use std::mem;

use super::{Action, Operation};
use crate::{
    ids::SessionRef,
    smb2::{
        Body, Command, ContextData, CreateContext, EchoRequest, FileId, Header, HeaderFlags,
        Message, MessageId, Request, SessionId, TreeId,
    },
};

/// What an operation leaves out of its request, because every run has its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WireIds {
    /// MessageId.
    pub message_id: MessageId,
    /// Id of [`Operation::session`].
    pub session: SessionId,
    /// Id of [`Operation::tree`].
    pub tree: TreeId,
    /// AsyncId, in the CANCEL of a request that was answered by an interim response.
    pub async_id: Option<u64>,
    /// NextCommand: a length, in compounds.
    pub next_command: u32,
    /// Whether the request is signed.
    pub signed: bool,
    /// The signature, or what stands in its place.
    pub signature: [u8; 16],
    /// FileId of [`Operation::open`], when another command than CREATE uses it.
    pub file_id: FileId,
    /// FileId of [`Operation::reclaims`].
    pub reclaimed: FileId,
    /// Id of [`Operation::previous_session`].
    pub previous_session: SessionId,
}

/// The header as the workload has it; ids are filled in at run time.
#[must_use]
pub fn header_of(op: &Operation) -> Header {
    let mut flags = op.flags;
    if op.compound.is_some_and(|compound| compound.related) {
        flags |= HeaderFlags::RELATED;
    }
    let mut header = Header {
        credit_charge: op.charge,
        status: op.channel_sequence,
        command: op.cmd,
        credits: op.credits,
        flags,
        message_id: MessageId(op.mid),
        id: u64::from(op.process_id),
        ..Header::default()
    };
    header.set_tree_id(TreeId(op.raw_tree.unwrap_or_default()));
    header
}

/// Appends the request of `op` to `out`, without its bulk, and says where the bulk belongs,
/// counted from the request's start. Nothing is appended for what is no request. `op` is then as it
/// was before.
pub fn rebuild(op: &mut Operation, ids: &WireIds, out: &mut Vec<u8>) -> Option<usize> {
    let mut header = header_of(op);
    header.message_id = ids.message_id;
    header.session_id = ids.session;
    header.next_command = ids.next_command;
    if op.tree.is_some() && op.cmd != Command::TREE_CONNECT {
        header.set_tree_id(ids.tree);
    }
    if let Some(id) = ids.async_id {
        header.set_async_id(id);
    }
    header.signature = ids.signature;
    if ids.signed {
        header.flags |= HeaderFlags::SIGNED;
    }
    let request = match &mut op.action {
        Action::Request(request) => request,
        Action::Smb1Negotiate(bytes) => {
            out.extend_from_slice(bytes);
            return None;
        }
        Action::Break(_) | Action::Disconnect(_) => return None,
    };
    let handle = op.open.is_some() && request.file_id() == Some(FileId::ZERO);
    let changed = changed(request, op.reclaims.is_some(), op.previous_session, ids);
    let before = changed.map(|changed| mem::replace(request, changed));
    if handle {
        request.set_file_id(ids.file_id);
    }
    // A message owns what it is made of: the request goes there and back.
    let message = Message {
        header,
        body: Body::Request(mem::replace(request, Request::Echo(EchoRequest::default()))),
        quirks: mem::take(&mut op.quirks),
    };
    let bulk_at = message.encode_detached(out);
    op.quirks = message.quirks;
    match (before, message.body) {
        (Some(before), _) => *request = before,
        (None, Body::Request(whole)) => *request = whole,
        (None, Body::Response(_)) => {}
    }
    if handle {
        request.set_file_id(FileId::ZERO);
    }
    bulk_at
}

/// The request where it names an open or a session that was there before.
fn changed(
    request: &Request,
    reclaims: bool,
    previous: Option<SessionRef>,
    ids: &WireIds,
) -> Option<Request> {
    match request {
        Request::Create(create) if reclaims => {
            let mut create = create.clone();
            let handles = create.contexts.iter_mut().filter_map(reclaimed_handle);
            for handle in handles.filter(|handle| **handle == FileId::ZERO) {
                *handle = ids.reclaimed;
            }
            Some(Request::Create(create))
        }
        Request::SessionSetup(setup) if previous.is_some() => {
            let mut setup = *setup;
            setup.previous_session_id = ids.previous_session;
            Some(Request::SessionSetup(setup))
        }
        _ => None,
    }
}

/// The handle that a durable reconnect context (`DHnC`, `DH2C`) names. [MS-SMB2] 2.2.13.2.4,
/// 2.2.13.2.12.
pub fn reclaimed_handle(context: &mut CreateContext) -> Option<&mut FileId> {
    match &mut context.data {
        ContextData::DurableReconnect(it) => Some(&mut it.file_id),
        ContextData::DurableReconnectV2(it) => Some(&mut it.file_id),
        _ => None,
    }
}
