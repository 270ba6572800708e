//! Map and set for ids and names out of captures: seeded anew in every process, so that strangers
//! cannot choose keys that collide, and several times faster than the standard library's hashing. Their
//! order is never asked for.

use std::collections::{HashMap, HashSet};

/// See the [module](self).
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// See the [module](self).
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
