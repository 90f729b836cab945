//! How far a sink has come, kept beside the log; and what the other end would not take.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};

use super::Item;
use super::feed::small_file;
use crate::audit::disk::{Disk as _, Real};
use crate::audit::json;
use crate::clock::Timestamp;

/// How often an offset is written.
const EVERY: Duration = Duration::from_secs(1);
/// The end of the name of an offset's file.
const SUFFIX: &str = "offset";

/// Where the files of the sinks of a log are.
pub(super) fn folder(directory: &Path) -> PathBuf {
    directory.join("sinks")
}

/// Makes the folder, for the owner only.
pub(super) fn make_folder(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder(directory))
}

/// The files of one sink, of which one process at a time has the use.
pub(super) struct Files {
    folder: PathBuf,
    name: String,
    /// Holds the lock for as long as it is open.
    lock: File,
    stored: Option<u64>,
    written: Option<Instant>,
}

impl Files {
    /// Takes the files of a sink; none while another process has them.
    pub(super) fn take(directory: &Path, name: &str) -> io::Result<Option<Self>> {
        make_folder(directory)?;
        let folder = folder(directory);
        let lock = owned().open(folder.join(format!("{name}.lock")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Some(Self {
            folder,
            name: name.to_owned(),
            lock,
            stored: None,
            written: None,
        }))
    }

    /// The record that the sink gets next, as it was written down; none for a new sink.
    pub(super) fn next(&mut self) -> io::Result<Option<u64>> {
        self.stored = read(&self.path(SUFFIX))?;
        Ok(self.stored)
    }

    /// Writes down the record that the sink gets next, unless something was a moment ago and this
    /// need not be `now`.
    pub(super) fn store(&mut self, next: u64, now: bool) -> io::Result<()> {
        let is_soon = self
            .written
            .is_some_and(|written| written.elapsed() < EVERY);
        if self.stored == Some(next) || is_soon && !now {
            return Ok(());
        }
        let (path, beside) = (self.path(SUFFIX), self.path("offset.new"));
        let mut file = owned().truncate(true).open(&beside)?;
        writeln!(file, "{next}")?;
        file.sync_data()?;
        Real.publish(&beside, &path)?;
        self.stored = Some(next);
        self.written = Some(Instant::now());
        Ok(())
    }

    /// Puts a record aside that the other end will never take. When this returns, it is durable.
    pub(super) fn set_aside(&mut self, item: &Item, why: &str, now: Timestamp) -> io::Result<()> {
        let mut line = b"{\"time\":\"".to_vec();
        line.extend_from_slice(&now.text());
        line.push(b'"');
        json::name(&mut line, "id");
        json::text(&mut line, &item.id, 512);
        json::name(&mut line, "why");
        json::text(&mut line, why, 1024);
        json::name(&mut line, "record");
        line.extend_from_slice(&item.line);
        line.extend_from_slice(b"}\n");
        let path = self.path("refused");
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(path)?;
        file.write_all(&line)?;
        file.sync_data()
    }

    /// The file of records that the other end would not take.
    pub(super) fn refused(&self) -> PathBuf {
        self.path("refused")
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.name))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // The kernel does it as well when the file is closed.
        self.lock.unlock().ok();
    }
}

/// The first record that a configured sink has not got; none where no sink holds anything back. A
/// sink that was never run holds back nothing.
///
/// # Errors
/// Fails when an offset cannot be read: nothing is known then of what its sink has.
pub fn lowest<'a>(
    directory: &Path,
    names: impl Iterator<Item = &'a str>,
) -> io::Result<Option<u64>> {
    let mut lowest: Option<u64> = None;
    for name in names {
        let next = read(&folder(directory).join(format!("{name}.{SUFFIX}")))?;
        lowest = [lowest, next].into_iter().flatten().min();
    }
    Ok(lowest)
}

/// The names of sinks that have an offset.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".offset"));
        names.extend(name.map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn read(path: &Path) -> io::Result<Option<u64>> {
    let text = match small_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let number = std::str::from_utf8(&text).ok();
    let number = number.and_then(|text| text.strip_suffix('\n'));
    let number = number.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| {
        let why = format!("{} does not hold one number and a newline", path.display());
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

fn owned() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn one_at_a_time_has_a_sink_and_goes_on_where_the_last_one_was() {
        let folder = TempDir::new().unwrap();
        let mut first = Files::take(folder.path(), "a").unwrap().unwrap();
        assert_eq!(first.next().unwrap(), None);
        first.store(7, true).unwrap();
        assert!(Files::take(folder.path(), "a").unwrap().is_none());
        assert!(Files::take(folder.path(), "b").unwrap().is_some());
        drop(first);
        let mut second = Files::take(folder.path(), "a").unwrap().unwrap();
        assert_eq!(second.next().unwrap(), Some(7));
        assert_eq!(names(folder.path()).unwrap(), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_offset_is_written_once_a_second_unless_it_has_to_be() {
        let folder = TempDir::new().unwrap();
        let mut files = Files::take(folder.path(), "a").unwrap().unwrap();
        let stored = || fs::read_to_string(folder.path().join("sinks/a.offset")).unwrap();
        files.store(1, false).unwrap();
        files.store(2, false).unwrap();
        assert_eq!(stored(), "1\n");
        files.store(3, true).unwrap();
        assert_eq!(stored(), "3\n");
        tokio::time::advance(EVERY).await;
        files.store(4, false).unwrap();
        assert_eq!(stored(), "4\n");
    }

    #[test]
    fn the_lowest_is_what_the_slowest_sink_lacks_and_a_broken_offset_is_no_answer() {
        let folder = TempDir::new().unwrap();
        let of = |names: &[&str]| lowest(folder.path(), names.iter().copied());
        assert_eq!(of(&["a"]).unwrap(), None);
        for (name, next) in [("a", 9), ("b", 5), ("gone", 1)] {
            let mut files = Files::take(folder.path(), name).unwrap().unwrap();
            files.store(next, true).unwrap();
        }
        assert_eq!(of(&["a", "b", "new"]).unwrap(), Some(5));
        for broken in ["", "7", "x\n", "7\n7\n", "-1\n"] {
            fs::write(folder.path().join("sinks/a.offset"), broken).unwrap();
            assert!(of(&["a"]).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn what_is_put_aside_is_a_line_of_json_with_the_reason() {
        let folder = TempDir::new().unwrap();
        let mut files = Files::take(folder.path(), "a").unwrap().unwrap();
        let item = Item::record(&Arc::from("o"), 4, (&b"{\"seq\":4}"[..]).into());
        for _ in 0..2 {
            files
                .set_aside(&item, "said \"no\"\n", Timestamp(0))
                .unwrap();
        }
        let text = fs::read_to_string(files.refused()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(line["id"], "o#4");
        assert_eq!(line["why"], "said \"no\"\n");
        assert_eq!(line["record"]["seq"], 4);
    }
}
