//! `--metrics`: what a run and the model server show while they are under way. See docs/METRICS.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::cli::Scratch;
use support::watched::{Watched, ask, wait_for};

const CAPTURE: &str = "leases3_plain.pcap";

/// A replay of `work` that takes some seconds, with its metrics.
fn replay(scratch: &Scratch, server: &Watched, args: &[&str]) -> Watched {
    Watched::begin(
        Command::new(env!("CARGO_BIN_EXE_smbench"))
            .args(["replay", "work", "--server", &server.address])
            .args(["--share", "share", "--prepare", "--metrics", "0", "--json"])
            .args(args)
            .current_dir(scratch.path("."))
            .stdout(Stdio::piped()),
    )
}

/// The sum of all values of a name, whatever their labels.
fn sum(values: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = values.iter();
    let of = of.filter(|(it, _)| it.split('{').next() == Some(name));
    of.map(|(_, value)| value).sum()
}

#[test]
fn a_run_shows_what_it_tells_at_its_end() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "work");
    // Two clients have a file open at a time that may not be shared.
    let server = Watched::server(["--plant", "ignore-share-mode"]);
    let mut run = replay(&scratch, &server, &["--speed", "0.5"]);
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    while let Some(values) = run.values() {
        for (name, before) in &last {
            let is_total = name.contains("_total") || name.contains("_bucket");
            let now = values.get(name).copied().unwrap_or(-1.0);
            assert!(!is_total || now >= *before, "{name}: {before}, then {now}");
        }
        let sent = sum(&values, "smbench_run_requests_sent_total");
        let answers = sum(&values, "smbench_run_answers_total");
        assert!(answers <= sent, "{answers} answers to {sent} requests");
        let timed = sum(&values, "smbench_run_answer_time_seconds_count");
        assert_eq!(timed, answers);
        last = values;
        if answers >= 100.0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = run.child.stdout.take().unwrap();
    let told: serde_json::Value = serde_json::from_reader(output).unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(1));
    let shown = |name: &str| last[name];
    let number = |key: &str| told[key].as_f64().unwrap();
    assert!(
        sum(&last, "smbench_run_answers_total") >= 100.0,
        "{last:#?}"
    );
    assert_eq!(shown("smbench_run_operations"), number("compiled"));
    let sent = sum(&last, "smbench_run_requests_sent_total");
    assert!(sent <= number("issued"), "{sent}: {told:#}");
    // It comes in the first quarter of the capture, and there is but one.
    assert_eq!(
        shown("smbench_run_divergences_total{kind=\"another_answer\"}"),
        1.0
    );
    assert_eq!(told["found"]["another_answer"], 1, "{told:#}");
    assert_eq!(
        shown("smbench_run_divergences_total{kind=\"lost_data\"}"),
        0.0
    );
    assert!(shown("smbench_run_connections") >= 1.0);
    assert!(shown("smbench_run_credits") >= 1.0);
    assert!(shown("smbench_run_sessions{standing=\"anonymous\"}") >= 1.0);
    assert_eq!(shown("smbench_run_users{standing=\"anonymous\"}"), 1.0);
    assert!(shown("smbench_run_sent_bytes_total") > 64.0 * sent / 2.0);
    assert!(shown("smbench_run_journal_events_total") > 0.0);

    // The server has seen no less, and nothing else since.
    let served = wait_for("the server's figures", || {
        let values = server.values().unwrap();
        (values["smbench_server_connections"] == 0.0).then_some(values)
    });
    let creates = "command=\"CREATE\",severity=\"success\"";
    let by_server = served[&format!("smbench_server_answers_total{{{creates}}}")];
    assert!(by_server >= last[&format!("smbench_run_answers_total{{{creates}}}")]);
    assert!(served["smbench_server_received_bytes_total"] >= shown("smbench_run_sent_bytes_total"));
}

#[test]
fn an_address_in_use_ends_a_run_before_anything_is_sent() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "work");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let target = ["--server", &address, "--share", "share", "--prepare"];
    let mut args = vec!["replay", "work", "--metrics", &taken];
    args.extend(target);
    let ran = scratch.run(&args);
    ran.expect(3)
        .says(&["cannot serve metrics on", "--metrics 0"]);
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!scratch.path("smbench-journals").exists());
    let ran = scratch.run(["serve", "--listen", "127.0.0.1:0", "--metrics", &taken]);
    ran.expect(3).says(&["cannot serve metrics on"]);
    scratch.run(["serve", "--metrics", "nowhere"]).expect(2);
}

#[test]
fn who_asks_wrongly_is_told_and_keeps_nobody_waiting() {
    let server = Watched::server([] as [&str; 0]);
    let silent: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(&server.metrics).unwrap())
        .collect();
    let status = |method, path| ask(&server.metrics, method, path).unwrap().status;
    assert_eq!(status("GET", "/"), 404);
    assert_eq!(status("GET", "/metrics?x=1"), 200);
    assert_eq!(status("POST", "/metrics"), 405);
    let head = ask(&server.metrics, "HEAD", "/metrics").unwrap();
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(head.head.contains("text/plain; version=0.0.4"), "{head:?}");
    drop(silent);
}

/// Names of metrics in a text, without what Prometheus makes of a histogram.
fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("smbench_") {
        let name: String = text[at..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect();
        let ends = ["_bucket", "_sum", "_count"];
        let plain = ends.iter().find_map(|end| name.strip_suffix(end));
        found.insert(plain.unwrap_or(&name).to_owned());
    }
    found
}

#[test]
fn document_and_dashboard_have_what_is_shown() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "work");
    let server = Watched::server([] as [&str; 0]);
    let run = replay(&scratch, &server, &[]);
    let page = |it: &Watched| ask(&it.metrics, "GET", "/metrics").unwrap().body;
    let shown = names(&(page(&server) + &page(&run)));
    assert!(shown.len() > 40, "{shown:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(names(&read("docs/METRICS.md")), shown);
    assert_eq!(names(&read("deploy/grafana/smbench.json")), shown);
}
