//! The bytes of an input as one window that moves over blocks.
//!
//! Blocks are handed on and not copied. Each has [`HEADROOM`] free bytes before its data, so that
//! what is left of the block before, the start of a record that lies in both, goes there and the
//! record lies in one piece. A record too long for that grows its block until it is whole.

use std::io::{self, BufRead, Read};
use std::mem;

/// Some bytes of an input, behind room for what is left of the block before.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    end: usize,
}

impl Block {
    /// Reads `len` bytes, or until the input ends, and says whether there was anything.
    ///
    /// # Errors
    ///
    /// [`io::Error`] of the input.
    pub(crate) fn fill(&mut self, input: &mut dyn Read, len: usize) -> io::Result<bool> {
        if self.bytes.len() != HEADROOM + len {
            self.bytes = vec![0; HEADROOM + len];
        }
        self.end = HEADROOM;
        while let Some(room) = self.bytes.get_mut(self.end..)
            && !room.is_empty()
        {
            match input.read(room) {
                Ok(0) => break,
                Ok(len) => self.end += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end > HEADROOM)
    }

    /// What was read.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(HEADROOM..self.end).unwrap_or_default()
    }
}

/// An input in blocks.
pub(crate) trait Blocks {
    /// The bytes that follow; nothing at the end.
    ///
    /// # Errors
    ///
    /// [`io::Error`] of the input.
    fn next(&mut self) -> io::Result<Option<Block>>;

    /// Takes a block whose bytes are no longer needed, to fill it again.
    fn give_back(&mut self, spent: Block);
}

/// Blocks read as they are needed.
pub(crate) struct Reading<R> {
    input: R,
    spare: Block,
    /// Bytes of a block.
    len: usize,
}

impl<R: Read> Reading<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            spare: Block::default(),
            len: BLOCK_BYTES,
        }
    }

    /// One of many inputs, whose blocks are short.
    pub(crate) fn one_of_many(input: R) -> Self {
        Self {
            len: SHORT_BLOCK_BYTES,
            ..Self::new(input)
        }
    }
}

impl<R: Read> Blocks for Reading<R> {
    fn next(&mut self) -> io::Result<Option<Block>> {
        let mut block = mem::take(&mut self.spare);
        Ok(block.fill(&mut self.input, self.len)?.then_some(block))
    }

    fn give_back(&mut self, spent: Block) {
        self.spare = spent;
    }
}

/// The bytes that have been read and not yet passed.
pub(super) struct Window {
    input: Box<dyn Blocks>,
    block: Block,
    start: usize,
    ended: bool,
}

impl Window {
    pub(super) fn new(input: Box<dyn Blocks>) -> Self {
        Self {
            input,
            block: Block::default(),
            start: 0,
            ended: false,
        }
    }

    /// The bytes in the window.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        let Block { bytes, end } = &self.block;
        bytes.get(self.start..*end).unwrap_or_default()
    }

    /// Passes so many bytes, and says where [`Window::passed`] finds them.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) -> usize {
        let at = self.start;
        self.start = at.saturating_add(len).min(self.block.end);
        at
    }

    /// Bytes that were passed since the window was last filled.
    #[inline]
    pub(super) fn passed(&self, at: usize, len: usize) -> &[u8] {
        self.block.bytes.get(at..at + len).unwrap_or_default()
    }

    /// Makes at least `need` bytes lie in the window; false when the input ends before.
    ///
    /// # Errors
    ///
    /// [`io::Error`] of the input.
    pub(super) fn fill(&mut self, need: usize) -> io::Result<bool> {
        while self.unread().len() < need && !self.ended {
            match self.input.next()? {
                Some(next) => self.follow(next),
                None => self.ended = true,
            }
        }
        Ok(self.unread().len() >= need)
    }

    /// Puts what is left in the window before the next block, or the block behind what is left.
    fn follow(&mut self, mut next: Block) {
        let left = self.unread();
        let start = HEADROOM.checked_sub(left.len());
        let room = start.and_then(|start| next.bytes.get_mut(start..HEADROOM));
        if let Some(room) = room {
            room.copy_from_slice(left);
            self.start = HEADROOM - left.len();
            mem::swap(&mut self.block, &mut next);
        } else {
            let Block { bytes, end } = &mut self.block;
            bytes.truncate(*end);
            bytes.drain(..self.start);
            bytes.extend_from_slice(next.data());
            (self.start, *end) = (0, bytes.len());
        }
        if !next.bytes.is_empty() {
            self.input.give_back(next);
        }
    }
}

impl Read for Window {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(room)?;
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Window {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill(1)?;
        Ok(self.unread())
    }

    fn consume(&mut self, len: usize) {
        self.advance(len);
    }
}

/// Small enough for the processor's cache to hold it until it has been read.
pub(crate) const BLOCK_BYTES: usize = 512 * 1024;
const SHORT_BLOCK_BYTES: usize = 64 * 1024;
/// Room for all but the end of a packet of 64 KiB with its headers.
const HEADROOM: usize = 72 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn records_of_all_lengths_lie_in_one_piece() {
        let file: Vec<u8> = (0..5 * BLOCK_BYTES)
            .map(|at| (at % 251).try_into().unwrap())
            .collect();
        lie_in_one_piece(&file, Reading::new(Cursor::new(file.clone())));
        lie_in_one_piece(&file, Reading::one_of_many(Cursor::new(file.clone())));
    }

    fn lie_in_one_piece(file: &[u8], input: Reading<Cursor<Vec<u8>>>) {
        let mut window = Window::new(Box::new(input));
        let lens = [1, 16, HEADROOM, HEADROOM + 1, BLOCK_BYTES + HEADROOM, 7];
        let mut at = 0;
        for len in lens.into_iter().chain([2 * BLOCK_BYTES, BLOCK_BYTES - 30]) {
            assert!(window.fill(len).unwrap());
            assert_eq!(window.unread()[..len], file[at..at + len]);
            let place = window.advance(len);
            assert_eq!(window.passed(place, len), &file[at..at + len]);
            at += len;
        }
        let mut rest = Vec::new();
        assert!(!window.fill(file.len()).unwrap());
        window.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, file[at..]);
    }

    #[test]
    fn blocks_that_grew_do_not_come_back_so() {
        let input = Reading::new(io::repeat(7));
        let mut window = Window::new(Box::new(input));
        assert!(window.fill(8 * BLOCK_BYTES).unwrap());
        window.advance(8 * BLOCK_BYTES);
        for _ in 0..3 {
            assert!(window.fill(BLOCK_BYTES).unwrap());
            window.advance(BLOCK_BYTES);
        }
        assert!(window.block.bytes.capacity() < 2 * BLOCK_BYTES);
    }
}
