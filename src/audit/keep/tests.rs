use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::retention::{due, remove};
use super::*;
use crate::audit::query::{Filter, Query, Scan, Step};
use crate::audit::{Auditor, Kind, Record, Settings, Writer, read, segment};
use crate::clock::{Clock, Timestamp};

const DAY: i64 = 24 * 3600 * 1_000_000;

/// A log of one record a day, each in a file of its own, with what belongs to the files.
fn log(days: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    for day in 0..days {
        let stamp = Timestamp(i64::try_from(day).unwrap() * DAY).text();
        let stamp = String::from_utf8(stamp.to_vec()).unwrap();
        let line = format!("{{\"seq\":{day},\"time\":\"{stamp}\",\"kind\":\"config\"}}\n");
        let path = segment::path(folder.path(), day);
        fs::write(&path, line).unwrap();
        fs::write(path.with_extension("notes"), "note").unwrap();
        fs::write(path.with_extension("index"), "index").unwrap();
    }
    folder
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_old_is_due_from_the_oldest_file_on() {
    let folder = log(5);
    let needs = |checkpoint: u64, sink: u64| {
        vec![
            ("checkpoint".to_owned(), checkpoint),
            ("syslog".to_owned(), sink),
        ]
    };
    for (days, needs, files, held) in [
        (0, needs(9, 9), &[][..], None),
        (2, needs(9, 9), &[0, 1], None),
        // The newest stays, however old it is.
        (99, needs(9, 9), &[0, 1, 2, 3], None),
        (3, needs(2, 9), &[0, 1], Some(("checkpoint", 1))),
        (3, needs(9, 0), &[], Some(("syslog", 3))),
        (1, needs(9, 1), &[0], None),
    ] {
        let due = due(folder.path(), Timestamp(days * DAY), &needs).unwrap();
        assert_eq!(due.files, files, "{days} {needs:?}");
        assert_eq!(due.range, 0..files.len() as u64);
        let held = held.map(|(name, files)| (name.to_owned(), files));
        assert_eq!(due.held, held, "{days} {needs:?}");
    }
}

#[test]
fn a_file_that_is_not_old_keeps_those_after_it() {
    let folder = log(4);
    let late = fs::read_to_string(segment::path(folder.path(), 3)).unwrap();
    fs::write(
        segment::path(folder.path(), 1),
        late.replace("\"seq\":3", "\"seq\":1"),
    )
    .unwrap();
    let due = due(folder.path(), Timestamp(3 * DAY), &[]).unwrap();
    assert_eq!((due.files, due.range), (vec![0], 0..1));
}

#[test]
fn what_belongs_to_a_file_goes_with_it_and_nothing_else() {
    let folder = log(4);
    for other in [
        "hashes",
        "lock",
        "signing.key",
        "00000000000000000001.index.77.new",
        "0.notes",
    ] {
        fs::write(folder.path().join(other), "x").unwrap();
    }
    remove(folder.path(), &[0, 1]).unwrap();
    // Another process was faster.
    remove(folder.path(), &[0, 1]).unwrap();
    assert_eq!(
        names(folder.path()),
        [
            "0.notes",
            "00000000000000000002.index",
            "00000000000000000002.jsonl",
            "00000000000000000002.notes",
            "00000000000000000003.index",
            "00000000000000000003.jsonl",
            "00000000000000000003.notes",
            "hashes",
            "lock",
            "signing.key",
        ]
    );
}

fn open(directory: &Path, now: &Arc<AtomicI64>, sinks: &[&str]) -> (Auditor, Writer, FileSettings) {
    let files = FileSettings {
        segment_size: 1,
        retention: Some(Duration::from_secs(2 * 24 * 3600)),
        sinks: sinks.iter().map(|name| (*name).to_owned()).collect(),
        ..FileSettings::default()
    };
    let (auditor, writer) = Auditor::open(Settings {
        queue: 64,
        admission: Duration::from_secs(5),
        clock: Clock::Manual(Arc::clone(now)),
        files: files.clone(),
        ..Settings::new(directory.to_owned())
    })
    .unwrap();
    (auditor, writer, files)
}

/// One pass, once all that is written is covered.
fn pass(directory: &Path, auditor: &Auditor, files: &FileSettings) -> Option<(String, u64)> {
    let shared = &auditor.shared;
    while *shared.covered.borrow() < shared.stats().next_seq || shared.stats().queued > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let retention = Retention::new(directory.to_owned(), files.clone(), Arc::clone(shared));
    retention.pass(&|time| {
        std::thread::sleep(time);
        false
    })
}

fn found(directory: &Path) -> Vec<Value> {
    let mut scan = Scan::new(directory, Query::default()).unwrap();
    let mut found = Vec::new();
    loop {
        match scan.step().unwrap() {
            Step::End => break,
            Step::Found(record) => found.push(serde_json::from_slice(record.json).unwrap()),
            Step::Working => {}
        }
    }
    assert_eq!(scan.damage(), [""; 0]);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_are_removed_after_a_record_of_it_and_readers_go_on() {
    let folder = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(1_700_000_000_000_000));
    let (auditor, writer, files) = open(folder.path(), &now, &["syslog"]);
    let mut follow = read::tail(folder.path(), 0).unwrap().follow;
    for day in 0..6 {
        let client = Some(format!("day {day}").into());
        let record = Record {
            client,
            ..Record::default()
        };
        auditor.note_durable(Kind::Config, &record).await.unwrap();
        now.fetch_add(DAY, Ordering::Relaxed);
    }
    // A scan and a follower that began before.
    let scan = Scan::new(folder.path(), Query::default()).unwrap();
    let first = follow.poll().unwrap();
    assert_eq!(first.first().unwrap().seq, 0);
    // The sink got the first two.
    assert_eq!(
        pass(folder.path(), &auditor, &files),
        Some(("syslog".to_owned(), 4))
    );
    assert_eq!(found(folder.path()).len(), 6);
    fs::create_dir(folder.path().join("sinks")).unwrap();
    fs::write(folder.path().join("sinks/syslog.offset"), "2\n").unwrap();
    assert_eq!(
        pass(folder.path(), &auditor, &files),
        Some(("syslog".to_owned(), 2))
    );
    let removed = |record: &Value| record["operation"] == "audit.removed";
    let left = found(folder.path());
    assert_eq!(left.first().unwrap()["seq"], 2);
    let record = left.iter().find(|record| removed(record)).unwrap();
    assert_eq!(record["kind"], "admin");
    assert_eq!(record["range"], serde_json::json!({"first": 0, "next": 2}));
    fs::write(folder.path().join("sinks/syslog.offset"), "99\n").unwrap();
    assert_eq!(pass(folder.path(), &auditor, &files), None);
    assert_eq!(found(folder.path()).first().unwrap()["seq"], 4);
    // Nothing is due: nothing is written.
    let count = found(folder.path()).len();
    assert_eq!(pass(folder.path(), &auditor, &files), None);
    assert_eq!(found(folder.path()).len(), count);

    let mut scan = scan;
    while !matches!(scan.step().unwrap(), Step::End) {}
    assert_eq!(scan.damage(), [""; 0]);
    let mut seqs = Vec::new();
    loop {
        let lines = follow.poll().unwrap();
        if lines.is_empty() {
            break;
        }
        seqs.extend(lines.iter().map(|line| line.seq));
    }
    let last = found(folder.path()).last().unwrap()["seq"]
        .as_u64()
        .unwrap();
    assert_eq!(seqs.last(), Some(&last));
    assert!(seqs.is_sorted());
    let tail = read::tail(folder.path(), 100).unwrap();
    assert_eq!(tail.lines.first().unwrap().seq, 4);
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_files_are_indexed_while_the_log_is_written() {
    let folder = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(1_700_000_000_000_000));
    let (auditor, writer, _) = open(folder.path(), &now, &[]);
    for _ in 0..3 {
        auditor
            .note_durable(Kind::Config, &Record::default())
            .await
            .unwrap();
    }
    let wait = async {
        while auditor.kept().files < 3 || !index::path(folder.path(), 1).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
    let newest = segment::list(folder.path()).unwrap().pop().unwrap();
    assert!(!index::path(folder.path(), newest).exists());
    let mut scan = Scan::new(
        folder.path(),
        Query {
            filter: Filter {
                client: vec!["nobody".parse().unwrap()],
                ..Filter::default()
            },
            ..Query::default()
        },
    )
    .unwrap();
    while !matches!(scan.step().unwrap(), Step::End) {}
    assert_eq!(scan.found(), 0);
    writer.close().unwrap();
}
