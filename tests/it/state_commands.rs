//! The state directory as its operators handle it: keys that are lost, replaced or rotated, backups
//! and their way back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vspc_gateway::clock::Timestamp;
use vspc_gateway::freeze::{Freezer, Hold, Scope};
use vspc_gateway::state::{Settings as StateSettings, State, Table};
use vspc_simulator::Simulator;

use crate::child::{BINARY, Gateway, Home, command, unsigned};
use crate::harness::{Answer, write_secret};
use crate::process::{log_in, me, refresh, token};

async fn simulator() -> Simulator {
    Simulator::start(unsigned()).await.unwrap()
}

fn directory(home: &Home) -> PathBuf {
    home.folder.path().join("state")
}

async fn stop(mut gateway: Gateway) {
    gateway.signal("TERM");
    assert!(gateway.exit().await.success(), "{}", gateway.log());
}

fn run(home: &Home, arguments: &[&str]) -> Output {
    let config = home.config();
    let all = [
        &["state"],
        arguments,
        &["--config", config.to_str().unwrap()],
    ]
    .concat();
    command(&all)
}

fn told(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(all).unwrap()
}

/// Runs a command that must succeed, and returns what it says.
fn done(home: &Home, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", told(&output));
    told(&output)
}

/// Runs a command that must fail, and returns why it does.
fn refused(home: &Home, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    told(&output)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What was set aside, by its full path.
fn set_aside(home: &Home, why: &str) -> Option<PathBuf> {
    let names = names(&directory(home));
    let name = names.iter().find(|name| name.contains(why))?;
    Some(directory(home).join(name))
}

fn lets_users_log_in(home: &Home) {
    home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
}

/// A log-in of one of the console's own users.
async fn log_in_as_user(home: &Home) -> Answer {
    let user = vspc_simulator::seed::ACME_ADMINISTRATOR;
    let form = [
        ("grant_type", "password"),
        ("username", user.name),
        ("password", vspc_simulator::seed::ADMINISTRATOR_PASSWORD),
    ];
    let answer = token(home.address, &form).await;
    assert_eq!(answer.status, 200);
    answer
}

fn recorded(home: &Home, operation: &str) -> usize {
    let records = home.records();
    let is_it = |record: &&serde_json::Value| {
        record["kind"] == "admin" && record["operation"] == operation && record["code"] == "ok"
    };
    records.iter().filter(is_it).count()
}

#[tokio::test]
async fn a_backup_under_load_brings_log_ins_and_sessions_back() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    lets_users_log_in(&home);
    let gateway = home.start().await;
    let (tool, user) = (log_in(home.address).await, log_in_as_user(&home).await);
    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (over, address) = (Arc::clone(&over), home.address);
        async move {
            let (mut login, mut turns) = (log_in(address).await, 0);
            while !over.load(Ordering::Relaxed) {
                login = refresh(address, &login).await;
                assert_eq!(login.status, 200);
                turns += 1;
            }
            turns
        }
    });
    let file = home.folder.path().join("backup");
    let file = file.to_str().unwrap();
    for turn in 0..5 {
        let more: &[&str] = if turn == 0 { &[] } else { &["--force"] };
        let arguments = [&["backup", file], more].concat();
        let home = home.config();
        let config = home.to_str().unwrap().to_owned();
        let all: Vec<String> = ["state"]
            .iter()
            .chain(&arguments)
            .map(|&text| text.to_owned())
            .collect();
        let output = tokio::task::spawn_blocking(move || {
            Command::new(BINARY)
                .args(all)
                .arg("--config")
                .arg(config)
                .output()
                .unwrap()
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
    over.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    assert!(refused(&home, &["backup", file]).contains("--force"));
    stop(gateway).await;

    std::fs::rename(directory(&home), home.folder.path().join("lost")).unwrap();
    let said = done(&home, &["restore", file, "--keep-logins"]);
    assert!(said.contains("keys were added"), "{said}");
    let log_ins = || {
        let name = vspc_simulator::seed::ACME_ADMINISTRATOR
            .name
            .replace('\\', "%5C");
        let seen = simulator.requests().into_iter();
        seen.filter(|seen| {
            let body = String::from_utf8_lossy(&seen.body);
            seen.grant == Some("password") && body.contains(&name)
        })
        .count()
    };
    let before = log_ins();
    assert_eq!(before, 1);
    let gateway = home.start().await;
    for login in [&tool, &user] {
        assert_eq!(me(home.address, login).await, 200);
    }
    assert_eq!(refresh(home.address, &tool).await.status, 200);
    assert_eq!(log_ins(), before, "the console sees no log-in of its user");
    assert_eq!(recorded(&home, "state.restored"), 1);
    assert_eq!(recorded(&home, "state.begun"), 1, "at the very first start");
    assert_eq!(recorded(&home, "state.set_aside"), 0);
    stop(gateway).await;

    let said = done(&home, &["restore", file]);
    assert!(said.contains("tools log in again"), "{said}");
    assert!(set_aside(&home, "replaced").is_some());
    let _gateway = home.start().await;
    assert_eq!(me(home.address, &tool).await, 401);
    assert_eq!(refresh(home.address, &tool).await.status, 400);
    assert_eq!(log_in(home.address).await.status, 200);
    assert_eq!(recorded(&home, "state.restored"), 2);
}

#[tokio::test]
async fn a_state_of_another_key_is_set_aside_and_can_be_had_back() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let gateway = home.start().await;
    let login = log_in(home.address).await;
    stop(gateway).await;
    let key = directory(&home).join("key");
    let own = std::fs::read_to_string(&key).unwrap();
    let other = "ab".repeat(32);
    write_secret(&key, &other);

    let checked = command(&["check", "--config", home.config().to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(told(&checked).contains("another key"), "{}", told(&checked));
    assert!(refused(&home, &["info"]).contains("another key"));
    let mut upgrade = home.run(&["--upgrade"]);
    assert_eq!(upgrade.exit().await.code(), Some(1));
    assert!(
        upgrade.log().contains("without --upgrade"),
        "{}",
        upgrade.log()
    );
    assert_eq!(set_aside(&home, "unreadable"), None);

    let gateway = home.start().await;
    let log = gateway.log();
    assert!(!log.contains(&other), "{log}");
    let aside = set_aside(&home, "unreadable").unwrap();
    for part in [
        "ERROR",
        "another key",
        "void",
        "further line",
        aside.to_str().unwrap(),
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert_eq!(recorded(&home, "state.set_aside"), 1);
    assert_eq!(me(home.address, &login).await, 401);
    let meanwhile = log_in(home.address).await;
    assert_eq!(meanwhile.status, 200);
    stop(gateway).await;

    write_secret(&key, &format!("{other}\n{own}"));
    std::fs::rename(&aside, directory(&home).join("state.redb")).unwrap();
    let _gateway = home.start().await;
    assert_eq!(me(home.address, &login).await, 200);
    assert_eq!(refresh(home.address, &login).await.status, 200);
    assert_eq!(me(home.address, &meanwhile).await, 401);
    assert_eq!(recorded(&home, "state.set_aside"), 1);
}

#[tokio::test]
async fn a_key_is_replaced_without_anybody_logged_out() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    lets_users_log_in(&home);
    let gateway = home.start().await;
    let user = log_in_as_user(&home).await;
    let mut tool = refresh(home.address, &log_in(home.address).await).await;
    stop(gateway).await;
    let key = directory(&home).join("key");
    let old = std::fs::read_to_string(&key).unwrap();
    let new = "5c".repeat(32);
    for keys in [format!("{new}\n{old}"), new.clone()] {
        write_secret(&key, &keys);
        let gateway = home.start().await;
        assert!(!gateway.log().contains("passed over"), "{}", gateway.log());
        for login in [&user, &tool] {
            assert_eq!(me(home.address, login).await, 200);
        }
        tool = refresh(home.address, &tool).await;
        assert_eq!(tool.status, 200);
        let rotates = keys.contains(old.trim());
        assert_eq!(gateway.log().contains("may be taken out"), rotates);
        stop(gateway).await;
    }
    assert_eq!(recorded(&home, "state.set_aside"), 0);
    let said = done(&home, &["info"]);
    assert!(
        said.contains("not in use") && said.contains("token_keys: 1 values"),
        "{said}"
    );
    assert!(
        !said.contains(&new) && !said.contains("cannot be opened"),
        "{said}"
    );
}

#[tokio::test]
async fn nothing_is_restored_beside_a_gateway_or_from_a_damaged_file() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let gateway = home.start().await;
    let login = log_in(home.address).await;
    let path = home.folder.path().join("backup");
    let file = path.to_str().unwrap();
    done(&home, &["backup", file, "--without-key"]);
    let before = names(&directory(&home));
    let why = refused(&home, &["restore", file]);
    assert!(why.contains("a gateway is using"), "{why}");
    assert_eq!(names(&directory(&home)), before);
    assert_eq!(me(home.address, &login).await, 200);
    stop(gateway).await;

    let mut content = std::fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&path, &content).unwrap();
    let why = refused(&home, &["restore", file]);
    assert!(why.contains("damaged") && why.contains(file), "{why}");
    assert_eq!(names(&directory(&home)), before);
    let why = refused(&home, &["restore", "/nonexistent/backup"]);
    assert!(why.contains("/nonexistent/backup"), "{why}");
    let usage = command(&[
        "state",
        "restore",
        file,
        "--config",
        "/nonexistent/gateway.toml",
    ]);
    assert_eq!(usage.status.code(), Some(64));
    assert_eq!(command(&["state", "restore"]).status.code(), Some(64));
    let _gateway = home.start().await;
    assert_eq!(me(home.address, &login).await, 200);
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_the_old_state_or_the_new_one() {
    const VALUES: usize = 4_000;
    let home = Home::new("http://127.0.0.1:9");
    let settings = StateSettings {
        directory: directory(&home),
        key: None,
    };
    let fill = |count: usize, value: u8| {
        let state = State::open(&settings).unwrap();
        let filled = state.change(Table::Leases, |change| {
            for name in change.names()? {
                change.remove(&name)?;
            }
            (0..count).try_for_each(|number| change.put(&number.to_be_bytes(), &[value; 500]))
        });
        filled.unwrap();
    };
    let look = || {
        let state = State::open(&settings).unwrap();
        assert!(state.set_aside().is_none(), "{:?}", state.set_aside());
        let mut values = Vec::new();
        let all = state.for_each(Table::Leases, |_, value| values.push(value[0]));
        all.unwrap();
        match (values.len(), values.first()) {
            (VALUES, Some(1)) => "new",
            (3, Some(2)) => "old",
            other => panic!("{other:?}"),
        }
    };
    fill(VALUES, 1);
    let file = home.folder.path().join("backup");
    done(&home, &["backup", file.to_str().unwrap()]);
    fill(3, 2);
    assert_eq!(look(), "old");

    let restore = || {
        Command::new(BINARY)
            .args(["state", "restore", file.to_str().unwrap(), "--config"])
            .arg(home.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let began = tokio::time::Instant::now();
    assert!(restore().wait().unwrap().success());
    let whole = began.elapsed();
    assert_eq!(look(), "new");
    let mut seen = Vec::new();
    for part in [2, 5, 8, 12, 15, 17, 18, 19] {
        fill(3, 2);
        let mut child = restore();
        tokio::time::sleep(whole * part / 20).await;
        child.kill().unwrap();
        child.wait().unwrap();
        seen.push(look());
    }
    assert!(seen.contains(&"old"), "{seen:?}");
    // What was left behind is in nobody's way.
    assert!(restore().wait().unwrap().success());
    assert_eq!(look(), "new");
    assert!(!directory(&home).join("state.redb.restoring").exists());
}

#[tokio::test]
async fn who_was_frozen_then_or_is_now_is_frozen_after_a_restore() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    stop(home.start().await).await;
    let tenant = |name: &str| Scope::Tenant(name.to_owned());
    let freeze = |scope: Scope, by: &str| {
        let freezer = Freezer::open(&directory(&home)).unwrap();
        let hold = Hold::new(scope, Timestamp(0), by.to_owned(), None);
        assert_eq!(freezer.hold(hold), None);
        freezer.keep().unwrap();
    };
    let thaw = |scope: Scope| {
        let freezer = Freezer::open(&directory(&home)).unwrap();
        assert!(freezer.thaw(&scope).unwrap().is_some());
    };
    let both = || tenant("Initech GmbH");
    freeze(both(), "then");
    freeze(tenant("acme"), "then");
    let file = home.folder.path().join("backup");
    done(&home, &["backup", file.to_str().unwrap()]);
    thaw(both());
    thaw(tenant("acme"));
    freeze(Scope::Client("billing".to_owned()), "now");
    freeze(both(), "now");
    done(&home, &["restore", file.to_str().unwrap()]);

    let freezer = Freezer::open(&directory(&home)).unwrap();
    let mut told: Vec<_> = freezer
        .holds()
        .iter()
        .map(|hold| (hold.scope.to_string(), hold.by.clone()))
        .collect();
    told.sort();
    let expected = [
        ("client billing", "now"),
        ("tenant \"Initech GmbH\"", "now"),
        ("tenant acme", "then"),
    ];
    assert_eq!(told, expected.map(|(what, by)| (what.into(), by.into())));
    let _gateway = home.start().await;
    let acme = [("x-api-key", crate::harness::ADMIN), ("x-tenant", "acme")];
    let answer = crate::child::get(home.address, "/api/v3/users/me", &acme).await;
    assert_eq!(answer.unwrap().code(), "frozen");
    thaw(both());
    let left = Freezer::open(&directory(&home)).unwrap();
    assert_eq!(left.holds().len(), 2, "frozen once, it is thawed at once");
}
