//! Reloads of a process: by signal and by command, under load, with bad files, and at its end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vspc_gateway::config::Settings;
use vspc_simulator::{Action, Fault, Simulator};

use crate::child::{
    Caller, Gateway, Home, Tally, assert_gapless, command, get, once, request, unsigned, whole,
};
use crate::harness::{Answer, BILLING, ZABBIX, until_true, until_true_async};

const AS_ACME: [(&str, &str); 2] = [("x-api-key", BILLING), ("x-tenant", "acme")];
const PATH: &str = "/api/v3/_test/bytes?size=300";

async fn start() -> (Simulator, Home, Gateway) {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let gateway = home.start().await;
    (simulator, home, gateway)
}

async fn reload(home: &Home) -> Answer {
    let json = [("content-type", "application/json")];
    let mut reload = request("POST", "/reload", &json, "{}");
    let host = home.admin.to_string().parse().unwrap();
    reload.headers_mut().insert("host", host);
    once(home.admin, reload).await.unwrap()
}

async fn version(home: &Home) -> String {
    let ready = get(home.admin, "/readyz", &[]).await.unwrap();
    ready.text_at("/config/version")
}

fn text(home: &Home) -> String {
    std::fs::read_to_string(home.config()).unwrap()
}

fn write(home: &Home, text: &str) {
    // As editors do: there is no moment with half a file.
    let new = home.config().with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, home.config()).unwrap();
}

fn records_of(home: &Home, operation: &str) -> Vec<Value> {
    let mut records = home.records();
    records.retain(|record| record["operation"] == operation);
    records
}

/// Asks again and again on one connection until it is told to stop.
fn call_over_http1(calling: &mut JoinSet<()>, home: &Home, tally: &Tally, stop: &Arc<AtomicBool>) {
    let (address, tally, stop) = (home.address, tally.clone(), Arc::clone(stop));
    calling.spawn(async move {
        let mut caller = Caller::new(address);
        while !stop.load(Ordering::Relaxed) {
            tally.note(caller.send(request("GET", PATH, &AS_ACME, "")).await);
        }
        assert_eq!(caller.connections, 1, "a reload has closed a connection");
    });
}

fn call_over_http2(calling: &mut JoinSet<()>, home: &Home, tally: &Tally, stop: &Arc<AtomicBool>) {
    let (address, tally, stop) = (home.address, tally.clone(), Arc::clone(stop));
    calling.spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.unwrap();
        let driving = tokio::spawn(connection);
        let url = format!("http://{address}{PATH}");
        while !stop.load(Ordering::Relaxed) {
            let mut asked = request("GET", &url, &AS_ACME, "");
            asked.headers_mut().remove("host");
            let answer = match sender.send_request(asked).await {
                Ok(answer) => whole(answer).await,
                Err(error) => Err(format!("{error:?}")),
            };
            tally.note(answer);
        }
        driving.abort();
    });
}

#[tokio::test]
async fn under_load_no_request_fails_and_each_names_the_version_that_it_came_under() {
    let (simulator, home, mut gateway) = start().await;
    let one = text(&home);
    // The second adds a client, changes limits, and reaches the console otherwise.
    let other = one
        .replace("connect_timeout = \"2s\"", "connect_timeout = \"4s\"")
        .replace("body_limit = \"64MiB\"", "body_limit = \"32MiB\"")
        .replace("aliases = [\"1001\"]", "aliases = [\"1002\"]");
    let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
    let mut calling = JoinSet::new();
    for _ in 0..12 {
        call_over_http1(&mut calling, &home, &tally, &stop);
    }
    for _ in 0..4 {
        call_over_http2(&mut calling, &home, &tally, &stop);
    }
    let mut versions = vec![version(&home).await];
    for number in 0..50 {
        let before = tally.answered();
        write(&home, if number % 2 == 0 { &other } else { &one });
        let answer = reload(&home).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text("before"), *versions.last().unwrap());
        versions.push(answer.text("version"));
        until_true(|| tally.answered() > before).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = calling.join_next().await {
        ended.unwrap();
    }
    let seen = tally.take();
    assert_eq!(seen.failures, Vec::<String>::new());
    let versions: BTreeSet<String> = versions.into_iter().collect();
    assert_eq!(versions.len(), 2);

    gateway.signal("TERM");
    assert!(gateway.exit().await.success());
    let records = home.records();
    assert_gapless(&records);
    let named = |record: &Value| record["config"].as_str().map(str::to_owned);
    let of_requests = records.iter().filter(|record| record["kind"] == "request");
    let of_requests: BTreeSet<String> = of_requests.map(|it| named(it).unwrap()).collect();
    assert_eq!(of_requests, versions);
    assert_eq!(records_of(&home, "config.reloaded").len(), 50);
    let grants = simulator.state().grants;
    assert_eq!(
        (grants["password"].ok, grants["as"].ok),
        (1, 1),
        "{grants:?}"
    );
    assert!(!grants.contains_key("refresh_token"), "{grants:?}");
}

/// Valid texts and invalid ones: cut, with lines taken out or twice, with keys misspelled.
fn mutations(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for cut in 1..20 {
        let mut end = text.len() * cut / 20;
        while !text.is_char_boundary(end) {
            end += 1;
        }
        all.push(text[..end].to_owned());
    }
    for (number, line) in lines.iter().enumerate() {
        let with = |put: &[&str]| {
            let mut lines = lines.clone();
            lines.splice(number..=number, put.iter().copied());
            lines.join("\n")
        };
        all.push(with(&[]));
        all.push(with(&[line, line]));
        let misspelled = line.replacen('=', "x =", 1);
        all.push(with(&[&misspelled]));
        let other = line.replace('"', "\"no such thing ");
        all.push(with(&[&other]));
    }
    all.retain(|mutated| mutated != text);
    all
}

#[tokio::test]
async fn a_file_with_any_fault_leaves_everything_as_it_was() {
    let (_simulator, home, mut gateway) = start().await;
    let good = text(&home);
    let folder = home.folder.path().to_owned();
    let before = version(&home).await;
    let mut caller = Caller::new(home.address);
    let mut refused = 0;
    let invalid = mutations(&good);
    let invalid = invalid
        .iter()
        .filter(|it| Settings::parse(it, &folder).is_err());
    for bad in invalid.step_by(3) {
        write(&home, bad);
        let answer = reload(&home).await;
        assert_eq!(answer.status, 422, "{bad}\n{answer:?}");
        assert_eq!(answer.json()["code"], "bad_config");
        assert!(!answer.json()["faults"].as_array().unwrap().is_empty());
        refused += 1;
        let calls = [
            (BILLING, "acme", 200),
            (ZABBIX, "globex", 200),
            (BILLING, "globex", 403),
            (&*format!("{BILLING}x"), "acme", 401),
        ];
        for (key, tenant, status) in calls {
            let headers = [("x-api-key", key), ("x-tenant", tenant)];
            let answer = caller.send(request("GET", PATH, &headers, "")).await;
            assert_eq!(answer.unwrap().status, status, "{bad}");
        }
        assert_eq!(version(&home).await, before);
    }
    assert!(refused > 30, "{refused}");
    write(&home, &good);
    assert_eq!(reload(&home).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.exit().await.success());
    let records = records_of(&home, "config.refused");
    assert_eq!(records.len(), refused);
    for record in records {
        assert_eq!(record["kind"], "config");
        assert_eq!(record["code"], "bad_config");
        assert_eq!(record["config"], *before);
    }
}

#[tokio::test]
async fn a_signal_loads_the_file_and_logs_every_fault_of_a_bad_one() {
    let (_simulator, home, mut gateway) = start().await;
    let (good, before) = (text(&home), version(&home).await);
    let loaded = records_of(&home, "config.loaded");
    assert_eq!(loaded.len(), 1);
    assert_eq!(
        (&loaded[0]["kind"], &loaded[0]["config"]),
        (&"config".into(), &before.clone().into())
    );
    home.edit("listen = ", "shiny = true\nlisten = ");
    home.edit("aliases = [\"1001\"]", "aliases = [\"globex\"]");
    gateway.signal("HUP");
    gateway.logged("server.shiny").await;
    gateway.logged("already stands for tenant").await;
    until_true(|| records_of(&home, "config.refused").len() == 1).await;
    let record = records_of(&home, "config.refused").remove(0);
    assert_eq!(record["peer"], "SIGHUP");
    assert_eq!(version(&home).await, before);

    write(&home, &good.replace("drain = \"10s\"", "drain = \"9s\""));
    gateway.signal("HUP");
    until_true(|| records_of(&home, "config.reloaded").len() == 1).await;
    // What it is about takes effect right after the record.
    until_true_async(async || version(&home).await != before).await;
    until_true(|| gateway.log().contains("server.drain (10s → 9s)")).await;
    let metrics = get(home.admin, "/metrics", &[]).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let info = format!(
        "vspc_gateway_config_info{{version=\"{}\"}} 1",
        version(&home).await
    );
    assert!(metrics.contains(&info), "{metrics}");
    assert!(metrics.contains("vspc_gateway_config_last_reload_success 1"));
    gateway.assert_running();
}

#[tokio::test]
async fn the_command_tells_what_is_different_and_what_takes_a_restart() {
    let (simulator, home, mut gateway) = start().await;
    let config = home.config().display().to_string();
    let run = async |more: &[&str]| {
        let arguments = [&["reload", "--config", &config], more].concat();
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            command(&arguments)
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, err) = run(&[]).await;
    let warnings = err
        .lines()
        .filter(|line| !line.contains("audit.checkpoints: not set"));
    assert_eq!((code, warnings.count()), (Some(0), 0), "{out}{err}");
    assert!(out.contains("nothing in the file is different"), "{out}");

    home.edit("replay_limit", "workers = 3\nreplay_limit");
    home.edit("tenants = [\"acme\", \"globex\"]", "tenants = [\"acme\"]");
    home.edit("\"64MiB\"", "\"32MiB\"");
    let (code, out, err) = run(&["--reason", "ticket 7"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("client zabbix changed: tenants"), "{out}");
    assert!(out.contains("server.body_limit (64MiB → 32MiB)"), "{out}");
    assert!(
        err.contains("restart needed for: server.workers (default → 3)"),
        "{err}"
    );
    // As long as it is pending.
    let (_, _, err) = run(&[]).await;
    assert!(err.contains("server.workers"), "{err}");
    let records = records_of(&home, "config.reloaded");
    assert_eq!(records.len(), 3);
    let record = &records[1];
    assert_eq!(record["reason"], "ticket 7");
    assert!(
        record["operator"].is_string() && record["peer"].is_string(),
        "{record}"
    );
    let detail = record["detail"].as_str().unwrap();
    assert!(
        detail.contains("restart needed for: server.workers"),
        "{detail}"
    );
    let denied = [("x-api-key", ZABBIX), ("x-tenant", "globex")];
    let answer = get(home.address, PATH, &denied).await.unwrap();
    assert_eq!(answer.status, 403);

    home.edit("replay_limit", "nonsense = 1\nreplay_limit");
    let (code, _, err) = run(&[]).await;
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("server.nonsense"), "{err}");

    // While a request is still under way the process drains, and loads nothing.
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(2500));
    simulator.fault(slow.under("/api/v3/_test/bytes"));
    let address = home.address;
    let calling = tokio::spawn(async move { get(address, PATH, &AS_ACME).await });
    until_true(|| {
        let seen = simulator.requests();
        seen.iter()
            .any(|seen| seen.target.starts_with("/api/v3/_test/bytes"))
    })
    .await;
    gateway.signal("TERM");
    gateway.logged("draining").await;
    let (code, _, err) = run(&[]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("the process is ending"), "{err}");
    assert_eq!(calling.await.unwrap().unwrap().status, 200);
    assert!(gateway.exit().await.success());
    let (code, _, err) = run(&[]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("cannot be reached"), "{err}");
}

#[tokio::test]
async fn reloads_that_are_asked_for_at_once_come_one_after_the_other() {
    let (_simulator, home, mut gateway) = start().await;
    let asking = (0..8).map(|_| reload(&home));
    let answers = futures_util::future::join_all(asking).await;
    let mut done = 0;
    for answer in answers {
        // More than may wait are told so.
        match answer.status {
            200 => done += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert!(done >= 4, "{done}");
    gateway.assert_running();
    gateway.signal("TERM");
    gateway.exit().await;
    assert_eq!(records_of(&home, "config.reloaded").len(), done);
}

#[tokio::test]
async fn a_kill_while_it_loads_costs_nothing() {
    let (_simulator, home, gateway) = start().await;
    let (one, mut gateway) = (text(&home), gateway);
    for round in 0..4_u64 {
        let mut other = one.clone();
        for client in 0..200 {
            writeln!(other, "# {round} {client}").unwrap();
        }
        write(&home, &other);
        gateway.signal("HUP");
        tokio::time::sleep(Duration::from_millis(round * 4)).await;
        gateway.kill();
        gateway = home.start().await;
        let answer = get(home.address, PATH, &AS_ACME).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    gateway.signal("TERM");
    assert!(gateway.exit().await.success());
    assert_gapless(&home.records());
}
