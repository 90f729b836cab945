//! What can go wrong with the log's files.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The last record of the newest file is none.
    #[error(
        "the last line of {path}, at byte {offset}, is no audit record: somebody edited the file. \
         Keep a copy for the inquiry, then move the file out of the audit directory"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file the line begins.
        offset: u64,
    },
    /// The directory is missing and cannot be made.
    #[error(
        "cannot make the audit directory {path}: {source}. Make it and give it to the user that \
         the gateway runs as, or set `[audit] directory` to another place"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The flight recorder cannot be made.
    #[error(
        "the flight recorder: {0}. The user that the gateway runs as must own the folder `flight` \
         in the audit directory, and the disk needs about 1 KiB for each place of `[audit] queue`"
    )]
    Flight(Fault),
    /// A file in the directory cannot be used.
    #[error("{0}. The user that the gateway runs as must own the audit directory and its files")]
    File(#[from] Fault),
    /// The writer's thread cannot be started.
    #[error("cannot start the audit writer: {0}")]
    Thread(io::Error),
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct Fault {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Fault {
    /// Makes a fault of what the operating system says to an action on a path.
    pub(super) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
