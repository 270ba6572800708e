//! From frames to requests and from answers to frames. [MS-SMB2] 3.3.5.2, 3.3.4.1.

use std::collections::VecDeque;

use smbench_core::seal::is_smb1;
use smbench_core::smb2::{
    Body, Command, Dialect, ErrorResponse, FileId, Header, HeaderFlags, Message, MessageId,
    NtStatus, Pdu, Request, Response,
};

use super::answer::{Answer, Cx, Handled, Req, Stop};
use super::data::{len_of, len32};
use super::limits::{Limit, may_share};
use super::waiting::{AsyncId, Wait, Waiting};
use super::{AfterFailedCreate, ConnKey, Plant, Server, ServerOutput};

/// A frame's requests: one, or a compound.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) conn: ConnKey,
    /// Those that are not answered yet, the current one first.
    pub(super) requests: VecDeque<Req>,
    /// Length of the frame.
    bytes: usize,
    replies: Vec<Reply>,
    /// Bytes of them, at most.
    reply_bytes: usize,
    /// AsyncId of the current request, once it waits.
    async_id: Option<AsyncId>,
    encrypted: bool,
    /// The signature is wrong or missing, or encryption is missing: nothing runs.
    denied: bool,
    first: bool,
    session: u64,
    tree: u32,
    previous: Option<FileId>,
    /// Status of a failed CREATE that related requests inherit.
    inherited: Option<NtStatus>,
    hangup: bool,
}

impl Chain {
    /// The message id of the current request.
    pub(super) fn message_id(&self) -> Option<MessageId> {
        self.requests.front().map(|req| req.header.message_id)
    }

    /// Bytes held while it waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.saturating_add(self.reply_bytes)
    }

    /// Whether the current request runs in a session, and tree if one is given.
    pub(super) fn belongs(&self, session: u64, tree: Option<u32>) -> bool {
        self.session == session && tree.is_none_or(|tree| tree == self.tree)
    }
}

/// A response, and what its credits are reckoned from.
#[derive(Debug)]
struct Reply {
    header: Header,
    body: Response,
    bulk: Vec<u8>,
    asked: u16,
    /// The final response after an interim one grants nothing: that one did.
    granted_before: bool,
}

impl Server {
    pub(super) fn on_frame(&mut self, key: ConnKey, frame: &[u8]) {
        if is_smb1(frame) {
            self.on_smb1(key, frame);
            return;
        }
        let trusting = self.config.trusting;
        self.lend_keys(key, frame);
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let (plain, encrypted, denied) = if trusting {
            (frame.to_vec(), false, false)
        } else {
            match conn.seal.open(frame.to_vec()) {
                Ok(opened) => {
                    let denied = !opened.verdict.is_good();
                    (opened.plain, opened.encrypted_for.is_some(), denied)
                }
                // [MS-SMB2] 3.3.5.2.1: what does not decrypt ends the connection.
                Err(_) => return self.malformed(key),
            }
        };
        // [MS-SMB2] 3.3.5.2.6: a frame without a request is none.
        let requests = self.decode(&plain).filter(|requests| !requests.is_empty());
        let Some(requests) = requests else {
            return self.malformed(key);
        };
        for req in &requests {
            if req.header.command == Command::CANCEL {
                continue; // [MS-SMB2] 3.3.5.2.3: takes no message id
            }
            let multi = self.conns.get(&key).is_some_and(|conn| conn.multi_credit());
            let charge = if multi { req.header.credit_charge } else { 1 };
            let Some(conn) = self.conns.get_mut(&key) else {
                return;
            };
            if !conn.window.take(req.header.message_id.0, charge) {
                return self.malformed(key);
            }
        }
        self.run(Chain {
            conn: key,
            requests,
            bytes: plain.len(),
            replies: Vec::new(),
            reply_bytes: 0,
            async_id: None,
            encrypted,
            denied,
            first: true,
            session: 0,
            tree: 0,
            previous: None,
            inherited: None,
            hangup: false,
        });
    }

    fn decode(&self, plain: &[u8]) -> Option<VecDeque<Req>> {
        let mut requests = VecDeque::new();
        for pdu in Pdu::chain(plain) {
            let pdu = pdu.ok()?;
            let decoded = Message::decode_lossy(pdu).ok()?;
            let header = decoded.message.header;
            // [MS-SMB2] 3.3.5.2.7: PDUs of a compound begin at multiples of 8.
            if !header.next_command.is_multiple_of(8)
                || requests.len() >= self.config.limits.compound
            {
                return None;
            }
            // [MS-SMB2] 3.3.5.2.6: a response is no request.
            let Body::Request(body) = decoded.message.body else {
                return None;
            };
            let bulk = decoded.bulk.and_then(|range| pdu.get(range));
            requests.push_back(Req {
                header,
                body,
                bulk: bulk.unwrap_or_default().to_vec(),
            });
        }
        Some(requests)
    }

    /// Runs requests until they are all answered or one waits.
    pub(super) fn run(&mut self, mut chain: Chain) {
        while let Some(req) = chain.requests.pop_front() {
            match self.process(&mut chain, &req) {
                Err(Stop::Wait(wait)) => return self.pend(chain, req, wait),
                handled => self.conclude(&mut chain, &req, handled),
            }
            if chain.hangup {
                return self.hangup(chain.conn);
            }
        }
        self.flush(chain.conn, chain.replies);
    }

    fn process(&mut self, chain: &mut Chain, req: &Req) -> Handled {
        let cx = self.context(chain, req)?;
        if chain.async_id.is_none() {
            self.check_charge(&cx, req)?;
        }
        // All answers of a compound go out in one frame. [MS-SMB2] 3.3.4.1.3.
        let most = self
            .conns
            .get(&cx.conn)
            .map_or(0, |conn| len_of(conn.max_io));
        let payload = answer_len(req).min(most);
        if !chain.replies.is_empty() && chain.reply_bytes.saturating_add(payload) > MAX_ANSWERS {
            return Err(self.limited(Limit::Answers).into());
        }
        if matches!(req.body, Request::Opaque(_)) {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        if let Some(handled) = self.on_recorded(&cx, req) {
            return handled;
        }
        if let Some(handled) = self.on_service(&cx, req) {
            return handled;
        }
        self.check_rights(&cx, req)?;
        self.check_changes(&cx, req)?;
        self.check_known(&cx, req)?;
        if let Some(handled) = self.as_recorded(&cx, req) {
            return handled;
        }
        self.command(&cx, req)
    }

    fn command(&mut self, cx: &Cx, req: &Req) -> Handled {
        match &req.body {
            Request::Negotiate(body) => self.negotiate(cx, body),
            Request::SessionSetup(body) => self.session_setup(cx, req, body),
            Request::Logoff(_) => self.logoff(cx),
            Request::TreeConnect(body) => self.tree_connect(cx, body),
            Request::TreeDisconnect(_) => self.tree_disconnect(cx),
            Request::Create(body) => self.create(cx, body),
            Request::Close(body) => self.close(cx, body),
            Request::Flush(body) => self.flush_file(cx, body),
            Request::Read(body) => self.read(cx, body),
            Request::Write(body) => self.write(cx, body, &req.bulk),
            Request::Lock(body) => self.lock(cx, body),
            Request::Ioctl(body) => self.ioctl(cx, body),
            Request::Cancel(_) => Err(self.cancel(cx.conn, req)),
            Request::Echo(_) => Ok(Answer::ok(smbench_core::smb2::EchoResponse {})),
            Request::QueryDirectory(body) => self.query_directory(cx, body),
            Request::ChangeNotify(body) => self.change_notify(cx, body),
            Request::QueryInfo(body) => self.query_info(cx, body),
            Request::SetInfo(body) => self.set_info(cx, body),
            Request::OplockBreak(body) => self.oplock_ack(cx, body),
            Request::LeaseBreak(body) => self.lease_ack(cx, body),
            Request::Opaque(_) => Err(NtStatus::INVALID_PARAMETER.into()),
        }
    }

    /// Finds session and tree, for related requests those of the one before.
    /// [MS-SMB2] 3.3.5.2.9, 3.3.5.2.11, 3.3.5.2.7.2.
    fn context(&mut self, chain: &mut Chain, req: &Req) -> Result<Cx, Stop> {
        let related = req.header.flags.contains(HeaderFlags::RELATED);
        let first = std::mem::replace(&mut chain.first, false);
        if related && first {
            // The related ones behind it have nothing to relate to either.
            chain.inherited = Some(NtStatus::INVALID_PARAMETER);
        }
        if !related {
            chain.session = req.header.session_id.0;
            chain.tree = req.header.tree_id().map_or(0, |tree| tree.0);
            chain.previous = None;
            chain.inherited = None;
        }
        let mut cx = Cx {
            conn: chain.conn,
            session: chain.session,
            tree: chain.tree,
            share: 0,
            previous: chain.previous,
            related,
            is_dfs: req.header.flags.contains(HeaderFlags::DFS),
            waited: chain.async_id,
        };
        let command = req.header.command;
        let Some(conn) = self.conns.get(&chain.conn) else {
            return Err(Stop::Hangup);
        };
        let negotiated = conn.dialect.is_some_and(|d| d != Dialect::WILDCARD);
        if !negotiated && command != Command::NEGOTIATE {
            return Err(Stop::Hangup); // [MS-SMB2] 3.3.5.2: nothing before NEGOTIATE
        }
        if chain.denied {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if let (Some(status), false) = (chain.inherited, self.has(Plant::CompoundErrorLost)) {
            return Err(status.into());
        }
        if matches!(
            command,
            Command::NEGOTIATE | Command::SESSION_SETUP | Command::ECHO | Command::CANCEL
        ) {
            return Ok(cx);
        }
        let session = self.sessions.get(&cx.session);
        let session = session.filter(|session| session.is_on(chain.conn));
        let Some(session) = session else {
            // As Samba: what is related to a request without session is malformed.
            chain.inherited = Some(NtStatus::INVALID_PARAMETER);
            return Err(NtStatus::USER_SESSION_DELETED.into());
        };
        let encrypted = chain.encrypted || self.config.trusting;
        if session.encrypt && !encrypted {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if matches!(command, Command::LOGOFF | Command::TREE_CONNECT) {
            return Ok(cx);
        }
        let tree = session.trees.get(&cx.tree);
        match (tree, command) {
            (Some(tree), _) => cx.share = tree.share,
            // A lease break's acknowledgement need not name a tree.
            (None, Command::OPLOCK_BREAK) => return Ok(cx),
            (None, _) => return Err(NtStatus::NETWORK_NAME_DELETED.into()),
        }
        let secret = self.shares.get(cx.share).is_some_and(|share| share.encrypt);
        if secret && !encrypted {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        Ok(cx)
    }

    /// CreditCharge has to cover the payload. [MS-SMB2] 3.3.5.2.5.
    fn check_charge(&self, cx: &Cx, req: &Req) -> Result<(), NtStatus> {
        let multi = self.conns.get(&cx.conn).is_some_and(|c| c.multi_credit());
        let payload = req.body.credit_payload();
        let need = payload.saturating_sub(1) / 65_536 + 1;
        if multi && need > u32::from(req.header.credit_charge.max(1)) {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        Ok(())
    }

    /// Puts an answer behind the ones that are there.
    pub(super) fn conclude(&mut self, chain: &mut Chain, req: &Req, handled: Handled) {
        let answer = match handled {
            Ok(answer) => answer,
            Err(Stop::Status(status)) => Answer::error(status),
            Err(Stop::Data(status, data)) => {
                let body = ErrorResponse {
                    data,
                    ..ErrorResponse::default()
                };
                Answer::with(status, body)
            }
            Err(Stop::Error(status, body)) => Answer::with(status, body),
            Err(Stop::Silent) => return,
            Err(Stop::Hangup) => {
                chain.hangup = true;
                return;
            }
            Err(Stop::Wait(_)) => Answer::error(NtStatus::INTERNAL_ERROR),
        };
        if let Some(file) = answer
            .file
            .or(req.body.file_id().filter(|id| *id != FileId::RELATED))
        {
            chain.previous = Some(file);
        }
        if req.header.command == Command::CREATE && answer.status.is_error() {
            chain.inherited = Some(match self.config.after_failed_create {
                AfterFailedCreate::SameStatus => answer.status,
                AfterFailedCreate::FileClosed => NtStatus::FILE_CLOSED,
            });
            chain.previous = None;
        }
        let mut header = self.reply_header(req, answer.status);
        if let Some(session) = answer.session {
            header.session_id = session;
            chain.session = session.0;
        }
        if let Some(tree) = answer.tree {
            header.set_tree_id(tree);
            chain.tree = tree.0;
        }
        let waited = chain.async_id.take();
        if let Some(id) = waited {
            header.set_async_id(id);
        }
        self.counters.answered = self.counters.answered.saturating_add(1);
        let counts = self.answers.get_mut(usize::from(req.header.command.0));
        if let Some(count) = counts.and_then(|it| it.get_mut(answer.status.severity())) {
            *count = count.saturating_add(1);
        }
        let payload = if answer.status.is_error() {
            0
        } else {
            answer_len(req)
        };
        let longest = payload.max(answer.bulk.len()).saturating_add(OVERHEAD);
        chain.reply_bytes = chain.reply_bytes.saturating_add(longest);
        chain.replies.push(Reply {
            header,
            body: answer.body,
            bulk: answer.bulk,
            asked: req.header.credits,
            granted_before: waited.is_some(),
        });
    }

    fn reply_header(&self, req: &Req, status: NtStatus) -> Header {
        let mut flags = HeaderFlags::SERVER_TO_REDIR;
        flags |= req.header.flags & (HeaderFlags::RELATED | HeaderFlags::PRIORITY_MASK);
        let mut header = Header {
            credit_charge: req.header.credit_charge,
            status: status.0,
            command: req.header.command,
            flags,
            message_id: req.header.message_id,
            session_id: req.header.session_id,
            ..Header::default()
        };
        if !req.header.is_async() {
            header.id = req.header.id;
        }
        header
    }

    /// Lets a request wait: the interim response goes out, with the answers before it.
    /// [MS-SMB2] 3.3.4.2.
    fn pend(&mut self, mut chain: Chain, req: Req, wait: Wait) {
        let limits = self.config.limits;
        let (all, bytes) = (self.waiting.bytes(), chain.bytes());
        let Some(conn) = self.conns.get(&chain.conn) else {
            return;
        };
        let own = conn.pending_bytes.saturating_add(bytes);
        let full = conn.pending >= limits.pending_per_connection
            || !may_share(own, all, limits.pending_bytes);
        let refused = if full {
            Some(self.limited(Limit::Pending))
        // [MS-SMB2] 3.3.5.2.7: of a compound only a CREATE or the last may wait; Samba cancels.
        } else if !chain.requests.is_empty() && req.header.command != Command::CREATE {
            Some(NtStatus::CANCELLED)
        } else {
            None
        };
        if let Some(status) = refused {
            self.conclude(&mut chain, &req, Err(status.into()));
            return self.run(chain);
        }
        let id = match chain.async_id {
            Some(id) => id,
            None => {
                self.next_async = self.next_async.saturating_add(1);
                let id = self.next_async;
                chain.async_id = Some(id);
                let mut header = self.reply_header(&req, NtStatus::PENDING);
                header.set_async_id(id);
                chain.replies.push(Reply {
                    header,
                    body: ErrorResponse::default().into(),
                    bulk: Vec::new(),
                    asked: req.header.credits,
                    granted_before: false,
                });
                self.flush(chain.conn, std::mem::take(&mut chain.replies));
                chain.reply_bytes = 0;
                id
            }
        };
        chain.requests.push_front(req);
        if let Some(conn) = self.conns.get_mut(&chain.conn) {
            conn.pending = conn.pending.saturating_add(1);
            conn.pending_bytes = conn.pending_bytes.saturating_add(chain.bytes());
            self.waiting.insert(id, Waiting { chain, wait });
        }
    }

    /// Sends answers as one frame, with their credits in the last. [MS-SMB2] 3.3.4.1.2.
    fn flush(&mut self, key: ConnKey, replies: Vec<Reply>) {
        let (most, leaky) = (self.config.max_credits, self.has(Plant::CreditsLeak));
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let last = replies.len().saturating_sub(1);
        let (mut frame, mut total) = (Vec::new(), 0_u16);
        for (index, mut reply) in replies.into_iter().enumerate() {
            if !reply.granted_before {
                let status = reply.header.nt_status();
                let generous = match reply.header.command {
                    Command::NEGOTIATE => false,
                    Command::SESSION_SETUP => status == NtStatus::SUCCESS,
                    _ => true,
                };
                let charge = reply.header.credit_charge;
                let granted = conn.window.grant(charge, reply.asked, generous, most);
                total = total.saturating_add(granted);
            }
            conn.responses = conn.responses.saturating_add(1);
            if leaky && conn.responses.is_multiple_of(16) && total > 0 {
                total = total.saturating_sub(1);
                conn.window.leak(1);
            }
            let start = frame.len();
            reply.header.credits = if index == last { total } else { 0 };
            reply.header.next_command = u32::from(index != last);
            Message::new(reply.header, Body::Response(reply.body)).encode(&reply.bulk, &mut frame);
            if index != last {
                let len = len32(frame.len().saturating_sub(start));
                let at = start.saturating_add(NEXT_COMMAND);
                if let Some(field) = frame.get_mut(at..at.saturating_add(4)) {
                    field.copy_from_slice(&len.to_le_bytes());
                }
            }
        }
        if !frame.is_empty() {
            self.send(key, frame, None);
        }
    }

    /// Seals and queues a frame; `notify` is the session a break notification goes to.
    pub(super) fn send(&mut self, key: ConnKey, mut frame: Vec<u8>, notify: Option<u64>) {
        let trusting = self.config.trusting;
        let most = self.config.limits.queued_frames_per_connection;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        if conn.queued >= most {
            self.counters.closed_limit = self.counters.closed_limit.saturating_add(1);
            self.limited(Limit::Unread);
            return self.hangup(key);
        }
        if !trusting && conn.seal.seal(&mut frame, notify).is_err() {
            return self.malformed(key);
        }
        conn.queued = conn.queued.saturating_add(1);
        self.counters.frames_out = self.counters.frames_out.saturating_add(1);
        self.out.push_back(ServerOutput::Send { conn: key, frame });
    }

    /// Ends a connection that sent nonsense. [MS-SMB2] 3.3.5.2.
    pub(super) fn malformed(&mut self, key: ConnKey) {
        self.counters.closed_malformed = self.counters.closed_malformed.saturating_add(1);
        self.hangup(key);
    }

    /// Ends a connection from this side.
    pub(super) fn hangup(&mut self, key: ConnKey) {
        if self.conns.contains_key(&key) {
            self.out.push_back(ServerOutput::Close { conn: key });
            self.drop_connection(key);
        }
    }
}

/// Bytes of data that the answer to a request may carry.
fn answer_len(req: &Req) -> usize {
    match &req.body {
        Request::Write(_) | Request::SetInfo(_) => 0,
        body => len_of(body.credit_payload()),
    }
}

/// Bytes of answers in one frame before further requests of its compound are refused: with the one
/// more that there may be then, they fit into a transport frame of 16 MiB. [MS-SMB2] 2.1.
const MAX_ANSWERS: usize = 15 << 20;
/// Bytes of an answer beside its payload: header, fixed part, contexts.
const OVERHEAD: usize = 512;
/// Where NextCommand lies in a header. [MS-SMB2] 2.2.1.
const NEXT_COMMAND: usize = 20;
