//! Bytes that nobody sane sends: cut short, bits flipped, lengths that lie.

use smbench_core::fscc::{DirectoryEntry, EaEntry, NotifyRecord, SetInfoPayload, StreamInfo};
use smbench_core::smb2::{
    Body, Command, CompressedFrame, FileInfoClass, Fsctl, Header, HeaderFlags, InfoClass, InfoType,
    IoctlInput, IoctlOutput, Message, Pdu, Request, Response, Smb1Negotiate, TransformHeader,
};

use crate::generate::{Gen, REQUESTS};
use crate::{check, corpus};

fn samples() -> Vec<Vec<u8>> {
    let mut source = Gen(2);
    let mut samples: Vec<Vec<u8>> = (0..REQUESTS * 20)
        .map(|round| {
            let request = source.request(round % REQUESTS);
            let bulk = vec![9; request.bulk_len() as usize];
            let header = source.header(request.command());
            let mut pdu = Vec::new();
            Message::new(header, Body::Request(request)).encode(&bulk, &mut pdu);
            pdu
        })
        .collect();
    let (pdus, _) = corpus();
    samples.extend(pdus.into_iter().filter(|pdu| pdu.len() < 2000).step_by(29));
    samples
}

#[test]
fn messages_cut_short_come_back() {
    for pdu in samples().iter().step_by(3) {
        for len in 0..pdu.len() {
            if len < 64 {
                assert!(Header::decode(&pdu[..len]).is_err());
            } else {
                check(&pdu[..len]);
            }
        }
    }
}

#[test]
fn messages_with_flipped_bits_come_back() {
    let mut source = Gen(3);
    for pdu in samples() {
        for _ in 0..40 {
            let mut pdu = pdu.clone();
            for _ in 0..=source.below(4) {
                // The protocol id and StructureSize of the header stay.
                let at = 6 + source.below(pdu.len() - 6);
                match source.below(3) {
                    0 => pdu[at] = source.next() as u8,
                    1 => pdu[at] = [0, 1, 0x7f, 0xff][source.below(4)],
                    _ => pdu[at] ^= 1 << source.below(8),
                }
            }
            check(&pdu);
            Pdu::chain(&pdu).for_each(drop);
        }
    }
}

#[test]
fn bodies_of_noise_come_back() {
    let mut source = Gen(4);
    let sizes = [
        2, 4, 9, 16, 17, 24, 25, 33, 36, 41, 44, 48, 49, 57, 60, 65, 89,
    ];
    for round in 0..40_000 {
        let mut header = source.header(Command((round % 20) as u16));
        if source.below(2) == 0 {
            header.flags.insert(HeaderFlags::SERVER_TO_REDIR);
        }
        let mut pdu = Vec::new();
        header.encode(&mut pdu);
        pdu.extend([sizes[source.below(sizes.len())], 0]);
        let sparse = source.below(2) == 0;
        let noise = source.bytes(200);
        pdu.extend(
            noise
                .iter()
                .map(|byte| if sparse && byte & 3 != 0 { 0 } else { *byte }),
        );
        check(&pdu);
    }
}

#[test]
fn lengths_that_lie_claim_no_memory() {
    let mut source = Gen(5);
    for round in 0..REQUESTS {
        for response in [false, true] {
            let request = source.request(round);
            let mut header = Header {
                command: request.command(),
                ..Header::default()
            };
            if response {
                header.flags.insert(HeaderFlags::SERVER_TO_REDIR);
            }
            let mut pdu = Vec::new();
            header.encode(&mut pdu);
            let sizes = [
                36, 25, 4, 9, 4, 57, 24, 24, 49, 49, 48, 57, 4, 4, 33, 32, 41, 33, 24, 36,
            ];
            let replies = [
                65, 9, 4, 16, 4, 89, 60, 4, 17, 17, 4, 49, 4, 4, 9, 9, 9, 2, 24, 36,
            ];
            pdu.extend([
                if response {
                    replies[round]
                } else {
                    sizes[round]
                },
                0,
            ]);
            pdu.resize(64 + 120, 0xff);
            let message = check(&pdu);
            // What is kept is no longer than what came, in its most talkative form.
            let kept = format!("{:?}", message.body).len();
            assert!(kept < 2000, "{kept} for {:?}", message.body);
        }
    }
}

#[test]
fn contexts_that_share_bytes_are_not_multiplied() {
    // A thousand contexts, each of which claims all bytes to the end as its data.
    let mut pdu = Vec::new();
    Header {
        command: Command::CREATE,
        ..Header::default()
    }
    .encode(&mut pdu);
    let mut body = vec![0; 56];
    body[0] = 57;
    let list = 1000 * 16_u32;
    body[48..52].copy_from_slice(&120_u32.to_le_bytes());
    body[52..56].copy_from_slice(&list.to_le_bytes());
    pdu.extend(&body);
    for entry in 0..1000_u32 {
        pdu.extend(16_u32.to_le_bytes());
        pdu.extend([0, 0, 4, 0, 0, 0, 0, 0]);
        pdu.extend((list - 16 * entry).to_le_bytes());
    }
    let message = check(&pdu);
    assert!(
        matches!(message.body, Body::Request(Request::Opaque(_))),
        "{:?}",
        message.body
    );
}

#[test]
fn structures_inside_buffers_survive_noise() {
    let mut source = Gen(6);
    for round in 0..60_000_usize {
        let mut bytes = source.bytes(160);
        if round % 2 == 0 {
            bytes
                .iter_mut()
                .filter(|byte| **byte & 3 != 0)
                .for_each(|byte| *byte = 0);
        }
        let class = source.below(110) as u8;
        let _ = DirectoryEntry::decode_list(FileInfoClass(class), &bytes);
        let _ = NotifyRecord::decode_list(&bytes);
        let _ = StreamInfo::decode_list(&bytes);
        let _ = EaEntry::decode_list(&bytes);
        let payload = SetInfoPayload::parse(InfoType::FILE, InfoClass(class), &bytes);
        assert_eq!(payload.encode(), bytes);
        for function in [
            Fsctl::SRV_COPYCHUNK,
            Fsctl::VALIDATE_NEGOTIATE_INFO,
            Fsctl::DFS_GET_REFERRALS,
            Fsctl::QUERY_ALLOCATED_RANGES,
            Fsctl::SET_ZERO_DATA,
            Fsctl::LMR_REQUEST_RESILIENCY,
            Fsctl::SRV_REQUEST_RESUME_KEY,
        ] {
            assert_eq!(IoctlInput::parse(function, &bytes).encode(), bytes);
            assert_eq!(IoctlOutput::parse(function, &bytes).encode(), bytes);
        }
        let mut frame = b"\xfcSMB".to_vec();
        frame.extend(&bytes);
        if let Ok(compressed) = CompressedFrame::decode(&frame) {
            let mut again = Vec::new();
            compressed.encode(&mut again);
            assert_eq!(again, frame);
        }
        frame[0] = 0xff;
        let _ = Smb1Negotiate::decode(&frame);
        frame[0] = 0xfd;
        let _ = TransformHeader::decode(&frame);
    }
}

#[test]
fn a_response_keeps_its_body_when_it_does_not_parse() {
    let mut pdu = Vec::new();
    let flags = HeaderFlags::SERVER_TO_REDIR;
    Header {
        command: Command::QUERY_INFO,
        flags,
        ..Header::default()
    }
    .encode(&mut pdu);
    pdu.extend([9, 0, 72, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    let Body::Response(Response::Opaque(body)) = check(&pdu).body else {
        panic!("not opaque")
    };
    assert_eq!(body.bytes, pdu[64..]);
    assert!(body.reason.contains("OutputBuffer"), "{}", body.reason);
}
