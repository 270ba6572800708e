//! Tests against a real server: a private Samba on loopback, started by each test.
//!
//! Built with `--features samba-tests` only; see `scripts/test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use support::samba::{Options, PrivateSamba};

fn start(options: &Options) -> PrivateSamba {
    PrivateSamba::start(options).unwrap_or_else(|reason| panic!("Samba did not start: {reason}"))
}

/// Runs `smbclient` and fails with what it wrote when it fails.
fn client(server: &PrivateSamba, user: Option<&str>, share: &str, script: &str) -> String {
    let output = server.smbclient(user, share, script).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{user:?} {share} {script}: {text}{errors}"
    );
    text
}

#[test]
fn users_and_guests_read_and_write() {
    let server = start(&Options::default());
    let local = server.share_folder("private").with_file_name("local.txt");
    fs::write(&local, "one\n").unwrap();
    let put = |name: &str| format!("put {} {name}", local.display());

    client(
        &server,
        Some(server.user()),
        server.share(),
        &put("user.txt"),
    );
    client(&server, None, server.share(), &put("guest.txt"));
    let listing = client(&server, Some("user20"), server.share(), "ls");
    assert!(
        listing.contains("user.txt") && listing.contains("guest.txt"),
        "{listing}"
    );
    let folder = server.share_folder(server.share());
    assert_eq!(
        fs::read_to_string(folder.join("guest.txt")).unwrap(),
        "one\n"
    );

    client(&server, Some("alice"), "data", &put("alice.txt"));
    client(&server, Some("bob"), "secret", "ls");
    let refused = server.smbclient(None, "data", "ls").unwrap();
    assert!(
        !refused.status.success(),
        "a guest got into a share for users"
    );
}

#[test]
fn servers_side_by_side_keep_apart() {
    let servers: Vec<PrivateSamba> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| start(&Options::default())))
            .collect();
        starting
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (number, server) in servers.iter().enumerate() {
        client(
            server,
            Some("carol"),
            "data",
            &format!("mkdir only-on-{number}"),
        );
    }
    for (number, server) in servers.iter().enumerate() {
        let names: Vec<String> = fs::read_dir(server.share_folder("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, [format!("only-on-{number}")]);
    }
}

#[test]
fn signing_and_encryption_are_as_asked() {
    let sealed = start(&Options {
        signing: "mandatory",
        encrypt: "required",
        guest: false,
        ..Options::default()
    });
    client(&sealed, Some("dave"), "data", "ls");
    let modest = start(&Options {
        encrypt: "off",
        extra: vec!["server max protocol = SMB2_10".to_owned()],
        ..Options::default()
    });
    client(&modest, Some("dave"), "data", "ls");
    let refused = modest.smbclient(Some("dave"), "secret", "ls").unwrap();
    assert!(
        !refused.status.success(),
        "2.1 has no encryption, and yet the share opened"
    );
    assert!(
        !sealed
            .smbclient(None, "share", "ls")
            .unwrap()
            .status
            .success(),
        "a guest got in"
    );
}

#[test]
fn a_wrong_setting_is_an_error() {
    let extra = vec!["no such setting = 1".to_owned()];
    let failed = PrivateSamba::start(&Options {
        extra,
        ..Options::default()
    });
    let reason = failed.err().unwrap_or_default();
    assert!(reason.contains("no such setting"), "{reason:?}");
}

#[test]
fn a_taken_port_is_an_error() {
    // Samba itself would share the port, and clients would reach either server.
    let first = start(&Options::default());
    let second = PrivateSamba::start(&Options {
        port: Some(first.port()),
        ..Options::default()
    });
    let reason = second.err().unwrap_or_default();
    assert!(reason.contains("is taken"), "{reason:?}");
    client(&first, Some("erin"), "data", "ls");
}

/// The command lines of processes that name a file.
fn commands_that_name(file: &Path) -> Vec<String> {
    let file = file.to_string_lossy();
    let processes = fs::read_dir("/proc").unwrap();
    let commands = processes.filter_map(|it| {
        let command = fs::read(it.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands
        .filter(|command| command.contains(&*file))
        .collect()
}

#[test]
fn nothing_is_left_after_a_server() {
    let server = start(&Options::default());
    let (folder, port) = (server.share_folder("."), server.port());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    // Who opens a pipe makes smbd start helpers, in process groups of their own.
    client(&server, Some("frank"), "IPC$", "open srvsvc");
    let conf = server.share_folder("smb.conf");
    let running = commands_that_name(&conf);
    assert!(
        running.iter().any(|command| command.contains("dcerpcd")),
        "no helper was started: {running:?}"
    );
    drop(server);
    assert_eq!(commands_that_name(&conf), Vec::<String>::new());
    assert!(
        !Path::new(&folder).exists(),
        "{} is still there",
        folder.display()
    );
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "port {port} still answers"
    );
}
