//! Which operations stay, and why each does.
//!
//! What the filters mean stays, and what that cannot do without: members of its compounds, the
//! negotiation, logins and tree connects before it, the CREATE of its handle. With causes also
//! what made the state that it met, and what let it end: the break it waited for, the change it
//! was told of. What merely went before it on the same connection is no cause.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use smbench_core::{
    ids::{ConnId, OpId, OpenRef, SessionRef},
    smb2::Command,
    workload::Rule,
};

use super::index::{Index, Kind, Line, NameId};
use crate::map::Map;

/// Why an operation stays: the first reason found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Reason {
    /// The filters mean it.
    Selected,
    /// It is in one compound with one that stays.
    Compound,
    /// It negotiates for a connection that is used.
    Negotiate,
    /// It logs in to a session that is used.
    Login,
    /// It connects a tree that is used.
    Tree,
    /// It makes a handle that is used.
    Handle,
    /// It closes a handle that was made.
    Close,
    /// It is named: cancelled, or asked for the resume key that is used.
    Target,
    /// It cancels one that stays.
    Cancel,
    /// A break notification that is acknowledged, or sent because of one that stays.
    Notification,
    /// It ends a connection that is used.
    Disconnect,
    /// One that stays met what it left behind.
    Before,
    /// One that stays was answered because of it.
    Answer,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::Selected,
        Self::Compound,
        Self::Negotiate,
        Self::Login,
        Self::Tree,
        Self::Handle,
        Self::Close,
        Self::Target,
        Self::Cancel,
        Self::Notification,
        Self::Disconnect,
        Self::Before,
        Self::Answer,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Compound => "compound",
            Self::Negotiate => "negotiate",
            Self::Login => "login",
            Self::Tree => "tree",
            Self::Handle => "handle",
            Self::Close => "close",
            Self::Target => "target",
            Self::Cancel => "cancel",
            Self::Notification => "notification",
            Self::Disconnect => "disconnect",
            Self::Before => "before",
            Self::Answer => "answer",
        }
    }
}

/// What stays.
#[derive(Debug)]
pub(super) struct Kept {
    reasons: Vec<Option<Reason>>,
    pub(super) count: usize,
}

impl Kept {
    pub(super) fn has(&self, op: OpId) -> bool {
        self.reason(op).is_some()
    }

    pub(super) fn reason(&self, op: OpId) -> Option<Reason> {
        self.reasons.get(op.index()).copied().flatten()
    }

    /// How many stay for which reason.
    pub(super) fn by_reason(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for reason in self.reasons.iter().flatten() {
            *counts.entry(reason.name().to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Finds what stays. Before `to_us` handles are closed and connections ended, later nothing is.
pub(super) fn keep(index: &Index, causes: bool, to_us: u64) -> Kept {
    let mut keeper = Keeper {
        index,
        causes,
        to_us,
        kept: Kept {
            reasons: vec![None; index.len()],
            count: 0,
        },
        work: Vec::new(),
        bearing: vec![0; index.by_name.len()],
        moving: vec![0; index.by_name.len()],
        released: vec![BinaryHeap::new(); index.by_name.len()],
        met: Map::default(),
    };
    for (op, line) in index.ids().zip(&index.lines) {
        if line.missed.is_none() {
            keeper.add(op, Reason::Selected);
        }
    }
    while let Some(op) = keeper.work.pop() {
        keeper.needs(op);
    }
    keeper.kept
}

struct Keeper<'a> {
    index: &'a Index,
    causes: bool,
    to_us: u64,
    kept: Kept,
    work: Vec<OpId>,
    /// How many of those that bear on each name stay already.
    bearing: Vec<usize>,
    /// The same of those that can have moved the name, which is above another one.
    moving: Vec<usize>,
    /// What closed handles of each name that no CLOSE gave back, as far as it does not stay yet.
    released: Vec<BinaryHeap<Reverse<OpId>>>,
    /// Which names were met, in which way, by which operation last, and until when.
    met: Map<(NameId, Met), (OpId, u64)>,
}

/// In which way an operation meets a name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Met {
    /// It works on it.
    Used,
    /// Also what is in it matters.
    Listed,
    /// And all below.
    Whole,
}

impl Keeper<'_> {
    fn add(&mut self, op: OpId, reason: Reason) {
        if let Some(slot @ None) = self.kept.reasons.get_mut(op.index()) {
            *slot = Some(reason);
            self.kept.count += 1;
            self.work.push(op);
        }
    }

    fn add_all(&mut self, ops: Option<&Vec<OpId>>, reason: Reason) {
        for op in ops.into_iter().flatten() {
            self.add(*op, reason);
        }
    }

    fn needs(&mut self, op: OpId) {
        let index = self.index;
        let Some(line) = index.line(op) else { return };
        if line.leader == op {
            self.add_all(index.members.get(&op), Reason::Compound);
        } else {
            self.add(line.leader, Reason::Compound);
        }
        self.set_up(op, line);
        self.names(op, line);
        self.breaks(op, line);
        self.add_all(index.cancelled_by.get(&op), Reason::Cancel);
        if self.causes {
            let after = index.after(op).iter();
            for edge in after.filter(|edge| edge.rule != Rule::Wire) {
                self.add(edge.id, Reason::Before);
            }
            self.met(op, line);
            self.answered_by(op, line);
        } else {
            self.closed_by(op, line);
        }
    }

    /// What must be set up for it.
    fn set_up(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        if line.kind == Kind::End {
            return;
        }
        self.earlier(index.negotiates.get(&line.conn), op, Reason::Negotiate);
        if let Some(session) = line.session {
            self.login(session, line.conn, op);
        }
        if let (true, Some(session)) = (line.more, line.session) {
            // Half a login is none.
            let legs = index.logins.get(&(session, line.conn));
            let next = legs.and_then(|legs| legs.iter().find(|leg| **leg > op));
            if let Some(next) = next {
                self.add(*next, Reason::Login);
            }
        }
        let tree = line.tree.and_then(|tree| index.connects.get(tree.index()));
        if let Some(connect) = tree.copied().flatten() {
            self.add(connect, Reason::Tree);
        }
        if let Some(open) = line.open {
            self.handle(open, Reason::Handle);
        }
    }

    fn login(&mut self, session: SessionRef, conn: ConnId, before: OpId) {
        let index = self.index;
        self.earlier(index.logins.get(&(session, conn)), before, Reason::Login);
        let all = index
            .logins
            .range((session, ConnId(0))..=(session, ConnId(u32::MAX)));
        // A channel is bound to a session that another connection has set up.
        let first = all.min_by_key(|(_, legs)| legs.first().copied());
        self.earlier(first.map(|(_, legs)| legs), before, Reason::Login);
    }

    /// Keeps the one of `ops` that comes last before `before`. Each of them needs the one before it,
    /// as it comes here too.
    fn earlier(&mut self, ops: Option<&Vec<OpId>>, before: OpId, reason: Reason) {
        let Some(ops) = ops else { return };
        let later = ops.partition_point(|op| *op < before);
        if let Some(last) = later.checked_sub(1).and_then(|at| ops.get(at)) {
            self.add(*last, reason);
        }
    }

    fn handle(&mut self, open: OpenRef, reason: Reason) {
        let create = self.index.creates.get(open.index());
        if let Some(create) = create.copied().flatten() {
            self.add(create, reason);
        }
    }

    /// What it names.
    fn names(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        for target in [line.cancels, line.resume_key_of].into_iter().flatten() {
            self.add(target, Reason::Target);
        }
        if let Some(open) = line.reclaims {
            self.handle(open, Reason::Handle);
            // What is reclaimed was lost.
            let create = index.creates.get(open.index()).copied().flatten();
            let conn = create.and_then(|create| Some(index.line(create)?.conn));
            let end = conn.and_then(|conn| index.ends.get(&conn));
            if let Some(end) = end.filter(|end| **end < op) {
                self.add(*end, Reason::Disconnect);
            }
        }
        if let Some(session) = line.previous_session {
            let all = index
                .logins
                .range((session, ConnId(0))..=(session, ConnId(u32::MAX)));
            for (_, legs) in all {
                self.earlier(Some(legs), op, Reason::Login);
            }
        }
    }

    fn breaks(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        let is_notice = |op: OpId| index.line(op).is_some_and(|it| it.kind == Kind::Break);
        if line.kind == Kind::Break {
            if let Some(holder) = index.holder(op) {
                self.add(holder, Reason::Handle);
            }
            if self.causes {
                // Who made the server break waits for the reaction.
                self.add_all(index.reactions.get(&op), Reason::Answer);
            }
            return;
        }
        if line.cmd == Command::OPLOCK_BREAK {
            let notices = index
                .after(op)
                .iter()
                .filter(|edge| edge.rule == Rule::Break);
            for edge in notices.filter(|edge| is_notice(edge.id)) {
                self.add(edge.id, Reason::Notification);
            }
        }
        if self.causes {
            self.add_all(index.notices.get(&op), Reason::Notification);
        }
    }

    /// What made the state that it met: whoever used its file, made, moved or deleted the folders
    /// above, or what is in the folder that it lists or deletes.
    fn met(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        let until = line.answered.unwrap_or(line.frame);
        for name in [line.name, line.renames_to].into_iter().flatten() {
            let moves = line.renames_to.is_some();
            let lists = line.deletes || line.cmd == Command::QUERY_DIRECTORY;
            if self.meets(name, Met::Used, op, until) {
                for name in index.names.file(name) {
                    self.bear_on(name, op, until);
                }
                let mut above = index.names.above(name);
                while let Some(folder) = above {
                    self.moved(folder, op);
                    above = index.names.above(folder);
                }
            }
            let how = if moves { Met::Whole } else { Met::Listed };
            if (moves || lists) && self.meets(name, how, op, until) {
                for name in index.names.below(name, moves) {
                    self.bear_on(name, op, until);
                }
            }
        }
        let steps = line.open.and_then(|open| index.steps.get(&open));
        if steps.is_some_and(|steps| steps.binary_search(&op).is_ok()) {
            self.earlier(steps, op, Reason::Before);
        }
    }

    /// Whether what an operation meets is more than what another one has met that came later.
    fn meets(&mut self, name: NameId, how: Met, op: OpId, until: u64) -> bool {
        let known = self.met.get(&(name, how));
        if known.is_some_and(|(later, longer)| op <= *later && until <= *longer) {
            return false;
        }
        self.met.insert((name, how), (op, until));
        true
    }

    /// Keeps what may have changed a name or how it is shared before `op`, or while it was
    /// carried out, until packet `until`.
    fn bear_on(&mut self, name: NameId, op: OpId, until: u64) {
        let index = self.index;
        let ops = index.by_name.get(name.index()).map(Vec::as_slice);
        let ops = ops.unwrap_or_default();
        let Some(done) = self.bearing.get_mut(name.index()) else {
            return;
        };
        let from = *done;
        let before =
            |other: &OpId| *other < op || index.line(*other).is_some_and(|it| it.frame < until);
        let to = from + ops.iter().skip(from).take_while(|it| before(it)).count();
        *done = to;
        for other in ops.get(from..to).unwrap_or_default() {
            self.add(*other, Reason::Before);
            if index.is_lost(*other)
                && let Some(released) = self.released.get_mut(name.index())
            {
                released.extend(releases(index, *other).map(Reverse));
            }
        }
        while let Some(released) = self.released.get_mut(name.index())
            && let Some(Reverse(at)) = released.peek().copied()
            && at < op
        {
            released.pop();
            self.add(at, Reason::Disconnect);
        }
    }

    /// Keeps what made, moved or deleted a folder before `op`.
    fn moved(&mut self, folder: NameId, op: OpId) {
        let index = self.index;
        let ops = index.by_name.get(folder.index()).map(Vec::as_slice);
        let ops = ops.unwrap_or_default();
        let Some(done) = self.moving.get_mut(folder.index()) else {
            return;
        };
        let from = *done;
        let to = from + ops.iter().skip(from).take_while(|it| **it < op).count();
        *done = to;
        for other in ops.get(from..to).unwrap_or_default() {
            let Some(line) = index.line(*other) else {
                continue;
            };
            let counts = line.done && (line.makes || line.deletes || line.renames_to.is_some());
            if counts {
                self.add(*other, Reason::Before);
            }
            // What is to be deleted goes when it is closed.
            let close = line.open.filter(|_| counts && line.deletes);
            let close = close.and_then(|open| index.closes.get(open.index()).copied().flatten());
            if let Some(close) = close {
                self.add(close, Reason::Before);
            }
        }
    }

    /// What the server waited for before it answered: a change, an unlock, a close. That came while
    /// the request was pending.
    fn answered_by(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        let (true, Some(name), Some(answered)) = (line.pending, line.name, line.answered) else {
            return;
        };
        let mut names = vec![name];
        if line.cmd == Command::CHANGE_NOTIFY {
            names.extend(index.names.below(name, line.deep));
        }
        for name in names {
            let ops = index.by_name.get(name.0 as usize);
            let ops = ops.map(Vec::as_slice).unwrap_or_default();
            let later = ops.partition_point(|other| *other <= op);
            for other in ops.get(later..).unwrap_or_default() {
                let in_time = index.line(*other).is_some_and(|it| it.frame < answered);
                if !in_time {
                    break;
                }
                self.add(*other, Reason::Answer);
            }
        }
    }

    /// Without causes: handles are closed and connections ended, as they were.
    fn closed_by(&mut self, op: OpId, line: &Line) {
        let index = self.index;
        let in_time = |op: &OpId| index.line(*op).is_some_and(|it| it.at_us < self.to_us);
        let close = line.open.filter(|_| line.cmd == Command::CREATE);
        let close = close.and_then(|open| index.closes.get(open.index()).copied().flatten());
        let close = close.filter(in_time);
        let end = index.ends.get(&line.conn).copied();
        let end = end.filter(in_time).filter(|end| *end > op);
        if let Some(close) = close {
            self.add(close, Reason::Close);
        }
        if let Some(end) = end {
            self.add(end, Reason::Disconnect);
        }
    }
}

/// What closed the handle of CREATE `create`, where no CLOSE did: the first that ended its session or
/// tree, or the end of its connection.
fn releases(index: &Index, create: OpId) -> impl Iterator<Item = OpId> {
    let line = index.line(create);
    let of_session = line.and_then(|line| index.releases.get(&line.session?));
    let released = of_session.and_then(|ops| {
        let later = ops.partition_point(|at| *at <= create);
        ops.get(later).copied()
    });
    let ended = line.and_then(|line| index.ends.get(&line.conn).copied());
    [released, ended.filter(|end| *end > create)]
        .into_iter()
        .flatten()
}
