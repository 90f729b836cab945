//! Who uses a state directory: the processes that serve hold its lock together; whoever puts another
//! database in place, or seals all of it anew, must hold it alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;

use tokio::time::{Duration, Instant};

use super::{StateError, file_error};

/// A lock on a directory that ends when it is dropped, and with its process.
pub(super) struct Hold {
    file: File,
    alone: bool,
}

impl Hold {
    /// Alone where nobody else is, else together with the others. Waits for one who is alone.
    ///
    /// # Errors
    /// Fails when the lock cannot be had, or somebody is alone for long.
    pub(super) fn take(directory: &Path) -> Result<Self, StateError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(hold) = Self::alone(directory)? {
                return Ok(hold);
            }
            let file = open(directory)?;
            if is_held(file.try_lock_shared(), directory)? {
                return Ok(Self { file, alone: false });
            }
            if Instant::now() > deadline {
                return Err(StateError::Busy(directory.display().to_string()));
            }
            thread::sleep(BEAT);
        }
    }

    /// Alone, if nobody else is there.
    ///
    /// # Errors
    /// Fails when the lock cannot be used at all.
    pub(super) fn alone(directory: &Path) -> Result<Option<Self>, StateError> {
        let file = open(directory)?;
        let held = is_held(file.try_lock(), directory)?;
        Ok(held.then_some(Self { file, alone: true }))
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Lets others in. Somebody may be alone in between: what was seen before must be looked at.
    ///
    /// # Errors
    /// Fails when the lock cannot be used.
    pub(super) fn share(&mut self, directory: &Path) -> Result<(), StateError> {
        self.alone = false;
        self.file
            .lock_shared()
            .map_err(|source| file_error("cannot lock", &directory.join(LOCK), source))
    }
}

fn open(directory: &Path) -> Result<File, StateError> {
    let path = directory.join(LOCK);
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| file_error("cannot open", &path, source))
}

fn is_held(tried: Result<(), TryLockError>, directory: &Path) -> Result<bool, StateError> {
    let fail = |source: io::Error| file_error("cannot lock", &directory.join(LOCK), source);
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// Its name in the directory.
const LOCK: &str = "lock";
/// Longer than the opening of a large database takes.
const PATIENCE: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_millis(10);
