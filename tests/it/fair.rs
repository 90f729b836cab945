//! A console is shared fairly, its throttling is obeyed, and it is left alone while it does not work.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vspc_simulator::{Action, Fault, SeenRequest, Switches};

use crate::harness::{
    ACME, ADMIN, Answer, BILLING, GLOBEX, World, ZABBIX, ok, unsigned, until_true,
};

const ECHO: &str = "/api/v3/_test/echo";
const STATUS: &str = "/api/v3/_test/status";

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

/// Calls that get no answer before the fault is taken away.
fn held() -> Fault {
    Fault::new(Action::Delay)
        .under(ECHO)
        .times(0)
        .delay(Duration::from_millis(2500))
}

fn throttle(seconds: u64) -> Fault {
    Fault::new(Action::Throttle {
        retry_after: Some(seconds),
    })
    .under(ECHO)
}

/// Sends calls at once, without waiting for their answers.
fn send_all(world: &Arc<World>, tenant: &'static str, paths: Vec<String>) -> JoinSet<Answer> {
    let mut calls = JoinSet::new();
    for path in paths {
        let world = Arc::clone(world);
        calls.spawn(async move { world.get(ADMIN, tenant, &path).await });
    }
    calls
}

fn echoes(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{ECHO}?offset={number}"))
        .collect()
}

fn is_of(seen: &SeenRequest, user: &str) -> bool {
    seen.subject
        .is_some_and(|subject| subject.to_string() == user)
}

async fn metrics(world: &World) -> String {
    String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap()
}

async fn breaker(world: &World) -> String {
    world
        .admin("/readyz")
        .await
        .text_at("/consoles/main/breaker")
}

/// One tenant sends two hundred requests at once, four of which the console may have. Another sends
/// one after the other, and each is the next or the one after that at the console.
#[tokio::test]
async fn a_noisy_tenant_delays_a_quiet_one_by_a_turn_and_no_more() {
    let limits = "concurrency = 4\ntenant_concurrency = 4";
    let world = Arc::new(World::start_with(limits, unsigned()).await);
    for tenant in ["acme", "globex"] {
        assert!(ok(&world.get(ADMIN, tenant, "/api/v3/users/me").await));
    }
    world
        .simulator
        .fault(held().delay(Duration::from_millis(50)));
    let noisy = send_all(&world, "acme", echoes(200));
    until_true(|| {
        world
            .reached()
            .iter()
            .filter(|seen| is_of(seen, ACME))
            .count()
            > 8
    })
    .await;

    // What the console had received when each of the quiet one's requests was sent.
    let mut before = Vec::new();
    for _ in 0..10 {
        before.push(world.reached().len());
        assert!(ok(&world.get(ADMIN, "globex", ECHO).await));
    }
    let received = world.reached();
    let quiet = received
        .iter()
        .enumerate()
        .filter(|(_, seen)| is_of(seen, GLOBEX) && seen.target == ECHO)
        .map(|(at, _)| at);
    let overtaken: Vec<usize> = quiet.zip(before).map(|(at, before)| at - before).collect();
    assert_eq!(overtaken.len(), 10);
    // Places come free in no order, and the call itself is on its way for a moment.
    assert!(overtaken.iter().all(|noisy| *noisy <= 12), "{overtaken:?}");
    assert!(received.len() < 150, "the noisy tenant was done before");
    for answer in noisy.join_all().await {
        assert!(ok(&answer), "{answer:?}");
    }
    assert_eq!(world.simulator.state().in_flight_max, 4);
}

#[tokio::test]
async fn tenants_take_turns_in_their_order_of_arrival() {
    let limits = "concurrency = 1\ntenant_concurrency = 1";
    let world = Arc::new(World::start_with(limits, unsigned()).await);
    for tenant in ["acme", "globex"] {
        assert!(ok(&world.get(ADMIN, tenant, "/api/v3/users/me").await));
    }
    world.simulator.fault(held().times(1));
    let mut calls = JoinSet::new();
    let order = ["acme", "acme", "acme", "acme", "globex", "globex"];
    for (number, tenant) in order.into_iter().enumerate() {
        let shared = Arc::clone(&world);
        let path = format!("{ECHO}?offset={number}");
        calls.spawn(async move { shared.get(ADMIN, tenant, &path).await });
        match number {
            // The first is under way, the others wait behind it, one after the other.
            0 => until_true(|| world.reached().len() == 3).await,
            _ => until_true(|| world.waiting() == number).await,
        }
    }
    assert!(calls.join_all().await.iter().all(ok));
    let received: Vec<_> = world.reached()[2..]
        .iter()
        .map(|seen| seen.target.rsplit('=').next().unwrap().to_owned())
        .collect();
    // Whoever has a place is behind those who have none.
    assert_eq!(received, ["0", "4", "1", "5", "2", "3"]);
}

#[tokio::test]
async fn whoever_finds_no_room_to_wait_is_told_so() {
    let limits = "concurrency = 1\ntenant_concurrency = 1\nwaiting = 2\ntenant_waiting = 1\n\
                  turn_wait = \"1s\"\nbreaker_faults = 100";
    let world = Arc::new(World::start_with(limits, unsigned()).await);
    assert!(ok(&world.get(ADMIN, "acme", ECHO).await));
    world.simulator.fault(held());
    let mut calls = send_all(&world, "acme", echoes(1));
    until_true(|| world.reached().len() == 2).await;
    for (number, tenant) in ["acme", "globex"].into_iter().enumerate() {
        let shared = Arc::clone(&world);
        calls.spawn(async move { shared.get(ADMIN, tenant, ECHO).await });
        until_true(|| world.waiting() == number + 1).await;
    }

    let noisy = world.get(ADMIN, "acme", ECHO).await;
    assert_eq!(refusal(&noisy), (429, "rate_limited"));
    let error = &noisy.json()["errors"][0];
    assert_eq!(
        (&error["code"], &error["retryAfter"]),
        (&json!(429), &json!(1))
    );
    let quiet = world.get(ADMIN, "viewed", ECHO).await;
    assert_eq!(refusal(&quiet), (503, "overloaded"));
    for answer in [&noisy, &quiet] {
        assert_eq!(answer.header("retry-after"), Some("1"));
        let record = world.outcome(answer).await;
        assert_eq!(record["code"], answer.code());
        assert_eq!(
            (&record["attempts"], &record["lease"]),
            (&json!(0), &json!(null))
        );
        assert!(
            record["detail"].as_str().unwrap().contains("wait"),
            "{record}"
        );
    }

    // Those who wait do so for a second.
    let answers = calls.join_all().await;
    let late = answers
        .iter()
        .filter(|answer| answer.code() == "overloaded");
    assert_eq!(late.count(), 2, "{answers:?}");
    assert_eq!(world.reached().len(), 2);
    let metrics = metrics(&world).await;
    for line in [
        r#"turns_refused_total{console="main",why="tenant_waiting"} 1"#,
        r#"turns_refused_total{console="main",why="waiting"} 1"#,
        r#"turns_refused_total{console="main",why="turn_wait"} 2"#,
        r#"turns_waiting{console="main"} 0"#,
        r#"breaker_open{console="main"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_when_to_come_again_and_others_go_on() {
    let limits = "tenant_rate = \"2/m\"\nturn_wait = \"200ms\"";
    let world = World::start_with(limits, unsigned()).await;
    assert!(ok(&world.get(ADMIN, "acme", ECHO).await));
    let answer = world.get(ADMIN, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (429, "rate_limited"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((25..=30).contains(&seconds), "{seconds}");
    assert!(ok(&world.get(ADMIN, "globex", ECHO).await));
    assert_eq!(world.reached().len(), 2);
}

/// A caller that goes away while it waits makes room for others.
#[tokio::test]
async fn callers_that_leave_the_queue_are_recorded_as_gone() {
    let limits = "concurrency = 1\ntenant_concurrency = 1";
    let world = Arc::new(World::start_with(limits, unsigned()).await);
    assert!(ok(&world.get(ADMIN, "acme", ECHO).await));
    world.simulator.fault(held().times(1));
    let calls = send_all(&world, "acme", echoes(1));
    until_true(|| world.reached().len() == 2).await;
    let mut gone = send_all(&world, "globex", echoes(1));
    until_true(|| world.waiting() == 1).await;
    gone.abort_all();
    while gone.join_next().await.is_some() {}
    until_true(|| world.waiting() == 0).await;
    let record = world.record(|record| record["code"] == "aborted").await;
    assert_eq!(
        (&record["tenant"], &record["attempts"]),
        (&json!("globex"), &json!(0))
    );
    assert!(calls.join_all().await.iter().all(ok));
    assert_eq!(world.reached().len(), 2);
}

/// Acme has a place at the console until what is returned is dropped: an answer that is not read.
async fn hold_a_place(world: &World) -> TcpStream {
    let path = "/api/v3/_test/bytes?size=100000000";
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

/// Three tenants have filled the queue; a fourth one has one request.
#[tokio::test]
async fn tenants_that_fill_the_queue_shut_no_other_out() {
    let limits = format!(
        "concurrency = 1\ntenant_concurrency = 1\nwaiting = 300\nturn_wait = \"60s\"\n\
         [[tenants]]\nname = \"quiet\"\nimpersonate = {{ user = \"{ACME}\" }}"
    );
    let world = Arc::new(World::start_with(&limits, unsigned()).await);
    let held = hold_a_place(&world).await;
    let mut crowd = JoinSet::new();
    for (tenant, count) in [("acme", 150), ("globex", 100), ("viewed", 50)] {
        for number in 0..count {
            let world = Arc::clone(&world);
            let path = format!("{ECHO}?filter={tenant}&offset={number}");
            crowd.spawn(
                async move { (tenant, path.clone(), world.get(ADMIN, tenant, &path).await) },
            );
        }
    }
    until_true(|| world.waiting() == 300).await;
    let quiet = send_all(&world, "quiet", vec![format!("{ECHO}?filter=quiet")]);

    // Whoever makes room is told so at once: one of those who have most.
    let (tenant, put_out, answer) = crowd.join_next().await.unwrap().unwrap();
    assert_eq!((tenant, refusal(&answer)), ("acme", (503, "overloaded")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["code"], &record["tenant"], &record["attempts"]),
        (&json!("overloaded"), &json!("acme"), &json!(0))
    );
    assert_eq!(world.waiting(), 300);
    // There is no room for more of those.
    let more = world.get(ADMIN, "acme", ECHO).await;
    assert_eq!(refusal(&more), (503, "overloaded"));

    drop(held);
    assert!(quiet.join_all().await.iter().all(ok));
    for (tenant, path, answer) in crowd.join_all().await {
        assert!(ok(&answer), "{tenant} {path}: {answer:?}");
    }
    let received = world.reached();
    let echoes: Vec<_> = received
        .iter()
        .map(|seen| seen.target.as_str())
        .filter(|target| target.starts_with(ECHO))
        .collect();
    assert_eq!(echoes.len(), 300);
    assert!(!echoes.contains(&put_out.as_str()), "{put_out} was sent");
    let turn = echoes.iter().position(|target| target.ends_with("=quiet"));
    assert!(turn.is_some_and(|turn| turn < 4), "{turn:?}");
}

/// An answer that is still being read has its place.
#[tokio::test]
async fn a_place_is_free_when_the_answer_has_ended() {
    let limits = "concurrency = 1\ntenant_concurrency = 1\nturn_wait = \"100ms\"";
    let world = World::start_with(limits, unsigned()).await;
    let stream = hold_a_place(&world).await;
    let answer = world.get(ZABBIX, "globex", ECHO).await;
    assert_eq!(refusal(&answer), (503, "overloaded"));
    drop(stream);
    world.record(|record| record["code"] == "aborted").await;
    assert!(ok(&world.get(ZABBIX, "globex", ECHO).await));
}

#[tokio::test]
async fn a_429_is_waited_for_and_the_request_sent_again() {
    let world = World::start().await;
    world.simulator.fault(throttle(1));
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert!(ok(&answer), "{answer:?}");
    let statuses: Vec<_> = world.reached().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(429), Some(200)]);
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["status"], &record["attempts"]),
        (&json!(200), &json!(2))
    );
    assert!(
        record["duration_us"].as_u64().unwrap() >= 1_000_000,
        "{record}"
    );
}

/// The console throttles for real: whoever is too fast for it is slowed down, not refused.
#[tokio::test]
async fn requests_over_the_consoles_own_limit_arrive_in_the_end() {
    let switches = Switches {
        throttle_user_rate: 5,
        ..unsigned()
    };
    let world = Arc::new(World::start_with("", switches).await);
    let answers = send_all(&world, "acme", echoes(12)).join_all().await;
    assert!(answers.iter().all(ok), "{answers:?}");
    let served = world.reached();
    assert_eq!(
        served
            .iter()
            .filter(|seen| seen.status == Some(200))
            .count(),
        12
    );
}

#[tokio::test]
async fn a_429_for_a_held_body_is_repeated_with_it_under_one_intent() {
    let world = World::start().await;
    world.simulator.fault(throttle(1));
    let headers = [("x-api-key", BILLING), ("content-type", "text/plain")];
    let answer = world.call("POST", ECHO, &headers, "the whole body").await;
    assert!(ok(&answer), "{answer:?}");
    let seen = world.reached();
    let statuses: Vec<_> = seen.iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(429), Some(200)]);
    assert!(seen.iter().all(|seen| seen.body == b"the whole body"));
    assert_eq!(world.outcome(&answer).await["attempts"], 2);
    let records = world.records();
    let intents = records.iter().filter(|record| record["kind"] == "intent");
    assert_eq!(intents.count(), 1);
}

#[tokio::test]
async fn a_429_for_a_body_that_is_not_held_goes_to_the_caller() {
    let world = World::start().await;
    let sink = "/api/v3/_test/sink";
    world
        .simulator
        .fault(throttle(1).under(sink).after_effect());
    let headers = [("x-api-key", BILLING)];
    let answer = world
        .call("POST", sink, &headers, vec![b'x'; 100_000])
        .await;
    assert_eq!(refusal(&answer), (429, ""));
    assert_eq!(world.reached().len(), 1);
}

/// What takes longer than allowed, and what says no time, is the caller's to deal with.
#[tokio::test]
async fn other_429s_go_to_the_caller_as_they_came() {
    let whole = r#"{"errors":[{"type":"transport" ,"code":429,  "retryAfter":600}]}"#;
    let bare = r#"{"errors":[{"type":"transport","code":429}]}"#;
    let long = format!("{}{whole}", " ".repeat(40_000));
    let html = "<html>busy</html>";
    for body in [whole, bare, &long, html] {
        let world = World::start().await;
        let busy = Fault::new(Action::Answer {
            status: 429,
            body: Some(body.to_owned()),
            content_type: None,
            headers: vec![("x-of-the-console".to_owned(), "1".to_owned())],
        });
        world.simulator.fault(busy.under(ECHO));
        let answer = world.get(ZABBIX, "acme", ECHO).await;
        assert_eq!(refusal(&answer), (429, ""));
        assert_eq!(answer.header("x-of-the-console"), Some("1"));
        assert_eq!(answer.body, body.as_bytes());
        assert_eq!(world.reached().len(), 1);
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!("ok"), &json!(429))
        );
        assert_eq!(record["bytes_out"], body.len());
    }
}

#[tokio::test]
async fn a_429_is_passed_on_when_it_comes_again_after_all_the_patience() {
    let world = World::start_with("throttle_wait = \"2500ms\"", unsigned()).await;
    world.simulator.fault(throttle(1).times(0));
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (429, ""));
    assert_eq!(answer.json()["errors"][0]["retryAfter"], 1);
    assert_eq!(world.reached().len(), 3);
    assert_eq!(world.outcome(&answer).await["attempts"], 3);
}

#[tokio::test]
async fn a_throttled_tenant_pauses_and_others_go_on() {
    let world = World::start_with("throttle_wait = \"0s\"", unsigned()).await;
    world.simulator.fault(throttle(60));
    assert_eq!(world.get(ZABBIX, "acme", ECHO).await.status, 429);
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (429, "rate_limited"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
    assert!(ok(&world.get(ZABBIX, "globex", ECHO).await));
    assert_eq!(world.reached().len(), 2);
}

/// Two tenants act as one user, and the console throttles that user.
#[tokio::test]
async fn one_throttled_user_is_no_throttled_address() {
    let world = World::start_with("throttle_wait = \"0s\"", unsigned()).await;
    for tenant in ["globex", "viewed", "acme"] {
        assert!(ok(&world.get(ADMIN, tenant, ECHO).await));
    }
    world.simulator.fault(throttle(300).times(2));
    for tenant in ["globex", "viewed"] {
        assert_eq!(world.get(ADMIN, tenant, ECHO).await.status, 429);
    }
    let answer = world.get(ADMIN, "acme", STATUS).await;
    let told = (answer.code(), answer.header("retry-after"));
    assert!(ok(&answer), "acme never sent too much: {told:?}");
}

/// Two users throttled at the same time: it is the address that they share.
#[tokio::test]
async fn all_pause_when_the_console_throttles_their_common_address() {
    let limits = "throttle_wait = \"0s\"\nturn_wait = \"1s\"";
    let world = World::start_with(limits, unsigned()).await;
    for tenant in ["acme", "globex"] {
        assert!(ok(&world.get(ADMIN, tenant, ECHO).await));
    }
    world.simulator.fault(throttle(60).times(2));
    let (acme, globex) = tokio::join!(
        world.get(ADMIN, "acme", ECHO),
        world.get(ADMIN, "globex", ECHO)
    );
    assert_eq!((acme.status, globex.status), (429, 429));
    let answer = world.get(ADMIN, "viewed", ECHO).await;
    assert_eq!(refusal(&answer), (503, "overloaded"));
    // The console asked for a minute; it is tried sooner, since it may mean two users alone.
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(world.reached().len(), 4);
}

#[tokio::test]
async fn a_console_that_fails_is_left_alone_and_tried_after_a_pause() {
    let limits = "breaker_faults = 3\nbreaker_pause = \"500ms\"";
    let world = World::start_with(limits, unsigned()).await;
    let cut = Fault::new(Action::Answer {
        status: 503,
        body: None,
        content_type: None,
        headers: Vec::new(),
    });
    world.simulator.fault(cut.under(STATUS).times(4));
    for _ in 0..3 {
        assert_eq!(refusal(&world.get(ZABBIX, "acme", STATUS).await), (503, ""));
    }
    let headers = [("x-api-key", BILLING)];
    let answer = world.call("POST", ECHO, &headers, "x").await;
    assert_eq!(refusal(&answer), (503, "console_unwell"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(world.outcome(&answer).await["attempts"], 0);
    assert_eq!(world.reached().len(), 3);
    assert!(
        metrics(&world)
            .await
            .contains(r#"breaker_open{console="main"} 1"#)
    );
    assert_eq!(breaker(&world).await, "open");

    // The first that tries it fails too, the second does not.
    let mut tried = Vec::new();
    while tried.len() < 2 {
        let answer = world.get(ZABBIX, "globex", STATUS).await;
        if answer.code() != "console_unwell" {
            tried.push(answer.status);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tried, [503, 200]);
    assert_eq!(world.reached().len(), 5);
    assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
    assert_eq!(breaker(&world).await, "closed");
}

/// The one request that tries the console is given up by its caller: the next one may.
#[tokio::test]
async fn a_caller_that_goes_away_does_not_keep_the_console_shut() {
    let limits = "breaker_faults = 1\nbreaker_pause = \"100ms\"";
    let world = Arc::new(World::start_with(limits, unsigned()).await);
    assert!(ok(&world.get(ADMIN, "acme", ECHO).await));
    world
        .simulator
        .fault(Fault::new(Action::CutBeforeHead).times(2));
    let answer = world.get(ADMIN, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (502, "upstream_unreachable"));
    world.simulator.fault(held().times(1));
    let before = world.reached().len();
    let mut trying = JoinSet::new();
    let shared = Arc::clone(&world);
    trying.spawn(async move {
        while shared.get(ADMIN, "acme", ECHO).await.code() == "console_unwell" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    until_true(|| world.reached().len() > before).await;
    assert_eq!(
        world.get(ADMIN, "globex", ECHO).await.code(),
        "console_unwell"
    );
    trying.abort_all();
    while trying.join_next().await.is_some() {}
    world.record(|record| record["code"] == "aborted").await;
    assert!(ok(&world.get(ADMIN, "globex", ECHO).await));
}

/// One report of one tenant takes longer than the console may; everything else works.
#[tokio::test]
async fn one_slow_report_of_one_tenant_does_not_shut_the_others_out() {
    let world = Arc::new(World::start_with("", unsigned()).await);
    assert!(ok(&world.get(ADMIN, "acme", STATUS).await));
    assert!(ok(&world.get(ADMIN, "globex", STATUS).await));
    world.simulator.fault(held().delay(Duration::from_secs(5)));
    let calls = send_all(&world, "acme", echoes(5));
    for answer in calls.join_all().await {
        assert_eq!(refusal(&answer), (504, "upstream_timeout"));
    }
    let answer = world.get(ADMIN, "globex", STATUS).await;
    assert!(ok(&answer), "{} {}", answer.status, answer.code());
}

/// VSPC answers every error of its own with 520: one report that fails must not shut out everybody.
#[tokio::test]
async fn server_errors_of_one_operation_leave_the_console_open() {
    let limits = "breaker_faults = 3\nbreaker_pause = \"60s\"";
    let world = World::start_with(limits, unsigned()).await;
    for path in [ECHO, "/api/v3/users"] {
        world
            .simulator
            .fault(Fault::new(Action::ServerError).under(path).times(0));
    }
    for _ in 0..6 {
        assert_eq!(refusal(&world.get(ZABBIX, "acme", ECHO).await), (520, ""));
    }
    let answer = world.get(ZABBIX, "globex", "/api/v3/users/me").await;
    assert_eq!(refusal(&answer), (520, ""));
    let answer = world.get(ZABBIX, "acme", STATUS).await;
    assert_eq!(refusal(&answer), (503, "console_unwell"));
    assert_eq!(world.reached().len(), 7);
}
