//! What the model computes, and what it answers as it was recorded.

use smbench_core::function::Function;
use smbench_core::smb2::*;

use super::client::{Client, Net, config, directory};
use crate::server::{RecordedFunction, ServerConfig};

fn ioctl(ctl_code: Fsctl, file_id: FileId) -> IoctlRequest {
    IoctlRequest {
        ctl_code,
        file_id,
        max_output_response: 4_096,
        flags: IoctlFlags::IS_FSCTL,
        ..IoctlRequest::default()
    }
}

fn requests(file_id: FileId) -> Vec<Request> {
    let mut all = Vec::new();
    // The class of the POSIX extensions is there with them alone.
    for class in (0..=u8::MAX).filter(|class| *class != FileInfoClass::POSIX.0) {
        let file_info_class = InfoClass(class);
        for info_type in [InfoType::FILE, InfoType::FILESYSTEM, InfoType::QUOTA] {
            all.push(
                QueryInfoRequest {
                    info_type,
                    file_info_class,
                    output_buffer_length: 4_096,
                    file_id,
                    ..QueryInfoRequest::default()
                }
                .into(),
            );
            all.push(
                SetInfoRequest {
                    info_type,
                    file_info_class,
                    file_id,
                    ..SetInfoRequest::default()
                }
                .into(),
            );
        }
        all.push(
            QueryDirectoryRequest {
                file_information_class: FileInfoClass(class),
                file_id,
                pattern: "*".into(),
                output_buffer_length: 4_096,
                ..QueryDirectoryRequest::default()
            }
            .into(),
        );
    }
    // The codes of the file system and of servers. [MS-FSCC] 2.3, [MS-SMB2] 2.2.31
    for device in [9, 0x14] {
        for function in 0..=u16::MAX {
            all.push(ioctl(Fsctl(device << 16 | u32::from(function)), file_id).into());
        }
    }
    all
}

#[test]
fn what_is_said_to_be_computed_is() {
    let mut net = Net::new();
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    let mut computed = 0;
    for request in requests(dir) {
        // What differs from the negotiation ends the connection; of DFS the model says that there is none.
        let apart = [
            Fsctl::VALIDATE_NEGOTIATE_INFO,
            Fsctl::DFS_GET_REFERRALS,
            Fsctl::DFS_GET_REFERRALS_EX,
        ];
        if matches!(&request, Request::Ioctl(it) if apart.contains(&it.ctl_code)) {
            continue;
        }
        let function = Function::of(&request);
        let status = net.call(&mut a, request).status();
        let unknown = [
            NtStatus::INVALID_INFO_CLASS,
            NtStatus::INVALID_DEVICE_REQUEST,
            NtStatus::NOT_SUPPORTED,
        ]
        .contains(&status);
        assert_ne!(function.is_modelled(), unknown, "{function:?}: {status:?}");
        computed += usize::from(!unknown);
    }
    assert!(computed > 50, "{computed}");
}

fn asked(net: &mut Net, client: &mut Client, request: impl Into<Request>) -> (NtStatus, Vec<u8>) {
    let got = net.call(client, request);
    let output = match &got.body {
        Response::Ioctl(it) => it.output.clone(),
        Response::QueryInfo(it) => it.output.clone(),
        _ => Vec::new(),
    };
    (got.status(), output)
}

#[test]
fn what_no_model_computes_is_answered_as_recorded() {
    let snapshots = Function::of(&ioctl(Fsctl::SRV_ENUMERATE_SNAPSHOTS, FileId::RELATED).into());
    let of = |path: &str, status, output: &[u8]| RecordedFunction {
        share: "Share".to_owned(),
        path: path.to_owned(),
        function: snapshots,
        status,
        output: output.to_vec(),
    };
    let mut net = Net::with(ServerConfig {
        functions: vec![
            of("Docs", NtStatus::BUFFER_OVERFLOW, b"one"),
            of("Docs", NtStatus::SUCCESS, b"two"),
            of("", NtStatus::ACCESS_DENIED, b""),
        ],
        ..config()
    });
    let mut a = net.client("a");
    let root = net.call(&mut a, directory("")).created().file_id;
    let docs = net.call(&mut a, directory("docs")).created().file_id;
    let other = net.call(&mut a, directory("other")).created().file_id;
    let mut on = |file| {
        asked(
            &mut net,
            &mut a,
            ioctl(Fsctl::SRV_ENUMERATE_SNAPSHOTS, file),
        )
    };
    // One answer after the other, the last one for ever.
    assert_eq!(on(docs), (NtStatus::BUFFER_OVERFLOW, b"one".to_vec()));
    assert_eq!(on(root), (NtStatus::ACCESS_DENIED, Vec::new()));
    assert_eq!(on(docs), (NtStatus::SUCCESS, b"two".to_vec()));
    assert_eq!(on(docs), (NtStatus::SUCCESS, b"two".to_vec()));
    // Of another file nothing was recorded.
    assert_eq!(on(other).0, NtStatus::INVALID_DEVICE_REQUEST);
    let gone = FileId {
        persistent: 7,
        volatile: 7,
    };
    assert_eq!(on(gone).0, NtStatus::FILE_CLOSED);
}

#[test]
fn what_the_recorded_server_did_not_know_is_refused_as_there() {
    let list = |file_id| QueryDirectoryRequest {
        file_information_class: FileInfoClass::ID_BOTH_DIRECTORY,
        file_id,
        pattern: "*".into(),
        output_buffer_length: 4_096,
        ..QueryDirectoryRequest::default()
    };
    let set = |class: FileInfoClass, file_id| SetInfoRequest {
        info_type: InfoType::FILE,
        file_info_class: class.into(),
        buffer: vec![1, 0, 0, 0],
        file_id,
        ..SetInfoRequest::default()
    };
    let (listed, deleted): (Request, Request) = (
        list(FileId::RELATED).into(),
        set(FileInfoClass::DISPOSITION_EX, FileId::RELATED).into(),
    );
    let mut config = config();
    config.unknown.extend([
        (Function::of(&listed), NtStatus::INVALID_INFO_CLASS),
        (Function::of(&deleted), NtStatus::NOT_SUPPORTED),
    ]);
    let mut net = Net::with(config);
    let mut a = net.client("a");
    let dir = net.call(&mut a, directory("")).created().file_id;
    let file = net.open(&mut a, "f");
    let got = net.call(&mut a, list(dir)).status();
    assert_eq!(got, NtStatus::INVALID_INFO_CLASS);
    let mut set = |class, file| net.call(&mut a, set(class, file)).status();
    let deletion = FileInfoClass::DISPOSITION_EX;
    assert_eq!(set(deletion, file), NtStatus::NOT_SUPPORTED);
    assert_eq!(set(deletion, FileId::default()), NtStatus::FILE_CLOSED);
    assert_eq!(set(FileInfoClass::DISPOSITION, file), NtStatus::SUCCESS);
}
