//! What the log does when the disk fails, or its writer.

use super::*;

async fn outcome_is_kept_and_intent_is_not(
    fail: impl Fn(&mut disk::State),
    heal: impl Fn(&mut disk::State),
) -> (TempDir, Script) {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    auditor
        .note_durable(Kind::Config, &named("before"))
        .await
        .unwrap();
    let done = begin(&auditor, "done").await;
    let mut refused = begin(&auditor, "refused").await;
    script.set(&fail);
    done.close(Code::Ok);
    assert_eq!(refused.intend().await, Err(Unavailable::Disk));
    assert!(matches!(auditor.health(), Health::Failing { .. }));
    assert_eq!(auditor.begin().await.unwrap_err(), Unavailable::Disk);
    assert_eq!(
        auditor.note(Kind::Token, &named("n")).await,
        Err(Unavailable::Disk)
    );
    refused.close(Code::Refused("audit_unavailable"));
    until("it was tried again", || auditor.stats().failures >= 2).await;
    script.set(&heal);
    until("it works again", || auditor.health() == Health::Working).await;
    let mut after = begin(&auditor, "after").await;
    after.intend().await.unwrap();
    after.close(Code::Ok);
    writer.close().unwrap();
    assert_eq!(auditor.shared.places.available_permits(), 4096);
    assert_eq!(auditor.stats().queued, 0);
    assert_eq!(
        outline(folder.path()),
        [
            "config:before:-",
            "request:done:ok",
            "request:refused:audit_unavailable",
            "admin:audit.recovered",
            "intent:after:-",
            "request:after:ok",
        ]
    );
    (folder, script)
}

#[tokio::test]
async fn a_full_disk_refuses_keeps_outcomes_and_recovers() {
    let (folder, _) = outcome_is_kept_and_intent_is_not(
        |state| state.fail_writes = true,
        |state| state.fail_writes = false,
    )
    .await;
    assert_eq!(segments(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_failed_write_that_cannot_be_cut_off_is_superseded() {
    let (folder, _) = outcome_is_kept_and_intent_is_not(
        |state| (state.fail_writes, state.fail_cuts) = (true, true),
        |state| state.fail_writes = false,
    )
    .await;
    assert_eq!(segments(folder.path()).len(), 2);
}

#[tokio::test]
async fn failing_syncs_of_old_and_new_files_refuse_until_one_works() {
    let (folder, _) = outcome_is_kept_and_intent_is_not(
        |state| state.fail_syncs = usize::MAX,
        |state| state.fail_syncs = 0,
    )
    .await;
    assert_eq!(segments(folder.path()).len(), 2);
    let old = fs::read_to_string(&segments(folder.path())[0]).unwrap();
    assert_eq!(old.lines().count(), 1, "unsynced lines were cut off");
}

#[tokio::test]
async fn a_file_whose_sync_failed_is_final_and_nobody_is_refused() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    auditor
        .note_durable(Kind::Config, &named("synced"))
        .await
        .unwrap();
    auditor.note(Kind::Config, &named("written")).await.unwrap();
    until("written", || auditor.stats().written == 2).await;
    script.set(|state| (state.fail_syncs, state.fail_cuts) = (1, true));
    let mut entry = begin(&auditor, "r").await;
    entry.intend().await.unwrap();
    drop(entry);
    writer.close().unwrap();
    assert_eq!(auditor.health(), Health::Working);
    let paths = segments(folder.path());
    assert!(
        paths[1].ends_with("00000000000000000001.jsonl"),
        "the first unsynced record"
    );
    assert_eq!(paths.len(), 2);
    assert_eq!(
        outline(folder.path()),
        [
            "config:synced:-",
            "config:written:-",
            "intent:r:-",
            "request:r:aborted"
        ]
    );
    // The old file could not be cut, yet what stands twice counts once for our own readers too.
    let tail = read::tail(folder.path(), 9).unwrap();
    assert_eq!(
        tail.lines.iter().map(|line| line.seq).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
}

#[tokio::test]
async fn a_sync_that_fails_before_any_record_is_durable_replaces_the_file() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    script.set(|state| state.fail_syncs = 1);
    auditor
        .note_durable(Kind::Config, &named("a"))
        .await
        .unwrap();
    auditor
        .note_durable(Kind::Config, &named("b"))
        .await
        .unwrap();
    writer.close().unwrap();
    assert_eq!(segments(folder.path()).len(), 1);
    assert_eq!(outline(folder.path()), ["config:a:-", "config:b:-"]);
}

#[tokio::test]
async fn a_writer_that_panics_fails_all_who_wait_for_good() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    let mut entry = begin(&auditor, "r").await;
    let other = begin(&auditor, "other").await;
    script.set(|state| state.panic = true);
    assert_eq!(entry.intend().await, Err(Unavailable::Disk));
    script.set(|state| state.panic = false);
    until("the end is seen", || auditor.shared.places.is_closed()).await;
    assert!(matches!(auditor.health(), Health::Failing { .. }));
    assert_eq!(auditor.begin().await.unwrap_err(), Unavailable::Disk);
    assert_eq!(entry.intend().await, Err(Unavailable::Disk));
    drop((entry, other));
    assert_eq!(auditor.stats().lost, 2);
    assert_eq!(writer.close(), Err(Unavailable::Disk));
    // The process can tell, and end.
    auditor.died().await;
}

#[tokio::test]
async fn closing_on_a_dead_disk_ends_and_says_so() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    script.set(|state| state.fail_writes = true);
    begin(&auditor, "r").await.close(Code::Ok);
    let closed = tokio::task::spawn_blocking(|| writer.close())
        .await
        .unwrap();
    assert_eq!(closed, Err(Unavailable::Disk));
    assert_eq!(auditor.stats().lost, 1);
}
