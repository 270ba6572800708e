//! Clients that ask for very much: each limit holds, says so, and leaves the others alone.

use std::time::Instant;

use smbench_core::smb2::*;

use super::client::{Client, Net, config, create, directory, with_lease, with_oplock};
use crate::server::{Limit, Limits, ServerConfig};

fn limited(limits: Limits) -> Net {
    Net::with(ServerConfig { limits, ..config() })
}

/// What a limit's refusals are called, and that they were told once and not every time.
fn told(net: &mut Net, limit: Limit) {
    let count = net.server.limits_reached()[&limit];
    let mut lines = Vec::new();
    while let Some(line) = net.server.complaint() {
        lines.extend(line.contains(limit.describe()).then_some(line));
    }
    let most = count.ilog2() + 1;
    assert!(
        (1..=most).contains(&u32::try_from(lines.len()).unwrap()),
        "{lines:?}"
    );
    net.server.check_tables();
}

/// Someone who wants nothing special gets it.
fn served(net: &mut Net, client: &mut Client, name: &str) {
    let file = net.open(client, name);
    assert_eq!(net.write(client, file, 0, b"hello"), NtStatus::SUCCESS);
    net.close(client, file);
}

/// Ten thousand opens of one file, each in its way to cache it: the last take no longer than opens
/// of files that nobody else has open.
fn ten_thousand(open: impl Fn(u16) -> CreateRequest) {
    let mut net = Net::new();
    let (mut flood, mut honest) = (net.client("flood"), net.client("honest"));
    let mut thousand = |net: &mut Net, body: &dyn Fn(u16) -> CreateRequest, from: u16| {
        let start = Instant::now();
        let opens = (from..from + 1_000).map(|it| net.call(&mut flood, body(it)).created().file_id);
        let opens: Vec<_> = opens.collect();
        (opens, start.elapsed())
    };
    let apart = |number: u16| create(&format!("of its own {number}"));
    let (_, before) = thousand(&mut net, &apart, 0);
    let (mut files, mut last) = (Vec::new(), before);
    for from in (0..10).map(|it| it * 1_000) {
        let (opens, took) = thousand(&mut net, &open, from);
        files.extend(opens);
        last = took;
        served(&mut net, &mut honest, "other");
    }
    let (_, after) = thousand(&mut net, &apart, 1_000);
    let few = before.max(after);
    assert!(last < few * 10, "{last:?} instead of {few:?}");
    let start = Instant::now();
    let got = net.call(&mut honest, create("f"));
    if got.status() == NtStatus::SUCCESS {
        let file_id = got.created().file_id;
        net.write(&mut honest, file_id, 0, b"breaks what is cached");
        net.close(&mut honest, file_id);
    }
    net.server.check_tables();
    for file_id in files {
        net.close(&mut flood, file_id);
    }
    let closed = start.elapsed();
    assert!(closed < few * 100, "closed in {closed:?}, a few in {few:?}");
    net.server.check_tables();
}

#[test]
fn ten_thousand_plain_opens_cost_no_more_each_than_a_few() {
    ten_thousand(|_| create("f"));
}

#[test]
fn ten_thousand_opens_of_one_lease_cost_no_more_each_than_a_few() {
    ten_thousand(|_| with_lease("f", 1, 7, 2));
}

#[test]
fn ten_thousand_leases_on_one_file_cost_no_more_each_than_a_few() {
    ten_thousand(|number| {
        let mut body = with_lease("f", 1, 1, 2);
        for context in &mut body.contexts {
            if let ContextData::Lease(lease) = &mut context.data {
                lease.key.0[..2].copy_from_slice(&number.to_le_bytes());
            }
        }
        body
    });
}

#[test]
fn ten_thousand_oplocks_on_one_file_cost_no_more_each_than_a_few() {
    ten_thousand(|_| with_oplock("f", OplockLevel::LEVEL_II));
}

#[test]
fn opens_are_shared() {
    let mut net = limited(Limits {
        opens: 90,
        ..Limits::default()
    });
    let (mut flood, mut honest) = (net.client("flood"), net.client("honest"));
    let mut got = 0;
    while net.call(&mut flood, create("f")).status() == NtStatus::SUCCESS {
        got += 1;
    }
    assert_eq!(got, 30);
    for number in 0..10 {
        net.call(&mut honest, create(&format!("g{number}"))).ok();
    }
    told(&mut net, Limit::Opens);
}

#[test]
fn sessions_and_trees_are_limited() {
    let mut net = limited(Limits {
        sessions: 30,
        trees_per_session: 3,
        ..Limits::default()
    });
    let mut flood = net.client("flood");
    let own = flood.session;
    let mut sessions = 1;
    loop {
        let body = SessionSetupRequest {
            security_buffer_length: 2,
            ..SessionSetupRequest::default()
        };
        flood.session = SessionId(0);
        let status = net.call_with(&mut flood, body, b"me").status();
        if status != NtStatus::SUCCESS {
            assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
            break;
        }
        sessions += 1;
    }
    assert_eq!(sessions, 10);
    told(&mut net, Limit::Sessions);
    flood.session = own;
    let tree = || TreeConnectRequest {
        path: "\\\\server\\share".into(),
        ..TreeConnectRequest::default()
    };
    net.call(&mut flood, tree()).ok();
    net.call(&mut flood, tree()).ok();
    let status = net.call(&mut flood, tree()).status();
    assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
    told(&mut net, Limit::Trees);
    let mut honest = net.client("honest");
    served(&mut net, &mut honest, "f");
    net.disconnect(&flood);
    net.server.check_tables();
}

#[test]
fn locks_are_limited() {
    let mut net = limited(Limits {
        locks_per_file: 5,
        locks_per_request: 3,
        ..Limits::default()
    });
    let (mut flood, mut honest) = (net.client("flood"), net.client("honest"));
    let file_id = net.open(&mut flood, "f");
    let mut next = 0;
    let mut lock = |net: &mut Net, count: u64| {
        let locks = (0..count).map(|_| {
            next += 10;
            LockElement {
                offset: next,
                length: 1,
                flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY,
                ..LockElement::default()
            }
        });
        let body = LockRequest {
            file_id,
            locks: locks.collect(),
            ..LockRequest::default()
        };
        net.call(&mut flood, body).status()
    };
    assert_eq!(lock(&mut net, 4), NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(lock(&mut net, 3), NtStatus::SUCCESS);
    assert_eq!(lock(&mut net, 3), NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(lock(&mut net, 2), NtStatus::SUCCESS);
    assert_eq!(lock(&mut net, 1), NtStatus::INSUFFICIENT_RESOURCES);
    told(&mut net, Limit::Locks);
    served(&mut net, &mut honest, "g");
}

#[test]
fn watches_and_changes_are_limited() {
    let mut net = limited(Limits {
        watches: 6,
        changes_per_open: 50,
        change_bytes: 2_000,
        ..Limits::default()
    });
    let (mut flood, mut honest) = (net.client("flood"), net.client("honest"));
    let watch = |file_id| ChangeNotifyRequest {
        output_buffer_length: 60_000,
        file_id,
        completion_filter: CompletionFilter::FILE_NAME,
        ..ChangeNotifyRequest::default()
    };
    let mut dirs = Vec::new();
    loop {
        let file_id = net.call(&mut flood, directory("d")).created().file_id;
        let status = net.call(&mut flood, watch(file_id)).status();
        if status != NtStatus::PENDING {
            assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
            break;
        }
        dirs.push(file_id);
    }
    assert_eq!(dirs.len(), 2);
    told(&mut net, Limit::Watches);
    let file_id = net.call(&mut honest, directory("d")).created().file_id;
    assert_eq!(
        net.call(&mut honest, watch(file_id)).status(),
        NtStatus::PENDING
    );
    // Everybody is told of the first change, and asks for no further ones.
    for number in 0..60 {
        served(
            &mut net,
            &mut honest,
            &format!("d\\a rather long name, number {number}"),
        );
    }
    told(&mut net, Limit::Changes);
    for file_id in dirs {
        let status = net.call(&mut flood, watch(file_id)).status();
        assert_eq!(status, NtStatus::NOTIFY_ENUM_DIR);
    }
    net.server.check_tables();
}

#[test]
fn what_waits_is_limited_by_its_bytes() {
    let mut net = limited(Limits {
        pending_bytes: 60_000,
        ..Limits::default()
    });
    let (mut holder, mut flood) = (net.client("holder"), net.client("flood"));
    net.call(&mut holder, with_oplock("f", OplockLevel::BATCH))
        .ok();
    let mut waiting = 0;
    loop {
        // A CREATE that waits for the break, and data that wait behind it.
        let write = WriteRequest {
            file_id: FileId::RELATED,
            length: 5_000,
            ..WriteRequest::default()
        };
        let ids = net.compound_with(
            &mut flood,
            vec![create("f").into(), write.into()],
            true,
            &[7; 5_000],
        );
        match net.answer(&flood, ids[0]).unwrap().status() {
            NtStatus::PENDING => waiting += 1,
            status => {
                assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
                break;
            }
        }
    }
    assert!((3..=5).contains(&waiting), "{waiting}");
    told(&mut net, Limit::Pending);
    let mut honest = net.client("honest");
    served(&mut net, &mut honest, "g");
    net.disconnect(&flood);
    assert_eq!(net.server.waiting.bytes(), 0);
}

#[test]
fn content_is_limited_by_what_is_stored() {
    let mut net = limited(Limits {
        file_bytes: 1 << 40,
        total_bytes: 1 << 20,
        streams_per_file: 2,
        ..Limits::default()
    });
    let mut flood = net.client("flood");
    let file = net.open(&mut flood, "f");
    let far = 1 << 39;
    // A hole costs nothing; what would go beyond the size of a file is refused.
    assert_eq!(net.write(&mut flood, file, far, b"x"), NtStatus::SUCCESS);
    for offset in [1 << 40, u64::from(u32::MAX) << 10, (1 << 62) - 1] {
        let status = net.write(&mut flood, file, offset, b"x");
        let want = if offset < 1 << 40 {
            NtStatus::SUCCESS
        } else {
            NtStatus::DISK_FULL
        };
        assert_eq!(status, want, "{offset}");
    }
    told(&mut net, Limit::FileSize);
    // A byte in each chunk takes the memory of a chunk, or little, but never more than is counted.
    let mut written = 0_u64;
    while net.write(&mut flood, file, written << 16 | 0xffff, b"x") == NtStatus::SUCCESS {
        written += 1;
    }
    assert!((5..=16).contains(&written), "{written}");
    told(&mut net, Limit::Content);
    let none = vec![0; 8];
    let emptied = net.set(&mut flood, file, FileInfoClass::END_OF_FILE, none);
    assert_eq!(emptied, NtStatus::SUCCESS);
    assert_eq!(
        net.write(&mut flood, file, 0, &[1; 60_000]),
        NtStatus::SUCCESS
    );
    for (name, want) in [
        ("f:a", NtStatus::SUCCESS),
        ("f:b", NtStatus::SUCCESS),
        ("f:c", NtStatus::DISK_FULL),
    ] {
        assert_eq!(net.call(&mut flood, create(name)).status(), want, "{name}");
    }
    told(&mut net, Limit::Nodes);
    // Names and attributes count too.
    let name = "n".repeat(250);
    let mut made = 0;
    loop {
        let body = create(&format!("{name}{made}"));
        match net.call(&mut flood, body).status() {
            NtStatus::SUCCESS => made += 1,
            status => {
                assert_eq!(status, NtStatus::DISK_FULL);
                break;
            }
        }
    }
    assert!(made < 2_000, "{made}");
    net.server.check_tables();
}

#[test]
fn overlapping_attributes_do_not_become_many_bytes() {
    let mut net = Net::new();
    let mut flood = net.client("flood");
    let file_id = net.open(&mut flood, "f");
    // Entries of eight bytes, each of which claims 64 KiB of what follows.
    let mut list = [8, 0, 0, 0, 0, 1, 0xff, 0xff].repeat(50_000);
    list.extend([0; 70_000]);
    let status = net.set(&mut flood, file_id, FileInfoClass::FULL_EA, list);
    assert_eq!(status, NtStatus::EA_TOO_LARGE);
}

#[test]
fn answers_to_a_compound_fit_into_a_frame() {
    let mut net = Net::new();
    let mut flood = net.client("flood");
    let file_id = net.open(&mut flood, "f");
    let megabytes = 5 << 20;
    for part in 0..5 {
        net.write(&mut flood, file_id, part << 20, &vec![1; 1 << 20]);
    }
    let read = ReadRequest {
        file_id,
        length: megabytes,
        ..ReadRequest::default()
    };
    let ids = net.compound(&mut flood, vec![read.into(); 6], false);
    let answers = ids.iter().map(|id| net.answer(&flood, *id).unwrap());
    let statuses: Vec<_> = answers.map(|answer| answer.status()).collect();
    let (read, refused) = (NtStatus::SUCCESS, NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(statuses, [read, read, refused, refused, refused, refused]);
    told(&mut net, Limit::Answers);
}

#[test]
fn many_enumerations_of_a_long_directory_take_no_memory_and_end() {
    let mut net = limited(Limits {
        search_steps: 200_000,
        ..Limits::default()
    });
    let mut flood = net.client("flood");
    for number in 0..1_000 {
        let made = net.open(&mut flood, &format!("some name, number {number}"));
        net.close(&mut flood, made);
    }
    let file_id = net.call(&mut flood, directory("")).created().file_id;
    let query = |pattern: &str| QueryDirectoryRequest {
        file_information_class: FileInfoClass::NAMES,
        file_id,
        pattern: pattern.into(),
        output_buffer_length: 60_000,
        ..QueryDirectoryRequest::default()
    };
    // A pattern that matches nothing is looked for in steps, and each request goes on.
    let body = query(&"*z".repeat(100));
    let mut tired = 0;
    loop {
        match net.call(&mut flood, body.clone()).status() {
            NtStatus::INSUFFICIENT_RESOURCES => tired += 1,
            status => {
                assert_eq!(status, NtStatus::NO_SUCH_FILE);
                break;
            }
        }
    }
    assert!((10..30).contains(&tired), "{tired}");
    told(&mut net, Limit::Search);
    let body = QueryDirectoryRequest {
        flags: QueryDirectoryFlags::RESTART_SCANS,
        ..query(&"*".repeat(600))
    };
    let status = net.call(&mut flood, body).status();
    assert_eq!(status, NtStatus::OBJECT_NAME_INVALID);
    // One name among many is found at once.
    let body = QueryDirectoryRequest {
        flags: QueryDirectoryFlags::RESTART_SCANS,
        ..query("SOME NAME, number 999")
    };
    net.call(&mut flood, body).ok();
}

#[test]
fn long_tokens_are_not_kept() {
    let mut net = Net::with(ServerConfig {
        trusting: false,
        ..config()
    });
    let conn = net.server.connect(net.now);
    let mut client = Client {
        conn,
        mid: 0,
        session: SessionId(0),
        tree: TreeId(0),
    };
    let body = NegotiateRequest {
        dialects: vec![Dialect::SMB_2_1],
        ..NegotiateRequest::default()
    };
    net.call(&mut client, body).ok();
    let mut token = smbench_core::seal::ntlm::build_negotiate(0xE208_8233);
    token.resize(60_000, 0);
    let body = SessionSetupRequest {
        security_buffer_length: 60_000,
        ..SessionSetupRequest::default()
    };
    let status = net.call_with(&mut client, body, &token).status();
    assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
    told(&mut net, Limit::Tokens);
}

#[test]
fn durable_opens_without_a_client_are_limited() {
    let mut net = limited(Limits {
        disconnected: 3,
        ..Limits::default()
    });
    let mut flood = net.client("flood");
    for number in 0..5 {
        let mut body = with_lease(&format!("f{number}"), number, 7, 2);
        body.contexts.push(CreateContext {
            tag: ContextTag::DHNQ,
            data: ContextData::DurableRequest(Default::default()),
        });
        net.call(&mut flood, body).ok();
    }
    net.disconnect(&flood);
    assert_eq!(net.server.open_count(), 3);
    told(&mut net, Limit::Disconnected);
    net.wake_at(net.server.next_wake().unwrap());
    assert_eq!(net.server.open_count(), 0);
    net.server.check_tables();
}

/// Many wait for many breaks that nobody acknowledges: all run out at once, and it stays quick.
#[test]
fn breaks_that_nobody_acknowledges_end_together() {
    let mut net = Net::new();
    let mut holder = net.client("holder");
    for key in 0..200 {
        net.call(&mut holder, with_lease("f", key, 3, 2)).ok();
    }
    let mut waiting: Vec<Client> = ["a", "b", "c"].map(|name| net.client(name)).into();
    for client in &mut waiting {
        for _ in 0..300 {
            let body = CreateRequest {
                create_disposition: CreateDisposition::OPEN,
                desired_access: AccessMask::READ_DATA,
                share_access: ShareAccess::empty(),
                ..create("f")
            };
            assert_eq!(net.call(client, body).status(), NtStatus::PENDING);
        }
    }
    let start = Instant::now();
    net.wake_at(net.server.next_wake().unwrap());
    assert_eq!(net.server.counters().breaks_timed_out, 200);
    assert_eq!(net.server.waiting.bytes(), 0);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    net.server.check_tables();
}
