//! Previous versions.

use smbench_core::smb2::create_context::Timewarp;
use smbench_core::smb2::*;

use super::client::{Net, config, create, directory};
use crate::server::{Denial, Denied, ServerConfig};

const THEN: &str = "@GMT-2023.11.14-22.13.20";
const FILETIME: u64 = 133_444_736_000_000_000;

fn open(name: &str, version: Option<u64>) -> CreateRequest {
    let context = version.map(|timestamp| CreateContext {
        tag: ContextTag::TWRP,
        data: ContextData::Timewarp(Timewarp { timestamp }),
    });
    CreateRequest {
        create_disposition: CreateDisposition::OPEN,
        contexts: context.into_iter().collect(),
        ..create(name)
    }
}

fn with_a_version() -> Net {
    let mut net = Net::new();
    net.server.put_file("share", "docs\\f", b"new").unwrap();
    let then = format!("{THEN}\\docs\\f");
    net.server.put_file("share", &then, b"old").unwrap();
    net
}

#[test]
fn a_version_is_opened_by_name_or_by_context() {
    let mut net = with_a_version();
    let mut a = net.client("a");
    for (name, version, content) in [
        ("docs\\f".to_owned(), None, b"new"),
        (format!("{THEN}\\docs\\f"), None, b"old"),
        (format!("docs\\{THEN}\\f"), None, b"old"),
        ("docs\\f".to_owned(), Some(FILETIME), b"old"),
    ] {
        let file = net.call(&mut a, open(&name, version)).created().file_id;
        assert_eq!(net.read(&mut a, file, 0, 9).unwrap(), content, "{name}");
    }
    let of_another_time = net.call(&mut a, open("docs\\f", Some(FILETIME + 10_000_000)));
    assert_eq!(of_another_time.status(), NtStatus::OBJECT_NAME_NOT_FOUND);
    let missing = net.call(&mut a, open("docs\\g", Some(FILETIME)));
    assert_eq!(missing.status(), NtStatus::OBJECT_NAME_NOT_FOUND);
}

#[test]
fn nothing_of_a_version_changes() {
    let mut net = with_a_version();
    let mut a = net.client("a");
    let file = net.call(&mut a, open("docs\\f", Some(FILETIME)));
    let file_id = file.created().file_id;
    let write = WriteRequest {
        file_id,
        length: 1,
        ..WriteRequest::default()
    };
    let got = net.call_with(&mut a, write, b"x").status();
    assert_eq!(got, NtStatus::MEDIA_WRITE_PROTECTED);
    let got = net.rename(&mut a, file_id, "elsewhere", false);
    assert_eq!(got, NtStatus::MEDIA_WRITE_PROTECTED);
    for create_disposition in [
        CreateDisposition::CREATE,
        CreateDisposition::OPEN_IF,
        CreateDisposition::OVERWRITE_IF,
    ] {
        let new = CreateRequest {
            create_disposition,
            ..open("docs\\new", Some(FILETIME))
        };
        let got = net.call(&mut a, new).status();
        assert_eq!(got, NtStatus::MEDIA_WRITE_PROTECTED);
    }
    let now = net.call(&mut a, open("docs\\f", None)).created().file_id;
    net.write(&mut a, now, 0, b"N");
}

#[test]
fn no_listing_shows_versions() {
    let mut net = with_a_version();
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    let list = QueryDirectoryRequest {
        file_information_class: FileInfoClass::NAMES,
        file_id: dir,
        pattern: "*".into(),
        output_buffer_length: 4_096,
        ..QueryDirectoryRequest::default()
    };
    let Response::QueryDirectory(listed) = net.call(&mut a, list).ok().body else {
        panic!("no listing");
    };
    let text = String::from_utf8_lossy(&listed.output).replace('\0', "");
    assert!(text.contains("docs") && !text.contains("GMT"), "{text}");
}

#[test]
fn who_may_not_open_a_version_may_open_what_is_there_now() {
    let denial = Denial {
        share: "share".to_owned(),
        path: format!("{THEN}\\docs\\f"),
        user: "a".to_owned(),
        what: Denied::Create(AccessMask::READ_DATA),
    };
    let mut net = Net::with(ServerConfig {
        denials: vec![denial],
        ..config()
    });
    net.server.put_file("share", "docs\\f", b"new").unwrap();
    let then = format!("{THEN}\\docs\\f");
    net.server.put_file("share", &then, b"old").unwrap();
    let mut a = net.client("a");
    net.call(&mut a, open("docs\\f", None)).ok();
    for denied in [open("docs\\f", Some(FILETIME)), open(&then, None)] {
        let got = net.call(&mut a, denied).status();
        assert_eq!(got, NtStatus::ACCESS_DENIED);
    }
}
