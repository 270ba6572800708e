use super::*;
use crate::rpc::query;

const SRVSVC: &str = "4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0";
const SVCCTL: &str = "367abb81-9844-35f1-ad32-98f038001003:2.0";

/// Builds PDUs in one of the two byte orders.
#[derive(Clone, Copy)]
struct Made {
    big: bool,
}

impl Made {
    fn half(self, value: usize) -> [u8; 2] {
        let value = u16::try_from(value).unwrap();
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn pdu(self, kind: u8, flags: u8, body: &[u8], auth: usize) -> Vec<u8> {
        let drep = if self.big { 0 } else { 0x10 };
        let mut out = vec![5, 0, kind, flags, drep, 0, 0, 0];
        out.extend(self.half(16 + body.len()));
        out.extend(self.half(auth));
        out.extend([0; 4]);
        out.extend(body);
        out
    }

    fn bind(self, kind: u8, contexts: &[(usize, &str, usize)]) -> Vec<u8> {
        let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0];
        body.extend([u8::try_from(contexts.len()).unwrap(), 0, 0, 0]);
        for (id, interface, transfers) in contexts {
            body.extend(self.half(*id));
            body.extend([u8::try_from(*transfers).unwrap(), 0]);
            let interface: Interface = interface.parse().unwrap();
            let mut uuid = interface.uuid.0.to_be_bytes();
            let mut version = [interface.major, interface.minor];
            if self.big {
                version.reverse();
            } else {
                uuid[..4].reverse();
                uuid[4..6].reverse();
                uuid[6..8].reverse();
            }
            body.extend(uuid);
            body.extend(version.iter().flat_map(|it| self.half(usize::from(*it))));
            body.extend(vec![0x77; 20 * transfers]);
        }
        self.pdu(kind, 3, &body, 0)
    }

    fn request(self, flags: u8, context: usize, opnum: usize, stub: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(self.half(context));
        body.extend(self.half(opnum));
        body.extend(stub);
        self.pdu(0, flags, &body, 0)
    }
}

const LITTLE: Made = Made { big: false };
const WHOLE: u8 = 3;

fn short(calls: &[Call]) -> Vec<String> {
    calls
        .iter()
        .map(|it| {
            let interface = it.interface.map_or("-".into(), |it| it.to_string());
            let opnum = it.opnum.map_or("-".into(), |it| it.to_string());
            let more = if it.continues { " more" } else { "" };
            let auth = if it.auth { " auth" } else { "" };
            format!(
                "{:?} {} {interface} {opnum}{more}{auth}",
                it.kind, it.context
            )
        })
        .collect()
}

#[test]
fn a_binding_tells_whose_functions_are_called() {
    for made in [LITTLE, Made { big: true }] {
        let mut it = Conversation::default();
        let bind = made.bind(11, &[(0, SRVSVC, 1), (1, SRVSVC, 2), (7, SVCCTL, 0)]);
        assert_eq!(
            short(&it.feed(&bind)),
            [
                format!("Bind 0 {SRVSVC} -"),
                format!("Bind 1 {SRVSVC} -"),
                format!("Bind 7 {SVCCTL} -"),
            ]
        );
        let calls = it.feed(&made.request(WHOLE, 1, 15, b"stub"));
        assert_eq!(short(&calls), [format!("Request 1 {SRVSVC} 15")]);
        let calls = it.feed(&made.request(WHOLE, 7, 12, &[5; 300]));
        assert_eq!(short(&calls), [format!("Request 7 {SVCCTL} 12")]);
        let calls = it.feed(&made.request(WHOLE, 2, 12, &[]));
        assert_eq!(short(&calls), ["Request 2 - 12"]);
        let alter = made.bind(14, &[(2, SVCCTL, 1)]);
        assert_eq!(
            short(&it.feed(&alter)),
            [format!("AlterContext 2 {SVCCTL} -")]
        );
        let calls = it.feed(&made.request(WHOLE, 2, 12, &[]));
        assert_eq!(short(&calls), [format!("Request 2 {SVCCTL} 12")]);
    }
}

#[test]
fn any_cut_tells_the_same() {
    let mut bytes = LITTLE.bind(11, &[(0, SRVSVC, 1), (1, SVCCTL, 3)]);
    bytes.extend(LITTLE.request(1, 0, 15, &[1; 40]));
    bytes.extend(LITTLE.request(2, 0, 15, &[2; 10]));
    bytes.extend(LITTLE.request(WHOLE, 1, 12, &[]));
    bytes.extend(LITTLE.pdu(18, 3, &[], 0));
    let whole = Conversation::default().feed(&bytes);
    assert_eq!(
        short(&whole),
        [
            format!("Bind 0 {SRVSVC} -"),
            format!("Bind 1 {SVCCTL} -"),
            format!("Request 0 {SRVSVC} 15"),
            format!("Request 0 {SRVSVC} 15 more"),
            format!("Request 1 {SVCCTL} 12"),
            "Abandon 0 - -".into(),
        ]
    );
    let known = |calls: Vec<Call>| -> Vec<Call> {
        let told = |it: &Call| it.kind != Kind::Begun;
        calls.into_iter().filter(told).collect()
    };
    for size in 1..bytes.len() {
        let mut it = Conversation::default();
        let mut calls = Vec::new();
        for piece in bytes.chunks(size) {
            let told = it.feed(piece);
            assert!(!told.is_empty());
            calls.extend(known(told));
        }
        if calls.last().map(|it| it.kind) == Some(Kind::Unreadable) {
            // Some piece inside a PDU begins like a PDU.
            assert!(bytes.chunks(size).any(|piece| piece[0] == 5), "{size}");
            continue;
        }
        // Pieces that only go on tell again what they go on with.
        calls.dedup_by(|next, before| {
            next.continues && (next.kind, next.opnum) == (before.kind, before.opnum)
        });
        let mut once = whole.clone();
        once.dedup_by(|next, before| next.continues && next.opnum == before.opnum);
        assert_eq!(short(&calls), short(&once), "{size}");
    }
}

#[test]
fn what_one_server_would_call_and_another_not_is_unreadable() {
    let mut it = Conversation::default();
    it.feed(&LITTLE.bind(11, &[(0, SRVSVC, 1), (1, SVCCTL, 1)]));
    // A server in message mode calls CreateService; one that counts bytes takes it for arguments.
    let inner = LITTLE.request(WHOLE, 1, 12, &[]);
    let outer = LITTLE.request(WHOLE, 0, 15, &inner);
    let (head, body) = outer.split_at(24);
    assert_eq!(short(&it.feed(head)), [format!("Request 0 {SRVSVC} 15")]);
    assert_eq!(it.clone().feed(body)[0].kind, Kind::Unreadable);
    assert_eq!(it.feed(b"only arguments")[0].kind, Kind::Request);
    // Two interfaces for one context: which of them holds depends on the server.
    let mut it = Conversation::default();
    it.feed(&LITTLE.bind(11, &[(0, SVCCTL, 1)]));
    it.feed(&LITTLE.bind(14, &[(0, SRVSVC, 1)]));
    let calls = it.feed(&LITTLE.request(WHOLE, 0, 12, &[]));
    assert_eq!(short(&calls), ["Request 0 - 12"]);
    it.feed(&LITTLE.bind(14, &[(0, SRVSVC, 1)]));
    let calls = it.feed(&LITTLE.request(WHOLE, 0, 15, &[]));
    assert_eq!(short(&calls), ["Request 0 - 15"]);
}

#[test]
fn what_is_no_rpc_is_unreadable_for_good() {
    let bind = LITTLE.bind(11, &[(0, SRVSVC, 1)]);
    let mut version = bind.clone();
    version[0] = 4;
    let mut minor = bind.clone();
    minor[1] = 2;
    let mut letters = bind.clone();
    letters[4] = 0x11;
    let mut short_bind = bind.clone();
    short_bind[8] = 27;
    let mut cut_element = bind.clone();
    cut_element[8] = 60;
    let short_request = LITTLE.pdu(0, WHOLE, &[0; 7], 0);
    let shorter = [5, 0, 0, 3, 0x10, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let sql = b"\x12\x01\x00\x2f\x00\x00\x01\x00 a login to a data base".to_vec();
    for bytes in [
        version,
        minor,
        letters,
        short_bind,
        cut_element,
        short_request,
        shorter,
        sql,
    ] {
        let mut it = Conversation::default();
        let calls = it.feed(&bytes);
        assert_eq!(calls.last().unwrap().kind, Kind::Unreadable, "{bytes:?}");
        let calls = it.feed(&bind);
        assert_eq!(short(&calls), ["Unreadable 0 - -"], "{bytes:?}");
    }
}

#[test]
fn a_gap_ends_where_a_piece_begins_with_a_bind() {
    let mut it = Conversation::default();
    let bind = LITTLE.bind(11, &[(0, SRVSVC, 1)]);
    let request = LITTLE.request(WHOLE, 0, 15, &[]);
    it.feed(&bind);
    it.lose();
    assert_eq!(short(&it.feed(&request)), ["Unreadable 0 - -"]);
    assert_eq!(
        short(&it.feed(&LITTLE.bind(14, &[(0, SRVSVC, 1)]))),
        ["Unreadable 0 - -"]
    );
    assert_eq!(short(&it.feed(&bind)), [format!("Bind 0 {SRVSVC} -")]);
    assert_eq!(
        short(&it.feed(&request)),
        [format!("Request 0 {SRVSVC} 15")]
    );
}

#[test]
fn authentication_shows() {
    let mut it = Conversation::default();
    it.feed(&LITTLE.bind(11, &[(0, SRVSVC, 1)]));
    let mut body = vec![0; 6];
    body.extend([15, 0]);
    body.extend([9; 24]);
    let calls = it.feed(&LITTLE.pdu(0, WHOLE, &body, 16));
    assert_eq!(short(&calls), [format!("Request 0 {SRVSVC} 15 auth")]);
    let calls = it.feed(&LITTLE.pdu(16, WHOLE, &[9; 28], 16));
    assert_eq!(short(&calls), ["Other(16) 0 - - auth"]);
}

#[test]
fn contexts_are_bounded() {
    let mut it = Conversation::default();
    let all: Vec<_> = (0..MAX_CONTEXTS).map(|id| (id, SRVSVC, 1)).collect();
    assert_eq!(it.feed(&LITTLE.bind(11, &all)).len(), MAX_CONTEXTS);
    let again = it.feed(&LITTLE.bind(14, &[(3, SRVSVC, 1)]));
    assert_eq!(short(&again), [format!("AlterContext 3 {SRVSVC} -")]);
    let more = it.feed(&LITTLE.bind(14, &[(MAX_CONTEXTS, SRVSVC, 1)]));
    assert_eq!(short(&more), ["Unreadable 0 - -"]);
}

#[test]
fn calls_of_one_piece_are_bounded() {
    let mut it = Conversation::default();
    let cancel = LITTLE.pdu(18, WHOLE, &[], 0);
    let calls = it.feed(&cancel.repeat(MAX_CALLS));
    assert!(calls.iter().all(|it| it.kind == Kind::Abandon));
    let calls = it.feed(&cancel.repeat(MAX_CALLS + 1));
    assert_eq!(calls.len(), MAX_CALLS + 1);
    assert_eq!(calls[MAX_CALLS].kind, Kind::Unreadable);
    assert_eq!(short(&it.feed(&cancel)), ["Unreadable 0 - -"]);
}

#[test]
fn bytes_that_are_held_back_were_never_sent() {
    let mut it = Conversation::default();
    let create = LITTLE.request(WHOLE, 0, 12, &[]);
    let query = LITTLE.request(WHOLE, 0, 15, &[]);
    it.feed_if(&LITTLE.bind(11, &[(0, SVCCTL, 1)]), query::refusal)
        .unwrap();
    assert_eq!(
        it.feed_if(&create, query::refusal),
        Err(query::Refusal::Call)
    );
    // Half a query went out: the rest of another PDU does not complete it.
    it.feed_if(&query[..20], query::refusal).unwrap();
    assert_eq!(
        it.feed_if(&create, query::refusal),
        Err(query::Refusal::Call)
    );
    it.feed_if(&query[20..], query::refusal).unwrap();
    // The end of what was held back is no PDU.
    assert_eq!(
        it.feed_if(&create[20..], query::refusal),
        Err(query::Refusal::Call)
    );
    it.feed_if(&query, query::refusal).unwrap();
}

#[test]
fn no_bytes_panic_or_are_passed_over() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        u8::try_from(seed >> 56).unwrap()
    };
    let mut base = LITTLE.bind(11, &[(0, SRVSVC, 1), (1, SVCCTL, 3)]);
    base.extend(LITTLE.request(WHOLE, 0, 15, &[1; 40]));
    for _ in 0..20_000 {
        let mut bytes = base.clone();
        for _ in 0..random() % 4 {
            let at = usize::from(random()) % bytes.len();
            bytes[at] = random();
        }
        let mut it = Conversation::default();
        let size = 1 + usize::from(random());
        for piece in bytes.chunks(size) {
            assert!(!it.feed(piece).is_empty());
            assert!(it.held.len() < 30 && it.contexts.len() <= MAX_CONTEXTS);
        }
        assert!(it.feed(&[]).is_empty());
    }
}

#[test]
fn an_interface_is_read_as_it_is_written() {
    let interface: Interface = SVCCTL.parse().unwrap();
    assert_eq!((interface.major, interface.minor), (2, 0));
    assert_eq!(interface.to_string(), SVCCTL);
    for bad in [
        "",
        "367abb81-9844-35f1-ad32-98f038001003",
        "367ABB81-9844-35f1-ad32-98f038001003:2.0",
        "367abb8198-44-35f1-ad32-98f038001003:2.0",
        "367abb81-9844-35f1-ad32-98f038001003:2",
        "367abb81-9844-35f1-ad32-98f038001003:+2.0",
        "367abb81-9844-35f1-ad32-98f0380010030:2.0",
    ] {
        assert!(bad.parse::<Interface>().is_err(), "{bad}");
    }
}
