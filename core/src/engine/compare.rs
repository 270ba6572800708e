//! What a response said, and in what it differs from the recorded one.

use super::{
    config::Grants,
    plan::{Plan, PlanOp},
    view::{View, create},
};
use crate::{
    event::{Divergence, Outcome},
    frame::{Content, Cut, Digest},
    smb2::{Command, HEADER_LEN, Header, OplockLevel},
};

/// An oplock level, or `0x100` plus the bits of a lease state.
pub(super) fn grant_code(oplock: u8, lease_state: Option<u32>) -> u32 {
    match lease_state {
        Some(state) if OplockLevel(oplock) == OplockLevel::LEASE => LEASE_BASE | state & 0xff,
        _ => u32::from(oplock),
    }
}

/// Grant code of a lease state.
pub(super) const fn lease_code(state: u32) -> u32 {
    LEASE_BASE | state & 0xff
}

/// What a final response says. `None` when it claims success and its body does not parse.
pub(super) fn outcome(header: &Header, pdu: &[u8], cut: Option<&Cut>) -> Option<Outcome> {
    let status = header.nt_status();
    let mut outcome = Outcome {
        status,
        ..Outcome::default()
    };
    let view = View(pdu);
    let size = view.structure_size()?;
    if size == ERROR_SIZE && status.is_error() {
        return Some(outcome);
    }
    match (header.command, size) {
        (Command::CREATE, 89) => {
            let oplock = view.u8(create::OPLOCK)?;
            view.file_id(create::FILE_ID)?;
            outcome.grant = Some(grant_code(oplock, view.lease().map(|(_, state)| state)));
            outcome.create_action = view.u32(create::ACTION);
            outcome.size = view.u64(create::END_OF_FILE);
        }
        (Command::READ, 17) => {
            outcome.size = view.u32(HEADER_LEN + 4).map(u64::from);
            outcome.data = cut.and_then(data_digest);
            // Data that are not in the frame where it says were not cut out of it.
            if outcome.data.is_none() && outcome.size != Some(0) {
                return None;
            }
        }
        (Command::WRITE, 17) => outcome.size = view.u32(HEADER_LEN + 4).map(u64::from),
        (Command::NEGOTIATE, 65) => outcome.dialect = view.u16(HEADER_LEN + 4),
        (Command::QUERY_DIRECTORY | Command::CHANGE_NOTIFY | Command::QUERY_INFO, 9) => {
            let at = usize::from(view.u16(HEADER_LEN + 2)?);
            holds(pdu, 8, at, view.u32(HEADER_LEN + 4)?)?;
        }
        (Command::IOCTL, 49) => {
            // The input comes back in no answer that is worth anything.
            let at = view.u32(HEADER_LEN + 32)?;
            let len = view.u32(HEADER_LEN + 36)?;
            holds(pdu, 48, usize::try_from(at).ok()?, len)?;
        }
        (Command::CREATE | Command::READ | Command::WRITE | Command::NEGOTIATE, _) => return None,
        _ => {}
    }
    Some(outcome)
}

/// In what `seen` differs from what `op` had in the recording, most telling first.
pub(super) fn differences(
    plan: &Plan,
    op: &PlanOp<'_>,
    seen: &Outcome,
    grants: Grants,
    mut found: impl FnMut(Divergence),
) {
    let Some(recorded) = op.answer else {
        return;
    };
    if recorded.status != seen.status {
        found(Divergence::Status {
            recorded: recorded.status,
            seen: seen.status,
        });
        return;
    }
    if let (Some(recorded), Some(seen)) = (recorded.dialect, seen.dialect)
        && recorded != seen
    {
        found(Divergence::Dialect { recorded, seen });
    }
    if let (Some(recorded), Some(seen)) = (recorded.action, seen.create_action)
        && recorded != seen
    {
        found(Divergence::CreateAction { recorded, seen });
    }
    if let (Some(recorded), Some(seen)) = (recorded.grant, seen.grant)
        && recorded != seen
        && (grants == Grants::All || recorded != BARE_LEASE)
    {
        found(Divergence::Grant { recorded, seen });
    }
    if let (Some(recorded), Some(seen)) = (op.recorded_size(), seen.size)
        && recorded != seen
    {
        found(Divergence::Size { recorded, seen });
        return;
    }
    if let (Some(recorded), Some(seen)) = (plan.recorded_data(op), seen.data)
        && recorded != seen
    {
        found(Divergence::Data { recorded, seen });
    }
}

/// Something only where `len` bytes lie behind the fixed part of a body, and in the PDU, from `at` on.
fn holds(pdu: &[u8], fixed: usize, at: usize, len: u32) -> Option<()> {
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let inside = at >= HEADER_LEN + fixed && end <= pdu.len();
    (len == 0 || inside).then_some(())
}

fn data_digest(cut: &Cut) -> Option<Digest> {
    match cut.content {
        Content::Data(digest) => Some(digest),
        Content::Token => None,
    }
}

const LEASE_BASE: u32 = 0x100;
/// The level LEASE, where nothing tells what was granted.
const BARE_LEASE: u32 = 0xff;
const ERROR_SIZE: u16 = 9;
