//! What comes on a connection and belongs to nothing, and how much of it the engine wants to hear.
//!
//! A server can send without being asked for ever. What belongs to a request, to a recorded
//! notification or to a holder whose oplock or lease was not broken more often than it was granted
//! is bounded by the workload. The rest is bounded here: [`Engine::wants`] says no to it once a
//! connection has had its share. Who drives the engine asks before the input is recorded, so a
//! journal holds what the engine was given, and runs again as it ran. A connection that goes on, and
//! puts it into one frame with answers, is lost.

use super::{Engine, EngineError, config::Patience, conn::Owner, receive::Pdu};
use crate::{
    event::{Effect, Input, NetFailure},
    ids::ConnId,
    smb2::{Command, Header},
};

/// What came on a connection that belonged to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsolicited {
    pdus: usize,
    bytes: usize,
}

impl Unsolicited {
    /// Whether one more of so many bytes may be heard.
    fn has_room(self, bytes: usize) -> bool {
        self.pdus < MOST_PDUS && self.bytes.saturating_add(bytes) <= MOST_BYTES
    }

    /// Something of so many bytes came.
    pub(super) fn add(&mut self, bytes: usize) {
        self.pdus = self.pdus.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn is_too_much(self) -> bool {
        self.pdus > MOST_PDUS || self.bytes > MOST_BYTES
    }
}

impl Engine {
    /// Whether `input` is to be recorded and handled. What is refused is a frame that belongs to
    /// nothing, on a connection that had 256 of that, or 1 MiB, before.
    #[must_use]
    pub fn wants(&self, input: &Input) -> bool {
        let Input::Received { conn, frame, .. } = input else {
            return true;
        };
        if self.config.patience == Patience::Twice {
            return true; // older runs were given everything
        }
        // What names no connection is refused where it is handled.
        let Some(it) = self.conns.get(conn.index()) else {
            return true;
        };
        let room = it.unsolicited.has_room(frame.bytes.len());
        let mut pdus = frame.pdus().map_while(Result::ok);
        room || pdus.any(|(header, bytes, cut)| {
            let pdu = Pdu {
                header: &header,
                bytes,
                cut,
            };
            self.belongs(*conn, pdu).unwrap_or(true)
        })
    }

    /// Whether `pdu` is an answer that is waited for, or a notification that there may be.
    pub(super) fn belongs(&self, conn: ConnId, pdu: Pdu<'_>) -> Result<bool, EngineError> {
        let Pdu { header, .. } = pdu;
        if is_notification(header) {
            return self.may_break(conn, pdu.bytes);
        }
        let mid = header.message_id.0;
        let it = self.conn(conn)?;
        Ok(match it.flights.get(&mid).map(|flight| flight.owner) {
            Some(Owner::Op(op)) if header.is_interim() => {
                let run = self.runs.get(op).ok_or(EngineError::unknown_op(op))?;
                !run.reached_interim
            }
            Some(Owner::Op(_)) => true,
            Some(Owner::Engine) => !header.is_interim(),
            None => !header.is_interim() && it.given_up.contains_key(&mid),
        })
    }

    /// A frame came in which something belonged to something. Where too much did not, its
    /// connection is lost.
    pub(super) fn check_share(&mut self, conn: ConnId) -> Result<(), EngineError> {
        let it = self.conn(conn)?;
        let lost = it.unsolicited.is_too_much() && it.is_alive();
        if lost && self.config.patience == Patience::Once {
            self.out.push_back(Effect::Close { conn, reset: true });
            return self.connection_lost(conn, NetFailure::Protocol);
        }
        Ok(())
    }
}

/// Nobody asked for it. [MS-SMB2] 2.2.23.
pub(super) fn is_notification(header: &Header) -> bool {
    header.command == Command::OPLOCK_BREAK && header.message_id.0 == u64::MAX
}

/// A session was closed on the server: a notice that is no answer. [MS-SMB2] 2.2.44.
pub(super) fn is_server_notice(header: &Header) -> bool {
    header.command == Command(SERVER_TO_CLIENT_NOTIFICATION) && header.message_id.0 == u64::MAX
}

const SERVER_TO_CLIENT_NOTIFICATION: u16 = 0x13;
/// Responses and notifications that belong to nothing, of one connection, that are heard: enough to
/// tell what it sends.
const MOST_PDUS: usize = 256;
/// Bytes of them.
const MOST_BYTES: usize = 1 << 20;
