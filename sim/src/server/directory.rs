//! QUERY_DIRECTORY. [MS-SMB2] 3.3.5.18, [MS-FSA] 2.1.5.6.3, [MS-FSCC] 2.4.

use smbench_core::smb2::{
    AccessMask, FileInfoClass, NtStatus, QueryDirectoryFlags, QueryDirectoryRequest,
    QueryDirectoryResponse,
};

use super::answer::{Answer, Cx, Handled};
use super::data::{len_of, len32};
use super::fs::NodeId;
use super::info::{Out, utf16};
use super::name::matches;
use super::open::OpenId;
use super::{Plant, Server};

/// How far an enumeration is. The names are those that were there when it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pattern: String,
    entries: Vec<(String, NodeId)>,
    next: usize,
    /// Something was found before: the end is NO_MORE_FILES, not NO_SUCH_FILE.
    any: bool,
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
        let mut scan = self.open_mut(id)?.scan.take();
        if scan.is_none() || flags.intersects(again) {
            // [MS-SMB2] 3.3.5.18: an empty pattern on a restart means the one before.
            let old = scan.map(|scan| scan.pattern).filter(|_| pattern.is_empty());
            scan = Some(self.scan(id, old.unwrap_or(pattern))?);
        }
        let mut scan = scan.unwrap_or_default();
        if flags.contains(QueryDirectoryFlags::INDEX_SPECIFIED) {
            scan.next = len_of(body.file_index);
        }
        let single = flags.contains(QueryDirectoryFlags::RETURN_SINGLE_ENTRY);
        let result = self.fill(&mut scan, body.file_information_class, room, single);
        self.open_mut(id)?.scan = Some(scan);
        Ok(Answer::ok(QueryDirectoryResponse { output: result? }))
    }

    fn scan(&self, id: OpenId, pattern: String) -> Result<Scan, NtStatus> {
        let node = self.open(id)?.node;
        let found = self.fs.node(node)?;
        let mut entries = Vec::new();
        for (name, target) in [(".", node), ("..", found.parent)] {
            if matches(&pattern, name) {
                entries.push((name.to_owned(), target));
            }
        }
        for child in found.children.iter().flat_map(|children| children.values()) {
            let name = &self.fs.node(*child)?.name;
            if matches(&pattern, name) {
                entries.push((name.clone(), *child));
            }
        }
        if self.has(Plant::DirectoryMissesLast) && entries.len() > 3 {
            entries.pop();
        }
        Ok(Scan {
            pattern,
            entries,
            next: 0,
            any: false,
        })
    }

    /// As many entries as fit. [MS-SMB2] 3.3.5.18.
    fn fill(
        &self,
        scan: &mut Scan,
        class: FileInfoClass,
        room: usize,
        single: bool,
    ) -> Result<Vec<u8>, NtStatus> {
        let mut out = Out::default();
        let mut last = None;
        while let Some((name, node)) = scan.entries.get(scan.next) {
            let index = u32::try_from(scan.next).unwrap_or(u32::MAX);
            let entry = self.entry(class, name, *node, index);
            let Some(entry) = entry else {
                scan.next = scan.next.saturating_add(1); // deleted since
                continue;
            };
            let start = out.len().next_multiple_of(8);
            if start.saturating_add(entry.len()) > room {
                if last.is_none() {
                    // Not even one name fits.
                    return Err(NtStatus::BUFFER_OVERFLOW);
                }
                break;
            }
            out.align(8);
            if let Some(previous) = last {
                out.set_u32(previous, len32(start.saturating_sub(previous)));
            }
            out.bytes(&entry);
            last = Some(start);
            scan.next = scan.next.saturating_add(1);
            scan.any = true;
            if single {
                break;
            }
        }
        match last {
            Some(_) => Ok(out.0),
            None if scan.any => Err(NtStatus::NO_MORE_FILES),
            None => {
                scan.any = true;
                Err(NtStatus::NO_SUCH_FILE)
            }
        }
    }

    /// One entry; none when the file is gone.
    fn entry(&self, class: FileInfoClass, name: &str, node: NodeId, index: u32) -> Option<Vec<u8>> {
        let found = self.fs.node(node).ok()?;
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
            self.fs.allocation(node, node)
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
}

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
