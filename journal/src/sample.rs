//! Events like those of a real run, made from a number: for tests and benches.
//!
//! Frames have the sizes, the constant parts and the varying fields of SMB2 responses: an office
//! client's mix of CREATE, CLOSE, READ, WRITE and QUERY_INFO, with digests in the place of data.

use smbench_core::{
    event::{EffectsDigest, Entry, Input, Milestone, NetFailure, Seal, TokenOutcome},
    frame::{Content, Cut, Digest, Frame},
    ids::{ConnId, LogicalTime, OpId, SessionRef, ShardId},
};

use crate::meta::RunMeta;

/// Makes entries without end; equal seeds make equal entries.
#[derive(Clone, Debug)]
pub struct Sample {
    state: u64,
    seq: u64,
    now: u64,
    message: u64,
    effects: EffectsDigest,
}

impl Sample {
    /// Entries from number 0 on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            seq: 0,
            now: 0,
            message: 4,
            effects: EffectsDigest::default(),
        }
    }

    /// Metadata of a run that might have given such entries.
    #[must_use]
    pub fn meta(shards: u32) -> RunMeta {
        RunMeta {
            tool_version: "0.0.0-sample".to_owned(),
            workload: Some(Digest::of(b"sample")),
            config: serde_json::json!({ "speed": 1, "order": "resource" }),
            seed: 42,
            shards,
            ..RunMeta::default()
        }
    }

    /// The digest of all effects after the last entry.
    #[must_use]
    pub fn after(&self) -> EffectsDigest {
        self.effects
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Entry {
        let input = match self.seq {
            0 => Input::Start,
            1 => Input::Connected { conn: ConnId(0) },
            2 => Input::TokenReady {
                conn: ConnId(0),
                session: SessionRef(0),
                outcome: TokenOutcome::Ready { len: 512 },
            },
            _ => self.later(),
        };
        let entry = Entry {
            seq: self.seq,
            now: LogicalTime(self.now),
            before: self.effects,
            input,
        };
        self.seq += 1;
        self.now += self.random() % 100_000;
        // Four of five inputs make the engine do something.
        if !self.random().is_multiple_of(5) {
            self.effects = EffectsDigest(self.random());
        }
        entry
    }

    /// Bytes that do not compress.
    pub fn noise(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.random().to_le_bytes()[0])
            .take(len)
            .collect()
    }

    fn later(&mut self) -> Input {
        let conn = ConnId(self.pick(16));
        match self.random() % 32 {
            0..=3 => Input::Wake,
            4 => Input::Completed {
                shard: ShardId(self.pick(4)),
                op: OpId(self.pick(100_000)),
                milestone: Milestone::Response,
            },
            5 if self.random().is_multiple_of(64) => Input::Closed {
                conn,
                reason: NetFailure::Reset,
            },
            _ => Input::Received {
                conn,
                frame: self.frame(),
                seal: Seal::Signed,
            },
        }
    }

    fn frame(&mut self) -> Frame {
        self.message += 1 + self.random() % 2;
        match self.random() % 16 {
            0..=4 => self.create(),
            5..=8 => self.response(6, 0, &close_body(self.now)),
            9..=11 => self.read(),
            12 | 13 => self.write(),
            _ => self.query_info(),
        }
    }

    /// A CREATE response. [MS-SMB2] 2.2.14.
    fn create(&mut self) -> Frame {
        if self.random().is_multiple_of(8) {
            // STATUS_OBJECT_NAME_NOT_FOUND with the error body. [MS-SMB2] 2.2.2.
            return self.response(5, 0xc000_0034, &[9, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut body = vec![89, 0, 9, 0, 1, 0, 0, 0];
        for _ in 0..4 {
            let time = FILE_TIME + self.now / 100 - u64::from(self.pick(1_000_000));
            body.extend_from_slice(&time.to_le_bytes());
        }
        let size = u64::from(self.pick(1 << 20));
        body.extend_from_slice(&size.next_multiple_of(4096).to_le_bytes());
        body.extend_from_slice(&size.to_le_bytes());
        body.extend_from_slice(&[0x20, 0, 0, 0, 0, 0, 0, 0]);
        let open = u64::from(self.pick(100_000));
        body.extend_from_slice(&open.to_le_bytes());
        body.extend_from_slice(&(open ^ 0x5eed).to_le_bytes());
        if self.random().is_multiple_of(2) {
            // With a lease. [MS-SMB2] 2.2.14.2.10.
            body.extend_from_slice(&[0x98, 0, 0, 0, 0x4c, 0, 0, 0]);
            body.extend_from_slice(&[0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 24, 0, 52, 0, 0, 0]);
            body.extend_from_slice(b"RqLs\0\0\0\0");
            body.extend_from_slice(&self.random().to_le_bytes());
            body.extend_from_slice(&self.random().to_le_bytes());
            body.extend_from_slice(&[7, 0, 0, 0]);
            body.resize(body.len() + 32, 0);
        } else {
            body.resize(body.len() + 8, 0);
        }
        self.response(5, 0, &body)
    }

    /// A READ response, its data cut out. [MS-SMB2] 2.2.20.
    fn read(&mut self) -> Frame {
        let len = 4096 << (self.random() % 5);
        let mut body = vec![17, 0, 80, 0];
        body.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
        body.resize(16, 0);
        let mut frame = self.response(8, 0, &body);
        frame.cuts.push(Cut {
            at: u32::try_from(frame.bytes.len()).unwrap_or(0),
            len: u32::try_from(len).unwrap_or(0),
            content: Content::Data(Digest::of(&self.random().to_le_bytes())),
        });
        frame
    }

    /// A WRITE response. [MS-SMB2] 2.2.22.
    fn write(&mut self) -> Frame {
        let mut body = vec![17, 0, 0, 0];
        body.extend_from_slice(&(4096u32 << (self.random() % 5)).to_le_bytes());
        body.resize(16, 0);
        self.response(9, 0, &body)
    }

    /// A QUERY_INFO response with FILE_ALL_INFORMATION's beginning. [MS-SMB2] 2.2.38.
    fn query_info(&mut self) -> Frame {
        let mut body = vec![9, 0, 72, 0, 104, 0, 0, 0];
        for _ in 0..4 {
            let time = FILE_TIME + self.now / 100 - u64::from(self.pick(1_000_000));
            body.extend_from_slice(&time.to_le_bytes());
        }
        body.extend_from_slice(&[0x20, 0, 0, 0, 0, 0, 0, 0]);
        let size = u64::from(self.pick(1 << 20));
        body.extend_from_slice(&size.next_multiple_of(4096).to_le_bytes());
        body.extend_from_slice(&size.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&u64::from(self.pick(1 << 24)).to_le_bytes());
        body.resize(8 + 104, 0);
        self.response(16, 0, &body)
    }

    /// A message with an SMB2 header. [MS-SMB2] 2.2.1.2.
    fn response(&mut self, command: u16, status: u32, body: &[u8]) -> Frame {
        let mut bytes = b"\xfeSMB\x40\0\x01\0".to_vec();
        bytes.extend_from_slice(&status.to_le_bytes());
        bytes.extend_from_slice(&command.to_le_bytes());
        bytes.extend_from_slice(&[1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.message.to_le_bytes());
        bytes.extend_from_slice(&[0xff, 0xfe, 0, 0, 5, 0, 0, 0]);
        bytes.extend_from_slice(&(0x1c00_0000_0001_u64 + u64::from(self.pick(16))).to_le_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(body);
        Frame {
            bytes,
            cuts: Vec::new(),
        }
    }

    fn pick(&mut self, below: u32) -> u32 {
        u32::try_from(self.random() % u64::from(below.max(1))).unwrap_or(0)
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Iterator for Sample {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        Some(self.next_entry())
    }
}

/// A CLOSE response with attributes. [MS-SMB2] 2.2.16.
fn close_body(now: u64) -> Vec<u8> {
    let mut body = vec![60, 0, 1, 0, 0, 0, 0, 0];
    for _ in 0..4 {
        body.extend_from_slice(&(FILE_TIME + now / 100).to_le_bytes());
    }
    body.resize(60, 0);
    body
}

/// A FILETIME in 2024.
const FILE_TIME: u64 = 133_500_000_000_000_000;
