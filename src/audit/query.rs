//! Finding records in a log of any size, also in one that is being written.
//!
//! A [`Scan`] gives the records that a [`Filter`] takes, from the oldest or the newest on, and notes
//! what is wrong with the lines that it sees. It takes no lock, and some megabytes of memory however
//! large the log is. Files are read in parts, on several threads, and what is found is given in
//! order. Blocks of finished files whose index says that they hold nothing of what is asked are not
//! read; lines outside the numbers or times, and those that lack a text that is asked for, are judged
//! by their start and end only.
//!
//! A record is a line that is a JSON object, in the file that its `seq` belongs to: one that stands
//! in two files counts in the later.

mod chunk;
mod damage;
mod filter;
pub mod index;
mod needle;
mod pieces;
mod plan;
mod pool;
mod prune;
mod text;
mod value;
pub(super) mod view;

pub use filter::Filter;
pub use value::{Bound, Moment, Network, Pattern, Statuses, WrongForm};
pub(in crate::audit) use view::{Object, Scalar};

use std::collections::VecDeque;
use std::fs::File;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::Fault;
use super::read::Follow;
use super::segment;
use chunk::{Done, Seen, Sought};
use damage::{Damage, Sequence};
use pieces::{Piece, Pieces};
use plan::Span;
use pool::{Pool, Ticket};

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
    /// Whether records are only to be counted: those that need not be read for that are not.
    pub counts: bool,
}

/// The finished files that a query would read and that have no index of use: the first record, the
/// one after the last, and the bytes.
///
/// # Errors
/// Fails when the directory cannot be read.
pub fn unindexed(directory: &Path, query: &Query) -> Result<Vec<(u64, u64, u64)>, Fault> {
    let fault = || Fault::of("read", directory);
    let (spans, _) =
        plan::plan(directory, &query.filter, query.order, query.reach).map_err(fault())?;
    let mut found = index::unindexed(directory).map_err(fault())?;
    found.retain(|(first, ..)| spans.iter().any(|span| span.first == *first));
    Ok(found)
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
    sought: Arc<Sought>,
    order: Order,
    limit: Option<u64>,
    pieces: Pieces,
    pool: Pool,
    /// What was begun, in order.
    begun: VecDeque<Begun>,
    current: Current,
    reading: Option<(Span, Sequence)>,
    /// The last file that was read, to follow it, and the `seq` that comes next.
    last: Option<(u64, Arc<File>, u64)>,
    next_seq: u64,
    found: u64,
    damage: Damage,
    done: u64,
    total: u64,
}

/// A thing that was begun.
enum Begun {
    Other(Piece),
    Reading(PathBuf, Ticket),
}

/// The part of a file whose records are given out.
#[derive(Default)]
struct Current {
    done: Done,
    /// How many of its records were given out.
    given: usize,
}

impl Scan {
    /// Looks at which files there are.
    ///
    /// # Errors
    /// Fails when the directory cannot be read.
    pub fn new(directory: &Path, query: Query) -> Result<Self, Fault> {
        let (spans, total) = plan::plan(directory, &query.filter, query.order, query.reach)
            .map_err(Fault::of("read", directory))?;
        let sought = Arc::new(Sought::new(query.filter));
        let counts = query.counts && query.limit.is_none();
        Ok(Self {
            directory: directory.to_owned(),
            pool: Pool::new(Arc::clone(&sought), total),
            sought,
            order: query.order,
            limit: query.limit,
            pieces: Pieces::new(directory, query.order, counts, spans)
                .believing(query.reach == Reach::Usual),
            begun: VecDeque::new(),
            current: Current::default(),
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
            if let Some((seq, place)) = self.current.next(self.order) {
                self.found += 1;
                let json = self.current.done.buffer.get(place).unwrap_or_default();
                return Ok(Step::Found(Found { seq, json }));
            }
            self.begin();
            match self.begun.pop_front() {
                None => return Ok(Step::End),
                Some(Begun::Other(piece)) => {
                    if self.pass(piece)? {
                        return Ok(Step::Working);
                    }
                }
                Some(Begun::Reading(path, ticket)) => {
                    let done = self.pool.take(ticket).map_err(Fault::of("read", &path))?;
                    self.see(done);
                    return Ok(Step::Working);
                }
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
        self.limit.is_some_and(|limit| self.found >= limit)
    }

    /// What is wrong with the lines that were looked at, in sentences.
    pub fn damage(&self) -> Vec<String> {
        self.damage.told(&self.directory)
    }

    /// Sees what is written after the scan began. The scan must have come to its end, from the
    /// oldest record on.
    pub fn follow(self) -> (Follow, Filter) {
        let follow = Follow::from(&self.directory, self.last, self.next_seq);
        (follow, self.sought.filter.clone())
    }

    /// Keeps the threads at work.
    fn begin(&mut self) {
        while self.begun.len() < self.pool.depth() {
            let Some(piece) = self.pieces.next(&self.sought) else {
                return;
            };
            let begun = match piece {
                Piece::Read(mut job) => {
                    job.buffer = std::mem::take(&mut self.current.done.buffer);
                    let path = segment::path(&self.directory, job.span.first);
                    Begun::Reading(path, self.pool.give(job))
                }
                other => Begun::Other(other),
            };
            self.begun.push_back(begun);
        }
    }

    /// Does what needs no reading; says whether it is worth to be told of.
    fn pass(&mut self, piece: Piece) -> Result<bool, Fault> {
        match piece {
            Piece::Begin(span, file, len) => {
                self.reading = Some((span, self.sequence(span)));
                if self.order == Order::OldestFirst {
                    self.last = Some((span.first, file, len));
                }
            }
            Piece::End => {
                if let Some((_, sequence)) = self.reading.take() {
                    sequence.finish(&mut self.damage);
                    self.next_seq = sequence.next();
                }
            }
            Piece::Fault(fault) => return Err(fault),
            Piece::Gone(span) => {
                // The oldest files may be removed while others are read.
                let firsts = segment::list(&self.directory).unwrap_or_default();
                if firsts.first().is_none_or(|first| *first < span.first) {
                    self.sequence(span).finish(&mut self.damage);
                }
            }
            Piece::Read(_) => {}
            Piece::Skip {
                seqs,
                bytes,
                counts,
            } => {
                if counts {
                    self.found += seqs.end - seqs.start;
                }
                self.see_records(seqs.start..=seqs.end.saturating_sub(1));
                self.done += bytes;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sequence(&self, span: Span) -> Sequence {
        let filter = &self.sought.filter;
        let asked = filter.from_seq.unwrap_or(0)..=filter.to_seq.unwrap_or(u64::MAX);
        Sequence::new(self.order, span.first, span.end, asked)
    }

    fn see(&mut self, mut done: Done) {
        self.done += done.bytes;
        let mut seen = std::mem::take(&mut done.seen);
        if self.order == Order::NewestFirst {
            seen.reverse();
        }
        for seen in seen {
            match seen {
                Seen::Records(seqs) => self.see_records(seqs),
                Seen::Unreadable(offset) => {
                    if let Some((span, _)) = &self.reading {
                        self.damage.note_unreadable(span.first, offset);
                    }
                }
            }
        }
        self.current = Current { done, given: 0 };
    }

    fn see_records(&mut self, seqs: RangeInclusive<u64>) {
        if let Some((_, sequence)) = &mut self.reading {
            sequence.see_all(seqs, &mut self.damage);
        }
    }
}

impl Current {
    /// The next record of the part, and its place in the buffer.
    fn next(&mut self, order: Order) -> Option<(u64, Range<usize>)> {
        let found = &self.done.found;
        let at = match order {
            Order::NewestFirst => found.len().checked_sub(self.given + 1)?,
            Order::OldestFirst => self.given,
        };
        let next = found.get(at)?.clone();
        self.given += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests;
