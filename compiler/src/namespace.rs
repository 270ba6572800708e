//! What had to exist on the server before the recording began.
//!
//! [`Namespace`] hears every answered operation in the order of answers. What is found without
//! having been made in the recording was there before, with its folders; what is not found, or is
//! made, was not. Renames are followed, so that what is found under a new name is put where it was.
//! Outcomes that no order of answers explains are counted, never resolved by guessing: somebody
//! who is not in the capture may have been at work.

mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    fscc::{DirectoryEntry, SetInfoPayload},
    ids::OpenRef,
    smb2::{
        ContextTag, CreateOptions, CreateRequest, FileAttributes, Fsctl, HeaderFlags, NtStatus,
        Request, SetInfoRequest,
    },
    workload::{Action, Coverage, Entry, Expect, Extent, Operation, Workload},
};

use self::names::{Names, Place, Proof};
use crate::wire_span::WireSpan;

/// Listens to the answers of a capture.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    names: Names,
    /// The file behind each open.
    opens: BTreeMap<OpenRef, usize>,
    /// Opens that delete their file when they are closed.
    deleting: BTreeSet<OpenRef>,
}

impl Namespace {
    /// A request was sent. From now on the ranges it changes show nothing about the beginning.
    pub(crate) fn asked(&mut self, op: &Operation) {
        let Some(file) = self.file(op) else { return };
        match &op.action {
            Action::Request(Request::Write(it)) => {
                let end = it.offset.saturating_add(it.length.into());
                self.names.write(file, it.offset, end);
            }
            Action::Request(Request::Ioctl(it)) if CHANGING.contains(&it.ctl_code) => {
                self.names.write(file, 0, u64::MAX);
            }
            Action::Request(Request::SetInfo(it)) => {
                let payload = SetInfoPayload::parse(it.info_type, it.file_info_class, &it.buffer);
                if matches!(
                    payload,
                    SetInfoPayload::FileEndOfFile { .. } | SetInfoPayload::FileAllocation { .. }
                ) {
                    self.names.write(file, 0, u64::MAX);
                }
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
            Request::Create(create) => self.create(workload, op, span, create, expect),
            Request::Close(_) if success => self.close(op, span),
            Request::Read(read) if success => self.read(op, read.offset, expect),
            // A member of a compound did not know its file when it was sent.
            Request::Write(_) if success => self.asked(op),
            Request::SetInfo(set) => self.set_info(op, span, set, expect.status),
            _ => {}
        }
    }

    /// A QUERY_DIRECTORY told what is in a folder.
    pub(crate) fn listed(
        &mut self,
        workload: &Workload,
        op: &Operation,
        span: WireSpan,
        entries: &[u8],
    ) {
        let Action::Request(Request::QueryDirectory(query)) = &op.action else {
            return;
        };
        let (Some(folder), Some(share)) = (self.file(op), self.share(workload, op)) else {
            return;
        };
        let class = query.file_information_class;
        let Ok(entries) = DirectoryEntry::decode_list(class, entries) else {
            return self.names.problem("directory listing that does not parse");
        };
        let above = self.names.path_of(folder).to_owned();
        for entry in &entries {
            let name = match entry.name.as_text() {
                Some("" | "." | "..") => continue,
                Some(name) => name,
                None => {
                    self.names.problem("name that is not UTF-16");
                    continue;
                }
            };
            let path = match above.as_str() {
                "" => name.to_owned(),
                above => format!("{above}\\{name}"),
            };
            // FileNamesInformation has nothing but names. [MS-FSCC] 2.4.33
            let bare = entry.attributes.is_empty();
            let proof = Proof {
                op: op.id,
                span,
                directory: (!bare).then(|| is_directory(entry.attributes)),
                size: (!bare).then_some(entry.end_of_file),
                attributes: (!bare).then(|| entry.attributes.bits()),
                exact: true,
            };
            self.names.found(&Place::plain(share, &path), &proof);
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
        for (problem, count) in problems {
            coverage
                .problems
                .insert(format!("namespace: {problem}"), count);
        }
        entries
    }

    fn file(&self, op: &Operation) -> Option<usize> {
        self.opens.get(&op.open?).copied()
    }

    /// Number of the share that an operation works on; none when it holds no files.
    fn share(&mut self, workload: &Workload, op: &Operation) -> Option<usize> {
        let tree = workload.trees.get(op.tree?.index())?;
        if !matches!(tree.share_type, UNKNOWN | DISK) || tree.share().eq_ignore_ascii_case("IPC$") {
            return None;
        }
        if tree.path.is_empty() {
            self.names.problem("share unknown");
            return None;
        }
        Some(self.names.share(tree.share()))
    }

    fn create(
        &mut self,
        workload: &Workload,
        op: &Operation,
        span: WireSpan,
        create: &CreateRequest,
        expect: &Expect,
    ) {
        if let (Some(old), Some(new)) = (op.reclaims, op.open) {
            // The same open goes on: it neither finds nor makes anything.
            if let Some(file) = self.opens.get(&old).copied() {
                self.opens.insert(new, file);
                if self.deleting.remove(&old) {
                    self.deleting.insert(new);
                }
            }
            return;
        }
        let Some(share) = self.share(workload, op) else {
            return;
        };
        let special = create
            .create_options
            .contains(CreateOptions::OPEN_BY_FILE_ID)
            || create.contexts.iter().any(|it| it.tag == ContextTag::TWRP);
        let Some(name) = create.name.as_text().filter(|_| !special && !op.cut) else {
            return self.names.problem("name of another kind, or cut");
        };
        let dfs = op.flags.contains(HeaderFlags::DFS);
        let Some(place) = Place::of(share, name, dfs) else {
            return;
        };
        let wants_folder = create
            .create_options
            .contains(CreateOptions::DIRECTORY_FILE);
        let attributes = expect.attributes.map(FileAttributes::from_bits_retain);
        let mut proof = Proof {
            op: op.id,
            span,
            directory: attributes.map(is_directory),
            size: expect.size,
            attributes: expect.attributes,
            exact: false,
        };
        let Some(open) = op.open.filter(|_| expect.file_id.is_some()) else {
            return self.refused(&place, &mut proof, wants_folder, expect.status);
        };
        let file = match expect.action {
            Some(CREATED) => self.names.made(&place, &proof),
            Some(OPENED) => self.names.found(&place, &proof),
            _ => {
                proof.size = None;
                let file = self.names.found(&place, &proof);
                self.names.write(file, 0, u64::MAX);
                file
            }
        };
        self.names.opened(file);
        self.opens.insert(open, file);
        if create
            .create_options
            .contains(CreateOptions::DELETE_ON_CLOSE)
        {
            self.deleting.insert(open);
        }
    }

    /// What the failure of a CREATE proves. [MS-SMB2] 3.3.5.9.
    fn refused(&mut self, place: &Place, proof: &mut Proof, wants_folder: bool, status: NtStatus) {
        match status {
            NtStatus::OBJECT_NAME_NOT_FOUND
            | NtStatus::OBJECT_PATH_NOT_FOUND
            | NtStatus::NO_SUCH_FILE => self.names.missing(place, proof),
            NtStatus::OBJECT_NAME_COLLISION => {
                proof.directory = wants_folder.then_some(true);
                self.names.found(place, proof);
            }
            NtStatus::SHARING_VIOLATION | NtStatus::DELETE_PENDING => {
                self.names.found(place, proof);
            }
            NtStatus::FILE_IS_A_DIRECTORY => {
                proof.directory = Some(true);
                self.names.found(place, proof);
            }
            NtStatus::NOT_A_DIRECTORY if wants_folder => {
                proof.directory = Some(false);
                self.names.found(place, proof);
            }
            _ => {}
        }
    }

    fn close(&mut self, op: &Operation, span: WireSpan) {
        let Some(open) = op.open else { return };
        let Some(file) = self.opens.remove(&open) else {
            return;
        };
        if self.deleting.remove(&open) {
            self.names.doom(file, true);
        }
        self.names.closed(file, span);
    }

    fn read(&mut self, op: &Operation, offset: u64, expect: &Expect) {
        if let (Some(file), Some(data)) = (self.file(op), expect.data) {
            self.names.showed(file, Extent { offset, data });
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
                let Some(to) = it.name.as_text() else {
                    return self.names.problem("name that is not UTF-16");
                };
                let Some(place) = self.names.target(file, to) else {
                    return;
                };
                if success {
                    self.names.renamed(file, &place, &proof);
                } else if status == NtStatus::OBJECT_NAME_COLLISION {
                    self.names.found(&place, &proof);
                }
            }
            SetInfoPayload::FileLink(it) if success => {
                let place = it.name.as_text().and_then(|to| self.names.target(file, to));
                if let Some(place) = place {
                    self.names.made(&place, &proof);
                }
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

fn is_directory(attributes: FileAttributes) -> bool {
    attributes.contains(FileAttributes::DIRECTORY)
}

// CreateAction, [MS-SMB2] 2.2.14
const OPENED: u32 = 1;
const CREATED: u32 = 2;
// ShareType, [MS-SMB2] 2.2.10
const UNKNOWN: u8 = 0;
const DISK: u8 = 1;
/// Functions that change content without a WRITE.
const CHANGING: [Fsctl; 6] = [
    Fsctl::SET_ZERO_DATA,
    Fsctl::SRV_COPYCHUNK,
    Fsctl::SRV_COPYCHUNK_WRITE,
    Fsctl::DUPLICATE_EXTENTS_TO_FILE,
    Fsctl::OFFLOAD_WRITE,
    Fsctl::FILE_LEVEL_TRIM,
];
