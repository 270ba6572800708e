//! Answer times of runs on one side against those on another.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use smbench_core::smb2::Command;

use crate::results::Results;
use crate::results::rows::Side;
use crate::results::tables::{CommandTimes, Quantiles, by_command, overall};

/// Answer times of a command, of the first run of each side, and how the sides compare.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    /// `all` but CHANGE_NOTIFY, or a command.
    pub(crate) command: String,
    pub(crate) a: Quantiles,
    pub(crate) b: Quantiles,
    /// Geometric mean of the medians of B's runs over that of A's.
    pub(crate) ratio: Option<f64>,
    /// Where that ratio lies with 95 % confidence, after Welch, on logarithms; null with fewer than two runs a side.
    pub(crate) ratio_95: Option<(f64, f64)>,
}

/// Times of `a` against those of `b`, `all` first and then most answers first.
pub(crate) fn times(a: &[Results], b: &[Results]) -> Vec<Compared> {
    let sides = [a, b].map(|runs| {
        runs.iter()
            .map(|run| by_command(&run.rows, true))
            .collect::<Vec<_>>()
    });
    let [a, b] = &sides;
    let mut commands: BTreeMap<Command, u64> = BTreeMap::new();
    for times in a.iter().chain(b).flatten() {
        *commands.entry(times.command).or_default() += times.here.len();
    }
    let mut commands: Vec<(Command, u64)> = commands.into_iter().collect();
    commands.sort_by_key(|(command, count)| (std::cmp::Reverse(*count), *command));
    let all = std::iter::once(None);
    all.chain(commands.into_iter().map(|(command, _)| Some(command)))
        .filter_map(|command| {
            let of = |runs: &[Vec<CommandTimes>]| -> Vec<Histogram<u64>> {
                let times = runs.iter().map(|run| of_command(run, command));
                times.filter(|it| !it.is_empty()).collect()
            };
            let (a, b) = (of(a), of(b));
            let medians = |of: &[Histogram<u64>]| -> Vec<f64> {
                let medians = of.iter().map(|it| it.value_at_quantile(0.5));
                medians.map(|us| (us.max(1) as f64).ln()).collect()
            };
            let compared = welch(&medians(&a), &medians(&b));
            Some(Compared {
                command: command.map_or("all".to_owned(), |it| it.to_string()),
                a: Quantiles::of(a.first()?),
                b: Quantiles::of(b.first()?),
                ratio: compared.map(|(ratio, _)| ratio.exp()),
                ratio_95: compared
                    .and_then(|(_, interval)| interval)
                    .map(|(low, high)| (low.exp(), high.exp())),
            })
        })
        .collect()
}

fn of_command(run: &[CommandTimes], command: Option<Command>) -> Histogram<u64> {
    match command {
        None => overall(run, Side::Here),
        Some(command) => {
            let times = run.iter().find(|it| it.command == command);
            times.map_or_else(|| overall(&[], Side::Here), |it| it.here.clone())
        }
    }
}

/// The difference of two means, and where it lies with 95 % confidence (Welch's t interval).
fn welch(a: &[f64], b: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let difference = mean(b) - mean(a);
    if a.len() < 2 || b.len() < 2 {
        return Some((difference, None));
    }
    // Variance of each mean.
    let variance = |of: &[f64]| {
        let mean = mean(of);
        let squares: f64 = of.iter().map(|it| (it - mean).powi(2)).sum();
        squares / (of.len() - 1) as f64 / of.len() as f64
    };
    let (va, vb) = (variance(a), variance(b));
    let parts = va.powi(2) / (a.len() - 1) as f64 + vb.powi(2) / (b.len() - 1) as f64;
    // Without any spread there is nothing to divide by, and nothing to be unsure of.
    let freedom = if parts > 0.0 {
        (va + vb).powi(2) / parts
    } else {
        1.0
    };
    let half = student(freedom) * (va + vb).sqrt();
    Some((difference, Some((difference - half, difference + half))))
}

/// The 97.5th percentile of Student's t; of the next lower degree where it is not whole, which is wider.
fn student(freedom: f64) -> f64 {
    const T: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    let degrees = (1_u32..).zip(T);
    let known = degrees.take_while(|(degree, _)| f64::from(*degree) <= freedom.max(1.0));
    match known.last() {
        // Behind 30 degrees the curve is flat: 1.96 is its end.
        Some((30, t)) if freedom >= 1_000.0 => t.min(1.962),
        Some((_, t)) => t,
        None => 12.706,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_difference_and_grows_with_the_spread() {
        // R: t.test(c(2.1, 1.9, 2.0), c(1.0, 1.1, 0.9)): 0.7733 to 1.2267.
        let (difference, interval) = welch(&[1.0, 1.1, 0.9], &[2.1, 1.9, 2.0]).unwrap();
        let (low, high) = interval.unwrap();
        assert!((difference - 1.0).abs() < 1e-9);
        assert!(
            (low - 0.7733).abs() < 1e-3 && (high - 1.2267).abs() < 1e-3,
            "{low} {high}"
        );
        assert_eq!(welch(&[1.0], &[2.0]), Some((1.0, None)));
        assert_eq!(welch(&[], &[2.0]), None);
        assert_eq!(
            welch(&[1.0, 1.0], &[2.0, 2.0]),
            Some((1.0, Some((1.0, 1.0))))
        );
    }
}
