//! The log on disk, as one writer of perhaps several sees it.
//!
//! What holds under the lock after [`Log::settle`]: `segment` is the newest and stands at its
//! path, it has `segment.len` bytes, `next` is the `seq` to give, and `unsynced` holds every line
//! from record `synced.next` on, the only ones a power loss could take. Whoever begins a segment
//! first makes all before it durable or carries it over, so a writer that finds a newer segment
//! may forget what it held.

mod begin;
mod lines;
mod rebuild;
mod rotate;
mod settle;
mod sign;
mod tree;
mod unfinished;

pub(super) use unfinished::Unfinished;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};

use self::begin::Traces;
use self::sign::Signing;
use self::tree::Tree;
use super::checkpoint::{self, Checkpoint};
use super::disk::{self, Disk, Lock};
use super::fault::{Fault, OpenError};
use super::files::FileSettings;
use super::json;
use super::keys::{Keys, TreeSettings};
use super::queue::Batch;
use super::record::{Kind, Record};
use super::second::{self, Known, SecondPlace};
use super::segment::{self, Segment};
use super::tree::Frontier;
use crate::clock::Clock;
use rotate::Rotation;

/// Why the segment takes no more records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spoiled {
    /// The disk failed, so that nobody knows what of the unsynced lines it has.
    Failed,
    /// Something in it is not ours, or it is not where it should be: it is left as it is.
    Foreign,
}

/// What the log did, since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) syncs: u64,
    pub(super) sync_micros: u64,
    /// How often somebody was found to have meddled with the log.
    pub(super) alarms: u64,
}

/// The part of the segment that is known to be durable.
#[derive(Clone, Copy, Debug)]
struct Synced {
    len: u64,
    next: u64,
}

/// The log on disk.
pub(super) struct Log {
    clock: Clock,
    directory: PathBuf,
    disk: Box<dyn Disk>,
    lock: Lock,
    segment: Segment,
    tree: Tree,
    signing: Signing,
    next: u64,
    /// What `next` was after our last record.
    promised: u64,
    synced: Synced,
    unsynced: Vec<u8>,
    unsynced_since: Option<Instant>,
    /// Bodies of records of the log about itself, written before the next batch.
    notices: Vec<Vec<u8>>,
    spoiled: Option<Spoiled>,
    /// The file's length if, behind `segment.len`, it holds only what a failed write of ours left.
    rubbish: Option<u64>,
    /// Whether the directory has to be read again.
    rescan: bool,
    rotation: Rotation,
    counts: Counts,
}

impl Log {
    /// Opens the log of a directory, which it makes if need be; repairs a torn last line.
    pub(super) fn open(
        directory: PathBuf,
        settings: &TreeSettings,
        clock: Clock,
        files: FileSettings,
        mut disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|source| OpenError::Directory {
                path: directory.clone(),
                source,
            })?;
        // Not under the lock: it may take its time.
        let read = settings.checkpoints.as_deref().map(second::read);
        let mut lock = Lock::open(&directory).map_err(Fault::of("open a lock in", &directory))?;
        // Dropping the lock's file on an error releases it.
        lock.acquire().map_err(Fault::of("lock", &directory))?;
        let traces = Traces::of(&directory)?;
        let (signing, known) = signing(&directory, settings, read)?;
        let segments = segment::list(&directory).map_err(Fault::of("read", &directory))?;
        let segment = match segments.last() {
            Some(first) => Segment::open(&directory, *first)
                .map_err(Fault::of("open", &segment::path(&directory, *first)))?,
            None => Segment::begin(disk.as_mut(), &mut lock, &directory, 0, &[])?,
        };
        let mut log = Self {
            clock,
            tree: Tree::open(&directory, Frontier::new())?,
            signing,
            directory,
            disk,
            lock,
            next: segment.first,
            promised: 0,
            synced: Synced {
                len: 0,
                next: segment.first,
            },
            segment,
            unsynced: Vec::new(),
            unsynced_since: None,
            notices: Vec::new(),
            spoiled: None,
            rubbish: None,
            rescan: false,
            rotation: Rotation::new(files),
            counts: Counts::default(),
        };
        log.begin_at_end()?;
        log.begin_tree(&traces, known)?;
        log.lock.release();
        if !log.notices.is_empty() {
            log.commit(&Batch::default(), true)?;
        }
        Ok(log)
    }

    /// Finds the end of the newest segment, under the lock.
    fn begin_at_end(&mut self) -> Result<(), OpenError> {
        let covered = checkpoint::latest(&self.directory)?.map_or(0, |it| it.checkpoint.size);
        if covered > 0 {
            self.cut_after_hole(covered)?;
        }
        let end = self
            .segment
            .end()
            .map_err(Fault::of("read", &self.segment.path))?;
        self.next = end.next.map_err(|offset| OpenError::Damaged {
            path: self.segment.path.clone(),
            offset,
        })?;
        if self.next < covered {
            // The log was cut, which the start refuses: what is left is evidence.
            self.segment.len = end.complete;
        } else {
            self.cut_torn(end.complete, self.segment.len)?;
        }
        // A process that was killed may have left lines that only the page cache has.
        self.disk
            .sync(&self.segment.file)
            .map_err(Fault::of("sync", &self.segment.path))?;
        self.synced = Synced {
            len: self.segment.len,
            next: self.next,
        };
        Ok(())
    }

    /// Writes the notices and the batch with the next `seq`s; makes them durable if asked to. On
    /// an error nothing of the batch is in the log, as far as the disk lets us.
    pub(super) fn commit(&mut self, batch: &Batch, durable: bool) -> Result<(), Fault> {
        let result = match self.lock.acquire() {
            Ok(changed) => {
                self.rescan |= changed;
                self.commit_locked(batch, durable)
            }
            Err(error) => Err(Fault::of("lock", &self.directory)(error)),
        };
        self.lock.release();
        self.tell(false);
        result
    }

    fn commit_locked(&mut self, batch: &Batch, durable: bool) -> Result<(), Fault> {
        self.settle()?;
        self.look_at_notes();
        self.rotate()?;
        let durable = durable || self.is_due(self.notices.len() + batch.len());
        self.append(batch, durable)?;
        self.told_second();
        self.sign_if_due();
        Ok(())
    }

    /// Since when there are lines that a power loss could take.
    pub(super) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// How many bytes a power loss could take.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.unsynced.len()
    }

    /// The `seq` that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What was done so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn append(&mut self, batch: &Batch, durable: bool) -> Result<(), Fault> {
        let (bytes, next, len) = (self.unsynced.len(), self.next, self.segment.len);
        for body in self.notices.iter().map(Vec::as_slice).chain(batch.bodies()) {
            let begin = self.unsynced.len();
            self.unsynced.extend_from_slice(b"{\"seq\":");
            json::number(&mut self.unsynced, self.next);
            self.unsynced.push(b',');
            self.unsynced.extend_from_slice(body);
            self.next += 1;
            let line = self.unsynced.get(begin..).unwrap_or_default();
            self.tree.push(line.strip_suffix(b"\n").unwrap_or(line));
        }
        let added = long(self.unsynced.len() - bytes);
        let result = self
            .write(bytes)
            .and_then(|()| self.tree.write(self.disk.as_mut()))
            .and_then(|()| if durable { self.sync() } else { Ok(()) });
        if result.is_ok() {
            self.tree.accept();
            if self.next > next {
                self.promised = self.next;
            }
            self.counts.bytes += added;
            self.notices.clear();
            if !self.unsynced.is_empty() && self.unsynced_since.is_none() {
                self.unsynced_since = Some(Instant::now());
            }
        } else {
            self.unsynced.truncate(bytes);
            self.next = next;
            self.segment.len = len;
            self.tree.unstage();
            self.cut_back();
        }
        result
    }

    fn write(&mut self, from: usize) -> Result<(), Fault> {
        let lines = self.unsynced.get(from..).unwrap_or_default();
        disk::write_all(self.disk.as_mut(), &self.segment.file, lines)
            .map_err(Fault::of("write to", &self.segment.path))?;
        self.segment.len += long(lines.len());
        Ok(())
    }

    /// After a failure: takes what was written of the batch out of the file again.
    fn cut_back(&mut self) {
        let len = self
            .segment
            .file
            .metadata()
            .map_or(u64::MAX, |file| file.len());
        self.rubbish = None;
        if len > self.segment.len
            && let Err(error) = self.disk.cut(&self.segment.file, self.segment.len)
        {
            tracing::warn!(%error, file = self.name(), "cannot cut off a failed audit write");
            self.rubbish = Some(len);
            self.spoiled = self.spoiled.or(Some(Spoiled::Failed));
        }
    }

    /// Makes all lines durable. A file whose sync failed is never trusted again: its pages may be
    /// marked clean though they are not on the disk. The lines go to a new file instead.
    fn sync(&mut self) -> Result<(), Fault> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        if let Err(error) = self.disk.sync(&self.segment.file) {
            tracing::error!(%error, file = self.name(), "an audit file cannot be synced and is given up");
            self.spoiled = Some(Spoiled::Failed);
            return self.renew();
        }
        self.counts.syncs += 1;
        self.counts.sync_micros += micros(begun.elapsed());
        self.all_synced();
        Ok(())
    }

    fn all_synced(&mut self) {
        self.synced = Synced {
            len: self.segment.len,
            next: self.next,
        };
        self.unsynced.clear();
        self.unsynced_since = None;
    }

    /// Begins a segment with the unsynced lines: from now on they count here.
    fn renew(&mut self) -> Result<(), Fault> {
        let first = self.synced.next;
        let disk = self.disk.as_mut();
        let segment = Segment::begin(disk, &mut self.lock, &self.directory, first, &self.unsynced)?;
        let cut = self.spoiled == Some(Spoiled::Failed);
        let old = self.enter(segment);
        // The old file's copies of the lines no longer count; cutting them off is only tidier.
        if cut
            && old
                .file
                .metadata()
                .is_ok_and(|file| file.len() > self.synced.len)
            && let Err(error) = self.disk.cut(&old.file, self.synced.len)
        {
            tracing::warn!(%error, file = %old.path.display(), "cannot cut a given-up audit file");
        }
        tracing::warn!(file = self.name(), "a new audit file was begun");
        self.all_synced();
        Ok(())
    }

    fn enter(&mut self, segment: Segment) -> Segment {
        self.spoiled = None;
        self.rubbish = None;
        std::mem::replace(&mut self.segment, segment)
    }

    fn notice(&mut self, operation: &'static str, detail: String) {
        let body = Record::event(operation, detail).body(Kind::Admin, self.clock.now(), None);
        self.notices.push(body);
    }

    fn name(&self) -> String {
        self.segment
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// The keys of a log, and what the second place knows of it.
fn signing(
    directory: &Path,
    settings: &TreeSettings,
    read: Option<Result<Vec<u8>, String>>,
) -> Result<(Signing, Known), OpenError> {
    let keys = Keys::open(directory, settings)?;
    let (known, second) = match (&settings.checkpoints, read) {
        (Some(path), Some(read)) => (
            second::known(path, read, &keys),
            Some(SecondPlace::start(path.clone())?),
        ),
        _ => (Known::Nothing, None),
    };
    let nothing = Frontier::new();
    let latest = Checkpoint {
        origin: keys.origin().to_owned(),
        size: nothing.size(),
        root: nothing.root(),
    };
    Ok((Signing::new(keys, latest, second), known))
}

/// A count of bytes as files count them.
fn long(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
