//! Ranges of bytes, apart from each other: start to end.

use std::collections::BTreeMap;

/// Puts a range in, and joins it with what it touches.
pub(super) fn add(ranges: &mut BTreeMap<u64, u64>, start: u64, end: u64) {
    let (mut start, mut end) = (start, end);
    while let Some((&from, &to)) = ranges.range(..=end).next_back()
        && to >= start
    {
        ranges.remove(&from);
        start = start.min(from);
        end = end.max(to);
    }
    if start < end {
        ranges.insert(start, end);
    }
}

/// Takes a range out.
pub(super) fn remove(ranges: &mut BTreeMap<u64, u64>, start: u64, end: u64) {
    while let Some((&from, &to)) = ranges.range(..end).next_back()
        && to > start
        && start < end
    {
        ranges.remove(&from);
        if from < start {
            ranges.insert(from, start);
        }
        if to > end {
            ranges.insert(end, to);
        }
    }
}

/// Whether any of a range is in.
pub(super) fn touches(ranges: &BTreeMap<u64, u64>, start: u64, end: u64) -> bool {
    let last = ranges.range(..end).next_back();
    start < end && last.is_some_and(|(_, to)| *to > start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_part() {
        let mut ranges = BTreeMap::new();
        for (start, end) in [(10, 20), (30, 40), (20, 25), (5, 5)] {
            add(&mut ranges, start, end);
        }
        assert_eq!(ranges, [(10, 25), (30, 40)].into());
        remove(&mut ranges, 12, 14);
        remove(&mut ranges, 24, 31);
        remove(&mut ranges, 33, 33);
        assert_eq!(ranges, [(10, 12), (14, 24), (31, 40)].into());
        let told = |start, end| touches(&ranges, start, end);
        assert!(told(0, 11) && told(11, 12) && told(0, 100) && told(39, 50));
        assert!(!told(0, 10) && !told(12, 14) && !told(40, 50) && !told(15, 15));
        remove(&mut ranges, 0, 100);
        assert!(ranges.is_empty());
    }
}
