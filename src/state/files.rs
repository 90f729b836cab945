//! The files of a state directory: made for their owner alone, put in place whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::StateError;
use crate::clock::Clock;

/// Makes a directory for its owner, if it is not there.
pub(super) fn make_directory(directory: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| file_error("cannot make the state directory", directory, source))
}

/// Writes a file beside its place and puts it there, whole and on the disk.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let beside = beside(path);
    let write = || -> io::Result<()> {
        write_new(&beside, content)?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    };
    write().map_err(|source| {
        // It is either gone or in nobody's way.
        drop(fs::remove_file(&beside));
        file_error("cannot write", path, source)
    })
}

/// Writes a file that nobody has seen yet, for its owner.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = owned().create(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// How files are opened to be written: nobody else may ever read them.
pub(super) fn owned() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Where a file is written before it gets its name.
pub(super) fn beside(path: &Path) -> PathBuf {
    with_suffix(path, &format!("new.{}", std::process::id()))
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A name that no file has, for one that is set aside: `state.redb.unreadable-20260304T050607Z`.
pub(super) fn aside(path: &Path, why: &str) -> PathBuf {
    let stamp = Clock::System.now().text();
    let digits = stamp.iter().take(19).filter(|byte| !b"-:".contains(byte));
    let stamp: String = digits.map(|byte| char::from(*byte)).collect();
    let first = with_suffix(path, &format!("{why}-{stamp}Z"));
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let numbered = (2..1000).map(|number| with_suffix(path, &format!("{why}-{stamp}Z-{number}")));
    std::iter::once(first.clone())
        .chain(numbered)
        .find(is_free)
        .unwrap_or(first)
}

/// What was set aside beside a file.
pub(super) fn aside_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let other = entry.file_name();
        let suffix = other.to_str().and_then(|other| other.strip_prefix(&*name));
        if suffix.is_some_and(|suffix| {
            suffix.starts_with(".unreadable-") || suffix.starts_with(".replaced-")
        }) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Which file it is, whatever its name.
pub(super) fn identity(path: &Path) -> Result<(u64, u64), StateError> {
    let metadata = fs::metadata(path).map_err(|source| file_error("cannot read", path, source))?;
    Ok((metadata.dev(), metadata.ino()))
}

pub(super) fn file_error(what: &'static str, path: &Path, source: io::Error) -> StateError {
    let path = path.display().to_string();
    StateError::File { what, path, source }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
