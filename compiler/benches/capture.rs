//! Reading captures, against a bare walk over the same bytes.
//!
//! The input is the largest captures of the shared corpus, repeated with other addresses to some
//! 200 MB in memory. The bare walk is what cannot be avoided: pcap-parser's reader, etherparse's
//! slices, and a reassembly that only follows sequence numbers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark may stop at the first surprise"
)]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use divan::counter::BytesCount;
use divan::{Bencher, Divan};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, traits::PcapReaderIterator};
use smbench_compiler::capture::{CaptureEvent, CaptureOptions, read_capture_with};

fn main() {
    if corpus().is_empty() {
        println!("no captures beside the repository: nothing to measure");
        return;
    }
    let best = |work: fn(&'static [u8]) -> u64| {
        let run = |_| {
            let start = Instant::now();
            black_box(work(corpus()));
            start.elapsed().as_secs_f64()
        };
        (0..7).map(run).fold(f64::INFINITY, f64::min)
    };
    let (bare, full) = (best(walk), best(|bytes| frames(bytes, false)));
    let gigabytes = corpus().len() as f64 / 1e9;
    println!(
        "{:.0} MB: bare walk {:.2} GB/s, read_capture {:.2} GB/s, {:.2} x the time of the walk",
        gigabytes * 1e3,
        gigabytes / bare,
        gigabytes / full,
        full / bare
    );
    Divan::from_args().main();
}

#[divan::bench(sample_count = 10)]
fn bare_walk(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| walk(corpus()));
}

#[divan::bench(sample_count = 10)]
fn read_capture(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| frames(corpus(), false));
}

#[divan::bench(sample_count = 10)]
fn read_capture_hashed(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| frames(corpus(), true));
}

fn frames(bytes: &'static [u8], hash: bool) -> u64 {
    let mut sum = 0;
    let options = CaptureOptions {
        hash,
        ..CaptureOptions::default()
    };
    let inputs: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new(bytes))];
    let stats = read_capture_with(&options, inputs, &mut |event| {
        if let CaptureEvent::Frame(info, payload) = event {
            sum += info.frame_no + payload.len() as u64;
        }
    });
    black_box(stats.unwrap());
    sum
}

fn walk(bytes: &'static [u8]) -> u64 {
    let mut reader = LegacyPcapReader::new(1 << 20, Cursor::new(bytes)).unwrap();
    let mut next: HashMap<Flow, u32> = HashMap::new();
    let mut sum = 0;
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::Legacy(block) = block {
                    sum += follow(block.data, &mut next);
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return sum,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Addresses and ports.
type Flow = ([u8; 4], [u8; 4], u16, u16);

fn follow(data: &[u8], next: &mut HashMap<Flow, u32>) -> u64 {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(data) else {
        return 0;
    };
    let (Some(LaxNetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
        (&packet.net, &packet.transport)
    else {
        return 0;
    };
    let header = ip.header();
    let key = (
        header.source(),
        header.destination(),
        tcp.source_port(),
        tcp.destination_port(),
    );
    let seq = tcp.sequence_number();
    let expected = next.entry(key).or_insert(seq);
    let len = tcp.payload().len();
    *expected = seq.wrapping_add(len as u32);
    len as u64
}

/// The captures, one after the other, with other addresses in every repetition.
fn corpus() -> &'static [u8] {
    static CORPUS: OnceLock<Vec<u8>> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own");
        let names = [
            "office/office20_15s.pcap",
            "smbclient/smbclient_bigfile_4m.pcap",
        ];
        let parts: Vec<_> = names
            .iter()
            .flat_map(|name| fs::read(root.join(name)))
            .collect();
        let Some(first) = parts.first() else {
            return Vec::new();
        };
        let mut all = first[..24].to_vec();
        for round in 0..8 {
            for part in &parts {
                append(&mut all, &part[24..], round);
            }
        }
        all
    })
}

fn append(all: &mut Vec<u8>, mut records: &[u8], round: u8) {
    while records.len() > 16 {
        let len = 16 + u32::from_le_bytes(records[8..12].try_into().unwrap()) as usize;
        let at = all.len();
        all.extend_from_slice(&records[..len]);
        // Second byte of both IPv4 addresses: record header, Ethernet, then 12 and 16.
        for place in [at + 16 + 14 + 13, at + 16 + 14 + 17] {
            all[place] ^= round;
        }
        records = &records[len..];
    }
}
