//! Records of commands.

use super::*;

fn read() -> Record {
    Record::event("audit.read", "audit tail".to_owned())
}

#[test]
fn a_record_is_written_where_no_gateway_runs() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    for seq in 0..3 {
        let noted = note_once(settings(directory), Kind::Admin, &read()).unwrap();
        assert_eq!(noted, seq);
    }
    assert_eq!(outline(directory), ["admin:audit.read"; 3]);
    let gone = directory.join("gone");
    assert!(note_once(settings(&gone), Kind::Admin, &read()).is_err());
    assert!(!gone.exists());
}

/// Nobody would hear of it before the next `audit verify`.
#[test]
fn it_makes_no_key_in_place_of_one_that_is_gone() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    note_once(settings(directory), Kind::Admin, &read()).unwrap();
    let key = directory.join("signing.key");
    fs::remove_file(&key).unwrap();
    let error = note_once(settings(directory), Kind::Admin, &read()).unwrap_err();
    assert!(error.to_string().contains("signing.key"), "{error}");
    assert!(!key.exists());
    assert_eq!(outline(directory), ["admin:audit.read"]);
}

#[tokio::test]
async fn a_gateway_goes_on_after_it_without_a_gap() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    let own = Record::event("own", String::new());
    for _ in 0..3 {
        auditor.note_durable(Kind::Admin, &own).await.unwrap();
        let settings = settings(folder.path());
        let once = move || note_once(settings, Kind::Admin, &read());
        tokio::task::spawn_blocking(once).await.unwrap().unwrap();
    }
    writer.close().unwrap();
    let both = ["admin:own", "admin:audit.read"];
    assert_eq!(outline(folder.path()), both.repeat(3));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    note_once(settings(directory), Kind::Admin, &read()).unwrap();
    // What keeps root out as well: the lock is no file.
    let lock = directory.join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let error = note_once(settings(directory), Kind::Admin, &read()).unwrap_err();
    assert!(error.to_string().contains("lock"), "{error}");
    assert_eq!(outline(directory), ["admin:audit.read"]);
}

#[test]
fn a_lock_that_is_kept_is_not_waited_for_without_end() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    note_once(settings(directory), Kind::Admin, &read()).unwrap();
    let lock = fs::File::open(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    let error = note_once(settings(directory), Kind::Admin, &read()).unwrap_err();
    assert!(error.to_string().contains("held it"), "{error}");
    assert_eq!(outline(directory), ["admin:audit.read"]);
}

/// A gateway that runs as another user than root must be able to go on with what root's command
/// has made.
#[test]
fn its_files_belong_to_the_directory_s_owner() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    // Only root can give something away.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(directory, Some(4711), Some(4712)).unwrap();
    }
    note_once(settings(directory), Kind::Admin, &read()).unwrap();
    let owner = fs::metadata(directory).unwrap();
    let files: Vec<_> = fs::read_dir(directory).unwrap().collect();
    assert!(files.len() >= 2);
    for file in files {
        let file = file.unwrap().metadata().unwrap();
        assert_eq!((file.uid(), file.gid()), (owner.uid(), owner.gid()));
        assert_eq!(file.permissions().mode() & 0o077, 0);
    }
}
