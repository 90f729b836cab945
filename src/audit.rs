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
pub mod export;
mod fault;
mod files;
mod flight;
mod handover;
mod json;
mod keep;
mod keys;
mod log;
pub mod note;
mod once;
pub mod proof;
mod published;
pub mod query;
mod queue;
pub mod read;
mod reconciling;
mod record;
mod redact;
mod second;
mod segment;
pub mod sinks;
pub mod tree;
pub mod verify;
mod writer;

pub use fault::{Fault, OpenError};
pub use files::FileSettings;
pub use keep::Kept;
pub use keys::{BadKey, TreeSettings, is_origin};
pub use once::{NoteError, note_once};
pub use published::{NotTaken, Published};
pub use queue::{Health, Stats, Unavailable};
pub use reconciling::{Named, ReconcileSettings, Refreshes};
pub use record::{Action, Code, Kind, Record, Subject, Target};
pub use redact::{RedactedQuery, redact_query};
pub use writer::Writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::clock::Clock;
use crate::request::RequestId;
use disk::{Disk, Real};
use flight::{Recorder, Slot, Sweeper};
use keep::Keeper;
use log::Log;
use queue::Shared;

/// When an intent counts as recorded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// When the flight recorder has it: it survives the death of the process, not of the machine.
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
    /// How the log proves itself.
    pub tree: TreeSettings,
    /// Where the records are sent besides.
    pub sinks: Vec<sinks::Settings>,
    /// How it is compared with the consoles' own logs.
    pub reconcile: ReconcileSettings,
    /// How it is cut into files, and how long they are kept.
    pub files: FileSettings,
}

impl Settings {
    /// What holds for a log of which nothing else is said.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            durability: Durability::Strict,
            queue: 32_768,
            admission: Duration::from_secs(1),
            witnesses: Vec::new(),
            clock: Clock::System,
            tree: TreeSettings::default(),
            sinks: Vec::new(),
            reconcile: ReconcileSettings::default(),
            files: FileSettings::default(),
        }
    }
}

/// The most places that a queue has; the flight recorder has a slot for each.
const MOST_PLACES: usize = 1 << 24;

/// Takes records. Clones share one log.
#[derive(Clone, Debug)]
pub struct Auditor {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    durability: Durability,
    sinks: Arc<sinks::Board>,
    published: Arc<Published>,
}

impl Auditor {
    /// Opens the log and starts its writer. Blocks on the disk.
    ///
    /// A last line that a killed process left unfinished is cut off, and that is recorded.
    ///
    /// # Errors
    /// Fails when the directory cannot be used, the newest file does not end in a record, or the
    /// records are not those that a checkpoint was signed for.
    pub fn open(settings: Settings) -> Result<(Self, Writer), OpenError> {
        Self::open_on(settings, Box::new(Real))
    }

    fn open_on(settings: Settings, disk: Box<dyn Disk>) -> Result<(Self, Writer), OpenError> {
        let published = Published::new(settings.directory.clone(), settings.witnesses);
        let folder = flight::folder(&settings.directory);
        let mut log = Log::open(
            settings.directory.clone(),
            &settings.tree,
            settings.clock.clone(),
            settings.files.clone(),
            disk,
        )?;
        // Before a file is made: those of the dead may hold the room for it.
        let mut sweeper = Sweeper::new(folder.clone());
        let closed = sweeper.begin(&mut log).unwrap_or_else(|error| {
            tracing::error!(%error, "requests of a process that ended cannot be closed yet");
            0
        });
        let places = settings.queue.clamp(1, MOST_PLACES);
        let recorder = Recorder::make(&folder, places, settings.clock.now());
        let recorder = recorder.map_err(OpenError::Flight)?;
        let shared = Shared::new(settings.clock, settings.admission, places, recorder);
        shared.counters.unknown.store(closed, Ordering::Relaxed);
        let shared = Arc::new(shared);
        let writer = Writer::start(Arc::clone(&shared), log, sweeper)?;
        let keeper = Keeper::start(settings.directory, settings.files, Arc::clone(&shared));
        Ok((
            Self {
                shared,
                keeper: Arc::new(keeper),
                durability: settings.durability,
                sinks: Arc::default(),
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
        let waited = self.shared.take_place().await?;
        Ok(Entry {
            shared: Arc::clone(&self.shared),
            durability: self.durability,
            started,
            waited,
            record: Box::default(),
            slot: None,
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

    /// How many records the latest checkpoint covers, from now on. All of them are on the disk.
    pub fn covered(&self) -> watch::Receiver<u64> {
        self.shared.covered.subscribe()
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

    /// How the files of the log stand.
    pub fn kept(&self) -> Kept {
        self.keeper.kept()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// How far each sink has come.
    pub fn sinks(&self) -> Vec<sinks::SinkStats> {
        self.sinks
            .stats(*self.shared.covered.borrow(), self.shared.clock.now())
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
    waited: Duration,
    record: Box<Record>,
    /// Where it is noted in the flight recorder, once it is.
    slot: Option<Slot>,
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

    /// How long it waited for its place; nothing where there was one.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Notes in the flight recorder that the request, as it is known now, is about to be sent: if
    /// the process is killed, the next one records that its end is unknown. An entry is noted once;
    /// further calls do nothing, so that a request may be sent again.
    ///
    /// # Errors
    /// When the recorder's file is lost; another takes its place within a second or so. The request
    /// must not be sent.
    pub fn note_in_flight(&mut self) -> Result<(), Unavailable> {
        if self.slot.is_some() {
            return Ok(());
        }
        let noted = self
            .shared
            .recorder
            .note(&self.record, self.shared.clock.now());
        if noted.is_err() {
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        self.slot = Some(noted?);
        Ok(())
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
        // First: an intent that is in no recorder is one whose process has ended.
        self.note_in_flight()?;
        match self.durability {
            Durability::Strict => {
                let recorded = self
                    .shared
                    .push_and_wait(Kind::Intent, &self.record, false, true);
                recorded.await?;
            }
            Durability::Buffered => self.shared.push(Kind::Intent, &self.record, false)?,
        }
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
        let slot = self.slot.take();
        if let Err(error) = self.shared.push_outcome(&self.record, slot) {
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
