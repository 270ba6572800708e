//! Runs a plan against a live server, recorded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use smbench_core::confine::Gate;
use smbench_core::engine::{Engine, Plan, RunConfig};
use smbench_core::ids::{PrincipalRef, SessionRef};
use smbench_core::seal::{EncryptPolicy, SigningPolicy};
use smbench_live::auth::{AnonymousAuthenticator, AuthError, Begin, Handshake, SspiAuthenticator};
use smbench_live::driver::Parts;
use smbench_live::tcp::TcpNetwork;
use smbench_live::timer::PreciseTimer;
use smbench_live::{Authenticator, Credentials, CredentialsSource, Driver, DriverConfig, Endpoint};

use crate::exit::{DEFECT, Failure, OrFail};
use crate::load::{Attachments, BlobSource};
use crate::record::{RecordArgs, Recording, RunIdentity};
use crate::report;
use crate::tally::{RunFacts, Summary, Tally};
use crate::target::Target;

/// Everything a live run needs.
pub(crate) struct LiveRun<'a> {
    /// `replay` or `prepare`.
    pub(crate) verb: &'a str,
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
}

/// What came of it.
pub(crate) struct LiveOutcome {
    /// The summary.
    pub(crate) summary: Summary,
    /// What was counted.
    pub(crate) tally: Tally,
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

/// Runs.
pub(crate) fn run(run: LiveRun<'_>) -> Result<LiveOutcome, Failure> {
    let plan = run.plan;
    let operations = plan.len() as u64;
    let without_answer = plan.without_answer();
    let recording = Recording::begin(
        run.record,
        RunIdentity {
            verb: run.verb,
            workload: run.digest,
            config: &run.config,
            attachments: run.attachments,
            clock: true,
        },
    )?;
    let recorder = recording.recorder()?;
    reach(run.target)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment("cannot start")?;
    let bar = report::progress(
        operations,
        "{bar:40} {pos}/{len} operations, {elapsed} {msg}",
    );
    let mut tally = Tally::default();
    let begun = Instant::now();
    let endpoint = Endpoint {
        server: run.target.host.clone(),
        address: run.target.address,
    };
    let login = Login {
        sspi: SspiAuthenticator::new(run.credentials.clone(), "SMBENCH".to_owned()),
        credentials: run.credentials,
        anonymous: AnonymousAuthenticator,
    };
    let finished = runtime.block_on(async {
        let parts = Parts {
            machine: Engine::new(plan, run.config.clone()),
            network: TcpNetwork::new(move |_| Some(endpoint.clone())),
            authenticator: login,
            blobs: run.blobs,
            recorder,
            timer: PreciseTimer::new().or_environment("cannot get a timer")?,
            gate: Gate::of(&run.config),
        };
        let timeout = Duration::from_millis(run.config.timeout_ms.into());
        let usual = DriverConfig::default();
        let config = DriverConfig {
            connect_timeout: usual.connect_timeout.min(timeout),
            close_timeout: usual.close_timeout.min(timeout),
            seed: run.config.seed,
            signing: run.signing,
            encryption: run.encryption,
            ..usual
        };
        let (driver, handle) = Driver::new(parts, config);
        let stopper = tokio::spawn(stop_on_interrupt(handle));
        let outcome = driver
            .run(|_, report| {
                tally.report(report);
                bar.set_position(tally.finished);
            })
            .await
            .map_err(|error| Failure::new(DEFECT, anyhow::Error::from(error)));
        stopper.abort();
        outcome
    })?;
    bar.finish_and_clear();
    let wall = begun.elapsed();
    let (effects, recorder) = (finished.effects, finished.recorder);
    drop(recorder);
    let (journal, bundle) = recording.end()?;
    let summary = tally.summary(RunFacts {
        operations,
        without_answer,
        wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        journal,
        bundle,
        root: Some(run.target.root.clone()),
        effects_digest: effects.to_string(),
        unwanted: finished.metrics.unwanted_frames,
        ..RunFacts::default()
    });
    Ok(LiveOutcome { summary, tally })
}

/// A server that is not there is told at once, not as a thousand divergences.
fn reach(target: &Target) -> Result<(), Failure> {
    std::net::TcpStream::connect_timeout(&target.address, Duration::from_secs(10))
        .map(drop)
        .or_environment(format!(
            "cannot reach the server {} ({})",
            target.host, target.address
        ))
        .map_err(|failure| failure.remedy("check --server, the port and the firewall"))
}

/// The first Ctrl-C ends the run in order, the second at once.
async fn stop_on_interrupt(handle: smbench_live::DriverHandle) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    report::note!("smbench: stopping; the journal is kept. Again to stop at once.");
    handle.stop();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}
