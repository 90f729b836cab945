//! Reads the log from any record on, as far as nothing can take it back.
//!
//! Between two reads no byte is kept: what stands behind the last record that was read may still be
//! cut off and written anew.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Item;
use crate::audit::disk::identity;
use crate::audit::segment::{self, At, LINE_LIMIT};
use crate::audit::tree::{HashFile, leaf};

/// The most bytes that one read looks at, whatever it finds.
const SCAN: u64 = 8 * 1024 * 1024;
/// A part of a file that is small enough to be read from its start.
const SMALL: u64 = 64 * 1024;
/// How often a directory is looked at again when a file of it goes away.
const TRIES: usize = 5;

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most records.
    pub(super) records: usize,
    /// The most bytes, but for the first record.
    pub(super) bytes: usize,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The records that are wanted, in order.
    pub(super) items: Vec<Item>,
    /// The record to go on with.
    pub(super) next: u64,
    /// Records that should be in the log and are not.
    pub(super) missing: Vec<Range<u64>>,
    /// Whether the log ends before a record that should be in it.
    pub(super) is_short: bool,
}

/// Reads the log.
pub(super) struct Feed {
    directory: PathBuf,
    origin: Arc<str>,
    place: Option<Place>,
}

/// Where in the files a record is to be looked for.
struct Place {
    /// The first record of the segment.
    first: u64,
    file: File,
    offset: u64,
    /// The record that comes next there.
    next: u64,
}

impl Feed {
    pub(super) fn new(directory: &Path, origin: Arc<str>) -> Self {
        Self {
            directory: directory.to_owned(),
            origin,
            place: None,
        }
    }

    /// Reads from record `from` on and below record `below`.
    pub(super) fn read(
        &mut self,
        from: u64,
        below: u64,
        bounds: Bounds,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Part> {
        let mut part = Part {
            next: from,
            ..Part::default()
        };
        let mut tries = 0;
        while part.next < below && part.items.is_empty() {
            let segments = segment::list(&self.directory)?;
            let at = segments.partition_point(|first| *first <= part.next);
            let later = segments.get(at).copied().filter(|first| *first < below);
            let current = at.checked_sub(1).and_then(|at| segments.get(at)).copied();
            let Some(current) = current else {
                match later {
                    Some(first) => part.skip_to(first),
                    None => {
                        part.is_short = true;
                        break;
                    }
                }
                continue;
            };
            match self.enter(current, part.next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    self.place = None;
                    continue;
                }
                result => result?,
            }
            let scanned_all = self.scan(&mut part, later.unwrap_or(below), bounds, &wanted)?;
            if !scanned_all {
                break;
            }
            match later {
                Some(first) => part.skip_to(first),
                None => {
                    part.is_short = part.next < below;
                    break;
                }
            }
        }
        Ok(part)
    }

    /// Finds record `next` in the segment that begins with `first`.
    fn enter(&mut self, first: u64, next: u64) -> io::Result<()> {
        let path = segment::path(&self.directory, first);
        if let Some(place) = &self.place
            && place.first == first
            && place.next == next
            && identity(&place.file.metadata()?) == identity(&std::fs::metadata(&path)?)
            && place.file.metadata()?.len() >= place.offset
        {
            return Ok(());
        }
        let file = File::open(path)?;
        let offset = find(&file, next)?;
        self.place = Some(Place {
            first,
            file,
            offset,
            next,
        });
        Ok(())
    }

    /// Reads on in the present segment up to record `end`. Says whether all of it was read.
    fn scan(
        &mut self,
        part: &mut Part,
        end: u64,
        bounds: Bounds,
        wanted: &impl Fn(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let Some(place) = &mut self.place else {
            return Ok(true);
        };
        let from = At {
            file: &place.file,
            offset: place.offset,
        };
        let mut lines = BufReader::with_capacity(usize::try_from(SMALL).unwrap_or(8192), from);
        let (mut bytes, stop) = (0, place.offset.saturating_add(SCAN));
        let mut beyond = false;
        let hashes = HashFile::open(&self.directory).ok();
        loop {
            if part.next >= end {
                return Ok(true);
            }
            if part.items.len() >= bounds.records || bytes >= bounds.bytes || place.offset >= stop {
                return Ok(false);
            }
            let mut line = Vec::new();
            let Some(read) = read_line(&mut lines, &mut line)? else {
                if beyond {
                    // What was passed over may yet be wanted: it is looked for anew.
                    place.next = u64::MAX;
                }
                return Ok(true);
            };
            // While records before `end` are to come, a line with a later number is damaged.
            let found = segment::seq_of(&line);
            beyond |= found.is_some_and(|seq| seq >= end);
            let seq = found.filter(|seq| (part.next..end).contains(seq));
            if let (Some(seq), Some(hashes)) = (seq, &hashes)
                && let Err(error) = as_signed(hashes, seq, &line)
            {
                // What is before it is passed on first.
                return if part.items.is_empty() {
                    Err(error)
                } else {
                    Ok(false)
                };
            }
            place.offset += read;
            if let Some(seq) = seq {
                part.skip_to(seq);
                part.next = seq + 1;
                place.next = seq + 1;
                if wanted(&line) {
                    bytes += line.len();
                    part.items
                        .push(Item::record(&self.origin, seq, line.into()));
                }
            }
        }
    }
}

/// A record that is not the one that was signed is not passed on, and not passed over: somebody has
/// to look.
fn as_signed(hashes: &HashFile, seq: u64, line: &[u8]) -> io::Result<()> {
    if hashes.leaf(seq).is_ok_and(|signed| signed != leaf(line)) {
        let what =
            format!("record {seq} is not the one that was signed: see `vspc-gateway audit verify`");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(())
}

impl Part {
    /// Goes on with a later record; what is between them is missing.
    fn skip_to(&mut self, seq: u64) {
        if seq > self.next {
            self.missing.push(self.next..seq);
            self.next = seq;
        }
    }
}

/// An offset at or before the line of record `seq`, and not far before it. Halves the file as long
/// as its records are in order; where they are not, the file is read from its start.
fn find(file: &File, seq: u64) -> io::Result<u64> {
    let mut known = 0..file.metadata()?.len();
    while known.end - known.start > SMALL {
        let middle = known.start + (known.end - known.start) / 2;
        match first_line_behind(file, middle, known.end)? {
            Some((offset, found)) if found <= seq => known.start = offset,
            _ => known.end = middle,
        }
    }
    let found = first_line(file, known.start, known.end)?;
    match found {
        Some((_, found)) if found > seq => Ok(0),
        _ => Ok(known.start),
    }
}

/// The first record that begins behind an offset: where it does, and its number.
fn first_line_behind(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let mut rest = Vec::new();
    match read_line(&mut BufReader::new(At { file, offset }), &mut rest)? {
        Some(read) => first_line(file, offset + read, end),
        None => Ok(None),
    }
}

/// The first record from an offset on, where a line begins.
fn first_line(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let mut lines = BufReader::new(At { file, offset });
    let mut offset = offset;
    let mut line = Vec::new();
    while offset < end {
        let Some(read) = read_line(&mut lines, &mut line)? else {
            return Ok(None);
        };
        if let Some(seq) = segment::seq_of(&line) {
            return Ok(Some((offset, seq)));
        }
        offset += read;
    }
    Ok(None)
}

/// Reads a line, without its newline; of one that is longer than any record nothing is kept. Says
/// how many bytes of the file it is, or that it is not finished.
fn read_line(lines: &mut BufReader<At<'_>>, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX);
    let (mut total, mut is_too_long) = (0, false);
    loop {
        line.clear();
        let read = lines.by_ref().take(limit).read_until(b'\n', line)?;
        total += u64::try_from(read).unwrap_or(0);
        if line.pop() == Some(b'\n') {
            if is_too_long {
                line.clear();
            }
            return Ok(Some(total));
        }
        if u64::try_from(read).unwrap_or(0) < limit {
            return Ok(None);
        }
        is_too_long = true;
    }
}

/// What the log calls itself: the name of its present key.
pub(super) fn origin(directory: &Path) -> Arc<str> {
    let keys = std::fs::read_to_string(directory.join("verifier.keys")).unwrap_or_default();
    let last = keys.lines().rev().find(|line| !line.trim().is_empty());
    let name = last.and_then(|key| key.split('+').next()).map(str::trim);
    Arc::from(
        name.filter(|name| !name.is_empty())
            .unwrap_or("vspc-gateway"),
    )
}

/// Reads one whole file for which there is a bound.
pub(super) fn small_file(path: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests;
