//! Who keeps whom from opening a file.

use super::Holder;
use crate::order::access::Opening;

/// Whether a second open is refused because of a first. [MS-FSA] 2.1.5.1.2.
pub(super) fn conflict(held: &Holder, asked: &Opening) -> bool {
    if held.detached {
        return false;
    }
    let (first, second) = (rights(held.access), rights(asked.access));
    if held.by_stream {
        // Deleting a file deletes its streams.
        return second & DELETE != 0 && held.share & SHARE_DELETE == 0;
    }
    if first & ANY_DATA == 0 || second & ANY_DATA == 0 {
        return false;
    }
    let refuses = |access: u32, share: u32| {
        (access & READS != 0 && share & SHARE_READ == 0)
            || (access & WRITES != 0 && share & SHARE_WRITE == 0)
            || (access & DELETE != 0 && share & SHARE_DELETE == 0)
    };
    refuses(first, asked.share) || refuses(second, held.share)
}

/// Generic rights spelled out. [MS-SMB2] 2.2.13.1.1.
fn rights(access: u32) -> u32 {
    let mut rights = access;
    if access & (GENERIC_ALL | MAXIMUM_ALLOWED) != 0 {
        rights |= READS | WRITES | DELETE;
    }
    if access & GENERIC_READ != 0 {
        rights |= READ_DATA;
    }
    if access & GENERIC_WRITE != 0 {
        rights |= WRITES;
    }
    if access & GENERIC_EXECUTE != 0 {
        rights |= EXECUTE;
    }
    rights
}

const READ_DATA: u32 = 0x1;
const EXECUTE: u32 = 0x20;
const READS: u32 = READ_DATA | EXECUTE;
const WRITES: u32 = 0x2 | 0x4;
const DELETE: u32 = 0x1_0000;
const ANY_DATA: u32 = READS | WRITES | DELETE;
const MAXIMUM_ALLOWED: u32 = 0x0200_0000;
const GENERIC_ALL: u32 = 0x1000_0000;
const GENERIC_EXECUTE: u32 = 0x2000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const GENERIC_READ: u32 = 0x8000_0000;
const SHARE_READ: u32 = 1;
const SHARE_WRITE: u32 = 2;
const SHARE_DELETE: u32 = 4;
