//! Names of DFS, and names that lead elsewhere. [MS-SMB2] 3.3.5.9, 2.2.2.2.1

use smbench_core::fscc::{SymbolicLink, SymlinkError};
use smbench_core::smb2::*;
use smbench_core::workload::{Link, Symlink};

use super::client::{Client, Got, Net, config, create, directory};
use crate::server::ShareConfig;

/// A server whose share is a namespace of DFS, and one whose share is not.
fn nets() -> [Net; 2] {
    [true, false].map(|is_dfs| {
        let share = ShareConfig {
            is_dfs,
            ..ShareConfig::disk("share")
        };
        let mut net = Net::with(crate::server::ServerConfig {
            shares: vec![share],
            ..config()
        });
        net.server.put_file("share", "a\\f", b"x").unwrap();
        net
    })
}

fn open(name: &str) -> CreateRequest {
    CreateRequest {
        create_disposition: CreateDisposition::OPEN,
        ..create(name)
    }
}

/// A CREATE with SMB2_FLAGS_DFS_OPERATIONS.
fn dfs(net: &mut Net, client: &mut Client, create: CreateRequest) -> NtStatus {
    dfs_open(net, client, create).status()
}

fn dfs_open(net: &mut Net, client: &mut Client, create: CreateRequest) -> Got {
    let mut header = Net::header(client, Command::CREATE);
    header.flags |= HeaderFlags::DFS;
    let mut frame = Vec::new();
    Message::new(header, Body::Request(create.into())).encode(&[], &mut frame);
    net.frame(client.conn, &frame);
    net.answer(client, header.message_id).unwrap()
}

#[test]
fn names_of_dfs_begin_with_server_and_share_where_there_is_dfs() {
    let [mut with, mut without] = nets();
    let (mut a, mut b) = (with.client("a"), without.client("b"));
    for (name, there, plain) in [
        ("dom.local\\share\\a\\f", NtStatus::SUCCESS, false),
        ("\\dom.local\\share\\a\\f", NtStatus::SUCCESS, false),
        ("dom.local\\share", NtStatus::SUCCESS, false),
        ("a\\f", NtStatus::SUCCESS, true),
        ("x\\y\\a\\none", NtStatus::OBJECT_NAME_NOT_FOUND, false),
        ("x\\y\\none\\f", NtStatus::OBJECT_PATH_NOT_FOUND, false),
        ("", NtStatus::INVALID_PARAMETER, true),
    ] {
        assert_eq!(dfs(&mut with, &mut a, open(name)), there, "{name}");
        // Without the flag, and on a share that is none of DFS, the name is what it says.
        let plain = match plain {
            true => NtStatus::SUCCESS,
            false if name.starts_with('\\') => NtStatus::INVALID_PARAMETER,
            false => NtStatus::OBJECT_PATH_NOT_FOUND,
        };
        assert_eq!(with.call(&mut a, open(name)).status(), plain, "{name}");
        assert_eq!(dfs(&mut without, &mut b, open(name)), plain, "{name}");
    }
    // Server and share are no folders: what they name is the top.
    let top = dfs_open(&mut with, &mut a, open("a\\f")).created();
    assert_eq!(top.file_attributes, FileAttributes::DIRECTORY);
}

#[test]
fn what_is_at_or_below_a_link_of_dfs_is_not_covered() {
    let [mut net, _] = nets();
    net.server.mkdir("share", "a\\link").unwrap();
    net.server.put_link("share", "a\\link", &Link::Dfs).unwrap();
    let mut a = net.client("a");
    let not_covered = NtStatus::PATH_NOT_COVERED;
    for (name, status) in [
        ("a\\f", NtStatus::SUCCESS),
        ("a\\link", not_covered),
        ("A\\LINK\\x\\y", not_covered),
        ("a\\linked", NtStatus::OBJECT_NAME_NOT_FOUND),
    ] {
        let name = format!("dom\\share\\{name}");
        assert_eq!(dfs(&mut net, &mut a, open(&name)), status, "{name}");
        let itself = CreateRequest {
            create_options: CreateOptions::OPEN_REPARSE_POINT,
            ..open(&name)
        };
        assert_eq!(dfs(&mut net, &mut a, itself), status, "{name}");
    }
    // Without the flag the folder itself can be had, as a reparse point.
    let itself = CreateRequest {
        create_options: CreateOptions::OPEN_REPARSE_POINT,
        ..open("a\\link")
    };
    let link = net.call(&mut a, itself).created();
    assert!(link.file_attributes.contains(FileAttributes::REPARSE_POINT));
    assert_eq!(net.call(&mut a, open("a\\link")).status(), not_covered);
    let file = net.call(&mut a, open("a\\f")).created().file_id;
    assert_eq!(rename(&mut net, &mut a, file, "a\\link\\f"), not_covered);
    assert_eq!(rename(&mut net, &mut a, file, "a\\link"), not_covered);
    assert_eq!(rename(&mut net, &mut a, file, "a\\g"), NtStatus::SUCCESS);
}

fn rename(net: &mut Net, client: &mut Client, file_id: FileId, to: &str) -> NtStatus {
    let name = Name::from(to).to_wire();
    let mut buffer = vec![0; 16];
    buffer.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    buffer.extend(name);
    let body = SetInfoRequest {
        info_type: InfoType::FILE,
        file_info_class: FileInfoClass::RENAME.into(),
        buffer,
        file_id,
        ..SetInfoRequest::default()
    };
    net.call(client, body).status()
}

fn symlink(target: &str) -> Link {
    Link::Symlink(Symlink {
        target: Some(target.to_owned()),
        relative: true,
        ..Symlink::default()
    })
}

fn itself(name: &str) -> CreateRequest {
    CreateRequest {
        create_options: CreateOptions::OPEN_REPARSE_POINT,
        ..create(name)
    }
}

/// What a CREATE stops on: bytes that were not looked at, and where the link leads.
fn stops(net: &mut Net, client: &mut Client, name: &str) -> Option<(u16, String, u8)> {
    let got = net.call(client, open(name));
    let Response::Error(error) = &got.body else {
        panic!("{got:?}");
    };
    assert_eq!(got.status(), NtStatus::STOPPED_ON_SYMLINK, "{name}");
    let told = SymlinkError::decode(error).unwrap()?;
    assert!(told.link.relative);
    let target = told.link.substitute.to_string();
    Some((told.unparsed_bytes, target, error.error_context_count))
}

#[test]
fn a_create_stops_on_a_link_and_is_told_where_it_leads() {
    for (dialect, contexts) in [(Dialect::SMB_3_0_2, 0), (Dialect::SMB_3_1_1, 1)] {
        let mut net = Net::new();
        net.server.put_file("share", "d\\link", b"").unwrap();
        net.server.mkdir("share", "dirs").unwrap();
        net.server
            .put_link("share", "d\\link", &symlink("..\\x"))
            .unwrap();
        net.server.put_link("share", "dirs", &symlink("d")).unwrap();
        let mut a = net.client_of("a", dialect, 0);
        let link = ("..\\x".to_owned(), contexts);
        let dirs = ("d".to_owned(), contexts);
        for (name, unparsed, (target, contexts)) in [
            ("d\\link", 0, &link),
            ("D\\LINK:s", 4, &link),
            ("dirs", 0, &dirs),
            ("dirs\\x", 4, &dirs),
            ("dirs\\x\\yz:s", 14, &dirs),
        ] {
            let stopped = stops(&mut net, &mut a, name);
            assert_eq!(
                stopped,
                Some((unparsed, target.clone(), *contexts)),
                "{name}"
            );
        }
        // Only the last name is opened itself.
        let status = net.call(&mut a, itself("dirs\\x")).status();
        assert_eq!(status, NtStatus::STOPPED_ON_SYMLINK);
        let opened = net.call(&mut a, itself("d\\link")).created();
        assert_eq!(opened.file_attributes, FileAttributes::REPARSE_POINT);
        let status = rename(&mut net, &mut a, opened.file_id, "dirs\\x");
        assert_eq!(status, NtStatus::STOPPED_ON_SYMLINK);
    }
}

#[test]
fn where_a_link_leads_may_be_unknown() {
    let mut net = Net::new();
    net.server.put_file("share", "link", b"").unwrap();
    let link = Link::Symlink(Symlink::default());
    net.server.put_link("share", "link", &link).unwrap();
    let mut a = net.client("a");
    let got = net.call(&mut a, open("link"));
    assert_eq!(got.status(), NtStatus::STOPPED_ON_SYMLINK);
}

fn fsctl(
    net: &mut Net,
    client: &mut Client,
    file_id: FileId,
    (ctl_code, input, room): (Fsctl, Vec<u8>, u32),
) -> (NtStatus, Vec<u8>) {
    let body = IoctlRequest {
        ctl_code,
        file_id,
        input,
        max_output_response: room,
        flags: IoctlFlags::IS_FSCTL,
        ..IoctlRequest::default()
    };
    let got = net.call(client, body);
    match got.body {
        Response::Ioctl(ref body) => (got.status(), body.output.clone()),
        _ => (got.status(), Vec::new()),
    }
}

#[test]
fn links_are_made_read_and_removed() {
    const GET: Fsctl = Fsctl::GET_REPARSE_POINT;
    const SET: Fsctl = Fsctl::SET_REPARSE_POINT;
    const DELETE: Fsctl = Fsctl::DELETE_REPARSE_POINT;
    let mut net = Net::new();
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    let buffer = SymbolicLink {
        substitute: "x".into(),
        print: "x".into(),
        relative: true,
    }
    .encode();
    let mut call = |net: &mut Net, code, input: &[u8], room| {
        fsctl(net, &mut a, file, (code, input.to_vec(), room))
    };
    let none = NtStatus::NOT_A_REPARSE_POINT;
    let tag = &buffer[..8];
    let no_data = [&buffer[..4], &[0; 4]].concat();
    assert_eq!(call(&mut net, GET, &[], 64).0, none);
    assert_eq!(call(&mut net, DELETE, &no_data, 0).0, none);
    for odd in [
        &buffer[..7],
        tag,
        &buffer[..23],
        &[&buffer[..], &[0]].concat(),
    ] {
        assert_eq!(
            call(&mut net, SET, odd, 0).0,
            NtStatus(0xc000_0278),
            "{odd:?}"
        );
    }
    assert_eq!(call(&mut net, SET, &buffer, 0).0, NtStatus::SUCCESS);
    assert_eq!(
        call(&mut net, GET, &[], 64),
        (NtStatus::SUCCESS, buffer.clone())
    );
    let cut = (NtStatus::BUFFER_OVERFLOW, buffer[..9].to_vec());
    assert_eq!(call(&mut net, GET, &[], 9), cut);
    assert_eq!(call(&mut net, GET, &[], 7).0, NtStatus::BUFFER_TOO_SMALL);
    let other = [3, 0, 0, 0xa0, 0, 0, 0, 0];
    for code in [SET, DELETE] {
        assert_eq!(call(&mut net, code, &other, 0).0, NtStatus(0xc000_0277));
    }
    assert_eq!(stops(&mut net, &mut a, "f"), Some((0, "x".to_owned(), 0)));
    let mut call = |net: &mut Net, code, input: &[u8], room| {
        fsctl(net, &mut a, file, (code, input.to_vec(), room))
    };
    assert_eq!(call(&mut net, DELETE, &no_data, 0).0, NtStatus::SUCCESS);
    assert_eq!(call(&mut net, GET, &[], 64).0, none);
    assert_eq!(net.call(&mut a, open("f")).status(), NtStatus::SUCCESS);
    // What nobody knows how to follow is not followed, and folders with something in them are no links.
    assert_eq!(
        fsctl(&mut net, &mut a, file, (SET, other.to_vec(), 0)).0,
        NtStatus::SUCCESS
    );
    let status = net.call(&mut a, open("f")).status();
    assert_eq!(status, NtStatus::IO_REPARSE_TAG_NOT_HANDLED);
    let folder = net.call(&mut a, directory("d")).created().file_id;
    net.open(&mut a, "d\\x");
    let full = fsctl(&mut net, &mut a, folder, (SET, buffer.clone(), 0)).0;
    assert_eq!(full, NtStatus::DIRECTORY_NOT_EMPTY);
    let top = net.call(&mut a, directory("")).created().file_id;
    let full = fsctl(&mut net, &mut a, top, (SET, buffer.clone(), 0)).0;
    assert_ne!(full, NtStatus::SUCCESS);
    let reads = CreateRequest {
        desired_access: AccessMask::READ_DATA,
        ..itself("f")
    };
    let reads = net.call(&mut a, reads).created().file_id;
    let denied = fsctl(&mut net, &mut a, reads, (SET, buffer, 0)).0;
    assert_eq!(denied, NtStatus::ACCESS_DENIED);
}

/// [MS-FSCC] 2.4.8: EaSize of a reparse point is its tag.
#[test]
fn listings_show_links() {
    let mut net = Net::new();
    net.server.put_file("share", "link", b"").unwrap();
    net.server.put_link("share", "link", &symlink("x")).unwrap();
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    let body = QueryDirectoryRequest {
        file_information_class: FileInfoClass::FULL_DIRECTORY,
        file_id: dir,
        pattern: "link".into(),
        output_buffer_length: 4096,
        ..QueryDirectoryRequest::default()
    };
    let got = net.call(&mut a, body).ok();
    let Response::QueryDirectory(body) = got.body else {
        panic!("{got:?}");
    };
    assert_eq!(body.output[56..60], 0x400_u32.to_le_bytes());
    assert_eq!(body.output[64..68], 0xa000_000c_u32.to_le_bytes());
}
