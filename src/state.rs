//! What survives a restart: one database in the state directory, every value in it sealed.
//!
//! Two processes may use one directory at a time, as they do during an upgrade.

mod anew;
mod change;
pub mod copy;
mod error;
mod files;
mod hold;
mod lazily;
mod open;
mod seal;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use error::StateError;
pub use lazily::LazyChange;
pub use open::{SetAside, is_key};
pub use seal::KeyId;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase as _, TableDefinition, WriteTransaction};
use zeroize::Zeroizing;

use crate::secret::SecretSource;
use files::{file_error, identity};
use hold::Hold;
use lazily::Queue;
use open::{Others, builder, new_key};
use seal::Ring;

/// Where and under which key it is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub directory: PathBuf,
    /// The keys, one a line, of 64 hex digits: the first seals what is kept, all open it. Absent,
    /// one is made at the first start and lies in the directory, in the file `key`.
    pub key: Option<SecretSource>,
}

impl Settings {
    /// The database.
    fn database(&self) -> PathBuf {
        self.directory.join("state.redb")
    }

    /// The keys, unless they are kept elsewhere.
    fn own_key(&self) -> PathBuf {
        self.directory.join("key")
    }
}

/// A kind of values.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Table {
    /// Which codes of second factors were used.
    Codes,
    /// Which refresh tokens of the gateway were used.
    Logins,
    /// What the sessions of those live on by who act as themselves.
    Sessions,
    /// The sessions of the gateway's own identities.
    Chains,
    /// The key of fingerprints.
    Fingerprints,
    /// Impersonated tokens.
    Leases,
    /// The keys that sign the gateway's tokens.
    TokenKeys,
}

/// An opened state directory.
pub struct State {
    database: ArcSwap<Database>,
    /// The file, and which one it was when it was opened; none in memory.
    file: Option<(PathBuf, (u64, u64))>,
    is_new: bool,
    queue: Queue,
    restored: Option<String>,
    seal: Ring,
    set_aside: Option<SetAside>,
    /// Let go of after the database.
    hold: Option<Hold>,
}

/// A value that was sealed.
pub type Opened = Zeroizing<Vec<u8>>;

impl State {
    /// Opens a state directory, which is made if it is not there.
    ///
    /// A database that cannot be read, because it is damaged or none of the keys sealed it, is set
    /// aside, and a new one begun, unless another process uses it. What another key than the first
    /// sealed is sealed anew.
    ///
    /// # Errors
    /// Says what is wrong with the directory, the key or the database.
    pub fn open(settings: &Settings) -> Result<Self, StateError> {
        open::open(settings, Others::Unknown)
    }

    /// Opens a state directory that another process is using: nothing is set aside, and nothing
    /// sealed in a way that the other process might not know.
    ///
    /// # Errors
    /// Says what is wrong with the directory, the key or the database.
    pub fn open_beside(settings: &Settings) -> Result<Self, StateError> {
        open::open(settings, Others::Expected)
    }

    /// A state that ends with its process: for tests and measurements.
    ///
    /// # Errors
    /// Fails when the operating system gives no randomness.
    pub fn in_memory() -> Result<Self, StateError> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new())?;
        let seal = Ring::parse(&new_key()?).ok_or(StateError::NotAKey)?;
        let mut state = Self::of(database, seal);
        state.check_key(Path::new("memory"))?;
        Ok(state)
    }

    /// Whether there was nothing before: what was given out under another state is not known.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What was in its place and could not be read.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    /// Of which backup it was restored since the last start.
    pub fn restored(&self) -> Option<&str> {
        self.restored.as_deref()
    }

    /// The key by which fingerprints of what is secret are taken: random, made by the first process
    /// that asks, and the same for all that use this state and for its copies. Blocks.
    ///
    /// # Errors
    /// Fails when the database does, or there is no randomness.
    pub fn fingerprint_key(&self) -> Result<Opened, StateError> {
        // Almost always it is there, and nobody has to wait for a writer.
        if let Ok(Some(key)) = self.get(Table::Fingerprints, FINGERPRINT_KEY) {
            return Ok(key);
        }
        self.change(Table::Fingerprints, |change| {
            match change.get(FINGERPRINT_KEY) {
                Ok(Some(key)) => return Ok(key),
                // It is of no use any more: records from now on can be compared among themselves.
                Ok(None) | Err(StateError::Damaged) => {}
                Err(error) => return Err(error),
            }
            let key = Zeroizing::new(new_key()?.expose().as_bytes().to_vec());
            change.put(FINGERPRINT_KEY, &key)?;
            Ok(key)
        })
    }

    /// Whether the file is not any more the one that was opened.
    fn is_moved(&self) -> bool {
        let file = self.file.as_ref();
        file.is_some_and(|(path, opened)| identity(path).ok() != Some(*opened))
    }

    /// A transaction, if the database is still the file that was opened.
    fn write(&self) -> Result<WriteTransaction, StateError> {
        if let (true, Some((path, _))) = (self.is_moved(), &self.file) {
            return Err(StateError::Moved(path.display().to_string()));
        }
        Ok(self.database.load().begin_write()?)
    }

    /// After a disk was full or failed the database takes nothing more: it is opened anew for
    /// whoever comes next.
    fn settled<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
        let Err(error) = &result else {
            return result;
        };
        tracing::error!(%error, "the state cannot be read or written");
        let failed = matches!(error, StateError::Database(error)
            if matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo));
        if let (true, Some((path, _))) = (failed, &self.file) {
            match builder().open(path) {
                Ok(database) => self.database.store(Arc::new(database)),
                Err(error) => tracing::error!(%error, "the state cannot be opened anew"),
            }
        }
        result
    }

    /// All values of a kind that can be opened, by their names. Reads the disk.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn all(&self, table: Table) -> Result<Vec<(Vec<u8>, Opened)>, StateError> {
        let mut all = Vec::new();
        self.for_each(table, |name, opened| all.push((name.to_vec(), opened)))?;
        Ok(all)
    }

    /// Shows all values of a kind that can be opened, one by one, in no order, as they are at one
    /// moment. Reads the disk.
    ///
    /// # Errors
    /// Fails when the database does; some values may have been shown by then.
    pub fn for_each(
        &self,
        table: Table,
        mut each: impl FnMut(&[u8], Opened),
    ) -> Result<(), StateError> {
        // Before the transaction begins: what leaves the queue after that is in both.
        let waiting = self.queue.of(table);
        self.settled((|| {
            let transaction = self.database.load().begin_read()?;
            match transaction.open_table(table.definition()) {
                Ok(stored) => self.each_opened(table, &stored, |name, opened| {
                    if !waiting.contains_key(name) {
                        each(name, opened);
                    }
                }),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })())?;
        for (name, sealed) in waiting {
            if let Some(sealed) = sealed {
                each(&name, self.opened_value(table, &name, &sealed)?);
            }
        }
        Ok(())
    }

    /// The value of a name. Reads the disk.
    ///
    /// # Errors
    /// Fails when the database does, and on a damaged value.
    pub fn get(&self, table: Table, name: &[u8]) -> Result<Option<Opened>, StateError> {
        if let Some(waiting) = self.queue.find(table, name) {
            return waiting
                .map(|sealed| self.opened_value(table, name, &sealed))
                .transpose();
        }
        self.settled((|| {
            let transaction = self.database.load().begin_read()?;
            let stored = match transaction.open_table(table.definition()) {
                Ok(stored) => stored,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let sealed = stored.get(name)?.map(|value| value.value().to_vec());
            sealed
                .map(|sealed| self.opened_value(table, name, &sealed))
                .transpose()
        })())
    }

    /// Changes values of one kind; when it returns, the change is on the disk, whole, and so is what
    /// was changed lazily before. One change at a time, whichever process makes it. Blocks.
    ///
    /// # Errors
    /// Fails when `change` or the database does; then nothing is changed.
    pub fn change<T>(
        &self,
        table: Table,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        self.settled((|| {
            let transaction = self.write()?;
            let waited = self.queue.take();
            waited.write(&transaction)?;
            let result = change(&mut Change::new(self, table, &transaction))?;
            transaction.commit()?;
            waited.forget();
            Ok(result)
        })())
    }

    /// Shows what can be opened; what cannot be is counted in one line.
    fn each_opened(
        &self,
        table: Table,
        stored: &impl redb::ReadableTable<&'static [u8], &'static [u8]>,
        mut each: impl FnMut(&[u8], Opened),
    ) -> Result<(), StateError> {
        let mut lost = 0_u64;
        for entry in stored.iter()? {
            let (name, sealed) = entry?;
            match self.opened_value(table, name.value(), sealed.value()) {
                Ok(opened) => each(name.value(), opened),
                Err(_) => lost += 1,
            }
        }
        if lost > 0 {
            tracing::warn!(
                table = table.as_str(),
                values = lost,
                "values that are damaged, or whose key is gone, were passed over"
            );
        }
        Ok(())
    }

    fn opened_value(&self, table: Table, name: &[u8], sealed: &[u8]) -> Result<Opened, StateError> {
        self.seal
            .open(table.as_str(), name, sealed)
            .ok_or(StateError::Damaged)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Table {
    /// Every kind.
    const ALL: [Self; 7] = [
        Self::Chains,
        Self::Codes,
        Self::Fingerprints,
        Self::Leases,
        Self::Logins,
        Self::Sessions,
        Self::TokenKeys,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Chains => "chains",
            Self::Fingerprints => "fingerprints",
            Self::Leases => "leases",
            Self::Codes => "codes",
            Self::Logins => "logins",
            Self::Sessions => "sessions",
            Self::TokenKeys => "token_keys",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    fn definition(self) -> Definition {
        TableDefinition::new(self.as_str())
    }
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The one name of its table.
const FINGERPRINT_KEY: &[u8] = b"key";
/// About the state itself.
const META: Definition = TableDefinition::new("meta");
/// Tells whether the key is the right one.
const CHECK: &[u8] = b"check";
/// Of which backup it was restored.
const RESTORED: &[u8] = b"restored";
