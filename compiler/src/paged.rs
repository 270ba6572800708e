//! Lists that may be longer than memory has room for: pages that were not used for long wait in a
//! file.
//!
//! A list has one owner who makes it, and is then read through a [`View`] or [`ListView`] in each
//! thread that needs it. Each list has room for some pages, and what a [`Scratch`] has to spare for
//! all of them goes to those that ask first: short lists never leave memory. Where the file fails,
//! everything goes on with what is there, and [`Scratch::check`] tells in the end.

mod bins;
mod list;
mod scratch;

use std::{cell::RefCell, collections::VecDeque, fmt, ops::Deref, rc::Rc, sync::Arc};

use self::scratch::{Place, Spared};
pub(crate) use self::{
    bins::Bins,
    list::{Bytes, List, ListView, Record},
    scratch::Scratch,
};

/// A part of a list that is kept or put away as a whole.
pub(crate) trait Page: Default {
    /// Bytes of memory that it takes.
    fn weight(&self) -> usize;
    fn write(&self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

enum Slot<P> {
    Here {
        page: P,
        /// Where the file has the same.
        copy: Option<Place>,
    },
    Away(Place),
}

/// A list of pages.
pub(crate) struct Pages<P> {
    slots: Vec<Slot<P>>,
    /// Pages in memory, in the order in which they came.
    here: VecDeque<usize>,
    /// How many may be.
    room: usize,
    /// For those that are here though there was no room.
    spared: Spared,
    /// Without one all pages stay in memory.
    scratch: Option<Arc<Scratch>>,
    buffer: Vec<u8>,
}

impl<P> fmt::Debug for Pages<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pages, here) = (self.slots.len(), self.here.len());
        write!(f, "Pages({pages}, {here} of them in memory)")
    }
}

impl<P> Default for Pages<P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            here: VecDeque::new(),
            room: usize::MAX,
            spared: Spared::default(),
            scratch: None,
            buffer: Vec::new(),
        }
    }
}

impl<P: Page> Pages<P> {
    /// No pages; from `room` on those that came first go to the file.
    pub(crate) fn new(scratch: Option<&Arc<Scratch>>, room: usize) -> Self {
        Self {
            // Somebody may be at work on one while others come and go.
            room: scratch.map_or(usize::MAX, |it| it.room(room).max(2)),
            spared: Spared::new(scratch),
            scratch: scratch.cloned(),
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, page: P) {
        let at = self.slots.len();
        self.slots.push(Slot::Here { page, copy: None });
        self.came(at);
    }

    /// The last page.
    #[inline]
    pub(crate) fn last_mut(&mut self) -> Option<&mut P> {
        self.get_mut(self.slots.len().checked_sub(1)?)
    }

    #[inline]
    pub(crate) fn get(&mut self, at: usize) -> Option<&P> {
        self.fetch(at);
        match self.slots.get(at)? {
            Slot::Here { page, .. } => Some(page),
            Slot::Away(_) => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut P> {
        self.fetch(at);
        match self.slots.get_mut(at)? {
            Slot::Here { page, copy } => {
                *copy = None;
                Some(page)
            }
            Slot::Away(_) => None,
        }
    }

    #[inline]
    fn fetch(&mut self, at: usize) {
        if let Some(Slot::Away(place)) = self.slots.get(at) {
            self.read_back(at, *place);
        }
    }

    #[cold]
    fn read_back(&mut self, at: usize, place: Place) {
        let page = read(self.scratch.as_deref(), place, &mut self.buffer);
        if let Some(slot) = self.slots.get_mut(at) {
            let copy = Some(place);
            *slot = Slot::Here { page, copy };
        }
        self.came(at);
    }

    /// A page is in memory now; others may have to go.
    fn came(&mut self, at: usize) {
        self.here.push_back(at);
        if self.here.len() > self.room && self.is_spared(at) {
            self.room += 1;
        }
        while self.here.len() > self.room
            && let Some(first) = self.here.pop_front()
        {
            if !self.put_away(first) {
                self.here.push_front(first);
                return;
            }
        }
    }

    /// Whether there is memory for one more page.
    fn is_spared(&mut self, at: usize) -> bool {
        match self.slots.get(at) {
            Some(Slot::Here { page, .. }) => self.spared.more(page.weight()),
            _ => false,
        }
    }

    /// False where that fails.
    fn put_away(&mut self, at: usize) -> bool {
        let Some(scratch) = &self.scratch else {
            return false;
        };
        let Some(Slot::Here { page, copy }) = self.slots.get(at) else {
            return true;
        };
        let place = copy.or_else(|| {
            self.buffer.clear();
            page.write(&mut self.buffer);
            scratch.write(&self.buffer)
        });
        let (Some(place), Some(slot)) = (place, self.slots.get_mut(at)) else {
            return false;
        };
        *slot = Slot::Away(place);
        true
    }

    /// The pages, to be read by one thread that keeps up to `room` of them in memory.
    pub(crate) fn view(&self, room: usize) -> View<'_, P> {
        let room = self.scratch.as_ref().map_or(room, |it| it.room(room));
        let cache = Cache {
            pages: (0..room.max(1)).map(|_| None).collect(),
            buffer: Vec::new(),
        };
        View {
            pages: self,
            cache: RefCell::new(cache),
        }
    }
}

fn read<P: Page>(scratch: Option<&Scratch>, place: Place, buffer: &mut Vec<u8>) -> P {
    match scratch {
        Some(scratch) if scratch.read(place, buffer) => P::read(buffer),
        _ => P::default(),
    }
}

/// [`Pages`] as one thread reads them.
pub(crate) struct View<'a, P> {
    pages: &'a Pages<P>,
    cache: RefCell<Cache<P>>,
}

/// Each page that is not in memory has one place here, which it shares with others.
struct Cache<P> {
    pages: Vec<Option<(usize, Rc<P>)>>,
    buffer: Vec<u8>,
}

impl<'a, P: Page> View<'a, P> {
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<Held<'a, P>> {
        match self.pages.slots.get(at)? {
            Slot::Here { page, .. } => Some(Held::Here(page)),
            Slot::Away(place) => self.fetch(at, *place).map(Held::Copy),
        }
    }

    fn fetch(&self, at: usize, place: Place) -> Option<Rc<P>> {
        let Cache { pages, buffer } = &mut *self.cache.borrow_mut();
        let slot = at.checked_rem(pages.len())?;
        let slot = pages.get_mut(slot)?;
        if let Some((_, page)) = slot.as_ref().filter(|(there, _)| *there == at) {
            return Some(Rc::clone(page));
        }
        let page = Rc::new(read(self.pages.scratch.as_deref(), place, buffer));
        *slot = Some((at, Rc::clone(&page)));
        Some(page)
    }
}

/// A page for as long as it is needed.
pub(crate) enum Held<'a, P> {
    Here(&'a P),
    Copy(Rc<P>),
}

impl<P> Deref for Held<'_, P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        match self {
            Self::Here(page) => page,
            Self::Copy(page) => page,
        }
    }
}
