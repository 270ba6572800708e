//! Clients that are not ours list shares, write and read on `smbench serve`: smbclient, rclone, and impacket, pysmb
//! and smbprotocol, which pip installs into the target folder.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::cli::{ModelServer, Scratch};

const USER: &str = "tester";
const PASSWORD: &str = "Passw0rd!";

/// A server with two shares, that lets in nobody but the tester.
fn server(scratch: &Scratch, more: &[&str]) -> (ModelServer, String) {
    let password = scratch.file("password", PASSWORD);
    let login = [
        "--user",
        USER,
        "--password-file",
        password.to_str().unwrap(),
    ];
    let shares = ["--share", "data", "--share", "more"];
    let server = ModelServer::start([&login[..], &shares, more].concat());
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    (server, port)
}

#[track_caller]
fn done(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

/// A Python that has the clients, made once for a list of them.
fn python() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = here.join("tests/clients/requirements.txt");
    let wanted = fs::read_to_string(&list).unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let python = home.join("bin/python");
    let made = home.join("made.txt");
    if fs::read_to_string(&made).is_ok_and(|had| had == wanted) {
        return python;
    }
    fs::remove_dir_all(&home).ok();
    let venv = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&home)
        .output();
    done(&venv.unwrap_or_else(|error| {
        panic!("python3 is not there: apt-get install python3 python3-venv: {error}")
    }));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ];
    done(&Command::new(&python).args(pip).arg(&list).output().unwrap());
    fs::write(made, wanted).unwrap();
    python
}

#[test]
fn python_clients_list_write_and_read() {
    let scratch = Scratch::new();
    let (_server, port) = server(&scratch, &["--signing-required"]);
    let python = python();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/try.py");
    for client in ["impacket", "pysmb", "smbprotocol"] {
        let ran = Command::new(&python)
            .arg(&script)
            .args([client, &port, USER, PASSWORD, "data"])
            .output()
            .unwrap();
        let told: Value = serde_json::from_str(&done(&ran)).unwrap();
        assert_eq!(told["same"], true, "{client}: {told}");
        let name = json!(format!("{client}.bin"));
        assert!(
            told["names"].as_array().unwrap().contains(&name),
            "{client}: {told}"
        );
        let shares = match client {
            "smbprotocol" => Value::Null,
            _ => json!(["IPC$", "data", "more"]),
        };
        assert_eq!(told["shares"], shares, "{client}");
    }
}

#[test]
fn smbclient_lists_writes_and_reads_in_every_dialect() {
    let scratch = Scratch::new();
    let (_server, port) = server(&scratch, &[]);
    let file = scratch.file("there.bin", vec![7; 300_000]);
    let login = format!("{USER}%{PASSWORD}");
    for dialect in ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11"] {
        let smbclient = |more: &[&str]| {
            let output = Command::new("smbclient")
                .args(["-p", &port, "-U", &login, "-m", dialect])
                .args(["--option=client min protocol=SMB2_02"])
                .args(more)
                .output();
            done(&output.unwrap_or_else(|error| {
                panic!("smbclient is not there: apt-get install smbclient: {error}")
            }))
        };
        let shares = smbclient(&["-L", "//127.0.0.1"]);
        assert!(
            shares.contains("data") && shares.contains("more") && shares.contains("IPC$"),
            "{shares}"
        );
        let back = scratch.path("back.bin");
        let (there, here) = (file.display(), back.display());
        let commands = format!("put {there} a.bin; get a.bin {here}; rm a.bin");
        smbclient(&["//127.0.0.1/data", "-c", &commands]);
        assert_eq!(fs::read(&back).unwrap(), vec![7; 300_000], "{dialect}");
        fs::remove_file(back).unwrap();
    }
}

#[test]
fn rclone_lists_writes_and_reads() {
    let scratch = Scratch::new();
    let (_server, port) = server(&scratch, &[]);
    let file = scratch.file("there.bin", vec![9; 300_000]);
    let rclone =
        |args: &[&str]| {
            let output = Command::new("rclone")
                .env("RCLONE_CONFIG", "/dev/null")
                .args(args)
                .output();
            done(&output.unwrap_or_else(|error| {
                panic!("rclone is not there: apt-get install rclone: {error}")
            }))
        };
    let hidden = rclone(&["obscure", PASSWORD]);
    let remote = format!(
        ":smb,host=127.0.0.1,port={port},user={USER},pass='{}':",
        hidden.trim()
    );
    let shares = rclone(&["lsf", &remote]);
    assert_eq!(shares.lines().collect::<Vec<_>>(), ["data/", "more/"]);
    let (there, back) = (format!("{remote}data/a.bin"), scratch.path("back.bin"));
    rclone(&["copyto", file.to_str().unwrap(), &there]);
    rclone(&["copyto", &there, back.to_str().unwrap()]);
    assert_eq!(fs::read(back).unwrap(), vec![9; 300_000]);
}

/// What is not offered is refused as RPC does it, and the pipe goes on.
#[test]
fn rpcclient_hears_of_the_server_and_no_more() {
    let scratch = Scratch::new();
    let (_server, port) = server(&scratch, &[]);
    let rpcclient = |command: &str| {
        let login = format!("{USER}%{PASSWORD}");
        let output = Command::new("rpcclient")
            .args(["127.0.0.1", "-p", &port, "-U", &login, "-c", command])
            .output()
            .unwrap_or_else(|error| {
                panic!("rpcclient is not there: apt-get install smbclient: {error}")
            });
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    };
    let told = rpcclient("srvinfo");
    assert!(
        told.contains("SMBench model server") && told.contains("platform_id"),
        "{told}"
    );
    let told = rpcclient("netshareenumall 502");
    assert!(told.contains("netname: data"), "{told}");
    let told = rpcclient("netsharegetinfo nothing 1");
    assert!(told.contains("NETNAMENOTFOUND"), "{told}");
    // A call that is not there: nca_s_op_rng_error, in Samba's words.
    let told = rpcclient("netsessenum");
    assert!(told.contains("0x0000002e"), "{told}");
}
