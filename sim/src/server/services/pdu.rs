//! Connection-oriented RPC on one pipe: bindings, calls, fragments. [C706] 12, [MS-RPCE] 2.2.2, 3.3.

use std::collections::BTreeMap;

use super::ndr::Syntax;

/// A call that is whole.
pub(super) struct Called<'a> {
    pub(super) service: &'static str,
    pub(super) opnum: u16,
    pub(super) syntax: Syntax,
    pub(super) arguments: &'a [u8],
}

/// Why a call has no result. [C706] appendix N.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fault(u32);

impl Fault {
    /// nca_s_op_rng_error.
    pub(super) const UNKNOWN_CALL: Self = Self(0x1c01_0002);
    /// nca_s_unk_if.
    pub(super) const UNKNOWN_INTERFACE: Self = Self(0x1c01_0003);
    /// rpc_x_bad_stub_data.
    pub(super) const BAD_ARGUMENTS: Self = Self(0x0000_06f7);
    /// nca_s_proto_error.
    const PROTOCOL: Self = Self(0x1c01_000b);
}

/// What is no RPC, or more than is taken: the pipe is of no use any more.
#[derive(Debug)]
pub(super) struct Broken;

/// The server's side of one pipe.
#[derive(Debug)]
pub(super) struct Association {
    service: &'static str,
    group: u32,
    /// What came and is no whole PDU yet.
    unread: Vec<u8>,
    /// Presentation contexts that were accepted.
    contexts: BTreeMap<u16, Syntax>,
    /// Largest PDU that the client takes.
    most: usize,
    /// A call of which not all fragments came.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    call: u32,
    context: u16,
    opnum: u16,
    arguments: Vec<u8>,
}

/// Bytes of arguments that a call may have.
const ARGUMENTS: usize = 64 << 10;
/// Presentation contexts that a pipe may have.
const CONTEXTS: usize = 64;
/// Bytes of a PDU that we take, and that a client takes where it says nothing sensible.
const FRAGMENT: u16 = 4_280;
const HEAD: usize = 16;
const FIRST: u8 = 1;
const LAST: u8 = 2;
const OBJECT: u8 = 0x80;

/// Kinds of PDUs. [C706] 12.6.1.
mod kind {
    pub(super) const REQUEST: u8 = 0;
    pub(super) const RESPONSE: u8 = 2;
    pub(super) const FAULT: u8 = 3;
    pub(super) const BIND: u8 = 11;
    pub(super) const BIND_ACK: u8 = 12;
    pub(super) const BIND_NAK: u8 = 13;
    pub(super) const ALTER: u8 = 14;
    pub(super) const ALTER_ACK: u8 = 15;
}

/// Interfaces, each with its version: UUIDs as they are on the wire.
const SRVSVC: [u8; 20] = syntax(
    0x4b32_4fc8,
    0x1670,
    0x01d3,
    [0x12, 0x78, 0x5a, 0x47, 0xbf, 0x6e, 0xe1, 0x88],
    3,
);
const WKSSVC: [u8; 20] = syntax(
    0x6bff_d098,
    0xa112,
    0x3610,
    [0x98, 0x33, 0x46, 0xc3, 0xf8, 0x7e, 0x34, 0x5a],
    1,
);
/// NDR, 32 bits. [C706] appendix I.
const NDR: [u8; 20] = syntax(
    0x8a88_5d04,
    0x1ceb,
    0x11c9,
    [0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60],
    2,
);
/// NDR64. [MS-RPCE] 2.2.4.12.
const NDR64: [u8; 20] = syntax(
    0x7171_0533,
    0xbeba,
    0x4937,
    [0x83, 0x19, 0xb5, 0xdb, 0xef, 0x9c, 0xcc, 0x36],
    1,
);
/// Bind time feature negotiation: what begins a UUID so. [MS-RPCE] 2.2.2.14.
const FEATURES: [u8; 8] = [0x2c, 0x1c, 0xb7, 0x6c, 0x12, 0x98, 0x40, 0x45];

const fn syntax(a: u32, b: u16, c: u16, rest: [u8; 8], version: u32) -> [u8; 20] {
    let (a, b, c, v) = (
        a.to_le_bytes(),
        b.to_le_bytes(),
        c.to_le_bytes(),
        version.to_le_bytes(),
    );
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rest;
    [
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], r0, r1, r2, r3, r4, r5, r6, r7, v[0], v[1],
        v[2], v[3],
    ]
}

/// The common header of a PDU. [C706] 12.6.3.1.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    flags: u8,
    auth: u16,
    call: u32,
}

impl Association {
    /// On the pipe of a service; `number` tells it from others.
    pub(super) fn on(service: &'static str, number: u64) -> Self {
        Self {
            service,
            // 0 is none.
            group: u32::try_from(number & 0x7fff_ffff).unwrap_or(1).max(1),
            unread: Vec::new(),
            contexts: BTreeMap::new(),
            most: FRAGMENT.into(),
            partial: None,
        }
    }

    /// Takes what was written, and gives the messages that answer it.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        call: &dyn Fn(&Called<'_>) -> Result<Vec<u8>, Fault>,
    ) -> Result<Vec<Vec<u8>>, Broken> {
        self.unread.extend(bytes);
        let mut out = Vec::new();
        while let Some(len) = whole(&self.unread)? {
            let pdu: Vec<u8> = self.unread.drain(..len).collect();
            self.pdu(&pdu, call, &mut out)?;
        }
        match self.unread.len() > usize::from(u16::MAX) {
            true => Err(Broken),
            false => Ok(out),
        }
    }

    fn pdu(
        &mut self,
        pdu: &[u8],
        call: &dyn Fn(&Called<'_>) -> Result<Vec<u8>, Fault>,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Broken> {
        let head = Head {
            kind: byte(pdu, 2),
            flags: byte(pdu, 3),
            auth: short(pdu, 10),
            call: long(pdu, 12),
        };
        match head.kind {
            kind::BIND | kind::ALTER if head.auth > 0 => out.push(nak(head)),
            kind::BIND | kind::ALTER => out.push(self.bind(head, pdu)?),
            kind::REQUEST => self.request(head, pdu, call, out)?,
            // A client may cancel a call, or give it up: we have answered it already. [C706] 12.6.4.2.
            18 | 19 => {}
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn bind(&mut self, head: Head, pdu: &[u8]) -> Result<Vec<u8>, Broken> {
        let most = usize::from(short(pdu, 18));
        if most >= 128 {
            self.most = most.min(FRAGMENT.into());
        }
        let mut results = Vec::new();
        let mut at = 28;
        let count = byte(pdu, 24);
        for _ in 0..count {
            let element = pdu.get(at..).and_then(|it| it.get(..24)).ok_or(Broken)?;
            let (context, transfers) = (short(element, 0), usize::from(byte(element, 2)));
            let interface = element.get(4..).unwrap_or_default();
            let offered = pdu
                .get(at + 24..)
                .and_then(|it| it.get(..transfers * 20))
                .ok_or(Broken)?;
            at += 24 + transfers * 20;
            let known = match self.service {
                "srvsvc" => interface == SRVSVC,
                _ => interface == WKSSVC,
            };
            let is_offered = |syntax: [u8; 20]| offered.chunks_exact(20).any(|it| it == syntax);
            let mut syntaxes = [(NDR, Syntax::Ndr), (NDR64, Syntax::Ndr64)].into_iter();
            let chosen = syntaxes.find(|(syntax, _)| is_offered(*syntax));
            let features = offered.chunks_exact(20).any(|it| it.starts_with(&FEATURES));
            // [C706] 12.6.3.1, [MS-RPCE] 3.3.1.5.3: 0 accepted, 2 rejected with the reason, 3 features.
            let (result, reason, accepted) = match chosen {
                _ if features => (3_u16, 0_u16, [0; 20]),
                _ if !known => (2, 1, [0; 20]),
                Some((syntax, how)) if self.contexts.len() < CONTEXTS => {
                    self.contexts.insert(context, how);
                    (0, 0, syntax)
                }
                _ => (2, 2, [0; 20]),
            };
            results.extend(result.to_le_bytes());
            results.extend(reason.to_le_bytes());
            results.extend(accepted);
        }
        let mut body = Vec::new();
        body.extend(FRAGMENT.to_le_bytes());
        body.extend(FRAGMENT.to_le_bytes());
        body.extend(self.group.to_le_bytes());
        // The secondary address: the pipe, where a binding is new.
        let address = match head.kind {
            kind::BIND => format!("\\PIPE\\{}\0", self.service),
            _ => String::new(),
        };
        body.extend(u16::try_from(address.len()).unwrap_or(0).to_le_bytes());
        body.extend(address.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([count, 0, 0, 0]);
        body.extend(results);
        let kind = match head.kind {
            kind::BIND => kind::BIND_ACK,
            _ => kind::ALTER_ACK,
        };
        Ok(framed(kind, FIRST | LAST, head.call, &body))
    }

    fn request(
        &mut self,
        head: Head,
        pdu: &[u8],
        call: &dyn Fn(&Called<'_>) -> Result<Vec<u8>, Fault>,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Broken> {
        let begin = if head.flags & OBJECT != 0 { 40 } else { 24 };
        let arguments = pdu.get(begin..).ok_or(Broken)?;
        let context = short(pdu, 20);
        if head.auth > 0 {
            out.push(fault(head.call, context, Fault::PROTOCOL));
            return Ok(());
        }
        let mut whole = match self.partial.take() {
            _ if head.flags & FIRST != 0 => Partial {
                call: head.call,
                context,
                opnum: short(pdu, 22),
                arguments: Vec::new(),
            },
            Some(partial) if partial.call == head.call => partial,
            _ => return Err(Broken),
        };
        if whole.arguments.len() + arguments.len() > ARGUMENTS {
            return Err(Broken);
        }
        whole.arguments.extend(arguments);
        if head.flags & LAST == 0 {
            self.partial = Some(whole);
            return Ok(());
        }
        let result = match self.contexts.get(&whole.context) {
            Some(syntax) => call(&Called {
                service: self.service,
                opnum: whole.opnum,
                syntax: *syntax,
                arguments: &whole.arguments,
            }),
            None => Err(Fault::UNKNOWN_INTERFACE),
        };
        match result {
            Ok(result) => self.respond(&whole, &result, out),
            Err(why) => out.push(fault(whole.call, whole.context, why)),
        }
        Ok(())
    }

    /// A result, in as many fragments as the client needs.
    fn respond(&self, of: &Partial, result: &[u8], out: &mut Vec<Vec<u8>>) {
        // Fragments but the last hold a multiple of 8. [C706] 12.6.3.5
        let room = (self.most - HEAD - 8) / 8 * 8;
        let mut pieces: Vec<&[u8]> = result.chunks(room).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let last = pieces.len() - 1;
        let mut left = result.len();
        for (at, piece) in pieces.into_iter().enumerate() {
            let mut flags = 0;
            if at == 0 {
                flags |= FIRST;
            }
            if at == last {
                flags |= LAST;
            }
            let mut body = Vec::new();
            body.extend(u32::try_from(left).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(of.context.to_le_bytes());
            body.extend([0, 0]);
            body.extend(piece);
            left -= piece.len();
            out.push(framed(kind::RESPONSE, flags, of.call, &body));
        }
    }
}

/// The length of the first PDU, where all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    if bytes.len() < HEAD {
        return Ok(None);
    }
    let len = usize::from(short(bytes, 8));
    // Version 5, little-endian: [MS-RPCE] 2.2.2.2 has nothing else.
    if byte(bytes, 0) != 5 || byte(bytes, 4) & 0xf0 != 0x10 || len < HEAD {
        return Err(Broken);
    }
    Ok((bytes.len() >= len).then_some(len))
}

fn framed(kind: u8, flags: u8, call: u32, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(HEAD + body.len()).unwrap_or(u16::MAX);
    let mut out = vec![5, 0, kind, flags, 0x10, 0, 0, 0];
    out.extend(len.to_le_bytes());
    out.extend([0, 0]);
    out.extend(call.to_le_bytes());
    out.extend(body);
    out
}

fn fault(call: u32, context: u16, why: Fault) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(context.to_le_bytes());
    body.extend([0, 0]);
    body.extend(why.0.to_le_bytes());
    body.extend([0; 4]);
    framed(kind::FAULT, FIRST | LAST, call, &body)
}

/// Nobody logs in here. [MS-RPCE] 2.2.2.5: authentication_type_not_recognized.
fn nak(head: Head) -> Vec<u8> {
    framed(kind::BIND_NAK, FIRST | LAST, head.call, &[8, 0, 1, 5, 0])
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([byte(bytes, at), byte(bytes, at + 1)])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(interface: [u8; 20], transfer: [u8; 20]) -> Vec<u8> {
        let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
        body.extend(interface);
        body.extend(transfer);
        framed(kind::BIND, FIRST | LAST, 1, &body)
    }

    fn request(flags: u8, opnum: u16, arguments: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 6];
        body.extend(opnum.to_le_bytes());
        body.extend(arguments);
        framed(kind::REQUEST, flags, 2, &body)
    }

    fn echo(called: &Called<'_>) -> Result<Vec<u8>, Fault> {
        match called.opnum {
            1 => Ok(called.arguments.to_vec()),
            2 => Ok(vec![7; 10_000]),
            _ => Err(Fault::UNKNOWN_CALL),
        }
    }

    #[test]
    fn a_call_comes_in_pieces_and_its_result_goes_in_fragments() {
        let mut it = Association::on("srvsvc", 1);
        let bound = it.feed(&bind(SRVSVC, NDR), &echo).unwrap();
        assert_eq!(
            (byte(&bound[0], 2), short(&bound[0], 8)),
            (kind::BIND_ACK, 68)
        );
        let mut bytes = request(FIRST, 1, b"abcd");
        bytes.extend(request(LAST, 1, b"efgh"));
        let mut got = Vec::new();
        for byte in bytes {
            got.extend(it.feed(&[byte], &echo).unwrap());
        }
        assert!(got.len() == 1 && got[0].ends_with(b"abcdefgh"), "{got:?}");
        let got = it.feed(&request(FIRST | LAST, 2, b""), &echo).unwrap();
        let lens: Vec<usize> = got.iter().map(Vec::len).collect();
        assert_eq!(lens, [4_280, 4_280, 1_512]);
        let flags: Vec<u8> = got.iter().map(|it| byte(it, 3)).collect();
        assert_eq!(flags, [FIRST, 0, LAST]);
    }

    #[test]
    fn what_is_not_there_is_refused_as_rpc_does_it() {
        let mut it = Association::on("wkssvc", 1);
        let got = it.feed(&bind(SRVSVC, NDR), &echo).unwrap();
        // Rejected: abstract syntax not supported.
        assert_eq!((short(&got[0], 44), short(&got[0], 46)), (2, 1));
        let got = it.feed(&request(FIRST | LAST, 1, b""), &echo).unwrap();
        assert_eq!(
            (byte(&got[0], 2), long(&got[0], 24)),
            (kind::FAULT, 0x1c01_0003)
        );
        it.feed(&bind(WKSSVC, NDR), &echo).unwrap();
        let got = it.feed(&request(FIRST | LAST, 9, b""), &echo).unwrap();
        assert_eq!(
            (byte(&got[0], 2), long(&got[0], 24)),
            (kind::FAULT, 0x1c01_0002)
        );
        assert!(it.feed(&[0xff; 64], &echo).is_err());
        let mut it = Association::on("srvsvc", 1);
        let long = request(FIRST, 1, &[0; 60_000]);
        it.feed(&bind(SRVSVC, NDR), &echo).unwrap();
        assert!(
            it.feed(&long, &echo).is_ok() && it.feed(&request(0, 1, &[0; 60_000]), &echo).is_err()
        );
    }
}
