//! The table of opens, and what a file knows of those that have it open. [MS-SMB2] 3.3.1.10.

use smbench_core::smb2::{
    AccessMask, CreateOptions, FileId, Guid, NtStatus, OplockLevel, ShareAccess,
};

use super::answer::Cx;
use super::directory::Scan;
use super::durable::Durable;
use super::fs::{NodeId, StreamId};
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
    /// None while a durable open waits to be reclaimed.
    pub(super) conn: Option<ConnKey>,
    pub(super) session: u64,
    pub(super) tree: u32,
    pub(super) share: usize,
    pub(super) user: String,
    pub(super) client: Guid,
    pub(super) node: NodeId,
    pub(super) stream: StreamId,
    pub(super) is_dir: bool,
    pub(super) access: AccessMask,
    pub(super) share_access: ShareAccess,
    pub(super) options: CreateOptions,
    pub(super) oplock: OplockLevel,
    /// The level that an oplock's break asked for, until it is acknowledged.
    pub(super) breaking: Option<OplockLevel>,
    pub(super) lease: Option<LeaseId>,
    pub(super) delete_on_close: bool,
    pub(super) durable: Option<Durable>,
    pub(super) scan: Option<Scan>,
    pub(super) watch: Option<Watch>,
    pub(super) position: u64,
    /// Last LockSequence answered, by index. [MS-SMB2] 3.3.5.14.
    pub(super) lock_sequences: Vec<(u32, u32)>,
}

impl Open {
    pub(super) fn may(&self, any: AccessMask) -> bool {
        self.access.intersects(any)
    }
}

/// What the opens of one stream share.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// In the order they were opened.
    pub(super) opens: Vec<OpenId>,
    pub(super) locks: Vec<ByteLock>,
    /// The stream goes with its last open.
    pub(super) delete_pending: bool,
    /// For a planted bug: bytes before the last write, and by which open it was.
    pub(super) stale: Option<(u64, Vec<u8>, OpenId)>,
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
                && open.conn == Some(cx.conn)
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
        self.files.entry(open.stream).or_default().opens.push(id);
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

    /// The opens of a stream.
    pub(super) fn opens_of(&self, stream: StreamId) -> Vec<OpenId> {
        self.files
            .get(&stream)
            .map_or_else(Vec::new, |file| file.opens.clone())
    }

    /// Whether a file or one of its streams is open.
    pub(super) fn is_open(&self, node: NodeId) -> bool {
        self.streams_of(node).iter().any(|stream| {
            self.files
                .get(stream)
                .is_some_and(|file| !file.opens.is_empty())
        })
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

    /// Whether two opens cannot be at the same time. [MS-FSA] 2.1.5.1.2.2.
    pub(super) fn conflicts(
        have: (AccessMask, ShareAccess),
        want: (AccessMask, ShareAccess),
    ) -> bool {
        let counted = AccessMask::READ_DATA
            | AccessMask::WRITE_DATA
            | AccessMask::APPEND_DATA
            | AccessMask::EXECUTE
            | AccessMask::DELETE;
        if !have.0.intersects(counted) || !want.0.intersects(counted) {
            return false;
        }
        let denies = |access: AccessMask, share: ShareAccess| {
            let read = AccessMask::READ_DATA | AccessMask::EXECUTE;
            let write = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA;
            (access.intersects(read) && !share.contains(ShareAccess::READ))
                || (access.intersects(write) && !share.contains(ShareAccess::WRITE))
                || (access.intersects(AccessMask::DELETE) && !share.contains(ShareAccess::DELETE))
        };
        denies(want.0, have.1) || denies(have.0, want.1)
    }
}
