//! One direction of a TCP connection: segments in capture order to bytes in stream order.
//!
//! Positions are 64-bit and relative to the first byte seen, so that sequence numbers may wrap.
//! Bytes seen first win over what a retransmission says. What comes before its turn waits; a hole
//! is given up for lost when the other side acknowledged past it and it stays open for a while, or
//! when too much waits behind it. A segment cut by the snap length leaves a hole of known size.
//! A segment also waits for the bytes of the other side that it acknowledges: see [`super::step`].

use std::collections::BTreeMap;

use super::emit::{Ident, Out, Side, Stamp};
use super::framing::Framer;
use super::link::Segment;
use super::reset::Verdict;
use super::stats::problem;

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Half {
    pub(super) framer: Framer,
    started: bool,
    /// Sequence number of the SYN, when it was seen.
    isn: Option<u32>,
    /// Next expected position, and the same as a sequence number.
    next: u64,
    next_seq: u32,
    start: u64,
    /// Position up to which the other side has acknowledged.
    acked: u64,
    /// Position up to which the other side does not wait for this one any more.
    forgiven: u64,
    /// End of the last hole that was given up.
    lost: u64,
    /// How far the other side had come when it was looked at last.
    reach: u64,
    /// Position of the FIN.
    fin: Option<u64>,
    waiting: BTreeMap<u64, Chunk>,
    waiting_bytes: usize,
    hole: Hole,
}

/// How long the hole at `next` has been open.
#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    since_ns: u64,
    segments: u32,
}

impl Hole {
    fn since(at: Stamp) -> Self {
        Self {
            since_ns: at.time_ns,
            segments: 0,
        }
    }
}

/// Bytes that came before their turn.
struct Chunk {
    data: Vec<u8>,
    /// Length with what the snap length cut off.
    wire_len: usize,
    needs: Need,
    at: Stamp,
}

/// What a segment waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// Position of the other side that must have been reached before.
    position: u64,
    /// The bytes up to there had not even been seen.
    early: bool,
}

impl Half {
    /// Whether a SYN or payload was seen.
    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Sequence number of the SYN, when it was seen.
    pub(super) fn isn(&self) -> Option<u32> {
        self.isn
    }

    /// Whether all bytes up to a FIN were seen.
    pub(super) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= fin)
    }

    /// Whether this direction sent a FIN.
    pub(super) fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether it holds bytes for later.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.waiting.is_empty() || self.framer.holds_bytes()
    }

    /// Distance of a sequence number from the next expected one, in bytes.
    pub(super) fn distance(&self, seq: u32) -> u32 {
        seq.wrapping_sub(self.next_seq).cast_signed().unsigned_abs()
    }

    /// Whether some of `len` bytes from `seq` on were not handed on yet.
    pub(super) fn lacks(&self, seq: u32, len: usize) -> bool {
        len > 0 && (!self.started || self.position(seq) + wide(len) > self.next)
    }

    /// What a reset in this direction does.
    pub(super) fn judge_reset(&self, seq: u32) -> Verdict {
        if !self.started {
            return Verdict::Ends; // nothing tells against it: the answer to a SYN
        }
        let at = self.position(seq);
        let waiting = self.waiting.last_key_value();
        let seen = waiting.map(|(&last, chunk)| last + wide(chunk.wire_len));
        // The FIN counts as a byte.
        let fin = self.fin.map(|fin| fin + 1);
        let ends = [Some(self.next), Some(self.acked), seen, fin];
        if ends.contains(&Some(at)) {
            Verdict::Ends
        } else if at < self.acked || at.abs_diff(self.next) > NEEDED_BYTES_MAX {
            Verdict::Ignored
        } else {
            Verdict::Doubtful
        }
    }

    /// The SYN of this direction: the stream begins right after it.
    pub(super) fn syn(&mut self, isn: u32) {
        self.isn = Some(isn);
        if !self.started {
            self.begin(isn.wrapping_add(1));
        }
    }

    /// Whether a SYN fits a direction that began without one: it was captured late.
    pub(super) fn is_late_syn(&self, isn: u32) -> bool {
        let first = self.next_seq.wrapping_sub(low_u32(self.next - self.start));
        self.isn.is_none() && first.wrapping_sub(isn.wrapping_add(1)) <= LATE_SYN_MAX
    }

    /// The other side acknowledged up to `ack`. What that needs, when it is not reached yet.
    #[inline]
    pub(super) fn acknowledge(&mut self, ack: u32) -> Option<Need> {
        if !self.started {
            return None;
        }
        let position = self.position(ack);
        self.acked = self.acked.max(position);
        if position <= self.next {
            return None;
        }
        // The FIN counts as a byte.
        let position = position.min(self.fin.unwrap_or(position));
        let is_missing = position > self.reach() && position - self.next <= NEEDED_BYTES_MAX;
        let seen = self.waiting.last_key_value();
        let seen = seen.map(|(&last, chunk)| last + wide(chunk.wire_len));
        let early = seen.is_none_or(|seen| seen < position);
        is_missing.then_some(Need { position, early })
    }

    /// Position up to which the other side need not wait.
    fn reach(&self) -> u64 {
        self.next.max(self.forgiven)
    }

    /// Whether bytes wait for their turn.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the next bytes are there, and wait for the other side.
    fn is_held(&self) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(&first, _)| first <= self.next)
    }

    /// Takes the payload (and the FIN) of a segment that starts at `seq` and `needs` the other side
    /// to reach a position.
    #[inline]
    pub(super) fn segment(
        &mut self,
        ident: &mut Ident,
        from: Side,
        (seq, needs): (u32, Option<Need>),
        segment: &Segment<'_>,
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        if !self.started {
            self.begin(seq);
        }
        let position = self.position(seq);
        let wire_len = segment.wire_len;
        let end = position + wide(wire_len);
        if segment.has(Segment::FIN) {
            self.fin = Some(end);
        }
        if wire_len == 0 {
            return;
        }
        if end <= self.next {
            out.stats.retransmitted_bytes += wide(wire_len);
            if end <= self.start {
                self.before_start(ident, from, segment, at, out);
            }
            return;
        }
        let held = (needs.is_some() || self.is_held()) && !out.memory.is_tight();
        if position > self.next || held {
            out.stats.out_of_order_segments += u64::from(position > self.next);
            self.wait(position, segment, needs, at, out);
            return;
        }
        let seen = self.next - position;
        out.stats.retransmitted_bytes += seen;
        let seen = narrow(seen);
        let rest = segment.payload.get(seen..).unwrap_or_default();
        self.deliver(ident, from, rest, wire_len - seen, at, out);
        self.drain(ident, from, at, out);
    }

    /// Packet of the first bytes that wait.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let (_, chunk) = self.waiting.first_key_value()?;
        Some(chunk.at.frame_no)
    }

    /// Hands on bytes that waited for `other` to come this far, or need not any more.
    pub(super) fn proceed(
        &mut self,
        ident: &mut Ident,
        from: Side,
        other: &mut Self,
        at: Stamp,
        out: &mut Out<'_>,
    ) -> bool {
        let first = self.waiting.first_key_value();
        let first = first.filter(|&(&first, _)| first <= self.next);
        let Some((&first, chunk)) = first else {
            return false;
        };
        let Need { position, early } = chunk.needs;
        if position <= other.reach() {
            // What was lost was not early.
            if early && position > other.lost {
                out.stats.problem(problem::OUT_OF_STEP);
            }
        } else {
            // Who has acknowledged these bytes has had what they acknowledge.
            let segments = if self.acked > first {
                ACKED_SEGMENTS_MAX
            } else {
                NEEDED_SEGMENTS_MAX
            };
            let is_open = self.hole.segments <= segments
                && at.time_ns.saturating_sub(self.hole.since_ns) <= ACKED_OPEN_NS_MAX;
            if is_open && !self.is_full(out) {
                return false;
            }
        }
        self.insist(ident, from, other, out);
        true
    }

    /// Hands on the first bytes that wait, whatever they wait for.
    pub(super) fn insist(
        &mut self,
        ident: &mut Ident,
        from: Side,
        other: &mut Self,
        out: &mut Out<'_>,
    ) {
        let Some((&first, &Chunk { needs, at, .. })) = self.waiting.first_key_value() else {
            return;
        };
        if first > self.next {
            self.reach = other.reach();
            return self.give_up(ident, from, out);
        }
        if needs.position > other.reach() {
            other.forgive(ident, from.other(), (needs.position, self.reach()), out);
        }
        self.reach = other.reach();
        self.drain(ident, from, at, out);
    }

    /// Gives up the hole that keeps bytes waiting when it has been open for too long; whether it did.
    pub(super) fn review(
        &mut self,
        ident: &mut Ident,
        from: Side,
        at: Stamp,
        out: &mut Out<'_>,
    ) -> bool {
        let mut any = false;
        while let Some((&first, _)) = self.waiting.first_key_value() {
            self.hole.segments = self.hole.segments.saturating_add(1);
            if first <= self.next {
                break;
            }
            let open_ns = at.time_ns.saturating_sub(self.hole.since_ns);
            let lost = if self.acked > self.next {
                self.hole.segments > ACKED_SEGMENTS_MAX || open_ns > ACKED_OPEN_NS_MAX
            } else {
                self.hole.segments > OPEN_SEGMENTS_MAX || open_ns > OPEN_NS_MAX
            };
            let full = self.is_full(out);
            if !lost && !full {
                break;
            }
            if full && !lost {
                out.stats.problem(problem::HOLE_LIMIT);
            }
            self.give_up(ident, from, out);
            any = true;
        }
        any
    }

    fn is_full(&self, out: &Out<'_>) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX || out.memory.is_tight()
    }

    fn begin(&mut self, seq: u32) {
        self.started = true;
        self.next = ORIGIN;
        self.start = ORIGIN;
        self.next_seq = seq;
    }

    #[inline]
    fn position(&self, seq: u32) -> u64 {
        let distance = seq.wrapping_sub(self.next_seq).cast_signed();
        self.next.saturating_add_signed(i64::from(distance))
    }

    fn advance(&mut self, len: u64) {
        self.next += len;
        self.next_seq = self.next_seq.wrapping_add(low_u32(len));
    }

    /// Hands on bytes whose turn it is; what was cut off behind them is a hole.
    #[inline]
    fn deliver(
        &mut self,
        ident: &mut Ident,
        from: Side,
        data: &[u8],
        wire_len: usize,
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        let data = data.get(..wire_len).unwrap_or(data);
        self.advance(wide(wire_len));
        self.framer.feed(ident, from, data, at, out);
        if data.len() < wire_len {
            self.gap(ident, from, wide(wire_len - data.len()), at, out);
        }
    }

    fn gap(&mut self, ident: &mut Ident, from: Side, missing: u64, at: Stamp, out: &mut Out<'_>) {
        self.framer.announce(ident, from, out);
        let within_frame = self.framer.is_within_frame(missing);
        out.gap(ident, from, missing, within_frame, at);
        self.framer.gap(ident, from, missing, at, out);
    }

    /// Keeps the parts of a segment that nothing covers, waiting or handed on.
    fn wait(
        &mut self,
        start: u64,
        segment: &Segment<'_>,
        needs: Option<Need>,
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        if self.waiting.is_empty() {
            self.hole = Hole::since(at);
        }
        let end = start + wide(segment.wire_len);
        let mut from = start.max(self.next);
        out.stats.retransmitted_bytes += from - start;
        while from < end {
            let before = self.waiting.range(..=from).next_back();
            let covered = before.map_or(0, |(&key, chunk)| key + wide(chunk.wire_len));
            if covered > from {
                out.stats.retransmitted_bytes += covered.min(end) - from;
                from = covered;
                continue;
            }
            let to = self
                .waiting
                .range(from..end)
                .next()
                .map_or(end, |(&key, _)| key);
            let part = narrow(from - start)..narrow(to - start).min(segment.payload.len());
            let part = segment.payload.get(part).unwrap_or_default();
            if !out.memory.take(part.len()) {
                out.stats.problem(problem::MEMORY_LIMIT);
                return;
            }
            self.waiting_bytes += part.len();
            let chunk = Chunk {
                data: part.to_vec(),
                wire_len: narrow(to - from),
                needs: needs.unwrap_or_default(),
                at,
            };
            self.waiting.insert(from, chunk);
            from = to;
        }
    }

    /// Hands on what waited for the bytes that have just come.
    fn drain(&mut self, ident: &mut Ident, from: Side, at: Stamp, out: &mut Out<'_>) {
        while let Some(mut entry) = self.waiting.first_entry()
            && *entry.key() <= self.next
        {
            let chunk = entry.get_mut();
            if chunk.needs.position > self.reach {
                chunk.at = chunk.at.later(at);
                break;
            }
            self.deliver_first(ident, from, at, out);
        }
    }

    /// Hands on the first that waits, whose bytes have their turn.
    fn deliver_first(&mut self, ident: &mut Ident, from: Side, at: Stamp, out: &mut Out<'_>) {
        let Some((start, chunk)) = self.waiting.pop_first() else {
            return;
        };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(chunk.data.len());
        let seen = narrow(self.next - start);
        if seen < chunk.wire_len {
            let rest = chunk.data.get(seen..).unwrap_or_default();
            let at = at.later(chunk.at);
            self.deliver(ident, from, rest, chunk.wire_len - seen, at, out);
        }
        out.stats.retransmitted_bytes += wide(seen.min(chunk.wire_len));
        out.memory.give(chunk.data.len());
        self.hole = Hole::since(at);
    }

    /// Gives up the hole before the first that waits.
    fn give_up(&mut self, ident: &mut Ident, from: Side, out: &mut Out<'_>) {
        if let Some(seen) = self.skip_hole(ident, from, out) {
            self.drain(ident, from, seen, out);
            self.hole = Hole::since(seen);
        }
    }

    /// Goes on where the first that waits begins.
    fn skip_hole(&mut self, ident: &mut Ident, from: Side, out: &mut Out<'_>) -> Option<Stamp> {
        // What waited was there at its own time: nothing else completes it.
        let (&first, &Chunk { at: seen, .. }) = self.waiting.first_key_value()?;
        let missing = first.saturating_sub(self.next);
        if missing > 0 {
            self.advance(missing);
            self.lost = self.next;
            self.gap(ident, from, missing, seen, out);
        }
        Some(seen)
    }

    /// The other side, which has come to `reach`, does not wait any more for what comes before
    /// `limit`: that has been there, whether captured or not.
    fn forgive(
        &mut self,
        ident: &mut Ident,
        from: Side,
        (limit, reach): (u64, u64),
        out: &mut Out<'_>,
    ) {
        while let Some((&first, chunk)) = self.waiting.first_key_value()
            && first <= limit
            && self.next < limit
            && (chunk.needs.position <= reach || first == limit)
            && let Some(seen) = self.skip_hole(ident, from, out)
            && first < limit
        {
            self.deliver_first(ident, from, seen, out);
        }
        self.forgiven = self.forgiven.max(limit);
    }

    /// A stream seen from the middle may begin out of order: whole frames before its first byte
    /// are taken for themselves.
    fn before_start(
        &mut self,
        ident: &mut Ident,
        from: Side,
        segment: &Segment<'_>,
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        if self.isn.is_some() || self.next - self.start > BEFORE_START_MAX {
            return;
        }
        self.start -= wide(segment.wire_len).min(self.start);
        let mut early = Framer::default();
        early.feed(ident, from, segment.payload, at, out);
        early.end(ident, from, at, out);
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sequence numbers count modulo 2^32"
)]
fn low_u32(value: u64) -> u32 {
    value as u32
}

/// Position of the first byte; leaves room for bytes before it.
const ORIGIN: u64 = 1 << 40;
/// A SYN this close before the first data seen belongs to them.
const LATE_SYN_MAX: u32 = 256 * 1024;
/// Bytes after which a stream seen from the middle takes nothing from before its start.
const BEFORE_START_MAX: u64 = 1024 * 1024;

/// Segments of the connection and time that a hole stays open once it is acknowledged.
const ACKED_SEGMENTS_MAX: u32 = 24;
const ACKED_OPEN_NS_MAX: u64 = 100_000_000;
/// The same while nobody has acknowledged it.
const OPEN_SEGMENTS_MAX: u32 = 1024;
const OPEN_NS_MAX: u64 = 30_000_000_000;
/// Segments of the connection that bytes wait for what they acknowledge while nobody has
/// acknowledged them, and how far away that may be: further than any window reaches.
const NEEDED_SEGMENTS_MAX: u32 = 256;
const NEEDED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that may wait behind one hole.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
