//! Runs a plan against a live server, recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use smbench_core::bulk::Blobs;
use smbench_core::confine::Gate;
use smbench_core::drive::DriveError;
use smbench_core::engine::{Engine, EngineError, Plan, RunConfig};
use smbench_core::event::{EffectsDigest, Recorder, Report};
use smbench_core::ids::{PrincipalRef, SessionRef};
use smbench_core::seal::{EncryptPolicy, SigningPolicy};
use smbench_live::auth::{AnonymousAuthenticator, AuthError, Begin, Handshake, SspiAuthenticator};
use smbench_live::driver::Parts;
use smbench_live::tcp::TcpNetwork;
use smbench_live::timer::PreciseTimer;
use smbench_live::{
    Authenticator, Credentials, CredentialsSource, Driver, DriverConfig, Endpoint, Standing,
};

use crate::exit::{DEFECT, ENVIRONMENT, Failure, OrFail};
use crate::identity::Logins;
use crate::interrupt::{self, STOPPING, Stoppable};
use crate::load::{Attachments, BlobSource};
use crate::record::{RecordArgs, Recording, RunIdentity, RunName};
use crate::report;
use crate::tally::{RunFacts, Summary, Tally};
use crate::target::Target;
use crate::verdict::Basis;
use crate::{facts, page};

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
    let bar = report::progress(
        operations,
        "{bar:40} {pos}/{len} operations, {elapsed} {msg}",
    );
    let mut tally = Tally::of(run.plan.recorded());
    let begun = Instant::now();
    let known = run.credentials.clone();
    let drive = Drive {
        plan: run.plan,
        config: run.config,
        target: run.target,
        credentials: run.credentials,
        blobs: run.blobs,
        recorder,
        signing: run.signing,
        encryption: run.encryption,
        gate: run.gate,
    };
    let driven = drive.finish(|report| {
        tally.report(report);
        bar.set_position(tally.finished);
    });
    bar.finish_and_clear();
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

/// Whom a journal is of.
fn facts_of(run: &LiveRun<'_>) -> Vec<(&'static str, String)> {
    let users = run.credentials.principals.values();
    let users: BTreeSet<&str> = users.map(|it| it.user.as_str()).collect();
    let users: Vec<&str> = users.into_iter().take(USERS_NAMED).collect();
    let mut facts = vec![
        (facts::SERVER, run.target.address.to_string()),
        (facts::USERS, users.join(", ")),
        (facts::COMMAND, page::command_line(std::env::args_os())),
    ];
    facts.extend(facts::min_coverage(run.basis.min_coverage));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Users that a journal names.
const USERS_NAMED: usize = 20;

/// A plan, and what it is driven with.
pub(crate) struct Drive<'a, B, R> {
    /// The workload, ready to run as `config` says.
    pub(crate) plan: Plan,
    /// How to run it.
    pub(crate) config: RunConfig,
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
pub(crate) struct Driven<B, R> {
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

impl<B: Blobs, R: Recorder> Drive<'_, B, R> {
    /// Drives until the engine is done. `on_report` hears every report.
    pub(crate) fn finish(
        self,
        mut on_report: impl FnMut(&Report),
    ) -> Result<Driven<B, R>, Failure> {
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
        let timeout = Duration::from_millis(self.config.timeout_ms.into());
        let usual = DriverConfig::default();
        let config = DriverConfig {
            connect_timeout: usual.connect_timeout.min(timeout),
            close_timeout: usual.close_timeout.min(timeout),
            seed: self.config.seed,
            signing: self.signing,
            encryption: self.encryption,
            ..usual
        };
        let finished = runtime.block_on(async {
            let parts = Parts {
                machine: Engine::new(self.plan, self.config),
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
            let outcome = driver.run(|_, report| on_report(report)).await;
            outcome.map_err(explain)
        })?;
        Ok(Driven {
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
