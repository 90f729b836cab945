//! Reading and hashing lines, on as many threads as help, and giving them back in order.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use memchr::{memchr, memchr_iter, memmem};
use serde::Deserialize;
use tlog_tiles::Hash;

use crate::audit::fault::Fault;
use crate::audit::segment::{LINE_LIMIT, seq_of};
use crate::audit::tree::leaf;

/// How much a thread reads at once.
pub(super) const BLOCK: u64 = 4 * 1024 * 1024;
/// How many blocks of each thread may wait for their turn.
const AHEAD: usize = 2;

/// A part of a file whose lines are to be hashed: those that begin in it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) segment: usize,
    pub(super) path: PathBuf,
    pub(super) part: Range<u64>,
    /// The bytes of the file that count: up to its last newline.
    pub(super) len: u64,
}

/// A line that was hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The number at its start.
    pub(super) seq: Option<u64>,
    /// Its leaf in the tree.
    pub(super) leaf: Hash,
}

/// A record that says that others were removed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Removal {
    pub(super) seq: u64,
    pub(super) leaf: Hash,
    pub(super) range: Range<u64>,
}

/// What a thread made of a job.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) lines: Vec<Line>,
    /// Records that say that others were removed.
    pub(super) removed: Vec<Removal>,
    /// Where lines begin that are beyond what is covered and not JSON.
    pub(super) unreadable: Vec<u64>,
    /// The stamps of the first and the last line beyond what is covered.
    pub(super) stamps: Option<(String, String)>,
    /// Whether the file is no longer there.
    pub(super) gone: bool,
    pub(super) bytes: u64,
}

/// Hashes the lines of all jobs and hands them over in order, until that fails.
pub(super) fn hash_all(
    jobs: &[Job],
    covered: u64,
    threads: usize,
    mut take: impl FnMut(&Job, Block),
) -> Result<(), Fault> {
    let threads = threads.clamp(1, jobs.len().max(1));
    thread::scope(|scope| {
        let mut results: Vec<Receiver<Result<Block, Fault>>> = Vec::new();
        for first in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            results.push(receiver);
            let mine = jobs.iter().skip(first).step_by(threads);
            scope.spawn(move || work(mine, covered, &sender));
        }
        let mut turns = results.iter().cycle();
        for job in jobs {
            // A thread that is gone has panicked, which the scope tells.
            let Some(Ok(done)) = turns.next().map(Receiver::recv) else {
                break;
            };
            take(job, done?);
        }
        Ok(())
    })
}

fn work<'a>(
    jobs: impl Iterator<Item = &'a Job>,
    covered: u64,
    sender: &SyncSender<Result<Block, Fault>>,
) {
    let mut buffer = Vec::new();
    for job in jobs {
        let done = hash(job, covered, &mut buffer).map_err(Fault::of("read", &job.path));
        if sender.send(done).is_err() {
            return;
        }
    }
}

fn hash(job: &Job, covered: u64, buffer: &mut Vec<u8>) -> io::Result<Block> {
    let mut block = Block {
        bytes: job.part.end - job.part.start,
        ..Block::default()
    };
    let file = match File::open(&job.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            block.gone = true;
            return Ok(block);
        }
        result => result?,
    };
    // The byte before tells whether a line begins with the first byte of the part.
    let start = job.part.start.saturating_sub(1);
    buffer.clear();
    read_on(&file, start, job.part.end, buffer)?;
    let mut at = match job.part.start {
        0 => 0,
        _ => match memchr(b'\n', buffer) {
            Some(newline) => newline + 1,
            None => return Ok(block),
        },
    };
    let within = size(job.part.end - start);
    if at >= within {
        return Ok(block);
    }
    // The last line that begins here may end in the next part.
    if buffer.last() != Some(&b'\n') {
        let end = (job.part.end + long(LINE_LIMIT) + 1).min(job.len);
        finish_line(&file, job.part.end, end, buffer)?;
    }
    let mut ends = memchr_iter(b'\n', buffer.get(at..).unwrap_or_default());
    let base = at;
    while at < within {
        let offset = start + long(at);
        let Some(end) = ends.next() else {
            // Longer than any record; or its writer took it back while it was read.
            if buffer.len() - at > LINE_LIMIT {
                block.lines.push(Line {
                    offset,
                    seq: None,
                    leaf: Hash::default(),
                });
            }
            break;
        };
        let line = buffer.get(at..base + end).unwrap_or_default();
        block.take(offset, line, covered);
        at = base + end + 1;
    }
    block.find_removals(buffer);
    Ok(block)
}

impl Block {
    fn take(&mut self, offset: u64, line: &[u8], covered: u64) {
        let seq = seq_of(line);
        if seq.is_some_and(|seq| seq >= covered) {
            self.look_at(offset, line);
        }
        let leaf = leaf(line);
        self.lines.push(Line { offset, seq, leaf });
    }

    /// What no checkpoint covers has only its form to be judged by.
    fn look_at(&mut self, offset: u64, line: &[u8]) {
        let Ok(Stamped { time }) = serde_json::from_slice(line) else {
            self.unreadable.push(offset);
            return;
        };
        match &mut self.stamps {
            Some((_, last)) => time.unwrap_or_default().clone_into(last),
            none => {
                let time = time.unwrap_or_default();
                *none = Some((time.to_owned(), time.to_owned()));
            }
        }
    }

    /// Looks for records of removals: there are few, so that only lines that name one are parsed.
    fn find_removals(&mut self, buffer: &[u8]) {
        let mut from = 0;
        while let Some(rest) = buffer.get(from..)
            && let Some(found) = memmem::find(rest, REMOVED.as_bytes())
        {
            let found = from + found;
            let (before, after) = buffer.split_at_checked(found).unwrap_or_default();
            let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
            let end = memchr(b'\n', after).map_or(buffer.len(), |at| found + at);
            let line = buffer.get(start..end).unwrap_or_default();
            if let Ok(record) = serde_json::from_slice::<RemovalRecord<'_>>(line)
                && record.kind == "admin"
                && record.operation == REMOVED
            {
                self.removed.push(Removal {
                    seq: record.seq,
                    leaf: leaf(line),
                    range: record.range.first..record.range.next,
                });
            }
            from = end;
        }
    }
}

/// The operation of a record that says that others were removed.
const REMOVED: &str = "audit.removed";

#[derive(Deserialize)]
struct Stamped<'a> {
    time: Option<&'a str>,
}

#[derive(Deserialize)]
struct RemovalRecord<'a> {
    seq: u64,
    kind: &'a str,
    operation: &'a str,
    range: Removed,
}

#[derive(Deserialize)]
struct Removed {
    first: u64,
    next: u64,
}

/// Appends the bytes of a file from `start` to `end`, or to where it ends.
fn read_on(file: &File, start: u64, end: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let kept = buffer.len();
    buffer.resize(kept + size(end - start), 0);
    let mut filled = kept;
    while let Some(space) = buffer.get_mut(filled..).filter(|space| !space.is_empty()) {
        match file.read_at(space, start + long(filled - kept)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// Appends the bytes from `start` on, up to a newline or `end`.
fn finish_line(file: &File, start: u64, end: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let before = buffer.len();
        let step = (at + 16 * 1024).min(end);
        read_on(file, at, step, buffer)?;
        let read = buffer.get(before..).unwrap_or_default();
        if let Some(newline) = memchr(b'\n', read) {
            buffer.truncate(before + newline + 1);
            return Ok(());
        }
        if read.is_empty() {
            return Ok(());
        }
        at += long(read.len());
    }
    Ok(())
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn long(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Offset, number and leaf of each line, whatever the parts.
    fn hashed(path: &std::path::Path, len: u64, part: u64, threads: usize) -> Vec<Line> {
        let jobs: Vec<Job> = (0..len)
            .step_by(size(part))
            .map(|start| Job {
                segment: 0,
                path: path.to_owned(),
                part: start..(start + part).min(len),
                len,
            })
            .collect();
        let mut lines = Vec::new();
        hash_all(&jobs, 3, threads, |_, block| lines.extend(block.lines)).unwrap();
        lines
    }

    #[test]
    fn every_line_is_hashed_once_however_the_file_is_parted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let texts = [
            "{\"seq\":0,\"a\":1}",
            "",
            "x",
            "{\"seq\":1,",
            "{\"seq\":12,\"time\":\"t\"}",
        ];
        let text: String = texts.map(|line| format!("{line}\n")).concat();
        fs::write(&path, &text).unwrap();
        for part in 1..=text.len() as u64 + 1 {
            let lines = hashed(&path, text.len() as u64, part, 3);
            let mut offset = 0;
            assert_eq!(lines.len(), texts.len(), "{part}");
            for (line, text) in lines.iter().zip(texts) {
                assert_eq!(line.offset, offset);
                assert_eq!(line.leaf, leaf(text.as_bytes()));
                assert_eq!(line.seq, seq_of(text.as_bytes()));
                offset += text.len() as u64 + 1;
            }
        }
    }

    #[test]
    fn a_line_that_is_longer_than_any_record_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let text = format!("a\n{}\nb\n", "x".repeat(LINE_LIMIT + 5000));
        fs::write(&path, &text).unwrap();
        for part in [1000, 100_000, 10_000_000] {
            let lines = hashed(&path, text.len() as u64, part, 2);
            let offsets: Vec<u64> = lines.iter().map(|line| line.offset).collect();
            assert_eq!(offsets, [0, 2, text.len() as u64 - 2], "{part}");
        }
    }

    #[test]
    fn removals_are_found_and_texts_that_name_one_are_none() {
        let mut block = Block::default();
        let real = r#"{"seq":7,"time":"t","kind":"admin","operation":"audit.removed","range":{"first":0,"next":5}}"#;
        let path = r#"{"seq":8,"kind":"request","operation":"audit.removed","range":{"first":0,"next":5}}"#;
        let other = r#"{"seq":9,"kind":"admin","operation":"x","detail":"audit.removed audit.removed","range":{"first":0,"next":5}}"#;
        block.find_removals(format!("{path}\n{real}\n{other}\n").as_bytes());
        let expected = Removal {
            seq: 7,
            leaf: leaf(real.as_bytes()),
            range: 0..5,
        };
        assert_eq!(block.removed, [expected]);
    }
}
