//! `inspect` counts what the operations say, and draws their order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use support::cli::Scratch;

const CAPTURES: [&str; 3] = [
    "leases3_plain.pcap",
    "collab6_seed1.pcap",
    "smbclient_files.pcap",
];

fn lines(scratch: &Scratch, folder: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path(folder).join("ops.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn sum(list: &Value, key: &str) -> u64 {
    let items = list.as_array().unwrap().iter();
    items.map(|it| it[key].as_u64().unwrap()).sum()
}

fn is_request(op: &Value) -> bool {
    let what = op["do"].as_object().unwrap();
    what.contains_key("request") || what.contains_key("smb1_negotiate")
}

/// Everything is counted again here from the lines themselves.
#[test]
fn what_is_told_is_what_the_lines_say() {
    let scratch = Scratch::new();
    for name in CAPTURES {
        scratch.compile(name, name);
        let told = scratch.run(["inspect", name, "--json", "--top", "1000"]);
        let told = told.expect(0).json();
        let ops = lines(&scratch, name);
        let requests: Vec<&Value> = ops.iter().filter(|op| is_request(op)).collect();
        let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut read, mut written) = (0, 0);
        for op in &requests {
            let cmd = op["cmd"].as_str().unwrap();
            let list = times.entry(cmd).or_default();
            let Some(expect) = op.get("expect") else {
                continue;
            };
            list.push(expect["latency_us"].as_u64().unwrap());
            *statuses
                .entry(expect["status"].as_str().unwrap())
                .or_default() += 1;
            let count = expect["count"].as_u64().unwrap_or(0);
            read += if cmd == "READ" { count } else { 0 };
            written += if cmd == "WRITE" { count } else { 0 };
        }
        let answers = told["answers"].as_object().unwrap();
        assert_eq!(answers.len(), times.len());
        for (cmd, mut list) in times {
            list.sort_unstable();
            let answers = &answers[cmd];
            assert_eq!(answers["answered"], list.len());
            let Some(max) = list.last() else { continue };
            assert_eq!(answers["answer_us"]["max"], *max);
            assert_eq!(answers["answer_us"]["sum"], list.iter().sum::<u64>());
            let half = list[(list.len() - 1) / 2];
            let p50 = answers["answer_us"]["p50"].as_u64().unwrap();
            assert!(
                p50.abs_diff(half) <= half / 500 + 1,
                "{name} {cmd}: {p50}, {half}"
            );
        }
        let by_status = told["statuses"].as_object().unwrap();
        assert_eq!(by_status.len(), statuses.len());
        for (status, count) in statuses {
            let by = by_status[status].as_object().unwrap().values();
            assert_eq!(by.map(|it| it.as_u64().unwrap()).sum::<u64>(), count);
        }
        let all = requests.len() as u64;
        assert_eq!(sum(&told["by_client"], "requests"), all);
        assert_eq!(sum(&told["by_client"], "read_bytes"), read);
        assert_eq!(sum(&told["by_share"], "written_bytes"), written);
        assert_eq!(sum(&told["hottest"], "read_bytes"), read);
        assert_eq!(sum(&told["hottest"], "written_bytes"), written);
        assert_eq!(
            told["distinct_files"],
            told["hottest"].as_array().unwrap().len()
        );
        let funnel = &told["funnel"];
        // An SMB1 NEGOTIATE is no SMB2 request.
        let smb1 = requests
            .iter()
            .filter(|op| op["do"].get("smb1_negotiate").is_some());
        assert_eq!(funnel["operations"], all - smb1.count() as u64);
        assert_eq!(funnel["packets"], told["packets"]);
        let notices = ops
            .iter()
            .filter(|op| op["do"].get("break").is_some())
            .count();
        let breaks = &told["breaks"];
        let number = |key: &str| breaks[key].as_u64().unwrap();
        assert_eq!(number("oplock") + number("lease"), notices as u64);
        let answered = number("acknowledged") + number("closed") + number("ignored");
        assert_eq!(answered, number("wanting"));
        assert!(told["unanswered"].as_object().unwrap().is_empty());
    }
}

#[test]
fn what_leases_are_broken_to_and_what_is_hot_is_told() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let told = scratch.run(["inspect", "w", "--json", "--top", "2"]);
    let told = told.expect(0).json();
    let breaks = &told["breaks"];
    assert_eq!(breaks["by_change"]["lease RHW to RH"], 1);
    assert_eq!(breaks["by_change"]["oplock batch to ii"], 1);
    assert_eq!(
        (&breaks["wanting"], &breaks["acknowledged"]),
        (&4.into(), &4.into())
    );
    let hottest = told["hottest"].as_array().unwrap();
    assert_eq!(hottest.len(), 2);
    assert_eq!(hottest[0]["path"], "team\\report.docx");
    let shown = scratch.run(["inspect", "w", "--top", "2"]);
    for part in [
        "p99",
        "SHARING_VIOLATION",
        "10.44.51.22 (1)",
        "lost on the way",
    ] {
        assert!(
            shown.expect(0).out.contains(part),
            "no {part:?} in {shown:#?}"
        );
    }
}

/// What is noted of pipes goes with the operations wherever they go.
#[test]
fn calls_on_pipes_are_named_and_kept() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_encrypted_share.pcap", "w");
    let noted = |folder: &str| -> Vec<Value> {
        let ops = lines(&scratch, folder);
        ops.iter().filter_map(|op| op.get("rpc").cloned()).collect()
    };
    let interface = "4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0";
    let bind = json!([{"kind": "bind", "interface": interface}]);
    let call = json!([{"kind": "request", "interface": interface, "opnum": 15}]);
    assert_eq!(noted("w"), [bind, call]);
    let told = scratch.run(["inspect", "w", "--json"]);
    let told = told.expect(0).json();
    let calls = told["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["kind"], "bind");
    let expected = json!({
        "kind": "request", "interface": interface, "interface_name": "srvsvc", "opnum": 15,
        "name": "NetrShareEnum", "section": "[MS-SRVS] 3.1.4.8", "auth": false, "query": true,
        "count": 1,
    });
    assert_eq!(calls[1], expected);
    let shown = scratch.run(["inspect", "w"]);
    shown.expect(0);
    for part in ["calls on pipes", "srvsvc", "15 NetrShareEnum"] {
        assert!(shown.out.contains(part), "no {part:?} in {shown:#?}");
    }
    scratch.run(["anonymize", "w", "-o", "a"]).expect(0);
    scratch
        .run(["slice", "w", "-o", "s", "--share", "IPC$"])
        .expect(0);
    for folder in ["a", "s"] {
        assert_eq!(noted(folder), noted("w"), "{folder}");
    }
}

#[test]
fn why_names_the_frames_of_both_ends() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let ops = lines(&scratch, "w");
    let waits = ops.iter().filter(|op| op.get("after").is_some());
    for op in waits.step_by(60) {
        let id = op["id"].to_string();
        let told = scratch.run(["inspect", "w", "--why", &id, "--json"]);
        let told = told.expect(0).json();
        assert_eq!(told["operation"]["frame"], op["frame"]);
        let after = told["after"].as_array().unwrap();
        assert_eq!(after.len(), op["after"].as_array().unwrap().len());
        for edge in after {
            let from = &ops[usize::try_from(edge["id"].as_u64().unwrap()).unwrap()];
            assert_eq!(edge["request_frame"], from["frame"]);
            assert_eq!(edge["response_frame"], from["expect"]["frame"]);
        }
        let shown = scratch.run(["inspect", "w", "--why", &id]);
        let frame = format!("frame {}", op["frame"]);
        assert!(shown.expect(0).out.contains(&frame), "{shown:#?}");
    }
    let none = scratch.run(["inspect", "w", "--why", "99999"]);
    none.expect(2)
        .says(&["there is no operation 99999", "0 to 346"]);
}

#[test]
fn the_order_of_a_slice_is_drawn() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let filters = [
        "--path",
        "team\\**",
        "--client",
        "10.44.51.2[1]",
        "--client",
        "1",
    ];
    let refused = scratch.run([&["inspect", "w", "--dot"][..], &filters[..4]].concat());
    refused.expect(2).says(&["there is no client"]);

    let filters = ["--path", "**\\*.docx", "--causes"];
    let drawn = scratch.run([&["inspect", "w", "--dot"][..], &filters].concat());
    let text = &drawn.expect(0).out;
    let cut = scratch.run([&["slice", "w", "-o", "s", "--json"][..], &filters].concat());
    let told = cut.expect(0).json();
    let count = |what: &str| text.matches(what).count() as u64;
    assert_eq!(
        count("[label=\"") - count(" -> "),
        told["lines"].as_u64().unwrap()
    );
    let edges = told["edges"].as_object().unwrap().values();
    assert_eq!(
        count(" -> "),
        edges.map(|it| it.as_u64().unwrap()).sum::<u64>()
    );
    assert_eq!(
        count("subgraph cluster_"),
        told["clients"].as_u64().unwrap()
    );
    assert!(
        text.contains("style=dotted"),
        "breaks hang on what was sent"
    );
    assert!(
        text.contains("team\\\\report.docx"),
        "backslashes are escaped"
    );
    assert_eq!(text.matches('{').count(), text.matches('}').count());

    let many = scratch.run(["inspect", "w", "--dot", "--limit", "20"]);
    many.expect(2)
        .says(&["347 operations are too many", "--limit"]);
    let misplaced = scratch.run(["inspect", "w", "--client", "1"]);
    misplaced.expect(2).says(&["only --dot", "smbench slice"]);
    scratch.compile("collab6_seed1.pcap", "c");
    let drawn = scratch.run(["inspect", "c", "--dot"]);
    assert!(
        drawn.expect(0).out.contains("style=dashed"),
        "outcomes are inferred"
    );
}
