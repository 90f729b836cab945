//! Reads the log from any record on, as far as nothing can take it back.
//!
//! Between two reads no byte is kept: what stands behind the last record that was read may still be
//! cut off and written anew.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Item;
use crate::audit::disk::identity;
use crate::audit::segment::{self, At, LINE_LIMIT};

/// The most bytes that one read looks at, whatever it finds.
const SCAN: u64 = 8 * 1024 * 1024;
/// A part of a file that is small enough to be read from its start.
const SMALL: u64 = 64 * 1024;
/// How often a directory is looked at again when a file of it goes away.
const TRIES: usize = 5;

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most records.
    pub(super) records: usize,
    /// The most bytes, but for the first record.
    pub(super) bytes: usize,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The records that are wanted, in order.
    pub(super) items: Vec<Item>,
    /// The record to go on with.
    pub(super) next: u64,
    /// Records that should be in the log and are not.
    pub(super) missing: Vec<Range<u64>>,
    /// Whether the log ends before a record that should be in it.
    pub(super) is_short: bool,
}

/// Reads the log.
pub(super) struct Feed {
    directory: PathBuf,
    origin: Arc<str>,
    place: Option<Place>,
}

/// Where in the files a record is to be looked for.
struct Place {
    /// The first record of the segment.
    first: u64,
    file: File,
    offset: u64,
    /// The record that comes next there.
    next: u64,
}

impl Feed {
    pub(super) fn new(directory: &Path, origin: Arc<str>) -> Self {
        Self {
            directory: directory.to_owned(),
            origin,
            place: None,
        }
    }

    /// Reads from record `from` on and below record `below`.
    pub(super) fn read(
        &mut self,
        from: u64,
        below: u64,
        bounds: Bounds,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Part> {
        let mut part = Part {
            next: from,
            ..Part::default()
        };
        let mut tries = 0;
        while part.next < below && part.items.is_empty() {
            let segments = segment::list(&self.directory)?;
            let at = segments.partition_point(|first| *first <= part.next);
            let later = segments.get(at).copied().filter(|first| *first < below);
            let current = at.checked_sub(1).and_then(|at| segments.get(at)).copied();
            let Some(current) = current else {
                match later {
                    Some(first) => part.skip_to(first),
                    None => {
                        part.is_short = true;
                        break;
                    }
                }
                continue;
            };
            match self.enter(current, part.next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    self.place = None;
                    continue;
                }
                result => result?,
            }
            let scanned_all = self.scan(&mut part, later.unwrap_or(below), bounds, &wanted)?;
            if !scanned_all {
                break;
            }
            match later {
                Some(first) => part.skip_to(first),
                None => {
                    part.is_short = part.next < below;
                    break;
                }
            }
        }
        Ok(part)
    }

    /// Finds record `next` in the segment that begins with `first`.
    fn enter(&mut self, first: u64, next: u64) -> io::Result<()> {
        let path = segment::path(&self.directory, first);
        if let Some(place) = &self.place
            && place.first == first
            && place.next == next
            && identity(&place.file.metadata()?) == identity(&std::fs::metadata(&path)?)
            && place.file.metadata()?.len() >= place.offset
        {
            return Ok(());
        }
        let file = File::open(path)?;
        let offset = find(&file, next)?;
        self.place = Some(Place {
            first,
            file,
            offset,
            next,
        });
        Ok(())
    }

    /// Reads on in the present segment up to record `end`. Says whether all of it was read.
    fn scan(
        &mut self,
        part: &mut Part,
        end: u64,
        bounds: Bounds,
        wanted: &impl Fn(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let Some(place) = &mut self.place else {
            return Ok(true);
        };
        let mut lines = BufReader::with_capacity(
            usize::try_from(SMALL).unwrap_or(8192),
            At {
                file: &place.file,
                offset: place.offset,
            },
        );
        let (mut bytes, stop) = (0, place.offset.saturating_add(SCAN));
        loop {
            if part.next >= end {
                return Ok(true);
            }
            if part.items.len() >= bounds.records || bytes >= bounds.bytes || place.offset >= stop {
                return Ok(false);
            }
            let mut line = Vec::new();
            let Some(read) = read_line(&mut lines, &mut line)? else {
                return Ok(true);
            };
            let seq = segment::seq_of(&line).filter(|seq| *seq >= part.next);
            if seq.is_some_and(|seq| seq >= end) {
                return Ok(true);
            }
            place.offset += read;
            if let Some(seq) = seq {
                part.skip_to(seq);
                part.next = seq + 1;
                place.next = seq + 1;
                if wanted(&line) {
                    bytes += line.len();
                    part.items
                        .push(Item::record(&self.origin, seq, line.into()));
                }
            }
        }
    }
}

impl Part {
    /// Goes on with a later record; what is between them is missing.
    fn skip_to(&mut self, seq: u64) {
        if seq > self.next {
            self.missing.push(self.next..seq);
            self.next = seq;
        }
    }
}

/// An offset at or before the line of record `seq`, and not far before it. Halves the file as long
/// as its records are in order; where they are not, the file is read from its start.
fn find(file: &File, seq: u64) -> io::Result<u64> {
    let mut known = 0..file.metadata()?.len();
    while known.end - known.start > SMALL {
        let middle = known.start + (known.end - known.start) / 2;
        match first_line_behind(file, middle, known.end)? {
            Some((offset, found)) if found <= seq => known.start = offset,
            _ => known.end = middle,
        }
    }
    let found = first_line(file, known.start, known.end)?;
    match found {
        Some((_, found)) if found > seq => Ok(0),
        _ => Ok(known.start),
    }
}

/// The first record that begins behind an offset: where it does, and its number.
fn first_line_behind(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let mut rest = Vec::new();
    match read_line(&mut BufReader::new(At { file, offset }), &mut rest)? {
        Some(read) => first_line(file, offset + read, end),
        None => Ok(None),
    }
}

/// The first record from an offset on, where a line begins.
fn first_line(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let mut lines = BufReader::new(At { file, offset });
    let mut offset = offset;
    let mut line = Vec::new();
    while offset < end {
        let Some(read) = read_line(&mut lines, &mut line)? else {
            return Ok(None);
        };
        if let Some(seq) = segment::seq_of(&line) {
            return Ok(Some((offset, seq)));
        }
        offset += read;
    }
    Ok(None)
}

/// Reads a line, without its newline; of one that is longer than any record nothing is kept. Says
/// how many bytes of the file it is, or that it is not finished.
fn read_line(lines: &mut BufReader<At<'_>>, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX);
    let (mut total, mut is_too_long) = (0, false);
    loop {
        line.clear();
        let read = lines.by_ref().take(limit).read_until(b'\n', line)?;
        total += u64::try_from(read).unwrap_or(0);
        if line.pop() == Some(b'\n') {
            if is_too_long {
                line.clear();
            }
            return Ok(Some(total));
        }
        if u64::try_from(read).unwrap_or(0) < limit {
            return Ok(None);
        }
        is_too_long = true;
    }
}

/// What the log calls itself: the name of its present key.
pub(super) fn origin(directory: &Path) -> Arc<str> {
    let keys = std::fs::read_to_string(directory.join("verifier.keys")).unwrap_or_default();
    let last = keys.lines().rev().find(|line| !line.trim().is_empty());
    let name = last.and_then(|key| key.split('+').next()).map(str::trim);
    Arc::from(
        name.filter(|name| !name.is_empty())
            .unwrap_or("vspc-gateway"),
    )
}

/// Reads one whole file for which there is a bound.
pub(super) fn small_file(path: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a log of one segment")]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn line(seq: u64) -> String {
        let padding = "x".repeat(usize::try_from(seq * 37 % 500).unwrap());
        format!("{{\"seq\":{seq},\"time\":\"t\",\"kind\":\"request\",\"p\":\"{padding}\"}}\n")
    }

    /// Writes segments, each with the given records.
    fn log(segments: &[Range<u64>]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for records in segments {
            let text: String = records.clone().map(line).collect();
            fs::write(segment::path(folder.path(), records.start), text).unwrap();
        }
        folder
    }

    fn feed(folder: &TempDir) -> Feed {
        Feed::new(folder.path(), Arc::from("o"))
    }

    const ALL: Bounds = Bounds {
        records: 100,
        bytes: 1 << 20,
    };

    /// Everything from a record on, and what was missing.
    fn read_all(feed: &mut Feed, from: u64, below: u64) -> (Vec<u64>, Vec<Range<u64>>) {
        let (mut next, mut read, mut missing) = (from, Vec::new(), Vec::new());
        while next < below {
            let part = feed.read(next, below, ALL, |_| true).unwrap();
            assert!(part.next > next, "the feed stands still at {next}");
            next = part.next;
            missing.extend(part.missing);
            read.extend(part.items.iter().map(|item| item.seq));
        }
        (read, missing)
    }

    fn seqs(part: &Part) -> Vec<u64> {
        part.items.iter().map(|item| item.seq).collect()
    }

    #[test]
    fn records_come_in_order_over_segments_from_anywhere() {
        let folder = log(&[0..300, 300..301, 301..2000]);
        for from in [0, 1, 299, 300, 301, 1500, 1999] {
            let (read, missing) = read_all(&mut feed(&folder), from, 2000);
            assert_eq!(read, (from..2000).collect::<Vec<_>>());
            assert_eq!(missing, []);
        }
        let part = feed(&folder).read(7, 8, ALL, |_| true).unwrap();
        assert_eq!(part.items[0].line, line(7).trim_end());
        assert_eq!(part.items[0].id, "o#7");
    }

    #[test]
    fn nothing_from_the_bound_on_is_read_and_nothing_of_it_is_kept() {
        let folder = log(&[0..10]);
        let mut feed = feed(&folder);
        assert_eq!(
            seqs(&feed.read(0, 6, ALL, |_| true).unwrap()),
            [0, 1, 2, 3, 4, 5]
        );
        // The rest is taken back, and other records get its numbers.
        let mut text: String = (0..6).map(line).collect();
        text.push_str("{\"seq\":6,\"new\":1}\n");
        fs::write(segment::path(folder.path(), 0), text).unwrap();
        let part = feed.read(6, 7, ALL, |_| true).unwrap();
        assert_eq!(part.items[0].line, &b"{\"seq\":6,\"new\":1}"[..]);
    }

    #[test]
    fn a_record_in_two_segments_counts_in_the_later_one() {
        let folder = log(&[0..20]);
        fs::write(
            segment::path(folder.path(), 15),
            "{\"seq\":15,\"later\":1}\n",
        )
        .unwrap();
        let part = feed(&folder).read(0, 16, ALL, |_| true).unwrap();
        assert_eq!(seqs(&part), (0..15).collect::<Vec<_>>());
        let part = feed(&folder).read(15, 16, ALL, |_| true).unwrap();
        assert_eq!(part.items[0].line, &b"{\"seq\":15,\"later\":1}"[..]);
    }

    #[test]
    fn what_is_missing_is_told_and_passed_over() {
        let folder = log(&[10..20, 25..30]);
        let (read, missing) = read_all(&mut feed(&folder), 3, 30);
        assert_eq!(read, (10..20).chain(25..30).collect::<Vec<_>>());
        assert_eq!(missing, [3..10, 20..25]);
        let text: String = [30, 33, 34].map(line).concat();
        fs::write(segment::path(folder.path(), 30), text).unwrap();
        let (read, missing) = read_all(&mut feed(&folder), 30, 35);
        assert_eq!((read, missing), (vec![30, 33, 34], vec![31..33]));
    }

    #[test]
    fn a_log_that_ends_too_soon_is_short_and_goes_on_once_it_is_longer() {
        let folder = log(&[0..5]);
        let mut feed = feed(&folder);
        let part = feed.read(0, 9, ALL, |_| true).unwrap();
        assert_eq!(seqs(&part), [0, 1, 2, 3, 4]);
        let part = feed.read(5, 9, ALL, |_| true).unwrap();
        assert!(part.is_short && part.items.is_empty() && part.missing.is_empty());
        let text: String = (5..9).map(line).collect();
        fs::write(segment::path(folder.path(), 5), text).unwrap();
        assert_eq!(seqs(&feed.read(5, 9, ALL, |_| true).unwrap()), [5, 6, 7, 8]);
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let folder = log(&[0..50]);
        let even = |line: &[u8]| segment::seq_of(line).unwrap().is_multiple_of(2);
        let part = feed(&folder).read(3, 10, ALL, even).unwrap();
        assert_eq!((seqs(&part), part.next), (vec![4, 6, 8], 10));
        let part = feed(&folder).read(0, 50, ALL, |_| false).unwrap();
        assert_eq!((part.items.len(), part.next), (0, 50));
    }

    #[test]
    fn lines_of_others_are_no_records() {
        let folder = log(&[0..3]);
        let text = format!("{}rubbish\n{}{}", line(0), "x".repeat(3 * LINE_LIMIT), "\n");
        fs::write(segment::path(folder.path(), 0), text + &line(1) + &line(2)).unwrap();
        assert_eq!(read_all(&mut feed(&folder), 0, 3), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn the_origin_is_the_name_of_the_last_key() {
        let folder = TempDir::new().unwrap();
        assert_eq!(&*origin(folder.path()), "vspc-gateway");
        let keys = "a/old+00000000+AAAA\na/new+00000001+A+A=\n";
        fs::write(folder.path().join("verifier.keys"), keys).unwrap();
        assert_eq!(&*origin(folder.path()), "a/new");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_record_of_any_log_is_found(lengths in prop::collection::vec(1_u64..700, 1..5), at in 0.0..1.0) {
            let mut start = 0;
            let segments: Vec<_> = lengths.iter().map(|length| {
                start += length;
                start - length..start
            }).collect();
            let folder = log(&segments);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small log")]
            let from = (start as f64 * at) as u64;
            let (read, missing) = read_all(&mut feed(&folder), from, start);
            prop_assert_eq!(read, (from..start).collect::<Vec<_>>());
            prop_assert!(missing.is_empty());
        }
    }
}
