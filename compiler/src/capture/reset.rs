//! Which resets end a connection. RFC 5961, section 3.2.
//!
//! A receiver takes a reset that comes exactly where it waits for the next byte, asks again about one
//! within its window, and ignores any other: anybody may have made that up. A capture does not tell
//! for certain where the receiver waits, so of a reset that is near what follows decides:
//!
//! | the reset is at                               | it                                              |
//! |-----------------------------------------------|-------------------------------------------------|
//! | the end of what was seen or acknowledged      | ends the connection                             |
//! | a place before what was acknowledged          | ends nothing                                    |
//! | a place further away than any window          | ends nothing                                    |
//! | another place, and bytes before it came late  | ends the connection when they reach it          |
//! | another place, and its sender goes on, or     | ended nothing                                   |
//! | such bytes never reach it                     |                                                 |
//! | another place, and its sender says no more    | ended the connection when it came               |

use super::emit::{Side, Stamp};

/// What a direction makes of a reset that its sender sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Its receiver takes it.
    Ends,
    /// Its receiver ignores it.
    Ignored,
    /// What follows tells.
    Doubtful,
}

/// A reset of which what follows tells whether it ended the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    pub(super) from: Side,
    pub(super) seq: u32,
    pub(super) at: Stamp,
    /// Bytes before it came late, and do not reach it so far.
    pub(super) waits: bool,
}

impl Doubt {
    /// Whether all of `len` bytes from `seq` on lie before it.
    pub(super) fn is_behind(&self, seq: u32, len: usize) -> bool {
        let left = self.seq.wrapping_sub(seq).cast_signed();
        usize::try_from(left).is_ok_and(|left| len <= left)
    }
}
