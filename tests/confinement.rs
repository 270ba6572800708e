//! Nothing outside the root: replays of what leads out of it, on Samba and on `serve`, with a look at
//! everything else before and after.
//!
//! Built with `--features samba-tests` only; see `scripts/test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::cli::{ModelServer, Ran, Scratch};
use support::samba::{Options, PrivateSamba};

/// Something to replay onto, and what is on it.
trait Ground {
    /// The options that say where to replay.
    fn target(&self) -> Vec<String>;
    /// All that is there, with content, but for what is below `root`.
    fn outside(&self, root: &str) -> BTreeMap<String, String>;
}

struct Samba {
    server: PrivateSamba,
    passwords: PathBuf,
}

impl Ground for Samba {
    fn target(&self) -> Vec<String> {
        let server = format!("{}:{}", self.server.host(), self.server.port());
        let passwords = self.passwords.to_str().unwrap().to_owned();
        let words = ["--server", &server, "--share", "data", "--user", "alice"];
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        words.extend(["--password-file".to_owned(), passwords]);
        words
    }

    fn outside(&self, root: &str) -> BTreeMap<String, String> {
        let data = self.server.share_folder("data");
        let mut found = BTreeMap::new();
        for share in ["data", "data2", "share"] {
            walk(
                &self.server.share_folder(share),
                &data.join(root),
                &mut found,
            );
        }
        found
    }
}

/// Names and contents below `folder`, but for `skipped`.
fn walk(folder: &Path, skipped: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path == skipped {
            continue;
        }
        let about = fs::symlink_metadata(&path).unwrap();
        let content = match about {
            about if about.is_dir() => {
                walk(&path, skipped, found);
                "folder".to_owned()
            }
            about if about.is_symlink() => format!("link to {:?}", fs::read_link(&path).unwrap()),
            _ => format!("{:?}", fs::read(&path).unwrap()),
        };
        found.insert(path.to_str().unwrap().to_owned(), content);
    }
}

struct Model {
    server: ModelServer,
    scratch: Scratch,
}

impl Ground for Model {
    fn target(&self) -> Vec<String> {
        let words = ["--server", &self.server.address, "--share", "data"];
        words.into_iter().map(str::to_owned).collect()
    }

    fn outside(&self, root: &str) -> BTreeMap<String, String> {
        let (_, port) = self.server.address.rsplit_once(':').unwrap();
        let into = self.scratch.path("seen");
        fs::remove_dir_all(&into).ok();
        fs::create_dir(&into).unwrap();
        let fetch = format!("lcd {}; recurse ON; prompt OFF; mget *", into.display());
        let run = Command::new("smbclient")
            .args(["//127.0.0.1/data", "-N", "-p", port, "-c", &fetch])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success(), "smbclient: {told}");
        let mut found = BTreeMap::new();
        walk(&into, &into.join(root), &mut found);
        assert!(found.len() >= FOREIGN.len(), "nothing was fetched: {told}");
        found
    }
}

/// Files of others, where what leads out of a root would end up.
const FOREIGN: [(&str, &str); 6] = [
    ("canary.txt", "above the root"),
    ("escaped_type0.txt", "a name of the workload"),
    ("x.txt", "a name of the workload"),
    ("victim/canary_del.txt", "named by the workload"),
    ("victim/deep/keep.txt", "deeper"),
    ("r/canary.txt", "a folder like that of the files"),
];

fn foreign_files(folder: &Path) {
    for (name, content) in FOREIGN {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn open_to_all(folder: &Path) {
    let run = Command::new("chmod")
        .arg("-R")
        .arg("a+rwX")
        .arg(folder)
        .status();
    assert!(run.unwrap().success());
}

/// Replays `work` and looks at what is outside its root, before and after.
fn replay(ground: &impl Ground, scratch: &Scratch, work: &Path, root: &str) -> Ran {
    let before = ground.outside(root);
    let mut words = vec!["replay".to_owned(), work.to_str().unwrap().to_owned()];
    words.extend(ground.target());
    let more = [
        "--prepare",
        "--root",
        root,
        "--speed",
        "max",
        "--timeout",
        "5",
        // What is refused takes others with it: here that is what is wanted.
        "--min-coverage",
        "0",
        "--json",
    ];
    words.extend(more.map(str::to_owned));
    let ran = scratch.run(&words);
    let after = ground.outside(root);
    assert_eq!(before, after, "outside the root after {work:?}: {ran:#?}");
    assert!(matches!(ran.code, Some(0 | 1 | 3)), "{ran:#?}");
    ran
}

/// Every trial that leads out, on one ground.
fn trials(ground: &impl Ground) {
    let scratch = Scratch::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let refused = |ran: &Ran| ran.json()["refused"]["name"].as_u64().unwrap_or(0);
    let work = |name: &str| here.join("workloads").join(name);

    // Below the root, though the kind of its share was not captured.
    let ran = replay(ground, &scratch, &work("m_type0"), "t0");
    assert_eq!(refused(&ran), 0, "{ran:#?}");
    let ran = replay(ground, &scratch, &work("m_del"), "t1");
    assert_eq!(refused(&ran), 1, "{ran:#?}");
    assert_eq!(
        ran.json()["diverged"],
        json!({}),
        "a refusal is no divergence"
    );
    let ran = replay(ground, &scratch, &work("m_rename"), "t2");
    assert_eq!(refused(&ran), 5, "{ran:#?}");
    replay(ground, &scratch, &work("m_ns"), "t3")
        .expect(3)
        .says(&["line 1 of namespace.jsonl"]);

    for (at, name) in [
        "S1_dotdot_operations",
        "S2_dotdot_listing",
        "S4_names_outside_root",
    ]
    .into_iter()
    .enumerate()
    {
        let capture = here.join("captures/trials").join(format!("{name}.pcap"));
        let to = format!("w{at}");
        let compiled = scratch.run(["compile", capture.to_str().unwrap(), "-o", &to]);
        compiled.expect(0);
        let ran = replay(ground, &scratch, &scratch.path(&to), &format!("c{at}"));
        assert!(
            name.starts_with("S2") || refused(&ran) > 0,
            "{name}: {ran:#?}"
        );
    }
    let names: Vec<Value> = WAYS_OUT.iter().map(|name| json!(name)).collect();
    let odd = WAYS_ROUND.iter().map(|name| json!(name));
    let raw = [
        json!({"utf16le": "2e002e005c00d8"}),
        json!({"utf16le": "00d85c002e002e00"}),
    ];
    let out = names.iter().cloned().chain(raw).collect::<Vec<_>>();
    let ran = replay(ground, &scratch, &ways(&scratch, "out", &out), "n0");
    assert_eq!(refused(&ran), out.len() as u64, "{ran:#?}");
    let ran = replay(
        ground,
        &scratch,
        &ways(&scratch, "round", &odd.collect::<Vec<_>>()),
        "n1",
    );
    assert_eq!(refused(&ran), 0, "{ran:#?}");
}

/// A workload that makes or overwrites each of `names`, and deletes it as it closes it.
fn ways(scratch: &Scratch, to: &str, names: &[Value]) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/m_del");
    let work = scratch.path(to);
    fs::create_dir(&work).unwrap();
    for name in ["blobs.pack", "namespace.jsonl"] {
        fs::copy(from.join(name), work.join(name)).unwrap();
    }
    let text = fs::read_to_string(from.join("ops.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let mut made: Vec<Value> = lines[..4].to_vec();
    for (open, name) in names.iter().enumerate() {
        for line in [4, 5] {
            let mut op = lines[line].clone();
            let id = made.len();
            op["id"] = json!(id);
            op["mid"] = json!(id);
            op["open"] = json!(open);
            op["after"] = json!([{"id": id - 1, "rule": "wire"}]);
            if line == 4 {
                op["do"]["request"]["CREATE"]["name"] = name.clone();
                op["do"]["request"]["CREATE"]["disposition"] = json!("overwrite_if");
                op["do"]["request"]["CREATE"]["options"] = json!("0x1040");
                op["do"]["request"]["CREATE"]["access"] = json!("0x1301bf");
            }
            made.push(op);
        }
    }
    let mut tables: Value =
        serde_json::from_slice(&fs::read(from.join("workload.json")).unwrap()).unwrap();
    tables["opens"] = json!(names.len());
    tables["operations"] = json!(made.len());
    fs::write(work.join("workload.json"), tables.to_string()).unwrap();
    let lines: Vec<String> = made.iter().map(Value::to_string).collect();
    fs::write(work.join("ops.jsonl"), lines.join("\n") + "\n").unwrap();
    work
}

/// Names that lead out under some reading.
const WAYS_OUT: [&str; 26] = [
    "..",
    "..\\canary.txt",
    "../canary.txt",
    "\\..\\canary.txt",
    "/../canary.txt",
    ".\\..\\canary.txt",
    "a\\..\\..\\canary.txt",
    "a/../../canary.txt",
    "a/..\\../canary.txt",
    "a\\\\..\\..\\canary.txt",
    "..\\..\\data\\canary.txt",
    "..\\smbench.json",
    ".. \\canary.txt",
    "...\\canary.txt",
    "..\0\\canary.txt",
    "..:x\\canary.txt",
    "..:stream",
    ":s\\..\\canary.txt",
    "x:s\\..\\..\\canary.txt",
    "\u{ff0e}\u{ff0e}\\canary.txt",
    "..\u{2215}canary.txt",
    "\u{f029}\u{f029}\\canary.txt",
    "\u{2025}\\canary.txt",
    "\u{2e}\u{200b}\u{2e}\\canary.txt",
    "@GMT-2024.01.01-00.00.00\\..\\canary.txt",
    "@GMT-2024.01.01-00.00.00\\@GMT-2024.01.02-00.00.00\\..\\..\\canary.txt",
];

/// Odd names that stay inside, and names that would be others' without a root.
const WAYS_ROUND: [&str; 10] = [
    "canary.txt",
    "\\canary.txt",
    "victim\\canary_del.txt",
    "\\\\127.0.0.1\\data\\canary.txt",
    "C:\\canary.txt",
    "\\??\\C:\\canary.txt",
    "@GMT-2024.01.01-00.00.00\\canary.txt",
    "CANARY~1.TXT",
    "canary.txt::$DATA",
    "a..b\\..c",
];

#[test]
fn nothing_outside_the_root_on_samba() {
    let options = Options {
        guest: false,
        ..Options::default()
    };
    let server = PrivateSamba::start(&options)
        .unwrap_or_else(|reason| panic!("Samba did not start: {reason}"));
    let scratch = Scratch::new();
    let secret = format!("*={}\n", server.password().unwrap().trim());
    let passwords = scratch.file("passwords", secret);
    let data = server.share_folder("data");
    foreign_files(&data);
    open_to_all(&data);
    trials(&Samba { server, passwords });
}

/// A PDU of RPC for context 0 of srvsvc. [C706] 12.6.3.1, [MS-SRVS] 1.9.
fn rpc(kind: u8, body: &str) -> String {
    let len = 16 + body.len() / 2;
    format!("0500{kind:02x}0310000000{len:02x}00000001000000{body}")
}

#[test]
fn a_call_that_was_noted_as_another_does_not_reach_a_pipe() {
    let server = PrivateSamba::start(&Options::default())
        .unwrap_or_else(|reason| panic!("Samba did not start: {reason}"));
    let scratch = Scratch::new();
    let work = ways(&scratch, "w", &[json!("srvsvc")]);
    let read = |name: &str| fs::read_to_string(work.join(name)).unwrap();
    let mut tables: Value = serde_json::from_str(&read("workload.json")).unwrap();
    tables["trees"][0]["share_type"] = json!(2);
    let mut lines: Vec<Value> = (read("ops.jsonl").lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let close = lines.pop().unwrap();
    lines[4]["do"]["request"]["CREATE"]["options"] = json!("0x40");
    lines[4]["do"]["request"]["CREATE"]["disposition"] = json!("open");
    let srvsvc = "c84f324b7016d30112785a47bf6ee188";
    let ndr = "045d888aeb1cc9119fe808002b104860";
    let bind = format!("b810b810000000000100000000000100{srvsvc}03000000{ndr}02000000");
    let noted = "4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0";
    // A binding, and NetrShareDel that was noted as NetrShareEnum. [MS-SRVS] 3.1.4.
    for (input, note) in [
        (rpc(11, &bind), json!({"kind": "bind", "interface": noted})),
        (
            rpc(0, "0000000000001200"),
            json!({"kind": "request", "interface": noted, "opnum": 15}),
        ),
    ] {
        let mut op = close.clone();
        op["id"] = json!(lines.len());
        op["mid"] = json!(lines.len());
        op["cmd"] = json!("IOCTL");
        op["do"] = json!({"request": {"IOCTL": {"ctl_code": "PIPE_TRANSCEIVE", "input": input,
            "max_output_response": 1024, "flags": "0x1"}}});
        op["rpc"] = json!([note]);
        op["after"] = json!([{"id": lines.len() - 1, "rule": "handle"}]);
        lines.push(op);
    }
    tables["operations"] = json!(lines.len());
    fs::write(work.join("workload.json"), tables.to_string()).unwrap();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(work.join("ops.jsonl"), lines.join("\n") + "\n").unwrap();
    let address = format!("{}:{}", server.host(), server.port());
    let ran = scratch.run([
        "replay",
        "w",
        "--server",
        &address,
        "--speed",
        "max",
        "--min-coverage",
        "0",
        "--json",
    ]);
    let told = ran.json();
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:#?}");
    assert_eq!(told["refused"], json!({"rpc_call": 1}), "{ran:#?}");
    assert_eq!(told["issued"], 6, "the binding is sent: {ran:#?}");
    // Rerun, the same is refused.
    let journal = told["journal"].as_str().unwrap();
    scratch.run(["rerun", journal]).expect(0);
}

#[test]
fn nothing_outside_the_root_on_the_model_server() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    foreign_files(&folder);
    let share = format!("data={}", folder.display());
    let server = ModelServer::start(["--share", &share]);
    trials(&Model { server, scratch });
}

#[test]
fn a_root_is_taken_once_and_only_where_it_is_ours() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    foreign_files(&folder);
    let share = format!("data={}", folder.display());
    let server = ModelServer::start(["--share", &share]);
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/m_type0");
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/m_del");
    let on = |verb: &str, work: &Path, more: &[&str]| {
        let work = work.to_str().unwrap();
        let target = ["--server", &server.address, "--share", "data"];
        scratch.run([&[verb, work][..], &target, more].concat())
    };
    let root = ["--root", "mine"];
    let missing = on("replay", &work, &root);
    missing
        .expect(3)
        .says(&["no prepared root", "smbench prepare"]);
    let foreign = on("replay", &work, &["--root", "victim"]);
    foreign.expect(3).says(&["no prepared root"]);
    let taken = on("prepare", &work, &["--root", "victim"]);
    taken.expect(3).says(&["exists already"]);
    on("prepare", &work, &root).expect(0);
    let strange = on("replay", &other, &root);
    strange.expect(3).says(&["another workload"]);
    // As recorded it is not: the share has none of the files. But it runs.
    let first = on("replay", &work, &root);
    assert_eq!(first.code, Some(1), "{first:#?}");
    let again = on("replay", &work, &root);
    again
        .expect(3)
        .says(&["used by a replay already", "--reuse-root"]);
    let reused = on("replay", &work, &["--root", "mine", "--reuse-root"]);
    assert_eq!(reused.code, Some(1), "{reused:#?}");
    let anywhere = on(
        "replay",
        &work,
        &["--root", "victim", "--i-know-this-share-is-mine"],
    );
    assert_eq!(anywhere.code, Some(1), "{anywhere:#?}");
}
