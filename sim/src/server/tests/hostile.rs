//! Bytes from anyone: nothing panics, everything is bounded.

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::*;

use super::client::{Client, Net, config, create, directory, with_lease};
use crate::server::{Limits, Rng, ServerConfig};

fn requests(rng: &mut Rng, file_id: FileId) -> Request {
    let small = |rng: &mut Rng| u32::try_from(rng.next64() % 300).unwrap();
    let name = ["f", "d\\g", "d", "", "f:s", "x\\y\\z"][usize::try_from(rng.next64() % 6).unwrap()];
    match rng.next64() % 12 {
        0 | 1 => {
            let key = u8::try_from(rng.next64() % 3).unwrap();
            let mut body = with_lease(name, key, small(rng) & 7, 2);
            body.create_disposition = CreateDisposition(small(rng) % 7);
            body.create_options = CreateOptions::from_bits_retain(small(rng) & 0x1041);
            body.share_access = ShareAccess::from_bits_retain(small(rng) & 7);
            body.into()
        }
        2 => directory(name).into(),
        3 => CloseRequest {
            file_id,
            ..CloseRequest::default()
        }
        .into(),
        4 => ReadRequest {
            file_id,
            length: small(rng),
            offset: rng.next64() >> (rng.next64() % 64),
            ..ReadRequest::default()
        }
        .into(),
        5 => LockRequest {
            file_id,
            locks: vec![LockElement {
                offset: rng.next64() >> (rng.next64() % 64),
                length: rng.next64() >> (rng.next64() % 64),
                flags: LockFlags::from_bits_retain(small(rng) & 0x17),
                ..LockElement::default()
            }],
            ..LockRequest::default()
        }
        .into(),
        6 => SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: InfoClass(u8::try_from(rng.next64() % 70).unwrap()),
            buffer: (0..small(rng))
                .map(|_| u8::try_from(rng.next64() & 3).unwrap())
                .collect(),
            file_id,
            ..SetInfoRequest::default()
        }
        .into(),
        7 => QueryInfoRequest {
            info_type: InfoType(u8::try_from(rng.next64() % 5).unwrap()),
            file_info_class: InfoClass(u8::try_from(rng.next64() % 70).unwrap()),
            output_buffer_length: small(rng),
            file_id,
            ..QueryInfoRequest::default()
        }
        .into(),
        8 => QueryDirectoryRequest {
            file_information_class: FileInfoClass(u8::try_from(rng.next64() % 64).unwrap()),
            flags: QueryDirectoryFlags::from_bits_retain(
                u8::try_from(rng.next64() & 0x17).unwrap(),
            ),
            file_index: u32::MAX,
            file_id,
            pattern: "*a<>\"?".into(),
            output_buffer_length: small(rng),
        }
        .into(),
        9 => ChangeNotifyRequest {
            output_buffer_length: small(rng),
            file_id,
            completion_filter: CompletionFilter::from_bits_retain(0xfff),
            ..ChangeNotifyRequest::default()
        }
        .into(),
        10 => IoctlRequest {
            ctl_code: [
                Fsctl::SET_ZERO_DATA,
                Fsctl::SRV_COPYCHUNK,
                Fsctl::QUERY_ALLOCATED_RANGES,
                Fsctl::VALIDATE_NEGOTIATE_INFO,
            ][usize::try_from(rng.next64() % 4).unwrap()],
            file_id,
            input: (0..small(rng))
                .map(|_| u8::try_from(rng.next64() & 0xff).unwrap())
                .collect(),
            max_output_response: 100,
            flags: IoctlFlags::IS_FSCTL,
            ..IoctlRequest::default()
        }
        .into(),
        _ => LeaseBreakAck {
            lease_key: Guid([u8::try_from(rng.next64() % 3).unwrap(); 16]),
            lease_state: LeaseState::from_bits_retain(small(rng) & 7),
            ..LeaseBreakAck::default()
        }
        .into(),
    }
}

/// Frames that are almost right, on several connections, for many seeds.
#[test]
fn random_frames_never_panic() {
    let mut answered = 0;
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut net = Net::new();
        let mut clients: Vec<Client> = ["a", "b"].map(|name| net.client(name)).into();
        let mut files = vec![FileId::RELATED];
        for step in 0..300 {
            let which = usize::try_from(rng.next64() % 2).unwrap();
            if net.closed.contains(&clients[which].conn) {
                clients[which] = net.client(["a", "b"][which]);
            }
            let client = &mut clients[which];
            let file = files[usize::try_from(rng.next64()).unwrap() % files.len()];
            let body = requests(&mut rng, file);
            let header = Net::header(client, body.command());
            let mut frame = Vec::new();
            Message::new(header, Body::Request(body)).encode(&[], &mut frame);
            // One frame in four is damaged behind its header.
            if rng.next64().is_multiple_of(4) {
                let at = 64 + usize::try_from(rng.next64()).unwrap() % (frame.len() - 64);
                frame[at] ^= u8::try_from(1 << (rng.next64() % 8)).unwrap();
            }
            if rng.next64().is_multiple_of(50) {
                frame.truncate(usize::try_from(rng.next64()).unwrap() % frame.len());
            }
            net.frame(client.conn, &frame);
            if let Some(got) = net.answer(client, header.message_id) {
                answered += 1;
                if let Response::Create(body) = got.body {
                    files.push(body.file_id);
                }
            }
            if step % 10 == 9 {
                net.server.check_tables();
            }
            if step % 50 == 49 {
                net.wake_at(LogicalTime(net.now.0 + 31_000_000_000));
            }
        }
        for client in &clients {
            net.disconnect(client);
        }
        while let Some(at) = net.server.next_wake() {
            net.wake_at(at);
        }
        net.server.check_tables();
        assert_eq!(net.server.open_count(), 0, "seed {seed}");
    }
    assert!(answered > 5_000, "{answered}");
}

#[test]
fn noise_closes_the_connection() {
    let mut rng = Rng(1);
    for _ in 0..2_000 {
        let mut net = Net::new();
        let conn = net.server.connect(LogicalTime::ZERO);
        let len = usize::try_from(rng.next64() % 200).unwrap();
        let mut noise: Vec<u8> = (0..len)
            .map(|_| u8::try_from(rng.next64() & 0xff).unwrap())
            .collect();
        let start = [
            &b"\xfeSMB\x40\0"[..],
            b"\xffSMB\x72",
            b"\xfdSMB",
            b"\xfcSMB",
        ];
        let start = start[usize::try_from(rng.next64() % 4).unwrap()];
        if noise.len() > start.len() {
            noise[..start.len()].copy_from_slice(start);
        }
        net.frame(conn, &noise);
    }
}

#[test]
fn limits_hold() {
    let limits = Limits {
        connections: 2,
        opens: 5,
        pending_per_connection: 1,
        locks_per_file: 2,
        nodes: 6,
        file_bytes: 1_000,
        ..Limits::default()
    };
    let mut net = Net::with(ServerConfig { limits, ..config() });
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let extra = net.server.connect(LogicalTime::ZERO);
    net.pump();
    assert!(net.closed.contains(&extra));
    let file = net.open(&mut a, "f");
    assert_eq!(net.write(&mut a, file, 999, b"12"), NtStatus::DISK_FULL);
    net.open(&mut b, "f");
    let dir = net.call(&mut a, directory("d")).created().file_id;
    let full = net.call(&mut a, create("g")).status();
    assert_eq!(full, NtStatus::INSUFFICIENT_RESOURCES);
    let body = ChangeNotifyRequest {
        output_buffer_length: 100,
        file_id: dir,
        completion_filter: CompletionFilter::FILE_NAME,
        ..ChangeNotifyRequest::default()
    };
    assert_eq!(net.call(&mut a, body).status(), NtStatus::PENDING);
    let second = net.call(&mut a, body).status();
    assert_eq!(second, NtStatus::INSUFFICIENT_RESOURCES);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let limits = Limits {
        queued_frames_per_connection: 10,
        ..Limits::default()
    };
    let mut net = Net::with(ServerConfig { limits, ..config() });
    let mut a = net.client("a");
    for _ in 0..20 {
        let header = Net::header(&mut a, Command::ECHO);
        let mut frame = Vec::new();
        Message::new(header, Body::Request(EchoRequest {}.into())).encode(&[], &mut frame);
        net.server.receive(net.now, a.conn, &frame);
    }
    net.pump();
    assert!(net.closed.contains(&a.conn));
    assert_eq!(net.server.counters().closed_limit, 1);
}
