//! Two writers on one directory, and people who meddle with it. File locks belong to open files,
//! so two logs in one process exclude each other as two processes do.

use std::os::unix::fs::FileExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_leave_no_gap_and_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let logs = [open(folder.path()), open(folder.path())];
    let tasks: Vec<_> = (0..400)
        .map(|index| {
            let auditor = logs[index % 2].0.clone();
            tokio::spawn(async move {
                let mut entry = begin(&auditor, &format!("r{index}")).await;
                entry.intend().await.unwrap();
                entry.close(Code::Ok);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for (_, writer) in logs {
        writer.close().unwrap();
    }
    let found = outline(folder.path());
    let distinct: HashSet<&String> = found.iter().collect();
    assert_eq!((found.len(), distinct.len()), (800, 800));
    assert_eq!(segments(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_file_given_up_by_one_writer_is_left_by_the_other() {
    for synced in [true, false] {
        let folder = TempDir::new().unwrap();
        let (first, first_writer, script) = scripted(folder.path());
        let (second, second_writer) = open(folder.path());
        if synced {
            second
                .note_durable(Kind::Config, &named("s0"))
                .await
                .unwrap();
            first
                .note_durable(Kind::Config, &named("f0"))
                .await
                .unwrap();
        }
        second.note(Kind::Config, &named("s1")).await.unwrap();
        until("written", || {
            second.stats().written == 1 + u64::from(synced)
        })
        .await;
        // Fails as the first catches up with the second, whose record is then carried over.
        script.set(|state| (state.fail_syncs, state.fail_cuts) = (1, true));
        first
            .note_durable(Kind::Config, &named("f1"))
            .await
            .unwrap();
        second
            .note_durable(Kind::Config, &named("s2"))
            .await
            .unwrap();
        first
            .note_durable(Kind::Config, &named("f2"))
            .await
            .unwrap();
        first_writer.close().unwrap();
        second_writer.close().unwrap();
        let mut expected = vec!["config:s0:-", "config:f0:-"];
        expected.truncate(if synced { 2 } else { 0 });
        expected.extend(["config:s1:-", "config:f1:-", "config:s2:-", "config:f2:-"]);
        assert_eq!(outline(folder.path()), expected);
        assert_eq!(segments(folder.path()).len(), 1 + usize::from(synced));
    }
}

#[tokio::test]
async fn a_line_torn_by_a_writer_that_died_is_cut_by_the_other() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    auditor
        .note_durable(Kind::Config, &named("a"))
        .await
        .unwrap();
    append(
        folder.path(),
        "{\"seq\":1,\"kind\":\"config\",\"client\":\"b\"}\n{\"seq\":2,\"ti",
    );
    auditor
        .note_durable(Kind::Config, &named("c"))
        .await
        .unwrap();
    writer.close().unwrap();
    assert_eq!(
        outline(folder.path()),
        [
            "config:a:-",
            "config:b:-",
            "admin:audit.repaired",
            "config:c:-"
        ]
    );
}

#[tokio::test]
async fn foreign_lines_are_left_where_they_are_and_reported() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    auditor
        .note_durable(Kind::Config, &named("a"))
        .await
        .unwrap();
    append(folder.path(), "{\"seq\":7,\"forged\":true}\n");
    auditor
        .note_durable(Kind::Config, &named("b"))
        .await
        .unwrap();
    writer.close().unwrap();
    assert_eq!(
        outline(folder.path()),
        ["config:a:-", "admin:audit.file_damaged", "config:b:-"]
    );
    assert!(
        fs::read_to_string(&segments(folder.path())[0])
            .unwrap()
            .contains("forged")
    );
}

#[tokio::test]
async fn a_lost_file_is_noticed_and_a_new_one_goes_on() {
    type Meddle = fn(&Path);
    let cases: [(&str, Meddle); 4] = [
        ("audit.file_lost", |path| fs::remove_file(path).unwrap()),
        ("audit.file_lost", |path| {
            fs::rename(path, path.with_extension("old")).unwrap()
        }),
        ("audit.file_lost", |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        }),
        ("audit.file_truncated", |path| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(0)
                .unwrap();
        }),
    ];
    for (operation, meddle) in cases {
        let folder = TempDir::new().unwrap();
        let (auditor, writer) = open(folder.path());
        auditor
            .note_durable(Kind::Config, &named("synced"))
            .await
            .unwrap();
        auditor.note(Kind::Config, &named("written")).await.unwrap();
        until("written", || auditor.stats().written == 2).await;
        meddle(&segments(folder.path())[0]);
        auditor
            .note_durable(Kind::Config, &named("after"))
            .await
            .unwrap();
        writer.close().unwrap();
        let found: Vec<(u64, String)> = numbered(folder.path())
            .into_iter()
            .filter(|(seq, _)| *seq > 0)
            .map(|(seq, record)| (seq, format!("{}{}", record["client"], record["operation"])))
            .collect();
        let expected = [
            (1, "\"written\"null".to_owned()),
            (2, format!("null\"{operation}\"")),
            (3, "\"after\"null".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_lost_file_is_noticed_without_traffic() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    auditor
        .note_durable(Kind::Config, &named("a"))
        .await
        .unwrap();
    fs::remove_file(&segments(folder.path())[0]).unwrap();
    until("noticed", || auditor.stats().next_seq == 2).await;
    assert!(segments(folder.path())[0].ends_with("00000000000000000001.jsonl"));
    writer.close().unwrap();
}

#[tokio::test]
async fn a_deleted_lock_file_still_excludes() {
    let folder = TempDir::new().unwrap();
    let (first, first_writer) = open(folder.path());
    let (second, second_writer) = open(folder.path());
    for round in 0..5 {
        fs::remove_file(folder.path().join("lock")).unwrap();
        let (a, b) = (named(&format!("a{round}")), named(&format!("b{round}")));
        first.note_durable(Kind::Config, &a).await.unwrap();
        second.note_durable(Kind::Config, &b).await.unwrap();
    }
    first_writer.close().unwrap();
    second_writer.close().unwrap();
    assert_eq!(outline(folder.path()).len(), 10);
}

#[tokio::test]
async fn a_directory_that_vanished_refuses() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("audit");
    let (auditor, writer) = open(&directory);
    fs::rename(&directory, folder.path().join("elsewhere")).unwrap();
    let refused = auditor.note_durable(Kind::Config, &named("a")).await;
    assert_eq!(refused, Err(Unavailable::Disk));
    assert!(!directory.exists());
    fs::rename(folder.path().join("elsewhere"), &directory).unwrap();
    until("it works again", || auditor.health() == Health::Working).await;
    auditor
        .note_durable(Kind::Config, &named("b"))
        .await
        .unwrap();
    writer.close().unwrap();
    assert_eq!(outline(&directory), ["admin:audit.recovered", "config:b:-"]);
}

/// What a second process does to the last file.
fn append(directory: &Path, text: &str) {
    let path = segments(directory).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(text.as_bytes(), file.metadata().unwrap().len())
        .unwrap();
}
