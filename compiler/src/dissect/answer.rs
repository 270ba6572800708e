//! What final responses say.

use smbench_core::{
    fscc::SymlinkError,
    function::Function,
    ids::{OpId, TreeRef},
    smb2::{
        Command, ContextData, CreateResponse, Fsctl, Header, NtStatus, Request, Response,
        SessionFlags, TreeConnectResponse,
    },
    workload::{Action, Expect, LeaseGrant, Tree},
};

use super::{Dissector, cut, index, pdu::Piece, state::Pending};
use crate::namespace;

impl Dissector {
    /// Reads the body of a final response as far as anything in it matters.
    pub(super) fn body(
        &mut self,
        conn: usize,
        header: &Header,
        piece: &Piece<'_>,
        pending: &Pending,
        expect: &mut Expect,
    ) {
        if !self.tells(header, pending.op) {
            return;
        }
        let (body, bulk) = match cut::response(header, piece) {
            Ok(Some(known)) => known,
            Ok(None) => return self.cut_answer(conn, header, pending.op),
            Err(_) => return self.problem("response that does not parse"),
        };
        match body {
            Response::Negotiate(it) => {
                expect.dialect = Some(it.dialect_revision);
                if it.dialect_revision != smbench_core::smb2::Dialect::WILDCARD
                    && let Some(entry) = self.workload.connections.get_mut(conn)
                {
                    entry.dialect = Some(it.dialect_revision);
                    entry.capabilities = Some(it.capabilities);
                }
            }
            Response::SessionSetup(it) => {
                let flags = it.session_flags;
                self.session_answered(conn, header, pending.op, flags, bulk.unwrap_or_default());
            }
            Response::TreeConnect(it) => self.tree_connected(header, pending.op, &it),
            Response::Create(it) => self.create_answered(conn, &it, piece, pending, expect),
            Response::Read(it) => {
                expect.count = Some(it.length);
                expect.data = bulk.and_then(|bulk| self.keep(bulk));
                let bulk = bulk.unwrap_or_default();
                self.namespace_reads(pending.op, bulk, expect);
                let of = self.live.get(pending.op);
                if of.is_some_and(|of| self.namespace.is_made_up(of, bulk.len())) {
                    // A run writes zeros there: it cannot read what was read then.
                    expect.data = None;
                    self.infer("reads of what was not captured");
                }
            }
            Response::Write(it) => expect.count = Some(it.count),
            Response::Ioctl(it) if it.ctl_code == Fsctl::SRV_REQUEST_RESUME_KEY => {
                // [MS-SMB2] 2.2.32.3
                if let Some(key) = it.output.first_chunk::<24>() {
                    self.state.resume_keys.insert(*key, pending.op);
                }
            }
            Response::Ioctl(it) => {
                self.namespace_told(pending.op, |namespace, op, _| {
                    namespace.controlled(op, &it.output);
                });
                self.keep_output(pending.op, piece, &it.output, expect);
            }
            Response::Error(it) => match SymlinkError::decode(&it) {
                Ok(Some(error)) => self.namespace.stopped_by(pending.op, error),
                Ok(None) => {}
                Err(_) => self.problem("error data that does not parse"),
            },
            Response::QueryDirectory(it) => {
                self.namespace_lists(pending.op, &it.output, expect.status);
                self.keep_output(pending.op, piece, &it.output, expect);
            }
            Response::QueryInfo(it) => {
                if self.is_awaited(pending.op) {
                    self.namespace_told(pending.op, |namespace, op, span| {
                        namespace.queried(op, span, &it.output);
                    });
                }
                self.keep_output(pending.op, piece, &it.output, expect);
            }
            Response::Close(it) => self.namespace_told(pending.op, |namespace, op, span| {
                namespace.closing(op, span, &it);
            }),
            Response::Opaque(_) => self.problem("response that does not parse"),
            _ => {}
        }
    }

    /// Keeps what came back, if all of it was captured, where nobody can compute it.
    fn keep_output(&mut self, op: OpId, piece: &Piece<'_>, output: &[u8], expect: &mut Expect) {
        let keeps = self.function_of(op).is_some_and(Function::keeps_output);
        if keeps && !piece.is_cut() {
            expect.output = self.keep(output);
        }
    }

    fn function_of(&self, op: OpId) -> Option<Function> {
        match &self.live.get(op)?.action {
            Action::Request(request) => Some(Function::of(request)),
            _ => None,
        }
    }

    /// An answer that was cut before what matters in it: what its header tells.
    fn cut_answer(&mut self, conn: usize, header: &Header, op: OpId) {
        self.problem("answer cut before what it tells");
        match header.command {
            Command::SESSION_SETUP => {
                self.session_answered(conn, header, op, SessionFlags::default(), &[]);
            }
            Command::TREE_CONNECT => {
                self.tree_connected(header, op, &TreeConnectResponse::default());
            }
            _ => {}
        }
    }

    /// Whether the body of this response is worth decoding.
    fn tells(&self, header: &Header, op: OpId) -> bool {
        let status = header.nt_status();
        let whole_or_cut = [NtStatus::SUCCESS, NtStatus::BUFFER_OVERFLOW].contains(&status);
        if whole_or_cut
            && OUTPUTS.contains(&header.command)
            && self.function_of(op).is_some_and(Function::keeps_output)
        {
            return true;
        }
        match header.command {
            Command::SESSION_SETUP => {
                !status.is_error() || status == NtStatus::MORE_PROCESSING_REQUIRED
            }
            Command::CREATE if status == NtStatus::STOPPED_ON_SYMLINK => true,
            Command::NEGOTIATE | Command::TREE_CONNECT | Command::CREATE | Command::WRITE => {
                !status.is_error()
            }
            Command::READ | Command::QUERY_DIRECTORY => !status.is_error() && !status.is_warning(),
            Command::IOCTL => {
                let action = self.live.get(op).map(|op| &op.action);
                matches!(action, Some(Action::Request(Request::Ioctl(it)))
                    if TELLING.contains(&it.ctl_code))
                    && !status.is_error()
            }
            // What does not fit is cut. [MS-SMB2] 3.3.5.20.1
            Command::QUERY_INFO if status == NtStatus::BUFFER_OVERFLOW => self.is_awaited(op),
            Command::QUERY_INFO | Command::CLOSE => !status.is_error() && self.is_awaited(op),
            _ => false,
        }
    }

    /// Whether the namespace waits for an answer.
    fn is_awaited(&self, op: OpId) -> bool {
        let op = self.live.get(op);
        op.is_some_and(|op| namespace::tells(&op.action))
    }

    /// Gives the namespace what a READ showed and is not known yet.
    fn namespace_reads(&mut self, op: OpId, bulk: &[u8], expect: &Expect) {
        let Some(of) = self.live.get(op) else {
            return;
        };
        let Some(whole) = expect.data else { return };
        let parts = self.namespace.unknown(of, bulk.len());
        if parts.is_empty() {
            return self.namespace_told(op, |namespace, op, span| {
                namespace.showed_again(op, span, expect);
            });
        }
        for (offset, from, to) in parts {
            let Some(part) = bulk.get(from..to) else {
                continue;
            };
            let data = if part.len() == bulk.len() {
                Some(whole)
            } else {
                self.keep(part)
            };
            if let (Some(of), Some(data)) = (self.live.get(op), data) {
                self.namespace.showed(of, offset, data);
            }
        }
    }

    fn session_answered(
        &mut self,
        conn: usize,
        header: &Header,
        op: OpId,
        flags: SessionFlags,
        token: &[u8],
    ) {
        let Some(session) = self.live.get(op).and_then(|op| op.session) else {
            return;
        };
        if header.session_id.0 != 0 {
            self.name_session(conn, session, header.session_id);
        }
        if header.nt_status() == NtStatus::MORE_PROCESSING_REQUIRED {
            self.token_received(conn, header, token);
        } else if let Some(entry) = self.workload.sessions.get_mut(session.index()) {
            entry.flags = flags.bits();
        }
    }

    fn tree_connected(&mut self, header: &Header, op: OpId, response: &TreeConnectResponse) {
        let Some(op) = self.live.get_mut(op) else {
            return;
        };
        let Some(session) = op.session else {
            return;
        };
        let path = match &op.action {
            Action::Request(Request::TreeConnect(it)) => it.path.to_lossy().into_owned(),
            _ => String::new(),
        };
        let tree = TreeRef(index(self.workload.trees.len()));
        op.tree = Some(tree);
        self.workload.trees.push(Tree {
            session,
            path,
            share_type: response.share_type.0,
            wire_id: header.tree_id().unwrap_or_default(),
            inferred: false,
        });
        match header.tree_id() {
            Some(id) => self.name_tree(session, tree, id),
            // A final asynchronous response carries no tree id. [MS-SMB2] 2.2.1.1
            None => {
                if let Some(state) = self.state.session(session) {
                    state.unnamed_trees.push(tree);
                }
            }
        }
    }

    fn create_answered(
        &mut self,
        conn: usize,
        response: &CreateResponse,
        piece: &Piece<'_>,
        pending: &Pending,
        expect: &mut Expect,
    ) {
        expect.oplock = Some(response.oplock_level);
        if piece.bytes.len() < FIXED_CREATE {
            return self.problem("CREATE response cut before its FileId");
        }
        expect.file_id = Some(response.file_id);
        expect.action = Some(response.create_action.0);
        expect.size = Some(response.end_of_file);
        expect.attributes = Some(response.file_attributes.bits());
        let mut ids = response.contexts.iter().filter_map(|it| match &it.data {
            ContextData::OnDiskIdResponse(on_disk) => Some(on_disk.disk_file_id),
            _ => None,
        });
        let times = namespace::create_times(response);
        self.namespace
            .created_at(pending.op, times, ids.next_back());
        let mut leases = response.contexts.iter().filter_map(|it| match &it.data {
            ContextData::Lease(lease) => Some(lease),
            _ => None,
        });
        expect.lease = leases.next_back().map(|lease| LeaseGrant {
            state: lease.state,
            flags: lease.flags.bits(),
            epoch: lease.epoch,
        });
        let asked = self.live.get(pending.op);
        let Some((tree, session)) = asked.and_then(|op| Some((op.tree, op.session?))) else {
            return self.problem("CREATE without a session");
        };
        let open = self.created(pending.op, session, response.file_id, tree);
        let tree = tree.and_then(|tree| self.workload.trees.get(tree.index()));
        if tree.is_some_and(|tree| tree.holds_pipes()) {
            self.pipes.opened(pending.op, open, conn, session);
        }
        if let Some(it) = self.conns.get(conn) {
            let key = (it.server, response.file_id);
            self.state.durable.insert(key, open);
        }
        for user in std::iter::once(pending.op).chain(pending.users.iter().copied()) {
            match self.live.get_mut(user) {
                Some(op) => op.open = Some(open),
                None => self.problem("answered before the CREATE of its compound"),
            }
        }
    }
}

/// FSCTLs whose answers tell what later requests use, or of links.
const TELLING: [Fsctl; 3] = [
    Fsctl::SRV_REQUEST_RESUME_KEY,
    Fsctl::GET_REPARSE_POINT,
    Fsctl::DFS_GET_REFERRALS,
];
/// End of FileId in a CREATE response. [MS-SMB2] 2.2.14.
const FIXED_CREATE: usize = 64 + 80;

/// Commands whose answers have an output.
const OUTPUTS: [Command; 3] = [
    Command::IOCTL,
    Command::QUERY_INFO,
    Command::QUERY_DIRECTORY,
];
