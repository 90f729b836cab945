//! What operators find in the log with `audit query`, of the real binary, while it is written.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use vspc_simulator::Simulator;

use crate::child::{BINARY, Caller, Gateway, Home, command, once, request, unsigned};
use crate::harness::{ACME, Answer, BILLING, GLOBEX, ZABBIX, until, until_true};

/// A gateway with a log of real requests.
struct World {
    _simulator: Simulator,
    home: Home,
    gateway: Gateway,
}

impl World {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines of `[audit]`.
    async fn start_with(lines: &str) -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        home.edit("[audit]", &format!("[audit]\n{lines}"));
        let gateway = home.start().await;
        Self {
            _simulator: simulator,
            home,
            gateway,
        }
    }

    async fn call(&self, key: &str, tenant: &str, method: &str, path: &str) -> Answer {
        let headers = [("x-api-key", key), ("x-tenant", tenant)];
        let answer = once(self.home.address, request(method, path, &headers, "")).await;
        answer.unwrap()
    }

    /// Waits until the outcomes of so many requests are in the log.
    async fn recorded(&self, requests: usize) {
        let written = || {
            let records = self.home.records();
            records
                .iter()
                .filter(|record| record["kind"] == "request")
                .count()
        };
        until_true(|| written() == requests).await;
    }

    fn query(&self, options: &[&str]) -> Output {
        query(&self.home, options)
    }

    /// The records that are found, which are lines of the log byte for byte, in their order.
    fn found(&self, options: &[&str]) -> Vec<Value> {
        let done = self.query(options);
        assert_eq!(done.status.code(), Some(0), "{options:?}: {done:?}");
        assert!(done.stderr.is_empty(), "{options:?}: {done:?}");
        records(&done)
    }

    /// Method and path's end of what is found.
    fn outline(&self, options: &[&str]) -> Vec<String> {
        let found = self.found(options);
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
        found
            .iter()
            .map(|record| {
                let path = text(record, "path");
                let end = path.rsplit('/').next().unwrap_or_default();
                format!("{} {end}", text(record, "method"))
            })
            .collect()
    }
}

fn query(home: &Home, options: &[&str]) -> Output {
    let config = home.config().display().to_string();
    command(&[&["audit", "query", "--config", &config], options].concat())
}

fn records(done: &Output) -> Vec<Value> {
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn told(done: &Output) -> String {
    String::from_utf8(done.stderr.clone()).unwrap()
}

#[tokio::test]
async fn identities_that_are_listed_made_and_deleted_are_told_apart() {
    let world = World::start().await;
    let logins = format!("/api/v3/users/{ACME}/logins");
    let create = format!("{logins}/apikey?description=job&scopes=rest");
    let made = world.call(BILLING, "acme", "POST", &create).await;
    let id = made.json()["data"]["id"].to_string();
    for page in ["limit=2", "limit=2&offset=2"] {
        let path = format!("/api/v3/users/logins?{page}");
        assert_eq!(world.call(BILLING, "acme", "GET", &path).await.status, 200);
    }
    let path = format!("{logins}/{id}");
    let denied = world.call(ZABBIX, "acme", "DELETE", &path).await;
    assert_eq!(denied.code(), "operation_denied");
    let deleted = world.call(BILLING, "acme", "DELETE", &path).await;
    assert_eq!(deleted.status, 200);
    let me = "/api/v3/users/me";
    assert_eq!(world.call(BILLING, "acme", "GET", me).await.status, 200);
    world.recorded(6).await;

    let (create, list, delete) = ("POST apikey", "GET logins", format!("DELETE {id}"));
    let delete = delete.as_str();
    let done = |action: &'static str| ["--action", action, "--status", "2xx"];
    assert_eq!(world.outline(&done("created")), [create]);
    assert_eq!(world.outline(&done("deleted")), [delete]);
    assert_eq!(world.outline(&done("listed")), [list, list]);
    // Also the intents, and what was refused.
    let changes = ["--action", "created", "--action", "deleted"];
    let all = [create, create, delete, delete, delete];
    assert_eq!(world.outline(&changes), all);
    let of_identity = ["--subject", &id, "--kind", "request"];
    assert_eq!(world.outline(&of_identity), [create, delete, delete]);
    assert_eq!(
        world.outline(&["--operation", "*LOGINS*", "--tenant", "acme"]),
        [create, create, list, list, delete, delete, delete]
    );
    assert_eq!(
        world.outline(&["--operation", "get /users/logins"]),
        [list, list]
    );
    let refused = ["--path", "*/logins/*", "--method", "delete", "--refused"];
    let refused = world.found(&refused);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["request_id"], denied.request_id());
    let deletion = world.found(&["--request-id", deleted.request_id()]);
    let kinds: Vec<_> = deletion.iter().map(|record| &record["kind"]).collect();
    assert_eq!(kinds, ["intent", "request"]);

    let table = world.query(&[&done("created")[..], &["--format", "table"]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("billing→acme/"), "{table}");
}

#[tokio::test]
async fn who_acted_for_whom_and_what_was_refused_is_found() {
    let mut world = World::start().await;
    let me = "/api/v3/users/me";
    let read = world.call(ZABBIX, "globex", "GET", me).await;
    let foreign = world.call(BILLING, "globex", "GET", me).await;
    assert_eq!(foreign.code(), "tenant_denied");
    let other = world.call(BILLING, "acme", "GET", me).await;
    assert_eq!(other.status, 200);
    world.recorded(3).await;

    for options in [
        &["--request-id", read.request_id()][..],
        &["--target", &GLOBEX.to_uppercase(), "--client", "zabbix"],
        &["--tenant", "globex", "--rule", "clients.zabbix.*"],
    ] {
        let found = world.found(options);
        assert_eq!(found.len(), 1, "{options:?}");
        assert_eq!(found[0]["request_id"], read.request_id(), "{options:?}");
    }
    for options in [
        &["--refused", "--client", "billing"][..],
        &["--code", "tenant_*"],
        &["--status", "4xx"],
    ] {
        let found = world.found(options);
        assert_eq!(found.len(), 1, "{options:?}");
        assert_eq!(found[0]["request_id"], foreign.request_id());
    }
    let tokens = world.found(&["--kind", "token", "--console", "main"]);
    assert_eq!(tokens.len(), 3);
    for none in [
        ["--source", "10.0.0.0/8"],
        ["--until", "7d"],
        ["--credential", "token:*"],
        ["--session", "*"],
        ["--user", "*"],
        ["--grant", "*"],
        ["--client", "zabb"],
    ] {
        assert_eq!(world.found(&none), [] as [Value; 0], "{none:?}");
    }

    world.gateway.signal("TERM");
    assert_eq!(world.gateway.exit().await.code(), Some(0));
    let log = world.home.audit_folder().join(format!("{:020}.jsonl", 0));
    let log = std::fs::read(log).unwrap();
    assert_eq!(world.query(&["--since", "1h"]).stdout, log);
    let local = ["--count", "--source", "::1", "--source", "127.0.0.0/8"];
    assert_eq!(world.query(&local).stdout, b"3\n");
    let last = world.found(&["--newest-first", "--limit", "1"]);
    // The two queries before.
    assert_eq!(last[0]["operation"], "audit.read");
    let last = world.found(&["--newest-first", "--limit", "1", "--operation", "process.*"]);
    assert_eq!(last[0]["operation"], "process.stopped");
    let some = world.found(&["--from-seq", "2", "--to-seq", "3", "--reverse"]);
    let seqs: Vec<_> = some.iter().map(|record| &record["seq"]).collect();
    assert_eq!(seqs, [3, 2]);
}

#[test]
fn a_wrong_value_is_named_with_its_option_and_the_right_form() {
    let home = Home::new("http://127.0.0.1:9");
    for (options, option, form) in [
        (&["--status", "40"][..], "--status", "4xx"),
        (&["--source", "10.0.0.0/40"], "--source", "10.1.0.0/16"),
        (&["--since", "yesterday"], "--since", "2h"),
        (&["--until", "2026-13-01"], "--until", "2026-03-04"),
        (
            &["--since", "1h", "--until", "2h"],
            "--until",
            "later than --since",
        ),
        (&["--from-seq=-1"], "--from-seq", ""),
        (
            &["--from-seq", "2", "--to-seq", "1"],
            "--to-seq",
            "--from-seq",
        ),
        (&["--kind", "requests"], "--kind", "request"),
        (&["--action", "create"], "--action", "created"),
        (&["--client", ""], "--client", "empty"),
        (&["--limit", "some"], "--limit", ""),
        (
            &["--follow", "--newest-first"],
            "--follow",
            "--newest-first",
        ),
        (&["--follow", "--count"], "--follow", "--count"),
        (&["--format", "xml"], "--format", "json"),
        (&["--tennant", "acme"], "--tennant", "--tenant"),
    ] {
        let done = query(&home, options);
        let told = told(&done);
        assert_eq!(done.status.code(), Some(64), "{options:?}: {told}");
        assert!(
            told.contains(option) && told.contains(form),
            "{options:?}: {told}"
        );
        assert!(done.stdout.is_empty());
    }
    let done = query(&home, &[]);
    assert_eq!(done.status.code(), Some(1));
    let directory = home.audit_folder().display().to_string();
    assert!(told(&done).contains(&directory), "{done:?}");
    let done = command(&["audit", "query", "--config", "/nonexistent/gateway.toml"]);
    assert_eq!(done.status.code(), Some(64));
}

#[tokio::test]
async fn damage_is_told_at_the_end_and_fails_only_a_strict_query() {
    let mut world = World::start().await;
    for _ in 0..3 {
        world.call(ZABBIX, "acme", "GET", "/api/v3/users/me").await;
    }
    world.gateway.signal("TERM");
    assert_eq!(world.gateway.exit().await.code(), Some(0));
    assert!(world.query(&["--strict"]).stderr.is_empty());

    let log = world.home.audit_folder().join(format!("{:020}.jsonl", 0));
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(2);
    lines[3] = "{\"seq\":4";
    let requests = lines
        .iter()
        .filter(|line| line.contains("\"kind\":\"request\""))
        .count();
    let requests = format!("{requests}\n");
    let damaged = lines.join("\n") + "\n{\"seq\":99,\"unfin";
    std::fs::write(&log, damaged).unwrap();
    for order in [&[][..], &["--newest-first"]] {
        let done = world.query(order);
        assert_eq!(done.status.code(), Some(0));
        let found = records(&done).into_iter();
        let own = |record: &Value| {
            record["operation"] == "audit.read" || record["operation"] == "audit.repaired"
        };
        assert_eq!(found.filter(|record| !own(record)).count(), lines.len() - 2);
        let place = log.display();
        let at = lines[..3].join("\n").len() + 1;
        let told = told(&done);
        let (first, rest) = told.split_once('\n').unwrap();
        // Nothing is written into a log that is not what it was.
        assert!(
            first.starts_with(
                "vspc-gateway: this is not in the audit log: the audit log has no record 2"
            ),
            "{first}"
        );
        assert_eq!(
            rest,
            format!(
                "vspc-gateway: warning: 1 line of {place} cannot be read, at byte {at}\n\
                 vspc-gateway: warning: record 2 is missing\n"
            )
        );
        let strict = world.query(&[order, &["--strict", "--count", "--kind", "request"]].concat());
        assert_eq!(strict.status.code(), Some(1));
        assert_eq!(String::from_utf8(strict.stdout).unwrap(), requests);
    }
    // What was not asked for is not judged.
    let after = world.query(&["--strict", "--from-seq", "5"]);
    assert_eq!(after.status.code(), Some(0));
    assert!(!told(&after).contains("warning"), "{}", told(&after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_being_written_is_read_whole_and_followed() {
    let world = World::start_with("segment_size = \"64KiB\"").await;
    let mut followed = follow(&world.home, &["--client", "billing", "--limit", "40"]);
    let address = world.home.address;
    let load = tokio::spawn(async move {
        let mut caller = Caller::new(address);
        loop {
            let headers = [("x-api-key", BILLING), ("x-tenant", "acme")];
            let change = request("POST", "/api/v3/_test/echo", &headers, "x");
            assert_eq!(caller.send(change).await.unwrap().status, 200);
            tokio::task::yield_now().await;
        }
    });
    let mut seen = 0;
    for round in 0..10 {
        // More has been written since.
        let count = until(|| {
            let counted = query(&world.home, &["--count"]).stdout;
            let count: usize = String::from_utf8(counted).unwrap().trim().parse().unwrap();
            (count > seen).then_some(count)
        })
        .await;
        let order = ["--reverse"];
        let done = query(&world.home, &order[..round % 2]);
        assert!(done.stderr.is_empty(), "{done:?}");
        let mut found = records(&done);
        if round % 2 == 1 {
            found.reverse();
        }
        crate::child::assert_gapless(&found);
        assert!(found.len() >= count);
        seen = found.len();
    }
    load.abort();
    let status = until(|| followed.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
    let lines: Vec<String> = BufReader::new(followed.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect();
    let first: Vec<String> = world
        .found(&["--client", "billing", "--limit", "40"])
        .iter()
        .map(Value::to_string)
        .collect();
    let lines: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap().to_string())
        .collect();
    assert_eq!(lines, first);
}

fn follow(home: &Home, options: &[&str]) -> std::process::Child {
    Command::new(BINARY)
        .args(["audit", "query", "--follow", "--config"])
        .arg(home.config())
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// As `| head` does.
#[test]
fn whoever_reads_may_stop_when_he_has_enough() {
    let home = Home::new("http://127.0.0.1:9");
    std::fs::create_dir(home.audit_folder()).unwrap();
    let path = home.audit_folder().join(format!("{:020}.jsonl", 0));
    let mut log = std::fs::File::create(path).unwrap();
    for seq in 0..20_000 {
        writeln!(
            log,
            "{{\"seq\":{seq},\"kind\":\"admin\",\"detail\":\"{seq:060}\"}}"
        )
        .unwrap();
    }
    let mut child = Command::new(BINARY)
        .args(["audit", "query", "--config"])
        .arg(home.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    drop(out);
    let done = child.wait_with_output().unwrap();
    assert!(first.starts_with("{\"seq\":0,"));
    assert_eq!((done.status.code(), told(&done)), (Some(0), String::new()));
}

/// A record that comes later is shown within moments.
#[tokio::test]
async fn following_shows_what_comes_and_nothing_else() {
    let world = World::start().await;
    let mut followed = follow(&world.home, &["--refused", "--since", "1h"]);
    let mut out = BufReader::new(followed.stdout.take().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            sender
                .send(serde_json::from_str::<Value>(&line).unwrap())
                .unwrap();
            line.clear();
        }
    });
    for _ in 0..2 {
        let taken = world.call(ZABBIX, "acme", "GET", "/api/v3/users/me").await;
        assert_eq!(taken.status, 200);
        let refused = world
            .call(ZABBIX, "initech", "GET", "/api/v3/users/me")
            .await;
        let wait = tokio::time::timeout(Duration::from_secs(20), lines.recv());
        let line = wait.await.unwrap().unwrap();
        assert_eq!(line["request_id"], refused.request_id());
    }
    followed.kill().unwrap();
    followed.wait().unwrap();
}

#[tokio::test]
async fn a_login_leads_to_the_calls_that_were_made_with_it() {
    let world = World::start().await;
    let form = |key: &str| format!(r"grant_type=password&username=acme\billing&password={key}");
    let log_in = async |key: &str| {
        let address = world.home.address;
        let answer = once(address, request("POST", "/api/v3/token", &[], &form(key))).await;
        answer.unwrap()
    };
    let login = log_in(BILLING).await;
    assert_eq!(log_in("a guess of somebody").await.status, 400);
    let bearer = format!("Bearer {}", login.text("access_token"));
    for _ in 0..2 {
        let headers = [("authorization", bearer.as_str())];
        let call = request("GET", "/api/v3/users/me", &headers, "");
        assert_eq!(once(world.home.address, call).await.unwrap().status, 200);
    }
    world.call(BILLING, "acme", "GET", "/api/v3/users/me").await;
    world.recorded(5).await;

    let logins = world.found(&["--grant", "password", "--status", "2xx"]);
    assert_eq!(logins.len(), 1);
    let session = logins[0]["session"].as_str().unwrap();
    assert_eq!(
        world.outline(&["--session", session]),
        ["POST token", "GET me", "GET me"]
    );
    assert_eq!(world.outline(&["--credential", "token:*"]).len(), 2);
    assert_eq!(
        world.outline(&["--operation", "POST /token", "--refused"]),
        ["POST token"]
    );
}

#[tokio::test]
async fn a_text_is_found_in_any_value_and_columns_are_those_of_spreadsheets() {
    let world = World::start().await;
    world.call(ZABBIX, "acme", "GET", "/api/v3/users/me").await;
    world
        .call(BILLING, "acme", "GET", "/api/v3/about,%3D1")
        .await;
    world.recorded(2).await;
    assert_eq!(world.outline(&["--text", "USERS/m"]), ["GET me"]);
    assert_eq!(world.outline(&["--text", "users*/me"]).len(), 1);
    assert_eq!(
        world.outline(&["--text", "operation", "--kind", "request"]),
        [""; 0]
    );
    assert_eq!(world.query(&["--text", ""]).status.code(), Some(64));

    let done = world.query(&["--kind", "request", "--format", "csv"]);
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("seq,time,kind,request_id,"), "{text}");
    assert!(lines[1].contains(",zabbix,"), "{text}");
    assert!(lines[2].contains(",\"/api/v3/about,%3D1\","), "{text}");
}
