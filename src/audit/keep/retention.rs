//! Removing files that are older than is asked for.
//!
//! Before any is removed a record says which numbers go, and is covered by a checkpoint: who reads
//! the log later can tell what was removed from what was taken out of it.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tlog_tiles::{check_tree, prove_tree};
use tokio::time::{Duration, Instant};

use crate::audit::checkpoint;
use crate::audit::fault::Fault;
use crate::audit::files::FileSettings;
use crate::audit::query::index;
use crate::audit::queue::Shared;
use crate::audit::read::{self, Line};
use crate::audit::record::{Kind, Record};
use crate::audit::segment::{self, LinesBack};
use crate::audit::tree::{Frontier, HASHES, HashFile};
use crate::clock::Timestamp;

/// What a record of a removal is named.
pub(super) const OPERATION: &str = "audit.removed";
/// How long the record of a removal may take to be covered.
const COVER_WAIT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const COVER_POLL: Duration = Duration::from_millis(50);

/// Says whether to end, after so long a wait.
type Stopped<'a> = &'a dyn Fn(Duration) -> bool;

/// Removes files.
pub(super) struct Retention {
    directory: PathBuf,
    files: FileSettings,
    shared: Arc<Shared>,
}

/// What is to be removed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Due {
    /// The first records of the files that go.
    pub(super) files: Vec<u64>,
    /// The records that they hold.
    pub(super) range: Range<u64>,
    /// What keeps others that are old enough, and how many.
    pub(super) held: Option<(String, u64)>,
}

impl Retention {
    pub(super) fn new(directory: PathBuf, files: FileSettings, shared: Arc<Shared>) -> Self {
        Self {
            directory,
            files,
            shared,
        }
    }

    /// Whether the log takes nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.closing || queue.closed
    }

    /// Removes what is due, and says what holds back more.
    pub(super) fn pass(&self, stopped: Stopped<'_>) -> Option<(String, u64)> {
        let due = match self.due() {
            Ok(due) => due?,
            Err(fault) => {
                tracing::error!(error = %fault, "old audit files are kept");
                return None;
            }
        };
        if let Some((by, files)) = &due.held {
            tracing::warn!(
                by,
                files,
                "audit files are kept beyond their time: they hold records that a sink has not got, or that no \
                 checkpoint covers. See to it, or take the sink out of the configuration"
            );
        }
        if !due.files.is_empty()
            && let Err(fault) = self.remove(&due, stopped)
        {
            tracing::error!(error = %fault, "an old audit file cannot be removed");
        }
        due.held
    }

    fn due(&self) -> Result<Option<Due>, Fault> {
        let Some(age) = self.files.retention else {
            return Ok(None);
        };
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(self.shared.clock.now().0.saturating_sub(age));
        let mut needs = vec![("checkpoint".to_owned(), *self.shared.covered.borrow())];
        for name in &self.files.sinks {
            needs.push((name.clone(), offset(&self.directory, name)));
        }
        due(&self.directory, before, &needs).map(Some)
    }

    fn remove(&self, due: &Due, stopped: Stopped<'_>) -> Result<(), Fault> {
        if !self.is_tree_whole(due.range.end)? {
            tracing::error!(
                "old audit files are kept: the file of the tree is damaged. Restart the gateway, \
                 which builds it anew"
            );
            return Ok(());
        }
        let fault = Fault::of("read", &self.directory);
        let Some(seq) = self.announce(due, stopped).map_err(fault)? else {
            return Ok(());
        };
        let began = Instant::now();
        while *self.shared.covered.borrow() <= seq {
            if stopped(COVER_POLL) {
                return Ok(());
            }
            if began.elapsed() > COVER_WAIT {
                tracing::warn!(
                    seq,
                    "old audit files are kept: no checkpoint covers the record of their removal"
                );
                return Ok(());
            }
        }
        // The tree is then all that is left of these records: no power loss may take a part of it.
        let hashes = self.directory.join(HASHES);
        File::open(&hashes)
            .and_then(|file| file.sync_all())
            .map_err(Fault::of("sync", &hashes))?;
        self.keep_checkpoints()?;
        remove(&self.directory, &due.files)?;
        tracing::info!(
            files = due.files.len(),
            from = due.range.start,
            next = due.range.end,
            "old audit files were removed"
        );
        Ok(())
    }

    /// Makes the newest checkpoints durable: their file may soon be the only one that has any.
    fn keep_checkpoints(&self) -> Result<(), Fault> {
        let notes = segment::list_of(&self.directory, ".notes")
            .map_err(Fault::of("read", &self.directory))?;
        if let Some(newest) = notes.last() {
            let path = checkpoint::notes_path(&self.directory, *newest);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(Fault::of("sync", &path))?;
        }
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(Fault::of("sync", &self.directory))
    }

    /// Whether the file of the tree has what stands for the records before `end`.
    fn is_tree_whole(&self, end: u64) -> Result<bool, Fault> {
        let Some(signed) = checkpoint::latest(&self.directory)? else {
            return Ok(false);
        };
        let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
        let hashes = HashFile::open(&self.directory)?;
        let (Ok(whole), Ok(start), Ok(proof)) = (
            Frontier::at(size, &hashes),
            Frontier::at(end, &hashes),
            prove_tree(size, end, &hashes),
        ) else {
            return Ok(false);
        };
        Ok(whole.root() == root && check_tree(&proof, size, root, end, start.root()).is_ok())
    }

    /// Has the record of the removal written; gives its number.
    fn announce(&self, due: &Due, stopped: Stopped<'_>) -> io::Result<Option<u64>> {
        let mut follow = read::tail(&self.directory, 0)?.follow;
        let Range { start, end } = due.range;
        let record = Record {
            range: Some(due.range.clone()),
            ..Record::event(OPERATION, format!("{} files", due.files.len()))
        };
        if self.shared.is_failing() || self.shared.push(Kind::Admin, &record, false).is_err() {
            return Ok(None);
        }
        let is_ours = |line: &Line| says(&line.json) == Some((start, end));
        let began = Instant::now();
        while began.elapsed() < COVER_WAIT {
            let lines = follow.poll()?;
            if let Some(line) = lines.iter().find(|line| is_ours(line)) {
                return Ok(Some(line.seq));
            }
            if lines.is_empty() && stopped(COVER_POLL) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The range of records that a record says were removed.
pub(super) fn says(json: &[u8]) -> Option<(u64, u64)> {
    #[derive(serde::Deserialize)]
    struct Removed<'a> {
        operation: &'a str,
        range: Removal,
    }
    #[derive(serde::Deserialize)]
    struct Removal {
        first: u64,
        next: u64,
    }
    memchr::memmem::find(json, OPERATION.as_bytes())?;
    let removed: Removed<'_> = serde_json::from_slice(json).ok()?;
    (removed.operation == OPERATION).then_some((removed.range.first, removed.range.next))
}

/// What is due: the oldest files, up to the first one that has a record which is not older than
/// `before`, or which somebody of `needs` has not got. The newest is none of them.
pub(super) fn due(
    directory: &Path,
    before: Timestamp,
    needs: &[(String, u64)],
) -> Result<Due, Fault> {
    let firsts = segment::list(directory).map_err(Fault::of("read", directory))?;
    let behind = needs.iter().min_by_key(|(_, has)| *has);
    let mut due = Due::default();
    due.range.start = firsts.first().copied().unwrap_or(0);
    due.range.end = due.range.start;
    for (first, end) in firsts.iter().zip(firsts.iter().skip(1)) {
        let path = segment::path(directory, *first);
        if !is_old(&path, before).map_err(Fault::of("read", &path))? {
            break;
        }
        match behind {
            Some((name, has)) if has < end => {
                let held = due.held.get_or_insert_with(|| (name.clone(), 0));
                held.1 += 1;
            }
            _ => {
                due.files.push(*first);
                due.range.end = *end;
            }
        }
    }
    Ok(due)
}

/// Whether the last record of a file is older. One without a record that has a time is as old as
/// the file.
fn is_old(path: &Path, before: Timestamp) -> io::Result<bool> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = segment::complete_len(&file, metadata.len())?;
    let last = LinesBack::new(&file, len).next()?;
    let time = last.and_then(|(_, line)| segment::stamp(&line));
    let changed = metadata.mtime().saturating_mul(1_000_000);
    Ok(time.unwrap_or(Timestamp(changed)) < before)
}

/// What a sink gets next; nothing was got by one that has not said so.
fn offset(directory: &Path, sink: &str) -> u64 {
    let path = directory.join("sinks").join(format!("{sink}.offset"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim_end().parse().unwrap_or(0)
}

/// Removes files and what belongs to them, and what belongs to files that are gone already.
pub(in crate::audit) fn remove(directory: &Path, files: &[u64]) -> Result<(), Fault> {
    // What is left of them must be on the disk before they go.
    let hashes = directory.join("hashes");
    match File::open(&hashes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result
            .and_then(|file| file.sync_all())
            .map_err(Fault::of("sync", &hashes))?,
    }
    for first in files {
        // The records first: should the rest fail, it is removed with the next file.
        remove_file(&segment::path(directory, *first))?;
    }
    let oldest = segment::list(directory)
        .map_err(Fault::of("read", directory))?
        .first()
        .copied();
    for path in leftovers(directory, oldest).map_err(Fault::of("read", directory))? {
        remove_file(&path)?;
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(Fault::of("sync", directory))
}

fn remove_file(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        // Another process removes old files too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Fault::of("remove", path)),
    }
}

/// Indexes and checkpoints of files before the oldest.
fn leftovers(directory: &Path, oldest: Option<u64>) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((digits, rest)) = name.and_then(|name| name.split_at_checked(20)) else {
            continue;
        };
        let first = digits.parse::<u64>().ok();
        let is_ours = rest == ".notes" || rest == ".index" || rest.starts_with(".index.");
        if is_ours && first.is_some_and(|first| oldest.is_none_or(|oldest| first < oldest)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// How many files there are, the bytes that they have, and the first record.
pub(super) fn extent(directory: &Path) -> io::Result<(u64, u64, u64)> {
    let firsts = segment::list(directory)?;
    let mut bytes = 0;
    for first in &firsts {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        bytes += size(segment::path(directory, *first)) + size(index::path(directory, *first));
    }
    let count = u64::try_from(firsts.len()).unwrap_or(u64::MAX);
    Ok((count, bytes, firsts.first().copied().unwrap_or(0)))
}
