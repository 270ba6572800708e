//! What answers tell about files: queries, listings, and the attributes that CREATE and CLOSE add.

use smbench_core::{
    fscc::{
        AttributeTagInfo, BasicInfo, DirectoryEntry, InternalInfo, NetworkOpenInfo, StandardInfo,
        StreamInfo,
    },
    ids::OpId,
    smb2::{
        CloseFlags, CloseResponse, CreateResponse, FileAttributes, FileInfoClass, InfoType,
        QueryDirectoryRequest, Request,
    },
    workload::{Action, DataRef, Expect, Extent, Operation, Times, Workload},
};

use super::{
    Namespace, is_directory,
    links::tag_of,
    names::Proof,
    numbers::{number_in, number_of_id},
    place::Inside,
};
use crate::wire_span::WireSpan;

/// Whether the answer to a request tells something that [`Namespace`] wants to hear.
pub(crate) fn tells(action: &Action) -> bool {
    match action {
        Action::Request(Request::QueryInfo(it)) => {
            it.info_type == InfoType::FILE && TELLING.contains(&FileInfoClass(it.file_info_class.0))
        }
        Action::Request(Request::Close(it)) => it.flags.contains(CloseFlags::POSTQUERY_ATTRIB),
        _ => false,
    }
}

/// The times in a CREATE response.
pub(crate) fn create_times(it: &CreateResponse) -> Times {
    Times {
        created: it.creation_time,
        accessed: it.last_access_time,
        written: it.last_write_time,
        changed: it.change_time,
    }
}

impl Namespace {
    /// The times that a CREATE told that is about to be answered, and the number of its file.
    pub(crate) fn created_at(&mut self, op: OpId, times: Times, number: Option<u64>) {
        self.times = Some((op, times, number));
    }

    /// A CLOSE told how the file was at last.
    pub(crate) fn closing(&mut self, op: &Operation, span: WireSpan, it: &CloseResponse) {
        if !it.flags.contains(CloseFlags::POSTQUERY_ATTRIB) {
            return;
        }
        let times = Times {
            created: it.creation_time,
            accessed: it.last_access_time,
            written: it.last_write_time,
            changed: it.change_time,
        };
        let proof = proof(op, span);
        self.learn(op, known(proof, it.file_attributes, times, it.end_of_file));
    }

    /// A QUERY_INFO was answered with `output`, which may be cut behind what fits.
    pub(crate) fn queried(&mut self, op: &Operation, span: WireSpan, output: &[u8]) {
        let Action::Request(Request::QueryInfo(query)) = &op.action else {
            return;
        };
        let proof = proof(op, span);
        let class = FileInfoClass(query.file_info_class.0);
        let number = match class {
            FileInfoClass::INTERNAL => InternalInfo::decode(output).ok(),
            FileInfoClass::ALL => InternalInfo::decode(output.get(64..).unwrap_or_default()).ok(),
            _ => None,
        };
        let number = match class {
            FileInfoClass::ID => number_of_id(output),
            _ => number.map(|it| it.index_number),
        };
        if let (Some(number), Some(file)) = (number, self.file(op)) {
            self.numbered(file, number);
        }
        let read = match class {
            FileInfoClass::STREAM => return self.streams(op, &proof, output),
            FileInfoClass::BASIC => BasicInfo::decode(output).map(|it| basic(proof, &it)),
            FileInfoClass::STANDARD => StandardInfo::decode(output).map(|it| standard(proof, &it)),
            FileInfoClass::ALL => BasicInfo::decode(output).and_then(|it| {
                let rest = output.get(BASIC..).unwrap_or_default();
                Ok(standard(basic(proof, &it), &StandardInfo::decode(rest)?))
            }),
            FileInfoClass::NETWORK_OPEN => NetworkOpenInfo::decode(output).map(|it| {
                let times = Times {
                    created: it.creation_time,
                    accessed: it.last_access_time,
                    written: it.last_write_time,
                    changed: it.change_time,
                };
                known(proof, it.attributes, times, it.end_of_file)
            }),
            FileInfoClass::POSIX => {
                DirectoryEntry::from_posix_info(output).map(|it| of_entry(proof, &it))
            }
            FileInfoClass::ATTRIBUTE_TAG => AttributeTagInfo::decode(output).map(|it| {
                self.tagged(op, it.reparse_tag);
                Proof {
                    directory: Some(is_directory(it.attributes)),
                    attributes: Some(it.attributes.bits()),
                    ..proof
                }
            }),
            _ => return,
        };
        match read {
            Ok(proof) => self.learn(op, proof),
            Err(_) => self
                .names
                .problem("file information that does not parse", op.id),
        }
    }

    /// FileStreamInformation: the streams of a file, itself among them. [MS-FSCC] 2.4.49
    fn streams(&mut self, op: &Operation, proof: &Proof, output: &[u8]) {
        let Some(file) = self.file(op) else { return };
        let Ok(streams) = StreamInfo::decode_list(output) else {
            let what = "file information that does not parse";
            return self.names.problem(what, op.id);
        };
        for stream in &streams {
            let Some(name) = stream.name.as_text() else {
                self.names.problem("name that is not UTF-16", op.id);
                continue;
            };
            let Some(place) = self.names.target(file, name, op.id) else {
                continue;
            };
            let proof = Proof {
                size: Some(stream.size),
                exact: true,
                ..*proof
            };
            self.names.found(&place, &proof);
        }
    }

    fn learn(&mut self, op: &Operation, proof: Proof) {
        if let Some(file) = self.file(op) {
            self.names.told(file, &proof);
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
        let odd = "directory listing that does not parse";
        let Ok(entries) = DirectoryEntry::list(class, entries) else {
            return self.names.problem(odd, op.id);
        };
        let (path, posix) = (self.names.path_of(folder), self.names.is_posix(folder));
        let last = self.listed.take();
        let last = last.filter(|it| it.is_of(share, path, posix));
        let mut inside = last.unwrap_or_else(|| Inside::of(share, path, posix));
        let mut above_is_known = false;
        for entry in entries {
            let Ok(entry) = entry else {
                self.names.problem(odd, op.id);
                break;
            };
            // FileNamesInformation has nothing but names. [MS-FSCC] 2.4.33
            let proof = Proof {
                exact: true,
                ..proof(op, span)
            };
            let proof = if entry.attributes.is_empty() {
                proof
            } else {
                of_entry(proof, &entry)
            };
            let number = number_in(&entry);
            let file = match entry.name.as_text() {
                Some(".") => {
                    self.names.told(folder, &proof);
                    folder
                }
                Some("..") => continue,
                Some(name) => {
                    if !self.names.takes_inside(name, op.id) {
                        continue;
                    }
                    let place = inside.place(name);
                    let file = if above_is_known && !place.is_stream() {
                        self.names.found_inside(place, &proof)
                    } else {
                        above_is_known = !place.is_stream();
                        self.names.found(place, &proof)
                    };
                    if let Some(tag) = tag_of(&entry) {
                        self.names.tagged(file, tag, op.id);
                    }
                    file
                }
                None => {
                    self.names.problem("name that is not UTF-16", op.id);
                    continue;
                }
            };
            if let Some(number) = number {
                self.numbered(file, number);
            }
        }
        self.listed = Some(inside);
    }

    /// A QUERY_DIRECTORY found nothing; without wildcards that is one name. [MS-FSA] 2.1.5.6.3
    pub(super) fn no_such_file(
        &mut self,
        op: &Operation,
        span: WireSpan,
        query: &QueryDirectoryRequest,
    ) {
        let Some(folder) = self.file(op) else { return };
        let name = query.pattern.as_text().unwrap_or_default();
        if name.is_empty() || name.contains(['*', '?', '<', '>', '"']) {
            return;
        }
        let share = self.names.share_of(folder);
        if let Some(share) = share.filter(|_| self.names.takes_inside(name, op.id)) {
            let posix = self.names.is_posix(folder);
            let mut inside = Inside::of(share, self.names.path_of(folder), posix);
            self.names.missing(inside.place(name), &proof(op, span));
        }
    }

    /// The parts of a READ's data that show the beginning and are not known yet: where in the
    /// file, and the bytes from and to in the data.
    pub(crate) fn unknown(&self, op: &Operation, len: usize) -> Vec<(u64, usize, usize)> {
        let (Some(file), Action::Request(Request::Read(read))) = (self.file(op), &op.action) else {
            return Vec::new();
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let parts = self
            .names
            .unknown(file, read.offset, read.offset.saturating_add(len));
        let within =
            |at: u64| usize::try_from(at.saturating_sub(read.offset)).unwrap_or(usize::MAX);
        parts
            .into_iter()
            .map(|(from, to)| (from, within(from), within(to)))
            .collect()
    }

    /// Whether a READ of so many bytes shows what a WRITE put there whose data was not captured.
    pub(crate) fn is_made_up(&self, op: &Operation, len: usize) -> bool {
        let (Some(file), Action::Request(Request::Read(read))) = (self.file(op), &op.action) else {
            return false;
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let end = read.offset.saturating_add(len);
        self.names.is_made_up(file, read.offset, end)
    }

    /// A READ showed such a part.
    pub(crate) fn showed(&mut self, op: &Operation, offset: u64, data: DataRef) {
        if let Some(file) = self.file(op) {
            self.names.showed(file, Extent { offset, data });
        }
    }

    /// A READ showed what is known already.
    pub(crate) fn showed_again(&mut self, op: &Operation, span: WireSpan, expect: &Expect) {
        let (Some(file), Action::Request(Request::Read(read))) = (self.file(op), &op.action) else {
            return;
        };
        if let Some(data) = expect.data {
            let extent = Extent {
                offset: read.offset,
                data,
            };
            self.names.showed_again(file, extent, &proof(op, span));
        }
    }
}

fn proof(op: &Operation, span: WireSpan) -> Proof {
    Proof {
        op: op.id,
        span,
        ..Proof::default()
    }
}

fn known(proof: Proof, attributes: FileAttributes, times: Times, size: u64) -> Proof {
    Proof {
        directory: Some(is_directory(attributes)),
        attributes: Some(attributes.bits()),
        times: Some(times),
        size: Some(size),
        ..proof
    }
}

/// What an entry of a listing proves.
fn of_entry(proof: Proof, it: &DirectoryEntry) -> Proof {
    let times = Times {
        created: it.creation_time,
        accessed: it.last_access_time,
        written: it.last_write_time,
        changed: it.change_time,
    };
    known(proof, it.attributes, times, it.end_of_file)
}

fn basic(proof: Proof, it: &BasicInfo) -> Proof {
    Proof {
        directory: Some(is_directory(it.attributes)),
        attributes: Some(it.attributes.bits()),
        times: Some(Times {
            created: it.creation_time,
            accessed: it.last_access_time,
            written: it.last_write_time,
            changed: it.change_time,
        }),
        ..proof
    }
}

fn standard(proof: Proof, it: &StandardInfo) -> Proof {
    Proof {
        size: Some(it.end_of_file),
        directory: proof.directory.or(Some(it.directory != 0)),
        ..proof
    }
}

/// Length of FileBasicInformation. [MS-FSCC] 2.4.7
const BASIC: usize = 40;
/// Classes that tell about the beginning, or the number of a file.
const TELLING: [FileInfoClass; 9] = [
    FileInfoClass::BASIC,
    FileInfoClass::STANDARD,
    FileInfoClass::ALL,
    FileInfoClass::STREAM,
    FileInfoClass::NETWORK_OPEN,
    FileInfoClass::ATTRIBUTE_TAG,
    FileInfoClass::INTERNAL,
    FileInfoClass::ID,
    FileInfoClass::POSIX,
];
