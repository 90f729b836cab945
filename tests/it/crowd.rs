//! Ten thousand at once, before the gateway as it is without a setting for them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use vspc_simulator::{Action, Fault, GrantCount, Simulator};

use crate::child::{Home, get, unsigned, whole};
use crate::harness::{Answer, ZABBIX, ok, until_true};

const REQUESTS: usize = 10_000;

/// Few enough for both ends of them, and of the gateway's own, to be below the usual limit of a
/// process, 1024 files.
const CONNECTIONS: usize = 125;

const ME: &str = "/api/v3/users/me";

async fn connection(home: &Home) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(home.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(async move { connection.await.ok() });
    sender
}

async fn ask(mut sender: SendRequest<Full<Bytes>>) -> Result<Answer, String> {
    let request = Request::get(format!("http://gateway.test{ME}"))
        .header("x-api-key", ZABBIX)
        .header("x-tenant", "acme")
        .body(Full::default())
        .unwrap();
    let response = sender.send_request(request).await;
    whole(response.map_err(|error| format!("{error:?}"))?).await
}

/// How many wait for a turn.
async fn waiting(home: &Home) -> usize {
    let metrics = get(home.admin, "/metrics", &[]).await.unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let gauge = "vspc_gateway_turns_waiting{console=\"main\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(gauge));
    line.expect("the gauge is there").parse().unwrap()
}

/// They find neither a session nor a token, and what is to get these takes its time, so that most
/// of them wait at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_once_for_a_cold_tenant_are_all_served() {
    let mut settings = unsigned();
    settings.switches.keep_requests = 0;
    let simulator = Simulator::start(settings).await.unwrap();
    for (grant, seconds) in [("password", 2), ("as", 1)] {
        let delay = Duration::from_secs(seconds);
        simulator.fault(Fault::new(Action::Delay).grant(grant).delay(delay));
    }
    let home = Home::new(&simulator.url());
    // A debug build on a busy machine needs more patience. What may wait is as it is by default.
    home.edit("[server]", "[server]\ntoken_wait = \"60s\"");
    let shortened = "first_byte_timeout = \"3s\"\nidle_timeout = \"1s\"";
    home.edit(shortened, "turn_wait = \"60s\"");
    let mut gateway = home.run(&[]);
    until_true(|| std::net::TcpStream::connect(home.address).is_ok()).await;

    let start = Arc::new(Barrier::new(REQUESTS));
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let sender = connection(&home).await;
        for _ in 0..REQUESTS / CONNECTIONS {
            let (sender, start) = (sender.clone(), Arc::clone(&start));
            asking.spawn(async move {
                start.wait().await;
                ask(sender).await
            });
        }
    }
    let (mut served, mut most) = (0, 0);
    while !asking.is_empty() {
        most = most.max(waiting(&home).await);
        while let Some(answer) = asking.try_join_next() {
            let answer = answer.unwrap();
            assert!(matches!(&answer, Ok(answer) if ok(answer)), "{answer:?}");
            served += 1;
        }
        gateway.assert_running();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(served, REQUESTS);
    assert!(most > REQUESTS / 4, "only {most} waited at once");

    let state = simulator.state();
    assert_eq!(state.operations["GET /users/me"], REQUESTS as u64);
    for grant in ["password", "as"] {
        let GrantCount { ok, refused, .. } = state.grants[grant];
        assert_eq!((ok, refused), (1, 0), "{grant}");
    }
    assert_eq!(state.grants.len(), 2, "{:?}", state.grants);
    assert!(state.in_flight_max <= 512 + 2, "{}", state.in_flight_max);
    gateway.signal("TERM");
    assert!(gateway.exit().await.success());
    let records = home.records();
    let served = |record: &&Value| record["kind"] == "request" && record["code"] == "ok";
    assert_eq!(records.iter().filter(served).count(), REQUESTS);
}
