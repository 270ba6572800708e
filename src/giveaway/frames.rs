//! What a server said, without names, ids and data.
//!
//! Frames keep their lengths, so every offset in them stays true. Of each answer its header stays and the
//! numbers of its body's fixed part; what follows is zeros but for what is named here. So what nobody
//! has thought of tells nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use smbench_compiler::anonymize::Pseudonyms;
use smbench_core::event::Input;
use smbench_core::frame::{Content, Cut, Digest, Frame};
use smbench_core::ids::ConnId;
use smbench_core::smb2::{Command, Fsctl, HEADER_LEN, Header, NtStatus};

/// Rewrites what comes from a server.
pub(super) struct Rewriter {
    names: Pseudonyms,
    secret: Digest,
    /// What was sent and is not answered, by connection and MessageId.
    sent: BTreeMap<(ConnId, u64), Sent>,
    /// Lease keys, and those of the anonymized workload.
    keys: BTreeMap<[u8; 16], [u8; 16]>,
}

/// A request of the run, and of its twin.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Of a QUERY_DIRECTORY. [MS-SMB2] 2.2.33.
    class: u8,
    session: (u64, u64),
    tree: (Option<u32>, Option<u32>),
}

impl Rewriter {
    pub(super) fn of(names: Pseudonyms, secret: Digest) -> Self {
        Self {
            names,
            secret,
            sent: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// The run sends `a`, and its twin `b`.
    pub(super) fn sent(&mut self, conn: ConnId, a: &Frame, b: &Frame) {
        let pairs = a.pdus().zip(b.pdus());
        for ((head, a, _), (other, b, _)) in pairs.map_while(|(a, b)| Some((a.ok()?, b.ok()?))) {
            let tree = |head: &Header| head.tree_id().map(|tree| tree.0);
            let sent = Sent {
                class: a.get(HEADER_LEN + 2).copied().unwrap_or_default(),
                session: (head.session_id.0, other.session_id.0),
                tree: (tree(&head), tree(&other)),
            };
            self.sent.insert((conn, head.message_id.0), sent);
            if head.command == Command::CREATE {
                self.leases(a, b);
            }
        }
    }

    /// Learns the lease keys of a CREATE. [MS-SMB2] 2.2.13.2.8, 2.2.13.2.10.
    fn leases(&mut self, a: &[u8], b: &[u8]) {
        let lists = [a, b].map(|pdu| create_contexts(pdu, HEADER_LEN + 48));
        let [ours, theirs] = lists;
        for (one, other) in ours.iter().zip(&theirs) {
            if a.get(one.tag.clone()) != Some(b"RqLs") {
                continue;
            }
            for at in [0, 32] {
                let key = |pdu, data: &Range<usize>| array::<16>(pdu, data.start + at);
                let within = one.data.len() >= at + 16;
                let pair = key(a, &one.data).zip(key(b, &other.data));
                if let Some((from, to)) = pair.filter(|_| within) {
                    self.keys.insert(from, to);
                }
            }
        }
    }

    /// A frame that came. `shown` is the data that it is known to bring, in order.
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        shown: &mut VecDeque<(Digest, Option<Digest>)>,
    ) -> Frame {
        let mut bytes = vec![0; frame.bytes.len()];
        let mut at = 0;
        // What cannot be taken apart is zeros.
        for (head, pdu, cut) in frame.pdus().map_while(Result::ok) {
            let end = at + pdu.len();
            if let Some(room) = bytes.get_mut(at..end) {
                let cut = cut.map_or(0, |cut| cut.len as usize);
                self.pdu(conn, &head, pdu, cut, room);
            }
            at = end;
        }
        let cuts = frame.cuts.iter().map(|cut| Cut {
            content: match cut.content {
                Content::Data(digest) => Content::Data(self.data(digest, shown)),
                Content::Token => Content::Token,
            },
            ..*cut
        });
        Frame {
            cuts: cuts.collect(),
            bytes,
        }
    }

    fn data(&self, digest: Digest, shown: &mut VecDeque<(Digest, Option<Digest>)>) -> Digest {
        let at = shown.iter().position(|(seen, _)| *seen == digest);
        let known = at.and_then(|at| shown.remove(at));
        match known {
            Some((_, Some(made))) => made,
            _ => Digest::of(&[self.secret.0, digest.0].concat()),
        }
    }

    /// Writes one PDU anew; `cut` bytes of it are not there.
    fn pdu(&mut self, conn: ConnId, head: &Header, pdu: &[u8], cut: usize, out: &mut [u8]) {
        keep(pdu, out, 0..SIGNATURE);
        let key = (conn, head.message_id.0);
        let sent = self.sent.get(&key).copied();
        if let Some(Sent { session, tree, .. }) = sent {
            if head.session_id.0 == session.0 {
                put(out, SESSION_ID, &session.1.to_le_bytes());
            }
            if let (Some(from), Some(to)) = tree
                && head.tree_id().is_some_and(|tree| tree.0 == from)
            {
                put(out, TREE_ID, &to.to_le_bytes());
            }
        }
        if head.tree_id().is_some() {
            put(out, PROCESS_ID, &USUAL_PROCESS.to_le_bytes());
        }
        if head.status != NtStatus::PENDING.0 {
            self.sent.remove(&key);
        }
        let size = array::<2>(pdu, HEADER_LEN).map_or(0, u16::from_le_bytes);
        let fixed = fixed_bytes(head.command, size);
        keep(pdu, out, HEADER_LEN..HEADER_LEN + fixed.unwrap_or(2));
        if fixed.is_none() {
            return;
        }
        let body = |range: Range<usize>| HEADER_LEN + range.start..HEADER_LEN + range.end;
        match (head.command, size) {
            // ServerGuid, SystemTime, ServerStartTime. [MS-SMB2] 2.2.4.
            (Command::NEGOTIATE, 65) => {
                clear(out, body(8..24));
                clear(out, body(40..56));
                negotiate_contexts(pdu, cut, out);
            }
            // Times. [MS-SMB2] 2.2.14, 2.2.16.
            (Command::CREATE, 89) => {
                clear(out, body(8..40));
                self.create_contexts(pdu, out);
            }
            (Command::CLOSE, 60) => clear(out, body(8..40)),
            (Command::IOCTL, 49) => ioctl(pdu, out),
            (Command::QUERY_DIRECTORY, 9) => {
                let class = sent.map_or(0, |sent| sent.class);
                if let Some((len_at, name_at)) = names_of_class(class) {
                    let sizes = if name_at < 40 { 0..0 } else { 40..60 };
                    self.entries(pdu, out, sizes, len_at, name_at);
                }
            }
            // Action, length, name. [MS-FSCC] 2.7.1.
            (Command::CHANGE_NOTIFY, 9) => self.entries(pdu, out, 4..8, 8, 12),
            // The lease's key. [MS-SMB2] 2.2.23.2, 2.2.25.2.
            (Command::OPLOCK_BREAK, 44 | 36) => self.lease_key(pdu, out, HEADER_LEN + 8),
            _ => {}
        }
    }

    /// A list of entries, each with where the next one is and a name. `numbers` of each stay.
    fn entries(
        &mut self,
        pdu: &[u8],
        out: &mut [u8],
        numbers: Range<usize>,
        len_at: usize,
        name_at: usize,
    ) {
        let Some(mut at) =
            array::<2>(pdu, HEADER_LEN + 2).map(|it| usize::from(u16::from_le_bytes(it)))
        else {
            return;
        };
        loop {
            let number = |at: usize| array::<4>(pdu, at).map(|it| u32::from_le_bytes(it) as usize);
            let (Some(next), Some(len)) = (number(at), number(at + len_at)) else {
                return;
            };
            // Entries do not overlap.
            if next != 0 && next < name_at.saturating_add(len) {
                return;
            }
            keep(pdu, out, at..at + 4);
            keep(pdu, out, at + numbers.start..at + numbers.end);
            keep(pdu, out, at + len_at..at + len_at + 4);
            self.name(pdu, out, at + name_at..(at + name_at).saturating_add(len));
            if next == 0 {
                return;
            }
            at = at.saturating_add(next);
        }
    }

    /// A name, in UTF-16.
    fn name(&mut self, pdu: &[u8], out: &mut [u8], range: Range<usize>) {
        let Some(bytes) = pdu.get(range.clone()) else {
            return;
        };
        let units = bytes
            .chunks_exact(2)
            .filter_map(|unit| unit.first_chunk().copied());
        let units: Vec<u16> = units.map(u16::from_le_bytes).collect();
        // What is no text stays zeros.
        let Ok(name) = String::from_utf16(&units) else {
            return;
        };
        let made = self.names.path(&name);
        let made: Vec<u8> = made.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if made.len() == bytes.len() {
            put(out, range.start, &made);
        }
    }

    fn create_contexts(&mut self, pdu: &[u8], out: &mut [u8]) {
        for context in create_contexts(pdu, HEADER_LEN + 80) {
            let Context { at, tag, data } = context;
            keep(pdu, out, at..at + 16);
            let is_tag = matches!(tag.len(), 4 | 16);
            if !is_tag {
                continue;
            }
            keep(pdu, out, tag.clone());
            let part = |range: Range<usize>| {
                let end = data.start.saturating_add(range.end);
                data.start.saturating_add(range.start)..end.min(data.end)
            };
            match pdu.get(tag.clone()) {
                // State and flags, epoch. [MS-SMB2] 2.2.14.2.10, 2.2.14.2.11.
                Some(b"RqLs") => {
                    keep(pdu, out, part(16..24));
                    self.lease_key(pdu, out, data.start);
                    if data.len() >= 52 {
                        keep(pdu, out, part(48..52));
                        self.lease_key(pdu, out, data.start + 32);
                    }
                }
                // Status and access; time-out and flags. [MS-SMB2] 2.2.14.2.5, 2.2.14.2.12.
                Some(b"MxAc" | b"DH2Q") => keep(pdu, out, part(0..8)),
                _ => {}
            }
        }
    }

    fn lease_key(&self, pdu: &[u8], out: &mut [u8], at: usize) {
        let Some(key) = array::<16>(pdu, at).filter(|key| *key != [0; 16]) else {
            return;
        };
        let made = self.keys.get(&key).copied().unwrap_or_else(|| {
            let digest = Digest::of(&[&self.secret.0[..], &key].concat());
            // There are 32.
            digest.0.first_chunk().copied().unwrap_or_default()
        });
        put(out, at, &made);
    }
}

/// What a received frame answers, in words.
pub(super) fn words(input: &Input) -> String {
    let Input::Received { frame, .. } = input else {
        return "no answer".to_owned();
    };
    let commands = frame.pdus().map_while(Result::ok);
    let commands: Vec<String> = commands
        .map(|(head, ..)| head.command.to_string())
        .collect();
    match commands.as_slice() {
        [] => "an answer that is no SMB2".to_owned(),
        commands => format!("an answer to {}", commands.join(", ")),
    }
}

/// Bytes of the fixed part of an answer's body: [MS-SMB2] 2.2. An error has 8 whatever it answers.
fn fixed_bytes(command: Command, size: u16) -> Option<usize> {
    let known = matches!(
        (command, size),
        (_, 9)
            | (Command::NEGOTIATE, 65)
            | (
                Command::LOGOFF | Command::TREE_DISCONNECT | Command::FLUSH,
                4
            )
            | (Command::LOCK | Command::ECHO, 4)
            | (Command::TREE_CONNECT, 16)
            | (Command::CREATE, 89)
            | (Command::CLOSE, 60)
            | (Command::READ | Command::WRITE, 17)
            | (Command::IOCTL, 49)
            | (Command::SET_INFO, 2)
            | (Command::OPLOCK_BREAK, 24 | 36 | 44)
    );
    known.then_some(usize::from(size & !1))
}

/// Where an entry of a directory has its name's length and its name: [MS-FSCC] 2.4.
const fn names_of_class(class: u8) -> Option<(usize, usize)> {
    Some(match class {
        1 => (60, 64),
        2 => (60, 68),
        3 => (60, 94),
        12 => (8, 12),
        37 => (60, 104),
        38 => (60, 80),
        _ => return None,
    })
}

/// What was negotiated, without salts. [MS-SMB2] 2.2.3.1.
fn negotiate_contexts(pdu: &[u8], cut: usize, out: &mut [u8]) {
    let short = |at: usize| array::<2>(pdu, at).map(u16::from_le_bytes);
    let at = array::<4>(pdu, HEADER_LEN + 60).map(|it| u32::from_le_bytes(it) as usize);
    let is_311 = short(HEADER_LEN + 4) == Some(0x0311);
    let (Some(mut wire), Some(count), true) = (at, short(HEADER_LEN + 6), is_311) else {
        return;
    };
    for _ in 0..count {
        // The token before them is cut out.
        let at = wire.saturating_sub(cut);
        let (Some(kind), Some(len)) = (short(at), short(at + 2)) else {
            return;
        };
        let (data, len) = (at + 8, usize::from(len));
        keep(pdu, out, at..data);
        match kind {
            PREAUTH_INTEGRITY => {
                // Count, length of the salt, algorithms.
                let algorithms = short(data).map_or(0, usize::from);
                keep(pdu, out, data..data + (4 + 2 * algorithms).min(len));
            }
            ENCRYPTION | COMPRESSION | RDMA_TRANSFORM | SIGNING => keep(pdu, out, data..data + len),
            _ => {}
        }
        wire = (wire + 8 + len).next_multiple_of(8);
    }
}

/// Numbers alone. [MS-SMB2] 2.2.32.
fn ioctl(pdu: &[u8], out: &mut [u8]) {
    let number = |at: usize| array::<4>(pdu, HEADER_LEN + at).map(u32::from_le_bytes);
    let (Some(code), Some(at)) = (number(4), number(32)) else {
        return;
    };
    let at = at as usize;
    match Fsctl(code) {
        // Capabilities, security mode, dialect; not the GUID.
        Fsctl::VALIDATE_NEGOTIATE_INFO => {
            keep(pdu, out, at..at + 4);
            keep(pdu, out, at + 20..at + 24);
        }
        // Chunks, bytes of the last, all bytes.
        Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE => keep(pdu, out, at..at + 12),
        _ => {}
    }
}

/// A create context of a PDU.
struct Context {
    at: usize,
    tag: Range<usize>,
    data: Range<usize>,
}

/// The create contexts of a PDU that has their offset at `field`. [MS-SMB2] 2.2.13.2.
fn create_contexts(pdu: &[u8], field: usize) -> Vec<Context> {
    let short = |at: usize| array::<2>(pdu, at).map(|it| usize::from(u16::from_le_bytes(it)));
    let long = |at: usize| array::<4>(pdu, at).map(|it| u32::from_le_bytes(it) as usize);
    let mut found = Vec::new();
    let Some(mut at) = long(field).filter(|at| *at >= HEADER_LEN) else {
        return found;
    };
    while found.len() < MOST_CONTEXTS {
        let head = || {
            Some((
                long(at)?,
                short(at + 4)?,
                short(at + 6)?,
                short(at + 10)?,
                long(at + 12)?,
            ))
        };
        let Some((next, tag_at, tag_len, data_at, data_len)) = head() else {
            break;
        };
        let (tag, data) = (at + tag_at, at + data_at);
        found.push(Context {
            at,
            tag: tag..tag + tag_len,
            data: data..data.saturating_add(data_len),
        });
        if next == 0 {
            break;
        }
        at = at.saturating_add(next);
    }
    found
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Takes a stretch over, as far as there is one.
fn keep(from: &[u8], to: &mut [u8], range: Range<usize>) {
    let end = range.end.min(from.len()).min(to.len());
    let range = range.start.min(end)..end;
    if let (Some(from), Some(to)) = (from.get(range.clone()), to.get_mut(range)) {
        to.copy_from_slice(from);
    }
}

fn clear(to: &mut [u8], range: Range<usize>) {
    let end = range.end.min(to.len());
    if let Some(room) = to.get_mut(range.start.min(end)..end) {
        room.fill(0);
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    let room = at
        .checked_add(bytes.len())
        .and_then(|end| to.get_mut(at..end));
    if let Some(room) = room {
        room.copy_from_slice(bytes);
    }
}

/// Offsets into a header. [MS-SMB2] 2.2.1.2.
const PROCESS_ID: usize = 32;
const TREE_ID: usize = 36;
const SESSION_ID: usize = 40;
const SIGNATURE: usize = 48;
/// What clients say that have no process id.
const USUAL_PROCESS: u32 = 0xfeff;
/// More than any CREATE has.
const MOST_CONTEXTS: usize = 64;
// Kinds of negotiate contexts. [MS-SMB2] 2.2.3.1.
const PREAUTH_INTEGRITY: u16 = 1;
const ENCRYPTION: u16 = 2;
const COMPRESSION: u16 = 3;
const RDMA_TRANSFORM: u16 = 7;
const SIGNING: u16 = 8;

#[cfg(test)]
mod tests {
    use smbench_compiler::anonymize::Mapping;

    use super::*;

    fn rewriter() -> Rewriter {
        let mapping = Mapping {
            words: [("team".to_owned(), "novi".to_owned())].into(),
            ..Mapping::default()
        };
        Rewriter::of(Pseudonyms::of(&mapping, [7; 32]), Digest([7; 32]))
    }

    fn answer(command: Command, body: &[u8]) -> Frame {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..6].copy_from_slice(&[0xfe, b'S', b'M', b'B', 64, 0]);
        bytes[12..14].copy_from_slice(&command.0.to_le_bytes());
        bytes[16] = 1;
        bytes[24] = 9;
        bytes.extend(body);
        Frame {
            bytes,
            cuts: Vec::new(),
        }
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn what_nobody_has_thought_of_is_zeros() {
        let mut it = rewriter();
        let mut none = VecDeque::new();
        for command in 0..0x20 {
            for size in 0..100_u8 {
                let mut body = vec![0x55; 200];
                body[..2].copy_from_slice(&[size, 0]);
                let frame = answer(Command(command), &body);
                let made = it.received(ConnId(0), &frame, &mut none);
                assert_eq!(made.bytes.len(), frame.bytes.len());
                let fixed = fixed_bytes(Command(command), size.into()).unwrap_or(2);
                let behind = &made.bytes[HEADER_LEN + fixed..];
                // Offsets of 0x5555 lead nowhere: no list begins there.
                assert!(behind.iter().all(|byte| *byte == 0), "{command} {size}");
            }
        }
        for garbage in [vec![0xff; 300], b"team".repeat(40), vec![0xfe; 10]] {
            let frame = Frame {
                bytes: garbage.clone(),
                cuts: Vec::new(),
            };
            let made = it.received(ConnId(0), &frame, &mut none);
            assert_eq!(made.bytes, vec![0; garbage.len()]);
        }
    }

    #[test]
    fn names_in_listings_and_notifications_are_those_of_the_map() {
        let mut it = rewriter();
        let request = answer(Command::QUERY_DIRECTORY, &[33, 0, 12, 0]);
        it.sent(ConnId(3), &request, &request);
        let mut entry = vec![0; 12];
        entry[8] = 8;
        entry.extend(wide("team"));
        let mut body = vec![9, 0, 72, 0, 20, 0, 0, 0];
        body.extend(&entry);
        let listing = answer(Command::QUERY_DIRECTORY, &body);
        let made = it.received(ConnId(3), &listing, &mut VecDeque::new());
        assert_eq!(made.bytes[72 + 12..], wide("novi"));
        // Of another class nothing is known.
        let made = it.received(ConnId(4), &listing, &mut VecDeque::new());
        assert!(made.bytes[72..].iter().all(|byte| *byte == 0));
        let mut body = vec![9, 0, 72, 0, 52, 0, 0, 0];
        let mut first = vec![24, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0];
        first.extend(wide("TEAM"));
        first.resize(24, 0x55);
        body.extend(&first);
        body.extend([0, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0]);
        body.extend(wide("team\\new"));
        let made = it.received(
            ConnId(3),
            &answer(Command::CHANGE_NOTIFY, &body),
            &mut VecDeque::new(),
        );
        let text = String::from_utf16_lossy(
            &made.bytes[72..]
                .chunks(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect::<Vec<_>>(),
        );
        assert!(text.to_lowercase().matches("novi").count() == 2, "{text:?}");
        assert!(
            !text.contains("new") && !text.contains('\u{5555}'),
            "{text:?}"
        );
        assert_eq!(made.bytes[72 + 4], 3);
    }

    #[test]
    fn lists_without_an_end_end() {
        let mut it = rewriter();
        for next in [1_u8, 4, 12, 255] {
            let mut body = vec![9, 0, 72, 0, 0, 1, 0, 0];
            body.extend([next, 0, 0, 0].repeat(64));
            it.received(
                ConnId(0),
                &answer(Command::CHANGE_NOTIFY, &body),
                &mut VecDeque::new(),
            );
            let mut body = vec![0; 88 + 256];
            body[0] = 89;
            body[80] = 152;
            for at in (88..body.len()).step_by(4) {
                body[at] = next;
            }
            it.received(
                ConnId(0),
                &answer(Command::CREATE, &body),
                &mut VecDeque::new(),
            );
        }
    }

    #[test]
    fn data_is_that_of_the_anonymized_workload_where_it_is_the_recorded_one() {
        let mut it = rewriter();
        let mut frame = answer(
            Command::READ,
            &[17, 0, 80, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        let (seen, made) = (Digest([1; 32]), Digest([2; 32]));
        frame.cuts = vec![Cut {
            at: 80,
            len: 4,
            content: Content::Data(seen),
        }];
        let mut shown = VecDeque::from([(seen, Some(made))]);
        let first = it.received(ConnId(0), &frame, &mut shown);
        assert_eq!(first.cuts[0].content, Content::Data(made));
        let other = it.received(ConnId(0), &frame, &mut shown);
        let again = it.received(ConnId(0), &frame, &mut VecDeque::from([(seen, None)]));
        assert_eq!(other.cuts, again.cuts);
        assert!(
            ![seen, made]
                .map(Content::Data)
                .contains(&other.cuts[0].content)
        );
    }
}
