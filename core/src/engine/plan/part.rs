//! A stretch of a workload on its way into a plan: what can be worked out of each operation alone.
//!
//! Reading lines and writing requests is most of the work of loading, and no operation needs
//! another one for it: a [`Drafter`] does it to a [`Part`] at a time, on as many threads as its
//! owner likes, and [`super::Planner`] takes the parts in order.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{compare, config::RunConfig},
    memo::{Memo, Text},
    op::{Answer, Head, Kind, Marks, Rare},
    template::{self, Written},
};
use crate::{
    confine::{Ground, Refusal, is_dfs},
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, HEADER_LEN, Request},
    workload::{Action, BreakNotice, DataRef, Edge, Expect, Operation, ShareKind, Workload},
};

/// Operations of a workload in order, drafted.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub(super) drafts: Vec<Draft>,
    pub(super) edges: Vec<Edge>,
    /// Bodies of requests, each at its [`Draft::body`].
    pub(super) bytes: Vec<u8>,
}

impl Part {
    /// An empty part, in the memory of this one.
    pub fn clear(&mut self) {
        self.drafts.clear();
        self.edges.clear();
        self.bytes.clear();
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }
}

/// What an operation stands for, whoever runs it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sort {
    Request,
    Smb1Negotiate,
    Break(BreakNotice),
    Disconnect { by_client: bool, reset: bool },
}

/// All of an operation that does not depend on others.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: OpId,
    pub(super) at_us: u64,
    pub(super) client: ClientId,
    pub(super) conn: ConnId,
    pub(super) session: Option<SessionRef>,
    pub(super) tree: Option<TreeRef>,
    pub(super) open: Option<OpenRef>,
    pub(super) leader: OpId,
    /// Its place in its compound.
    pub(super) position: u16,
    /// A related request of a compound.
    pub(super) related: bool,
    pub(super) sort: Sort,
    pub(super) head: Head,
    /// Its body among the bytes of the part: where it begins, and its length.
    pub(super) body: (usize, usize),
    pub(super) body_hash: u64,
    pub(super) value: u64,
    pub(super) data: Option<DataRef>,
    pub(super) seen_data: Option<DataRef>,
    pub(super) answer: Option<Answer>,
    pub(super) latency_us: u64,
    pub(super) interim_us: Option<u64>,
    pub(super) rare: Rare,
    /// How many of the part's edges end here.
    pub(super) edges: usize,
}

/// Drafts operations.
#[derive(Debug)]
pub struct Drafter<'a> {
    grounds: Grounds<'a>,
    memo: Memo,
    scratch: Vec<u8>,
}

impl<'a> Drafter<'a> {
    /// Drafts operations of `workload` to be run as `config` says.
    #[must_use]
    pub fn new(workload: &'a Workload, config: &'a RunConfig) -> Self {
        Self {
            grounds: Grounds::new(workload, config),
            memo: Memo::default(),
            scratch: Vec::new(),
        }
    }

    /// Appends `op` to `part`. Requests are only written for operations that are `own`.
    pub fn draft(&mut self, op: &Operation, own: bool, part: &mut Part) {
        let sort = match &op.action {
            Action::Request(_) => Sort::Request,
            Action::Smb1Negotiate(_) => Sort::Smb1Negotiate,
            Action::Break(notice) => Sort::Break(*notice),
            Action::Disconnect(end) => Sort::Disconnect {
                by_client: end.by_client,
                reset: end.reset,
            },
        };
        let written = match &op.action {
            Action::Request(request) if own => {
                let (_, ground) = self.grounds.of(op.tree);
                template::write(op, request.clone(), ground, &mut part.bytes)
            }
            Action::Smb1Negotiate(bytes) if own && !self.may_send_smb1(bytes) => Written {
                body_at: part.bytes.len(),
                refused: Some(Refusal::Unreadable),
                ..Written::default()
            },
            Action::Smb1Negotiate(bytes) if own => {
                let body_at = part.bytes.len();
                part.bytes.extend_from_slice(bytes);
                Written {
                    body_at,
                    ..Written::default()
                }
            }
            _ => Written {
                body_at: part.bytes.len(),
                ..Written::default()
            },
        };
        let refused = self.grounds.refuses(op, &written, &part.bytes);
        push(op, sort, own, &written, refused, part);
    }

    /// Nothing but the NEGOTIATE that offers SMB2. [MS-SMB2] 3.3.5.3.
    fn may_send_smb1(&self, bytes: &[u8]) -> bool {
        !self.grounds.treeless.policy.confined || bytes.starts_with(b"\xffSMB\x72")
    }

    /// As [`Self::draft`] for a request that is still the text `request`; [`Operation::action`] is
    /// not looked at. Texts that came before need not be parsed.
    ///
    /// # Errors
    ///
    /// What `parse` says of the text. Nothing is appended then.
    pub fn draft_text<E>(
        &mut self,
        op: &Operation,
        request: &[u8],
        own: bool,
        part: &mut Part,
        parse: impl FnOnce(&[u8]) -> Result<Request, E>,
    ) -> Result<(), E> {
        let (number, ground) = self.grounds.of(op.tree);
        // Whether a call on a pipe is sent depends on what was said there before.
        let on_pipe = ground.policy.confined && ground.kind == ShareKind::Pipe;
        let plain = op.quirks.is_empty() && op.reclaims.is_none() && !is_dfs(op);
        let alike = own && plain && !on_pipe;
        if !alike {
            let parsed = parse(request)?;
            let written = if own {
                template::write(op, parsed, ground, &mut part.bytes)
            } else {
                Written {
                    body_at: part.bytes.len(),
                    ..Written::default()
                }
            };
            let refused = self.grounds.refuses(op, &written, &part.bytes);
            push(op, Sort::Request, own, &written, refused, part);
            return Ok(());
        }
        let text = Text::new(request, op.cmd, op.open.is_some(), number);
        let body_at = part.bytes.len();
        let written = match self.memo.find(&text) {
            Some((body, marks)) => {
                part.bytes.extend_from_slice(body);
                Written {
                    marks,
                    header: template::header(op, ground, &mut self.scratch),
                    body_at,
                    offset: text.offset,
                    refused: None,
                }
            }
            None => {
                let parsed = parse(request)?;
                let written = template::write(op, parsed, ground, &mut part.bytes);
                let body = part.bytes.get(written.body_at..).unwrap_or_default();
                self.memo.keep(&text, &written, body);
                written
            }
        };
        let refused = self.grounds.refuses(op, &written, &part.bytes);
        push(op, Sort::Request, own, &written, refused, part);
        Ok(())
    }
}

/// Appends the draft of `op`, whose body has just been written.
fn push(
    op: &Operation,
    sort: Sort,
    own: bool,
    written: &Written,
    refused: Option<Refusal>,
    part: &mut Part,
) {
    let kind = match sort {
        _ if !own => Kind::Foreign,
        Sort::Request => Kind::Request,
        Sort::Smb1Negotiate => Kind::Smb1Negotiate,
        Sort::Break(_) => Kind::Break,
        Sort::Disconnect { by_client, reset } => Kind::Disconnect { by_client, reset },
    };
    let expect = op.expect.as_ref();
    let answer = expect.map(answer);
    let value = match expect.and_then(|expect| expect.size) {
        _ if written.marks.has_offset => written.offset,
        Some(size) if op.cmd == Command::CREATE => size,
        _ => 0,
    };
    let body = part.bytes.get(written.body_at..).unwrap_or_default();
    let (body_at, body_len, body_hash) = (written.body_at, body.len(), xxh3_64(body));
    part.edges.extend_from_slice(&op.after);
    part.drafts.push(Draft {
        id: op.id,
        at_us: op.at_us,
        client: op.client,
        conn: op.conn,
        session: op.session,
        tree: op.tree,
        open: op.open,
        leader: op.compound.map_or(op.id, |compound| compound.first),
        position: op.compound.map_or(0, |compound| compound.position),
        related: op.compound.is_some_and(|it| it.related && it.position > 0),
        sort,
        head: head(op, kind, &written.marks, written.header),
        body: (body_at, body_len),
        body_hash,
        value,
        data: op.data,
        seen_data: expect.and_then(|expect| expect.data),
        answer,
        latency_us: expect.map_or(0, |expect| expect.latency_us),
        interim_us: expect.and_then(|expect| expect.interim_us),
        rare: Rare {
            reclaims: op.reclaims,
            resume_key_of: op.resume_key_of,
            previous_session: op.previous_session,
            principal: op.principal,
            cancels: op.cancels,
            refused,
            reconstructed: op.reconstructed,
            ..Rare::NONE
        },
        edges: op.after.len(),
    });
}

/// Where operations are to be carried out, by their tree.
#[derive(Debug)]
struct Grounds<'a> {
    by_tree: Vec<(u32, Ground<'a>)>,
    /// For what has no tree.
    treeless: Ground<'a>,
    /// The session of each tree.
    sessions: Vec<SessionRef>,
}

impl<'a> Grounds<'a> {
    fn new(workload: &'a Workload, config: &'a RunConfig) -> Self {
        let policy = &config.policy;
        let mut numbers = BTreeMap::new();
        let by_tree = workload.trees.iter().enumerate().map(|(at, tree)| {
            let (kind, target) = (tree.kind(), config.target(at, &tree.path));
            let alike = (kind, target.map(|it| (&it.path, &it.root)));
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX) + 1;
            let number = *numbers.entry(alike).or_insert(next);
            (
                number,
                Ground {
                    policy,
                    kind,
                    target,
                },
            )
        });
        let by_tree: Vec<_> = by_tree.collect();
        // What names something without a tree is refused by the server, wherever it is put.
        let any = by_tree.iter().find(|(_, it)| it.kind.is_confined());
        let target = any
            .and_then(|(_, it)| it.target)
            .filter(|_| policy.confined);
        let kind = ShareKind::Unknown;
        Self {
            treeless: Ground {
                policy,
                kind,
                target,
            },
            by_tree,
            sessions: workload.trees.iter().map(|tree| tree.session).collect(),
        }
    }

    /// Why `op`, as it is written, is not sent on confined ground: for what it asks for, because it uses a
    /// tree of another session than its own, or because its data is not as long as it says.
    fn refuses(&self, op: &Operation, written: &Written, bytes: &[u8]) -> Option<Refusal> {
        if !self.treeless.policy.confined || written.refused.is_some() {
            return written.refused;
        }
        let of = op.tree.and_then(|tree| self.sessions.get(tree.index()));
        if of.is_some_and(|session| Some(*session) != op.session) {
            return Some(Refusal::Tree);
        }
        let is_write = op.cmd == Command::WRITE && matches!(op.action, Action::Request(_));
        let length = bytes
            .get(written.body_at + WRITE_LENGTH_AT..)?
            .first_chunk();
        let data = op.data.map_or(0, |data| data.len);
        let lies = is_write && length.is_some_and(|it| u32::from_le_bytes(*it) != data);
        lies.then_some(Refusal::Unreadable)
    }

    /// The ground of what belongs to `tree`, and its number: on grounds of one number requests are
    /// written alike.
    fn of(&self, tree: Option<TreeRef>) -> (u32, Ground<'a>) {
        let found = tree.and_then(|tree| self.by_tree.get(tree.index()));
        found.copied().unwrap_or((0, self.treeless))
    }
}

fn head(op: &Operation, kind: Kind, marks: &Marks, header: Option<[u8; HEADER_LEN]>) -> Head {
    Head::new(kind, (op.cmd, op.charge, op.credits), marks, header)
}

fn answer(expect: &Expect) -> Answer {
    let directory = expect
        .attributes
        .is_some_and(|bits| bits & ATTRIBUTE_DIRECTORY != 0);
    let lease = expect.lease.map(|lease| lease.state.bits());
    Answer {
        status: expect.status,
        dialect: expect.dialect.map(|dialect| dialect.0),
        action: expect.action,
        grant: expect.oplock.map(|it| compare::grant_code(it.0, lease)),
        count: expect.count,
        sized: expect.size.is_some() && !directory,
    }
}

const ATTRIBUTE_DIRECTORY: u32 = 0x10;
/// Where a WRITE's body says how long its data is. [MS-SMB2] 2.2.21
const WRITE_LENGTH_AT: usize = 4;
