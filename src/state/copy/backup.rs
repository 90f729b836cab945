//! Making a backup, of one moment, while gateways run.

use std::fs;
use std::io;
use std::path::Path;

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};

use super::form::{Head, Writer};
use super::{CopyError, Reader, Tell, Unclean, key_text, parse_ring, plain};
use crate::clock::Clock;
use crate::state::open::guarded;
use crate::state::seal::Ring;
use crate::state::{CHECK, META, Settings, StateError, Table, files};

/// What a backup is to be.
#[derive(Clone, Copy, Debug)]
pub struct Backup<'a> {
    /// The file.
    pub to: &'a Path,
    /// Whether the keys are in it: then whoever has it can read all of it.
    pub with_key: bool,
    /// Whether a file of that name is replaced.
    pub replaces: bool,
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BackedUp {
    /// How many values.
    pub values: u64,
    /// How many are not in it because they cannot be opened.
    pub lost: u64,
    /// How many plain files.
    pub files: u64,
}

/// Makes a backup, of one moment; gateways may be running. The values are in it as they are sealed.
/// Blocks.
///
/// # Errors
/// Says what is wrong; then there is no file, or the one before.
pub fn backup(
    settings: &Settings,
    backup: Backup<'_>,
    tell: Tell<'_>,
) -> Result<BackedUp, CopyError> {
    let path = backup.to;
    if !backup.replaces && fs::symlink_metadata(path).is_ok() {
        return Err(CopyError::Exists(path.display().to_string()));
    }
    let directory = || settings.directory.display().to_string();
    if fs::metadata(settings.database()).map_or(0, |file| file.len()) == 0 {
        return Err(CopyError::Nothing(directory()));
    }
    let keys = key_text(settings)?
        .ok_or_else(|| StateError::KeyMissing(settings.own_key().display().to_string()))?;
    let ring = parse_ring(&keys)?;
    let reader = Reader::open(settings, Unclean::Mend)?;
    let snapshot = reader.begin()?;
    check(&snapshot, &ring).map_err(|error| match error {
        StateError::Damaged => StateError::WrongKey(directory()),
        other => other,
    })?;

    let beside = files::beside(path);
    let cannot = |source| CopyError::file("cannot write", path, source);
    let mut write = || {
        let file = files::owned().create(true).truncate(true).open(&beside);
        let ids: Vec<String> = ring.ids().map(|id| id.to_string()).collect();
        let head = Head {
            made: Clock::System.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key_ids: ids.join(", "),
        };
        let mut out = file
            .and_then(|file| Writer::new(file, &head))
            .map_err(cannot)?;
        if backup.with_key {
            out.keys(keys.expose()).map_err(cannot)?;
        }
        let mut done = BackedUp::default();
        for (name, content) in plain::read(&settings.directory)? {
            out.plain(name, &content).map_err(cannot)?;
            done.files += 1;
        }
        write_values(&snapshot, &ring, &mut out, &mut done, tell, &cannot)?;
        out.finish().map_err(cannot)?;
        publish(&beside, path, backup.replaces)?;
        Ok(done)
    };
    let done = guarded(&mut write);
    if done.is_err() {
        // What is left of it is of no use.
        drop(fs::remove_file(&beside));
    }
    done
}

/// Whether the ring is the one of the state.
pub(super) fn check(snapshot: &ReadTransaction, ring: &Ring) -> Result<(), StateError> {
    let sealed = match snapshot.open_table(META) {
        Ok(meta) => meta.get(CHECK)?.map(|value| value.value().to_vec()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match sealed {
        // Nothing is sealed yet.
        None => Ok(()),
        Some(sealed) => match ring.open("meta", CHECK, &sealed) {
            Some(opened) if opened.as_slice() == CHECK => Ok(()),
            _ => Err(StateError::Damaged),
        },
    }
}

fn write_values(
    snapshot: &ReadTransaction,
    ring: &Ring,
    out: &mut Writer,
    done: &mut BackedUp,
    tell: Tell<'_>,
    cannot: &dyn Fn(io::Error) -> CopyError,
) -> Result<(), CopyError> {
    let mut tables = Vec::new();
    for table in Table::ALL {
        match snapshot.open_table(table.definition()) {
            Ok(stored) => tables.push((table.as_str(), stored)),
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(StateError::from(error).into()),
        }
    }
    let mut total = 0;
    for (_, stored) in &tables {
        total += stored.len().map_err(StateError::from)?;
    }
    for (table, stored) in &tables {
        for entry in stored.iter().map_err(StateError::from)? {
            let (name, sealed) = entry.map_err(StateError::from)?;
            // What cannot be opened now could not be after a restore.
            if ring.open(table, name.value(), sealed.value()).is_none() {
                done.lost += 1;
                continue;
            }
            out.value(table, name.value(), sealed.value())
                .map_err(cannot)?;
            done.values += 1;
            tell(done.values + done.lost, total);
        }
    }
    Ok(())
}

/// Gives the file its name.
fn publish(beside: &Path, path: &Path, replaces: bool) -> Result<(), CopyError> {
    let publish = || {
        if replaces {
            fs::rename(beside, path)?;
        } else {
            fs::hard_link(beside, path)?;
            fs::remove_file(beside)?;
        }
        files::sync_folder(path)
    };
    publish().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists(path.display().to_string()),
        _ => CopyError::file("cannot write", path, source),
    })
}
