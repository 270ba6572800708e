//! Requests that were written before, by their text.
//!
//! Clients ask the same things over and over: a text that was seen lately is not parsed and written
//! again. In READ and WRITE the offset may differ. The memo is small and forgets; it keeps what it
//! sees twice.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    intern::mix,
    op::{Marks, Maybe},
    template::Written,
};
use crate::smb2::Command;

/// The text of a request, and what else decides its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// The text up to its file offset, and behind it.
    parts: (&'a [u8], &'a [u8]),
    pub(super) offset: u64,
    /// Command, whether it has an open, and number of the target.
    state: (Command, bool, u32),
    tag: u32,
    slot: u32,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a [u8], cmd: Command, has_open: bool, target: u32) -> Self {
        let cut = matches!(cmd, Command::READ | Command::WRITE)
            .then(|| cut_offset(text))
            .flatten();
        let (before, offset, behind) = cut.unwrap_or((text, 0, &[]));
        let seed = mix(
            u64::from(cmd.0) << 33 | u64::from(has_open) << 32 | u64::from(target),
            before.len() as u64,
        );
        let hash = xxh3_64_with_seed(before, xxh3_64_with_seed(behind, seed));
        Self {
            parts: (before, behind),
            offset,
            state: (cmd, has_open, target),
            tag: u32::try_from(hash >> 32).unwrap_or_default(),
            slot: u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default(),
        }
    }
}

/// A request that was written.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The text before and behind its offset, and the body.
    bytes: Vec<u8>,
    before: usize,
    behind: usize,
    state: (Command, bool, u32),
    pub(super) marks: Marks,
}

impl Known {
    /// The body, if this is `text`.
    fn body_of(&self, text: &Text<'_>) -> Option<&[u8]> {
        let (before, rest) = self.bytes.split_at_checked(self.before)?;
        let (behind, body) = rest.split_at_checked(self.behind)?;
        let same = (before, behind) == text.parts && self.state == text.state;
        same.then_some(body)
    }
}

/// Requests that were written lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Memo {
    known: Vec<Known>,
    /// Where in `known` a text is, with half its hash, by the other half.
    slots: Vec<(u32, Maybe)>,
}

impl Memo {
    /// Body and marks of a text that was seen lately.
    pub(super) fn find(&self, text: &Text<'_>) -> Option<(&[u8], Marks)> {
        let (tag, at) = self.slots.get(slot(text))?;
        let known = self.known.get(at.index()?).filter(|_| *tag == text.tag)?;
        Some((known.body_of(text)?, known.marks))
    }

    /// Keeps a request that was just written, in the place of another one.
    pub(super) fn keep(&mut self, text: &Text<'_>, written: &Written, body: &[u8]) {
        let (before, behind) = text.parts;
        let small = before.len() + behind.len() <= LONGEST && body.len() <= LONGEST;
        // The body has a hole for the offset exactly where the text has been cut.
        let same = written.marks.has_offset != behind.is_empty();
        if !small || !same || written.header.is_none() {
            return;
        }
        if self.slots.is_empty() {
            self.slots = vec![(0, Maybe::NONE); SLOTS];
        }
        let Some((tag, place)) = self.slots.get_mut(slot(text)) else {
            return;
        };
        // Most texts come once: a text is kept when it comes again.
        if std::mem::replace(tag, text.tag) != text.tag {
            return;
        }
        let at = place.index().unwrap_or(self.known.len());
        *place = Maybe::of(u32::try_from(at).ok());
        let mut bytes = self.known.get_mut(at).map_or_else(Vec::new, |known| {
            // The memory of what is forgotten.
            std::mem::take(&mut known.bytes)
        });
        bytes.clear();
        for part in [before, behind, body] {
            bytes.extend_from_slice(part);
        }
        let known = Known {
            bytes,
            before: before.len(),
            behind: behind.len(),
            state: text.state,
            marks: written.marks,
        };
        match self.known.get_mut(at) {
            Some(old) => *old = known,
            None => self.known.push(known),
        }
    }
}

fn slot(text: &Text<'_>) -> usize {
    text.slot as usize & (SLOTS - 1)
}

/// The text around the number behind `"offset":`, and the number.
fn cut_offset(text: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let at = text
        .windows(OFFSET_KEY.len())
        .position(|it| it == OFFSET_KEY)?;
    let (before, rest) = text.split_at_checked(at + OFFSET_KEY.len())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, behind) = rest.split_at_checked(digits)?;
    // JSON knows neither leading zeros nor, here, fractions.
    let plain = matches!(behind.first(), Some(b',' | b'}'))
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    plain.then_some((before, number, behind))
}

const OFFSET_KEY: &[u8] = b"\"offset\":";
/// A power of two.
const SLOTS: usize = 4096;
/// Texts and bodies that are longer are not kept, in bytes.
const LONGEST: usize = 1024;
