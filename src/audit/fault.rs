//! What can go wrong with the log's files.

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::Unusable;
use super::keys::BadKey;

/// What can be done about a log that is not what its checkpoints say.
macro_rules! remedy {
    () => {
        "`vspc-gateway audit verify` tells more. Keep a copy for the inquiry. To begin a new log \
         move the audit directory aside, and the file of `[audit] checkpoints`, if there is one"
    };
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is a tree, but no checkpoint to hold it against.
    #[error(
        "{path} has a log with a tree and not one of its checkpoints: the .notes files were \
         deleted. Put them back. {}", remedy!()
    )]
    CheckpointsLost {
        /// The directory.
        path: PathBuf,
    },
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
    /// There are checkpoints, and none of them was signed for this log.
    #[error(
        "no checkpoint in {path} was signed by a key of this log: the log or its keys are not those \
         that were there. Put back signing.key and verifier.keys; each log has a file of its own for \
         `[audit] checkpoints`. {}", remedy!()
    )]
    Foreign {
        /// The file with the checkpoints.
        path: PathBuf,
    },
    /// The key that signs checkpoints cannot be used.
    #[error(
        "the key for audit checkpoints, {path}, cannot be used: {source}. Put it back, or set \
         `[audit] signing_key` to another: old checkpoints stay valid"
    )]
    Key {
        /// Where it is, or would be.
        path: PathBuf,
        /// What is wrong with it.
        source: BadKey,
    },
    /// Records that were in the log are not there any more.
    #[error(
        "the audit log has no record {seq}, which should be in {path}: it was removed, or its file \
         was. {}", remedy!()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The first that is missing.
        seq: u64,
    },
    /// The records are not those of a checkpoint.
    #[error(
        "the first {size} audit records are not those that the checkpoint in {checkpoint} was signed \
         for; {}. {}", first_changed(path, *seq), remedy!()
    )]
    Rewritten {
        /// The file where that begins, or the newest.
        path: PathBuf,
        /// The first record that is not as it was, if that can be told.
        seq: Option<u64>,
        /// The size of the checkpoint.
        size: u64,
        /// Where the checkpoint is.
        checkpoint: PathBuf,
    },
    /// The log ends before a checkpoint of it does.
    #[error(
        "{path} ends before record {next}, but the checkpoint in {checkpoint} was signed for {size} \
         records: the end of the log was cut off, or an older copy was put back. {}", remedy!()
    )]
    RolledBack {
        /// The newest file.
        path: PathBuf,
        /// The number that the next record would get: the first that is missing.
        next: u64,
        /// The size of the checkpoint.
        size: u64,
        /// Where the checkpoint is.
        checkpoint: PathBuf,
    },
    /// The tree cannot be built anew.
    #[error(
        "{path} is missing or damaged, and the records before {first} are not kept any more: it cannot \
         be built anew. Put back a copy of it. {}", remedy!()
    )]
    TreeLost {
        /// The file of the tree.
        path: PathBuf,
        /// The first record that is kept.
        first: u64,
    },
    /// The keys that verify checkpoints cannot be read.
    #[error("{0}. Put back what was there, or delete the line")]
    Verifiers(Unusable),
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

fn first_changed(path: &Path, seq: Option<u64>) -> String {
    match seq {
        Some(seq) => format!(
            "the first that is not as it was is {seq}, in {}",
            path.display()
        ),
        None => format!(
            "which of them cannot be told; the newest are in {}",
            path.display()
        ),
    }
}
