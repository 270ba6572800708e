//! Information about a file, class by class. [MS-FSCC] 2.4.

use smbench_core::smb2::{AccessMask, FileInfoClass, NtStatus};

use super::Server;
use super::data::{Data, len32};
use super::info::{Out, slice_at, u16_at, u32_at};
use super::open::OpenId;

impl Server {
    /// The bytes of one class, before they are cut to the client's buffer.
    pub(super) fn file_info(&self, id: OpenId, class: FileInfoClass) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        let found = self.fs.node(node)?;
        let mut out = Out::default();
        // [MS-FSA] 2.1.5.12: some classes need the right to read attributes.
        let reads = !open.may(AccessMask::READ_ATTRIBUTES);
        let reads = reads
            && matches!(
                class,
                FileInfoClass::BASIC
                    | FileInfoClass::ALL
                    | FileInfoClass::NETWORK_OPEN
                    | FileInfoClass::ATTRIBUTE_TAG
            );
        if reads {
            return Err(NtStatus::ACCESS_DENIED);
        }
        match class {
            FileInfoClass::BASIC => self.basic(id, &mut out)?,
            FileInfoClass::STANDARD => self.standard(id, &mut out)?,
            FileInfoClass::INTERNAL => {
                out.u64(node);
            }
            FileInfoClass::EA => {
                out.u32(ea_size(&found.eas));
            }
            FileInfoClass::ACCESS => {
                out.u32(open.access.bits());
            }
            FileInfoClass::NAME => {
                out.counted(&format!("\\{}", self.open_path(id)));
            }
            FileInfoClass::NORMALIZED_NAME => {
                out.counted(&self.open_path(id));
            }
            FileInfoClass::POSITION => {
                out.u64(open.position);
            }
            FileInfoClass::MODE => {
                out.u32(open.options.bits() & 0x103e);
            }
            FileInfoClass::ALIGNMENT => {
                out.u32(0);
            }
            FileInfoClass::ALL => self.all(id, &mut out)?,
            FileInfoClass::ALTERNATE_NAME => {
                let named = found.link(open.link).or(found.links.first());
                out.counted(&super::name::short(named.map_or("", |link| &link.name)));
            }
            // As Samba: a stream has no streams.
            FileInfoClass::STREAM if stream != node => return Err(NtStatus::INVALID_PARAMETER),
            FileInfoClass::STREAM => self.streams(id, &mut out)?,
            FileInfoClass::COMPRESSION => {
                out.u64(self.fs.data(node, stream).map_or(0, Data::size))
                    .zeros(8);
            }
            FileInfoClass::NETWORK_OPEN => {
                let times = found.times;
                out.u64(times.created).u64(times.accessed);
                out.u64(times.written).u64(times.changed);
                out.u64(self.allocation_of(id));
                out.u64(self.fs.data(node, stream).map_or(0, Data::size));
                out.u32(found.reported_attributes().bits()).u32(0);
            }
            FileInfoClass::ATTRIBUTE_TAG => {
                out.u32(found.reported_attributes().bits())
                    .u32(found.reparse_tag());
            }
            FileInfoClass::ID => {
                out.u64(super::create_reply::VOLUME_ID).u64(node).u64(0);
            }
            FileInfoClass::POSIX => return self.posix_info(id),
            FileInfoClass::FULL_EA => {
                if !open.may(AccessMask::READ_EA) {
                    return Err(NtStatus::ACCESS_DENIED);
                }
                if found.eas.is_empty() {
                    return Err(NO_EAS_ON_FILE);
                }
                write_eas(&found.eas, &mut out);
            }
            _ => return Err(NtStatus::INVALID_INFO_CLASS),
        }
        Ok(out.0)
    }

    fn allocation_of(&self, id: OpenId) -> u64 {
        let Some(open) = self.opens.get(&id).filter(|open| !open.is_dir) else {
            return 0;
        };
        self.fs.allocation(open.node, open.stream)
    }

    fn basic(&self, id: OpenId, out: &mut Out) -> Result<(), NtStatus> {
        let found = self.fs.node(self.open(id)?.node)?;
        let times = found.times;
        out.u64(times.created).u64(times.accessed);
        out.u64(times.written).u64(times.changed);
        out.u32(found.reported_attributes().bits()).u32(0);
        Ok(())
    }

    fn standard(&self, id: OpenId, out: &mut Out) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let pending = self.is_pending(open);
        let found = self.fs.node(open.node)?;
        // [MS-FSCC] 2.4.47: a name that is to be deleted counts no more.
        let file = self.files.get(&open.node);
        let goes = |link: u64| file.is_some_and(|file| file.pending.contains(&link));
        let links = found.links.iter().filter(|link| !goes(link.id)).count();
        let links = if pending && open.stream != open.node {
            0
        } else {
            u32::try_from(links).unwrap_or(u32::MAX)
        };
        out.u64(self.allocation_of(id));
        out.u64(self.fs.data(open.node, open.stream).map_or(0, Data::size));
        out.u32(links)
            .u8(u8::from(pending))
            .u8(u8::from(open.is_dir))
            .u16(0);
        Ok(())
    }

    fn all(&self, id: OpenId, out: &mut Out) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let found = self.fs.node(open.node)?;
        self.basic(id, out)?;
        self.standard(id, out)?;
        out.u64(open.node)
            .u32(ea_size(&found.eas))
            .u32(open.access.bits());
        out.u64(open.position)
            .u32(open.options.bits() & 0x103e)
            .u32(0);
        out.counted(&format!("\\{}", self.open_path(id)));
        Ok(())
    }

    /// FILE_STREAM_INFORMATION. [MS-FSCC] 2.4.49.
    fn streams(&self, id: OpenId, out: &mut Out) -> Result<(), NtStatus> {
        let node = self.open(id)?.node;
        let found = self.fs.node(node)?;
        let mut list = Vec::new();
        if !found.is_dir() {
            list.push((node, String::new()));
        }
        list.extend(
            found
                .named
                .iter()
                .map(|named| (named.id, named.name.clone())),
        );
        let last = list.len().saturating_sub(1);
        for (index, (stream, name)) in list.iter().enumerate() {
            let start = out.len();
            let wide = super::info::utf16(&format!(":{name}:$DATA"));
            out.u32(0).u32(len32(wide.len()));
            out.u64(self.fs.data(node, *stream).map_or(0, Data::size));
            out.u64(self.fs.allocation(node, *stream)).bytes(&wide);
            if index != last {
                out.align(8);
                let next = len32(out.len().saturating_sub(start));
                out.set_u32(start, next);
            }
        }
        Ok(())
    }
}

/// EaSize: bytes of the list. [MS-FSCC] 2.4.13.
pub(super) fn ea_size(eas: &[(Vec<u8>, Vec<u8>)]) -> u32 {
    let mut len = 0_usize;
    for (name, value) in eas {
        // Each at a multiple of four: head, name with its zero, value.
        let entry = name.len().saturating_add(value.len()).saturating_add(9);
        len = len.next_multiple_of(4).saturating_add(entry);
    }
    len32(len)
}

/// FILE_FULL_EA_INFORMATION records. [MS-FSCC] 2.4.15.
fn write_eas(eas: &[(Vec<u8>, Vec<u8>)], out: &mut Out) {
    let last = eas.len().saturating_sub(1);
    for (index, (name, value)) in eas.iter().enumerate() {
        let start = out.len();
        out.u32(0).u8(0);
        out.u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.bytes(name).u8(0).bytes(value);
        if index != last {
            out.align(4);
            let next = len32(out.len().saturating_sub(start));
            out.set_u32(start, next);
        }
    }
}

/// Extended attributes: names and values.
pub(super) type Eas = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads FILE_FULL_EA_INFORMATION records.
pub(super) fn parse_eas(list: &[u8]) -> Result<Eas, NtStatus> {
    let bad = NtStatus::EA_LIST_INCONSISTENT;
    let mut out = Vec::new();
    let (mut rest, mut size) = (list, 0_usize);
    while !rest.is_empty() {
        let next = u32_at(rest, 0).ok_or(bad)?;
        let name_len = u32::from(*rest.get(5).ok_or(bad)?);
        let value_len = u32::from(u16_at(rest, 6).ok_or(bad)?);
        let name = slice_at(rest, 8, name_len).ok_or(bad)?;
        let value_at = super::data::len_of(name_len).saturating_add(9);
        let value = slice_at(rest, value_at, value_len).ok_or(bad)?;
        out.push((name.to_vec(), value.to_vec()));
        size = size.saturating_add(name.len()).saturating_add(value.len());
        // Entries may overlap: a short list can stand for very many bytes.
        if size > MAX_EA_BYTES || out.len() > MAX_EAS {
            return Err(NtStatus::EA_TOO_LARGE);
        }
        if next == 0 {
            break;
        }
        rest = rest.get(super::data::len_of(next)..).ok_or(bad)?;
    }
    Ok(out)
}

/// Whether a file may have these.
pub(super) fn check_eas(eas: &Eas) -> Result<(), NtStatus> {
    let len = super::data::len_of(ea_size(eas));
    if eas.len() > MAX_EAS || len > MAX_EA_BYTES {
        return Err(NtStatus::EA_TOO_LARGE);
    }
    Ok(())
}

/// Extended attributes of one file.
const MAX_EAS: usize = 1_024;
/// Bytes of them.
const MAX_EA_BYTES: usize = 65_536;
/// NO_EAS_ON_FILE.
const NO_EAS_ON_FILE: NtStatus = NtStatus(0xc000_0052);
