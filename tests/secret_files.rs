//! Password and key files as people write them, in every verb that takes one; and what is said of
//! those that are good for nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use support::cli::{ModelServer, Ran, Scratch, capture};

const ENVIRONMENT: i32 = 3;
const USAGE: i32 = 2;
const ENCRYPTED: &str = "trials/password_forms.pcap";
const SESSION_KEY: &str = "6b5c2cd7a6f6845dd707abeb12b32984";

fn utf16(mark: [u8; 2], text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    mark.into_iter()
        .chain(text.encode_utf16().flat_map(unit))
        .collect()
}

/// Compiles the encrypted capture with a file of secrets.
fn compiled(scratch: &Scratch, flag: &str, file: &[u8]) -> Ran {
    scratch.file("secrets", file);
    fs::remove_dir_all(scratch.path("out")).ok();
    let capture = capture(ENCRYPTED);
    scratch.run([
        "compile",
        capture.to_str().unwrap(),
        flag,
        "secrets",
        "-o",
        "out",
        "--json",
    ])
}

#[test]
fn captures_open_however_the_password_is_written() {
    let scratch = Scratch::new();
    let shipped =
        |name: &str| fs::read(capture(&format!("trials/password_forms.{name}.txt"))).unwrap();
    for file in [
        shipped("bom"),
        shipped("domain"),
        b"Secret1".to_vec(),
        b"Secret1\r\n".to_vec(),
        b"*=Secret1\n".to_vec(),
        b"# the lab\n\nbert=x\nanna=wrong\nanna=Secret1\n".to_vec(),
        b"anna@workgroup=Secret1\n".to_vec(),
        utf16([0xff, 0xfe], "anna=Secret1\r\n", u16::to_le_bytes),
        utf16([0xfe, 0xff], "Secret1\r\n", u16::to_be_bytes),
    ] {
        let told = compiled(&scratch, "--password-file", &file);
        let shown = String::from_utf8_lossy(&file);
        assert_eq!(told.expect(0).json()["operations"], 31, "{shown:?}");
    }
}

#[test]
fn captures_open_however_the_session_is_written() {
    let scratch = Scratch::new();
    let shipped = fs::read(capture("trials/password_forms.keys_id_as_printed.txt")).unwrap();
    let mut files = vec![shipped];
    for id in [
        "0x0000000053cb9f0c",
        "0x53cb9f0c",
        "0c9fcb5300000000",
        "0c:9f:cb:53:00:00:00:00",
        "0000000053CB9F0C",
    ] {
        files.push(format!("{id},{SESSION_KEY}\n").into_bytes());
        files.push(
            format!("[{{\"session_id\":\"{id}\",\"session_key\":\"{SESSION_KEY}\"}}]").into_bytes(),
        );
    }
    let row = format!("# keys\r\n0x53cb9f0c,0x{SESSION_KEY},,\r\n");
    files.push(utf16([0xff, 0xfe], &row, u16::to_le_bytes));
    for file in files {
        let told = compiled(&scratch, "--keys", &file);
        let shown = String::from_utf8_lossy(&file);
        assert_eq!(told.expect(0).json()["operations"], 31, "{shown:?}");
    }
}

#[test]
fn secrets_that_open_nothing_are_an_error_that_says_what_would() {
    let scratch = Scratch::new();
    let who = r"WORKGROUP\anna";
    for (file, says) in [
        (&b"bert=Secret1\n"[..], &[who][..]),
        (b"anna=Secret2\n", &[who, "by another line"]),
        (b"Secret2\n", &[who, "by another line"]),
        (b"anna:Secret1\n", &[who, "USER=PASSWORD"]),
        (b"Secret1\nSecret2\n", &["line 1", "USER=PASSWORD"]),
        (b"\n", &["holds no password", "*=PASSWORD"]),
    ] {
        let ran = compiled(&scratch, "--password-file", file);
        ran.expect(ENVIRONMENT)
            .says(&["secrets"])
            .says(says)
            .says(&["DOMAIN\\USER=PASSWORD"]);
        assert!(!ran.err.contains("Secret"), "{ran:?}");
        assert!(!scratch.path("out").exists(), "{ran:?}");
    }
    let id = "0x0000000053cb9f0c";
    let other = SESSION_KEY.replace('6', "7");
    for (file, says) in [
        (format!("0x53cb9f0d,{SESSION_KEY}\n"), &[id][..]),
        (format!("{id},{other}\n"), &[id, "by another line"]),
        (format!("anna,{SESSION_KEY}\n"), &["line 1", "hex"]),
        (String::new(), &["empty"]),
    ] {
        let ran = compiled(&scratch, "--keys", file.as_bytes());
        ran.expect(ENVIRONMENT)
            .says(&["secrets"])
            .says(says)
            .says(&["sesid,seskey,s2ckey,c2skey"]);
        assert!(
            !ran.err.contains(&other[..16]) && !ran.err.contains(&SESSION_KEY[..16]),
            "{ran:?}"
        );
        assert!(!scratch.path("out").exists(), "{ran:?}");
    }
    // Nothing is left anywhere, and nothing is said where there was nothing to open.
    let left: Vec<_> = fs::read_dir(scratch.path(""))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secrets"]);
    let plain = capture("trials/B42_control_characters.pcap");
    scratch.file("keys", format!("{id},{SESSION_KEY}\n"));
    scratch
        .run([
            "compile",
            plain.to_str().unwrap(),
            "--keys",
            "keys",
            "-o",
            "out",
        ])
        .expect(0);
}

#[test]
fn logins_take_the_same_files() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_dialect_SMB3_11.pcap", "work");
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let files = [
        b"Secret1\r\n".to_vec(),
        marked("bert=x\r\n\r\nANNA=Secret1\r\n"),
        b"# who\nLAB\\anna=Secret1\n".to_vec(),
        b"anna@lab.example=Secret1\n".to_vec(),
        utf16([0xff, 0xfe], "*=Secret1\r\n", u16::to_le_bytes),
    ];
    for (server, client) in files.iter().zip(files.iter().rev()) {
        let server = scratch.file("server", server);
        scratch.file("client", client);
        let user = ["--share", "data", "--user", "anna", "--password-file"];
        let server = ModelServer::start(user.into_iter().chain([server.to_str().unwrap()]));
        let args = [
            "replay",
            "work",
            "--server",
            &server.address,
            "--speed",
            "max",
            "--prepare",
            "--json",
        ];
        let ran = scratch.run(args.into_iter().chain(user).chain(["client"]));
        assert_eq!(ran.json()["cascaded"], 0, "{ran:?}");
        // Only who logs in as somebody gets in.
        let anonymous = ["--share", "data", "--root", "r"];
        let ran = scratch.run(args[..6].iter().copied().chain(anonymous));
        assert!(matches!(ran.code, Some(1 | ENVIRONMENT)), "{ran:?}");
    }
}

#[test]
fn files_for_somebody_else_are_refused_before_anybody_is_asked() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_dialect_SMB3_11.pcap", "work");
    scratch.file("bert", "bert=x\n");
    // Nobody listens there: it is not found out.
    let target = [
        "--server",
        "127.0.0.1:1",
        "--share",
        "data",
        "--password-file",
        "bert",
    ];
    for verb in ["replay", "prepare"] {
        let ran = scratch.run([verb, "work"].into_iter().chain(target));
        ran.expect(ENVIRONMENT).says(&[
            "no line of bert is for",
            "WORKGROUP\\bob",
            "USER=PASSWORD",
        ]);
        let ran = scratch.run(
            [verb, "work", "--user", "LAB\\anna"]
                .into_iter()
                .chain(target),
        );
        ran.expect(ENVIRONMENT)
            .says(&["no line of bert is for LAB\\anna", "USER=PASSWORD"]);
    }
    let serve = ["serve", "--listen", "127.0.0.1:0", "--password-file"];
    let ran = scratch.run(serve.into_iter().chain(["bert", "--user", "anna"]));
    ran.expect(ENVIRONMENT)
        .says(&["no line of bert is for anna", "USER=PASSWORD"]);
    scratch.file("one", "Secret1\n");
    let ran = scratch.run(serve.into_iter().chain(["one"]));
    ran.expect(USAGE).says(&["one", "--user"]);
    scratch.file("latin", b"anna=\xe4\n");
    for args in [
        &["compile", "x.pcap", "-o", "o", "--password-file", "latin"][..],
        &["serve", "--password-file", "latin"],
        &[
            "replay",
            "work",
            "--server",
            "127.0.0.1:1",
            "--password-file",
            "latin",
        ],
    ] {
        scratch
            .run(args)
            .expect(ENVIRONMENT)
            .says(&["latin", "line 1", "UTF-8"]);
    }
}
