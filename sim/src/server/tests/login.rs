//! NTLM, signing and encryption.

use smbench_core::ids::LogicalTime;
use smbench_core::seal::ntlm::{self, AuthenticateParams, flags};
use smbench_core::seal::spnego::{self, OID_NTLMSSP, Resp};
use smbench_core::seal::{ClientSecurity, EncryptPolicy, SigningPolicy};
use smbench_core::smb2::*;

use super::client::{Client, Net, create};
use crate::server::{Server, ServerConfig, ServerOutput, ShareConfig};

/// Sends one request through a client's seal and gives the unsealed answer.
fn sealed(
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

/// Logs in with NTLM in SPNEGO; the status of the last leg.
fn log_in(
    server: &mut Server,
    seal: &mut ClientSecurity,
    client: &mut Client,
    password: &str,
) -> NtStatus {
    let preauth = NegotiateContext::PreauthIntegrity {
        hash_algorithms: vec![HashAlgorithm::SHA_512],
        salt: vec![1; 32],
    };
    let ciphers = vec![Cipher::AES_128_GCM];
    let negotiate = NegotiateRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        capabilities: Capabilities::ENCRYPTION,
        dialects: vec![Dialect::SMB_2_1, Dialect::SMB_3_1_1],
        contexts: vec![preauth, NegotiateContext::Encryption { ciphers }],
        ..NegotiateRequest::default()
    };
    sealed(server, seal, client, negotiate.into(), &[]);
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
        security_mode: SecurityMode::SIGNING_ENABLED,
        security_buffer_length: u16::try_from(len).unwrap(),
        ..SessionSetupRequest::default()
    };
    let body = setup(token.len()).into();
    let (header, challenge) = sealed(server, seal, client, body, &token);
    assert_eq!(header.nt_status(), NtStatus::MORE_PROCESSING_REQUIRED);
    client.session = header.session_id;
    let challenge = spnego::parse(&challenge).unwrap().inner().unwrap().to_vec();
    let params = AuthenticateParams {
        user: "alice",
        domain: "X",
        workstation: "W",
        password,
        client_challenge: [3; 8],
        session_key: [9; 16],
        filetime: 0,
    };
    let (message, key) = ntlm::build_authenticate(&params, &hello, &challenge).unwrap();
    let token = spnego::neg_token_resp(&Resp {
        token: Some(&message),
        ..Resp::default()
    });
    seal.install_session_key(client.session.0, key).unwrap();
    let body = setup(token.len()).into();
    sealed(server, seal, client, body, &token).0.nt_status()
}

#[test]
fn ntlm_signs_and_encrypts() {
    let mut secret = ShareConfig::disk("secret");
    secret.encrypt = true;
    let config = ServerConfig {
        shares: vec![ShareConfig::disk("share"), secret],
        users: vec![("alice".into(), "right".into())],
        signing_required: true,
        ..ServerConfig::default()
    };
    for (password, share, want) in [
        ("wrong", "share", NtStatus::LOGON_FAILURE),
        ("right", "share", NtStatus::SUCCESS),
        ("right", "secret", NtStatus::SUCCESS),
    ] {
        let mut server = Server::new(config.clone());
        let (sign, encrypt) = (SigningPolicy::IfRequired, EncryptPolicy::IfRequired);
        let mut seal = ClientSecurity::new(sign, encrypt, 1);
        let mut client = Client {
            conn: server.connect(LogicalTime::ZERO),
            mid: 0,
            session: SessionId(0),
            tree: TreeId(0),
        };
        assert_eq!(log_in(&mut server, &mut seal, &mut client, password), want);
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
