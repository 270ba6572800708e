//! Lists of small records, many to a page.

use std::{ops::Range, sync::Arc};

use smbench_core::ids::OpId;

use super::{Held, Page, Pages, Scratch, View};

/// Something that is kept in a [`List`].
pub(crate) trait Record: Copy {
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Bytes<'_>) -> Self;
}

/// Bytes that records are read from; behind their end there are zeros.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else {
            return [0; N];
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

impl Record for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        from.u64()
    }
}

impl Record for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        from.u32()
    }
}

/// A number, or none: there are fewer than 2^32 of anything.
impl Record for Option<u32> {
    fn write(&self, out: &mut Vec<u8>) {
        self.unwrap_or(u32::MAX).write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        Some(from.u32()).filter(|it| *it != u32::MAX)
    }
}

impl Record for Option<OpId> {
    fn write(&self, out: &mut Vec<u8>) {
        self.map(|it| it.0).write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        Option::<u32>::read(from).map(OpId)
    }
}

impl<T: Record> Page for Vec<T> {
    fn weight(&self) -> usize {
        self.capacity() * size_of::<T>()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for record in self {
            record.write(out);
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let mut page = Self::with_capacity(PAGE);
        read_all(bytes, &mut page);
        page
    }
}

/// Appends all records that `bytes` are.
pub(super) fn read_all<T: Record>(bytes: &[u8], out: &mut Vec<T>) {
    let mut from = Bytes(bytes);
    while !from.0.is_empty() {
        out.push(T::read(&mut from));
    }
}

/// A list of records by number.
#[derive(Debug)]
pub(crate) struct List<T> {
    pages: Pages<Vec<T>>,
    len: usize,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            pages: Pages::default(),
            len: 0,
        }
    }
}

impl<T: Record> List<T> {
    pub(crate) fn new(scratch: Option<&Arc<Scratch>>) -> Self {
        Self {
            pages: Pages::new(scratch, ROOM),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, record: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(record);
            self.len += 1;
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, at: usize) -> Option<T> {
        self.pages.get(at / PAGE)?.get(at % PAGE).copied()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pages.get_mut(at / PAGE)?.get_mut(at % PAGE)
    }

    /// The list as one thread reads it.
    pub(crate) fn view(&self) -> ListView<'_, T> {
        ListView {
            pages: self.pages.view(ROOM),
            len: self.len,
        }
    }
}

impl<T: Record + Default> List<T> {
    /// Puts a record in its place, which may be behind the end.
    pub(crate) fn put(&mut self, at: usize, record: T) {
        while self.len <= at {
            self.push(T::default());
        }
        if let Some(slot) = self.get_mut(at) {
            *slot = record;
        }
    }
}

/// A [`List`] as one thread reads it.
pub(crate) struct ListView<'a, T> {
    pages: View<'a, Vec<T>>,
    len: usize,
}

impl<'a, T: Record> ListView<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<T> {
        self.pages.get(at / PAGE)?.get(at % PAGE).copied()
    }

    /// Some of the records, in order.
    pub(crate) fn iter(&self, range: Range<usize>) -> Iter<'_, 'a, T> {
        Iter {
            view: self,
            at: range.start,
            end: range.end.min(self.len),
            page: None,
        }
    }
}

/// See [`ListView::iter`].
pub(crate) struct Iter<'v, 'a, T> {
    view: &'v ListView<'a, T>,
    at: usize,
    end: usize,
    page: Option<Held<'a, Vec<T>>>,
}

impl<T: Record> Iterator for Iter<'_, '_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.at >= self.end {
            return None;
        }
        if self.page.is_none() || self.at.is_multiple_of(PAGE) {
            self.page = self.view.pages.get(self.at / PAGE);
        }
        let record = self.page.as_ref()?.get(self.at % PAGE).copied();
        self.at += 1;
        record
    }
}

/// Records on a page.
const PAGE: usize = 256;
/// Pages of a list that its owner, and everybody who reads it, has in memory.
const ROOM: usize = 64;
