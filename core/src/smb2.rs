//! The SMB2/3 wire codec (its first stone: the rest is being laid).

use serde::{Deserialize, Serialize};

/// An NTSTATUS. [MS-ERREF] 2.3.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NtStatus(pub u32);
