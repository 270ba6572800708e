//! The `smb` crate (smb-rs), a client that is not ours: it logs in, lists, writes and reads, with signing and with
//! encryption, on the model server and on Samba.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::time::Duration;

use smb::{
    Client, ClientConfig, ConnectionConfig, CreateOptions, Dialect, FileAccessMask, FileAttributes,
    FileCreateArgs, ReadAt as _, UncPath, WriteAt as _, connection::EncryptionMode,
};
use support::cli::{ModelServer, Scratch};
use support::samba::{Options, PrivateSamba};

/// Where the client goes, and as whom.
struct Server<'a> {
    port: u16,
    share: &'a str,
    user: &'a str,
    password: &'a str,
}

/// One that logs in by NTLM, and gives up in time.
fn client(mut connection: ConnectionConfig) -> Client {
    connection.timeout = Some(Duration::from_secs(20));
    connection.auth_methods.kerberos = false;
    Client::new(ClientConfig {
        dfs: false,
        connection,
        ..ClientConfig::default()
    })
}

/// Dialect 2.0.2 takes 64 KiB at once. [MS-SMB2] 3.3.5.4
const PIECE: usize = 32 << 10;

async fn goes_through(server: &Server<'_>, dialect: Dialect, encryption: EncryptionMode) {
    let client = client(ConnectionConfig {
        port: Some(server.port),
        min_dialect: Some(dialect),
        max_dialect: Some(dialect),
        encryption_mode: encryption,
        smb2_only_negotiate: true,
        ..ConnectionConfig::default()
    });
    let share = UncPath::new("127.0.0.1")
        .unwrap()
        .with_share(server.share)
        .unwrap();
    let what = format!("{dialect:?} {encryption:?}");
    let connected = client
        .share_connect(&share, server.user, server.password.to_owned())
        .await;
    connected.unwrap_or_else(|error| panic!("{what}: {error}"));
    let name = format!("smb-rs-{dialect:?}-{encryption:?}.bin");
    let path = share.clone().with_path(&name);
    let data: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let args = FileCreateArgs::make_create_new(FileAttributes::new(), CreateOptions::new());
    let file = client
        .create_file(&path, &args)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let file = file.unwrap_file();
    let mut written = 0;
    while written < data.len() {
        // No dialect takes less at once.
        let end = data.len().min(written + PIECE);
        written += file
            .write_at(&data[written..end], written as u64)
            .await
            .unwrap();
    }
    file.close().await.unwrap();
    let access = FileAccessMask::new().with_generic_read(true);
    let file = client
        .create_file(&path, &FileCreateArgs::make_open_existing(access))
        .await
        .unwrap();
    let file = file.unwrap_file();
    let mut got = vec![0; data.len()];
    let mut read = 0;
    while read < got.len() {
        let end = got.len().min(read + PIECE);
        let count = file
            .read_at(&mut got[read..end], read as u64)
            .await
            .unwrap();
        assert!(count > 0, "{what}");
        read += count;
    }
    assert_eq!(got, data, "{what}");
    file.close().await.unwrap();
    client.close().await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Every dialect signs; those of SMB 3 encrypt too.
fn all_ways(server: &Server<'_>) {
    let runtime = runtime();
    let ways = [
        (Dialect::Smb0202, EncryptionMode::Disabled),
        (Dialect::Smb021, EncryptionMode::Disabled),
        (Dialect::Smb030, EncryptionMode::Disabled),
        (Dialect::Smb030, EncryptionMode::Required),
        (Dialect::Smb0302, EncryptionMode::Required),
        (Dialect::Smb0311, EncryptionMode::Disabled),
        (Dialect::Smb0311, EncryptionMode::Required),
    ];
    for (dialect, encryption) in ways {
        runtime.block_on(goes_through(server, dialect, encryption));
    }
}

/// The model server, which lets in nobody but the tester, and its port.
fn model(scratch: &Scratch, more: &[&str]) -> (ModelServer, u16) {
    let password = scratch.file("password", "Passw0rd!");
    let password = password.to_str().unwrap();
    let args = [
        "--user",
        "tester",
        "--password-file",
        password,
        "--share",
        "data",
    ];
    let model = ModelServer::start([&args[..], more].concat());
    let port = model.address.rsplit(':').next().unwrap().parse().unwrap();
    (model, port)
}

#[test]
fn it_reads_and_writes_on_the_model_server() {
    let scratch = Scratch::new();
    let (_model, port) = model(&scratch, &["--signing-required"]);
    all_ways(&Server {
        port,
        share: "data",
        user: "tester",
        password: "Passw0rd!",
    });
}

#[test]
fn it_reads_and_writes_on_samba() {
    let options = Options {
        signing: "mandatory",
        guest: false,
        ..Options::default()
    };
    let samba = PrivateSamba::start(&options).unwrap();
    all_ways(&Server {
        port: samba.port(),
        share: "data",
        user: "alice",
        password: &samba.password().unwrap(),
    });
}

/// Shares are listed over srvsvc.
#[test]
fn it_lists_the_shares_of_the_model_server() {
    let scratch = Scratch::new();
    let (_model, port) = model(&scratch, &[]);
    let shares = runtime().block_on(async {
        let client = client(ConnectionConfig {
            port: Some(port),
            ..ConnectionConfig::default()
        });
        client
            .ipc_connect("127.0.0.1", "tester", "Passw0rd!".to_owned())
            .await
            .unwrap();
        client.list_shares("127.0.0.1").await.unwrap()
    });
    let names: Vec<String> = shares
        .iter()
        .map(|it| it.netname.as_ref().unwrap().to_string())
        .map(|it| it.trim_end_matches('\0').to_owned())
        .collect();
    assert_eq!(names, ["IPC$", "data"]);
}
