//! How far the clocks of captures are apart that show the same connections.
//!
//! Captures are merged by time, so those of two machines have to tell the same one. What they have
//! in common tells how far they are apart:
//!
//! - The same segment in both was on its way from one place to the other, and those of the other
//!   direction were on the way back. Addresses may differ, as they may have been translated.
//! - Where each shows one direction of a connection, what one acknowledges was sent before in the
//!   other.
//!
//! That gives a range. If clocks that agree are within it, they are left alone; else they are apart
//! by the middle of it. Of each capture a sample is kept that is the same for all: what has the
//! smallest hashes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::thread;

use foldhash::fast::FixedState;

use super::CaptureError;
use super::container::Source;
use super::link::{Dissector, Ip, Segment};
use super::stats::CaptureStats;
use super::window::Reading;
use crate::threads::joined;

/// What to add to the times of captures, in nanoseconds, so that their clocks agree with that of the
/// first of those that have connections in common.
///
/// Reads them to their ends; `None` stands for one that cannot be read twice. Clocks that are more
/// than five minutes apart are left alone, as are those of more than 256 captures.
///
/// # Errors
///
/// As [`read_capture`](super::read_capture).
pub fn clocks(inputs: Vec<Option<Box<dyn Read + Send>>>) -> Result<Vec<i64>, CaptureError> {
    let count = inputs.len();
    let readable = inputs.iter().flatten().count();
    if !(2..=CAPTURES_MAX).contains(&readable) {
        return Ok(vec![0; count]);
    }
    let size = MARKS / readable;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut lists: Vec<Vec<(usize, Box<dyn Read + Send>)>> = Vec::new();
    lists.resize_with(workers.min(readable), Vec::new);
    let readable = inputs.into_iter().enumerate();
    let readable = readable.filter_map(|(at, input)| Some((at, input?)));
    for (turn, input) in readable.enumerate() {
        let list = turn % lists.len();
        if let Some(list) = lists.get_mut(list) {
            list.push(input);
        }
    }
    type Sketches = Result<Vec<(usize, Sketch)>, CaptureError>;
    let sketches = thread::scope(|scope| {
        let start = |list: Vec<_>| {
            scope.spawn(move || -> Sketches {
                let list = list.into_iter();
                list.map(|(at, input)| Ok((at, Sketch::of(input, size)?)))
                    .collect()
            })
        };
        let threads: Vec<_> = lists.into_iter().map(start).collect();
        let lists = threads.into_iter().map(joined);
        lists.collect::<Result<Vec<_>, CaptureError>>()
    })?;
    let mut in_common = InCommon::default();
    for (capture, sketch) in sketches.into_iter().flatten() {
        in_common.add(capture, sketch);
    }
    Ok(agreed(count, &in_common.apart()))
}

/// What a capture shows of a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// The bytes up to a place in its stream were sent.
    Sent,
    /// They were acknowledged.
    Acknowledged,
    /// A segment, by what address translation leaves alone; from the lower port, or to it.
    Segment,
    SegmentBack,
}

/// The sample of a capture: when what was there, first and last.
struct Sketch {
    times: BTreeMap<(u64, Kind), (u64, u64)>,
    size: usize,
}

impl Sketch {
    /// Of a capture that is read to its end.
    fn of(input: Box<dyn Read + Send>, size: usize) -> Result<Self, CaptureError> {
        let mut sketch = Self {
            times: BTreeMap::new(),
            size,
        };
        let mut source = Source::open(Box::new(Reading::new(input)), false)?;
        let mut dissector = Dissector::default();
        let mut stats = CaptureStats::default();
        while source.advance(&mut stats)? {
            let packet = source.packet();
            let mut segment = Segment::default();
            let (link, wire_len) = (packet.link, packet.wire_len);
            if dissector.segment(link, source.data(), wire_len, &mut segment, &mut stats) {
                sketch.segment(&segment, packet.time_ns);
            }
        }
        Ok(sketch)
    }

    fn segment(&mut self, segment: &Segment<'_>, time_ns: u64) {
        let there = (segment.src, segment.src_port);
        let back = (segment.dst, segment.dst_port);
        let len = u32::try_from(segment.wire_len).unwrap_or(u32::MAX);
        // SYN and FIN count as a byte each. RFC 9293 3.4.
        let len = len
            .wrapping_add(segment.has(Segment::SYN).into())
            .wrapping_add(segment.has(Segment::FIN).into());
        if len > 0 {
            let end = segment.seq.wrapping_add(len);
            self.note(place(there, back, end), Kind::Sent, time_ns);
        }
        if segment.has(Segment::ACK) {
            let end = place(back, there, segment.ack);
            self.note(end, Kind::Acknowledged, time_ns);
        }
        if segment.payload.len() >= SAME_BYTES {
            let mut hasher = FixedState::with_seed(1).build_hasher();
            hasher.write_u32(segment.seq);
            hasher.write_u32(segment.ack);
            hasher.write_u32(len);
            hasher.write(segment.payload.get(..SAME_BYTES).unwrap_or_default());
            let kind = if segment.src_port < segment.dst_port {
                Kind::Segment
            } else {
                Kind::SegmentBack
            };
            self.note(hasher.finish(), kind, time_ns);
        }
    }

    fn note(&mut self, hash: u64, kind: Kind, time_ns: u64) {
        let last = self.times.last_key_value();
        if self.times.len() >= self.size && last.is_some_and(|(last, _)| (hash, kind) > *last) {
            return;
        }
        let times = self.times.entry((hash, kind)).or_insert((time_ns, time_ns));
        times.1 = times.1.max(time_ns);
        if self.times.len() > self.size {
            self.times.pop_last();
        }
    }
}

/// A place in the stream from one end to another.
fn place(from: (Ip, u16), to: (Ip, u16), end: u32) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    for (ip, port) in [from, to] {
        hasher.write_u64(ip.high);
        hasher.write_u64(ip.low);
        hasher.write_u16(port);
    }
    hasher.write_u32(end);
    hasher.finish()
}

/// What captures have in common.
#[derive(Default)]
struct InCommon {
    marks: Vec<(u64, usize, Kind, i64)>,
}

impl InCommon {
    fn add(&mut self, capture: usize, sketch: Sketch) {
        for ((hash, kind), (first_ns, last_ns)) in sketch.times {
            // What is acknowledged is so until more is. All else comes again where it was lost, or
            // where a capture is played again: then it tells nothing.
            let is_one = last_ns.saturating_sub(first_ns) <= AGAIN_NS;
            if is_one || kind == Kind::Acknowledged {
                let time_ns = i64::try_from(first_ns).unwrap_or(i64::MAX);
                self.marks.push((hash, capture, kind, time_ns));
            }
        }
    }

    /// How far the clocks of two captures are apart, as far as that is known.
    fn apart(mut self) -> BTreeMap<(usize, usize), i64> {
        self.marks.sort_unstable();
        let mut pairs: BTreeMap<(usize, usize), Evidence> = BTreeMap::new();
        for same in self.marks.chunk_by(|one, next| one.0 == next.0) {
            for (at, &(_, first, kind, time_ns)) in same.iter().enumerate() {
                let others = same.iter().skip(at + 1);
                for &(_, other, other_kind, other_ns) in others.filter(|it| it.1 != first) {
                    let evidence = pairs.entry((first, other)).or_default();
                    evidence.add(kind, other_kind, time_ns.saturating_sub(other_ns));
                }
            }
        }
        let apart = pairs.into_iter();
        apart
            .filter_map(|(pair, it)| Some((pair, it.apart()?)))
            .collect()
    }
}

/// What tells how far the clock of a capture is behind that of another one, in nanoseconds.
#[derive(Default)]
struct Evidence {
    /// It is, apart from the way: by segments of each direction.
    segments: [Vec<i64>; 2],
    at_least: Vec<i64>,
    at_most: Vec<i64>,
}

impl Evidence {
    /// Something was seen in the first capture so much later than something in the other.
    fn add(&mut self, kind: Kind, other: Kind, later_ns: i64) {
        let [there, back] = &mut self.segments;
        let list = match (kind, other) {
            (Kind::Segment, Kind::Segment) => there,
            (Kind::SegmentBack, Kind::SegmentBack) => back,
            (Kind::Sent, Kind::Acknowledged) => &mut self.at_least,
            (Kind::Acknowledged, Kind::Sent) => &mut self.at_most,
            _ => return,
        };
        list.push(later_ns);
    }

    fn apart(mut self) -> Option<i64> {
        let [there, back] = &mut self.segments;
        if !agrees(there) || !agrees(back) {
            return None;
        }
        let count = there.len() + back.len();
        let (one, other) = match [there, back].map(|list| ranked(list, 50)) {
            _ if count < ENOUGH => {
                if self.at_least.len() < ENOUGH || self.at_most.len() < ENOUGH {
                    return None;
                }
                // What came again, or was lost in one of them, is no bound: there is little of it.
                let low = ranked(&mut self.at_least, 98)?;
                (low, ranked(&mut self.at_most, 2)?)
            }
            [Some(there), Some(back)] => (there, back),
            [there, back] => {
                let middle = there.or(back)?;
                (middle.saturating_sub(WAY_NS), middle.saturating_add(WAY_NS))
            }
        };
        let (low, high) = (one.min(other), one.max(other));
        if low <= 0 && high >= 0 {
            return Some(0);
        }
        let middle = low + (high.saturating_sub(low)) / 2;
        (middle.saturating_abs() <= APART_MAX_NS).then_some(middle)
    }
}

/// Whether most of a list is about the same.
fn agrees(list: &mut [i64]) -> bool {
    let most = ranked(list, 10).zip(ranked(list, 90));
    most.is_none_or(|(low, high)| high.saturating_sub(low) <= DRIFT_NS)
}

/// The one of a list that so many in a hundred are below.
fn ranked(list: &mut [i64], percent: usize) -> Option<i64> {
    list.sort_unstable();
    let last = list.len().checked_sub(1)?;
    // Rounded away from the middle: of a short list, the outermost.
    let rank = if percent > 50 {
        (last * percent).div_ceil(100)
    } else {
        last * percent / 100
    };
    list.get(rank).copied()
}

/// What to add to the time of each of so many captures.
fn agreed(count: usize, apart: &BTreeMap<(usize, usize), i64>) -> Vec<i64> {
    let mut clocks = vec![None; count];
    for first in 0..count {
        let mut known = vec![(first, 0)];
        while let Some((capture, clock)) = known.pop() {
            match clocks.get_mut(capture) {
                Some(unknown @ None) => *unknown = Some(clock),
                _ => continue,
            }
            for (&(one, other), &ns) in apart {
                if one == capture {
                    known.push((other, ns.saturating_add(clock)));
                } else if other == capture {
                    known.push((one, clock.saturating_sub(ns)));
                }
            }
        }
    }
    // Each is the first itself, or was found from it.
    clocks.into_iter().flatten().collect()
}

/// Captures that are compared.
const CAPTURES_MAX: usize = 256;
/// What is kept of all of them together.
const MARKS: usize = 1 << 16;
/// Bytes of a segment that are compared: an SMB2 header as far as its MessageId, at least.
const SAME_BYTES: usize = 48;
/// So many are no accident.
const ENOUGH: usize = 3;
/// A capture shows the same segment twice within this time where it was taken at two places.
const AGAIN_NS: u64 = 100_000_000;
/// As much as clocks may drift apart during a capture.
const DRIFT_NS: i64 = 1_000_000_000;
/// As long as a segment may be on its way, where only one direction is known.
const WAY_NS: i64 = 100_000_000;
/// Hosts of one domain are not further apart: Kerberos would not let them in. RFC 4120 1.6.
const APART_MAX_NS: i64 = 300_000_000_000;
