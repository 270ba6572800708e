//! Runs a plan against a live server, recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use smbench_core::bulk::Blobs;
use smbench_core::confine::Gate;
use smbench_core::drive::{DriveError, Machine};
use smbench_core::engine::{Engine, EngineError, Plan, RunConfig};
use smbench_core::event::{EffectsDigest, Recorder, Report};
use smbench_core::ids::{LogicalTime, PrincipalRef, SessionRef};
use smbench_core::seal::{EncryptPolicy, SigningPolicy};
use smbench_live::auth::{AnonymousAuthenticator, AuthError, Begin, Handshake, SspiAuthenticator};
use smbench_live::driver::Parts;
use smbench_live::tcp::TcpNetwork;
use smbench_live::timer::PreciseTimer;
use smbench_live::{
    Authenticator, Credentials, CredentialsSource, Driver, DriverConfig, Endpoint, Sight, Standing,
    Watch,
};

use crate::exit::{DEFECT, ENVIRONMENT, Failure, OrFail};
use crate::facts;
use crate::identity::Logins;
use crate::interrupt::{self, STOPPING, Stoppable};
use crate::load::{Attachments, BlobSource, Loaded};
use crate::metrics::{self, Counted, Published, RunFigures};
use crate::progress::Progress;
use crate::record::{RecordArgs, Recording, RunIdentity, RunName};
use crate::rights::Rights;
use crate::tally::{RunFacts, Summary, Tally};
use crate::target::Target;
use crate::verdict::Basis;

/// Everything a live run needs.
pub(crate) struct LiveRun<'a> {
    /// `replay` or `prepare`.
    pub(crate) verb: &'a str,
    /// What the workload is called.
    pub(crate) workload: &'a str,
    /// The workload, ready to run as `config` says.
    pub(crate) plan: Plan,
    /// Digest of it.
    pub(crate) digest: smbench_core::frame::Digest,
    /// What the journal takes along.
    pub(crate) attachments: Attachments,
    /// How to run it.
    pub(crate) config: RunConfig,
    /// Against whom.
    pub(crate) target: &'a Target,
    /// Who logs in.
    pub(crate) credentials: KnownUsers,
    /// Bulk data.
    pub(crate) blobs: BlobSource,
    /// Where to record.
    pub(crate) record: &'a RecordArgs,
    /// When to sign.
    pub(crate) signing: SigningPolicy,
    /// When to encrypt.
    pub(crate) encryption: EncryptPolicy,
    /// What may leave.
    pub(crate) gate: Gate,
    /// What it is judged by.
    pub(crate) basis: Basis,
    /// Where it shows what it does.
    pub(crate) metrics: Option<Published<RunFigures>>,
    /// The recording, to tell what its users were not allowed to do; none where there is none.
    pub(crate) recording: Option<&'a Loaded>,
}

/// What came of it.
pub(crate) struct LiveOutcome {
    /// The summary.
    pub(crate) summary: Summary,
    /// What was counted.
    pub(crate) tally: Tally,
    /// Who was let in, and as whom.
    pub(crate) logins: Logins,
}

impl LiveOutcome {
    /// A run that a signal has ended is none to go on from.
    pub(crate) fn refuse_interrupted(&self) -> Result<(), Failure> {
        if !interrupt::is_asked() {
            return Ok(());
        }
        let Summary {
            operations,
            issued,
            journal,
            ..
        } = &self.summary;
        Err(Failure::interrupted(format!(
            "{issued} requests were sent, of {operations} operations; that far it is recorded in {journal}"
        )))
    }
}

/// Logs in with credentials where there are some, anonymously where there are none.
struct Login {
    credentials: KnownUsers,
    sspi: SspiAuthenticator<KnownUsers>,
    anonymous: AnonymousAuthenticator,
}

/// Who has credentials in this run.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownUsers {
    /// Sessions, by their users.
    pub(crate) sessions: BTreeMap<SessionRef, Credentials>,
    /// The users of the workload.
    pub(crate) principals: BTreeMap<PrincipalRef, Credentials>,
}

impl KnownUsers {
    /// The first of them, for the only session of a workload of our own.
    pub(crate) fn first(&self) -> Self {
        let first = self.principals.values().next();
        Self {
            sessions: first
                .map(|it| (SessionRef(0), it.clone()))
                .into_iter()
                .collect(),
            principals: BTreeMap::new(),
        }
    }
}

impl CredentialsSource for KnownUsers {
    fn credentials(&self, session: SessionRef) -> Option<Credentials> {
        self.sessions.get(&session).cloned()
    }

    fn of_principal(&self, principal: PrincipalRef) -> Option<Credentials> {
        self.principals.get(&principal).cloned()
    }
}

impl Authenticator for Login {
    fn begin(
        &mut self,
        conn: smbench_core::ids::ConnId,
        session: SessionRef,
        begin: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError> {
        match self.credentials.for_login(session, begin) {
            Ok(_) => self.sspi.begin(conn, session, begin),
            Err(_) => self.anonymous.begin(conn, session, begin),
        }
    }
}

/// Runs, recorded.
pub(crate) fn run(run: LiveRun<'_>) -> Result<LiveOutcome, Failure> {
    let operations = run.plan.len() as u64;
    let facts = facts_of(&run);
    let recording = Recording::begin(
        run.record,
        RunIdentity {
            verb: run.verb,
            name: RunName::live(run.workload, &run.target.host, run.verb),
            workload: run.digest,
            config: &run.config,
            attachments: run.attachments,
            clock: true,
            facts,
        },
    )?;
    let recorder = recording.recorder()?;
    reach(run.target)?;
    let tally = Tally::of(run.plan.recorded());
    let progress = Progress::begin(operations, tally.recorded());
    let mut follow = Follow {
        tally,
        progress,
        recording: &recording,
        known: run.credentials.clone(),
        metrics: run.metrics.map(|it| (it, Counted::default())),
    };
    let begun = Instant::now();
    let drive = Drive {
        timeout_ms: run.config.timeout_ms,
        seed: run.config.seed,
        machine: Engine::new(run.plan, run.config),
        target: run.target,
        credentials: run.credentials,
        blobs: run.blobs,
        recorder,
        signing: run.signing,
        encryption: run.encryption,
        gate: run.gate,
    };
    let driven = drive.finish(&mut follow);
    let Follow {
        mut tally,
        progress,
        known,
        ..
    } = follow;
    drop(progress);
    let driven = match driven {
        Ok(driven) => driven,
        Err(failure) => return Err(recording.ended_by(failure)),
    };
    let wall = begun.elapsed();
    let (effects, unwanted) = (driven.effects, driven.unwanted);
    let logins = Logins::of(&driven.standings, &known);
    // The recorder holds the journal open.
    drop(driven);
    let (journal, bundle) = recording.end()?;
    if let (true, Some(loaded)) = (tally.has_let_through(), run.recording) {
        tally.know_denied(Rights::of(loaded)?.refused());
    }
    let summary = tally.summary(RunFacts {
        operations,
        basis: run.basis,
        wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        journal,
        bundle,
        root: Some(run.target.root.clone()),
        effects_digest: effects.to_string(),
        unwanted,
        ..RunFacts::default()
    });
    Ok(LiveOutcome {
        summary,
        tally,
        logins,
    })
}

/// Looks on at a run.
struct Follow<'a> {
    tally: Tally,
    progress: Progress,
    recording: &'a Recording,
    known: KnownUsers,
    metrics: Option<(Published<RunFigures>, Counted)>,
}

impl Watch<Engine> for Follow<'_> {
    fn report(&mut self, _: LogicalTime, report: &Report) {
        self.tally.report(report);
        self.progress.report(report);
        if let Some((_, counted)) = &mut self.metrics {
            counted.report(report, self.tally.recorded());
        }
    }

    fn every(&self) -> Option<Duration> {
        self.metrics.as_ref().map(|_| metrics::EVERY)
    }

    fn look(&mut self, sight: &Sight<'_, Engine>) {
        if let Some((published, counted)) = &self.metrics {
            let journal = self.recording.stats();
            let figures = RunFigures::of(counted, &self.tally, sight, journal, &self.known);
            published.put(figures);
        }
    }
}

/// Looks on at nothing.
pub(crate) struct Nobody;

impl<M> Watch<M> for Nobody {
    fn report(&mut self, _: LogicalTime, _: &Report) {}
}

/// Whom a journal is of.
fn facts_of(run: &LiveRun<'_>) -> Vec<(&'static str, String)> {
    let users = run.credentials.principals.values();
    let users: BTreeSet<&str> = users.map(|it| it.user.as_str()).collect();
    let users: Vec<&str> = users.into_iter().take(USERS_NAMED).collect();
    let mut facts = vec![
        (facts::SERVER, run.target.address.to_string()),
        (facts::USERS, users.join(", ")),
        (facts::COMMAND, facts::command()),
    ];
    facts.extend(facts::min_coverage(run.basis.min_coverage));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Users that a journal names.
const USERS_NAMED: usize = 20;

/// A machine, and what it is driven with.
pub(crate) struct Drive<'a, M, B, R> {
    /// The engine, at the start of its run.
    pub(crate) machine: M,
    /// How long a connection may take to open or to close, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// The seed of nonces.
    pub(crate) seed: u64,
    /// Against whom.
    pub(crate) target: &'a Target,
    /// Who logs in.
    pub(crate) credentials: KnownUsers,
    /// Bulk data.
    pub(crate) blobs: B,
    /// What takes the inputs.
    pub(crate) recorder: R,
    /// When to sign.
    pub(crate) signing: SigningPolicy,
    /// When to encrypt.
    pub(crate) encryption: EncryptPolicy,
    /// What may leave.
    pub(crate) gate: Gate,
}

/// What is left of a driven plan.
pub(crate) struct Driven<M, B, R> {
    /// The machine.
    pub(crate) machine: M,
    /// Digest of all effects.
    pub(crate) effects: EffectsDigest,
    /// Frames that nobody asked for, beyond what was recorded.
    pub(crate) unwanted: u64,
    /// As whom each session was let in.
    pub(crate) standings: BTreeMap<SessionRef, Standing>,
    /// Bulk data.
    pub(crate) blobs: B,
    _recorder: R,
}

impl<M: Machine<Error = EngineError>, B: Blobs, R: Recorder> Drive<'_, M, B, R> {
    /// Drives until the machine is done, with `watch` looking on.
    pub(crate) fn finish(self, watch: &mut impl Watch<M>) -> Result<Driven<M, B, R>, Failure> {
        interrupt::refuse("nothing was sent")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_environment("cannot start")?;
        let endpoint = Endpoint {
            server: self.target.host.clone(),
            address: self.target.address,
        };
        let login = Login {
            sspi: SspiAuthenticator::new(self.credentials.clone(), "SMBENCH".to_owned()),
            credentials: self.credentials,
            anonymous: AnonymousAuthenticator,
        };
        let timeout = Duration::from_millis(self.timeout_ms.into());
        let usual = DriverConfig::default();
        let config = DriverConfig {
            connect_timeout: usual.connect_timeout.min(timeout),
            close_timeout: usual.close_timeout.min(timeout),
            seed: self.seed,
            signing: self.signing,
            encryption: self.encryption,
            ..usual
        };
        let finished = runtime.block_on(async {
            let parts = Parts {
                machine: self.machine,
                network: TcpNetwork::new(move |_| Some(endpoint.clone())),
                authenticator: login,
                blobs: self.blobs,
                recorder: self.recorder,
                timer: PreciseTimer::new().or_environment("cannot get a timer")?,
                gate: self.gate,
            };
            let (driver, handle) = Driver::new(parts, config);
            let _stoppable = Stoppable::by(STOPPING, move || {
                handle.stop();
            });
            let outcome = driver.run_watched(watch).await;
            outcome.map_err(explain)
        })?;
        Ok(Driven {
            machine: finished.machine,
            effects: finished.effects,
            unwanted: finished.metrics.unwanted_frames,
            standings: finished.metrics.standings,
            blobs: finished.blobs,
            _recorder: finished.recorder,
        })
    }
}

/// A disk that is full is no defect of ours; an engine that refuses an input, or a frame that was to
/// leave the root, is.
fn explain<R: std::error::Error + Send + Sync + 'static>(
    error: DriveError<EngineError, R>,
) -> Failure {
    let code = match error {
        DriveError::Record { .. } => ENVIRONMENT,
        _ => DEFECT,
    };
    Failure::new(code, anyhow::Error::from(error))
}

/// A server that is not there is told at once, not as a thousand divergences.
pub(crate) fn reach(target: &Target) -> Result<(), Failure> {
    std::net::TcpStream::connect_timeout(&target.address, Duration::from_secs(10))
        .map(drop)
        .or_environment(format!(
            "cannot reach the server {} ({})",
            target.host, target.address
        ))
        .map_err(|failure| failure.remedy("check --server, the port and the firewall"))
}
