//! Findings at a live server, on a private Samba: it does what the model does, whatever a client does upon a
//! changed journal; it neither hangs nor disconnects.
//!
//! Built with `--features samba-tests` only; see `scripts/test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use smbench_journal::Journal;
use smbench_journal::fuzz::{Seedling, mutations};
use support::cli::Scratch;
use support::samba::{Options, PrivateSamba};

#[test]
fn samba_neither_hangs_nor_disconnects() {
    let runs = std::env::var("SMBENCH_SPOIL").map_or(4, |text| text.parse().unwrap());
    let options = Options {
        guest: false,
        ..Options::default()
    };
    let mut compared = 0;
    for capture in ["leases3_plain.pcap", "smbclient_files.pcap"] {
        let samba = PrivateSamba::start(&options).unwrap();
        let scratch = Scratch::new();
        let secret = format!("*={}\n", samba.password().unwrap().trim());
        scratch.file("passwords", secret);
        scratch.compile(capture, "w");
        let sim = ["sim", "w", "--speed", "max", "--bundle", "seed.smbj"];
        scratch.run(sim).expect(0);
        let seedling = Seedling::of(&Journal::open(scratch.path("seed.smbj")).unwrap()).unwrap();
        for seed in 0..runs {
            // The first as it is.
            let changes = match seed {
                0 => Vec::new(),
                seed => mutations(seed, seedling.events()),
            };
            let bundle = seedling.write(&changes, Vec::new()).unwrap();
            scratch.file("changed.smbj", bundle);
            let (server, root) = (
                format!("{}:{}", samba.host(), samba.port()),
                format!("r{seed}"),
            );
            let to = ["--server", &server, "--share", "data", "--root", &root];
            let who = ["--password-file", "passwords"];
            scratch
                .run([&["prepare", "w"][..], &to, &who].concat())
                .expect(0);
            let play = ["replay", "--from-journal", "changed.smbj", "--json"];
            let ran = scratch.run([&play[..], &to, &who, &["--timeout", "5"]].concat());
            assert!(matches!(ran.code, Some(0 | 1 | 5)), "{changes:?}: {ran:#?}");
            let told = ran.json();
            println!("{capture} {seed} {changes:?}: {:#}", told["findings"]);
            for found in told["findings"].as_array().unwrap() {
                let kind = found["kind"].as_str().unwrap();
                assert!(
                    !matches!(kind, "hang" | "disconnect"),
                    "{changes:?}: {told:#}"
                );
            }
            if changes.is_empty() {
                assert_eq!(told["verdict"], "as_model", "{told:#}");
            }
            compared += told["compared"].as_u64().unwrap();
        }
    }
    assert!(compared > 500, "{compared}");
}
