//! Connections, trees, names, reading and writing.

use smbench_core::smb2::*;

use super::client::{Net, config, create, directory};
use crate::server::{Plant, SeedEntry, Server, ServerConfig, ShareConfig};

#[test]
fn a_file_lives_from_create_to_delete() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let made = net.call(&mut a, create("Notes.txt")).created();
    assert_eq!(made.create_action, CreateAction::CREATED);
    let wrote = net.write(&mut a, made.file_id, 0, b"hello world");
    assert_eq!(wrote, NtStatus::SUCCESS);
    assert_eq!(net.read(&mut a, made.file_id, 6, 100).unwrap(), b"world");
    let end = net.read(&mut a, made.file_id, 11, 1);
    assert_eq!(end, Err(NtStatus::END_OF_FILE));
    assert_eq!(net.read(&mut a, made.file_id, 11, 0).unwrap(), b"");
    let again = net.call(&mut a, create("NOTES.TXT")).created();
    assert_eq!(again.create_action, CreateAction::OPENED);
    assert_eq!(again.end_of_file, 11);
    net.close(&mut a, again.file_id);
    let set = net.delete_on_close(&mut a, made.file_id, true);
    assert_eq!(set, NtStatus::SUCCESS);
    let pending = net.call(&mut a, create("notes.txt")).status();
    assert_eq!(pending, NtStatus::DELETE_PENDING);
    assert_eq!(net.paths(), ["Notes.txt"]);
    net.close(&mut a, made.file_id);
    assert!(net.paths().is_empty());
    assert_eq!(net.server.open_count(), 0);
    let gone = net.read(&mut a, made.file_id, 0, 1);
    assert_eq!(gone, Err(NtStatus::FILE_CLOSED));
}

#[test]
fn dispositions_do_what_they_say() {
    use CreateDisposition as D;
    let cases = [
        (D::OPEN, true, Ok(CreateAction::OPENED)),
        (D::OPEN, false, Err(NtStatus::OBJECT_NAME_NOT_FOUND)),
        (D::CREATE, true, Err(NtStatus::OBJECT_NAME_COLLISION)),
        (D::CREATE, false, Ok(CreateAction::CREATED)),
        (D::OPEN_IF, true, Ok(CreateAction::OPENED)),
        (D::OPEN_IF, false, Ok(CreateAction::CREATED)),
        (D::OVERWRITE, true, Ok(CreateAction::OVERWRITTEN)),
        (D::OVERWRITE, false, Err(NtStatus::OBJECT_NAME_NOT_FOUND)),
        (D::OVERWRITE_IF, true, Ok(CreateAction::OVERWRITTEN)),
        (D::OVERWRITE_IF, false, Ok(CreateAction::CREATED)),
        (D::SUPERSEDE, true, Ok(CreateAction::SUPERSEDED)),
        (D::SUPERSEDE, false, Ok(CreateAction::CREATED)),
        (CreateDisposition(6), true, Err(NtStatus::INVALID_PARAMETER)),
    ];
    for (disposition, exists, want) in cases {
        let mut net = Net::new();
        let mut a = net.client("a");
        if exists {
            net.server.put_file("share", "f", b"data").unwrap();
        }
        let body = CreateRequest {
            create_disposition: disposition,
            ..create("f")
        };
        let got = net.call(&mut a, body);
        let got = match got.status() {
            NtStatus::SUCCESS => Ok(got.created().create_action),
            status => Err(status),
        };
        assert_eq!(got, want, "{disposition:?} {exists}");
    }
}

#[test]
fn names_lead_where_they_should() {
    let mut net = Net::new();
    net.server.put_file("share", "dir\\file", b"x").unwrap();
    let mut a = net.client("a");
    let mut status = |body: CreateRequest| net.call(&mut a, body).status();
    assert_eq!(status(create("no\\file")), NtStatus::OBJECT_PATH_NOT_FOUND);
    assert_eq!(status(create("\\dir")), NtStatus::INVALID_PARAMETER);
    assert_eq!(status(create("a<b")), NtStatus::OBJECT_NAME_INVALID);
    assert_eq!(status(directory("dir\\file")), NtStatus::NOT_A_DIRECTORY);
    assert_eq!(status(directory("")), NtStatus::SUCCESS);
    let file = CreateRequest {
        create_options: CreateOptions::NON_DIRECTORY_FILE,
        ..create("dir")
    };
    assert_eq!(status(file), NtStatus::FILE_IS_A_DIRECTORY);
    let nothing = CreateRequest {
        desired_access: AccessMask::empty(),
        ..create("dir\\file")
    };
    assert_eq!(status(nothing), NtStatus::ACCESS_DENIED);
}

#[test]
fn trees_and_sessions_end_with_what_is_in_them() {
    let mut net = Net::new();
    let mut a = net.client("a");
    net.open(&mut a, "f");
    let body = TreeConnectRequest {
        path: "\\\\server\\nothing".into(),
        ..TreeConnectRequest::default()
    };
    let wrong = net.call(&mut a, body).status();
    assert_eq!(wrong, NtStatus::BAD_NETWORK_NAME);
    net.call(&mut a, TreeDisconnectRequest {}).ok();
    assert_eq!(net.server.open_count(), 0);
    let left = net.call(&mut a, create("f")).status();
    assert_eq!(left, NtStatus::NETWORK_NAME_DELETED);
    net.call(&mut a, LogoffRequest {}).ok();
    let left = net.call(&mut a, create("f")).status();
    assert_eq!(left, NtStatus::USER_SESSION_DELETED);
    net.call(&mut a, EchoRequest {}).ok();
}

#[test]
fn streams_are_files_of_their_own() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let base = net.open(&mut a, "f");
    let named = net.open(&mut a, "f:one");
    net.write(&mut a, base, 0, b"base");
    net.write(&mut a, named, 0, b"stream");
    assert_eq!(net.read(&mut a, named, 0, 10).unwrap(), b"stream");
    assert_eq!(net.paths(), ["f", "f:one"]);
    let (status, list) = net.query(&mut a, base, FileInfoClass::STREAM, 1000);
    assert_eq!((status, list.len()), (NtStatus::SUCCESS, 40 + 24 + 20));
    net.close(&mut a, named);
    assert_eq!(net.rename(&mut a, base, "g", false), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["g", "g:one"]);

    let mut net = Net::planted(Plant::RenameLosesStream);
    let mut a = net.client("a");
    let named = net.open(&mut a, "f:one");
    net.close(&mut a, named);
    let base = net.open(&mut a, "f");
    net.rename(&mut a, base, "g", false);
    assert_eq!(net.paths(), ["g"]);
}

#[test]
fn credits_and_message_ids_are_kept() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let got = net.call(&mut a, EchoRequest {}).ok();
    assert_eq!(got.header.credits, 64);
    a.mid += 5000;
    net.send(&mut a, EchoRequest {});
    assert!(net.closed.contains(&a.conn));
    assert_eq!(net.server.counters().closed_malformed, 1);
}

#[test]
fn a_planted_leak_takes_credits() {
    let mut net = Net::planted(Plant::CreditsLeak);
    let mut a = net.client("a");
    let granted: u32 = (0..32)
        .map(|_| u32::from(net.call(&mut a, EchoRequest {}).header.credits))
        .sum();
    assert_eq!(granted, 32 * 64 - 2);
}

#[test]
fn seeds_and_snapshots_agree() {
    let mut share = ShareConfig::disk("data");
    share.files = vec![
        SeedEntry::Dir { path: "d".into() },
        SeedEntry::File {
            path: "e\\f".into(),
            data: b"1".to_vec(),
        },
    ];
    let mut server = Server::new(ServerConfig {
        shares: vec![share],
        ..config()
    });
    server.put_file("DATA", "e\\f:s", b"22").unwrap();
    server
        .put_parts("data", "g", false, 4, [(1, b"x")])
        .unwrap();
    let entries = server.snapshot("data").into_iter();
    let paths: Vec<_> = entries.map(|entry| (entry.path, entry.data)).collect();
    let want = [
        ("d", None),
        ("e", None),
        ("e\\f", Some(b"1".to_vec())),
        ("e\\f:s", Some(b"22".to_vec())),
        ("g", Some(b"\0x\0\0".to_vec())),
    ];
    assert_eq!(paths, want.map(|(path, data)| (path.to_owned(), data)));
    assert!(server.mkdir("none", "x").is_err());
    assert!(server.put_file("data", "d", b"").is_err());
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let mut net = Net::with(ServerConfig { seed, ..config() });
        let mut a = net.client("a");
        let id = net.open(&mut a, "f");
        (a.session, a.tree, id)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn plants_have_names() {
    for plant in Plant::ALL {
        assert_eq!(plant.name().parse::<Plant>(), Ok(*plant));
        assert!(!plant.description().is_empty());
    }
    assert!("no-such-bug".parse::<Plant>().is_err());
}
