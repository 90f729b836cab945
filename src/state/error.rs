//! Why the state cannot be used.

use std::io;

use crate::secret::SecretError;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A value was changed, or belongs to another place.
    #[error("a value of the state directory is damaged or was moved")]
    Damaged,
    /// The database failed.
    #[error("the state database: {0}")]
    Database(Box<redb::Error>),
    /// A file or the directory failed.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database is there, but the key that sealed it is not.
    #[error(
        "{0} is missing, and state.redb beside it was sealed with it: bring it back, or move \
         state.redb away, which ends all log-ins at the gateway"
    )]
    KeyMissing(String),
    /// The database was moved or deleted while it was in use.
    #[error(
        "{0} is not the file that was opened: it was moved or deleted; bring it back, or start the \
         gateway anew"
    )]
    Moved(String),
    /// The database cannot be opened.
    #[error(
        "{path} cannot be used ({source}): bring a copy back, or move it away, which ends all \
         log-ins at the gateway"
    )]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        source: Box<redb::Error>,
    },
    /// The key could not be had.
    #[error("the state key: {0}")]
    Key(#[from] SecretError),
    /// The key is not one.
    #[error("the state key must be 64 hex digits, as `openssl rand -hex 32` prints")]
    NotAKey,
    /// The key is not the one that sealed what is there.
    #[error(
        "the state in {0} was sealed with another key: give that one, or move state.redb away, \
         which ends all log-ins at the gateway"
    )]
    WrongKey(String),
}

impl<E: Into<redb::Error>> From<E> for StateError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}
