//! What clients call over pipes: read off captures made by hand, and as tshark reads it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::{
    fs::{self, File},
    io::{Cursor, Read},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use smbench_compiler::{CompileOptions, compile, folder::FolderReader};
use smbench_core::{
    rpc::{Call, Kind},
    smb2::{
        CloseRequest, CloseResponse, CreateRequest, CreateResponse, FileId, Fsctl, HeaderFlags,
        IoctlRequest, IoctlResponse, Name, Response, ShareType, TreeConnectRequest,
        TreeConnectResponse, WriteRequest, WriteResponse,
    },
    workload::Operation,
};

#[path = "support/wire.rs"]
mod wire;

use wire::Wire;

const NONE: HeaderFlags = HeaderFlags::empty();
const SRVSVC: &str = "4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0";

/// The operations of a capture.
fn operations(name: &str, input: Box<dyn Read + Send>) -> Vec<Operation> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = format!("smbench-pipes-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let options = CompileOptions::default();
    compile(vec![(name.to_owned(), input)], options, &folder).unwrap();
    let reader = FolderReader::open(&folder).unwrap();
    let ops = reader.operations().unwrap().map(Result::unwrap).collect();
    fs::remove_dir_all(&folder).unwrap();
    ops
}

/// What each operation that says anything of calls says.
fn calls(wire: Wire) -> Vec<Vec<String>> {
    let ops = operations("made.pcap", Box::new(Cursor::new(wire.into_pcap())));
    let told = ops.iter().filter(|op| !op.rpc.is_empty());
    told.map(|op| op.rpc.iter().map(short).collect()).collect()
}

fn short(call: &Call) -> String {
    let more = if call.continues { " more" } else { "" };
    match (call.kind, call.interface, call.opnum) {
        (Kind::Bind, Some(interface), None) => format!("bind {interface}"),
        (Kind::Request, Some(_), Some(opnum)) => format!("call {opnum}{more}"),
        (Kind::Request, None, Some(opnum)) => format!("call {opnum} of nobody knows what"),
        (kind, _, _) => format!("{kind:?}{more}"),
    }
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
    out.extend((16 + u16::try_from(body.len()).unwrap()).to_le_bytes());
    out.extend([0; 6]);
    out.extend(body);
    out
}

fn bind() -> Vec<u8> {
    let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    body.extend([
        0xc8, 0x4f, 0x32, 0x4b, 0x70, 0x16, 0xd3, 0x01, 0x12, 0x78, 0x5a, 0x47, 0xbf, 0x6e, 0xe1,
        0x88, 3, 0, 0, 0,
    ]);
    body.extend([0x77; 20]);
    pdu(11, &body)
}

fn request(opnum: u8) -> Vec<u8> {
    pdu(0, &[0, 0, 0, 0, 0, 0, opnum, 0, 1, 2, 3, 4])
}

fn id(number: u8) -> FileId {
    FileId::from_bytes([number; 16])
}

/// Builds exchanges on pipe `number`.
trait Pipes {
    fn connect(&mut self, path: &str, share_type: ShareType);
    fn open(&mut self, number: u8);
    fn write(&mut self, number: u8, bytes: &[u8], kept: usize);
    fn transceive(&mut self, number: u8, bytes: &[u8]);
    fn close(&mut self, number: u8);
}

impl Pipes for Wire {
    fn connect(&mut self, path: &str, share_type: ShareType) {
        let asked = TreeConnectRequest {
            path: Name::Text(path.to_owned()),
            ..TreeConnectRequest::default()
        };
        let got = TreeConnectResponse {
            share_type,
            ..TreeConnectResponse::default()
        };
        self.exchange(NONE, asked.into(), &[], Response::TreeConnect(got));
    }

    fn open(&mut self, number: u8) {
        let (asked, got) = create(number);
        self.exchange(NONE, asked.into(), &[], got);
    }

    fn write(&mut self, number: u8, bytes: &[u8], kept: usize) {
        let (asked, got) = write(id(number), bytes);
        self.exchange_cut(NONE, asked.into(), bytes, got, kept);
    }

    fn transceive(&mut self, number: u8, bytes: &[u8]) {
        let asked = IoctlRequest {
            ctl_code: Fsctl::PIPE_TRANSCEIVE,
            file_id: id(number),
            input: bytes.to_vec(),
            ..IoctlRequest::default()
        };
        let got = IoctlResponse {
            ctl_code: Fsctl::PIPE_TRANSCEIVE,
            file_id: id(number),
            ..IoctlResponse::default()
        };
        self.exchange(NONE, asked.into(), &[], Response::Ioctl(got));
    }

    fn close(&mut self, number: u8) {
        let asked = CloseRequest {
            file_id: id(number),
            ..CloseRequest::default()
        };
        let got = Response::Close(CloseResponse::default());
        self.exchange(NONE, asked.into(), &[], got);
    }
}

fn create(number: u8) -> (CreateRequest, Response) {
    let asked = CreateRequest {
        name: Name::Text("srvsvc".to_owned()),
        ..CreateRequest::default()
    };
    let got = CreateResponse {
        file_id: id(number),
        ..CreateResponse::default()
    };
    (asked, Response::Create(got))
}

fn write(file_id: FileId, bytes: &[u8]) -> (WriteRequest, Response) {
    let length = u32::try_from(bytes.len()).unwrap();
    let asked = WriteRequest {
        length,
        file_id,
        ..WriteRequest::default()
    };
    let got = WriteResponse {
        count: length,
        ..WriteResponse::default()
    };
    (asked, Response::Write(got))
}

const WHOLE: usize = usize::MAX;

fn ipc() -> Wire {
    let mut wire = Wire::new();
    wire.connect("\\\\server\\IPC$", ShareType::PIPE);
    wire
}

#[test]
fn calls_are_told_pipe_by_pipe() {
    let mut wire = ipc();
    wire.open(1);
    wire.open(2);
    wire.write(1, &bind(), WHOLE);
    wire.transceive(1, &request(15));
    // Nothing was bound here.
    wire.transceive(2, &request(16));
    wire.write(1, &request(17)[..20], WHOLE);
    wire.write(1, &request(17)[20..], WHOLE);
    wire.close(1);
    // The same id again is another pipe.
    wire.open(1);
    wire.transceive(1, &request(18));
    assert_eq!(
        calls(wire),
        [
            vec![format!("bind {SRVSVC}")],
            vec!["call 15".into()],
            vec!["call 16 of nobody knows what".into()],
            vec!["Begun".into()],
            vec!["call 17".into()],
            vec!["call 18 of nobody knows what".into()],
        ]
    );
}

#[test]
fn files_call_nothing() {
    let mut wire = Wire::new();
    wire.connect("\\\\server\\data", ShareType::DISK);
    wire.open(1);
    wire.write(1, &bind(), WHOLE);
    assert!(calls(wire).is_empty());
}

/// Its tree was connected before the capture began: a function of pipes tells that it is one.
#[test]
fn pipes_that_were_open_before_are_unreadable_until_they_are_bound() {
    let mut wire = Wire::new();
    wire.transceive(1, &request(15));
    wire.write(1, &request(15), WHOLE);
    wire.transceive(1, &bind());
    wire.write(1, &request(15), WHOLE);
    assert_eq!(
        calls(wire),
        [
            vec!["Unreadable".to_owned()],
            vec!["Unreadable".into()],
            vec![format!("bind {SRVSVC}")],
            vec!["call 15".into()],
        ]
    );
}

#[test]
fn a_compound_that_opens_its_pipe_tells_its_calls() {
    let mut wire = ipc();
    let (asked, got) = create(1);
    let bytes = bind();
    let (write, written) = write(FileId::RELATED, &bytes);
    wire.related(vec![
        (asked.into(), &[], got),
        (write.into(), &bytes, written),
    ]);
    wire.transceive(1, &request(15));
    assert_eq!(
        calls(wire),
        [vec![format!("bind {SRVSVC}")], vec!["call 15".into()]]
    );
}

#[test]
fn what_was_not_captured_makes_the_rest_unreadable() {
    let begin = || {
        let mut wire = ipc();
        wire.open(1);
        wire.write(1, &bind(), WHOLE);
        wire.transceive(1, &request(15));
        wire
    };
    let end = |mut wire: Wire| {
        wire.transceive(1, &request(16));
        wire.write(1, &bind(), WHOLE);
        wire.transceive(1, &request(17));
        calls(wire).concat()
    };
    let known = [format!("bind {SRVSVC}"), "call 15".into()];
    let after = |lost: &[&str]| {
        let lost = lost.iter().map(|it| (*it).to_owned());
        let again = [format!("bind {SRVSVC}"), "call 17".into()];
        let all: Vec<String> = known.iter().cloned().chain(lost).chain(again).collect();
        all
    };
    assert_eq!(end(begin()), after(&["call 16"]));
    // A hole in what the client sent.
    let mut wire = begin();
    wire.lose(200);
    assert_eq!(end(wire), after(&["Unreadable"]));
    // A WRITE of which the data is cut, and one cut before it says where it goes.
    for kept in [40 + 4 + 64 + 48 + 10, 40 + 4 + 64 + 20] {
        let mut wire = begin();
        wire.write(1, &request(18), kept);
        assert_eq!(end(wire), after(&["Unreadable", "Unreadable"]), "{kept}");
    }
    // Of a file's data nothing is needed.
    let mut wire = begin();
    wire.connect("\\\\server\\data", ShareType::DISK);
    wire.open(2);
    wire.write(2, &[5; 100], 40 + 4 + 64 + 48 + 10);
    assert_eq!(end(wire), after(&["call 16"]));
}

fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures")
}

/// A PDU: its packet, type, number of the function, length of its authentication, and interfaces.
#[derive(Debug, Eq, PartialEq)]
struct Pdu {
    frame: u64,
    kind: u8,
    opnum: Option<u16>,
    auth: bool,
    interfaces: Vec<String>,
}

/// What tshark finds in what clients sent.
fn oracle(capture: &Path) -> Vec<Pdu> {
    let filter = "smb2 && dcerpc && smb2.flags.response==0";
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture);
    tshark.args(["-d", "tcp.port==4451,nbss", "-Y", filter, "-T", "fields"]);
    for field in [
        "frame.number",
        "dcerpc.pkt_type",
        "dcerpc.opnum",
        "dcerpc.cn_auth_len",
        "dcerpc.cn_bind_to_uuid",
    ] {
        tshark.args(["-e", field]);
    }
    let out = tshark.output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{error}");
    let lines = String::from_utf8(out.stdout).unwrap();
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let uuids = fields[4].split(',').filter(|it| !it.is_empty());
        Pdu {
            frame: fields[0].parse().unwrap(),
            kind: fields[1].parse().unwrap(),
            opnum: fields[2].parse().ok(),
            auth: fields[3] != "0",
            interfaces: uuids.map(str::to_owned).collect(),
        }
    };
    lines.lines().map(read).collect()
}

/// What we find, and the packets with what is no RPC to us.
fn ours(capture: &Path) -> (Vec<Pdu>, Vec<u64>) {
    let input = Box::new(File::open(capture).unwrap());
    let mut told: Vec<Pdu> = Vec::new();
    let mut unreadable = Vec::new();
    for op in operations("a", input) {
        for (at, call) in op.rpc.iter().enumerate() {
            let kind = match call.kind {
                Kind::Request => 0,
                Kind::Bind => 11,
                Kind::AlterContext => 14,
                Kind::Other(kind) => kind,
                Kind::Unreadable => {
                    unreadable.push(op.frame);
                    continue;
                }
                kind => panic!("{kind:?} in {} of {}", op.id, capture.display()),
            };
            let bound = call.interface.filter(|_| call.opnum.is_none());
            // A binding is told interface by interface.
            if at == 0 || bound.is_none() {
                told.push(Pdu {
                    frame: op.frame,
                    kind,
                    opnum: call.opnum,
                    auth: call.auth,
                    interfaces: Vec::new(),
                });
            }
            let uuids = bound.map(|it| it.uuid.to_string());
            told.last_mut().unwrap().interfaces.extend(uuids);
        }
    }
    (told, unreadable)
}

/// Every capture beside the repository in which tshark finds RPC over SMB2, and how many pieces on
/// pipes are no RPC to us.
#[test]
fn calls_are_those_that_tshark_finds() {
    const CAPTURES: [(&str, usize); 16] = [
        ("own/smbclient/smbclient_encrypted_share.pcap", 0),
        ("public/BruteShark__Kerberos_-_v5_UDP.pcap", 0),
        (
            "public/BruteShark__PCAPNG_Examples_Kerberos_-_v5_UDP.pcapng",
            0,
        ),
        (
            "public/BruteShark__PCAPNG_Examples_SMB_-_NTLMSSP_Windows_10.pcapng",
            0,
        ),
        ("public/BruteShark__SMB_-_NTLMSSP_Windows_10.pcap", 0),
        ("public/arkime__pcap_wireshark-smb-on-windows10.pcap", 0),
        // PAExec talks to its service in its own way.
        ("public/suricata-verify__dcerpc-smb-test-01_input.pcap", 3),
        (
            "public/suricata-verify__dcerpc_dcerpc-smb-ctxid_input.pcap",
            0,
        ),
        // One direction: which handle is a pipe's shows when it is used. PsExec's own pipes are no RPC.
        ("public/suricata-verify__bug-8629_input.pcap", 3),
        (
            "public/suricata-verify__bug-8629-async-oneside_input.pcap",
            3,
        ),
        ("public/suricata-verify__smb-length-5786_input.pcap", 0),
        ("public/suricata-verify__smb2-03-rule_smb2.pcap", 0),
        ("public/suricata-verify__smb2-ntlmssp-order_smb2.pcap", 0),
        ("public/zeek__dce-rpc_20-fids-no-close.pcap", 0),
        ("public/zeek__dce-rpc_20-fids.pcap", 0),
        ("public/zeek__krb_smb2_krb.pcap", 0),
    ];
    if !shared().exists() {
        println!("0 captures: there are none beside the repository");
        return;
    }
    let mut pdus = 0;
    for (name, foreign) in CAPTURES {
        let capture = shared().join(name);
        let (found, unreadable) = ours(&capture);
        let mut theirs = oracle(&capture);
        theirs.retain(|pdu| !unreadable.contains(&pdu.frame));
        assert_eq!(found, theirs, "{name}");
        assert_eq!(unreadable.len(), foreign, "{name}");
        assert!(found.len() + foreign > 0, "{name}");
        pdus += found.len();
    }
    println!("{} captures, {pdus} PDUs", CAPTURES.len());
    assert!(pdus > 300, "{pdus}");
}
