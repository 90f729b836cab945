//! What idle connections cost in memory, and what a crowd before a cold tenant costs the console.
//!
//! `cargo bench --bench footprint [-- CONNECTIONS…]` starts the gateway itself before a stand-in
//! console and measures with 5,000 and 10,000 connections, or as many as are named. Both ends of a
//! connection need a file: raise `ulimit -n` above their number. Without `--bench` a few
//! connections show that it still runs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures, and may stop"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/scene.rs"]
mod scene;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::{Duration, Instant, sleep};
use vspc_gateway::gateway::Live;
use vspc_gateway::listen::{Connections, Drain, Limits, serve};
use vspc_simulator::Simulator;

use process::{is_measuring, open_files_limit, own_memory};
use scene::{PATH, SMALL};

#[tokio::main]
async fn main() {
    let (crowd, mut connections) = if is_measuring() {
        // Four ends of connections for two of them, and all are here.
        let crowd = open_files_limit().saturating_sub(CROWD_FILES) / 2;
        (crowd.clamp(20, 10_000), vec![5_000, 10_000])
    } else {
        (20, vec![20])
    };
    let named: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if !named.is_empty() {
        connections = named;
    }
    cold_tenant(crowd).await;
    for count in connections {
        let room = open_files_limit().saturating_sub(SPARE_FILES);
        if count > room {
            println!(
                "{count} connections need `ulimit -n {}`",
                count + SPARE_FILES
            );
            continue;
        }
        idle(count, Before::Nothing).await;
        idle(count, Before::Requests(1)).await;
        idle(count, Before::Requests(20)).await;
        idle(count, Before::LargeAnswer).await;
    }
}

/// What a connection did before it was idle.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// It was opened.
    Nothing,
    /// So many requests, answered with a kilobyte or so.
    Requests(usize),
    /// One request that was answered with 60 KiB.
    LargeAnswer,
}

/// Opens connections, lets each do something, and sees what the gateway has grown by.
async fn idle(count: usize, before: Before) {
    let world = World::start().await;
    world.warm_up(count).await;
    let empty = world.memory().await;
    let connections: Vec<TcpStream> = stream::iter(0..count)
        .map(|_| world.connection(before))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let full = world.memory().await;
    drop(connections);
    let after = world.memory().await;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    println!(
        "idle: {count} connections after {before:?}: {:.2} KiB each ({:.0} KiB before, {:.0} with \
         them, {:.0} once they closed)",
        kib(full.saturating_sub(empty)) / count as f64,
        kib(empty),
        kib(full),
        kib(after),
    );
}

/// The gateway as a process, and the console behind it.
struct World {
    gateway: Child,
    address: SocketAddr,
    _console: Simulator,
    _folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let console = scene::console(SMALL.tenants).await;
        let address = free_address().await;
        let listen = address.to_string();
        let text = scene::configuration(folder.path(), &console.url(), &listen, SMALL);
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        let gateway = Command::new(env!("CARGO_BIN_EXE_vspc-gateway"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let world = Self {
            gateway,
            address,
            _console: console,
            _folder: folder,
        };
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
        world
    }

    /// As many requests as there will be later, and as many at once: what they need besides their
    /// connections, audit buffers above all, is there from now on.
    async fn warm_up(&self, requests: usize) {
        let each = requests.div_ceil(AT_ONCE);
        stream::iter(0..AT_ONCE)
            .map(|_| self.connection(Before::Requests(each)))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
    }

    async fn connection(&self, before: Before) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        match before {
            Before::Nothing => {}
            Before::Requests(count) => {
                for _ in 0..count {
                    assert_eq!(get(&mut stream, PATH).await, 200);
                }
            }
            Before::LargeAnswer => {
                let path = "/api/v3/_test/bytes?size=61440";
                assert_eq!(get(&mut stream, path).await, 200);
            }
        }
        stream
    }

    /// The gateway's memory, once it stays the same.
    async fn memory(&self) -> u64 {
        let mut last = 0;
        loop {
            sleep(Duration::from_millis(300)).await;
            let now = own_memory(self.gateway.id());
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.gateway.kill());
        drop(self.gateway.wait());
    }
}

/// A crowd that asks at once for one tenant, while the gateway holds no session and no token.
async fn cold_tenant(crowd: usize) {
    let folder = tempfile::tempdir().unwrap();
    let console = scene::console(SMALL.tenants).await;
    let (gateway, writer) = scene::compose(folder.path(), &console.url(), SMALL);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::new();
    tokio::spawn({
        let (live, drain) = (Live::new(Arc::clone(&gateway)), drain.clone());
        let limits = Limits {
            connections_per_source: crowd,
            ..Limits::default()
        };
        let connections = Connections::new(limits, gateway.telemetry.clone());
        async move { serve(listener, live, &connections, &drain).await }
    });
    let start = Arc::new(Barrier::new(crowd));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..crowd {
        let start = Arc::clone(&start);
        asking.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            start.wait().await;
            let started = Instant::now();
            (get(&mut stream, PATH).await, started.elapsed())
        });
    }
    let answers = asking.join_all().await;
    let answered = answers.iter().filter(|(status, _)| *status == 200).count();
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    let state = console.state();
    let grants = |grant: &str| {
        state
            .grants
            .get(grant)
            .map_or(0, |count| count.ok + count.refused)
    };
    println!(
        "cold tenant: {crowd} requests at once, {answered} answered, the slowest in {} ms; the \
         console saw {} password and {} as",
        slowest.as_millis(),
        grants("password"),
        grants("as"),
    );
    assert_eq!(
        (answered, grants("password"), grants("as")),
        (crowd, 1, 1),
        "one login and one `as` serve a crowd"
    );
    drain.run(Duration::from_secs(10)).await;
    drop((gateway, writer));
}

/// Sends a request and reads its answer; returns the status.
async fn get(stream: &mut TcpStream, path: &str) -> u16 {
    let (key, tenant) = (scene::key(0), scene::tenant(0));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: gw.example.net\r\nUser-Agent: bench\r\n\
         Accept: application/json\r\nX-Api-Key: {key}\r\nX-Tenant: {tenant}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(4096);
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "cut off");
        if let Some((status, length)) = head(&answer)
            && answer.len() >= length
        {
            return status;
        }
    }
}

/// The status of an answer and the length of all of it, once its head is there.
fn head(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    })?;
    Some((status, end + 4 + length))
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Connections that are opened, or have a request, at once.
const AT_ONCE: usize = 64;

/// Both ends of the connections to the console, and the files of this process.
const CROWD_FILES: usize = 2_000;

/// Files of the console, the log, and of this process besides the connections; the gateway keeps as
/// many from them.
const SPARE_FILES: usize = 1_500;
