//! Takes records from the log to one sink, until the process ends.
//!
//! Whatever fails is tried again from the log, so that no more than one batch is ever in memory.

mod deliver;
mod resend;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::rand;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::again::Again;
use super::checkpoints::Checkpoints;
use super::feed::{Bounds, Feed, Part};
use super::offset::Files;
use super::peek::Peek;
use super::progress::Progress;
use super::{From, SendError, Settings, Sink};
use crate::audit::read;
use crate::clock::Clock;

/// How often a sink without records is looked after.
const IDLE: Duration = Duration::from_secs(1);
/// How long to wait after a first failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, unless the other end asks for more.
const LAST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait that another end is given.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What a runner works with.
pub(super) struct Runner {
    pub(super) settings: Settings,
    pub(super) sink: Box<dyn Sink>,
    pub(super) directory: PathBuf,
    pub(super) origin: Arc<str>,
    /// The log's end when the process began.
    pub(super) begin: u64,
    pub(super) covered: watch::Receiver<u64>,
    /// True once the process ends.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) progress: Arc<Progress>,
    pub(super) clock: Clock,
}

/// Why an attempt has to be made again.
pub(super) struct Setback {
    why: String,
    after: Option<Duration>,
}

/// A runner that has its files.
struct Running {
    runner: Runner,
    files: Files,
    feed: Feed,
    checkpoints: Option<Checkpoints>,
    again: Again,
    /// The first record that the sink was not offered, or has to be offered again.
    next: u64,
    failed_in_a_row: u32,
    refused_in_a_row: u32,
    /// The same of records that are sent again, and until when those rest.
    refused_again: u32,
    rest_again: Option<Instant>,
    is_short: bool,
}

impl Runner {
    /// Sends what there is and what comes, until the process ends.
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        let mut told = false;
        loop {
            let wait = match Files::take(&self.directory, &self.settings.name) {
                Ok(Some(files)) => return self.run_with(files).await,
                // The process before this one has not ended yet.
                Ok(None) => IDLE / 4,
                Err(error) => {
                    if !told {
                        tracing::error!(%error, sink = self.settings.name, "the files of a sink cannot be used");
                    }
                    told = true;
                    FIRST_WAIT
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn run_with(self, mut files: Files) {
        let next = self.first(&mut files);
        let mut running = Running {
            feed: Feed::new(&self.directory, Arc::clone(&self.origin)),
            again: Again::new(&self.directory, &self.settings.name),
            checkpoints: self
                .settings
                .checkpoints
                .then(|| Checkpoints::new(&self.directory)),
            runner: self,
            files,
            next,
            failed_in_a_row: 0,
            refused_in_a_row: 0,
            refused_again: 0,
            rest_again: None,
            is_short: false,
        };
        running.store(true);
        running.run().await;
    }

    /// The record to begin with.
    fn first(&self, files: &mut Files) -> u64 {
        let sink = &*self.settings.name;
        let from = match self.settings.from {
            From::Now => self.begin,
            From::Start => 0,
        };
        let next = files.next().unwrap_or_else(|error| {
            tracing::error!(%error, sink, "a sink's offset cannot be read: it gets the whole log again");
            Some(0)
        });
        let Some(next) = next else {
            // Who takes the offsets away makes a sink pass over what it has not got.
            tracing::warn!(
                sink,
                from,
                "a sink has no offset and begins here: what is before is not sent. To be expected \
                 of a new one only"
            );
            return from;
        };
        let end = read::tail(&self.directory, 1).ok();
        let end = end.and_then(|tail| tail.lines.last().map(|line| line.seq + 1));
        match end {
            Some(end) if end < next => {
                tracing::error!(
                    sink,
                    next,
                    end,
                    "a sink has more records than the log: an older copy of the log was put in its \
                     place. The sink goes on with the records that come now"
                );
                end
            }
            _ => next,
        }
    }
}

impl Running {
    async fn run(&mut self) {
        let mut stop = self.runner.stop.clone();
        loop {
            let is_last = *stop.borrow();
            let result = self.step().await;
            match result {
                Ok(true) => {}
                // All that there was when the process ended is sent.
                Ok(false) if is_last => break,
                Ok(false) => self.rest(&mut stop).await,
                // One more attempt: it may only be that a connection had ended long before.
                Err(_) if is_last && self.failed_in_a_row > 0 => break,
                Err(setback) if is_last => {
                    self.fail(&setback);
                }
                Err(setback) => {
                    let wait = self.fail(&setback);
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = stopped(&mut stop) => {}
                    }
                }
            }
        }
        let closed = timeout(self.runner.settings.timeout, self.runner.sink.close()).await;
        if let Ok(Err(error)) = closed {
            self.fail(&error.into());
        }
        self.store(true);
    }

    /// Reads and sends one batch. Says whether there may be another one.
    async fn step(&mut self) -> Result<bool, Setback> {
        let part = self.read()?;
        if part.next == self.next && part.missing.is_empty() {
            self.idle().await?;
            self.send_checkpoint().await?;
            let is_more = self.resend().await?;
            self.succeed();
            return Ok(is_more && !*self.runner.stop.borrow());
        }
        let oldest = part
            .items
            .first()
            .and_then(|item| Peek::at(&item.line).stamp());
        let progress = &self.runner.progress;
        progress
            .oldest
            .store(oldest.map_or(0, |it| it.0), Ordering::Relaxed);
        self.deliver(&part.items).await?;
        self.next = part.next;
        self.succeed();
        self.store(false);
        self.send_checkpoint().await?;
        // With nothing to send nothing above waits: let the other sinks go on.
        tokio::task::yield_now().await;
        Ok(true)
    }

    fn read(&mut self) -> Result<Part, Setback> {
        let runner = &mut self.runner;
        let below = *runner.covered.borrow_and_update();
        let bounds = Bounds {
            records: runner.settings.batch,
            bytes: runner.settings.batch_bytes,
        };
        let kinds = &runner.settings.kinds;
        let wanted = |line: &[u8]| kinds.is_empty() || kinds.contains(&Peek::at(line).kind());
        let part = self.feed.read(self.next, below, bounds, wanted);
        let part = part.map_err(|error| Setback {
            why: format!("the log cannot be read: {error}"),
            after: None,
        })?;
        let sink = &*runner.settings.name;
        for missing in &part.missing {
            let count = missing.end - missing.start;
            runner.progress.missing.fetch_add(count, Ordering::Relaxed);
            tracing::error!(
                sink,
                from = missing.start,
                to = missing.end - 1,
                "a sink finds records missing from the log and goes on without them: they were \
                 removed or changed, see `vspc-gateway audit verify`"
            );
        }
        if part.is_short && !self.is_short {
            let next = part.next;
            tracing::error!(
                sink,
                next,
                "a sink finds the end of the log missing, and waits"
            );
        }
        self.is_short = part.is_short;
        Ok(part)
    }

    /// Waits for records, and a little longer so that they come together.
    async fn rest(&mut self, stop: &mut watch::Receiver<bool>) {
        let runner = &mut self.runner;
        tokio::select! {
            changed = runner.covered.changed() => match changed {
                Ok(()) => {}
                // The log is closed; the end of the process will be told.
                Err(_) => sleep(IDLE).await,
            },
            () = sleep(IDLE) => return,
            () = stopped(stop) => return,
        }
        let waiting = runner.covered.borrow().saturating_sub(self.next);
        if waiting < u64::try_from(runner.settings.batch).unwrap_or(u64::MAX) {
            tokio::select! {
                () = sleep(runner.settings.linger) => {}
                () = stopped(stop) => {}
            }
        }
    }

    fn succeed(&mut self) {
        let progress = &self.runner.progress;
        progress.oldest.store(0, Ordering::Relaxed);
        if self.failed_in_a_row > 0 {
            let (sink, failures) = (&*self.runner.settings.name, self.failed_in_a_row);
            tracing::info!(sink, failures, "a sink takes records again");
            progress.is_failing.store(false, Ordering::Relaxed);
        }
        self.failed_in_a_row = 0;
    }

    /// Goes back to what the sink is not known to have. Says how long to wait.
    fn fail(&mut self, setback: &Setback) -> Duration {
        if let Some(unsettled) = self.runner.sink.unsettled() {
            self.next = self.next.min(unsettled);
        }
        let progress = &self.runner.progress;
        progress.failures.fetch_add(1, Ordering::Relaxed);
        progress.is_failing.store(true, Ordering::Relaxed);
        if self.failed_in_a_row == 0 {
            let (sink, error) = (&*self.runner.settings.name, &*setback.why);
            tracing::warn!(
                sink,
                error,
                next = self.next,
                "a sink takes no records: they stay in the log and are sent later"
            );
        }
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.failed_in_a_row));
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        let wait = shortened(wait.min(LAST_WAIT));
        wait.max(setback.after.unwrap_or_default().min(LONGEST_WAIT))
    }

    fn store(&mut self, now: bool) {
        let next = self
            .runner
            .sink
            .unsettled()
            .unwrap_or(self.next)
            .min(self.next);
        self.runner.progress.stored.store(next, Ordering::Relaxed);
        if let Err(error) = self.files.store(next, now) {
            let sink = &*self.runner.settings.name;
            tracing::error!(%error, sink, next, "a sink's offset cannot be written");
        }
    }
}

/// Returns once the process ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Up to a quarter less, so that sinks do not come back all at once.
fn shortened(wait: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is no harm.
    if rand::fill(&mut bytes).is_err() {
        return wait;
    }
    wait - wait * u32::from(u16::from_ne_bytes(bytes)) / (4 * 65_536)
}

impl std::convert::From<SendError> for Setback {
    fn from(error: SendError) -> Self {
        let why = error.to_string();
        let after = match error {
            SendError::Refused { after, .. } => after,
            _ => None,
        };
        Self { why, after }
    }
}
