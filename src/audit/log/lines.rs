//! Going over the lines of a log, from one record on, through all its segments.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::audit::fault::Fault;
use crate::audit::segment::{self, LINE_LIMIT, LinesBack};

/// How much is read at once.
const BUFFER: usize = 1024 * 1024;

/// What to do about records that are not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gaps {
    /// Stop at the first.
    Refused,
    /// Go on, and tell of them.
    Told,
}

/// Why the lines could not be gone over.
#[derive(Debug)]
pub(super) enum WalkError {
    File(Fault),
    /// A record is not where it should be.
    Missing {
        path: PathBuf,
        seq: u64,
    },
}

impl From<Fault> for WalkError {
    fn from(fault: Fault) -> Self {
        Self::File(fault)
    }
}

type Each<'a> = dyn FnMut(u64, Option<&[u8]>) -> Result<(), Fault> + 'a;

/// Gives each record from `from` on and before `to`, by the rule that what stands in two segments
/// counts in the later one: its line without the newline, or none if there is no such record.
/// Other lines that stand between them are passed over.
pub(super) fn walk(
    directory: &Path,
    (from, to): (u64, u64),
    gaps: Gaps,
    mut each: impl FnMut(u64, Option<&[u8]>) -> Result<(), Fault>,
) -> Result<(), WalkError> {
    let segments = segment::list(directory).map_err(Fault::of("read", directory))?;
    let mut next = from;
    let fill = |next: &mut u64, end: u64, path: &Path, each: &mut Each<'_>| {
        if *next < end && gaps == Gaps::Refused {
            let path = path.to_owned();
            return Err(WalkError::Missing { path, seq: *next });
        }
        while *next < end {
            each(*next, None)?;
            *next += 1;
        }
        Ok(())
    };
    for (index, &first) in segments.iter().enumerate() {
        let end = segments.get(index + 1).copied().unwrap_or(to).min(to);
        if end <= next {
            continue;
        }
        let path = segment::path(directory, first);
        fill(&mut next, first.min(to), &path, &mut each)?;
        let mut lines = Lines::open(&path, (first, next)).map_err(Fault::of("read", &path))?;
        while next < end {
            let Some(line) = lines.next().map_err(Fault::of("read", &path))? else {
                break;
            };
            let Some(seq) = segment::seq_of(line).filter(|seq| (next..end).contains(seq)) else {
                continue;
            };
            fill(&mut next, seq, &path, &mut each)?;
            each(seq, Some(line))?;
            next += 1;
        }
        fill(&mut next, end, &path, &mut each)?;
    }
    let path = segments.last().map_or_else(
        || directory.to_owned(),
        |first| segment::path(directory, *first),
    );
    fill(&mut next, to, &path, &mut each)
}

/// The whole lines of a segment.
struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    /// Those from record `next` on, if that is found; else all.
    fn open(path: &Path, (first, next): (u64, u64)) -> io::Result<Self> {
        let file = File::open(path)?;
        let offset = if next > first {
            offset_of(&file, next)?
        } else {
            0
        };
        let mut file = BufReader::with_capacity(BUFFER, file);
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        Ok(Self {
            file,
            line: Vec::new(),
        })
    }

    /// The next line, without its newline. One that is too long to be a record comes in pieces.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX);
        let mut part = self.file.by_ref().take(limit);
        part.read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.last() == Some(&b'\n');
        if is_whole {
            self.line.pop();
        } else if self.line.len() < LINE_LIMIT {
            return Ok(None);
        }
        Ok(Some(&self.line))
    }
}

/// Where the line of a record begins, looked for from the end: it is mostly near. 0 if nowhere.
fn offset_of(file: &File, seq: u64) -> io::Result<u64> {
    let complete = segment::complete_len(file, file.metadata()?.len())?;
    let mut lines = LinesBack::new(file, complete);
    while let Some((offset, line)) = lines.next()? {
        if segment::seq_of(&line) == Some(seq) {
            return Ok(offset);
        }
    }
    Ok(0)
}

/// The last lines of a segment, from the last on, until it is told to stop.
pub(super) fn last_lines(
    path: &Path,
    most: usize,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let file = File::open(path)?;
    let complete = segment::complete_len(&file, file.metadata()?.len())?;
    let mut lines = LinesBack::new(&file, complete);
    for _ in 0..most {
        let Some((_, line)) = lines.next()? else {
            break;
        };
        if let Some(seq) = segment::seq_of(&line)
            && !each(seq, &line)?
        {
            break;
        }
    }
    Ok(())
}
