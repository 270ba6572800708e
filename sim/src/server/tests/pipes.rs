//! Pipes as they were recorded.

use smbench_core::smb2::*;

use super::client::{Client, Net, config, create};
use crate::server::{RecordedAnswer, RecordedPipe};

fn said(command: Command, status: NtStatus, data: &[u8]) -> RecordedAnswer {
    RecordedAnswer {
        command,
        status,
        data: data.to_vec(),
    }
}

fn conversation(name: &str, says: &[u8]) -> RecordedPipe {
    RecordedPipe {
        name: name.to_owned(),
        created: NtStatus::SUCCESS,
        answers: vec![
            said(Command::WRITE, NtStatus::SUCCESS, b""),
            said(Command::READ, NtStatus::SUCCESS, says),
            said(Command::IOCTL, NtStatus::BUFFER_OVERFLOW, says),
            said(Command::CLOSE, NtStatus::SUCCESS, b""),
        ],
    }
}

fn on_ipc(net: &mut Net, name: &str) -> Client {
    let mut client = net.client(name);
    let body = TreeConnectRequest {
        path: "\\\\server\\IPC$".into(),
        ..TreeConnectRequest::default()
    };
    client.tree = net.call(&mut client, body).ok().header.tree_id().unwrap();
    client
}

fn read(net: &mut Net, client: &mut Client, file_id: FileId) -> (NtStatus, Vec<u8>) {
    let body = ReadRequest {
        length: 1024,
        file_id,
        ..ReadRequest::default()
    };
    let got = net.call(client, body);
    (got.status(), got.bulk)
}

#[test]
fn each_open_has_a_conversation_of_its_own() {
    let mut net = Net::with(crate::server::ServerConfig {
        pipes: vec![
            conversation("srvsvc", b"first"),
            conversation("SRVSVC", b"second"),
            RecordedPipe {
                name: "winreg".to_owned(),
                created: NtStatus::ACCESS_DENIED,
                answers: Vec::new(),
            },
        ],
        ..config()
    });
    let (mut a, mut b) = (on_ipc(&mut net, "a"), on_ipc(&mut net, "b"));
    let first = net.call(&mut a, create("srvsvc")).created().file_id;
    let second = net.call(&mut b, create("srvsvc")).created().file_id;
    assert_ne!(first, second);
    // In the order in which they were recorded, however the clients take turns.
    let (_, said) = read(&mut net, &mut b, second);
    assert_eq!(said, b"second");
    let (_, said) = read(&mut net, &mut a, first);
    assert_eq!(said, b"first");
    // A handle is its session's.
    assert_eq!(read(&mut net, &mut b, first).0, NtStatus::FILE_CLOSED);
    // What was not recorded is said to be empty, not made up.
    assert!(read(&mut net, &mut a, first).0.is_error());
    let body = IoctlRequest {
        ctl_code: Fsctl::PIPE_TRANSCEIVE,
        file_id: first,
        flags: IoctlFlags::IS_FSCTL,
        max_output_response: 1024,
        ..IoctlRequest::default()
    };
    let got = net.call(&mut a, body);
    assert_eq!(got.status(), NtStatus::BUFFER_OVERFLOW);
    let Response::Ioctl(answer) = got.body else {
        panic!("{:?}", got.body)
    };
    assert_eq!(answer.output, b"first");
    net.close(&mut a, first);
    assert_eq!(read(&mut net, &mut a, first).0, NtStatus::FILE_CLOSED);
    // There are no more conversations, there was never one of another name, and one was refused.
    let refused =
        |net: &mut Net, client: &mut Client, name: &str| net.call(client, create(name)).status();
    assert_eq!(
        refused(&mut net, &mut a, "srvsvc"),
        NtStatus::OBJECT_NAME_NOT_FOUND
    );
    assert_eq!(
        refused(&mut net, &mut a, "samr"),
        NtStatus::OBJECT_NAME_NOT_FOUND
    );
    assert_eq!(refused(&mut net, &mut b, "winreg"), NtStatus::ACCESS_DENIED);
}
