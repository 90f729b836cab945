//! The log: who did what for whom, in an append-only file of JSON lines with one writer.
//!
//! A request opens an [`Entry`] first and closes it last, whatever happens in between; that the
//! outcome has a place in the queue is known before anything else is done. What changes something
//! at a console waits for its intent to be on the disk ([`Entry::intend`]). What cannot be
//! recorded is refused ([`Unavailable`]) and never dropped.
//!
//! Workers write a record's JSON but for its `seq`; one thread gives that, so that numbers have no
//! gap, and writes in batches: the next sync begins when the last one ends. Several processes may
//! share a directory; a file lock makes one of them at a time the writer.
//!
//! One line is one JSON object whose first member is `seq`. Files are named by the `seq` of their
//! first record; a record that stands in two files counts in the later one.

pub mod checkpoint;
mod disk;
mod fault;
mod json;
mod log;
pub mod note;
pub mod proof;
mod published;
pub mod query;
mod queue;
pub mod read;
mod record;
mod redact;
mod segment;
pub mod tree;
pub mod verify;
mod writer;

pub use fault::{Fault, OpenError};
pub use published::{NotTaken, Published};
pub use queue::{Health, Stats, Unavailable};
pub use record::{Action, Code, Kind, Record, Subject, Target};
pub use redact::{RedactedQuery, redact_query};
pub use writer::Writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant};

use crate::clock::Clock;
use crate::request::RequestId;
use disk::{Disk, Real};
use log::Log;
use queue::Shared;

/// When an intent counts as recorded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// When the kernel has it: it survives the death of the process, not of the machine.
    Buffered,
    /// When the disk has it.
    #[default]
    Strict,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its files are. Made, for the owner only, if it is missing.
    pub directory: PathBuf,
    /// When an intent counts as recorded.
    pub durability: Durability,
    /// How many requests may be under way, or written but not yet in the log. At least 1.
    pub queue: usize,
    /// How long a request waits for a place.
    pub admission: Duration,
    /// The keys of witnesses, whose signatures of checkpoints are taken.
    pub witnesses: Vec<note::VerifierKey>,
    /// Where stamps come from.
    pub clock: Clock,
}

/// Takes records. Clones share one log.
#[derive(Clone, Debug)]
pub struct Auditor {
    shared: Arc<Shared>,
    durability: Durability,
    published: Arc<Published>,
}

impl Auditor {
    /// Opens the log and starts its writer. Blocks on the disk.
    ///
    /// A last line that a killed process left unfinished is cut off, and that is recorded.
    ///
    /// # Errors
    /// Fails when the directory cannot be used, or the newest file does not end in a record.
    pub fn open(settings: Settings) -> Result<(Self, Writer), OpenError> {
        Self::open_on(settings, Box::new(Real))
    }

    fn open_on(settings: Settings, disk: Box<dyn Disk>) -> Result<(Self, Writer), OpenError> {
        let published = Published::new(settings.directory.clone(), settings.witnesses);
        let log = Log::open(settings.directory, settings.clock.clone(), disk)?;
        let shared = Arc::new(Shared::new(
            settings.clock,
            settings.admission,
            settings.queue,
        ));
        let writer = Writer::start(Arc::clone(&shared), log)?;
        Ok((
            Self {
                shared,
                durability: settings.durability,
                published: Arc::new(published),
            },
            writer,
        ))
    }

    /// Opens the entry of a request, with a place for its outcome.
    ///
    /// # Errors
    /// Refuses at once while the disk fails, and after the admission time when there is no place.
    /// The refusal is counted; it cannot be recorded: see [`Auditor::report_unrecorded`].
    pub async fn begin(&self) -> Result<Entry, Unavailable> {
        let started = Instant::now();
        self.shared.take_place().await?;
        Ok(Entry {
            shared: Arc::clone(&self.shared),
            durability: self.durability,
            started,
            record: Box::default(),
            intended: false,
            open: true,
        })
    }

    /// From now on a record that does not say by which version of the configuration it came about
    /// came about by this one.
    pub fn by_config(&self, version: &Arc<str>) {
        self.shared
            .config
            .store(Some(Arc::new(Arc::clone(version))));
    }

    /// Writes into the process's own log what the audit log could not take.
    pub fn report_unrecorded(&self, kind: Kind, record: &Record, why: Unavailable) {
        let body = self.shared.body(kind, record);
        let record = String::from_utf8_lossy(&body);
        tracing::warn!(error = %why, record = record.trim_end(), "an event could not be audited");
    }

    /// Records an event that is no request. Does not wait until it is written.
    ///
    /// # Errors
    /// As [`Auditor::begin`].
    pub async fn note(&self, kind: Kind, record: &Record) -> Result<(), Unavailable> {
        self.shared.take_place().await?;
        self.shared.push(kind, record, true)
    }

    /// Records an event that is no request, and waits until the disk has it.
    ///
    /// # Errors
    /// As [`Auditor::begin`]; also when the disk fails. The event is then not recorded.
    pub async fn note_durable(&self, kind: Kind, record: &Record) -> Result<(), Unavailable> {
        self.shared.take_place().await?;
        self.shared.push_and_wait(kind, record, true, true).await
    }

    /// The log as those see it who watch it.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Returns when the writer has died of a fault of its own: nothing can be recorded any more,
    /// so the process is to end.
    pub async fn died(&self) {
        self.shared.died.notified().await;
    }

    /// Whether the log takes records.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The record of one request, from its first byte to its end.
///
/// The place of its outcome is taken, so closing never waits and never fails. One that is dropped
/// instead, since the caller hung up or a panic unwound, ends as [`Code::Aborted`].
#[derive(Debug)]
pub struct Entry {
    shared: Arc<Shared>,
    durability: Durability,
    started: Instant,
    record: Box<Record>,
    intended: bool,
    open: bool,
}

impl Entry {
    /// What is known of the request so far.
    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// When it was opened.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Records that the request, as it is known now, is about to be sent. Returns when that is
    /// recorded, as [`Settings::durability`] says. An entry has one intent: once it is recorded,
    /// further calls return at once, so that a request may be sent again.
    ///
    /// The intent needs no place: an entry has at most one under way besides its outcome.
    ///
    /// # Errors
    /// When the disk fails. The request must not be sent; the intent is not kept.
    pub async fn intend(&mut self) -> Result<(), Unavailable> {
        if self.intended {
            return Ok(());
        }
        if self.shared.is_failing() {
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Unavailable::Disk);
        }
        let durable = self.durability == Durability::Strict;
        self.shared
            .push_and_wait(Kind::Intent, &self.record, false, durable)
            .await?;
        self.intended = true;
        Ok(())
    }

    /// Records how the request ended.
    pub fn close(mut self, code: Code) {
        self.finish(code);
    }

    fn finish(&mut self, code: Code) {
        self.open = false;
        self.record.code = Some(code);
        let micros = self.started.elapsed().as_micros();
        self.record.duration_us = Some(u64::try_from(micros).unwrap_or(u64::MAX));
        if let Err(error) = self.shared.push(Kind::Request, &self.record, true) {
            self.shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            let request_id = self.record.request_id.as_ref().map(RequestId::as_str);
            tracing::error!(%error, request_id, "the outcome of a request was lost to the audit log");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.open {
            self.finish(Code::Aborted);
        }
    }
}

#[cfg(test)]
mod tests;
