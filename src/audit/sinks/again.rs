//! How the sinks of a log stand, and sending again what one of them refused.
//!
//! The command gives the file of what was refused another name, and does no more: the sink's runner,
//! of this process or the next, sends what is in it when there is nothing else to send. It alone
//! writes and reads these files, so that no line is lost between them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;

use super::Item;
use super::offset::{self, folder};
use crate::audit::checkpoint;
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
    let records = count(&refused)?;
    if records == 0 {
        return Err(NotResent::Nothing);
    }
    // Whoever makes the file is the one who may put something in its place.
    let mut options = OpenOptions::new();
    match options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&again)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NotResent::UnderWay(again));
        }
        made => drop(made.map_err(Fault::of("make", &again))?),
    }
    fs::rename(&refused, &again).map_err(Fault::of("rename", &refused))?;
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
            at: 0,
            given: 0,
        }
    }

    /// The next record, until it is done. What is not, or no more, a record that was signed is passed
    /// over. When all are done the file goes.
    pub(super) fn next(&mut self, origin: &str, covered: u64) -> io::Result<Option<Item>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.at, self.given) = (0, 0);
                return Ok(None);
            }
            file => file?,
        };
        file.seek(SeekFrom::Start(self.at))?;
        let mut lines = BufReader::new(file);
        let hashes = HashFile::open(&self.directory).map_err(io::Error::other)?;
        loop {
            let mut line = Vec::new();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
            if read == 0 {
                fs::remove_file(&self.path)?;
                (self.at, self.given) = (0, 0);
                tracing::info!(sink = self.name, "what a sink had refused was sent again");
                return Ok(None);
            }
            self.given = u64::try_from(read).unwrap_or(0);
            let signed = |(seq, line): &(u64, Bytes)| {
                *seq < covered && hashes.leaf(*seq).is_ok_and(|it| it == leaf(line))
            };
            match record(&line).filter(signed) {
                Some((seq, line)) => return Ok(Some(Item::record(origin, seq, line))),
                None => {
                    let (sink, at) = (&*self.name, self.at);
                    tracing::error!(sink, at, file = %self.path.display(),
                        "what stands here is no record of the log as it was signed: it is not sent again");
                    self.done();
                }
            }
        }
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
