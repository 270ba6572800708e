//! The same traffic on two connections is told once: what was captured before and behind address
//! translation, a proxy or the end of a tunnel, or by two taps.
//!
//! A connection is a copy of another when both have had the same frames within moments. Whether it
//! is turns out after a few frames; until then all events wait, so that they stay in order.
//!
//! | a connection                                               | becomes                        |
//! |------------------------------------------------------------|--------------------------------|
//! | begins with a frame that no other has just had             | one of its own                 |
//! | begins with one that another has just had                  | doubted                        |
//! | doubted: both have three frames of a session in common     | a copy; it is left out         |
//! | doubted: both go on, with different frames                 | one of its own                 |
//! | doubted: one does not have what the other had a second ago | one of its own                 |
//! | doubted: it ends, or 16 MiB wait                           | one of its own                 |
//! | doubted: it ends, same frames, addresses and ports         | a copy, in another network     |
//!
//! A capture that is played twice, one after the other, is no copy: when the second begins, the
//! first has had answers to more than that. Frames are compared by their length and by what they
//! begin and end with: that holds MessageId, SessionId and, where there is one, the signature.

mod pair;

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::FixedState;

use super::Sink;
use super::bytes::le_u64;
use super::event::{CaptureEvent, ConnInfo, Direction, FrameInfo, FrameKind};
use super::stats::{CaptureStats, Duplicate, problem};
use crate::map::Map;
use pair::{Of, Pair};

/// Tells a sink each connection once.
pub(super) struct Twice<'s> {
    sink: &'s mut dyn Sink,
    conns: Vec<Conn>,
    /// Connections that the sink knows.
    told: u32,
    recent: Recent,
    doubts: Vec<Doubt>,
    copies: Vec<Copy>,
    /// By connection: its copies.
    copies_of: Map<u32, Vec<usize>>,
    held: Held,
}

/// What is known of a connection.
struct Conn {
    info: ConnInfo,
    state: State,
    has_frames: bool,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Doubted,
    /// One of its own; its number for the sink once that knows it.
    Own(u32),
    /// Which one of the copies it is.
    Copy(usize),
}

/// A connection that may be a copy.
struct Doubt {
    conn: u32,
    /// Of which it may be a copy, once its first frame has come.
    pairs: Option<Vec<Pair>>,
    /// There is no more to come: what is left of `pairs` is it a copy of.
    is_over: bool,
}

/// A connection that is a copy.
struct Copy {
    conn: u32,
    pair: Pair,
    /// Frames that were left out.
    frames: u64,
}

/// A frame as far as it is compared.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: u64,
    time_ns: u64,
    conn: u32,
    dir: Direction,
    has_session: bool,
    /// It is the first of its connection.
    is_first: bool,
}

impl<'s> Twice<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink) -> Self {
        Self {
            sink,
            conns: Vec::new(),
            told: 0,
            recent: Recent::default(),
            doubts: Vec::new(),
            copies: Vec::new(),
            copies_of: Map::default(),
            held: Held::default(),
        }
    }

    /// The capture is over.
    pub(super) fn finish(mut self, stats: &mut CaptureStats) {
        self.settle_all();
        for Copy { conn, pair, frames } in &self.copies {
            let missing = u64::try_from(pair.missing()).unwrap_or(u64::MAX);
            if missing > 0 {
                *stats.problems.entry(problem::ONLY_IN_COPY).or_default() += missing;
            }
            let this = self.conns.get(*conn as usize);
            if let (Some(this), Some(of)) = (this, self.first_of(pair.original)) {
                stats.duplicates.push(Duplicate {
                    client: this.info.client,
                    server: this.info.server,
                    of_client: of.info.client,
                    of_server: of.info.server,
                    frames: *frames,
                });
            }
        }
    }

    /// The connection that is told, for one that may be a copy of it.
    fn first_of(&self, conn: u32) -> Option<&Conn> {
        let mut conn = self.conns.get(conn as usize)?;
        while let State::Copy(at) = conn.state {
            let original = self.copies.get(at)?.pair.original;
            // It was there before its copy, so this ends.
            conn = self.conns.get(original as usize)?;
        }
        Some(conn)
    }

    fn state(&self, conn: u32) -> State {
        let conn = self.conns.get(conn as usize);
        debug_assert!(conn.is_some(), "a connection is told before what is in it");
        conn.map_or(State::Doubted, |conn| conn.state)
    }

    fn connection(&mut self, info: &ConnInfo) {
        if self.doubts.len() >= DOUBTS_MAX {
            self.settle_all();
        }
        self.conns.push(Conn {
            info: *info,
            state: State::Doubted,
            has_frames: false,
            is_closed: false,
        });
        self.doubts.push(Doubt {
            conn: info.conn,
            pairs: None,
            is_over: false,
        });
    }

    #[inline]
    fn seen(&mut self, info: &FrameInfo, payload: &[u8]) {
        let Some(conn) = self.conns.get_mut(info.conn as usize) else {
            return;
        };
        let is_first = !std::mem::replace(&mut conn.has_frames, true);
        let seen = Seen::of(info, payload, is_first);
        let state = conn.state;
        if !self.copies.is_empty() {
            self.compare(&seen, state);
        }
        if let State::Copy(_) = state {
            return;
        }
        if !self.doubts.is_empty() {
            self.weigh(&seen);
        }
        self.recent.push(seen);
    }

    /// Notes a frame of a copy, or of what has copies.
    fn compare(&mut self, seen: &Seen, state: State) {
        if let State::Copy(at) = state
            && let Some(copy) = self.copies.get_mut(at)
        {
            copy.pair.saw(Of::Copy, seen);
        }
        for &at in self.copies_of.get(&seen.conn).into_iter().flatten() {
            if let Some(copy) = self.copies.get_mut(at) {
                copy.pair.saw(Of::Original, seen);
            }
        }
    }

    /// What a frame tells of the connections in doubt.
    fn weigh(&mut self, seen: &Seen) {
        for doubt in &mut self.doubts {
            let is_own = doubt.conn == seen.conn;
            let Some(pairs) = &mut doubt.pairs else {
                if is_own {
                    doubt.pairs = Some(self.recent.pairs(seen, &self.conns));
                }
                continue;
            };
            for pair in pairs.iter_mut() {
                if is_own {
                    pair.saw(Of::Copy, seen);
                } else if pair.original == seen.conn {
                    pair.saw(Of::Original, seen);
                }
            }
            pairs.retain(|pair| !pair.differs(seen.time_ns));
        }
        self.settle();
    }

    /// A connection has ended.
    fn ended(&mut self, ended: u32) {
        if let Some(conn) = self.conns.get_mut(ended as usize) {
            conn.is_closed = true;
        }
        self.copies_of.remove(&ended);
        let ends = |conn: u32| {
            let conn = self.conns.get(conn as usize)?;
            Some((conn.info.client, conn.info.server))
        };
        for doubt in self.doubts.iter_mut().filter(|it| it.conn == ended) {
            doubt.is_over = true;
            let pairs = doubt.pairs.get_or_insert_default();
            pairs.retain(|pair| pair.is_even() && ends(pair.original) == ends(ended));
        }
        self.settle();
    }

    /// No connection is in doubt any more.
    fn settle_all(&mut self) {
        for doubt in &mut self.doubts {
            doubt.pairs = Some(Vec::new());
        }
        self.settle();
    }

    /// Decides what can be decided, and tells what need not wait any more.
    fn settle(&mut self) {
        let (conns, copies, copies_of) = (&mut self.conns, &mut self.copies, &mut self.copies_of);
        self.doubts.retain_mut(|doubt| {
            let Doubt {
                conn,
                pairs,
                is_over,
            } = doubt;
            let Some(pairs) = pairs else {
                return true;
            };
            // Nobody has so many taps.
            pairs.retain(|pair| {
                let of = copies_of.get(&pair.original);
                of.is_none_or(|of| of.len() < COPIES_MAX)
            });
            let shown = pairs.iter().position(|pair| *is_over || pair.is_shown());
            if shown.is_none() && !pairs.is_empty() {
                return true;
            }
            let state = match shown {
                Some(at) => {
                    let pair = pairs.swap_remove(at);
                    let place = copies.len();
                    copies_of.entry(pair.original).or_default().push(place);
                    let (conn, frames) = (*conn, 0);
                    copies.push(Copy { conn, pair, frames });
                    State::Copy(place)
                }
                None => State::Own(UNTOLD),
            };
            if let Some(conn) = conns.get_mut(*conn as usize) {
                conn.state = state;
            }
            false
        });
        let mut held = std::mem::take(&mut self.held);
        while let Some((event, payload)) = held.first()
            && self.state(event.conn()) != State::Doubted
        {
            self.tell(event.with_payload(payload));
            held.next += 1;
        }
        held.tidy();
        self.held = held;
    }

    /// Tells an event now, or keeps it while it or an earlier one is in doubt.
    fn pass(&mut self, event: CaptureEvent<'_>) {
        if self.held.is_empty() && self.state(event.conn()) != State::Doubted {
            return self.tell(event);
        }
        if self.held.push(event) {
            return;
        }
        self.settle_all();
        self.tell(event);
    }

    fn tell(&mut self, event: CaptureEvent<'_>) {
        let Some(conn) = self.conns.get_mut(event.conn() as usize) else {
            return;
        };
        match &mut conn.state {
            State::Copy(at) => {
                let copy = self.copies.get_mut(*at);
                if let (CaptureEvent::Frame(..), Some(copy)) = (event, copy) {
                    copy.frames += 1;
                }
            }
            State::Own(number) => {
                if let CaptureEvent::Connection(_) = event {
                    *number = self.told;
                    self.told += 1;
                }
                self.sink.event(event.of_conn(*number));
            }
            State::Doubted => debug_assert!(false, "nothing of it is told while in doubt"),
        }
    }
}

impl Sink for Twice<'_> {
    #[inline]
    fn event(&mut self, event: CaptureEvent<'_>) {
        match &event {
            CaptureEvent::Connection(info) => self.connection(info),
            CaptureEvent::Frame(info, payload) => self.seen(info, payload),
            CaptureEvent::Closed { conn, .. } => self.ended(*conn),
            CaptureEvent::Gap { .. } => {}
        }
        self.pass(event);
    }

    fn frame(&mut self, mut info: FrameInfo, payload: &mut Vec<u8>) {
        self.seen(&info, payload);
        match self.state(info.conn) {
            State::Own(number) if self.held.is_empty() => {
                info.conn = number;
                self.sink.frame(info, payload);
            }
            _ => self.pass(CaptureEvent::Frame(info, payload)),
        }
    }
}

impl Seen {
    fn of(info: &FrameInfo, payload: &[u8], is_first: bool) -> Self {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write_usize(info.wire_len);
        if info.complete {
            hasher.write(payload.get(..HEAD).unwrap_or(payload));
            let tail = payload.len().saturating_sub(TAIL);
            hasher.write(payload.get(tail..).unwrap_or_default());
        } else {
            // Where it was cut is not the same in both.
            let header = info.kind.header_len();
            hasher.write(payload.get(..header).unwrap_or(payload));
        }
        let session = match info.kind {
            FrameKind::Smb2 => le_u64(payload, 40),
            FrameKind::Transform => le_u64(payload, 44),
            FrameKind::Smb1 | FrameKind::Compressed => None,
        };
        Self {
            key: hasher.finish(),
            time_ns: info.time_ns,
            conn: info.conn,
            dir: info.dir,
            has_session: session.is_some_and(|id| id != 0),
            is_first,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.key, self.dir) == (other.key, other.dir)
            && self.conn != other.conn
            && other.time_ns.saturating_sub(self.time_ns) <= MOMENTS_NS
    }
}

/// The last frames of all connections, copies excepted; the oldest at `next` once there are many.
#[derive(Default)]
struct Recent {
    frames: Vec<Seen>,
    next: usize,
}

impl Recent {
    #[inline]
    fn push(&mut self, seen: Seen) {
        if self.frames.len() < RECENT {
            return self.frames.push(seen);
        }
        if let Some(place) = self.frames.get_mut(self.next) {
            *place = seen;
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// Oldest first.
    fn all(&self) -> impl DoubleEndedIterator<Item = &Seen> + Clone {
        let (newer, older) = self.frames.split_at_checked(self.next).unwrap_or_default();
        older.iter().chain(newer)
    }

    /// The connections that one which begins with the frame `first` may be a copy of.
    fn pairs(&self, first: &Seen, conns: &[Conn]) -> Vec<Pair> {
        let is_open = |conn: u32| {
            let conn = conns.get(conn as usize);
            conn.is_some_and(|conn| !conn.is_closed && !matches!(conn.state, State::Copy(_)))
        };
        let latest = self.all().rev().enumerate();
        let alike = latest.filter(|(_, seen)| seen.is_like(first) && is_open(seen.conn));
        let mut pairs: Vec<Pair> = Vec::new();
        for (back, seen) in alike.take(PAIRS_MAX) {
            let place = self.frames.len() - 1 - back;
            let of_it = |it: &&Seen| it.conn == seen.conn;
            let earlier = if seen.is_first { 0 } else { place };
            let before = self.all().take(earlier).filter(of_it);
            let after = self.all().skip(place + 1).filter(of_it);
            let is_answer = |it: &&Seen| it.dir == Direction::ServerToClient;
            if after.clone().filter(is_answer).count() <= AHEAD_MAX
                && !pairs.iter().any(|pair| pair.original == seen.conn)
            {
                pairs.push(Pair::new(seen.conn, first, seen.is_first, before, after));
            }
        }
        pairs
    }
}

/// Events that wait, with their payloads.
#[derive(Default)]
struct Held {
    events: Vec<(CaptureEvent<'static>, Range<usize>)>,
    bytes: Vec<u8>,
    /// The first that has not been told.
    next: usize,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether there was room for it.
    fn push(&mut self, event: CaptureEvent<'_>) -> bool {
        let (event, payload) = event.split();
        let start = self.bytes.len();
        if start + payload.len() > HELD_BYTES_MAX || self.events.len() >= HELD_MAX {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.events.push((event, start..self.bytes.len()));
        true
    }

    fn first(&self) -> Option<(CaptureEvent<'static>, &[u8])> {
        let (event, range) = self.events.get(self.next)?;
        Some((*event, self.bytes.get(range.clone())?))
    }

    /// Forgets what was told, once that is all.
    fn tidy(&mut self) {
        if self.next == self.events.len() {
            self.events.clear();
            self.bytes.clear();
            self.bytes.shrink_to(HELD_BYTES_KEPT);
            self.next = 0;
        }
    }
}

/// A frame of a copy comes this long after that of the other at most.
const MOMENTS_NS: u64 = 1_000_000_000;
/// Answers that a connection may have had after the frame that its copy begins with: clocks of two
/// taps may be apart by a little more than the way of an answer.
const AHEAD_MAX: usize = 2;
/// Bytes of a frame that are compared, of its beginning and its end.
const HEAD: usize = 256;
const TAIL: usize = 64;
/// Frames of all connections that are remembered.
const RECENT: usize = 4096;
/// Connections that one is compared with.
const PAIRS_MAX: usize = 8;
/// Connections that are known to be copies of one at once.
const COPIES_MAX: usize = 64;
/// Connections in doubt at once: as many may log in at the same time.
const DOUBTS_MAX: usize = 256;
/// Events and bytes that may wait, and bytes of room that are kept for the next.
const HELD_MAX: usize = 1 << 16;
const HELD_BYTES_MAX: usize = 16 << 20;
const HELD_BYTES_KEPT: usize = 1 << 20;
/// The sink does not know it yet.
const UNTOLD: u32 = u32::MAX;
