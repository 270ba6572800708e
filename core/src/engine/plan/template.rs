//! Request bytes with holes: everything of a request that does not change from run to run.

use super::{
    super::config::{RunConfig, TreeTarget},
    op::{FILE_OFFSET_AT, Marks},
};
use crate::{
    ids::TreeRef,
    smb2::{
        Body, Command, ContextData, CreateRequest, FileId, HEADER_LEN, InfoClass, InfoType,
        Message, Name, Quirks, Request,
    },
    workload::{Operation, Workload, header_of},
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
}

/// Appends the bytes of `op`, whose request is `request`, to `arena`.
pub(super) fn write(
    workload: &Workload,
    config: &RunConfig,
    op: &Operation,
    mut request: Request,
    arena: &mut Vec<u8>,
) -> Written {
    let start = arena.len();
    let mut marks = Marks::default();
    let moved = remap(workload, op, config, &mut request);
    let quirks = if moved {
        Quirks::default()
    } else {
        op.quirks.clone()
    };
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
    let message = Message {
        header: header_of(op),
        body: Body::Request(request),
        quirks,
    };
    marks.bulk_at = message.encode_detached(arena).map(index);
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
    }
}

/// The header of `op`, without MessageId. `scratch` is working memory.
pub(super) fn header(op: &Operation, scratch: &mut Vec<u8>) -> Option<[u8; HEADER_LEN]> {
    scratch.clear();
    header_of(op).encode(scratch);
    scratch.first_chunk().copied().map(without_message_id)
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

/// The number of the target that names of `op` are moved to; operations of the same number are
/// written alike.
pub(super) fn target_number(
    workload: &Workload,
    config: &RunConfig,
    tree: Option<TreeRef>,
) -> Option<(u32, bool)> {
    let tree = workload.trees.get(tree?.index())?;
    let number = config.trees.keys().position(|path| *path == tree.path)?;
    Some((index(number), tree.share_type == SHARE_TYPE_DISK))
}

/// Moves names under the configured root, and trees to the configured server. Whether anything
/// changed.
fn remap(workload: &Workload, op: &Operation, config: &RunConfig, request: &mut Request) -> bool {
    let Some((target, disk)) = target_of(workload, op.tree, config) else {
        return false;
    };
    match request {
        Request::TreeConnect(connect) => {
            connect.path = Name::Text(target.path.clone());
            true
        }
        Request::Create(create) if disk => under_root(&mut create.name, target),
        Request::SetInfo(set) if disk && set.info_type == InfoType::FILE => {
            match names_a_target(set.file_info_class)
                .then(|| target_under_root(&set.buffer, &target.root))
                .flatten()
            {
                Some(buffer) => {
                    set.buffer = buffer;
                    true
                }
                None => false,
            }
        }
        _ => false,
    }
}

fn target_of<'a>(
    workload: &Workload,
    tree: Option<TreeRef>,
    config: &'a RunConfig,
) -> Option<(&'a TreeTarget, bool)> {
    let tree = workload.trees.get(tree?.index())?;
    let target = config.trees.get(&tree.path)?;
    Some((target, tree.share_type == SHARE_TYPE_DISK))
}

fn under_root(name: &mut Name, target: &TreeTarget) -> bool {
    if target.root.is_empty() {
        return false;
    }
    let Name::Text(text) = name else { return false };
    *text = join(&target.root, text);
    true
}

/// `name` below `root`; the root itself for the empty name, a stream of the root for `:name`.
pub(crate) fn join(root: &str, name: &str) -> String {
    match name {
        "" => root.to_owned(),
        stream if stream.starts_with(':') => format!("{root}{stream}"),
        name => format!("{root}\\{}", name.trim_start_matches('\\')),
    }
}

fn names_a_target(class: InfoClass) -> bool {
    class == FILE_RENAME_INFORMATION || class == FILE_LINK_INFORMATION
}

/// The new name in a rename or link, put under `root`. [MS-FSCC] 2.4.42.2, 2.4.28.2. A rename of a
/// stream names the new stream alone and stays as it is.
fn target_under_root(buffer: &[u8], root: &str) -> Option<Vec<u8>> {
    let head = buffer.get(..TARGET_NAME_AT - 4)?;
    let len = buffer
        .get(TARGET_NAME_AT - 4..TARGET_NAME_AT)?
        .try_into()
        .ok()?;
    let len = usize::try_from(u32::from_le_bytes(len)).ok()?;
    let name = buffer.get(TARGET_NAME_AT..TARGET_NAME_AT.checked_add(len)?)?;
    let units: Vec<u16> = name
        .chunks_exact(2)
        .filter_map(|it| it.try_into().ok())
        .map(u16::from_le_bytes)
        .collect();
    let name = String::from_utf16(&units).ok()?;
    if root.is_empty() || name.starts_with(':') {
        return None;
    }
    let moved: Vec<u8> = join(root, &name)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut out = head.to_vec();
    out.extend_from_slice(&index(moved.len()).to_le_bytes());
    out.extend_from_slice(&moved);
    Some(out)
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
const SHARE_TYPE_DISK: u8 = 1;
const TARGET_NAME_AT: usize = 20;
// [MS-FSCC] 2.4
const FILE_RENAME_INFORMATION: InfoClass = InfoClass(10);
const FILE_LINK_INFORMATION: InfoClass = InfoClass(11);
