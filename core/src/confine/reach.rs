//! What requests reach besides the name of a CREATE: classes of SET_INFO, FSCTLs, reparse points.
//!
//! Allow-lists: what is not on them is not known to stay where it is, and is not sent.

use super::{
    Refusal,
    name::{RecordedName, goes_down},
};
use crate::fscc::SymbolicLink;
use crate::smb2::{Fsctl, InfoClass, InfoType, Name};

/// What a class of SET_INFO (type file) does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SetClass {
    /// It acts on the open that it names.
    Own,
    /// It holds the path of a new name. [MS-FSCC] 2.4.28, 2.4.42, 2.4.43.
    NewPath,
    /// It holds a name in the same folder. [MS-FSCC] 2.4.46.
    ShortName,
    /// It acts on a pipe. [MS-FSCC] 2.4.36.
    Pipe,
}

/// What `class` does; `None` for one that is not known to stay inside. [MS-FSCC] 2.4.
pub(super) const fn set_class(class: InfoClass) -> Option<SetClass> {
    Some(match class.0 {
        // Basic, Disposition, Position, FullEa, Mode, Allocation, EndOfFile, ValidDataLength,
        // DispositionEx, CaseSensitive.
        4 | 13 | 14 | 15 | 16 | 19 | 20 | 39 | 64 | 71 => SetClass::Own,
        // Rename, Link, both past access checks, RenameEx, RenameExBypass, LinkEx, LinkExBypass.
        10 | 11 | 56 | 57 | 65 | 66 | 72 | 73 => SetClass::NewPath,
        40 => SetClass::ShortName,
        23 => SetClass::Pipe,
        _ => return None,
    })
}

/// The new path in the buffer of a [`SetClass::NewPath`], where it stands alone: relative to the
/// share and not to a folder by handle. [MS-FSCC] 2.4.42.2.
pub(super) fn new_path(buffer: &[u8]) -> Option<Name> {
    let folder: [u8; 8] = buffer.get(8..16)?.try_into().ok()?;
    let name = counted(buffer, NEW_PATH_AT - 4)?;
    (folder == [0; 8]).then(|| Name::from_wire(name))
}

/// `buffer` with another path, and without what followed the old one.
pub(super) fn with_new_path(buffer: &[u8], path: &str) -> Option<Vec<u8>> {
    let path = Name::from(path).to_wire();
    let mut out = buffer.get(..NEW_PATH_AT - 4)?.to_vec();
    out.extend_from_slice(&u32::try_from(path.len()).ok()?.to_le_bytes());
    out.extend_from_slice(&path);
    Some(out)
}

/// Whether a short name is one component. [MS-FSCC] 2.4.46.
pub(super) fn is_short_name(buffer: &[u8]) -> bool {
    let name = counted(buffer, 0).map(Name::from_wire);
    let text = name.as_ref().and_then(Name::as_text);
    text.is_some_and(|text| {
        let apart = ['\\', '/', ':', '\0'];
        !text.is_empty() && !text.contains(apart) && RecordedName::of_text(text, false).is_ok()
    })
}

/// The name whose length stands at `at`.
fn counted(buffer: &[u8], at: usize) -> Option<&[u8]> {
    let len = u32::from_le_bytes(buffer.get(at..at.checked_add(4)?)?.try_into().ok()?);
    let start = at.checked_add(4)?;
    buffer.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// What an FSCTL reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Control {
    /// It asks, and changes nothing.
    Query,
    /// It changes the file or folder that is open.
    Own,
    /// It copies from the file that a resume key names. [MS-SMB2] 2.2.31.1.
    Copy,
    /// It makes a link. [MS-FSCC] 2.1.2.
    SetReparsePoint,
    /// It speaks to a pipe that is open.
    Pipe,
    /// It names a pipe to wait for. [MS-FSCC] 2.3.49.
    PipeWait,
}

/// What `function` reaches; `None` for one that is not known to stay inside. [MS-FSCC] 2.3,
/// [MS-SMB2] 2.2.31.
pub(super) const fn control(function: Fsctl) -> Option<Control> {
    Some(match function.0 {
        // DFS referrals; network interfaces, negotiation, snapshots, hashes, resume keys.
        0x0006_0194 | 0x0006_01b0 => Control::Query,
        0x0014_01fc | 0x0014_0204 | 0x0014_4064 | 0x0014_41bb | 0x0014_0078 => Control::Query,
        // Reparse point, compression, volume data, object id, integrity, ranges, regions.
        0x0009_00a8 | 0x0009_003c | 0x0009_0064 | 0x0009_009c | 0x0009_027c | 0x0009_40cf
        | 0x0009_0284 => Control::Query,
        // BIOS parameters, volume on disk, sparing, path syntax, statistics, USN, files by SID,
        // extents.
        0x0009_0058 | 0x0009_013c | 0x0009_0138 | 0x0009_002c | 0x0009_0060 | 0x0009_00eb
        | 0x0009_008f | 0x0009_0073 => Control::Query,
        // Compression, sparse, zeros, object ids, integrity, trim, USN close record, recall.
        0x0009_c040 | 0x0009_00c4 | 0x0009_80c8 | 0x0009_0194 | 0x0009_00c0 | 0x0009_0098
        | 0x0009_00bc | 0x0009_00a0 | 0x0009_c280 | 0x0009_8208 | 0x0009_00ef | 0x0009_0117 => {
            Control::Own
        }
        // The end of a link, resilience of the open.
        0x0009_00ac | 0x0014_01d4 => Control::Own,
        0x0014_40f2 | 0x0014_80f2 => Control::Copy,
        0x0009_00a4 => Control::SetReparsePoint,
        // Transceive, peek.
        0x0011_c017 | 0x0011_400c => Control::Pipe,
        0x0011_0018 => Control::PipeWait,
        _ => return None,
    })
}

/// Whether a reparse point is a relative symbolic link that stays below its own folder. Its folder may
/// be moved, so it may not go up at all. [MS-FSCC] 2.1.2.4.
#[must_use]
pub fn is_inner_link(buffer: &[u8]) -> bool {
    let Ok(Some(link)) = SymbolicLink::decode(buffer) else {
        return false;
    };
    let goes_down = |path: &Name| {
        let rooted = |text: &str| text.contains([':', '\0']);
        let path = path.as_text().filter(|text| !rooted(text));
        path.is_some_and(|text| text.split(['\\', '/']).all(goes_down))
    };
    link.relative && goes_down(&link.substitute) && goes_down(&link.print)
}

/// Whether SET_INFO of this type reaches more than a file, and whether that is refused.
pub(super) fn set_type(kind: InfoType, volume_changes: bool) -> Option<Refusal> {
    match kind {
        InfoType::FILE | InfoType::SECURITY => None,
        InfoType::FILESYSTEM | InfoType::QUOTA if volume_changes => None,
        InfoType::FILESYSTEM | InfoType::QUOTA => Some(Refusal::Volume),
        _ => Some(Refusal::Class),
    }
}

const NEW_PATH_AT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fscc::reparse::SYMLINK_TAG;

    fn link(tag: u32, flags: u32, target: &str) -> Vec<u8> {
        let path = Name::from(target).to_wire();
        let len = u16::try_from(path.len()).expect("short").to_le_bytes();
        let mut buffer = tag.to_le_bytes().to_vec();
        buffer.extend_from_slice(&[0; 4]);
        for field in [[0, 0], len, [0, 0], len] {
            buffer.extend_from_slice(&field);
        }
        buffer.extend_from_slice(&flags.to_le_bytes());
        buffer.extend_from_slice(&path);
        buffer
    }

    #[test]
    fn only_relative_links_that_go_down_are_inner() {
        for (target, inner) in [
            ("a", true),
            ("a\\b c", true),
            ("..\\a", false),
            ("a\\..\\b", false),
            ("a/../b", false),
            ("\\a", false),
            ("/etc", false),
            ("C:\\a", false),
            ("\\??\\C:\\a", false),
            ("...", false),
        ] {
            let buffer = link(SYMLINK_TAG, 1, target);
            assert_eq!(is_inner_link(&buffer), inner, "{target}");
            for len in 0..buffer.len() {
                assert!(!is_inner_link(&buffer[..len]), "{target}");
            }
        }
        assert!(!is_inner_link(&link(SYMLINK_TAG, 0, "a")), "absolute");
        assert!(!is_inner_link(&link(0xa000_0003, 1, "a")), "a junction");
    }

    #[test]
    fn a_new_path_is_replaced_and_read_again() {
        let mut buffer = vec![1; 8];
        buffer.extend_from_slice(&[0; 8]);
        buffer.extend_from_slice(&[4, 0, 0, 0, b'a', 0, b'b', 0, 9, 9]);
        assert_eq!(new_path(&buffer), Some(Name::from("ab")));
        let moved = with_new_path(&buffer, "r\\ab").expect("long enough");
        assert_eq!(new_path(&moved), Some(Name::from("r\\ab")));
        buffer[8] = 1;
        assert_eq!(new_path(&buffer), None, "relative to a handle");
        for len in 0..buffer.len() {
            new_path(&buffer[..len]);
        }
    }
}
