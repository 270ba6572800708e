//! The table of requests that wait, and the timers: found by whatever ends the waiting, without a
//! look at all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use smbench_core::ids::LogicalTime;

use super::{AsyncId, Timer, Wait, Waiting};
use crate::server::ConnKey;
use crate::server::fs::StreamId;
use crate::server::open::OpenId;

/// Requests that wait.
#[derive(Debug, Default)]
pub(in crate::server) struct WaitTable {
    requests: BTreeMap<AsyncId, Waiting>,
    by_conn: BTreeSet<(ConnKey, AsyncId)>,
    by_stream: BTreeSet<(StreamId, AsyncId)>,
    by_open: BTreeSet<(OpenId, AsyncId)>,
    bytes: usize,
}

impl WaitTable {
    /// Bytes of all requests that wait.
    pub(in crate::server) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::server) fn insert(&mut self, id: AsyncId, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.chain.bytes());
        self.by_conn.insert((waiting.chain.conn, id));
        let (stream, open) = waiting.wait.keys();
        self.by_stream.extend(stream.map(|stream| (stream, id)));
        self.by_open.extend(open.map(|open| (open, id)));
        self.requests.insert(id, waiting);
    }

    pub(in crate::server) fn remove(&mut self, id: AsyncId) -> Option<Waiting> {
        let waiting = self.requests.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(waiting.chain.bytes());
        self.by_conn.remove(&(waiting.chain.conn, id));
        let (stream, open) = waiting.wait.keys();
        if let Some(stream) = stream {
            self.by_stream.remove(&(stream, id));
        }
        if let Some(open) = open {
            self.by_open.remove(&(open, id));
        }
        Some(waiting)
    }

    pub(in crate::server) fn get(&self, id: AsyncId) -> Option<&Waiting> {
        self.requests.get(&id)
    }

    /// Those of a connection, the oldest first.
    pub(in crate::server) fn of_conn(&self, conn: ConnKey) -> Vec<AsyncId> {
        second(&self.by_conn, conn)
    }

    /// Those that wait for a stream's breaks or locks, the oldest first.
    pub(in crate::server) fn on_stream(&self, stream: StreamId) -> Vec<AsyncId> {
        second(&self.by_stream, stream)
    }

    /// Those that wait on an open, for a lock or a change, the oldest first.
    pub(in crate::server) fn on_open(&self, open: OpenId) -> Vec<AsyncId> {
        second(&self.by_open, open)
    }
}

fn second<K: Copy + Ord>(pairs: &BTreeSet<(K, u64)>, first: K) -> Vec<u64> {
    let range: RangeInclusive<(K, u64)> = (first, 0)..=(first, u64::MAX);
    pairs.range(range).map(|(_, id)| *id).collect()
}

impl Wait {
    /// What it is found by.
    fn keys(self) -> (Option<StreamId>, Option<OpenId>) {
        match self {
            Self::Break(stream) => (Some(stream), None),
            Self::Lock(stream, open) => (Some(stream), Some(open)),
            Self::Notify(open) => (None, Some(open)),
        }
    }
}

/// What runs out, and when; each timer once.
#[derive(Debug, Default)]
pub(in crate::server) struct Timers {
    due: BTreeSet<(LogicalTime, Timer)>,
    at: BTreeMap<Timer, LogicalTime>,
}

impl Timers {
    pub(in crate::server) fn set(&mut self, at: LogicalTime, timer: Timer) {
        self.clear(timer);
        self.due.insert((at, timer));
        self.at.insert(timer, at);
    }

    pub(in crate::server) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    /// Whether this one runs.
    pub(in crate::server) fn runs(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// When the next one runs out.
    pub(in crate::server) fn next(&self) -> Option<LogicalTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One that has run out by `now`.
    pub(in crate::server) fn pop(&mut self, now: LogicalTime) -> Option<Timer> {
        let (_, timer) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some(timer)
    }
}
