//! Checkpoints: how many records the log had and the root of its tree then, signed.
//!
//! A checkpoint is the text of a signed note (C2SP tlog-checkpoint): the log's origin, a decimal
//! size, the root in base64, each on a line. A file of them has one note after the other, each
//! followed by one empty line. A writer that is killed may leave a part of the last one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::vec;

use memchr::memmem;
use tlog_tiles::Hash;

use super::fault::Fault;
use super::note::{KeyError, Note, NoteError, VerifierKey};
use super::segment;
use super::tree::MOST_RECORDS;

/// The end of the names of the files that have the log's own checkpoints.
const SUFFIX: &str = ".notes";
/// The file with the notes that witnesses signed, too.
pub const COSIGNED: &str = "cosigned";
/// The file with the keys of the log, the present one last.
pub const VERIFIERS: &str = "verifier.keys";
/// How much of the end of a file is read to find the last note.
const END: u64 = 64 * 1024;
/// How a line of a signature begins.
const MARK: &[u8] = "\u{2014} ".as_bytes();

/// A state of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Which log: the name of the key that signs for it.
    pub origin: String,
    /// How many records it had.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// What is not in the form of a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no checkpoint of a log: that has an origin, a number and a hash, each on a line")]
pub struct NoCheckpoint;

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// Fails when it is in any other form than [`Checkpoint::text`] gives.
    pub fn parse(text: &str) -> Result<Self, NoCheckpoint> {
        let lines = text.strip_suffix('\n').ok_or(NoCheckpoint)?;
        let mut lines = lines.split('\n');
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        let checkpoint = Self {
            origin: origin.ok_or(NoCheckpoint)?.to_owned(),
            size: size
                .and_then(|size| size.parse().ok())
                .ok_or(NoCheckpoint)?,
            root: root
                .and_then(|root| Hash::parse_hash(root).ok())
                .ok_or(NoCheckpoint)?,
        };
        // Also where there are more lines, a sign or zeros before the number.
        let is_exact = checkpoint.text() == text;
        if is_exact && !checkpoint.origin.is_empty() && checkpoint.size <= MOST_RECORDS {
            Ok(checkpoint)
        } else {
            Err(NoCheckpoint)
        }
    }
}

/// A checkpoint and its signatures, which are not verified by being here.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// As it was signed.
    pub note: Note,
    /// The file that has it.
    pub path: PathBuf,
    /// Where in the file it begins.
    pub offset: u64,
}

/// What stands in a file of checkpoints and is none.
#[derive(Debug, thiserror::Error)]
pub enum BadNote {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] Fault),
    /// It has another form.
    #[error("{} has no checkpoint at byte {offset}: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file ends within it.
    #[error("{} ends in a part of a checkpoint, from byte {offset} on", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
    },
}

/// Goes over checkpoints in the order in which they were signed.
#[derive(Debug)]
pub struct Notes {
    files: vec::IntoIter<PathBuf>,
    path: PathBuf,
    bytes: Vec<u8>,
    at: usize,
}

impl Notes {
    /// All that the log of a directory has signed.
    ///
    /// # Errors
    /// Fails when the directory cannot be read.
    pub fn of(directory: &Path) -> Result<Self, Fault> {
        Ok(Self::over(files(directory)?))
    }

    /// Those of one file. One that is missing has none.
    pub fn in_file(path: &Path) -> Self {
        Self::over(vec![path.to_owned()])
    }

    /// Those of a text that came from somewhere else than a file, which `path` names.
    pub fn in_text(path: &Path, text: Vec<u8>) -> Self {
        let mut notes = Self::over(Vec::new());
        path.clone_into(&mut notes.path);
        notes.bytes = text;
        notes
    }

    /// Whether all was given out.
    pub(super) fn is_at_end(&self) -> bool {
        self.files.as_slice().is_empty() && self.at >= self.bytes.len()
    }

    fn over(files: Vec<PathBuf>) -> Self {
        Self {
            files: files.into_iter(),
            path: PathBuf::new(),
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// The bytes up to the empty line after `at`, with their last newline; and what is after it.
    fn block(&self, at: usize) -> Option<(&[u8], usize)> {
        let rest = self.bytes.get(at..)?;
        let end = memmem::find(rest, b"\n\n")?;
        Some((rest.get(..=end)?, at + end + 2))
    }

    fn step(&mut self) -> Result<Signed, BadNote> {
        let begin = self.at;
        let offset = u64::try_from(begin).unwrap_or(u64::MAX);
        let torn = BadNote::Torn {
            path: self.path.clone(),
            offset,
        };
        let bad = |why: String| BadNote::Form {
            path: self.path.clone(),
            offset,
            why,
        };
        let Some((text, after)) = self.block(begin) else {
            self.at = self.bytes.len();
            return Err(torn);
        };
        let is_text = !text.starts_with(MARK);
        let followed = self
            .bytes
            .get(after..)
            .is_some_and(|rest| rest.starts_with(MARK) || is_text && MARK.starts_with(rest));
        if !is_text || !followed {
            let fault = bad("a text without signatures, or signatures without a text".to_owned());
            self.at = after;
            return Err(fault);
        }
        let Some((_, end)) = self.block(after) else {
            self.at = self.bytes.len();
            return Err(torn);
        };
        let note = self.bytes.get(begin..end - 1).unwrap_or_default();
        let read = std::str::from_utf8(note)
            .map_err(|_| bad("it is not text".to_owned()))
            .and_then(|note| Note::parse(note).map_err(|error| bad(error.to_string())))
            .and_then(|note| match Checkpoint::parse(note.text()) {
                Ok(checkpoint) => Ok((checkpoint, note)),
                Err(error) => Err(bad(error.to_string())),
            });
        self.at = end;
        read.map(|(checkpoint, note)| Signed {
            checkpoint,
            note,
            path: self.path.clone(),
            offset,
        })
    }
}

impl Iterator for Notes {
    type Item = Result<Signed, BadNote>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at >= self.bytes.len() {
            self.path = self.files.next()?;
            self.at = 0;
            match read_whole(&self.path) {
                Ok(bytes) => self.bytes = bytes,
                Err(fault) => {
                    self.bytes.clear();
                    return Some(Err(fault.into()));
                }
            }
        }
        Some(self.step())
    }
}

/// The files that have the log's own checkpoints, the oldest first.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    let firsts = segment::list_of(directory, SUFFIX).map_err(Fault::of("read", directory))?;
    let path = |first: u64| notes_path(directory, first);
    Ok(firsts.into_iter().map(path).collect())
}

/// The file with the checkpoints that were signed while the segment that begins with record
/// `first` was the newest.
pub fn notes_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// A file's bytes. One that was removed meanwhile has none.
fn read_whole(path: &Path) -> Result<Vec<u8>, Fault> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(Fault::of("read", path)),
    }
}

/// The checkpoint that a log signed last: the last whole one. None where it has signed none.
///
/// # Errors
/// Fails when a file cannot be read.
pub fn latest(directory: &Path) -> Result<Option<Signed>, Fault> {
    for path in files(directory)?.into_iter().rev() {
        if let Some(signed) = latest_in(&path)? {
            return Ok(Some(signed));
        }
    }
    Ok(None)
}

/// The last whole checkpoint of a file. None where it has none or is missing.
///
/// # Errors
/// Fails when the file cannot be read.
pub fn latest_in(path: &Path) -> Result<Option<Signed>, Fault> {
    let (end, skipped) = match read_end(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(Fault::of("read", path))?,
    };
    let mut whole = Notes::in_text(path, end).filter_map(Result::ok);
    // What a part of a file begins with may look like a whole note.
    let first = whole.next();
    let last = whole.last();
    if skipped > 0 && last.is_none() {
        let whole = Notes::in_file(path).filter_map(Result::ok);
        return Ok(whole.last());
    }
    Ok(last.or(first).map(|mut signed| {
        signed.offset += skipped;
        signed
    }))
}

/// The end of a file, and how many bytes are before it.
fn read_end(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(END);
    let mut bytes = Vec::new();
    let mut block = [0; 16 * 1024];
    loop {
        let at = skipped + u64::try_from(bytes.len()).unwrap_or(0);
        match file.read_at(&mut block, at)? {
            0 => return Ok((bytes, skipped)),
            read => bytes.extend_from_slice(block.get(..read).unwrap_or_default()),
        }
    }
}

/// Why keys or notes that are kept in a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] Fault),
    /// A line of it is no key.
    #[error("{}, line {line}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// It has no note that is whole.
    #[error("{}: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// The keys of a file, one on a line. Empty lines and those that begin with `#` are left out.
///
/// # Errors
/// Fails when it cannot be read, or a line of it is no key.
pub fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, Unusable> {
    let text = fs::read_to_string(path).map_err(Fault::of("read", path))?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        // As `audit key` prints them, too: the present one first.
        let older = line.strip_prefix("older key:");
        let line = older.or(line.strip_prefix("key:")).unwrap_or(line).trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("origin:") {
            continue;
        }
        let place = if older.is_some() { 0 } else { keys.len() };
        let key = line.parse().map_err(|source| Unusable::Key {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        keys.insert(place, key);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
