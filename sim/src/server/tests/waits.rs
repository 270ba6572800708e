//! Locks, change notifications, compounds.

use smbench_core::smb2::*;

use super::client::{Client, Got, Net, config, create, directory, with_oplock};
use crate::server::{AfterFailedCreate, Plant, ServerConfig};

fn element(offset: u64, length: u64, flags: LockFlags) -> LockElement {
    LockElement {
        offset,
        length,
        flags,
        ..LockElement::default()
    }
}

fn lock(net: &mut Net, client: &mut Client, file_id: FileId, locks: &[LockElement]) -> NtStatus {
    let body = LockRequest {
        file_id,
        locks: locks.to_vec(),
        ..LockRequest::default()
    };
    net.call(client, body).status()
}

const NOW: LockFlags = LockFlags::FAIL_IMMEDIATELY;

#[test]
fn locks_exclude_and_are_all_or_nothing() {
    let mut net = Net::new();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let (fa, fb) = (net.open(&mut a, "f"), net.open(&mut b, "f"));
    net.write(&mut a, fa, 0, &[1; 100]);
    let exclusive = LockFlags::EXCLUSIVE | NOW;
    let shared = LockFlags::SHARED | NOW;
    let mine = element(10, 10, exclusive);
    assert_eq!(lock(&mut net, &mut a, fa, &[mine]), NtStatus::SUCCESS);
    // The second element fails, so the first is taken back.
    let both = [element(50, 10, exclusive), element(15, 1, shared)];
    assert_eq!(
        lock(&mut net, &mut b, fb, &both),
        NtStatus::LOCK_NOT_GRANTED
    );
    let first = [element(50, 10, shared)];
    assert_eq!(lock(&mut net, &mut a, fa, &first), NtStatus::SUCCESS);
    assert_eq!(lock(&mut net, &mut b, fb, &first), NtStatus::SUCCESS);
    let blocked = net.read(&mut b, fb, 19, 1);
    assert_eq!(blocked, Err(NtStatus::FILE_LOCK_CONFLICT));
    assert_eq!(net.read(&mut b, fb, 20, 1).unwrap(), [1]);
    assert_eq!(net.read(&mut b, fb, 50, 1).unwrap(), [1]);
    let own = net.write(&mut b, fb, 50, b"x");
    assert_eq!(
        own,
        NtStatus::FILE_LOCK_CONFLICT,
        "shared locks forbid all writing"
    );
    let wrong = [element(10, 9, LockFlags::UNLOCK)];
    assert_eq!(
        lock(&mut net, &mut a, fa, &wrong),
        NtStatus::RANGE_NOT_LOCKED
    );
    let right = [element(10, 10, LockFlags::UNLOCK)];
    assert_eq!(lock(&mut net, &mut a, fa, &right), NtStatus::SUCCESS);
    assert_eq!(net.read(&mut b, fb, 19, 1).unwrap(), [1]);
    let mixed = [element(0, 1, exclusive), element(0, 1, LockFlags::UNLOCK)];
    assert_eq!(
        lock(&mut net, &mut a, fa, &mixed),
        NtStatus::INVALID_PARAMETER
    );
    assert_eq!(lock(&mut net, &mut a, fa, &[]), NtStatus::INVALID_PARAMETER);
}

#[test]
fn planted_locks_leak() {
    for (plant, at, want) in [
        (Plant::IgnoreByteRangeLock, 10, true),
        (Plant::LockOffByOne, 19, true),
        (Plant::LockOffByOne, 18, false),
    ] {
        let mut net = Net::planted(plant);
        let (mut a, mut b) = (net.client("a"), net.client("b"));
        let (fa, fb) = (net.open(&mut a, "f"), net.open(&mut b, "f"));
        net.write(&mut a, fa, 0, &[1; 100]);
        let mine = element(10, 10, LockFlags::EXCLUSIVE | NOW);
        assert_eq!(lock(&mut net, &mut a, fa, &[mine]), NtStatus::SUCCESS);
        assert_eq!(net.read(&mut b, fb, at, 1).is_ok(), want, "{plant} {at}");
    }
}

/// A lock of `b` that waits for `a`.
fn waiting_lock(net: &mut Net) -> (Client, FileId, Client, FileId, Got) {
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let (fa, fb) = (net.open(&mut a, "f"), net.open(&mut b, "f"));
    let mine = element(0, 10, LockFlags::EXCLUSIVE);
    assert_eq!(lock(net, &mut a, fa, &[mine]), NtStatus::SUCCESS);
    let body = LockRequest {
        file_id: fb,
        locks: vec![element(5, 1, LockFlags::SHARED)],
        ..LockRequest::default()
    };
    let id = net.send(&mut b, body);
    let interim = net.answer(&b, id).unwrap();
    assert_eq!(interim.status(), NtStatus::PENDING);
    assert!(net.answer(&b, id).is_none());
    (a, fa, b, fb, interim)
}

#[test]
fn a_lock_waits_and_can_be_cancelled() {
    let mut net = Net::new();
    let (mut a, fa, b, _, interim) = waiting_lock(&mut net);
    let unlock = element(0, 10, LockFlags::UNLOCK);
    assert_eq!(lock(&mut net, &mut a, fa, &[unlock]), NtStatus::SUCCESS);
    let done = net.answer(&b, interim.header.message_id).unwrap().ok();
    assert_eq!(done.header.async_id(), interim.header.async_id());

    let mut net = Net::new();
    let (_a, _, mut b, _, interim) = waiting_lock(&mut net);
    net.cancel(&mut b, &interim);
    let done = net.answer(&b, interim.header.message_id).unwrap();
    assert_eq!(done.status(), NtStatus::CANCELLED);
    net.cancel(&mut b, &interim);
    assert_eq!(net.server.counters().cancels_too_late, 1);

    let mut net = Net::new();
    let (_a, _, mut b, fb, interim) = waiting_lock(&mut net);
    net.close(&mut b, fb);
    let done = net.answer(&b, interim.header.message_id).unwrap();
    assert_eq!(done.status(), NtStatus::RANGE_NOT_LOCKED);
}

#[test]
fn a_lock_goes_with_its_client() {
    let mut net = Net::new();
    let (a, _, b, _, interim) = waiting_lock(&mut net);
    net.disconnect(&a);
    net.answer(&b, interim.header.message_id).unwrap().ok();
}

fn watch(net: &mut Net, client: &mut Client, file_id: FileId, tree: bool, room: u32) -> MessageId {
    let mut flags = ChangeNotifyFlags::empty();
    flags.set(ChangeNotifyFlags::WATCH_TREE, tree);
    let body = ChangeNotifyRequest {
        flags,
        output_buffer_length: room,
        file_id,
        completion_filter: CompletionFilter::from_bits_retain(0xfff),
    };
    net.send(client, body)
}

/// Actions and names of an answer.
fn changes(got: Got) -> Vec<(u32, String)> {
    let Response::ChangeNotify(body) = got.ok().body else {
        panic!("no changes");
    };
    let mut out = Vec::new();
    let mut rest = body.output.as_slice();
    loop {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = usize::try_from(word(8)).unwrap();
        let name = Name::from_wire(&rest[12..12 + len]).to_string();
        out.push((word(4), name));
        match usize::try_from(word(0)).unwrap() {
            0 => return out,
            next => rest = &rest[next..],
        }
    }
}

#[test]
fn changes_are_told() {
    let mut net = Net::new();
    net.server.mkdir("share", "d\\sub").unwrap();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let dir = net.call(&mut a, directory("d")).created().file_id;
    let id = watch(&mut net, &mut a, dir, false, 1000);
    assert_eq!(net.answer(&a, id).unwrap().status(), NtStatus::PENDING);
    let deep = net.open(&mut b, "d\\sub\\deep");
    assert!(net.answer(&a, id).is_none(), "not below what is watched");
    let file = net.open(&mut b, "d\\f");
    let told = changes(net.answer(&a, id).unwrap());
    assert_eq!(told, [(1, "f".to_owned())]);
    // What happens between two requests is kept.
    net.rename(&mut b, file, "d\\g", false);
    let id = watch(&mut net, &mut a, dir, false, 1000);
    let told = changes(net.answer(&a, id).unwrap());
    assert_eq!(told, [(4, "f".to_owned()), (5, "g".to_owned())]);
    net.delete_on_close(&mut b, file, true);
    net.close(&mut b, file);
    let id = watch(&mut net, &mut a, dir, false, 4);
    let told = net.answer(&a, id).unwrap();
    assert_eq!(told.status(), NtStatus::NOTIFY_ENUM_DIR);
    let id = watch(&mut net, &mut a, dir, false, 1000);
    net.answer(&a, id).unwrap();
    net.close(&mut a, dir);
    let told = net.answer(&a, id).unwrap();
    assert_eq!(told.status(), NtStatus::NOTIFY_CLEANUP);
    let root = net.call(&mut a, directory("")).created().file_id;
    let id = watch(&mut net, &mut a, root, true, 1000);
    let interim = net.answer(&a, id).unwrap();
    net.write(&mut b, deep, 0, b"x");
    let told = changes(net.answer(&a, id).unwrap());
    assert_eq!(told, [(3, "d\\sub\\deep".to_owned())]);
    net.cancel(&mut a, &interim);
    let id = watch(&mut net, &mut a, root, true, 1000);
    let interim = net.answer(&a, id).unwrap();
    net.cancel(&mut a, &interim);
    assert_eq!(net.answer(&a, id).unwrap().status(), NtStatus::CANCELLED);
}

fn close(file_id: FileId) -> Request {
    let flags = CloseFlags::empty();
    CloseRequest { flags, file_id }.into()
}

#[test]
fn what_follows_a_failed_create_fails_as_the_server_does_it() {
    let missing = CreateRequest {
        create_disposition: CreateDisposition::OPEN,
        ..create("missing")
    };
    for (how, status) in [
        (
            AfterFailedCreate::SameStatus,
            NtStatus::OBJECT_NAME_NOT_FOUND,
        ),
        (AfterFailedCreate::FileClosed, NtStatus::FILE_CLOSED),
    ] {
        let mut net = Net::with(ServerConfig {
            after_failed_create: how,
            ..config()
        });
        let mut a = net.client("a");
        let query = QueryInfoRequest {
            file_id: FileId::RELATED,
            ..QueryInfoRequest::default()
        };
        let close = CloseRequest {
            file_id: FileId::RELATED,
            ..CloseRequest::default()
        };
        let requests = vec![missing.clone().into(), query.into(), close.into()];
        let ids = net.compound(&mut a, requests, true);
        let got = ids.iter().map(|id| net.answer(&a, *id).unwrap().status());
        let got: Vec<NtStatus> = got.collect();
        assert_eq!(got, [NtStatus::OBJECT_NAME_NOT_FOUND, status, status]);
    }
}

#[test]
fn related_requests_share_file_and_fate() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let query = || QueryInfoRequest {
        info_type: InfoType::FILE,
        file_info_class: FileInfoClass::STANDARD.into(),
        output_buffer_length: 24,
        file_id: FileId::RELATED,
        ..QueryInfoRequest::default()
    };
    let all = vec![create("f").into(), query().into(), close(FileId::RELATED)];
    let ids = net.compound(&mut a, all, true);
    for (index, id) in ids.iter().enumerate() {
        let got = net.answer(&a, *id).unwrap().ok();
        let last = index == 2;
        assert_eq!(got.header.next_command != 0, !last);
        assert_eq!(got.header.credits, if last { 192 } else { 0 });
    }
    assert_eq!(net.server.open_count(), 0);
    let missing = CreateRequest {
        create_disposition: CreateDisposition::OPEN,
        ..create("none")
    };
    let all = vec![missing.into(), query().into(), close(FileId::RELATED)];
    for id in net.compound(&mut a, all, true) {
        let got = net.answer(&a, id).unwrap().status();
        assert_eq!(got, NtStatus::OBJECT_NAME_NOT_FOUND);
    }
    let file = net.open(&mut a, "f");
    let all = vec![close(FileId::ZERO), close(file)];
    let ids = net.compound(&mut a, all, false);
    let first = net.answer(&a, ids[0]).unwrap().status();
    assert_eq!(first, NtStatus::FILE_CLOSED);
    net.answer(&a, ids[1]).unwrap().ok();
}

#[test]
fn a_create_may_wait_inside_a_compound() {
    let mut net = Net::new();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let held = net
        .call(&mut a, with_oplock("f", OplockLevel::BATCH))
        .created();
    let all = vec![create("f").into(), close(FileId::RELATED)];
    let ids = net.compound(&mut b, all, true);
    let interim = net.answer(&b, ids[0]).unwrap();
    assert_eq!(interim.status(), NtStatus::PENDING);
    assert!(net.answer(&b, ids[1]).is_none());
    net.close(&mut a, held.file_id);
    net.answer(&b, ids[0]).unwrap().created();
    net.answer(&b, ids[1]).unwrap().ok();
    assert_eq!(net.server.open_count(), 0);
}
