//! What becomes of finished files, and of the second place, while the log is written.

use std::io::Write as _;

use super::*;
use crate::audit::checkpoint::Notes;
use crate::audit::keep::retention::remove;
use crate::audit::keep::watch::Watch;

/// A log of several files, with a watch that has seen them.
async fn watched(directory: &Path) -> (Auditor, Writer, Watch) {
    let (auditor, writer) = Auditor::open(small(directory)).unwrap();
    // Several files with checkpoints: the newest of these are the writer's to look after.
    for part in 0..3 {
        for index in 0..12 {
            let record = named(&format!("r{part}-{index}"));
            auditor.note_durable(Kind::Config, &record).await.unwrap();
        }
        let next = auditor.stats().next_seq;
        until("it is covered", || auditor.stats().covered >= next).await;
    }
    assert!(segments(directory).len() > 4);
    let mut watch = Watch::new(directory.to_owned(), Arc::clone(&auditor.shared));
    watch.look();
    watch.look();
    assert_eq!(watch.damaged(), 0);
    (auditor, writer, watch)
}

fn small(directory: &Path) -> Settings {
    let mut settings = settings(directory);
    settings.files.segment_size = 512;
    settings
}

/// The events of a log that tell of meddling, with what they say.
fn alarms(directory: &Path) -> Vec<(String, String)> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let files = segments(directory)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let text_of_all: String = files.collect();
    let records = text_of_all
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = records.filter(|record| record["kind"] == "admin");
    events
        .map(|event| (text(&event, "operation"), text(&event, "detail")))
        .collect()
}

#[tokio::test]
async fn a_finished_file_that_is_meddled_with_is_told_once() {
    type Meddling = fn(&Path);
    let cases: [(Meddling, &str, &str, &str); 5] = [
        (
            |path| fs::remove_file(path).unwrap(),
            "jsonl",
            "audit.file_lost",
            "was deleted or moved",
        ),
        (
            |path| {
                let copy = path.with_extension("copy");
                fs::copy(path, &copy).unwrap();
                fs::rename(copy, path).unwrap();
            },
            "jsonl",
            "audit.file_lost",
            "was replaced",
        ),
        (
            |path| {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(100).unwrap();
            },
            "jsonl",
            "audit.file_truncated",
            "has 100 bytes, not",
        ),
        (
            |path| {
                let file = fs::OpenOptions::new().append(true).open(path);
                file.unwrap().write_all(b"{}\n").unwrap();
            },
            "jsonl",
            "audit.file_damaged",
            "was written to",
        ),
        (
            |path| fs::remove_file(path).unwrap(),
            "notes",
            "audit.checkpoints_lost",
            "was deleted or moved",
        ),
    ];
    for (meddle, extension, operation, what) in cases {
        let folder = TempDir::new().unwrap();
        let (auditor, writer, mut watch) = watched(folder.path()).await;
        // The second file is one with checkpoints as well as the first; the newest is not touched.
        let notes = |path: &&PathBuf| path.with_extension("notes").exists();
        let paths = segments(folder.path());
        let (_, finished) = paths.split_last().unwrap();
        let path = finished.iter().find(notes).unwrap();
        let path = path.with_extension(extension);
        meddle(&path);
        for _ in 0..3 {
            watch.look();
            watch.compare();
        }
        assert_eq!(watch.damaged(), 1, "{operation}");
        assert_eq!(auditor.health(), Health::Working);
        auditor
            .note_durable(Kind::Config, &named("after"))
            .await
            .unwrap();
        writer.close().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let told = alarms(folder.path());
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, operation);
        assert!(
            told[0].1.contains(name) && told[0].1.contains(what),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_comes_back_is_no_damage_any_more_and_a_strange_one_is() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, mut watch) = watched(folder.path()).await;
    let path = segments(folder.path()).remove(1);
    let away = folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    watch.compare();
    assert_eq!(watch.damaged(), 1);
    fs::rename(&away, &path).unwrap();
    watch.compare();
    assert_eq!(watch.damaged(), 0);

    // By the rule for readers its lines would count in place of those of the file before it.
    let strange = folder.path().join(format!("{:020}.jsonl", 1));
    fs::write(&strange, "{\"seq\":1}\n").unwrap();
    watch.look();
    watch.look();
    assert_eq!(watch.damaged(), 1);
    fs::remove_file(&strange).unwrap();
    watch.compare();
    assert_eq!(watch.damaged(), 0);
    drop(auditor);
    writer.close().unwrap();
    let operations: Vec<_> = alarms(folder.path()).into_iter().map(|it| it.0).collect();
    assert_eq!(operations, ["audit.file_lost", "audit.file_foreign"]);
}

#[tokio::test]
async fn rotation_and_removal_by_anybody_are_no_damage() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, mut watch) = watched(folder.path()).await;
    // Another process of an upgrade rotates, and removes old files as retention does.
    let (other, other_writer) = Auditor::open(small(folder.path())).unwrap();
    for index in 0..20 {
        let record = named(&format!("o{index}"));
        other.note_durable(Kind::Config, &record).await.unwrap();
        watch.look();
    }
    let firsts = segment::list(folder.path()).unwrap();
    let (gone, next) = (&firsts[..2], firsts[2]);
    let removal = Record {
        range: Some(0..next),
        ..Record::event("audit.removed", "2 files".to_owned())
    };
    other.note_durable(Kind::Admin, &removal).await.unwrap();
    remove(folder.path(), gone).unwrap();
    watch.look();
    watch.compare();
    assert_eq!(watch.damaged(), 0);
    // What no record tells of is not excused by it.
    fs::remove_file(segment::path(folder.path(), next)).unwrap();
    watch.compare();
    assert_eq!(watch.damaged(), 1);
    other_writer.close().unwrap();
    writer.close().unwrap();
    drop(auditor);
    let operations: Vec<_> = alarms(folder.path()).into_iter().map(|it| it.0).collect();
    assert_eq!(operations, ["audit.removed", "audit.file_lost"]);
}

#[tokio::test]
async fn a_second_place_that_is_meddled_with_is_told_before_it_is_written_to_again() {
    type Meddling = fn(&Path);
    let cases: [(Meddling, &str); 3] = [
        (
            |path| fs::remove_file(path).unwrap(),
            "was deleted or moved",
        ),
        (|path| fs::write(path, "").unwrap(), "has 0 bytes, not"),
        (
            |path| {
                let len = fs::read(path).unwrap().len();
                fs::write(path, vec![b'\n'; len]).unwrap();
            },
            "has no more what was written",
        ),
    ];
    for (meddle, what) in cases {
        let folder = TempDir::new().unwrap();
        let (directory, file) = (folder.path().join("audit"), folder.path().join("second"));
        let mut settings = settings(&directory);
        settings.tree.checkpoints = Some(file.clone());
        let (auditor, writer) = Auditor::open(settings).unwrap();
        auditor.note(Kind::Config, &named("a")).await.unwrap();
        let has = |size: u64| {
            let mut notes = Notes::in_file(&file).flatten();
            notes.any(|it| it.checkpoint.size >= size)
        };
        until("it is written", || has(1)).await;
        meddle(&file);
        // Without traffic: it is looked at now and then.
        until("it is told", || auditor.stats().alarms == 1).await;
        // The record of it is the second, and the first checkpoint that is written covers it.
        until("it goes on", || has(2)).await;
        let told = alarms(&directory);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, "audit.second_place_lost");
        assert!(told[0].1.contains(what), "{told:?}");
        writer.close().unwrap();
        assert_eq!(auditor.stats().alarms, 1);
        assert_eq!(alarms(&directory).len(), 1);
    }
}
