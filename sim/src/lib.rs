//! Model SMB2 server and deterministic simulation.
//!
//! [`simulate`] runs the engine of `core` against a frame service (the model server) under a
//! [`Scenario`], carried either by the [`event_loop`] (fast, for sweeps) or by `live`'s own driver
//! over turmoil ([`turmoil_net`]). Neither reads a clock or draws entropy: workload, configuration
//! and scenario determine every byte of the record. The model server is in [`server`]. A [`Tap`] listens
//! to the event loop; [`pcap`] is one that writes a capture.

pub mod event_loop;
pub mod model;
pub mod pcap;
pub mod run;
pub mod scenario;
pub mod server;
pub mod tap;
pub mod turmoil_net;

mod weather;

pub use model::ModelService;
pub use pcap::{PcapConfig, PcapCounts, PcapError, PcapTap};
pub use run::{
    Cast, DriverKind, Run, SimCounters, SimError, SimOutcome, Simulated, Stage, Tally, Wire,
    simulate,
};
pub use scenario::{Fault, Latency, Scenario, ScenarioError, Target};
pub use tap::{LinkEnd, LinkId, Tap, Vantage};
