//! NTLM, signing and encryption.

use smbench_core::ids::LogicalTime;
use smbench_core::seal::ntlm::{self, AuthenticateParams, flags};
use smbench_core::seal::spnego::{self, OID_NTLMSSP, Resp};
use smbench_core::seal::{ClientSecurity, EncryptPolicy, Secret, SigningPolicy};
use smbench_core::smb2::*;

use super::client::{Client, Net, create};
use crate::server::{Server, ServerConfig, ServerOutput, ShareConfig};

/// Sends one request through a client's seal and gives the unsealed answer.
pub(super) fn sealed(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
    body: Request,
    bulk: &[u8],
) -> (Header, Vec<u8>) {
    let header = Net::header(client, body.command());
    let mut frame = Vec::new();
    Message::new(header, Body::Request(body)).encode(bulk, &mut frame);
    seal.seal(&mut frame).unwrap();
    server.receive(LogicalTime::ZERO, client.conn, &frame);
    let Some(ServerOutput::Send { frame, .. }) = server.poll() else {
        panic!("no answer");
    };
    let opened = seal.open(frame).unwrap();
    assert!(opened.verdict.is_good(), "{:?}", opened.verdict);
    let decoded = Message::decode(&opened.plain).unwrap();
    let bulk = decoded.bulk.map(|range| opened.plain[range].to_vec());
    (decoded.message.header, bulk.unwrap_or_default())
}

/// Who logs in, and what its client can do.
pub(super) struct Who {
    /// None for an anonymous login.
    pub(super) user: Option<&'static str>,
    pub(super) password: &'static str,
    pub(super) dialect: Dialect,
    pub(super) encrypts: bool,
}

pub(super) const ALICE: Who = Who {
    user: Some("alice"),
    password: "right",
    dialect: Dialect::SMB_3_1_1,
    encrypts: true,
};

/// A connection to `server`, and the seal of its client.
pub(super) fn arrive(server: &mut Server) -> (ClientSecurity, Client) {
    let (sign, encrypt) = (SigningPolicy::IfRequired, EncryptPolicy::IfRequired);
    let client = Client {
        conn: server.connect(LogicalTime::ZERO),
        mid: 0,
        session: SessionId(0),
        tree: TreeId(0),
    };
    (ClientSecurity::new(sign, encrypt, 1), client)
}

/// Negotiates, and logs in with NTLM in SPNEGO; the status of the last leg.
fn log_in(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
    who: &Who,
) -> NtStatus {
    negotiate(server, seal, client, who);
    authenticate(server, seal, client, who, SessionSetupFlags::empty())
}

pub(super) fn negotiate(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
    who: &Who,
) {
    let mut contexts = Vec::new();
    if who.dialect == Dialect::SMB_3_1_1 {
        contexts.push(NegotiateContext::PreauthIntegrity {
            hash_algorithms: vec![HashAlgorithm::SHA_512],
            salt: vec![1; 32],
        });
        if who.encrypts {
            let ciphers = vec![Cipher::AES_128_GCM];
            contexts.push(NegotiateContext::Encryption { ciphers });
        }
    }
    let mut capabilities = Capabilities::LARGE_MTU;
    capabilities.set(Capabilities::ENCRYPTION, who.encrypts);
    let negotiate = NegotiateRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        capabilities,
        dialects: vec![who.dialect],
        contexts,
        ..NegotiateRequest::default()
    };
    sealed(server, seal, client, negotiate.into(), &[]);
}

/// Logs in where that is done, or binds a channel; the status of the last leg.
pub(super) fn authenticate(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
    who: &Who,
    how: SessionSetupFlags,
) -> NtStatus {
    let wanted = flags::UNICODE
        | flags::SIGN
        | flags::NTLM
        | flags::EXTENDED_SESSIONSECURITY
        | flags::KEY_128
        | flags::KEY_EXCH
        | flags::REQUEST_TARGET;
    let hello = ntlm::build_negotiate(wanted);
    let token = spnego::neg_token_init(&[OID_NTLMSSP], &hello);
    let setup = |len: usize| SessionSetupRequest {
        flags: how,
        security_mode: SecurityMode::SIGNING_ENABLED,
        security_buffer_length: u16::try_from(len).unwrap(),
        ..SessionSetupRequest::default()
    };
    let body = setup(token.len()).into();
    let (header, challenge) = sealed(server, seal, client, body, &token);
    if header.nt_status() != NtStatus::MORE_PROCESSING_REQUIRED {
        return header.nt_status();
    }
    client.session = header.session_id;
    let challenge = spnego::parse(&challenge).unwrap().inner().unwrap().to_vec();
    let message = match who.user {
        None => ntlm::build_anonymous(&challenge).unwrap(),
        Some(user) => {
            let params = AuthenticateParams {
                user,
                domain: "X",
                workstation: "W",
                password: who.password,
                client_challenge: [3; 8],
                session_key: [9; 16],
                filetime: 0,
            };
            let (message, key) = ntlm::build_authenticate(&params, &hello, &challenge).unwrap();
            seal.install_session_key(client.session.0, key).unwrap();
            message
        }
    };
    let token = spnego::neg_token_resp(&Resp {
        token: Some(&message),
        ..Resp::default()
    });
    let body = setup(token.len()).into();
    sealed(server, seal, client, body, &token).0.nt_status()
}

pub(super) fn with_alice() -> ServerConfig {
    ServerConfig {
        shares: vec![ShareConfig::disk("share")],
        users: vec![("alice".into(), Secret::new(b"right"))],
        guest_ok: false,
        ..ServerConfig::default()
    }
}

/// Connects a tree in whatever way the session asks for.
pub(super) fn connect(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
) -> NtStatus {
    let body = TreeConnectRequest {
        path: "\\\\s\\share".into(),
        ..TreeConnectRequest::default()
    };
    let (header, _) = sealed(server, seal, client, body.into(), &[]);
    header.nt_status()
}

#[test]
fn a_server_with_users_lets_in_nobody_else() {
    let nobody = Who {
        user: None,
        ..ALICE
    };
    let stranger = Who {
        user: Some("bob"),
        ..ALICE
    };
    let guesser = Who {
        password: "wrong",
        ..ALICE
    };
    for (who, want) in [
        (nobody, NtStatus::ACCESS_DENIED),
        (stranger, NtStatus::LOGON_FAILURE),
        (guesser, NtStatus::LOGON_FAILURE),
        (ALICE, NtStatus::SUCCESS),
    ] {
        let mut server = Server::new(with_alice());
        let (mut seal, mut client) = arrive(&mut server);
        let status = log_in(&mut server, &mut seal, &mut client, &who);
        assert_eq!(status, want, "{:?}", who.user);
        // Who was refused has no session to go on with.
        let got = connect(&mut server, &mut seal, &mut client);
        let then = if want == NtStatus::SUCCESS {
            want
        } else {
            NtStatus::USER_SESSION_DELETED
        };
        assert_eq!(got, then, "{:?}", who.user);
    }
}

#[test]
fn where_encryption_is_required_nothing_goes_in_clear() {
    let weak = |dialect, encrypts| Who {
        dialect,
        encrypts,
        ..ALICE
    };
    let nobody = Who {
        user: None,
        ..ALICE
    };
    let guest = Who {
        user: Some("bob"),
        ..ALICE
    };
    for (who, guest_ok, want) in [
        (
            weak(Dialect::SMB_2_0_2, false),
            false,
            NtStatus::ACCESS_DENIED,
        ),
        (weak(Dialect::SMB_2_1, true), false, NtStatus::ACCESS_DENIED),
        (
            weak(Dialect::SMB_3_0, false),
            false,
            NtStatus::ACCESS_DENIED,
        ),
        (
            weak(Dialect::SMB_3_1_1, false),
            false,
            NtStatus::ACCESS_DENIED,
        ),
        (nobody, true, NtStatus::ACCESS_DENIED),
        (guest, true, NtStatus::ACCESS_DENIED),
        (weak(Dialect::SMB_3_0, true), false, NtStatus::SUCCESS),
        (weak(Dialect::SMB_3_1_1, true), false, NtStatus::SUCCESS),
    ] {
        let mut server = Server::new(ServerConfig {
            encrypt_required: true,
            guest_ok,
            ..with_alice()
        });
        let (mut seal, mut client) = arrive(&mut server);
        let status = log_in(&mut server, &mut seal, &mut client, &who);
        let what = format!("{:?} {:?} {}", who.user, who.dialect, who.encrypts);
        assert_eq!(status, want, "{what}");
        if want != NtStatus::SUCCESS {
            continue;
        }
        assert!(seal.encrypts_session(client.session.0), "{what}");
        // In clear, also when it is signed as it should be.
        let header = Net::header(&mut client, Command::TREE_CONNECT);
        let body = TreeConnectRequest {
            path: "\\\\s\\share".into(),
            ..TreeConnectRequest::default()
        };
        let mut frame = Vec::new();
        Message::new(header, Body::Request(body.into())).encode(&[], &mut frame);
        server.receive(LogicalTime::ZERO, client.conn, &frame);
        let Some(ServerOutput::Send { frame, .. }) = server.poll() else {
            panic!("no answer: {what}");
        };
        let answer = seal.open(frame).unwrap().plain;
        let status = Message::decode(&answer).unwrap().message.header.nt_status();
        assert_eq!(status, NtStatus::ACCESS_DENIED, "{what}");
        let got = connect(&mut server, &mut seal, &mut client);
        assert_eq!(got, NtStatus::SUCCESS, "{what}");
    }
}

#[test]
fn ntlm_signs_and_encrypts() {
    let mut secret = ShareConfig::disk("secret");
    secret.encrypt = true;
    let config = ServerConfig {
        shares: vec![ShareConfig::disk("share"), secret],
        users: vec![("alice".into(), Secret::new(b"right"))],
        signing_required: true,
        ..ServerConfig::default()
    };
    for (password, share, want) in [
        ("wrong", "share", NtStatus::LOGON_FAILURE),
        ("right", "share", NtStatus::SUCCESS),
        ("right", "secret", NtStatus::SUCCESS),
    ] {
        let mut server = Server::new(config.clone());
        let (mut seal, mut client) = arrive(&mut server);
        let who = Who { password, ..ALICE };
        let status = log_in(&mut server, &mut seal, &mut client, &who);
        assert_eq!(status, want);
        if want != NtStatus::SUCCESS {
            continue;
        }
        let body = TreeConnectRequest {
            path: format!("\\\\s\\{share}").into(),
            ..TreeConnectRequest::default()
        };
        let (header, _) = sealed(&mut server, &mut seal, &mut client, body.into(), &[]);
        assert_eq!(header.nt_status(), NtStatus::SUCCESS);
        client.tree = header.tree_id().unwrap();
        let body = create("f").into();
        let (header, _) = sealed(&mut server, &mut seal, &mut client, body, &[]);
        assert_eq!(header.nt_status(), NtStatus::SUCCESS);
        // What is neither signed nor encrypted is refused.
        let header = Net::header(&mut client, Command::CREATE);
        let mut frame = Vec::new();
        Message::new(header, Body::Request(create("g").into())).encode(&[], &mut frame);
        server.receive(LogicalTime::ZERO, client.conn, &frame);
        assert!(server.poll().is_some());
        let entries = server.snapshot(share);
        assert!(entries.iter().all(|entry| entry.path == "f"), "{entries:?}");
    }
}
