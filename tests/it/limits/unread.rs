//! Answers that are not read, or not to their end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;
use vspc_simulator::{Action, Fault};

use super::{ECHO, metrics, world};
use crate::harness::{BILLING, World, ok, until_true, until_true_async};

/// More than all the buffers on the way hold.
const LARGE: &str = "/api/v3/_test/bytes?size=100000000";

/// One place at the console, which is short of patience for nobody but whoever waits for it.
const ONE_PLACE: &str = "concurrency = 1\ntenant_concurrency = 1\nturn_wait = \"100ms\"";

fn head(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n\r\n")
}

fn request(world: &World, target: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(world.url(target))
        .header("x-api-key", BILLING)
        .body(Full::default())
        .unwrap()
}

async fn dropped(world: &World) -> bool {
    let line = "vspc_gateway_connections_dropped_total{reason=\"unread\"} 1";
    metrics(world).await.contains(line)
}

/// All that the answer held is free again: the console's connection, the place there.
async fn assert_free(world: &World) {
    until_true(|| world.simulator.state().in_flight == 0).await;
    assert!(ok(&world.get(BILLING, "acme", ECHO).await));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_dropped_over_http_1() {
    let world = world("unread_timeout = \"1s\"", ONE_PLACE, |text| text, |_| {}).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head(LARGE).as_bytes()).await.unwrap();
    let record = world.record(|record| record["kind"] == "request").await;
    assert_eq!(
        (&record["code"], &record["status"]),
        (&json!("aborted"), &json!(200)),
        "{record}"
    );
    assert!(record["bytes_out"].as_u64().unwrap() < 100_000_000);
    assert!(dropped(&world).await);
    assert_free(&world).await;
    // Cut, so that the caller cannot take it for the whole.
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).await.is_err());
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_dropped_over_http_2() {
    let world = world("unread_timeout = \"1s\"", ONE_PLACE, |text| text, |_| {}).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let pipe = tokio::spawn(read_at_most(world.address, far, 100_000));
    // Windows that never close: it is the socket that is not read.
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Full<Bytes>>(TokioIo::new(near))
        .await
        .unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let response = sender.send_request(request(&world, LARGE)).await.unwrap();
    let record = world.record(|record| record["kind"] == "request").await;
    assert_eq!(
        (&record["code"], &record["status"]),
        (&json!("aborted"), &json!(200)),
        "{record}"
    );
    assert!(dropped(&world).await);
    assert_free(&world).await;
    let mut from_gateway = pipe.await.unwrap();
    let mut rest = Vec::new();
    assert!(from_gateway.read_to_end(&mut rest).await.is_err());
    drop(response);
}

/// Leads a caller's connection on, and reads only so much of what comes back.
async fn read_at_most(gateway: SocketAddr, caller: DuplexStream, most: u64) -> OwnedReadHalf {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (from_gateway, mut to_gateway) = stream.into_split();
    let (mut from_caller, mut to_caller) = tokio::io::split(caller);
    tokio::spawn(async move { tokio::io::copy(&mut from_caller, &mut to_gateway).await });
    let mut some = from_gateway.take(most);
    tokio::io::copy(&mut some, &mut to_caller).await.unwrap();
    some.into_inner()
}

/// Longer in all than an answer may wait for whoever takes nothing.
#[tokio::test]
async fn an_answer_that_is_read_slowly_arrives_whole() {
    let world = world("unread_timeout = \"1s\"", "", |text| text, |_| {}).await;
    let size = 30_000_000;
    let target = format!("/api/v3/_test/bytes?size={size}");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head(&target).as_bytes()).await.unwrap();
    let (mut all, mut piece) = (0, vec![0; 1_000_000]);
    let started = Instant::now();
    while all < size {
        tokio::time::sleep(Duration::from_millis(100)).await;
        all += stream.read_exact(&mut piece).await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert!(!dropped(&world).await);
    until_true_async(async || {
        let records = world.records();
        records.iter().any(|record| record["code"] == "ok")
    })
    .await;
}

/// How a caller leaves in the middle of an answer.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// The connection, of HTTP/1.
    Http1,
    /// The connection, of HTTP/2.
    Http2,
    /// One stream of HTTP/2, whose connection stays.
    Stream,
}

/// Reads what there is of an answer that has stopped, and leaves.
async fn leave(world: &World, how: Leaves) -> Option<http2::SendRequest<Full<Bytes>>> {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    if let Leaves::Http1 = how {
        stream.write_all(head(ECHO).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            stream.read_buf(&mut answer).await.unwrap();
        }
        return None;
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let driving = tokio::spawn(async move { connection.await.ok() });
    let response = sender.send_request(request(world, ECHO)).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    match how {
        Leaves::Stream => Some(sender),
        Leaves::Http1 | Leaves::Http2 => {
            driving.abort();
            drop(driving.await);
            None
        }
    }
}

/// More often than there are places in the log, one at a time at the console, which would go on for
/// a minute.
#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_an_answer_leaves_nothing_behind() {
    for how in [Leaves::Http1, Leaves::Http2, Leaves::Stream] {
        let change = |text: String| {
            text.replace("\nidle_timeout = \"1s\"", "\nidle_timeout = \"60s\"")
                .replace("[audit]", "[audit]\nqueue = 16\nqueue_wait = \"100ms\"")
        };
        let world = world("", ONE_PLACE, change, |_| {}).await;
        assert!(ok(&world.get(BILLING, "acme", ECHO).await));
        for round in 1..=20 {
            let stall = Action::StallInBody {
                sent: 64,
                length: 4096,
            };
            world.simulator.fault(Fault::new(stall).under(ECHO));
            let stays = leave(&world, how).await;
            let aborted = || {
                let mut records = world.records();
                records.retain(|record| record["code"] == "aborted");
                records
            };
            until_true(|| aborted().len() == round).await;
            let record = aborted().pop().unwrap();
            assert_eq!(
                (&record["status"], &record["bytes_out"]),
                (&json!(200), &json!(64)),
                "{how:?}"
            );
            assert_free(&world).await;
            drop(stays);
        }
        // The console's connections went with the answers.
        until_true(|| world.simulator.state().connections_open <= 2).await;
    }
}
