//! Sets of places in a file: ranges that neither touch nor overlap.

use std::collections::BTreeMap;

/// Ranges, each from a place to the place behind its last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Puts `start..end` in.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        // Those that touch it become one with it.
        while let Some((from, to)) = self.last_from(end).filter(|(_, to)| *to >= start) {
            self.0.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.0.insert(start, end);
    }

    /// Takes `start..end` out.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        while let Some((from, to)) = self.last_from(end - 1).filter(|(_, to)| *to > start) {
            self.0.remove(&from);
            if to > end {
                self.0.insert(end, to);
            }
            if from < start {
                self.0.insert(from, start);
            }
        }
    }

    /// What of them lies in `start..end`, in order.
    pub(super) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.last_from(start).filter(|(_, to)| *to > start);
        let first = first.map_or(start, |(from, _)| from);
        let range = if start < end { first..end } else { end..end };
        let clipped = move |(from, to): (&u64, &u64)| ((*from).max(start), (*to).min(end));
        self.0.range(range).map(clipped)
    }

    /// The last range that begins at `place` or before.
    fn last_from(&self, place: u64) -> Option<(u64, u64)> {
        let (from, to) = self.0.range(..=place).next_back()?;
        Some((*from, *to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_set_of_places() {
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..500 {
            let (mut ranges, mut places) = (Ranges::default(), vec![false; 40]);
            for _ in 0..12 {
                let (start, end) = (below(40), below(41));
                let add = below(2) == 0;
                if add {
                    ranges.add(start, end);
                } else {
                    ranges.remove(start, end);
                }
                for at in start..end {
                    places[usize::try_from(at).unwrap()] = add;
                }
            }
            let (start, end) = (below(40), below(41));
            let mut seen = [false; 40];
            for (from, to) in ranges.within(start, end) {
                assert!(from < to && start <= from && to <= end);
                (from..to).for_each(|at| seen[usize::try_from(at).unwrap()] = true);
            }
            for at in 0..40 {
                let place = usize::try_from(at).unwrap();
                let want = places[place] && (start..end).contains(&at);
                assert_eq!(seen[place], want, "{ranges:?} {start}..{end} {at}");
            }
            let mut last = None;
            for (from, to) in &ranges.0 {
                assert!(
                    from < to && last.is_none_or(|last| last < *from),
                    "{ranges:?}"
                );
                last = Some(*to);
            }
        }
    }
}
