//! Whose address counts: behind proxies that say so in a header, and before they can in the bytes
//! that come first.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use vspc_simulator::{SeenRequest, Simulator};

use crate::harness::{World, ZABBIX, configuration, ok, unsigned_settings, until_true_async};

const ECHO: &str = "/api/v3/_test/echo";

/// A gateway with more lines for `[server]`.
async fn world(server: &str) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let text = text.replacen("[server]\n", &format!("[server]\n{server}\n"), 1);
    World::start_in(simulator, folder, &text, |_| {}).await
}

async fn call(world: &World, headers: &[(&str, &str)]) -> crate::harness::Answer {
    let who = [("x-api-key", ZABBIX), ("x-tenant", "acme")];
    let headers = [&who[..], headers].concat();
    world.call("GET", ECHO, &headers, "").await
}

fn last(world: &World) -> SeenRequest {
    world.reached().pop().unwrap()
}

async fn metrics(world: &World) -> String {
    String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_source_is_whom_a_trusted_proxy_speaks_for_request_by_request() {
    let world = world(r#"trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]"#).await;
    for (lines, source) in [
        (&[][..], "127.0.0.1"),
        (&[("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
        (
            &[("X-Forwarded-For", "10.0.0.1, 198.51.100.7:4711, 10.0.0.2")],
            "198.51.100.7",
        ),
        (
            &[
                ("x-forwarded-for", "198.51.100.7"),
                ("x-forwarded-for", "[2001:db8::9]:55, 10.0.0.2"),
                ("x-forwarded-for", "10.0.0.3"),
            ],
            "2001:db8::9",
        ),
        (&[("x-forwarded-for", "10.0.0.9, 10.0.0.8")], "10.0.0.9"),
        (
            &[
                ("forwarded", "for=203.0.113.9"),
                ("x-real-ip", "203.0.113.9"),
            ],
            "127.0.0.1",
        ),
        (
            &[
                ("x_forwarded_for", "203.0.113.9"),
                ("x.forwarded.for", "203.0.113.9"),
            ],
            "127.0.0.1",
        ),
    ] {
        let answer = call(&world, lines).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(world.outcome(&answer).await["source"], source, "{lines:?}");
        // None of it goes on.
        let seen = last(&world);
        let told = seen.headers.iter().filter(|(name, _)| {
            let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            letters.contains("forwarded") || letters.contains("realip")
        });
        assert_eq!(told.count(), 0, "{:?}", seen.headers);
    }
    // A refusal has it as well.
    let headers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-api-key", "vgk_nobodys_key_0000000000000000000000"),
    ];
    let refused = world.call("GET", "/api/v3/../x", &headers, "").await;
    assert_eq!(world.outcome(&refused).await["source"], "203.0.113.9");
}

#[tokio::test]
async fn a_trusted_proxy_that_cannot_be_understood_is_refused() {
    let world = world(r#"trusted_proxies = ["127.0.0.1"]"#).await;
    for line in [
        "unknown",
        "",
        "203.0.113.9, _hidden",
        "203.0.113.9 10.0.0.1",
        "for=203.0.113.9",
    ] {
        let answer = call(&world, &[("x-forwarded-for", line)]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "bad_request"),
            "{line}"
        );
        let record = world.outcome(&answer).await;
        assert_eq!(record["source"], "127.0.0.1");
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("X-Forwarded-For"), "{detail}");
    }
    // A key where logs would keep it is the graver matter.
    let path = format!("/api/v3/{ZABBIX}");
    let answer = world
        .call("GET", &path, &[("x-forwarded-for", "unknown")], "")
        .await;
    assert_eq!(answer.code(), "key_in_query");
    assert_eq!(world.outcome(&answer).await["path"], "~hidden");
    assert!(world.reached().is_empty());
}

#[tokio::test]
async fn nobody_else_says_where_a_request_comes_from() {
    let world = world(r#"trusted_proxies = ["10.0.0.0/8"]"#).await;
    for name in [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X.Forwarded.For",
        "XFORWARDEDFOR",
        "Forwarded",
        "X-Real-IP",
        "x_real_ip",
        "X-Client-IP",
        "True-Client-IP",
        "X-Cluster-Client-IP",
        "X-Originating-IP",
    ] {
        for value in ["10.0.0.1", "203.0.113.9", "nonsense"] {
            let answer = call(&world, &[(name, value)]).await;
            assert!(ok(&answer), "{answer:?}");
            assert_eq!(
                world.outcome(&answer).await["source"],
                "127.0.0.1",
                "{name}"
            );
            let seen = last(&world);
            assert!(
                !seen.headers.iter().any(|(_, seen)| seen == value),
                "{:?}",
                seen.headers
            );
        }
    }
}

#[tokio::test]
async fn a_console_is_told_what_the_gateway_knows_and_nothing_that_callers_say() {
    let server = "trusted_proxies = [\"127.0.0.1\"]\nforwarded_headers = \"append\"\n\
                  names = [\"gw.example.net\", \"127.0.0.1\"]";
    let world = world(server).await;
    let answer = call(
        &world,
        &[
            ("x-forwarded-for", "6.6.6.6, 203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x.forwarded.host", "evil.example"),
            ("X-Forwarded-Prefix", "/evil"),
            ("x-forwarded-port", "666"),
            ("forwarded", "for=6.6.6.6"),
            ("connection", "x-forwarded-for, x-forwarded-host"),
        ],
    )
    .await;
    assert!(ok(&answer), "{answer:?}");
    let seen = last(&world);
    let told: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.contains("forward"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let host = world.address.to_string();
    assert_eq!(
        told,
        [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", host.as_str()),
            ("x-forwarded-proto", "https"),
        ]
    );
}

/// A header of version 2 for a connection over IPv4.
fn binary(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1, 200, 1, 1, 187]);
    header
}

fn line(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 51200 443\r\n").into_bytes()
}

fn request(path: &str, more: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n{more}\r\n"
    )
    .into_bytes()
}

const CLOSE: &str = "Connection: close\r\n";

/// None where it is closed before it is there.
async fn try_from(source: &str, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.ok()
}

/// What comes back on a connection until it ends; nothing where it is reset.
async fn all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("the connection stayed open").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the gateway has closed a connection on which nothing was sent.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_millis(500), stream.read(&mut [0; 1])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

const PROXIED: &str =
    "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true\nhead_timeout = \"300ms\"";

#[tokio::test]
async fn a_proxy_header_comes_before_everything_and_tells_the_source() {
    let world = world(PROXIED).await;
    let two = [
        request("/api/v3/users/me?offset=1", ""),
        request("/api/v3/users/me?offset=2", CLOSE),
    ]
    .concat();
    let headers = [
        (line("203.0.113.9"), "203.0.113.9"),
        (binary([203, 0, 113, 10]), "203.0.113.10"),
        (b"PROXY UNKNOWN and so on\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x03xyz".to_vec(), "127.0.0.1"),
    ];
    for (header, source) in &headers {
        // At once, and the header by itself.
        for pause in [false, true] {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            if pause {
                stream.write_all(&header[..7]).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(&header[7..]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(&two).await.unwrap();
            } else {
                stream
                    .write_all(&[header.as_slice(), &two].concat())
                    .await
                    .unwrap();
            }
            let answers = all(&mut stream).await;
            assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
        }
        let of_source = |records: &[serde_json::Value]| {
            let requests = records.iter().filter(|record| record["kind"] == "request");
            requests
                .filter(|record| record["source"] == *source)
                .count()
        };
        // The last two headers tell the same.
        let expected = if *source == "127.0.0.1" { 4..=8 } else { 4..=4 };
        until_true_async(async || expected.contains(&of_source(&world.records()))).await;
    }
    assert_eq!(world.reached().len(), 16);
}

/// A balancer's own connection, such as a health check, passes nobody's requests on.
#[tokio::test]
async fn what_a_proxy_sends_for_itself_has_no_other_source() {
    let world = world(PROXIED).await;
    let headers = [
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
        // One that speaks for another trusted proxy, which speaks for somebody.
        (line("127.0.0.1"), "203.0.113.9"),
    ];
    for (index, (header, source)) in headers.iter().enumerate() {
        let path = format!("/api/v3/users/me?offset={index}");
        let request = request(&path, &format!("X-Forwarded-For: 203.0.113.9\r\n{CLOSE}"));
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream
            .write_all(&[header.as_slice(), &request].concat())
            .await
            .unwrap();
        let answer = all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let is_it = |record: &serde_json::Value| {
            record["kind"] == "request" && record["query"] == format!("offset={index}")
        };
        assert_eq!(world.record(is_it).await["source"], *source, "{index}");
    }
}

#[tokio::test]
async fn http2_follows_a_proxy_header_too() {
    let world = world(PROXIED).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&binary([203, 0, 113, 9])).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(world.url("/api/v3/users/me"))
        .header("x-api-key", ZABBIX)
        .header("x-tenant", "acme")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = crate::harness::collect(sender.send_request(request).await.unwrap()).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["source"], "203.0.113.9");
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_is_closed_without_a_word_and_counted() {
    let world = world(PROXIED).await;
    let longest = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let faulty = [
        request("/api/v3/users/me", CLOSE),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [
            &b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\n"[..],
            &request("/api/v3/users/me", CLOSE),
        ]
        .concat(),
        [line("203.0.113.009"), request("/api/v3/users/me", CLOSE)].concat(),
        [
            longest.as_bytes(),
            b"\r\n",
            &request("/api/v3/users/me", CLOSE),
        ]
        .concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        // In time is another matter.
        b"PROXY TCP4 203.0.".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(),
    ];
    for bytes in &faulty {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(all(&mut stream).await, "", "{bytes:?}");
    }
    let dropped = format!(
        "vspc_gateway_connections_dropped_total{{reason=\"proxy_header\"}} {}\n",
        faulty.len()
    );
    assert!(metrics(&world).await.contains(&dropped));
    // Who only looks whether somebody listens has done nothing wrong.
    drop(TcpStream::connect(world.address).await.unwrap());
    // A proxy that is not trusted does not even get to say it.
    if let Some(mut stranger) = try_from("127.0.0.2", world.address).await {
        stranger.write_all(&line("127.0.0.1")).await.ok();
        assert_eq!(all(&mut stranger).await, "");
    }
    let text = metrics(&world).await;
    assert!(text.contains("vspc_gateway_connections_refused_total{reason=\"untrusted\"} 1\n"));
    assert!(text.contains(&dropped));
    assert!(world.reached().is_empty());
    assert!(
        !world
            .records()
            .iter()
            .any(|record| record["kind"] == "request")
    );
}

#[tokio::test]
async fn connections_behind_a_proxy_count_for_their_source_and_not_for_the_proxy() {
    let server = format!("{PROXIED}\nconnections = 50\nconnections_per_source = 2");
    let world = world(&server).await;
    let mut held = Vec::new();
    for source in ["203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.2"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(&line(source)).await.unwrap();
        held.push(stream);
    }
    let mut third = TcpStream::connect(world.address).await.unwrap();
    third.write_all(&line("203.0.113.1")).await.unwrap();
    // One of the three is over the share; they may have been looked at in any order.
    let mut closed = 0;
    for stream in held.iter_mut().chain([&mut third]) {
        closed += usize::from(is_closed(stream).await);
    }
    assert_eq!(closed, 1);
    let refused = "vspc_gateway_connections_refused_total{reason=\"source\"} 1\n";
    assert!(metrics(&world).await.contains(refused));
    let mut other = TcpStream::connect(world.address).await.unwrap();
    let asked = [line("203.0.113.3"), request("/api/v3/users/me", CLOSE)].concat();
    other.write_all(&asked).await.unwrap();
    assert!(all(&mut other).await.starts_with("HTTP/1.1 200 "));
    // The places are free again with their connections.
    drop((held, third));
    until_true_async(async || {
        let mut next = TcpStream::connect(world.address).await.unwrap();
        let asked = [line("203.0.113.1"), request("/api/v3/users/me", CLOSE)].concat();
        next.write_all(&asked).await.unwrap();
        all(&mut next).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_may_have_more_connections_than_one_source() {
    let server = "trusted_proxies = [\"127.0.0.1\"]\nconnections = 50\nconnections_per_source = 2";
    let world = world(server).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(TcpStream::connect(world.address).await.unwrap());
    }
    for stream in &mut open {
        stream
            .write_all(&request("/api/v3/users/me", CLOSE))
            .await
            .unwrap();
        assert!(all(stream).await.starts_with("HTTP/1.1 200 "));
    }
    // Nobody else may.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(try_from("127.0.0.2", world.address).await);
    }
    assert!(others[..2].iter().all(Option::is_some));
    if let Some(third) = others.last_mut().unwrap() {
        assert!(is_closed(third).await);
    }
    let records = world.records();
    assert!(
        records
            .iter()
            .all(|record| record["source"] != json!("127.0.0.2"))
    );
}
