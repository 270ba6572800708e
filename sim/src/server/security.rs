//! Security descriptors: kept as they were set, and a plain one where none was.
//! [MS-DTYP] 2.4.6; access is not decided by them.

use smbench_core::smb2::{AccessMask, NtStatus, SecurityInformation};

use super::Server;
use super::data::len32;
use super::info::{Out, u16_at, u32_at};
use super::open::OpenId;

/// S-1-1-0, everyone.
const EVERYONE: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
/// SE_SELF_RELATIVE.
const SELF_RELATIVE: u16 = 0x8000;
/// SE_DACL_PRESENT.
const DACL_PRESENT: u16 = 0x0004;

/// The parts of a descriptor.
#[derive(Debug, Default)]
struct Parts {
    control: u16,
    owner: Vec<u8>,
    group: Vec<u8>,
    dacl: Vec<u8>,
}

impl Parts {
    fn plain() -> Self {
        let mut acl = Out::default();
        // One ACE: everyone may do everything.
        acl.u8(2).u8(0).u16(28).u16(1).u16(0);
        acl.u8(0).u8(3).u16(20).u32(0x001f_01ff).bytes(&EVERYONE);
        Self {
            control: SELF_RELATIVE | DACL_PRESENT,
            owner: EVERYONE.to_vec(),
            group: EVERYONE.to_vec(),
            dacl: acl.0,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize, len: &dyn Fn(&[u8]) -> Option<usize>| {
            let offset = super::data::len_of(u32_at(bytes, at)?);
            if offset == 0 {
                return Some(Vec::new());
            }
            let rest = bytes.get(offset..)?;
            rest.get(..len(rest)?).map(<[u8]>::to_vec)
        };
        let sid = |rest: &[u8]| rest.get(1).map(|count| usize::from(*count) * 4 + 8);
        let acl = |rest: &[u8]| u16_at(rest, 2).map(usize::from);
        Some(Self {
            control: u16_at(bytes, 2)?,
            owner: part(4, &sid)?,
            group: part(8, &sid)?,
            dacl: part(16, &acl)?,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.u8(1).u8(0).u16(self.control | SELF_RELATIVE).zeros(16);
        for (field, part) in [(4, &self.owner), (8, &self.group), (16, &self.dacl)] {
            if !part.is_empty() {
                let at = len32(out.len());
                out.set_u32(field, at);
                out.bytes(part);
            }
        }
        out.0
    }
}

impl Server {
    fn descriptor(&self, id: OpenId) -> Result<Parts, NtStatus> {
        let node = self.fs.node(self.open(id)?.node)?;
        let stored = node.security.as_deref().and_then(Parts::parse);
        Ok(stored.unwrap_or_else(Parts::plain))
    }

    /// The parts that are asked for. [MS-SMB2] 3.3.5.20.3.
    pub(super) fn query_security(
        &self,
        id: OpenId,
        wanted: SecurityInformation,
    ) -> Result<Vec<u8>, NtStatus> {
        let open = self.open(id)?;
        if wanted.contains(SecurityInformation::SACL) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        if !wanted.is_empty() && !open.may(AccessMask::READ_CONTROL) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let mut parts = self.descriptor(id)?;
        if !wanted.contains(SecurityInformation::OWNER) {
            parts.owner.clear();
        }
        if !wanted.contains(SecurityInformation::GROUP) {
            parts.group.clear();
        }
        if !wanted.contains(SecurityInformation::DACL) {
            parts.dacl.clear();
            parts.control &= !DACL_PRESENT;
        }
        Ok(parts.encode())
    }

    /// Replaces the parts that are named. [MS-SMB2] 3.3.5.21.3.
    pub(super) fn set_security(
        &mut self,
        id: OpenId,
        named: SecurityInformation,
        bytes: &[u8],
    ) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let owner = SecurityInformation::OWNER | SecurityInformation::GROUP;
        let denied = (named.intersects(owner) && !open.may(AccessMask::WRITE_OWNER))
            || (named.contains(SecurityInformation::DACL) && !open.may(AccessMask::WRITE_DAC));
        if denied {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let new = Parts::parse(bytes).ok_or(NtStatus::INVALID_PARAMETER)?;
        let mut parts = self.descriptor(id)?;
        if named.contains(SecurityInformation::OWNER) {
            parts.owner = new.owner;
        }
        if named.contains(SecurityInformation::GROUP) {
            parts.group = new.group;
        }
        if named.contains(SecurityInformation::DACL) {
            parts.dacl = new.dacl;
            parts.control = new.control;
        }
        let node = self.open(id)?.node;
        self.check_room(parts.encode().len())?;
        let eas = self.fs.node(node)?.eas.clone();
        self.fs.set_extras(node, eas, Some(parts.encode()))
    }
}
