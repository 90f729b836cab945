//! A copy of the state in one file, how it is made while gateways run, and how it is brought back.

mod backup;
mod form;
mod info;
mod plain;
mod restore;

pub use backup::{BackedUp, Backup, backup};
pub use info::{Info, Prospect, TableInfo, info, prospect};
pub use restore::{Restore, Restored, restore};

use std::io;
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _,
    StorageBackend as _,
};

use super::files::file_error;
use super::open::{builder, guarded};
use super::seal::Ring;
use super::{Settings, StateError};
use crate::secret::{Secret, SecretSource};

/// Why a copy cannot be made or brought back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file is not what was written.
    #[error("{path} is damaged, or no backup of a state: {what}; nothing was changed")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is a file of that name.
    #[error("{0} exists: give another name, or --force to replace it")]
    Exists(String),
    /// A file failed.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Somebody uses the state.
    #[error(
        "a gateway is using the state in {0}: stop it (SIGTERM), restore, and start it again; nothing \
         was changed"
    )]
    InUse(String),
    /// It is of a form that is not known here.
    #[error(
        "{path} was made by a later version of the gateway ({version}): restore it with that one"
    )]
    Later {
        /// The file.
        path: String,
        /// The version that made it.
        version: String,
    },
    /// There is no key to open a backup with.
    #[error(
        "{path} holds no key, and none is there to open it: put the key that sealed it (ids: {ids}) \
         into {place}, for the owner only"
    )]
    NoKey {
        /// The backup.
        path: String,
        /// The ids of the keys at the time of the backup.
        ids: String,
        /// Where the key belongs.
        place: String,
    },
    /// The plain files cannot be brought together.
    #[error("{path}: {what}; nothing was changed")]
    Plain {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no state.
    #[error("there is no state in {0} yet")]
    Nothing(String),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is in the backup was sealed with a key that is not there.
    #[error(
        "{path} was sealed with a key that is not there (ids at the time of the backup: {ids}): add it \
         to {place} as a further line; nothing was changed"
    )]
    WrongKey {
        /// The backup.
        path: String,
        /// The ids of the keys at the time of the backup.
        ids: String,
        /// Where the key belongs.
        place: String,
    },
}

impl CopyError {
    fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        Self::File { what, path, source }
    }
}

/// Is told how much is done, of how much.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// A database that is read while others may be writing to it.
enum Reader {
    Beside(ReadOnlyDatabase),
    /// It was left by a process that was killed, and is mended by opening it.
    Mended(Database),
}

/// What is done with a database that a killed process left.
#[derive(Clone, Copy)]
enum Unclean {
    /// A copy in memory is mended.
    Copy,
    /// It is mended.
    Mend,
}

impl Reader {
    fn open(settings: &Settings, unclean: Unclean) -> Result<Self, StateError> {
        let path = settings.database();
        let open = || match (builder().open_read_only(&path), unclean) {
            (Ok(database), _) => Ok(Self::Beside(database)),
            (Err(DatabaseError::RepairAborted), Unclean::Mend) => {
                Ok(Self::Mended(builder().open(&path)?))
            }
            (Err(DatabaseError::RepairAborted), Unclean::Copy) => {
                let content = std::fs::read(&path)
                    .map_err(|source| file_error("cannot read", &path, source))?;
                let copy = InMemoryBackend::new();
                let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
                copy.set_len(length)
                    .and_then(|()| copy.write(0, &content))?;
                Ok(Self::Mended(Builder::new().create_with_backend(copy)?))
            }
            (Err(error), _) => Err(error.into()),
        };
        guarded(open).map_err(|error| match error {
            StateError::Database(error) => {
                StateError::of_opening(&path.display().to_string(), *error)
            }
            other => other,
        })
    }

    fn begin(&self) -> Result<ReadTransaction, StateError> {
        Ok(match self {
            Self::Beside(database) => database.begin_read()?,
            Self::Mended(database) => database.begin_read()?,
        })
    }
}

/// The keys of a state, as their text, if there are any yet.
fn key_text(settings: &Settings) -> Result<Option<Secret>, StateError> {
    match &settings.key {
        Some(source) => Ok(Some(source.read()?)),
        None if settings.own_key().exists() => {
            Ok(Some(SecretSource::File(settings.own_key()).read()?))
        }
        None => Ok(None),
    }
}

fn parse_ring(text: &Secret) -> Result<Ring, StateError> {
    Ring::parse(text).ok_or(StateError::NotAKey)
}

/// Where a key belongs, for a message.
fn key_place(settings: &Settings) -> String {
    match &settings.key {
        Some(SecretSource::Env(name)) => format!("environment variable {name} (state.key)"),
        Some(SecretSource::File(path)) => format!("{} (state.key)", path.display()),
        None => settings.own_key().display().to_string(),
    }
}

#[cfg(test)]
mod tests;
