//! What clients can make the server hold, and what is said when they try.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::smb2::NtStatus;

use super::Server;

/// Bounds on what clients can make the server hold. Reaching one is an error status to the client
/// that did, and never a loss for the others.
///
/// What all connections share is shared by one rule: a connection gets one more as long as it has
/// fewer than half of what is left. So one alone can have a third, many have equal parts, and
/// some is left for who comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// Sessions at a time, unfinished ones too; shared.
    pub sessions: usize,
    /// Bytes of the tokens that a login keeps until its next leg.
    pub token_bytes: usize,
    /// Channels of one session, unfinished ones too. [MS-SMB2] 3.3.5.5.3: Windows has 32.
    pub channels_per_session: usize,
    /// Tree connects of one session.
    pub trees_per_session: usize,
    /// Opens at a time, disconnected durable ones too; shared.
    pub opens: usize,
    /// Durable opens at a time that wait for their client; further ones are closed.
    pub disconnected: usize,
    /// Requests of one connection that wait.
    pub pending_per_connection: usize,
    /// Bytes of all requests that wait, with the rest of their compounds; shared.
    pub pending_bytes: usize,
    /// Byte-range locks of one file, or stream.
    pub locks_per_file: usize,
    /// Ranges of one LOCK.
    pub locks_per_request: usize,
    /// Open directories that are watched; shared.
    pub watches: usize,
    /// Changes kept for one CHANGE_NOTIFY that is between two requests.
    pub changes_per_open: usize,
    /// Bytes of all such changes. Beyond, and beyond `changes_per_open`, the client is told to look
    /// for itself.
    pub change_bytes: usize,
    /// Frames that wait in [`Server::poll`](super::Server::poll) for one connection; a client
    /// that reads no more is cut off beyond.
    pub queued_frames_per_connection: usize,
    /// Files, directories and streams.
    pub nodes: usize,
    /// Named streams of one file.
    pub streams_per_file: usize,
    /// Size of one stream, in bytes, however little of it is stored.
    pub file_bytes: u64,
    /// All that is stored, in bytes: data (in steps of up to 64 KiB), names, attributes.
    pub total_bytes: u64,
    /// PDUs of one compound.
    pub compound: usize,
    /// Comparisons of one character that one QUERY_DIRECTORY may take.
    pub search_steps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            sessions: 40_000,
            token_bytes: 4_096,
            channels_per_session: 32,
            trees_per_session: 1_024,
            opens: 200_000,
            disconnected: 20_000,
            pending_per_connection: 512,
            pending_bytes: 64 << 20,
            locks_per_file: 10_000,
            locks_per_request: 1_024,
            watches: 16_384,
            changes_per_open: 4_096,
            change_bytes: 32 << 20,
            queued_frames_per_connection: 20_000,
            nodes: 2_000_000,
            streams_per_file: 1_024,
            file_bytes: 1 << 40,
            total_bytes: 4 << 30,
            compound: 128,
            search_steps: 20_000_000,
        }
    }
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Limit {
    /// [`Limits::connections`].
    Connections,
    /// [`Limits::sessions`].
    Sessions,
    /// [`Limits::token_bytes`].
    Tokens,
    /// [`Limits::channels_per_session`].
    Channels,
    /// [`Limits::trees_per_session`].
    Trees,
    /// [`Limits::opens`].
    Opens,
    /// [`Limits::disconnected`].
    Disconnected,
    /// [`Limits::pending_per_connection`] and [`Limits::pending_bytes`].
    Pending,
    /// [`Limits::locks_per_file`] and [`Limits::locks_per_request`].
    Locks,
    /// [`Limits::watches`].
    Watches,
    /// [`Limits::changes_per_open`] and [`Limits::change_bytes`].
    Changes,
    /// [`Limits::queued_frames_per_connection`].
    Unread,
    /// [`Limits::nodes`] and [`Limits::streams_per_file`].
    Nodes,
    /// [`Limits::file_bytes`].
    FileSize,
    /// [`Limits::total_bytes`].
    Content,
    /// Answers of one compound longer than a frame.
    Answers,
    /// [`Limits::search_steps`].
    Search,
}

impl Limit {
    /// What there was too much of, as whoever runs the server reads it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Connections => "too many connections",
            Self::Sessions => "too many sessions",
            Self::Tokens => "a login with too long a token",
            Self::Channels => "too many channels of a session",
            Self::Trees => "too many tree connects of a session",
            Self::Opens => "too many opens",
            Self::Disconnected => "too many durable opens without a client",
            Self::Pending => "too many requests that wait",
            Self::Locks => "too many byte-range locks",
            Self::Watches => "too many watched directories",
            Self::Changes => "more changes than are kept for a CHANGE_NOTIFY",
            Self::Unread => "too many answers that nobody takes",
            Self::Nodes => "too many files and streams",
            Self::FileSize => "too long a file",
            Self::Content => "too much content",
            Self::Answers => "too long answers to one compound",
            Self::Search => "too long a search",
        }
    }

    /// The status that a request gets for it.
    const fn status(self) -> NtStatus {
        match self {
            Self::FileSize | Self::Content | Self::Nodes => NtStatus::DISK_FULL,
            _ => NtStatus::INSUFFICIENT_RESOURCES,
        }
    }
}

/// How often limits were reached, and what has to be told of it.
#[derive(Debug, Default)]
pub(super) struct Hits {
    counts: BTreeMap<Limit, u64>,
    untold: VecDeque<String>,
}

impl Server {
    /// Notes that a limit was reached; gives the status for it.
    pub(super) fn limited(&mut self, limit: Limit) -> NtStatus {
        let count = self.hits.counts.entry(limit).or_default();
        *count = count.saturating_add(1);
        // The first is told, and then ever more rarely: clients cannot fill a log.
        if count.is_power_of_two() && self.hits.untold.len() < MOST_UNTOLD {
            let what = limit.describe();
            let text = format!("limit reached, {count} times by now: {what}");
            self.hits.untold.push_back(text);
        }
        limit.status()
    }

    /// The next thing to tell of limits, if there is one.
    pub fn complaint(&mut self) -> Option<String> {
        self.hits.untold.pop_front()
    }

    /// How often each limit was reached.
    #[must_use]
    pub fn limits_reached(&self) -> &BTreeMap<Limit, u64> {
        &self.hits.counts
    }
}

/// Whether a connection that has `own` of `all` may have one more.
pub(super) fn may_share(own: usize, all: usize, limit: usize) -> bool {
    own < limit.saturating_sub(all).div_ceil(2)
}

/// What nobody asks for is not kept.
const MOST_UNTOLD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_takes_a_third_and_many_leave_some() {
        let (mut all, mut own) = (0, [0; 8]);
        let mut take = |who: usize, own: &mut [usize; 8]| {
            while may_share(own[who], all, 3_000) {
                own[who] += 1;
                all += 1;
            }
        };
        take(0, &mut own);
        assert_eq!(own[0], 1_000);
        (1..8).for_each(|who| take(who, &mut own));
        assert!(own.iter().all(|own| *own >= 1), "{own:?}");
        assert!(may_share(0, own.iter().sum(), 3_000));
    }
}
