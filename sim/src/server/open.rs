//! The table of opens, and what a file knows of those that have it open. [MS-SMB2] 3.3.1.10.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::smb2::{
    AccessMask, CreateOptions, FileId, Guid, NtStatus, OplockLevel, ShareAccess,
};

use super::answer::Cx;
use super::caching::Caching;
use super::directory::Scan;
use super::durable::Durable;
use super::fs::{Child, LinkId, NodeId, StreamId};
use super::leases::LeaseId;
use super::lock::ByteLock;
use super::notify::Watch;
use super::{ConnKey, Server};

/// The persistent half of a file id.
pub(super) type OpenId = u64;

/// One open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) volatile: u64,
    /// Goes up from open to open: which came first.
    pub(super) number: u64,
    /// A channel of its session; none while a durable open waits to be reclaimed.
    pub(super) conn: Option<ConnKey>,
    pub(super) session: u64,
    pub(super) tree: u32,
    pub(super) share: usize,
    pub(super) user: String,
    pub(super) client: Guid,
    pub(super) node: NodeId,
    /// The name that it was opened by.
    pub(super) link: LinkId,
    pub(super) stream: StreamId,
    pub(super) is_dir: bool,
    pub(super) access: AccessMask,
    pub(super) share_access: ShareAccess,
    pub(super) options: CreateOptions,
    pub(super) oplock: OplockLevel,
    /// The level that an oplock's break asked for, until it is acknowledged.
    pub(super) breaking: Option<OplockLevel>,
    pub(super) lease: Option<LeaseId>,
    /// The lease of the directory above it, as the CREATE named it.
    pub(super) parent_lease: Option<LeaseId>,
    /// Its stream was written to, which the directory above is told at its CLOSE.
    pub(super) wrote: bool,
    pub(super) delete_on_close: bool,
    /// It wants the name to go with its own CLOSE, whoever has it open ([MS-FSCC] 2.4.12, POSIX semantics).
    pub(super) posix_delete: bool,
    /// It was opened with POSIX semantics.
    pub(super) posix: bool,
    pub(super) durable: Option<Durable>,
    pub(super) scan: Option<Scan>,
    pub(super) watch: Option<Watch>,
    pub(super) position: u64,
    /// Last LockSequence answered, by index. [MS-SMB2] 3.3.5.14.
    pub(super) lock_sequences: Vec<(u32, u32)>,
}

impl Open {
    pub(super) fn mode(&self) -> Mode {
        Mode::new(self.access, self.share_access)
    }

    pub(super) fn may(&self, any: AccessMask) -> bool {
        self.access.intersects(any)
    }

    /// What is deleted where it is: its name, or its named stream.
    pub(super) fn deletes(&self) -> u64 {
        if self.stream == self.node {
            self.link
        } else {
            self.stream
        }
    }

    /// Whether the client that sends a request holds it: on the same connection, or on another channel.
    pub(super) fn is_of(&self, cx: &Cx) -> bool {
        self.conn == Some(cx.conn) || self.conn.is_some() && self.session == cx.session
    }
}

/// Access and sharing as far as they decide who stands in whose way. [MS-FSA] 2.1.5.1.2.2.
///
/// Of each three bits: reading, writing, deleting.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Mode {
    does: u8,
    allows: u8,
}

const READS: u8 = 1;
const WRITES: u8 = 2;
const DELETES: u8 = 4;

impl Mode {
    pub(super) fn new(access: AccessMask, share: ShareAccess) -> Self {
        let read = AccessMask::READ_DATA | AccessMask::EXECUTE;
        let write = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA;
        let bits = |read: bool, write: bool, delete: bool| {
            let bit = |is: bool, bit: u8| if is { bit } else { 0 };
            bit(read, READS) | bit(write, WRITES) | bit(delete, DELETES)
        };
        Self {
            does: bits(
                access.intersects(read),
                access.intersects(write),
                access.intersects(AccessMask::DELETE),
            ),
            allows: bits(
                share.contains(ShareAccess::READ),
                share.contains(ShareAccess::WRITE),
                share.contains(ShareAccess::DELETE),
            ),
        }
    }

    /// Whether two opens cannot be at the same time: who does nothing is in nobody's way.
    pub(super) fn conflicts(self, other: Self) -> bool {
        let denied = self.does & !other.allows | other.does & !self.allows;
        self.does != 0 && other.does != 0 && denied != 0
    }

    pub(super) fn allows_delete(self) -> bool {
        self.allows & DELETES != 0
    }
}

/// What the opens of one stream share. Of many opens what matters is known without a look at each.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// In the order they were opened.
    pub(super) opens: BTreeMap<u64, OpenId>,
    /// How many opens have which mode.
    pub(super) modes: BTreeMap<Mode, usize>,
    /// Opens without a lease.
    pub(super) unleased: usize,
    /// Opens whose client is gone.
    pub(super) disconnected: usize,
    pub(super) caching: Caching,
    pub(super) locks: Vec<ByteLock>,
    /// What goes with the last open by it: names of the file, or the named stream, by their numbers.
    pub(super) pending: BTreeSet<u64>,
    /// What the open that wants it so named as the lease of the directory above.
    pub(super) deleter: Option<LeaseId>,
    /// For a planted bug: bytes before the last write, and by which open it was.
    pub(super) stale: Option<(u64, Vec<u8>, OpenId)>,
}

impl FileState {
    pub(super) fn is_open(&self) -> bool {
        !self.opens.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.opens.len()
    }

    /// Modes that some open has.
    pub(super) fn modes(&self) -> impl Iterator<Item = Mode> + '_ {
        self.modes.keys().copied()
    }

    fn enter(&mut self, id: OpenId, open: &Open) {
        self.opens.insert(open.number, id);
        let count = self.modes.entry(open.mode()).or_default();
        *count = count.saturating_add(1);
        self.unleased = self.unleased.saturating_add(1); // leases come later
    }

    /// Takes an open out, and its locks and caching.
    pub(super) fn leave(&mut self, id: OpenId, open: &Open) {
        self.opens.remove(&open.number);
        if let Some(count) = self.modes.get_mut(&open.mode()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.modes.remove(&open.mode());
            }
        }
        if open.lease.is_none() {
            self.unleased = self.unleased.saturating_sub(1);
            self.caching.remove(open.number);
        }
        if open.conn.is_none() {
            self.disconnected = self.disconnected.saturating_sub(1);
        }
        if !self.locks.is_empty() {
            self.locks.retain(|lock| lock.open != id);
        }
    }
}

impl Server {
    /// The open a request means. [MS-SMB2] 3.3.5.2.7.2 for related requests.
    ///
    /// # Errors
    ///
    /// FILE_CLOSED when it is not one of this session and tree.
    pub(super) fn find_open(&self, cx: &Cx, file: FileId) -> Result<OpenId, NtStatus> {
        let file = match cx.previous {
            Some(previous) if cx.related && file == FileId::RELATED => previous,
            _ => file,
        };
        let open = self.opens.get(&file.persistent);
        let mine = open.filter(|open| {
            open.volatile == file.volatile
                && open.conn.is_some()
                && open.session == cx.session
                && (open.tree == cx.tree || cx.tree == 0)
        });
        mine.map(|_| file.persistent).ok_or(NtStatus::FILE_CLOSED)
    }

    /// The open with that id, which the caller has just found.
    pub(super) fn open(&self, id: OpenId) -> Result<&Open, NtStatus> {
        self.opens.get(&id).ok_or(NtStatus::FILE_CLOSED)
    }

    pub(super) fn open_mut(&mut self, id: OpenId) -> Result<&mut Open, NtStatus> {
        self.opens.get_mut(&id).ok_or(NtStatus::FILE_CLOSED)
    }

    /// The file that an open is of, by the name it was opened by.
    pub(super) fn child_of(&self, id: OpenId) -> Option<Child> {
        let open = self.opens.get(&id)?;
        let (node, link) = (open.node, open.link);
        Some(Child { node, link })
    }

    /// Its file id on the wire.
    pub(super) fn file_id(&self, id: OpenId) -> FileId {
        FileId {
            persistent: id,
            volatile: self.opens.get(&id).map_or(0, |open| open.volatile),
        }
    }

    /// Puts an open into the tables.
    pub(super) fn insert_open(&mut self, mut open: Open) -> OpenId {
        let mut id = u64::from(self.rng.id());
        while self.opens.contains_key(&id) {
            id = u64::from(self.rng.id());
        }
        open.volatile = self.new_volatile(id);
        self.next_open = self.next_open.saturating_add(1);
        open.number = self.next_open;
        self.files.entry(open.stream).or_default().enter(id, &open);
        if let Some(conn) = open.conn {
            self.attach(conn, open.session, id);
        }
        self.opens.insert(id, open);
        id
    }

    /// A volatile half that no other open has.
    pub(super) fn new_volatile(&mut self, id: OpenId) -> u64 {
        let mut volatile = u64::from(self.rng.id());
        while self.volatile.contains_key(&volatile) {
            volatile = u64::from(self.rng.id());
        }
        self.volatile.insert(volatile, id);
        volatile
    }

    /// Notes that an open belongs to a session of a connection.
    pub(super) fn attach(&mut self, conn: ConnKey, session: u64, id: OpenId) {
        self.in_session.insert((session, id));
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.opens = conn.opens.saturating_add(1);
        }
    }

    /// Takes that back.
    pub(super) fn unattach(&mut self, conn: ConnKey, session: u64, id: OpenId) {
        self.in_session.remove(&(session, id));
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.opens = conn.opens.saturating_sub(1);
        }
    }

    /// The opens of a session, or of one of its trees; not the disconnected ones.
    pub(super) fn opens_in(&self, session: u64, tree: Option<u32>) -> Vec<OpenId> {
        let range = self.in_session.range((session, 0)..=(session, OpenId::MAX));
        let ids = range.map(|(_, id)| *id);
        let within = |id: &OpenId| {
            let open = self.opens.get(id);
            open.is_some_and(|open| tree.is_none_or(|tree| open.tree == tree))
        };
        ids.filter(within).collect()
    }

    /// The opens of a stream, in the order they were opened.
    pub(super) fn opens_of(&self, stream: StreamId) -> Vec<OpenId> {
        let file = self.files.get(&stream);
        file.map_or_else(Vec::new, |file| file.opens.values().copied().collect())
    }

    /// Whether a stream is open.
    pub(super) fn is_stream_open(&self, stream: StreamId) -> bool {
        self.files.get(&stream).is_some_and(FileState::is_open)
    }

    /// Whether a file or one of its streams is open.
    pub(super) fn is_open(&self, node: NodeId) -> bool {
        let mut streams = self.streams_of(node).into_iter();
        streams.any(|stream| self.is_stream_open(stream))
    }

    /// Whether a file or one of its streams is open by one of its names.
    pub(super) fn is_open_by(&self, child: Child) -> bool {
        !self.opens_by(child).is_empty()
    }

    /// The opens of a file and its streams by one of its names.
    pub(super) fn opens_by(&self, child: Child) -> Vec<OpenId> {
        let streams = self.streams_of(child.node).into_iter();
        let opens = streams.flat_map(|stream| self.opens_of(stream));
        let by = |id: &OpenId| {
            let open = self.opens.get(id);
            open.is_some_and(|open| open.link == child.link)
        };
        opens.filter(by).collect()
    }

    /// Whether what an open would delete is to be deleted.
    pub(super) fn is_pending(&self, open: &Open) -> bool {
        let file = self.files.get(&open.stream);
        file.is_some_and(|file| file.pending.contains(&open.deletes()))
    }

    /// The unnamed stream's id, then those of the named ones.
    pub(super) fn streams_of(&self, node: NodeId) -> Vec<StreamId> {
        let named = self
            .fs
            .node(node)
            .map(|node| node.named.iter().map(|named| named.id));
        let mut streams = vec![node];
        streams.extend(named.into_iter().flatten());
        streams
    }
}
