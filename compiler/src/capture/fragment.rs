//! IP datagrams out of their fragments, within fixed bounds.

use std::collections::BTreeMap;

use super::link::Ip;
use super::stats::CaptureStats;

/// What fragments of one datagram have in common. RFC 791 and RFC 8200 4.5.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) network: u32,
    pub(super) src: Ip,
    pub(super) dst: Ip,
    pub(super) id: u32,
    pub(super) protocol: u8,
}

/// One fragment of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) key: Key,
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) data: &'a [u8],
    /// Whether all its bytes were captured.
    pub(super) whole: bool,
}

/// Datagrams of which fragments are missing.
#[derive(Default)]
pub(super) struct Fragments {
    waiting: BTreeMap<Key, Datagram>,
    turn: u64,
}

#[derive(Default)]
struct Datagram {
    /// Pieces by offset; the first to cover a byte wins.
    pieces: BTreeMap<usize, Vec<u8>>,
    end: Option<usize>,
    turn: u64,
}

impl Fragments {
    /// Adds a fragment; true when its datagram is whole and now lies in `datagram`.
    pub(super) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        datagram: &mut Vec<u8>,
        stats: &mut CaptureStats,
    ) -> bool {
        let end = fragment.offset + fragment.data.len();
        if !fragment.whole || end > DATAGRAM_MAX {
            stats.dropped_fragments += 1;
            return false;
        }
        if !self.waiting.contains_key(&fragment.key) && self.waiting.len() >= WAITING_MAX {
            self.forget_oldest(stats);
        }
        self.turn += 1;
        let waiting = self.waiting.entry(fragment.key).or_default();
        waiting.turn = self.turn;
        if !fragment.more {
            waiting.end = Some(end);
        }
        if waiting.pieces.len() >= PIECES_MAX {
            stats.dropped_fragments += 1;
            return false;
        }
        waiting
            .pieces
            .entry(fragment.offset)
            .or_insert_with(|| fragment.data.to_vec());
        if !waiting.assemble(datagram) {
            return false;
        }
        self.waiting.remove(&fragment.key);
        stats.reassembled_datagrams += 1;
        true
    }

    fn forget_oldest(&mut self, stats: &mut CaptureStats) {
        let oldest = self
            .waiting
            .iter()
            .min_by_key(|(_, datagram)| datagram.turn);
        if let Some(key) = oldest.map(|(key, _)| *key)
            && let Some(datagram) = self.waiting.remove(&key)
        {
            stats.dropped_fragments += u64::try_from(datagram.pieces.len()).unwrap_or(u64::MAX);
        }
    }

    /// Counts what never became whole.
    pub(super) fn finish(&mut self, stats: &mut CaptureStats) {
        while !self.waiting.is_empty() {
            self.forget_oldest(stats);
        }
    }
}

impl Datagram {
    fn assemble(&self, out: &mut Vec<u8>) -> bool {
        let Some(end) = self.end else { return false };
        out.clear();
        for (&offset, piece) in &self.pieces {
            let Some(seen) = out.len().checked_sub(offset) else {
                return false;
            };
            out.extend_from_slice(piece.get(seen..).unwrap_or_default());
        }
        out.truncate(end);
        out.len() == end
    }
}

const WAITING_MAX: usize = 256;
const PIECES_MAX: usize = 128;
const DATAGRAM_MAX: usize = 65_535;
