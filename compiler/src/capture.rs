//! Captures to SMB transport frames, streaming and in bounded memory.
//!
//! `container` reads packets out of files, `link` finds the TCP segment in each, `flow` and `tcp`
//! put the segments of a connection in order, `framing` cuts the streams into messages of the SMB
//! transport, `twice` leaves out connections that are the same traffic as others. Frames are handed
//! to a sink as they are completed, mostly as slices of the read buffer. Nothing here looks deeper into a message than its first few bytes, decrypts it or
//! unpacks it. What could not be used is in [`CaptureStats`], by reason.

mod bytes;
mod clocks;
mod container;
mod emit;
mod event;
mod flow;
mod fragment;
mod framing;
mod link;
mod pcapng;
mod reset;
mod stats;
mod step;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod twice;
mod window;

use std::io::{self, Read};

use thiserror::Error;

pub use clocks::clocks;
pub use event::{CaptureEvent, CloseKind, ConnInfo, Direction, FrameInfo, FrameKind};
pub use stats::{CaptureStats, Duplicate, problem};
pub(crate) use window::{BLOCK_BYTES, Block, Blocks, Reading};

use container::{Packet, Source};
use emit::{Out, Stamp};
use flow::Flows;
use link::{Dissector, Segment};
use twice::Twice;

/// Why a capture could not be read at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The input failed.
    #[error("reading the capture")]
    Io {
        /// What the input said.
        #[source]
        source: io::Error,
    },
    /// The input has no bytes.
    #[error("the capture is empty")]
    Empty,
    /// The input is neither pcap nor pcapng, packed or not.
    #[error("not a capture: it starts with {found:02x?}, which is neither pcap nor pcapng")]
    NotACapture {
        /// Its first bytes, at most eight.
        found: Vec<u8>,
    },
    /// No input was given.
    #[error("no capture was given")]
    NoInput,
}

/// How to read captures.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// Whether to compute the BLAKE3 of each input.
    pub hash: bool,
    /// Bytes that may wait in all streams together: unfinished frames and out-of-order data.
    pub memory_bytes: usize,
    /// Connections remembered at once.
    pub flows: usize,
    /// Whether a connection is told that is the same traffic as another.
    pub keep_duplicates: bool,
    /// Nanoseconds to add to the times of each input, as [`clocks`] tells; none where there are no
    /// more.
    pub clocks_ns: Vec<i64>,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            hash: false,
            memory_bytes: 112 * 1024 * 1024,
            flows: 65_536,
            keep_duplicates: false,
            clocks_ns: Vec::new(),
        }
    }
}

/// Reads captures with the default options; several are merged by time.
///
/// # Errors
///
/// As [`read_capture_with`].
pub fn read_capture(
    inputs: Vec<Box<dyn Read>>,
    sink: &mut dyn FnMut(CaptureEvent<'_>),
) -> Result<CaptureStats, CaptureError> {
    read_capture_with(&CaptureOptions::default(), inputs, sink)
}

/// Reads captures and tells `sink` what is in them; several are merged by time.
///
/// Packets are numbered from 1 across all inputs. A damaged or truncated capture is read as far as
/// it goes and the damage counted in [`CaptureStats::problems`].
///
/// # Errors
///
/// [`CaptureError::NotACapture`] or [`CaptureError::Empty`] when an input is none,
/// [`CaptureError::Io`] when reading fails, [`CaptureError::NoInput`] without inputs.
pub fn read_capture_with(
    options: &CaptureOptions,
    inputs: Vec<Box<dyn Read>>,
    sink: &mut dyn FnMut(CaptureEvent<'_>),
) -> Result<CaptureStats, CaptureError> {
    let inputs = inputs.into_iter();
    let inputs = inputs.map(|input| Box::new(Reading::new(input)) as Box<dyn Blocks>);
    read_capture_into(options, inputs.collect(), &mut Told(sink))
}

/// Who is told what is in a capture.
pub(crate) trait Sink {
    /// Something was found.
    fn event(&mut self, event: CaptureEvent<'_>);

    /// A frame was put together. The sink may keep `payload` and leave another buffer, whose content
    /// does not matter.
    fn frame(&mut self, info: FrameInfo, payload: &mut Vec<u8>);
}

struct Told<'s>(&'s mut dyn FnMut(CaptureEvent<'_>));

impl Sink for Told<'_> {
    fn event(&mut self, event: CaptureEvent<'_>) {
        (self.0)(event);
    }

    fn frame(&mut self, info: FrameInfo, payload: &mut Vec<u8>) {
        (self.0)(CaptureEvent::Frame(info, payload));
    }
}

/// As [`read_capture_with`].
pub(crate) fn read_capture_into(
    options: &CaptureOptions,
    inputs: Vec<Box<dyn Blocks>>,
    sink: &mut dyn Sink,
) -> Result<CaptureStats, CaptureError> {
    if options.keep_duplicates {
        return read_every_connection(options, inputs, sink);
    }
    let mut twice = Twice::new(sink);
    let mut stats = read_every_connection(options, inputs, &mut twice)?;
    twice.finish(&mut stats);
    Ok(stats)
}

fn read_every_connection(
    options: &CaptureOptions,
    inputs: Vec<Box<dyn Blocks>>,
    sink: &mut dyn Sink,
) -> Result<CaptureStats, CaptureError> {
    let opened = inputs
        .into_iter()
        .map(|input| Source::open(input, options.hash));
    let mut sources = opened.collect::<Result<Vec<_>, _>>()?;
    for (source, clock_ns) in sources.iter_mut().zip(&options.clocks_ns) {
        source.set_clock(*clock_ns);
    }
    let mut reader = Reader {
        out: Out::new(sink, options.memory_bytes),
        dissector: Dissector::default(),
        flows: Flows::new(options.flows),
    };
    match sources.as_mut_slice() {
        [] => return Err(CaptureError::NoInput),
        [source] => {
            while source.advance(&mut reader.out.stats)? {
                reader.packet(source.packet(), source.data());
            }
        }
        several => reader.merge(several)?,
    }
    reader.flows.finish(&mut reader.out);
    let mut stats = reader.out.stats;
    reader.dissector.finish(&mut stats);
    stats.digests = sources.iter().filter_map(Source::digest).collect();
    Ok(stats)
}

struct Reader<'s> {
    out: Out<'s>,
    dissector: Dissector,
    flows: Flows,
}

impl Reader<'_> {
    /// Takes always the earliest packet of all sources, of equal ones that of the first source.
    fn merge(&mut self, sources: &mut [Source]) -> Result<(), CaptureError> {
        let mut open = Vec::new();
        for source in sources {
            if source.advance(&mut self.out.stats)? {
                open.push(source);
            }
        }
        loop {
            let places = open.iter_mut().enumerate();
            let earliest = places.min_by_key(|(_, source)| source.packet().time_ns);
            let Some((at, source)) = earliest else {
                return Ok(());
            };
            self.packet(source.packet(), source.data());
            if !source.advance(&mut self.out.stats)? {
                open.remove(at);
            }
        }
    }

    #[inline]
    fn packet(&mut self, packet: &Packet, data: &[u8]) {
        let stats = &mut self.out.stats;
        stats.packets += 1;
        stats.bytes += u64::try_from(data.len()).unwrap_or_default();
        stats.wire_bytes += u64::try_from(packet.wire_len).unwrap_or_default();
        stats.cut_packets += u64::from(data.len() < packet.wire_len);
        let time_ns = packet.time_ns;
        if stats.last_time_ns.is_some_and(|last| time_ns < last) {
            stats.problem(problem::TIME_BACKWARDS);
        }
        stats.first_time_ns = Some(stats.first_time_ns.map_or(time_ns, |t| t.min(time_ns)));
        stats.last_time_ns = Some(stats.last_time_ns.map_or(time_ns, |t| t.max(time_ns)));
        let at = Stamp {
            time_ns,
            frame_no: stats.packets,
        };
        let mut segment = Segment::default();
        let (link, wire_len) = (packet.link, packet.wire_len);
        if (self.dissector).segment(link, data, wire_len, &mut segment, stats) {
            self.flows.segment(&segment, at, &mut self.out);
        }
    }
}
