//! Things that many operations share, kept once: a table of them and an index while it is built.
//!
//! The index is a hash table of its own: entries are numbers into a list, and nothing is ever
//! iterated in hash order. A crafted workload can make hashes collide; then a search gives up
//! and the thing is kept twice, which costs memory and no time.

/// Finds numbers by hash: open addressing, eight bytes a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Upper half the hash, lower half the number plus one; 0 is empty.
    slots: Vec<u64>,
    used: usize,
}

impl Index {
    /// The number among those with `hash` that is the `same`, else `next`, which is entered.
    pub(super) fn find_or(&mut self, hash: u64, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        if self.used.saturating_mul(8) >= self.slots.len().saturating_mul(5) {
            self.grow();
        }
        let tag = hash >> 32;
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = spread(tag) & mask;
        for _ in 0..FAR {
            let Some(slot) = self.slots.get_mut(at) else {
                return next;
            };
            let Some(number) = lower(*slot).checked_sub(1) else {
                *slot = tag << 32 | (u64::from(next) + 1);
                self.used += 1;
                return next;
            };
            if *slot >> 32 == tag && same(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
        next
    }

    /// What stands where a search for `hash` begins: asked for early, it is near when it is needed.
    pub(super) fn peek(&self, hash: u64) -> u64 {
        let mask = self.slots.len().wrapping_sub(1);
        let slot = self.slots.get(spread(hash >> 32) & mask);
        slot.copied().unwrap_or(0)
    }

    fn grow(&mut self) {
        let wider = self.slots.len().saturating_mul(2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![0; wider]);
        let mask = wider - 1;
        for entry in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = spread(entry >> 32) & mask;
            while let Some(slot) = self.slots.get_mut(at) {
                if *slot == 0 {
                    *slot = entry;
                    break;
                }
                at = (at + 1) & mask;
            }
        }
    }
}

/// A thing that is kept once: its hash.
pub(super) trait Hashed: Eq {
    fn hash64(&self) -> u64;
}

/// A list without equals, as long as its index is kept.
#[derive(Clone, Debug)]
pub(super) struct Interned<T> {
    pub(super) items: Vec<T>,
    index: Index,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            index: Index::default(),
        }
    }
}

impl<T: Hashed> Interned<T> {
    /// The number of `item`, which is kept if it is new.
    pub(super) fn number(&mut self, item: T) -> u32 {
        let next = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let items = &self.items;
        let number = self.index.find_or(item.hash64(), next, |at| {
            items.get(at as usize).is_some_and(|known| *known == item)
        });
        if number == next {
            self.items.push(item);
        }
        number
    }
}

impl<T: Hashed> Interned<T> {
    /// As [`Index::peek`].
    pub(super) fn peek(&self, item: &T) -> u64 {
        self.index.peek(item.hash64())
    }
}

/// Takes one more number into a hash.
pub(super) const fn mix(hash: u64, number: u64) -> u64 {
    let mixed = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// Where to begin: the lower bits of the hash's upper half.
fn spread(tag: u64) -> usize {
    usize::try_from(tag).unwrap_or(usize::MAX)
}

fn lower(slot: u64) -> u32 {
    u32::try_from(slot & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// Slots that are looked at before a search is given up.
const FAR: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    struct Number(u64, u64);

    impl Hashed for Number {
        fn hash64(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn equals_are_kept_once() {
        let mut list = Interned::default();
        let hashed = |at: u64| Number(at, mix(0, at));
        for round in 0..3 {
            for at in 0..10_000 {
                let number = list.number(hashed(at));
                assert_eq!(u64::from(number), at, "round {round}");
            }
        }
        assert_eq!(list.items.len(), 10_000);
    }

    #[test]
    fn colliding_hashes_cost_no_more_than_memory() {
        let mut list = Interned::default();
        for at in 0..20_000 {
            let number = list.number(Number(at, 7 << 32));
            assert_eq!(list.items[number as usize].0, at);
        }
        assert!(list.index.used <= FAR);
        assert_eq!(list.number(Number(3, 7 << 32)), 3);
    }
}
