//! Consoles with several addresses: who gets requests, and what becomes of them when one is gone.
//!
//! The nodes of a console are relays in front of one simulator, as all nodes of a console know its
//! tokens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use vspc_simulator::{Action, Fault, Settings, Simulator};

use crate::child::Home;
use crate::harness::{
    BILLING, World, ZABBIX, ok, unsigned, unsigned_settings, until_true, until_true_async,
};

const ECHO: &str = "/api/v3/_test/echo";
/// What a console is called by, where nothing listens.
const NAME: &str = "http://127.0.0.1:1";

/// One node of a console.
struct Node {
    address: SocketAddr,
    seen: Arc<Seen>,
    /// While it is true nothing is passed on, and nobody is told.
    frozen: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    /// Calls of the echo.
    calls: AtomicU64,
}

impl Node {
    async fn start(console: SocketAddr) -> Self {
        // Where no other test listens, so that nobody else is found there when it is gone.
        Self::start_at("127.9.0.1:0".parse().unwrap(), console).await
    }

    async fn start_at(address: SocketAddr, console: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (frozen, freezing) = watch::channel(false);
        let serving = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                // They end with the node.
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                    let relaying = relay(stream, console, Arc::clone(&seen), freezing.clone());
                    connections.spawn(relaying);
                }
            }
        });
        Self {
            address,
            seen,
            frozen,
            serving,
        }
    }

    fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::Relaxed)
    }

    fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Closes the socket and every connection.
    async fn kill(self) -> SocketAddr {
        self.serving.abort();
        assert!(self.serving.await.unwrap_err().is_cancelled());
        self.address
    }
}

async fn relay(
    mut near: TcpStream,
    console: SocketAddr,
    seen: Arc<Seen>,
    mut frozen: watch::Receiver<bool>,
) {
    let mut far = TcpStream::connect(console).await.unwrap();
    let (mut up, mut down) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER));
    loop {
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let passed_on = tokio::select! {
            _ = frozen.changed() => continue,
            read = near.read_buf(&mut up) => {
                let text = String::from_utf8_lossy(&up);
                let calls = text.matches(ECHO).count() as u64;
                seen.calls.fetch_add(calls, Ordering::Relaxed);
                pass_on(read, &mut up, &mut far).await
            }
            read = far.read_buf(&mut down) => pass_on(read, &mut down, &mut near).await,
        };
        if passed_on.is_none() {
            return;
        }
    }
}

async fn pass_on(
    read: std::io::Result<usize>,
    bytes: &mut Vec<u8>,
    to: &mut TcpStream,
) -> Option<()> {
    let length = read.ok()?;
    to.write_all(bytes).await.ok()?;
    bytes.clear();
    (length > 0).then_some(())
}

const BUFFER: usize = 16 * 1024;

/// Lines for a console with these addresses, checked often.
fn at(addresses: &[&dyn std::fmt::Display]) -> String {
    let quoted = addresses.iter().map(|address| format!("\"{address}\""));
    let list = quoted.collect::<Vec<_>>().join(", ");
    format!("addresses = [{list}]\nhealth_interval = \"100ms\"")
}

async fn world(simulator: Simulator, lines: &str) -> World {
    let world = World::start_on(simulator, NAME, lines).await;
    world.keep_addresses().await;
    world
}

async fn echo(world: &World) {
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert!(ok(&answer), "{answer:?}");
}

/// What `/readyz` says of an address.
async fn state(world: &World, address: impl ToString) -> Value {
    let told = world.readyz().await.json();
    let states = told.pointer("/consoles/main/addresses").unwrap();
    let address = address.to_string();
    let mut states = states.as_array().unwrap().iter();
    let wanted = Value::from(address.as_str());
    let state = states.find(|state| state.get("address") == Some(&wanted));
    state.unwrap_or_else(|| panic!("{address}: {told}")).clone()
}

async fn until_healthy(world: &World, address: SocketAddr, healthy: bool) {
    let wanted = Value::from(healthy);
    until_true_async(async || state(world, address).await.get("healthy") == Some(&wanted)).await;
}

#[tokio::test]
async fn requests_take_turns_among_addresses_whatever_connections_there_are() {
    for http in ["1", "2"] {
        let simulator = Simulator::start(unsigned_settings()).await.unwrap();
        let (one, two) = (
            Node::start(simulator.addr()).await,
            Node::start(simulator.addr()).await,
        );
        let lines = at(&[&one.address, &two.address]);
        let world = world(simulator, &format!("{lines}\nhttp = \"{http}\"")).await;
        for _ in 0..20 {
            echo(&world).await;
        }
        let seen = world.reached();
        assert_eq!(seen.len(), 20);
        let mut connections: Vec<u64> = seen.iter().map(|request| request.connection).collect();
        connections.sort_unstable();
        let first = connections[0];
        let of_first = connections.iter().filter(|one| **one == first).count();
        // Log-ins take turns as well.
        assert_eq!(of_first, 10, "{http}: {connections:?}");
        connections.dedup();
        assert_eq!(connections.len(), 2, "{http}");
        for request in seen {
            assert_eq!(request.authorization_headers, 1);
            if http == "1" {
                // The name, not the address.
                assert_eq!(request.header("host"), Some("127.0.0.1:1"));
                assert_eq!((one.calls(), two.calls()), (10, 10));
            }
        }
    }
}

/// What was being worked on when the node died may be lost; nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_under_load_costs_no_request_that_was_not_sent() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let console = simulator.addr();
    let (one, two) = (Node::start(console).await, Node::start(console).await);
    let (dying, lasting) = (one.address, two.address);
    let world = Arc::new(world(simulator, &at(&[&dying, &lasting])).await);
    let running = Arc::new(AtomicBool::new(true));
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (world, running) = (Arc::clone(&world), Arc::clone(&running));
        callers.spawn(async move {
            let mut failed = Vec::new();
            while running.load(Ordering::Relaxed) {
                let headers = [("x-api-key", BILLING), ("x-tenant", "acme")];
                let answer = if caller % 2 == 0 {
                    world.call("GET", ECHO, &headers, "").await
                } else {
                    world.call("POST", ECHO, &headers, "body").await
                };
                if !ok(&answer) {
                    failed.push((caller % 2 == 0, answer));
                }
            }
            failed
        });
    }
    until_true(|| one.calls() > 50 && two.calls() > 50).await;
    one.kill().await;
    let before = two.calls();
    until_true(|| two.calls() > before + 100).await;
    until_healthy(&world, dying, false).await;
    let told = state(&world, dying).await;
    assert!(
        told["error"].as_str().unwrap().contains("refused"),
        "{told}"
    );
    let metrics = world.admin("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for (address, value) in [(dying, 0), (lasting, 1)] {
        let line = format!(
            "vspc_gateway_address_healthy{{console=\"main\",address=\"{address}\"}} {value}\n"
        );
        assert!(metrics.contains(&line), "{line}{metrics}");
    }

    let again = Node::start_at(dying, console).await;
    until_healthy(&world, dying, true).await;
    let before = again.calls();
    until_true(|| again.calls() > before + 50).await;
    running.store(false, Ordering::Relaxed);
    let mut failed = Vec::new();
    while let Some(ended) = callers.join_next().await {
        failed.extend(ended.unwrap());
    }
    // Four were sent with a body at most, and each of them once.
    assert!(failed.len() <= 4, "{failed:#?}");
    for (repeatable, answer) in failed {
        let record = world.outcome(&answer).await;
        assert!(!repeatable, "{record}");
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("without an answer"), "{record}");
    }
    let readyz = world.readyz().await.json();
    assert_eq!(readyz["consoles"]["main"]["breaker"], "closed");
}

#[tokio::test]
async fn one_address_of_two_that_never_works_is_no_failure_of_the_console() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let node = Node::start(simulator.addr()).await;
    let gone = Node::start(simulator.addr()).await.kill().await;
    let lines = at(&[&gone, &node.address]);
    let lines = lines.replace("100ms", "1h") + "\nbreaker_faults = 1\nhttp = \"1\"";
    let world = world(simulator, &lines).await;
    for _ in 0..10 {
        echo(&world).await;
    }
    // The first round of checks alone marks nothing as dead, but it is not tried first again.
    assert_eq!(state(&world, gone).await["healthy"], true);
    assert_eq!(node.calls(), 10);
    let readyz = world.readyz().await.json();
    assert_eq!(readyz["consoles"]["main"]["breaker"], "closed");
    // One answers, so the other's answers are not the console's: but where both fail, they are.
    node.kill().await;
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "upstream_unreachable")
    );
    let answer = world.get(ZABBIX, "acme", ECHO).await;
    assert_eq!((answer.status, answer.code()), (503, "console_unwell"));
}

/// Its connections went to the other one, which keeps none of them.
#[tokio::test]
async fn a_node_that_was_away_between_two_checks_is_used_again() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let console = simulator.addr();
    let (one, two) = (Node::start(console).await, Node::start(console).await);
    let lines = at(&[&one.address, &two.address]).replace("100ms", "1s");
    let world = world(simulator, &format!("{lines}\nhttp = \"1\"")).await;
    for _ in 0..4 {
        echo(&world).await;
    }
    let away = one.kill().await;
    for _ in 0..4 {
        echo(&world).await;
    }
    assert_eq!(two.calls(), 6);
    let one = Node::start_at(away, console).await;
    until_true_async(async || {
        echo(&world).await;
        one.calls() > 0
    })
    .await;
    let before = (one.calls(), two.calls());
    for _ in 0..10 {
        echo(&world).await;
    }
    assert_eq!((one.calls(), two.calls()), (before.0 + 5, before.1 + 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_checks_addresses_and_tells_of_changes() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let console = simulator.addr();
    let (one, two) = (Node::start(console).await, Node::start(console).await);
    let home = Home::new(NAME);
    let lines = at(&[&one.address, &two.address]);
    home.edit("connect_timeout", &format!("{lines}\nconnect_timeout"));
    let mut gateway = home.start().await;
    until_true(|| one.connections() > 5 && two.connections() > 5).await;
    let gone = one.kill().await;
    gateway
        .logged("an address of the console does not work")
        .await;
    assert!(gateway.log().contains(&gone.to_string()));
    let one = Node::start_at(gone, console).await;
    gateway
        .logged("an address of the console works again")
        .await;
    gateway.kill();
    assert!(one.connections() > 1);
}

/// What stands before a service that is down answers in its place.
#[tokio::test]
async fn one_address_that_answers_503_opens_no_breaker() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let node = Node::start(simulator.addr()).await;
    let front = TcpListener::bind("127.9.0.1:0").await.unwrap();
    let down = front.local_addr().unwrap();
    let answered = Arc::new(AtomicU64::new(0));
    let fronting = tokio::spawn({
        let answered = Arc::clone(&answered);
        async move {
            while let Ok((mut stream, _)) = front.accept().await {
                let mut head = Vec::with_capacity(BUFFER);
                if stream
                    .read_buf(&mut head)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    answered.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(UNAVAILABLE).await.unwrap();
                }
            }
        }
    });
    let lines = at(&[&down, &node.address]);
    let world = world(
        simulator,
        &format!("{lines}\nbreaker_faults = 1\nhttp = \"1\""),
    )
    .await;
    // A log-in may meet it, and is tried again.
    until_true_async(async || ok(&world.get(ZABBIX, "acme", ECHO).await)).await;
    answered.store(0, Ordering::Relaxed);
    let (mut fine, mut passed_on) = (0, 0);
    while answered.load(Ordering::Relaxed) < 5 {
        let answer = world.get(ZABBIX, "acme", ECHO).await;
        match (answer.status, answer.header("x-gateway-code")) {
            (200, _) => fine += 1,
            (503, None) => passed_on += 1,
            _ => panic!("{answer:?}"),
        }
    }
    // It is not chosen again before a check has found it to be there.
    assert!(fine >= passed_on && passed_on <= 5, "{fine} {passed_on}");
    fronting.abort();
}

const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Without checks, names and addresses are tried at each connection.
#[tokio::test]
async fn ip_literals_and_names_are_connected_to_with_and_without_checks() {
    for wanted in ["", "health_interval = \"100ms\""] {
        for host in ["[::1]", "127.0.0.1", "localhost"] {
            let simulator = Simulator::start(unsigned_settings()).await.unwrap();
            let bind = if host == "[::1]" {
                "[::1]:0"
            } else {
                "127.0.0.1:0"
            };
            let node = Node::start_at(bind.parse().unwrap(), simulator.addr()).await;
            let address = format!("{host}:{}", node.address.port());
            let lines = format!("addresses = [\"{address}\"]\n{wanted}\nhttp = \"1\"");
            let world = World::start_on(simulator, NAME, &lines).await;
            if !wanted.is_empty() {
                world.keep_addresses().await;
                let told = state(&world, node.address).await;
                assert_eq!(told["name"], *address);
            }
            echo(&world).await;
            assert_eq!(node.calls(), 1, "{address}");
            let seen = world.reached().pop().unwrap();
            assert_eq!(seen.header("host"), Some("127.0.0.1:1"));
        }
    }
}

#[tokio::test]
async fn one_address_is_not_checked_and_not_told_of() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let node = Node::start(simulator.addr()).await;
    let lines = format!("addresses = [\"{}\"]\nhttp = \"1\"", node.address);
    let world = World::start_on(simulator, NAME, &lines).await;
    let gateway = world.gateway();
    for console in gateway.consoles.values() {
        // It ends at once: there is nothing to do.
        console.watch_addresses().await;
    }
    echo(&world).await;
    assert_eq!(node.connections(), 1);
    let readyz = world.readyz().await.json();
    assert_eq!(readyz["consoles"]["main"].get("addresses"), None);
}

#[tokio::test]
async fn checks_are_no_requests_or_requests_without_a_token() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (one, two) = (
        Node::start(simulator.addr()).await,
        Node::start(simulator.addr()).await,
    );
    let silent = at(&[&one.address, &two.address]);
    let silent = world(simulator, &silent).await;
    until_true(|| one.connections() > 5 && two.connections() > 5).await;
    assert_eq!(silent.simulator.requests(), []);

    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (one, two) = (
        Node::start(simulator.addr()).await,
        Node::start(simulator.addr()).await,
    );
    let path = "/api/v3/plugins/user/islogged";
    let lines = at(&[&one.address, &two.address]);
    let world = world(simulator, &format!("{lines}\nhealth_path = \"{path}\"")).await;
    echo(&world).await;
    until_true(|| world.simulator.requests().len() > 10).await;
    let mut checks = world.simulator.requests();
    checks.retain(|request| request.target == path);
    assert!(checks.len() > 5);
    for check in checks {
        assert_eq!((check.authorization_headers, check.subject), (0, None));
        assert_eq!((&*check.method, check.body_length), ("GET", 0));
    }
    // Not one more than for the one call.
    assert_eq!(
        (world.grants("password"), world.grants("as")),
        ((1, 0), (1, 0))
    );
    assert_eq!(
        world
            .reached()
            .iter()
            .filter(|call| call.target == ECHO)
            .count(),
        1
    );
}

/// The checks may be wrong: all addresses that fail them are as good as any.
#[tokio::test]
async fn when_every_address_fails_its_checks_all_are_used() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let path = "/api/v3/plugins/user/islogged";
    simulator.fault(Fault::new(Action::ServerError).under(path).times(0));
    let (one, two) = (
        Node::start(simulator.addr()).await,
        Node::start(simulator.addr()).await,
    );
    let lines = at(&[&one.address, &two.address]);
    let world = world(
        simulator,
        &format!("{lines}\nhealth_path = \"{path}\"\nhttp = \"1\""),
    )
    .await;
    until_healthy(&world, one.address, false).await;
    until_healthy(&world, two.address, false).await;
    let told = state(&world, two.address).await;
    assert!(told["error"].as_str().unwrap().contains("520"), "{told}");
    for _ in 0..10 {
        echo(&world).await;
    }
    assert_eq!((one.calls(), two.calls()), (5, 5));
    world.simulator.clear_faults();
    until_healthy(&world, one.address, true).await;
}

/// Its end of the connections that lie idle says nothing: they are not used any more.
#[tokio::test]
async fn a_node_that_falls_silent_gets_no_more_requests() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (one, two) = (
        Node::start(simulator.addr()).await,
        Node::start(simulator.addr()).await,
    );
    let lines = at(&[&one.address, &two.address]);
    let path = "health_path = \"/api/v3/plugins/user/islogged\"";
    let lines = format!("{lines}\n{path}\nhttp = \"1\"");
    let world = world(simulator, &lines).await;
    for _ in 0..10 {
        echo(&world).await;
    }
    one.frozen.send_replace(true);
    until_healthy(&world, one.address, false).await;
    let (silent, before) = (one.calls(), two.calls());
    for _ in 0..10 {
        echo(&world).await;
    }
    assert_eq!((one.calls(), two.calls()), (silent, before + 10));
    // When it is back it gets new connections.
    one.frozen.send_replace(false);
    until_healthy(&world, one.address, true).await;
    for _ in 0..10 {
        echo(&world).await;
    }
    assert_eq!(one.calls(), silent + 5);
}

async fn secure(tls: bool, listen: SocketAddr) -> Simulator {
    Simulator::start(Settings {
        tls,
        listen,
        switches: unsigned(),
        ..Settings::default()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_address_with_another_certificate_or_none_gets_nothing() {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    for tls in [true, false] {
        let good = secure(true, anywhere).await;
        let bad = secure(tls, anywhere).await;
        let (good_at, bad_at) = (good.addr(), bad.addr());
        let pin = good.certificate_sha256().unwrap();
        let pin = format!("tls = {{ fingerprint_sha256 = [\"{pin}\"] }}");
        let lines = format!("{pin}\n{}\nbreaker_faults = 1", at(&[&bad_at, &good_at]));
        let mut world = World::start_on(good, "https://vspc.example:1280", &lines).await;
        world.keep_addresses().await;
        for _ in 0..6 {
            echo(&world).await;
        }
        until_healthy(&world, bad_at, false).await;
        let told = state(&world, bad_at).await;
        let error = told["error"].as_str().unwrap();
        assert!(
            error.contains("not pinned") || error.contains("corrupt"),
            "{error}"
        );
        assert_eq!(bad.requests(), []);
        assert_eq!(world.reached().len(), 6);

        // Where none is believed, that is what is said.
        let spare = secure(false, anywhere).await;
        std::mem::replace(&mut world.simulator, spare).stop().await;
        let worse = secure(true, good_at).await;
        let answer = world.get(ZABBIX, "acme", ECHO).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_tls"),
            "{answer:?}"
        );
        let record = world.outcome(&answer).await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains(&bad_at.to_string()), "{record}");
        assert!(detail.contains(&good_at.to_string()), "{record}");
        assert_eq!((bad.requests(), worse.requests()), (Vec::new(), Vec::new()));
    }
}

#[tokio::test]
async fn redirects_are_the_callers_to_follow() {
    let world = World::start().await;
    let elsewhere = Simulator::start(unsigned_settings()).await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/api/v3/users/me", elsewhere.url());
        // Another port of the same host is the console by another of its names.
        let location = location.replace("127.0.0.1", "localhost");
        let path = format!("/api/v3/_test/status?code={status}&location={location}");
        let answer = world.get(ZABBIX, "acme", &path).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("location"), Some(&*location));
    }
    assert_eq!(elsewhere.state().connections_accepted, 0);
    assert_eq!(world.reached().len(), 5);
}

#[tokio::test]
async fn what_a_caller_sends_that_cannot_be_sent_on_is_no_failure_of_an_address() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let console = simulator.addr();
    let lines = format!(
        "addresses = [\"{console}\", \"localhost:{}\"]\nhealth_interval = \"1h\"",
        console.port()
    );
    let world = World::start_on(simulator, "http://127.0.0.1:1", &lines).await;
    world.keep_addresses().await;
    assert_eq!(world.get(ZABBIX, "acme", ECHO).await.status, 200);
    let troubles = || {
        let gateway = world.gateway();
        let consoles = gateway.consoles.values();
        let states = consoles.flat_map(|console| console.addresses());
        states
            .filter_map(|state| state.error)
            .filter(|error| error.contains("cannot be sent"))
            .collect::<Vec<_>>()
    };
    let before = troubles();
    assert!(before.is_empty(), "{before:?}");

    let stream = TcpStream::connect(world.address).await.unwrap();
    let shaking = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = shaking.await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let mut request = http::Request::get(world.url(ECHO))
            .header("x-api-key", ZABBIX)
            .header("x-tenant", "acme");
        for number in 0..110 {
            request = request.header(format!("x-{number}"), "1");
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 431);
    }
    let after = troubles();
    assert!(after.is_empty(), "{after:?}");
}
