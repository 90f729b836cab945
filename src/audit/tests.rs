pub(super) mod disk;
mod failures;
mod flight;
mod handover;
mod mended;
mod once;
mod rotate;
mod shared;
pub(super) mod tree;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use self::disk::Script;
use super::*;

fn settings(directory: &Path) -> Settings {
    Settings {
        queue: 4096,
        admission: Duration::from_secs(5),
        ..Settings::new(directory.to_owned())
    }
}

fn open(directory: &Path) -> (Auditor, Writer) {
    Auditor::open(settings(directory)).unwrap()
}

fn scripted(directory: &Path) -> (Auditor, Writer, Script) {
    let script = Script::default();
    let (auditor, writer) =
        Auditor::open_on(settings(directory), Box::new(script.clone())).unwrap();
    (auditor, writer, script)
}

fn named(id: &str) -> Record {
    Record {
        client: Some(id.into()),
        ..Record::default()
    }
}

async fn begin(auditor: &Auditor, id: &str) -> Entry {
    let mut entry = auditor.begin().await.unwrap();
    entry.record().client = Some(id.into());
    entry
}

/// Waits for what no future tells.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    paths.sort();
    paths
}

/// All records by the rule for readers: what stands in two segments counts in the later one. Only
/// a file that was given up may end in half a line.
fn numbered(directory: &Path) -> BTreeMap<u64, Value> {
    let mut records = BTreeMap::new();
    let paths = segments(directory);
    for path in &paths {
        let first: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        records.retain(|seq, _| *seq < first);
        for line in fs::read_to_string(path).unwrap().split_inclusive('\n') {
            if !line.ends_with('\n') {
                assert_ne!(Some(path), paths.last());
                continue;
            }
            let record: Value = serde_json::from_str(line).unwrap();
            records.insert(record["seq"].as_u64().unwrap(), record);
        }
    }
    records
}

/// All records, which must have no gap.
fn records(directory: &Path) -> Vec<Value> {
    let records = numbered(directory);
    let expected: Vec<u64> = (0..records.len() as u64).collect();
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), expected);
    records.into_values().collect()
}

/// `kind:request_id:code`, or `kind:operation` for events.
fn outline(directory: &Path) -> Vec<String> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
    records(directory)
        .iter()
        .map(|record| match record["client"].as_str() {
            Some(id) => format!("{}:{id}:{}", text(record, "kind"), text(record, "code")),
            None => format!("{}:{}", text(record, "kind"), text(record, "operation")),
        })
        .collect()
}

#[tokio::test]
async fn an_entry_leaves_its_intent_and_its_outcome() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let mut entry = begin(&auditor, "r1").await;
    entry.record().path = Some("/api/v3/users".to_owned());
    entry.intend().await.unwrap();
    entry.intend().await.unwrap();
    entry.record().status = Some(201);
    entry.close(Code::Ok);
    begin(&auditor, "r2")
        .await
        .close(Code::Refused("tenant_denied"));
    writer.close().unwrap();

    assert_eq!(
        outline(folder.path()),
        ["intent:r1:-", "request:r1:ok", "request:r2:tenant_denied"]
    );
    let records = records(folder.path());
    assert_eq!(records[0]["path"], "/api/v3/users");
    assert_eq!(records[0].get("status"), None);
    assert_eq!(records[1]["status"], 201);
    assert!(records[1]["duration_us"].is_u64());
    assert_eq!(records[2].get("status"), Some(&Value::Null));
    assert_eq!(auditor.stats().next_seq, 3);
    assert_eq!((auditor.stats().written, auditor.stats().queued), (3, 0));
}

#[tokio::test]
async fn dropped_and_panicked_entries_end_as_aborted() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    drop(begin(&auditor, "dropped").await);
    let entry = begin(&auditor, "panicked").await;
    let task = tokio::spawn(async move {
        let _entry = entry;
        panic!("a handler's fault");
    });
    assert!(task.await.unwrap_err().is_panic());
    writer.close().unwrap();
    assert_eq!(
        outline(folder.path()),
        ["request:dropped:aborted", "request:panicked:aborted"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_intents_share_few_syncs_and_each_is_durable_when_told() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    let before = script.get(|state| state.syncs);
    script.set(|state| state.hold = true);
    let path = segments(folder.path()).remove(0);
    let inode = fs::metadata(&path).unwrap().ino();
    let tasks: Vec<_> = (0..1000)
        .map(|index| {
            let (auditor, script, path) = (auditor.clone(), script.clone(), path.clone());
            tokio::spawn(async move {
                let mut entry = begin(&auditor, &format!("r{index}")).await;
                entry.intend().await.unwrap();
                let synced = script.get(|state| state.synced[&inode]);
                let durable = fs::read(path).unwrap()[..usize::try_from(synced).unwrap()].to_vec();
                let needle = format!("\"intent\",\"client\":\"r{index}\"");
                assert!(String::from_utf8(durable).unwrap().contains(&needle));
                entry.close(Code::Ok);
            })
        })
        .collect();
    // The first sync is held until all are queued; then one more is enough.
    until("all queued", || auditor.stats().queued == 1000).await;
    until("the first held", || script.get(|state| state.held) == 1).await;
    script.set(|state| state.hold = false);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(script.get(|state| state.syncs) - before <= 10);
    writer.close().unwrap();
    assert_eq!(records(folder.path()).len(), 2000);
}

#[tokio::test]
async fn buffered_intents_need_no_sync() {
    let folder = TempDir::new().unwrap();
    let script = Script::default();
    let settings = Settings {
        durability: Durability::Buffered,
        ..settings(folder.path())
    };
    let (auditor, writer) = Auditor::open_on(settings, Box::new(script.clone())).unwrap();
    script.set(|state| state.hold = true);
    let mut entry = begin(&auditor, "r1").await;
    entry.intend().await.unwrap();
    until("written", || auditor.stats().written == 1).await;
    assert_eq!(outline(folder.path()), ["intent:r1:-"]);
    script.set(|state| state.hold = false);
    drop(entry);
    writer.close().unwrap();
}

#[tokio::test]
async fn written_records_are_synced_within_about_a_second() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    let before = script.get(|state| state.syncs);
    auditor.note(Kind::Token, &named("n")).await.unwrap();
    until("written", || auditor.stats().written == 1).await;
    assert_eq!(script.get(|state| state.syncs), before);
    until("synced", || script.get(|state| state.syncs) > before).await;
    writer.close().unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        queue: 2,
        admission: Duration::from_millis(5),
        reconcile: Default::default(),
        ..settings(folder.path())
    };
    let (auditor, writer) = Auditor::open(settings).unwrap();
    let first = begin(&auditor, "first").await;
    let mut second = begin(&auditor, "second").await;
    assert_eq!(auditor.begin().await.unwrap_err(), Unavailable::QueueFull);
    let refused = auditor.note(Kind::Token, &named("n")).await;
    assert_eq!(refused, Err(Unavailable::QueueFull));
    assert_eq!(auditor.stats().refused, 2);
    second.intend().await.unwrap();
    first.close(Code::Ok);
    until("the place is free", || {
        auditor.shared.places.available_permits() == 1
    })
    .await;
    begin(&auditor, "third").await.close(Code::Ok);
    second.close(Code::Ok);
    until("all is written", || {
        auditor.shared.places.available_permits() == 2
    })
    .await;
    writer.close().unwrap();
    let found: HashSet<String> = outline(folder.path()).into_iter().collect();
    let expected = [
        "intent:second:-",
        "request:first:ok",
        "request:second:ok",
        "request:third:ok",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn closing_writes_and_syncs_all_and_then_refuses() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    let late = begin(&auditor, "late").await;
    for index in 0..100 {
        begin(&auditor, &format!("r{index}")).await.close(Code::Ok);
    }
    writer.close().unwrap();
    assert_eq!(records(folder.path()).len(), 100);
    let file = fs::metadata(&segments(folder.path())[0]).unwrap();
    assert_eq!(script.get(|state| state.synced[&file.ino()]), file.len());
    assert_eq!(auditor.begin().await.unwrap_err(), Unavailable::Closed);
    drop(late);
    assert_eq!(auditor.stats().lost, 1);
}

#[test]
fn the_directory_and_files_are_the_owner_s_alone() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("a/b");
    drop(open(&directory));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("lock")), 0o600);
    assert_eq!(mode(&directory.join("00000000000000000000.jsonl")), 0o600);
}

#[tokio::test]
async fn a_torn_last_line_is_repaired_at_every_byte() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    auditor.note(Kind::Config, &named("first")).await.unwrap();
    auditor
        .note(Kind::Config, &named("second é"))
        .await
        .unwrap();
    writer.close().unwrap();
    let whole = fs::read(&segments(folder.path())[0]).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;

    for end in second..whole.len() {
        let folder = TempDir::new().unwrap();
        fs::write(
            folder.path().join("00000000000000000000.jsonl"),
            &whole[..end],
        )
        .unwrap();
        let (auditor, writer) = open(folder.path());
        auditor.note(Kind::Config, &named("third")).await.unwrap();
        writer.close().unwrap();
        let mut expected = vec![
            "config:first:-",
            "admin:audit.repaired",
            "admin:audit.tree_begun",
            "config:third:-",
        ];
        if end == second {
            expected.remove(1);
        } else {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &whole[second..end]);
            let detail = records(folder.path())[1]["detail"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(
                detail.contains(&format!(": {} bytes", end - second)),
                "{detail}"
            );
            assert!(
                detail.ends_with(&format!("sha256:{}", hex::encode(hash))),
                "{detail}"
            );
        }
        assert_eq!(outline(folder.path()), expected, "cut at {end}");
    }
}

#[tokio::test]
async fn a_file_with_nothing_but_a_torn_line_starts_anew() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("00000000000000000000.jsonl"),
        "{\"seq\":0,\"ti",
    )
    .unwrap();
    drop(open(folder.path()));
    assert_eq!(outline(folder.path()), ["admin:audit.repaired"]);
}

#[test]
fn a_last_line_that_is_no_record_is_named() {
    for (content, offset) in [
        ("nonsense\n", 0),
        ("{\"seq\":0,\"a\":1}\n{\"seq\":x}\n", 16),
        ("{\"seq\":0,\"a\":1}\n\n", 16),
        ("{\"seq\":0,\"a\":1}\n{\"seq\":1,\"a\n", 16),
        ("{\"seq\":01,\"a\":1}\n", 0),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("00000000000000000000.jsonl");
        fs::write(&path, content).unwrap();
        let error = Auditor::open(settings(folder.path())).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { offset: at, .. } if at == offset),
            "{error}"
        );
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Auditor::open(settings(&path.join("audit")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("file/audit") && error.contains("[audit] directory"),
        "{error}"
    );
}

#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let folder = TempDir::new().unwrap();
    for round in 0..3 {
        let (auditor, writer) = open(folder.path());
        assert_eq!(auditor.stats().next_seq, round);
        auditor
            .note_durable(Kind::Admin, &named("n"))
            .await
            .unwrap();
        drop(writer);
    }
    assert_eq!(records(folder.path()).len(), 3);
    assert_eq!(segments(folder.path()).len(), 1);
}
