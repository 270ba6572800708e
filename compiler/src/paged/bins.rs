//! Records by a number, in no order: each number has a bin.

use std::sync::Arc;

use super::{
    Page, Record, Scratch,
    list::read_all,
    scratch::{Place, Spared},
};

/// Bins that are filled from the first on, more or less, and then emptied from the first on.
#[derive(Debug)]
pub(crate) struct Bins<T> {
    bins: Vec<Bin<T>>,
    scratch: Option<Arc<Scratch>>,
    /// Records in memory, and how many may be.
    here: usize,
    room: usize,
    /// For those that there was no room for.
    spared: Spared,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Bin<T> {
    here: Vec<T>,
    away: Vec<Place>,
}

impl<T> Default for Bins<T> {
    fn default() -> Self {
        Self {
            bins: Vec::new(),
            scratch: None,
            here: 0,
            room: usize::MAX,
            spared: Spared::default(),
            buffer: Vec::new(),
        }
    }
}

impl<T: Record> Bins<T> {
    pub(crate) fn new(scratch: Option<&Arc<Scratch>>) -> Self {
        Self {
            room: scratch.map_or(usize::MAX, |it| it.room(ROOM)),
            spared: Spared::new(scratch),
            scratch: scratch.cloned(),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, bin: usize, record: T) {
        while self.bins.len() <= bin {
            self.bins.push(Bin {
                here: Vec::new(),
                away: Vec::new(),
            });
        }
        if let Some(bin) = self.bins.get_mut(bin) {
            bin.here.push(record);
            self.here += 1;
        }
        if self.here > self.room {
            self.put_away();
        }
    }

    /// The first bins are the least likely to get more.
    fn put_away(&mut self) {
        // Vectors that grow have up to twice the room that they need.
        if self.spared.more(2 * MORE * size_of::<T>()) {
            self.room += MORE;
            return;
        }
        let Some(scratch) = &self.scratch else {
            return;
        };
        for bin in self.bins.iter_mut().filter(|bin| !bin.here.is_empty()) {
            if self.here <= self.room / 2 {
                return;
            }
            self.buffer.clear();
            Page::write(&bin.here, &mut self.buffer);
            // Where that fails everything stays in memory.
            let Some(place) = scratch.write(&self.buffer) else {
                return;
            };
            bin.away.push(place);
            self.here -= bin.here.len();
            bin.here = Vec::new();
        }
    }

    /// Empties a bin into `out`.
    pub(crate) fn take(&mut self, bin: usize, out: &mut Vec<T>) {
        let Some(bin) = self.bins.get_mut(bin) else {
            return;
        };
        for place in std::mem::take(&mut bin.away) {
            let read = self.scratch.as_ref();
            if read.is_some_and(|it| it.read(place, &mut self.buffer)) {
                read_all(&self.buffer, out);
            }
        }
        let here = std::mem::take(&mut bin.here);
        self.here -= here.len();
        out.extend(here);
    }
}

/// Records that may be in memory.
const ROOM: usize = 1 << 17;
/// Further ones, when there is memory for them.
const MORE: usize = 1 << 16;
