//! The codec against real traffic: every message of every capture, and what chance makes of them.

mod pcap;

use std::collections::BTreeMap;

use smbench_core::smb2::{Body, Message, PROTOCOL_ID, Pdu, Request};

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
        let decoded = Message::decode(pdu).unwrap();
        let message = &decoded.message;
        assert_eq!(decoded.bulk, Message::bulk_of(pdu));
        let range = decoded.bulk.clone().unwrap_or(0..0);
        let bulk = &pdu[range.clone()];

        let mut again = Vec::new();
        message.encode(bulk, &mut again);
        assert_eq!(&again, pdu, "{message:?}");

        let mut cut = pdu.clone();
        cut.drain(range.clone());
        let mut again = Vec::new();
        let at = message.encode_detached(&mut again);
        assert_eq!(again, cut, "{message:?}");
        assert_eq!(at, decoded.bulk.as_ref().map(|bulk| bulk.start));
        assert_eq!(
            &Message::decode_detached(&cut, range.len()).unwrap(),
            message
        );

        if let Body::Request(request) = &message.body {
            let json = serde_json::to_string(request).unwrap();
            let back: Request = serde_json::from_str(&json).unwrap();
            assert_eq!(&back, request, "{json}");
            if let (Some(id), Some(at)) = (request.file_id(), request.file_id_offset()) {
                assert_eq!(pdu[at..at + 16], id.to_bytes());
            }
            assert_eq!(request.command(), message.header.command);
        }
        let json = serde_json::to_string(&message.quirks).unwrap();
        assert_eq!(
            serde_json::from_str::<smbench_core::smb2::Quirks>(&json).unwrap(),
            message.quirks
        );
        count(&mut tallies, pdu, message);
    }
    report(&tallies, pdus.len(), captures);
}

fn count(tallies: &mut BTreeMap<String, Tally>, pdu: &[u8], message: &Message) {
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
        let _ = pdu;
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
