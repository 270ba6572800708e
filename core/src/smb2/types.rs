//! Numbers of the message bodies, as types that keep values nobody has named yet.

use super::ser::{flags, numbers};

numbers! {
    /// Protocol dialect. [MS-SMB2] 2.2.3.
    Dialect(u16) {
        SMB_2_0_2 = 0x0202 => "2.0.2",
        SMB_2_1 = 0x0210 => "2.1",
        SMB_3_0 = 0x0300 => "3.0",
        SMB_3_0_2 = 0x0302 => "3.0.2",
        SMB_3_1_1 = 0x0311 => "3.1.1",
        WILDCARD = 0x02ff => "2.???",
    }

    /// Oplock level, asked or granted. [MS-SMB2] 2.2.13.
    OplockLevel(u8) {
        NONE = 0x00 => "none",
        LEVEL_II = 0x01 => "ii",
        EXCLUSIVE = 0x08 => "exclusive",
        BATCH = 0x09 => "batch",
        LEASE = 0xff => "lease",
    }

    /// How far the server may act for the client. [MS-SMB2] 2.2.13.
    ImpersonationLevel(u32) {
        ANONYMOUS = 0 => "anonymous",
        IDENTIFICATION = 1 => "identification",
        IMPERSONATION = 2 => "impersonation",
        DELEGATE = 3 => "delegate",
    }

    /// What a CREATE does when the name exists, or does not. [MS-SMB2] 2.2.13.
    CreateDisposition(u32) {
        SUPERSEDE = 0 => "supersede",
        OPEN = 1 => "open",
        CREATE = 2 => "create",
        OPEN_IF = 3 => "open_if",
        OVERWRITE = 4 => "overwrite",
        OVERWRITE_IF = 5 => "overwrite_if",
    }

    /// What a CREATE did. [MS-SMB2] 2.2.14.
    CreateAction(u32) {
        SUPERSEDED = 0 => "superseded",
        OPENED = 1 => "opened",
        CREATED = 2 => "created",
        OVERWRITTEN = 3 => "overwritten",
    }

    /// Kind of a share. [MS-SMB2] 2.2.10.
    ShareType(u8) {
        DISK = 1 => "disk",
        PIPE = 2 => "pipe",
        PRINT = 3 => "print",
    }

    /// Kind of information asked or set. [MS-SMB2] 2.2.37.
    InfoType(u8) {
        FILE = 1 => "file",
        FILESYSTEM = 2 => "filesystem",
        SECURITY = 3 => "security",
        QUOTA = 4 => "quota",
    }

    /// Class of file information, in directory queries and with [`InfoType::FILE`]. [MS-FSCC] 2.4.
    FileInfoClass(u8) {
        DIRECTORY = 1 => "FileDirectory",
        FULL_DIRECTORY = 2 => "FileFullDirectory",
        BOTH_DIRECTORY = 3 => "FileBothDirectory",
        BASIC = 4 => "FileBasic",
        STANDARD = 5 => "FileStandard",
        INTERNAL = 6 => "FileInternal",
        EA = 7 => "FileEa",
        ACCESS = 8 => "FileAccess",
        NAME = 9 => "FileName",
        RENAME = 10 => "FileRename",
        LINK = 11 => "FileLink",
        NAMES = 12 => "FileNames",
        DISPOSITION = 13 => "FileDisposition",
        POSITION = 14 => "FilePosition",
        FULL_EA = 15 => "FileFullEa",
        MODE = 16 => "FileMode",
        ALIGNMENT = 17 => "FileAlignment",
        ALL = 18 => "FileAll",
        ALLOCATION = 19 => "FileAllocation",
        END_OF_FILE = 20 => "FileEndOfFile",
        ALTERNATE_NAME = 21 => "FileAlternateName",
        STREAM = 22 => "FileStream",
        PIPE = 23 => "FilePipe",
        PIPE_LOCAL = 24 => "FilePipeLocal",
        PIPE_REMOTE = 25 => "FilePipeRemote",
        COMPRESSION = 28 => "FileCompression",
        QUOTA = 32 => "FileQuota",
        NETWORK_OPEN = 34 => "FileNetworkOpen",
        ATTRIBUTE_TAG = 35 => "FileAttributeTag",
        ID_BOTH_DIRECTORY = 37 => "FileIdBothDirectory",
        ID_FULL_DIRECTORY = 38 => "FileIdFullDirectory",
        VALID_DATA_LENGTH = 39 => "FileValidDataLength",
        SHORT_NAME = 40 => "FileShortName",
        NORMALIZED_NAME = 48 => "FileNormalizedName",
        ID = 59 => "FileId",
        ID_EXTD_DIRECTORY = 60 => "FileIdExtdDirectory",
        ID_EXTD_BOTH_DIRECTORY = 63 => "FileIdExtdBothDirectory",
        DISPOSITION_EX = 64 => "FileDispositionEx",
        RENAME_EX = 65 => "FileRenameEx",
        LINK_EX = 72 => "FileLinkEx",
        ID_64_EXTD_DIRECTORY = 78 => "FileId64ExtdDirectory",
        ID_64_EXTD_BOTH_DIRECTORY = 79 => "FileId64ExtdBothDirectory",
        ID_ALL_EXTD_DIRECTORY = 80 => "FileIdAllExtdDirectory",
        ID_ALL_EXTD_BOTH_DIRECTORY = 81 => "FileIdAllExtdBothDirectory",
        POSIX = 100 => "FilePosix",
    }

    /// Class of file system information, with [`InfoType::FILESYSTEM`]. [MS-FSCC] 2.5.
    FsInfoClass(u8) {
        VOLUME = 1 => "FsVolume",
        LABEL = 2 => "FsLabel",
        SIZE = 3 => "FsSize",
        DEVICE = 4 => "FsDevice",
        ATTRIBUTE = 5 => "FsAttribute",
        CONTROL = 6 => "FsControl",
        FULL_SIZE = 7 => "FsFullSize",
        OBJECT_ID = 8 => "FsObjectId",
        SECTOR_SIZE = 11 => "FsSectorSize",
        POSIX = 100 => "FsPosix",
    }

    /// Function of an IOCTL. [MS-SMB2] 2.2.31.
    Fsctl(u32) {
        DFS_GET_REFERRALS = 0x0006_0194 => "DFS_GET_REFERRALS",
        DFS_GET_REFERRALS_EX = 0x0006_01b0 => "DFS_GET_REFERRALS_EX",
        SET_REPARSE_POINT = 0x0009_00a4 => "SET_REPARSE_POINT",
        GET_REPARSE_POINT = 0x0009_00a8 => "GET_REPARSE_POINT",
        DELETE_REPARSE_POINT = 0x0009_00ac => "DELETE_REPARSE_POINT",
        CREATE_OR_GET_OBJECT_ID = 0x0009_00c0 => "CREATE_OR_GET_OBJECT_ID",
        SET_SPARSE = 0x0009_00c4 => "SET_SPARSE",
        QUERY_ALLOCATED_RANGES = 0x0009_40cf => "QUERY_ALLOCATED_RANGES",
        SET_ZERO_DATA = 0x0009_80c8 => "SET_ZERO_DATA",
        FILE_LEVEL_TRIM = 0x0009_8208 => "FILE_LEVEL_TRIM",
        DUPLICATE_EXTENTS_TO_FILE = 0x0009_8344 => "DUPLICATE_EXTENTS_TO_FILE",
        GET_INTEGRITY_INFORMATION = 0x0009_027c => "GET_INTEGRITY_INFORMATION",
        SET_INTEGRITY_INFORMATION = 0x0009_c280 => "SET_INTEGRITY_INFORMATION",
        GET_COMPRESSION = 0x0009_003c => "GET_COMPRESSION",
        SET_COMPRESSION = 0x0009_c040 => "SET_COMPRESSION",
        GET_NTFS_VOLUME_DATA = 0x0009_0064 => "GET_NTFS_VOLUME_DATA",
        QUERY_FILE_REGIONS = 0x0009_0284 => "QUERY_FILE_REGIONS",
        READ_FILE_USN_DATA = 0x0009_00eb => "READ_FILE_USN_DATA",
        OFFLOAD_READ = 0x0009_4264 => "OFFLOAD_READ",
        OFFLOAD_WRITE = 0x0009_8268 => "OFFLOAD_WRITE",
        PIPE_PEEK = 0x0011_400c => "PIPE_PEEK",
        PIPE_WAIT = 0x0011_0018 => "PIPE_WAIT",
        PIPE_TRANSCEIVE = 0x0011_c017 => "PIPE_TRANSCEIVE",
        SRV_COPYCHUNK = 0x0014_40f2 => "SRV_COPYCHUNK",
        SRV_COPYCHUNK_WRITE = 0x0014_80f2 => "SRV_COPYCHUNK_WRITE",
        SRV_ENUMERATE_SNAPSHOTS = 0x0014_4064 => "SRV_ENUMERATE_SNAPSHOTS",
        SRV_REQUEST_RESUME_KEY = 0x0014_0078 => "SRV_REQUEST_RESUME_KEY",
        SRV_READ_HASH = 0x0014_41bb => "SRV_READ_HASH",
        LMR_REQUEST_RESILIENCY = 0x0014_01d4 => "LMR_REQUEST_RESILIENCY",
        QUERY_NETWORK_INTERFACE_INFO = 0x0014_01fc => "QUERY_NETWORK_INTERFACE_INFO",
        VALIDATE_NEGOTIATE_INFO = 0x0014_0204 => "VALIDATE_NEGOTIATE_INFO",
        SVHDX_SYNC_TUNNEL_REQUEST = 0x0009_0304 => "SVHDX_SYNC_TUNNEL_REQUEST",
        SVHDX_ASYNC_TUNNEL_REQUEST = 0x0009_0364 => "SVHDX_ASYNC_TUNNEL_REQUEST",
    }

    /// How RDMA or compression carries the payload. [MS-SMB2] 2.2.19.
    Channel(u32) {
        NONE = 0 => "none",
        RDMA_V1 = 1 => "rdma_v1",
        RDMA_V1_INVALIDATE = 2 => "rdma_v1_invalidate",
        RDMA_TRANSFORM = 3 => "rdma_transform",
    }
}

/// Class of information: a [`FileInfoClass`] or [`FsInfoClass`], as the [`InfoType`] says.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct InfoClass(pub u8);

impl AccessMask {
    /// The same with generic rights as what they mean for files. [MS-SMB2] 2.2.13.1.1.
    #[must_use]
    pub fn without_generic(mut self) -> Self {
        for (bit, means) in [
            (Self::GENERIC_READ, 0x0012_0089),
            (Self::GENERIC_WRITE, 0x0012_0116),
            (Self::GENERIC_EXECUTE, 0x0012_00a0),
            (Self::GENERIC_ALL, 0x001f_01ff),
        ] {
            if self.contains(bit) {
                self.remove(bit);
                self |= Self::from_bits_retain(means);
            }
        }
        self
    }
}

impl InfoClass {
    /// The class's name under an information type, when it has one.
    #[must_use]
    pub const fn name(self, kind: InfoType) -> Option<&'static str> {
        match kind {
            InfoType::FILE => FileInfoClass(self.0).name(),
            InfoType::FILESYSTEM => FsInfoClass(self.0).name(),
            _ => None,
        }
    }
}

impl From<FileInfoClass> for InfoClass {
    fn from(class: FileInfoClass) -> Self {
        Self(class.0)
    }
}

impl From<FsInfoClass> for InfoClass {
    fn from(class: FsInfoClass) -> Self {
        Self(class.0)
    }
}

flags! {
    /// Access to a file or directory. [MS-SMB2] 2.2.13.1.
    AccessMask(u32) {
        READ_DATA = 0x0000_0001,
        WRITE_DATA = 0x0000_0002,
        APPEND_DATA = 0x0000_0004,
        READ_EA = 0x0000_0008,
        WRITE_EA = 0x0000_0010,
        EXECUTE = 0x0000_0020,
        DELETE_CHILD = 0x0000_0040,
        READ_ATTRIBUTES = 0x0000_0080,
        WRITE_ATTRIBUTES = 0x0000_0100,
        DELETE = 0x0001_0000,
        READ_CONTROL = 0x0002_0000,
        WRITE_DAC = 0x0004_0000,
        WRITE_OWNER = 0x0008_0000,
        SYNCHRONIZE = 0x0010_0000,
        ACCESS_SYSTEM_SECURITY = 0x0100_0000,
        MAXIMUM_ALLOWED = 0x0200_0000,
        GENERIC_ALL = 0x1000_0000,
        GENERIC_EXECUTE = 0x2000_0000,
        GENERIC_WRITE = 0x4000_0000,
        GENERIC_READ = 0x8000_0000,
    }

    /// What others may do while the file is open. [MS-SMB2] 2.2.13.
    ShareAccess(u32) {
        READ = 0x1 'r',
        WRITE = 0x2 'w',
        DELETE = 0x4 'd',
    }

    /// Options of a CREATE. [MS-SMB2] 2.2.13.
    CreateOptions(u32) {
        DIRECTORY_FILE = 0x0000_0001,
        WRITE_THROUGH = 0x0000_0002,
        SEQUENTIAL_ONLY = 0x0000_0004,
        NO_INTERMEDIATE_BUFFERING = 0x0000_0008,
        SYNCHRONOUS_IO_ALERT = 0x0000_0010,
        SYNCHRONOUS_IO_NONALERT = 0x0000_0020,
        NON_DIRECTORY_FILE = 0x0000_0040,
        COMPLETE_IF_OPLOCKED = 0x0000_0100,
        NO_EA_KNOWLEDGE = 0x0000_0200,
        OPEN_REMOTE_INSTANCE = 0x0000_0400,
        RANDOM_ACCESS = 0x0000_0800,
        DELETE_ON_CLOSE = 0x0000_1000,
        OPEN_BY_FILE_ID = 0x0000_2000,
        OPEN_FOR_BACKUP_INTENT = 0x0000_4000,
        NO_COMPRESSION = 0x0000_8000,
        OPEN_REQUIRING_OPLOCK = 0x0001_0000,
        DISALLOW_EXCLUSIVE = 0x0002_0000,
        RESERVE_OPFILTER = 0x0010_0000,
        OPEN_REPARSE_POINT = 0x0020_0000,
        OPEN_NO_RECALL = 0x0040_0000,
        OPEN_FOR_FREE_SPACE_QUERY = 0x0080_0000,
    }

    /// Attributes of a file. [MS-FSCC] 2.6.
    FileAttributes(u32) {
        READONLY = 0x0000_0001,
        HIDDEN = 0x0000_0002,
        SYSTEM = 0x0000_0004,
        DIRECTORY = 0x0000_0010,
        ARCHIVE = 0x0000_0020,
        NORMAL = 0x0000_0080,
        TEMPORARY = 0x0000_0100,
        SPARSE_FILE = 0x0000_0200,
        REPARSE_POINT = 0x0000_0400,
        COMPRESSED = 0x0000_0800,
        OFFLINE = 0x0000_1000,
        NOT_CONTENT_INDEXED = 0x0000_2000,
        ENCRYPTED = 0x0000_4000,
        INTEGRITY_STREAM = 0x0000_8000,
        NO_SCRUB_DATA = 0x0002_0000,
    }

    /// What a lease allows to cache. [MS-SMB2] 2.2.13.2.8.
    LeaseState(u32) {
        READ = 0x1 'R',
        HANDLE = 0x2 'H',
        WRITE = 0x4 'W',
    }

    /// Flags of a lease context. [MS-SMB2] 2.2.13.2.8, 2.2.14.2.10.
    LeaseFlags(u32) {
        BREAK_IN_PROGRESS = 0x2,
        PARENT_LEASE_KEY_SET = 0x4,
    }

    /// Signing. [MS-SMB2] 2.2.3.
    SecurityMode(u16) {
        SIGNING_ENABLED = 0x1,
        SIGNING_REQUIRED = 0x2,
    }

    /// Abilities of client or server. [MS-SMB2] 2.2.3.
    Capabilities(u32) {
        DFS = 0x01,
        LEASING = 0x02,
        LARGE_MTU = 0x04,
        MULTI_CHANNEL = 0x08,
        PERSISTENT_HANDLES = 0x10,
        DIRECTORY_LEASING = 0x20,
        ENCRYPTION = 0x40,
        NOTIFICATIONS = 0x80,
    }

    /// Flags of a SESSION_SETUP request. [MS-SMB2] 2.2.5.
    SessionSetupFlags(u8) {
        BINDING = 0x1,
    }

    /// Flags of a session. [MS-SMB2] 2.2.6.
    SessionFlags(u16) {
        IS_GUEST = 0x1,
        IS_NULL = 0x2,
        ENCRYPT_DATA = 0x4,
    }

    /// Flags of a TREE_CONNECT request. [MS-SMB2] 2.2.9.
    TreeConnectFlags(u16) {
        CLUSTER_RECONNECT = 0x1,
        REDIRECT_TO_OWNER = 0x2,
        EXTENSION_PRESENT = 0x4,
    }

    /// Properties of a share. [MS-SMB2] 2.2.10.
    ShareFlags(u32) {
        VDO_CACHING = 0x0000_0010,
        AUTO_CACHING = 0x0000_0020,
        NO_CACHING = 0x0000_0030,
        DFS = 0x0000_0001,
        DFS_ROOT = 0x0000_0002,
        RESTRICT_EXCLUSIVE_OPENS = 0x0000_0100,
        FORCE_SHARED_DELETE = 0x0000_0200,
        ALLOW_NAMESPACE_CACHING = 0x0000_0400,
        ACCESS_BASED_DIRECTORY_ENUM = 0x0000_0800,
        FORCE_LEVELII_OPLOCK = 0x0000_1000,
        ENABLE_HASH_V1 = 0x0000_2000,
        ENABLE_HASH_V2 = 0x0000_4000,
        ENCRYPT_DATA = 0x0000_8000,
        IDENTITY_REMOTING = 0x0004_0000,
        COMPRESS_DATA = 0x0010_0000,
        ISOLATED_TRANSPORT = 0x0020_0000,
    }

    /// Abilities of a share. [MS-SMB2] 2.2.10.
    ShareCapabilities(u32) {
        DFS = 0x08,
        CONTINUOUS_AVAILABILITY = 0x10,
        SCALEOUT = 0x20,
        CLUSTER = 0x40,
        ASYMMETRIC = 0x80,
        REDIRECT_TO_OWNER = 0x100,
    }

    /// Flags of a CREATE response. [MS-SMB2] 2.2.14.
    CreateFlags(u8) {
        REPARSEPOINT = 0x1,
    }

    /// Flags of a CLOSE. [MS-SMB2] 2.2.15.
    CloseFlags(u16) {
        POSTQUERY_ATTRIB = 0x1,
    }

    /// Flags of a READ request. [MS-SMB2] 2.2.19.
    ReadFlags(u8) {
        READ_UNBUFFERED = 0x1,
        REQUEST_COMPRESSED = 0x2,
    }

    /// Flags of a WRITE request. [MS-SMB2] 2.2.21.
    WriteFlags(u32) {
        WRITE_THROUGH = 0x1,
        WRITE_UNBUFFERED = 0x2,
    }

    /// Flags of one lock element. [MS-SMB2] 2.2.26.1.
    LockFlags(u32) {
        SHARED = 0x1,
        EXCLUSIVE = 0x2,
        UNLOCK = 0x4,
        FAIL_IMMEDIATELY = 0x10,
    }

    /// Flags of an IOCTL request. [MS-SMB2] 2.2.31.
    IoctlFlags(u32) {
        IS_FSCTL = 0x1,
    }

    /// Flags of a QUERY_DIRECTORY request. [MS-SMB2] 2.2.33.
    QueryDirectoryFlags(u8) {
        RESTART_SCANS = 0x01,
        RETURN_SINGLE_ENTRY = 0x02,
        INDEX_SPECIFIED = 0x04,
        REOPEN = 0x10,
    }

    /// Flags of a CHANGE_NOTIFY request. [MS-SMB2] 2.2.35.
    ChangeNotifyFlags(u16) {
        WATCH_TREE = 0x1,
    }

    /// Changes a CHANGE_NOTIFY waits for. [MS-SMB2] 2.2.35.
    CompletionFilter(u32) {
        FILE_NAME = 0x001,
        DIR_NAME = 0x002,
        ATTRIBUTES = 0x004,
        SIZE = 0x008,
        LAST_WRITE = 0x010,
        LAST_ACCESS = 0x020,
        CREATION = 0x040,
        EA = 0x080,
        SECURITY = 0x100,
        STREAM_NAME = 0x200,
        STREAM_SIZE = 0x400,
        STREAM_WRITE = 0x800,
    }

    /// Parts of a security descriptor. [MS-SMB2] 2.2.37.
    SecurityInformation(u32) {
        OWNER = 0x01,
        GROUP = 0x02,
        DACL = 0x04,
        SACL = 0x08,
        LABEL = 0x10,
        ATTRIBUTE = 0x20,
        SCOPE = 0x40,
        BACKUP = 0x1_0000,
    }

    /// Flags of a QUERY_INFO request for extended attributes. [MS-SMB2] 2.2.37.
    QueryInfoFlags(u32) {
        RESTART_SCAN = 0x1,
        RETURN_SINGLE_ENTRY = 0x2,
        INDEX_SPECIFIED = 0x4,
    }

    /// Flags of a lease break notification. [MS-SMB2] 2.2.23.2.
    LeaseBreakFlags(u32) {
        ACK_REQUIRED = 0x1,
    }

    /// Flags of a v2 durable handle. [MS-SMB2] 2.2.13.2.11.
    DurableFlags(u32) {
        PERSISTENT = 0x2,
    }
}
