//! What `--log trace` writes holds no password, no key and no token, in whatever form it is written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use support::cli::{Ran, Scratch, capture};

const PASSWORD: &str = "Secret1";
/// MD4 of it in UTF-16LE. [MS-NLMP] 3.3.1
const NT_HASH: &str = "ed50bdc9faa370e31ac4ee119fd51f48";
/// What the login of `password_forms.pcap` ended with.
const SESSION_KEY: &str = "6b5c2cd7a6f6845dd707abeb12b32984";
/// The id of that session, as its bytes are on the wire.
const SESSION_ID: &str = "0c9fcb5300000000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 of the bytes at each of the three places that they can have in longer data, less the ends
/// that depend on their neighbours.
fn base64(bytes: &[u8]) -> Vec<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = |skip: usize| {
        let mut padded = vec![0; skip];
        padded.extend(bytes);
        let letters: String = padded
            .chunks_exact(3)
            .flat_map(|three| {
                let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                [18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift) as usize & 63]))
            })
            .collect();
        letters[if skip == 0 { 0 } else { 4 }..].to_owned()
    };
    (0..3).map(at).collect()
}

/// Every form in which secret bytes could be written, in lower case but for base64.
fn forms(bytes: &[u8]) -> Vec<String> {
    let list = |form: fn(&u8) -> String| bytes.iter().map(form).collect::<Vec<_>>().join(", ");
    let mut forms = vec![
        hex(bytes),
        list(|byte| format!("{byte}")),
        list(|byte| format!("{byte:x}")),
        list(|byte| format!("0x{byte:x}")),
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(":"),
    ];
    forms.extend(base64(bytes));
    forms
}

/// Fails where a secret is in what was printed, and where anything looks like a key or a token.
#[track_caller]
fn discreet(what: &str, printed: &str) {
    let wide: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let unhex = |text: &str| -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let lower = printed.to_lowercase();
    assert!(
        !printed.contains(PASSWORD),
        "{what}: the password in {printed}"
    );
    let secrets = [
        ("password", PASSWORD.as_bytes().to_vec()),
        ("password in UTF-16", wide),
        ("NT hash", unhex(NT_HASH)),
        ("session key", unhex(SESSION_KEY)),
        ("NTLM token", b"NTLMSSP\0".to_vec()),
    ];
    for (name, bytes) in secrets {
        for form in forms(&bytes) {
            let found = printed.contains(&form) || lower.contains(&form);
            assert!(!found, "{what}: {name} as {form} in {printed}");
        }
    }
    assert!(!printed.contains("NTLMSSP"), "{what}: {printed}");
    // Keys have 16 bytes and more; of what is written, digests of data read have as many digits.
    let mut parts = lower.split("data: some(");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| rest.extend(part.chars().skip(64)));
    let digits = rest
        .split(|it: char| !it.is_ascii_hexdigit())
        .map(str::len)
        .max();
    assert!(
        digits < Some(32),
        "{what}: {digits:?} digits of hex in {printed}"
    );
    let numbers = lower.split(|it: char| !(it.is_ascii_digit() || ", ".contains(it)));
    let most = numbers
        .map(|it| it.split(", ").filter(|it| !it.is_empty()).count())
        .max();
    assert!(
        most < Some(16),
        "{what}: a list of {most:?} numbers in {printed}"
    );
}

/// Runs the binary, which logs all it has.
#[track_caller]
fn traced(scratch: &Scratch, log: &str, args: &[&str]) -> Ran {
    let ran = scratch.run(args.iter().copied().chain(["--log", log]));
    discreet(&args.join(" "), &format!("{}\n{}", ran.out, ran.err));
    ran
}

#[test]
fn compiling_with_keys_and_passwords_is_discreet() {
    let scratch = Scratch::new();
    let capture = capture("trials/password_forms.pcap");
    let capture = capture.to_str().unwrap();
    scratch.file("passwords", format!("anna={PASSWORD}\n"));
    scratch.file("keys", format!("{SESSION_ID},{SESSION_KEY},,\n"));
    // Files that are not understood are not quoted.
    scratch.file("two", format!("{PASSWORD}\n{PASSWORD}\n"));
    scratch.file("list", format!("[{{\"session_id\":\"{SESSION_KEY}\"}}]"));
    scratch.file("row", format!("{SESSION_KEY},{SESSION_KEY}{SESSION_KEY}ff"));
    for (out, with, code) in [
        ("a", ["--password-file", "passwords"], 0),
        ("b", ["--keys", "keys"], 0),
        ("c", ["--password-file", "two"], 3),
        ("d", ["--keys", "list"], 3),
        ("e", ["--keys", "row"], 3),
    ] {
        let args = ["compile", capture, "-o", out, with[0], with[1]];
        let ran = traced(&scratch, "trace", &args);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        if code == 0 {
            assert!(ran.out.contains("31 operations"), "{ran:?}");
            traced(&scratch, "trace", &["inspect", out]);
            traced(&scratch, "trace", &["sim", out, "--speed", "max"]);
        }
    }
}

#[test]
fn logins_are_discreet_on_both_sides() {
    let scratch = Scratch::new();
    scratch.file("passwords", format!("anna={PASSWORD}\n"));
    scratch.compile("smbclient_dialect_SMB3_11.pcap", "work");
    for (name, more) in [
        ("signed", &["--signing-required"][..]),
        ("encrypted", &["--encrypt-required"][..]),
    ] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_smbench"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--share",
                "data",
                "--log",
                "trace",
            ])
            .args(["--user", "anna", "--password-file"])
            .arg(scratch.path("passwords"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(server.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        let mut log = server.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            log.read_to_end(&mut all).unwrap();
            String::from_utf8_lossy(&all).into_owned()
        });
        for filter in [
            "trace",
            "sspi=trace,smbench_live=trace",
            "smbench=trace,sspi[]=trace",
        ] {
            let args = ["replay", "work", "--server", &address, "--share", "data"];
            let login = ["--user", "anna", "--password-file", "passwords"];
            let more = ["--speed", "max", "--prepare", "--signing", "always"];
            let ran = traced(&scratch, filter, &[&args[..], &login, &more].concat());
            assert!(matches!(ran.code, Some(0 | 1)), "{name}: {ran:?}");
            if filter == "trace" {
                // It is the log that was looked through.
                assert!(ran.err.contains("smbench_live::driver"), "{ran:?}");
                assert!(ran.err.contains("Finished"), "{ran:?}");
            }
        }
        let wrong = scratch.file("wrong", "anna=wrong\n");
        let args = [
            "replay", "work", "--server", &address, "--share", "data", "--user", "anna",
        ];
        let login = ["--password-file", wrong.to_str().unwrap(), "--speed", "max"];
        traced(&scratch, "trace", &[&args[..], &login].concat());
        server.kill().unwrap();
        server.wait().unwrap();
        let log = reader.join().unwrap();
        discreet(&format!("serve, {name}"), &log);
    }
}

#[test]
fn secrets_would_be_found() {
    let forms = forms(b"Secret1");
    for form in [
        "53656372657431",
        "83, 101, 99, 114, 101, 116, 49",
        "53:65:63:72:65:74:31",
        "U2VjcmV0",
    ] {
        assert!(forms.iter().any(|it| it == form), "{form}");
    }
    for leak in [
        "x Secret1",
        "TlRMTVNTUAAB",
        "0123456789abcdef0123456789ABCDEF",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]",
    ] {
        let found = std::panic::catch_unwind(|| discreet("a leak", leak));
        assert!(found.is_err(), "{leak}");
    }
    discreet(
        "no leak",
        "effects 7a72e7611155b9bc, 363 events, 9936 a second",
    );
}
