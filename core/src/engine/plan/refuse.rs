//! What is refused because of other operations: wrong passwords beyond a number, and what a pipe means
//! without a call that is not sent.

use std::collections::BTreeMap;

use super::{Plan, op::Rare};
use crate::{
    confine::{Policy, Refusal},
    ids::OpId,
    smb2::{Command, NtStatus},
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
        "every SESSION_SETUP, related request and operation on a pipe is rare"
    );
    found.map(|(_, rare)| rare)
}
