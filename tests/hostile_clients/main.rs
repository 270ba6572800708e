//! Twenty-six ways to mean harm to `smbench serve`: each is bounded in memory and in time, and somebody
//! else, who wants nothing special, is served all the while.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod held;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smbench_core::smb2::{CloseRequest, FileId, ReadRequest, WriteRequest};
use support::cli::ModelServer;
use support::smb::Smb;

/// What a behaviour may cost the server, in bytes: that of a debug build with nothing to do is some
/// 20 MiB.
const MEMORY: u64 = 100 << 20;
/// How long somebody else may wait for an answer, on a machine that does other things as well.
const WAIT: Duration = Duration::from_secs(5);

/// Lets somebody behave badly, while somebody else works.
fn while_others_work(memory: u64, behave: impl FnOnce(&str)) {
    let server = ModelServer::start(["--share", "share"]);
    let over = AtomicBool::new(false);
    let address = server.address.as_str();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(address, &over));
        let behaved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| behave(address)));
        over.store(true, Ordering::SeqCst);
        let (rounds, longest) = other.join().unwrap();
        if let Err(panic) = behaved {
            std::panic::resume_unwind(panic);
        }
        assert!(rounds > 0);
        println!("somebody else: {rounds} rounds, the longest wait {longest:?}");
        assert!(longest < WAIT, "somebody else waited for {longest:?}");
    });
    let most = server.most_memory();
    println!("the server: {} MiB at most", most >> 20);
    assert!(most < memory, "{} MiB", most >> 20);
}

/// Connects, and works on files: small ones, and once in a while a megabyte. Gives how often, and the
/// longest wait for an answer.
fn work(address: &str, over: &AtomicBool) -> (u32, Duration) {
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    let mut timed = |act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        longest = longest.max(start.elapsed());
    };
    while rounds == 0 || !over.load(Ordering::SeqCst) {
        let mut client = None;
        timed(&mut || client = Some(Smb::guest(address)));
        let mut client = client.unwrap();
        for file in 0..8 {
            let mut file_id = FileId::default();
            timed(&mut || file_id = client.open(&format!("somebody's file {file}")));
            let data = vec![7; if file == 7 { 1 << 20 } else { 1_000 }];
            let length = u32::try_from(data.len()).unwrap();
            let write = WriteRequest {
                file_id,
                length,
                ..WriteRequest::default()
            };
            timed(&mut || drop(client.expect(write.clone(), &data)));
            let read = ReadRequest {
                file_id,
                length,
                ..ReadRequest::default()
            };
            timed(&mut || assert!(client.expect(read.clone(), &[]).bulk == data));
            timed(&mut || drop(client.expect(close(file_id), &[])));
        }
        rounds += 1;
    }
    (rounds, longest)
}

fn close(file_id: FileId) -> CloseRequest {
    CloseRequest {
        file_id,
        ..CloseRequest::default()
    }
}
