//! What tokens cost: in memory, to look up, to renew, after a restart, and before a crowd.
//!
//! `cargo bench --bench tokens [-- PART…]` measures all parts or those that are named, each in a
//! process of its own so that none finds the memory of another. Without `--bench` a few tenants show
//! that they still run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures, and may stop"
)]

#[path = "tokens/day.rs"]
mod day;
#[path = "tokens/endpoint.rs"]
mod endpoint;
#[path = "support/process.rs"]
mod process;
#[path = "support/scene.rs"]
mod scene;
#[path = "tokens/town.rs"]
mod town;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use criterion::Criterion;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::time::{Duration, Instant};
use vspc_gateway::clock::Clock;
use vspc_gateway::policy::Permit;
use vspc_gateway::state::{self, State};
use vspc_gateway::token::{Broker, SessionStore};

use endpoint::Endpoint;
use process::{cpu_of_this_thread, is_measuring, own_memory};
use town::{Town, name, request};

/// The allocator of the gateway itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let size = if is_measuring() { LARGE } else { SMALL };
    if let Ok(part) = std::env::var(PART) {
        let (_, run) = PARTS.iter().find(|(name, _)| *name == part).unwrap();
        return run(size);
    }
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |part: &str| named.iter().any(|name| name == part);
    let all = !PARTS.iter().any(|(name, _)| is_named(name));
    for (part, _) in PARTS {
        if all || is_named(part) {
            let mut itself = Command::new(std::env::current_exe().unwrap());
            itself.args(std::env::args().skip(1)).env(PART, part);
            assert!(itself.status().unwrap().success(), "{part}");
        }
    }
}

/// What is measured, and its name.
type Part = (&'static str, fn(Size));

const PARTS: [Part; 8] = [
    ("memory", |size| memory(size.tenants, None)),
    ("memory_and_disk", |size| {
        let folder = tempfile::tempdir().unwrap();
        memory(size.tenants, Some(folder.path()));
    }),
    ("lookup", lookup),
    ("contention", contention),
    ("restart", |size| restart(size.crowd)),
    ("crowd", |size| crowd(size.crowd)),
    ("day", |size| day::simulate(size.tenants, size.hours)),
    ("quiet_day", |size| day::simulate(size.few, size.hours)),
];

/// Names the part that this process is for.
const PART: &str = "TOKENS_PART";

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Size {
    crowd: usize,
    few: usize,
    hours: u64,
    leases: u32,
    tenants: usize,
    time: Duration,
}

const LARGE: Size = Size {
    crowd: 10_000,
    few: 3_125,
    hours: 24,
    leases: 2_000_000,
    tenants: 100_000,
    time: Duration::from_secs(3),
};

const SMALL: Size = Size {
    crowd: 20,
    few: 5,
    hours: 1,
    leases: 1_000,
    tenants: 50,
    time: Duration::from_millis(10),
};

/// Has a token for every tenant, and sees what this process has grown by.
fn memory(tenants: usize, folder: Option<&Path>) {
    let runtime = Runtime::new().unwrap();
    let empty = settled();
    let town = Town::build(tenants);
    let configured = settled();
    let permits = town.permits(tenants);
    let before = settled();
    let endpoint = Endpoint::new(Duration::ZERO);
    let broker = {
        let _in_runtime = runtime.enter();
        town.broker(&endpoint, folder.map_or_else(SessionStore::nowhere, store))
    };
    let begun = Instant::now();
    runtime.block_on(fill(&broker, &permits));
    let filled = begun.elapsed();
    broker.save();
    let saved = begun.elapsed();
    assert_eq!(broker.stats().held, tenants);
    let after = settled();
    let each = |bytes: u64| bytes as f64 / 1024.0 / tenants as f64;
    println!(
        "memory: {tenants} tenants, tokens kept {}: {:.2} KiB each for the token, {:.2} for the \
         tenant in the configuration; filled in {:.2} s",
        folder.map_or("nowhere else", |_| "on the disk too"),
        each(after.saturating_sub(before)),
        each(configured.saturating_sub(empty)),
        filled.as_secs_f64(),
    );
    if let Some(folder) = folder {
        let file = std::fs::metadata(folder.join("state.redb")).unwrap().len();
        println!(
            "memory: on the disk after {:.2} s; the file has {:.1} MiB, {:.2} KiB each",
            saved.as_secs_f64(),
            file as f64 / 1024.0 / 1024.0,
            each(file),
        );
    }
}

/// The memory of this process, once what was let go of has been given back.
fn settled() -> u64 {
    let pause = Duration::from_millis(if is_measuring() { 4_000 } else { 1 });
    let mut last = u64::MAX;
    loop {
        thread::sleep(pause);
        let now = own_memory(std::process::id());
        // Within the pages that go and come.
        if now.abs_diff(last) <= 64 * 1024 || !is_measuring() {
            return now;
        }
        last = now;
    }
}

/// A store on the disk.
fn store(folder: &Path) -> SessionStore {
    let settings = state::Settings {
        directory: folder.to_owned(),
        key: None,
    };
    let state = State::open(&settings).unwrap();
    SessionStore::sealed(Arc::new(state), Clock::System)
}

async fn fill(broker: &Broker, permits: &[Permit<'static>]) {
    stream::iter(permits)
        .for_each_concurrent(64, |permit| async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            broker.lease(permit, deadline).await.unwrap();
        })
        .await;
}

/// A town whose tokens are all held.
fn held(runtime: &Runtime, tenants: usize) -> (&'static Town, Broker) {
    let _in_runtime = runtime.enter();
    let town = Town::build(tenants);
    let broker = town.broker(&Endpoint::new(Duration::ZERO), SessionStore::nowhere());
    runtime.block_on(fill(&broker, &town.permits(tenants)));
    (town, broker)
}

/// A lease of a held token, and the whole decision on a request, with ten tenants and with many.
/// Tenants follow each other without rhyme.
fn lookup(size: Size) {
    let runtime = Runtime::new().unwrap();
    let mut criterion = Criterion::default()
        .without_plots()
        .measurement_time(size.time)
        .warm_up_time(size.time / 3);
    let many = held(&runtime, size.tenants);
    let ten = held(&runtime, 10);
    let cases = [
        ("1_of_10", ten.0, &ten.1, 1),
        ("10_of_10", ten.0, &ten.1, 10),
        ("10_of_all", many.0, &many.1, 10),
        ("all", many.0, &many.1, size.tenants),
    ];
    let mut group = criterion.benchmark_group("tokens/lease");
    for (case, town, broker, used) in &cases {
        let permits = town.permits(*used);
        let mut permits = permits.iter().cycle();
        group.bench_function(*case, |bencher| {
            bencher.iter(|| broker.try_lease(permits.next().unwrap()).unwrap());
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("tokens/decision");
    for (case, town, broker, used) in &cases {
        let names: Vec<_> = town::shuffled(*used).into_iter().map(name).collect();
        let mut names = names.iter().cycle();
        let mut parts = request(0);
        group.bench_function(*case, |bencher| {
            bencher.iter(|| {
                let tenant = names.next().unwrap().clone();
                parts.headers.insert("x-tenant", tenant);
                town.decide(broker, black_box(&parts))
            });
        });
    }
    group.finish();
}

/// What a lease costs a thread while others lease: of the same tenant, and each of its own ones.
fn contention(size: Size) {
    let runtime = Runtime::new().unwrap();
    let (town, broker) = held(&runtime, size.crowd);
    let permits = town.permits(size.crowd);
    for threads in [1, 2, 4] {
        let own = permits.len() / threads;
        for (what, share) in [("one tenant", 1), ("tenants of their own", own)] {
            let parts = permits.chunks(own).take(threads);
            let parts: Vec<_> = match share {
                1 => vec![permits.get(..1).unwrap(); threads],
                _ => parts.collect(),
            };
            let begun = Instant::now();
            let each = thread::scope(|scope| {
                let running: Vec<_> = parts
                    .iter()
                    .map(|part| scope.spawn(|| lease_often(&broker, part, size.leases)))
                    .collect();
                let ended = running.into_iter().map(|thread| thread.join().unwrap());
                ended.sum::<Duration>() / u32::try_from(threads).unwrap()
            });
            let leases = f64::from(size.leases);
            println!(
                "contention: {threads} threads, {what}: {:.0} ns of processor time a lease, {:.1} \
                 million leases a second in all",
                each.as_secs_f64() / leases * 1e9,
                leases * threads as f64 / begun.elapsed().as_secs_f64() / 1e6,
            );
        }
    }
}

fn lease_often(broker: &Broker, permits: &[Permit<'static>], leases: u32) -> Duration {
    let begun = cpu_of_this_thread();
    for permit in permits.iter().cycle().take(leases as usize) {
        black_box(broker.try_lease(black_box(permit)).unwrap());
    }
    cpu_of_this_thread().saturating_sub(begun)
}

/// A process ends, and the next one serves what it left.
fn restart(tokens: usize) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let town = Town::build(tokens);
    let permits = town.permits(tokens);
    {
        let _in_runtime = runtime.enter();
        let broker = town.broker(&Endpoint::new(Duration::ZERO), store(folder.path()));
        runtime.block_on(fill(&broker, &permits));
        broker.save();
    }
    let begun = Instant::now();
    let store = store(folder.path());
    let opened = begun.elapsed();
    let endpoint = Endpoint::new(Duration::ZERO);
    let mut took: Vec<Duration> = runtime.block_on(async {
        let broker = town.broker(&endpoint, store);
        let mut took = Vec::with_capacity(tokens);
        for permit in &permits {
            let begun = Instant::now();
            let deadline = begun + Duration::from_secs(60);
            broker.lease(permit, deadline).await.unwrap();
            took.push(begun.elapsed());
        }
        took
    });
    took.sort_unstable();
    let all: Duration = took.iter().sum();
    let at = |part: usize| took.get((tokens - 1) * part / 100).unwrap().as_micros();
    let books = endpoint.books();
    let calls = books.logins + books.refreshes + books.impersonations;
    println!(
        "restart: opened in {:.1} ms; {tokens} tokens one after the other in {:.2} s, each in {} us \
         (median), 99 % within {} us; the console saw {calls} calls",
        opened.as_secs_f64() * 1e3,
        all.as_secs_f64(),
        at(50),
        at(99),
    );
    assert_eq!(calls, 0, "a restart costs the console nothing");
}

/// A crowd that asks at once for one tenant, while nothing is held.
fn crowd(crowd: usize) {
    let runtime = Runtime::new().unwrap();
    let town = Town::build(1);
    let permit: &'static Permit<'static> = Box::leak(Box::new(town.permit(0)));
    runtime.block_on(async {
        let endpoint = Endpoint::new(Duration::from_millis(50));
        let broker = town.broker(&endpoint, SessionStore::nowhere());
        let start = Arc::new(Barrier::new(crowd + 1));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..crowd {
            let (broker, start) = (broker.clone(), Arc::clone(&start));
            asking.spawn(async move {
                start.wait().await;
                let deadline = Instant::now() + Duration::from_secs(10);
                broker.lease(permit, deadline).await.is_ok()
            });
        }
        start.wait().await;
        let begun = Instant::now();
        let answers = asking.join_all().await;
        let took = begun.elapsed();
        let answered = answers.into_iter().filter(|ok| *ok).count();
        let books = endpoint.books();
        println!(
            "crowd: {crowd} leases at once of one cold tenant: {answered} in {:.1} ms, of which 100 \
             are the two calls; the console saw {} login and {} as",
            took.as_secs_f64() * 1e3,
            books.logins,
            books.impersonations,
        );
        assert_eq!(
            (answered, books.logins, books.impersonations),
            (crowd, 1, 1)
        );
    });
}
