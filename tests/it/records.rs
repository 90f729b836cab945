//! What records say: every kind of them, and all that design asks of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use vspc_simulator::Simulator;

use crate::child::{Home, command, get, once, request, unsigned};
use crate::harness::{ACME, ADMIN, Answer, BILLING, GLOBEX, World, ok, until, until_true};

const ME: &str = "/api/v3/users/me";
const UNKNOWN: &str = "vgk_canary_unknown_key_000000000000000000";

/// Names and values: of headers, or of members by JSON pointers.
type Members<'a> = &'a [(&'a str, &'a str)];
/// A credential's label, the headers that prove it, and what the record says.
type Way<'a> = (&'a str, Vec<(&'a str, String)>, Members<'a>);

/// What a record must say: members by JSON pointers. A text that ends in `*` is a beginning, `?` any
/// text.
fn says(record: &Value, expected: &[(&str, &str)]) {
    for (pointer, wanted) in expected {
        let found = match record.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "-".to_owned(),
        };
        let fits = match wanted.strip_suffix('*') {
            Some(start) => found.starts_with(start),
            None if *wanted == "?" => found != "-",
            None => found == *wanted,
        };
        assert!(fits, "{pointer} is {found:?}, not {wanted:?}: {record}");
    }
}

fn basic(user: &str, key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

/// How a client proved who it is, as whom it acted and with what rights, by which rule and token.
#[tokio::test]
async fn a_request_s_record_says_how_its_caller_proved_itself_and_as_whom_it_acted() {
    let world = World::start().await;
    world.keep_roster();
    let known = || {
        let gateway = world.gateway();
        let mut consoles = gateway.consoles.keys();
        consoles.all(|console| {
            gateway
                .roster
                .report(console)
                .is_some_and(|it| it.read.is_some())
        })
    };
    until_true(known).await;
    let login = world.log_in("acme\\admin", ADMIN).await;
    let token = login.text("access_token");
    let bearer = |key: &str| format!("Bearer {key}");
    let session = world.outcome(&login).await["session"].clone();
    says(
        &world.outcome(&login).await,
        &[
            ("/grant", "password"),
            ("/credential", "password:*"),
            ("/client", "admin"),
            ("/session", "?"),
            ("/tenant", "acme"),
            ("/access", "full"),
        ],
    );
    let acme = [
        ("/tenant", "acme"),
        ("/target/uid", ACME),
        ("/target/name", "?"),
        ("/target/role", "CompanyOwner"),
        ("/access", "full"),
    ];
    let viewed = [
        ("/tenant", "viewed"),
        ("/target/uid", GLOBEX),
        ("/target/role", "CompanyOwner"),
        ("/access", "read_only"),
    ];
    let ways: [Way<'_>; 5] = [
        (
            "api_key:*",
            vec![
                ("x-api-key", ADMIN.to_owned()),
                ("x-tenant", "acme".to_owned()),
            ],
            &acme,
        ),
        (
            "api_key:*",
            vec![
                ("x-api-key", ADMIN.to_owned()),
                ("x-tenant", "viewed".to_owned()),
            ],
            &viewed,
        ),
        (
            "bearer:*",
            vec![
                ("authorization", bearer(ADMIN)),
                ("x-tenant", "1001".to_owned()),
            ],
            &acme,
        ),
        (
            "basic:*",
            vec![("authorization", basic("acme\\admin", ADMIN))],
            &acme,
        ),
        ("token:*", vec![("authorization", bearer(&token))], &acme),
    ];
    let mut leases = BTreeSet::new();
    for (credential, headers, as_whom) in ways {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = world.call("GET", ME, &headers, "").await;
        assert!(ok(&answer), "{credential}: {answer:?}");
        let record = world.outcome(&answer).await;
        says(
            &record,
            &[
                ("/credential", credential),
                ("/client", "admin"),
                ("/source", "127.0.0.1"),
                ("/rule", "clients.admin.*"),
                ("/config", "?"),
                ("/console", "main"),
                ("/code", "ok"),
                ("/attempts", "1"),
                ("/status", "200"),
                ("/duration_us", "?"),
                ("/operation", "GET /users/me"),
            ],
        );
        says(&record, as_whom);
        if credential == "token:*" {
            assert_eq!(record["session"], session);
        }
        let lease = record["lease"].as_str().unwrap().to_owned();
        assert_eq!(lease.len(), 16);
        leases.insert((
            record["target"]["uid"].to_string(),
            record["access"].to_string(),
            lease,
        ));
    }
    // One token for each user and right, found again by its fingerprint.
    assert_eq!(leases.len(), 2, "{leases:?}");
    for (_, _, lease) in &leases {
        let obtained = |record: &Value| record["kind"] == "token" && record["lease"] == **lease;
        let obtained = world.record(obtained).await;
        says(
            &obtained,
            &[
                ("/operation", "as"),
                ("/cause", "demand"),
                ("/access", "?"),
                ("/console", "main"),
                ("/code", "ok"),
                ("/detail", "good for *"),
                ("/duration_us", "?"),
            ],
        );
    }
    let logged_in = |record: &Value| record["kind"] == "token" && record["operation"] == "login";
    says(
        &world.record(logged_in).await,
        &[("/cause", "demand"), ("/lease", "?"), ("/access", "full")],
    );
}

/// Which credentials, tenants or headers disagreed, by their names, and never what may be a key.
#[tokio::test]
async fn a_refusal_s_record_says_what_disagreed() {
    let world = World::start().await;
    let bearer = |key: &str| format!("Bearer {key}");
    let two = basic("acme\\admin", ADMIN);
    let ambiguous = "a header that names the tenant must come once and hold one value: ";
    let mismatch =
        "the request names another tenant or user than the credential, or one that it has not: ";
    let cases: [(Members<'_>, &str, String); 7] = [
        (
            &[("x-api-key", BILLING), ("authorization", &bearer(ADMIN))],
            "conflicting_credentials",
            "these do not name one client: x-api-key: api_key:B of billing; authorization: bearer:A of admin".to_owned(),
        ),
        (
            &[("x-api-key", BILLING), ("authorization", &bearer(UNKNOWN))],
            "conflicting_credentials",
            "these do not name one client: x-api-key: api_key:B of billing; authorization: a credential that nobody has".to_owned(),
        ),
        (
            &[("x-api-key", ADMIN), ("x-tenant", "acme"), ("x-tenant", "globex")],
            "tenant_ambiguous",
            format!("{ambiguous}the header x-tenant comes 2 times"),
        ),
        (
            &[("x-api-key", ADMIN), ("x-tenant", "")],
            "tenant_ambiguous",
            format!("{ambiguous}the header x-tenant is empty"),
        ),
        (
            &[("x-api-key", ADMIN), ("x-tenant", "acme,globex")],
            "tenant_ambiguous",
            format!("{ambiguous}the header x-tenant holds a list"),
        ),
        (
            &[("authorization", &two), ("x-tenant", "globex")],
            "tenant_mismatch",
            format!("{mismatch}the credential: acme; the header x-tenant: globex"),
        ),
        (
            &[("authorization", &two), ("x-tenant", UNKNOWN)],
            "tenant_mismatch",
            format!("{mismatch}the credential: acme; the header x-tenant: a name that no tenant has"),
        ),
    ];
    let label = |key: &str| vspc_gateway::secret::KeyDigest::of(key.as_bytes()).label();
    for (headers, code, detail) in cases {
        let answer = world.call("GET", ME, headers, "").await;
        assert_eq!(answer.code(), code, "{headers:?}");
        let record = world.outcome(&answer).await;
        let detail = detail.replace("api_key:B", &format!("api_key:{}", label(BILLING)));
        let detail = detail.replace("bearer:A", &format!("bearer:{}", label(ADMIN)));
        says(
            &record,
            &[
                ("/code", code),
                ("/source", "127.0.0.1"),
                ("/detail", &detail),
            ],
        );
        for key in [UNKNOWN, BILLING, ADMIN] {
            assert!(!record.to_string().contains(key), "{record}");
        }
    }
    // What is refused before it is a request has its source, too.
    let answer = world
        .raw(b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    let guarded = |record: &Value| record["code"] == "bad_request" && record.get("path").is_none();
    says(
        &world.record(guarded).await,
        &[
            ("/source", "127.0.0.1"),
            ("/kind", "request"),
            ("/detail", "?"),
            ("/status", "400"),
            ("/config", "?"),
        ],
    );
}

/// What a caller has revoked at the console is given up, and that is a record.
#[tokio::test]
async fn revoked_tokens_are_given_up_on_the_record() {
    let world = World::start().await;
    let path = format!("/api/v3/users/{ACME}/tokens?userLoginId=7");
    let headers = [("x-api-key", BILLING)];
    let answer = world.call("DELETE", &path, &headers, "").await;
    assert!(ok(&answer), "{answer:?}");
    says(
        &world.outcome(&answer).await,
        &[
            ("/subject/action", "deleted"),
            ("/subject/user_uid", ACME),
            ("/subject/login_id", "7"),
        ],
    );
    let given_up = |record: &Value| record["operation"] == "given_up";
    says(
        &world.record(given_up).await,
        &[
            ("/kind", "token"),
            ("/cause", "revoked"),
            ("/target/uid", ACME),
            ("/code", "ok"),
        ],
    );
}

/// A gateway in a process of its own, and operators' commands.
struct Process {
    simulator: Simulator,
    home: Home,
}

impl Process {
    async fn new() -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        Self { simulator, home }
    }

    /// Runs a command, which must end with a code; gives what it printed.
    async fn run(&self, words: &[&str], code: i32) -> (String, String) {
        let config = self.home.config().display().to_string();
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--config".to_owned(), config]);
        let done = tokio::task::spawn_blocking(move || {
            command(&all.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let done = done.await.unwrap();
        assert_eq!(done.status.code(), Some(code), "{words:?}: {done:?}");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(done.stdout), text(done.stderr))
    }

    async fn called(&self) -> Answer {
        let headers = [("x-api-key", BILLING)];
        get(self.home.address, ME, &headers).await.unwrap()
    }

    /// The last record of an operation, once there are so many.
    async fn last(&self, operation: &str, count: usize) -> Value {
        until(|| {
            let mut records = self.home.records();
            records.retain(|record| record["operation"] == *operation);
            (records.len() >= count).then(|| records.pop().unwrap())
        })
        .await
    }
}

/// Operators' acts, the process's own life, and what was loaded: who, what, and how it ended.
#[tokio::test]
async fn administrative_and_configuration_records_say_who_what_and_how_it_ended() {
    let world = Process::new().await;
    let mut gateway = world.home.start().await;
    assert_eq!(world.called().await.status, 200);
    says(
        &world.last("config.loaded", 1).await,
        &[
            ("/kind", "config"),
            ("/code", "ok"),
            ("/config", "?"),
            ("/detail", "?"),
        ],
    );
    says(
        &world.last("process.started", 1).await,
        &[("/kind", "admin"), ("/detail", "vspc-gateway *")],
    );
    says(
        &world.last("state.begun", 1).await,
        &[("/kind", "admin"), ("/code", "ok")],
    );

    // Done by the gateway for a command: begun, then how it ended.
    for (words, begun, ended, detail) in [
        (
            &[
                "tokens", "renew", "--tenant", "acme", "--reason", "ticket 7",
            ][..],
            "tokens.renew",
            "tokens.renewed",
            "1 of 1 are new",
        ),
        (
            &["tokens", "drop", "--tenant", "acme"],
            "tokens.drop",
            "tokens.dropped",
            "*",
        ),
        (
            &["freeze", "--tenant", "1001", "--reason", "break-in"],
            "freeze",
            "frozen",
            "tenant acme: it outlives*",
        ),
        (
            &["thaw", "--tenant", "acme"],
            "thaw",
            "thawed",
            "tenant acme",
        ),
    ] {
        world.run(words, 0).await;
        for operation in [begun, ended] {
            says(
                &world.last(operation, 1).await,
                &[
                    ("/kind", "admin"),
                    ("/code", "ok"),
                    ("/operator", "?"),
                    ("/peer", "127.0.0.1:*"),
                    ("/source", "127.0.0.1"),
                    ("/tenant", "acme"),
                    ("/config", "?"),
                ],
            );
        }
        says(&world.last(ended, 1).await, &[("/detail", detail)]);
    }
    world
        .run(&["tokens", "drop", "--tenant", "nobody"], 1)
        .await;
    says(
        &world.last("tokens.drop", 2).await,
        &[
            ("/code", "not_found"),
            ("/detail", "no tenant has the name or alias \"nobody\""),
        ],
    );
    world.run(&["tokens", "rotate-key"], 0).await;
    says(
        &world.last("tokens.key_rotated", 1).await,
        &[("/detail", "key *"), ("/operator", "?")],
    );
    says(
        &world.last("tokens.key_in_use", 1).await,
        &[("/kind", "config"), ("/detail", "key *")],
    );
    // The key is younger than a minute.
    world.run(&["tokens", "rotate-key"], 1).await;
    says(
        &world.last("tokens.rotate_key", 3).await,
        &[("/code", "rate_limited"), ("/operator", "?")],
    );
    let page = [("origin", "http://evil.example")];
    let answer = once(world.home.admin, request("POST", "/freeze", &page, "{}"))
        .await
        .unwrap();
    assert_eq!(answer.status, 403);
    says(
        &world.last("admin.refused", 1).await,
        &[
            ("/code", "not_for_browsers"),
            ("/peer", "127.0.0.1:*"),
            ("/detail", "POST /freeze: *"),
        ],
    );

    // A reload: what is different; and what is wrong, while all goes on.
    world.home.edit("drain = \"10s\"", "drain = \"9s\"");
    world.run(&["reload", "--reason", "ticket 8"], 0).await;
    says(
        &world.last("config.reloaded", 1).await,
        &[
            ("/kind", "config"),
            ("/operator", "?"),
            ("/reason", "ticket 8"),
            ("/config", "?"),
        ],
    );
    assert!(
        world.last("config.reloaded", 1).await["detail"]
            .to_string()
            .contains("different: ")
    );
    world.home.edit("drain = \"9s\"", "drain = \"soon\"");
    gateway.signal("HUP");
    says(
        &world.last("config.refused", 1).await,
        &[
            ("/kind", "config"),
            ("/peer", "SIGHUP"),
            ("/code", "bad_config"),
            ("/detail", "?"),
        ],
    );
    world.home.edit("drain = \"soon\"", "drain = \"9s\"");

    // Done by a command itself, beside the gateway.
    let backup = world.home.folder.path().join("copy").display().to_string();
    world.run(&["state", "backup", &backup], 0).await;
    let by_command = [
        ("/kind", "admin"),
        ("/code", "ok"),
        ("/operator", "?"),
        ("/peer", "uid *"),
    ];
    let record = world.last("state.backup", 1).await;
    says(&record, &by_command);
    assert_eq!(record["detail"], format!("to {backup}, with the key"));
    world.run(&["state", "backup", &backup], 1).await;
    says(&world.last("state.backup", 2).await, &[("/code", "failed")]);

    // Nobody waits for the sockets: the process goes on; then it ends.
    gateway.signal("QUIT");
    says(
        &world.last("upgrade.handed_over", 1).await,
        &[
            ("/kind", "admin"),
            ("/code", "not_taken"),
            ("/peer", "SIGQUIT"),
        ],
    );
    gateway.signal("TERM");
    assert_eq!(gateway.exit().await.code(), Some(0), "{}", gateway.log());
    says(
        &world.last("drain.begun", 1).await,
        &[
            ("/peer", "SIGTERM"),
            ("/detail", "requests have 9 s to end"),
        ],
    );
    says(
        &world.last("drain.ended", 1).await,
        &[
            ("/peer", "SIGTERM"),
            ("/code", "ok"),
            ("/detail", "every request has ended"),
        ],
    );
    assert_eq!(
        world.home.records().last().unwrap()["operation"],
        "process.stopped"
    );

    // And where none runs.
    world.run(&["state", "restore", &backup], 0).await;
    says(&world.last("state.restore", 1).await, &by_command);
    world.run(&["freeze", "--client", "zabbix"], 0).await;
    says(&world.last("freeze.by_file", 1).await, &by_command);
    let mut gateway = world.home.start().await;
    says(
        &world.last("state.restored", 1).await,
        &[("/kind", "admin"), ("/code", "ok")],
    );
    gateway.signal("TERM");
    gateway.exit().await;
    let records = world.home.records();
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(seq, record)| record["seq"] == seq)
    );
}

/// One token has one fingerprint in all processes of a state directory, and another elsewhere.
#[tokio::test]
async fn a_token_is_found_by_its_fingerprint_over_restarts() {
    let world = Process::new().await;
    let mut leases = Vec::new();
    for _ in 0..2 {
        let mut gateway = world.home.start().await;
        let answer = world.called().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.request_id().to_owned();
        let record = until(|| {
            let records = world.home.records();
            records
                .into_iter()
                .find(|it| it["kind"] == "request" && it["request_id"] == *id)
        });
        leases.push(record.await["lease"].as_str().unwrap().to_owned());
        gateway.signal("TERM");
        gateway.exit().await;
    }
    assert_eq!(leases[0], leases[1]);
    assert_eq!(
        world.simulator.state().grants.get("as").unwrap().ok,
        1,
        "it was obtained twice"
    );
    let (found, _) = world
        .run(
            &["audit", "query", "--lease", &leases[0], "--format", "json"],
            0,
        )
        .await;
    let kinds: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds, [json!("token"), json!("request"), json!("request")]);
    // What was not this token's is not found.
    let (none, _) = world
        .run(
            &["audit", "query", "--lease", "0000000000000000", "--count"],
            0,
        )
        .await;
    assert_eq!(none.trim(), "0");

    let elsewhere = Process::new().await;
    let mut gateway = elsewhere.home.start().await;
    assert_eq!(elsewhere.called().await.status, 200);
    let record = elsewhere.last("as", 1).await;
    assert_ne!(record["lease"], leases[0].as_str());
    gateway.kill();
}

/// Who has read the log is in the log: once for each start of a command, whether a gateway runs or
/// not, and never in the way of reading.
#[tokio::test]
async fn reading_the_log_is_recorded_once_for_each_command() {
    let world = Process::new().await;
    let mut gateway = world.home.start().await;
    assert_eq!(world.called().await.status, 200);
    let reads = || {
        let mut records = world.home.records();
        records.retain(|record| record["operation"] == "audit.read");
        records
    };
    let query = [
        "audit",
        "query",
        "--client",
        "billing",
        "--credential",
        "api_key:*",
        "--tenant",
        UNKNOWN,
        "--count",
    ];
    world.run(&query, 0).await;
    let record = world.last("audit.read", 1).await;
    says(
        &record,
        &[
            ("/kind", "admin"),
            ("/code", "ok"),
            ("/operator", "?"),
            ("/peer", "uid *"),
        ],
    );
    let detail = record["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(
            "audit query --client billing --credential api_key:* --tenant ~hidden --count"
        ),
        "{detail}"
    );

    // What is asked is what was there before: nobody finds himself.
    let (found, err) = world
        .run(
            &[
                "audit",
                "query",
                "--operation",
                "audit.read",
                "--format",
                "json",
            ],
            0,
        )
        .await;
    assert_eq!((found.lines().count(), &*err), (1, ""));
    let (tail, err) = world
        .run(&["audit", "tail", "-n", "1", "--format", "json"], 0)
        .await;
    assert!(
        tail.contains("audit query --operation audit.read"),
        "{tail}"
    );
    assert_eq!((reads().len(), &*err), (3, ""));
    assert_eq!(world.called().await.status, 200);
    gateway.signal("TERM");
    gateway.exit().await;

    world.run(&["audit", "tail"], 0).await;
    assert_eq!(reads().len(), 4);
    let records = world.home.records();
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(seq, record)| record["seq"] == seq)
    );

    // A copy that cannot be written is read all the same. The lock keeps out root as well as others.
    let lock = world.home.audit_folder().join("lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let (tail, err) = world
        .run(&["audit", "tail", "-n", "1", "--format", "json"], 0)
        .await;
    assert!(tail.contains("\"audit tail --config"), "{tail}");
    assert!(
        err.contains("not in the audit log") && err.lines().count() == 1,
        "{err}"
    );
    assert_eq!(reads().len(), 4);
}

/// Whoever follows the log sees that he does, once.
#[tokio::test]
async fn following_the_log_does_not_feed_itself() {
    use std::io::{BufRead as _, BufReader};
    let world = Process::new().await;
    let _gateway = world.home.start().await;
    let config = world.home.config().display().to_string();
    let mut follower = std::process::Command::new(crate::child::BINARY)
        .args([
            "audit", "tail", "--follow", "-n", "1", "--format", "json", "--config", &config,
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(follower.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines() {
            drop(sender.send(line.unwrap()));
        }
    });
    until_true(|| {
        world
            .home
            .records()
            .iter()
            .any(|record| record["operation"] == "audit.read")
    })
    .await;
    // Something comes after it: what stands between is all there was.
    assert_eq!(world.called().await.status, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut reads = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line: Value = serde_json::from_str(&lines.recv_timeout(left).unwrap()).unwrap();
        reads += usize::from(line["operation"] == "audit.read");
        if line["kind"] == "request" {
            break;
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!(reads, 1);
    let records = world.home.records();
    let all = records
        .iter()
        .filter(|record| record["operation"] == "audit.read");
    assert_eq!(all.count(), 1);
}

/// The page of members and operations says what the code writes, all of it.
#[test]
fn the_page_of_records_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/AUDIT-RECORD.md")).unwrap();
    let rows = |heading: &str| -> BTreeSet<String> {
        let (_, rest) = page
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("no {heading}"));
        let section = rest.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    };
    let writer = std::fs::read_to_string(root.join("src/audit/record/write.rs")).unwrap();
    let mut written: BTreeSet<String> = ["seq".to_owned()].into();
    for call in [
        "text(out, \"",
        "number(out, \"",
        "json::name(out, \"",
        "text(\n            out,\n            \"",
        "number(\n        out,\n        \"",
        "put_text!(out, \"",
        "put_plain!(out, \"",
        "put_number!(out, \"",
        "member!(\"",
        "(b\"\\\"",
    ] {
        for (at, _) in writer.match_indices(call) {
            let name = &writer[at + call.len()..];
            let name = name.split(['"', '\\']).next().unwrap();
            written.insert(name.to_owned());
        }
    }
    let mut told = rows("Members");
    told.extend(rows("Of `target`"));
    told.extend(rows("Of `subject`"));
    told.extend(rows("Of `range`"));
    let missing: Vec<_> = written.difference(&told).collect();
    assert!(
        missing.is_empty(),
        "docs/AUDIT-RECORD.md lacks the members {missing:?}"
    );
    let invented: Vec<_> = told
        .difference(&written)
        .filter(|name| !["range", "first", "next"].contains(&name.as_str()))
        .collect();
    assert!(
        invented.is_empty(),
        "no record has the members {invented:?}"
    );

    let mut operations = BTreeSet::new();
    operations_in(&root.join("src"), &mut operations);
    assert!(operations.len() > 30, "{operations:?}");
    let told: BTreeSet<String> = [
        "Administrative records",
        "Configuration records",
        "Token records",
    ]
    .into_iter()
    .flat_map(rows)
    .collect();
    let missing: Vec<_> = operations.difference(&told).collect();
    assert!(
        missing.is_empty(),
        "docs/AUDIT-RECORD.md lacks the operations {missing:?}"
    );
}

/// The names of events that stand in the sources.
fn operations_in(folder: &Path, found: &mut BTreeSet<String>) {
    const FAMILIES: [&str; 13] = [
        "admin.",
        "audit.",
        "certificates.",
        "config.",
        "directory.",
        "drain.",
        "freeze.",
        "issuer.",
        "process.",
        "session.",
        "state.",
        "thaw.",
        "upgrade.",
    ];
    // Keys and files.
    const OTHERS: [&str; 11] = [
        // Attributes of the OTLP sink.
        "audit.code",
        "audit.kind",
        "audit.operation",
        "audit.seq",
        "audit.size",
        "admin.listen",
        "admin.sock",
        "admin.token",
        "state.directory",
        "state.redb",
        "upgrade.sock",
    ];
    let paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["config", "explain", "tests"].contains(&name) {
                operations_in(&path, found);
            }
            continue;
        }
        if !name.ends_with(".rs") || ["tests.rs", "config.rs", "explain.rs"].contains(&name) {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            let is_name = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte))
            };
            let is_event = FAMILIES.iter().chain(&["tokens."]).any(|family| {
                literal
                    .strip_prefix(family)
                    .is_some_and(|rest| !rest.is_empty() && !rest.contains('.'))
            });
            if is_event && is_name(literal) && !OTHERS.contains(&literal) {
                found.insert(literal.to_owned());
            }
        }
    }
    for (word, file) in [
        ("freeze", "src/admin/freeze.rs"),
        ("thaw", "src/admin/freeze.rs"),
        ("frozen", "src/admin/freeze.rs"),
        ("thawed", "src/admin/freeze.rs"),
        ("given_up", "src/app/observer.rs"),
        ("login", "src/token.rs"),
        ("as", "src/token.rs"),
        ("refresh", "src/token.rs"),
    ] {
        let source =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(
            source.contains(&format!("\"{word}\"")),
            "{file} has no {word}"
        );
        found.insert(word.to_owned());
    }
}
