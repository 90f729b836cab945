//! Opening: the lock, the key, the database, and what is done when they do not fit.

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use redb::{Builder, ConcurrencyMode, Database, ReadableTable as _};
use zeroize::Zeroizing;

use super::files::{self, file_error, identity};
use super::hold::Hold;
use super::seal::Ring;
use super::{CHECK, META, RESTORED, Settings, State, StateError};
use crate::secret::{Secret, SecretError, SecretSource};

/// A database that could not be read, and was put out of the way.
#[derive(Debug)]
pub struct SetAside {
    /// Where it was, and a new one is.
    pub from: PathBuf,
    /// Where it is now.
    pub to: PathBuf,
    /// Why it could not be read.
    pub reason: StateError,
}

/// Whether other processes may be using the state, whatever the lock says.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Others {
    /// The lock tells.
    Unknown,
    /// One is: it is taken over from.
    Expected,
}

pub(super) fn open(settings: &Settings, others: Others) -> Result<State, StateError> {
    // A restore may come between: then what was opened is no longer the state.
    for _ in 0..3 {
        match open_once(settings, others) {
            Err(StateError::Moved(_)) => {}
            done => return done,
        }
    }
    open_once(settings, others)
}

fn open_once(settings: &Settings, others: Others) -> Result<State, StateError> {
    let directory = &settings.directory;
    files::make_directory(directory)?;
    let path = settings.database();
    let mut hold = Hold::take(directory)?;
    let may_change = hold.is_alone() && others == Others::Unknown;
    let mut state = match open_file(settings, hold.is_alone()) {
        Err(error) if error.is_unreadable() && may_change => {
            let set_aside = set_aside(path.clone(), error)?;
            let mut state = open_file(settings, true)?;
            state.set_aside = Some(set_aside);
            state
        }
        Err(error) if error.is_unreadable() => {
            return Err(StateError::NotSetAside(Box::new(error)));
        }
        opened => opened?,
    };
    if may_change {
        state.seal_anew()?;
        state.restored = state.take_restored()?;
    } else if !state.seal.seals_first() {
        tracing::warn!(
            "another process may be using the state: what the key before sealed is sealed anew at \
             the next start without --upgrade; keep that key until then"
        );
    }
    hold.share(directory)?;
    if state.is_moved() {
        return Err(StateError::Moved(path.display().to_string()));
    }
    state.hold = Some(hold);
    Ok(state)
}

/// Opens the database under the key ring. Alone, all of it is checked first: redb would fail later,
/// and then not as gently, on a page that was changed.
fn open_file(settings: &Settings, alone: bool) -> Result<State, StateError> {
    let path = settings.database();
    let is_new = fs::metadata(&path).map_or(0, |file| file.len()) == 0;
    let key = match &settings.key {
        Some(source) => source.read()?,
        None => own_key(&settings.own_key(), is_new)?,
    };
    let seal = Ring::parse(&key).ok_or(StateError::NotAKey)?;
    // Made beforehand, so that nobody else may ever read it.
    files::owned()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| file_error("cannot open", &path, source))?;
    let place = path.display().to_string();
    let open = || {
        let database = builder().set_check_integrity_on_open(alone).create(&path)?;
        let mut state = State {
            file: Some((path.clone(), identity(&path)?)),
            is_new,
            ..State::of(database, seal)
        };
        state.check_key(&settings.directory)?;
        Ok(state)
    };
    guarded(open).map_err(|error| match error {
        StateError::Database(error) => StateError::of_opening(&place, *error),
        other => other,
    })
}

/// Whatever a damaged file makes of its reader, it is a damaged file.
pub(super) fn guarded<T, E: From<StateError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let error = redb::Error::Corrupted("it cannot be made sense of".to_owned());
        Err(StateError::Database(Box::new(error)).into())
    })
}

/// Renames what cannot be read; nothing is deleted.
fn set_aside(from: PathBuf, reason: StateError) -> Result<SetAside, StateError> {
    let to = files::aside(&from, "unreadable");
    fs::rename(&from, &to)
        .and_then(|()| files::sync_folder(&from))
        .map_err(|source| file_error("cannot set aside", &from, source))?;
    tracing::error!(
        error = %reason,
        file = %from.display(),
        set_aside = %to.display(),
        remedy = reason.remedy(),
        "the state cannot be read: it was set aside and a new one begun; all tokens that the gateway \
         gave out are void"
    );
    Ok(SetAside { from, to, reason })
}

impl State {
    pub(super) fn of(database: Database, seal: Ring) -> Self {
        Self {
            database: ArcSwap::from_pointee(database),
            file: None,
            is_new: true,
            queue: super::lazily::Queue::default(),
            restored: None,
            seal,
            set_aside: None,
            hold: None,
        }
    }

    /// Whether one of the keys sealed what is there. That one seals, until everything is sealed
    /// anew: a process that is taken over from may know no other.
    pub(super) fn check_key(&mut self, place: &Path) -> Result<(), StateError> {
        let transaction = self.database.load().begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let stored = meta.get(CHECK)?.map(|value| value.value().to_vec());
            match stored {
                Some(sealed) => match self.seal.open_by("meta", CHECK, &sealed) {
                    Some((key, opened)) if opened.as_slice() == CHECK => self.seal.seal_with(key),
                    _ => return Err(StateError::WrongKey(place.display().to_string())),
                },
                None => {
                    let sealed = self.seal.seal("meta", CHECK, CHECK)?;
                    meta.insert(CHECK, sealed.as_slice())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// What a restore left for the first start after it.
    fn take_restored(&self) -> Result<Option<String>, StateError> {
        let transaction = self.database.load().begin_write()?;
        let sealed = {
            let mut meta = transaction.open_table(META)?;
            meta.remove(RESTORED)?.map(|value| value.value().to_vec())
        };
        let Some(sealed) = sealed else {
            transaction.abort()?;
            return Ok(None);
        };
        transaction.commit()?;
        let opened = self.seal.open("meta", RESTORED, &sealed);
        Ok(opened.map(|opened| String::from_utf8_lossy(&opened).into_owned()))
    }
}

/// How the database is opened: with a check of all pages only where that is asked for.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_concurrency_mode(ConcurrencyMode::MultiWriter)
        .set_cache_size(CACHE);
    builder
}

/// Whether a text can be a state key: 64 hex digits, or several of them, one a line.
pub fn is_key(key: &Secret) -> bool {
    Ring::parse(key).is_some()
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
    let beside = files::beside(path);
    let key = Secret::new(format!("{}\n", new_key()?.expose()));
    let write = || -> io::Result<()> {
        files::write_new(&beside, key.expose().as_bytes())?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&beside),
        }?;
        files::sync_folder(path)
    };
    write().map_err(|source| file_error("cannot write", path, source))?;
    Ok(source.read()?)
}

pub(super) fn new_key() -> Result<Secret, StateError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    Ok(Secret::new(hex::encode(bytes.as_slice())))
}

/// Of the database's pages in memory.
const CACHE: usize = 8 * 1024 * 1024;
