//! The codec against real traffic: every message of every capture, and what chance makes of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests"
)]

mod generate;
mod hostile;
mod pcap;
mod structures;

use std::collections::BTreeMap;

use smbench_core::smb2::{
    Body, ImpersonationLevel, Message, Name, PROTOCOL_ID, Pdu, Quirks, Request, TreeConnectFlags,
};

use generate::{Gen, REQUESTS};

/// Every SMB2 PDU of the captures, and how many captures were read.
fn corpus() -> (Vec<Vec<u8>>, usize) {
    let mut pdus = Vec::new();
    let captures = pcap::captures();
    for path in &captures {
        for frame in pcap::frames(path) {
            if frame.starts_with(&PROTOCOL_ID) {
                pdus.extend(Pdu::chain(&frame).map_while(Result::ok).map(<[u8]>::to_vec));
            }
        }
    }
    (pdus, captures.len())
}

/// Whatever the bytes, every form of a message gives them back.
fn check(pdu: &[u8]) -> Message {
    let decoded = Message::decode(pdu).unwrap();
    let message = decoded.message;
    assert_eq!(decoded.bulk, Message::bulk_of(pdu));
    let range = decoded.bulk.clone().unwrap_or(0..0);

    let mut again = Vec::new();
    message.encode(&pdu[range.clone()], &mut again);
    assert_eq!(again, pdu, "{message:?}");

    let mut cut = pdu.to_vec();
    cut.drain(range.clone());
    let mut again = b"something before".to_vec();
    let start = again.len();
    let at = message.encode_detached(&mut again);
    assert_eq!(again[start..], cut, "{message:?}");
    assert_eq!(at, decoded.bulk.as_ref().map(|bulk| bulk.start));
    assert_eq!(
        Message::decode_detached(&cut, range.len()).unwrap(),
        message
    );

    let json = serde_json::to_string(&message.quirks).unwrap();
    assert_eq!(
        serde_json::from_str::<Quirks>(&json).unwrap(),
        message.quirks
    );
    if let Body::Request(request) = &message.body {
        check_request(request, &message, pdu);
    }
    message
}

fn check_request(request: &Request, message: &Message, pdu: &[u8]) {
    let json = serde_json::to_string(request).unwrap();
    let back: Request = serde_json::from_str(&json).unwrap();
    assert_eq!(&back, request, "{json}");
    if let (Some(id), Some(at)) = (request.file_id(), request.file_id_offset()) {
        assert_eq!(pdu[at..at + 16], id.to_bytes());
    }
    assert_eq!(request.command(), message.header.command);
}

#[test]
fn every_generated_request_comes_back_without_quirks() {
    let mut source = Gen(1);
    for round in 0..20_000 {
        let request = source.request(round % REQUESTS);
        let mut header = source.header(request.command());
        // Tree connect contexts reach to the end of the PDU: they take its padding for theirs.
        let open_end = matches!(&request, Request::TreeConnect(body)
            if body.flags.contains(TreeConnectFlags::EXTENSION_PRESENT));
        if open_end {
            header.next_command = 0;
        }
        let message = Message::new(header, Body::Request(request.clone()));
        let bulk = vec![7; request.bulk_len() as usize];
        let mut pdu = Vec::new();
        message.encode(&bulk, &mut pdu);
        let decoded = check(&pdu);
        assert_eq!(decoded, message);
        assert!(header.next_command == 0 || pdu.len().is_multiple_of(8));
        if open_end {
            continue;
        }

        // In the middle of a compound it decodes alike.
        header.next_command = pdu.len().next_multiple_of(8) as u32;
        let mut frame = Vec::new();
        Message {
            header,
            ..message.clone()
        }
        .encode(&bulk, &mut frame);
        let middle = frame.len();
        header.next_command = 0;
        Message {
            header,
            ..message.clone()
        }
        .encode(&bulk, &mut frame);
        let pdus: Vec<_> = Pdu::chain(&frame).map(Result::unwrap).collect();
        assert_eq!(pdus, [&frame[..middle], &frame[middle..]]);
        for pdu in pdus {
            assert_eq!(check(pdu).body, message.body);
        }
    }
}

#[test]
fn a_request_is_a_line_people_can_read() {
    let line = r#"{"CREATE":{"name":"team\\plan.xlsx","access":"0xc0110080","attributes":"0x80","#
        .to_owned()
        + r#""share":"rwd","disposition":"open_if","options":"0x40","oplock":"lease","contexts":["#
        + r#"{"RqLs":{"version":2,"key":"000102030405060708090a0b0c0d0e0f","state":"RH"}},"#
        + r#"{"MxAc":{}},{"QFid":{}},{"AAPL":"0102"},{"0x6e6f6e65ff":"00"}]}}"#;
    let request: Request = serde_json::from_str(&line).unwrap();
    let Request::Create(create) = &request else {
        panic!("{request:?}")
    };
    assert_eq!(create.name, Name::from("team\\plan.xlsx"));
    assert_eq!(
        create.impersonation_level,
        ImpersonationLevel::IMPERSONATION
    );
    assert_eq!(create.contexts.len(), 5);
    assert_eq!(serde_json::to_string(&request).unwrap(), line);

    for (line, why) in [
        (
            r#"{"CLOSE":{"flags":"0x1","fil_id":"1:2"}}"#,
            "unknown field `fil_id`",
        ),
        (r#"{"CREATE":{"share":"rwx"}}"#, "not ShareAccess"),
        (
            r#"{"CREATE":{"disposition":"open_it"}}"#,
            "not a CreateDisposition",
        ),
        (
            r#"{"CREATE":{"contexts":[{"nonsense":""}]}}"#,
            "unknown create context nonsense",
        ),
        (
            r#"{"CREATE":{"contexts":[{"AAPL":"0"}]}}"#,
            "not hex digits",
        ),
        (r#"{"QUERY_INFO":{"info_type":256}}"#, "not a InfoType"),
    ] {
        let error = serde_json::from_str::<Request>(line)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[derive(Default)]
struct Tally {
    messages: usize,
    quirks: usize,
    opaque: usize,
    why: BTreeMap<String, usize>,
}

#[test]
fn every_recorded_message_comes_back_byte_for_byte() {
    let (pdus, captures) = corpus();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for pdu in &pdus {
        count(&mut tallies, &check(pdu));
    }
    report(&tallies, pdus.len(), captures);
}

fn count(tallies: &mut BTreeMap<String, Tally>, message: &Message) {
    let side = if message.header.is_response() {
        "response"
    } else {
        "request"
    };
    let tally = tallies
        .entry(format!("{} {side}", message.header.command))
        .or_default();
    tally.messages += 1;
    if let Body::Request(Request::Opaque(body)) = &message.body {
        tally.opaque += 1;
        *tally
            .why
            .entry(format!("opaque: {}", body.reason))
            .or_default() += 1;
    }
    if let Body::Response(smbench_core::smb2::Response::Opaque(body)) = &message.body {
        tally.opaque += 1;
        *tally
            .why
            .entry(format!("opaque: {}", body.reason))
            .or_default() += 1;
    }
    if !message.quirks.is_empty() {
        tally.quirks += 1;
        let quirks = &message.quirks;
        let mut why = String::new();
        if let Some(length) = quirks.length() {
            let mut canonical = Vec::new();
            let mut plain = message.clone();
            plain.quirks = Default::default();
            plain.encode_detached(&mut canonical);
            why += &format!("length {:+} ", i64::from(length) - canonical.len() as i64);
        }
        for patch in quirks.patches() {
            why += &format!("@{}+{} ", patch.at, patch.bytes.len());
        }
        if let Some(at) = quirks.bulk_at() {
            why += &format!("bulk at {at} ");
        }
        *tally.why.entry(why).or_default() += 1;
    }
}

fn report(tallies: &BTreeMap<String, Tally>, pdus: usize, captures: usize) {
    let quirks: usize = tallies.values().map(|tally| tally.quirks).sum();
    let opaque: usize = tallies.values().map(|tally| tally.opaque).sum();
    println!("{captures} captures, {pdus} messages, {quirks} with quirks, {opaque} opaque");
    for (name, tally) in tallies {
        println!(
            "{name:28} {:7} messages {:6} quirks",
            tally.messages, tally.quirks
        );
        let mut why: Vec<_> = tally.why.iter().collect();
        why.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (why, count) in why.iter().take(6) {
            println!("    {count:6} {why}");
        }
    }
}
