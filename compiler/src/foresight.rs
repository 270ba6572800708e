//! What a capture that begins in the middle tells late about what was open before it began.
//!
//! A first compilation puts the set-up of an unseen open before its first use, when nothing is known of it. The
//! workload that comes of it tells more, and a second compilation of the same capture puts it before everything:
//!
//! | what is seen                                          | what is inferred                                        |
//! |-------------------------------------------------------|---------------------------------------------------------|
//! | a range is unlocked that nobody was seen to lock      | the open had locked it                                  |
//! | a lock is not granted, and such a range is in its way | both opens are of one file                              |
//! | VALIDATE_NEGOTIATE_INFO on a connection whose NEGOTIATE nobody saw | that is what the client had offered ([MS-SMB2] 2.2.31.4) |
//! | names of a tree that nobody saw connected are used in the one share of the server that somebody was seen to connect to | the tree is of that share |
//! | SHARING_VIOLATION, and no open that was seen explains it, until an unseen open is closed | that open is of this file; what it did and allowed lets through what was let through |

mod trees;

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    confine::created_path,
    fscc::SetInfoPayload,
    ids::{OpenRef, TreeRef},
    smb2::{
        AccessMask, Capabilities, CreateRequest, Dialect, FileId, Guid, LockElement, LockFlags,
        NtStatus, Request, SecurityMode, SessionId, SetInfoRequest, ShareAccess, TreeId,
    },
    workload::{Action, Operation, Workload},
};

use crate::{
    capture::ConnInfo,
    folder::{FolderError, FolderReader},
};

/// An open that was used and that nobody saw made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unseen {
    pub(crate) open: OpenRef,
    pub(crate) conn: usize,
    pub(crate) session: SessionId,
    pub(crate) tree: TreeId,
    pub(crate) file: FileId,
    /// It is neither of a folder nor of a pipe.
    pub(crate) is_file: bool,
}

/// The connections and unseen opens of a compilation.
#[derive(Debug, Default)]
pub struct Midway {
    pub(crate) conns: Vec<ConnInfo>,
    pub(crate) unseen: Vec<Unseen>,
    /// Whether there are trees that nobody saw connected.
    pub(crate) has_trees: bool,
    /// What clients say that they offered where nobody saw it, by connection.
    pub(crate) offers: BTreeMap<usize, Offer>,
}

/// What a client offered when it negotiated.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) capabilities: Capabilities,
    pub(crate) client: Guid,
    pub(crate) security_mode: SecurityMode,
    pub(crate) dialects: Vec<Dialect>,
}

impl Midway {
    /// Whether nothing was open before the capture began, as far as it tells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unseen.is_empty() && !self.has_trees && self.offers.is_empty()
    }
}

/// What is inferred of an unseen open.
#[derive(Clone, Debug)]
pub(crate) struct Foreseen {
    pub(crate) of: Unseen,
    /// The file's path in its share, or a name that it shares with others.
    pub(crate) path: Option<String>,
    pub(crate) access: Option<AccessMask>,
    pub(crate) share: Option<ShareAccess>,
    /// Ranges that it had locked.
    pub(crate) locks: Vec<LockElement>,
    /// Number of the packet that told first.
    pub(crate) frame: u64,
}

/// What a first compilation found out for the second.
#[derive(Debug, Default)]
pub struct Foresight {
    pub(crate) conns: Vec<ConnInfo>,
    pub(crate) opens: Vec<Foreseen>,
    /// Paths of trees that nobody saw connected.
    pub(crate) trees: BTreeMap<TreeKey, String>,
    /// What clients had offered, by connection.
    pub(crate) offers: BTreeMap<usize, Offer>,
}

/// A tree by what the wire calls it: connection, session and tree.
pub(crate) type TreeKey = (usize, SessionId, TreeId);

impl Foresight {
    /// Looks for it in the workload that came of the first compilation.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when the workload cannot be read.
    pub fn of(midway: Midway, folder: &FolderReader) -> Result<Self, FolderError> {
        let mut seer = Seer::new(midway.unseen);
        for operation in folder.operations()? {
            seer.note(folder.workload(), &operation?);
        }
        let trees = seer.trees.foresee(folder.workload());
        let opens = seer.foresee();
        let last = opens.iter().map(|it| it.of.conn).max();
        let mut conns = midway.conns;
        conns.truncate(last.map_or(0, |last| last + 1));
        Ok(Self {
            conns,
            opens,
            trees,
            offers: midway.offers,
        })
    }

    /// Whether a second compilation would find no more than the first.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opens.is_empty() && self.trees.is_empty() && self.offers.is_empty()
    }
}

/// A name on a share, in lower case.
type Path = (String, String);

/// What is known of an unseen open by the end.
#[derive(Debug)]
struct Life {
    of: Unseen,
    share: String,
    /// Place of the CLOSE among the operations.
    closed: Option<usize>,
    /// Access that its uses need.
    needs: AccessMask,
    /// Locked before, with the packet that unlocks it.
    locks: Vec<(LockElement, u64)>,
    path: Option<(String, u64)>,
}

/// A CREATE of a name that was answered.
#[derive(Clone, Debug)]
struct Attempt {
    at: usize,
    frame: u64,
    name: String,
    access: AccessMask,
    share: ShareAccess,
}

#[derive(Debug, Default)]
struct Attempts {
    /// Refused for sharing, though nobody who was seen had it open.
    unexplained: Vec<Attempt>,
    granted: Vec<Attempt>,
    /// Opens that were seen and are not closed.
    open: BTreeSet<OpenRef>,
}

/// A lock that was not granted.
#[derive(Debug)]
struct Refused {
    open: OpenRef,
    at: usize,
    lock: LockElement,
}

#[derive(Debug)]
struct Seer {
    lives: BTreeMap<OpenRef, Life>,
    by_path: BTreeMap<Path, Attempts>,
    /// Names of opens that were seen.
    paths: BTreeMap<OpenRef, Path>,
    /// Locks that were taken in the capture.
    taken: BTreeMap<OpenRef, Vec<LockElement>>,
    refused: Vec<Refused>,
    trees: trees::Trees,
    at: usize,
}

impl Seer {
    fn new(unseen: Vec<Unseen>) -> Self {
        let life = |of: Unseen| Life {
            of,
            share: String::new(),
            closed: None,
            needs: AccessMask::empty(),
            locks: Vec::new(),
            path: None,
        };
        let files = unseen.into_iter().filter(|it| it.is_file);
        Self {
            lives: files.map(|of| (of.open, life(of))).collect(),
            by_path: BTreeMap::new(),
            paths: BTreeMap::new(),
            taken: BTreeMap::new(),
            refused: Vec::new(),
            trees: trees::Trees::default(),
            at: 0,
        }
    }

    fn note(&mut self, workload: &Workload, operation: &Operation) {
        self.at += 1;
        if self.at > LOOKED_AT {
            return;
        }
        let Action::Request(request) = &operation.action else {
            return;
        };
        self.trees.note(operation, request);
        if operation.reconstructed {
            let life = operation.open.and_then(|open| self.lives.get_mut(&open));
            if let (Some(life), Some(tree)) = (life, operation.tree) {
                life.share = share_of(workload, tree);
            }
            return;
        }
        let Some(status) = operation.expect.as_ref().map(|it| it.status) else {
            return;
        };
        match (request, operation.open) {
            (Request::Create(create), open) => {
                if let Some(tree) = operation.tree {
                    let share = share_of(workload, tree);
                    self.create(operation, create, share, open, status);
                }
            }
            (Request::Close(_), Some(open)) if status == NtStatus::SUCCESS => self.close(open),
            (Request::Lock(lock), Some(open)) => {
                for element in &lock.locks {
                    self.lock(open, *element, status, operation.frame);
                }
            }
            (Request::SetInfo(set), Some(open)) if status == NtStatus::SUCCESS => {
                self.rename(open, set);
            }
            (Request::Write(_), Some(open)) => self.needs(open, AccessMask::WRITE_DATA),
            (Request::Read(_), Some(open)) => self.needs(open, AccessMask::READ_DATA),
            _ => {}
        }
    }

    fn needs(&mut self, open: OpenRef, access: AccessMask) {
        if let Some(life) = self.lives.get_mut(&open) {
            life.needs |= access;
        }
    }

    fn create(
        &mut self,
        operation: &Operation,
        create: &CreateRequest,
        share: String,
        open: Option<OpenRef>,
        status: NtStatus,
    ) {
        let Some(path) = created_path(operation) else {
            return;
        };
        let attempt = Attempt {
            at: self.at,
            frame: operation.frame,
            name: path.clone().into_owned(),
            access: create.desired_access.without_generic(),
            share: create.share_access,
        };
        let path = (share, path.trim_matches('\\').to_lowercase());
        let attempts = self.by_path.entry(path.clone()).or_default();
        match (status, open) {
            (NtStatus::SUCCESS, Some(open)) => {
                attempts.granted.push(attempt);
                attempts.open.insert(open);
                self.paths.insert(open, path);
            }
            (NtStatus::SHARING_VIOLATION, _) if attempts.open.is_empty() => {
                attempts.unexplained.push(attempt);
            }
            _ => {}
        }
    }

    /// Who has a file open has it open under its new name.
    fn rename(&mut self, open: OpenRef, set: &SetInfoRequest) {
        let payload = SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer);
        let (SetInfoPayload::FileRename(to) | SetInfoPayload::FileRenameEx(to)) = payload else {
            return;
        };
        let (Some(from), Some(to)) = (self.paths.get(&open).cloned(), to.name.as_text()) else {
            return;
        };
        let to = (from.0.clone(), to.trim_matches('\\').to_lowercase());
        let left = self.by_path.get_mut(&from);
        let opens = left.map(|left| std::mem::take(&mut left.open));
        let opens = opens.unwrap_or_default();
        for open in &opens {
            self.paths.insert(*open, to.clone());
        }
        // Who had what was there before has a file without a name.
        self.by_path.entry(to).or_default().open = opens;
    }

    fn close(&mut self, open: OpenRef) {
        if let Some(life) = self.lives.get_mut(&open) {
            life.closed = Some(self.at);
        }
        let path = self.paths.remove(&open);
        if let Some(attempts) = path.and_then(|path| self.by_path.get_mut(&path)) {
            attempts.open.remove(&open);
        }
        self.taken.remove(&open);
    }

    fn lock(&mut self, open: OpenRef, lock: LockElement, status: NtStatus, frame: u64) {
        let range = |it: &LockElement| (it.offset, it.length);
        let unlocks = lock.flags.contains(LockFlags::UNLOCK);
        match status {
            NtStatus::SUCCESS if unlocks => {
                let taken = self.taken.entry(open).or_default();
                if let Some(at) = taken.iter().position(|it| range(it) == range(&lock)) {
                    taken.remove(at);
                } else if let Some(life) = self.lives.get_mut(&open) {
                    let flags = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
                    life.locks.push((LockElement { flags, ..lock }, frame));
                }
            }
            NtStatus::SUCCESS => self.taken.entry(open).or_default().push(lock),
            NtStatus::LOCK_NOT_GRANTED => self.refused.push(Refused {
                open,
                at: self.at,
                lock,
            }),
            _ => {}
        }
    }

    fn foresee(mut self) -> Vec<Foreseen> {
        let by_path = std::mem::take(&mut self.by_path);
        for ((share, _), attempts) in &by_path {
            self.find_holders(share, attempts);
        }
        self.find_lockers();
        let told = |life: &Life| {
            let locked = life.locks.first().map(|(_, frame)| *frame);
            let named = life.path.as_ref().map(|(_, frame)| *frame);
            named.into_iter().chain(locked).min()
        };
        let foreseen = self.lives.into_values().filter_map(|life| {
            let frame = told(&life)?;
            let path = life.path.map(|(path, _)| path);
            let key = path.as_ref().map(|it| (life.share, it.to_lowercase()));
            let attempts = key.and_then(|key| by_path.get(&key));
            let mode = attempts.map(|attempts| mode(life.needs, life.closed, attempts));
            Some(Foreseen {
                of: life.of,
                path,
                access: mode.map(|(access, _)| access),
                share: mode.map(|(_, share)| share),
                locks: life.locks.into_iter().map(|(lock, _)| lock).collect(),
                frame,
            })
        });
        foreseen.collect()
    }

    /// Who had a file open when that was refused: an unseen open that was closed between the last refusal
    /// and the next grant.
    fn find_holders(&mut self, share: &str, attempts: &Attempts) {
        for last in attempts.unexplained.iter().rev() {
            let next = attempts.granted.iter().find(|it| it.at > last.at);
            let next = next.map_or(usize::MAX, |it| it.at);
            let lives = self.lives.values_mut();
            let fit = lives.filter(|life| life.share == share && life.path.is_none());
            let fit = fit.filter_map(|life| {
                let closed = life.closed.unwrap_or(usize::MAX);
                (closed > last.at).then_some((closed > next, closed, life))
            });
            // Closed before the grant if any is; of those the first.
            let holder = fit.min_by_key(|(late, closed, _)| (*late, *closed));
            let Some((_, closed, life)) = holder else {
                continue;
            };
            let mut explained = attempts.unexplained.iter();
            let first = explained.find(|it| it.at < closed).unwrap_or(last);
            life.path = Some((first.name.trim_matches('\\').to_owned(), first.frame));
            // It was there from the beginning, so it explains all that came before.
            return;
        }
    }

    /// Opens whose locks are in the way of others are of the same file.
    fn find_lockers(&mut self) {
        for Refused { open, at, lock } in &self.refused {
            let Some(own) = self.lives.get(open) else {
                continue;
            };
            let own_path = own.path.clone();
            let share = own.share.clone();
            let mut lives = self.lives.values_mut();
            let holder = lives.find(|life| {
                let other = life.of.open != *open && life.share == share;
                let there = life.closed.is_none_or(|closed| closed > *at);
                other && there && life.locks.iter().any(|(held, _)| overlap(held, lock))
            });
            let Some(holder) = holder else { continue };
            let told = holder.locks.first().map_or(0, |(_, frame)| *frame);
            let name = format!("unknown-open-{}", holder.of.open.0.min(open.0));
            let path = own_path.or_else(|| holder.path.clone());
            let path = path.unwrap_or((name, told));
            holder.path.get_or_insert_with(|| path.clone());
            if let Some(own) = self.lives.get_mut(open) {
                own.path.get_or_insert(path);
            }
        }
    }
}

/// Access and sharing of an open that was in nobody's way who was let through, and in that of who was not.
fn mode(
    needs: AccessMask,
    closed: Option<usize>,
    attempts: &Attempts,
) -> (AccessMask, ShareAccess) {
    let pairs = [
        (AccessMask::READ_DATA, ShareAccess::READ),
        (AccessMask::WRITE_DATA, ShareAccess::WRITE),
        (AccessMask::DELETE, ShareAccess::DELETE),
    ];
    let until = closed.unwrap_or(usize::MAX);
    let beside = || attempts.granted.iter().filter(|it| it.at < until);
    let mut access = AccessMask::READ_ATTRIBUTES | AccessMask::SYNCHRONIZE | needs;
    let mut share = ShareAccess::empty();
    for (right, allowed) in pairs {
        share.set(allowed, beside().any(|it| it.access.intersects(right)));
        // What it does is denied by nobody beside it.
        if beside().all(|it| it.share.contains(allowed)) {
            access |= right;
        }
    }
    (access, share)
}

/// Operations that are looked at: what was open before shows early.
const LOOKED_AT: usize = 1 << 20;

fn overlap(a: &LockElement, b: &LockElement) -> bool {
    let end = |it: &LockElement| it.offset.saturating_add(it.length);
    a.offset < end(b) && b.offset < end(a)
}

fn share_of(workload: &Workload, tree: TreeRef) -> String {
    let tree = workload.trees.get(tree.index());
    tree.map_or_else(String::new, |tree| tree.share().to_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use smbench_core::{
        ids::{ConnId, OpId},
        smb2::{CloseRequest, LockRequest},
        workload::{Expect, Tree},
    };

    use super::*;

    /// Operations on one share, and unseen opens.
    struct Story {
        workload: Workload,
        seer: Seer,
        next: u32,
    }

    impl Story {
        fn new(unseen: u32) -> Self {
            let life = |open| Unseen {
                open: OpenRef(open),
                conn: 0,
                session: SessionId(1),
                tree: TreeId(1),
                file: FileId::default(),
                is_file: true,
            };
            let mut workload = Workload::default();
            workload.trees.push(Tree {
                session: Default::default(),
                path: "\\\\s\\data".to_owned(),
                share_type: 1,
                wire_id: TreeId(1),
                inferred: false,
            });
            let opens: Vec<Unseen> = (0..unseen).map(life).collect();
            let mut story = Self {
                workload,
                seer: Seer::new(opens),
                next: 0,
            };
            for open in 0..unseen {
                story.asks(CreateRequest::default(), open, None);
            }
            story
        }

        fn asks(&mut self, request: impl Into<Request>, open: u32, status: Option<NtStatus>) {
            let request = request.into();
            let operation = Operation {
                id: OpId(self.next),
                conn: ConnId(0),
                frame: u64::from(self.next) + 100,
                cmd: request.command(),
                tree: Some(TreeRef(0)),
                open: Some(OpenRef(open)),
                reconstructed: status.is_none(),
                expect: status.map(|status| Expect {
                    status,
                    ..Expect::default()
                }),
                action: Action::Request(request),
                ..Operation::blank()
            };
            self.next += 1;
            self.seer.note(&self.workload, &operation);
        }

        /// A CREATE with these rights that allows others `share`.
        fn opens(&mut self, name: &str, access: AccessMask, share: &str, open: u32, refused: bool) {
            let create: CreateRequest = serde_json::from_value(json!({
                "name": name, "access": access.bits(), "share": share, "disposition": "open",
            }))
            .unwrap();
            let status = match refused {
                true => NtStatus::SHARING_VIOLATION,
                false => NtStatus::SUCCESS,
            };
            self.asks(create, open, Some(status));
        }

        fn closes(&mut self, open: u32) {
            self.asks(CloseRequest::default(), open, Some(NtStatus::SUCCESS));
        }

        fn locks(
            &mut self,
            open: u32,
            (offset, length): (u64, u64),
            flags: LockFlags,
            status: NtStatus,
        ) {
            let lock = LockElement {
                offset,
                length,
                flags,
                ..LockElement::default()
            };
            let request = LockRequest {
                locks: vec![lock],
                ..LockRequest::default()
            };
            self.asks(request, open, Some(status));
        }

        fn ends(self) -> BTreeMap<u32, Foreseen> {
            let foreseen = self.seer.foresee().into_iter();
            foreseen.map(|it| (it.of.open.0, it)).collect()
        }
    }

    const UNSEEN: u32 = 3;
    const READ: AccessMask = AccessMask::READ_DATA;
    const WRITE: AccessMask = AccessMask::WRITE_DATA;

    fn mode_of(it: &Foreseen) -> (bool, bool, Value) {
        let access = it.access.unwrap();
        let share = serde_json::to_value(it.share.unwrap()).unwrap();
        (access.contains(READ), access.contains(WRITE), share)
    }

    #[test]
    fn who_is_closed_before_others_are_let_in_had_the_file_open() {
        let mut story = Story::new(UNSEEN);
        story.closes(0);
        story.opens("D\\f", WRITE, "rwd", 9, true);
        story.opens("d\\F", READ, "rw", 8, false);
        story.closes(8);
        story.opens("d\\f", WRITE, "rwd", 9, true);
        story.closes(1);
        story.opens("d\\f", WRITE, "rwd", 7, false);
        story.closes(2);
        let found = story.ends();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&1]);
        let it = &found[&1];
        assert_eq!((it.path.as_deref(), it.frame), (Some("D\\f"), 104));
        // Who read beside it was let in, and let nobody delete.
        assert_eq!(mode_of(it), (true, true, json!("r")));
    }

    #[test]
    fn what_who_was_seen_explains_tells_nothing() {
        let mut story = Story::new(UNSEEN);
        story.opens("f", WRITE, "", 9, false);
        story.opens("f", WRITE, "rwd", 8, true);
        // Moved and still open: it explains what is refused under the new name.
        let name: Vec<u8> = "g".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut buffer = vec![0; 16];
        buffer.extend([2, 0, 0, 0]);
        buffer.extend(name);
        let rename = SetInfoRequest {
            info_type: smbench_core::smb2::InfoType::FILE,
            file_info_class: smbench_core::smb2::FileInfoClass::RENAME.into(),
            buffer,
            ..SetInfoRequest::default()
        };
        story.asks(rename, 9, Some(NtStatus::SUCCESS));
        story.opens("g", WRITE, "rwd", 8, true);
        story.closes(9);
        story.closes(0);
        assert!(story.ends().is_empty());
    }

    #[test]
    fn what_is_unlocked_was_locked_and_what_is_in_the_way_is_of_the_same_file() {
        let (lock, unlock) = (LockFlags::EXCLUSIVE, LockFlags::UNLOCK);
        let mut story = Story::new(UNSEEN);
        story.locks(0, (10, 5), lock, NtStatus::LOCK_NOT_GRANTED);
        story.locks(1, (12, 1), unlock, NtStatus::SUCCESS);
        // Taken in the capture: nothing to infer.
        story.locks(2, (50, 1), lock, NtStatus::SUCCESS);
        story.locks(2, (50, 1), unlock, NtStatus::SUCCESS);
        let found = story.ends();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&0, &1]);
        assert_eq!(found[&0].path, found[&1].path);
        assert!(found[&0].path.is_some() && found[&0].locks.is_empty());
        let held = found[&1].locks.first().unwrap();
        assert_eq!((held.offset, held.length), (12, 1));
        assert!(held.flags.contains(LockFlags::EXCLUSIVE));
        assert!(!held.flags.contains(LockFlags::UNLOCK));
        assert_eq!(found[&1].frame, 104);
    }
}
