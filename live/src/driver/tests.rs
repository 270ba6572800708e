//! The driver against a small server over an in-memory network, under tokio's paused clock.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use smb_transport::{SmbTransport, SmbTransportRead, SmbTransportWrite, TransportError};
use smbench_core::confine::Gate;
use smbench_core::event::{
    AuthStep, Effect, Entry, NetFailure, Output, Report, Seal, TokenOutcome,
};
use smbench_core::frame::{Content, Cut, Digest, Frame};
use smbench_core::ids::SessionRef;
use smbench_core::seal::ntlm::{self, ChallengeParams};
use smbench_core::seal::{Secret, ServerSecurity, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::auth::{Credentials, SeededNtlm};
use crate::{Endpoint, TokioTimer};
use smbench_core::bulk::Blobs;

/// A transport over an in-memory pipe to a server task.
#[derive(Default)]
struct Pipe {
    reader: Option<ReadHalf<DuplexStream>>,
    writer: Option<WriteHalf<DuplexStream>>,
    refuse: bool,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 'a>>;

impl SmbTransport for Pipe {
    fn connect<'a>(&'a mut self, _: &'a str, _: SocketAddr) -> Boxed<'a, ()> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if self.refuse {
                let refused = std::io::ErrorKind::ConnectionRefused;
                return Err(TransportError::IoError(refused.into()));
            }
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(serve(far));
            let (reader, writer) = tokio::io::split(near);
            (self.reader, self.writer) = (Some(reader), Some(writer));
            Ok(())
        })
    }

    fn default_port(&self) -> u16 {
        445
    }

    #[allow(clippy::type_complexity)]
    fn split(
        self: Box<Self>,
    ) -> Result<(Box<dyn SmbTransportRead>, Box<dyn SmbTransportWrite>), TransportError> {
        let Self { reader, writer, .. } = *self;
        let read = Self {
            reader,
            ..Self::default()
        };
        Ok((
            Box::new(read),
            Box::new(Self {
                writer,
                ..Self::default()
            }),
        ))
    }

    fn remote_address(&self) -> Result<SocketAddr, TransportError> {
        Err(TransportError::NotConnected)
    }
}

impl SmbTransportRead for Pipe {
    fn receive_exact<'a>(&'a mut self, out: &'a mut [u8]) -> Boxed<'a, ()> {
        Box::pin(async move {
            self.reader.as_mut().unwrap().read_exact(out).await?;
            Ok(())
        })
    }
}

impl SmbTransportWrite for Pipe {
    fn send_raw<'a>(&'a mut self, bytes: &'a [u8]) -> Boxed<'a, ()> {
        Box::pin(async move { Ok(self.writer.as_mut().unwrap().write_all(bytes).await?) })
    }
}

fn header(command: u16, flags: u32, mid: u64, session_id: u64, len: usize) -> Vec<u8> {
    let mut pdu = vec![0; len];
    pdu[..6].copy_from_slice(&[0xFE, b'S', b'M', b'B', 64, 0]);
    pdu[12..14].copy_from_slice(&command.to_le_bytes());
    pdu[16..20].copy_from_slice(&flags.to_le_bytes());
    pdu[24..32].copy_from_slice(&mid.to_le_bytes());
    pdu[40..48].copy_from_slice(&session_id.to_le_bytes());
    pdu
}

fn put16(pdu: &mut [u8], at: usize, value: u16) {
    pdu[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// A server that demands signatures, knows `alice`, and answers READ; it cuts the line on FLUSH.
async fn serve(stream: DuplexStream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut security = ServerSecurity::new(9);
    let challenge = ntlm::build_challenge(&ChallengeParams {
        client_flags: 0xE008_8235,
        server_challenge: *b"8 bytes!",
        server_name: "MODEL",
        domain_name: "MODEL",
        dns_name: "model",
        filetime: Some(1),
    });
    loop {
        let mut len = [0; 4];
        if reader.read_exact(&mut len).await.is_err() {
            return;
        }
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
        reader.read_exact(&mut frame).await.unwrap();
        let opened = security.open(frame).unwrap();
        let pdu = &opened.plain;
        let mid = u64::from_le_bytes(pdu[24..32].try_into().unwrap());
        let mut reply = match pdu[12] {
            0 => {
                let mut reply = header(0, 1, mid, 0, 128);
                put16(&mut reply, 64, 65);
                put16(&mut reply, 66, 3);
                put16(&mut reply, 68, 0x302);
                reply
            }
            1 => {
                let token = &pdu[88..];
                let first = ntlm::parse_negotiate(token).is_ok();
                let body: &[u8] = if first { &challenge } else { b"" };
                let mut reply = header(1, 1, mid, 77, 72);
                put16(&mut reply, 64, 9);
                put16(&mut reply, 68, 72);
                put16(&mut reply, 70, u16::try_from(body.len()).unwrap());
                reply.extend_from_slice(body);
                let judged = ntlm::parse_authenticate(token)
                    .map_err(|_| 0xC000_0016_u32)
                    .and_then(|it| {
                        ntlm::verify(&it, "secret", b"8 bytes!").map_err(|_| 0xC000_006D)
                    });
                match judged {
                    Ok(key) => drop(security.install_session_key(77, key).unwrap()),
                    Err(status) => reply[8..12].copy_from_slice(&status.to_le_bytes()),
                }
                reply
            }
            8 => {
                assert_eq!(opened.verdict, Verdict::Signed);
                let mut reply = header(8, 1, mid, 77, 80);
                put16(&mut reply, 64, 17);
                reply[66] = 80;
                reply[68] = 5;
                reply.extend_from_slice(b"hello");
                reply
            }
            9 => {
                assert_eq!(&pdu[112..], b"written");
                header(9, 1, mid, 77, 84)
            }
            _ => return,
        };
        security.seal(&mut reply, None).unwrap();
        let mut framed = u32::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(reply);
        // In pieces, as a network may give them.
        for part in framed.chunks(50) {
            writer.write_all(part).await.unwrap();
        }
    }
}

type TestDriver<S> = Driver<Script, Pipes, SeededNtlm<S>, Written, Memory, TokioTimer>;
/// The input expected, what it makes the engine want, and when to wake it, in milliseconds.
type Line = (&'static str, Vec<Effect>, Option<u64>);

/// An engine made of a table: to each input what it wants next.
struct Script {
    steps: VecDeque<Line>,
    out: VecDeque<Effect>,
    wake: Option<LogicalTime>,
}

fn name(input: &Input) -> String {
    match input {
        Input::Received { frame, seal, .. } => {
            format!(
                "received {} {:?} {}",
                frame.bytes[12],
                seal,
                frame.cuts.len()
            )
        }
        Input::TokenReady {
            outcome: TokenOutcome::Ready { .. },
            ..
        } => "token".to_owned(),
        Input::TokenReady { .. } => "no token".to_owned(),
        Input::Closed { reason, .. } => format!("closed {reason:?}"),
        Input::ConnectFailed { reason, .. } => format!("failed {reason:?}"),
        other => format!("{other:?}")
            .split(' ')
            .next()
            .unwrap()
            .to_lowercase(),
    }
}

impl Machine for Script {
    type Error = Infallible;

    fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), Infallible> {
        let (want, mut effects, wake) = self.steps.pop_front().expect("an input too many");
        assert_eq!(name(&input), want, "at {now:?}");
        if let Input::TokenReady {
            outcome: TokenOutcome::Ready { len },
            ..
        } = input
        {
            for effect in &mut effects {
                if let Effect::Send { frame, .. } = effect {
                    frame.cuts[0].len = len;
                    put16(&mut frame.bytes, 78, u16::try_from(len).unwrap());
                }
            }
        }
        self.out.extend(effects);
        self.wake = wake.map(|millis| LogicalTime(millis * 1_000_000));
        Ok(())
    }

    fn poll(&mut self) -> Output {
        self.out
            .pop_front()
            .map_or(Output::WakeAt(self.wake), Output::Do)
    }
}

#[derive(Default)]
struct Memory(Rc<RefCell<Vec<Entry>>>);

impl Recorder for Memory {
    type Error = Infallible;

    fn record(&mut self, entry: &Entry) -> Result<(), Infallible> {
        self.0.borrow_mut().push(entry.clone());
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Pipes {
    refuse_first: bool,
}

impl Network for Pipes {
    fn open(&mut self, _: ConnId) -> Result<(Box<dyn SmbTransport>, Endpoint), NetFailure> {
        let refuse = std::mem::take(&mut self.refuse_first);
        let endpoint = Endpoint {
            server: "model".to_owned(),
            address: ([127, 0, 0, 1], 445).into(),
        };
        Ok((
            Box::new(Pipe {
                refuse,
                ..Pipe::default()
            }),
            endpoint,
        ))
    }
}

struct Written;

impl Blobs for Written {
    fn get(&mut self, digest: &Digest, _: u32) -> Option<std::sync::Arc<[u8]>> {
        (*digest == Digest::of(b"written")).then(|| (*b"written").into())
    }
}

const CONN: ConnId = ConnId(3);
const SESSION: SessionRef = SessionRef(1);

fn send(bytes: Vec<u8>, cuts: Vec<Cut>, login: Option<SessionRef>) -> Effect {
    Effect::Send {
        conn: CONN,
        frame: Frame { bytes, cuts },
        login,
    }
}

fn setup(mid: u64, session_id: u64) -> Effect {
    let mut pdu = header(1, 0, mid, session_id, 88);
    put16(&mut pdu, 64, 25);
    put16(&mut pdu, 76, 88);
    send(
        pdu,
        vec![Cut {
            at: 88,
            len: 0,
            content: Content::Token,
        }],
        Some(SESSION),
    )
}

fn authenticate(step: AuthStep) -> Effect {
    Effect::Authenticate {
        conn: CONN,
        session: SESSION,
        step,
    }
}

fn scenario(
    password: &'static str,
    last: Vec<Line>,
) -> (
    TestDriver<impl crate::CredentialsSource>,
    Rc<RefCell<Vec<Entry>>>,
) {
    let mut negotiate = header(0, 0, 0, 0, 104);
    put16(&mut negotiate, 64, 36);
    let connect = || vec![Effect::Connect { conn: CONN }];
    let mut steps = VecDeque::from([
        ("start", connect(), None),
        ("failed Refused", vec![], Some(10)),
        ("wake", connect(), None),
        ("connected", vec![send(negotiate, vec![], None)], None),
        (
            "received 0 Plain 0",
            vec![authenticate(AuthStep::Begin)],
            None,
        ),
        ("token", vec![setup(1, 0)], None),
        (
            "received 1 Plain 1",
            vec![authenticate(AuthStep::Continue)],
            None,
        ),
        ("token", vec![setup(2, 77)], None),
    ]);
    steps.extend(last);
    let record = Memory::default();
    let entries = Rc::clone(&record.0);
    let who = move |_| {
        let password = Secret::new(password.as_bytes());
        Some(Credentials {
            user: "alice".to_owned(),
            domain: "MODEL".to_owned(),
            password,
        })
    };
    let parts = Parts {
        machine: Script {
            steps,
            out: VecDeque::new(),
            wake: None,
        },
        network: Pipes { refuse_first: true },
        authenticator: SeededNtlm::new(who, 5),
        blobs: Written,
        recorder: record,
        timer: TokioTimer,
        gate: Gate::open(),
    };
    (Driver::new(parts, DriverConfig::default()).0, entries)
}

fn read() -> Effect {
    let mut pdu = header(8, 0, 3, 77, 113);
    put16(&mut pdu, 64, 49);
    send(pdu, vec![], None)
}

fn write() -> Effect {
    let mut pdu = header(9, 0, 4, 77, 112);
    put16(&mut pdu, 64, 49);
    put16(&mut pdu, 66, 112);
    put16(&mut pdu, 68, 7);
    let content = Content::Data(Digest::of(b"written"));
    send(
        pdu,
        vec![Cut {
            at: 112,
            len: 7,
            content,
        }],
        None,
    )
}

fn whole_run() -> Vec<Line> {
    vec![
        ("received 1 Signed 0", vec![read(), write()], None),
        ("received 8 Signed 1", vec![], None),
        (
            "received 9 Signed 0",
            vec![send(header(7, 0, 5, 77, 88), vec![], None)],
            None,
        ),
        ("closed Eof", vec![Effect::Report(Report::Done)], None),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_whole_run_logs_in_signs_and_notices_the_end() {
    let (driver, entries) = scenario("secret", whole_run());
    let mut reports = Vec::new();
    let finished = driver
        .run(|at, report| reports.push((at, report.clone())))
        .await
        .unwrap();
    assert!(finished.machine.steps.is_empty());
    assert_eq!(reports, [(finished.at, Report::Done)]);
    let metrics = &finished.metrics;
    assert_eq!(
        (metrics.connects, metrics.logins, metrics.signed),
        (1, 1, 3)
    );
    assert_eq!(
        (
            metrics.frames_sent,
            metrics.frames_received,
            metrics.bad_seals
        ),
        (6, 5, 0)
    );
    assert_eq!(metrics.connect_failures[&NetFailure::Refused], 1);
    let entries = entries.borrow();
    assert_eq!(entries.len(), 12);
    assert!(
        entries
            .windows(2)
            .all(|two| two[0].now <= two[1].now && two[0].seq < two[1].seq)
    );
    let Input::Received { frame, seal, .. } = &entries[9].input else {
        panic!()
    };
    assert_eq!(*seal, Seal::Signed);
    assert_eq!(frame.cuts[0].content, Content::Data(Digest::of(b"hello")));
    assert_eq!(frame.bytes[48..64], [0; 16]);
}

#[tokio::test(start_paused = true)]
async fn two_runs_record_the_same() {
    let (first, one) = scenario("secret", whole_run());
    let (second, two) = scenario("secret", whole_run());
    let first = first.run(|_, _| ()).await.unwrap();
    let second = second.run(|_, _| ()).await.unwrap();
    assert_eq!(*one.borrow(), *two.borrow());
    assert_eq!((first.effects, first.at), (second.effects, second.at));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_the_servers_to_refuse() {
    let close = vec![
        Effect::Close {
            conn: CONN,
            reset: false,
        },
        Effect::Report(Report::Done),
    ];
    let last = vec![("received 1 Plain 0", close, None)];
    let (driver, _) = scenario("wrong", last);
    let finished = driver.run(|_, _| ()).await.unwrap();
    assert_eq!(
        (finished.metrics.signed, finished.metrics.losses.len()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_from_outside_reaches_the_engine() {
    let parts = Parts {
        machine: Script {
            steps: VecDeque::from([
                ("start", vec![], Some(3_600_000)),
                ("stop", vec![Effect::Report(Report::Done)], None),
            ]),
            out: VecDeque::new(),
            wake: None,
        },
        network: Pipes {
            refuse_first: false,
        },
        authenticator: crate::auth::AnonymousAuthenticator,
        blobs: Written,
        recorder: Memory::default(),
        timer: TokioTimer,
        gate: Gate::open(),
    };
    let (driver, handle) = Driver::new(parts, DriverConfig::default());
    assert!(handle.stop());
    driver.run(|_, _| ()).await.unwrap();
    assert!(!handle.stop());
}

/// Looks every 10 ms.
#[derive(Default)]
struct Looker {
    looks: Vec<Metrics>,
    reports: usize,
}

impl<M> Watch<M> for Looker {
    fn report(&mut self, _: LogicalTime, _: &Report) {
        self.reports += 1;
    }

    fn every(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn look(&mut self, sight: &Sight<'_, M>) {
        self.looks.push(sight.metrics.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_on_changes_nothing() {
    let (unwatched, one) = scenario("secret", whole_run());
    let (watched, two) = scenario("secret", whole_run());
    let unwatched = unwatched.run(|_, _| ()).await.unwrap();
    let mut looker = Looker::default();
    let watched = watched.run_watched(&mut looker).await.unwrap();
    assert_eq!(*one.borrow(), *two.borrow());
    assert_eq!(
        (unwatched.effects, unwatched.at),
        (watched.effects, watched.at)
    );
    assert_eq!(looker.reports, 1);
    let last = looker.looks.last().unwrap();
    assert_eq!(last.frames_sent, watched.metrics.frames_sent);
    assert!(looker.looks[0].frames_sent < last.frames_sent);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_is_looked_at_too() {
    let parts = Parts {
        machine: Script {
            steps: VecDeque::from([
                ("start", vec![], Some(1_000)),
                ("wake", vec![Effect::Report(Report::Done)], None),
            ]),
            out: VecDeque::new(),
            wake: None,
        },
        network: Pipes {
            refuse_first: false,
        },
        authenticator: crate::auth::AnonymousAuthenticator,
        blobs: Written,
        recorder: Memory::default(),
        timer: TokioTimer,
        gate: Gate::open(),
    };
    let (driver, _handle) = Driver::new(parts, DriverConfig::default());
    let mut looker = Looker::default();
    let finished = driver.run_watched(&mut looker).await.unwrap();
    assert_eq!(finished.metrics.inputs, 2);
    assert!(
        (90..=110).contains(&looker.looks.len()),
        "{}",
        looker.looks.len()
    );
}
