//! Why the state cannot be used.

use std::io;

use crate::secret::SecretError;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody has the directory alone, and for long.
    #[error("{0} is being opened or restored by another process: wait until it is done")]
    Busy(String),
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
    #[error("{0} is missing, and state.redb beside it was sealed with it")]
    KeyMissing(String),
    /// The database was moved or deleted while it was in use.
    #[error(
        "{0} is not the file that was opened: it was moved or deleted; bring it back, or start the \
         gateway anew"
    )]
    Moved(String),
    /// It cannot be read, and may not be set aside either, since another process may be using it.
    #[error(
        "{0}; it is left where it is, because another process may be using it: bring back what is \
         missing, or end that process and start without --upgrade, which sets the state aside and \
         ends all log-ins at the gateway"
    )]
    NotSetAside(Box<Self>),
    /// The database cannot be opened now.
    #[error("{path} cannot be opened: {source}")]
    Unopened {
        /// The file.
        path: String,
        /// What is wrong.
        source: Box<redb::Error>,
    },
    /// The file is not a database that can be read.
    #[error("{path} is damaged, or no database of this version ({source})")]
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
    #[error("the state key must be 64 hex digits, as `openssl rand -hex 32` prints, on each line")]
    NotAKey,
    /// None of the keys is the one that sealed what is there.
    #[error("the state in {0} was sealed with another key")]
    WrongKey(String),
}

impl StateError {
    /// Whether the database will not be readable however often it is tried with these keys.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::KeyMissing(_) | Self::Unusable { .. } | Self::WrongKey(_)
        )
    }

    /// What to do to read it after all.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::KeyMissing(_) | Self::WrongKey(_) => {
                "stop the gateway, add the key that sealed it to the state key as a further line, \
                 give the file its name back in place of the new one, and start again"
            }
            _ => "restore a backup with `vspc-gateway state restore`",
        }
    }

    /// What opening a file ended with.
    pub(super) fn of_opening(path: &str, error: redb::Error) -> Self {
        use redb::Error;
        let path = path.to_owned();
        let is_damage = match &error {
            Error::Corrupted(_)
            | Error::UpgradeRequired(_)
            | Error::TableTypeMismatch { .. }
            | Error::TableIsMultimap(_)
            | Error::TypeDefinitionChanged { .. } => true,
            Error::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        let source = Box::new(error);
        if is_damage {
            Self::Unusable { path, source }
        } else {
            Self::Unopened { path, source }
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StateError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}
