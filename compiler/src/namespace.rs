//! What had to exist on the server before the recording began.
//!
//! [`Namespace`] hears every answered operation in the order of answers. What is found without
//! having been made in the recording was there before, with its folders; what is not found, or is
//! made, was not. Renames are followed, so that what is found under a new name is put where it was.
//! Outcomes that no order explains are counted, with the first operation that showed them, and never
//! resolved by guessing: somebody who is not in the capture may have been at work.
//!
//! | file | holds |
//! |---|---|
//! | `names` | what is at which name, and what proves that |
//! | `files` | kind, size, attributes, times and content |
//! | `place` | how requests spell names, and which are not taken |
//! | `links` | where names lead elsewhere |
//! | `told` | answers of QUERY_INFO, QUERY_DIRECTORY, CREATE and CLOSE |
//! | `numbers` | numbers of files, and what is opened by them |
//! | `unseen` | folders that are not empty, though nobody showed what is in them |
//! | `ranges` | sets of ranges of bytes |
//! | `spent` | what all that may cost |

mod files;
mod links;
mod names;
mod numbers;
mod place;
mod ranges;
mod slots;
mod spent;
#[cfg(test)]
mod tests;
mod told;
mod unseen;

use std::{borrow::Cow, collections::BTreeSet};

use smbench_core::{
    confine::created_path,
    fscc::{SetInfoPayload, SymlinkError},
    ids::{ConnId, OpId, OpenRef},
    smb2::{
        ContextTag, CreateContext, CreateDisposition, CreateOptions, CreateRequest, FileAttributes,
        Fsctl, NtStatus, ReadRequest, Request, SetInfoRequest,
    },
    workload::{Action, Coverage, Entry, Expect, Operation, Times, Workload},
};

pub(crate) use self::told::{create_times, tells};
use self::{
    names::{Names, Proof},
    numbers::{Numbers, is_by_id},
    place::{Inside, Place},
};
use crate::{
    map::Map,
    opens::{Home, Opens, Scope},
    wire_span::WireSpan,
};

/// An open that has not been closed.
#[derive(Clone, Copy, Debug)]
struct Opened {
    file: usize,
    /// It may outlive its connection.
    durable: bool,
}

/// Listens to the answers of a capture.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    names: Names,
    opens: Opens<Opened>,
    /// The folder that was listed last.
    listed: Option<Inside>,
    /// Numbers of the shares of trees, as far as they were asked for.
    share_of_tree: Map<usize, usize>,
    /// Opens that delete their file when they are closed.
    deleting: BTreeSet<OpenRef>,
    /// The times that the CREATE that is being answered told, and the number of its file.
    times: Option<(OpId, Times, Option<u64>)>,
    numbers: Numbers,
    /// What the CREATE that is being answered stopped on.
    stopped: Option<(OpId, SymlinkError)>,
}

impl Namespace {
    /// A request was sent. From now on the ranges it changes show nothing about the beginning.
    pub(crate) fn asked(&mut self, op: &Operation) {
        let Some(file) = self.file(op) else { return };
        match &op.action {
            Action::Request(Request::Write(it)) => {
                let end = it.offset.saturating_add(it.length.into());
                self.names.write(file, it.offset, end);
                self.names.made_up(file, it.offset, end, op.cut);
            }
            Action::Request(Request::Ioctl(it)) if CHANGING.contains(&it.ctl_code) => {
                self.names.write(file, 0, u64::MAX);
            }
            Action::Request(Request::SetInfo(it)) => {
                match SetInfoPayload::parse(it.info_type, it.file_info_class, &it.buffer) {
                    SetInfoPayload::FileEndOfFile { .. }
                    | SetInfoPayload::FileAllocation { .. } => self.names.write(file, 0, u64::MAX),
                    SetInfoPayload::FileRename(_) | SetInfoPayload::FileRenameEx(_) => {
                        self.names.leave(file, true);
                    }
                    SetInfoPayload::FilePosition(_) | SetInfoPayload::FileMode(_) => {}
                    _ => self.names.touch(file),
                }
            }
            // Before its answer others may find that the file is gone.
            Action::Request(Request::Close(_))
                if op.open.is_some_and(|open| self.deleting.contains(&open)) =>
            {
                self.names.doom(file, true);
            }
            _ => {}
        }
    }

    /// A request was answered.
    pub(crate) fn answered(
        &mut self,
        workload: &Workload,
        op: &Operation,
        span: WireSpan,
        expect: &Expect,
    ) {
        let Action::Request(request) = &op.action else {
            return;
        };
        let success = expect.status == NtStatus::SUCCESS;
        match request {
            Request::Logoff(_) if success => {
                self.end(span, op.session.map(Scope::Session));
            }
            Request::TreeDisconnect(_) if success => {
                self.end(span, op.tree.map(Scope::Tree));
            }
            Request::SessionSetup(_) if success => {
                self.end(span, op.previous_session.map(Scope::Session));
            }
            Request::Create(create) => self.create(workload, op, span, create, expect),
            Request::Close(_) if success => {
                if let Some(open) = op.open {
                    self.close(open, span);
                }
            }
            Request::Read(read) => self.read(op, span, read, expect),
            // A member of a compound did not know its file when it was sent.
            Request::Write(_) if success => self.asked(op),
            Request::SetInfo(set) => self.set_info(op, span, set, expect.status),
            Request::Ioctl(it) if success && RELINKING.contains(&it.ctl_code) => self.relinked(op),
            Request::QueryDirectory(query) if expect.status == NtStatus::NO_SUCH_FILE => {
                self.no_such_file(op, span, query);
            }
            _ => {}
        }
    }

    /// A connection ended, and with it what was open. When exactly the server noticed nobody saw.
    pub(crate) fn disconnected(&mut self, conn: ConnId, seq: u64) {
        let span = WireSpan {
            request: seq,
            ..WireSpan::default()
        };
        self.end(span, Some(Scope::Conn(conn)));
    }

    /// Closes the opens that something took along. Durable ones are only ended with their tree.
    fn end(&mut self, span: WireSpan, scope: Option<Scope>) {
        let ended = scope.map_or_else(Vec::new, |scope| self.opens.within(scope));
        for open in ended {
            match self.opens.get(open) {
                Some(it) if it.durable && !matches!(scope, Some(Scope::Tree(_))) => {
                    self.opens.set(open, Some((it, Home::default())));
                }
                _ => self.close(open, span),
            }
        }
    }

    /// The initial namespace, folders before what is in them; tells `coverage` what did not fit.
    pub(crate) fn finish(self, coverage: &mut Coverage) -> Vec<Entry> {
        let (entries, problems) = self.names.finish();
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if count > 0 {
            let kind = "namespace entries".to_owned();
            coverage.inferred.insert(kind, count);
        }
        links::count(&entries, coverage);
        for (problem, (count, first)) in problems {
            let problem = format!("namespace: {problem} (first: operation {})", first.0);
            coverage.problems.insert(problem, count);
        }
        entries
    }

    fn file(&self, op: &Operation) -> Option<usize> {
        self.opens.get(op.open?).map(|open| open.file)
    }

    /// Number of the share that an operation works on; none when it holds no files.
    fn share(&mut self, workload: &Workload, op: &Operation) -> Option<usize> {
        let at = op.tree?.index();
        if let Some(known) = self.share_of_tree.get(&at) {
            return Some(*known);
        }
        let tree = workload.trees.get(at)?;
        if !tree.holds_files() {
            return None;
        }
        if tree.path.is_empty() {
            self.names.problem("share unknown", op.id);
            return None;
        }
        let share = self.names.share(tree.share());
        self.share_of_tree.insert(at, share);
        Some(share)
    }

    fn create(
        &mut self,
        workload: &Workload,
        op: &Operation,
        span: WireSpan,
        create: &CreateRequest,
        expect: &Expect,
    ) {
        let home = Home {
            conn: Some(op.conn),
            session: op.session,
            tree: op.tree,
        };
        if let (Some(old), Some(new)) = (op.reclaims, op.open) {
            // The same open goes on: it neither finds nor makes anything.
            if let Some((open, _)) = self.opens.set(old, None) {
                self.opens.set(new, Some((open, home)));
                if self.deleting.remove(&old) {
                    self.deleting.insert(new);
                }
            }
            return;
        }
        let Some(share) = self.share(workload, op) else {
            return;
        };
        if is_by_id(create) {
            let attributes = expect.attributes.map(FileAttributes::from_bits_retain);
            let proof = Proof {
                op: op.id,
                span,
                directory: attributes.map(is_directory),
                size: expect.size,
                attributes: expect.attributes,
                times: self.times.take().map(|(_, times, _)| times),
                ..Proof::default()
            };
            return self.create_by_id(op, share, create, &proof, home, expect);
        }
        // Zeros stand for what was not captured.
        let whole = |name: &Cow<'_, str>| !op.cut || !name.contains('\0');
        let name = created_path(op);
        let Some(name) = name.filter(whole) else {
            return self.names.problem("name of another kind, or cut", op.id);
        };
        let place = match CreateContext::posix_mode(&create.contexts) {
            Some(_) => self.names.posix_place(share, &name, op.id),
            None => self.names.place(share, &name, false, op.id),
        };
        let Some(place) = place else { return };
        let attributes = expect.attributes.map(FileAttributes::from_bits_retain);
        let told = self.times.take().filter(|(of, ..)| *of == op.id);
        let mut proof = Proof {
            op: op.id,
            span,
            directory: attributes.map(is_directory),
            size: expect.size,
            attributes: expect.attributes,
            times: told.map(|(_, times, _)| times),
            ..Proof::default()
        };
        let Some(open) = op.open.filter(|_| expect.file_id.is_some()) else {
            if op.reclaims.is_some() {
                // It was looked for by its id: the open is gone, not the name.
                return; // [MS-SMB2] 3.3.5.9.7
            }
            if expect.status == NtStatus::STOPPED_ON_SYMLINK {
                return self.stopped(op, create, &place, &proof);
            }
            return self.refused(&place, create, &mut proof, expect.status);
        };
        let file = match expect.action {
            Some(CREATED) => self.names.made(&place, &proof),
            Some(OPENED) => self.names.found(&place, &proof),
            _ => {
                // What it tells is how the file is from now on.
                (proof.size, proof.attributes, proof.times) = (None, None, None);
                let file = self.names.found(&place, &proof);
                self.names.write(file, 0, u64::MAX);
                file
            }
        };
        self.passed(file, create, op.id);
        self.names.opened(file);
        if let Some((.., Some(number))) = told {
            self.numbered(file, number);
        }
        let durable = |it: &CreateContext| DURABLE.contains(&it.tag);
        let opened = Opened {
            file,
            durable: create.contexts.iter().any(durable),
        };
        self.opens.set(open, Some((opened, home)));
        if create
            .create_options
            .contains(CreateOptions::DELETE_ON_CLOSE)
        {
            self.deleting.insert(open);
        }
    }

    /// What the failure of a CREATE proves. [MS-FSA] 2.1.5.1
    fn refused(
        &mut self,
        place: &Place,
        create: &CreateRequest,
        proof: &mut Proof,
        status: NtStatus,
    ) {
        let options = create.create_options;
        let wants_folder = options.contains(CreateOptions::DIRECTORY_FILE);
        match status {
            NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::NO_SUCH_FILE => {
                self.names.missing(place, proof);
            }
            NtStatus::OBJECT_PATH_NOT_FOUND => self.names.no_path(place, proof),
            NtStatus::PATH_NOT_COVERED => self.names.uncovered(place, proof.op),
            NtStatus::OBJECT_NAME_COLLISION => {
                // A file is in the way of a folder, too.
                proof.likely_folder = wants_folder;
                self.names.found(place, proof);
            }
            NtStatus::SHARING_VIOLATION | NtStatus::DELETE_PENDING => {
                self.names.found(place, proof);
            }
            NtStatus::FILE_IS_A_DIRECTORY => {
                proof.directory = Some(true);
                self.names.found(place, proof);
            }
            // No stream is a folder, whether it is there or not.
            NtStatus::NOT_A_DIRECTORY if wants_folder && !names_stream(create) => {
                proof.directory = Some(false);
                self.names.found(place, proof);
            }
            // Read-only files are not deleted on close.
            NtStatus::CANNOT_DELETE if create.create_disposition == CreateDisposition::OPEN => {
                proof.attributes = Some(FileAttributes::READONLY.bits());
                self.names.found(place, proof);
            }
            _ => {}
        }
    }

    fn close(&mut self, open: OpenRef, span: WireSpan) {
        let Some((Opened { file, .. }, _)) = self.opens.set(open, None) else {
            return;
        };
        if self.deleting.remove(&open) {
            self.names.doom(file, true);
        }
        self.names.closed(file, span);
    }

    /// What a READ tells about the size; its data comes by [`Namespace::showed`].
    fn read(&mut self, op: &Operation, span: WireSpan, read: &ReadRequest, expect: &Expect) {
        let Some(file) = self.file(op) else { return };
        let proof = Proof {
            op: op.id,
            span,
            ..Proof::default()
        };
        match (expect.status, expect.count) {
            // Fewer bytes are there than it asks for at least. [MS-SMB2] 3.3.5.12
            (NtStatus::END_OF_FILE, _) if read.length > 0 => {
                let fewer = u64::from(read.minimum_count.saturating_sub(1));
                let end = read.offset.saturating_add(fewer);
                self.names.ends_at(file, end, false, &proof);
            }
            (NtStatus::SUCCESS, Some(count)) if count < read.length => {
                let end = read.offset.saturating_add(count.into());
                self.names.ends_at(file, end, true, &proof);
            }
            _ => {}
        }
    }

    fn set_info(&mut self, op: &Operation, span: WireSpan, set: &SetInfoRequest, status: NtStatus) {
        let Some(file) = self.file(op) else { return };
        let payload = SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer);
        let success = status == NtStatus::SUCCESS;
        let proof = Proof {
            op: op.id,
            span,
            ..Proof::default()
        };
        match payload {
            SetInfoPayload::FileRename(it) | SetInfoPayload::FileRenameEx(it) => {
                self.names.leave(file, false);
                let Some(to) = it.name.as_text() else {
                    return self.names.problem("name that is not UTF-16", op.id);
                };
                let Some(place) = self.names.target(file, to, op.id) else {
                    return;
                };
                let replaces = it.replace & 1 != 0;
                match status {
                    NtStatus::SUCCESS => self.names.renamed(file, &place, replaces, &proof),
                    NtStatus::OBJECT_NAME_COLLISION => {
                        self.names.found(&place, &proof);
                    }
                    NtStatus::OBJECT_PATH_NOT_FOUND => self.names.no_path(&place, &proof),
                    _ => {}
                }
            }
            SetInfoPayload::FileLink(it) | SetInfoPayload::FileLinkEx(it) if success => {
                let Some(to) = it.name.as_text() else {
                    return self.names.problem("name that is not UTF-16", op.id);
                };
                if let Some(place) = self.names.target(file, to, op.id) {
                    self.names.made(&place, &proof);
                }
            }
            SetInfoPayload::FileDisposition { .. } | SetInfoPayload::FileDispositionEx { .. }
                if status == NtStatus::DIRECTORY_NOT_EMPTY =>
            {
                self.names.not_empty(file, op.id);
            }
            SetInfoPayload::FileDisposition { delete_pending, .. } if success => {
                self.names.doom(file, delete_pending != 0);
            }
            SetInfoPayload::FileDispositionEx { flags } if success => {
                self.names.doom(file, flags & 1 != 0);
            }
            _ => {}
        }
    }
}

/// Whether a CREATE names a stream, be it the unnamed one.
fn names_stream(create: &CreateRequest) -> bool {
    let name = create.name.as_text().unwrap_or_default();
    let last = name.rsplit('\\').next().unwrap_or_default();
    last.contains(':')
}

fn is_directory(attributes: FileAttributes) -> bool {
    attributes.contains(FileAttributes::DIRECTORY)
}

/// Asks for a handle that outlives its connection. [MS-SMB2] 2.2.13.2
const DURABLE: [ContextTag; 2] = [ContextTag::DHNQ, ContextTag::DH2Q];
// CreateAction, [MS-SMB2] 2.2.14
const OPENED: u32 = 1;
const CREATED: u32 = 2;
/// Functions that make and remove links.
const RELINKING: [Fsctl; 2] = [Fsctl::SET_REPARSE_POINT, Fsctl::DELETE_REPARSE_POINT];
/// Functions that change content without a WRITE.
const CHANGING: [Fsctl; 6] = [
    Fsctl::SET_ZERO_DATA,
    Fsctl::SRV_COPYCHUNK,
    Fsctl::SRV_COPYCHUNK_WRITE,
    Fsctl::DUPLICATE_EXTENTS_TO_FILE,
    Fsctl::OFFLOAD_WRITE,
    Fsctl::FILE_LEVEL_TRIM,
];
