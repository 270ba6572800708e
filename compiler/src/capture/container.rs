//! Capture files to packets: pcap, pcapng, plain or packed with gzip or zstd, from any `Read`.
//!
//! A [`Source`] moves a window over its input and hands out packets as slices of it, so that memory
//! does not depend on the length of the capture. It knows nothing of what is inside a
//! packet. A file that ends in the middle of a packet is a counted problem, not an error: every
//! whole packet before the cut counts.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use super::CaptureError;
use super::bytes::{le_u16, le_u32};
use super::pcapng::Section;
use super::stats::{CaptureStats, problem};
use super::window::{Block, Blocks, Reading, Window};

/// One packet as it lies in the window of its source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packet {
    /// Nanoseconds since the Unix epoch.
    pub(super) time_ns: u64,
    /// Link type as in the `LINKTYPE_` registry.
    pub(super) link: u32,
    /// Length on the wire; the captured part may be shorter.
    pub(super) wire_len: usize,
    at: usize,
    len: usize,
}

impl Packet {
    /// Describes the packet whose captured bytes are `len` bytes from `at` of the record just read.
    ///
    /// Field by field, none smaller than it is read: a processor that loads what it has just stored
    /// in pieces waits until all it stored before is written.
    #[inline]
    pub(super) fn set(&mut self, time_ns: u64, link: u16, wire_len: usize, at: usize, len: usize) {
        self.time_ns = time_ns;
        self.link = u32::from(link);
        self.wire_len = wire_len.max(len);
        self.at = at;
        self.len = len;
    }
}

/// What a record parser says of the bytes at the front of the window.
pub(super) enum Record {
    /// A packet, which has been set, in a record of this many bytes.
    Packet(usize),
    /// Nothing of interest in this many bytes.
    Skip(usize),
    /// The record needs this many bytes in the window.
    Need(usize),
    /// The record lies; nothing after it can be trusted.
    Bad,
}

/// One capture being read.
pub(super) struct Source {
    window: Window,
    format: Format,
    packet: Packet,
    /// What to add to the time of every packet.
    clock_ns: i64,
    hash: Option<Rc<RefCell<blake3::Hasher>>>,
}

impl Source {
    /// Opens a capture: unpacks it by its first bytes and reads its header.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`] of the input, [`CaptureError::NotACapture`] when the first bytes are
    /// of no known format, [`CaptureError::Empty`] when there are none.
    pub(super) fn open(input: Box<dyn Blocks>, hash: bool) -> Result<Self, CaptureError> {
        let hash = hash.then(|| Rc::new(RefCell::new(blake3::Hasher::new())));
        let input: Box<dyn Blocks> = match &hash {
            Some(hasher) => Box::new(Hashing {
                input,
                hasher: Rc::clone(hasher),
            }),
            None => input,
        };
        let window = unpack(input).map_err(|source| CaptureError::Io { source })?;
        let mut source = Self {
            window,
            format: Format::Pcapng(Section::default()),
            packet: Packet::default(),
            clock_ns: 0,
            hash,
        };
        source.read_header()?;
        Ok(source)
    }

    /// Adds so many nanoseconds to the time of every packet.
    pub(super) fn set_clock(&mut self, clock_ns: i64) {
        self.clock_ns = clock_ns;
    }

    /// The packet that [`Source::advance`] went to.
    #[inline]
    pub(super) fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Its captured bytes.
    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        self.window.passed(self.packet.at, self.packet.len)
    }

    /// BLAKE3 of all the input, once it has been read to its end.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.hash
            .as_ref()
            .map(|hasher| *hasher.borrow().finalize().as_bytes())
    }

    /// Goes to the next packet; false at the end of the capture.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`] of the input.
    #[inline]
    pub(super) fn advance(&mut self, stats: &mut CaptureStats) -> Result<bool, CaptureError> {
        loop {
            let have = self.window.unread();
            let record = match &mut self.format {
                Format::Pcap(pcap) => pcap.record(have, &mut self.packet),
                Format::Pcapng(section) => section.record(have, &mut self.packet, stats),
            };
            if let Record::Packet(len) = record {
                self.packet.at += self.window.advance(len);
                if self.clock_ns != 0 {
                    self.packet.time_ns = self.packet.time_ns.saturating_add_signed(self.clock_ns);
                }
                return Ok(true);
            }
            if !self.pass(record, stats)? {
                return Ok(false);
            }
        }
    }

    /// Goes on behind what is no packet; false at the end of the capture.
    fn pass(&mut self, record: Record, stats: &mut CaptureStats) -> Result<bool, CaptureError> {
        match record {
            Record::Packet(_) => {}
            Record::Skip(len) => self.skip(len, stats)?,
            Record::Need(len) if len > RECORD_MAX => {
                stats.problem(problem::RECORD_TOO_LARGE);
                self.skip(len, stats)?;
            }
            Record::Need(len) => {
                if !self.fill(len)? {
                    self.cut(problem::TRUNCATED_FILE, stats)?;
                    return Ok(false);
                }
            }
            Record::Bad => {
                self.cut(problem::BAD_RECORD, stats)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_header(&mut self) -> Result<(), CaptureError> {
        self.fill(PCAP_HEADER)?;
        let have = self.window.unread();
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
        self.window.advance(PCAP_HEADER);
        Ok(())
    }

    /// Ends the capture here; what is left is counted, and read only to be hashed.
    fn cut(&mut self, what: &'static str, stats: &mut CaptureStats) -> Result<(), CaptureError> {
        let mut left = 0;
        loop {
            let len = self.window.unread().len();
            self.window.advance(len);
            left += len;
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
            let have = self.window.unread().len().min(len);
            self.window.advance(have);
            len -= have;
            if len == 0 {
                return Ok(());
            }
            if !self.fill(1)? {
                stats.problem(problem::TRUNCATED_FILE);
                return Ok(());
            }
        }
    }

    fn fill(&mut self, need: usize) -> Result<bool, CaptureError> {
        let filled = self.window.fill(need);
        filled.map_err(|source| CaptureError::Io { source })
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
    #[inline]
    fn record(&self, have: &[u8], packet: &mut Packet) -> Record {
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
        packet.set(time_ns, self.link, wire, self.record_header, captured);
        Record::Packet(len)
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
    input: Box<dyn Blocks>,
    hasher: Rc<RefCell<blake3::Hasher>>,
}

impl Blocks for Hashing {
    fn next(&mut self) -> io::Result<Option<Block>> {
        let block = self.input.next()?;
        if let Some(block) = &block {
            self.hasher.borrow_mut().update(block.data());
        }
        Ok(block)
    }

    fn give_back(&mut self, spent: Block) {
        self.input.give_back(spent);
    }
}

/// Looks at the first bytes and unpacks gzip and zstd, also several members in a row.
fn unpack(input: Box<dyn Blocks>) -> io::Result<Window> {
    let mut window = Window::new(input);
    window.fill(4)?;
    let first = window.unread();
    let gzip = le_u16(first, 0) == Some(GZIP_MAGIC);
    let zstd = le_u32(first, 0) == Some(ZSTD_MAGIC);
    let unpacked: Box<dyn Read> = if gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(window))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(window)?)
    } else {
        return Ok(window);
    };
    let packed = Packed { input: unpacked };
    Ok(Window::new(Box::new(Reading::new(packed))))
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

const RECORD_MAX: usize = 16 * 1024 * 1024;
const PCAP_HEADER: usize = 24;
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const GZIP_MAGIC: u16 = 0x8b1f;
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
