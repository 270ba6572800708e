//! What was replaced, by kind, and what that may change, by reason.

use std::collections::BTreeMap;

use serde::Serialize;

/// A kind of original text or bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// User names, without domain.
    Users,
    /// Domains and realms, label by label.
    Domains,
    /// Host names, label by label.
    Hosts,
    /// IP addresses.
    Addresses,
    /// Share names.
    Shares,
    /// Components of paths, without extension and stream.
    Names,
    /// Extensions that are not among the well-known ones.
    Extensions,
    /// Names of named streams.
    Streams,
    /// Names of pipes that are not among the well-known ones.
    Pipes,
    /// Names of extended attributes, part by part.
    Attributes,
    /// Texts inside RPC payloads.
    RpcTexts,
    /// Patterns of directory queries with wildcards.
    Patterns,
    /// GUIDs and lease keys.
    Guids,
    /// Ids that the server gave: sessions, trees, files.
    WireIds,
    /// Security identifiers.
    Sids,
    /// Points in time.
    Times,
    /// Stretches of WRITE and READ data and of initial content, by operation or entry.
    Data,
    /// Buffers and reserved fields that are replaced as bytes.
    Buffers,
    /// Captures, histories and other texts about where the workload comes from.
    Provenance,
}

impl Kind {
    /// Every kind, in the order in which people are told.
    pub const ALL: [Self; 19] = [
        Self::Users,
        Self::Domains,
        Self::Hosts,
        Self::Addresses,
        Self::Shares,
        Self::Names,
        Self::Extensions,
        Self::Streams,
        Self::Pipes,
        Self::Attributes,
        Self::RpcTexts,
        Self::Patterns,
        Self::Guids,
        Self::WireIds,
        Self::Sids,
        Self::Times,
        Self::Data,
        Self::Buffers,
        Self::Provenance,
    ];

    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Domains => "domains",
            Self::Hosts => "host names",
            Self::Addresses => "addresses",
            Self::Shares => "shares",
            Self::Names => "names in paths",
            Self::Extensions => "extensions",
            Self::Streams => "streams",
            Self::Pipes => "pipes",
            Self::Attributes => "extended attributes",
            Self::RpcTexts => "texts in RPC",
            Self::Patterns => "patterns",
            Self::Guids => "GUIDs and lease keys",
            Self::WireIds => "ids on the wire",
            Self::Sids => "security ids",
            Self::Times => "times",
            Self::Data => "data",
            Self::Buffers => "buffers",
            Self::Provenance => "provenance",
        }
    }
}

/// How much of one kind was replaced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Count {
    /// Places.
    pub places: u64,
    /// Bytes, of names in UTF-8.
    pub bytes: u64,
}

/// What was replaced, and what was left as it was.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Tally {
    /// Replaced, by kind.
    pub replaced: BTreeMap<Kind, Count>,
    /// Left in the clear on purpose, by reason: places.
    pub kept: BTreeMap<&'static str, u64>,
    /// Where a replay may now go another way than the original, by reason: places.
    pub lossy: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn replaced(&mut self, kind: Kind, bytes: usize) {
        let count = self.replaced.entry(kind).or_default();
        count.places += 1;
        count.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    pub(super) fn kept(&mut self, why: &'static str) {
        *self.kept.entry(why).or_default() += 1;
    }

    pub(super) fn lossy(&mut self, why: &'static str) {
        *self.lossy.entry(why).or_default() += 1;
    }
}
