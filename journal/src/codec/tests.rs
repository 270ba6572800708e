//! Tests of `codec`.

use proptest::prelude::*;
use smbench_core::{
    event::{Milestone, NetFailure, Seal, TokenOutcome},
    frame::{Content, Cut, Digest, Frame},
    ids::{ConnId, OpId, SessionRef, ShardId},
};

use super::*;

pub(crate) fn any_input() -> impl Strategy<Value = Input> {
    let reason = prop::sample::select(vec![
        NetFailure::Eof,
        NetFailure::Reset,
        NetFailure::Refused,
        NetFailure::TimedOut,
        NetFailure::Unreachable,
        NetFailure::Protocol,
        NetFailure::Local,
    ]);
    let milestone = prop::sample::select(vec![
        Milestone::Sent,
        Milestone::Interim,
        Milestone::Response,
    ]);
    let seal = prop::sample::select(vec![
        Seal::Plain,
        Seal::Signed,
        Seal::BadSignature,
        Seal::Encrypted,
    ]);
    let content = prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| Content::Data(Digest(bytes))),
        Just(Content::Token),
    ];
    let cut = (any::<u32>(), any::<u32>(), content).prop_map(|(at, len, content)| Cut {
        at,
        len,
        content,
    });
    let frame = (
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(cut, 0..5),
    )
        .prop_map(|(bytes, cuts)| Frame { bytes, cuts });
    prop_oneof![
        Just(Input::Start),
        any::<u32>().prop_map(|conn| Input::Connected { conn: ConnId(conn) }),
        (any::<u32>(), reason.clone()).prop_map(|(conn, reason)| Input::ConnectFailed {
            conn: ConnId(conn),
            reason
        }),
        (any::<u32>(), reason).prop_map(|(conn, reason)| Input::Closed {
            conn: ConnId(conn),
            reason
        }),
        (any::<u32>(), frame, seal).prop_map(|(conn, frame, seal)| Input::Received {
            conn: ConnId(conn),
            frame,
            seal
        }),
        (any::<u32>(), any::<u32>(), any::<Option<u32>>()).prop_map(|(conn, session, len)| {
            Input::TokenReady {
                conn: ConnId(conn),
                session: SessionRef(session),
                outcome: len.map_or(TokenOutcome::Failed, |len| TokenOutcome::Ready { len }),
            }
        }),
        Just(Input::Wake),
        (any::<u32>(), any::<u32>(), milestone).prop_map(|(shard, op, milestone)| {
            Input::Completed {
                shard: ShardId(shard),
                op: OpId(op),
                milestone,
            }
        }),
        Just(Input::Stop),
    ]
}

proptest! {
    #[test]
    fn every_event_comes_back(
        delta_ns in any::<u64>(),
        before in any::<u32>(),
        before_high in any::<Option<u32>>(),
        input in any_input(),
    ) {
        let mut bytes = vec![7];
        encode(delta_ns, before, before_high, &input, &mut bytes).unwrap();
        let decoded = decode(&bytes[1..]).unwrap();
        prop_assert_eq!(decoded, Decoded { delta_ns, before, before_high, input });
        // Neither less nor more is accepted.
        prop_assert!(decode(&bytes[1..bytes.len() - 1]).is_err());
        bytes.push(0);
        let trailing = matches!(decode(&bytes[1..]), Err(CodecError::Trailing { .. }));
        prop_assert!(trailing);
    }

    #[test]
    fn garbage_is_an_error_or_an_event(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // Must neither panic nor take memory; most of it is no event.
        let _ = decode(&bytes);
    }
}

#[test]
fn false_lengths_cost_nothing() {
    // delta, before, no upper half, Received, conn, then a length of 2^63.
    let mut bytes = vec![0, 0, 0, 4, 0, 253];
    bytes.extend_from_slice(&(1u64 << 63).to_le_bytes());
    assert!(matches!(decode(&bytes), Err(CodecError::Malformed(_))));
    // A length that is under the limit for large input, but not for this one.
    let mut bytes = vec![0, 0, 0, 4, 0, 252];
    bytes.extend_from_slice(&(30u32 << 20).to_le_bytes());
    assert!(matches!(decode(&bytes), Err(CodecError::Malformed(_))));
}

#[test]
fn the_largest_message_and_the_densest_cuts_fit() {
    let cut = Cut {
        at: 1,
        len: 1,
        content: Content::Token,
    };
    for (bytes, cuts) in [(17 << 20, 2), (0, 1_300), (0, 20_000), (1 << 20, 100_000)] {
        let input = Input::Received {
            conn: ConnId(1),
            frame: Frame {
                bytes: vec![0xa5; bytes],
                cuts: vec![cut; cuts],
            },
            seal: Seal::Plain,
        };
        let mut out = Vec::new();
        encode(1, 2, None, &input, &mut out).unwrap();
        assert_eq!(
            decode(&out).unwrap().input,
            input,
            "{bytes} bytes, {cuts} cuts"
        );
    }
    let input = Input::Received {
        conn: ConnId(1),
        frame: Frame {
            bytes: vec![0; MAX_BYTES],
            cuts: Vec::new(),
        },
        seal: Seal::Plain,
    };
    let error = encode(1, 2, None, &input, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { .. }));
}

#[test]
fn the_bytes_of_version_1_stay() {
    let input = Input::Received {
        conn: ConnId(3),
        frame: Frame {
            bytes: vec![0xfe, b'S'],
            cuts: vec![Cut {
                at: 2,
                len: 300,
                content: Content::Token,
            }],
        },
        seal: Seal::Encrypted,
    };
    let mut bytes = Vec::new();
    encode(1_000, 0x0102_0304, Some(5), &input, &mut bytes).unwrap();
    let expected = [
        251, 0xe8, 3, 252, 4, 3, 2, 1, 1, 5, 4, 3, 2, 0xfe, b'S', 1, 2, 251, 44, 1, 1, 3,
    ];
    assert_eq!(bytes, expected);
}
