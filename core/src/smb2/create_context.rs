//! Create contexts: extensible parts of CREATE. [MS-SMB2] 2.2.13.2, 2.2.14.2.
//!
//! A context whose data is not laid out exactly as its tag says, or whose tag nobody knows, is
//! kept raw; every context gives back the bytes it was read from.

mod json;

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::error::WireError;
use super::header::{FileId, Guid};
use super::ser::{self, is_default};
use super::status::NtStatus;
use super::types::{AccessMask, DurableFlags, LeaseFlags, LeaseState};
use super::wire::{Writer, len16, len32, raw, read_at, slice_at, to_usize};

/// Whether a context was sent by a client or a server: some tags mean two structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// In a CREATE request.
    Request,
    /// In a CREATE response.
    Response,
}

/// Name of a create context, as sent.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ContextTag {
    /// Four bytes, mostly ASCII.
    Four([u8; 4]),
    /// A GUID.
    Guid([u8; 16]),
    /// Any other length.
    Other(Vec<u8>),
}

macro_rules! tags {
    ($($konst:ident = $variant:ident($bytes:expr) => $label:literal),* $(,)?) => {
        impl ContextTag {
            $(
                #[doc = concat!("`", $label, "`.")]
                pub const $konst: Self = Self::$variant($bytes);
            )*
            const KNOWN: &'static [(Self, &'static str)] = &[$((Self::$konst, $label)),*];
        }
    };
}

tags! {
    EXTA = Four(*b"ExtA") => "ExtA",
    SECD = Four(*b"SecD") => "SecD",
    DHNQ = Four(*b"DHnQ") => "DHnQ",
    DHNC = Four(*b"DHnC") => "DHnC",
    ALSI = Four(*b"AlSi") => "AlSi",
    MXAC = Four(*b"MxAc") => "MxAc",
    TWRP = Four(*b"TWrp") => "TWrp",
    QFID = Four(*b"QFid") => "QFid",
    RQLS = Four(*b"RqLs") => "RqLs",
    DH2Q = Four(*b"DH2Q") => "DH2Q",
    DH2C = Four(*b"DH2C") => "DH2C",
    AAPL = Four(*b"AAPL") => "AAPL",
    APP_INSTANCE_ID = Guid(0x45BC_A66A_EFA7_F74A_9008_FA46_2E14_4D74_u128.to_be_bytes())
        => "AppInstanceId",
    APP_INSTANCE_VERSION = Guid(0xB982_D0B7_3B56_074F_A07B_524A_8116_A010_u128.to_be_bytes())
        => "AppInstanceVersion",
    SVHDX = Guid(0x9CCB_CF9E_04C1_E643_980E_158D_A1F6_EC83_u128.to_be_bytes()) => "SVHDX",
    POSIX = Guid(0x93AD_2550_9CB4_11E7_B423_83DE_968B_CD7C_u128.to_be_bytes()) => "POSIX",
}

impl CreateContext {
    /// The permissions that a POSIX context of a request asks for; it opens with POSIX semantics: names compare letter
    /// by letter, and a colon is one like any other.
    #[must_use]
    pub fn posix_mode(contexts: &[Self]) -> Option<u32> {
        let posix = contexts.iter().find(|it| it.tag == ContextTag::POSIX)?;
        let ContextData::Raw(data) = &posix.data else {
            return None;
        };
        Some(u32::from_le_bytes(data.as_slice().try_into().ok()?))
    }
}

impl ContextTag {
    /// The tag of wire bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if let Ok(four) = bytes.try_into() {
            Self::Four(four)
        } else if let Ok(guid) = bytes.try_into() {
            Self::Guid(guid)
        } else {
            Self::Other(bytes.to_vec())
        }
    }

    /// The wire bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Four(bytes) => bytes,
            Self::Guid(bytes) => bytes,
            Self::Other(bytes) => bytes,
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        if let Some((tag, _)) = Self::KNOWN.iter().find(|(_, known)| *known == label) {
            return Some(tag.clone());
        }
        match label.strip_prefix("0x") {
            Some(digits) => ser::from_hex(digits).map(|bytes| Self::from_bytes(&bytes)),
            None if label.len() == 4 => Some(Self::from_bytes(label.as_bytes())),
            None => None,
        }
    }
}

impl fmt::Display for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, label)) = Self::KNOWN.iter().find(|(tag, _)| tag == self) {
            return f.write_str(label);
        }
        match self {
            Self::Four(bytes) if bytes.iter().all(u8::is_ascii_alphanumeric) => bytes
                .iter()
                .try_for_each(|byte| write!(f, "{}", char::from(*byte))),
            _ => write!(f, "0x{}", ser::to_hex(self.as_bytes())),
        }
    }
}

/// One create context.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreateContext {
    /// Its name.
    pub tag: ContextTag,
    /// Its data.
    pub data: ContextData,
}

/// Data of a create context.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContextData {
    /// `ExtA`: extended attributes of a new file, raw.
    ExtA(Vec<u8>),
    /// `SecD`: security descriptor of a new file, raw.
    SecD(Vec<u8>),
    /// `DHnQ` of a request.
    DurableRequest(DurableRequest),
    /// `DHnQ` of a response.
    DurableResponse(DurableResponse),
    /// `DHnC`.
    DurableReconnect(DurableReconnect),
    /// `AlSi`.
    AllocationSize(AllocationSize),
    /// `MxAc` of a request.
    MaximalAccessRequest(MaximalAccessRequest),
    /// `MxAc` of a response.
    MaximalAccessResponse(MaximalAccessResponse),
    /// `TWrp`.
    Timewarp(Timewarp),
    /// `QFid` of a request.
    OnDiskIdRequest(OnDiskIdRequest),
    /// `QFid` of a response.
    OnDiskIdResponse(OnDiskIdResponse),
    /// `RqLs` of either side, v1 or v2.
    Lease(Lease),
    /// `DH2Q` of a request.
    DurableRequestV2(DurableRequestV2),
    /// `DH2Q` of a response.
    DurableResponseV2(DurableResponseV2),
    /// `DH2C`.
    DurableReconnectV2(DurableReconnectV2),
    /// Application instance id.
    AppInstanceId(AppInstanceId),
    /// Application instance version.
    AppInstanceVersion(AppInstanceVersion),
    /// Anything else: `AAPL`, POSIX, SVHDX, unknown tags, and known tags with unusual data.
    Raw(Vec<u8>),
}

/// Data with a fixed layout; what it does not hold must be zero on the wire.
trait Fixed: Sized {
    fn read(data: &[u8]) -> Option<Self>;
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! fixed {
    ($(
        $(#[$doc:meta])*
        $name:ident / $wire:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $raw:ty, $get:expr, $put:expr;)* }
        wire { $($wfield:ident: $wty:ty $(= $wval:expr)?,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        raw! { $wire { $($wfield: $wty,)* } }

        impl Fixed for $name {
            fn read(data: &[u8]) -> Option<Self> {
                let raw = $wire::read_from_bytes(data).ok()?;
                let _ = raw;
                Some(Self { $($field: { let get: fn($raw) -> $ty = $get; get(raw.$field) },)* })
            }

            #[allow(unused_mut, reason = "some structures hold nothing but zeros")]
            fn write(&self, out: &mut Vec<u8>) {
                let mut raw = $wire::new_zeroed();
                $($(raw.$wfield = $wval;)?)*
                $(raw.$field = { let put: fn($ty) -> $raw = $put; put(self.$field) };)*
                out.extend_from_slice(raw.as_bytes());
            }
        }
    )*};
}

fixed! {
    /// Asks for a durable handle. [MS-SMB2] 2.2.13.2.3.
    DurableRequest / RawDurableRequest {} wire { reserved: [u8; 16], }

    /// Grants a durable handle. [MS-SMB2] 2.2.14.2.3.
    DurableResponse / RawDurableResponse {} wire { reserved: [u8; 8], }

    /// Reclaims a durable handle. [MS-SMB2] 2.2.13.2.4.
    DurableReconnect / RawDurableReconnect {
        /// The open as it was.
        #[serde(skip_serializing_if = "is_default")]
        file_id: FileId = [u8; 16], FileId::from_bytes, FileId::to_bytes;
    } wire { file_id: [u8; 16], }

    /// Initial size on disk. [MS-SMB2] 2.2.13.2.6.
    AllocationSize / RawAllocationSize {
        /// Bytes.
        allocation_size: u64 = U64, U64::get, U64::new;
    } wire { allocation_size: U64, }

    /// Opens a previous version. [MS-SMB2] 2.2.13.2.7.
    Timewarp / RawTimewarp {
        /// FILETIME of the snapshot.
        timestamp: u64 = U64, U64::get, U64::new;
    } wire { timestamp: U64, }

    /// What the user may do with the file. [MS-SMB2] 2.2.14.2.5.
    MaximalAccessResponse / RawMaximalAccess {
        /// Whether it could be found out.
        query_status: NtStatus = U32, |v| NtStatus(v.get()), |v| v.0.into();
        /// The access.
        maximal_access: AccessMask = U32, |v| AccessMask::from_bits_retain(v.get()),
            |v| v.bits().into();
    } wire { query_status: U32, maximal_access: U32, }

    /// Asks for the file's number on disk. [MS-SMB2] 2.2.13.2.9.
    OnDiskIdRequest / RawOnDiskIdRequest {} wire { nothing: [u8; 0], }

    /// The file's number on disk. [MS-SMB2] 2.2.14.2.9.
    OnDiskIdResponse / RawOnDiskId {
        /// Number of the file.
        disk_file_id: u64 = U64, U64::get, U64::new;
        /// Number of the volume.
        volume_id: u64 = U64, U64::get, U64::new;
    } wire { disk_file_id: U64, volume_id: U64, reserved: [u8; 16], }

    /// Asks for a durable or persistent handle. [MS-SMB2] 2.2.13.2.11.
    DurableRequestV2 / RawDurableRequestV2 {
        /// Milliseconds to keep it; 0 leaves it to the server.
        #[serde(skip_serializing_if = "is_default")]
        timeout: u32 = U32, U32::get, U32::new;
        /// Persistent or not.
        #[serde(skip_serializing_if = "is_default")]
        flags: DurableFlags = U32, |v| DurableFlags::from_bits_retain(v.get()), |v| v.bits().into();
        /// The create, so that it can be replayed.
        create_guid: Guid = [u8; 16], Guid, |v| v.0;
    } wire { timeout: U32, flags: U32, reserved: U64, create_guid: [u8; 16], }

    /// Grants a durable or persistent handle. [MS-SMB2] 2.2.14.2.12.
    DurableResponseV2 / RawDurableResponseV2 {
        /// Milliseconds it is kept.
        timeout: u32 = U32, U32::get, U32::new;
        /// Persistent or not.
        flags: DurableFlags = U32, |v| DurableFlags::from_bits_retain(v.get()), |v| v.bits().into();
    } wire { timeout: U32, flags: U32, }

    /// Reclaims a durable or persistent handle. [MS-SMB2] 2.2.13.2.12.
    DurableReconnectV2 / RawDurableReconnectV2 {
        /// The open as it was.
        #[serde(skip_serializing_if = "is_default")]
        file_id: FileId = [u8; 16], FileId::from_bytes, FileId::to_bytes;
        /// The create that made it.
        create_guid: Guid = [u8; 16], Guid, |v| v.0;
        /// Persistent or not.
        #[serde(skip_serializing_if = "is_default")]
        flags: DurableFlags = U32, |v| DurableFlags::from_bits_retain(v.get()), |v| v.bits().into();
    } wire { file_id: [u8; 16], create_guid: [u8; 16], flags: U32, }

    /// The application that opens. [MS-SMB2] 2.2.13.2.13.
    AppInstanceId / RawAppInstanceId {
        /// Its id.
        app_instance_id: Guid = [u8; 16], Guid, |v| v.0;
    } wire { structure_size: U16 = 20.into(), reserved: U16, app_instance_id: [u8; 16], }

    /// The version of the application that opens. [MS-SMB2] 2.2.13.2.15.
    AppInstanceVersion / RawAppInstanceVersion {
        /// More significant half.
        high: u64 = U64, U64::get, U64::new;
        /// Less significant half.
        low: u64 = U64, U64::get, U64::new;
    } wire { structure_size: U16 = 24.into(), reserved: U16, padding: U32, high: U64, low: U64, }
}

/// Asks for the maximal access. [MS-SMB2] 2.2.13.2.5.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaximalAccessRequest {
    /// Only when the file changed after this FILETIME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
}

impl Fixed for MaximalAccessRequest {
    fn read(data: &[u8]) -> Option<Self> {
        let timestamp = match data {
            [] => None,
            _ => Some(u64::from_le_bytes(data.try_into().ok()?)),
        };
        Some(Self { timestamp })
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(timestamp) = self.timestamp {
            out.extend_from_slice(&timestamp.to_le_bytes());
        }
    }
}

/// A lease, asked for or granted. [MS-SMB2] 2.2.13.2.8, 2.2.13.2.10, 2.2.14.2.10, 2.2.14.2.11.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// 1 or 2; anything else is written as 2.
    pub version: u8,
    /// The lease.
    pub key: Guid,
    /// State asked for or granted.
    pub state: LeaseState,
    /// Flags.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flags: LeaseFlags,
    /// Reserved.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duration: u64,
    /// Lease of the parent directory; v2 only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parent_key: Guid,
    /// Counts the changes of the lease; v2 only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub epoch: u16,
    /// Reserved; v2 only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reserved: u16,
}

raw! {
    RawLease { key: [u8; 16], state: U32, flags: U32, duration: U64 }
    RawLeaseV2 { parent_key: [u8; 16], epoch: U16, reserved: U16 }
    RawEntry {
        next: U32,
        name_offset: U16,
        name_length: U16,
        reserved: U16,
        data_offset: U16,
        data_length: U32,
    }
}

impl Fixed for Lease {
    fn read(data: &[u8]) -> Option<Self> {
        let (raw, rest) = RawLease::read_from_prefix(data).ok()?;
        let v2 = match rest {
            [] => None,
            _ => Some(RawLeaseV2::read_from_bytes(rest).ok()?),
        };
        Some(Self {
            version: if v2.is_some() { 2 } else { 1 },
            key: Guid(raw.key),
            state: LeaseState::from_bits_retain(raw.state.get()),
            flags: LeaseFlags::from_bits_retain(raw.flags.get()),
            duration: raw.duration.get(),
            parent_key: v2.map(|v2| Guid(v2.parent_key)).unwrap_or_default(),
            epoch: v2.map(|v2| v2.epoch.get()).unwrap_or_default(),
            reserved: v2.map(|v2| v2.reserved.get()).unwrap_or_default(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let raw = RawLease {
            key: self.key.0,
            state: self.state.bits().into(),
            flags: self.flags.bits().into(),
            duration: self.duration.into(),
        };
        out.extend_from_slice(raw.as_bytes());
        if self.version != 1 {
            let v2 = RawLeaseV2 {
                parent_key: self.parent_key.0,
                epoch: self.epoch.into(),
                reserved: self.reserved.into(),
            };
            out.extend_from_slice(v2.as_bytes());
        }
    }
}

macro_rules! dispatch {
    ($($tag:ident $side:pat => $variant:ident),* $(,)?) => {
        impl ContextData {
            fn typed(tag: &ContextTag, side: Side, data: &[u8]) -> Option<Self> {
                match (tag, side) {
                    (&ContextTag::EXTA, _) => Some(Self::ExtA(data.to_vec())),
                    (&ContextTag::SECD, _) => Some(Self::SecD(data.to_vec())),
                    $((&ContextTag::$tag, $side) => Fixed::read(data).map(Self::$variant),)*
                    _ => None,
                }
            }

            /// Appends the wire bytes to `out`.
            pub fn write_to(&self, out: &mut Vec<u8>) {
                match self {
                    Self::ExtA(bytes) | Self::SecD(bytes) | Self::Raw(bytes) => {
                        out.extend_from_slice(bytes);
                    }
                    $(Self::$variant(typed) => typed.write(out),)*
                }
            }

            fn serialize_value<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    Self::ExtA(bytes) | Self::SecD(bytes) | Self::Raw(bytes) => {
                        map.serialize_value(&ser::to_hex(bytes))
                    }
                    $(Self::$variant(typed) => map.serialize_value(typed),)*
                }
            }
        }
    };
}

dispatch! {
    DHNQ Side::Request => DurableRequest,
    DHNQ Side::Response => DurableResponse,
    DHNC _ => DurableReconnect,
    ALSI _ => AllocationSize,
    MXAC Side::Request => MaximalAccessRequest,
    MXAC Side::Response => MaximalAccessResponse,
    TWRP _ => Timewarp,
    QFID Side::Request => OnDiskIdRequest,
    QFID Side::Response => OnDiskIdResponse,
    RQLS _ => Lease,
    DH2Q Side::Request => DurableRequestV2,
    DH2Q Side::Response => DurableResponseV2,
    DH2C _ => DurableReconnectV2,
    APP_INSTANCE_ID _ => AppInstanceId,
    APP_INSTANCE_VERSION _ => AppInstanceVersion,
}

impl CreateContext {
    /// Reads a context; data that does not fit the tag is kept raw.
    #[must_use]
    pub fn from_wire(tag: ContextTag, side: Side, data: &[u8]) -> Self {
        let typed = ContextData::typed(&tag, side, data).filter(|typed| {
            let mut again = Vec::with_capacity(data.len());
            typed.write_to(&mut again);
            again == data
        });
        let data = typed.unwrap_or_else(|| ContextData::Raw(data.to_vec()));
        Self { tag, data }
    }

    /// A lease context.
    #[must_use]
    pub fn lease(lease: Lease) -> Self {
        Self {
            tag: ContextTag::RQLS,
            data: ContextData::Lease(lease),
        }
    }
}

/// Reads a list of contexts, which is nothing but the list.
pub(crate) fn decode_list(list: &[u8], side: Side) -> Result<Vec<CreateContext>, WireError> {
    let mut contexts = Vec::new();
    let mut rest = list;
    loop {
        let raw: &RawEntry = read_at(rest, "CreateContext", 0)?;
        let next = to_usize(raw.next.get());
        let (entry, behind) = match next {
            0 => (rest, None),
            _ if next >= size_of::<RawEntry>() => {
                let entry = slice_at(rest, "CreateContext.Next", 0, next)?;
                (entry, rest.get(next..))
            }
            _ => {
                let (field, got) = ("CreateContext.Next", u64::from(raw.next.get()));
                return Err(WireError::BadValue {
                    field,
                    offset: 0,
                    got,
                    section: "2.2.13.2",
                });
            }
        };
        // Name and data must lie in their own entry: contexts that share bytes could claim
        // more than the message holds.
        let (at, len) = (
            usize::from(raw.name_offset.get()),
            usize::from(raw.name_length.get()),
        );
        let tag = ContextTag::from_bytes(slice_at(entry, "CreateContext.Name", at, len)?);
        let (at, len) = (
            usize::from(raw.data_offset.get()),
            to_usize(raw.data_length.get()),
        );
        let data = match len {
            0 => &[],
            _ => slice_at(entry, "CreateContext.Data", at, len)?,
        };
        contexts.push(CreateContext::from_wire(tag, side, data));
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(contexts),
        }
    }
}

/// Writes a list of contexts, each at a multiple of 8 from the list's start.
pub(crate) fn encode_list(contexts: &[CreateContext], side: Side, out: &mut Writer<'_>) {
    let last = contexts.len().saturating_sub(1);
    for (index, context) in contexts.iter().enumerate() {
        let start = out.pos();
        let since = |out: &Writer<'_>| out.pos().saturating_sub(start);
        out.zeros(size_of::<RawEntry>());
        out.bytes(context.tag.as_bytes());
        out.align8();
        let data_offset = since(out);
        context.data.write_to(out.buffer());
        let data_length = since(out).saturating_sub(data_offset);
        // Clients pad the last context too, servers do not.
        if index < last || side == Side::Request {
            out.align8();
        }
        let entry = RawEntry {
            next: if index < last { len32(since(out)) } else { 0 }.into(),
            name_offset: len16(size_of::<RawEntry>()).into(),
            name_length: len16(context.tag.as_bytes().len()).into(),
            reserved: 0.into(),
            data_offset: if data_length == 0 {
                0
            } else {
                len16(data_offset)
            }
            .into(),
            data_length: len32(data_length).into(),
        };
        out.set(start, &entry);
    }
}
