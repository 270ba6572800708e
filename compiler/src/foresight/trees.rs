//! Which shares the trees are of that nobody saw connected.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    confine::{below_share, is_dfs},
    ids::TreeRef,
    smb2::{Command, Request},
    workload::{Operation, Tree, Workload},
};

use super::TreeKey;

/// Trees, and the names that are used in each.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// Put there, not captured; and the connection.
    unseen: BTreeMap<TreeRef, usize>,
    names: BTreeMap<TreeRef, BTreeSet<String>>,
}

impl Trees {
    pub(super) fn note(&mut self, operation: &Operation, request: &Request) {
        let Some(tree) = operation.tree else { return };
        if operation.reconstructed {
            if operation.cmd == Command::TREE_CONNECT && self.unseen.len() < TREES {
                self.unseen.insert(tree, operation.conn.index());
            }
            return;
        }
        let answered = operation.expect.as_ref();
        let found = answered.is_some_and(|it| !it.status.is_error());
        if let (Request::Create(create), true) = (request, found)
            && let Some(name) = create.name.as_text()
        {
            let name = below_share(name, is_dfs(operation));
            let name = name.trim_end_matches('\\').to_lowercase();
            let names = self.names.entry(tree).or_default();
            if names.len() < NAMES && !name.is_empty() {
                names.insert(name);
            }
        }
    }

    /// The paths of trees that are of the one share that was seen on their server, by names in common with it or
    /// with another such tree.
    pub(super) fn foresee(&self, workload: &Workload) -> BTreeMap<TreeKey, String> {
        let mut found = BTreeMap::new();
        for (server, share) in self.only_shares(workload) {
            let here = |tree: &TreeRef| {
                let tree = workload.trees.get(tree.index());
                tree.filter(|it| it.holds_files() && server_of(workload, it) == Some(server))
            };
            let mut left: Vec<TreeRef> = self.unseen.keys().copied().collect();
            left.retain(|tree| here(tree).is_some());
            let seen = self
                .names
                .iter()
                .filter(|(tree, _)| !self.unseen.contains_key(tree));
            let seen = seen.filter(|(tree, _)| here(tree).is_some());
            let mut known: BTreeSet<&String> = seen.flat_map(|(_, names)| names).collect();
            loop {
                let uses = |tree: &TreeRef| {
                    let names = self.names.get(tree);
                    names.is_some_and(|names| names.iter().any(|name| known.contains(name)))
                };
                let Some(at) = left.iter().position(uses) else {
                    break;
                };
                let tree = left.swap_remove(at);
                known.extend(self.names.get(&tree).into_iter().flatten());
                found.extend(self.key(workload, tree).map(|key| (key, share.to_owned())));
            }
        }
        found
    }

    /// Of servers that somebody was seen to connect to one share of alone, that share.
    fn only_shares<'a>(&self, workload: &'a Workload) -> BTreeMap<&'a str, &'a str> {
        let mut shares: BTreeMap<&str, Option<&Tree>> = BTreeMap::new();
        for (tree, it) in (0_u32..).map(TreeRef).zip(&workload.trees) {
            let captured = !self.unseen.contains_key(&tree) && !it.path.is_empty();
            let Some(server) = server_of(workload, it).filter(|_| captured && it.holds_files())
            else {
                continue;
            };
            let known = shares.entry(server).or_insert(Some(it));
            let same = known.is_some_and(|known| known.share().eq_ignore_ascii_case(it.share()));
            *known = known.filter(|_| same);
        }
        let shares = shares.into_iter();
        shares
            .filter_map(|(server, tree)| Some((server, tree?.path.as_str())))
            .collect()
    }

    fn key(&self, workload: &Workload, tree: TreeRef) -> Option<TreeKey> {
        let own = workload.trees.get(tree.index())?;
        let session = workload.sessions.get(own.session.index())?;
        Some((*self.unseen.get(&tree)?, session.wire_id, own.wire_id))
    }
}

fn server_of<'a>(workload: &'a Workload, tree: &Tree) -> Option<&'a str> {
    let session = workload.sessions.get(tree.session.index())?;
    let conn = workload.connections.get(session.conn.index())?;
    Some(&conn.to)
}

/// Names of a tree that are kept.
const NAMES: usize = 4_096;
/// Trees that are looked at.
const TREES: usize = 256;

#[cfg(test)]
mod tests {
    use smbench_core::{
        ids::{ConnId, SessionRef},
        smb2::{CreateRequest, NtStatus, SessionId, TreeConnectRequest, TreeId},
        workload::{Action, Connection, Expect, Session},
    };

    use super::*;

    /// A tree that nobody saw connected, and others at these servers with these paths; each uses its names.
    fn told(others: &[(&str, &str, &str)], names: &[&str]) -> Vec<String> {
        let mut workload = Workload::default();
        let mut trees = Trees::default();
        let unseen = ("s:445", "\\\\s\\unknown", names.to_vec());
        let others = others
            .iter()
            .map(|(to, path, name)| (*to, *path, vec![*name]));
        for (at, (to, path, names)) in (0_u32..).zip(std::iter::once(unseen).chain(others)) {
            workload.connections.push(Connection {
                client: Default::default(),
                from: String::new(),
                to: to.to_owned(),
                at_us: 0,
                dialect: None,
                capabilities: None,
                midstream: at == 0,
            });
            workload.sessions.push(Session {
                principal: 0,
                conn: ConnId(at),
                wire_id: SessionId(7),
                flags: 0,
                inferred: false,
            });
            workload.trees.push(Tree {
                session: SessionRef(at),
                path: path.to_owned(),
                share_type: 1,
                wire_id: TreeId(3),
                inferred: false,
            });
            let connect = Request::TreeConnect(TreeConnectRequest::default());
            trees.note(&operation(at, &connect, at == 0), &connect);
            for name in names {
                let create = Request::Create(CreateRequest {
                    name: name.into(),
                    ..CreateRequest::default()
                });
                trees.note(&operation(at, &create, false), &create);
            }
        }
        let found = trees.foresee(&workload);
        assert!(found.keys().all(|key| *key == (0, SessionId(7), TreeId(3))));
        found.into_values().collect()
    }

    fn operation(at: u32, request: &Request, reconstructed: bool) -> Operation {
        Operation {
            cmd: request.command(),
            conn: ConnId(at),
            tree: Some(TreeRef(at)),
            reconstructed,
            action: Action::Request(request.clone()),
            expect: (!reconstructed).then(|| Expect {
                status: NtStatus::SUCCESS,
                ..Expect::default()
            }),
            ..Operation::blank()
        }
    }

    #[test]
    fn one_share_of_the_server_and_a_name_in_common_tell() {
        let (data, home) = ("\\\\s\\Data", "\\\\s\\home");
        assert_eq!(told(&[("s:445", data, "A\\f")], &["x", "a\\F"]), [data]);
        // No name in common; another server; two shares; nothing was seen.
        assert!(told(&[("s:445", data, "g")], &["a\\f"]).is_empty());
        assert!(told(&[("t:445", data, "a\\f")], &["a\\f"]).is_empty());
        let two = [("s:445", data, "a\\f"), ("s:445", home, "b")];
        assert!(told(&two, &["a\\f"]).is_empty());
        assert!(told(&[], &["a\\f"]).is_empty());
        // The root is in every share.
        assert!(told(&[("s:445", data, "")], &[""]).is_empty());
    }
}
