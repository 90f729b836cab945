//! Whether a log is what was signed: every line, the tree over them, every checkpoint.
//!
//! Nothing here takes the lock or changes a file, and the log may be written meanwhile: checkpoints
//! are read first, and they cover only records that are in the files already.

mod blocks;
mod judge;
mod marks;
mod parts;
mod report;
mod sequence;
mod stored;

pub use marks::by_kind;
pub use report::{Damage, Harm, KeysFrom, Report, Witnessed};

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::fault::Fault;
use super::note::VerifierKey;
use super::query::Moment;
use super::tree::{Frontier, HashFile};
use crate::clock::Timestamp;
use blocks::{Block, Job, Removal};
use judge::{Judge, Outcome};
use marks::{Marks, Origin};
use parts::{Part, Turns};
use report::Findings;
use stored::Stored;

/// How often a log that is being written is looked at anew before what was found is told.
const TRIES: u32 = 4;
/// How long to wait before that: a writer does all of a commit in less.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 400 });
/// What is longer without a checkpoint, in microseconds, was not left so by a writer: it signs every
/// second.
const LONGEST_UNSIGNED: i64 = 60 * 1_000_000;

/// A checkpoint that whoever verifies has kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where it was.
    pub path: PathBuf,
    /// The signed note.
    pub text: String,
}

impl Kept {
    /// Reads it from a file, which may have several.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(Fault::of("read", path))?;
        // A note of its own has no empty line after it.
        let end = if text.ends_with("\n\n") { "" } else { "\n" };
        Ok(Self {
            path: path.to_owned(),
            text: text + end,
        })
    }
}

/// What is verified, and by what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's directory.
    pub directory: PathBuf,
    /// The keys that checkpoints are signed with.
    pub keys: Vec<VerifierKey>,
    /// Whose they are.
    pub keys_from: KeysFrom,
    /// The keys of witnesses.
    pub witnesses: Vec<VerifierKey>,
    /// The file with copies of the checkpoints.
    pub second: Option<PathBuf>,
    /// Checkpoints that whoever verifies has kept.
    pub since: Vec<Kept>,
    /// The first record whose line is to be read; the file's in which it stands is read as a whole.
    pub from: Option<u64>,
    /// The last one.
    pub to: Option<u64>,
    /// How many threads hash.
    pub threads: usize,
}

impl Options {
    /// All of a log, by these keys, with as many threads as the machine has cores.
    pub fn new(directory: &Path, keys: Vec<VerifierKey>, keys_from: KeysFrom) -> Self {
        Self {
            directory: directory.to_owned(),
            keys,
            keys_from,
            witnesses: Vec::new(),
            second: None,
            since: Vec::new(),
            from: None,
            to: None,
            threads: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Verifies a log. Tells how many bytes are done, and of how many.
///
/// # Errors
/// Fails when a file cannot be read. What is damaged is no error.
pub fn verify(options: &Options, mut progress: impl FnMut((u64, u64))) -> Result<Report, Fault> {
    let mut tries = 1;
    loop {
        let before = state(options);
        let report = Verification::new(options)?.run(&mut progress)?;
        // What a writer changed meanwhile is no damage; what stays is.
        if report.is_sound() || !report.may_pass() || tries == TRIES {
            return Ok(report);
        }
        tries += 1;
        // A writer that was interrupted in the middle of a line goes on after a moment.
        let moved = before != state(options);
        thread::sleep(PAUSE);
        if !moved && before == state(options) {
            return Ok(report);
        }
    }
}

/// The sizes of what a writer writes.
fn state(options: &Options) -> Vec<(PathBuf, u64)> {
    let size = |path: PathBuf| Some((fs::metadata(&path).ok()?.len(), path));
    let entries = fs::read_dir(&options.directory).ok().into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let sizes = paths.chain(options.second.clone()).filter_map(size);
    let mut sizes: Vec<_> = sizes.map(|(size, path)| (path, size)).collect();
    sizes.sort();
    sizes
}

struct Verification<'a> {
    options: &'a Options,
    findings: Findings,
    marks: Marks,
    parts: Vec<Part>,
    stored: Stored,
    start: Frontier,
    removals: Vec<Removal>,
    stamps: Option<(String, String)>,
    bytes: u64,
    records: u64,
    superseded: u64,
}

impl<'a> Verification<'a> {
    /// Takes down what there is: checkpoints first, lines last.
    fn new(options: &'a Options) -> Result<Self, Fault> {
        let mut findings = Findings::default();
        let marks = Marks::read(options, &mut findings)?;
        let covered = marks.largest(|_| true);
        let file = HashFile::open(&options.directory).ok();
        let has_file = file.is_some();
        let records = file.as_ref().map_or(0, |file| file.records().unwrap_or(0));
        let parts = parts::find(options, &mut findings)?;
        if records < marks.largest(|origin| origin == Origin::Own) {
            let what = if has_file {
                format!("the file of the tree ends after {records} records")
            } else {
                "there is no file of the tree".to_owned()
            };
            let path = options.directory.join(super::tree::HASHES);
            let mut damage = Damage::new(Harm::Tree, what);
            damage.file = Some(path);
            findings.add(damage);
        }
        let first = parts.first().map_or(0, |part| part.first);
        let is_part = options.from.is_some() || options.to.is_some();
        let known = file.as_ref().filter(|_| is_part);
        let start = known.and_then(|file| Frontier::at(first.min(records), file).ok());
        Ok(Self {
            options,
            findings,
            marks,
            parts,
            stored: Stored::new(file, records.min(covered)),
            start: start.unwrap_or_default(),
            removals: Vec::new(),
            stamps: None,
            bytes: 0,
            records: 0,
            superseded: 0,
        })
    }

    fn run(mut self, progress: &mut impl FnMut((u64, u64))) -> Result<Report, Fault> {
        let covered = self.marks.largest(|_| true);
        let first = self.start.size();
        let marks = std::mem::take(&mut self.marks);
        let mut findings = std::mem::take(&mut self.findings);
        let stored = std::mem::replace(&mut self.stored, Stored::new(None, 0));
        let start = std::mem::take(&mut self.start);
        let mut judge = Judge::new(&marks, stored, start, &mut findings);
        let next = self.read_lines(first, covered, &mut judge, progress)?;
        if self.options.to.is_some() {
            // The hashes up to the next checkpoint, which says whether those before are right.
            while !judge.is_done() && judge.good() < next {
                judge.absent(judge.size());
            }
        }
        let removals = std::mem::take(&mut self.removals);
        let outcome = judge.finish(&removals);
        self.find_unsigned(&marks, next, &outcome, &mut findings);
        Ok(self.report(&marks, first, next, outcome, findings))
    }

    /// Reads all lines. Gives the number after the last record.
    fn read_lines(
        &mut self,
        first: u64,
        covered: u64,
        judge: &mut Judge<'_>,
        progress: &mut impl FnMut((u64, u64)),
    ) -> Result<u64, Fault> {
        let parts = std::mem::take(&mut self.parts);
        let jobs = parts::jobs(&parts);
        let total = parts.iter().map(|part| part.len).sum();
        // With an upper limit, what comes after is not missing.
        let covered_here = match self.options.to {
            Some(to) => covered.min(to.saturating_add(1)),
            None => covered,
        };
        let mut turns = Turns {
            parts: &parts,
            next: first,
            covered: covered_here,
            current: None,
        };
        let threads = self.options.threads;
        blocks::hash_all(&jobs, covered, threads, |job, block| {
            let mut superseded = 0;
            if let Some(sequence) = turns.at(job.segment, judge) {
                let before = sequence.superseded;
                for line in &block.lines {
                    sequence.take(*line, judge);
                }
                superseded = sequence.superseded - before;
            }
            self.keep(job, block, superseded, judge);
            progress((self.bytes, total));
        })?;
        turns.at(parts.len(), judge);
        let mut next = turns.next;
        if parts.is_empty() && self.options.to.is_none() {
            for seq in first..covered {
                judge.missing(seq, &self.options.directory);
            }
            next = next.max(covered);
        }
        Ok(next)
    }

    fn keep(&mut self, job: &Job, block: Block, superseded: u64, judge: &mut Judge<'_>) {
        self.bytes += block.bytes;
        self.records += u64::try_from(block.lines.len()).unwrap_or(0) - superseded;
        self.superseded += superseded;
        self.removals.extend(block.removed);
        for offset in block.unreadable {
            let what = "a line that is no record of this log";
            judge.find(Damage::new(Harm::Foreign, what).at(&job.path, offset));
        }
        if let Some((first, last)) = block.stamps {
            match &mut self.stamps {
                Some((_, end)) => *end = last,
                none => *none = Some((first, last)),
            }
        }
    }

    /// Finds records that should have a checkpoint and have none.
    fn find_unsigned(&self, marks: &Marks, next: u64, outcome: &Outcome, findings: &mut Findings) {
        let directory = &self.options.directory;
        if !marks.any && next > 0 {
            let what = "there are records and no checkpoint at all";
            let mut damage = Damage::new(Harm::NoCheckpoints, what);
            damage.file = Some(directory.clone());
            findings.add(damage);
            return;
        }
        let stamp = |text: &str| {
            let moment: Moment = text.parse().ok()?;
            Some(moment.resolve(Timestamp(0)).0)
        };
        if let Some((first, last)) = &self.stamps
            && let (Some(from), Some(to)) = (stamp(first), stamp(last))
            && to - from > LONGEST_UNSIGNED
        {
            let what = format!(
                "written from {first} to {last} without a checkpoint, though one is signed every \
                 second: checkpoints were taken away, or the gateway could not write them, as its \
                 own log tells then"
            );
            let since = outcome.good.map_or(0, |(size, _)| size);
            findings.add(Damage::new(Harm::NoCheckpoints, what).of(since, next.max(since + 1)));
        }
    }

    fn report(
        self,
        marks: &Marks,
        first: u64,
        next: u64,
        outcome: Outcome,
        findings: Findings,
    ) -> Report {
        let (damage, more_damage) = findings.into_parts();
        let mut notices = outcome.notices;
        // A new log signs for none before it has any.
        if let Some(size) = marks.oldest().filter(|size| *size > 0)
            && first == 0
            && outcome.removed == 0
        {
            notices.push(format!(
                "the oldest checkpoint is of {size} records: nothing was signed before, so these \
                 were signed as they were found then"
            ));
        }
        let covered = outcome.good.map_or(0, |(size, _)| size);
        Report {
            records: self.records,
            bytes: self.bytes,
            first,
            next,
            checkpoints: outcome.right,
            covered,
            root: outcome.good.map(|(_, root)| root.to_string()),
            uncovered: next.saturating_sub(marks.largest(|_| true)),
            removed: outcome.removed,
            superseded: self.superseded,
            keys: self.options.keys_from,
            second_place: self.options.second.as_ref().map(|_| outcome.second),
            witnesses: marks.witnessed(),
            damage,
            more_damage,
            notices,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
