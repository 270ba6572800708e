//! `smbench serve`: what it says, and what it does not let itself be told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::io::{BufRead as _, BufReader};

use support::cli::Scratch;

#[test]
fn other_machines_reach_it_only_when_that_is_asked_for() {
    let scratch = Scratch::new();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"] {
        let ran = scratch.run(["serve", "--listen", listen]);
        ran.expect(2).says(&["other machines", "--beyond-loopback"]);
    }
    let mut asked = scratch.start(["serve", "--listen", "0.0.0.0:0", "--beyond-loopback"]);
    let mut told = String::new();
    let mut said = BufReader::new(asked.stderr.take().unwrap());
    said.read_line(&mut told).unwrap();
    let mut address = String::new();
    let mut out = BufReader::new(asked.stdout.take().unwrap());
    out.read_line(&mut address).unwrap();
    asked.kill().unwrap();
    asked.wait().unwrap();
    assert!(told.contains("for tests"), "{told:?}");
    assert!(address.starts_with("listening on 0.0.0.0:"), "{address:?}");
}

#[test]
fn what_guests_cannot_do_is_required_of_users_alone() {
    let scratch = Scratch::new();
    for flag in ["--encrypt-required", "--signing-required"] {
        let ran = scratch.run(["serve", "--listen", "127.0.0.1:0", flag]);
        ran.expect(2).says(&["--password-file"]);
    }
}
