//! The files of the log that are read, one after the other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::blocks::{self, Job};
use super::judge::Judge;
use super::report::{Damage, Findings, Harm};
use super::sequence::Sequence;
use super::{Options, PAUSE, TRIES};
use crate::audit::fault::Fault;
use crate::audit::segment;

/// A file of lines that is to be read.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) end: Option<u64>,
    pub(super) len: u64,
}

/// Whose lines come next.
pub(super) struct Turns<'a> {
    pub(super) parts: &'a [Part],
    /// The number after the last record.
    pub(super) next: u64,
    /// How many records must be there.
    pub(super) covered: u64,
    pub(super) current: Option<(usize, Sequence)>,
}

impl Turns<'_> {
    /// The lines of a file, once those before it have come to their ends, also where they have none.
    pub(super) fn at(&mut self, index: usize, judge: &mut Judge<'_>) -> Option<&mut Sequence> {
        loop {
            let turn = match self.current.take() {
                Some((at, sequence)) if at == index => {
                    return Some(&mut self.current.insert((at, sequence)).1);
                }
                Some((at, sequence)) => {
                    self.next = sequence.finish(self.covered, judge);
                    at + 1
                }
                None => 0,
            };
            let part = self.parts.get(turn)?;
            let sequence = Sequence::new(part.path.clone(), self.next, part.end);
            self.current = Some((turn, sequence));
        }
    }
}

/// The files to read, with their lengths; finds a last line that nobody finishes.
pub(super) fn find(options: &Options, findings: &mut Findings) -> Result<Vec<Part>, Fault> {
    let directory = &options.directory;
    let firsts = segment::list(directory).map_err(Fault::of("read", directory))?;
    let mut parts = Vec::new();
    for (index, first) in firsts.iter().enumerate() {
        let end = firsts.get(index + 1).copied();
        let is_before = options
            .from
            .is_some_and(|from| end.is_some_and(|end| end <= from));
        let is_after = options.to.is_some_and(|to| *first > to);
        if is_before || is_after {
            continue;
        }
        let path = segment::path(directory, *first);
        let (len, torn) = match end {
            Some(_) => whole_len(&path).map_err(Fault::of("read", &path))?,
            None => settled_len(&path).map_err(Fault::of("read", &path))?,
        };
        if torn && end.is_none() {
            let what = "the last line is not whole, and nobody is writing it";
            findings.add(Damage::new(Harm::Torn, what).at(&path, len));
        }
        let first = *first;
        parts.push(Part {
            path,
            first,
            end,
            len,
        });
    }
    Ok(parts)
}

/// The bytes of a file up to its last newline, and whether there are more.
fn whole_len(path: &Path) -> io::Result<(u64, bool)> {
    let file = match File::open(path) {
        // It was removed a moment ago; whoever reads it will see.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, false)),
        result => result?,
    };
    let len = file.metadata()?.len();
    match segment::complete_len(&file, len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok((segment::complete_len(&file, file.metadata()?.len())?, true))
        }
        complete => complete.map(|complete| (complete, complete < len)),
    }
}

/// As [`whole_len`], but waits for the end of a line that is being written.
fn settled_len(path: &Path) -> io::Result<(u64, bool)> {
    let mut tries = 1;
    loop {
        let (len, torn) = whole_len(path)?;
        if !torn || tries == TRIES {
            return Ok((len, torn));
        }
        tries += 1;
        thread::sleep(PAUSE / 4);
    }
}

pub(super) fn jobs(parts: &[Part]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (segment, part) in parts.iter().enumerate() {
        let mut start = 0;
        while start < part.len {
            let end = (start + blocks::BLOCK).min(part.len);
            jobs.push(Job {
                segment,
                path: part.path.clone(),
                part: start..end,
                len: part.len,
            });
            start = end;
        }
    }
    jobs
}
