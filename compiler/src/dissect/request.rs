//! Requests: from bytes to operations.

use smbench_core::{
    ids::{ConnId, OpId, OpenRef},
    smb2::{
        Body, Command, CreateRequest, Decoded, FileId, Fsctl, Guid, Header, HeaderFlags, Message,
        Name, Request, SessionId, TreeId,
    },
    workload::{Action, Compound, DataRef, Operation, reclaimed_handle},
};

use super::{
    Dissector, Stamp,
    handles::Provider,
    index,
    pdu::{Piece, decode_cut, pieces},
    state::Pending,
};
use crate::capture::{Direction, FrameInfo};

/// What a related request takes over from the one before it. [MS-SMB2] 3.3.5.2.7.2.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carry {
    session: SessionId,
    tree: TreeId,
    provider: Provider,
    /// First operation of the frame.
    first: Option<OpId>,
}

impl Dissector {
    /// The requests of a frame.
    pub(super) fn requests(&mut self, conn: usize, stamp: Stamp, bytes: &[u8], len: usize) {
        self.set_up_before(conn, stamp, bytes, len);
        let mut carry = Carry::default();
        for piece in pieces(bytes, len) {
            if piece.hides() {
                self.missed(conn, Direction::ClientToServer);
            }
            let header = match piece.header {
                Ok(header) if header.is_response() => {
                    self.skip("response of a client");
                    continue;
                }
                Ok(header) => header,
                Err(why) => {
                    self.skip(why);
                    continue;
                }
            };
            if piece.bad_next {
                self.problem("bad NextCommand");
            }
            self.workload.coverage.requests_seen += 1;
            if let Some(it) = self.conns.get_mut(conn) {
                it.requests += 1;
            }
            self.request(conn, stamp, &header, &piece, &mut carry);
        }
        // What was announced behind the last one may be cut.
        let last = self.live.last_mut().filter(|_| carry.first.is_some());
        if let Some(compound) = last.and_then(|op| op.compound.as_mut()) {
            compound.last = true;
        }
    }

    fn request(
        &mut self,
        conn: usize,
        stamp: Stamp,
        header: &Header,
        piece: &Piece<'_>,
        carry: &mut Carry,
    ) {
        let decoded = if piece.is_cut() {
            decode_cut(header, piece)
        } else {
            Ok(Message::decode_rest(*header, piece.bytes))
        };
        let Ok(Decoded { message, bulk }) = decoded else {
            return self.skip("bad header");
        };
        let Body::Request(mut request) = message.body else {
            return self.skip("response of a client");
        };
        if piece.is_cut() {
            self.problem("request cut: what it lacks is zero");
            let missing = piece.wire_len.saturating_sub(piece.bytes.len());
            let missing = u64::try_from(missing).unwrap_or(u64::MAX);
            *self.inferred.entry("bytes of cut requests").or_default() += missing;
            trim(&mut request);
        }
        let seq = self.tick();
        let id = self.next_op();
        let bulk = bulk.and_then(|range| piece.bytes.get(range));
        let mut flight = self.live.blank();
        let op = &mut flight.op;
        self.operation(conn, id, header, &mut request, carry, op);
        op.frame = stamp.frame;
        op.compound = place(id, header, piece, carry);
        op.cut = piece.is_cut();
        let related = header.flags.contains(HeaderFlags::RELATED);
        let mut users_of = None;
        match request.file_id() {
            Some(FileId::RELATED) if related => match carry.provider {
                Provider::Open(open) => op.open = Some(open),
                Provider::Create(create) => {
                    op.path = self.name_of(create);
                    users_of = Some(create);
                }
                Provider::None => {}
            },
            Some(_) => {
                op.open = self.open_of(&mut request, op.session, op.tree, seq);
                carry.provider = op.open.map_or(Provider::None, Provider::Open);
            }
            None if header.command == Command::CREATE => carry.provider = Provider::Create(id),
            None => {}
        }
        self.references(conn, header, &mut request, op);
        op.data = self.data_of(header.command, &request, bulk, op.cut);
        op.rpc = self.calls(conn, op, &request, bulk, users_of);
        if let (Command::SESSION_SETUP, Some(session), Some(token)) =
            (header.command, op.session, bulk)
        {
            op.principal = self.token_sent(conn, header, session, token);
        }
        op.action = Action::Request(request);
        self.check(header, piece, bulk, op);
        *self.by_command.entry(header.command).or_default() += 1;
        self.namespace.asked(op);
        self.push(flight, stamp, seq, piece.weight());
        self.await_answer(conn, header, id, stamp, users_of);
    }

    /// Makes a blank `op` that of a request, as far as the header tells; resolves session and tree.
    fn operation(
        &mut self,
        conn: usize,
        id: OpId,
        header: &Header,
        request: &mut Request,
        carry: &mut Carry,
        op: &mut Operation,
    ) {
        let related = header.flags.contains(HeaderFlags::RELATED);
        let session_id = match header.session_id {
            SessionId(u64::MAX) if related => carry.session,
            own => own,
        };
        let tree_id = match header.tree_id().unwrap_or_default() {
            TreeId(u32::MAX) if related => carry.tree,
            own => own,
        };
        carry.session = session_id;
        carry.tree = tree_id;
        let session = match (header.command, &*request) {
            (Command::SESSION_SETUP, Request::SessionSetup(setup)) => {
                self.session_of_setup(conn, session_id, Some(setup))
            }
            (Command::SESSION_SETUP, _) => self.session_of_setup(conn, session_id, None),
            _ => self.session_of(conn, session_id),
        };
        let (tree, raw_tree) = self.tree_of(header.command, session, tree_id);
        op.id = id;
        op.conn = ConnId(index(conn));
        op.session = session;
        op.tree = tree;
        op.cmd = header.command;
        op.mid = header.message_id.0;
        op.charge = header.credit_charge;
        op.credits = header.credits;
        op.flags = header.flags - (HeaderFlags::SIGNED | HeaderFlags::RELATED | HeaderFlags::ASYNC);
        op.channel_sequence = header.status;
        if !header.is_async() {
            let low = header.id & u64::from(u32::MAX);
            op.process_id = u32::try_from(low).unwrap_or_default();
        }
        op.raw_tree = raw_tree;
    }

    /// References to other operations and what they made.
    fn references(
        &mut self,
        conn: usize,
        header: &Header,
        request: &mut Request,
        op: &mut Operation,
    ) {
        match request {
            Request::Negotiate(negotiate) if negotiate.client_guid != Guid::default() => {
                if let Some(it) = self.conns.get_mut(conn) {
                    it.guid.get_or_insert(negotiate.client_guid);
                }
            }
            Request::Create(create) => op.reclaims = self.reclaimed(conn, create),
            Request::SessionSetup(setup) if setup.previous_session_id.0 != 0 => {
                op.previous_session = self.previous_session(conn, setup.previous_session_id);
                if op.previous_session.is_some() {
                    setup.previous_session_id = SessionId(0);
                }
            }
            // [MS-SMB2] 2.2.31.1: the source is named by a resume key of 24 bytes.
            Request::Ioctl(ioctl)
                if matches!(
                    ioctl.ctl_code,
                    Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE
                ) =>
            {
                let key = ioctl.input.first_chunk::<24>();
                op.resume_key_of = key.and_then(|key| self.state.resume_keys.get(key).copied());
            }
            Request::Cancel(_) => {
                let it = self.conns.get(conn);
                op.cancels = match header.async_id() {
                    Some(id) => it.and_then(|it| it.asynchronous.get(&id).copied()),
                    None => it.and_then(|it| Some(it.pending.get(&header.message_id.0)?.op)),
                };
            }
            _ => {}
        }
    }

    /// The open that durable reconnect contexts name; their handles are zeroed when it is known.
    fn reclaimed(&self, conn: usize, create: &mut CreateRequest) -> Option<OpenRef> {
        let server = self.conns.get(conn)?.server;
        let mut found = None;
        for handle in create.contexts.iter_mut().filter_map(reclaimed_handle) {
            let open = self.state.durable.get(&(server, *handle)).copied();
            if let Some(open) = open
                && found.is_none_or(|found| found == open)
            {
                found = Some(open);
                *handle = FileId::ZERO;
            }
        }
        found
    }

    /// WRITE data; zeros for what the capture does not hold.
    fn data_of(
        &mut self,
        command: Command,
        request: &Request,
        bulk: Option<&[u8]>,
        cut: bool,
    ) -> Option<DataRef> {
        if command != Command::WRITE {
            return None;
        }
        match (bulk, request) {
            (Some(bulk), _) => self.keep(bulk),
            (None, Request::Write(write)) if cut && (1..=MAX_MADE_UP).contains(&write.length) => {
                self.zeros(write.length)
            }
            _ => None,
        }
    }

    fn await_answer(
        &mut self,
        conn: usize,
        header: &Header,
        op: OpId,
        stamp: Stamp,
        users_of: Option<OpId>,
    ) {
        let Some(it) = self.conns.get_mut(conn) else {
            return;
        };
        if let Some(create) = users_of {
            let waiting = self.live.get(create).map(|create| create.mid);
            if let Some(pending) = waiting.and_then(|mid| it.pending.get_mut(&mid)) {
                pending.users.push(op);
            }
        }
        // CANCEL has no answer. [MS-SMB2] 3.3.5.16
        if header.command == Command::CANCEL {
            return;
        }
        let pending = Pending {
            op,
            command: header.command,
            time_ns: stamp.time_ns,
            interim_ns: None,
            credits: 0,
            users: Vec::new(),
        };
        self.live.waits(op);
        if let Some(before) = it.pending.insert(header.message_id.0, pending) {
            self.problem("MessageId used again before its answer");
            self.settled(before.op);
        }
        self.late_request(conn, header.message_id.0);
    }

    /// SMB1: only a NEGOTIATE that offers SMB2 is of use. [MS-SMB2] 3.3.5.3.1.
    pub(super) fn smb1(&mut self, conn: usize, info: &FrameInfo, stamp: Stamp, bytes: &[u8]) {
        let offers = bytes.get(4) == Some(&SMB_COM_NEGOTIATE)
            && bytes.windows(DIALECT.len()).any(|window| window == DIALECT);
        let useful = offers
            && info.complete
            && info.dir == Direction::ClientToServer
            && bytes.len() <= LONGEST_NEGOTIATE;
        if !useful {
            return self.skip("smb1");
        }
        if let Some(it) = self.conns.get_mut(conn) {
            it.midway.get_or_insert(false);
        }
        let seq = self.tick();
        let id = self.next_op();
        let header = Header::default();
        let mut request = Request::Echo(smbench_core::smb2::EchoRequest::default());
        let mut carry = Carry::default();
        let mut flight = self.live.blank();
        let op = &mut flight.op;
        self.operation(conn, id, &header, &mut request, &mut carry, op);
        op.frame = stamp.frame;
        op.action = Action::Smb1Negotiate(bytes.to_vec());
        self.push(flight, stamp, seq, bytes.len());
        self.await_answer(conn, &header, id, stamp, None);
    }

    /// The name that a CREATE asks for.
    pub(super) fn name_of(&self, create: OpId) -> Option<String> {
        match &self.live.get(create)?.action {
            Action::Request(Request::Create(create)) => Some(create.name.to_lossy().into_owned()),
            _ => None,
        }
    }
}

/// Where in a compound a request stands.
fn place(id: OpId, header: &Header, piece: &Piece<'_>, carry: &mut Carry) -> Option<Compound> {
    let related = header.flags.contains(HeaderFlags::RELATED);
    let alone = carry.first.is_none() && !piece.more;
    let first = *carry.first.get_or_insert(id);
    (!alone || related).then_some(Compound {
        first,
        position: u16::try_from(id.0.saturating_sub(first.0)).unwrap_or(u16::MAX),
        related,
        last: false,
    })
}

/// Takes the zeros off names that stand for characters that were not captured.
fn trim(request: &mut Request) {
    let name = match request {
        Request::Create(create) => &mut create.name,
        Request::TreeConnect(connect) => &mut connect.path,
        _ => return,
    };
    if let Name::Text(text) = name {
        text.truncate(text.trim_end_matches('\0').len());
    }
}

const SMB_COM_NEGOTIATE: u8 = 0x72;
/// The beginning of the dialects that lead to SMB2. [MS-SMB2] 3.2.4.2.2.1.
const DIALECT: &[u8] = b"\x02SMB 2.";
const LONGEST_NEGOTIATE: usize = 4096;
/// WRITE data is made up to this length, which no dialect's negotiated maximum exceeds.
const MAX_MADE_UP: u32 = 16 << 20;
