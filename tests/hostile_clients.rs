//! Twenty-five ways to mean harm to `smbench serve`: each is bounded in memory and in time, and somebody
//! else, who wants nothing special, is served all the while.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smbench_core::seal::ntlm;
use smbench_core::smb2::{
    AccessMask, CancelRequest, ChangeNotifyRequest, CloseRequest, CompletionFilter, ContextData,
    ContextTag, CreateContext, CreateOptions, CreateRequest, EchoRequest, FileId, FileInfoClass,
    Guid, InfoClass, InfoType, Lease, LeaseState, LockElement, LockFlags, LockRequest,
    LogoffRequest, NtStatus, OplockLevel, QueryDirectoryFlags, QueryDirectoryRequest, ReadRequest,
    Request, Response, SessionId, SetInfoRequest, ShareAccess, WriteRequest,
};
use support::cli::ModelServer;
use support::smb::{Smb, create, setup, tree};

/// What a behaviour may cost the server, in bytes: that of a debug build with nothing to do is some
/// 20 MiB.
const MEMORY: u64 = 100 << 20;
/// How long somebody else may wait for an answer, on a machine that does other things as well.
const WAIT: Duration = Duration::from_secs(5);

/// Lets somebody behave badly, while somebody else works.
fn while_others_work(memory: u64, behave: impl FnOnce(&str)) {
    let server = ModelServer::start(["--share", "share"]);
    let over = AtomicBool::new(false);
    let address = server.address.as_str();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(address, &over));
        let behaved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| behave(address)));
        over.store(true, Ordering::SeqCst);
        let (rounds, longest) = other.join().unwrap();
        if let Err(panic) = behaved {
            std::panic::resume_unwind(panic);
        }
        assert!(rounds > 0);
        println!("somebody else: {rounds} rounds, the longest wait {longest:?}");
        assert!(longest < WAIT, "somebody else waited for {longest:?}");
    });
    let most = server.most_memory();
    println!("the server: {} MiB at most", most >> 20);
    assert!(most < memory, "{} MiB", most >> 20);
}

/// Connects, and works on files: small ones, and once in a while a megabyte. Gives how often, and the
/// longest wait for an answer.
fn work(address: &str, over: &AtomicBool) -> (u32, Duration) {
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    let mut timed = |act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        longest = longest.max(start.elapsed());
    };
    while rounds == 0 || !over.load(Ordering::SeqCst) {
        let mut client = None;
        timed(&mut || client = Some(Smb::guest(address)));
        let mut client = client.unwrap();
        for file in 0..8 {
            let mut file_id = FileId::default();
            timed(&mut || file_id = client.open(&format!("somebody's file {file}")));
            let data = vec![7; if file == 7 { 1 << 20 } else { 1_000 }];
            let length = u32::try_from(data.len()).unwrap();
            let write = WriteRequest {
                file_id,
                length,
                ..WriteRequest::default()
            };
            timed(&mut || drop(client.expect(write.clone(), &data)));
            let read = ReadRequest {
                file_id,
                length,
                ..ReadRequest::default()
            };
            timed(&mut || assert!(client.expect(read.clone(), &[]).bulk == data));
            timed(&mut || drop(client.expect(close(file_id), &[])));
        }
        rounds += 1;
    }
    (rounds, longest)
}

fn close(file_id: FileId) -> CloseRequest {
    CloseRequest {
        file_id,
        ..CloseRequest::default()
    }
}

fn directory(name: &str) -> CreateRequest {
    CreateRequest {
        create_options: CreateOptions::DIRECTORY_FILE,
        ..create(name)
    }
}

fn created(response: &Response) -> FileId {
    match response {
        Response::Create(body) => body.file_id,
        other => panic!("{other:?}"),
    }
}

/// Sends requests without looking at the answers, which something else reads away.
fn flood(client: &mut Smb, count: u64, mut request: impl FnMut(u64) -> Request) {
    let mut from = client.stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut std::io::sink()));
    });
    for number in 0..count {
        let body = request(number);
        if !client.send(body, &[]) {
            break;
        }
    }
    drop(client.stream.shutdown(std::net::Shutdown::Write));
    drain.join().unwrap();
}

/// Asks for something until it is refused, at most so many times; gives how often it was granted.
#[track_caller]
fn until_refused(most: u64, status: NtStatus, mut ask: impl FnMut(u64) -> NtStatus) -> u64 {
    for number in 0..most {
        match ask(number) {
            NtStatus::SUCCESS | NtStatus::PENDING => {}
            refused => {
                assert_eq!(refused, status);
                return number;
            }
        }
    }
    most
}

const REFUSED: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;

#[test]
fn half_sent_frames_of_strangers() {
    while_others_work(MEMORY, |address| {
        let mut strangers: Vec<_> = (0..60).map(|_| Smb::stranger(address)).collect();
        for stranger in &mut strangers {
            drop(stranger.stream.write_all(&[0, 0x98, 0x96, 0x80])); // 10 MB
            drop(stranger.stream.write_all(&vec![7; 100_000]));
        }
        assert!(strangers.iter_mut().all(Smb::is_ended));
    });
}

#[test]
fn half_sent_frames_of_clients() {
    // 60 times half of 10 MB; all together may hold 128 MiB and a frame.
    while_others_work(MEMORY + (144 << 20), |address| {
        let mut clients: Vec<_> = (0..60).map(|_| Smb::guest(address)).collect();
        for client in &mut clients {
            let short = Duration::from_millis(300);
            client.stream.set_write_timeout(Some(short)).unwrap();
            drop(client.stream.write_all(&[0, 0x98, 0x96, 0x80]));
            drop(client.stream.write_all(&vec![7; 5_000_000]));
        }
        // Somebody else's long frame gets through.
        let mut client = Smb::guest(address);
        let file_id = client.open("long");
        let write = WriteRequest {
            file_id,
            length: 8 << 20,
            ..WriteRequest::default()
        };
        client.expect(write, &vec![1; 8 << 20]);
    });
}

#[test]
fn frames_without_content() {
    while_others_work(MEMORY, |address| {
        for _ in 0..200 {
            let mut stranger = Smb::stranger(address);
            drop(stranger.stream.write_all(&[0; 4_000]));
            assert!(stranger.is_ended());
        }
    });
}

#[test]
fn types_of_netbios_sessions() {
    while_others_work(MEMORY, |address| {
        for kind in [0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0xff] {
            let mut stranger = Smb::stranger(address);
            drop(stranger.stream.write_all(&[kind, 0, 0, 1, 9]));
            assert!(stranger.is_ended(), "{kind:#x}");
        }
        // Keep-alives are no frames, and end nothing.
        let mut stranger = Smb::stranger(address);
        stranger
            .stream
            .write_all(&[0x85, 0, 0, 0].repeat(100_000))
            .unwrap();
        stranger.send(EchoRequest {}, &[]);
        assert!(stranger.is_ended(), "nothing comes before NEGOTIATE");
    });
}

#[test]
fn huge_compounds() {
    while_others_work(MEMORY, |address| {
        for count in [129, 10_000, 60_000] {
            let mut client = Smb::guest(address);
            let mut frame = Vec::new();
            for number in 0..count {
                let mut echo = client.encode(EchoRequest {}, &[]);
                echo.resize(72, 0);
                let next = if number + 1 == count { 0_u32 } else { 72 };
                echo[20..24].copy_from_slice(&next.to_le_bytes());
                frame.extend(echo);
            }
            client.frame(&frame);
            assert!(client.is_ended(), "{count}");
        }
    });
}

#[test]
fn compounds_that_lead_back_or_beyond() {
    while_others_work(MEMORY, |address| {
        for next in [1_u32, 8, 63, 64, 68, 0x7fff_ffff, u32::MAX] {
            let mut client = Smb::guest(address);
            let mut frame = client.encode(EchoRequest {}, &[]);
            frame[20..24].copy_from_slice(&next.to_le_bytes());
            frame.extend([0; 100]);
            client.frame(&frame);
            assert!(client.is_ended(), "{next:#x}");
        }
    });
}

#[test]
fn credits_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        for _ in 0..100 {
            let mut frame = client.encode(EchoRequest {}, &[]);
            frame[14..16].copy_from_slice(&u16::MAX.to_le_bytes());
            assert!(client.frame(&frame));
            client.receive().unwrap();
        }
        client.mid += 8_192;
        client.send(EchoRequest {}, &[]);
        assert!(client.is_ended(), "an id that was not granted");
        // Ids that are used in no order, each once, as far as they were granted.
        let mut client = Smb::guest(address);
        let first = client.mid;
        for number in (0..200).rev() {
            client.mid = first + number;
            assert!(client.send(EchoRequest {}, &[]));
        }
        (0..200).for_each(|_| drop(client.receive().unwrap()));
    });
}

#[test]
fn cancels_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        flood(&mut client, 20_000, |_| CancelRequest {}.into());
    });
}

#[test]
fn locks_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let file_id = client.open("locked");
        let granted = until_refused(100, REFUSED, |number| {
            let locks = (0..1_000).map(|at| LockElement {
                offset: number * 1_000 + at,
                length: 1,
                flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY,
                ..LockElement::default()
            });
            let body = LockRequest {
                file_id,
                locks: locks.collect(),
                ..LockRequest::default()
            };
            client.call(body, &[]).status()
        });
        assert_eq!(granted, 10);
    });
}

#[test]
fn watches_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let granted = until_refused(2_000, REFUSED, |_| {
            let dir = client.expect(directory(""), &[]);
            let watch = ChangeNotifyRequest {
                output_buffer_length: 60_000,
                file_id: created(&dir.body),
                completion_filter: CompletionFilter::from_bits_retain(0xfff),
                ..ChangeNotifyRequest::default()
            };
            client.call(watch, &[]).status()
        });
        assert!(granted >= 512, "{granted}");
        // Somebody else's changes reach some of them in the meantime.
        std::thread::sleep(Duration::from_millis(500));
    });
}

#[test]
fn connections_without_end() {
    while_others_work(MEMORY, |address| {
        // As many as a process may have by default, or nearly.
        let silent: Vec<_> = (0..900)
            .map_while(|_| TcpStream::connect(address).ok())
            .collect();
        assert!(silent.len() > 500);
        std::thread::sleep(Duration::from_millis(300));
    });
}

#[test]
fn connections_that_come_and_go() {
    while_others_work(MEMORY, |address| {
        for number in 0..1_500 {
            let mut client = Smb::stranger(address);
            if number % 3 == 0 {
                drop(client.stream.write_all(&[0, 0]));
            }
        }
    });
}

#[test]
fn breaks_that_are_not_acknowledged() {
    while_others_work(MEMORY, |address| {
        let mut holder = Smb::guest(address);
        for number in 0..100 {
            let body = CreateRequest {
                requested_oplock_level: OplockLevel::BATCH,
                ..create(&format!("held {number}"))
            };
            holder.expect(body, &[]);
        }
        let mut asking = Smb::guest(address);
        for number in 0..100 {
            let answer = asking.call(create(&format!("held {number}")), &[]);
            assert_eq!(answer.status(), NtStatus::PENDING);
        }
        // And on: the waiting of one client is limited.
        let granted = until_refused(2_000, REFUSED, |number| {
            let body = create(&format!("held {}", number % 100));
            asking.call(body, &[]).status()
        });
        assert_eq!(granted, 512 - 100);
        drop(holder);
    });
}

#[test]
fn answers_that_nobody_reads() {
    while_others_work(MEMORY + (100 << 20), |address| {
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = Smb::guest(address);
            let file_id = client.open("long");
            let write = WriteRequest {
                file_id,
                length: 1 << 20,
                ..WriteRequest::default()
            };
            client.expect(write, &vec![1; 1 << 20]);
            let short = Duration::from_millis(200);
            client.stream.set_write_timeout(Some(short)).unwrap();
            for _ in 0..60 {
                let read = ReadRequest {
                    file_id,
                    length: 1 << 20,
                    ..ReadRequest::default()
                };
                if !client.send(read, &[]) {
                    break;
                }
            }
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(500));
    });
}

#[test]
fn echoes_that_nobody_reads() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let short = Duration::from_millis(200);
        client.stream.set_write_timeout(Some(short)).unwrap();
        for _ in 0..8_000 {
            if !client.send(EchoRequest {}, &[]) {
                break;
            }
        }
    });
}

#[test]
fn opens_of_one_file_by_the_ten_thousand() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        for number in 0..10_000_u32 {
            // Plain, with an oplock, with one lease, with a lease each.
            let mut body = create("popular");
            let mut lease = |key: u32| {
                let mut guid = [0; 16];
                guid[..4].copy_from_slice(&key.to_le_bytes());
                body.requested_oplock_level = OplockLevel::LEASE;
                body.contexts.push(CreateContext::lease(Lease {
                    version: 2,
                    key: Guid(guid),
                    state: LeaseState::READ,
                    ..Lease::default()
                }));
            };
            match number % 4 {
                0 => lease(1),
                1 => lease(number),
                2 => body.requested_oplock_level = OplockLevel::LEVEL_II,
                _ => {}
            }
            client.expect(body, &[]);
        }
        let mut other = Smb::guest(address);
        let file_id = other.open("popular");
        let write = WriteRequest {
            file_id,
            length: 5,
            ..WriteRequest::default()
        };
        other.expect(write, b"break");
        drop(client);
    });
}

#[test]
fn sessions_and_trees_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::negotiated(address);
        for _ in 0..3_000 {
            // Half a login each, which nobody ends.
            client.begin_login();
        }
        let mut client = Smb::guest(address);
        let granted = until_refused(2_000, REFUSED, |_| client.call(tree("share"), &[]).status());
        assert_eq!(granted, 1_023);
        client.expect(LogoffRequest {}, &[]);
    });
}

#[test]
fn logins_with_long_tokens() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::negotiated(address);
        let mut token = ntlm::build_negotiate(0xE208_8233);
        token.resize(65_000, 0);
        for _ in 0..300 {
            client.session = SessionId(0);
            let status = client.call(setup(&token), &token).status();
            assert_eq!(status, REFUSED);
        }
    });
}

#[test]
fn searches_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        for number in 0..500 {
            let file_id = client.open(&format!("a file to be listed, number {number}"));
            client.expect(close(file_id), &[]);
        }
        let query = |client: &mut Smb, file_id, pattern: &str| {
            let body = QueryDirectoryRequest {
                file_information_class: FileInfoClass::NAMES,
                flags: QueryDirectoryFlags::RETURN_SINGLE_ENTRY,
                file_id,
                pattern: pattern.into(),
                output_buffer_length: 60_000,
                ..QueryDirectoryRequest::default()
            };
            client.call(body, &[]).status()
        };
        for _ in 0..2_000 {
            let dir = client.expect(directory(""), &[]);
            let status = query(&mut client, created(&dir.body), "*");
            assert_eq!(status, NtStatus::SUCCESS);
        }
        for _ in 0..20 {
            let dir = client.expect(directory(""), &[]);
            query(&mut client, created(&dir.body), &"*a?<>".repeat(100));
        }
        let dir = client.expect(directory(""), &[]);
        let status = query(&mut client, created(&dir.body), &"*".repeat(30_000));
        assert_eq!(status, NtStatus::OBJECT_NAME_INVALID);
    });
}

#[test]
fn writes_of_lengths_and_places_beyond_all_bounds() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let file_id = client.open("wide");
        let write = |length: u32, offset: u64| WriteRequest {
            file_id,
            length,
            offset,
            ..WriteRequest::default()
        };
        // Far out is a hole and a byte; beyond the size of a file there is no room.
        for offset in [u64::from(u32::MAX), 1 << 39, (1 << 40) - 1] {
            client.expect(write(1, offset), b"x");
        }
        for offset in [1 << 40, 1 << 62, (1 << 63) - 1] {
            let status = client.call(write(1, offset), b"x").status();
            assert_eq!(status, NtStatus::DISK_FULL, "{offset:#x}");
        }
        let status = client.call(write(1, u64::MAX), b"x").status();
        assert_eq!(status, NtStatus::INVALID_PARAMETER);
        for size in [1 << 40, u64::MAX >> 1] {
            let body = SetInfoRequest {
                info_type: InfoType::FILE,
                file_info_class: InfoClass(FileInfoClass::END_OF_FILE.0),
                buffer: u64::to_le_bytes(size).to_vec(),
                file_id,
                ..SetInfoRequest::default()
            };
            let want = if size == 1 << 40 {
                NtStatus::SUCCESS
            } else {
                NtStatus::DISK_FULL
            };
            assert_eq!(client.call(body, &[]).status(), want, "{size:#x}");
        }
        // A length of 2^32 - 1 with a byte behind it.
        for value in [u32::MAX, 0x7fff_ffff, 1 << 24] {
            let mut client = Smb::guest(address);
            let mut frame = client.encode(write(1, 0), b"x");
            frame[68..72].copy_from_slice(&value.to_le_bytes());
            if client.frame(&frame)
                && let Some(answer) = client.receive()
            {
                assert_eq!(answer.status(), NtStatus::INVALID_PARAMETER, "{value:#x}");
            }
        }
        let read = ReadRequest {
            file_id,
            length: 1,
            ..ReadRequest::default()
        };
        let mut frame = client.encode(read, &[]);
        frame[68..72].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(client.frame(&frame));
        let status = client.receive().unwrap().status();
        assert_eq!(status, NtStatus::INVALID_PARAMETER);
    });
}

#[test]
fn content_until_the_disk_is_full() {
    let args = ["--share", "share", "--content-limit", "64"];
    let server = ModelServer::start(args);
    let mut client = Smb::guest(&server.address);
    let mut file_id = client.open("full");
    let data = vec![1; 65_536];
    let mut written = until_refused(5_000, NtStatus::DISK_FULL, |number| {
        let write = WriteRequest {
            file_id,
            length: 65_536,
            offset: number << 16,
            ..WriteRequest::default()
        };
        client.call(write, &data).status()
    });
    assert!((900..=1_024).contains(&written), "{written}");
    // What was freed can be used again, by single bytes as well, and these cost what they take.
    let body = SetInfoRequest {
        info_type: InfoType::FILE,
        file_info_class: InfoClass(FileInfoClass::END_OF_FILE.0),
        buffer: vec![0; 8],
        file_id,
        ..SetInfoRequest::default()
    };
    client.expect(body, &[]);
    file_id = client.open("bytes");
    written = until_refused(5_000, NtStatus::DISK_FULL, |number| {
        let write = WriteRequest {
            file_id,
            length: 1,
            offset: number << 16 | 0xffff,
            ..WriteRequest::default()
        };
        client.call(write, b"x").status()
    });
    assert!((900..=1_024).contains(&written), "{written}");
    let most = server.most_memory();
    assert!(most < MEMORY + (64 << 20), "{} MiB", most >> 20);
}

#[test]
fn names_and_streams_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let granted = until_refused(3_000, NtStatus::DISK_FULL, |number| {
            let answer = client.call(create(&format!("streams:{number}")), &[]);
            if answer.status() == NtStatus::SUCCESS {
                client.expect(close(created(&answer.body)), &[]);
            }
            answer.status()
        });
        assert_eq!(granted, 1_024);
        // A path of very many names leads nowhere, and soon.
        let deep = "d\\".repeat(16_000);
        let status = client.call(create(&deep), &[]).status();
        assert_eq!(status, NtStatus::OBJECT_PATH_NOT_FOUND);
        let mut path = String::from("d");
        for _ in 0..500 {
            let dir = client.expect(directory(&path), &[]);
            client.expect(close(created(&dir.body)), &[]);
            path += "\\d";
        }
    });
}

#[test]
fn attributes_that_overlap() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let file_id = client.open("attributes");
        let mut list = [8, 0, 0, 0, 0, 1, 0xff, 0xff].repeat(100_000);
        list.extend([0; 70_000]);
        let body = SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: InfoClass(FileInfoClass::FULL_EA.0),
            buffer: list,
            file_id,
            ..SetInfoRequest::default()
        };
        let status = client.call(body, &[]).status();
        assert_eq!(status, NtStatus::EA_TOO_LARGE);
    });
}

#[test]
fn durable_opens_that_are_left_behind() {
    while_others_work(MEMORY, |address| {
        for round in 0..10 {
            let mut client = Smb::guest(address);
            for number in 0..200 {
                let mut body = CreateRequest {
                    requested_oplock_level: OplockLevel::BATCH,
                    ..create(&format!("left {round} {number}"))
                };
                body.contexts.push(CreateContext {
                    tag: ContextTag::DHNQ,
                    data: ContextData::DurableRequest(Default::default()),
                });
                client.expect(body, &[]);
            }
        }
        // They stand in nobody's way.
        let mut client = Smb::guest(address);
        let body = CreateRequest {
            share_access: ShareAccess::empty(),
            desired_access: AccessMask::from_bits_retain(0x0012_019f),
            ..create("left 3 7")
        };
        client.expect(body, &[]);
    });
}

#[test]
fn noise_of_every_protocol() {
    while_others_work(MEMORY, |address| {
        let mut state = 1_u64;
        let mut noise = |len: usize| -> Vec<u8> {
            let bytes = (0..len).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            });
            bytes.collect()
        };
        for round in 0..400 {
            let mut client = if round % 2 == 0 {
                Smb::stranger(address)
            } else {
                Smb::guest(address)
            };
            let start = [
                &b"\xfeSMB\x40\0"[..],
                b"\xffSMB\x72",
                b"\xfdSMB",
                b"\xfcSMB",
                b"GET / HTTP/1.1",
            ];
            let mut frame = start[round / 2 % start.len()].to_vec();
            frame.extend(noise(round));
            client.frame(&frame);
        }
    });
}

#[test]
fn frames_that_trickle() {
    while_others_work(MEMORY, |address| {
        let mut clients: Vec<_> = (0..50).map(|_| Smb::guest(address)).collect();
        for byte in [0_u8; 40] {
            for client in &mut clients {
                drop(client.stream.write_all(&[byte]));
            }
        }
        let mut slow = Smb::guest(address);
        let frame = slow.encode(EchoRequest {}, &[]);
        slow.stream
            .write_all(&[0, 0, 0, u8::try_from(frame.len()).unwrap()])
            .unwrap();
        for byte in frame {
            slow.stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(slow.receive().unwrap().status(), NtStatus::SUCCESS);
    });
}
