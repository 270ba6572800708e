//! What the benchmarks measure against: the corpus in memory, and the walk that cannot be avoided.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, traits::PcapReaderIterator};

/// Reads every packet and follows sequence numbers, no more.
pub(crate) fn walk(capture: impl Read) -> u64 {
    let mut reader = LegacyPcapReader::new(1 << 20, capture).unwrap();
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
