//! Harm by what the server holds and looks through: opens, locks, sessions, searches, content.

use std::time::Duration;

use smbench_core::seal::ntlm;
use smbench_core::smb2::{
    AccessMask, ChangeNotifyRequest, CompletionFilter, ContextData, ContextTag, CreateContext,
    CreateOptions, CreateRequest, FileId, FileInfoClass, Guid, InfoClass, InfoType, Lease,
    LeaseState, LockElement, LockFlags, LockRequest, LogoffRequest, NtStatus, OplockLevel,
    QueryDirectoryFlags, QueryDirectoryRequest, ReadRequest, Response, SessionId, SetInfoRequest,
    ShareAccess, WriteRequest,
};

use crate::support::cli::ModelServer;
use crate::support::smb::{Smb, create, setup, tree};
use crate::{MEMORY, close, while_others_work};

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
