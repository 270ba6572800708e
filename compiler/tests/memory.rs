//! Reading a capture takes the same memory whatever its size, and however it misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::fs;
use std::io::{self, Read};

use smbench_compiler::capture::{CaptureEvent, read_capture};

/// Half a gigabyte in which 400 connections each keep a frame of 8 MB unfinished, every third
/// segment comes out of order and some never come.
#[test]
fn memory_is_bounded() {
    let mut frames = 0_u64;
    let input = Box::new(Hostile {
        made: 0,
        packet: Vec::new(),
        at: 0,
    });
    let stats = read_capture(vec![input], &mut |event| {
        frames += u64::from(matches!(event, CaptureEvent::Frame(..)));
    })
    .unwrap();
    assert_eq!(stats.packets, PACKETS);
    assert_eq!(
        (frames, stats.partial_frames),
        (CONNECTIONS, CONNECTIONS),
        "{stats:?}"
    );
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        println!("no /proc: the peak was not measured");
        return;
    };
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!(
        "{} MB read, peak of {} MiB, {:?}",
        stats.bytes / 1_000_000,
        kib / 1024,
        stats.problems
    );
    assert!(kib < 256 * 1024, "peak of {kib} KiB");
}

const PACKETS: u64 = 60_000;
const CONNECTIONS: u64 = 400;
const PAYLOAD: usize = 8 * 1024;

struct Hostile {
    made: u64,
    packet: Vec<u8>,
    at: usize,
}

impl Hostile {
    fn make(&mut self) {
        let turn = self.made / CONNECTIONS;
        let port = u16::try_from(1000 + self.made % CONNECTIONS).unwrap();
        // Every third turn swaps with the next; every fiftieth leaves a hole.
        let place = match turn % 3 {
            1 => turn + 1,
            2 => turn - 1,
            _ => turn,
        } + turn / 50;
        let mut payload = vec![0x5a; PAYLOAD];
        if place == 0 {
            payload[..10].copy_from_slice(&[0, 0x80, 0, 0, 0xfe, b'S', b'M', b'B', 64, 0]);
        }
        let len = 54 + PAYLOAD;
        self.packet.clear();
        if self.made == 0 {
            for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
                self.packet.extend(word.to_le_bytes());
            }
        }
        for word in [
            u32::try_from(self.made / 1000).unwrap(),
            0,
            len as u32,
            len as u32,
        ] {
            self.packet.extend(word.to_le_bytes());
        }
        self.packet.extend([2; 12]);
        self.packet.extend([8, 0, 0x45, 0]);
        self.packet
            .extend(u16::try_from(len - 14).unwrap().to_be_bytes());
        self.packet
            .extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        self.packet.extend(port.to_be_bytes());
        self.packet.extend(445_u16.to_be_bytes());
        let seq = u32::try_from(place * PAYLOAD as u64).unwrap();
        self.packet.extend(seq.to_be_bytes());
        self.packet
            .extend([0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        self.packet.extend(payload);
        self.made += 1;
        self.at = 0;
    }
}

impl Read for Hostile {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.at == self.packet.len() {
            if self.made == PACKETS {
                return Ok(0);
            }
            self.make();
        }
        let n = room.len().min(self.packet.len() - self.at);
        room[..n].copy_from_slice(&self.packet[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
