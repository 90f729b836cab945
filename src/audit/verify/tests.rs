mod damage;
mod keys;
mod live;
pub(crate) mod world;

use std::fs;

use tempfile::TempDir;

use self::world::{World, lines, put};
use super::*;
use crate::audit::checkpoint;
use crate::audit::note::Signer;

fn harms(report: &Report) -> Vec<(Harm, Option<u64>)> {
    let all = report.damage.iter();
    all.map(|damage| (damage.harm, damage.first)).collect()
}

fn found(world: &World) -> Vec<(Harm, Option<u64>)> {
    harms(&world.verify())
}

#[test]
fn a_log_as_it_was_written_is_sound_and_its_figures_are_told() {
    let world = World::new();
    let report = world.verify();
    assert_eq!(harms(&report), []);
    assert_eq!((report.first, report.next), (0, world::RECORDS));
    assert_eq!(
        (report.records, report.covered),
        (world::RECORDS, world::RECORDS)
    );
    assert_eq!(report.checkpoints, 3 * world.signed());
    assert_eq!(report.second_place, Some(world.signed()));
    assert_eq!((report.uncovered, report.removed), (0, 0));
    assert_eq!(report.witnesses[0].size, world::RECORDS);
    assert_eq!(report.root, Some(world.root(world::RECORDS).to_string()));
    let bytes: u64 = world
        .segments()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(report.bytes, bytes);
}

#[test]
fn a_changed_byte_is_found_with_its_record_file_and_place() {
    let world = World::new();
    let path = &world.segments()[1];
    let mut bytes = fs::read(path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let line = text.split_inclusive('\n').nth(3).unwrap();
    let offset = text.find(line).unwrap();
    bytes[offset + line.len() - 5] ^= 1;
    fs::write(path, bytes).unwrap();
    let report = world.verify();
    let seq = world::SECOND + 3;
    assert_eq!(harms(&report), [(Harm::Altered, Some(seq))]);
    assert_eq!(report.damage[0].next, Some(seq + 1));
    assert_eq!(report.damage[0].file.as_ref(), Some(path));
    assert_eq!(report.damage[0].offset, Some(offset as u64));
    let text = report.damage[0].to_string();
    assert!(text.starts_with(&format!("record {seq}: ")), "{text}");
}

#[test]
fn deleted_swapped_repeated_and_foreign_lines_are_told_apart() {
    let world = World::new();
    let path = world.segments()[0].clone();
    let good = lines(&path);
    type Change = fn(&mut Vec<String>);
    type Expected = &'static [(Harm, Option<u64>)];
    let cases: [(Change, Expected); 8] = [
        (|all| drop(all.remove(5)), &[(Harm::Missing, Some(5))]),
        (|all| drop(all.drain(5..9)), &[(Harm::Missing, Some(5))]),
        (|all| all.swap(5, 6), &[(Harm::OutOfPlace, Some(5))]),
        (
            |all| all.swap(5, 20),
            &[
                (Harm::Missing, Some(5)),
                (Harm::OutOfPlace, Some(5)),
                (Harm::OutOfPlace, Some(20)),
                (Harm::Missing, Some(20)),
            ],
        ),
        (
            |all| all.insert(9, all[3].clone()),
            &[(Harm::OutOfPlace, Some(3))],
        ),
        (
            |all| all.insert(9, "hello".to_owned()),
            &[(Harm::Foreign, None)],
        ),
        (
            |all| all.insert(9, all[3].replace("client", "tenant")),
            &[(Harm::Foreign, None)],
        ),
        (
            |all| all[7] = all[7].replacen("\"seq\":7", "\"seq\":8", 1),
            &[(Harm::Altered, Some(7))],
        ),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let mut all = good.clone();
        change(&mut all);
        put(&path, &all);
        let mut found = found(&world);
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort();
        if index == 3 {
            // Where a record stands that belongs elsewhere, both places are named.
            assert!(
                found.iter().all(|it| [Some(5), Some(20)].contains(&it.1)),
                "{found:?}"
            );
            assert!(found.len() >= 2);
        } else {
            assert_eq!(found, expected, "{index}");
        }
    }
}

#[test]
fn a_cut_tail_and_an_older_copy_are_found_by_what_was_signed_elsewhere() {
    let world = World::new();
    let path = world.segments().pop().unwrap();
    let all = lines(&path);
    put(&path, &all[..all.len() - 3]);
    assert_eq!(found(&world), [(Harm::Missing, Some(world::RECORDS - 3))]);

    // The log as it was at an earlier time, whole and in order.
    let older = World::new();
    let newest = older.note(world::RECORDS);
    older.shorten(world::SECOND + 10);
    let sound = Options {
        second: None,
        ..older.options()
    };
    assert!(verify(&sound, |_| {}).unwrap().is_sound());
    let report = older.verify();
    assert!(!report.is_sound());
    let text: String = report.damage.iter().map(ToString::to_string).collect();
    assert!(text.contains("older copy"), "{text}");
    assert!(harms(&report).contains(&(Harm::Missing, Some(world::SECOND + 10))));

    let kept = Kept {
        path: "kept".into(),
        text: newest,
    };
    let options = Options {
        since: vec![kept],
        ..sound
    };
    assert!(!verify(&options, |_| {}).unwrap().is_sound());
}

#[test]
fn a_history_that_was_written_anew_does_not_fit_what_was_kept() {
    let world = World::new();
    let kept = Kept {
        path: "kept".into(),
        text: world.note(world::SECOND),
    };
    let path = world.segments()[0].clone();
    let mut all = lines(&path);
    all[4] = all[4].replace("client", "tenant");
    put(&path, &all);
    // By somebody who has the signing key.
    world.sign(world::RECORDS);
    let alone = Options {
        second: None,
        ..world.options()
    };
    fs::remove_file(world.path().join(checkpoint::COSIGNED)).unwrap();
    assert!(verify(&alone, |_| {}).unwrap().is_sound());
    let options = Options {
        since: vec![kept],
        ..alone
    };
    let report = verify(&options, |_| {}).unwrap();
    assert_eq!(harms(&report), [(Harm::Forked, None)]);
    assert_eq!(report.damage[0].file, Some("kept".into()));
    assert!(!world.verify().is_sound());
}

#[test]
fn a_segment_that_is_gone_is_missing_unless_the_log_tells_of_its_removal() {
    let world = World::new();
    let first = world.segments()[0].clone();
    let saved = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    let report = world.verify();
    assert_eq!(harms(&report), [(Harm::Missing, Some(0))]);
    assert_eq!(report.damage[0].next, Some(world::SECOND));

    fs::write(&first, saved).unwrap();
    world.append(&format!(
        r#""kind":"admin","operation":"audit.removed","range":{{"first":0,"next":{}}}"#,
        world::SECOND
    ));
    world.sign(world::RECORDS + 1);
    fs::remove_file(&first).unwrap();
    let report = world.verify();
    assert_eq!(harms(&report), []);
    assert_eq!(report.removed, world::SECOND);
    assert_eq!(report.records, world::RECORDS + 1 - world::SECOND);
    // What it does not tell of is missing all the same.
    fs::remove_file(&world.segments()[0]).unwrap();
    assert_eq!(found(&world), [(Harm::Missing, Some(world::SECOND))]);
}

/// Whoever has no key takes records out, and lets a line say that the log did.
#[test]
fn no_line_that_is_not_signed_tells_of_a_removal() {
    let removed = |seq: u64, range: std::ops::Range<u64>| {
        let range = format!(r#"{{"first":{},"next":{}}}"#, range.start, range.end);
        format!(r#"{{"seq":{seq},"kind":"admin","operation":"audit.removed","range":{range}}}"#)
    };
    // Where what a later file has counts, and at the log's end.
    for (file, seq) in [(0, 4_000_000_000), (2, world::RECORDS)] {
        let world = World::new();
        let paths = world.segments();
        let mut all = lines(&paths[0]);
        drop(all.remove(17));
        put(&paths[0], &all);
        let mut all = lines(&paths[file]);
        all.push(removed(seq, 17..18));
        put(&paths[file], &all);
        assert!(
            found(&world).contains(&(Harm::Missing, Some(17))),
            "{seq}: {:?}",
            found(&world)
        );

        let world = World::new();
        let paths = world.segments();
        let mut all = lines(&paths[2]);
        all.push(removed(world::RECORDS, 0..world::SECOND));
        put(&paths[2], &all);
        fs::remove_file(&paths[0]).unwrap();
        assert!(found(&world).contains(&(Harm::Missing, Some(0))));
    }
}

#[test]
fn a_file_of_the_largest_number_does_not_keep_it_busy_for_ever() {
    let world = World::new();
    fs::write(world.path().join(format!("{}.jsonl", u64::MAX)), "").unwrap();
    assert!(!world.verify().is_sound());
}

#[test]
fn what_was_cut_off_before_the_upper_limit_is_missing() {
    let world = World::new();
    let last = world.segments().pop().unwrap();
    let mut all = lines(&last);
    all.truncate(3);
    put(&last, &all);
    let options = Options {
        to: Some(world::RECORDS - 1),
        ..world.options()
    };
    assert!(!verify(&options, |_| {}).unwrap().is_sound());
}

#[test]
fn a_damaged_file_of_the_tree_is_told_from_damaged_records() {
    let world = World::new();
    let path = world.path().join(super::super::tree::HASHES);
    let good = fs::read(&path).unwrap();
    for index in [0, 1, 2, 40, good.len() / 32 - 1] {
        let mut bytes = good.clone();
        bytes[index * 32 + 7] ^= 4;
        fs::write(&path, bytes).unwrap();
        let report = world.verify();
        assert!(!report.is_sound(), "{index}");
        assert!(
            report.damage.iter().all(|it| it.harm == Harm::Tree),
            "{index} {report:?}"
        );
        assert_eq!(report.covered, world::RECORDS);
    }
    fs::write(&path, &good[..good.len() - 64]).unwrap();
    assert!(found(&world).iter().all(|it| it.0 == Harm::Tree));
    fs::remove_file(&path).unwrap();
    assert_eq!(found(&world), [(Harm::Tree, None)]);
}

#[test]
fn a_record_that_was_altered_together_with_the_tree_is_between_two_checkpoints() {
    let world = World::new();
    let path = world.segments()[0].clone();
    let mut all = lines(&path);
    all[20] = all[20].replace("client", "tenant");
    put(&path, &all);
    world.rebuild();
    let report = world.verify();
    let (harm, first) = harms(&report)[0];
    assert_eq!(harm, Harm::Mismatch);
    let damage = &report.damage[0];
    assert!(
        (first.unwrap()..damage.next.unwrap()).contains(&20),
        "{damage}"
    );
    assert!(
        damage.next.unwrap() - first.unwrap() <= world::EVERY,
        "{damage}"
    );
}

#[test]
fn checkpoints_by_other_keys_of_other_logs_and_with_wrong_signatures_are_named() {
    let world = World::new();
    let other = Signer::generate("other").unwrap();
    let text = world.checkpoint(7).text();
    let note = |signer: &Signer, text: &str| format!("{}\n", signer.sign(text).unwrap());
    let own = world.signer();
    for bad in [
        note(&other, &text),
        note(&own, &text.replacen("vspc", "wspc", 1)),
        note(&own, &text).replacen("\n7\n", "\n8\n", 1),
        "rubbish\n\n".to_owned(),
    ] {
        let path = world.notes();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{bad}{good}")).unwrap();
        let report = world.verify();
        assert_eq!(harms(&report), [(Harm::BadCheckpoint, None)], "{bad}");
        assert_eq!(
            (report.damage[0].file.as_ref(), report.damage[0].offset),
            (Some(&path), Some(0))
        );
        fs::write(&path, good).unwrap();
    }
    let options = Options {
        keys: vec![other.verifier().clone()],
        ..world.options()
    };
    assert!(!verify(&options, |_| {}).unwrap().is_sound());
}

#[test]
fn records_without_any_checkpoint_are_an_error_and_those_at_the_end_are_counted() {
    let world = World::new();
    world.append(r#""time":"2026-03-04T05:06:07.000000Z","kind":"admin""#);
    world.append(r#""time":"2026-03-04T05:06:08.000000Z","kind":"admin""#);
    let report = world.verify();
    assert_eq!((harms(&report), report.uncovered), (vec![], 2));
    world.append(r#""time":"2026-03-04T06:06:08.000000Z","kind":"admin""#);
    assert_eq!(found(&world), [(Harm::NoCheckpoints, Some(world::RECORDS))]);

    let bare = TempDir::new().unwrap();
    fs::copy(
        &world.segments()[0],
        bare.path().join("00000000000000000000.jsonl"),
    )
    .unwrap();
    let options = Options {
        directory: bare.path().to_owned(),
        second: None,
        ..world.options()
    };
    let report = verify(&options, |_| {}).unwrap();
    assert_eq!(harms(&report), [(Harm::NoCheckpoints, None)]);
    let empty = Options {
        directory: TempDir::new().unwrap().path().to_owned(),
        ..options
    };
    fs::create_dir(&empty.directory).unwrap();
    assert!(verify(&empty, |_| {}).unwrap().is_sound());
}

#[test]
fn a_line_that_nobody_finishes_is_told() {
    let world = World::new();
    let path = world.segments().pop().unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    let whole = text.len() as u64;
    text.push_str("{\"seq\":");
    fs::write(&path, text).unwrap();
    let report = world.verify();
    assert_eq!(harms(&report), [(Harm::Torn, None)]);
    assert_eq!(report.damage[0].offset, Some(whole));
}

#[test]
fn a_record_in_two_files_counts_in_the_later() {
    let world = World::new();
    let files = world.segments();
    let (first, second) = (&files[0], &files[1]);
    let mut all = lines(first);
    all.extend_from_slice(&lines(second)[..2]);
    all.push(r#"{"seq":9999,"never":"counted"}"#.to_owned());
    put(first, &all);
    let report = world.verify();
    assert_eq!((harms(&report), report.superseded), (vec![], 3));
    assert_eq!(report.records, world::RECORDS);
}

#[test]
fn a_part_is_verified_by_the_hashes_of_the_rest() {
    let world = World::new();
    let part = |from, to| {
        let options = Options {
            from,
            to,
            ..world.options()
        };
        verify(&options, |_| {}).unwrap()
    };
    let report = part(Some(world::SECOND), None);
    assert_eq!((harms(&report), report.first), (vec![], world::SECOND));
    assert_eq!(report.records, world::RECORDS - world::SECOND);
    let report = part(None, Some(3));
    assert_eq!((harms(&report), report.next), (vec![], world::SECOND));
    let path = world.segments()[0].clone();
    let mut all = lines(&path);
    all.swap(3, 4);
    put(&path, &all);
    assert!(part(Some(world::SECOND), None).is_sound());
    assert!(!part(None, Some(3)).is_sound());
}

#[test]
fn threads_and_their_number_make_no_difference() {
    let world = World::new();
    for threads in [1, 2, 7] {
        let options = Options {
            threads,
            ..world.options()
        };
        let mut last = (0, 0);
        let report = verify(&options, |done| last = done).unwrap();
        assert_eq!(harms(&report), []);
        assert_eq!(last, (report.bytes, report.bytes));
    }
}
