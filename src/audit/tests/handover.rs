//! A signing key that another one follows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::audit::checkpoint::{Checkpoint, Notes, VERIFIERS, read_keys};
use crate::audit::handover::signer;
use crate::audit::note::Signer;
use crate::secret::SecretSource;

/// What the line of a signature begins with.
const MARK: &str = "\u{2014} ";

/// The settings of a log with a key of its own, which is made.
fn with_key(directory: &Path, key: &Path) -> Settings {
    if !key.exists() {
        let made = Signer::generate_unnamed().unwrap().to_text().unwrap();
        fs::write(key, made.expose()).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut settings = settings(directory);
    settings.tree.signing_key = Some(SecretSource::File(key.to_owned()));
    settings
}

/// Each checkpoint: the place of its key, and its size.
fn signed(directory: &Path) -> Vec<(usize, u64)> {
    let keys = read_keys(&directory.join(VERIFIERS)).unwrap();
    let all = Notes::of(directory).unwrap().map(Result::unwrap);
    all.map(|it| (signer(&keys, &it.note).unwrap(), it.checkpoint.size))
        .collect()
}

/// What the key that the log made for itself signs for records that there are not.
fn retired_note(directory: &Path, size: u64) -> String {
    let text = fs::read_to_string(directory.join("signing.key")).unwrap();
    let retired = Signer::parse(&text).unwrap();
    let forged = Checkpoint {
        origin: retired.verifier().name().to_owned(),
        size,
        root: tlog_tiles::Hash([7; 32]),
    };
    retired.sign(&forged.text()).unwrap().to_string()
}

#[tokio::test]
async fn a_process_of_an_upgrade_signs_no_more_once_the_next_one_has_a_new_key() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let (old, old_writer) = open(&directory);
    let note = async |auditor: &Auditor| {
        let written = auditor.note_durable(Kind::Config, &named("a")).await;
        written.unwrap();
    };
    note(&old).await;
    let (new, new_writer) = Auditor::open(with_key(&directory, &key)).unwrap();
    for _ in 0..3 {
        note(&old).await;
        // The new process covers it, and the old one hears of that.
        let next = old.stats().next_seq;
        until("it is covered", || old.stats().covered >= next).await;
        assert_eq!(old.stats().alarms, 0);
    }
    note(&old).await;
    old_writer.close().unwrap();
    note(&new).await;
    new_writer.close().unwrap();
    let signed = signed(&directory);
    let first = signed.iter().position(|(key, _)| *key == 1).unwrap();
    assert!(first > 0 && signed[first..].iter().all(|(key, _)| *key == 1));
    tree::assert_proven(&directory);
}

#[tokio::test]
async fn the_start_takes_nothing_that_a_key_of_before_signs_now() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let fill = async |settings: Settings| {
        let (auditor, writer) = Auditor::open(settings).unwrap();
        auditor.note(Kind::Config, &named("a")).await.unwrap();
        writer.close().unwrap();
    };
    fill(settings(&directory)).await;
    fill(with_key(&directory, &key)).await;
    // Its first checkpoint is of what was there, and signed at once.
    let path = directory.join(format!("{:020}.notes", 0));
    let before = fs::read_to_string(&path).unwrap();
    // The second one bears the name of the key that signs now, too.
    let name = before.lines().rfind(|line| line.starts_with(MARK)).unwrap();
    let (name, signature) = name.rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(signature).unwrap();
    bytes[4..].fill(7);
    let junk = format!("{name} {}\n", STANDARD.encode(bytes));
    let notes = [
        retired_note(&directory, 98),
        retired_note(&directory, 99) + &junk,
    ];
    fs::write(&path, format!("{before}{}\n{}\n", notes[0], notes[1])).unwrap();
    fill(with_key(&directory, &key)).await;
    let told = outline(&directory);
    let foreign = "admin:audit.checkpoint_foreign".to_owned();
    assert_eq!(
        told.iter().filter(|it| **it == foreign).count(),
        2,
        "{told:?}"
    );
}

#[tokio::test]
async fn a_process_of_an_upgrade_learns_that_a_key_of_before_is_in_use_again() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let (first, first_writer) = open(&directory);
    first.note(Kind::Config, &named("a")).await.unwrap();
    first_writer.close().unwrap();
    let (old, old_writer) = Auditor::open(with_key(&directory, &key)).unwrap();
    let note = async |auditor: &Auditor| {
        let written = auditor.note_durable(Kind::Config, &named("a")).await;
        written.unwrap();
    };
    note(&old).await;
    let next = old.stats().next_seq;
    until("it signs", || old.stats().covered >= next).await;
    let (new, new_writer) = open(&directory);
    note(&new).await;
    let next = new.stats().next_seq;
    until("it is covered", || new.stats().covered >= next).await;
    note(&old).await;
    let next = old.stats().next_seq;
    until("it is covered", || old.stats().covered >= next).await;
    assert_eq!((old.stats().alarms, new.stats().alarms), (0, 0));
    old_writer.close().unwrap();
    new_writer.close().unwrap();
    let keys = read_keys(&directory.join(VERIFIERS)).unwrap();
    assert!(keys.len() == 3 && keys[0] == keys[2], "{keys:?}");
    assert_eq!(signed(&directory).last().unwrap().0, 2);
    tree::assert_proven(&directory);
}

#[tokio::test]
async fn a_key_is_taken_up_again_when_who_has_the_next_one_is_gone() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let (old, old_writer) = open(&directory);
    old.note(Kind::Config, &named("a")).await.unwrap();
    let (new, new_writer) = Auditor::open(with_key(&directory, &key)).unwrap();
    new.note(Kind::Config, &named("b")).await.unwrap();
    new_writer.close().unwrap();
    let written = old.note_durable(Kind::Config, &named("c")).await;
    written.unwrap();
    let next = old.stats().next_seq;
    until("it signs again", || old.stats().covered >= next).await;
    assert_eq!(old.stats().alarms, 0);
    old_writer.close().unwrap();
    let keys = read_keys(&directory.join(VERIFIERS)).unwrap();
    assert!(keys.len() == 3 && keys[0] == keys[2], "{keys:?}");
    let told = outline(&directory);
    let changed = told.iter().filter(|it| *it == "admin:audit.key_changed");
    assert_eq!(changed.count(), 2, "{told:?}");
    tree::assert_proven(&directory);
}

#[tokio::test]
async fn a_command_takes_no_new_key_into_use() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let (auditor, writer) = open(&directory);
    auditor.note(Kind::Config, &named("a")).await.unwrap();
    writer.close().unwrap();
    let keys = fs::read(directory.join(VERIFIERS)).unwrap();
    let noted = note_once(with_key(&directory, &key), Kind::Admin, &named("b"));
    let error = noted.unwrap_err().to_string();
    assert!(error.contains("another key until"), "{error}");
    assert_eq!(fs::read(directory.join(VERIFIERS)).unwrap(), keys);
    assert_eq!(records(&directory).len(), 1);
}

#[tokio::test]
async fn a_key_of_before_cannot_lock_the_start_out_by_the_second_place() {
    let folder = TempDir::new().unwrap();
    let (directory, key) = (folder.path().join("audit"), folder.path().join("key"));
    let second = folder.path().join("second");
    let fill = async |mut settings: Settings| {
        settings.tree.checkpoints = Some(second.clone());
        let (auditor, writer) = Auditor::open(settings).unwrap();
        auditor.note(Kind::Config, &named("a")).await.unwrap();
        writer.close().unwrap();
    };
    fill(settings(&directory)).await;
    fill(with_key(&directory, &key)).await;
    let before = fs::read_to_string(&second).unwrap();
    let forged = retired_note(&directory, 99);
    fs::write(&second, format!("{before}{forged}\n")).unwrap();
    fill(with_key(&directory, &key)).await;
    tree::assert_proven(&directory);
}
