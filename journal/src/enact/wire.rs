//! What went to the server, and what it has said: by connection and MessageId as they are on its wire.

use std::collections::BTreeMap;

use smbench_core::{
    event::{Input, NetFailure, TokenOutcome},
    frame::Frame,
    ids::{ClientId, ConnId, LogicalTime, SessionRef},
    smb2::{Command, Header, NtStatus},
};

use super::script::{RequestKey, is_interim};
use crate::fuzz::key_of;

/// A connection to the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) state: PeerState,
    /// Credits that the server granted and that are left.
    pub(super) credits: u64,
    /// The next MessageId.
    pub(super) next_mid: u64,
    /// Requests without a final answer, by MessageId.
    pub(super) open: BTreeMap<u64, RequestKey>,
    /// The MessageIds that the engine uses for requests that went out.
    pub(super) by_engine: BTreeMap<u64, RequestKey>,
    /// Requests that went out.
    pub(super) sent: u64,
    pub(super) last: Option<RequestKey>,
    /// When something came last.
    pub(super) heard_at: LogicalTime,
    /// The engine has been told that it is over.
    pub(super) told: bool,
    /// We have given it up, since nothing came on it.
    pub(super) given_up: bool,
    /// Something was to go out on it when it had ended.
    pub(super) missed: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum PeerState {
    /// The driver was asked to open it.
    #[default]
    Opening,
    /// Open.
    Open,
    /// It could not be opened, or ended, and not by us.
    Ended(NetFailure),
    /// We have ended it.
    Closed,
}

/// A request that went out.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) conn: ConnId,
    pub(super) command: Command,
    /// Its MessageId as the engine has it.
    pub(super) engine_mid: u64,
    /// Its MessageId on the wire.
    pub(super) mid: u64,
    pub(super) sent_at: LogicalTime,
    /// The AsyncId of its interim response.
    pub(super) interim: Option<u64>,
    pub(super) answer: Option<Answer>,
    /// It was waited for in vain.
    pub(super) hung: bool,
    /// Of a leg of a login: whose, and its frame, lest the server wants another one.
    pub(super) login: Option<(SessionRef, Frame)>,
}

/// A final response.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: NtStatus,
    /// Its beginning, from the header on: all that can hold an id.
    pub(super) head: Vec<u8>,
}

/// All that is known of the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    clients: Vec<ClientId>,
    pub(super) peers: BTreeMap<ConnId, Peer>,
    pub(super) requests: BTreeMap<RequestKey, Request>,
    /// Break notifications that came and were not asked for yet, by client and key or handle.
    notices: BTreeMap<(ClientId, [u8; 16]), u32>,
    /// Security tokens that are ready.
    pub(super) tokens: BTreeMap<(ConnId, SessionRef), TokenOutcome>,
}

impl Wire {
    /// Of connections that belong to these clients.
    pub(super) fn new(clients: Vec<ClientId>) -> Self {
        Self {
            clients,
            ..Self::default()
        }
    }

    /// Takes in what happened.
    pub(super) fn heard(&mut self, now: LogicalTime, input: Input) {
        match input {
            Input::Connected { conn } => {
                if let Some(peer) = self.peers.get_mut(&conn)
                    && peer.state == PeerState::Opening
                {
                    (peer.state, peer.credits, peer.heard_at) = (PeerState::Open, 1, now);
                }
            }
            Input::ConnectFailed { conn, reason } | Input::Closed { conn, reason } => {
                if let Some(peer) = self.peers.get_mut(&conn)
                    && matches!(peer.state, PeerState::Opening | PeerState::Open)
                {
                    peer.state = PeerState::Ended(reason);
                }
            }
            Input::Received { conn, frame, .. } => self.received(now, conn, &frame),
            Input::TokenReady {
                conn,
                session,
                outcome,
            } => {
                self.tokens.insert((conn, session), outcome);
            }
            Input::Start | Input::Wake | Input::Completed { .. } | Input::Stop => {}
        }
    }

    fn received(&mut self, now: LogicalTime, conn: ConnId, frame: &Frame) {
        let client = self.clients.get(conn.index()).copied();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        for (header, bytes, _) in frame.pdus().map_while(Result::ok) {
            if header.command == Command::OPLOCK_BREAK && header.message_id.0 == u64::MAX {
                let place = client.zip(key_of(bytes));
                let room = self.notices.len() < MOST_NOTICES;
                if let Some(place) = place.filter(|_| room) {
                    let count = self.notices.entry(place).or_default();
                    *count = count.saturating_add(1);
                }
                continue;
            }
            let mid = header.message_id.0;
            let Some(key) = peer.open.get(&mid).copied() else {
                continue; // it belongs to nothing
            };
            peer.heard_at = now;
            peer.credits = peer.credits.saturating_add(header.credits.into());
            let Some(request) = self.requests.get_mut(&key) else {
                continue;
            };
            if is_interim(&header) {
                request.interim = header.async_id();
            } else {
                peer.open.remove(&mid);
                request.answer = Some(Answer {
                    status: header.nt_status(),
                    head: bytes.get(..LONGEST_HEAD).unwrap_or(bytes).to_vec(),
                });
            }
        }
    }

    /// Whether a notification of `key` has come to the client of `conn`; it has then been asked for.
    pub(super) fn take_notice(&mut self, conn: ConnId, key: [u8; 16]) -> bool {
        let Some(client) = self.clients.get(conn.index()) else {
            return false;
        };
        let Some(count) = self.notices.get_mut(&(*client, key)) else {
            return false;
        };
        let came = *count > 0;
        *count = count.saturating_sub(1);
        came
    }

    /// Books a request as sent.
    pub(super) fn sent(&mut self, key: RequestKey, charge: u64, request: Request) {
        let Some(peer) = self.peers.get_mut(&request.conn) else {
            return;
        };
        peer.credits = peer.credits.saturating_sub(charge);
        peer.next_mid = request.mid.saturating_add(charge);
        peer.open.insert(request.mid, key);
        peer.by_engine.insert(request.engine_mid, key);
        peer.sent += 1;
        peer.last = Some(key);
        self.requests.insert(key, request);
    }

    /// Requests on `conn` that wait for their final answer.
    pub(super) fn open_on(&self, conn: ConnId) -> impl Iterator<Item = (RequestKey, &Request)> {
        let keys = self.peers.get(&conn).into_iter();
        let keys = keys.flat_map(|peer| peer.open.values());
        keys.filter_map(|key| Some((*key, self.requests.get(key)?)))
    }

    /// Whether `conn` is open.
    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).map(|peer| peer.state) == Some(PeerState::Open)
    }
}

impl Request {
    /// The header of its final response.
    pub(super) fn answer_header(&self) -> Option<Header> {
        Header::decode(&self.answer.as_ref()?.head).ok()
    }
}

/// Bytes of a response that may hold an id: a CREATE response is the longest of these, with 152.
const LONGEST_HEAD: usize = 256;
/// Leases and handles of which notifications are kept that nobody asked for yet.
const MOST_NOTICES: usize = 1 << 16;
