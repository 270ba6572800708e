//! One direction of a TCP stream to SMB transport frames.
//!
//! The transport is found by its bytes, on any port: a zero byte, a 24-bit length, and a protocol
//! id ([MS-SMB2] 2.1; on port 139 the same with `NetBIOS` session service messages between, RFC
//! 1002 4.3), also behind what is said to a proxy. A frame within one segment is handed out where it lies; others are put together.
//!
//! | state    | data                     | hole                                           |
//! |----------|--------------------------|------------------------------------------------|
//! | Boundary | a header begins          | Search                                         |
//! | Frame    | the payload goes on      | within the frame: it stays, cut; else Search   |
//! | Skip     | passed over              | within it: it stays; else Search               |
//! | Search   | looks for a header       | nothing changes                                |
//! | Dead     | not SMB: ignored         | nothing changes                                |

use memchr::memmem;

use super::emit::{FrameShape, Ident, Out, Side, Stamp};
use super::event::FrameKind;
use super::stats::problem;

/// Finds the frames in one direction of a stream.
#[derive(Default)]
pub(super) struct Framer {
    state: State,
    /// Start of a header or of a candidate for one, cut by the end of a segment.
    head: Head,
    /// Payload of the frame in progress.
    body: Vec<u8>,
    frame: Progress,
    /// Bytes passed over in search of a first frame.
    searched: u64,
    /// A frame was found.
    speaks: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Boundary,
    Frame,
    Skip(usize),
    Search,
    Dead,
}

/// How far the frame in progress has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    total: usize,
    got: usize,
    /// Bytes are missing: `body` has ended.
    cut: bool,
    first: Stamp,
    /// The latest packet so far: behind a hole that is given up, later bytes may have come earlier.
    last: Stamp,
}

/// A few bytes carried over from the segment before.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: [u8; HEAD_MAX],
    len: usize,
    first: Stamp,
}

impl Head {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Adds bytes until `want` are here; returns the rest.
    fn add<'a>(&mut self, data: &'a [u8], want: usize, at: Stamp) -> &'a [u8] {
        if self.len == 0 {
            self.first = at;
        }
        let n = want.saturating_sub(self.len).min(data.len());
        let (taken, rest) = data.split_at_checked(n).unwrap_or_default();
        if let Some(room) = self.bytes.get_mut(self.len..self.len + n) {
            room.copy_from_slice(taken);
            self.len += n;
        }
        rest
    }

    fn set(&mut self, bytes: &[u8], at: Stamp) {
        self.len = 0;
        self.add(bytes, HEAD_MAX, at);
    }
}

/// What the bytes at a frame boundary are.
enum Header {
    /// Too few to tell.
    Short,
    /// A session message without payload.
    Empty,
    /// Another session service message with this many bytes.
    Control(usize),
    /// A frame with this many bytes of payload.
    Message(usize),
    /// None of these.
    Other,
}

impl Framer {
    /// Whether this direction was found not to speak SMB.
    pub(super) fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    /// Whether bytes of an unfinished frame are held.
    pub(super) fn holds_bytes(&self) -> bool {
        self.body.capacity() > 0
    }

    /// Makes the connection known when the frame in progress shows that it speaks SMB.
    pub(super) fn announce(&self, ident: &mut Ident, from: Side, out: &mut Out<'_>) {
        if self.state == State::Frame
            && let Some(kind) = FrameKind::of(&self.body)
        {
            out.connection(ident, from, kind, &self.body);
        }
    }

    /// Looks for frames again, in a direction given up before its connection spoke SMB.
    pub(super) fn revive(&mut self) {
        if self.state == State::Dead {
            self.state = State::Search;
        }
    }

    /// Takes the next bytes of the stream.
    #[inline]
    pub(super) fn feed(
        &mut self,
        ident: &mut Ident,
        from: Side,
        mut data: &[u8],
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        while !data.is_empty() {
            data = match self.state {
                State::Boundary if self.head.len == 0 => self.whole(ident, from, data, at, out),
                State::Boundary => self.pieces(ident, from, data, at, out),
                State::Frame => self.payload(ident, from, data, at, out),
                State::Skip(left) => {
                    let n = left.min(data.len());
                    self.state = skip(left - n);
                    data.get(n..).unwrap_or_default()
                }
                State::Search => self.search(ident, data, at, out),
                State::Dead => return,
            };
        }
    }

    /// Whether so many bytes that are missing now all belong to the frame in progress.
    pub(super) fn is_within_frame(&self, missing: u64) -> bool {
        let left = match self.state {
            State::Frame => self.frame.total - self.frame.got,
            State::Skip(left) => left,
            State::Boundary | State::Search | State::Dead => return false,
        };
        usize::try_from(missing).is_ok_and(|missing| missing <= left)
    }

    /// Takes note of bytes that are missing from the stream.
    pub(super) fn gap(
        &mut self,
        ident: &mut Ident,
        from: Side,
        missing: u64,
        at: Stamp,
        out: &mut Out<'_>,
    ) {
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        match self.state {
            State::Boundary | State::Search => {
                self.drop_head(ident, out);
                self.state = State::Search;
            }
            State::Frame => {
                let left = self.frame.total - self.frame.got;
                self.frame.cut = true;
                if missing < left {
                    self.frame.got += missing;
                } else {
                    self.finish(ident, from, at, out);
                    if missing > left {
                        self.state = State::Search;
                    }
                }
            }
            State::Skip(left) if missing <= left => self.state = skip(left - missing),
            State::Skip(_) => self.state = State::Search,
            State::Dead => {}
        }
    }

    /// Lets go of the bytes of an unfinished frame: what there is of it goes out as a part, and the
    /// rest will be passed over.
    pub(super) fn release(&mut self, ident: &mut Ident, from: Side, at: Stamp, out: &mut Out<'_>) {
        if self.state == State::Frame {
            out.stats.problem(problem::MEMORY_LIMIT);
            let left = self.frame.total - self.frame.got;
            self.frame.cut = true;
            self.finish(ident, from, at, out);
            self.state = skip(left);
        }
    }

    /// The stream is over: what there is of a frame goes out as a part.
    pub(super) fn end(&mut self, ident: &mut Ident, from: Side, at: Stamp, out: &mut Out<'_>) {
        if self.state == State::Frame {
            out.stats.problem(problem::FRAME_UNFINISHED);
            self.frame.cut = true;
            self.finish(ident, from, at, out);
        }
        self.drop_head(ident, out);
        self.state = State::Search;
    }

    /// At a boundary with nothing carried over: the way most frames go.
    #[inline]
    fn whole<'a>(
        &mut self,
        ident: &mut Ident,
        from: Side,
        data: &'a [u8],
        at: Stamp,
        out: &mut Out<'_>,
    ) -> &'a [u8] {
        match header(data) {
            Header::Message(len) => {
                let rest = data.get(4..).unwrap_or_default();
                if let Some((payload, rest)) = rest.split_at_checked(len)
                    && let Some(kind) = FrameKind::of(payload)
                {
                    let shape = FrameShape {
                        first: at,
                        last: at,
                        wire_len: len,
                        complete: true,
                    };
                    self.speaks = true;
                    out.frame(ident, from, kind, shape, payload);
                    return rest;
                }
                self.begin(len, at, out);
                rest
            }
            Header::Empty | Header::Control(_) => self.pieces(ident, from, data, at, out),
            Header::Short => {
                self.head.add(data, HEADER, at);
                &[]
            }
            Header::Other => {
                self.lose(ident, from, data, at, out);
                data
            }
        }
    }

    /// At a boundary with a header that comes in pieces.
    fn pieces<'a>(
        &mut self,
        ident: &mut Ident,
        from: Side,
        data: &'a [u8],
        at: Stamp,
        out: &mut Out<'_>,
    ) -> &'a [u8] {
        // A control message may be only four bytes long: look as early as that.
        let want = if self.head.len < 4 { 4 } else { HEADER };
        let rest = self.head.add(data, want, at);
        match header(self.head.bytes()) {
            Header::Short => {}
            Header::Empty | Header::Control(0) => {
                out.stats.netbios_control += 1;
                self.head.len = 0;
            }
            Header::Control(len) => {
                out.stats.netbios_control += 1;
                self.head.len = 0;
                self.state = State::Skip(len);
            }
            Header::Message(len) => {
                let head = self.head;
                self.begin(len, head.first, out);
                let start = head.bytes().get(4..).unwrap_or_default();
                self.keep(start, out);
                self.frame.got = start.len();
                self.head.len = 0;
            }
            Header::Other => self.lose(ident, from, &[], at, out),
        }
        rest
    }

    fn begin(&mut self, total: usize, first: Stamp, out: &mut Out<'_>) {
        self.speaks = true;
        self.body = out.memory.buffer(total);
        self.frame = Progress {
            total,
            got: 0,
            cut: false,
            first,
            last: first,
        };
        self.state = State::Frame;
    }

    fn payload<'a>(
        &mut self,
        ident: &mut Ident,
        from: Side,
        data: &'a [u8],
        at: Stamp,
        out: &mut Out<'_>,
    ) -> &'a [u8] {
        let left = self.frame.total - self.frame.got;
        let (taken, rest) = data.split_at_checked(left).unwrap_or((data, &[]));
        self.keep(taken, out);
        self.frame.got += taken.len();
        self.frame.last = self.frame.last.later(at);
        if self.frame.got == self.frame.total {
            self.finish(ident, from, at, out);
        }
        rest
    }

    /// Adds payload to the frame in progress, unless bytes before it are missing.
    fn keep(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        if self.frame.cut {
            return;
        }
        if !out.memory.append(&mut self.body, bytes, self.frame.total) {
            out.stats.problem(problem::MEMORY_LIMIT);
            self.frame.cut = true;
        }
    }

    fn finish(&mut self, ident: &mut Ident, from: Side, at: Stamp, out: &mut Out<'_>) {
        let mut body = std::mem::take(&mut self.body);
        match FrameKind::of(&body) {
            Some(kind) => {
                let shape = FrameShape {
                    first: self.frame.first,
                    last: self.frame.last.later(at),
                    wire_len: self.frame.total,
                    complete: !self.frame.cut,
                };
                out.frame_in(ident, from, kind, shape, &mut body);
            }
            None => {
                out.stats.problem(problem::FRAME_HEADER_LOST);
                out.lost_frame(ident, from, at);
            }
        }
        out.memory.recycle(body);
        self.state = State::Boundary;
    }

    /// What stands at a boundary is no header: the stream is of another protocol, or out of step.
    fn lose(&mut self, ident: &mut Ident, from: Side, data: &[u8], at: Stamp, out: &mut Out<'_>) {
        ident.proxied |= ident.conn.is_none() && is_to_proxy(data);
        if ident.conn.is_some() {
            out.stats.problem(problem::LOST_BOUNDARY);
            out.lost_frame(ident, from, at);
            self.state = State::Search;
        } else if ident.midstream || ident.on_smb_port() || ident.proxied {
            self.state = State::Search;
        } else {
            self.drop_head(ident, out);
            self.state = State::Dead;
        }
    }

    /// Looks for the next plausible header; bytes before it are counted and gone.
    fn search<'a>(
        &mut self,
        ident: &Ident,
        data: &'a [u8],
        at: Stamp,
        out: &mut Out<'_>,
    ) -> &'a [u8] {
        let rest = if self.head.len > 0 {
            let mut joined = [0; 2 * HEAD_MAX];
            let carried = self.head.len;
            let added = data.len().min(HEAD_MAX);
            let parts = self.head.bytes().iter().chain(data.iter().take(added));
            for (slot, byte) in joined.iter_mut().zip(parts) {
                *slot = *byte;
            }
            let joined = joined.get(..carried + added).unwrap_or_default();
            match find(joined).filter(|&found| found < carried) {
                Some(found) => {
                    let first = self.head.first;
                    self.head
                        .set(joined.get(found..carried).unwrap_or_default(), first);
                    self.skipped(found, ident, out);
                    self.state = State::Boundary;
                    return data;
                }
                None if added < CANDIDATE - 1 => {
                    // Still too short for a candidate that starts in what is carried.
                    let keep = joined.len().min(CANDIDATE - 1);
                    let gone = joined.len() - keep;
                    self.head.set(joined.get(gone..).unwrap_or_default(), at);
                    self.skipped(gone, ident, out);
                    return &[];
                }
                None => self.drop_head(ident, out),
            }
            data
        } else {
            data
        };
        if let Some(found) = find(rest) {
            self.skipped(found, ident, out);
            self.state = State::Boundary;
            return rest.get(found..).unwrap_or_default();
        }
        let keep = rest.len().min(CANDIDATE - 1);
        let gone = rest.len() - keep;
        self.head.set(rest.get(gone..).unwrap_or_default(), at);
        self.skipped(gone, ident, out);
        &[]
    }

    fn skipped(&mut self, len: usize, ident: &Ident, out: &mut Out<'_>) {
        self.searched += self.passed_over(len, ident, out);
        let limit = if ident.on_smb_port() {
            SEARCH_MAX_SMB_PORT
        } else if ident.proxied {
            SEARCH_MAX_PROXY
        } else {
            SEARCH_MAX
        };
        if ident.conn.is_none() && self.searched > limit {
            self.head.len = 0;
            self.state = State::Dead;
        }
    }

    fn drop_head(&mut self, ident: &Ident, out: &mut Out<'_>) {
        self.passed_over(self.head.len, ident, out);
        self.head.len = 0;
    }

    /// Counts bytes that are of no frame.
    fn passed_over(&self, len: usize, ident: &Ident, out: &mut Out<'_>) -> u64 {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let counter = if ident.proxied && !self.speaks {
            &mut out.stats.proxy_bytes
        } else {
            &mut out.stats.skipped_bytes
        };
        *counter += len;
        len
    }
}

fn skip(left: usize) -> State {
    if left == 0 {
        State::Boundary
    } else {
        State::Skip(left)
    }
}

#[inline]
fn header(data: &[u8]) -> Header {
    let Some(&[kind, high, middle, low]) = data.first_chunk::<4>() else {
        return match data.first() {
            Some(0 | 0x81..=0x85) | None => Header::Short,
            Some(_) => Header::Other,
        };
    };
    let len = u32::from_be_bytes([0, high, middle, low]) as usize;
    match (kind, len) {
        (0, 0) => Header::Empty,
        (0, _) => match data.get(4..) {
            Some(payload) if payload.len() >= 4 => match FrameKind::of(payload) {
                Some(kind) if len >= kind.header_len() => Header::Message(len),
                _ => Header::Other,
            },
            _ => Header::Short,
        },
        (0x81..=0x85, ..=CONTROL_MAX) => Header::Control(len),
        _ => Header::Other,
    }
}

/// Whether a stream that begins like this asks a proxy for a connection: SOCKS 4 and 5 (RFC 1928 3),
/// HTTP CONNECT (RFC 9110 9.3.6), or both versions of the PROXY protocol.
fn is_to_proxy(data: &[u8]) -> bool {
    match data {
        [5, methods, rest @ ..] => *methods > 0 && rest.len() >= usize::from(*methods),
        [4, 1, ..] => true,
        _ => {
            let starts: [&[u8]; 3] = [b"CONNECT ", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
            starts.iter().any(|start| data.starts_with(start))
        }
    }
}

/// Place of the first plausible frame header.
fn find(data: &[u8]) -> Option<usize> {
    memmem::find_iter(data, b"SMB").find_map(|at| {
        let start = at.checked_sub(5)?;
        let candidate = data.get(start..)?;
        let is_header = matches!(header(candidate), Header::Message(_));
        // StructureSize of the SMB2 header is 64. [MS-SMB2] 2.2.1.2
        let id = candidate.get(4)?;
        let size = candidate.get(8..CANDIDATE)?;
        (is_header && (*id != 0xfe || size == [64, 0])).then_some(start)
    })
}

/// Length and protocol id.
const HEADER: usize = 8;
/// Header and, in SMB2, the field after it.
const CANDIDATE: usize = 10;
const HEAD_MAX: usize = 12;
/// RFC 1002 names are far below this.
const CONTROL_MAX: usize = 1024;
/// Bytes to search for a first frame: a READ or WRITE of the largest size may be under way.
const SEARCH_MAX_SMB_PORT: u64 = 32 * 1024 * 1024;
const SEARCH_MAX: u64 = 256 * 1024;
/// What is said to proxies and by them, one way, is shorter.
const SEARCH_MAX_PROXY: u64 = 16 * 1024;
