//! Metrics while a run or a server is under way, for Prometheus: `--metrics`.
//!
//! | file     | holds                                                             |
//! |----------|-------------------------------------------------------------------|
//! | `run`    | what a run shows                                                  |
//! | `server` | what the model server shows                                       |
//! | `text`   | Prometheus's text format                                          |
//! | `http`   | whoever asks over HTTP                                            |
//!
//! What is counted is counted in plain numbers by whoever does it. Four times a second a copy is put where
//! the thread finds it that answers: so nobody waits for who asks.

mod http;
mod run;
mod server;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use self::run::{Counted, RunFigures};
pub(crate) use self::server::ServerFigures;

use self::text::Page;
use crate::exit::Failure;
use crate::report::note;

/// How often figures are shown anew.
pub(crate) const EVERY: Duration = Duration::from_millis(250);

/// Where metrics are served.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct MetricsArg {
    /// Serve metrics for Prometheus under http://ADDR:PORT/metrics; without ADDR on 127.0.0.1, port 0 for
    /// a free one
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = parse_address)]
    metrics: Option<SocketAddr>,
}

/// An address with its port, or a port of this machine alone.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok((IpAddr::from(Ipv4Addr::LOCALHOST), port).into());
    }
    text.parse().map_err(|_| {
        "say a port, or an address and a port like 127.0.0.1:9464 or [::1]:9464".to_owned()
    })
}

/// Figures that are written for whoever asks.
pub(crate) trait Figures: Clone + Default + std::fmt::Debug + Send + 'static {
    /// Puts all of them on the page.
    fn write(&self, page: &mut Page<'_>) -> std::fmt::Result;
}

/// Where figures are put that are served.
#[derive(Clone, Debug)]
pub(crate) struct Published<F>(Arc<Mutex<F>>);

impl MetricsArg {
    /// Listens, if that is asked for, and says where.
    ///
    /// # Errors
    ///
    /// Environment, where the address is not to be had.
    pub(crate) fn serve<F: Figures>(self) -> Result<Option<Published<F>>, Failure> {
        let Some(address) = self.metrics else {
            return Ok(None);
        };
        let published = Published(Arc::default());
        let address = http::serve(address, text::Source::of(published.clone()))?;
        note!("metrics: http://{address}/metrics");
        Ok(Some(published))
    }
}

impl<F: Figures> Published<F> {
    /// Shows these from now on.
    pub(crate) fn put(&self, figures: F) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Those that were shown last.
    fn get(&self) -> F {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(parse_address("9464"), Ok("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(parse_address("[::1]:1"), Ok("[::1]:1".parse().unwrap()));
        assert_eq!(parse_address("0.0.0.0:1"), Ok("0.0.0.0:1".parse().unwrap()));
        for bad in ["", "70000", "localhost", "::1", "127.0.0.1"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
