//! QUERY_DIRECTORY. [MS-SMB2] 3.3.5.18, [MS-FSA] 2.1.5.6.3, [MS-FSCC] 2.4.

use std::ops::Bound;

use smbench_core::smb2::version::is_token;
use smbench_core::smb2::{
    AccessMask, FileInfoClass, NtStatus, QueryDirectoryFlags, QueryDirectoryRequest,
    QueryDirectoryResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::data::{len_of, len32};
use super::fs::{Fs, NodeId};
use super::info::{Out, utf16};
use super::limits::Limit;
use super::name::Pattern;
use super::{Plant, Server};

/// How far an enumeration is. It holds its place and not the names, so that many enumerations of
/// long directories take no memory. Files that were made since it began are not told, as Samba does.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pattern: Pattern,
    at: Place,
    /// The last file that there was when it began.
    until: NodeId,
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
        let fixed = fixed_len(body.file_information_class).ok_or(NtStatus::INVALID_INFO_CLASS)?;
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
        let dir = self.open(id)?.node;
        let mut scan = self.open_mut(id)?.scan.take();
        if scan.is_none() || flags.intersects(again) {
            // [MS-SMB2] 3.3.5.18: an empty pattern on a restart means the one before.
            let old = scan.map(|scan| scan.pattern).filter(|_| pattern.is_empty());
            let pattern = old.unwrap_or_else(|| Pattern::new(&pattern));
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
            let (name, node, behind) = match &scan.at {
                Place::Own => (".".to_owned(), self.dir, Place::Parent),
                Place::Parent => {
                    let parent = self.fs.node(self.dir).map_err(Stopped::Status)?.parent;
                    ("..".to_owned(), parent, Place::First)
                }
                Place::First | Place::Behind(_) => {
                    let Some((key, node)) = self.child_behind(scan)? else {
                        return Ok(None);
                    };
                    let name = self.fs.node(node).map_err(Stopped::Status)?.name.clone();
                    (name, node, Place::Behind(key))
                }
            };
            let cost = scan.pattern.cost(&name);
            self.steps = self.steps.checked_sub(cost).ok_or(Stopped::Tired)?;
            if node <= scan.until && scan.pattern.matches(&name) && !is_token(&name) {
                return Ok(Some((name, node, behind)));
            }
            scan.at = behind;
        }
    }

    fn child_behind(&self, scan: &Scan) -> Result<Option<(String, NodeId)>, Stopped> {
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
        Ok(next.map(|(key, node)| (key.clone(), *node)))
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
        let mut out = Out::default();
        let mut last = None;
        loop {
            let (name, node, behind) = match self.next(scan) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(Stopped::Tired) if last.is_some() => break,
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
            let Some(entry) = entry(self.fs, class, &name, node, index) else {
                scan.step(behind); // `..` of what has no name any more
                continue;
            };
            let start = out.len().next_multiple_of(8);
            if start.saturating_add(entry.len()) > room {
                if last.is_none() {
                    // Not even one name fits.
                    return Err(Stopped::Status(NtStatus::BUFFER_OVERFLOW));
                }
                break;
            }
            out.align(8);
            if let Some(previous) = last {
                out.set_u32(previous, len32(start.saturating_sub(previous)));
            }
            out.bytes(&entry);
            last = Some(start);
            scan.step(behind);
            scan.any = true;
            if single {
                break;
            }
        }
        match last {
            Some(_) => Ok(out.0),
            None if scan.any => Err(Stopped::Status(NtStatus::NO_MORE_FILES)),
            None => {
                scan.any = true;
                Err(Stopped::Status(NtStatus::NO_SUCH_FILE))
            }
        }
    }
}

impl Scan {
    /// Goes on behind an entry that matches.
    fn step(&mut self, behind: Place) {
        self.at = behind;
        self.index = self.index.saturating_add(1);
    }
}

/// One entry; none when the file is gone.
fn entry(fs: &Fs, class: FileInfoClass, name: &str, node: NodeId, index: u32) -> Option<Vec<u8>> {
    let found = fs.node(node).ok()?;
    let wide = utf16(name);
    let mut out = Out::default();
    out.u32(0).u32(index);
    if class == FileInfoClass::NAMES {
        out.u32(len32(wide.len())).bytes(&wide);
        return Some(out.0);
    }
    let times = found.times;
    out.u64(times.created).u64(times.accessed);
    out.u64(times.written).u64(times.changed);
    out.u64(if found.is_dir() { 0 } else { found.data.size() });
    out.u64(if found.is_dir() {
        0
    } else {
        fs.allocation(node, node)
    });
    out.u32(found.reported_attributes().bits());
    out.u32(len32(wide.len()));
    let eas = super::file_info::ea_size(&found.eas);
    // Told only where it is another name, as Samba does.
    let short = |out: &mut Out| {
        let dots = name == "." || name == "..";
        let mut wide = Vec::new();
        if !dots && !super::name::is_short(name) {
            wide = utf16(&super::name::short(name));
        }
        wide.truncate(24);
        out.u8(u8::try_from(wide.len()).unwrap_or_default()).u8(0);
        out.bytes(&wide).zeros(24_usize.saturating_sub(wide.len()));
    };
    match class {
        FileInfoClass::FULL_DIRECTORY => {
            out.u32(eas);
        }
        FileInfoClass::ID_FULL_DIRECTORY => {
            out.u32(eas).u32(0).u64(node);
        }
        FileInfoClass::BOTH_DIRECTORY => {
            out.u32(eas);
            short(&mut out);
        }
        FileInfoClass::ID_BOTH_DIRECTORY => {
            out.u32(eas);
            short(&mut out);
            out.u16(0).u64(node);
        }
        FileInfoClass::ID_EXTD_DIRECTORY => {
            out.u32(eas).u32(0).u64(node).u64(0);
        }
        _ => {}
    }
    out.bytes(&wide);
    Some(out.0)
}

/// Characters of a pattern: a name has 255 at most. [MS-FSCC] 2.1.5.2.
const LONGEST_PATTERN: usize = 512;

/// Bytes of an entry without its name; none for a class directories are not queried with.
fn fixed_len(class: FileInfoClass) -> Option<usize> {
    Some(match class {
        FileInfoClass::DIRECTORY => 64,
        FileInfoClass::FULL_DIRECTORY => 68,
        FileInfoClass::BOTH_DIRECTORY => 94,
        FileInfoClass::NAMES => 12,
        FileInfoClass::ID_BOTH_DIRECTORY => 104,
        FileInfoClass::ID_FULL_DIRECTORY => 80,
        FileInfoClass::ID_EXTD_DIRECTORY => 88,
        _ => return None,
    })
}
