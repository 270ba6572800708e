//! Share modes, oplocks, leases, durable handles.

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::create_context::{DurableReconnectV2, DurableRequestV2};
use smbench_core::smb2::*;

use super::client::{Client, Net, create, granted, lease, with_lease, with_oplock};
use crate::server::Plant;

#[test]
fn share_modes_hold_both_ways() {
    let bits = [
        (AccessMask::READ_DATA, ShareAccess::READ),
        (AccessMask::WRITE_DATA, ShareAccess::WRITE),
        (AccessMask::DELETE, ShareAccess::DELETE),
    ];
    let pick = |mask: u32| {
        let mut access = AccessMask::READ_ATTRIBUTES;
        let mut share = ShareAccess::empty();
        for (index, (right, allows)) in bits.iter().enumerate() {
            access.set(*right, mask >> index & 1 != 0);
            share.set(*allows, mask >> (index + 3) & 1 != 0);
        }
        (access, share)
    };
    for first in 0..64 {
        for second in 0..64 {
            let (have, want) = (pick(first), pick(second));
            let rights = |mask: u32| mask & 7;
            let shares = |mask: u32| mask >> 3;
            let conflict = rights(first) != 0
                && rights(second) != 0
                && (rights(second) & !shares(first) != 0 || rights(first) & !shares(second) != 0);
            let mut net = Net::new();
            let mut a = net.client("a");
            let body = |(desired_access, share_access)| CreateRequest {
                desired_access,
                share_access,
                ..create("f")
            };
            net.call(&mut a, body(have)).ok();
            let got = net.call(&mut a, body(want)).status();
            let expected = if conflict {
                NtStatus::SHARING_VIOLATION
            } else {
                NtStatus::SUCCESS
            };
            assert_eq!(got, expected, "{have:?} then {want:?}");
        }
    }
}

#[test]
fn a_planted_server_ignores_share_modes() {
    let mut net = Net::planted(Plant::IgnoreShareMode);
    let mut a = net.client("a");
    let body = CreateRequest {
        share_access: ShareAccess::empty(),
        ..create("f")
    };
    net.call(&mut a, body.clone()).ok();
    net.call(&mut a, body).ok();
}

/// Opens with a batch oplock, and lets another open wait for it.
fn waiting_open(net: &mut Net) -> (Client, FileId, Client, MessageId) {
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let body = with_oplock("f", OplockLevel::BATCH);
    let first = net.call(&mut a, body).created();
    assert_eq!(first.oplock_level, OplockLevel::BATCH);
    let id = net.send(&mut b, create("f"));
    let interim = net.answer(&b, id).unwrap();
    assert_eq!(interim.status(), NtStatus::PENDING);
    assert!(interim.header.is_async());
    assert!(net.answer(&b, id).is_none());
    let Some(Response::OplockBreak(told)) = net.notification(&a) else {
        panic!("no break");
    };
    assert_eq!(told.oplock_level, OplockLevel::LEVEL_II);
    assert_eq!(told.file_id, first.file_id);
    (a, first.file_id, b, id)
}

#[test]
fn a_batch_oplock_breaks_and_the_open_waits() {
    let mut net = Net::new();
    let (mut a, file_id, b, id) = waiting_open(&mut net);
    let body = OplockBreakAck {
        oplock_level: OplockLevel::LEVEL_II,
        file_id,
    };
    net.call(&mut a, body).ok();
    let opened = net.answer(&b, id).unwrap();
    assert_eq!(opened.header.credits, 0, "the interim response granted");
    opened.created();
    assert_eq!(net.server.next_wake(), None);
    // A second acknowledgement has nothing to acknowledge.
    let again = net.call(&mut a, body).status();
    assert_eq!(again, NtStatus::INVALID_OPLOCK_PROTOCOL);
}

#[test]
fn closing_answers_a_break_too() {
    let mut net = Net::new();
    let (mut a, file_id, b, id) = waiting_open(&mut net);
    net.close(&mut a, file_id);
    net.answer(&b, id).unwrap().created();
}

#[test]
fn a_break_that_nobody_answers_runs_out() {
    let mut net = Net::new();
    let (_a, _file, b, id) = waiting_open(&mut net);
    let wake = net.server.next_wake().unwrap();
    assert_eq!(wake, LogicalTime(30_000_000_000));
    net.wake_at(LogicalTime(29_999_999_999));
    assert!(net.answer(&b, id).is_none());
    net.wake_at(wake);
    net.answer(&b, id).unwrap().created();
    assert_eq!(net.server.counters().breaks_timed_out, 1);
}

#[test]
fn an_open_that_waits_can_be_cancelled() {
    let mut net = Net::new();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    net.call(&mut a, with_oplock("f", OplockLevel::EXCLUSIVE))
        .ok();
    let id = net.send(&mut b, create("f"));
    let interim = net.answer(&b, id).unwrap();
    net.cancel(&mut b, &interim);
    assert_eq!(net.answer(&b, id).unwrap().status(), NtStatus::CANCELLED);
}

#[test]
fn a_write_breaks_level_two() {
    let mut net = Net::new();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let body = with_oplock("f", OplockLevel::LEVEL_II);
    net.call(&mut a, body).created();
    let file = net.open(&mut b, "f");
    net.write(&mut b, file, 0, b"x");
    let Some(Response::OplockBreak(told)) = net.notification(&a) else {
        panic!("no break");
    };
    assert_eq!(told.oplock_level, OplockLevel::NONE);
}

#[test]
fn leases_break_in_steps_and_count_epochs() {
    for version in [1, 2] {
        let mut net = Net::new();
        let (mut a, mut b) = (net.client("a"), net.client("b"));
        let first = net.call(&mut a, with_lease("f", 1, 7, version)).created();
        let epoch = u16::from(version == 2);
        assert_eq!(granted(&first), Some((7, epoch)));
        let id = net.send(&mut b, with_lease("f", 2, 7, version));
        assert_eq!(net.answer(&b, id).unwrap().status(), NtStatus::PENDING);
        let Some(Response::LeaseBreakNotification(told)) = net.notification(&a) else {
            panic!("no break");
        };
        assert_eq!(told.flags, LeaseBreakFlags::ACK_REQUIRED);
        assert_eq!(told.current_lease_state.bits(), 7);
        assert_eq!(told.new_lease_state.bits(), 3);
        assert_eq!(told.new_epoch, 2 * epoch);
        let ack = |state| LeaseBreakAck {
            lease_key: Guid([1; 16]),
            lease_state: LeaseState::from_bits_retain(state),
            ..LeaseBreakAck::default()
        };
        let more = net.call(&mut a, ack(7)).status();
        assert_eq!(more, NtStatus::REQUEST_NOT_ACCEPTED);
        net.call(&mut a, ack(3)).ok();
        let second = net.answer(&b, id).unwrap().created();
        assert_eq!(granted(&second), Some((3, epoch)));
        let late = net.call(&mut a, ack(3)).status();
        assert_eq!(late, NtStatus::UNSUCCESSFUL);
        // A sharing violation takes handle caching first.
        let body = CreateRequest {
            share_access: ShareAccess::empty(),
            ..create("f")
        };
        let id = net.send(&mut b, body);
        assert_eq!(net.answer(&b, id).unwrap().status(), NtStatus::PENDING);
        net.call(&mut a, ack(1)).ok();
        let mut ack_b = ack(1);
        ack_b.lease_key = Guid([2; 16]);
        net.call(&mut b, ack_b).ok();
        let got = net.answer(&b, id).unwrap().status();
        assert_eq!(got, NtStatus::SHARING_VIOLATION);
        net.notification(&a).unwrap();
        // A write takes the rest, unacknowledged.
        net.write(&mut b, second.file_id, 0, b"x");
        let Some(Response::LeaseBreakNotification(told)) = net.notification(&a) else {
            panic!("no break");
        };
        assert_eq!(told.flags, LeaseBreakFlags::empty());
        assert_eq!(told.new_lease_state.bits(), 0);
        assert_eq!(told.new_epoch, 4 * epoch);
    }
}

#[test]
fn one_lease_is_many_opens() {
    let mut net = Net::new();
    let mut a = net.client("a");
    net.call(&mut a, with_lease("f", 1, 3, 2)).created();
    let again = net.call(&mut a, with_lease("f", 1, 7, 2)).created();
    assert_eq!(granted(&again), Some((7, 2)), "raised");
    let lower = net.call(&mut a, with_lease("f", 1, 1, 2)).created();
    assert_eq!(granted(&lower), Some((7, 2)), "kept");
    let other = net.call(&mut a, with_lease("g", 1, 7, 2)).status();
    assert_eq!(other, NtStatus::INVALID_PARAMETER);
    assert!(net.notification(&a).is_none());
}

#[test]
fn planted_breaks_misbehave() {
    let mut net = Net::planted(Plant::NoOplockBreak);
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    net.call(&mut a, with_lease("f", 1, 7, 2)).ok();
    net.call(&mut b, create("f")).ok();
    assert!(net.notification(&a).is_none());

    let mut net = Net::planted(Plant::LeaseEpochStuck);
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    net.call(&mut a, with_lease("f", 1, 7, 2)).ok();
    net.send(&mut b, create("f"));
    let Some(Response::LeaseBreakNotification(told)) = net.notification(&a) else {
        panic!("no break");
    };
    assert_eq!(told.new_epoch, 1);

    let mut net = Net::planted(Plant::AckIgnored);
    let (mut a, file_id, b, id) = waiting_open(&mut net);
    let oplock_level = OplockLevel::LEVEL_II;
    let ack = OplockBreakAck {
        oplock_level,
        file_id,
    };
    net.call(&mut a, ack).ok();
    assert!(net.answer(&b, id).is_none());
}

fn durable(name: &str) -> CreateRequest {
    CreateRequest {
        contexts: vec![
            lease(1, 7, 2),
            CreateContext {
                tag: ContextTag::DH2Q,
                data: ContextData::DurableRequestV2(DurableRequestV2 {
                    create_guid: Guid([5; 16]),
                    ..DurableRequestV2::default()
                }),
            },
        ],
        ..with_lease(name, 1, 7, 2)
    }
}

fn reclaim(name: &str, file_id: FileId) -> CreateRequest {
    let data = ContextData::DurableReconnectV2(DurableReconnectV2 {
        file_id,
        create_guid: Guid([5; 16]),
        ..DurableReconnectV2::default()
    });
    let tag = ContextTag::DH2C;
    CreateRequest {
        contexts: vec![lease(1, 7, 2), CreateContext { tag, data }],
        ..with_lease(name, 1, 7, 2)
    }
}

#[test]
fn durable_handles_outlive_their_connection() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let made = net.call(&mut a, durable("f")).created();
    assert!(made.contexts.iter().any(|c| c.tag == ContextTag::DH2Q));
    net.write(&mut a, made.file_id, 0, b"kept");
    net.disconnect(&a);
    assert_eq!(net.server.open_count(), 1);
    let mut stranger = net.client("s");
    let no = net.call(&mut stranger, reclaim("f", made.file_id)).status();
    assert_eq!(no, NtStatus::ACCESS_DENIED);
    let mut a = net.client("a");
    let back = net.call(&mut a, reclaim("f", made.file_id)).created();
    assert_eq!(back.file_id.persistent, made.file_id.persistent);
    assert_eq!(granted(&back).map(|lease| lease.0), Some(7));
    assert_eq!(net.read(&mut a, back.file_id, 0, 9).unwrap(), b"kept");
    let twice = net.call(&mut a, reclaim("f", made.file_id)).status();
    assert_eq!(twice, NtStatus::OBJECT_NAME_NOT_FOUND);
    // Left alone it is closed after its time.
    net.disconnect(&a);
    net.wake_at(net.server.next_wake().unwrap());
    assert_eq!(net.server.open_count(), 0);
    assert_eq!(net.server.counters().durable_expired, 1);
}

#[test]
fn a_conflicting_open_closes_a_disconnected_one() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let made = net.call(&mut a, durable("f")).created();
    net.disconnect(&a);
    let mut b = net.client("b");
    net.call(&mut b, create("f")).created();
    assert_eq!(net.server.open_count(), 1);
    let mut a = net.client("a");
    let gone = net.call(&mut a, reclaim("f", made.file_id)).status();
    assert_eq!(gone, NtStatus::OBJECT_NAME_NOT_FOUND);
}

#[test]
fn a_previous_session_is_replaced() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let kept = net.call(&mut a, durable("f")).created();
    net.open(&mut a, "plain");
    let mut again = net.client_of("a", Dialect::SMB_3_0_2, a.session.0);
    assert_eq!(net.server.open_count(), 1);
    net.call(&mut again, reclaim("f", kept.file_id)).created();
    let old = net.call(&mut a, create("f")).status();
    assert_eq!(old, NtStatus::USER_SESSION_DELETED);
}
