//! Sinks: other places that get the records, from the log and after it.
//!
//! The log alone decides whether something is recorded. A sink reads it from its own offset, below
//! what a checkpoint covers, in one thread that nobody waits for; it may be slow, away or refuse
//! and neither slows a request down nor loses a record. What it gets, it gets at least once, under
//! an id that stays the same: `<origin>#<seq>`.
//!
//! `feed` reads the log, `offset` remembers how far a sink is, `runner` brings both together;
//! `syslog`, `otlp` and `webhook` speak with other ends, by way of `dial` and `http`.

mod again;
mod checkpoints;
mod dial;
mod feed;
mod http;
mod offset;
mod otlp;
mod peek;
pub mod postgres;
mod progress;
mod runner;
mod syslog;
mod webhook;

pub use again::{NotResent, Standing, resend, standings};
pub use dial::Place;
pub use http::{Endpoint, Token};
pub use offset::lowest;
pub(super) use progress::Board;
pub use progress::SinkStats;
pub use syslog::SyslogSettings;
pub use webhook::{Format, WebhookSettings};

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::Auditor;
use otlp::Otlp;
use progress::Progress;
use runner::Runner;
use syslog::Syslog;
use webhook::Webhook;

/// One sink.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What operators call it. Its files are named so.
    pub name: String,
    /// Where it is, and how it is spoken with.
    pub kind: Kind,
    /// Only records of these kinds; none: of all.
    pub kinds: Vec<&'static str>,
    /// Where a new sink begins.
    pub from: From,
    /// Whether it also gets checkpoints.
    pub checkpoints: bool,
    /// The most records that are sent at once.
    pub batch: usize,
    /// The most bytes that are sent at once, but for the first record.
    pub batch_bytes: usize,
    /// How long records may gather.
    pub linger: Duration,
    /// How long sending a batch may take.
    pub timeout: Duration,
}

/// What a sink is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Tables of a PostgreSQL database.
    Postgres(postgres::Settings),
    /// OpenTelemetry logs over HTTP.
    Otlp(Endpoint),
    /// Syslog over TCP or TLS.
    Syslog(SyslogSettings),
    /// JSON by POST.
    Webhook(WebhookSettings),
    /// Takes everything, for tests.
    #[cfg(test)]
    Test,
}

impl Kind {
    fn sink(&self) -> Box<dyn Sink> {
        match self {
            Self::Postgres(settings) => Box::new(postgres::Postgres::new(settings.clone())),
            Self::Otlp(endpoint) => Box::new(Otlp::new(endpoint.clone())),
            Self::Syslog(settings) => Box::new(Syslog::new(settings)),
            Self::Webhook(settings) => Box::new(Webhook::new(settings.clone())),
            #[cfg(test)]
            Self::Test => Box::new(tests::Nowhere),
        }
    }
}

/// Where a new sink begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum From {
    /// With the records of the process that first has it.
    #[default]
    Now,
    /// With the oldest record that is kept.
    Start,
}

/// What a sink gets.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The number of the record; of a checkpoint, how many records it covers.
    pub(crate) seq: u64,
    /// The same for this and no other, whenever and wherever it is sent: `<origin>#<seq>`, of a
    /// checkpoint `<origin>@<size>`.
    pub(crate) id: String,
    /// A JSON object without a newline; of a record, its line to the byte.
    pub(crate) line: Bytes,
    /// Whether it is a checkpoint.
    pub(crate) is_checkpoint: bool,
    /// Whether it is a record that was refused before: it stands in no order with the others.
    pub(crate) is_again: bool,
}

impl Item {
    fn record(origin: &str, seq: u64, line: Bytes) -> Self {
        Self {
            seq,
            id: format!("{origin}#{seq}"),
            line,
            is_checkpoint: false,
            is_again: false,
        }
    }

    fn checkpoint(origin: &str, size: u64, line: Bytes) -> Self {
        Self {
            seq: size,
            id: format!("{origin}@{size}"),
            line,
            is_checkpoint: true,
            is_again: false,
        }
    }
}

/// Sends records somewhere.
///
/// Any call may be given up at any point, when its time is over: what it was in the middle of, such
/// as a connection, must then not be used again.
#[async_trait]
pub(crate) trait Sink: Send {
    /// Sends a batch: records in order, or one checkpoint. Of records that the other end has
    /// already, it keeps one.
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError>;

    /// Is called about once a second while there is nothing to send.
    async fn idle(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// The first record that was sent and may yet have to be sent again; none where all that were
    /// sent are known to have arrived.
    fn unsettled(&self) -> Option<u64> {
        None
    }

    /// Is called once, at the end.
    async fn close(&mut self) -> Result<(), SendError> {
        Ok(())
    }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The other end will not take the batch as it is, and does not say for which record. It has
    /// nothing of it.
    #[error("the batch was refused: {0}")]
    BatchRefused(String),
    /// The other end has taken the batch but for some records that it does not name. They are put
    /// aside, all of them.
    #[error("some records of the batch were refused: {0}")]
    PartlyTaken(String),
    /// The other end will never take this record. It has nothing of the batch.
    #[error("record {seq} was refused: {why}")]
    RecordRefused {
        /// The record.
        seq: u64,
        /// What the other end said.
        why: String,
    },
    /// The other end does not take records now.
    #[error("{why}")]
    Refused {
        /// What it said.
        why: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// The other end cannot be reached, or does not answer.
    #[error("{0}")]
    Unreachable(String),
}

impl SendError {
    /// The other end was given so much time.
    fn late(limit: Duration) -> Self {
        Self::Unreachable(format!("no answer within {} s", limit.as_secs_f32()))
    }
}

/// The sinks of a log, at work. They end when this is dropped.
#[derive(Debug)]
pub struct Sinks {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Sinks {
    /// Puts the sinks of a log to work, in a thread of their own.
    ///
    /// # Errors
    /// Fails when the thread cannot be started.
    pub fn start(directory: &Path, settings: &[Settings], auditor: &Auditor) -> io::Result<Self> {
        let stop = watch::Sender::new(false);
        tell_forgotten(directory, settings);
        let origin = feed::origin(directory);
        let begin = auditor.stats().next_seq;
        let runners = settings.iter().map(|settings| {
            let progress = Arc::new(Progress::new(&settings.name, begin));
            auditor.sinks.add(&progress);
            Runner {
                settings: settings.clone(),
                sink: settings.kind.sink(),
                directory: directory.to_owned(),
                origin: Arc::clone(&origin),
                begin,
                covered: auditor.covered(),
                stop: stop.subscribe(),
                progress,
                clock: auditor.shared.clock.clone(),
            }
        });
        let runners: Vec<Runner> = runners.collect();
        let thread = match runners.is_empty() {
            true => None,
            false => Some(spawn(runners)?),
        };
        Ok(Self { stop, thread })
    }

    /// Lets the sinks send what is in the log, then ends them. Blocks until that is done, or until
    /// the time is over; a sink that fails is not waited for. What was not sent is sent by the next
    /// process.
    pub fn close(mut self, limit: Duration) {
        self.end(limit);
    }

    fn end(&mut self, limit: Duration) {
        self.stop.send_replace(true);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() > limit {
                tracing::info!("sinks have not got all records: the next process goes on");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            tracing::error!("the thread of the sinks panicked");
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn spawn(runners: Vec<Runner>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("audit-sinks".to_owned())
        .spawn(move || {
            step_back();
            runtime.block_on(async {
                let mut tasks: JoinSet<()> = runners.into_iter().map(Runner::run).collect();
                while let Some(ended) = tasks.join_next().await {
                    if ended.is_err() {
                        tracing::error!(
                            "a sink panicked: it gets no more records before a restart"
                        );
                    }
                }
            });
            // Not waiting for a name that is being looked up.
            runtime.shutdown_background();
        })
}

/// Lets the threads that serve requests go first.
fn step_back() {
    #[expect(
        unsafe_code,
        reason = "the call takes three numbers and touches no memory of ours; 0 means this thread"
    )]
    // SAFETY: see the reason.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
    if done != 0 {
        tracing::debug!("the sinks' thread keeps its priority");
    }
}

/// Says which sinks have records to get that nobody sends any more.
fn tell_forgotten(directory: &Path, settings: &[Settings]) {
    let names = offset::names(directory).unwrap_or_default();
    for name in names {
        if !settings.iter().any(|settings| settings.name == name) {
            tracing::info!(
                sink = name,
                "a sink is no longer configured: its offset is kept, so that it goes on there if \
                 it comes back; delete sinks/{name}.offset in the audit directory to forget it"
            );
        }
    }
}

#[cfg(test)]
mod tests;
