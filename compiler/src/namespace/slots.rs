//! What is at each name of a share.

use std::{collections::BTreeSet, sync::Arc};

use crate::map::Map;

/// Something at each of many names, found at once, or all of those that begin alike.
#[derive(Debug)]
pub(super) struct Slots<T> {
    by_key: Map<Arc<str>, T>,
    sorted: BTreeSet<Arc<str>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            by_key: Map::default(),
            sorted: BTreeSet::new(),
        }
    }
}

impl<T: Copy> Slots<T> {
    pub(super) fn get(&self, key: &str) -> Option<T> {
        self.by_key.get(key).copied()
    }

    /// Whether nothing was there.
    pub(super) fn set(&mut self, key: &str, value: T) -> bool {
        if let Some(slot) = self.by_key.get_mut(key) {
            *slot = value;
            return false;
        }
        let key: Arc<str> = key.into();
        self.sorted.insert(Arc::clone(&key));
        self.by_key.insert(key, value);
        true
    }

    /// All whose names begin so, in the order of their names.
    pub(super) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, T)> + 'a {
        let from = std::ops::Bound::Included(prefix);
        let keys = self
            .sorted
            .range::<str, _>((from, std::ops::Bound::Unbounded));
        keys.take_while(move |key| key.starts_with(prefix))
            .filter_map(|key| Some((key, self.get(key)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_alike_come_in_order() {
        let mut slots = Slots::default();
        for (key, value) in [("b", 1), ("a\\y", 2), ("a\\x", 3), ("a", 4), ("a\\y", 5)] {
            slots.set(key, value);
        }
        assert_eq!((slots.get("a\\y"), slots.get("c")), (Some(5), None));
        let below: Vec<_> = slots.below("a\\").map(|(key, it)| (&**key, it)).collect();
        assert_eq!(below, [("a\\x", 3), ("a\\y", 5)]);
    }
}
