//! Trees and opens by their ids on the wire.

use smbench_core::{
    ids::{OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, FileId, Request, TreeId},
    workload::{InferredOpen, Tree},
};

use super::{Dissector, index, state::OpenState};

/// Where the handle of a related request comes from. [MS-SMB2] 3.3.5.2.7.2.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Provider {
    /// Nobody knows.
    #[default]
    None,
    /// An open that is already known.
    Open(OpenRef),
    /// A CREATE of the same compound.
    Create(OpId),
}

impl Dissector {
    /// The tree that the wire calls `id` in a session, and what of the id no tree explains.
    pub(super) fn tree_of(
        &mut self,
        command: Command,
        session: Option<SessionRef>,
        id: TreeId,
    ) -> (Option<TreeRef>, Option<u32>) {
        let raw = (id.0 != 0).then_some(id.0);
        let needs_none = matches!(
            command,
            Command::NEGOTIATE
                | Command::SESSION_SETUP
                | Command::LOGOFF
                | Command::TREE_CONNECT
                | Command::CANCEL
                | Command::ECHO
        );
        let Some((at, state)) = session.and_then(|at| Some((at, self.state.session(at)?))) else {
            return (None, raw);
        };
        if command == Command::TREE_CONNECT {
            return (None, raw);
        }
        if let Some(tree) = state.trees.get(&id.0) {
            return (Some(*tree), None);
        }
        if needs_none || raw.is_none() {
            return (None, raw);
        }
        let tree = match state.unnamed_trees.pop() {
            Some(tree) => tree,
            None => {
                self.infer("trees");
                let tree = TreeRef(index(self.workload.trees.len()));
                self.workload.trees.push(Tree {
                    session: at,
                    path: String::new(),
                    share_type: 0,
                    wire_id: id,
                    inferred: true,
                });
                tree
            }
        };
        self.name_tree(at, tree, id);
        (Some(tree), None)
    }

    /// The wire calls a tree `id` from now on.
    pub(super) fn name_tree(&mut self, session: SessionRef, tree: TreeRef, id: TreeId) {
        if let Some(entry) = self.workload.trees.get_mut(tree.index()) {
            entry.wire_id = id;
        }
        if let Some(state) = self.state.session(session) {
            state.trees.insert(id.0, tree);
        }
    }

    pub(super) fn tree_id(&self, tree: Option<TreeRef>) -> TreeId {
        tree.and_then(|tree| self.workload.trees.get(tree.index()))
            .map(|tree| tree.wire_id)
            .unwrap_or_default()
    }

    /// The open that a request names by its FileId; the FileId is zeroed when it is known. One
    /// that nobody has seen created is inferred.
    pub(super) fn open_of(
        &mut self,
        request: &mut Request,
        session: Option<SessionRef>,
        tree: Option<TreeRef>,
        seq: u64,
    ) -> Option<OpenRef> {
        let id = request.file_id()?;
        // [MS-SMB2] 2.2.31: functions that need no open are called with all ones.
        if id == FileId::RELATED || id == FileId::ZERO {
            return None;
        }
        let session = session?;
        let known = self.state.session(session)?.opens.get(&id).copied();
        let open = match known {
            Some(open) => open,
            None => {
                self.infer("opens");
                let open = self.new_open(session, id, None, tree, seq);
                self.workload.inferred_opens.push(InferredOpen {
                    open,
                    tree,
                    wire_id: id,
                });
                open
            }
        };
        request.set_file_id(FileId::ZERO);
        Some(open)
    }

    pub(super) fn new_open(
        &mut self,
        session: SessionRef,
        wire: FileId,
        create: Option<OpId>,
        tree: Option<TreeRef>,
        seq: u64,
    ) -> OpenRef {
        let open = OpenRef(index(self.state.opens.len()));
        self.state.opens.push(OpenState {
            wire,
            create,
            tree,
            first_use: seq,
            name: None,
        });
        if let Some(state) = self.state.session(session) {
            state.opens.insert(wire, open);
        }
        open
    }

    /// The open that a CREATE made. One that was in use before its answer was captured, but after
    /// its request, is the same.
    pub(super) fn created(
        &mut self,
        op: OpId,
        session: SessionRef,
        wire: FileId,
        tree: Option<TreeRef>,
    ) -> OpenRef {
        let asked = self.live.flight(op).map_or(0, |it| it.span.request);
        let name = self.name_of(op).map(|name| self.state.names.number(&name));
        let known = self
            .state
            .session(session)
            .and_then(|it| it.opens.get(&wire).copied());
        let early = known.filter(|open| {
            let state = self.state.open(*open);
            state.is_some_and(|it| it.create.is_none() && it.first_use > asked)
        });
        match early {
            Some(open) => {
                if let Some(state) = self.state.opens.get_mut(open.index()) {
                    state.create = Some(op);
                    state.name = name;
                }
                if let Some(count) = self.inferred.get_mut("opens") {
                    *count = count.saturating_sub(1);
                }
                open
            }
            None => {
                let open = self.new_open(session, wire, Some(op), tree, 0);
                if let Some(state) = self.state.opens.get_mut(open.index()) {
                    state.name = name;
                }
                open
            }
        }
    }

    /// A CLOSE was answered.
    pub(super) fn closes(&mut self, conn: usize, op: OpId) {
        let op = self
            .live
            .get(op)
            .and_then(|op| Some((op.open?, op.session?)));
        if let (Some((open, session)), Some(it)) = (op, self.conns.get(conn)) {
            self.state.closed(open, session, it.server);
            self.pipes.closed(open);
        }
    }

    pub(super) fn file_id(&mut self, open: Option<OpenRef>) -> FileId {
        open.and_then(|open| self.state.open(open))
            .map(|open| open.wire)
            .unwrap_or_default()
    }
}
