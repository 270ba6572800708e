//! Captures that begin in the middle, on a private Samba.
//!
//! Built with `--features samba-tests` only. It takes some minutes, and is run by hand:
//! `cargo test --features samba-tests --test midway_samba`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where it fails"
)]

mod support;

use support::cli::Scratch;
use support::own;
use support::samba::{Options, PrivateSamba};

/// Of each capture of our own, without its beginning, nearly all is sent and compared, and hardly any differs.
#[test]
fn our_captures_replay_without_their_beginning() {
    let options = Options {
        guest: false,
        ..Options::default()
    };
    let server =
        PrivateSamba::start(&options).unwrap_or_else(|why| panic!("Samba did not start: {why}"));
    let address = format!("{}:{}", server.host(), server.port());
    let password = server.password().unwrap();
    for path in own::captures() {
        let scratch = Scratch::new();
        own::compiled(&scratch, &path);
        scratch.file("passwords", format!("*={}\n", password.trim()));
        let args = ["replay", "w", "--prepare", "--share", "data", "--json"];
        let to = ["--server", &address, "--user", server.user()];
        let how = ["--speed", "max", "--password-file", "passwords"];
        // Logins that were refused are refused again: these are nobody's accounts.
        let wrong = ["--wrong-passwords", "all"];
        // On a machine that does much else a break takes its time.
        let patience = ["--break-wait", "10000"];
        let all = args.iter().chain(&to).chain(&how);
        let all = all.chain(&wrong).chain(&patience);
        let told = scratch.run(all).json();
        own::judge(&path.file_name().unwrap().to_string_lossy(), &told);
    }
}
