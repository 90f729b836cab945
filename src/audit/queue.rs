//! What the workers and the one writer share: places, the batch that grows, health and counters.

mod batch;

pub(super) use batch::{Batch, Waiter};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Duration, Instant};

use super::flight::{Recorder, Slot};
use super::record::{Kind, Record};
use crate::clock::{Clock, Timestamp};

/// How long anybody waits for a record to be written.
const COMMIT_WAIT: Duration = Duration::from_secs(10);

/// Why something cannot be recorded, and so must not be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The log was closed: the process is ending.
    #[error("the audit log is closed")]
    Closed,
    /// The disk does not take records, or the writer is dead.
    #[error("the audit log cannot be written")]
    Disk,
    /// No place came free in time.
    #[error("the audit queue is full")]
    QueueFull,
}

/// Whether the log takes records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// It does not. It tries again by itself, unless its writer is dead.
    Failing {
        /// Since when.
        since: Timestamp,
        /// What failed.
        reason: Arc<str>,
    },
    /// It does.
    Working,
}

/// Counters since the log was opened, and gauges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Records that are waiting to be written.
    pub queued: u64,
    /// Records written for workers.
    pub written: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs of a file that succeeded.
    pub syncs: u64,
    /// The microseconds that they took, all together.
    pub sync_micros_total: u64,
    /// Attempts to write or sync that failed.
    pub failures: u64,
    /// Requests and notes that were refused since they could not be recorded.
    pub refused: u64,
    /// Outcomes that could not be written before the process ended.
    pub lost: u64,
    /// The `seq` of the next record.
    pub next_seq: u64,
    /// How many records the latest checkpoint covers.
    pub covered: u64,
    /// For how long there have been records that no checkpoint covers.
    pub uncovered_for: Duration,
    /// How often somebody was found to have meddled with the newest files, the tree, the checkpoints
    /// or their second place, since the start.
    pub alarms: u64,
    /// Whether checkpoints do not get to the second place.
    pub second_place_failing: bool,
    /// Requests that are noted in the flight recorder.
    pub in_flight: u64,
    /// How many it can hold.
    pub flight_slots: u64,
    /// Requests of processes that had ended, which this one closed as [`Code::Unknown`].
    ///
    /// [`Code::Unknown`]: super::Code::Unknown
    pub closed_unknown: u64,
}

/// What is queued for the writer.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// Somebody waits for a record of the batch.
    pub(super) urgent: bool,
    /// The writer shall end once all is written.
    pub(super) closing: bool,
    /// The writer takes nothing any more.
    pub(super) closed: bool,
}

/// What the workers and the writer share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) admission: Duration,
    pub(super) recorder: Recorder,
    /// The version of the present configuration.
    pub(super) config: ArcSwapOption<Arc<str>>,
    pub(super) places: Semaphore,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    /// Told when the writer dies unasked.
    pub(super) died: Notify,
    /// How many records the latest checkpoint covers.
    pub(super) covered: watch::Sender<u64>,
    /// Since when there are records that none covers.
    pub(super) uncovered_since: Mutex<Option<Instant>>,
    pub(super) second_place_failing: AtomicBool,
    pub(super) counters: Counters,
    is_failing: AtomicBool,
    failing: Mutex<Option<(Timestamp, Arc<str>)>>,
}

/// [`Stats`] as they are counted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) queued: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_micros: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) next_seq: AtomicU64,
    pub(super) alarms: AtomicU64,
    pub(super) unknown: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        admission: Duration,
        places: usize,
        recorder: Recorder,
    ) -> Self {
        Self {
            clock,
            admission,
            recorder,
            config: ArcSwapOption::empty(),
            places: Semaphore::new(places),
            queue: Mutex::default(),
            wake: Condvar::new(),
            died: Notify::new(),
            covered: watch::Sender::new(0),
            uncovered_since: Mutex::new(None),
            second_place_failing: AtomicBool::new(false),
            counters: Counters::default(),
            is_failing: AtomicBool::new(false),
            failing: Mutex::new(None),
        }
    }

    /// Takes a place for one record, to be given back by the writer. Says how long that took, where
    /// there was none.
    pub(super) async fn take_place(&self) -> Result<Duration, Unavailable> {
        let result = self.try_take_place().await;
        if result.is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn try_take_place(&self) -> Result<Duration, Unavailable> {
        if self.is_failing() {
            return Err(Unavailable::Disk);
        }
        let mut waited = Duration::ZERO;
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.hurry();
                let started = Instant::now();
                let taken = tokio::time::timeout(self.admission, self.places.acquire()).await;
                waited = started.elapsed();
                match taken {
                    Ok(Ok(permit)) => permit,
                    _ if self.is_failing() => return Err(Unavailable::Disk),
                    Ok(Err(_)) => return Err(Unavailable::Closed),
                    Err(_) => return Err(Unavailable::QueueFull),
                }
            }
        };
        if self.is_failing() {
            return Err(Unavailable::Disk);
        }
        permit.forget();
        Ok(waited)
    }

    /// Has the writer write now: it gathers more while nobody waits, and of a full queue no more comes.
    fn hurry(&self) {
        let mut queue = self.queue.lock();
        if !queue.batch.is_empty() && !std::mem::replace(&mut queue.urgent, true) {
            self.wake.notify_one();
        }
    }

    /// Queues a record that nobody waits for.
    pub(super) fn push(&self, kind: Kind, record: &Record, place: bool) -> Result<(), Unavailable> {
        self.enqueue(kind, record, place, None, None)
    }

    /// Queues the outcome of a request, with the slot of its note.
    pub(super) fn push_outcome(
        &self,
        record: &Record,
        slot: Option<Slot>,
    ) -> Result<(), Unavailable> {
        self.enqueue(Kind::Request, record, true, slot, None)
    }

    /// Queues a record and waits until it is written, or durable. It is dropped if it cannot be.
    pub(super) async fn push_and_wait(
        &self,
        kind: Kind,
        record: &Record,
        place: bool,
        durable: bool,
    ) -> Result<(), Unavailable> {
        let (done, outcome) = oneshot::channel();
        let waiter = Some(Waiter { done, durable });
        let queued = self.enqueue(kind, record, place, None, waiter);
        let result = match queued {
            Ok(()) => match tokio::time::timeout(COMMIT_WAIT, outcome).await {
                // A writer that died dropped the other end.
                Ok(told) => told.unwrap_or(Err(Unavailable::Disk)),
                Err(_) => {
                    // The disk hangs. Should it write the record after all, it says what was true:
                    // the outcome that follows tells that nothing was sent.
                    self.set_failing("a write or sync has taken longer than 10 s");
                    Err(Unavailable::Disk)
                }
            },
            Err(unavailable) => Err(unavailable),
        };
        if result.is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Writes a record, by the present configuration where it does not say otherwise.
    pub(super) fn body(&self, kind: Kind, record: &Record) -> Vec<u8> {
        let present = match record.config {
            Some(_) => None,
            None => self.config.load_full(),
        };
        let present = present.as_deref().map(|version| &**version);
        record.body(kind, self.clock.now(), present)
    }

    fn enqueue(
        &self,
        kind: Kind,
        record: &Record,
        place: bool,
        slot: Option<Slot>,
        waiter: Option<Waiter>,
    ) -> Result<(), Unavailable> {
        let body = self.body(kind, record);
        let awaited = waiter.is_some();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(if self.is_failing() {
                Unavailable::Disk
            } else {
                Unavailable::Closed
            });
        }
        let wake = queue.batch.is_empty() || awaited && !queue.urgent;
        queue.urgent |= awaited;
        queue.batch.push(&body, place, slot, waiter);
        self.counters.queued.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// Says that records cannot be written; the first reason stands until they can.
    pub(super) fn set_failing(&self, reason: &str) {
        self.failing
            .lock()
            .get_or_insert_with(|| (self.clock.now(), reason.into()));
        self.is_failing.store(true, Ordering::Release);
    }

    /// Says that records can be written again.
    pub(super) fn set_working(&self) {
        *self.failing.lock() = None;
        self.is_failing.store(false, Ordering::Release);
    }

    pub(super) fn health(&self) -> Health {
        match &*self.failing.lock() {
            Some((since, reason)) => Health::Failing {
                since: *since,
                reason: Arc::clone(reason),
            },
            None => Health::Working,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let uncovered = *self.uncovered_since.lock();
        let (used, slots) = self.recorder.used();
        let long = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Stats {
            queued: read(&counters.queued),
            written: read(&counters.written),
            bytes: read(&counters.bytes),
            syncs: read(&counters.syncs),
            sync_micros_total: read(&counters.sync_micros),
            failures: read(&counters.failures),
            refused: read(&counters.refused),
            lost: read(&counters.lost),
            next_seq: read(&counters.next_seq),
            covered: *self.covered.borrow(),
            alarms: read(&counters.alarms),
            uncovered_for: uncovered.map_or(Duration::ZERO, |since| since.elapsed()),
            second_place_failing: self.second_place_failing.load(Ordering::Relaxed),
            in_flight: long(used),
            flight_slots: long(slots),
            closed_unknown: read(&counters.unknown),
        }
    }
}
