//! What of a PDU's layout is not canonical: odd offsets, non-zero padding, other lengths.
//!
//! Encoders write one canonical layout. Quirks are the difference between that and what was
//! recorded, so that every PDU comes back byte for byte. They hold for the message as decoded:
//! once an edit changes the canonical length, they no longer fit and are left out.

use serde::{Deserialize, Serialize};

use super::ser::{hex, is_default};
use super::wire::{len32, to_usize};

/// Bytes that the transport has room for. [MS-SMB2] 2.1
const MAX_LENGTH: u32 = 0x00ff_ffff;

/// Differences from the canonical layout, in offsets of the PDU without its bulk.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Length of the canonical layout without bulk; other lengths void the quirks.
    #[serde(rename = "canonical", skip_serializing_if = "is_default")]
    canonical_length: u32,
    /// Length of the PDU without bulk, when it is not the canonical one.
    #[serde(skip_serializing_if = "is_default")]
    length: Option<u32>,
    /// Where the bulk belongs, when that is not the canonical place.
    #[serde(skip_serializing_if = "is_default")]
    bulk_at: Option<u32>,
    /// Bytes to overwrite after the length was set.
    #[serde(skip_serializing_if = "is_default")]
    patches: Vec<Patch>,
}

/// Bytes that differ from the canonical layout.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Offset in the PDU without its bulk.
    pub at: u32,
    /// What stands there.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

impl Quirks {
    /// The layout is canonical.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length.is_none() && self.bulk_at.is_none() && self.patches.is_empty()
    }

    /// Length of the PDU without bulk, when it is not the canonical one.
    #[must_use]
    pub fn length(&self) -> Option<u32> {
        self.length
    }

    /// Where the bulk belongs, when that is not the canonical place.
    #[must_use]
    pub fn bulk_at(&self) -> Option<u32> {
        self.bulk_at
    }

    /// Bytes that differ from the canonical layout.
    #[must_use]
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// What makes `wire` (its part before the bulk and the part behind it) of `canonical`.
    pub(crate) fn between(
        canonical: &[u8],
        canonical_bulk: Option<usize>,
        wire: (&[u8], &[u8]),
        wire_bulk: Option<usize>,
    ) -> Self {
        let (before, behind) = wire;
        let total = before.len().saturating_add(behind.len());
        let equal = canonical.len() == total
            && canonical_bulk == wire_bulk
            && canonical.split_at_checked(before.len()) == Some((before, behind));
        if equal {
            return Self::default();
        }
        let mut quirks = Self {
            canonical_length: len32(canonical.len()),
            length: (canonical.len() != total).then(|| len32(total)),
            bulk_at: wire_bulk.filter(|_| canonical_bulk != wire_bulk).map(len32),
            patches: Vec::new(),
        };
        let padded = canonical.iter().copied().chain(std::iter::repeat(0));
        for (at, (got, expected)) in before.iter().chain(behind).zip(padded).enumerate() {
            if *got != expected {
                quirks.push(len32(at), before, behind);
            }
        }
        quirks
    }

    /// Adds the byte at `at`, joining patches that lie within a few bytes of each other.
    fn push(&mut self, at: u32, before: &[u8], behind: &[u8]) {
        let byte = |at: u32| {
            let at = to_usize(at);
            let other = at.checked_sub(before.len());
            before
                .get(at)
                .or_else(|| behind.get(other?))
                .copied()
                .unwrap_or_default()
        };
        if let Some(last) = self.patches.last_mut() {
            let end = last.at.saturating_add(len32(last.bytes.len()));
            if at.saturating_sub(end) < 4 {
                last.bytes.extend((end..=at).map(byte));
                return;
            }
        }
        self.patches.push(Patch {
            at,
            bytes: vec![byte(at)],
        });
    }

    /// Makes the wire layout of the canonical one that begins at `start` of `out`, and says where
    /// the bulk belongs.
    pub(crate) fn apply(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        canonical_bulk: Option<usize>,
    ) -> Option<usize> {
        let written = out.len().saturating_sub(start);
        if self.is_empty() || written != to_usize(self.canonical_length) {
            return canonical_bulk;
        }
        // No frame is longer: a workload that says so was not compiled.
        let length = self.length.map(|length| to_usize(length.min(MAX_LENGTH)));
        if let Some(length) = length {
            out.resize(start.saturating_add(length), 0);
        }
        for patch in &self.patches {
            let at = start.saturating_add(to_usize(patch.at));
            let end = at.saturating_add(patch.bytes.len());
            if let Some(room) = out.get_mut(at..end) {
                room.copy_from_slice(&patch.bytes);
            }
        }
        self.bulk_at.map(to_usize).or(canonical_bulk)
    }
}
