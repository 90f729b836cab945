//! A part of a file: its lines are judged here, on whatever thread.
//!
//! A line belongs to the part that it begins in, so a part that begins within a line leaves that one
//! out and the last line is read beyond the part's end.

use std::fs::File;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::Filter;
use super::needle::{Needle, Seek};
use super::plan::Span;
use crate::audit::segment::{self, LINE_LIMIT, stamp_of};

/// The usual bytes of a part.
pub(super) const CHUNK: u64 = if cfg!(test) { 2000 } else { 1024 * 1024 };
/// How much is read at once of a line that goes beyond its part.
const MORE: usize = 64 * 1024;

/// What is asked, in the forms that it is looked for.
pub(super) struct Sought {
    pub(super) filter: Filter,
    pub(super) needle: Option<Needle>,
    /// Whether nothing but numbers and times is asked for.
    pub(super) is_range: bool,
}

impl Sought {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            needle: Needle::new(&filter),
            is_range: filter.is_range(),
            filter,
        }
    }
}

/// A part of a file to be looked through.
pub(super) struct Job {
    pub(super) file: Arc<File>,
    pub(super) span: Span,
    /// Where it stands in the file.
    pub(super) place: Range<u64>,
    /// The bytes of whole lines that the file has.
    pub(super) len: u64,
    /// Its records, if an index says that all of its lines are those, without a gap.
    pub(super) known: Option<Range<u64>>,
    /// Memory to be used again.
    pub(super) buffer: Vec<u8>,
}

/// What a part came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) buffer: Vec<u8>,
    /// The records that are meant, with their places in the buffer.
    pub(super) found: Vec<(u64, Range<usize>)>,
    pub(super) seen: Vec<Seen>,
    /// The bytes of the part.
    pub(super) bytes: u64,
}

/// What stands in a part, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Records without a gap.
    Records(RangeInclusive<u64>),
    /// A line that is no record begins here.
    Unreadable(u64),
}

impl Job {
    /// Reads the part and judges its lines.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub(super) fn run(mut self, sought: &Sought) -> io::Result<Done> {
        let mut done = Done {
            buffer: std::mem::take(&mut self.buffer),
            bytes: self.place.end - self.place.start,
            ..Done::default()
        };
        let Some((base, lines)) = self.read(&mut done)? else {
            return Ok(done);
        };
        let buffer = std::mem::take(&mut done.buffer);
        let mut judge = Judge {
            sought,
            span: self.span,
            base,
            lines: lines.clone(),
            seek: sought.needle.as_ref().map(Needle::seek),
            is_known: self.known.is_some(),
            done: &mut done,
        };
        let text = buffer.get(..lines.end).unwrap_or_default();
        match &self.known {
            Some(known) => {
                let seqs = known.start..=known.end.saturating_sub(1);
                judge.done.seen.push(Seen::Records(seqs));
                judge.known(text);
            }
            None => judge.all(text),
        }
        done.buffer = buffer;
        Ok(done)
    }

    /// Fills the buffer; says where in the file it begins, and which part of it is the lines.
    fn read(&self, done: &mut Done) -> io::Result<Option<(u64, Range<usize>)>> {
        let base = self.place.start.saturating_sub(1);
        let buffer = &mut done.buffer;
        buffer.clear();
        let wanted = usize::try_from(self.place.end - base).unwrap_or(usize::MAX);
        if !self.more(buffer, base, wanted)? {
            // Its writer took the rest back: what is left ends with a line.
            let end = memrchr(b'\n', buffer).map_or(0, |at| at + 1);
            buffer.truncate(end);
        }
        let start = match (self.place.start, memchr(b'\n', buffer)) {
            (0, _) => 0,
            (_, Some(at)) => at + 1,
            (_, None) => return Ok(None),
        };
        if start >= buffer.len() {
            return Ok(None);
        }
        while !buffer.ends_with(b"\n") {
            let line = memrchr(b'\n', buffer).map_or(start, |at| at + 1).max(start);
            if buffer.len() - line > LINE_LIMIT {
                done.seen.push(Seen::Unreadable(base + long(line)));
                buffer.truncate(line);
                break;
            }
            if !self.more(buffer, base, MORE)? && !buffer.ends_with(b"\n") {
                let end = memrchr(b'\n', buffer).map_or(start, |at| at + 1);
                buffer.truncate(end.max(start));
                break;
            }
            self.cut_behind(buffer, wanted);
        }
        Ok(Some((base, start..buffer.len())))
    }

    /// Leaves out what stands behind the line that goes beyond the part.
    fn cut_behind(&self, buffer: &mut Vec<u8>, wanted: usize) {
        let beyond = buffer.get(wanted..).unwrap_or_default();
        if let Some(at) = memchr(b'\n', beyond) {
            buffer.truncate(wanted + at + 1);
        }
    }

    /// Reads up to `count` bytes more; says whether they were there.
    fn more(&self, buffer: &mut Vec<u8>, base: u64, count: usize) -> io::Result<bool> {
        let from = buffer.len();
        let ahead = self.len.saturating_sub(base + long(from));
        let count = count.min(usize::try_from(ahead).unwrap_or(usize::MAX));
        buffer.resize(from + count, 0);
        let mut at = from;
        while at < buffer.len() {
            let space = buffer.get_mut(at..).unwrap_or_default();
            match self.file.read_at(space, base + long(at)) {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let is_whole = at == buffer.len() && count > 0;
        buffer.truncate(at);
        Ok(is_whole)
    }
}

struct Judge<'a> {
    sought: &'a Sought,
    span: Span,
    base: u64,
    lines: Range<usize>,
    seek: Option<Seek<'a>>,
    is_known: bool,
    done: &'a mut Done,
}

impl Judge<'_> {
    /// Judges all lines.
    fn all(&mut self, text: &[u8]) {
        let mut at = self.lines.start;
        while let Some(length) = memchr(b'\n', text.get(at..).unwrap_or_default()) {
            let line = at..at + length;
            at = line.end + 1;
            self.line(text, line);
        }
    }

    /// Judges lines of which it is known that they are records, so that only those that may fit need
    /// be looked at.
    fn known(&mut self, text: &[u8]) {
        if self.seek.is_none() {
            return self.all(text);
        }
        let mut at = self.lines.start;
        while let Some(hit) = self.seek.as_mut().and_then(|seek| seek.next(text, at)) {
            let before = text.get(at..hit).unwrap_or_default();
            let start = memrchr(b'\n', before).map_or(at, |newline| at + newline + 1);
            let behind = text.get(hit..).unwrap_or_default();
            let Some(length) = memchr(b'\n', behind) else {
                return;
            };
            at = hit + length + 1;
            self.line(text, start..hit + length);
        }
    }

    fn line(&mut self, text: &[u8], place: Range<usize>) {
        let line = text.get(place.clone()).unwrap_or_default();
        let seq = segment::seq_of(line).filter(|seq| *seq >= self.span.first);
        let Some(seq) = seq.filter(|_| line.len() <= LINE_LIMIT) else {
            return self.unreadable(&place);
        };
        if self.span.end.is_some_and(|end| seq >= end) {
            return;
        }
        self.see(seq);
        let filter = &self.sought.filter;
        if filter.is_outside(seq, line) {
            return;
        }
        if let Some(seek) = &mut self.seek
            && !seek.is_in(text, &place)
        {
            if !line.ends_with(b"}") {
                self.unreadable(&place);
            }
            return;
        }
        // The stamp was looked at.
        if self.is_known && self.sought.is_range && stamp_of(line).is_some() {
            self.done.found.push((seq, place));
            return;
        }
        match filter.fits(line) {
            Ok(true) => self.done.found.push((seq, place)),
            Ok(false) => {}
            Err(_) => self.unreadable(&place),
        }
    }

    fn see(&mut self, seq: u64) {
        if self.is_known {
            return;
        }
        match self.done.seen.last_mut() {
            Some(Seen::Records(seqs)) if seqs.end().checked_add(1) == Some(seq) => {
                *seqs = *seqs.start()..=seq;
            }
            _ => self.done.seen.push(Seen::Records(seq..=seq)),
        }
    }

    fn unreadable(&mut self, place: &Range<usize>) {
        let offset = self.base + long(place.start);
        self.done.seen.push(Seen::Unreadable(offset));
    }
}

/// A count of bytes as files count them.
fn long(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
