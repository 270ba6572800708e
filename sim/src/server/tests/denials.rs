//! What users are not allowed to do.

use smbench_core::smb2::*;

use super::client::{Net, config, create, with_oplock};
use crate::server::{Denial, Denied, ServerConfig};

fn denying(user: &str, path: &str, what: Denied) -> Net {
    Net::with(ServerConfig {
        denials: vec![Denial {
            share: "Share".to_owned(),
            path: path.to_owned(),
            user: user.to_owned(),
            what,
        }],
        ..config()
    })
}

#[test]
fn who_may_not_open_is_refused_as_much_and_more() {
    let what = Denied::Create(AccessMask::READ_DATA);
    let mut net = denying("A", "Secret\\file", what);
    let (mut a, mut b) = (net.client("a"), net.client("b"));
    net.call(&mut b, super::client::directory("secret")).ok();
    net.call(&mut b, create("secret\\file")).ok();
    let asks = |access| CreateRequest {
        desired_access: access,
        ..create("SECRET\\file")
    };
    for (access, status) in [
        (AccessMask::READ_DATA, NtStatus::ACCESS_DENIED),
        (AccessMask::GENERIC_READ, NtStatus::ACCESS_DENIED),
        (AccessMask::READ_ATTRIBUTES, NtStatus::SUCCESS),
    ] {
        let got = net.call(&mut a, asks(access)).status();
        assert_eq!(got, status, "{access:?}");
    }
    net.call(&mut a, create("secret\\other")).ok();
}

#[test]
fn a_close_that_is_refused_closes_all_the_same() {
    let mut net = denying("a", "f", Denied::Request(Command::CLOSE, None));
    let mut a = net.client("a");
    let file = net.call(&mut a, with_oplock("f", OplockLevel::BATCH));
    let file_id = file.created().file_id;
    let close = |file_id| CloseRequest {
        file_id,
        ..CloseRequest::default()
    };
    net.call(&mut a, close(file_id)).ok();
    let file_id = net.open(&mut a, "f");
    net.write(&mut a, file_id, 0, b"x");
    let got = net.call(&mut a, close(file_id)).status();
    assert_eq!(got, NtStatus::ACCESS_DENIED);
    let again = net.call(&mut a, close(file_id)).status();
    assert_eq!(again, NtStatus::FILE_CLOSED);
    assert_eq!(net.server.open_count(), 0);
}

#[test]
fn a_class_that_may_not_be_set_stays_as_it_is() {
    let class = (InfoType::FILE.0, FileInfoClass::END_OF_FILE.0);
    let what = Denied::Request(Command::SET_INFO, Some(class));
    let mut net = denying("a", "f", what);
    let mut a = net.client("a");
    let file = net.open(&mut a, "f");
    let size = || 9_u64.to_le_bytes().to_vec();
    let got = net.set(&mut a, file, FileInfoClass::END_OF_FILE, size());
    assert_eq!(got, NtStatus::ACCESS_DENIED);
    let got = net.set(&mut a, file, FileInfoClass::ALLOCATION, size());
    assert_eq!(got, NtStatus::SUCCESS);
}
