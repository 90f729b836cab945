//! A disk that fails as told.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::audit::disk::{Disk, Real};

#[derive(Clone, Default)]
pub(super) struct Script(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub(super) struct State {
    /// Writes put half of the bytes on the disk and then fail.
    pub(super) fail_writes: bool,
    /// How many syncs fail.
    pub(super) fail_syncs: usize,
    pub(super) fail_cuts: bool,
    pub(super) panic: bool,
    /// Syncs wait until this is unset.
    pub(super) hold: bool,
    /// Syncs that wait.
    pub(super) held: usize,
    pub(super) syncs: usize,
    /// The length of each file, by inode, at its last sync.
    pub(super) synced: HashMap<u64, u64>,
}

impl Script {
    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    pub(super) fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.0.lock())
    }
}

impl Disk for Script {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.get(|state| state.panic), "scripted");
        if self.get(|state| state.fail_writes) {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Short writes are the rule here.
        Real.write(file, &bytes[..bytes.len().div_ceil(2)])
    }

    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        Real.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.fail_syncs > 0 {
            state.fail_syncs -= 1;
            return Err(io::Error::other("scripted sync failure"));
        }
        state.held += 1;
        self.0.1.wait_while(&mut state, |state| state.hold);
        state.held -= 1;
        state.syncs += 1;
        let metadata = file.metadata()?;
        state.synced.insert(metadata.ino(), metadata.len());
        Ok(())
    }

    fn cut(&mut self, file: &File, len: u64) -> io::Result<()> {
        if self.get(|state| state.fail_cuts) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Real.cut(file, len)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Real.publish(from, to)
    }
}
