//! The one thread that writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::fault::{Fault, OpenError};
use super::flight::Sweeper;
use super::log::Log;
use super::queue::{Batch, Health, Queue, Shared, Unavailable, Waiter};
use super::record::{Kind, Record};

/// How long records that nobody waits for may gather before they are written.
const GATHER: Duration = Duration::from_millis(4);
/// How long written records may be without a sync, and how often an idle log is looked after.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How many bytes may be without a sync.
const SYNC_BYTES: usize = 8 * 1024 * 1024;
/// How often files are looked for that processes which ended left in the flight recorder.
const SWEEP_EVERY: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// How often to try again when the process wants to end.
const LAST_TRIES: u32 = 8;
/// How long the end of the process waits for the disk.
const CLOSE_WAIT: Duration = Duration::from_secs(30);
/// How often it looks.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// Holds the writer's thread; the log is closed when this is.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        shared: Arc<Shared>,
        log: Log,
        sweeper: Sweeper,
    ) -> Result<Self, OpenError> {
        let worker = Worker {
            shared: Arc::clone(&shared),
            log,
            sweeper,
            swept: Instant::now(),
            stood: Instant::now(),
            pending: Batch::default(),
            last_tries: 0,
            orderly: false,
        };
        worker.publish_counts();
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || worker.run())
            .map_err(OpenError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Writes and syncs all that is queued, then ends the thread. Blocks until that is done, two
    /// seconds or so when the disk fails. Entries that are still open lose their outcome.
    ///
    /// # Errors
    /// [`Unavailable::Disk`] when records were lost.
    pub fn close(mut self) -> Result<(), Unavailable> {
        let ended = self.end();
        match self.shared.health() {
            Health::Working if ended => Ok(()),
            Health::Failing { .. } | Health::Working => Err(Unavailable::Disk),
        }
    }

    /// Says whether the thread has come to its end. One that hangs in a call to the disk is left
    /// behind, so that the process can end.
    fn end(&mut self) -> bool {
        let Some(thread) = self.thread.take() else {
            return true;
        };
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > CLOSE_WAIT {
                tracing::error!("the audit writer hangs: records may be lost");
                return false;
            }
            std::thread::sleep(CLOSE_PAUSE);
        }
        if thread.join().is_err() {
            tracing::error!("the audit writer panicked");
        }
        true
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker {
    shared: Arc<Shared>,
    log: Log,
    sweeper: Sweeper,
    /// When it was looked for files of the dead.
    swept: Instant,
    /// When it was looked for our own.
    stood: Instant,
    /// What was taken from the queue and is not written yet.
    pending: Batch,
    last_tries: u32,
    /// Set at a planned end; a panic leaves it unset.
    orderly: bool,
}

/// Whether the process is ending.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Closing,
    Over,
    Serving,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.gather() {
                Phase::Over => break,
                phase => {
                    self.commit(phase);
                    self.sweep(phase);
                }
            }
        }
        if !self.shared.is_failing() {
            self.log.finish();
            self.publish_counts();
        }
        self.shared.recorder.end();
        self.orderly = true;
    }

    /// Waits for something to do, and takes what is queued.
    fn gather(&mut self) -> Phase {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue.lock();
        if shared.is_failing() {
            let was_closing = queue.closing;
            shared
                .wake
                .wait_while_for(&mut queue, |queue| queue.closing == was_closing, RETRY);
        } else {
            let nothing = |queue: &mut Queue| queue.batch.is_empty() && !queue.closing;
            shared
                .wake
                .wait_while_for(&mut queue, nothing, self.idle_time());
            if !queue.batch.is_empty() {
                let unhurried = |queue: &mut Queue| !queue.urgent && !queue.closing;
                shared.wake.wait_while_for(&mut queue, unhurried, GATHER);
            }
        }
        queue.urgent = false;
        self.pending.absorb(&mut queue.batch);
        if !queue.closing {
            return Phase::Serving;
        }
        let done = self.pending.is_empty() && self.log.unsynced_since().is_none();
        if done && !shared.is_failing() || self.last_tries >= LAST_TRIES {
            queue.closed = true;
            return Phase::Over;
        }
        Phase::Closing
    }

    fn idle_time(&self) -> Duration {
        let passed = self.log.unsynced_since().map(|since| since.elapsed());
        let until_sync = SYNC_EVERY.saturating_sub(passed.unwrap_or_default());
        self.log.until_due().unwrap_or(SYNC_EVERY).min(until_sync)
    }

    fn commit(&mut self, phase: Phase) {
        let failing = self.shared.is_failing();
        let grounded = self.stand(phase, failing).err();
        if failing && grounded.is_none() {
            self.push_probe();
        }
        let due = self
            .log
            .unsynced_since()
            .is_some_and(|since| since.elapsed() >= SYNC_EVERY)
            || self.log.unsynced_bytes() >= SYNC_BYTES;
        let durable =
            due || failing || phase == Phase::Closing || self.pending.is_awaited_durable();
        self.shared.recorder.writing_from(self.log.next());
        match self.log.commit(&self.pending, durable) {
            Ok(()) => self.succeed(failing, grounded),
            Err(fault) => self.fail(phase, failing, &fault),
        }
    }

    /// Looks after the flight recorder's file. Without one nothing is sent any more; what was
    /// promised is still written.
    fn stand(&mut self, phase: Phase, failing: bool) -> Result<(), Fault> {
        if phase == Phase::Closing || !failing && self.stood.elapsed() < SYNC_EVERY {
            return Ok(());
        }
        self.stood = Instant::now();
        let Some(lost) = self.shared.recorder.stand(self.shared.clock.now())? else {
            return Ok(());
        };
        tracing::error!(
            lost,
            "the flight recorder was meddled with; another takes its place"
        );
        let record = Record::event("audit.flight_lost", lost);
        let body = self.shared.body(Kind::Admin, &record);
        self.pending.push(&body, false, None, None);
        self.shared.counters.queued.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the requests of processes that shared the directory and have ended.
    fn sweep(&mut self, phase: Phase) {
        let due = self.swept.elapsed() >= SWEEP_EVERY && phase == Phase::Serving;
        if !due || self.shared.is_failing() {
            return;
        }
        self.swept = Instant::now();
        let own = self.shared.recorder.path();
        match self.sweeper.go_on(&mut self.log, &own) {
            Ok(closed) => {
                let unknown = &self.shared.counters.unknown;
                unknown.fetch_add(closed, Ordering::Relaxed);
                self.publish_counts();
            }
            Err(error) => {
                tracing::error!(%error, "requests of a process that ended cannot be closed yet");
            }
        }
    }

    fn succeed(&mut self, was_failing: bool, grounded: Option<Fault>) {
        let written = self.count_pending();
        let shared = &self.shared;
        shared
            .counters
            .written
            .fetch_add(written, Ordering::Relaxed);
        shared.counters.queued.fetch_sub(written, Ordering::Relaxed);
        self.publish_counts();
        // Those who waited too long for this commit may have called it a failure.
        if let Some(fault) = grounded {
            shared.counters.failures.fetch_add(1, Ordering::Relaxed);
            if !was_failing {
                tracing::error!(error = %fault, "nothing can be noted in the flight recorder: requests are refused");
            }
            shared.set_failing(&fault.to_string());
        } else if was_failing || shared.is_failing() {
            tracing::info!("the audit log can be written again");
            shared.set_working();
        }
        let places = self.pending.succeed(&shared.recorder);
        shared.places.add_permits(places);
    }

    fn fail(&mut self, phase: Phase, was_failing: bool, fault: &Fault) {
        let before = self.count_pending();
        let shared = &self.shared;
        shared.counters.failures.fetch_add(1, Ordering::Relaxed);
        if !was_failing {
            tracing::error!(error = %fault, "the audit log cannot be written: requests are refused");
        }
        // Before anybody learns of it, so that nobody begins anew.
        shared.set_failing(&fault.to_string());
        shared.places.add_permits(self.pending.fail());
        let dropped = before - self.count_pending();
        self.shared
            .counters
            .queued
            .fetch_sub(dropped, Ordering::Relaxed);
        if phase == Phase::Closing {
            self.last_tries += 1;
        }
    }

    /// Adds a record which shows that the disk works again, and tells what was not recorded.
    /// Nobody hears of it, but as one that is awaited it is dropped if the disk still fails.
    fn push_probe(&mut self) {
        let (done, _) = oneshot::channel();
        let detail = format!("{} refused since the start", self.shared.stats().refused);
        let body = self
            .shared
            .body(Kind::Admin, &Record::event("audit.recovered", detail));
        self.pending.push(
            &body,
            false,
            None,
            Some(Waiter {
                done,
                durable: true,
            }),
        );
        self.shared.counters.queued.fetch_add(1, Ordering::Relaxed);
    }

    fn count_pending(&self) -> u64 {
        u64::try_from(self.pending.len()).unwrap_or(u64::MAX)
    }

    fn publish_counts(&self) {
        let (counts, counters) = (self.log.counts(), &self.shared.counters);
        counters.bytes.store(counts.bytes, Ordering::Relaxed);
        counters.syncs.store(counts.syncs, Ordering::Relaxed);
        counters
            .sync_micros
            .store(counts.sync_micros, Ordering::Relaxed);
        counters.next_seq.store(self.log.next(), Ordering::Relaxed);
        counters.alarms.store(counts.alarms, Ordering::Relaxed);
        let shared = &self.shared;
        *shared.uncovered_since.lock() = self.log.uncovered_since();
        let failing = self.log.is_second_failing();
        shared
            .second_place_failing
            .store(failing, Ordering::Relaxed);
        shared.covered.send_if_modified(|covered| {
            std::mem::replace(covered, self.log.covered()) != self.log.covered()
        });
    }
}

/// Whatever the end, nobody waits for a writer that is gone.
impl Drop for Worker {
    fn drop(&mut self) {
        if !self.orderly {
            self.shared.set_failing("the audit writer died");
            self.shared.died.notify_one();
        }
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        // Dropping the batch drops the other ends of all who wait.
        self.pending.absorb(&mut queue.batch);
        self.shared.places.close();
        drop(queue);
        self.pending.fail();
        let lost = self.count_pending();
        if lost > 0 {
            self.shared.counters.lost.fetch_add(lost, Ordering::Relaxed);
            tracing::error!(records = lost, "audit records were lost");
        }
    }
}
