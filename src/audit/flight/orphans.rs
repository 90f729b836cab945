//! The files that other processes left.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::file::{Content, SUFFIX, UNNAMED, machine_start, written_at};
use super::note::Noted;
use crate::audit::disk::{identity, owned};
use crate::audit::fault::Fault;
use crate::audit::log::{Log, Unfinished};
use crate::audit::record::{Kind, Record};
use crate::clock::Timestamp;

/// After so many seconds a file without its name is one that nobody makes any more.
const MAKING: i64 = 60;

/// The file of a process that has ended; locked, so that nobody else closes its requests.
#[derive(Debug)]
pub(in crate::audit) struct Orphan {
    path: PathBuf,
    _file: File,
    content: Result<Content, String>,
}

impl Orphan {
    /// The requests in it.
    pub(in crate::audit) fn notes(&self) -> &[Noted] {
        self.content.as_ref().map_or(&[], |content| &content.notes)
    }

    /// The record from which on their outcomes may stand in the log. None after a loss of power:
    /// what the disk has of the file may be older than what it has of the log.
    pub(in crate::audit) fn from(&self) -> Option<u64> {
        let content = self.content.as_ref().ok()?;
        let here = machine_start();
        let same = here == content.machine_start && here != (0, 0);
        (same && content.damaged == 0).then_some(content.from)
    }

    fn is_whole(&self) -> bool {
        matches!(&self.content, Ok(content) if content.damaged == 0)
    }

    /// What is to be said of it besides its requests.
    fn told(&self) -> String {
        let name = self.path.display();
        match &self.content {
            Ok(content) if content.damaged == 0 => format!(
                "{name}: its process ended with {} requests in flight or just answered",
                content.notes.len()
            ),
            Ok(content) => format!(
                "{name}: {} slots are damaged, {} are good; set aside as it is",
                content.damaged,
                content.notes.len()
            ),
            Err(why) => format!("{name} cannot be read: {why}; set aside as it is"),
        }
    }
}

/// Closes what others left unfinished.
pub(in crate::audit) struct Sweeper {
    folder: PathBuf,
    /// What could not be set aside, and is not told again.
    told: HashSet<PathBuf>,
}

impl Sweeper {
    pub(in crate::audit) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            told: HashSet::new(),
        }
    }

    /// At the start of a process: also looks for intents without an outcome if the last process did
    /// not end in order and left no file. Returns how many requests were closed as `unknown`.
    pub(in crate::audit) fn begin(&mut self, log: &mut Log) -> Result<u64, Fault> {
        let found = self.find(None, log)?;
        // Without a folder there may be a process that has no recorder, being of an older version.
        let alone = found.orphans.is_empty() && found.living.is_empty() && self.folder.exists();
        let deep = alone && !log.is_ended().map_err(Fault::of("read", &self.folder))?;
        self.close(log, &found, deep)
    }

    /// While a process runs, which has the file `own`.
    pub(in crate::audit) fn go_on(&mut self, log: &mut Log, own: &Path) -> Result<u64, Fault> {
        let found = self.find(Some(own), log)?;
        self.close(log, &found, false)
    }

    fn close(&mut self, log: &mut Log, found: &Found, deep: bool) -> Result<u64, Fault> {
        let orphans = &found.orphans;
        if orphans.is_empty() && !deep {
            return Ok(0);
        }
        let now = log.now();
        let events = orphans.iter().map(|orphan| {
            let operation = match orphan.is_whole() {
                true => "audit.process_died",
                false => "audit.flight_unreadable",
            };
            tracing::warn!(operation, "{}", orphan.told());
            Record::event(operation, orphan.told()).body(Kind::Admin, now, None)
        });
        let closed = log.close_unfinished(&Unfinished {
            orphans,
            living: &found.living,
            deep,
            events: events.collect(),
        })?;
        if closed > 0 {
            tracing::warn!(requests = closed, "requests were closed as unknown");
        }
        for orphan in orphans {
            self.dispose(orphan);
        }
        Ok(closed)
    }

    /// Its requests are durable in the log: the file goes, or away if it could not be read whole.
    fn dispose(&mut self, orphan: &Orphan) {
        let done = if orphan.is_whole() {
            fs::remove_file(&orphan.path)
        } else {
            fs::rename(&orphan.path, orphan.path.with_extension("unreadable"))
        };
        if let Err(error) = done {
            let file = orphan.path.display();
            tracing::warn!(%error, %file, "cannot remove the flight recorder of a process that ended");
            self.told.insert(orphan.path.clone());
        }
    }

    fn find(&self, own: Option<&Path>, log: &Log) -> Result<Found, Fault> {
        let mut found = Found::default();
        found.living.extend(own.map(Path::to_owned));
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(Fault::of("read", &self.folder))?,
        };
        for entry in entries {
            let path = entry.map_err(Fault::of("read", &self.folder))?.path();
            if own == Some(&path) || self.told.contains(&path) {
                continue;
            }
            let looked = match path.extension().and_then(|end| end.to_str()) {
                Some(SUFFIX) => found.look(&path),
                Some(UNNAMED) => remove_unmade(&path, log.now()),
                _ => Ok(()),
            };
            // One that cannot be looked at now keeps nobody from the others.
            if let Err(error) = looked
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, file = %path.display(), "cannot look at a flight recorder");
            }
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Found {
    orphans: Vec<Orphan>,
    /// The files of processes that live.
    living: Vec<PathBuf>,
}

impl Found {
    fn look(&mut self, path: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(());
        }
        let file = owned().open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.living.push(path.to_owned());
                return Ok(());
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Another may have closed it just now.
        if identity(&fs::metadata(path)?) != identity(&file.metadata()?) {
            return Ok(());
        }
        self.orphans.push(Orphan {
            path: path.to_owned(),
            content: Content::read(&file)?,
            _file: file,
        });
        Ok(())
    }
}

/// Removes the file of somebody who was killed while making it.
fn remove_unmade(path: &Path, now: Timestamp) -> io::Result<()> {
    let file = owned().open(path)?;
    let old = now.0 / 1_000_000 - written_at(&file.metadata()?) > MAKING;
    if old && file.try_lock().is_ok() {
        return fs::remove_file(path);
    }
    Ok(())
}

/// The ids of the requests that a living process has in flight; nothing if that cannot be known,
/// since it is of another version.
pub(in crate::audit) fn in_flight(path: &Path) -> io::Result<Option<HashSet<String>>> {
    let file = match owned().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(HashSet::new())),
        file => file?,
    };
    let Ok(content) = Content::read(&file)? else {
        return Ok(None);
    };
    let ids = content.notes.iter().filter_map(Noted::request_id);
    Ok(Some(ids.map(str::to_owned).collect()))
}
