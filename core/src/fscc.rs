//! What QUERY_DIRECTORY, QUERY_INFO, SET_INFO and CHANGE_NOTIFY carry. [MS-FSCC] 2.4, 2.5, 2.7.
//!
//! Structures are read and written, both ways; they know nothing of files. Offsets in errors
//! count from the start of the buffer given.

pub mod directory;
pub mod file_info;
pub mod fs_info;
pub mod notify;
pub mod posix;
pub mod reparse;
pub mod set_info;
mod upcase;
pub(crate) mod wire;

pub use directory::{DirectoryEntry, DirectoryWriter, ShortName};
pub use file_info::{
    AccessInfo, AlignmentInfo, AllInfo, AttributeTagInfo, BasicInfo, CompressionInfo, EaInfo,
    IdInfo, InternalInfo, ModeInfo, NameInfo, NetworkOpenInfo, PipeInfo, PipeLocalInfo,
    PositionInfo, StandardInfo, StreamInfo,
};
pub use fs_info::{
    FsAttributeInfo, FsDeviceInfo, FsFullSizeInfo, FsObjectIdInfo, FsSectorSizeInfo, FsSizeInfo,
    FsVolumeInfo,
};
pub use notify::{NotifyAction, NotifyRecord};
pub use posix::{FsPosixInfo, PosixPart};
pub use reparse::{ReparseHead, SymbolicLink, SymlinkError};
pub use set_info::{EaEntry, RenameInfo, SetInfoPayload};
pub use upcase::upcase;
