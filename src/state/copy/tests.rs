use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::state::{State, Table};

struct Place {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().join("state"),
            key: None,
        };
        Self { folder, settings }
    }

    /// With a value of each kind.
    fn filled() -> Self {
        let place = Self::new();
        place.fill(b"1");
        place
    }

    fn fill(&self, value: &[u8]) {
        let state = self.open();
        for table in Table::ALL {
            state
                .change(table, |change| change.put(b"a", value))
                .unwrap();
        }
    }

    fn open(&self) -> State {
        State::open(&self.settings).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn back_up(&self, with_key: bool) -> PathBuf {
        let to = self.file("backup");
        let wanted = Backup {
            to: &to,
            with_key,
            replaces: true,
        };
        backup(&self.settings, wanted, &mut |_, _| {}).unwrap();
        to
    }

    fn restore(&self, from: &Path, keeps_logins: bool) -> Result<Restored, CopyError> {
        restore(
            &self.settings,
            Restore { from, keeps_logins },
            &mut |_, _| {},
        )
    }

    /// What is in the state: by kinds, the values of `a`.
    fn values(&self) -> Vec<Option<Vec<u8>>> {
        let state = self.open();
        assert!(state.set_aside().is_none());
        let value = |table| Some(state.get(table, b"a").unwrap()?.to_vec());
        Table::ALL.map(value).to_vec()
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let Ok(entries) = fs::read_dir(&self.settings.directory) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

fn one() -> Option<Vec<u8>> {
    Some(b"1".to_vec())
}

#[test]
fn a_backup_of_a_state_in_use_brings_it_back_elsewhere() {
    let place = Place::filled();
    let in_use = place.open();
    let file = place.back_up(true);
    drop(in_use);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let other = Place::new();
    let restored = other.restore(&file, true).unwrap();
    assert_eq!(
        (restored.values, restored.set_aside),
        (Table::ALL.len() as u64, None)
    );
    let state = other.open();
    assert!(
        state
            .restored()
            .unwrap()
            .contains("log-ins at the gateway kept")
    );
    assert!(!state.is_new());
    drop(state);
    assert!(other.open().restored().is_none(), "it is told once");
    assert_eq!(other.values(), Table::ALL.map(|_| one()));
}

#[test]
fn log_ins_end_unless_they_are_kept() {
    let place = Place::filled();
    let file = place.back_up(true);
    place.fill(b"2");
    let restored = place.restore(&file, false).unwrap();
    assert_eq!(
        place.values(),
        [one(), one(), one(), one(), None, one(), None]
    );

    let aside = restored.set_aside.unwrap();
    fs::rename(aside, place.settings.database()).unwrap();
    assert_eq!(place.values()[0], Some(b"2".to_vec()), "nothing is lost");
}

#[test]
fn a_backup_without_the_key_needs_it() {
    let place = Place::filled();
    let file = place.back_up(false);
    let key = fs::read_to_string(place.settings.own_key()).unwrap();
    let sealed = fs::read(&file).unwrap();
    let held = |text: &str| {
        sealed
            .windows(64)
            .any(|window| window == text.trim().as_bytes())
    };
    assert!(!held(&key));

    let other = Place::new();
    assert!(matches!(
        other.restore(&file, true),
        Err(CopyError::NoKey { .. })
    ));
    assert!(!other.settings.directory.exists(), "nothing is made");
    drop(other.open());
    let before = other.files();
    assert!(matches!(
        other.restore(&file, true),
        Err(CopyError::WrongKey { .. })
    ));
    assert_eq!(other.files(), before);
    let own = fs::read_to_string(other.settings.own_key()).unwrap();
    fs::write(other.settings.own_key(), own + &key).unwrap();
    assert!(!other.restore(&file, true).unwrap().keys_added);
    assert_eq!(other.values(), Table::ALL.map(|_| one()));
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_touched() {
    let place = Place::filled();
    fs::write(place.settings.directory.join("frozen.json"), "{}").unwrap();
    let file = place.back_up(true);
    let whole = fs::read(&file).unwrap();
    let other = Place::filled();
    let before = other.files();
    let refused = |content: &[u8], what: &str| {
        fs::write(&file, content).unwrap();
        let result = other.restore(&file, true);
        assert!(result.is_err(), "{what}");
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains(file.to_str().unwrap()),
            "{what}: {message}"
        );
    };
    for index in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[index] ^= 1 << (index % 8);
        refused(&damaged, &format!("byte {index}"));
        refused(&whole[..index], &format!("cut at {index}"));
    }
    refused(&[&whole[..], b"x"].concat(), "longer");
    assert_eq!(other.files(), before);
    fs::write(&file, &whole).unwrap();
    assert!(other.restore(&file, true).is_ok());
}

#[test]
fn a_state_in_use_is_not_restored_over() {
    let place = Place::filled();
    let file = place.back_up(true);
    let state = place.open();
    assert!(matches!(
        place.restore(&file, false),
        Err(CopyError::InUse(_))
    ));
    drop(state);
    assert!(place.restore(&file, false).is_ok());
}

#[test]
fn a_file_is_replaced_only_if_that_is_wanted_and_never_by_half() {
    let place = Place::filled();
    let to = place.file("backup");
    fs::write(&to, "precious").unwrap();
    let wanted = Backup {
        to: &to,
        with_key: true,
        replaces: false,
    };
    let refused = backup(&place.settings, wanted, &mut |_, _| {});
    assert!(matches!(refused, Err(CopyError::Exists(_))));
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let nothing = Place::new();
    let refused = backup(
        &nothing.settings,
        Backup {
            replaces: true,
            ..wanted
        },
        &mut |_, _| {},
    );
    assert!(matches!(refused, Err(CopyError::Nothing(_))));
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    place.back_up(true);
    assert!(fs::read(&to).unwrap().starts_with(b"vspc-gw-backup"));
    let names: Vec<_> = fs::read_dir(place.folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "nothing is left beside");
}

#[test]
fn who_is_stopped_stays_so_over_a_restore() {
    let place = Place::filled();
    let frozen = place.settings.directory.join("frozen.json");
    fs::write(&frozen, r#"{"tenants":["acme"]}"#).unwrap();
    let file = place.back_up(true);
    fs::write(&frozen, r#"{"tenants":["globex"]}"#).unwrap();
    place.restore(&file, true).unwrap();
    let text = fs::read_to_string(&frozen).unwrap();
    assert!(text.contains("acme") && text.contains("globex"), "{text}");
    assert_eq!(
        fs::metadata(&frozen).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let other = Place::new();
    other.restore(&file, true).unwrap();
    let text = fs::read_to_string(other.settings.directory.join("frozen.json")).unwrap();
    assert_eq!(text, r#"{"tenants":["acme"]}"#);
}

#[test]
fn what_a_start_would_do_is_told_beforehand_and_not_done() {
    let place = Place::new();
    let told = || prospect(&place.settings);
    assert!(matches!(told(), Prospect::Begin));
    assert!(!place.settings.directory.exists());
    place.fill(b"1");
    let before = place.files();
    assert!(matches!(told(), Prospect::GoOn));
    let state = place.open();
    assert!(matches!(told(), Prospect::GoOn), "in use");
    drop(state);
    let key = fs::read(place.settings.own_key()).unwrap();
    fs::write(place.settings.own_key(), "ab".repeat(32)).unwrap();
    assert!(matches!(
        told(),
        Prospect::SetAside(StateError::WrongKey(_))
    ));
    fs::remove_file(place.settings.own_key()).unwrap();
    assert!(matches!(
        told(),
        Prospect::SetAside(StateError::KeyMissing(_))
    ));
    crate::state::files::replace(&place.settings.own_key(), &key).unwrap();
    let names = |files: &[(PathBuf, Vec<u8>)]| {
        files
            .iter()
            .map(|(path, _)| path.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&place.files()), names(&before));
    fs::write(place.settings.database(), [3; 8192]).unwrap();
    let told = told();
    let is_damage = matches!(told, Prospect::SetAside(StateError::Unusable { .. }));
    assert!(is_damage, "{told:?}");
}

#[test]
fn it_is_told_what_is_there() {
    let place = Place::filled();
    let told = info(&place.settings).unwrap();
    assert!(!told.in_use && told.keys.len() == 1 && told.set_aside.is_empty());
    let names: Vec<_> = told
        .tables
        .iter()
        .map(|table| (table.name, table.values))
        .collect();
    assert_eq!(
        names,
        [
            ("chains", 1),
            ("codes", 1),
            ("fingerprints", 1),
            ("leases", 1),
            ("logins", 1),
            ("sessions", 1),
            ("token_keys", 1)
        ]
    );
    assert!(
        told.tables
            .iter()
            .all(|table| table.by_key.contains_key(&told.keys[0]))
    );
    let _state = place.open();
    assert!(info(&place.settings).unwrap().in_use);
}

#[test]
fn what_a_killed_process_left_is_looked_at_without_a_change_and_backed_up() {
    let place = Place::filled();
    let state = place.open();
    // What a kill leaves is what the files hold at that moment.
    let killed = Place::new();
    fs::create_dir(&killed.settings.directory).unwrap();
    for file in [Settings::database, Settings::own_key] {
        fs::copy(file(&place.settings), file(&killed.settings)).unwrap();
    }
    drop(state);
    let before = killed.files();
    assert!(matches!(prospect(&killed.settings), Prospect::GoOn));
    assert_eq!(killed.files(), before);
    let other = Place::new();
    other.restore(&killed.back_up(true), true).unwrap();
    assert_eq!(other.values(), Table::ALL.map(|_| one()));
}

#[test]
fn a_key_that_is_kept_elsewhere_stays_the_one() {
    let place = Place::filled();
    let file = place.back_up(true);
    let mut other = Place::new();
    let key = other.file("key");
    crate::state::files::replace(&key, "5c".repeat(32).as_bytes()).unwrap();
    other.settings.key = Some(SecretSource::File(key.clone()));
    assert!(!other.restore(&file, true).unwrap().keys_added);
    assert_eq!(fs::read_to_string(&key).unwrap(), "5c".repeat(32));
    assert!(!other.settings.own_key().exists());
    assert_eq!(other.values(), Table::ALL.map(|_| one()));
    let told = info(&other.settings).unwrap();
    assert!(told.tables.iter().all(|table| table.lost == 0));
}
