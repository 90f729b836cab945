//! Records in the order in which they came, and who waits for them.

use tokio::sync::oneshot;

use super::Unavailable;
use crate::audit::flight::{Recorder, Slot};

/// The memory that an emptied batch keeps.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Who waits for a record.
pub(in crate::audit) struct Waiter {
    pub(in crate::audit) done: oneshot::Sender<Result<(), Unavailable>>,
    /// Whether for its sync, or only for its write.
    pub(in crate::audit) durable: bool,
}

struct Item {
    end: usize,
    place: bool,
    /// Holds the note of the request whose outcome this is.
    slot: Option<Slot>,
    waiter: Option<Waiter>,
}

/// Records in the order in which they came. A record that somebody waits for is not yet promised:
/// it is dropped when it cannot be written. All others are kept until they are.
#[derive(Default)]
pub(in crate::audit) struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Batch {
    /// Adds a record's body; `place` says whether it holds a place in the queue.
    pub(in crate::audit) fn push(
        &mut self,
        body: &[u8],
        place: bool,
        slot: Option<Slot>,
        waiter: Option<Waiter>,
    ) {
        self.bytes.extend_from_slice(body);
        self.items.push(Item {
            end: self.bytes.len(),
            place,
            slot,
            waiter,
        });
    }

    /// Moves all records of `other` behind ours.
    pub(in crate::audit) fn absorb(&mut self, other: &mut Self) {
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
    pub(in crate::audit) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let body = self.bytes.get(start..item.end).unwrap_or_default();
            start = item.end;
            body
        })
    }

    pub(in crate::audit) fn len(&self) -> usize {
        self.items.len()
    }

    pub(in crate::audit) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether somebody waits for a record to be durable.
    pub(in crate::audit) fn is_awaited_durable(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.waiter.as_ref().is_some_and(|waiter| waiter.durable))
    }

    /// Tells all who wait that their records are written, gives back the slots, and empties the
    /// batch. Returns the places that are free again.
    pub(in crate::audit) fn succeed(&mut self, recorder: &Recorder) -> usize {
        recorder.land(self.items.iter_mut().filter_map(|item| item.slot.take()));
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
    pub(in crate::audit) fn fail(&mut self) -> usize {
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
                kept.push(body, item.place, item.slot, None);
            }
        }
        *self = kept;
        places
    }
}
