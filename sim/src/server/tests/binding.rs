//! Sessions on more than one connection.

use std::net::Ipv6Addr;

use smbench_core::ids::LogicalTime;
use smbench_core::seal::{ClientSecurity, ntlm};
use smbench_core::smb2::*;

use super::client::{Client, Net, config, create, directory, with_lease, with_oplock};
use super::login::{ALICE, Who, arrive, authenticate, connect, negotiate, sealed, with_alice};
use crate::server::{Server, ServerConfig, ServerOutput};

/// What a connection offers.
#[derive(Clone, Copy)]
struct Offer {
    client: &'static str,
    dialect: Dialect,
    cipher: Cipher,
    signing: SigningAlgorithm,
}

const OFFER: Offer = Offer {
    client: "client",
    dialect: Dialect::SMB_3_1_1,
    cipher: Cipher::AES_128_GCM,
    signing: SigningAlgorithm::AES_CMAC,
};

const GMAC: Offer = Offer {
    signing: SigningAlgorithm::AES_GMAC,
    ..OFFER
};

const SMB2: Offer = Offer {
    dialect: Dialect::SMB_2_1,
    ..OFFER
};

const SMB3: Offer = Offer {
    dialect: Dialect::SMB_3_0_2,
    ..OFFER
};

/// A connection that has negotiated, and what the server can do.
fn connected(net: &mut Net, offer: Offer) -> (Client, Capabilities) {
    let mut client = Client {
        conn: net.server.connect(net.now),
        mid: 0,
        session: SessionId(0),
        tree: TreeId(0),
    };
    let mut guid = [0; 16];
    guid[..offer.client.len()].copy_from_slice(offer.client.as_bytes());
    let mut contexts = Vec::new();
    if offer.dialect == Dialect::SMB_3_1_1 {
        contexts = vec![
            NegotiateContext::PreauthIntegrity {
                hash_algorithms: vec![HashAlgorithm::SHA_512],
                salt: vec![1; 32],
            },
            NegotiateContext::Encryption {
                ciphers: vec![offer.cipher],
            },
            NegotiateContext::Signing {
                algorithms: vec![offer.signing],
            },
        ];
    }
    let body = NegotiateRequest {
        client_guid: Guid(guid),
        dialects: vec![offer.dialect],
        capabilities: Capabilities::MULTI_CHANNEL | Capabilities::ENCRYPTION,
        contexts,
        ..NegotiateRequest::default()
    };
    let Response::Negotiate(body) = net.call(&mut client, body).ok().body else {
        panic!("no NEGOTIATE response");
    };
    (client, body.capabilities)
}

fn set_up(net: &mut Net, client: &mut Client, token: &[u8], how: SessionSetupFlags) -> NtStatus {
    let body = SessionSetupRequest {
        flags: how,
        security_buffer_length: u16::try_from(token.len()).unwrap(),
        ..SessionSetupRequest::default()
    };
    let got = net.call_with(client, body, token);
    client.session = got.header.session_id;
    net.server.check_tables();
    got.status()
}

/// A connection of `user`, with a session and a tree.
fn logged_in(net: &mut Net, offer: Offer, user: &str) -> Client {
    let (mut client, _) = connected(net, offer);
    let how = SessionSetupFlags::empty();
    let status = set_up(net, &mut client, user.as_bytes(), how);
    assert_eq!(status, NtStatus::SUCCESS);
    let body = TreeConnectRequest {
        path: "\\\\server\\share".into(),
        ..TreeConnectRequest::default()
    };
    client.tree = net.call(&mut client, body).ok().header.tree_id().unwrap();
    client
}

/// Asks for a further channel of a session, as `user`.
fn bind(net: &mut Net, offer: Offer, to: &Client, user: &str) -> (Client, NtStatus) {
    let (mut client, _) = connected(net, offer);
    (client.session, client.tree) = (to.session, to.tree);
    let status = set_up(
        net,
        &mut client,
        user.as_bytes(),
        SessionSetupFlags::BINDING,
    );
    (client, status)
}

/// A session on two connections.
fn two_channels(net: &mut Net) -> (Client, Client) {
    let first = logged_in(net, OFFER, "alice");
    let (second, status) = bind(net, OFFER, &first, "alice");
    assert_eq!(status, NtStatus::SUCCESS);
    (first, second)
}

#[test]
fn who_may_not_bind_is_told_why() {
    let ccm = Offer {
        cipher: Cipher::AES_128_CCM,
        ..OFFER
    };
    let ccm_gmac = Offer {
        signing: SigningAlgorithm::AES_GMAC,
        ..ccm
    };
    let hmac = Offer {
        signing: SigningAlgorithm::HMAC_SHA256,
        ..OFFER
    };
    let stranger = |offer: Offer| Offer {
        client: "stranger",
        ..offer
    };
    for (number, (session, channel, want)) in [
        (OFFER, OFFER, NtStatus::SUCCESS),
        (SMB3, SMB3, NtStatus::SUCCESS),
        (GMAC, GMAC, NtStatus::SUCCESS),
        // Signing algorithms may differ as long as neither is GMAC.
        (OFFER, hmac, NtStatus::SUCCESS),
        (hmac, OFFER, NtStatus::SUCCESS),
        (GMAC, OFFER, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (GMAC, SMB3, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (GMAC, SMB2, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (OFFER, GMAC, NtStatus::NOT_SUPPORTED),
        (SMB3, GMAC, NtStatus::NOT_SUPPORTED),
        (SMB2, GMAC, NtStatus::NOT_SUPPORTED),
        (SMB2, SMB2, NtStatus::REQUEST_NOT_ACCEPTED),
        (OFFER, SMB2, NtStatus::REQUEST_NOT_ACCEPTED),
        (SMB2, OFFER, NtStatus::INVALID_PARAMETER),
        (SMB3, OFFER, NtStatus::INVALID_PARAMETER),
        (OFFER, SMB3, NtStatus::INVALID_PARAMETER),
        (OFFER, ccm, NtStatus::INVALID_PARAMETER),
        // Which comes first.
        (ccm_gmac, OFFER, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (ccm, GMAC, NtStatus::NOT_SUPPORTED),
        (ccm, stranger(GMAC), NtStatus::NOT_SUPPORTED),
        (ccm, stranger(OFFER), NtStatus::INVALID_PARAMETER),
        (OFFER, stranger(OFFER), NtStatus::USER_SESSION_DELETED),
    ]
    .into_iter()
    .enumerate()
    {
        let mut net = Net::new();
        let mut first = logged_in(&mut net, session, "alice");
        let (mut second, status) = bind(&mut net, channel, &first, "alice");
        assert_eq!(status, want, "row {number}");
        // What fails leaves the session as it was, and the connection without.
        net.open(&mut first, "f");
        let got = net.call(&mut second, create("g")).status();
        let then = match want {
            NtStatus::SUCCESS => want,
            _ => NtStatus::USER_SESSION_DELETED,
        };
        assert_eq!(got, then, "row {number}");
    }
}

#[test]
fn a_session_that_is_not_there_or_not_ready_is_not_bound_to() {
    let mut net = Net::new();
    let mut nowhere = connected(&mut net, OFFER).0;
    nowhere.session = SessionId(4711);
    let (_, status) = bind(&mut net, OFFER, &nowhere, "alice");
    assert_eq!(status, NtStatus::USER_SESSION_DELETED);
    // Of which the first token alone has come.
    let (mut first, _) = connected(&mut net, OFFER);
    let token = ntlm::build_negotiate(ntlm::flags::UNICODE | ntlm::flags::NTLM);
    let status = set_up(&mut net, &mut first, &token, SessionSetupFlags::empty());
    assert_eq!(status, NtStatus::MORE_PROCESSING_REQUIRED);
    let (_, status) = bind(&mut net, OFFER, &first, "alice");
    assert_eq!(status, NtStatus::REQUEST_NOT_ACCEPTED);
    // Which goes on all the same.
    let status = set_up(&mut net, &mut first, b"alice", SessionSetupFlags::empty());
    assert_eq!(status, NtStatus::SUCCESS);
}

#[test]
fn guests_and_nobody_have_one_channel() {
    for anonymous in [false, true] {
        let mut net = Net::new();
        let first = logged_in(&mut net, OFFER, "alice");
        let session = net.server.sessions.get_mut(&first.session.0).unwrap();
        (session.guest, session.anonymous) = (!anonymous, anonymous);
        let (_, status) = bind(&mut net, OFFER, &first, "alice");
        assert_eq!(status, NtStatus::NOT_SUPPORTED);
    }
}

#[test]
fn another_user_does_not_get_in() {
    let mut net = Net::new();
    let mut first = logged_in(&mut net, OFFER, "alice");
    let (mut second, status) = bind(&mut net, OFFER, &first, "bob");
    assert_eq!(status, NtStatus::ACCESS_DENIED);
    let got = net.call(&mut second, create("g")).status();
    assert_eq!(got, NtStatus::USER_SESSION_DELETED);
    net.open(&mut first, "f");
    // The same connection may try again, and letters have no case.
    let how = SessionSetupFlags::BINDING;
    second.session = first.session;
    let status = set_up(&mut net, &mut second, b"Alice", how);
    assert_eq!(status, NtStatus::SUCCESS);
    net.open(&mut second, "g");
}

#[test]
fn a_channel_is_bound_once() {
    let mut net = Net::new();
    let (mut first, mut second) = two_channels(&mut net);
    for (client, want) in [
        (&mut first, NtStatus::REQUEST_NOT_ACCEPTED),
        (&mut second, NtStatus::ACCESS_DENIED),
    ] {
        let status = set_up(&mut net, client, b"alice", SessionSetupFlags::BINDING);
        assert_eq!(status, want);
        net.open(client, "f");
    }
    // To authenticate again is no binding.
    let status = set_up(&mut net, &mut second, b"alice", SessionSetupFlags::empty());
    assert_eq!(status, NtStatus::SUCCESS);
}

/// The legs of a binding carry the flag; without, they are of no session of their connection.
#[test]
fn a_binding_that_has_begun_is_no_channel() {
    let mut net = Net::new();
    let first = logged_in(&mut net, OFFER, "alice");
    let (mut second, _) = connected(&mut net, OFFER);
    (second.session, second.tree) = (first.session, first.tree);
    let token = ntlm::build_negotiate(ntlm::flags::UNICODE | ntlm::flags::NTLM);
    let how = SessionSetupFlags::BINDING;
    let status = set_up(&mut net, &mut second, &token, how);
    assert_eq!(status, NtStatus::MORE_PROCESSING_REQUIRED);
    let got = net.call(&mut second, create("f")).status();
    assert_eq!(got, NtStatus::USER_SESSION_DELETED);
    let plain = SessionSetupFlags::empty();
    let status = set_up(&mut net, &mut second, b"alice", plain);
    assert_eq!(status, NtStatus::USER_SESSION_DELETED);
    second.session = first.session;
    let status = set_up(&mut net, &mut second, b"alice", how);
    assert_eq!(status, NtStatus::SUCCESS);
    net.open(&mut second, "f");
}

#[test]
fn a_server_with_one_channel_says_so() {
    for (offer, multi_channel, said) in [
        (OFFER, true, true),
        (SMB3, true, true),
        (SMB2, true, false),
        (OFFER, false, false),
    ] {
        let mut net = Net::with(ServerConfig {
            multi_channel,
            ..config()
        });
        let (_, can) = connected(&mut net, offer);
        assert_eq!(can.contains(Capabilities::MULTI_CHANNEL), said);
        let first = logged_in(&mut net, offer, "alice");
        let (_, status) = bind(&mut net, offer, &first, "alice");
        let want = if said {
            NtStatus::SUCCESS
        } else {
            NtStatus::REQUEST_NOT_ACCEPTED
        };
        assert_eq!(status, want);
    }
}

#[test]
fn a_session_has_so_many_channels() {
    let mut net = Net::new();
    let first = logged_in(&mut net, OFFER, "alice");
    let mut last = first.clone();
    for _ in 1..32 {
        let (client, status) = bind(&mut net, OFFER, &first, "alice");
        assert_eq!(status, NtStatus::SUCCESS);
        last = client;
    }
    let (_, status) = bind(&mut net, OFFER, &first, "alice");
    assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
    net.disconnect(&last);
    let (_, status) = bind(&mut net, OFFER, &first, "alice");
    assert_eq!(status, NtStatus::SUCCESS);
}

#[test]
fn all_channels_have_the_same_opens_and_trees() {
    let mut net = Net::new();
    let (mut first, mut second) = two_channels(&mut net);
    let file = net.open(&mut first, "f");
    let status = net.write(&mut second, file, 0, b"data");
    assert_eq!(status, NtStatus::SUCCESS);
    assert_eq!(net.read(&mut first, file, 0, 4).unwrap(), b"data");
    // What waits on one channel ends with the tree that goes on another.
    let dir = net.call(&mut second, directory("d")).created().file_id;
    let watch = ChangeNotifyRequest {
        output_buffer_length: 1024,
        file_id: dir,
        completion_filter: CompletionFilter::FILE_NAME,
        ..ChangeNotifyRequest::default()
    };
    let waits = net.send(&mut second, watch);
    let interim = net.answer(&second, waits).unwrap();
    assert_eq!(interim.status(), NtStatus::PENDING);
    net.call(&mut first, TreeDisconnectRequest {}).ok();
    net.server.check_tables();
    assert!(net.answer(&second, waits).is_some());
    let got = net.call(&mut second, create("f")).status();
    assert_eq!(got, NtStatus::NETWORK_NAME_DELETED);
}

/// [MS-SMB2] 3.3.7.1: the session goes with its last channel.
#[test]
fn a_channel_that_goes_takes_nothing_along() {
    let mut net = Net::new();
    let (mut first, mut second) = two_channels(&mut net);
    let mut other = net.client("other");
    let held = with_oplock("f", OplockLevel::BATCH);
    let file = net.call(&mut first, held).created().file_id;
    let dir = net.call(&mut first, directory("d")).created().file_id;
    let watch = |file_id| ChangeNotifyRequest {
        output_buffer_length: 1024,
        file_id,
        completion_filter: CompletionFilter::FILE_NAME,
        ..ChangeNotifyRequest::default()
    };
    net.send(&mut first, watch(dir));
    net.disconnect(&first);
    net.server.check_tables();
    assert_eq!(net.write(&mut second, file, 0, b"data"), NtStatus::SUCCESS);
    // Breaks come on the channel that is left, and are acknowledged there.
    let waits = net.send(&mut other, create("f"));
    assert_eq!(
        net.answer(&other, waits).unwrap().status(),
        NtStatus::PENDING
    );
    let Some(Response::OplockBreak(notified)) = net.notification(&second) else {
        panic!("no break");
    };
    assert_eq!(notified.file_id, file);
    let ack = OplockBreakAck {
        oplock_level: OplockLevel::NONE,
        file_id: file,
    };
    net.call(&mut second, ack).ok();
    net.answer(&other, waits).unwrap().ok();
    // What happened in the directory meanwhile is told.
    let body = create("d\\new");
    net.call(&mut other, body).ok();
    let told = net.call(&mut second, watch(dir));
    assert_eq!(told.status(), NtStatus::SUCCESS);
    net.disconnect(&second);
    net.server.check_tables();
    assert!(net.server.sessions.len() == 1, "the other's alone");
}

#[test]
fn durable_opens_wait_for_the_last_channel_to_go() {
    let mut net = Net::new();
    let (mut first, second) = two_channels(&mut net);
    let mut body = with_oplock("f", OplockLevel::BATCH);
    body.contexts = vec![CreateContext {
        tag: ContextTag::DHNQ,
        data: ContextData::DurableRequest(Default::default()),
    }];
    net.call(&mut first, body).ok();
    net.disconnect(&first);
    assert_eq!(net.server.disconnected, 0);
    net.disconnect(&second);
    net.server.check_tables();
    assert_eq!(net.server.disconnected, 1);
}

/// Leases are the client's: its oldest connection hears of them, and the next one when that is gone.
#[test]
fn lease_breaks_find_a_channel() {
    for lose_first in [false, true] {
        let mut net = Net::new();
        let (mut first, mut second) = two_channels(&mut net);
        let mut other = net.client("other");
        net.call(&mut second, with_lease("f", 7, 7, 2)).ok();
        if lose_first {
            net.disconnect(&first);
        }
        net.send(&mut other, create("f"));
        let hears = if lose_first { &mut second } else { &mut first };
        let told = net.notification(hears);
        assert!(
            matches!(told, Some(Response::LeaseBreakNotification(_))),
            "{told:?}"
        );
        let ack = LeaseBreakAck {
            lease_key: Guid([7; 16]),
            lease_state: LeaseState::READ | LeaseState::HANDLE,
            ..LeaseBreakAck::default()
        };
        net.call(hears, ack).ok();
        net.server.check_tables();
    }
}

#[test]
fn logoff_ends_the_session_on_all_channels() {
    let mut net = Net::new();
    let (mut first, mut second) = two_channels(&mut net);
    let file = net.open(&mut first, "f");
    net.call(&mut second, LogoffRequest {}).ok();
    net.server.check_tables();
    assert_eq!(net.server.open_count(), 0);
    let got = net.read(&mut first, file, 0, 1);
    assert_eq!(got, Err(NtStatus::USER_SESSION_DELETED));
    // Who binds to it now comes too late.
    let (_, status) = bind(&mut net, OFFER, &second, "alice");
    assert_eq!(status, NtStatus::USER_SESSION_DELETED);
}

#[test]
fn a_client_that_returns_ends_its_old_session_on_all_channels() {
    let mut net = Net::new();
    let (mut first, mut second) = two_channels(&mut net);
    let (mut back, _) = connected(&mut net, OFFER);
    let body = SessionSetupRequest {
        security_buffer_length: 5,
        previous_session_id: first.session,
        ..SessionSetupRequest::default()
    };
    net.call_with(&mut back, body, b"alice").ok();
    net.server.check_tables();
    for old in [&mut first, &mut second] {
        let got = net.call(old, create("f")).status();
        assert_eq!(got, NtStatus::USER_SESSION_DELETED);
    }
}

/// [MS-SMB2] 3.3.5.15.11.
#[test]
fn clients_are_told_where_to_bind() {
    let body = IoctlRequest {
        ctl_code: Fsctl::QUERY_NETWORK_INTERFACE_INFO,
        file_id: FileId::RELATED,
        max_output_response: 4096,
        flags: IoctlFlags::IS_FSCTL,
        ..IoctlRequest::default()
    };
    let mut net = Net::with(ServerConfig {
        interfaces: vec![[192, 0, 2, 7].into(), Ipv6Addr::LOCALHOST.into()],
        ..config()
    });
    let mut client = logged_in(&mut net, SMB3, "alice");
    let Response::Ioctl(told) = net.call(&mut client, body.clone()).ok().body else {
        panic!("no IOCTL response");
    };
    assert_eq!(told.output.len(), 2 * 152);
    let (first, second) = told.output.split_at(152);
    assert_eq!((first[0], second[0]), (152, 0));
    assert_eq!((first[4], second[4]), (1, 2));
    assert_eq!(&first[24..32], [2, 0, 0, 0, 192, 0, 2, 7]);
    assert_eq!((second[24], second[47]), (23, 1));
    let mut client = logged_in(&mut net, SMB2, "alice");
    let status = net.call(&mut client, body).status();
    assert_eq!(status, NtStatus::INVALID_DEVICE_REQUEST);
}

/// A client of a server that does not trust: a connection, and its seal.
struct Secured {
    seal: ClientSecurity,
    client: Client,
}

impl Secured {
    fn new(server: &mut Server) -> Self {
        let (mut seal, mut client) = arrive(server);
        negotiate(server, &mut seal, &mut client, &ALICE);
        Self { seal, client }
    }

    fn log_in(&mut self, server: &mut Server, who: &Who, how: SessionSetupFlags) -> NtStatus {
        authenticate(server, &mut self.seal, &mut self.client, who, how)
    }

    /// Takes up a session of another connection, with its keys.
    fn join(&mut self, first: &Self) {
        let session = first.client.session;
        let base = first.seal.export(session.0).unwrap();
        self.seal.bind(session.0, base).unwrap();
        (self.client.session, self.client.tree) = (session, first.client.tree);
    }

    fn create(&mut self, server: &mut Server, name: &str) -> NtStatus {
        let body = create(name).into();
        let (header, _) = sealed(server, &mut self.seal, &mut self.client, body, &[]);
        header.nt_status()
    }
}

fn secured(encrypt_required: bool) -> (Server, Secured) {
    let mut server = Server::new(ServerConfig {
        encrypt_required,
        signing_required: true,
        users: [with_alice().users, vec![("bob".into(), secret())]].concat(),
        ..with_alice()
    });
    let mut first = Secured::new(&mut server);
    let status = first.log_in(&mut server, &ALICE, SessionSetupFlags::empty());
    assert_eq!(status, NtStatus::SUCCESS);
    let Secured { seal, client } = &mut first;
    let body = TreeConnectRequest {
        path: "\\\\s\\share".into(),
        ..TreeConnectRequest::default()
    };
    let (header, _) = sealed(&mut server, seal, client, body.into(), &[]);
    client.tree = header.tree_id().unwrap();
    (server, first)
}

fn secret() -> smbench_core::seal::Secret {
    smbench_core::seal::Secret::new(b"right")
}

/// A channel signs with a key of its own, and encrypts with the session's. [MS-SMB2] 3.3.5.5.3.
#[test]
fn channels_sign_with_their_own_keys() {
    for encrypt in [false, true] {
        let (mut server, mut first) = secured(encrypt);
        let mut second = Secured::new(&mut server);
        second.join(&first);
        let status = second.log_in(&mut server, &ALICE, SessionSetupFlags::BINDING);
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(second.create(&mut server, "g"), NtStatus::SUCCESS);
        assert_eq!(first.create(&mut server, "f"), NtStatus::SUCCESS);
        // A third channel is bound through the second, when the first is gone.
        server.disconnect(LogicalTime::ZERO, first.client.conn);
        let mut third = Secured::new(&mut server);
        third.join(&second);
        let status = third.log_in(&mut server, &ALICE, SessionSetupFlags::BINDING);
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(third.create(&mut server, "h"), NtStatus::SUCCESS);
        if encrypt {
            continue;
        }
        // The first one's key is not the second one's.
        std::mem::swap(&mut first.seal, &mut second.seal);
        let header = Net::header(&mut second.client, Command::CREATE);
        let mut frame = Vec::new();
        Message::new(header, Body::Request(create("i").into())).encode(&[], &mut frame);
        second.seal.seal(&mut frame).unwrap();
        server.receive(LogicalTime::ZERO, second.client.conn, &frame);
        assert_eq!(answered(&mut server), NtStatus::ACCESS_DENIED);
    }
}

fn answered(server: &mut Server) -> NtStatus {
    let Some(ServerOutput::Send { frame, .. }) = server.poll() else {
        panic!("no answer");
    };
    Message::decode(&frame).unwrap().message.header.nt_status()
}

/// The request that binds is signed with the session's key. [MS-SMB2] 3.3.5.5, 3.3.5.2.4.
#[test]
fn a_binding_has_to_be_signed_with_the_sessions_key() {
    let (mut server, mut first) = secured(false);
    let mut ask = |server: &mut Server, sign: &dyn Fn(&mut Vec<u8>)| {
        let mut second = Secured::new(server);
        second.client.session = first.client.session;
        let token = ntlm::build_negotiate(ntlm::flags::UNICODE | ntlm::flags::NTLM);
        let header = Net::header(&mut second.client, Command::SESSION_SETUP);
        let body = SessionSetupRequest {
            flags: SessionSetupFlags::BINDING,
            security_buffer_length: u16::try_from(token.len()).unwrap(),
            ..SessionSetupRequest::default()
        };
        let mut frame = Vec::new();
        Message::new(header, Body::Request(body.into())).encode(&token, &mut frame);
        sign(&mut frame);
        server.receive(LogicalTime::ZERO, second.client.conn, &frame);
        let status = answered(server);
        assert_eq!(first.create(server, "f"), NtStatus::SUCCESS);
        status
    };
    let unsigned = ask(&mut server, &|_| {});
    assert_eq!(unsigned, NtStatus::INVALID_PARAMETER);
    let forged = ask(&mut server, &|frame| {
        frame[16] |= 8; // SMB2_FLAGS_SIGNED
        frame[48..64].fill(0xaa);
    });
    assert_eq!(forged, NtStatus::ACCESS_DENIED);
}

#[test]
fn whoever_cannot_prove_to_be_the_sessions_user_is_no_channel() {
    let guesser = Who {
        password: "wrong",
        ..ALICE
    };
    let bob = Who {
        user: Some("bob"),
        ..ALICE
    };
    for (who, want) in [
        (guesser, NtStatus::LOGON_FAILURE),
        (bob, NtStatus::ACCESS_DENIED),
    ] {
        let (mut server, mut first) = secured(false);
        let mut second = Secured::new(&mut server);
        second.join(&first);
        let status = second.log_in(&mut server, &who, SessionSetupFlags::BINDING);
        assert_eq!(status, want);
        let Secured { seal, client } = &mut second;
        let got = connect(&mut server, seal, client);
        assert_eq!(got, NtStatus::USER_SESSION_DELETED);
        assert_eq!(first.create(&mut server, "f"), NtStatus::SUCCESS);
        // It may try again, with keys made anew.
        second.join(&first);
        let status = second.log_in(&mut server, &ALICE, SessionSetupFlags::BINDING);
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(second.create(&mut server, "g"), NtStatus::SUCCESS);
        server.check_tables();
    }
}
