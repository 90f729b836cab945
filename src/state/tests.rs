use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn settings(folder: &tempfile::TempDir) -> Settings {
    Settings {
        directory: folder.path().join("state"),
        key: None,
    }
}

#[test]
fn what_is_put_is_there_after_a_restart_and_sealed_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    state
        .change(Table::TokenKeys, |change| {
            change.put(b"name", b"canary-value")
        })
        .unwrap();
    drop(state);

    let state = State::open(&settings).unwrap();
    let all = state.all(Table::TokenKeys).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0, b"name");
    assert_eq!(all[0].1.as_slice(), b"canary-value");
    assert!(state.all(Table::Logins).unwrap().is_empty());
    let file = fs::read(settings.directory.join("state.redb")).unwrap();
    assert!(!file.windows(6).any(|window| window == b"canary"));
    for name in ["state.redb", "key"] {
        let mode = fs::metadata(settings.directory.join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn another_key_is_refused_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    drop(State::open(&settings).unwrap());
    let own = fs::read(settings.directory.join("key")).unwrap();
    fs::write(
        settings.directory.join("key"),
        format!("{}\n", "ab".repeat(32)),
    )
    .unwrap();
    let refused = State::open(&settings).unwrap_err();
    assert!(matches!(refused, StateError::WrongKey(_)), "{refused}");
    fs::write(settings.directory.join("key"), "short").unwrap();
    assert!(matches!(State::open(&settings), Err(StateError::NotAKey)));
    fs::write(settings.directory.join("key"), own).unwrap();
    assert!(State::open(&settings).is_ok());
}

#[test]
fn a_value_that_was_moved_or_damaged_is_not_opened() {
    let seal = Seal::new(&new_key().unwrap()).unwrap();
    let sealed = seal.seal("logins", b"a", b"value").unwrap();
    assert!(seal.open("logins", b"a", &sealed).is_some());
    assert!(seal.open("logins", b"b", &sealed).is_none());
    assert!(seal.open("token_keys", b"a", &sealed).is_none());
    for index in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[index] ^= 1;
        assert!(
            seal.open("logins", b"a", &damaged).is_none(),
            "byte {index}"
        );
        assert!(seal.open("logins", b"a", &sealed[..index]).is_none());
    }
}

#[test]
fn two_processes_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let one = State::open(&settings).unwrap();
    let other = State::open(&settings).unwrap();
    one.change(Table::Logins, |change| change.put(b"a", b"1"))
        .unwrap();
    let seen = other
        .change(Table::Logins, |change| {
            let seen = change.get(b"a")?;
            change.remove(b"a")?;
            Ok(seen)
        })
        .unwrap();
    assert_eq!(seen.unwrap().as_slice(), b"1");
    assert!(one.all(Table::Logins).unwrap().is_empty());
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let state = State::in_memory().unwrap();
    let failed = state.change(Table::Logins, |change| {
        change.put(b"a", b"1")?;
        Err::<(), _>(StateError::NotAKey)
    });
    assert!(failed.is_err());
    assert!(state.all(Table::Logins).unwrap().is_empty());
}

#[test]
fn a_key_that_is_missing_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    assert!(State::open(&settings).unwrap().is_new());
    assert!(!State::open(&settings).unwrap().is_new());
    let key = settings.directory.join("key");
    fs::remove_file(&key).unwrap();
    let refused = State::open(&settings).unwrap_err();
    assert!(matches!(refused, StateError::KeyMissing(_)), "{refused}");
    assert!(!key.exists());
    // With nothing sealed there is nothing to lose.
    fs::write(settings.directory.join("state.redb"), "").unwrap();
    assert!(State::open(&settings).unwrap().is_new());
}

#[test]
fn a_database_that_is_damaged_or_moved_is_told_with_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    let path = settings.directory.join("state.redb");
    fs::rename(&path, settings.directory.join("elsewhere")).unwrap();
    let refused = state.change(Table::Logins, |change| change.put(b"a", b"1"));
    assert!(matches!(refused, Err(StateError::Moved(_))));
    fs::rename(settings.directory.join("elsewhere"), &path).unwrap();
    state
        .change(Table::Logins, |change| change.put(b"a", b"1"))
        .unwrap();
    drop(state);
    for damage in [&b"not a database at all"[..], &[0; 8192]] {
        fs::write(&path, damage).unwrap();
        let refused = State::open(&settings).unwrap_err().to_string();
        assert!(
            refused.contains("state.redb") && refused.contains("move it away"),
            "{refused}"
        );
    }
}
