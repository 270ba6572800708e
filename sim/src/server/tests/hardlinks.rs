//! Several names of one file, and the flags of renames and deletions. [MS-FSA] 2.1.5.15, [MS-FSCC] 2.4.

use smbench_core::smb2::*;

use super::client::{Client, Net, create, directory, rename_buffer};
use crate::server::{PosixDelete, ServerConfig};

impl Net {
    fn names(
        &mut self,
        client: &mut Client,
        file: FileId,
        class: FileInfoClass,
        to: &str,
        flags: u8,
    ) -> NtStatus {
        let mut buffer = rename_buffer(to, false);
        buffer[0] = flags;
        self.set(client, file, class, buffer)
    }

    fn dispose(&mut self, client: &mut Client, file: FileId, flags: u32) -> NtStatus {
        let flags = flags.to_le_bytes().to_vec();
        self.set(client, file, FileInfoClass::DISPOSITION_EX, flags)
    }

    /// NumberOfLinks and DeletePending.
    fn links(&mut self, client: &mut Client, file: FileId) -> (u8, u8) {
        let (status, bytes) = self.query(client, file, FileInfoClass::STANDARD, 100);
        assert_eq!(status, NtStatus::SUCCESS);
        (bytes[16], bytes[20])
    }
}

const LINK: FileInfoClass = FileInfoClass::LINK;
const RENAME_EX: FileInfoClass = FileInfoClass::RENAME_EX;
const READ_ONLY: u8 = 1;

fn read_only(net: &mut Net, client: &mut Client, file: FileId) {
    let mut basic = vec![0; 40];
    basic[32] = READ_ONLY;
    let got = net.set(client, file, FileInfoClass::BASIC, basic);
    assert_eq!(got, NtStatus::SUCCESS);
}

/// An open that may delete what is read-only.
fn deleter(name: &str) -> CreateRequest {
    CreateRequest {
        desired_access: AccessMask::DELETE | AccessMask::READ_ATTRIBUTES,
        ..create(name)
    }
}

#[test]
fn a_link_is_one_more_name_of_the_same_file() {
    let mut net = Net::new();
    net.server.put_file("share", "a", b"one").unwrap();
    net.server.mkdir("share", "d").unwrap();
    let mut c = net.client("c");
    let a = net.open(&mut c, "a");
    assert_eq!(net.links(&mut c, a), (1, 0));
    assert_eq!(net.names(&mut c, a, LINK, "d\\b", 0), NtStatus::SUCCESS);
    assert_eq!(net.links(&mut c, a), (2, 0));
    assert_eq!(net.paths(), ["a", "d", "d\\b"]);
    let b = net.open(&mut c, "D\\B");
    net.write(&mut c, b, 0, b"two");
    assert_eq!(net.read(&mut c, a, 0, 9).unwrap(), b"two");
    let name = |net: &mut Net, c: &mut Client, file| {
        let (_, bytes) = net.query(c, file, FileInfoClass::NAME, 100);
        Name::from_wire(&bytes[4..]).to_string()
    };
    assert_eq!(name(&mut net, &mut c, a), "\\a");
    assert_eq!(name(&mut net, &mut c, b), "\\d\\b");
    // Each open renames the name that it is of.
    assert_eq!(net.rename(&mut c, b, "e", false), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["a", "d", "e"]);
    assert_eq!(net.rename(&mut c, a, "d\\a", false), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["d", "d\\a", "e"]);
    assert_eq!(name(&mut net, &mut c, b), "\\e");
}

#[test]
fn a_name_is_deleted_and_the_file_lives_by_the_other() {
    let mut net = Net::new();
    net.server.put_file("share", "a", b"one").unwrap();
    let mut c = net.client("c");
    let a = net.open(&mut c, "a");
    assert_eq!(net.names(&mut c, a, LINK, "b", 0), NtStatus::SUCCESS);
    let b = net.open(&mut c, "b");
    assert_eq!(net.delete_on_close(&mut c, a, true), NtStatus::SUCCESS);
    assert_eq!(net.links(&mut c, a), (1, 1));
    assert_eq!(net.links(&mut c, b), (1, 0));
    let pending = net.call(&mut c, create("a")).status();
    assert_eq!(pending, NtStatus::DELETE_PENDING);
    assert_eq!(net.names(&mut c, a, LINK, "x", 0), NtStatus::ACCESS_DENIED);
    let other = net.open(&mut c, "b");
    // It goes with the last open by it, whoever has another name open.
    net.close(&mut c, a);
    assert_eq!(net.paths(), ["b"]);
    net.close(&mut c, other);
    assert_eq!(net.read(&mut c, b, 0, 9).unwrap(), b"one");
    assert_eq!(net.delete_on_close(&mut c, b, true), NtStatus::SUCCESS);
    net.close(&mut c, b);
    assert!(net.paths().is_empty());
    assert_eq!(net.server.fs.held(), net.server.fs.held_again());
}

#[test]
fn links_are_made_where_there_is_room() {
    let mut net = Net::new();
    for name in ["a", "t"] {
        net.server.put_file("share", name, name.as_bytes()).unwrap();
    }
    net.server.mkdir("share", "d").unwrap();
    let mut c = net.client("c");
    let a = net.open(&mut c, "a");
    let taken = net.names(&mut c, a, LINK, "t", 0);
    assert_eq!(taken, NtStatus::OBJECT_NAME_COLLISION);
    assert_eq!(
        net.names(&mut c, a, LINK, "a", 0),
        NtStatus::OBJECT_NAME_COLLISION
    );
    assert_eq!(net.names(&mut c, a, LINK, "a", 1), NtStatus::SUCCESS);
    assert_eq!(net.links(&mut c, a), (1, 0));
    let t = net.open(&mut c, "t");
    assert_eq!(net.names(&mut c, a, LINK, "t", 1), NtStatus::ACCESS_DENIED);
    // With POSIX semantics an open does not hold the name.
    let got = net.names(&mut c, a, FileInfoClass::LINK_EX, "t", 3);
    assert_eq!(got, NtStatus::SUCCESS);
    assert_eq!(net.read(&mut c, t, 0, 9).unwrap(), b"t");
    assert_eq!(net.links(&mut c, t), (0, 0));
    net.close(&mut c, t);
    let got = net.names(&mut c, a, LINK, "no\\x", 0);
    assert_eq!(got, NtStatus::OBJECT_PATH_NOT_FOUND);
    assert_eq!(net.names(&mut c, a, LINK, "d", 1), NtStatus::ACCESS_DENIED);
    let d = net.call(&mut c, directory("d")).created().file_id;
    assert_eq!(
        net.names(&mut c, d, LINK, "x", 0),
        NtStatus::FILE_IS_A_DIRECTORY
    );
    net.close(&mut c, d);
    let s = net.open(&mut c, "a:s");
    assert_eq!(
        net.names(&mut c, s, LINK, "x", 0),
        NtStatus::INVALID_PARAMETER
    );
    for at in 3..=1_024 {
        let got = net.names(&mut c, a, LINK, &format!("d\\{at}"), 0);
        assert_eq!(got, NtStatus::SUCCESS);
    }
    assert_eq!(net.names(&mut c, a, LINK, "d\\x", 0).0, 0xc000_0265);
    assert_eq!(net.server.fs.held(), net.server.fs.held_again());
}

#[test]
fn a_separator_in_front_is_the_top_of_the_share() {
    let mut net = Net::new();
    net.server.put_file("share", "d\\f", b"").unwrap();
    let mut c = net.client("c");
    let f = net.open(&mut c, "d\\f");
    assert_eq!(net.rename(&mut c, f, "\\d\\g", false), NtStatus::SUCCESS);
    assert_eq!(net.names(&mut c, f, LINK, "\\h", 0), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["d", "d\\g", "h"]);
    // A CREATE must not have it. [MS-SMB2] 3.3.5.9
    let got = net.call(&mut c, create("\\h")).status();
    assert_eq!(got, NtStatus::INVALID_PARAMETER);
}

#[test]
fn a_posix_rename_replaces_what_is_open() {
    let mut net = Net::new();
    for name in ["a", "t"] {
        net.server.put_file("share", name, name.as_bytes()).unwrap();
    }
    let mut c = net.client("c");
    let (a, t) = (net.open(&mut c, "a"), net.open(&mut c, "t"));
    let got = net.names(&mut c, a, RENAME_EX, "t", 2);
    assert_eq!(got, NtStatus::OBJECT_NAME_COLLISION);
    let got = net.names(&mut c, a, RENAME_EX, "t", 1);
    assert_eq!(got, NtStatus::ACCESS_DENIED);
    assert_eq!(net.names(&mut c, a, RENAME_EX, "t", 3), NtStatus::SUCCESS);
    assert_eq!(net.paths(), ["t"]);
    assert_eq!(net.read(&mut c, t, 0, 9).unwrap(), b"t");
    let new = net.open(&mut c, "t");
    assert_eq!(net.read(&mut c, new, 0, 9).unwrap(), b"a");
    for file in [a, t, new] {
        net.close(&mut c, file);
    }
    assert_eq!(net.server.fs.held(), net.server.fs.held_again());
}

#[test]
fn a_posix_rename_replaces_an_empty_directory_alone() {
    let mut net = Net::new();
    net.server.put_file("share", "full\\f", b"").unwrap();
    for name in ["a", "empty"] {
        net.server.mkdir("share", name).unwrap();
    }
    let mut c = net.client("c");
    let a = net.call(&mut c, directory("a")).created().file_id;
    for (to, flags, want) in [
        ("empty", 1, NtStatus::ACCESS_DENIED),
        ("full", 3, NtStatus::ACCESS_DENIED),
        ("empty", 3, NtStatus::SUCCESS),
    ] {
        assert_eq!(
            net.names(&mut c, a, RENAME_EX, to, flags),
            want,
            "{to} {flags}"
        );
    }
    assert_eq!(net.paths(), ["empty", "full", "full\\f"]);
}

#[test]
fn read_only_files_keep_their_names_unless_that_is_to_be_ignored() {
    let mut net = Net::new();
    let mut c = net.client("c");
    let (a, t) = (net.open(&mut c, "a"), net.open(&mut c, "t"));
    read_only(&mut net, &mut c, t);
    net.close(&mut c, t);
    for (flags, want) in [
        (0x01, NtStatus::ACCESS_DENIED),
        (0x03, NtStatus::ACCESS_DENIED),
        (0x41, NtStatus::SUCCESS),
    ] {
        assert_eq!(
            net.names(&mut c, a, RENAME_EX, "t", flags),
            want,
            "{flags:#x}"
        );
    }
    read_only(&mut net, &mut c, a);
    assert_eq!(net.dispose(&mut c, a, 0x01), NtStatus::CANNOT_DELETE);
    assert_eq!(net.dispose(&mut c, a, 0x11), NtStatus::SUCCESS);
    net.close(&mut c, a);
    assert!(net.paths().is_empty());
}

#[test]
fn a_posix_deletion_goes_with_its_own_close() {
    for posix_delete in [PosixDelete::AtClose, PosixDelete::AtOnce] {
        let mut net = Net::with(ServerConfig {
            posix_delete,
            ..super::client::config()
        });
        net.server.put_file("share", "f", b"x").unwrap();
        let (mut c, mut d) = (net.client("c"), net.client("d"));
        let (one, two) = (net.open(&mut c, "f"), net.open(&mut d, "f"));
        assert_eq!(net.dispose(&mut c, one, 3), NtStatus::SUCCESS);
        assert_eq!(net.links(&mut d, two), (0, 1));
        let open = CreateRequest {
            create_disposition: CreateDisposition::OPEN,
            ..create("f")
        };
        let want = match posix_delete {
            PosixDelete::AtClose => NtStatus::DELETE_PENDING,
            PosixDelete::AtOnce => NtStatus::OBJECT_NAME_NOT_FOUND,
        };
        assert_eq!(net.call(&mut c, open).status(), want);
        net.close(&mut c, one);
        assert!(net.paths().is_empty());
        let new = net.open(&mut c, "f");
        net.write(&mut c, new, 0, b"new");
        assert_eq!(net.read(&mut d, two, 0, 9).unwrap(), b"x");
        net.close(&mut d, two);
        assert_eq!(net.read(&mut c, new, 0, 9).unwrap(), b"new");
        net.close(&mut c, new);
        assert_eq!(net.paths(), ["f"]);
        assert_eq!(net.server.fs.held(), net.server.fs.held_again());
    }
}

#[test]
fn a_deletion_on_close_is_taken_back_by_its_open() {
    let mut net = Net::new();
    let mut c = net.client("c");
    let body = CreateRequest {
        create_options: CreateOptions::DELETE_ON_CLOSE,
        ..create("f")
    };
    let f = net.call(&mut c, body.clone()).created().file_id;
    // Without the flag it is the pending deletion that is taken back, and there is none.
    assert_eq!(net.dispose(&mut c, f, 0), NtStatus::SUCCESS);
    net.close(&mut c, f);
    assert!(net.paths().is_empty());
    let f = net.call(&mut c, body).created().file_id;
    assert_eq!(net.dispose(&mut c, f, 8), NtStatus::SUCCESS);
    net.close(&mut c, f);
    assert_eq!(net.paths(), ["f"]);
    let f = net.call(&mut c, deleter("f")).created().file_id;
    assert_eq!(net.dispose(&mut c, f, 9), NtStatus::SUCCESS);
    assert_eq!(net.links(&mut c, f), (1, 0));
    net.close(&mut c, f);
    assert!(net.paths().is_empty());
}
