//! How many connections there may be.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use vspc_gateway::listen::descriptors;
use vspc_simulator::Simulator;

use super::{metrics, world};
use crate::child::{Caller, Gateway, Home, command, get, request, unsigned};
use crate::harness::{Answer, ZABBIX, ok, until_true_async, until_true_within};

const ME: &str = "/api/v3/users/me";
const HEADERS: [(&str, &str); 2] = [("x-api-key", ZABBIX), ("x-tenant", "acme")];

async fn ask(caller: &mut Caller) -> Result<Answer, String> {
    caller.send(request("GET", ME, &HEADERS, "")).await
}

async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the gateway has closed a connection on which nothing was sent.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_millis(500), stream.read(&mut [0; 1])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// A number among the metrics of a process.
async fn metric(home: &Home, name: &str) -> u64 {
    let page = get(home.admin, "/metrics", &[]).await.unwrap();
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

const REFUSED: &str = "vspc_gateway_connections_refused_total{reason=\"all\"}";
const EVERY_REASON: [(&str, &[&str]); 2] = [
    ("refused", &["all", "source", "untrusted"]),
    ("dropped", &["unread", "head", "excess", "proxy_header"]),
];
const OPEN: &str = "vspc_gateway_connections ";

/// Longer than operators may be silent.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_leave_the_others_and_operators_unharmed() {
    const LIMIT: usize = 1000;
    descriptors::raise().unwrap();
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let limits = format!("[server]\nconnections = {LIMIT}\nconnections_per_source = {LIMIT}");
    home.edit("[server]", &limits);
    let mut gateway = home.start().await;
    assert_eq!(metric(&home, "vspc_gateway_connections_limit ").await, 1000);
    let mut there = Caller::new(home.address);
    assert!(ok(&ask(&mut there).await.unwrap()));

    let mut idle = Vec::new();
    for _ in 0..2 * LIMIT {
        idle.push(TcpStream::connect(home.address).await);
    }
    // One of the places is taken already.
    let excess = LIMIT as u64 + 1;
    assert!(idle[..LIMIT - 1].iter().all(Result::is_ok));
    until_true_async(async || metric(&home, REFUSED).await == excess).await;
    assert_eq!(metric(&home, OPEN).await, LIMIT as u64);
    let started = Instant::now();
    for stream in idle[LIMIT..].iter_mut().flatten() {
        assert!(is_closed(stream).await);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "at once");
    // Who was there is served, and on the same connection; who comes is not.
    assert!(ok(&ask(&mut there).await.unwrap()));
    assert_eq!(there.connections, 1);
    assert!(ask(&mut Caller::new(home.address)).await.is_err());
    assert!(ok(&get(home.admin, "/livez", &[]).await.unwrap()));
    assert!(ok(&get(home.admin, "/readyz", &[]).await.unwrap()));
    let told = "there are too many connections";
    gateway.logged(told).await;
    gateway.assert_running();

    drop(idle);
    until_true_async(async || ask(&mut Caller::new(home.address)).await.is_ok()).await;
    assert!(ok(&ask(&mut there).await.unwrap()));
    assert_eq!(there.connections, 1);
}

#[tokio::test]
async fn the_reasons_of_closed_connections_are_counted_from_the_start() {
    let world = world("", "", |text| text, |_| {}).await;
    let text = metrics(&world).await;
    for (what, reasons) in EVERY_REASON {
        for reason in reasons {
            let line = format!("vspc_gateway_connections_{what}_total{{reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}

#[tokio::test]
async fn a_source_with_its_share_of_connections_shuts_no_other_out() {
    let limits = "connections = 100\nconnections_per_source = 2";
    let world = world(limits, "", |text| text, |_| {}).await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(connect_from("127.0.0.1", world.address).await);
    }
    let third = mine.last_mut().unwrap();
    assert!(is_closed(third).await);
    let refused = "vspc_gateway_connections_refused_total{reason=\"source\"} 1";
    until_true_async(async || metrics(&world).await.contains(refused)).await;

    // Another one has its own share, and the first two are served as before.
    let mut other = connect_from("127.0.0.2", world.address).await;
    let asked = format!(
        "GET {ME} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n\
         Connection: close\r\n\r\n"
    );
    mine.truncate(2);
    for stream in mine.iter_mut().chain([&mut other]) {
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // Their places are free with their end, though the callers have not closed yet.
    until_true_async(async || {
        let mut next = connect_from("127.0.0.1", world.address).await;
        next.write_all(asked.as_bytes()).await.ok();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

/// Connections that take a descriptor each, and send nothing.
async fn crowd(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(TcpStream::connect(to).await.unwrap());
    }
    crowd
}

/// How much time of a processor a process has used so far, in hundredths of a second.
fn ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.id())).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    let used = after.split(' ').skip(11).take(2);
    used.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// So few descriptors that no limit of connections keeps them from running out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_that_are_used_up_are_waited_for_without_haste() {
    const FILES: usize = 80;
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    home.edit("[server]", "[server]\nconnections = 1000");
    let mut gateway = home.run_with_files(FILES);
    home.ready(&mut gateway).await;
    let told = "server.connections is 1000, but 80 descriptors";
    gateway.logged(told).await;
    assert_eq!(metric(&home, "vspc_gateway_connections_limit ").await, 40);
    let mut there = Caller::new(home.address);
    assert!(ok(&ask(&mut there).await.unwrap()));

    let operators = crowd(home.admin, FILES).await;
    let callers = crowd(home.address, FILES).await;
    gateway.logged("cannot accept").await;
    let before = ticks(&gateway);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = ticks(&gateway) - before;
    assert!(used < 50, "{used} ticks in two seconds");
    // Who is there is served all the same.
    assert!(ok(&ask(&mut there).await.unwrap()));
    assert_eq!(there.connections, 1);

    drop((operators, callers));
    until_true_async(
        async || matches!(ask(&mut Caller::new(home.address)).await, Ok(answer) if ok(&answer)),
    )
    .await;
    until_true_async(async || get(home.admin, "/livez", &[]).await.is_ok()).await;
    gateway.assert_running();
}

/// Operators' connections are few, and short where nothing comes of them: however many somebody makes,
/// the callers' descriptors are not among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_have_no_more_connections_than_they_need() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let mut gateway = home.start().await;
    let files = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap();
        open.count()
    };
    let before = files();
    let mut many = crowd(home.admin, 300).await;
    until_true_async(async || files() > before + 16).await;
    let mut refused = 0;
    for stream in &mut many[32..] {
        refused += usize::from(is_closed(stream).await);
    }
    // Those of the test before may not have ended yet.
    assert!(refused >= 268 - 8, "{refused}");
    assert!(files() <= before + 64);
    assert!(ok(&ask(&mut Caller::new(home.address)).await.unwrap()));
    // Who sends nothing has its place for a while only.
    until_true_within(LONG, async || get(home.admin, "/livez", &[]).await.is_ok()).await;
    gateway.logged("operators have too many connections").await;

    // Nor has whoever asks for much and takes nothing of it.
    let mut greedy = TcpStream::connect(home.admin).await.unwrap();
    let asked = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    timeout(LONG, greedy.write_all(asked.as_bytes())).await.ok();
    let dropped = "vspc_gateway_connections_dropped_total{reason=\"unread\"}";
    until_true_within(LONG, async || metric(&home, dropped).await == 1).await;
    gateway.assert_running();
}

#[test]
fn check_tells_when_there_cannot_be_so_many_connections() {
    let home = Home::new("http://127.0.0.1:9");
    let config = home.config().display().to_string();
    let few = format!(
        "ulimit -n 500; exec {} check --config {config}",
        crate::child::BINARY
    );
    home.edit("[server]", "[server]\nconnections = 400");
    let run = std::process::Command::new("sh").args(["-c", &few]).output();
    let output = run.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("is in order"), "{said}");
    assert!(
        said.contains("warning: server.connections is 400, but 500 descriptors"),
        "{said}"
    );
    let share = "connections = 200\nconnections_per_source = 200";
    home.edit("connections = 400", share);
    home.edit("connections = 200\n", "");
    home.edit(
        "connections_per_source = 200",
        "connections_per_source = 300",
    );
    let run = std::process::Command::new("sh").args(["-c", &few]).output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    assert!(
        said.contains("warning: server.connections_per_source is 300, but there are"),
        "{said}"
    );
    home.edit("connections_per_source = 300", "connections = 250");
    let run = std::process::Command::new("sh").args(["-c", &few]).output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    assert!(!said.contains("warning: server"), "{said}");
    assert_eq!(
        command(&["check", "--config", &config]).status.code(),
        Some(0)
    );
}
