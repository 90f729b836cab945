//! Building the file of the tree anew, of the lines that are kept.

use super::Log;
use super::begin::settle_part;
use super::lines::{Gaps, walk};
use super::tree::Tree;
use crate::audit::checkpoint::Signed;
use crate::audit::fault::{Fault, OpenError};
use crate::audit::segment;
use crate::audit::tree::{Frontier, HASHES, HashFile, leaf};

impl Log {
    /// The file of the tree is missing, short or wrong: all of it that can be is made of the lines,
    /// and they must be those of the checkpoints.
    pub(super) fn build_anew(
        &mut self,
        hashes: &HashFile,
        known: &[Signed],
    ) -> Result<(), OpenError> {
        let path = self.directory.join(HASHES);
        tracing::warn!(path = %path.display(), "the file of the audit tree is damaged: it is built anew");
        let segments =
            segment::list(&self.directory).map_err(Fault::of("read", &self.directory))?;
        let oldest = segments.first().copied().unwrap_or(0);
        // A loss of power takes the end of the tree alone: what is before the newest lines is right
        // if the checkpoints say so of what is built on it.
        let size = known.last().map_or(0, |best| best.checkpoint.size);
        let near = segments.iter().rev().find(|first| **first < size).copied();
        if let Some(near) = near.filter(|near| *near > oldest)
            && self.build_from(near, hashes, known).is_ok()
        {
            return Ok(());
        }
        self.build_from(oldest, hashes, known)
    }

    fn build_from(
        &mut self,
        first: u64,
        hashes: &HashFile,
        known: &[Signed],
    ) -> Result<(), OpenError> {
        let path = self.directory.join(HASHES);
        let lost = |_| OpenError::TreeLost {
            path: path.clone(),
            first,
        };
        let edge = Frontier::at(first, hashes).map_err(lost)?;
        let mut tree = Tree::begin(&self.directory, edge)?;
        tree.take_start(&path)?;
        let mut judge = Judge::new(hashes, known);
        walk(
            &self.directory,
            (first, self.next),
            Gaps::Told,
            |seq, line| {
                judge.look(&tree);
                tree.push_leaf(judge.leaf(seq, line));
                settle_part(&mut tree, self.disk.as_mut())
            },
        )?;
        judge.look(&tree);
        self.sentence(&judge, first)?;
        tree.settle(self.disk.as_mut())?;
        self.lock.announce().map_err(Fault::of("announce", &path))?;
        tree.publish(self.disk.as_mut())?;
        self.tree = tree;
        let detail = format!("of the records from {first} on, {} in all", self.next);
        self.notice("audit.tree_rebuilt", detail);
        Ok(())
    }

    /// What follows from what was seen while the tree was built.
    fn sentence(&self, judge: &Judge<'_>, first: u64) -> Result<(), OpenError> {
        let size = judge.known.last().map_or(0, |best| best.checkpoint.size);
        let missing = |seq: u64| OpenError::Missing {
            path: self.place_of(seq),
            seq,
        };
        if let Some(signed) = judge.wrong {
            let before = |seq: &u64| *seq < signed.checkpoint.size;
            if let Some(seq) = judge.missing.filter(before) {
                return Err(missing(seq));
            }
            // Where the start cannot be built anew, it may be the start that is wrong.
            return match judge.changed.filter(before) {
                None if first > 0 => Err(OpenError::TreeLost {
                    path: self.directory.join(HASHES),
                    first,
                }),
                seq => Err(self.rewritten(seq, signed)),
            };
        }
        match judge.missing_after(size) {
            Some(seq) => Err(missing(seq)),
            None => Ok(()),
        }
    }
}

/// What is seen of the lines while the tree is built of them.
struct Judge<'a> {
    old: &'a HashFile,
    known: &'a [Signed],
    /// The first checkpoint that the lines do not have the root of.
    wrong: Option<&'a Signed>,
    /// The first record whose leaf was another in the old file.
    changed: Option<u64>,
    /// The first record that is missing, and the last.
    missing: Option<u64>,
    last_missing: Option<u64>,
}

impl<'a> Judge<'a> {
    fn new(old: &'a HashFile, known: &'a [Signed]) -> Self {
        Self {
            old,
            known,
            wrong: None,
            changed: None,
            missing: None,
            last_missing: None,
        }
    }

    /// Compares the root with the checkpoints of that many records.
    fn look(&mut self, tree: &Tree) {
        let size = tree.size();
        let of_size = |signed: &&Signed| signed.checkpoint.size == size;
        for signed in self.known.iter().filter(of_size) {
            if self.wrong.is_none() && signed.checkpoint.root != tree.root() {
                self.wrong = Some(signed);
            }
        }
    }

    fn leaf(&mut self, seq: u64, line: Option<&[u8]>) -> tlog_tiles::Hash {
        if line.is_none() {
            self.missing.get_or_insert(seq);
            self.last_missing = Some(seq);
        }
        let leaf = leaf(line.unwrap_or_default());
        if self.changed.is_none() && self.old.leaf(seq).is_ok_and(|old| old != leaf) {
            self.changed = Some(seq);
        }
        leaf
    }

    /// A record that is missing where no checkpoint says that it was so before.
    fn missing_after(&self, size: u64) -> Option<u64> {
        self.last_missing.filter(|seq| *seq >= size)
    }
}
