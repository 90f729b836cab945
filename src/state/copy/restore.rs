//! Bringing a backup back: all of it is looked at first, then a database is written beside and put in
//! place at once. Whenever that is broken off, the state is the one before or the one of the backup.

use std::fs;
use std::path::{Path, PathBuf};

use redb::Database;
use zeroize::Zeroizing;

use super::form::{Entry, Reader};
use super::{CopyError, Tell, key_place, key_text, parse_ring, plain};
use crate::secret::Secret;
use crate::state::files::{self, file_error};
use crate::state::hold::Hold;
use crate::state::open::builder;
use crate::state::seal::Ring;
use crate::state::{CHECK, META, RESTORED, Settings, StateError, Table};

/// What is brought back, and how.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub from: &'a Path,
    /// Whether log-ins at the gateway go on that had begun at the time of the backup. Refresh tokens
    /// that were used since are good again then, for whoever has them.
    pub keeps_logins: bool,
}

/// What was brought back.
#[derive(Debug, Default)]
pub struct Restored {
    /// How many values.
    pub values: u64,
    /// Where the state before is now, if there was one.
    pub set_aside: Option<PathBuf>,
    /// Whether keys were added to the file of the state directory.
    pub keys_added: bool,
    /// When the backup was made, RFC 3339.
    pub made: String,
    /// The plain files that were written.
    pub files: Vec<String>,
}

/// Brings a backup back, into a directory that no gateway uses. Blocks.
///
/// Unless told otherwise, it ends the log-ins at the gateway: the keys that sign its tokens are not
/// brought back, nor is which refresh tokens were used, since nobody knows that any more.
///
/// # Errors
/// Says what is wrong; then the state is the one before.
pub fn restore(
    settings: &Settings,
    restore: Restore<'_>,
    tell: Tell<'_>,
) -> Result<Restored, CopyError> {
    // Nothing is made or locked for a file that is of no use.
    let looked = look(settings, restore.from, tell)?;
    let directory = &settings.directory;
    files::make_directory(directory)?;
    let in_use = || CopyError::InUse(directory.display().to_string());
    let _hold = Hold::alone(directory)?.ok_or_else(in_use)?;

    let keys = Keys::read(settings, looked.keys.as_ref())?;
    let mut plain_files = Vec::new();
    for (name, content) in &looked.plain {
        let path = directory.join(name);
        let present = match fs::read(&path) {
            Ok(present) => Some(present),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(CopyError::file("cannot read", &path, error)),
        };
        if let Some(merged) = plain::merged(&path, present.as_deref(), content)? {
            plain_files.push((name, path, merged));
        }
    }
    // Of one that was killed; only who is alone makes it.
    let beside = settings.directory.join("state.redb.restoring");
    let stale = [&beside].into_iter().filter(|path| path.exists());
    for path in stale {
        fs::remove_file(path).map_err(|error| CopyError::file("cannot remove", path, error))?;
    }
    let mut restored = Restored {
        made: looked.made.clone(),
        ..Restored::default()
    };
    let built = build(&beside, restore, &keys, tell, &mut restored);
    if built.is_err() {
        drop(fs::remove_file(&beside));
    }
    built?;
    // Who is stopped is stopped first; keys are only ever added. So either state is whole.
    for (name, path, content) in plain_files {
        files::replace(&path, &content)?;
        restored.files.push(name.clone());
    }
    if let Some(text) = &keys.to_write {
        files::replace(&settings.own_key(), text.expose().as_bytes())?;
        restored.keys_added = true;
    }
    restored.set_aside = put_in_place(&beside, &settings.database())?;
    Ok(restored)
}

/// What a backup holds besides values.
#[derive(Default)]
struct Looked {
    keys: Option<Secret>,
    plain: Vec<(String, Vec<u8>)>,
    made: String,
}

/// Reads all of a backup, and opens all of it.
fn look(settings: &Settings, from: &Path, tell: Tell<'_>) -> Result<Looked, CopyError> {
    let mut reader = Reader::open(from)?;
    let mut looked = Looked {
        made: String::from_utf8_lossy(&reader.head.made.text()).into_owned(),
        ..Looked::default()
    };
    let own = key_text(settings)?;
    let mut ring = own.as_ref().map(parse_ring).transpose()?;
    let mut sealed_otherwise = false;
    while let Some(entry) = reader.next()? {
        match entry {
            Entry::Keys(text) => {
                let keys = key_of(&reader, &text)?;
                let all = joined(own.as_ref(), &keys);
                ring = Some(parse_ring(&all)?);
                looked.keys = Some(keys);
            }
            Entry::Plain { name, content } if plain::is_known(&name) => {
                looked.plain.push((name, content));
            }
            Entry::Plain { .. } => return Err(reader.later()),
            Entry::Value {
                table,
                name,
                sealed,
            } => {
                let table = Table::named(&table).ok_or_else(|| reader.later())?;
                let opens = |ring: &Ring| ring.open(table.as_str(), &name, &sealed).is_some();
                sealed_otherwise |= !ring.as_ref().is_some_and(opens);
            }
        }
        let (done, total) = reader.progress();
        tell(done / 2, total);
    }
    // Only now is it known that the file is as it was made.
    let path = from.display().to_string();
    let (ids, place) = (reader.head.key_ids.clone(), key_place(settings));
    match ring {
        None => Err(CopyError::NoKey { path, ids, place }),
        Some(_) if sealed_otherwise => Err(CopyError::WrongKey { path, ids, place }),
        Some(_) => Ok(looked),
    }
}

fn key_of(reader: &Reader<'_>, text: &[u8]) -> Result<Secret, CopyError> {
    let text = std::str::from_utf8(text).ok();
    let keys = text.map(|text| Secret::new(text.to_owned()));
    keys.filter(|keys| Ring::parse(keys).is_some())
        .ok_or_else(|| reader.damaged("its key is none"))
}

/// The keys of the directory, then those of the backup.
fn joined(own: Option<&Secret>, keys: &Secret) -> Secret {
    let own = own.map_or("", Secret::expose);
    // At its full length, so that growing leaves no copy behind.
    let mut all = String::with_capacity(own.len() + keys.expose().len() + 2);
    for text in [own, keys.expose()] {
        all.push_str(text.trim_end());
        if !text.is_empty() {
            all.push('\n');
        }
    }
    Secret::new(all)
}

/// Under which keys the restored state is.
struct Keys {
    /// Opens the backup.
    opens: Ring,
    /// Seals the new database: the first key that the gateway will have.
    seals: Ring,
    /// What the key file is to hold, if that is not what it holds.
    to_write: Option<Secret>,
}

impl Keys {
    fn read(settings: &Settings, backed_up: Option<&Secret>) -> Result<Self, CopyError> {
        let own = key_text(settings)?;
        let all = match (&own, backed_up) {
            (own, Some(keys)) => joined(own.as_ref(), keys),
            (Some(own), None) => own.duplicate(),
            (None, None) => {
                let place = settings.own_key().display().to_string();
                return Err(StateError::KeyMissing(place).into());
            }
        };
        let opens = parse_ring(&all)?;
        if settings.key.is_some() {
            let seals = parse_ring(own.as_ref().unwrap_or(&all))?;
            return Ok(Self {
                opens,
                seals,
                to_write: None,
            });
        }
        let own_ring = own.as_ref().map(parse_ring).transpose()?;
        let known = own_ring.map_or(0, |ring| ring.ids().count());
        let grown = opens.ids().count() > known;
        Ok(Self {
            seals: parse_ring(&all)?,
            opens,
            to_write: grown.then_some(all),
        })
    }
}

/// Writes the database of a backup, beside the one that is there.
fn build(
    beside: &Path,
    restore: Restore<'_>,
    keys: &Keys,
    tell: Tell<'_>,
    restored: &mut Restored,
) -> Result<(), CopyError> {
    files::owned()
        .create_new(true)
        .open(beside)
        .map_err(|error| CopyError::file("cannot write", beside, error))?;
    let database = builder().create(beside).map_err(StateError::from)?;
    let mut reader = Reader::open(restore.from)?;
    let mut batch = Batch::default();
    while let Some(entry) = reader.next()? {
        let Entry::Value {
            table,
            name,
            sealed,
        } = entry
        else {
            continue;
        };
        let table = Table::named(&table).ok_or_else(|| reader.later())?;
        if matches!(table, Table::Logins | Table::TokenKeys) && !restore.keeps_logins {
            continue;
        }
        let opened = keys.opens.open(table.as_str(), &name, &sealed);
        let opened = opened.ok_or_else(|| reader.damaged("it was changed meanwhile"))?;
        batch.put(table, name, &opened, &keys.seals)?;
        restored.values += 1;
        if batch.is_full() {
            batch.write(&database)?;
        }
        let (done, total) = reader.progress();
        tell(total / 2 + done / 2, total);
    }
    batch.write(&database)?;
    mark(&database, &keys.seals, &restored.made, restore.keeps_logins)?;
    database.close().map_err(StateError::from)?;
    let sync = fs::File::open(beside).and_then(|file| file.sync_all());
    Ok(sync.map_err(|source| file_error("cannot write", beside, source))?)
}

/// What is written in one transaction.
#[derive(Default)]
struct Batch {
    values: Vec<(Table, Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    fn put(
        &mut self,
        table: Table,
        name: Vec<u8>,
        opened: &Zeroizing<Vec<u8>>,
        ring: &Ring,
    ) -> Result<(), StateError> {
        let sealed = ring.seal(table.as_str(), &name, opened)?;
        self.bytes += sealed.len() + name.len();
        self.values.push((table, name, sealed));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes > 8 * 1024 * 1024 || self.values.len() >= 10_000
    }

    fn write(&mut self, database: &Database) -> Result<(), StateError> {
        let transaction = database.begin_write()?;
        for (table, name, sealed) in self.values.drain(..) {
            let mut stored = transaction.open_table(table.definition())?;
            stored.insert(name.as_slice(), sealed.as_slice())?;
        }
        self.bytes = 0;
        Ok(transaction.commit()?)
    }
}

/// Under which key it is, and that it was restored, for the first start to record.
fn mark(
    database: &Database,
    ring: &Ring,
    made: &str,
    keeps_logins: bool,
) -> Result<(), StateError> {
    let logins = if keeps_logins { "kept" } else { "ended" };
    let note = format!("backup of {made}, log-ins at the gateway {logins}");
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        for (name, value) in [(CHECK, CHECK), (RESTORED, note.as_bytes())] {
            let sealed = ring.seal("meta", name, value)?;
            meta.insert(name, sealed.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Puts a database in place of the one that is there, which keeps a name of its own. At no moment is
/// there none.
fn put_in_place(beside: &Path, path: &Path) -> Result<Option<PathBuf>, CopyError> {
    let cannot = |error| CopyError::file("cannot put the restored state in place of", path, error);
    let had_one = fs::metadata(path).is_ok_and(|file| file.len() > 0);
    let aside = had_one.then(|| files::aside(path, "replaced"));
    if let Some(aside) = &aside {
        fs::hard_link(path, aside).map_err(cannot)?;
    }
    fs::rename(beside, path).map_err(cannot)?;
    files::sync_folder(path).map_err(cannot)?;
    Ok(aside)
}
