//! Buffers of SET_INFO, QUERY_INFO and IOCTL requests: typed ones field by field, the rest as bytes.

use smbench_core::{
    fscc::{BasicInfo, EaEntry, RenameInfo, SetInfoPayload},
    smb2::{FileInfoClass, FsInfoClass, Fsctl, InfoClass, InfoType, IoctlInput, Name},
};

use super::{Scrub, tally::Kind, words::fold};

impl Scrub {
    /// Bytes that nobody reads: as many others. Zeros stay.
    pub(super) fn buffer(&mut self, domain: &str, bytes: &[u8]) -> Vec<u8> {
        if bytes.iter().all(|byte| *byte == 0) {
            return bytes.to_owned();
        }
        self.tally.replaced(Kind::Buffers, bytes.len());
        self.key.bytes(domain, bytes)
    }

    /// The buffer of a SET_INFO. [MS-SMB2] 2.2.39.
    pub(super) fn set_info(&mut self, kind: InfoType, class: InfoClass, bytes: &[u8]) -> Vec<u8> {
        let payload = match SetInfoPayload::parse(kind, class, bytes) {
            SetInfoPayload::FileRename(it) => SetInfoPayload::FileRename(self.rename(it, 0)),
            SetInfoPayload::FileRenameEx(it) => SetInfoPayload::FileRenameEx(self.rename(it, 3)),
            SetInfoPayload::FileLink(it) => SetInfoPayload::FileLink(self.rename(it, 0)),
            SetInfoPayload::FileLinkEx(it) => SetInfoPayload::FileLinkEx(self.rename(it, 3)),
            SetInfoPayload::FileDisposition {
                delete_pending,
                tail,
            } => SetInfoPayload::FileDisposition {
                delete_pending,
                tail: vec![0; tail.len()],
            },
            SetInfoPayload::FileBasic(it) => SetInfoPayload::FileBasic(self.basic(&it)),
            SetInfoPayload::FullEa(list) => SetInfoPayload::FullEa(self.attributes(list)),
            plain @ (SetInfoPayload::FileDispositionEx { flags: _ }
            | SetInfoPayload::FileEndOfFile { end_of_file: _ }
            | SetInfoPayload::FileAllocation { allocation_size: _ }
            | SetInfoPayload::FilePosition(_)
            | SetInfoPayload::FileMode(_)) => plain,
            SetInfoPayload::Raw(bytes) => return self.raw_set_info(kind, class, &bytes),
        };
        payload.encode()
    }

    fn raw_set_info(&mut self, kind: InfoType, class: InfoClass, bytes: &[u8]) -> Vec<u8> {
        let file = FileInfoClass(class.0);
        let volume = FsInfoClass(class.0);
        match kind {
            InfoType::SECURITY => self.security_descriptor(bytes),
            InfoType::FILE if NUMBERS.contains(&file) && bytes.len() <= 8 => bytes.to_owned(),
            InfoType::FILE if file == FileInfoClass::FULL_EA => self.attribute_list(bytes),
            InfoType::FILE if file == FileInfoClass::SHORT_NAME => {
                self.counted_name(bytes, |it, name| it.component(name))
            }
            InfoType::FILESYSTEM if volume == FsInfoClass::LABEL => {
                self.counted_name(bytes, |it, name| it.component(name))
            }
            _ => {
                if !bytes.is_empty() {
                    self.tally
                        .lossy("SET_INFO of an unknown form: replaced as bytes");
                }
                self.buffer("set info", bytes)
            }
        }
    }

    /// A name behind its length in 32 bits.
    fn counted_name(
        &mut self,
        bytes: &[u8],
        scrub: impl FnOnce(&mut Self, &str) -> String,
    ) -> Vec<u8> {
        let parts = bytes.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            Some((rest.get(..len)?, rest.get(len..)?))
        });
        let Some((name, tail)) = parts else {
            return self.buffer("counted name", bytes);
        };
        let wire = self.name(&Name::from_wire(name), scrub).to_wire();
        let len = u32::try_from(wire.len()).unwrap_or(u32::MAX);
        let mut out = len.to_le_bytes().to_vec();
        out.extend(wire);
        out.resize(out.len().saturating_add(tail.len()), 0);
        out
    }

    /// `flags`: how many of the reserved bytes mean something.
    fn rename(&mut self, info: RenameInfo, flags: usize) -> RenameInfo {
        let RenameInfo {
            replace,
            mut reserved,
            root_directory,
            name,
            tail,
        } = info;
        for byte in reserved.iter_mut().skip(flags) {
            *byte = 0;
        }
        RenameInfo {
            replace,
            reserved,
            root_directory: self.wire_id(root_directory),
            name: self.name(&name, Self::path),
            tail: vec![0; tail.len()],
        }
    }

    fn basic(&mut self, info: &BasicInfo) -> BasicInfo {
        let BasicInfo {
            creation_time,
            last_access_time,
            last_write_time,
            change_time,
            attributes,
            reserved: _,
        } = *info;
        BasicInfo {
            creation_time: self.time(creation_time),
            last_access_time: self.time(last_access_time),
            last_write_time: self.time(last_write_time),
            change_time: self.time(change_time),
            attributes,
            reserved: 0,
        }
    }

    fn attributes(&mut self, list: Vec<EaEntry>) -> Vec<EaEntry> {
        list.into_iter()
            .map(|EaEntry { flags, name, value }| EaEntry {
                flags,
                name: self.attribute_name(&name),
                value: self.buffer("ea value", &value),
            })
            .collect()
    }

    /// A list of extended attributes, as `ExtA` has it.
    pub(super) fn attribute_list(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Ok(list) = EaEntry::decode_list(bytes) else {
            self.tally
                .lossy("extended attributes that do not parse: replaced as bytes");
            return self.buffer("ea list", bytes);
        };
        let mut out = Vec::new();
        EaEntry::encode_list(&self.attributes(list), &mut out);
        // Clients pad the last entry too.
        out.resize(out.len().max(bytes.len()), 0);
        out
    }

    /// Parts between dots; what says whose attribute it is stays.
    fn attribute_name(&mut self, name: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(name) else {
            let noise = self.key.bytes("ea name", name);
            return noise.iter().map(|byte| b'A' + byte % 26).collect();
        };
        let mut made = String::new();
        for piece in text.split_inclusive('.') {
            let bare = piece.trim_end_matches('.');
            if matches!(
                fold(bare).as_str(),
                "user" | "system" | "security" | "trusted"
            ) {
                made.push_str(bare);
            } else {
                made.push_str(&self.word(Kind::Attributes, bare));
            }
            made.push_str(piece.get(bare.len()..).unwrap_or_default());
        }
        made.into_bytes()
    }

    /// The input of a QUERY_INFO. [MS-SMB2] 2.2.37.1.
    pub(super) fn query_input(
        &mut self,
        kind: InfoType,
        class: InfoClass,
        bytes: &[u8],
    ) -> Vec<u8> {
        let attributes = kind == InfoType::FILE && class.0 == FileInfoClass::FULL_EA.0;
        match self.wanted_attributes(bytes).filter(|_| attributes) {
            Some(made) => made,
            None => {
                if kind == InfoType::QUOTA {
                    self.tally.lossy("quota queries: replaced as bytes");
                }
                self.buffer("query input", bytes)
            }
        }
    }

    /// FileGetEaInformation: names, each behind link and length. [MS-FSCC] 2.4.16.1.
    fn wanted_attributes(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = bytes;
        loop {
            let (next, behind) = rest.split_first_chunk::<4>()?;
            let next = usize::try_from(u32::from_le_bytes(*next)).ok()?;
            let (len, name) = behind.split_first()?;
            let name = self.attribute_name(name.get(..usize::from(*len))?);
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&name);
            out.push(0);
            if next == 0 {
                return Some(out);
            }
            out.resize(out.len().next_multiple_of(4), 0);
            let link = u32::try_from(out.len().saturating_sub(start)).ok()?;
            out.get_mut(start..start.saturating_add(4))?
                .copy_from_slice(&link.to_le_bytes());
            rest = rest.get(next..).filter(|_| next > 5)?;
        }
    }

    /// The input of an IOCTL. [MS-SMB2] 2.2.31.
    pub(super) fn ioctl(&mut self, function: Fsctl, bytes: &[u8]) -> Vec<u8> {
        let input = match IoctlInput::parse(function, bytes) {
            IoctlInput::CopyChunk { source_key, chunks } => {
                let mut key = source_key;
                let made = self.buffer("resume key", &source_key);
                for (to, from) in key.iter_mut().zip(made) {
                    *to = from;
                }
                IoctlInput::CopyChunk {
                    source_key: key,
                    chunks,
                }
            }
            IoctlInput::ValidateNegotiate {
                capabilities,
                client_guid,
                security_mode,
                dialects,
            } => IoctlInput::ValidateNegotiate {
                capabilities,
                client_guid: self.guid(client_guid),
                security_mode,
                dialects,
            },
            IoctlInput::DfsReferral {
                max_referral_level,
                path,
            } => IoctlInput::DfsReferral {
                max_referral_level,
                path: self.name(&path, Self::unc),
            },
            plain @ (IoctlInput::Resiliency { timeout: _ }
            | IoctlInput::SetZeroData {
                offset: _,
                beyond: _,
            }
            | IoctlInput::QueryAllocatedRanges(_)) => plain,
            IoctlInput::Raw(bytes) => return self.raw_ioctl(function, &bytes),
        };
        input.encode()
    }

    fn raw_ioctl(&mut self, function: Fsctl, bytes: &[u8]) -> Vec<u8> {
        match function {
            _ if bytes.is_empty() => Vec::new(),
            Fsctl::PIPE_TRANSCEIVE => self.rpc(bytes),
            Fsctl::PIPE_WAIT => self.pipe_wait(bytes),
            Fsctl::SET_REPARSE_POINT | Fsctl::DELETE_REPARSE_POINT => self.reparse(bytes),
            // Numbers alone. [MS-FSCC] 2.3.
            Fsctl::SET_SPARSE
            | Fsctl::SET_COMPRESSION
            | Fsctl::SET_INTEGRITY_INFORMATION
            | Fsctl::OFFLOAD_READ
            | Fsctl::QUERY_FILE_REGIONS
                if bytes.len() <= 32 =>
            {
                bytes.to_owned()
            }
            // Source handle, then offsets. [MS-FSCC] 2.3.7.
            Fsctl::DUPLICATE_EXTENTS_TO_FILE if bytes.len() == 40 => {
                self.tally
                    .lossy("block clones: the source is not found again");
                let (handle, numbers) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
                [self.buffer("file id", handle), numbers.to_vec()].concat()
            }
            // Key, count, ranges. [MS-FSCC] 2.3.73.
            Fsctl::FILE_LEVEL_TRIM if bytes.len() % 16 == 8 && bytes.len() <= 4096 => {
                bytes.to_owned()
            }
            _ => {
                self.tally
                    .lossy("IOCTL input of an unknown form: replaced as bytes");
                self.buffer("ioctl", bytes)
            }
        }
    }

    /// FSCTL_PIPE_WAIT: timeout, length, flag, padding, name. [MS-FSCC] 2.3.49.
    fn pipe_wait(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some((head, name)) = bytes.split_at_checked(14) else {
            return self.buffer("pipe wait", bytes);
        };
        let name = self.name(&Name::from_wire(name), Self::pipe);
        [head, &name.to_wire()].concat()
    }

    /// A reparse point: tag, length, reserved, data. [MS-FSCC] 2.1.2.
    fn reparse(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some((head, data)) = bytes.split_at_checked(8) else {
            return self.buffer("reparse", bytes);
        };
        let tag = head.first_chunk().map_or(0, |tag| u32::from_le_bytes(*tag));
        let made = match tag {
            SYMLINK => self.link_target(data, 12),
            MOUNT_POINT => self.link_target(data, 8),
            NFS => data.split_at_checked(8).map(|(kind, target)| {
                let target = self.name(&Name::from_wire(target), Self::path);
                [kind, &target.to_wire()].concat()
            }),
            _ => None,
        };
        let data = match made {
            Some(made) => made,
            None => self.buffer("reparse", data),
        };
        [head, &data].concat()
    }

    /// Four offsets and lengths, flags where `fixed` says so, then both names. The names keep their
    /// lengths, so the offsets stay.
    fn link_target(&mut self, data: &[u8], fixed: usize) -> Option<Vec<u8>> {
        let field = |at: usize| {
            let field = data.get(at..)?.first_chunk()?;
            Some(usize::from(u16::from_le_bytes(*field)))
        };
        let (head, room) = data.split_at_checked(fixed)?;
        let mut out = vec![0; room.len()];
        for at in [0, 4] {
            let start = field(at)?;
            let end = start.checked_add(field(at.checked_add(2)?)?)?;
            let name = Name::from_wire(room.get(start..end)?);
            let wire = self.name(&name, Self::any_path).to_wire();
            out.get_mut(start..end)
                .filter(|room| room.len() == wire.len())?
                .copy_from_slice(&wire);
        }
        Some([head, &out].concat())
    }

    /// `\??\C:\folder`, `\??\UNC\server\share`, or a path.
    pub(super) fn any_path(&mut self, path: &str) -> String {
        for lead in ["\\??\\UNC\\", "\\\\"] {
            if let Some(rest) = path.strip_prefix(lead) {
                let made: String = rest
                    .split('\\')
                    .map(|piece| self.word(Kind::Names, piece))
                    .collect::<Vec<_>>()
                    .join("\\");
                return lead.to_owned() + &made;
            }
        }
        let (lead, rest) = match path.strip_prefix("\\??\\") {
            Some(rest) => ("\\??\\", rest),
            None => ("", path),
        };
        let drive = rest
            .get(..2)
            .filter(|it| it.ends_with(':'))
            .unwrap_or_default();
        let rest = rest.get(drive.len()..).unwrap_or_default();
        format!("{lead}{drive}{}", self.path(rest))
    }
}

/// Classes whose buffer is a number.
const NUMBERS: [FileInfoClass; 8] = [
    FileInfoClass::VALID_DATA_LENGTH,
    FileInfoClass::PIPE,
    FileInfoClass::END_OF_FILE,
    FileInfoClass::ALLOCATION,
    FileInfoClass::DISPOSITION,
    FileInfoClass::DISPOSITION_EX,
    FileInfoClass::POSITION,
    FileInfoClass::MODE,
];
// Reparse tags, [MS-FSCC] 2.1.2.1.
const MOUNT_POINT: u32 = 0xa000_0003;
const SYMLINK: u32 = 0xa000_000c;
const NFS: u32 = 0x8000_0014;

#[cfg(test)]
mod tests {
    use super::super::testing::scrub;
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn renames_lead_to_the_pseudonym_of_the_path() {
        let mut it = scrub();
        let info = RenameInfo {
            replace: 1,
            reserved: [9; 7],
            name: "team\\final.docx".into(),
            tail: vec![7; 3],
            ..RenameInfo::default()
        };
        let bytes = SetInfoPayload::FileRename(info).encode();
        let set =
            |it: &mut Scrub| it.set_info(InfoType::FILE, FileInfoClass::RENAME.into(), &bytes);
        set(&mut it);
        it.seal();
        let made = set(&mut it);
        let expected = it.path("team\\final.docx");
        match SetInfoPayload::parse(InfoType::FILE, FileInfoClass::RENAME.into(), &made) {
            SetInfoPayload::FileRename(info) => {
                assert_eq!(info.name, Name::from(expected));
                assert_eq!(
                    (info.replace, info.reserved, info.tail),
                    (1, [0; 7], vec![0; 3])
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_buffer_keeps_its_text() {
        let mut it = scrub();
        let text = utf16("\\??\\C:\\team\\secret");
        let len = u16::try_from(text.len()).unwrap();
        let mut link = SYMLINK.to_le_bytes().to_vec();
        link.extend((12 + len).to_le_bytes());
        link.extend([0, 0]);
        for number in [0, len, 0, len, 0, 0] {
            link.extend(number.to_le_bytes());
        }
        link.extend(&text);
        let ea = EaEntry {
            flags: 0,
            name: b"user.secret".to_vec(),
            value: b"a secret value".to_vec(),
        };
        let mut list = Vec::new();
        EaEntry::encode_list(&[ea], &mut list);
        let mut wanted = vec![0, 0, 0, 0, 11];
        wanted.extend(b"user.secret\0");
        let run = |it: &mut Scrub| {
            [
                it.ioctl(Fsctl::SET_REPARSE_POINT, &link),
                it.ioctl(Fsctl(0x1234), &text),
                it.ioctl(Fsctl::PIPE_WAIT, &text),
                it.attribute_list(&list),
                it.attribute_list(&text),
                it.query_input(InfoType::FILE, FileInfoClass::FULL_EA.into(), &wanted),
                it.query_input(InfoType::QUOTA, InfoClass(0), &text),
                it.set_info(InfoType::FILE, InfoClass(99), &text),
            ]
        };
        run(&mut it);
        it.seal();
        let originals = [&link, &text, &text, &list, &text, &wanted, &text, &text];
        for (made, original) in run(&mut it).iter().zip(originals) {
            assert_eq!(made.len(), original.len());
            for secret in [utf16("secret"), b"secret".to_vec()] {
                assert!(!made.windows(secret.len()).any(|it| it == secret));
            }
        }
    }
}
