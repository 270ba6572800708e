//! Opens by number, and by what they end with: a connection, a session, a tree.

use std::collections::BTreeSet;

use smbench_core::ids::{ConnId, OpenRef, SessionRef, TreeRef};

use crate::map::Map;

/// Whose opens are given up at once.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scope {
    /// The connection's: it has ended.
    Conn(ConnId),
    /// The session's: it was logged off, or replaced by a login.
    Session(SessionRef),
    /// The tree's: it was disconnected.
    Tree(TreeRef),
}

/// What an open is within; nothing, when it has outlived that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Home {
    pub(crate) conn: Option<ConnId>,
    pub(crate) session: Option<SessionRef>,
    pub(crate) tree: Option<TreeRef>,
}

impl Home {
    fn scopes(self) -> impl Iterator<Item = Scope> {
        let conn = self.conn.map(Scope::Conn);
        let session = self.session.map(Scope::Session);
        let tree = self.tree.map(Scope::Tree);
        [conn, session, tree].into_iter().flatten()
    }
}

/// Opens, each with something known of it. Those of a scope are found without looking at others.
#[derive(Debug)]
pub(crate) struct Opens<T> {
    known: Map<OpenRef, (T, Home)>,
    within: BTreeSet<(Scope, OpenRef)>,
}

impl<T> Default for Opens<T> {
    fn default() -> Self {
        Self {
            known: Map::default(),
            within: BTreeSet::new(),
        }
    }
}

impl<T: Copy> Opens<T> {
    pub(crate) fn get(&self, open: OpenRef) -> Option<T> {
        self.known.get(&open).map(|(known, _)| *known)
    }

    /// Takes down what an open is from now on, none for closed; what it was.
    pub(crate) fn set(&mut self, open: OpenRef, now: Option<(T, Home)>) -> Option<(T, Home)> {
        let was = match now {
            Some(now) => self.known.insert(open, now),
            None => self.known.remove(&open),
        };
        for scope in was.into_iter().flat_map(|(_, home)| home.scopes()) {
            self.within.remove(&(scope, open));
        }
        for scope in now.into_iter().flat_map(|(_, home)| home.scopes()) {
            self.within.insert((scope, open));
        }
        was
    }

    /// Those within a scope, ascending.
    pub(crate) fn within(&self, scope: Scope) -> Vec<OpenRef> {
        let from = (scope, OpenRef(0))..=(scope, OpenRef(u32::MAX));
        self.within.range(from).map(|(_, open)| *open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_are_found_by_all_that_they_end_with() {
        let home = |conn, tree| Home {
            conn: Some(ConnId(conn)),
            session: Some(SessionRef(conn)),
            tree: Some(TreeRef(tree)),
        };
        let mut opens = Opens::default();
        for (open, home) in [(0, home(1, 1)), (1, home(1, 2)), (2, home(2, 2))] {
            assert!(opens.set(OpenRef(open), Some((open, home))).is_none());
        }
        let refs = |list: &[u32]| -> Vec<OpenRef> { list.iter().copied().map(OpenRef).collect() };
        assert_eq!(opens.within(Scope::Conn(ConnId(1))), refs(&[0, 1]));
        assert_eq!(opens.within(Scope::Session(SessionRef(2))), refs(&[2]));
        assert_eq!(opens.within(Scope::Tree(TreeRef(2))), refs(&[1, 2]));
        // One moves, one outlives everything, one is closed.
        opens.set(OpenRef(0), Some((7, home(2, 2))));
        opens.set(OpenRef(1), Some((8, Home::default())));
        assert!(opens.set(OpenRef(2), None).is_some_and(|(it, _)| it == 2));
        assert_eq!(opens.within(Scope::Tree(TreeRef(2))), refs(&[0]));
        assert!(opens.within(Scope::Conn(ConnId(1))).is_empty());
        assert_eq!(
            (opens.get(OpenRef(1)), opens.get(OpenRef(2))),
            (Some(8), None)
        );
    }
}
