//! `deploy/`: a real Prometheus scrapes a run and the model server as `deploy/prometheus.yml` says, and knows
//! all that the dashboard asks it for. Fails, not skips, where there is no Prometheus.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::cli::Scratch;
use support::watched::{Watched, ask, escaped, wait_for};

fn deployed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path);
    std::fs::read_to_string(path).unwrap()
}

/// A Prometheus, until the value is gone.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(scratch: &Scratch, config: &str) -> Self {
        let config = scratch.file("prometheus.yml", config);
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                scratch.path("data").display()
            ))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=logfmt"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("Debian's package prometheus is needed: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            let heard = line.split("msg=\"Listening on\" address=").nth(1);
            if let Some(address) = heard {
                break address.trim().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let started = Self { child, address };
        wait_for("Prometheus", || {
            let ready = ask(&started.address, "GET", "/-/ready").ok()?;
            (ready.status == 200).then_some(())
        });
        started
    }

    /// What a query gives.
    fn query(&self, expression: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let answer = ask(&self.address, "GET", &path).unwrap();
        assert_eq!(answer.status, 200, "{expression}: {answer:?}");
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The queries of the dashboard's panels, its variables replaced as Grafana does.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana/smbench.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap());
    let replaced = expressions.map(|it| {
        it.replace("$__rate_interval", "20s")
            .replace("$job", ".*")
            .replace("$instance", ".*")
    });
    replaced.collect()
}

/// The metrics that a query names.
fn metrics(query: &str) -> BTreeSet<String> {
    let starts = query.match_indices("smbench_");
    let names = starts.map(|(at, _)| {
        let rest = &query[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    names.collect()
}

/// A replay of the folder `work` with metrics.
fn replay(server: &Watched, speed: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smbench"));
    command
        .args([
            "replay",
            "work",
            "--server",
            &server.address,
            "--share",
            "share",
        ])
        .args(["--prepare", "--speed", speed, "--metrics", "0"])
        .stdout(Stdio::null());
    command
}

#[test]
fn prometheus_knows_all_that_the_dashboard_asks_for() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    let server = Watched::server(["--content-limit", "1"]);
    // More is written than the server may keep: a limit is reached.
    let first = scratch.run(replay(&server, "max").get_args());
    first.expect(1);
    let run = Watched::begin(replay(&server, "0.05").current_dir(scratch.path(".")));
    let config = deployed("prometheus.yml");
    let replaced = config
        .replace("127.0.0.1:9464", &run.metrics)
        .replace("127.0.0.1:9465", &server.metrics);
    let prometheus = Prometheus::start(&scratch, &replaced);
    let queries = queries();
    let all: BTreeSet<String> = queries.iter().flat_map(|it| metrics(it)).collect();
    assert!(all.len() > 40, "{all:?}");
    for metric in &all {
        wait_for(metric, || {
            (!prometheus.query(metric).is_empty()).then_some(())
        });
    }
    // What is shown only where it is not zero has no value here.
    let always = queries.iter().filter(|it| !it.ends_with("> 0"));
    for query in always {
        wait_for(query, || {
            (!prometheus.query(query).is_empty()).then_some(())
        });
    }
    for query in &queries {
        prometheus.query(query);
    }
    let jobs = prometheus.query("up == 1");
    let jobs: BTreeSet<&str> = jobs
        .iter()
        .map(|it| it["metric"]["job"].as_str().unwrap())
        .collect();
    assert_eq!(jobs, BTreeSet::from(["smbench-replay", "smbench-serve"]));
}

/// promtool knows the conventions for names, units and help texts.
#[test]
fn names_and_units_are_as_prometheus_wants_them() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    let server = Watched::server([] as [&str; 0]);
    let run = Watched::begin(replay(&server, "0.2").current_dir(scratch.path(".")));
    wait_for("an answer", || {
        let values = run.values()?;
        let counts = values
            .keys()
            .any(|it| it.starts_with("smbench_run_answer_time_seconds_count"));
        counts.then_some(())
    });
    for (name, watched) in [("run", &run), ("server", &server)] {
        let page = ask(&watched.metrics, "GET", "/metrics").unwrap().body;
        scratch.file(name, page);
        let ran = scratch.shell(&format!("promtool check metrics < {name}"));
        assert_eq!((ran.code, ran.err.trim()), (Some(0), ""), "{ran:#?}");
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus.yml");
    let ran = scratch.shell(&format!("promtool check config {}", config.display()));
    ran.expect(0);
}
