//! `smbench serve`: what it says, and what it does not let itself be told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use smbench_core::smb2::{NtStatus, ReadRequest, Response, WriteRequest};
use support::cli::{ModelServer, Scratch};
use support::smb::{Smb, create};

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

/// What a READ gives.
fn read(client: &mut Smb, name: &str, offset: u64, length: u32) -> Result<Vec<u8>, NtStatus> {
    let answer = client.call(create(name), &[]);
    let Response::Create(created) = answer.body else {
        return Err(answer.status());
    };
    let body = ReadRequest {
        file_id: created.file_id,
        offset,
        length,
        ..ReadRequest::default()
    };
    let answer = client.call(body, &[]);
    match answer.status() {
        NtStatus::SUCCESS => Ok(answer.bulk),
        status => Err(status),
    }
}

#[test]
fn a_folder_is_read_as_it_is_asked_for_and_never_written_to() {
    const HUGE: u64 = 50 << 30;
    let scratch = Scratch::new();
    let outside = scratch.file("outside", "nobody's business");
    let dir = scratch.path("dir");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(dir.join("sub/file"), &content).unwrap();
    std::fs::write(dir.join("swapped"), "for a link").unwrap();
    std::fs::write(dir.join("gone"), "deleted later").unwrap();
    let sparse = std::fs::File::create(dir.join("huge")).unwrap();
    sparse.set_len(HUGE).unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("link")).unwrap();
    std::os::unix::fs::symlink("/", dir.join("root")).unwrap();

    let server = ModelServer::start(["--share", &format!("share={}", dir.display())]);
    let mut client = Smb::guest(&server.address);
    assert_eq!(
        read(&mut client, "sub\\file", 400_000, 100).unwrap(),
        content[400_000..400_100]
    );
    assert_eq!(read(&mut client, "huge", HUGE - 3, 10).unwrap(), [0; 3]);
    // A link is no file of the share: what is opened in its place is new, and empty.
    assert_eq!(read(&mut client, "link", 0, 10), Err(NtStatus::END_OF_FILE));
    let inside = read(&mut client, "root\\etc\\passwd", 0, 10);
    assert_eq!(inside, Err(NtStatus::OBJECT_PATH_NOT_FOUND));
    // What takes a file's place later is not read either.
    std::fs::remove_file(dir.join("swapped")).unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("swapped")).unwrap();
    std::fs::remove_file(dir.join("gone")).unwrap();
    let io_error = NtStatus(0xc000_00e9);
    assert_eq!(read(&mut client, "swapped", 0, 10), Err(io_error));
    assert_eq!(read(&mut client, "gone", 0, 10), Err(io_error));
    // Clients write over it, and it stays as it was.
    for (name, offset) in [("sub\\file", 399_990), ("huge", HUGE / 2)] {
        let body = WriteRequest {
            file_id: client.open(name),
            offset,
            length: 5,
            ..WriteRequest::default()
        };
        client.expect(body, b"HELLO");
        assert_eq!(read(&mut client, name, offset, 5).unwrap(), b"HELLO");
    }
    let around = read(&mut client, "sub\\file", 399_900, 200).unwrap();
    assert_eq!(around[..90], content[399_900..399_990]);
    assert_eq!(around[95..], content[399_995..400_100]);
    assert_eq!(std::fs::read(dir.join("sub/file")).unwrap(), content);
    assert_eq!(std::fs::read(&outside).unwrap(), b"nobody's business");
    let memory = server.most_memory();
    assert!(memory < 100 << 20, "{memory}");
}

#[test]
fn a_limit_that_is_reached_is_told_at_once_and_counted_at_the_end() {
    let scratch = Scratch::new();
    let mut server = scratch.start(["serve", "--listen", "127.0.0.1:0", "--content-limit", "1"]);
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut said = BufReader::new(server.stderr.take().unwrap());
    let mut address = String::new();
    out.read_line(&mut address).unwrap();
    let address = address.trim().strip_prefix("listening on ").unwrap();
    let mut until = |what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "{what}");
        }
    };
    let mut stranger = Smb::stranger(address);
    stranger.stream.write_all(&[0, 0x98, 0x96, 0x80]).unwrap();
    assert!(stranger.is_ended());
    until("a frame was too long for a client that has not logged in");
    let mut client = Smb::guest(address);
    let body = WriteRequest {
        file_id: client.open("f"),
        length: 1 << 20,
        ..WriteRequest::default()
    };
    let status = client.call(body, &vec![1; 1 << 20]).status();
    assert_eq!(status, NtStatus::DISK_FULL);
    until("too much content");
    let pid = server.id().to_string();
    let done = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(done.success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    server.wait().unwrap();
    assert!(
        rest.contains("1 connections ended: a frame was too long"),
        "{rest}"
    );
    assert!(
        rest.contains("1 times a limit was reached: too much content"),
        "{rest}"
    );
}

#[test]
fn a_server_without_descriptors_lets_strangers_go_for_clients() {
    let scratch = Scratch::new();
    let line = "ulimit -n 40; exec \"$SMBENCH\" serve --listen 127.0.0.1:0";
    let mut server = Command::new("bash")
        .args(["-c", line])
        .env("SMBENCH", env!("CARGO_BIN_EXE_smbench"))
        .current_dir(scratch.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    out.read_line(&mut address).unwrap();
    let address = address.trim().strip_prefix("listening on ").unwrap();
    let mut first = Smb::guest(address);
    let strangers: Vec<_> = (0..100).map(|_| Smb::stranger(address)).collect();
    let mut late = Smb::guest(address);
    for (client, name) in [(&mut first, "a"), (&mut late, "b")] {
        client.open(name);
    }
    drop(strangers);
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Links are made where a server has such, and those that are not are named.
#[test]
fn links_are_prepared_and_replay_as_recorded() {
    let server = ModelServer::start(["--share", "data"]);
    let scratch = Scratch::new();
    for (capture, verdict, unmade) in [
        ("B34_symlink_errors", "as_recorded", &[][..]),
        ("B12_dfs", "environment", &["link"][..]),
    ] {
        let path = support::cli::capture(&format!("trials/{capture}.pcap"));
        let path = path.to_str().unwrap();
        scratch.run(["compile", path, "-o", capture]).expect(0);
        let onto = [
            "--server",
            &server.address,
            "--share",
            "data",
            "--root",
            capture,
        ];
        let prepare = [&["prepare", capture, "--json"][..], &onto].concat();
        let told = scratch.run(&prepare).expect(0).json();
        let links = told["unmade_links"].as_array().unwrap();
        let links: Vec<&str> = links
            .iter()
            .map(|it| it["path"].as_str().unwrap())
            .collect();
        assert_eq!(links, unmade, "{told:#}");
        let replay = ["replay", capture, "--speed", "max", "--json"];
        let told = scratch.run([&replay[..], &onto].concat()).expect(0).json();
        assert_eq!(told["verdict"], verdict, "{told:#}");
    }
}
