//! Reruns and diffs of journals that a scripted server gave, workload by workload.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "helpers of tests, which may panic like tests"
)]

#[path = "scene/scene.rs"]
mod scene;

use std::{fs, path::Path};

use smbench_core::{
    engine::ENGINE_VERSION,
    event::{EffectsDigest, Entry, Input},
    frame::Digest,
    ids::{ConnId, LogicalTime, OpId, ShardId},
    smb2::NtStatus,
};
use smbench_journal::{
    BundleWriter, DiffError, Journal, RerunError, RunMeta, diff, load_plan,
    rerun::{self, EngineVersions, Verdict},
    show::{Filter, show},
};

use self::scene::{Scene, Server, bundle, fast, journal, meta};

#[test]
fn a_run_reruns_identically() {
    let scene = Scene::new(40);
    let journal = scene.record(&mut Server::new(20));
    let (mut inputs, mut effects) = (0, 0);
    let found = rerun::rerun(&journal, |_, _, did| {
        inputs += 1;
        effects += did.len();
    })
    .unwrap();
    assert!(found.identical && found.complete, "{found:?}");
    assert_eq!(found.verdict, Verdict::Identical);
    assert!(found.damage.is_empty() && found.engine.agree());
    assert_eq!(found.events, inputs);
    // A send, a report of start and one of end for each operation at least.
    assert!(effects >= 240, "{effects}");
    assert_eq!(
        Some(found.effects_digest),
        journal.finish_digest(ShardId(0))
    );
    assert_eq!(
        rerun::check(&journal).unwrap().effects_digest,
        found.effects_digest
    );
    let (workload, operations, config, plan) = load_plan(&journal).unwrap();
    assert_eq!((workload.opens, operations.len(), plan.len()), (40, 80, 80));
    assert_eq!(config, fast());
}

/// `RunConfig` says what an engine did that now does otherwise.
#[test]
fn runs_of_older_engines_rerun_identically() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reruns");
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let bundles = files.filter(|path| path.extension().is_some_and(|ext| ext == "smbj"));
    let mut count = 0;
    for path in bundles {
        let journal = Journal::open(&path).unwrap();
        let found = rerun::check(&journal).unwrap();
        assert!(found.identical && found.complete, "{}", path.display());
        assert_eq!(found.engine.recorded, 1, "{}", path.display());
        count += 1;
    }
    assert!(count >= 2, "{count} runs");
}

#[test]
fn one_byte_of_one_input_is_found() {
    let scene = Scene::new(40);
    let config = fast();
    let run = scene.run(&config, &mut Server::new(20));
    let responses = run.0.iter().filter_map(|entry| match &entry.input {
        Input::Received { .. } => Some(entry.seq),
        _ => None,
    });
    let mut tried = 0;
    for seq in responses {
        let (mut entries, after) = run.clone();
        let Input::Received { frame, .. } = &mut entries[seq as usize].input else {
            unreachable!()
        };
        frame.bytes[8] ^= 1; // the status
        let journal = scene.journal(&config, &(entries, after));
        let found = rerun::check(&journal).unwrap();
        let mismatch = found.first_mismatch.expect("a mismatch");
        assert!(!found.identical);
        assert_eq!(found.verdict, Verdict::Nondeterministic);
        assert_eq!((mismatch.seq, mismatch.kind), (seq, "received"));
        assert_ne!(mismatch.expected, mismatch.actual);
        tried += 1;
    }
    assert_eq!(tried, 80);
}

#[test]
fn an_input_that_no_run_has_is_a_mismatch() {
    let scene = Scene::new(4);
    let config = fast();
    let (mut entries, after) = scene.run(&config, &mut Server::new(20));
    entries[3].input = Input::Connected { conn: ConnId(77) };
    let journal = scene.journal(&config, &(entries, after));
    let mismatch = rerun::check(&journal).unwrap().first_mismatch.unwrap();
    assert_eq!(mismatch.seq, 3);
    assert!(mismatch.error.unwrap().contains("connection 77"));
}

#[test]
fn another_engine_version_is_told_apart() {
    let scene = Scene::new(8);
    let config = fast();
    let (workload, ops) = (
        serde_json::to_vec(&scene.workload).unwrap(),
        scene.ops_jsonl(),
    );
    let run = scene.run(&config, &mut Server::new(20));
    let mut other = run.clone();
    other.1 = EffectsDigest(other.1.0 ^ 1);
    let older = RunMeta {
        engine: 1,
        ..meta(&config)
    };
    let newer = RunMeta {
        engine: ENGINE_VERSION + 1,
        ..meta(&config)
    };
    for (meta, recorded) in [(&older, 1), (&newer, ENGINE_VERSION + 1)] {
        let versions = EngineVersions {
            recorded,
            current: ENGINE_VERSION,
        };
        let journal = |run| {
            let bytes = bundle(meta, &workload, &ops, run);
            Journal::from_bundle_bytes(bytes).unwrap()
        };
        let found = rerun::check(&journal(&other)).unwrap();
        assert_eq!(found.verdict, Verdict::OtherEngineVersion);
        assert_eq!(found.engine, versions);
        assert!(!found.identical && found.first_mismatch.is_some());
        let notes = diff(&journal(&other), &journal(&run)).unwrap().notes;
        assert!(notes[0].contains("other engine version"), "{notes:?}");
        let shown = show(&journal(&other), &Filter::default(), |_| true).unwrap();
        assert!(shown.notes[0].contains("other engine version"), "{shown:?}");
        // An operation that names a connection which the tables do not have.
        let lines = String::from_utf8(ops.clone()).unwrap();
        let lines = lines.replacen("\"conn\":0", "\"conn\":77", 1).into_bytes();
        assert_ne!(lines, ops);
        let bytes = bundle(meta, &workload, &lines, &run);
        let error = rerun::check(&Journal::from_bundle_bytes(bytes).unwrap()).unwrap_err();
        let RerunError::OtherEnginePlan { engine, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(engine, versions);
        // What it does alike is alike.
        let found = rerun::check(&journal(&run)).unwrap();
        assert_eq!(
            (found.verdict, found.engine),
            (Verdict::Identical, versions)
        );
    }
}

#[test]
fn what_is_cut_or_flipped_is_damaged_and_never_identical() {
    let scene = Scene::new(12);
    let config = fast();
    let (workload, ops) = (
        serde_json::to_vec(&scene.workload).unwrap(),
        scene.ops_jsonl(),
    );
    let run = scene.run(&config, &mut Server::new(20));
    let whole = bundle(&meta(&config), &workload, &ops, &run);
    let sound = Journal::from_bundle_bytes(whole.clone()).unwrap();
    let (mut refused, mut damaged) = (0, 0);
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        for bytes in [flipped, whole[..at].to_vec()] {
            let Ok(journal) = Journal::from_bundle_bytes(bytes) else {
                refused += 1;
                continue;
            };
            match rerun::check(&journal) {
                Ok(found) => {
                    assert_eq!(found.verdict, Verdict::Damaged, "byte {at}: {found:?}");
                    assert!(!found.identical && !found.damage.is_empty());
                    damaged += 1;
                }
                Err(RerunError::Journal(error)) => {
                    assert!(error.is_damage(), "byte {at}: {error}");
                    refused += 1;
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
            let error = diff(&sound, &journal).unwrap_err();
            let DiffError::Rerun { side: 'b', source } = error else {
                panic!("byte {at}: {error}");
            };
            let RerunError::Journal(error) = source else {
                panic!("byte {at}: {source}");
            };
            assert!(error.is_damage(), "byte {at}: {error}");
        }
    }
    assert!(damaged > 300 && refused > 300, "{damaged}, {refused}");
}

#[test]
fn a_run_is_the_same_as_itself_and_as_a_slower_one() {
    let scene = Scene::new(40);
    let (fast, slow) = (
        scene.record(&mut Server::new(20)),
        scene.record(&mut Server::new(9_000)),
    );
    let itself = diff(&fast, &fast).unwrap();
    assert!(itself.same);
    assert_eq!((itself.compared, itself.timing_only), (80, 0));
    let timing = diff(&fast, &slow).unwrap();
    assert!(timing.same, "{timing:?}");
    assert!(timing.causes.is_empty());
    assert_eq!(timing.compared, 80);
    assert_eq!(timing.timing_only, 80);
}

#[test]
fn a_refused_create_is_the_only_cause() {
    let scene = Scene::new(41);
    let good = scene.record(&mut Server::new(20));
    let bad = scene.record(&mut Server::refusing("team\\f12"));
    let found = diff(&good, &bad).unwrap();
    assert!(!found.same);
    let [cause] = found.causes.as_slice() else {
        panic!("{:?}", found.causes)
    };
    assert_eq!(cause.operation, OpId(24));
    assert_eq!(cause.what, "status");
    assert_eq!(cause.a, "SUCCESS");
    assert_eq!(cause.b, "SHARING_VIOLATION");
    assert_eq!(cause.frame, 1024);
    assert_eq!(cause.path.as_deref(), Some("team\\f12"));
    assert_eq!(cause.command, "CREATE");
    // The chain of files 0, 4, 8: three opens and closes.
    assert_eq!(cause.ancestors, Some(6));
    assert_eq!(cause.last_agreeing, Some(OpId(17)));
    // Its own close cannot run; nothing else diverges.
    assert_eq!((cause.consequences, found.consequences), (1, 1));
    assert_eq!(found.by_what["presence"], 1);
    let json = serde_json::to_value(&found).unwrap();
    for key in ["same", "compared", "causes", "consequences", "timing_only"] {
        assert!(json.get(key).is_some(), "{key}");
    }
}

#[test]
fn independent_refusals_are_two_causes() {
    let scene = Scene::new(40);
    let good = scene.record(&mut Server::new(20));
    let mut server = Server::refusing("team\\f21");
    server
        .refuse
        .insert("team\\f30".to_owned(), NtStatus(0xc000_0022));
    let found = diff(&good, &scene.record(&mut server)).unwrap();
    let causes: Vec<OpId> = found.causes.iter().map(|it| it.operation).collect();
    assert_eq!(causes, [OpId(42), OpId(60)]);
    assert_eq!(found.consequences, 2);
}

#[test]
fn other_workloads_are_not_compared() {
    let a = Scene::new(4).record(&mut Server::new(20));
    let b = Scene::new(5).record(&mut Server::new(20));
    let error = diff(&a, &b).unwrap_err();
    assert!(matches!(error, DiffError::OtherWorkload { .. }), "{error}");
    assert!(error.to_string().contains("replay one workload twice"));
}

#[test]
fn shows_what_the_filter_lets_through_with_names() {
    let scene = Scene::new(8);
    let journal = scene.record(&mut Server::new(20));
    let mut lines = Vec::new();
    let filter = Filter {
        operations: vec![OpId(6)],
        ..Filter::default()
    };
    let shown = show(&journal, &filter, |line| {
        lines.push(line.to_string());
        true
    })
    .unwrap();
    assert_eq!(shown.shown, lines.len() as u64);
    assert!(shown.held_back > 0);
    assert!(
        lines
            .iter()
            .any(|it| it.contains("finished CREATE #6 team\\f3: SUCCESS")),
        "{lines:#?}"
    );
    let filter = Filter {
        kinds: vec!["connected".to_owned()],
        clients: vec![1],
        ..Filter::default()
    };
    assert_eq!(show(&journal, &filter, |_| true).unwrap().shown, 1);
    let mut seen = 0;
    show(&journal, &Filter::default(), |_| {
        seen += 1;
        seen < 3
    })
    .unwrap();
    assert_eq!(seen, 3, "the sink may stop");
}

#[test]
fn garbage_in_the_attachments_is_an_error() {
    let scene = Scene::new(6);
    let config = fast();
    let run = scene.run(&config, &mut Server::new(20));
    let good = serde_json::to_vec(&scene.workload).unwrap();
    let ops = scene.ops_jsonl();
    let mut greedy = scene.workload.clone();
    greedy.opens = u32::MAX;
    let greedy = serde_json::to_vec(&greedy).unwrap();
    let found = rerun::check(&journal(&greedy, &ops, &config, &run));
    assert!(
        matches!(found, Err(RerunError::Implausible { .. })),
        "{found:?}"
    );
    let mut newer = scene.workload.clone();
    newer.format = 99;
    let newer = serde_json::to_vec(&newer).unwrap();
    let found = rerun::check(&journal(&newer, &ops, &config, &run));
    assert!(
        matches!(found, Err(RerunError::UnknownFormat { .. })),
        "{found:?}"
    );
    let crowded = RunMeta {
        shards: 4_000,
        ..meta(&config)
    };
    let crowded = Journal::from_bundle_bytes(bundle(&crowded, &good, &ops, &run)).unwrap();
    let found = rerun::check(&crowded);
    assert!(
        matches!(found, Err(RerunError::Implausible { got: 4_000, .. })),
        "{found:?}"
    );
    let found = rerun::check(&journal(b"{", &ops, &config, &run));
    assert!(matches!(found, Err(RerunError::Json { .. })), "{found:?}");
    let (mut failed, mut ran) = (0, 0);
    // Every byte of the operations and tables, one at a time, made another digit or letter.
    for at in (0..ops.len()).step_by(3) {
        let mut bad = ops.clone();
        bad[at] = b"0918}{,\"["[at % 9];
        let damaged = journal(&good, &bad, &config, &run);
        match rerun::check(&damaged) {
            Ok(_) => ran += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed += 1;
            }
        }
        drop(diff(&damaged, &damaged));
    }
    assert!(failed > 50 && ran > 5, "{failed} failed, {ran} ran");
    let none = journal(&good, b"", &config, &run);
    drop(rerun::check(&none));
}

#[test]
fn a_journal_without_workload_says_so_and_is_shown_bare() {
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = &dir.path().join("bare.smbj");
    let meta = RunMeta {
        shards: 1,
        workload: Some(Digest::of(b"elsewhere")),
        ..RunMeta::default()
    };
    let mut bundle = BundleWriter::create(path, &meta).unwrap();
    let entry = Entry {
        seq: 0,
        now: LogicalTime::ZERO,
        before: EffectsDigest::default(),
        input: Input::Start,
    };
    bundle.record(ShardId(0), &entry).unwrap();
    bundle.end_file().unwrap();
    let journal = Journal::open(path).unwrap();
    let error = rerun::check(&journal).unwrap_err();
    assert!(matches!(error, RerunError::NoWorkload { .. }));
    let shown = show(&journal, &Filter::default(), |_| true).unwrap();
    assert_eq!((shown.shown, shown.notes.len()), (1, 1));
}
