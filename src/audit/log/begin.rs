//! Taking the tree up at the start: from the latest checkpoint on, or from the lines.

use std::path::{Path, PathBuf};

use super::lines::{Gaps, WalkError, last_lines, walk};
use super::tree::Tree;
use super::{Log, long};
use crate::audit::checkpoint::{self, BadNote, Notes, Signed, VERIFIERS, notes_path};
use crate::audit::disk;
use crate::audit::fault::{Fault, OpenError};
use crate::audit::keys;
use crate::audit::second::Known;
use crate::audit::segment;
use crate::audit::tree::{Frontier, HASHES, HashFile, leaf};

/// The end of the names of the files with checkpoints.
pub(super) const NOTES: &str = ".notes";
/// How many of the last records are compared with their leaves.
const COMPARED: usize = 512;
/// How many records are staged before they are written.
const PART: u64 = 64 * 1024;

/// What a directory has of a tree before the start makes anything.
pub(super) struct Traces {
    /// Whether there is anything that only a log with a tree has.
    pub(super) any: bool,
    /// The newest file with checkpoints.
    notes: Option<PathBuf>,
}

impl Traces {
    /// Looks for them.
    pub(super) fn of(directory: &Path) -> Result<Self, Fault> {
        let notes = segment::list_of(directory, NOTES).map_err(Fault::of("read", directory))?;
        let has = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let newest = notes
            .iter()
            .rev()
            .map(|first| notes_path(directory, *first));
        let notes = newest.into_iter().find(has);
        let any =
            notes.is_some() || has(&directory.join(HASHES)) || directory.join(VERIFIERS).exists();
        Ok(Self { any, notes })
    }
}

impl From<WalkError> for OpenError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::File(fault) => Self::File(fault),
            WalkError::Missing { path, seq } => Self::Missing { path, seq },
        }
    }
}

impl Log {
    /// A loss of power may take pages from the middle of what was not durable yet: what stands after
    /// them was promised to nobody. What a checkpoint covers is left as it is.
    pub(super) fn cut_after_hole(&mut self, covered: u64) -> Result<(), Fault> {
        let path = self.segment.path.clone();
        let (end, next) = (self.segment.len, covered.max(self.segment.first));
        let mut begin = 0;
        if next > self.segment.first {
            let complete =
                segment::complete_len(&self.segment.file, end).map_err(Fault::of("read", &path))?;
            let mut lines = segment::LinesBack::new(&self.segment.file, complete);
            begin = loop {
                let line = lines.next().map_err(Fault::of("read", &path))?;
                let Some((offset, line)) = line else {
                    return Ok(());
                };
                if segment::seq_of(&line) == Some(next - 1) {
                    break offset + long(line.len()) + 1;
                }
            };
        }
        self.segment.len = begin;
        let replay = self.segment.replay(end, next, |_| ());
        self.segment.len = end;
        let replay = replay.map_err(Fault::of("read", &path))?;
        if replay.rest == segment::Rest::Foreign {
            self.cut_torn(replay.len, end)?;
        }
        Ok(())
    }

    /// Takes the tree up, under the lock, when the end of the lines is known.
    pub(super) fn begin_tree(&mut self, traces: &Traces, known: Known) -> Result<(), OpenError> {
        let other = match known {
            Known::Checkpoint(signed) => Some(*signed),
            Known::Foreign(path) => return Err(OpenError::Foreign { path }),
            Known::Nothing => {
                self.miss_second_place()?;
                None
            }
            Known::Unread(why) => {
                tracing::error!(
                    why,
                    "the second place of audit checkpoints cannot be looked at"
                );
                self.notice("audit.second_place_unread", why);
                None
            }
        };
        if traces.any {
            self.take_up(traces, other)?;
        } else {
            if let Some(signed) = &other {
                self.check_length(signed)?;
            }
            self.first_tree(other.as_ref())?;
        }
        let path = notes_path(&self.directory, self.segment.first);
        let len = std::fs::metadata(path).map_or(0, |file| file.len());
        self.signing.seen = (self.segment.first, len);
        Ok(())
    }

    /// The second place is there and knows nothing: it is new, or somebody has emptied it.
    fn miss_second_place(&mut self) -> Result<(), Fault> {
        let size = checkpoint::latest(&self.directory)?.map_or(0, |it| it.checkpoint.size);
        if size > 0 && self.signing.second.is_some() {
            let detail =
                format!("it has no checkpoint, though {size} records are signed: new, or emptied");
            tracing::warn!(detail, "the second place of audit checkpoints is empty");
            self.notice("audit.second_place_empty", detail);
        }
        Ok(())
    }

    /// The first start with a tree: a new log, or one of a version that had none.
    ///
    /// The checkpoint comes first and the file of the tree last, so that a start which is broken
    /// off leaves either nothing or what the next one can go on from.
    fn first_tree(&mut self, other: Option<&Signed>) -> Result<(), OpenError> {
        let next = self.next;
        let mut tree = Tree::begin(&self.directory, Frontier::new())?;
        let mut missing: Option<(u64, u64)> = None;
        walk(&self.directory, (0, next), Gaps::Told, |seq, line| {
            // A record that an older version lost has its place, and the leaf of no line.
            if line.is_none() {
                missing.get_or_insert((seq, 0)).1 += 1;
            }
            tree.push(line.unwrap_or_default());
            settle_part(&mut tree, self.disk.as_mut())
        })?;
        tree.settle(self.disk.as_mut())?;
        self.tree = tree;
        if let Some(signed) = other.filter(|signed| signed.checkpoint.size > 0)
            && self.tree.root_at(signed.checkpoint.size)? != Some(signed.checkpoint.root)
        {
            return Err(self.rewritten(None, signed));
        }
        let fault = |error| Fault::of("sign", &self.directory)(std::io::Error::other(error));
        let (checkpoint, note) = self.signed().map_err(fault)?;
        let path = notes_path(&self.directory, self.segment.first);
        keys::write(&path, format!("{note}\n").as_bytes())?;
        self.took_first(checkpoint, note);
        self.signing.keys.list()?;
        self.tree.publish(self.disk.as_mut())?;
        if next > 0 {
            let lost = missing.map_or_else(String::new, |(first, count)| {
                format!("; {count} of them are missing, the first is {first}")
            });
            let detail = format!("over {next} records of an older version{lost}");
            tracing::info!(detail, "the audit log has a tree from now on");
            self.notice("audit.tree_begun", detail);
        }
        Ok(())
    }

    /// Goes on from the largest checkpoint.
    fn take_up(&mut self, traces: &Traces, other: Option<Signed>) -> Result<(), OpenError> {
        let own = self.own_latest()?;
        if let (Some(own), Some(other)) = (&own, &other)
            && other.checkpoint.size > own.checkpoint.size
        {
            let (here, there) = (own.checkpoint.size, other.checkpoint.size);
            let detail = format!(
                "the latest here is of {here} records, that of the second place of {there}"
            );
            self.notice("audit.checkpoints_lost", detail);
        }
        let mut known: Vec<Signed> = own.into_iter().chain(other).collect();
        known.sort_by_key(|signed| signed.checkpoint.size);
        let Some(best) = known.last() else {
            return Err(match &traces.notes {
                Some(path) => OpenError::Foreign { path: path.clone() },
                None => OpenError::CheckpointsLost {
                    path: self.directory.clone(),
                },
            });
        };
        self.check_length(best)?;
        let hashes = HashFile::open(&self.directory)?;
        match stored_edge(&hashes, &known) {
            Some(edge) if self.has_last(&hashes, best)? => self.go_on(edge)?,
            _ => self.build_anew(&hashes, &known)?,
        }
        let best = best.checkpoint.clone();
        self.signing.latest = best;
        self.list_key()?;
        Ok(())
    }

    fn list_key(&mut self) -> Result<(), OpenError> {
        let keys = &mut self.signing.keys;
        let (is_new, had_others) = (keys.is_new, keys.had_others());
        if keys.list()? && had_others {
            let made = if is_new {
                "made just now"
            } else {
                "of the configuration"
            };
            let detail = format!("{}, {made}, signs from now on", keys.signer.verifier());
            tracing::warn!(detail, "audit checkpoints are signed by another key");
            self.notice("audit.key_changed", detail);
            // Its first checkpoint ends the key before it.
            self.signing.urgent = true;
        }
        Ok(())
    }

    fn check_length(&self, signed: &Signed) -> Result<(), OpenError> {
        let size = signed.checkpoint.size;
        if self.next >= size {
            return Ok(());
        }
        Err(OpenError::RolledBack {
            path: self.segment.path.clone(),
            next: self.next,
            size,
            checkpoint: signed.path.clone(),
        })
    }

    /// The latest checkpoint in the log's own files that is signed for it. Cuts off a torn one.
    fn own_latest(&mut self) -> Result<Option<Signed>, OpenError> {
        let directory = self.directory.clone();
        let firsts = segment::list_of(&directory, NOTES).map_err(Fault::of("read", &directory))?;
        for first in firsts.into_iter().rev() {
            let path = notes_path(&directory, first);
            let mut found: Vec<_> = Notes::in_file(&path).collect();
            while let Some(last) = found.pop() {
                match last {
                    Ok(signed) if self.signing.keys.is_good(&signed)? => return Ok(Some(signed)),
                    Ok(signed) => {
                        let size = signed.checkpoint.size;
                        let at = signed.offset;
                        let detail = format!(
                            "{}: the checkpoint for {size} records at byte {at} is not signed by a key that \
                             the log had then",
                            path.display()
                        );
                        self.warn("audit.checkpoint_foreign", detail);
                    }
                    Err(BadNote::Torn { offset, .. }) => self.cut_torn_note(&path, offset)?,
                    Err(BadNote::File(fault)) => return Err(fault.into()),
                    Err(error) => self.warn("audit.checkpoint_foreign", error.to_string()),
                }
            }
        }
        Ok(None)
    }

    fn cut_torn_note(&mut self, path: &Path, offset: u64) -> Result<(), Fault> {
        let file = disk::owned().open(path).map_err(Fault::of("open", path))?;
        self.disk
            .cut(&file, offset)
            .map_err(Fault::of("cut", path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let detail = format!("{name}: a torn checkpoint was cut off at byte {offset}");
        tracing::warn!(detail, "a torn audit checkpoint was cut off");
        self.notice("audit.repaired", detail);
        Ok(())
    }

    /// The file of the tree is good up to the checkpoint: the lines after it are added.
    fn go_on(&mut self, edge: Frontier) -> Result<(), OpenError> {
        let range = (edge.size(), self.next);
        let mut tree = Tree::open(&self.directory, edge)?;
        walk(&self.directory, range, Gaps::Refused, |_, line| {
            tree.push(line.unwrap_or_default());
            settle_part(&mut tree, self.disk.as_mut())
        })?;
        tree.settle(self.disk.as_mut())?;
        self.tree = tree;
        Ok(())
    }

    /// Whether the last records that the checkpoint covers have the leaves that the tree has.
    fn has_last(&self, hashes: &HashFile, best: &Signed) -> Result<bool, OpenError> {
        let size = best.checkpoint.size;
        let uncovered = usize::try_from(self.next.saturating_sub(size)).unwrap_or(usize::MAX);
        let path = &self.segment.path;
        let mut same = true;
        last_lines(path, uncovered.saturating_add(COMPARED), |seq, line| {
            same &= seq >= size || hashes.leaf(seq)? == leaf(line);
            Ok(same)
        })
        .map_err(Fault::of("read", path))?;
        Ok(same)
    }

    pub(super) fn rewritten(&self, seq: Option<u64>, signed: &Signed) -> OpenError {
        OpenError::Rewritten {
            path: self.place_of(seq.unwrap_or(signed.checkpoint.size)),
            seq,
            size: signed.checkpoint.size,
            checkpoint: signed.path.clone(),
        }
    }

    /// The segment that has a record, or would have.
    pub(super) fn place_of(&self, seq: u64) -> PathBuf {
        let segments = segment::list(&self.directory).unwrap_or_default();
        let first = segments.into_iter().rfind(|first| *first <= seq);
        let first = first.unwrap_or(self.segment.first);
        segment::path(&self.directory, first)
    }
}

/// The edge at the largest checkpoint, if the file has the root of each.
fn stored_edge(hashes: &HashFile, known: &[Signed]) -> Option<Frontier> {
    let mut edge = None;
    for signed in known {
        let size = signed.checkpoint.size;
        let stored = Frontier::at(size, hashes).ok();
        edge = Some(stored.filter(|edge| edge.root() == signed.checkpoint.root)?);
    }
    edge
}

/// Writes what is staged, once it is much.
pub(super) fn settle_part(tree: &mut Tree, disk: &mut dyn disk::Disk) -> Result<(), Fault> {
    if tree.size().is_multiple_of(PART) {
        tree.settle(disk)?;
    }
    Ok(())
}
