//! What is refused because of other operations: wrong passwords beyond a number, and what a pipe means
//! without a call that is not sent.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, op::Rare};
use crate::{
    confine::{Policy, Refusal, leads_down},
    ids::OpId,
    smb2::{Command, HEADER_LEN, Name, NtStatus},
};

/// Refuses the recorded logins with a wrong password that are too many for their account.
pub(super) fn more_passwords(plan: &mut Plan, policy: &Policy) {
    let Some(most) = policy.wrong_passwords else {
        return;
    };
    let mut tried: BTreeMap<u32, u32> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut attempts: Vec<(OpId, u32)> = Vec::new();
    for ((_, session), legs) in &plan.legs {
        let user = plan.resources.users.get(session.index()).copied();
        let mut goes_on = false;
        for leg in legs {
            let Some(op) = plan.op(*leg) else { continue };
            let wrong = op.rare.login_ends.is_some_and(NtStatus::is_logon_failure);
            let user = op.rare.principal.map(|it| it.0).or(user);
            if let Some(user) = user.filter(|_| wrong && !goes_on) {
                attempts.push((*leg, user));
            }
            let status = op.answer.map(|answer| answer.status);
            goes_on = status == Some(NtStatus::MORE_PROCESSING_REQUIRED);
        }
    }
    attempts.sort_unstable();
    for (leg, user) in attempts {
        let own = u32::MAX - user; // an account of its own, away from the numbers given
        let account = usize::try_from(user).ok();
        let account = account.and_then(|user| policy.accounts.get(user)).copied();
        let tried = tried.entry(account.unwrap_or(own)).or_default();
        *tried += 1;
        if *tried > most {
            refused.push(leg);
        }
    }
    for leg in refused {
        if let Some(rare) = rare_mut(plan, leg) {
            rare.refused = Some(Refusal::Password);
        }
    }
}

/// Refuses related requests that are of another session or tree than the request before them: servers
/// take both from there. [MS-SMB2] 3.3.5.2.7.2.
pub(super) fn torn_compounds(plan: &mut Plan, related: &[OpId]) {
    let torn = related.iter().filter(|id| {
        let before = id.0.checked_sub(1).and_then(|before| plan.op(OpId(before)));
        let (Some(op), Some(before)) = (plan.op(**id), before) else {
            return true;
        };
        let same = op.session == before.session && op.tree == before.tree;
        !same || op.leader != before.leader
    });
    let torn: Vec<OpId> = torn.copied().collect();
    for op in torn {
        if let Some(rare) = rare_mut(plan, op) {
            rare.refused = rare.refused.or(Some(Refusal::Unreadable));
        }
    }
}

/// Refuses to make a link of the top of a ground: where it leads counts from the folder that the link is in, and that
/// is not ours. The same where nobody knows what is made a link.
pub(super) fn links_on_top(plan: &mut Plan, links: &[OpId], roots: &[String]) {
    if links.is_empty() {
        return;
    }
    let mut inner = BTreeSet::new();
    let mut tops = BTreeSet::new();
    for id in (0u32..).take(plan.len()).map(OpId) {
        let Some(op) = plan.op(id).filter(|op| op.cmd == Command::CREATE) else {
            continue;
        };
        let root = op.tree.and_then(|tree| roots.get(tree.index()));
        let name = name_of(plan.body_of(&op));
        let down = name.is_some_and(|name| {
            let below = name.strip_prefix(root.map_or("", String::as_str));
            below.is_some_and(leads_down)
        });
        if let Some(open) = op.open {
            if down { &mut inner } else { &mut tops }.insert(open);
        }
    }
    for link in links {
        let open = plan.op(*link).and_then(|op| op.open);
        let is_inner = open.is_some_and(|open| inner.contains(&open) && !tops.contains(&open));
        if !is_inner && let Some(rare) = rare_mut(plan, *link) {
            rare.refused = rare.refused.or(Some(Refusal::Fsctl));
        }
    }
}

/// The name in a CREATE's body. [MS-SMB2] 2.2.13
fn name_of(body: &[u8]) -> Option<String> {
    let half = |at: usize| {
        let bytes = body.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    };
    let start = half(NAME_OFFSET_AT)?.checked_sub(HEADER_LEN)?;
    let name = body.get(start..start.checked_add(half(NAME_OFFSET_AT + 2)?)?)?;
    Name::from_wire(name).as_text().map(str::to_owned)
}

/// Where a CREATE's body says where its name begins; its length follows.
const NAME_OFFSET_AT: usize = 44;

/// Says of what was done on a pipe after a refused call, and of READs that waited for its answer, that
/// they mean nothing without it.
pub(super) fn what_pipes_lack(plan: &mut Plan, silenced: &BTreeMap<u32, OpId>) {
    if silenced.is_empty() {
        return;
    }
    let mut lacking = Vec::new();
    for id in (0u32..).take(plan.len()).map(OpId) {
        let Some(op) = plan.op(id) else { continue };
        let lost = op.open.and_then(|open| silenced.get(&open.0)).copied();
        let Some(lost) = lost.filter(|lost| *lost != id && op.cmd != Command::CLOSE) else {
            continue;
        };
        let refused_at = plan.op(lost).map_or(0, |lost| lost.at_us);
        let answered_at = op.at_us.saturating_add(op.latency_us);
        let waited = op.cmd == Command::READ && answered_at > refused_at;
        if op.rare.refused.is_none() && op.cmd != Command::CREATE && (id > lost || waited) {
            lacking.push((id, lost));
        }
    }
    for (id, lost) in lacking {
        if let Some(rare) = rare_mut(plan, id) {
            rare.without = Some(lost);
        }
    }
}

fn rare_mut(plan: &mut Plan, op: OpId) -> Option<&mut Rare> {
    let at = plan.rares.binary_search_by_key(&op, |(op, _)| *op);
    let found = at.ok().and_then(|at| plan.rares.get_mut(at));
    debug_assert!(
        found.is_some(),
        "every SESSION_SETUP, related request, link and operation on a pipe is rare"
    );
    found.map(|(_, rare)| rare)
}
