//! TCP connections: which segment belongs to which, where one ends and the next begins.
//!
//! Equal addresses and ports in two networks (VLANs, tunnels) are two connections, unless each of
//! the networks carries one direction: a switch that mirrors one way with a tag and the other
//! without it, a tunnel that the answers do not take.
//!
//! | state  | segment                      | to     | effect                                     |
//! |--------|------------------------------|--------|--------------------------------------------|
//! | none   | any                          | open   | a connection, from its middle without SYN  |
//! | open   | SYN with the known ISN       | open   | nothing (retransmitted)                    |
//! | open   | SYN with another ISN         | open   | Closed(Reuse), another connection          |
//! | open   | RST that its receiver takes  | closed | Closed(Rst)                                |
//! | open   | other RST                    | open   | nothing, or what follows tells: `reset`    |
//! | open   | FINs of both sides, no holes | closed | Closed(Fin)                                |
//! | closed | SYN with another ISN         | open   | another connection                         |
//! | closed | any SYN, a second later      | open   | the same, played again                     |
//! | closed | data far away                | open   | another connection                         |
//! | closed | other bytes that are new     | closed | counted as late                            |
//! | closed | anything else                | closed | nothing: the last ACK, repetitions         |

use super::emit::{End, Ident, Out, Side, Stamp};
use super::event::CloseKind;
use super::link::Segment;
use super::reset::{Doubt, Verdict};
use super::stats::problem;
use super::step::{finish, step};
use super::tcp::Half;
use crate::map::Map;

/// All connections of a capture.
pub(super) struct Flows {
    /// By ends and network.
    index: Map<(Key, u32), usize>,
    /// The latest between two ends, in whatever network.
    latest: Map<Key, usize>,
    flows: Vec<Flow>,
    /// Which one the last segment was of, and its network.
    last: Option<(Key, u32, usize)>,
    limit: usize,
    /// When there are so many, most that have ended are forgotten.
    enough: usize,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    low: End,
    high: End,
}

impl Key {
    /// The connection of a segment, and the side that sent it.
    fn of(segment: &Segment<'_>) -> (Self, Side) {
        let src = (segment.src, segment.src_port);
        let dst = (segment.dst, segment.dst_port);
        if src <= dst {
            let (low, high) = (src, dst);
            (Self { low, high }, Side::Low)
        } else {
            let (low, high) = (dst, src);
            (Self { low, high }, Side::High)
        }
    }

    /// Whether the low end sent this.
    #[inline]
    fn is_way(&self, segment: &Segment<'_>) -> bool {
        let Self { low, high } = self;
        (low.1, high.1) == (segment.src_port, segment.dst_port)
            && low.0 == segment.src
            && high.0 == segment.dst
    }

    /// Whether the high end sent this.
    #[inline]
    fn is_way_back(&self, segment: &Segment<'_>) -> bool {
        let Self { low, high } = self;
        (high.1, low.1) == (segment.src_port, segment.dst_port)
            && high.0 == segment.src
            && low.0 == segment.dst
    }
}

struct Flow {
    key: Key,
    /// Another one between the same addresses and ports, in another network.
    next: Option<usize>,
    low_network: Option<u32>,
    high_network: Option<u32>,
    ident: Ident,
    low: Half,
    high: Half,
    last: Stamp,
    first_fin: Option<Side>,
    /// A reset that may have ended it.
    doubt: Option<Doubt>,
    closed: bool,
}

impl Flows {
    /// Room for `limit` connections at once.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            index: Map::default(),
            latest: Map::default(),
            flows: Vec::new(),
            last: None,
            limit: limit.max(2),
            enough: ENDED,
        }
    }

    /// Takes one segment.
    #[inline]
    pub(super) fn segment(&mut self, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        let last = (self.last.as_ref()).filter(|(_, network, _)| *network == segment.network);
        let (place, from) = match last {
            Some((key, _, place)) if key.is_way(segment) => (*place, Side::Low),
            Some((key, _, place)) if key.is_way_back(segment) => (*place, Side::High),
            _ => {
                let (key, from) = Key::of(segment);
                let place = self.place(key, from, segment, at, out);
                self.last = Some((key, segment.network, place));
                (place, from)
            }
        };
        if let Some(flow) = self.flows.get_mut(place) {
            flow.segment(from, segment, at, out);
        }
        if out.memory.is_tight() {
            self.relieve(out);
        }
    }

    /// The capture is over.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        self.flows.sort_by_key(|flow| flow.last.frame_no);
        for flow in &mut self.flows {
            flow.end(out);
        }
        self.flows.clear();
        self.index.clear();
        self.latest.clear();
        self.last = None;
    }

    fn place(
        &mut self,
        key: Key,
        from: Side,
        segment: &Segment<'_>,
        at: Stamp,
        out: &mut Out<'_>,
    ) -> usize {
        if let Some(place) = self.known(&key, from, segment) {
            return place;
        }
        if self.flows.len() >= self.limit {
            self.evict(out);
        } else if self.flows.len() >= self.enough {
            self.forget_ended();
        }
        let place = self.flows.len();
        let mut flow = Flow::new(key, from, segment, at, out);
        *flow.network(from) = Some(segment.network);
        flow.next = self.latest.insert(key, place);
        self.index.insert((key, segment.network), place);
        self.flows.push(flow);
        place
    }

    /// The connection of a segment: that of its network, or else one of which only the other
    /// direction was seen, in another network, and whose bytes it acknowledges.
    fn known(&mut self, key: &Key, from: Side, segment: &Segment<'_>) -> Option<usize> {
        if let Some(place) = self.index.get(&(*key, segment.network)) {
            return Some(*place);
        }
        let mut next = self.latest.get(key).copied();
        for _ in 0..NETWORKS {
            let place = next?;
            let flow = self.flows.get_mut(place)?;
            if flow.lacks(from) && flow.is_answered_by(from, segment) {
                *flow.network(from) = Some(segment.network);
                self.index.insert((*key, segment.network), place);
                return next;
            }
            next = flow.next;
        }
        None
    }

    /// Forgets a quarter of the connections: ended ones first, then those still for longest.
    fn evict(&mut self, out: &mut Out<'_>) {
        self.flows
            .sort_by_key(|flow| (!flow.closed, flow.last.frame_no));
        let gone = (self.limit / 4).max(1).min(self.flows.len());
        for mut flow in self.flows.drain(..gone) {
            out.stats.evicted_flows += u64::from(!flow.closed);
            flow.end(out);
        }
        self.number();
    }

    /// Forgets connections that have ended, but for the last.
    fn forget_ended(&mut self) {
        let ended = self.flows.iter().filter(|flow| flow.closed);
        let mut ended: Vec<u64> = ended.map(|flow| flow.last.frame_no).collect();
        ended.sort_unstable();
        let kept = ended.len().checked_sub(ENDED / 2);
        if let Some(since) = kept.and_then(|first| ended.get(first)) {
            (self.flows).retain(|flow| !flow.closed || flow.last.frame_no >= *since);
            self.number();
        }
        self.enough = self.flows.len() + ENDED / 2;
    }

    fn number(&mut self) {
        self.index.clear();
        self.latest.clear();
        for (place, flow) in self.flows.iter_mut().enumerate() {
            flow.next = self.latest.insert(flow.key, place);
            for network in [flow.low_network, flow.high_network].into_iter().flatten() {
                self.index.insert((flow.key, network), place);
            }
        }
        self.last = None;
    }

    /// Makes the connections still for longest give up the bytes they hold.
    fn relieve(&mut self, out: &mut Out<'_>) {
        let mut holders: Vec<&mut Flow> = self
            .flows
            .iter_mut()
            .filter(|flow| flow.holds_bytes())
            .collect();
        holders.sort_by_key(|flow| flow.last.frame_no);
        for flow in holders {
            if out.memory.is_relaxed() {
                break;
            }
            flow.release(out);
        }
    }
}

impl Flow {
    fn new(key: Key, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) -> Self {
        out.stats.flows += 1;
        let midstream = !segment.has(Segment::SYN);
        out.stats.midstream_flows += u64::from(midstream);
        let client = match (midstream, segment.has(Segment::ACK)) {
            (true, _) => None,
            (false, false) => Some(from),
            (false, true) => Some(from.other()),
        };
        let Key { low, high } = key;
        Self {
            key,
            next: None,
            low_network: None,
            high_network: None,
            ident: Ident {
                low,
                high,
                conn: None,
                client,
                midstream,
                proxied: false,
                first: at,
            },
            low: Half::default(),
            high: Half::default(),
            last: at,
            first_fin: None,
            doubt: None,
            closed: false,
        }
    }

    /// Goes on as another connection between the same ends.
    fn begin_again(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        *self = Self {
            next: self.next,
            low_network: self.low_network,
            high_network: self.high_network,
            ..Self::new(self.key, from, segment, at, out)
        };
    }

    /// The network that a side was first seen in.
    fn network(&mut self, side: Side) -> &mut Option<u32> {
        match side {
            Side::Low => &mut self.low_network,
            Side::High => &mut self.high_network,
        }
    }

    /// Whether nothing of a side was seen.
    fn lacks(&self, side: Side) -> bool {
        match side {
            Side::Low => self.low_network.is_none(),
            Side::High => self.high_network.is_none(),
        }
    }

    /// Whether a segment of `from` acknowledges what is near to the bytes seen of the other side.
    fn is_answered_by(&self, from: Side, segment: &Segment<'_>) -> bool {
        let other = match from {
            Side::Low => &self.high,
            Side::High => &self.low,
        };
        segment.has(Segment::ACK)
            && other.is_started()
            && other.distance(segment.ack) <= RESTART_DISTANCE
    }

    #[inline]
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Low => &mut self.low,
            Side::High => &mut self.high,
        }
    }

    #[inline]
    fn segment(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        if segment.has(Segment::SYN) {
            self.syn(from, segment, at, out);
        }
        if self.closed && !self.restarts(from, segment, at, out) {
            if self.half(from).lacks(segment.seq, segment.wire_len) {
                out.stats.late_segments += 1;
            } else {
                let len = u64::try_from(segment.wire_len).unwrap_or(u64::MAX);
                out.stats.retransmitted_bytes += len;
            }
            return;
        }
        self.last = at;
        if self.ident.conn.is_none() && self.low.framer.is_dead() && self.high.framer.is_dead() {
            out.stats.non_smb_segments += 1;
            if segment.has(Segment::RST) {
                self.closed = true;
            }
            return;
        }
        if segment.has(Segment::RST) {
            return self.reset(from, segment, at, out);
        }
        if self.doubt.is_some() {
            self.resolve(from, segment, at, out);
        }
        let ident = &mut self.ident;
        let (own, peer) = match from {
            Side::Low => (&mut self.low, &mut self.high),
            Side::High => (&mut self.high, &mut self.low),
        };
        let needs = (segment.has(Segment::ACK))
            .then(|| peer.acknowledge(segment.ack))
            .flatten();
        if segment.wire_len > 0 || segment.has(Segment::FIN) {
            if own.framer.is_dead() && ident.conn.is_some() {
                own.framer.revive();
            }
            let seq = segment
                .seq
                .wrapping_add(u32::from(segment.has(Segment::SYN)));
            own.segment(ident, from, (seq, needs), segment, at, out);
        }
        if own.is_waiting() || peer.is_waiting() {
            step(ident, from, (own, peer), at, out);
        }
        if segment.has(Segment::FIN) || self.first_fin.is_some() {
            self.ending(from, segment, at, out);
        }
        if let Some(doubt) = self.doubt
            && self.half(doubt.from).judge_reset(doubt.seq) == Verdict::Ends
        {
            self.close(doubt.from, CloseKind::Rst, doubt.at, out);
        }
    }

    /// A reset. What it carries is no part of the stream.
    fn reset(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        let seq = segment.seq;
        match self.half(from).judge_reset(seq) {
            Verdict::Ends => self.close(from, CloseKind::Rst, at, out),
            Verdict::Ignored => out.stats.problem(problem::VAIN_RESET),
            Verdict::Doubtful => {
                self.doubt.get_or_insert(Doubt {
                    from,
                    seq,
                    at,
                    waits: false,
                });
            }
        }
    }

    /// A connection that may have been reset goes on, where the sender of the reset has more to say
    /// than bytes before it that come late.
    fn resolve(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        let Some(doubt) = self.doubt.filter(|doubt| doubt.from == from) else {
            return;
        };
        let len = segment.wire_len + usize::from(segment.has(Segment::FIN));
        let is_new = self.half(from).lacks(segment.seq, len);
        let is_late = at.time_ns.saturating_sub(doubt.at.time_ns) <= LATE_NS;
        if is_new {
            let waits = is_late && doubt.is_behind(segment.seq, len);
            self.doubt = waits.then_some(Doubt { waits, ..doubt });
            if !waits {
                out.stats.problem(problem::VAIN_RESET);
            }
        }
    }

    /// A SYN: the beginning of this connection, a repetition, or the beginning of another one.
    fn syn(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        let isn = segment.seq;
        let is_answer = segment.has(Segment::ACK);
        let half = self.half(from);
        let same = match half.isn() {
            Some(known) => known == isn,
            None => !half.is_started() || half.is_late_syn(isn),
        };
        let is_again = at.time_ns.saturating_sub(self.last.time_ns) > AGAIN_NS;
        if !same || self.closed && (is_again || half_is_fresh(self.half(from), isn)) {
            if self.doubt.is_some_and(|doubt| !doubt.waits) {
                self.end(out);
            }
            if !self.closed {
                self.close(from, CloseKind::Reuse, at, out);
            }
            self.begin_again(from, segment, at, out);
        }
        if self.ident.client.is_none() {
            self.ident.client = Some(if is_answer { from.other() } else { from });
        }
        self.half(from).syn(isn);
    }

    /// Whether a segment without SYN after the end is far enough away to be of a new connection.
    fn restarts(
        &mut self,
        from: Side,
        segment: &Segment<'_>,
        at: Stamp,
        out: &mut Out<'_>,
    ) -> bool {
        let half = self.half(from);
        let far = half.is_started() && half.distance(segment.seq) > RESTART_DISTANCE;
        if !far || segment.wire_len == 0 {
            return false;
        }
        self.begin_again(from, segment, at, out);
        true
    }

    fn ending(&mut self, from: Side, segment: &Segment<'_>, at: Stamp, out: &mut Out<'_>) {
        if segment.has(Segment::FIN) && self.first_fin.is_none() {
            self.first_fin = Some(from);
        }
        if self.low.is_finished() && self.high.is_finished() {
            self.close(self.first_fin.unwrap_or(from), CloseKind::Fin, at, out);
        }
    }

    fn close(&mut self, by: Side, how: CloseKind, at: Stamp, out: &mut Out<'_>) {
        let (ident, low, high) = (&mut self.ident, &mut self.low, &mut self.high);
        finish(ident, low, high, out);
        low.framer.end(ident, Side::Low, at, out);
        high.framer.end(ident, Side::High, at, out);
        if self.ident.conn.is_none() {
            out.stats.non_smb_flows += 1;
        }
        out.closed(&self.ident, by, how, at);
        self.closed = true;
    }

    /// The capture ends, or there is no more room.
    fn end(&mut self, out: &mut Out<'_>) {
        if self.closed {
            return;
        }
        if let Some(doubt) = self.doubt.take() {
            if !doubt.waits {
                return self.close(doubt.from, CloseKind::Rst, doubt.at, out);
            }
            out.stats.problem(problem::VAIN_RESET);
        }
        let how = if self.low.has_fin() || self.high.has_fin() {
            CloseKind::Fin
        } else {
            CloseKind::End
        };
        let by = self.first_fin.or(self.ident.client).unwrap_or(Side::Low);
        self.close(by, how, self.last, out);
    }

    fn holds_bytes(&self) -> bool {
        self.low.holds_bytes() || self.high.holds_bytes()
    }

    /// Lets go of all bytes that are held, without losing the place in the streams.
    fn release(&mut self, out: &mut Out<'_>) {
        let (ident, low, high) = (&mut self.ident, &mut self.low, &mut self.high);
        finish(ident, low, high, out);
        low.framer.release(ident, Side::Low, self.last, out);
        high.framer.release(ident, Side::High, self.last, out);
    }
}

/// Whether a direction has neither this SYN nor anything else: the SYN begins something new.
fn half_is_fresh(half: &Half, isn: u32) -> bool {
    half.isn() != Some(isn)
}

/// How many connections that have ended are known at most, in case that they go on.
const ENDED: usize = 2048;
/// How long after a reset bytes that were sent before it may come.
const LATE_NS: u64 = 100_000_000;
/// Networks in which the other direction of a connection is looked for: those seen last.
const NETWORKS: usize = 64;
/// What begins again so long after its end is played again: no network keeps a SYN that long.
const AGAIN_NS: u64 = 1_000_000_000;
/// A segment without SYN this far from where a connection is, or ended, is of another one.
const RESTART_DISTANCE: u32 = 16 * 1024 * 1024;
