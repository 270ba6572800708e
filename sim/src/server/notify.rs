//! CHANGE_NOTIFY: who watches what, and what they are told. [MS-SMB2] 3.3.5.19, 3.3.4.4,
//! [MS-FSCC] 2.7.1.

use std::collections::BTreeSet;

use smbench_core::smb2::{
    AccessMask, ChangeNotifyFlags, ChangeNotifyRequest, ChangeNotifyResponse, CompletionFilter,
    NtStatus,
};

use super::answer::{Answer, Cx, Handled, Stop};
use super::data::{len_of, len32};
use super::fs::{Child, NodeId};
use super::info::{Out, utf16};
use super::limits::{Limit, may_share};
use super::open::OpenId;
use super::waiting::Wait;
use super::{Plant, Server};

/// What an open directory watches, from its first CHANGE_NOTIFY to its CLOSE.
#[derive(Debug, Default)]
pub(super) struct Watch {
    filter: CompletionFilter,
    tree: bool,
    /// Bytes a response may hold.
    room: u32,
    /// Changes that nobody was told yet: action, relative path.
    changes: Vec<(u32, String)>,
    /// Bytes of them.
    bytes: usize,
    overflow: bool,
    /// Changes seen, for the planted loss.
    seen: u64,
}

/// Who watches, found by what changes.
#[derive(Debug, Default)]
pub(super) struct Watches {
    on: BTreeSet<(NodeId, OpenId)>,
    /// Bytes of the changes that nobody was told yet.
    bytes: usize,
}

impl Watches {
    pub(super) fn count(&self) -> usize {
        self.on.len()
    }

    fn on(&self, node: NodeId) -> impl Iterator<Item = OpenId> + '_ {
        let range = self.on.range((node, 0)..=(node, OpenId::MAX));
        range.map(|(_, id)| *id)
    }
}

/// A change, as those who watch are told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    action: u32,
    filter: CompletionFilter,
}

const ADDED: u32 = 1;
const REMOVED: u32 = 2;
const MODIFIED: u32 = 3;
const RENAMED_OLD: u32 = 4;
const RENAMED_NEW: u32 = 5;
const ADDED_STREAM: u32 = 6;
const REMOVED_STREAM: u32 = 7;

impl Change {
    fn name(action: u32, is_dir: bool) -> Self {
        let filter = if is_dir {
            CompletionFilter::DIR_NAME
        } else {
            CompletionFilter::FILE_NAME
        };
        Self { action, filter }
    }
    pub(super) fn added(is_dir: bool) -> Self {
        Self::name(ADDED, is_dir)
    }
    pub(super) fn removed(is_dir: bool) -> Self {
        Self::name(REMOVED, is_dir)
    }
    pub(super) fn renamed_from(is_dir: bool) -> Self {
        Self::name(RENAMED_OLD, is_dir)
    }
    pub(super) fn renamed_to(is_dir: bool) -> Self {
        Self::name(RENAMED_NEW, is_dir)
    }
    pub(super) fn stream_added() -> Self {
        Self {
            action: ADDED_STREAM,
            filter: CompletionFilter::STREAM_NAME,
        }
    }
    pub(super) fn stream_removed() -> Self {
        Self {
            action: REMOVED_STREAM,
            filter: CompletionFilter::STREAM_NAME,
        }
    }
    pub(super) fn modified(filter: CompletionFilter) -> Self {
        Self {
            action: MODIFIED,
            filter,
        }
    }
    pub(super) fn overwritten() -> Self {
        Self::modified(
            CompletionFilter::SIZE | CompletionFilter::LAST_WRITE | CompletionFilter::ATTRIBUTES,
        )
    }
}

impl Server {
    pub(super) fn change_notify(&mut self, cx: &Cx, body: &ChangeNotifyRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let max = self.conns.get(&cx.conn).map_or(0, |conn| conn.max_io);
        let open = self.open_mut(id)?;
        // [MS-SMB2] 3.3.5.19.
        if !open.is_dir || body.output_buffer_length > max {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        if !open.may(AccessMask::READ_DATA) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if open.watch.is_none() {
            let node = open.node;
            self.watch(cx, id, node)?;
        }
        let open = self.open_mut(id)?;
        let first = Watch {
            filter: body.completion_filter,
            tree: body.flags.contains(ChangeNotifyFlags::WATCH_TREE),
            ..Watch::default()
        };
        // Filter and depth are those of the first request. [MS-FSA] 2.1.5.11
        let watch = open.watch.get_or_insert(first);
        watch.room = body.output_buffer_length;
        if watch.changes.is_empty() && !watch.overflow {
            return Err(Stop::Wait(Wait::Notify(id)));
        }
        Ok(self.take_changes(id))
    }

    /// Begins to watch a directory, if there may be one more.
    fn watch(&mut self, cx: &Cx, id: OpenId, node: NodeId) -> Result<(), Stop> {
        let (all, most) = (self.watches.count(), self.config.limits.watches);
        let conn = self.conns.get_mut(&cx.conn).ok_or(Stop::Hangup)?;
        if !may_share(conn.watches, all, most) {
            return Err(self.limited(Limit::Watches).into());
        }
        conn.watches = conn.watches.saturating_add(1);
        self.watches.on.insert((node, id));
        Ok(())
    }

    /// An open watches no longer.
    pub(super) fn unwatch(&mut self, id: OpenId) {
        let Some(open) = self.opens.get_mut(&id) else {
            return;
        };
        let Some(watch) = open.watch.take() else {
            return;
        };
        self.watches.on.remove(&(open.node, id));
        self.watches.bytes = self.watches.bytes.saturating_sub(watch.bytes);
        let conn = open.conn.and_then(|conn| self.conns.get_mut(&conn));
        if let Some(conn) = conn {
            conn.watches = conn.watches.saturating_sub(1);
        }
    }

    /// The changes so far as an answer; too many are NOTIFY_ENUM_DIR. [MS-SMB2] 3.3.4.4.
    fn take_changes(&mut self, id: OpenId) -> Answer {
        let empty = |status| Answer::with(status, ChangeNotifyResponse::default());
        let Some(watch) = self.opens.get_mut(&id).and_then(|open| open.watch.as_mut()) else {
            return empty(NtStatus::NOTIFY_CLEANUP);
        };
        let overflow = std::mem::take(&mut watch.overflow);
        let bytes = std::mem::take(&mut watch.bytes);
        self.watches.bytes = self.watches.bytes.saturating_sub(bytes);
        let output = encode(&std::mem::take(&mut watch.changes));
        if overflow || output.len() > len_of(watch.room) {
            self.counters.notify_overflows = self.counters.notify_overflows.saturating_add(1);
            return empty(NtStatus::NOTIFY_ENUM_DIR);
        }
        Answer::ok(ChangeNotifyResponse { output })
    }

    /// A file or directory changed, by one of its names: tells those that watch above it.
    pub(super) fn changed(&mut self, child: Child, change: Change) {
        let found = self.fs.node(child.node).ok();
        if let Some(link) = found.and_then(|node| node.link(child.link)) {
            let (dir, name) = (link.parent, link.name.clone());
            self.changed_all(&[(dir, &name, change)]);
        }
    }

    /// The same for what an open is of.
    pub(super) fn changed_by(&mut self, by: OpenId, change: Change) {
        if let Some(child) = self.child_of(by) {
            self.changed(child, change);
        }
    }

    /// Several changes that are told together: directories, names in them, and what became of these.
    pub(super) fn changed_all(&mut self, changes: &[(NodeId, &str, Change)]) {
        let mut concerned = BTreeSet::new();
        if self.watches.count() > 0 {
            for (dir, ..) in changes {
                for above in self.fs.up_from(*dir) {
                    concerned.extend(self.watches.on(above));
                }
            }
        }
        let lossy = self.has(Plant::NotifyLost);
        let limits = self.config.limits;
        let (mut told, mut lost) = (Vec::new(), false);
        for id in concerned {
            let Some(open) = self.opens.get_mut(&id) else {
                continue;
            };
            let Some(watch) = &mut open.watch else {
                continue;
            };
            let mut any = false;
            for (dir, name, change) in changes {
                let path = match self.fs.path_below(*dir, open.node) {
                    // The top of a share has no name.
                    Some(_) if name.is_empty() => continue,
                    Some(above) if above.is_empty() => (*name).to_owned(),
                    Some(above) => format!("{above}\\{name}"),
                    None => continue,
                };
                let deep = path.contains('\\') && !watch.tree;
                if deep || !watch.filter.intersects(change.filter) {
                    continue;
                }
                watch.seen = watch.seen.saturating_add(1);
                if lossy && watch.seen.is_multiple_of(2) {
                    continue;
                }
                any = true;
                let bytes = path.len().saturating_add(CHANGE);
                let all = self.watches.bytes.saturating_add(bytes);
                if watch.changes.len() >= limits.changes_per_open || all > limits.change_bytes {
                    watch.changes.clear();
                    let gone = std::mem::take(&mut watch.bytes);
                    self.watches.bytes = self.watches.bytes.saturating_sub(gone);
                    watch.overflow = true;
                    lost = true;
                } else if !watch.overflow
                    && watch.changes.last() != Some(&(change.action, path.clone()))
                {
                    watch.bytes = watch.bytes.saturating_add(bytes);
                    self.watches.bytes = all;
                    watch.changes.push((change.action, path));
                }
            }
            if any {
                told.push(id);
            }
        }
        if lost {
            self.limited(Limit::Changes);
        }
        for id in told {
            // Told when the request that made the change is done: one answer for all of it.
            self.ready.extend(self.waiting.on_open(id).first());
        }
    }
}

/// Bytes of a change beside its path.
const CHANGE: usize = 64;

/// FILE_NOTIFY_INFORMATION records. [MS-FSCC] 2.7.1.
fn encode(changes: &[(u32, String)]) -> Vec<u8> {
    let mut out = Out::default();
    let last = changes.len().saturating_sub(1);
    for (index, (action, path)) in changes.iter().enumerate() {
        let start = out.len();
        let wide = utf16(path);
        out.u32(0).u32(*action).u32(len32(wide.len())).bytes(&wide);
        if index != last {
            out.align(4);
            let next = len32(out.len().saturating_sub(start));
            out.set_u32(start, next);
        }
    }
    out.0
}
