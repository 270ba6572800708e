//! The driver, its seals and its logins against a real Samba.
//!
//! Built with `--features samba-tests` only: each test starts a Samba of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;

use smbench_core::bulk::NoBlobs;
use smbench_core::confine::Gate;
use smbench_core::drive::Machine;
use smbench_core::event::{
    AuthStep, Effect, EffectsDigest, Entry, Input, Output, Recorder, Report, Seal, TokenOutcome,
};
use smbench_core::frame::{Content, Cut, Frame};
use smbench_core::ids::{ConnId, LogicalTime, SessionRef};
use smbench_core::seal::{EncryptPolicy, Secret, SigningPolicy};
use smbench_live::auth::{Authenticator, Credentials, SeededNtlm, SspiAuthenticator};
use smbench_live::driver::Parts;
use smbench_live::tcp::TcpNetwork;
use smbench_live::timer::PreciseTimer;
use smbench_live::{Driver, DriverConfig, Endpoint, Metrics};
use support::samba::{Options, PrivateSamba};

const CONN: ConnId = ConnId(0);
const SESSION: SessionRef = SessionRef(0);

fn header(command: u16, mid: u64, session_id: u64, tree: u32, body: &[u8]) -> Vec<u8> {
    let mut pdu = vec![0; 64];
    pdu[..6].copy_from_slice(&[0xFE, b'S', b'M', b'B', 64, 0]);
    pdu[12..14].copy_from_slice(&command.to_le_bytes());
    pdu[6] = 1;
    pdu[14] = 10;
    pdu[24..32].copy_from_slice(&mid.to_le_bytes());
    pdu[36..40].copy_from_slice(&tree.to_le_bytes());
    pdu[40..48].copy_from_slice(&session_id.to_le_bytes());
    pdu.extend_from_slice(body);
    pdu
}

/// A NEGOTIATE request for one dialect; 3.1.1 with one cipher and one signing algorithm.
fn negotiate(dialect: u16, cipher: u8, signing: u8) -> Vec<u8> {
    let mut body = vec![36, 0, 1, 0, 1, 0, 0, 0, 0x7f, 0, 0, 0];
    body.extend([7; 16]);
    if dialect == 0x311 {
        body.extend([104, 0, 0, 0, 3, 0, 0, 0]);
    } else {
        body.extend([0; 8]);
    }
    body.extend(dialect.to_le_bytes());
    if dialect == 0x311 {
        body.extend([0, 0]);
        body.extend([1, 0, 38, 0, 0, 0, 0, 0, 1, 0, 32, 0, 1, 0]);
        body.extend([9; 32]);
        body.extend([0, 0]);
        body.extend([2, 0, 4, 0, 0, 0, 0, 0, 1, 0, cipher, 0, 0, 0, 0, 0]);
        body.extend([8, 0, 4, 0, 0, 0, 0, 0, 1, 0, signing, 0]);
    }
    header(0, 0, 0, 0, &body)
}

/// Logs in, connects a share, pings, disconnects; keeps how each answer was sealed.
struct Visit {
    out: VecDeque<Effect>,
    negotiate: Vec<u8>,
    share: String,
    mid: u64,
    session_id: u64,
    answers: Vec<(u8, u32, Seal)>,
}

impl Visit {
    fn send(&mut self, bytes: Vec<u8>, cuts: Vec<Cut>, login: Option<SessionRef>) {
        self.out.push_back(Effect::Send {
            conn: CONN,
            frame: Frame { bytes, cuts },
            login,
        });
    }

    fn request(&mut self, command: u16, tree: u32, body: &[u8]) {
        self.mid += 1;
        let pdu = header(command, self.mid, self.session_id, tree, body);
        self.send(pdu, vec![], None);
    }

    fn done(&mut self) {
        self.out.push_back(Effect::Close {
            conn: CONN,
            reset: false,
        });
        self.out.push_back(Effect::Report(Report::Done));
    }

    fn authenticate(&mut self, step: AuthStep) {
        self.out.push_back(Effect::Authenticate {
            conn: CONN,
            session: SESSION,
            step,
        });
    }
}

impl Machine for Visit {
    type Error = Infallible;

    fn handle(&mut self, _: LogicalTime, input: Input) -> Result<(), Infallible> {
        match input {
            Input::Start => self.out.push_back(Effect::Connect { conn: CONN }),
            Input::Connected { .. } => self.send(self.negotiate.clone(), vec![], None),
            Input::TokenReady {
                outcome: TokenOutcome::Ready { len },
                ..
            } => {
                self.mid += 1;
                let mut body = vec![25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0];
                body.extend(u16::try_from(len).unwrap().to_le_bytes());
                body.extend([0; 8]);
                let pdu = header(1, self.mid, self.session_id, 0, &body);
                let cut = Cut {
                    at: 88,
                    len,
                    content: Content::Token,
                };
                self.send(pdu, vec![cut], Some(SESSION));
            }
            Input::Received { frame, seal, .. } => {
                let bytes = &frame.bytes;
                let status = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
                let tree = u32::from_le_bytes(bytes[36..40].try_into().unwrap());
                self.session_id = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
                self.answers.push((bytes[12], status, seal));
                match (bytes[12], status) {
                    (0, 0) => self.authenticate(AuthStep::Begin),
                    (1, 0xC000_0016) => self.authenticate(AuthStep::Continue),
                    (1, 0) => {
                        let path: Vec<u8> = format!("\\\\127.0.0.1\\{}", self.share)
                            .encode_utf16()
                            .flat_map(u16::to_le_bytes)
                            .collect();
                        let mut body = vec![9, 0, 0, 0, 72, 0];
                        body.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
                        body.extend(path);
                        self.request(3, 0, &body);
                    }
                    (3, 0) => self.request(4, tree, &[4, 0, 0, 0]),
                    (4, 0) => self.request(2, 0, &[4, 0, 0, 0]),
                    _ => self.done(),
                }
            }
            other => panic!("{other:?} after {:x?}", self.answers),
        }
        Ok(())
    }

    fn poll(&mut self) -> Output {
        self.out
            .pop_front()
            .map_or(Output::WakeAt(None), Output::Do)
    }
}

struct Nothing;

impl Recorder for Nothing {
    type Error = Infallible;

    fn record(&mut self, _: &Entry) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A server of this test's own, its address and its users' password.
fn server() -> (PrivateSamba, SocketAddr, String) {
    let server = PrivateSamba::start(&Options::default());
    let server = server.unwrap_or_else(|why| panic!("Samba did not start: {why}"));
    let address = format!("{}:{}", server.host(), server.port());
    let password = server.password().unwrap().trim().to_owned();
    (server, address.parse().unwrap(), password)
}

fn visit(
    address: SocketAddr,
    authenticator: impl Authenticator,
    negotiate: Vec<u8>,
    share: &str,
    config: DriverConfig,
) -> (Vec<(u8, u32, Seal)>, Metrics) {
    let machine = Visit {
        out: VecDeque::new(),
        negotiate,
        share: share.to_owned(),
        mid: 0,
        session_id: 0,
        answers: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = move |_| {
            Some(Endpoint {
                server: "samba".to_owned(),
                address,
            })
        };
        let parts = Parts {
            machine,
            network: TcpNetwork::new(endpoint),
            authenticator,
            blobs: NoBlobs,
            recorder: Nothing,
            timer: PreciseTimer::new().unwrap(),
            gate: Gate::open(),
        };
        let (driver, _) = Driver::new(parts, config);
        let finished = driver.run(|_, _| ()).await.unwrap();
        (finished.machine.answers, finished.metrics)
    })
}

fn who(password: &str) -> impl Fn(SessionRef) -> Option<Credentials> + Send + Clone + use<> {
    let password = Secret::new(password.as_bytes());
    move |_| {
        let (user, domain) = ("alice".to_owned(), "WORKGROUP".to_owned());
        Some(Credentials {
            user,
            domain,
            password: password.clone(),
        })
    }
}

/// Every dialect and algorithm, signed and encrypted, with an authenticator made anew each time.
fn every_dialect<A: Authenticator>(address: SocketAddr, make: impl Fn() -> A) {
    let table = [
        (0x202, 0, 0),
        (0x210, 0, 0),
        (0x300, 1, 0),
        (0x302, 1, 0),
        (0x311, 1, 1),
        (0x311, 2, 2),
        (0x311, 3, 1),
        (0x311, 4, 2),
        (0x311, 2, 0),
    ];
    for (dialect, cipher, signing) in table {
        let hello = negotiate(dialect, cipher, signing);
        let config = DriverConfig {
            signing: SigningPolicy::Always,
            ..DriverConfig::default()
        };
        let (answers, metrics) = visit(address, make(), hello.clone(), "share", config);
        let tail: Vec<_> = answers.iter().rev().take(4).rev().copied().collect();
        let signed = |command| (command, 0, Seal::Signed);
        assert_eq!(
            tail,
            [1, 3, 4, 2].map(signed),
            "{dialect:#x} {cipher} {signing}"
        );
        assert_eq!(metrics.bad_seals, 0);
        if dialect < 0x300 {
            continue;
        }
        let config = DriverConfig {
            encryption: EncryptPolicy::Always,
            ..config
        };
        let (answers, metrics) = visit(address, make(), hello.clone(), "share", config);
        let tail: Vec<_> = answers.iter().rev().take(3).rev().copied().collect();
        let encrypted = |command| (command, 0, Seal::Encrypted);
        assert_eq!(
            tail,
            [3, 4, 2].map(encrypted),
            "{dialect:#x} {cipher} {signing}"
        );
        assert_eq!(metrics.encrypted, 3);
        // A share that demands it, with nothing asked for by us: TREE_CONNECT in clear.
        let (answers, _) = visit(address, make(), hello, "secret", DriverConfig::default());
        assert!(
            answers.contains(&(4, 0, Seal::Encrypted)),
            "{dialect:#x} {answers:x?}"
        );
    }
}

#[test]
fn ntlm_of_our_own_is_accepted_on_every_dialect() {
    let (_server, address, password) = server();
    every_dialect(address, || SeededNtlm::new(who(&password), 1));
}

#[test]
fn a_wrong_password_is_refused() {
    let (_server, address, _) = server();
    let wrong = SeededNtlm::new(who("wrong"), 1);
    let hello = negotiate(0x311, 2, 2);
    let (answers, _) = visit(address, wrong, hello, "share", DriverConfig::default());
    assert_eq!(answers.last(), Some(&(1, 0xC000_006D, Seal::Plain)));
}

#[test]
fn sspi_is_accepted_on_every_dialect() {
    let (_server, address, password) = server();
    every_dialect(address, || {
        SspiAuthenticator::new(who(&password), "SMBENCH".to_owned())
    });
}
