//! What a writer does, under the lock, about what others did to the log meanwhile.

use super::lines::{Gaps, WalkError, walk};
use super::tree::Loss;
use super::{Log, Spoiled};
use crate::audit::fault::Fault;
use crate::audit::segment::{self, Rest, Segment};

impl Log {
    /// Looks, under the lock, at what happened to the log since we last held it.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        // What was staged of lines that could not be read to their end.
        self.tree.back_to(self.next)?;
        let announced = self.rescan;
        self.settle_lines()?;
        self.tree.settle(self.disk.as_mut())?;
        self.settle_tree(announced)
    }

    /// Looks whether the file of the tree still is what we wrote. Another process that starts and
    /// finds it damaged puts a better one in its place, and announces that.
    fn settle_tree(&mut self, announced: bool) -> Result<(), Fault> {
        let lost = self.tree.is_lost();
        let Some(loss) = lost.map_err(Fault::of("look at the tree in", &self.directory))? else {
            return Ok(());
        };
        let detail = match loss {
            Loss::Replaced if self.tree.adopt()? => {
                if announced {
                    return Ok(());
                }
                "hashes was replaced, by what it had"
            }
            Loss::Replaced | Loss::Gone => {
                // So that others take the copy for what it is.
                self.lock
                    .announce()
                    .map_err(Fault::of("announce", &self.directory))?;
                self.tree.put_back(self.disk.as_mut())?;
                "hashes was deleted, moved or replaced; a copy was put back"
            }
            // Told once; with a full disk it would be told with each try.
            Loss::Cut if !self.notices.is_empty() => return Ok(()),
            Loss::Cut => "hashes was cut: the next start builds it anew",
        };
        self.warn("audit.tree_lost", detail.to_owned());
        Ok(())
    }

    fn settle_lines(&mut self) -> Result<(), Fault> {
        let (len, in_place) = self
            .segment
            .standing()
            .map_err(Fault::of("look at", &self.segment.path))?;
        if self.rubbish == Some(len) && self.is_signed_beyond() {
            self.rubbish = None;
        }
        let known = self.rubbish == Some(len) || self.spoiled == Some(Spoiled::Foreign);
        if len > self.segment.len && !known {
            self.catch_up(len)?;
        }
        if len < self.segment.len && self.spoiled.is_none() {
            let detail = format!("{} has {len} bytes, not {}", self.name(), self.segment.len);
            self.alarm("audit.file_truncated", detail);
        }
        // A writer that begins a segment without one durable record gives it the old one's name.
        let renewed = self.rescan && !in_place;
        if self.rescan || !in_place {
            if self.adopt_newer(renewed)? {
                return Ok(());
            }
            self.rescan = false;
        }
        if !in_place && self.spoiled.is_none() {
            let detail = format!("{} was deleted, moved or replaced", self.name());
            self.alarm("audit.file_lost", detail);
        }
        if self.spoiled.is_some() {
            self.renew()
        } else {
            Ok(())
        }
    }

    /// Another process appended to our segment: goes on after its records.
    fn catch_up(&mut self, len: u64) -> Result<(), Fault> {
        let from = self.segment.len;
        let path = &self.segment.path;
        let tree = &mut self.tree;
        let replay = self
            .segment
            .replay(len, self.next, |line| tree.push(line))
            .map_err(Fault::of("read", path))?;
        // Durable at once: then what they wrote need not be held for a segment to come.
        if self.spoiled.is_none()
            && let Err(error) = self.disk.sync(&self.segment.file)
        {
            tracing::error!(%error, file = self.name(), "an audit file cannot be synced and is given up");
            self.spoiled = Some(Spoiled::Failed);
        }
        if self.spoiled.is_some() {
            let theirs = self
                .segment
                .bytes(from, replay.len)
                .map_err(Fault::of("read", path))?;
            self.unsynced.extend_from_slice(&theirs);
        }
        self.segment.len = replay.len;
        self.next = replay.next;
        if self.spoiled.is_none() {
            self.all_synced();
        }
        match replay.rest {
            Rest::Nothing => Ok(()),
            Rest::Torn => self.cut_torn(replay.len, len),
            Rest::Foreign => {
                let detail = format!(
                    "{} holds foreign lines from byte {}",
                    self.name(),
                    replay.len
                );
                self.alarm("audit.file_damaged", detail);
                Ok(())
            }
        }
    }

    /// Cuts off a line whose writer died, from `len` to `end`, and notes it.
    pub(super) fn cut_torn(&mut self, len: u64, end: u64) -> Result<(), Fault> {
        self.segment.len = len;
        if len == end {
            return Ok(());
        }
        let path = &self.segment.path;
        let hash = self
            .segment
            .hash(len, end)
            .map_err(Fault::of("read", path))?;
        self.disk
            .cut(&self.segment.file, len)
            .map_err(Fault::of("cut", path))?;
        let torn = end - len;
        let name = self.name();
        tracing::warn!(
            file = name,
            bytes = torn,
            "a torn last audit line was cut off"
        );
        let detail = format!("{name}: {torn} bytes cut off at byte {len}, sha256:{hash}");
        self.notice("audit.repaired", detail);
        Ok(())
    }

    /// Goes on in a newer segment, if another process began one; under our name if `renewed`.
    fn adopt_newer(&mut self, renewed: bool) -> Result<bool, Fault> {
        let least = self.segment.first + u64::from(!renewed);
        let segments =
            segment::list(&self.directory).map_err(Fault::of("read", &self.directory))?;
        let Some(&first) = segments.last().filter(|first| **first >= least) else {
            return Ok(false);
        };
        let path = segment::path(&self.directory, first);
        let mut newer = Segment::open(&self.directory, first).map_err(Fault::of("open", &path))?;
        let end = newer.end().map_err(Fault::of("read", &path))?;
        self.disk
            .sync(&newer.file)
            .map_err(Fault::of("sync", &path))?;
        // What others wrote and failed to sync may be gone by right.
        let least = self.promised.max(self.signing.latest.size);
        let next = end.next.ok().filter(|next| *next >= least);
        let Some(next) = next.filter(|next| self.follow(first, *next)) else {
            let detail = format!("{first:020} stands after our file but was not begun by a writer");
            self.alarm("audit.file_foreign", detail);
            return Ok(false);
        };
        let len = std::mem::replace(&mut newer.len, end.complete);
        self.enter(newer);
        self.next = next;
        self.rescan = false;
        self.all_synced();
        self.cut_torn(end.complete, len)?;
        Ok(true)
    }

    /// Adds the records of a newer segment to the tree, and of those between: they count instead of
    /// what we have of the same numbers, which may be what a failed write left. Not if one is missing,
    /// or they are others than a checkpoint was signed for.
    fn follow(&mut self, first: u64, next: u64) -> bool {
        let settled = self.tree.settled_size();
        // The files between may be gone; we may have read them before.
        self.follow_from(settled.min(first), next) || self.follow_from(first, next)
    }

    fn follow_from(&mut self, from: u64, next: u64) -> bool {
        let saved = self.tree.saved();
        let signed = &self.signing.latest;
        let tree = &mut self.tree;
        let mut fits = true;
        let mut add = || -> Result<(), WalkError> {
            tree.back_to(from)?;
            let range = (tree.size(), next);
            walk(&self.directory, range, Gaps::Refused, |_, line| {
                tree.push(line.unwrap_or_default());
                fits &= tree.size() != signed.size || tree.root() == signed.root;
                Ok(())
            })
        };
        let added = add();
        if let Err(error) = &added {
            tracing::error!(?error, "a newer audit file cannot be followed");
        }
        let follows = added.is_ok() && fits;
        if !follows {
            self.tree.restore(saved);
        }
        follows
    }

    /// Notes, once, that somebody meddled with the segment, and gives it up.
    fn alarm(&mut self, operation: &'static str, detail: String) {
        if self.spoiled != Some(Spoiled::Foreign) {
            tracing::error!(
                operation,
                detail,
                "the audit log was meddled with: `vspc-gateway audit verify` tells what is lost"
            );
            self.notice(operation, detail);
            self.counts.alarms += 1;
            self.spoiled = Some(Spoiled::Foreign);
            // What the tree has of records that are lost is then signed, whatever happens.
            self.signing.urgent = true;
        }
    }
}
