//! What a run comes to: how much was compared, what differed, and what stalled.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::cli::{ModelServer, Scratch, capture};

const SIM: &[&str] = &["sim", "w", "--speed", "max"];

fn shared(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(folder)
}

/// Changes the lines of `w` for which `change` gives something else.
fn edit(scratch: &Scratch, change: impl Fn(&mut Value)) {
    let path = scratch.path("w/ops.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        change(&mut line);
        line.to_string() + "\n"
    });
    let edited: String = lines.collect();
    assert_ne!(edited, text);
    fs::write(path, edited).unwrap();
}

#[test]
fn all_is_compared_and_the_first_line_says_so() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let ran = scratch.run(SIM);
    let mut lines = ran.expect(0).out.lines();
    assert_eq!(
        lines.next(),
        Some(
            "334 captured → 334 compiled → 334 sent → 333 answered → 333 compared → 333 as recorded"
        )
    );
    assert_eq!(
        lines.next(),
        Some("no divergence; 100 % of the recorded answers compared")
    );
    let told = scratch.run([SIM, &["--json"]].concat()).expect(0).json();
    assert_eq!(told["verdict"], "as_recorded");
    assert_eq!(told["coverage"], 1.0);
    assert_eq!(
        (&told["compared"], &told["matched"]),
        (&json!(333), &json!(333))
    );
    assert_eq!(
        (&told["divergences"], &told["stalls"]),
        (&json!([]), &json!([]))
    );
}

#[test]
fn a_planted_bug_is_told_decoded_and_with_what_it_led_to() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let planted = ["--plant", "ignore-share-mode"];
    let ran = scratch.run([SIM, &planted].concat());
    let out = &ran.expect(1).out;
    for part in [
        "DIVERGED: 1 another answer; 100 % of the recorded answers compared",
        "frame 169, client 2, operation 26: CREATE team\\report.docx",
        "another answer: STATUS_SHARING_VIOLATION → STATUS_SUCCESS",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    let told = scratch
        .run([SIM, &planted, &["--json"]].concat())
        .expect(1)
        .json();
    assert_eq!(
        (&told["compared"], &told["matched"]),
        (&json!(333), &json!(332))
    );
    let first = &told["divergences"][0];
    let wanted = json!({
        "operation": 26, "kind": "another_answer", "what": "status", "command": "CREATE",
        "path": "team\\report.docx", "client": 2, "frame": 169,
        "recorded": "STATUS_SHARING_VIOLATION", "seen": "STATUS_SUCCESS", "cause": null, "consequences": 0,
    });
    assert_eq!(*first, wanted);
    // What could not run is there too, with its cause.
    edit(&scratch, |line| {
        if line["id"] == 44 {
            line["expect"]["status"] = json!("SUCCESS");
            line["do"]["request"]["CREATE"]["disposition"] = json!("create");
        }
    });
    let told = scratch.run([SIM, &["--json"]].concat()).expect(1).json();
    let of = |cause: &Value| {
        let all = told["divergences"].as_array().unwrap();
        all.iter().filter(|it| it["cause"] == *cause).count() as u64
    };
    let first = &told["divergences"][0];
    assert_eq!(first["operation"], 44, "{told:#}");
    assert!(first["consequences"].as_u64().unwrap() > 0, "{told:#}");
    assert_eq!(of(&json!(44)), first["consequences"].as_u64().unwrap());
    let all = told["divergences"].as_array().unwrap().iter();
    let consequences: u64 = all.map(|it| it["consequences"].as_u64().unwrap()).sum();
    assert_eq!(told["cascaded"], consequences);
    let shown = scratch.run([
        "show",
        told["journal"].as_str().unwrap(),
        "--diverged",
        "--json",
    ]);
    for line in shown.expect(0).out.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let did = line["did"].as_array().unwrap();
        let tells = |it: &Value| it["what"] == "diverged" || it["what"] == "cascaded";
        assert!(did.iter().any(tells), "{line}");
    }
}

#[test]
fn too_little_is_no_verdict() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_encrypted_share.pcap", "w");
    let ran = scratch.run(SIM);
    let out = &ran.expect(5).out;
    assert!(
        out.contains("INCONCLUSIVE: ") && out.contains("stayed encrypted"),
        "{out}"
    );
    assert!(!out.contains("no divergence"), "{out}");
    let less = ["--min-coverage", "50%"];
    let told = scratch
        .run([SIM, &less, &["--json"]].concat())
        .expect(0)
        .json();
    assert_eq!(told["coverage"], 0.5);
    for bad in ["101", "-1", "much"] {
        let flag = format!("--min-coverage={bad}");
        scratch.run([SIM, &[flag.as_str()]].concat()).expect(2);
    }
    // Without any recorded answer there is nothing to compare, whatever is asked for.
    edit(&scratch, |line| {
        line.as_object_mut().unwrap().remove("expect");
    });
    let told = scratch
        .run([SIM, &["--min-coverage", "0", "--json"]].concat())
        .expect(5)
        .json();
    assert_eq!(told["verdict"], "inconclusive");
}

#[test]
fn what_tells_of_the_environment_alone_is_no_divergence_and_said() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "w");
    let mut opened = 0;
    let text = fs::read_to_string(scratch.path("w/ops.jsonl")).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if opened == 0 && line["cmd"] == "CREATE" && line["expect"]["status"] == "SUCCESS" {
            opened = line["id"].as_u64().unwrap();
        }
    }
    edit(&scratch, |line| {
        if line["id"] == opened {
            line["expect"] = json!({"frame": 1, "status": "ACCESS_DENIED", "latency_us": 1});
        }
    });
    let ran = scratch.run(SIM);
    let out = &ran.expect(0).out;
    assert!(
        out.contains("no divergence but for the environment (1 environment)"),
        "{out}"
    );
    let told = scratch.run([SIM, &["--json"]].concat()).expect(0).json();
    assert_eq!(told["verdict"], "environment");
    assert_eq!(told["divergences"][0]["kind"], "environment");
}

/// Who waited for a break that nobody answered is told, in the recording and in a run of it.
#[test]
fn a_stall_names_who_was_waited_for() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let silent = ["--ack", "never", "--pcap", "silent.pcapng", "--json"];
    let told = scratch.run([SIM, &silent].concat()).expect(1).json();
    assert_eq!(told["stalls"].as_array().unwrap().len(), 3, "{told:#}");
    scratch
        .run(["compile", "silent.pcapng", "-o", "s"])
        .expect(0);
    let inspected = scratch.run(["inspect", "s", "--json"]).expect(0).json();
    let again = scratch
        .run(["sim", "s", "--speed", "max", "--json"])
        .expect(0)
        .json();
    for (stalls, seen) in [(&inspected["stalls"], false), (&again["stalls"], true)] {
        let first = &stalls[0];
        assert_eq!(
            (&first["command"], &first["client"]),
            (&json!("CREATE"), &json!(1))
        );
        assert!(
            first["recorded_us"].as_u64().unwrap() >= 30_000_000,
            "{first}"
        );
        assert_eq!(first["seen_us"].is_number(), seen, "{first}");
        let why = first["waited_for"].as_str().unwrap();
        assert!(
            why.starts_with("client 0 never acknowledged the break of its"),
            "{why}"
        );
    }
    let out = scratch.run(["inspect", "s"]).expect(0).out.clone();
    assert!(
        out.contains("client 0 never acknowledged the break of its lease"),
        "{out}"
    );
}

#[test]
fn a_wait_for_a_break_that_does_not_come_is_ours_and_has_a_flag() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let planted = ["--plant", "no-oplock-break", "--json"];
    let late = |more: &[&str]| {
        let told = scratch.run([SIM, &planted, more].concat()).expect(1).json();
        assert!(
            told["diverged"]["missing_break"].as_u64().unwrap() > 0,
            "{told:#}"
        );
        told["late_by"]["breaks"].as_u64().unwrap()
    };
    let (usual, short) = (late(&[]), late(&["--break-wait", "100"]));
    assert_eq!((usual % 2_000_000, short % 100_000), (0, 0));
    assert!(usual > 0 && usual == short * 20, "{usual} {short}");
}

#[test]
fn a_guest_is_not_taken_for_the_user_who_was_asked_for() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "w");
    let server = ModelServer::start(["--share", "s"]);
    let secret = scratch.file("secret", "password");
    let on = |root: &str, more: &[&str]| {
        let mut words = vec!["replay", "w", "--prepare", "--speed", "max", "--share", "s"];
        words.extend(["--server", &server.address, "--root", root]);
        words.extend(more);
        scratch.run(&words)
    };
    let user = [
        "--user",
        "somebody",
        "--password-file",
        secret.to_str().unwrap(),
    ];
    let nobody = on("nobody", &[]);
    nobody
        .expect(0)
        .says(&["no password for", "--password-file"]);
    let guest = on("guest", &user);
    guest
        .expect(3)
        .says(&["lets somebody in as a guest", "--allow-guest"]);
    let allowed = on("allowed", &[&user[..], &["--allow-guest"]].concat());
    assert!(
        allowed
            .expect(0)
            .out
            .contains("somebody as guest (1 session)"),
        "{allowed:?}"
    );
    let told = on("json", &[&user[..], &["--allow-guest", "--json"]].concat())
        .expect(0)
        .json();
    let logins = json!([{"user": "somebody", "standing": "guest", "sessions": 1}]);
    assert_eq!(told["logins"], logins);
}

#[test]
fn compile_says_what_cannot_be_replayed() {
    let scratch = Scratch::new();
    let sealed = capture("smbclient_encrypted_share.pcap");
    let ran = scratch.run(["compile", sealed.to_str().unwrap(), "-o", "w"]);
    let out = &ran.expect(0).out;
    assert!(
        out.contains("NOTE: 1 encrypted sessions stay closed") && out.contains("--keys"),
        "{out}"
    );
    let told = scratch.run(["inspect", "w", "--json"]).expect(0).json();
    assert_eq!(told["lacks"].as_array().unwrap().len(), 1);
    scratch.compile("leases3_plain.pcap", "whole");
    let told = scratch.run(["inspect", "whole", "--json"]).expect(0).json();
    assert!(told.get("lacks").is_none());
}

#[test]
fn small_mistakes_are_told() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let ran = |journal: &str, more: &[&str]| {
        scratch
            .run([SIM, &["--journal", journal], more].concat())
            .expect(0);
    };
    ran("a", &[]);
    ran("b", &["--pace", "think", "--timeout", "9"]);
    let plant = scratch.run([SIM, &["--plant", "nosuch"]].concat());
    plant
        .expect(2)
        .says(&["ignore-share-mode", "truncate-keeps-size"]);
    scratch
        .run(["show", "a", "--kind", "foo"])
        .expect(2)
        .says(&["received"]);
    scratch
        .run(["show", "a", "--op", "99999"])
        .expect(2)
        .says(&["no operation 99999", "347"]);
    let diff = scratch.run(["diff", "a", "b"]);
    for part in [
        "pace (\"absolute\" in A, \"think\" in B)",
        "timeout_ms (30000 in A, 9000 in B)",
    ] {
        assert!(diff.out.contains(part), "{part}: {diff:?}");
    }
}

/// Tables fit a terminal of 80 columns, and nothing is coloured.
#[test]
fn tables_fit() {
    let scratch = Scratch::new();
    let path = capture("leases3_plain.pcap");
    let compile = scratch.run(["compile", &path.to_string_lossy(), "-o", "w"]);
    let compiled = compile.expect(0).out.clone();
    let inspected = scratch.run(["inspect", "w"]).expect(0).out.clone();
    let simulated = scratch.run(SIM).expect(0).out.clone();
    let mut rows = 0;
    for out in [compiled, inspected, simulated] {
        assert!(!out.contains('\u{1b}'), "{out}");
        // Rows are indented by one; sentences are not, or by two.
        let is_row = |line: &&str| line.starts_with(' ') && !line.starts_with("  ");
        for row in out.lines().filter(is_row) {
            assert!(row.chars().count() <= 80, "{row:?}");
            rows += 1;
        }
    }
    assert!(rows > 30, "{rows}");
}

#[test]
fn a_journal_says_of_what_it_is_and_who_is_to_blame() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    scratch.file("pw", "secret\n");
    let path = scratch.path("pw").to_string_lossy().into_owned();
    let login = ["--share", "s", "--user", "u", "--password-file", &path];
    let server = ModelServer::start(login);
    let to = ["replay", "w", "--prepare", "--speed", "max"];
    let more = ["--server", &server.address, "--bundle", "b.smbj"];
    let ran = scratch.run([&to[..], &more, &login, &["--journal", "j"]].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let told = scratch
        .run(["show", "j", "--summary"])
        .expect(0)
        .out
        .clone();
    for part in ["date: ", &server.address, "options: ", "users: u"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // The file that is damaged is named, not the one that was to be made.
    let mut bytes = fs::read(scratch.path("b.smbj")).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    scratch.file("half.smbj", bytes);
    let ran = scratch.run(["import", "half.smbj", "made"]);
    assert!(
        ran.err.contains("the journal half.smbj is damaged"),
        "{ran:?}"
    );
    assert!(!scratch.path("made").exists());
}

/// The scenario that docs/SIMULATION.md shows is one.
#[test]
fn the_documented_scenario_runs() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SIMULATION.md");
    let text = fs::read_to_string(docs).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    scratch.file("weather.toml", rest.split_once("```").unwrap().0);
    let ran = scratch.run([SIM, &["--scenario", "weather.toml", "--json"]].concat());
    let told = ran.expect(1).json();
    assert!(
        told["found"]["lost_connection"].as_u64().unwrap() > 0,
        "{told:#}"
    );
}

/// Each command in the documentation is one: its verb and flags are there.
#[test]
fn documented_commands_are_commands() {
    let scratch = Scratch::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(here.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut commands = 0;
    for path in docs.chain([here.join("README.md")]) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for line in text.replace("\\\n", " ").lines() {
            let line = line.trim_start_matches("$ ");
            let Some(words) = line.strip_prefix("smbench ") else {
                continue;
            };
            let words = words.split(" #").next().unwrap_or_default();
            // With this flag nothing runs, but for what is no flag before it.
            // What stands between quotes is one word.
            let parts = words.split('\'').enumerate();
            let words = parts.flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            scratch
                .run(words.chain(["--help"]).collect::<Vec<_>>())
                .expect(0);
            commands += 1;
        }
    }
    assert!(commands >= 10, "{commands}");
}

/// A service behind a pipe is not the model's business: what was recorded of it is told to whoever opens
/// the pipe, and is no verdict on anything.
#[test]
fn pipes_are_answered_from_the_recording_and_not_compared() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_encrypted_share.pcap", "w");
    let told = scratch.run([SIM, &["--json"]].concat()).expect(5).json();
    let number = |key: &str| told[key].as_u64().unwrap();
    let copied = number("answered_from_recording");
    assert!(copied > 0, "{told:#}");
    assert_eq!(number("with_answer") + copied, number("compiled"));
    assert_eq!(number("compared") + copied, number("answered"));
    assert_eq!(told["divergences"].as_array().map(Vec::len), Some(0));
    let ran = scratch.run(SIM);
    let words = format!("{copied} on pipes, which the model answers as they were recorded");
    assert!(ran.out.contains(&words), "{ran:?}");
}

/// One direction alone is never a verdict, and nothing of what strangers captured is green without having
/// been compared.
#[test]
fn captures_of_strangers_are_green_only_when_compared() {
    let mut captures: Vec<PathBuf> = ["m_c2s.pcap", "m_s2c_late.pcap"]
        .iter()
        .map(|name| shared("trials").join(name))
        .filter(|path| path.exists())
        .collect();
    let one_sided = captures.len();
    let public = fs::read_dir(shared("captures/public"))
        .into_iter()
        .flatten();
    let public = public.map(|entry| entry.unwrap().path());
    captures.extend(public.filter(|path| path.to_string_lossy().contains(".pcap")));
    captures.retain(|path| path.extension().is_none_or(|end| end != "json"));
    println!("{} captures", captures.len());
    for (at, path) in captures.iter().enumerate() {
        let scratch = Scratch::new();
        let name = path.file_name().unwrap().to_string_lossy();
        let compiled = scratch.run(["compile", &path.to_string_lossy(), "-o", "w"]);
        if !matches!(compiled.code, Some(0 | 3)) {
            panic!("{name}: {compiled:?}");
        }
        if !scratch.path("w").exists() {
            continue;
        }
        let ran = scratch.run([SIM, &["--json"]].concat());
        let told = ran.json();
        assert!(matches!(ran.code, Some(0 | 1 | 5)), "{name}: {ran:?}");
        let coverage = told["coverage"].as_f64();
        if ran.code == Some(0) {
            assert!(coverage.is_some_and(|it| it >= 0.9), "{name}: {told:#}");
        }
        if at < one_sided {
            assert_eq!(ran.code, Some(5), "{name}: {told:#}");
        }
        println!("{name}: coverage {coverage:?}, exit {:?}", ran.code);
    }
}

/// Every key that `sim` and `replay` print has its row in docs/JSON.md.
#[test]
fn every_key_is_documented() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/JSON.md");
    let text = fs::read_to_string(docs).unwrap();
    let server = ModelServer::start(["--share", "s"]);
    let mut words = vec![
        "replay",
        "w",
        "--prepare",
        "--speed",
        "max",
        "--share",
        "s",
        "--json",
    ];
    words.extend(["--server", &server.address, "--bundle", "b.smbj"]);
    let replayed = scratch.run(&words).json();
    let simulated = scratch
        .run([SIM, &["--plant", "stale-read", "--ack", "never", "--json"]].concat())
        .json();
    let mut keys = 0;
    let mut look = |value: &Value| {
        for (key, value) in value.as_object().unwrap() {
            keys += 1;
            assert!(
                text.contains(&format!("`{key}`")) || text.contains(&format!(" {key}")),
                "{key}"
            );
            let inner = value
                .as_array()
                .and_then(|list| list.first())
                .unwrap_or(value);
            for inner in inner.as_object().into_iter().flatten().map(|(key, _)| key) {
                assert!(text.contains(inner.as_str()), "{key}: {inner}");
            }
        }
    };
    look(&replayed);
    look(&simulated);
    assert!(keys > 60, "{keys}");
}
