//! How far each sink has come, for operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Duration;

use crate::clock::Timestamp;

/// How far a sink has come, and what became of records on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkStats {
    /// The sink.
    pub name: Arc<str>,
    /// Records in the log that the sink is not known to have.
    pub lag: u64,
    /// The age of the oldest record that is being sent; nothing while none is.
    pub age: Duration,
    /// Records that the sink took, since the start.
    pub sent: u64,
    /// Attempts that failed, since the start.
    pub failures: u64,
    /// Records that were put aside since the sink refused them, since the start.
    pub set_aside: u64,
    /// Records that should have been in the log and were not, since the start.
    pub missing: u64,
    /// Whether the last attempt failed.
    pub is_failing: bool,
}

/// What a sink's runner counts.
#[derive(Debug, Default)]
pub(super) struct Progress {
    name: Arc<str>,
    pub(super) stored: AtomicU64,
    /// The stamp of the oldest record that is being sent, in microseconds; 0: none is.
    pub(super) oldest: AtomicI64,
    pub(super) sent: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) set_aside: AtomicU64,
    pub(super) missing: AtomicU64,
    pub(super) is_failing: AtomicBool,
}

impl Progress {
    pub(super) fn new(name: &str, stored: u64) -> Self {
        Self {
            name: Arc::from(name),
            stored: AtomicU64::new(stored),
            ..Self::default()
        }
    }

    fn stats(&self, covered: u64, now: Timestamp) -> SinkStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let age = match self.oldest.load(Ordering::Relaxed) {
            0 => 0,
            oldest => u64::try_from(now.0.saturating_sub(oldest)).unwrap_or(0),
        };
        SinkStats {
            name: Arc::clone(&self.name),
            lag: covered.saturating_sub(count(&self.stored)),
            age: Duration::from_micros(age),
            sent: count(&self.sent),
            failures: count(&self.failures),
            set_aside: count(&self.set_aside),
            missing: count(&self.missing),
            is_failing: self.is_failing.load(Ordering::Relaxed),
        }
    }
}

/// The progress of all sinks of a log.
#[derive(Debug, Default)]
pub(in crate::audit) struct Board(Mutex<Vec<Arc<Progress>>>);

impl Board {
    pub(super) fn add(&self, progress: &Arc<Progress>) {
        self.0.lock().push(Arc::clone(progress));
    }

    pub(in crate::audit) fn stats(&self, covered: u64, now: Timestamp) -> Vec<SinkStats> {
        let sinks = self.0.lock();
        sinks.iter().map(|it| it.stats(covered, now)).collect()
    }
}
