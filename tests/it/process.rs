//! The life of the process: commands, start, signals, upgrade, kill, and what operators see of it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::{Action, Fault, Settings, Simulator};

use crate::child::{
    Caller, Gateway, Home, Tally, assert_gapless, command, free_address, get, get_unix, once,
    request, unsigned, whole,
};
use crate::harness::{
    ADMIN, Answer, BILLING, FORM, ZABBIX, encoded, of_callers, until_true, until_true_async,
    write_secret,
};

const AS_ACME: [(&str, &str); 2] = [("x-api-key", BILLING), ("x-tenant", "acme")];

/// A SIGHUP that comes while the file is read first ends nothing, and has it read once more.
#[tokio::test]
async fn a_hang_up_before_the_start_is_done_does_not_end_the_process() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let text = std::fs::read_to_string(home.config()).unwrap();
    std::fs::remove_file(home.config()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(home.config())
        .status();
    assert!(made.unwrap().success());
    let mut gateway = home.run(&[]);
    // Opened when the process reads it.
    let path = home.config();
    let opening = tokio::task::spawn_blocking(move || std::fs::File::create(path));
    let opened = tokio::time::timeout(Duration::from_secs(60), opening).await;
    let mut pipe = opened.expect("the file is not read").unwrap().unwrap();
    gateway.signal("HUP");
    // From then on it is a file like any other.
    std::fs::remove_file(home.config()).unwrap();
    std::fs::write(home.config(), &text).unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    home.ready(&mut gateway).await;
    gateway.logged("the configuration was loaded anew").await;
    gateway.assert_running();
    gateway.signal("TERM");
    assert!(gateway.exit().await.success());
}

/// A console on an address of its own choice.
async fn simulator() -> Simulator {
    Simulator::start(unsigned()).await.unwrap()
}

fn read() -> Request<Full<Bytes>> {
    request("GET", "/api/v3/_test/bytes?size=300", &AS_ACME, "")
}

fn write() -> Request<Full<Bytes>> {
    request("POST", "/api/v3/_test/sink", &AS_ACME, "payload")
}

/// The outcomes in a log, by request.
fn outcomes(records: &[Value]) -> HashMap<&str, &Value> {
    let requests = records.iter().filter(|record| record["kind"] == "request");
    requests
        .map(|record| (record["request_id"].as_str().unwrap(), record))
        .collect()
}

fn count(records: &[Value], key: &str, value: &str) -> usize {
    records.iter().filter(|record| record[key] == value).count()
}

#[test]
fn check_names_every_fault_by_its_key_path_and_repeats_no_secret() {
    let home = Home::new("http://127.0.0.1:9");
    home.edit("listen = ", "shiny = true\nlisten = ");
    home.edit("directory = ", "durability = \"maybe\"\ndirectory = ");
    home.edit("http://127.0.0.1:9", "http://vspc.example.com:1280");
    home.edit("{ file = \"password\" }", "\"hunter2-in-the-file\"");
    home.edit("aliases = [\"1001\"]", "aliases = [\"globex\"]");
    home.edit("tenants = [\"acme\"]", "tenants = [\"nobody\"]");
    home.edit(&KeyDigest::of(ADMIN.as_bytes()).to_string(), ADMIN);
    let config = home.config().display().to_string();

    let checked = command(&["check", "--config", &config]);
    let told = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(64), "{told}");
    for path in [
        "server.shiny:",
        "audit.durability:",
        "consoles[0].url:",
        "consoles[0].login.password:",
        "tenants[1].name:",
        "clients[1].tenants[0]:",
        "clients[2].api_keys[0]:",
    ] {
        assert!(told.contains(path), "{path} is missing in\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert!(!told.contains(ADMIN), "{told}");

    let run = command(&["run", "--config", &config]);
    assert_eq!(run.status.code(), Some(64));
    assert_eq!(String::from_utf8(run.stderr).unwrap(), told);
    assert!(std::net::TcpStream::connect(home.address).is_err());
    assert!(!home.audit_folder().exists());
}

#[test]
fn check_accepts_a_good_file_and_leaves_nothing_behind() {
    let home = Home::new("http://127.0.0.1:9");
    let checked = command(&["check", "--config", home.config().to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(checked.stderr.is_empty());
    assert!(!home.audit_folder().exists());
    // Whoever has no second place of checkpoints is told, and whoever has one is not.
    let warning = "warning: audit.checkpoints: not set";
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(told.contains(warning), "{told}");
    home.edit("[audit]", "[audit]\ncheckpoints = { file = \"elsewhere\" }");
    let checked = command(&["check", "--config", home.config().to_str().unwrap()]);
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.status.success() && !told.contains(warning),
        "{told}"
    );
}

#[test]
fn bad_usage_exits_with_64() {
    let home = Home::new("http://127.0.0.1:9");
    let config = home.config().display().to_string();
    for arguments in [
        &["dance"][..],
        &["run", "--fast"],
        &["check", "--config", &config, "more"],
        &["keys", "new"],
        &["check", "--config", "/nonexistent/gateway.toml"],
        &[],
    ] {
        let done = command(arguments);
        assert_eq!(done.status.code(), Some(64), "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(command(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_new_key_is_unlike_any_other_and_matches_its_digest() {
    let make = || {
        let made = command(&["keys", "new", "zabbix"]);
        assert_eq!(made.status.code(), Some(0));
        let told = String::from_utf8(made.stdout).unwrap();
        let word = |start: &str| {
            let words = told.split(|c: char| c.is_whitespace() || c == '"');
            let mut found = words.filter(|word| word.starts_with(start));
            let word = found.next().expect(start).to_owned();
            assert!(found.next().is_none(), "{told}");
            word
        };
        (word("vgk_"), word("sha256:"))
    };
    let (key, digest) = make();
    assert!(key.len() >= 32);
    assert_eq!(digest, KeyDigest::of(key.as_bytes()).to_string());
    assert_ne!(make().0, key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_every_request_end_and_takes_no_new_one() {
    const BUSY: u64 = 60;
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    home.edit(
        "first_byte_timeout = \"3s\"",
        "first_byte_timeout = \"60s\"",
    );
    let mut gateway = home.start().await;

    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut caller = Caller::new(home.address);
        assert_eq!(caller.send(read()).await.unwrap().status, 200);
        idle.push(caller);
    }
    let hold = Fault::new(Action::Delay).delay(Duration::from_millis(3500));
    simulator.fault(hold.times(0));
    let tally = Tally::default();
    let mut busy = JoinSet::new();
    for number in 0..BUSY {
        let (tally, address) = (tally.clone(), home.address);
        busy.spawn(async move {
            let request = if number % 2 == 0 { read() } else { write() };
            let answer = once(address, request).await;
            if let Ok(answer) = &answer {
                assert_eq!(answer.header("connection"), Some("close"));
            }
            tally.note(answer);
        });
    }
    until_true(|| simulator.state().in_flight == BUSY).await;

    gateway.signal("TERM");
    // Refused, or closed without a word; never left to wait.
    until_refused(home.address).await;
    assert_eq!(simulator.state().in_flight, BUSY, "the drain took too long");
    busy.join_all().await;
    let answered = Instant::now();
    assert_eq!(gateway.exit().await.code(), Some(0), "{}", gateway.log());
    assert!(
        answered.elapsed() < Duration::from_secs(3),
        "idle connections hold the drain"
    );

    let seen = tally.take();
    assert_eq!(seen.failures, Vec::<String>::new());
    let records = home.records();
    assert_gapless(&records);
    let outcomes = outcomes(&records);
    for id in &seen.answered {
        let outcome = outcomes
            .get(id.as_str())
            .expect("every request has an outcome");
        assert_eq!(
            (&outcome["code"], &outcome["status"]),
            (&"ok".into(), &200.into())
        );
    }
    assert_eq!(outcomes.len(), seen.answered.len() + idle.len());
    assert_eq!(count(&records, "kind", "intent"), seen.answered.len() / 2);
    assert_eq!(records.last().unwrap()["operation"], "process.stopped");
}

/// Waits until a connection is not taken any more, or closed at once.
async fn until_refused(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        assert!(Instant::now() < deadline, "connections are still taken");
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return;
        };
        // One that came just before the end is closed; only a listener that is gone refuses.
        let closed = stream.read_u8();
        drop(tokio::time::timeout(Duration::from_millis(20), closed).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlives_the_drain_is_cut_and_recorded_as_aborted() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    home.edit("drain = \"10s\"", "drain = \"1s\"");
    home.edit(
        "first_byte_timeout = \"3s\"",
        "first_byte_timeout = \"60s\"",
    );
    home.edit("idle_timeout = \"1s\"", "idle_timeout = \"60s\"");
    let mut gateway = home.start().await;
    assert_eq!(once(home.address, read()).await.unwrap().status, 200);

    // On HTTP/1 and HTTP/2, before an answer and within one.
    let minute = Duration::from_secs(60);
    for operation in ["GET /_test/bytes", "POST /_test/sink"] {
        let hold = Fault::new(Action::Delay).on(operation);
        simulator.fault(hold.delay(minute).times(0));
    }
    let stall = Action::StallInBody {
        sent: 64,
        length: 4096,
    };
    simulator.fault(Fault::new(stall).on("GET /users/me").times(0));
    let stalled = || request("GET", "/api/v3/users/me", &AS_ACME, "");
    let mut cut = JoinSet::new();
    for request in [read, write, stalled].into_iter().cycle().take(30) {
        cut.spawn(once(home.address, request()));
    }
    let stream = TcpStream::connect(home.address).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.unwrap();
    cut.spawn(async { Err(format!("{:?}", connection.await)) });
    for request in [read, write, stalled].into_iter().cycle().take(12) {
        let (mut sender, (mut head, body)) = (sender.clone(), request().into_parts());
        let target = format!("http://gateway.test{}", head.uri);
        head.uri = target.parse().unwrap();
        head.headers.remove("host");
        cut.spawn(async move {
            let answer = sender.send_request(Request::from_parts(head, body)).await;
            whole(answer.map_err(|error| error.to_string())?).await
        });
    }
    drop(sender);
    let arrived = || of_callers(simulator.requests()).len();
    until_true(|| arrived() == 43).await;

    gateway.signal("TERM");
    let told = Instant::now();
    assert_eq!(gateway.exit().await.code(), Some(0), "{}", gateway.log());
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(1), "cut after {took:?}");
    assert!(took < Duration::from_secs(5), "cut after {took:?}");
    for answer in cut.join_all().await {
        answer.expect_err("nothing whole was answered");
    }
    let records = home.records();
    assert_gapless(&records);
    let ended = outcomes(&records);
    let aborted = ended.values().filter(|record| record["code"] == "aborted");
    assert_eq!(aborted.count(), 42, "{ended:#?}");
    let drained = records
        .iter()
        .find(|record| record["operation"] == "drain.ended");
    assert_eq!(drained.unwrap()["code"], "aborted");
    assert_eq!(ended.len(), 43);
    assert_eq!(records.last().unwrap()["operation"], "process.stopped");
}

#[tokio::test]
async fn connections_that_were_just_opened_are_answered_before_the_end() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let mut gateway = home.start().await;
    let mut opened = Vec::new();
    for _ in 0..10 {
        opened.push(Caller::new(home.address).connect().await.unwrap());
    }
    // They are accepted in order.
    assert_eq!(once(home.address, read()).await.unwrap().status, 200);
    gateway.signal("TERM");
    gateway.logged("draining").await;
    for mut sender in opened {
        let answer = sender.send_request(read()).await.unwrap();
        assert_eq!(whole(answer).await.unwrap().status, 200);
    }
    assert_eq!(gateway.exit().await.code(), Some(0));
}

#[tokio::test]
async fn sigquit_without_a_successor_and_sighup_end_nothing() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let mut gateway = home.start().await;
    gateway.signal("HUP");
    gateway.logged("the configuration was loaded anew").await;
    gateway.signal("QUIT");
    let mut caller = Caller::new(home.address);
    let mut answered = 0;
    while !gateway.log().contains("this one goes on") {
        assert_eq!(caller.send(write()).await.unwrap().status, 200);
        answered += 1;
    }
    assert!(answered > 0, "the sockets were given up at once");
    assert_eq!(once(home.address, read()).await.unwrap().status, 200);
    assert_eq!(caller.connections, 1);
    gateway.assert_running();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_fails_no_request_and_leaves_one_log() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    home.edit("[audit]", "[audit]\nsegment_size = \"64KiB\"");
    let mut old = home.start().await;
    let login = log_in(home.address).await;
    let load = Load::start(home.address);
    until_true(|| load.tally.answered() > 100).await;

    let mut new = home.run(&["--upgrade"]);
    let socket = home.audit_folder().join("upgrade.sock");
    until_true(|| socket.exists()).await;
    old.signal("QUIT");
    assert_eq!(old.exit().await.code(), Some(0), "{}", old.log());
    home.ready(&mut new).await;
    // From now on all answers are the new process's.
    let before = load.tally.answered();
    until_true(|| load.tally.answered() > before + 100).await;
    load.stop.store(true, Ordering::Relaxed);
    load.callers.join_all().await;
    // The two share what log-ins rest on.
    assert_eq!(me(home.address, &login).await, 200);
    assert_eq!(refresh(home.address, &login).await.status, 200);
    new.signal("TERM");
    assert_eq!(new.exit().await.code(), Some(0), "{}", new.log());

    let seen = load.tally.take();
    assert_eq!(seen.failures, Vec::<String>::new());
    let records = home.records();
    assert_gapless(&records);
    let files = std::fs::read_dir(home.audit_folder()).unwrap();
    let files = files.filter(|file| {
        file.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "jsonl")
    });
    assert!(files.count() > 2, "no file was followed by another");
    assert_eq!(count(&records, "operation", "process.started"), 2);
    let handed_over = records
        .iter()
        .find(|record| record["operation"] == "upgrade.handed_over");
    assert_eq!(handed_over.unwrap()["code"], "ok");
    assert_eq!(count(&records, "operation", "process.stopped"), 2);
    // Had a request been cut, its record would tell, whatever its caller made of it.
    let outcomes = outcomes(&records);
    assert!(outcomes.values().all(|outcome| outcome["code"] == "ok"));
    let logged_in = 3;
    assert_eq!(outcomes.len(), seen.answered.len() + logged_in);
    for id in &seen.answered {
        assert!(outcomes.contains_key(id.as_str()), "{id} has no outcome");
    }
    let writes = outcomes
        .values()
        .filter(|outcome| outcome["method"] == "POST" && outcome["grant"].is_null());
    assert_eq!(count(&records, "kind", "intent"), writes.count());
}

/// Callers that go on until they are told to stop: reads and writes, on kept and on new connections.
struct Load {
    tally: Tally,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for number in 0..8 {
            let (tally, stop) = (tally.clone(), Arc::clone(&stop));
            callers.spawn(async move {
                let mut caller = Caller::new(address);
                let mut beat = tokio::time::interval(Duration::from_millis(5));
                while !stop.load(Ordering::Relaxed) {
                    beat.tick().await;
                    if number < 4 {
                        caller = Caller::new(address);
                    }
                    let request = if number % 2 == 0 { read() } else { write() };
                    tally.note(caller.send(request).await);
                }
            });
        }
        Self {
            tally,
            stop,
            callers,
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_hands_sockets_to_says_so_and_fails() {
    let home = Home::new("http://127.0.0.1:9");
    let mut gateway = home.run(&["--upgrade"]);
    assert_eq!(gateway.exit().await.code(), Some(1));
    assert!(gateway.log().contains("SIGQUIT"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_leaves_an_intent_for_all_that_the_console_saw() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    for round in 0..5_u64 {
        let mut gateway = home.start().await;
        simulator.clear();
        let callers = change_things(home.address);
        // Somewhere within the load, which does not stop before the kill.
        let enough = 10 + RandomState::new().build_hasher().finish() % 200;
        until_true(|| changes(&simulator).len() as u64 > enough).await;
        gateway.kill();
        assert_eq!(gateway.exit().await.signal(), Some(9));
        callers.join_all().await;
        until_true(|| simulator.state().in_flight == 0).await;

        let intents: HashSet<String> = paths(&home.records());
        for change in changes(&simulator) {
            assert!(
                intents.contains(&change),
                "round {round}: {change} is not recorded"
            );
        }
        if round % 2 == 0 {
            tear(&home);
        }
    }
    let mut last = home.start().await;
    assert_eq!(once(home.address, write()).await.unwrap().status, 200);
    last.signal("TERM");
    assert_eq!(last.exit().await.code(), Some(0));
    let records = home.records();
    assert_gapless(&records);
    assert_eq!(count(&records, "operation", "process.started"), 6);
    assert!(count(&records, "operation", "audit.repaired") >= 3);
}

/// Method and path of everything that may have changed something at the console.
fn changes(simulator: &Simulator) -> Vec<String> {
    let changes = simulator.requests().into_iter().filter(|seen| {
        seen.grant.is_none() && !matches!(seen.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    });
    changes
        .map(|seen| format!("{} {}", seen.method, seen.target))
        .collect()
}

/// Method and path of every intent.
fn paths(records: &[Value]) -> HashSet<String> {
    let intents = records.iter().filter(|record| record["kind"] == "intent");
    intents
        .map(|record| {
            let text = |key: &str| record[key].as_str().unwrap();
            format!("{} {}", text("method"), text("path"))
        })
        .collect()
}

/// Callers that change something, each time under a path of its own, until the gateway is gone.
fn change_things(address: SocketAddr) -> JoinSet<()> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut callers = JoinSet::new();
    for number in 0..10 {
        callers.spawn(async move {
            let mut caller = Caller::new(address);
            loop {
                let uid = Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into());
                let (method, path, key) = match number % 5 {
                    0 => ("PATCH", format!("organizations/companies/{uid}"), BILLING),
                    1 => ("DELETE", format!("users/{uid}/logins/7"), ADMIN),
                    2 => ("POST", format!("users/{uid}/tokens"), ADMIN),
                    3 => ("PUT", format!("alarms/{uid}"), BILLING),
                    _ => ("GET", format!("organizations/companies/{uid}"), ZABBIX),
                };
                let headers = [("x-api-key", key), ("x-tenant", "acme")];
                let request = request(method, &format!("/api/v3/{path}"), &headers, "[]");
                if caller.send(request).await.is_err() {
                    return;
                }
            }
        });
    }
    callers
}

/// Leaves the start of a line, as a kill within a write would.
fn tear(home: &Home) {
    let entries = std::fs::read_dir(home.audit_folder()).unwrap();
    let segments = entries.map(|entry| entry.unwrap().path());
    let newest = segments.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let newest = newest.max().unwrap();
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(newest)
        .unwrap();
    file.write_all(b"{\"seq\":4711,\"time\":\"20").unwrap();
}

#[tokio::test]
async fn a_second_process_on_the_same_address_names_it_and_harms_nobody() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    home.edit(
        &format!("listen = \"{}\"\n", home.admin),
        "listen = \"unix:admin.sock\"\n",
    );
    let admin = home.folder.path().join("admin.sock");
    let mut first = home.run(&[]);
    until_ready_on(&admin, &mut first).await;

    // Each time one of the two is free.
    home.edit("unix:admin.sock", "unix:other.sock");
    assert_says_taken(&mut home.run(&[]), &home.address.to_string()).await;
    home.edit("unix:other.sock", "unix:admin.sock");
    home.edit(&home.address.to_string(), &free_address().to_string());
    assert_says_taken(&mut home.run(&[]), &admin.display().to_string()).await;

    first.assert_running();
    assert_eq!(once(home.address, write()).await.unwrap().status, 200);
    assert_eq!(get_unix(&admin, "/readyz").await.unwrap().status, 200);
    first.signal("TERM");
    assert_eq!(first.exit().await.code(), Some(0));
    assert_gapless(&home.records());
}

async fn assert_says_taken(second: &mut Gateway, address: &str) {
    assert_eq!(second.exit().await.code(), Some(1));
    let log = second.log();
    let told = format!("vspc-gateway: cannot listen on {address}: ");
    assert!(log.lines().any(|line| line.starts_with(&told)), "{log}");
    assert!(
        log.to_lowercase().contains("address already in use"),
        "{log}"
    );
}

async fn until_ready_on(admin: &std::path::Path, gateway: &mut Gateway) {
    loop {
        gateway.assert_running();
        match get_unix(admin, "/readyz").await {
            Ok(answer) if answer.status == 200 => return,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test]
async fn the_admin_socket_is_taken_over_from_the_dead_and_by_an_upgrade() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    home.edit(
        &format!("listen = \"{}\"\n", home.admin),
        "listen = \"unix:admin.sock\"\n",
    );
    let admin = home.folder.path().join("admin.sock");
    let mut killed = home.run(&[]);
    until_ready_on(&admin, &mut killed).await;
    killed.kill();
    assert!(admin.exists());

    let mut old = home.run(&[]);
    until_ready_on(&admin, &mut old).await;
    let mut new = home.run(&["--upgrade"]);
    let socket = home.audit_folder().join("upgrade.sock");
    until_true(|| socket.exists()).await;
    old.signal("QUIT");
    assert_eq!(old.exit().await.code(), Some(0));
    until_ready_on(&admin, &mut new).await;
    assert_eq!(get_unix(&admin, "/metrics").await.unwrap().status, 200);
}

#[tokio::test]
async fn health_tells_of_a_console_that_is_down_and_of_its_return() {
    let console = free_address();
    let home = Home::new(&format!("http://{console}"));
    let mut gateway = home.run(&[]);
    let failed = until_failed(&home, &mut gateway).await;
    assert_eq!(failed["ready"], false);
    assert_eq!(failed["audit"], "working");
    assert_ne!(failed["consoles"]["main"]["error"], "");
    assert_eq!(get(home.admin, "/livez", &[]).await.unwrap().status, 200);
    let unknown = get(home.admin, "/readyz?console=nope", &[]).await.unwrap();
    assert_eq!(unknown.status, 404);
    let asked = get(home.admin, "/readyz?console=main", &[]).await.unwrap();
    assert_eq!(asked.status, 503);
    assert_eq!(get(home.admin, "/other", &[]).await.unwrap().status, 404);
    let posted = once(home.admin, request("POST", "/livez", &[], "")).await;
    assert_eq!(posted.unwrap().status, 405);

    let settings = Settings {
        listen: console,
        ..unsigned()
    };
    let _simulator = Simulator::start(settings).await.unwrap();
    // Nobody asks for a token: the gateway finds out by itself.
    let ready = home.readyz(&mut gateway, 200).await.json();
    assert_eq!(ready["consoles"]["main"]["session"], "usable");
    assert_eq!(once(home.address, read()).await.unwrap().status, 200);
}

/// What `/readyz` says once the first login has failed.
async fn until_failed(home: &Home, gateway: &mut Gateway) -> Value {
    loop {
        let told = home.readyz(gateway, 503).await.json();
        let session = told.pointer("/consoles/main/session");
        if session.is_some_and(|session| session == "failed") {
            return told;
        }
    }
}

#[tokio::test]
async fn the_admin_token_guards_all_but_the_bare_state() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let listen = format!("listen = \"{}\"\n", home.admin);
    let token = "token = { file = \"admin-token\" }\n";
    home.edit(&listen, &format!("{listen}{token}"));
    write_secret(
        &home.folder.path().join("admin-token"),
        "admin-token-of-the-tests-0123456789\n",
    );
    let _gateway = home.start().await;
    assert_eq!(once(home.address, write()).await.unwrap().status, 200);

    let bare = get(home.admin, "/readyz", &[]).await.unwrap();
    assert_eq!(bare.json(), serde_json::json!({"ready": true}));
    assert_eq!(get(home.admin, "/livez", &[]).await.unwrap().status, 200);
    for wrong in [
        "Bearer admin-token-of-the-tests-012345678",
        "admin-token-of-the-tests-0123456789",
    ] {
        for headers in [&[][..], &[("authorization", wrong)]] {
            let metrics = get(home.admin, "/metrics", headers).await.unwrap();
            assert_eq!(metrics.status, 401);
            assert!(!String::from_utf8_lossy(&metrics.body).contains("vspc_gateway"));
        }
    }
    let right = [(
        "authorization",
        "Bearer admin-token-of-the-tests-0123456789",
    )];
    let full = get(home.admin, "/readyz", &right).await.unwrap().json();
    assert_eq!(full["consoles"]["main"]["session"], "usable");
    let metrics = get(home.admin, "/metrics", &right).await.unwrap();
    assert_eq!(metrics.status, 200);
    let page = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "vspc_gateway_requests_total{code=\"ok\"} 1\n",
        "vspc_gateway_request_seconds_bucket{le=\"+Inf\"} 1\n",
        "vspc_gateway_request_seconds_count 1\n",
        "vspc_gateway_token_exchanges_total{console=\"main\",grant=\"as\",outcome=\"ok\"} 1\n",
        "vspc_gateway_audit_failing 0\n",
        "vspc_gateway_audit_refused 0\n",
        "vspc_gateway_tokens_held 1\n",
        "vspc_gateway_sessions_usable 1\n",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    for secret in [BILLING, "gateway-demo-password", "admin-token-of-the-tests"] {
        assert!(!page.contains(secret));
    }
}

/// What `/token` of a process answers to a form.
pub(crate) async fn token(address: SocketAddr, form: &[(&str, &str)]) -> Answer {
    let request = request("POST", "/api/v3/token", &[FORM], &encoded(form));
    once(address, request).await.unwrap()
}

pub(crate) async fn log_in(address: SocketAddr) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("username", r"acme\billing"),
        ("password", BILLING),
    ];
    token(address, &form).await
}

pub(crate) async fn refresh(address: SocketAddr, login: &Answer) -> Answer {
    let token_of = login.text("refresh_token");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token_of.as_str()),
    ];
    token(address, &form).await
}

pub(crate) async fn me(address: SocketAddr, login: &Answer) -> u16 {
    let bearer = format!("Bearer {}", login.text("access_token"));
    let headers = [("authorization", bearer.as_str())];
    get(address, "/api/v3/users/me", &headers)
        .await
        .unwrap()
        .status
}

#[tokio::test]
async fn tokens_survive_a_kill_9_and_used_ones_stay_used() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.url());
    let mut gateway = home.start().await;
    let first = log_in(home.address).await;
    let second = refresh(home.address, &first).await;
    let third = refresh(home.address, &second).await;
    assert_eq!(third.status, 200);
    gateway.signal("KILL");
    gateway.exit().await;

    let _gateway = home.start().await;
    for login in [&first, &second, &third] {
        assert_eq!(me(home.address, login).await, 200);
    }
    assert_eq!(refresh(home.address, &third).await.status, 200);
    assert_eq!(
        refresh(home.address, &first).await.status,
        400,
        "it was used"
    );
}

#[tokio::test]
async fn two_processes_on_one_state_share_the_sessions_of_a_consoles_users() {
    let simulator = simulator().await;
    let (access, refresh) = (Duration::from_secs(2), Duration::from_secs(3600));
    simulator.set_lifetimes(access, refresh);
    let home = Home::new(&simulator.url());
    home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
    let _one = home.start().await;
    let (address, admin) = (free_address(), free_address());
    home.edit(&home.address.to_string(), &address.to_string());
    home.edit(&home.admin.to_string(), &admin.to_string());
    let other = home.run(&[]);
    other.logged("clients are served").await;

    let user = vspc_simulator::seed::ACME_ADMINISTRATOR;
    let form = [
        ("grant_type", "password"),
        ("username", user.name),
        ("password", vspc_simulator::seed::ADMINISTRATOR_PASSWORD),
    ];
    let login = token(home.address, &form).await;
    let renewals = || {
        let seen = simulator.requests().into_iter();
        seen.filter(|seen| seen.grant == Some("refresh_token"))
            .count()
    };
    let before = renewals();
    until_true_async(async || {
        for address in [home.address, address] {
            assert_eq!(me(address, &login).await, 200);
        }
        renewals() >= before + 8
    })
    .await;
}
