//! When a segment is full or old, the next one begins.
//!
//! That is decided under the lock, before a batch is written: a batch stands in one segment, and so
//! does each line. The old segment is synced first, so that nothing of it has to be carried over.

use std::os::unix::fs::FileExt as _;

use super::Log;
use crate::audit::fault::Fault;
use crate::audit::files::FileSettings;
use crate::audit::segment::{self, Segment};
use crate::clock::Timestamp;

/// What is known of the age of the present segment.
pub(super) struct Rotation {
    files: FileSettings,
    /// The first record of a segment, and its stamp, if it has one.
    began: Option<(u64, Option<Timestamp>)>,
}

impl Rotation {
    /// Knows nothing of any segment yet.
    pub(super) fn new(files: FileSettings) -> Self {
        Self { files, began: None }
    }
}

impl Log {
    /// Begins the next segment, under the lock and after [`Log::settle`], if that is due.
    pub(super) fn rotate(&mut self) -> Result<(), Fault> {
        if self.next == self.segment.first || !self.is_full() && !self.is_old() {
            return Ok(());
        }
        let first = self.segment.first;
        self.sync()?;
        if self.segment.first != first {
            // The sync failed, and what was not durable stands in a new segment already.
            return Ok(());
        }
        // So that after a loss of power no more than the newest lines are hashed anew.
        if let Err(error) = self.tree.sync(self.disk.as_mut()) {
            tracing::warn!(%error, "the audit tree cannot be synced");
        }
        // Should naming the new file fail half-way, others may go on in it: so must we.
        self.rescan = true;
        let (disk, lock) = (self.disk.as_mut(), &mut self.lock);
        let segment = Segment::begin(disk, lock, &self.directory, self.next, &[])?;
        self.enter(segment);
        self.rescan = false;
        self.all_synced();
        tracing::info!(file = self.name(), "the next audit file was begun");
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.segment.len >= self.rotation.files.segment_size
    }

    /// Whether the first record is old. One of which nobody knows is not, nor is one of the future.
    fn is_old(&mut self) -> bool {
        let first = self.segment.first;
        let began = match self.rotation.began {
            Some((of, began)) if of == first => began,
            _ => {
                let began = self.first_stamp();
                self.rotation.began = Some((first, began));
                began
            }
        };
        let limit = i64::try_from(self.rotation.files.segment_time.as_micros());
        let age = began.map(|began| self.clock.now().0.saturating_sub(began.0));
        age.is_some_and(|age| age >= limit.unwrap_or(i64::MAX))
    }

    fn first_stamp(&self) -> Option<Timestamp> {
        let mut start = [0; segment::STAMP_WITHIN];
        let read = self.segment.file.read_at(&mut start, 0).ok()?;
        segment::stamp(start.get(..read)?)
    }
}
