//! QUERY_DIRECTORY. [MS-SMB2] 3.3.5.18, [MS-FSA] 2.1.5.6.3, [MS-FSCC] 2.4.

use std::ops::Bound;

use smbench_core::fscc::{DirectoryEntry, DirectoryWriter, ShortName};
use smbench_core::smb2::version::is_token;
use smbench_core::smb2::{
    AccessMask, FileInfoClass, Guid, Name, NtStatus, QueryDirectoryFlags, QueryDirectoryRequest,
    QueryDirectoryResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::data::len_of;
use super::fs::{Child, Fs, LinkId, NodeId};
use super::limits::Limit;
use super::name::Pattern;
use super::{Plant, Server};

/// How far an enumeration is. It holds its place and not the names, so that many enumerations of
/// long directories take no memory. Files that were made since it began are not told, as Samba does.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pattern: Pattern,
    at: Place,
    /// The last name that there was when it began.
    until: LinkId,
    /// Entries before that place that match.
    index: usize,
    /// Something was found before: the end is NO_MORE_FILES, not NO_SUCH_FILE.
    any: bool,
}

/// Where an enumeration goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Place {
    /// With `.`, the directory itself.
    #[default]
    Own,
    /// With `..`, what it is in.
    Parent,
    /// With the first name.
    First,
    /// Behind the name that is found by that.
    Behind(String),
}

impl Server {
    pub(super) fn query_directory(&mut self, cx: &Cx, body: &QueryDirectoryRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let max = self.conns.get(&cx.conn).map_or(0, |conn| conn.max_io);
        let open = self.open(id)?;
        if !open.is_dir || body.output_buffer_length > max {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let fixed = DirectoryEntry::fixed_len(body.file_information_class)
            .ok_or(NtStatus::INVALID_INFO_CLASS)?;
        if !open.may(AccessMask::READ_DATA) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let room = len_of(body.output_buffer_length);
        if room < fixed {
            return Err(NtStatus::INFO_LENGTH_MISMATCH.into());
        }
        let flags = body.flags;
        let again = QueryDirectoryFlags::RESTART_SCANS | QueryDirectoryFlags::REOPEN;
        let pattern = body.pattern.to_lossy().into_owned();
        if pattern.contains('\\') {
            return Err(NtStatus::OBJECT_NAME_INVALID.into());
        }
        let (dir, posix) = (open.node, open.posix);
        let level = body.file_information_class;
        if level == FileInfoClass::POSIX && !posix {
            return Err(NtStatus::INVALID_INFO_CLASS.into());
        }
        let mut scan = self.open_mut(id)?.scan.take();
        if scan.is_none() || flags.intersects(again) {
            // [MS-SMB2] 3.3.5.18: an empty pattern on a restart means the one before.
            let old = scan.map(|scan| scan.pattern).filter(|_| pattern.is_empty());
            let pattern = old.unwrap_or_else(|| Pattern::new(&pattern, posix));
            if pattern.len() > LONGEST_PATTERN {
                return Err(NtStatus::OBJECT_NAME_INVALID.into());
            }
            scan = Some(Scan {
                pattern,
                until: self.fs.last(),
                ..Scan::default()
            });
        }
        let mut scan = scan.unwrap_or_default();
        let mut search = Search {
            fs: &self.fs,
            dir,
            steps: self.config.limits.search_steps,
            hides_last: self.has(Plant::DirectoryMissesLast),
        };
        if flags.contains(QueryDirectoryFlags::INDEX_SPECIFIED) {
            search.go_to(&mut scan, len_of(body.file_index));
        }
        let single = flags.contains(QueryDirectoryFlags::RETURN_SINGLE_ENTRY);
        let result = search.fill(&mut scan, body.file_information_class, room, single);
        self.open_mut(id)?.scan = Some(scan);
        match result {
            Err(Stopped::Status(status)) => Err(status.into()),
            Err(Stopped::Tired) => Err(self.limited(Limit::Search).into()),
            Ok(output) => Ok(Answer::ok(QueryDirectoryResponse { output })),
        }
    }
}

/// Why an enumeration gives nothing.
enum Stopped {
    Status(NtStatus),
    /// It has compared as much as one request may; the next goes on from there.
    Tired,
}

/// One request's look at a directory.
struct Search<'a> {
    fs: &'a Fs,
    dir: NodeId,
    /// Comparisons that it may still take.
    steps: usize,
    /// The planted bug: the last name is not told, where there are some.
    hides_last: bool,
}

impl Search<'_> {
    /// The next entry that matches, from the scan's place on, and the place behind it; `None` at the
    /// end.
    fn next(&mut self, scan: &mut Scan) -> Result<Option<(String, NodeId, Place)>, Stopped> {
        loop {
            let (name, child, behind) = match &scan.at {
                Place::Own => (".".to_owned(), Child::only(self.dir), Place::Parent),
                Place::Parent => {
                    let parent = self.fs.parent(self.dir).unwrap_or(self.dir);
                    ("..".to_owned(), Child::only(parent), Place::First)
                }
                Place::First | Place::Behind(_) => {
                    let Some((key, child)) = self.child_behind(scan)? else {
                        return Ok(None);
                    };
                    let node = self.fs.node(child.node).map_err(Stopped::Status)?;
                    let name = node.link(child.link).map(|link| link.name.clone());
                    (name.unwrap_or_default(), child, Place::Behind(key))
                }
            };
            let cost = scan.pattern.cost(&name);
            self.steps = self.steps.checked_sub(cost).ok_or(Stopped::Tired)?;
            let is_seen = child.link <= scan.until && scan.pattern.matches(&name);
            if is_seen && !is_token(&name) {
                return Ok(Some((name, child.node, behind)));
            }
            scan.at = behind;
        }
    }

    fn child_behind(&self, scan: &Scan) -> Result<Option<(String, Child)>, Stopped> {
        let dir = self.fs.node(self.dir).map_err(Stopped::Status)?;
        let Some(children) = &dir.children else {
            return Ok(None);
        };
        let behind = match &scan.at {
            Place::Behind(key) => Bound::Excluded(key.as_str()),
            Place::Own | Place::Parent | Place::First => Bound::Unbounded,
        };
        let next = match scan.pattern.name() {
            // One name is looked up, if it is still to come.
            Some(name) if matches!(behind, Bound::Excluded(key) if key >= name.as_str()) => None,
            Some(name) => children.get_key_value(&name),
            None => children.range::<str, _>((behind, Bound::Unbounded)).next(),
        };
        Ok(next.map(|(key, child)| (key.clone(), *child)))
    }

    /// Goes to the entry with that number.
    fn go_to(&mut self, scan: &mut Scan, index: usize) {
        (scan.at, scan.index) = (Place::Own, 0);
        while scan.index < index {
            match self.next(scan) {
                Ok(Some((.., behind))) => scan.step(behind),
                // Behind the last: what is asked for from there is not there.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// As many entries as fit. [MS-SMB2] 3.3.5.18.
    fn fill(
        &mut self,
        scan: &mut Scan,
        class: FileInfoClass,
        room: usize,
        single: bool,
    ) -> Result<Vec<u8>, Stopped> {
        let invalid = Stopped::Status(NtStatus::INVALID_INFO_CLASS);
        let mut out = DirectoryWriter::new(class, room).ok_or(invalid)?;
        loop {
            let (name, node, behind) = match self.next(scan) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(Stopped::Tired) if !out.is_empty() => break,
                Err(stopped) => return Err(stopped),
            };
            if self.hides_last && scan.index >= 3 {
                let mut rest = Scan {
                    at: behind.clone(),
                    ..scan.clone()
                };
                if matches!(self.next(&mut rest), Ok(None)) {
                    break;
                }
            }
            let index = u32::try_from(scan.index).unwrap_or(u32::MAX);
            let Some(mut entry) = entry(self.fs, &name, node, index) else {
                scan.step(behind); // `..` of what has no name any more
                continue;
            };
            if class == FileInfoClass::POSIX {
                entry.posix = super::posix::part(self.fs, node);
            }
            if !out.push(&entry) {
                if out.is_empty() {
                    // Not even one name fits.
                    return Err(Stopped::Status(NtStatus::BUFFER_OVERFLOW));
                }
                break;
            }
            scan.step(behind);
            scan.any = true;
            if single {
                break;
            }
        }
        if !out.is_empty() {
            return Ok(out.finish());
        }
        let seen = std::mem::replace(&mut scan.any, true);
        Err(Stopped::Status(if seen {
            NtStatus::NO_MORE_FILES
        } else {
            NtStatus::NO_SUCH_FILE
        }))
    }
}

impl Scan {
    /// Goes on behind an entry that matches.
    fn step(&mut self, behind: Place) {
        self.at = behind;
        self.index = self.index.saturating_add(1);
    }
}

/// One entry; none when the file is gone. The number of a file has 64 bits here, with zeros where there is room
/// for 128.
pub(super) fn entry(fs: &Fs, name: &str, node: NodeId, index: u32) -> Option<DirectoryEntry> {
    let found = fs.node(node).ok()?;
    let times = found.times;
    // [MS-FSCC] 2.4.8: of a reparse point its tag.
    let eas = match found.reparse_tag() {
        0 => super::file_info::ea_size(&found.eas),
        tag => tag,
    };
    let mut file_id_128 = Guid::default();
    if let Some(low) = file_id_128.0.first_chunk_mut() {
        *low = node.to_le_bytes();
    }
    // Told only where it is another name, as Samba does.
    let dots = name == "." || name == "..";
    let short_name = if dots || super::name::is_short(name) {
        ShortName::default()
    } else {
        ShortName::new(&Name::Text(super::name::short(name)))
    };
    let is_dir = found.is_dir();
    Some(DirectoryEntry {
        file_index: index,
        creation_time: times.created,
        last_access_time: times.accessed,
        last_write_time: times.written,
        change_time: times.changed,
        end_of_file: if is_dir { 0 } else { found.data.size() },
        allocation_size: if is_dir { 0 } else { fs.allocation(node, node) },
        attributes: found.reported_attributes(),
        ea_size: eas,
        reparse_tag: found.reparse_tag(),
        short_name,
        file_id: node,
        file_id_128,
        name: Name::Text(name.to_owned()),
        ..DirectoryEntry::default()
    })
}

/// Characters of a pattern: a name has 255 at most. [MS-FSCC] 2.1.5.2.
const LONGEST_PATTERN: usize = 512;
