//! Harm by what goes over the wire: frames, connections, answers.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use smbench_core::smb2::{
    CancelRequest, EchoRequest, NtStatus, ReadRequest, Request, WriteRequest,
};

use crate::support::smb::Smb;
use crate::{MEMORY, while_others_work};

/// Sends requests without looking at the answers, which something else reads away.
fn flood(client: &mut Smb, count: u64, mut request: impl FnMut(u64) -> Request) {
    let mut from = client.stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut std::io::sink()));
    });
    for number in 0..count {
        let body = request(number);
        if !client.send(body, &[]) {
            break;
        }
    }
    drop(client.stream.shutdown(std::net::Shutdown::Write));
    drain.join().unwrap();
}

#[test]
fn half_sent_frames_of_strangers() {
    while_others_work(MEMORY, |address| {
        let mut strangers: Vec<_> = (0..60).map(|_| Smb::stranger(address)).collect();
        for stranger in &mut strangers {
            drop(stranger.stream.write_all(&[0, 0x98, 0x96, 0x80])); // 10 MB
            drop(stranger.stream.write_all(&vec![7; 100_000]));
        }
        assert!(strangers.iter_mut().all(Smb::is_ended));
    });
}

#[test]
fn half_sent_frames_of_clients() {
    // 60 times half of 10 MB; all together may hold 128 MiB and a frame.
    while_others_work(MEMORY + (144 << 20), |address| {
        let mut clients: Vec<_> = (0..60).map(|_| Smb::guest(address)).collect();
        for client in &mut clients {
            let short = Duration::from_millis(300);
            client.stream.set_write_timeout(Some(short)).unwrap();
            drop(client.stream.write_all(&[0, 0x98, 0x96, 0x80]));
            drop(client.stream.write_all(&vec![7; 5_000_000]));
        }
        // Somebody else's long frame gets through.
        let mut client = Smb::guest(address);
        let file_id = client.open("long");
        let write = WriteRequest {
            file_id,
            length: 8 << 20,
            ..WriteRequest::default()
        };
        client.expect(write, &vec![1; 8 << 20]);
    });
}

#[test]
fn frames_without_content() {
    while_others_work(MEMORY, |address| {
        for _ in 0..200 {
            let mut stranger = Smb::stranger(address);
            drop(stranger.stream.write_all(&[0; 4_000]));
            assert!(stranger.is_ended());
        }
    });
}

#[test]
fn types_of_netbios_sessions() {
    while_others_work(MEMORY, |address| {
        for kind in [0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0xff] {
            let mut stranger = Smb::stranger(address);
            drop(stranger.stream.write_all(&[kind, 0, 0, 1, 9]));
            assert!(stranger.is_ended(), "{kind:#x}");
        }
        // Keep-alives are no frames, and end nothing.
        let mut stranger = Smb::stranger(address);
        stranger
            .stream
            .write_all(&[0x85, 0, 0, 0].repeat(100_000))
            .unwrap();
        stranger.send(EchoRequest {}, &[]);
        assert!(stranger.is_ended(), "nothing comes before NEGOTIATE");
    });
}

#[test]
fn huge_compounds() {
    while_others_work(MEMORY, |address| {
        for count in [129, 10_000, 60_000] {
            let mut client = Smb::guest(address);
            let mut frame = Vec::new();
            for number in 0..count {
                let mut echo = client.encode(EchoRequest {}, &[]);
                echo.resize(72, 0);
                let next = if number + 1 == count { 0_u32 } else { 72 };
                echo[20..24].copy_from_slice(&next.to_le_bytes());
                frame.extend(echo);
            }
            client.frame(&frame);
            assert!(client.is_ended(), "{count}");
        }
    });
}

#[test]
fn compounds_that_lead_back_or_beyond() {
    while_others_work(MEMORY, |address| {
        for next in [1_u32, 8, 63, 64, 68, 0x7fff_ffff, u32::MAX] {
            let mut client = Smb::guest(address);
            let mut frame = client.encode(EchoRequest {}, &[]);
            frame[20..24].copy_from_slice(&next.to_le_bytes());
            frame.extend([0; 100]);
            client.frame(&frame);
            assert!(client.is_ended(), "{next:#x}");
        }
    });
}

#[test]
fn credits_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        for _ in 0..100 {
            let mut frame = client.encode(EchoRequest {}, &[]);
            frame[14..16].copy_from_slice(&u16::MAX.to_le_bytes());
            assert!(client.frame(&frame));
            client.receive().unwrap();
        }
        client.mid += 8_192;
        client.send(EchoRequest {}, &[]);
        assert!(client.is_ended(), "an id that was not granted");
        // Ids that are used in no order, each once, as far as they were granted.
        let mut client = Smb::guest(address);
        let first = client.mid;
        for number in (0..200).rev() {
            client.mid = first + number;
            assert!(client.send(EchoRequest {}, &[]));
        }
        (0..200).for_each(|_| drop(client.receive().unwrap()));
    });
}

#[test]
fn cancels_without_end() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        flood(&mut client, 20_000, |_| CancelRequest {}.into());
    });
}

#[test]
fn connections_without_end() {
    while_others_work(MEMORY, |address| {
        // As many as a process may have by default, or nearly.
        let silent: Vec<_> = (0..900)
            .map_while(|_| TcpStream::connect(address).ok())
            .collect();
        assert!(silent.len() > 500);
        std::thread::sleep(Duration::from_millis(300));
    });
}

#[test]
fn connections_that_come_and_go() {
    while_others_work(MEMORY, |address| {
        for number in 0..1_500 {
            let mut client = Smb::stranger(address);
            if number % 3 == 0 {
                drop(client.stream.write_all(&[0, 0]));
            }
        }
    });
}

#[test]
fn answers_that_nobody_reads() {
    while_others_work(MEMORY + (100 << 20), |address| {
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = Smb::guest(address);
            let file_id = client.open("long");
            let write = WriteRequest {
                file_id,
                length: 1 << 20,
                ..WriteRequest::default()
            };
            client.expect(write, &vec![1; 1 << 20]);
            let short = Duration::from_millis(200);
            client.stream.set_write_timeout(Some(short)).unwrap();
            for _ in 0..60 {
                let read = ReadRequest {
                    file_id,
                    length: 1 << 20,
                    ..ReadRequest::default()
                };
                if !client.send(read, &[]) {
                    break;
                }
            }
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(500));
    });
}

#[test]
fn echoes_that_nobody_reads() {
    while_others_work(MEMORY, |address| {
        let mut client = Smb::guest(address);
        let short = Duration::from_millis(200);
        client.stream.set_write_timeout(Some(short)).unwrap();
        for _ in 0..8_000 {
            if !client.send(EchoRequest {}, &[]) {
                break;
            }
        }
    });
}

#[test]
fn noise_of_every_protocol() {
    while_others_work(MEMORY, |address| {
        let mut state = 1_u64;
        let mut noise = |len: usize| -> Vec<u8> {
            let bytes = (0..len).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            });
            bytes.collect()
        };
        for round in 0..400 {
            let mut client = if round % 2 == 0 {
                Smb::stranger(address)
            } else {
                Smb::guest(address)
            };
            let start = [
                &b"\xfeSMB\x40\0"[..],
                b"\xffSMB\x72",
                b"\xfdSMB",
                b"\xfcSMB",
                b"GET / HTTP/1.1",
            ];
            let mut frame = start[round / 2 % start.len()].to_vec();
            frame.extend(noise(round));
            client.frame(&frame);
        }
    });
}

#[test]
fn frames_that_trickle() {
    while_others_work(MEMORY, |address| {
        let mut clients: Vec<_> = (0..50).map(|_| Smb::guest(address)).collect();
        for byte in [0_u8; 40] {
            for client in &mut clients {
                drop(client.stream.write_all(&[byte]));
            }
        }
        let mut slow = Smb::guest(address);
        let frame = slow.encode(EchoRequest {}, &[]);
        slow.stream
            .write_all(&[0, 0, 0, u8::try_from(frame.len()).unwrap()])
            .unwrap();
        for byte in frame {
            slow.stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(slow.receive().unwrap().status(), NtStatus::SUCCESS);
    });
}
