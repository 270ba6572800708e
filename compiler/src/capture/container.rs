//! Capture files to packets: pcap, pcapng, plain or packed with gzip or zstd, from any `Read`.
//!
//! A [`Source`] holds one growing window over its input and hands out packets as slices of it, so
//! that memory does not depend on the length of the capture. It knows nothing of what is inside a
//! packet. A file that ends in the middle of a packet is a counted problem, not an error: every
//! whole packet before the cut counts.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use super::CaptureError;
use super::bytes::{le_u16, le_u32};
use super::pcapng::Section;
use super::stats::{CaptureStats, problem};

/// One packet as it lies in the window of its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// Nanoseconds since the Unix epoch.
    pub(super) time_ns: u64,
    /// Link type as in the `LINKTYPE_` registry.
    pub(super) link: u16,
    /// Length on the wire; the captured part may be shorter.
    pub(super) wire_len: usize,
    at: usize,
    len: usize,
}

impl Packet {
    /// A packet whose captured bytes are `len` bytes from `at` of the record just read.
    pub(super) fn new(time_ns: u64, link: u16, wire_len: usize, at: usize, len: usize) -> Self {
        Self {
            time_ns,
            link,
            wire_len: wire_len.max(len),
            at,
            len,
        }
    }
}

/// What a record parser says of the bytes at the front of the window.
pub(super) enum Record {
    /// A packet; `Packet::at` counts from the front of the record of this many bytes.
    Packet(Packet, usize),
    /// Nothing of interest in this many bytes.
    Skip(usize),
    /// The record needs this many bytes in the window.
    Need(usize),
    /// The record lies; nothing after it can be trusted.
    Bad,
}

/// One capture being read.
pub(super) struct Source {
    input: Box<dyn Read>,
    window: Vec<u8>,
    start: usize,
    end: usize,
    eof: bool,
    format: Format,
    hash: Option<Rc<RefCell<blake3::Hasher>>>,
    head: Option<Packet>,
}

impl Source {
    /// Opens a capture: unpacks it by its first bytes and reads its header.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`] of the input, [`CaptureError::NotACapture`] when the first bytes are
    /// of no known format, [`CaptureError::Empty`] when there are none.
    pub(super) fn open(input: Box<dyn Read>, hash: bool) -> Result<Self, CaptureError> {
        let hash = hash.then(|| Rc::new(RefCell::new(blake3::Hasher::new())));
        let input: Box<dyn Read> = match &hash {
            Some(hasher) => Box::new(Hashing {
                input,
                hasher: Rc::clone(hasher),
            }),
            None => input,
        };
        let mut source = Self {
            input: unpack(input)?,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            eof: false,
            format: Format::Pcapng(Section::default()),
            hash,
            head: None,
        };
        source.read_header()?;
        Ok(source)
    }

    /// Captured bytes of a packet that [`Source::advance`] returned last.
    pub(super) fn data(&self, packet: &Packet) -> &[u8] {
        self.window
            .get(packet.at..packet.at + packet.len)
            .unwrap_or_default()
    }

    /// The packet [`Source::advance`] stopped at.
    pub(super) fn head(&self) -> Option<Packet> {
        self.head
    }

    /// BLAKE3 of all the input, once it has been read to its end.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.hash
            .as_ref()
            .map(|hasher| *hasher.borrow().finalize().as_bytes())
    }

    /// Goes to the next packet and returns it, or `None` at the end of the capture.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`] of the input.
    pub(super) fn advance(
        &mut self,
        stats: &mut CaptureStats,
    ) -> Result<Option<Packet>, CaptureError> {
        self.head = None;
        loop {
            let have = self.window.get(self.start..self.end).unwrap_or_default();
            if have.is_empty() && self.eof {
                return Ok(None);
            }
            let record = match &mut self.format {
                Format::Pcap(pcap) => pcap.record(have),
                Format::Pcapng(section) => section.record(have, stats),
            };
            match record {
                Record::Packet(mut packet, len) => {
                    packet.at += self.start;
                    self.start += len;
                    self.head = Some(packet);
                    return Ok(self.head);
                }
                Record::Skip(len) => self.skip(len, stats)?,
                Record::Need(len) if len > RECORD_MAX => {
                    stats.problem(problem::RECORD_TOO_LARGE);
                    self.skip(len, stats)?;
                }
                Record::Need(len) => {
                    if !self.fill(len)? {
                        self.cut(problem::TRUNCATED_FILE, stats)?;
                        return Ok(None);
                    }
                }
                Record::Bad => {
                    self.cut(problem::BAD_RECORD, stats)?;
                    return Ok(None);
                }
            }
        }
    }

    fn read_header(&mut self) -> Result<(), CaptureError> {
        self.fill(PCAP_HEADER)?;
        let have = self.window.get(..self.end).unwrap_or_default();
        if have.is_empty() {
            return Err(CaptureError::Empty);
        }
        if have.starts_with(&PCAPNG_MAGIC) {
            return Ok(()); // the section header is a block like any other
        }
        let found = have.get(..have.len().min(8)).unwrap_or_default().to_vec();
        let Ok((_, header)) = pcap_parser::parse_pcap_header(have) else {
            return Err(CaptureError::NotACapture { found });
        };
        self.start = PCAP_HEADER;
        let network = u32::from_ne_bytes(header.network.0.to_ne_bytes());
        let [link_low, link_high, ..] = network.to_le_bytes(); // the high half tells of the FCS
        self.format = Format::Pcap(Pcap {
            big_endian: header.is_bigendian(),
            nanos_per_tick: if header.is_nanosecond_precision() {
                1
            } else {
                1000
            },
            record_header: if header.is_modified_format() { 24 } else { 16 },
            link: u16::from_le_bytes([link_low, link_high]),
        });
        Ok(())
    }

    /// Ends the capture here; what is left is counted, and read only to be hashed.
    fn cut(&mut self, what: &'static str, stats: &mut CaptureStats) -> Result<(), CaptureError> {
        let mut left = 0;
        loop {
            left += self.end - self.start;
            (self.start, self.end) = (0, 0);
            if !self.fill(1)? {
                break;
            }
        }
        if left > 0 {
            stats.problem(what);
            stats.bytes_after_cut += u64::try_from(left).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn skip(&mut self, mut len: usize, stats: &mut CaptureStats) -> Result<(), CaptureError> {
        loop {
            let have = self.end - self.start;
            if have >= len {
                self.start += len;
                return Ok(());
            }
            len -= have;
            (self.start, self.end) = (0, 0);
            if !self.fill(1)? {
                stats.problem(problem::TRUNCATED_FILE);
                return Ok(());
            }
        }
    }

    /// Makes at least `need` bytes lie in the window; false when the input ends before.
    fn fill(&mut self, need: usize) -> Result<bool, CaptureError> {
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.window.len() < need {
            self.window.resize(need.next_power_of_two(), 0);
        }
        while self.end < need && !self.eof {
            let room = self.window.get_mut(self.end..).unwrap_or_default();
            match self.input.read(room) {
                Ok(0) => self.eof = true,
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Io { source }),
            }
        }
        Ok(self.end >= need)
    }
}

enum Format {
    Pcap(Pcap),
    Pcapng(Section),
}

/// What the header of a pcap file says of its records.
struct Pcap {
    big_endian: bool,
    nanos_per_tick: u64,
    record_header: usize,
    link: u16,
}

impl Pcap {
    fn record(&self, have: &[u8]) -> Record {
        let (Some(seconds), Some(ticks), Some(captured), Some(wire)) = (
            self.u32(have, 0),
            self.u32(have, 4),
            self.u32(have, 8),
            self.u32(have, 12),
        ) else {
            return Record::Need(self.record_header);
        };
        let (captured, wire) = (captured as usize, wire as usize);
        if captured > RECORD_MAX {
            return Record::Bad;
        }
        let len = self.record_header + captured;
        if have.len() < len {
            return Record::Need(len);
        }
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(ticks) * self.nanos_per_tick;
        Record::Packet(
            Packet::new(time_ns, self.link, wire, self.record_header, captured),
            len,
        )
    }

    fn u32(&self, have: &[u8], at: usize) -> Option<u32> {
        le_u32(have, at).map(|value| {
            if self.big_endian {
                value.swap_bytes()
            } else {
                value
            }
        })
    }
}

/// Feeds every byte that passes to a hasher.
struct Hashing {
    input: Box<dyn Read>,
    hasher: Rc<RefCell<blake3::Hasher>>,
}

impl Read for Hashing {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(room)?;
        self.hasher
            .borrow_mut()
            .update(room.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Looks at the first bytes and unpacks gzip and zstd, also several members in a row.
fn unpack(mut input: Box<dyn Read>) -> Result<Box<dyn Read>, CaptureError> {
    let mut first = Vec::with_capacity(4);
    input
        .by_ref()
        .take(4)
        .read_to_end(&mut first)
        .map_err(|source| CaptureError::Io { source })?;
    let gzip = le_u16(&first, 0) == Some(GZIP_MAGIC);
    let zstd = le_u32(&first, 0) == Some(ZSTD_MAGIC);
    let whole = io::Cursor::new(first).chain(input);
    Ok(if gzip {
        Box::new(Packed {
            input: flate2::read::MultiGzDecoder::new(io::BufReader::new(whole)),
        })
    } else if zstd {
        let decoder = zstd::stream::read::Decoder::new(whole);
        Box::new(Packed {
            input: decoder.map_err(|source| CaptureError::Io { source })?,
        })
    } else {
        Box::new(whole)
    })
}

/// A packed input that ends early is a truncated capture, as a plain one would be.
struct Packed<R> {
    input: R,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }
}

const WINDOW: usize = 512 * 1024;
const RECORD_MAX: usize = 16 * 1024 * 1024;
const PCAP_HEADER: usize = 24;
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const GZIP_MAGIC: u16 = 0x8b1f;
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
