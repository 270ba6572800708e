//! What a capture held and what became of it: every packet and byte is in some counter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

/// The coverage funnel of a capture, from packets to SMB frames.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CaptureStats {
    /// Packets in the capture files.
    pub packets: u64,
    /// Captured bytes of those packets.
    pub bytes: u64,
    /// Bytes those packets had on the wire.
    pub wire_bytes: u64,
    /// Packets shorter in the capture than on the wire (snap length).
    pub cut_packets: u64,
    /// Time of the earliest packet, in nanoseconds since the Unix epoch.
    pub first_time_ns: Option<u64>,
    /// Time of the latest packet, in nanoseconds since the Unix epoch.
    pub last_time_ns: Option<u64>,
    /// pcapng blocks that hold no packet and no interface.
    pub other_blocks: u64,
    /// Bytes of the input after the place where it could no longer be read.
    pub bytes_after_cut: u64,
    /// Packets of link types that are not read, by the number of the link type.
    pub unknown_links: BTreeMap<u32, u64>,
    /// Packets that carry no IP.
    pub non_ip_packets: u64,
    /// IP packets that carry no TCP.
    pub non_tcp_packets: u64,
    /// Packets too broken or too short to hold the headers they announce.
    pub malformed_packets: u64,
    /// IP fragments.
    pub fragments: u64,
    /// IP datagrams put together from fragments.
    pub reassembled_datagrams: u64,
    /// Fragments given up: incomplete, cut, contradictory or over the limit.
    pub dropped_fragments: u64,
    /// Packets found inside GRE, ERSPAN, VXLAN, GENEVE, TZSP or IP-in-IP.
    pub tunnelled_packets: u64,
    /// TCP segments.
    pub segments: u64,
    /// TCP connections seen, of any protocol.
    pub flows: u64,
    /// TCP connections that spoke SMB.
    pub smb_flows: u64,
    /// TCP connections seen from the middle.
    pub midstream_flows: u64,
    /// TCP connections that turned out not to speak SMB and were let go.
    pub non_smb_flows: u64,
    /// Segments of connections known not to speak SMB.
    pub non_smb_segments: u64,
    /// Connections forgotten because there were too many at once.
    pub evicted_flows: u64,
    /// Payload bytes seen before.
    pub retransmitted_bytes: u64,
    /// Segments that came before their turn.
    pub out_of_order_segments: u64,
    /// Segments with new bytes of a connection that had ended.
    pub late_segments: u64,
    /// Holes in TCP streams that were never filled.
    pub gaps: u64,
    /// Bytes in those holes.
    pub gap_bytes: u64,
    /// Stream bytes passed over while looking for a frame.
    pub skipped_bytes: u64,
    /// Stream bytes exchanged with a proxy (SOCKS, HTTP CONNECT, PROXY protocol) before SMB.
    pub proxy_bytes: u64,
    /// `NetBIOS` session service messages other than session messages.
    pub netbios_control: u64,
    /// SMB1 frames.
    pub smb1_frames: u64,
    /// SMB2 frames, each of one message or a compound.
    pub smb2_frames: u64,
    /// Encrypted SMB3 frames.
    pub transform_frames: u64,
    /// Compressed SMB3 frames.
    pub compressed_frames: u64,
    /// Frames, of those above, of which only a part was captured.
    pub partial_frames: u64,
    /// Connections left out because they are the same traffic as others.
    pub duplicates: Vec<Duplicate>,
    /// Everything that went wrong, by name.
    pub problems: BTreeMap<&'static str, u64>,
    /// BLAKE3 of each input as it came, when asked for.
    pub digests: Vec<[u8; 32]>,
}

/// A connection that is the same traffic as another, captured at another place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Duplicate {
    /// The side that connected.
    pub client: SocketAddr,
    /// The side that was connected to.
    pub server: SocketAddr,
    /// The two sides of the connection that it is the same as.
    pub of_client: SocketAddr,
    /// See [`Self::of_client`].
    pub of_server: SocketAddr,
    /// Frames left out.
    pub frames: u64,
}

impl CaptureStats {
    /// Counts one problem.
    pub(super) fn problem(&mut self, what: &'static str) {
        *self.problems.entry(what).or_default() += 1;
    }
}

/// Names of the problems that [`CaptureStats::problems`] counts.
pub mod problem {
    /// The file ends inside a packet.
    pub const TRUNCATED_FILE: &str = "truncated file";
    /// A record header that cannot be; the rest of the file is lost.
    pub const BAD_RECORD: &str = "bad record";
    /// A record larger than any packet.
    pub const RECORD_TOO_LARGE: &str = "record too large";
    /// A pcapng block with impossible contents.
    pub const BAD_BLOCK: &str = "bad block";
    /// The stream lost its frame boundaries and they had to be searched for.
    pub const LOST_BOUNDARY: &str = "lost frame boundary";
    /// A frame of which not even the protocol id was captured.
    pub const FRAME_HEADER_LOST: &str = "frame header lost";
    /// A frame cut because too many bytes were waiting.
    pub const MEMORY_LIMIT: &str = "frame cut by the memory limit";
    /// A frame whose end never came before its connection ended.
    pub const FRAME_UNFINISHED: &str = "frame unfinished at the end of its connection";
    /// A hole given up because too many bytes waited behind it.
    pub const HOLE_LIMIT: &str = "hole given up at the buffer limit";
    /// Bytes that came before those of the other side that they acknowledge.
    pub const OUT_OF_STEP: &str = "directions of a connection out of step";
    /// Frames of a connection left out as the same traffic as another, which that one did not have.
    pub const ONLY_IN_COPY: &str = "frame left out that only a copy of its connection has";
    /// A TCP reset that its receiver ignores, or that its sender went on after: RFC 5961.
    pub const VAIN_RESET: &str = "reset that ended no connection";
    /// Packets whose time is before that of the packet before.
    pub const TIME_BACKWARDS: &str = "packet time runs backwards";
}
