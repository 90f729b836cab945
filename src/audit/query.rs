//! Finding records in a log of any size, also in one that is being written.
//!
//! A [`Scan`] gives the records that a [`Filter`] takes, from the oldest or the newest on, and notes
//! what is wrong with the lines that it sees. It takes no lock and no more memory than the longest
//! line. Lines outside the numbers or times are judged by their start only.
//!
//! A record is a line that is a JSON object, in the file that its `seq` belongs to: one that stands
//! in two files counts in the later.

mod damage;
mod filter;
mod lines;
mod plan;
mod value;
mod view;

pub use filter::Filter;
pub use value::{Bound, Moment, Network, Pattern, Statuses, WrongForm};
pub(in crate::audit) use view::{Object, Scalar};

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::vec;

use super::fault::Fault;
use super::read::Follow;
use super::segment;
use damage::{Damage, Sequence};
use lines::{Lines, Next};
use plan::Span;

/// How often the end of a file is looked for while a writer cuts it back.
const TRIES: usize = 5;

/// In which order records are given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// The last one first.
    NewestFirst,
    /// As they were written.
    #[default]
    OldestFirst,
}

/// Which files are read when times are asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// All, whatever their first records say.
    AllFiles,
    /// Those that are not, by their first records, outside the times by more than a day. A record
    /// may be overlooked if within one file the clock was set back by more than that.
    #[default]
    Usual,
}

/// What is asked of a log.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which records.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// How many at most.
    pub limit: Option<u64>,
    /// In which files.
    pub reach: Reach,
}

/// A record that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found<'a> {
    /// Its number.
    pub seq: u64,
    /// The line without its newline, byte for byte.
    pub json: &'a [u8],
}

/// What a step of a scan came to.
#[derive(Debug)]
pub enum Step<'a> {
    /// All is read, or the limit is reached.
    End,
    /// The next record.
    Found(Found<'a>),
    /// Nothing yet: a part of a file was read.
    Working,
}

/// Goes over a log as it was when the scan began.
pub struct Scan {
    directory: PathBuf,
    query: Query,
    spans: vec::IntoIter<Span>,
    reading: Option<Reading>,
    /// The last file that was read, to follow it, and the `seq` that comes next.
    last: Option<(u64, File, u64)>,
    next_seq: u64,
    found: u64,
    damage: Damage,
    done: u64,
    total: u64,
}

struct Reading {
    span: Span,
    path: PathBuf,
    lines: Lines,
    sequence: Sequence,
}

impl Scan {
    /// Looks at which files there are.
    ///
    /// # Errors
    /// Fails when the directory cannot be read.
    pub fn new(directory: &Path, query: Query) -> Result<Self, Fault> {
        let (spans, total) = plan::plan(directory, &query.filter, query.order, query.reach)
            .map_err(Fault::of("read", directory))?;
        Ok(Self {
            directory: directory.to_owned(),
            query,
            spans: spans.into_iter(),
            reading: None,
            last: None,
            next_seq: 0,
            found: 0,
            damage: Damage::default(),
            done: 0,
            total,
        })
    }

    /// Goes on to the next record, or by some hundred kilobytes.
    ///
    /// # Errors
    /// Fails when a file cannot be read.
    pub fn step(&mut self) -> Result<Step<'_>, Fault> {
        loop {
            if self.is_full() {
                return Ok(Step::End);
            }
            let Some(reading) = &mut self.reading else {
                let Some(span) = self.spans.next() else {
                    return Ok(Step::End);
                };
                self.open(span)?;
                continue;
            };
            match reading
                .lines
                .next()
                .map_err(Fault::of("read", &reading.path))?
            {
                Next::End => {
                    reading.sequence.finish(&mut self.damage);
                    self.next_seq = reading.sequence.next();
                    self.reading = None;
                }
                Next::Filled(bytes) => {
                    self.done += bytes;
                    return Ok(Step::Working);
                }
                Next::Line { offset, line } => {
                    if let Some(seq) = self.judge(offset, line.clone()) {
                        self.found += 1;
                        let json = self
                            .reading
                            .as_ref()
                            .map(|reading| reading.lines.bytes(line));
                        let json = json.unwrap_or_default();
                        return Ok(Step::Found(Found { seq, json }));
                    }
                }
                Next::TooLong(offset) => self.damage.note_unreadable(reading.span.first, offset),
            }
        }
    }

    /// How many bytes were read, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }

    /// How many records were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Whether as many records were found as were asked for.
    pub fn is_full(&self) -> bool {
        self.query.limit.is_some_and(|limit| self.found >= limit)
    }

    /// What is wrong with the lines that were looked at, in sentences.
    pub fn damage(&self) -> Vec<String> {
        self.damage.told(&self.directory)
    }

    /// Sees what is written after the scan began. The scan must have come to its end, from the
    /// oldest record on.
    pub fn follow(self) -> (Follow, Filter) {
        let follow = Follow::from(&self.directory, self.last, self.next_seq);
        (follow, self.query.filter)
    }

    /// Opens a file. One that is gone is a gap.
    fn open(&mut self, span: Span) -> Result<(), Fault> {
        let path = segment::path(&self.directory, span.first);
        let order = self.query.order;
        let filter = &self.query.filter;
        let asked = filter.from_seq.unwrap_or(0)..=filter.to_seq.unwrap_or(u64::MAX);
        let sequence = Sequence::new(order, span.first, span.end, asked);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                sequence.finish(&mut self.damage);
                return Ok(());
            }
            result => result.map_err(Fault::of("open", &path))?,
        };
        let fault = |error| Fault::of("read", &path)(error);
        let len = whole_len(&file).map_err(fault)?;
        if order == Order::OldestFirst {
            self.last = Some((span.first, file.try_clone().map_err(fault)?, len));
        }
        self.reading = Some(Reading {
            span,
            lines: Lines::new(file, len, order),
            sequence,
            path,
        });
        Ok(())
    }

    /// The number of a line that is a record and meant.
    fn judge(&mut self, offset: u64, line: Range<usize>) -> Option<u64> {
        let reading = self.reading.as_mut()?;
        let (span, line) = (reading.span, reading.lines.bytes(line));
        let Some(seq) = segment::seq_of(line).filter(|seq| *seq >= span.first) else {
            self.damage.note_unreadable(span.first, offset);
            return None;
        };
        if span.end.is_some_and(|end| seq >= end) {
            return None;
        }
        reading.sequence.see(seq, &mut self.damage);
        let filter = &self.query.filter;
        if filter.is_outside(seq, line) {
            return None;
        }
        match filter.fits(line) {
            Ok(fits) => fits.then_some(seq),
            Err(_) => {
                self.damage.note_unreadable(span.first, offset);
                None
            }
        }
    }
}

/// The bytes of a file up to its last newline.
fn whole_len(file: &File) -> io::Result<u64> {
    let mut tries = 1;
    loop {
        match segment::complete_len(file, file.metadata()?.len()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && tries < TRIES => {
                tries += 1
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
