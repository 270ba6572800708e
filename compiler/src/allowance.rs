//! How much a workload may hold. A capture is data from a stranger, and a few of its bytes may
//! stand for many: a length that is claimed, data that unpacks to a thousand times as much, a long
//! name that many operations share.

use crate::folder::FolderError;

/// So many bytes, and [`TIMES`] those of the frames of the capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance(pub(crate) u64);

impl Allowance {
    /// What no honest capture needs.
    pub(crate) const USUAL: Self = Self(1 << 30);
    /// What no honest frame unpacks to, READ and WRITE data aside.
    pub(crate) const UNPACKED: Self = Self(64 * 1024);

    /// Whether `written` bytes are too many for frames of `seen` bytes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Swollen`].
    pub(crate) fn check(self, written: u64, seen: u64) -> Result<(), FolderError> {
        let limit = self.limit(seen);
        if written > limit {
            return Err(FolderError::Swollen { limit });
        }
        Ok(())
    }

    /// How many bytes may come of frames of `seen` bytes.
    pub(crate) fn limit(self, seen: u64) -> u64 {
        self.0.saturating_add(seen.saturating_mul(TIMES))
    }
}

const TIMES: u64 = 64;
