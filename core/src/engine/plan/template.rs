//! Request bytes with holes: everything of a request that does not change from run to run.

use super::op::{FILE_OFFSET_AT, Marks};
use crate::{
    confine::{Confined, Ground, NO_FILE, NO_TREE, Refusal, confine},
    smb2::{
        Body, Command, ContextData, CreateRequest, FileId, HEADER_LEN, Header, HeaderFlags,
        Message, Quirks, Request, TreeId,
    },
    workload::{Operation, header_of},
};

/// A request as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) marks: Marks,
    /// The header, without MessageId; none when the body is all there is.
    pub(super) header: Option<[u8; HEADER_LEN]>,
    /// Where the body begins among the bytes written.
    pub(super) body_at: usize,
    /// The place in the file that was taken out of the body.
    pub(super) offset: u64,
    /// It is not to be sent, and nothing was written.
    pub(super) refused: Option<Refusal>,
}

/// Appends the bytes of `op`, whose request is `request`, to `arena`.
pub(super) fn write(
    op: &Operation,
    mut request: Request,
    ground: Ground<'_>,
    arena: &mut Vec<u8>,
) -> Written {
    let start = arena.len();
    let mut marks = Marks::default();
    let quirks = match confine(op, &mut request, ground) {
        Ok(Confined::Moved) => Quirks::default(),
        Ok(Confined::Kept) => op.quirks.clone(),
        Err(refusal) => {
            return Written {
                body_at: start,
                refused: Some(refusal),
                ..Written::default()
            };
        }
    };
    let own = [FileId::ZERO, FileId::from_bytes([0xff; 16])];
    if ground.policy.confined && request.file_id().is_some_and(|id| !own.contains(&id)) {
        request.set_file_id(NO_FILE);
    }
    if op.open.is_some() && request.file_id() == Some(FileId::ZERO) {
        marks.file_id_at = request.file_id_offset().map(index);
    }
    if op.reclaims.is_some() {
        mark_reclaim(&mut request);
    }
    if let Request::SessionSetup(setup) = &mut request {
        // This run's token has a place even where the recorded one was empty.
        setup.security_buffer_length = setup.security_buffer_length.max(1);
    }
    let speaks_of_offset = matches!(request, Request::Read(_) | Request::Write(_))
        && matches!(op.cmd, Command::READ | Command::WRITE);
    let mut message = Message {
        header: header_on(op, ground),
        body: Body::Request(request),
        quirks,
    };
    marks.bulk_at = message.encode_detached(arena).map(index);
    let written = arena.get(start..).unwrap_or_default();
    if ground.policy.confined && !message.quirks.is_empty() && !reads_back(op, &message, written) {
        // What was unusual in its layout makes another request of it.
        arena.truncate(start);
        message.quirks = Quirks::default();
        marks.bulk_at = message.encode_detached(arena).map(index);
    }
    let written = arena.get_mut(start..).unwrap_or_default();
    if op.reclaims.is_some() {
        marks.reclaim_at = find(written, &RECLAIM_MARK.to_bytes()).map(index);
    }
    let mut offset = 0;
    if let Some(hole) = offset_of(written).filter(|_| speaks_of_offset) {
        offset = u64::from_le_bytes(std::mem::take(hole));
        marks.has_offset = true;
    }
    let header = written.first_chunk().copied().map(without_message_id);
    Written {
        marks,
        body_at: start + header.map_or(0, |header| header.len()),
        header,
        offset,
        refused: None,
    }
}

/// Whether the bytes say what `message` says, and no more.
fn reads_back(op: &Operation, message: &Message, written: &[u8]) -> bool {
    let bulk = match &message.body {
        Body::Request(Request::SessionSetup(it)) => usize::from(it.security_buffer_length),
        _ => op.data.map_or(0, |data| data.len as usize),
    };
    let same = |read: &Message| read.header == message.header && read.body == message.body;
    let Some(at) = message.quirks.bulk_at() else {
        let read = Message::decode_detached(written, bulk);
        return read.is_ok_and(|read| same(&read));
    };
    // Where its data is put makes a difference: it is read as a server will.
    let Some((before, behind)) = written.split_at_checked(at as usize) else {
        return false;
    };
    let whole = [before, &vec![0; bulk], behind].concat();
    Message::decode(&whole).is_ok_and(|read| same(&read.message))
}

/// The header of `op`, without MessageId. `scratch` is working memory.
pub(super) fn header(
    op: &Operation,
    ground: Ground<'_>,
    scratch: &mut Vec<u8>,
) -> Option<[u8; HEADER_LEN]> {
    scratch.clear();
    header_on(op, ground).encode(scratch);
    scratch.first_chunk().copied().map(without_message_id)
}

/// The recorded header; on confined ground without what only the recorded server gave, and without
/// the flag of a DFS name, which is taken off.
fn header_on(op: &Operation, ground: Ground<'_>) -> Header {
    let mut header = header_of(op);
    if !ground.policy.confined {
        return header;
    }
    // A DFS name has lost its prefix; the rest says what is not so, or what the driver says.
    header
        .flags
        .remove(HeaderFlags::DFS | HeaderFlags::SERVER_TO_REDIR | HeaderFlags::SIGNED);
    header
        .flags
        .remove(HeaderFlags::ASYNC | HeaderFlags::RELATED);
    let (related, first) = op
        .compound
        .map_or((false, false), |it| (it.related, it.position == 0));
    if related {
        header.flags |= HeaderFlags::RELATED;
    }
    if op
        .raw_tree
        .is_some_and(|id| id != 0 && !(related && !first && id == u32::MAX))
    {
        header.set_tree_id(TreeId(NO_TREE));
    }
    header
}

/// Every request gets its MessageId when it is sent.
fn without_message_id(mut header: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    if let Some(id) = header.get_mut(MESSAGE_ID_AT..MESSAGE_ID_AT + 8) {
        id.fill(0);
    }
    header
}

fn offset_of(pdu: &mut [u8]) -> Option<&mut [u8; 8]> {
    pdu.get_mut(FILE_OFFSET_AT..)?.first_chunk_mut()
}

fn mark_reclaim(request: &mut Request) {
    let Request::Create(CreateRequest { contexts, .. }) = request else {
        return;
    };
    for context in contexts {
        match &mut context.data {
            ContextData::DurableReconnect(it) => it.file_id = RECLAIM_MARK,
            ContextData::DurableReconnectV2(it) => it.file_id = RECLAIM_MARK,
            _ => {}
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

// [MS-SMB2] 2.2.1.2
const MESSAGE_ID_AT: usize = 24;
/// Stands for the handle to reclaim until the run knows it.
const RECLAIM_MARK: FileId = FileId {
    persistent: 0x5be7_c4a1_90d3_2f68,
    volatile: 0xa81c_36f2_7d09_e45b,
};
