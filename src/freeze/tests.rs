use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use super::file::{HoldFile, Step};
use super::*;
use crate::clock::Timestamp;

fn hold(scope: Scope) -> Hold {
    let reason = Some("a test".to_owned());
    Hold::new(
        scope,
        Timestamp(1_790_000_000_000_000),
        "ann@host".to_owned(),
        reason,
    )
}

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.to_owned())
}

fn client(name: &str) -> Scope {
    Scope::Client(name.to_owned())
}

/// Freezes, and keeps it.
fn freeze(freezer: &Freezer, scope: Scope) {
    assert_eq!(freezer.hold(hold(scope)), None);
    freezer.keep().unwrap();
}

fn scopes(freezer: &Freezer) -> Vec<String> {
    let holds = freezer.holds();
    holds.iter().map(|hold| hold.scope.to_string()).collect()
}

#[test]
fn what_is_frozen_stops_what_it_names_and_nothing_else() {
    let freezer = Freezer::nowhere();
    assert!(freezer.check_caller(Some("zabbix")).is_ok());
    assert!(freezer.hold(hold(client("zabbix"))).is_none());
    assert!(freezer.hold(hold(tenant("acme"))).is_none());
    let stopped = freezer.check_caller(Some("zabbix")).unwrap_err();
    assert_eq!(stopped.0.scope, client("zabbix"));
    assert!(freezer.check_caller(Some("billing")).is_ok());
    assert!(freezer.check_caller(None).is_ok());
    assert!(freezer.check_tenant("acme").is_err());
    assert!(freezer.check_tenant("zabbix").is_ok());
    assert_eq!(freezer.state().0, 2);
    assert!(freezer.state().1.is_none());

    assert!(freezer.hold(hold(Scope::Everything)).is_none());
    assert!(freezer.check_caller(None).is_err());
    assert!(freezer.check_tenant("globex").is_err());
    assert!(freezer.state().1.is_some());
    // One that is thawed leaves the others as they are.
    assert!(freezer.thaw(&Scope::Everything).unwrap().is_some());
    assert!(freezer.thaw(&Scope::Everything).unwrap().is_none());
    assert!(freezer.check_caller(Some("billing")).is_ok());
    assert!(freezer.check_tenant("acme").is_err());
}

#[test]
fn a_freeze_is_told_in_one_line_whatever_somebody_wrote() {
    let mut hold = hold(tenant("acme"));
    hold.by = "ann\r\nWARN forged".to_owned();
    hold.reason = Some("\u{1b}[31m\u{202e}\n".to_owned());
    let told = hold.to_string();
    assert!(
        told.chars().all(|c| c.is_ascii_graphic() || c == ' '),
        "{told}"
    );
    assert!(told.starts_with("tenant acme, since 2026-"), "{told}");
}

#[test]
fn a_second_freeze_of_the_same_changes_nothing() {
    let freezer = Freezer::nowhere();
    assert!(freezer.hold(hold(tenant("acme"))).is_none());
    let mut later = hold(tenant("acme"));
    later.by = "bob@host".to_owned();
    let earlier = freezer.hold(later).unwrap();
    assert_eq!(earlier.by, "ann@host");
    assert_eq!(freezer.holds().len(), 1);
}

#[test]
fn freezes_and_thaws_survive_a_restart_in_a_file_of_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let freezer = Freezer::open(folder.path()).unwrap();
    assert!(freezer.look().is_empty());
    assert!(!folder.path().join("frozen.json").exists());
    freeze(&freezer, tenant("acme"));
    freeze(&freezer, client("zabbix"));
    assert!(freezer.thaw(&client("zabbix")).unwrap().is_some());
    let before = freezer.holds();

    let freezer = Freezer::open(folder.path()).unwrap();
    assert_eq!(freezer.holds(), before);
    assert!(freezer.check_tenant("acme").is_err());
    // Whoever starts the process is told what it starts with, once.
    assert_eq!(freezer.look(), [Seen::Frozen(hold(tenant("acme")))]);
    assert_eq!(freezer.look(), []);
    let file = fs::metadata(folder.path().join("frozen.json")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_process_that_ends_at_any_step_leaves_the_old_list_or_the_new_one() {
    let steps = [
        Step::Created,
        Step::HalfWritten,
        Step::Written,
        Step::Synced,
        Step::Renamed,
    ];
    for last in steps {
        let folder = tempfile::tempdir().unwrap();
        let freezer = Freezer::open(folder.path()).unwrap();
        freeze(&freezer, tenant("acme"));
        let file = HoldFile::within(folder.path());
        let ended = file.replace(
            &[hold(tenant("acme")), hold(client("zabbix"))],
            |step| match step == last {
                true => Err(io::Error::other("the end")),
                false => Ok(()),
            },
        );
        assert_eq!(ended.unwrap_err().to_string(), "the end");

        let after = Freezer::open(folder.path()).unwrap();
        let expected = match last {
            Step::Renamed => vec!["tenant acme", "client zabbix"],
            _ => vec!["tenant acme"],
        };
        assert_eq!(scopes(&after), expected, "{last:?}");
        // What it left behind is in nobody's way.
        freeze(&after, tenant("globex"));
        assert!(scopes(&Freezer::open(folder.path()).unwrap()).contains(&"tenant globex".into()));
    }
}

#[test]
fn a_damaged_file_is_refused_at_the_start_by_its_name() {
    let good = r#"{"version":1,"frozen":[{"tenant":"acme","since":"t","by":"ann"}]}"#;
    let cut = good.strip_suffix('}').unwrap();
    for damaged in [
        "",
        "{}",
        cut,
        &good.replace("\"version\":1", "\"version\":2"),
        &good.replace("tenant", "tennant"),
        &good.replace("\"tenant\":", "\"client\":\"zabbix\",\"tenant\":"),
        &good.replace("\"tenant\":\"acme\",", ""),
        &good.replace("\"by\":\"ann\"", "\"more\":1,\"by\":\"ann\""),
        &good.replace("acme", "ac\\u202eme"),
        &good.replace("acme", " acme"),
        &good.replace("\"tenant\":\"acme\"", "\"client\":\"ac me\""),
        &good.replace("\"t\"", "\"\\u001b[2J\""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("frozen.json"), damaged).unwrap();
        let refused = Freezer::open(folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains("frozen.json") && refused.contains("mend it"),
            "{refused}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("frozen.json"), good).unwrap();
    assert_eq!(
        scopes(&Freezer::open(folder.path()).unwrap()),
        ["tenant acme"]
    );
    fs::create_dir(folder.path().join("inside")).unwrap();
    fs::create_dir(folder.path().join("inside/frozen.json")).unwrap();
    assert!(Freezer::open(&folder.path().join("inside")).is_err());
}

#[test]
fn a_file_that_is_damaged_while_it_is_used_freezes_everything_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frozen.json");
    let freezer = Freezer::open(folder.path()).unwrap();
    freeze(&freezer, tenant("acme"));
    let good = fs::read(&path).unwrap();
    fs::write(&path, "{\"version\":1,").unwrap();
    let seen = freezer.look();
    assert!(
        matches!(
            &seen[..],
            [Seen::Frozen(Hold {
                scope: Scope::Everything,
                ..
            })]
        ),
        "{seen:?}"
    );
    assert!(freezer.check_caller(Some("billing")).is_err());
    assert_eq!(freezer.look(), []);
    let refused = freezer.thaw(&Scope::Everything).unwrap_err().to_string();
    assert!(refused.contains("frozen.json"), "{refused}");
    // To freeze more is possible all the same; it is kept once that can be done.
    assert!(freezer.hold(hold(client("zabbix"))).is_none());
    assert!(freezer.keep().is_err());

    fs::write(&path, good).unwrap();
    assert!(matches!(&freezer.look()[..], [Seen::Thawed(_)]));
    assert!(freezer.check_caller(Some("billing")).is_ok());
    assert!(freezer.check_tenant("acme").is_err());
    let after = Freezer::open(folder.path()).unwrap();
    assert_eq!(scopes(&after), ["tenant acme", "client zabbix"]);
}

#[test]
fn a_file_that_is_gone_thaws_nothing_in_a_process_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frozen.json");
    let freezer = Freezer::open(folder.path()).unwrap();
    freeze(&freezer, tenant("acme"));
    fs::remove_file(&path).unwrap();
    assert_eq!(freezer.look(), []);
    assert!(freezer.check_tenant("acme").is_err());
    freeze(&freezer, client("zabbix"));
    assert_eq!(
        scopes(&Freezer::open(folder.path()).unwrap()),
        ["tenant acme", "client zabbix"]
    );
}

#[test]
fn two_processes_learn_of_each_others_freezes_and_undo_none() {
    let folder = tempfile::tempdir().unwrap();
    let one = Freezer::open(folder.path()).unwrap();
    let other = Freezer::open(folder.path()).unwrap();
    freeze(&one, tenant("acme"));
    assert!(other.check_tenant("acme").is_ok());
    assert_eq!(other.look(), [Seen::Frozen(hold(tenant("acme")))]);
    assert!(other.check_tenant("acme").is_err());
    assert_eq!(one.look(), [], "it was its own");

    // Neither has looked when both change the file.
    freeze(&other, client("zabbix"));
    freeze(&one, client("billing"));
    assert_eq!(one.look(), [Seen::Frozen(hold(client("zabbix")))]);
    assert_eq!(one.holds().len(), 3);
    assert!(other.thaw(&tenant("acme")).unwrap().is_some());
    assert_eq!(one.look(), [Seen::Thawed(hold(tenant("acme")))]);
    assert!(one.check_tenant("acme").is_ok());
    assert_eq!(other.look(), [Seen::Frozen(hold(client("billing")))]);
    assert_eq!(scopes(&one), scopes(&other));
}

#[test]
fn many_changes_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let processes: Vec<_> = (0..4)
        .map(|_| Freezer::open(folder.path()).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (number, process) in processes.iter().enumerate() {
            scope.spawn(move || {
                for count in 0..10 {
                    freeze(process, tenant(&format!("t{number}-{count}")));
                }
            });
        }
    });
    assert_eq!(Freezer::open(folder.path()).unwrap().holds().len(), 40);
}

#[test]
fn what_cannot_be_written_is_in_force_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let freezer = Freezer::open(&state).unwrap();
    fs::remove_dir(&state).unwrap();
    assert!(freezer.hold(hold(tenant("acme"))).is_none());
    assert!(freezer.keep().is_err());
    assert!(freezer.check_tenant("acme").is_err());
    assert!(freezer.thaw(&tenant("acme")).is_err());
    fs::create_dir(&state).unwrap();
    freezer.look();
    assert_eq!(scopes(&Freezer::open(&state).unwrap()), ["tenant acme"]);
}

/// A company is frozen by its name before its directory was read, and renamed later.
#[test]
fn what_is_frozen_by_a_name_stays_frozen_under_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let freezer = Freezer::open(folder.path()).unwrap();
    freeze(&freezer, tenant("Acme & Söhne GmbH"));
    freeze(&freezer, tenant("globex"));
    freezer.learn_ids(|_| None);
    assert!(freezer.check_tenant("uid-1").is_ok());
    let id_of = |name: &str| match name {
        "Acme & Söhne GmbH" => Some("uid-1".to_owned()),
        name => Some(name.to_owned()),
    };
    freezer.learn_ids(id_of);
    for name in ["Acme & Söhne GmbH", "uid-1", "globex"] {
        assert!(freezer.check_tenant(name).is_err(), "{name}");
    }
    assert_eq!(freezer.state().0, 2);
    assert_eq!(freezer.look(), []);
    // It is in the file: for the next start, and for the other process.
    let next = Freezer::open(folder.path()).unwrap();
    assert!(next.check_tenant("uid-1").is_err());
    let earlier = next.hold(hold(tenant("uid-1"))).unwrap();
    assert_eq!(earlier.scope, tenant("Acme & Söhne GmbH"));
    // It is thawed by either.
    assert!(next.thaw(&tenant("uid-1")).unwrap().is_some());
    assert!(matches!(&freezer.look()[..], [Seen::Thawed(_)]));
    for name in ["Acme & Söhne GmbH", "uid-1"] {
        assert!(next.check_tenant(name).is_ok(), "{name}");
        assert!(freezer.check_tenant(name).is_ok(), "{name}");
    }
    freezer.look();
    assert_eq!(
        scopes(&Freezer::open(folder.path()).unwrap()),
        ["tenant globex"]
    );
}

#[test]
fn an_id_that_cannot_be_written_is_in_force_and_survives_what_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        Freezer::open(folder.path()).unwrap(),
        Freezer::open(folder.path()).unwrap(),
    );
    freeze(&one, tenant("Acme Ltd"));
    one.learn_ids(|_| Some("uid-1".to_owned()));
    // Another process that never saw the directory writes before this one does.
    freeze(&other, client("zabbix"));
    one.look();
    one.learn_ids(|_| None);
    assert!(one.check_tenant("uid-1").is_err());
    let after = Freezer::open(folder.path()).unwrap();
    assert!(after.check_tenant("uid-1").is_err());
    assert_eq!(after.holds().len(), 2);
}

#[test]
fn the_same_frozen_twice_in_the_file_is_thawed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let twice = r#"{"version":1,"frozen":[{"tenant":"acme","since":"t","by":"ann"},
        {"tenant":"acme","since":"u","by":"bob"}]}"#;
    fs::write(folder.path().join("frozen.json"), twice).unwrap();
    let freezer = Freezer::open(folder.path()).unwrap();
    assert_eq!(scopes(&freezer), ["tenant acme"]);
    assert!(freezer.thaw(&tenant("acme")).unwrap().is_some());
    assert!(freezer.check_tenant("acme").is_ok());
    assert!(Freezer::open(folder.path()).unwrap().holds().is_empty());
}
