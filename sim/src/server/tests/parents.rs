//! Leases of directories.

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::*;

use super::client::{
    Client, Net, config, create, directory, granted, lease, rename_buffer, with_lease,
};
use crate::server::{Plant, ServerConfig};

const NEW: Dialect = Dialect::SMB_3_0_2;
const DIR: u8 = 9;

/// A client that knows leases of directories; clients of one name are one.
fn client(net: &mut Net, name: &str) -> Client {
    net.client_with(name, NEW, 0, Capabilities::DIRECTORY_LEASING)
}

fn leased(state: u32, version: u8) -> CreateRequest {
    CreateRequest {
        create_options: CreateOptions::DIRECTORY_FILE,
        ..with_lease("d", DIR, state, version)
    }
}

/// A file in the directory, opened by who says that the directory's lease is `parent`.
fn below(name: &str, key: u8, parent: u8) -> CreateRequest {
    let mut context = lease(key, 0, 2);
    if let ContextData::Lease(lease) = &mut context.data {
        lease.flags = LeaseFlags::PARENT_LEASE_KEY_SET;
        lease.parent_key = Guid([parent; 16]);
    }
    CreateRequest {
        requested_oplock_level: OplockLevel::LEASE,
        contexts: vec![context],
        ..create(name)
    }
}

fn told(net: &mut Net, client: &Client) -> Option<(u32, u32, u16, bool)> {
    match net.notification(client)? {
        Response::LeaseBreakNotification(it) => {
            assert_eq!(it.lease_key, Guid([DIR; 16]));
            let acknowledged = it.flags.contains(LeaseBreakFlags::ACK_REQUIRED);
            let (from, to) = (it.current_lease_state.bits(), it.new_lease_state.bits());
            Some((from, to, it.new_epoch, acknowledged))
        }
        other => panic!("{other:?}"),
    }
}

const BROKEN: Option<(u32, u32, u16, bool)> = Some((3, 0, 2, true));

#[test]
fn leases_of_directories_are_offered_to_who_knows_them_on_3x() {
    let knows = Capabilities::DIRECTORY_LEASING;
    for (dialect, client, has, offered) in [
        (Dialect::SMB_2_1, knows, true, false),
        (Dialect::SMB_3_0, knows, true, true),
        (Dialect::SMB_3_0_2, Capabilities::LEASING, true, false),
        (Dialect::SMB_3_0_2, knows, true, true),
        (Dialect::SMB_3_0_2, knows, false, false),
    ] {
        let mut net = Net::with(ServerConfig {
            directory_leases: has,
            ..config()
        });
        let conn = net.server.connect(net.now);
        let mut a = Client {
            conn,
            mid: 0,
            session: SessionId(0),
            tree: TreeId(0),
        };
        let body = NegotiateRequest {
            dialects: vec![dialect],
            capabilities: client,
            ..NegotiateRequest::default()
        };
        let Response::Negotiate(got) = net.call(&mut a, body).ok().body else {
            panic!("no answer");
        };
        assert_eq!(
            got.capabilities.contains(knows),
            offered,
            "{dialect:?} {client:?}"
        );
        let mut b = net.client_with("b", dialect, 0, client);
        let got = net.call(&mut b, leased(3, 2)).created();
        let level = if offered {
            OplockLevel::LEASE
        } else {
            OplockLevel::NONE
        };
        assert_eq!(got.oplock_level, level);
        assert_eq!(granted(&got), offered.then_some((3, 1)));
    }
}

#[test]
fn a_directory_is_never_cached_for_writing_nor_by_the_first_kind_of_lease() {
    for (state, version, grant) in [
        (7, 2, Some((3, 1))),
        (3, 2, Some((3, 1))),
        (1, 2, Some((1, 1))),
        (2, 2, Some((0, 1))),
        (0, 2, Some((0, 1))),
        (3, 1, None),
    ] {
        let mut net = Net::new();
        let mut a = client(&mut net, "a");
        // Who else has it open does not matter.
        let mut b = net.client("b");
        net.call(&mut b, directory("d")).created();
        let got = net.call(&mut a, leased(state, version)).created();
        assert_eq!(granted(&got), grant, "{state} {version}");
    }
}

#[test]
fn whatever_changes_a_listing_breaks_its_lease() {
    type Act = fn(&mut Net, &mut Client, FileId);
    let acts: [(&str, Act); 10] = [
        ("make", |net, b, _| {
            net.open(b, "d\\new");
        }),
        ("make a directory", |net, b, _| {
            net.call(b, directory("d\\new")).created();
        }),
        ("overwrite", |net, b, _| {
            let body = CreateRequest {
                create_disposition: CreateDisposition::OVERWRITE_IF,
                ..create("d\\f")
            };
            net.call(b, body).created();
        }),
        ("rename", |net, b, file| {
            assert_eq!(net.rename(b, file, "d\\g", false), NtStatus::SUCCESS);
        }),
        ("move away", |net, b, file| {
            assert_eq!(net.rename(b, file, "g", false), NtStatus::SUCCESS);
        }),
        ("move there", |net, b, _| {
            let other = net.open(b, "other");
            assert_eq!(net.rename(b, other, "d\\g", false), NtStatus::SUCCESS);
        }),
        ("delete", |net, b, file| {
            assert_eq!(net.delete_on_close(b, file, true), NtStatus::SUCCESS);
            net.close(b, file);
        }),
        ("set the size", |net, b, file| {
            let size = 9_u64.to_le_bytes().to_vec();
            let got = net.set(b, file, FileInfoClass::END_OF_FILE, size);
            assert_eq!(got, NtStatus::SUCCESS);
        }),
        ("set attributes", |net, b, file| {
            let mut basic = vec![0; 40];
            basic[32] = 2;
            let got = net.set(b, file, FileInfoClass::BASIC, basic);
            assert_eq!(got, NtStatus::SUCCESS);
        }),
        ("write and close", |net, b, file| {
            net.write(b, file, 0, b"x");
            net.close(b, file);
        }),
    ];
    for (what, act) in acts {
        // The same client too, as long as it names no lease.
        for name in ["a", "b"] {
            let mut net = Net::new();
            let mut a = client(&mut net, "a");
            let mut b = client(&mut net, name);
            let made = net.call(&mut b, directory("d")).created();
            net.close(&mut b, made.file_id);
            let file = net.open(&mut b, "d\\f");
            let dir = net.call(&mut a, leased(3, 2)).created();
            assert_eq!(granted(&dir), Some((3, 1)));
            act(&mut net, &mut b, file);
            assert_eq!(told(&mut net, &a), BROKEN, "{what} by {name}");
            assert_eq!(told(&mut net, &a), None, "{what} by {name}");
            let ack = LeaseBreakAck {
                lease_key: Guid([DIR; 16]),
                ..LeaseBreakAck::default()
            };
            net.call(&mut a, ack).ok();
            assert_eq!(net.server.next_wake(), None);
            // It can be had again.
            let again = net.call(&mut a, leased(3, 2)).created();
            assert_eq!(granted(&again), Some((3, 3)), "{what} by {name}");
        }
    }
}

#[test]
fn what_leaves_a_listing_alone_breaks_nothing() {
    let mut net = Net::new();
    let (mut a, mut b) = (client(&mut net, "a"), client(&mut net, "b"));
    net.call(&mut b, directory("d")).created();
    let file = net.open(&mut b, "d\\f");
    net.call(&mut b, directory("d\\e")).created();
    let dir = net.call(&mut a, leased(3, 2)).created();
    net.open(&mut b, "d\\f");
    net.read(&mut b, file, 0, 1).unwrap_err();
    net.open(&mut b, "elsewhere");
    net.open(&mut b, "d\\e\\deeper");
    net.query(&mut b, file, FileInfoClass::BASIC, 64);
    net.call(&mut b, directory("d")).created();
    // A write is told when the file is closed.
    net.write(&mut b, file, 0, b"x");
    assert_eq!(told(&mut net, &a), None);
    net.close(&mut a, dir.file_id);
    net.close(&mut b, file);
    assert_eq!(told(&mut net, &a), None, "nobody has it cached any more");
}

#[test]
fn who_knows_the_directorys_lease_keeps_it() {
    for (name, parent, breaks) in [("a", DIR, false), ("a", 8, true), ("b", DIR, true)] {
        let mut net = Net::new();
        let (mut a, mut b) = (client(&mut net, "a"), client(&mut net, name));
        net.call(&mut a, leased(3, 2)).created();
        let file = net.call(&mut b, below("d\\f", 1, parent)).created().file_id;
        let broken = if breaks { BROKEN } else { None };
        assert_eq!(told(&mut net, &a), broken, "{name} {parent}");
        if breaks {
            continue;
        }
        net.write(&mut b, file, 0, b"x");
        let to = rename_buffer("d\\g", false);
        net.set(&mut b, file, FileInfoClass::RENAME, to);
        net.delete_on_close(&mut b, file, true);
        net.close(&mut b, file);
        assert_eq!(net.paths(), ["d"]);
        assert_eq!(told(&mut net, &a), None);
    }
}

#[test]
fn a_deletion_is_known_to_who_asked_for_it_and_who_closes_last() {
    let mut net = Net::new();
    let mut a = client(&mut net, "a");
    net.call(&mut a, leased(3, 2)).created();
    let file = net.call(&mut a, below("d\\f", 1, DIR)).created().file_id;
    let last = net.open(&mut a, "d\\f");
    net.delete_on_close(&mut a, file, true);
    net.close(&mut a, file);
    assert_eq!(told(&mut net, &a), None);
    net.close(&mut a, last);
    assert_eq!(told(&mut net, &a), BROKEN);
}

#[test]
fn nobody_waits_for_a_directorys_lease_and_it_runs_out() {
    let mut net = Net::new();
    let (mut a, mut b) = (client(&mut net, "a"), client(&mut net, "b"));
    let dir = net.call(&mut a, leased(3, 2)).created();
    net.open(&mut b, "d\\f");
    assert_eq!(told(&mut net, &a), BROKEN);
    // A second change while it breaks is not told again.
    net.open(&mut b, "d\\g");
    assert_eq!(told(&mut net, &a), None);
    let wake = net.server.next_wake().unwrap();
    assert_eq!(wake, LogicalTime(30_000_000_000));
    net.wake_at(wake);
    assert_eq!(net.server.counters().breaks_timed_out, 1);
    net.open(&mut b, "d\\h");
    assert_eq!(told(&mut net, &a), None);
    // With its last open it goes, whatever state it has: an acknowledgement finds nothing.
    net.close(&mut a, dir.file_id);
    let ack = LeaseBreakAck {
        lease_key: Guid([DIR; 16]),
        ..LeaseBreakAck::default()
    };
    let got = net.call(&mut a, ack).status();
    assert_eq!(got, NtStatus::OBJECT_NAME_NOT_FOUND);

    let mut net = Net::planted(Plant::NoOplockBreak);
    let (mut a, mut b) = (client(&mut net, "a"), client(&mut net, "b"));
    net.call(&mut a, leased(3, 2)).created();
    net.open(&mut b, "d\\f");
    assert_eq!(told(&mut net, &a), None);
}

#[test]
fn a_violation_takes_the_handle_of_a_directory() {
    let mut net = Net::new();
    let (mut a, mut b) = (client(&mut net, "a"), client(&mut net, "b"));
    net.call(&mut a, leased(3, 2)).created();
    let body = CreateRequest {
        share_access: ShareAccess::empty(),
        ..directory("d")
    };
    let id = net.send(&mut b, body);
    assert_eq!(net.answer(&b, id).unwrap().status(), NtStatus::PENDING);
    assert_eq!(told(&mut net, &a), Some((3, 1, 2, true)));
    let ack = LeaseBreakAck {
        lease_key: Guid([DIR; 16]),
        lease_state: LeaseState::READ,
        ..LeaseBreakAck::default()
    };
    net.call(&mut a, ack).ok();
    let got = net.answer(&b, id).unwrap().status();
    assert_eq!(got, NtStatus::SHARING_VIOLATION);
    // What is left of it goes without an acknowledgement.
    net.open(&mut b, "d\\f");
    assert_eq!(told(&mut net, &a), Some((1, 0, 3, false)));
}
