//! Known answers from the specifications, and whole captures of other people's software.

use super::client::{EncryptPolicy, SigningPolicy};
use super::conn::{Connection, Direction, Verdict};
use super::encrypt::CipherKey;
use super::keys::{Cipher, Dialect, PreauthHash, Purpose, Secret, SigningAlgorithm, derive};
use super::ntlm::{self, AuthenticateParams, ChallengeParams, MicVerdict, NtlmError};
use super::sign::{SigningKey, unsign};
use super::spnego::{self, NegState, OID_NTLMSSP, Resp, Token};
use super::wire::{Header, put, u16_at};
use super::{ClientSecurity, SealError, ServerSecurity, pdus};

mod captures;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn secret(text: &str) -> Secret {
    Secret::new(&hex(text))
}

/// [MS-NLMP] 4.2.4.
#[test]
fn ntlmv2_matches_the_specifications_example() {
    let owf = ntlm::nt_owf_v2("Password", "User", "Domain");
    assert_eq!(owf.to_vec(), hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    let blob = hex(
        "01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d006100\
         69006e0001000c005300650072007600650072000000000000000000",
    );
    let challenge = hex("0123456789abcdef").try_into().unwrap();
    let proof = ntlm::ntlmv2_proof(&owf, &challenge, &blob);
    assert_eq!(proof.to_vec(), hex("68cd0ab851e51c96aabc927bebef6a1c"));
    let base = ntlm::exported_session_key(&owf, proof.as_slice(), 0, &[]).unwrap();
    assert_eq!(base.expose(), hex("8de40ccadbc14a82f15cb0ad0de95ca3"));
    // 4.2.4.2.3: the session key 0x55.. encrypted for the wire.
    let encrypted = hex("c5dad2544fc9799094ce1ce90bc9d03e");
    let flags = ntlm::flags::KEY_EXCH;
    let key = ntlm::exported_session_key(&owf, proof.as_slice(), flags, &encrypted).unwrap();
    assert_eq!(key.expose(), [0x55; 16]);
}

/// The vector of Microsoft's "anatomy of signing and cryptographic keys" for SMB 3.0.
#[test]
fn smb30_signing_key_matches_microsofts_vector() {
    let key = secret("7CD451825D0450D235424E44BA6E78CC");
    let none = PreauthHash::default();
    let derived = derive(Dialect::SMB300, Purpose::Signing, &key, &none, None);
    assert_eq!(derived.expose(), hex("0B7E9C5CAC36C0F6EA9AB275298CEDCE"));
}

fn header(command: u16, flags: u32, mid: u64, session_id: u64, len: usize) -> Vec<u8> {
    let mut pdu = vec![0; len.max(64)];
    put(&mut pdu, 0, &[0xFE, b'S', b'M', b'B', 64, 0]);
    put(&mut pdu, 12, &command.to_le_bytes());
    put(&mut pdu, 16, &flags.to_le_bytes());
    put(&mut pdu, 24, &mid.to_le_bytes());
    put(&mut pdu, 40, &session_id.to_le_bytes());
    pdu
}

#[test]
fn gmac_is_gcm_with_the_message_as_additional_data() {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    for (command, flags, len, role) in [(8, 0, 113, 0_u32), (8, 1, 80, 1), (12, 0, 68, 2)] {
        let key = secret("000102030405060708090a0b0c0d0e0f");
        let mut pdu = header(command, flags, 0x0102_0304, 7, len);
        SigningKey::new(SigningAlgorithm::AesGmac, &key)
            .unwrap()
            .sign(&mut pdu)
            .unwrap();
        let mut plain = pdu.clone();
        put(&mut plain, 48, &[0; 16]);
        let mut nonce = [0; 12];
        put(&mut nonce, 0, &0x0102_0304_u64.to_le_bytes());
        put(&mut nonce, 8, &role.to_le_bytes());
        let gcm = aes_gcm::Aes128Gcm::new_from_slice(key.expose()).unwrap();
        let empty = (&mut [][..]).into();
        let tag = gcm
            .encrypt_inout_detached(&nonce.into(), &plain, empty)
            .unwrap();
        assert_eq!(pdu[48..64], tag[..]);
    }
}

#[test]
fn every_algorithm_verifies_its_own_and_refuses_a_changed_bit() {
    let key = secret("8cb0dfca8c709cf4277064205dd7dcbb");
    for id in 0..3 {
        let algorithm = SigningAlgorithm::from_wire(id).unwrap();
        assert_eq!(algorithm.to_wire(), id);
        let signer = SigningKey::new(algorithm, &key).unwrap();
        let mut pdu = header(5, 0, 3, 9, 121);
        signer.sign(&mut pdu).unwrap();
        assert!(signer.verify(&pdu).unwrap());
        pdu[100] ^= 1;
        assert!(!signer.verify(&pdu).unwrap());
        unsign(&mut pdu).unwrap();
        assert_eq!(pdu[48..64], [0; 16]);
    }
}

#[test]
fn every_cipher_opens_its_own_and_refuses_a_changed_bit() {
    for id in 1..5 {
        let cipher = Cipher::from_wire(id).unwrap();
        assert_eq!(cipher.to_wire(), id);
        let key = CipherKey::new(cipher, &Secret::new(&vec![7; cipher.key_len()])).unwrap();
        let plain = header(5, 0, 3, 9, 1021);
        let mut frame = plain.clone();
        key.seal(9, [1; 12], &mut frame).unwrap();
        assert_eq!(frame.len(), plain.len() + 52);
        for at in [4, 20, 44, 52, 1072] {
            let mut changed = frame.clone();
            changed[at] ^= 1;
            assert!(
                matches!(key.open(&mut changed), Err(SealError::BadTag { .. })),
                "{at}"
            );
        }
        key.open(&mut frame).unwrap();
        assert_eq!(frame, plain);
        let short = Secret::new(&[0; 5]);
        assert!(matches!(
            CipherKey::new(cipher, &short),
            Err(SealError::BadKeyLength { .. })
        ));
    }
}

#[test]
fn a_secret_does_not_show() {
    let shown = format!("{:?}", Secret::new(b"hunter2"));
    assert_eq!(shown, "Secret(7 bytes)");
}

#[test]
fn compounds_are_split_and_bad_ones_refused() {
    let mut frame = header(5, 0, 1, 2, 72);
    put(&mut frame, 20, &72_u32.to_le_bytes());
    frame.extend(header(6, 0, 2, 2, 88));
    let ranges: Vec<_> = pdus(&frame).map(Result::unwrap).collect();
    assert_eq!(ranges, [0..72, 72..160]);
    for bad in [1_u32, 63, 160, 161, u32::MAX] {
        put(&mut frame, 20, &bad.to_le_bytes());
        let last = pdus(&frame).last().unwrap();
        assert!(matches!(last, Err(SealError::BadCompound { .. })), "{bad}");
    }
}

/// A NEGOTIATE response with the given dialect, algorithms and security mode.
fn negotiate_response(dialect: u16, cipher: u16, signing: u16, mode: u16) -> Vec<u8> {
    let mut pdu = header(0, 1, 0, 0, 128);
    put(&mut pdu, 64, &65_u16.to_le_bytes());
    put(&mut pdu, 66, &mode.to_le_bytes());
    put(&mut pdu, 68, &dialect.to_le_bytes());
    put(&mut pdu, 88, &0x40_u32.to_le_bytes());
    if dialect == 0x311 {
        put(&mut pdu, 70, &2_u16.to_le_bytes());
        put(&mut pdu, 124, &128_u32.to_le_bytes());
        for (kind, value) in [(2_u16, cipher), (8, signing)] {
            for field in [kind, 4, 0, 0, 1, value, 0, 0] {
                pdu.extend_from_slice(&field.to_le_bytes());
            }
        }
    }
    pdu
}

fn setup(
    response: bool,
    mid: u64,
    session_id: u64,
    status: u32,
    flags: u16,
    token: &[u8],
) -> Vec<u8> {
    let mut pdu = header(
        1,
        u32::from(response),
        mid,
        session_id,
        if response { 72 } else { 88 },
    );
    put(&mut pdu, 8, &status.to_le_bytes());
    put(
        &mut pdu,
        if response { 66 } else { 88 },
        &flags.to_le_bytes(),
    );
    pdu.extend_from_slice(token);
    pdu
}

/// Logs in over both ends, both verifying, and returns them with the session's id.
fn log_in(dialect: u16, cipher: u16, signing: u16, flags: u16) -> (ClientSecurity, ServerSecurity) {
    let client = ClientSecurity::new(SigningPolicy::IfRequired, EncryptPolicy::IfRequired, 1);
    log_in_as(client, (dialect, cipher, signing), flags, DEMANDS_SIGNING)
}

/// The same for a client of its own policies, and a server of this security mode.
fn log_in_as(
    mut client: ClientSecurity,
    (dialect, cipher, signing): (u16, u16, u16),
    flags: u16,
    mode: u16,
) -> (ClientSecurity, ServerSecurity) {
    let mut server = ServerSecurity::new(2);
    let up = |c: &mut ClientSecurity, s: &mut ServerSecurity, mut frame: Vec<u8>| {
        c.seal(&mut frame).unwrap();
        s.open(frame).unwrap()
    };
    let down = |c: &mut ClientSecurity, s: &mut ServerSecurity, mut frame: Vec<u8>| {
        s.seal(&mut frame, None).unwrap();
        c.open(frame).unwrap()
    };
    up(&mut client, &mut server, header(0, 0, 0, 0, 104));
    down(
        &mut client,
        &mut server,
        negotiate_response(dialect, cipher, signing, mode),
    );
    let negotiate = ntlm::build_negotiate(0xE208_8233);
    up(
        &mut client,
        &mut server,
        setup(false, 1, 0, 0, 0, &negotiate),
    );
    let challenge = ntlm::build_challenge(&ChallengeParams {
        client_flags: ntlm::parse_negotiate(&negotiate).unwrap().flags,
        server_challenge: *b"8 bytes!",
        server_name: "MODEL",
        domain_name: "MODEL",
        dns_name: "model",
        filetime: Some(132_000_000_000_000_000),
    });
    down(
        &mut client,
        &mut server,
        setup(true, 1, 77, 0xC000_0016, 0, &challenge),
    );
    let params = AuthenticateParams {
        user: "alice",
        domain: "MODEL",
        password: "Passw0rd!",
        workstation: "WS",
        client_challenge: *b"01234567",
        session_key: *b"sixteen bytes ok",
        filetime: 0,
    };
    let (message, key) = ntlm::build_authenticate(&params, &negotiate, &challenge).unwrap();
    up(
        &mut client,
        &mut server,
        setup(false, 2, 77, 0, 0, &message),
    );
    let parsed = ntlm::parse_authenticate(&message).unwrap();
    let theirs = ntlm::verify(&parsed, "Passw0rd!", b"8 bytes!").unwrap();
    assert_eq!(theirs.expose(), key.expose());
    let mic = ntlm::check_mic(&theirs, &negotiate, &challenge, &message, &parsed);
    assert_eq!(mic, MicVerdict::Valid);
    let wrong = ntlm::verify(&parsed, "password", b"8 bytes!");
    assert_eq!(wrong.err(), Some(NtlmError::WrongPassword));
    server.install_session_key(77, theirs).unwrap();
    let opened = down(&mut client, &mut server, setup(true, 2, 77, 0, flags, &[]));
    assert_eq!(opened.verdict, Verdict::Unchecked { pdu: 0 });
    assert_eq!(
        client.install_session_key(77, key).unwrap(),
        Some(Verdict::Signed)
    );
    (client, server)
}

#[test]
fn both_ends_agree_on_every_dialect_and_algorithm() {
    let table = [
        (0x202, 0, 0),
        (0x210, 0, 0),
        (0x300, 1, 1),
        (0x302, 1, 1),
        (0x311, 1, 0),
        (0x311, 2, 1),
        (0x311, 3, 2),
        (0x311, 4, 2),
    ];
    for (dialect, cipher, signing) in table {
        for flags in [0, 4] {
            let encrypts = flags == 4 && dialect >= 0x300;
            let (mut client, mut server) = log_in(dialect, cipher, signing, flags);
            let mut frame = header(5, 0, 3, 77, 120);
            put(&mut frame, 20, &120_u32.to_le_bytes());
            frame.extend(header(6, 4, 4, u64::MAX, 88));
            let plain = frame.clone();
            let sealed = client.seal(&mut frame).unwrap();
            assert_eq!(
                (sealed.encrypted, sealed.signed),
                (encrypts, if encrypts { 0 } else { 2 })
            );
            let opened = server.open(frame).unwrap();
            let want = if encrypts {
                Verdict::Encrypted
            } else {
                Verdict::Signed
            };
            assert_eq!(opened.verdict, want, "{dialect:#x}");
            let mut bare = opened.plain;
            for range in pdus(&bare.clone()) {
                unsign(&mut bare[range.unwrap()]).unwrap();
            }
            assert_eq!(bare, plain);
            let mut reply = header(5, 1, 3, 77, 152);
            server.seal(&mut reply, None).unwrap();
            let mut changed = reply.clone();
            *changed.last_mut().unwrap() ^= 1;
            if encrypts {
                assert_eq!(
                    client.open(changed),
                    Err(SealError::BadTag { session_id: 77 })
                );
            } else {
                let verdict = client.open(changed).unwrap().verdict;
                assert_eq!(verdict, Verdict::BadSignature { pdu: 0 });
            }
            assert_eq!(client.open(reply).unwrap().verdict, want);
            let mut off = header(2, 0, 5, 77, 68);
            client.seal(&mut off).unwrap();
            assert_eq!(server.open(off).unwrap().verdict, want);
            let mut off = header(2, 1, 5, 77, 68);
            server.seal(&mut off, None).unwrap();
            assert_eq!(client.open(off).unwrap().verdict, want);
            assert!(!client.has_keys(77) && !server.has_keys(77));
        }
    }
}

#[test]
fn unsigned_and_unencrypted_requests_are_found() {
    let (_, mut server) = log_in(0x311, 2, 1, 0);
    let verdict = server.open(header(5, 0, 3, 77, 120)).unwrap().verdict;
    assert_eq!(verdict, Verdict::MissingSignature { pdu: 0 });
    let (_, mut server) = log_in(0x311, 2, 1, 4);
    let verdict = server.open(header(5, 0, 3, 77, 120)).unwrap().verdict;
    assert_eq!(verdict, Verdict::MissingEncryption { pdu: 0 });
}

/// What was signed is answered signed, and what was encrypted encrypted, whoever demanded it.
/// [MS-SMB2] 3.3.4.1.1, 3.3.4.1.4.
#[test]
fn a_client_that_signs_or_encrypts_everything_believes_nothing_less() {
    let policies = |signing, encryption| {
        let client = ClientSecurity::new(signing, encryption, 1);
        let (client, _) = log_in_as(client, (0x311, 2, 1), 0, ALLOWS_SIGNING);
        client
    };
    let answer = |status: u32, flags: u32, mid: u64| {
        let mut frame = header(5, flags, mid, 77, 152);
        put(&mut frame, 8, &status.to_le_bytes());
        frame
    };
    let (when_asked, always) = (SigningPolicy::IfRequired, SigningPolicy::Always);
    let (if_told, all) = (EncryptPolicy::IfRequired, EncryptPolicy::Always);
    for (signing, encryption, want) in [
        (when_asked, if_told, Verdict::Unsigned),
        (always, if_told, Verdict::MissingSignature { pdu: 0 }),
        (when_asked, all, Verdict::MissingEncryption { pdu: 0 }),
        (always, all, Verdict::MissingEncryption { pdu: 0 }),
    ] {
        let mut client = policies(signing, encryption);
        assert_eq!(client.open(answer(0, 1, 3)).unwrap().verdict, want);
        // What servers never seal: interim answers, breaks, and that there is no session.
        for excepted in [
            answer(0x103, 3, 3),
            answer(0, 1, u64::MAX),
            answer(0xc000_0203, 1, 3),
        ] {
            let verdict = client.open(excepted).unwrap().verdict;
            assert_eq!(verdict, Verdict::Unsigned, "{signing:?} {encryption:?}");
        }
    }
}

/// A login that gives no key leaves nothing to sign with, whoever demands it.
#[test]
fn a_session_without_a_key_misses_no_signature() {
    for keyless in [false, true] {
        let mut client =
            ClientSecurity::new(SigningPolicy::IfRequired, EncryptPolicy::IfRequired, 1);
        client.seal(&mut header(0, 0, 0, 0, 104)).unwrap();
        client.open(negotiate_response(0x311, 2, 1, 3)).unwrap();
        client.seal(&mut setup(false, 1, 0, 0, 0, b"me")).unwrap();
        client.open(setup(true, 1, 77, 0, 0, &[])).unwrap();
        if keyless {
            client.without_session_key(77);
        }
        let verdict = client.open(header(5, 1, 3, 77, 152)).unwrap().verdict;
        let want = if keyless {
            Verdict::Unsigned
        } else {
            Verdict::MissingSignature { pdu: 0 }
        };
        assert_eq!(verdict, want);
        let sealed = client.seal(&mut header(5, 0, 4, 77, 120)).unwrap();
        assert_eq!(sealed.unsigned_without_key, u32::from(!keyless));
    }
    let (mut client, _) = log_in(0x311, 2, 1, 0);
    client.without_session_key(77);
    assert!(client.has_keys(77));
    let verdict = client.open(header(5, 1, 3, 77, 152)).unwrap().verdict;
    assert_eq!(verdict, Verdict::MissingSignature { pdu: 0 });
}

/// A second connection of both ends, about to become a channel of session 77.
fn second_connection(
    first: &(ClientSecurity, ServerSecurity),
    signing: u16,
) -> (ClientSecurity, ServerSecurity) {
    let mut client = ClientSecurity::new(SigningPolicy::IfRequired, EncryptPolicy::IfRequired, 3);
    let mut server = ServerSecurity::new(4);
    let mut frame = header(0, 0, 0, 0, 108);
    client.seal(&mut frame).unwrap();
    server.open(frame).unwrap();
    let mut frame = negotiate_response(0x311, 2, signing, 3);
    server.seal(&mut frame, None).unwrap();
    client.open(frame).unwrap();
    client.bind(77, first.0.export(77).unwrap()).unwrap();
    server.bind(77, first.1.export(77).unwrap()).unwrap();
    // Whichever connection lends the session, and before it is bound: the same keys.
    let lent = client.export(77).unwrap();
    assert!(lent.c2s.is_some() && lent.s2c.is_some());
    (client, server)
}

/// A SESSION_SETUP request with SMB2_SESSION_FLAG_BINDING.
fn binding(mid: u64) -> Vec<u8> {
    let mut pdu = setup(false, mid, 77, 0, 0, b"token");
    put(&mut pdu, 66, &[1]);
    pdu
}

/// Binds the second connection as a login does: the client knows the channel's key after the
/// response that is signed with it.
fn bind(client: &mut ClientSecurity, server: &mut ServerSecurity, key: &[u8]) {
    for (mid, status) in [(1, 0xC000_0016), (2, 0)] {
        let mut frame = binding(mid);
        assert_eq!(client.seal(&mut frame).unwrap().signed, 1);
        assert_eq!(server.open(frame).unwrap().verdict, Verdict::Signed);
        if status == 0 {
            server.install_session_key(77, Secret::new(key)).unwrap();
        }
        let mut frame = setup(true, mid, 77, status, 0, b"token");
        assert_eq!(server.seal(&mut frame, None).unwrap().signed, 1);
        let verdict = client.open(frame).unwrap().verdict;
        if status == 0 {
            assert_eq!(verdict, Verdict::Unchecked { pdu: 0 });
            let late = client.install_session_key(77, Secret::new(key)).unwrap();
            assert_eq!(late, Some(Verdict::Signed));
        } else {
            assert_eq!(verdict, Verdict::Signed);
        }
    }
}

#[test]
fn a_channel_is_bound_with_the_sessions_key_and_signs_with_its_own() {
    let first = log_in(0x311, 2, 1, 0);
    for signing in [0, 1, 2] {
        let (mut client, mut server) = second_connection(&first, signing);
        bind(&mut client, &mut server, b"the channel's key");
        let mut on_channel = header(5, 0, 3, 77, 120);
        client.seal(&mut on_channel).unwrap();
        assert_eq!(
            server.open(on_channel.clone()).unwrap().verdict,
            Verdict::Signed
        );
        let (_, mut other) = log_in(0x311, 2, 1, 0);
        assert_eq!(
            other.open(on_channel).unwrap().verdict,
            Verdict::BadSignature { pdu: 0 }
        );
    }
}

#[test]
fn a_bound_channel_signs_binding_anew_with_the_sessions_key_and_else_with_its_own() {
    let first = log_in(0x311, 2, 1, 0);
    let (mut client, mut server) = second_connection(&first, 0);
    bind(&mut client, &mut server, b"the channel's key");
    // [MS-SMB2] 3.3.5.2.4: Session.SigningKey if the request binds, else Channel.SigningKey.
    let (session, mut again) = (first.0.export(77).unwrap().signing, binding(3));
    assert_eq!(client.seal(&mut again).unwrap().signed, 1);
    assert!(session.verify(&again).unwrap());
    assert_eq!(server.open(again).unwrap().verdict, Verdict::Signed);
    let mut reauth = setup(false, 4, 77, 0, 0, b"token");
    assert_eq!(client.seal(&mut reauth).unwrap().signed, 1);
    assert!(!session.verify(&reauth).unwrap());
    assert_eq!(
        server.open(reauth.clone()).unwrap().verdict,
        Verdict::Signed
    );
    // 3.3.4.1.1: Session.SigningKey for what does not succeed. Samba prefers the channel's.
    let mut more = setup(true, 4, 77, 0xC000_0016, 0, b"token");
    server.seal(&mut more, None).unwrap();
    assert!(session.verify(&more).unwrap());
    assert_eq!(client.open(more.clone()).unwrap().verdict, Verdict::Signed);
    server.sessions[&77]
        .signing
        .as_ref()
        .unwrap()
        .sign(&mut more)
        .unwrap();
    assert!(!session.verify(&more).unwrap());
    assert_eq!(client.open(more).unwrap().verdict, Verdict::Signed);
    // The session's key stays what further channels are bound with, whichever channel lends it.
    let lent = client.export(77).unwrap().signing;
    lent.sign(&mut reauth).unwrap();
    assert!(session.verify(&reauth).unwrap());
}

/// [MS-SMB2] 3.3.5.2.4: a server that does not find the session has no key, whatever it puts there.
#[test]
fn an_answer_that_there_is_no_such_session_needs_no_signature() {
    let (mut client, _) = log_in(0x311, 2, 1, 0);
    let mut gone = header(5, 1, 3, 77, 73);
    put(&mut gone, 8, &0xC000_0203_u32.to_le_bytes());
    let verdict = client.open(gone.clone()).unwrap().verdict;
    assert_eq!(verdict, Verdict::Unsigned);
    put(&mut gone, 16, &9_u32.to_le_bytes());
    put(&mut gone, 48, &[1; 16]);
    let verdict = client.open(gone).unwrap().verdict;
    assert_eq!(verdict, Verdict::Unchecked { pdu: 0 });
}

#[test]
fn anonymous_is_recognised() {
    let challenge = ntlm::build_challenge(&ChallengeParams {
        client_flags: 0xE208_8233,
        server_challenge: [1; 8],
        server_name: "S",
        domain_name: "D",
        dns_name: "s",
        filetime: None,
    });
    let message = ntlm::build_anonymous(&challenge).unwrap();
    let parsed = ntlm::parse_authenticate(&message).unwrap();
    assert!(parsed.is_anonymous());
    assert_eq!(
        ntlm::verify(&parsed, "", &[1; 8]).err(),
        Some(NtlmError::NotV2)
    );
    for len in 0..message.len() {
        let _ = ntlm::parse_authenticate(&message[..len]);
    }
}

#[test]
fn spnego_tokens_come_back() {
    let token = spnego::neg_token_init(&[OID_NTLMSSP], &[9; 300]);
    let Some(Token::Init(init)) = spnego::parse(&token) else {
        panic!("{token:x?}")
    };
    assert_eq!(init.mech_token, Some(&[9; 300][..]));
    assert_eq!(init.mechs().collect::<Vec<_>>(), [OID_NTLMSSP]);
    assert_eq!(init.mech_types, spnego::mech_types(&[OID_NTLMSSP]));
    let hint = spnego::neg_token_init2(&[OID_NTLMSSP]);
    let Some(Token::Init(init)) = spnego::parse(&hint) else {
        panic!("{hint:x?}")
    };
    assert_eq!((init.mech_token, init.mechs().count()), (None, 1));
    let resp = Resp {
        state: Some(NegState::AcceptIncomplete),
        mech: Some(OID_NTLMSSP),
        token: Some(&[1; 70_000]),
        mic: Some(&[2; 16]),
    };
    let bytes = spnego::neg_token_resp(&resp);
    assert_eq!(spnego::parse(&bytes), Some(Token::Resp(resp)));
    for len in 0..token.len() {
        assert_eq!(spnego::parse(&token[..len]), None);
    }
}

#[test]
fn no_prefix_of_anything_panics() {
    let (mut client, mut server) = log_in(0x311, 2, 1, 4);
    for frame in [
        negotiate_response(0x311, 2, 1, 3),
        setup(true, 2, 77, 0, 4, b"x"),
        header(3, 1, 9, 77, 80),
    ] {
        let mut sealed = frame.clone();
        server.seal(&mut sealed, None).unwrap();
        for frame in [&frame, &sealed] {
            for len in 0..frame.len() {
                let _ = client.open(frame[..len].to_vec());
                let _ = server.seal(&mut frame[..len].to_vec(), None);
            }
        }
    }
    assert_eq!(u16_at(&[1], 0), None);
    assert!(Header::read(&[]).is_err());
    assert!(
        Connection::new(0)
            .open(Direction::ToClient, vec![0xFD, b'S', b'M', b'B'])
            .is_err()
    );
}

/// Security modes of a server. [MS-SMB2] 2.2.4.
const ALLOWS_SIGNING: u16 = 1;
const DEMANDS_SIGNING: u16 = 3;
