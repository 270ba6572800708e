//! A line of `ops.jsonl` as `compile` writes it, read in one go for an engine.
//!
//! This reads what engines need, of lines that have every key in its place and no white space.
//! Whatever else a line may be (edited, odd, or wrong) is not its business: it says so, and
//! [`Operation`]'s own reading decides. What it does take must come out as that would; what engines
//! do not look at (`path` of what is no CREATE, `mid`, `frame`, `file_id`) is checked and left out.

use smbench_core::{
    event::Milestone,
    frame::Digest,
    ids::{ClientId, ConnId, OpId, OpenRef, PrincipalRef, SessionRef, TreeRef},
    smb2::{Command, HeaderFlags, LeaseState, NtStatus, OplockLevel},
    workload::{Compound, DataRef, Edge, Expect, LeaseGrant, Operation, Rule},
};

/// Reads `line`, with or without its line end, into `op`, a [blank](Operation::blank) one or one
/// that was read into before; the text of the request, which stays out of `op`. `None` for other
/// lines: `op` is of no use then.
pub(super) fn read<'a>(line: &'a [u8], op: &mut Operation) -> Option<&'a [u8]> {
    let mut at = Cursor(line);
    at.head(op)?;
    at.wire(op)?;
    at.want(b",\"do\":{\"request\":")?;
    let request = at.request()?;
    at.want(b"}")?;
    at.links(op)?;
    op.after.clear();
    if at.eat(b",\"after\":[") {
        at.edges(&mut op.after)?;
    }
    op.expect = match at.eat(b",\"expect\":{") {
        true => Some(at.expect()?),
        false => None,
    };
    at.want(b"}")?;
    matches!(at.0, b"" | b"\n").then_some(request)
}

/// What is left of a line.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn head(&mut self, op: &mut Operation) -> Option<()> {
        self.want(b"{\"id\":")?;
        op.id = OpId(self.small()?);
        self.want(b",\"at_us\":")?;
        op.at_us = self.number()?;
        self.want(b",\"client\":")?;
        op.client = ClientId(self.small()?);
        self.want(b",\"conn\":")?;
        op.conn = ConnId(self.small()?);
        op.session = self.maybe(b",\"session\":")?.map(SessionRef);
        op.tree = self.maybe(b",\"tree\":")?.map(TreeRef);
        self.want(b",\"cmd\":\"")?;
        op.cmd = Command::from_name(self.name()?)?;
        Some(())
    }

    fn wire(&mut self, op: &mut Operation) -> Option<()> {
        self.want(b",\"mid\":")?;
        self.number()?;
        op.charge = self.short(b",\"charge\":")?;
        op.credits = self.short(b",\"credits\":")?;
        op.flags = match self.eat(b",\"flags\":\"0x") {
            true => {
                let bits = u32::try_from(self.hex_number()?).ok()?;
                self.want(b"\"")?;
                HeaderFlags::from_bits_retain(bits)
            }
            false => HeaderFlags::default(),
        };
        op.channel_sequence = self.maybe(b",\"channel_sequence\":")?.unwrap_or(0);
        op.process_id = self.maybe(b",\"process_id\":")?.unwrap_or(0);
        op.reconstructed = self.eat(b",\"reconstructed\":true");
        op.raw_tree = self.maybe(b",\"raw_tree\":")?;
        self.want(b",\"frame\":")?;
        self.number()?;
        op.compound = match self.eat(b",\"compound\":{\"first\":") {
            true => Some(self.compound()?),
            false => None,
        };
        Some(())
    }

    fn compound(&mut self) -> Option<Compound> {
        let first = OpId(self.small()?);
        self.want(b",\"position\":")?;
        let position = u16::try_from(self.number()?).ok()?;
        self.want(b",\"related\":")?;
        let related = self.eat(b"true");
        if !related {
            self.want(b"false")?;
        }
        let last = self.eat(b",\"last\":true");
        self.want(b"}")?;
        Some(Compound {
            first,
            position,
            related,
            last,
        })
    }

    fn links(&mut self, op: &mut Operation) -> Option<()> {
        op.path = None;
        if self.eat(b",\"path\":\"") {
            // Of a CREATE by the number of a file it matters.
            if op.cmd == Command::CREATE {
                return None;
            }
            self.skip_text()?;
        }
        op.open = self.maybe(b",\"open\":")?.map(OpenRef);
        op.reclaims = self.maybe(b",\"reclaims\":")?.map(OpenRef);
        op.previous_session = self.maybe(b",\"previous_session\":")?.map(SessionRef);
        op.principal = self.maybe(b",\"principal\":")?.map(PrincipalRef);
        op.resume_key_of = self.maybe(b",\"resume_key_of\":")?.map(OpId);
        op.cancels = self.maybe(b",\"cancels\":")?.map(OpId);
        op.data = self.data(b",\"data\":{\"blake3\":\"")?;
        op.cut = self.eat(b",\"cut\":true");
        Some(())
    }

    fn edges(&mut self, edges: &mut Vec<Edge>) -> Option<()> {
        loop {
            self.want(b"{\"id\":")?;
            let id = OpId(self.small()?);
            self.want(b",\"rule\":\"")?;
            let rule = self.rule()?;
            let on = match self.eat(b",\"on\":\"") {
                true => self.milestone()?,
                false => Milestone::Response,
            };
            let inferred = self.eat(b",\"inferred\":true");
            self.want(b"}")?;
            edges.push(Edge {
                id,
                rule,
                on,
                inferred,
            });
            if self.eat(b"]") {
                return Some(());
            }
            self.want(b",")?;
        }
    }

    fn rule(&mut self) -> Option<Rule> {
        let len = self.0.iter().position(|byte| *byte == b'"')?;
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest.get(1..)?;
        Some(match name {
            b"wire" => Rule::Wire,
            b"handle" => Rule::Handle,
            b"resource" => Rule::Resource,
            b"name" => Rule::Name,
            b"break" => Rule::Break,
            b"setup" => Rule::Setup,
            b"outcome" => Rule::Outcome,
            _ => return None,
        })
    }

    fn milestone(&mut self) -> Option<Milestone> {
        match self.name()? {
            "sent" => Some(Milestone::Sent),
            "interim" => Some(Milestone::Interim),
            "response" => Some(Milestone::Response),
            _ => None,
        }
    }

    fn expect(&mut self) -> Option<Expect> {
        self.want(b"\"frame\":")?;
        self.number()?;
        self.want(b",\"status\":\"")?;
        let status = match self.eat(b"SUCCESS\"") {
            true => NtStatus::SUCCESS,
            false => NtStatus::from_name(self.name()?)?,
        };
        self.want(b",\"latency_us\":")?;
        let mut expect = Expect {
            status,
            latency_us: self.number()?,
            ..Expect::default()
        };
        expect.interim_us = self.long(b",\"interim_us\":")?;
        expect.credits = self.maybe(b",\"credits\":")?.unwrap_or(0);
        if self.eat(b",\"file_id\":\"") {
            self.skip_file_id()?;
        }
        expect.action = self.maybe(b",\"action\":")?;
        if self.eat(b",\"oplock\":\"") {
            expect.oplock = Some(match self.eat(b"lease\"") {
                true => OplockLevel::LEASE,
                false => OplockLevel::from_name(self.name()?)?,
            });
        }
        if self.eat(b",\"lease\":{\"state\":\"") {
            expect.lease = Some(self.lease()?);
        }
        expect.size = self.long(b",\"size\":")?;
        expect.attributes = self.maybe(b",\"attributes\":")?;
        expect.count = self.maybe(b",\"count\":")?;
        expect.data = self.data(b",\"data\":{\"blake3\":\"")?;
        expect.output = self.data(b",\"output\":{\"blake3\":\"")?;
        self.want(b"}")?;
        Some(expect)
    }

    fn lease(&mut self) -> Option<LeaseGrant> {
        let mut state = LeaseState::default();
        for letter in self.name()?.bytes() {
            state |= match letter {
                b'R' => LeaseState::READ,
                b'H' => LeaseState::HANDLE,
                b'W' => LeaseState::WRITE,
                _ => return None,
            };
        }
        let flags = self.maybe(b",\"flags\":")?.unwrap_or(0);
        let epoch = self.short(b",\"epoch\":")?;
        self.want(b"}")?;
        Some(LeaseGrant {
            state,
            flags,
            epoch,
        })
    }

    fn data(&mut self, begin: &[u8]) -> Option<Option<DataRef>> {
        if !self.eat(begin) {
            return Some(None);
        }
        let (hex, rest) = self.0.split_first_chunk::<64>()?;
        self.0 = rest;
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(hex.as_chunks::<2>().0) {
            let [high, low] = digits.map(nibble);
            *byte = high? << 4 | low?;
        }
        self.want(b"\",\"len\":")?;
        let len = self.small()?;
        self.want(b"}")?;
        Some(Some(DataRef {
            blake3: Digest(digest),
            len,
        }))
    }

    /// Takes `token` if it comes next. Inlined, it compares a few bytes with a constant.
    #[inline(always)]
    fn eat(&mut self, token: &[u8]) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    #[inline(always)]
    fn want(&mut self, token: &[u8]) -> Option<()> {
        self.eat(token).then_some(())
    }

    /// A number as JSON has it: no sign, no leading zero, no fraction (which what comes next would
    /// not fit).
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        let mut digits = 0usize;
        for byte in self.0 {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number.checked_mul(10)?.checked_add(digit.into())?;
            digits += 1;
        }
        if digits == 0 || digits > 1 && self.0.first() == Some(&b'0') {
            return None;
        }
        self.0 = self.0.get(digits..)?;
        Some(number)
    }

    #[inline]
    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// The number behind `key`, if that comes next. The outer `None` is for what is no such number.
    #[inline(always)]
    fn maybe(&mut self, key: &[u8]) -> Option<Option<u32>> {
        match self.eat(key) {
            true => self.small().map(Some),
            false => Some(None),
        }
    }

    #[inline(always)]
    fn long(&mut self, key: &[u8]) -> Option<Option<u64>> {
        match self.eat(key) {
            true => self.number().map(Some),
            false => Some(None),
        }
    }

    #[inline(always)]
    fn short(&mut self, key: &[u8]) -> Option<u16> {
        match self.eat(key) {
            true => u16::try_from(self.number()?).ok(),
            false => Some(0),
        }
    }

    /// Up to 16 hex digits.
    fn hex_number(&mut self) -> Option<u64> {
        let mut number = 0;
        let mut digits = 0usize;
        for digit in self.0.iter().map_while(|byte| nibble(*byte)) {
            number = number << 4 | u64::from(digit);
            digits += 1;
        }
        self.0 = self.0.get(digits..)?;
        (1..=16).contains(&digits).then_some(number)
    }

    fn skip_file_id(&mut self) -> Option<()> {
        self.hex_number()?;
        self.want(b":")?;
        self.hex_number()?;
        self.want(b"\"")
    }

    /// A word up to its quotation mark, which is taken too.
    #[inline]
    fn name(&mut self) -> Option<&'a str> {
        let len = self.0.iter().position(|byte| *byte == b'"')?;
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest.get(1..)?;
        std::str::from_utf8(name).ok()
    }

    /// Any text up to its quotation mark, which is taken too.
    fn skip_text(&mut self) -> Option<()> {
        let mut bytes = self.0.iter().enumerate();
        let mut ascii = true;
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    let (text, rest) = self.0.split_at_checked(at)?;
                    self.0 = rest.get(1..)?;
                    let sound = ascii || std::str::from_utf8(text).is_ok();
                    return sound.then_some(());
                }
                128.. => ascii = false,
                b'\\' => match bytes.next()?.1 {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    _ => return None,
                },
                0..=31 => return None,
                _ => {}
            }
        }
        None
    }

    /// The request that comes next, as it is: up to where its object, that of its command and that
    /// of the action end and another key follows. A name may look like that too: then what is left
    /// is no line, or the request is none, and the line is left to serde.
    fn request(&mut self) -> Option<&'a [u8]> {
        let ends = |at: &usize| self.0.get(*at..).is_some_and(|it| it.starts_with(END));
        let end = memchr::memchr_iter(b'}', self.0).find(ends)?;
        let (request, rest) = self.0.split_at_checked(end + 2)?;
        self.0 = rest;
        Some(request)
    }
}

/// The value of a hex digit.
#[inline]
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The ends of a request, and the beginning of the next key.
const END: &[u8] = b"}}},\"";

#[cfg(test)]
mod tests {
    use smbench_core::workload::Action;

    use super::*;

    const CREATE: &str = r#"{"id":16,"at_us":86670,"client":0,"conn":0,"session":0,"tree":0,"cmd":"CREATE","mid":6,"charge":1,"credits":1,"flags":"0x10000000","frame":50,"compound":{"first":16,"position":0,"related":true,"last":true},"do":{"request":{"CREATE":{"name":"team\\a\"}b.docx","access":"0xc0010000","share":"rwd","disposition":"open_if","contexts":[{"QFid":{}}]}}},"open":1,"after":[{"id":3,"rule":"setup"},{"id":15,"rule":"wire","on":"sent","inferred":true}],"expect":{"frame":51,"status":"SUCCESS","latency_us":569,"interim_us":7,"credits":1,"file_id":"f12064d8:732e34a9","action":2,"oplock":"lease","lease":{"state":"RHW","epoch":1},"size":0,"attributes":32}}"#;
    const WRITE: &str = r#"{"id":17,"at_us":91507,"client":0,"conn":0,"session":0,"tree":0,"cmd":"WRITE","mid":7,"charge":1,"credits":1,"channel_sequence":2,"process_id":65279,"raw_tree":5,"frame":65,"do":{"request":{"WRITE":{"length":15000,"offset":0}}},"path":"team\\b\u00e4r.docx","open":1,"reclaims":2,"previous_session":3,"resume_key_of":4,"cancels":5,"data":{"blake3":"c356eab60f7d7b9109ea1cdaa5a1b3ce0fdec9de351b5cac8505b546bbcfda72","len":15000},"cut":true,"expect":{"frame":68,"status":"ACCESS_DENIED","latency_us":511,"count":15000}}"#;

    /// `read` as [`Operation`]'s own reading has it, without what engines do not look at.
    fn slow(line: &str) -> Operation {
        let read: Operation = serde_json::from_str(line).expect("an operation");
        let expect = read.expect.map(|expect| Expect {
            frame: 0,
            file_id: None,
            ..expect
        });
        Operation {
            mid: 0,
            frame: 0,
            path: None,
            action: Operation::blank().action,
            expect,
            ..read
        }
    }

    #[test]
    fn whatever_it_takes_comes_out_as_from_serde() {
        let mut op = Operation::blank();
        for line in [CREATE, &WRITE.replace("\\u00e4", "\u{e4}"), CREATE] {
            let request = read(line.as_bytes(), &mut op).expect("as compile writes it");
            assert_eq!(op, slow(line));
            let whole: Operation = serde_json::from_str(line).expect("an operation");
            let request = serde_json::from_slice(request).expect("a request");
            assert_eq!(Action::Request(request), whole.action);
        }
        assert!(read(format!("{CREATE}\n").as_bytes(), &mut op).is_some());
    }

    #[test]
    fn lines_that_are_odd_or_wrong_are_left_to_serde() {
        for (from, to) in [
            ("\"id\":16", "\"id\": 16"),
            ("\"id\":16", "\"id\":016"),
            ("\"id\":16", "\"id\":16.0"),
            ("\"id\":16", "\"id\":4294967296"),
            ("\"at_us\":86670", "\"at_us\":18446744073709551616"),
            ("\"at_us\":86670,", "\"at_us\":86670,\"new\":1,"),
            ("\"cmd\":\"CREATE\"", "\"cmd\":\"DELETE\""),
            ("0x10000000", "0x110000000"),
            ("0x10000000", "10000000"),
            ("\"rule\":\"setup\"", "\"rule\":\"law\""),
            ("\"SUCCESS\"", "0"),
            ("\"RHW\"", "\"0x7\""),
            ("f12064d8:732e34a9", "f12064d8"),
            ("\"after\":[", "\"after\":[]"),
            ("b.docx", "}}},"),
            ("\"open\":1,", "\"open\":1,\"rpc\":[{\"kind\":\"bind\"}],"),
        ] {
            let line = CREATE.replacen(from, to, 1);
            assert_ne!(line, CREATE);
            assert!(
                read(line.as_bytes(), &mut Operation::blank()).is_none(),
                "{line}"
            );
        }
        for end in [" ", "\r\n", "\n\n", "}"] {
            let line = format!("{CREATE}{end}");
            assert!(
                read(line.as_bytes(), &mut Operation::blank()).is_none(),
                "{line}"
            );
        }
        assert!(
            read(WRITE.as_bytes(), &mut Operation::blank()).is_none(),
            "\\u escapes"
        );
        for path in ["a\\q", "a\u{1}", "a\\"] {
            let line = WRITE.replace("team\\\\b\\u00e4r.docx", path);
            assert!(
                read(line.as_bytes(), &mut Operation::blank()).is_none(),
                "{line}"
            );
        }
        let mut bytes = WRITE.replace("\\u00e4", "?").into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'?').expect("there");
        bytes[at] = 0xff;
        assert!(read(&bytes, &mut Operation::blank()).is_none(), "not UTF-8");
        for len in 0..CREATE.len() {
            let cut = &CREATE.as_bytes()[..len];
            assert!(
                read(cut, &mut Operation::blank()).is_none(),
                "cut after {len} bytes"
            );
        }
    }
}
