//! CREATE: what is asked, and where it leads. [MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1.

use std::borrow::Cow;

use smbench_core::confine::below_share;
use smbench_core::smb2::create_context::{DurableReconnect, DurableReconnectV2, DurableRequestV2};
use smbench_core::smb2::version::{is_previous_version, previous_version};
use smbench_core::smb2::{
    AccessMask, ContextData, ContextTag, CreateAction, CreateContext, CreateDisposition,
    CreateOptions, CreateRequest, Dialect, FileAttributes, ImpersonationLevel, Lease, NtStatus,
    OplockLevel,
};

use super::answer::{Cx, Handled, Stop};
use super::data::{len_of, len64};
use super::file_info::{Eas, ea_size};
use super::fs::{Child, Found, NodeId, StreamId};
use super::limits::{Limit, may_share};
use super::name::Path;
use super::notify::Change;
use super::open::{Open, OpenId};
use super::tree::{FULL_ACCESS, READ_ONLY_ACCESS};
use super::{Plant, Server, ShareKind};

/// What the create contexts ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) maximal_access: bool,
    pub(super) disk_id: bool,
    pub(super) durable: bool,
    pub(super) durable_v2: Option<DurableRequestV2>,
    pub(super) reconnect: Option<DurableReconnect>,
    pub(super) reconnect_v2: Option<DurableReconnectV2>,
    pub(super) allocation: u64,
    pub(super) lease: Option<Lease>,
    security: Option<Vec<u8>>,
    eas: Option<Vec<u8>>,
    /// Permissions of a new file; the open has POSIX semantics.
    pub(super) posix: Option<u32>,
}

impl Asked {
    fn of(body: &CreateRequest) -> Result<Self, NtStatus> {
        let mut asked = Self {
            posix: CreateContext::posix_mode(&body.contexts),
            ..Self::default()
        };
        for context in &body.contexts {
            match &context.data {
                ContextData::MaximalAccessRequest(_) => asked.maximal_access = true,
                ContextData::OnDiskIdRequest(_) => asked.disk_id = true,
                ContextData::DurableRequest(_) => asked.durable = true,
                ContextData::DurableRequestV2(v2) => asked.durable_v2 = Some(*v2),
                ContextData::DurableReconnect(old) => asked.reconnect = Some(*old),
                ContextData::DurableReconnectV2(old) => asked.reconnect_v2 = Some(*old),
                ContextData::AllocationSize(size) => asked.allocation = size.allocation_size,
                ContextData::Lease(lease) => asked.lease = Some(*lease),
                ContextData::SecD(bytes) if bytes.len() > MAX_DESCRIPTOR => {
                    return Err(INVALID_SECURITY_DESCR);
                }
                ContextData::SecD(bytes) => asked.security = Some(bytes.clone()),
                ContextData::ExtA(bytes) => asked.eas = Some(bytes.clone()),
                // [MS-SMB2] 3.3.5.9: a context that does not have its length.
                ContextData::Raw(_) if SIZED.contains(&context.tag) => {
                    // A request for durability may carry anything in its reserved bytes.
                    match &context.tag {
                        &ContextTag::DHNQ => asked.durable = true,
                        _ => return Err(NtStatus::INVALID_PARAMETER),
                    }
                }
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// Tags whose data has a fixed length.
const SIZED: [ContextTag; 5] = [
    ContextTag::DHNQ,
    ContextTag::DHNC,
    ContextTag::DH2C,
    ContextTag::ALSI,
    ContextTag::TWRP,
];

/// A CREATE as it is carried out.
#[derive(Debug)]
pub(super) struct Want<'a> {
    pub(super) body: &'a CreateRequest,
    pub(super) asked: Asked,
    pub(super) path: Path,
    /// Access with generic bits resolved.
    pub(super) access: AccessMask,
    /// Oplock asked for; LEASE only with a lease context.
    pub(super) oplock: OplockLevel,
}

impl Server {
    pub(super) fn create(&mut self, cx: &Cx, body: &CreateRequest) -> Handled {
        let mut asked = Asked::of(body)?;
        asked.posix = asked.posix.filter(|_| self.config.posix_extensions);
        if asked.reconnect.is_some() || asked.reconnect_v2.is_some() {
            return self.reconnect(cx, body, &asked);
        }
        let own = self.conns.get(&cx.conn).map_or(0, |conn| conn.opens);
        if !may_share(own, self.opens.len(), self.config.limits.opens) {
            return Err(self.limited(Limit::Opens).into());
        }
        let share = self
            .shares
            .get(cx.share)
            .ok_or(NtStatus::NETWORK_NAME_DELETED)?;
        if share.kind == ShareKind::Pipe {
            return match self.config.services {
                true => self.open_service(cx, body),
                false => self.open_recorded(cx, body),
            };
        }
        let root = share.root;
        check_request(body)?;
        let name = self.name_in_share(cx, body)?;
        let posix = asked.posix.is_some();
        let path = Path::read(&name, posix)?;
        if is_previous_version(&name) {
            self.check_version(root, &path, body)?;
        }
        if path.names_data && body.create_options.contains(CreateOptions::DIRECTORY_FILE) {
            return Err(NtStatus::NOT_A_DIRECTORY.into());
        }
        self.check_links(cx, body, root, &path)?;
        let found = self.fs.find(root, &path.parts, posix)?;
        let oplock = self.effective_oplock(cx, body, &asked);
        let access = self.effective_access(cx, body, &found)?;
        let want = Want {
            body,
            asked,
            path,
            access,
            oplock,
        };
        match found {
            Found::Node(child) => {
                let handled = self.open_existing(cx, &want, child);
                // A conflicting open whose client is gone was closed, and took the file with it.
                if handled.is_err() && self.fs.node(child.node).is_err() {
                    return self.create(cx, body);
                }
                handled
            }
            Found::Free { parent, name } => self.create_new(cx, &want, parent, &name),
        }
    }

    /// What a CREATE names below its share: where that is one of DFS and the request says so, the name
    /// begins with server and share. [MS-SMB2] 3.3.5.9, [MS-DFSC] 3.2.4.1. No such name is empty: as
    /// Windows. The token of the version that it asks for is in front.
    pub(super) fn name_in_share<'a>(
        &self,
        cx: &Cx,
        body: &'a CreateRequest,
    ) -> Result<Cow<'a, str>, NtStatus> {
        let text = body.name.as_text().ok_or(NtStatus::OBJECT_NAME_INVALID)?;
        let share = self.shares.get(cx.share);
        let is_dfs = cx.is_dfs && share.is_some_and(|share| share.is_dfs);
        if is_dfs && text.is_empty() {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let name = match is_dfs {
            true => below_share(text, true),
            false => text,
        };
        let version = previous_version(name, body.version_time());
        Ok(version.map_or(Cow::Borrowed(name), Cow::Owned))
    }

    /// Leases need dialect 2.1 and a lease context. [MS-SMB2] 3.3.5.9.
    fn effective_oplock(&self, cx: &Cx, body: &CreateRequest, asked: &Asked) -> OplockLevel {
        let dialect = self.conns.get(&cx.conn).map(|conn| conn.dialect());
        let able = self.config.leases && dialect >= Some(Dialect::SMB_2_1);
        match body.requested_oplock_level {
            OplockLevel::LEASE if able && asked.lease.is_some() => OplockLevel::LEASE,
            level @ (OplockLevel::LEVEL_II | OplockLevel::EXCLUSIVE | OplockLevel::BATCH) => level,
            _ => OplockLevel::NONE,
        }
    }

    /// Resolves generic bits and MAXIMUM_ALLOWED, and asks whether it is allowed.
    /// [MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1.2.1.
    fn effective_access(
        &self,
        cx: &Cx,
        body: &CreateRequest,
        found: &Found,
    ) -> Result<AccessMask, NtStatus> {
        let mut allowed = FULL_ACCESS;
        if self
            .shares
            .get(cx.share)
            .is_some_and(|share| share.read_only)
        {
            allowed = READ_ONLY_ACCESS;
        }
        let writes = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA;
        if let Found::Node(child) = found {
            let node = self.fs.node(child.node)?;
            if node.attributes.contains(FileAttributes::READONLY) && !node.is_dir() {
                allowed.remove(writes);
            }
        }
        let mut access = body.desired_access.without_generic();
        if access.contains(AccessMask::MAXIMUM_ALLOWED) {
            access.remove(AccessMask::MAXIMUM_ALLOWED);
            access |= allowed;
        }
        if access.contains(AccessMask::ACCESS_SYSTEM_SECURITY) {
            return Err(NtStatus::PRIVILEGE_NOT_HELD);
        }
        // A new file's attributes do not stand against the open that makes it.
        if !allowed.contains(access) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        Ok(access)
    }

    /// The name is free. [MS-FSA] 2.1.5.1.1.
    fn create_new(&mut self, cx: &Cx, want: &Want<'_>, parent: NodeId, name: &str) -> Handled {
        let options = want.body.create_options;
        let is_dir = options.contains(CreateOptions::DIRECTORY_FILE);
        match want.body.create_disposition {
            CreateDisposition::OPEN | CreateDisposition::OVERWRITE => {
                return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
            }
            _ => {}
        }
        if self
            .shares
            .get(cx.share)
            .is_some_and(|share| share.read_only)
        {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if self
            .files
            .get(&parent)
            .is_some_and(|file| !file.pending.is_empty())
        {
            return Err(NtStatus::DELETE_PENDING.into());
        }
        self.check_lease(cx, want, None)?;
        let attributes = want.body.file_attributes & SETTABLE;
        if options.contains(CreateOptions::DELETE_ON_CLOSE) {
            may_delete(want.access, attributes)?;
        }
        let eas = match &want.asked.eas {
            Some(list) => super::file_info::parse_eas(list)?,
            None => Vec::new(),
        };
        let more = name.len().saturating_add(want.path.stream.len());
        let security = want.asked.security.as_ref().map_or(0, Vec::len);
        let more = more
            .saturating_add(security)
            .saturating_add(len_of(ea_size(&eas)));
        self.check_room(more)?;
        let now = self.filetime();
        let node = self.fs.add(Some(parent), name, is_dir, now);
        let stream = if want.path.stream.is_empty() {
            node
        } else {
            self.fs.add_stream(node, &want.path.stream)?
        };
        self.dress(node, want, is_dir, eas)?;
        self.fs.set_allocation(node, stream, want.asked.allocation);
        let open = self.grant(cx, want, Child::only(node), stream)?;
        self.changed(Child::only(node), Change::added(is_dir));
        self.break_above(open);
        let action = if self.has(Plant::WrongCreateAction) {
            CreateAction::OPENED
        } else {
            CreateAction::CREATED
        };
        self.create_answer(cx, want, open, action)
    }

    /// Whether there is room for one more file or stream, with `bytes` of names and attributes.
    pub(super) fn check_room(&mut self, bytes: usize) -> Result<(), NtStatus> {
        if self.fs.count() >= self.config.limits.nodes {
            return Err(self.limited(Limit::Nodes));
        }
        let held = self.fs.held().saturating_add(len64(bytes));
        if held > self.config.limits.total_bytes {
            return Err(self.limited(Limit::Content));
        }
        Ok(())
    }

    /// Gives a new file its attributes, descriptor and extended attributes.
    fn dress(
        &mut self,
        node: NodeId,
        want: &Want<'_>,
        is_dir: bool,
        eas: Eas,
    ) -> Result<(), NtStatus> {
        let security = want.asked.security.clone();
        self.fs.set_extras(node, eas, security)?;
        let found = self.fs.node_mut(node)?;
        found.attributes = want.body.file_attributes & SETTABLE;
        found.mode = want.asked.posix.map(|mode| mode & PERMISSIONS);
        if !is_dir {
            // [MS-FSA] 2.1.5.1.1: a new file wants to be archived.
            found.attributes |= FileAttributes::ARCHIVE;
        }
        Ok(())
    }

    /// Puts an open into the tables and grants its oplock or lease; the caller has settled the
    /// conflicts.
    pub(super) fn grant(
        &mut self,
        cx: &Cx,
        want: &Want<'_>,
        Child { node, link }: Child,
        stream: StreamId,
    ) -> Result<OpenId, Stop> {
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        let client = conn.client_guid;
        let session = self.sessions.get(&cx.session);
        let user = session
            .map(|session| session.user.clone())
            .unwrap_or_default();
        let is_dir = stream == node && self.fs.node(node)?.is_dir();
        let options = want.body.create_options;
        let open = Open {
            volatile: 0,
            number: 0,
            conn: Some(cx.conn),
            session: cx.session,
            tree: cx.tree,
            share: cx.share,
            user,
            client,
            node,
            link,
            stream,
            is_dir,
            access: want.access,
            share_access: want.body.share_access,
            options,
            oplock: OplockLevel::NONE,
            breaking: None,
            lease: None,
            parent_lease: want.parent_lease(client),
            wrote: false,
            delete_on_close: options.contains(CreateOptions::DELETE_ON_CLOSE),
            posix_delete: false,
            posix: want.asked.posix.is_some(),
            durable: None,
            scan: None,
            watch: None,
            position: 0,
            lock_sequences: Vec::new(),
        };
        let id = self.insert_open(open);
        if is_dir {
            self.grant_directory_lease(cx, id, want)?;
        } else {
            self.grant_oplock(id, want)?;
        }
        Ok(id)
    }
}

/// Checks that need no file. [MS-SMB2] 3.3.5.9.
fn check_request(body: &CreateRequest) -> Result<(), NtStatus> {
    let options = body.create_options;
    if body.impersonation_level > ImpersonationLevel::DELEGATE {
        return Err(BAD_IMPERSONATION_LEVEL);
    }
    if body.create_disposition > CreateDisposition::OVERWRITE_IF {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    let both = CreateOptions::DIRECTORY_FILE | CreateOptions::NON_DIRECTORY_FILE;
    if options.contains(both) || options.bits() & 0xff00_0000 != 0 {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    // As Samba: what cannot be done is refused, not ignored.
    let refused = CreateOptions::OPEN_BY_FILE_ID | CreateOptions::RESERVE_OPFILTER;
    if options.intersects(refused) {
        return Err(NtStatus::NOT_SUPPORTED);
    }
    let fresh = matches!(
        body.create_disposition,
        CreateDisposition::SUPERSEDE
            | CreateDisposition::OVERWRITE
            | CreateDisposition::OVERWRITE_IF
    );
    if options.contains(CreateOptions::DIRECTORY_FILE) && fresh {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if body.desired_access.bits() & 0x0ce0_fe00 != 0 || body.desired_access.is_empty() {
        return Err(NtStatus::ACCESS_DENIED);
    }
    if body.share_access.bits() & !7 != 0 {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if body.file_attributes.bits() & !0x0000_7fb7 != 0 {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    Ok(())
}

/// Deleting needs the right to, and a file that may be. [MS-FSA] 2.1.5.1.2, 2.1.5.15.3.
pub(super) fn may_delete(access: AccessMask, attributes: FileAttributes) -> Result<(), NtStatus> {
    if !access.contains(AccessMask::DELETE) {
        return Err(NtStatus::ACCESS_DENIED);
    }
    if attributes.contains(FileAttributes::READONLY) {
        return Err(NtStatus::CANNOT_DELETE);
    }
    Ok(())
}

/// Permissions of chmod.
const PERMISSIONS: u32 = 0o7777;

/// Attributes that a client may set. [MS-FSCC] 2.6.
pub(super) const SETTABLE: FileAttributes = FileAttributes::from_bits_retain(0x0000_3127);

/// A descriptor with four parts of the longest kind is no longer. [MS-DTYP] 2.4.6.
const MAX_DESCRIPTOR: usize = 128 << 10;
const INVALID_SECURITY_DESCR: NtStatus = NtStatus(0xc000_0079);
const BAD_IMPERSONATION_LEVEL: NtStatus = NtStatus(0xc000_00a5);
