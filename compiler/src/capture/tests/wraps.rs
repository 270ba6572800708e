//! What packets are wrapped in, and what keeps equal addresses apart.

use super::*;

/// A connection that sends `answer` for `request`; `wrap` puts each packet into its network.
fn exchange(seqs: u32, answer: &[u8], wrap: impl Fn(bool, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let request = framed(&smb2(100, false));
    let [first, last] = [100_u32, 204].map(|it| it + seqs);
    let up = |seq, ack, flags, payload: &[u8]| {
        let segment = tcp(CLIENT.1, SERVER.1, seq, ack, flags, payload);
        wrap(true, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
    };
    let down = |seq, ack, flags, payload: &[u8]| {
        let segment = tcp(SERVER.1, CLIENT.1, seq, ack, flags, payload);
        wrap(false, &ipv4(SERVER.0, CLIENT.0, 6, &segment))
    };
    let answer = framed(answer);
    let end = 900 + u32::try_from(answer.len()).unwrap();
    vec![
        up(first - 1, 0, SYN, &[]),
        down(899, first, SYN | ACK, &[]),
        up(first, 900, ACK, &request),
        down(900, last, ACK, &answer),
        up(last, end, FIN, &[]),
        down(end, last + 1, FIN, &[]),
        up(last + 1, end + 1, ACK, &[]),
    ]
}

#[test]
fn the_last_acknowledgement_is_no_loss() {
    let mut packets = exchange(0, &smb2(80, true), |_, packet| ether(0x0800, packet));
    let seen = ethernet(&packets);
    assert_eq!(seen.stats.late_segments, 0);
    // Nor is anything that comes again, be it the beginning.
    packets.extend(packets.clone());
    let again = ethernet(&packets);
    assert_eq!((again.events, again.stats.late_segments), (seen.events, 0));
    // Bytes that are new are.
    packets.push(up(204, ACK, &[5; 10]));
    assert_eq!(ethernet(&packets).stats.late_segments, 1);
}

/// What a proxy is told and tells, then SMB; in segments of at most `size` bytes.
fn through_proxy(port: u16, words: &[(bool, &[u8])], size: usize) -> Seen {
    let (request, answer) = (framed(&smb2(100, false)), framed(&smb2(80, true)));
    let mut packets = Vec::new();
    let (mut client, mut server) = (100_u32, 500_u32);
    let send = |from: (u16, u16), seq: &mut u32, ack: u32, bytes: &[u8]| -> Vec<Vec<u8>> {
        let part = |part: &[u8]| {
            let segment = tcp(from.0, from.1, *seq, ack, ACK, part);
            *seq += u32::try_from(part.len()).unwrap();
            let ends = if from.1 == port {
                (CLIENT.0, SERVER.0)
            } else {
                (SERVER.0, CLIENT.0)
            };
            ether(0x0800, &ipv4(ends.0, ends.1, 6, &segment))
        };
        bytes.chunks(size).map(part).collect()
    };
    let syn = tcp(CLIENT.1, port, 99, 0, SYN, &[]);
    packets.push(ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &syn)));
    let exchange = [(true, request.as_slice()), (false, answer.as_slice())];
    for (is_up, bytes) in words.iter().chain(&exchange) {
        packets.extend(if *is_up {
            send((CLIENT.1, port), &mut client, server, bytes)
        } else {
            send((port, CLIENT.1), &mut server, client, bytes)
        });
    }
    ethernet(&packets)
}

#[test]
fn smb_behind_a_proxy() {
    let socks5: &[(bool, &[u8])] = &[
        (true, &[5, 2, 0, 2]),
        (false, &[5, 2]),
        (true, b"\x01\x04anna\x07Secret1"),
        (false, &[1, 0]),
        (true, &[5, 1, 0, 1, 10, 1, 0, 9, 1, 0xbd]),
        (false, &[5, 0, 0, 1, 10, 1, 0, 9, 1, 0xbd]),
    ];
    let socks4: &[(bool, &[u8])] = &[
        (true, b"\x04\x01\x01\xbd\x0a\x01\x00\x09anna\0"),
        (false, &[0, 0x5a, 1, 0xbd, 10, 1, 0, 9]),
    ];
    let connect: &[(bool, &[u8])] = &[
        (true, b"CONNECT nas:445 HTTP/1.1\r\nHost: nas:445\r\n\r\n"),
        (false, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
        (
            true,
            b"CONNECT nas:445 HTTP/1.1\r\nHost: nas:445\r\nX: y\r\n\r\n",
        ),
        (false, b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ];
    let proxy: &[(bool, &[u8])] = &[(true, b"PROXY TCP4 10.0.0.1 10.0.0.2 50000 445\r\n")];
    let proxy2: &[(bool, &[u8])] = &[(
        true,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbd",
    )];
    for (port, words) in [
        (1080, socks5),
        (1080, socks4),
        (3128, connect),
        (8445, proxy),
        (8445, proxy2),
    ] {
        for size in [1000, 21, 13] {
            let seen = through_proxy(port, words, size);
            let name = format!("{port}, segments of {size}: {:?}", seen.events);
            let messages: Vec<_> = seen.frames.iter().map(|it| it.2.clone()).collect();
            assert_eq!(messages, [smb2(100, false), smb2(80, true)], "{name}");
            assert!(
                seen.events[0].contains("10.0.0.1:50000 > 10.0.0.2"),
                "{name}"
            );
            let said: usize = words.iter().map(|(_, bytes)| bytes.len()).sum();
            let counted = (seen.stats.proxy_bytes, seen.stats.skipped_bytes);
            assert_eq!(counted, (said.try_into().unwrap(), 0), "{name}");
        }
    }
}

/// A page that holds SMB, asked for by itself or from a proxy.
#[test]
fn other_things_behind_a_proxy_are_let_go() {
    let page = [
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        framed(&smb2(100, true)),
    ]
    .concat();
    let get: &[(bool, &[u8])] = &[(true, b"GET / HTTP/1.1\r\n\r\n"), (false, &page)];
    assert_eq!(through_proxy(8080, get, 1000).frames.len(), 0);
    let tls = [0x17; 20_000];
    let other: &[(bool, &[u8])] = &[
        (true, b"CONNECT host:443 HTTP/1.1\r\n\r\n"),
        (false, b"HTTP/1.1 200 OK\r\n\r\n"),
        (true, &tls),
        (false, &tls),
    ];
    let seen = through_proxy(3128, other, 1000);
    assert_eq!(seen.frames.len(), 0, "{:?}", seen.events);
    assert!(seen.stats.non_smb_segments > 0);
}
