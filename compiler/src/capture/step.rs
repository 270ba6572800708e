//! The two directions of a connection in step: who acknowledges bytes has had them.
//!
//! Captures of several queues, or merged from two taps, mix up the directions: an answer comes
//! before its request. A segment that acknowledges what has not come yet waits for that, as long as
//! it may still come:
//!
//! | the bytes it acknowledges                                  | what waits                    |
//! |------------------------------------------------------------|-------------------------------|
//! | come                                                       | comes out after them          |
//! | do not for 24 segments, and it is acknowledged itself      | comes out, and the hole that  |
//! |                                                            | they are in is given up       |
//! | do not for 256 segments or 100 ms                          | the same                      |
//! | are further away than any window                           | does not wait                 |
//!
//! What waited keeps its own time. When a hole is given up, what depends on each other still comes
//! out in order, and so does what waits at the end of the connection.

use super::emit::{Ident, Out, Side, Stamp};
use super::tcp::Half;

/// Hands on what waited for the segment that has just come in the direction of `from`.
pub(super) fn step(
    ident: &mut Ident,
    from: Side,
    (own, peer): (&mut Half, &mut Half),
    at: Stamp,
    out: &mut Out<'_>,
) {
    proceed(ident, from, (own, peer), at, out);
    let mut again = own.review(ident, from, at, out);
    again |= peer.review(ident, from.other(), at, out);
    if again {
        proceed(ident, from, (own, peer), at, out);
    }
}

fn proceed(
    ident: &mut Ident,
    from: Side,
    (own, peer): (&mut Half, &mut Half),
    at: Stamp,
    out: &mut Out<'_>,
) {
    while own.proceed(ident, from, peer, at, out) || peer.proceed(ident, from.other(), own, at, out)
    {
    }
}

/// Hands on all that waits.
pub(super) fn finish(ident: &mut Ident, low: &mut Half, high: &mut Half, out: &mut Out<'_>) {
    loop {
        match (low.waits_since(), high.waits_since()) {
            (None, None) => return,
            (Some(here), there) if there.is_none_or(|there| here < there) => {
                low.insist(ident, Side::Low, high, out);
            }
            _ => high.insist(ident, Side::High, low, out),
        }
    }
}
