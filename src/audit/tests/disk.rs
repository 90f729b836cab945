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
pub(in crate::audit) struct Script(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub(in crate::audit) struct State {
    /// Writes put half of the bytes on the disk and then fail.
    pub(in crate::audit) fail_writes: bool,
    /// How many syncs fail.
    pub(in crate::audit) fail_syncs: usize,
    pub(in crate::audit) fail_cuts: bool,
    /// Nothing of the tree can be written.
    pub(in crate::audit) fail_tree: bool,
    pub(in crate::audit) panic: bool,
    /// Syncs wait until this is unset.
    pub(in crate::audit) hold: bool,
    /// Syncs that wait.
    pub(in crate::audit) held: usize,
    pub(in crate::audit) syncs: usize,
    /// The length of each file, by inode, at its last sync.
    pub(in crate::audit) synced: HashMap<u64, u64>,
}

impl Script {
    pub(in crate::audit) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    pub(in crate::audit) fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
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
        if self.get(|state| state.fail_tree) {
            return Err(io::ErrorKind::StorageFull.into());
        }
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
