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
    /// within that time does, or a disk that fails (that is logged). Blocks only when
    /// changes come faster than the disk takes them.
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
        let changed = under_way.changed;
        let mut queue = self.queue.0.lock();
        for (name, sealed) in changed {
            queue.put((table, name), sealed);
        }
        let (is_full, starts) = (queue.bytes > MOST_WAITING, !queue.runs);
        queue.runs = true;
        drop(queue);
        if starts {
            let state = Arc::clone(self);
            let thread = thread::Builder::new().name("state".to_owned());
            if thread.spawn(move || state.write_on()).is_err() {
                self.write_on();
            }
        }
        if is_full {
            self.flush().ok();
        }
        Ok(result)
    }

    /// Puts on the disk what was changed lazily. Blocks.
    ///
    /// # Errors
    /// Fails when the database does; what it was about is lost then.
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
            taken.forget();
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
                queue.waiting.clear();
                queue.bytes = 0;
            }
            // What somebody else writes may be given back.
            if queue.waiting.is_empty() && queue.written.is_empty() {
                queue.runs = false;
                return;
            }
        }
    }
}

impl Inner {
    fn put(&mut self, place: (Table, Vec<u8>), sealed: Option<Vec<u8>>) {
        self.bytes += OVERHEAD + place.1.len() + sealed.as_ref().map_or(0, Vec::len);
        self.waiting.insert(place, sealed);
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
        queue.written = Arc::clone(&batch);
        Taken {
            queue: self,
            batch,
            settled: false,
        }
    }
}

/// What waited, in a transaction.
pub(super) struct Taken<'a> {
    queue: &'a Queue,
    batch: Arc<Batch>,
    /// Whether they are on the disk, or lost.
    settled: bool,
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

    /// They are on the disk, or lost.
    pub(super) fn forget(mut self) {
        self.settled = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.0.lock();
        // Somebody else may have begun already.
        if Arc::ptr_eq(&queue.written, &self.batch) {
            queue.written = Arc::default();
        }
        if self.settled {
            return;
        }
        for (place, sealed) in self.batch.iter() {
            if !queue.waiting.contains_key(place) {
                queue.put(place.clone(), sealed.clone());
            }
        }
    }
}

/// In bytes; beyond, whoever changes something waits for the disk.
const GATHERING: Duration = Duration::from_millis(100);
const MOST_WAITING: usize = 16 * 1024 * 1024;
/// Of one change in memory, in bytes.
const OVERHEAD: usize = 100;
