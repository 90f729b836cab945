//! How the sinks of a log stand, and sending again what one of them refused.
//!
//! The command gives the file of what was refused another name, and does no more: the sink's runner,
//! of this process or the next, sends what is in it when there is nothing else to send. It alone
//! writes and reads these files, so that no line is lost between them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;

use super::Item;
use super::offset::{self, folder};
use crate::audit::checkpoint;
use crate::audit::disk::{self, Disk as _, Real, identity};
use crate::audit::fault::Fault;
use crate::audit::segment::{LINE_LIMIT, seq_of};
use crate::audit::tree::{HashFile, leaf};

/// The most bytes of a line of what was refused: a record, and why.
const LONGEST: u64 = LINE_LIMIT as u64 + 8192;

/// How a sink stands, as its files tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The sink.
    pub name: String,
    /// Whether it is configured.
    pub configured: bool,
    /// The record that it gets next; none of a sink that was never run.
    pub next: Option<u64>,
    /// Records that a checkpoint covers and that it is not known to have.
    pub lag: u64,
    /// Records that it refused.
    pub refused: u64,
    /// Records that it refused and that are being sent again.
    pub resending: u64,
}

/// Why nothing is sent again.
#[derive(Debug, thiserror::Error)]
pub enum NotResent {
    /// The sink has refused nothing.
    #[error("the sink has refused nothing")]
    Nothing,
    /// What it refused before is still being sent.
    #[error(
        "what it refused before is still being sent again: {} is there as long as that goes on",
        .0.display()
    )]
    UnderWay(PathBuf),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] Fault),
}

/// How all sinks stand that are configured or have files, in the order of their names.
///
/// # Errors
/// Fails when a file cannot be read.
pub fn standings(directory: &Path, configured: &[String]) -> Result<Vec<Standing>, Fault> {
    let place = folder(directory);
    let mut names: BTreeSet<String> = configured.iter().cloned().collect();
    names.extend(offset::names(directory).map_err(Fault::of("read", &place))?);
    let covered = checkpoint::latest(directory)?.map_or(0, |signed| signed.checkpoint.size);
    let standing = |name: String| {
        let path = |suffix: &str| place.join(format!("{name}.{suffix}"));
        let at = path("offset");
        let next = offset::read(&at).map_err(Fault::of("read", &at))?;
        Ok(Standing {
            configured: configured.contains(&name),
            next,
            lag: covered.saturating_sub(next.unwrap_or(covered)),
            refused: count(&path("refused"))?,
            resending: count(&path("resend"))?,
            name,
        })
    };
    names.into_iter().map(standing).collect()
}

/// Has a sink get again what it refused. Gives how many records that are.
///
/// # Errors
/// Tells why not.
pub fn resend(directory: &Path, name: &str) -> Result<u64, NotResent> {
    let path = |suffix: &str| folder(directory).join(format!("{name}.{suffix}"));
    let (refused, again) = (path("refused"), path("resend"));
    let file = match disk::owned().open(&refused) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NotResent::Nothing),
        file => file.map_err(Fault::of("open", &refused))?,
    };
    // Nobody but this command makes the other file, so that among those who hold this lock one only
    // puts something there. What is looked for below cannot change in between.
    file.lock().map_err(Fault::of("lock", &refused))?;
    if fs::symlink_metadata(&again).is_ok() {
        return Err(NotResent::UnderWay(again));
    }
    let held = file.metadata().map_err(Fault::of("look at", &refused))?;
    let named = fs::symlink_metadata(&refused).ok();
    let records = count(&refused)?;
    if records == 0 || named.is_none_or(|named| identity(&named) != identity(&held)) {
        return Err(NotResent::Nothing);
    }
    let renamed = Real.publish(&refused, &again);
    renamed.map_err(Fault::of("rename", &refused))?;
    Ok(records)
}

/// The lines of a file, which need not be there.
fn count(path: &Path) -> Result<u64, Fault> {
    let count = || -> io::Result<u64> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let (mut lines, mut block) = (0, vec![0; 64 * 1024]);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(lines),
                read => {
                    let part = block.get(..read).unwrap_or_default();
                    let found = memchr::memchr_iter(b'\n', part).count();
                    lines += u64::try_from(found).unwrap_or(0);
                }
            }
        }
    };
    count().map_err(Fault::of("read", path))
}

/// Reads what a sink is to get again.
pub(super) struct Again {
    directory: PathBuf,
    path: PathBuf,
    name: String,
    /// The file that the position belongs to.
    file: Option<(u64, u64)>,
    /// The bytes that are done.
    at: u64,
    /// The bytes of the record that was given out.
    given: u64,
}

impl Again {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            path: folder(directory).join(format!("{name}.resend")),
            name: name.to_owned(),
            file: None,
            at: 0,
            given: 0,
        }
    }

    /// The next record, until it is done. What is not, or no more, a record that was signed is kept
    /// in a file of its own. When all are done the file goes.
    pub(super) fn next(&mut self, origin: &str, covered: u64) -> io::Result<Option<Item>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.go_to(None);
                return Ok(None);
            }
            file => file?,
        };
        let present = Some(identity(&file.metadata()?));
        if self.file != present {
            self.go_to(present);
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut lines = BufReader::new(file);
        let hashes = HashFile::open(&self.directory).map_err(io::Error::other)?;
        loop {
            let mut line = Vec::new();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
            if read == 0 {
                return self.end().map(|()| None);
            }
            self.given = u64::try_from(read).unwrap_or(0);
            if let Some((seq, record)) = record(&line).filter(|(seq, _)| *seq < covered) {
                // What cannot be compared is not judged: it is looked at again later.
                let signed = hashes.leaf(seq).map_err(|error| {
                    let why = format!("the tree does not tell of record {seq}: {error}");
                    io::Error::new(error.kind(), why)
                })?;
                if signed == leaf(&record) {
                    let mut item = Item::record(origin, seq, record);
                    item.is_again = true;
                    return Ok(Some(item));
                }
            }
            self.keep(&line)?;
            self.done();
        }
    }

    /// Keeps a line that is no record as it was signed: somebody changed it, and may want to know.
    fn keep(&self, line: &[u8]) -> io::Result<()> {
        let path = self.path.with_file_name(format!("{}.bad", self.name));
        let file = disk::owned().create(true).open(&path)?;
        let mut line = line.to_vec();
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        disk::write_all(&mut Real, &file, &line)?;
        file.sync_data()?;
        let (sink, at) = (&*self.name, self.at);
        tracing::error!(sink, at, kept = %path.display(),
            "what a sink had refused has a line that is no record of the log as it was signed: it is \
             not sent again");
        Ok(())
    }

    /// Begins with a file.
    fn go_to(&mut self, file: Option<(u64, u64)>) {
        (self.file, self.at, self.given) = (file, 0, 0);
    }

    /// Takes away the file that was read to its end, and no other that has come to its place.
    fn end(&mut self) -> io::Result<()> {
        if Some(identity(&fs::symlink_metadata(&self.path)?)) == self.file {
            fs::remove_file(&self.path)?;
        }
        self.go_to(None);
        tracing::info!(sink = self.name, "what a sink had refused was sent again");
        Ok(())
    }

    /// The record that was given out need not be sent any more.
    pub(super) fn done(&mut self) {
        self.at += std::mem::take(&mut self.given);
    }
}

/// The record of a line of what was refused. A text before it cannot hold what it is found by, since
/// quotes within texts are escaped.
fn record(line: &[u8]) -> Option<(u64, Bytes)> {
    const MEMBER: &[u8] = b",\"record\":";
    let begin = memmem::find(line, MEMBER)? + MEMBER.len();
    let record = line.get(begin..)?.strip_suffix(b"}\n")?;
    Some((seq_of(record)?, Bytes::copy_from_slice(record)))
}
