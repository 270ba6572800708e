//! Reads SMB transport frames out of captures, just well enough for tests of the codec.
//!
//! Streams are taken in order of sequence numbers; what lies behind a hole is left out.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Every capture below the shared folder, sorted; empty when there is none.
pub(crate) fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz", ".cap"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The SMB frames of a capture, without the transport's length.
pub(crate) fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain);
        bytes = plain;
    }
    let mut streams: BTreeMap<Vec<u8>, Stream> = BTreeMap::new();
    for (link, packet) in packets(&bytes) {
        if let Some((key, seq, syn, payload)) = tcp(link, packet) {
            let stream = streams.entry(key).or_default();
            if syn {
                stream.cut();
                stream.next = Some(seq.wrapping_add(1));
            } else {
                stream.add(seq, payload);
            }
        }
    }
    let mut frames = Vec::new();
    for (_, mut stream) in streams {
        stream.cut();
        for piece in stream.pieces {
            split(&piece, &mut frames);
        }
    }
    frames
}

#[derive(Default)]
struct Stream {
    next: Option<u32>,
    bytes: Vec<u8>,
    ahead: BTreeMap<u32, Vec<u8>>,
    pieces: Vec<Vec<u8>>,
}

impl Stream {
    fn cut(&mut self) {
        self.pieces.push(std::mem::take(&mut self.bytes));
        self.ahead.clear();
    }

    fn add(&mut self, seq: u32, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(seq);
        let behind = next.wrapping_sub(seq);
        if behind < 1 << 31 {
            if let Some(fresh) = payload.get(behind as usize..) {
                self.bytes.extend_from_slice(fresh);
                self.next = Some(next.wrapping_add(fresh.len() as u32));
            }
        } else {
            self.ahead.insert(seq, payload.to_vec());
        }
        if self.ahead.len() > 300 {
            // A hole that will not be filled.
            let waiting = std::mem::take(&mut self.ahead);
            self.cut();
            self.next = waiting.keys().next().copied();
            for (seq, payload) in waiting {
                self.add(seq, &payload);
            }
            return;
        }
        while let Some(seq) = self
            .ahead
            .keys()
            .copied()
            .find(|seq| self.next.unwrap().wrapping_sub(*seq) < 1 << 31)
        {
            let payload = self.ahead.remove(&seq).unwrap();
            let next = self.next.unwrap();
            if let Some(fresh) = payload.get(next.wrapping_sub(seq) as usize..) {
                self.bytes.extend_from_slice(fresh);
                self.next = Some(next.wrapping_add(fresh.len() as u32));
            }
        }
    }
}

fn is_smb(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[0] == 0 && &bytes[5..8] == b"SMB" && (0xfc..=0xff).contains(&bytes[4])
}

fn split(mut piece: &[u8], frames: &mut Vec<Vec<u8>>) {
    while piece.len() >= 8 {
        if !is_smb(piece) {
            // Not at a frame's start: look for one.
            let Some(at) = piece.windows(8).position(is_smb) else {
                return;
            };
            piece = &piece[at..];
        }
        let len = u32::from_be_bytes([0, piece[1], piece[2], piece[3]]) as usize;
        let Some(frame) = piece.get(4..4 + len) else {
            return;
        };
        frames.push(frame.to_vec());
        piece = &piece[4 + len..];
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

type Segment<'a> = (Vec<u8>, u32, bool, &'a [u8]);

fn tcp(link: u32, packet: &[u8]) -> Option<Segment<'_>> {
    let mut ip = match link {
        1 => {
            let mut at = 12;
            while matches!(be16(packet, at)?, 0x8100 | 0x88a8 | 0x9100) {
                at += 4;
            }
            packet.get(at + 2..)?
        }
        113 => packet.get(16..)?,
        276 => packet.get(20..)?,
        0 | 108 => packet.get(4..)?,
        _ => packet,
    };
    let (mut key, segment) = match ip.first()? >> 4 {
        4 => {
            let total = usize::from(be16(ip, 2)?);
            if total > 0 {
                ip = ip.get(..total.min(ip.len()))?;
            }
            if *ip.get(9)? != 6 || be16(ip, 6)? & 0x1fff != 0 {
                return None;
            }
            (
                ip.get(12..20)?.to_vec(),
                ip.get(usize::from(ip[0] & 15) * 4..)?,
            )
        }
        6 if *ip.get(6)? == 6 => {
            let len = usize::from(be16(ip, 4)?);
            (
                ip.get(8..40)?.to_vec(),
                ip.get(40..(40 + len).min(ip.len()))?,
            )
        }
        _ => return None,
    };
    key.extend_from_slice(segment.get(..4)?);
    let seq = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
    let start = usize::from(segment.get(12)? >> 4) * 4;
    Some((key, seq, segment.get(13)? & 2 != 0, segment.get(start..)?))
}

fn packets(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    match bytes.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(bytes),
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => pcap(bytes, false),
        Some([0xa1, 0xb2, ..]) => pcap(bytes, true),
        _ => Vec::new(),
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if big {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    })
}

fn pcap(bytes: &[u8], big: bool) -> Vec<(u32, &[u8])> {
    let mut packets = Vec::new();
    let link = word(bytes, 20, big).unwrap_or(1) & 0xffff;
    let mut at = 24;
    while let Some(len) = word(bytes, at + 8, big) {
        let Some(packet) = bytes.get(at + 16..at + 16 + len as usize) else {
            break;
        };
        packets.push((link, packet));
        at += 16 + len as usize;
    }
    packets
}

fn pcapng(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut packets = Vec::new();
    let mut links = Vec::new();
    let mut big = false;
    let mut at = 0;
    while let Some(kind) = word(bytes, at, big) {
        if kind == 0x0a0d_0d0a {
            big = word(bytes, at + 8, false) != Some(0x1a2b_3c4d);
            links.clear();
        }
        let Some(len) = word(bytes, at + 4, big).filter(|len| *len >= 12) else {
            break;
        };
        let Some(block) = bytes.get(at..at + len as usize) else {
            break;
        };
        match kind {
            1 => links.push(word(block, 8, big).unwrap() & 0xffff),
            6 => {
                let interface = word(block, 8, big).unwrap() as usize;
                let captured = word(block, 20, big).unwrap() as usize;
                if let (Some(link), Some(packet)) =
                    (links.get(interface), block.get(28..28 + captured))
                {
                    packets.push((*link, packet));
                }
            }
            _ => {}
        }
        at += len as usize;
    }
    packets
}
