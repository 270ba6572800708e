//! Requests that wait, and the timers of what they wait for. [MS-SMB2] 3.3.4.2, 3.3.4.4.

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::NtStatus;

use super::answer::{Answer, Handled, Req, Stop};
use super::dispatch::Chain;
use super::fs::StreamId;
use super::leases::LeaseId;
use super::open::OpenId;
use super::{ConnKey, Server};

/// AsyncId of a request that waits.
pub(super) type AsyncId = u64;

/// What a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// The break of a file's oplocks or leases.
    Break(StreamId),
    /// A byte range of an open's file.
    Lock(StreamId, OpenId),
    /// A change below an open directory.
    Notify(OpenId),
}

/// A request that waits, with the rest of its compound.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) chain: Chain,
    pub(super) wait: Wait,
}

/// What runs out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// An oplock's break has to be acknowledged.
    Oplock(OpenId),
    /// A lease's break has to be acknowledged.
    Lease(LeaseId),
    /// A durable handle has to be reclaimed.
    Durable(OpenId),
}

impl Server {
    pub(super) fn set_timer(&mut self, after_ms: u64, timer: Timer) -> LogicalTime {
        let at = self.now.plus_nanos(after_ms.saturating_mul(1_000_000));
        self.timers.insert((at, timer));
        at
    }

    pub(super) fn clear_timer(&mut self, timer: Timer) {
        self.timers.retain(|(_, other)| *other != timer);
    }

    pub(super) fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Oplock(open) => self.oplock_timed_out(open),
            Timer::Lease(lease) => self.lease_timed_out(lease),
            Timer::Durable(open) => {
                self.counters.durable_expired = self.counters.durable_expired.saturating_add(1);
                self.close_open(open);
            }
        }
    }

    /// Something about a file changed: those that wait for it try again.
    pub(super) fn touch(&mut self, stream: StreamId) {
        for (id, waiting) in &self.waiting {
            let concerned = match waiting.wait {
                Wait::Break(file) | Wait::Lock(file, _) => file == stream,
                Wait::Notify(_) => false,
            };
            if concerned {
                self.ready.insert(*id);
            }
        }
    }

    /// Runs what became ready, until nothing is.
    pub(super) fn settle(&mut self) {
        while let Some(id) = self.ready.pop_first() {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.uncount(waiting.chain.conn);
                self.run(waiting.chain);
            }
        }
    }

    fn uncount(&mut self, conn: ConnKey) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.pending = conn.pending.saturating_sub(1);
        }
    }

    /// Ends a request that waits.
    pub(super) fn finish(&mut self, id: AsyncId, handled: Handled) {
        if let Some(mut waiting) = self.waiting.remove(&id) {
            self.ready.remove(&id);
            self.uncount(waiting.chain.conn);
            if let Some(req) = waiting.chain.requests.pop_front() {
                self.conclude(&mut waiting.chain, &req, handled);
            }
            self.run(waiting.chain);
        }
    }

    /// Ends what waits on an open that is closed.
    pub(super) fn finish_waiting_on(&mut self, open: OpenId) {
        let mut ended = Vec::new();
        for (id, waiting) in &self.waiting {
            match waiting.wait {
                // [MS-SMB2] 3.3.5.10: a pending CHANGE_NOTIFY ends with NOTIFY_CLEANUP.
                Wait::Notify(other) if other == open => {
                    ended.push((*id, NtStatus::NOTIFY_CLEANUP));
                }
                // Samba: a LOCK that waits on a closed handle ends with RANGE_NOT_LOCKED.
                Wait::Lock(_, other) if other == open => {
                    ended.push((*id, NtStatus::RANGE_NOT_LOCKED));
                }
                _ => {}
            }
        }
        for (id, status) in ended {
            self.finish(id, Ok(Answer::error(status)));
        }
    }

    /// CANCEL: by AsyncId, or by message id. [MS-SMB2] 3.3.5.16.
    pub(super) fn cancel(&mut self, conn: ConnKey, req: &Req) -> Stop {
        let (by_id, message) = (req.header.async_id(), req.header.message_id);
        let mut found = None;
        for (id, waiting) in &self.waiting {
            let same = match by_id {
                Some(wanted) => *id == wanted,
                None => waiting.chain.message_id() == Some(message),
            };
            if same && waiting.chain.conn == conn {
                found = Some(*id);
            }
        }
        match found {
            Some(id) => self.finish(id, Err(NtStatus::CANCELLED.into())),
            None => {
                self.counters.cancels_too_late = self.counters.cancels_too_late.saturating_add(1);
            }
        }
        Stop::Silent
    }

    /// Forgets what waits for a connection that is gone.
    pub(super) fn drop_waiting(&mut self, conn: ConnKey) {
        self.waiting.retain(|_, waiting| waiting.chain.conn != conn);
    }

    /// Ends what waits in a session or tree that ends.
    pub(super) fn cancel_session(&mut self, session: u64, tree: Option<u32>) {
        let ids: Vec<AsyncId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.chain.belongs(session, tree))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.finish(id, Err(NtStatus::CANCELLED.into()));
        }
    }
}
