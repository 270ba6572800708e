//! Requests that wait, and the timers of what they wait for. [MS-SMB2] 3.3.4.2, 3.3.4.4.

mod table;

use smbench_core::smb2::NtStatus;

use super::answer::{Answer, Handled, Req, Stop};
use super::dispatch::Chain;
use super::fs::StreamId;
use super::leases::LeaseId;
use super::open::OpenId;
use super::{ConnKey, Server};

pub(super) use self::table::{Timers, WaitTable};

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
    pub(super) fn set_timer(&mut self, after_ms: u64, timer: Timer) {
        let at = self.now.plus_nanos(after_ms.saturating_mul(1_000_000));
        self.timers.set(at, timer);
    }

    pub(super) fn clear_timer(&mut self, timer: Timer) {
        self.timers.clear(timer);
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
        self.ready.extend(self.waiting.on_stream(stream));
    }

    /// Runs what became ready, until nothing is.
    pub(super) fn settle(&mut self) {
        while let Some(id) = self.ready.pop_first() {
            if let Some(waiting) = self.waiting.remove(id) {
                self.uncount(&waiting);
                self.run(waiting.chain);
            }
        }
    }

    fn uncount(&mut self, waiting: &Waiting) {
        if let Some(conn) = self.conns.get_mut(&waiting.chain.conn) {
            conn.pending = conn.pending.saturating_sub(1);
            let bytes = waiting.chain.bytes();
            conn.pending_bytes = conn.pending_bytes.saturating_sub(bytes);
        }
    }

    /// Ends a request that waits.
    pub(super) fn finish(&mut self, id: AsyncId, handled: Handled) {
        if let Some(mut waiting) = self.waiting.remove(id) {
            self.ready.remove(&id);
            self.uncount(&waiting);
            if let Some(req) = waiting.chain.requests.pop_front() {
                self.conclude(&mut waiting.chain, &req, handled);
            }
            self.run(waiting.chain);
        }
    }

    /// Ends what waits on an open that is closed.
    pub(super) fn finish_waiting_on(&mut self, open: OpenId) {
        for id in self.waiting.on_open(open) {
            let Some(waiting) = self.waiting.get(id) else {
                continue; // one before it took it along
            };
            let status = match waiting.wait {
                // [MS-SMB2] 3.3.5.10: a pending CHANGE_NOTIFY ends with NOTIFY_CLEANUP.
                Wait::Notify(_) => NtStatus::NOTIFY_CLEANUP,
                // Samba: a LOCK that waits on a closed handle ends with RANGE_NOT_LOCKED.
                Wait::Lock(..) | Wait::Break(_) => NtStatus::RANGE_NOT_LOCKED,
            };
            self.finish(id, Ok(Answer::error(status)));
        }
    }

    /// CANCEL: by AsyncId, or by message id. [MS-SMB2] 3.3.5.16.
    pub(super) fn cancel(&mut self, conn: ConnKey, req: &Req) -> Stop {
        let (by_id, message) = (req.header.async_id(), req.header.message_id);
        let same = |id: &AsyncId| {
            let waiting = self.waiting.get(*id);
            waiting.is_some_and(|waiting| match by_id {
                Some(wanted) => *id == wanted && waiting.chain.conn == conn,
                None => waiting.chain.message_id() == Some(message),
            })
        };
        let found = match by_id {
            Some(wanted) => Some(wanted).filter(same),
            None => self.waiting.of_conn(conn).into_iter().rev().find(same),
        };
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
        for id in self.waiting.of_conn(conn) {
            self.waiting.remove(id);
        }
    }

    /// Ends what waits on any channel of a session, or in a tree of it, that ends.
    pub(super) fn cancel_session(&mut self, session: u64, tree: Option<u32>) {
        let channels = self.sessions.get(&session).map(|it| it.channels.keys());
        let channels: Vec<ConnKey> = channels.into_iter().flatten().copied().collect();
        let waiting = channels.iter().flat_map(|it| self.waiting.of_conn(*it));
        for id in waiting.collect::<Vec<_>>() {
            let belongs = |waiting: &Waiting| waiting.chain.belongs(session, tree);
            if self.waiting.get(id).is_some_and(belongs) {
                self.finish(id, Err(NtStatus::CANCELLED.into()));
            }
        }
    }
}
