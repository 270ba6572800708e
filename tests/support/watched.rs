//! The binary with `--metrics`, and whatever else answers over HTTP.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What an HTTP server answers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Asks `address` in one HTTP/1.0 request: nothing comes in pieces then.
pub fn ask(address: &str, method: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// A text as a part of a query.
pub fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Asks again until there is an answer, no longer than a minute.
#[track_caller]
pub fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(it) = attempt() {
            return it;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that serves metrics, until the value is gone.
pub struct Watched {
    pub child: Child,
    /// Where the metrics are.
    pub metrics: String,
    /// Where the model server listens, if it is one.
    pub address: String,
}

impl Watched {
    /// The model server.
    pub fn server<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smbench"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics", "0"])
            .args(args)
            .stdout(Stdio::piped());
        let mut watched = Self::begin(&mut command);
        let mut line = String::new();
        let out = watched.child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        watched.address = address.unwrap().to_owned();
        watched
    }

    /// Starts a command that serves metrics, and reads where.
    pub fn begin(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let metrics = loop {
            let line = lines.next().unwrap().unwrap();
            let url = line.strip_prefix("metrics: http://");
            if let Some(address) = url.and_then(|it| it.strip_suffix("/metrics")) {
                break address.to_owned();
            }
        };
        // It must not wait for somebody to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            metrics,
            address: String::new(),
        }
    }

    /// The values that it shows now, by name and labels; `None` when it is gone.
    pub fn values(&self) -> Option<BTreeMap<String, f64>> {
        let answer = ask(&self.metrics, "GET", "/metrics").ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Some(values.collect())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
