//! Prometheus's text format, by its own project's library.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{Figures, Published};

/// What all names begin with.
const PREFIX: &str = "smbench";

/// What a value is of: names and values of its labels.
pub(crate) type Labels<const N: usize> = [(&'static str, String); N];

/// Where a page comes from.
#[derive(Debug)]
pub(crate) struct Source(Registry);

impl Source {
    /// The figures that are put there.
    pub(crate) fn of<F: Figures>(published: Published<F>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Shown(published)));
        Self(registry)
    }

    /// What the page's HTTP header says that it is.
    pub(crate) const TYPE: &str = prometheus_text::CONTENT_TYPE;

    /// The page as it is now.
    pub(crate) fn page(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        prometheus_text::encode(&mut page, &self.0)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Shown<F>(Published<F>);

impl<F: Figures> Collector for Shown<F>
where
    Published<F>: Send + Sync,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let version = [("version", env!("BUILD_VERSION").to_owned())];
        page.gauges("build_info", "Which smbench this is.", [(version, 1u64)])?;
        self.0.get().write(&mut page)
    }
}

/// A page that is being written. Names are without prefix, and counters' without `_total`: both are put on here.
#[derive(Debug)]
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// What only grows.
    pub(crate) fn counters<const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values, |mut it, value| {
            it.encode_counter::<NoLabelSet, V, f64>(&value, None)
        })
    }

    /// What only grows, of which there is one.
    pub(crate) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    /// What comes and goes.
    pub(crate) fn gauges<const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, values, |mut it, value| {
            it.encode_gauge(&value)
        })
    }

    /// What comes and goes, of which there is one.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, [([], value)])
    }

    /// Times, in seconds.
    pub(crate) fn times<'t, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, &'t Times)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            values,
            |mut it, times| {
                let ends = BUCKETS_S.iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = ends.zip(times.buckets).collect();
                it.encode_histogram::<NoLabelSet>(
                    seconds(times.sum_ns),
                    times.count,
                    &buckets,
                    None,
                )
            },
        )
    }

    fn family<const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<N>, V)>,
        encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            encode(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// Seconds, as Prometheus wants times.
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Where buckets of times end, in seconds; there is one more, for all that is longer.
const BUCKETS_S: [f64; 17] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Times, counted by how long they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    buckets: [u64; BUCKETS_S.len() + 1],
    count: u64,
    sum_ns: u64,
}

impl Times {
    /// Counts one more.
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        let value = seconds(nanoseconds);
        let bucket = BUCKETS_S.partition_point(|end| *end < value);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Few(Times);

    impl Figures for Few {
        fn write(&self, page: &mut Page<'_>) -> fmt::Result {
            page.counter("frames", "Frames.", 3u64)?;
            let label = |text: &str| [("kind", text.to_owned())];
            page.gauges(
                "things",
                "Things",
                [(label("a\"b\n"), 1u64), (label("c"), 2)],
            )?;
            page.times("wait_seconds", "Waits", [([], &self.0)])
        }
    }

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut times = Times::default();
        for nanoseconds in [100_000, 100_001, 40_000_000_000] {
            times.add(nanoseconds);
        }
        let published = Published(std::sync::Arc::default());
        published.put(Few(times));
        let page = Source::of(published).page().unwrap();
        let lines: Vec<&str> = page.lines().skip(3).collect();
        let begin = [
            "# HELP smbench_frames_total Frames.",
            "# TYPE smbench_frames_total counter",
            "smbench_frames_total 3",
            "# HELP smbench_things Things",
            "# TYPE smbench_things gauge",
            "smbench_things{kind=\"a\\\"b\\n\"} 1",
            "smbench_things{kind=\"c\"} 2",
            "# HELP smbench_wait_seconds Waits",
            "# TYPE smbench_wait_seconds histogram",
        ];
        assert_eq!(lines[..begin.len()], begin);
        for line in [
            "smbench_wait_seconds_sum 40.000200001",
            "smbench_wait_seconds_count 3",
            "smbench_wait_seconds_bucket{le=\"0.0001\"} 1",
            "smbench_wait_seconds_bucket{le=\"0.00025\"} 2",
            "smbench_wait_seconds_bucket{le=\"30\"} 2",
            "smbench_wait_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(lines.contains(&line), "{line}: {page}");
        }
    }
}
