//! File information. [MS-FSCC] 2.4.

use super::wire::{Cursor, Field, entries, link, put_name32, records};
use crate::smb2::wire::{len32, to_usize};
use crate::smb2::{AccessMask, FileAttributes, Guid, Name, WireError};

records! {
    /// FileBasicInformation: times and attributes. [MS-FSCC] 2.4.7.
    #[derive(Default)]
    BasicInfo {
        /// FILETIME; in SET_INFO 0 leaves it and -1 freezes it.
        creation_time: u64,
        /// FILETIME.
        last_access_time: u64,
        /// FILETIME.
        last_write_time: u64,
        /// FILETIME.
        change_time: u64,
        /// Attributes; in SET_INFO 0 leaves them.
        attributes: FileAttributes,
        /// Reserved.
        reserved: u32,
    }

    /// FileStandardInformation: sizes. [MS-FSCC] 2.4.47.
    #[derive(Default)]
    StandardInfo {
        /// Bytes on disk.
        allocation_size: u64,
        /// Bytes in the file.
        end_of_file: u64,
        /// Hard links.
        number_of_links: u32,
        /// 1: goes with the last close.
        delete_pending: u8,
        /// 1: a directory.
        directory: u8,
        /// Reserved.
        reserved: u16,
    }

    /// FileInternalInformation: the file's number. [MS-FSCC] 2.4.26.
    #[derive(Default)]
    InternalInfo {
        /// The number.
        index_number: u64,
    }

    /// FileEaInformation: size of the extended attributes. [MS-FSCC] 2.4.12.
    #[derive(Default)]
    EaInfo {
        /// Bytes.
        ea_size: u32,
    }

    /// FileAccessInformation: access granted to the open. [MS-FSCC] 2.4.1.
    #[derive(Default)]
    AccessInfo {
        /// The access.
        access: AccessMask,
    }

    /// FilePositionInformation: where the open stands. [MS-FSCC] 2.4.40.
    #[derive(Default)]
    PositionInfo {
        /// Offset in bytes.
        current_byte_offset: u64,
    }

    /// FileModeInformation: create options that lasted. [MS-FSCC] 2.4.31.
    #[derive(Default)]
    ModeInfo {
        /// The options.
        mode: u32,
    }

    /// FileAlignmentInformation: what the device wants. [MS-FSCC] 2.4.3.
    #[derive(Default)]
    AlignmentInfo {
        /// Alignment less one.
        alignment_requirement: u32,
    }

    /// FileCompressionInformation. [MS-FSCC] 2.4.9.
    #[derive(Default)]
    CompressionInfo {
        /// Bytes once compressed.
        compressed_file_size: u64,
        /// 0 none, 2 LZNT1.
        compression_format: u16,
        /// Logarithm of the unit.
        compression_unit_shift: u8,
        /// Logarithm of the chunk.
        chunk_shift: u8,
        /// Logarithm of the cluster.
        cluster_shift: u8,
        /// Reserved.
        reserved: [u8; 3],
    }

    /// FileNetworkOpenInformation. [MS-FSCC] 2.4.34.
    #[derive(Default)]
    NetworkOpenInfo {
        /// FILETIME.
        creation_time: u64,
        /// FILETIME.
        last_access_time: u64,
        /// FILETIME.
        last_write_time: u64,
        /// FILETIME.
        change_time: u64,
        /// Bytes on disk.
        allocation_size: u64,
        /// Bytes in the file.
        end_of_file: u64,
        /// Attributes.
        attributes: FileAttributes,
        /// Reserved.
        reserved: u32,
    }

    /// FileAttributeTagInformation. [MS-FSCC] 2.4.6.
    #[derive(Default)]
    AttributeTagInfo {
        /// Attributes.
        attributes: FileAttributes,
        /// Reparse tag, or 0.
        reparse_tag: u32,
    }

    /// FileIdInformation. [MS-FSCC] 2.4.26.
    #[derive(Default)]
    IdInfo {
        /// Serial number of the volume.
        volume_serial_number: u64,
        /// 128-bit number of the file.
        file_id: Guid,
    }

    /// FilePipeInformation. [MS-FSCC] 2.4.37.
    #[derive(Default)]
    PipeInfo {
        /// 0 bytes, 1 messages.
        read_mode: u32,
        /// 0 waits, 1 does not.
        completion_mode: u32,
    }

    /// FilePipeLocalInformation. [MS-FSCC] 2.4.38.
    #[derive(Default)]
    PipeLocalInfo {
        /// 0 bytes, 1 messages.
        named_pipe_type: u32,
        /// 0 in, 1 out, 2 both.
        named_pipe_configuration: u32,
        /// Most instances at a time.
        maximum_instances: u32,
        /// Instances now.
        current_instances: u32,
        /// Bytes.
        inbound_quota: u32,
        /// Bytes waiting.
        read_data_available: u32,
        /// Bytes.
        outbound_quota: u32,
        /// Bytes free.
        write_quota_available: u32,
        /// 3 is connected.
        named_pipe_state: u32,
        /// 0 client, 1 server.
        named_pipe_end: u32,
    }
}

/// FileNameInformation, FileAlternateNameInformation and FileNormalizedNameInformation.
/// [MS-FSCC] 2.4.5, 2.4.32, 2.4.36.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NameInfo {
    /// The name.
    pub name: Name,
}

impl NameInfo {
    /// Reads the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when `bytes` ends early.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self {
            name: Cursor::new(bytes, "NameInfo").name32()?,
        })
    }

    /// Appends the wire bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_name32(&self.name, out);
    }
}

/// FileAllInformation. [MS-FSCC] 2.4.2.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AllInfo {
    /// Times and attributes.
    pub basic: BasicInfo,
    /// Sizes.
    pub standard: StandardInfo,
    /// The file's number.
    pub internal: InternalInfo,
    /// Size of the extended attributes.
    pub ea: EaInfo,
    /// Access granted.
    pub access: AccessInfo,
    /// Where the open stands.
    pub position: PositionInfo,
    /// Create options that lasted.
    pub mode: ModeInfo,
    /// What the device wants.
    pub alignment: AlignmentInfo,
    /// Path from the share's root.
    pub name: Name,
}

impl AllInfo {
    /// Length of everything before the name.
    pub const FIXED_LEN: usize = 100;

    /// Reads the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when `bytes` ends early.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes, "AllInfo");
        Ok(Self {
            basic: cursor.get()?,
            standard: cursor.get()?,
            internal: cursor.get()?,
            ea: cursor.get()?,
            access: cursor.get()?,
            position: cursor.get()?,
            mode: cursor.get()?,
            alignment: cursor.get()?,
            name: cursor.name32()?,
        })
    }

    /// Appends the wire bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.basic.write(out);
        self.standard.write(out);
        self.internal.write(out);
        self.ea.write(out);
        self.access.write(out);
        self.position.write(out);
        self.mode.write(out);
        self.alignment.write(out);
        put_name32(&self.name, out);
    }
}

/// One stream of FileStreamInformation. [MS-FSCC] 2.4.49.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamInfo {
    /// Bytes in the stream.
    pub size: u64,
    /// Bytes on disk.
    pub allocation_size: u64,
    /// `:name:$DATA`.
    pub name: Name,
}

impl StreamInfo {
    /// Reads the list of streams that is `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when an entry leads out of `bytes` or nowhere.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        let read = |entry| {
            let mut cursor = Cursor::new(entry, "StreamInfo");
            let _next: u32 = cursor.get()?;
            let len: u32 = cursor.get()?;
            let (size, allocation_size) = (cursor.get()?, cursor.get()?);
            let name = Name::from_wire(cursor.take(to_usize(len))?);
            Ok(Self {
                size,
                allocation_size,
                name,
            })
        };
        entries(bytes, "StreamInfo", 24)
            .map(|entry| entry.and_then(read))
            .collect()
    }

    /// Appends a list of streams to `out`, each at a multiple of 8 from the first.
    pub fn encode_list(streams: &[Self], out: &mut Vec<u8>) {
        let mut last = None;
        for stream in streams {
            last = Some(link(out, last, 8));
            len32(stream.name.wire_len()).write(out);
            stream.size.write(out);
            stream.allocation_size.write(out);
            stream.name.write_to(out);
        }
    }
}
