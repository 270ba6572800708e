//! Runs the engine against a network: connections, framing, sealing, logins, timers, figures.
//!
//! The [`Driver`] executes the engine's effects and reports what happens as inputs, each recorded
//! before the engine sees it. It decides nothing, and it is generic over its network: anything that
//! implements smb-rs's `SmbTransport` carries it, a real socket or a simulated one. Without
//! features it draws no entropy, starts no thread and reads no clock but tokio's, so a simulator
//! that controls tokio's clock controls everything.
//!
//! - feature `sockets`: TCP and NetBIOS, precise timers, a listener for frame services;
//! - feature `auth`: logins by NTLM and Kerberos through sspi.

pub mod auth;
pub mod driver;
pub mod metrics;
pub mod network;
pub mod service;
pub mod timer;

mod link;
#[cfg(feature = "sockets")]
pub mod listener;
mod room;
#[cfg(feature = "sockets")]
pub mod tcp;

pub use auth::{Authenticator, Credentials, CredentialsSource};
pub use driver::{Driver, DriverConfig, DriverHandle, Sight, Watch};
pub use metrics::{Metrics, Standing};
pub use network::{Endpoint, Network};
pub use service::{FrameService, ServiceHost, ServiceOutput};
pub use timer::{Timer, TokioTimer};
