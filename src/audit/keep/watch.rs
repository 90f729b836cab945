//! A quiet look at files that are finished, once a minute: nobody writes to them any more, so they
//! stay as this process found them, until retention removes them and a record says so.
//!
//! Names, lengths, inodes and times of change are compared, and nothing is read: that is cheap, and
//! finds what happens to a log by accident or in haste. Who sets a file's time of change back is
//! found by `audit verify`. The newest files are the writer's to look after.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant};

use super::retention::{OPERATION, says};
use crate::audit::checkpoint::notes_path;
use crate::audit::disk::identity;
use crate::audit::query::{Filter, Order, Query, Reach, Scan, Step};
use crate::audit::queue::Shared;
use crate::audit::record::{Kind, Record};
use crate::audit::segment;
use crate::audit::tree::{HashFile, leaf};

/// How often files are compared with what is known of them.
const EVERY: Duration = Duration::from_secs(60);

/// A file that is finished: the first record of its segment, and what it has.
type Name = (u64, What);

/// What a file has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    Checkpoints,
    Records,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    id: (u64, u64),
    len: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for State {
    fn from(file: &Metadata) -> Self {
        Self {
            id: identity(file),
            len: file.len(),
            changed: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// How a file stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Seen once: whoever gave it up may yet cut off what does not count in it.
    Fresh,
    Good,
    /// Not as it was, which was told.
    Damaged,
    /// No writer began it, which was told.
    Foreign,
}

/// What was found, to be told.
#[derive(Debug, Eq, PartialEq)]
struct Finding {
    operation: &'static str,
    path: PathBuf,
    detail: String,
}

/// Looks after the finished files of a log.
pub(in crate::audit) struct Watch {
    directory: PathBuf,
    shared: Arc<Shared>,
    files: BTreeMap<Name, (State, Standing)>,
    /// The first record of the newest segment that was seen.
    newest: Option<u64>,
    compared: Option<Instant>,
    removals: Removals,
}

/// What records of the log say was removed, as far as they were read.
#[derive(Default)]
struct Removals {
    ranges: Vec<Range<u64>>,
    /// The first record that was not read.
    next: u64,
}

impl Watch {
    pub(in crate::audit) fn new(directory: PathBuf, shared: Arc<Shared>) -> Self {
        Self {
            directory,
            shared,
            files: BTreeMap::new(),
            newest: None,
            compared: None,
            removals: Removals::default(),
        }
    }

    /// How many files are not as they were, or are no writer's.
    pub(in crate::audit) fn damaged(&self) -> u64 {
        let is_damaged = |standing: Standing| !matches!(standing, Standing::Fresh | Standing::Good);
        let all = self.files.values();
        let damaged = all.filter(|(_, standing)| is_damaged(*standing)).count();
        u64::try_from(damaged).unwrap_or(u64::MAX)
    }

    /// Takes down what was finished meanwhile and, once a minute, compares all.
    pub(in crate::audit) fn look(&mut self) {
        // What cannot be read is no finding: the writer says that the disk fails.
        self.take_down().ok();
        if self.compared.is_none_or(|at| at.elapsed() >= EVERY) {
            self.compared = Some(Instant::now());
            self.compare();
        }
    }

    fn path(&self, (first, what): Name) -> PathBuf {
        match what {
            What::Checkpoints => notes_path(&self.directory, first),
            What::Records => segment::path(&self.directory, first),
        }
    }

    fn take_down(&mut self) -> io::Result<()> {
        let mut segments = segment::list(&self.directory)?;
        // What is named beyond the log's end is the writer's to judge.
        let next = self.shared.counters.next_seq.load(Ordering::Relaxed);
        segments.retain(|first| *first <= next);
        let Some((newest, finished)) = segments.split_last() else {
            return Ok(());
        };
        let notes = segment::list_of(&self.directory, ".notes")?;
        // The last one, which may be of an older segment, is the writer's too.
        let notes = notes.split_last().map_or(&[][..], |(_, older)| older);
        let records = finished.iter().map(|first| (*first, What::Records));
        let before = self.newest;
        for name in records.chain(notes.iter().map(|first| (*first, What::Checkpoints))) {
            self.take(name, before)?;
        }
        self.newest = self.newest.max(Some(*newest));
        Ok(())
    }

    fn take(&mut self, name: Name, newest: Option<u64>) -> io::Result<()> {
        let path = self.path(name);
        match self.files.get_mut(&name) {
            Some((known, standing)) if *standing == Standing::Fresh => {
                let state = State::from(&fs::metadata(path)?);
                if *known == state {
                    *standing = Standing::Good;
                }
                *known = state;
            }
            Some(_) => {}
            None => {
                let state = State::from(&fs::metadata(&path)?);
                // Writers begin a file only behind all others.
                let is_foreign =
                    name.1 == What::Records && newest.is_some_and(|newest| name.0 < newest);
                let finding = || Finding {
                    operation: "audit.file_foreign",
                    detail: "stands between other files and no writer began it".to_owned(),
                    path,
                };
                let standing = match is_foreign {
                    true if !self.tell(&finding()) => return Ok(()),
                    true => Standing::Foreign,
                    false => Standing::Fresh,
                };
                self.files.insert(name, (state, standing));
            }
        }
        Ok(())
    }

    /// Compares all files with what is known of them.
    pub(in crate::audit) fn compare(&mut self) {
        let mut is_read = false;
        let names: Vec<Name> = self.files.keys().copied().collect();
        for name in names {
            let path = self.path(name);
            let Some((known, standing)) = self.files.get(&name).copied() else {
                continue;
            };
            let now = match fs::metadata(&path) {
                Ok(file) => Some(State::from(&file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => continue,
            };
            if now.is_none() {
                if !std::mem::replace(&mut is_read, true) {
                    self.read_removals();
                }
                let mut ranges = self.removals.ranges.iter();
                let is_removed = ranges.any(|range| range.contains(&name.0));
                if is_removed || standing == Standing::Foreign {
                    self.files.remove(&name);
                    continue;
                }
            }
            let standing = match (standing, now == Some(known)) {
                (Standing::Damaged, true) => Standing::Good,
                // A fresh one that changes is taken down anew.
                (Standing::Fresh, false) if now.is_some() => Standing::Fresh,
                (Standing::Good | Standing::Fresh, false)
                    if self.tell(&finding(name, &path, known, now)) =>
                {
                    Standing::Damaged
                }
                (standing, _) => standing,
            };
            self.files.insert(name, (known, standing));
        }
    }

    /// Reads what new records of the log say was removed. Only those that the tree has are believed.
    fn read_removals(&mut self) {
        let Removals { ranges, next } = &mut self.removals;
        // Those behind it may not be in the tree yet: they are read again.
        let mut covered = *self.shared.covered.borrow();
        if self.shared.counters.next_seq.load(Ordering::Relaxed) <= *next {
            return;
        }
        let query = Query {
            filter: Filter {
                operation: OPERATION.parse().into_iter().collect(),
                kind: Kind::Admin.as_str().parse().into_iter().collect(),
                from_seq: Some(*next),
                ..Filter::default()
            },
            order: Order::NewestFirst,
            limit: None,
            reach: Reach::Usual,
            counts: false,
        };
        let Ok(hashes) = HashFile::open(&self.directory) else {
            return;
        };
        let Ok(mut scan) = Scan::new(&self.directory, query) else {
            return;
        };
        loop {
            match scan.step() {
                Ok(Step::Found(found)) => {
                    let signed = hashes.leaf(found.seq);
                    if signed.is_err() {
                        covered = covered.min(found.seq);
                    }
                    let is_signed = signed.is_ok_and(|it| it == leaf(found.json));
                    if let Some((first, next)) = says(found.json)
                        && next <= found.seq
                        && is_signed
                        && !ranges.contains(&(first..next))
                    {
                        ranges.push(first..next);
                    }
                }
                Ok(Step::Working) => {}
                Ok(Step::End) => {
                    *next = covered;
                    return;
                }
                // What was found so far holds; the rest is read the next time.
                Err(_) => return,
            }
        }
    }

    /// Says whether it was told; while the log fails, it is tried again.
    fn tell(&self, finding: &Finding) -> bool {
        let Finding {
            operation,
            path,
            detail,
        } = finding;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let record = Record::event(operation, format!("{name} {detail}"));
        if self.shared.is_failing() || self.shared.push(Kind::Admin, &record, false).is_err() {
            return false;
        }
        tracing::error!(
            operation,
            file = %path.display(),
            detail,
            "the audit log was meddled with: `vspc-gateway audit verify` tells what is lost"
        );
        true
    }
}

fn finding((_, what): Name, path: &Path, known: State, now: Option<State>) -> Finding {
    let (operation, detail) = match now {
        None => ("audit.file_lost", "was deleted or moved".to_owned()),
        Some(now) if now.id != known.id => ("audit.file_lost", "was replaced".to_owned()),
        Some(now) if now.len < known.len => {
            let detail = format!("has {} bytes, not {}", now.len, known.len);
            ("audit.file_truncated", detail)
        }
        Some(_) => {
            let detail = "was written to after it was finished".to_owned();
            ("audit.file_damaged", detail)
        }
    };
    let operation = match what {
        What::Checkpoints => "audit.checkpoints_lost",
        What::Records => operation,
    };
    Finding {
        operation,
        path: path.to_owned(),
        detail,
    }
}
