//! Whether the lines of a file are its records, one after the other; and what they are where not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::blocks::Line;
use super::judge::Judge;
use super::report::{Damage, Harm};

/// How many lines that are not in order are held to see what became of them.
const WINDOW: usize = 4096;
/// How many records may be missing at a place where no hash tells which come next.
const GAP: u64 = 1024 * 1024;

/// The lines of one file of the log.
#[derive(Debug)]
pub(super) struct Sequence {
    path: PathBuf,
    next: u64,
    /// The first record of the file after this one.
    end: Option<u64>,
    /// Lines that are not what was expected.
    window: Vec<Line>,
    /// Lines that do not count.
    pub(super) superseded: u64,
}

impl Sequence {
    pub(super) fn new(path: PathBuf, next: u64, end: Option<u64>) -> Self {
        Self {
            path,
            next,
            end,
            window: Vec::new(),
            superseded: 0,
        }
    }

    /// Looks at the next line.
    pub(super) fn take(&mut self, line: Line, judge: &mut Judge<'_>) {
        if self.window.is_empty() && line.seq == Some(self.next) && !self.is_over(self.next) {
            judge.record(self.next, &self.path, &line);
            self.next += 1;
            return;
        }
        // Copies of what a later file has stand only behind this one's own records.
        if line.seq.is_some_and(|seq| self.is_over(seq)) && self.is_over(self.next) {
            self.superseded += 1;
            return;
        }
        self.window.push(line);
        if let Some(from) = self.goes_on(judge) {
            let good = self.window.split_off(self.window.len() - 2);
            self.settle(from, judge);
            for line in good {
                self.take(line, judge);
            }
        } else if self.window.len() >= WINDOW {
            self.settle(self.next, judge);
        }
    }

    /// Comes to the end of the file, whose records are signed up to `covered`.
    pub(super) fn finish(mut self, covered: u64, judge: &mut Judge<'_>) -> u64 {
        let known = |line: &Line| {
            let seq = line.seq.filter(|seq| *seq >= self.next)?;
            let fits = match judge.stored(seq) {
                Some(leaf) => leaf == line.leaf,
                None => seq - self.next <= GAP,
            };
            fits.then_some(seq)
        };
        let plausible = self.window.iter().filter_map(known).max();
        let end = self
            .end
            .unwrap_or_else(|| covered.max(plausible.map_or(0, |seq| seq + 1)));
        self.settle(end.max(self.next), judge);
        self.next
    }

    fn is_over(&self, seq: u64) -> bool {
        self.end.is_some_and(|end| seq >= end)
    }

    /// The record with which the last two lines of the window go on in order.
    fn goes_on(&self, judge: &mut Judge<'_>) -> Option<u64> {
        let [.., first, second] = self.window.as_slice() else {
            return None;
        };
        let seq = first.seq.filter(|seq| *seq >= self.next)?;
        if second.seq != Some(seq + 1) || self.is_over(seq + 1) {
            return None;
        }
        // Numbers alone could have been made up to hide what is between.
        let fits = match (judge.stored(seq), judge.stored(seq + 1)) {
            (None, _) | (_, None) => seq - self.next <= GAP,
            (Some(one), Some(two)) => one == first.leaf || two == second.leaf,
        };
        fits.then_some(seq)
    }

    /// Says what the lines of the window are, given that the records go on with `end` after it.
    fn settle(&mut self, end: u64, judge: &mut Judge<'_>) {
        let lines = std::mem::take(&mut self.window);
        let expected = self.next..end;
        let mut placed: BTreeMap<u64, Line> = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut last = None;
        for line in lines {
            let seq = line.seq;
            let is_right = seq.is_some_and(|seq| judge.stored(seq) == Some(line.leaf));
            match seq {
                Some(seq) if expected.contains(&seq) && !placed.contains_key(&seq) => {
                    if last.is_some_and(|last| last > seq) {
                        let what = "the record stands after a later one";
                        judge.find(damage(Harm::OutOfPlace, what, seq, &self.path, &line));
                    }
                    last = Some(seq);
                    placed.insert(seq, line);
                }
                Some(seq) if is_right => {
                    let what = "the record stands once more here, or out of its place";
                    judge.find(damage(Harm::OutOfPlace, what, seq, &self.path, &line));
                }
                _ => unknown.push(line),
            }
        }
        self.give(expected, &placed, unknown, judge);
        self.next = self.next.max(end);
    }

    /// Hands the expected records over, with the lines that are or may be theirs.
    fn give(
        &self,
        expected: Range<u64>,
        placed: &BTreeMap<u64, Line>,
        unknown: Vec<Line>,
        judge: &mut Judge<'_>,
    ) {
        let (end, last) = (expected.end, placed.keys().next_back().copied());
        let mut unknown = unknown.into_iter();
        for seq in expected {
            if let Some(line) = placed.get(&seq) {
                judge.record(seq, &self.path, line);
            } else if let Some(line) = unknown.next() {
                let what = match line.seq {
                    Some(other) => format!("the line in its place has the number {other}"),
                    None => "the line in its place has no number".to_owned(),
                };
                judge.find(damage(Harm::Altered, &what, seq, &self.path, &line));
                judge.absent(seq);
            } else if last.is_none_or(|last| last < seq) && judge.all_missing(seq..end, &self.path)
            {
                break;
            } else {
                judge.missing(seq, &self.path);
            }
        }
        for line in unknown {
            let what = "a line that is no record of this log";
            judge.find(Damage::new(Harm::Foreign, what).at(&self.path, line.offset));
        }
    }
}

fn damage(harm: Harm, what: &str, seq: u64, path: &Path, line: &Line) -> Damage {
    Damage::new(harm, what)
        .of(seq, seq + 1)
        .at(path, line.offset)
}
