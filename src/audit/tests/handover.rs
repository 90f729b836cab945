//! A signing key that another one follows.

use super::*;
use crate::audit::checkpoint::{Checkpoint, Notes, VERIFIERS, read_keys};
use crate::audit::handover::signer;
use crate::audit::note::Signer;
use crate::secret::SecretSource;

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
    let text = fs::read_to_string(directory.join("signing.key")).unwrap();
    let retired = Signer::parse(&text).unwrap();
    let forged = Checkpoint {
        origin: retired.verifier().name().to_owned(),
        size: 99,
        root: tlog_tiles::Hash([7; 32]),
    };
    let note = retired.sign(&forged.text()).unwrap();
    let path = directory.join(format!("{:020}.notes", 0));
    let before = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{before}{note}\n")).unwrap();
    fill(with_key(&directory, &key)).await;
    let told = outline(&directory);
    let foreign = "admin:audit.checkpoint_foreign".to_owned();
    assert_eq!(
        told.iter().filter(|it| **it == foreign).count(),
        1,
        "{told:?}"
    );
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
