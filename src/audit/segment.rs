//! The files of the log: their names, their lines, their ends.
//!
//! A segment is named by the `seq` of its first record and ends where the next one begins: a
//! record that stands in two segments counts in the later one.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::disk::{self, Disk, Lock, identity};
use super::fault::Fault;
use crate::clock::Timestamp;

/// The end of a segment's name.
const SUFFIX: &str = ".jsonl";
/// How much is read at once.
const BLOCK: u64 = 64 * 1024;
/// The most bytes of a line: over ten times what the limits of a record allow.
pub(super) const LINE_LIMIT: usize = 1024 * 1024;
/// The bytes within which a record's stamp stands.
pub(super) const STAMP_WITHIN: usize = 128;

/// The path of the segment that begins with record `first`.
pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// The first record of each segment of a directory, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    list_of(directory, SUFFIX)
}

/// The numbers by which the files of a directory are named that end in `suffix`, in order.
pub(super) fn list_of(directory: &Path, suffix: &str) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(suffix));
        // The parse alone would take `+1` and fewer digits.
        if let Some(digits) = digits.filter(|digits| digits.len() == 20)
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(first) = digits.parse()
        {
            segments.push(first);
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The `seq` of a line, judged by its start.
pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    if digits.len() > 1 && digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The stamp of a line that begins as the log is written, with `seq` and `time`.
pub(super) fn stamp_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest.get(digits..)?.strip_prefix(b",\"time\":\"")?;
    let (stamp, rest) = rest.split_at_checked(Timestamp::TEXT_LEN)?;
    let form = b"0000-00-00T00:00:00.000000Z";
    let has_form = stamp.iter().zip(form).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    (has_form && rest.starts_with(b"\"")).then_some(stamp)
}

/// The time of a line that begins as the log is written.
pub(super) fn stamp(line: &[u8]) -> Option<Timestamp> {
    Timestamp::parse(std::str::from_utf8(stamp_of(line)?).ok()?)
}

/// The `seq` of a line that is a whole record.
fn seq_of_record(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).ok()?;
    seq_of(line)
}

/// An open segment.
pub(super) struct Segment {
    /// The `seq` of its first record.
    pub(super) first: u64,
    /// Where it is.
    pub(super) path: PathBuf,
    /// The file.
    pub(super) file: File,
    /// The bytes of whole and good lines.
    pub(super) len: u64,
    id: (u64, u64),
}

impl Segment {
    /// Takes an open file as the segment that begins with `first`.
    pub(super) fn new(first: u64, path: PathBuf, file: File, len: u64) -> io::Result<Self> {
        let id = identity(&file.metadata()?);
        Ok(Self {
            first,
            path,
            file,
            len,
            id,
        })
    }

    /// Opens the segment that begins with `first`, to append to it.
    pub(super) fn open(directory: &Path, first: u64) -> io::Result<Self> {
        let path = path(directory, first);
        let file = disk::owned().open(&path)?;
        let len = file.metadata()?.len();
        Self::new(first, path, file, len)
    }

    /// Begins the segment of record `first` with the given lines. It appears under its name only
    /// when they are durable, so that a crash leaves the old segment or the new one in force.
    pub(super) fn begin(
        disk: &mut dyn Disk,
        lock: &mut Lock,
        directory: &Path,
        first: u64,
        lines: &[u8],
    ) -> Result<Self, Fault> {
        let path = path(directory, first);
        lock.announce().map_err(Fault::of("announce", &path))?;
        let unnamed = path.with_extension("jsonl.new");
        let fault = |action| Fault::of(action, &unnamed);
        let file = disk::owned()
            .create(true)
            .open(&unnamed)
            .map_err(fault("create"))?;
        file.set_len(0).map_err(fault("clear"))?;
        disk::write_all(disk, &file, lines).map_err(fault("write to"))?;
        disk.sync(&file).map_err(fault("sync"))?;
        disk.publish(&unnamed, &path).map_err(fault("name"))?;
        let len = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Self::new(first, path, file, len).map_err(fault("look at"))
    }

    /// The file's length, and whether it still is where its name says.
    pub(super) fn standing(&self) -> io::Result<(u64, bool)> {
        match fs::metadata(&self.path) {
            Ok(named) if identity(&named) == self.id => Ok((named.len(), true)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok((self.file.metadata()?.len(), false)),
        }
    }

    /// What stands at the end of the segment.
    pub(super) fn end(&self) -> io::Result<End> {
        let complete = complete_len(&self.file, self.len)?;
        let Some((offset, line)) = LinesBack::new(&self.file, complete).next()? else {
            return Ok(End {
                complete,
                next: Ok(self.first),
            });
        };
        let seq = seq_of_record(&line).filter(|seq| *seq >= self.first);
        Ok(End {
            complete,
            next: seq.map(|seq| seq + 1).ok_or(offset),
        })
    }

    /// Checks the records that others wrote from `self.len` to `len`, the first being `next`, and
    /// gives their lines without the newline.
    pub(super) fn replay(
        &self,
        len: u64,
        next: u64,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Replay> {
        let part = At {
            file: &self.file,
            offset: self.len,
        }
        .take(len.saturating_sub(self.len));
        let mut lines = BufReader::new(part);
        let mut replay = Replay {
            len: self.len,
            next,
            rest: Rest::Nothing,
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX);
            let read = lines.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(replay);
            }
            let whole = line.ends_with(b"\n");
            if !whole && complete_len(&self.file, len)? <= replay.len {
                replay.rest = Rest::Torn;
                return Ok(replay);
            }
            if !whole || seq_of_record(&line) != Some(replay.next) {
                replay.rest = Rest::Foreign;
                return Ok(replay);
            }
            each(line.strip_suffix(b"\n").unwrap_or(&line));
            replay.len += u64::try_from(read).unwrap_or(0);
            replay.next += 1;
        }
    }

    /// The hex SHA-256 of the file's bytes from `from` to `to`.
    pub(super) fn hash(&self, from: u64, to: u64) -> io::Result<String> {
        let mut part = At {
            file: &self.file,
            offset: from,
        }
        .take(to.saturating_sub(from));
        let mut context = digest::Context::new(&digest::SHA256);
        let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(4096)];
        loop {
            let read = part.read(&mut block)?;
            if read == 0 {
                return Ok(hex::encode(context.finish()));
            }
            context.update(block.get(..read).unwrap_or_default());
        }
    }

    /// The file's bytes from `from` to `to`.
    pub(super) fn bytes(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        At {
            file: &self.file,
            offset: from,
        }
        .take(to.saturating_sub(from))
        .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// What stands at the end of a segment.
pub(super) struct End {
    /// The bytes up to the last newline; what follows was torn.
    pub(super) complete: u64,
    /// The `seq` that comes next, or the offset of a last line that is no record.
    pub(super) next: Result<u64, u64>,
}

/// What others appended.
pub(super) struct Replay {
    /// The bytes of the file up to the last good record.
    pub(super) len: u64,
    /// The `seq` that comes next.
    pub(super) next: u64,
    /// What stands after the good records.
    pub(super) rest: Rest,
}

/// What stands after good records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// Lines that no writer of this log wrote.
    Foreign,
    Nothing,
    /// The start of a line, whose writer is dead since the lock is ours.
    Torn,
}

/// The file's bytes up to and with its last newline before `len`.
pub(super) fn complete_len(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = read_part(file, start, end)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The lines of a file from the last to the first, read in blocks.
pub(super) struct LinesBack<'a> {
    file: &'a File,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> LinesBack<'a> {
    /// Reads before `end`, which must stand behind a newline.
    pub(super) fn new(file: &'a File, end: u64) -> Self {
        Self {
            file,
            start: end,
            buffer: Vec::new(),
        }
    }

    /// The line before, without its newline, and its offset.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            let newline = line.iter().rposition(|byte| *byte == b'\n');
            let at = match newline {
                Some(at) => at + 1,
                None if self.start == 0 && self.buffer.is_empty() => return Ok(None),
                None if self.start == 0 => 0,
                None => {
                    self.grow()?;
                    continue;
                }
            };
            let mut line = self.buffer.split_off(at);
            line.pop();
            return Ok(Some((self.start + u64::try_from(at).unwrap_or(0), line)));
        }
    }

    fn grow(&mut self) -> io::Result<()> {
        if self.buffer.len() > LINE_LIMIT {
            let text = format!("no line ends in the megabyte after byte {}", self.start);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let start = self.start.saturating_sub(BLOCK);
        let mut block = read_part(self.file, start, self.start)?;
        block.append(&mut self.buffer);
        self.buffer = block;
        self.start = start;
        Ok(())
    }
}

fn read_part(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
    file.read_exact_at(&mut block, start)?;
    Ok(block)
}

/// Reads from an offset without moving the file's own position.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}
