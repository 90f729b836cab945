//! Changes that wait for others, so that many of them share one transaction and one sync.
//!
//! redb has no commits without a sync where processes share a database. What is changed lazily waits
//! in memory for a tenth of a second; then it is on the disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use redb::WriteTransaction;

use super::{State, StateError, Table};

/// Changes that are not written yet; of one value the newest alone.
#[derive(Default)]
pub(super) struct Queue(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Batch,
    /// About how much memory they take.
    bytes: usize,
    /// What is in a transaction that has not ended.
    written: Arc<Batch>,
    /// Whether a thread is there that writes.
    runs: bool,
    /// Values were not kept for want of memory since the disk last took what waited.
    overflows: bool,
}

/// By kind and name: what is sealed, or that there is nothing.
type Batch = HashMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// A lazy change that is under way.
pub struct LazyChange<'a> {
    state: &'a State,
    table: Table,
    changed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl LazyChange<'_> {
    /// Sets the value of a name.
    ///
    /// # Errors
    /// Fails when there is no randomness.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), StateError> {
        let sealed = self.state.seal.seal(self.table.as_str(), name, value)?;
        self.changed.push((name.to_vec(), Some(sealed)));
        Ok(())
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &[u8]) {
        self.changed.push((name.to_vec(), None));
    }
}

impl State {
    /// Changes values of one kind, soon: whoever reads here sees the change at once; it is on the
    /// disk a tenth of a second later, with those that came meanwhile, or with the next
    /// [`State::change`] or [`State::flush`]. For what costs only a call when it is lost, as a kill
    /// within that time does, or a disk that fails (that is logged). Never blocks: when changes come
    /// faster than the disk takes them, a new value is not kept, and the one before it is forgotten.
    ///
    /// # Errors
    /// Fails when `change` does; then nothing is changed.
    pub fn change_lazily<T>(
        self: &Arc<Self>,
        table: Table,
        change: impl FnOnce(&mut LazyChange<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut under_way = LazyChange {
            state: self,
            table,
            changed: Vec::new(),
        };
        let result = change(&mut under_way)?;
        let mut queue = self.queue.0.lock();
        let overflowed = queue.overflows;
        for (name, sealed) in under_way.changed {
            queue.put_within_bounds((table, name), sealed);
        }
        let overflows = queue.overflows && !overflowed;
        let starts = !queue.runs;
        queue.runs = true;
        drop(queue);
        if overflows {
            tracing::warn!("the disk is too slow: not all tokens are kept over a restart");
        }
        if starts {
            let state = Arc::clone(self);
            let thread = thread::Builder::new().name("state".to_owned());
            if let Err(error) = thread.spawn(move || state.write_on()) {
                // What waits is written with the next change.
                tracing::warn!(%error, "no thread can be started that writes the state");
                self.queue.0.lock().runs = false;
            }
        }
        Ok(result)
    }

    /// Puts on the disk what was changed lazily. Blocks.
    ///
    /// # Errors
    /// Fails when the database does; the values that it was about are lost then. What was forgotten
    /// is tried again with the next change.
    pub fn flush(&self) -> Result<(), StateError> {
        if self.queue.is_empty() {
            return Ok(());
        }
        self.settled((|| {
            // Whoever writes now has ended when this begins.
            let transaction = self.write()?;
            let taken = self.queue.take();
            if taken.batch.is_empty() {
                transaction.abort()?;
                return Ok(());
            }
            let written = taken
                .write(&transaction)
                .and_then(|()| Ok(transaction.commit()?));
            match written {
                Ok(()) => taken.forget(),
                Err(_) => taken.forget_values(),
            }
            written
        })())
    }

    fn write_on(&self) {
        loop {
            // Tokens of many tenants that are renewed one after another share one sync.
            thread::sleep(GATHERING);
            let flushed = self.flush();
            let mut queue = self.queue.0.lock();
            if flushed.is_err() {
                // It is logged, and each value that is lost costs a call.
                queue.forget_values();
            }
            // What somebody else writes may be given back.
            let is_done = queue.waiting.is_empty() && queue.written.is_empty();
            if is_done || flushed.is_err() {
                queue.runs = false;
                return;
            }
        }
    }
}

impl Inner {
    /// Where too much waits, of a new value only that the old one is over: that must never come
    /// back, and takes little.
    fn put_within_bounds(&mut self, place: (Table, Vec<u8>), sealed: Option<Vec<u8>>) {
        let is_too_much = sealed.is_some() && self.bytes > MOST_WAITING;
        self.overflows |= is_too_much;
        self.put(place, sealed.filter(|_| !is_too_much));
    }

    /// Gives up what is not on the disk yet; what is to be taken off it still is.
    fn forget_values(&mut self) {
        self.waiting.retain(|_, sealed| sealed.is_none());
        let names = self.waiting.keys().map(|(_, name)| OVERHEAD + name.len());
        self.bytes = names.sum();
    }

    fn put(&mut self, place: (Table, Vec<u8>), sealed: Option<Vec<u8>>) {
        let of_value = |sealed: &Option<Vec<u8>>| sealed.as_ref().map_or(0, Vec::len);
        let (name, length) = (OVERHEAD + place.1.len(), of_value(&sealed));
        let former = self.waiting.insert(place, sealed);
        let former = former.map_or(0, |former| name + of_value(&former));
        self.bytes = (self.bytes + name + length).saturating_sub(former);
    }
}

impl Queue {
    /// Whether nothing is under way to the disk.
    pub(super) fn is_empty(&self) -> bool {
        let queue = self.0.lock();
        queue.waiting.is_empty() && queue.written.is_empty()
    }

    /// What is to become of a value: sealed, or nothing.
    pub(super) fn find(&self, table: Table, name: &[u8]) -> Option<Option<Vec<u8>>> {
        let queue = self.0.lock();
        if queue.waiting.is_empty() && queue.written.is_empty() {
            return None;
        }
        let place = (table, name.to_vec());
        let found = queue.waiting.get(&place);
        found.or_else(|| queue.written.get(&place)).cloned()
    }

    /// What is to become of the values of one kind.
    pub(super) fn of(&self, table: Table) -> HashMap<Vec<u8>, Option<Vec<u8>>> {
        let queue = self.0.lock();
        let mut all = HashMap::new();
        for batch in [&*queue.written, &queue.waiting] {
            let of_it = batch.iter().filter(|((kind, _), _)| *kind == table);
            all.extend(of_it.map(|((_, name), sealed)| (name.clone(), sealed.clone())));
        }
        all
    }

    /// Takes what waits into a transaction. They are given back unless it is told what became of
    /// them.
    pub(super) fn take(&self) -> Taken<'_> {
        let mut queue = self.0.lock();
        let batch = Arc::new(std::mem::take(&mut queue.waiting));
        queue.bytes = 0;
        queue.overflows = false;
        queue.written = Arc::clone(&batch);
        Taken {
            queue: self,
            batch,
            settled: Settled::None,
        }
    }
}

/// What waited, in a transaction.
pub(super) struct Taken<'a> {
    queue: &'a Queue,
    batch: Arc<Batch>,
    settled: Settled,
}

/// Of which it is known what became of them.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Settled {
    /// Of all: they are on the disk.
    All,
    /// Of none.
    None,
    /// Of the values: they are lost.
    Values,
}

impl Taken<'_> {
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), StateError> {
        for ((table, name), sealed) in self.batch.iter() {
            let mut stored = transaction.open_table(table.definition())?;
            match sealed {
                Some(sealed) => stored.insert(name.as_slice(), sealed.as_slice())?,
                None => stored.remove(name.as_slice())?,
            };
        }
        Ok(())
    }

    /// They are on the disk.
    pub(super) fn forget(mut self) {
        self.settled = Settled::All;
    }

    /// The values are lost. What was to be taken off the disk is given back.
    pub(super) fn forget_values(mut self) {
        self.settled = Settled::Values;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.0.lock();
        // Somebody else may have begun already.
        if Arc::ptr_eq(&queue.written, &self.batch) {
            queue.written = Arc::default();
        }
        if self.settled == Settled::All {
            return;
        }
        for (place, sealed) in self.batch.iter() {
            let is_lost = sealed.is_some() && self.settled == Settled::Values;
            if !is_lost && !queue.waiting.contains_key(place) {
                queue.put(place.clone(), sealed.clone());
            }
        }
    }
}

/// How long changes are gathered.
const GATHERING: Duration = Duration::from_millis(100);
/// In bytes; beyond, no value is taken.
const MOST_WAITING: usize = 16 * 1024 * 1024;
/// Of one change in memory, in bytes.
const OVERHEAD: usize = 100;
