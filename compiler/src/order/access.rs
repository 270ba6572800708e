//! What an operation does to names and files, as far as its order matters.

mod record;

use std::{mem, num::NonZeroU32, sync::Arc};

use memchr::memrchr;
use smbench_core::{
    confine::created_path,
    fscc::upcase,
    ids::OpenRef,
    smb2::{Command, CreateContext, InfoType, LeaseState, NtStatus, OplockLevel, Request},
    workload::{Action, Expect, Operation, Workload},
};

use crate::{
    map::Map,
    opens::Scope,
    paged::{List, Scratch},
};

/// A name on a share, case folded.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct NameId(NonZeroU32);

/// What is known of the folder that a name is in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Facts {
    /// The name it is about.
    pub(super) name: Option<NameId>,
    /// The folder of that name.
    pub(super) parent: Option<NameId>,
    /// What it does.
    pub(super) deed: Deed,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Deed {
    /// Nothing that order matters to.
    #[default]
    Nothing,
    /// Opens, or fails to.
    Open(Opening),
    /// Gives up a handle.
    Close(OpenRef),
    /// Gives up every handle of a connection, a session or a tree.
    End(Scope),
    /// Reads data: `offset`, `asked`, and how much came, [`NOT_TOLD`] where that is not known.
    Read {
        open: OpenRef,
        offset: u64,
        asked: u32,
        got: u32,
        at_end: bool,
    },
    /// Writes data up to `end`.
    Write { open: OpenRef, end: u64, done: bool },
    /// Changes the size.
    Resize {
        open: OpenRef,
        size: u64,
        done: bool,
    },
    /// Changes something else about an open file: a lock, an attribute.
    Change { open: OpenRef, done: bool },
    /// Looks at an open file.
    Look { open: OpenRef },
    /// Moves a file to another name.
    Rename {
        open: OpenRef,
        to: NameId,
        to_parent: Option<NameId>,
        done: bool,
        denied: bool,
    },
    /// Marks for deletion, or takes the mark away.
    Dispose {
        open: OpenRef,
        delete: bool,
        done: bool,
    },
    /// Lists a folder, or waits for changes in it.
    List { open: OpenRef },
}

/// An attempt to open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Opening {
    pub(super) open: Option<OpenRef>,
    pub(super) access: u32,
    pub(super) share: u32,
    pub(super) delete_on_close: bool,
    pub(super) directory: bool,
    pub(super) status: NtStatus,
    /// 0 superseded, 1 opened, 2 created, 3 overwritten.
    pub(super) action: Option<u32>,
    pub(super) size: Option<u64>,
    /// It outlives its connection.
    pub(super) durable: bool,
}

impl Facts {
    /// Forgets what an operation says of an open, or of a tree, that no server knew.
    pub(super) fn disown(&mut self, open: bool, tree: bool, cmd: Command) {
        if (open && !matches!(self.deed, Deed::End(_))) || cmd == Command::CREATE {
            *self = Self::default();
        } else if tree {
            self.deed = Deed::Nothing;
        }
    }
}

fn is_at_end(op: &Operation) -> bool {
    let expect = op.expect.as_ref();
    expect.is_some_and(|it| it.status == NtStatus::END_OF_FILE)
}

/// Reads the facts of one operation after the other.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Looked up, never iterated.
    ids: Map<String, NameId>,
    /// By open.
    of_open: List<Option<(NameId, Option<NameId>)>>,
    /// The file that each stream with a name is of.
    files: Map<NameId, NameId>,
    /// Room for the name that is looked up, with its share and without.
    key: String,
    folded: String,
}

impl Names {
    pub(super) fn new(scratch: &Arc<Scratch>) -> Self {
        Self {
            of_open: List::new(Some(scratch)),
            ..Self::default()
        }
    }

    fn of_open(&mut self, open: OpenRef) -> Option<(NameId, Option<NameId>)> {
        self.of_open.get(open.index())?
    }

    pub(super) fn facts(&mut self, workload: &Workload, op: &Operation) -> Facts {
        let tree = op.tree.and_then(|tree| workload.trees.get(tree.index()));
        let Some(tree) = tree.filter(|tree| tree.holds_files()) else {
            return self.without_tree(op);
        };
        let share = tree.share();
        // What was not captured was done all the same.
        let done = op.reconstructed
            || op
                .expect
                .as_ref()
                .is_some_and(|expect| !expect.status.is_error());
        let answered = op.reconstructed || op.expect.is_some();
        match &op.action {
            Action::Request(Request::Create(create)) => {
                let Some(path) = created_path(op) else {
                    return Facts::default();
                };
                // What goes on keeps its name, whatever the request says. [MS-SMB2] 3.3.5.9.7
                let kept = op.reclaims.and_then(|old| self.of_open(old));
                let posix = CreateContext::posix_mode(&create.contexts).is_some();
                let (name, parent) = kept.unwrap_or_else(|| match posix {
                    true => self.posix_name(share, &path),
                    false => self.name(share, &path),
                });
                if let Some(open) = op.open {
                    self.of_open.put(open.index(), Some((name, parent)));
                }
                let expect = op.expect.as_ref();
                let opening = Opening {
                    open: op.open,
                    access: create.desired_access.bits(),
                    share: create.share_access.bits(),
                    delete_on_close: create.create_options.bits() & DELETE_ON_CLOSE != 0,
                    directory: create.create_options.bits() & DIRECTORY_FILE != 0
                        || expect
                            .and_then(|it| it.attributes)
                            .is_some_and(|a| a & DIRECTORY != 0),
                    status: match (expect, op.reconstructed) {
                        (Some(it), _) => it.status,
                        (None, true) => NtStatus::SUCCESS,
                        (None, false) => NtStatus::PENDING,
                    },
                    action: match op.reconstructed {
                        true => Some(OPENED),
                        false => expect.and_then(|it| it.action),
                    },
                    size: expect.and_then(|it| it.size),
                    durable: asks_durable(create) && expect.is_some_and(keeps_handles),
                };
                let deed = if answered {
                    Deed::Open(opening)
                } else {
                    Deed::Nothing
                };
                Facts {
                    name: Some(name),
                    parent,
                    deed,
                }
            }
            Action::Request(request) => self.on_handle(share, op, request, done, answered),
            _ => self.named(op, Deed::Nothing),
        }
    }

    fn without_tree(&mut self, op: &Operation) -> Facts {
        self.named(op, ends(op).map_or(Deed::Nothing, Deed::End))
    }

    fn named(&mut self, op: &Operation, deed: Deed) -> Facts {
        let of = op.open.and_then(|open| self.of_open(open));
        Facts {
            name: of.map(|it| it.0),
            parent: of.and_then(|it| it.1),
            deed,
        }
    }

    fn on_handle(
        &mut self,
        share: &str,
        op: &Operation,
        request: &Request,
        done: bool,
        answered: bool,
    ) -> Facts {
        if let Some(scope) = ends(op) {
            return self.named(op, Deed::End(scope));
        }
        let Some(open) = op.open.filter(|_| answered) else {
            return self.named(op, Deed::Nothing);
        };
        let expect = op.expect.as_ref();
        let deed = match request {
            Request::Close(_) if done => Deed::Close(open),
            // Who asks for so much at least may be told of the end before it. [MS-SMB2] 3.3.5.12
            Request::Read(read) if is_at_end(op) && read.minimum_count > 1 => Deed::Look { open },
            Request::Read(read) => Deed::Read {
                open,
                offset: read.offset,
                asked: read.length,
                got: expect.and_then(|it| it.count).unwrap_or(NOT_TOLD),
                at_end: is_at_end(op),
            },
            Request::Write(write) => {
                let end = write.offset.saturating_add(u64::from(write.length));
                Deed::Write { open, end, done }
            }
            Request::SetInfo(set) if set.info_type == InfoType::FILE => {
                return self.set_info(share, op, open, set, done);
            }
            Request::SetInfo(_) | Request::Lock(_) | Request::OplockBreak(_) => {
                Deed::Change { open, done }
            }
            Request::LeaseBreak(_) => Deed::Change { open, done },
            Request::QueryDirectory(_) | Request::ChangeNotify(_) => Deed::List { open },
            Request::Ioctl(_) => Deed::Change { open, done },
            Request::QueryInfo(_) | Request::Flush(_) => Deed::Look { open },
            _ => Deed::Nothing,
        };
        self.named(op, deed)
    }

    fn set_info(
        &mut self,
        share: &str,
        op: &Operation,
        open: OpenRef,
        set: &smbench_core::smb2::SetInfoRequest,
        done: bool,
    ) -> Facts {
        let buffer = &set.buffer;
        let deed = match set.file_info_class.0 {
            // A hard link takes no name away. [MS-FSCC] 2.4.42.2, 2.4.43
            10 | 65 => match target_name(buffer) {
                Some(to) if !to.starts_with(':') => {
                    let (to, to_parent) = self.name(share, &to);
                    let status = op.expect.as_ref().map(|it| it.status);
                    let denied = status == Some(NtStatus::ACCESS_DENIED);
                    Deed::Rename {
                        open,
                        to,
                        to_parent,
                        done,
                        denied,
                    }
                }
                _ => Deed::Change { open, done },
            },
            // [MS-FSCC] 2.4.11
            13 | 64 => {
                let delete = buffer.first().is_some_and(|flags| flags & 1 != 0);
                Deed::Dispose { open, delete, done }
            }
            // [MS-FSCC] 2.4.14
            20 => match buffer.first_chunk::<8>() {
                Some(size) => Deed::Resize {
                    open,
                    size: u64::from_le_bytes(*size),
                    done,
                },
                None => Deed::Change { open, done },
            },
            _ => Deed::Change { open, done },
        };
        self.named(op, deed)
    }

    fn name(&mut self, share: &str, path: &str) -> (NameId, Option<NameId>) {
        let mut folded = mem::take(&mut self.folded);
        folded.clear();
        fold(path.trim_matches('\\'), &mut folded);
        let found = self.folded_name(share, &folded);
        self.folded = folded;
        found
    }

    /// With POSIX extensions names compare letter by letter, and have no streams.
    fn posix_name(&mut self, share: &str, path: &str) -> (NameId, Option<NameId>) {
        let path = path.trim_matches('\\');
        let parent = path.rsplit_once('\\').map_or("", |(above, _)| above);
        let parent = (!path.is_empty()).then(|| self.intern(share, parent));
        (self.intern(share, path), parent)
    }

    fn folded_name(&mut self, share: &str, folded: &str) -> (NameId, Option<NameId>) {
        let folder = memrchr(b'\\', folded.as_bytes());
        let parent = folder.map_or("", |at| folded.get(..at).unwrap_or_default());
        let parent = (!folded.is_empty()).then(|| self.intern(share, parent));
        let begin = folder.map_or(0, |at| at + 1);
        let (file, stream) = match folded.get(begin..).and_then(|last| last.split_once(':')) {
            None => return (self.intern(share, folded), parent),
            Some((file, stream)) => (begin + file.len(), stream.split(':').next()),
        };
        let stream = stream.unwrap_or_default();
        let of = self.intern(share, folded.get(..file).unwrap_or_default());
        if stream.is_empty() {
            return (of, parent);
        }
        let end = file + 1 + stream.len();
        let name = self.intern(share, folded.get(..end).unwrap_or_default());
        self.files.insert(name, of);
        (name, parent)
    }

    /// The file that a stream with a name is of; none for what is a file itself.
    pub(super) fn file_of(&self, stream: NameId) -> Option<NameId> {
        self.files.get(&stream).copied()
    }

    fn intern(&mut self, share: &str, folded: &str) -> NameId {
        self.key.clear();
        fold(share, &mut self.key);
        self.key.push('\\');
        self.key.push_str(folded);
        if let Some(known) = self.ids.get(&self.key) {
            return *known;
        }
        let number = u32::try_from(self.ids.len() + 1).ok();
        let next = NameId(number.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX));
        self.ids.insert(self.key.clone(), next);
        next
    }
}

/// Appends a name in upper case: servers do not tell case apart. [MS-FSA] 2.1.1.1
fn fold(name: &str, out: &mut String) {
    if !name.is_ascii() {
        return out.push_str(&upcase(name));
    }
    let begin = out.len();
    out.push_str(name);
    if let Some(name) = out.get_mut(begin..) {
        name.make_ascii_uppercase();
    }
}

/// Whose handles an operation gives up. [MS-SMB2] 3.3.5.5.3, 3.3.5.6, 3.3.5.8, 3.3.7.1.
fn ends(op: &Operation) -> Option<Scope> {
    if matches!(op.action, Action::Disconnect(_)) {
        return Some(Scope::Conn(op.conn));
    }
    let done = (op.expect.as_ref()).is_some_and(|expect| expect.status == NtStatus::SUCCESS);
    match op.cmd {
        Command::SESSION_SETUP if done => op.previous_session.map(Scope::Session),
        Command::LOGOFF if done => op.session.map(Scope::Session),
        Command::TREE_DISCONNECT if done => op.tree.map(Scope::Tree),
        _ => None,
    }
}

/// Whether an open may be durable with what was granted. [MS-SMB2] 3.3.5.9.6.
fn keeps_handles(expect: &Expect) -> bool {
    let leased = |it: &smbench_core::workload::LeaseGrant| it.state.contains(LeaseState::HANDLE);
    expect.oplock == Some(OplockLevel::BATCH) || expect.lease.as_ref().is_some_and(leased)
}

fn asks_durable(create: &smbench_core::smb2::CreateRequest) -> bool {
    use smbench_core::smb2::ContextData;
    create.contexts.iter().any(|context| {
        matches!(
            context.data,
            ContextData::DurableRequest(_)
                | ContextData::DurableReconnect(_)
                | ContextData::DurableRequestV2(_)
                | ContextData::DurableReconnectV2(_)
        )
    })
}

/// The name in a FileRenameInformation or FileRenameInformationEx.
fn target_name(buffer: &[u8]) -> Option<String> {
    let len = u32::from_le_bytes(*buffer.get(16..)?.first_chunk::<4>()?);
    let name = buffer.get(20..20usize.checked_add(usize::try_from(len).ok()?)?)?;
    let units: Vec<u16> = name
        .chunks_exact(2)
        .filter_map(|it| it.try_into().ok())
        .map(u16::from_le_bytes)
        .collect();
    String::from_utf16(&units).ok()
}

/// More than any READ returns.
pub(super) const NOT_TOLD: u32 = u32::MAX;
/// CreateAction. [MS-SMB2] 2.2.14
const OPENED: u32 = 1;
// [MS-SMB2] 2.2.13
const DIRECTORY_FILE: u32 = 0x1;
const DELETE_ON_CLOSE: u32 = 0x1000;
// [MS-FSCC] 2.6
const DIRECTORY: u32 = 0x10;
