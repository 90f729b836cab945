//! A latency histogram without locks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Durations counted in fixed buckets. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Latency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.0.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The histogram under a name, for a registry.
    pub fn collector(&self, name: &'static str, help: &'static str) -> Box<dyn Collector> {
        Box::new(Named {
            latency: self.clone(),
            name,
            help,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds for display")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len() + 1);
        let bounds = BOUNDS
            .iter()
            .map(|nanos| *nanos as f64 / 1e9)
            .chain([f64::INFINITY]);
        for (bucket, bound) in self.0.buckets.iter().zip(bounds) {
            let here = bucket.load(Ordering::Relaxed);
            count += here;
            buckets.push((bound, here));
        }
        let sum = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

struct Named {
    latency: Latency,
    name: &'static str,
    help: &'static str,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Named {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metric =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        self.latency.encode(metric)
    }
}

/// Upper bounds in nanoseconds, 10 µs to 60 s.
const BOUNDS: [u64; 18] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
    20_000_000_000,
    60_000_000_000,
];
