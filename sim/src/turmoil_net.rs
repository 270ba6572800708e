//! `live`'s own driver over turmoil's simulated TCP: two hosts, many connections.
//!
//! What the driver does with sockets, framing, queues and timers is what it does on a real
//! network; the bytes go through turmoil, cut and joined by seed. Time has ticks of a millisecond:
//! latencies are rounded up to whole ones, and between both bounds follow turmoil's exponential
//! curve. Two hosts only, because a tick costs the cube of their number.

mod pump;
mod server;
mod shared;
mod transport;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use smbench_core::bulk::Blobs;
use smbench_core::confine::Gate;
use smbench_core::engine::Engine;
use smbench_core::event::{Recorder, Report};
use smbench_core::ids::LogicalTime;
use smbench_live::auth::TrustAuthenticator;
use smbench_live::driver::Parts;
use smbench_live::{Driver, DriverConfig, FrameService, TokioTimer};
use tokio::time::Instant;

use self::server::Served;
use self::shared::{Names, Shared, SharedEngine, reclaim};
use self::transport::SimNetwork;
use crate::run::{Cast, Run, SimCounters, SimError, SimOutcome, Simulated, unsettled};
use crate::scenario::{Fault, Scenario};

type Ended<R> = Option<Result<SimOutcome, SimError<<R as Recorder>::Error>>>;

/// Runs until the engine is done, or nothing can happen any more.
pub fn run<S, R, B>(
    run: Run<'_, S, R, B>,
    on_report: impl FnMut(LogicalTime, &Report) + 'static,
) -> Simulated<S, R, B>
where
    S: FrameService + 'static,
    R: Recorder + 'static,
    B: Blobs + 'static,
{
    let Run {
        plan,
        config,
        cast,
        scenario,
        server,
        recorder,
        blobs,
        tap,
    } = run;
    if tap.is_some() {
        return Simulated {
            result: Err(SimError::NoTap),
            server: Some(server),
            recorder: Some(recorder),
            blobs: Some(blobs),
        };
    }
    let ops = plan.len();
    let gate = Gate::of(&config);
    let engine = SharedEngine::new(Engine::new(plan, config));
    let recorder = Shared::new(recorder);
    let blobs = Shared::new(blobs);
    let (names, conns) = (Names::default(), cast.clients.len());
    let served = Served::new(server, scenario, conns, names.clone());
    let served = Rc::new(RefCell::new(served));
    let ended: Rc<RefCell<Ended<R>>> = Rc::default();

    let result = {
        let mut sim = builder(scenario, conns).build();
        let host = Rc::clone(&served);
        sim.host(SERVER, move || server::serve(Rc::clone(&host)));
        let clients = Clients {
            engine: engine.clone(),
            cast,
            scenario: scenario.clone(),
            recorder: recorder.clone(),
            blobs: blobs.clone(),
            gate,
            names,
            address: (sim.lookup(SERVER), PORT).into(),
            ended: Rc::clone(&ended),
        };
        sim.client(CLIENT, clients.drive(on_report));
        until_done(&mut sim, &engine, ops, &served, scenario)
    };

    let served = Rc::try_unwrap(served).ok().map(RefCell::into_inner);
    let ended = ended.borrow_mut().take();
    let result = match (ended, result) {
        (Some(ended), _) => ended.map(|mut outcome| {
            if let Some(served) = &served {
                outcome.wires = served.wires();
                outcome.counters.lost_frames += served.lost();
            }
            outcome
        }),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(SimError::Network {
            message: "the client's task ended without a result".to_owned(),
        }),
    };
    Simulated {
        result,
        server: served.map(Served::into_service),
        recorder: reclaim(recorder),
        blobs: reclaim(blobs),
    }
}

/// The client host's software.
struct Clients<R: Recorder, B> {
    engine: SharedEngine,
    cast: Cast,
    scenario: Scenario,
    recorder: Shared<R>,
    blobs: Shared<B>,
    gate: Gate,
    names: Names,
    address: SocketAddr,
    ended: Rc<RefCell<Ended<R>>>,
}

impl<R: Recorder, B: Blobs> Clients<R, B> {
    async fn drive(self, on_report: impl FnMut(LogicalTime, &Report)) -> turmoil::Result {
        let start = Instant::now();
        let cast = self.cast;
        let parts = Parts {
            machine: self.engine,
            network: SimNetwork::new(self.scenario, cast.clone(), start, self.address, self.names),
            authenticator: TrustAuthenticator::new(cast),
            blobs: self.blobs,
            recorder: self.recorder,
            timer: TokioTimer,
            gate: self.gate,
        };
        let (mut driver, _handle) = Driver::new(parts, DriverConfig::default());
        driver.start_at(start);
        let outcome = match driver.run(on_report).await {
            Ok(finished) => Ok(SimOutcome {
                effects: finished.effects,
                at: finished.at,
                steps: finished.metrics.inputs,
                counters: counters(&finished.metrics),
                wires: Vec::new(),
            }),
            Err(error) => Err(error.into()),
        };
        *self.ended.borrow_mut() = Some(outcome);
        Ok(())
    }
}

fn builder(scenario: &Scenario, conns: usize) -> turmoil::Builder {
    let millis = |us: u64| Duration::from_millis(us.div_ceil(1_000));
    let mut builder = turmoil::Builder::new();
    builder
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S))
        .rng_seed(scenario.seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(u64::from(u32::MAX)))
        .min_message_latency(millis(scenario.latency.min_us))
        .max_message_latency(millis(scenario.latency.max_us))
        // A full queue of pending connects is a panic of turmoil's.
        .tcp_capacity(conns.max(4_096));
    builder
}

/// Ticks until the client's task is over, and then until the server knows.
fn until_done<S: FrameService, E: std::error::Error>(
    sim: &mut turmoil::Sim<'_>,
    engine: &SharedEngine,
    ops: usize,
    served: &Rc<RefCell<Served<S>>>,
    scenario: &Scenario,
) -> Result<(), SimError<E>> {
    let last_fault = scenario.faults.iter().map(|fault| match fault {
        Fault::Cut { at, .. } => *at,
        Fault::Hold { until, .. } => *until,
    });
    let quiet_ns = QUIET.as_nanos() + u128::from(scenario.latency.max_us) * 10_000;
    let quiet_from = last_fault.max().unwrap_or_default();
    let mut seen = (0, 0);
    let mut active = LogicalTime::ZERO;
    loop {
        let finished = sim.step().map_err(|error| SimError::Network {
            message: error.to_string(),
        })?;
        if finished {
            break;
        }
        let now = LogicalTime(u64::try_from(sim.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let (inputs, wake) = engine.progress();
        let activity = (inputs, served.borrow().frames());
        if activity != seen || wake.is_some() || served.borrow().wake().is_some() {
            (seen, active) = (activity, now.max(quiet_from));
        }
        let left = || engine.with(|engine| unsettled(engine, ops));
        if now > scenario.limit {
            let (waiting, more) = left();
            let limit = scenario.limit;
            return Err(SimError::OutOfTime {
                limit,
                waiting,
                more,
            });
        }
        if u128::from(now.nanos_since(active)) > quiet_ns {
            let (waiting, more) = left();
            return Err(SimError::Stalled {
                at: active,
                waiting,
                more,
            });
        }
    }
    // What was sent still reaches the server; it hears of the ends before the simulation does.
    let grace = TICK * 8 + Duration::from_micros(scenario.latency.max_us * 4);
    let deadline = sim.elapsed() + grace;
    while sim.elapsed() < deadline && served.borrow().open() > 0 {
        sim.step().map_err(|error| SimError::Network {
            message: error.to_string(),
        })?;
    }
    Ok(())
}

fn counters(metrics: &smbench_live::Metrics) -> SimCounters {
    SimCounters {
        frames_up: metrics.frames_sent,
        frames_down: metrics.frames_received,
        sends_without_connection: metrics.sends_without_connection,
        unreadable_frames: metrics.unreadable_frames,
        unwanted_frames: metrics.unwanted_frames,
        lost_frames: 0,
    }
}

const CLIENT: &str = "client";
const SERVER: &str = "server";
const PORT: u16 = 445;
/// 2025-01-01 00:00:00 UTC.
const EPOCH_S: u64 = 1_735_689_600;
const TICK: Duration = Duration::from_millis(1);
/// Simulated time without any activity after which a run is stalled.
const QUIET: Duration = Duration::from_secs(5);
