//! What a tenant at a hundred times its rate costs the others. This measures, so that it is run by
//! hand, on a machine that does nothing else:
//! `cargo test --test it apart -- --ignored --nocapture`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use vspc_simulator::Simulator;

use super::{ECHO, TENANT_ACME};
use crate::child::{Caller, Gateway, Home, request, unsigned};
use crate::harness::{ADMIN, ok};

/// The rate of the loud tenant, a second, and how many callers ask a hundred times as much for it.
const RATE: u32 = 5;
const LOUD: u32 = 5;

/// The others' callers, and how often each of them asks.
const OTHERS: u32 = 4;
const EVERY: Duration = Duration::from_millis(20);

const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 10;

async fn gateway(simulator: &Simulator) -> (Home, Gateway) {
    let home = Home::new(&simulator.url());
    home.edit(
        TENANT_ACME,
        &format!("{TENANT_ACME}\nrate_limit = \"{RATE}/s\""),
    );
    let gateway = home.start().await;
    (home, gateway)
}

/// Asks again and again for a while; gives how long each answer took, and how many were refused.
async fn ask(to: SocketAddr, tenant: &'static str, every: Duration) -> (Vec<Duration>, usize) {
    let (mut took, mut refused) = (Vec::new(), 0);
    let mut caller = Caller::new(to);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let headers = [("x-api-key", ADMIN), ("x-tenant", tenant)];
    let until = Instant::now() + ROUND;
    while Instant::now() < until {
        ticks.tick().await;
        let started = Instant::now();
        let answer = caller
            .send(request("GET", ECHO, &headers, ""))
            .await
            .unwrap();
        took.push(started.elapsed());
        assert!(ok(&answer) || answer.status == 429, "{answer:?}");
        refused += usize::from(!ok(&answer));
    }
    (took, refused)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted.get(at).copied().unwrap()
}

/// The loud one asks as much all the time, so that the machine has the same to do: in every other
/// round it asks a gateway that the others do not use.
#[expect(clippy::print_stdout, reason = "it is run for what it tells")]
#[ignore = "it measures: p99 of the others, with a loud tenant and without"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_at_a_hundred_times_its_rate_costs_the_others_nothing() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let (home, _process) = gateway(&simulator).await;
    let (elsewhere, _other) = gateway(&simulator).await;
    let mut others: [Vec<Duration>; 2] = Default::default();
    let mut loud_refused = 0;
    for round in 0..2 * ROUNDS {
        let is_here = round % 2;
        let place = [elsewhere.address, home.address][is_here];
        let (mut quiet, mut loud) = (JoinSet::new(), JoinSet::new());
        for _ in 0..LOUD {
            loud.spawn(ask(
                place,
                "acme",
                Duration::from_secs(1) * LOUD / (100 * RATE),
            ));
        }
        for _ in 0..OTHERS {
            quiet.spawn(ask(home.address, "globex", EVERY));
        }
        for (took, refused) in quiet.join_all().await {
            assert_eq!(refused, 0, "the others have no part in it");
            // The first of a round finds no connection.
            others[is_here].extend(&took[1..]);
        }
        for (_, refused) in loud.join_all().await {
            loud_refused += refused;
        }
    }
    for took in &mut others {
        took.sort_unstable();
    }
    let [apart, beside] = &others;
    println!("{loud_refused} requests of the loud tenant were refused");
    for percent in [50, 90, 99] {
        let [apart, beside] = [apart, beside].map(|took| percentile(took, percent));
        let ratio = beside.as_secs_f64() / apart.as_secs_f64();
        println!("p{percent}: {apart:?} without it, {beside:?} with it, {ratio:.3} times as much");
    }
    assert!(percentile(beside, 99) <= percentile(apart, 99) * 11 / 10);
}
