//! Which files are read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Bound, Filter, Order, Reach};
use crate::audit::segment;
use crate::clock::Timestamp;

/// How far a clock may have been set back, in microseconds, without a record being overlooked: a
/// day is more than any error of a time zone.
const SET_BACK: i64 = 24 * 3600 * 1_000_000;

/// A file of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    /// Its first record.
    pub(super) first: u64,
    /// The first record of the file after it.
    pub(super) end: Option<u64>,
    /// When it began, if its first line says so.
    began: Option<Timestamp>,
}

impl Span {
    /// A file by its first record and the first of the file after it.
    #[cfg(test)]
    pub(super) fn new(first: u64, end: Option<u64>) -> Self {
        let began = None;
        Self { first, end, began }
    }
}

/// The files to be read, in the order of reading, and the bytes that they have.
pub(super) fn plan(
    directory: &Path,
    filter: &Filter,
    order: Order,
    reach: Reach,
) -> io::Result<(Vec<Span>, u64)> {
    let firsts = segment::list(directory)?;
    let by_time = reach == Reach::Usual && (filter.since.is_some() || filter.until.is_some());
    let mut spans: Vec<Span> = firsts
        .iter()
        .enumerate()
        .map(|(index, first)| Span {
            first: *first,
            end: firsts.get(index + 1).copied(),
            began: by_time.then(|| began(directory, *first)).flatten(),
        })
        .collect();
    if spans.iter().filter_map(|span| span.began).is_sorted() {
        leave_out_by_time(&mut spans, filter);
    }
    spans.retain(|span| {
        let is_before = filter
            .from_seq
            .is_some_and(|from| span.end.is_some_and(|end| end <= from));
        let is_after = filter.to_seq.is_some_and(|to| span.first > to);
        !is_before && !is_after
    });
    if order == Order::NewestFirst {
        spans.reverse();
    }
    let sizes = spans
        .iter()
        .filter_map(|span| fs::metadata(segment::path(directory, span.first)).ok());
    let total = sizes.map(|file| file.len()).sum();
    Ok((spans, total))
}

/// Leaves out files whose records are all too old or too new. Stamps have the order of the numbers
/// as long as nobody sets the clock: files that begin in another order show that somebody did, then
/// this is not called; and what is not out of the times by more than [`SET_BACK`] is kept.
fn leave_out_by_time(spans: &mut Vec<Span>, filter: &Filter) {
    let ends: Vec<_> = spans
        .iter()
        .skip(1)
        .map(|span| span.began)
        .chain([None])
        .collect();
    let mut ends = ends.into_iter();
    spans.retain(|span| {
        let end = ends.next().flatten();
        let is_old =
            |since: Bound| end.is_some_and(|end| end.0.saturating_add(SET_BACK) < since.at.0);
        let is_new = |until: Bound| {
            span.began
                .is_some_and(|began| began.0.saturating_sub(SET_BACK) >= until.at.0)
        };
        !filter.since.is_some_and(is_old) && !filter.until.is_some_and(is_new)
    });
}

/// The stamp of a file's first line. What is not known leaves nothing out.
fn began(directory: &Path, first: u64) -> Option<Timestamp> {
    let file = File::open(segment::path(directory, first)).ok()?;
    let mut start = [0; segment::STAMP_WITHIN];
    let read = file.read_at(&mut start, 0).ok()?;
    segment::stamp(start.get(..read)?)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Files that begin with these records at these hours of a month; none is a file without records.
    fn log(files: &[(u64, Option<i64>)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (first, hour) in files {
            let line = hour.map(|hour| {
                let stamp =
                    String::from_utf8(Timestamp(hour * 3_600_000_000).text().to_vec()).unwrap();
                format!("{{\"seq\":{first},\"time\":\"{stamp}\",\"kind\":\"admin\"}}\n")
            });
            fs::write(
                segment::path(folder.path(), *first),
                line.unwrap_or_default(),
            )
            .unwrap();
        }
        folder
    }

    fn planned(log: &TempDir, filter: &Filter, reach: Reach) -> Vec<u64> {
        let (mut spans, total) = plan(log.path(), filter, Order::NewestFirst, reach).unwrap();
        spans.reverse();
        assert_eq!(
            spans,
            plan(log.path(), filter, Order::OldestFirst, reach)
                .unwrap()
                .0
        );
        let sizes = spans.iter().map(|span| {
            fs::metadata(segment::path(log.path(), span.first))
                .unwrap()
                .len()
        });
        assert_eq!(total, sizes.sum::<u64>());
        spans.iter().map(|span| span.first).collect()
    }

    fn within(since: Option<i64>, until: Option<i64>) -> Filter {
        let hour = |hour: i64| Timestamp(hour * 3_600_000_000).into();
        Filter {
            since: since.map(hour),
            until: until.map(hour),
            ..Filter::default()
        }
    }

    #[test]
    fn files_outside_the_numbers_are_not_read() {
        let log = log(&[(0, Some(0)), (10, Some(1)), (20, Some(2))]);
        for (from, to, expected) in [
            (None, None, &[0, 10, 20][..]),
            (Some(9), None, &[0, 10, 20]),
            (Some(10), None, &[10, 20]),
            (Some(99), None, &[20]),
            (None, Some(9), &[0]),
            (None, Some(10), &[0, 10]),
            (Some(10), Some(19), &[10]),
        ] {
            let filter = Filter {
                from_seq: from,
                to_seq: to,
                ..Filter::default()
            };
            assert_eq!(
                planned(&log, &filter, Reach::Usual),
                expected,
                "{from:?} {to:?}"
            );
        }
    }

    #[test]
    fn files_outside_the_times_by_more_than_a_day_are_not_read() {
        let log = log(&[
            (0, Some(0)),
            (10, Some(100)),
            (20, Some(200)),
            (30, Some(300)),
        ]);
        for (since, until, expected) in [
            (Some(124), None, &[0, 10, 20, 30][..]),
            (Some(125), None, &[10, 20, 30]),
            (Some(999), None, &[30]),
            (None, Some(277), &[0, 10, 20, 30]),
            (None, Some(276), &[0, 10, 20]),
            (None, Some(0), &[0]),
            (Some(225), Some(230), &[20]),
        ] {
            let filter = within(since, until);
            assert_eq!(
                planned(&log, &filter, Reach::Usual),
                expected,
                "{since:?} {until:?}"
            );
            assert_eq!(planned(&log, &filter, Reach::AllFiles), [0, 10, 20, 30]);
        }
    }

    #[test]
    fn nothing_is_left_out_by_time_once_a_clock_was_set_back_or_a_stamp_is_unknown() {
        let late = within(Some(999), None);
        let back = log(&[
            (0, Some(0)),
            (10, Some(500)),
            (20, Some(200)),
            (30, Some(300)),
        ]);
        assert_eq!(planned(&back, &late, Reach::Usual), [0, 10, 20, 30]);
        let unknown = log(&[(0, Some(0)), (10, None), (20, Some(200))]);
        assert_eq!(planned(&unknown, &late, Reach::Usual), [0, 20]);
        assert_eq!(
            planned(&unknown, &within(None, Some(0)), Reach::Usual),
            [0, 10]
        );
    }
}
