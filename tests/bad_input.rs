//! Whatever the program is given, it says what is wrong, where, and what to do; it ends with the
//! exit code for that, never in a panic, and loses nothing that was recorded before.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::Path;

use support::cli::{ModelServer, Scratch, capture};

const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
const SMALL: &str = "smbclient_dialect_SMB3_11.pcap";

fn is_empty_of(scratch: &Scratch, name: &str) -> bool {
    !scratch.path(name).exists()
}

#[test]
fn what_is_no_capture_is_refused_by_name() {
    let scratch = Scratch::new();
    scratch.file("text.pcap", "hello, this is no capture at all\n");
    scratch.file("empty.pcap", "");
    scratch.file("magic.pcap", [0xd4, 0xc3, 0xb2]);
    fs::create_dir(scratch.path("folder")).unwrap();
    for (name, says) in [
        ("text.pcap", "not a capture"),
        ("empty.pcap", "the capture is empty"),
        ("magic.pcap", "cannot be read"),
        ("folder", "is a folder"),
        ("missing.pcap", "cannot open"),
    ] {
        let ran = scratch.run(["compile", name, "-o", "out"]);
        ran.expect(ENVIRONMENT).says(&[name, says]);
        assert!(is_empty_of(&scratch, "out"), "{name} left a workload");
    }
    let ran = scratch.run(["compile", "text.pcap", "-o", "out"]);
    ran.says(&["pcap and pcapng"]);
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 4);
}

#[test]
fn packets_before_the_cut_count() {
    let scratch = Scratch::new();
    let whole = fs::read(capture(SMALL)).unwrap();
    let all = scratch
        .run([
            "compile",
            &capture(SMALL).to_string_lossy(),
            "-o",
            "all",
            "--json",
        ])
        .json();
    scratch.file("cut.pcap", &whole[..whole.len() * 2 / 3 + 5]);
    let ran = scratch.run(["compile", "cut.pcap", "-o", "cut", "--json"]);
    let cut = ran.expect(0).json();
    let count = |of: &serde_json::Value| of["operations"].as_u64().unwrap();
    assert!(count(&cut) > 5 && count(&cut) < count(&all), "{cut:#}");
    assert_eq!(cut["problems"]["truncated file"], 1, "{cut:#}");
    scratch.run(["inspect", "cut"]).expect(0);
    // Wherever the cut is: an answer or an error, never a panic.
    for at in (0..whole.len()).step_by(whole.len() / 23) {
        scratch.file("cut.pcap", &whole[..at]);
        let ran = scratch.run(["compile", "cut.pcap", "-o", "cut", "--force"]);
        assert!(matches!(ran.code, Some(0 | ENVIRONMENT)), "{at}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{at}: {ran:?}");
    }
}

#[test]
fn a_capture_without_smb2_says_so() {
    let scratch = Scratch::new();
    let whole = fs::read(capture(SMALL)).unwrap();
    scratch.file("header.pcap", &whole[..24]);
    // One Ethernet frame of an unknown kind.
    let mut other = whole[..24].to_vec();
    for field in [1u32, 2, 14, 14] {
        other.extend(field.to_le_bytes());
    }
    other.extend([0xff; 12]);
    other.extend([0x88, 0xcc]);
    scratch.file("other.pcap", other);
    for name in ["header.pcap", "other.pcap"] {
        let ran = scratch.run(["compile", name, "-o", "out", "--force", "--json"]);
        ran.expect(ENVIRONMENT).says(&["holds no SMB2 request"]);
        assert_eq!(ran.json()["operations"], 0);
    }
}

#[test]
fn a_damaged_workload_names_file_and_line() {
    let scratch = Scratch::new();
    let sound = scratch.compile(SMALL, "sound");
    let again = "compile its capture again";
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &[&str]); 7] = [
        (
            "tables",
            |dir| fs::write(dir.join("workload.json"), "garbage").unwrap(),
            &["workload.json, line 1", again],
        ),
        (
            "newer",
            |dir| {
                let path = dir.join("workload.json");
                let text = fs::read_to_string(&path).unwrap();
                let mut tables: serde_json::Value = serde_json::from_str(&text).unwrap();
                tables["format"] = 99.into();
                fs::write(path, tables.to_string()).unwrap();
            },
            &["workload.json", "format 99", again],
        ),
        (
            "line",
            |dir| {
                let path = dir.join("ops.jsonl");
                let text = fs::read_to_string(&path).unwrap();
                let mut lines: Vec<&str> = text.lines().collect();
                lines[6] = "{\"id\":6,";
                fs::write(path, lines.join("\n")).unwrap();
            },
            &["ops.jsonl, line 7", again],
        ),
        (
            "no-ops",
            |dir| fs::remove_file(dir.join("ops.jsonl")).unwrap(),
            &["ops.jsonl", "No such file", again],
        ),
        (
            "no-blobs",
            |dir| fs::remove_file(dir.join("blobs.pack")).unwrap(),
            &["blobs.pack", "No such file", again],
        ),
        (
            "half-blobs",
            |dir| {
                let path = dir.join("blobs.pack");
                let bytes = fs::read(&path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            &["blobs.pack", again],
        ),
        (
            "no-tables",
            |dir| fs::remove_file(dir.join("workload.json")).unwrap(),
            &["workload.json", "name a folder that smbench compile wrote"],
        ),
    ];
    for (name, spoil, says) in cases {
        let dir = scratch.path(name);
        copy(&sound, &dir);
        spoil(&dir);
        for verb in ["inspect", "sim"] {
            let ran = scratch.run([verb, name]);
            ran.expect(ENVIRONMENT).says(&[name]).says(says);
        }
    }
    let ran = scratch.run(["inspect", "nowhere"]);
    ran.expect(ENVIRONMENT).says(&["nowhere"]);
    assert!(is_empty_of(&scratch, "smbench-journals"), "a run began");
}

#[test]
fn what_is_no_journal_is_refused() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.compile("leases3_plain.pcap", "other");
    scratch.run(["sim", "w", "--journal", "j", "--bundle", "j.smbj"]);
    scratch.run(["sim", "other", "--bundle", "other.smbj"]);
    for verb in ["rerun", "show"] {
        let ran = scratch.run([verb, "w/ops.jsonl"]);
        ran.expect(ENVIRONMENT)
            .says(&["w/ops.jsonl is not a journal"]);
        let ran = scratch.run([verb, "w"]);
        ran.expect(ENVIRONMENT).says(&["w is not a journal"]);
        let ran = scratch.run([verb, "none.smbj"]);
        ran.expect(ENVIRONMENT).says(&["none.smbj", "No such file"]);
    }
    let ran = scratch.run(["diff", "j.smbj", "other.smbj"]);
    ran.expect(USAGE).says(&["different workloads", "replay"]);
    // Neither a journal nor a bundle is written over.
    let before = fs::read(scratch.path("j.smbj")).unwrap();
    let ran = scratch.run(["export", "j", "j.smbj"]);
    ran.expect(ENVIRONMENT).says(&["j.smbj exists"]);
    let ran = scratch.run(["import", "other.smbj", "j"]);
    ran.expect(ENVIRONMENT).says(&["exists"]);
    let ran = scratch.run(["sim", "w", "--journal", "j"]);
    ran.expect(ENVIRONMENT).says(&["journal j", "--journal"]);
    assert_eq!(fs::read(scratch.path("j.smbj")).unwrap(), before);
    scratch.run(["rerun", "j"]).expect(0);
}

#[test]
fn an_existing_bundle_lasts_until_the_next_is_whole() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.run(["sim", "w", "--bundle", "kept.smbj"]);
    let before = fs::read(scratch.path("kept.smbj")).unwrap();
    let ran = scratch.run([
        "replay",
        "w",
        "--server",
        "127.0.0.1:1",
        "--share",
        "s",
        "--bundle",
        "kept.smbj",
    ]);
    ran.expect(ENVIRONMENT);
    assert_eq!(fs::read(scratch.path("kept.smbj")).unwrap(), before);
    // What is no file is never removed to make room.
    fs::create_dir(scratch.path("place")).unwrap();
    let ran = scratch.run(["sim", "w", "--bundle", "place"]);
    ran.expect(ENVIRONMENT).says(&["place", "no file"]);
    let ran = scratch.run(["sim", "w", "--bundle", "no/such/folder.smbj"]);
    ran.expect(ENVIRONMENT).says(&["no/such/folder.smbj"]);
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    for verb in ["replay", "prepare"] {
        let ran = scratch.run([verb, "w", "--server", "127.0.0.1:1", "--share", "s"]);
        ran.expect(ENVIRONMENT)
            .says(&["cannot reach the server", "127.0.0.1:1", "--server"]);
        let ran = scratch.run([verb, "w", "--share", "s"]);
        ran.expect(USAGE).says(&["no server is named", "--server"]);
    }
    let ran = scratch.run(["replay", "w", "--server", "no such host"]);
    ran.expect(ENVIRONMENT)
        .says(&["no such host", "cannot be found"]);
}

#[test]
fn a_refused_login_or_share_is_no_divergence() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.file("right", "secret\n");
    scratch.file("wrong", "guess\n");
    let right = scratch.path("right");
    let args = ["--share", "s", "--user", "u", "--password-file"];
    let args = args.into_iter().chain([right.to_str().unwrap()]);
    let server = ModelServer::start(args);
    let replay = |password: &str, share: &str, more: &[&str]| {
        let args = ["replay", "w", "--speed", "max", "--server", &server.address];
        let login = ["--share", share, "--user", "u", "--password-file", password];
        scratch.run([&args[..], &login[..], more].concat())
    };
    for more in [&["--prepare"][..], &["--root", "r"][..]] {
        let ran = replay("wrong", "s", more);
        ran.expect(ENVIRONMENT).says(&["--password-file"]);
        let ran = replay("right", "nope", more);
        ran.expect(ENVIRONMENT).says(&["share", "--share"]);
    }
    let ran = replay("nowhere", "s", &["--prepare"]);
    ran.expect(ENVIRONMENT).says(&["cannot read nowhere"]);
    // What was recorded of the refused run is there, and reruns.
    let mine = "--i-know-this-share-is-mine";
    let ran = replay("wrong", "s", &["--root", "r", mine, "--journal", "refused"]);
    ran.expect(ENVIRONMENT);
    scratch.run(["rerun", "refused"]).expect(0);
}

/// A run that cannot be recorded sends nothing: no root is made for it.
#[test]
fn a_run_that_cannot_be_recorded_prepares_nothing() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.file("file", "no folder\n");
    let server = ModelServer::start(["--share", "s"]);
    let to = ["replay", "w", "--prepare", "--speed", "max", "--share", "s"];
    let to = [&to[..], &["--server", &server.address]].concat();
    for (flag, path) in [("--journal", "file/j"), ("--bundle", "no/b.smbj")] {
        let ran = scratch.run([&to[..], &[flag, path]].concat());
        ran.expect(ENVIRONMENT)
            .says(&[path.split('/').next().unwrap()]);
        assert!(!ran.err.contains("prepared"), "{ran:?}");
    }
    let ran = scratch.run([&to[..], &["--journal", "j"]].concat());
    ran.expect(0).says(&["prepared"]);
    scratch.run(["rerun", "j"]).expect(0);
}

#[test]
fn bad_settings_are_usage_errors_that_name_them() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    let scenario = |text: &str| {
        scratch.file("s.toml", text);
        scratch.run(["sim", "w", "--scenario", "s.toml"])
    };
    scenario("latncy = 3")
        .expect(USAGE)
        .says(&["latncy", "latency"]);
    scenario("split = ")
        .expect(USAGE)
        .says(&["s.toml", "line 1"]);
    scenario("faults = [{ kind = \"meteor\", at_ms = 1 }]")
        .expect(USAGE)
        .says(&["meteor", "cut"]);
    scenario("latency = { min_us = 9, max_us = 1 }")
        .expect(USAGE)
        .says(&["min_us 9"]);
    let ran = scratch.run(["sim", "w", "--scenario", "none.toml"]);
    ran.expect(ENVIRONMENT).says(&["none.toml"]);

    let ran = scratch.run(["sim", "w", "--plant", "nope"]);
    ran.expect(USAGE).says(&["nope"]);
    let ran = scratch.run(["serve", "--listen", "127.0.0.1:0", "--plant", "nope"]);
    ran.expect(USAGE).says(&["nope", "--plant list"]);
    let ran = scratch.run(["serve", "--share", "s=/no/such/folder"]);
    ran.expect(ENVIRONMENT).says(&["/no/such/folder"]);
    let ran = scratch.run(["serve", "--listen", "127.0.0.1:99999"]);
    ran.expect(USAGE).says(&["99999"]);
    for speed in ["0", "-1", "fast", "nan"] {
        let ran = scratch.run(["sim", "w", &format!("--speed={speed}")]);
        ran.expect(USAGE).says(&["--speed", speed]);
    }
    scratch.run(["frobnicate"]).expect(USAGE);
    let ran = scratch.run(["inspect", "w", "--why", "4000000"]);
    ran.expect(USAGE).says(&["4000000", "0 to 40"]);
    assert!(is_empty_of(&scratch, "smbench-journals"), "a run began");
}

#[test]
fn a_mapping_that_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    let mapped = |text: &str| {
        scratch.file("m.toml", text);
        let args = ["replay", "w", "--server", "127.0.0.1:1"];
        scratch.run([&args[..], &["--mapping", "m.toml"]].concat())
    };
    mapped("shares = { nope = \"x\" }")
        .expect(USAGE)
        .says(&["share nope", "data2"]);
    mapped("users = { nope = \"x\" }")
        .expect(USAGE)
        .says(&["user nope", "bob"]);
    mapped("rooot = \"x\"")
        .expect(USAGE)
        .says(&["rooot", "root"]);
    mapped("root = \"a/../b\"")
        .expect(USAGE)
        .says(&["a", "root"]);
    for root in ["..", "a\\..\\b", "C:\\x", "a//b"] {
        let args = ["replay", "w", "--server", "127.0.0.1:1", "--root", root];
        let ran = scratch.run(args);
        ran.expect(USAGE).says(&["cannot be a root"]);
    }
}

#[test]
fn a_share_that_cannot_be_is_named_as_it_was_given() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    for share in ["..", "", "a/b", "a:b", "IPC$", "ipc$\\x", "..\\x"] {
        let args = ["replay", "w", "--server", "127.0.0.1:1", "--share", share];
        let name = share.split('\\').next().unwrap();
        let ran = scratch.run(args);
        ran.expect(USAGE)
            .says(&["cannot be a share of files", &format!("{name:?}")]);
        scratch.file(
            "m.toml",
            format!("server = '127.0.0.1:1'\nshare = '{share}'\n"),
        );
        let ran = scratch.run(["replay", "w", "--mapping", "m.toml"]);
        ran.expect(USAGE).says(&["cannot be a share of files"]);
    }
}

#[test]
fn a_workload_is_replaced_only_when_told() {
    let scratch = Scratch::new();
    let dir = scratch.compile(SMALL, "w");
    let before = fs::read(dir.join("ops.jsonl")).unwrap();
    let other = capture("leases3_plain.pcap");
    let other = other.to_str().unwrap();
    let ran = scratch.run(["compile", other, "-o", "w"]);
    ran.expect(USAGE).says(&["w exists", "--force"]);
    scratch.file("file", "mine");
    let ran = scratch.run(["compile", other, "-o", "file", "--force"]);
    ran.expect(USAGE).says(&["file exists", "no workload"]);
    assert_eq!(fs::read(dir.join("ops.jsonl")).unwrap(), before);
    assert_eq!(fs::read(scratch.path("file")).unwrap(), b"mine");
    // What cannot be compiled does not cost the workload that was there.
    scratch.file("junk.pcap", "junk");
    let ran = scratch.run(["compile", "junk.pcap", "-o", "w", "--force"]);
    ran.expect(ENVIRONMENT);
    assert_eq!(fs::read(dir.join("ops.jsonl")).unwrap(), before);
}

#[test]
fn a_full_disk_loses_nothing_that_was_there() {
    let scratch = Scratch::new();
    scratch.compile("collab6_seed1.pcap", "w");
    scratch.run(["sim", "w", "--journal", "kept", "--bundle", "kept.smbj"]);
    // Files may not grow beyond so many KiB: the nearest to a full disk without a mount.
    let limited = |kib: u32, command: &str| {
        scratch.shell(&format!(
            "trap '' XFSZ; ulimit -f {kib}; exec \"$SMBENCH\" {command}"
        ))
    };
    let pcap = capture("collab6_seed1.pcap");
    let ran = limited(40, &format!("compile {} -o new", pcap.display()));
    ran.expect(ENVIRONMENT).says(&["cannot be written"]);
    assert!(is_empty_of(&scratch, "new"));
    let ran = limited(40, "sim w --journal j40 --bundle kept.smbj");
    ran.expect(ENVIRONMENT).says(&["j40"]);
    let ran = limited(8, "export kept new.smbj");
    ran.expect(ENVIRONMENT)
        .says(&["new.smbj", "nothing was written"]);
    assert!(is_empty_of(&scratch, "new.smbj"));
    scratch.run(["rerun", "kept"]).expect(0);
    scratch.run(["rerun", "kept.smbj"]).expect(0);
    if Path::new("/dev/full").exists() {
        for command in ["sim w --json", "inspect w", "show kept", "rerun kept"] {
            let ran = scratch.shell(&format!("\"$SMBENCH\" {command} > /dev/full"));
            ran.expect(ENVIRONMENT).says(&["No space left"]);
        }
    }
}

#[test]
fn a_run_that_is_cut_short_keeps_what_it_recorded() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let begin = |server: &ModelServer, journal: &str, speed: &str| {
        let args = ["replay", "w", "--server", &server.address, "--share", "s"];
        // Slower than recorded: it cannot be over when it is cut.
        let more = ["--prepare", "--speed", speed, "--journal", journal];
        let child = scratch.start([&args[..], &more].concat());
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        child
    };
    let rerun = |journal: &str| scratch.run(["rerun", journal, "--json"]).expect(0).json();

    // The replayer is killed: what it told the disk is there, and reruns.
    let server = ModelServer::start(["--share", "s"]);
    let mut killed = begin(&server, "killed", "0.1");
    assert!(killed.try_wait().unwrap().is_none(), "over too early");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let told = rerun("killed");
    assert_eq!(told["complete"], false, "{told:#}");
    assert_eq!(told["identical"], true, "{told:#}");
    assert!(told["events"].as_u64().unwrap() > 10, "{told:#}");
    scratch.run(["export", "killed", "killed.smbj"]).expect(0);

    // The server goes away: the replay says so, to its end.
    let cut = begin(&server, "cut", "0.4");
    drop(server);
    let ran = support::cli::Ran::of(&cut.wait_with_output().unwrap());
    ran.expect(1);
    assert!(ran.out.contains("lost connection"), "{ran:#?}");
    let told = rerun("cut");
    assert_eq!(told["complete"], true, "{told:#}");
    assert_eq!(told["identical"], true, "{told:#}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let scratch = Scratch::new();
    scratch.compile("collab6_seed1.pcap", "w");
    scratch.run(["sim", "w", "--journal", "j"]);
    for command in ["show j", "show j --json", "show j --salvage", "inspect w"] {
        let pipe = format!("\"$SMBENCH\" {command} | head -1; exit ${{PIPESTATUS[0]}}");
        scratch.shell(&pipe).expect(0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_operation_that_waits_for_itself_is_told() {
    let scratch = Scratch::new();
    let work = scratch.compile("leases3_plain.pcap", "w");
    let path = work.join("ops.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let edited: String = text
        .lines()
        .map(|line| {
            let own = line.starts_with("{\"id\":21,");
            let edge = "\"after\":[{\"id\":21,\"rule\":\"wire\"},";
            line.replacen("\"after\":[", if own { edge } else { "\"after\":[" }, 1) + "\n"
        })
        .collect();
    assert_ne!(edited, text);
    std::fs::write(&path, edited).unwrap();
    let ran = scratch.run(["sim", "w", "--speed", "max"]);
    ran.expect(3).says(&["operations wait for each other: 21"]);
}

#[test]
fn two_shares_in_one_folder_are_told() {
    let scratch = Scratch::new();
    let work = scratch.compile("leases3_plain.pcap", "w");
    let tables = work.join("workload.json");
    let text = std::fs::read_to_string(&tables).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["trees"][0]["path"] = "\\\\s\\other".into();
    std::fs::write(&tables, value.to_string()).unwrap();
    let mapping = scratch.file(
        "m.toml",
        "server = '127.0.0.1:9'\nroot = 'r'\n[shares]\nother = 'one\\x'\ndata = 'one\\x'\n",
    );
    let mapping = mapping.to_str().unwrap();
    let ran = scratch.run(["replay", "w", "--mapping", mapping, "--prepare"]);
    ran.expect(2)
        .says(&["data and other go to one folder", "[shares]"]);
}

/// A server that answers the first question a byte at a time, and never to its end.
#[test]
fn a_server_that_drips_does_not_hold_the_start() {
    use std::io::{Read as _, Write as _};
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let asked = stream.read(&mut [0; 512]).is_ok();
                let mut goes_on = asked && stream.write_all(&[0, 0x0f, 0xff, 0xf0]).is_ok();
                while goes_on {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                    goes_on = stream.write_all(&[0xfe]).is_ok();
                }
            });
        }
    });
    let begun = std::time::Instant::now();
    let mut words = vec!["replay", "w", "--prepare", "--share", "s", "--timeout", "2"];
    words.extend(["--speed", "max", "--server", &address]);
    let ran = scratch.run(&words);
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// Layouts are no longer than a frame, and compounds stand in their place.
#[test]
fn a_workload_that_claims_too_much_costs_nothing() {
    let scratch = Scratch::new();
    let work = scratch.compile("leases3_plain.pcap", "w");
    let path = work.join("ops.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let edit = |change: &dyn Fn(&mut serde_json::Value)| {
        let lines = text.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            change(&mut line);
            line.to_string() + "\n"
        });
        let edited: String = lines.collect();
        assert_ne!(edited, text);
        std::fs::write(&path, edited).unwrap();
    };
    edit(&|line| {
        if line["cmd"] == "ECHO" {
            line["quirks"] = serde_json::json!({"canonical": 68, "length": u32::MAX});
        }
    });
    let ran = scratch.shell("ulimit -v 2000000; $SMBENCH sim w --speed max --json");
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    edit(&|line| {
        if line["id"] == 21 {
            line["compound"] = serde_json::json!({"first": 30, "position": 0, "related": false});
        }
    });
    let ran = scratch.run(["sim", "w", "--speed", "max"]);
    ran.expect(3)
        .says(&["operation 21 is not at the place of its compound"]);
}
