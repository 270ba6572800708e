//! Break notifications: which recorded one they are, and who acknowledges them.
//!
//! [MS-SMB2] 3.2.5.19. A recorded notification is an operation of the workload that the server
//! carries out; the recorded acknowledgement waits for it. A notification that the recording does
//! not have is acknowledged at once.

use std::collections::BTreeMap;

use super::{
    AckMode, ConnState, Engine, EngineError, compare, plan::Plan, receive::Pdu, view::View,
};
use crate::{
    event::{Divergence, Report},
    ids::{ClientId, ConnId, LogicalTime, OpId, OpenRef},
    smb2::{Command, FileId, HEADER_LEN, OplockLevel},
    workload::BreakNotice,
};

/// Who is told to give something up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Holder {
    Open(OpenRef),
    Lease(ClientId, [u8; 16]),
}

/// What a notification leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Left {
    Oplock(u8),
    Lease(u32),
}

impl Left {
    fn code(self) -> u32 {
        match self {
            Self::Oplock(level) => u32::from(level),
            Self::Lease(state) => compare::lease_code(state),
        }
    }

    /// Where in an acknowledgement the level or state stands, and its bytes.
    pub(super) fn acknowledgement(self) -> (usize, Vec<u8>) {
        match self {
            // [MS-SMB2] 2.2.24.1
            Self::Oplock(level) => (HEADER_LEN + 2, vec![level]),
            // [MS-SMB2] 2.2.24.2
            Self::Lease(state) => (HEADER_LEN + 24, state.to_le_bytes().to_vec()),
        }
    }
}

/// Recorded notifications, and what became of them.
#[derive(Clone, Debug, Default)]
pub(super) struct BreakBook {
    /// Recorded notifications of each holder, in order.
    recorded: BTreeMap<Holder, Vec<OpId>>,
    /// What arrived instead of what was recorded.
    seen: BTreeMap<OpId, Left>,
    missing: BTreeMap<OpId, OpId>,
    by_handle: BTreeMap<FileId, (OpenRef, OpId, u8)>,
    /// The last CREATE that was granted each lease.
    by_lease: BTreeMap<(ClientId, [u8; 16]), OpId>,
    disconnects: BTreeMap<ConnId, OpId>,
}

impl BreakBook {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut book = Self::default();
        for (at, notice) in &plan.notices {
            let Some(op) = plan.op(*at) else { continue };
            let holder = match (notice, op.open) {
                (BreakNotice::Lease { key, .. }, _) => Holder::Lease(op.client, *key),
                (BreakNotice::Oplock { .. }, Some(open)) => Holder::Open(open),
                (BreakNotice::Oplock { .. }, None) => continue,
            };
            book.recorded.entry(holder).or_default().push(*at);
        }
        book.disconnects.extend(plan.hang_ups.iter().copied());
        book
    }

    /// The recorded end of `conn` by the server, if it has one.
    pub(super) fn server_disconnect(&self, conn: ConnId) -> Option<OpId> {
        self.disconnects.get(&conn).copied()
    }

    /// Notes who holds an oplock, so that its break finds the open.
    pub(super) fn granted(&mut self, open: OpenRef, by: OpId, id: FileId, oplock: u8) {
        let breakable = oplock != OplockLevel::NONE.0 && oplock != OplockLevel::LEASE.0;
        if breakable {
            self.by_handle.insert(id, (open, by, oplock));
        }
    }

    /// Notes which operation holds a lease, to hang findings about it on.
    pub(super) fn leased(&mut self, client: ClientId, key: [u8; 16], by: OpId) {
        self.by_lease.insert((client, key), by);
    }

    /// The level that arrived for a recorded notification, where it is not the recorded one.
    pub(super) fn level_seen(&self, notice: OpId) -> Option<Left> {
        self.seen.get(&notice).copied()
    }

    /// The notification did not come: what waits for it is a cascade of this.
    pub(super) fn missing_cause(&self, notice: OpId) -> Option<OpId> {
        self.missing.get(&notice).copied()
    }
}

impl Engine {
    /// From now on a recorded notification is overdue after the configured grace.
    pub(super) fn expect_break(&mut self, op: OpId) -> Result<(), EngineError> {
        let grace = u64::from(self.config.break_wait_ms).saturating_mul(1_000_000);
        self.schedule.watch(op, self.now.plus_nanos(grace), false);
        Ok(())
    }

    /// A recorded notification did not come.
    pub(super) fn break_missing(&mut self, op: OpId) -> Result<(), EngineError> {
        self.diverged(op, Divergence::MissingBreak);
        self.breaks.missing.insert(op, op);
        self.observe(op)
    }

    pub(super) fn break_arrived(&mut self, conn: ConnId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        let Some(news) = self.read_notice(conn, pdu.bytes) else {
            return self.stray_break(conn, pdu);
        };
        let next = self.breaks.recorded.get(&news.holder).and_then(|ops| {
            ops.iter().copied().find(|op| {
                self.state_of(*op)
                    .is_some_and(|state| state != super::OpState::Settled)
            })
        });
        match next {
            Some(op) => {
                self.conn_mut(conn)?.noticed = Some((self.now, op));
                self.recorded_break(op, news.left)
            }
            None => self.unexpected_break(conn, &news),
        }
    }

    fn recorded_break(&mut self, op: OpId, left: Left) -> Result<(), EngineError> {
        self.report(Report::Observed { op });
        let recorded = match self.plan.notice(op) {
            Some(BreakNotice::Oplock { to }) => u32::from(to.0),
            Some(BreakNotice::Lease { to, .. }) => compare::lease_code(to.bits()),
            None => return Ok(()),
        };
        if recorded != left.code() {
            self.breaks.seen.insert(op, left);
            self.diverged(
                op,
                Divergence::BreakLevel {
                    recorded,
                    seen: left.code(),
                },
            );
        }
        self.observe(op)
    }

    fn unexpected_break(&mut self, conn: ConnId, news: &News) -> Result<(), EngineError> {
        let level = news.left.code();
        // A finding that belongs to no operation hangs on the connection's first.
        let op = news.by.or_else(|| self.plan.first_on(conn));
        let Some(op) = op else { return Ok(()) };
        let open = match news.holder {
            Holder::Open(open) => Some(open),
            Holder::Lease(..) => None,
        };
        self.diverged(op, Divergence::UnexpectedBreak { open, level });
        if !news.needs_ack || self.config.ack == AckMode::Never {
            return Ok(());
        }
        self.send_own(conn, op, Command::OPLOCK_BREAK, &news.acknowledgement())
    }

    /// A server tells a client again, on another of its connections, when the first ends before TCP
    /// has told that the notification arrived ([MS-SMB2] 3.3.4.6, 3.3.4.7). When `op`, the end of a
    /// connection, may come lest that happen where the recording left enough time.
    pub(super) fn notice_arrived_at(&self, op: OpId) -> Option<LogicalTime> {
        let planned = self.plan.op(op)?;
        let (since, notice) = self.conns.get(planned.conn.index())?.noticed?;
        let recorded = planned.at_us.saturating_sub(self.plan.op(notice)?.at_us);
        let wait_ns = recorded.saturating_mul(1_000).min(NOTICE_ARRIVES_NS);
        let clients = &self.plan.resources.connections;
        let others = clients.iter().zip(&self.conns).zip(0..);
        let mut others = others
            .filter(|((client, _), at)| **client == planned.client && ConnId(*at) != planned.conn);
        let at = since.plus_nanos(wait_ns);
        let retold = at > self.now && others.any(|((_, conn), _)| conn.state == ConnState::Open);
        retold.then_some(at)
    }

    fn stray_break(&mut self, conn: ConnId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        let (command, status) = (pdu.header.command.0, pdu.header.nt_status());
        self.report(Report::Stray {
            conn,
            command,
            status,
        });
        Ok(())
    }

    fn read_notice(&self, conn: ConnId, pdu: &[u8]) -> Option<News> {
        let view = View(pdu);
        match view.structure_size()? {
            // [MS-SMB2] 2.2.23.1
            24 => {
                let id = view.file_id(HEADER_LEN + 8)?;
                let (open, by, held) = self.breaks.by_handle.get(&id).copied()?;
                Some(News {
                    holder: Holder::Open(open),
                    left: Left::Oplock(view.u8(HEADER_LEN + 2)?),
                    by: Some(by),
                    id,
                    // [MS-SMB2] 3.2.5.19.1: level II is given up without a word.
                    needs_ack: held != OplockLevel::LEVEL_II.0,
                })
            }
            // [MS-SMB2] 2.2.23.2
            44 => {
                let client = self.plan.resources.connections.get(conn.index()).copied()?;
                let key = view.key(HEADER_LEN + 8)?;
                Some(News {
                    holder: Holder::Lease(client, key),
                    left: Left::Lease(view.u32(HEADER_LEN + 28)?),
                    by: self.breaks.by_lease.get(&(client, key)).copied(),
                    id: FileId::ZERO,
                    needs_ack: view.u32(HEADER_LEN + 4)? & LEASE_ACK_REQUIRED != 0,
                })
            }
            _ => None,
        }
    }
}

/// A notification as it came.
struct News {
    holder: Holder,
    left: Left,
    by: Option<OpId>,
    id: FileId,
    needs_ack: bool,
}

impl News {
    fn acknowledgement(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(36);
        match (self.left, self.holder) {
            // [MS-SMB2] 2.2.24.2
            (Left::Lease(state), Holder::Lease(_, key)) => {
                body.extend_from_slice(&[36, 0, 0, 0, 0, 0, 0, 0]);
                body.extend_from_slice(&key);
                body.extend_from_slice(&state.to_le_bytes());
                body.extend_from_slice(&[0; 8]);
            }
            // [MS-SMB2] 2.2.24.1
            (Left::Oplock(level), _) => {
                body.extend_from_slice(&[24, 0, level, 0, 0, 0, 0, 0]);
                body.extend_from_slice(&self.id.to_bytes());
            }
            (Left::Lease(_), Holder::Open(_)) => {}
        }
        body
    }
}

/// Longer than a TCP retransmission time-out: servers look once in that time what has arrived.
const NOTICE_ARRIVES_NS: u64 = 500_000_000;
const LEASE_ACK_REQUIRED: u32 = 1;
