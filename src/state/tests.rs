use std::fs;
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
fn the_key_of_fingerprints_is_one_for_all_who_use_a_state_and_another_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    let key = state.fingerprint_key().unwrap();
    assert_eq!(key.len(), 64);
    let beside = State::open_beside(&settings).unwrap();
    assert_eq!(beside.fingerprint_key().unwrap(), key);
    drop((state, beside));
    let state = State::open(&settings).unwrap();
    assert_eq!(state.fingerprint_key().unwrap(), key);
    assert_ne!(State::in_memory().unwrap().fingerprint_key().unwrap(), key);
    // It is sealed like all else.
    let file = fs::read(settings.directory.join("state.redb")).unwrap();
    assert!(!file.windows(64).any(|window| window == key.as_slice()));
}

#[test]
fn what_another_key_sealed_is_set_aside_and_can_be_had_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    put(&state, b"a", b"kept");
    drop(state);
    let own = fs::read_to_string(settings.own_key()).unwrap();
    let other = "ab".repeat(32);
    fs::write(settings.own_key(), &other).unwrap();

    let state = State::open(&settings).unwrap();
    let aside = state.set_aside().unwrap();
    assert!(matches!(aside.reason, StateError::WrongKey(_)));
    assert!(
        aside
            .to
            .to_str()
            .unwrap()
            .contains("state.redb.unreadable-20")
    );
    assert!(state.is_new() && state.all(Table::Logins).unwrap().is_empty());
    assert_eq!(fs::read_to_string(settings.own_key()).unwrap(), other);
    let to = aside.to.clone();
    drop(state);

    fs::write(settings.own_key(), format!("{other}\n{own}")).unwrap();
    fs::rename(to, settings.database()).unwrap();
    let state = State::open(&settings).unwrap();
    assert!(state.set_aside().is_none() && !state.is_new());
    assert_eq!(get(&state, b"a").unwrap(), b"kept");
}

#[test]
fn what_is_no_key_is_an_error_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    drop(State::open(&settings).unwrap());
    fs::write(settings.own_key(), "short").unwrap();
    let before = names(&settings);
    assert!(matches!(State::open(&settings), Err(StateError::NotAKey)));
    assert_eq!(names(&settings), before);
}

#[test]
fn what_another_process_uses_is_not_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    fs::write(settings.own_key(), "ab".repeat(32)).unwrap();
    let before = names(&settings);
    for open in [State::open, State::open_beside] {
        let refused = open(&settings).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        assert!(refused.contains("another key"), "{refused}");
    }
    drop(state);
    let refused = State::open_beside(&settings);
    assert!(matches!(refused, Err(StateError::NotSetAside(_))));
    assert_eq!(names(&settings), before);
}

#[test]
fn a_new_first_key_seals_everything_and_the_old_one_can_go() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    let fill = |change: &mut Change<'_>| {
        (0..2500_u32).try_for_each(|number| change.put(&number.to_be_bytes(), b"value"))
    };
    state.change(Table::Leases, fill).unwrap();
    put(&state, b"a", b"1");
    let before = seal::tests::sealed_before("cc", "logins", b"lost", b"value");
    put_sealed(&state, b"lost", &before);
    drop(state);
    let old = fs::read_to_string(settings.own_key()).unwrap();
    let new = "ab".repeat(32);

    fs::write(settings.own_key(), format!("{new}\n{old}")).unwrap();
    let mut state = State::open(&settings).unwrap();
    assert!(
        state.seal_anew().unwrap() == anew::Resealed::default(),
        "it was done at the start"
    );
    drop(state);
    fs::write(settings.own_key(), &new).unwrap();
    let state = State::open(&settings).unwrap();
    assert!(state.set_aside().is_none());
    assert_eq!(state.all(Table::Leases).unwrap().len(), 2500);
    assert_eq!(state.all(Table::Logins).unwrap().len(), 1);
    assert!(matches!(
        state.get(Table::Logins, b"lost"),
        Err(StateError::Damaged)
    ));
}

#[test]
fn what_was_sealed_before_there_was_a_ring_is_sealed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    fs::create_dir(&settings.directory).unwrap();
    files::replace(&settings.own_key(), "ab".repeat(32).as_bytes()).unwrap();
    let state = State::open(&settings).unwrap();
    put_sealed(
        &state,
        b"a",
        &seal::tests::sealed_before("ab", "logins", b"a", b"old"),
    );
    let transaction = state.write().unwrap();
    let check = seal::tests::sealed_before("ab", "meta", CHECK, CHECK);
    transaction
        .open_table(META)
        .unwrap()
        .insert(CHECK, check.as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(state);

    let state = State::open(&settings).unwrap();
    assert!(state.set_aside().is_none());
    assert_eq!(get(&state, b"a").unwrap(), b"old");
    let transaction = state.database.load().begin_read().unwrap();
    let logins = transaction.open_table(Table::Logins.definition()).unwrap();
    assert!(
        state
            .seal
            .is_first(logins.get(&b"a"[..]).unwrap().unwrap().value())
    );
}

#[test]
fn a_process_that_takes_over_seals_as_the_one_before_can_open() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let before = State::open(&settings).unwrap();
    put(&before, b"a", b"1");
    let own = fs::read_to_string(settings.own_key()).unwrap();
    fs::write(settings.own_key(), format!("{}\n{own}", "ab".repeat(32))).unwrap();
    let next = State::open_beside(&settings).unwrap();
    put(&next, b"b", b"2");
    assert_eq!(get(&before, b"b").unwrap(), b"2");
    assert_eq!(get(&next, b"a").unwrap(), b"1");
}

#[test]
fn a_lazy_change_is_seen_at_once_and_on_the_disk_with_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let one = Arc::new(State::open(&settings).unwrap());
    let other = State::open(&settings).unwrap();
    // Holds the writer's turn, so that nothing gets to the disk.
    let turn = other.write().unwrap();
    one.change_lazily(Table::Leases, |change| {
        change.put(b"a", b"1")?;
        change.put(b"b", b"1")?;
        change.remove(b"b");
        Ok(())
    })
    .unwrap();
    let seen = |state: &State| Some(state.get(Table::Leases, b"a").unwrap()?.to_vec());
    assert_eq!(seen(&one).as_deref(), Some(&b"1"[..]));
    assert!(one.get(Table::Leases, b"b").unwrap().is_none());
    assert_eq!(one.all(Table::Leases).unwrap().len(), 1);
    assert!(other.all(Table::Leases).unwrap().is_empty());
    assert_eq!(seen(&other), None);
    drop(turn);
    put(&one, b"x", b"y");
    assert_eq!(seen(&other).as_deref(), Some(&b"1"[..]));
    one.change_lazily(Table::Leases, |change| change.put(b"a", b"2"))
        .unwrap();
    one.flush().unwrap();
    assert_eq!(seen(&other).as_deref(), Some(&b"2"[..]));
    one.change_lazily(Table::Leases, |change| {
        change.remove(b"a");
        Ok(())
    })
    .unwrap();
    assert!(one.all(Table::Leases).unwrap().is_empty());
    one.flush().unwrap();
    assert!(other.all(Table::Leases).unwrap().is_empty());
    assert!(one.queue.is_empty());
}

/// What a kill leaves is what the files hold at that moment.
#[test]
fn what_was_changed_lazily_survives_a_kill_once_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = Arc::new(State::open(&settings).unwrap());
    let lazily = |name: &[u8]| {
        state
            .change_lazily(Table::Leases, |change| change.put(name, b"1"))
            .unwrap();
    };
    let survives = |name: &[u8]| {
        let killed = tempfile::tempdir().unwrap();
        let copy = Settings {
            directory: killed.path().to_owned(),
            key: None,
        };
        for file in [Settings::database, Settings::own_key] {
            fs::copy(file(&settings), file(&copy)).unwrap();
        }
        let state = State::open(&copy).unwrap();
        assert!(state.set_aside().is_none());
        state.get(Table::Leases, name).unwrap().is_some()
    };
    lazily(b"flushed");
    state.flush().unwrap();
    assert!(survives(b"flushed"));
    lazily(b"taken along");
    put(&state, b"a", b"1");
    assert!(survives(b"taken along"));
    lazily(b"by itself");
    while !state.queue.is_empty() {
        std::thread::yield_now();
    }
    assert!(survives(b"by itself"));
}

#[test]
fn a_change_that_fails_loses_nothing_that_waited() {
    let state = Arc::new(State::in_memory().unwrap());
    let turn = state.write().unwrap();
    state
        .change_lazily(Table::Leases, |change| change.put(b"a", b"1"))
        .unwrap();
    let waited = state.queue.take();
    assert!(state.get(Table::Leases, b"a").unwrap().is_some());
    drop(waited);
    drop(turn);
    let failed = state.change(Table::Leases, |change| {
        assert!(change.get(b"a")?.is_some(), "what waited comes first");
        change.remove(b"a")?;
        Err::<(), _>(StateError::NotAKey)
    });
    assert!(failed.is_err());
    assert!(state.get(Table::Leases, b"a").unwrap().is_some());
    state.flush().unwrap();
    assert_eq!(state.all(Table::Leases).unwrap().len(), 1);
}

/// A disk that hangs, as network disks do, and more tokens than the memory is to hold meanwhile.
#[test]
fn what_is_changed_lazily_never_waits_for_the_disk() {
    let state = Arc::new(State::in_memory().unwrap());
    put_lease(&state, b"old", b"1");
    let turn = state.write().unwrap();
    let large = vec![1; 1 << 20];
    for name in 0..17_u8 {
        put_lease_lazily(&state, &[name], &large);
    }
    put_lease_lazily(&state, b"old", b"2");
    put_lease_lazily(&state, b"new", b"2");
    state
        .change_lazily(Table::Leases, |change| {
            change.remove(&[0]);
            Ok(())
        })
        .unwrap();
    // What came too late is not kept; what it was to replace must not come back.
    let seen = |name: &[u8]| state.get(Table::Leases, name).unwrap().is_some();
    let expected = [false, true, false, false];
    assert_eq!([&[0][..], &[1], b"old", b"new"].map(seen), expected);
    drop(turn);
    state.flush().unwrap();
    while !state.queue.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!([&[0][..], &[1], b"old", b"new"].map(seen), expected);
    put_lease_lazily(&state, b"new", b"3");
    assert!(seen(b"new"));
}

#[test]
fn what_is_forgotten_while_the_disk_fails_is_forgotten_later() {
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&settings(&folder)).unwrap());
    put_lease(&state, b"old", b"1");
    state
        .change_lazily(Table::Leases, |change| {
            change.remove(b"old");
            change.put(b"new", b"1")
        })
        .unwrap();
    let waited = state.queue.take();
    waited.forget_values();
    let seen = |name: &[u8]| state.get(Table::Leases, name).unwrap().is_some();
    assert!(!seen(b"old") && !seen(b"new"));
    state.flush().unwrap();
    assert!(!seen(b"old") && !seen(b"new"));
}

fn put_lease(state: &State, name: &[u8], value: &[u8]) {
    state
        .change(Table::Leases, |change| change.put(name, value))
        .unwrap();
}

fn put_lease_lazily(state: &Arc<State>, name: &[u8], value: &[u8]) {
    state
        .change_lazily(Table::Leases, |change| change.put(name, value))
        .unwrap();
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
fn where_the_key_is_missing_the_state_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    assert!(State::open(&settings).unwrap().is_new());
    assert!(!State::open(&settings).unwrap().is_new());
    fs::remove_file(settings.own_key()).unwrap();
    let state = State::open(&settings).unwrap();
    let aside = state.set_aside().unwrap();
    assert!(matches!(aside.reason, StateError::KeyMissing(_)));
    assert!(aside.to.exists() && settings.own_key().exists());
    drop(state);
    // With nothing sealed there is nothing to lose.
    fs::remove_file(settings.own_key()).unwrap();
    fs::write(settings.database(), "").unwrap();
    let state = State::open(&settings).unwrap();
    assert!(state.is_new() && state.set_aside().is_none());
}

#[test]
fn a_database_that_is_moved_is_told_and_one_that_is_damaged_set_aside() {
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
        let state = State::open(&settings).unwrap();
        let aside = state.set_aside().unwrap();
        assert!(matches!(aside.reason, StateError::Unusable { .. }));
        assert_eq!(fs::read(&aside.to).unwrap(), damage);
        put(&state, b"a", b"1");
    }
}

#[test]
fn whatever_is_damaged_it_is_opened_or_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let state = State::open(&settings).unwrap();
    let fill = |change: &mut Change<'_>| {
        (0..300_u32).try_for_each(|number| change.put(&number.to_be_bytes(), &[7; 700]))
    };
    state.change(Table::Leases, fill).unwrap();
    put(&state, b"a", b"1");
    drop(state);
    let whole = fs::read(settings.database()).unwrap();
    let mut random = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let (mut opened, mut aside) = (0, 0);
    for round in 0..120_usize {
        let mut damaged = whole.clone();
        let mut below = |limit: usize| usize::try_from(rand_core(&mut random)).unwrap() % limit;
        match round % 4 {
            0 => damaged.truncate(below(whole.len())),
            1 => damaged[below(whole.len())] ^= 1 << below(8),
            2 => damaged[below(4096.min(whole.len()))] ^= 1 << below(8),
            _ => {
                let page = below(whole.len() / 4096) * 4096;
                let fill = u8::try_from(below(256)).unwrap();
                damaged[page..page + 4096].fill(fill);
            }
        }
        fs::write(settings.database(), &damaged).unwrap();
        // Whatever they say: they come to an end.
        drop(copy::prospect(&settings));
        drop(copy::info(&settings));
        let state = State::open(&settings).unwrap();
        for table in Table::ALL {
            let all = state.all(table).unwrap();
            assert!(
                all.iter()
                    .all(|(_, value)| **value == [7; 700] || **value == *b"1")
            );
        }
        put(&state, b"b", b"1");
        match state.set_aside() {
            Some(away) => {
                aside += 1;
                fs::remove_file(&away.to).unwrap();
            }
            None => opened += 1,
        }
    }
    assert!(aside > 30 && opened > 0, "{aside} {opened}");
}

fn rand_core(random: &mut proptest::test_runner::TestRng) -> u32 {
    use proptest::prelude::Rng as _;
    random.next_u32()
}

fn put(state: &State, name: &[u8], value: &[u8]) {
    state
        .change(Table::Logins, |change| change.put(name, value))
        .unwrap();
}

fn put_sealed(state: &State, name: &[u8], sealed: &[u8]) {
    let transaction = state.write().unwrap();
    let mut table = transaction.open_table(Table::Logins.definition()).unwrap();
    table.insert(name, sealed).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

fn get(state: &State, name: &[u8]) -> Option<Vec<u8>> {
    Some(state.get(Table::Logins, name).unwrap()?.to_vec())
}

fn names(settings: &Settings) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(&settings.directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
