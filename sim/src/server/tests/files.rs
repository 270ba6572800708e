//! Directories, renames, deletion, information, FSCTLs.

use smbench_core::smb2::*;

use super::client::{Client, Net, create, directory};
use crate::server::Plant;

fn list(
    net: &mut Net,
    client: &mut Client,
    file_id: FileId,
    pattern: &str,
    room: u32,
    flags: QueryDirectoryFlags,
) -> Result<Vec<String>, NtStatus> {
    let body = QueryDirectoryRequest {
        file_information_class: FileInfoClass::ID_BOTH_DIRECTORY,
        flags,
        file_id,
        pattern: pattern.into(),
        output_buffer_length: room,
        ..QueryDirectoryRequest::default()
    };
    let got = net.call(client, body);
    let Response::QueryDirectory(body) = &got.body else {
        return Err(got.status());
    };
    if got.status() != NtStatus::SUCCESS {
        return Err(got.status());
    }
    let mut names = Vec::new();
    let mut rest = body.output.as_slice();
    loop {
        let word =
            |at: usize| usize::try_from(u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()));
        let len = word(60).unwrap();
        names.push(Name::from_wire(&rest[104..104 + len]).to_string());
        match word(0).unwrap() {
            0 => return Ok(names),
            next => rest = &rest[next..],
        }
    }
}

#[test]
fn directories_are_listed_in_pieces() {
    let mut net = Net::new();
    for name in ["one.txt", "Two.TXT", "three.doc"] {
        net.server.put_file("share", name, b"x").unwrap();
    }
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    let none = QueryDirectoryFlags::empty();
    let restart = QueryDirectoryFlags::RESTART_SCANS;
    let single = QueryDirectoryFlags::RETURN_SINGLE_ENTRY;
    let all = list(&mut net, &mut a, dir, "*", 65536, none).unwrap();
    assert_eq!(all, [".", "..", "one.txt", "three.doc", "Two.TXT"]);
    let end = list(&mut net, &mut a, dir, "*", 65536, none);
    assert_eq!(end, Err(NtStatus::NO_MORE_FILES));
    let some = list(&mut net, &mut a, dir, "*.txt", 65536, restart).unwrap();
    assert_eq!(some, ["one.txt", "Two.TXT"]);
    let one = list(&mut net, &mut a, dir, "*", 65536, restart | single).unwrap();
    assert_eq!(one, ["."]);
    let mut seen = Vec::new();
    while let Ok(mut names) = list(&mut net, &mut a, dir, "*", 260, none) {
        assert!(names.len() <= 2);
        seen.append(&mut names);
    }
    assert_eq!(seen, ["..", "one.txt", "three.doc", "Two.TXT"]);
    let missing = list(&mut net, &mut a, dir, "zz*", 65536, restart);
    assert_eq!(missing, Err(NtStatus::NO_SUCH_FILE));
    let tight = list(&mut net, &mut a, dir, "one*", 106, restart);
    assert_eq!(tight, Err(NtStatus::BUFFER_OVERFLOW));
    let tiny = list(&mut net, &mut a, dir, "one*", 10, restart);
    assert_eq!(tiny, Err(NtStatus::INFO_LENGTH_MISMATCH));
}

#[test]
fn every_directory_class_has_its_layout() {
    let mut net = Net::new();
    net.server.put_file("share", "abc", b"12345").unwrap();
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    for (class, fixed) in [
        (1, 64),
        (2, 68),
        (3, 94),
        (12, 12),
        (37, 104),
        (38, 80),
        (60, 88),
        (63, 114),
        (78, 80),
        (79, 106),
        (80, 96),
        (81, 122),
    ] {
        let body = QueryDirectoryRequest {
            file_information_class: FileInfoClass(class),
            flags: QueryDirectoryFlags::RESTART_SCANS,
            file_id: dir,
            pattern: "abc".into(),
            output_buffer_length: 1000,
            ..QueryDirectoryRequest::default()
        };
        let Response::QueryDirectory(body) = net.call(&mut a, body).ok().body else {
            panic!("no entries");
        };
        assert_eq!(body.output.len(), fixed + 6, "class {class}");
        assert_eq!(&body.output[fixed..], b"a\0b\0c\0");
    }
}

#[test]
fn renames_move_open_files() {
    let mut net = Net::new();
    net.server.mkdir("share", "d").unwrap();
    net.server.put_file("share", "taken", b"t").unwrap();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let file = net.open(&mut a, "f");
    let other = net.open(&mut b, "f");
    let got = net.rename(&mut a, file, "taken", false);
    assert_eq!(got, NtStatus::OBJECT_NAME_COLLISION);
    assert_eq!(net.rename(&mut a, file, "d\\F2", false), NtStatus::SUCCESS);
    net.write(&mut b, other, 0, b"still");
    assert_eq!(net.read(&mut a, file, 0, 9).unwrap(), b"still");
    let (_, name) = net.query(&mut b, other, FileInfoClass::NAME, 100);
    assert_eq!(Name::from_wire(&name[4..]).to_string(), "\\d\\F2");
    // A directory does not move while something in it is open.
    let dir = net.call(&mut a, directory("d")).created().file_id;
    assert_eq!(net.rename(&mut a, dir, "e", false), NtStatus::ACCESS_DENIED);
    let held = net.open(&mut a, "taken");
    let got = net.rename(&mut a, file, "taken", true);
    assert_eq!(got, NtStatus::ACCESS_DENIED);
    net.close(&mut a, held);
    let held = net.open(&mut b, "taken");
    assert_eq!(net.rename(&mut a, file, "taken", true), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["d", "taken"]);
    assert_eq!(
        net.read(&mut b, held, 0, 9).unwrap(),
        b"t",
        "lives without a name"
    );
    net.close(&mut b, held);
    assert_eq!(
        net.rename(&mut a, dir, "d\\d", false),
        NtStatus::ACCESS_DENIED
    );
    assert_eq!(net.rename(&mut a, dir, "e", false), NtStatus::SUCCESS);
    let body = CreateRequest {
        desired_access: AccessMask::READ_DATA,
        ..create("taken")
    };
    let reader = net.call(&mut a, body).created().file_id;
    let got = net.rename(&mut a, reader, "x", false);
    assert_eq!(got, NtStatus::ACCESS_DENIED);
}

#[test]
fn deletion_waits_for_the_last_close() {
    let mut net = Net::new();
    net.server.put_file("share", "d\\f", b"x").unwrap();
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    let dir = net.call(&mut a, directory("d")).created().file_id;
    let got = net.delete_on_close(&mut a, dir, true);
    assert_eq!(got, NtStatus::DIRECTORY_NOT_EMPTY);
    let second = net.open(&mut b, "d\\f");
    let body = CreateRequest {
        create_options: CreateOptions::DELETE_ON_CLOSE,
        ..create("d\\f")
    };
    let first = net.call(&mut a, body).created().file_id;
    net.close(&mut a, first);
    assert_eq!(net.paths(), ["d", "d\\f"]);
    assert_eq!(net.read(&mut b, second, 0, 1).unwrap(), b"x");
    let pending = net.call(&mut a, create("d\\f")).status();
    assert_eq!(pending, NtStatus::DELETE_PENDING);
    assert_eq!(
        net.delete_on_close(&mut b, second, false),
        NtStatus::SUCCESS
    );
    let again = net.open(&mut a, "d\\f");
    net.delete_on_close(&mut b, second, true);
    net.close(&mut b, second);
    net.close(&mut a, again);
    assert_eq!(net.paths(), ["d"]);
    assert_eq!(net.delete_on_close(&mut a, dir, true), NtStatus::SUCCESS);
    net.close(&mut a, dir);
    assert!(net.paths().is_empty());

    let mut net = Net::planted(Plant::LostDeleteOnClose);
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    net.delete_on_close(&mut a, file, true);
    net.close(&mut a, file);
    assert_eq!(net.paths(), ["f"]);
}

#[test]
fn read_only_files_stay() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    let mut basic = vec![0; 40];
    basic[32] = 1;
    let got = net.set(&mut a, file, FileInfoClass::BASIC, basic);
    assert_eq!(got, NtStatus::SUCCESS);
    let got = net.delete_on_close(&mut a, file, true);
    assert_eq!(got, NtStatus::CANNOT_DELETE);
    assert_eq!(
        net.call(&mut a, create("f")).status(),
        NtStatus::ACCESS_DENIED
    );
    let most = CreateRequest {
        desired_access: AccessMask::MAXIMUM_ALLOWED,
        ..create("f")
    };
    let reader = net.call(&mut a, most).created();
    assert_eq!(reader.file_attributes.bits() & 1, 1);
    let got = net.write(&mut a, reader.file_id, 0, b"x");
    assert_eq!(got, NtStatus::ACCESS_DENIED);
}

#[test]
fn information_has_its_length() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    net.write(&mut a, file, 0, &[0; 5000]);
    for (class, len) in [
        (4, 40),
        (5, 24),
        (6, 8),
        (7, 4),
        (8, 4),
        (14, 8),
        (16, 4),
        (17, 4),
        (34, 56),
        (35, 8),
        (18, 104),
    ] {
        let (status, bytes) = net.query(&mut a, file, FileInfoClass(class), 1000);
        assert_eq!(status, NtStatus::SUCCESS, "class {class}");
        assert!(bytes.len() == len || class == 18, "class {class}");
    }
    let (status, _) = net.query(&mut a, file, FileInfoClass::BASIC, 10);
    assert_eq!(status, NtStatus::INFO_LENGTH_MISMATCH);
    let (status, bytes) = net.query(&mut a, file, FileInfoClass::ALL, 104);
    assert_eq!((status, bytes.len()), (NtStatus::SUCCESS, 104));
    let (status, _) = net.query(&mut a, file, FileInfoClass(99), 100);
    assert_eq!(status, NtStatus::INVALID_INFO_CLASS);
    let size = 100_u64.to_le_bytes().to_vec();
    let got = net.set(&mut a, file, FileInfoClass::END_OF_FILE, size);
    assert_eq!(got, NtStatus::SUCCESS);
    assert_eq!(net.read(&mut a, file, 0, 5000).unwrap().len(), 100);
    let ea = b"\0\0\0\0\0\x03\x05\0key\0value".to_vec();
    let got = net.set(&mut a, file, FileInfoClass::FULL_EA, ea.clone());
    assert_eq!(got, NtStatus::SUCCESS);
    let (_, bytes) = net.query(&mut a, file, FileInfoClass::FULL_EA, 100);
    assert_eq!(bytes, ea);
}

fn fsctl(
    net: &mut Net,
    client: &mut Client,
    file_id: FileId,
    ctl_code: Fsctl,
    input: Vec<u8>,
) -> Result<Vec<u8>, NtStatus> {
    let body = IoctlRequest {
        ctl_code,
        file_id,
        input,
        max_output_response: 64,
        flags: IoctlFlags::IS_FSCTL,
        ..IoctlRequest::default()
    };
    let got = net.call(client, body);
    match (got.status(), got.body) {
        (NtStatus::SUCCESS, Response::Ioctl(body)) => Ok(body.output),
        (status, _) => Err(status),
    }
}

#[test]
fn copies_stay_on_the_server() {
    let mut net = Net::new();
    net.server.put_file("share", "from", b"0123456789").unwrap();
    let mut a = net.client("a");
    let (from, to) = (net.open(&mut a, "from"), net.open(&mut a, "to"));
    let key = fsctl(
        &mut net,
        &mut a,
        from,
        Fsctl::SRV_REQUEST_RESUME_KEY,
        vec![],
    )
    .unwrap();
    let mut input = key[..24].to_vec();
    input.extend(1_u32.to_le_bytes());
    input.extend([0; 4]);
    input.extend(2_u64.to_le_bytes());
    input.extend(1_u64.to_le_bytes());
    input.extend(5_u32.to_le_bytes());
    input.extend([0; 4]);
    let out = fsctl(&mut net, &mut a, to, Fsctl::SRV_COPYCHUNK, input.clone()).unwrap();
    assert_eq!(out, [1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(net.read(&mut a, to, 0, 100).unwrap(), b"\x0023456");
    input[0] ^= 1;
    let wrong = fsctl(&mut net, &mut a, to, Fsctl::SRV_COPYCHUNK, input);
    assert_eq!(wrong, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
}

#[test]
fn holes_are_holes() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    net.write(&mut a, file, 0, &[7; 200_000]);
    fsctl(&mut net, &mut a, file, Fsctl::SET_SPARSE, vec![]).unwrap();
    let range = |from: u64, to: u64| [from.to_le_bytes(), to.to_le_bytes()].concat();
    let zero = range(65_536, 131_072);
    fsctl(&mut net, &mut a, file, Fsctl::SET_ZERO_DATA, zero).unwrap();
    let query = range(0, 1 << 30);
    let out = fsctl(&mut net, &mut a, file, Fsctl::QUERY_ALLOCATED_RANGES, query).unwrap();
    assert_eq!(out, [range(0, 65_536), range(131_072, 68_928)].concat());
    assert_eq!(net.read(&mut a, file, 65_535, 2).unwrap(), [7, 0]);
    let none = fsctl(
        &mut net,
        &mut a,
        FileId::RELATED,
        Fsctl::DFS_GET_REFERRALS,
        vec![],
    );
    assert_eq!(none, Err(NtStatus::NOT_FOUND));
    let id = fsctl(
        &mut net,
        &mut a,
        file,
        Fsctl::CREATE_OR_GET_OBJECT_ID,
        vec![],
    );
    assert_eq!(id.unwrap().len(), 64);
    let odd = fsctl(&mut net, &mut a, file, Fsctl(0x1234), vec![]);
    assert_eq!(odd, Err(NtStatus::INVALID_DEVICE_REQUEST));
}
