//! What the engine orders, and when it may go out: in its order, each when this server is ready for it.

use smbench_core::{
    event::{AuthStep, Effect, TokenOutcome},
    frame::Frame,
    ids::{ConnId, LogicalTime, SessionRef},
    seal::is_smb1,
    smb2::{Command, HEADER_LEN, Header, HeaderFlags, NtStatus},
};

use super::{
    actor::{Actor, MOMENT_NS, Turn},
    names::{ASYNC_ID_AT, CREDITS_AT, FLAGS_AT, MESSAGE_ID_AT, SESSION_ID_AT, put},
    script::{RequestKey, Sent},
    wire::{Peer, PeerState, Request},
};

/// An order of the engine.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) effect: Effect,
    /// The requests in its frame.
    pub(super) sent: Vec<Sent>,
}

impl Actor {
    /// Carries the order out, if it may be.
    pub(super) fn carry_out(&mut self, order: &Order) -> Turn {
        match &order.effect {
            Effect::Connect { conn } => {
                self.wire.peers.insert(*conn, Peer::default());
                self.out.push_back(order.effect.clone());
            }
            Effect::Send { conn, frame, login } => {
                return self.send(*conn, frame, *login, &order.sent);
            }
            Effect::Authenticate {
                conn,
                session,
                step,
            } => self.authenticate(*conn, *session, *step),
            Effect::Close { conn, reset } => return self.close(*conn, *reset),
            Effect::Report(_) => {}
        }
        Turn::Taken
    }

    fn authenticate(&mut self, conn: ConnId, session: SessionRef, step: AuthStep) {
        self.wire.tokens.remove(&(conn, session));
        let place = (conn, session);
        let last = self.last_leg.get(&place);
        let last = last.and_then(|key| self.wire.requests.get(key)?.answer.as_ref());
        let wants_more = last.map(|it| it.status) == Some(NtStatus::MORE_PROCESSING_REQUIRED);
        if step == AuthStep::Continue && !wants_more {
            // This server was content with fewer legs, or will have none: the next leg is not sent.
            self.absorbed.insert(place);
            return;
        }
        self.absorbed.remove(&place);
        self.asked.insert(place);
        self.out.push_back(Effect::Authenticate {
            conn,
            session,
            step,
        });
    }

    /// What another server had answered by now is waited for: this one may be slower.
    fn close(&mut self, conn: ConnId, reset: bool) -> Turn {
        if self.wire.is_open(conn) {
            let waits = self.wire.open_on(conn).map(|(key, _)| key);
            let waits: Vec<RequestKey> = waits.filter(|key| self.is_owed(key)).collect();
            for key in waits {
                if let Some(until) = self.waits_for(key) {
                    return Turn::Wait(Some(until));
                }
            }
        }
        self.hang_up(conn, reset);
        Turn::Taken
    }

    /// Ends a connection, if there is one. One that a server has ended when it had nothing more to do on it is
    /// as good as one that we end.
    pub(super) fn hang_up(&mut self, conn: ConnId, reset: bool) {
        let peer = self.wire.peers.get(&conn);
        if peer.is_some_and(|peer| peer.missed || !peer.open.is_empty()) {
            self.note_end(conn);
        }
        let Some(peer) = self.wire.peers.get_mut(&conn) else {
            return;
        };
        if matches!(peer.state, PeerState::Open | PeerState::Opening) {
            self.out.push_back(Effect::Close { conn, reset });
            self.closed_at = Some(self.now);
        }
        peer.state = PeerState::Closed;
    }

    fn send(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        login: Option<SessionRef>,
        sent: &[Sent],
    ) -> Turn {
        if !self.wire.is_open(conn) {
            if let Some(peer) = self.wire.peers.get_mut(&conn) {
                peer.missed = true;
            }
            return Turn::Taken; // what is not sent is not waited for
        }
        if let [Sent { mid, command, .. }] = sent
            && *command == Command::CANCEL
        {
            return self.cancel(conn, frame, *mid);
        }
        if let Some(session) = login
            && self.absorbed.remove(&(conn, session))
        {
            self.absorb(conn, session, sent);
            return Turn::Taken;
        }
        if let Some(until) = self.others_first(conn) {
            return Turn::Wait(Some(until));
        }
        let charges = charges(frame);
        let charge: u64 = charges.iter().sum();
        let Some(peer) = self.wire.peers.get(&conn) else {
            return Turn::Taken;
        };
        if peer.credits < charge {
            let oldest = peer.open.values().next().copied();
            return match oldest.and_then(|key| self.waits_for(key)) {
                Some(until) => Turn::Wait(Some(until)),
                None => {
                    self.heard.starved.extend(sent.iter().map(|it| it.key));
                    Turn::Taken
                }
            };
        }
        let (mut mid, runs_dry) = (peer.next_mid, peer.credits - charge < charge);
        let mut frame = frame.clone();
        let starts = starts(&frame);
        for ((at, charge), it) in starts.into_iter().zip(charges).zip(sent) {
            let pdu = frame.bytes.get_mut(at..).unwrap_or_default();
            put(pdu, MESSAGE_ID_AT, &mid.to_le_bytes());
            let asks = Header::decode(pdu).map_or(0, |header| header.credits);
            let least = u16::try_from(charge).unwrap_or(u16::MAX);
            if runs_dry && asks < least {
                put(pdu, CREDITS_AT, &least.to_le_bytes());
            }
            let kept = login.filter(|_| it.command == Command::SESSION_SETUP);
            let request = Request {
                conn,
                command: it.command,
                engine_mid: it.mid,
                mid,
                sent_at: self.now,
                interim: None,
                answer: None,
                hung: false,
                login: kept.map(|session| (session, Frame::default())),
            };
            self.wire.sent(it.key, charge, request);
            if let Some(session) = kept {
                self.last_leg.insert((conn, session), it.key);
            }
            mid = mid.saturating_add(charge);
        }
        if sent.is_empty() || is_smb1(&frame.bytes) {
            self.book_smb1(conn, sent);
        }
        if let (Some(_), [it]) = (login, sent)
            && let Some(request) = self.wire.requests.get_mut(&it.key)
            && let Some((_, kept)) = &mut request.login
        {
            kept.clone_from(&frame);
        }
        self.out.push_back(Effect::Send { conn, frame, login });
        Turn::Taken
    }

    /// A NEGOTIATE of SMB1 has no header of ours, and is answered as MessageId 0. [MS-SMB2] 3.3.5.3.1.
    fn book_smb1(&mut self, conn: ConnId, sent: &[Sent]) {
        let Some(it) = sent.first() else { return };
        let request = Request {
            conn,
            command: it.command,
            engine_mid: it.mid,
            mid: 0,
            sent_at: self.now,
            interim: None,
            answer: None,
            hung: false,
            login: None,
        };
        self.wire.sent(it.key, 1, request);
    }

    /// The server was content before this leg: it is answered as the last one was.
    fn absorb(&mut self, conn: ConnId, session: SessionRef, sent: &[Sent]) {
        let last = self.last_leg.get(&(conn, session));
        let last = last.and_then(|key| self.wire.requests.get(key)).cloned();
        if let (Some(last), Some(it)) = (last, sent.first()) {
            let leg = Request {
                engine_mid: it.mid,
                sent_at: self.now,
                ..last
            };
            self.wire.requests.insert(it.key, leg);
            self.last_leg.insert((conn, session), it.key);
            self.silent_legs.insert(it.key);
        }
    }

    /// It names what it cancels as this server does, and costs nothing. [MS-SMB2] 3.2.4.24.
    fn cancel(&mut self, conn: ConnId, frame: &Frame, target: u64) -> Turn {
        let peer = self.wire.peers.get(&conn);
        let key = peer.and_then(|peer| peer.by_engine.get(&target));
        let Some(request) = key.and_then(|key| self.wire.requests.get(key)) else {
            return Turn::Taken; // there is nothing to cancel
        };
        let mut frame = frame.clone();
        put(&mut frame.bytes, MESSAGE_ID_AT, &request.mid.to_le_bytes());
        let flags = frame.bytes.get(FLAGS_AT).copied().unwrap_or_default();
        let asynchronous = HeaderFlags::ASYNC.bits().to_le_bytes()[0];
        match request.interim {
            Some(id) => {
                put(&mut frame.bytes, FLAGS_AT, &[flags | asynchronous]);
                put(&mut frame.bytes, ASYNC_ID_AT, &id.to_le_bytes());
            }
            None => {
                put(&mut frame.bytes, FLAGS_AT, &[flags & !asynchronous]);
                put(&mut frame.bytes, ASYNC_ID_AT, &[0; 8]);
            }
        }
        self.out.push_back(Effect::Send {
            conn,
            frame,
            login: None,
        });
        Turn::Taken
    }

    /// Across connections there is no order but that of answers: what went out on others is given a moment to
    /// be answered, so that both servers are asked in the same order. Nothing says when a server has noticed the
    /// end of a connection: it is given a moment too. Until when.
    fn others_first(&self, conn: ConnId) -> Option<LogicalTime> {
        let others = self.wire.peers.keys().filter(|other| **other != conn);
        let open = others.flat_map(|other| self.wire.open_on(*other));
        let open = open.filter(|(key, it)| it.interim.is_none() && !it.hung && self.is_owed(key));
        let until = open.map(|(_, it)| it.sent_at.plus_nanos(OTHERS_FIRST_NS));
        let noticed = self.closed_at.map(|at| at.plus_nanos(MOMENT_NS));
        let until = until.chain(noticed);
        until.filter(|until| *until > self.now).max()
    }

    /// The server wants more legs than the journal's: the last one is sent again, with the next token. Whether
    /// there is one to wait for.
    pub(super) fn one_more_leg(&mut self, key: RequestKey) -> bool {
        let Some(request) = self.wire.requests.get(&key) else {
            return false;
        };
        let (conn, legs) = (request.conn, self.more_legs.entry(key).or_default());
        let Some((session, frame)) = request.login.clone() else {
            return false;
        };
        if *legs >= MOST_LEGS || frame.bytes.is_empty() {
            return false;
        }
        let place = (conn, session);
        let Some(outcome) = self.wire.tokens.remove(&place) else {
            if self.asked.insert(place) {
                self.out.push_back(Effect::Authenticate {
                    conn,
                    session,
                    step: AuthStep::Continue,
                });
            }
            return true;
        };
        self.asked.remove(&place);
        let TokenOutcome::Ready { len } = outcome else {
            self.heard.login_failed = true;
            return false;
        };
        *legs += 1;
        self.send_leg(key, session, frame, len);
        true
    }

    fn send_leg(&mut self, key: RequestKey, session: SessionRef, mut frame: Frame, len: u32) {
        let Some(request) = self.wire.requests.get(&key).cloned() else {
            return;
        };
        let conn = request.conn;
        let given = request.answer_header().map_or(0, |it| it.session_id.0);
        let mid = self.wire.peers.get(&conn).map_or(0, |peer| peer.next_mid);
        put(&mut frame.bytes, MESSAGE_ID_AT, &mid.to_le_bytes());
        put(&mut frame.bytes, SESSION_ID_AT, &given.to_le_bytes());
        let [low, high, ..] = len.to_le_bytes();
        put(&mut frame.bytes, TOKEN_LENGTH_AT, &[low, high]);
        for cut in &mut frame.cuts {
            cut.len = len;
        }
        let request = Request {
            mid,
            sent_at: self.now,
            interim: None,
            answer: None,
            login: Some((session, frame.clone())),
            ..request
        };
        self.wire.sent(key, 1, request);
        self.out.push_back(Effect::Send {
            conn,
            frame,
            login: Some(session),
        });
    }
}

/// Where each PDU of a frame begins.
fn starts(frame: &Frame) -> Vec<usize> {
    let lens = frame.pdus().map_while(Result::ok);
    let mut at = 0;
    lens.map(|(_, bytes, _)| {
        let start = at;
        at += bytes.len();
        start
    })
    .collect()
}

/// Credits that each PDU of a frame costs. [MS-SMB2] 3.2.4.1.5.
fn charges(frame: &Frame) -> Vec<u64> {
    if is_smb1(&frame.bytes) {
        return vec![1];
    }
    let headers = frame
        .pdus()
        .map_while(Result::ok)
        .map(|(header, ..)| header);
    headers
        .map(|header| u64::from(header.credit_charge.max(1)))
        .collect()
}

/// [MS-SMB2] 2.2.5
const TOKEN_LENGTH_AT: usize = HEADER_LEN + 14;
/// How long requests on other connections are given to be answered first.
const OTHERS_FIRST_NS: u64 = 250_000_000;
/// No mechanism needs as many.
const MOST_LEGS: u32 = 16;
