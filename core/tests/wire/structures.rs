//! [MS-FSCC] structures against real traffic, and the codec's speed.

use std::collections::BTreeMap;

use smbench_core::fscc::{
    AllInfo, BasicInfo, DirectoryEntry, DirectoryWriter, FsAttributeInfo, FsFullSizeInfo,
    FsSizeInfo, FsVolumeInfo, NetworkOpenInfo, NotifyRecord, SetInfoPayload, StandardInfo,
    StreamInfo,
};
use smbench_core::smb2::{
    Body, FileInfoClass, FsInfoClass, InfoType, IoctlInput, Message, NtStatus, PROTOCOL_ID, Pdu,
    QueryInfoRequest, Request, Response,
};

use crate::pcap;

/// Requests and responses that belong together, from every capture.
fn exchanges() -> Vec<(Request, NtStatus, Response)> {
    let mut exchanges = Vec::new();
    for path in pcap::captures() {
        let mut requests = BTreeMap::new();
        let mut responses = Vec::new();
        for frame in pcap::frames(&path) {
            if !frame.starts_with(&PROTOCOL_ID) {
                continue;
            }
            for pdu in Pdu::chain(&frame).map_while(Result::ok) {
                let message = Message::decode(pdu).unwrap().message;
                let header = message.header;
                let key = (header.session_id, header.message_id, header.command);
                match message.body {
                    Body::Request(request) => {
                        requests.insert(key, request);
                    }
                    Body::Response(response) => responses.push((key, header.nt_status(), response)),
                }
            }
        }
        for (key, status, response) in responses {
            if let Some(request) = requests.get(&key) {
                exchanges.push((request.clone(), status, response));
            }
        }
    }
    exchanges
}

/// Says whether a buffer comes back, and how often of how many.
#[derive(Default)]
struct Score(BTreeMap<String, (usize, usize)>);

impl Score {
    fn add(&mut self, what: String, same: bool) {
        let (good, all) = self.0.entry(what).or_default();
        *good += usize::from(same);
        *all += 1;
    }

    fn report(self, least: f64) {
        for (what, (good, all)) in &self.0 {
            println!("{what:40} {good:6} of {all:6}");
            assert!(
                *good as f64 >= least * *all as f64,
                "{what}: {good} of {all}"
            );
        }
    }
}

#[test]
fn directory_entries_come_back() {
    let mut score = Score::default();
    for (request, status, response) in exchanges() {
        let (Request::QueryDirectory(request), Response::QueryDirectory(response)) =
            (request, response)
        else {
            continue;
        };
        let class = request.file_information_class;
        if !DirectoryEntry::supports(class) || status != NtStatus::SUCCESS {
            score.add(format!("{class} {status} (not compared)"), true);
            continue;
        }
        let entries = DirectoryEntry::decode_list(class, &response.output).unwrap();
        assert!(!entries.is_empty());
        let mut writer = DirectoryWriter::new(class, usize::MAX).unwrap();
        assert!(entries.iter().all(|entry| writer.push(entry)));
        let again = writer.finish();
        // Samba leaves padding behind the last entry; nothing else may differ.
        let same = response.output.starts_with(&again) && response.output.len() - again.len() < 8;
        score.add(class.to_string(), same);
        assert_eq!(DirectoryEntry::decode_list(class, &again).unwrap(), entries);
    }
    score.report(0.9);
}

fn reencode(request: &QueryInfoRequest, output: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match request.info_type {
        InfoType::FILE => match FileInfoClass(request.file_info_class.0) {
            FileInfoClass::BASIC => BasicInfo::decode(output).ok()?.encode(&mut out),
            FileInfoClass::STANDARD => StandardInfo::decode(output).ok()?.encode(&mut out),
            FileInfoClass::NETWORK_OPEN => NetworkOpenInfo::decode(output).ok()?.encode(&mut out),
            FileInfoClass::ALL => AllInfo::decode(output).ok()?.encode(&mut out),
            FileInfoClass::STREAM => {
                StreamInfo::encode_list(&StreamInfo::decode_list(output).ok()?, &mut out);
            }
            _ => return None,
        },
        InfoType::FILESYSTEM => match FsInfoClass(request.file_info_class.0) {
            FsInfoClass::VOLUME => FsVolumeInfo::decode(output).ok()?.encode(&mut out),
            FsInfoClass::SIZE => FsSizeInfo::decode(output).ok()?.encode(&mut out),
            FsInfoClass::ATTRIBUTE => FsAttributeInfo::decode(output).ok()?.encode(&mut out),
            FsInfoClass::FULL_SIZE => FsFullSizeInfo::decode(output).ok()?.encode(&mut out),
            _ => return None,
        },
        _ => return None,
    }
    Some(out)
}

#[test]
fn file_information_comes_back() {
    let mut score = Score::default();
    for (request, status, response) in exchanges() {
        match (request, response) {
            (Request::QueryInfo(request), Response::QueryInfo(response))
                if status == NtStatus::SUCCESS =>
            {
                let name = request
                    .file_info_class
                    .name(request.info_type)
                    .unwrap_or("other");
                let what = format!("{} {name}", request.info_type);
                match reencode(&request, &response.output) {
                    Some(again) => {
                        let padded = response.output.len() - again.len() < 8;
                        score.add(what, response.output.starts_with(&again) && padded);
                    }
                    None => score.add(format!("{what} (not compared)"), true),
                }
            }
            (Request::ChangeNotify(_), Response::ChangeNotify(response)) => {
                let records = NotifyRecord::decode_list(&response.output).unwrap();
                let mut again = Vec::new();
                NotifyRecord::encode_list(&records, &mut again);
                score.add("notify".to_owned(), response.output.starts_with(&again));
            }
            (Request::SetInfo(request), _) if request.info_type == InfoType::FILE => {
                let class = FileInfoClass(request.file_info_class.0);
                let payload = SetInfoPayload::parse(
                    request.info_type,
                    request.file_info_class,
                    &request.buffer,
                );
                assert_eq!(payload.encode(), request.buffer);
                let typed = payload.class().is_some();
                score.add(
                    format!("set {class}"),
                    typed || class == FileInfoClass::FULL_EA,
                );
            }
            (Request::Ioctl(request), _) => {
                let input = IoctlInput::parse(request.ctl_code, &request.input);
                assert_eq!(input.encode(), request.input);
            }
            _ => {}
        }
    }
    score.report(0.9);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn speed() {
    let (pdus, _) = crate::corpus();
    let pdus: Vec<_> = pdus.iter().filter(|pdu| pdu.len() < 1500).collect();
    if pdus.is_empty() {
        println!("no captures, nothing to time");
        return;
    }
    let ns = |start: std::time::Instant| start.elapsed().as_nanos() as f64 / pdus.len() as f64;
    let start = std::time::Instant::now();
    let decoded: Vec<_> = pdus
        .iter()
        .map(|pdu| Message::decode(pdu).unwrap())
        .collect();
    let decode = ns(start);
    let start = std::time::Instant::now();
    for pdu in &pdus {
        std::hint::black_box(Message::decode_lossy(pdu).unwrap());
    }
    let lossy = ns(start);
    let start = std::time::Instant::now();
    let mut out = Vec::with_capacity(1 << 16);
    for (pdu, decoded) in pdus.iter().zip(&decoded) {
        out.clear();
        decoded
            .message
            .encode(&pdu[decoded.bulk.clone().unwrap_or(0..0)], &mut out);
        std::hint::black_box(&out);
    }
    let encode = ns(start);
    let start = std::time::Instant::now();
    for pdu in &pdus {
        std::hint::black_box(Message::bulk_of(pdu));
    }
    let bulk_of = ns(start);
    let count = pdus.len();
    println!(
        "{count} messages below 1500 bytes, ns each: decode {decode:.0}, decode_lossy {lossy:.0}"
    );
    println!("encode {encode:.0}, bulk_of {bulk_of:.0}");
}
