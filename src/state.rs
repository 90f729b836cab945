//! What survives a restart: one database in the state directory, every value in it sealed.
//!
//! Two processes may use one directory at a time, as they do during an upgrade.

mod change;
mod error;
mod seal;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use error::StateError;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use redb::backends::InMemoryBackend;
use redb::{
    Builder, ConcurrencyMode, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    WriteTransaction,
};
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretError, SecretSource};
use seal::Seal;

/// Where and under which key it is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub directory: PathBuf,
    /// The key that seals what is kept: 64 hex digits. Absent, it is made at the first start and
    /// lies in the directory, in the file `key`.
    pub key: Option<SecretSource>,
}

/// A kind of values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    /// Which codes of second factors were used.
    Codes,
    /// Which refresh tokens of the gateway were used.
    Logins,
    /// What the sessions of those live on by who act as themselves.
    Sessions,
    /// The sessions of the gateway's own identities.
    Chains,
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
    seal: Seal,
}

/// A value that was sealed.
pub type Opened = Zeroizing<Vec<u8>>;

impl State {
    /// Opens a state directory, which is made if it is not there.
    ///
    /// # Errors
    /// Says what is wrong with the directory, the key or the database.
    pub fn open(settings: &Settings) -> Result<Self, StateError> {
        let directory = &settings.directory;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| file_error("cannot make the state directory", directory, source))?;
        let path = directory.join("state.redb");
        let is_new = fs::metadata(&path).map_or(0, |file| file.len()) == 0;
        let key = match &settings.key {
            Some(source) => source.read()?,
            None => own_key(&directory.join("key"), is_new)?,
        };
        // Made beforehand, so that nobody else may ever read it.
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| file_error("cannot open", &path, source))?;
        let unusable = |error: redb::Error| StateError::Unusable {
            path: path.display().to_string(),
            source: Box::new(error),
        };
        let database = builder()
            .create(&path)
            .map_err(|error| unusable(error.into()))?;
        let identity = identity(&path)?;
        let state = Self {
            database: ArcSwap::from_pointee(database),
            file: Some((path.clone(), identity)),
            is_new,
            seal: Seal::new(&key).ok_or(StateError::NotAKey)?,
        };
        match state.check_key(directory) {
            Err(StateError::Database(error)) => Err(unusable(*error)),
            checked => checked.map(|()| state),
        }
    }

    /// A state that ends with its process: for tests and measurements.
    ///
    /// # Errors
    /// Fails when the operating system gives no randomness.
    pub fn in_memory() -> Result<Self, StateError> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new())?;
        let state = Self {
            database: ArcSwap::from_pointee(database),
            file: None,
            is_new: true,
            seal: Seal::new(&new_key()?).ok_or(StateError::NotAKey)?,
        };
        state.check_key(Path::new("memory"))?;
        Ok(state)
    }

    /// Whether there was nothing before: what was given out under another state is not known.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether the key is the one that sealed what is there.
    fn check_key(&self, place: &Path) -> Result<(), StateError> {
        let transaction = self.database.load().begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let stored = meta.get(CHECK)?.map(|value| value.value().to_vec());
            match stored {
                Some(sealed) => {
                    let opened = self.seal.open("meta", CHECK, &sealed);
                    if opened.is_none_or(|opened| opened.as_slice() != CHECK) {
                        return Err(StateError::WrongKey(place.display().to_string()));
                    }
                }
                None => {
                    let sealed = self.seal.seal("meta", CHECK, CHECK)?;
                    meta.insert(CHECK, sealed.as_slice())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The database, if it is still the file that was opened.
    fn write(&self) -> Result<WriteTransaction, StateError> {
        if let Some((path, opened)) = &self.file
            && identity(path).ok() != Some(*opened)
        {
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
        self.settled((|| {
            let transaction = self.database.load().begin_read()?;
            match transaction.open_table(table.definition()) {
                Ok(stored) => self.opened(table, &stored),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            }
        })())
    }

    /// The value of a name. Reads the disk.
    ///
    /// # Errors
    /// Fails when the database does, and on a damaged value.
    pub fn get(&self, table: Table, name: &[u8]) -> Result<Option<Opened>, StateError> {
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

    /// Changes values of one kind; when it returns, the change is on the disk, whole. One change
    /// at a time, whichever process makes it. Blocks.
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
            let result = change(&mut Change::new(self, table, &transaction))?;
            transaction.commit()?;
            Ok(result)
        })())
    }

    fn opened(
        &self,
        table: Table,
        stored: &impl redb::ReadableTable<&'static [u8], &'static [u8]>,
    ) -> Result<Vec<(Vec<u8>, Opened)>, StateError> {
        let mut all = Vec::new();
        for entry in stored.iter()? {
            let (name, sealed) = entry?;
            match self.opened_value(table, name.value(), sealed.value()) {
                Ok(opened) => all.push((name.value().to_vec(), opened)),
                Err(_) => tracing::error!(
                    table = table.as_str(),
                    name = hex::encode(name.value()),
                    "a value of the state directory is damaged, and passed over"
                ),
            }
        }
        Ok(all)
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
    fn as_str(self) -> &'static str {
        match self {
            Self::Chains => "chains",
            Self::Leases => "leases",
            Self::Codes => "codes",
            Self::Logins => "logins",
            Self::Sessions => "sessions",
            Self::TokenKeys => "token_keys",
        }
    }

    fn definition(self) -> Definition {
        TableDefinition::new(self.as_str())
    }
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_concurrency_mode(ConcurrencyMode::MultiWriter)
        .set_cache_size(CACHE);
    builder
}

/// Whether a text can be a state key.
pub fn is_key(key: &Secret) -> bool {
    Seal::new(key).is_some()
}

/// Which file it is.
fn identity(path: &Path) -> Result<(u64, u64), StateError> {
    let metadata = fs::metadata(path).map_err(|source| file_error("cannot read", path, source))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The key in the state directory, made if there is nothing yet that another one sealed.
fn own_key(path: &Path, is_new: bool) -> Result<Secret, StateError> {
    let source = SecretSource::File(path.to_owned());
    if path.exists() {
        return Ok(source.read()?);
    }
    if !is_new {
        return Err(StateError::KeyMissing(path.display().to_string()));
    }
    // Written beside and linked into place: never half a key, and of two processes that start at
    // once one gives the key to both.
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    let key = new_key()?;
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(key.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&beside),
        }?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| file_error("cannot write", path, source))?;
    Ok(source.read()?)
}

fn new_key() -> Result<Secret, StateError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    Ok(Secret::new(hex::encode(bytes.as_slice())))
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> StateError {
    let path = path.display().to_string();
    StateError::File { what, path, source }
}

/// Tells whether the key is the right one.
const META: Definition = TableDefinition::new("meta");
const CHECK: &[u8] = b"check";
/// Of the database's pages in memory.
const CACHE: usize = 8 * 1024 * 1024;
