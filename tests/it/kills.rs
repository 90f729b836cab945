//! What the log says of requests whose process was killed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;
use vspc_simulator::{Action, Fault, SeenRequest, Simulator};

use crate::child::{Caller, Home, assert_gapless, request, unsigned};
use crate::harness::{ADMIN, BILLING, FORM, ZABBIX, encoded, of_callers, until_true};

/// Reads, changes and log-ins of the console's own users, killed at random moments: whatever
/// reached the console has one outcome, `unknown` if nobody knows it, and whatever may have changed
/// something one intent. `KILL_ROUNDS=200 cargo test --test it kills::` does it more often.
#[expect(
    clippy::print_stdout,
    reason = "whoever asks for more rounds wants to know what they met"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_record_of_a_request_that_reached_the_console() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(3));
    simulator.fault(slow.under("/api/v3/organizations").times(0));
    let home = Home::new(&simulator.url());
    home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
    let (mut reached, mut unknown, mut known) = (Vec::new(), BTreeMap::new(), 0);
    for round in 0..rounds {
        let mut gateway = home.start().await;
        known = check(&home, known, &reached, &mut unknown, round);
        simulator.clear();
        let callers = call_on(home.address);
        // Somewhere within the load, which does not stop before the kill.
        let random = RandomState::new().build_hasher().finish();
        until_true(|| marks(&simulator).len() as u64 > 1 + random % 150).await;
        tokio::time::sleep(Duration::from_micros(random % 9_973)).await;
        gateway.kill();
        assert_eq!(gateway.exit().await.signal(), Some(9));
        callers.join_all().await;
        until_true(|| simulator.state().in_flight == 0).await;
        reached = marks(&simulator);
        if round % 4 == 3 {
            tear(&home);
        }
    }
    let mut last = home.start().await;
    check(&home, known, &reached, &mut unknown, rounds);
    last.signal("TERM");
    assert_eq!(last.exit().await.code(), Some(0));
    assert_gapless(&home.records());
    println!("{rounds} kills, closed as unknown: {unknown:?}");
    for method in ["GET", "POST"] {
        let count = unknown.get(method).copied().unwrap_or(0);
        assert!(count > 0, "no {method} was under way at any kill");
    }
    let flight = std::fs::read_dir(home.audit_folder().join("flight")).unwrap();
    assert_eq!(flight.count(), 0, "files of the dead are left");
}

/// Checks what the last round left in the log. Returns how many records there are.
fn check(
    home: &Home,
    known: usize,
    reached: &[(String, bool)],
    unknown: &mut BTreeMap<String, usize>,
    round: usize,
) -> usize {
    let records = home.records();
    let new = records.get(known..).unwrap();
    let mut outcomes: HashMap<&str, usize> = HashMap::new();
    let mut intents: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<String, Vec<&str>> = HashMap::new();
    for record in new {
        let Some(id) = record["request_id"].as_str() else {
            continue;
        };
        let counts = match record["kind"].as_str().unwrap() {
            "request" => &mut outcomes,
            "intent" => &mut intents,
            _ => continue,
        };
        *counts.entry(id).or_default() += 1;
        let marked = ids.entry(mark_of(record)).or_default();
        if !marked.contains(&id) {
            marked.push(id);
        }
        if record["code"] == "unknown" {
            assert_eq!(record["kind"], "request", "{record}");
            assert_eq!(record["status"], Value::Null, "{record}");
            assert!(record["began"].is_string(), "{record}");
            let method = record["method"].as_str().unwrap().to_owned();
            *unknown.entry(method).or_default() += 1;
        }
    }
    for (id, count) in &intents {
        assert_eq!(*count, 1, "round {round}: intents of {id}");
        assert!(outcomes.contains_key(id), "round {round}: {id} has no end");
    }
    for (id, count) in &outcomes {
        assert_eq!(*count, 1, "round {round}: outcomes of {id}");
    }
    for (mark, changes) in reached {
        let found = ids.get(mark);
        let found = found.unwrap_or_else(|| panic!("round {round}: {mark} is not recorded"));
        let intended = found.iter().any(|id| intents.contains_key(id));
        assert!(!changes || intended, "round {round}: {mark} has no intent");
    }
    records.len()
}

/// What a request can be known by, as its record has it.
fn mark_of(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    match record["grant"].as_str() {
        Some(_) => text("user").to_owned(),
        None => format!("{} {}", text("method"), text("path")),
    }
}

/// What each request that reached the console can be known by, and whether it may have changed
/// something.
fn marks(simulator: &Simulator) -> Vec<(String, bool)> {
    let seen = simulator.requests();
    let log_ins = seen.iter().filter_map(|seen: &SeenRequest| {
        let body = String::from_utf8_lossy(&seen.body);
        let (_, rest) = body.split_once("username=probe-")?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((format!("probe-{number}"), true))
    });
    let log_ins: Vec<_> = log_ins.collect();
    let calls = of_callers(seen).into_iter();
    let calls = calls.filter(|seen| !seen.target.starts_with("/api/v3/about"));
    let calls = calls.map(|seen| {
        let changes = !matches!(seen.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        (format!("{} {}", seen.method, seen.target), changes)
    });
    calls.chain(log_ins).collect()
}

/// Callers whose requests all differ, until the gateway is gone.
fn call_on(address: SocketAddr) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for number in 0..12 {
        callers.spawn(async move {
            let mut caller = Caller::new(address);
            while caller.send(next(number)).await.is_ok() {}
        });
    }
    callers
}

fn next(number: usize) -> Request<Full<Bytes>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mark = NEXT.fetch_add(1, Ordering::Relaxed);
    let uid = Uuid::from_u128(mark.into());
    let (method, path, key) = match number % 8 {
        0 => ("PATCH", format!("organizations/companies/{uid}"), BILLING),
        1 => ("DELETE", format!("users/{uid}/logins/7"), ADMIN),
        2 => ("POST", format!("organizations/{uid}"), BILLING),
        3 => ("PUT", format!("alarms/{uid}"), BILLING),
        4 => ("HEAD", format!("organizations/companies/{uid}"), BILLING),
        5 => {
            let name = format!("probe-{mark}");
            let form = [
                ("grant_type", "password"),
                ("username", name.as_str()),
                ("password", "wrong"),
            ];
            return request("POST", "/api/v3/token", &[FORM], &encoded(&form));
        }
        _ => ("GET", format!("organizations/companies/{uid}"), ZABBIX),
    };
    let headers = [("x-api-key", key), ("x-tenant", "acme")];
    let body = if matches!(method, "GET" | "HEAD") {
        ""
    } else {
        "[]"
    };
    request(method, &format!("/api/v3/{path}"), &headers, body)
}

/// Leaves the start of a line, as a loss of power within a write would.
fn tear(home: &Home) {
    let entries = std::fs::read_dir(home.audit_folder()).unwrap();
    let segments = entries.map(|entry| entry.unwrap().path());
    let newest = segments.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let newest = newest.max().unwrap();
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.append(true).open(newest).unwrap();
    file.write_all(b"{\"seq\":4711,\"time\":\"20").unwrap();
}
