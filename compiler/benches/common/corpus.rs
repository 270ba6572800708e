//! What the benchmarks measure against: the corpus in memory, and the walks that cannot be avoided.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, traits::PcapReaderIterator};

/// Reads every packet and follows sequence numbers, no more.
pub(crate) fn walk(capture: impl Read) -> u64 {
    let mut next: HashMap<Flow, u32> = HashMap::new();
    segments(capture, |flow, seq, payload| {
        let expected = next.entry(flow).or_insert(seq);
        *expected = seq.wrapping_add(payload.len() as u32);
        payload.len() as u64
    })
}

/// Reads every packet and puts the streams together, for nobody.
pub(crate) fn reassemble(capture: impl Read) -> u64 {
    let mut streams: HashMap<Flow, Stream> = HashMap::new();
    segments(capture, |flow, seq, payload| {
        let stream = streams.entry(flow).or_insert_with(|| Stream {
            next: seq,
            ..Stream::default()
        });
        let before = stream.total;
        stream.segment(seq, payload);
        stream.total - before
    })
}

/// One direction of a connection.
#[derive(Default)]
struct Stream {
    next: u32,
    /// Bytes in order, until somebody would have taken them.
    bytes: Vec<u8>,
    /// What comes after a hole, by sequence number.
    waiting: BTreeMap<u32, Vec<u8>>,
    total: u64,
}

impl Stream {
    fn segment(&mut self, seq: u32, payload: &[u8]) {
        match self.next.wrapping_sub(seq) {
            // Nothing of it came before, or its beginning did.
            known if known as usize <= payload.len() => self.append(&payload[known as usize..]),
            known if known > u32::MAX / 2 => {
                self.waiting.insert(seq, payload.to_vec());
            }
            _ => {} // all of it came before
        }
        while let Some(first) = self.waiting.first_entry() {
            let known = self.next.wrapping_sub(*first.key());
            let is_hole = known > u32::MAX / 2;
            if is_hole && self.waiting.len() <= WAITING {
                return;
            }
            let (seq, payload) = self.waiting.pop_first().unwrap();
            if is_hole {
                self.next = seq; // what is missing does not come
                self.append(&payload);
            } else {
                self.append(payload.get(known as usize..).unwrap_or_default());
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.next = self.next.wrapping_add(bytes.len() as u32);
        self.total += bytes.len() as u64;
        if self.bytes.len() >= TAKEN {
            black_box(&self.bytes);
            self.bytes.clear();
        }
    }
}

/// Segments that wait behind a hole.
const WAITING: usize = 256;
/// Bytes of a stream that are taken at once.
const TAKEN: usize = 64 * 1024;

/// Tells of each TCP segment, and sums up what is said of them.
fn segments(capture: impl Read, mut tell: impl FnMut(Flow, u32, &[u8]) -> u64) -> u64 {
    let mut reader = LegacyPcapReader::new(1 << 20, capture).unwrap();
    let mut sum = 0;
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::Legacy(block) = block {
                    sum += segment(block.data, &mut tell);
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

fn segment(data: &[u8], tell: &mut impl FnMut(Flow, u32, &[u8]) -> u64) -> u64 {
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
    let seq = tcp.sequence_number().wrapping_add(u32::from(tcp.syn()));
    tell(key, seq, tcp.payload())
}

/// The captures, one after the other, with other addresses in every repetition.
pub(crate) fn corpus() -> &'static [u8] {
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
