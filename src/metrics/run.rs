//! What a run shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use smbench_core::engine::{Engine, Load, Recorded};
use smbench_core::event::{Lateness, NetFailure, Report, SkipReason};
use smbench_core::ids::OpId;
use smbench_core::smb2::{Command, SEVERITIES};
use smbench_journal::WriterStats;
use smbench_live::{Metrics, Sight, Standing};

use super::Figures;
use super::text::{Page, Times, seconds};
use crate::finding::Kind;
use crate::live_run::KnownUsers;
use crate::tally::Tally;

/// What is counted of one command.
#[derive(Clone, Copy, Debug, Default)]
struct OfCommand {
    sent: u64,
    /// Answers by severity.
    answers: [u64; SEVERITIES.len()],
    times: Times,
}

/// What is counted report by report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted(BTreeMap<Command, OfCommand>);

impl Counted {
    /// Takes a report in.
    pub(crate) fn report(&mut self, report: &Report, recorded: &Recorded) {
        let of = |op: OpId| recorded.get(op).map(|it| it.command);
        match report {
            Report::Started { op, .. } => {
                if let Some(command) = of(*op) {
                    self.0.entry(command).or_default().sent += 1;
                }
            }
            Report::Finished {
                op,
                outcome,
                latency_ns,
            } => {
                if let Some(command) = of(*op) {
                    let it = self.0.entry(command).or_default();
                    it.times.add(*latency_ns);
                    if let Some(count) = it.answers.get_mut(outcome.status.severity()) {
                        *count += 1;
                    }
                }
            }
            _ => {}
        }
    }
}

/// A run as it is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFigures {
    operations: u64,
    counted: Counted,
    found: BTreeMap<Kind, u64>,
    consequences: u64,
    not_sent: BTreeMap<&'static str, u64>,
    late: Lateness,
    load: Load,
    traffic: Traffic,
    journal: WriterStats,
    /// Sessions and users that were let in.
    standings: BTreeMap<Standing, (u64, u64)>,
}

/// What the driver counted.
#[derive(Clone, Debug, Default)]
struct Traffic {
    bytes: [u64; 2],
    frames: [u64; 2],
    unsent_bytes: u64,
    unheard: u64,
    send_stalls: u64,
    connects: u64,
    connect_failures: BTreeMap<NetFailure, u64>,
    losses: BTreeMap<NetFailure, u64>,
}

impl RunFigures {
    /// Puts together what is known.
    pub(crate) fn of(
        counted: &Counted,
        tally: &Tally,
        sight: &Sight<'_, Engine>,
        journal: WriterStats,
        known: &KnownUsers,
    ) -> Self {
        let Metrics {
            bytes_sent,
            bytes_received,
            frames_sent,
            frames_received,
            send_stalls,
            connects,
            connect_failures,
            losses,
            standings,
            ..
        } = sight.metrics;
        let mut not_sent: BTreeMap<&str, u64> =
            SkipReason::ALL.iter().map(|it| (it.name(), 0)).collect();
        for (reason, count) in tally.skipped.iter().chain(&tally.refused) {
            *not_sent.entry(reason).or_default() += count;
        }
        let mut by_standing: BTreeMap<Standing, (u64, BTreeSet<Option<&str>>)> = BTreeMap::new();
        for (session, standing) in standings {
            let (sessions, users) = by_standing.entry(*standing).or_default();
            *sessions += 1;
            users.insert(known.sessions.get(session).map(|it| it.user.as_str()));
        }
        let by_standing = by_standing.into_iter();
        Self {
            operations: tally.recorded().requests(),
            counted: counted.clone(),
            found: tally.found.clone(),
            consequences: tally.cascaded_count(),
            not_sent,
            late: tally.late_by(),
            load: sight.machine.load(),
            traffic: Traffic {
                bytes: [*bytes_sent, *bytes_received],
                frames: [*frames_sent, *frames_received],
                unsent_bytes: sight.unsent_bytes,
                unheard: sight.unheard,
                send_stalls: *send_stalls,
                connects: *connects,
                connect_failures: connect_failures.clone(),
                losses: losses.clone(),
            },
            journal,
            standings: by_standing
                .map(|(standing, (sessions, users))| (standing, (sessions, users.len() as u64)))
                .collect(),
        }
    }

    fn operations(&self, page: &mut Page<'_>) -> fmt::Result {
        let command = |it: &Command| [("command", it.to_string())];
        let all = &self.counted.0;
        page.gauge(
            "run_operations",
            "Requests that the workload holds.",
            self.operations,
        )?;
        page.gauge(
            "run_operations_left",
            "Operations that are not over.",
            self.load.unsettled,
        )?;
        let sent = all.iter().map(|(it, of)| (command(it), of.sent));
        page.counters("run_requests_sent", "Requests that were sent.", sent)?;
        let answers = all.iter().flat_map(|(it, of)| {
            let by_severity = SEVERITIES.iter().zip(of.answers);
            by_severity.map(move |(severity, count)| {
                let [label] = command(it);
                ([label, ("severity", (*severity).to_owned())], count)
            })
        });
        page.counters(
            "run_answers",
            "Final answers, by the severity of their status (MS-ERREF 2.3).",
            answers,
        )?;
        let times = all.iter().map(|(it, of)| (command(it), &of.times));
        page.times(
            "run_answer_time_seconds",
            "Time from a request to its final answer.",
            times,
        )
    }

    fn differences(&self, page: &mut Page<'_>) -> fmt::Result {
        let kinds = Kind::ALL.into_iter().map(|kind| {
            let count = match kind {
                Kind::Consequence => self.consequences,
                _ => self.found.get(&kind).copied().unwrap_or_default(),
            };
            ([("kind", kind.words().replace(' ', "_"))], count)
        });
        page.counters(
            "run_divergences",
            "What is not as recorded, by what it is to a user.",
            kinds,
        )?;
        let reasons = self.not_sent.iter();
        let reasons = reasons.map(|(reason, count)| ([("reason", (*reason).to_owned())], *count));
        page.counters(
            "run_operations_not_sent",
            "Operations that were left out, by reason.",
            reasons,
        )
    }

    fn load(&self, page: &mut Page<'_>) -> fmt::Result {
        let Load {
            connections,
            in_flight,
            queued,
            credits,
            ..
        } = self.load;
        page.gauge(
            "run_requests_in_flight",
            "Requests on the wire without a final answer.",
            in_flight,
        )?;
        page.gauge(
            "run_operations_queued",
            "Operations that are due and wait for a connection, a login or credits.",
            queued,
        )?;
        page.gauge(
            "run_credits",
            "Credits that the server has granted and no request has taken.",
            credits,
        )?;
        page.gauge("run_connections", "Connections that are open.", connections)?;
        let Lateness {
            causality_ns,
            credits_ns,
            server_ns,
            replayer_ns,
            breaks_ns,
        } = self.late;
        let causes = [
            ("causality", causality_ns),
            ("credits", credits_ns),
            ("server", server_ns),
            ("breaks", breaks_ns),
            ("replayer", replayer_ns),
        ];
        let causes = causes.map(|(name, ns)| ([("cause", name.to_owned())], seconds(ns)));
        page.counters(
            "run_lateness_seconds",
            "How much later than recorded requests were sent, added up, by what they waited for.",
            causes,
        )?;
        // None of a kind is none, too.
        let standings = Standing::ALL.map(|standing| {
            let let_in = self.standings.get(&standing).copied().unwrap_or_default();
            ([("standing", standing.name().to_owned())], let_in)
        });
        let sessions = standings.clone().map(|(label, (count, _))| (label, count));
        page.gauges(
            "run_sessions",
            "Sessions that were let in, by as whom.",
            sessions,
        )?;
        let users = standings.map(|(label, (_, count))| (label, count));
        page.gauges(
            "run_users",
            "Different users of the sessions that were let in, by as whom.",
            users,
        )
    }

    fn traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let it = &self.traffic;
        let [bytes_sent, bytes_received] = it.bytes;
        page.counter(
            "run_sent_bytes",
            "Bytes of frames that were sent.",
            bytes_sent,
        )?;
        page.counter(
            "run_received_bytes",
            "Bytes of frames that were received.",
            bytes_received,
        )?;
        let [frames_sent, frames_received] = it.frames;
        page.counter("run_sent_frames", "Frames that were sent.", frames_sent)?;
        page.counter(
            "run_received_frames",
            "Frames that were received.",
            frames_received,
        )?;
        page.gauge(
            "run_unsent_bytes",
            "Bytes of frames that have not left.",
            it.unsent_bytes,
        )?;
        page.gauge(
            "run_unheard_events",
            "Frames and ends of connections that wait to be handled.",
            it.unheard,
        )?;
        page.counter(
            "run_send_stalls",
            "Times that a connection took no more frames.",
            it.send_stalls,
        )?;
        page.counter("run_connects", "Connections that were opened.", it.connects)?;
        let reasons = |of: &BTreeMap<NetFailure, u64>| {
            REASONS.map(|(reason, word)| {
                let count = of.get(&reason).copied().unwrap_or_default();
                ([("reason", word.to_owned())], count)
            })
        };
        page.counters(
            "run_connect_failures",
            "Connections that could not be opened, by reason.",
            reasons(&it.connect_failures),
        )?;
        page.counters(
            "run_connections_lost",
            "Connections that ended unasked, by reason.",
            reasons(&it.losses),
        )
    }

    fn journal(&self, page: &mut Page<'_>) -> fmt::Result {
        let it = &self.journal;
        page.counter(
            "run_journal_events",
            "Events that the journal has stored.",
            it.events,
        )?;
        page.counter(
            "run_journal_bytes",
            "Bytes that the journal has stored.",
            it.stored_bytes,
        )?;
        page.counter(
            "run_journal_stalls",
            "Times that the run waited for the journal.",
            it.stalls,
        )?;
        page.counter(
            "run_journal_stall_seconds",
            "How long the run waited for the journal.",
            seconds(it.stall_ns),
        )
    }
}

impl Figures for RunFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self.operations(page)?;
        self.differences(page)?;
        self.load(page)?;
        self.traffic(page)?;
        self.journal(page)
    }
}

/// Why connections fail, as labels have it.
const REASONS: [(NetFailure, &str); 7] = [
    (NetFailure::Eof, "eof"),
    (NetFailure::Reset, "reset"),
    (NetFailure::Refused, "refused"),
    (NetFailure::TimedOut, "timed_out"),
    (NetFailure::Unreachable, "unreachable"),
    (NetFailure::Protocol, "protocol"),
    (NetFailure::Local, "local"),
];
