//! What ran: server, dialect, identity, settings, as a journal tells them.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::engine::RunConfig;
use smbench_core::event::{Seal, dialect_words};
use smbench_core::frame::Frame;
use smbench_core::smb2::{
    Body, Command, Message, NegotiateContext, NtStatus, Response, SecurityMode, SessionFlags,
};
use smbench_journal::Journal;
use smbench_journal::rerun::Recipe;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::facts;
use crate::verdict::{DEFAULT_COVERAGE, parse_percent};

/// What ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// `replay`, `sim`, `prepare`.
    pub(crate) verb: String,
    /// Captures that the workload was compiled from, with when they begin (UTC).
    pub(crate) captures: Vec<String>,
    /// When the captures begin, in UTC; empty where that is not known.
    pub(crate) captured_at: String,
    /// When the run began, in UTC; empty of simulations.
    pub(crate) started_at: String,
    /// The server as it was named; the model's name of simulations.
    pub(crate) server: String,
    /// The folder below the share that it ran in.
    pub(crate) root: Option<String>,
    /// Dialects that were negotiated, signing, ciphers, each with how often.
    pub(crate) protocol: Vec<(&'static str, String)>,
    /// Sessions that were let in as guest or anonymously.
    pub(crate) guests: u64,
    /// Users that the run named.
    pub(crate) users: String,
    /// Versions of tool and engine.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// Settings, by name.
    pub(crate) settings: BTreeMap<String, String>,
    /// Digest of the workload.
    pub(crate) workload: String,
    /// The command line that was given, where the journal has it.
    pub(crate) command: Option<String>,
    /// Least coverage that was asked for, 0 to 1.
    pub(crate) min_coverage: f64,
}

impl About {
    /// Of a journal.
    pub(crate) fn of(journal: &Journal, recipe: &Recipe) -> Self {
        let meta = journal.meta();
        let fact = |name: &str| meta.facts.get(name).cloned().unwrap_or_default();
        let provenance = &recipe.workload.provenance;
        let verb = fact("verb");
        let server = match verb.as_str() {
            "sim" => "the model server".to_owned(),
            _ => fact(facts::SERVER),
        };
        let root = recipe.config.tree_targets.iter();
        let root = root
            .map(|it| it.root.as_str())
            .find(|root| !root.is_empty());
        let mut versions = vec![("smbench", meta.tool_version.clone())];
        versions.extend(meta.commit.clone().map(|commit| ("commit", commit)));
        versions.push(("engine", meta.engine.to_string()));
        let asked = parse_percent(&fact(facts::MIN_COVERAGE));
        Self {
            server,
            captures: provenance
                .captures
                .iter()
                .map(|it| it.name.clone())
                .collect(),
            captured_at: utc(provenance.epoch_ns),
            started_at: meta.started_unix_ns.map(utc).unwrap_or_default(),
            // The files of a root that was prepared are below its `r`.
            root: root.map(|root| root.strip_suffix("\\r").unwrap_or(root).to_owned()),
            users: fact(facts::USERS),
            versions,
            settings: settings(&recipe.config),
            workload: meta.workload.map(|it| it.to_string()).unwrap_or_default(),
            command: meta.facts.get(facts::COMMAND).cloned(),
            min_coverage: asked.unwrap_or(DEFAULT_COVERAGE),
            verb,
            ..Self::default()
        }
    }

    /// Whether the model answered.
    pub(crate) fn is_simulation(&self) -> bool {
        self.verb == "sim"
    }

    /// Takes in what the server said of itself.
    pub(super) fn heard(&mut self, heard: Listener) {
        let list = |of: BTreeSet<String>| of.into_iter().collect::<Vec<_>>().join(", ");
        let Listener {
            dialects,
            signing,
            ciphers,
            protections,
            guests,
        } = heard;
        let told = [
            ("dialect", list(dialects)),
            ("signing", list(signing)),
            ("cipher", list(ciphers)),
            ("answers came", list(protections)),
        ];
        self.protocol = told.into_iter().filter(|(_, it)| !it.is_empty()).collect();
        self.guests = guests;
    }
}

/// Time of a day, UTC; empty for the beginning of all times.
pub(crate) fn utc(unix_ns: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(unix_ns.into());
    let moment = moment.ok().filter(|_| unix_ns > 0);
    moment
        .and_then(|it| it.format(format).ok())
        .unwrap_or_default()
}

/// Settings that people set, flat.
fn settings(config: &RunConfig) -> BTreeMap<String, String> {
    let value = serde_json::to_value(config).unwrap_or_default();
    let fields = value.as_object().cloned().unwrap_or_default();
    let fields = fields
        .into_iter()
        .filter(|(name, _)| !UNTOLD.contains(&name.as_str()));
    let told = fields.map(|(name, value)| match value {
        serde_json::Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    told.collect()
}

/// Settings that are told otherwise, or are none of a user's.
const UNTOLD: [&str; 4] = ["trees", "tree_targets", "headers", "patience"];

/// Hears what a server says of itself.
#[derive(Debug, Default)]
pub(super) struct Listener {
    dialects: BTreeSet<String>,
    signing: BTreeSet<String>,
    ciphers: BTreeSet<String>,
    protections: BTreeSet<String>,
    guests: u64,
}

impl Listener {
    /// A frame came.
    pub(super) fn frame(&mut self, frame: &Frame, seal: Seal) {
        let protection = match seal {
            Seal::Plain => "unsigned",
            Seal::Signed => "signed",
            Seal::BadSignature => "with a bad signature",
            Seal::Encrypted => "encrypted",
        };
        if !self.protections.contains(protection) {
            self.protections.insert(protection.to_owned());
        }
        for pdu in frame.pdus() {
            // What is no SMB2 is a divergence, and told as such.
            let Ok((header, bytes, cut)) = pdu else {
                return;
            };
            if !matches!(header.command, Command::NEGOTIATE | Command::SESSION_SETUP) {
                continue;
            }
            let bulk = cut.map_or(0, |cut| cut.len as usize);
            let Ok(message) = Message::decode_detached_lossy(bytes, bulk) else {
                continue;
            };
            match message.body {
                Body::Response(Response::Negotiate(it)) => {
                    self.dialects.insert(dialect_words(it.dialect_revision.0));
                    let required = it.security_mode.contains(SecurityMode::SIGNING_REQUIRED);
                    let signing = if required { "required" } else { "not required" };
                    self.signing.insert(signing.to_owned());
                    for context in &it.contexts {
                        if let NegotiateContext::Encryption { ciphers } = context {
                            self.ciphers.extend(ciphers.iter().map(ToString::to_string));
                        }
                    }
                }
                Body::Response(Response::SessionSetup(it))
                    if message.header.status == NtStatus::SUCCESS.0 =>
                {
                    let nobody = SessionFlags::IS_GUEST | SessionFlags::IS_NULL;
                    self.guests += u64::from(it.session_flags.intersects(nobody));
                }
                _ => {}
            }
        }
    }
}
