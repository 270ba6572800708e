//! Builds a plan out of parts, in order: what depends on other operations.

use super::{
    Plan, PlanError, Resources,
    intern::{Index, Interned},
    op::{Answer, Head, Kind, LONG, Maybe, Packed, Place, Rare},
    part::{Draft, Part, Sort},
    refuse,
};
use std::collections::BTreeMap;

use crate::{
    confine::{Policy, Refusal},
    engine::config::{OrderMode, Pace, RunConfig},
    event::Milestone,
    function::Function,
    ids::OpId,
    order::{Arc, OrderBuilder, OrderError},
    smb2::{Command, Fsctl, NtStatus},
    workload::{DataRef, Edge, Rule, ShareKind, Workload},
};

/// Builds a [`Plan`] out of [`Part`]s.
#[derive(Debug)]
pub struct Planner {
    plan: Plan,
    order: OrderMode,
    policy: Policy,
    /// Where names of each tree are put.
    roots: Vec<String>,
    /// Requests that make something a link.
    links: Vec<OpId>,
    /// Pipes on which something is refused, and the first such operation.
    silenced: BTreeMap<u32, OpId>,
    /// Related requests of compounds, where that matters.
    related: Vec<OpId>,
    /// Whether think times are wanted.
    thinks: bool,
    places: Interned<Place>,
    heads: Interned<Head>,
    answers: Interned<Answer>,
    data: Interned<DataRef>,
    bodies: Index,
    arcs: OrderBuilder,
    /// What was said last on each open that is a pipe.
    spoken: BTreeMap<u32, OpId>,
    /// Members of compounds and their leaders.
    members: Vec<(OpId, OpId)>,
    /// Recorded times of interim responses, for think times.
    interims: Vec<(OpId, u64)>,
}

impl Planner {
    /// Begins a plan of `workload`, to be run as `config` says.
    #[must_use]
    pub fn new(workload: &Workload, config: &RunConfig) -> Self {
        let plan = Plan {
            resources: Resources::of(workload, config),
            first_on: vec![Maybe::NONE; workload.connections.len()],
            ..Plan::default()
        };
        Self {
            plan,
            order: config.order,
            policy: config.policy.clone(),
            roots: roots(workload, config),
            links: Vec::new(),
            silenced: BTreeMap::new(),
            spoken: BTreeMap::new(),
            related: Vec::new(),
            thinks: config.pace == Pace::Think,
            places: Interned::default(),
            heads: Interned::default(),
            answers: Interned::default(),
            data: Interned::default(),
            bodies: Index::default(),
            arcs: OrderBuilder::default(),
            members: Vec::new(),
            interims: Vec::new(),
        }
    }

    /// Number of operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plan.ops.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plan.ops.is_empty()
    }

    /// Appends the operations of `part`.
    ///
    /// # Errors
    ///
    /// [`PlanError::Misplaced`] and [`PlanError::Dangling`].
    pub fn add(&mut self, part: &Part) -> Result<(), PlanError> {
        self.warm_up(part);
        let mut edges = part.edges.as_slice();
        for draft in &part.drafts {
            let (own, rest) = edges.split_at_checked(draft.edges).unwrap_or_default();
            edges = rest;
            let (at, len) = draft.body;
            let body = part.bytes.get(at..at + len).unwrap_or_default();
            self.push(draft, own, body)?;
        }
        Ok(())
    }

    /// Brings what will be looked up near: one after the other, each would wait for memory alone.
    fn warm_up(&self, part: &Part) {
        let near = |draft: &Draft| {
            let data = draft.data.or(draft.seen_data);
            let data = data.map_or(0, |data| self.data.peek(&data));
            data ^ self.bodies.peek(draft.body_hash)
        };
        std::hint::black_box(part.drafts.iter().map(near).fold(0, |sum, it| sum ^ it));
    }

    /// The plan.
    ///
    /// # Errors
    ///
    /// [`PlanError::Order`] and [`PlanError::TooManyOpens`].
    pub fn finish(self) -> Result<Plan, PlanError> {
        let Self {
            mut plan,
            places,
            heads,
            answers,
            data,
            bodies,
            arcs,
            members,
            ..
        } = self;
        plan.resources.check_opens(plan.ops.len())?;
        // What only building needs makes room for the order.
        drop((bodies, self.interims));
        plan.places = places.items;
        plan.heads = heads.items;
        plan.answers = answers.items;
        plan.data = data.items;
        count_groups(&mut plan.ops, &members);
        drop(members);
        follow_logins(&mut plan);
        if self.policy.confined {
            refuse::torn_compounds(&mut plan, &self.related);
            refuse::links_on_top(&mut plan, &self.links, &self.roots);
            refuse::more_passwords(&mut plan, &self.policy);
            refuse::what_pipes_lack(&mut plan, &self.silenced);
        }
        if self.order == OrderMode::Capture {
            plan.rank_answers();
        }
        plan.graph = arcs.build(plan.ops.len())?;
        Ok(plan)
    }

    fn push(&mut self, draft: &Draft, edges: &[Edge], body: &[u8]) -> Result<(), PlanError> {
        let line = self.plan.ops.len();
        if draft.id.index() != line {
            return Err(PlanError::Misplaced { id: draft.id, line });
        }
        self.plan.resources.check(draft)?;
        if draft.leader.0.checked_add(draft.position.into()) != Some(draft.id.0) {
            return Err(PlanError::Compound { op: draft.id });
        }
        self.add_edges(draft, edges)?;
        if self.thinks {
            let think = self.think_us(draft, edges);
            self.plan.think_us.push(think);
            self.interims
                .extend(draft.interim_us.map(|us| (draft.id, us)));
        }
        if draft.leader != draft.id {
            self.members.push((draft.id, draft.leader));
        }
        let related = draft.related && self.policy.confined;
        self.related.extend(related.then_some(draft.id));
        if self.makes_link(draft, body) {
            self.links.push(draft.id);
        }
        self.count(draft);
        if let (Some(Refusal::RpcCall | Refusal::RpcAuth), Some(open)) =
            (draft.rare.refused, draft.open)
        {
            self.silenced.entry(open.0).or_insert(draft.id);
        }
        self.keep_order_on_pipe(draft);
        let rare = Rare {
            acknowledges: self.acknowledges(draft, edges),
            latency_us: draft.latency_us,
            ..draft.rare
        };
        let op = self.pack(draft, rare, body);
        self.plan.ops.push(op);
        Ok(())
    }

    fn pack(&mut self, draft: &Draft, rare: Rare, body: &[u8]) -> Packed {
        let place = Place {
            client: draft.client,
            conn: draft.conn,
            session: Maybe::of(draft.session.map(|it| it.0)),
            tree: Maybe::of(draft.tree.map(|it| it.0)),
        };
        let (latency_us, is_long) = match u32::try_from(draft.latency_us) {
            Ok(short) if short != LONG => (short, false),
            _ => (LONG, true),
        };
        let is_leg = draft.head.cmd == Command::SESSION_SETUP && draft.session.is_some();
        let ordinary = Rare {
            latency_us: draft.latency_us,
            ..Rare::NONE
        };
        let speaks = draft.head.cmd != Command::CLOSE;
        let is_rare = is_long
            || draft.related
            || speaks && self.is_on_pipe(draft)
            || self.makes_link(draft, body)
            || is_leg
            || rare != ordinary;
        if is_rare {
            self.plan.rares.push((draft.id, rare));
        }
        Packed {
            at_us: draft.at_us,
            value: draft.value,
            place: self.places.number(place),
            head: self.heads.number(draft.head),
            body: self.body(body, draft.body_hash),
            open: Maybe::of(draft.open.map(|it| it.0)),
            data: self.datum(draft.data),
            answer: match draft.answer {
                Some(answer) => Maybe::of(Some(self.answers.number(answer))),
                None => Maybe::NONE,
            },
            seen_data: self.datum(draft.seen_data),
            latency_us,
            leader: draft.leader,
            group: 1,
            is_rare,
        }
    }

    /// Whether it is a request that may turn out to make the top of its ground a link.
    fn makes_link(&self, draft: &Draft, body: &[u8]) -> bool {
        self.policy.confined && Function::of_body(draft.head.cmd, body) == MAKES_LINK
    }

    /// Operations on pipes may turn out to mean nothing: [`refuse::what_pipes_lack`] says so in their
    /// [`Rare`].
    fn is_on_pipe(&self, draft: &Draft) -> bool {
        let kinds = &self.plan.resources.tree_kinds;
        let kind = draft.tree.and_then(|tree| kinds.get(tree.index()));
        self.policy.confined && kind == Some(&ShareKind::Pipe)
    }

    /// What a call means depends on what was said before: it is let through in that order alone,
    /// whatever edges somebody wrote or took out.
    fn keep_order_on_pipe(&mut self, draft: &Draft) {
        let speaks = matches!(draft.head.cmd, Command::WRITE | Command::IOCTL);
        let Some(open) = draft.open.filter(|_| speaks && self.is_on_pipe(draft)) else {
            return;
        };
        let before = self.spoken.insert(open.0, draft.id);
        let leads = |from: &OpId| self.plan.ops.get(from.index()).map(|it| it.leader);
        if let Some(from) = before.filter(|from| leads(from) != Some(draft.leader)) {
            self.arcs.push(Arc {
                from,
                to: draft.leader,
                on: Milestone::Sent,
            });
        }
    }

    fn datum(&mut self, data: Option<DataRef>) -> Maybe {
        match data {
            Some(data) => Maybe::of(Some(self.data.number(data))),
            None => Maybe::NONE,
        }
    }

    fn body(&mut self, body: &[u8], hash: u64) -> Maybe {
        if body.is_empty() {
            return Maybe::NONE;
        }
        let next = u32::try_from(self.plan.body_ends.len()).unwrap_or(u32::MAX);
        let plan = &self.plan;
        let same = |at: u32| plan.body(Maybe::of(Some(at))) == body;
        let number = self.bodies.find_or(hash, next, same);
        if number == next {
            self.plan.bodies.extend_from_slice(body);
            self.plan.body_ends.push(self.plan.bodies.len());
        }
        Maybe::of(Some(number))
    }

    /// Edges bind the compound, not its members: a compound goes out as one.
    fn add_edges(&mut self, draft: &Draft, edges: &[Edge]) -> Result<(), OrderError> {
        let to = draft.leader;
        let ends = matches!(draft.sort, Sort::Disconnect { .. });
        let all = matches!(self.order, OrderMode::Resource | OrderMode::Capture);
        for edge in edges {
            if edge.id == draft.id {
                return Err(OrderError::Cycle {
                    operations: vec![draft.id],
                });
            }
            let from = self.plan.ops.get(edge.id.index());
            if from.is_some_and(|from| from.leader == to) {
                continue;
            }
            let same_client = || {
                let place = from.and_then(|from| self.places.items.get(from.place as usize));
                place.is_some_and(|place| place.client == draft.client)
            };
            if all || binds_within_client(edge, self.order, ends) && same_client() {
                self.arcs.push(Arc {
                    from: edge.id,
                    to,
                    on: edge.on,
                });
            }
        }
        Ok(())
    }

    fn think_us(&self, draft: &Draft, edges: &[Edge]) -> u64 {
        let happened = |edge: &Edge| {
            let from = self.plan.ops.get(edge.id.index())?;
            let latency = || self.plan.latency_of(edge.id, from);
            let interim = || {
                let at = self.interims.binary_search_by_key(&edge.id, |(op, _)| *op);
                let interim = at.ok().and_then(|at| self.interims.get(at));
                interim.map_or_else(latency, |(_, us)| *us)
            };
            let took = match edge.on {
                Milestone::Sent => 0,
                Milestone::Interim => interim(),
                Milestone::Response => latency(),
            };
            Some(from.at_us.saturating_add(took))
        };
        let last = edges.iter().filter_map(happened).max().unwrap_or(0);
        draft.at_us.saturating_sub(last)
    }

    fn acknowledges(&self, draft: &Draft, edges: &[Edge]) -> Option<OpId> {
        if draft.head.cmd != Command::OPLOCK_BREAK || draft.sort != Sort::Request {
            return None;
        }
        edges
            .iter()
            .filter(|edge| edge.rule == Rule::Break)
            .map(|edge| edge.id)
            .filter(|from| self.plan.notice(*from).is_some())
            .max()
    }

    /// Enters an operation where it will be looked for.
    fn count(&mut self, draft: &Draft) {
        let plan = &mut self.plan;
        let own = draft.head.kind != Kind::Foreign;
        plan.own += usize::from(own);
        let request = draft.sort == Sort::Request;
        let unanswered = draft.answer.is_none() || draft.head.cmd == Command::CANCEL;
        plan.without_answer += u64::from(request && unanswered);
        if let Some(first) = plan.first_on.get_mut(draft.conn.index())
            && first.get().is_none()
        {
            *first = Maybe::of(Some(draft.id.0));
        }
        match draft.sort {
            Sort::Break(notice) if own => plan.notices.push((draft.id, notice)),
            Sort::Disconnect {
                by_client: false, ..
            } if own => plan.hang_ups.push((draft.conn, draft.id)),
            _ => {}
        }
        if let (Command::SESSION_SETUP, Some(session)) = (draft.head.cmd, draft.session) {
            let legs = plan.legs.entry((draft.conn, session)).or_default();
            legs.push(draft.id);
        }
    }
}

/// Whether an edge between operations of one client binds where not all do.
fn binds_within_client(edge: &Edge, order: OrderMode, ends_connection: bool) -> bool {
    ends_connection
        || order == OrderMode::Client
        || matches!(edge.rule, Rule::Handle | Rule::Setup | Rule::Break)
}

/// Members of a compound stand one after the other.
fn count_groups(ops: &mut [Packed], members: &[(OpId, OpId)]) {
    for (member, leader) in members {
        if let Some(op) = ops.get_mut(leader.index()) {
            op.group = op.group.saturating_add(1);
        }
        if let Some(op) = ops.get_mut(member.index()) {
            op.group = 0;
        }
    }
}

/// Tells each leg of every recorded login how the login ended, and for whom it was: the last token
/// says so, and the first leg has to know.
fn follow_logins(plan: &mut Plan) {
    let legs = std::mem::take(&mut plan.legs);
    for legs in legs.values() {
        let (mut end, mut principal) = (None, None);
        for leg in legs.iter().rev() {
            let status = plan.op(*leg).and_then(|op| Some(op.answer?.status));
            match status {
                Some(NtStatus::MORE_PROCESSING_REQUIRED) => {}
                status => (end, principal) = (status, None),
            }
            let at = plan.rares.binary_search_by_key(leg, |(op, _)| *op);
            if let Some((_, rare)) = at.ok().and_then(|at| plan.rares.get_mut(at)) {
                rare.login_ends = end;
                principal = rare.principal.or(principal);
                rare.principal = principal;
            }
        }
    }
    plan.legs = legs;
}

/// The folder that names of each tree are put under; empty for none.
fn roots(workload: &Workload, config: &RunConfig) -> Vec<String> {
    let trees = workload.trees.iter().enumerate();
    let targets = trees.map(|(at, tree)| config.target(at, &tree.path));
    targets
        .map(|target| target.map_or_else(String::new, |target| target.root.clone()))
        .collect()
}

const MAKES_LINK: Function = Function::of_ioctl(Fsctl::SET_REPARSE_POINT);
