//! Callers of HTTP/2 that break its rules, hold answers, or cost more than they ask for; and those
//! that only ask for much.

mod memory;
mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use vspc_gateway::gateway::Live;
use vspc_gateway::listen::{Connections, Drain, Limits, Listener, serve};
use vspc_simulator::{Action, Fault, SeenRequest};

use crate::harness::{BILLING, World, ZABBIX, collect, ok, until, until_true};
use raw::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, RESET, Raw, SETTINGS, WHOLE, WINDOW_UPDATE, block, field, frame, text,
};

const ECHO: &str = "/api/v3/_test/echo";

/// A gateway that has its token, and its address for connections within other times.
async fn world_within(limits: Limits) -> (World, SocketAddr) {
    let world = World::start().await;
    assert!(ok(&world.get(ZABBIX, "acme", "/api/v3/users/me").await));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = world.gateway();
    let connections = Connections::new(limits, gateway.telemetry.clone());
    let live = Live::new(gateway);
    let plain = Listener::plain(address);
    tokio::spawn(async move { serve(listener, &plain, live, &connections, &Drain::new()).await });
    (world, address)
}

async fn world() -> (World, SocketAddr) {
    world_within(Limits::default()).await
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The head of a request that would be answered.
fn head(method: &str, path: &str) -> Vec<u8> {
    let key = if method == "GET" { ZABBIX } else { BILLING };
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        (":path", path),
        ("x-api-key", key),
        ("x-tenant", "acme"),
    ])
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &head("GET", path))
}

/// Whether an answer is whole.
fn has_ended(frames: &[Frame], stream: u32) -> bool {
    let mut of_it = frames.iter().filter(|frame| frame.stream == stream);
    of_it.any(|frame| matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0)
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// How often a path got to the console.
fn reached(world: &World, path: &str) -> usize {
    let seen = world.reached();
    seen.iter().filter(|seen| seen.target == path).count()
}

/// The records of requests for a path.
fn records(world: &World, path: &str) -> Vec<Value> {
    let mut records = world.records();
    records.retain(|record| record["kind"] == "request" && record["path"] == path);
    records
}

/// The records for a path, once none follows for a moment.
async fn settled(world: &World, path: &str) -> Vec<Value> {
    let mut before = records(world, path);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = records(world, path);
        if now.len() == before.len() {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let (world, address) = world().await;
    let pair = |number| {
        let stream = stream(number);
        [get(stream, ECHO), frame(RESET, 0, stream, &CANCEL)].concat()
    };
    let mut raw = Raw::connect(address, &[]).await;
    let streams = raw.flood(1200, pair).await;
    assert!(streams <= 30, "it went on for {streams} streams");
    // All in one piece, as well.
    let mut raw = Raw::connect(address, &[]).await;
    raw.send(&(0..1200).flat_map(pair).collect::<Vec<_>>())
        .await;
    raw.until_closed().await;

    assert!(settled(&world, ECHO).await.len() <= 60);
    assert!(reached(&world, ECHO) <= 20);
    assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
}

#[tokio::test]
async fn streams_that_the_gateway_is_made_to_reset_end_their_connection() {
    type Fault = fn(u32) -> Vec<u8>;
    let faults: [(&str, Fault); 6] = [
        ("/zero", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("/overflow", |stream| {
            let most = (u32::MAX >> 1).to_be_bytes();
            frame(WINDOW_UPDATE, 0, stream, &most).repeat(2)
        }),
        ("/data", |stream| frame(DATA, 0, stream, b"more")),
        ("/headers", |stream| {
            frame(HEADERS, WHOLE, stream, &block(&[("a", "b")]))
        }),
        ("/itself", |stream| {
            let parent = [&stream.to_be_bytes()[..], &[7]].concat();
            frame(PRIORITY, 0, stream, &parent)
        }),
        ("/short", |stream| frame(PRIORITY, 0, stream, &[0; 3])),
    ];
    for (name, fault) in faults {
        let (world, address) = world().await;
        let path = format!("{ECHO}{name}");
        let pair = |number| {
            let stream = stream(number);
            [get(stream, &path), fault(stream)].concat()
        };
        let mut raw = Raw::connect(address, &[]).await;
        let streams = raw.flood(1200, pair).await;
        assert!(streams <= 30, "{name} went on for {streams} streams");
        let mut raw = Raw::connect(address, &[]).await;
        raw.send(&(0..1200).flat_map(pair).collect::<Vec<_>>())
            .await;
        raw.until_closed().await;
        let records = settled(&world, &path).await.len();
        let reached = reached(&world, &path);
        assert!(
            records <= 100 && reached <= 20,
            "{name}: {records}, {reached}"
        );
    }
}

/// Waves of requests of which none is given up before the whole wave is there.
#[tokio::test]
async fn of_a_wave_few_requests_reach_the_console_before_it_breaks() {
    let (world, address) = world().await;
    let slow = Fault::new(Action::Delay).delay(seconds(20));
    world.simulator.fault(slow.under(ECHO).times(0));
    let wave =
        |kind: fn(u32) -> Vec<u8>| (0..100).flat_map(|number| kind(stream(number))).collect();
    let asked: Vec<u8> = wave(|stream| get(stream, ECHO));
    let reset = |stream| frame(RESET, 0, stream, &CANCEL);
    let (mut sent, mut recorded) = (0, 0);
    for at_once in [true, false] {
        let mut raw = Raw::connect(address, &[]).await;
        raw.send(&asked).await;
        sent += 20;
        until_true(|| reached(&world, ECHO) >= sent).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(reached(&world, ECHO), sent);
        if at_once {
            raw.send(&wave(reset)).await;
        } else {
            raw.flood(100, |number| reset(stream(number))).await;
        }
        raw.until_closed().await;
        recorded += 100;
        let records = settled(&world, ECHO).await;
        assert_eq!(records.len(), recorded);
        assert!(records.iter().all(|record| record["code"] == "aborted"));
        assert_eq!(reached(&world, ECHO), sent, "none came after");
    }
}

/// Who means what it asks for gets it: no console that takes its time makes the others wait for long.
#[tokio::test]
async fn a_wave_that_is_not_given_up_is_served() {
    let (world, address) = world().await;
    // Its first answers come when the credit of two seconds has been spent.
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(2500));
    world.simulator.fault(slow.under(ECHO).times(0));
    let mut raw = Raw::connect(address, &[]).await;
    let asked: Vec<u8> = (0..100)
        .flat_map(|number| get(stream(number), ECHO))
        .collect();
    // Room for all the answers.
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &10_000_000_u32.to_be_bytes()))
        .await;
    let began = Instant::now();
    raw.send(&asked).await;
    until_true(|| reached(&world, ECHO) == 100).await;
    assert!(began.elapsed() > seconds(2));
    assert!(began.elapsed() < seconds(4));
    raw.until(|frames| (0..100).all(|number| has_ended(frames, stream(number))))
        .await;
    // It has its credit now.
    world.simulator.clear_faults();
    let began = Instant::now();
    let more: Vec<u8> = (100..200)
        .flat_map(|number| get(stream(number), ECHO))
        .collect();
    raw.send(&more).await;
    raw.until(|frames| (100..200).all(|number| has_ended(frames, stream(number))))
        .await;
    assert!(began.elapsed() < seconds(2));
    let records = settled(&world, ECHO).await;
    assert!(records.iter().all(|record| record["code"] == "ok"));
    assert_eq!(records.len(), 200);
}

#[tokio::test]
async fn floods_end_their_connection() {
    let (world, address) = world().await;
    let open = || frame(HEADERS, 0, 3, &head("GET", ECHO));
    let post = || frame(HEADERS, END_HEADERS, 3, &head("POST", ECHO));
    let floods = [
        (
            "CONTINUATION",
            open(),
            frame(CONTINUATION, 0, 3, &block(&[("a", "b")])),
        ),
        ("empty CONTINUATION", open(), frame(CONTINUATION, 0, 3, b"")),
        ("empty DATA", post(), frame(DATA, 0, 3, b"")),
        (
            "padding",
            post(),
            frame(DATA, 0x8, 3, &[&[255_u8][..], &[0; 255]].concat()),
        ),
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("answered PING", vec![], frame(PING, 1, 0, &[0; 8])),
        ("empty SETTINGS", vec![], frame(SETTINGS, 0, 0, b"")),
        (
            "SETTINGS",
            vec![],
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
        ),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7])),
        (
            "WINDOW_UPDATE",
            vec![],
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("unknown", vec![], frame(0x42, 0, 0, b"?")),
        ("RST_STREAM", get(3, ECHO), frame(RESET, 0, 3, &CANCEL)),
    ];
    for (name, before, flood) in floods {
        let mut raw = Raw::connect(address, &[]).await;
        // It is not a stranger's: it has had an answer.
        raw.send(&get(1, ECHO)).await;
        raw.until(|frames| has_ended(frames, 1)).await;
        raw.send(&before).await;
        let frames = raw.flood(1000, |_| flood.clone()).await;
        assert!(frames < 400, "{name} went on for {frames} frames");
    }
    assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
}

#[tokio::test]
async fn a_head_that_grows_when_it_is_read_is_refused() {
    let (world, address) = world().await;
    let mut raw = Raw::connect(address, &[]).await;
    // A header of 4,000 bytes to refer to, and 12,000 references to it.
    let large = [vec![0x40], text(b"x"), text(&[b'y'; 4000])].concat();
    let bomb = [head("GET", ECHO), large, vec![0x80 | 62; 12_000]].concat();
    assert!(bomb.len() <= 16_384);
    raw.send(&frame(HEADERS, WHOLE, 1, &bomb)).await;
    raw.until_closed().await;
    assert_eq!((reached(&world, ECHO), records(&world, ECHO).len()), (0, 0));
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused() {
    let (world, address) = world().await;
    for (size, lines) in [(70_000, 1), (1000, 70), (20, 3000)] {
        let value = "v".repeat(size);
        let lines: Vec<u8> = (0..lines)
            .flat_map(|line| field(format!("x-{line}").as_bytes(), value.as_bytes()))
            .collect();
        let head = [head("GET", ECHO), lines].concat();
        let mut pieces = head.chunks(16_000).peekable();
        let mut bytes = Vec::new();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            let flags = last | if kind == HEADERS { END_STREAM } else { 0 };
            bytes.extend(frame(kind, flags, 1, piece));
            kind = CONTINUATION;
        }
        let mut raw = Raw::connect(address, &[]).await;
        raw.send(&bytes).await;
        let refused = |frames: &[Frame]| {
            frames
                .iter()
                .any(|frame| frame.stream == 1 || frame.kind == GOAWAY)
        };
        until(|| (refused(&raw.frames()) || raw.is_closed()).then_some(())).await;
    }
    assert_eq!(reached(&world, ECHO), 0);
}

fn short() -> Limits {
    Limits {
        idle_timeout: Duration::from_secs(2),
        head_timeout: Duration::from_secs(1),
        unread_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

#[tokio::test]
async fn answers_that_are_held_at_window_zero_end_their_connection() {
    let path = "/api/v3/_test/bytes?size=200000&chunk=10000";
    // Nothing, a byte, and a byte more again and again.
    for (window, more) in [(0, false), (1, false), (0, true)] {
        let (world, address) = world_within(short()).await;
        let mut raw = Raw::connect(address, &[(4, window)]).await;
        let started = Instant::now();
        for number in 0..50 {
            raw.send(&get(stream(number), path)).await;
        }
        while !raw.is_closed() && started.elapsed() < seconds(10) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if more {
                let update = |number| frame(WINDOW_UPDATE, 0, stream(number), &[0, 0, 0, 1]);
                let updates: Vec<u8> = (0..4).flat_map(update).collect();
                raw.send(&updates).await;
            }
        }
        assert!(raw.is_closed(), "window {window}");
        until_true(|| records(&world, "/api/v3/_test/bytes").len() == 50).await;
        for record in records(&world, "/api/v3/_test/bytes") {
            assert_eq!(record["code"], "aborted", "window {window}: {record}");
        }
        assert_eq!(world.waiting(), 0);
        assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
    }
}

/// Small answers are whole before anybody can tell that nobody takes them.
#[tokio::test]
async fn small_answers_that_are_held_end_their_connection_too() {
    let (world, address) = world_within(short()).await;
    let mut raw = Raw::connect(address, &[(4, 0)]).await;
    for number in 0..20 {
        raw.send(&get(stream(2 * number), ECHO)).await;
        raw.send(&get(stream(2 * number + 1), "/elsewhere")).await;
    }
    raw.until_closed().await;
    until_true(|| records(&world, ECHO).len() == 20).await;
    for record in records(&world, ECHO) {
        assert_eq!(record["code"], "aborted", "{record}");
    }
}

#[tokio::test]
async fn a_connection_that_takes_no_bytes_is_ended() {
    let (world, address) = world_within(short()).await;
    let path = "/api/v3/_test/bytes?size=60000000&chunk=100000";
    let most = u32::MAX >> 1;
    let mut raw = Raw::connect(address, &[(4, most)]).await;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes()))
        .await;
    raw.stop_reading();
    raw.send(&get(1, path)).await;
    let record = world.record(|record| record["path"] == "/api/v3/_test/bytes");
    assert_eq!(record.await["code"], "aborted");
}

#[tokio::test]
async fn a_slow_console_and_a_slow_upload_are_not_held_against_the_caller() {
    let limits = Limits {
        idle_timeout: seconds(60),
        head_timeout: Duration::from_millis(400),
        unread_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let (world, address) = world_within(limits).await;
    let slow = Fault::new(Action::Delay).under(ECHO).times(1);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(1500)));
    let mut raw = Raw::connect(address, &[]).await;
    raw.send(&get(1, ECHO)).await;
    let post = head("POST", "/api/v3/_test/sink");
    raw.send(&frame(HEADERS, END_HEADERS, 3, &post)).await;
    // Within a frame of DATA for longer than one may be within a head.
    assert!(raw.send(b"\0\0\x05\0\x01\0\0\0\x03").await);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(raw.send(b"-").await);
    }
    for stream in [1, 3] {
        raw.until(|frames| has_ended(frames, stream)).await;
    }
    assert_eq!(settled(&world, ECHO).await[0]["code"], "ok");
    let reached = world.reached();
    let sink = reached.iter().find(|seen| seen.target.ends_with("sink"));
    assert_eq!(sink.unwrap().body_length, 5);
}

#[tokio::test]
async fn heads_that_do_not_come_to_an_end_are_given_up() {
    let (world, address) = world_within(short()).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let whole = get(1, ECHO);
    let open = frame(HEADERS, END_STREAM, 1, &head("GET", ECHO));
    let cases = [
        PREFACE[..5].to_vec(),
        PREFACE[..20].to_vec(),
        PREFACE.to_vec(),
        [&hello[..], &whole[..5]].concat(),
        [&hello[..], &whole[..30]].concat(),
        [&hello[..], &open[..]].concat(),
    ];
    for case in cases {
        let started = Instant::now();
        let mut raw = Raw::silent(address).await;
        raw.send(&case).await;
        raw.until_closed().await;
        let took = started.elapsed();
        assert!(
            took > Duration::from_millis(900) && took < seconds(3),
            "{took:?}: {case:?}"
        );
    }
    // One byte each 300 ms is no better.
    let started = Instant::now();
    let mut raw = Raw::silent(address).await;
    for byte in [hello, whole].concat() {
        if !raw.send(&[byte]).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(started.elapsed() < seconds(3));
    assert_eq!(reached(&world, ECHO), 0);
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_has_five_seconds_for_it_and_is_closed() {
    let (world, address) = world_within(short()).await;
    delay(&world, seconds(20));
    let started = Instant::now();
    let mut raw = Raw::connect(address, &[]).await;
    raw.send(&frame(SETTINGS, 1, 0, b"")).await;
    raw.send(&get(1, ECHO)).await;
    raw.until_closed().await;
    assert!(started.elapsed() > Duration::from_millis(6400));
    assert!(started.elapsed() < seconds(10));
}

/// Has the console take its time for the next answer.
fn delay(world: &World, time: Duration) {
    let late = Fault::new(Action::Delay).delay(time);
    world.simulator.fault(late.under(ECHO));
}

type Sender = http2::SendRequest<Full<Bytes>>;
type Connection = http2::Connection<TokioIo<TcpStream>, Full<Bytes>, TokioExecutor>;

/// A connection of the library's.
async fn shake(address: SocketAddr) -> (Sender, Connection) {
    let stream = TcpStream::connect(address).await.unwrap();
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    shaken.unwrap()
}

#[tokio::test]
async fn an_http2_connection_without_requests_ends_after_the_idle_timeout() {
    let (_world, address) = world_within(short()).await;
    let mut raw = Raw::connect(address, &[]).await;
    let started = Instant::now();
    // The library answers pings, and never asks for anything.
    let (_sender, connection) = shake(address).await;
    let ended = tokio::time::timeout(seconds(6), connection).await;
    assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
    assert!(started.elapsed() > Duration::from_millis(1900));
    // Who answers none is told too. What was asked before it knew is answered; then it has to go.
    raw.until(|frames| {
        let mut told = frames.iter().filter(|frame| frame.kind == GOAWAY);
        told.any(|frame| frame.carried[4..8] == [0; 4])
    })
    .await;
    assert!(raw.send(&get(1, ECHO)).await);
    raw.until(|frames| has_ended(frames, 1)).await;
    raw.until_closed().await;
    assert!(started.elapsed() < seconds(12));

    // A request that takes longer than that is answered, and one that comes soon enough too.
    let idle_timeout = seconds(1);
    let limits = Limits {
        idle_timeout,
        ..short()
    };
    let (world, address) = world_within(limits).await;
    delay(&world, idle_timeout * 3 / 2);
    let (mut sender, connection) = shake(address).await;
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let asked = Request::get(format!("http://gateway.test{ECHO}"))
            .header("x-api-key", ZABBIX)
            .header("x-tenant", "acme")
            .body(Full::new(Bytes::new()));
        let answer = sender.send_request(asked.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        tokio::time::sleep(idle_timeout / 2).await;
    }
    assert!(!connection.is_finished());
    let started = Instant::now();
    connection.await.unwrap().unwrap();
    assert!(started.elapsed() < seconds(3));
}

/// A head of these fields, in this order.
fn fields(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

#[tokio::test]
async fn malformed_heads_reach_nobody() {
    let (world, address) = world().await;
    let good: [(&[u8], &[u8]); 6] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"gateway.test"),
        (b":path", ECHO.as_bytes()),
        (b"x-api-key", ZABBIX.as_bytes()),
        (b"x-tenant", b"acme"),
    ];
    let with = |extra: &[(&'static [u8], &'static [u8])]| {
        let mut all = good.to_vec();
        all.extend(extra);
        all
    };
    let without = |name: &[u8]| {
        let mut all = good.to_vec();
        all.retain(|(other, _)| *other != name);
        all
    };
    let changed = |name: &[u8], value: &'static [u8]| {
        let mut all = good.to_vec();
        for field in all.iter_mut().filter(|(other, _)| *other == name) {
            field.1 = value;
        }
        all
    };
    let late = |name: &'static [u8]| {
        let mut all = good.to_vec();
        let at = all.iter().position(|(other, _)| *other == name).unwrap();
        let field = all.remove(at);
        all.push(field);
        all
    };
    let mut cases = vec![
        with(&[(b":path", b"/api/v3/users")]),
        with(&[(b":unknown", b"x")]),
        with(&[(b":status", b"200")]),
        with(&[(b":protocol", b"websocket")]),
        without(b":method"),
        without(b":scheme"),
        without(b":path"),
        without(b":authority"),
        late(b":path"),
        late(b":authority"),
    ];
    for value in [
        &b""[..],
        b"GE T",
        b"GET\r\nx: y",
        b"GET\0",
        b"get",
        b"TRACE",
        b"CONNECT",
        b"PRI",
    ] {
        cases.push(changed(b":method", value));
    }
    for value in [
        &b""[..],
        b"api/v3",
        b"*",
        b"/api/v3 /x",
        b"/api/v3\r\nx: y",
        b"/api/\0",
        b"/a#b",
        b"http://other/x",
        b"/\xff",
    ] {
        cases.push(changed(b":path", value));
    }
    for value in [
        &b""[..],
        b"a b",
        b"user@gateway.test",
        b"gateway.test/x",
        b"a,b",
        b"a\r\nb",
        b"a\0",
        b"gateway.test:x",
    ] {
        cases.push(changed(b":authority", value));
    }
    for value in [&b""[..], b"ftp", b"ht tp", b"http\r\n", b"http\0"] {
        cases.push(changed(b":scheme", value));
    }
    for extra in [
        (&b"connection"[..], &b"close"[..]),
        (b"connection", b"x-api-key"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
        (b"Upper", b"x"),
        (b"", b"x"),
        (b"a:b", b"x"),
        (b"a b", b"x"),
        (b"\xe9", b"x"),
        (b"a\0", b"x"),
        (b"a", b"x\r\ny: z"),
        (b"a", b"x\0"),
        (b"a", b"x\x7f"),
        (b"a", b"x\x01"),
        (b"a", b" x"),
        (b"x-tenant-name", b"x\t"),
        (b"host", b"other.test"),
        (b"host", b""),
        (b"content-length", b"5"),
        (b"content-length", b"x"),
        (b"content-length", b"-1"),
        (b"content-length", b"0, 0"),
    ] {
        cases.push(with(&[extra]));
    }
    cases.push(with(&[
        (b"host", b"gateway.test"),
        (b"host", b"gateway.test"),
    ]));
    cases.push(with(&[
        (b"content-length", b"0"),
        (b"content-length", b"0"),
    ]));
    cases.push(with(&[
        (b"content-length", b"0"),
        (b"content-length", b"1"),
    ]));
    // What is told apart by the protocol alone.
    cases.push(vec![
        (b":method", b"CONNECT"),
        (b":authority", b"gateway.test:443"),
        (b"x-api-key", ZABBIX.as_bytes()),
    ]);
    cases.push({
        let mut extended = changed(b":method", b"CONNECT");
        extended.insert(1, (b":protocol", b"websocket"));
        extended
    });
    let (mut through, mut answered) = (Vec::new(), 0);
    for case in cases {
        let before = world.reached().len();
        let mut raw = Raw::connect(address, &[]).await;
        raw.send(&frame(HEADERS, WHOLE, 1, &fields(&case))).await;
        let over = || {
            let frames = raw.frames();
            let answered = |frame: &Frame| frame.stream == 1 || frame.kind == GOAWAY;
            (frames.iter().any(answered) || raw.is_closed()).then_some(())
        };
        until(over).await;
        let text: Vec<_> = case
            .iter()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        if world.reached().len() > before {
            through.push(text.join(" "));
        }
        let is_answer = |frame: &Frame| frame.stream == 1 && frame.kind == HEADERS;
        answered += usize::from(raw.frames().iter().any(is_answer));
    }
    assert!(through.is_empty(), "{}", through.join("\n"));
    // What was answered, unlike what was reset, is on record, and nothing of it was served.
    let is_refusal = |record: &Value| record["kind"] == "request" && record["code"] != "ok";
    until_true(|| {
        world
            .records()
            .iter()
            .filter(|record| is_refusal(record))
            .count()
            == answered
    })
    .await;
    assert!(answered > 10);
}

#[tokio::test]
async fn a_body_of_another_length_than_was_told_is_never_completed() {
    let (world, address) = world().await;
    let sink = "/api/v3/_test/sink";
    for (told, pieces) in [
        ("10", &[(5, true)][..]),
        ("10", &[(15, true)]),
        ("10", &[(15, false)]),
        ("10", &[(5, false), (6, true)]),
        ("10", &[(10, false), (1, true)]),
        ("1", &[(0, true)]),
        ("0", &[(1, true)]),
    ] {
        let mut raw = Raw::connect(address, &[]).await;
        let head = [head("POST", sink), block(&[("content-length", told)])].concat();
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        // It is under way before anything is wrong with it.
        let before = world.reached().len();
        tokio::time::timeout(seconds(1), async {
            while world.reached().len() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .ok();
        for (length, is_last) in pieces {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let flags = u8::from(*is_last) * END_STREAM;
            raw.send(&frame(DATA, flags, 1, &vec![b'x'; *length])).await;
        }
        let is_reset = |frame: &Frame| frame.stream == 1 && frame.kind == RESET;
        raw.until(|frames| frames.iter().any(is_reset)).await;
    }
    let records = settled(&world, sink).await;
    assert_eq!(records.len(), 7);
    assert!(
        records.iter().all(|record| record["code"] != "ok"),
        "{records:#?}"
    );
    assert!(
        world
            .reached()
            .iter()
            .all(|seen| seen.target != sink || !seen.body_complete)
    );
}

/// However a caller gives an upload up, it must not look whole to the console.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_is_never_completed() {
    let (world, address) = world().await;
    let sink = "/api/v3/_test/sink";
    let codes = (0..=13_u32).chain([99]);
    let (mut sent, mut begun) = (0, 0);
    for (code, length) in
        codes.flat_map(|code| [None, None, None, Some("5")].map(|length| (code, length)))
    {
        let mut raw = Raw::connect(address, &[]).await;
        let mut post = [head("POST", sink), block(&[("x-code", &code.to_string())])].concat();
        if let Some(length) = length {
            post.extend(block(&[("content-length", length)]));
        }
        raw.send(&frame(HEADERS, END_HEADERS, 1, &post)).await;
        raw.send(&frame(DATA, 0, 1, b"first")).await;
        sent += 1;
        // Of a declared length the last byte is kept back until the end has shown.
        begun += usize::from(length.is_none());
        let has_come = |seen: &&SeenRequest| seen.target == sink && seen.body_length == 5;
        until_true(|| {
            let come = world.reached().iter().filter(has_come).count();
            (reached(&world, sink), come) == (sent, begun)
        })
        .await;
        raw.send(&frame(RESET, 0, 1, &code.to_be_bytes())).await;
    }
    let records = settled(&world, sink).await;
    assert!(
        records.iter().all(|record| record["code"] == "aborted"),
        "{records:#?}"
    );
    let whole = world
        .reached()
        .into_iter()
        .filter(|seen| seen.target == sink && seen.body_complete);
    let whole: Vec<_> = whole
        .map(|seen| seen.header("x-code").unwrap().to_owned())
        .collect();
    assert!(whole.is_empty(), "completed: {whole:?}");
}

/// By a reset of the stream, and not by an end of it; the connection goes on.
#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_well() {
    let (world, address) = world().await;
    let mut raw = Raw::connect(address, &[]).await;
    for (number, chunked) in [(0, true), (1, false)] {
        let stream = stream(number);
        // More than windows and buffers hold, so that it is not over yet.
        let path = format!("/api/v3/_test/bytes?size=50000000&chunk=10000&chunked={chunked}");
        raw.send(&get(stream, &path)).await;
        let begun = |frame: &Frame| frame.stream == stream && frame.kind == DATA;
        raw.until(|frames| frames.iter().any(begun)).await;
        world.simulator.drop_connections();
        let more = 100_000_000_u32.to_be_bytes();
        let updates = [0, stream].map(|of| frame(WINDOW_UPDATE, 0, of, &more));
        raw.send(&updates.concat()).await;
        let reset = |frame: &Frame| frame.stream == stream && frame.kind == RESET;
        raw.until(|frames| frames.iter().any(reset)).await;
        assert!(!has_ended(&raw.frames(), stream));
    }
    assert!(raw.send(&get(stream(2), ECHO)).await);
    raw.until(|frames| has_ended(frames, stream(2))).await;
}

/// A GET that is told to have ended only behind its head has no body, if it has none.
#[tokio::test]
async fn a_get_may_end_behind_its_head() {
    let (world, address) = world().await;
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &head("GET", ECHO));
    let codes = || {
        let mut codes: Vec<_> = records(&world, ECHO)
            .iter()
            .map(|record| record["code"].clone())
            .collect();
        codes.sort_by_key(ToString::to_string);
        codes
    };
    let mut raw = Raw::connect(address, &[]).await;
    for (stream, rest) in [(1, &[][..]), (3, &[frame(DATA, 0, 3, b"")])] {
        raw.send(&open(stream)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        raw.send(&rest.concat()).await;
        raw.send(&frame(DATA, END_STREAM, stream, b"")).await;
        raw.until(|frames| has_ended(frames, stream)).await;
    }
    assert_eq!(reached(&world, ECHO), 2);
    until_true(|| codes() == ["ok", "ok"]).await;
    // One that has one, one that is given up, and one that does not end.
    raw.send(&[open(5), frame(DATA, END_STREAM, 5, b"x")].concat())
        .await;
    until_true(|| codes() == ["bad_request", "ok", "ok"]).await;
    raw.send(&[open(7), frame(RESET, 0, 7, &CANCEL)].concat())
        .await;
    raw.send(&open(9)).await;
    until_true(|| codes() == ["aborted", "bad_request", "ok", "ok", "request_timeout"]).await;
    assert_eq!(reached(&world, ECHO), 2);
    let seen = world.reached();
    assert!(seen.iter().all(|seen| seen.body_length == 0));
}

/// One connection for everything: thousands of requests, some of which are given up, pings all the
/// time, a large download, a large upload in small pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_asks_for_much_is_served() {
    let (world, address) = world().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(700))
        .keep_alive_while_idle(true)
        .adaptive_window(true);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let url = format!("http://{address}");
    let request = |method: &str, path: &str| {
        let key = if method == "GET" { ZABBIX } else { BILLING };
        Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("x-api-key", key)
            .header("x-tenant", "acme")
    };
    type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;
    let empty = || Body::new(Full::default().map_err(|never| match never {}));

    let download = {
        let mut sender = sender.clone();
        let path = "/api/v3/_test/bytes?size=60000000&chunk=1000";
        let request = request("GET", path).body(empty()).unwrap();
        tokio::spawn(async move { collect(sender.send_request(request).await.unwrap()).await })
    };
    let upload = {
        let mut sender = sender.clone();
        let piece = || Ok(http_body::Frame::data(Bytes::from_static(&[b'u'; 500])));
        let pieces = futures_util::stream::iter((0..40_000).map(move |_| piece()));
        let body = Body::new(StreamBody::new(pieces));
        let request = request("POST", "/api/v3/_test/sink").body(body).unwrap();
        tokio::spawn(async move { collect(sender.send_request(request).await.unwrap()).await })
    };
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let mut sender = sender.clone();
            let asked = (0..200).map(|number| {
                let path = if number % 10 == 9 {
                    "/api/v3/_test/bytes?size=300000"
                } else {
                    ECHO
                };
                request("GET", path).body(empty()).unwrap()
            });
            let asked: Vec<_> = asked.collect();
            tokio::spawn(async move {
                for (number, request) in asked.into_iter().enumerate() {
                    let answer = sender.send_request(request).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    // Every tenth is not read.
                    if number % 10 != 9 {
                        collect(answer).await;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(upload.await.unwrap().status, 200);
    assert_eq!(download.await.unwrap().body.len(), 60_000_000);
    assert!(!connection.is_finished());
    let sink = |seen: &&SeenRequest| seen.target.ends_with("sink");
    assert_eq!(
        world.reached().iter().find(sink).unwrap().body_length,
        20_000_000
    );
}
