//! A private Samba on loopback that lives as long as a test.
//!
//! The work is done by `scripts/samba`, which people use too; here is only its life span. A server
//! that cannot be started is an error, never a reason to skip: who asks for Samba wants it tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How the server is to behave; the default is what the captures in `tests/captures` were made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The TCP port; without one, a free one.
    pub port: Option<u16>,
    /// `server signing`: `auto`, `mandatory` or `disabled`.
    pub signing: &'static str,
    /// `server smb encrypt`: `off`, `enabled` or `required`.
    pub encrypt: &'static str,
    /// Whether unknown users become guests; without it their session setup fails.
    pub guest: bool,
    /// Most connections at a time: Samba forks a process of some 1.5 MB for each.
    pub max_processes: u32,
    /// Further `name = value` lines of the `[global]` section.
    pub extra: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: None,
            signing: "auto",
            encrypt: "enabled",
            guest: true,
            max_processes: 300,
            extra: Vec::new(),
        }
    }
}

/// A running server; dropping it stops the server and deletes its folder.
///
/// Shares: `share` (guests too), `data`, `data2`, `big`, and `secret` (encryption required).
/// Users: `smbtest alice bob carol dave erin frank user01..user20`, all with one password.
#[derive(Debug)]
pub struct PrivateSamba {
    port: u16,
    facts: BTreeMap<String, String>,
}

impl PrivateSamba {
    /// Starts a server on a free port and returns when it listens.
    ///
    /// # Errors
    ///
    /// What `scripts/samba` wrote: a missing program or right, a wrong setting, or the end of
    /// Samba's log.
    pub fn start(options: &Options) -> Result<Self, String> {
        let mut command = Command::new(script());
        command
            .arg("start")
            .args(["--signing", options.signing])
            .args(["--encrypt", options.encrypt])
            .args(["--guest", if options.guest { "yes" } else { "no" }])
            .args(["--max-processes", &options.max_processes.to_string()])
            .args(["--watch", &std::process::id().to_string()]);
        if let Some(port) = options.port {
            command.args(["--port", &port.to_string()]);
        }
        for setting in &options.extra {
            command.args(["--set", setting]);
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", script().display()))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let facts: BTreeMap<String, String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let port = facts.get("port").and_then(|port| port.parse().ok());
        let Some(port) = port else {
            return Err(format!("scripts/samba named no port: {facts:?}"));
        };
        Ok(Self { port, facts })
    }

    /// The address to connect to: loopback.
    pub fn host(&self) -> &str {
        self.fact("host")
    }

    /// The TCP port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The share open to guests and to every user.
    pub fn share(&self) -> &str {
        self.fact("share")
    }

    /// An ordinary user.
    pub fn user(&self) -> &str {
        self.fact("user")
    }

    /// A file that holds the password of all users, and nothing else.
    pub fn password_file(&self) -> PathBuf {
        self.fact("password_file").into()
    }

    /// The password of all users.
    ///
    /// # Errors
    ///
    /// The reason why [`PrivateSamba::password_file`] cannot be read.
    pub fn password(&self) -> std::io::Result<String> {
        fs::read_to_string(self.password_file())
    }

    /// Where the files of a share are, to look at them past the protocol.
    pub fn share_folder(&self, share: &str) -> PathBuf {
        Path::new(self.fact("dir")).join(share)
    }

    /// Samba's own log.
    pub fn log(&self) -> PathBuf {
        Path::new(self.fact("dir")).join("log/smbd.log")
    }

    /// Runs `smbclient` with `script` on a share; `None` is a guest.
    ///
    /// # Errors
    ///
    /// `smbclient` could not be run. Its own failures are in the output's status.
    pub fn smbclient(
        &self,
        user: Option<&str>,
        share: &str,
        script: &str,
    ) -> std::io::Result<Output> {
        let login = match user {
            Some(user) => format!("{user}%{}", self.password()?),
            None => "nobody-we-know%".to_owned(),
        };
        Command::new("smbclient")
            .args([
                "-s",
                self.fact("conf"),
                "-p",
                &self.port.to_string(),
                "-t",
                "20",
            ])
            .args([
                "-U",
                &login,
                &format!("//{}/{share}", self.host()),
                "-c",
                script,
            ])
            .stdin(Stdio::null())
            .output()
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }
}

impl Drop for PrivateSamba {
    fn drop(&mut self) {
        let stopped = Command::new(script())
            .args(["stop", self.fact("pid_file")])
            .stdin(Stdio::null())
            .status();
        if !matches!(stopped, Ok(status) if status.success()) {
            eprintln!("could not stop Samba in {}: {stopped:?}", self.fact("dir"));
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/samba")
}
