//! Segments that follow one another, by one writer and by two.

use std::sync::atomic::{AtomicI64, Ordering as AtomicOrdering};

use super::*;

fn small(directory: &Path, segment_size: u64) -> Settings {
    let mut settings = settings(directory);
    settings.files.segment_size = segment_size;
    settings
}

/// Every record of every file: each file begins with the record that it is named by, has the next
/// ones without a gap, and ends where the next file begins.
fn all(directory: &Path) -> Vec<Value> {
    let mut records = Vec::new();
    for path in segments(directory) {
        let first: usize = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(first, records.len(), "{}", path.display());
        for line in fs::read_to_string(&path).unwrap().split_inclusive('\n') {
            let record: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
            assert_eq!(record["seq"], records.len());
            records.push(record);
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_loses_doubles_and_disorders_nothing() {
    for writers in [1, 2] {
        let folder = TempDir::new().unwrap();
        let logs: Vec<_> = (0..writers)
            .map(|_| Auditor::open(small(folder.path(), 4096)).unwrap())
            .collect();
        let mut every = tokio::time::interval(Duration::from_millis(1));
        let mut tasks = Vec::new();
        for index in 0..1000 {
            every.tick().await;
            let auditor = logs[index % writers].0.clone();
            tasks.push(tokio::spawn(async move {
                let mut entry = begin(&auditor, &format!("r{index}")).await;
                entry.intend().await.unwrap();
                entry.close(Code::Ok);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for (_, writer) in logs {
            writer.close().unwrap();
        }
        let records = all(folder.path());
        assert!(segments(folder.path()).len() > 20);
        let place = |id: &str, kind: &str| {
            let mut places = records
                .iter()
                .enumerate()
                .filter(|(_, record)| record["client"] == id && record["kind"] == kind);
            let (at, _) = places.next().unwrap();
            assert!(places.next().is_none(), "{kind} of {id} stands there twice");
            at
        };
        for index in 0..1000 {
            let id = format!("r{index}");
            assert!(place(&id, "intent") < place(&id, "request"));
        }
        assert_eq!(records.len(), 2000);
    }
}

#[tokio::test]
async fn a_segment_ends_when_its_first_record_is_old() {
    let folder = TempDir::new().unwrap();
    let micros = Arc::new(AtomicI64::new(1_700_000_000_000_000));
    let mut settings = settings(folder.path());
    settings.clock = Clock::Manual(Arc::clone(&micros));
    settings.files.segment_time = Duration::from_secs(3600);
    let minute = |minutes: i64| {
        let at = 1_700_000_000_000_000 + minutes * 60_000_000;
        micros.store(at, AtomicOrdering::Relaxed);
    };
    let (auditor, writer) = Auditor::open(settings.clone()).unwrap();
    // The last but one is a clock that was set back.
    for (index, at) in [0, 59, 60, 61, 30, 120].into_iter().enumerate() {
        minute(at);
        let id = format!("r{index}");
        auditor
            .note_durable(Kind::Config, &named(&id))
            .await
            .unwrap();
    }
    writer.close().unwrap();
    let firsts = || -> Vec<u64> { segment::list(folder.path()).unwrap() };
    assert_eq!(firsts(), [0, 2, 5]);
    // An idle log ends its segment too, but begins no second one without a record.
    minute(500);
    let (auditor, writer) = Auditor::open(settings).unwrap();
    until("rotated", || firsts() == [0, 2, 5, 6]).await;
    minute(1000);
    auditor
        .note_durable(Kind::Config, &named("r6"))
        .await
        .unwrap();
    writer.close().unwrap();
    assert_eq!(firsts(), [0, 2, 5, 6]);
    assert_eq!(all(folder.path()).len(), 7);
}

#[tokio::test]
async fn what_a_segment_holds_is_durable_before_the_next_begins() {
    let folder = TempDir::new().unwrap();
    let script = Script::default();
    let (auditor, writer) =
        Auditor::open_on(small(folder.path(), 1), Box::new(script.clone())).unwrap();
    auditor.note(Kind::Config, &named("r0")).await.unwrap();
    until("written", || auditor.stats().written == 1).await;
    let old = fs::metadata(&segments(folder.path())[0]).unwrap();
    auditor.note(Kind::Config, &named("r1")).await.unwrap();
    until("rotated", || segments(folder.path()).len() == 2).await;
    assert_eq!(script.get(|state| state.synced[&old.ino()]), old.len());
    // A sync that fails begins a segment by itself.
    until("written", || auditor.stats().written == 2).await;
    script.set(|state| state.fail_syncs = 1);
    auditor
        .note_durable(Kind::Config, &named("r2"))
        .await
        .unwrap();
    writer.close().unwrap();
    let found = outline(folder.path());
    assert_eq!(found, ["config:r0:-", "config:r1:-", "config:r2:-"]);
}

#[tokio::test]
async fn a_writer_follows_another_over_several_segments() {
    let folder = TempDir::new().unwrap();
    let (first, first_writer) = Auditor::open(small(folder.path(), 1)).unwrap();
    let (second, second_writer) = open(folder.path());
    second
        .note_durable(Kind::Config, &named("s0"))
        .await
        .unwrap();
    for index in 0..5 {
        let id = format!("f{index}");
        first.note_durable(Kind::Config, &named(&id)).await.unwrap();
    }
    second
        .note_durable(Kind::Config, &named("s1"))
        .await
        .unwrap();
    first_writer.close().unwrap();
    second_writer.close().unwrap();
    let ids: Vec<_> = all(folder.path())
        .iter()
        .map(|record| record["client"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["s0", "f0", "f1", "f2", "f3", "f4", "s1"]);
    // Closing, too, begins a file where the newest is full.
    assert_eq!(segments(folder.path()).len(), 7);
}
