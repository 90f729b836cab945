//! TLS with callers.

mod authority;
mod caller;
mod callers;
mod faults;
mod proxied;
mod reload;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, Error, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use vspc_simulator::Simulator;

use crate::harness::{
    ACME, BILLING, World, configuration, ok, unsigned_settings, until_true, until_true_async,
};
use authority::Authority;
use caller::{Caller, NAME};

const ME: &str = "/api/v3/users/me";

const PAIR: &str = r#"certificate = "a.pem", key = "a.key""#;

/// A gateway with TLS, on as many listeners as `listen` says.
async fn world(listen: &str, write: impl FnOnce(&Path)) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let text = text.replace("listen = \"127.0.0.1:0\"", listen);
    let text = text.replace("unread_timeout = \"60s\"", "unread_timeout = \"500ms\"");
    World::start_in(simulator, folder, &text, |_| {}).await
}

/// The same with one listener, its TLS and other lines of `[server]`.
async fn secure(tls: &str, more: &str, write: impl FnOnce(&Path)) -> World {
    let listen = format!("listen = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n{more}");
    world(&listen, write).await
}

/// How many handshakes had a result.
async fn handshakes(world: &World, result: &str) -> u64 {
    let line = format!("tls_handshakes_total{{result=\"{result}\"}} ");
    metric(world, &line).await.unwrap_or(0)
}

/// The value behind what a line of the metrics contains.
async fn metric(world: &World, start: &str) -> Option<u64> {
    let metrics = world.admin("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let mut lines = text.lines();
    let line = lines.find(|line| !line.starts_with('#') && line.contains(start))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

#[tokio::test]
async fn requests_of_both_protocols_and_versions_reach_the_console() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    for (version, protocols) in [
        (&TLS12, &["http/1.1"][..]),
        (&TLS13, &["h2", "http/1.1"]),
        (&TLS12, &["h2"]),
        (&TLS13, &[]),
    ] {
        let caller = Caller::speaking(&authority, &[version], None).offering(protocols);
        let answer = caller.get(world.address, ME).await.unwrap();
        assert!(ok(&answer), "{protocols:?}: {answer:?}");
        assert_eq!(answer.json()["data"]["instanceUid"], ACME);
        let record = world.outcome(&answer).await;
        assert_eq!(record["client"], "zabbix");
        assert_eq!(record["tenant"], "acme");
        assert_eq!(record["source"], "127.0.0.1");
        assert_eq!(
            (&record["code"], &record["status"]),
            (&"ok".into(), &200.into())
        );
    }
    assert_eq!(world.reached().len(), 4);
    assert_eq!(handshakes(&world, "ok").await, 4);
}

#[tokio::test]
async fn without_alpn_the_first_bytes_say_what_is_spoken() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let caller = Caller::new(&authority);
    let stream = caller.connect(world.address, NAME).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender
        .send_request(caller::request(ME, true))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // Who has agreed upon HTTP/1.1 cannot begin with the preface of HTTP/2, nor the other way round.
    for (agreed, bytes) in [
        ("http/1.1", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]),
        ("h2", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let caller = Caller::new(&authority).offering(&[agreed]);
        let mut stream = caller.connect(world.address, NAME).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    assert_eq!(world.reached().len(), 1);
}

/// It might become HTTP/2 for as long as a head may take, and no longer.
#[tokio::test]
async fn a_preface_that_does_not_come_to_its_end_is_refused_like_any_head() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "head_timeout = \"1s\"", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    for start in [&b"P"[..], b"PRI * HTTP/2.0"] {
        let caller = Caller::new(&authority);
        let mut stream = caller.connect(world.address, NAME).await.unwrap();
        let began = Instant::now();
        stream.write_all(start).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let took = began.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(2));
    }
    let refused = || {
        let mut records = world.records();
        records.retain(|record| record["code"] == "request_timeout");
        records.len()
    };
    until_true(|| refused() == 2).await;
    assert_eq!(world.reached().len(), 0);
}

/// No answer that was cut can be taken for a whole one, by whatever its caller knows the end.
#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_well() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let large = "/api/v3/_test/bytes?size=50000000&chunk=10000";
    for (version, chunked, expected) in [
        ("1.0", true, ErrorKind::ConnectionReset),
        ("1.0", false, ErrorKind::ConnectionReset),
        // No word that this is the end, as TLS has one.
        ("1.1", true, ErrorKind::UnexpectedEof),
        ("1.1", false, ErrorKind::UnexpectedEof),
    ] {
        let caller = Caller::new(&authority).offering(&["http/1.1"]);
        let mut stream = caller.connect(world.address, NAME).await.unwrap();
        let head = format!(
            "GET {large}&chunked={chunked} HTTP/{version}\r\nHost: {NAME}\r\n\
             X-Api-Key: {BILLING}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 100_000];
        stream.read_exact(&mut answer).await.unwrap();
        let start = format!("HTTP/{version} 200 ");
        assert!(answer.starts_with(start.as_bytes()), "{answer:?}");
        world.simulator.drop_connections();
        let error = stream.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{version}, {chunked}");
        assert!(answer.len() < 50_000_000 && !answer.ends_with(b"0\r\n\r\n"));
    }
    // One that is whole ends well.
    let caller = Caller::new(&authority).offering(&["http/1.1"]);
    let mut stream = caller.connect(world.address, NAME).await.unwrap();
    let target = large.replace("50000000", "50000");
    let head = format!("GET {target}&chunked=true HTTP/1.0\r\nX-Api-Key: {BILLING}\r\n");
    let head = format!("{head}Host: {NAME}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
    assert_eq!(answer.len() - body.unwrap() - 4, 50_000);
}

#[tokio::test]
async fn an_unknown_protocol_is_refused() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let caller = Caller::new(&authority).offering(&["spdy/3"]);
    let error = caller.get(world.address, ME).await.unwrap_err();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert_eq!(handshakes(&world, "incompatible").await, 1);
}

/// Why a handshake comes to nothing.
async fn tls_error(caller: &Caller, address: SocketAddr, name: &str) -> Error {
    let error = caller.connect(address, name).await.unwrap_err();
    let error = error.get_ref().and_then(|inner| inner.downcast_ref());
    Error::clone(error.unwrap())
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::new("ca");
    let [a, b, wild] = [
        &["a.example.net"][..],
        &["B.example.net"],
        &["*.c.example.net"],
    ]
    .map(|names| authority.server(names));
    let pairs = r#"certificate = "a.pem", key = "a.key", certificates = [
        { certificate = "b.pem", key = { file = "b.key" } },
        { certificate = "c.pem", key = "c.key" }]"#
        .replace('\n', "");
    let listen = format!(
        "listen = [\"127.0.0.1:0\", {{ address = \"127.0.0.1:0\", tls = {{ {pairs}, strict_sni = true }} }}]\n\
         tls = {{ {pairs} }}"
    );
    let world = world(&listen, |folder| {
        a.write(folder, "a");
        b.write(folder, "b");
        wild.write(folder, "c");
    })
    .await;
    let caller = Caller::new(&authority);
    for address in &world.addresses {
        for (name, pair) in [
            ("a.example.net", &a),
            ("b.example.net", &b),
            ("x.c.example.net", &wild),
        ] {
            let stream = caller.connect(*address, name).await.unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap();
            assert_eq!(shown, std::slice::from_ref(&pair.der), "{name}");
        }
    }
    // The first is for everybody else, who finds that it is not what was asked for.
    let error = tls_error(&caller, world.addresses[0], "x.x.c.example.net").await;
    let Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) = error else {
        panic!("{error}");
    };
    let error = tls_error(&caller, world.addresses[1], "other.example.net").await;
    let alert = AlertDescription::UnrecognisedName;
    assert_eq!(error, Error::AlertReceived(alert));
    assert_eq!(handshakes(&world, "unknown_name").await, 1);
}

#[tokio::test]
async fn of_two_certificates_for_a_name_the_caller_gets_the_one_it_can_read() {
    let authority = Authority::new("ca");
    let new = authority.server_of_ed25519(&[NAME]);
    let old = authority.server(&[NAME]);
    let pairs = format!("{PAIR}, certificates = [{{ certificate = \"b.pem\", key = \"b.key\" }}]");
    let world = secure(&pairs, "", |folder| {
        new.write(folder, "a");
        old.write(folder, "b");
    })
    .await;
    let seen = async |caller: &Caller, name| {
        let stream = caller.connect(world.address, name).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(seen(&Caller::new(&authority), NAME).await, new.der);
    let caller = Caller::without(&authority, SignatureScheme::ED25519);
    assert_eq!(seen(&caller, NAME).await, old.der);
}

#[tokio::test]
async fn a_listener_may_have_tls_of_its_own_or_none() {
    let authority = Authority::new("ca");
    let listen = format!(
        "listen = [\"127.0.0.1:0\", {{ address = \"127.0.0.1:0\", tls = false }}, \
         {{ address = \"127.0.0.1:0\", tls = {{ {PAIR}, min_version = \"1.3\" }} }}]\n\
         tls = {{ {PAIR} }}"
    );
    let world = world(&listen, |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let old = Caller::speaking(&authority, &[&TLS12], None);
    assert!(ok(&old.get(world.addresses[0], ME).await.unwrap()));
    let error = old.get(world.addresses[2], ME).await.unwrap_err();
    assert!(error.contains("ProtocolVersion"), "{error}");
    let new = Caller::new(&authority);
    assert!(ok(&new.get(world.addresses[2], ME).await.unwrap()));
    let mut plain = TcpStream::connect(world.addresses[1]).await.unwrap();
    let head = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    plain.write_all(head).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

/// What TLS answers to bytes, until it closes the connection.
async fn answered(world: &World, bytes: &[u8]) -> Vec<u8> {
    world.raw(bytes).await
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, two suites, no compression; groups and formats of points.
    hello.extend([0, 0, 4, 0xc0, 0x13, 0xc0, 0x09, 1, 0]);
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    let answer = answered(&world, &record).await;
    // A fatal alert: protocol_version.
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert_eq!(answer.get(5..), Some(&[2, 70][..]), "{answer:?}");
    assert_eq!(handshakes(&world, "incompatible").await, 1);
}

#[tokio::test]
async fn plain_bytes_on_the_port_of_tls_are_not_echoed() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    for bytes in [
        &b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x01\x02\xff canary",
    ] {
        let answer = answered(&world, bytes).await;
        assert!(answer.len() <= 7, "nothing but an alert: {answer:?}");
    }
    assert_eq!(handshakes(&world, "not_tls").await, 3);
    let gone = world
        .records()
        .into_iter()
        .all(|record| record["kind"] != "request");
    assert!(gone, "a handshake is no request");
}

#[tokio::test]
async fn a_slow_handshake_is_cut() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "handshake_timeout = \"200ms\"", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut half = TcpStream::connect(world.address).await.unwrap();
    half.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert_eq!(answer, Vec::<u8>::new());
    }
    until_true_async(async || handshakes(&world, "timeout").await == 2).await;
}

#[tokio::test]
async fn locations_say_https() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let caller = Caller::new(&authority).offering(&["http/1.1"]);
    let path = format!(
        "/api/v3/_test/status?code=302&location={}/api/v3/x",
        world.simulator.url()
    );
    let answer = caller.get(world.address, &path).await.unwrap();
    let expected = format!("https://{NAME}/api/v3/x");
    assert_eq!(answer.header("location"), Some(expected.as_str()));
}

#[tokio::test]
async fn the_end_of_a_connection_is_told() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let caller = Caller::new(&authority).offering(&["http/1.1"]);
    let mut stream = caller.connect(world.address, NAME).await.unwrap();
    let head = format!("GET {ME} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Without close_notify this is an error: the answer might have been cut.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 401"));

    // A drain ends connections that lie idle as well.
    let mut stream = caller.connect(world.address, NAME).await.unwrap();
    let head = format!("GET {ME} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    world.stop().await;
    stream.read_to_end(&mut answer).await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_is_given_up_over_tls_too() {
    let authority = Authority::new("ca");
    let world = secure(PAIR, "idle_timeout = \"20s\"", |folder| {
        authority.server(&[NAME]).write(folder, "a");
    })
    .await;
    let dropped = async || {
        let line = "connections_dropped_total{reason=\"unread\"} ";
        metric(&world, line).await
    };
    for (count, is_h2) in [(1, false), (2, true)] {
        let protocol = if is_h2 { "h2" } else { "http/1.1" };
        let caller = Caller::new(&authority).offering(&[protocol]);
        let stream = caller.connect(world.address, NAME).await.unwrap();
        let path = "/api/v3/_test/bytes?size=33554432";
        let answer = caller::ask(stream, path).await.unwrap();
        assert_eq!(answer.status(), 200);
        // The answer is held and not read.
        until_true_async(async || dropped().await == Some(count)).await;
        drop(answer);
    }
}

/// Connects and reads until what sessions are resumed by has come.
async fn kind_of(caller: &Caller, address: SocketAddr) -> Option<HandshakeKind> {
    let mut stream = caller.connect(address, NAME).await.ok()?;
    let head = format!("GET /x HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.read_to_end(&mut Vec::new()).await.ok()?;
    stream.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn a_session_is_resumed_on_its_own_listener_only_and_never_with_client_certificates() {
    let authority = Authority::new("ca");
    let tool = authority.caller(|_| ());
    let rules = format!("{PAIR}, client_ca = \"ca.pem\"");
    let listen = format!(
        "listen = [\"127.0.0.1:0\", {{ address = \"127.0.0.1:0\", tls = {{ {PAIR} }} }}, \
         {{ address = \"127.0.0.1:0\", tls = {{ {rules} }} }}]\n\
         tls = {{ {PAIR} }}"
    );
    let world = world(&listen, |folder| {
        authority.server(&[NAME]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    })
    .await;
    let [first, second, strict] = world.addresses[..] else {
        panic!("three listeners");
    };
    for version in [&TLS12, &TLS13] {
        let caller = || Caller::speaking(&authority, &[version], None);
        let one = caller();
        assert_eq!(kind_of(&one, first).await, Some(HandshakeKind::Full));
        assert_eq!(kind_of(&one, first).await, Some(HandshakeKind::Resumed));
        assert_eq!(kind_of(&one, second).await, Some(HandshakeKind::Full));
        let one = caller();
        assert_eq!(kind_of(&one, first).await, Some(HandshakeKind::Full));
        let before = handshakes(&world, "no_certificate").await;
        assert_eq!(kind_of(&one, strict).await, None, "it shows nothing");
        assert_eq!(handshakes(&world, "no_certificate").await, before + 1);
        let shows = Caller::speaking(&authority, &[version], Some(&tool));
        for _ in 0..3 {
            assert_eq!(kind_of(&shows, strict).await, Some(HandshakeKind::Full));
        }
    }
}
