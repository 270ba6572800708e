//! Captures of real software: what decrypts, what verifies, and with which keys.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::conn::{Connection, Direction, Opened, Verdict};
use super::super::keys::Secret;
use super::super::wire::{Header, u16_at, u32_at};
use super::super::{SealError, ntlm, spnego};
use super::hex;

/// One direction of one TCP connection.
#[derive(Default)]
struct Half {
    next: Option<u32>,
    waiting: BTreeMap<u32, Vec<u8>>,
    bytes: Vec<u8>,
}

impl Half {
    fn push(&mut self, seq: u32, syn: bool, data: &[u8]) {
        if syn {
            self.next = Some(seq.wrapping_add(1));
            return;
        }
        if data.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(seq);
        self.waiting
            .insert(seq.wrapping_sub(next.wrapping_sub(1 << 30)), data.to_vec());
        let base = next.wrapping_sub(1 << 30);
        while let Some((&key, _)) = self.waiting.first_key_value() {
            let next = self.next.unwrap();
            let gap = next.wrapping_sub(base).wrapping_sub(key) as i32;
            if gap < 0 {
                break;
            }
            let data = self.waiting.remove(&key).unwrap();
            if let Some(new) = data.get(gap as usize..) {
                self.bytes.extend_from_slice(new);
                self.next = Some(next.wrapping_add(u32::try_from(new.len()).unwrap()));
            }
        }
        let shift = self.next.unwrap().wrapping_sub(next);
        let old = std::mem::take(&mut self.waiting);
        self.waiting = old
            .into_iter()
            .map(|(key, data)| (key - shift, data))
            .collect();
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let head = self.bytes.get(..4)?;
        let len = u32::from_be_bytes(head.try_into().unwrap()) as usize & 0xFF_FFFF;
        let kind = head[0];
        let frame = self.bytes.get(4..4 + len)?.to_vec();
        self.bytes.drain(..4 + len);
        if kind == 0 { Some(frame) } else { self.frame() }
    }
}

/// A pcapng with one interface as a pcap: the packets of its enhanced packet blocks.
fn from_pcapng(file: &[u8]) -> Vec<u8> {
    let mut out = [
        &0xA1B2_C3D4_u32.to_le_bytes()[..],
        &[0; 16],
        &1_u32.to_le_bytes(),
    ]
    .concat();
    let mut at = 0;
    while let (Some(kind), Some(len)) = (u32_at(file, at), u32_at(file, at + 4)) {
        if kind == 6 {
            let data = u32_at(file, at + 20).unwrap() as usize;
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&file[at + 20..at + 28]);
            out.extend_from_slice(&file[at + 28..at + 28 + data]);
        }
        at += len as usize;
    }
    out
}

/// Reads a little-endian pcap and gives every SMB frame: connection number, direction, bytes.
fn frames(path: &Path) -> Vec<(usize, Direction, Vec<u8>)> {
    let mut file = std::fs::read(path).unwrap();
    if file.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&file[..])
            .read_to_end(&mut plain)
            .unwrap();
        file = plain;
    }
    if u32_at(&file, 0) == Some(0x0A0D_0D0A) {
        file = from_pcapng(&file);
    }
    assert!(
        matches!(u32_at(&file, 0), Some(0xA1B2_C3D4 | 0xA1B2_3C4D)),
        "{path:?}"
    );
    let strip = match u32_at(&file, 20).unwrap() {
        1 => 14,
        113 => 16,
        276 => 20,
        other => panic!("link type {other}"),
    };
    let mut halves: BTreeMap<Vec<u8>, Half> = BTreeMap::new();
    let mut numbers: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let (mut out, mut at) = (Vec::new(), 24);
    while let Some(len) = u32_at(&file, at + 8) {
        let packet = &file[at + 16..at + 16 + len as usize];
        at += 16 + len as usize;
        let ip = &packet[strip..];
        let (addresses, tcp) = match ip[0] >> 4 {
            4 if ip[9] == 6 => {
                let total = u16::from_be_bytes([ip[2], ip[3]]) as usize;
                let end = if total == 0 { ip.len() } else { total };
                (&ip[12..20], &ip[usize::from(ip[0] & 15) * 4..end])
            }
            6 if ip[6] == 6 => (&ip[8..40], &ip[40..]),
            _ => continue,
        };
        let ports = (
            u16::from_be_bytes([tcp[0], tcp[1]]),
            u16::from_be_bytes([tcp[2], tcp[3]]),
        );
        let direction = match ports {
            (_, 445 | 4450..4500) => Direction::ToServer,
            (445 | 4450..4500, _) => Direction::ToClient,
            _ => continue,
        };
        let client = if direction == Direction::ToClient {
            ports.1
        } else {
            ports.0
        };
        let half = addresses.len() / 2;
        let mut ends = [&addresses[..half], &addresses[half..]];
        if direction == Direction::ToClient {
            ends.reverse();
        }
        let id = [ends[0], ends[1], &client.to_be_bytes()].concat();
        let key = [&id[..], &[direction as u8]].concat();
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let syn = tcp[13] & 2 != 0;
        if syn && direction == Direction::ToServer {
            numbers.remove(&id);
            halves.remove(&key);
        }
        let count = numbers.len() + out.len();
        let number = *numbers.entry(id).or_insert(count);
        let entry = halves.entry(key).or_default();
        entry.push(seq, syn, &tcp[usize::from(tcp[12] >> 4) * 4..]);
        while let Some(frame) = entry.frame() {
            out.push((number, direction, frame));
        }
    }
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures")
}

#[derive(Debug, Default)]
struct Tally {
    encrypted: u32,
    signed: u32,
    unsigned: u32,
    unchecked: u32,
    bad: u32,
    sealed_shut: u32,
    logins: u32,
}

impl Tally {
    fn count(&mut self, result: &Result<Opened, SealError>) {
        let place = match result {
            Err(_) => &mut self.sealed_shut,
            Ok(opened) => match opened.verdict {
                Verdict::Encrypted => &mut self.encrypted,
                Verdict::Signed => &mut self.signed,
                Verdict::Unsigned => &mut self.unsigned,
                Verdict::Unchecked { .. } => &mut self.unchecked,
                _ => &mut self.bad,
            },
        };
        *place += 1;
    }
}

/// Replays a capture through observers, one a connection; `before` sees each plain frame.
fn observe(
    path: &Path,
    mut after: impl FnMut(&mut Connection, usize, Direction, &[u8], &mut Tally),
) -> Tally {
    let mut tally = Tally::default();
    let mut connections: BTreeMap<usize, Connection> = BTreeMap::new();
    for (number, direction, frame) in frames(path) {
        let conn = connections
            .entry(number)
            .or_insert_with(|| Connection::new(0));
        let result = conn.open(direction, frame);
        tally.count(&result);
        match result {
            Ok(opened) => after(conn, number, direction, &opened.plain, &mut tally),
            Err(error) => println!("{path:?}: {error}"),
        }
    }
    println!("{}: {tally:?}", path.display());
    tally
}

/// Keys of a `.keys.json`: session id to (session key, client-to-server, server-to-client).
fn keys(path: &Path) -> Vec<(u64, Secret, Secret, Secret)> {
    let text = std::fs::read(path).unwrap();
    let list: Vec<BTreeMap<String, serde_json::Value>> = serde_json::from_slice(&text).unwrap();
    let get = |entry: &BTreeMap<_, serde_json::Value>, name: &str| {
        hex(entry.get(name).and_then(|value| value.as_str()).unwrap())
    };
    let one = |entry| {
        let id = u64::from_le_bytes(get(entry, "session_id").try_into().unwrap());
        let key = |name| Secret::new(&get(entry, name));
        (id, key("session_key"), key("c2s_key"), key("s2c_key"))
    };
    list.iter().map(one).collect()
}

#[test]
fn session_keys_open_encrypted_captures() {
    let mut ran = 0;
    let public = |name: &str| {
        (
            format!("public/{name}.pcap.gz"),
            format!("public/{name}.pcap.gz.keys.json"),
        )
    };
    let own = |name: &str| {
        (
            format!("own/scenario/{name}.pcap"),
            format!("own/scenario/{name}.keys.json"),
        )
    };
    for (capture, key_file) in [
        public("wireshark__smb300-aes-128-ccm"),
        public("wireshark__smb311-aes-128-ccm"),
        public("wireshark__smb311-aes-128-gcm"),
        public("wireshark__smb311-aes-256-ccm"),
        own("leases3_enc128gcm"),
        own("leases3_plain"),
    ] {
        let (capture, key_file) = (root().join(capture), root().join(key_file));
        if !capture.exists() {
            continue;
        }
        let keys = keys(&key_file);
        let tally = observe(&capture, |conn, _, direction, plain, _| {
            let Ok(header) = Header::read(plain) else {
                return;
            };
            if direction == Direction::ToClient && header.command == 0 && conn.dialect().is_some() {
                for (id, session, _, _) in &keys {
                    conn.install_session_key(*id, session.clone()).unwrap();
                }
            }
        });
        let none = (tally.bad, tally.sealed_shut, tally.unchecked);
        assert_eq!(none, (0, 0, 0), "{capture:?}");
        assert!(tally.encrypted + tally.signed > 2, "{capture:?}");
        ran += 1;
    }
    println!("{ran} captures with keys");
}

#[test]
fn compressed_captures_expand() {
    let mut ran = 0;
    for (name, want) in [
        ("wireshark__smb311-chained-patternv1-lznt1.pcapng.gz", 2),
        ("wireshark__smb311-lz77-lz77huff-lznt1.pcap.gz", 3),
    ] {
        let path = root().join("public").join(name);
        if !path.exists() {
            continue;
        }
        let mut expanded = 0;
        for (_, direction, frame) in frames(&path) {
            let opened = Connection::new(0).open(direction, frame).unwrap();
            expanded += u32::from(opened.compressed);
            let header = Header::read(&opened.plain).unwrap();
            // READ responses and WRITE requests say how much data is in them.
            let (at, len) = match header.command {
                8 => (usize::from(opened.plain[66]), u32_at(&opened.plain, 68)),
                _ => (
                    u16_at(&opened.plain, 66).unwrap().into(),
                    u32_at(&opened.plain, 68),
                ),
            };
            assert_eq!(at + len.unwrap() as usize, opened.plain.len(), "{name}");
        }
        assert_eq!(expanded, want, "{name}");
        ran += 1;
    }
    println!("{ran} compressed captures");
}

/// That file's `c2s_key` is the key of what the server sends, as Wireshark's test suite names it.
#[test]
fn given_cipher_keys_open_captures_too() {
    let path = root().join("public/wireshark__smb311-aes-256-ccm.pcap.gz");
    if !path.exists() {
        return println!("0 captures");
    }
    let keys = keys(&root().join("public/wireshark__smb311-aes-256-ccm.pcap.gz.keys.json"));
    let tally = observe(&path, |conn, _, direction, _, _| {
        if let (Direction::ToClient, Some(cipher)) = (direction, conn.cipher()) {
            for (id, _, c2s, s2c) in &keys {
                conn.install_cipher_keys(*id, cipher, s2c, c2s).unwrap();
            }
        }
    });
    assert!(tally.encrypted > 1 && tally.sealed_shut == 0);
}

/// The security token of a SESSION_SETUP.
fn token(pdu: &[u8], direction: Direction) -> &[u8] {
    let at = if direction == Direction::ToServer {
        76
    } else {
        68
    };
    let (Some(offset), Some(len)) = (u16_at(pdu, at), u16_at(pdu, at + 2)) else {
        return &[];
    };
    pdu.get(usize::from(offset)..usize::from(offset) + usize::from(len))
        .unwrap_or_default()
}

#[test]
fn a_password_opens_captured_logins() {
    let mut ran = 0;
    for name in [
        "bigfile_4m",
        "dialect_SMB2_02",
        "dialect_SMB3_00",
        "dialect_SMB3_11",
        "encrypted_share",
        "files",
    ] {
        let path = root().join(format!("own/smbclient/smbclient_{name}.pcap"));
        if !path.exists() {
            continue;
        }
        // Logins this password does not fit, and logins the server refused.
        let mut failures = (0, 0);
        let mut challenges = BTreeMap::new();
        let mut tokens: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        let tally = observe(&path, |conn, number, direction, plain, tally| {
            let Ok(header) = Header::read(plain) else {
                return;
            };
            if header.command != 1 {
                return;
            }
            failures.1 += u32::from(header.status == 0xC000_006D);
            let Some(inner) = spnego::parse(token(plain, direction)).and_then(|t| t.inner()) else {
                return;
            };
            let seen = tokens.entry(number).or_default();
            seen.push(inner.to_vec());
            if let Ok(challenge) = ntlm::parse_challenge(inner) {
                challenges.insert(number, challenge.server_challenge);
            }
            if let Ok(message) = ntlm::parse_authenticate(inner)
                && !message.is_anonymous()
            {
                let judged = ntlm::verify(&message, "Passw0rd!", &challenges[&number]);
                let Ok(key) = judged else {
                    assert_eq!(judged.err(), Some(ntlm::NtlmError::WrongPassword));
                    failures.0 += 1;
                    return;
                };
                let [.., negotiate, challenge, _] = &seen[..] else {
                    panic!("{}", seen.len())
                };
                let mic = ntlm::check_mic(&key, negotiate, challenge, inner, &message);
                assert_ne!(mic, ntlm::MicVerdict::Invalid);
                conn.install_session_key(header.session_id, key).unwrap();
                tally.logins += 1;
            }
        });
        let none = (tally.bad, tally.sealed_shut, tally.unchecked);
        assert_eq!(none, (0, 0, 0), "{path:?}");
        assert_eq!(failures.0, failures.1);
        assert!(
            tally.logins > 0 && tally.encrypted + tally.signed > 4,
            "{path:?}"
        );
        ran += 1;
    }
    println!("{ran} captures with logins");
}
