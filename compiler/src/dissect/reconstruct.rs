//! Set-up that was not captured: a connection that begins in the middle uses sessions, trees and opens that
//! nobody saw made. What makes them is put before their first use, marked and without an answer.
//!
//! A dialect is negotiated anew, whoever the run has logs in, a share is the run's own, and an open is of a
//! file that is named after it. All members of a compound are looked at before its first gets its number: its
//! members stand one after the other.

use smbench_core::{
    frame::Digest,
    ids::{ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{
        AccessMask, Body, Capabilities, Command, CreateAction, CreateDisposition, CreateOptions,
        CreateRequest, Dialect, FileAttributes, FileId, Fsctl, Guid, Header, HeaderFlags,
        IoctlInput, Message, Name, NtStatus, Request, SecurityMode, SessionId, SessionSetupFlags,
        SessionSetupRequest, ShareAccess, ShareType, TreeConnectRequest, TreeId,
    },
    workload::{Action, Expect, Operation, Tree},
};

use super::{Dissector, Stamp, index, pdu::pieces};
use crate::{
    WireSpan,
    foresight::{Offer, Unseen},
    offer::all_dialects,
};

/// Where a frame's next message belongs.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    session: SessionId,
    tree: TreeId,
}

impl Dissector {
    /// Puts the set-up before the requests of a frame that use what nobody saw set up.
    pub(super) fn set_up_before(&mut self, conn: usize, stamp: Stamp, bytes: &[u8], len: usize) {
        let mut place = Place::default();
        for piece in pieces(bytes, len) {
            let Ok(header) = piece.header else { continue };
            if header.is_response() {
                continue;
            }
            let midway = self.begins_in_the_middle(conn, header.command);
            let unanswered = self.conns.get(conn).is_some_and(|it| it.responses == 0);
            if !midway && !unanswered {
                return;
            }
            let Body::Request(request) = Message::decode_rest(header, piece.bytes).message.body
            else {
                continue;
            };
            if unanswered {
                self.hand_out(conn, &header, request.file_id());
            }
            if midway {
                self.set_up_for(conn, stamp, &header, &request, &mut place);
            }
        }
    }

    /// Whether the first request of a connection was no NEGOTIATE: then it was set up before the capture.
    fn begins_in_the_middle(&mut self, conn: usize, first: Command) -> bool {
        let Some(it) = self.conns.get_mut(conn) else {
            return false;
        };
        *it.midway.get_or_insert(first != Command::NEGOTIATE)
    }

    fn set_up_for(
        &mut self,
        conn: usize,
        stamp: Stamp,
        header: &Header,
        request: &Request,
        place: &mut Place,
    ) {
        let related = header.flags.contains(HeaderFlags::RELATED);
        let tree = header.tree_id().unwrap_or_default();
        *place = Place {
            session: match header.session_id {
                SessionId(u64::MAX) if related => place.session,
                own => own,
            },
            tree: match tree {
                TreeId(u32::MAX) if related => place.tree,
                own => own,
            },
        };
        self.negotiate(conn, stamp, place.session);
        self.offer_of(conn, request);
        if place.session.0 == 0 || binds(request) {
            return;
        }
        // A SESSION_SETUP that names a session goes on with a login, or logs in again: either way one had begun.
        let session = self.log_in(conn, stamp, place.session);
        let plain = matches!(
            header.command,
            Command::SESSION_SETUP
                | Command::LOGOFF
                | Command::TREE_CONNECT
                | Command::ECHO
                | Command::CANCEL
        );
        if plain || place.tree.0 == 0 || header.is_async() {
            return;
        }
        let tree = self.connect(conn, stamp, session, place.tree, is_of_pipes(request));
        let Some(id) = request.file_id() else { return };
        if id != FileId::RELATED && id != FileId::ZERO {
            self.open(conn, stamp, (session, tree), id, Opening::of(request));
        }
    }

    /// One direction alone was captured: what an answer would have told shows when it is used. Ids are handed
    /// out in the order of their first use.
    fn hand_out(&mut self, conn: usize, header: &Header, file: Option<FileId>) {
        let id = header.session_id;
        if id.0 == 0 || id.0 == u64::MAX {
            return;
        }
        let Some(session) = self.session_in_use(conn, id) else {
            return;
        };
        let tree = header
            .tree_id()
            .filter(|tree| tree.0 != 0 && tree.0 != u32::MAX);
        let state = self.state.session(session);
        let unknown = |tree: &TreeId| state.is_none_or(|it| !it.trees.contains_key(&tree.0));
        if let Some(tree) = tree.filter(unknown) {
            self.hand_out_tree(conn, session, tree);
        }
        let file = file.filter(|file| *file != FileId::RELATED && *file != FileId::ZERO);
        if let Some(file) = file {
            self.hand_out_open(conn, session, file);
        }
    }

    /// The session that the wire calls `id`: one that a login began whose answer nobody saw.
    fn session_in_use(&mut self, conn: usize, id: SessionId) -> Option<SessionRef> {
        let known = self.known_session(conn, id);
        if known.is_some() {
            return known;
        }
        let mut sessions = self.workload.sessions.iter().enumerate();
        let (at, _) =
            sessions.rfind(|(_, it)| it.conn == ConnId(index(conn)) && it.wire_id.0 == 0)?;
        let session = SessionRef(index(at));
        self.name_session(conn, session, id);
        self.infer("ids handed out");
        Some(session)
    }

    /// The first request of `command` on a connection and in a session that nobody saw answered, and for which
    /// `is_open` holds.
    fn unanswered(
        &self,
        conn: usize,
        session: SessionRef,
        command: Command,
        is_open: impl Fn(&Operation) -> bool,
    ) -> Option<OpId> {
        let pending = self.conns.get(conn)?.pending.values();
        let asked = pending.filter(|it| it.command == command).map(|it| it.op);
        let fits = |op: &OpId| {
            let op = self.live.get(*op);
            op.is_some_and(|op| op.session == Some(session) && is_open(op))
        };
        asked.filter(fits).min()
    }

    fn hand_out_tree(&mut self, conn: usize, session: SessionRef, id: TreeId) {
        let connects =
            self.unanswered(conn, session, Command::TREE_CONNECT, |op| op.tree.is_none());
        let Some(op) = connects.and_then(|op| self.live.get_mut(op)) else {
            return;
        };
        let Action::Request(Request::TreeConnect(connect)) = &op.action else {
            return;
        };
        let path = connect.path.to_lossy().into_owned();
        let tree = TreeRef(index(self.workload.trees.len()));
        op.tree = Some(tree);
        let pipes = path.to_uppercase().ends_with("\\IPC$");
        self.workload.trees.push(Tree {
            session,
            path,
            share_type: if pipes {
                ShareType::PIPE.0
            } else {
                ShareType::DISK.0
            },
            wire_id: id,
            inferred: false,
        });
        self.name_tree(session, tree, id);
        self.infer("ids handed out");
    }

    fn hand_out_open(&mut self, conn: usize, session: SessionRef, id: FileId) {
        let known = self
            .state
            .session(session)
            .is_none_or(|it| it.opens.contains_key(&id));
        if known {
            return;
        }
        let creates = self.unanswered(conn, session, Command::CREATE, |op| op.open.is_none());
        let Some(op) = creates else { return };
        let tree = self.live.get(op).and_then(|op| op.tree);
        let open = self.created(op, session, id, tree);
        if let Some(op) = self.live.get_mut(op) {
            op.open = Some(open);
        }
        self.infer("ids handed out");
    }

    pub(super) fn negotiate(&mut self, conn: usize, stamp: Stamp, session: SessionId) {
        let offer = self.foreseen_offers.get(&conn).cloned();
        let offered = offer.as_ref().map(|offer| offer.client);
        let guid = offered.filter(|guid| *guid != Guid::default());
        let guid = guid.unwrap_or_else(|| self.client_of(conn, session));
        let Some(it) = self.conns.get_mut(conn) else {
            return;
        };
        if std::mem::replace(&mut it.negotiated, true) {
            return;
        }
        let guid = *it.guid.get_or_insert(guid);
        let capabilities = Capabilities::LEASING
            | Capabilities::LARGE_MTU
            | Capabilities::DIRECTORY_LEASING
            | Capabilities::ENCRYPTION;
        let mut request = all_dialects(guid, capabilities, b"smbench reconstructs");
        if let Some(offer) = offer {
            request.capabilities = offer.capabilities;
            request.client_guid = offer.client;
            request.security_mode = offer.security_mode;
            request.dialects = offer.dialects;
            if !request.dialects.contains(&Dialect::SMB_3_1_1) {
                request.contexts.clear();
            }
            self.infer("offers of connections that were not captured");
        }
        self.put(conn, stamp, Request::Negotiate(request), |_| {});
    }

    /// Notes what a client says that it had offered. [MS-SMB2] 2.2.31.4.
    fn offer_of(&mut self, conn: usize, request: &Request) {
        let Request::Ioctl(ioctl) = request else {
            return;
        };
        if let IoctlInput::ValidateNegotiate {
            capabilities,
            client_guid,
            security_mode,
            dialects,
        } = IoctlInput::parse(ioctl.ctl_code, &ioctl.input)
        {
            self.midway.offers.entry(conn).or_insert(Offer {
                capabilities,
                client: client_guid,
                security_mode,
                dialects,
            });
        }
    }

    /// The ClientGuid of a connection: that of another where its session was set up, else its own. Programs of one
    /// host are several clients, as they are where their NEGOTIATE is captured.
    fn client_of(&self, conn: usize, session: SessionId) -> Guid {
        let server = self.conns.get(conn).map(|it| it.server);
        let bound = server.and_then(|server| self.state.by_id.get(&(server, session.0)));
        let bound = bound.and_then(|session| self.workload.sessions.get(session.index()));
        let other = bound.and_then(|session| self.conns.get(session.conn.index()));
        let own = self.workload.connections.get(conn);
        other
            .and_then(|other| other.guid)
            .unwrap_or_else(|| guid_of(own.map_or("", |it| &it.from)))
    }

    pub(super) fn log_in(&mut self, conn: usize, stamp: Stamp, id: SessionId) -> SessionRef {
        if let Some(known) = self.known_session(conn, id) {
            return known;
        }
        let session = self.new_session(conn, false);
        self.name_session(conn, session, id);
        let request = SessionSetupRequest {
            security_mode: SecurityMode::SIGNING_ENABLED,
            ..SessionSetupRequest::default()
        };
        self.put(conn, stamp, Request::SessionSetup(request), |op| {
            op.session = Some(session);
            // What it had been granted by then nobody knows: enough for whatever it does at once.
            op.credits = CREDITS;
        });
        session
    }

    pub(super) fn connect(
        &mut self,
        conn: usize,
        stamp: Stamp,
        session: SessionRef,
        id: TreeId,
        is_of_pipes: bool,
    ) -> TreeRef {
        let known = self
            .state
            .session(session)
            .and_then(|it| it.trees.get(&id.0).copied());
        if let Some(known) = known {
            return known;
        }
        let server = self.conns.get(conn).map(|it| it.server.to_string());
        let server = server.unwrap_or_default();
        let (name, share_type) = match is_of_pipes {
            true => ("IPC$", ShareType::PIPE),
            false => (UNKNOWN, ShareType::DISK),
        };
        let wire = self.workload.sessions.get(session.index());
        let told = wire.and_then(|it| self.foreseen_trees.get(&(conn, it.wire_id, id)));
        let path = told.cloned();
        if path.is_some() {
            self.infer("shares of trees that were not captured");
        }
        let path = path.unwrap_or_else(|| format!("\\\\{server}\\{name}"));
        self.midway.has_trees = true;
        let tree = TreeRef(index(self.workload.trees.len()));
        self.workload.trees.push(Tree {
            session,
            path: path.clone(),
            share_type: share_type.0,
            wire_id: id,
            inferred: false,
        });
        self.name_tree(session, tree, id);
        let request = TreeConnectRequest {
            path: Name::from(path.as_str()),
            ..TreeConnectRequest::default()
        };
        self.put(conn, stamp, Request::TreeConnect(request), |op| {
            op.session = Some(session);
            op.tree = Some(tree);
        });
        tree
    }

    pub(super) fn open(
        &mut self,
        conn: usize,
        stamp: Stamp,
        (session, tree): (SessionRef, TreeRef),
        id: FileId,
        opening: Opening,
    ) {
        let known = self
            .state
            .session(session)
            .and_then(|it| it.opens.get(&id).copied());
        if known.is_some() {
            return;
        }
        let number = self.state.opens.len();
        let pipe = opening.is_pipe;
        let folder = opening.options.contains(CreateOptions::DIRECTORY_FILE);
        let name = match (opening.name, pipe) {
            (Some(name), _) => name,
            (None, true) => "unknown".to_owned(),
            (None, false) => format!("{UNKNOWN}-open-{number}"),
        };
        let all = ShareAccess::READ | ShareAccess::WRITE | ShareAccess::DELETE;
        let create = CreateRequest {
            desired_access: opening.access,
            file_attributes: FileAttributes::NORMAL,
            share_access: opening.share.unwrap_or(all),
            create_disposition: CreateDisposition::OPEN_IF,
            create_options: opening.options,
            name: Name::from(name.as_str()),
            ..CreateRequest::default()
        };
        let op = self.next_op();
        let open = self.new_open(session, id, Some(op), Some(tree), self.seq);
        self.note_unseen(conn, (session, tree), id, open, !pipe && !folder);
        let found = Expect {
            status: NtStatus::SUCCESS,
            file_id: Some(id),
            action: Some(CreateAction::OPENED.0),
            attributes: folder.then(|| FileAttributes::DIRECTORY.bits()),
            ..Expect::default()
        };
        let span = WireSpan {
            request: self.seq,
            response: Some(self.seq),
            ..WireSpan::default()
        };
        let told = self.put(conn, stamp, Request::Create(create), |op| {
            op.session = Some(session);
            op.tree = Some(tree);
            op.open = Some(open);
        });
        if !pipe {
            self.namespace.answered(&self.workload, &told, span, &found);
        }
        if let Some(state) = self.state.opens.get_mut(open.index()) {
            state.name = Some(self.state.names.number(&name));
        }
    }

    /// Notes an open that nobody saw made.
    fn note_unseen(
        &mut self,
        conn: usize,
        (session, tree): (SessionRef, TreeRef),
        file: FileId,
        open: OpenRef,
        is_file: bool,
    ) {
        let session = self.workload.sessions.get(session.index());
        let tree = self.workload.trees.get(tree.index());
        let room = self.midway.unseen.len() < UNSEEN;
        if let (Some(session), Some(tree), true) = (session, tree, room) {
            self.midway.unseen.push(Unseen {
                open,
                conn,
                session: session.wire_id,
                tree: tree.wire_id,
                file,
                is_file,
            });
        }
    }

    /// Puts an operation that nobody captured; a copy of it.
    pub(super) fn put(
        &mut self,
        conn: usize,
        stamp: Stamp,
        request: Request,
        fill: impl FnOnce(&mut Operation),
    ) -> Operation {
        let seq = self.tick();
        let id: OpId = self.next_op();
        let mut flight = self.live.blank();
        let op = &mut flight.op;
        op.id = id;
        op.conn = ConnId(index(conn));
        op.cmd = request.command();
        op.charge = u16::from(op.cmd != Command::NEGOTIATE);
        op.credits = 1;
        op.frame = stamp.frame;
        op.reconstructed = true;
        op.action = Action::Request(request);
        fill(op);
        let copy = op.clone();
        self.infer("reconstructed");
        if matches!(copy.cmd, Command::CREATE | Command::LOCK) {
            // Done before whatever comes.
            flight.span.response = Some(self.tick());
        }
        self.push(flight, stamp, seq, WEIGHT);
        copy
    }
}

/// How an open is made that nobody saw made.
#[derive(Debug)]
pub(super) struct Opening {
    /// Its name; one of its own where nothing tells it.
    pub(super) name: Option<String>,
    pub(super) access: AccessMask,
    /// What others may do; everything where nothing tells it.
    pub(super) share: Option<ShareAccess>,
    pub(super) options: CreateOptions,
    pub(super) is_pipe: bool,
}

impl Opening {
    /// As its first use tells.
    fn of(request: &Request) -> Self {
        let folder = matches!(
            request,
            Request::QueryDirectory(_) | Request::ChangeNotify(_)
        );
        let (access, options) = match folder {
            true => (FOLDER_ACCESS, CreateOptions::DIRECTORY_FILE),
            false => (FILE_ACCESS, CreateOptions::from_bits_retain(0)),
        };
        Self {
            name: None,
            access,
            share: None,
            options,
            is_pipe: is_of_pipes(request),
        }
    }
}

/// Whether a request makes its connection a channel of a session of another one.
fn binds(request: &Request) -> bool {
    match request {
        Request::SessionSetup(setup) => setup.flags.contains(SessionSetupFlags::BINDING),
        _ => false,
    }
}

/// The same for all that goes over a connection.
fn guid_of(from: &str) -> Guid {
    let Digest([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..]) = Digest::of(from.as_bytes());
    Guid([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// Whether a request speaks to a pipe. [MS-FSCC] 2.3.49, 2.3.51
fn is_of_pipes(request: &Request) -> bool {
    match request {
        Request::Ioctl(ioctl) => {
            matches!(
                ioctl.ctl_code,
                Fsctl::PIPE_TRANSCEIVE | Fsctl::PIPE_WAIT | Fsctl::PIPE_PEEK
            )
        }
        Request::Create(create) => create
            .name
            .as_text()
            .is_some_and(|name| PIPE_NAMES.contains(&name.to_lowercase().as_str())),
        _ => false,
    }
}

/// Names of pipes that services listen on. [MS-RPCE] 2.1.1.2, and each service's own.
const PIPE_NAMES: [&str; 15] = [
    "atsvc",
    "browser",
    "dfsnm",
    "efsrpc",
    "epmapper",
    "eventlog",
    "initshutdown",
    "lsarpc",
    "netdfs",
    "netlogon",
    "samr",
    "spoolss",
    "srvsvc",
    "svcctl",
    "wkssvc",
];
const UNKNOWN: &str = "unknown";
/// Reading, writing, deleting, and attributes.
pub(super) const FILE_ACCESS: AccessMask = AccessMask::from_bits_retain(0x0013_019f);
/// Listing, deleting, and attributes.
const FOLDER_ACCESS: AccessMask = AccessMask::from_bits_retain(0x0011_0081);
const CREDITS: u16 = 8_192;
const WEIGHT: usize = 512;
/// Unseen opens that are looked at more closely.
const UNSEEN: usize = 1 << 16;
