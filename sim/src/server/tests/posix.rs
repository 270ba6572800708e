//! SMB 3.1.1 POSIX extensions.

use smbench_core::fscc::DirectoryEntry;
use smbench_core::smb2::*;

use super::client::{Client, Net, config, create, directory, rename_buffer};
use crate::server::ServerConfig;

fn net() -> Net {
    Net::with(ServerConfig {
        posix_extensions: true,
        ..config()
    })
}

fn with_mode(body: CreateRequest, mode: u32) -> CreateRequest {
    let data = ContextData::Raw(mode.to_le_bytes().to_vec());
    let tag = ContextTag::POSIX;
    CreateRequest {
        contexts: vec![CreateContext { tag, data }],
        ..body
    }
}

fn open(name: &str) -> CreateRequest {
    CreateRequest {
        create_disposition: CreateDisposition::OPEN,
        ..create(name)
    }
}

fn listed(net: &mut Net, client: &mut Client, dir: FileId, pattern: &str) -> Vec<DirectoryEntry> {
    let body = QueryDirectoryRequest {
        file_information_class: FileInfoClass::POSIX,
        flags: QueryDirectoryFlags::RESTART_SCANS,
        file_id: dir,
        pattern: pattern.into(),
        output_buffer_length: 65_536,
        ..QueryDirectoryRequest::default()
    };
    let Response::QueryDirectory(body) = net.call(client, body).ok().body else {
        panic!("no entries");
    };
    DirectoryEntry::decode_list(FileInfoClass::POSIX, &body.output).unwrap()
}

#[test]
fn names_compare_letter_by_letter_and_have_no_streams() {
    let mut net = net();
    let mut c = net.client("c");
    let posix = |name: &str| with_mode(create(name), 0o640);
    let a = net.call(&mut c, posix("a:b?c*")).created();
    assert_eq!(a.create_action, CreateAction::CREATED);
    let other = net.call(&mut c, with_mode(open("A:B?C*"), 0)).status();
    assert_eq!(other, NtStatus::OBJECT_NAME_NOT_FOUND);
    let b = net.call(&mut c, posix("A:B?C*")).created();
    assert_eq!(b.create_action, CreateAction::CREATED);
    net.write(&mut c, a.file_id, 0, b"small");
    net.write(&mut c, b.file_id, 0, b"LARGE");
    for (name, data) in [("a:b?c*", b"small"), ("A:B?C*", b"LARGE")] {
        let file = net.call(&mut c, with_mode(open(name), 0)).created();
        assert_eq!(net.read(&mut c, file.file_id, 0, 9).unwrap(), data);
        net.close(&mut c, file.file_id);
    }
    assert_eq!(net.paths(), ["A:B?C*", "a:b?c*"]);
    // Others have streams, and find a name however it is spelt.
    let plain = net.call(&mut c, create("x:s")).created();
    assert_eq!(net.paths(), ["A:B?C*", "a:b?c*", "x", "x:s"]);
    net.close(&mut c, plain.file_id);
    let x = net.call(&mut c, open("X")).created();
    assert_eq!(x.create_action, CreateAction::OPENED);
    // Each goes by itself.
    net.close(&mut c, b.file_id);
    assert_eq!(
        net.delete_on_close(&mut c, a.file_id, true),
        NtStatus::SUCCESS
    );
    net.close(&mut c, a.file_id);
    assert_eq!(net.paths(), ["A:B?C*", "x", "x:s"]);
    assert_eq!(net.server.fs.held(), net.server.fs.held_again());
}

#[test]
fn who_does_not_see_case_finds_one_of_the_names() {
    let mut net = net();
    let mut c = net.client("c");
    for name in ["readme", "README"] {
        let file = net.call(&mut c, with_mode(create(name), 0o644)).created();
        net.write(&mut c, file.file_id, 0, name.as_bytes());
        net.close(&mut c, file.file_id);
    }
    let first = net.call(&mut c, open("ReadMe")).created();
    assert_eq!(net.read(&mut c, first.file_id, 0, 9).unwrap(), b"readme");
    net.delete_on_close(&mut c, first.file_id, true);
    net.close(&mut c, first.file_id);
    let second = net.call(&mut c, open("ReadMe")).created();
    assert_eq!(net.read(&mut c, second.file_id, 0, 9).unwrap(), b"README");
    // A rename of an open with POSIX semantics may change the case alone, or add a colon.
    let file = net.call(&mut c, with_mode(open("README"), 0)).created();
    let renamed = net.set(
        &mut c,
        file.file_id,
        FileInfoClass::RENAME,
        rename_buffer("Read:me", false),
    );
    assert_eq!(renamed, NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["Read:me"]);
}

#[test]
fn level_0x64_tells_of_files_and_the_file_system() {
    let mut net = net();
    let mut c = net.client("c");
    let body = with_mode(create("f:1"), 0o600);
    let created = net.call(&mut c, body).created();
    let context = created
        .contexts
        .iter()
        .find(|it| it.tag == ContextTag::POSIX);
    let ContextData::Raw(context) = &context.unwrap().data else {
        panic!("no raw context");
    };
    assert_eq!(
        (context.len(), &context[..12]),
        (44, &[1, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0][..])
    );
    net.write(&mut c, created.file_id, 0, b"12345");
    let (status, bytes) = net.query(&mut c, created.file_id, FileInfoClass::POSIX, 1000);
    assert_eq!((status, bytes.len()), (NtStatus::SUCCESS, 112));
    let info = DirectoryEntry::from_posix_info(&bytes).unwrap();
    assert_eq!((info.end_of_file, info.posix.hard_links), (5, 1));
    assert_eq!((info.posix.mode, info.posix.owner.len()), (0o600, 16));

    let dir = net
        .call(&mut c, with_mode(directory(""), 0))
        .created()
        .file_id;
    let names = |entries: Vec<DirectoryEntry>| -> Vec<String> {
        entries.iter().map(|it| it.name.to_string()).collect()
    };
    let entries = listed(&mut net, &mut c, dir, "*");
    assert_eq!(entries[2].posix.mode, 0o600);
    assert_eq!(entries[2].file_id, info.file_id);
    assert_eq!(names(entries), [".", "..", "f:1"]);
    assert_eq!(names(listed(&mut net, &mut c, dir, "f*")), ["f:1"]);
    let upper = QueryDirectoryRequest {
        file_information_class: FileInfoClass::POSIX,
        flags: QueryDirectoryFlags::RESTART_SCANS,
        file_id: dir,
        pattern: "F*".into(),
        output_buffer_length: 1000,
        ..QueryDirectoryRequest::default()
    };
    assert_eq!(net.call(&mut c, upper).status(), NtStatus::NO_SUCH_FILE);
    let body = QueryInfoRequest {
        info_type: InfoType::FILESYSTEM,
        file_info_class: FsInfoClass::POSIX.into(),
        output_buffer_length: 100,
        file_id: dir,
        ..QueryInfoRequest::default()
    };
    let Response::QueryInfo(body) = net.call(&mut c, body).ok().body else {
        panic!("no information");
    };
    assert_eq!(body.output.len(), 56);
    // An open without the context does not know the level.
    let plain = net.call(&mut c, directory("")).created().file_id;
    let (status, _) = net.query(&mut c, plain, FileInfoClass::POSIX, 1000);
    assert_eq!(status, NtStatus::INVALID_INFO_CLASS);
}

#[test]
fn a_server_without_the_extensions_ignores_their_context() {
    let mut net = Net::new();
    let mut c = net.client("c");
    let created = net.call(&mut c, with_mode(create("x:s"), 0o600)).created();
    assert!(created.contexts.is_empty());
    assert_eq!(net.paths(), ["x", "x:s"]);
}

#[test]
fn names_of_the_extensions_are_there_from_the_beginning() {
    let mut net = net();
    net.server.mkdir("share", "d:1").unwrap();
    let mut put = |path, data: &[u8]| {
        let len = u64::try_from(data.len()).unwrap();
        let put = net.server.put_parts("share", path, true, len, [(0, data)]);
        put.unwrap();
    };
    put("d:1\\a:b", b"one");
    put("f", b"small");
    put("F", b"LARGE");
    assert_eq!(net.paths(), ["F", "d:1", "d:1\\a:b", "f"]);
    let mut c = net.client("c");
    for (name, data) in [("d:1\\a:b", &b"one"[..]), ("f", b"small"), ("F", b"LARGE")] {
        let file = net.call(&mut c, with_mode(open(name), 0)).created();
        assert_eq!(net.read(&mut c, file.file_id, 0, 9).unwrap(), data);
    }
}
