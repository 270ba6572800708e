//! Two connections side by side: how far their frames are the same.

use std::collections::VecDeque;

use super::{MOMENTS_NS, Seen};
use crate::capture::event::Direction;

/// A connection, and another that may be its copy.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) original: u32,
    requests: Lane,
    answers: Lane,
    /// Frames of a session that both have had.
    in_common: u32,
    /// Frames of the copy that the original did not have.
    missing: usize,
}

/// One direction of both: frames that only one of them has had so far, and when.
#[derive(Debug, Default)]
struct Lane {
    original: VecDeque<(u64, u64)>,
    copy: VecDeque<(u64, u64)>,
    /// The next frame of both is the same, if one is a copy of the other.
    is_aligned: bool,
}

/// Which of the two a frame is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Of {
    Original,
    Copy,
}

impl Pair {
    /// The copy began with a frame that `original` has had, as its own first or later. Of what is
    /// known of it, `before` came earlier than that frame, and `after` later.
    pub(super) fn new<'r>(
        original: u32,
        first: &Seen,
        is_first: bool,
        before: impl Iterator<Item = &'r Seen>,
        after: impl Iterator<Item = &'r Seen>,
    ) -> Self {
        let mut pair = Self {
            original,
            requests: Lane::default(),
            answers: Lane::default(),
            in_common: first.has_session.into(),
            missing: 0,
        };
        // In the other direction a copy that begins in the middle may begin with an earlier frame.
        let before = before.filter(|seen| seen.dir != first.dir);
        for seen in before.chain(after) {
            let waiting = &mut pair.lane(seen.dir).original;
            waiting.push_back((seen.key, seen.time_ns));
        }
        for dir in [Direction::ClientToServer, Direction::ServerToClient] {
            pair.lane(dir).is_aligned = is_first || dir == first.dir;
        }
        pair
    }

    /// Takes note of a frame of one of them.
    pub(super) fn saw(&mut self, of: Of, seen: &Seen) {
        let lane = self.lane(seen.dir);
        let (own, other) = match of {
            Of::Original => (&mut lane.original, &mut lane.copy),
            Of::Copy => (&mut lane.copy, &mut lane.original),
        };
        let mut passed = 0;
        if let Some(at) = other.iter().position(|(key, _)| *key == seen.key) {
            other.drain(..=at);
            lane.is_aligned = true;
            self.in_common += u32::from(seen.has_session);
            passed = if of == Of::Original { at } else { 0 };
        } else {
            own.push_back((seen.key, seen.time_ns));
            if own.len() > WAITING_MAX {
                own.pop_front();
                passed = usize::from(of == Of::Copy);
            }
        }
        self.missing += passed;
    }

    /// Whether one is a copy of the other, with certainty.
    pub(super) fn is_shown(&self) -> bool {
        self.in_common >= IN_COMMON
    }

    /// Whether both have had the same frames.
    pub(super) fn is_even(&self) -> bool {
        let mut lanes = [&self.requests, &self.answers].into_iter();
        lanes.all(|lane| lane.original.is_empty() && lane.copy.is_empty())
    }

    /// Whether the two are no copies of each other, as far as is known at a time.
    pub(super) fn differs(&self, now_ns: u64) -> bool {
        let is_old = |waiting: &VecDeque<(u64, u64)>| {
            let first = waiting.front();
            first.is_some_and(|(_, time_ns)| now_ns.saturating_sub(*time_ns) > MOMENTS_NS)
        };
        [&self.requests, &self.answers].into_iter().any(|lane| {
            let have_others = !lane.original.is_empty() && !lane.copy.is_empty();
            is_old(&lane.copy) || lane.is_aligned && (have_others || is_old(&lane.original))
        })
    }

    /// Frames of the copy that the original does not have.
    pub(super) fn missing(&self) -> usize {
        self.missing + self.requests.copy.len() + self.answers.copy.len()
    }

    fn lane(&mut self, dir: Direction) -> &mut Lane {
        match dir {
            Direction::ClientToServer => &mut self.requests,
            Direction::ServerToClient => &mut self.answers,
        }
    }
}

/// Frames of a session that two connections have in common when one is a copy of the other: nothing
/// else has the same SessionId, MessageIds and bytes at the same time.
const IN_COMMON: u32 = 3;
/// Frames that may wait for those of the other connection.
const WAITING_MAX: usize = 1024;
