//! Request bodies that come slowly.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::client::conn::http2;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vspc_gateway::gateway::Gateway;
use vspc_gateway::upstream::Pace;
use vspc_simulator::{SeenRequest, Simulator};

use super::{ECHO, SINK, world};
use crate::harness::{
    Answer, BILLING, World, collect, configuration, ok, unsigned_settings, until_true,
    until_true_async,
};

/// As configured, but looked at sooner.
fn soon(gateway: &mut Gateway) {
    gateway.body_pace.window = Duration::from_millis(500);
}

/// What the console saw of the uploads.
fn uploads(world: &World) -> Vec<SeenRequest> {
    let mut seen = world.reached();
    seen.retain(|request| request.target == SINK);
    seen
}

type Piece = Result<Frame<Bytes>, std::io::Error>;
type Fed = StreamBody<Pin<Box<dyn Stream<Item = Piece> + Send>>>;

fn piece(length: usize) -> Piece {
    Ok(Frame::data(Bytes::from(vec![b'x'; length])))
}

/// A body of what is fed.
fn fed() -> (mpsc::Sender<Piece>, Fed) {
    let (feed, body) = mpsc::channel(1);
    let stream = unfold(body, |mut body: mpsc::Receiver<Piece>| async move {
        body.recv().await.map(|piece| (piece, body))
    });
    (feed, StreamBody::new(Box::pin(stream)))
}

fn post(world: &World, target: &str, body: Fed) -> http::Request<Fed> {
    http::Request::post(world.url(target))
        .header("x-api-key", BILLING)
        .body(body)
        .unwrap()
}

/// Sends a body piece by piece, for as long as anybody takes it.
async fn upload(world: &World, http2: bool, length: usize, pause: u64, pieces: usize) -> Answer {
    let (feed, body) = fed();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build(tcp);
    let sending = tokio::spawn(async move {
        for _ in 0..pieces {
            if feed.send(piece(length)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    });
    let answer = collect(client.request(post(world, SINK, body)).await.unwrap()).await;
    sending.abort();
    answer
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_on_either_protocol() {
    for (http2, console) in [
        (false, "http = \"1\""),
        (true, "http = \"1\""),
        (false, "http = \"2\""),
        (true, "http = \"2\""),
    ] {
        let world = world("", console, |text| text, soon).await;
        let started = Instant::now();
        // It would last for 200 s, and no silence in it is as long as the console's patience.
        let answer = upload(&world, http2, 1, 200, 1000).await;
        assert!(started.elapsed() < Duration::from_secs(5), "{http2}");
        assert_eq!((answer.status, answer.code()), (408, "request_timeout"));
        let closes = answer.header("connection") == Some("close");
        assert_eq!(closes, !http2, "{answer:?}");
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!("request_timeout"), &json!(408))
        );
        assert!(record["bytes_in"].as_u64().unwrap() < 20, "{record}");
        // The console is not told that this was all.
        until_true(|| world.simulator.state().in_flight == 0).await;
        let seen = uploads(&world);
        assert_eq!(seen.len(), 1);
        assert!(!seen[0].body_complete, "{seen:?}");
        assert_ne!(seen[0].status, Some(200));
    }
}

#[tokio::test]
async fn a_body_that_keeps_to_the_rate_or_has_none_to_keep_arrives() {
    for http2 in [false, true] {
        let steady = world("", "", |text| text, soon).await;
        let answer = upload(&steady, http2, 100, 20, 100).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(steady.outcome(&answer).await["bytes_in"], 10_000);

        let lenient = world("min_body_rate = \"0B\"", "", |text| text, soon).await;
        let answer = upload(&lenient, http2, 1, 200, 10).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(uploads(&lenient)[0].body_length, 10);
    }
}

/// The connection is over too: what would come on it would be taken for the rest of the body.
#[tokio::test]
async fn a_form_that_trickles_is_refused_and_its_connection_ends() {
    let world = world("", "", |text| text, soon).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /api/v3/token HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"g").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut answer = Vec::new();
    let started = Instant::now();
    // A reset ends it as well.
    reading.read_to_end(&mut answer).await.ok();
    // The time for a form as a whole is ten seconds.
    assert!(started.elapsed() < Duration::from_secs(5));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    trickle.await.unwrap();
    world
        .record(|record| record["code"] == "request_timeout")
        .await;
    assert_eq!(world.grants("password"), (0, 0));
}

/// What becomes of an upload on its way.
#[derive(Clone, Copy)]
enum Upload {
    /// Nothing of it is read for some time.
    Waits(Duration),
    /// It is answered, with a part of an answer, as soon as it begins.
    Answered,
}

/// Leads connections on to the simulator, all but uploads as they are.
async fn on_the_way(simulator: &Simulator, upload: Upload) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = simulator.addr();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(lead(client, server, upload));
        }
    });
    url
}

async fn lead(mut client: TcpStream, mut server: TcpStream, upload: Upload) {
    let (mut there, mut back) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
    loop {
        tokio::select! {
            Ok(1..) = client.read_buf(&mut there) => {
                if memchr::memmem::find(&there, b"_test/sink").is_some() {
                    match upload {
                        Upload::Waits(pause) => tokio::time::sleep(pause).await,
                        Upload::Answered => {
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
                            client.write_all(answer).await.unwrap();
                            while let Ok(1..) = client.read(&mut [0; 4096]).await {}
                            return;
                        }
                    }
                }
                server.write_all(&there).await.unwrap();
                there.clear();
            }
            Ok(1..) = server.read_buf(&mut back) => {
                client.write_all(&back).await.unwrap();
                back.clear();
            }
            else => return,
        }
    }
}

/// More than all the buffers on the way hold.
const LARGE: usize = 40_000_000;

/// A console may answer before the body has come, and the answer ends with it then.
#[tokio::test]
async fn a_body_that_trickles_after_the_answer_has_begun_is_no_fault_of_the_console() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = on_the_way(&simulator, Upload::Answered).await;
    let world = World::start_adjusted(simulator, &url, "", |gateway| {
        soon(gateway);
        gateway.body_pace.bytes_per_second = 1000;
    })
    .await;
    let head = format!(
        "POST {SINK} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nContent-Length: 100\r\n\r\nhello"
    );
    let answer = String::from_utf8(world.raw(head.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let record = world
        .record(|record| record["path"] == SINK && record["kind"] == "request")
        .await;
    assert_eq!(
        (&record["code"], &record["status"], &record["bytes_out"]),
        (&json!("request_timeout"), &json!(200), &json!(5))
    );
}

#[tokio::test]
async fn a_console_that_takes_a_body_late_is_not_the_callers_slowness() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = on_the_way(&simulator, Upload::Waits(Duration::from_secs(2))).await;
    let world = World::start_adjusted(simulator, &url, "", |gateway| {
        gateway.body_pace = Pace {
            bytes_per_second: 100_000,
            window: Duration::from_secs(1),
        };
    })
    .await;
    for http2 in [false, true] {
        let answer = upload(&world, http2, LARGE / 100, 0, 100).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(world.outcome(&answer).await["bytes_in"], LARGE);
    }
}

/// Bodies that wait for the console fill what the gateway takes on a connection; that must not look
/// as if the caller were slow with another.
#[tokio::test]
async fn bodies_that_wait_for_the_console_slow_no_other_of_their_connection() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = on_the_way(&simulator, Upload::Waits(Duration::from_secs(60))).await;
    let console = "first_byte_timeout = \"3s\"";
    let change = |text: String| text.replace(console, "first_byte_timeout = \"60s\"");
    let folder = tempfile::tempdir().unwrap();
    let text = change(configuration(folder.path(), &url, "", "127.0.0.1:0"));
    let world = World::start_in(simulator, folder, &text, soon).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(async move { connection.await.ok() });

    let sent = Arc::new(AtomicUsize::new(0));
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let (feed, body) = fed();
        held.spawn(sender.send_request(post(&world, SINK, body)));
        let sent = Arc::clone(&sent);
        held.spawn(async move {
            while let Ok(()) = feed.send(piece(100_000)).await {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            std::future::pending().await
        });
    }
    // Until all of them are stuck.
    until_true_async(async || {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        before > 20 && before == sent.load(Ordering::Relaxed)
    })
    .await;

    let (feed, body) = fed();
    tokio::spawn(async move {
        for _ in 0..100 {
            feed.send(piece(100)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let answer = sender.send_request(post(&world, ECHO, body)).await;
    let answer = collect(answer.unwrap()).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["bytes_in"], 10_000);
}

#[tokio::test]
async fn a_console_that_does_not_take_a_body_is_a_504() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = on_the_way(&simulator, Upload::Waits(Duration::from_secs(60))).await;
    let world = World::start_on(simulator, &url, "").await;
    let head = format!(
        "POST {SINK} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move { writing.write_all(&vec![b'x'; LARGE]).await });
    let mut first = [0; 12];
    reading.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 504");
    let record = world
        .record(|record| record["path"] == SINK && record["kind"] == "request")
        .await;
    assert_eq!(record["code"], "upstream_timeout");
    sending.abort();
}

#[tokio::test]
async fn the_record_counts_what_came_of_a_body_that_stopped() {
    let world = world("", "", |text| text, soon).await;
    let head = format!(
        "POST {SINK} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nContent-Length: 100\r\n\r\nhello"
    );
    let answer = String::from_utf8(world.raw(head.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let record = world
        .record(|record| record["code"] == "request_timeout")
        .await;
    assert_eq!(record["bytes_in"], 5);
}
