//! The whole path against a real server: compile, prepare, replay, rerun, diff, on a private Samba.
//!
//! Built with `--features samba-tests` only; see `scripts/test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::samba::{Options, PrivateSamba};

/// A folder for one test, and what runs in it.
struct Bench {
    server: PrivateSamba,
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Its journals tell why.
            println!("kept {}", self.folder.display());
        } else {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

impl Bench {
    fn start(name: &str, options: Options) -> Self {
        let options = Options {
            guest: false,
            ..options
        };
        let server = PrivateSamba::start(&options)
            .unwrap_or_else(|reason| panic!("Samba did not start: {reason}"));
        let folder = std::env::temp_dir().join(format!("smbench-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("passwords"),
            format!("*={}\n", server.password().unwrap().trim()),
        )
        .unwrap();
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn compile(&self, capture: &str) -> PathBuf {
        let passwords = self.path("passwords");
        self.compile_with(capture, &["--password-file".as_ref(), passwords.as_ref()])
    }

    fn compile_with(&self, capture: &str, extra: &[&std::ffi::OsStr]) -> PathBuf {
        let work = self.path("work");
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let capture = captures.join(capture);
        let mut args: Vec<&std::ffi::OsStr> = vec![
            "compile".as_ref(),
            capture.as_ref(),
            "-o".as_ref(),
            work.as_ref(),
            "--json".as_ref(),
        ];
        args.extend(extra);
        let (code, found) = json(&args);
        assert_eq!(code, 0, "{found}");
        assert_eq!(
            found["reencoded_exact"], found["reencoded_total"],
            "{found}"
        );
        work
    }

    /// Replays onto a freshly prepared root; exit code and summary.
    fn replay(&self, work: &Path, journal: &str, extra: &[&str]) -> (i32, Value) {
        self.replay_as(work, journal, extra, &["--prepare"])
    }

    /// Replays onto a root as `how` says.
    fn replay_as(&self, work: &Path, journal: &str, extra: &[&str], how: &[&str]) -> (i32, Value) {
        let server = format!("{}:{}", self.server.host(), self.server.port());
        let passwords = self.path("passwords");
        let journal = self.path(journal);
        let mut args: Vec<&std::ffi::OsStr> = vec![
            "replay".as_ref(),
            work.as_ref(),
            "--server".as_ref(),
            server.as_ref(),
            "--share".as_ref(),
            "data".as_ref(),
            "--password-file".as_ref(),
            passwords.as_ref(),
            "--speed".as_ref(),
            "max".as_ref(),
            "--json".as_ref(),
            "--journal".as_ref(),
            journal.as_ref(),
        ];
        args.extend(how.iter().map(|arg| -> &std::ffi::OsStr { arg.as_ref() }));
        args.extend(extra.iter().map(|arg| -> &std::ffi::OsStr { arg.as_ref() }));
        json(&args)
    }

    fn rerun(&self, journal: &str) {
        let journal = self.path(journal);
        let (code, found) = json(&["rerun".as_ref(), journal.as_ref(), "--json".as_ref()]);
        assert_eq!(
            (code, &found["identical"]),
            (0, &Value::Bool(true)),
            "{found}"
        );
        assert!(found["events"].as_u64().unwrap() > 10, "{found}");
    }
}

/// Runs the binary in a folder of its own for default journals; exit code and the JSON it prints.
fn json(args: &[&std::ffi::OsStr]) -> (i32, Value) {
    let run = Command::new(env!("CARGO_BIN_EXE_smbench"))
        .current_dir(std::env::temp_dir())
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    let value = serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {errors}"));
    (run.status.code().unwrap(), value)
}

fn diverged(found: &Value) -> u64 {
    let kinds = found["diverged"].as_object().unwrap();
    kinds
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum::<u64>()
        + found["cascaded"].as_u64().unwrap()
}

fn replays_without_divergence(capture: &str) {
    let bench = Bench::start(capture, Options::default());
    let work = bench.compile(capture);
    let (code, found) = bench.replay(&work, "journal", &[]);
    assert_eq!((code, diverged(&found)), (0, 0), "{found}");
    assert_eq!(found["unanswered"], 0, "{found}");
    bench.rerun("journal");
}

#[test]
fn an_smbclient_session_replays_as_recorded() {
    replays_without_divergence("smbclient_dialect_SMB3_11.pcap");
}

#[test]
fn the_oldest_dialect_replays_as_recorded() {
    replays_without_divergence("smbclient_dialect_SMB2_02.pcap");
}

#[test]
fn an_encrypted_share_replays_as_recorded() {
    replays_without_divergence("smbclient_encrypted_share.pcap");
}

#[test]
fn three_clients_break_each_others_leases_as_recorded() {
    replays_without_divergence("leases3_plain.pcap");
}

/// Required signing changes the wire and nothing else.
#[test]
fn a_signing_server_changes_nothing() {
    let options = Options {
        signing: "mandatory",
        ..Options::default()
    };
    let bench = Bench::start("signing", options);
    let work = bench.compile("leases3_plain.pcap");
    let (code, found) = bench.replay(&work, "journal", &[]);
    assert_eq!((code, diverged(&found)), (0, 0), "{found}");
    bench.rerun("journal");
}

/// The acid test of the order graph: six clients on five names, at full speed, ten times.
#[test]
fn the_order_across_clients_is_kept_at_full_speed() {
    let bench = Bench::start("collab6", Options::default());
    let work = bench.compile("collab6_seed1.pcap");
    for round in 0..10 {
        let (_, found) = bench.replay(&work, &format!("resource{round}"), &[]);
        let operations = found["operations"].as_u64().unwrap();
        println!(
            "order resource, round {round}: {} of {operations} diverged",
            diverged(&found)
        );
        assert!(diverged(&found) * 100 <= operations, "{found}");
    }
    let (code, loose) = bench.replay(&work, "client", &["--order", "client"]);
    println!("order client: {} diverged", diverged(&loose));
    assert_eq!(code, 1);
    assert!(
        diverged(&loose) > 100,
        "timestamps alone cannot do it: {loose}"
    );
    bench.rerun("resource0");
    bench.rerun("client");
    let (a, b) = (bench.path("resource0"), bench.path("client"));
    let (code, found) = json(&["diff".as_ref(), a.as_ref(), b.as_ref(), "--json".as_ref()]);
    assert_eq!((code, &found["same"]), (1, &Value::Bool(false)), "{found}");
    assert!(!found["causes"].as_array().unwrap().is_empty(), "{found}");
}

/// Names that begin with server and share go out without, to a share that is none of DFS. What is at a
/// link is then not there, which tells of no server; where the share has that link, all is as recorded.
#[test]
fn names_of_dfs_replay_as_recorded() {
    let options = Options {
        extra: vec!["msdfs root = yes".to_owned()],
        ..Options::default()
    };
    let bench = Bench::start("dfs", options);
    let work = bench.compile_with("trials/B12_dfs.pcap", &[]);
    let user = bench.server.user().to_owned();
    let extra = ["--user", user.as_str()];
    let (code, found) = bench.replay(&work, "without", &extra);
    let differ = found["divergences"].as_array().unwrap();
    let not_there = |it: &Value| it["recorded"] == "STATUS_PATH_NOT_COVERED";
    assert!(differ.iter().all(not_there), "{found:#}");
    assert_eq!(
        (code, &found["verdict"]),
        (0, &"environment".into()),
        "{found:#}"
    );
    assert_eq!(
        (&found["issued"], &found["matched"]),
        (&13.into(), &12.into())
    );
    bench.rerun("without");

    // Links of DFS are made on the server alone. [MS-DFSC] 3.2.4.1
    let made = bench.server.share_folder("data").join("dfs/r");
    let root = ["--user", user.as_str(), "--root", "dfs"];
    let (code, _) = bench.replay(&work, "prepared", &root);
    assert_eq!(code, 0);
    std::fs::remove_file(made.join("y.txt")).unwrap();
    std::os::unix::fs::symlink("msdfs:elsewhere\\share", made.join("link")).unwrap();
    let (code, found) = bench.replay_as(&work, "with", &root, &["--reuse-root"]);
    assert_eq!(
        (code, &found["verdict"]),
        (0, &"as_recorded".into()),
        "{found:#}"
    );
    assert_eq!(
        (&found["compared"], &found["matched"]),
        (&13.into(), &13.into())
    );
}

/// Samba follows links itself and has no reparse points: `prepare` says that they were not made.
#[test]
fn links_that_a_server_does_not_make_are_named() {
    let bench = Bench::start("links", Options::default());
    let work = bench.compile_with("trials/B34_symlink_errors.pcap", &[]);
    let user = bench.server.user().to_owned();
    let server = format!("{}:{}", bench.server.host(), bench.server.port());
    let passwords = bench.path("passwords");
    let journal = bench.path("prepared");
    let (code, found) = json(&[
        "prepare".as_ref(),
        work.as_ref(),
        "--server".as_ref(),
        server.as_ref(),
        "--share".as_ref(),
        "data".as_ref(),
        "--user".as_ref(),
        user.as_ref(),
        "--password-file".as_ref(),
        passwords.as_ref(),
        "--json".as_ref(),
        "--journal".as_ref(),
        journal.as_ref(),
    ]);
    assert_eq!(code, 0, "{found:#}");
    let unmade = found["unmade_links"].as_array().unwrap();
    let paths: Vec<&Value> = unmade.iter().map(|it| &it["path"]).collect();
    assert_eq!(paths, ["link", "link2"], "{found:#}");
    let refused = |it: &Value| it["why"].as_str().unwrap().contains("the server answered");
    assert!(unmade.iter().all(refused), "{found:#}");
}
