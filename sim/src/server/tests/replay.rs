//! Captures of Samba replayed onto the model: the same requests get the same answers.
//!
//! The captures are the shared ones, where they are there. Reading them takes a little of pcap and
//! TCP that is good enough for them, and no dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::*;

use super::client::config;
use crate::server::{ConnKey, Server, ServerConfig, ServerOutput, ShareConfig};

/// One transport frame of a capture.
struct Captured {
    at_ns: u64,
    flow: usize,
    from_client: bool,
    frame: Vec<u8>,
}

/// Client and server of a TCP connection: address and port.
type Pair = ((u32, u16), (u32, u16));

/// One direction of a TCP connection.
#[derive(Default)]
struct Half {
    next: Option<u32>,
    early: BTreeMap<u32, Vec<u8>>,
    bytes: Vec<u8>,
}

impl Half {
    fn take(&mut self, seq: u32, data: &[u8]) {
        let next = *self.next.get_or_insert(seq);
        self.early.insert(seq.wrapping_sub(next), data.to_vec());
        let early = std::mem::take(&mut self.early);
        let mut done = 0_u32;
        for (at, data) in early {
            let len = u32::try_from(data.len()).unwrap();
            if at > 1 << 31 || at + len <= done {
                continue; // seen before
            }
            if at <= done {
                self.bytes
                    .extend(&data[usize::try_from(done - at).unwrap()..]);
                done = at + len;
            } else {
                self.early.insert(at, data);
            }
        }
        self.next = Some(next.wrapping_add(done));
        let later = std::mem::take(&mut self.early).into_iter();
        self.early = later.map(|(at, data)| (at - done, data)).collect();
    }

    fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(head) = self.bytes.first_chunk::<4>() {
            let len = usize::try_from(u32::from_be_bytes(*head) & 0xff_ffff).unwrap();
            if self.bytes.len() < len + 4 {
                break;
            }
            out.push(self.bytes[4..len + 4].to_vec());
            self.bytes.drain(..len + 4);
        }
        out
    }
}

fn read(path: &Path) -> Vec<Captured> {
    let file = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let nanos = match word(0) {
        0xa1b2_c3d4 => 1000,
        0xa1b2_3c4d => 1,
        other => panic!("{other:#x} is no little-endian pcap"),
    };
    let mut out = Vec::new();
    let mut flows: Vec<Pair> = Vec::new();
    let mut halves: BTreeMap<(usize, bool), Half> = BTreeMap::new();
    let mut at = 24;
    while at + 16 <= file.len() {
        let len = usize::try_from(word(at + 8)).unwrap();
        let at_ns = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * nanos;
        let packet = &file[at + 16..at + 16 + len];
        at += 16 + len;
        if packet[12..14] != [8, 0] || packet[23] != 6 {
            continue;
        }
        let ip = &packet[14..];
        let tcp_at = usize::from(ip[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let tcp = &ip[tcp_at..total];
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let host = |at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().unwrap());
        let (from, to) = ((host(12), port(0)), (host(16), port(2)));
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let data = &tcp[usize::from(tcp[12] >> 4) * 4..];
        let syn = tcp[13] & 2 != 0;
        if syn && tcp[13] & 16 == 0 {
            flows.push((from, to));
        }
        let same = |known: &Pair| *known == (from, to) || *known == (to, from);
        let Some(flow) = flows.iter().rposition(same) else {
            continue;
        };
        let from_client = flows[flow] == (from, to);
        let half = halves.entry((flow, from_client)).or_default();
        if syn {
            half.next = Some(seq.wrapping_add(1));
        }
        if !data.is_empty() {
            half.take(seq, data);
            for frame in half.frames() {
                out.push(Captured {
                    at_ns,
                    flow,
                    from_client,
                    frame,
                });
            }
        }
        if tcp[13] & 5 != 0 {
            out.push(Captured {
                at_ns,
                flow,
                from_client,
                frame: Vec::new(),
            });
        }
    }
    out
}

/// What of an answer has to be the same.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Facts {
    status: NtStatus,
    text: String,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.status.name().unwrap_or("?");
        write!(f, "[{name} {:#x} {}]", self.status.0, self.text)
    }
}

fn facts(header: &Header, body: &Response) -> Facts {
    let text = match body {
        Response::Create(body) => {
            let lease = super::client::granted(body);
            format!(
                "action {} oplock {} lease {lease:?} size {} {:?}",
                body.create_action.0,
                body.oplock_level.0,
                body.end_of_file,
                body.contexts
                    .iter()
                    .map(|c| c.tag.to_string())
                    .collect::<Vec<_>>()
            )
        }
        Response::Read(body) => format!("{} bytes", body.length),
        Response::Write(body) => format!("{} bytes", body.count),
        Response::OplockBreak(body) => format!("oplock {}", body.oplock_level.0),
        Response::LeaseBreak(body) => format!("lease {}", body.lease_state.bits()),
        Response::LeaseBreakNotification(body) => format!(
            "lease {} to {} flags {} epoch {}",
            body.current_lease_state.bits(),
            body.new_lease_state.bits(),
            body.flags.bits(),
            body.new_epoch
        ),
        _ => String::new(),
    };
    Facts {
        status: header.nt_status(),
        text,
    }
}

#[derive(Default)]
struct Replay {
    /// Recorded bytes that name something, and what they are here.
    ids: BTreeMap<Vec<u8>, Vec<u8>>,
    sessions: BTreeMap<u64, u64>,
    trees: BTreeMap<(u64, u32), u32>,
    asyncs: BTreeMap<u64, u64>,
    requests: BTreeMap<(usize, u64), (usize, String)>,
    recorded: BTreeMap<(usize, u64), Vec<Facts>>,
    live: BTreeMap<(usize, u64), Vec<Facts>>,
    /// Answers of one side that wait for the other, to learn ids from.
    halves: BTreeMap<(usize, u64, bool), (Header, Response)>,
}

fn bodies(frame: &[u8]) -> Vec<(Header, Body)> {
    let pdus = Pdu::chain(frame).filter_map(Result::ok);
    let messages = pdus.filter_map(|pdu| Message::decode_lossy(pdu).ok());
    messages
        .map(|decoded| (decoded.message.header, decoded.message.body))
        .collect()
}

impl Replay {
    /// Rewrites the ids of a recorded request.
    fn mapped(&mut self, flow: usize, frame: &[u8]) -> Vec<u8> {
        let mut out = frame.to_vec();
        let mut at = 0;
        let mut carried = 0;
        for (header, body) in bodies(frame) {
            let Body::Request(body) = body else {
                continue;
            };
            let sid = header.session_id.0;
            carried = if header.flags.contains(HeaderFlags::RELATED) {
                carried
            } else {
                sid
            };
            let path = match &body {
                Request::Create(body) => format!(
                    "{} access {:#x} disposition {} options {:#x} share {} oplock {}",
                    body.name,
                    body.desired_access.bits(),
                    body.create_disposition.0,
                    body.create_options.bits(),
                    body.share_access.bits(),
                    body.requested_oplock_level.0
                ),
                Request::Ioctl(body) => format!("{:?} {}", body.ctl_code, body.max_output_response),
                Request::SetInfo(body) => format!(
                    "{:?} {:?} {:02x?}",
                    body.info_type,
                    body.file_info_class,
                    &body.buffer[..body.buffer.len().min(24)]
                ),
                Request::QueryInfo(body) => format!(
                    "{:?} {:?} {}",
                    body.info_type, body.file_info_class, body.output_buffer_length
                ),
                Request::QueryDirectory(body) => format!(
                    "{:?} {} {}",
                    body.file_information_class, body.pattern, body.output_buffer_length
                ),
                Request::Read(body) => format!("{}+{}", body.offset, body.length),
                Request::Lock(body) => format!("{:?}", body.locks),
                Request::OplockBreak(body) => format!("oplock ack {}", body.oplock_level.0),
                Request::LeaseBreak(body) => format!("lease ack {}", body.lease_state.bits()),
                _ => String::new(),
            };
            let order = self.requests.len();
            let name = header.command.name().unwrap_or("?");
            let text = format!("{name} {path}");
            self.requests
                .entry((flow, header.message_id.0))
                .or_insert((order, text));
            if let Some(new) = self.sessions.get(&sid) {
                out[at + 40..at + 48].copy_from_slice(&new.to_le_bytes());
            }
            if header.is_async() {
                let id = header.async_id().unwrap();
                let new = self.asyncs.get(&id).copied().unwrap_or(id);
                out[at + 32..at + 40].copy_from_slice(&new.to_le_bytes());
            } else if let Some(tree) = header.tree_id()
                && let Some(new) = self.trees.get(&(carried, tree.0))
            {
                out[at + 36..at + 40].copy_from_slice(&new.to_le_bytes());
            }
            if let Request::SessionSetup(body) = &body {
                let old = body.previous_session_id.0;
                if let Some(new) = self.sessions.get(&old) {
                    out[at + 80..at + 88].copy_from_slice(&new.to_le_bytes());
                }
            }
            at += usize::try_from(header.next_command).unwrap();
        }
        {
            let end = out.len().min(1024);
            for (old, new) in &self.ids {
                let mut from = 0;
                while let Some(found) = out[from..end].windows(old.len()).position(|w| w == old) {
                    let place = from + found;
                    out[place..place + new.len()].copy_from_slice(new);
                    from = place + old.len();
                }
            }
        }
        out
    }

    /// Keeps an answer of either side, and learns ids once both are there.
    fn answer(&mut self, flow: usize, frame: &[u8], live: bool) {
        for (header, body) in bodies(frame) {
            let Body::Response(body) = body else {
                continue;
            };
            let mid = header.message_id.0;
            let side = if live {
                &mut self.live
            } else {
                &mut self.recorded
            };
            let list = side.entry((flow, mid)).or_default();
            list.push(facts(&header, &body));
            if mid == u64::MAX {
                continue;
            }
            let key = (flow, mid, header.nt_status() == NtStatus::PENDING);
            match self.halves.remove(&key) {
                None => {
                    self.halves.insert(key, (header, body));
                }
                Some(other) => {
                    let (old, new) = if live {
                        (other, (header, body))
                    } else {
                        ((header, body), other)
                    };
                    self.learn(&old, &new);
                }
            }
        }
    }

    fn learn(&mut self, old: &(Header, Response), new: &(Header, Response)) {
        let (was, is) = (old.0.session_id.0, new.0.session_id.0);
        if old.0.command == Command::SESSION_SETUP {
            self.sessions.insert(was, is);
        }
        if old.0.command == Command::TREE_CONNECT
            && let (Some(a), Some(b)) = (old.0.tree_id(), new.0.tree_id())
        {
            self.trees.insert((was, a.0), b.0);
        }
        if let (Some(a), Some(b)) = (old.0.async_id(), new.0.async_id()) {
            self.asyncs.insert(a, b);
        }
        match (&old.1, &new.1) {
            (Response::Create(a), Response::Create(b)) => {
                self.ids
                    .insert(a.file_id.to_bytes().into(), b.file_id.to_bytes().into());
            }
            (Response::Ioctl(a), Response::Ioctl(b))
                if a.ctl_code == Fsctl::SRV_REQUEST_RESUME_KEY
                    && a.output.len() >= 24
                    && b.output.len() >= 24 =>
            {
                self.ids
                    .insert(a.output[..24].into(), b.output[..24].into());
            }
            _ => {}
        }
    }

    /// Differences, each with its request.
    fn differences(&self, strict: bool) -> Vec<String> {
        let keys: BTreeSet<_> = self
            .recorded
            .keys()
            .chain(self.live.keys())
            .copied()
            .collect();
        let mut out = Vec::new();
        for key in keys {
            let none = Vec::new();
            let was = self.recorded.get(&key).unwrap_or(&none);
            let is = self.live.get(&key).unwrap_or(&none);
            let finals = |all: &[Facts]| -> Vec<Facts> {
                let kept = all
                    .iter()
                    .filter(|one| strict || one.status != NtStatus::PENDING);
                kept.cloned().collect()
            };
            let (was, is) = (finals(was), finals(is));
            if was != is {
                let request = self.requests.get(&key);
                let (order, request) =
                    request.map_or((usize::MAX, ""), |(order, text)| (*order, text.as_str()));
                let text = |all: Vec<Facts>| all.iter().map(Facts::to_string).collect::<String>();
                let (was, is) = (text(was), text(is));
                out.push((
                    order,
                    format!(
                        "flow {} mid {}: {request}\n    was {was}\n    is  {is}",
                        key.0, key.1
                    ),
                ));
            }
        }
        out.sort();
        out.into_iter().map(|(_, text)| text).collect()
    }
}

fn replay(path: &Path) -> (usize, Vec<String>) {
    let events = read(path);
    let mut shares = BTreeSet::new();
    for event in &events {
        for (_, body) in bodies(&event.frame) {
            if let Body::Request(Request::TreeConnect(body)) = body {
                let path = body.path.to_string();
                shares.extend(path.rsplit('\\').next().map(str::to_owned));
            }
        }
    }
    let shares = shares.into_iter().map(|name| match name.as_str() {
        "IPC$" => ShareConfig::pipe(&name),
        _ => ShareConfig::disk(&name),
    });
    let mut server = Server::new(ServerConfig {
        shares: shares.filter(|share| share.name != "nosuch").collect(),
        ..config()
    });
    if path.ends_with("collab6_seed1.pcap") {
        server.mkdir("data", "collab").unwrap(); // made in a session that is encrypted
    }
    let mut replay = Replay::default();
    let mut conns: BTreeMap<usize, ConnKey> = BTreeMap::new();
    let start = events.first().map_or(0, |event| event.at_ns);
    for event in &events {
        let now = LogicalTime(event.at_ns - start);
        server.wake(now);
        if event.frame.starts_with(b"\xfdSMB") {
            continue;
        }
        if event.frame.is_empty() {
            if let Some(conn) = conns.get(&event.flow) {
                server.disconnect(now, *conn);
            }
        } else if event.from_client {
            let conn = *conns
                .entry(event.flow)
                .or_insert_with(|| server.connect(now));
            let frame = replay.mapped(event.flow, &event.frame);
            server.receive(now, conn, &frame);
        } else {
            replay.answer(event.flow, &event.frame, false);
        }
        while let Some(output) = server.poll() {
            if let ServerOutput::Send { conn, frame } = output {
                let flow = conns.iter().find(|(_, known)| **known == conn);
                if let Some((flow, _)) = flow {
                    replay.answer(*flow, &frame, true);
                }
            }
        }
    }
    (replay.requests.len(), replay.differences(false))
}

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own")
}

/// Captures, and how many of their requests may be answered differently, and why.
const CAPTURES: [(&str, usize, &str); 20] = [
    ("smbclient/smbclient_dialect_SMB2_02.pcap", 0, ""),
    ("smbclient/smbclient_dialect_SMB3_00.pcap", 0, ""),
    ("smbclient/smbclient_dialect_SMB3_11.pcap", 0, ""),
    ("smbclient/smbclient_files.pcap", 0, ""),
    ("smbclient/smbclient_bigfile_4m.pcap", 0, ""),
    ("scenario/leases3_plain.pcap", 0, ""),
    (
        "scenario/collab6_seed1.pcap",
        156,
        "begins with an open and a close of two clients, 0.4 ms apart, in the other order",
    ),
    (
        "office/office20_15s.pcap",
        2,
        "twenty clients made the same two directories at once",
    ),
    (
        "torture/smbtorture_smb2.lease.pcap",
        2,
        "order of two breaks of one write; a break repeated on another connection",
    ),
    ("torture/smbtorture_smb2.lock.pcap", 0, ""),
    ("torture/smbtorture_smb2.read.pcap", 0, ""),
    ("torture/smbtorture_smb2.sharemode.pcap", 0, ""),
    ("torture/smbtorture_smb2.rename.pcap", 0, ""),
    ("torture/smbtorture_smb2.streams.pcap", 0, ""),
    ("torture/smbtorture_smb2.compound.pcap", 0, ""),
    (
        "torture/smbtorture_smb2.dir.pcap",
        6,
        "names come in another order, so another number of them fits",
    ),
    ("torture/smbtorture_smb2.durable-open.pcap", 0, ""),
    ("torture/smbtorture_smb2.connect.pcap", 0, ""),
    (
        "torture/smbtorture_smb2.session.pcap",
        17,
        "wrong passwords and signatures (this server trusts), ACLs",
    ),
    ("torture/smbtorture_smb2.credits.pcap", 0, ""),
];

#[test]
fn captures_get_the_recorded_answers() {
    let (mut files, mut requests, mut different) = (0, 0, 0);
    for (name, allowed, reason) in CAPTURES {
        let path = captures().join(name);
        if !path.exists() {
            continue;
        }
        let (count, differences) = replay(&path);
        println!(
            "{name}: {count} requests, {} differ: {reason}",
            differences.len()
        );
        let shown: Vec<&String> = differences.iter().take(120).collect();
        assert!(differences.len() <= allowed, "{name}: {shown:#?}");
        files += 1;
        requests += count;
        different += differences.len();
    }
    println!("{files} captures, {requests} requests, {different} differ");
}
