//! A capture made by hand: one connection on raw IP, message by message.

#![allow(dead_code, unreachable_pub, reason = "every test file uses some of it")]

use smbench_core::smb2::{
    Body, Command, Header, HeaderFlags, Message, MessageId, Request, Response, SessionId,
};

/// The client's side of a connection, and the server's.
pub const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Session 7 and tree 1, in the middle of which it begins.
pub struct Wire {
    file: Vec<u8>,
    seq: [u32; 2],
    mid: u64,
    at: u32,
}

impl Wire {
    pub fn new() -> Self {
        let head = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101];
        let mut wire = Self {
            file: head.iter().flat_map(|it| it.to_le_bytes()).collect(),
            seq: [100, 900],
            mid: 0,
            at: 0,
        };
        wire.packet(CLIENT, true, &[], usize::MAX);
        wire
    }

    /// All of it, as a pcap file.
    pub fn into_pcap(self) -> Vec<u8> {
        self.file
    }

    /// So many bytes of the client were not captured.
    pub fn lose(&mut self, bytes: u32) {
        self.seq[CLIENT] += bytes;
    }

    /// A packet, of which at most `kept` bytes were captured.
    fn packet(&mut self, way: usize, syn: bool, payload: &[u8], kept: usize) {
        let ends = [([10, 0, 0, 1], 2000), ([10, 0, 0, 2], 445)];
        let (from, to) = (ends[way], ends[1 - way]);
        let packet = etherparse::PacketBuilder::ipv4(from.0, to.0, 64);
        let packet = packet.tcp(from.1, to.1, self.seq[way], 1024);
        let packet = if syn {
            packet.syn()
        } else {
            packet.ack(self.seq[1 - way])
        };
        let mut bytes = Vec::new();
        packet.write(&mut bytes, payload).unwrap();
        self.seq[way] += u32::try_from(payload.len()).unwrap() + u32::from(syn);
        self.at += 1;
        let len = u32::try_from(bytes.len()).unwrap();
        bytes.truncate(kept);
        let kept = u32::try_from(bytes.len()).unwrap();
        for word in [self.at, 0, kept, len] {
            self.file.extend(word.to_le_bytes());
        }
        self.file.extend(bytes);
    }

    fn frame(&mut self, way: usize, pdu: &[u8], kept: usize) {
        let mut framed = u32::try_from(pdu.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(pdu);
        self.packet(way, false, &framed, kept);
    }

    fn pdu(&self, flags: HeaderFlags, mid: u64, next: u32, body: Body, bulk: &[u8]) -> Vec<u8> {
        let command = match &body {
            Body::Request(request) => request.command(),
            Body::Response(_) => Command::default(),
        };
        let header = Header {
            command,
            flags,
            credit_charge: 1,
            credits: 1,
            message_id: MessageId(mid),
            id: 1 << 32,
            session_id: SessionId(7),
            next_command: next,
            ..Header::default()
        };
        let mut pdu = Vec::new();
        Message::new(header, body).encode(bulk, &mut pdu);
        pdu
    }

    fn response(&self, flags: HeaderFlags, command: Command, mid: u64, got: Response) -> Vec<u8> {
        let flags = flags | HeaderFlags::SERVER_TO_REDIR;
        let mut pdu = self.pdu(flags, mid, 0, Body::Response(got), &[]);
        pdu[12..14].copy_from_slice(&command.0.to_le_bytes());
        pdu
    }

    /// A request and its response.
    pub fn exchange(&mut self, flags: HeaderFlags, asked: Request, bulk: &[u8], got: Response) {
        self.exchange_cut(flags, asked, bulk, got, usize::MAX);
    }

    /// The same; of the request's packet at most `kept` bytes were captured.
    pub fn exchange_cut(
        &mut self,
        flags: HeaderFlags,
        asked: Request,
        bulk: &[u8],
        got: Response,
        kept: usize,
    ) {
        self.mid += 1;
        let command = asked.command();
        let request = self.pdu(flags, self.mid, 0, Body::Request(asked), bulk);
        self.frame(CLIENT, &request, kept);
        let response = self.response(flags, command, self.mid, got);
        self.frame(SERVER, &response, usize::MAX);
    }

    /// Requests of one compound, each related to the one before it, and their responses in frames
    /// of their own.
    pub fn related(&mut self, asked: Vec<(Request, &[u8], Response)>) {
        let mut frame = Vec::new();
        let mut answers = Vec::new();
        let count = asked.len();
        for (at, (request, bulk, got)) in asked.into_iter().enumerate() {
            self.mid += 1;
            let flags = match at {
                0 => HeaderFlags::empty(),
                _ => HeaderFlags::RELATED,
            };
            let command = request.command();
            let mut pdu = self.pdu(flags, self.mid, 0, Body::Request(request), bulk);
            if at + 1 < count {
                pdu.resize(pdu.len().next_multiple_of(8), 0);
                let next = u32::try_from(pdu.len()).unwrap();
                pdu[20..24].copy_from_slice(&next.to_le_bytes());
            }
            frame.extend(pdu);
            answers.push(self.response(flags, command, self.mid, got));
        }
        self.frame(CLIENT, &frame, usize::MAX);
        for answer in answers {
            self.frame(SERVER, &answer, usize::MAX);
        }
    }
}
