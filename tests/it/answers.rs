//! Consoles whose answers can be read in two ways, or do not end where they say: the caller gets an
//! honest status or a visible cut, and nobody gets what is left of another's answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use vspc_simulator::{Action, Fault, Settings, Simulator};

use crate::harness::{BILLING, World, ZABBIX, unsigned_settings, until_true};

const RAW: &str = "/api/v3/_raw";
const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright";

/// A console that answers with the bytes it is told to, and leaves the rest to a simulator.
struct Raw {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// What comes next under [`RAW`]; then [`RIGHT`].
    replies: VecDeque<Reply>,
    /// What comes from the token endpoint, if not the simulator's answer.
    token: Option<String>,
    /// The requests under [`RAW`], by connection.
    served: Vec<(usize, String)>,
    /// The connections that ended.
    gone: Vec<usize>,
}

struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

/// What a console does when it has answered.
enum Then {
    Close,
    Reset,
    Stay,
    /// Says more when it is told to.
    Tell(Arc<Notify>, &'static str),
}

impl Raw {
    async fn start(simulator: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        tokio::spawn({
            let script = Arc::clone(&script);
            async move {
                for number in 0.. {
                    let (stream, _) = listener.accept().await.unwrap();
                    let script = Arc::clone(&script);
                    tokio::spawn(async move {
                        serve(stream, number, &script, simulator).await.ok();
                        script.lock().gone.push(number);
                    });
                }
            }
        });
        Self { address, script }
    }

    fn answer(&self, bytes: impl Into<Vec<u8>>, then: Then) {
        let bytes = bytes.into();
        self.script.lock().replies.push_back(Reply { bytes, then });
    }

    fn served(&self) -> Vec<(usize, String)> {
        self.script.lock().served.clone()
    }

    /// Waits until the connection of the last request has ended.
    async fn dropped(&self) -> usize {
        let (last, _) = self.served().pop().unwrap();
        until_true(|| self.script.lock().gone.contains(&last)).await;
        last
    }
}

/// Serves one connection.
async fn serve(
    mut stream: TcpStream,
    number: usize,
    script: &Mutex<Script>,
    simulator: SocketAddr,
) -> std::io::Result<()> {
    while let Some((head, body)) = read_request(&mut stream).await? {
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let told = script.lock().token.clone();
        if target.starts_with(RAW) {
            let reply = {
                let mut script = script.lock();
                script.served.push((number, head));
                script.replies.pop_front()
            };
            let reply = reply.unwrap_or_else(|| Reply {
                bytes: RIGHT.into(),
                then: Then::Stay,
            });
            stream.write_all(&reply.bytes).await?;
            match reply.then {
                Then::Stay => {}
                Then::Close => return Ok(()),
                Then::Reset => {
                    return stream.set_zero_linger();
                }
                Then::Tell(now, more) => {
                    now.notified().await;
                    stream.write_all(more.as_bytes()).await?;
                }
            }
        } else if let (true, Some(told)) = (target == "/api/v3/token", told) {
            stream.write_all(told.as_bytes()).await?;
        } else {
            let answer = pass_on(&head, &body, simulator).await?;
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        let length = line.strip_prefix("content-length: ")?;
        Some(length.parse::<usize>().unwrap())
    });
    while body.len() < length.unwrap_or(0) {
        assert_ne!(stream.read_buf(&mut body).await?, 0);
    }
    Ok(Some((head, body)))
}

/// The simulator's answer to a request, as on a connection that stays.
async fn pass_on(head: &str, body: &[u8], simulator: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(simulator).await?;
    let lines = head.strip_suffix("\r\n").unwrap();
    let request = format!("{lines}connection: close\r\n\r\n");
    stream
        .write_all(&[request.as_bytes(), body].concat())
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8(answer).unwrap();
    Ok(text.replacen("connection: close\r\n", "", 1).into_bytes())
}

async fn start() -> (World, Raw) {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let raw = Raw::start(simulator.addr()).await;
    let url = format!("http://{}", raw.address);
    let world = World::start_on(simulator, &url, "").await;
    (world, raw)
}

/// All that a caller got until its connection ended.
#[derive(Debug)]
struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn refusal(&self) -> (&str, &str) {
        let code = self.header("x-gateway-code").unwrap_or_default();
        (self.status(), code)
    }

    /// Whether the body ends where it says.
    fn is_whole(&self) -> bool {
        match self.header("content-length") {
            Some(length) => length.parse() == Ok(self.body.len()),
            None => self.body.ends_with(b"0\r\n\r\n"),
        }
    }
}

async fn ask(world: &World, method: &str, lines: &str) -> Got {
    let request = format!(
        "{method} {RAW} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nConnection: close\r\n\
         {lines}\r\n"
    );
    let bytes = world.raw(request.as_bytes()).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.map_or(0, |end| end + 4);
    let (head, body) = bytes.split_at(end);
    Got {
        head: String::from_utf8(head.to_vec()).unwrap(),
        body: body.to_vec(),
    }
}

async fn outcome(world: &World, got: &Got) -> Value {
    let id = got.header("x-gateway-request-id").unwrap().to_owned();
    world
        .record(|record| record["kind"] == "request" && record["request_id"] == *id)
        .await
}

/// The next caller gets the right answer, by a connection other than the one that was doubtful.
async fn the_next_is_served_rightly(world: &World, raw: &Raw, case: &str) {
    let dirty = raw.dropped().await;
    let got = ask(world, "GET", "").await;
    assert_eq!(got.status(), "200", "after {case}: {got:?}");
    assert_eq!(got.body, b"right", "after {case}");
    let (connection, _) = raw.served().pop().unwrap();
    assert_ne!(connection, dirty, "after {case}");
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_a_502() {
    let (world, raw) = start().await;
    let ok = "HTTP/1.1 200 OK\r\n";
    let many = format!("{ok}{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(5000));
    let large = format!(
        "{ok}X: {}\r\nContent-Length: 0\r\n\r\n",
        "y".repeat(200_000)
    );
    let interims = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(60) + RIGHT;
    let lines = |lines: &str| format!("{ok}{lines}\r\n\r\nright");
    for (answer, told) in [
        (
            lines("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            "together",
        ),
        (
            lines("Transfer-Encoding: chunked\r\nContent-Length: 5"),
            "together",
        ),
        (
            lines("Content-Length: 5\r\nContent-Length: 5"),
            "there once",
        ),
        (
            lines("Content-Length: 5\r\nContent-Length: 6"),
            "there once",
        ),
        (
            lines("Content-Length: 5, 5"),
            "line 2 of the head: Content-Length must",
        ),
        (lines("Content-Length: +5"), "Content-Length must"),
        (lines("Content-Length: 0x5"), "Content-Length must"),
        (lines("Content-Length:"), "Content-Length must"),
        (
            lines("Content-Length: 18446744073709551616"),
            "Content-Length must",
        ),
        (
            lines("Transfer-Encoding: gzip, chunked"),
            "Transfer-Encoding must",
        ),
        (
            lines("Transfer-Encoding: identity"),
            "Transfer-Encoding must",
        ),
        (
            lines("Content-Length: 5\r\nX: a\0b"),
            "line 3 of the head: a header's value",
        ),
        (lines("Content-Length: 5\nX: y"), "CR LF"),
        (lines("Content-Length: 5\r\nX: a\rb"), "a header's value"),
        (lines("Content-Length: 5\r\n folded"), "begins with a blank"),
        (lines("Content-Length : 5"), "no name"),
        (lines("Content-Length: 5\r\nX Y: z"), "no name"),
        (lines("Content-Length: 5\r\n: z"), "no name"),
        ("hello world\r\n\r\n".to_owned(), "status line"),
        (RIGHT.replace("200", "99"), "status line"),
        (RIGHT.replace("200", "1000"), "status line"),
        (RIGHT.replace("200", "20x"), "status line"),
        (RIGHT.replace("HTTP/1.1", "HTTP/2.0"), "status line"),
        (RIGHT.replace("HTTP/1.1", "HTTP/0.9"), "status line"),
        (RIGHT.replace("HTTP/1.1", "http/1.1"), "status line"),
        (
            RIGHT.replace("200 OK", "101 Switching Protocols\r\nUpgrade: x"),
            "switch",
        ),
        (interims, "8 interim answers"),
        (many, "more than 100 header lines"),
        (large, "larger than"),
    ] {
        raw.answer(answer.clone(), Then::Stay);
        let before = raw.served().len();
        let got = ask(&world, "GET", "").await;
        let case = answer.get(..60.min(answer.len())).unwrap();
        assert_eq!(
            got.refusal(),
            ("502", "upstream_invalid"),
            "{case:?}: {got:?}"
        );
        assert_eq!(raw.served().len(), before + 1, "{case:?} was asked once");
        let record = outcome(&world, &got).await;
        assert_eq!(record["code"], "upstream_invalid");
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{case:?}: {detail}");
        let body = String::from_utf8(got.body).unwrap();
        assert!(!body.contains("right") && !body.contains(told), "{body}");
        the_next_is_served_rightly(&world, &raw, case).await;
    }
}

#[tokio::test]
async fn what_comes_after_an_answer_is_nobodys() {
    let (world, raw) = start().await;
    let wrong = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    for (method, answer, status, body) in [
        ("GET", RIGHT.to_owned() + wrong, "200", "right"),
        ("GET", RIGHT.to_owned() + "\r\n", "200", "right"),
        ("POST", RIGHT.to_owned() + "x", "200", "right"),
        (
            "GET",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n{wrong}"
            ),
            "200",
            "5\r\nright\r\n0\r\n\r\n",
        ),
        (
            "GET",
            format!("HTTP/1.1 204 No Content\r\n\r\n{wrong}"),
            "204",
            "",
        ),
        (
            "GET",
            format!("HTTP/1.1 204 No Content\r\nContent-Length: 45\r\n\r\n{wrong}"),
            "204",
            "",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n"
                .to_owned(),
            "204",
            "",
        ),
        (
            "GET",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n{wrong}"),
            "304",
            "",
        ),
        ("HEAD", RIGHT.to_owned(), "200", ""),
        (
            "GET",
            RIGHT.replace(
                "HTTP/1.1 200 OK",
                "HTTP/1.0 200 OK\r\nConnection: keep-alive",
            ),
            "200",
            "right",
        ),
    ] {
        raw.answer(answer.clone(), Then::Stay);
        let length = if method == "POST" {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        let got = ask(&world, method, length).await;
        assert_eq!(got.status(), status, "{answer:?}: {got:?}");
        assert_eq!(
            String::from_utf8(got.body.clone()).unwrap(),
            body,
            "{answer:?}"
        );
        assert_eq!(outcome(&world, &got).await["code"], "ok");
        the_next_is_served_rightly(&world, &raw, &answer).await;
    }
    // The same when it comes late.
    let now = Arc::new(Notify::new());
    raw.answer(RIGHT, Then::Tell(Arc::clone(&now), wrong));
    assert_eq!(ask(&world, "GET", "").await.body, b"right");
    now.notify_one();
    the_next_is_served_rightly(&world, &raw, "a late answer").await;
}

#[tokio::test]
async fn a_body_that_does_not_end_as_it_says_is_cut_for_the_caller_too() {
    let (world, raw) = start().await;
    let length = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{body}");
    let chunks =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let cases = [
        (length("right"), Then::Close),
        (length("right"), Then::Reset),
        (chunks("5\r\nright\r\n"), Then::Close),
        (chunks("5\r\nright\r\n"), Then::Reset),
        (chunks("5\r\nright\r\n0\r\n"), Then::Close),
        (chunks("ff\r\nright"), Then::Close),
        (chunks("5\r\nright\r\n+1\r\nx\r\n0\r\n\r\n"), Then::Stay),
        (chunks("5\r\nright\r\n0x1\r\nx\r\n0\r\n\r\n"), Then::Stay),
        (chunks("5\r\nright\r\n1\nx\r\n0\r\n\r\n"), Then::Stay),
        (chunks("5\r\nright\r\n1;a\rb\r\nx\r\n0\r\n\r\n"), Then::Stay),
        (chunks("5\r\nright\r\n1\r\nxyz\r\n0\r\n\r\n"), Then::Stay),
        (
            chunks("5\r\nright\r\nffffffffffffffff0\r\nx\r\n0\r\n\r\n"),
            Then::Stay,
        ),
        (chunks("5\r\nright\r\n0\r\nX Y: z\r\n\r\n"), Then::Stay),
    ];
    for (number, (answer, then)) in (1..).zip(cases) {
        let is_fault = matches!(then, Then::Stay);
        raw.answer(answer.clone(), then);
        let got = ask(&world, "GET", "").await;
        assert_eq!(got.status(), "200", "{answer:?}: {got:?}");
        assert!(!got.is_whole(), "{answer:?}: a clean end is a lie: {got:?}");
        let cut = |record: &Value| record["code"] == "upstream_cut";
        until_true(|| world.records().iter().filter(|record| cut(record)).count() == number).await;
        let record = world.records().into_iter().rfind(cut).unwrap();
        assert_eq!(
            (&record["path"], &record["status"]),
            (&json!(RAW), &json!(200))
        );
        // That the connection ended is no fault of what came over it.
        let detail = record["detail"].as_str();
        assert_eq!(detail.is_some(), is_fault, "{answer:?}: {record}");
        the_next_is_served_rightly(&world, &raw, &answer).await;
    }
}

#[tokio::test]
async fn a_body_that_is_cut_resets_the_stream_of_http_2() {
    let (world, raw) = start().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let bodies = [
        "Content-Length: 50\r\n\r\nright",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nright\r\nx",
    ];
    for (number, body) in (1..).zip(bodies) {
        raw.answer(format!("HTTP/1.1 200 OK\r\n{body}"), Then::Close);
        let request = http::Request::get(world.url(RAW)).header("x-api-key", BILLING);
        let request = request.body(Full::default()).unwrap();
        // A cut that comes at once may overtake the head.
        if let Ok(answer) = client.request(request).await {
            assert_eq!(answer.status(), 200);
            assert!(answer.into_body().collect().await.is_err(), "{body:?}");
        }
        let cut = |record: &Value| record["code"] == "upstream_cut";
        until_true(|| world.records().iter().filter(|record| cut(record)).count() == number).await;
        the_next_is_served_rightly(&world, &raw, body).await;
    }
}

#[tokio::test]
async fn what_has_one_reading_passes() {
    let (world, raw) = start().await;
    let interims = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(8) + RIGHT;
    let until_close = "HTTP/1.1 200 OK\r\n\r\nright".to_owned();
    for (answer, then, body) in [
        (interims, Then::Stay, "right"),
        (until_close, Then::Close, "5\r\nright\r\n0\r\n\r\n"),
        (
            "HTTP/1.1 520 \r\ncontent-length:5\r\n\r\nright".to_owned(),
            Then::Stay,
            "right",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=\"b\"\r\nright\r\n0\r\n\r\n"
                .to_owned(),
            Then::Stay,
            "5\r\nright\r\n0\r\n\r\n",
        ),
    ] {
        raw.answer(answer.clone(), then);
        let got = ask(&world, "GET", "").await;
        assert!(matches!(got.status(), "200" | "520"), "{got:?}");
        assert_eq!(
            String::from_utf8(got.body.clone()).unwrap(),
            body,
            "{answer:?}"
        );
        assert_eq!(got.header("link"), None);
        assert_eq!(outcome(&world, &got).await["code"], "ok");
    }
}

#[tokio::test]
async fn what_the_answers_connection_names_ends_at_the_gateway() {
    let (world, raw) = start().await;
    let answer = RIGHT.replace(
        "\r\nContent",
        "\r\nConnection: X-Hop, keep-alive\r\nConnection: x-other\r\nX-Hop: 1\r\nX-Other: 2\r\n\
         X-Kept: 3\r\nKeep-Alive: timeout=5\r\nContent",
    );
    raw.answer(answer, Then::Stay);
    let got = ask(&world, "GET", "").await;
    assert_eq!(got.body, b"right");
    for name in ["x-hop", "x-other", "keep-alive"] {
        assert_eq!(got.header(name), None, "{got:?}");
    }
    assert_eq!(got.header("x-kept"), Some("3"));
}

#[tokio::test]
async fn the_content_is_where_the_gateway_has_it() {
    let (world, raw) = start().await;
    let place = format!(
        "Content-Location: http://{}/api/v3/a?b\r\nContent-Length",
        raw.address
    );
    raw.answer(RIGHT.replace("Content-Length", &place), Then::Stay);
    let got = ask(&world, "GET", "").await;
    assert_eq!(got.header("content-location"), Some("http://gw/api/v3/a?b"));
}

#[tokio::test]
async fn trailers_reach_those_who_take_them() {
    let (world, raw) = start().await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Location\r\n\r\n\
                  5\r\nright\r\n0\r\nX-Sum: 1\r\nLocation: http://console/\r\n\r\n";
    for (lines, expected) in [
        ("TE: trailers\r\n", "5\r\nright\r\n0\r\nx-sum: 1\r\n\r\n"),
        ("", "5\r\nright\r\n0\r\n\r\n"),
    ] {
        raw.answer(answer, Then::Stay);
        let got = ask(&world, "GET", lines).await;
        assert_eq!(String::from_utf8(got.body.clone()).unwrap(), expected);
        assert_eq!(got.header("trailer").is_some(), !lines.is_empty());
        assert_eq!(outcome(&world, &got).await["code"], "ok");
    }
}

#[tokio::test]
async fn a_packed_answer_is_passed_on_as_it_is() {
    let (world, raw) = start().await;
    // The beginning of a gzip file, and then what would not unpack.
    let body = [b"\x1f\x8b\x08\0".as_slice(), &[0; 1000]].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    raw.answer([head.as_bytes(), &body].concat(), Then::Stay);
    let got = ask(&world, "GET", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(got.header("content-encoding"), Some("gzip"));
    assert_eq!(got.body, body);
}

#[tokio::test]
async fn an_answer_of_the_token_endpoint_is_small_plain_and_strict() {
    let token =
        r#"{"access_token":"a","token_type":"bearer","expires_in":3600,"refresh_token":"b"}"#;
    let head = |lines: &str, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{lines}Content-Length: {length}\r\n\r\n"
        )
    };
    let large = "{\"access_token\":\"".to_owned() + &"a".repeat(1 << 20) + "\"}";
    for answer in [
        head("", large.len()) + &large,
        head("Content-Encoding: gzip\r\n", token.len()) + token,
        head("Content-Length: 80\r\n", token.len()) + token,
        head("X: y\n", token.len()) + token,
    ] {
        let (world, raw) = start().await;
        raw.script.lock().token = Some(answer.clone());
        let got = world.get(ZABBIX, "acme", RAW).await;
        let case = answer.get(..100).unwrap();
        assert_eq!(
            (got.status, got.code()),
            (503, "token_unavailable"),
            "{case:?}: {got:?}"
        );
        let record = world.record(|record| record["kind"] == "token").await;
        let detail = record["detail"].as_str().unwrap();
        assert!(
            detail.contains("not valid HTTP, cut off, packed, or too large"),
            "{record}"
        );
        assert_eq!(raw.served(), []);
    }
}

/// More header lines than a console takes come by HTTP/2 only.
#[tokio::test]
async fn a_request_that_no_console_reads_is_not_sent() {
    let (world, raw) = start().await;
    assert_eq!(ask(&world, "GET", "").await.body, b"right");
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let mut request = http::Request::get(world.url(RAW)).header("x-api-key", BILLING);
    for number in 0..120 {
        request = request.header(format!("x-{number}"), "1");
    }
    let answer = client
        .request(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 431);
    assert_eq!(answer.headers()["x-gateway-code"], "head_too_large");
    assert_eq!(raw.served().len(), 1);
    // It was refused before there was a connection to lose.
    assert_eq!(ask(&world, "GET", "").await.body, b"right");
    let served = raw.served();
    assert_eq!(served[0].0, served[1].0);
}

/// Without a length only TLS can tell that an answer is not whole.
#[tokio::test]
async fn an_answer_without_a_length_is_whole_when_tls_says_so() {
    for tls in [false, true] {
        let settings = Settings {
            tls,
            ..unsigned_settings()
        };
        let simulator = Simulator::start(settings).await.unwrap();
        let lines = simulator
            .certificate_sha256()
            .map(|pin| format!("tls = {{ fingerprint_sha256 = [\"{pin}\"] }}\nhttp = \"1\""));
        let url = simulator.url();
        let world = World::start_on(simulator, &url, &lines.unwrap_or_default()).await;
        world
            .simulator
            .fault(Fault::new(Action::Unended).under("/api/v3/_test/echo"));
        let request = format!(
            "GET /api/v3/_test/echo HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n\
             Connection: close\r\n\r\n"
        );
        let bytes = world.raw(request.as_bytes()).await;
        assert_ne!(bytes.ends_with(b"0\r\n\r\n"), tls);
        let record = world
            .record(|record| record["path"] == "/api/v3/_test/echo")
            .await;
        assert_eq!(record["code"], if tls { "upstream_cut" } else { "ok" });
    }
}

/// Nothing before the handshake counts, however much it looks like an answer.
#[tokio::test]
async fn clear_text_before_tls_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(RIGHT.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let pin = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\n",
        "00".repeat(32)
    );
    let world = World::start_on(simulator, &url, &pin).await;
    let answer = world.get(ZABBIX, "acme", RAW).await;
    assert_eq!((answer.status, answer.code()), (502, "upstream_tls"));
    let token = world.record(|record| record["kind"] == "token").await;
    let detail = token["detail"].as_str().unwrap();
    assert!(detail.contains("not TLS"), "{token}");
}

/// Passes frames of a console of HTTP/2 on, each as `rewrite` has it.
#[expect(clippy::indexing_slicing, reason = "a test may stop")]
async fn rewritten(console: SocketAddr, rewrite: fn(&mut Vec<u8>)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(console).await.unwrap();
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut piece = vec![0; 65_536];
                loop {
                    // What belongs together is to come together.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let Ok(count @ 1..) = far_read.read(&mut piece).await else {
                        return;
                    };
                    bytes.extend_from_slice(&piece[..count]);
                    let mut passed = Vec::new();
                    while let Some(head) = bytes.get(..9) {
                        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                        if bytes.len() < 9 + length {
                            break;
                        }
                        let rest = bytes.split_off(9 + length);
                        rewrite(&mut bytes);
                        passed.append(&mut bytes);
                        bytes = rest;
                    }
                    near_write.write_all(&passed).await.unwrap();
                }
            });
        }
    });
    address
}

const ME: &str = "/api/v3/users/me";

/// Gives a reset another code.
#[expect(clippy::indexing_slicing, reason = "a test may stop")]
fn recode(frame: &mut [u8], code: u32) {
    if frame[3] == 3 {
        frame[9..13].copy_from_slice(&code.to_be_bytes());
    }
}

/// Has data end with an empty frame behind it, as servers that stream end it.
#[expect(clippy::indexing_slicing, reason = "a test may stop")]
fn end_behind(frame: &mut Vec<u8>) {
    let is_last = frame[3] == 0 && frame[4] & 1 == 1 && frame.len() > 9;
    if is_last {
        let mut end = frame[..9].to_vec();
        frame[4] &= !1;
        end[..3].fill(0);
        frame.append(&mut end);
    }
}

/// The end that comes behind all bytes that were told is not waited for, and none is missing.
#[tokio::test]
async fn an_answer_of_the_length_that_was_told_is_whole_whatever_comes_behind() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = format!("http://{}", rewritten(simulator.addr(), end_behind).await);
    let world = World::start_on(simulator, &url, "http = \"2\"").await;
    for version in ["1.0", "1.1"] {
        let request = format!(
            "GET {ME} HTTP/{version}\r\nHost: a\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // What was sent stays there to be read, unless the connection is reset.
        let is_recorded = |record: &Value| record["path"] == ME && record["status"] == 200;
        until_true(|| world.records().iter().any(is_recorded)).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"}"), "{version}: {answer:?}");
        let records = world.records();
        let record = records.iter().rfind(|record| is_recorded(record)).unwrap();
        assert_eq!(record["code"], "ok", "{version}");
    }
}

#[tokio::test]
async fn what_came_of_an_answer_that_stops_reaches_the_caller_whatever_the_code() {
    for code in [2, 0] {
        let rewrite: fn(&mut Vec<u8>) = match code {
            2 => |frame| recode(frame, 2),
            _ => |frame| recode(frame, 0),
        };
        let simulator = Simulator::start(unsigned_settings()).await.unwrap();
        let url = format!("http://{}", rewritten(simulator.addr(), rewrite).await);
        let world = World::start_on(simulator, &url, "http = \"2\"").await;
        assert_eq!(world.get(ZABBIX, "acme", ME).await.status, 200);
        let cut = Action::CutInBody {
            sent: 10,
            length: 100,
        };
        world.simulator.fault(Fault::new(cut).under(ME));
        let request = format!(
            "GET {ME} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n\r\n"
        );
        let got = world.raw(request.as_bytes()).await;
        let got = String::from_utf8_lossy(&got);
        assert!(got.starts_with("HTTP/1.1 200"), "code {code}: {got:?}");
    }
}

/// What is refused before its body has come does not cost the connection, nor is the body a request.
#[tokio::test]
async fn a_refused_request_whose_body_comes_later_leaves_its_connection_to_the_next() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let refused = format!(
        "POST {ME} HTTP/1.1\r\nHost: a\r\nX-Api-Key: wrong-{ZABBIX}\r\nX-Tenant: acme\r\nContent-Length: 18\r\n\r\n"
    );
    stream.write_all(refused.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16_384];
    let count = stream.read(&mut answer).await.unwrap();
    let said = String::from_utf8_lossy(answer.get(..count).unwrap()).into_owned();
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    assert!(
        !said.to_ascii_lowercase().contains("connection: close"),
        "{said}"
    );
    let next = format!(
        "GET / HTTP/1.1\r\n\r\nGET {ME} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let said = String::from_utf8_lossy(&answer);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(world.reached().len(), 1);
}
