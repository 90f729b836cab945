use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const MEGABYTE: u64 = 1024 * 1024;

fn file(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

/// Offset and text of each line that is found, and the offsets of those that cannot be read, if a
/// file is read in parts of so many bytes.
fn read(file: &Arc<File>, len: u64, part: u64) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
    let sought = Sought::new(Filter::default());
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let mut start = 0;
    while start < len {
        let job = Job {
            file: Arc::clone(file),
            span: Span::new(0, None),
            place: start..len.min(start + part),
            len,
            known: None,
            buffer: vec![7; 3],
        };
        let base = start.saturating_sub(1);
        let done = job.run(&sought).unwrap();
        for (_, place) in &done.found {
            found.push((
                base + place.start as u64,
                done.buffer[place.clone()].to_vec(),
            ));
        }
        unreadable.extend(done.seen.iter().filter_map(|seen| match seen {
            Seen::Unreadable(offset) => Some(*offset),
            Seen::Records(_) => None,
        }));
        assert!(done.buffer.len() <= part as usize + LINE_LIMIT + 2 * MORE);
        start += part;
    }
    (found, unreadable)
}

fn line(seq: usize, length: usize) -> Vec<u8> {
    let start = format!("{{\"seq\":{seq},\"x\":\"");
    let fill = length.saturating_sub(start.len() + 2);
    format!("{start}{}\"}}\n", "x".repeat(fill)).into_bytes()
}

#[test]
fn lines_are_found_whole_and_once_whatever_their_length_and_the_parts() {
    let limit = LINE_LIMIT;
    for lengths in [
        &[][..],
        &[30],
        &[100, 100, 100],
        &[999, 1, 999],
        &[1000, 1000, 30],
        &[limit, limit + 1, limit, 30],
        &[30, limit + 2 * MORE, 30],
        &[limit + MORE - 1, limit + MORE, limit + MORE + 1],
        &[4 * limit],
        &[4 * limit, 4 * limit, 30],
    ] {
        let lines: Vec<Vec<u8>> = lengths
            .iter()
            .enumerate()
            .map(|(seq, len)| line(seq, *len))
            .collect();
        let content = lines.concat();
        let (mut expected, mut too_long, mut at) = (Vec::new(), Vec::new(), 0);
        for line in &lines {
            if line.len() - 1 > limit {
                too_long.push(at);
            } else {
                expected.push((at, line.len() - 1));
            }
            at += line.len() as u64;
        }
        let file = file(&content);
        for part in [1000, 1001, MEGABYTE - 1, MEGABYTE] {
            if content.len() as u64 / part > 9000 {
                continue;
            }
            let (found, unreadable) = read(&file, content.len() as u64, part);
            let found: Vec<_> = found.iter().map(|(at, line)| (*at, line.len())).collect();
            assert_eq!(found, expected, "{lengths:?} in {part}");
            assert_eq!(unreadable, too_long, "{lengths:?} in {part}");
        }
    }
}

#[test]
fn what_was_taken_back_is_the_end() {
    let content = [line(0, 40), line(1, 40)].concat();
    let file = file(&content);
    file.set_len(60).unwrap();
    assert_eq!(
        read(&file, 82, 1000),
        (vec![(0, line(0, 40)[..40].to_vec())], vec![])
    );
    assert_eq!(
        read(&file, 82, 50),
        (vec![(0, line(0, 40)[..40].to_vec())], vec![])
    );
    file.set_len(0).unwrap();
    assert_eq!(read(&file, 82, 30), (vec![], vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn parts_of_any_size_find_the_same(lengths in prop::collection::vec(20..200_usize, 0..60), part in 1..500_u64) {
        let content: Vec<u8> = lengths.iter().enumerate().flat_map(|(seq, len)| line(seq, *len)).collect();
        let file = file(&content);
        let len = content.len() as u64;
        prop_assert_eq!(read(&file, len, part), read(&file, len, MEGABYTE));
    }
}
