//! The flight recorder: what is in flight when the process dies is known to those who come after.
//!
//! Each process has one file beside the log, in memory, with as many slots as the queue has places.
//! Before a request is sent to a console its record so far is copied into a slot, without a system
//! call; the slot is free again when the kernel has the outcome. The file outlives a kill -9: who
//! finds one whose lock is free closes the requests in it as `unknown`.
//!
//! There is always a free slot for who has a place: a slot is taken after its place, and given back
//! before it.

mod file;
mod map;
mod note;
mod orphans;

pub(super) use note::{put_end, put_start};
pub(super) use orphans::{Orphan, Sweeper, in_flight};

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};

use super::fault::Fault;
use super::queue::Unavailable;
use super::record::Record;
use crate::clock::Timestamp;
use crate::request::RequestId;
use file::Own;
use note::Note;

/// The folder of the recorders' files in the audit directory.
const FOLDER: &str = "flight";

/// A slot that holds a note. Its request is closed as `unknown` if it is never given back.
#[derive(Debug)]
#[must_use]
pub(super) struct Slot(u32);

/// The process's recorder.
pub(super) struct Recorder {
    folder: PathBuf,
    slots: usize,
    /// The one that was used last is used next, so that few pages are touched.
    free: Mutex<Vec<u32>>,
    /// Who notes reads it, who puts another file in its place writes.
    own: RwLock<Own>,
}

impl Recorder {
    /// Makes the recorder of a process, in the folder of an audit directory.
    pub(super) fn make(folder: &Path, slots: usize, now: Timestamp) -> Result<Self, Fault> {
        let own = make(folder, slots, now)?;
        let last = u32::try_from(slots).unwrap_or(u32::MAX);
        Ok(Self {
            folder: folder.to_owned(),
            slots,
            free: Mutex::new((0..last).rev().collect()),
            own: RwLock::new(own),
        })
    }

    /// Notes a request that is about to be sent.
    pub(super) fn note(&self, record: &Record, now: Timestamp) -> Result<Slot, Unavailable> {
        let mut note = Note::new(now);
        note.put_record(record);
        let slot = self.free.lock().pop().ok_or(Unavailable::QueueFull)?;
        let own = self.own.read();
        own.write(slot, &note);
        if own.is_lost() {
            own.clear(slot);
            drop(own);
            self.free.lock().push(slot);
            return Err(Unavailable::Disk);
        }
        Ok(Slot(slot))
    }

    /// Takes back the slots of requests whose outcome the kernel has.
    pub(super) fn land(&self, slots: impl Iterator<Item = Slot>) {
        let own = self.own.read();
        let mut free = self.free.lock();
        for Slot(slot) in slots {
            own.clear(slot);
            free.push(slot);
        }
    }

    /// Says from which record on the outcomes are written whose slots are not given back yet.
    pub(super) fn writing_from(&self, seq: u64) {
        self.own.read().set_from(seq);
    }

    /// How many slots hold a note, and how many there are.
    pub(super) fn used(&self) -> (usize, usize) {
        (
            self.slots.saturating_sub(self.free.lock().len()),
            self.slots,
        )
    }

    /// The process's own file.
    pub(super) fn path(&self) -> PathBuf {
        self.own.read().path.clone()
    }

    /// Looks whether the file still is where it was, and puts another in its place if not, with all
    /// that is in flight. Returns what had become of it.
    pub(super) fn stand(&self, now: Timestamp) -> Result<Option<String>, Fault> {
        let Some(fault) = self.own.read().fault() else {
            return Ok(None);
        };
        let newer = make(&self.folder, self.slots, now)?;
        let mut own = self.own.write();
        newer.take_over(&own);
        let older = std::mem::replace(&mut *own, newer);
        drop(own);
        // One that was cut is of no use to anybody; one that is elsewhere is not looked for.
        older.remove().ok();
        Ok(Some(fault))
    }

    /// Ends an orderly life: deletes the file, unless a request in it has no outcome.
    pub(super) fn end(&self) {
        let own = self.own.read();
        if self.free.lock().len() == self.slots
            && let Err(error) = own.remove()
        {
            let file = own.path.display();
            tracing::warn!(%error, %file, "cannot remove the flight recorder's file");
        }
    }
}

/// The folder of the recorders in an audit directory.
pub(super) fn folder(audit: &Path) -> PathBuf {
    audit.join(FOLDER)
}

fn make(folder: &Path, slots: usize, now: Timestamp) -> Result<Own, Fault> {
    let mut builder = DirBuilder::new();
    // Not what it stands in: without that, there is no log either.
    if let Err(error) = builder.mode(0o700).create(folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Fault::of("make", folder)(error));
    }
    Own::make(folder, RequestId::new(now).as_str(), slots)
}

/// Makes the file of a process on this machine one from before its last start.
#[cfg(test)]
pub(super) use file::on_another_machine;

#[cfg(test)]
mod tests;
