//! What the model server shows.

use std::collections::BTreeMap;
use std::fmt;

use smbench_core::smb2::{Command, SEVERITIES};
use smbench_live::listener::{Ending, ServeStats, Serving};
use smbench_sim::ModelService;
use smbench_sim::server::{Counters, Limit};

use super::Figures;
use super::text::Page;

/// The server as it is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerFigures {
    connections: u64,
    opens: u64,
    incoming_bytes: u64,
    unsent_bytes: u64,
    stats: ServeStats,
    counters: Counters,
    answers: Vec<(Command, usize, u64)>,
    limits: BTreeMap<Limit, u64>,
}

impl ServerFigures {
    /// Puts together what is known.
    pub(crate) fn of(serving: &Serving<'_, ModelService>) -> Self {
        let server = serving.service.server();
        Self {
            connections: serving.connections,
            opens: server.open_count() as u64,
            incoming_bytes: serving.incoming_bytes,
            unsent_bytes: serving.unsent_bytes,
            stats: serving.stats.clone(),
            counters: server.counters(),
            answers: server.answers().collect(),
            limits: server.limits_reached().clone(),
        }
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let stats = &self.stats;
        page.gauge(
            "server_connections",
            "Connections that are open.",
            self.connections,
        )?;
        page.counter(
            "server_connections_accepted",
            "Connections that were accepted.",
            stats.accepted,
        )?;
        page.counter(
            "server_accept_failures",
            "Attempts to accept that failed.",
            stats.accept_failures,
        )?;
        let mut ended: BTreeMap<&str, u64> = BTreeMap::new();
        for (ending, count) in &stats.ended {
            *ended.entry(word(*ending)).or_default() += count;
        }
        let ended = ended.into_iter();
        page.counters(
            "server_connections_ended",
            "Connections that ended, by reason.",
            ended.map(|(reason, count)| ([("reason", reason.to_owned())], count)),
        )?;
        page.counter(
            "server_received_bytes",
            "Bytes of frames that were received.",
            stats.bytes_in,
        )?;
        page.counter(
            "server_sent_bytes",
            "Bytes of frames that were sent.",
            stats.bytes_out,
        )?;
        page.counter(
            "server_received_frames",
            "Frames that were received.",
            stats.frames_in,
        )?;
        page.counter(
            "server_sent_frames",
            "Frames that were sent.",
            stats.frames_out,
        )?;
        page.gauge(
            "server_incoming_bytes",
            "Bytes of frames on their way in.",
            self.incoming_bytes,
        )?;
        page.gauge(
            "server_unsent_bytes",
            "Bytes of answers that have not left.",
            self.unsent_bytes,
        )
    }
}

impl Figures for ServerFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self.connections(page)?;
        page.gauge(
            "server_opens",
            "Opens, those of durable handles without a client among them.",
            self.opens,
        )?;
        let answers = self.answers.iter().filter(|(.., count)| *count > 0);
        page.counters(
            "server_answers",
            "Final answers, by the severity of their status (MS-ERREF 2.3).",
            answers.map(|(command, severity, count)| {
                let severity = SEVERITIES.get(*severity).copied().unwrap_or("unknown");
                let labels = [
                    ("command", command.to_string()),
                    ("severity", severity.to_owned()),
                ];
                (labels, *count)
            }),
        )?;
        page.counter(
            "server_breaks",
            "Break notifications that were sent.",
            self.counters.breaks,
        )?;
        page.counter(
            "server_breaks_timed_out",
            "Breaks that nobody acknowledged in time.",
            self.counters.breaks_timed_out,
        )?;
        let limits = self.limits.iter();
        page.counters(
            "server_limits_reached",
            "Times that a limit was reached, by what there was too much of.",
            limits.map(|(limit, count)| ([("limit", limit.describe().to_owned())], *count)),
        )
    }
}

/// Why a connection ended, in a word.
const fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Network(_) => "network",
        Ending::Service => "service",
        Ending::Stalled => "stalled",
        Ending::Crowded => "crowded",
        Ending::StrangerFrame => "stranger_frame",
        Ending::Unread => "unread",
        Ending::Displaced => "displaced",
    }
}
