//! What the workers and the one writer share: places, the batch that grows, health and counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Duration;

use super::record::{Kind, Record};
use crate::clock::{Clock, Timestamp};

/// The memory that an emptied batch keeps.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

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
}

/// Who waits for a record.
pub(super) struct Waiter {
    pub(super) done: oneshot::Sender<Result<(), Unavailable>>,
    /// Whether for its sync, or only for its write.
    pub(super) durable: bool,
}

struct Item {
    end: usize,
    place: bool,
    waiter: Option<Waiter>,
}

/// Records in the order in which they came. A record that somebody waits for is not yet promised:
/// it is dropped when it cannot be written. All others are kept until they are.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Batch {
    /// Adds a record's body; `place` says whether it holds a place in the queue.
    pub(super) fn push(&mut self, body: &[u8], place: bool, waiter: Option<Waiter>) {
        self.bytes.extend_from_slice(body);
        self.items.push(Item {
            end: self.bytes.len(),
            place,
            waiter,
        });
    }

    /// Moves all records of `other` behind ours.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        if self.items.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let shift = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.items.extend(other.items.drain(..).map(|item| Item {
            end: item.end + shift,
            ..item
        }));
    }

    /// The bodies of the records.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let body = self.bytes.get(start..item.end).unwrap_or_default();
            start = item.end;
            body
        })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether somebody waits for a record to be durable.
    pub(super) fn is_awaited_durable(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.waiter.as_ref().is_some_and(|waiter| waiter.durable))
    }

    /// Tells all who wait that their records are written, and empties the batch. Returns the
    /// places that are free again.
    pub(super) fn succeed(&mut self) -> usize {
        let places = self.items.iter().filter(|item| item.place).count();
        for waiter in self.items.drain(..).filter_map(|item| item.waiter) {
            // Whoever went away needs no answer.
            waiter.done.send(Ok(())).ok();
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        places
    }

    /// Drops the records that somebody waits for, and tells them. Returns the places that are
    /// free again.
    pub(super) fn fail(&mut self) -> usize {
        let mut kept = Self::default();
        let mut places = 0;
        let bodies: Vec<usize> = self.items.iter().map(|item| item.end).collect();
        let starts = std::iter::once(0).chain(bodies);
        for (start, item) in starts.zip(self.items.drain(..)) {
            if let Some(waiter) = item.waiter {
                places += usize::from(item.place);
                waiter.done.send(Err(Unavailable::Disk)).ok();
            } else {
                let body = self.bytes.get(start..item.end).unwrap_or_default();
                kept.push(body, item.place, None);
            }
        }
        *self = kept;
        places
    }
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
    /// The version of the present configuration.
    pub(super) config: ArcSwapOption<Arc<str>>,
    pub(super) places: Semaphore,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    /// Told when the writer dies unasked.
    pub(super) died: Notify,
    /// How many records the latest checkpoint covers.
    pub(super) covered: watch::Sender<u64>,
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
}

impl Shared {
    pub(super) fn new(clock: Clock, admission: Duration, places: usize) -> Self {
        Self {
            clock,
            admission,
            config: ArcSwapOption::empty(),
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
            queue: Mutex::default(),
            wake: Condvar::new(),
            died: Notify::new(),
            covered: watch::Sender::new(0),
            counters: Counters::default(),
            is_failing: AtomicBool::new(false),
            failing: Mutex::new(None),
        }
    }

    /// Takes a place for one record, to be given back by the writer.
    pub(super) async fn take_place(&self) -> Result<(), Unavailable> {
        let result = self.try_take_place().await;
        if result.is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn try_take_place(&self) -> Result<(), Unavailable> {
        if self.is_failing() {
            return Err(Unavailable::Disk);
        }
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(self.admission, self.places.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ if self.is_failing() => return Err(Unavailable::Disk),
                Ok(Err(_)) => return Err(Unavailable::Closed),
                Err(_) => return Err(Unavailable::QueueFull),
            },
        };
        if self.is_failing() {
            return Err(Unavailable::Disk);
        }
        permit.forget();
        Ok(())
    }

    /// Queues a record that nobody waits for.
    pub(super) fn push(&self, kind: Kind, record: &Record, place: bool) -> Result<(), Unavailable> {
        self.enqueue(kind, record, place, None)
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
        let queued = self.enqueue(kind, record, place, Some(Waiter { done, durable }));
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
        queue.batch.push(&body, place, waiter);
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
        }
    }
}
