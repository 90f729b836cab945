//! What is known of requests whose process has died.

use super::*;

/// The directory as a kill -9 at this moment would leave it.
fn killed(directory: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    copy(directory, folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn flight(directory: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(directory.join("flight")).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

async fn request(auditor: &Auditor, client: &str) -> Entry {
    let mut entry = begin(auditor, client).await;
    entry.record().request_id = Some(RequestId::new(Clock::System.now()));
    entry.record().path = Some(format!("/api/v3/{client}"));
    entry
}

/// `kind:client:code` of the records of requests, in order.
fn requests(directory: &Path) -> Vec<String> {
    let outline = outline(directory).into_iter();
    outline
        .filter(|record| record.starts_with("intent:") || record.starts_with("request:"))
        .collect()
}

/// Starts and ends a process in order.
fn start(directory: &Path) -> Stats {
    let (auditor, writer) = open(directory);
    writer.close().unwrap();
    auditor.stats()
}

#[tokio::test]
async fn what_was_in_flight_at_a_kill_is_closed_as_unknown_once() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let mut read = request(&auditor, "read").await;
    read.note_in_flight().unwrap();
    let mut change = request(&auditor, "change").await;
    change.intend().await.unwrap();
    let unsent = request(&auditor, "unsent").await;
    let mut done = request(&auditor, "done").await;
    done.note_in_flight().unwrap();
    done.close(Code::Ok);
    until("written", || auditor.stats().in_flight == 2).await;
    let id = read.record().request_id.unwrap();

    let dead = killed(folder.path());
    let stats = start(dead.path());
    assert_eq!(stats.closed_unknown, 2);
    let expected = [
        "intent:change:-",
        "request:done:ok",
        "request:read:unknown",
        "request:change:unknown",
    ];
    assert_eq!(requests(dead.path()), expected);
    let closed = records(dead.path());
    let closed = closed
        .iter()
        .find(|record| record["request_id"] == id.as_str())
        .unwrap();
    assert_eq!(closed["kind"], "request");
    assert_eq!(closed["path"], "/api/v3/read");
    assert_eq!(closed.get("status"), Some(&Value::Null));
    assert!(closed["began"].as_str().unwrap() < closed["time"].as_str().unwrap());
    assert!(closed["detail"].as_str().unwrap().contains("ended before"));
    assert_eq!(flight(dead.path()), Vec::<PathBuf>::new());
    assert_eq!(start(dead.path()).closed_unknown, 0);
    assert_eq!(requests(dead.path()), expected);

    // Who outlives the log loses its outcome, but not its note.
    change.close(Code::Ok);
    writer.close().unwrap();
    assert_eq!(flight(folder.path()).len(), 1);
    drop((read, unsent, auditor));
    assert_eq!(start(folder.path()).closed_unknown, 1);
    let last = requests(folder.path()).pop().unwrap();
    assert_eq!(last, "request:read:unknown");
}

/// The kernel had the outcome, but the slot was not free yet when the process died; or who closed
/// its requests died before the file was deleted.
#[tokio::test]
async fn what_is_in_the_log_already_is_not_closed_again() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    for name in ["r1", "r2", "r3"] {
        request(&auditor, name).await.close(Code::Ok);
    }
    until("written", || auditor.stats().written == 3).await;
    let mut ended = request(&auditor, "ended").await;
    ended.intend().await.unwrap();
    let mut open_still = request(&auditor, "open").await;
    open_still.note_in_flight().unwrap();
    let before = killed(folder.path());
    ended.close(Code::Ok);
    until("written", || auditor.stats().in_flight == 1).await;
    let dead = killed(folder.path());
    fs::remove_dir_all(dead.path().join("flight")).unwrap();
    for _ in 0..3 {
        copy(&before.path().join("flight"), &dead.path().join("flight"));
        start(dead.path());
        let all = requests(dead.path());
        assert_eq!(
            all[3..],
            ["intent:ended:-", "request:ended:ok", "request:open:unknown"]
        );
    }
    drop(open_still);
    writer.close().unwrap();
}

/// The disk has all that was synced and nothing else; of the recorder whatever it has.
#[tokio::test]
async fn intents_that_a_loss_of_power_left_are_closed() {
    for recorder_is_kept in [true, false] {
        let folder = TempDir::new().unwrap();
        let (auditor, writer, script) = scripted(folder.path());
        let mut ended = request(&auditor, "ended").await;
        ended.intend().await.unwrap();
        let stale = killed(folder.path());
        ended.close(Code::Ok);
        let mut change = request(&auditor, "change").await;
        change.record().reason = Some("\u{202e}why".to_owned());
        change.intend().await.unwrap();
        let synced = script.get(|state| state.synced.clone());
        change.close(Code::Ok);
        until("written", || auditor.stats().queued == 0).await;

        let dead = killed(folder.path());
        for (from, to) in segments(folder.path()).iter().zip(segments(dead.path())) {
            let len = synced[&fs::metadata(from).unwrap().ino()];
            let file = fs::OpenOptions::new().write(true).open(to).unwrap();
            file.set_len(len).unwrap();
        }
        fs::remove_file(&flight(dead.path())[0]).unwrap();
        if recorder_is_kept {
            // What the disk has of it is from before the outcome.
            copy(&stale.path().join("flight"), &dead.path().join("flight"));
            let path = flight(dead.path()).remove(0);
            let mut bytes = fs::read(&path).unwrap();
            crate::audit::flight::on_another_machine(&mut bytes);
            fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(start(dead.path()).closed_unknown, 1);
        let expected = [
            "intent:ended:-",
            "request:ended:ok",
            "intent:change:-",
            "request:change:unknown",
        ];
        assert_eq!(requests(dead.path()), expected, "{recorder_is_kept}");
        let all = records(dead.path());
        let intent = all
            .iter()
            .find(|record| record["kind"] == "intent" && record["client"] == "change");
        let closed = all.iter().find(|record| record["code"] == "unknown");
        let (intent, closed) = (intent.unwrap(), closed.unwrap());
        assert_eq!(closed["began"], intent["time"]);
        for member in ["request_id", "client", "path", "reason"] {
            assert_eq!(closed[member], intent[member]);
        }
        start(dead.path());
        assert_eq!(requests(dead.path()), expected);
        writer.close().unwrap();
    }
}

#[tokio::test]
async fn who_shares_the_directory_closes_what_a_dead_process_left_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (one, one_writer) = open(folder.path());
    let mut left = request(&one, "left").await;
    left.intend().await.unwrap();
    let file = fs::read(&flight(folder.path())[0]).unwrap();
    left.close(Code::Ok);
    let mut living = request(&one, "living").await;
    living.intend().await.unwrap();
    let mut dies = request(&one, "dies").await;
    dies.note_in_flight().unwrap();
    let later = fs::read(&flight(folder.path())[0]).unwrap();
    until("written", || one.stats().in_flight == 2).await;

    let (other, other_writer) = open(folder.path());
    assert_eq!(flight(folder.path()).len(), 2);
    assert_eq!(other.stats().closed_unknown, 0, "all live");
    // It had `left` in flight, which is in the log, and is not told.
    fs::write(folder.path().join("flight/first.rec"), file).unwrap();
    until("swept", || flight(folder.path()).len() == 2).await;
    let unknown = || one.stats().closed_unknown + other.stats().closed_unknown;
    assert_eq!(unknown(), 0);
    fs::write(folder.path().join("flight/second.rec"), later).unwrap();
    until("closed", || unknown() == 2).await;
    drop((living, dies));
    one_writer.close().unwrap();
    other_writer.close().unwrap();
    assert_eq!(flight(folder.path()), Vec::<PathBuf>::new());
}

/// Whatever stands there: nobody is kept from starting, and nothing is destroyed.
#[tokio::test]
async fn files_that_are_no_recorders_are_told_and_set_aside() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let mut entry = request(&auditor, "r1").await;
    entry.note_in_flight().unwrap();
    let good = fs::read(&flight(folder.path())[0]).unwrap();
    entry.close(Code::Ok);
    writer.close().unwrap();
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let files = [
        ("empty.rec", Vec::new(), "less than its head"),
        ("random.rec", vec![0xa5; 300_000], "does not begin as"),
        ("version.rec", changed(8), "is of version 0"),
        ("slots.rec", changed(17), "its head is damaged"),
        ("short.rec", good[..good.len() - 1].to_vec(), "are not all"),
        ("slot.rec", changed(4130), "1 slots are damaged, 0 are good"),
    ];
    for (name, bytes, _) in &files {
        fs::write(folder.path().join("flight").join(name), bytes).unwrap();
    }
    fs::create_dir(folder.path().join("flight/folder.rec")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("flight/link.rec")).unwrap();
    start(folder.path());
    let told = records(folder.path());
    let told: Vec<_> = told
        .iter()
        .filter(|record| record["operation"] == "audit.flight_unreadable")
        .map(|record| record["detail"].as_str().unwrap())
        .collect();
    assert_eq!(told.len(), files.len(), "{told:#?}");
    for (name, bytes, why) in &files {
        let detail = told.iter().find(|detail| detail.contains(name)).unwrap();
        assert!(detail.contains(why), "{detail}");
        let kept = folder.path().join("flight").join(name);
        assert_eq!(&fs::read(kept.with_extension("unreadable")).unwrap(), bytes);
    }
    let count = records(folder.path()).len();
    start(folder.path());
    assert_eq!(records(folder.path()).len(), count, "told once");
}

/// Outcomes are still written; nothing is begun until notes can be taken again.
#[tokio::test]
async fn a_recorder_that_cannot_be_made_anew_refuses_until_it_can() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let mut entry = request(&auditor, "r1").await;
    entry.note_in_flight().unwrap();
    let place = folder.path().join("flight");
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "in the way").unwrap();
    until("refused", || auditor.health() != Health::Working).await;
    assert_eq!(auditor.begin().await.unwrap_err(), Unavailable::Disk);
    entry.close(Code::Ok);
    until("written", || auditor.stats().in_flight == 0).await;
    assert_eq!(requests(folder.path()), ["request:r1:ok"]);
    fs::remove_file(&place).unwrap();
    until("healed", || auditor.health() == Health::Working).await;
    request(&auditor, "r2").await.close(Code::Ok);
    writer.close().unwrap();
    let all = outline(folder.path());
    let count = |what: &str| all.iter().filter(|record| *record == what).count();
    assert_eq!(count("admin:audit.flight_lost"), 1, "{all:?}");
    assert_eq!(count("admin:audit.recovered"), 1, "{all:?}");
}

#[tokio::test]
async fn a_recorder_that_cannot_be_made_keeps_the_process_from_starting() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("flight"), "in the way").unwrap();
    let error = Auditor::open(settings(folder.path())).unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with("the flight recorder: cannot make"),
        "{told}"
    );
    assert!(told.contains("flight"), "{told}");
}

/// There are as many slots as places, and a place is held from before its slot is taken until
/// after it is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_a_place_has_a_slot() {
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        queue: 3,
        ..settings(folder.path())
    };
    let (auditor, writer) = Auditor::open(settings).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let auditor = auditor.clone();
        tasks.spawn(async move {
            for _ in 0..50 {
                let mut entry = request(&auditor, &format!("r{task}")).await;
                entry.note_in_flight().unwrap();
                tokio::task::yield_now().await;
                entry.close(Code::Ok);
            }
        });
    }
    tasks.join_all().await;
    writer.close().unwrap();
    let stats = auditor.stats();
    assert_eq!((stats.written, stats.in_flight), (800, 0));
}

/// Nothing that a buffered process sends waits for its writer.
#[tokio::test]
async fn buffered_intents_wait_for_nobody_and_survive_a_kill() {
    let folder = TempDir::new().unwrap();
    let script = Script::default();
    let settings = Settings {
        durability: Durability::Buffered,
        ..settings(folder.path())
    };
    let (auditor, writer) = Auditor::open_on(settings, Box::new(script.clone())).unwrap();
    script.set(|state| state.hold = true);
    let hurried = auditor.clone();
    let durable = tokio::spawn(async move { hurried.note_durable(Kind::Admin, &named("n")).await });
    until("the writer hangs", || script.get(|state| state.held) == 1).await;
    let mut change = request(&auditor, "change").await;
    change.intend().await.unwrap();
    let dead = killed(folder.path());
    script.set(|state| state.hold = false);
    durable.await.unwrap().unwrap();
    start(dead.path());
    assert_eq!(requests(dead.path()), ["request:change:unknown"]);
    drop(change);
    writer.close().unwrap();
    assert_eq!(
        requests(folder.path()),
        ["intent:change:-", "request:change:aborted"]
    );
}
