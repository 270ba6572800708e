//! What names cost, so that a small capture does not make us do any amount of work.

/// What names cost so far, in bytes of names: a capture pays for what it makes us do.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Of what the capture told, with something for each.
    told: u64,
    /// Of what is kept, with all that is above what was told.
    pub(super) kept: u64,
    /// Of what was looked at below folders that were renamed, or were not empty.
    pub(super) looked_at: u64,
}

impl Spent {
    pub(super) fn tell(&mut self, name: &str) {
        self.told = self.told.saturating_add(cost(name));
    }

    pub(super) fn is_full(&self) -> bool {
        self.kept > KEPT.saturating_add(self.told.saturating_mul(KEPT_TIMES))
    }

    pub(super) fn has_looked_enough(&self) -> bool {
        self.looked_at > LOOKED_AT.saturating_add(self.told.saturating_mul(LOOKED_AT_TIMES))
    }
}

pub(super) fn cost(name: &str) -> u64 {
    u64::try_from(name.len())
        .unwrap_or(u64::MAX)
        .saturating_add(64)
}

/// Bytes of names that are kept in any case, and how many times those that a capture tells. What is
/// above a name is in its own words, but a path within a path within a path is longer than they.
const KEPT: u64 = 16 << 20;
const KEPT_TIMES: u64 = 16;
/// The same of names that are looked at again and again.
const LOOKED_AT: u64 = 64 << 20;
const LOOKED_AT_TIMES: u64 = 64;
