//! Thresholds: `READ.p99 < 20ms`.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::smb2::Command;

use crate::report::time;
use crate::results::rows::Side;
use crate::results::tables::{CommandTimes, overall};
use crate::tally::Summary;
use crate::verdict::percent;

/// What must hold of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// As it was written.
    text: String,
    of: Measured,
    is: Comparison,
    limit: Limit,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measured {
    /// An answer time, of a command or of all of them.
    Time(Option<Command>, Statistic),
    /// Answers a second.
    Rate,
    /// Share of the recorded answers that was compared.
    Coverage,
    /// Operations that differ.
    Differences,
}

/// Of many times one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Percentile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// Microseconds.
    Time(f64),
    /// So many times what was recorded.
    TimesRecorded(f64),
    /// A plain number; of coverage a share from 0 to 1.
    Number(f64),
}

/// A threshold, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// As it was written.
    pub(crate) threshold: String,
    /// What was measured, in words; null where there was nothing to measure.
    pub(crate) value: Option<String>,
    pub(crate) holds: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.holds { '✓' } else { '✗' };
        let value = self.value.as_deref().unwrap_or("nothing to measure");
        write!(f, "{mark} {}: {value}", self.threshold)
    }
}

/// What thresholds look at.
pub(crate) struct Measures<'a> {
    pub(crate) summary: &'a Summary,
    pub(crate) commands: &'a [CommandTimes],
    /// What the recorded side is: a recording, or another run.
    pub(crate) baseline: &'static str,
}

impl Threshold {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| EXAMPLE.to_owned())?;
        let (of, rest) = text.split_at(at);
        let (is, limit) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Comparison::AtMost, rest.get(2..)),
            [b'>', b'=', ..] => (Comparison::AtLeast, rest.get(2..)),
            [b'<', ..] => (Comparison::Less, rest.get(1..)),
            _ => (Comparison::More, rest.get(1..)),
        };
        let of = measured(of.trim())?;
        let limit = limit_of(limit.unwrap_or_default().trim())?;
        let fits = match of {
            Measured::Time(..) => !matches!(limit, Limit::Number(_)),
            Measured::Rate | Measured::Coverage | Measured::Differences => {
                matches!(limit, Limit::Number(_))
            }
        };
        if !fits {
            return Err(match of {
                Measured::Time(..) => {
                    "a time needs a unit (us, ms, s), or say how many times: 1.2x recorded"
                }
                _ => "this is compared with a plain number, or a percentage",
            }
            .to_owned());
        }
        Ok(Self {
            text: text.trim().to_owned(),
            of,
            is,
            limit,
        })
    }

    /// Whether it holds. Where there is nothing to measure it does not: a threshold that looked at nothing is no
    /// green one.
    pub(crate) fn check(&self, of: &Measures<'_>) -> Checked {
        let (value, limit) = match self.of {
            Measured::Time(command, statistic) => {
                let here = times(of.commands, command, Side::Here);
                let recorded = times(of.commands, command, Side::Recorded);
                let value = statistic.of(&here);
                let limit = match self.limit {
                    Limit::TimesRecorded(times) => statistic.of(&recorded).map(|it| it * times),
                    Limit::Time(us) | Limit::Number(us) => Some(us),
                };
                return self.told(value, limit, |us| {
                    let recorded = statistic.of(&recorded).filter(|it| *it > 0.0);
                    let ratio = recorded.map(|it| format!(", {:.2}x {}", us / it, of.baseline));
                    format!("{}{}", micros(us), ratio.unwrap_or_default())
                });
            }
            Measured::Rate => (Some(of.summary.ops_per_s), self.number()),
            Measured::Coverage => {
                return self.told(of.summary.coverage, self.number(), percent);
            }
            Measured::Differences => {
                let all: u64 = of.summary.found.values().sum();
                let some = of.summary.funnel.compared > 0;
                (some.then_some(all as f64), self.number())
            }
        };
        self.told(value, limit, |value| format!("{value}"))
    }

    const fn number(&self) -> Option<f64> {
        match self.limit {
            Limit::Number(number) => Some(number),
            Limit::Time(_) | Limit::TimesRecorded(_) => None,
        }
    }

    fn told(
        &self,
        value: Option<f64>,
        limit: Option<f64>,
        words: impl FnOnce(f64) -> String,
    ) -> Checked {
        let holds = match (value, limit) {
            (Some(value), Some(limit)) => match self.is {
                Comparison::Less => value < limit,
                Comparison::AtMost => value <= limit,
                Comparison::More => value > limit,
                Comparison::AtLeast => value >= limit,
            },
            _ => false,
        };
        Checked {
            threshold: self.text.clone(),
            value: value.map(words),
            holds,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are not negative; more than fits is the most that fits"
)]
fn micros(us: f64) -> String {
    time(us as u64)
}

const EXAMPLE: &str = "say what, how and how much, like 'READ.p99 < 20ms', 'p99 < 1.2x recorded', 'rate > 500', \
                       'coverage >= 95%' or 'differences < 1'";

fn times(commands: &[CommandTimes], command: Option<Command>, side: Side) -> Histogram<u64> {
    match command {
        None => overall(commands, side),
        Some(command) => {
            let of = commands.iter().find(|it| it.command == command);
            of.map_or_else(|| overall(&[], side), |it| it.side(side).clone())
        }
    }
}

impl Statistic {
    fn of(self, times: &Histogram<u64>) -> Option<f64> {
        let some = !times.is_empty();
        some.then(|| match self {
            Self::Percentile(at) => times.value_at_quantile(at / 100.0) as f64,
            Self::Mean => times.mean(),
            Self::Max => times.max() as f64,
        })
    }
}

fn measured(text: &str) -> Result<Measured, String> {
    match text {
        "rate" => return Ok(Measured::Rate),
        "coverage" => return Ok(Measured::Coverage),
        "differences" => return Ok(Measured::Differences),
        _ => {}
    }
    let (command, statistic) = match text.split_once('.') {
        // `p99.9` is no command.
        Some((command, _)) if command.starts_with('p') => (None, text),
        Some((command, statistic)) => (Some(command), statistic),
        None => (None, text),
    };
    let command = command.map(command_of).transpose()?;
    let statistic = match statistic {
        "avg" | "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        "med" => Statistic::Percentile(50.0),
        _ => {
            let number = statistic.strip_prefix('p');
            let number = number.and_then(|it| it.parse::<f64>().ok());
            let number = number.filter(|it| (0.0..=100.0).contains(it));
            let number =
                number.ok_or_else(|| format!("{text} is nothing that is measured: {EXAMPLE}"))?;
            Statistic::Percentile(number)
        }
    };
    Ok(Measured::Time(command, statistic))
}

/// A command by its name in [MS-SMB2] 2.2.1.2.
fn command_of(name: &str) -> Result<Command, String> {
    let name = name.to_uppercase();
    let known = (0..=0x12).map(Command);
    let mut known = known.filter(|it| it.to_string() == name);
    known
        .next()
        .ok_or_else(|| format!("{name} is no command of SMB2: say READ, CREATE, QUERY_INFO, ..."))
}

fn limit_of(text: &str) -> Result<Limit, String> {
    let bad = || format!("{text} is no limit: {EXAMPLE}");
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| bad())?;
    Ok(match unit.trim() {
        "us" | "µs" => Limit::Time(number),
        "ms" => Limit::Time(number * 1e3),
        "s" => Limit::Time(number * 1e6),
        "" => Limit::Number(number),
        "%" => Limit::Number(number / 100.0),
        "x" | "x recorded" | "× recorded" | "x A" => Limit::TimesRecorded(number),
        _ => return Err(bad()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_they_are_written() {
        let read = |text| Threshold::parse(text).map(|it| (it.of, it.is, it.limit));
        let p = |command, at| Measured::Time(command, Statistic::Percentile(at));
        assert_eq!(
            read("READ.p99 < 20ms"),
            Ok((
                p(Some(Command::READ), 99.0),
                Comparison::Less,
                Limit::Time(20_000.0)
            ))
        );
        assert_eq!(
            read("p99.9<=1.2x recorded"),
            Ok((p(None, 99.9), Comparison::AtMost, Limit::TimesRecorded(1.2)))
        );
        assert_eq!(
            read("coverage >= 95%"),
            Ok((Measured::Coverage, Comparison::AtLeast, Limit::Number(0.95)))
        );
        assert_eq!(
            read("query_info.max < 1 s"),
            Ok((
                Measured::Time(Some(Command::QUERY_INFO), Statistic::Max),
                Comparison::Less,
                Limit::Time(1e6)
            ))
        );
        for bad in [
            "",
            "p99",
            "p99 < ",
            "p99 < 20",
            "p101 < 1ms",
            "FOO.p99 < 1ms",
            "rate > 5ms",
            "coverage > 2x",
            "p99 = 1ms",
            "p99 < 1h",
            "READ. < 1ms",
            "p99 < -1ms",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
