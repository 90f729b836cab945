//! The file of what is frozen: plain JSON, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Hold;

/// Why freezes cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// The file is no list of freezes.
    #[error(
        "{path} says what is frozen, and cannot be understood ({what}): mend it, or replace it by \
         {{\"version\":1,\"frozen\":[]}}, which thaws all"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file, or its directory, failed.
    #[error("{path}, which says what is frozen, {what}: {source}")]
    File {
        /// The file.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl FreezeError {
    /// Whether trying again is no use, since the file itself is wrong.
    pub(super) fn is_fault_of_file(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        }
    }
}

/// Which file it is, and in which state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) holds: Vec<Hold>,
    pub(super) stamp: Stamp,
}

#[derive(Debug)]
pub(super) struct HoldFile {
    directory: PathBuf,
    path: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    frozen: Vec<Hold>,
}

/// The steps of replacing the file; the process may end after any of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Created,
    HalfWritten,
    Written,
    Synced,
    Renamed,
}

impl HoldFile {
    pub(super) fn within(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            path: directory.join(NAME),
        }
    }

    pub(super) fn display(&self) -> impl std::fmt::Display {
        self.path.display()
    }

    pub(super) fn error(&self, what: &'static str, source: io::Error) -> FreezeError {
        let path = self.path.display().to_string();
        FreezeError::File { path, what, source }
    }

    /// Which file it is now; none if there is none.
    pub(super) fn stamp(&self) -> io::Result<Option<Stamp>> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the file says; none if there is none.
    pub(super) fn read(&self) -> Result<Option<Content>, FreezeError> {
        let fault = |source| self.error("cannot be read", source);
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(fault)?,
        };
        let stamp = Stamp::of(&file.metadata().map_err(fault)?);
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fault)?;
        let damaged = |what: String| FreezeError::Damaged {
            path: self.path.display().to_string(),
            what,
        };
        let document: Document =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if document.version != VERSION {
            return Err(damaged(format!("version {}", document.version)));
        }
        // Somebody with an editor may have frozen the same twice; the first says it.
        let mut holds: Vec<Hold> = Vec::with_capacity(document.frozen.len());
        for hold in document.frozen {
            if holds.iter().all(|other| other.scope != hold.scope) {
                holds.push(hold);
            }
        }
        Ok(Some(Content { holds, stamp }))
    }

    /// Keeps other processes from changing the file until the result is dropped.
    pub(super) fn lock(&self) -> Result<File, FreezeError> {
        let fault = |source| self.error("cannot be locked", source);
        let directory = File::open(&self.directory).map_err(fault)?;
        for _ in 0..TRIES {
            match directory.try_lock() {
                Ok(()) => return Ok(directory),
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(TRY_AGAIN),
                Err(fs::TryLockError::Error(error)) => return Err(fault(error)),
            }
        }
        Err(fault(busy()))
    }

    /// Replaces the file; what was there before is there, whole, until the new one is.
    pub(super) fn write(&self, holds: &[Hold]) -> Result<Stamp, FreezeError> {
        self.replace(holds, |_| Ok(()))
            .map_err(|source| self.error("cannot be written", source))
    }

    pub(super) fn replace(
        &self,
        holds: &[Hold],
        mut done: impl FnMut(Step) -> io::Result<()>,
    ) -> io::Result<Stamp> {
        let document = Document {
            version: VERSION,
            frozen: holds.to_vec(),
        };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        let beside = self.path.with_extension("json.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        self.give_to_owner(&file)?;
        done(Step::Created)?;
        let (half, rest) = text.split_at(text.len() / 2);
        file.write_all(half)?;
        done(Step::HalfWritten)?;
        file.write_all(rest)?;
        done(Step::Written)?;
        file.sync_all()?;
        done(Step::Synced)?;
        let stamp = Stamp::of(&file.metadata()?);
        fs::rename(&beside, &self.path)?;
        done(Step::Renamed)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(stamp)
    }

    /// Root may freeze from outside, and the gateway must be able to read it.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let owner = fs::metadata(&self.directory)?;
        if file.metadata()?.uid() == owner.uid() {
            return Ok(());
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Somebody else works on the file, and does not come to an end.
pub(super) fn busy() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "somebody else has held it for two seconds",
    )
}

/// In the state directory.
const NAME: &str = "frozen.json";
const VERSION: u32 = 1;
const TRIES: u32 = 40;
const TRY_AGAIN: Duration = Duration::from_millis(50);
