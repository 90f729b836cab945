//! Whether the records give the roots that were signed, and which is wrong where they do not.
//!
//! Two trees grow side by side from the first record on whose line does not give the hash that the
//! file of the tree has: one of the lines as they are, and one with the hash that its parent in the
//! file speaks for. The next checkpoint tells which of them was signed, and so whether the line was
//! altered or the file of the tree is damaged.

use std::ops::Range;
use std::path::{Path, PathBuf};

use tlog_tiles::{Hash, stored_hash_index};

use super::blocks::{Line, Removal};
use super::marks::{Mark, Marks, Origin};
use super::report::{Damage, Findings, Harm};
use super::stored::Stored;
use crate::audit::tree::{Frontier, node};

/// How many records are remembered that wait for a checkpoint to tell what is wrong with them.
const MOST_PENDING: usize = 100_000;

/// A record whose line does not give the hash that the file of the tree has.
struct Pending {
    seq: u64,
    path: PathBuf,
    offset: u64,
    /// Whether the file's own parent of the two speaks for the line.
    line_is_right: bool,
}

/// Compares records with checkpoints, as they come.
pub(super) struct Judge<'a> {
    marks: &'a Marks,
    stored: Stored,
    findings: &'a mut Findings,
    /// The tree of the lines.
    lines: Frontier,
    /// The tree with those hashes of the file that are more likely right, once they differ.
    mixed: Option<Frontier>,
    pending: Vec<Pending>,
    /// The first record since the last right checkpoint with a node in the file that is wrong.
    bad_node: Option<u64>,
    at: usize,
    failed: Vec<Mark>,
    /// The last checkpoint that fits.
    good: Option<Mark>,
    right: u64,
    second: u64,
    /// The first record of which neither line nor hash is there.
    broken: Option<u64>,
    missing: Vec<(Range<u64>, PathBuf)>,
    fresh: Vec<Hash>,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) right: u64,
    pub(super) second: u64,
    pub(super) good: Option<(u64, Hash)>,
    pub(super) removed: u64,
    pub(super) notices: Vec<String>,
}

impl<'a> Judge<'a> {
    /// Begins with the tree as it was before the record that comes next.
    pub(super) fn new(
        marks: &'a Marks,
        stored: Stored,
        start: Frontier,
        findings: &'a mut Findings,
    ) -> Self {
        let at = marks.list.partition_point(|mark| mark.size < start.size());
        let mut judge = Self {
            marks,
            stored,
            findings,
            lines: start,
            mixed: None,
            pending: Vec::new(),
            bad_node: None,
            at,
            failed: Vec::new(),
            good: None,
            right: 0,
            second: 0,
            broken: None,
            missing: Vec::new(),
            fresh: Vec::new(),
        };
        judge.compare();
        judge
    }

    /// The hash that the file of the tree has of a record that a checkpoint covers.
    pub(super) fn stored(&self, seq: u64) -> Option<Hash> {
        self.stored.leaf(seq)
    }

    pub(super) fn find(&mut self, damage: Damage) {
        self.findings.add(damage);
    }

    /// How many records the last checkpoint covers that fits.
    pub(super) fn good(&self) -> u64 {
        self.good.map_or(0, |mark| mark.size)
    }

    /// How many records the trees have.
    pub(super) fn size(&self) -> u64 {
        self.broken.unwrap_or_else(|| self.lines.size())
    }

    /// Whether all checkpoints were compared.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.marks.list.len() || self.broken.is_some()
    }

    /// A record stands where it should.
    pub(super) fn record(&mut self, seq: u64, path: &Path, line: &Line) {
        match self.stored.next(stored_hash_index(0, seq), seq) {
            Some(hash) if hash != line.leaf => {
                let line_is_right = self.speaks_for(seq, line.leaf);
                if self.pending.len() < MOST_PENDING {
                    self.pending.push(Pending {
                        seq,
                        path: path.to_owned(),
                        offset: line.offset,
                        line_is_right,
                    });
                }
                self.push(line.leaf, if line_is_right { line.leaf } else { hash });
            }
            _ => self.push(line.leaf, line.leaf),
        }
    }

    /// A record whose line is known not to be right.
    pub(super) fn absent(&mut self, seq: u64) {
        match self.stored.next(stored_hash_index(0, seq), seq) {
            Some(hash) => self.push(hash, hash),
            None => self.broken = self.broken.or(Some(seq)),
        }
    }

    /// A record that does not stand anywhere.
    pub(super) fn missing(&mut self, seq: u64, path: &Path) {
        match self.missing.last_mut() {
            Some((range, _)) if range.end == seq => range.end += 1,
            _ => self.missing.push((seq..seq + 1, path.to_owned())),
        }
        self.absent(seq);
    }

    /// Whether the node over a record and its neighbour in the file is made of this hash.
    fn speaks_for(&self, seq: u64, leaf: Hash) -> bool {
        let (Some(parent), Some(beside)) =
            (self.stored.node(1, seq / 2), self.stored.node(0, seq ^ 1))
        else {
            return false;
        };
        let made = if seq.is_multiple_of(2) {
            node(leaf, beside)
        } else {
            node(beside, leaf)
        };
        made == parent
    }

    fn push(&mut self, line: Hash, likely: Hash) {
        if self.broken.is_some() {
            return;
        }
        let seq = self.lines.size();
        if self.mixed.is_none() && line != likely {
            self.mixed = Some(self.lines.clone());
        }
        self.fresh.clear();
        self.lines.push(line, &mut self.fresh);
        if let Some(mixed) = &mut self.mixed {
            self.fresh.clear();
            mixed.push(likely, &mut self.fresh);
        }
        for (index, hash) in (stored_hash_index(0, seq)..).zip(&self.fresh).skip(1) {
            if self.stored.next(index, seq).is_some_and(|it| it != *hash) {
                self.bad_node = self.bad_node.or(Some(seq));
            }
        }
        self.compare();
    }

    /// Compares the trees with the checkpoints of their size.
    fn compare(&mut self) {
        let size = self.lines.size();
        let marks = self.marks.list.get(self.at..).unwrap_or_default();
        if marks.first().is_none_or(|mark| mark.size != size) {
            return;
        }
        let here = marks.partition_point(|mark| mark.size == size);
        let here = marks.get(..here).unwrap_or_default();
        self.at += here.len();
        let roots = (self.lines.root(), self.mixed.as_ref().map(Frontier::root));
        let signed = [Some(roots.0), roots.1].into_iter().flatten();
        let root = signed
            .into_iter()
            .find(|root| here.iter().any(|mark| mark.root == *root));
        let (right, wrong): (Vec<Mark>, Vec<Mark>) =
            here.iter().partition(|mark| Some(mark.root) == root);
        self.right += u64::try_from(right.len()).unwrap_or(0);
        let second = right.iter().filter(|mark| mark.origin == Origin::Second);
        self.second += u64::try_from(second.count()).unwrap_or(0);
        match right.first() {
            Some(mark) => {
                self.failed.extend(wrong);
                self.settle(*mark, Some(roots.0) == root);
            }
            None => {
                self.find_two_histories(&wrong);
                self.failed.extend(wrong);
            }
        }
    }

    /// A checkpoint fits: what it says decides about all before it.
    fn settle(&mut self, good: Mark, lines_are_right: bool) {
        let since = self.good();
        self.tell_pending(lines_are_right);
        if let Some(seq) = self.bad_node.take() {
            let what = "the hashes over the records in the file of the tree are wrong, while the \
                        records are right";
            self.findings
                .add(Damage::new(Harm::Tree, what).of(seq.max(since), good.size));
        }
        match self.mixed.take() {
            Some(mixed) if !lines_are_right => self.lines = mixed,
            _ => {}
        }
        for failed in std::mem::take(&mut self.failed) {
            let (path, offset) = self.marks.place(&failed);
            let (by, _) = self.marks.place(&good);
            let what = format!(
                "a checkpoint of {} records is signed that cannot be of the same log as the one of \
                 {} records in {}",
                failed.size,
                good.size,
                by.display()
            );
            self.findings
                .add(Damage::new(Harm::Forked, what).at(path, offset));
        }
        self.good = Some(good);
    }

    fn tell_pending(&mut self, lines_are_right: bool) {
        for pending in std::mem::take(&mut self.pending) {
            let Pending {
                seq,
                path,
                offset,
                line_is_right,
            } = pending;
            let damage = if lines_are_right || line_is_right {
                let what = "the hash in the file of the tree is wrong, while the record is right";
                Damage::new(Harm::Tree, what)
            } else {
                Damage::new(Harm::Altered, "the line is not the one that was signed")
                    .at(&path, offset)
            };
            self.findings.add(damage.of(seq, seq + 1));
        }
    }

    /// Finds checkpoints of one size with different roots.
    fn find_two_histories(&mut self, marks: &[Mark]) {
        let Some((one, rest)) = marks.split_first() else {
            return;
        };
        if let Some(other) = rest.iter().find(|mark| mark.root != one.root) {
            let (path, offset) = self.marks.place(one);
            let what = format!(
                "two checkpoints of {} records are signed with different roots, the other one in {}",
                one.size,
                self.marks.place(other).0.display()
            );
            self.findings
                .add(Damage::new(Harm::Forked, what).at(path, offset));
        }
    }

    /// Comes to the end. Records that are missing may have been removed as the log itself says.
    pub(super) fn finish(mut self, removals: &[Removal]) -> Outcome {
        let since = self.good();
        self.tell_pending(false);
        if let Some(failed) = self.failed.first() {
            let (path, offset) = self.marks.place(failed);
            let more = match self.failed.len() {
                1 => String::new(),
                several => format!(" (nor do {} later ones)", several - 1),
            };
            let what = format!(
                "the records do not give the root that was signed for {} records{more}: one of \
                 these was altered together with the file of the tree, or another history was signed",
                failed.size
            );
            let damage = Damage::new(Harm::Mismatch, what).of(since, failed.size);
            self.findings.add(damage.at(path, offset));
        }
        let left = self.marks.list.get(self.at..).unwrap_or_default();
        if let (Some(broken), Some(mark)) = (self.broken, left.last()) {
            let (path, offset) = self.marks.place(mark);
            let what = format!(
                "{} checkpoints, up to the one of {} records, cannot be verified: neither the lines \
                 nor the hashes of all their records are there",
                left.len(),
                mark.size
            );
            let mut damage = Damage::new(Harm::Mismatch, what).at(path, offset);
            damage.first = Some(broken);
            self.findings.add(damage);
        }
        let (removed, notices) = self.tell_missing(removals);
        Outcome {
            right: self.right,
            second: self.second,
            good: self.good.map(|mark| (mark.size, mark.root)),
            removed,
            notices,
        }
    }

    /// Records of which neither lines nor hashes are there; says whether that is so.
    pub(super) fn all_missing(&mut self, seqs: Range<u64>, path: &Path) -> bool {
        if self.broken.is_none() {
            return false;
        }
        match self.missing.last_mut() {
            Some((range, _)) if range.end == seqs.start => range.end = seqs.end,
            _ => self.missing.push((seqs, path.to_owned())),
        }
        true
    }

    fn tell_missing(&mut self, removals: &[Removal]) -> (u64, Vec<String>) {
        // Retention deletes only once a checkpoint covers the record that tells of it.
        let is_signed = |it: &&Removal| {
            it.range.end <= it.seq && self.stored(it.seq).is_some_and(|leaf| leaf == it.leaf)
        };
        let ranges = removals.iter().filter(is_signed).map(|it| it.range.clone());
        let mut ranges: Vec<Range<u64>> = ranges.collect();
        ranges.sort_by_key(|range| range.start);
        let (mut removed, mut notices) = (0, Vec::new());
        for (mut gap, path) in std::mem::take(&mut self.missing) {
            let begin = gap.start;
            // Records of earlier removals may themselves have been removed since.
            if begin == 0
                && let Some(first) = ranges.first().filter(|first| gap.contains(&first.start))
                && first.start > 0
            {
                notices.push(format!(
                    "the records that tell of the removal of records 0 to {} were removed later",
                    first.start - 1
                ));
                gap.start = first.start;
            }
            for range in &ranges {
                // Retention takes the oldest files alone.
                if begin == 0 && range.contains(&gap.start) {
                    gap.start = range.end.min(gap.end);
                }
            }
            removed += gap.start - begin;
            if !gap.is_empty() {
                let what = "missing, and no record of the log tells of their removal";
                let damage = Damage::new(Harm::Missing, what).of(gap.start, gap.end);
                self.findings.add(Damage {
                    file: Some(path),
                    ..damage
                });
            }
        }
        (removed, notices)
    }
}
