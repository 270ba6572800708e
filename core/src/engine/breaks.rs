//! Break notifications: which recorded one they are, and who acknowledges them.
//!
//! [MS-SMB2] 3.2.5.19. A recorded notification is an operation of the workload that the server
//! carries out; the recorded acknowledgement waits for it. A notification that the recording does
//! not have is acknowledged at once.

use std::collections::BTreeMap;

use super::{
    AckMode, ConnState, Engine, EngineError, Headers, compare, plan::Plan, receive::Pdu, view::View,
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
    by_handle: BTreeMap<FileId, Oplock>,
    by_lease: BTreeMap<(ClientId, [u8; 16]), Lease>,
    disconnects: BTreeMap<ConnId, OpId>,
}

/// An oplock that was granted.
#[derive(Clone, Copy, Debug)]
struct Oplock {
    open: OpenRef,
    by: OpId,
    level: u8,
    breaks: u32,
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug)]
struct Lease {
    /// The last CREATE that was granted it.
    by: OpId,
    grants: u32,
    breaks: u32,
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

    /// What was learnt from the server and is kept.
    pub(super) fn held(&self) -> usize {
        self.seen.len() + self.missing.len() + self.by_handle.len() + self.by_lease.len()
    }

    /// The recorded end of `conn` by the server, if it has one.
    pub(super) fn server_disconnect(&self, conn: ConnId) -> Option<OpId> {
        self.disconnects.get(&conn).copied()
    }

    /// Notes who holds an oplock, so that its break finds the open.
    pub(super) fn granted(&mut self, open: OpenRef, by: OpId, id: FileId, oplock: u8) {
        let breakable = oplock != OplockLevel::NONE.0 && oplock != OplockLevel::LEASE.0;
        if breakable {
            let oplock = Oplock {
                open,
                by,
                level: oplock,
                breaks: 0,
            };
            self.by_handle.insert(id, oplock);
        }
    }

    /// Notes which operation holds a lease, to hang findings about it on.
    pub(super) fn leased(&mut self, client: ClientId, key: [u8; 16], by: OpId) {
        let lease = self.by_lease.entry((client, key)).or_insert(Lease {
            by,
            grants: 0,
            breaks: 0,
        });
        lease.by = by;
        lease.grants = lease.grants.saturating_add(1);
    }

    /// The level that arrived for a recorded notification, where it is not the recorded one.
    pub(super) fn level_seen(&self, notice: OpId) -> Option<Left> {
        self.seen.get(&notice).copied()
    }

    /// Counts a notification of `news`'s holder.
    fn broken(&mut self, news: &News) {
        let breaks = match news.holder {
            Holder::Open(_) => self.by_handle.get_mut(&news.id).map(|it| &mut it.breaks),
            Holder::Lease(client, key) => {
                let lease = self.by_lease.get_mut(&(client, key));
                lease.map(|it| &mut it.breaks)
            }
        };
        // Of a lease that was recorded but never granted nothing is counted: each of its recorded
        // notifications comes once.
        if let Some(breaks) = breaks {
            *breaks = breaks.saturating_add(1);
        }
    }

    /// Whether what was granted can be broken once more.
    fn is_breakable(&self, news: &News) -> bool {
        let (grants, breaks) = match news.holder {
            Holder::Open(_) => match self.by_handle.get(&news.id) {
                Some(it) => (1, it.breaks),
                None => return false,
            },
            Holder::Lease(client, key) => match self.by_lease.get(&(client, key)) {
                Some(it) => (it.grants, it.breaks),
                None => return false,
            },
        };
        breaks < grants.saturating_mul(BREAKS_A_GRANT)
    }

    /// The notification did not come: what waits for it is a cascade of this.
    pub(super) fn missing_cause(&self, notice: OpId) -> Option<OpId> {
        self.missing.get(&notice).copied()
    }
}

impl Engine {
    /// From now on a recorded notification is overdue after the configured grace. One that cannot
    /// come any more is not waited for.
    pub(super) fn expect_break(&mut self, op: OpId) -> Result<(), EngineError> {
        match self.deaf(op)? {
            None => {
                let grace_ns = self.config.break_wait_ns();
                self.schedule
                    .watch(op, self.now.plus_nanos(grace_ns), false);
                Ok(())
            }
            Some(Some(cause)) => {
                self.breaks.missing.insert(op, cause);
                self.cascade(op, cause)
            }
            Some(None) => self.break_missing(op),
        }
    }

    /// A recorded notification did not come.
    pub(super) fn break_missing(&mut self, op: OpId) -> Result<(), EngineError> {
        self.diverged(op, Divergence::MissingBreak);
        self.breaks.missing.insert(op, op);
        self.gives_up_break = self.config.headers == Headers::Checked;
        let observed = self.observe(op);
        self.gives_up_break = false;
        observed?;
        self.still_silent(self.config.break_wait_ns())
    }

    /// The recorded notification that `news` is: the holder's first that has not come.
    fn recorded_of(&self, news: &News) -> Result<Option<OpId>, EngineError> {
        for op in self.breaks.recorded.get(&news.holder).into_iter().flatten() {
            if self.known_state(*op)? != super::OpState::Settled {
                return Ok(Some(*op));
            }
        }
        Ok(None)
    }

    /// Whether `pdu`, a notification on `conn`, is recorded, or of something that was not broken
    /// more often than it was granted.
    pub(super) fn may_break(&self, conn: ConnId, pdu: &[u8]) -> Result<bool, EngineError> {
        let Some(news) = self.read_notice(conn, pdu)? else {
            return Ok(false);
        };
        Ok(self.recorded_of(&news)?.is_some() || self.breaks.is_breakable(&news))
    }

    pub(super) fn break_arrived(&mut self, conn: ConnId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        let Some(news) = self.read_notice(conn, pdu.bytes)? else {
            self.stray(conn, pdu.header);
            return Ok(());
        };
        let next = self.recorded_of(&news)?;
        self.breaks.broken(&news);
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
        let notice = self.plan.notice(op).ok_or(EngineError::unknown_op(op))?;
        let recorded = match notice {
            BreakNotice::Oplock { to } => u32::from(to.0),
            BreakNotice::Lease { to, .. } => compare::lease_code(to.bits()),
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
        // A finding that belongs to no operation hangs on the connection's first: there is one,
        // since only operations open connections.
        let op = news.by.or_else(|| self.plan.first_on(conn));
        let op = op.ok_or(EngineError::unknown_conn(conn))?;
        let open = match news.holder {
            Holder::Open(open) => Some(open),
            Holder::Lease(..) => None,
        };
        self.diverged(op, Divergence::UnexpectedBreak { open, level });
        if !news.needs_ack || self.config.ack == AckMode::Never {
            return Ok(());
        }
        self.send_beside(conn, op, Command::OPLOCK_BREAK, &news.acknowledgement())
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

    fn read_notice(&self, conn: ConnId, pdu: &[u8]) -> Result<Option<News>, EngineError> {
        let client = self.plan.resources.connections.get(conn.index());
        let client = *client.ok_or(EngineError::unknown_conn(conn))?;
        Ok(self.breaks.read(client, View(pdu)))
    }
}

impl BreakBook {
    /// What a notification to `client` says; `None` for one of no oplock that was granted, and for
    /// what does not parse.
    fn read(&self, client: ClientId, view: View<'_>) -> Option<News> {
        match view.structure_size()? {
            // [MS-SMB2] 2.2.23.1
            24 => {
                let id = view.file_id(HEADER_LEN + 8)?;
                let held = self.by_handle.get(&id)?;
                Some(News {
                    holder: Holder::Open(held.open),
                    left: Left::Oplock(view.u8(HEADER_LEN + 2)?),
                    by: Some(held.by),
                    id,
                    // [MS-SMB2] 3.2.5.19.1: level II is given up without a word.
                    needs_ack: held.level != OplockLevel::LEVEL_II.0,
                })
            }
            // [MS-SMB2] 2.2.23.2
            44 => {
                let key = view.key(HEADER_LEN + 8)?;
                Some(News {
                    holder: Holder::Lease(client, key),
                    left: Left::Lease(view.u32(HEADER_LEN + 28)?),
                    by: self.by_lease.get(&(client, key)).map(|it| it.by),
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
/// How often what was granted can be broken: RWH to RH, R and nothing, and once more when a
/// notification is told again on another connection.
const BREAKS_A_GRANT: u32 = 4;
