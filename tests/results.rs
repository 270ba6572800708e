//! Results that people read, keep and act on: pages, tickets, files for machines, and what decides the exit code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::cli::{ModelServer, Scratch};

const SIM: &[&str] = &["sim", "w", "--speed", "max"];
const PLANTED: &[&str] = &["--plant", "ignore-share-mode"];

fn workload() -> Scratch {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    scratch
}

/// The number that a page shows for a step of the funnel.
fn step(page: &str, name: &str) -> u64 {
    let mark = format!("data-step=\"{name}\">");
    let rest = page.split(&mark).nth(1).unwrap();
    rest.split('<').next().unwrap().parse().unwrap()
}

#[test]
fn a_page_and_a_journals_page_have_the_numbers_of_json() {
    let scratch = workload();
    let more = [
        "--json",
        "--report",
        "page.html",
        "--journal",
        "j",
        "--bundle",
        "j.smbj",
    ];
    let told = scratch.run([SIM, PLANTED, &more].concat()).expect(1).json();
    scratch
        .run(["report", "j.smbj", "-o", "again.html"])
        .expect(0);
    for name in ["page.html", "again.html"] {
        let page = fs::read_to_string(scratch.path(name)).unwrap();
        for (shown, key) in [
            ("captured", "captured"),
            ("compiled", "compiled"),
            ("sent", "issued"),
            ("answered", "answered"),
            ("compared", "compared"),
            ("as recorded", "matched"),
        ] {
            assert_eq!(json!(step(&page, shown)), told[key], "{name}: {shown}");
        }
        for part in [
            "answered otherwise than the recorded server in 1 place.",
            "STATUS_SHARING_VIOLATION → STATUS_SUCCESS",
            "frame.number in {169, 179}",
            "The 20 slowest operations",
            "Content-Security-Policy",
            told["effects_digest"].as_str().unwrap(),
        ] {
            assert!(page.contains(part), "{name}: {part}");
        }
        // A namespace is no address.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains("<script") && !page.contains("://"));
    }
    let again = scratch
        .run(["report", "j", "j.smbj", "--json"])
        .expect(0)
        .json();
    for key in [
        "verdict",
        "captured",
        "compared",
        "matched",
        "found",
        "divergences",
        "latency_us",
    ] {
        assert_eq!(again["runs"][0][key], told[key], "{key}");
        assert_eq!(again["runs"][1][key], told[key], "{key}");
    }
}

#[test]
fn several_runs_are_on_one_page() {
    let scratch = workload();
    scratch.run([SIM, &["--journal", "a"]].concat()).expect(0);
    scratch
        .run([SIM, PLANTED, &["--journal", "b"]].concat())
        .expect(1);
    scratch
        .run(["report", "a", "b", "-o", "both.html"])
        .expect(0)
        .shows(&["page: both.html"]);
    let page = fs::read_to_string(scratch.path("both.html")).unwrap();
    assert!(page.contains("href=\"#run-1\"") && page.contains("id=\"run-2\""));
    assert_eq!(page.matches("Can I trust it?").count(), 2);
}

#[test]
fn a_ticket_has_15_lines_of_80_columns() {
    let scratch = workload();
    let ran = scratch.run([SIM, PLANTED, &["--ticket", "--journal", "j"]].concat());
    let ran = ran.expect(1);
    let again = scratch.run(["report", "j", "--ticket"]);
    for (out, command) in [
        (&ran.out, "smbench show --summary j"),
        (&again.expect(0).out, "smbench rerun j"),
    ] {
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.len() <= 15, "{out}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{out}");
        for part in [
            "**diverged**: `leases3_plain.pcap` on the model server",
            "333 compared (100 %)",
            "- CREATE `team\\report.docx`, client 2, frame 169: SHARING_VIOLATION → SUCCESS",
            "| CREATE | 104 |",
            command,
        ] {
            assert!(out.contains(part), "{part}: {out}");
        }
    }
}

/// The exit codes of --fail-on: a planted bug tells of the server, a wrong share of the environment.
#[test]
fn what_fails_a_run_can_be_chosen() {
    let scratch = workload();
    for (kind, code) in [("behaviour", 1), ("any", 1), ("environment", 0)] {
        scratch
            .run([SIM, PLANTED, &["--fail-on", kind]].concat())
            .expect(code);
        scratch.run([SIM, &["--fail-on", kind]].concat()).expect(0);
    }
    // Who is granted what was denied: a matter of rights. One open of a file that others open all the time.
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "w");
    let ops = scratch.path("w/ops.jsonl");
    let text = fs::read_to_string(&ops).unwrap();
    let mut edited = String::new();
    let mut done = false;
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if !done && line["cmd"] == "CREATE" && line["expect"]["status"] == "SUCCESS" {
            line["expect"] = json!({"frame": 1, "status": "ACCESS_DENIED", "latency_us": 1});
            done = true;
        }
        edited += &(line.to_string() + "\n");
    }
    assert!(done);
    fs::write(&ops, edited).unwrap();
    for (kind, code) in [("behaviour", 0), ("any", 1), ("environment", 1)] {
        scratch
            .run([SIM, &["--fail-on", kind]].concat())
            .expect(code);
    }
}

#[test]
fn thresholds_are_told_one_by_one_and_end_with_6() {
    let scratch = workload();
    let holds = [
        "--threshold",
        "CREATE.p99 < 1s",
        "--threshold",
        "coverage >= 95%",
    ];
    let ran = scratch.run([SIM, &holds].concat());
    ran.expect(0)
        .shows(&["✓ CREATE.p99 < 1s: ", "✓ coverage >= 95%: 100 %"]);
    let fails = ["--threshold", "p50 < 1us", "--json"];
    let told = scratch.run([SIM, &holds, &fails].concat()).expect(6).json();
    let marks: Vec<&Value> = (0..3).map(|at| &told["thresholds"][at]["holds"]).collect();
    assert_eq!(marks, [&json!(true), &json!(true), &json!(false)]);
    // What was not measured holds nothing, and a divergence wins.
    scratch
        .run([SIM, &["--threshold", "LOCK.p99 < 1s"]].concat())
        .expect(6)
        .shows(&["nothing to measure"]);
    scratch
        .run([SIM, PLANTED, &["--threshold", "p50 < 1us"]].concat())
        .expect(1);
    for bad in ["p50", "p50 < 20", "READS.p50 < 1ms", "rate > 1ms"] {
        scratch.run([SIM, &["--threshold", bad]].concat()).expect(2);
    }
}

#[test]
fn what_is_allowed_is_told_and_fails_nothing() {
    let scratch = workload();
    let rules = "[[allow]]\nreason = \"share modes are off\"\ncommand = \"CREATE\"\nstatus = \"SUCCESS\"\n\
                 path = 'team\\*.DOCX'\nframes = \"100-200\"\n\n[[allow]]\nreason = \"nobody needs me\"\ncommand = \"READ\"\n";
    scratch.file("rules.toml", rules);
    let allow = ["--allow", "rules.toml"];
    let ran = scratch.run([SIM, PLANTED, &allow, &["--journal", "j"]].concat());
    ran.expect(0).shows(&[
        "no divergence but for 1 allowed",
        "(allowed: share modes are off)",
    ]);
    assert!(
        ran.err.contains("has allowed nothing: nobody needs me"),
        "{ran:?}"
    );
    let told = scratch
        .run([SIM, PLANTED, &allow, &["--json"]].concat())
        .expect(0)
        .json();
    assert_eq!(
        (&told["verdict"], &told["allowed"]),
        (&json!("as_recorded"), &json!(1))
    );
    assert_eq!(told["divergences"][0]["allowed"], "share modes are off");
    // Another bug is not allowed by it.
    let other = ["--plant", "corrupt-read"];
    let planted = scratch.run([SIM, &other, &allow].concat());
    assert!(matches!(planted.code, Some(1 | 2)), "{planted:?}");
    for bad in [
        "[[allow]]\ncommand = 'READ'",
        "[[allow]]\nreason = 'all'",
        "allow = 3",
        "",
    ] {
        scratch.file("bad.toml", bad);
        scratch
            .run([SIM, &["--allow", "bad.toml"]].concat())
            .expect(2);
    }
    scratch
        .run([SIM, &["--allow", "none.toml"]].concat())
        .expect(3);
}

#[test]
fn files_for_machines_hold_every_operation_and_every_difference() {
    let scratch = workload();
    let files = [
        "--junit",
        "r.xml",
        "--markdown",
        "r.md",
        "--csv",
        "r.csv",
        "--threshold",
        "p50 < 1us",
    ];
    let told = scratch
        .run([SIM, PLANTED, &files, &["--json"]].concat())
        .expect(1)
        .json();
    let read = |name: &str| fs::read_to_string(scratch.path(name)).unwrap();
    let csv = read("r.csv");
    assert_eq!(json!(csv.lines().count() - 1), told["operations"]);
    let line = csv.lines().find(|line| line.starts_with("26,")).unwrap();
    assert!(
        line.starts_with("26,2,data,team\\report.docx,CREATE,169,179,false,"),
        "{line}"
    );
    assert!(
        line.contains(",SHARING_VIOLATION,") && line.contains(",diverged,status,"),
        "{line}"
    );
    let xml = read("r.xml");
    assert!(
        xml.contains("failures=\"2\"") && xml.contains("1 of 104 answers differ"),
        "{xml}"
    );
    assert!(xml.contains("p50 &lt; 1us"), "{xml}");
    let markdown = read("r.md");
    assert!(
        markdown.contains("| another answer | CREATE | `team\\report.docx` | 2 | 169 |"),
        "{markdown}"
    );
    let twice = ["--report", "one", "--csv", "one"];
    scratch
        .run([SIM, &twice].concat())
        .expect(2)
        .says(&["--csv and --report both name"]);
    // Before a run: what could not be written after it.
    for flag in ["--report", "--junit", "--markdown", "--csv"] {
        let ran = scratch.run([SIM, &[flag, "no/such/file"]].concat());
        assert!(ran.expect(3).err.contains("is no folder"), "{ran:?}");
        scratch.run([SIM, &[flag, "w"]].concat()).expect(3);
    }
}

#[test]
fn a_replay_is_told_with_server_dialect_and_command() {
    let scratch = workload();
    let server = ModelServer::start(["--share", "data"]);
    let address = server.address.clone();
    scratch.file("password", "*=Passw0rd!\n");
    let ran = scratch.run([
        "replay",
        "w",
        "--server",
        &address,
        "--share",
        "data",
        "--password-file",
        "password",
        "--allow-guest",
        "--prepare",
        "--speed",
        "max",
        "--report",
        "page.html",
        "--journal",
        "j",
    ]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    assert!(
        ran.out.contains("report:   page.html") && ran.out.contains("slowest: "),
        "{ran:?}"
    );
    scratch.run(["report", "j", "-o", "again.html"]).expect(0);
    for name in ["page.html", "again.html"] {
        let page = fs::read_to_string(scratch.path(name)).unwrap();
        for part in [
            "dialect",
            "3.",
            "smbench replay w --server",
            &address,
            "smbench-",
        ] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn two_runs_are_compared_on_a_page_and_several_with_confidence() {
    let scratch = workload();
    for (name, seed, planted) in [
        ("a1", "1", false),
        ("a2", "2", false),
        ("b1", "1", true),
        ("b2", "2", true),
    ] {
        let planted = if planted { PLANTED } else { &[] };
        let ran = scratch.run([SIM, planted, &["--seed", seed, "--journal", name]].concat());
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    }
    let told = scratch
        .run(["diff", "a1", "b1", "--report", "d.html", "--json"])
        .expect(1)
        .json();
    let page = fs::read_to_string(scratch.path("d.html")).unwrap();
    assert_eq!(json!(step(&page, "compared")), told["compared"]);
    assert!(
        page.contains("SHARING_VIOLATION") && page.contains("in A"),
        "{page}"
    );
    let all = &told["times"][0];
    assert_eq!(
        (&all["command"], &all["ratio_95"]),
        (&json!("all"), &Value::Null)
    );
    let told = scratch
        .run(["diff", "a1", "a2", "--against", "b1", "b2", "--json"])
        .expect(1)
        .json();
    let ratio = told["times"][0]["ratio"].as_f64().unwrap();
    let interval = told["times"][0]["ratio_95"].as_array().unwrap();
    let [low, high] = [0, 1].map(|at: usize| interval[at].as_f64().unwrap());
    assert!(low <= ratio && ratio <= high, "{told}");
    scratch
        .run(["diff", "a1", "b1", "--fail-on", "environment"])
        .expect(0);
    let slower = ["diff", "a1", "a1", "--threshold", "p50 < 0.5x A"];
    scratch
        .run(slower)
        .expect(6)
        .shows(&["✗ p50 < 0.5x A", "1.00x A"]);
    scratch.file(
        "rules.toml",
        "[[allow]]\nreason = \"known\"\npath = 'team\\report.docx'\n",
    );
    scratch
        .run(["diff", "a1", "b1", "--allow", "rules.toml"])
        .expect(0);
    for wrong in [&["diff", "a1"][..], &["diff", "a1", "a2", "b1"]] {
        scratch.run(wrong).expect(2);
    }
}

#[test]
fn a_capture_is_told_without_a_replay_and_a_journal_is_inspected() {
    let scratch = workload();
    scratch
        .run(["inspect", "w", "--report", "i.html"])
        .expect(0)
        .shows(&["report: i.html"]);
    let page = fs::read_to_string(scratch.path("i.html")).unwrap();
    for part in [
        "leases3_plain.pcap as captured",
        "INVALID_OPLOCK_PROTOCOL",
        "the server first broke what client",
    ] {
        assert!(page.contains(part), "{part}");
    }
    scratch
        .run([SIM, &["--journal", "j", "--bundle", "j.smbj"]].concat())
        .expect(0);
    let folder = scratch.run(["inspect", "w", "--json"]).expect(0).json();
    for journal in ["j", "j.smbj"] {
        let mut told = scratch.run(["inspect", journal, "--json"]).expect(0).json();
        told["duration_us"] = folder["duration_us"].clone();
        assert_eq!(told, folder);
        scratch.run(["inspect", journal, "--why", "3"]).expect(2);
    }
}

/// Whatever a name is, a page shows it as text.
#[test]
fn names_are_text_on_a_page() {
    let scratch = workload();
    let hostile = "<script>alert(1)</script>&amp;\u{1b}[31m\u{202e}\"'";
    for file in ["w/ops.jsonl", "w/namespace.jsonl", "w/workload.json"] {
        let path = scratch.path(file);
        let text = fs::read_to_string(&path).unwrap();
        let name = serde_json::to_string(&format!("report{hostile}")).unwrap();
        let name = &name[1..name.len() - 1];
        fs::write(
            &path,
            text.replace("report", name)
                .replace("alice", &format!("alice{}", &name[6..])),
        )
        .unwrap();
    }
    let ran = scratch.run(
        [
            SIM,
            PLANTED,
            &["--report", "r.html", "--journal", "j", "--markdown", "r.md"],
        ]
        .concat(),
    );
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    scratch
        .run(["inspect", "w", "--report", "i.html"])
        .expect(0);
    let diff = scratch.run(["diff", "j", "j", "--report", "d.html"]);
    diff.expect(0);
    for name in ["r.html", "i.html", "d.html"] {
        let page = fs::read_to_string(scratch.path(name)).unwrap();
        assert!(
            !page.contains("<script") && !page.contains('\u{1b}') && !page.contains('\u{202e}'),
            "{name}"
        );
        assert!(
            name == "d.html"
                || page
                    .contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;\\u001b[31m\\u202e"),
            "{name}"
        );
    }
    let markdown = fs::read_to_string(scratch.path("r.md")).unwrap();
    assert!(!markdown.contains('\u{1b}'));
}

/// What is there already stays, unless it was written so: an output is never an input that goes away.
#[test]
fn nothing_but_what_was_written_so_is_written_over() {
    let scratch = workload();
    scratch
        .run([SIM, &["--bundle", "a.smbj"]].concat())
        .expect(0);
    let kept = fs::read(scratch.path("a.smbj")).unwrap();
    let ops = fs::read(scratch.path("w/ops.jsonl")).unwrap();
    for args in [
        &["report", "a.smbj", "-o", "a.smbj"][..],
        &["diff", "a.smbj", "a.smbj", "--report", "a.smbj"],
        &["inspect", "w", "--report", "w/ops.jsonl"],
        &["sim", "w", "--csv", "w/ops.jsonl"],
    ] {
        let ran = scratch.run(args);
        assert!(ran.expect(3).err.contains("it exists"), "{ran:?}");
    }
    assert_eq!(fs::read(scratch.path("a.smbj")).unwrap(), kept);
    assert_eq!(fs::read(scratch.path("w/ops.jsonl")).unwrap(), ops);
    let files = [
        "--report",
        "r",
        "--junit",
        "j",
        "--markdown",
        "m",
        "--csv",
        "c",
    ];
    for _ in 0..2 {
        scratch.run([SIM, &files].concat()).expect(0);
    }
    for twice in [
        &["--report", "x", "--bundle", "x"][..],
        &["--report", "./x", "--csv", "w/../x"],
    ] {
        scratch.run([SIM, twice].concat()).expect(2);
    }
}

/// Where nothing was compared nothing holds, and a run that fails nothing by wish is told so.
#[test]
fn what_was_not_compared_is_no_green() {
    let scratch = workload();
    let lenient = ["--fail-on", "environment", "--junit", "r.xml", "--ticket"];
    let ran = scratch.run([SIM, PLANTED, &lenient].concat());
    ran.expect(0)
        .shows(&["differences that tell of the server fail nothing"]);
    let xml = fs::read_to_string(scratch.path("r.xml")).unwrap();
    assert!(xml.contains("failures=\"0\""), "{xml}");
    scratch.file(
        "cut.toml",
        "[[faults]]\nkind = \"cut\"\nat_ms = 40\nconn = 0\n",
    );
    let cut = ["--scenario", "cut.toml"];
    let told = scratch
        .run([SIM, &cut, &["--json"]].concat())
        .expect(1)
        .json();
    assert!(
        told["found"]["lost_connection"].as_u64() > Some(0),
        "{told:#}"
    );
    scratch
        .run([SIM, &cut, &["--fail-on", "environment"]].concat())
        .expect(5);
    let nothing = scratch.shell(
        "\"$SMBENCH\" sim w --speed max --plant ignore-share-mode | true; exit ${PIPESTATUS[0]}",
    );
    assert!(
        nothing.err.is_empty() || !nothing.err.contains("panicked"),
        "{nothing:?}"
    );
}

/// Set-up that was not captured has no recorded time, and is not as recorded.
#[test]
fn further_runs_that_differ_are_told() {
    let scratch = workload();
    for (name, planted) in [("a", false), ("b", false), ("c", true)] {
        let planted = if planted { PLANTED } else { &[] };
        let ran = scratch.run([SIM, planted, &["--journal", name]].concat());
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    }
    let ran = scratch.run(["diff", "a", "b", "--against", "b", "c"]);
    ran.expect(1).shows(&[
        "same:",
        "c differs from the first run of side A too: 1 causes",
    ]);
    scratch.run(["diff", "a", "c", "--against", "b"]).expect(0);
    let rules = "[[allow]]\nreason = \"known\"\ncommand = \"CREATE\"\n";
    scratch.file("rules.toml", rules);
    let ran = scratch.run(["diff", "a", "c", "--allow", "rules.toml"]);
    ran.expect(0).shows(&["allowed: operation 26: known"]);
}
