//! Mendings of the start and of what is kept beside the log.

use std::os::unix::fs::symlink;

use super::*;
use crate::audit::tree::HASHES;

async fn filled(directory: &Path) {
    let (auditor, writer) = open(directory);
    for index in 0..10 {
        let record = named(&format!("r{index}"));
        auditor.note(Kind::Config, &record).await.unwrap();
    }
    writer.close().unwrap();
}

/// Who may write into the directory may not have the gateway write elsewhere.
#[tokio::test]
async fn links_in_the_directory_are_not_followed() {
    for name in [
        HASHES,
        "00000000000000000000.jsonl",
        "00000000000000000000.notes",
        "lock",
    ] {
        let folder = TempDir::new().unwrap();
        let (directory, elsewhere) = (folder.path().join("audit"), folder.path().join("other"));
        filled(&directory).await;
        let path = directory.join(name);
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        if let Ok((auditor, writer)) = Auditor::open(settings(&directory)) {
            // Without checkpoints the log is written all the same.
            assert!(name.ends_with(".notes"), "{name} was followed");
            let more = named("more");
            auditor.note(Kind::Config, &more).await.unwrap();
            writer.close().ok();
        }
        assert_eq!(fs::read(&elsewhere).unwrap(), before, "{name}");
    }
}

#[tokio::test]
async fn a_start_that_refuses_a_log_that_was_cut_leaves_it_as_it_is() {
    let folder = TempDir::new().unwrap();
    filled(folder.path()).await;
    let path = segments(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    // In the middle of a line: it would be cut off, were it not evidence.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = Auditor::open(settings(folder.path())).err().unwrap();
    assert!(matches!(error, OpenError::RolledBack { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2]);
}
