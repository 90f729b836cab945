//! The tree and its checkpoints, as the writer keeps them. Judged by `tlog_tiles` and
//! `signed_note`, which are others' work.

use std::io::Write as _;

use signed_note::{Note as TheirNote, VerifierList};
use tlog_tiles::{Hash, HashReader, check_tree, prove_tree, stored_hashes, tree_hash};

use super::*;
use crate::audit::checkpoint::{Checkpoint, Notes};
use crate::audit::tree::HASHES;

/// The tree over lines, by the other implementation.
#[derive(Default)]
pub(in crate::audit) struct Judge(Vec<Hash>);

impl HashReader for Judge {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = |index: &u64| self.0.get(usize::try_from(*index).unwrap()).copied();
        let all: Option<Vec<_>> = indexes.iter().map(read).collect();
        all.ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

impl Judge {
    pub(in crate::audit) fn over<'a>(lines: impl IntoIterator<Item = &'a str>) -> (Self, u64) {
        let mut judge = Self::default();
        let mut size = 0;
        for line in lines {
            let added = stored_hashes(size, line.as_bytes(), &judge).unwrap();
            judge.0.extend(added);
            size += 1;
        }
        (judge, size)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.0).collect()
    }
}

/// The lines of all records, by the rule for readers.
pub(in crate::audit) fn lines(directory: &Path) -> Vec<String> {
    let mut lines = BTreeMap::new();
    for path in segments(directory) {
        let first: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        lines.retain(|seq, _| *seq < first);
        for line in fs::read_to_string(path).unwrap().split_inclusive('\n') {
            let parsed = serde_json::from_str::<Value>(line);
            if let (Some(whole), Ok(record)) = (line.strip_suffix('\n'), parsed) {
                let seq = record["seq"].as_u64().unwrap();
                if seq == lines.len() as u64 {
                    lines.insert(seq, whole.to_owned());
                }
            }
        }
    }
    lines.into_values().collect()
}

/// All checkpoints of a directory, verified by the other implementation and by its own keys.
pub(in crate::audit) fn checkpoints(directory: &Path) -> Vec<Checkpoint> {
    let keys = fs::read_to_string(directory.join("verifier.keys")).unwrap();
    let verifiers = || -> Vec<Box<dyn signed_note::Verifier>> {
        let key = |line: &str| {
            Box::new(signed_note::StandardVerifier::new(line).unwrap())
                as Box<dyn signed_note::Verifier>
        };
        // It takes no key twice, such as one that was taken up again.
        let once: HashSet<&str> = keys.lines().collect();
        once.into_iter().map(key).collect()
    };
    Notes::of(directory)
        .unwrap()
        .map(|signed| {
            let text = signed.unwrap().note.to_string();
            let note = TheirNote::from_bytes(text.as_bytes()).unwrap();
            let (valid, _) = note.verify(&VerifierList::new(verifiers())).unwrap();
            assert_eq!(valid.len(), 1);
            let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
            assert_eq!(theirs.origin(), valid[0].name());
            Checkpoint {
                origin: theirs.origin().to_owned(),
                size: theirs.size(),
                root: *theirs.hash(),
            }
        })
        .collect()
}

/// The tree is over the lines, every checkpoint was one of it, and the last covers all.
pub(in crate::audit) fn assert_proven(directory: &Path) {
    let lines = lines(directory);
    let (judge, size) = Judge::over(lines.iter().map(String::as_str));
    let root = tree_hash(size, &judge).unwrap();
    let checkpoints = checkpoints(directory);
    assert_eq!(
        checkpoints.last().map(|last| (last.size, last.root)),
        Some((size, root))
    );
    let mut before = None;
    for checkpoint in checkpoints {
        assert!(Some(checkpoint.size) > before, "sizes grow");
        before = Some(checkpoint.size);
        assert_eq!(tree_hash(checkpoint.size, &judge).unwrap(), checkpoint.root);
        if checkpoint.size > 0 {
            let proof = prove_tree(size, checkpoint.size, &judge).unwrap();
            check_tree(&proof, size, root, checkpoint.size, checkpoint.root).unwrap();
        }
    }
    let stored = fs::read(directory.join(HASHES)).unwrap();
    let expected = judge.bytes();
    assert!(
        stored.get(..expected.len()) == Some(&expected[..]),
        "hashes"
    );
}

async fn note(auditor: &Auditor, id: &str) {
    auditor
        .note_durable(Kind::Config, &named(id))
        .await
        .unwrap();
}

/// A log with some records, closed.
async fn filled(directory: &Path, records: usize) {
    filled_by(settings(directory), records).await;
}

async fn filled_by(settings: Settings, records: usize) {
    let (auditor, writer) = Auditor::open(settings).unwrap();
    for index in 0..records {
        auditor
            .note(Kind::Config, &named(&format!("r{index}")))
            .await
            .unwrap();
    }
    writer.close().unwrap();
}

fn refused(settings: Settings) -> OpenError {
    Auditor::open(settings).unwrap_err()
}

fn with_second(directory: &Path, file: &Path) -> Settings {
    Settings {
        tree: TreeSettings {
            checkpoints: Some(file.to_owned()),
            ..TreeSettings::default()
        },
        ..settings(directory)
    }
}

#[tokio::test]
async fn a_checkpoint_that_was_broken_off_in_the_second_place_is_taken_out() {
    let folder = TempDir::new().unwrap();
    let (directory, file) = (folder.path().join("audit"), folder.path().join("second"));
    for cut in [1, 30, 130] {
        filled_by(with_second(&directory, &file), 3).await;
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        filled_by(with_second(&directory, &file), 3).await;
        let notes: Vec<_> = Notes::in_file(&file).collect();
        assert!(
            !notes.is_empty() && notes.iter().all(Result::is_ok),
            "{notes:?}"
        );
    }
}

#[tokio::test]
async fn a_second_place_that_was_emptied_is_told() {
    let folder = TempDir::new().unwrap();
    let (directory, file) = (folder.path().join("audit"), folder.path().join("second"));
    let told = || {
        let told = "admin:audit.second_place_empty".to_owned();
        outline(&directory).iter().filter(|it| **it == told).count()
    };
    filled_by(with_second(&directory, &file), 3).await;
    filled_by(with_second(&directory, &file), 3).await;
    assert_eq!(told(), 0);
    fs::remove_file(&file).unwrap();
    filled_by(with_second(&directory, &file), 3).await;
    assert_eq!(told(), 1);
}

/// The disk may have later pages and not the earlier: nothing of that was promised to anybody.
#[tokio::test]
async fn pages_that_a_loss_of_power_took_cost_what_is_behind_them() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 3).await;
    let path = segment::path(folder.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"seq\":3,\"kind\":\"config\",\"client\":\"kept\"}\n");
    bytes.extend_from_slice(&[0; 200]);
    bytes.extend_from_slice(b"\n{\"seq\":5,\"kind\":\"config\",\"client\":\"lost\"}\n");
    fs::write(&path, bytes).unwrap();
    filled(folder.path(), 1).await;
    let found = outline(folder.path());
    let expected = ["config:kept:-", "admin:audit.repaired", "config:r0:-"];
    assert_eq!(found[3..], expected, "{found:?}");
}

#[tokio::test]
async fn a_closed_log_is_covered_by_its_last_checkpoint() {
    let folder = TempDir::new().unwrap();
    for records in [0, 1, 7, 300] {
        filled(folder.path(), records).await;
        assert_proven(folder.path());
    }
    let mode = fs::metadata(folder.path().join("signing.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys = fs::read_to_string(folder.path().join("verifier.keys")).unwrap();
    assert_eq!(keys.lines().count(), 1);
    assert!(keys.starts_with("vspc-gateway/"), "{keys}");
}

#[tokio::test]
async fn records_are_covered_within_a_second_or_256() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let mut covered = auditor.covered();
    assert_eq!(*covered.borrow_and_update(), 0);
    auditor.note(Kind::Config, &named("a")).await.unwrap();
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), covered.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*covered.borrow_and_update(), 1);
    assert!(begun.elapsed() > Duration::from_millis(500), "not at once");
    assert_eq!(auditor.stats().uncovered_for, Duration::ZERO);
    let begun = Instant::now();
    for index in 0..256 {
        auditor
            .note(Kind::Config, &named(&format!("r{index}")))
            .await
            .unwrap();
    }
    covered.changed().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    assert!(*covered.borrow() > 1);
    writer.close().unwrap();
    assert_eq!(*covered.borrow(), 257);
    assert_proven(folder.path());
}

#[tokio::test]
async fn what_is_covered_is_on_the_disk() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer, script) = scripted(folder.path());
    let mut covered = auditor.covered();
    let inode = fs::metadata(&segments(folder.path())[0]).unwrap().ino();
    for index in 0..3 {
        auditor
            .note(Kind::Config, &named(&format!("r{index}")))
            .await
            .unwrap();
        covered.changed().await.unwrap();
        let synced = script.get(|state| state.synced[&inode]);
        let file = fs::read(&segments(folder.path())[0]).unwrap();
        let durable = &file[..usize::try_from(synced).unwrap()];
        let records = durable.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(*covered.borrow_and_update() <= records);
    }
    writer.close().unwrap();
}

#[tokio::test]
async fn a_damaged_file_of_the_tree_is_built_anew() {
    type Meddle = fn(&Path);
    let cases: [(&str, Meddle); 4] = [
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("short", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(500).unwrap();
        }),
        ("empty", |path| fs::write(path, "").unwrap()),
        ("wrong", |path| {
            let len = fs::metadata(path).unwrap().len();
            fs::write(path, vec![7; usize::try_from(len).unwrap()]).unwrap();
        }),
    ];
    for (name, meddle) in cases {
        let folder = TempDir::new().unwrap();
        filled(folder.path(), 100).await;
        meddle(&folder.path().join(HASHES));
        filled(folder.path(), 1).await;
        let outline = outline(folder.path());
        assert_eq!(outline[100], "admin:audit.tree_rebuilt", "{name}");
        assert_eq!(outline.len(), 102, "{name}");
        assert_proven(folder.path());
    }
}

#[tokio::test]
async fn a_log_of_an_older_version_gets_its_tree() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 5).await;
    let old = TempDir::new().unwrap();
    let from = &segments(folder.path())[0];
    fs::copy(from, old.path().join(from.file_name().unwrap())).unwrap();
    filled(old.path(), 1).await;
    assert_eq!(outline(old.path())[5], "admin:audit.tree_begun");
    assert_proven(old.path());
    assert_eq!(checkpoints(old.path())[0].size, 5);
    filled(old.path(), 1).await;
    assert_eq!(outline(old.path()).len(), 8, "once only");
}

#[tokio::test]
async fn a_tree_cannot_be_begun_anew_by_deleting_what_proves_it() {
    let delete = |directory: &Path, names: &[&str]| {
        for name in names {
            fs::remove_file(directory.join(name)).unwrap();
        }
    };
    let notes = "00000000000000000000.notes";
    for (names, expected) in [
        (&[notes][..], "CheckpointsLost"),
        (&[notes, "hashes"], "CheckpointsLost"),
        (&[notes, "verifier.keys"], "CheckpointsLost"),
        (&["signing.key", "verifier.keys"], "Foreign"),
        (&["signing.key", "verifier.keys", "hashes"], "Foreign"),
    ] {
        let folder = TempDir::new().unwrap();
        filled(folder.path(), 5).await;
        delete(folder.path(), names);
        let error = refused(settings(folder.path()));
        assert!(
            format!("{error:?}").starts_with(expected),
            "{names:?}: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("audit verify") && text.contains("[audit] checkpoints"),
            "{text}"
        );
    }
    // What can be had again from the rest is.
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 5).await;
    delete(folder.path(), &["verifier.keys", "hashes"]);
    filled(folder.path(), 1).await;
    assert_proven(folder.path());
    assert_eq!(outline(folder.path())[5], "admin:audit.tree_rebuilt");
}

#[tokio::test]
async fn a_lost_key_is_replaced_and_old_checkpoints_stay_valid() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 5).await;
    fs::remove_file(folder.path().join("signing.key")).unwrap();
    filled(folder.path(), 1).await;
    assert_eq!(outline(folder.path())[5], "admin:audit.key_changed");
    assert_proven(folder.path());
    let keys = fs::read_to_string(folder.path().join("verifier.keys")).unwrap();
    assert_eq!(keys.lines().count(), 2);
}

#[tokio::test]
async fn the_configuration_gives_key_and_origin() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 1).await;
    let key = folder.path().join("key");
    fs::rename(folder.path().join("signing.key"), &key).unwrap();
    let own = || Settings {
        tree: TreeSettings {
            origin: Some("example.com/audit".to_owned()),
            signing_key: Some(crate::secret::SecretSource::File(key.clone())),
            ..TreeSettings::default()
        },
        ..settings(folder.path())
    };
    filled_by(own(), 1).await;
    assert_proven(folder.path());
    assert_eq!(
        checkpoints(folder.path()).last().unwrap().origin,
        "example.com/audit"
    );
    assert!(!folder.path().join("signing.key").exists());
    fs::write(&key, "PRIVATE+KEY+nonsense").unwrap();
    let error = refused(own()).to_string();
    assert!(
        error.contains("key") && !error.contains("nonsense"),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_that_was_cut_is_not_opened() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 10).await;
    let path = &segments(folder.path())[0];
    let text = fs::read_to_string(path).unwrap();
    let cut: String = text.split_inclusive('\n').take(8).collect();
    fs::write(path, cut).unwrap();
    let error = refused(settings(folder.path()));
    assert!(
        matches!(
            error,
            OpenError::RolledBack {
                next: 8,
                size: 10,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    // Nor is one whose file is gone altogether.
    fs::remove_file(path).unwrap();
    let error = refused(settings(folder.path()));
    assert!(
        matches!(
            error,
            OpenError::RolledBack {
                next: 0,
                size: 10,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_record_that_was_changed_is_named() {
    for tree in [true, false] {
        let folder = TempDir::new().unwrap();
        filled(folder.path(), 10).await;
        let path = &segments(folder.path())[0];
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"r4\"", "\"rX\"")).unwrap();
        if !tree {
            // The root is of no use any more; the leaves still are.
            let mut hashes = fs::read(folder.path().join(HASHES)).unwrap();
            let at = hashes.len() - 1;
            hashes[at] ^= 1;
            let peak = usize::try_from(tlog_tiles::stored_hash_index(3, 0)).unwrap() * 32;
            hashes[peak] ^= 1;
            fs::write(folder.path().join(HASHES), hashes).unwrap();
        }
        let error = refused(settings(folder.path()));
        assert!(
            matches!(
                error,
                OpenError::Rewritten {
                    seq: Some(4),
                    size: 10,
                    ..
                }
            ),
            "{tree} {error:?}"
        );
        let said = error.to_string();
        assert!(
            said.contains(path.to_str().unwrap()) && said.contains("audit verify"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_older_copy_put_back_shows_by_the_second_place() {
    let folder = TempDir::new().unwrap();
    let (directory, file) = (folder.path().join("audit"), folder.path().join("second"));
    let own = || with_second(&directory, &file);
    filled_by(own(), 3).await;
    let copy: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    filled_by(own(), 3).await;
    for (path, content) in &copy {
        fs::write(path, content).unwrap();
    }
    let error = refused(own());
    assert!(
        matches!(
            error,
            OpenError::RolledBack {
                next: 3,
                size: 6,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
    // All deleted: the second place still knows.
    fs::remove_dir_all(&directory).unwrap();
    let error = refused(own());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn lost_checkpoints_are_had_from_the_second_place() {
    let folder = TempDir::new().unwrap();
    let (directory, file) = (folder.path().join("audit"), folder.path().join("second"));
    filled_by(with_second(&directory, &file), 3).await;
    fs::remove_file(directory.join("00000000000000000000.notes")).unwrap();
    // A copy of it that was cut in the middle of a note changes nothing.
    let mut second = fs::OpenOptions::new().append(true).open(&file).unwrap();
    second.write_all(b"vspc-gateway/0\n99").unwrap();
    filled_by(with_second(&directory, &file), 3).await;
    assert_proven(&directory);
    let theirs: Vec<_> = Notes::in_file(&file)
        .flatten()
        .map(|it| it.checkpoint.size)
        .collect();
    assert_eq!(theirs.last(), Some(&6));
}

#[tokio::test]
async fn a_second_place_that_fails_holds_up_nothing_and_is_retried() {
    let folder = TempDir::new().unwrap();
    let (directory, file) = (
        folder.path().join("audit"),
        folder.path().join("away/second"),
    );
    let (auditor, writer) = Auditor::open(with_second(&directory, &file)).unwrap();
    note(&auditor, "a").await;
    until("it is told", || auditor.stats().second_place_failing).await;
    assert_eq!(auditor.health(), Health::Working);
    fs::create_dir(folder.path().join("away")).unwrap();
    until("it works again", || !auditor.stats().second_place_failing).await;
    writer.close().unwrap();
    let theirs = Notes::in_file(&file).map(Result::unwrap).last().unwrap();
    assert_eq!(theirs.checkpoint, *checkpoints(&directory).last().unwrap());
}

#[tokio::test]
async fn a_torn_checkpoint_is_cut_off() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 3).await;
    let path = folder.path().join("00000000000000000000.notes");
    let whole = fs::read(&path).unwrap();
    let last = Notes::in_file(&path).map(Result::unwrap).last().unwrap();
    let begin = usize::try_from(last.offset).unwrap();
    for end in [begin + 1, begin + 30, whole.len() - 40, whole.len() - 1] {
        fs::write(&path, &whole[..end]).unwrap();
        filled(folder.path(), 1).await;
        assert_proven(folder.path());
        let outline = outline(folder.path());
        assert_eq!(outline[outline.len() - 2], "admin:audit.repaired", "{end}");
    }
}

#[tokio::test]
async fn a_foreign_checkpoint_raises_an_alarm_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    note(&auditor, "a").await;
    let path = folder.path().join("00000000000000000000.notes");
    let signer = fs::read_to_string(folder.path().join("signing.key")).unwrap();
    let signer = note::Signer::parse(&signer).unwrap();
    let forged = |size: u64| {
        let checkpoint = Checkpoint {
            origin: signer.verifier().name().to_owned(),
            size,
            root: Hash([7; 32]),
        };
        signer.sign(&checkpoint.text()).unwrap()
    };
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for size in [1, 900] {
        file.write_all(format!("{}\n", forged(size)).as_bytes())
            .unwrap();
    }
    until("noticed", || auditor.stats().next_seq == 3).await;
    writer.close().unwrap();
    let outline = outline(folder.path());
    assert_eq!(&outline[1..], ["admin:audit.checkpoint_foreign"; 2]);
    let own: Vec<_> = Notes::of(folder.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(own.last().unwrap().checkpoint.size, 3);
}

#[tokio::test]
async fn two_writers_sign_one_tree() {
    let folder = TempDir::new().unwrap();
    let (first, first_writer) = open(folder.path());
    let (second, second_writer) = open(folder.path());
    let (mut ours, theirs) = (first.covered(), second.covered());
    for index in 0..20 {
        note(&first, &format!("a{index}")).await;
        note(&second, &format!("b{index}")).await;
    }
    ours.wait_for(|covered| *covered == 40).await.unwrap();
    until("the other sees it", || *theirs.borrow() == 40).await;
    note(&second, "c").await;
    first_writer.close().unwrap();
    second_writer.close().unwrap();
    assert_proven(folder.path());
}

#[tokio::test]
async fn a_new_process_that_builds_the_tree_anew_is_followed() {
    let folder = TempDir::new().unwrap();
    let (first, first_writer) = open(folder.path());
    note(&first, "a").await;
    // The old process has no chance to look before the new one does.
    fs::remove_file(folder.path().join(HASHES)).unwrap();
    let (second, second_writer) = open(folder.path());
    note(&first, "b").await;
    note(&second, "c").await;
    note(&first, "d").await;
    first_writer.close().unwrap();
    second_writer.close().unwrap();
    assert_proven(folder.path());
}

#[tokio::test]
async fn a_tree_deleted_while_running_is_put_back() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    note(&auditor, "a").await;
    fs::remove_file(folder.path().join(HASHES)).unwrap();
    until("noticed", || auditor.stats().next_seq == 2).await;
    let beside = folder.path().join("beside");
    fs::write(&beside, "nonsense").unwrap();
    fs::rename(&beside, folder.path().join(HASHES)).unwrap();
    until("noticed", || auditor.stats().next_seq == 3).await;
    writer.close().unwrap();
    assert_eq!(&outline(folder.path())[1..], ["admin:audit.tree_lost"; 2]);
    assert_proven(folder.path());
}

#[tokio::test]
async fn a_tree_cut_while_running_is_built_anew_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    note(&auditor, "a").await;
    fs::write(folder.path().join(HASHES), "").unwrap();
    until("noticed", || auditor.stats().next_seq == 2).await;
    note(&auditor, "b").await;
    writer.close().unwrap();
    filled(folder.path(), 1).await;
    let outline = outline(folder.path());
    assert_eq!(outline[1], "admin:audit.tree_lost");
    assert_eq!(outline[3], "admin:audit.tree_rebuilt");
    assert_proven(folder.path());
}

#[tokio::test]
async fn a_log_file_lost_while_running_leaves_the_tree_whole() {
    type Meddle = fn(&Path);
    let cases: [Meddle; 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::rename(path, path.with_extension("old")).unwrap(),
        |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
        |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(0).unwrap();
        },
    ];
    for (index, meddle) in cases.into_iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let (auditor, writer) = open(folder.path());
        note(&auditor, "lost").await;
        let path = &segments(folder.path())[0];
        let before = lines(folder.path());
        meddle(path);
        // Within a second or so, without traffic.
        until("noticed", || auditor.stats().next_seq == 2).await;
        note(&auditor, "after").await;
        writer.close().unwrap();
        // The record that was lost has its leaf, so that what it was can still be proven.
        fs::remove_file(path).ok();
        let rest: Vec<_> = numbered(folder.path()).into_keys().collect();
        assert_eq!(rest, [1, 2], "{index}");
        let after = fs::read_to_string(&segments(folder.path())[0]).unwrap();
        let all: Vec<&str> = before
            .iter()
            .map(String::as_str)
            .chain(after.lines())
            .collect();
        let (judge, size) = Judge::over(all);
        let last = checkpoints(folder.path()).pop().unwrap();
        assert_eq!(
            (last.size, last.root),
            (size, tree_hash(size, &judge).unwrap())
        );
        // And the next start goes on.
        filled(folder.path(), 1).await;
        assert_eq!(checkpoints(folder.path()).pop().unwrap().size, 4);
    }
}

#[tokio::test]
async fn numbers_order_records_when_the_clock_is_set_back() {
    let folder = TempDir::new().unwrap();
    let micros = Arc::new(std::sync::atomic::AtomicI64::new(2_000_000_000_000_000));
    let own = Settings {
        clock: Clock::Manual(Arc::clone(&micros)),
        ..settings(folder.path())
    };
    let (auditor, writer) = Auditor::open(own.clone()).unwrap();
    note(&auditor, "late").await;
    micros.fetch_sub(3_600_000_000, Ordering::Relaxed);
    note(&auditor, "early").await;
    writer.close().unwrap();
    micros.fetch_sub(3_600_000_000, Ordering::Relaxed);
    filled_by(own, 1).await;
    let records = records(folder.path());
    let times: Vec<_> = records
        .iter()
        .map(|record| record["time"].as_str().unwrap())
        .collect();
    assert!(times[0] > times[1] && times[1] > times[2], "{times:?}");
    assert_eq!(
        outline(folder.path()),
        ["config:late:-", "config:early:-", "config:r0:-"]
    );
    assert_proven(folder.path());
}
