//! A workload in brief: what an operation depends on, without what it asks and answers.
//!
//! Some 120 bytes an operation and 8 an edge, so that a million operations fit easily.

use std::collections::{BTreeMap, HashMap};

use smbench_core::{
    confine::created_path,
    fscc::SetInfoPayload,
    ids::{ClientId, ConnId, OpId, OpenRef, PrincipalRef, SessionRef, TreeRef},
    smb2::{ChangeNotifyFlags, Command, ContextData, CreateOptions, NtStatus, Request},
    workload::{Action, BreakNotice, Edge, Operation, Rule, Workload},
};

use super::{
    SliceError,
    filter::{Asked, DISCONNECT, Matcher, Missed},
    names::Names,
};
use crate::folder::FolderReader;

/// A name in a share.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct NameId(pub(super) u32);

impl NameId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Request,
    /// An SMB1 NEGOTIATE, which no count of requests has.
    Smb1,
    Break,
    End,
}

/// One operation in brief.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at_us: u64,
    pub(super) frame: u64,
    /// Packet of its final response.
    pub(super) answered: Option<u64>,
    pub(super) kind: Kind,
    pub(super) cmd: Command,
    pub(super) client: ClientId,
    pub(super) conn: ConnId,
    pub(super) session: Option<SessionRef>,
    pub(super) tree: Option<TreeRef>,
    pub(super) open: Option<OpenRef>,
    pub(super) leader: OpId,
    pub(super) cancels: Option<OpId>,
    pub(super) resume_key_of: Option<OpId>,
    pub(super) reclaims: Option<OpenRef>,
    pub(super) previous_session: Option<SessionRef>,
    pub(super) principal: Option<PrincipalRef>,
    /// The name it is about.
    pub(super) name: Option<NameId>,
    /// The name that it gives to a file.
    pub(super) renames_to: Option<NameId>,
    /// The lease it is about, by client and key.
    pub(super) lease: Option<u32>,
    /// It waited on the server: for a change, a lock, a break.
    pub(super) pending: bool,
    /// A leg of a login that goes on.
    pub(super) more: bool,
    /// It watches everything below its folder.
    pub(super) deep: bool,
    /// It was carried out.
    pub(super) done: bool,
    /// It can have changed names or data.
    pub(super) changes: bool,
    /// It made the file that it opened, or emptied it.
    pub(super) makes: bool,
    /// It deletes its file.
    pub(super) deletes: bool,
    pub(super) missed: Option<Missed>,
}

/// All operations in brief, and ways to find them.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) lines: Vec<Line>,
    starts: Vec<u32>,
    edges: Vec<Edge>,
    /// The CREATE of each open.
    pub(super) creates: Vec<Option<OpId>>,
    pub(super) closes: Vec<Option<OpId>>,
    /// The TREE_CONNECT of each tree.
    pub(super) connects: Vec<Option<OpId>>,
    pub(super) negotiates: BTreeMap<ConnId, Vec<OpId>>,
    /// The legs of logins.
    pub(super) logins: BTreeMap<(SessionRef, ConnId), Vec<OpId>>,
    pub(super) ends: BTreeMap<ConnId, OpId>,
    /// What moves on the state of each handle: listings, watches, reads of a pipe.
    pub(super) steps: BTreeMap<OpenRef, Vec<OpId>>,
    /// What closes the opens of a session at once: LOGOFF, TREE_DISCONNECT, a login in its place.
    pub(super) releases: BTreeMap<SessionRef, Vec<OpId>>,
    /// Members of compounds, by the first.
    pub(super) members: BTreeMap<OpId, Vec<OpId>>,
    pub(super) cancelled_by: BTreeMap<OpId, Vec<OpId>>,
    /// Notifications, by what made the server send them.
    pub(super) notices: BTreeMap<OpId, Vec<OpId>>,
    /// What ended each break.
    pub(super) reactions: BTreeMap<OpId, Vec<OpId>>,
    /// CREATEs that asked for each lease.
    pub(super) holders: BTreeMap<u32, Vec<OpId>>,
    pub(super) names: Names,
    /// What can have changed each name.
    pub(super) by_name: Vec<Vec<OpId>>,
}

impl Index {
    /// Reads the operations of a folder.
    pub(super) fn read(folder: &FolderReader, matcher: &Matcher) -> Result<Self, SliceError> {
        let workload = folder.workload();
        let mut reader = Reader {
            workload,
            matcher,
            index: Self::default(),
            names_of: HashMap::new(),
            leases: HashMap::new(),
        };
        reader.index.creates = vec![None; workload.opens as usize];
        reader.index.closes = vec![None; workload.opens as usize];
        reader.index.connects = vec![None; workload.trees.len()];
        for operation in folder.operations()? {
            reader.add(&operation?)?;
        }
        let mut index = reader.index;
        index
            .starts
            .push(u32::try_from(index.edges.len()).unwrap_or(u32::MAX));
        index.check()?;
        index.relate();
        Ok(index)
    }

    pub(super) fn line(&self, op: OpId) -> Option<&Line> {
        self.lines.get(op.index())
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many edges there are.
    pub(super) fn edges(&self) -> usize {
        self.edges.len()
    }

    /// The edges of an operation.
    pub(super) fn after(&self, op: OpId) -> &[Edge] {
        let at = |at: usize| self.starts.get(at).map(|start| *start as usize);
        let range = at(op.index()).zip(at(op.index() + 1));
        range
            .and_then(|(from, to)| self.edges.get(from..to))
            .unwrap_or_default()
    }

    /// Whether it is a CREATE whose handle no CLOSE gave back.
    pub(super) fn is_lost(&self, create: OpId) -> bool {
        let Some(line) = self.line(create) else {
            return false;
        };
        let close = line.open.and_then(|open| self.closes.get(open.index()));
        line.cmd == Command::CREATE && line.done && close.is_some_and(Option::is_none)
    }

    /// The compound of an operation; itself when alone.
    pub(super) fn leader(&self, op: OpId) -> OpId {
        self.line(op).map_or(op, |line| line.leader)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..u32::try_from(self.lines.len()).unwrap_or(u32::MAX)).map(OpId)
    }

    /// The CREATE that held the lease that operation `op` is about.
    pub(super) fn holder(&self, op: OpId) -> Option<OpId> {
        let lease = self.line(op)?.lease?;
        let creates = self.holders.get(&lease)?;
        let later = creates.partition_point(|create| *create < op);
        creates.get(later.checked_sub(1)?).copied()
    }

    /// Everything that an operation names must be there.
    fn check(&self) -> Result<(), SliceError> {
        let count = self.lines.len();
        for (op, line) in self.ids().zip(&self.lines) {
            let named = [Some(line.leader), line.cancels, line.resume_key_of];
            let edges = self.after(op).iter().map(|edge| Some(edge.id));
            for other in named.into_iter().chain(edges).flatten() {
                if other.index() >= count {
                    return Err(SliceError::Dangling { op, other, count });
                }
            }
        }
        Ok(())
    }

    /// What follows from edges, which may point to later lines.
    fn relate(&mut self) {
        let mut notices = BTreeMap::<OpId, Vec<OpId>>::new();
        let mut reactions = BTreeMap::<OpId, Vec<OpId>>::new();
        for (op, line) in self.ids().zip(&self.lines) {
            for edge in self
                .after(op)
                .iter()
                .filter(|edge| edge.rule == Rule::Break)
            {
                let from_break = self.line(edge.id).is_some_and(|it| it.kind == Kind::Break);
                if line.kind == Kind::Break {
                    notices.entry(edge.id).or_default().push(op);
                } else if from_break && matches!(line.cmd, Command::OPLOCK_BREAK | Command::CLOSE) {
                    reactions.entry(edge.id).or_default().push(op);
                }
            }
        }
        self.notices = notices;
        self.reactions = reactions;
        self.by_name = vec![Vec::new(); self.names.len()];
        for (op, line) in (0..).map(OpId).zip(&self.lines) {
            for name in [line.name, line.renames_to].into_iter().flatten() {
                let list = self.by_name.get_mut(name.index()).filter(|_| line.changes);
                if let Some(list) = list {
                    list.push(op);
                }
            }
        }
    }
}

/// A share and a path below it as one key.
pub(super) fn key_of(share: &str, path: &str) -> String {
    format!("{share}\\{}", path.trim_matches('\\')).to_lowercase()
}

/// The path below its share that a CREATE names.
fn path_of(path: &str) -> String {
    let text = path.trim_end_matches('\\');
    // file:stream:$TYPE; the unnamed stream is the file itself. [MS-FSCC] 2.1.5
    let folder = text.rfind('\\').map_or(0, |at| at + 1);
    let Some((file, stream)) = text.get(folder..).and_then(|name| name.split_once(':')) else {
        return text.to_owned();
    };
    let above = text.get(..folder).unwrap_or_default();
    match stream.split(':').next().unwrap_or_default() {
        "" => format!("{above}{file}"),
        stream => format!("{above}{file}:{stream}"),
    }
}

struct Reader<'a> {
    workload: &'a Workload,
    matcher: &'a Matcher,
    index: Index,
    names_of: HashMap<OpenRef, NameId>,
    leases: HashMap<(ClientId, [u8; 16]), u32>,
}

impl Reader<'_> {
    fn add(&mut self, op: &Operation) -> Result<(), SliceError> {
        self.dangling(op)?;
        let mut line = brief(op);
        self.name(op, &mut line);
        self.lease(op, &mut line);
        line.missed = self.missed(op, &line);
        self.register(op, &line);
        let index = &mut self.index;
        index
            .starts
            .push(u32::try_from(index.edges.len()).unwrap_or(u32::MAX));
        index.edges.extend(&op.after);
        index.lines.push(line);
        Ok(())
    }

    fn dangling(&self, op: &Operation) -> Result<(), SliceError> {
        let tables = self.workload;
        let named = [
            ("client", Some(op.client.0), tables.clients.len()),
            ("connection", Some(op.conn.0), tables.connections.len()),
            ("session", op.session.map(|it| it.0), tables.sessions.len()),
            (
                "session",
                op.previous_session.map(|it| it.0),
                tables.sessions.len(),
            ),
            ("tree", op.tree.map(|it| it.0), tables.trees.len()),
            ("open", op.open.map(|it| it.0), tables.opens as usize),
            ("open", op.reclaims.map(|it| it.0), tables.opens as usize),
        ];
        for (what, number, count) in named {
            if let Some(number) = number.filter(|number| *number as usize >= count) {
                return Err(SliceError::NoEntry {
                    op: op.id,
                    what,
                    number,
                    count,
                });
            }
        }
        Ok(())
    }

    fn name(&mut self, op: &Operation, line: &mut Line) {
        let share = op
            .tree
            .and_then(|tree| self.workload.trees.get(tree.index()));
        let share = share.map_or("", |tree| tree.share());
        if let Action::Request(Request::Create(create)) = &op.action {
            let path = created_path(op);
            let path = path.unwrap_or_else(|| create.name.to_string().into());
            let key = key_of(share, &path_of(&path));
            let name = self.index.names.intern(&key, self.matcher);
            line.name = Some(name);
            if let Some(open) = op.open {
                self.names_of.insert(open, name);
            }
            return;
        }
        line.name = op.open.and_then(|open| self.names_of.get(&open).copied());
        if let Some(target) = op.cancels.and_then(|target| self.index.line(target)) {
            line.name = line.name.or(target.name);
            line.tree = line.tree.or(target.tree);
            line.session = line.session.or(target.session);
        }
        if let Some(to) = new_name(op) {
            let key = match to.strip_prefix(':') {
                // A stream is renamed within its file. [MS-FSCC] 2.4.42
                Some(stream) => {
                    let from = line.name.map(|name| self.index.names.text(name));
                    let from = from.unwrap_or_default();
                    format!("{}:{}", from.split(':').next().unwrap_or_default(), stream)
                }
                None => key_of(share, &to),
            };
            line.renames_to = Some(self.index.names.intern(&key.to_lowercase(), self.matcher));
        }
    }

    fn lease(&mut self, op: &Operation, line: &mut Line) {
        let key = match &op.action {
            Action::Break(BreakNotice::Lease { key, .. }) => Some(*key),
            Action::Request(Request::LeaseBreak(ack)) => Some(ack.lease_key.0),
            Action::Request(Request::Create(create)) => {
                create
                    .contexts
                    .iter()
                    .find_map(|context| match &context.data {
                        ContextData::Lease(lease) => Some(lease.key.0),
                        _ => None,
                    })
            }
            _ => None,
        };
        let Some(key) = key else { return };
        let next = u32::try_from(self.leases.len()).unwrap_or(u32::MAX);
        let lease = *self.leases.entry((op.client, key)).or_insert(next);
        line.lease = Some(lease);
        if op.cmd == Command::CREATE {
            self.index.holders.entry(lease).or_default().push(op.id);
            return;
        }
        let holder = self.index.holders.get(&lease).and_then(|list| list.last());
        if let Some(holder) = holder.and_then(|holder| self.index.line(*holder)) {
            line.name = line.name.or(holder.name);
            line.tree = line.tree.or(holder.tree);
            line.session = line.session.or(holder.session);
        }
    }

    fn missed(&self, op: &Operation, line: &Line) -> Option<Missed> {
        let meant = |name: Option<NameId>| name.is_some_and(|name| self.index.names.is_meant(name));
        let share = match &op.action {
            Action::Request(Request::TreeConnect(connect)) if op.tree.is_none() => {
                let path = connect.path.to_string();
                Some(path.rsplit('\\').next().unwrap_or_default().to_owned())
            }
            _ => None,
        };
        self.matcher.missed(&Asked {
            client: op.client,
            session: line.session,
            tree: line.tree,
            share: share.as_deref(),
            path: !self.matcher.by_path() || meant(line.name) || meant(line.renames_to),
            command: line.cmd,
            at_us: op.at_us,
        })
    }

    fn register(&mut self, op: &Operation, line: &Line) {
        let index = &mut self.index;
        let id = op.id;
        if let Some(compound) = op.compound {
            index.members.entry(compound.first).or_default().push(id);
        }
        if let Some(target) = op.cancels {
            index.cancelled_by.entry(target).or_default().push(id);
        }
        let pipe = op
            .tree
            .and_then(|tree| self.workload.trees.get(tree.index()));
        let moves_on = match op.cmd {
            Command::QUERY_DIRECTORY | Command::CHANGE_NOTIFY => true,
            Command::READ => pipe.is_some_and(|tree| tree.holds_pipes()),
            _ => false,
        };
        if let Some(open) = op.open.filter(|_| moves_on) {
            index.steps.entry(open).or_default().push(id);
        }
        let released = match op.cmd {
            Command::LOGOFF | Command::TREE_DISCONNECT => op.session,
            _ => op.previous_session,
        };
        if let Some(session) = released {
            index.releases.entry(session).or_default().push(id);
        }
        match (line.kind, op.cmd) {
            (Kind::Break, _) => {}
            (Kind::End, _) => {
                index.ends.insert(op.conn, id);
            }
            (_, Command::NEGOTIATE) => index.negotiates.entry(op.conn).or_default().push(id),
            (_, Command::SESSION_SETUP) => {
                if let Some(session) = op.session {
                    index.logins.entry((session, op.conn)).or_default().push(id);
                }
            }
            (_, Command::TREE_CONNECT) => {
                first(&mut index.connects, op.tree.map(TreeRef::index), id)
            }
            (_, Command::CREATE) => first(&mut index.creates, op.open.map(OpenRef::index), id),
            (_, Command::CLOSE) => first(&mut index.closes, op.open.map(OpenRef::index), id),
            _ => {}
        }
    }
}

fn first(table: &mut [Option<OpId>], at: Option<usize>, id: OpId) {
    if let Some(slot) = at.and_then(|at| table.get_mut(at)) {
        slot.get_or_insert(id);
    }
}

fn brief(op: &Operation) -> Line {
    let status = op.expect.as_ref().map(|expect| expect.status);
    let (kind, cmd) = match &op.action {
        Action::Request(_) => (Kind::Request, op.cmd),
        Action::Smb1Negotiate(_) => (Kind::Smb1, op.cmd),
        Action::Break(_) => (Kind::Break, op.cmd),
        Action::Disconnect(_) => (Kind::End, DISCONNECT),
    };
    let done = status.is_some_and(|status| !status.is_error());
    let action = op.expect.as_ref().and_then(|expect| expect.action);
    let makes = action.is_some_and(|action| action != OPENED);
    let waits = matches!(op.cmd, Command::CHANGE_NOTIFY | Command::LOCK);
    Line {
        at_us: op.at_us,
        frame: op.frame,
        answered: op.expect.as_ref().map(|expect| expect.frame),
        kind,
        cmd,
        client: op.client,
        conn: op.conn,
        session: op.session,
        tree: op.tree,
        open: op.open,
        leader: op.compound.map_or(op.id, |compound| compound.first),
        cancels: op.cancels,
        resume_key_of: op.resume_key_of,
        reclaims: op.reclaims,
        previous_session: op.previous_session,
        principal: op.principal,
        name: None,
        renames_to: None,
        lease: None,
        pending: waits || op.expect.as_ref().is_some_and(|it| it.interim_us.is_some()),
        more: status == Some(NtStatus::MORE_PROCESSING_REQUIRED),
        deep: watches_deep(op),
        done,
        changes: can_change(op),
        makes,
        deletes: deletes(op),
        missed: None,
    }
}

fn watches_deep(op: &Operation) -> bool {
    match &op.action {
        Action::Request(Request::ChangeNotify(it)) => {
            it.flags.contains(ChangeNotifyFlags::WATCH_TREE)
        }
        _ => false,
    }
}

fn can_change(op: &Operation) -> bool {
    let is_request = matches!(op.action, Action::Request(_));
    is_request
        && matches!(
            op.cmd,
            Command::CREATE
                | Command::CLOSE
                | Command::WRITE
                | Command::SET_INFO
                | Command::LOCK
                | Command::IOCTL
                | Command::FLUSH
                | Command::OPLOCK_BREAK
        )
}

fn deletes(op: &Operation) -> bool {
    match &op.action {
        Action::Request(Request::Create(create)) => create
            .create_options
            .contains(CreateOptions::DELETE_ON_CLOSE),
        Action::Request(Request::SetInfo(set)) => matches!(
            SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer),
            SetInfoPayload::FileDisposition { .. } | SetInfoPayload::FileDispositionEx { .. }
        ),
        _ => false,
    }
}

/// The name that a SET_INFO gives.
fn new_name(op: &Operation) -> Option<String> {
    let Action::Request(Request::SetInfo(set)) = &op.action else {
        return None;
    };
    match SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer) {
        SetInfoPayload::FileRename(it)
        | SetInfoPayload::FileRenameEx(it)
        | SetInfoPayload::FileLink(it)
        | SetInfoPayload::FileLinkEx(it) => it.name.as_text().map(str::to_owned),
        _ => None,
    }
}

/// ShareType of pipes. [MS-SMB2] 2.2.10
/// CreateAction. [MS-SMB2] 2.2.14
const OPENED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_of_streams_are_above() {
        for (key, above) in [
            ("data\\team\\plan.xlsx", Some("data\\team")),
            ("data\\team", Some("data\\")),
            ("data\\", None),
            ("data\\a\\b:c", Some("data\\a\\b")),
            ("data\\b:c", Some("data\\b")),
        ] {
            assert_eq!(crate::slice::names::parent_of(key), above, "{key}");
        }
        assert_eq!(key_of("Data", "\\Team\\"), "data\\team");
        assert_eq!(key_of("Data", ""), "data\\");
    }
}
