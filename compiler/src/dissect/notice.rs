//! What happens without being asked for: break notifications and the ends of connections.

use smbench_core::{
    ids::{ConnId, OpId},
    smb2::{Command, FileId, Header, LeaseBreakFlags, Response},
    workload::{Action, BreakNotice, Disconnect, Operation},
};

use super::{
    Dissector, Stamp, cut,
    flight::{Flight, NO_COMMAND},
    index,
    pdu::Piece,
};
use crate::capture::{CloseKind, Direction};

impl Dissector {
    /// A break notification. [MS-SMB2] 2.2.23.
    pub(super) fn notice(
        &mut self,
        conn: usize,
        stamp: Stamp,
        seq: u64,
        header: &Header,
        piece: &Piece<'_>,
    ) {
        let notice = match cut::response(header, piece) {
            Ok(None) => return self.skip("break notification cut"),
            Ok(Some((Response::OplockBreak(it), _))) => {
                let to = it.oplock_level;
                (BreakNotice::Oplock { to }, Some(it.file_id))
            }
            Ok(Some((Response::LeaseBreakNotification(it), _))) => {
                let notice = BreakNotice::Lease {
                    key: it.lease_key.0,
                    from: it.current_lease_state,
                    to: it.new_lease_state,
                    epoch: it.new_epoch,
                    ack: it.flags.contains(LeaseBreakFlags::ACK_REQUIRED),
                };
                (notice, None)
            }
            _ => return self.skip("bad break notification"),
        };
        let action = Action::Break(notice.0);
        let mut flight = self.happening(conn, stamp, Command::OPLOCK_BREAK, action);
        let op = &mut flight.op;
        op.mid = u64::MAX;
        if let Some(id) = notice.1 {
            self.broken(conn, header, id, op);
            if op.open.is_none() {
                self.problem("break of an unknown open");
            }
        }
        self.push(flight, stamp, seq, 0);
    }

    /// Finds the open whose oplock breaks: in the session that the header names, else in any of
    /// the connection's.
    fn broken(&mut self, conn: usize, header: &Header, id: FileId, op: &mut Operation) {
        let Some(it) = self.conns.get(conn) else {
            return;
        };
        let named = it.sessions.get(&header.session_id.0).copied();
        let mut others: Vec<_> = it.sessions.values().copied().collect();
        others.sort_unstable();
        for session in named.into_iter().chain(others) {
            let state = self.state.sessions.get(session.index());
            if let Some(open) = state.and_then(|state| state.opens.get(&id)).copied() {
                op.open = Some(open);
                op.session = Some(session);
                op.tree = self.state.open(open).and_then(|open| open.tree);
                return;
            }
        }
    }

    /// The end of a connection. What was still waiting for an answer does not get one.
    pub(super) fn closed(&mut self, conn: usize, stamp: Stamp, how: CloseKind, by: Direction) {
        self.forget_early(conn);
        self.pipes.ended(conn);
        let Some(it) = self.conns.get_mut(conn) else {
            return;
        };
        let pending = std::mem::take(&mut it.pending);
        it.asynchronous = crate::map::Map::default();
        it.sessions = crate::map::Map::default();
        it.unsealer = None;
        let silent = it.requests == 0 || how == CloseKind::End;
        let mut unanswered: Vec<OpId> = pending.values().map(|pending| pending.op).collect();
        unanswered.sort_unstable();
        for op in unanswered {
            self.settled(op);
        }
        if silent {
            return;
        }
        if how == CloseKind::Reuse {
            self.infer("disconnects");
        }
        let end = Disconnect {
            by_client: by == Direction::ClientToServer,
            reset: how != CloseKind::Fin,
        };
        let flight = self.happening(conn, stamp, NO_COMMAND, Action::Disconnect(end));
        let seq = self.tick();
        self.namespace.disconnected(flight.op.conn, seq);
        self.push(flight, stamp, seq, 0);
    }

    fn happening(
        &mut self,
        conn: usize,
        stamp: Stamp,
        cmd: Command,
        action: Action,
    ) -> Box<Flight> {
        let mut flight = self.live.blank();
        let op = &mut flight.op;
        op.id = self.next_op();
        op.conn = ConnId(index(conn));
        op.cmd = cmd;
        op.frame = stamp.frame;
        op.action = action;
        flight
    }
}
