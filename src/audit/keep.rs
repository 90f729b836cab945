//! What is done to finished files while the log is written: they are indexed, watched, and removed
//! once they are older than is asked for.
//!
//! All of that is done by a thread of its own, which takes no lock: finished files do not change,
//! and the newest one is left alone. Nothing waits for it.

pub(super) mod retention;
pub(super) mod watch;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::files::FileSettings;
use super::query::index::{self, Built};
use super::queue::Shared;
use retention::Retention;
use watch::Watch;

/// How often the directory is looked at for files that are finished.
const LOOK: Duration = Duration::from_secs(2);
/// How long to leave the processor to others after each block that was indexed.
const PAUSE: Duration = Duration::from_millis(1);
/// How often files that are too old are looked for.
const REMOVE_EVERY: Duration = Duration::from_secs(3600);

/// How the files of the log stand.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// How many there are.
    pub files: u64,
    /// The bytes that they have.
    pub bytes: u64,
    /// The number of the oldest record.
    pub first: u64,
    /// How many are old enough to be removed, but hold records that a sink has not got or no
    /// checkpoint covers; with the name of the sink that is the farthest behind, or `checkpoint`.
    pub held: Option<(String, u64)>,
    /// How many finished files were deleted, cut, replaced or changed while the process ran.
    pub damaged: u64,
}

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    kept: Arc<Mutex<Kept>>,
    _stop: Sender<()>,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(directory: PathBuf, files: FileSettings, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let kept = Arc::<Mutex<Kept>>::default();
        let work = Work {
            retention: Retention::new(directory.clone(), files, Arc::clone(&shared)),
            watch: Watch::new(directory.clone(), shared),
            directory,
            kept: Arc::clone(&kept),
            stopped,
            given_up: HashSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name("audit-keep".to_owned())
            .spawn(move || work.run());
        if let Err(error) = thread {
            tracing::error!(%error, "old audit files are neither indexed nor removed: cannot start a thread");
        }
        Self { kept, _stop: stop }
    }

    /// How the files of the log stand.
    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().clone()
    }
}

struct Work {
    directory: PathBuf,
    retention: Retention,
    watch: Watch,
    kept: Arc<Mutex<Kept>>,
    stopped: Receiver<()>,
    /// Files that could not be indexed, by their first record.
    given_up: HashSet<u64>,
}

impl Work {
    fn run(mut self) {
        let mut removed: Option<Instant> = None;
        // A command that only opens the log for a moment does nothing else to it.
        while !self.is_stopped(LOOK) {
            if removed.is_none_or(|at| at.elapsed() >= REMOVE_EVERY) {
                removed = Some(Instant::now());
                let held = self.retention.pass(&|time| is_stopped(&self.stopped, time));
                self.kept.lock().held = held;
            }
            self.look();
            self.watch.look();
            self.kept.lock().damaged = self.watch.damaged();
            self.index();
        }
    }

    fn is_stopped(&self, time: Duration) -> bool {
        is_stopped(&self.stopped, time) || self.retention.is_closed()
    }

    fn look(&self) {
        if let Ok((files, bytes, first)) = retention::extent(&self.directory) {
            let mut kept = self.kept.lock();
            (kept.files, kept.bytes, kept.first) = (files, bytes, first);
        }
    }

    fn index(&mut self) {
        let Ok(missing) = index::unindexed(&self.directory) else {
            return;
        };
        for (first, end, _) in missing {
            if self.given_up.contains(&first) {
                continue;
            }
            let mut stop = |_| self.is_stopped(PAUSE);
            match index::build(&self.directory, first, end, &mut stop) {
                Ok(Built::Made) => {}
                Ok(Built::Stopped) => return,
                Err(error) => {
                    tracing::warn!(%error, file = first, "an audit file cannot be indexed: queries read all of it");
                    self.given_up.insert(first);
                }
            }
        }
    }
}

/// Waits, and says whether the thread is to end.
fn is_stopped(stopped: &Receiver<()>, time: Duration) -> bool {
    matches!(
        stopped.recv_timeout(time),
        Ok(()) | Err(RecvTimeoutError::Disconnected)
    )
}

#[cfg(test)]
mod tests;
