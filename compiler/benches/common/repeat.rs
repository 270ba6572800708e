//! A capture, as long as one likes: its packets again and again, each time from other hosts and
//! later.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Little-endian pcap of Ethernet and IPv4, streamed from a file.
pub(crate) struct Repeat {
    path: PathBuf,
    input: BufReader<File>,
    round: u16,
    /// Seconds by which this round is late, and the last second that was handed out.
    shift: u32,
    last: u32,
    left: u64,
    record: Vec<u8>,
    at: usize,
}

impl Repeat {
    /// The packets of `path` up to some `bytes`.
    pub(crate) fn new(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut record = vec![0; 24];
        let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
        input.read_exact(&mut record)?;
        Ok(Self {
            path: path.to_owned(),
            input,
            round: 0,
            shift: 0,
            last: 0,
            left: bytes,
            record,
            at: 0,
        })
    }

    /// Reads the next packet; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.record.resize(16, 0);
        if self.input.read_exact(&mut self.record).is_err() {
            *self = Self {
                round: self.round + 1,
                last: self.last,
                left: self.left,
                ..Self::new(&self.path, 0)?
            };
            self.record.resize(16, 0);
            self.input.read_exact(&mut self.record)?;
            self.shift = (self.last + 1).saturating_sub(word(&self.record, 0));
        }
        let seconds = word(&self.record, 0) + self.shift;
        self.last = self.last.max(seconds);
        self.record[..4].copy_from_slice(&seconds.to_le_bytes());
        let len = word(&self.record, 8) as usize;
        self.record.resize(16 + len, 0);
        self.input.read_exact(&mut self.record[16..])?;
        // Second and third byte of both IPv4 addresses, behind record and Ethernet headers.
        let [low, high] = self.round.to_le_bytes();
        for (place, change) in [(13, low), (17, low), (14, high), (18, high)] {
            if let Some(byte) = self.record.get_mut(16 + 14 + place) {
                *byte ^= change;
            }
        }
        self.left = self.left.saturating_sub(self.record.len() as u64);
        self.at = 0;
        Ok(true)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Read for Repeat {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            if self.at == self.record.len() && !self.next()? {
                break;
            }
            let have = &self.record[self.at..];
            let len = have.len().min(room.len() - filled);
            room[filled..filled + len].copy_from_slice(&have[..len]);
            filled += len;
            self.at += len;
        }
        Ok(filled)
    }
}
