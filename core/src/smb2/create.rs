//! CREATE. [MS-SMB2] 2.2.13, 2.2.14.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::create_context::{ContextData, CreateContext, Side, decode_list, encode_list};
use super::error::WireError;
use super::header::FileId;
use super::ser::is_default;
use super::text::Name;
use super::types::{
    AccessMask, CreateAction, CreateDisposition, CreateFlags, CreateOptions, FileAttributes,
    ImpersonationLevel, OplockLevel, ShareAccess,
};
use super::wire::{Source, Writer, len16, len32, raw, to_usize};

/// CREATE request. [MS-SMB2] 2.2.13.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateRequest {
    /// Path relative to the share, with backslashes and without a leading one.
    pub name: Name,
    /// Access asked for.
    #[serde(rename = "access")]
    pub desired_access: AccessMask,
    /// Attributes of a new file.
    #[serde(rename = "attributes", skip_serializing_if = "is_default")]
    pub file_attributes: FileAttributes,
    /// What others may do meanwhile.
    #[serde(rename = "share")]
    pub share_access: ShareAccess,
    /// What to do when the name exists, or does not.
    #[serde(rename = "disposition")]
    pub create_disposition: CreateDisposition,
    /// Options.
    #[serde(rename = "options", skip_serializing_if = "is_default")]
    pub create_options: CreateOptions,
    /// Oplock asked for.
    #[serde(rename = "oplock", skip_serializing_if = "is_default")]
    pub requested_oplock_level: OplockLevel,
    /// How far the server may act for the client.
    #[serde(rename = "impersonation", skip_serializing_if = "is_usual")]
    pub impersonation_level: ImpersonationLevel,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub security_flags: u8,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub smb_create_flags: u64,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub reserved: u64,
    /// Create contexts, in order.
    #[serde(skip_serializing_if = "is_default")]
    pub contexts: Vec<CreateContext>,
}

impl Default for CreateRequest {
    /// Impersonation, as every client asks for it; the rest zero.
    fn default() -> Self {
        Self {
            name: Name::default(),
            desired_access: AccessMask::default(),
            file_attributes: FileAttributes::default(),
            share_access: ShareAccess::default(),
            create_disposition: CreateDisposition::default(),
            create_options: CreateOptions::default(),
            requested_oplock_level: OplockLevel::default(),
            impersonation_level: ImpersonationLevel::IMPERSONATION,
            security_flags: 0,
            smb_create_flags: 0,
            reserved: 0,
            contexts: Vec::new(),
        }
    }
}

fn is_usual(level: &ImpersonationLevel) -> bool {
    *level == ImpersonationLevel::IMPERSONATION
}

/// CREATE response. [MS-SMB2] 2.2.14.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CreateResponse {
    /// Oplock granted.
    pub oplock_level: OplockLevel,
    /// Flags.
    pub flags: CreateFlags,
    /// What was done.
    pub create_action: CreateAction,
    /// FILETIME.
    pub creation_time: u64,
    /// FILETIME.
    pub last_access_time: u64,
    /// FILETIME.
    pub last_write_time: u64,
    /// FILETIME.
    pub change_time: u64,
    /// Bytes on disk.
    pub allocation_size: u64,
    /// Bytes in the file.
    pub end_of_file: u64,
    /// Attributes.
    pub file_attributes: FileAttributes,
    /// Reserved.
    pub reserved2: u32,
    /// The open.
    pub file_id: FileId,
    /// Create contexts, in order.
    pub contexts: Vec<CreateContext>,
}

raw! {
    RawRequest {
        structure_size: U16,
        security_flags: u8,
        requested_oplock_level: u8,
        impersonation_level: U32,
        smb_create_flags: U64,
        reserved: U64,
        desired_access: U32,
        file_attributes: U32,
        share_access: U32,
        create_disposition: U32,
        create_options: U32,
        name_offset: U16,
        name_length: U16,
        contexts_offset: U32,
        contexts_length: U32,
    }
    RawResponse {
        structure_size: U16,
        oplock_level: u8,
        flags: u8,
        create_action: U32,
        creation_time: U64,
        last_access_time: U64,
        last_write_time: U64,
        change_time: U64,
        allocation_size: U64,
        end_of_file: U64,
        file_attributes: U32,
        reserved2: U32,
        file_id: [u8; 16],
        contexts_offset: U32,
        contexts_length: U32,
    }
    RawContexts { contexts_offset: U32, contexts_length: U32 }
}

const REQUEST_BUFFER: usize = 120;
const REQUEST_CONTEXTS_FIELD: usize = 112;
const RESPONSE_CONTEXTS_FIELD: usize = 144;

fn contexts(
    pdu: &Source<'_>,
    offset: U32,
    length: U32,
    side: Side,
) -> Result<Vec<CreateContext>, WireError> {
    match length.get() {
        0 => Ok(Vec::new()),
        length => {
            let list = pdu.slice("CreateContexts", to_usize(offset.get()), to_usize(length))?;
            decode_list(list, side)
        }
    }
}

/// Writes the contexts at the next multiple of 8 and says where they are.
fn put_contexts(list: &[CreateContext], side: Side, out: &mut Writer<'_>) {
    if list.is_empty() {
        return;
    }
    let field = match side {
        Side::Request => REQUEST_CONTEXTS_FIELD,
        Side::Response => RESPONSE_CONTEXTS_FIELD,
    };
    out.align8();
    let start = out.pos();
    encode_list(list, side, out);
    let length = out.pos().saturating_sub(start);
    out.set(
        field,
        &RawContexts {
            contexts_offset: len32(start).into(),
            contexts_length: len32(length).into(),
        },
    );
}

impl CreateRequest {
    /// FILETIME of the previous version that a context asks for. [MS-SMB2] 2.2.13.2.7.
    #[must_use]
    pub fn version_time(&self) -> Option<u64> {
        self.contexts.iter().find_map(|it| match &it.data {
            ContextData::Timewarp(it) => Some(it.timestamp),
            _ => None,
        })
    }

    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("CREATE request", 57, "2.2.13")?;
        let (at, len) = (raw.name_offset.get(), raw.name_length.get());
        let name = match len {
            0 => &[],
            _ => pdu.slice("Name", usize::from(at), usize::from(len))?,
        };
        Ok(Self {
            name: Name::from_wire(name),
            desired_access: AccessMask::from_bits_retain(raw.desired_access.get()),
            file_attributes: FileAttributes::from_bits_retain(raw.file_attributes.get()),
            share_access: ShareAccess::from_bits_retain(raw.share_access.get()),
            create_disposition: CreateDisposition(raw.create_disposition.get()),
            create_options: CreateOptions::from_bits_retain(raw.create_options.get()),
            requested_oplock_level: OplockLevel(raw.requested_oplock_level),
            impersonation_level: ImpersonationLevel(raw.impersonation_level.get()),
            security_flags: raw.security_flags,
            smb_create_flags: raw.smb_create_flags.get(),
            reserved: raw.reserved.get(),
            contexts: contexts(pdu, raw.contexts_offset, raw.contexts_length, Side::Request)?,
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 57.into(),
            security_flags: self.security_flags,
            requested_oplock_level: self.requested_oplock_level.0,
            impersonation_level: self.impersonation_level.0.into(),
            smb_create_flags: self.smb_create_flags.into(),
            reserved: self.reserved.into(),
            desired_access: self.desired_access.bits().into(),
            file_attributes: self.file_attributes.bits().into(),
            share_access: self.share_access.bits().into(),
            create_disposition: self.create_disposition.0.into(),
            create_options: self.create_options.bits().into(),
            name_offset: len16(REQUEST_BUFFER).into(),
            name_length: len16(self.name.wire_len()).into(),
            contexts_offset: 0.into(),
            contexts_length: 0.into(),
        });
        self.name.write_to(out.buffer());
        // Windows and smbclient leave eight zeros in place of an empty name.
        if self.name.is_empty() {
            out.zeros(8);
        }
        put_contexts(&self.contexts, Side::Request, out);
    }
}

impl CreateResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("CREATE response", 89, "2.2.14")?;
        Ok(Self {
            oplock_level: OplockLevel(raw.oplock_level),
            flags: CreateFlags::from_bits_retain(raw.flags),
            create_action: CreateAction(raw.create_action.get()),
            creation_time: raw.creation_time.get(),
            last_access_time: raw.last_access_time.get(),
            last_write_time: raw.last_write_time.get(),
            change_time: raw.change_time.get(),
            allocation_size: raw.allocation_size.get(),
            end_of_file: raw.end_of_file.get(),
            file_attributes: FileAttributes::from_bits_retain(raw.file_attributes.get()),
            reserved2: raw.reserved2.get(),
            file_id: FileId::from_bytes(raw.file_id),
            contexts: contexts(
                pdu,
                raw.contexts_offset,
                raw.contexts_length,
                Side::Response,
            )?,
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 89.into(),
            oplock_level: self.oplock_level.0,
            flags: self.flags.bits(),
            create_action: self.create_action.0.into(),
            creation_time: self.creation_time.into(),
            last_access_time: self.last_access_time.into(),
            last_write_time: self.last_write_time.into(),
            change_time: self.change_time.into(),
            allocation_size: self.allocation_size.into(),
            end_of_file: self.end_of_file.into(),
            file_attributes: self.file_attributes.bits().into(),
            reserved2: self.reserved2.into(),
            file_id: self.file_id.to_bytes(),
            contexts_offset: 0.into(),
            contexts_length: 0.into(),
        });
        put_contexts(&self.contexts, Side::Response, out);
    }
}
