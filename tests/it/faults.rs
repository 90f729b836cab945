//! Consoles that misbehave: an honest status, or a visibly cut answer, and the truth on record.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use vspc_simulator::{Action, Fault, Settings, Simulator};

use tokio::io::AsyncWriteExt as _;

use crate::harness::{Answer, BILLING, World, ZABBIX, collect, ok, unsigned, until_true};

const ECHO: &str = "/api/v3/_test/echo";

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn a_console_that_is_not_there_is_a_502() {
    let world = World::start().await;
    assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
    let World { simulator, .. } = &world;
    let address = simulator.addr();
    simulator.drop_connections();
    // Another listener takes no connections: the port refuses them from here on.
    let world = replace_simulator(world).await;
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(
        refusal(&answer),
        (502, "upstream_unreachable"),
        "{address}: {answer:?}"
    );
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["code"], &record["status"]),
        (&json!("upstream_unreachable"), &json!(502))
    );
    assert!(
        record["detail"].as_str().unwrap().contains("refused"),
        "{record}"
    );
    assert!(!String::from_utf8_lossy(&answer.body).contains(&address.port().to_string()));
}

/// Stops the simulator, so that its port is closed while the gateway still holds a token.
async fn replace_simulator(mut world: World) -> World {
    let settings = Settings {
        switches: unsigned(),
        ..Settings::default()
    };
    let other = Simulator::start(settings).await.unwrap();
    std::mem::replace(&mut world.simulator, other).stop().await;
    world
}

#[tokio::test]
async fn a_silent_console_is_a_504() {
    let world = World::start().await;
    let slow = Fault::new(Action::Delay)
        .under(ECHO)
        .delay(Duration::from_secs(60));
    world.simulator.fault(slow);
    let headers = [("x-api-key", BILLING)];
    let answer = world.call("POST", ECHO, &headers, "x").await;
    assert_eq!(refusal(&answer), (504, "upstream_timeout"));
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["code"], &record["attempts"]),
        (&json!("upstream_timeout"), &json!(1))
    );
}

/// A body that comes slowly but keeps coming is not the console's silence.
#[tokio::test]
async fn a_slow_upload_is_not_a_timeout() {
    let world = World::start().await;
    let (feed, body) = tokio::sync::mpsc::channel::<Result<_, std::io::Error>>(1);
    let stream = futures_util::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|frame| (frame, body))
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(world.url("/api/v3/_test/sink"))
        .header("x-api-key", BILLING)
        .body(StreamBody::new(Box::pin(stream)))
        .unwrap();
    let answering = tokio::spawn(client.request(request));
    // Longer in all than the console has for the head of its answer (3 s).
    for _ in 0..5 {
        feed.send(Ok(Frame::data(Bytes::from_static(&[b'x'; 500]))))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(feed);
    let answer = collect(answering.await.unwrap().unwrap()).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["bytes_in"], 2500);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_the_callers_timeout() {
    let world = World::start().await;
    let head = format!(
        "POST /api/v3/_test/sink HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n\
         Connection: close\r\nContent-Length: 100\r\n\r\nhello"
    );
    let answer = String::from_utf8(world.raw(head.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let record = world
        .record(|record| record["code"] == "request_timeout")
        .await;
    assert_eq!(record["bytes_in"], 5);
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_its_body_is_recorded_as_gone() {
    for framing in [
        "Content-Length: 100\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let world = World::start().await;
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST /api/v3/_test/sink HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n{framing}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        until_true(|| world.reached().iter().any(|seen| seen.body_length == 5)).await;
        drop(stream);
        let record = world.record(|record| record["kind"] == "request").await;
        assert_eq!(
            (&record["code"], &record["status"], &record["bytes_out"]),
            (&json!("aborted"), &json!(null), &json!(0)),
            "{framing:?}"
        );
        assert!(world.reached().iter().all(|seen| !seen.body_complete));
    }
}

/// Nothing is connected when nobody speaks TLS on the other side.
#[tokio::test]
async fn a_console_that_is_silent_in_the_handshake_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let simulator = Simulator::start(Settings {
        switches: unsigned(),
        ..Settings::default()
    })
    .await
    .unwrap();
    let pin = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\n",
        "00".repeat(32)
    );
    let world = World::start_on(simulator, &url, &pin).await;
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (503, "token_unavailable"));
    let token = world.record(|record| record["kind"] == "token").await;
    // Not "no answer in time", which is what the time for an answer would have said.
    let detail = token["detail"].as_str().unwrap();
    assert!(detail.contains("no connection in time"), "{token}");
}

/// A caller that reads slowly is not the console's silence either.
#[tokio::test]
async fn a_slow_reader_gets_its_whole_answer() {
    let world = World::start().await;
    let size = 30_000_000;
    let path = format!("/api/v3/_test/bytes?size={size}&chunk=100000");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::get(world.url(&path))
        .header("x-api-key", BILLING)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    // Longer than the console may be silent within an answer (1 s).
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(collect(answer).await.body.len(), size);
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_is_a_502_for_what_may_have_been_done() {
    let world = World::start().await;
    assert!(ok(&world.get(BILLING, "acme", "/api/v3/users/me").await));
    world
        .simulator
        .fault(Fault::new(Action::CutBeforeHead).under(ECHO).times(0));
    let headers = [("x-api-key", BILLING)];
    let answer = world.call("POST", ECHO, &headers, "x").await;
    assert_eq!(refusal(&answer), (502, "upstream_unreachable"));
    let reached = world.reached();
    assert_eq!(
        reached.iter().filter(|seen| seen.target == ECHO).count(),
        1,
        "sent once only"
    );
}

#[tokio::test]
async fn a_read_whose_connection_was_cut_is_sent_once_more() {
    let world = World::start().await;
    world
        .simulator
        .fault(Fault::new(Action::CutBeforeHead).under(ECHO));
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["attempts"], 2);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_502() {
    let world = World::start().await;
    world
        .simulator
        .fault(Fault::new(Action::Garbage).under(ECHO).times(0));
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(refusal(&answer), (502, "upstream_invalid"), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["code"], "upstream_invalid");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_for_the_caller_too() {
    for action in [
        Action::CutInBody {
            sent: 64,
            length: 4096,
        },
        Action::StallInBody {
            sent: 64,
            length: 4096,
        },
    ] {
        let world = World::start().await;
        world
            .simulator
            .fault(Fault::new(action.clone()).under(ECHO));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = http::Request::get(world.url(ECHO))
            .header("x-api-key", BILLING)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(
            answer.into_body().collect().await.is_err(),
            "{action:?}: a clean end is a lie"
        );
        let record = world.record(|record| record["path"] == ECHO).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!("upstream_cut"), &json!(200))
        );
        assert_eq!(record["bytes_out"], 64);
    }
}

/// The console's faults are 5xx of the gateway's or VSPC's own; none of them becomes a 401.
#[tokio::test]
async fn no_fault_of_the_console_looks_like_the_callers() {
    for action in [
        Action::CutBeforeHead,
        Action::Garbage,
        Action::ServerError,
        Action::Html,
    ] {
        let world = World::start().await;
        world
            .simulator
            .fault(Fault::new(action.clone()).under("/api/v3/token").times(0));
        let answer = world.get(ZABBIX, "acme", ECHO).await;
        assert_eq!(refusal(&answer), (503, "token_unavailable"), "{action:?}");
    }
}
