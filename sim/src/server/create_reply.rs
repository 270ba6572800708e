//! The response to CREATE and its contexts. [MS-SMB2] 3.3.5.9, 2.2.14.

use smbench_core::smb2::create_context::{
    DurableResponse, DurableResponseV2, MaximalAccessResponse, OnDiskIdResponse,
};
use smbench_core::smb2::{
    AccessMask, ContextData, ContextTag, CreateAction, CreateContext, CreateResponse,
    FileAttributes, Lease, LeaseFlags, NtStatus,
};

use super::Server;
use super::answer::{Answer, Cx, Handled};
use super::create::Want;
use super::data::Data;
use super::fs::Node;
use super::open::OpenId;
use super::tree::{FULL_ACCESS, READ_ONLY_ACCESS};

impl Server {
    pub(super) fn create_answer(
        &mut self,
        cx: &Cx,
        want: &Want<'_>,
        id: OpenId,
        action: CreateAction,
    ) -> Handled {
        let mut contexts = Vec::new();
        if want.asked.maximal_access {
            let node = self.open(id)?.node;
            let mut maximal_access = FULL_ACCESS;
            if self
                .shares
                .get(cx.share)
                .is_some_and(|share| share.read_only)
            {
                maximal_access = READ_ONLY_ACCESS;
            }
            let found = self.fs.node(node)?;
            if found.attributes.contains(FileAttributes::READONLY) && !found.is_dir() {
                maximal_access.remove(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA);
            }
            contexts.push(CreateContext {
                tag: ContextTag::MXAC,
                data: ContextData::MaximalAccessResponse(MaximalAccessResponse {
                    query_status: NtStatus::SUCCESS,
                    maximal_access,
                }),
            });
        }
        contexts.extend(self.durable_context(id, want)?);
        if want.asked.disk_id {
            contexts.push(CreateContext {
                tag: ContextTag::QFID,
                data: ContextData::OnDiskIdResponse(OnDiskIdResponse {
                    disk_file_id: self.open(id)?.node,
                    volume_id: VOLUME_ID,
                }),
            });
        }
        contexts.extend(self.lease_context(id, want.asked.lease.as_ref()));
        contexts.extend(self.posix_context(id));
        self.created(id, action, contexts)
    }

    fn durable_context(
        &mut self,
        id: OpenId,
        want: &Want<'_>,
    ) -> Result<Option<CreateContext>, NtStatus> {
        let Some(durable) = self.grant_durable(id, &want.asked)? else {
            return Ok(None);
        };
        let timeout = u32::try_from(durable.timeout_ms).unwrap_or(u32::MAX);
        Ok(Some(if durable.create_guid.is_some() {
            CreateContext {
                tag: ContextTag::DH2Q,
                data: ContextData::DurableResponseV2(DurableResponseV2 {
                    timeout,
                    ..DurableResponseV2::default()
                }),
            }
        } else {
            CreateContext {
                tag: ContextTag::DHNQ,
                data: ContextData::DurableResponse(DurableResponse {}),
            }
        }))
    }

    /// The lease as granted, in the version it was first asked for, as Samba does. [MS-SMB2] 2.2.14.2.10.
    pub(super) fn lease_context(&self, id: OpenId, asked: Option<&Lease>) -> Option<CreateContext> {
        let open = self.opens.get(&id)?;
        let lease = self.leases.get(&open.lease?)?;
        let asked = asked?;
        let mut flags = LeaseFlags::empty();
        flags.set(LeaseFlags::BREAK_IN_PROGRESS, lease.breaking);
        let v2 = lease.version == 2;
        let parent = v2 && asked.flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET);
        flags.set(LeaseFlags::PARENT_LEASE_KEY_SET, parent);
        Some(CreateContext::lease(Lease {
            version: lease.version,
            key: asked.key,
            state: lease.state,
            flags,
            parent_key: if parent {
                asked.parent_key
            } else {
                Default::default()
            },
            epoch: if v2 { lease.epoch } else { 0 },
            ..Lease::default()
        }))
    }

    pub(super) fn created(
        &self,
        id: OpenId,
        action: CreateAction,
        contexts: Vec<CreateContext>,
    ) -> Handled {
        let open = self.open(id)?;
        let node = self.fs.node(open.node)?;
        let size = self.fs.data(open.node, open.stream).map_or(0, Data::size);
        let file_id = self.file_id(id);
        let mut answer = Answer::ok(CreateResponse {
            oplock_level: open.oplock,
            create_action: action,
            creation_time: node.times.created,
            last_access_time: node.times.accessed,
            last_write_time: node.times.written,
            change_time: node.times.changed,
            allocation_size: self.fs.allocation(open.node, open.stream),
            end_of_file: size,
            file_attributes: Node::reported_attributes(node),
            file_id,
            contexts,
            ..CreateResponse::default()
        });
        answer.file = Some(file_id);
        Ok(answer)
    }
}

/// Number of the one volume there is.
pub(super) const VOLUME_ID: u64 = 0xfe00;
