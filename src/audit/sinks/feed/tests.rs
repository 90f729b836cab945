#![expect(clippy::single_range_in_vec_init, reason = "a log of one segment")]

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::audit::tree::{Frontier, HASHES};

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
fn a_record_that_was_not_signed_is_neither_passed_on_nor_passed_over() {
    let folder = log(&[0..10]);
    let (mut frontier, mut hashes) = (Frontier::new(), Vec::new());
    for seq in 0..10 {
        let signed = if seq == 6 { line(60) } else { line(seq) };
        frontier.push(leaf(signed.trim_end().as_bytes()), &mut hashes);
    }
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    fs::write(folder.path().join(HASHES), bytes).unwrap();
    let mut feed = feed(&folder);
    let part = feed.read(0, 10, ALL, |_| true).unwrap();
    assert_eq!((seqs(&part), part.next), (vec![0, 1, 2, 3, 4, 5], 6));
    for _ in 0..2 {
        let error = feed.read(6, 10, ALL, |_| true).unwrap_err();
        assert!(error.to_string().contains("record 6"), "{error}");
    }
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
