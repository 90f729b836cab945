//! What a state holds, told without opening any value for its content.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use redb::{ReadTransaction, ReadableTable as _};

use super::backup::check;
use super::{CopyError, Reader, Unclean, key_text, parse_ring};
use crate::state::files::{aside_files, file_error};
use crate::state::hold::Hold;
use crate::state::open::guarded;
use crate::state::seal::{FORMAT, Ring};
use crate::state::{Settings, StateError, Table};

/// What a state holds.
#[derive(Debug)]
pub struct Info {
    /// The database.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// The form that values are sealed in now.
    pub format: u8,
    /// The ids of the keys; the first one seals.
    pub keys: Vec<String>,
    /// Each kind of values.
    pub tables: Vec<TableInfo>,
    /// Whether a process is using it.
    pub in_use: bool,
    /// What was set aside in the directory.
    pub set_aside: Vec<PathBuf>,
}

/// What there is of one kind.
#[derive(Debug)]
pub struct TableInfo {
    /// Its name.
    pub name: &'static str,
    /// How many values.
    pub values: u64,
    /// How many of them cannot be opened.
    pub lost: u64,
    /// How many are sealed under which key, by its id; `-` for those of the form without one.
    pub by_key: BTreeMap<String, u64>,
}

/// What a start would do with a state directory.
#[derive(Debug)]
pub enum Prospect {
    /// It would begin a new state: there is none.
    Begin,
    /// It would go on with the one that is there.
    GoOn,
    /// It would set the one aside that is there, and begin a new one.
    SetAside(StateError),
    /// It would fail, or it is not known.
    Fail(StateError),
}

/// Tells what a state holds. Gateways may be running. Blocks.
///
/// # Errors
/// Says why it cannot be read.
pub fn info(settings: &Settings) -> Result<Info, CopyError> {
    let path = settings.database();
    let size = fs::metadata(&path).map_or(0, |file| file.len());
    if size == 0 {
        return Err(CopyError::Nothing(settings.directory.display().to_string()));
    }
    let (ring, snapshot, reader) = opened(settings, Unclean::Mend)?;
    let mut tables = Vec::new();
    for table in Table::ALL {
        tables.push(guarded(|| table_info(&snapshot, &ring, table))?);
    }
    drop((snapshot, reader));
    Ok(Info {
        size,
        format: FORMAT,
        keys: ring.ids().map(|id| id.to_string()).collect(),
        tables,
        in_use: Hold::alone(&settings.directory)?.is_none(),
        set_aside: aside_files(&path)
            .map_err(|error| file_error("cannot read", &settings.directory, error))?,
        path,
    })
}

/// Tells what a start would do. Changes nothing.
pub fn prospect(settings: &Settings) -> Prospect {
    match fs::metadata(settings.database()) {
        Ok(file) if file.len() > 0 => {}
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Prospect::Fail(file_error("cannot read", &settings.database(), error));
        }
        _ => return Prospect::Begin,
    }
    match guarded(|| opened(settings, Unclean::Copy)) {
        Ok(_) => Prospect::GoOn,
        Err(error) if error.is_unreadable() => Prospect::SetAside(error),
        Err(StateError::Database(error)) => {
            match StateError::of_opening(&settings.database().display().to_string(), *error) {
                error if error.is_unreadable() => Prospect::SetAside(error),
                error => Prospect::Fail(error),
            }
        }
        Err(error) => Prospect::Fail(error),
    }
}

fn opened(
    settings: &Settings,
    unclean: Unclean,
) -> Result<(Ring, ReadTransaction, Reader), StateError> {
    let keys = key_text(settings)?
        .ok_or_else(|| StateError::KeyMissing(settings.own_key().display().to_string()))?;
    let ring = parse_ring(&keys)?;
    let reader = Reader::open(settings, unclean)?;
    let snapshot = reader.begin()?;
    check(&snapshot, &ring).map_err(|error| match error {
        StateError::Damaged => StateError::WrongKey(settings.directory.display().to_string()),
        other => other,
    })?;
    Ok((ring, snapshot, reader))
}

fn table_info(
    snapshot: &ReadTransaction,
    ring: &Ring,
    table: Table,
) -> Result<TableInfo, StateError> {
    let mut info = TableInfo {
        name: table.as_str(),
        values: 0,
        lost: 0,
        by_key: BTreeMap::new(),
    };
    let stored = match snapshot.open_table(table.definition()) {
        Ok(stored) => stored,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(info),
        Err(error) => return Err(error.into()),
    };
    for entry in stored.iter()? {
        let (name, sealed) = entry?;
        let sealed = sealed.value();
        info.values += 1;
        if ring.open(table.as_str(), name.value(), sealed).is_none() {
            info.lost += 1;
        }
        let id = match (sealed.first(), sealed.get(1..5)) {
            (Some(&FORMAT), Some(id)) => hex::encode(id),
            _ => "-".to_owned(),
        };
        *info.by_key.entry(id).or_default() += 1;
    }
    Ok(info)
}
