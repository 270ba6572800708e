//! Turns the inferred namespace into a workload that builds it.
//!
//! Preparing is replaying: the same engine, drivers and journal carry it out, and what goes wrong
//! is a divergence with its operation. Everything is made below a root in a folder of our own, which
//! must not exist yet and says so by a mark. Content that no READ showed is synthetic: a pure function of path and offset
//! ([`synthetic`]), so it can be checked later without having been kept. Of long stretches like that
//! only the length is made.
//!
//! Attributes and times come last, of folders after what is in them: writing would change times, and
//! read-only files could not be written.

mod links;
mod mark;

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    confine::{NameError, RecordedName},
    event::Milestone,
    frame::Digest,
    fscc::{BasicInfo, SetInfoPayload},
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{
        AccessMask, Capabilities, Command, CreateDisposition, CreateOptions, CreateRequest,
        FileAttributes, FileInfoClass, Guid, InfoType, Name, NtStatus, Request, SecurityMode,
        SessionSetupRequest, SetInfoRequest, ShareAccess, TreeConnectRequest, WriteRequest,
        version::is_previous_version,
    },
    workload::{
        Action, Client, Connection, DataRef, Edge, Entry, EntryKind, Expect, Extent, Operation,
        Principal, Rule, Session, Tree, Workload,
    },
};
use thiserror::Error;

use crate::offer::all_dialects;

pub use self::links::{UnmadeLink, WhyUnmade};
pub use self::mark::{MARK, make_folders, read_marks, write_marks};

/// A share to prepare: where it is, and the folder below which everything is put.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The path to connect to, `\\server\share`.
    pub path: String,
    /// The folder below the share, with backslashes; never empty.
    pub root: String,
    /// The folder at or above `root` that is ours alone; none where the user answers for it.
    pub owned: Option<String>,
}

/// A workload that builds a namespace, and where its data comes from.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Its tables.
    pub workload: Workload,
    /// Its operations.
    pub operations: Vec<Operation>,
    /// The data that its WRITEs carry and that no blob has: by digest, the file and the offset.
    pub synthetic: BTreeMap<Digest, (String, u64, u32)>,
    /// Files, folders and streams that it makes, the roots not counted.
    pub entries: u64,
    /// Bytes that it writes.
    pub bytes: u64,
    /// Entries that a client cannot make, by what they are.
    pub not_made: BTreeMap<&'static str, u64>,
    /// The operations that make links, and of which share and path: a server may refuse them.
    pub links: BTreeMap<OpId, (String, String)>,
    /// Links that it does not make.
    pub unmade: Vec<UnmadeLink>,
}

/// Credits that each request asks for: the data of a READ may be written back by one WRITE, which costs as
/// many as 128.
const CREDITS: u16 = 256;

/// A stretch of a file's initial content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stretch {
    /// What READs showed.
    Known(Extent),
    /// What [`synthetic`] gives.
    Synthetic {
        /// Where it begins.
        offset: u64,
        /// How long it is, in bytes: at most [`LONGEST_FILLED_BYTES`].
        len: u32,
    },
}

/// What a file is filled with, ascending: what READs showed, and between that synthetic bytes. Longer
/// gaps than [`LONGEST_FILLED_BYTES`] stay empty.
#[must_use]
pub fn stretches(entry: &Entry) -> Vec<Stretch> {
    let mut found = Vec::new();
    let mut at = 0;
    let fill = |from: u64, to: u64, found: &mut Vec<Stretch>| {
        let len = u32::try_from(to.saturating_sub(from));
        if let Ok(len @ 1..=LONGEST_FILLED_BYTES) = len {
            found.push(Stretch::Synthetic { offset: from, len });
        }
    };
    for extent in &entry.content {
        let end = extent.offset.saturating_add(u64::from(extent.data.len));
        if extent.offset < at || end > entry.size {
            continue;
        }
        fill(at, extent.offset, &mut found);
        found.push(Stretch::Known(extent.clone()));
        at = end;
    }
    fill(at, entry.size, &mut found);
    found
}

/// Synthetic content: `len` bytes of `path` from `offset` on.
#[must_use]
pub fn synthetic(path: &str, offset: u64, len: u32) -> Vec<u8> {
    let seed = Digest::of(path.as_bytes()).0;
    let seed = u64::from_le_bytes(*seed.first_chunk::<8>().unwrap_or(&[0; 8]));
    let word = |index: u64| {
        // The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over a counter.
        let mut word = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    let end = offset.saturating_add(u64::from(len));
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(len.saturating_add(16));
    for index in offset / 8..end.div_ceil(8) {
        bytes.extend_from_slice(&word(index).to_le_bytes());
    }
    let skip = usize::try_from(offset % 8).unwrap_or(0);
    bytes.drain(..skip.min(bytes.len()));
    bytes.truncate(len);
    bytes
}

/// Why a namespace cannot be prepared.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PrepareError {
    /// An entry that would not be below the root.
    #[error("line {line} of namespace.jsonl: {path:?} cannot be made below a root: {source}")]
    Outside {
        /// The line, from 1.
        line: usize,
        /// The path it names.
        path: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// An entry of a share that no server has.
    #[error("line {line} of namespace.jsonl: {share:?} cannot be a share")]
    Share {
        /// The line, from 1.
        line: usize,
        /// The share it names.
        share: String,
    },
}

/// A workload that builds `entries`, the lines of `namespace.jsonl`, share by share, each at its
/// place. Entries of shares without a place are left out. Owned folders are there, by [`make_folders`], and get `mark` as their [`MARK`]
/// last.
///
/// # Errors
///
/// [`PrepareError`] for the first entry that is not below its root, or of no share that can be.
pub fn prepare(
    entries: &[Entry],
    places: &BTreeMap<String, Place>,
    mark: &[u8],
) -> Result<Preparation, PrepareError> {
    for (line, entry) in (1..).zip(entries) {
        let path = &entry.path;
        let of_text = RecordedName::of_text(path, false);
        of_text.map_err(|source| PrepareError::Outside {
            line,
            path: path.clone(),
            source,
        })?;
        let share = &entry.share;
        let of_share = RecordedName::of_text(share, false);
        // What was not captured has no name.
        if !share.is_empty() && !of_share.is_ok_and(RecordedName::is_one_component) {
            return Err(PrepareError::Share {
                line,
                share: share.clone(),
            });
        }
    }
    let mut builder = Builder::new();
    builder.log_in();
    for (share, place) in places {
        builder.connect(&place.path);
        builder.lead_to(
            &place.root,
            place.owned.as_deref(),
            CreateDisposition::OPEN_IF,
        );
        let of_share = entries
            .iter()
            .filter(|entry| entry.share.eq_ignore_ascii_case(share) && !entry.path.is_empty());
        let (versions, mut sorted): (Vec<&Entry>, Vec<&Entry>) =
            of_share.partition(|entry| is_previous_version(&entry.path));
        if !versions.is_empty() {
            *builder.out.not_made.entry("previous version").or_default() += versions.len() as u64;
        }
        // Folders before what is in them, files before their streams.
        sorted.sort_by_key(|entry| (entry.kind == EntryKind::Stream, entry.path.to_lowercase()));
        let mut made: BTreeSet<String> = BTreeSet::new();
        let links = builder.take_links(&mut sorted);
        for entry in &sorted {
            builder.missing_folders(&place.root, &entry.path, &mut made);
            builder.entry(&place.root, entry, &mut made);
        }
        // Last, so that nothing leads through one.
        for (entry, link) in links {
            builder.missing_folders(&place.root, &entry.path, &mut made);
            builder.link(&place.root, entry, link);
        }
        for entry in sorted.iter().rev() {
            builder.dress(&place.root, entry);
        }
    }
    // Last: what has a mark is whole.
    let owned = places
        .values()
        .filter_map(|it| Some((&it.path, it.owned.as_ref()?)));
    for (path, folder) in owned.collect::<BTreeSet<_>>() {
        builder.connect(path);
        builder.mark(folder, CreateDisposition::CREATE, mark);
    }
    Ok(builder.end())
}

struct Builder {
    out: Preparation,
    mid: u64,
    tree: Option<TreeRef>,
    opens: u32,
}

impl Builder {
    fn new() -> Self {
        let mut out = Preparation::default();
        out.workload.format = smbench_core::workload::FORMAT;
        out.workload.provenance.tool = "smbench prepare".to_owned();
        out.workload.clients.push(Client {
            address: "prepare".to_owned(),
        });
        out.workload.connections.push(Connection {
            client: ClientId(0),
            from: "prepare".to_owned(),
            to: String::new(),
            at_us: 0,
            dialect: None,
            capabilities: None,
            midstream: false,
        });
        out.workload.principals.push(Principal::default());
        out.workload.sessions.push(Session {
            principal: 0,
            conn: ConnId(0),
            wire_id: smbench_core::smb2::SessionId(1),
            flags: 0,
            inferred: false,
        });
        Self {
            out,
            mid: 0,
            tree: None,
            opens: 0,
        }
    }

    fn log_in(&mut self) {
        let capabilities = Capabilities::LARGE_MTU | Capabilities::ENCRYPTION;
        let guid = Guid(*b"smbench prepare\0");
        let negotiate = all_dialects(guid, capabilities, b"smbench prepare");
        self.push(
            Request::Negotiate(negotiate),
            None,
            NtStatus::SUCCESS,
            false,
        );
        for status in [NtStatus::MORE_PROCESSING_REQUIRED, NtStatus::SUCCESS] {
            let setup = SessionSetupRequest {
                security_mode: SecurityMode::SIGNING_ENABLED,
                ..SessionSetupRequest::default()
            };
            self.push(Request::SessionSetup(setup), None, status, true);
        }
    }

    fn connect(&mut self, path: &str) {
        let tree = TreeRef(u32::try_from(self.out.workload.trees.len()).unwrap_or(u32::MAX));
        self.out.workload.trees.push(Tree {
            session: SessionRef(0),
            path: path.to_owned(),
            share_type: 1,
            wire_id: smbench_core::smb2::TreeId(tree.0 + 1),
            inferred: false,
        });
        self.tree = Some(tree);
        let connect = TreeConnectRequest {
            path: Name::Text(path.to_owned()),
            ..Default::default()
        };
        self.push(Request::TreeConnect(connect), None, NtStatus::SUCCESS, true);
    }

    /// Makes the folders down to `root`, the last one as `disposition` says. Above what is ours folders
    /// are opened or made, and nothing is done to them.
    fn lead_to(&mut self, root: &str, ours: Option<&str>, disposition: CreateDisposition) {
        let ends = root.match_indices('\\').map(|(at, _)| at);
        for end in ends.chain([root.len()]) {
            let folder = root.get(..end).unwrap_or_default();
            let above = ours.is_some_and(|ours| folder.len() < ours.len());
            let access = if above { LOOK } else { ACCESS };
            let disposition = match folder == root {
                true => disposition,
                false => CreateDisposition::OPEN_IF,
            };
            let options = CreateOptions::DIRECTORY_FILE.bits();
            let open = self.open(folder, access, 0, options, disposition);
            self.close(open);
        }
    }

    fn missing_folders(&mut self, root: &str, path: &str, made: &mut BTreeSet<String>) {
        for (at, _) in path.match_indices('\\') {
            let parent = path.get(..at).unwrap_or_default();
            if !parent.is_empty() && made.insert(parent.to_lowercase()) {
                self.folder(&format!("{root}\\{parent}"), None);
                self.out.entries += 1;
            }
        }
    }

    fn entry(&mut self, root: &str, entry: &Entry, made: &mut BTreeSet<String>) {
        if entry.kind != EntryKind::Stream && !made.insert(entry.path.to_lowercase()) {
            return;
        }
        self.out.entries += 1;
        let path = format!("{root}\\{}", entry.path);
        match entry.kind {
            EntryKind::Directory => self.folder(&path, entry.attributes),
            EntryKind::File | EntryKind::Stream => {
                let open = self.create(&path, entry.attributes, 0);
                self.fill(open, entry);
                self.close(open);
            }
        }
    }

    fn folder(&mut self, path: &str, attributes: Option<u32>) {
        let open = self.create(path, attributes, CreateOptions::DIRECTORY_FILE.bits());
        self.close(open);
    }

    fn create(&mut self, path: &str, attributes: Option<u32>, options: u32) -> OpenRef {
        // Read-only files could not be filled.
        let attributes = attributes.unwrap_or_default() & SETTABLE & !READ_ONLY;
        let disposition = CreateDisposition::OPEN_IF;
        self.open(path, ACCESS, attributes, options, disposition)
    }

    fn open(
        &mut self,
        path: &str,
        access: u32,
        attributes: u32,
        options: u32,
        create_disposition: CreateDisposition,
    ) -> OpenRef {
        let create = CreateRequest {
            name: Name::Text(path.to_owned()),
            desired_access: AccessMask::from_bits_retain(access),
            file_attributes: FileAttributes::from_bits_retain(attributes),
            share_access: ShareAccess::from_bits_retain(7),
            create_disposition,
            create_options: CreateOptions::from_bits_retain(options),
            ..CreateRequest::default()
        };
        let open = OpenRef(self.opens);
        self.opens += 1;
        self.push(Request::Create(create), Some(open), NtStatus::SUCCESS, true);
        open
    }

    /// Gives a file or folder its attributes and times, as far as making it has not.
    fn dress(&mut self, root: &str, entry: &Entry) {
        let folder = entry.kind == EntryKind::Directory;
        if entry.kind == EntryKind::Stream {
            return; // they are its file's
        }
        let seen = entry.attributes.map(|it| it & SETTABLE);
        // What CREATE gives without being asked.
        let usual = if folder { 0 } else { ARCHIVE };
        let wanted = seen.filter(|seen| *seen != usual);
        if wanted.is_none() && entry.times.is_none() {
            return;
        }
        let times = entry.times.unwrap_or_default();
        // Beyond that numbers have other meanings. [MS-FSCC] 2.4.7
        let time = |time: u64| if i64::try_from(time).is_ok() { time } else { 0 };
        let attributes = match wanted {
            Some(wanted) if folder => wanted | FileAttributes::DIRECTORY.bits(),
            Some(0) => FileAttributes::NORMAL.bits(),
            Some(wanted) => wanted,
            None => 0,
        };
        let basic = BasicInfo {
            creation_time: time(times.created),
            last_access_time: time(times.accessed),
            last_write_time: time(times.written),
            change_time: time(times.changed),
            attributes: FileAttributes::from_bits_retain(attributes),
            reserved: 0,
        };
        let options = CreateOptions::DIRECTORY_FILE.bits() * u32::from(folder);
        let path = format!("{root}\\{}", entry.path);
        let open = self.open(&path, ATTRIBUTES, 0, options, CreateDisposition::OPEN);
        self.set(
            open,
            FileInfoClass::BASIC,
            &SetInfoPayload::FileBasic(basic),
        );
        self.close(open);
    }

    fn set(&mut self, open: OpenRef, class: FileInfoClass, payload: &SetInfoPayload) {
        let set = SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: class.into(),
            buffer: payload.encode(),
            ..SetInfoRequest::default()
        };
        self.push(Request::SetInfo(set), Some(open), NtStatus::SUCCESS, true);
    }

    fn close(&mut self, open: OpenRef) {
        self.push(
            Request::Close(Default::default()),
            Some(open),
            NtStatus::SUCCESS,
            true,
        );
    }

    /// Writes the whole content: what reads showed, and synthetic bytes around it; makes it as
    /// long as it was.
    fn fill(&mut self, open: OpenRef, entry: &Entry) {
        let mut long = 0;
        for stretch in stretches(entry) {
            long = match stretch {
                Stretch::Known(Extent { offset, data }) => {
                    self.write(open, offset, data);
                    offset.saturating_add(u64::from(data.len))
                }
                Stretch::Synthetic { offset, len } => {
                    let end = offset.saturating_add(len.into());
                    self.fill_synthetic(open, entry, offset, end);
                    end
                }
            };
        }
        if long < entry.size {
            let end_of_file = entry.size;
            let payload = SetInfoPayload::FileEndOfFile { end_of_file };
            self.set(open, FileInfoClass::END_OF_FILE, &payload);
        }
    }

    fn fill_synthetic(&mut self, open: OpenRef, entry: &Entry, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let len = u32::try_from((to - at).min(u64::from(CHUNK))).unwrap_or(CHUNK);
            let name = format!("{}\\{}", entry.share, entry.path);
            let blake3 = Digest::of(&synthetic(&name, at, len));
            self.out.synthetic.insert(blake3, (name, at, len));
            self.write(open, at, DataRef { blake3, len });
            at += u64::from(len);
        }
    }

    fn write(&mut self, open: OpenRef, offset: u64, data: DataRef) {
        let write = WriteRequest {
            length: data.len,
            offset,
            ..WriteRequest::default()
        };
        self.push(Request::Write(write), Some(open), NtStatus::SUCCESS, true);
        self.out.bytes += u64::from(data.len);
        if let Some(op) = self.out.operations.last_mut() {
            op.data = Some(data);
            op.charge = u16::try_from(data.len.div_ceil(65_536))
                .unwrap_or(u16::MAX)
                .max(1);
            op.credits = op.charge.max(CREDITS);
        }
    }

    fn push(
        &mut self,
        request: Request,
        open: Option<OpenRef>,
        status: NtStatus,
        in_session: bool,
    ) {
        let cmd = request.command();
        let id = OpId(u32::try_from(self.out.operations.len()).unwrap_or(u32::MAX));
        let before = id.0.checked_sub(1).map(|before| Edge {
            id: OpId(before),
            rule: Rule::Wire,
            on: Milestone::Response,
            inferred: false,
        });
        let path = match &request {
            Request::Create(create) => Some(create.name.to_string()),
            _ => None,
        };
        self.out.operations.push(Operation {
            id,
            session: in_session.then_some(SessionRef(0)),
            tree: if cmd == Command::SESSION_SETUP {
                None
            } else {
                self.tree
            },
            cmd,
            mid: self.mid,
            charge: u16::from(cmd != Command::NEGOTIATE),
            credits: CREDITS,
            process_id: 0xfeff,
            action: Action::Request(request),
            path,
            open,
            after: before.into_iter().collect(),
            expect: Some(Expect {
                status,
                ..Expect::default()
            }),
            ..Operation::blank()
        });
        self.mid += 1;
    }

    fn end(mut self) -> Preparation {
        self.out.workload.opens = self.opens;
        self.out.workload.operations = self.out.operations.len() as u64;
        self.out
    }
}

/// Bytes of one WRITE: what every dialect takes with one credit.
const CHUNK: u32 = 65_536;
/// FILE_READ_DATA, WRITE_DATA, APPEND_DATA, READ_ATTRIBUTES, WRITE_ATTRIBUTES, SYNCHRONIZE.
const ACCESS: u32 = 0x0010_0187;
/// READ_ATTRIBUTES, SYNCHRONIZE.
const LOOK: u32 = 0x0010_0080;
/// READ_ATTRIBUTES, WRITE_ATTRIBUTES, SYNCHRONIZE.
const ATTRIBUTES: u32 = 0x0010_0180;
/// Read-only, hidden, system, archive, temporary, offline, not indexed: what clients may set.
/// [MS-FSCC] 2.6
const SETTABLE: u32 = 0x3127;
const READ_ONLY: u32 = 0x1;
const ARCHIVE: u32 = 0x20;
/// The longest gap between known content that is filled with synthetic bytes; of longer ones only
/// the length is made.
pub const LONGEST_FILLED_BYTES: u32 = 16 << 20;

#[cfg(test)]
mod tests;
